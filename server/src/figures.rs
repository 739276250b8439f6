//! What a shard counts, as others see it: every figure once, with its name in
//! `/metrics` and, in brackets, the one that it has in `/v1/status` if it is
//! there, too. What they count is in `corelet_shard::ShardStats`.

use corelet_shard::ShardStats;
use prometheus_client::metrics::MetricType;
use serde::{Deserialize, Serialize};

/// A figure of one shard.
pub(crate) struct Figure {
    /// Its name in `/metrics`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows, or goes up and down.
    pub kind: MetricType,
    /// Reads it.
    pub read: fn(&ShardStats) -> u64,
}

macro_rules! figures {
    ($($Kind:ident $stat:ident = $name:literal $([$field:ident])? $help:literal;)+) => {
        /// All of them.
        pub(crate) const FIGURES: &[Figure] = &[$(
            Figure {
                name: $name,
                help: $help,
                kind: MetricType::$Kind,
                read: |stats| stats.$stat.get(),
            },
        )+];

        /// How one shard is doing.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct ShardStatus {
            /// Its number.
            pub shard: u16,
            $($(
                #[doc = $help]
                pub $field: u64,
            )?)+
        }

        impl ShardStatus {
            /// What these figures say of this shard.
            pub(crate) fn of(shard: u16, stats: &ShardStats) -> ShardStatus {
                ShardStatus {
                    shard,
                    $($($field: stats.$stat.get(),)?)+
                }
            }
        }
    };
}

