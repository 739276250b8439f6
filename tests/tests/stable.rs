//! Stable memory through the real server: it reads as an array of bytes does, whatever calls fail and
//! whenever the server is killed; it travels with its context; and a call that goes too far is
//! told how far it may. And, without a server, that an instance keeps nothing of it between calls.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use corelet_tests::{Client, Server, binary, component, flip, made, start_unlooked};
use corelet_wasm_host::{CompileIn, Entry, Finished, Host, HostConfig, Instance, MethodKind, Turn};
use serde_json::{Value, json};

/// How many bytes the model has.
const PAGE: usize = 64 << 10;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // Knuth's multiplier.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

fn output(client: &Client, method: &str, args: Value) -> Value {
    let answer = client.call("demo", method, args).expect("an answer");
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"]["output"].clone()
}

/// As the tape shows it.
fn shown(bytes: &[u8]) -> String {
    let shown = bytes.iter().map(|byte| match byte {
        0 => '.',
        byte => char::from(*byte),
    });
    shown.collect()
}

/// FNV-1a, as the tape has it.
fn hash(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn a_tape_holds_what_was_acknowledged_through_failures_and_kills() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let mut client = server.client();
    client.create(&client.install("tape"), Some("demo"));
    let (mut random, mut model) = (Random(7), Vec::<u8>::new());
    for step in 0..200 {
        let (mut texts, mut next) = (Vec::new(), model.clone());
        for _ in 0..=random.below(3) {
            let longest = [9, 3_000, 40_000][random.below(3)];
            let text = "abcdefgh".repeat(1 + longest / 8)[..1 + random.below(longest)].to_owned();
            let at = random.below(8 * PAGE);
            let end = at + text.len();
            next.resize(next.len().max(end.div_ceil(PAGE) * PAGE), 0);
            next[at..end].copy_from_slice(text.as_bytes());
            texts.push((at, text));
        }
        match random.below(6) {
            // Nothing of a call that says no in the end is there.
            0 => {
                texts.push((1 << 40, "x".to_owned()));
                let args = json!({ "texts": texts });
                let answer = client.call("demo", "record_all", args).expect("an answer");
                assert_eq!(
                    answer["error"]["data"]["error"]["code"], "too_far",
                    "{answer}"
                );
            }
            1 => {
                let (at, count) = (random.below(8 * PAGE), random.below(2 * PAGE));
                output(&client, "erase", json!({ "at": at, "count": count }));
                let (at, end) = (at.min(model.len()), (at + count).min(model.len()));
                model[at..end].fill(0);
            }
            _ => {
                let pages = output(&client, "record_all", json!({ "texts": texts }));
                model = next;
                assert_eq!(pages, model.len() / PAGE);
            }
        }
        let (at, count) = (random.below(8 * PAGE), random.below(5_000));
        let played = output(&client, "play", json!({ "at": at, "count": count }));
        let end = (at + count).min(model.len());
        let expected = shown(&model[at.min(end)..end]);
        assert!(played == expected, "step {step}: {count} bytes at {at}");
        if step % 40 == 39 {
            server.kill();
            server = Server::start(&data, &["--shards", "1"]);
            client = server.client();
        }
    }
    assert_eq!(output(&client, "pages", json!({})), model.len() / PAGE);
    assert_eq!(output(&client, "hash", json!({})), hash(&model));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

fn corelet(data: &Path, args: &[&str]) -> Value {
    let output = Command::new(binary())
        .args(args)
        .args(["-o", "json", "--data-dir"])
        .arg(data)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn a_stable_memory_travels_with_its_context_and_has_the_same_root_there() {
    let home = tempfile::tempdir().expect("a directory");
    let [here, there] = ["here", "there"].map(|name| home.path().join(name));
    let mut server = Server::start(&here, &["--shards", "2"]);
    let client = server.client();
    let tape = client.install("tape");
    let context = client.create(&tape, Some("demo"));
    for n in 0..40_u64 {
        let text = "word ".repeat(n as usize * 31);
        output(
            &client,
            "record",
            json!({ "at": n * 300_007, "text": text }),
        );
    }
    let told = |client: &Client| {
        let hash = output(client, "hash", json!({}));
        let (status, info) = client
            .get(&format!("/v1/contexts/{context}"))
            .expect("an answer");
        assert_eq!(status, 200);
        assert!(info["root"].is_string(), "{info}");
        (hash, info["root"].clone())
    };
    let expected = told(&client);
    let file = home.path().join("demo.clx");
    let file = file.to_str().expect("text");
    corelet(&here, &["context", "export", "demo", "--to", file]);
    let backup = home.path().join("backup");
    let backup = backup.to_str().expect("text");
    corelet(&here, &["backup", backup, "--with-keys"]);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(corelet(&here, &["check"])["whole"], true);

    // Restored, and with another number of shards then.
    let restored = home.path().join("restored");
    corelet(&restored, &["restore", backup]);
    for reshard in [&["check"][..], &["reshard", "--shards", "5"]] {
        corelet(&restored, reshard);
        assert_eq!(corelet(&restored, &["check"])["whole"], true);
        let mut server = Server::start(&restored, &[]);
        assert_eq!(told(&server.client()), expected);
        assert_eq!(server.stop(), Some(0));
    }

    let mut server = Server::start(&there, &["--shards", "3"]);
    server.client().install("tape");
    assert_eq!(server.stop(), Some(0));
    corelet(&there, &["context", "import", file]);
    assert_eq!(corelet(&there, &["check"])["whole"], true);
    let mut server = Server::start(&there, &[]);
    let client = server.client();
    assert_eq!(told(&client), expected);
    output(
        &client,
        "record",
        json!({ "at": 5, "text": "changed there" }),
    );
    let played = output(&client, "play", json!({ "at": 4, "count": 15 }));
    assert_eq!(played, ".changed there.");
    assert_eq!(server.stop(), Some(0));
}

/// As much as one context may have, and with that the first byte to which 32 bits do not reach.
const ALL: u64 = 4 << 30;

/// Where it is written to in the end, and places beside, with what is read there then.
const PLACES: [(u64, char); 9] = [
    (0, 'a'),
    (1, '.'),
    (ALL / 2 - 1, '.'),
    (ALL / 2, 'b'),
    (ALL / 2 + 1, '.'),
    (ALL - PAGE as u64, '.'),
    (ALL - 3, '.'),
    (ALL - 2, 'c'),
    (ALL - 1, 'd'),
];

/// Reads all of these places, if it is called with nothing; before it writes to them, to the first byte behind the end or
/// makes the memory a page longer, as the length of its arguments says.
fn far_reaching() -> Vec<u8> {
    let (mut puts, mut takes) = (String::new(), String::new());
    for (n, (place, letter)) in PLACES.iter().enumerate() {
        if *letter != '.' {
            let code = u32::from(*letter);
            write!(puts, "(call $put (i64.const {place}) (i32.const {code}))").expect("text");
        }
        let to = 701 + n;
        write!(takes, "(call $take (i64.const {place}) (i32.const {to}))").expect("text");
    }
    let bytes = PLACES.len() + 2;
    let end = 700 + bytes - 1;
    made::framed(&format!(
        r#"(func $put (param $at i64) (param $letter i32)
             (i32.store8 (i32.const 600) (local.get $letter))
             (call $stable-write (local.get $at) (i32.const 600) (i32.const 1)))
           (func $take (param $at i64) (param $to i32) (local $letter i32)
             (call $stable-read (local.get $at) (i32.const 1) (i32.const 512))
             (local.set $letter (i32.load8_u (i32.load (i32.const 512))))
             (i32.store8 (local.get $to)
               (select (local.get $letter) (i32.const 46) (local.get $letter))))
           (func $call (param i32 i32 i32) (param $len i32) (result i32)
             (if (i32.eq (local.get $len) (i32.const 7)) (then
               (drop (call $stable-grow (i64.const {pages}))) {puts}))
             (if (i32.eq (local.get $len) (i32.const 8)) (then
               (call $put (i64.const {ALL}) (i32.const 120))))
             (if (i32.eq (local.get $len) (i32.const 9)) (then
               (drop (call $stable-grow (i64.const 1)))))
             (i32.store8 (i32.const 700) (i32.const 34)) {takes}
             (i32.store8 (i32.const {end}) (i32.const 34))
             (call $ok (i32.const 700) (i32.const {bytes})))"#,
        pages = ALL / PAGE as u64,
    ))
}

#[test]
fn a_stable_memory_is_as_long_as_it_may_be_and_takes_what_was_written() {
    let home = tempfile::tempdir().expect("a directory");
    let [here, there] = ["here", "there"].map(|name| home.path().join(name));
    let mut server = Server::start(&here, &["--shards", "2"]);
    let mut client = server.client();
    let wasm = far_reaching();
    let context = client.create(&client.install_component(&wasm), Some("demo"));
    let expected: String = PLACES.iter().map(|(_, letter)| letter).collect();
    assert_eq!(output(&client, "run", json!({ "w": 1 })), expected);
    let info = |client: &Client| {
        let (status, info) = client
            .get(&format!("/v1/contexts/{context}"))
            .expect("an answer");
        assert_eq!(status, 200, "{info}");
        // Of three blocks one is long, as its last byte is not zero.
        let bytes = info["bytes"].as_u64().expect("a number");
        assert!((1024..4096).contains(&bytes), "{info}");
        json!([info["version"], info["root"], bytes])
    };
    let before = info(&client);
    let stopped = |args: Value| {
        let answer = client.call("demo", "run", args).expect("an answer");
        answer["error"]["data"].clone()
    };
    assert_eq!(stopped(json!({ "to": 1 }))["name"], "entry_misused");
    let data = stopped(json!({ "one": 1 }));
    assert_eq!(data["limit"], "limits.stable_bytes_max", "{data}");
    assert_eq!(
        (&data["used"], &data["max"]),
        (&json!(ALL + PAGE as u64), &json!(ALL))
    );

    server.kill();
    server = Server::start(&here, &[]);
    client = server.client();
    assert_eq!(output(&client, "run", json!({})), expected);
    assert_eq!(info(&client), before);
    let file = home.path().join("demo.clx");
    let file = file.to_str().expect("text");
    corelet(&here, &["context", "export", "demo", "--to", file]);
    let bytes = std::fs::metadata(file).expect("the export").len();
    assert!(bytes < 64 << 10, "{bytes} bytes");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert_eq!(corelet(&here, &["check"])["whole"], true);

    let mut server = Server::start(&there, &["--shards", "3"]);
    server.client().install_component(&wasm);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    corelet(&there, &["context", "import", file]);
    assert_eq!(corelet(&there, &["check"])["whole"], true);
    let mut server = Server::start(&there, &[]);
    let client = server.client();
    assert_eq!(output(&client, "run", json!({})), expected);
    assert_eq!(info(&client)[1], before[1], "the root");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What cannot be read is told, and never given as something else; beside it everything goes on.
#[test]
fn a_damaged_block_puts_its_context_out_of_service_and_no_other() {
    const NEEDLE: &str = "what is going to be hit by a cosmic ray";
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let tape = client.install("tape");
    let good = client.create(&tape, Some("demo"));
    let bad = client.create(&tape, Some("bad"));
    for context in [&good, &bad] {
        let text = if *context == bad { NEEDLE } else { "whole" };
        let args = json!({ "texts": [[100_000, text], [200_000, "beside"]] });
        let answer = client.call(context, "record_all", args);
        assert_eq!(answer.expect("an answer")["result"]["output"], 4);
    }
    assert_eq!(server.stop(), Some(0));
    flip(&data, NEEDLE.as_bytes());

    let mut server = start_unlooked(&data, &[]);
    let client = server.client();
    let play = |context: &str, at: u64, count: u64| {
        let args = json!({ "at": at, "count": count });
        client.call(context, "play", args).expect("an answer")
    };
    // How long it is, and other blocks, can be read; from the damaged one on nothing is.
    assert_eq!(play(&bad, 200_000, 6)["result"]["output"], "beside");
    let answer = play(&bad, 99_000, 2_000);
    assert_eq!(answer["error"]["data"]["name"], "storage_damaged");
    let answer = play(&bad, 200_000, 6);
    assert_eq!(answer["error"]["data"]["name"], "context_damaged");
    assert_eq!(play(&good, 100_000, 5)["result"]["output"], "whole");
    let answer = output(&client, "record", json!({ "at": 0, "text": "goes on" }));
    assert_eq!(answer, 4);
    let path = format!("/v1/contexts/{bad}");
    assert_eq!(client.delete(&path).expect("an answer").0, 204);
    assert_eq!(server.stop(), Some(0));
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let played = output(&client, "play", json!({ "at": 0, "count": 7 }));
    assert_eq!(played, "goes on");
    assert_eq!(server.stop(), Some(0));
}

/// What a call may write counts by the block, as that is what it costs.
#[test]
fn what_a_call_may_write_counts_by_the_block() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("corelet.toml");
    let settings = "[limits]\nwrite_bytes_max = 8_000\nstable_bytes_max = 131_072\n";
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let more = ["--shards", "1", "--config", config];
    let mut server = Server::start(&home.path().join("data"), &more);
    let client = server.client();
    client.create(&client.install("tape"), Some("demo"));
    let record = |count: usize, apart: usize| {
        let texts: Vec<_> = (0..count).map(|n| (n * apart, "x")).collect();
        let args = json!({ "texts": texts });
        let answer = client.call("demo", "record_all", args).expect("an answer");
        answer["error"]["data"]["limit"].clone()
    };
    assert_eq!(record(500, 2), Value::Null, "all in one block");
    assert_eq!(record(7, 1024), Value::Null);
    assert_eq!(record(8, 1024), "limits.write_bytes_max");
    assert_eq!(record(2, 131_071), Value::Null);
    assert_eq!(record(2, 131_072), "limits.stable_bytes_max");
    assert_eq!(server.stop(), Some(0));
}

/// The blocks of one stable memory.
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// One call, without a server: its output, and what it leaves.
fn run(
    instance: Instance,
    kind: MethodKind,
    method: &str,
    args: &Value,
    state: &State,
) -> (Value, Instance, State) {
    let mut running = instance.run(Turn {
        entry: Entry::Call {
            method: method.into(),
            kind,
        },
        args: args.to_string().into(),
        context: [7; 32],
        caller: "somebody".into(),
        author: [9; 32],
        now_nanos: 1_000,
        seed: [3; 32],
        state_version: 5,
        fuel_max: 100_000_000,
        queries: 0,
        state: Box::new(state.clone()),
    });
    let finished: Finished = loop {
        let polled = Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(finished) = polled {
            break finished;
        }
    };
    let output = finished.outcome.expect("an output");
    let output = serde_json::from_slice(&output.bytes).expect("it is JSON");
    let state = finished.state.into_any().downcast::<State>();
    let instance = finished.instance.expect("an instance that goes on");
    (output, instance, *state.expect("the state of the call"))
}

/// Another instance of the same application may have written in between, and so may another node: what the SDK
/// has kept of the memory that one call has read is not what the next one has.
#[test]
fn an_instance_keeps_nothing_of_a_stable_memory_between_calls() {
    let host = Host::new(HostConfig {
        compile_in: CompileIn::ThisProcess,
        ..HostConfig::new(4)
    });
    let module = host.expect("a host").load(&component("tape"));
    let module = module.expect("the tape is loaded");
    let recorded = |at: u64, text: &str, state: &State| {
        let instance = module.instantiate().expect("room for an instance");
        let args = json!({ "at": at, "text": text });
        run(instance, MethodKind::Update, "record", &args, state).2
    };
    let first = recorded(500, "the first", &State::new());
    let longer = recorded(70_000, "more", &recorded(500, "and the second", &first));
    // In the same block, and on both sides of the shorter one's end.
    let spots = [
        json!({ "at": 500, "count": 14 }),
        json!({ "at": 65_532, "count": 8 }),
    ];
    let mut instance = module.instantiate().expect("room for an instance");
    for _ in 0..2 {
        for (state, expected) in [
            (&first, ["the first.....", "...."]),
            (&longer, ["and the second", "........"]),
        ] {
            for (spot, expected) in spots.iter().zip(expected) {
                let (played, warm, _) = run(instance, MethodKind::Query, "play", spot, state);
                assert_eq!(played, expected);
                instance = warm;
            }
        }
    }
}
