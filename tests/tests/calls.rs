//! Calls that contexts send to each other, through the real server: each is carried out once and in
//! its order, whenever the server is killed, and what it came to is told; bounded, and without
//! holding up those who call from outside.
//!
//! `CORELET_CALL_KILLS` sets how often it is killed (6).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use corelet_tests::sending::{
    QUICK, SLOW, call, count, counter, create_on, figure, give, incrementing, lines, relay,
    returned, run, said, sent, start, until,
};
use corelet_tests::{SetOnDrop, made};
use serde_json::{Value, json};

#[test]
fn a_call_is_carried_out_elsewhere_and_what_it_came_to_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let application = client.install("counter");
    let [first, second, third] = [0, 1, 0].map(|n| counter(&client, &application, n, 100));
    for (from, to, by) in [
        (&first, &second, 1),
        (&second, &first, 10),
        (&first, &third, 2),
        (&third, &third, 50),
    ] {
        give(&client, from, to, by);
    }
    let counts = || [&first, &second, &third].map(|context| count(&client, context));
    until("all of it", || counts() == [107, 91, 102]);
    until("the callbacks", || {
        figure(&client, "corelet_sends_ended_total") == 4
    });
    assert_eq!(figure(&client, "corelet_sends_made_total"), 4);
    assert_eq!(figure(&client, "corelet_sends_taken_total"), 4);
    assert_eq!(figure(&client, "corelet_sends_failed_total"), 0);
    assert!(returned(&client, &first).is_empty() && sent(&client, &first).is_empty());

    // The other one sees who calls, and no client can call what is called back.
    let rooms = [0, 1].map(|shard| create_on(&client, &client.install("chat"), shard));
    relay(&client, &rooms[0], "hello", &[&rooms[1], &rooms[0]]);
    until("the way back", || said(&client, &rooms[0]).len() == 2);
    let author = |room: &str| ("hello".to_owned(), format!("corelet:context/{room}"));
    assert_eq!(said(&client, &rooms[1]), [author(&rooms[0])]);
    assert_eq!(said(&client, &rooms[0])[1], author(&rooms[1]));
    let args = json!({ "outcome": { "error": { "code": "made up" } }, "data": 5 });
    let called = client.call(&first, "given", args).expect("an answer");
    assert_eq!(
        called["error"]["data"]["name"], "unknown_method",
        "{called}"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

/// Whatever was acknowledged as sent is carried out once, and in its order, whenever the server is
/// killed; and what was given is on one side or on the other.
#[test]
fn calls_are_carried_out_once_and_in_their_order_across_kills() {
    let kills = std::env::var("CORELET_CALL_KILLS");
    let kills: usize = kills.map_or(6, |kills| kills.parse().expect("a number"));
    const EACH: usize = 12;
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let counters = client.install("counter");
    let purses: Vec<_> = (0..4)
        .map(|n| counter(&client, &counters, n % 2, 1_000))
        .collect();
    // What comes to this one is refused, and comes back.
    let full = counter(&client, &counters, 1, i64::MAX);
    let chat = client.install("chat");
    let [here, near, far] = [0, 0, 1].map(|shard| create_on(&client, &chat, shard));
    drop(client);
    for kill in 0..kills {
        let client = server.client();
        for n in 0..EACH {
            let message = format!("{kill}.{n}");
            relay(&client, &here, &message, &[&near]);
            relay(&client, &here, &message, &[&far, &near]);
            let from = &purses[(n + kill) % 4];
            give(&client, from, &purses[n % 4], 1 + n as i64);
            give(&client, from, &full, 7);
        }
        drop(client);
        thread::park_timeout(Duration::from_millis((kill as u64 * 17) % 40));
        server.kill();
        (server, _) = start(home.path(), QUICK);
    }
    let client = server.client();
    let all = [&here, &near, &far].into_iter().chain(&purses);
    for context in all.clone() {
        until("the end of all calls", || sent(&client, context).is_empty());
    }
    let expected: Vec<_> = (0..kills)
        .flat_map(|kill| (0..EACH).map(move |n| format!("{kill}.{n}")))
        .collect();
    let by = |room: &str, author: &str| -> Vec<String> {
        let author = format!("corelet:context/{author}");
        let said = said(&client, room).into_iter();
        said.filter(|said| said.1 == author)
            .map(|said| said.0)
            .collect()
    };
    assert_eq!(by(&near, &here), expected);
    assert_eq!(by(&far, &here), expected);
    assert_eq!(by(&near, &far), expected);
    let sum: i64 = purses.iter().map(|context| count(&client, context)).sum();
    assert_eq!(sum, 4_000);
    assert_eq!(count(&client, &full), i64::MAX);
    let back: usize = purses.iter().map(|it| returned(&client, it).len()).sum();
    assert_eq!(back, kills * EACH);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

/// The same where many wait, so that each kill meets some between two of their steps.
#[test]
fn calls_that_wait_are_carried_out_once_and_in_their_order_across_kills() {
    let kills = std::env::var("CORELET_CALL_KILLS");
    let kills: u64 = kills.map_or(6, |kills| kills.parse().expect("a number"));
    const EACH: usize = 60;
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let counters = client.install("counter");
    let purses: Vec<_> = (0..4)
        .map(|n| counter(&client, &counters, n % 2, 10_000))
        .collect();
    let full = counter(&client, &counters, 1, i64::MAX);
    let chat = client.install("chat");
    let [here, near, far] = [0, 0, 1].map(|shard| create_on(&client, &chat, shard));
    for n in 0..EACH {
        relay(&client, &here, &n.to_string(), &[&near, &far]);
        relay(&client, &here, &n.to_string(), &[&far]);
        let from = &purses[n % 4];
        give(&client, from, &purses[(n + 1) % 4], 1 + n as i64);
        give(&client, from, &full, 7);
    }
    drop(client);
    server.kill();
    for kill in 0..kills {
        (server, _) = start(home.path(), QUICK);
        thread::park_timeout(Duration::from_millis((kill * 7) % 23));
        server.kill();
    }
    let (mut server, client) = start(home.path(), QUICK);
    for context in [&here, &near, &far].into_iter().chain(&purses) {
        until("the end of all calls", || sent(&client, context).is_empty());
    }
    let expected: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
    for (to, from) in [(&near, &here), (&far, &here), (&far, &near)] {
        let author = format!("corelet:context/{from}");
        let said = said(&client, to).into_iter();
        let said = said.filter(|said| said.1 == author).map(|said| said.0);
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }
    let sum: i64 = purses.iter().map(|context| count(&client, context)).sum();
    assert_eq!((sum, count(&client, &full)), (40_000, i64::MAX));
    let back: usize = purses.iter().map(|it| returned(&client, it).len()).sum();
    assert_eq!(back, EACH);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(home.path(), &["check"]);
}

#[test]
fn calls_that_wait_are_listed_and_go_on_after_a_restart() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let application = client.install("counter");
    let [from, to] = [0, 1].map(|shard| counter(&client, &application, shard, 1_000));
    for by in 0..200 {
        give(&client, &from, &to, by);
    }
    let calls = sent(&client, &from);
    assert_eq!(calls.len(), 100, "a page");
    assert_eq!(
        (&calls[0]["to"], &calls[0]["method"]),
        (&json!(to), &json!("increment"))
    );
    assert_eq!(
        (&calls[0]["callback"], &calls[0]["depth"]),
        (&json!("given"), &json!(1))
    );
    let by = |call: &Value| call["args"]["by"].as_i64().expect("a number");
    assert!(calls.is_sorted_by_key(by));
    let listed = run(
        home.path(),
        &["context", "calls", &from, "--limit", "150", "-o", "json"],
    );
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let next = listed["next"].as_str().expect("there are more");
    let rest = run(home.path(), &["context", "calls", &from, "--after", next]);
    let rest = String::from_utf8(rest.stdout).expect("text");
    assert!(
        rest.contains("increment") && rest.contains("given"),
        "{rest}"
    );
    until("its age", || {
        figure(&client, "corelet_sends_oldest_milliseconds") > 0
    });
    assert_eq!(figure(&client, "corelet_sends_pairs_waiting"), 1);
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let (mut server, client) = start(home.path(), QUICK);
    until("all of them", || sent(&client, &from).is_empty());
    let given: i64 = (0..200).sum();
    assert_eq!(
        [&from, &to].map(|it| count(&client, it)),
        [1_000 - given, 1_000 + given]
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn what_cannot_be_carried_out_is_told_with_its_reason() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let application = client.install("counter");
    let from = counter(&client, &application, 0, 100);
    let full = counter(&client, &application, 1, i64::MAX);
    let deleted = counter(&client, &application, 1, 0);
    let (status, _) = client
        .delete(&format!("/v1/contexts/{deleted}"))
        .expect("an answer");
    assert_eq!(status, 204);
    let other = |component: Vec<u8>| create_on(&client, &client.install_component(&component), 1);
    let cases = [
        (deleted, "unknown_context"),
        (
            create_on(&client, &client.install("chat"), 1),
            "unknown_method",
        ),
        (other(incrementing(0, "(call $ok-null)")), "not_an_update"),
        (full, "application_error"),
        (other(incrementing(1, "unreachable")), "trapped"),
        (
            other(incrementing(1, "(call $ok (i32.const 256) (i32.const 5))")),
            "invalid_output",
        ),
        (
            other(incrementing(1, &nested("$ok", 121))),
            "invalid_output",
        ),
        (
            other(incrementing(1, &nested("$err", 121))),
            "invalid_output",
        ),
        (
            other(incrementing(1, &nested("$err", 120))),
            "application_error",
        ),
    ];
    for (n, (to, code)) in cases.iter().enumerate() {
        give(&client, &from, to, 10);
        until(code, || returned(&client, &from).len() > n);
        assert_eq!(returned(&client, &from)[n], *code);
        assert_eq!(count(&client, &from), 100);
    }
    assert_eq!(
        figure(&client, "corelet_sends_failed_total"),
        cases.len() as u64
    );
    // Whoever wants no callback finds it in its log.
    let room = create_on(&client, &client.install("chat"), 0);
    relay(&client, &room, "hello", &[&from]);
    until("a line", || !lines(&client, &room).is_empty());
    let line = &lines(&client, &room)[0];
    assert!(line.contains("has failed: unknown_method"), "{line}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Answers with so many lists inside each other.
fn nested(answer: &str, levels: usize) -> String {
    format!(
        "(memory.fill (i32.const 1024) (i32.const 0x5b) (i32.const {levels}))
         (memory.fill (i32.const {}) (i32.const 0x5d) (i32.const {levels}))
         (call {answer} (i32.const 1024) (i32.const {}))",
        1024 + levels,
        2 * levels
    )
}

#[test]
fn an_answer_that_nobody_expected_is_no_failure_of_the_callback() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let from = counter(&client, &client.install("counter"), 0, 100);
    let lists = client.install_component(&incrementing(1, &nested("$ok", 120)));
    let to = create_on(&client, &lists, 1);
    give(&client, &from, &to, 10);
    until("its end", || {
        figure(&client, "corelet_sends_ended_total") == 1
    });
    assert_eq!(figure(&client, "corelet_sends_callbacks_failed_total"), 0);
    assert_eq!(count(&client, &from), 90, "it was taken");
    assert!(sent(&client, &from).is_empty() && returned(&client, &from).is_empty());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_callback_that_fails_is_called_again_and_given_up_in_the_end() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let application = client.install("counter");
    let [from, to] = [0, 1].map(|shard| counter(&client, &application, shard, 0));
    call(&client, &to, "increment", json!({ "by": i64::MAX }));
    // All come back, one in a second; the last ones do not fit when they do.
    (0..6).for_each(|_| give(&client, &from, &to, 1));
    until("the first to come back", || count(&client, &from) > -6);
    call(&client, &from, "increment", json!({ "by": i64::MAX }));
    while count(&client, &from) < i64::MAX {
        client
            .call(&from, "increment", json!({ "by": 1 }))
            .expect("an answer");
    }
    let given_up = || figure(&client, "corelet_sends_callbacks_given_up_total");
    until("one to be given up", || given_up() >= 1);
    assert_eq!(count(&client, &from), i64::MAX);
    let tells = |part: &str| lines(&client, &from).iter().any(|line| line.contains(part));
    for part in ["attempt 1 of 3", "attempt 2 of 3", "is given up"] {
        until(part, || tells(part));
    }
    // Those behind it go on.
    call(&client, &from, "increment", json!({ "by": -10 }));
    server.kill();
    let (mut server, client) = start(home.path(), QUICK);
    until("the end of all", || sent(&client, &from).is_empty());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn what_a_context_has_sent_is_bounded_in_number_and_bytes() {
    for limits in ["sent_calls_max = 5", "sent_bytes_max = \"2 KiB\""] {
        let home = tempfile::tempdir().expect("a directory");
        let (mut server, client) = start(home.path(), &format!("[limits]\n{limits}\n{SLOW}"));
        let chat = client.install("chat");
        let [from, to] = [0, 1].map(|shard| create_on(&client, &chat, shard));
        let message = "x".repeat(300);
        let args = json!({ "message": message, "rooms": [&to] });
        let mut sent_ok = 0;
        const CALLS: usize = 12;
        for _ in 0..CALLS {
            let answer = client
                .call(&from, "relay", args.clone())
                .expect("an answer");
            if answer["result"].is_object() {
                sent_ok += 1;
                continue;
            }
            let error = &answer["error"]["data"]["error"];
            assert_eq!(error["code"], "too_many", "{limits}: {answer}");
        }
        assert!((4..9).contains(&sent_ok), "{limits}: {sent_ok}");
        assert!(sent(&client, &from).len() <= 5);
        let name = limits.split(' ').next().expect("a name");
        let reached = client.metric(&format!(
            r#"corelet_limits_reached_total{{limit="limits.{name}"}}"#
        ));
        assert_eq!(reached as usize, CALLS - sent_ok, "{limits}");
        // What was not sent has left nothing.
        assert_eq!(said(&client, &from).len(), sent_ok);
        server.kill();
        let (mut server, client) = start(home.path(), QUICK);
        until("those that were sent", || sent(&client, &from).is_empty());
        assert_eq!(said(&client, &to).len(), sent_ok);
        relay(&client, &from, "again", &[&to]);
        assert_eq!(server.stop(), Some(0), "{}", server.log());
    }
}

#[test]
fn calls_that_cause_each_other_end_at_their_depth() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\nsent_depth_max = 3\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let chat = client.install("chat");
    let [here, there] = [0, 1].map(|shard| create_on(&client, &chat, shard));
    relay(&client, &here, "round", &[&there, &here, &there]);
    until("three stops", || said(&client, &there).len() == 2);
    // The third cannot send a fourth, says so, and so has done nothing.
    relay(&client, &here, "farther", &[&there, &here, &there, &here]);
    until("a line", || !lines(&client, &here).is_empty());
    assert!(
        lines(&client, &here)[0].contains("too_deep"),
        "{:?}",
        lines(&client, &here)
    );
    assert_eq!(
        [&here, &there].map(|room| said(&client, room).len()),
        [4, 3]
    );
    let reached = client.metric(r#"corelet_limits_reached_total{limit="limits.sent_depth_max"}"#);
    assert!(
        reached > 0,
        "it ran for another context's call, and is counted"
    );

    // One that sends itself the same for ever.
    let circle = made::framed(
        r#"(data (i32.const 544) "{}")
           (func $call (param i32 i32 i32 i32) (result i32)
             (call $id (i32.const 400))
             (call $send (i32.load (i32.const 400)) (i32.load (i32.const 404))
               (i32.const 266) (i32.const 3) (i32.const 544) (i32.const 2)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 416))
             (call $ok-number (i64.load8_u (i32.const 416))))"#,
    );
    let circle = client.create(&client.install_component(&circle), None);
    let before = figure(&client, "corelet_sends_made_total");
    let ended = || figure(&client, "corelet_sends_ended_total");
    let ended_before = ended();
    assert_eq!(call(&client, &circle, "run", json!({})), 0);
    until("the last of them", || ended() == ended_before + 3);
    assert_eq!(figure(&client, "corelet_sends_made_total"), before + 3);
    assert!(sent(&client, &circle).is_empty());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_context_forgets_senders_whose_calls_have_ended() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\nsenders_max = 8\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let application = client.install("counter");
    let to = counter(&client, &application, 0, 0);
    let senders: Vec<_> = (0..30).map(|_| client.create(&application, None)).collect();
    for (n, from) in (1..).zip(&senders) {
        give(&client, from, &to, 1);
        if n == 5 {
            // Whoever is gone needs no place either.
            until("its call", || count(&client, &to) == n);
            client
                .delete(&format!("/v1/contexts/{from}"))
                .expect("an answer");
        }
    }
    until("all of them", || count(&client, &to) == 30);
    senders
        .iter()
        .skip(5)
        .for_each(|from| give(&client, from, &to, 1));
    until("all of them again", || count(&client, &to) == 55);
    let listed = run(
        home.path(),
        &["context", "entries", &to, "--space", "agenda", "-o", "json"],
    );
    let listed = String::from_utf8(listed.stdout).expect("text");
    // One each, their number, and few that came at the same time.
    assert!(listed.lines().count() < 16, "{listed}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn an_answer_that_is_kept_for_a_callback_is_bounded() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\noutcome_bytes_max = \"16 B\"\n{QUICK}");
    let (mut server, client) = start(home.path(), &settings);
    let application = client.install("counter");
    let [from, small, large] = [0, 1, 1].map(|n| counter(&client, &application, n, 100));
    call(
        &client,
        &large,
        "increment",
        json!({ "by": i64::MAX - 200 }),
    );
    give(&client, &from, &small, 1);
    give(&client, &from, &large, 1);
    until("both", || figure(&client, "corelet_sends_ended_total") == 2);
    assert_eq!(returned(&client, &from), ["limit_exceeded"]);
    assert_eq!([&from, &small].map(|it| count(&client, it)), [99, 101]);
    assert_eq!(
        count(&client, &large),
        i64::MAX - 100,
        "nothing of it has happened"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// They wait for few of them each time, however many there are.
#[test]
fn calls_of_other_contexts_leave_room_for_those_from_outside() {
    const SENDERS: usize = 20;
    const EACH: usize = 60;
    const ALL: u64 = (SENDERS * EACH) as u64;
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let application = client.install("counter");
    let to = counter(&client, &application, 0, 0);
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| client.create(&application, None))
        .collect();
    let batch = |from: &String| {
        let params = json!({ "context_id": from, "method": "give", "args": { "to": to, "by": 1 } });
        let one = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "execute", "params": params });
        let batch: Vec<_> = (0..EACH).map(one).collect();
        let body = json!(batch).to_string();
        client.post("/rpc", body.as_bytes()).expect("answers");
    };
    senders.iter().for_each(batch);
    server.kill();

    // Now all of them are there at once.
    let (mut server, client) = start(home.path(), QUICK);
    let before = count(&client, &to).unsigned_abs();
    let mut calls = 0;
    while count(&client, &to).unsigned_abs() % 1_000_000 < ALL {
        call(&client, &to, "increment", json!({ "by": 1_000_000 }));
        calls += 1;
    }
    let left = ALL - before;
    assert!(
        left > ALL / 2,
        "{before} were taken before anybody could call"
    );
    assert!(
        calls * 50 > left,
        "{calls} calls while {left} others were taken"
    );
    until("all of them", || {
        senders.iter().all(|from| sent(&client, from).is_empty())
    });
    assert_eq!(count(&client, &to).unsigned_abs(), ALL + calls * 1_000_000);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What was given is on one side or on the other, or on its way, in each copy that is made meanwhile.
#[test]
fn a_backup_has_both_sides_of_each_call() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), QUICK);
    let application = client.install("counter");
    let purses: Vec<_> = (0..4)
        .map(|n| counter(&client, &application, n % 2, 1_000))
        .collect();
    let is_over = AtomicBool::new(false);
    let copies: Vec<_> = thread::scope(|scope| {
        let _end = SetOnDrop(&is_over);
        let giver = server.client();
        let (purses, is_over) = (&purses, &is_over);
        scope.spawn(move || {
            for n in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                give(
                    &giver,
                    &purses[n % 4],
                    &purses[(n + 1) % 4],
                    1 + (n % 7) as i64,
                );
            }
        });
        let copies = (0..5).map(|n| {
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
        let (mut server, client) = start(restored.path(), QUICK);
        for purse in &purses {
            until("the end of all calls", || sent(&client, purse).is_empty());
        }
        let sum: i64 = purses.iter().map(|purse| count(&client, purse)).sum();
        assert_eq!(sum, 4_000);
        assert_eq!(server.stop(), Some(0), "{}", server.log());
    }
}

#[test]
fn what_a_context_has_sent_goes_with_it_and_is_in_no_export() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), SLOW);
    let application = client.install("counter");
    let [from, to] = [0, 1].map(|shard| counter(&client, &application, shard, 1_000));
    (0..20).for_each(|_| give(&client, &from, &to, 1));
    let copy = home.path().join("from.clx");
    run(
        home.path(),
        &[
            "context",
            "export",
            &from,
            "--to",
            copy.to_str().expect("text"),
        ],
    );
    let (status, _) = client
        .delete(&format!("/v1/contexts/{from}"))
        .expect("an answer");
    assert_eq!(status, 204);
    until("it to be forgotten", || {
        figure(&client, "corelet_sends_pairs_waiting") == 0
    });
    let taken = count(&client, &to) - 1_000;
    assert!(taken < 20, "{taken}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    run(
        home.path(),
        &["context", "import", copy.to_str().expect("text")],
    );
    // In its new life it sends calls that nobody takes for those of the one before.
    let (mut server, client) = start(home.path(), QUICK);
    assert_eq!(sent(&client, &from), Vec::<Value>::new());
    assert_eq!(count(&client, &to), 1_000 + taken);
    give(&client, &from, &to, 100);
    until("it", || count(&client, &to) == 1_100 + taken);
    until("its end", || sent(&client, &from).is_empty());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
