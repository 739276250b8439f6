//! The server is killed in the middle of a stream of writes, again and again:
//! at random moments, and at the Nth write or sync system call. After each
//! restart every acknowledged write is there, nothing that was never asked for
//! is, and the ledger's own check finds no half of any call.
//!
//! `CORELET_KILLS` sets how often (200; `make soak` does more). Needs strace
//! for the kills at system calls.

#![expect(clippy::disallowed_types, reason = "among the writers of one round")]
#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelet_store::{DataDir, Ledger, LedgerConfig, NodeId, OpenOptions, ShardCount};
use corelet_tests::{Client, Server, free_address};
use serde_json::{Value, json};

/// A journal that is full after some batches, so that checkpoints come
/// often enough to be hit.
const CONFIG: &str = "[storage]\njournal_bytes_max = \"64 KiB\"\n";

const WRITERS: usize = 3;
const KEYS: u64 = 5;
/// The system calls by which LMDB and the journal write (shown by a test of the
/// store).
const CALLS: [&str; 4] = ["pwritev2", "pwrite64", "writev", "fdatasync"];

/// What one writer knows about its context.
#[derive(Default)]
struct Writer {
    context: String,
    next: u64,
    /// By key: the last value acknowledged, and the last one asked for.
    acked: BTreeMap<u64, u64>,
    asked: BTreeMap<u64, u64>,
}

#[test]
fn acknowledged_writes_survive_every_kill() {
    let kills: u64 = std::env::var("CORELET_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(200);
    let strace = std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_ok();
    assert!(
        strace,
        "strace is missing; scripts/setup.sh test installs it"
    );
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, CONFIG).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let mut writers = set_up(&data);
    // A fixed multiplier walks through moments and calls the same way each run.
    let mut dice = 0x2545_f491_4f6c_dd1du64;
    let (mut at_calls, mut acknowledged) = (0, 0);
    for round in 0..kills {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let chance = dice >> 33;
        let by_call = round % 2 == 0;
        let wrapper = if by_call { at_call(chance) } else { Vec::new() };
        let mut server = Server::spawn(&data, free_address(), &wrapper, &["--config", config]);
        let is_ready = server.wait_ready();
        assert!(
            is_ready || by_call,
            "after a kill it does not start any more: {}",
            server.log()
        );
        if is_ready {
            let client = server.client();
            for writer in &writers {
                check(&client, writer);
            }
            let before: u64 = writers.iter().map(|writer| writer.next).sum();
            writers = write_until_dead(&mut server, writers, (!by_call).then_some(chance % 40));
            acknowledged += writers.iter().map(|writer| writer.next).sum::<u64>() - before;
        }
        at_calls += u64::from(by_call);
        server.kill();
        if round % 20 == 19 {
            verify(&data);
        }
    }
    verify(&data);
    println!(
        "{kills} kills, {at_calls} of them at a system call; {acknowledged} writes in between, none lost"
    );
    assert!(
        acknowledged > kills,
        "the kills came before anything was written"
    );
}

fn set_up(data: &Path) -> Vec<Writer> {
    let mut server = Server::start(data, &["--shards", "2"]);
    let client = server.client();
    let kv = client.install("kv");
    let writers = (0..WRITERS)
        .map(|_| Writer {
            context: client.create(&kv, None),
            ..Writer::default()
        })
        .collect();
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    writers
}

/// strace that kills at the Nth call of one kind.
fn at_call(chance: u64) -> Vec<String> {
    let call = CALLS[usize::try_from(chance % 4).expect("less than 4")];
    let nth = 1 + chance / 4 % 60;
    ["strace", "-f", "-qq", "-o", "/dev/null", "-e"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:signal=SIGKILL:when={nth}"),
        ])
        .collect()
}

/// Writes until the server is gone, or kills it after some milliseconds.
fn write_until_dead(
    server: &mut Server,
    writers: Vec<Writer>,
    kill_after_ms: Option<u64>,
) -> Vec<Writer> {
    let (address, token) = (server.address(), server.token());
    let give_up = Arc::new(AtomicBool::new(false));
    let done = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = writers
        .into_iter()
        .map(|mut writer| {
            let (token, give_up, done) = (token.clone(), Arc::clone(&give_up), Arc::clone(&done));
            std::thread::spawn(move || {
                let client = Client::new(address, &token);
                while !give_up.load(Ordering::Relaxed) {
                    let (key, value) = (writer.next % KEYS, writer.next + 1);
                    writer.asked.insert(key, value);
                    let args = json!({"key": key.to_string(), "value": value.to_string()});
                    match client.call(&writer.context, "set", args) {
                        Ok(answer) if answer["result"].is_object() => {
                            writer.acked.insert(key, value);
                            writer.next += 1;
                        }
                        Ok(answer) => panic!("a write was refused: {answer}"),
                        Err(_) => break,
                    }
                }
                done.lock().expect("nobody panicked with it").push(writer);
            })
        })
        .collect();
    if let Some(millis) = kill_after_ms {
        std::thread::park_timeout(Duration::from_millis(millis));
        server.kill();
    }
    for thread in threads {
        thread.join().expect("a writer ends without a panic");
    }
    give_up.store(true, Ordering::Relaxed);
    Arc::into_inner(done)
        .expect("all writers have ended")
        .into_inner()
        .expect("nobody panicked with it")
}

/// Each key holds the last acknowledged value, or a later one that was asked for.
fn check(client: &Client, writer: &Writer) {
    let Ok(answer) = client.call(&writer.context, "entries", json!({})) else {
        return; // Killed already; the next round looks again.
    };
    let entries = answer["result"]["output"]["entries"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let found: BTreeMap<u64, u64> = entries
        .iter()
        .map(|entry| (number(&entry[0]), number(&entry[1])))
        .collect();
    for (key, acked) in &writer.acked {
        let found = found.get(key).copied().unwrap_or(0);
        assert!(
            found >= *acked,
            "key {key}: {acked} was acknowledged, but {found} is there"
        );
    }
    for (key, found) in &found {
        let asked = writer.asked.get(key).copied().unwrap_or(0);
        assert!(
            *found <= asked,
            "key {key}: {found} is there, but only {asked} was asked for"
        );
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The ledgers' own check of entries, heads, log and roots.
fn verify(data: &Path) {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).expect("one"),
        node_id_if_new: NodeId::from_bytes([0; 32]),
    };
    let dir = DataDir::open(data, &options).expect("the data directory opens after a kill");
    for shard in dir.manifest().shards.shards() {
        let ledger = Ledger::open(&dir.ledger_place(shard), &LedgerConfig::default())
            .expect("a ledger opens");
        let snapshot = ledger.snapshot().expect("a snapshot");
        corelet_store::verify(&snapshot).expect("the ledger agrees with itself");
    }
}
