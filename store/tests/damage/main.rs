//! Ledgers that a disk has damaged: by a cut of the power, which leaves a part of
//! what was written (`power.rs`, and `copies.rs` of whole directories), and by bits that flip (`flips.rs`). Nothing in
//! here knows the store's formats: ledgers are written and checked by the programs
//! `torture` and `copies`, so that the next format has to pass as well.
//!
//! | file | holds |
//! |---|---|
//! | `write_log.rs` | what a process does to its files, by system calls |
//! | `disk.rs` | what is left of that when the power is cut |
//! | `checker.rs` | the process that opens what is left |
//! | `random.rs` | chances |

mod checker;
mod copies;
mod disk;
mod flips;
mod power;
mod random;
mod write_log;

use std::path::{Path, PathBuf};

/// Where thousands of ledgers are written: in memory if there is such a place. No
/// test here rests on a disk.
fn quick_place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    }
}

/// How often something is done, if the environment does not say otherwise.
fn how_often(variable: &str, otherwise: usize) -> usize {
    match std::env::var(variable) {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => otherwise,
    }
}

/// Removes what is in `dir`.
fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
}
