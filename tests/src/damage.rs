//! Damage to what a server has left on disk.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::{ANY_PORT, Client, Server};

/// A server on one shard of a new directory, with two contexts of the application `kv`.
pub struct GoodAndBad {
    /// The server.
    pub server: Server,
    /// Of it.
    pub client: Client,
    /// A context whose `key` is `"well"`.
    pub good: String,
    /// A context whose `key` is what is going to be damaged.
    pub bad: String,
}

impl GoodAndBad {
    /// `needle` is a value that lies on disk as it is.
    ///
    /// # Panics
    /// If a call fails.
    pub fn start(data: &Path, needle: &str) -> GoodAndBad {
        let server = Server::start(data, &["--shards", "1"]);
        let client = server.client();
        let kv = client.install("kv");
        let [bad, good] = ["bad", "good"].map(|name| client.create(&kv, Some(name)));
        for (context, value) in [(&bad, needle), (&good, "well")] {
            let args = json!({ "key": "key", "value": value });
            let answer = client.call(context, "set", args).expect("an answer");
            assert!(answer["result"].is_object(), "{answer}");
        }
        GoodAndBad {
            server,
            client,
            good,
            bad,
        }
    }
}

/// A server that does not look its ledgers over when it starts, so that what is damaged is met
/// when it is read, as what is hit while it runs.
///
/// # Panics
/// If it does not become ready.
pub fn start_unlooked(data: &Path, more: &[&str]) -> Server {
    let unlooked = ["env", "CORELET__STORAGE__START_CHECK_BYTES_MAX=0"].map(str::to_owned);
    let mut server = Server::spawn(data, ANY_PORT, &unlooked, more);
    assert!(server.wait_ready(), "{}", server.log());
    server
}

/// Flips a bit in each place of the ledgers where `needle` lies; again, and it is as before.
///
/// # Panics
/// If it is nowhere.
pub fn flip(data: &Path, needle: &[u8]) {
    let mut flipped = needle.to_vec();
    flipped[needle.len() / 2] ^= 0x10;
    let mut places = 0;
    for shard in fs::read_dir(data.join("shards")).expect("ledgers") {
        let path = shard.expect("a directory").path().join("data.mdb");
        let mut bytes = fs::read(&path).expect("a data file");
        for at in 0..bytes.len().saturating_sub(needle.len()) {
            let place = &mut bytes[at..at + needle.len()];
            if place == needle {
                place.copy_from_slice(&flipped);
                places += 1;
            } else if place == flipped {
                place.copy_from_slice(needle);
                places += 1;
            }
        }
        fs::write(&path, bytes).expect("it can be written");
    }
    assert!(places > 0, "no ledger contains the needle");
}
