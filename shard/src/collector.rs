//! The collector: keeps each context's events and deltas within their bounds, puts edits of lists and texts together, drops answers
//! under keys that are past their time, and looks for damage, in steps of some hundred records and little more than a quarter of a millisecond. It runs on the commit thread, between batches,
//! and rests four times as long as it works, so that calls go first; what it decides is the
//! store's (`LedgerWriter::collect`, `Scrub`). A step makes no checkpoint: it says when one is due, and the commit
//! thread makes it. Sweeping what deleted contexts leave is in
//! `commit_thread/aside.rs`. Start at [`Collector::work`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{
    Change, Collected, ContextId, ContextSlot, Damage, Hlc, Ledger, LedgerWriter, Reach, Refused,
    Scrub, Scrubbed, Snapshot, StepBounds, StoreError,
};

use crate::bounds::CollectorBounds;
use crate::stats::ShardStats;

/// A step of the collector, the scrub or the sweep ends behind the first few records after so long. What one
/// record takes, or one span of history, comes on top of that.
pub(crate) const STEP_MAX: Duration = Duration::from_micros(250);

/// After each step it rests for so many times as long as that has taken.
const REST: u32 = 4;

/// Between two looks at contexts that have grown but not beyond bounds.
const GROWN_EVERY: Duration = Duration::from_secs(1);

/// After something that it could not do, for want of space most often.
const PAUSE: Duration = Duration::from_secs(10);

/// Contexts looked through for one whose head cannot be read: less than a millisecond.
const CONTEXTS_MAX: usize = 2_048;

/// Fewer than the collector's own: the scrub comes to pages that are not in memory.
const SCRUB_STEP: StepBounds = StepBounds {
    rows_max: 64,
    bytes_max: 64 << 10,
};

/// A context that is out of service from now on, and why.
pub(crate) type Quarantined = (ContextId, Arc<str>);

/// What the shard has to hear of some work, and the commit thread.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Whether a checkpoint was made.
    pub(crate) is_shown: bool,
    /// Whether one is to be made before the next step.
    pub(crate) is_checkpoint_due: bool,
    pub(crate) quarantined: Vec<Quarantined>,
}

/// What a step has come to.
struct Stepped {
    damaged: Vec<Damage>,
    is_checkpoint_due: bool,
}

/// What it is at, and when it goes on.
pub(crate) struct Collector {
    bounds: CollectorBounds,
    stats: Arc<ShardStats>,
    /// Whether it is going round all contexts.
    is_in_round: bool,
    round_due: Instant,
    /// When the next step of the round, or for contexts that have grown, may be.
    step_due: Instant,
    /// From where on answers that are too old are to be dropped; `None` between rounds.
    answers_from: Option<ContextSlot>,
    scrub: Scrub,
    scrub_due: Option<Instant>,
    /// Whether the scrub reads as fast as it may, as nobody has read these records since the start.
    is_scrub_urgent: bool,
}

impl Collector {
    /// `is_unread` says that the ledger was not looked over when it was opened.
    pub(crate) fn new(
        bounds: CollectorBounds,
        stats: Arc<ShardStats>,
        is_unread: bool,
    ) -> Collector {
        let now = Instant::now();
        let first = match is_unread {
            true => now,
            false => now + bounds.every,
        };
        let scrub_due = (bounds.scrub_bytes_per_second > 0).then_some(first);
        Collector {
            round_due: now + bounds.every,
            bounds,
            stats,
            is_in_round: false,
            step_due: now,
            answers_from: None,
            scrub: Scrub::default(),
            scrub_due,
            is_scrub_urgent: is_unread,
        }
    }

    /// When there is something to do; `has_grown` says whether contexts have.
    pub(crate) fn due(&self, has_grown: bool) -> Instant {
        let collect = match self.is_in_round || self.answers_from.is_some() || has_grown {
            true => self.step_due.min(self.round_due.max(self.step_due)),
            false => self.round_due.max(self.step_due),
        };
        self.scrub_due.map_or(collect, |scrub| scrub.min(collect))
    }

