//! Answers that are kept under callers' keys: written with the effects of their call,
//! and dropped, the oldest first, when they are too old, too many or too large together.
//! A new one makes the room that it takes, so a context has no more of them than its
//! bounds allow; what it drops for that was paid for when it was written. Reading
//! comes before writing here as well, so that a refused call leaves no trace.

use super::bounds::check_bound;
use super::verdict::kept;
use super::{Pass, Stop, before_writing, fatal};
use crate::answer::{ANSWER_AROUND_BYTES, AnswerKey, ExpiredAnswers, KeptAnswer, KeyedAnswer};
use crate::change::CallEffects;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, Root};
use crate::layout::{answer_age_key, answer_key, slot_key, split_answer_age, split_slot};
use crate::record::{AnswerAgeRow, AnswerTally, read_answer_bytes, seal};
use crate::step::Budget;

/// Answers that a new one drops beside those whose room it takes.
const DROPPED_PER_ANSWER: u64 = 4;

/// Rows that each answer has.
const ROWS: usize = 2;

/// Answers that are dropped together when they are too old: between two looks at the clock.
const EXPIRED_TOGETHER: usize = 16;

/// What keeping an answer will change, as far as reading can tell.
pub(super) struct PlannedAnswer {
    /// With the answer, and without those that go.
    tally: AnswerTally,
    gone: Vec<Gone>,
    /// How many of these are not too old yet.
    pub(super) gone_early: u64,
}

/// An answer that goes.
struct Gone {
    stamp: Hlc,
    key: AnswerKey,
    /// What it counted for.
    bytes: u64,
}

