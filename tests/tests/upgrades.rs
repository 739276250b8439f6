//! Contexts are upgraded through the real server while they are called: in the order of their
//! queue, whole or not at all, whatever hooks do and whenever the server is killed.
//!
//! `CORELET_UPGRADE_KILLS` sets how often it is killed (6).

#![expect(
    clippy::disallowed_methods,
    reason = "clients that wait for their answers have threads of their own"
)]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use corelet_tests::{Client, Doing, Server, SetOnDrop, Upgradable, binary, wait_for};
use serde_json::{Value, json};

/// An update of so many bytes runs for a good while: others come to wait for it.
const LONG: usize = 5_000;

/// So that it may.
const PATIENT: &str = "[limits]\nupdate_fuel_max = 100000000000\nquery_fuel_max = 100000000000\n";

fn start(home: &Path, settings: &str) -> Server {
    start_with(home, settings, "1")
}

fn start_with(home: &Path, settings: &str, shards: &str) -> Server {
    let config = home.join("corelet.toml");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    Server::start(
        &home.join("data"),
        &["--shards", shards, "--config", config],
    )
}

fn first() -> Upgradable {
    Upgradable {
        letter: '1',
        own: "once",
        turned: false,
        schema_version: Some(1),
        hooks: vec![("before-upgrade", Doing::Writes)],
    }
}

fn second() -> Upgradable {
    Upgradable {
        letter: '2',
        own: "next",
        turned: true,
        schema_version: Some(2),
        hooks: vec![("migrate", Doing::Writes), ("after-upgrade", Doing::Writes)],
    }
}

/// The same, of which this hook does something else.
fn with_hook(hook: &str, doing: Doing) -> Upgradable {
    let mut version = second();
    for (name, does) in &mut version.hooks {
        if *name == hook {
            *does = doing;
        }
    }
    version
}

/// As long as `length`, whatever is in it.
fn args(length: usize) -> Value {
    json!({ "x": "x".repeat(length) })
}

fn answer(client: &Client, context: &str, method: &str, length: usize) -> Value {
    client
        .call(context, method, args(length))
        .expect("an answer")
}

fn output(client: &Client, context: &str, method: &str) -> String {
    let answer = answer(client, context, method, 0);
    let output = answer["result"]["output"].as_str();
    output
        .unwrap_or_else(|| panic!("{method}: {answer}"))
        .to_owned()
}

fn written(client: &Client, context: &str) -> String {
    output(client, context, "read")
}

fn upgrade(client: &Client, context: &str, to: &str) -> (u16, Value) {
    let path = format!("/v1/contexts/{context}/upgrade");
    let body = json!({ "application": to }).to_string();
    let (status, _, answer) = client
        .send("POST", &path, &[], body.as_bytes())
        .expect("an answer");
    (status, answer)
}

fn runs(client: &Client, context: &str) -> String {
    let path = format!("/v1/contexts/{context}");
    let (_, shown) = client.get(&path).expect("an answer");
    shown["application"].as_str().expect("an id").to_owned()
}

/// Until so many calls wait for their turn.
fn until_waiting(client: &Client, count: u64) {
    wait_for("calls to wait", || {
        let waiting = client.metric("corelet_waiting_calls{shard=\"0\"}");
        (waiting >= count).then_some(())
    });
}

fn corelet(home: &Path, args: &[&str]) -> (bool, String, String) {
    let told = Command::new(binary())
        .arg("--data-dir")
        .arg(home.join("data"))
        .args(args)
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (told.status.success(), text(told.stdout), text(told.stderr))
}

