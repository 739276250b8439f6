//! The collector's steps: events and deltas of which there are more than is kept go,
//! the oldest first. A step is bounded by records and bytes and rides along with the
//! transaction that is open: it is in no journal, so what a crash undoes is done again, and
//! nothing but time is lost. What is read is checked before anything is written; damage
//! is reported, and ends only what concerns its context. Bounds are in
//! `crate::retention`, on whom deltas wait in `members.rs`. Start at [`Pass::collect`].

use std::ops::Bound;

use super::members::Stable;
use super::{Pass, Stop};
use crate::delta::DeltaView;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId};
use crate::layout::{self, dag_key, event_key, mark_key, position_key, slot_key};
use crate::record::{DagNode, EventView, Head, LogRow, open, seal};
use crate::retention::{Collected, Keep, Reach, Retention, Round, StepBounds, cutoff};
use crate::tally::{MarkRow, SPAN_BYTES, SPAN_DELTAS_MAX, Tally, read_mark};
use crate::version::{Dot, VersionVector};

/// Marks behind a span that are looked at for a delta that every member has and that
/// follows the whole span.
const FOLLOWERS_MAX: usize = 4;

/// One step, and what it has done so far.
struct Step {
    retention: Retention,
    bounds: StepBounds,
    events_cutoff: Hlc,
    history_cutoff: Hlc,
    away_cutoff: Hlc,
    done: Collected,
}

impl Step {
    fn is_full(&self) -> bool {
        self.done.rows >= self.bounds.rows_max || self.done.bytes >= self.bounds.bytes_max
    }

    /// Keeps damage for the report; every other failure ends the step.
    fn unless_damaged<T>(
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
enum Progress {
    Done,
    More,
}

/// A delta in the log.
struct Logged {
    position: u64,
    previous: u64,
    id: DeltaId,
    dot: Dot,
    bytes: u64,
}

/// What the walk back from a mark has found.
enum Walked {
    /// The oldest deltas that are kept, up to the mark.
    Span(Vec<Logged>),
    /// There is more below than a span has: here the next mark belongs.
    NeedsMark { position: u64, hlc: Hlc },
}

impl Pass<'_> {
    /// Does what is due, within `bounds`: first for contexts that have grown, on every second
    /// step, then for all others in turn.
    pub(crate) fn collect(
        &mut self,
        round: &mut Round,
        retention: &Retention,
        now: Hlc,
        bounds: &StepBounds,
        reach: Reach,
    ) -> Result<Collected, StoreError> {
        let mut step = Step {
            retention: *retention,
            bounds: *bounds,
            events_cutoff: cutoff(now, retention.events.age_max),
            history_cutoff: cutoff(now, retention.history.age_max),
            away_cutoff: cutoff(now, retention.away_max),
            done: Collected::default(),
        };
        round.is_for_grown = !round.is_for_grown;
        let begins_with_grown = round.is_for_grown || reach == Reach::Grown;
        while begins_with_grown && !step.is_full() {
            let Some(slot) = self.grown.pop_first() else {
                break;
            };
            if self.collect_context(slot, &mut step)? == Progress::More {
                self.grown.insert(slot);
                break;
            }
        }
        while reach == Reach::All && !step.is_full() {
            let Some(slot) = self.slot_after(round.after)? else {
                round.after = None;
                step.done.is_round_over = true;
                break;
            };
            if self.collect_context(slot, &mut step)? == Progress::More {
                break;
            }
            round.after = Some(slot);
        }
        Ok(step.done)
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
        step: &mut Step,
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
            Progress::More => return Ok(Progress::More),
        }
        loop {
            // Each cut changes it.
            let head = self.peek_head(slot);
            let Some(head) = step.unless_damaged(slot, head)?.flatten() else {
                return Ok(Progress::Done);
            };
            match self.collect_history(slot, &head, step)? {
                Progress::Done => return Ok(Progress::Done),
                Progress::More if step.is_full() => return Ok(Progress::More),
                Progress::More => {}
            }
        }
    }

