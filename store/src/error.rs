//! What can go wrong in the store, one variant per decision the caller can
//! take. [`StoreError`] fails a whole operation; [`Refused`] answers one change
//! of a batch while its neighbours are committed; [`BlobError`] fails an
//! operation on one blob and never more than that; [`ExportError`] and [`ImportError`]
//! say why a copy was not made or taken in. No mapping to status codes
//! here: that is `server`'s.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::delta::MalformedDelta;
use crate::entry::{EntryKind, Space};
use crate::hlc::Hlc;
use crate::ids::{BlobId, ContextId, ContextSlot, DeltaId, NodeId};
use crate::ledger::is_out_of_space;
use crate::place::LedgerIdentity;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    // The operator's mistakes and the machine's limits.
    /// Another process has the data directory open.
    #[error("data directory {} is in use by {}; stop it first or choose another directory", path.display(), holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The holder as it wrote itself into the lock file.
        pid: Option<u32>,
    },
    /// The data on disk was written in a format that this program does not read.
    #[error("{} has format version {found}, but this program reads version {supported}; use the program version that wrote it", path.display())]
    WrongFormat {
        /// The file or directory.
        path: PathBuf,
        /// The version it says.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The directory has data but its manifest is gone.
    #[error("{} has data but no manifest; restore the manifest from a backup", path.display())]
    ManifestMissing {
        /// The data directory.
        path: PathBuf,
    },
    /// There is no data directory.
    #[error("{} is no data directory; choose another one", path.display())]
    NoData {
        /// What was named.
        path: PathBuf,
    },
    /// A file that has held durable state is gone, or only a part of it is left.
    #[error("{} {loss}, and with it what was stored there; put the file back, or restore the whole data directory from a backup", path.display())]
    Lost {
        /// The file or directory.
        path: PathBuf,
        /// What is left of it.
        loss: Loss,
    },
    /// A file of one ledger lies in the place of another.
    #[error("{} belongs to {found}, but lies in the place of {expected}; files were swapped: put the right one back, or restore the whole data directory from a backup", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Box<LedgerIdentity>,
        /// Whose it should be.
        expected: Box<LedgerIdentity>,
    },
    /// A ledger's data file is an old copy: its journal has seen later
    /// checkpoints than it.
    #[error("{} is older than the journal beside it (checkpoint {found} against {journaled}): an old copy was put back; put the newer one back, or restore the whole data directory from one backup", path.display())]
    Stale {
        /// The data file.
        path: PathBuf,
        /// Its own last checkpoint.
        found: u64,
        /// The last checkpoint that the journal knows of.
        journaled: u64,
    },
    /// A file operation outside a commit failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The ledger's directory is already open in this process.
    #[error("ledger {} is already open in this process", path.display())]
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
    },
    /// LMDB refused to open or begin.
    #[error("cannot {doing} the ledger: {reason}")]
    Engine {
        /// What was attempted.
        doing: &'static str,
        /// What the engine said.
        reason: String,
    },

    // Limits reached: nothing was written, and the ledger goes on.
    /// The ledger has grown to its configured size.
    #[error(
        "the ledger is full ({bytes_max} bytes of address space); raise storage.map_bytes_max or delete contexts"
    )]
    MapFull {
        /// The configured size.
        bytes_max: u64,
    },
    /// The file system has no space left; nothing of the batch was written.
    #[error("no space left for the ledger; free disk space and retry")]
    DiskFull {
        /// What the system said.
        source: io::Error,
    },
    /// More snapshots at once than configured.
    #[error(
        "no place for a snapshot of the ledger is left, of {readers_max}; retry or raise storage.readers_max"
    )]
    ReadersFull {
        /// The configured count.
        readers_max: u32,
    },
    /// The batch does not fit into one transaction.
    #[error(
        "a batch of {bytes} bytes exceeds the {bytes_max} bytes of one transaction; commit in smaller batches"
    )]
    BatchTooLarge {
        /// Bytes of the batch; 0 where the engine found out by itself.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },

    // Damage.
    /// Bytes read from disk are not what was written.
    #[error("{what} under key {key} is corrupt: {why}; restore it from a peer or a backup")]
    Corrupt {
        /// Which kind of record or file.
        what: &'static str,
        /// Its key in hexadecimal, or its path.
        key: String,
        /// Which check failed.
        why: &'static str,
    },
    /// Pages of a ledger's file are not as the engine writes them. It would believe them, and read
    /// or write anywhere, so it does not get them.
    #[error("page {page} of {} is damaged: {why}{}; no server can be started on it, as the engine would believe its pages: restore the data directory from a backup", path.display(), beside(*others))]
    DamagedPages {
        /// The ledger's file.
        path: PathBuf,
        /// The number of the first of them, from 0.
        page: u64,
        /// What is wrong with it.
        why: &'static str,
        /// How many more were found.
        others: usize,
    },
    /// A write or sync failed, so what is on disk is in doubt. The process must
    /// stop; opening again finds the last state that is certain.
    #[error(
        "an I/O error during {doing} leaves the ledger's state in doubt; the process must stop, check the disk and start again"
    )]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier fatal error has stopped this ledger.
    #[error("the ledger has stopped after an earlier I/O error; restart the process")]
    Stopped,
}

