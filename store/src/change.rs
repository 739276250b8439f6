//! What goes into a commit and what comes out: `Change`, `CallEffects` and
//! `Committed`. Plain owned data that crosses threads. How it is written is in
//! `apply/`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::answer::{AnswerKey, KeptAnswer, KeyedAnswer};
use crate::delta::{BIRTH_BYTES, BirthsView, OpView, WriteView};
use crate::entry::{EntryKind, Space};
use crate::error::Refused;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId, ID_BYTES, NodeId, Root};
use crate::pending::VouchedDelta;
use crate::record::Head;
use crate::seal::{Branch, SEAL_BYTES_MAX, Sealed};

/// What a write or an event takes in memory around its own bytes: as
/// an op, in an overlay and in between. Without it many small ones would count
/// for next to nothing.
const AROUND_BYTES: usize = 300;

/// One change of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes a context and commits the effects of its `init`.
    CreateContext(NewContext),
    /// Has a context run another application from now on, and commits what its hooks have done
    /// for that.
    Upgrade(Upgrade),
    /// Commits the effects of one update call.
    Call(CallEffects),
    /// Applies a delta of another node.
    Delta(RemoteDelta),
    /// Keeps a seal on a delta that was applied. No error if a newer one of the same author
    /// is kept.
    KeepSeal(Sealed),
    /// Keeps proof against an author: this delta of it was refused as
    /// [forked](Refused::Forked), [not newer](Refused::NotNewer) or
    /// [pruned](Refused::Pruned). No error if
    /// there is proof against it already.
    KeepFork(Branch),
    /// From now on other nodes may have the context. Of the deltas that were made before, the
    /// newest can be a parent of theirs at once, and the others when the sweep has
    /// entered them.
    ShareContext(ContextId),
    /// Says which other nodes have the context, and shares it if there are any. What one of
    /// them has not acknowledged stays in the log, within bounds.
    SetMembers {
        /// The context.
        context: ContextId,
        /// Without this node; at most [`crate::MEMBERS_MAX`].
        members: Vec<NodeId>,
        /// A new one is waited for from now on.
        now: Hlc,
    },
    /// A member has what it says. Not journaled: a crash may forget it, and then the
    /// member is believed to have less, until it says so again.
    Acknowledge(Acknowledgement),
    /// Takes a context out of service, as what is on disk of it is damaged; or puts it
    /// back, if it was made whole.
    Quarantine {
        /// The context.
        context: ContextId,
        /// Why it is out of service; none puts it back.
        why: Option<String>,
    },
    /// Makes a context vanish. Its entries, events and log are dropped later,
    /// by `Ledger::sweep`.
    DeleteContext(ContextId),
    /// Records an application (its bytes live in a blob file).
    PutApplication(ApplicationRecord),
    /// Forgets an application. No error if it is unknown.
    RemoveApplication(ApplicationId),
    /// Reserves a name for a context, which may live on any shard.
    PutName {
        /// The name, unique on the shard that keeps it.
        name: String,
        /// What it stands for.
        context: ContextId,
    },
    /// Frees a name of a context. No error if it is free, or another context's.
    RemoveName {
        /// The name.
        name: String,
        /// What it stands for.
        context: ContextId,
    },
    /// Drops what the directory has under the bytes of a name, if it is damaged.
    DropDamagedName(Vec<u8>),
    /// Writes down what this node's server knows of a context for itself.
    PutNote(Note),
}

