//! Every entry of the catalogue of errors, met through the real server: its
//! number, its status and the members of its data are those of the page, and
//! afterwards the state is as it was, and the server and its neighbours go on.
//!
//! The page itself says what has to be met: an entry that no request here is
//! refused with fails the test. Which components are refused with which words
//! is tested in `wasm-host`, and what the limits on compiling do in `compile.rs`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use corelet_tests::{
    Client, Server, binary, component, flip, made, start_unlooked, wait_for, worker,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

/// What no request can bring about, and why.
const OUT_OF_REACH: [(&str, &str); 2] = [
    (
        "internal_error",
        "a fault that we knew of would be repaired",
    ),
    ("denied", "there is one token, and it may do everything"),
];

/// One line of the page.
struct Entry {
    code: i64,
    status: u16,
    is_transport: bool,
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
}

/// The page, and which of its entries have been met.
struct Catalogue {
    entries: BTreeMap<String, Entry>,
    met: RefCell<BTreeSet<String>>,
}

impl Catalogue {
    fn of_the_server() -> Catalogue {
        let shown = Command::new(binary())
            .args(["config", "errors"])
            .output()
            .expect("the binary starts");
        let page = String::from_utf8(shown.stdout).expect("text");
        let entries = page.lines().filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, code, name, status, members, _meaning, _] = cells[..] else {
                return None;
            };
            let (status, is_transport) = match status.strip_suffix(" transport") {
                Some(status) => (status, true),
                None => (status, false),
            };
            let members = members.split(", ").filter(|member| !member.is_empty());
            let (optional, required): (Vec<&str>, Vec<&str>) =
                members.partition(|member| member.ends_with('?'));
            let entry = Entry {
                // The heads of the table are no numbers.
                code: code.parse().ok()?,
                status: status.parse().expect("a status"),
                is_transport,
                required: required.into_iter().map(str::to_owned).collect(),
                optional: optional
                    .into_iter()
                    .map(|member| member.trim_end_matches('?').to_owned())
                    .collect(),
            };
            Some((name.trim_matches('`').to_owned(), entry))
        });
        let entries: BTreeMap<_, _> = entries.collect();
        assert!(entries.len() > 30, "the page was not understood");
        let met = RefCell::default();
        Catalogue { entries, met }
    }

    /// An answer to a JSON-RPC call: refused as `name`, and as the page has it.
    /// Gives the data.
    fn rpc(&self, name: &str, (status, answer): &(u16, Value)) -> Map<String, Value> {
        let error = &answer["error"];
        assert_eq!(error["data"]["name"], name, "{status}: {answer}");
        let entry = self.meet(name);
        let expected = if entry.is_transport {
            entry.status
        } else {
            200
        };
        assert_eq!(*status, expected, "{answer}");
        assert_eq!(error["code"], entry.code, "{answer}");
        assert!(error["message"].is_string(), "{answer}");
        let mut data = error["data"].as_object().expect("data").clone();
        data.remove("name");
        entry.check(name, &data);
        data
    }

    /// The same for an answer of the REST side.
    fn rest(&self, name: &str, (status, answer): &(u16, Value)) -> Map<String, Value> {
        let kind = format!("urn:corelet:error:{name}");
        assert_eq!(answer["type"], kind, "{status}: {answer}");
        let entry = self.meet(name);
        assert_eq!(*status, entry.status, "{answer}");
        assert_eq!(answer["status"], entry.status, "{answer}");
        assert_eq!(answer["code"], entry.code, "{answer}");
        let mut data = answer.as_object().expect("members").clone();
        for member in ["type", "title", "status", "detail", "code"] {
            assert!(data.remove(member).is_some(), "no {member}: {answer}");
        }
        entry.check(name, &data);
        data
    }

    fn meet(&self, name: &str) -> &Entry {
        self.met.borrow_mut().insert(name.to_owned());
        let entry = self.entries.get(name);
        entry.unwrap_or_else(|| panic!("{name} is not on the page"))
    }
}

