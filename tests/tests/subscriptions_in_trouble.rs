//! Handlers that are told of events, through the real server, where something is in the way: a source or a
//! listener that is out of service, a listener without room, one that listens to itself without end, one that
//! is made anew, one that is told too often, and some that have many events looked at for nothing.

use std::time::Instant;

use corelet_store::ContextId;
use corelet_tests::hearing::{
    QUICK, SLOW, append, echo, events, follow, heard, rooms, subscriptions, tell, teller,
};
use corelet_tests::sending::{call, create_on, figure, lines, start, until};
use corelet_tests::{flip, made, start_unlooked};
use serde_json::json;

#[test]
fn events_wait_for_a_context_that_is_out_of_service() {
    const NEEDLE: &str = "what is going to be hit by a cosmic ray, so that its record is damaged";
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let (mut server, client) = start(home.path(), SLOW);
    let [good, bad, other] = rooms(&client, [0, 1, 0]);
    append(&client, &bad, NEEDLE);
    follow(&client, &good, &bad, false);
    follow(&client, &bad, &good, true);
    let names = |from: &'static str| (0..10).map(move |n| format!("{from}.{n}"));
    names("good").for_each(|name| append(&client, &good, &name));
    names("bad").for_each(|name| append(&client, &bad, &name));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    flip(&data, NEEDLE.as_bytes());

    let config = home.path().join("corelet.toml");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = start_unlooked(&data, &["--config", config]);
    let client = server.client();
    until("the damage to be met", || {
        let answer = client.call(&bad, "page", json!({})).expect("an answer");
        answer["error"]["data"]["name"] == "context_damaged"
    });
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    // Its listener asks in vain, and others are not held up by that; it hears nothing itself.
    std::fs::write(config, QUICK).expect("a configuration");
    let mut server = start_unlooked(&data, &["--config", config]);
    let client = server.client();
    until("it to be asked", || {
        figure(&client, "corelet_subscriptions_again_total") > 0
    });
    follow(&client, &good, &other, true);
    append(&client, &other, "else");
    until("what others say", || {
        heard(&client, &good, &other) == ["else"]
    });
    assert_eq!(subscriptions(&client, &good).len(), 2);
    let path = format!("/v1/contexts/{bad}/subscriptions");
    let (_, refused) = client.get(&path).expect("an answer");
    assert_eq!(
        refused["type"], "urn:corelet:error:context_damaged",
        "{refused}"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    flip(&data, NEEDLE.as_bytes());
    let (mut server, client) = start(home.path(), QUICK);
    let (status, answer) = client
        .delete(&format!("/v1/contexts/{bad}/quarantine"))
        .expect("an answer");
    assert_eq!(status, 204, "{answer}");
    for (to, from, whose) in [(&bad, &good, "good"), (&good, &bad, "bad")] {
        until("all of them", || heard(&client, to, from).len() >= 10);
        let all = heard(&client, to, from);
        let own = all.iter().filter(|name| *name != "else");
        assert!(own.eq(names(whose).collect::<Vec<_>>().iter()), "{all:?}");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Or it would wait for as long as the one before has to, with what that could not take.
#[test]
fn a_subscription_that_is_made_anew_begins_at_once() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[subscriptions]\nretry_after = \"1 h\"\n";
    let (mut server, client) = start(home.path(), settings);
    let [listener] = rooms(&client, [0]);
    let teller = create_on(&client, &client.install_component(&teller(1)), 1);
    call(&client, &teller, "run", json!({ "neither": "author" }));
    follow(&client, &listener, &teller, true);
    until("it to fail", || {
        figure(&client, "corelet_subscriptions_failed_total") == 1
    });
    tell(&client, &teller, "before");
    follow(&client, &listener, &teller, false);
    until("its beginning", || {
        subscriptions(&client, &listener)[0]["after"] == 2
    });
    tell(&client, &teller, "hello");
    until("it", || heard(&client, &listener, &teller) == ["hello"]);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What it is refused costs the shard of the source nothing.
#[test]
fn a_listener_that_is_told_too_often_waits_before_anything_is_read_for_it() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\ncontext_calls_per_second = 2\n{QUICK}batch_events_max = 1\n");
    let (mut server, client) = start(home.path(), &settings);
    let [listener] = rooms(&client, [0]);
    let teller = create_on(&client, &client.install_component(&teller(6)), 1);
    tell(&client, &teller, "hello");
    follow(&client, &listener, &teller, true);
    until("all of it", || {
        figure(&client, "corelet_subscriptions_events_told_total") == 6
    });
    let refused = figure(&client, "corelet_subscriptions_again_total");
    let looks = figure(&client, "corelet_subscriptions_looks_total");
    assert!((6..=8).contains(&looks), "{looks}, and {refused} refused");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Its place moves on all the same: it takes no more room than before.
#[test]
fn a_listener_without_room_goes_on_without_what_it_cannot_keep() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\ncontext_bytes_max = \"8 KiB\"\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let [listener] = rooms(&client, [0]);
    let teller = create_on(&client, &client.install_component(&teller(2)), 1);
    follow(&client, &listener, &teller, true);
    tell(&client, &teller, "first");
    until("the first", || {
        heard(&client, &listener, &teller).len() == 2
    });
    let refused = (0..).find_map(|n| {
        let args = json!({ "message": format!("{n:100}") });
        let answer = client.call(&listener, "append", args);
        let answer = answer.expect("an answer");
        (!answer["result"].is_object()).then_some(answer)
    });
    let refused = refused.expect("a bound");
    assert_eq!(
        refused["error"]["data"]["limit"], "limits.context_bytes_max",
        "{refused}"
    );
    tell(&client, &teller, &"x".repeat(200));
    until("both to be given up", || {
        figure(&client, "corelet_subscriptions_events_given_up_total") == 2
    });
    until("its place", || {
        subscriptions(&client, &listener)[0]["after"] == 4
    });
    assert_eq!(heard(&client, &listener, &teller), ["first", "first"]);
    let lines = lines(&client, &listener);
    assert!(
        lines.iter().any(|line| line.contains("goes on without")),
        "{lines:?}"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    // With more room it hears what comes.
    let (mut server, client) = start(home.path(), QUICK);
    tell(&client, &teller, "last");
    until("the last", || heard(&client, &listener, &teller).len() == 4);
    let all = ["first", "first", "last", "last"];
    assert_eq!(heard(&client, &listener, &teller), all);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn whoever_listens_to_itself_without_end_starves_nobody_and_can_be_stopped() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[collector]\nevery = \"100 ms\"\nevents_max = 10\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let [listener, source] = rooms(&client, [0, 0]);
    follow(&client, &listener, &source, true);
    let echo = create_on(&client, &client.install_component(&echo()), 0);
    call(&client, &echo, "run", json!({}));
    let beats = || {
        let last = events(&client, &echo).pop();
        last.map_or(0, |event| event["sequence"].as_u64().expect("a number"))
    };
    until("it to go on", || beats() > 200);
    // Its neighbours are served meanwhile, and it is called itself.
    for n in 1..=20 {
        append(&client, &source, "hello");
        until("the neighbour's", || {
            heard(&client, &listener, &source).len() == n
        });
    }
    call(&client, &echo, "run", json!({ "stop": true }));
    assert!(subscriptions(&client, &echo).is_empty());
    let last = beats();
    append(&client, &source, "hello");
    until("the neighbour's", || {
        heard(&client, &listener, &source).len() == 21
    });
    assert_eq!(beats(), last);
    // No more of it is kept than of others.
    until("the collector", || events(&client, &echo).len() == 10);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// An application whose method `run` tells 900 events of a kind of its own, or one for a room if it is
/// called with what that says.
fn noise() -> Vec<u8> {
    made::framed(
        r#"(data (i32.const 640) "appended")
           (func $call (param i32 i32 i32 i32) (result i32)
             (local $left i32)
             (if (i32.ne (local.get 3) (i32.const 2))
               (then
                 (call $emit (i32.const 640) (i32.const 8) (local.get 2) (local.get 3))
                 (return (call $ok-null))))
             (local.set $left (i32.const 900))
             (loop $again
               (call $emit (i32.const 640) (i32.const 3) (i32.const 272) (i32.const 4))
               (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             (call $ok-null))"#,
    )
}

/// An application whose method `run` has twenty handlers told events of a context from the beginning, of a kind
/// of which there are none.
fn eager(source: &str) -> Vec<u8> {
    let source: ContextId = source.parse().expect("an id");
    let byte = |byte: &u8| format!("\\{byte:02x}");
    let source: String = source.as_bytes().iter().map(byte).collect();
    made::framed(&format!(
        r#"(data (i32.const 512) "{source}none")
           (func $call (param i32 i32 i32 i32) (result i32)
             (local $handler i32)
             (local.set $handler (i32.const 65))
             (loop $again
               (i32.store8 (i32.const 600) (local.get $handler))
               (call $subscribe (i32.const 512) (i32.const 32) (i32.const 600) (i32.const 1)
                 (i32.const 1) (i32.const 544) (i32.const 4) (i32.const 1) (i64.const 0)
                 (i32.const 416))
               (local.set $handler (i32.add (local.get $handler) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $handler) (i32.const 85))))
             (call $ok-null))"#
    ))
}

/// Many events that are not for a handler are looked at once, and what comes behind them is heard. Those
/// who have it done all the time are made to wait, together.
#[test]
fn what_is_not_for_a_handler_is_passed_over_at_a_bounded_pace() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let [listener] = rooms(&client, [0]);
    let noise = create_on(&client, &client.install_component(&noise()), 1);
    for _ in 0..5 {
        call(&client, &noise, "run", json!({}));
    }
    follow(&client, &listener, &noise, true);
    until("the most to be noted", || {
        subscriptions(&client, &listener)[0]["after"] == 4_000
    });
    tell(&client, &noise, "hello");
    until("it", || heard(&client, &listener, &noise) == ["hello"]);
    let passed = || figure(&client, "corelet_subscriptions_passed_total");
    assert_eq!(passed(), 5, "a thousand at a time, and none of them twice");

    // Anew and anew, by some who have nothing else to do. One of them lives beside the source.
    let eager = client.install_component(&eager(&noise));
    let eager = [0, 0, 1].map(|shard| create_on(&client, &eager, shard));
    let (rounds, began) = (3, Instant::now());
    for _ in 0..rounds {
        for listener in &eager {
            call(&client, listener, "run", json!({}));
        }
        until("all to be passed over", || {
            eager.iter().all(|listener| {
                let all = subscriptions(&client, listener);
                all.len() == 20 && all.iter().all(|it| it["after"] == 4_000)
            })
        });
    }
    let passed = passed() - 5;
    // What they may at once, and what they may since then.
    let at_most = 200 + 200 * (began.elapsed().as_secs() + 1);
    let at_least = rounds * eager.len() as u64 * 20 * 4;
    assert!((at_least..=at_most).contains(&passed), "{passed}");
    assert!(figure(&client, "corelet_subscriptions_passes_refused_total") > 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
