//! Every bound on what a guest may be and do: name, unit, default, reason.
//!
//! A refusal or failure carries the name written here, so that the operator can
//! find the setting and the author can find the reason. What is done about an
//! exceeded limit lives where it is checked (`shape.rs`, `host_context.rs`,
//! `functions/`). Plain numbers, the same for the whole process.

use serde::{Deserialize, Serialize};

use crate::guest_sends::AROUND_OUTCOME_BYTES;

/// What a limit's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things, such as functions or calls.
    Count,
    /// Milliseconds.
    Time,
    /// Units of fuel (see [`crate::operator_costs`] and [`crate::HOST_COSTS`]).
    Fuel,
}

/// One row of the table of limits.
#[derive(Debug, Clone, Copy)]
pub struct LimitInfo {
    /// The name that refusals, config and documentation use.
    pub name: &'static str,
    /// What the number counts.
    pub unit: Unit,
    /// The value without configuration.
    pub default: u64,
    /// Why it is there and what exceeding it does.
    pub doc: &'static str,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $unit:ident = $default:expr;)+) => {
        /// The bounds of one process. See [`Limits::TABLE`] for the reasons.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// One row per limit, in the order of the fields.
            pub const TABLE: &'static [LimitInfo] = &[
                $(LimitInfo {
                    name: stringify!($name),
                    unit: Unit::$unit,
                    default: $default,
                    doc: concat!($($doc),+),
                },)+
            ];

            /// The value of the limit called `name`.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)+
                    _ => None,
                }
            }
        }
    };
}

