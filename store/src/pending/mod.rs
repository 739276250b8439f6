//! Deltas that have come and cannot be applied yet: they lack a parent, or a seal that
//! vouches for them. A plain state machine in memory: who has sent a delta sends it again
//! if it is dropped here. Bounded in number, bytes and age, because a stranger can make
//! deltas that wait for ever. Each delta and each of its parents is handled once, and looked at
//! once more for each author whose seals come to it, so that a long row that comes backwards
//! costs no more than one that comes in order, and nobody makes work with nothing new. Owned by
//! whoever applies the deltas of its context. What a seal vouches for is in `vouching.rs`.
//!
//! The way of a delta: [`receive`](PendingDeltas::receive), and its author's
//! [`seal`](PendingDeltas::seal), in any order; [`take_ready`](PendingDeltas::take_ready)
//! hands it out when it is vouched for, behind its parents; then whoever has handed it to
//! the ledger says what became of it: [`applied`](PendingDeltas::applied),
//! [`waits`](PendingDeltas::waits) or [`refused`](PendingDeltas::refused).

mod graph;
mod spreading;
mod vouching;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use self::graph::{Graph, Place};
use self::vouching::{Unspread, VoucherSet, Vouchers};
pub use self::vouching::{VouchedDelta, vouch};
use crate::attachment::attached_by_delta;
use crate::delta::{DeltaView, MalformedDelta};
use crate::hlc::{FromTheFuture, Hlc};
use crate::ids::{BlobId, ContextId, DeltaId, NodeId};
use crate::seal::{BRANCH_DELTAS_MAX, Branch, SEAL_PATH_MAX, Sealed};

/// What a delta that waits takes in memory beside its own bytes and its parents.
pub const PENDING_DELTA_BYTES: usize = 1536;

/// What each of its parents takes.
pub const PENDING_PARENT_BYTES: usize = 640;

/// What each blob takes that it attaches.
pub const PENDING_ATTACHED_BYTES: usize = size_of::<BlobId>();

/// What a seal takes, whose delta is here or has not come yet.
pub const PENDING_SEAL_BYTES: usize = 640 + 32 * SEAL_PATH_MAX;

/// What part of all bytes seals may take whose deltas have not come: one in so many. Deltas, with
/// the seals on them, have the rest, so that neither can push the other out.
const EARLY_SHARE: usize = 8;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingBounds {
    /// Deltas at most, and as many seals whose deltas have not come.
    pub count_max: usize,
    /// Bytes of memory that they take at most: an eighth of them for such seals, the rest for
    /// deltas.
    pub bytes_max: usize,
    /// Microseconds that one waits at most.
    pub age_micros_max: u64,
    /// Microseconds that a delta's stamp may lie in the future. One that lies further would drag
    /// the clocks of all who take it along.
    pub ahead_micros_max: u64,
}

impl Default for PendingBounds {
    fn default() -> Self {
        PendingBounds {
            count_max: 10_000,
            bytes_max: 64 << 20,
            age_micros_max: 5 * 60 * 1_000_000,
            ahead_micros_max: 60 * 1_000_000,
        }
    }
}

/// What became of a delta or seal that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is here. Others of its kind had to go for it, the oldest first.
    Waits {
        /// Deltas that are dropped.
        dropped: Vec<DeltaId>,
    },
    /// It is here already.
    Already,
    /// It alone is larger than everything together may be.
    TooLarge,
    /// Its stamp is not believed yet. Whoever has sent it may do so again later.
    FromTheFuture(FromTheFuture),
    /// A seal on a delta that somebody else has made: it vouches for nothing.
    NotItsAuthor,
}

/// Deltas of one context that wait.
#[derive(Debug)]
pub struct PendingDeltas {
    context: ContextId,
    bounds: PendingBounds,
    graph: Graph,
    /// Seals on deltas that have not come.
    early: BTreeMap<(DeltaId, NodeId), Early>,
    /// Authors whose seals vouch for what is here.
    vouchers: Vouchers,
    unspread: Unspread,
    /// In the order in which they came.
    by_age: BTreeMap<u64, Place>,
    early_by_age: BTreeMap<u64, (DeltaId, NodeId)>,
    ready: VecDeque<Place>,
    next_number: u64,
    /// Of deltas and the seals on them.
    bytes: usize,
    /// How many parents the deltas have together.
    parents: usize,
}

#[derive(Debug)]
struct Early {
    sealed: Sealed,
    since_micros: u64,
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    id: DeltaId,
    hlc: Hlc,
    canonical: Bytes,
    author: NodeId,
    parents: Vec<Place>,
    /// None if it attaches no blob, as most deltas do not.
    attached: Option<Arc<[BlobId]>>,
    /// Those that have to be handed out before.
    lacks: Vec<Place>,
    /// Those whose seals are on it or above it, as far as they have spread.
    reached: VoucherSet,
    is_vouched: bool,
    is_handed_out: bool,
    /// Its author's seal on it itself.
    sealed: Option<Sealed>,
    since_micros: u64,
    number: u64,
}

