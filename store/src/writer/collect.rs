//! What collector, scrub and sweep have the writer do, in the transaction of the batches: it becomes durable with
//! the next checkpoint, and none of it is in the journal. All of it runs on the shard's commit thread, between batches.
//! No step makes a checkpoint: it says when one is due, and whoever has the writer makes it before the next step.
//! What goes is in `apply/collect.rs`, `apply/answers.rs` and `sweep.rs`, how much one step does in `step.rs`.

use super::room::{for_freeing_in_map, growth_of, pages_of};
use super::{LedgerWriter, is_full};
use crate::answer::ExpiredAnswers;
use crate::apply::Pass;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::ContextSlot;
use crate::retention::{Collected, Reach, Retention};
use crate::scrub::{Derived, Orphan, UnnamedAuthor};
use crate::step::Budget;
use crate::sweep::Swept;

/// Pages by which one step of the collector lets the file grow, but for rare ones.
const STEP_PAGES: u64 = 1_024;

impl LedgerWriter<'_> {
    /// Begins the transaction that steps and batches are done in, if there is none: with what the
    /// journal has, if one has failed. A step does so by itself, but who asks for it before knows what the
    /// step alone takes.
    pub fn open(&mut self) -> Result<(), StoreError> {
        self.guarded(|writer| writer.open_pass().map(drop))
    }

    /// Does some of the collector's work, within the budget: see [`Retention`]. It becomes durable with
    /// the next checkpoint; what a crash undoes, a later step does again.
    pub fn collect<'b>(
        &mut self,
        retention: &Retention,
        now: Hlc,
        budget: impl Into<Budget<'b>>,
        reach: Reach,
    ) -> Result<Collected, StoreError> {
        let budget = budget.into();
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let state = &mut *writer.state;
            // What is packed takes pages before it frees some: the last ones are for who frees some at once.
            let growth = growth_of(pass, &state.journal);
            // To ask the file system for space can take as long as a step may: it is one by itself. Where there is
            // none the collector frees some.
            let ahead = state.pages + growth + STEP_PAGES;
            if !state.reserve.has(ahead) && state.reserve.reach(ahead)? {
                return Ok(Collected {
                    is_full: true,
                    ..Collected::default()
                });
            }
            let pages = state.pages + growth + for_freeing_in_map(state.pages_max);
            let may_pack = pages <= state.pages_max;
            let round = &mut state.round;
            let collected = pass.collect(round, (retention, may_pack), now, &budget, reach);
            // Also if it has failed in the middle.
            state.is_unpacked |= pass.has_packed();
            let mut collected = collected?;
            collected.is_checkpoint_due = writer.is_checkpoint_due()?;
            Ok(collected)
        })
    }

    /// Drops some of what deleted contexts and removed lists and texts have left, and enters deltas from before their
    /// context was shared, within the budget. It becomes durable with the next checkpoint; what is
    /// undone before, [comes back](Self::take_unswept). Call again while there is more to do.
    pub fn sweep<'b>(&mut self, budget: impl Into<Budget<'b>>) -> Result<Swept, StoreError> {
        let budget = budget.into();
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let mut swept = pass.sweep(&budget)?;
            writer.state.is_unswept |= pass.has_swept();
            swept.is_checkpoint_due = writer.is_checkpoint_due()?;
            Ok(swept)
        })
    }

    /// Whether something that was swept has come back since this was asked, as its transaction has
    /// failed.
    pub fn take_unswept(&mut self) -> bool {
        let has_swept = self.pass.as_ref().is_some_and(Pass::has_swept);
        !has_swept && std::mem::take(&mut self.state.is_unswept)
    }

    /// Whether steps have to wait for a checkpoint: what was written since the last one is as much as
    /// it may bring in, or disk or map have no room for more.
    fn is_checkpoint_due(&mut self) -> Result<bool, StoreError> {
        let Some(pass) = self.pass.as_ref().filter(|pass| pass.has_written()) else {
            return Ok(false);
        };
        let state = &mut *self.state;
        let is_in_map = state.pages + pages_of(pass, &state.journal) <= state.pages_max;
        let growth = growth_of(pass, &state.journal);
        Ok(is_full(pass) || !is_in_map || !state.reserve.reach(state.pages + growth)?)
    }

    /// Drops answers that are too old at `now`, of the contexts from slot `from` on,
    /// looking at them and their contexts within the budget. What is dropped is gone with
    /// this writer's next checkpoint; should it come back before, it is as old as it was. What is
    /// damaged is told and holds up nothing; of contexts that are out of service nothing goes.
    pub fn expire_answers<'b>(
        &mut self,
        now: Hlc,
        from: ContextSlot,
        budget: impl Into<Budget<'b>>,
    ) -> Result<ExpiredAnswers, StoreError> {
        let budget = budget.into();
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let mut expired = pass.expire_answers(now, from, &budget)?;
            expired.is_checkpoint_due = writer.is_checkpoint_due()?;
            Ok(expired)
        })
    }

    /// Drops records that a scrub has found to be of no context, if that is still so. Like
    /// [`collect`](Self::collect) it becomes durable with the next checkpoint. Gives how many went.
    pub fn drop_orphans(&mut self, orphans: &[Orphan]) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.drop_orphans(orphans)
        })
    }

    /// Drops damaged records that a scrub has found and that are worked out again when they are gone,
    /// if they still are damaged; otherwise like [`drop_orphans`](Self::drop_orphans).
    pub fn drop_derived(&mut self, derived: &[Derived]) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.drop_derived(derived)
        })
    }

    /// Drops authors whom a scrub has found named by no record, unless somebody has asked for their
    /// numbers since that round of it began; otherwise like [`drop_orphans`](Self::drop_orphans). One that comes back gets
    /// another number.
    pub fn drop_authors(&mut self, unnamed: &[UnnamedAuthor]) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let state = &*writer.state;
            let is_unused = |it: &&UnnamedAuthor| {
                let used = state.authors_used.get(&it.number);
                it.since >= state.authors_noted_from && used.is_none_or(|used| *used <= it.since)
            };
            pass.drop_authors(unnamed.iter().filter(is_unused))
        })
    }

    /// Notes which damage of no context was looked into. Like [`collect`](Self::collect) it becomes
    /// durable with the next checkpoint.
    pub(crate) fn note_damage_seen(&mut self, digest: [u8; 32]) -> Result<(), StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.note_damage_seen(digest)
        })
    }

    /// Has the next round look at all lists and texts for edits to pack, as the first one does.
    pub fn look_for_packs(&mut self) {
        self.state.round.walk.begin_anew();
    }

    /// Whether there is something for the collector in [`Reach::Grown`].
    pub fn has_grown(&self) -> bool {
        let has = |pass: &Pass<'_>| !pass.grown.is_empty() || !pass.packable.is_empty();
        let round = &self.state.round;
        let was_left = !round.grown.is_empty() || !round.packable.is_empty();
        was_left || self.pass.as_ref().is_some_and(has)
    }

    /// Whether steps have done something that no checkpoint has brought into LMDB, and there is nothing else that
    /// one would bring in.
    pub fn has_collected(&self) -> bool {
        self.state.journal.is_empty() && self.pass.as_ref().is_some_and(Pass::has_written)
    }
}
