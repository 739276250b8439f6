//! How strangers' code runs: engine, compiler and its cache, instances, metering,
//! limits and host functions. The contents page of the crate.
//!
//! No LMDB, no network and no executor here. A guest reaches its context's
//! state through [`GuestState`], which the shard implements; a turn is a plain
//! future that is pending exactly when a fuel slice has ended, or when its guest waits for
//! another context's query.
//!
//! Start reading at [`Host::load`] (bytes to [`Module`]), then
//! [`Module::instantiate`], then [`Instance::run`] ([`Turn`] to [`Finished`]).

mod compile;
mod compile_cache;
mod costs;
mod description;
mod engine;
mod failure;
mod functions;
mod guest_blobs;
mod guest_calls;
mod guest_sends;
mod guest_sequences;
mod guest_state;
mod guest_subscriptions;
mod guest_timers;
mod host;
mod host_context;
mod instance;
mod limits;
mod module;
mod refused;
mod running;
mod shape;
mod slot;
mod stable;
mod stats;
mod turn;
mod world;

pub use compile::{CompileIn, NotCompiled, WorkerCommand, WorkerError, compile_worker};
pub use costs::{HOST_COSTS, HostCost};
pub use description::{BadDescription, Description, Method, MethodKind, Parameter};
pub use engine::operator_costs;
pub use failure::Failure;
pub use functions::is_shallow;
pub use guest_blobs::{
    AttachStep, AttachedBlob, AttachedFrom, AttachedPage, DetachStep, GuestBlobs, SizeFrom,
    SizeKnown, SizeStep,
};
pub use guest_calls::{Answered, QueryError, Question};
pub use guest_sends::{CALLBACK_DEPTH_MAX, GuestSends, NewCallback, NewSend, Sending, SentBounds};
pub use guest_sequences::{Elements, GuestSequences, RemovalStep, SequenceKind, SequenceStep};
pub use guest_state::{
    GuestState, KEY_BYTES_MAX, NullState, Row, Space, StateError, Walk as StateWalk,
};
pub use guest_subscriptions::{
    GuestSubscription, GuestSubscriptions, NewSubscription, Subscribing,
};
pub use guest_timers::{Arming, GuestTimer, GuestTimers, NewTimer, TimersPage};
pub use host::{Host, HostConfig, HostError, LoadReport, LoadSource};
pub use instance::{Instance, InstantiateError};
pub use limits::{LimitInfo, Limits, Unit};
pub use module::{Module, ModuleId};
pub use refused::Refused;
pub use running::Running;
pub use stable::{STABLE_BLOCK_BYTES, STABLE_PAGE_BYTES};
pub use stats::{CompileOutcome, HostStats, TrapCounts};
pub use turn::{Entry, Finished, GuestEvent, GuestLog, Hook, LogLevel, Output, Reads, Turn};
