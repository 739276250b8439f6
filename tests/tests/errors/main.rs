//! Every entry of the catalogue of errors, met through the real server: its
//! number, its status and the members of its data are those of the page, and
//! afterwards the state is as it was, and the server and its neighbours go on.
//!
//! The page itself says what has to be met: an entry that no request here is
//! refused with fails the test. Which components are refused with which words
//! is tested in `wasm-host`, and what the limits on compiling do in `compile.rs`.

mod applications;
mod calls;
mod catalogue;
mod requests;
mod storage;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use corelet_tests::{Client, Server};
use serde_json::{Value, json};

use crate::applications::{
    a_compiler_that_is_killed_or_takes_too_long, a_server_with_all_its_applications,
    contexts_that_cannot_be_upgraded, uploads_in_pieces_that_go_wrong,
    uploads_that_are_no_applications,
};
use crate::calls::{a_queue_that_is_full, calls_that_are_stopped, guests_that_fail};
use crate::catalogue::Catalogue;
use crate::requests::{
    a_client_that_is_slow, a_past_that_is_gone, requests_that_are_none, what_is_not_there,
};
use crate::storage::{
    a_context_that_is_damaged, blobs_that_are_not_as_they_should, storage_that_is_full_or_damaged,
};

/// What no request can bring about, and why.
const OUT_OF_REACH: [(&str, &str); 2] = [
    (
        "internal_error",
        "a fault that we knew of would be repaired",
    ),
    ("denied", "there is one token, and it may do everything"),
];

/// A server with a context of `kv` for whose sake it has to go on.
struct Stage {
    home: tempfile::TempDir,
    server: Server,
    client: Client,
    neighbour: String,
}

impl Stage {
    fn start(settings: &str) -> Stage {
        let home = tempfile::tempdir().expect("a directory");
        let config = home.path().join("corelet.toml");
        std::fs::write(&config, settings).expect("a configuration");
        let config = config.to_str().expect("a path in UTF-8");
        let more = ["--shards", "1", "--config", config];
        let data = home.path().join("data");
        let server = Server::start(&data, &more);
        let client = server.client();
        let neighbour = client.create(&client.install("kv"), Some("neighbour"));
        Stage {
            home,
            server,
            client,
            neighbour,
        }
    }

    fn call(&self, context: &str, method: &str, args: &Value) -> (u16, Value) {
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "execute",
            "params": { "context_id": context, "method": method, "args": args },
        });
        self.post("/rpc", request.to_string().as_bytes())
    }

    fn post(&self, path: &str, body: &[u8]) -> (u16, Value) {
        self.client.post(path, body).expect("an answer")
    }

    /// What a context is, and how many contexts and applications there are.
    fn state(&self, context: &str) -> Value {
        let get = |path: &str| self.client.get(path).expect("an answer").1;
        let count = |what: &str| get(&format!("/v1/{what}"))[what].as_array().map(Vec::len);
        let info = get(&format!("/v1/contexts/{context}"));
        assert!(info["root"].is_string(), "{info}");
        json!([
            info["version"],
            info["root"],
            info["entries"],
            count("contexts"),
            count("applications")
        ])
    }

    /// Does something that is refused, and shows that it has left no trace and
    /// that everything goes on.
    fn refused<T>(&self, context: &str, act: impl FnOnce() -> T) -> T {
        let before = self.state(context);
        let refusal = act();
        assert_eq!(self.state(context), before, "a refusal left a trace");
        self.goes_on();
        refusal
    }

    fn goes_on(&self) {
        let set = self.call(&self.neighbour, "set", &json!({ "key": "k", "value": "v" }));
        assert!(set.1["result"]["delta_id"].is_string(), "{}", set.1);
        let (ready, _) = self.client.get("/readyz").expect("an answer");
        assert_eq!(ready, 200);
    }

    /// A request as it is written, on a connection of its own.
    fn raw(&self, method: &str, path: &str, rest: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.server.address()).expect("it listens");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a socket");
        let token = self.server.token();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{rest}"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = serde_json::from_str(body).expect("JSON");
        (status.expect("a status"), body)
    }

    fn stop(mut self) {
        self.goes_on();
        assert_eq!(self.server.stop(), Some(0), "{}", self.server.log());
    }
}

#[test]
fn every_error_of_the_catalogue_is_met_and_is_as_the_page_has_it() {
    let catalogue = Catalogue::of_the_server();
    requests_that_are_none(&catalogue);
    a_client_that_is_slow(&catalogue);
    what_is_not_there(&catalogue);
    a_past_that_is_gone(&catalogue);
    guests_that_fail(&catalogue);
    calls_that_are_stopped(&catalogue);
    uploads_that_are_no_applications(&catalogue);
    a_compiler_that_is_killed_or_takes_too_long(&catalogue);
    a_queue_that_is_full(&catalogue);
    a_server_with_all_its_applications(&catalogue);
    storage_that_is_full_or_damaged(&catalogue);
    a_context_that_is_damaged(&catalogue);
    blobs_that_are_not_as_they_should(&catalogue);
    uploads_in_pieces_that_go_wrong(&catalogue);
    contexts_that_cannot_be_upgraded(&catalogue);

    let mut missing: BTreeSet<&str> = catalogue.entries.keys().map(String::as_str).collect();
    let met = catalogue.met.borrow();
    for (name, why) in OUT_OF_REACH {
        assert!(!met.contains(name), "{name} was met, although {why}");
        assert!(missing.remove(name), "{name} is not on the page");
    }
    missing.retain(|name| !met.contains(*name));
    assert!(missing.is_empty(), "no request is refused with {missing:?}");
}