limits! {
    // What a module may be. Checked before anything is compiled.
    /// Size of the component file. The bounds below let one of this size pass whose
    /// functions have some hundred bytes each.
    module_bytes_max: Bytes = 64 << 20;
    /// Size of one function's body: compile time grows faster than its length.
    function_bytes_max: Bytes = 1 << 20;
    /// Local variables of one function: the compiler keeps books about each,
    /// and a few bytes declare fifty thousand.
    function_locals_max: Count = 10_000;
    /// Local variables over all functions.
    locals_max: Count = 4_000_000;
    /// Functions, defined or imported, over all core modules of a component.
    functions_max: Count = 200_000;
    /// Globals over all core modules: each is copied when an instance starts.
    globals_max: Count = 1_000;
    /// Tables over all core modules.
    tables_max: Count = 4;
    /// Linear memories over all core modules.
    memories_max: Count = 1;
    /// Elements of one table, at the start and after growing.
    table_elements_max: Count = 50_000;
    /// Passive and active data segments over all core modules.
    data_segments_max: Count = 10_000;
    /// Element segments over all core modules.
    element_segments_max: Count = 10_000;
    /// Exports over all core modules and the component itself.
    exports_max: Count = 1_000;
    /// Imports over all core modules and the component itself.
    imports_max: Count = 1_000;
    /// Types over all core modules and the component itself.
    types_max: Count = 10_000;
    /// Core modules in a component.
    core_modules_max: Count = 8;
    /// Core instances that a component makes.
    core_instances_max: Count = 8;
    /// Components inside a component. None: the copies that the engine makes
    /// between two of them are not metered.
    nested_components_max: Count = 0;
    /// Custom sections (names, debug information) in bytes.
    custom_bytes_max: Bytes = 16 << 20;
    /// Methods in a description.
    methods_max: Count = 500;
    /// Text in a description: names, types and documentation together.
    description_bytes_max: Bytes = 256 << 10;

    // What compiling may use. All but the last bound the process that compiles
    // (see `compile/`); a host that compiles in its own cannot keep them.
    /// CPU time that compiling a component may take, beside
    /// compile_cpu_per_mib for its size. Counted in whole seconds.
    compile_cpu_max: Time = 5_000;
    /// CPU time beside compile_cpu_max for each MiB of code in the component.
    compile_cpu_per_mib: Time = 10_000;
    /// From the start of a compilation to its end, however busy the machine is.
    compile_time_max: Time = 900_000;
    /// Memory that compiling a component may take, beside
    /// compile_memory_bytes_per_mib for its size.
    compile_memory_bytes_max: Bytes = 512 << 20;
    /// Memory beside compile_memory_bytes_max for each MiB of code in the component.
    compile_memory_bytes_per_mib: Bytes = 64 << 20;
    /// Machine code and data of one compiled component.
    compiled_bytes_max: Bytes = 256 << 20;

    // What an instance may hold.
    /// Size of one linear memory. Growing beyond it stops the call. What all of
    /// them take together is bounded by shards.instances_bytes_max.
    memory_bytes_max: Bytes = 64 << 20;
    /// Stack of a guest's call chain. A deeper one stops the call.
    stack_bytes_max: Bytes = 512 << 10;

    // What a turn may use.
    /// Fuel of a start function, which runs when an instance is made.
    start_fuel_max: Fuel = 1_000_000;
    /// Fuel of `describe`, which runs when a module is loaded.
    describe_fuel_max: Fuel = 100_000_000;
    /// Fuel of one query.
    query_fuel_max: Fuel = 5_000_000_000;
    /// Fuel of one update.
    update_fuel_max: Fuel = 5_000_000_000;
    /// Fuel of `init`.
    init_fuel_max: Fuel = 5_000_000_000;
    /// Fuel of each of the hooks that run when a context is upgraded: `before-upgrade`,
    /// `migrate` and `after-upgrade`.
    upgrade_fuel_max: Fuel = 20_000_000_000;
    /// Writes of each of these hooks, and its edits of lists and texts: a migration may touch
    /// every entry. What all of them write has to fit into one delta, as a call's does.
    upgrade_writes_max: Count = 100_000;
    /// Keys and values written by each of these hooks, counted as write_bytes_max is.
    upgrade_write_bytes_max: Bytes = 8 << 20;
    /// Fuel of one look at an update before it is queued (`inspect`), of which each byte of its
    /// arguments takes one. No more than slice_fuel, whatever this says.
    inspect_fuel_max: Fuel = 1_000_000;
    /// Fuel of telling one context that the server stops (`stop`).
    stop_fuel_max: Fuel = 10_000_000;
    /// Percent of memory_bytes_max that an instance may grow to before it is told so
    /// (`low-memory`). With 100 it never is.
    low_memory_share: Count = 75;
    /// Fuel of telling it. No more than slice_fuel, whatever this says.
    low_memory_fuel_max: Fuel = 1_000_000;
    /// Fuel of one slice, after which the shard may run others. A slice with
    /// host calls in it ends at the next one behind this number, or at twice
    /// this number.
    slice_fuel: Fuel = 1_000_000;
    /// From when a call is admitted to the end of its turn, however busy its shard is. One that
    /// still waits when its turn comes is not begun, one that runs is stopped between two slices.
    /// Waiting for the disk is not counted.
    call_time_max: Time = 60_000;
    /// Calls of one context in a second, in the long run: after a second without any as many
    /// more may come at once. Those beyond are refused. Runs of its timers are counted by
    /// themselves, and those beyond run later.
    context_calls_per_second: Count = 1_000_000;
    /// Queries of contexts that wait for each other, below a call: one that a call's query asks is
    /// the first. Asking beyond it is answered with `too-deep`. With 0 no query asks another context.
    query_depth_max: Count = 8;
    /// Queries of other contexts that one call causes in all, be it that its own query asks
    /// them or that those do which it asks. The query that asks one more is stopped.
    query_calls_max: Count = 100;
    /// Host calls in one turn.
    host_calls_max: Count = 1_000_000;
    /// Length of `args`.
    args_bytes_max: Bytes = 1 << 20;
    /// The largest list or string that a guest may hand over in one piece.
    transfer_bytes_max: Bytes = 4 << 20;
    /// Length of the answer, and of an application's error.
    output_bytes_max: Bytes = 1 << 20;
    /// Length of one key that is written. Other nodes' may be up to 503 bytes long,
    /// and as long a one may be read, removed or walked on from.
    key_bytes_max: Bytes = 480;
    /// Length of one value, of one element of a list, and of what is inserted into
    /// a text at once.
    value_bytes_max: Bytes = 1 << 20;
    /// Writes in one turn: entries written, and entries removed.
    writes_max: Count = 10_000;
    /// Edits of lists and texts in one turn: insertions and removals, of however
    /// many elements. Each has its place among what others insert there.
    edits_max: Count = 10_000;
    /// Memory of the lists and texts that one turn has open. A larger one cannot
    /// be read or edited.
    sequences_bytes_max: Bytes = 256 << 20;
    /// Keys and values written in one turn, together, and what it inserts into
    /// lists and texts; each element of a list counts 8 bytes more, and each block of 1 KiB of the
    /// stable memory that is written to counts as a whole. Other nodes take no
    /// delta beyond 16 MiB, and the other half of that is for events and for what is
    /// around each write; a call whose delta would be larger is refused.
    write_bytes_max: Bytes = 4 << 20;
    /// Entries that one `scan` may ask for, or one `remove-range`, and elements
    /// that one `list-read` may.
    scan_rows_max: Count = 1_000;
    /// Keys and values that one `scan` returns together, or elements one `list-read`:
    /// both end early before more, but give the first one, however large it is. What
    /// one read of a text or of stable memory may return.
    scan_bytes_max: Bytes = 4 << 20;
    /// Events in one turn.
    events_max: Count = 1_000;
    /// Kinds and payloads of the events of one turn, together.
    event_bytes_max: Bytes = 1 << 20;
    /// Length of one event's kind.
    event_kind_bytes_max: Bytes = 128;
    /// Log lines in one turn.
    logs_max: Count = 1_000;
    /// Log lines of one turn in bytes.
    log_bytes_max: Bytes = 256 << 10;
    /// Random bytes that one host call may ask for.
    random_bytes_max: Bytes = 4096;

    // What contexts keep.
    /// Keys and values of one context, together, and what its lists and texts are made
    /// of. A call that would make it more is refused; what other nodes write is not. Removing
    /// from a list or text makes it more, removing entries makes it less.
    context_bytes_max: Bytes = 16 << 30;
    /// Size of one context's stable memory. Growing beyond it stops the call; other nodes may let
    /// it grow further. Of what it has room for only what was written counts as bytes of the context.
    stable_bytes_max: Bytes = 4 << 30;
    /// Size of one blob. A larger one is refused while it is uploaded.
    blob_bytes_max: Bytes = 1 << 30;
    /// Blobs that one context may have attached. A call that attaches one more is
    /// refused.
    context_blobs_max: Count = 100_000;
    /// Size of the blobs that one context has attached, together.
    context_blob_bytes_max: Bytes = 16 << 30;

    /// Timers that one context may have armed.
    timers_max: Count = 1_000;
    /// Length of the name of a timer, and of the name of what it calls.
    timer_name_bytes_max: Bytes = 128;
    /// Length of what a timer's handler is called with.
    timer_args_bytes_max: Bytes = 64 << 10;
    /// From when a timer is armed to its first run, and from one run to the next.
    timer_ahead_max: Time = 10 * 366 * 24 * 3_600_000;
    /// Runs of one periodic timer in a minute: the shortest time between two is a minute
    /// divided by this.
    timer_runs_per_minute: Count = 60;

    /// Calls that one turn may send to other contexts.
    sends_max: Count = 100;
    /// Length of a call that is sent: the names of its method and its callback, its arguments and
    /// what its callback is handed.
    send_bytes_max: Bytes = 64 << 10;
    /// Calls that one context has sent and that have not ended. Sending one more is answered with
    /// `too-many`.
    sent_calls_max: Count = 1_000;
    /// What these take, names and arguments together. Sending more is answered with `too-many`.
    sent_bytes_max: Bytes = 16 << 20;
    /// Calls in a row of which each was sent by the one before it. Sending beyond it is answered
    /// with `too-deep`. With 0 no call is sent.
    sent_depth_max: Count = 64;
    /// Contexts of which one context remembers which of their calls it has taken. Beyond it those
    /// are forgotten whose calls have ended, and a call of another one waits until that is done.
    senders_max: Count = 1_000;
    /// Length of the answer, or of an application's error, to a call whose callback is told it.
    outcome_bytes_max: Bytes = 64 << 10;

    /// Subscriptions of one context to events. One more is answered with `too-many`. With 0 there
    /// are none.
    subscriptions_max: Count = 64;
    /// Length of the name of a subscription's handler and of the kind of its events, together.
    subscription_bytes_max: Bytes = 256;

    // What the process keeps.
    /// Compiled modules on disk. The oldest go first.
    cache_bytes_max: Bytes = 2 << 30;
    /// Modules whose refusal is remembered, so that they are not compiled again.
    refusals_kept_max: Count = 1_000;
}

