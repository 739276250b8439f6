//! Calls of one write get their roots together: what each of them makes of its entry is written
//! at once, and its delta, which says the root, when the roots of some of them are worked out side
//! by side (`crate::trie`). Deltas are written in the order of the calls, and before anything
//! that is no such call, so that nothing but the time tells one way from the other. What a call
//! writes is in `call.rs`.

use std::collections::BTreeMap;
use std::vec;

use super::call::Left;
use super::plan::{Incoming, Plan};
use super::{Answer, Pass, Receipt, Stop};
use crate::change::{CallEffects, Write};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::{ContextSlot, Root};
use crate::journal::JournaledCall;

/// Calls that wait for their roots: a batch of 64 connections.
const WAITING_MAX: usize = 64;

/// What one of them may replace, as that is kept in memory until its delta is written.
const BEFORES_BYTES_MAX: usize = 64 << 10;

/// A call that is checked and worked out.
pub(super) enum Begun<'c> {
    /// It has changed the state, and waits for its root.
    Waits(WaitingCall<'c>),
    /// It has changed nothing yet, and does not wait.
    Now(PlannedCall<'c>),
}

pub(super) struct PlannedCall<'c> {
    call: &'c CallEffects,
    incoming: Incoming,
    plan: Plan,
}

pub(super) struct WaitingCall<'c> {
    planned: PlannedCall<'c>,
    left: Left,
}

/// Calls that wait for their roots, in their order, each with the place of its answer.
#[derive(Default)]
pub(super) struct Waiting<'c>(Vec<(usize, WaitingCall<'c>)>);

impl<'c> Waiting<'c> {
    pub(super) fn push(&mut self, answer: usize, call: WaitingCall<'c>) {
        self.0.push((answer, call));
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= WAITING_MAX
    }
}

/// Whether it is a call that can wait, as far as itself can tell: nothing of it is found by
/// calls behind it but the entry that it writes.
pub(super) fn may_wait(call: &CallEffects) -> bool {
    let [op] = &call.ops[..] else {
        return false;
    };
    let is_put = op.write != Write::Remove;
    is_put && op.space.is_replicated() && op.space != Space::Attached && call.answer.is_none()
}

impl Pass<'_> {
    /// Begins a call that [may wait](may_wait).
    pub(super) fn begin_call<'c>(&mut self, call: &'c CallEffects) -> Result<Begun<'c>, Stop> {
        let slot = self.slot_of_call(call)?;
        let hlc = self.stamp_of_call(slot, call)?;
        let incoming = self.incoming(slot, call.author, hlc);
        let mut plan = self.plan_call(&incoming, call)?;
        let op = call.ops[0].view();
        let befores = plan.befores.bytes();
        let is_small = befores.is_some_and(|befores| befores.len() <= BEFORES_BYTES_MAX);
        if !is_small || !self.change_trie_for_later(&mut plan, slot, &op) {
            return Ok(Begun::Now(PlannedCall {
                call,
                incoming,
                plan,
            }));
        }
        self.keep_author()?;
        let mut touched = self.take_head(slot);
        let left = self.write_state(&incoming, &plan, call, &mut touched.head)?;
        self.heads.insert(slot, touched);
        self.work_bytes += plan.shrink();
        let planned = PlannedCall {
            call,
            incoming,
            plan,
        };
        Ok(Begun::Waits(WaitingCall { planned, left }))
    }

    /// Ends a call that does not wait, when none before it does.
    pub(super) fn end_call(&mut self, planned: PlannedCall<'_>) -> Result<Receipt, Stop> {
        let PlannedCall {
            call,
            incoming,
            mut plan,
        } = planned;
        let written = self.write_call(&incoming, &mut plan, call, None);
        self.end_plan(plan);
        written
    }

    /// Ends all calls that wait.
    pub(super) fn end_waiting(
        &mut self,
        waiting: &mut Waiting<'_>,
        answers: &mut [Option<Answer>],
        journal: &mut dyn FnMut(&JournaledCall<'_>),
    ) -> Result<(), StoreError> {
        if waiting.0.len() > 1 {
            self.roots_together += waiting.0.len();
        }
        let mut roots: BTreeMap<ContextSlot, vec::IntoIter<Root>> = BTreeMap::new();
        for (answer, WaitingCall { planned, left }) in waiting.0.drain(..) {
            let PlannedCall {
                call,
                incoming,
                plan,
            } = planned;
            let slot = incoming.slot;
            let roots = roots.entry(slot);
            let roots = roots.or_insert_with(|| self.roots(slot).into_iter());
            let root = roots.next().expect("each call that waits has one");
            let left = (left, root);
            let mut touched = self.take_head(slot);
            let receipt = self.write_history(&incoming, &plan, call, left, &mut touched.head);
            let receipt = receipt.map_err(super::fatal)?;
            self.heads.insert(slot, touched);
            self.end_plan(plan);
            self.tell(slot, journal);
            answers[answer] = Some(Ok(receipt));
        }
        Ok(())
    }
}