    /// Drops events from the oldest on.
    fn collect_events(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        step: &mut Step,
    ) -> Result<Progress, StoreError> {
        if head.events_first > head.events_last {
            return Ok(Progress::Done);
        }
        let mut tally = self.read_tally(slot, head)?;
        let dropped = self.events_to_drop(slot, head, &mut tally, step);
        let Some((first, progress)) = step.unless_damaged(slot, dropped)? else {
            return Ok(Progress::Done);
        };
        if first == head.events_first {
            return Ok(progress);
        }
        for sequence in head.events_first..first {
            let (table, txn) = (self.tables.events, &mut self.txn);
            let deleted = table.delete(txn, &event_key(slot, sequence));
            deleted.map_err(|error| self.engine(error))?;
        }
        let count = first - head.events_first;
        step.done.events += count;
        self.note_collected(slot, tally, count, |head| head.events_first = first)?;
        Ok(progress)
    }

    /// The sequence number of the first event that stays, and whether a further step may
    /// drop more.
    fn events_to_drop(
        &self,
        slot: ContextSlot,
        head: &Head,
        tally: &mut Tally,
        step: &mut Step,
    ) -> Result<(u64, Progress), StoreError> {
        let keep = &step.retention.events;
        let mut first = head.events_first;
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
            if step.done.rows >= step.bounds.rows_max || step.done.bytes >= step.bounds.bytes_max {
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

    /// Drops the oldest span of deltas, if there are too many and nobody can need them, or
    /// does what must be done before that.
    fn collect_history(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        step: &mut Step,
    ) -> Result<Progress, StoreError> {
        if head.log_last <= head.log_pruned {
            return Ok(Progress::Done);
        }
        let tally = self.read_tally(slot, head)?;
        let marks = self.marks(slot);
        let Some(marks) = step.unless_damaged(slot, marks)? else {
            return Ok(Progress::Done);
        };
        step.done.rows += marks.len() as u64;
        let mark = marks.first().copied();
        if !is_over(&step.retention.history, head, &tally)
            && mark.is_none_or(|(_, hlc)| hlc >= step.history_cutoff)
        {
            return Ok(Progress::Done);
        }
        let top = mark.map_or(head.log_last, |(position, _)| position);
        let stable = self.stable(slot, head);
        let Some(stable) = step.unless_damaged(slot, stable)? else {
            return Ok(Progress::Done);
        };
        let mut followers = Vec::new();
        if let Stable::Seen(_) = stable {
            let found = self.followers(slot, marks.get(1..).unwrap_or_default(), step);
            let Some(found) = step.unless_damaged(slot, found)? else {
                return Ok(Progress::Done);
            };
            let first = found.first().map(|(dot, _)| *dot);
            followers = found;
            followers.retain(|(dot, _)| stable.has(*dot));
            // Without two marks there may be some to be put.
            if followers.is_empty() && marks.len() > 1 {
                return self.hold_up(slot, head, &tally, first, step);
            }
        }
        let walked = self.walk(slot, head, top, step);
        match step.unless_damaged(slot, walked)? {
            None => Ok(Progress::Done),
            Some(Walked::NeedsMark { position, hlc }) => {
                self.put_mark(slot, position, hlc)?;
                Ok(Progress::More)
            }
            // The newest stays.
            Some(Walked::Span(_)) if top == head.log_last => Ok(Progress::Done),
            Some(Walked::Span(span)) => {
                let mut seen = VersionVector::default();
                span.iter().for_each(|delta| seen.see(delta.dot));
                let is_followed = |(_, past): &(Dot, Option<VersionVector>)| {
                    past.as_ref().is_none_or(|past| past.covers(&seen))
                };
                if matches!(stable, Stable::Seen(_)) && !followers.iter().any(is_followed) {
                    step.done.held_up += 1;
                    return Ok(Progress::Done);
                }
                self.cut(slot, head, tally, top, &span, &seen, step)
            }
        }
    }

    /// The oldest marks of a context with their stamps: that of its oldest span, and
    /// some behind it.
    fn marks(&self, slot: ContextSlot) -> Result<Vec<(u64, Hlc)>, StoreError> {
        let rows = self.tables.marks.prefix_iter(&self.txn, &slot_key(slot));
        let rows = rows.map_err(|error| self.engine(error))?;
        rows.take(1 + FOLLOWERS_MAX)
            .map(|row| {
                let (key, bytes) = row.map_err(|error| self.engine(error))?;
                let hlc = read_mark(key, bytes)?;
                let position = key.last_chunk::<8>().copied().map(u64::from_be_bytes);
                let malformed = || {
                    let why = "its key is too short";
                    StoreError::corrupt("mark in a context's history", key, why)
                };
                Ok((position.ok_or_else(malformed)?, hlc))
            })
            .collect()
    }

    /// The deltas at these marks, and what each had seen; none if that is everything
    /// before it, as it is of the time when no other node had the context.
    fn followers(
        &self,
        slot: ContextSlot,
        marks: &[(u64, Hlc)],
        step: &mut Step,
    ) -> Result<Vec<(Dot, Option<VersionVector>)>, StoreError> {
        let mut followers = Vec::with_capacity(marks.len());
        for &(position, _) in marks {
            let delta = self.logged(slot, position)?;
            step.done.rows += 2;
            step.done.bytes += delta.bytes;
            let key = dag_key(slot, &delta.id);
            let found = self.tables.dag.get(&self.txn, &key);
            let found = found.map_err(|error| self.engine(error))?;
            let node = found.map(|bytes| DagNode::read(&key, bytes)).transpose()?;
            followers.push((delta.dot, node.map(|node| node.seen)));
        }
        Ok(followers)
    }

    /// Something is wanted by a member. `follower` is what it would have to acknowledge so
    /// that there is something to cut. A member that has not done so for too long,
    /// or at the price of too many bytes, is not waited for any more.
    fn hold_up(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        tally: &Tally,
        follower: Option<Dot>,
        step: &mut Step,
    ) -> Result<Progress, StoreError> {
        step.done.held_up += 1;
        let Some(follower) = follower else {
            return Ok(Progress::Done);
        };
        let acks = self.acks(slot);
        let Some(acks) = step.unless_damaged(slot, acks)? else {
            return Ok(Progress::Done);
        };
        step.done.rows += acks.len() as u64;
        let is_dear = tally.log_bytes > step.retention.away_bytes_max;
        let is_late = |since: Hlc| follower.hlc.max(since) < step.away_cutoff;
        let mut progress = Progress::Done;
        for mut ack in acks {
            if ack.is_away || ack.seen.has_seen(follower) || !(is_dear || is_late(ack.since)) {
                continue;
            }
            ack.is_away = true;
            ack.seen = VersionVector::default();
            self.put_ack(slot, &ack).map_err(written)?;
            self.has_written = true;
            step.done.away.push((head.context, ack.node));
            progress = Progress::More;
        }
        Ok(progress)
    }

    /// Walks back from the delta at `top` to what was pruned before.
    fn walk(
        &self,
        slot: ContextSlot,
        head: &Head,
        top: u64,
        step: &mut Step,
    ) -> Result<Walked, StoreError> {
        let mut span: Vec<Logged> = Vec::new();
        // Without the first, which may be as large as it likes.
        let mut bytes = 0;
        let mut position = top;
        while position > head.log_pruned {
            let delta = self.logged(slot, position)?;
            step.done.rows += 1;
            step.done.bytes += delta.bytes;
            if !span.is_empty() {
                bytes += delta.bytes;
            }
            if span.len() >= SPAN_DELTAS_MAX as usize || bytes >= SPAN_BYTES {
                let hlc = delta.dot.hlc;
                return Ok(Walked::NeedsMark { position, hlc });
            }
            position = delta.previous;
            span.push(delta);
        }
        Ok(Walked::Span(span))
    }

    fn logged(&self, slot: ContextSlot, position: u64) -> Result<Logged, StoreError> {
        let key = position_key(position);
        let corrupt = |why| StoreError::corrupt("log record", &key, why);
        let found = self.tables.log.get(&self.txn, &key);
        let found = found.map_err(|error| self.engine(error))?;
        let row = open::<LogRow>(&key, found.ok_or_else(|| corrupt("it is missing"))?)?;
        if row.slot.to_native() != slot.number() {
            return Err(corrupt("it belongs to another context"));
        }
        let previous = row.previous.to_native();
        if previous >= position {
            return Err(corrupt("the delta before it is not before it"));
        }
        let canonical = row.canonical.get();
        let delta = DeltaView::parse(canonical)
            .map_err(|_| corrupt("its canonical bytes are malformed"))?;
        let author = self.authors.find(delta.author());
        Ok(Logged {
            position,
            previous,
            id: delta.id(),
            dot: Dot {
                author: author.ok_or_else(|| corrupt("its author is unknown"))?,
                hlc: delta.hlc(),
            },
            bytes: canonical.len() as u64,
        })
    }

    fn put_mark(&mut self, slot: ContextSlot, position: u64, hlc: Hlc) -> Result<(), StoreError> {
        let key = mark_key(slot, position);
        seal(&mut self.buffers.record, &key, &MarkRow { hlc: hlc.bits() });
        let (table, txn) = (self.tables.marks, &mut self.txn);
        let put = table.put(txn, &key, &self.buffers.record);
        put.map_err(|error| self.engine(error))?;
        self.writes += 1;
        self.has_written = true;
        Ok(())
    }

    /// Drops a span, and all that was known about it.
    #[expect(clippy::too_many_arguments, reason = "all of it was found out before")]
    fn cut(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        mut tally: Tally,
        top: u64,
        span: &[Logged],
        seen: &VersionVector,
        step: &mut Step,
    ) -> Result<Progress, StoreError> {
        let count = span.len() as u64;
        let Some(log_count) = head.log_count.checked_sub(count) else {
            let why = "it counts fewer deltas than there are";
            let damage = StoreError::corrupt("head record", &slot_key(slot), why);
            step.done.damaged.push((slot, damage));
            return Ok(Progress::Done);
        };
        let pruned = match head.is_shared {
            true => {
                let pruned = self.pruned(slot);
                let Some(pruned) = step.unless_damaged(slot, pruned)? else {
                    return Ok(Progress::Done);
                };
                pruned
            }
            false => None,
        };
        for delta in span {
            tally.subtract_delta(delta.position, delta.bytes);
            let key = position_key(delta.position);
            let deleted = self.tables.log.delete(&mut self.txn, &key);
            deleted.map_err(|error| self.engine(error))?;
            if head.is_shared {
                let key = dag_key(slot, &delta.id);
                let deleted = self.tables.dag.delete(&mut self.txn, &key);
                deleted.map_err(|error| self.engine(error))?;
            }
        }
        let key = mark_key(slot, top);
        let deleted = self.tables.marks.delete(&mut self.txn, &key);
        deleted.map_err(|error| self.engine(error))?;
        if let Some(mut pruned) = pruned {
            pruned.join(seen);
            self.put_pruned(slot, &pruned).map_err(written)?;
        }
        step.done.deltas += count;
        step.done.rows += count;
        self.note_collected(slot, tally, 2 * count, |head| {
            head.log_count = log_count;
            head.log_pruned = top;
        })?;
        Ok(Progress::More)
    }

    /// Brings what was dropped into the head and the tally.
    fn note_collected(
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
    fn peek_head(&self, slot: ContextSlot) -> Result<Option<Head>, StoreError> {
        if let Some(touched) = self.heads.get(&slot) {
            return Ok(Some(touched.head.clone()));
        }
        let key = slot_key(slot);
        let found = self.tables.heads.get(&self.txn, &key);
        let found = found.map_err(|error| self.engine(error))?;
        found.map(|bytes| Head::read(&key, bytes)).transpose()
    }
}

fn is_over(keep: &Keep, head: &Head, tally: &Tally) -> bool {
    head.log_count > keep.count_max || tally.log_bytes > keep.bytes_max
}

/// A failure in the middle of writing.
fn written(stop: Stop) -> StoreError {
    super::fatal(stop)
}
