//! Every setting there is: name, type, bounds, default and effect, declared
//! once. The structs, the list of fields, the reference page and the defaults
//! all come from this table. What guests may use is declared by `wasm-host`,
//! which enforces it, and appears here as the section `limits`. How values are found is in `layers.rs`.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use corelet_store::{
    ANSWER_AROUND_BYTES, BLOB_BYTES_MAX, DELTA_BYTES_MAX, KEY_BYTES_MAX, SHARDS_MAX,
    VALUE_BYTES_MAX,
};
use corelet_wasm_host::{LimitInfo, Limits, Unit};

use super::error::ConfigError;
use super::layers::{Effective, Layers};
use super::value::{Bytes, Field, LogFormat, LogLevel, Setting};

/// Declares the sections. A field reads
/// `name: Type [least, most] = "default";` under the lines that give its
/// effect; the bounds are left out where the type has no order.
macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $effect:literal])+
                $field:ident: $Type:ty $([$least:expr, $most:expr])? = $default:literal;
            )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone)]
            #[non_exhaustive]
            pub struct $Section {
                $(
                    $(#[doc = $effect])+
                    pub $field: $Type,
                )+
            }
        )+

        /// The whole configuration, checked. Only `Layers::resolve` makes one.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Config {
            $(
                $(#[doc = $section_doc])+
                pub $section: $Section,
            )+
            /// What an application may be and what one call of it may use.
            pub limits: Limits,
        }

        /// The sections in order, each with the lines that introduce it.
        pub(super) const SECTIONS: &[(&str, &[&str])] = &[
            $((stringify!($section), &[$($section_doc),+]),)+
            (LIMITS, &["What an application may be, what compiling it may take, and what one call of it may use. A call is stopped at its limit, and nothing that it did has happened. The bounds hold while all other settings have their defaults."]),
        ];

        /// The fields of all sections but `limits`, in the order of declaration.
        const DECLARED: &[Field] = &[$($(
            Field {
                path: concat!(stringify!($section), ".", stringify!($field)),
                unit: <$Type as Setting>::UNIT,
                default: $default,
                bounds: settings!(@bounds $($least, $most)?),
                effect: &[$($effect),+],
                canonical: <$Type as Setting>::canonical,
                show_bound: <$Type as Setting>::write_size,
            },
        )+)+];

        impl Config {
            /// Builds the typed values from the texts that won.
            pub(super) fn from_effective(effective: &Effective) -> Result<Config, ConfigError> {
                let config = Config {
                    $($section: $Section {
                        $($field: effective.typed(concat!(stringify!($section), ".", stringify!($field)))?,)+
                    },)+
                    limits: limits(effective)?,
                };
                config.check_together()?;
                Ok(config)
            }
        }
    };
    (@bounds) => { None };
    (@bounds $least:expr, $most:expr) => { Some(($least, $most)) };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1000;
const HOUR: u64 = 3_600_000;

