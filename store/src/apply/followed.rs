//! Whether anybody can still name a delta as a parent: nobody can once every member has a delta
//! that follows it. Which members hold a context's history up, and for how long. A part of the
//! collector (`history.rs`).

use std::ops::Bound;

use super::Pass;
use super::collect::{Step, written};
use super::history::FOLLOWERS_MAX;
use super::members::Stable;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId};
use crate::layout::{dag_key, mark_key};
use crate::record::{DagNode, Head};
use crate::tally::Tally;
use crate::version::{Dot, VersionVector};

/// Marks further on that are looked at if those do not do.
const PROBES_MAX: usize = 12;

/// How many times the bytes of a step may be hashed to look near, and again to look further: of
/// a delta that has a mark the id is not written down.
const PROBE_STEPS: u64 = 4;

/// What deltas that every member has follow, as far as was looked.
#[derive(Default)]
pub(super) struct Followed {
    /// What one of them or another has in its past.
    past: VersionVector,
    /// Whether one of them follows all before it.
    is_all: bool,
    pub(super) is_any: bool,
    /// Those that not every member has, with their pasts; none if that is all before.
    wanted: Vec<(Dot, Option<VersionVector>)>,
}

impl Followed {
    fn add(&mut self, stable: &Stable, dot: Dot, past: Option<VersionVector>) -> bool {
        let is_stable = stable.has(dot);
        match past {
            past if !is_stable => self.wanted.push((dot, past)),
            Some(past) => self.past.join(&past),
            None => self.is_all = true,
        }
        self.is_any |= is_stable;
        is_stable
    }

    /// Whether each delta of a span is followed by one of them. Then no member has it as a
    /// head, nor ever will.
    pub(super) fn covers(&self, span: &VersionVector) -> bool {
        self.is_all || self.past.covers(span)
    }

    /// The first that not every member has.
    pub(super) fn first_wanted(&self) -> Option<Dot> {
        self.wanted.first().map(|(dot, _)| *dot)
    }

    /// What the members would have to acknowledge so that it does.
    pub(super) fn wanted(&self, span: &VersionVector) -> Option<Dot> {
        let follows = |(_, past): &&(Dot, Option<VersionVector>)| {
            past.as_ref().is_none_or(|past| past.covers(span))
        };
        self.wanted.iter().find(follows).map(|(dot, _)| *dot)
    }
}

/// A delta that was looked at.
struct Probe {
    /// Whether every member has it.
    is_stable: bool,
    bytes: u64,
}

/// What became of a span that some member wants.
pub(super) enum Held {
    /// It stays.
    Back,
    /// A member is not waited for any more.
    Away,
    /// Nobody is waited for, and it costs too much to be kept for those who are away.
    Nowise,
}

/// Whether one look for something has come to its end.
pub(super) enum Looked {
    Over,
    /// It has not: the time of the step is over.
    BrokenOff,
}

/// Into how many bytes a step may look for one thing, those included that are known from a step before.
fn probe_bytes_max(step: &Step<'_>) -> u64 {
    (PROBE_STEPS).saturating_mul(step.budget.bounds().bytes_max)
}

