//! Reading a ledger: everything as it was at one moment. Each record is checked
//! when it is handed out. A snapshot is an LMDB read transaction: used by one
//! thread at a time, held briefly. Writing is in `apply/`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};

use heed::types::{Bytes, DecodeIgnore};
use heed::{RoTxn, WithoutTls};

use crate::answer::{ANSWER_AROUND_BYTES, AnswerKey, KeptAnswer};
use crate::attachment::{self, AttachedCheck, AttachedSum};
use crate::authors::Authors;
use crate::change::{ApplicationRecord, Birth, Births};
use crate::delta::DeltaView;
use crate::edits::{self, Alive, EditError};
use crate::entry::{EntryDigest, EntryKind, EntryValue, SequenceState, Space, Stored, append};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, BlobId, ContextId, ContextSlot, DeltaId, NodeId};
use crate::layout::{self, Table, Tables, event_key, position_key, slot_key};
use crate::members::{Ack, Member};
use crate::quarantine::{self, Quarantined};
use crate::record::{
    ContextRecord, DagNode, EventView, Head, LogRow, RecordKind, id_key, open, read_answer_bytes,
    read_author, read_edit, read_edit_seen, read_entry, read_name,
};
use crate::sequence::Allowance;
use crate::trie::{self, EntryPath, NodePath, StoredNode};
use crate::trie_table::{TrieTable, unreadable_trie};
use crate::version::{Dot, VersionVector};

/// A ledger at one moment.
pub struct Snapshot {
    pub(crate) txn: RoTxn<'static, WithoutTls>,
    pub(crate) tables: Tables,
}

/// What there is of a list or text, beside its edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceFacts {
    /// What an edit of it builds on.
    pub births: Births,
    /// How many edits it has.
    pub edits: u64,
    /// Bytes of all edits.
    pub bytes: u64,
}

/// An edit of a list or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditView<'a> {
    /// Who made it.
    pub author: NodeId,
    /// When.
    pub hlc: Hlc,
    /// The edit, as the delta has it.
    pub update: &'a [u8],
    /// Up to which stamp its delta had seen each other author of the sequence; an author
    /// of whom it had seen nothing is not among them. In ascending order of authors.
    pub seen: &'a [(NodeId, Hlc)],
    /// Where it is among the others.
    pub place: EditPlace,
}

/// A place in the order in which the edits of a list or text are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditPlace(pub(crate) Dot);

impl EditPlace {
    /// Behind all edits of deltas with this stamp.
    pub fn behind(hlc: Hlc) -> EditPlace {
        EditPlace(Dot {
            hlc,
            author: u32::MAX,
        })
    }
}

/// A node of a context's Merkle trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrieNode {
    /// It has more than 16 entries below it: its children, in ascending order.
    Inner(Vec<TrieChild>),
    /// All entries below it.
    Bucket(Vec<TrieEntry>),
}

/// A child of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrieChild {
    /// Which of 16.
    pub nibble: u8,
    /// The digest of everything below it.
    pub digest: [u8; 32],
    /// How many entries there are below it. No digest covers this number.
    pub entries: u64,
}

/// An entry as the trie has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieEntry {
    /// Its space.
    pub space: Space,
    /// Its key.
    pub key: Vec<u8>,
    /// The digest of key and state.
    pub digest: [u8; 32],
}

impl TrieEntry {
    fn of(key: &[u8], digest: [u8; 32]) -> Option<TrieEntry> {
        let (space, key) = layout::split_trie_entry(key)?;
        Some(TrieEntry {
            space,
            key: key.to_vec(),
            digest,
        })
    }
}

/// Some entries below a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriePage {
    /// In the order of their hashes.
    pub entries: Vec<TrieEntry>,
    /// Behind which hash to go on; `None` if there are no more.
    pub next: Option<[u8; 32]>,
}

/// Where in its context a scan goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan<'a> {
    /// In which space.
    pub space: Space,
    /// Only keys that begin with this.
    pub prefix: &'a [u8],
    /// Only keys behind this one, in the direction of the scan. It need not
    /// exist, nor begin with the prefix.
    pub after: Option<&'a [u8]>,
    /// At most this many.
    pub limit: usize,
    /// From the largest key to the smallest.
    pub reverse: bool,
}

