//! What guests log, for two kinds of people. To whoever runs the server, lines are shown
//! once they are true: an update's when it is committed. Whoever wrote the application
//! reads them from the log of its context, with those of failed calls, which tell
//! most. That one is in memory only: it is lost when the server ends and when its context is
//! deleted, and is no effect of a call.
//!
//! Owned by the shard. The text is foreign: in the log it is only ever a field's value,
//! which the log's formatters escape.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use corelet_store::{ContextId, Hlc};
use corelet_wasm_host::{GuestLog, LogLevel};
use hashlink::LruCache;

use crate::bounds::Bounds;
use crate::context::Context;
use crate::stats::ShardStats;

/// What a line takes in memory around its text.
const AROUND_BYTES: u64 = 128;

/// A longer line is cut in the ring.
const LINE_BYTES_MAX: usize = 4096;

/// A line that a guest has logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLine {
    /// Grows from line to line, not without gaps, and on from one start of the server to
    /// the next.
    pub number: u64,
    /// When its call began, in microseconds since 1970.
    pub unix_micros: u64,
    /// How serious.
    pub level: LogLevel,
    /// The method that was called; `init` of a new context.
    pub method: Arc<str>,
    /// Whether the call succeeded. Nothing that a failed one did has happened.
    pub succeeded: bool,
    /// The text. Foreign: escape it before it reaches a terminal.
    pub message: Arc<str>,
}

/// What is left of a context's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestLines {
    /// Oldest first.
    pub lines: Vec<GuestLine>,
    /// What to ask for next: the lines behind this number.
    pub next: u64,
    /// Whether lines behind the number that was asked for may have been dropped; with 0, whether
    /// any may that was logged since the server has started.
    pub is_cut: bool,
}

/// What one turn has logged, on its way to being true or not.
pub(crate) struct TurnLog {
    pub(crate) method: Arc<str>,
    pub(crate) began: Hlc,
    /// Whether the turn itself has succeeded.
    pub(crate) succeeded: bool,
    pub(crate) lines: Vec<GuestLog>,
}

impl TurnLog {
    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| bytes(&line.message)).sum()
    }

    /// The turn has succeeded and its effects are lost.
    pub(crate) fn lost(mut self) -> TurnLog {
        self.succeeded = false;
        self
    }
}

fn bytes(message: &str) -> u64 {
    message.len() as u64 + AROUND_BYTES
}

/// The rings of a shard's contexts.
pub(crate) struct GuestLogs {
    rings: RefCell<LruCache<ContextId, Ring>>,
    bytes: Cell<u64>,
    next_number: Cell<u64>,
    /// Up to this number, lines of contexts without a ring may have been dropped.
    horizon: Cell<u64>,
    /// Up to this number, lines are of earlier lives.
    began: u64,
    lines_max: usize,
    context_bytes_max: u64,
    bytes_max: u64,
    stats: Arc<ShardStats>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<GuestLine>,
    bytes: u64,
    /// Up to this number, lines may have been dropped.
    horizon: u64,
}

impl GuestLogs {
    /// No lines yet; the first one will have this number.
    pub(crate) fn new(bounds: &Bounds, stats: &Arc<ShardStats>, first: u64) -> GuestLogs {
        let began = first.saturating_sub(1);
        GuestLogs {
            rings: LruCache::new_unbounded().into(),
            bytes: Cell::new(0),
            next_number: Cell::new(first),
            horizon: Cell::new(began),
            began,
            lines_max: bounds.guest_log_lines_max,
            context_bytes_max: bounds.guest_log_context_bytes_max,
            bytes_max: bounds.guest_log_bytes_max,
            stats: Arc::clone(stats),
        }
    }

    /// Takes the lines of a turn that has come to its end, its effects included, and shows
    /// them if it has succeeded.
    pub(crate) fn take(&self, context: &Context, log: Option<TurnLog>) {
        let Some(log) = log else { return };
        if log.succeeded {
            show(context.id, &log.lines);
        }
        if !context.deleted.get() {
            self.keep(context.id, log);
        }
    }

