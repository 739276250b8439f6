//! The collector's steps: events and deltas of which there are more than is kept go,
//! the oldest first. They run on the shard's commit thread, between batches. A step is bounded by records, bytes and
//! a clock (`crate::step`), and rides along with the
//! transaction that is open: it is in no journal, so what a crash undoes is done again, and
//! nothing but time is lost. It makes no checkpoint. The most that is done between two looks at the clock is to look for
//! a span of history (at up to [`SPAN_DELTAS_MAX`](crate::tally::SPAN_DELTAS_MAX) small deltas, and with other nodes at what the members have
//! said and at some marks), or to drop a few events or deltas, or to read one event or a piece of a large delta (`reading.rs`), or to make one pack of edits. What is read is checked before anything is written; damage
//! is reported, and ends only what concerns its context. Bounds are in
//! `crate::retention`, what becomes of deltas in `history.rs`. Start at [`Pass::collect`].

use std::ops::Bound;

use super::reading::Reading;
use super::{Pass, Stop};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::ContextSlot;
use crate::layout::{self, event_key, slot_key};
use crate::record::{EventView, Head};
use crate::retention::{Collected, Reach, Retention, Round, cutoff};
use crate::step::Budget;
use crate::tally::Tally;

/// Steps of a round that one context takes in a row. One that needs more, as it may grow as fast
/// as it is collected, is gone on with among those that have grown.
const STEPS_IN_A_ROW_MAX: u32 = 64;

/// Events or deltas that are dropped between two looks at the clock: some tens of microseconds each where a
/// transaction has written much.
pub(super) const DROPS_BETWEEN_LOOKS: u64 = 8;

/// One step, and what it has done so far.
pub(super) struct Step<'b> {
    pub(super) retention: Retention,
    /// Whether there is room for packs.
    pub(super) may_pack: bool,
    pub(super) budget: &'b Budget<'b>,
    events_cutoff: Hlc,
    pub(super) history_cutoff: Hlc,
    pub(super) away_cutoff: Hlc,
    pub(super) done: Collected,
    pub(super) reading: Reading,
}

