//! What goes into a commit and what comes out: `Change`, `CallEffects` and
//! `Committed`. Plain owned data that crosses threads. How it is written is in
//! `apply/`.

use std::fmt;

use bytes::Bytes;

use crate::error::Refused;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId, NodeId, Root};
use crate::record::Head;

/// What a write, an event or a log line takes in memory around its own bytes: as
/// an op, in an overlay and in between. Without it many small ones would count
/// for next to nothing.
const AROUND_BYTES: usize = 300;

/// One change of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes a context and commits the effects of its `init`.
    CreateContext(NewContext),
    /// Commits the effects of one update call.
    Call(CallEffects),
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
    /// Frees a name. No error if it is free.
    RemoveName {
        /// The name.
        name: String,
    },
}

impl Change {
    /// Bytes that count against [`crate::BATCH_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Change::CreateContext(NewContext { call, .. }) | Change::Call(call) => {
                return call.bytes();
            }
            Change::PutApplication(record) => {
                record.name.len() + record.version.len() + record.description.len()
            }
            Change::DeleteContext(_)
            | Change::RemoveApplication(_)
            | Change::PutName { .. }
            | Change::RemoveName { .. } => 0,
        };
        bytes as u64
    }

    /// How many entries it writes.
    pub fn writes(&self) -> usize {
        match self {
            Change::CreateContext(NewContext { call, .. }) | Change::Call(call) => call.ops.len(),
            Change::DeleteContext(_)
            | Change::PutApplication(_)
            | Change::RemoveApplication(_)
            | Change::PutName { .. }
            | Change::RemoveName { .. } => 0,
        }
    }
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

/// The effects of one call.
#[derive(Clone, Debug)]
pub struct CallEffects {
    /// The context that was called.
    pub context: ContextId,
    /// Its slot on this shard.
    pub slot: ContextSlot,
    /// The node that ran the call.
    pub author: NodeId,
    /// When. Not before the context's last stamp.
    pub hlc: Hlc,
    /// The writes, in ascending order of their keys and one for each key.
    pub ops: Vec<Op>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// What the guest logged. Not stored: handed back with the receipt, so that
    /// nothing is logged of a call that left no trace.
    pub logs: Vec<LogLine>,
}

impl CallEffects {
    /// Bytes that count against [`crate::BATCH_BYTES_MAX`]: about what it takes
    /// in memory.
    pub fn bytes(&self) -> u64 {
        let op = |op: &Op| op.key.len() + op.value.as_ref().map_or(0, |value| value.len());
        let event = |event: &Event| event.kind.len() + event.payload.len();
        let parts = self.ops.len() + self.events.len() + self.logs.len();
        let bytes = self.ops.iter().map(op).sum::<usize>()
            + self.events.iter().map(event).sum::<usize>()
            + self
                .logs
                .iter()
                .map(|line| line.message.len())
                .sum::<usize>()
            + parts * AROUND_BYTES;
        bytes as u64
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The key, at most [`crate::KEY_BYTES_MAX`].
    pub key: Bytes,
    /// What kind of entry the key holds.
    pub kind: EntryKind,
    /// The new value, at most [`crate::VALUE_BYTES_MAX`]; `None` removes.
    pub value: Option<Bytes>,
}

/// What an entry is, and so how two writes of it are merged. The numbers are
/// part of the disk format. Reserved: 2 counter, 3 set element, 4 map element,
/// 5 list, 6 text, 7 write-once, 128 tombstone flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// The last writer wins, by stamp and then by author.
    Register = 1,
}

impl EntryKind {
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(EntryKind::Register),
            _ => None,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryKind::Register => f.write_str("register"),
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

/// One line that the guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How serious.
    pub level: LogLevel,
    /// The text, unescaped.
    pub message: String,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// For the application's author.
    Debug,
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
}

/// The receipt: this change is on disk. Only a commit makes one, so no reply
/// can be built from anything that might still vanish.
#[derive(Debug)]
pub struct Committed {
    pub(crate) slot: ContextSlot,
    pub(crate) delta_id: Option<DeltaId>,
    pub(crate) standing: Standing,
    pub(crate) events: Vec<CommittedEvent>,
    pub(crate) logs: Vec<LogLine>,
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
    /// Counts the context's events, from 1 without gaps.
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

    /// The context's slot; [`ContextSlot::UNASSIGNED`] for changes of no context.
    pub fn slot(&self) -> ContextSlot {
        self.slot
    }

    /// The call's events, for subscribers.
    pub fn events(&self) -> &[CommittedEvent] {
        &self.events
    }

    /// The call's log lines, to be logged now.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }

    pub(crate) fn of_no_call(slot: ContextSlot) -> Self {
        Committed {
            slot,
            delta_id: None,
            standing: Standing::OF_NO_CONTEXT,
            events: Vec::new(),
            logs: Vec::new(),
        }
    }
}

/// The answer to one change of a committed batch.
pub type Verdict = Result<Committed, Refused>;