impl Waiting {
    fn bytes(&self) -> usize {
        let seal = self.sealed.as_ref().map_or(0, |_| PENDING_SEAL_BYTES);
        let attached = self.attached.as_deref().map_or(0, <[BlobId]>::len);
        delta_bytes(&self.canonical, self.parents.len(), attached) + seal
    }

    fn is_ready(&self) -> bool {
        self.is_vouched && self.lacks.is_empty() && !self.is_handed_out
    }
}

fn delta_bytes(canonical: &Bytes, parents: usize, attached: usize) -> usize {
    let own = canonical.len() + PENDING_DELTA_BYTES;
    own + PENDING_PARENT_BYTES * parents + PENDING_ATTACHED_BYTES * attached
}

impl PendingDeltas {
    /// None yet, of this context.
    pub fn new(context: ContextId, bounds: PendingBounds) -> PendingDeltas {
        PendingDeltas {
            context,
            bounds,
            graph: Graph::default(),
            early: BTreeMap::new(),
            vouchers: Vouchers::default(),
            unspread: Unspread::default(),
            by_age: BTreeMap::new(),
            early_by_age: BTreeMap::new(),
            ready: VecDeque::new(),
            next_number: 0,
            bytes: 0,
            parents: 0,
        }
    }

    /// How many deltas are here, those that are handed out among them.
    pub fn len(&self) -> usize {
        self.graph.len()
    }

    /// Whether no delta is here.
    pub fn is_empty(&self) -> bool {
        self.graph.is_empty()
    }

    /// Bytes of memory that everything takes, as far as can be told.
    pub fn bytes(&self) -> usize {
        self.bytes + PENDING_SEAL_BYTES * self.early.len()
    }

    /// How long the oldest has waited, in microseconds; 0 if none waits.
    pub fn age_micros(&self, now_micros: u64) -> u64 {
        let delta = self.by_age.first_key_value();
        let delta = delta.and_then(|(_, at)| self.graph.get(*at));
        let seal = self.early_by_age.first_key_value();
        let since = [
            delta.map(|waiting| waiting.since_micros),
            seal.map(|(_, key)| self.early[key].since_micros),
        ];
        let oldest = since.into_iter().flatten().min();
        oldest.map_or(0, |since| now_micros.saturating_sub(since))
    }

    /// Takes a delta in, whoever has sent it. It waits until its author's seal on it, or on
    /// one that follows it through deltas that are here, has come.
    pub fn receive(&mut self, canonical: Bytes, now_micros: u64) -> Result<Held, MalformedDelta> {
        let delta = DeltaView::parse(&canonical)?;
        delta.check_linked()?;
        if delta.context() != self.context {
            return Err(MalformedDelta("it changes another context"));
        }
        let id = delta.id();
        if self.graph.by_id(&id).is_some() {
            return Ok(Held::Already);
        }
        let ahead_micros = delta.hlc().micros().saturating_sub(now_micros);
        if ahead_micros > self.bounds.ahead_micros_max {
            return Ok(Held::FromTheFuture(FromTheFuture {
                stamp: delta.hlc(),
                ahead_micros,
                ahead_micros_max: self.bounds.ahead_micros_max,
            }));
        }
        let (author, hlc) = (delta.author(), delta.hlc());
        let attached: Vec<BlobId> = attached_by_delta(&delta).collect();
        let sealed = match self.early.contains_key(&(id, author)) {
            true => PENDING_SEAL_BYTES,
            false => 0,
        };
        let bytes = delta_bytes(&canonical, delta.parents().len(), attached.len()) + sealed;
        let Some(dropped) = self.make_room(1, bytes, None) else {
            return Ok(Held::TooLarge);
        };
        let parents: Vec<Place> = delta.parents().map(|id| self.graph.enter(id)).collect();
        let is_out = |at: Place| self.graph.get(at).is_none_or(|w| w.is_handed_out);
        let lacks = parents.iter().filter(|parent| !is_out(**parent));
        let lacks = lacks.copied().collect();
        let at = self.graph.enter(id);
        let number = self.number();
        self.by_age.insert(number, at);
        let waiting = Box::new(Waiting {
            id,
            hlc,
            canonical,
            author,
            parents,
            attached: (!attached.is_empty()).then(|| Arc::from(attached)),
            lacks,
            reached: VoucherSet::default(),
            is_vouched: false,
            is_handed_out: false,
            sealed: None,
            since_micros: now_micros,
            number,
        });
        self.bytes += waiting.bytes();
        self.parents += waiting.parents.len();
        self.graph.insert(at, waiting);
        self.hold_back_followers(at);
        self.reach_by_followers(at);
        if let Some(early) = self.take_early(id, author) {
            self.attach(at, early.sealed);
        }
        Ok(Held::Waits { dropped })
    }