impl Step<'_> {
    pub(super) fn is_full(&self) -> bool {
        self.budget.is_spent(self.done.rows, self.done.bytes)
    }

    /// Keeps damage for the report; every other failure ends the step.
    pub(super) fn unless_damaged<T>(
        &mut self,
        slot: ContextSlot,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error @ StoreError::Corrupt { .. }) => {
                self.done.damaged.push((slot, error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether everything was done that a context needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    More,
    /// The time of the step is over before it was found what there is to do.
    BrokenOff,
}

impl Pass<'_> {
    /// Does what is due, within `budget`: first for contexts that have grown, on every second
    /// step, then for all others in turn.
    pub(crate) fn collect(
        &mut self,
        round: &mut Round,
        (retention, may_pack): (&Retention, bool),
        now: Hlc,
        budget: &Budget<'_>,
        reach: Reach,
    ) -> Result<Collected, StoreError> {
        let mut step = Step {
            retention: *retention,
            may_pack,
            budget,
            events_cutoff: cutoff(now, retention.events.age_max),
            history_cutoff: cutoff(now, retention.history.age_max),
            away_cutoff: cutoff(now, retention.away_max),
            done: Collected::default(),
            reading: std::mem::take(&mut round.reading),
        };
        step.reading.bound();
        self.hand_over_packable(round);
        round.is_for_grown = !round.is_for_grown;
        let begins_with_grown = round.is_for_grown || reach == Reach::Grown;
        if begins_with_grown {
            round.is_for_packs = !round.is_for_packs;
        }
        if begins_with_grown && round.is_for_packs {
            self.pack_grown(round, &mut step)?;
        }
        while begins_with_grown && !step.is_full() {
            let Some(slot) = self.grown_behind(round.grown_after) else {
                break;
            };
            self.grown.remove(&slot);
            let progress = self.collect_context(slot, &mut step)?;
            // What was read for it is kept for a few contexts alone: the next step goes on with it.
            if progress != Progress::BrokenOff {
                round.grown_after = Some(slot);
            }
            if progress != Progress::Done {
                self.grown.insert(slot);
                break;
            }
        }
        if begins_with_grown {
            self.pack_grown(round, &mut step)?;
        }
        while reach == Reach::All && !step.is_full() {
            if round.walk.is_on {
                if self.look_at_all(&mut round.walk, &mut step)? == Progress::Done {
                    round.after = None;
                    step.done.is_round_over = true;
                }
                break;
            }
            let Some(slot) = self.slot_after(round.after)? else {
                if round.walk.is_due() && may_pack {
                    round.walk.begin();
                    continue;
                }
                round.after = None;
                step.done.is_round_over = true;
                break;
            };
            if self.collect_context(slot, &mut step)? != Progress::Done {
                round.steps_there += 1;
                if round.steps_there < STEPS_IN_A_ROW_MAX {
                    break;
                }
                self.grown.insert(slot);
            }
            round.steps_there = 0;
            round.after = Some(slot);
        }
        self.hand_over_packable(round);
        step.done.is_full = step.is_full();
        step.reading.is_new = false;
        round.reading = step.reading;
        Ok(step.done)
    }

    /// The first context behind this one that has grown, and behind the last one the first.
    fn grown_behind(&self, after: Option<ContextSlot>) -> Option<ContextSlot> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.grown.range((from, Bound::Unbounded));
        behind.next().or_else(|| self.grown.first()).copied()
    }

    /// The first slot with a head behind this one.
    fn slot_after(&self, after: Option<ContextSlot>) -> Result<Option<ContextSlot>, StoreError> {
        let key = after.map(slot_key);
        let start = match &key {
            Some(key) => Bound::Excluded(&key[..]),
            None => Bound::Unbounded,
        };
        let mut rows = self
            .tables
            .heads
            .range(&self.txn, &(start, Bound::Unbounded))
            .map_err(|error| self.engine(error))?;
        let Some(row) = rows.next() else {
            return Ok(None);
        };
        let (key, _) = row.map_err(|error| self.engine(error))?;
        let slot = layout::read_u64(key).map(ContextSlot::new);
        let malformed = || StoreError::corrupt("head record", key, "its key is not 8 bytes long");
        slot.ok_or_else(malformed).map(Some)
    }

    fn collect_context(
        &mut self,
        slot: ContextSlot,
        step: &mut Step<'_>,
    ) -> Result<Progress, StoreError> {
        step.done.rows += 2;
        // What is damaged stays as it is, so that it can be looked into.
        if self.is_quarantined(slot) {
            return Ok(Progress::Done);
        }
        let head = self.peek_head(slot);
        let Some(head) = step.unless_damaged(slot, head)?.flatten() else {
            return Ok(Progress::Done);
        };
        match self.collect_events(slot, &head, step)? {
            Progress::Done => {}
            progress => return Ok(progress),
        }
        loop {
            // Each cut changes it.
            let head = self.peek_head(slot);
            let Some(head) = step.unless_damaged(slot, head)?.flatten() else {
                return Ok(Progress::Done);
            };
            match self.collect_history(slot, &head, step)? {
                Progress::More if !step.is_full() => {}
                progress => return Ok(progress),
            }
        }
    }

    /// Drops events from the oldest on.
    fn collect_events(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        step: &mut Step<'_>,
    ) -> Result<Progress, StoreError> {
        if head.events_first > head.events_last {
            return Ok(Progress::Done);
        }
        let mut tally = self.read_tally(slot, head)?;
        let before = tally.events_bytes;
        let mut first = head.events_first;
        let progress = loop {
            let mut left = tally;
            let found = self.events_to_drop(slot, head, first, &mut left, step);
            let Some((end, progress)) = step.unless_damaged(slot, found)? else {
                break Progress::Done;
            };
            for sequence in first..end {
                let (table, txn) = (self.tables.events, &mut self.txn);
                let deleted = table.delete(txn, &event_key(slot, sequence));
                deleted.map_err(|error| self.engine(error))?;
            }
            (first, tally) = (end, left);
            if progress == Progress::Done || step.is_full() {
                break progress;
            }
        };
        if first == head.events_first {
            return Ok(progress);
        }
        self.freed_bytes += before.saturating_sub(tally.events_bytes);
        let count = first - head.events_first;
        step.done.events += count;
        self.note_collected(slot, tally, count, |head| head.events_first = first)?;
        Ok(progress)
    }

    /// Looks at a few events from `first` on. The sequence number of the first one that stays, and whether there may be more to drop.
    fn events_to_drop(
        &self,
        slot: ContextSlot,
        head: &Head,
        mut first: u64,
        tally: &mut Tally,
        step: &mut Step<'_>,
    ) -> Result<(u64, Progress), StoreError> {
        let keep = &step.retention.events;
        let end = first.saturating_add(DROPS_BETWEEN_LOOKS);
        let (from, to) = (event_key(slot, first), event_key(slot, head.events_last));
        let range = (Bound::Included(&from[..]), Bound::Included(&to[..]));
        let rows = self.tables.events.range(&self.txn, &range);
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            let event = EventView::read(key, bytes)?;
            if event.sequence != first {
                let why = "an event before it is missing";
                return Err(StoreError::corrupt("event record", key, why));
            }
            step.done.rows += 1;
            step.done.bytes += bytes.len() as u64;
            let left = head.events_last + 1 - first;
            let is_over =
                left > keep.count_max || (tally.events_bytes > keep.bytes_max && left > 1);
            if !is_over && event.hlc >= step.events_cutoff {
                return Ok((first, Progress::Done));
            }
            let bytes = (event.kind.len() + event.payload.len()) as u64;
            tally.subtract_event(first, bytes);
            first += 1;
            if first == end || step.is_full() {
                return Ok((first, Progress::More));
            }
        }
        match first > head.events_last {
            true => Ok((first, Progress::Done)),
            false => {
                let why = "its events are not the ones that it counts";
                Err(StoreError::corrupt("head record", &slot_key(slot), why))
            }
        }
    }

    /// Brings what was dropped into the head and the tally.
    pub(super) fn note_collected(
        &mut self,
        slot: ContextSlot,
        tally: Tally,
        writes: u64,
        change: impl FnOnce(&mut Head),
    ) -> Result<(), StoreError> {
        self.head(slot).map_err(written)?;
        let touched = self.heads.get_mut(&slot);
        let touched = touched.expect("it was read before anything was dropped");
        change(&mut touched.head);
        touched.is_changed = true;
        self.put_tally(slot, tally);
        self.writes += writes as usize;
        self.has_written = true;
        Ok(())
    }

    /// The head in `slot`, which is not kept in memory for it.
    pub(super) fn peek_head(&self, slot: ContextSlot) -> Result<Option<Head>, StoreError> {
        if let Some(touched) = self.heads.get(&slot) {
            return Ok(Some(touched.head.clone()));
        }
        let key = slot_key(slot);
        let found = self.tables.heads.get(&self.txn, &key);
        let found = found.map_err(|error| self.engine(error))?;
        found.map(|bytes| Head::read(&key, bytes)).transpose()
    }
}

/// A failure in the middle of writing.
pub(super) fn written(stop: Stop) -> StoreError {
    super::fatal(stop)
}