/// What waits behind it keeps its place and runs in the new version; what has begun ends in the
/// old one, and holds nothing up.
#[test]
fn an_upgrade_has_its_place_in_the_queue() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), PATIENT);
    let client = server.client();
    let [old, new] = [first(), second()].map(|it| client.install_component(&it.component()));
    let context = client.create(&old, Some("shop"));
    assert_eq!(output(&client, &context, "slow"), "1");
    let ask = |method: &'static str, length: usize| {
        let client = server.client();
        let context = context.clone();
        thread::spawn(move || answer(&client, &context, method, length))
    };
    // A query that goes on for longer than all that follows, and one that would be repeated.
    let lingering = ask("wait", 3 * LONG);
    let repeated = answer(&client, &context, "wait", 500);
    assert_eq!(repeated["result"]["output"], "1");
    let before = ask("slow", LONG);
    until_waiting(&client, 2);
    let own_before = ask("once", 1);
    until_waiting(&client, 3);
    let upgrading = {
        let (client, context, new) = (server.client(), context.clone(), new.clone());
        thread::spawn(move || upgrade(&client, &context, &new))
    };
    until_waiting(&client, 4);
    // Those of other lengths write another digit: 8 more come with the name.
    let behind = [
        ("slow", 11),
        ("turn", 1),
        ("flip", 1),
        ("once", 1),
        ("slow", 12),
        ("slow", 5),
    ];
    let mut waiting = 4;
    let behind = behind.map(|(method, length)| {
        let asked = ask(method, length);
        // A query does not wait for updates: `turn` is one of the old version.
        waiting += u64::from(method != "turn");
        until_waiting(&client, waiting);
        asked
    });
    let (status, upgraded) = upgrading.join().expect("it ends");
    assert_eq!(status, 200, "{upgraded}");
    assert!(!lingering.is_finished(), "nobody has waited for it");
    assert_eq!(upgraded["before"], old);
    assert_eq!(upgraded["context"]["application"], new);
    assert_eq!(upgraded["schema_version_before"], 1);
    assert_eq!(upgraded["schema_version"], 2);
    assert_eq!(before.join().expect("it ends")["result"]["output"], "1");
    assert_eq!(own_before.join().expect("it ends")["result"]["output"], "1");
    let behind = behind.map(|asked| asked.join().expect("it ends"));
    for (answer, expected) in behind.iter().zip(["2", "1", "2", "", "2", "2"]) {
        match expected {
            // It is only of the old one.
            "" => assert_eq!(
                answer["error"]["data"]["name"], "unknown_method",
                "{answer}"
            ),
            expected => assert_eq!(answer["result"]["output"], expected, "{answer}"),
        }
    }
    // `flip`, an update of the old version, is a query of the new one, and writes nothing.
    assert_eq!(written(&client, &context), "1181bma292023");
    assert_eq!(lingering.join().expect("it ends")["result"]["output"], "1");
    let repeated = answer(&client, &context, "wait", 500);
    assert_eq!(
        repeated["result"]["output"], "2",
        "nothing is kept of the old"
    );
    assert_eq!(output(&client, &context, "turn"), "2");
    assert_eq!(written(&client, &context), "1181bma2920232");
    assert_eq!(runs(&client, &context), new);
    // Again, there is nothing to do.
    let (status, again) = upgrade(&client, "shop", &new);
    assert_eq!((status, &again["before"]), (200, &json!(new)));
    assert_eq!(written(&client, &context), "1181bma2920232");
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let mut server = start(home.path(), "");
    let client = server.client();
    assert_eq!(runs(&client, &context), new);
    assert_eq!(output(&client, &context, "next"), "2");
    let (status, _) = client
        .delete(&format!("/v1/applications/{old}"))
        .expect("an answer");
    assert_eq!(status, 204, "no context runs it any more");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let (good, told, _) = corelet(home.path(), &["check"]);
    assert!(good, "{told}");
}

/// A query of the old version that waits and turns out to be an update is none before its turn.
#[test]
fn a_query_that_waits_may_turn_out_to_be_an_update() {
    let home = tempfile::tempdir().expect("a directory");
    // One query of a context at a time: the others wait.
    let settings = format!("{PATIENT}\n[shards]\ncontext_queries_max = 1\n");
    let mut server = start(home.path(), &settings);
    let client = server.client();
    let [old, new] = [first(), second()].map(|it| client.install_component(&it.component()));
    let context = client.create(&old, None);
    let ask = |method: &'static str, length: usize| {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || answer(&client, &context, method, length))
    };
    let lingering = ask("wait", 3 * LONG);
    until_waiting(&client, 1);
    let turned = ask("turn", 1);
    until_waiting(&client, 2);
    let (status, upgraded) = upgrade(&client, &context, &new);
    assert_eq!(status, 200, "{upgraded}");
    assert_eq!(lingering.join().expect("it ends")["result"]["output"], "1");
    assert_eq!(turned.join().expect("it ends")["result"]["output"], "2");
    assert_eq!(written(&client, &context), "bma2");
    server.kill();
}

