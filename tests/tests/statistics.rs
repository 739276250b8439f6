//! What is counted of contexts' calls through the real server, and how contexts share a shard by
//! their weights.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use corelet_tests::{Client, Server, SetOnDrop, binary, made, wait_for};
use serde_json::{Value, json};

fn corelet(data: &Path, args: &[&str]) -> std::process::Output {
    let told = Command::new(binary())
        .arg("--data-dir")
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .output();
    told.expect("the binary starts")
}

fn told(data: &Path, args: &[&str]) -> String {
    let told = corelet(data, args);
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).expect("text")
}

/// By method.
fn statistics(client: &Client, context: &str) -> BTreeMap<String, Value> {
    let path = format!("/v1/contexts/{context}/statistics");
    let (status, found) = client.get(&path).expect("an answer");
    assert_eq!(status, 200, "{found}");
    let methods = found["methods"].as_array().expect("a list").iter();
    let name = |row: &Value| row["method"].as_str().expect("a name").to_owned();
    methods.map(|row| (name(row), row.clone())).collect()
}

fn fuel(client: &Client, context: &str) -> u64 {
    let rows = statistics(client, context);
    let fuel = rows.values().map(|row| row["fuel"].as_u64());
    fuel.map(|fuel| fuel.expect("a number")).sum()
}

#[test]
fn calls_are_counted_by_method_and_outlive_a_stop() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    let context = client.create(&client.install("counter"), Some("visits"));
    let mut spent = 0;
    for by in [1, 2, 3] {
        let answer = client.call(&context, "increment", json!({ "by": by }));
        let answer = answer.expect("an answer");
        spent += answer["result"]["fuel_used"].as_u64().expect("a number");
    }
    for _ in 0..2 {
        client.call(&context, "get", json!({})).expect("an answer");
    }
    for method in ["missing", "absent"] {
        let refused = client.call(&context, method, json!({}));
        assert!(refused.expect("an answer")["error"].is_object());
    }
    let bad = client.call(&context, "increment", json!({ "by": "much" }));
    assert!(bad.expect("an answer")["error"].is_object());
    let later = json!({ "name": "soon", "millis": 1, "by": 10 });
    client
        .call(&context, "increment_in", later)
        .expect("an answer");
    wait_for("the timer", || {
        let rows = statistics(&client, &context);
        let runs = rows.get("(timers)").and_then(|row| row["calls"].as_u64());
        (runs == Some(1)).then_some(())
    });

    let rows = statistics(&client, &context);
    let increment = &rows["increment"];
    assert_eq!(increment["calls"], 4);
    let failures = increment["failures"].as_object().expect("an object");
    let failed: u64 = failures.values().filter_map(Value::as_u64).sum();
    assert_eq!(failed, 1, "{increment}");
    assert!(increment["fuel"].as_u64().expect("a number") > spent);
    let bytes = br#"{"by":1}"#.len() * 3 + br#"{"by":"much"}"#.len();
    assert_eq!(increment["bytes_in"], bytes);
    let times = increment["times"].as_array().expect("a list");
    let counted: u64 = times.iter().filter_map(|it| it[1].as_u64()).sum();
    assert_eq!(counted, 4);
    assert!(increment["p50_us"].as_u64() <= increment["p99_us"].as_u64());
    assert_eq!(rows["get"]["calls"], 2);
    assert_eq!(rows["(unknown)"]["failures"]["refused"], 2);
    assert_eq!(rows["(timers)"]["calls"], 1);
    assert!(!rows.contains_key("missing"));

    // It changes by itself, so only who asks for it is told of it among the entries.
    let entries = |more: &[&str]| {
        let args = [&["context", "entries", "visits", "-o", "json"], more].concat();
        told(&data, &args).matches(r#""agenda""#).count()
    };
    told(&data, &["context", "weight", "visits", "200"]);
    assert_eq!(entries(&[]), 0);
    assert!(entries(&["--space", "agenda"]) > 0);
    let table = told(&data, &["context", "stats", "visits"]);
    let line = table.lines().find(|line| line.starts_with("increment "));
    assert!(line.expect("a row").contains(" 4 "), "{table}");
    let (_, busiest) = client.get("/v1/statistics?by=calls").expect("an answer");
    assert_eq!(busiest["contexts"][0]["id"], context, "{busiest}");
    assert_eq!(busiest["contexts"][0]["name"], "visits");
    for bad in ["by=name", "over=ever", "limit=0", "limit=101", "x=1"] {
        let (status, _) = client
            .get(&format!("/v1/statistics?{bad}"))
            .expect("an answer");
        assert_eq!(status, 400, "{bad}");
    }

    assert_eq!(server.stop(), Some(0), "{}", server.log());
    drop(server);
    assert!(corelet(&data, &["check"]).status.success());
    let server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    assert_eq!(statistics(&client, &context), rows);
    client.call(&context, "get", json!({})).expect("an answer");
    assert_eq!(statistics(&client, &context)["get"]["calls"], 3);
    let (_, busiest) = client.get("/v1/statistics").expect("an answer");
    assert_eq!(busiest["contexts"][0]["in_memory"]["calls"], 1);
    assert_eq!(busiest["contexts"][0]["total"]["calls"], 4 + 1 + 3 + 2 + 1);
}

