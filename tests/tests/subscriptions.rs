//! Handlers that are told of events, through the real server: each event once in effect and in its
//! order, whenever the server is killed and wherever both contexts live; what cannot be told is said to
//! be missing, and what a handler cannot take is not in the way of others.
//!
//! `CORELET_EVENT_KILLS` sets how often it is killed (6).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use corelet_tests::hearing::{
    QUICK, SLOW, append, follow, heard, rooms, subscriptions, tell, teller, told,
};
use corelet_tests::sending::{call, create_on, figure, lines, run, said, start, until};
use corelet_tests::{Client, Server};
use serde_json::{Value, json};

#[test]
fn what_is_told_is_heard_once_and_in_its_order() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let [source, near, far] = rooms(&client, [0, 0, 1]);
    append(&client, &source, "before");
    follow(&client, &near, &source, true);
    follow(&client, &far, &source, false);
    follow(&client, &source, &source, false);
    for message in ["a", "b", "c"] {
        append(&client, &source, message);
    }
    let all_heard = || [&near, &far, &source].map(|room| heard(&client, room, &source));
    until("all of it", || {
        all_heard().iter().map(Vec::len).sum::<usize>() == 10
    });
    let [by_near, by_far, by_itself] = all_heard();
    assert_eq!(by_near, ["before", "a", "b", "c"]);
    assert_eq!(by_far, ["a", "b", "c"]);
    assert_eq!(by_itself, ["a", "b", "c"]);
    // What it has said to itself is told as well, and not said again.
    until("all events", || {
        figure(&client, "corelet_subscriptions_events_told_total") == 7 + 6 + 6
    });
    assert_eq!(figure(&client, "corelet_subscriptions_made_total"), 3);
    let listed = json!([{
        "context": &source,
        "handler": "said_elsewhere",
        "kind": "appended",
        "after": 7,
        "attempts": 0,
    }]);
    for room in [&near, &far, &source] {
        until("its place", || {
            json!(subscriptions(&client, room)) == listed
        });
    }
    assert_eq!(call(&client, &far, "followed", json!({})), json!([source]));
    let shown = run(home.path(), &["context", "subscriptions", &far]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(
        shown.contains("said_elsewhere") && shown.contains(&source),
        "{shown}"
    );

    // No client can say that it has heard something.
    let made_up =
        json!({ "heard": { "context": source, "events": [], "gap": null, "ended": true } });
    let called = client.call(&near, "said_elsewhere", made_up);
    let called = called.expect("an answer");
    assert_eq!(
        called["error"]["data"]["name"], "unknown_method",
        "{called}"
    );
    // Whoever does not listen any more is told nothing.
    assert_eq!(
        call(&client, &near, "unfollow", json!({ "room": source })),
        json!(true)
    );
    assert_eq!(
        call(&client, &near, "unfollow", json!({ "room": source })),
        json!(false)
    );
    append(&client, &source, "d");
    until("the others", || heard(&client, &far, &source).len() == 4);
    assert_eq!(heard(&client, &near, &source).len(), 4);
    assert!(subscriptions(&client, &near).is_empty());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

/// Whatever was acknowledged is heard once and in its order, whenever the server is killed.
#[test]
fn events_are_heard_once_and_in_their_order_across_kills() {
    let kills = std::env::var("CORELET_EVENT_KILLS");
    let kills: usize = kills.map_or(6, |kills| kills.parse().expect("a number"));
    const EACH: usize = 12;
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let sources = rooms(&client, [0, 1]);
    let listeners = rooms(&client, [0, 1]);
    for listener in &listeners {
        for source in &sources {
            follow(&client, listener, source, true);
        }
    }
    drop(client);
    for kill in 0..kills {
        let client = server.client();
        for n in 0..EACH {
            for source in &sources {
                append(&client, source, &format!("{kill}.{n}"));
            }
            // They have something else to do as well.
            append(&client, &listeners[n % 2], "own");
        }
        drop(client);
        thread::park_timeout(Duration::from_millis((kill as u64 * 17) % 40));
        server.kill();
        (server, _) = start(home.path(), QUICK);
    }
    let client = server.client();
    let expected: Vec<_> = (0..kills)
        .flat_map(|kill| (0..EACH).map(move |n| format!("{kill}.{n}")))
        .collect();
    for listener in &listeners {
        for source in &sources {
            until("all of it", || {
                heard(&client, listener, source).len() >= expected.len()
            });
            assert_eq!(heard(&client, listener, source), expected);
        }
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

#[test]
fn a_handler_is_told_which_events_are_missing() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!(
        "[collector]\nevery = \"100 ms\"\nevents_max = 10\n[limits]\nargs_bytes_max = \"20 KiB\"\n\
         send_bytes_max = \"1 KiB\"\noutcome_bytes_max = \"1 KiB\"\n{QUICK}"
    );
    let (mut server, client) = start(home.path(), &settings);
    let [old, listener] = rooms(&client, [0, 1]);
    for n in 0..30 {
        append(&client, &old, &format!("{n}"));
    }
    let first = || {
        let path = format!("/v1/contexts/{old}/events?after=0");
        let (_, page) = client.get(&path).expect("an answer");
        page["events"][0]["sequence"].as_u64().unwrap_or(0)
    };
    until("the collector", || first() == 21);
    follow(&client, &listener, &old, true);
    until("the rest", || heard(&client, &listener, &old).len() == 10);
    let rest: Vec<_> = (20..30).map(|n| format!("{n}")).collect();
    assert_eq!(heard(&client, &listener, &old), rest);
    let missing =
        |from: u64, to: u64, room: &str| format!("events {from} to {to} of {room} are missing");
    assert_eq!(lines(&client, &listener), [missing(1, 20, &old)]);

    // What no handler could take is missing, too, and in nobody's way.
    let [listener] = rooms(&client, [0]);
    let teller = create_on(&client, &client.install_component(&teller(1)), 1);
    let long = "x".repeat(20_200);
    let mut deep = json!(1);
    for _ in 0..121 {
        deep = json!([deep]);
    }
    for payload in [
        json!({ "author": "ada", "text": "first" }),
        json!({ "author": "ada", "text": long }),
        json!({ "author": "ada", "text": deep }),
        json!({ "author": "ada", "text": "last" }),
    ] {
        call(&client, &teller, "run", payload);
    }
    follow(&client, &listener, &teller, true);
    until("the last", || heard(&client, &listener, &teller).len() == 2);
    assert_eq!(heard(&client, &listener, &teller), ["first", "last"]);
    let those = [2, 3].map(|n| missing(n, n, &teller));
    assert_eq!(lines(&client, &listener), those);
    assert_eq!(figure(&client, "corelet_subscriptions_gaps_total"), 3);
    assert_eq!(figure(&client, "corelet_subscriptions_failed_total"), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// It is told alone then, is left out in the end, and takes none of its neighbours along.
#[test]
fn an_event_that_its_handler_cannot_take_is_left_out() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let [listener] = rooms(&client, [0]);
    let teller = create_on(&client, &client.install_component(&teller(1)), 1);
    for payload in [
        json!({ "author": "ada", "text": "first" }),
        json!({ "author": "ada", "text": "" }),
        json!({ "author": "ada", "text": "second" }),
        json!({ "neither": "author", "nor": "text" }),
        json!({ "author": "ada", "text": "last" }),
    ] {
        call(&client, &teller, "run", payload);
    }
    follow(&client, &listener, &teller, true);
    until("the last", || heard(&client, &listener, &teller).len() == 3);
    assert_eq!(
        heard(&client, &listener, &teller),
        ["first", "second", "last"]
    );
    let given_up = figure(&client, "corelet_subscriptions_events_given_up_total");
    assert_eq!(given_up, 2);
    // All together once, and each of the two three times.
    assert_eq!(figure(&client, "corelet_subscriptions_failed_total"), 7);
    let tells = |part: &str| {
        lines(&client, &listener)
            .iter()
            .any(|line| line.contains(part))
    };
    for part in [
        "one by one",
        "event 2 of",
        "attempt 3 of 3",
        "goes on without",
        "bad_arguments",
    ] {
        assert!(tells(part), "{part}: {:?}", lines(&client, &listener));
    }
    // And those that come are told together again.
    call(
        &client,
        &teller,
        "run",
        json!({ "author": "ada", "text": "again" }),
    );
    until("one more", || heard(&client, &listener, &teller).len() == 4);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_subscription_ends_with_the_context_whose_events_they_are() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let [source, listener, other] = rooms(&client, [0, 1, 1]);
    let delete = |context: &str| {
        let path = format!("/v1/contexts/{context}");
        let (status, _) = client.delete(&path).expect("an answer");
        assert_eq!(status, 204);
    };
    follow(&client, &listener, &source, true);
    follow(&client, &other, &source, true);
    append(&client, &source, "hello");
    until("both", || {
        [&listener, &other]
            .iter()
            .all(|room| heard(&client, room, &source).len() == 1)
    });
    // Nobody waits for one that is gone.
    delete(&other);
    append(&client, &source, "last");
    until("the last", || heard(&client, &listener, &source).len() == 2);
    delete(&source);
    let closed = |room: &str| json!({ "room": room });
    until("the end", || {
        told(&client, &listener, "closed") == [closed(&source)]
    });
    assert!(subscriptions(&client, &listener).is_empty());
    // There never was such a one, or it is not there any more: that is the same.
    follow(&client, &listener, &other, false);
    until("the end", || told(&client, &listener, "closed").len() == 2);
    assert_eq!(figure(&client, "corelet_subscriptions_ended_total"), 2);
    until("nobody to be known", || {
        figure(&client, "corelet_subscriptions_known") == 0
    });
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Whatever the application makes of it, and for good.
#[test]
fn an_operator_ends_subscriptions() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let [listener, first, second, third] = rooms(&client, [1, 0, 1, 0]);
    for source in [&first, &second, &third] {
        follow(&client, &listener, source, true);
        append(&client, source, "hello");
        until("it", || heard(&client, &listener, source).len() == 1);
    }
    let path = format!("/v1/contexts/{listener}/subscriptions");
    let end = |client: &Client, query: &str| {
        let answer = client.delete(&format!("{path}?{query}"));
        let (status, answer) = answer.expect("an answer");
        (status, answer["ended"].as_u64())
    };
    let of_first = format!("from={first}&handler=said_elsewhere");
    assert_eq!(
        end(&client, &format!("from={first}&handler=other")),
        (200, Some(0))
    );
    assert_eq!(end(&client, &of_first), (200, Some(1)));
    drop(client);
    // That was durable.
    server.kill();
    (server, _) = start(home.path(), QUICK);
    let client = server.client();
    assert_eq!(end(&client, &of_first), (200, Some(0)));
    let told = format!("an operator has ended this handler's subscription to {first}");
    append(&client, &first, "nobody hears this");
    append(&client, &second, "again");
    until("it", || heard(&client, &listener, &second).len() == 2);
    assert_eq!(heard(&client, &listener, &first), ["hello"]);
    assert_eq!(subscriptions(&client, &listener).len(), 2);

    let unsubscribe = |more: &[&str]| {
        let mut args = vec!["context", "unsubscribe", "-o", "json", listener.as_str()];
        args.extend(more);
        let ended = run(home.path(), &args);
        serde_json::from_slice::<Value>(&ended.stdout).expect("a document")
    };
    let by_name = unsubscribe(&["--handler", "said_elsewhere", "--from", &second]);
    assert_eq!(by_name, json!({ "ended": 1 }));
    assert_eq!(unsubscribe(&["--all"]), json!({ "ended": 1 }));
    assert!(subscriptions(&client, &listener).is_empty());
    until("nobody to be known", || {
        figure(&client, "corelet_subscriptions_known") == 0
    });
    let words = lines(&client, &listener);
    assert_eq!(
        words.last(),
        Some(&told.replace(&first, &third)),
        "{words:?}"
    );

    // It may subscribe again.
    follow(&client, &listener, &first, false);
    append(&client, &first, "this it does");
    until("it", || heard(&client, &listener, &first).len() == 2);
    // What is not as it should be ends nothing.
    for (query, status) in [("of=1", 400), ("from=%ff", 400), ("from=nobody", 404)] {
        assert_eq!(end(&client, query), (status, None), "{query}");
    }
    let nobody = client.delete(&format!("/v1/contexts/{}/subscriptions", "1".repeat(32)));
    assert_eq!(nobody.expect("an answer").0, 404);
    assert_eq!(subscriptions(&client, &listener).len(), 1);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_context_has_so_many_subscriptions() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\nsubscriptions_max = 2\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let [first, second, third, listener] = rooms(&client, [0, 1, 0, 1]);
    follow(&client, &listener, &first, true);
    follow(&client, &listener, &second, true);
    // One that it has is no further one.
    follow(&client, &listener, &first, false);
    let args = json!({ "room": third, "from_the_beginning": true });
    let refused = client.call(&listener, "follow", args).expect("an answer");
    assert_eq!(
        refused["error"]["data"]["error"]["code"], "too_many",
        "{refused}"
    );
    let of_limit = r#"corelet_limits_reached_total{limit="limits.subscriptions_max"}"#;
    assert_eq!(client.metric(of_limit), 1);
    call(&client, &listener, "unfollow", json!({ "room": first }));
    follow(&client, &listener, &third, true);
    append(&client, &third, "hello");
    until("it", || heard(&client, &listener, &third).len() == 1);
    assert_eq!(subscriptions(&client, &listener).len(), 2);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Many events are told together, and whoever calls the listener meanwhile is answered.
#[test]
fn a_flood_of_events_is_heard_in_its_order() {
    const BATCHES: usize = 40;
    const EACH: usize = 50;
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let [source, near, far] = rooms(&client, [0, 0, 1]);
    follow(&client, &near, &source, false);
    follow(&client, &far, &source, false);
    for batch in 0..BATCHES {
        let one = |n: usize| {
            let args = json!({ "message": format!("{}", batch * EACH + n) });
            let params = json!({ "context_id": source, "method": "append", "args": args });
            json!({ "jsonrpc": "2.0", "id": n, "method": "execute", "params": params })
        };
        let body = json!((0..EACH).map(one).collect::<Vec<_>>()).to_string();
        client.post("/rpc", body.as_bytes()).expect("answers");
        append(&client, &far, "own");
    }
    let expected: Vec<_> = said(&client, &source)
        .into_iter()
        .map(|said| said.0)
        .collect();
    assert_eq!(expected.len(), BATCHES * EACH);
    for listener in [&near, &far] {
        until("all of it", || {
            heard(&client, listener, &source).len() >= expected.len()
        });
        assert_eq!(heard(&client, listener, &source), expected);
    }
    let turns = figure(&client, "corelet_subscriptions_told_total");
    let events = figure(&client, "corelet_subscriptions_events_told_total");
    assert_eq!(events, 2 * (BATCHES * EACH) as u64);
    assert!(turns < events, "{turns} turns");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// In each copy that is made meanwhile a listener has heard nothing that its source has not told, and
/// hears the rest, though all events have other numbers there: also where it had heard a part of those
/// that one call has told.
#[test]
fn a_backup_has_the_event_of_each_effect() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("{QUICK}batch_events_max = 3\n");
    let (mut server, client) = start(home.path(), &settings);
    let teller = client.install_component(&teller(5));
    let sources = [0, 1].map(|shard| create_on(&client, &teller, shard));
    let listeners = rooms(&client, [1, 0]);
    for (listener, source) in listeners.iter().zip(&sources) {
        follow(&client, listener, source, true);
    }
    let is_over = AtomicBool::new(false);
    let copies: Vec<_> = thread::scope(|scope| {
        let client = server.client();
        let (sources, is_over) = (&sources, &is_over);
        scope.spawn(move || {
            for n in 0..1_000 {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                tell(&client, &sources[n % 2], &format!("{n}"));
            }
        });
        let _end = Raised(is_over);
        let copies = (0..4).map(|n| {
            let copy = home.path().join(format!("copy-{n}"));
            let to = copy.to_str().expect("a path in UTF-8");
            run(home.path(), &["backup", to, "--with-keys"]);
            copy
        });
        copies.collect()
    });
    server.kill();
    drop(server);
    for copy in copies {
        let restored = tempfile::tempdir().expect("a directory");
        run(
            restored.path(),
            &["restore", copy.to_str().expect("a path in UTF-8")],
        );
        all_is_heard(restored.path(), &["--shards", "2"], &sources, &listeners);
    }
}

/// Says that it is over when it goes, also by a panic: whoever waits for that would wait for ever.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a listener has heard is what its source has, as soon as nothing happens any more.
fn all_is_heard(home: &Path, more: &[&str], sources: &[String], listeners: &[String]) {
    let mut server = Server::start(&home.join("data"), more);
    let client = server.client();
    for (listener, source) in listeners.iter().zip(sources) {
        let own = told(&client, source, "appended").into_iter();
        let text = |payload: Value| payload["text"].as_str().expect("text").to_owned();
        let expected: Vec<_> = own.map(text).collect();
        until("all of it", || {
            heard(&client, listener, source).len() >= expected.len()
        });
        assert_eq!(heard(&client, listener, source), expected);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn subscriptions_go_on_with_another_number_of_shards_and_are_in_no_export() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let sources = rooms(&client, [0, 1]);
    let listeners = rooms(&client, [0, 0]);
    for (listener, source) in listeners.iter().zip(&sources) {
        follow(&client, listener, source, true);
        for n in 0..50 {
            append(&client, source, &format!("{n}"));
        }
    }
    let copy = home.path().join("listener.clx");
    let copy = copy.to_str().expect("a path in UTF-8");
    run(
        home.path(),
        &["context", "export", &listeners[0], "--to", copy],
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["reshard", "--shards", "3"]);
    all_is_heard(home.path(), &[], &sources, &listeners);

    let elsewhere = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(elsewhere.path(), QUICK);
    client.install("chat");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(elsewhere.path(), &["context", "import", copy]);
    let (mut server, client) = start(elsewhere.path(), QUICK);
    assert!(subscriptions(&client, &listeners[0]).is_empty());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
