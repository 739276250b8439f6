//! A disk that is full, and files on it that are damaged: what is lost is told
//! to the right one, and everything else goes on.

use std::fs;
use std::path::Path;

use corelet_tests::{ANY_PORT, Client, GoodAndBad, Server, component, flip, start_unlooked};
use serde_json::{Value, json};

#[test]
fn an_application_that_the_disk_has_no_room_for_is_refused_and_not_our_fault() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    // A file may have 96 KiB: more than a new ledger needs, less than the component.
    let small = "trap '' XFSZ; ulimit -f 192; exec \"$0\" \"$@\"";
    let wrapper = ["sh", "-c", small].map(str::to_owned);
    let mut server = Server::spawn(&data, ANY_PORT, &wrapper, &["--shards", "1"]);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let kv = component("kv");
    assert!(kv.len() > 96 << 10);
    let (status, answer) = client.post("/v1/applications", &kv).expect("an answer");
    assert_eq!(status, 507, "{answer}");
    assert_eq!(answer["type"], "urn:corelet:error:storage_full");
    let (status, list) = client.get("/v1/applications").expect("an answer");
    assert_eq!((status, &list["applications"]), (200, &json!([])));
    assert_eq!(server.stop(), Some(0));
    // Nothing of it is left in the way of the next attempt.
    let server = Server::start(&data, &[]);
    server.client().install("kv");
}

#[test]
fn a_damaged_application_is_told_to_the_operator_and_not_blamed_on_the_caller() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let kv = server.client().install("kv");
    let context = server.client().create(&kv, None);
    assert_eq!(server.stop(), Some(0));
    let file = data.join("blobs").join(format!("{kv}.wasm"));
    let good = std::fs::read(&file).expect("the application's file");
    let set = json!({ "key": "key", "value": "v" });
    for damaged in [
        Some(&good[..good.len() / 2]),
        Some(b"no component".as_slice()),
        None,
    ] {
        match damaged {
            Some(bytes) => std::fs::write(&file, bytes).expect("the file can be written"),
            None => std::fs::remove_file(&file).expect("the file is there"),
        }
        let mut server = Server::start(&data, &[]);
        let client = server.client();
        let answer = client
            .call(&context, "set", set.clone())
            .expect("an answer");
        assert_eq!(
            answer["error"]["data"]["name"], "storage_damaged",
            "{answer}"
        );
        // The same application, brought again, mends it.
        client.install("kv");
        let answer = client
            .call(&context, "set", set.clone())
            .expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(server.stop(), Some(0));
        // The server ends when all of its log is written.
        let log = server.log();
        let told = log
            .lines()
            .rfind(|line| line.contains("\"level\":\"ERROR\""));
        let told = told.expect("an error in the log");
        assert!(told.contains(&format!("{kv}.wasm")), "{told}");
        assert_eq!(
            told.contains(&format!("the hash {kv}")),
            damaged.is_some(),
            "{told}"
        );
        assert_eq!(std::fs::read(&file).expect("the file is back"), good);
    }
}

const NEEDLE: &str = "a needle in a haystack";

/// A context with a value that is going to be damaged, and a neighbour on its shard.
fn filled(data: &Path) -> (String, String) {
    let mut filled = GoodAndBad::start(data, NEEDLE);
    assert_eq!(filled.server.stop(), Some(0), "{}", filled.server.log());
    (filled.bad, filled.good)
}

fn get(client: &Client, context: &str) -> Value {
    let args = json!({ "key": "key" });
    client.call(context, "get", args).expect("an answer")
}

fn goes_on(client: &Client, good: &str) {
    let set = json!({ "key": "key", "value": "well" });
    let answer = client.call(good, "set", set).expect("an answer");
    assert!(answer["result"]["delta_id"].is_string(), "{answer}");
    assert_eq!(get(client, good)["result"]["output"], "well");
}

