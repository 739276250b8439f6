//! SIGTERM under load: every answer that arrives is true, nothing acknowledged
//! is lost, the process ends with 0.

#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::sync::Arc;
use std::thread;

use serde_json::json;

use crate::server::{Server, wait_for};

#[test]
fn a_drain_loses_no_acknowledged_write() {
    let mut server = Server::start(&[]);
    let request = |server: &Server, key: &str| {
        let params =
            json!({ "context_id": "kv", "method": "set", "args": { "key": key, "value": "v" } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute", "params": params });
        server.request("POST", "/rpc", body.to_string().as_bytes())
    };
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let requests: Vec<(String, Vec<u8>)> = (0..5000)
                .map(|number| format!("w{writer}-{number}"))
                .map(|key| (key.clone(), request(&server, &key)))
                .collect();
            let requests = Arc::new(requests);
            let mut client = server.connect();
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for (key, request) in requests.iter() {
                    if client.try_send(request).is_err() {
                        break;
                    }
                    // No answer: the connection was idle when the drain came, or
                    // the call was never taken. Half an answer would panic.
                    let Some(response) = client.try_receive() else {
                        break;
                    };
                    if response.status != 200 {
                        break;
                    }
                    assert!(response.json()["result"]["delta_id"].is_string());
                    acknowledged.push(key.clone());
                    if response.header("connection") == Some("close") {
                        break;
                    }
                }
                acknowledged
            })
        })
        .collect();
    wait_for("some writes", || {
        server.figure("corelet_updates_total") > 200
    });
    server.signal();
    let acknowledged: Vec<String> = writers
        .into_iter()
        .flat_map(|writer| writer.join().unwrap())
        .collect();
    assert!(server.wait().success());
    assert!(acknowledged.len() > 200);
    server.start_again();
    for key in &acknowledged {
        let answer = server.call("kv", "get", json!({ "key": key }));
        assert_eq!(answer["result"]["output"], "v", "{key}");
    }
    server.check_and_stop();
}

/// The drain has an end: a call that does not is cut there, and has not happened.
/// Until then who still has a connection is told to go elsewhere.
#[test]
fn a_call_that_does_not_end_is_cut_at_the_end_of_the_drain() {
    let mut server = Server::start(&[
        ("limits.update_fuel_max", "100_000_000_000_000"),
        // The request in the middle has to find the drain still going on.
        ("process.drain_timeout", "3 s"),
    ]);
    let mut looping = server.start_endless_update();
    let state = |server: &Server| {
        let mut shown = server.get("/v1/contexts/hostile").json();
        // What was counted of its calls is written with the stop.
        shown.as_object_mut().unwrap().remove("bytes");
        shown
    };
    let before = state(&server);
    assert_eq!(before["entries"], 1, "{before}");

    // The server has begun with this request when it asks for the rest of it.
    let mut asking = server.connect();
    let headers = "content-length: 1\r\nexpect: 100-continue\r\n";
    asking.send(&server.head("GET", "/readyz", headers));
    assert_eq!(asking.receive().status, 100);
    let mut idle = server.connect();
    idle.send(&server.request("GET", "/readyz", b""));
    assert_eq!(idle.receive().status, 200);

    server.signal();
    assert!(idle.is_closed(), "the drain has begun");
    asking.send(b" ");
    let response = asking.receive();
    assert_eq!(response.status, 503);
    assert_eq!(response.refusal(), "unavailable");
    assert_eq!(response.header("retry-after"), Some("1"));
    assert!(asking.is_closed());

    assert!(looping.is_closed(), "there is no answer");
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
    let log = server.log();
    assert!(log.contains("the drain deadline cuts connections"), "{log}");

    server.start_again();
    assert_eq!(state(&server), before);
    let fine = server.call("hostile", "fine", json!({}));
    assert!(fine["result"].is_object(), "{fine}");
    server.check_and_stop();
}

#[test]
fn one_data_directory_has_one_server() {
    let server = Server::start(&[]);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_corelet"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("is in use by"), "{said}");
    let address = server.address.to_string();
    let other = tempfile::tempdir().unwrap();
    let third = std::process::Command::new(env!("CARGO_BIN_EXE_corelet"))
        .args(["serve", "--listen", &address, "--data-dir"])
        .arg(other.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(third.status.code(), Some(1));
    let said = String::from_utf8(third.stderr).unwrap();
    assert!(said.contains(&format!("listening on {address}")), "{said}");
    server.check_and_stop();
}