impl Pass<'_> {
    /// Refuses a call that was answered before under its key, and one whose answer is
    /// larger than all of a context's together may be.
    pub(super) fn check_unanswered(
        &self,
        slot: ContextSlot,
        call: &CallEffects,
        answer: &KeyedAnswer,
    ) -> Result<(), Stop> {
        let bytes = usize::try_from(answer.bytes()).unwrap_or(usize::MAX);
        let max = usize::try_from(self.answer_bounds.bytes_max).unwrap_or(usize::MAX);
        check_bound("answers_bytes_max", bytes, 0, max)?;
        match self.answer(slot, &answer.key)? {
            Some(found) if !self.answer_bounds.is_expired(found.hlc, call.hlc) => {
                let context = call.context;
                Err(Refused::AnsweredBefore { context }.into())
            }
            _ => Ok(()),
        }
    }

    /// Works out what has to go for a new answer.
    pub(super) fn plan_answer(
        &self,
        slot: ContextSlot,
        answer: &KeyedAnswer,
        hlc: Hlc,
    ) -> Result<PlannedAnswer, Stop> {
        let bounds = &self.answer_bounds;
        let before = self.tally(slot)?.unwrap_or_default();
        let mut planned = PlannedAnswer {
            tally: before.with(answer.bytes()),
            gone: Vec::new(),
            gone_early: 0,
        };
        // Too old to count, or it would not be written anew.
        if let Some(found) = self.answer(slot, &answer.key)? {
            let gone = Gone {
                stamp: found.hlc,
                key: answer.key,
                bytes: found.said.text().len() as u64 + ANSWER_AROUND_BYTES,
            };
            planned.drop_one(slot, gone)?;
        }
        let mut left = DROPPED_PER_ANSWER + answer.bytes() / ANSWER_AROUND_BYTES;
        let rows = self
            .tables
            .answers_by_age
            .prefix_iter(&self.txn, &slot_key(slot));
        for row in rows.map_err(|error| self.stop(error))? {
            let (key, bytes) = row.map_err(|error| self.stop(error))?;
            let Some((stamp, old)) = split_answer_age(key) else {
                continue; // the tally
            };
            let tally = &planned.tally;
            let is_over = tally.count > bounds.count_max || tally.bytes > bounds.bytes_max;
            let is_expired = bounds.is_expired(stamp, hlc);
            if left == 0 || !(is_over || is_expired) {
                break;
            }
            if old != answer.key {
                let gone = Gone {
                    stamp,
                    key: old,
                    bytes: read_answer_bytes(key, bytes).map_err(before_writing)?,
                };
                planned.drop_one(slot, gone)?;
                planned.gone_early += u64::from(!is_expired);
                left -= 1;
            }
        }
        Ok(planned)
    }

    /// Writes what was planned for the answer of a call, if it has one.
    pub(super) fn write_answer(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        hlc: Hlc,
        planned: Option<PlannedAnswer>,
        delta_id: Option<DeltaId>,
        root: Root,
    ) -> Result<(), Stop> {
        let (Some(planned), Some(answer)) = (planned, &call.answer) else {
            return Ok(());
        };
        for gone in &planned.gone {
            self.delete_answer(slot, gone)
                .map_err(|error| self.stop(error))?;
        }
        let key = answer_key(slot, &answer.key);
        let by_age = answer_age_key(slot, hlc, &answer.key);
        let bytes = answer.bytes();
        let answer = kept(KeyedAnswer::clone(answer), hlc, delta_id, root);
        let mut write = || {
            let (tables, record) = (&self.tables, &mut self.buffers.record);
            answer.seal(record, &key);
            tables.answers.put(&mut self.txn, &key, record)?;
            seal(record, &by_age, &AnswerAgeRow { bytes });
            tables.answers_by_age.put(&mut self.txn, &by_age, record)?;
            let key = slot_key(slot);
            seal(record, &key, &planned.tally);
            tables.answers_by_age.put(&mut self.txn, &key, record)
        };
        write().map_err(|error| self.stop(error))?;
        self.writes += ROWS + 1 + ROWS * planned.gone.len();
        Ok(())
    }

    /// See `LedgerWriter::expire_answers`.
    pub(crate) fn expire_answers(
        &mut self,
        now: Hlc,
        from: ContextSlot,
        budget: &Budget<'_>,
    ) -> Result<ExpiredAnswers, StoreError> {
        let mut records = 0;
        let mut expired = ExpiredAnswers::default();
        let mut from = slot_key(from);
        while let Some((key, _)) = self
            .tables
            .answers_by_age
            .get_greater_than_or_equal_to(&self.txn, &from)
            .map_err(|error| self.engine(error))?
        {
            let no_slot =
                || StoreError::corrupt("record of an answer's age", key, "it has no slot");
            let (slot, _) = split_slot(key).ok_or_else(no_slot)?;
            if budget.is_spent(records, 0) {
                expired.next = Some(slot);
                return Ok(expired);
            }
            // Its context.
            records += 1;
            from = slot_key(ContextSlot::new(slot.number() + 1));
            if self.is_quarantined(slot) {
                continue;
            }
            let left = budget.bounds().rows_max.saturating_sub(records);
            let max = usize::try_from(left).unwrap_or(EXPIRED_TOGETHER);
            let max = max.clamp(1, EXPIRED_TOGETHER);
            let gone = self.expired_in(slot, now, max).map_err(fatal);
            let dropped = gone.and_then(|(gone, is_more)| {
                self.drop_expired(slot, &gone)?;
                Ok((gone.len(), is_more))
            });
            match dropped {
                Ok((count, is_more)) => {
                    records += count as u64;
                    expired.answers += count;
                    if is_more {
                        from = slot_key(slot);
                    }
                }
                // Its neighbours' go all the same.
                Err(damage @ StoreError::Corrupt { .. }) => expired.damaged.push((slot, damage)),
                Err(error) => return Err(error),
            }
        }
        Ok(expired)
    }

    /// Up to `max` answers of a context that are too old, and whether there are more.
    fn expired_in(
        &self,
        slot: ContextSlot,
        now: Hlc,
        max: usize,
    ) -> Result<(Vec<Gone>, bool), Stop> {
        let mut gone = Vec::new();
        let rows = self
            .tables
            .answers_by_age
            .prefix_iter(&self.txn, &slot_key(slot));
        for row in rows.map_err(|error| self.stop(error))? {
            let (key, bytes) = row.map_err(|error| self.stop(error))?;
            let Some((stamp, answer_key)) = split_answer_age(key) else {
                continue; // the tally
            };
            if !self.answer_bounds.is_expired(stamp, now) {
                break;
            }
            if gone.len() == max {
                return Ok((gone, true));
            }
            gone.push(Gone {
                stamp,
                key: answer_key,
                bytes: read_answer_bytes(key, bytes).map_err(before_writing)?,
            });
        }
        Ok((gone, false))
    }

    /// Reads everything before it writes anything.
    fn drop_expired(&mut self, slot: ContextSlot, gone: &[Gone]) -> Result<(), StoreError> {
        if gone.is_empty() {
            return Ok(());
        }
        // Of a deleted context it may have been swept.
        let mut tally = self.tally(slot).map_err(fatal)?;
        for gone in gone {
            if let Some(before) = tally {
                let after = before.without(gone.bytes);
                tally = Some(after.ok_or_else(|| too_few(slot))?);
            }
        }
        for gone in gone {
            self.delete_answer(slot, gone)
                .map_err(|error| self.engine(error))?;
        }
        self.has_written = true;
        self.writes += ROWS * gone.len() + 1;
        self.freed_bytes += gone.iter().map(|gone| gone.bytes).sum::<u64>();
        let key = slot_key(slot);
        let table = self.tables.answers_by_age;
        let written = match tally {
            None => Ok(()),
            Some(AnswerTally { count: 0, .. }) => table.delete(&mut self.txn, &key).map(drop),
            Some(tally) => {
                seal(&mut self.buffers.record, &key, &tally);
                table.put(&mut self.txn, &key, &self.buffers.record)
            }
        };
        written.map_err(|error| self.engine(error))
    }

    fn delete_answer(&mut self, slot: ContextSlot, gone: &Gone) -> heed::Result<()> {
        let by_age = answer_age_key(slot, gone.stamp, &gone.key);
        self.tables.answers_by_age.delete(&mut self.txn, &by_age)?;
        let key = answer_key(slot, &gone.key);
        self.tables.answers.delete(&mut self.txn, &key).map(drop)
    }

    fn answer(&self, slot: ContextSlot, key: &AnswerKey) -> Result<Option<KeptAnswer>, Stop> {
        let key = answer_key(slot, key);
        let found = self.tables.answers.get(&self.txn, &key);
        let found = found.map_err(|error| self.stop(error))?;
        let read = |bytes| KeptAnswer::read(&key, bytes).map_err(before_writing);
        found.map(read).transpose()
    }

    fn tally(&self, slot: ContextSlot) -> Result<Option<AnswerTally>, Stop> {
        let key = slot_key(slot);
        let found = self.tables.answers_by_age.get(&self.txn, &key);
        let found = found.map_err(|error| self.stop(error))?;
        let read = |bytes| AnswerTally::read(&key, bytes).map_err(before_writing);
        found.map(read).transpose()
    }
}

impl PlannedAnswer {
    fn drop_one(&mut self, slot: ContextSlot, gone: Gone) -> Result<(), Stop> {
        let tally = self.tally.without(gone.bytes);
        self.tally = tally.ok_or_else(|| before_writing(too_few(slot)))?;
        self.gone.push(gone);
        Ok(())
    }
}

fn too_few(slot: ContextSlot) -> StoreError {
    let why = "it counts fewer answers or bytes than there are";
    StoreError::corrupt("tally of answers", &slot_key(slot), why)
}
