//! What a seal vouches for: the delta that it is on, and every delta of the same author
//! from which a row of parents leads up to that one. The row may lead through deltas of
//! others, as each names its parents by their digests; but those of others are not
//! vouched for by it, as only an author says what it has made.

use bytes::Bytes;

use super::{Held, PENDING_SEAL_BYTES, PendingBounds, PendingDeltas};
use crate::delta::MalformedDelta;
use crate::hlc::Hlc;
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
    hlc: Hlc,
    canonical: Bytes,
    sealed: Option<Sealed>,
}

impl VouchedDelta {
    pub(super) fn of(
        id: DeltaId,
        hlc: Hlc,
        canonical: Bytes,
        sealed: Option<Sealed>,
    ) -> VouchedDelta {
        VouchedDelta {
            id,
            hlc,
            canonical,
            sealed,
        }
    }

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
    fn author(&self, voucher: u16) -> Option<NodeId> {
        self.0.get(usize::from(voucher)).map(|(author, _)| *author)
    }

    /// The seals of an author have come to one more of its own deltas.
    fn reach(&mut self, voucher: u16) {
        self.0[usize::from(voucher)].1 += 1;
    }

    /// A delta goes to which the seals of these had come.
    pub(super) fn leave(&mut self, author: NodeId, reached: &[u16]) {
        for &voucher in reached {
            if let Some((_, own)) =
                (self.0.get_mut(usize::from(voucher))).filter(|(voucher, _)| *voucher == author)
            {
                *own -= 1;
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
        match self.voucher(author) {
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

    /// The place of an author; none if all are taken.
    fn voucher(&mut self, author: NodeId) -> Option<u16> {
        let vouchers = &mut self.vouchers.0;
        let found = vouchers.iter().position(|(other, _)| *other == author);
        let at = match found {
            Some(at) => at,
            None if vouchers.len() < VOUCHERS_MAX => {
                vouchers.push((author, 0));
                vouchers.len() - 1
            }
            None => {
                let free = vouchers.iter().position(|(_, own)| *own == 0)?;
                vouchers[free] = (author, 0);
                // What it has said of others' deltas was said of what has gone.
                let voucher = u16::try_from(free).expect("there are at most 256");
                for waiting in self.waiting.values_mut() {
                    if let Ok(at) = waiting.reached.binary_search(&voucher) {
                        waiting.reached.remove(at);
                    }
                }
                free
            }
        };
        Some(u16::try_from(at).expect("there are at most 256"))
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
            let is_its_author = self.vouchers.author(voucher) == Some(waiting.author);
            next.extend(waiting.parents.iter().map(|parent| (*parent, voucher)));
            if is_its_author {
                self.vouchers.reach(voucher);
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