figures! {
    Gauge connections = "corelet_connections" [connections] "Open connections";
    Counter queries = "corelet_queries" [queries] "Queries answered";
    Counter updates = "corelet_updates" [updates] "Updates committed";
    Counter replays = "corelet_replays" "Calls with an idempotency key that were told what an earlier one was told";
    Counter deltas_applied = "corelet_deltas_applied" "Deltas of other nodes applied";
    Counter deltas_refused = "corelet_deltas_refused" "Deltas of other nodes that were not, most often as they were before";
    Counter authors_refused = "corelet_deltas_refused_of_authors" "Deltas among them whose author would be one more than their context takes from other nodes";
    Counter guest_failures = "corelet_guest_failures" [guest_failures] "Calls that ended in an error of the guest";
    Counter refused = "corelet_calls_refused_by_bounds" [refused] "Calls and requests refused at a bound of the shard";
    Counter commit_failures = "corelet_commit_failures" "Calls whose batch could not be committed";
    Gauge waiting = "corelet_waiting_calls" [waiting] "Calls waiting for their turn";
    Gauge asking_queries = "corelet_asking_queries" [asking_queries] "Queries that wait for the answers of other contexts' queries";
    Counter questions = "corelet_questions" "Queries of other contexts that queries have asked";
    Counter questions_in_circles = "corelet_questions_refused_in_circles" "Those that were not asked, as they would have closed a circle";
    Counter questions_too_deep = "corelet_questions_refused_too_deep" "Those that were not asked, as too many contexts waited for each other";
    Counter questions_refused = "corelet_questions_refused_by_bounds" "Those that were refused at another bound, of the shard that asked or of the one that was asked";
    Gauge uncommitted = "corelet_uncommitted_updates" [uncommitted] "Updates run and not yet durable";
    Counter hops = "corelet_hops" "Calls that came from another shard";
    Counter fuel = "corelet_fuel" "Fuel spent by guests";
    Counter statistics_kept = "corelet_statistics_kept" "Times that what was counted of a context's calls was written into its agenda";
    Counter statistics_lost = "corelet_statistics_lost" "Times that something of it was not, as there was no room for it or its context was out of service";
    Gauge statistics_rows = "corelet_statistics_rows" [statistics_rows] "Rows in memory of what is counted of methods, 512 bytes each";
    Counter slices = "corelet_slices" "Slices that ended before their turn did";
    Gauge live_contexts = "corelet_live_contexts" [live_contexts] "Contexts with something in memory";
    Gauge warm_instances = "corelet_warm_instances" [warm_instances] "Instances kept warm";
    Gauge warm_memory_bytes = "corelet_warm_memory_bytes" "Linear memory of the instances kept warm, as far as it has grown";
    Counter evictions = "corelet_evictions" "Warm instances given up to make room";
    Counter warm_hits = "corelet_warm_hits" "Calls that found an instance warm";
    Counter instantiations = "corelet_instantiations" "Instances made because none was warm";
    Counter query_cache_hits = "corelet_query_cache_hits" "Queries that were told what an earlier one was told, as the state had not changed";
    Counter query_cache_misses = "corelet_query_cache_misses" "Queries for which nothing was kept, in contexts of which there was something";
    Counter query_cache_evictions = "corelet_query_cache_evictions" "Answers to queries that made room for others";
    Gauge query_cache_bytes = "corelet_query_cache_bytes" "What answers to queries take that are kept, about";
    Gauge sequences = "corelet_sequences" "Lists and texts kept in memory between calls";
    Gauge sequence_bytes = "corelet_sequence_bytes" "What lists and texts take that are kept in memory, about";
    Gauge sequences_opening = "corelet_sequences_opening" "Lists and texts that are being brought into memory";
    Gauge sequence_opening_bytes = "corelet_sequence_opening_bytes" "What these take, about";
    Counter sequence_hits = "corelet_sequence_hits" "Times that a call found a list or text in memory";
    Counter sequence_misses = "corelet_sequence_misses" "Times that a list or text had to be made of its edits";
    Counter sequence_evictions = "corelet_sequence_evictions" "Lists and texts given up to make room";
    Counter sequences_saved = "corelet_sequences_saved" "Times that a list or text was saved as a whole";
    Gauge timers_waiting = "corelet_timers_contexts_waiting" "Contexts that wait for a timer to be due";
    Counter inspections = "corelet_inspections" "Looks that applications had at updates before these were queued";
    Counter inspections_refused = "corelet_inspections_refused" "Those after which the update was not queued, as the application refused it or failed";
    Counter low_memory_told = "corelet_low_memory_told" "Times that an instance was told that its memory has grown beyond limits.low_memory_share";
    Counter low_memory_failed = "corelet_low_memory_failed" "Those of them that failed";
    Gauge upgrades_running = "corelet_upgrades_running" "Upgrades of contexts under way, by the shard that was asked for them";
    Counter upgrades = "corelet_upgrades" "Contexts that got another application";
    Counter upgrades_failed = "corelet_upgrades_failed" "Upgrades of contexts in which a hook failed";
    Counter timers_armed = "corelet_timers_armed" "Timers armed, or armed anew";
    Counter timers_fired = "corelet_timers_fired" "Runs of timers that have happened";
    Counter timers_failed = "corelet_timers_failed" "Attempts at running a timer that failed by the application's fault";
    Counter timers_given_up = "corelet_timers_given_up" "Runs of timers that were given up after as many such attempts as there may be";
    Gauge sends_waiting = "corelet_sends_pairs_waiting" "Pairs of contexts that wait for a call between them to be handed over";
    Gauge sends_held = "corelet_sends_pairs_held" "Pairs among them that wait until other calls of the same sender have ended (sends.sender_running_max)";
    Gauge sends_oldest_millis = "corelet_sends_oldest_milliseconds" "How long ago the oldest call was sent that has not ended";
    Counter sends_made = "corelet_sends_made" "Calls that contexts have sent to others, those included that were refused with their update in the end";
    Gauge sends_taking = "corelet_sends_taking" "Calls of other contexts that wait or run (sends.taking_max)";
    Counter sends_taken = "corelet_sends_taken" "Calls of other contexts that were taken: carried out, or failed";
    Counter sends_repeated = "corelet_sends_repeated" "Calls that were handed over again, and told what they came to before";
    Counter sends_ended = "corelet_sends_ended" "Calls that have ended, with their callbacks";
    Counter sends_failed = "corelet_sends_failed" "Those of them that were not carried out";
    Counter sends_again = "corelet_sends_again" "Times that something was in the way of handing over a call, or of its end, so that it is tried again";
    Counter callbacks_failed = "corelet_sends_callbacks_failed" "Attempts at callbacks that failed by the application's fault";
    Counter callbacks_given_up = "corelet_sends_callbacks_given_up" "Callbacks that were given up after as many such attempts as there may be";
    Gauge subscriptions_waiting = "corelet_subscriptions_waiting" "Subscriptions for which it is to be looked whether there are events";
    Gauge subscriptions_known = "corelet_subscriptions_known" "Subscriptions that are in memory, so that they are found when there are new events";
    Counter subscriptions_made = "corelet_subscriptions_made" "Handlers that were subscribed to events";
    Counter subscriptions_ended = "corelet_subscriptions_ended" "Subscriptions that have ended as the context is gone whose events they were to";
    Counter hearings = "corelet_subscriptions_told" "Times that a handler was told of events";
    Counter events_heard = "corelet_subscriptions_events_told" "Events that handlers were told";
    Counter event_gaps = "corelet_subscriptions_gaps" "Times that a handler was told that events are missing";
    Counter hearings_failed = "corelet_subscriptions_failed" "Attempts at telling a handler that failed by the application's fault";
    Counter events_given_up = "corelet_subscriptions_events_given_up" "Events that were left out after as many such attempts as there may be";
    Counter hearings_looks = "corelet_subscriptions_looks" "Times that it was looked what there is for a handler";
    Counter hearings_passed = "corelet_subscriptions_passed" "Times that many events were looked at which are not for the handler";
    Counter passes_refused = "corelet_subscriptions_passes_refused" "Times that this had to wait, as there were many before (subscriptions.passes_per_second)";
    Counter hearings_again = "corelet_subscriptions_again" "Times that something was in the way of telling a handler, so that it is tried again";
    Gauge mailbox = "corelet_mailbox_depth" "Messages in the shard's mailbox";
    Counter batches = "corelet_batches" "Batches committed";
    Counter checkpoints = "corelet_checkpoints" "Times that the journal was brought into the ledger";
    Counter checkpoint_failures = "corelet_checkpoint_failures" "Times that it could not be brought in";
    Gauge journal_bytes = "corelet_journal_bytes" "Bytes in the journal since the last checkpoint";
    Gauge map_bytes = "corelet_ledger_bytes" [ledger_bytes] "Bytes of the ledger in use";
    Gauge map_bytes_max = "corelet_ledger_bytes_max" [ledger_bytes_max] "Bytes to which the ledger can grow";
    Gauge map_bytes_free = "corelet_ledger_bytes_free" "Bytes of the ledger's file that are free to be used again";
    Gauge map_bytes_reserved = "corelet_ledger_bytes_reserved" "Bytes of the disk that are reserved behind the ledger's file for what was acknowledged and for deletions";
    Gauge readers = "corelet_ledger_readers" "Snapshots of the ledger in use";
    Gauge readers_peak = "corelet_ledger_readers_peak" "The most snapshots of the ledger that were in use at the same time since the start";
    Gauge readers_max = "corelet_ledger_readers_max" "Places for snapshots that there are";
    Counter stale_readers = "corelet_ledger_stale_readers" "Places of other processes' readers that were cleared, as these had ended without giving them back";
    Gauge held_up_millis = "corelet_ledger_held_up_milliseconds" "For how long the oldest snapshot in use has kept freed pages from being used again";
    Gauge disk_full = "corelet_ledger_disk_full" "Whether the ledger has last found no space on the disk, so that writes are refused";
    Counter refused_by_full_disk = "corelet_changes_refused_by_full_disk" "Changes refused as the disk had no space left";
    Counter refused_by_full_ledger = "corelet_changes_refused_by_full_ledger" "Changes refused as the ledger had grown to its bound";
    Counter swept = "corelet_swept_records" "Records of deleted contexts swept away";
    Gauge guest_log_bytes = "corelet_guest_log_bytes" "Lines that guests have logged, kept in memory for their contexts' owners";
    Counter guest_lines_dropped = "corelet_guest_log_lines_dropped" "Such lines that made room for others";
    Counter collector_steps = "corelet_collector_steps" "Steps of the collector, those of the scrub included";
    Counter collector_rows = "corelet_collector_records" "Records that the collector has read, written or dropped";
    Counter collector_bytes = "corelet_collector_bytes" "Bytes of the records that the collector has looked into";
    Gauge collector_micros_max = "corelet_collector_step_microseconds_max" "The longest step of the collector since the start";
    Counter events_dropped = "corelet_events_dropped" "Events dropped because there were more than are kept";
    Counter deltas_dropped = "corelet_deltas_dropped" "Deltas dropped because there were more than are kept";
    Counter edits_packed = "corelet_edits_packed" "Edits of lists and texts that were put together with others to take less of the disk";
    Counter answers_expired = "corelet_answers_expired" "Answers to calls with an idempotency key that the collector has dropped, past their time";
    Counter answers_early = "corelet_answers_dropped_early" "Answers to calls with an idempotency key that made room for others before their time: the same call may run again";
    Counter deltas_held_up = "corelet_deltas_held_up" "Times that a context's deltas stayed because another node may need them";
    Counter members_away = "corelet_members_away" "Nodes that are not waited for any more and have to take a snapshot";
    Counter orphans_dropped = "corelet_orphans_dropped" "Records of no context that were dropped";
    Counter authors_dropped = "corelet_authors_dropped" "Nodes whose numbers were dropped, as no record of the shard names them any more";
    Counter scrub_rounds = "corelet_scrub_rounds" "Times that every record was read to look for damage";
    Counter scrub_bytes = "corelet_scrub_bytes" "Bytes read to look for damage";
    Counter damage_found = "corelet_damage_found" "Damaged records that collector and scrub have met, each time that they have";
    Gauge quarantined = "corelet_contexts_out_of_service" [contexts_out_of_service] "Contexts that are out of service, as a record of theirs is damaged";
    Counter late_beats = "corelet_late_beats" "Signs of life that came late";
}