    /// Takes a seal in: everything of its author that is here, or comes later, behind the
    /// sealed delta is vouched for.
    pub fn seal(&mut self, sealed: Sealed, now_micros: u64) -> Held {
        let (id, author) = (sealed.delta(), sealed.author());
        if sealed.context() != self.context {
            return Held::NotItsAuthor;
        }
        let here = self.graph.find(&id);
        if let Some((at, waiting)) = here.and_then(|at| Some((at, self.graph.get(at)?))) {
            if waiting.author != author {
                return Held::NotItsAuthor;
            }
            if waiting.sealed.is_some() {
                return Held::Already;
            }
            let Some(dropped) = self.make_room(0, PENDING_SEAL_BYTES, Some(at)) else {
                return Held::TooLarge;
            };
            self.attach(at, sealed);
            return Held::Waits { dropped };
        }
        if self.early.contains_key(&(id, author)) {
            return Held::Already;
        }
        let early_max = self.early_max();
        if early_max == 0 {
            return Held::TooLarge;
        }
        while self.early.len() >= early_max
            && let Some((_, &(id, author))) = self.early_by_age.first_key_value()
        {
            self.take_early(id, author);
        }
        let number = self.number();
        self.early_by_age.insert(number, (id, author));
        let early = Early {
            sealed,
            since_micros: now_micros,
            number,
        };
        self.early.insert((id, author), early);
        Held::Waits { dropped: vec![] }
    }

    /// Up to `count_max` deltas that are vouched for and lack nothing that is known, each
    /// behind its parents: to be committed in this order.
    pub fn take_ready(&mut self, count_max: usize) -> Vec<VouchedDelta> {
        self.spread();
        let mut ready = Vec::new();
        while ready.len() < count_max {
            let Some(at) = self.ready.pop_front() else {
                break;
            };
            // It may have gone, and another may have come to its place.
            let Some(waiting) = self.graph.get_mut(at).filter(|w| w.is_ready()) else {
                continue;
            };
            waiting.is_handed_out = true;
            ready.push(VouchedDelta {
                id: waiting.id,
                hlc: waiting.hlc,
                canonical: waiting.canonical.clone(),
                attached: waiting.attached.clone(),
                sealed: waiting.sealed.clone(),
            });
            self.supply(at);
        }
        ready
    }

    /// A delta was applied, now or long ago, by whatever way it came.
    pub fn applied(&mut self, id: &DeltaId) {
        if let Some(at) = self.graph.find(id) {
            // Those that lack it are told first: without them its place is forgotten.
            self.supply(at);
            self.remove(at);
        }
    }

    /// A delta that was handed out lacks these, as the ledger says; or nothing, and shall be
    /// handed out once more.
    pub fn waits(&mut self, id: &DeltaId, missing: &[DeltaId]) {
        let missing = missing.iter().filter_map(|id| self.graph.find(id));
        let missing: Vec<Place> = missing.collect();
        let at = self.graph.find(id);
        let Some((at, waiting)) = at.and_then(|at| Some((at, self.graph.get_mut(at)?))) else {
            return;
        };
        let is_parent = |parent: &Place| waiting.parents.contains(parent);
        waiting.lacks = missing.into_iter().filter(is_parent).collect();
        waiting.is_handed_out = false;
        if waiting.is_ready() {
            self.ready.push_back(at);
        }
    }

    /// A delta was refused for good.
    pub fn refused(&mut self, id: &DeltaId) {
        if let Some(at) = self.graph.find(id) {
            self.remove(at);
        }
    }

    /// Proof that its author has made a delta that is here: the way from it up to a delta
    /// that the author has sealed. `None` if there is no such way, or a too long one.
    pub fn branch(&self, id: &DeltaId) -> Option<Branch> {
        let first = self.graph.find(id)?;
        let author = self.graph.get(first)?.author;
        // Where each was come to from; the breadth first finds the shortest way.
        let mut from: HashMap<Place, Place> = HashMap::new();
        let mut next = VecDeque::from([first]);
        while let Some(at) = next.pop_front() {
            let waiting = self.graph.get(at)?;
            if let Some(sealed) = waiting.sealed.as_ref().filter(|_| waiting.author == author) {
                let way = std::iter::successors(Some(at), |at| {
                    from.get(at).copied().filter(|_| *at != first)
                });
                let way: Vec<Place> = way.take(BRANCH_DELTAS_MAX + 1).collect();
                let path = way.iter().rev().filter_map(|at| self.graph.get(*at));
                let path = path.map(|waiting| waiting.canonical.clone());
                return Branch::check(path.collect(), sealed.clone()).ok();
            }
            for follower in &self.graph[at].followers {
                if *follower != first && !from.contains_key(follower) {
                    from.insert(*follower, at);
                    next.push_back(*follower);
                }
            }
        }
        None
    }