#[test]
fn a_hook_that_fails_leaves_the_context_as_it_was() {
    let home = tempfile::tempdir().expect("a directory");
    let limits = "[limits]\nupgrade_fuel_max = 3000000\nupgrade_writes_max = 5\n\
                  upgrade_write_bytes_max = 1000\n";
    let mut server = start(home.path(), limits);
    let client = server.client();
    let install = |it: &Upgradable| client.install_component(&it.component());
    let old = install(&first());
    let context = client.create(&old, None);
    assert_eq!(output(&client, &context, "slow"), "1");
    let shown = || {
        let path = format!("/v1/contexts/{context}");
        client.get(&path).expect("an answer").1
    };
    let before = shown();
    for (hook, doing, cause) in [
        ("migrate", Doing::SaysNo, "application_error"),
        ("migrate", Doing::Traps, "trapped"),
        ("migrate", Doing::Loops, "out_of_fuel"),
        ("migrate", Doing::Floods, "limit_exceeded"),
        ("migrate", Doing::Heaps, "limit_exceeded"),
        ("after-upgrade", Doing::SaysNo, "application_error"),
        ("after-upgrade", Doing::Traps, "trapped"),
        ("after-upgrade", Doing::Loops, "out_of_fuel"),
    ] {
        let new = install(&with_hook(hook, doing));
        let (status, refused) = upgrade(&client, &context, &new);
        assert_eq!(status, 422, "{refused}");
        assert_eq!(refused["type"], "urn:corelet:error:hook_failed");
        assert_eq!(
            (&refused["hook"], &refused["cause"]),
            (&json!(hook), &json!(cause))
        );
        match doing {
            Doing::SaysNo => assert_eq!(refused["error"], "no"),
            Doing::Loops => assert_eq!(refused["limit"], "limits.upgrade_fuel_max"),
            Doing::Floods => assert_eq!(refused["limit"], "limits.upgrade_writes_max"),
            Doing::Heaps => assert_eq!(refused["limit"], "limits.upgrade_write_bytes_max"),
            _ => {}
        }
        assert_eq!(shown(), before);
        assert_eq!(written(&client, &context), "1");
    }
    // No way back, and none forward without `migrate`.
    let newer = Upgradable {
        hooks: Vec::new(),
        ..second()
    };
    let none = Upgradable {
        schema_version: None,
        hooks: Vec::new(),
        ..second()
    };
    for (version, to) in [(newer, 2), (none, 0)] {
        let (status, refused) = upgrade(&client, &context, &install(&version));
        assert_eq!(status, 409, "{refused}");
        assert_eq!(refused["type"], "urn:corelet:error:not_upgradable");
        assert_eq!((&refused["from"], &refused["to"]), (&json!(1), &json!(to)));
    }
    let (status, _) = upgrade(&client, &context, "nothing-of-that-name");
    assert_eq!(status, 404);
    assert_eq!(shown(), before);
    assert_eq!(output(&client, &context, "slow"), "1");
    assert_eq!(
        client.metric("corelet_upgrades_failed_total{shard=\"0\"}"),
        8
    );
    // And once it can, it is.
    let (status, upgraded) = upgrade(&client, &context, &install(&second()));
    assert_eq!(status, 200, "{upgraded}");
    assert_eq!(written(&client, &context), "11bma");

    // One whose own hook says no is left without asking it.
    let last = Upgradable {
        letter: '3',
        hooks: vec![("before-upgrade", Doing::SaysNo)],
        ..second()
    };
    let (status, upgraded) = upgrade(&client, &context, &install(&last));
    assert_eq!(status, 200, "the form is the same: {upgraded}");
    let (status, refused) = upgrade(&client, &context, &install(&second()));
    assert_eq!((status, &refused["hook"]), (422, &json!("before-upgrade")));
    assert_eq!(output(&client, &context, "slow"), "3");
    let body = json!({ "application": install(&second()), "skip_before_upgrade": true });
    let path = format!("/v1/contexts/{context}/upgrade");
    let (status, upgraded) = client
        .post(&path, body.to_string().as_bytes())
        .expect("an answer");
    assert_eq!(status, 200, "{upgraded}");
    assert_eq!(written(&client, &context), "11bma3a");
    // A component whose `migrate` could never run is none.
    let never = Upgradable {
        schema_version: None,
        ..second()
    };
    let (status, refused) = client
        .post("/v1/applications", &never.component())
        .expect("an answer");
    assert_eq!(status, 422, "{refused}");
    let why = refused["detail"].as_str().expect("text");
    assert!(why.contains("schema-version"), "{why}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// By an operator, by the clock, or as its context is deleted; and what comes behind it goes on.
#[test]
fn a_hook_that_never_ends_is_stopped() {
    let home = tempfile::tempdir().expect("a directory");
    let endless = "[limits]\nupgrade_fuel_max = 1000000000000000\n";
    let mut server = start(home.path(), endless);
    let client = server.client();
    let loops = with_hook("migrate", Doing::Loops);
    let [old, new] = [first(), loops].map(|it| client.install_component(&it.component()));
    let contexts = [0, 1].map(|_| client.create(&old, None));
    let begin = |server: &Server, context: &str| {
        let (client, context, new) = (server.client(), context.to_owned(), new.clone());
        thread::spawn(move || upgrade(&client, &context, &new))
    };
    let upgrading = begin(&server, &contexts[0]);
    let calls = format!("/v1/contexts/{}/calls", contexts[0]);
    wait_for("the hook to run", || {
        let (_, told) = client.delete(&calls).expect("an answer");
        (told["cancelled"] == 1).then_some(())
    });
    let (status, refused) = upgrading.join().expect("it ends");
    assert_eq!((status, &refused["hook"]), (422, &json!("migrate")));
    assert_eq!(refused["cause"], "cancelled", "{refused}");
    assert_eq!(runs(&client, &contexts[0]), old);
    assert_eq!(output(&client, &contexts[0], "slow"), "1");
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let mut server = start(
        home.path(),
        &format!("{endless}call_time_max = \"700 ms\"\n"),
    );
    let client = server.client();
    let upgrading = contexts.each_ref().map(|context| begin(&server, context));
    let behind = {
        let (client, context) = (server.client(), contexts[0].clone());
        wait_for("the hooks to run", || {
            let running = client.metric("corelet_upgrades_running{shard=\"0\"}");
            (running == 2).then_some(())
        });
        thread::spawn(move || answer(&client, &context, "slow", 1))
    };
    let path = format!("/v1/contexts/{}", contexts[1]);
    assert_eq!(client.delete(&path).expect("an answer").0, 204);
    let [timed_out, deleted] = upgrading.map(|it| it.join().expect("it ends"));
    assert_eq!(timed_out.0, 422, "{}", timed_out.1);
    assert_eq!(timed_out.1["cause"], "timed_out", "{}", timed_out.1);
    assert_eq!(timed_out.1["limit"], "limits.call_time_max");
    assert!([404, 422].contains(&deleted.0), "{}", deleted.1);
    let behind = behind.join().expect("it ends");
    assert_eq!(behind["result"]["output"], "1", "{behind}");
    assert_eq!(written(&client, &contexts[0]), "11");
    assert_eq!(client.get(&path).expect("an answer").0, 404);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let (good, told, _) = corelet(home.path(), &["check"]);
    assert!(good, "{told}");
}

/// Whenever it comes due: before the upgrade it is of the old version, behind it of the new.
#[test]
fn a_timer_that_comes_due_during_an_upgrade_runs_once() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), PATIENT);
    let client = server.client();
    let [old, new] = [first(), second()].map(|it| client.install_component(&it.component()));
    let context = client.create(&old, None);
    let planned = answer(&client, &context, "plan", 250);
    assert_eq!(planned["result"]["output"], "1");
    let busy = {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || answer(&client, &context, "slow", LONG))
    };
    until_waiting(&client, 1);
    let (status, upgraded) = upgrade(&client, &context, &new);
    assert_eq!(status, 200, "{upgraded}");
    assert_eq!(busy.join().expect("it ends")["result"]["output"], "1");
    wait_for("the timer", || {
        let fired = client.metric("corelet_timers_fired_total{shard=\"0\"}");
        (fired == 1).then_some(())
    });
    let written = written(&client, &context);
    let (before, behind) = written.split_once("bma").expect("it was upgraded");
    assert!(
        !before.contains('2') && !behind.contains('1'),
        "{written}: each in the version of its turn"
    );
    let letters = written.matches(['1', '2']).count();
    assert_eq!(letters, 2, "{written}: once each");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn so_many_upgrades_are_under_way_at_once() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("{PATIENT}\n[shards]\nupgrades_max = 1\n");
    let mut server = start(home.path(), &settings);
    let client = server.client();
    let [old, new] = [first(), second()].map(|it| client.install_component(&it.component()));
    let [context, other] = [0, 1].map(|_| client.create(&old, None));
    let busy = {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || answer(&client, &context, "slow", LONG))
    };
    until_waiting(&client, 1);
    let upgrading = {
        let (client, context, new) = (server.client(), context.clone(), new.clone());
        thread::spawn(move || upgrade(&client, &context, &new))
    };
    wait_for("the upgrade to begin", || {
        let running = client.metric("corelet_upgrades_running{shard=\"0\"}");
        (running == 1).then_some(())
    });
    let (status, refused) = upgrade(&client, &other, &new);
    assert_eq!(status, 429, "{refused}");
    assert_eq!(refused["limit"], "shards.upgrades_max");
    assert_eq!(upgrading.join().expect("it ends").0, 200);
    busy.join().expect("it ends");
    assert_eq!(upgrade(&client, &other, &new).0, 200);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// It never has nothing to do, and is upgraded all the same; no call of it is lost.