    /// The same for the `init` of a context that is there now.
    pub(crate) fn take_init(&self, context: ContextId, log: Option<TurnLog>) {
        if let Some(log) = log {
            show(context, &log.lines);
            self.keep(context, log);
        }
    }

    fn keep(&self, context: ContextId, log: TurnLog) {
        let mut rings = self.rings.borrow_mut();
        let horizon = self.horizon.get();
        let fresh = || Ring {
            horizon,
            ..Ring::default()
        };
        let ring = rings.entry(context).or_insert_with(fresh);
        let before = ring.bytes;
        for line in log.lines {
            let number = self.next_number.get();
            self.next_number.set(number + 1);
            let message = cut(line.message);
            ring.bytes += bytes(&message);
            ring.lines.push_back(GuestLine {
                number,
                unix_micros: log.began.micros(),
                level: line.level,
                method: Arc::clone(&log.method),
                succeeded: log.succeeded,
                message,
            });
            while ring.lines.len() > self.lines_max || ring.bytes > self.context_bytes_max {
                let Some(oldest) = ring.lines.pop_front() else {
                    break;
                };
                ring.bytes -= bytes(&oldest.message);
                ring.horizon = oldest.number;
                self.stats.guest_lines_dropped.one();
            }
        }
        self.bytes.set(self.bytes.get() - before + ring.bytes);
        // It is the last to go now.
        rings.get(&context);
        while self.bytes.get() > self.bytes_max {
            let Some((_, ring)) = rings.remove_lru() else {
                break;
            };
            self.bytes.set(self.bytes.get() - ring.bytes);
            self.stats.guest_lines_dropped.add(ring.lines.len() as u64);
            let newest = ring.lines.back().map_or(0, |line| line.number);
            self.horizon.set(self.horizon.get().max(newest));
        }
        self.stats.guest_log_bytes.set(self.bytes.get());
    }

    /// The lines of a context behind number `after`.
    pub(crate) fn read(&self, context: ContextId, after: u64) -> GuestLines {
        let rings = self.rings.borrow();
        let (lines, horizon) = match rings.peek(&context) {
            Some(ring) => {
                let behind = ring.lines.iter().filter(|line| line.number > after);
                (behind.cloned().collect(), ring.horizon)
            }
            None => (Vec::new(), self.horizon.get()),
        };
        let last = lines.last().map_or(horizon, |line: &GuestLine| line.number);
        // Whoever asks for all there are means those of this life of the server.
        let wanted = match after {
            0 => self.began,
            after => after,
        };
        GuestLines {
            next: last.max(after),
            is_cut: wanted < horizon,
            lines,
        }
    }

    /// Forgets the lines of a context that is deleted.
    pub(crate) fn forget(&self, context: ContextId) {
        if let Some(ring) = self.rings.borrow_mut().remove(&context) {
            self.bytes.set(self.bytes.get() - ring.bytes);
            self.stats.guest_log_bytes.set(self.bytes.get());
        }
    }
}

/// A line of a length that many find room beside.
fn cut(mut message: String) -> Arc<str> {
    if message.len() > LINE_BYTES_MAX {
        let end = message.floor_char_boundary(LINE_BYTES_MAX);
        message.truncate(end);
        message.push('…');
    }
    Arc::from(message)
}