impl Change {
    /// Bytes that count against [`crate::BATCH_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Change::CreateContext(NewContext { call, .. })
            | Change::Upgrade(Upgrade { call, .. })
            | Change::Call(call) => {
                return call.bytes();
            }
            Change::Delta(delta) => delta.delta.canonical().len() + AROUND_BYTES,
            Change::KeepSeal(_) => SEAL_BYTES_MAX + AROUND_BYTES,
            // It stands beside one of this ledger.
            Change::KeepFork(branch) => 2 * branch.bytes(),
            Change::PutApplication(record) => {
                record.name.len() + record.version.len() + record.description.len()
            }
            Change::SetMembers { members, .. } => members.len() * ID_BYTES,
            Change::Acknowledge(ack) => ack.seen.len() * (ID_BYTES + size_of::<Hlc>()),
            Change::Quarantine { why, .. } => why.as_ref().map_or(0, String::len),
            Change::PutNote(note) => {
                note.key.len() + note.value.as_ref().map_or(0, Bytes::len) + AROUND_BYTES
            }
            Change::ShareContext(_)
            | Change::DeleteContext(_)
            | Change::RemoveApplication(_)
            | Change::PutName { .. }
            | Change::RemoveName { .. }
            | Change::DropDamagedName(_) => 0,
        };
        bytes as u64
    }

    /// Whether it makes room, or says what is damaged. On a full disk it has some space that
    /// others have not.
    pub fn frees(&self) -> bool {
        match self {
            Change::DeleteContext(_)
            | Change::RemoveApplication(_)
            | Change::RemoveName { .. }
            | Change::DropDamagedName(_)
            | Change::Quarantine { .. } => true,
            Change::PutNote(note) => note.value.is_none(),
            Change::CreateContext(_)
            | Change::Upgrade(_)
            | Change::Call(_)
            | Change::Delta(_)
            | Change::KeepSeal(_)
            | Change::KeepFork(_)
            | Change::ShareContext(_)
            | Change::SetMembers { .. }
            | Change::Acknowledge(_)
            | Change::PutApplication(_)
            | Change::PutName { .. } => false,
        }
    }

    /// How many entries it writes, as far as can be told without reading it.
    pub fn writes(&self) -> usize {
        match self {
            Change::CreateContext(NewContext { call, .. })
            | Change::Upgrade(Upgrade { call, .. })
            | Change::Call(call) => call.ops.len(),
            Change::Delta(_) | Change::KeepSeal(_) | Change::KeepFork(_) | Change::PutNote(_) => 1,
            Change::ShareContext(_)
            | Change::SetMembers { .. }
            | Change::Acknowledge(_)
            | Change::Quarantine { .. }
            | Change::DeleteContext(_)
            | Change::PutApplication(_)
            | Change::RemoveApplication(_)
            | Change::PutName { .. }
            | Change::RemoveName { .. }
            | Change::DropDamagedName(_) => 0,
        }
    }
}

/// What a member of a context has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The context.
    pub context: ContextId,
    /// Who says so; whether it is really this node, the caller has checked.
    pub member: NodeId,
    /// Every author's newest delta that it has applied, its own included.
    pub seen: Vec<(NodeId, Hlc)>,
    /// When it came.
    pub now: Hlc,
}

/// What this node's server writes into the agenda of a context for itself: a register there. It
/// is no change of the state, so that version, root and stamp stay what they are, and what a
/// context may hold refuses none. Not journaled: it becomes durable with the next
/// checkpoint, and a crash before that forgets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The context.
    pub context: ContextId,
    /// This node.
    pub author: NodeId,
    /// When.
    pub hlc: Hlc,
    /// Where in the agenda, at most [`crate::KEY_BYTES_MAX`].
    pub key: Bytes,
    /// What is written there, at most [`crate::VALUE_BYTES_MAX`]; none removes what is there.
    pub value: Option<Bytes>,
    /// Whether it is to be durable when its verdict comes: then its batch is a checkpoint.
    pub is_awaited: bool,
}

/// A delta of another node.
#[derive(Clone, Debug)]
pub struct RemoteDelta {
    /// The slot of its context on this shard.
    pub slot: ContextSlot,
    /// The delta, which its author has sealed.
    pub delta: VouchedDelta,
}

/// A context to be made.
#[derive(Clone, Debug)]
pub struct NewContext {
    /// Its id.
    pub id: ContextId,
    /// Its name, kept in its record. If this ledger also keeps the name's
    /// entry, put a `PutName` before it into the same batch.
    pub name: Option<String>,
    /// The application that it runs.
    pub application: ApplicationId,
    /// When.
    pub created: Hlc,
    /// The effects of `init`; `slot` is [`ContextSlot::UNASSIGNED`].
    pub call: CallEffects,
}

/// A context that is to run another application.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The one that it is to run.
    pub application: ApplicationId,
    /// What the hooks of both have done, without an answer. The context's version grows by one
    /// even if that is nothing, as what its methods answer may be another.
    pub call: CallEffects,
}

