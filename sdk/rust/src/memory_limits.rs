//! What the server bounds of a call, as far as that needs no server: names and numbers are those
//! of its own table without configuration, which `testkit/tests/limits.rs` compares. Counted is as
//! the server counts. Part of `memory_host.rs`.

use std::panic::resume_unwind;

use serde_json::Value;

use crate::memory_host::Call;

/// A limit: its name, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    pub(crate) max: u64,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $constant:ident, $name:ident = $max:expr;)+) => {
        $($(#[doc = $doc])+ pub(crate) const $constant: Limit = Limit {
            name: stringify!($name),
            max: $max,
        };)+

        /// Every limit that is kept here.
        pub(crate) const LIMITS: &[(&str, u64)] = &[$((stringify!($name), $max),)+];
    };
}

limits! {
    /// Bytes of what a call gets.
    ARGS_BYTES, args_bytes_max = 1 << 20;
    /// Bytes of an answer, or of an application's error.
    OUTPUT_BYTES, output_bytes_max = 1 << 20;
    /// Bytes of a key that is written.
    KEY_BYTES, key_bytes_max = 480;
    /// Bytes of a value, of an element of a list, of what is inserted into a text at once.
    VALUE_BYTES, value_bytes_max = 1 << 20;
    /// Entries that one call writes or removes.
    WRITES, writes_max = 10_000;
    /// Edits of lists and texts by one call.
    EDITS, edits_max = 10_000;
    /// Bytes of keys and values that one call writes.
    WRITE_BYTES, write_bytes_max = 4 << 20;
    /// Writes of each hook of an upgrade, and edits.
    UPGRADE_WRITES, upgrade_writes_max = 100_000;
    /// Bytes that each of these writes.
    UPGRADE_WRITE_BYTES, upgrade_write_bytes_max = 8 << 20;
    /// Entries of one walk, and elements of one read.
    SCAN_ROWS, scan_rows_max = 1_000;
    /// Bytes that one read of a text gives; a walk ends early before more.
    SCAN_BYTES, scan_bytes_max = 4 << 20;
    /// Events of one call.
    EVENTS, events_max = 1_000;
    /// Bytes of kinds and payloads of these.
    EVENT_BYTES, event_bytes_max = 1 << 20;
    /// Bytes of an event's kind.
    EVENT_KIND_BYTES, event_kind_bytes_max = 128;
    /// Lines of one call.
    LOGS, logs_max = 1_000;
    /// Bytes of these.
    LOG_BYTES, log_bytes_max = 256 << 10;
    /// Bytes of chance that are asked for at once.
    RANDOM_BYTES, random_bytes_max = 4096;
    /// Bytes of the stable memory.
    STABLE_BYTES, stable_bytes_max = 4 << 30;
    /// Queries of contexts that wait for each other, below a call. More are not asked, which the
    /// application is told.
    QUERY_DEPTH, query_depth_max = 8;
    /// Queries of other contexts by one call, and by those that it asks.
    QUERY_CALLS, query_calls_max = 100;
    /// Timers that are armed.
    TIMERS, timers_max = 1_000;
    /// Bytes of a timer's name, and of its handler's.
    TIMER_NAME_BYTES, timer_name_bytes_max = 128;
    /// Bytes of what its handler gets.
    TIMER_ARGS_BYTES, timer_args_bytes_max = 64 << 10;
    /// Milliseconds to a timer's first run, and from one to the next.
    TIMER_AHEAD, timer_ahead_max = 10 * 366 * 24 * 3_600_000;
    /// Runs of a periodic one in a minute.
    TIMER_RUNS, timer_runs_per_minute = 60;
    /// Calls that one call sends.
    SENDS, sends_max = 100;
    /// Bytes of each: its method, its arguments, its callback and what that gets.
    SEND_BYTES, send_bytes_max = 64 << 10;
    /// Calls of a context that were sent and have not ended. More are not sent, which the
    /// application is told.
    SENT_CALLS, sent_calls_max = 1_000;
    /// Bytes that these take, as the server keeps them.
    SENT_BYTES, sent_bytes_max = 16 << 20;
    /// Calls in a row of which each was sent by the one before it. None is sent beyond that, which
    /// the application is told.
    SENT_DEPTH, sent_depth_max = 64;
    /// Bytes of the answer that a callback is told.
    OUTCOME_BYTES, outcome_bytes_max = 64 << 10;
    /// Subscriptions to events. More are not made, which the application is told.
    SUBSCRIPTIONS, subscriptions_max = 64;
    /// Bytes of the name of a subscription's handler and of the kind of its events.
    SUBSCRIPTION_BYTES, subscription_bytes_max = 256;
}

/// The longest key that another node may have written, so that one may be looked for.
pub(crate) const PLACE_BYTES: Limit = Limit {
    name: KEY_BYTES.name,
    max: 503,
};

/// What an element of a list counts for beside its bytes.
pub(crate) const ELEMENT_BYTES: u64 = 8;

/// What an amount counts for that is added.
pub(crate) const AMOUNT_BYTES: u64 = 8;

