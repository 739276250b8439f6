//! Requests that are none, and those that ask for what is not there.

use corelet_tests::{Client, wait_for};
use serde_json::{Value, json};

use crate::Stage;
use crate::catalogue::{Catalogue, limit_of};

pub(super) fn requests_that_are_none(catalogue: &Catalogue) {
    let stage =
        Stage::start("[http]\nbatch_answers_bytes_max = \"2 MiB\"\nupload_bytes_max = \"1 MiB\"\n");
    let rpc = |name: &str, body: &str| {
        stage.refused("neighbour", || {
            catalogue.rpc(name, &stage.post("/rpc", body.as_bytes()))
        })
    };
    rpc("parse_error", "{");
    rpc("invalid_request", "{}");
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"execute","params":["neighbour","get",{"key":"k"}]}"#;
    let data = rpc("method_not_found", &call.replace("execute", "perform"));
    assert_eq!(data["method"], "perform");
    rpc("invalid_params", &call.replace("{\"key\":\"k\"}", "7"));
    let data = rpc(
        "batch_too_long",
        &format!("[{}]", vec![call; 101].join(",")),
    );
    assert_eq!(limit_of(&data), ("http.batch_max", 100));
    let data = rpc("too_deep", &"[".repeat(1000));
    assert_eq!(limit_of(&data), ("http.depth_max", 128));
    let long = format!("{{\"key\":\"{}\"}}", "x".repeat(1 << 20));
    let data = rpc("too_large", &call.replace("{\"key\":\"k\"}", &long));
    assert_eq!(limit_of(&data), ("limits.args_bytes_max", 1 << 20));
    assert_eq!(data["got"], long.len());

    // Announced only: whoever sends it all may miss the answer.
    let upload = || {
        stage.raw(
            "POST",
            "/v1/applications",
            "content-length: 1048577\r\n\r\n",
        )
    };
    let data = stage.refused("neighbour", || catalogue.rest("too_large", &upload()));
    assert_eq!(limit_of(&data), ("http.upload_bytes_max", 1 << 20));

    let stranger = Client::new(stage.server.address(), "corelet_this-is-not-the-token");
    catalogue.rpc(
        "unauthenticated",
        &stranger.post("/rpc", call.as_bytes()).expect("an answer"),
    );
    catalogue.rest(
        "unauthenticated",
        &stranger.get("/v1/contexts").expect("an answer"),
    );
    let broken = stage.raw(
        "POST",
        "/rpc",
        "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    );
    catalogue.rpc("broken_body", &broken);
    let refused = |name: &str, headers: &str| {
        let act = || catalogue.rest(name, &stage.raw("POST", "/rpc", headers));
        stage.refused("neighbour", act)
    };
    refused("broken_head", "content-length: many\r\n\r\n");
    refused("head_too_large", &("x: y\r\n".repeat(100) + "\r\n"));
    catalogue.rest(
        "not_found",
        &stage.client.get("/v2/anything").expect("an answer"),
    );
    let patch = stage.raw("PATCH", "/v1/contexts", "content-length: 0\r\n\r\n");
    catalogue.rest("method_not_allowed", &patch);

    let large = json!({ "key": "k", "value": "x".repeat(900_000) });
    let set = stage.call("neighbour", "set", &large);
    assert!(set.1["result"].is_object(), "{}", set.1);
    let (status, answers) = stage.post("/rpc", format!("[{}]", [call; 9].join(",")).as_bytes());
    let last = answers
        .as_array()
        .and_then(|all| all.last())
        .expect("answers");
    let data = catalogue.rpc("batch_answers_too_large", &(status, last.clone()));
    assert_eq!(limit_of(&data), ("http.batch_answers_bytes_max", 2 << 20));
    stage.stop();
}

pub(super) fn a_client_that_is_slow(catalogue: &Catalogue) {
    let stage = Stage::start("[http]\nbody_timeout = \"1 s\"\n");
    let slow = stage.raw("POST", "/rpc", "content-length: 100\r\n\r\n{");
    let data = catalogue.rpc("too_slow", &slow);
    assert_eq!(limit_of(&data), ("http.body_timeout", 1_000));
    stage.stop();
}