/// What is left of a file that has held durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing, not even its name.
    Missing,
    /// Its name.
    Empty,
    /// Its first bytes.
    CutOff {
        /// How many.
        bytes: u64,
        /// How many it has had at least.
        bytes_min: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Missing => f.write_str("is missing"),
            Loss::Empty => f.write_str("is empty"),
            Loss::CutOff { bytes, bytes_min } => write!(
                f,
                "was cut off (it has {bytes} bytes of at least {bytes_min})"
            ),
        }
    }
}

impl StoreError {
    /// Whether durable state is in doubt, so that the process has to stop.
    /// After any other error the ledger goes on working.
    pub fn is_fatal(&self) -> bool {
        match self {
            StoreError::Io { .. } | StoreError::Stopped => true,
            StoreError::Locked { .. }
            | StoreError::WrongFormat { .. }
            | StoreError::ManifestMissing { .. }
            | StoreError::NoData { .. }
            | StoreError::Lost { .. }
            | StoreError::Foreign { .. }
            | StoreError::Stale { .. }
            | StoreError::File { .. }
            | StoreError::AlreadyOpen { .. }
            | StoreError::Engine { .. }
            | StoreError::MapFull { .. }
            | StoreError::DiskFull { .. }
            | StoreError::ReadersFull { .. }
            | StoreError::BatchTooLarge { .. }
            | StoreError::DamagedPages { .. }
            | StoreError::Corrupt { .. } => false,
        }
    }

    /// For `map_err` on a file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::File {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn lost(path: &Path, loss: Loss) -> StoreError {
        StoreError::Lost {
            path: path.to_owned(),
            loss,
        }
    }

    /// A damaged file, of which the path is the key.
    pub(crate) fn corrupt_file(what: &'static str, path: &Path, why: &'static str) -> StoreError {
        StoreError::Corrupt {
            what,
            key: path.display().to_string(),
            why,
        }
    }

    pub(crate) fn corrupt(what: &'static str, key: &[u8], why: &'static str) -> StoreError {
        StoreError::Corrupt {
            what,
            key: hex(key),
            why,
        }
    }
}

