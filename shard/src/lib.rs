//! One core's world: the contexts that a core owns, the order in which their
//! calls run, and the way of their effects to the disk.
//!
//! No HTTP, no file formats and no engine here: guests run through
//! `corelet_wasm_host`, state lives in `corelet_store`. The executor is hidden
//! behind [`rt`].
//!
//! Start reading at [`ShardHandle::call`] (`handle.rs`), which leads to
//! `shard.rs` (a call on its owner), `turn.rs` (its guest), `commit_stage.rs`
//! and `commit_thread.rs` (its effects) and back. [`Node`] starts and stops it all.

#![warn(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agenda;
mod ahead;
mod answer;
mod applications;
mod asking;
mod asks;
mod attaching;
mod blobs;
mod bounds;
mod chain;
mod clock;
mod collector;
mod commit_stage;
mod commit_thread;
mod compiler;
mod components;
mod context;
mod contexts;
mod copies;
mod delivery;
mod directory;
mod due;
mod ending;
mod error;
mod events;
mod fair;
mod fault;
#[cfg(test)]
mod fixture;
mod guest_log;
mod handle;
mod held;
mod hooks;
mod inspecting;
mod keyed;
mod large;
mod live;
mod mailbox;
mod mesh;
mod message;
mod node;
mod notes;
mod opening;
mod overlay;
mod pacer;
mod placement;
mod places;
mod quarantine;
mod query_cache;
mod rate;
mod ready;
mod recording;
pub mod rt;
mod saver;
mod schedule;
mod sends;
mod sequences;
mod serving;
mod shard;
mod snapshots;
mod statistics;
mod stats;
mod subscriptions;
mod timers;
mod turn;
mod unpack;
mod upgrade;
mod uploads;
mod view;
mod warm_order;
mod warm_sum;
mod watchdog;
mod weight;

pub use blobs::{
    BLOB_CONTEXTS_MAX, BlobDownload, BlobInfo, BlobRequestError, BlobService, BlobStats,
    BlobUpload, SharedCount, UploadedBlob,
};
pub use bounds::{
    BlobBounds, Bounds, CollectorBounds, SendBounds, SubscriptionBounds, TimerBounds,
    WatchdogConfig,
};
pub use compiler::Coming;
pub use components::component_file;
pub use copies::{ContextReader, CopyStream, ReadError};
pub use delivery::{DELIVERY_BYTES_MAX, DELIVERY_DELTAS_MAX, Delivered};
pub use directory::NAME_CHARS_MAX;
pub use ending::Ending;
pub use error::CallError;
pub use events::{EventRecord, EventsPage};
pub use guest_log::{GuestLine, GuestLines};
pub use handle::ShardHandle;
pub use message::{Call, ContextInfo, NewCode, NewContext, Reply, Upgraded};
pub use node::{Drainer, Node, NodeConfig, StartError};
pub use notes::is_note;
pub use placement::{Cores, available_cores};
pub use sends::{SentCallInfo, SentNumber};
pub use statistics::{
    Busiest, BusyContext, BusyQuestion, ContextStatistics, FailureKind, MethodRow,
    MethodStatistics, RankedBy, RankedOver, Sums, TIME_BUCKETS, Times,
};
pub use stats::{BUCKETS, Counter, Gauge, Histogram, ShardStats};
pub use subscriptions::WhichSubscriptions;
pub use uploads::{UploadService, UploadStats};
pub use weight::Weight;
