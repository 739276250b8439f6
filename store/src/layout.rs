//! The layout of a ledger in LMDB: its tables, the form of their keys and the
//! bounds that follow from it. The values are in `record.rs`; the reasons are
//! in `store/decisions/0001-layout-and-slots.md`. Start at [`Tables`].

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, WithoutTls};

use crate::ids::ContextSlot;

/// The version of the whole ledger format. Version 1 had no journal, version 2 no
/// identity; both are taken over (`takeover.rs`), any other is refused.
pub(crate) const FORMAT_VERSION: u32 = 3;

/// The longest key that LMDB as we build it can hold.
pub(crate) const LMDB_KEY_BYTES_MAX: usize = 511;

/// Bytes of the slot in front of each key of `entries`, `events` and `heads`.
const SLOT_BYTES: usize = size_of::<u64>();

/// The longest key of an entry.
pub const KEY_BYTES_MAX: usize = 503;

/// The largest value of an entry, and the largest payload of an event.
pub const VALUE_BYTES_MAX: usize = 10 << 20;

/// The longest kind of an event.
pub const EVENT_KIND_BYTES_MAX: usize = 256;

/// The longest name of a context.
pub const NAME_BYTES_MAX: usize = 128;

/// The most bytes (keys, values, events) that one batch may carry. Each goes
/// into its table and into the log, so it needs twice as many there.
pub const BATCH_BYTES_MAX: u64 = 128 << 20;

/// LMDB's pages are as large as the machine's, and this is the smallest.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// The longest texts of an application record together.
pub const APPLICATION_BYTES_MAX: usize = 4 << 20;

const _: () = assert!(KEY_BYTES_MAX + SLOT_BYTES == LMDB_KEY_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= LMDB_KEY_BYTES_MAX);
// rkyv's offsets inside one record have 32 bits and a sign.
const _: () = assert!(2 * BATCH_BYTES_MAX < i32::MAX as u64);
// LMDB holds at most 2^17 - 1 dirty pages before it writes some of them early. A
// batch alone should not come to that; what has gathered before it may.
const _: () = assert!(2 * BATCH_BYTES_MAX <= ((1 << 17) - 1) * PAGE_BYTES);

pub(crate) type Table = Database<'static, Bytes, Bytes>;

/// Every table of a ledger. Copied freely: each is a number inside the
/// environment, valid as long as the environment is open.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    /// `"format"`, `"identity"`, `"journal"`, `"journal-file"` and `"slots"`.
    pub(crate) meta: Table,
    /// Context id -> its record, with its slot.
    pub(crate) contexts: Table,
    /// Slot -> root, counts, stamp and newest deltas.
    pub(crate) heads: Table,
    /// Slot, key -> entry.
    pub(crate) entries: Table,
    /// Position, shard-wide and growing -> delta.
    pub(crate) log: Table,
    /// Slot, sequence -> event.
    pub(crate) events: Table,
    /// Application id -> its record.
    pub(crate) applications: Table,
    /// Name -> context id.
    pub(crate) names: Table,
    /// Number -> node id, so that an entry names its author in 4 bytes.
    pub(crate) authors: Table,
    /// Slot of a deleted context -> what is left to sweep.
    pub(crate) graves: Table,
}

const TABLE_NAMES: [&str; 10] = [
    "meta",
    "contexts",
    "heads",
    "entries",
    "log",
    "events",
    "applications",
    "names",
    "authors",
    "graves",
];

/// How many tables there are, for LMDB.
pub(crate) const TABLES: u32 = TABLE_NAMES.len() as u32;

impl Tables {
    /// Makes every table of a new ledger.
    pub(crate) fn create(env: &Env<WithoutTls>) -> heed::Result<Tables> {
        let txn = env.write_txn()?;
        let made = env.create_databases_and_commit(txn, |opener, txn| {
            let mut tables = Vec::with_capacity(TABLE_NAMES.len());
            for name in TABLE_NAMES {
                tables.push(opener.create_database::<Bytes, Bytes>(txn, Some(name))?);
            }
            heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(all(tables)))
        })?;
        Ok(Tables::named(made.unwrap_commit()))
    }

    /// Opens every table; `None` if one is missing.
    pub(crate) fn open(env: &Env<WithoutTls>) -> heed::Result<Option<Tables>> {
        let txn = env.read_txn()?;
        let opened = env.open_databases_and_commit(txn, |opener, txn| {
            let mut tables = Vec::with_capacity(TABLE_NAMES.len());
            for name in TABLE_NAMES {
                match opener.open_database::<Bytes, Bytes>(txn, Some(name))? {
                    Some(table) => tables.push(table),
                    None => return Ok(CommitOrAbort::Abort(())),
                }
            }
            heed::Result::Ok(CommitOrAbort::Commit(all(tables)))
        })?;
        Ok(match opened {
            CommitOrAbort::Commit(tables) => Some(Tables::named(tables)),
            CommitOrAbort::Abort(()) => None,
        })
    }

    fn named(tables: [Table; TABLE_NAMES.len()]) -> Tables {
        let [
            meta,
            contexts,
            heads,
            entries,
            log,
            events,
            applications,
            names,
            authors,
            graves,
        ] = tables;
        Tables {
            meta,
            contexts,
            heads,
            entries,
            log,
            events,
            applications,
            names,
            authors,
            graves,
        }
    }
}

fn all<T>(tables: Vec<T>) -> [T; TABLE_NAMES.len()] {
    match tables.try_into() {
        Ok(tables) => tables,
        Err(_) => unreachable!("one table was opened for each name"),
    }
}

pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_IDENTITY: &[u8] = b"identity";
pub(crate) const META_JOURNAL: &[u8] = b"journal";
pub(crate) const META_JOURNAL_FILE: &[u8] = b"journal-file";
pub(crate) const META_SLOTS: &[u8] = b"slots";

/// The key of a head or grave, and the first bytes of each entry and event.
pub(crate) fn slot_key(slot: ContextSlot) -> [u8; SLOT_BYTES] {
    slot.number().to_be_bytes()
}

/// The key of a log record.
pub(crate) fn position_key(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

/// The key of an author.
pub(crate) fn author_key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// The key of an event.
pub(crate) fn event_key(slot: ContextSlot, sequence: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&slot.number().to_be_bytes());
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// Writes the key of an entry into `out`.
pub(crate) fn entry_key(out: &mut Vec<u8>, slot: ContextSlot, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&slot_key(slot));
    out.extend_from_slice(key);
}

/// Splits the key of an entry or event into slot and rest.
pub(crate) fn split_slot(key: &[u8]) -> Option<(ContextSlot, &[u8])> {
    let (slot, rest) = key.split_first_chunk::<SLOT_BYTES>()?;
    Some((ContextSlot::new(u64::from_be_bytes(*slot)), rest))
}

/// A big-endian number that is a whole key.
pub(crate) fn read_u64(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Turns `key` into the smallest key above all that begin with it. It has a
/// slot in front, and slots never reach the largest number, so there is one.
pub(crate) fn successor(key: &mut Vec<u8>) {
    while key.pop_if(|byte| *byte == u8::MAX).is_some() {}
    let last = key
        .last_mut()
        .expect("a slot is not all ones, so a byte is left");
    *last += 1;
}
