//! Timers through the real server: they run once, whenever it was killed, again and again if they
//! are periodic, later if their handler fails, and without holding up their neighbours.
//!
//! `CORELET_TIMER_KILLS` sets how often it is killed (6).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use corelet_tests::{Client, Server, binary, wait_for};
use serde_json::{Value, json};

/// Timers may run every 10 ms, and what fails is tried again soon.
const QUICK: &str = "[limits]\ntimer_runs_per_minute = 6000\n\n\
                     [timers]\nretry_after = \"20 ms\"\nattempts_max = 3\n";

fn start(home: &Path, settings: &str) -> Server {
    let config = home.join("corelet.toml");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    Server::start(&home.join("data"), &["--shards", "2", "--config", config])
}

fn call(client: &Client, context: &str, method: &str, args: Value) -> Value {
    let answer = client.call(context, method, args).expect("an answer");
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"]["output"].clone()
}

fn count(client: &Client, context: &str) -> i64 {
    let count = call(client, context, "get", json!({}));
    count.as_i64().expect("a number")
}

fn later(client: &Client, context: &str, name: &str, millis: u64, by: i64) {
    let args = json!({ "name": name, "millis": millis, "by": by });
    call(client, context, "increment_in", args);
}

fn timers(client: &Client, context: &str) -> Vec<Value> {
    let path = format!("/v1/contexts/{context}/timers");
    let (status, page) = client.get(&path).expect("an answer");
    assert_eq!(status, 200, "{page}");
    page["timers"].as_array().expect("a list").clone()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

/// The figures of /metrics whose lines begin so, together.
fn figure(client: &Client, begin: &str) -> u64 {
    let (_, page) = client.get("/metrics").expect("an answer");
    let lines = page.as_str().expect("a page of text").lines();
    let of_it: Vec<_> = lines.filter(|line| line.starts_with(begin)).collect();
    assert!(!of_it.is_empty(), "{begin} is missing");
    let figures = of_it.iter().filter_map(|line| line.rsplit(' ').next());
    figures
        .map(|figure| figure.parse::<u64>().expect("a number"))
        .sum()
}

fn corelet(home: &Path, args: &[&str]) -> String {
    let data: PathBuf = home.join("data");
    let told = Command::new(binary())
        .arg("--data-dir")
        .arg(data)
        .args(args)
        .output()
        .expect("the binary starts");
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).expect("text")
}