/// The effects of one call.
#[derive(Clone, Debug)]
pub struct CallEffects {
    /// The context that was called.
    pub context: ContextId,
    /// Its slot on this shard.
    pub slot: ContextSlot,
    /// The node that ran the call.
    pub author: NodeId,
    /// When. Not before the context's last stamp, unless that is another node's: then
    /// the call gets the next one.
    pub hlc: Hlc,
    /// What the turn had seen of other nodes' deltas when it began. None if no delta of
    /// another node can have come in between: the call's delta says that it follows
    /// everything that is there. Deltas under the name of `author` itself are not looked
    /// at, so one that comes back from others must not come while a call is in flight.
    pub read: Option<Seen>,
    /// The writes, in ascending order of space and key and one for each.
    pub ops: Vec<Op>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// What the caller is to be told if it sends the call again, if it has given it a
    /// key. An answer is kept also of a call that has no effects.
    pub answer: Option<Box<KeyedAnswer>>,
}

/// The newest delta of each author that was seen of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<NodeId, Hlc>);

impl Seen {
    /// From now on it has seen the delta that `author` made at `hlc`, and all before it.
    pub fn note(&mut self, author: NodeId, hlc: Hlc) {
        let stamp = self.0.entry(author).or_default();
        *stamp = hlc.max(*stamp);
    }

    /// The newest stamp of `author`; [`Hlc::ZERO`] if none was seen.
    pub fn stamp(&self, author: &NodeId) -> Hlc {
        self.0.get(author).copied().unwrap_or_default()
    }
}

impl CallEffects {
    /// A call without effects, of a context whose slot the ledger is to look up. Everything
    /// else it takes is written over: `CallEffects { ops, ..CallEffects::new(…) }`.
    pub fn new(context: ContextId, author: NodeId, hlc: Hlc) -> CallEffects {
        CallEffects {
            context,
            slot: ContextSlot::UNASSIGNED,
            author,
            hlc,
            read: None,
            ops: Vec::new(),
            events: Vec::new(),
            answer: None,
        }
    }

    /// Whether it changes nothing and tells nothing.
    pub(crate) fn is_silent(&self) -> bool {
        self.ops.is_empty() && self.events.is_empty()
    }

    /// Whether other nodes get to know of it.
    pub(crate) fn is_replicated(&self) -> bool {
        !self.events.is_empty() || self.ops.iter().any(|op| op.space.is_replicated())
    }

    /// Bytes that count against [`crate::BATCH_BYTES_MAX`]: about what it takes
    /// in memory.
    pub fn bytes(&self) -> u64 {
        let op = |op: &Op| op.key.len() + op.write.bytes();
        let event = |event: &Event| event.kind.len() + event.payload.len();
        let parts = self.ops.len() + self.events.len();
        let bytes = self.ops.iter().map(op).sum::<usize>()
            + self.events.iter().map(event).sum::<usize>()
            + parts * AROUND_BYTES;
        bytes as u64 + self.answer.as_ref().map_or(0, |answer| answer.bytes())
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// In which space.
    pub space: Space,
    /// The key, at most [`crate::KEY_BYTES_MAX`].
    pub key: Bytes,
    /// Whether what is there is removed first, so that the write may be of another
    /// kind, and a counter or sequence begins anew.
    pub removes_first: bool,
    /// What is done to the entry under the key.
    pub write: Write,
}

/// What a write does to its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Gives a register a value, at most [`crate::VALUE_BYTES_MAX`].
    Set(Bytes),
    /// Adds to a counter.
    Add(i64),
    /// Puts an element into a set.
    Insert,
    /// Gives a write-once entry its value. One that has a value keeps it.
    WriteOnce(Bytes),
    /// Edits a list or text.
    Edit {
        /// Which of both.
        kind: EntryKind,
        /// The births of the sequence that was edited, as it was read; none if
        /// there was no sequence. Without any it is a birth itself, and takes those that
        /// its author has made before, with all that builds on them.
        births: Births,
        /// The edit, at most [`crate::VALUE_BYTES_MAX`].
        update: Bytes,
    },
    /// Removes the entry, whatever it is. Not one that is write-once.
    Remove,
}

/// A delta that has begun a list or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    /// Its author.
    pub author: NodeId,
    /// Its stamp.
    pub hlc: Hlc,
}

impl Birth {
    pub(crate) fn of(bytes: &[u8; BIRTH_BYTES]) -> Birth {
        let (author, hlc) = bytes.split_first_chunk::<32>().expect("40 bytes are more");
        let hlc = hlc.first_chunk::<8>().expect("8 bytes are left");
        Birth {
            author: NodeId::from_bytes(*author),
            hlc: Hlc::from_bits(u64::from_le_bytes(*hlc)),
        }
    }

