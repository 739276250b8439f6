//! The layout of a ledger in LMDB: its tables, the form of their keys and the
//! bounds that follow from it. The values are in `record.rs`; the reasons are
//! in `store/decisions/0001-layout-and-slots.md`. Start at [`Tables`].

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, RoTxn, WithoutTls};

use crate::answer::AnswerKey;
use crate::entry::{EntryKind, Space};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId};
use crate::version::Dot;

/// The version of the whole ledger format. Versions from 3 on are taken over
/// (`takeover.rs`); any other is refused.
pub(crate) const FORMAT_VERSION: u32 = 10;

/// The longest key that LMDB as we build it can hold.
pub(crate) const LMDB_KEY_BYTES_MAX: usize = 511;

/// Bytes of the slot in front of each key of `entries`, `events` and `heads`.
const SLOT_BYTES: usize = size_of::<u64>();

/// Slots have so many bits; those above them say which space a key is in.
pub(crate) const SLOT_BITS: u32 = 56;

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

/// The most bytes that one entry may come to with all that nodes have written to it without knowing
/// of each other: so it fits into a chunk of a copy.
pub(crate) const ENTRY_BYTES_MAX: u64 = BATCH_BYTES_MAX;

/// The most bytes of entries that one call may make the ledger write anew beside what it
/// writes itself: what lies beneath other values stays in their entries.
pub(crate) const CALL_REWRITES_BYTES_MAX: u64 = BATCH_BYTES_MAX;

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

/// The tables in one place: field and name of each.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// Every table of a ledger. Copied freely: each is a number inside the
        /// environment, valid as long as the environment is open.
        #[derive(Clone, Copy)]
        pub(crate) struct Tables {
            $($(#[$doc])* pub(crate) $field: Table,)*
        }

        pub(crate) const TABLE_NAMES: &[&str] = &[$($name),*];

        impl Tables {
            /// All of them, in no order that matters.
            pub(crate) fn all(&self) -> [Table; TABLE_NAMES.len()] {
                [$(self.$field),*]
            }

            fn named(tables: [Table; TABLE_NAMES.len()]) -> Tables {
                let [$($field),*] = tables;
                Tables { $($field),* }
            }
        }
    };
}

tables! {
    /// `"authors"`, `"counters"`, `"format"`, `"identity"`, `"journal"`, `"journal-file"` and `"slots"`.
    meta: "meta",
    /// Context id -> its record, with its slot.
    contexts: "contexts",
    /// Slot -> root, counts, stamp and newest deltas.
    heads: "heads",
    /// Space and slot, key -> entry.
    entries: "entries",
    /// Space and slot, name of a sequence, kind, stamp, author -> an edit of it.
    edits: "edits",
    /// Position, shard-wide and growing -> delta.
    log: "log",
    /// Slot, id of a delta that others may name as a parent -> what it had seen.
    dag: "dag",
    /// Slot, nibbles -> a node of the context's Merkle trie.
    trie: "trie",
    /// Slot, sequence -> event.
    events: "events",
    /// Application id -> its record.
    applications: "applications",
    /// Name -> context id.
    names: "names",
    /// Number -> node id, so that an entry names its author in 4 bytes.
    authors: "authors",
    /// Slot of a deleted context -> what is left to sweep.
    graves: "graves",
    /// Prefix of the edits of a sequence that was removed -> whose they were, until
    /// those that nothing needs are swept.
    litter: "litter",
    /// Blob, slot, bytes of content -> that a context has it attached.
    attached: "attached",
    /// Slot -> how much its context has attached; none if it is nothing.
    attached_sums: "attached-sums",
    /// Slot, author, stamp -> that author's seal on its delta of that stamp.
    seals: "seals",
    /// Slot, author -> proof that the author has made deltas that do not know of each other.
    forks: "forks",
    /// Slot of a context that was shared -> which deltas from before that are not yet in `dag`.
    backlog: "backlog",
    /// Key of an edit -> what it had seen of the authors whom it names;
    /// none if that is nothing.
    edits_seen: "edits-seen",
    /// Space and slot, name of a sequence, kind, stamp and author of the last of them -> edits of it
    /// that are in one record.
    packs: "packs",
    /// Prefix of the edits of a sequence, part -> the sequence as a whole, worked out from
    /// them.
    saved: "saved",
    /// Slot, digest of a caller's key -> the answer that is kept under it.
    answers: "answers",
    /// Slot, stamp, digest of a key -> what that answer counts for; and slot -> what all
    /// answers of the context count for.
    answers_by_age: "answers-by-age",
    /// Slot -> bytes of log and events, and what there is since the last mark.
    tallies: "tallies",
    /// Slot, position of every so-manieth of the context's deltas -> its stamp: where its
    /// history can be cut.
    marks: "marks",
    /// Slot -> what was pruned of a context with members; slot, member -> what that has
    /// acknowledged.
    acks: "acks",
    /// Slot -> why its context is out of service.
    quarantine: "quarantine",
}

