//! The bounds of one shard: every queue, cache and batch, with its default.

use std::time::Duration;

use corelet_store::{PendingBounds, Retention};

use crate::due::Pace;

/// How much one shard takes on before it says no. `server` fills it from the
/// configuration.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Calls waiting for their turn, over all contexts of a shard.
    pub waiting_max: usize,
    /// Calls waiting for their turn in one context.
    pub context_waiting_max: usize,
    /// Queries of one context that have begun and not ended, and as many of those that other
    /// contexts' queries have asked, for each depth. Each holds an
    /// instance of the process, so one context must not begin all it is asked.
    pub context_queries_max: usize,
    /// Queries of a shard that wait for the answers of other contexts' queries. Each holds an
    /// instance of the process.
    pub asking_queries_max: usize,
    /// Upgrades of contexts under way that a shard was asked for from outside. Each takes a place
    /// of those that requests to other shards have, for as long as its hooks run.
    pub upgrades_max: usize,
    /// Updates executed and not yet durable.
    pub uncommitted_max: usize,
    /// What those updates take in memory: keys, values, events, log lines, answers to be
    /// kept, and what is around each.
    pub uncommitted_bytes_max: u64,
    /// Calls that one shard may have outstanding at one other shard.
    pub mesh_inflight_max: usize,
    /// Contexts that keep something in memory; the least recently used one
    /// beyond it loses its warm instance.
    pub live_contexts_max: usize,
    /// Warm instances of the shard: its share of the process's instances, with
    /// some left for calls that find none warm.
    pub warm_instances_max: usize,
    /// Linear memory of these, as far as it has grown: the shard's share of what
    /// the process's warm instances may take together.
    pub warm_memory_bytes_max: u64,
    /// Lists and texts that the shard keeps in memory between turns: its share of
    /// what the process's may take together.
    pub sequence_memory_bytes_max: u64,
    /// Lists and texts that the shard brings into memory at the same time, together; the
    /// oldest of them may go beyond it.
    pub sequence_opening_bytes_max: u64,
    /// Answers to queries that are kept until the state changes: the shard's share of what
    /// the process's may take together. With 0 none is.
    pub query_cache_bytes_max: u64,
    /// The least fuel of a query whose answer is worth keeping.
    pub query_cache_fuel_min: u64,
    /// Warm instances kept by one context, for queries beside an update.
    pub context_instances_max: usize,
    /// Fuel after which a shard stops running guests and looks at its sockets:
    /// about 1 ms.
    pub slice_fuel: u64,
    /// Changes in one batch.
    pub batch_changes_max: usize,
    /// How many components may queue for being installed, and how many for being
    /// loaded.
    pub compile_queue_max: usize,
    /// Threads that compile components, besides the one that only loads what is
    /// installed.
    pub compile_threads: usize,
    /// Applications installed on the node. Every shard knows all of them, and
    /// each that was used stays in memory, compiled.
    pub applications_max: usize,
    /// Copies that are made at the same time, and whatever else reads contexts for
    /// somebody outside, over all shards.
    pub copies_max: usize,
    /// So long each of them may take, with its client: as long its snapshots keep pages of
    /// the ledgers from being used again.
    pub copy_age_max: Duration,
    /// Lines of one context's guests that are kept for its owner.
    pub guest_log_lines_max: usize,
    /// What these take in memory, with what is around each.
    pub guest_log_context_bytes_max: u64,
    /// What those of all contexts of the shard take. At least as much as those of one
    /// may.
    pub guest_log_bytes_max: u64,
    /// What of other nodes' deltas is believed, and how much of them waits.
    pub pending: PendingBounds,
    /// What the collector keeps, and how much it takes on itself.
    pub collector: CollectorBounds,
    /// How timers are run.
    pub timers: TimerBounds,
    /// How calls that contexts have sent to others are brought there.
    pub sends: SendBounds,
    /// For how long contexts are told that the server stops, all together.
    pub stop_hooks_timeout: Duration,
    /// How handlers are told of events.
    pub subscriptions: SubscriptionBounds,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            waiting_max: 10_000,
            context_waiting_max: 1_024,
            context_queries_max: 16,
            asking_queries_max: 256,
            upgrades_max: 16,
            uncommitted_max: 8_192,
            uncommitted_bytes_max: 256 << 20,
            mesh_inflight_max: 1_024,
            live_contexts_max: 1_000,
            warm_instances_max: 750,
            warm_memory_bytes_max: 1 << 30,
            sequence_memory_bytes_max: 256 << 20,
            sequence_opening_bytes_max: 256 << 20,
            query_cache_bytes_max: 64 << 20,
            query_cache_fuel_min: 100_000,
            context_instances_max: 2,
            slice_fuel: 1_000_000,
            batch_changes_max: 1_024,
            compile_queue_max: 64,
            compile_threads: 1,
            applications_max: 1_000,
            copies_max: 4,
            copy_age_max: Duration::from_secs(6 * 3_600),
            guest_log_lines_max: 1_000,
            guest_log_context_bytes_max: 256 << 10,
            guest_log_bytes_max: 16 << 20,
            pending: PendingBounds::default(),
            collector: CollectorBounds::default(),
            timers: TimerBounds::default(),
            sends: SendBounds::default(),
            stop_hooks_timeout: Duration::from_secs(2),
            subscriptions: SubscriptionBounds::default(),
        }
    }
}

