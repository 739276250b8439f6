//! What is true: entries, deltas and contexts, in one LMDB environment per
//! shard; and blobs, which are files. This is the only crate that knows heed and
//! the layout on disk; it sees no network and no guest.
//!
//! Start at [`DataDir::open`], then [`Ledger`]. The way in is
//! [`Ledger::commit`], which turns a batch of [`Change`]s into one durable
//! transaction and answers each with a [`Committed`] receipt or a reason. The
//! way out is [`Ledger::snapshot`]. What is too large for an entry goes through
//! [`Blobs`].
//!
//! | file | holds |
//! |---|---|
//! | `ids.rs`, `hlc.rs` | names and stamps |
//! | `data_dir.rs`, `manifest.rs`, `place.rs` | the data directory and its lock |
//! | `change.rs`, `answer.rs`, `reuse.rs` | what goes into a commit and comes out |
//! | `entry/`, `version.rs` | what a key can hold, and how writes of it merge |
//! | `pending/` | deltas that came before their parents or before their seals |
//! | `seal/` | proof of who has made a delta |
//! | `ledger.rs`, `data_file.rs`, `meta.rs` | opening; the two ways in |
//! | `start_check.rs` | looking for damage before anything is served |
//! | `create.rs`, `takeover.rs` | new ledgers, and those of older formats |
//! | `writer.rs`, `writer/`, `journal/` | making batches durable |
//! | `apply/`, `authors.rs`, `sweep.rs`, `backlog.rs` | writing into LMDB |
//! | `snapshot/`, `kept.rs`, `edits.rs`, `past/` | reading what is, and what was |
//! | `befores.rs` | what a delta has replaced, beside it in the log |
//! | `readers.rs` | which snapshots are in use, and for how long |
//! | `layout.rs`, `record/`, `delta.rs`, `local.rs` | the format |
//! | `trie/`, `trie_table.rs` | what a root is the digest of, and where it is kept |
//! | `sequence/` | lists and texts that merge |
//! | `retention.rs`, `tally.rs`, `members.rs` | what is kept of log and events, and for whom |
//! | `scrub.rs`, `quarantine.rs` | looking for damage; contexts that are out of service, as they are damaged |
//! | `saved.rs` | these as wholes, so that a long one is opened quickly |
//! | `names.rs`, `verify/`, `kept_check.rs` | reconciling and scrubbing |
//! | `export/` | copies of contexts that leave their ledger |
//! | `check/` | checking a whole data directory that nobody has open |
//! | `stable.rs` | what of its entries is a context's stable memory |
//! | `blobs/`, `attachment.rs` | large contents, each in a file named by its hash, and who refers to them |
//! | `uploads/` | what comes in pieces, until it has come as a whole |
//! | `error.rs`, `error/` | what can go wrong |

mod answer;
mod apply;
mod attachment;
mod authors;
mod backlog;
mod befores;
mod blobs;
mod change;
mod check;
mod create;
#[cfg(test)]
mod damage_tests;
mod data_dir;
mod data_file;
mod delta;
mod edits;
mod entry;
mod error;
mod export;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod histories;
mod hlc;
mod ids;
mod journal;
mod kept;
mod kept_check;
mod layout;
mod ledger;
mod local;
mod manifest;
mod members;
mod meta;
mod names;
mod packs;
mod past;
mod pending;
mod place;
mod quarantine;
mod readers;
mod record;
mod reserve;
mod retention;
mod reuse;
mod saved;
mod scrub;
mod seal;
mod sequence;
mod snapshot;
#[cfg(test)]
mod space_tests;
mod stable;
mod start_check;
mod step;
mod sweep;
mod takeover;
mod tally;
mod trie;
mod trie_cache;
mod trie_table;
mod uploads;
mod verify;
mod version;
mod writer;