settings! {
    /// The front door. All bounds on connections hold per shard.
    http: Http {
        /// Where the server listens. Anything but loopback exposes it to the network, without TLS.
        listen: SocketAddr = "127.0.0.1:7700";
        /// Open connections per shard. One more is answered 503 and closed.
        connections_max: u64 [1, 1_000_000] = "4096";
        /// Request line and headers together. More is answered 431.
        header_bytes_max: Bytes [8 * KIB, MIB] = "16 KiB";
        /// Number of headers in a request. More is answered 431.
        headers_max: u64 [8, 1000] = "64";
        /// From a request's first byte to the end of its headers. Later is answered 408.
        header_timeout: Duration [100, HOUR] = "10 s";
        /// Body of a JSON-RPC or admin request. More is answered 413.
        body_bytes_max: Bytes [KIB, GIB] = "2 MiB";
        /// Body of a request that needs no token; no route reads it. More is answered 413.
        open_body_bytes_max: Bytes [0, 64 * KIB] = "1 KiB";
        /// From the end of the headers to the end of the body, for all but uploads. Later is answered 408.
        body_timeout: Duration [100, HOUR] = "30 s";
        /// A connection without a request, or a client that does not take its answer, is closed after this time.
        idle_timeout: Duration [SECOND, 24 * HOUR] = "75 s";
        /// An uploaded application. More is answered 413.
        upload_bytes_max: Bytes [KIB, GIB] = "64 MiB";
        /// From the end of an upload's headers to the end of its body. Later is answered 408.
        upload_timeout: Duration [SECOND, 24 * HOUR] = "5 min";
        /// Uploads at the same time per shard. One more is answered 429.
        uploads_max: u64 [1, 64] = "2";
        /// Calls in one JSON-RPC batch. More are refused with code -32009.
        batch_max: u64 [1, 10_000] = "100";
        /// Answers to one JSON-RPC batch, together. Calls for whose answers there is no room any more are not run, but refused with code -32013. As many run at once as there is room for if each answers with limits.output_bytes_max. A connection holds the answers to one batch until its client has read them, so all of them hold at most connections_max times this much per shard.
        batch_answers_bytes_max: Bytes [64 * KIB, GIB] = "32 MiB";
        /// Nesting of arrays and objects in a request. Deeper is refused with code -32010.
        depth_max: u64 [8, 1000] = "128";
    }

    /// How the work is spread over the cores.
    shards: Shards {
        /// Number of shards of a new data directory; 0 means one per core. An existing directory keeps its number.
        count: u64 [0, SHARDS_MAX as u64] = "0";
        /// Cores to use; 0 means all that this process may run on. Shards are pinned to them round robin.
        cores: u64 [0, 1024] = "0";
        /// A shard without work spins this long before it sleeps. Makes calls between cores some ten times faster and burns idle CPU.
        spin: Duration [0, 10] = "0 ms";
        /// Calls waiting for their turn on one shard. One more is refused with code -32005 and 429.
        waiting_max: u64 [1, 1_000_000] = "10_000";
        /// Calls waiting for their turn in one context. One more is refused with code -32005 and 429.
        context_waiting_max: u64 [1, 1_000_000] = "1024";
        /// Queries of one context that run at the same time, slice by slice, and as many beside them that other contexts' queries ask at each depth. Each holds an instance until it ends; one more waits.
        context_queries_max: u64 [1, 1024] = "16";
        /// Queries of the whole process that wait for the answers of other contexts' queries; each shard has an equal share, and may have as many questions outstanding at one other shard. Each holds an instance until it ends. The query that asks beyond it is told that the server is busy.
        asking_queries_max: u64 [1, 65_536] = "500";
        /// Upgrades of contexts under way that the connections of one shard have asked for. One more is refused with code -32005 and 429.
        upgrades_max: u64 [1, 32] = "16";
        /// Calls that one shard may have outstanding at one other shard. One more is refused with code -32005 and 429.
        mesh_inflight_max: u64 [1, 65_536] = "1024";
        /// Updates of one shard that have run and are not yet durable.
        uncommitted_max: u64 [1, 1_000_000] = "8192";
        /// What those updates take in memory: keys, values, events, log lines and answers to be kept, and some 300 bytes around each.
        uncommitted_bytes_max: Bytes [MIB, 64 * GIB] = "256 MiB";
        /// Calls committed in one transaction.
        batch_changes_max: u64 [1, 100_000] = "1024";
        /// Contexts per shard that keep something in memory. The least recently used one beyond it gives it up.
        live_contexts_max: u64 [1, 1_000_000] = "1000";
        /// Instances kept warm for one context, for queries beside an update.
        context_instances_max: u64 [1, 64] = "2";
        /// Instances of the whole process, warm and running. Each reserves address space.
        instances_max: u64 [8, 20_000] = "1000";
        /// Linear memory of all these instances, as far as it has grown. A call that needs more of it than is left is stopped, and refused with code -32005 and 429.
        instances_bytes_max: Bytes [64 * KIB, 16 * TIB] = "4 GiB";
        /// Linear memory of the instances that the whole process keeps warm, as far as it has grown; each shard has an equal share. Those of the least recently called contexts go for others, and one that is larger than a share goes after its call. A call that finds none warm makes one.
        warm_memory_bytes_max: Bytes [0, TIB] = "1 GiB";
        /// Lists and texts that the whole process keeps in memory between calls; each shard has an equal share. Those that were used least recently go for others, and one that is larger than a share is made anew for each call.
        sequence_memory_bytes_max: Bytes [0, TIB] = "256 MiB";
        /// Lists and texts that the whole process brings into memory at the same time; each shard has an equal share, which the one that has begun first may exceed. A call that would have one more brought in then is refused with code -32005 and 429.
        sequence_opening_bytes_max: Bytes [MIB, TIB] = "256 MiB";
        /// Threads that compile applications. One more loads those that are installed, so that no call waits for another application's install.
        compile_threads: u64 [1, 64] = "1";
        /// Applications waiting to be installed, and as many waiting to be loaded. One more is refused with code -32005 and 429.
        compile_queue_max: u64 [1, 1024] = "64";
        /// Applications installed on this server. Those that were used since the start stay in memory, compiled. One more is refused with code -32026.
        applications_max: u64 [1, 10_000] = "1000";
        /// Backups, exports and listings of entries and changes that are made at the same time, of the whole node. Each has a thread, and keeps pages of the ledgers from being used again for as long as its client takes.
        copies_max: u64 [1, 64] = "4";
        /// One that is not made, and taken as a whole by its client, within this time is broken off; so is a listing that has found nothing to show by then. Until then the client has http.idle_timeout for each 256 KiB that is there.
        copy_age_max: Duration [SECOND, 30 * 24 * HOUR] = "6 h";
        /// Answers to queries that the whole process keeps until the state of their context changes; each shard has an equal share. Those that were used least recently go for others. 0 keeps none.
        query_cache_bytes_max: Bytes [0, TIB] = "64 MiB";
        /// A query that has used less fuel is run again instead. So is one whose application asks for the time, for random bytes or another context, or logs anything.
        query_cache_fuel_min: u64 [0, 1_000_000_000_000] = "100000";
        /// Lines that the guests of one context have logged, kept in memory for `corelet logs`. The oldest go first.
        guest_log_lines_max: u64 [1, 100_000] = "1000";
        /// What these take in memory, with 128 bytes around each. A line of more than 4 KiB is cut.
        guest_log_context_bytes_max: Bytes [8 * KIB, 64 * MIB] = "256 KiB";
        /// What those of all contexts of one shard take. Those of the context that has logged longest ago go first.
        guest_log_bytes_max: Bytes [8 * KIB, 16 * GIB] = "16 MiB";
    }

    /// What is kept on disk.
    storage: Storage {
        /// Largest size of one shard's ledger. Takes address space at once, disk only as it fills.
        map_bytes_max: Bytes [16 * MIB, 16 * TIB] = "64 GiB";
        /// Size of one shard's journal, in which calls become durable before they are brought into the ledger. Until then they take that much memory and some more. 0 brings each batch in at once.
        journal_bytes_max: Bytes [0, 256 * MIB] = "8 MiB";
        /// Memory of one shard for hash trees of the contexts that were written to last, each at most half of it. 0 reads them anew whenever the journal is full, which makes writes into contexts of many keys slower.
        trie_bytes_max: Bytes [0, 16 * GIB] = "32 MiB";
        /// Size of one shard's ledger up to which every page and record of it is read at each start, before anything is served: about a second for 1 GiB that is in memory, otherwise what the disk takes. Single bits that are others than they were written are put right, contexts with other damage go out of service. Of a larger one only the pages that lead to records are read, and the first look for damage begins at once. 0 reads nothing.
        start_check_bytes_max: Bytes [0, 16 * TIB] = "1 GiB";
        /// Snapshots that may be open on one shard at the same time, but at least shards.instances_max and 16 more, so that no call is without one. A lower number is raised to that, and the start warns of one that was set. Half of them are left to calls: a backup, an export or a listing beyond the other half is refused with code -32005 and 429.
        readers_max: u64 [16, 10_000] = "256";
        /// How long the answer to a call with an idempotency key is kept, unless one of the next two bounds comes first. The same call within this time is told the same and does not run again.
        answers_age_max: Duration [SECOND, 90 * 24 * HOUR] = "24 h";
        /// Such answers kept of one context. The oldest go first, before their time if they have to: the same call may then run again, and corelet_answers_dropped_early counts them.
        answers_max: u64 [1, 1_000_000] = "10_000";
        /// What they take in one context, with 256 bytes around each. The oldest go first, in the same way.
        answers_bytes_max: Bytes [64 * KIB, GIB] = "4 MiB";
        /// Starts on a network file system, too. A ledger on one can be damaged for good.
        allow_network_filesystem: bool = "false";
    }

    /// What is kept of the past of each context, and how it is looked after. What is over any of the bounds goes, the oldest first, in small steps beside the calls.
    collector: Collector {
        /// How often every context is looked at. Those that are written to are looked at sooner, and so are their lists and texts.
        every: Duration [100, 24 * HOUR] = "1 min";
        /// Events kept of a context. A reader that is further behind is told of the gap.
        events_max: u64 [0, 1_000_000_000] = "10_000";
        /// Kinds and payloads of the events that are kept of a context. The newest one stays.
        events_bytes_max: Bytes [0, TIB] = "16 MiB";
        /// How old an event may become.
        events_age_max: Duration [SECOND, 87_600 * HOUR] = "168 h";
        /// Deltas kept of a context, after each of which its state can be read as it was. They go in steps of up to 64, the oldest first, once there are more than this; so up to 63 fewer may be left, and the newest always is.
        history_max: u64 [0, 1_000_000_000] = "10_000";
        /// Bytes of these deltas, and of what they have replaced, which is kept beside them for that.
        history_bytes_max: Bytes [0, TIB] = "16 MiB";
        /// How old a delta may become.
        history_age_max: Duration [SECOND, 87_600 * HOUR] = "168 h";
        /// A node that has a context and has acknowledged nothing of it for so long is not waited for any more; it has to take a snapshot.
        member_away_max: Duration [SECOND, 87_600 * HOUR] = "168 h";
        /// Nor is one for which so many bytes of deltas, and of what they have replaced, would have to be kept.
        member_away_bytes_max: Bytes [0, TIB] = "64 MiB";
        /// Bytes of records that each shard reads in a second to look for damage. With 0 it is found only when something is used.
        scrub_bytes_per_second: Bytes [0, GIB] = "1 MiB";
    }

    /// Large contents, each in a file of its own. All bounds hold for the whole process.
    blobs: Blobs {
        /// How long a blob is kept to which no context refers, from when it was last uploaded or attached.
        ttl: Duration [2 * SECOND, 87_600 * HOUR] = "24 h";
        /// From the end of one look for such blobs to the next one.
        sweep_every: Duration [100, 24 * HOUR] = "10 min";
        /// Uploads at the same time. One more is answered 429.
        uploads_max: u64 [1, 1000] = "8";
        /// While a blob is uploaded, 256 KiB more of it must arrive within this time. Later is answered 408.
        upload_timeout: Duration [100, HOUR] = "30 s";
        /// Downloads at the same time. One more is answered 429. Each takes up to 0.8 MB of memory, and 32 bytes for each 256 KiB of its blob.
        downloads_max: u64 [1, 10_000] = "64";
        /// Free space of the disk that uploads leave to everything else. One that would take of it is answered 507.
        disk_free_bytes_min: Bytes [0, 16 * TIB] = "256 MiB";
        /// Threads that read and write the files.
        threads: u64 [1, 64] = "2";
    }

    /// What applications have asked to be called for later. All bounds hold per shard.
    timers: Timers {
        /// Runs of timers that begin in a second, in the long run. What is due beyond that runs later.
        starts_per_second: u64 [1, 100_000] = "1000";
        /// Runs of timers that have begun and not ended.
        running_max: u64 [1, 10_000] = "64";
        /// Attempts at a run that fails by the application's fault. Behind the last one the run is given up, which the context's log tells.
        attempts_max: u64 [1, 100] = "6";
        /// From the first attempt to the second. To each further one it is twice as long, and up to half as long again.
        retry_after: Duration [1, HOUR] = "1 s";
    }

    /// Calls that contexts send to each other. All bounds hold per shard.
    sends: Sends {
        /// Calls that begin to be handed over in a second, in the long run. Those beyond that wait.
        starts_per_second: u64 [1, 1_000_000] = "10000";
        /// Calls that are being handed over, until their end is durable.
        running_max: u64 [1, 10_000] = "256";
        /// Those of one context among them. The others wait for these, so that one whose calls take long leaves places to its neighbours.
        sender_running_max: u64 [1, 10_000] = "8";
        /// Calls of other contexts that wait or run in one context. One more is handed over again a little later, so that who calls the context from outside waits for few.
        context_running_max: u64 [1, 1000] = "4";
        /// The same in all contexts of the shard. One more is handed over again a little later, too.
        taking_max: u64 [1, 100_000] = "1024";
        /// Attempts at a callback that fails by the application's fault. Behind the last one it is given up, which the context's log tells.
        attempts_max: u64 [1, 100] = "6";
        /// From the first attempt to the second. To each further one it is twice as long, and up to half as long again.
        retry_after: Duration [1, HOUR] = "1 s";
    }

    /// Events that are told to handlers which have subscribed to them. All bounds hold per shard.
    subscriptions: Subscriptions {
        /// How often in a second, in the long run, it is looked whether there is something for a handler. What is beyond that waits.
        starts_per_second: u64 [1, 1_000_000] = "10000";
        /// Handlers for which that is looked, or that are told, at the same time.
        running_max: u64 [1, 10_000] = "64";
        /// Those of one context among them. The others wait for these, so that who calls the context from outside waits for few.
        context_running_max: u64 [1, 1000] = "4";
        /// How often in a second, in the long run, a hundred and more events of the shard's contexts are looked at in vain, as they are not for whoever listens. All listeners together may cause so many such looks, and take turns if they would cause more.
        passes_per_second: u64 [1, 100_000] = "200";
        /// Events that a handler is told with one call.
        batch_events_max: u64 [1, 1000] = "100";
        /// Bytes of them, as JSON. One alone may have more, up to limits.args_bytes_max.
        batch_bytes_max: Bytes [KIB, 512 * KIB] = "256 KiB";
        /// Attempts at telling an event that fail by the application's fault. Behind the last one it is left out, which the context's log tells.
        attempts_max: u64 [1, 100] = "6";
        /// From the first attempt to the second. To each further one it is twice as long, and up to half as long again.
        retry_after: Duration [1, HOUR] = "1 s";
    }

    /// Applications that come in pieces, over as many requests and restarts as it takes. All bounds hold for the whole process.
    uploads: Uploads {
        /// Uploads that have begun and were neither installed nor ended. One more is refused with code -32005 and 429.
        count_max: u64 [1, 10_000] = "32";
        /// What all of them take: the length that was announced, or what is on disk if that is more. One that would take more is refused with code -32005 and 429. Each has at most limits.module_bytes_max.
        bytes_max: Bytes [64 * KIB, 16 * TIB] = "1 GiB";
        /// One piece. More is answered 413. It is in memory until it is on disk; 16 are at the same time, and http.uploads_max of each shard come in.
        piece_bytes_max: Bytes [KIB, 256 * MIB] = "4 MiB";
        /// How long an upload is kept to which nothing comes.
        age_max: Duration [100, 87_600 * HOUR] = "24 h";
        /// The same for one whose place is needed: the one to which nothing has come for longest goes when a new one finds no room.
        idle_max: Duration [100, 87_600 * HOUR] = "10 min";
    }

    /// What the server says about itself.
    log: Log {
        /// Shape of the lines: auto is text on a terminal and JSON elsewhere.
        format: LogFormat = "auto";
        /// The least important event that is still logged.
        level: LogLevel = "info";
        /// Lines that wait to be read from standard error. Those beyond it are dropped, counted in corelet_log_lines_lost, and told of in the log.
        queue_bytes_max: Bytes [64 * KIB, GIB] = "4 MiB";
    }

    /// Figures for Prometheus.
    metrics: Metrics {
        /// Serves /metrics without a token.
        public: bool = "false";
    }

    /// The life of the process.
    process: Process {
        /// After SIGTERM, calls in flight have this long to finish.
        drain_timeout: Duration [0, HOUR] = "30 s";
        /// Behind that, contexts with an instance in memory are told for this long in all that the server stops, if their applications export `stop`. Those that are left are not told. 0 tells none.
        stop_hooks_timeout: Duration [0, HOUR] = "2 s";
        /// A shard that has not shown a sign of life for this long is logged and counted.
        watchdog_warn: Duration [50, HOUR] = "250 ms";
        /// After this long the process aborts, so that its supervisor starts it anew.
        watchdog_abort: Duration [500, HOUR] = "2 s";
    }
}