    /// Does one step of what is due, and takes contexts out of service of which it has found damage, with a commit
    /// that is no part of the step. A fatal error is the caller's; after any other the
    /// collector goes on later.
    pub(crate) fn work(
        &mut self,
        ledger: &Ledger,
        writer: &mut LedgerWriter<'_>,
        now: Hlc,
    ) -> Result<Outcome, StoreError> {
        let started = Instant::now();
        let is_scrub = self.scrub_due.is_some_and(|due| due <= started)
            && (self.step_due > started || self.scrub_due < Some(self.step_due));
        let stepped = match self.answers_from {
            _ if is_scrub => self.scrub(ledger, writer, started),
            Some(from) => self.expire_answers(writer, now, from, started),
            None => self.collect(writer, now, started),
        };
        let took = started.elapsed();
        self.stats.collector_steps.one();
        self.stats.collector_micros.observe_micros(took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let longest = &self.stats.collector_micros_max;
        longest.set(longest.get().max(micros));
        let worked = stepped.and_then(|stepped| {
            let damaged = stepped.damaged.into_iter();
            let mut outcome = self.put_out_of_service(ledger, writer, damaged)?;
            outcome.is_checkpoint_due = stepped.is_checkpoint_due && !outcome.is_shown;
            Ok(outcome)
        });
        if worked.is_err() {
            self.pause();
        }
        worked
    }

    /// Something that it needs could not be done, for want of space most often.
    pub(crate) fn pause(&mut self) {
        let later = Instant::now() + PAUSE;
        self.step_due = later;
        self.scrub_due = self.scrub_due.map(|_| later);
    }

    /// A checkpoint was made for it, which has taken so long: calls go first.
    pub(crate) fn rest_behind(&mut self, took: Duration) {
        let rested = Instant::now() + took * REST;
        self.step_due = self.step_due.max(rested);
        self.scrub_due = self.scrub_due.map(|due| due.max(rested));
    }

    fn collect(
        &mut self,
        writer: &mut LedgerWriter<'_>,
        now: Hlc,
        started: Instant,
    ) -> Result<Stepped, StoreError> {
        if !self.is_in_round && self.round_due <= started {
            self.is_in_round = true;
            self.round_due = started + self.bounds.every;
        }
        let reach = match self.is_in_round {
            true => Reach::All,
            false => Reach::Grown,
        };
        let is_over = || started.elapsed() >= STEP_MAX;
        let budget = StepBounds::default().until(&is_over);
        let collected = writer.collect(&self.bounds.retention, now, budget, reach)?;
        self.count(&collected);
        if self.is_in_round && collected.is_round_over {
            self.is_in_round = false;
            self.answers_from = Some(ContextSlot::UNASSIGNED);
        }
        let ended = Instant::now();
        let has_more = self.is_in_round || self.answers_from.is_some() || collected.is_full;
        self.step_due = match has_more {
            true => ended + (ended - started) * REST,
            false => ended + GROWN_EVERY,
        };
        for (context, member) in &collected.away {
            tracing::warn!(%context, %member, "a member has acknowledged nothing for too long; its deltas are not kept any more, and it has to take a snapshot");
        }
        Ok(Stepped {
            damaged: in_slots(collected.damaged),
            is_checkpoint_due: collected.is_checkpoint_due,
        })
    }

    /// Behind each round: answers that nobody can ask for any more. Those of a context that
    /// is called go with its calls.
    fn expire_answers(
        &mut self,
        writer: &mut LedgerWriter<'_>,
        now: Hlc,
        from: ContextSlot,
        started: Instant,
    ) -> Result<Stepped, StoreError> {
        let is_over = || started.elapsed() >= STEP_MAX;
        let budget = StepBounds::default().until(&is_over);
        // A table that cannot be read ends the round.
        self.answers_from = None;
        let expired = writer.expire_answers(now, from, budget)?;
        self.answers_from = expired.next;
        self.stats.answers_expired.add(expired.answers as u64);
        let ended = Instant::now();
        self.step_due = match self.answers_from {
            Some(_) => ended + (ended - started) * REST,
            None => ended + GROWN_EVERY,
        };
        self.stats.damage_found.add(expired.damaged.len() as u64);
        Ok(Stepped {
            damaged: in_slots(expired.damaged),
            is_checkpoint_due: expired.is_checkpoint_due,
        })
    }

    fn count(&self, collected: &Collected) {
        let stats = &self.stats;
        stats.collector_rows.add(collected.rows);
        stats.collector_bytes.add(collected.bytes);
        stats.events_dropped.add(collected.events);
        stats.deltas_dropped.add(collected.deltas);
        stats.edits_packed.add(collected.edits_packed);
        stats.deltas_held_up.add(collected.held_up);
        stats.members_away.add(collected.away.len() as u64);
        stats.damage_found.add(collected.damaged.len() as u64);
    }

    fn scrub(
        &mut self,
        ledger: &Ledger,
        writer: &mut LedgerWriter<'_>,
        started: Instant,
    ) -> Result<Stepped, StoreError> {
        let is_over = || started.elapsed() >= STEP_MAX;
        let budget = SCRUB_STEP.until(&is_over);
        let Scrubbed {
            rows,
            bytes,
            damaged,
            derived,
            orphans,
            unnamed,
            is_round_over,
        } = self.scrub.step(&ledger.snapshot()?, budget)?;
        let stats = &self.stats;
        stats.collector_rows.add(rows);
        stats.collector_bytes.add(bytes);
        stats.scrub_bytes.add(bytes);
        stats.scrub_rounds.add(u64::from(is_round_over));
        stats
            .damage_found
            .add((damaged.len() + derived.len()) as u64);
        let rate = self.bounds.scrub_bytes_per_second.max(1);
        let mut rest = Duration::from_secs_f64(bytes as f64 / rate as f64);
        if self.is_scrub_urgent {
            rest = rest.min(started.elapsed() * REST);
        }
        if is_round_over {
            self.is_scrub_urgent = false;
            // What is small would be read all the time.
            rest = rest.max(self.bounds.every);
        }
        self.scrub_due = Some(Instant::now() + rest);
        if !orphans.is_empty() {
            let dropped = writer.drop_orphans(&orphans)?;
            stats.orphans_dropped.add(dropped);
            tracing::warn!(dropped, "dropped records of no context");
        }
        if !derived.is_empty() {
            for derived in &derived {
                tracing::warn!(error = %derived.error, "a record that is worked out from others is damaged; it is worked out again");
            }
            writer.drop_derived(&derived)?;
        }
        if !unnamed.is_empty() {
            let dropped = writer.drop_authors(&unnamed)?;
            stats.authors_dropped.add(dropped);
            tracing::debug!(dropped, "dropped authors whom no record names");
        }
        Ok(Stepped {
            damaged,
            is_checkpoint_due: false,
        })
    }

    /// Takes contexts with damage out of service, durably.
    pub(crate) fn put_out_of_service(
        &self,
        ledger: &Ledger,
        writer: &mut LedgerWriter<'_>,
        damaged: impl Iterator<Item = Damage>,
    ) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        let mut found: Vec<Quarantined> = Vec::new();
        for damage in damaged {
            let error = &damage.error;
            let snapshot = ledger.snapshot()?;
            let context = match (damage.slot, damage.context) {
                (Some(slot), _) if is_out_of_service(&snapshot, slot)? => continue,
                (None, Some(context)) if is_known(&snapshot, context)? => continue,
                (_, Some(context)) => Some(context),
                (Some(slot), None) => snapshot.context_in(slot, CONTEXTS_MAX)?,
                (None, None) => None,
            };
            drop(snapshot);
            let Some(context) = context else {
                tracing::error!(slot = damage.slot.map(|slot| slot.number()), %error, "a damaged record, of which nothing says to which context it belongs");
                continue;
            };
            if found.iter().all(|(id, _)| *id != context) {
                found.push((context, Arc::from(error.to_string())));
            }
        }
        if found.is_empty() {
            return Ok(outcome);
        }
        let change = |(context, why): &Quarantined| Change::Quarantine {
            context: *context,
            why: Some(why.to_string()),
        };
        let committed = writer.commit(found.iter().map(change).collect())?;
        outcome.is_shown = committed.is_shown;
        for ((context, why), verdict) in found.into_iter().zip(committed.verdicts) {
            match verdict {
                Ok(_) => {
                    tracing::error!(%context, %why, "a record of a context is damaged; it is out of service");
                }
                // Nothing says in which slot it is: it is out of service until the next start,
                // which finds it again.
                Err(error @ Refused::Damaged { .. }) => {
                    tracing::error!(%context, %why, %error, "a record of a context is damaged; it is out of service, which could not be written down");
                }
                // It was deleted meanwhile, most often: nobody is to believe that it is there.
                Err(error) => {
                    tracing::warn!(%context, %why, %error, "damage was found of a context that cannot be put out of service");
                    continue;
                }
            }
            outcome.quarantined.push((context, why));
        }
        Ok(outcome)
    }
}

