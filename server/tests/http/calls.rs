//! JSON-RPC as clients send it: good, bad and in batches.

use serde_json::{Value, json};

use crate::server::Server;

const GET: &str = r#"{"jsonrpc":"2.0","id":1,"method":"execute","params":{"context_id":"kv","method":"get","args":{"key":"a"}}}"#;

fn get(id: &str) -> String {
    GET.replace("\"id\":1", &format!("\"id\":{id}"))
}

/// Each body that is not a good call gets its code, its id, and status 200:
/// the HTTP exchange was good.
#[test]
fn every_bad_envelope_has_its_code() {
    let server = Server::start(&[]);
    let check = |body: &[u8], code: i64, id: Value| {
        let response = server.post("/rpc", body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        assert_eq!(response.status, 200, "{shown}");
        let answer = response.json();
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        assert_eq!(answer["id"], id, "{shown}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
    };
    check(b"", -32700, Value::Null);
    check(b"{", -32700, Value::Null);
    check(b"not json", -32700, Value::Null);
    check(b"\xff\xfe", -32700, Value::Null);
    check(&[GET.as_bytes(), b"x"].concat(), -32700, Value::Null);
    check(
        &[GET.as_bytes(), GET.as_bytes()].concat(),
        -32700,
        Value::Null,
    );
    check(b"1", -32600, Value::Null);
    check(b"[]", -32600, Value::Null);
    check(b"{}", -32600, Value::Null);
    check(get("true").as_bytes(), -32600, Value::Null);
    check(get("[1]").as_bytes(), -32600, Value::Null);
    check(GET.replace("2.0", "1.0").as_bytes(), -32600, json!(1));
    check(
        GET.replace("\"id\":1", "\"id\":1,\"id\":2").as_bytes(),
        -32600,
        Value::Null,
    );
    check(GET.replace("execute", "run").as_bytes(), -32601, json!(1));
    check(
        GET.replace("context_id", "contextId").as_bytes(),
        -32602,
        json!(1),
    );
    check(
        GET.replace("\"args\":{\"key\":\"a\"}", "\"args\":[1]")
            .as_bytes(),
        -32602,
        json!(1),
    );
    check(
        GET.replace(
            "\"method\":\"get\"",
            "\"method\":\"get\",\"method\":\"len\"",
        )
        .as_bytes(),
        -32602,
        json!(1),
    );
    check("[".repeat(200_000).as_bytes(), -32010, Value::Null);
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    check(
        GET.replace("\"a\"}", &format!("{deep}}}")).as_bytes(),
        -32010,
        Value::Null,
    );
    // Within the bound on bodies, over the one on arguments.
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let response = server.rpc(&GET.replace("\"a\"}", &format!("{long}}}")));
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (413, "too_large")
    );
    assert_eq!(
        response.json()["error"]["data"]["limit"],
        "limits.args_bytes_max"
    );
    assert_eq!(response.json()["id"], 1);
    server.check_and_stop();
}

#[test]
fn calls_that_cannot_run_say_why_and_change_nothing() {
    let server = Server::start(&[]);
    let root = |server: &Server| server.get("/v1/contexts/kv").json()["root"].clone();
    let before = root(&server);
    let check = |context: &str, method: &str, args: Value, name: &str| {
        let answer = server.call(context, method, args);
        assert_eq!(
            answer["error"]["data"]["name"], name,
            "{context} {method}: {answer}"
        );
        answer["error"].clone()
    };
    let error = check("nobody", "get", json!({}), "unknown_context");
    assert_eq!(error["data"]["context"], "nobody");
    let unknown = "1".repeat(32);
    check(&unknown, "get", json!({}), "unknown_context");
    let error = check("kv", "frobnicate", json!({}), "unknown_method");
    assert_eq!(error["data"]["method"], "frobnicate");
    // The application itself refuses arguments that it cannot read.
    for args in [
        json!({}),
        json!({ "key": 1 }),
        json!({ "key": "a", "value": null }),
    ] {
        check("kv", "set", args, "application_error");
    }
    assert_eq!(root(&server), before);
    server.check_and_stop();
}

#[test]
fn ids_come_back_as_they_were_written() {
    let server = Server::start(&[]);
    for id in [
        "0",
        "-7",
        "1.50",
        "12345678901234567890",
        "\"\"",
        "\"x\\u00e9\"",
        "null",
    ] {
        let response = server.rpc(&get(id));
        let body = String::from_utf8(response.body).unwrap();
        let expected =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"output":"1","delta_id":null,"#);
        assert!(body.starts_with(&expected), "{body}");
    }
    server.check_and_stop();
}

#[test]
fn batches_keep_their_order_and_their_bound() {
    let server = Server::start(&[]);
    let set = |id: &str, value: &str| {
        format!(
            r#"{{"jsonrpc":"2.0",{id}"method":"execute","params":["kv","set",{{"key":"b","value":"{value}"}}]}}"#
        )
    };
    // Updates of one context run in the order of the batch; a notification leaves no gap.
    let batch = [
        set("\"id\":1,", "x"),
        "7".to_owned(),
        set("", "y"),
        set("\"id\":\"z\",", "z"),
        get("3").replace("\"a\"", "\"b\""),
    ]
    .join(",");
    let answer = server.rpc(&format!("[{batch}]")).json();
    let answers = answer.as_array().unwrap();
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(
        ids,
        [&json!(1), &Value::Null, &json!("z"), &json!(3)],
        "{answer}"
    );
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(
        answers[2]["result"]["output"], "y",
        "set returns what was there"
    );

    let many = |count: usize| format!("[{}]", vec![GET; count].join(","));
    assert_eq!(server.rpc(&many(100)).json().as_array().unwrap().len(), 100);
    let refused = server.rpc(&many(101)).json();
    assert_eq!(refused["error"]["code"], -32009);
    assert_eq!(refused["error"]["data"]["max"], 100);
    server.check_and_stop();
}

#[test]
fn a_batch_whose_answers_would_be_too_large_is_run_up_to_there() {
    let server = Server::start(&[("http.batch_answers_bytes_max", "2 MiB")]);
    let large = "x".repeat(500_000);
    let set = server.call("kv", "set", json!({ "key": "a", "value": large }));
    assert!(set["result"].is_object(), "{set}");
    let set = |id: u32, value: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"execute","params":["kv","set",{{"key":"b","value":"{value}"}}]}}"#
        )
    };
    let mut batch = vec![set(0, "first")];
    batch.extend((1..98).map(|id| get(&id.to_string())));
    batch.push(set(98, "last"));
    // To a notification nothing is said, and it is not run either.
    batch.push(set(99, "last").replace("\"id\":99,", ""));
    let response = server.rpc(&format!("[{}]", batch.join(",")));
    assert_eq!(response.status, 200);
    assert!(response.body.len() < 2 << 20, "{}", response.body.len());
    let answers = response.json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 99);
    // Room for one more of a MiB is left until the third of half a MiB is in.
    let (run, refused) = answers.split_at(4);
    for (id, answer) in run.iter().enumerate() {
        assert_eq!(answer["id"], id);
        assert!(answer["result"].is_object(), "{id}: {}", answer["error"]);
    }
    for (id, answer) in refused.iter().enumerate() {
        assert_eq!(answer["id"], id + 4);
        assert_eq!(answer["error"]["code"], -32013);
        let data = &answer["error"]["data"];
        assert_eq!(data["limit"], "http.batch_answers_bytes_max");
        assert_eq!(data["max"], 2 << 20);
    }
    let kept = server.call("kv", "get", json!({ "key": "b" }));
    assert_eq!(kept["result"]["output"], "first");
    let set = server.call("kv", "set", json!({ "key": "a", "value": "1" }));
    assert!(set["result"].is_object(), "{set}");
    server.check_and_stop();
}