/// What a timer, a call that is sent and a subscription count for beside their bytes.
pub(crate) const AROUND_TIMER_BYTES: u64 = 64;
pub(crate) const AROUND_SENT_BYTES: u64 = 128;
pub(crate) const AROUND_SUBSCRIPTION_BYTES: u64 = 192;

/// In how many lists and objects a value may lie of what a handler is told of others.
const TOLD_DEPTH_MAX: usize = 120;

/// What a panic carries that stops a call at a limit.
pub(crate) struct LimitReached(pub(crate) Limit);

/// What a panic carries that stops a call because it has handed over what cannot be.
pub(crate) struct InvalidOutput(pub(crate) String);

/// What one call has used.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Used {
    writes: u64,
    edits: u64,
    write_bytes: u64,
    events: u64,
    event_bytes: u64,
    lines: u64,
    log_bytes: u64,
    pub(crate) queries: u64,
    sends: u64,
}

/// Stops the call if `used` is more than may be.
pub(crate) fn bound(limit: Limit, used: u64) {
    if used > limit.max {
        // Not a panic of the application: no hook runs, nothing is printed.
        resume_unwind(Box::new(LimitReached(limit)));
    }
}

/// Stops the call for what it has handed over.
pub(crate) fn refuse(message: String) -> ! {
    // Not a panic of the application, as above.
    resume_unwind(Box::new(InvalidOutput(message)))
}

/// What it has handed over as JSON. It nests no deeper than it can be read.
pub(crate) fn check_json(what: &str, json: &[u8]) -> Value {
    match serde_json::from_slice(json) {
        Ok(value) => value,
        Err(error) => refuse(format!("{what} not JSON: {error}")),
    }
}

/// Whether a handler can read it that is told it with more around it; else what it is.
pub(crate) fn check_shallow(value: &Value) -> Result<(), String> {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    match depth(value) <= TOLD_DEPTH_MAX {
        true => Ok(()),
        false => Err(format!(
            "nested deeper than {TOLD_DEPTH_MAX} levels, which a callback could not read"
        )),
    }
}

/// A walk over so many entries.
pub(crate) fn check_limit(limit: u32) {
    bound(SCAN_ROWS, limit.into());
}

/// A key that is written.
pub(crate) fn check_key(key: &[u8]) {
    bound(KEY_BYTES, key.len() as u64);
}

/// A key that says where to look: another node may have written as long a one.
pub(crate) fn check_place(key: &[u8]) {
    bound(PLACE_BYTES, key.len() as u64);
}

/// How many of what has these lengths are handed out at once: as many as fit, and one at least.
pub(crate) fn fitting(lengths: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = |length: &usize| {
        bytes += *length as u64;
        bytes <= SCAN_BYTES.max
    };
    lengths.take_while(fits).count().max(1)
}

impl Call {
    /// Counts a write, and its bytes.
    pub(crate) fn count_write(&mut self, bytes: u64) {
        self.count_writes(1, bytes);
    }

    /// Counts so many writes, and the bytes of all of them.
    pub(crate) fn count_writes(&mut self, count: u64, bytes: u64) {
        self.used.writes += count;
        let (writes, most) = match self.is_upgrade {
            true => (UPGRADE_WRITES, UPGRADE_WRITE_BYTES),
            false => (WRITES, WRITE_BYTES),
        };
        bound(writes, self.used.writes);
        self.count_bytes(most, bytes);
    }

    /// Counts an edit of a list or text.
    pub(crate) fn count_edit(&mut self, bytes: u64) {
        self.used.edits += 1;
        let (edits, most) = match self.is_upgrade {
            true => (UPGRADE_WRITES, UPGRADE_WRITE_BYTES),
            false => (EDITS, WRITE_BYTES),
        };
        bound(edits, self.used.edits);
        self.count_bytes(most, bytes);
    }

    fn count_bytes(&mut self, most: Limit, bytes: u64) {
        self.used.write_bytes += bytes;
        bound(most, self.used.write_bytes);
    }

    /// Counts an event that is about to be emitted.
    pub(crate) fn count_event(&mut self, kind: &str, payload: &[u8]) {
        self.used.events += 1;
        self.used.event_bytes += (kind.len() + payload.len()) as u64;
        bound(EVENTS, self.used.events);
        bound(EVENT_BYTES, self.used.event_bytes);
    }

    /// Counts a line that is about to be logged.
    pub(crate) fn count_line(&mut self, message: &str) {
        self.used.lines += 1;
        self.used.log_bytes += message.len() as u64;
        bound(LOGS, self.used.lines);
        bound(LOG_BYTES, self.used.log_bytes);
    }

    /// Counts a query of another context.
    pub(crate) fn count_query(&mut self) {
        self.used.queries += 1;
        bound(QUERY_CALLS, self.used.queries);
    }

    /// Counts a call that is sent.
    pub(crate) fn count_send(&mut self) {
        self.used.sends += 1;
        bound(SENDS, self.used.sends);
    }

    /// What each hook of an upgrade may use it may use anew.
    pub(crate) fn begin_hook(&mut self) {
        self.used = Used::default();
        self.stable_written.clear();
    }
}