    /// What is waited for and is not here: what to ask for. In ascending order.
    pub fn wanted(&self) -> Vec<DeltaId> {
        let lacks = self.graph.iter().flat_map(|waiting| &waiting.lacks);
        let absent = lacks.filter(|parent| self.graph.get(**parent).is_none());
        let wanted: BTreeSet<DeltaId> = absent.map(|parent| self.graph[*parent].id).collect();
        wanted.into_iter().collect()
    }

    /// Whose seals are waited for, in ascending order.
    pub fn unsealed(&mut self) -> Vec<NodeId> {
        self.spread();
        let unvouched = self.graph.iter().filter(|w| !w.is_vouched);
        let authors: BTreeSet<NodeId> = unvouched.map(|waiting| waiting.author).collect();
        authors.into_iter().collect()
    }

    /// Drops what has waited for too long, and gives the deltas among it.
    pub fn expire(&mut self, now_micros: u64) -> Vec<DeltaId> {
        let is_old = |since: u64, bounds: &PendingBounds| {
            now_micros.saturating_sub(since) > bounds.age_micros_max
        };
        while let Some((_, key)) = self.early_by_age.first_key_value()
            && is_old(self.early[key].since_micros, &self.bounds)
        {
            let (id, author) = *key;
            self.take_early(id, author);
        }
        let mut expired = Vec::new();
        while let Some((_, at)) = self.by_age.first_key_value()
            && let Some(waiting) = self.graph.get(*at)
            && is_old(waiting.since_micros, &self.bounds)
        {
            expired.push(waiting.id);
            self.remove(*at);
        }
        expired
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Seals whose deltas have not come, at most.
    fn early_max(&self) -> usize {
        let by_bytes = self.bounds.bytes_max / EARLY_SHARE / PENDING_SEAL_BYTES;
        self.bounds.count_max.min(by_bytes)
    }

    /// Drops the oldest deltas but `spared` until there is room for so many more of so many
    /// bytes together. `None` if there never is.
    fn make_room(
        &mut self,
        count: usize,
        bytes: usize,
        spared: Option<Place>,
    ) -> Option<Vec<DeltaId>> {
        let bytes_max = self.bounds.bytes_max - self.bounds.bytes_max / EARLY_SHARE;
        let own = spared
            .and_then(|at| self.graph.get(at))
            .map_or(0, Waiting::bytes);
        if own + bytes > bytes_max || self.bounds.count_max == 0 {
            return None;
        }
        let mut dropped = Vec::new();
        while self.graph.len() + count > self.bounds.count_max || self.bytes + bytes > bytes_max {
            let mut oldest = self.by_age.values().copied();
            let oldest = oldest.find(|at| Some(*at) != spared)?;
            dropped.push(self.graph[oldest].id);
            self.remove(oldest);
        }
        Some(dropped)
    }

    fn take_early(&mut self, id: DeltaId, author: NodeId) -> Option<Early> {
        let early = self.early.remove(&(id, author))?;
        self.early_by_age.remove(&early.number);
        Some(early)
    }

    /// A delta has come that others here follow: they go behind it.
    fn hold_back_followers(&mut self, at: Place) {
        self.graph.each_follower(at, |_, waiting| {
            if !waiting.is_handed_out && !waiting.lacks.contains(&at) {
                waiting.lacks.push(at);
            }
        });
    }

    /// What lacks this delta lacks it no more.
    fn supply(&mut self, at: Place) {
        let ready = &mut self.ready;
        self.graph.each_follower(at, |follower, waiting| {
            let before = waiting.lacks.len();
            waiting.lacks.retain(|parent| *parent != at);
            if waiting.lacks.len() < before && waiting.is_ready() {
                ready.push_back(follower);
            }
        });
    }

    fn remove(&mut self, at: Place) {
        self.spread();
        let Some(waiting) = self.graph.remove(at) else {
            return;
        };
        self.by_age.remove(&waiting.number);
        self.bytes -= waiting.bytes();
        self.parents -= waiting.parents.len();
        self.vouchers.leave(waiting.author, &waiting.reached);
        if self.graph.is_empty() {
            self.ready.clear();
        }
    }
}

#[cfg(test)]
mod tests;
