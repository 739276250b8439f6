//! Whether what is noted of a delta's past is what its parents' pasts come to. Of most it is
//! so to the letter. Deltas from before their context was shared were entered later
//! (`backlog.rs`), with stamps up to which their authors had made nothing else: of these, and
//! of what follows them, the same deltas have to be meant, by the log.

use std::collections::BTreeMap;

use super::context::Context;
use crate::delta::DeltaView;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::DeltaId;
use crate::layout::dag_key;
use crate::record::DagNode;
use crate::version::{Dot, VersionVector};

/// What a walk through the log, from its end on, has found so far.
#[derive(Default)]
pub(super) struct Pasts {
    /// Stamps of each author's deltas in the log, the newest first.
    stamps: BTreeMap<u32, Vec<Hlc>>,
    /// Deltas of which the past is not to the letter what its parents' are.
    deferred: Vec<u64>,
    /// How many deltas have a past.
    pub(super) count: u64,
    /// Up to there each delta follows the one before it in the log and nothing else, as in a
    /// context that one node has alone.
    chain_top: u64,
    /// What the delta met last follows.
    last_parents: Option<Vec<DeltaId>>,
}

/// What a delta's parents have seen together, themselves among it.
struct OfParents {
    seen: VersionVector,
    /// Whether nothing is noted of one of them.
    is_partial: bool,
}

impl Pasts {
    /// Takes note of the next older delta.
    pub(super) fn meet(
        &mut self,
        context: &Context<'_>,
        delta: &DeltaView<'_>,
        id: &DeltaId,
        position: u64,
    ) -> Result<(), StoreError> {
        if context.found.dag_nodes == 0 {
            return Ok(()); // it never was shared
        }
        if self.last_parents.as_deref() != Some(&[*id]) {
            self.chain_top = position;
        }
        self.last_parents = Some(delta.parents().collect());
        let author = context.authors.find(delta.author());
        if let Some(author) = author {
            self.stamps.entry(author).or_default().push(delta.hlc());
        }
        let Some(node) = context.snapshot.dag_node(context.slot(), id)? else {
            return Ok(());
        };
        self.count += 1;
        let dot = author.map(|author| Dot {
            author,
            hlc: delta.hlc(),
        });
        if dot != Some(node.dot) || ![0, position].contains(&node.position) {
            let why = "it says another author, stamp or place than the delta has";
            return Err(wrong(context, id, why));
        }
        if context.head.seen.stamp(node.dot.author) < node.dot.hlc {
            return Err(wrong(context, id, "it has seen what its context has not"));
        }
        let parents = of_parents(context, delta, id)?;
        let is_seen = |&(author, hlc): &(u32, Hlc)| context.head.seen.stamp(author) >= hlc;
        let is_possible = node.seen.pairs().iter().all(is_seen);
        if !(is_possible && (parents.is_partial || parents.seen == node.seen)) {
            self.deferred.push(position);
        }
        Ok(())
    }

    /// The whole log was met: compares what is left.
    pub(super) fn compare(mut self, context: &Context<'_>) -> Result<(), StoreError> {
        let deferred = std::mem::take(&mut self.deferred);
        for position in deferred {
            let (_, delta) = context.snapshot.delta_at(context.slot(), position)?;
            let id = delta.id();
            let Some(node) = context.snapshot.dag_node(context.slot(), &id)? else {
                continue; // it was there a moment ago
            };
            let parents = of_parents(context, &delta, &id)?;
            if !self.is_possible(context, &node, &parents, position) {
                return Err(wrong(context, &id, "it has seen what its context has not"));
            }
            let means_the_same = || self.meant(&node.seen) == self.meant(&parents.seen);
            if !parents.is_partial && !means_the_same() {
                return Err(wrong(context, &id, "it is not what its parents have seen"));
            }
        }
        Ok(())
    }

    /// Whether nothing in it is later than what there is of its author. Before stamps of
    /// authors were kept with a backlog, each author was entered with the stamp before the delta's
    /// own; deltas that follow such a one have that from it.
    fn is_possible(
        &self,
        context: &Context<'_>,
        node: &DagNode,
        parents: &OfParents,
        position: u64,
    ) -> bool {
        let before = Hlc::from_bits(node.dot.hlc.bits().saturating_sub(1));
        let was_cut = parents.is_partial && context.head.log_pruned > 0;
        node.seen.pairs().iter().all(|&(author, hlc)| {
            let there = context.head.seen.stamp(author);
            let is_entered = position <= self.chain_top && hlc == before;
            let is_inherited = was_cut || hlc <= parents.seen.stamp(author);
            hlc <= there || (there > Hlc::ZERO && (is_entered || is_inherited))
        })
    }

    /// The newest delta of each author that it means, of those in the log.
    fn meant(&self, seen: &VersionVector) -> Vec<(u32, Hlc)> {
        let newest = |&(author, hlc): &(u32, Hlc)| {
            let stamps = self.stamps.get(&author)?;
            let at = stamps.partition_point(|stamp| *stamp > hlc);
            Some((author, *stamps.get(at)?))
        };
        seen.pairs().iter().filter_map(newest).collect()
    }
}

fn of_parents(
    context: &Context<'_>,
    delta: &DeltaView<'_>,
    id: &DeltaId,
) -> Result<OfParents, StoreError> {
    let mut parents = OfParents {
        seen: VersionVector::default(),
        is_partial: false,
    };
    for parent in delta.parents() {
        // Before a context is shared nothing is noted, nor of what was pruned.
        let Some(parent) = context.snapshot.dag_node(context.slot(), &parent)? else {
            parents.is_partial = true;
            continue;
        };
        if delta.hlc() <= parent.dot.hlc {
            let why = "its delta is no later than one that it follows";
            return Err(wrong(context, id, why));
        }
        parents.seen.join(&parent.seen);
        parents.seen.see(parent.dot);
    }
    Ok(parents)
}

fn wrong(context: &Context<'_>, id: &DeltaId, why: &'static str) -> StoreError {
    let key = dag_key(context.slot(), id);
    StoreError::corrupt("record of a delta's past", &key, why)
}
