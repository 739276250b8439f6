//! A context's history is cut: the oldest span of deltas goes, up to a mark, if there are too many
//! and nobody can need them. A part of the collector (`collect.rs`); who can need them is
//! in `followed.rs`.

use super::Pass;
use super::collect::{DROPS_BETWEEN_LOOKS, Progress, Step, written};
use super::followed::{Followed, Held, Looked};
use super::members::Stable;
use super::reading::{LARGE_BYTES, Logged};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::ContextSlot;
use crate::layout::{self, dag_key, mark_key, position_key, slot_key};
use crate::record::{Head, seal};
use crate::retention::Keep;
use crate::tally::{MarkRow, SPAN_BYTES, SPAN_DELTAS_MAX, Tally, read_mark};
use crate::version::VersionVector;

/// Marks behind a span, and heads of the context, that are looked at for deltas that every
/// member has and that follow the span.
pub(super) const FOLLOWERS_MAX: usize = 4;

/// What the walk back from a mark has found.
enum Walked {
    /// The oldest deltas that are kept, up to the mark.
    Span(Vec<Logged>),
    /// There is more below than a span has: here the next mark belongs.
    NeedsMark { position: u64, hlc: Hlc },
    /// Nothing yet: the time of the step is over.
    BrokenOff,
}

impl Pass<'_> {
    /// Drops the oldest span of deltas, if there are too many and nobody can need them, or
    /// does what must be done before that.
    pub(super) fn collect_history(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        step: &mut Step<'_>,
    ) -> Result<Progress, StoreError> {
        let progress = self.look_for_span(slot, head, step)?;
        if progress != Progress::BrokenOff {
            step.reading.newest.remove(&slot);
        }
        Ok(progress)
    }

    fn look_for_span(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        step: &mut Step<'_>,
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
        let newest = *step.reading.newest.entry(slot).or_insert(head.log_last);
        let mut followed = Followed::default();
        if let Stable::Seen(_) = stable {
            let near = marks.get(1..).unwrap_or_default();
            let looked = self.look_near(slot, head, near, &stable, &mut followed, step);
            match step.unless_damaged(slot, looked)? {
                Some(Looked::Over) => {}
                Some(Looked::BrokenOff) => return Ok(Progress::BrokenOff),
                None => return Ok(Progress::Done),
            }
            // Without two marks there may be some to be put.
            if !followed.is_any && marks.len() > 1 {
                let looked = self.look_far(slot, newest, top, &stable, &mut followed, step);
                match step.unless_damaged(slot, looked)? {
                    Some(Looked::Over) => {}
                    Some(Looked::BrokenOff) => return Ok(Progress::BrokenOff),
                    None => return Ok(Progress::Done),
                }
                if !followed.is_any {
                    let first = followed.first_wanted();
                    return match self.hold_up(slot, head, &tally, first, step)? {
                        Held::Away => Ok(Progress::More),
                        Held::Back | Held::Nowise => Ok(Progress::Done),
                    };
                }
            }
        }
        let walked = self.walk(slot, head, top, step);
        match step.unless_damaged(slot, walked)? {
            None => Ok(Progress::Done),
            Some(Walked::BrokenOff) => Ok(Progress::BrokenOff),
            Some(Walked::NeedsMark { position, hlc }) => {
                self.put_mark(slot, position, hlc)?;
                Ok(Progress::More)
            }
            // The newest stays.
            Some(Walked::Span(_)) if top == head.log_last => Ok(Progress::Done),
            Some(Walked::Span(span)) => {
                let mut seen = VersionVector::default();
                span.iter().for_each(|delta| seen.see(delta.dot));
                if matches!(stable, Stable::Seen(_)) && !followed.covers(&seen) {
                    let looked = self.look_far(slot, newest, top, &stable, &mut followed, step);
                    match step.unless_damaged(slot, looked)? {
                        Some(Looked::Over) => {}
                        Some(Looked::BrokenOff) => return Ok(Progress::BrokenOff),
                        None => return Ok(Progress::Done),
                    }
                }
                if matches!(stable, Stable::Seen(_)) && !followed.covers(&seen) {
                    let wanted = followed.wanted(&seen);
                    match self.hold_up(slot, head, &tally, wanted, step)? {
                        Held::Back => return Ok(Progress::Done),
                        Held::Away => return Ok(Progress::More),
                        Held::Nowise => {}
                    }
                }
                self.cut(slot, head, tally, top, &span, step)
            }
        }
    }

    /// The oldest marks of a context with their stamps: that of its oldest span, and
    /// some behind it. A damaged one goes: others are put where they are needed.
    fn marks(&mut self, slot: ContextSlot) -> Result<Vec<(u64, Hlc)>, StoreError> {
        let (mut marks, mut damaged) = (Vec::new(), Vec::new());
        let rows = self.tables.marks.prefix_iter(&self.txn, &slot_key(slot));
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            match read_mark_at(key, bytes) {
                Ok(mark) => marks.push(mark),
                Err(error) => {
                    tracing::warn!(%error, "a mark is put anew");
                    damaged.push(key.to_vec());
                }
            }
            if marks.len() > FOLLOWERS_MAX {
                break;
            }
        }
        for key in damaged {
            let deleted = self.tables.marks.delete(&mut self.txn, &key);
            deleted.map_err(|error| self.engine(error))?;
            self.writes += 1;
            self.has_written = true;
        }
        Ok(marks)
    }

    /// Walks back from the delta at `top` to what was pruned before.
    fn walk(
        &self,
        slot: ContextSlot,
        head: &Head,
        top: u64,
        step: &mut Step<'_>,
    ) -> Result<Walked, StoreError> {
        let mut span: Vec<Logged> = Vec::new();
        // Without the first, which may be as large as it likes.
        let mut bytes = 0;
        let mut position = top;
        while position > head.log_pruned {
            let Some(delta) = self.read_once(slot, position, head.is_shared, step)? else {
                return Ok(Walked::BrokenOff);
            };
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

    /// Drops a span, and all that was known about it: the oldest deltas first, and those that are left
    /// when the time of the step is over with a later one. Each lies somewhere else in the index of a shared context, and
    /// what it takes to write on one more page grows with the pages that are written on already.
    fn cut(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        mut tally: Tally,
        top: u64,
        span: &[Logged],
        step: &mut Step<'_>,
    ) -> Result<Progress, StoreError> {
        if head.log_count < span.len() as u64 {
            let why = "it counts fewer deltas than there are";
            let damage = StoreError::corrupt("head record", &slot_key(slot), why);
            step.done.damaged.push((slot, damage));
            return Ok(Progress::Done);
        }
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
        let (mut count, mut bytes) = (0_u64, 0);
        let mut log_pruned = head.log_pruned;
        let mut seen = VersionVector::default();
        let mut is_large = false;
        for delta in span.iter().rev() {
            let is_time = is_large || count > 0 && count.is_multiple_of(DROPS_BETWEEN_LOOKS);
            if is_time && step.budget.is_late() {
                break;
            }
            // Each of its pages is given back.
            is_large = delta.bytes >= LARGE_BYTES as u64;
            step.reading.forget(delta.position);
            tally.subtract_delta(delta.position, delta.bytes);
            let key = position_key(delta.position);
            let deleted = self.tables.log.delete(&mut self.txn, &key);
            deleted.map_err(|error| self.engine(error))?;
            // That of a head is needed by what follows it.
            if let Some(id) = delta.id.filter(|id| !head.deltas.contains(id)) {
                let key = dag_key(slot, &id);
                let deleted = self.tables.dag.delete(&mut self.txn, &key);
                deleted.map_err(|error| self.engine(error))?;
            }
            seen.see(delta.dot);
            log_pruned = delta.position;
            count += 1;
            bytes += delta.bytes;
        }
        if log_pruned == top {
            let key = mark_key(slot, top);
            let deleted = self.tables.marks.delete(&mut self.txn, &key);
            deleted.map_err(|error| self.engine(error))?;
        }
        if let Some(mut pruned) = pruned {
            pruned.join(&seen);
            self.put_pruned(slot, &pruned).map_err(written)?;
        }
        self.freed_bytes += bytes;
        step.done.deltas += count;
        step.done.rows += count;
        self.note_collected(slot, tally, 2 * count, |head| {
            head.log_count -= count;
            head.log_pruned = log_pruned;
        })?;
        Ok(Progress::More)
    }
}

/// The position of a mark and the stamp of the delta there.
fn read_mark_at(key: &[u8], bytes: &[u8]) -> Result<(u64, Hlc), StoreError> {
    let hlc = read_mark(key, bytes)?;
    let position = layout::split_slot(key).and_then(|(_, rest)| layout::read_u64(rest));
    let malformed = || {
        let why = "its key is not 16 bytes long";
        StoreError::corrupt("mark in a context's history", key, why)
    };
    Ok((position.ok_or_else(malformed)?, hlc))
}

fn is_over(keep: &Keep, head: &Head, tally: &Tally) -> bool {
    head.log_count > keep.count_max || tally.log_bytes > keep.bytes_max
}