/// What was compared of a node of a trie.
#[derive(Default)]
pub(crate) struct CheckedNode {
    /// Nodes, or entries and their bytes.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The entry to go on with; none if that was the last.
    pub(crate) next: Option<usize>,
}

pub(crate) struct TableCounts {
    pub(crate) contexts: u64,
    pub(crate) entries: u64,
    pub(crate) edits: u64,
    pub(crate) deltas: u64,
    pub(crate) events: u64,
    pub(crate) answers: u64,
    pub(crate) graves: u64,
}

/// An entry that a scan has come to. Its value, which may be large, is only read
/// and checked when it is asked for.
#[derive(Clone, Copy)]
pub struct ScannedEntry<'a> {
    snapshot: &'a Snapshot,
    key: &'a [u8],
    record: &'a [u8],
}

impl<'a> ScannedEntry<'a> {
    /// The entry's key.
    pub fn key(&self) -> &'a [u8] {
        let (_, _, key) =
            layout::split_entry(self.key).expect("the scan's range begins with space and slot");
        key
    }

    /// The entry's value.
    pub fn value(&self) -> Result<EntryValue<'a>, StoreError> {
        self.snapshot.value_of(self.key, self.record)
    }
}

impl Snapshot {
    pub(crate) fn new(txn: RoTxn<'static, WithoutTls>, tables: Tables) -> Snapshot {
        Snapshot { txn, tables }
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
        if key.len() > layout::KEY_BYTES_MAX {
            return Ok(None); // LMDB takes a key that it cannot hold for a mistake
        }
        // On the stack, because reads are the commonest thing there is.
        let mut buffer = [0; layout::LMDB_KEY_BYTES_MAX];
        let full = &mut buffer[..size_of::<u64>() + key.len()];
        full[..8].copy_from_slice(&layout::space_key(slot, space));
        full[8..].copy_from_slice(key);
        let found = self.get_raw(self.tables.entries, full)?;
        found.map(|bytes| self.value_of(full, bytes)).transpose()
    }

    /// The value of the register under `key` of the shared space; none if there is
    /// another kind of entry.
    pub fn register(&self, slot: ContextSlot, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        Ok(match self.get(slot, Space::Shared, key)? {
            Some(EntryValue::Register(value)) => Some(value),
            Some(_) | None => None,
        })
    }

    fn value_of<'s>(&'s self, key: &[u8], record: &'s [u8]) -> Result<EntryValue<'s>, StoreError> {
        // An author that cannot be read is the least of all.
        let author = |number| self.author(number).ok().flatten();
        Ok(read_entry(key, record)?.value(author))
    }