fn show(context: ContextId, lines: &[GuestLog]) {
    for line in lines {
        let said = &line.message;
        match line.level {
            LogLevel::Error => tracing::error!(target: "guest", %context, ?said),
            LogLevel::Warn => tracing::warn!(target: "guest", %context, ?said),
            LogLevel::Info => tracing::info!(target: "guest", %context, ?said),
            LogLevel::Debug => tracing::debug!(target: "guest", %context, ?said),
        }
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::ContextSlot;

    use super::*;
    use crate::fixture;

    fn logs(lines_max: usize, context_bytes_max: u64, bytes_max: u64) -> GuestLogs {
        let bounds = Bounds {
            guest_log_lines_max: lines_max,
            guest_log_context_bytes_max: context_bytes_max,
            guest_log_bytes_max: bytes_max,
            ..Bounds::default()
        };
        GuestLogs::new(&bounds, &Arc::default(), 1)
    }

    fn log(succeeded: bool, messages: &[&str]) -> Option<TurnLog> {
        let line = |message: &&str| GuestLog {
            level: LogLevel::Info,
            message: (*message).to_owned(),
        };
        Some(TurnLog {
            method: Arc::from("method"),
            began: Hlc::from_bits(7 << 12),
            succeeded,
            lines: messages.iter().map(line).collect(),
        })
    }

    fn said(logs: &GuestLogs, n: u8, after: u64) -> (Vec<String>, u64, bool) {
        let found = logs.read(fixture::id(n), after);
        let lines = found.lines.iter().map(|line| line.message.to_string());
        (lines.collect(), found.next, found.is_cut)
    }

    fn context(n: u8) -> std::rc::Rc<Context> {
        fixture::context(n, ContextSlot::UNASSIGNED)
    }

    #[test]
    fn lines_are_kept_with_how_their_call_ended() {
        let logs = logs(10, 10_000, 100_000);
        logs.take(&context(1), log(true, &["a", "b"]));
        logs.take(&context(2), log(true, &["of another"]));
        logs.take(&context(1), log(false, &["c"]));
        logs.take(&context(1), None);
        let found = logs.read(fixture::id(1), 0);
        let ends: Vec<_> = found.lines.iter().map(|line| line.succeeded).collect();
        assert_eq!(ends, [true, true, false]);
        assert_eq!(found.lines[0].unix_micros, 7);
        assert_eq!(said(&logs, 1, 2), (vec!["c".to_owned()], 4, false));
        assert_eq!(said(&logs, 1, 4), (vec![], 4, false));
        assert_eq!(said(&logs, 3, 0), (vec![], 0, false));
    }

    #[test]
    fn the_oldest_lines_of_a_context_go_and_a_reader_is_told() {
        let logs = logs(3, 3 * AROUND_BYTES + 100, 100_000);
        logs.take(&context(1), log(true, &["a", "b", "c", "d", "e"]));
        let all = ["c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(said(&logs, 1, 0), (all, 5, true));
        logs.take(&context(1), log(true, &["f"]));
        assert_eq!(said(&logs, 1, 0).0, ["d", "e", "f"]);
        // The text of one takes the room of two.
        let long = "x".repeat(100);
        logs.take(&context(1), log(true, &[long.as_str()]));
        let (lines, next, is_cut) = said(&logs, 1, 1);
        assert_eq!(lines, ["f", long.as_str()]);
        assert!(is_cut, "lines behind number 1 were dropped");
        assert_eq!(said(&logs, 1, next), (vec![], next, false));
    }

    #[test]
    fn the_lines_of_the_context_that_logged_longest_ago_go_first() {
        let logs = logs(10, 10_000, 3 * (AROUND_BYTES + 1));
        for n in [1, 2, 3, 1, 4] {
            logs.take(&context(n), log(true, &["x"]));
            assert!(logs.stats.guest_log_bytes.get() <= 3 * (AROUND_BYTES + 1));
        }
        assert_eq!(said(&logs, 2, 1), (vec![], 3, true));
        assert_eq!(said(&logs, 3, 0), (vec![], 3, true));
        assert_eq!(said(&logs, 1, 0).0.len(), 2);
        logs.forget(fixture::id(1));
        assert_eq!(said(&logs, 1, 0).0.len(), 0);
        assert_eq!(logs.stats.guest_log_bytes.get(), AROUND_BYTES + 1);
    }

    #[test]
    fn a_deleted_context_keeps_no_lines_and_a_long_line_is_cut() {
        let logs = logs(10, 10_000, 100_000);
        let deleted = context(1);
        deleted.deleted.set(true);
        logs.take(&deleted, log(true, &["late"]));
        assert_eq!(said(&logs, 1, 0).0.len(), 0);
        let long = "é".repeat(LINE_BYTES_MAX);
        logs.take(&context(2), log(false, &[long.as_str()]));
        let (lines, ..) = said(&logs, 2, 0);
        assert_eq!(lines, [format!("{}…", "é".repeat(LINE_BYTES_MAX / 2))]);
    }
}
