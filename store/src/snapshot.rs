//! Reading a ledger: everything as it was at one moment. Each record is checked
//! when it is handed out. A snapshot is an LMDB read transaction: used by one
//! thread at a time, held briefly. Writing is in `apply/`.
//!
//! | file | holds |
//! |---|---|
//! | `snapshot/scan.rs` | entries in the order of their keys |
//! | `snapshot/sequences.rs` | lists and texts as their edits |
//! | `snapshot/agenda.rs` | what the server is to do for contexts by itself |
//! | `snapshot/attachments.rs` | which blobs contexts have attached |
//! | `snapshot/tries.rs` | Merkle tries, as sync and checks read them |
//! | `snapshot/history.rs` | deltas, events, answers, members |
//! | `snapshot/quarantined.rs` | contexts that are out of service |

mod agenda;
mod attachments;
mod history;
mod quarantined;
mod scan;
mod sequences;
mod tries;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use heed::{RoTxn, WithoutTls};

pub use self::agenda::{AgendaEntry, AgendaPage};
pub use self::scan::{Scan, ScannedEntry};
pub use self::sequences::{EditPlace, EditView, SequenceFacts};
pub use self::tries::{TrieChild, TrieEntry, TrieNode, TriePage};
use crate::authors::Authors;
use crate::change::ApplicationRecord;
use crate::entry::{EntryValue, Space};
use crate::error::StoreError;
use crate::ids::{ApplicationId, ContextId, ContextSlot, NodeId};
use crate::layout::{self, META_AUTHORS, META_JOURNAL, Table, Tables, slot_key};
use crate::quarantine::{self, Unwritten};
use crate::readers::{Reader, Readers};
use crate::record::{
    ContextRecord, Head, JournalRecord, RecordKind, id_key, open, read_author, read_entry,
    read_name,
};

/// A ledger at one moment.
pub struct Snapshot {
    // Dropped in this order: a snapshot counts until its place is free again.
    pub(crate) txn: RoTxn<'static, WithoutTls>,
    pub(crate) tables: Tables,
    unwritten: Unwritten,
    _reader: Reader,
}

/// An entry as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadEntry<'a> {
    /// What it is read as.
    pub value: EntryValue<'a>,
    /// What it is read as once it is removed by somebody who has seen all of it: a write-once
    /// value stays, also one that another kind hides.
    pub left_by_removal: Option<EntryValue<'a>>,
    /// How long its record is, all of which was checked. It may be much longer than the value.
    pub record_bytes: usize,
}

pub(crate) struct TableCounts {
    pub(crate) contexts: u64,
    pub(crate) entries: u64,
    pub(crate) edits: u64,
    pub(crate) packs: u64,
    pub(crate) deltas: u64,
    pub(crate) events: u64,
    pub(crate) answers: u64,
    pub(crate) graves: u64,
}

impl Snapshot {
    pub(crate) fn new(
        txn: RoTxn<'static, WithoutTls>,
        tables: Tables,
        readers: &Arc<Readers>,
        unwritten: Unwritten,
    ) -> Snapshot {
        let _reader = readers.enter(txn.id());
        Snapshot {
            txn,
            tables,
            unwritten,
            _reader,
        }
    }

    /// The context's record, if it exists on this shard.
    pub fn context(&self, id: &ContextId) -> Result<Option<ContextRecord>, StoreError> {
        let found = self.get_raw(self.tables.contexts, id.as_bytes())?;
        found
            .map(|bytes| ContextRecord::read(id.as_bytes(), bytes))
            .transpose()
    }