/// How the timers of a shard's contexts are run.
#[derive(Clone, Debug)]
pub struct TimerBounds {
    /// Runs that begin in a second, in the long run.
    pub starts_per_second: u64,
    /// Runs that have begun and not ended.
    pub running_max: usize,
    /// Attempts at a run before it is given up.
    pub attempts_max: u32,
    /// From the first attempt to the second; twice as long to each further one, and up to half as
    /// long again, so that not all are tried at once.
    pub retry_after: Duration,
}

impl Default for TimerBounds {
    fn default() -> Self {
        TimerBounds {
            starts_per_second: 1_000,
            running_max: 64,
            attempts_max: 6,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl TimerBounds {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            starts_per_second: self.starts_per_second,
            running_max: self.running_max,
            // One of which the others come behind it anyway.
            context_running_max: 1,
            keeps_times: true,
        }
    }
}

/// How calls that the contexts of a shard have sent to others are brought there.
#[derive(Clone, Debug)]
pub struct SendBounds {
    /// Calls that begin to be handed over in a second, in the long run.
    pub starts_per_second: u64,
    /// Calls that are being handed over: until the other context has taken them, and their
    /// end, with a callback, is durable.
    pub running_max: usize,
    /// Those of one sender among them.
    pub sender_running_max: usize,
    /// Such calls that wait or run in one context at a time, from whatever shard they come.
    pub context_running_max: usize,
    /// The same in all contexts of the shard.
    pub taking_max: usize,
    /// Attempts at a callback before it is given up.
    pub attempts_max: u32,
    /// From the first attempt at a callback to the second; twice as long to each further one, and
    /// up to half as long again.
    pub retry_after: Duration,
}

impl Default for SendBounds {
    fn default() -> Self {
        SendBounds {
            starts_per_second: 10_000,
            running_max: 256,
            sender_running_max: 8,
            context_running_max: 4,
            taking_max: 1_024,
            attempts_max: 6,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl SendBounds {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            starts_per_second: self.starts_per_second,
            running_max: self.running_max,
            context_running_max: self.sender_running_max,
            keeps_times: false,
        }
    }
}

/// How the handlers of a shard's contexts are told of events to which they have subscribed.
#[derive(Clone, Debug)]
pub struct SubscriptionBounds {
    /// Times in a second, in the long run, that it is looked what there is for a handler.
    pub starts_per_second: u64,
    /// Handlers for which that is looked, or that are told, at a time.
    pub running_max: usize,
    /// Those of one context among them.
    pub context_running_max: usize,
    /// Times in a second, in the long run, that many events of the shard's contexts are looked at of which
    /// none is for a handler.
    pub passes_per_second: u64,
    /// Events that a handler is told with one call; at least 1.
    pub batch_events_max: usize,
    /// Bytes of them, as JSON, beyond the first.
    pub batch_bytes_max: usize,
    /// Attempts at telling one event before that is given up.
    pub attempts_max: u32,
    /// From the first attempt to the second; twice as long to each further one, and up to half as
    /// long again.
    pub retry_after: Duration,
}

impl Default for SubscriptionBounds {
    fn default() -> Self {
        SubscriptionBounds {
            starts_per_second: 10_000,
            running_max: 64,
            context_running_max: 4,
            passes_per_second: 200,
            batch_events_max: 100,
            batch_bytes_max: 256 << 10,
            attempts_max: 6,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl SubscriptionBounds {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            starts_per_second: self.starts_per_second,
            running_max: self.running_max,
            context_running_max: self.context_running_max,
            keeps_times: false,
        }
    }
}

/// What the collector keeps, and how much it takes on itself.
#[derive(Clone, Debug)]
pub struct CollectorBounds {
    /// How often every context is looked at. Those that grow are looked at sooner.
    pub every: Duration,
    /// What is kept of each context.
    pub retention: Retention,
    /// Bytes of records that the scrub reads in a second; with 0 there is none.
    pub scrub_bytes_per_second: u64,
}

impl Default for CollectorBounds {
    fn default() -> Self {
        CollectorBounds {
            every: Duration::from_secs(60),
            retention: Retention::default(),
            scrub_bytes_per_second: 1 << 20,
        }
    }
}

/// What blobs may take, and for how long they are kept. One for all shards.
#[derive(Clone, Debug)]
pub struct BlobBounds {
    /// Threads that work on their files.
    pub threads: usize,
    /// Uploads under way at the same time.
    pub uploads_max: usize,
    /// Downloads under way at the same time. Each has up to 0.8 MB in memory, and 32 bytes for
    /// each 256 KiB of its blob.
    pub downloads_max: usize,
    /// Bytes of one blob's content.
    pub blob_bytes_max: u64,
    /// Bytes of the file system that uploads leave free.
    pub disk_free_bytes_min: u64,
    /// How long a blob is kept that nobody refers to, from when it was last uploaded or
    /// attached.
    pub ttl: Duration,
    /// From one look through all blobs to the next.
    pub sweep_every: Duration,
}

impl Default for BlobBounds {
    fn default() -> Self {
        BlobBounds {
            threads: 2,
            uploads_max: 8,
            downloads_max: 64,
            blob_bytes_max: 1 << 30,
            disk_free_bytes_min: 256 << 20,
            ttl: Duration::from_secs(24 * 3600),
            sweep_every: Duration::from_secs(600),
        }
    }
}

/// When the watchdog speaks up.
#[derive(Clone, Debug)]
pub struct WatchdogConfig {
    /// A heartbeat later than this is logged and counted.
    pub warn_after: Duration,
    /// A heartbeat later than this ends the process.
    pub abort_after: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        WatchdogConfig {
            warn_after: Duration::from_millis(250),
            abort_after: Duration::from_secs(2),
        }
    }
}
