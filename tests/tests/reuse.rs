//! Which instances serve which calls: those that are warm stay with their context, within
//! bounds, until one fails or has to make room; and those of an application that is set so
//! serve one call and go. Through the real server, with a guest that counts its calls where
//! only its instance knows.

use std::path::Path;
use std::process::Command;

use corelet_tests::{Client, Server, binary, counting};
use serde_json::{Value, json};

fn call(client: &Client, context: &str, method: &str) -> Value {
    client.call(context, method, json!({})).expect("an answer")
}

/// What the instance says that served a call.
fn counted(client: &Client, context: &str, method: &str) -> u64 {
    let answer = call(client, context, method);
    let count = answer["result"]["output"].as_u64();
    count.unwrap_or_else(|| panic!("{answer}"))
}

/// A command of the program against this server, with its document.
fn corelet(data: &Path, arguments: &[&str]) -> Value {
    let done = Command::new(binary())
        .arg("--data-dir")
        .arg(data)
        .args(["-o", "json"])
        .args(arguments)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    serde_json::from_slice(&done.stdout).expect("one document")
}

#[test]
fn instances_of_an_application_serve_one_call_each_as_long_as_it_is_set_so() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let file = home.path().join("counting.wasm");
    std::fs::write(&file, counting()).expect("a file");
    let file = file.to_str().expect("a path that is text");
    // Of two shards one only hears of it.
    let mut server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    let installed = corelet(&data, &["app", "install", file]);
    assert_eq!(installed["reuse"], "context", "{installed}");
    let application = installed["id"].as_str().expect("an id").to_owned();
    let contexts: Vec<_> = (0..8).map(|_| client.create(&application, None)).collect();
    let expect = |client: &Client, expected: [u64; 3]| {
        for context in &contexts {
            let found = ["count", "tick", "count"].map(|method| counted(client, context, method));
            assert_eq!(found, expected);
        }
    };
    expect(&client, [1, 2, 3]);
    let changed = corelet(&data, &["app", "set", "counting", "--reuse", "never"]);
    assert_eq!(changed["reuse"], "never");
    let warm = |client: &Client| {
        let shards = ["0", "1"];
        let of = |shard: &str| format!("corelet_warm_instances{{shard=\"{shard}\"}}");
        shards.map(|shard| client.metric(&of(shard)))
    };
    assert_eq!(warm(&client), [0, 0]);
    expect(&client, [1, 1, 1]);
    expect(&client, [1, 1, 1]);
    assert_eq!(warm(&client), [0, 0]);
    // Installing it again says nothing of it, unless it does.
    let again = corelet(&data, &["app", "install", file]);
    assert_eq!(again["reuse"], "never");
    let backup = home.path().join("backup");
    let backup = backup.to_str().expect("a path that is text");
    corelet(&data, &["backup", "--with-keys", backup]);
    server.kill();

    let restored = home.path().join("restored");
    corelet(&restored, &["restore", backup]);
    let copy = Server::start(&restored, &[]);
    expect(&copy.client(), [1, 1, 1]);
    drop(copy);
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    expect(&client, [1, 1, 1]);
    let listed = corelet(&data, &["app", "list"]);
    assert_eq!(listed["applications"][0]["reuse"], "never", "{listed}");
    let shown = corelet(&data, &["app", "show", "counting"]);
    assert_eq!(shown["reuse"], "never", "{shown}");
    let again = corelet(&data, &["app", "install", file, "--reuse", "context"]);
    assert_eq!(again["reuse"], "context");
    expect(&client, [1, 2, 3]);
    expect(&client, [4, 5, 6]);
    let body = json!({ "reuse": "sometimes" }).to_string();
    let path = format!("/v1/applications/{application}");
    let (status, _, refused) = client
        .send("PATCH", &path, &[], body.as_bytes())
        .expect("an answer");
    assert_eq!((status, &refused["parameter"]), (400, &json!("reuse")));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn warm_instances_go_when_one_fails_and_when_others_need_their_memory() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    // Room for two instances of two pages, and for no third one.
    std::fs::write(&config, "[shards]\nwarm_memory_bytes_max = \"256 KiB\"\n")
        .expect("a configuration");
    let config = config.to_str().expect("a path that is text");
    let mut server = Server::start(&data, &["--shards", "1", "--config", config]);
    let client = server.client();
    let application = client.install_component(&counting());
    let [a, b, c] = ["a", "b", "c"].map(|name| client.create(&application, Some(name)));
    let figure = |name: &str| client.metric(&format!("{name}{{shard=\"0\"}}"));
    let figures = || {
        [
            "corelet_warm_hits_total",
            "corelet_instantiations_total",
            "corelet_evictions_total",
            "corelet_warm_memory_bytes",
        ]
        .map(figure)
    };
    // Each context's `init` has had an instance that nobody keeps.
    assert_eq!(figures(), [0, 3, 0, 0]);
    let count = |context: &str| counted(&client, context, "count");
    assert_eq!([count(&a), count(&b), count(&a)], [1, 1, 2]);
    assert_eq!(figures(), [1, 5, 0, 256 << 10]);
    // The one that was called longest ago makes room.
    assert_eq!([count(&c), count(&a)], [1, 3]);
    assert_eq!(figures(), [2, 6, 1, 256 << 10]);
    assert_eq!(count(&b), 1);
    assert_eq!(figures(), [2, 7, 2, 256 << 10]);

    // What has failed serves nobody again.
    let failed = call(&client, &b, "fail");
    assert_eq!(failed["error"]["data"]["name"], "trapped", "{failed}");
    assert_eq!(figures(), [3, 7, 2, 128 << 10]);
    assert_eq!(count(&b), 1);
    assert_eq!(figures(), [3, 8, 2, 256 << 10]);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// An answer that tells of what another call has left in memory is not told again, although the
/// state is the same and it was kept before.
#[test]
fn what_a_used_instance_has_answered_is_not_repeated_where_each_serves_once() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, "[shards]\nquery_cache_fuel_min = 1\n").expect("a configuration");
    let config = config.to_str().expect("a path that is text");
    let server = Server::start(&data, &["--shards", "1", "--config", config]);
    let client = server.client();
    let application = client.install_component(&counting());
    let context = client.create(&application, None);
    let count = |number: u64| {
        let answer = client.call(&context, "count", json!({ "n": number }));
        let answer = answer.expect("an answer");
        answer["result"]["output"].as_u64().expect("a number")
    };
    assert_eq!([count(1), count(2), count(2), count(1)], [1, 2, 2, 1]);
    assert_eq!(
        client.metric("corelet_query_cache_hits_total{shard=\"0\"}"),
        2
    );
    corelet(&data, &["app", "set", "counting", "--reuse", "never"]);
    assert_eq!([count(2), count(1), count(3)], [1, 1, 1]);
}