impl Entry {
    fn check(&self, name: &str, data: &Map<String, Value>) {
        for member in &self.required {
            assert!(data.contains_key(member), "{name} lacks {member}: {data:?}");
        }
        for member in data.keys() {
            let is_known = self.required.contains(member) || self.optional.contains(member);
            assert!(is_known, "{name} has {member}, which is not on the page");
        }
    }
}

/// Which limit a refusal names, and what it is.
fn limit_of(data: &Map<String, Value>) -> (&str, u64) {
    let limit = data["limit"].as_str().expect("a name");
    (limit, data["max"].as_u64().expect("a number"))
}

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

fn requests_that_are_none(catalogue: &Catalogue) {
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

fn a_client_that_is_slow(catalogue: &Catalogue) {
    let stage = Stage::start("[http]\nbody_timeout = \"1 s\"\n");
    let slow = stage.raw("POST", "/rpc", "content-length: 100\r\n\r\n{");
    let data = catalogue.rpc("too_slow", &slow);
    assert_eq!(limit_of(&data), ("http.body_timeout", 1_000));
    stage.stop();
}

fn what_is_not_there(catalogue: &Catalogue) {
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

fn a_past_that_is_gone(catalogue: &Catalogue) {
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

/// A loop ends soon, and nothing else comes near.
const FUEL: &str = "[limits]\nupdate_fuel_max = 100_000_000\nquery_fuel_max = 90_000_000\ninit_fuel_max = 80_000_000\n";

fn guests_that_fail(catalogue: &Catalogue) {
    let stage = Stage::start(FUEL);
    // In a context of its own, called once and seen to be as it was.
    let call = |what: &str, component: &[u8], name: &str| {
        let application = stage.client.install_component(component);
        let context = stage.client.create(&application, None);
        let data = stage.refused(&context, || {
            let answer = stage.call(&context, "run", &json!({ "a": 1 }));
            assert!(answer.1["error"].is_object(), "{what}: {}", answer.1);
            catalogue.rpc(name, &answer)
        });
        assert_eq!(stage.state(&context)[2], 0, "{what} has written");
        data
    };
    let update = |guest: &str, name: &str| call(guest, &made::guest(guest), name);
    let query = |guest: &str, name: &str| call(guest, &made::with_query(&made::guest(guest)), name);

    let data = update("refuse", "application_error");
    assert_eq!(data["error"], json!({ "a": 1 }));
    let inspecting = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))
        (func (export \"inspect\") (param i32 i32 i32 i32) (result i32)
          (call $err (local.get 2) (local.get 3)))";
    let data = call("a look", &made::framed(inspecting), "inspection_refused");
    assert_eq!(data["error"], json!({ "a": 1 }));
    for (guest, says) in [("unreachable", "unreachable"), ("divide", "divide by zero")] {
        let data = update(guest, "trapped");
        let trap = data["trap"].as_str().expect("a text");
        assert!(trap.contains(says), "{guest}: {trap}");
        assert_eq!(data.get("said"), None, "{guest} said nothing");
    }
    let last_words = "(func $call (param i32 i32 i32 i32) (result i32)
        (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
        (call $write (i32.const 0) (i32.const 256) (i32.const 5))
        unreachable)";
    let data = call("last words", &made::framed(last_words), "trapped");
    assert_eq!(data["said"], "guest");

    let updates = ("limits.update_fuel_max", 100_000_000);
    assert_eq!(limit_of(&update("endless", "out_of_fuel")), updates);
    let queries = ("limits.query_fuel_max", 90_000_000);
    assert_eq!(limit_of(&query("endless", "out_of_fuel")), queries);
    let data = update("memory_bomb", "out_of_memory");
    assert_eq!(limit_of(&data), ("limits.memory_bytes_max", 64 << 20));
    let data = update("recursion", "stack_overflow");
    assert_eq!(limit_of(&data), ("limits.stack_bytes_max", 512 << 10));
    for (guest, limit, used) in [
        ("table_bomb", "table_elements_max", 50_001),
        ("write_flood", "writes_max", 10_001),
        ("remove_flood", "writes_max", 10_001),
        ("write_bytes_flood", "write_bytes_max", 128 * 32_769),
        ("event_flood", "events_max", 1_001),
        ("event_bytes_flood", "event_bytes_max", 64 * 16_385),
        ("log_flood", "logs_max", 1_001),
        ("log_bytes_flood", "log_bytes_max", 17 * 16_384),
        ("scan_flood", "scan_rows_max", 1_001),
        ("random_flood", "random_bytes_max", 4_097),
        ("long_key", "key_bytes_max", 481),
        ("large_value", "value_bytes_max", (1 << 20) + 1),
        ("oversized", "output_bytes_max", 1_572_864),
        ("oversized_transfer", "transfer_bytes_max", (4 << 20) + 1),
    ] {
        let data = update(guest, "limit_exceeded");
        assert_eq!(limit_of(&data).0, format!("limits.{limit}"), "{guest}");
        assert_eq!(data["used"], used, "{guest}");
        assert!(data["max"].as_u64() < data["used"].as_u64(), "{guest}");
    }
    for guest in ["write_flood", "remove_flood", "event_flood"] {
        query(guest, "wrote_in_query");
    }
    let asks = made::framed(
        "(func $call (param i32 i32 i32 i32) (result i32)
           (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
             (local.get 2) (local.get 3) (i32.const 416))
           (call $ok-null))",
    );
    call("asks", &asks, "asked_in_update");
    for guest in [
        "not_json",
        "not_utf8",
        "error_not_json",
        "event_not_json",
        "event_kind_not_utf8",
        "out_of_bounds",
        "bad_result_pointer",
        "bad_discriminant",
        "bad_level",
    ] {
        let data = update(guest, "invalid_output");
        assert!(data["reason"].is_string(), "{guest}: {data:?}");
    }

    update("misuse", "entry_misused");
    for misuse in [
        // Written once, and removed.
        "(drop (call $write-once (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)))
         (drop (call $remove (i32.const 276) (i32.const 1)))",
        // A counter that stays on its node.
        "(drop (call $add (i32.const 2) (i32.const 276) (i32.const 1) (i64.const 1)))",
        // Under a key that does not begin with this node's.
        "(call $set-in (i32.const 1) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))",
    ] {
        let text = format!("(func $call (param i32 i32 i32 i32) (result i32) {misuse} (call $ok-null))");
        call(misuse, &made::framed(&text), "entry_misused");
    }
    // One that an earlier call has made is met by the commit.
    let another_kind = "(func $init (param i32 i32) (result i32)
            (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1)))
            (call $ok-null))
        (func $call (param i32 i32 i32 i32) (result i32)
            (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
            (call $ok-null))";
    let application = stage.client.install_component(&made::framed(another_kind));
    let context = stage.client.create(&application, None);
    stage.refused(&context, || {
        catalogue.rpc("entry_misused", &stage.call(&context, "run", &json!({})))
    });

    // What `init` does is no less undone.
    let endless_init = "(func $init (param i32 i32) (result i32)
            (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
            (loop $forever (br $forever)) unreachable)
        (func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    let create = |component: &[u8], name: &str| {
        let application = stage.client.install_component(component);
        let body = json!({ "application": application, "name": "never" }).to_string();
        let data = stage.refused("neighbour", || {
            catalogue.rest(name, &stage.post("/v1/contexts", body.as_bytes()))
        });
        let (status, _) = stage.client.get("/v1/contexts/never").expect("an answer");
        assert_eq!(status, 404);
        data
    };
    let data = create(&made::framed(endless_init), "out_of_fuel");
    let inits = ("limits.init_fuel_max", 80_000_000);
    assert_eq!(limit_of(&data), inits);
    let data = create(&made::guest("realloc_endless"), "out_of_fuel");
    assert_eq!(limit_of(&data), inits);
    create(&made::guest("realloc_out_of_bounds"), "invalid_output");
    stage.stop();
}

fn calls_that_are_stopped(catalogue: &Catalogue) {
    let endless = |settings: &str| {
        let stage = Stage::start(&format!(
            "[limits]\nupdate_fuel_max = 1_000_000_000_000_000\n{settings}"
        ));
        let application = stage.client.install_component(&made::guest("endless"));
        let context = stage.client.create(&application, None);
        (stage, context)
    };
    let (stage, context) = endless("call_time_max = \"200 ms\"\n");
    let data = stage.refused(&context, || {
        catalogue.rpc("timed_out", &stage.call(&context, "run", &json!({})))
    });
    assert_eq!(limit_of(&data), ("limits.call_time_max", 200));
    stage.stop();

    let (stage, context) = endless("call_time_max = \"24 h\"\n");
    stage.refused(&context, || {
        thread::scope(|scope| {
            let call = scope.spawn(|| stage.call(&context, "run", &json!({})));
            let cancelled = wait_for("a call to be cancelled", || {
                let path = format!("/v1/contexts/{context}/calls");
                let (status, answer) = stage.client.delete(&path).expect("an answer");
                assert_eq!(status, 200, "{answer}");
                answer["cancelled"].as_u64().filter(|calls| *calls > 0)
            });
            assert_eq!(cancelled, 1);
            catalogue.rpc("cancelled", &call.join().expect("an answer"))
        })
    });
    stage.stop();
}

fn uploads_that_are_no_applications(catalogue: &Catalogue) {
    let stage = Stage::start("[limits]\nmodule_bytes_max = \"2 MiB\"\n");
    let upload = |what: &str, wasm: &[u8]| {
        let answer = stage.refused("neighbour", || {
            let answer = stage.post("/v1/applications", wasm);
            assert_eq!(answer.0, 422, "{what}: {}", answer.1);
            answer
        });
        let detail = answer.1["detail"].as_str().expect("a text").to_owned();
        (catalogue.rest("not_an_application", &answer), detail)
    };
    let kv = component("kv");
    let wat = |text: &str| wat::parse_str(text).expect("it assembles");
    let idle = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    let with = |extra: &str| made::framed(&format!("{extra} {idle}"));
    for (what, wasm, says) in [
        ("nothing", Vec::new(), "the file is empty"),
        ("text", b"(component)".to_vec(), "not WebAssembly"),
        ("a core module", wat("(module)"), "not a component"),
        (
            "half of one",
            kv[..kv.len() / 2].to_vec(),
            "invalid component",
        ),
        ("another world", wat("(component)"), "export `describe`"),
        (
            "a denied import",
            wat(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#),
            "import `wasi:cli/environment@0.2.0`",
        ),
        ("exceptions", with("(tag $t)"), "unsupported"),
        ("an invalid function", made::invalid(), "invalid component"),
        (
            "one without a name",
            made::guest("describe_nameless"),
            "name",
        ),
        (
            "one that asks too early",
            made::guest("describe_with_state"),
            "outside of a call",
        ),
    ] {
        let (data, detail) = upload(what, &wasm);
        assert!(detail.contains(says), "{what}: {detail}");
        assert!(data.is_empty(), "{what}: {data:?}");
    }
    let (data, detail) = upload("an endless start", &made::guest("start_endless"));
    assert!(detail.contains("units of fuel"), "{detail}");
    assert_eq!(limit_of(&data), ("limits.start_fuel_max", 1_000_000));
    for (limit, wasm, used) in [
        ("tables_max", with(&"(table 1 funcref)".repeat(5)), 5),
        ("table_elements_max", with("(table 50001 funcref)"), 50_001),
        ("memories_max", with("(memory 1)"), 2),
        ("functions_max", with(&"(func)".repeat(250_000)), 250_103),
        (
            "function_locals_max",
            with(&format!("(func (local {}))", "i64 ".repeat(10_001))),
            10_001,
        ),
        ("nested_components_max", wat("(component (component))"), 1),
        (
            "module_bytes_max",
            [&kv[..], &[0; 2 << 20]].concat(),
            kv.len() + (2 << 20),
        ),
    ] {
        let (data, _) = upload(limit, &wasm);
        assert_eq!(limit_of(&data).0, format!("limits.{limit}"));
        assert_eq!(data["used"], used, "{limit}");
        assert!(data["max"].as_u64() < data["used"].as_u64(), "{limit}");
    }
    stage.stop();
}

/// It takes the compiler very long, or for ever.
fn bomb() -> Vec<u8> {
    made::indirect_calls(30_000)
}

fn a_compiler_that_is_killed_or_takes_too_long(catalogue: &Catalogue) {
    let stage = Stage::start(
        "[limits]\ncompile_cpu_max = \"60 s\"\ncompile_memory_bytes_max = \"8 GiB\"\n",
    );
    let data = stage.refused("neighbour", || {
        let answer = thread::scope(|scope| {
            let bombing = scope.spawn(|| stage.post("/v1/applications", &bomb()));
            let pid = Pid::from_raw(worker::at_work(&stage.server)).expect("a process");
            kill_process(pid, Signal::KILL).expect("it runs");
            bombing.join().expect("an answer")
        });
        catalogue.rest("compiler_failed", &answer)
    });
    assert_eq!(data["how"], "killed");
    stage.stop();

    let stage = Stage::start(
        "[limits]\ncompile_time_max = \"10 s\"\ncompile_cpu_max = \"60 s\"\ncompile_memory_bytes_max = \"8 GiB\"\n",
    );
    let data = stage.refused("neighbour", || {
        catalogue.rest("unavailable", &stage.post("/v1/applications", &bomb()))
    });
    assert_eq!(limit_of(&data), ("limits.compile_time_max", 10_000));
    stage.stop();
}

fn a_queue_that_is_full(catalogue: &Catalogue) {
    let stage = Stage::start("[shards]\ncontext_waiting_max = 1\n");
    let application = stage.client.install_component(&made::guest("endless"));
    let context = stage.client.create(&application, None);
    let data = stage.refused(&context, || {
        let call = || stage.call(&context, "run", &json!({}));
        // One runs, and a second one waits at most, whoever comes first. Each that
        // ran has used its fuel.
        let (refused, ran): (Vec<_>, Vec<_>) = thread::scope(|scope| {
            let calls: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
            let answers = calls
                .into_iter()
                .map(|call| call.join().expect("an answer"));
            answers.partition(|(status, _)| *status == 429)
        });
        assert!(ran.iter().all(|(status, _)| *status == 200), "{ran:?}");
        catalogue.rpc("busy", refused.first().expect("one too many"))
    });
    assert_eq!(limit_of(&data), ("shards.context_waiting_max", 1));
    assert_eq!(data["used"], 1);
    stage.stop();
}

fn a_server_with_all_its_applications(catalogue: &Catalogue) {
    let stage = Stage::start("[shards]\napplications_max = 1\n");
    let data = stage.refused("neighbour", || {
        catalogue.rest(
            "applications_full",
            &stage.post("/v1/applications", &component("counter")),
        )
    });
    assert_eq!(limit_of(&data), ("shards.applications_max", 1));
    stage.stop();
}

fn storage_that_is_full_or_damaged(catalogue: &Catalogue) {
    // The least that a ledger may have.
    let stage = Stage::start("[storage]\nmap_bytes_max = \"16 MiB\"\n");
    let context = stage.client.create("kv", Some("large"));
    let value = "x".repeat(512 << 10);
    let refused = (0..100).find_map(|key| {
        let before = stage.state(&context);
        let set = json!({ "key": key.to_string(), "value": value });
        let answer = stage.call(&context, "set", &set);
        answer.1["error"].is_object().then(|| {
            assert_eq!(stage.state(&context), before, "a refusal left a trace");
            answer
        })
    });
    let data = catalogue.rpc("storage_full", &refused.expect("50 MiB do not fit"));
    assert_eq!(limit_of(&data), ("storage.map_bytes_max", 16 << 20));
    let get = stage.call(&context, "get", &json!({ "key": "0" }));
    assert_eq!(get.1["result"]["output"], value, "reads go on");
    drop(stage);

    let mut stage = Stage::start("");
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
    let data = stage.home.path().join("data");
    damage_components(&data);
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let set = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute",
        "params": ["neighbour", "set", { "key": "k", "value": "v" }] });
    let answer = client.post("/rpc", set.to_string().as_bytes());
    catalogue.rpc("storage_damaged", &answer.expect("an answer"));
    let (ready, _) = client.get("/readyz").expect("an answer");
    assert_eq!(ready, 200);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

fn a_context_that_is_damaged(catalogue: &Catalogue) {
    let mut stage = Stage::start("");
    let context = stage.client.create("kv", Some("damaged"));
    let set = json!({ "key": "k", "value": "a needle in a haystack" });
    let answer = stage.call(&context, "set", &set);
    assert!(answer.1["result"].is_object(), "{}", answer.1);
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
    let data = stage.home.path().join("data");
    flip(&data, b"a needle in a haystack");
    stage.server = start_unlooked(&data, &[]);
    stage.client = stage.server.client();
    let get = json!({ "key": "k" });
    catalogue.rpc("storage_damaged", &stage.call(&context, "get", &get));
    let refused = || catalogue.rpc("context_damaged", &stage.call(&context, "get", &get));
    let data = stage.refused(&context, refused);
    assert_eq!(data["context"], context);
    stage.stop();
}

fn blobs_that_are_not_as_they_should(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let blobs = |body: &[u8]| stage.post("/v1/blobs", body);
    let get = |path: &str| stage.client.get(path).expect("an answer");
    let (status, uploaded) = blobs(b"content");
    assert_eq!(status, 201, "{uploaded}");
    let id = uploaded["id"].as_str().expect("an id");
    let path = format!("/v1/blobs/{id}");
    let refused = |name: &str, act: &dyn Fn() -> (u16, Value)| {
        stage.refused("neighbour", || catalogue.rest(name, &act()))
    };
    let data = refused("unknown_blob", &|| get("/v1/blobs/none"));
    assert_eq!(data["blob"], "none");
    let other = format!("/v1/blobs?id={id}");
    let data = refused("blob_mismatch", &|| stage.post(&other, b"other"));
    assert_eq!(data["expected"], id);
    let data = refused("range_not_satisfiable", &|| {
        stage.raw("GET", &path, "range: bytes=7-\r\n\r\n")
    });
    assert_eq!(data["size"], 7);

    let docs = stage
        .client
        .create(&stage.client.install("docs"), Some("docs"));
    let append = stage.call(&docs, "append", &json!({ "title": "t", "what": "text" }));
    assert!(append.1["result"].is_object(), "{}", append.1);
    let comment = json!({ "title": "t", "at": 0, "count": 4, "remark": "", "attachments": [id] });
    let comment = stage.call(&docs, "comment", &comment);
    assert!(comment.1["result"].is_object(), "{}", comment.1);
    let data = refused("blob_in_use", &|| {
        stage.client.delete(&path).expect("an answer")
    });
    assert_eq!(
        (&data["contexts"], &data["held"]),
        (&json!([docs]), &json!(false))
    );

    let mut fans = std::fs::read_dir(stage.home.path().join("data/blobs"))
        .expect("a directory")
        .filter_map(Result::ok);
    let file = fans.find_map(|fan| {
        let file = fan.path().join(id);
        file.exists().then_some(file)
    });
    std::fs::write(file.expect("its file"), b"garbagegarbagegarbage12").expect("it can be written");
    let data = refused("blob_damaged", &|| get(&path));
    assert_eq!(data["blob"], id);
    stage.stop();
}

fn uploads_in_pieces_that_go_wrong(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let kv = component("kv");
    let refused = |name: &str, act: &dyn Fn() -> (u16, Value)| {
        stage.refused("neighbour", || catalogue.rest(name, &act()))
    };
    let begin = |query: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/uploads{query}");
        let begun = stage.client.send("POST", &path, headers, b"");
        let (status, _, upload) = begun.expect("an answer");
        assert_eq!(status, 201, "{upload}");
        upload["id"].as_str().expect("an id").to_owned()
    };
    let add = |id: &str, offset: &str, piece: &[u8]| {
        let path = format!("/v1/uploads/{id}");
        let headers = [("upload-offset", offset)];
        let added = stage.client.send("PATCH", &path, &headers, piece);
        let (status, told, answer) = added.expect("an answer");
        (status, told, answer)
    };
    let install = |id: &str| stage.post(&format!("/v1/applications?upload={id}"), b"");

    let data = refused("unknown_upload", &|| install("none"));
    assert_eq!(data["upload"], "none");
    let id = begin("", &[("upload-length", "10")]);
    assert_eq!(add(&id, "0", b"abc").0, 204);
    let data = refused("upload_offset", &|| {
        let (status, told, answer) = add(&id, "4", b"def");
        assert_eq!(told, Some(3));
        (status, answer)
    });
    assert_eq!(data["offset"], 3);
    let data = refused("upload_offset", &|| install(&id));
    assert_eq!((&data["offset"], &data["size"]), (&json!(3), &json!(10)));

    // Of which nothing can be made is gone.
    let other = stage.client.install("counter");
    let id = begin(&format!("?application={other}"), &[]);
    assert_eq!(add(&id, "0", &kv).0, 204);
    let data = refused("upload_mismatch", &|| install(&id));
    assert_eq!(data["expected"], other);
    refused("unknown_upload", &|| install(&id));
    let id = begin("", &[("content-encoding", "zstd")]);
    assert_eq!(add(&id, "0", &kv).0, 204);
    let data = refused("bad_encoding", &|| install(&id));
    assert_eq!(data["encoding"], "zstd");
    refused("unknown_upload", &|| install(&id));
    let data = refused("unsupported_encoding", &|| {
        let headers = [("content-encoding", "br")];
        let sent = stage.client.send("POST", "/v1/applications", &headers, &kv);
        let (status, _, answer) = sent.expect("an answer");
        (status, answer)
    });
    assert_eq!(data["encoding"], "br");
    stage.stop();
}

