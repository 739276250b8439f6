//! Why one change of a batch was refused, while its neighbours are committed.

use bytes::Bytes;

use super::StoreError;
use crate::delta::MalformedDelta;
use crate::entry::{EntryKind, Space};
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, DeltaId, NodeId};

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
    /// The disk has no room for what is no call, or had none a moment ago; for a note, the ledger may
    /// also be as large as it may be. Nothing is wrong with it,
    /// and nobody has seen a trace of it: it may come again once there is space.
    #[error(
        "no space left on the disk, or in a ledger of storage.map_bytes_max; free some and try again"
    )]
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
