//! What a seal vouches for: the delta that it is on, and every delta of the same author
//! from which a row of parents leads up to that one. The row may lead through deltas of
//! others, as each names its parents by their digests; but those of others are not
//! vouched for by it, as only an author says what it has made. How a seal gets down is in
//! `spreading.rs`.

use std::sync::Arc;

use bytes::Bytes;

use super::graph::Place;
use super::spreading::Spread;
use super::{Held, PENDING_SEAL_BYTES, PendingBounds, PendingDeltas};
use crate::delta::MalformedDelta;
use crate::hlc::Hlc;
use crate::ids::{BlobId, ContextId, DeltaId, NodeId};
use crate::seal::Sealed;

/// The most authors whose seals are looked after at once; a seal of one more vouches for the
/// sealed delta alone.
pub(super) const VOUCHERS_MAX: usize = 256;

/// Some of these authors, by their places. Of all of them it takes 32 bytes, and joins with another
/// in four steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VoucherSet([u64; VOUCHERS_MAX / 64]);

const _: () = assert!(VOUCHERS_MAX.is_multiple_of(64), "each has a bit");

impl VoucherSet {
    fn of(voucher: usize) -> VoucherSet {
        let mut set = VoucherSet::default();
        set.0[voucher / 64] |= 1 << (voucher % 64);
        set
    }

    pub(super) fn has_all(&self, others: &VoucherSet) -> bool {
        others.without(self).is_empty()
    }

    pub(super) fn add_all(&mut self, others: &VoucherSet) {
        let pairs = self.0.iter_mut().zip(&others.0);
        pairs.for_each(|(own, others)| *own |= others);
    }

    pub(super) fn without(mut self, others: &VoucherSet) -> VoucherSet {
        let pairs = self.0.iter_mut().zip(&others.0);
        pairs.for_each(|(own, others)| *own &= !others);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.into_iter().enumerate();
        words.flat_map(|(at, word)| {
            let some = |word: u64| Some(word).filter(|word| *word != 0);
            let bits = std::iter::successors(some(word), move |word| some(word & (word - 1)));
            bits.map(move |word| 64 * at + word.trailing_zeros() as usize)
        })
    }
}

/// The receipt: the author of this delta has sealed it, or one that follows it. Only made
/// out of checked seals, and what a [`Change::Delta`](crate::Change::Delta) takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchedDelta {
    pub(super) id: DeltaId,
    pub(super) hlc: Hlc,
    pub(super) canonical: Bytes,
    pub(super) attached: Option<Arc<[BlobId]>>,
    pub(super) sealed: Option<Sealed>,
}

impl VouchedDelta {
    /// Its id.
    pub fn id(&self) -> DeltaId {
        self.id
    }

    /// Its stamp.
    pub fn hlc(&self) -> Hlc {
        self.hlc
    }

    /// Its canonical bytes, of a delta that is none but this.
    pub fn canonical(&self) -> &Bytes {
        &self.canonical
    }

    /// The blobs that it attaches, found where it was checked: a shard, which holds them, has
    /// no time to read the delta.
    pub fn attached(&self) -> &[BlobId] {
        self.attached.as_deref().unwrap_or_default()
    }

    /// Its author's seal on it itself, if that has come: to be kept when it was applied.
    pub fn sealed(&self) -> Option<&Sealed> {
        self.sealed.as_ref()
    }
}

/// Those of some deltas of a context that the seals vouch for, each behind its parents. For who
/// has everything at hand; what comes bit by bit goes through [`PendingDeltas`].
pub fn vouch(
    context: ContextId,
    deltas: impl IntoIterator<Item = Bytes>,
    seals: impl IntoIterator<Item = Sealed>,
) -> Result<Vec<VouchedDelta>, MalformedDelta> {
    let bounds = PendingBounds {
        count_max: usize::MAX,
        bytes_max: usize::MAX,
        age_micros_max: u64::MAX,
        ahead_micros_max: u64::MAX,
    };
    let mut pending = PendingDeltas::new(context, bounds);
    for sealed in seals {
        pending.seal(sealed, 0);
    }
    for canonical in deltas {
        let held = pending.receive(canonical, 0)?;
        debug_assert_ne!(held, Held::TooLarge, "there is no bound");
    }
    Ok(pending.take_ready(usize::MAX))
}

/// Authors whose seals are looked after, each with how many of its own deltas are here that they
/// have come to. Of one that has none any more the place can be taken by another.
#[derive(Debug, Default)]
pub(super) struct Vouchers(Vec<(NodeId, usize)>);