    pub(crate) fn row(&self) -> [u8; BIRTH_BYTES] {
        let mut bytes = [0; BIRTH_BYTES];
        bytes[..32].copy_from_slice(self.author.as_bytes());
        bytes[32..].copy_from_slice(&self.hlc.bits().to_le_bytes());
        bytes
    }
}

/// Births, as a delta has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Births {
    rows: Vec<[u8; BIRTH_BYTES]>,
    /// As those of a delta are that is made now; see [`BirthsView`].
    are_linked: bool,
}

impl Default for Births {
    fn default() -> Births {
        Births::from_iter([])
    }
}

impl Births {
    /// As records have them.
    pub(crate) fn rows(&self) -> &[[u8; BIRTH_BYTES]] {
        &self.rows
    }

    /// Those of a record.
    pub(crate) fn from_rows(rows: &[[u8; BIRTH_BYTES]]) -> Births {
        rows.iter().map(Birth::of).collect()
    }

    pub(crate) fn view(&self) -> BirthsView<'_> {
        let view = BirthsView::of(&self.rows, self.are_linked);
        view.expect("they were sorted when they were collected")
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of them, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Birth> {
        self.rows.iter().map(Birth::of)
    }

    /// Whether this is one of them.
    pub fn contains(&self, birth: &Birth) -> bool {
        self.rows.binary_search_by_key(birth, Birth::of).is_ok()
    }
}

impl FromIterator<Birth> for Births {
    fn from_iter<I: IntoIterator<Item = Birth>>(births: I) -> Self {
        let mut births: Vec<Birth> = births.into_iter().collect();
        births.sort_unstable();
        births.dedup();
        Births {
            rows: births.iter().map(Birth::row).collect(),
            are_linked: true,
        }
    }
}

impl Op {
    /// Gives the register under `key` a value.
    pub fn set(key: Bytes, value: Bytes) -> Op {
        Op::shared(key, Write::Set(value))
    }

    /// Removes what is under `key`.
    pub fn remove(key: Bytes) -> Op {
        Op::shared(key, Write::Remove)
    }

    /// As a delta has it. Whether an addition begins a new cell is not known yet, nor what an edit
    /// has seen of those whom it names.
    pub(crate) fn view(&self) -> OpView<'_> {
        OpView {
            space: self.space,
            key: &self.key,
            // There is nothing more to a removal.
            removes_first: self.removes_first && self.write != Write::Remove,
            write: match &self.write {
                Write::Set(value) => WriteView::Set(value),
                Write::Add(amount) => WriteView::Add {
                    amount: *amount,
                    is_new_cell: false,
                },
                Write::Insert => WriteView::Insert,
                Write::WriteOnce(value) => WriteView::WriteOnce(value),
                Write::Edit {
                    kind,
                    births,
                    update,
                } => WriteView::Edit {
                    kind: *kind,
                    births: births.view(),
                    seen: &[],
                    update,
                },
                Write::Remove => WriteView::Remove,
            },
        }
    }

    /// As a delta has it.
    pub(crate) fn of(view: &OpView<'_>) -> Op {
        Op {
            space: view.space,
            key: Bytes::copy_from_slice(view.key),
            removes_first: view.removes_first,
            write: match view.write {
                WriteView::Set(value) => Write::Set(Bytes::copy_from_slice(value)),
                WriteView::Add { amount, .. } => Write::Add(amount),
                WriteView::Insert => Write::Insert,
                WriteView::WriteOnce(value) => Write::WriteOnce(Bytes::copy_from_slice(value)),
                WriteView::Edit {
                    kind,
                    births,
                    update,
                    ..
                } => Write::Edit {
                    kind,
                    births: Births {
                        rows: births.as_slice().to_vec(),
                        are_linked: births.are_linked(),
                    },
                    update: Bytes::copy_from_slice(update),
                },
                WriteView::Remove => Write::Remove,
            },
        }
    }

    /// A write in the shared space.
    pub fn shared(key: Bytes, write: Write) -> Op {
        Op {
            space: Space::Shared,
            key,
            removes_first: false,
            write,
        }
    }
}