/// The longest slice: some milliseconds, in which nobody else of the shard runs.
const SLICE_FUEL_MAX: u64 = 10_000_000;

impl Config {
    /// What no single field can see.
    fn check_together(&self) -> Result<(), ConfigError> {
        let Process {
            watchdog_warn,
            watchdog_abort,
            ..
        } = &self.process;
        if watchdog_warn >= watchdog_abort {
            return Err(ConfigError::Conflict {
                first: format!("process.watchdog_warn = {}", watchdog_warn.write()),
                second: format!("process.watchdog_abort = {}", watchdog_abort.write()),
                reason: "the warning must come before the abort",
            });
        }
        self.limits
            .check()
            .map_err(|why| ConfigError::Limit { why })?;
        let limits = &self.limits;
        for (name, found, max) in [
            // What the store takes.
            ("key_bytes_max", limits.key_bytes_max, KEY_BYTES_MAX as u64),
            (
                "value_bytes_max",
                limits.value_bytes_max,
                VALUE_BYTES_MAX as u64,
            ),
            (
                "event_bytes_max",
                limits.event_bytes_max,
                VALUE_BYTES_MAX as u64,
            ),
            // The rest is for what a delta has beside.
            (
                "write_bytes_max",
                limits.write_bytes_max,
                DELTA_BYTES_MAX / 2,
            ),
            (
                "upgrade_write_bytes_max",
                limits.upgrade_write_bytes_max,
                DELTA_BYTES_MAX / 2,
            ),
            ("slice_fuel", limits.slice_fuel, SLICE_FUEL_MAX),
            ("blob_bytes_max", limits.blob_bytes_max, BLOB_BYTES_MAX),
        ] {
            if found > max {
                let why = format!("{name} is {found}, and must be at most {max}");
                return Err(ConfigError::Limit { why });
            }
        }
        let instance_bytes = limits.memory_bytes_max.saturating_mul(limits.memories_max);
        let warm = self.shards.warm_memory_bytes_max;
        let all = self.shards.instances_bytes_max;
        if warm.0.saturating_add(instance_bytes) > all.0 {
            return Err(ConfigError::Conflict {
                first: format!(
                    "shards.warm_memory_bytes_max = {} with limits.memory_bytes_max = {}",
                    warm.write(),
                    Bytes(limits.memory_bytes_max).write()
                ),
                second: format!("shards.instances_bytes_max = {}", all.write()),
                reason: "beside the instances that stay warm there must be room for one that runs",
            });
        }
        if self.limits.output_bytes_max > self.http.batch_answers_bytes_max.0 {
            return Err(ConfigError::Conflict {
                first: format!(
                    "limits.output_bytes_max = {}",
                    Bytes(self.limits.output_bytes_max).write()
                ),
                second: format!(
                    "http.batch_answers_bytes_max = {}",
                    self.http.batch_answers_bytes_max.write()
                ),
                reason: "a batch must have room for the answer to one call at least",
            });
        }
        let answer_bytes = self
            .limits
            .output_bytes_max
            .saturating_add(ANSWER_AROUND_BYTES);
        if answer_bytes > self.storage.answers_bytes_max.0 {
            return Err(ConfigError::Conflict {
                first: format!(
                    "limits.output_bytes_max = {}",
                    Bytes(self.limits.output_bytes_max).write()
                ),
                second: format!(
                    "storage.answers_bytes_max = {}",
                    self.storage.answers_bytes_max.write()
                ),
                reason: "every answer must find room among those that are kept, with 256 bytes around it",
            });
        }
        if self.shards.guest_log_context_bytes_max.0 > self.shards.guest_log_bytes_max.0 {
            return Err(ConfigError::Conflict {
                first: format!(
                    "shards.guest_log_context_bytes_max = {}",
                    self.shards.guest_log_context_bytes_max.write()
                ),
                second: format!(
                    "shards.guest_log_bytes_max = {}",
                    self.shards.guest_log_bytes_max.write()
                ),
                reason: "one context cannot keep more lines than all of them together",
            });
        }
        if self.limits.args_bytes_max > self.http.body_bytes_max.0 {
            return Err(ConfigError::Conflict {
                first: format!(
                    "limits.args_bytes_max = {}",
                    Bytes(self.limits.args_bytes_max).write()
                ),
                second: format!("http.body_bytes_max = {}", self.http.body_bytes_max.write()),
                reason: "arguments travel inside a body, so the body must be allowed to be as large",
            });
        }
        Ok(())
    }
}

