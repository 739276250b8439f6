//! Flipped bits anywhere in what a whole server keeps: two ledgers, an application, blobs, a stable
//! memory and the manifest. `corelet check` says by its exit code alone whether something is damaged. Of
//! what it takes for whole a server gives every byte; of the rest, if it starts on it, every
//! byte or an error. How a ledger takes thousands of flips is shown in store/tests/damage/.
//!
//! `CORELET_SERVER_FLIPS` sets how many bits are flipped, one at a time, and `CORELET_SEED` which.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;

use corelet_tests::{ANY_PORT, Client, Server, binary};
use serde_json::{Value, json};

/// Flips if `CORELET_SERVER_FLIPS` is not set.
const FLIPS: usize = 50;

const KEYS: usize = 20;

fn value(context: &str, n: usize) -> String {
    format!("value {n} of {context}, {}", "x".repeat(50 * n))
}

/// What was acknowledged.
struct Kept {
    /// With values under some keys.
    contexts: Vec<String>,
    tape: String,
    blobs: Vec<(String, String)>,
}

impl Kept {
    fn write(data: &Path) -> Kept {
        let mut server = Server::start(data, &["--shards", "2"]);
        let client = server.client();
        let kv = client.install("kv");
        // Some on each shard.
        let contexts: Vec<String> = (0..8).map(|_| client.create(&kv, None)).collect();
        for context in &contexts {
            for n in 0..KEYS {
                let args = json!({ "key": format!("key {n}"), "value": value(context, n) });
                let answer = client.call(context, "set", args).expect("an answer");
                assert!(answer["result"].is_object(), "{answer}");
            }
        }
        let tape = client.create(&client.install("tape"), None);
        let args = json!({ "texts": [[1_000, "on the tape"], [9_000, "far behind"]] });
        let answer = client.call(&tape, "record_all", args).expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
        let blobs = [100, 20_000, 70_000].map(|bytes| {
            let content = "a blob of words ".repeat(bytes / 16);
            let (status, told) = client
                .post("/v1/blobs", content.as_bytes())
                .expect("an answer");
            assert_eq!(status, 201, "{told}");
            (told["id"].as_str().expect("an id").to_owned(), content)
        });
        assert_eq!(server.stop(), Some(0), "{}", server.log());
        for shard in ["000", "001"] {
            let ledger = fs::read(data.join(format!("shards/{shard}/data.mdb")));
            let ledger = ledger.expect("a ledger");
            let needle = b"value 7 of ";
            let is_there = ledger.windows(needle.len()).any(|it| it == needle);
            assert!(is_there, "no context is on shard {shard}");
        }
        Kept {
            contexts,
            tape,
            blobs: blobs.to_vec(),
        }
    }

    /// What is not given as it was written; with `or_error` only what is given otherwise.
    fn lost(&self, client: &Client, or_error: bool) -> Option<String> {
        let call = |context: &str, method: &str, args: Value, expected: &str| {
            let answer = client.call(context, method, args).expect("an answer");
            let is_given = answer["result"]["output"] == expected;
            let is_told = or_error && answer["error"].is_object();
            let what = || format!("{method} of {context}: {answer}");
            (!is_given && !is_told).then(what)
        };
        let values = self.contexts.iter().flat_map(|context| {
            (0..KEYS).map(move |n| {
                let args = json!({ "key": format!("key {n}") });
                call(context, "get", args, &value(context, n))
            })
        });
        let played = [(1_000, "on the tape"), (9_000, "far behind")].map(|(at, text)| {
            let args = json!({ "at": at, "count": text.len() });
            call(&self.tape, "play", args, text)
        });
        let read = self.blobs.iter().map(|(id, content)| {
            match client.get(&format!("/v1/blobs/{id}")) {
                Ok((200, Value::String(text))) if text == *content => None,
                Ok((status, _)) if or_error && status >= 400 => None,
                // Broken off where the damage is.
                Err(_) if or_error => None,
                other => Some(format!("blob {id}: {:.100}", format!("{other:?}"))),
            }
        });
        values.chain(played).chain(read).flatten().next()
    }
}

/// The files below some places, in the order of their names.
fn files(places: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = places.to_vec();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        // What a lock file has in it is of one process.
        } else if !path.ends_with("lock.mdb") && fs::metadata(&path).is_ok_and(|it| it.len() > 0) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let spread = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(spread) * end as u128) >> 64) as usize
    }
}

fn random() -> Random {
    let seed = match std::env::var("CORELET_SEED") {
        Ok(text) => {
            let digits = text.trim_start_matches("0x");
            u64::from_str_radix(digits, 16).expect("CORELET_SEED must be hexadecimal")
        }
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    println!("seed {seed:#x} (CORELET_SEED repeats it, but for the ids of what is made)");
    Random(seed | 1)
}

#[test]
fn a_check_says_by_its_exit_code_what_a_server_makes_of_a_flipped_bit() {
    let flips = match std::env::var("CORELET_SERVER_FLIPS") {
        Ok(number) => number.parse().expect("CORELET_SERVER_FLIPS is a number"),
        Err(_) => FLIPS,
    };
    let mut random = random();
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let kept = Kept::write(&data);
    let (mut whole, mut told, mut refused) = (0, 0, 0);
    for nth in 0..flips {
        let place = tempfile::tempdir().expect("a directory for a copy");
        let copy = place.path().join("data");
        let copied = Command::new("cp").arg("-a").args([&data, &copy]).status();
        assert!(copied.is_ok_and(|status| status.success()));
        // Each by turns, as most bytes are in few files.
        let below = match nth % 5 {
            0 => vec![copy.join("manifest")],
            1 => vec![copy.join("shards/000")],
            2 => vec![copy.join("shards/001")],
            _ => vec![copy.join("blobs")],
        };
        let files = files(&below);
        let path = &files[random.below(files.len())];
        let mut bytes = fs::read(path).expect("a file");
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        bytes[at] ^= 1 << bit;
        fs::write(path, bytes).expect("it can be written");
        let what = format!("bit {bit} of byte {at} of {}", path.display());

        let checked = Command::new(binary())
            .args(["check", "--data-dir"])
            .arg(&copy)
            .output()
            .expect("the binary starts");
        let is_whole = match checked.status.code() {
            Some(0) => true,
            Some(1) => false,
            _ => panic!("{what}: {checked:?}"),
        };
        let mut server = Server::spawn(&copy, ANY_PORT, &[], &[]);
        if server.wait_ready() {
            let lost = kept.lost(&server.client(), !is_whole);
            assert_eq!(lost, None, "{what}: {checked:?}");
            server.kill();
        } else {
            assert!(!is_whole, "{what}: {}", server.log());
            refused += 1;
        }
        whole += usize::from(is_whole);
        told += usize::from(!is_whole);
    }
    println!("{flips} flips: {whole} of no importance, {told} told, {refused} of them by no start");
}
