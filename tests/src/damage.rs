//! Damage to what a server has left on disk.

use std::fs;
use std::path::Path;

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
