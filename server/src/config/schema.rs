//! Every setting there is: name, type, bounds, default and effect, declared
//! once. The structs, the list of fields, the reference page and the defaults
//! all come from this table. How values are found is in `layers.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use super::error::ConfigError;
use super::layers::Effective;
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
        }

        /// The sections in order, each with the lines that introduce it.
        pub(super) const SECTIONS: &[(&str, &[&str])] =
            &[$((stringify!($section), &[$($section_doc),+])),+];

        /// All fields in the order of declaration.
        pub(super) const FIELDS: &[Field] = &[$($(
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
        body_bytes_max: Bytes [KIB, GIB] = "1 MiB";
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
        /// Nesting of arrays and objects in a request. Deeper is refused with code -32010.
        depth_max: u64 [8, 1000] = "128";
    }

    /// How the work is spread over the cores.
    shards: Shards {
        /// Number of shards of a new data directory; 0 means one per core. An existing directory keeps its number.
        count: u64 [0, 1024] = "0";
        /// Cores to use; 0 means all that this process may run on. Shards are pinned to them round robin.
        cores: u64 [0, 1024] = "0";
        /// A shard without work spins this long before it sleeps. Makes calls between cores some ten times faster and burns idle CPU.
        spin: Duration [0, 10] = "0 ms";
        /// Calls waiting in one shard's mailbox. One more is refused with code -32005 and 429.
        mailbox_max: u64 [16, 1_000_000] = "4096";
        /// Calls waiting for one context. One more is refused with code -32005 and 429.
        context_queue_max: u64 [1, 1_000_000] = "1024";
        /// Calls committed in one transaction.
        batch_calls_max: u64 [1, 100_000] = "1024";
    }

    /// What one call of an application may use. The program is stopped at the
    /// limit, and nothing that the call did has happened.
    limits: Limits {
        /// Fuel of one call: roughly one unit per instruction, and more for host functions.
        call_fuel_max: u64 [1_000_000, 1_000_000_000_000] = "1_000_000_000";
        /// Fuel after which a running call lets others go first. Should take less than a millisecond.
        slice_fuel: u64 [10_000, 100_000_000] = "1_000_000";
        /// Linear memory of one instance.
        memory_bytes_max: Bytes [MIB, 4 * GIB] = "64 MiB";
        /// Stack of one call.
        stack_bytes_max: Bytes [64 * KIB, 8 * MIB] = "512 KiB";
        /// Warm instances of the whole process. More contexts than that take turns.
        instances_max: u64 [16, 100_000] = "1000";
        /// Arguments of one call, in JSON.
        args_bytes_max: Bytes [KIB, GIB] = "1 MiB";
        /// Answer of one call, in JSON.
        output_bytes_max: Bytes [KIB, 64 * MIB] = "1 MiB";
        /// Keys of the state.
        key_bytes_max: Bytes [16, 480] = "480 B";
        /// One value of the state.
        value_bytes_max: Bytes [KIB, 64 * MIB] = "1 MiB";
        /// Entries that one call may write.
        writes_max: u64 [1, 1_000_000] = "10_000";
        /// Bytes of keys and values that one call may write.
        write_bytes_max: Bytes [KIB, GIB] = "16 MiB";
        /// Events that one call may emit.
        events_max: u64 [0, 100_000] = "100";
        /// Bytes of all events of one call.
        event_bytes_max: Bytes [0, 64 * MIB] = "1 MiB";
        /// Log lines that one call may write.
        logs_max: u64 [0, 100_000] = "100";
        /// Bytes of all log lines of one call.
        log_bytes_max: Bytes [0, MIB] = "64 KiB";
        /// An application's component.
        component_bytes_max: Bytes [KIB, GIB] = "64 MiB";
    }

    /// What is kept on disk.
    storage: Storage {
        /// Largest size of one shard's ledger. Takes address space at once, disk only as it fills.
        map_bytes_max: Bytes [16 * MIB, 16 * TIB] = "64 GiB";
        /// Snapshots that may be open on one shard at the same time.
        readers_max: u64 [16, 10_000] = "256";
        /// Starts on a network file system, too. A ledger on one can be damaged for good.
        allow_network_filesystem: bool = "false";
    }

    /// What the server says about itself.
    log: Log {
        /// Shape of the lines: auto is text on a terminal and JSON elsewhere.
        format: LogFormat = "auto";
        /// The least important event that is still logged.
        level: LogLevel = "info";
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
        /// A shard that has not shown a sign of life for this long is logged and counted.
        watchdog_warn: Duration [50, HOUR] = "250 ms";
        /// After this long the process aborts, so that its supervisor starts it anew.
        watchdog_abort: Duration [500, HOUR] = "2 s";
    }
}

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
        if self.limits.args_bytes_max > self.http.body_bytes_max {
            return Err(ConfigError::Conflict {
                first: format!(
                    "limits.args_bytes_max = {}",
                    self.limits.args_bytes_max.write()
                ),
                second: format!("http.body_bytes_max = {}", self.http.body_bytes_max.write()),
                reason: "arguments travel inside a body, so the body must be allowed to be as large",
            });
        }
        if self.limits.slice_fuel > self.limits.call_fuel_max {
            return Err(ConfigError::Conflict {
                first: format!("limits.slice_fuel = {}", self.limits.slice_fuel),
                second: format!("limits.call_fuel_max = {}", self.limits.call_fuel_max),
                reason: "a slice is a part of a call",
            });
        }
        Ok(())
    }
}
