//! The rows of an export, and their bytes. A row is a number (1) that says what it is,
//! and fields. An author is named by a number, which a row of its own has given before;
//! slots and positions are the ledger's own and never written. Writing is in
//! `row/write.rs`; reading, which checks every length against its bound as a file may
//! come from anybody, in `row/read.rs`.
//!
//! All numbers little-endian; `bytes` is a length (4) and bytes, `text` a length (2) and
//! UTF-8, a dot is author (4) and stamp (8), `seen` a count (4) and dots.
//!
//! | number | row | fields |
//! |---|---|---|
//! | 1 | author | number (4), node (32) |
//! | 2 | context | id (32), application (32), created (8), whether it has a name (1), name (text) |
//! | 3 | head | root (32), version, entries, replicated, bytes, stamp, deltas that follow, first event, last event (8 each), flags (1), count (2) and ids of newest deltas (32 each), `seen` |
//! | 4 | value | space (1), key (text without UTF-8), dot, bytes |
//! | 5 | sections | space (1), key, bytes as in `entry/state.rs` |
//! | 6 | edit | space (1), hash of the key (16), kind (1), dot, count (2) and births (40 each), `seen`, bytes |
//! | 30 | edit that is linked to what it builds on | the same |
//! | 7 | removed edits | space (1), hash of the key (16), kind (1), key |
//! | 8 | node of the trie | nibbles (text without UTF-8), bytes |
//! | 9 | past of a delta that is not in the log | id (32), dot, `seen` |
//! | 10 | delta | bytes, whether its past follows (1), dot, `seen` |
//! | 11 | event | sequence (8), delta (32), stamp (8), kind (text), bytes |
//! | 12 | end of a context in version 1 | how many of 4 and 5, 6, 8, 9, 10 and 11 (8 each), root (32) |
//! | 13 | seal | delta (32), its stamp (8), version of the context when it came (8), bytes as in `seal/mod.rs` |
//! | 14 | proof against an author | bytes as in `seal/branch.rs` of the branch that is here, and of the other one |
//! | 15 | answer | key (32), request (32), root (32), stamp (8), fuel (8), flags (1), delta (32), bytes |
//! | 16 | that members are known | what was pruned: `seen` |
//! | 17 | member | node (32), since when (8), whether it is away (1), `seen` |
//! | 18 | end of a context | how many of 4 and 5, 6, 8, 9, 10, 11, 13, 14, 15 and 17 (8 each), root (32) |
//! | 20 | node | id (32), shards (2) |
//! | 21 | application | id (32), bytes (8), installed (8), name, version, description (bytes each) |
//! | 22 | part of a file | what it is (1): 1 a component, 2 a blob; its id (32), bytes |
//! | 23 | name | name (text), context (32) |
//! | 24 | key file | name (text), bytes |
//! | 25 | end of a backup in version 1 | how many contexts, applications, files and names (8 each) |
//! | 26 | context that was left out | id (32), why (text) |
//! | 27 | end of a backup that lacks no blob | how many contexts, applications, files, names and contexts that were left out (8 each) |
//! | 28 | blob that was left out; parts of it that came right before are void | id (32), why (text) |
//! | 29 | end of a backup that lacks blobs | the numbers of 27, and how many blobs were left out (8 each) |

#[cfg(test)]
mod golden;
mod read;
mod write;

pub(super) use self::read::read;
use crate::answer::{AnswerKey, KeptAnswer};
use crate::change::ApplicationRecord;
use crate::delta::BirthsView;
use crate::entry::Space;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, BlobId, ContextId, DeltaId, NodeId, Root};
use crate::quarantine::QUARANTINE_REASON_BYTES_MAX;
use crate::record::Head;
use crate::version::Dot;

/// The most authors that one context can have in an export.
pub(super) const AUTHORS_MAX: usize = 1 << 20;

/// The longest reason why a blob was left out: whoever writes one cuts it like that of a context.
pub(super) const BLOB_REASON_BYTES_MAX: usize = QUARANTINE_REASON_BYTES_MAX;

/// The most nibbles of a node's place.
const NIBBLES_MAX: usize = 64;

/// Authors and stamps.
pub(super) type Seen = Vec<Dot>;

/// What is said of a context beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadFields {
    pub(super) root: Root,
    pub(super) version: u64,
    pub(super) entries: u64,
    pub(super) replicated: u64,
    pub(super) bytes: u64,
    pub(super) hlc: Hlc,
    pub(super) log_follows: u64,
    pub(super) events_first: u64,
    pub(super) events_last: u64,
    pub(super) is_shared: bool,
    pub(super) is_pruned: bool,
    pub(super) deltas: Vec<DeltaId>,
    pub(super) seen: Seen,
}

/// How many rows of each kind a context has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) edits: u64,
    pub(super) trie_nodes: u64,
    pub(super) pasts: u64,
    pub(super) deltas: u64,
    pub(super) events: u64,
    pub(super) seals: u64,
    pub(super) forks: u64,
    pub(super) answers: u64,
    pub(super) members: u64,
}

/// What a backup holds, and what was restored of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupCounts {
    /// Contexts.
    pub contexts: u64,
    /// Applications.
    pub applications: u64,
    /// Components and blobs.
    pub files: u64,
    /// Names.
    pub names: u64,
    /// Contexts that are out of service, and so only named.
    pub left_out: u64,
    /// Blobs that contexts have attached and that were not there, or damaged, and so only named.
    pub blobs_left_out: u64,
}