#[test]
fn a_context_that_is_never_idle_is_upgraded() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let [old, new] = [first(), second()].map(|it| client.install_component(&it.component()));
    let context = client.create(&old, None);
    let (is_over, counts) = (
        AtomicBool::new(false),
        [AtomicU64::new(0), AtomicU64::new(0)],
    );
    thread::scope(|scope| {
        let _end = SetOnDrop(&is_over);
        for _ in 0..4 {
            let client = server.client();
            scope.spawn(|| {
                let client = client;
                while !is_over.load(Relaxed) {
                    match &*output(&client, &context, "slow") {
                        "1" => counts[0].fetch_add(1, Relaxed),
                        "2" => counts[1].fetch_add(1, Relaxed),
                        other => panic!("{other}"),
                    };
                }
            });
        }
        wait_for("calls", || (counts[0].load(Relaxed) > 50).then_some(()));
        let (status, upgraded) = upgrade(&client, &context, &new);
        let wait = || (counts[1].load(Relaxed) > 50).then_some(());
        if status == 200 {
            wait_for("calls of the new version", wait);
        }
        assert_eq!(status, 200, "{upgraded}");
    });
    let [old, new] = counts.map(|count| usize::try_from(count.into_inner()).expect("few"));
    let expected = ["1".repeat(old), "bma".to_owned(), "2".repeat(new)].concat();
    assert_eq!(written(&client, &context), expected);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Even if the new version does not know the method any more.