impl Limits {
    /// The limits that a module is checked against when it is loaded. Compiled
    /// code is kept only as long as they stay the same.
    pub(crate) fn of_shape(&self) -> [u64; 22] {
        [
            self.module_bytes_max,
            self.function_bytes_max,
            self.function_locals_max,
            self.locals_max,
            self.functions_max,
            self.globals_max,
            self.tables_max,
            self.memories_max,
            self.table_elements_max,
            self.data_segments_max,
            self.element_segments_max,
            self.exports_max,
            self.imports_max,
            self.types_max,
            self.core_modules_max,
            self.core_instances_max,
            self.nested_components_max,
            self.custom_bytes_max,
            self.methods_max,
            self.description_bytes_max,
            self.memory_bytes_max,
            self.compiled_bytes_max,
        ]
    }

    /// What the rest of the crate relies on, as a sentence about the first limit
    /// for which it does not hold.
    pub fn check(&self) -> Result<(), String> {
        let at_least = |name: &str, value: u64, least: u64| {
            if value < least {
                Err(format!("{name} is {value}, and must be at least {least}"))
            } else {
                Ok(())
            }
        };
        let at_most = |name: &str, value: u64, most: u64| {
            if value > most {
                Err(format!("{name} is {value}, and must be at most {most}"))
            } else {
                Ok(())
            }
        };
        // Limits on CPU time have whole seconds, and the worker itself starts
        // with some memory.
        at_least("compile_cpu_max", self.compile_cpu_max, 1_000)?;
        at_least("compile_time_max", self.compile_time_max, 1)?;
        at_least("compiled_bytes_max", self.compiled_bytes_max, 64 << 10)?;
        at_least(
            "compile_memory_bytes_max",
            self.compile_memory_bytes_max,
            32 << 20,
        )?;
        at_least("slice_fuel", self.slice_fuel, 1_000)?;
        at_most("low_memory_share", self.low_memory_share, 100)?;
        at_least("call_time_max", self.call_time_max, 1)?;
        // A year, so that it can be added to any moment.
        at_most("call_time_max", self.call_time_max, 365 * 24 * 3_600_000)?;
        at_least("context_calls_per_second", self.context_calls_per_second, 1)?;
        // It is part of a key, beside a time.
        at_most("timer_name_bytes_max", self.timer_name_bytes_max, 480)?;
        at_most("timer_args_bytes_max", self.timer_args_bytes_max, 1 << 20)?;
        // Times are counted in microseconds, and ten thousand years fit easily.
        at_most(
            "timer_ahead_max",
            self.timer_ahead_max,
            10_000 * 366 * 24 * 3_600_000,
        )?;
        // A millisecond.
        at_most("timer_runs_per_minute", self.timer_runs_per_minute, 60_000)?;
        at_most("sends_max", self.sends_max, 10_000)?;
        at_most("send_bytes_max", self.send_bytes_max, 256 << 10)?;
        at_least("sent_calls_max", self.sent_calls_max, 1)?;
        at_most("sent_calls_max", self.sent_calls_max, 100_000)?;
        at_most("sent_depth_max", self.sent_depth_max, 10_000)?;
        at_least("senders_max", self.senders_max, 8)?;
        at_most("senders_max", self.senders_max, 100_000)?;
        // With its data it is the argument of a handler.
        at_most("outcome_bytes_max", self.outcome_bytes_max, 256 << 10)?;
        let callback = self.outcome_bytes_max + self.send_bytes_max + AROUND_OUTCOME_BYTES;
        if self.args_bytes_max < callback {
            return Err(format!(
                "args_bytes_max is {}, and must be at least {callback}: a callback is called with what outcome_bytes_max and send_bytes_max allow, and {AROUND_OUTCOME_BYTES} bytes around that",
                self.args_bytes_max
            ));
        }
        // All of them are handed to a guest in one piece.
        at_most("subscriptions_max", self.subscriptions_max, 1_000)?;
        at_most("subscription_bytes_max", self.subscription_bytes_max, 1_024)?;
        // Each of them holds an instance meanwhile.
        at_most("query_depth_max", self.query_depth_max, 64)?;
        // Blocks of 1 KiB are counted with 32 bits.
        at_most("stable_bytes_max", self.stable_bytes_max, 4 << 40)?;
        at_least("stack_bytes_max", self.stack_bytes_max, 64 << 10)?;
        at_most("stack_bytes_max", self.stack_bytes_max, 64 << 20)?;
        at_least("memory_bytes_max", self.memory_bytes_max, 64 << 10)?;
        // Linear memories are addressed with 32 bits.
        at_most("memory_bytes_max", self.memory_bytes_max, 4 << 30)?;
        at_most("table_elements_max", self.table_elements_max, 10_000_000)?;
        at_least("memories_max", self.memories_max, 1)?;
        at_most("memories_max", self.memories_max, 64)?;
        at_most("tables_max", self.tables_max, 1_000)?;
        at_most("core_instances_max", self.core_instances_max, 1_000)?;
        for (name, value) in [
            ("output_bytes_max", self.output_bytes_max),
            ("key_bytes_max", self.key_bytes_max),
            ("value_bytes_max", self.value_bytes_max),
            ("event_bytes_max", self.event_bytes_max),
            ("log_bytes_max", self.log_bytes_max),
            ("timer_args_bytes_max", self.timer_args_bytes_max),
            ("send_bytes_max", self.send_bytes_max),
        ] {
            // Half of it: a key and a value travel in one host call, and the
            // engine counts them together.
            at_most(name, value, self.transfer_bytes_max / 2)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_together_and_every_limit_is_explained() {
        let limits = Limits::default();
        limits.check().unwrap();
        for info in Limits::TABLE {
            assert_eq!(limits.get(info.name), Some(info.default), "{}", info.name);
            assert!(info.doc.trim().len() > 10, "{} has no reason", info.name);
        }
        assert_eq!(limits.get("no_such_limit"), None);
    }

    #[test]
    fn a_config_with_an_unknown_limit_is_refused() {
        let known: Limits = serde_json::from_str(r#"{"writes_max": 5}"#).unwrap();
        assert_eq!(known.writes_max, 5);
        assert_eq!(known.events_max, Limits::default().events_max);
        assert!(serde_json::from_str::<Limits>(r#"{"write_max": 5}"#).is_err());
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let limits = Limits {
            value_bytes_max: 1 << 40,
            ..Limits::default()
        };
        let error = limits.check().unwrap_err();
        assert!(error.starts_with("value_bytes_max is"), "{error}");
        let limits = Limits {
            args_bytes_max: 128 << 10,
            ..Limits::default()
        };
        let error = limits.check().unwrap_err();
        assert!(error.starts_with("args_bytes_max is"), "{error}");
    }
}
