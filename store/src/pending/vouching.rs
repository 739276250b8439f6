//! What a seal vouches for: the delta that it is on, and every delta of the same author
//! from which a row of parents leads up to that one. The row may lead through deltas of
//! others, as each names its parents by their digests; but those of others are not
//! vouched for by it, as only an author says what it has made.

use bytes::Bytes;

use super::{Held, PENDING_SEAL_BYTES, PendingBounds, PendingDeltas};
use crate::delta::MalformedDelta;
use crate::ids::{ContextId, DeltaId, NodeId};
use crate::seal::Sealed;

/// The most authors whose seals are looked after at once; a seal of one more vouches for the
/// sealed delta alone.
pub(super) const VOUCHERS_MAX: usize = 256;

/// The receipt: the author of this delta has sealed it, or one that follows it. Only made
/// out of checked seals, and what a [`Change::Delta`](crate::Change::Delta) takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchedDelta {
    id: DeltaId,
    canonical: Bytes,
    sealed: Option<Sealed>,
}

impl VouchedDelta {
    pub(super) fn of(id: DeltaId, canonical: Bytes, sealed: Option<Sealed>) -> VouchedDelta {
        VouchedDelta {
            id,
            canonical,
            sealed,
        }
    }

    /// Its id.
    pub fn id(&self) -> DeltaId {
        self.id
    }

    /// Its canonical bytes, of a delta that is none but this.
    pub fn canonical(&self) -> &Bytes {
        &self.canonical
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

/// Authors whose seals have come to deltas that are here, each with how many these are: one that
/// has come to none any more makes its place free.
#[derive(Debug, Default)]
pub(super) struct Vouchers(Vec<Option<(NodeId, usize)>>);

impl Vouchers {
    /// The place of an author; none if all are taken.
    fn of(&mut self, author: NodeId) -> Option<u16> {
        let is_its =
            |place: &Option<(NodeId, usize)>| place.is_some_and(|(node, _)| node == author);
        let found = self.0.iter().position(is_its);
        let at = match found.or_else(|| self.0.iter().position(Option::is_none)) {
            Some(at) => at,
            None if self.0.len() >= VOUCHERS_MAX => return None,
            None => {
                self.0.push(None);
                self.0.len() - 1
            }
        };
        self.0[at].get_or_insert((author, 0));
        Some(u16::try_from(at).expect("there are at most 256"))
    }

    /// Its seal has come to one more delta. Gives whose it is.
    fn reach(&mut self, voucher: u16) -> Option<NodeId> {
        let (author, count) = self.0.get_mut(usize::from(voucher))?.as_mut()?;
        *count += 1;
        Some(*author)
    }

    /// A delta goes to which the seals of these had come.
    pub(super) fn free(&mut self, reached: &[u16]) {
        for &voucher in reached {
            let Some(place) = self.0.get_mut(usize::from(voucher)) else {
                continue;
            };
            if let Some((_, count)) = place {
                *count -= 1;
                if *count == 0 {
                    *place = None;
                }
            }
        }
    }
}

impl PendingDeltas {
    /// Puts a seal on a delta that is here and that its author has made.
    pub(super) fn attach(&mut self, id: DeltaId, sealed: Sealed) {
        let author = sealed.author();
        let Some(waiting) = self.waiting.get_mut(&id) else {
            return;
        };
        waiting.sealed = Some(sealed);
        self.bytes += PENDING_SEAL_BYTES;
        match self.vouchers.of(author) {
            Some(voucher) => self.reach(vec![(id, voucher)]),
            None => self.accept(id),
        }
    }

    /// A delta has come: what vouches for deltas that follow it vouches for it.
    pub(super) fn reach_by_followers(&mut self, id: DeltaId) {
        let followers = self.followers.get(&id).into_iter().flatten();
        let above = followers.filter_map(|follower| self.waiting.get(follower));
        let mut vouchers: Vec<u16> = above.flat_map(|w| w.reached.iter().copied()).collect();
        vouchers.sort_unstable();
        vouchers.dedup();
        self.reach(vouchers.into_iter().map(|voucher| (id, voucher)).collect());
    }

    /// Goes down from where a seal has come to. Each delta is passed once for each voucher.
    fn reach(&mut self, mut next: Vec<(DeltaId, u16)>) {
        while let Some((id, voucher)) = next.pop() {
            let Some(waiting) = self.waiting.get_mut(&id) else {
                continue;
            };
            let Err(at) = waiting.reached.binary_search(&voucher) else {
                continue;
            };
            waiting.reached.insert(at, voucher);
            let is_its_author = self.vouchers.reach(voucher) == Some(waiting.author);
            next.extend(waiting.parents.iter().map(|parent| (*parent, voucher)));
            if is_its_author {
                self.accept(id);
            }
        }
    }

    fn accept(&mut self, id: DeltaId) {
        let Some(waiting) = self.waiting.get_mut(&id) else {
            return;
        };
        let was_vouched = std::mem::replace(&mut waiting.is_vouched, true);
        if !was_vouched && waiting.is_ready() {
            self.ready.push_back(id);
        }
    }
}