#[test]
fn a_key_is_answered_as_before_across_an_upgrade() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let [old, new] = [first(), second()].map(|it| client.install_component(&it.component()));
    let context = client.create(&old, None);
    let call = |method: &str, key: &str| {
        let params = json!({
            "context_id": context, "method": method, "args": {}, "idempotency_key": key,
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute", "params": params });
        let (_, answer) = client
            .post("/rpc", body.to_string().as_bytes())
            .expect("an answer");
        answer
    };
    let calls = [("slow", "a"), ("once", "b"), ("flip", "c")];
    let told = calls.map(|(method, key)| call(method, key));
    assert!(
        told.iter().all(|it| it["result"]["output"] == "1"),
        "{told:?}"
    );
    let (status, upgraded) = upgrade(&client, &context, &new);
    assert_eq!(status, 200, "{upgraded}");
    assert_eq!(calls.map(|(method, key)| call(method, key)), told);
    let name = |answer: Value| answer["error"]["data"]["name"].clone();
    assert_eq!(name(call("once", "d")), "unknown_method");
    assert_eq!(name(call("flip", "d")), "invalid_params");
    assert_eq!(name(call("once", "a")), "idempotency_key_reused");
    assert_eq!(written(&client, &context), "111bma");
    server.kill();
}

/// Two versions of one form take turns, and each upgrade writes two letters: whenever the server
/// is killed, what is written is of the version that runs.
#[test]
fn a_kill_leaves_the_old_or_the_new_and_never_half() {
    let kills = std::env::var("CORELET_UPGRADE_KILLS");
    let kills: u64 = kills.map_or(6, |kills| kills.parse().expect("a number"));
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let hooks = || {
        vec![
            ("before-upgrade", Doing::Writes),
            ("after-upgrade", Doing::Writes),
        ]
    };
    let versions = ['1', '2'].map(|letter| {
        let version = Upgradable {
            letter,
            hooks: hooks(),
            ..first()
        };
        client.install_component(&version.component())
    });
    let contexts: Vec<_> = (0..3).map(|_| client.create(&versions[0], None)).collect();
    drop(client);
    let mut acknowledged = vec![0; contexts.len()];
    for kill in 0..kills {
        let is_killed = AtomicBool::new(false);
        let done = thread::scope(|scope| {
            let busy: Vec<_> = contexts
                .iter()
                .zip(&acknowledged)
                .map(|(context, before)| {
                    let client = server.client();
                    let (versions, is_killed, before) = (&versions, &is_killed, *before);
                    scope.spawn(move || {
                        let mut done = before;
                        while !is_killed.load(Relaxed) {
                            let path = format!("/v1/contexts/{context}/upgrade");
                            let now = runs_if_it_answers(&client, context);
                            let Some(now) = now else { break };
                            let to = &versions[usize::from(now == versions[0])];
                            let body = json!({ "application": to }).to_string();
                            match client.post(&path, body.as_bytes()) {
                                Ok((200, _)) => done += 1,
                                Ok((status, answer)) => panic!("{status}: {answer}"),
                                Err(_) => break,
                            }
                            // An update in between, which may be lost with the server.
                            if client.call(context, "slow", json!({})).is_err() {
                                break;
                            }
                        }
                        done
                    })
                })
                .collect();
            thread::park_timeout(Duration::from_millis(30 + kill * 37 % 200));
            server.kill();
            is_killed.store(true, Relaxed);
            busy.into_iter()
                .map(|it| it.join().expect("it ends"))
                .collect::<Vec<u64>>()
        });
        server = start(home.path(), "");
        let client = server.client();
        for ((context, done), acknowledged) in contexts.iter().zip(done).zip(&mut acknowledged) {
            let text = written(&client, context);
            let count = |letter: &str| text.matches(letter).count() as u64;
            let upgrades = count("ba");
            assert_eq!([count("b"), count("a")], [upgrades; 2], "{text}");
            assert!((done..=done + 1).contains(&upgrades), "{done} of {text}");
            let now = &versions[usize::try_from(upgrades % 2).expect("one or none")];
            assert_eq!(&runs(&client, context), now, "{text}");
            *acknowledged = upgrades;
        }
    }
    assert!(acknowledged.iter().sum::<u64>() > 0, "nothing was upgraded");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let (good, told, _) = corelet(home.path(), &["check"]);
    assert!(good, "{told}");
}

/// A form is brought into another while the server is killed: each context has all of the one or
/// all of the other, and can be brought over later.
#[test]
fn a_kill_during_a_migration_leaves_one_form_or_the_other() {
    const NAMES: u64 = 40;
    let kills = std::env::var("CORELET_UPGRADE_KILLS");
    let kills: usize = kills.map_or(6, |kills| kills.parse().expect("a number"));
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let [old, new] = ["tally", "tally-2"].map(|name| client.install(name));
    let mut brought_over = 0;
    let mut all = Vec::new();
    for kill in 0..kills {
        let client = server.client();
        let contexts: Vec<_> = (0..12).map(|_| client.create(&old, None)).collect();
        for context in &contexts {
            for name in 0..NAMES {
                let args = json!({ "name": format!("thing {name}"), "by": name + 1 });
                let answer = client.call(context, "count", args).expect("an answer");
                assert_eq!(answer["result"]["output"], name + 1, "{answer}");
            }
        }
        let acknowledged = thread::scope(|scope| {
            let client = server.client();
            let (contexts, new) = (&contexts, &new);
            let upgrading = scope.spawn(move || {
                let body = json!({ "application": new }).to_string();
                let mut upgraded = contexts.iter().take_while(|context| {
                    let path = format!("/v1/contexts/{context}/upgrade");
                    match client.post(&path, body.as_bytes()) {
                        Ok((200, _)) => true,
                        Ok((status, answer)) => panic!("{status}: {answer}"),
                        Err(_) => false,
                    }
                });
                upgraded.by_ref().count()
            });
            thread::park_timeout(Duration::from_millis(5 + kill as u64 * 13 % 60));
            server.kill();
            upgrading.join().expect("it ends")
        });
        server = start(home.path(), "");
        let client = server.client();
        for (at, context) in contexts.iter().enumerate() {
            let is_over = runs(&client, context) == new;
            assert!(is_over || at >= acknowledged, "{at} of {acknowledged}");
            assert!(!is_over || at <= acknowledged, "{at} of {acknowledged}");
            brought_over += usize::from(is_over);
            if kill % 2 == 0 && !is_over {
                let (status, answer) = upgrade(&client, context, &new);
                assert_eq!(status, 200, "{answer}");
            }
        }
        all.extend(contexts);
        for context in &all {
            for name in 0..NAMES {
                let args = json!({ "name": format!("thing {name}") });
                let answer = client.call(context, "total", args).expect("an answer");
                assert_eq!(answer["result"]["output"], name + 1, "{answer}");
            }
        }
    }
    println!("{brought_over} of {} contexts before a kill", all.len());
    assert!((1..all.len()).contains(&brought_over), "{brought_over}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let (good, told, _) = corelet(home.path(), &["check"]);
    assert!(good, "{told}");
}

fn runs_if_it_answers(client: &Client, context: &str) -> Option<String> {
    let (_, shown) = client.get(&format!("/v1/contexts/{context}")).ok()?;
    shown["application"].as_str().map(str::to_owned)
}

/// The example applications, by the command line: all but those that cannot be brought over.
#[test]
fn all_contexts_of_an_application_are_upgraded_but_those_that_cannot_be() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start_with(home.path(), "", "2");
    let client = server.client();
    let old = client.install("tally");
    let contexts: Vec<_> = (0..5).map(|_| client.create(&old, None)).collect();
    let [stock, grains] = ["stock", "grains"].map(|name| client.create(&old, Some(name)));
    let neighbour = client.create(&client.install("counter"), Some("neighbour"));
    let count = |context: &str, name: &str, by: Value| {
        let args = json!({ "name": name, "by": by });
        let answer = client.call(context, "count", args).expect("an answer");
        answer["result"]["output"].clone()
    };
    for context in contexts.iter().chain([&stock]) {
        count(context, "apples", json!(3));
        assert_eq!(count(context, "apples", Value::Null), 4);
        count(context, "pears", json!(5));
    }
    count(&grains, "sand", json!(u64::MAX));
    let new = client.install("tally-2");
    let (good, told, said) = corelet(home.path(), &["context", "upgrade", "stock", "--to", &new]);
    assert!(good && told.is_empty(), "{told} {said}");
    assert!(said.contains("from schema version 1 into 2"), "{said}");
    let all = ["context", "upgrade", "--all-of", &old, "--to", "tally"];
    let (good, told, said) = corelet(home.path(), &all);
    assert!(!good, "{told}");
    assert!(
        told.contains(&grains) && told.contains("too many"),
        "{told}"
    );
    assert!(said.contains("5 contexts run tally 2.0.0"), "{said}");
    let (good, told, _) = corelet(home.path(), &[&all[..], &["-o", "json"]].concat());
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert!(!good);
    assert_eq!(told["upgraded"], 0, "{told}");
    assert_eq!(told["failed"][0]["name"], "grains");
    assert_eq!(told["failed"][0]["error"]["cause"], "application_error");
    assert_eq!(told["failed"][0]["error"]["error"]["code"], "too_many");
    for context in contexts.iter().chain([&stock]) {
        assert_eq!(runs(&client, context), new);
        let total = client.call(context, "total", json!({ "name": "apples" }));
        assert_eq!(total.expect("an answer")["result"]["output"], 4);
        assert_eq!(count(context, "pears", json!(-2)), 3);
        let path = format!("/v1/contexts/{context}/events");
        let (_, events) = client.get(&path).expect("an answer");
        assert_eq!(events["events"][0]["kind"], "upgraded", "{events}");
    }
    assert_eq!(runs(&client, &grains), old);
    assert_eq!(count(&grains, "dust", json!(1)), 1, "it goes on as it was");
    assert_ne!(runs(&client, &neighbour), new);
    // A name is the newest application's.
    let (good, _, said) = corelet(
        home.path(),
        &["context", "upgrade", "--all-of", "tally", "--to", &new],
    );
    assert!(!good && said.contains("by its id"), "{said}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
