//! Answers to queries that the server keeps: told again while the state is the same, never
//! for longer, and only of applications whose answer does not depend on the moment.

use std::path::Path;

use corelet_tests::{Client, Server, made};
use serde_json::json;

/// Keeps the answers to all queries, however cheap they are.
fn start(home: &Path) -> (Server, Client) {
    let config = home.join("corelet.toml");
    std::fs::write(&config, "[shards]\nquery_cache_fuel_min = 0\n").expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let more = ["--shards", "2", "--config", config];
    let server = Server::start(&home.join("data"), &more);
    let client = server.client();
    (server, client)
}

/// Over both shards.
fn hits(client: &Client) -> u64 {
    ["0", "1"]
        .map(|shard| {
            client.metric(&format!(
                "corelet_query_cache_hits_total{{shard=\"{shard}\""
            ))
        })
        .iter()
        .sum()
}

#[test]
fn a_query_is_told_the_same_until_the_state_changes() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path());
    let kv = client.install("kv");
    let [context, neighbour] = [(); 2].map(|()| client.create(&kv, None));
    let get = |context: &str, key: &str| {
        let answer = client
            .call(context, "get", json!({ "key": key }))
            .expect("an answer");
        answer["result"].clone()
    };
    let set = |context: &str, value: &str| {
        let args = json!({ "key": "key", "value": value });
        let answer = client.call(context, "set", args).expect("an answer");
        assert!(answer["result"]["delta_id"].is_string(), "{answer}");
    };
    for round in 1..=20 {
        let value = format!("value {round}");
        set(&context, &value);
        let before = hits(&client);
        let first = get(&context, "key");
        assert_eq!(first["output"], value);
        assert_eq!(hits(&client), before, "it was not asked before");
        // What it has cost and the root that it was read at are the same, too.
        assert_eq!(get(&context, "key"), first);
        assert_eq!(hits(&client), before + 1);
        assert_eq!(get(&context, "other")["output"], json!(null));
        assert_eq!(get(&neighbour, "key")["output"], json!(null));
        let kept = hits(&client);
        // Another context's write is none of its business.
        set(&neighbour, &value);
        assert_eq!(get(&context, "key"), first);
        assert_eq!(hits(&client), kept + 1);
        assert_eq!(get(&neighbour, "key")["output"], value);
        let remove = json!({ "key": "key" });
        client
            .call(&neighbour, "remove", remove)
            .expect("an answer");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn what_depends_on_the_moment_is_asked_anew() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path());
    for (what, body, is_kept) in [
        ("nothing", "", true),
        (
            "the state",
            "(call $get (i32.const 256) (i32.const 5) (i32.const 400))",
            true,
        ),
        ("who calls", "(call $caller (i32.const 400))", true),
        ("its context", "(call $id (i32.const 400))", true),
        ("the time", "(drop (call $now))", false),
        (
            "chance",
            "(call $random (i32.const 8) (i32.const 400))",
            false,
        ),
        (
            "its log",
            "(call $write (i32.const 2) (i32.const 256) (i32.const 5))",
            false,
        ),
    ] {
        let text =
            format!("(func $call (param i32 i32 i32 i32) (result i32) {body} (call $ok-null))");
        let guest = made::with_query(&made::framed(&text));
        let context = client.create(&client.install_component(&guest), None);
        let before = hits(&client);
        for _ in 0..3 {
            let answer = client.call(&context, "run", json!({})).expect("an answer");
            assert!(answer["result"].is_object(), "{what}: {answer}");
        }
        let expected = if is_kept { 2 } else { 0 };
        assert_eq!(hits(&client) - before, expected, "{what}");
    }
    // A key makes it another request, which is refused however often it was answered.
    let context = client.create(&client.install("kv"), None);
    for _ in 0..2 {
        let params = json!({"context_id": context, "method": "len", "args": {}});
        let mut keyed = params.clone();
        keyed["idempotency_key"] = json!("a key");
        let request =
            |params| json!({"jsonrpc": "2.0", "id": 1, "method": "execute", "params": params});
        let ask = |params| client.post("/rpc", request(params).to_string().as_bytes());
        assert!(ask(params).expect("an answer").1["result"].is_object());
        assert!(ask(keyed).expect("an answer").1["error"].is_object());
    }
    // An application that says no is asked again.
    let refuse = "(func $call (param i32 i32 i32 i32) (result i32) (call $err (i32.const 272) (i32.const 4)))";
    let refuse = made::with_query(&made::framed(refuse));
    let context = client.create(&client.install_component(&refuse), None);
    let before = hits(&client);
    for _ in 0..3 {
        let answer = client.call(&context, "run", json!({})).expect("an answer");
        assert_eq!(
            answer["error"]["data"]["name"], "application_error",
            "{answer}"
        );
    }
    assert_eq!(hits(&client), before);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