/// The name is in the record of the context as well, and in the directory under itself.
#[test]
fn a_node_starts_with_a_damaged_record_of_a_named_context_and_deletes_it() {
    const NAME: &str = "a-name-in-a-haystack";
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    let kv = client.install("kv");
    let [bad, good] = [NAME, "good"].map(|name| client.create(&kv, Some(name)));
    goes_on(&client, &good);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    // Its key in the directory is hit too, so that no name is there.
    flip(&data, NAME.as_bytes());
    let mut server = start_unlooked(&data, &[]);
    let client = server.client();
    goes_on(&client, &good);
    let answer = get(&client, &bad);
    assert!(answer["error"].is_object(), "{answer}");
    let (status, list) = client.get("/v1/contexts").expect("an answer");
    assert_eq!(
        (status, list["contexts"].as_array().map(Vec::len)),
        (200, Some(2))
    );
    let (status, shown) = client
        .get(&format!("/v1/contexts/{bad}"))
        .expect("an answer");
    assert_eq!(status, 200, "{shown}");
    assert!(shown["out_of_service"].is_string(), "{shown}");
    let (status, answer) = client
        .delete(&format!("/v1/contexts/{bad}"))
        .expect("an answer");
    assert_eq!(status, 204, "{answer}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    goes_on(&client, &good);
    let (_, list) = client.get("/v1/contexts").expect("an answer");
    assert_eq!(list["contexts"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_context_with_a_damaged_record_goes_out_of_service_and_its_neighbours_go_on() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let (bad, good) = filled(&data);
    flip(&data, NEEDLE.as_bytes());
    let mut server = start_unlooked(&data, &[]);
    let client = server.client();
    assert_eq!(
        get(&client, &bad)["error"]["data"]["name"],
        "storage_damaged"
    );
    // From now on nothing of it is tried, whatever it is.
    for method in ["get", "set"] {
        let args = json!({ "key": "other", "value": "v" });
        let answer = client.call(&bad, method, args).expect("an answer");
        let error = &answer["error"]["data"];
        assert_eq!(error["name"], "context_damaged", "{answer}");
        assert!(
            error["why"]
                .as_str()
                .is_some_and(|why| why.contains("checksum"))
        );
    }
    goes_on(&client, &good);
    let shown = |client: &Client| {
        let (status, shown) = client
            .get(&format!("/v1/contexts/{bad}"))
            .expect("an answer");
        assert_eq!(status, 200);
        shown["out_of_service"].clone()
    };
    assert!(shown(&client).is_string());
    assert_eq!(client.metric("corelet_contexts_out_of_service{"), 1);
    let (status, list) = client.get("/v1/contexts").expect("an answer");
    assert_eq!(
        (status, list["contexts"].as_array().map(Vec::len)),
        (200, Some(2))
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert!(server.log().contains("its context is out of service"));

    // Still after a restart, until the disk gives the right bytes and somebody says so.
    let mut server = start_unlooked(&data, &[]);
    let client = server.client();
    assert_eq!(
        get(&client, &bad)["error"]["data"]["name"],
        "context_damaged"
    );
    assert!(shown(&client).is_string());
    goes_on(&client, &good);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    flip(&data, NEEDLE.as_bytes());
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let path = format!("/v1/contexts/{bad}/quarantine");
    let (status, answer) = client.delete(&path).expect("an answer");
    assert_eq!(status, 204, "{answer}");
    assert_eq!(get(&client, &bad)["result"]["output"], NEEDLE);
    assert!(shown(&client).is_null());
    let (status, _) = client
        .delete("/v1/contexts/nobody/quarantine")
        .expect("an answer");
    assert_eq!(status, 404);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn the_scrub_finds_damage_that_nobody_has_met() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let (bad, good) = filled(&data);
    flip(&data, NEEDLE.as_bytes());
    let config = home.path().join("corelet.toml");
    let settings = "[collector]\nevery = \"100 ms\"\nscrub_bytes_per_second = \"1 GiB\"\n";
    fs::write(&config, settings).expect("a configuration");
    let mut server = start_unlooked(&data, &["--config", config.to_str().expect("a path")]);
    let client = server.client();
    while client.metric("corelet_contexts_out_of_service{") == 0 {
        goes_on(&client, &good);
    }
    assert_eq!(
        get(&client, &bad)["error"]["data"]["name"],
        "context_damaged"
    );
    // And goes on with what lies behind it.
    let rounds = client.metric("corelet_scrub_rounds_total{");
    while client.metric("corelet_scrub_rounds_total{") <= rounds + 1 {
        goes_on(&client, &good);
    }
    assert_eq!(client.metric("corelet_contexts_out_of_service{"), 1);
    assert_eq!(client.metric("corelet_orphans_dropped_total{"), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    // A context that is deleted takes its quarantine along.
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let (status, answer) = client
        .delete(&format!("/v1/contexts/{bad}"))
        .expect("an answer");
    assert_eq!(status, 204, "{answer}");
    assert_eq!(client.metric("corelet_contexts_out_of_service{"), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Nobody is told that the value is not there, or is another, and no context stops.
#[test]
fn a_bit_that_was_hit_while_no_server_ran_is_put_right_at_the_start() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let (bad, good) = filled(&data);
    flip(&data, NEEDLE.as_bytes());
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    assert_eq!(get(&client, &bad)["result"]["output"], NEEDLE);
    goes_on(&client, &good);
    assert_eq!(client.metric("corelet_contexts_out_of_service{"), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert!(server.log().contains("it is put right"), "{}", server.log());
}

/// By its own pace the scrub would come to it in a day, and take as many seconds as there are bytes.
#[test]
fn what_was_too_large_to_be_read_at_the_start_is_read_at_once() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let GoodAndBad {
        mut server,
        client,
        good,
        bad,
    } = GoodAndBad::start(&data, NEEDLE);
    // What fits into one page leads to nothing else, and is read all the same.
    for n in 0..100 {
        let args = json!({ "key": format!("key {n}"), "value": "v".repeat(200) });
        let answer = client.call(&good, "set", args).expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    flip(&data, NEEDLE.as_bytes());
    let config = home.path().join("corelet.toml");
    let settings = "[storage]\nstart_check_bytes_max = \"1 B\"\n[collector]\nevery = \"24 h\"\nscrub_bytes_per_second = \"1 B\"\n";
    fs::write(&config, settings).expect("a configuration");
    let mut server = Server::start(&data, &["--config", config.to_str().expect("a path")]);
    let client = server.client();
    while client.metric("corelet_contexts_out_of_service{") == 0 {
        goes_on(&client, &good);
    }
    let answer = get(&client, &bad);
    assert_eq!(answer["error"]["data"]["name"], "context_damaged");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Updates go on while the past of their context goes.
#[test]
fn the_collector_keeps_a_context_within_bounds_while_it_is_called() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    let settings = "[collector]\nevery = \"100 ms\"\nhistory_max = 10\nevents_max = 10\n";
    fs::write(&config, settings).expect("a configuration");
    let config = [
        "--shards",
        "1",
        "--config",
        config.to_str().expect("a path"),
    ];
    let mut server = Server::start(&data, &config);
    let client = server.client();
    let kv = client.install("kv");
    let context = client.create(&kv, None);
    let mut calls = 0_u64;
    while client.metric("corelet_deltas_dropped_total{") < 256 {
        for _ in 0..20 {
            let args = json!({ "key": "key", "value": calls.to_string() });
            let answer = client.call(&context, "set", args).expect("an answer");
            assert!(answer["result"].is_object(), "{answer}");
            calls += 1;
        }
    }
    let last = (calls - 1).to_string();
    assert_eq!(get(&client, &context)["result"]["output"], last);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let mut server = Server::start(&data, &config);
    assert_eq!(get(&server.client(), &context)["result"]["output"], last);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
