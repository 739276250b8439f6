//! What the collector has the writer do, in the transaction of the batches: it becomes durable with
//! the next checkpoint, and none of it is in the journal. What goes, and what a step may cost, is in
//! `apply/collect.rs` and `retention.rs`.

use super::room::{growth_of, pages_of};
use super::{LedgerWriter, is_full};
use crate::answer::ExpiredAnswers;
use crate::apply::Pass;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::ContextSlot;
use crate::retention::{Collected, Reach, Retention, StepBounds};
use crate::scrub::{Derived, Orphan, UnnamedAuthor};

impl LedgerWriter<'_> {
    /// Does some of the collector's work, within `bounds`: see [`Retention`]. It becomes durable with
    /// the next checkpoint; what a crash undoes, a later step does again.
    pub fn collect(
        &mut self,
        retention: &Retention,
        now: Hlc,
        bounds: &StepBounds,
        reach: Reach,
    ) -> Result<Collected, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let state = &mut *writer.state;
            let mut collected = pass.collect(&mut state.round, retention, now, bounds, reach)?;
            let pages = state.pages;
            let is_in_map = pages + pages_of(pass, &state.journal) <= state.pages_max;
            let growth = growth_of(pass, &state.journal);
            if is_full(pass) || !is_in_map || !state.reserve.reach(pages + growth)? {
                writer.bring_in()?;
                collected.is_shown = true;
            }
            Ok(collected)
        })
    }

    /// Drops answers that are too old at `now`, of the contexts from slot `from` on,
    /// looking at up to `records_max` of them and their contexts. What is dropped is gone with
    /// this writer's next checkpoint; should it come back before, it is as old as it was. What is
    /// damaged is told and holds up nothing; of contexts that are out of service nothing goes.
    pub fn expire_answers(
        &mut self,
        now: Hlc,
        from: ContextSlot,
        records_max: usize,
    ) -> Result<ExpiredAnswers, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.expire_answers(now, from, records_max)
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

    /// Whether there is something for the collector in [`Reach::Grown`].
    pub fn has_grown(&self) -> bool {
        let grown = self.pass.as_ref().map(|pass| &pass.grown);
        !self.state.round.grown.is_empty() || grown.is_some_and(|grown| !grown.is_empty())
    }

    /// Whether the collector has done something that no checkpoint has brought into LMDB.
    pub fn has_collected(&self) -> bool {
        self.state.journal.is_empty() && self.pass.as_ref().is_some_and(Pass::has_written)
    }
}