/// A file beside the ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    /// An application's component.
    Component = 1,
    /// A blob.
    Blob = 2,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row<'a> {
    Author {
        number: u32,
        node: NodeId,
    },
    Context {
        id: ContextId,
        application: ApplicationId,
        created: Hlc,
        name: Option<&'a str>,
    },
    Head(HeadFields),
    Value {
        space: Space,
        key: &'a [u8],
        dot: Dot,
        bytes: &'a [u8],
    },
    Sections {
        space: Space,
        key: &'a [u8],
        state: &'a [u8],
    },
    Edit {
        space: Space,
        /// Of its sequence: hash of the key, and kind.
        sequence: &'a [u8; 17],
        dot: Dot,
        births: BirthsView<'a>,
        /// What it had seen of others.
        seen: Seen,
        update: &'a [u8],
    },
    Litter {
        space: Space,
        sequence: &'a [u8; 17],
        key: &'a [u8],
    },
    TrieNode {
        nibbles: &'a [u8],
        node: &'a [u8],
    },
    Past {
        id: DeltaId,
        dot: Dot,
        seen: Seen,
    },
    Delta {
        canonical: &'a [u8],
        past: Option<(Dot, Seen)>,
    },
    Event {
        sequence: u64,
        delta: DeltaId,
        hlc: Hlc,
        kind: &'a str,
        payload: &'a [u8],
    },
    Seal {
        delta: DeltaId,
        hlc: Hlc,
        /// The context's when it came.
        version: u64,
        seal: &'a [u8],
    },
    Fork {
        known: &'a [u8],
        other: &'a [u8],
    },
    Answer {
        key: AnswerKey,
        answer: KeptAnswer,
    },
    /// That the members are known, who follow.
    Members {
        pruned: Seen,
    },
    Member {
        node: NodeId,
        since: Hlc,
        is_away: bool,
        seen: Seen,
    },
    ContextEnd(Counts, Root),
    Node {
        id: NodeId,
        shards: u16,
    },
    Application(ApplicationRecord),
    FilePart {
        kind: FileKind,
        id: [u8; 32],
        bytes: &'a [u8],
    },
    Name {
        name: &'a str,
        context: ContextId,
    },
    Key {
        name: &'a str,
        bytes: &'a [u8],
    },
    /// A context that is out of service.
    LeftOut {
        id: ContextId,
        why: &'a str,
    },
    /// A blob that is attached and cannot be read.
    BlobLeftOut {
        id: BlobId,
        why: &'a str,
    },
    BackupEnd(BackupCounts),
}

const SHARED: u8 = 1;
const PRUNED: u8 = 2;

/// Flags of an answer.
const WITH_DELTA: u8 = 1;
const IS_ERROR: u8 = 2;

impl HeadFields {
    /// The head of the context where its log lies behind this position; but for who has been seen,
    /// which is said in numbers of the file.
    pub(super) fn head(&self, context: ContextId, base: u64) -> Head {
        let mut head = Head::new(context);
        head.root = self.root;
        head.version = self.version;
        head.entries = self.entries;
        head.replicated = self.replicated;
        head.bytes = self.bytes;
        head.hlc = self.hlc;
        head.log_pruned = if self.is_pruned { base } else { 0 };
        head.log_last = match self.log_follows {
            0 => head.log_pruned,
            // Whether there are so many positions is seen to where they are given.
            follows => base.saturating_add(follows),
        };
        head.log_count = self.log_follows;
        head.events_first = self.events_first;
        head.events_last = self.events_last;
        head.is_shared = self.is_shared;
        head.deltas.clone_from(&self.deltas);
        head
    }
}

impl Counts {
    /// How many of them version 1 has, the first ones.
    const OF_VERSION_1: usize = 6;

    fn from_array(numbers: [u64; 10]) -> Counts {
        let [
            entries,
            edits,
            trie_nodes,
            pasts,
            deltas,
            events,
            seals,
            forks,
            answers,
            members,
        ] = numbers;
        Counts {
            entries,
            edits,
            trie_nodes,
            pasts,
            deltas,
            events,
            seals,
            forks,
            answers,
            members,
        }
    }

    fn as_array(&self) -> [u64; 10] {
        [
            self.entries,
            self.edits,
            self.trie_nodes,
            self.pasts,
            self.deltas,
            self.events,
            self.seals,
            self.forks,
            self.answers,
            self.members,
        ]
    }
}

impl BackupCounts {
    /// How many of them version 1 has, the first ones.
    const OF_VERSION_1: usize = 4;
    /// How many of them one has that lacks no blob.
    const WITH_BLOBS: usize = 5;

    fn from_array(numbers: [u64; 6]) -> BackupCounts {
        let [
            contexts,
            applications,
            files,
            names,
            left_out,
            blobs_left_out,
        ] = numbers;
        BackupCounts {
            contexts,
            applications,
            files,
            names,
            left_out,
            blobs_left_out,
        }
    }

    fn as_array(&self) -> [u64; 6] {
        [
            self.contexts,
            self.applications,
            self.files,
            self.names,
            self.left_out,
            self.blobs_left_out,
        ]
    }
}