pub use answer::{
    ANSWER_AROUND_BYTES, AnswerBounds, AnswerKey, ExpiredAnswers, KeptAnswer, KeyedAnswer,
    RequestDigest, Said,
};
pub use apply::ContextBounds;
pub use attachment::{AttachedCheck, AttachedSum, Attachment, NotedCheck};
pub use blobs::{
    BLOB_BYTES_MAX, BLOB_GROUP_BYTES, BlobCheck, BlobCutoff, BlobEntry, BlobHold, BlobLimit,
    BlobReader, BlobScan, BlobSweep, BlobWriter, Blobs, Checked, Listed, Removal, SweptBlobs,
};
pub use change::{
    Acknowledgement, ApplicationRecord, Birth, Births, CallEffects, Change, Committed,
    CommittedEvent, Event, NewContext, Note, Op, RemoteDelta, Seen, Standing, Upgrade, Verdict,
    Write,
};
pub use check::{CheckProgress, CheckReport, Finding, check};
pub use data_dir::{DataDir, OpenOptions, write_atomically};
pub use delta::{
    BIRTHS_MAX, BirthsView, DELTA_BYTES_MAX, DELTA_PARENTS_MAX, DELTA_PARTS_MAX, DeltaEventView,
    DeltaView, MalformedDelta, OpView, WriteView,
};
pub use entry::{CounterSum, EntryKind, EntryValue, Space};
pub use error::{
    BlobError, ExportError, ImportError, Loss, PastError, Refused, StoreError, UploadError,
};
pub use export::{
    Arrival, BackupCounts, BackupSource, CopiedContext, EXPORT_VERSION, ExportKind, ExportScope,
    ImportPlace, Imported, RENUMBERED_BY, RENUMBERED_FROM, ReadCopy, Resharded, RestoreOptions,
    Restored, add_keys, export_context, import_context, import_into, read_copy, reshard, restore,
    unfinished_restore, write_backup,
};
pub use hlc::{FromTheFuture, Hlc, HlcClock};
pub use ids::{
    ApplicationId, BlobId, ContextId, ContextSlot, DataId, DeltaId, ID_BYTES, InvalidId, NodeId,
    Root, SHARDS_MAX, ShardCount, ShardId, UploadId,
};
pub use layout::{
    APPLICATION_BYTES_MAX, BATCH_BYTES_MAX, EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX,
    VALUE_BYTES_MAX,
};
pub use ledger::{Ledger, LedgerConfig, LedgerStats, LedgerUse};
pub use manifest::{DATA_FORMAT_VERSION, Manifest};
pub use members::{MEMBERS_MAX, Member};
pub use names::{Reconciled, reconcile_names};
pub use past::{PAST_DELTAS_MAX, PAST_ROWS_MAX, PAST_WRITES_MAX, PastBounds, PastState};
pub use pending::{
    Held, PENDING_ATTACHED_BYTES, PENDING_DELTA_BYTES, PENDING_PARENT_BYTES, PENDING_SEAL_BYTES,
    PendingBounds, PendingDeltas, VouchedDelta, vouch,
};
pub use place::{LedgerIdentity, LedgerPlace};
pub use quarantine::{QUARANTINE_REASON_BYTES_MAX, Quarantined};
pub use record::{ContextRecord, EventView, Head};
pub use retention::{Collected, Keep, Packs, Reach, Retention};
pub use reuse::Reuse;
pub use saved::{
    ReadingSaved, SavedSequence, SequenceName, begin_replay, replay, seen_in, tell_void,
    unless_damaged,
};
pub use scrub::{Damage, Derived, Orphan, Scrub, Scrubbed, UnnamedAuthor};
pub use seal::{
    BRANCH_BYTES_MAX, BRANCH_DELTAS_MAX, BadBranch, BadSeal, Branch, Fork, SEAL_BYTES_MAX,
    SEAL_LEAVES_MAX, SEAL_PATH_MAX, Seal, SealChecker, Sealed, Sealer, make_seals,
};
pub use sequence::{
    AUTHOR_ELEMENTS_MAX, Allowance, Arriving, Content, Deleting, Loading, Sequence, SequenceError,
    SequenceKind, UPDATE_BYTES_MAX, UPDATE_EDITS_MAX,
};
pub use snapshot::{
    AgendaEntry, AgendaPage, EditPlace, EditView, ReadEntry, Scan, ScannedEntry, SequenceFacts,
    Snapshot, TrieChild, TrieEntry, TrieNode, TriePage,
};
pub use stable::{STABLE_BLOCK_BYTES, StableKey};
pub use step::{Budget, StepBounds};
pub use sweep::Swept;
pub use uploads::{
    DamagedUpload, HeldUpload, NewUpload, Packing, Upload, UploadBounds, UploadReader, Uploads,
};
pub use verify::{Verified, verify};
pub use version::CONTEXT_AUTHORS_MAX;
pub use writer::{BatchOutcome, LedgerWriter};
