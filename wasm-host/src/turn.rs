//! One run of a guest for one call: what goes in and what comes out.

use std::sync::Arc;

use bytes::Bytes;

use crate::description::MethodKind;
use crate::failure::Failure;
use crate::guest_state::GuestState;
use crate::instance::Instance;
use crate::world;

/// Which export runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `init`: makes a context's first state. May write.
    Init,
    /// `call`: a method.
    Call {
        /// The method's name.
        method: Arc<str>,
        /// What the description says about it; a query may not write.
        kind: MethodKind,
    },
    /// `handle`: what the server calls by itself. May write. Fails with
    /// [`Failure::Misused`] if the application has none.
    Handle {
        /// The handler's name.
        handler: Arc<str>,
    },
    /// `inspect`: whether an update may be queued, which is an error if it may not. May not write.
    /// Fails with [`Failure::Misused`] if the application does not look at updates.
    Inspect {
        /// The update's name.
        method: Arc<str>,
    },
    /// Tells of what happens to the context. May write, but for [`Hook::LowMemory`]. Fails with
    /// [`Failure::Misused`] if the application has no such hook.
    Hook(Hook),
}

/// What an application can be told of what happens to its contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `before-upgrade`: the context is about to be another application's.
    BeforeUpgrade,
    /// `migrate`: its state is in an earlier form.
    Migrate {
        /// The number of that form.
        from: u64,
    },
    /// `after-upgrade`: it was another application's.
    AfterUpgrade,
    /// `stop`: the server is about to.
    Stop,
    /// `low-memory`: the instance's memory has [grown](crate::Instance::is_low_on_memory).
    LowMemory,
}

impl Hook {
    /// The name of its export.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::BeforeUpgrade => world::BEFORE_UPGRADE,
            Hook::Migrate { .. } => world::MIGRATE,
            Hook::AfterUpgrade => world::AFTER_UPGRADE,
            Hook::Stop => world::STOP,
            Hook::LowMemory => world::LOW_MEMORY,
        }
    }
}

/// What a guest is told and given for one call.
pub struct Turn {
    /// Which export runs.
    pub entry: Entry,
    /// A JSON object with one member per parameter.
    pub args: Bytes,
    /// The context's id.
    pub context: [u8; 32],
    /// Who called.
    pub caller: Arc<str>,
    /// The public key of this node, under which alone it may write in the owned space.
    pub author: [u8; 32],
    /// The call's time in nanoseconds since 1970.
    pub now_nanos: u64,
    /// What `context.random` draws from. The same seed gives the same bytes.
    pub seed: [u8; 32],
    /// Changes when the context's state does.
    pub state_version: u64,
    /// The turn's whole budget. See `query_fuel_max` and its neighbours in
    /// [`crate::Limits`].
    pub fuel_max: u64,
    /// Queries of other contexts that the outermost call has caused before this turn: 0 in the
    /// outermost. With its own they are at most
    /// [`query_calls_max`](crate::Limits::query_calls_max).
    pub queries: u64,
    /// The context's state as this turn sees it.
    pub state: Box<dyn GuestState>,
}

/// What is left of a turn.
pub struct Finished {
    /// The instance, if it may be used again; none if it was discarded, in
    /// which case its slot in the pool is already free.
    pub instance: Option<Instance>,
    /// The answer. On a failure nothing in `state` and `events` may be kept.
    pub outcome: Result<Output, Failure>,
    /// The state that the turn was given, with its writes.
    pub state: Box<dyn GuestState>,
    /// What the turn wants to tell the world; empty on a failure.
    pub events: Vec<GuestEvent>,
    /// What the turn wants to tell its author, also on a failure.
    pub logs: Vec<GuestLog>,
    /// What the guest has asked for that differs from call to call.
    pub reads: Reads,
    /// Fuel used, of the turn's `fuel_max`.
    pub fuel_used: u64,
}

/// What a guest has asked for that differs from call to call, however much the calls and
/// the state are the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// Who calls.
    pub caller: bool,
    /// The time, or random bytes.
    pub moment: bool,
    /// Another context's query.
    pub others: bool,
}

/// A checked answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Valid JSON; `null` for `init`, `inspect` and hooks.
    pub bytes: Vec<u8>,
}

/// An event that a turn emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestEvent {
    /// What happened, in the application's words.
    pub kind: String,
    /// Valid JSON.
    pub payload: Vec<u8>,
}

/// A line that a turn logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLog {
    /// How bad it is.
    pub level: LogLevel,
    /// The line. Foreign text: escape it before it reaches a terminal.
    pub message: String,
}

/// How bad a logged line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something looks wrong.
    Warn,
    /// Something happened.
    Info,
    /// Details.
    Debug,
}
