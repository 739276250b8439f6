//! Contexts that send each other calls, as tests make them, and what is seen of them from outside.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::{Client, Server, binary, made, wait_for};

/// What fails is tried again soon.
pub const QUICK: &str = "[sends]\nretry_after = \"20 ms\"\nattempts_max = 3\n";

/// One call is handed over in a second.
pub const SLOW: &str = "[sends]\nstarts_per_second = 1\nrunning_max = 1\n\
                    retry_after = \"20 ms\"\nattempts_max = 3\n";

/// A server on two shards with these settings, and a client of it.
pub fn start(home: &Path, settings: &str) -> (Server, Client) {
    let config = home.join("corelet.toml");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let server = Server::start(&home.join("data"), &["--shards", "2", "--config", config]);
    let client = server.client();
    (server, client)
}

/// The shard of a context.
pub fn shard_of(client: &Client, context: &str) -> u64 {
    let (_, info) = client
        .get(&format!("/v1/contexts/{context}"))
        .expect("an answer");
    info["shard"].as_u64().expect("a number")
}

/// A context on this shard.
pub fn create_on(client: &Client, application: &str, shard: u64) -> String {
    std::iter::repeat_with(|| client.create(application, None))
        .find(|context| shard_of(client, context) == shard)
        .expect("there is always one more")
}

/// A counter that stands at `start`, on this shard.
pub fn counter(client: &Client, application: &str, shard: u64, start: i64) -> String {
    let context = create_on(client, application, shard);
    call(client, &context, "increment", json!({ "by": start }));
    context
}

/// What a call answers that is to succeed.
pub fn call(client: &Client, context: &str, method: &str, args: Value) -> Value {
    let answer = client.call(context, method, args).expect("an answer");
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"]["output"].clone()
}

/// What a counter stands at.
pub fn count(client: &Client, context: &str) -> i64 {
    let count = call(client, context, "get", json!({}));
    count.as_i64().expect("a number")
}

/// Has a counter give something to another context.
pub fn give(client: &Client, from: &str, to: &str, by: i64) {
    call(client, from, "give", json!({ "to": to, "by": by }));
}

/// Says something in a room, which is then said in the `rooms`, one after the other.
pub fn relay(client: &Client, room: &str, message: &str, rooms: &[&str]) {
    let args = json!({ "message": message, "rooms": rooms });
    call(client, room, "relay", args);
}

/// What was said in a room, and by whom.
pub fn said(client: &Client, room: &str) -> Vec<(String, String)> {
    let (mut said, mut after) = (Vec::new(), Value::Null);
    loop {
        let args = json!({ "limit": 900, "after": after });
        let page = call(client, room, "page", args);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let entries = page["entries"].as_array().expect("a list").iter();
        said.extend(entries.map(|entry| (text(&entry[1]["text"]), text(&entry[1]["author"]))));
        after = page["next"].clone();
        if after.is_null() {
            return said;
        }
    }
}

/// The first page of the calls that a context has sent and that have not ended.
pub fn sent(client: &Client, context: &str) -> Vec<Value> {
    let path = format!("/v1/contexts/{context}/sent");
    let (status, page) = client.get(&path).expect("an answer");
    assert_eq!(status, 200, "{page}");
    page["calls"].as_array().expect("a list").clone()
}

/// The codes with which what a counter has given came back.
pub fn returned(client: &Client, context: &str) -> Vec<String> {
    let (_, events) = client
        .get(&format!("/v1/contexts/{context}/events"))
        .expect("an answer");
    let events = events["events"].as_array().expect("a list").iter();
    events
        .filter(|event| event["kind"] == "returned")
        .map(|event| event["payload"]["code"].as_str().expect("text").to_owned())
        .collect()
}

/// What the log of a context says.
pub fn lines(client: &Client, context: &str) -> Vec<String> {
    let path = format!("/v1/contexts/{context}/logs");
    let (_, logs) = client.get(&path).expect("an answer");
    let lines = logs["lines"].as_array().expect("a list").iter();
    lines
        .map(|line| line["message"].as_str().expect("text").to_owned())
        .collect()
}

/// Waits for something.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

/// A figure over both shards.
pub fn figure(client: &Client, name: &str) -> u64 {
    let of = |shard| client.metric(&format!("{name}{{shard=\"{shard}\""));
    of(0) + of(1)
}

/// Runs a command on the data directory below `home`, which is to succeed.
pub fn run(home: &Path, args: &[&str]) -> Output {
    let told = Command::new(binary())
        .arg("--data-dir")
        .arg(home.join("data"))
        .args(args)
        .output()
        .expect("the binary starts");
    assert!(told.status.success(), "{told:?}");
    told
}

/// An application whose method `increment` is of this kind (0 a query, 1 an update) and does this.
pub fn incrementing(kind: u8, body: &str) -> Vec<u8> {
    made::framed(&format!(
        r#"(data (i32.const 640) "increment")
           (func $describe (result i32)
             (i32.store (i32.const 96) (i32.const 640)) (i32.store (i32.const 100) (i32.const 9))
             (i32.store8 (i32.const 104) (i32.const {kind}))
             (i32.const 64))
           (func $call (param i32 i32 i32 i32) (result i32) {body})"#
    ))
}