/// Not what was counted in the last seconds, but what was kept by then.
#[test]
fn what_was_kept_outlives_a_kill() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let context = client.create(&client.install("kv"), None);
    // Nothing but queries: no call of theirs writes anything.
    for _ in 0..3 {
        client.call(&context, "len", json!({})).expect("an answer");
    }
    let figure = |name: &str| client.metric(&format!("corelet_{name}_total{{shard=\"0\""));
    // As they were just before.
    let mut before = figure("checkpoints");
    wait_for("the next time that statistics are kept", || {
        let now = figure("checkpoints");
        if figure("statistics_kept") > 0 {
            return Some(());
        }
        before = now;
        None
    });
    wait_for("the checkpoint behind it", || {
        (figure("checkpoints") > before).then_some(())
    });
    server.kill();
    let server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    assert_eq!(statistics(&client, &context)["len"]["calls"], 3);
}

/// By fuel, so that it does not matter how fast the machine is.
#[test]
fn contexts_that_want_more_than_there_is_share_by_their_weights() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    // It asks for the time, so that no answer is told again.
    let text = "(func $call (param i32 i32 i32 i32) (result i32) (local $rounds i32)
        (drop (call $now))
        (local.set $rounds (i32.const 300000))
        (loop $again
            (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
            (br_if $again (local.get $rounds)))
        (call $ok-null))";
    let guest = made::with_query(&made::framed(text));
    let application = client.install_component(&guest);
    let [light, heavy] = ["light", "heavy"].map(|name| client.create(&application, Some(name)));
    told(&data, &["context", "weight", "heavy", "300"]);
    let weight = |name: &str| {
        let (_, shown) = client
            .get(&format!("/v1/contexts/{name}"))
            .expect("an answer");
        shown["weight"].clone()
    };
    assert_eq!([weight("light"), weight("heavy")], [100, 300]);

    let is_over = AtomicBool::new(false);
    let ask = |context: &str| {
        let client = server.client();
        while !is_over.load(Ordering::Relaxed) {
            let answer = client.call(context, "run", json!({})).expect("an answer");
            assert!(answer["result"].is_object(), "{answer}");
        }
    };
    let calls = |context: &str| {
        let rows = statistics(&client, context);
        rows.get("run").and_then(|row| row["calls"].as_u64())
    };
    let shares = thread::scope(|scope| {
        let _end = SetOnDrop(&is_over);
        for context in [&light, &heavy] {
            for _ in 0..12 {
                scope.spawn(|| ask(context));
            }
        }
        let until = |count: u64| {
            wait_for("calls", || (calls(&light) >= Some(count)).then_some(()));
            [&light, &heavy].map(|context| fuel(&client, context))
        };
        let (began, ended) = (until(20), until(120));
        [ended[0] - began[0], ended[1] - began[1]]
    });
    let [light, heavy] = shares.map(|fuel| fuel as f64);
    let ratio = heavy / light;
    assert!((2.7..=3.3).contains(&ratio), "{ratio}: {shares:?}");

    for bad in [
        "{\"weight\":0}",
        "{\"weight\":1001}",
        "{}",
        "{\"weight\":1,\"name\":\"x\"}",
    ] {
        let refused = client.send("PATCH", "/v1/contexts/heavy", &[], bad.as_bytes());
        let (status, _, document) = refused.expect("an answer");
        assert_eq!(status, 400, "{bad}: {document}");
    }
    assert_eq!(
        corelet(&data, &["context", "weight", "heavy", "0"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    drop(server);
    let server = Server::start(&data, &["--shards", "1"]);
    let (_, shown) = server
        .client()
        .get("/v1/contexts/heavy")
        .expect("an answer");
    assert_eq!(shown["weight"], 300);
}

#[test]
fn top_tells_of_the_busiest_where_nobody_watches_a_terminal() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    let kv = client.install("kv");
    let busy = client.create(&kv, Some("busy"));
    client.create(&kv, Some("idle"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                client.call(&busy, "len", json!({})).expect("an answer");
            }
        });
        let document = told(&data, &["top", "--once", "-o", "json"]);
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let contexts = document["contexts"].as_array().expect("a list");
        assert_eq!(contexts.len(), 1, "{document}");
        assert_eq!(contexts[0]["name"], "busy");
        assert!(contexts[0]["calls_per_second"].as_f64() > Some(0.0));
        assert!(contexts[0]["fuel_share"].as_f64() > Some(0.9), "{document}");
        let table = told(&data, &["top", "--once", "--by", "calls"]);
        assert!(table.is_ascii() || table.contains('µ'), "{table}");
        assert!(!table.contains('\x1b'), "{table}");
        assert!(
            table.lines().any(|line| line.starts_with("busy ")),
            "{table}"
        );
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
    });
}
