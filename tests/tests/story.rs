//! One request walks through every station of ARCHITECTURE.md, on the real
//! server: accept, parse, admit, route, queue, run, commit, reply. Each station is
//! shown by what it lets through, and those up to run by what they refuse; what
//! a full disk makes of a commit is in `disk.rs` and in the store's own tests.
//! The figures at the end have counted it all.

use corelet_tests::{Client, Server, hostile};
use serde_json::{Value, json};

/// Little room behind a call, and no long wait for the end of one that loops.
const CONFIG: &str = "[shards]\ncontext_waiting_max = 1\n[limits]\nupdate_fuel_max = 500_000_000\n";

/// A figure of `/metrics`, summed over shards.
fn figure(metrics: &str, name: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

#[test]
fn the_life_of_a_request() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, CONFIG).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = Server::start(&data, &["--shards", "2", "--config", config]);
    let client = server.client();

    // Accept: a connection is taken, and health needs no token. Headers have a size.
    assert_eq!(client.get("/healthz").expect("an answer").0, 200);
    let verbose = Client::new(server.address(), &"x".repeat(20 << 10));
    assert_eq!(verbose.get("/healthz").expect("an answer").0, 431);

    // Parse: what is no request is refused with the standard codes.
    for (body, code) in [
        (&b"{"[..], -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nope\"}",
            -32601,
        ),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"execute\",\"params\":{}}",
            -32602,
        ),
    ] {
        let (status, answer) = client.post("/rpc", body).expect("an answer");
        assert_eq!(
            (status, answer["error"]["code"].as_i64()),
            (200, Some(code)),
            "{answer}"
        );
    }

    // Admit: another token opens nothing.
    let stranger = Client::new(server.address(), "corelet_this-is-not-the-token");
    let (status, answer) = stranger.post("/rpc", b"{}").expect("an answer");
    assert_eq!(
        (status, answer["error"]["data"]["name"].as_str()),
        (401, Some("unauthenticated"))
    );
    assert_eq!(stranger.get("/v1/contexts").expect("an answer").0, 401);

    // Route: contexts live on both shards, and one connection reaches them all.
    let kv = client.install("kv");
    let contexts: Vec<String> = (0..12)
        .map(|n| client.create(&kv, Some(&format!("room-{n}"))))
        .collect();
    let (_, listed) = client.get("/v1/contexts").expect("an answer");
    let shards: std::collections::BTreeSet<u64> = listed["contexts"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["shard"].as_u64())
        .collect();
    assert_eq!(shards.len(), 2, "{listed}");
    let missing = client
        .call("nowhere", "get", json!({"key": "a"}))
        .expect("an answer");
    assert_eq!(missing["error"]["data"]["name"], "unknown_context");

    // Queue: behind one that runs and runs there is little room.
    let busy = client.create(&client.install_component(&hostile()), None);
    let fine = |client: &Client| client.call(&busy, "fine", json!({})).expect("an answer");
    let mut through = 0;
    let refused = std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            loop {
                let answer = client.call(&busy, "loop", json!({})).expect("an answer");
                // It may meet one of those below.
                if answer["error"]["data"]["name"] != "busy" {
                    break answer;
                }
            }
        });
        let refused = loop {
            let answer = fine(&client);
            if answer["error"].is_object() || looping.is_finished() {
                break answer;
            }
            through += 1;
        };
        let looped = looping.join().expect("no panic");
        assert_eq!(looped["error"]["data"]["name"], "out_of_fuel", "{looped}");
        refused
    });
    assert_eq!(refused["error"]["data"]["name"], "busy", "{refused}");
    assert!(fine(&client)["result"].is_object(), "it has gone on");
    through += 1;

    // Run: the guest answers, says no in its own words, and costs fuel.
    for context in &contexts {
        let set = client
            .call(context, "set", json!({"key": "a", "value": "1"}))
            .expect("an answer");
        assert_eq!(set["result"]["output"], Value::Null, "{set}");
        assert!(set["result"]["fuel_used"].as_u64() > Some(0));
        assert!(set["result"]["delta_id"].is_string());
        let no = client
            .call(context, "set", json!({"key": "a"}))
            .expect("an answer");
        assert_eq!(no["error"]["data"]["name"], "application_error", "{no}");
    }
    let get = client
        .call("room-3", "get", json!({"key": "a"}))
        .expect("an answer");
    assert_eq!(
        (&get["result"]["output"], &get["result"]["delta_id"]),
        (&json!("1"), &Value::Null)
    );

    // Commit: what was answered is on disk, whatever becomes of the process.
    let (_, before) = client.get("/v1/contexts/room-3").expect("an answer");
    let (_, metrics) = client.get("/metrics").expect("an answer");
    let metrics = metrics.as_str().expect("text").to_owned();
    server.kill();
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let (_, after) = client.get("/v1/contexts/room-3").expect("an answer");
    assert_eq!(
        (&before["root"], &before["version"]),
        (&after["root"], &after["version"])
    );
    let get = client
        .call("room-3", "get", json!({"key": "a"}))
        .expect("an answer");
    assert_eq!(get["result"]["output"], "1");

    // Reply: everything above was counted, and the server ends in good order.
    let updates = figure(&metrics, "corelet_updates_total");
    assert_eq!(updates, 12 + through, "{metrics}");
    assert_eq!(figure(&metrics, "corelet_queries_total"), 1);
    assert_eq!(figure(&metrics, "corelet_guest_failures_total"), 13);
    assert!(
        figure(&metrics, "corelet_hops_total") > 0,
        "some calls crossed from one core to the other"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
}