/// One change of a batch was refused; nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No context has this id on this shard.
    #[error("context {context} does not exist")]
    UnknownContext {
        /// The id asked for.
        context: ContextId,
    },
    /// The id is in use.
    #[error("context {context} exists already")]
    ContextExists {
        /// The id asked for.
        context: ContextId,
    },
    /// Another context has this name.
    #[error("name {name:?} already belongs to context {holder}")]
    NameTaken {
        /// The name asked for.
        name: String,
        /// Who has it.
        holder: ContextId,
    },
    /// A size lies outside its bound.
    #[error("{limit} is {got}, but must lie in {min}..={max}")]
    OutOfBounds {
        /// The bound's name.
        limit: &'static str,
        /// The size found.
        got: u64,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// The entry has another kind than the write.
    #[error("the entry is a {found}, but was written as a {written}")]
    KindMismatch {
        /// The kind stored.
        found: EntryKind,
        /// The kind of the write.
        written: EntryKind,
    },
    /// A write-once entry cannot be removed.
    #[error("the entry is a write-once value, which cannot be removed")]
    RemovedWriteOnce,
    /// An edit of something that has no edits. Our bug.
    #[error("a {kind} was edited, which only lists and texts can be")]
    NoSequence {
        /// The kind.
        kind: EntryKind,
    },
    /// A write that its space does not allow: of another owner, or of a kind that the
    /// space does not have.
    #[error("the {space:?} space does not take this write")]
    NotInSpace {
        /// The space.
        space: Space,
    },
    /// A delta's bytes are none.
    #[error("the delta is malformed")]
    Malformed {
        /// What is wrong with them.
        source: MalformedDelta,
    },
    /// The delta was applied already. Nothing is wrong.
    #[error("delta {delta} was applied before")]
    AppliedBefore {
        /// The delta.
        delta: DeltaId,
    },
    /// The delta is no newer than one of its author that was applied, and is none of
    /// those that are remembered: it was applied long ago, or is one of two that do
    /// not know of each other.
    #[error("delta {delta} has stamp {got}, but its author's newest has {newest}")]
    NotNewer {
        /// The delta.
        delta: DeltaId,
        /// Its stamp.
        got: Hlc,
        /// The stamp of its author's newest delta.
        newest: Hlc,
    },
    /// The delta was here and was pruned, as every member had said that it has one which follows
    /// it, or is one of a member that was not waited for. Whatever follows it and is not here
    /// cannot be applied any more.
    #[error(
        "delta {delta} was pruned from context {context}; whoever still needs it lacks what was pruned: this node or that one has to take a snapshot"
    )]
    Pruned {
        /// The delta.
        delta: DeltaId,
        /// Its context.
        context: ContextId,
    },
    /// The delta follows deltas that are not here.
    #[error("delta {delta} follows {} deltas that are not here", missing.len())]
    ParentsMissing {
        /// The delta.
        delta: DeltaId,
        /// What it waits for.
        missing: Vec<DeltaId>,
    },
    /// The author has made two deltas that do not know of each other.
    #[error("author {author} has made delta {delta} beside another one of its own")]
    Forked {
        /// The second of them.
        delta: DeltaId,
        /// Who.
        author: NodeId,
    },
    /// The context would have more deltas that no other follows than one delta can name
    /// as its parents. A call on this node brings them together.
    #[error(
        "with delta {delta} context {context} would have more than {max} heads; it takes more once it was written here"
    )]
    TooManyHeads {
        /// The delta.
        delta: DeltaId,
        /// Its context.
        context: ContextId,
        /// The bound.
        max: usize,
    },
    /// The entry would be larger than one may be, with all that nodes have written to it without
    /// knowing of each other. A write of it on this node replaces what this node knows of.
    #[error(
        "entry {} would come to {bytes} bytes, and one may have {bytes_max}; it takes more once it was written or removed here",
        key.escape_ascii()
    )]
    EntryFull {
        /// Its key in its space.
        key: Bytes,
        /// What it would come to.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// So many authors have made deltas of the context, and the delta is of one more. Those who
    /// are known go on; another one can write on its own node, and elsewhere once its context
    /// has begun anew as another one.
    #[error(
        "{author} would be one more than the {max} authors that context {context} takes from other nodes"
    )]
    TooManyAuthors {
        /// Who.
        author: NodeId,
        /// The context.
        context: ContextId,
        /// The bound.
        max: usize,
    },
    /// The delta names a parent that another of its parents follows. Its past would be the
    /// same without it, so no honest node says so.
    #[error("delta {delta} names {parent} as a parent, which another of its parents follows")]
    RedundantParent {
        /// The delta.
        delta: DeltaId,
        /// The parent.
        parent: DeltaId,
    },
    /// A seal on a delta that was not applied here. It can be kept when that was.
    #[error("there is a seal on delta {delta}, which is not here")]
    SealOfUnknown {
        /// The delta.
        delta: DeltaId,
    },
    /// A seal on a delta that somebody else has made.
    #[error("{author} has sealed delta {delta}, but has not made it")]
    NotItsAuthor {
        /// The delta.
        delta: DeltaId,
        /// Who has sealed it.
        author: NodeId,
    },
    /// What should be proof against an author is none, as far as can be told here.
    #[error("delta {delta} is no proof against its author: {why}")]
    NoFork {
        /// The delta.
        delta: DeltaId,
        /// Why not.
        why: &'static str,
    },
    /// The deltas before it have taken up what a batch may take. Nothing is wrong with it.
    #[error("the deltas of this batch take too much work; hand the rest over with the next one")]
    BatchFull,
    /// The disk has no room for what is no call, or had none a moment ago. Nothing is wrong with it,
    /// and nobody has seen a trace of it: it may come again once there is space.
    #[error("no space left on the disk; free some and try again")]
    DiskFull,
    /// A delta of another node came between the turn of the call and its commit. Nothing is
    /// wrong with it, but it may have read what is no more.
    #[error(
        "a delta of another node has changed context {context} since the call ran; run it again"
    )]
    Overtaken {
        /// The context of the call.
        context: ContextId,
    },
    /// The call's writes are not in ascending order of their keys, or write one
    /// key twice. Our bug.
    #[error("the writes of a call on context {context} are not in ascending order of their keys")]
    Unsorted {
        /// The context of the call.
        context: ContextId,
    },
    /// The caller named a slot that belongs to another context. Our bug.
    #[error("slot {slot} does not belong to context {context}")]
    WrongSlot {
        /// The context of the call.
        context: ContextId,
        /// The slot of the call.
        slot: ContextSlot,
    },
    /// The stamp is older than the context's last one, so that the write would
    /// lose against what it replaces. Our bug.
    #[error("stamp {got} lies before the context's last stamp {last}")]
    StaleHlc {
        /// The stamp of the call.
        got: Hlc,
        /// The stamp of the context's last delta.
        last: Hlc,
    },
    /// An earlier call of the same context was refused, and this one may have
    /// seen what that one wrote.
    #[error(
        "an earlier call on context {context} was refused, and this one may have seen its writes"
    )]
    BehindRefused {
        /// The context of both calls.
        context: ContextId,
    },
    /// An answer is kept under the call's key. Whoever looked for it before the call ran
    /// was told otherwise, so this is our bug; nothing has happened twice.
    #[error(
        "a call on context {context} with the same key was answered before; retry to get that answer"
    )]
    AnsweredBefore {
        /// The context of both calls.
        context: ContextId,
    },
    /// The node is no member of the context.
    #[error("node {node} is no member of context {context}")]
    NoMember {
        /// The node.
        node: NodeId,
        /// The context.
        context: ContextId,
    },
    /// The acknowledgement names deltas of the member itself that are not here. What it had
    /// seen when it made them is not known, so it cannot count yet.
    #[error(
        "member {member} acknowledges deltas of its own that context {context} does not have; send those first"
    )]
    AheadOfHere {
        /// The member.
        member: NodeId,
        /// The context.
        context: ContextId,
    },
    /// The member lacks deltas that were pruned, so that it can get them only in a
    /// snapshot.
    #[error(
        "member {member} lacks deltas of context {context} that were pruned; it has to take a snapshot"
    )]
    SnapshotNeeded {
        /// The member.
        member: NodeId,
        /// The context.
        context: ContextId,
    },
    /// The context is out of service, as what is on disk of it is damaged.
    #[error("context {context} is out of service: {why}")]
    Quarantined {
        /// The context.
        context: ContextId,
        /// What is damaged.
        why: String,
    },
    /// What the change has to read is damaged.
    #[error("the change meets a damaged record")]
    Damaged {
        /// The record and the check that failed.
        source: StoreError,
    },
}

