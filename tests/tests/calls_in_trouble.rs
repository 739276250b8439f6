//! Calls that contexts send to each other, through the real server, where something is in the way: a
//! receiver without room, one that takes for ever, one that is out of service; a sender that goes; another
//! number of shards.

use std::fmt::Write;

use corelet_store::ContextId;
use corelet_tests::sending::{
    QUICK, SLOW, call, count, counter, create_on, figure, give, incrementing, relay, returned, run,
    said, sent, start, until,
};
use corelet_tests::{Client, Server, flip, made, start_unlooked, wait_for};
use serde_json::{Value, json};

/// Guests that do not end run for as long as the test does.
const PATIENT: &str =
    "[limits]\nupdate_fuel_max = 1_000_000_000_000_000\ncall_time_max = \"24 h\"\n";

/// An update that does not end.
fn endless() -> Vec<u8> {
    incrementing(1, "(loop $again (br $again)) unreachable")
}

/// Stops a call that runs in a context, once one does.
fn cancel(client: &Client, context: &str) {
    let cancelled = wait_for("a call to be cancelled", || {
        let path = format!("/v1/contexts/{context}/calls");
        let (status, answer) = client.delete(&path).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer["cancelled"].as_u64().filter(|calls| *calls > 0)
    });
    assert_eq!(cancelled, 1);
}

/// What one room has had said in another.
fn said_by(client: &Client, room: &str, author: &str) -> Vec<String> {
    let author = format!("corelet:context/{author}");
    let said = said(client, room).into_iter();
    said.filter(|said| said.1 == author)
        .map(|said| said.0)
        .collect()
}

/// Nothing of a call that has failed has happened, so nobody waits until that can be noted.
#[test]
fn a_receiver_without_room_tells_what_calls_come_to() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\ncontext_bytes_max = \"4 KiB\"\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let from = counter(&client, &client.install("counter"), 0, 100);
    // What it is called with becomes a key.
    let keeping = incrementing(
        1,
        "(call $set (local.get 2) (local.get 3) (i32.const 272) (i32.const 4)) (call $ok-null)",
    );
    let to = create_on(&client, &client.install_component(&keeping), 1);
    give(&client, &from, &to, 1);
    until("the first, for which there is room", || {
        figure(&client, "corelet_sends_ended_total") == 1
    });
    let refused = (0..).find_map(|n| {
        let answer = client.call(&to, "increment", json!({ "n": n }));
        let answer = answer.expect("an answer");
        (!answer["result"].is_object()).then_some(answer)
    });
    let refused = refused.expect("a bound");
    assert_eq!(
        refused["error"]["data"]["limit"], "limits.context_bytes_max",
        "{refused}"
    );
    // Of one that it knows, and of one that is new to it.
    let other = counter(&client, &client.install("counter"), 1, 100);
    for (n, from) in [(1, &from), (2, &from), (1, &other)] {
        give(&client, from, &to, 10_000 + n);
        until("its return", || returned(&client, from).len() == n as usize);
        assert!(sent(&client, from).is_empty());
    }
    let all = [&from, &other].map(|from| (count(&client, from), returned(&client, from)));
    let code = || "limit_exceeded".to_owned();
    assert_eq!(all, [(99, vec![code(), code()]), (100, vec![code()])]);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_context_that_sends_to_many_leaves_places_to_its_neighbours() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("{PATIENT}{QUICK}running_max = 4\nsender_running_max = 2\n");
    let (mut server, client) = start(home.path(), &settings);
    let counters = client.install("counter");
    let [flood, neighbour, to] = [0, 0, 0].map(|n| counter(&client, &counters, n, 100));
    let endless = client.install_component(&endless());
    let sinks = [(); 6].map(|()| create_on(&client, &endless, 1));
    sinks.iter().for_each(|sink| give(&client, &flood, sink, 1));
    until("the others to be held", || {
        figure(&client, "corelet_sends_pairs_held") == 4
    });
    for n in 1..=5 {
        give(&client, &neighbour, &to, 1);
        until("the neighbour's", || count(&client, &to) == 100 + n);
    }
    assert_eq!(sent(&client, &flood).len(), 6);
    // What an operator stops is not run again, and makes room for the next.
    let mut left: Vec<_> = sinks.iter().collect();
    while !left.is_empty() {
        let running = wait_for("one that runs", || {
            left.iter().position(|sink| {
                let path = format!("/v1/contexts/{sink}/calls");
                let (_, answer) = client.delete(&path).expect("an answer");
                answer["cancelled"] == 1
            })
        });
        left.remove(running);
    }
    until("all to return", || returned(&client, &flood).len() == 6);
    assert_eq!(returned(&client, &flood), ["cancelled"; 6]);
    assert_eq!(
        (count(&client, &flood), count(&client, &neighbour)),
        (100, 95)
    );
    assert_eq!(figure(&client, "corelet_sends_pairs_held"), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_sender_that_is_deleted_while_its_call_runs_is_forgotten() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), &format!("{PATIENT}{QUICK}"));
    let counters = client.install("counter");
    let endless = client.install_component(&endless());
    for shard in [0, 1] {
        let from = counter(&client, &counters, 0, 100);
        let to = create_on(&client, &endless, shard);
        give(&client, &from, &to, 1);
        give(&client, &from, &to, 2);
        until("it to run", || figure(&client, "corelet_sends_taking") == 1);
        let (status, _) = client
            .delete(&format!("/v1/contexts/{from}"))
            .expect("an answer");
        assert_eq!(status, 204);
        cancel(&client, &to);
        until("its place to be free", || {
            figure(&client, "corelet_sends_taking") == 0
                && figure(&client, "corelet_sends_pairs_waiting") == 0
        });
    }
    let [from, to] = [0, 1].map(|shard| counter(&client, &counters, shard, 100));
    give(&client, &from, &to, 1);
    until("those of others", || count(&client, &to) == 101);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