#[test]
fn a_timer_runs_once_and_one_of_its_name_takes_its_place() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let context = client.create(&client.install("counter"), Some("visits"));
    later(&client, &context, "far", 3_600_000, 100);
    later(&client, &context, "soon", 3_600_000, 100);
    later(&client, &context, "soon", 30, 1);
    let armed = timers(&client, &context);
    let names: Vec<_> = armed.iter().map(|timer| timer["name"].as_str()).collect();
    assert_eq!(names, [Some("far"), Some("soon")]);
    assert_eq!(armed[0]["handler"], "add");
    assert_eq!(armed[0]["args"], json!({ "by": 100 }));
    until("the timer", || count(&client, &context) == 1);
    assert_eq!(timers(&client, &context).len(), 1);

    let told = corelet(home.path(), &["context", "timers", "visits"]);
    assert!(told.contains("far") && told.contains("add"), "{told}");
    let told = corelet(home.path(), &["context", "timers", "visits", "-o", "json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["timers"][0]["name"], "far");
    let entries = corelet(
        home.path(),
        &["context", "entries", "visits", "--space", "agenda"],
    );
    assert!(entries.contains("agenda"), "{entries}");

    assert_eq!(
        call(&client, &context, "stop", json!({ "name": "far" })),
        true
    );
    assert_eq!(
        call(&client, &context, "stop", json!({ "name": "far" })),
        false
    );
    assert_eq!(timers(&client, &context), Vec::<Value>::new());
    assert_eq!(count(&client, &context), 1);
    assert_eq!(figure(&client, "corelet_timers_fired_total{"), 1);
    assert_eq!(figure(&client, "corelet_timers_armed_total{"), 3);
    // No client can call what a timer calls.
    let called = client.call(&context, "add", json!({ "by": 1 }));
    let called = called.expect("an answer");
    assert_eq!(
        called["error"]["data"]["name"], "unknown_method",
        "{called}"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    corelet(home.path(), &["check"]);
}

#[test]
fn a_periodic_timer_runs_again_and_again_and_goes_on_after_a_restart() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let context = client.create(&client.install("counter"), None);
    let tick = json!({ "name": "tick", "millis": 20, "by": 1 });
    call(&client, &context, "increment_every", tick);
    until("three ticks", || count(&client, &context) >= 3);
    // It is stopped with the server, which waits for nothing but what has begun.
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let before = count(&client, &context);
    until("three more", || count(&client, &context) >= before + 3);
    assert_eq!(timers(&client, &context)[0]["every_ms"], 20);
    assert_eq!(
        call(&client, &context, "stop", json!({ "name": "tick" })),
        true
    );
    let stopped = count(&client, &context);
    // One that is due with the next tick comes behind whatever is left of this one.
    later(&client, &context, "end", 60, 1000);
    until("the end", || count(&client, &context) >= 1000);
    assert_eq!(count(&client, &context), stopped + 1000);
    server.kill();
}

#[test]
fn a_timer_that_a_new_context_arms_runs() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let application = client.install("poll");
    let args = json!({ "question": "Who is there?", "close_in": 0 });
    let body = json!({ "application": application, "name": "quick", "args": args });
    let created = client.post("/v1/contexts", body.to_string().as_bytes());
    assert_eq!(created.expect("an answer").0, 201);
    let result = || call(&client, "quick", "result", json!({}));
    until("the poll to close", || result()["is_closed"] == true);
    let vote = client.call("quick", "vote", json!({ "choice": "me" }));
    let code = vote.expect("an answer")["error"]["data"]["error"]["code"].clone();
    assert_eq!(code, "closed");
    let (_, events) = client.get("/v1/contexts/quick/events").expect("an answer");
    assert_eq!(events["events"][0]["kind"], "closed", "{events}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Whatever was acknowledged as armed runs once in effect, whenever the server is killed.
#[test]
fn timers_run_exactly_once_across_kills() {
    let kills = std::env::var("CORELET_TIMER_KILLS");
    let kills: u64 = kills.map_or(6, |kills| kills.parse().expect("a number"));
    const EACH: u64 = 10;
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let counter = client.install("counter");
    let contexts: Vec<_> = (0..4).map(|_| client.create(&counter, None)).collect();
    drop(client);
    for kill in 0..kills {
        // Each time there are some that have run when it is killed, and others that are about to.
        let client = server.client();
        for (n, context) in (0..).zip(&contexts) {
            for timer in 0..EACH {
                let millis = (timer * 37 + n * 11) % 120;
                later(
                    &client,
                    context,
                    &format!("timer {kill}.{timer}"),
                    millis,
                    1,
                );
            }
        }
        drop(client);
        thread::park_timeout(Duration::from_millis(20 + kill * 23 % 90));
        server.kill();
        server = start(home.path(), QUICK);
    }
    let armed = i64::try_from(kills * EACH).expect("not so many");
    let client = server.client();
    for context in &contexts {
        let what = "all timers of a context";
        until(what, || timers(&client, context).is_empty());
        assert_eq!(count(&client, context), armed);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    corelet(home.path(), &["check"]);
}

#[test]
fn a_handler_that_fails_is_called_again_and_given_up_in_the_end() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let context = client.create(&client.install("counter"), None);
    call(&client, &context, "increment", json!({ "by": 5 }));
    later(&client, &context, "overflow", 0, i64::MAX);
    until("the end of it", || timers(&client, &context).is_empty());
    assert_eq!(count(&client, &context), 5);
    assert_eq!(figure(&client, "corelet_timers_failed_total{"), 3);
    assert_eq!(figure(&client, "corelet_timers_given_up_total{"), 1);
    assert_eq!(figure(&client, "corelet_timers_fired_total{"), 0);
    let path = format!("/v1/contexts/{context}/logs");
    let (_, logs) = client.get(&path).expect("an answer");
    let lines = logs["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 3, "{logs}");
    for (line, (level, part)) in lines.iter().zip([
        ("warn", "attempt 1 of 3"),
        ("warn", "attempt 2 of 3"),
        ("error", "is given up"),
    ]) {
        assert_eq!(line["level"], level);
        assert_eq!(line["method"], "add");
        assert_eq!(line["outcome"], "failed");
        let message = line["message"].as_str().expect("text");
        assert!(
            message.contains(part) && message.contains("overflow"),
            "{line}"
        );
    }

    // A periodic one goes on with its next time; once the sum fits it counts.
    let tick = json!({ "name": "tick", "millis": 10, "by": i64::MAX - 4 });
    call(&client, &context, "increment_every", tick);
    let given_up = || figure(&client, "corelet_timers_given_up_total{");
    until("a run to be given up", || given_up() >= 3);
    assert_eq!(timers(&client, &context).len(), 1);
    call(&client, &context, "increment", json!({ "by": -1 }));
    until("it to fit", || count(&client, &context) == i64::MAX);
    server.kill();
}

/// They do not begin at once, and calls of others are answered meanwhile.
#[test]
fn thousands_that_are_due_after_a_restart_leave_room_for_calls() {
    const CONTEXTS: usize = 40;
    const EACH: i64 = 50;
    const DELAY: u64 = 2_500;
    const SLOW: &str = "[timers]\nstarts_per_second = 300\nrunning_max = 8\n";
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), SLOW);
    let client = server.client();
    let counter = client.install("counter");
    let contexts: Vec<_> = (0..CONTEXTS)
        .map(|_| client.create(&counter, None))
        .collect();
    let neighbour = client.create(&counter, None);
    let began = Instant::now();
    for context in &contexts {
        let arm = |timer| {
            let args = json!({ "name": format!("timer {timer}"), "millis": DELAY });
            let params = json!({ "context_id": context, "method": "increment_in", "args": args });
            json!({ "jsonrpc": "2.0", "id": timer, "method": "execute", "params": params })
        };
        let batch: Vec<_> = (0..EACH).map(arm).collect();
        let body = json!(batch).to_string();
        let (_, answers) = client.post("/rpc", body.as_bytes()).expect("answers");
        let answers = answers.as_array().expect("a list");
        assert!(
            answers.iter().all(|it| it["result"].is_object()),
            "{answers:?}"
        );
    }
    drop(client);
    server.kill();
    // Until all of them are due.
    while began.elapsed() < Duration::from_millis(2 * DELAY) {
        thread::park_timeout(Duration::from_millis(10));
    }
    server = start(home.path(), SLOW);
    let client = server.client();
    let all = || {
        let counts = contexts.iter().map(|context| count(&client, context));
        counts.sum::<i64>()
    };
    let left = CONTEXTS as i64 * EACH - all();
    let calls = Cell::new(0);
    until("all of them", || {
        call(&client, &neighbour, "increment", json!({}));
        calls.set(calls.get() + 1);
        all() == CONTEXTS as i64 * EACH
    });
    // They take seconds, and a call has never waited for more than a few hundred of them.
    let calls = calls.get();
    assert!(calls > left / 400, "{calls} calls while {left} timers ran");
    assert_eq!(count(&client, &neighbour), calls);
    for context in &contexts {
        assert_eq!(timers(&client, context), Vec::<Value>::new());
        assert_eq!(count(&client, context), EACH);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn timers_go_with_their_context_and_come_back_with_a_backup() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), QUICK);
    let client = server.client();
    let counter = client.install("counter");
    let [gone, kept] = [0, 1].map(|_| client.create(&counter, None));
    let tick = json!({ "name": "tick", "millis": 10, "by": 1 });
    call(&client, &gone, "increment_every", tick);
    until("a tick", || count(&client, &gone) >= 1);
    let (status, _) = client
        .delete(&format!("/v1/contexts/{gone}"))
        .expect("an answer");
    assert_eq!(status, 204);
    later(&client, &kept, "later", 1_500, 7);
    let copy = home.path().join("copy");
    corelet(
        home.path(),
        &["backup", copy.to_str().expect("text"), "--with-keys"],
    );
    let waiting = || figure(&client, "corelet_timers_contexts_waiting{");
    until("the deleted one to be forgotten", || waiting() <= 1);
    server.kill();
    drop(server);

    let restored = tempfile::tempdir().expect("a directory");
    let told = Command::new(binary())
        .arg("--data-dir")
        .arg(restored.path().join("data"))
        .args(["restore", copy.to_str().expect("text")])
        .output()
        .expect("the binary starts");
    assert!(told.status.success(), "{told:?}");
    let mut server = start(restored.path(), QUICK);
    let client = server.client();
    until("the timer of the backup", || count(&client, &kept) == 7);
    assert_eq!(timers(&client, &kept), Vec::<Value>::new());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