/// An operation on a blob failed. None of these is fatal: a blob is in its place
/// only when it is durable, so there is no state to be in doubt about.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    // The peer's or the client's fault.
    /// The content is not the one that was announced. Nothing is left of it.
    #[error("the content has the id {found}, but {expected} was to come; send the right one")]
    Mismatch {
        /// The id that was announced.
        expected: BlobId,
        /// The id of what came.
        found: BlobId,
    },

    // Limits reached: nothing is left of what was written.
    /// The content is longer than it may be.
    #[error("the blob is larger than the {bytes_max} bytes that {limit} allows")]
    TooLarge {
        /// The bound's name.
        limit: &'static str,
        /// The bound.
        bytes_max: u64,
    },
    /// The file system has no space left.
    #[error("no space left for a blob in {}; free disk space and retry", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    // The operator's and the machine's.
    /// The directory is already open.
    #[error("the blobs in {} are already open", path.display())]
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    // Damage.
    /// What is in the blob's file is not what was written. The same content,
    /// stored again, takes its place.
    #[error(
        "blob {blob} is damaged behind byte {offset} of its file: {why}; store its content again, from a peer or a backup"
    )]
    Damaged {
        /// The blob.
        blob: BlobId,
        /// Where in the file the part begins that is not right.
        offset: u64,
        /// Which check failed.
        why: &'static str,
    },

    // Our bug.
    /// An earlier error has ended this writer.
    #[error("this blob cannot be written on after an earlier error; begin again")]
    Ended,
}

