//! Very many calls, every fourth of which fails in one of the ways in which a guest can, leave a
//! server as it was: its memory, its descriptors, its instances and the readers of its ledgers stay
//! what they were once it was warm.
//!
//! `CORELET_CALLS` says how many calls; a leak is seen if it is larger than 64 MiB over all of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use corelet_tests::{Client, Server, hostile, worker};
use serde_json::{Value, json};

/// Clients, each with two contexts of its own.
const CLIENTS: u64 = 3;

/// Calls in one request.
const BATCH: u64 = 50;

/// Calls until a client deletes its contexts and makes others.
const CALLS_PER_CONTEXT: u64 = 5_000;

/// The part of all calls behind which the server counts as warm.
const WARM: f64 = 0.25;

/// By how much its memory may have grown since: what an allocator keeps differs by that.
const GROWN_MAX: u64 = 64 << 20;

/// Guests fail soon, so that nobody waits for them, and what the server keeps of the past soon
/// has its full size.
const SETTINGS: &str = "
[limits]
update_fuel_max = 1_000_000
query_fuel_max = 1_000_000
memory_bytes_max = \"4 MiB\"
stack_bytes_max = \"64 KiB\"
writes_max = 100

[collector]
history_max = 1_000
";

/// How a guest fails, and the error that it gets.
const FAILURES: [(&str, &str); 6] = [
    ("trap", "trapped"),
    ("loop", "out_of_fuel"),
    ("deep", "stack_overflow"),
    ("grow", "out_of_memory"),
    ("junk", "invalid_output"),
    ("much", "limit_exceeded"),
];

/// What a leak would show in.
#[derive(Debug)]
struct Held {
    /// Memory that is not a file's.
    memory_bytes: u64,
    descriptors: usize,
    instances: u64,
    instances_bytes: u64,
    readers: u64,
}

impl Held {
    fn by(server: &Server) -> Held {
        let memory = worker::status(server.id(), "RssAnon").expect("it runs");
        let kilobytes = memory.trim_end_matches(" kB").parse::<u64>();
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.id()));
        let client = server.client();
        Held {
            memory_bytes: kilobytes.expect("a number of kB") << 10,
            descriptors: descriptors.expect("it runs").count(),
            instances: client.metric("corelet_instances "),
            instances_bytes: client.metric("corelet_instances_bytes "),
            readers: client.metric("corelet_ledger_readers{"),
        }
    }
}

fn calls() -> u64 {
    let set = std::env::var("CORELET_CALLS");
    set.map_or(60_000, |text| text.parse().expect("CORELET_CALLS"))
}

#[test]
fn many_calls_with_failures_among_them_leave_nothing_in_memory() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, SETTINGS).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = Server::start(
        &home.path().join("data"),
        &["--shards", "1", "--config", config],
    );
    let client = server.client();
    let applications = [client.install("kv"), client.install_component(&hostile())];
    let all = calls();
    run(&server, &applications, (all as f64 * WARM) as u64);
    let before = Held::by(&server);
    run(&server, &applications, all - (all as f64 * WARM) as u64);
    let after = Held::by(&server);
    println!("{all} calls: {before:?}, then {after:?}");
    let grown = after.memory_bytes.saturating_sub(before.memory_bytes);
    assert!(grown <= GROWN_MAX, "{grown} bytes: {before:?}, {after:?}");
    assert!(after.descriptors <= before.descriptors + CLIENTS as usize);
    assert!(after.instances <= before.instances.max(2 * CLIENTS));
    assert!(after.instances_bytes <= before.instances_bytes.max(2 * CLIENTS * (5 << 20)));
    assert!(after.readers <= before.readers + 1, "{before:?}, {after:?}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// So many calls by all clients at once; every answer is what it has to be.
fn run(server: &Server, applications: &[String; 2], calls: u64) {
    let left = AtomicU64::new(calls / BATCH);
    let next = || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let client = server.client();
                let mut contexts = None;
                let mut made = 0;
                while next().is_ok() {
                    let [kv, hostile] = contexts.get_or_insert_with(|| {
                        applications.each_ref().map(|id| client.create(id, None))
                    });
                    batch(&client, kv, hostile, made);
                    made += BATCH;
                    if made.is_multiple_of(CALLS_PER_CONTEXT) {
                        delete(&client, contexts.take());
                    }
                }
                delete(&client, contexts);
            });
        }
    });
}

fn delete(client: &Client, contexts: Option<[String; 2]>) {
    for context in contexts.into_iter().flatten() {
        let (status, answer) = client
            .delete(&format!("/v1/contexts/{context}"))
            .expect("an answer");
        assert!(matches!(status, 200 | 204), "{answer}");
    }
}

/// A request of many calls: reads, writes, and among them those that fail.
fn batch(client: &Client, kv: &str, hostile: &str, made: u64) {
    let mut expected = Vec::new();
    let mut call = |n: u64| {
        let (context, method, args, error) = match n % 4 {
            0 => {
                let (way, error) = FAILURES[(n / 4) as usize % FAILURES.len()];
                (hostile, way, json!({}), Some(error))
            }
            1 => {
                let key = format!("key-{}", n % 1_000);
                (
                    kv,
                    "set",
                    json!({ "key": key, "value": "v".repeat(64) }),
                    None,
                )
            }
            2 => (
                kv,
                "get",
                json!({ "key": format!("key-{}", n % 1_000) }),
                None,
            ),
            _ => (hostile, "fine", json!({}), None),
        };
        expected.push(error);
        json!({
            "jsonrpc": "2.0", "id": n, "method": "execute",
            "params": { "context_id": context, "method": method, "args": args },
        })
    };
    let request: Vec<Value> = (made..made + BATCH).map(&mut call).collect();
    let body = Value::Array(request).to_string();
    let (status, answers) = client.post("/rpc", body.as_bytes()).expect("an answer");
    assert_eq!(status, 200, "{answers}");
    let answers = answers.as_array().expect("an answer for each call");
    assert_eq!(answers.len(), expected.len());
    for answer in answers {
        let id = answer["id"].as_u64().expect("the call's id");
        match expected[(id - made) as usize] {
            Some(error) => assert_eq!(answer["error"]["data"]["name"], error, "{answer}"),
            None => assert!(answer["result"].is_object(), "{answer}"),
        }
    }
}
