//! A shard does not wait for its disk: while the flush of one update is held up,
//! calls of other contexts are answered, and the update's own answer waits.
//!
//! strace holds up the flush, and lets it go on when strace itself is ended.

use std::path::Path;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use corelet_tests::{ANY_PORT, Client, Server, worker};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Longer than a call takes to get to the disk; only a broken server needs it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls that are answered while one is not.
const ANSWERED_BESIDE: usize = 100;

#[test]
fn an_update_waits_for_its_flush_and_no_other_context_waits_for_it() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let kv = client.install("kv");
    let [written, other] = [(); 2].map(|()| client.create(&kv, None));
    for context in [&written, &other] {
        set(&client, context, "before");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let trace = home.path().join("trace");
    let mut server = Server::spawn(&data, ANY_PORT, &holds_a_flush(&trace), &[]);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let (answered, answer) = mpsc::channel();
    thread::scope(|scope| {
        let (client, writer, written) = (&client, server.client(), &written);
        scope.spawn(move || {
            set(&writer, written, "after");
            answered.send(()).expect("the test waits");
        });
        // First the flush begins.
        let began = Instant::now();
        while !is_at_a_flush(&trace) {
            assert!(began.elapsed() < PATIENCE, "nothing is flushed");
            thread::park_timeout(Duration::from_millis(2));
        }
        // Then others are answered. What the update writes is not seen before it
        // is durable, not even by a query of the same context.
        for _ in 0..ANSWERED_BESIDE {
            assert_eq!(get(client, &other), "before");
        }
        assert_eq!(get(client, written), "before");
        // All that time the update has had no answer,
        assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
        assert!(is_at_a_flush(&trace), "the flush went on by itself");
        // and gets it when the flush has ended.
        let_go(&server);
        answer.recv().expect("an answer");
        assert_eq!(get(client, written), "after");
    });
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// strace that holds up the first write to the journal, which is its flush, too.
/// It is no parent of the server (`-D`).
fn holds_a_flush(trace: &Path) -> Vec<String> {
    let trace = trace.to_str().expect("a path in UTF-8");
    let held = "inject=pwritev2:delay_enter=600s:when=1";
    let wrapper = ["strace", "-D", "-f", "-qq", "-s", "0", "-o", trace];
    let calls = ["-e", "trace=pwritev2", "-e", held];
    wrapper
        .into_iter()
        .chain(calls)
        .map(str::to_owned)
        .collect()
}

/// Whether a flush has begun and not ended. strace tells of a call when it
/// begins, and of its result in the same line.
fn is_at_a_flush(trace: &Path) -> bool {
    let trace = std::fs::read_to_string(trace).unwrap_or_default();
    trace.contains("RWF_DSYNC") && !trace.contains(" = ")
}

/// Ends the server's strace. The call that it has held begins now.
fn let_go(server: &Server) {
    let tracer = worker::status(server.id(), "TracerPid").and_then(|pid| pid.parse().ok());
    let tracer = tracer.and_then(Pid::from_raw).expect("it is traced");
    kill_process(tracer, Signal::KILL).expect("strace runs");
}

fn set(client: &Client, context: &str, value: &str) {
    let args = json!({ "key": "k", "value": value });
    let answer = client.call(context, "set", args).expect("an answer");
    assert!(answer["result"]["delta_id"].is_string(), "{answer}");
}

fn get(client: &Client, context: &str) -> Value {
    let answer = client.call(context, "get", json!({ "key": "k" }));
    answer.expect("an answer")["result"]["output"].take()
}