impl Write {
    /// Bytes that it brings along beside its key.
    pub fn bytes(&self) -> usize {
        match self {
            Write::Set(bytes) | Write::WriteOnce(bytes) => bytes.len(),
            Write::Add(_) => size_of::<i64>(),
            Write::Edit { births, update, .. } => BIRTH_BYTES * births.len() + update.len(),
            Write::Insert | Write::Remove => 0,
        }
    }
}

/// Something that the application tells the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened, at most [`crate::EVENT_KIND_BYTES_MAX`].
    pub kind: String,
    /// The details, at most [`crate::VALUE_BYTES_MAX`].
    pub payload: Bytes,
}

/// An installed application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationRecord {
    /// blake3 of the component's bytes.
    pub id: ApplicationId,
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// When.
    pub installed: Hlc,
    /// What it says about its methods, as JSON.
    pub description: String,
    /// Whether its instances serve more than one call.
    pub reuse: crate::reuse::Reuse,
}

/// The receipt: this change is on disk. Only a commit makes one, so no reply
/// can be built from anything that might still vanish.
#[derive(Debug)]
pub struct Committed {
    pub(crate) slot: ContextSlot,
    pub(crate) delta_id: Option<DeltaId>,
    pub(crate) standing: Standing,
    pub(crate) hlc: Hlc,
    pub(crate) root_there: Option<Root>,
    pub(crate) events: Vec<CommittedEvent>,
    pub(crate) kept: Option<Box<(AnswerKey, KeptAnswer)>>,
}

/// What a context's state amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The digest of the state.
    pub root: Root,
    /// How often the state has changed: one more for each call with writes.
    pub version: u64,
    /// How many entries it has.
    pub entries: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
}

impl Standing {
    /// Of nothing, and of changes that concern no context.
    pub const OF_NO_CONTEXT: Standing = Standing {
        root: Root::EMPTY,
        version: 0,
        entries: 0,
        bytes: 0,
    };

    /// As a head says it.
    pub fn of(head: &Head) -> Standing {
        Standing {
            root: head.root,
            version: head.version,
            entries: head.entries,
            bytes: head.bytes,
        }
    }
}

/// An event and its place in the context's event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEvent {
    /// Counts the context's events without gaps; from where, [`Arrival`](crate::Arrival) says.
    pub sequence: u64,
    /// The event.
    pub event: Event,
}

impl Committed {
    /// The delta; `None` if the call neither wrote nor told anything, and for
    /// changes that are no calls.
    pub fn delta_id(&self) -> Option<DeltaId> {
        self.delta_id
    }

    /// The context's root after the change; [`Root::EMPTY`] for changes of no context.
    pub fn root(&self) -> Root {
        self.standing.root
    }

    /// How often the context's state has changed: one more for each call with writes.
    pub fn version(&self) -> u64 {
        self.standing.version
    }

    /// The context's state after the change.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The stamp of the delta, which may be later than the call has asked for;
    /// [`Hlc::ZERO`] for changes that are neither call nor delta.
    pub fn hlc(&self) -> Hlc {
        self.hlc
    }

    /// The root that a delta of another node says that it leads to, if it leads to
    /// another one here although it follows everything that is here. Its author has
    /// another state, or lies; nothing else says so, and nodes that got it in another order
    /// may not notice. State rests on what deltas do, never on this.
    pub fn root_there(&self) -> Option<Root> {
        self.root_there
    }

    /// The context's slot; [`ContextSlot::UNASSIGNED`] for changes of no context.
    pub fn slot(&self) -> ContextSlot {
        self.slot
    }

    /// The call's events.
    pub fn events(&self) -> &[CommittedEvent] {
        &self.events
    }

    /// Takes the call's events out.
    pub fn take_events(&mut self) -> Vec<CommittedEvent> {
        std::mem::take(&mut self.events)
    }

    /// Takes out the answer that is kept from now on, if there is one.
    pub fn take_kept(&mut self) -> Option<(AnswerKey, KeptAnswer)> {
        self.kept.take().map(|kept| *kept)
    }

    pub(crate) fn of_no_call(slot: ContextSlot) -> Self {
        Committed {
            slot,
            delta_id: None,
            standing: Standing::OF_NO_CONTEXT,
            hlc: Hlc::ZERO,
            root_there: None,
            events: Vec::new(),
            kept: None,
        }
    }
}

/// The answer to one change of a committed batch.
pub type Verdict = Result<Committed, Refused>;
