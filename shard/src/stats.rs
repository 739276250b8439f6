//! What one shard counts: plain numbers with one writer.
//!
//! The shard thread (and its commit thread, for the commit figures) writes,
//! anybody reads. Each number has one writer, so an update is a relaxed load
//! and store, not a locked instruction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows. One writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// One more.
    pub fn up(&self) {
        self.set(self.get() + 1);
    }

    /// One fewer.
    pub fn down(&self) {
        self.set(self.get() - 1);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Buckets of a [`Histogram`]: upper bounds are powers of two.
pub const BUCKETS: usize = 32;

/// Counts by power of two: bucket `i` holds values below 2^i (and at least
/// 2^(i-1)), the last one all that are larger. One writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Histogram {
    /// Counts one value.
    pub fn observe(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].one();
        self.sum.add(value);
    }

    /// Counts a duration, in microseconds.
    pub fn observe_micros(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// `(exclusive upper bound, how many)` for each bucket; the last bound is infinity.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(i, count)| {
            let bound = if i == BUCKETS - 1 {
                f64::INFINITY
            } else {
                (1u64 << i) as f64
            };
            (bound, count.get())
        })
    }

    /// Sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// Everything one shard counts. Shared with whoever serves the metrics.
#[derive(Debug, Default)]
pub struct ShardStats {
    /// Queries that were answered with an output.
    pub queries: Counter,
    /// Updates that were committed.
    pub updates: Counter,
    /// Deltas of other nodes that were applied.
    pub deltas_applied: Counter,
    /// Deltas of other nodes that were not, most often as they were before.
    pub deltas_refused: Counter,
    /// Those among them of an author who would be one more than their context takes.
    pub authors_refused: Counter,
    /// Calls with a key that were told what another with the same key was told.
    pub replays: Counter,
    /// What the lines that guests have logged take in memory.
    pub guest_log_bytes: Gauge,
    /// Lines of guests that made room for others.
    pub guest_lines_dropped: Counter,
    /// Calls that ended in an error of the guest (its own, a trap, a limit).
    pub guest_failures: Counter,
    /// Calls and requests refused because a bound of this shard was reached.
    pub refused: Counter,
    /// Calls that failed because their batch could not be committed.
    pub commit_failures: Counter,
    /// Calls that came from another shard.
    pub hops: Counter,
    /// Fuel spent by guests.
    pub fuel: Counter,
    /// Times that the statistics of a context were kept.
    pub statistics_kept: Counter,
    /// Times that what was new of them was lost, as there was no room for it, or its context was
    /// out of service.
    pub statistics_lost: Counter,
    /// Rows of methods in memory, of what is new.
    pub statistics_rows: Gauge,
    /// Slices that ended before their turn did.
    pub slices: Counter,
    /// Microseconds from admission to answer, of queries.
    pub query_micros: Histogram,
    /// Microseconds from admission to durable answer, of updates.
    pub update_micros: Histogram,
    /// Calls waiting for their turn.
    pub waiting: Gauge,
    /// Queries that wait for other contexts' answers.
    pub asking_queries: Gauge,
    /// Questions that went to other contexts.
    pub questions: Counter,
    /// Questions that were not asked, as they would have closed a circle.
    pub questions_in_circles: Counter,
    /// Questions that were not asked, as too many contexts waited for each other.
    pub questions_too_deep: Counter,
    /// Questions that were refused at another bound, be it of the shard that asked or of the one
    /// that was asked.
    pub questions_refused: Counter,
    /// Updates executed and not yet durable.
    pub uncommitted: Gauge,
    /// Contexts with something in memory.
    pub live_contexts: Gauge,
    /// Instances kept warm between calls.
    pub warm_instances: Gauge,
    /// Linear memory of these, as far as it has grown.
    pub warm_memory_bytes: Gauge,
    /// Lists and texts kept in memory between turns.
    pub sequences: Gauge,
    /// What these take, about.
    pub sequence_bytes: Gauge,
    /// Lists and texts that are being brought into memory, or are kept for the queries
    /// alone that look at them.
    pub sequences_opening: Gauge,
    /// What these take, about.
    pub sequence_opening_bytes: Gauge,
    /// Looks at updates before they were queued.
    pub inspections: Counter,
    /// Those after which the update was not queued, by the application's word or fault.
    pub inspections_refused: Counter,
    /// Times that an instance was told that its memory had grown.
    pub low_memory_told: Counter,
    /// Those of them that failed.
    pub low_memory_failed: Counter,
    /// Upgrades under way that this shard was asked for from outside.
    pub upgrades_running: Gauge,
    /// Contexts that got another application.
    pub upgrades: Counter,
    /// Times that one should have, and a hook failed.
    pub upgrades_failed: Counter,
    /// Timers armed, or armed anew.
    pub timers_armed: Counter,
    /// Runs of timers that have happened.
    pub timers_fired: Counter,
    /// Attempts at that which failed by the application's fault.
    pub timers_failed: Counter,
    /// Runs that were given up after so many of these.
    pub timers_given_up: Counter,
    /// Contexts that wait for a timer.
    pub timers_waiting: Gauge,
    /// Microseconds from a timer's time to when its run is begun, or tried.
    pub timer_lag_micros: Histogram,
    /// Calls that contexts have sent to others.
    pub sends_made: Counter,
    /// Calls of other contexts that wait or run.
    pub sends_taking: Gauge,
    /// Calls of other contexts that were taken: carried out, or failed.
    pub sends_taken: Counter,
    /// Calls that were handed over again, and told what they came to before.
    pub sends_repeated: Counter,
    /// Calls that have ended, with their callbacks.
    pub sends_ended: Counter,
    /// Those of them that were not carried out.
    pub sends_failed: Counter,
    /// Times that something was in the way of handing one over, or of its end.
    pub sends_again: Counter,
    /// Attempts at callbacks that failed by the application's fault.
    pub callbacks_failed: Counter,
    /// Callbacks that were given up after so many of these.
    pub callbacks_given_up: Counter,
    /// Pairs of contexts that wait for a call between them to be handed over.
    pub sends_waiting: Gauge,
    /// Those of them that wait until another call of the same sender has ended.
    pub sends_held: Gauge,
    /// Milliseconds since the oldest call was sent that has not ended, as of the last second.
    pub sends_oldest_millis: Gauge,
    /// Microseconds from a call's sending until it was taken.
    pub send_lag_micros: Histogram,
    /// Handlers that were subscribed to events.
    pub subscriptions_made: Counter,
    /// Subscriptions that have ended as whose events they were to is gone.
    pub subscriptions_ended: Counter,
    /// Subscriptions for which it is to be looked whether there is something.
    pub subscriptions_waiting: Gauge,
    /// Subscriptions that are in memory, so that they are found when there are new events.
    pub subscriptions_known: Gauge,
    /// Times that a handler was told of events.
    pub hearings: Counter,
    /// Events that it was told then.
    pub events_heard: Counter,
    /// Times that it was told that some are missing.
    pub event_gaps: Counter,
    /// Attempts at that which failed by the application's fault.
    pub hearings_failed: Counter,
    /// Events that were left out after so many of these.
    pub events_given_up: Counter,
    /// Times that it was looked what there is for a handler, of another shard's contexts or of this one's.
    pub hearings_looks: Counter,
    /// Times that many events were looked at which are not for a handler.
    pub hearings_passed: Counter,
    /// Times that this had to wait, as there were many before.
    pub passes_refused: Counter,
    /// Times that something was in the way of telling a handler.
    pub hearings_again: Counter,
    /// Microseconds from when the first of the events was told until the handler had heard it.
    pub hearing_lag_micros: Histogram,
    /// Times that a turn found a list or text in memory.
    pub sequence_hits: Counter,
    /// Times that one had to be made of its edits.
    pub sequence_misses: Counter,
    /// Times that one was saved as a whole. Written by the commit thread.
    pub sequences_saved: Counter,
    /// Lists and texts given up to make room.
    pub sequence_evictions: Counter,
    /// Queries that were told what an earlier one was told.
    pub query_cache_hits: Counter,
    /// Queries of contexts with answers that are kept, for which there was none.
    pub query_cache_misses: Counter,
    /// Answers that made room for others.
    pub query_cache_evictions: Counter,
    /// What the answers that are kept take, about.
    pub query_cache_bytes: Gauge,
    /// Warm instances given up to make room.
    pub evictions: Counter,
    /// Turns that found an instance warm.
    pub warm_hits: Counter,
    /// Instances made because none was warm.
    pub instantiations: Counter,
    /// Messages in this shard's mailbox when last looked.
    pub mailbox: Gauge,
    /// Batches committed. Written by the commit thread, like the two below.
    pub batches: Counter,
    /// Changes per batch.
    pub batch_changes: Histogram,
    /// Microseconds per batch, flush included.
    pub batch_micros: Histogram,
    /// Times that everything durable was brought from the journal into LMDB.
    /// Written by the commit thread, like the two below.
    pub checkpoints: Counter,
    /// Tries of it that failed, as there was no room: each some time behind the last.
    pub checkpoint_failures: Counter,
    /// Microseconds per checkpoint, flush included.
    pub checkpoint_micros: Histogram,
    /// Bytes in the journal since the last checkpoint.
    pub journal_bytes: Gauge,
    /// Heartbeats: the watchdog sees this number stand still when the shard hangs.
    pub beats: Counter,
    /// Heartbeats that came later than the watchdog's warning bound. Written by the watchdog.
    pub late_beats: Counter,
    /// Bytes of the ledger's file, as of the last second.
    pub map_bytes: Gauge,
    /// Bytes to which it can grow.
    pub map_bytes_max: Gauge,
    /// Bytes of it that are free to be used again.
    pub map_bytes_free: Gauge,
    /// Bytes of the disk that are reserved behind its file.
    pub map_bytes_reserved: Gauge,
    /// Snapshots that are in use.
    pub readers: Gauge,
    /// The most that were in use at the same time.
    pub readers_peak: Gauge,
    /// Places for them.
    pub readers_max: Gauge,
    /// Readers of other processes that had ended and whose places were cleared.
    pub stale_readers: Gauge,
    /// Milliseconds for which the oldest snapshot has kept pages from being used again.
    pub held_up_millis: Gauge,
    /// Whether the last try to bring the journal into the ledger, or to write into it, has found
    /// no space on the disk. Written by the commit thread.
    pub disk_full: Gauge,
    /// Changes refused as the disk had no space left.
    pub refused_by_full_disk: Counter,
    /// Changes refused as the ledger had grown to its bound.
    pub refused_by_full_ledger: Counter,
    /// Records of deleted contexts swept away. Written by the commit thread, like the one below.
    pub swept: Counter,
    /// Microseconds per step of this sweep, which makes no checkpoint.
    pub sweep_micros: Histogram,
    /// Steps of the collector, those of the scrub included. Written by the commit thread,
    /// like all that follows down to the scrub's.
    pub collector_steps: Counter,
    /// Records that the collector has read, written or dropped.
    pub collector_rows: Counter,
    /// Bytes of the records that it has looked into.
    pub collector_bytes: Counter,
    /// Microseconds per step, which makes no checkpoint.
    pub collector_micros: Histogram,
    /// Microseconds of the longest step so far.
    pub collector_micros_max: Gauge,
    /// Events dropped because there were more than are kept.
    pub events_dropped: Counter,
    /// Deltas dropped for the same reason.
    pub deltas_dropped: Counter,
    /// Edits of lists and texts that were put together with others.
    pub edits_packed: Counter,
    /// Answers under keys dropped because they were past their time, but for those that
    /// went with a call.
    pub answers_expired: Counter,
    /// Answers under keys that made room for others before their time. Written by the commit
    /// thread, with batches.
    pub answers_early: Counter,
    /// Contexts of which a member still needs deltas that would be dropped, each time that
    /// this was found.
    pub deltas_held_up: Counter,
    /// Members that are not waited for any more.
    pub members_away: Counter,
    /// Records of no context that were dropped.
    pub orphans_dropped: Counter,
    /// Authors that were dropped, as no record names them.
    pub authors_dropped: Counter,
    /// Times that the scrub has read everything.
    pub scrub_rounds: Counter,
    /// Bytes that it has read.
    pub scrub_bytes: Counter,
    /// Damaged records that collector and scrub have met, again and again.
    pub damage_found: Counter,
    /// Contexts that are out of service. Written by the shard.
    pub quarantined: Gauge,
    /// Microseconds that the shard's stamps are ahead of the wall clock, as of the last second.
    pub clock_ahead_micros: Gauge,
    /// Open connections; written by the server's part on this shard.
    pub connections: Gauge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_below_its_bucket_s_bound() {
        for (value, bound) in [
            (0, 1.0),
            (1, 2.0),
            (2, 4.0),
            (3, 4.0),
            (4, 8.0),
            (u64::MAX, f64::INFINITY),
        ] {
            let histogram = Histogram::default();
            histogram.observe(value);
            let hit: Vec<f64> = histogram
                .buckets()
                .filter(|(_, n)| *n == 1)
                .map(|(bound, _)| bound)
                .collect();
            assert_eq!(hit, [bound], "{value}");
        }
    }
}