    /// What there is of the list or text under `key`; none if the entry has none.
    pub fn sequence(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<SequenceFacts>, StoreError> {
        let Some(sequence) = self.sequence_state(slot, space, key, kind)? else {
            return Ok(None);
        };
        let names = Names::of(self);
        let mut births = Vec::with_capacity(sequence.births.len());
        for dot in &sequence.births {
            births.push(Birth {
                author: names.get(dot.author)?,
                hlc: dot.hlc,
            });
        }
        Ok(Some(SequenceFacts {
            births: births.into_iter().collect(),
            edits: sequence.chains.iter().map(|chain| chain.edits).sum(),
            bytes: sequence.bytes,
        }))
    }

    /// Shows the edits of the list or text under `key` to `visit`, each behind those that
    /// it builds on, until it breaks.
    pub fn edits(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let all = Allowance::unbounded();
        self.walk_edits(slot, space, key, kind, None, &all, visit)
            .map(drop)
    }

    /// The same, of those behind a place.
    pub fn edits_behind(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        place: EditPlace,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let all = Allowance::unbounded();
        self.walk_edits(slot, space, key, kind, Some(place), &all, visit)
            .map(drop)
    }

    /// The same as far as `allowance` goes, at least one row: what is read counts as well, also
    /// what a removal has left. The place to go on from; none if there are no more.
    #[expect(
        clippy::too_many_arguments,
        reason = "four of them are the list's place"
    )]
    pub fn walk_edits(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        behind: Option<EditPlace>,
        allowance: &Allowance,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<Option<EditPlace>, StoreError> {
        let Some(births) = self.births(slot, space, key, kind)? else {
            return Ok(None);
        };
        let names = Names::of(self);
        let alive = Alive::of(&births, |number| names.get(number).map(Some))?;
        let unread = |error| match error {
            EditError::Engine(error) => unreadable(error),
            EditError::Damaged(error) => error,
        };
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, slot, space, key, kind);
        let mut start = Vec::new();
        if let Some(EditPlace(dot)) = behind {
            start.extend_from_slice(&prefix);
            start.extend_from_slice(&layout::edit_suffix(dot));
        }
        let mut seen = Vec::new();
        for edit in edits::read(self.tables.edits, &self.txn, &prefix, &start).map_err(unread)? {
            let edit = edit.map_err(unread)?;
            let place = EditPlace(edit.dot);
            seen.clear();
            let mut shown = ControlFlow::Continue(());
            if alive.needs(&edit) {
                let found = self.edit_seen(edit.key)?;
                if found.is_none() && edit.has_seen {
                    return Err(edits::seen_is_missing(edit.key));
                }
                if let Some(found) = found {
                    for (number, hlc) in found.pairs() {
                        seen.push((names.get(*number)?, *hlc));
                    }
                    seen.sort_unstable();
                }
                shown = visit(EditView {
                    author: names.get(edit.dot.author)?,
                    hlc: edit.dot.hlc,
                    update: edit.update(),
                    seen: &seen,
                    place,
                });
            }
            allowance.row(edit.stored_bytes, seen.len());
            if shown.is_break() || allowance.is_used_up() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The births of the list or text under `key`; none if the entry has none.
    fn births(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<Vec<Dot>>, StoreError> {
        Ok(self
            .sequence_state(slot, space, key, kind)?
            .map(|state| state.births))
    }

    fn sequence_state(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<SequenceState>, StoreError> {
        if key.len() > layout::KEY_BYTES_MAX {
            return Ok(None);
        }
        let mut full = Vec::new();
        layout::entry_key(&mut full, slot, space, key);
        let Some(bytes) = self.get_raw(self.tables.entries, &full)? else {
            return Ok(None);
        };
        let Stored::Sections(state) = read_entry(&full, bytes)? else {
            return Ok(None);
        };
        let sequence = match kind {
            EntryKind::List => state.list,
            EntryKind::Text => state.text,
            _ => return Ok(None),
        };
        Ok((!sequence.is_empty()).then_some(sequence))
    }

    /// What the edit under a key had seen of the other authors of its sequence, if anything.
    pub(crate) fn edit_seen(&self, key: &[u8]) -> Result<Option<VersionVector>, StoreError> {
        let found = self.get_raw(self.tables.edits_seen, key)?;
        found.map(|bytes| read_edit_seen(key, bytes)).transpose()
    }

    /// That every record of what an edit had seen is of an edit.
    pub(crate) fn check_edits_seen(&self) -> Result<(), StoreError> {
        let names = Names::of(self);
        self.each(
            |tables| tables.edits_seen,
            |key, bytes| {
                for (number, _) in read_edit_seen(key, bytes)?.pairs() {
                    names.get(*number)?;
                }
                match self.get_raw(self.tables.edits, key)? {
                    Some(_) => Ok(()),
                    None => {
                        let what = "record of what an edit had seen";
                        Err(StoreError::corrupt(what, key, "the edit is missing"))
                    }
                }
            },
        )
    }

    /// The node of a context's Merkle trie to which these nibbles lead. `None` if there is
    /// none: then there are no entries there, or a node above lists them.
    pub fn trie_node(
        &self,
        slot: ContextSlot,
        nibbles: &[u8],
    ) -> Result<Option<TrieNode>, StoreError> {
        let Some(path) = NodePath::from_key(nibbles) else {
            return Ok(None);
        };
        let node = trie::children(&self.trie_table(slot), &path)
            .map_err(|error| unreadable_trie(slot, error))?
            .map(|node| match node {
                StoredNode::Inner(children) => {
                    let child = |(nibble, digest, entries): (usize, &[u8; 32], u64)| TrieChild {
                        nibble: nibble as u8,
                        digest: *digest,
                        entries,
                    };
                    TrieNode::Inner(children.iter().map(child).collect())
                }
                StoredNode::Bucket(bucket) => {
                    let entries = bucket.entries();
                    TrieNode::Bucket(
                        entries
                            .filter_map(|(key, digest)| TrieEntry::of(key, *digest))
                            .collect(),
                    )
                }
            });
        Ok(node)
    }

    /// Up to `limit` (at least 1) entries below the place to which these nibbles lead, behind a cursor
    /// that an earlier page gave, in the order of their hashes.
    pub fn trie_entries(
        &self,
        slot: ContextSlot,
        nibbles: &[u8],
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<TriePage, StoreError> {
        let Some(path) = NodePath::from_key(nibbles) else {
            return Ok(TriePage::default());
        };
        let context = self.head(slot)?.context;
        let after = after.map(EntryPath::from_bytes);
        let source = self.trie_table(slot);
        let page = trie::entries_below(&source, context.as_bytes(), &path, after.as_ref(), limit)
            .map_err(|error| unreadable_trie(slot, error))?;
        let entries = page.entries.into_iter();
        Ok(TriePage {
            entries: entries
                .filter_map(|(key, digest)| TrieEntry::of(&key, digest))
                .collect(),
            next: page.next.map(|path| *path.as_bytes()),
        })
    }

    /// Compares what an entry says of its list and text with their edits.
    pub(crate) fn check_edits(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        entry: &Stored<'_>,
    ) -> Result<(), StoreError> {
        let Stored::Sections(state) = entry else {
            return Ok(());
        };
        let sequences = [
            (EntryKind::List, &state.list),
            (EntryKind::Text, &state.text),
        ];
        for (kind, expected) in sequences {
            if expected.is_empty() {
                continue;
            }
            let mut found = SequenceState {
                births: expected.births.clone(),
                ..SequenceState::default()
            };
            self.edits(slot, space, key, kind, &mut |edit| {
                append(&mut found, edit.place.0, edit.update);
                ControlFlow::Continue(())
            })?;
            if found != *expected {
                let mut full = Vec::new();
                layout::entry_key(&mut full, slot, space, key);
                let why = "its edits are not the ones that it says";
                return Err(StoreError::corrupt("entry", &full, why));
            }
        }
        Ok(())
    }

    /// Whether the context's trie has the root that its head says, as far as one
    /// look can tell. What lies below is checked where it is used.
    pub fn check_root(&self, slot: ContextSlot, head: &Head) -> Result<(), StoreError> {
        let (source, root) = (self.trie_table(slot), head.root);
        trie::check_root(&source, root.as_bytes(), head.replicated)
            .map_err(|error| unreadable_trie(slot, error))
    }

    /// Whether what lies right below one node of a trie is what it says. Of a bucket only
    /// entries from the `from`th on are compared, until they have had `bytes_max` bytes; at
    /// least one is.
    pub(crate) fn check_trie_node(
        &self,
        slot: ContextSlot,
        context: ContextId,
        path: &NodePath,
        authors: &Authors,
        from: usize,
        bytes_max: u64,
    ) -> Result<CheckedNode, StoreError> {
        let table = self.trie_table(slot);
        let unreadable = |error| unreadable_trie(slot, error);
        let listed: Vec<[u8; 32]> = match trie::children(&table, path).map_err(unreadable)? {
            Some(StoredNode::Bucket(bucket)) => {
                bucket.entries().map(|(_, digest)| *digest).collect()
            }
            Some(StoredNode::Inner(_)) | None => Vec::new(),
        };
        let mut digests = EntryDigest::default();
        let mut checked = CheckedNode::default();
        let mut at = 0;
        let below = trie::check_node(&table, context.as_bytes(), path, &mut |key| {
            let number = at;
            at += 1;
            if number < from || checked.next.is_some() {
                // As if it were right: it was compared, or will be.
                return Ok(listed.get(number).copied());
            }
            if checked.bytes >= bytes_max && number > from {
                checked.next = Some(number);
                return Ok(listed.get(number).copied());
            }
            checked.rows += 1;
            let (digest, bytes) = self.entry_digest(slot, key, &mut digests, authors)?;
            checked.bytes += bytes;
            Ok(digest)
        })
        .map_err(unreadable)?;
        if listed.is_empty() {
            checked.rows = below;
        }
        Ok(checked)
    }

    /// Compares a context's trie with its entries, and gives how many nodes it has.
    pub(crate) fn check_trie(
        &self,
        head: &Head,
        slot: ContextSlot,
        authors: &Authors,
    ) -> Result<u64, StoreError> {
        let mut digests = EntryDigest::default();
        let mut digest_of = |key: &[u8]| {
            let (digest, _) = self.entry_digest(slot, key, &mut digests, authors)?;
            Ok(digest)
        };
        let checked = trie::check(
            &self.trie_table(slot),
            head.context.as_bytes(),
            head.root.as_bytes(),
            head.replicated,
            &mut digest_of,
        )
        .map_err(|error| unreadable_trie(slot, error))?;
        match checked.entries == head.replicated {
            true => Ok(checked.nodes),
            false => Err(StoreError::corrupt(
                "trie",
                &slot_key(slot),
                "it has not as many entries as its head counts",
            )),
        }
    }

    /// The digest of the entry that a bucket lists under this key, if it exists, and how many
    /// bytes were read for it.
    fn entry_digest(
        &self,
        slot: ContextSlot,
        key: &[u8],
        digests: &mut EntryDigest,
        authors: &Authors,
    ) -> Result<(Option<[u8; 32]>, u64), StoreError> {
        let corrupt = |why| StoreError::corrupt("node of a trie", key, why);
        let (space, key) = layout::split_trie_entry(key)
            .ok_or_else(|| corrupt("it lists a key of an unknown space"))?;
        let mut full = Vec::new();
        layout::entry_key(&mut full, slot, space, key);
        let Some(bytes) = self.get_raw(self.tables.entries, &full)? else {
            return Ok((None, 0));
        };
        let digest = digests.of(space, key, &read_entry(&full, bytes)?, authors);
        let unknown = |_| StoreError::corrupt("entry", &full, "its author is unknown");
        Ok((Some(digest.map_err(unknown)?), bytes.len() as u64))
    }

    /// Whether a context is in the slot, in service or not, or a grave.
    pub(crate) fn is_used(&self, slot: ContextSlot) -> Result<bool, StoreError> {
        let found = self.tables.is_used(&self.txn, slot, None);
        found.map_err(unreadable)
    }

    /// Whether the context has the attachment of which a row of the table `attached` tells.
    pub(crate) fn check_attached(&self, key: &[u8]) -> Result<(), StoreError> {
        let missing = || {
            let why = "its context has no such entry";
            StoreError::corrupt("record of an attachment", key, why)
        };
        let entry = attachment::entry_of_row(key).ok_or_else(missing)?;
        let found = self.get_raw(self.tables.entries, &entry)?;
        found.map(drop).ok_or_else(missing)
    }

    /// Whether what an edit had seen is there, if it says so. Tells whether it does.
    pub(crate) fn check_edit(&self, key: &[u8], bytes: &[u8]) -> Result<bool, StoreError> {
        let (_, has_seen) = read_edit(key, bytes)?;
        if has_seen && self.get_raw(self.tables.edits_seen, key)?.is_none() {
            return Err(edits::seen_is_missing(key));
        }
        Ok(has_seen)
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

    fn trie_table(&self, slot: ContextSlot) -> TrieTable<'_> {
        TrieTable {
            table: self.tables.trie,
            txn: &self.txn,
            slot,
            failed: &unreadable,
        }
    }

    /// Every author.
    pub(crate) fn authors(&self) -> Result<Authors, StoreError> {
        let mut authors = Authors::default();
        self.each(
            |tables| tables.authors,
            |key, bytes| authors.read(key, bytes),
        )?;
        Ok(authors)
    }

    /// The author with this number.
    pub(crate) fn author(&self, number: u32) -> Result<Option<NodeId>, StoreError> {
        let key = layout::author_key(number);
        let found = self.get_raw(self.tables.authors, &key)?;
        found.map(|bytes| read_author(&key, bytes)).transpose()
    }

    /// Shows entries to `visit` in key order until it breaks or fails.
    pub fn scan(
        &self,
        slot: ContextSlot,
        scan: Scan<'_>,
        visit: &mut dyn FnMut(ScannedEntry<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut show = |key, record| {
            visit(ScannedEntry {
                snapshot: self,
                key,
                record,
            })
        };
        let Some(range) = scan_range(slot, &scan) else {
            return Ok(());
        };
        let range = (as_slice(&range.0), as_slice(&range.1));
        let table = self.tables.entries;
        if scan.reverse {
            for row in table
                .rev_range(&self.txn, &range)
                .map_err(unreadable)?
                .take(scan.limit)
            {
                let (key, bytes) = row.map_err(unreadable)?;
                if show(key, bytes)?.is_break() {
                    break;
                }
            }
        } else {
            for row in table
                .range(&self.txn, &range)
                .map_err(unreadable)?
                .take(scan.limit)
            {
                let (key, bytes) = row.map_err(unreadable)?;
                if show(key, bytes)?.is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// How many keys of the shared space begin with `prefix`. With an empty prefix the answer is at
    /// hand; otherwise every such key is visited.
    pub fn count(&self, slot: ContextSlot, prefix: &[u8]) -> Result<u64, StoreError> {
        if prefix.is_empty() {
            return Ok(self.head(slot)?.entries);
        }
        self.count_up_to(slot, prefix, u64::MAX)
    }

    /// The same, but stops at `max`, so that the work is bounded.
    pub fn count_up_to(
        &self,
        slot: ContextSlot,
        prefix: &[u8],
        max: u64,
    ) -> Result<u64, StoreError> {
        let Some(range) = scan_range(
            slot,
            &Scan {
                prefix,
                ..Scan::default()
            },
        ) else {
            return Ok(0);
        };
        let keys = self.tables.entries.remap_types::<Bytes, DecodeIgnore>();
        let range = (as_slice(&range.0), as_slice(&range.1));
        let mut count = 0;
        for row in keys.range(&self.txn, &range).map_err(unreadable)? {
            if count == max {
                break;
            }
            row.map_err(unreadable)?;
            count += 1;
        }
        Ok(count)
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

    /// The context in `slot`, if anything that can be read says so. Looks through all
    /// contexts if its head is damaged, but not through more than `contexts_max`.
    pub fn context_in(
        &self,
        slot: ContextSlot,
        contexts_max: usize,
    ) -> Result<Option<ContextId>, StoreError> {
        match self.head(slot) {
            Ok(head) => return Ok(Some(head.context)),
            Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut found = None;
        let mut left = contexts_max;
        self.each_after(
            |tables| tables.contexts,
            None,
            |key, bytes| {
                left = left.saturating_sub(1);
                found = ContextRecord::read(key, bytes)
                    .ok()
                    .filter(|context| context.slot == slot)
                    .map(|context| context.id);
                Ok(match found.is_some() || left == 0 {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            },
        )?;
        Ok(found)
    }

    /// Why the context in `slot` is out of service; none if it is not.
    pub fn quarantined(&self, slot: ContextSlot) -> Result<Option<Quarantined>, StoreError> {
        let key = slot_key(slot);
        let found = self.get_raw(self.tables.quarantine, &key)?;
        match found.map(|bytes| Quarantined::read(&key, bytes)) {
            Some(read) => read,
            None => Ok(None),
        }
    }

    /// Where a context is that is out of service, or calls lie that were put aside, if there
    /// is any: what such calls refer to is in no table.
    pub fn any_quarantined(&self) -> Result<Option<ContextSlot>, StoreError> {
        let first = self.tables.quarantine.first(&self.txn);
        let Some((key, _)) = first.map_err(unreadable)? else {
            return Ok(None);
        };
        let cut_off = || StoreError::corrupt("record of a quarantine", key, "its key is cut off");
        let (slot, _) = layout::split_slot(key).ok_or_else(cut_off)?;
        Ok(Some(slot))
    }

    /// Every context that is out of service. One of which the record of that is damaged still is;
    /// which it is, its head says, or its own record.
    pub fn all_quarantined(&self) -> Result<Vec<Quarantined>, StoreError> {
        let mut all = Vec::new();
        self.each(
            |tables| tables.quarantine,
            |key, bytes| {
                let damage = match Quarantined::read(key, bytes) {
                    Ok(found) => {
                        all.extend(found);
                        return Ok(());
                    }
                    Err(damage) => damage,
                };
                let Some((slot, _)) = layout::split_slot(key) else {
                    return Ok(());
                };
                if let Some(context) = self.context_in(slot, usize::MAX)? {
                    let why = damage.to_string();
                    all.push(Quarantined {
                        context,
                        slot,
                        why,
                        aside: 0,
                    });
                }
                Ok(())
            },
        )?;
        Ok(all)
    }

    /// The nodes that have the context beside this one, as far as that was said.
    pub fn members(&self, slot: ContextSlot) -> Result<Vec<Member>, StoreError> {
        let prefix = slot_key(slot);
        let rows = self.tables.acks.prefix_iter(&self.txn, &prefix);
        let mut members = Vec::new();
        for row in rows.map_err(unreadable)? {
            let (key, bytes) = row.map_err(unreadable)?;
            if key.len() > prefix.len() {
                let ack = Ack::read(key, bytes)?;
                members.push(Member {
                    node: ack.node,
                    seen: self.stamps(&ack.seen)?,
                    since: ack.since,
                    is_away: ack.is_away,
                });
            }
        }
        Ok(members)
    }

    /// Every author's newest delta that was applied: what this node acknowledges.
    pub fn applied(&self, head: &Head) -> Result<Vec<(NodeId, Hlc)>, StoreError> {
        self.stamps(&head.seen)
    }

    fn stamps(&self, seen: &VersionVector) -> Result<Vec<(NodeId, Hlc)>, StoreError> {
        let stamp = |&(number, hlc): &(u32, Hlc)| {
            let key = layout::author_key(number);
            let unknown = || StoreError::corrupt("author record", &key, "it is missing");
            Ok((self.author(number)?.ok_or_else(unknown)?, hlc))
        };
        seen.pairs().iter().map(stamp).collect()
    }

    /// Shows up to `limit` events of a context to `visit`, from sequence number
    /// `from` on, until it breaks.
    pub fn events(
        &self,
        slot: ContextSlot,
        from: u64,
        limit: usize,
        visit: &mut dyn FnMut(EventView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (first, last) = (event_key(slot, from), event_key(slot, u64::MAX));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        for row in self
            .tables
            .events
            .range(&self.txn, &range)
            .map_err(unreadable)?
            .take(limit)
        {
            let (key, bytes) = row.map_err(unreadable)?;
            if visit(EventView::read(key, bytes)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The answer that is kept under a key, however old it is.
    pub fn kept_answer(
        &self,
        slot: ContextSlot,
        key: &AnswerKey,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let full = layout::answer_key(slot, key);
        let found = self.get_raw(self.tables.answers, &full)?;
        found
            .map(|bytes| KeptAnswer::read(&full, bytes))
            .transpose()
    }

    /// Compares an answer with what is said of it by age, and gives what it counts for.
    pub(crate) fn check_answer(
        &self,
        slot: ContextSlot,
        key: &[u8],
        answer: &KeptAnswer,
    ) -> Result<u64, StoreError> {
        let corrupt = |why| StoreError::corrupt("answer", key, why);
        let digest = key.last_chunk::<32>();
        let digest = digest.ok_or_else(|| corrupt("its key is too short"))?;
        let by_age = layout::answer_age_key(slot, answer.hlc, &AnswerKey::from_bytes(*digest));
        let found = self.get_raw(self.tables.answers_by_age, &by_age)?;
        let found = found.ok_or_else(|| corrupt("its age is not known"))?;
        let bytes = read_answer_bytes(&by_age, found)?;
        match bytes == answer.said.text().len() as u64 + ANSWER_AROUND_BYTES {
            true => Ok(bytes),
            false => Err(corrupt("it counts for other bytes than it has")),
        }
    }

    /// Shows up to `limit` deltas of a context to `visit` with their place in
    /// the log, the newest first, until it breaks.
    pub fn deltas(
        &self,
        slot: ContextSlot,
        limit: usize,
        visit: &mut dyn FnMut(u64, DeltaView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let head = self.head(slot)?;
        let mut position = head.log_last;
        for _ in 0..limit {
            if position <= head.log_pruned {
                break;
            }
            let (previous, delta) = self.delta_at(slot, position)?;
            if visit(position, delta).is_break() {
                break;
            }
            position = previous;
        }
        Ok(())
    }

    /// The delta at a position of the log, and the position of the context's
    /// delta before it (0 if there is none).
    pub(crate) fn delta_at(
        &self,
        slot: ContextSlot,
        position: u64,
    ) -> Result<(u64, DeltaView<'_>), StoreError> {
        let key = position_key(position);
        let corrupt = |why| StoreError::corrupt("log record", &key, why);
        let bytes = self
            .get_raw(self.tables.log, &key)?
            .ok_or_else(|| corrupt("it is missing"))?;
        let row = open::<LogRow>(&key, bytes)?;
        if row.slot.to_native() != slot.number() {
            return Err(corrupt(
                "it belongs to another context than the one that points to it",
            ));
        }
        // Going back strictly, the walk ends.
        let previous = row.previous.to_native();
        if previous >= position {
            return Err(corrupt("the delta before it is not before it"));
        }
        let delta = DeltaView::parse(row.canonical.get())
            .map_err(|_| corrupt("its canonical bytes are malformed"))?;
        Ok((previous, delta))
    }

    /// How much the context in `slot` has attached.
    pub fn attached(&self, slot: ContextSlot) -> Result<AttachedSum, StoreError> {
        attachment::sum(self.tables, &self.txn, slot).map_err(attachment_unreadable)
    }

    /// The first `max` contexts that refer to a blob. One that was deleted is among them until
    /// its references are swept. Fails if what says so is damaged.
    pub fn attached_by(&self, blob: BlobId, max: usize) -> Result<Vec<ContextSlot>, StoreError> {
        attachment::attached_by(self.tables, &self.txn, blob, max).map_err(attachment_unreadable)
    }

    /// Compares what is noted of attachments with their entries, up to `records_max` records
    /// more; says whether all were read. Another step may be given another snapshot of
    /// the same ledger.
    ///
    /// Fails at the first record that is damaged or is not what others say; the next step goes on
    /// behind it. As long as there is one, nobody may remove a blob on what
    /// [`attached_by`](Snapshot::attached_by) says.
    pub fn compare_attachments(
        &self,
        check: &mut AttachedCheck,
        records_max: u64,
    ) -> Result<bool, StoreError> {
        let compared = check.step(self.tables, &self.txn, records_max);
        compared.map_err(attachment_unreadable)
    }

    /// Compares all that is noted of attachments with their entries.
    pub(crate) fn check_attachments(&self) -> Result<(), StoreError> {
        let mut check = AttachedCheck::default();
        self.compare_attachments(&mut check, u64::MAX).map(drop)
    }

    /// What a delta had seen, if that is noted.
    pub(crate) fn dag_node(
        &self,
        slot: ContextSlot,
        id: &DeltaId,
    ) -> Result<Option<DagNode>, StoreError> {
        let key = layout::dag_key(slot, id);
        let found = self.get_raw(self.tables.dag, &key)?;
        found.map(|bytes| DagNode::read(&key, bytes)).transpose()
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
        let mut pages = 0;
        for table in self.tables.all() {
            let stat = table.stat(&self.txn).map_err(unreadable)?;
            pages += stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        }
        Ok(pages as u64)
    }

    pub(crate) fn table_counts(&self) -> Result<TableCounts, StoreError> {
        let count = |table: Table| table.len(&self.txn).map_err(unreadable);
        Ok(TableCounts {
            contexts: count(self.tables.contexts)?,
            entries: count(self.tables.entries)?,
            edits: count(self.tables.edits)?,
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

type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The range of full keys that a scan visits; `None` if it is empty.
fn scan_range(slot: ContextSlot, scan: &Scan<'_>) -> Option<KeyRange> {
    let full = |key: &[u8]| {
        let mut full = Vec::with_capacity(layout::LMDB_KEY_BYTES_MAX);
        // A key is compared only; beyond the bound no two keys exist that the
        // rest could tell apart, but LMDB would not take it.
        layout::entry_key(
            &mut full,
            slot,
            scan.space,
            &key[..key.len().min(layout::KEY_BYTES_MAX)],
        );
        full
    };
    if scan.prefix.len() > layout::KEY_BYTES_MAX {
        return None;
    }
    let first = full(scan.prefix);
    let mut end = first.clone();
    layout::successor(&mut end);
    let (mut start, mut end) = (Bound::Included(first), Bound::Excluded(end));
    if let Some(after) = scan.after {
        let is_cut = after.len() > layout::KEY_BYTES_MAX;
        let after = full(after);
        if scan.reverse {
            // The cut key lies before the whole one, so it is not yet behind.
            let bound = if is_cut {
                Bound::Included(after)
            } else {
                Bound::Excluded(after)
            };
            if key_of(&bound) < key_of(&end) {
                end = bound;
            }
        } else if key_of(&Bound::Included(after.clone())) >= key_of(&start) {
            start = Bound::Excluded(after);
        }
    }
    let is_empty = match (&start, &end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (start, end) => key_of(start) >= key_of(end),
    };
    if is_empty { None } else { Some((start, end)) }
}

fn key_of(bound: &Bound<Vec<u8>>) -> &[u8] {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn attachment_unreadable(failure: attachment::Failure) -> StoreError {
    match failure {
        attachment::Failure::Engine(error) => unreadable(error),
        attachment::Failure::Store(error) => error,
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
