//! A context's record and its head, as the rest of the store has them, and version vectors in
//! records. The archives are in `rows.rs`.

use super::rows::{ArchivedSeenRow, ContextRow, HeadRow, HeadRowOfFormat3, SeenRow};
use super::{RecordKind, id_key, open, seal};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId, Root};
use crate::version::VersionVector;

/// A context as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRecord {
    /// Its id.
    pub id: ContextId,
    /// Its number on this shard.
    pub slot: ContextSlot,
    /// Its name.
    pub name: Option<String>,
    /// The application that it runs.
    pub application: ApplicationId,
    /// When it was made.
    pub created: Hlc,
}

impl ContextRecord {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<ContextRecord, StoreError> {
        let row = open::<ContextRow>(key, bytes)?;
        Ok(ContextRecord {
            id: ContextId::from_bytes(id_key(key, RecordKind::Context)?),
            slot: ContextSlot::new(row.slot.to_native()),
            name: row.name.as_ref().map(|name| name.as_ref().to_owned()),
            application: ApplicationId::from_bytes(row.application),
            created: Hlc::from_bits(row.created.to_native()),
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>) {
        let row = ContextRow {
            slot: self.slot.number(),
            created: self.created.bits(),
            application: *self.application.as_bytes(),
            name: self.name.as_deref(),
        };
        seal(out, self.id.as_bytes(), &row);
    }
}

/// Where a context stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The context.
    pub context: ContextId,
    /// The digest of its state.
    pub root: Root,
    /// How often its state has changed.
    pub version: u64,
    /// How many entries its shared space has.
    pub entries: u64,
    /// How many entries other nodes have as well: those of the trie.
    pub replicated: u64,
    /// Bytes of all keys and values, edits and dots, in all spaces.
    pub bytes: u64,
    /// The latest stamp of its deltas.
    pub hlc: Hlc,
    /// The position of its last delta in the log; 0 if it has none.
    pub log_last: u64,
    /// The position of the newest delta that was pruned; 0 if none was.
    pub log_pruned: u64,
    /// How many deltas of it the log has.
    pub log_count: u64,
    /// The sequence number of its oldest event that is kept.
    pub events_first: u64,
    /// The sequence number of its last event; one less than the first if it has none.
    pub events_last: u64,
    /// Whether other nodes may have it, so that deltas can come from them.
    pub is_shared: bool,
    /// The deltas that no other delta follows, in ascending order. One, unless nodes
    /// wrote at once.
    pub deltas: Vec<DeltaId>,
    /// Every author's newest delta that was applied.
    pub(crate) seen: VersionVector,
}

impl Head {
    /// The head of a context before its first delta.
    pub(crate) fn new(context: ContextId) -> Head {
        Head {
            context,
            root: Root::EMPTY,
            version: 0,
            entries: 0,
            replicated: 0,
            bytes: 0,
            hlc: Hlc::ZERO,
            log_last: 0,
            log_pruned: 0,
            log_count: 0,
            events_first: 1,
            events_last: 0,
            is_shared: false,
            deltas: Vec::new(),
            seen: VersionVector::default(),
        }
    }

    /// As formats up to 3 had it: without what it has seen, as numbers of authors
    /// are not known here.
    pub(crate) fn read_format_3(key: &[u8], bytes: &[u8]) -> Result<Head, StoreError> {
        let row = open::<HeadRowOfFormat3>(key, bytes)?;
        Ok(Head {
            root: Root::from_bytes(row.root),
            version: row.version.to_native(),
            entries: row.entries.to_native(),
            bytes: row.bytes.to_native(),
            hlc: Hlc::from_bits(row.hlc.to_native()),
            log_last: row.log_last.to_native(),
            events_last: row.events_last.to_native(),
            deltas: row
                .deltas
                .iter()
                .map(|id| DeltaId::from_bytes(*id))
                .collect(),
            ..Head::new(ContextId::from_bytes(row.context))
        })
    }

    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Head, StoreError> {
        let row = open::<HeadRow>(key, bytes)?;
        Ok(Head {
            context: ContextId::from_bytes(row.context),
            root: Root::from_bytes(row.root),
            version: row.version.to_native(),
            entries: row.entries.to_native(),
            replicated: row.replicated.to_native(),
            bytes: row.bytes.to_native(),
            hlc: Hlc::from_bits(row.hlc.to_native()),
            log_last: row.log_last.to_native(),
            log_pruned: row.log_pruned.to_native(),
            log_count: row.log_count.to_native(),
            events_first: row.events_first.to_native(),
            events_last: row.events_last.to_native(),
            is_shared: row.is_shared,
            deltas: row
                .deltas
                .iter()
                .map(|id| DeltaId::from_bytes(*id))
                .collect(),
            seen: read_seen(RecordKind::Head, key, &row.seen)?,
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        // One delta is the rule; more need a buffer.
        let one;
        let many;
        let deltas: &[[u8; 32]] = match self.deltas.as_slice() {
            [id] => {
                one = [*id.as_bytes()];
                &one
            }
            ids => {
                many = ids.iter().map(|id| *id.as_bytes()).collect::<Vec<_>>();
                &many
            }
        };
        let row = HeadRow {
            context: *self.context.as_bytes(),
            root: *self.root.as_bytes(),
            version: self.version,
            entries: self.entries,
            replicated: self.replicated,
            bytes: self.bytes,
            hlc: self.hlc.bits(),
            log_last: self.log_last,
            log_pruned: self.log_pruned,
            log_count: self.log_count,
            events_first: self.events_first,
            events_last: self.events_last,
            is_shared: self.is_shared,
            deltas,
            seen: &seen_rows(&self.seen),
        };
        seal(out, key, &row);
    }
}

pub(crate) fn seen_rows(seen: &VersionVector) -> Vec<SeenRow> {
    let row = |&(author, hlc): &(u32, Hlc)| SeenRow {
        author,
        hlc: hlc.bits(),
    };
    seen.pairs().iter().map(row).collect()
}

pub(crate) fn read_seen(
    kind: RecordKind,
    key: &[u8],
    rows: &[ArchivedSeenRow],
) -> Result<VersionVector, StoreError> {
    let pair =
        |row: &ArchivedSeenRow| (row.author.to_native(), Hlc::from_bits(row.hlc.to_native()));
    VersionVector::from_pairs(rows.iter().map(pair)).ok_or_else(|| {
        StoreError::corrupt(kind.what(), key, "its authors are not in ascending order")
    })
}