#[test]
fn notifications_are_run_and_not_answered() {
    let server = Server::start(&[]);
    let set =
        r#"{"jsonrpc":"2.0","method":"execute","params":["kv","set",{"key":"n","value":"told"}]}"#;
    let response = server.rpc(set);
    assert_eq!((response.status, response.body.len()), (204, 0));
    let response = server.rpc(&format!("[{set},{set}]"));
    assert_eq!((response.status, response.body.len()), (204, 0));
    // One that cannot be run is not answered either.
    let response = server.rpc(&set.replace("kv", "nobody"));
    assert_eq!((response.status, response.body.len()), (204, 0));
    assert_eq!(
        server.call("kv", "get", json!({ "key": "n" }))["result"]["output"],
        "told"
    );
    server.check_and_stop();
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let mut server = Server::start(&[]);
    for number in 0..50 {
        let answer = server.call(
            "kv",
            "set",
            json!({ "key": format!("k{number}"), "value": "v" }),
        );
        assert!(answer["result"]["delta_id"].is_string(), "{answer}");
    }
    let state = |server: &Server| {
        let mut context = server.get("/v1/contexts/kv").json();
        // The server's own notes of it are among them, such as statistics at a stop.
        assert!(context["bytes"].take().is_u64());
        context
    };
    let before = state(&server);
    server.restart();
    assert_eq!(state(&server), before);
    assert_eq!(before["entries"], 51);
    server.check_and_stop();
}