fn contexts_that_cannot_be_upgraded(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let [first, second] = ["tally", "tally-2"].map(|app| stage.client.install(app));
    let upgrade = |context: &str, to: &str| {
        let body = json!({ "application": to }).to_string();
        let path = format!("/v1/contexts/{context}/upgrade");
        stage.post(&path, body.as_bytes())
    };
    let later = stage.client.create(&second, None);
    let data = stage.refused(&later, || {
        catalogue.rest("not_upgradable", &upgrade(&later, &first))
    });
    assert_eq!((&data["from"], &data["to"]), (&json!(2), &json!(1)));
    let full = stage.client.create(&first, None);
    let count = json!({ "name": "sand", "by": u64::MAX });
    let answer = stage.call(&full, "count", &count);
    assert!(answer.1["result"].is_object(), "{}", answer.1);
    let data = stage.refused(&full, || {
        catalogue.rest("hook_failed", &upgrade(&full, &second))
    });
    assert_eq!(data["hook"], "migrate");
    assert_eq!(data["cause"], "application_error");
    assert_eq!(data["error"]["code"], "too_many");
    stage.stop();
}

fn damage_components(data: &Path) {
    for file in std::fs::read_dir(data.join("blobs")).expect("components") {
        let path = file.expect("a file").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            std::fs::write(path, b"no component").expect("it can be written");
        }
    }
}