impl Pass<'_> {
    /// Looks at the deltas at the marks right behind a span, at least one of them, and at the
    /// context's heads, of which the pasts alone are read.
    pub(super) fn look_near(
        &self,
        slot: ContextSlot,
        head: &Head,
        marks: &[(u64, Hlc)],
        stable: &Stable,
        followed: &mut Followed,
        step: &mut Step<'_>,
    ) -> Result<Looked, StoreError> {
        let mut bytes = 0;
        for &(position, _) in marks {
            let Some(probe) = self.look_at(slot, position, stable, followed, step)? else {
                return Ok(Looked::BrokenOff);
            };
            bytes += probe.bytes;
            if bytes >= probe_bytes_max(step) {
                break;
            }
        }
        for id in head.deltas.iter().take(FOLLOWERS_MAX) {
            step.done.rows += 1;
            if let Some(node) = self.past_of(slot, id)? {
                followed.add(stable, node.dot, Some(node.seen));
            }
        }
        Ok(Looked::Over)
    }

    /// Looks for the newest marks up to the delta at `newest` at deltas that every member has. Of two the newer one
    /// mostly follows more, and is less likely to be known to all; so it goes by halves.
    pub(super) fn look_far(
        &self,
        slot: ContextSlot,
        newest: u64,
        top: u64,
        stable: &Stable,
        followed: &mut Followed,
        step: &mut Step<'_>,
    ) -> Result<Looked, StoreError> {
        let (mut low, mut high) = (top, newest);
        let (mut probes, mut bytes) = (0, 0);
        while low < high && probes < PROBES_MAX && bytes < probe_bytes_max(step) {
            let middle = low + (high - low).div_ceil(2);
            let Some(position) = self.mark_between(slot, low + 1, middle, true)? else {
                low = middle;
                continue;
            };
            let Some(probe) = self.look_at(slot, position, stable, followed, step)? else {
                return Ok(Looked::BrokenOff);
            };
            probes += 1;
            bytes += probe.bytes;
            match probe.is_stable {
                true => low = middle,
                false => high = position - 1,
            }
        }
        Ok(Looked::Over)
    }

    /// The newest mark from one position up to another, or the oldest.
    pub(super) fn mark_between(
        &self,
        slot: ContextSlot,
        from: u64,
        to: u64,
        is_newest: bool,
    ) -> Result<Option<u64>, StoreError> {
        let (from, to) = (mark_key(slot, from), mark_key(slot, to));
        let range = (Bound::Included(&from[..]), Bound::Included(&to[..]));
        let (marks, txn) = (self.tables.marks, &self.txn);
        let row = match is_newest {
            true => marks.rev_range(txn, &range).map(|mut rows| rows.next()),
            false => marks.range(txn, &range).map(|mut rows| rows.next()),
        };
        let row = row
            .and_then(Option::transpose)
            .map_err(|error| self.engine(error))?;
        Ok(row.and_then(|(key, _)| key.last_chunk::<8>().copied().map(u64::from_be_bytes)))
    }

    /// Looks at the delta at a mark; none if the time of the step is over.
    fn look_at(
        &self,
        slot: ContextSlot,
        position: u64,
        stable: &Stable,
        followed: &mut Followed,
        step: &mut Step<'_>,
    ) -> Result<Option<Probe>, StoreError> {
        let Some(delta) = self.read_once(slot, position, true, step)? else {
            return Ok(None);
        };
        step.done.rows += 1;
        // Without a record it is of the time when no other node had the context.
        let node = match &delta.id {
            Some(id) => self.past_of(slot, id)?,
            None => None,
        };
        Ok(Some(Probe {
            is_stable: followed.add(stable, delta.dot, node.map(|node| node.seen)),
            bytes: delta.bytes,
        }))
    }

    pub(super) fn past_of(
        &self,
        slot: ContextSlot,
        id: &DeltaId,
    ) -> Result<Option<DagNode>, StoreError> {
        let key = dag_key(slot, id);
        let found = self.tables.dag.get(&self.txn, &key);
        let found = found.map_err(|error| self.engine(error))?;
        found.map(|bytes| DagNode::read(&key, bytes)).transpose()
    }

    /// Something is wanted by a member. `wanted` is what it would have to acknowledge so
    /// that there is something to cut; none if nothing that is here follows it. A member that
    /// has not done so for too long, or at the price of too many bytes, is not waited for any more.
    pub(super) fn hold_up(
        &mut self,
        slot: ContextSlot,
        head: &Head,
        tally: &Tally,
        wanted: Option<Dot>,
        step: &mut Step<'_>,
    ) -> Result<Held, StoreError> {
        step.done.held_up += 1;
        let is_dear = tally.log_bytes > step.retention.away_bytes_max;
        if wanted.is_none() && !is_dear {
            return Ok(Held::Back);
        }
        let acks = self.acks(slot);
        let Some(acks) = step.unless_damaged(slot, acks)? else {
            return Ok(Held::Back);
        };
        step.done.rows += acks.len() as u64;
        let is_late =
            |since: Hlc| wanted.is_some_and(|wanted| wanted.hlc.max(since) < step.away_cutoff);
        let mut held = match is_dear {
            true => Held::Nowise,
            false => Held::Back,
        };
        for mut ack in acks.into_iter().filter(|ack| !ack.is_away) {
            let has_it = wanted.is_some_and(|wanted| ack.seen.has_seen(wanted));
            if has_it || !(is_dear || is_late(ack.since)) {
                if matches!(held, Held::Nowise) {
                    held = Held::Back;
                }
                continue;
            }
            ack.is_away = true;
            ack.seen = VersionVector::default();
            self.put_ack(slot, &ack).map_err(written)?;
            self.has_written = true;
            step.done.away.push((head.context, ack.node));
            held = Held::Away;
        }
        Ok(held)
    }
}