    /// Up to `limit` contexts in the order of their ids, behind `after`. A damaged record fails it.
    pub fn contexts(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<ContextRecord>, StoreError> {
        let found = self.contexts_found(after, limit)?.into_iter();
        found.map(|(_, record)| record).collect()
    }

    /// The same, each with its record or with what is wrong with that: for those to whom one
    /// context is no reason to do without its neighbours.
    #[expect(
        clippy::type_complexity,
        reason = "a list of keys and what they led to"
    )]
    pub fn contexts_found(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<(ContextId, Result<ContextRecord, StoreError>)>, StoreError> {
        let after = after.as_ref().map(|id| &id.as_bytes()[..]);
        self.list(self.tables.contexts, after, limit, |key, bytes| {
            let id = ContextId::from_bytes(id_key(key, RecordKind::Context)?);
            Ok((id, ContextRecord::read(key, bytes)))
        })
    }

    /// The slot of a context that exists, if anything that can be read says so: its record, what
    /// is written of its being out of service, or its head. Looks through all heads if its
    /// record is damaged.
    pub fn slot_of(&self, id: &ContextId) -> Result<Option<ContextSlot>, StoreError> {
        match self.context(id) {
            Ok(record) => return Ok(record.map(|record| record.slot)),
            Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        quarantine::slot_by_others(self.tables, &self.txn, id).map_err(unreadable)
    }

    /// How many contexts there are.
    pub fn context_count(&self) -> Result<u64, StoreError> {
        self.tables.contexts.len(&self.txn).map_err(unreadable)
    }

    /// Where the context in `slot` stands. Fails if there is none.
    pub fn head(&self, slot: ContextSlot) -> Result<Head, StoreError> {
        let key = slot_key(slot);
        let found = self.get_raw(self.tables.heads, &key)?;
        Head::read(
            &key,
            found.ok_or_else(|| StoreError::corrupt("head record", &key, "it is missing"))?,
        )
    }

    /// The value under `key`.
    pub fn get(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
    ) -> Result<Option<EntryValue<'_>>, StoreError> {
        Ok(self.read(slot, space, key)?.map(|read| read.value))
    }

    /// The entry under `key`, with what more there is to it than its value.
    pub fn read(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
    ) -> Result<Option<ReadEntry<'_>>, StoreError> {
        if key.len() > layout::KEY_BYTES_MAX {
            return Ok(None); // LMDB takes a key that it cannot hold for a mistake
        }
        // On the stack, because reads are the commonest thing there is.
        let mut buffer = [0; layout::LMDB_KEY_BYTES_MAX];
        let full = &mut buffer[..size_of::<u64>() + key.len()];
        full[..8].copy_from_slice(&layout::space_key(slot, space));
        full[8..].copy_from_slice(key);
        let found = self.get_raw(self.tables.entries, full)?;
        found.map(|bytes| self.read_record(full, bytes)).transpose()
    }

    fn read_record<'s>(
        &'s self,
        key: &[u8],
        record: &'s [u8],
    ) -> Result<ReadEntry<'s>, StoreError> {
        let stored = read_entry(key, record)?;
        // An author that cannot be read is the least of all.
        let author = |number| self.author(number).ok().flatten();
        Ok(ReadEntry {
            value: stored.value(author),
            left_by_removal: stored.left_by_removal(),
            record_bytes: record.len(),
        })
    }

    /// The value of the register under `key` of the shared space; none if there is
    /// another kind of entry.
    pub fn register(&self, slot: ContextSlot, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        Ok(match self.get(slot, Space::Shared, key)? {
            Some(EntryValue::Register(value)) => Some(value),
            Some(_) | None => None,
        })
    }

    /// Shows records of a table behind `after` to `visit`, until it breaks.
    pub(crate) fn each_after(
        &self,
        table: impl FnOnce(&Tables) -> Table,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Unbounded,
        };
        let rows = table(&self.tables).range(&self.txn, &(start, Bound::Unbounded));
        for row in rows.map_err(unreadable)? {
            let (key, bytes) = row.map_err(unreadable)?;
            if visit(key, bytes)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Every author.
    pub(crate) fn authors(&self) -> Result<Authors, StoreError> {
        let record = self.get_raw(self.tables.meta, META_AUTHORS)?;
        let mut authors = Authors::begin(record)?;
        self.each(
            |tables| tables.authors,
            |key, bytes| authors.read(key, bytes),
        )?;
        authors.end()
    }

    /// The generation of the journal that follows what is shown here.
    pub(crate) fn generation(&self) -> Result<u64, StoreError> {
        let missing =
            || StoreError::corrupt("record of the journal", META_JOURNAL, "it is missing");
        let record = self.get_raw(self.tables.meta, META_JOURNAL)?;
        let record = open::<JournalRecord>(META_JOURNAL, record.ok_or_else(missing)?)?;
        Ok(record.generation.to_native())
    }

    /// The author with this number.
    pub(crate) fn author(&self, number: u32) -> Result<Option<NodeId>, StoreError> {
        let key = layout::author_key(number);
        let found = self.get_raw(self.tables.authors, &key)?;
        found.map(|bytes| read_author(&key, bytes)).transpose()
    }

    /// Every application, in the order of ids.
    pub fn applications(&self) -> Result<Vec<ApplicationRecord>, StoreError> {
        self.list(
            self.tables.applications,
            None,
            usize::MAX,
            ApplicationRecord::read,
        )
    }

    /// One application.
    pub fn application(&self, id: &ApplicationId) -> Result<Option<ApplicationRecord>, StoreError> {
        let found = self.get_raw(self.tables.applications, id.as_bytes())?;
        found
            .map(|bytes| ApplicationRecord::read(id.as_bytes(), bytes))
            .transpose()
    }

    /// Up to `limit` names that this ledger keeps, in the order of their bytes, behind `after`: the
    /// bytes, and the name with its context or what is wrong with their record.
    #[expect(
        clippy::type_complexity,
        reason = "a list of keys and what they led to"
    )]
    pub fn names(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Result<(String, ContextId), StoreError>)>, StoreError> {
        self.list(self.tables.names, after, limit, |key, bytes| {
            let not_text = |_| StoreError::corrupt("name record", key, "its key is not UTF-8");
            let name = std::str::from_utf8(key).map_err(not_text);
            let found = name.and_then(|name| Ok((name.to_owned(), read_name(key, bytes)?)));
            Ok((key.to_vec(), found))
        })
    }

    /// The context that has this name, if this ledger keeps it.
    pub fn name(&self, name: &str) -> Result<Option<ContextId>, StoreError> {
        if !(1..=layout::NAME_BYTES_MAX).contains(&name.len()) {
            return Ok(None);
        }
        let found = self.get_raw(self.tables.names, name.as_bytes())?;
        found
            .map(|bytes| read_name(name.as_bytes(), bytes))
            .transpose()
    }

    /// The position of the newest delta of the log; 0 if it is empty.
    pub(crate) fn newest_position(&self) -> Result<u64, StoreError> {
        let last = self.tables.log.last(&self.txn).map_err(unreadable)?;
        let Some((key, _)) = last else { return Ok(0) };
        layout::read_u64(key)
            .ok_or_else(|| StoreError::corrupt("log record", key, "its key is not 8 bytes long"))
    }

    /// Pages that all tables have.
    pub(crate) fn pages(&self) -> Result<u64, StoreError> {
        self.tables.pages(&self.txn).map_err(unreadable)
    }

    pub(crate) fn table_counts(&self) -> Result<TableCounts, StoreError> {
        let count = |table: Table| table.len(&self.txn).map_err(unreadable);
        Ok(TableCounts {
            contexts: count(self.tables.contexts)?,
            entries: count(self.tables.entries)?,
            edits: count(self.tables.edits)?,
            packs: count(self.tables.packs)?,
            deltas: count(self.tables.log)?,
            events: count(self.tables.events)?,
            answers: count(self.tables.answers)?,
            graves: count(self.tables.graves)?,
        })
    }

    /// Shows every record of a table to `visit`.
    pub(crate) fn each(
        &self,
        table: impl FnOnce(&Tables) -> Table,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for row in table(&self.tables).iter(&self.txn).map_err(unreadable)? {
            let (key, bytes) = row.map_err(unreadable)?;
            visit(key, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn saved_record(&self, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        self.get_raw(self.tables.saved, key)
    }

    /// Shows every record of a table whose key begins with `prefix` to `visit`.
    pub(crate) fn each_below<E: From<StoreError>>(
        &self,
        table: impl FnOnce(&Tables) -> Table,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let table = table(&self.tables);
        let mut show = |row: heed::Result<(&[u8], &[u8])>| {
            let (key, bytes) = row.map_err(unreadable)?;
            visit(key, bytes)
        };
        // LMDB has no empty keys, and looks for none.
        if prefix.is_empty() {
            let mut rows = table.iter(&self.txn).map_err(unreadable)?;
            return rows.try_for_each(&mut show);
        }
        let mut rows = table.prefix_iter(&self.txn, prefix).map_err(unreadable)?;
        rows.try_for_each(show)
    }

    /// Shows every record of a table whose key begins with a context's slot to `visit`.
    pub(crate) fn each_of(
        &self,
        table: impl FnOnce(&Tables) -> Table,
        slot: ContextSlot,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let rows = table(&self.tables).prefix_iter(&self.txn, &slot_key(slot));
        for row in rows.map_err(unreadable)? {
            let (key, bytes) = row.map_err(unreadable)?;
            visit(key, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn get_raw(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        table.get(&self.txn, key).map_err(unreadable)
    }

    fn list<T>(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let start = match after {
            // LMDB has no empty keys, and nothing lies before an empty name.
            Some([]) | None => Bound::Unbounded,
            Some(key) => Bound::Excluded(key),
        };
        let range: (Bound<&[u8]>, Bound<&[u8]>) = (start, Bound::Unbounded);
        let rows = table.range(&self.txn, &range).map_err(unreadable)?;
        rows.take(limit)
            .map(|row| {
                row.map_err(unreadable)
                    .and_then(|(key, bytes)| read(key, bytes))
            })
            .collect()
    }
}

/// The names of authors by number, each looked up once.
struct Names<'s> {
    snapshot: &'s Snapshot,
    known: RefCell<HashMap<u32, NodeId>>,
}

impl<'s> Names<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let known = RefCell::default();
        Names { snapshot, known }
    }

    fn get(&self, number: u32) -> Result<NodeId, StoreError> {
        if let Some(name) = self.known.borrow().get(&number) {
            return Ok(*name);
        }
        let unknown = || {
            let key = layout::author_key(number);
            StoreError::corrupt(
                "author record",
                &key,
                "an entry or edit names it, and it is missing",
            )
        };
        let name = self.snapshot.author(number)?.ok_or_else(unknown)?;
        self.known.borrow_mut().insert(number, name);
        Ok(name)
    }
}

/// An engine error while reading.
pub(crate) fn unreadable(error: heed::Error) -> StoreError {
    use heed::MdbError;
    match error {
        heed::Error::Io(source) => StoreError::Io {
            doing: "reading",
            source,
        },
        heed::Error::Mdb(MdbError::Panic) => StoreError::Stopped,
        other => StoreError::Corrupt {
            what: "page of the ledger",
            key: other.to_string(),
            why: "the engine found its tree damaged",
        },
    }
}
