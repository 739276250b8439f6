//! New ledgers. The only place that makes a ledger's files; opening one that
//! lacks them fails (`ledger.rs`). Called by `data_dir.rs` before its manifest says
//! that the ledgers have been made.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data_dir::{done_or_missing, make_private_dir, sync_dir};
use crate::error::StoreError;
use crate::journal::{Generation, Journal};
use crate::layout::Tables;
use crate::ledger::{LedgerConfig, engine_error, open_env};
use crate::meta::Meta;
use crate::place::LedgerPlace;

/// Enough for the tables. What the ledger may grow to is said when it is opened.
const MAP_BYTES: u64 = 1 << 20;

/// Makes an empty ledger in `place`, if its directory is not there. The directory
/// appears with its whole content, or not at all; that it stays there is the
/// caller's to see to, when all are made.
pub(crate) fn create(place: &LedgerPlace) -> Result<(), StoreError> {
    let dir = place.dir();
    let is_there = dir.try_exists();
    if is_there.map_err(StoreError::file("look for", dir))? {
        return Ok(());
    }
    let unfinished = unfinished(dir);
    done_or_missing(fs::remove_dir_all(&unfinished))
        .map_err(StoreError::file("remove", &unfinished))?;
    make_private_dir(&unfinished)?;
    fill(&LedgerPlace::new(unfinished.clone(), place.identity()))?;
    fs::rename(&unfinished, dir).map_err(StoreError::file("make the directory", dir))
}

fn fill(place: &LedgerPlace) -> Result<(), StoreError> {
    let config = LedgerConfig {
        map_bytes_max: MAP_BYTES,
        ..LedgerConfig::default()
    };
    let generation = Generation::first();
    let journal_bytes = Journal::make(place, generation.seed)?;
    let env = open_env(place, &config)?;
    let tables = Tables::create(&env);
    let meta = Meta {
        place,
        env: &env,
        tables: tables.map_err(|error| engine_error("make the tables of", error, &env))?,
    };
    meta.write_all(generation, journal_bytes)?;
    drop(env);
    // It would fix the number of readers, which is said when the ledger is opened.
    let lock = place.lock_file();
    done_or_missing(fs::remove_file(&lock)).map_err(StoreError::file("remove", &lock))?;
    sync_dir(place.dir())
}

/// Where a ledger lies until it is whole.
fn unfinished(dir: &Path) -> PathBuf {
    dir.with_extension("new")
}