#[test]
fn calls_on_their_way_survive_another_number_of_shards() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let chat = client.install("chat");
    let rooms: Vec<_> = (0..4).map(|n| create_on(&client, &chat, n % 2)).collect();
    let counters = client.install("counter");
    let purses: Vec<_> = (0..6)
        .map(|n| counter(&client, &counters, n % 2, 1_000))
        .collect();
    for n in 0..30 {
        relay(
            &client,
            &rooms[0],
            &format!("{n}"),
            &[&rooms[1], &rooms[2], &rooms[3]],
        );
        give(&client, &purses[n % 6], &purses[(n * 5 + 1) % 6], 7);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["reshard", "--shards", "3"]);
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, QUICK).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = Server::start(&home.path().join("data"), &["--config", config]);
    let client = server.client();
    let expected: Vec<_> = (0..30).map(|n| format!("{n}")).collect();
    for room in &rooms {
        let all = || said(&client, room).into_iter().map(|said| said.0);
        until("all to be said", || all().count() == 30);
        assert!(all().eq(expected.iter().cloned()));
    }
    for purse in &purses {
        until("the end of all calls", || sent(&client, purse).is_empty());
    }
    let sum: i64 = purses.iter().map(|purse| count(&client, purse)).sum();
    assert_eq!(sum, 6_000);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

#[test]
fn calls_wait_for_a_context_that_is_out_of_service() {
    const NEEDLE: &str = "what is going to be hit by a cosmic ray, so that its record is damaged";
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let (mut server, client) = start(home.path(), SLOW);
    let chat = client.install("chat");
    let [good, bad] = [0, 1].map(|shard| create_on(&client, &chat, shard));
    relay(&client, &bad, NEEDLE, &[]);
    let names = |from| (0..10).map(move |n| format!("{from}.{n}"));
    names("good").for_each(|name| relay(&client, &good, &name, &[&bad]));
    names("bad").for_each(|name| relay(&client, &bad, &name, &[&good]));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    flip(&data, NEEDLE.as_bytes());

    let config = home.path().join("corelet.toml");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = start_unlooked(&data, &["--config", config]);
    let client = server.client();
    let read = |client: &Client| {
        let answer = client.call(&bad, "page", json!({})).expect("an answer");
        let name = answer["error"]["data"]["name"].as_str();
        name.expect("a name").to_owned()
    };
    // A call that it takes may meet the damage as well.
    assert!(["storage_damaged", "context_damaged"].contains(&read(&client).as_str()));
    assert_eq!(read(&client), "context_damaged");
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    // Its neighbour tries in vain, and is not held up by that; nothing of it leaves.
    std::fs::write(config, QUICK).expect("a configuration");
    let mut server = start_unlooked(&data, &["--config", config]);
    let client = server.client();
    until("it to be tried", || {
        figure(&client, "corelet_sends_again_total") > 0
    });
    let neighbour = create_on(&client, &chat, 1);
    relay(&client, &good, "else", &[&neighbour]);
    until("what is for others", || {
        said(&client, &neighbour).len() == 1
    });
    assert!(!sent(&client, &good).is_empty());
    assert!(said_by(&client, &good, &bad).len() < 10);
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    flip(&data, NEEDLE.as_bytes());
    let (mut server, client) = start(home.path(), QUICK);
    let (status, answer) = client
        .delete(&format!("/v1/contexts/{bad}/quarantine"))
        .expect("an answer");
    assert_eq!(status, 204, "{answer}");
    for (to, from, whose) in [(&bad, &good, "good"), (&good, &bad, "bad")] {
        let all = || said_by(&client, to, from);
        until("all of them", || all().len() == 10);
        assert!(all().into_iter().eq(names(whose)));
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn what_an_init_sends_leaves_if_its_context_comes_to_be() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let to = counter(&client, &client.install("counter"), 0, 100);
    let id: ContextId = to.parse().expect("an id");
    let mut text = String::new();
    for byte in id.as_bytes() {
        write!(text, "\\{byte:02x}").expect("a string takes it");
    }
    let with_end = |end: &str| {
        made::framed(&format!(
            r#"(data (i32.const 512) "{text}{{}}increment")
               (func $init (param i32 i32) (result i32)
                 (call $send (i32.const 512) (i32.const 32) (i32.const 546) (i32.const 9) (i32.const 544) (i32.const 2)
                   (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 416))
                 {end})
               (func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))"#
        ))
    };
    let failing = client.install_component(&with_end("unreachable"));
    let args = json!({ "application": failing }).to_string();
    let refused = client.post("/v1/contexts", args.as_bytes());
    assert_ne!(refused.expect("an answer").0, 201);
    let good = client.install_component(&with_end("(call $ok-null)"));
    client.create(&good, None);
    client.create(&good, None);
    until("both", || figure(&client, "corelet_sends_ended_total") == 2);
    assert_eq!(count(&client, &to), 102);
    assert_eq!(call(&client, &to, "get", json!({})), Value::from(102));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