impl Vouchers {
    fn is(&self, voucher: usize, author: NodeId) -> bool {
        (self.0.get(voucher)).is_some_and(|(voucher, _)| *voucher == author)
    }

    /// The seals of an author have come to one more of its own deltas.
    fn reach(&mut self, voucher: usize) {
        self.0[voucher].1 += 1;
    }

    /// A delta goes to which the seals of these had come.
    pub(super) fn leave(&mut self, author: NodeId, reached: &VoucherSet) {
        for voucher in reached.iter() {
            if self.is(voucher, author) {
                self.0[voucher].1 -= 1;
            }
        }
    }
}

/// Deltas to which seals have come that have not spread from there.
#[derive(Debug, Default)]
pub(super) struct Unspread {
    /// Each with whose seals they are.
    tops: Vec<(Place, VoucherSet)>,
    /// How often a parent was looked at for all that has spread.
    #[cfg(test)]
    looks: usize,
}

impl PendingDeltas {
    /// Puts a seal on a delta that is here and that its author has made.
    pub(super) fn attach(&mut self, at: Place, sealed: Sealed) {
        let author = sealed.author();
        let Some(waiting) = self.graph.get_mut(at) else {
            return;
        };
        waiting.sealed = Some(sealed);
        self.bytes += PENDING_SEAL_BYTES;
        match self.voucher(author) {
            Some(voucher) => self.reach(at, VoucherSet::of(voucher)),
            None => self.accept(at),
        }
    }

    /// A delta has come: what vouches for deltas that follow it vouches for it.
    pub(super) fn reach_by_followers(&mut self, at: Place) {
        let followers = self.graph[at].followers.iter();
        let above = followers.filter_map(|follower| self.graph.get(*follower));
        let mut vouchers = VoucherSet::default();
        above.for_each(|waiting| vouchers.add_all(&waiting.reached));
        self.reach(at, vouchers);
    }

    /// Brings all seals as far down as they go. To be called before anything is told that
    /// depends on it, and before a delta goes by which one may have come.
    pub(super) fn spread(&mut self) {
        if self.unspread.tops.is_empty() {
            return;
        }
        let tops = std::mem::take(&mut self.unspread.tops);
        let spread = Spread::below(&self.graph, &tops, self.parents);
        #[cfg(test)]
        {
            self.unspread.looks += spread.looks();
        }
        let reached: Vec<_> = spread.reached().collect();
        for (at, reached) in reached {
            self.come_to(at, reached);
        }
    }

    /// The place of an author; none if all are taken.
    fn voucher(&mut self, author: NodeId) -> Option<usize> {
        let places = 0..self.vouchers.0.len();
        let found = places.clone().find(|at| self.vouchers.is(*at, author));
        if found.is_some() {
            return found;
        }
        if places.len() < VOUCHERS_MAX {
            self.vouchers.0.push((author, 0));
            return Some(places.len());
        }
        // It may be about to come to one of its own.
        self.spread();
        let free = places.clone().find(|at| self.vouchers.0[*at].1 == 0)?;
        self.vouchers.0[free] = (author, 0);
        // What it has said of others' deltas was said of what has gone.
        let gone = VoucherSet::of(free);
        for waiting in self.graph.iter_mut() {
            waiting.reached = waiting.reached.without(&gone);
        }
        Some(free)
    }

    /// Seals of these have come to a delta, and go on from there.
    fn reach(&mut self, at: Place, by: VoucherSet) {
        let news = self.come_to(at, by);
        if !news.is_empty() {
            self.unspread.tops.push((at, news));
        }
    }

    /// Seals of these have come to a delta. Which of them had not before.
    fn come_to(&mut self, at: Place, by: VoucherSet) -> VoucherSet {
        let Some(waiting) = self.graph.get_mut(at) else {
            return VoucherSet::default();
        };
        let news = by.without(&waiting.reached);
        waiting.reached.add_all(&news);
        let author = waiting.author;
        let own = news.iter().find(|at| self.vouchers.is(*at, author));
        if let Some(voucher) = own {
            self.vouchers.reach(voucher);
            self.accept(at);
        }
        news
    }

    fn accept(&mut self, at: Place) {
        let Some(waiting) = self.graph.get_mut(at) else {
            return;
        };
        let was_vouched = std::mem::replace(&mut waiting.is_vouched, true);
        if !was_vouched && waiting.is_ready() {
            self.ready.push_back(at);
        }
    }
}

#[cfg(test)]
mod tests;