/// How many tables there are, for LMDB.
pub(crate) const TABLES: u32 = TABLE_NAMES.len() as u32;

impl Tables {
    /// Makes every table of a new ledger.
    pub(crate) fn create(env: &Env<WithoutTls>) -> heed::Result<Tables> {
        let txn = env.write_txn()?;
        let made = env.create_databases_and_commit(txn, |opener, txn| {
            let mut tables = Vec::with_capacity(TABLE_NAMES.len());
            for &name in TABLE_NAMES {
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
            for &name in TABLE_NAMES {
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
}

/// A record that says that its slot is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Head,
    Grave,
    Quarantine,
}

impl Tables {
    /// Pages that all tables have, free ones aside.
    pub(crate) fn pages(&self, txn: &RoTxn<'_, WithoutTls>) -> heed::Result<u64> {
        let mut pages = 0;
        for table in self.all() {
            let stat = table.stat(txn)?;
            pages += stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        }
        Ok(pages as u64)
    }

    /// Whether a context is in the slot, in service or not, or a grave: a record says so that is not
    /// one of `but_for`.
    pub(crate) fn is_used(
        &self,
        txn: &RoTxn<'_, WithoutTls>,
        slot: ContextSlot,
        but_for: Option<User>,
    ) -> heed::Result<bool> {
        let key = slot_key(slot);
        let users = [
            (User::Head, self.heads),
            (User::Grave, self.graves),
            (User::Quarantine, self.quarantine),
        ];
        for (user, table) in users {
            if Some(user) != but_for && table.get(txn, &key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The table `meta`, whatever else there is; `None` if it is missing.
pub(crate) fn open_meta(env: &Env<WithoutTls>) -> heed::Result<Option<Table>> {
    let txn = env.read_txn()?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        let table = opener.open_database::<Bytes, Bytes>(txn, Some(TABLE_NAMES[0]))?;
        heed::Result::Ok(match table {
            Some(table) => CommitOrAbort::Commit(table),
            None => CommitOrAbort::Abort(()),
        })
    })?;
    Ok(match opened {
        CommitOrAbort::Commit(table) => Some(table),
        CommitOrAbort::Abort(()) => None,
    })
}

fn all<T>(tables: Vec<T>) -> [T; TABLE_NAMES.len()] {
    match tables.try_into() {
        Ok(tables) => tables,
        Err(_) => unreachable!("one table was opened for each name"),
    }
}

pub(crate) const META_AUTHORS: &[u8] = b"authors";
pub(crate) const META_COUNTERS: &[u8] = b"counters";
pub(crate) const META_DAMAGE_SEEN: &[u8] = b"damage-seen";
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

/// The key of a mark.
pub(crate) fn mark_key(slot: ContextSlot, position: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&slot_key(slot));
    key[8..].copy_from_slice(&position.to_be_bytes());
    key
}

/// The key of what a member has acknowledged.
pub(crate) fn ack_key(slot: ContextSlot, member: &NodeId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&slot_key(slot));
    key[8..].copy_from_slice(member.as_bytes());
    key
}

/// The key of an event.
pub(crate) fn event_key(slot: ContextSlot, sequence: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&slot.number().to_be_bytes());
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The key of an answer.
pub(crate) fn answer_key(slot: ContextSlot, key: &AnswerKey) -> [u8; 40] {
    let mut full = [0; 40];
    full[..8].copy_from_slice(&slot_key(slot));
    full[8..].copy_from_slice(key.as_bytes());
    full
}

/// The key of an answer among those of its context, by age.
pub(crate) fn answer_age_key(slot: ContextSlot, hlc: Hlc, key: &AnswerKey) -> [u8; 48] {
    let mut full = [0; 48];
    full[..8].copy_from_slice(&slot_key(slot));
    full[8..16].copy_from_slice(&hlc.bits().to_be_bytes());
    full[16..].copy_from_slice(key.as_bytes());
    full
}

/// Stamp and key of an answer, out of its key by age.
pub(crate) fn split_answer_age(key: &[u8]) -> Option<(Hlc, AnswerKey)> {
    let (_, rest) = key.split_first_chunk::<SLOT_BYTES>()?;
    let (hlc, key) = rest.split_first_chunk::<8>()?;
    let hlc = Hlc::from_bits(u64::from_be_bytes(*hlc));
    Some((hlc, AnswerKey::from_bytes(key.try_into().ok()?)))
}

/// The first bytes of each key of a space of a context.
pub(crate) fn space_key(slot: ContextSlot, space: Space) -> [u8; SLOT_BYTES] {
    let space = u64::from(space.number()) << SLOT_BITS;
    (space | slot.number()).to_be_bytes()
}

/// Writes the key of an entry into `out`.
pub(crate) fn entry_key(out: &mut Vec<u8>, slot: ContextSlot, space: Space, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&space_key(slot, space));
    out.extend_from_slice(key);
}

/// Splits the key of an entry into slot, space and the guest's key.
pub(crate) fn split_entry(key: &[u8]) -> Option<(ContextSlot, Space, &[u8])> {
    let (prefix, rest) = key.split_first_chunk::<SLOT_BYTES>()?;
    let prefix = u64::from_be_bytes(*prefix);
    let space = Space::from_number((prefix >> SLOT_BITS) as u8)?;
    let slot = ContextSlot::new(prefix & ((1 << SLOT_BITS) - 1));
    Some((slot, space, rest))
}

/// The first bytes of the key of every edit of a sequence: its entry may have too
/// long a key to stand in front, so a digest of the key does.
pub(crate) fn edits_prefix(
    out: &mut Vec<u8>,
    slot: ContextSlot,
    space: Space,
    key: &[u8],
    kind: EntryKind,
) {
    out.clear();
    out.extend_from_slice(&space_key(slot, space));
    out.extend_from_slice(&blake3::hash(key).as_bytes()[..16]);
    out.push(kind.number());
}

/// The slot in front of a key, whatever space is said with it.
pub(crate) fn slot_of(key: &[u8]) -> Option<ContextSlot> {
    let (slot, _) = split_slot(key)?;
    Some(ContextSlot::new(slot.number() & ((1 << SLOT_BITS) - 1)))
}

/// Whether these are the first bytes of the keys of the edits of a sequence under `key`.
pub(crate) fn is_prefix_of(prefix: &[u8], key: &[u8]) -> bool {
    let digest = blake3::hash(key);
    let found = split_entry(prefix).and_then(|(.., rest)| rest.split_first_chunk::<16>());
    found.is_some_and(|(found, kind)| digest.as_bytes()[..16] == *found && kind.len() == 1)
}

/// What follows the prefix in the key of an edit. In order of stamps, so in one that
/// causes allow.
pub(crate) fn edit_suffix(dot: Dot) -> [u8; 12] {
    let mut suffix = [0; 12];
    suffix[..8].copy_from_slice(&dot.hlc.bits().to_be_bytes());
    suffix[8..].copy_from_slice(&dot.author.to_be_bytes());
    suffix
}

/// The key of a saved sequence's record: of what it is for part 0, then of its bytes.
pub(crate) fn saved_key(prefix: &[u8], part: u32) -> Vec<u8> {
    [prefix, &part.to_be_bytes()].concat()
}

/// The prefix in such a key.
pub(crate) fn saved_prefix(key: &[u8]) -> Option<&[u8]> {
    let (prefix, _) = key.split_last_chunk::<4>()?;
    Some(prefix)
}

/// The part in such a key.
pub(crate) fn saved_part(key: &[u8]) -> Option<u32> {
    let (_, part) = key.split_last_chunk::<4>()?;
    Some(u32::from_be_bytes(*part))
}

/// The dot in the key of an edit.
pub(crate) fn edit_dot(key: &[u8]) -> Option<Dot> {
    let (_, suffix) = key.split_last_chunk::<12>()?;
    let (hlc, author) = suffix.split_first_chunk::<8>()?;
    Some(Dot {
        author: u32::from_be_bytes(*author.first_chunk()?),
        hlc: Hlc::from_bits(u64::from_be_bytes(*hlc)),
    })
}

/// Writes the key of an entry in its context's trie into `out`.
pub(crate) fn trie_entry(out: &mut Vec<u8>, space: Space, key: &[u8]) {
    out.clear();
    out.push(space.number());
    out.extend_from_slice(key);
}

/// The space and the key of an entry, out of its key in the trie.
pub(crate) fn split_trie_entry(key: &[u8]) -> Option<(Space, &[u8])> {
    let (&space, key) = key.split_first()?;
    Some((Space::from_number(space)?, key))
}

/// The key of a delta that others may name as a parent.
pub(crate) fn dag_key(slot: ContextSlot, id: &DeltaId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&slot_key(slot));
    key[8..].copy_from_slice(id.as_bytes());
    key
}

/// The first bytes of the key of every seal of an author in a context, and the key of the
/// proof against it.
pub(crate) fn author_in_slot_key(slot: ContextSlot, author: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&slot_key(slot));
    key[8..].copy_from_slice(&author_key(author));
    key
}

/// The key of a seal.
pub(crate) fn seal_key(slot: ContextSlot, author: u32, hlc: Hlc) -> [u8; 20] {
    let mut key = [0; 20];
    key[..12].copy_from_slice(&author_in_slot_key(slot, author));
    key[12..].copy_from_slice(&hlc.bits().to_be_bytes());
    key
}

/// The author in the key of a seal or of a proof.
pub(crate) fn seal_author(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*key.get(8..)?.first_chunk()?))
}

/// The stamp in the key of a seal.
pub(crate) fn seal_stamp(key: &[u8]) -> Option<Hlc> {
    let stamp = key.get(12..)?.first_chunk()?;
    Some(Hlc::from_bits(u64::from_be_bytes(*stamp)))
}

/// Splits the key of a head, grave or event into slot and rest.
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