fn in_slots(damaged: Vec<(ContextSlot, StoreError)>) -> Vec<Damage> {
    let damage = |(slot, error)| Damage {
        slot: Some(slot),
        context: None,
        error,
    };
    damaged.into_iter().map(damage).collect()
}

fn is_out_of_service(snapshot: &Snapshot, slot: ContextSlot) -> Result<bool, StoreError> {
    match snapshot.quarantined(slot) {
        Ok(found) => Ok(found.is_some()),
        Err(StoreError::Corrupt { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether a context is out of service of which only the id is known.
pub(crate) fn is_known(snapshot: &Snapshot, context: ContextId) -> Result<bool, StoreError> {
    let all = snapshot.all_quarantined()?;
    Ok(all.iter().any(|known| known.context == context))
}

#[cfg(test)]
mod tests {
    use corelet_store::Change;

    use super::*;
    use crate::fixture::{self, Disk};

    /// A copy may read what was there an hour ago.
    #[test]
    fn damage_of_a_context_that_was_deleted_meanwhile_puts_nothing_out_of_service() {
        let disk = Disk::new();
        disk.create(1);
        let ledger = &disk.ledger;
        let collector = Collector::new(CollectorBounds::default(), Arc::default(), false);
        let found = |n| Damage {
            slot: None,
            context: Some(fixture::id(n)),
            error: StoreError::Corrupt {
                what: "log record",
                key: "00".to_owned(),
                why: "its sum is wrong",
            },
        };
        let put_out = |n| {
            let damaged = [found(n), found(n)].into_iter();
            let outcome = collector.put_out_of_service(ledger, &mut ledger.writer(), damaged);
            let all = outcome.unwrap().quarantined;
            all.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(put_out(2), []);
        assert_eq!(put_out(1), [fixture::id(1)]);
        // It is known by now.
        assert_eq!(put_out(1), []);
        let delete = Change::DeleteContext(fixture::id(1));
        ledger.commit(vec![delete]).unwrap().remove(0).unwrap();
        assert_eq!(put_out(1), []);
        let snapshot = ledger.snapshot().unwrap();
        assert!(snapshot.all_quarantined().unwrap().is_empty());
    }
}