/// The section whose fields are declared by the crate that enforces them.
const LIMITS: &str = "limits";

/// All fields: those declared here, then those of `wasm-host`.
pub(super) fn fields() -> &'static [Field] {
    static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
        DECLARED
            .iter()
            .copied()
            .chain(Limits::TABLE.iter().map(limit_field))
            .collect()
    });
    &FIELDS
}

/// The whole name of the setting that is called `name` within its section, if there is one. What
/// is in several sections is a limit on calls, or on shards.
pub(crate) fn path_of(name: &str) -> Option<&'static str> {
    let paths = fields().iter().map(|field| field.path);
    let named = paths.filter_map(|path| {
        let (section, last) = path.split_once('.')?;
        (last == name).then_some((section, path))
    });
    let rank = |section| match section {
        LIMITS => 0,
        "shards" => 1,
        _ => 2,
    };
    let found = named.min_by_key(|(section, _)| rank(*section))?;
    Some(found.1)
}

/// A limit of `wasm-host` as a setting. Its texts live as long as the process:
/// they are made once.
fn limit_field(info: &'static LimitInfo) -> Field {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let effect: &'static [&'static str] = Box::leak(Box::new([info.doc]));
    let path = leak(format!("{LIMITS}.{}", info.name));
    let default = leak(info.default.to_string());
    let bounds = None;
    match info.unit {
        Unit::Bytes => Field {
            path,
            unit: Bytes::UNIT,
            default,
            bounds,
            effect,
            canonical: <Bytes as Setting>::canonical,
            show_bound: <Bytes as Setting>::write_size,
        },
        Unit::Time => Field {
            path,
            unit: Duration::UNIT,
            default: leak(Duration::write_size(info.default)),
            bounds,
            effect,
            canonical: <Duration as Setting>::canonical,
            show_bound: <Duration as Setting>::write_size,
        },
        Unit::Count | Unit::Fuel => Field {
            path,
            unit: if info.unit == Unit::Fuel {
                "fuel"
            } else {
                u64::UNIT
            },
            default,
            bounds,
            effect,
            canonical: <u64 as Setting>::canonical,
            show_bound: <u64 as Setting>::write_size,
        },
    }
}

/// Whether a limit may have this value while all else has its default.
pub(super) fn accepts(limit: &str, value: u64) -> bool {
    static DEFAULTS: LazyLock<Config> = LazyLock::new(|| {
        let defaults = Layers::default().resolve();
        defaults.expect("a test reads every default").0
    });
    let mut members = serde_json::Map::new();
    members.insert(limit.to_owned(), value.into());
    let limits = serde_json::from_value(members.into()).expect("a limit's name from the table");
    let config = Config {
        limits,
        ..DEFAULTS.clone()
    };
    config.check_together().is_ok()
}

/// The limits that won, by way of the names that `wasm-host` gives them.
fn limits(effective: &Effective) -> Result<Limits, ConfigError> {
    let mut members = serde_json::Map::new();
    for (field, info) in fields()[DECLARED.len()..].iter().zip(Limits::TABLE) {
        let value = match info.unit {
            Unit::Bytes => effective.typed::<Bytes>(field.path)?.0,
            // Written in milliseconds or in units made of them.
            Unit::Time => effective.typed::<Duration>(field.path)?.as_millis() as u64,
            Unit::Count | Unit::Fuel => effective.typed::<u64>(field.path)?,
        };
        members.insert(info.name.to_owned(), value.into());
    }
    Ok(serde_json::from_value(members.into()).expect("every name comes from the table itself"))
}
