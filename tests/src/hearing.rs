//! Rooms that follow others, as tests make them, and what is seen of that from outside.

use serde_json::{Value, json};

use crate::sending::{call, create_on, said};
use crate::{Client, made};

/// What fails is tried again soon.
pub const QUICK: &str = "[subscriptions]\nretry_after = \"20 ms\"\nattempts_max = 3\n";

/// So slow that there is something left to be told.
pub const SLOW: &str =
    "[subscriptions]\nstarts_per_second = 1\nrunning_max = 1\nbatch_events_max = 5\n";

/// A room on each of these shards.
pub fn rooms<const N: usize>(client: &Client, shards: [u64; N]) -> [String; N] {
    let chat = client.install("chat");
    shards.map(|shard| create_on(client, &chat, shard))
}

/// Says something in a room.
pub fn append(client: &Client, room: &str, message: &str) {
    call(client, room, "append", json!({ "message": message }));
}

/// Has a room follow another one from its beginning, or from now on.
pub fn follow(client: &Client, room: &str, other: &str, from_the_beginning: bool) {
    let args = json!({ "room": other, "from_the_beginning": from_the_beginning });
    call(client, room, "follow", args);
}

/// What was said in a room in the name of another one.
pub fn heard(client: &Client, room: &str, other: &str) -> Vec<String> {
    let other = format!("corelet:context/{other}");
    let said = said(client, room).into_iter();
    said.filter(|(_, author)| *author == other)
        .map(|(text, _)| text)
        .collect()
}

/// To what a context listens.
pub fn subscriptions(client: &Client, context: &str) -> Vec<Value> {
    let path = format!("/v1/contexts/{context}/subscriptions");
    let (status, found) = client.get(&path).expect("an answer");
    assert_eq!(status, 200, "{found}");
    found["subscriptions"].as_array().expect("a list").clone()
}

/// A context's events.
pub fn events(client: &Client, context: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/contexts/{context}/events?limit=1000{after}");
        let (status, page) = client.get(&path).expect("an answer");
        assert_eq!(status, 200, "{page}");
        let events = page["events"].as_array().expect("a list");
        let Some(last) = events.last() else {
            return all;
        };
        after = format!("&after={}", last["sequence"]);
        all.extend(events.iter().cloned());
    }
}

/// The payloads of a context's events of this kind.
pub fn told(client: &Client, context: &str, kind: &str) -> Vec<Value> {
    let events = events(client, context).into_iter();
    let events = events.filter(|event| event["kind"] == kind);
    events.map(|event| event["payload"].clone()).collect()
}

/// An application whose method `run` tells what it is called with so many times, as if that had been
/// appended to a room.
pub fn teller(times: usize) -> Vec<u8> {
    let emit = "(call $emit (i32.const 640) (i32.const 8) (local.get 2) (local.get 3))";
    made::framed(&format!(
        r#"(data (i32.const 640) "appended")
           (func $call (param i32 i32 i32 i32) (result i32)
             {} (call $ok-null))"#,
        emit.repeat(times)
    ))
}

/// Has a teller tell that somebody has said something.
pub fn tell(client: &Client, teller: &str, text: &str) {
    call(
        client,
        teller,
        "run",
        json!({ "author": "ada", "text": text }),
    );
}

/// An application that subscribes to itself with its method `run` and then hears, with each event, of
/// one that it tells then; until `run` is called with any argument.
pub fn echo() -> Vec<u8> {
    made::framed(
        r#"(data (i32.const 640) "beat")
           (func $beat (call $emit (i32.const 640) (i32.const 4) (i32.const 272) (i32.const 4)))
           (func $call (param i32 i32 i32 i32) (result i32)
             (call $id (i32.const 400))
             (if (i32.eq (local.get 3) (i32.const 2))
               (then
                 (call $subscribe (i32.load (i32.const 400)) (i32.load (i32.const 404))
                   (i32.const 640) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0)
                   (i32.const 1) (i64.const 0) (i32.const 416))
                 (call $beat))
               (else
                 (drop (call $unsubscribe (i32.load (i32.const 400)) (i32.load (i32.const 404))
                   (i32.const 640) (i32.const 4)))))
             (call $ok-null))
           (func (export "handle") (param i32 i32 i32 i32) (result i32)
             (call $beat)
             (call $ok-null))"#,
    )
}