impl BlobError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError {
        let path = path.to_owned();
        move |source| match is_out_of_space(&source) {
            true => BlobError::DiskFull { path, source },
            false => BlobError::File {
                doing,
                path,
                source,
            },
        }
    }
}

/// A context cannot be shown as it was.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The context has no such delta.
    #[error("the context has no delta {delta}")]
    Unknown {
        /// The one asked for.
        delta: DeltaId,
    },
    /// It is gone, or what was replaced since is, or it came with a copy.
    #[error(
        "what it takes to show the state after {delta} is not retained in the log, where it is pruned with the oldest deltas and does not come with a copy; later states can be shown"
    )]
    NotRetained {
        /// The one asked for.
        delta: DeltaId,
    },
    /// Of a list or text that was removed since not all edits are there any more. Everything else
    /// in the state is.
    #[error(
        "not all edits of the {kind} {key:?} as it was after {delta} are retained: it was removed since, and deltas that had edited it are pruned; everything else can be shown"
    )]
    EditsNotRetained {
        /// The one asked for.
        delta: DeltaId,
        /// A list or a text.
        kind: EntryKind,
        /// The key, as text.
        key: String,
    },
    /// They may be there, but so far back in the log that it is not looked for them. Everything
    /// else in the state can be shown.
    #[error(
        "not all edits of the {kind} {key:?} as it was after {delta} are among the newest {max} {limit} of the log, which is the bound: it was removed since; everything else can be shown"
    )]
    EditsTooFar {
        /// The one asked for.
        delta: DeltaId,
        /// A list or a text.
        kind: EntryKind,
        /// The key, as text.
        key: String,
        /// Of what.
        limit: &'static str,
        /// The bound.
        max: u64,
    },
    /// Its author has said another root than the deltas give.
    #[error(
        "the deltas up to {delta} give another root than its author {author} has said; what that has seen cannot be shown"
    )]
    OtherRoot {
        /// The one asked for.
        delta: DeltaId,
        /// Who has made it.
        author: NodeId,
    },
    /// There is too much to be gone through.
    #[error("to read the state takes more than {max} {limit} of the log, which is the bound")]
    TooLong {
        /// Of what.
        limit: &'static str,
        /// The bound.
        max: u64,
    },
    /// Whoever has asked does not wait any longer.
    #[error("the state was still being read when it was to end")]
    Stopped,
    /// What is needed cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A copy of a context or a data directory could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such context on this shard.
    #[error("context {context} does not exist")]
    UnknownContext {
        /// The id asked for.
        context: ContextId,
    },
    /// The context is out of service: a copy of it would spread what is damaged.
    #[error(
        "context {context} is out of service ({why}); put it back into service or delete it, then copy again"
    )]
    Quarantined {
        /// Which context.
        context: ContextId,
        /// What was found of it.
        why: String,
    },
    /// A record of the context is damaged. Out of service it is left out of the next backup.
    #[error(
        "context {context} cannot be copied; delete it, or take it out of service and copy again"
    )]
    Damaged {
        /// Which context.
        context: ContextId,
        /// What is damaged.
        source: StoreError,
    },
    /// One record is longer than a copy takes.
    #[error(
        "a record of {bytes} bytes exceeds the {bytes_max} bytes that a copy takes; remove it or make it smaller"
    )]
    RecordTooLarge {
        /// Bytes of it.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A file that belongs into the copy cannot be read.
    #[error("cannot read {}, which belongs into the copy", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The component of an application is not the one that was installed.
    #[error(
        "{} is not the component that was installed; install the application again from the same file, or remove it",
        path.display()
    )]
    WrongComponent {
        /// Where it lies.
        path: PathBuf,
    },
    /// A blob cannot be read.
    #[error("a blob cannot be read")]
    Blob(#[from] BlobError),
    /// What is to be copied cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy cannot be written.
    #[error("the copy cannot be written")]
    Write(#[from] io::Error),
    /// Whoever takes the copy in has refused it.
    #[error("the copy was not taken in")]
    Refused(#[source] Box<ImportError>),
    /// All is copied into another number of shards, and that it counts may be decided, but not all
    /// is in its place. Nothing is lost: opening the data directory finishes what was decided.
    #[error(
        "the ledgers of the new shards are whole, but could not be put into their place; start the server or run this again, which finishes it"
    )]
    Unfinished {
        /// Which step failed.
        source: StoreError,
    },
}