pub(super) fn what_is_not_there(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let call = |name: &str, context: &str, method: &str| {
        let act = || catalogue.rpc(name, &stage.call(context, method, &json!({})));
        stage.refused("neighbour", act)
    };
    assert_eq!(
        call("unknown_context", "nobody", "get")["context"],
        "nobody"
    );
    assert_eq!(
        call("unknown_method", "neighbour", "frob")["method"],
        "frob"
    );
    let keyed = |args: Value| {
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "execute",
            "params": {
                "context_id": "neighbour", "method": "set", "args": args, "idempotency_key": "once",
            },
        });
        stage.post("/rpc", request.to_string().as_bytes())
    };
    let first = keyed(json!({ "key": "k", "value": "v" }));
    assert!(first.1["result"].is_object(), "{}", first.1);
    stage.refused("neighbour", || {
        let again = keyed(json!({ "key": "k", "value": "w" }));
        catalogue.rpc("idempotency_key_reused", &again)
    });
    let create = |name: &str, body: Value| {
        let body = body.to_string();
        let act = || catalogue.rest(name, &stage.post("/v1/contexts", body.as_bytes()));
        stage.refused("neighbour", act)
    };
    let data = create("unknown_application", json!({ "application": "nothing" }));
    assert_eq!(data["application"], "nothing");
    let data = create(
        "conflict",
        json!({ "application": "kv", "name": "neighbour" }),
    );
    assert_eq!(data["what"], stage.neighbour);
    let entries = |stage: &Stage, at: &str| {
        let path = format!("/v1/contexts/neighbour/entries?at={at}");
        stage.client.get(&path).expect("an answer")
    };
    let act = || catalogue.rest("unknown_delta", &entries(&stage, &stage.neighbour));
    let data = stage.refused("neighbour", act);
    assert_eq!(data["delta"], stage.neighbour);
    let remove = || {
        stage
            .client
            .delete("/v1/applications/kv")
            .expect("an answer")
    };
    let data = stage.refused("neighbour", || catalogue.rest("conflict", &remove()));
    assert_eq!(data["what"], stage.neighbour);
    stage.stop();
}

pub(super) fn a_past_that_is_gone(catalogue: &Catalogue) {
    let stage = Stage::start("[collector]\nevery = \"100 ms\"\nhistory_max = 0\n");
    let mut set = Vec::new();
    for n in 0..200 {
        let args = json!({ "key": "k", "value": n.to_string() });
        let answer = stage.call("neighbour", "set", &args);
        let delta = answer.1["result"]["delta_id"].as_str();
        set.push(delta.expect("it has changed something").to_owned());
    }
    let deltas = || {
        let path = "/v1/contexts/neighbour/deltas?limit=1000";
        let (_, text) = stage.client.get(path).expect("an answer");
        let lines = text.as_str().expect("lines").lines();
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        lines
    };
    let oldest = wait_for("the collector to drop deltas", || {
        let mut left = deltas();
        (left.len() < 200).then(|| {
            left.pop();
            left.pop().expect("the newest are kept")
        })
    });
    let at = |delta: &str| {
        let path = format!("/v1/contexts/neighbour/entries?at={delta}");
        stage.client.get(&path).expect("an answer")
    };
    let data = catalogue.rest("past_not_retained", &at(&set[0]));
    assert_eq!(data["delta"], set[0]);
    // What is kept is read as it was, although what led to it is not.
    let oldest = oldest["delta"].as_str().expect("an id");
    let (status, text) = at(oldest);
    assert_eq!(status, 200, "{text}");
    let n = set.iter().position(|delta| delta == oldest);
    let n = n.expect("it is one of them").to_string();
    let lines = text.as_str().expect("lines").lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let values: Vec<Value> = lines.map(|line| line["value"].clone()).collect();
    assert!(values.contains(&json!(n)), "{values:?}");
    stage.stop();
}