/// A copy was not taken in. Nothing of it is there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file was written by another version.
    #[error(
        "the file has format version {found}, but this program reads versions up to {supported}; use the program version that wrote it"
    )]
    Version {
        /// The version it says.
        found: u16,
        /// The latest that this program reads.
        supported: u16,
    },
    /// The file is not as it was written.
    #[error("the file is damaged behind byte {at}: {why}; get it once more")]
    Damaged {
        /// Where the part begins that is not right.
        at: u64,
        /// Which check failed.
        why: &'static str,
    },
    /// The file is as it was written, but no program of ours writes such a thing.
    #[error("the file is not what it says: {why}; nothing of it was taken in")]
    Malformed {
        /// What is wrong.
        why: &'static str,
    },
    /// What the file holds does not agree with itself.
    #[error(
        "context {context} in the file does not agree with itself, and nothing of it was taken in"
    )]
    Disagrees {
        /// Which context.
        context: ContextId,
        /// What does not fit.
        source: StoreError,
    },
    /// What was made of the file is not whole. A disk that loses writes, or our bug.
    #[error("what was made of the file is not whole, and was removed: {finding}")]
    NotWhole {
        /// What a check has found.
        finding: String,
    },
    /// Its clock is not believed.
    #[error(
        "it has the stamp {stamp}, and none later than {latest} is taken in; one of the two clocks is wrong"
    )]
    FromTheFuture {
        /// The stamp.
        stamp: Hlc,
        /// The latest that is taken.
        latest: Hlc,
    },
    /// The directory cannot be exchanged for another one.
    #[error(
        "{} is where a file system is mounted, which nothing can take the place of; restore into a directory in it, or beside it",
        path.display()
    )]
    PlaceFixed {
        /// The directory.
        path: PathBuf,
    },
    /// There is something where the copy should go.
    #[error("{} is there already; choose a place that is free", path.display())]
    PlaceTaken {
        /// The file or directory.
        path: PathBuf,
    },
    /// There is such a context already.
    #[error("context {context} exists already; delete it first")]
    Exists {
        /// Its id.
        context: ContextId,
    },
    /// The file cannot be read.
    #[error("the file cannot be read behind byte {at}")]
    Read {
        /// How far it was read.
        at: u64,
        /// Why not further.
        source: io::Error,
    },
    /// No thread can be had that reads it.
    #[error("no thread can be started that reads the file; raise the limit on threads or memory")]
    NoReader {
        /// Why not.
        source: io::Error,
    },
    /// Our bug.
    #[error(
        "the thread that reads the file has panicked somewhere behind byte {at}, which is a bug; nothing of the file was taken in"
    )]
    ReaderPanicked {
        /// How far what it handed on goes.
        at: u64,
    },
    /// A file that is in the copy cannot be put into its place.
    #[error("cannot write {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A blob that is in the copy cannot be stored.
    #[error("a blob cannot be stored")]
    Blob(#[from] BlobError),
    /// The ledger does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    pub(crate) const fn damaged(at: u64, why: &'static str) -> ImportError {
        ImportError::Damaged { at, why }
    }

    pub(crate) const fn malformed(why: &'static str) -> ImportError {
        ImportError::Malformed { why }
    }
}

/// Bytes as hexadecimal text, cut after 64 bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(64)];
    let mut text = String::with_capacity(2 * shown.len() + 1);
    for byte in shown {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(digit.into(), 16).expect("a half byte is one digit"));
        }
    }
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

fn beside(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(", and {others} more are"),
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
