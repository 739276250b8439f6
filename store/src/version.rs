//! Dots and version vectors: what names a delta, and what a delta has seen. Within
//! a context an author's deltas follow one another with growing stamps, so
//! author and stamp name one, and the newest stamp of each author says
//! everything that has been seen. Authors are numbers of the ledger here
//! (`authors.rs`). Plain values. The reasons are in
//! `store/decisions/0007-state-that-merges.md`.

use crate::hlc::Hlc;

/// The most authors that deltas of other nodes can bring into a context: many times as many as it
/// can have members, as a node that has lost its key goes on as another author. Each author takes
/// 16 bytes of the head and of what is noted of each delta that has seen it. This node's own calls are not
/// counted.
pub const CONTEXT_AUTHORS_MAX: usize = 1024;

const _: () = assert!(CONTEXT_AUTHORS_MAX >= 4 * crate::members::MEMBERS_MAX);

/// The name of a delta within its context, and of what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dot {
    pub(crate) author: u32,
    pub(crate) hlc: Hlc,
}

/// For each author the stamp of the newest delta seen, in ascending order of authors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionVector(Vec<(u32, Hlc)>);

impl VersionVector {
    /// As stored. `None` if it is not in order.
    pub(crate) fn from_pairs(pairs: impl Iterator<Item = (u32, Hlc)>) -> Option<VersionVector> {
        let pairs: Vec<(u32, Hlc)> = pairs.collect();
        pairs
            .is_sorted_by(|a, b| a.0 < b.0)
            .then_some(VersionVector(pairs))
    }

    pub(crate) fn pairs(&self) -> &[(u32, Hlc)] {
        &self.0
    }

    /// The newest stamp of `author`; [`Hlc::ZERO`] if it has none.
    pub(crate) fn stamp(&self, author: u32) -> Hlc {
        match self.0.binary_search_by_key(&author, |pair| pair.0) {
            Ok(at) => self.0[at].1,
            Err(_) => Hlc::ZERO,
        }
    }

    /// The newest stamp of all.
    pub(crate) fn newest(&self) -> Hlc {
        let stamps = self.0.iter().map(|pair| pair.1);
        stamps.max().unwrap_or(Hlc::ZERO)
    }

    /// Whether it has seen the delta that `dot` names.
    pub(crate) fn has_seen(&self, dot: Dot) -> bool {
        dot.hlc <= self.stamp(dot.author) && dot.hlc > Hlc::ZERO
    }

    /// From now on it has seen `dot`, and so everything that its author made before.
    pub(crate) fn see(&mut self, dot: Dot) {
        match self.0.binary_search_by_key(&dot.author, |pair| pair.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(dot.hlc),
            Err(at) => self.0.insert(at, (dot.author, dot.hlc)),
        }
    }

    /// From now on it has seen only what `other` has seen as well.
    pub(crate) fn meet(&mut self, other: &VersionVector) {
        for (author, hlc) in &mut self.0 {
            *hlc = (*hlc).min(other.stamp(*author));
        }
        self.0.retain(|pair| pair.1 > Hlc::ZERO);
    }

    /// Whether it has seen everything that `other` has.
    pub(crate) fn covers(&self, other: &VersionVector) -> bool {
        let mut pairs = other.0.iter();
        pairs.all(|&(author, hlc)| self.stamp(author) >= hlc)
    }

    /// From now on it has seen what `other` has.
    pub(crate) fn join(&mut self, other: &VersionVector) {
        for &(author, hlc) in &other.0 {
            self.see(Dot { author, hlc });
        }
    }
}

/// What the author of a delta had seen when it made the delta.
#[derive(Clone, Copy)]
pub(crate) enum Past<'a> {
    /// Everything that is there: nothing is concurrent to the delta.
    Everything,
    /// This.
    Seen(&'a VersionVector),
}

impl Past<'_> {
    /// Up to which stamp it has seen an author, of whom `last` is the newest that counts;
    /// none if it has seen nothing of it.
    pub(crate) fn stamp(self, last: Dot) -> Option<Hlc> {
        let stamp = match self {
            Past::Everything => last.hlc,
            Past::Seen(vector) => vector.stamp(last.author).min(last.hlc),
        };
        (stamp > Hlc::ZERO).then_some(stamp)
    }

    pub(crate) fn has_seen(self, dot: Dot) -> bool {
        match self {
            Past::Everything => true,
            Past::Seen(vector) => vector.has_seen(dot),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(dots: &[(u32, u64)]) -> VersionVector {
        let mut vector = VersionVector::default();
        for &(author, hlc) in dots {
            let hlc = Hlc::from_bits(hlc);
            vector.see(Dot { author, hlc });
        }
        vector
    }

    proptest! {
        #[test]
        fn a_vector_has_seen_what_it_was_told_and_what_lies_before_it(
            seen in prop::collection::vec((0..5_u32, 1..9_u64), 0..12),
            asked in (0..5_u32, 1..9_u64),
        ) {
            let expected = seen.iter().any(|s| s.0 == asked.0 && s.1 >= asked.1);
            let dot = Dot { author: asked.0, hlc: Hlc::from_bits(asked.1) };
            prop_assert_eq!(vector(&seen).has_seen(dot), expected);
        }

        #[test]
        fn joining_is_seeing_both(
            a in prop::collection::vec((0..5_u32, 1..9_u64), 0..12),
            b in prop::collection::vec((0..5_u32, 1..9_u64), 0..12),
        ) {
            let mut joined = vector(&a);
            joined.join(&vector(&b));
            prop_assert!(joined.covers(&vector(&a)) && joined.covers(&vector(&b)));
            prop_assert_eq!(&joined, &vector(&[a, b].concat()));
            let read = VersionVector::from_pairs(joined.pairs().iter().copied());
            prop_assert_eq!(read, Some(joined));
        }
    }

    proptest! {
        #[test]
        fn meeting_is_what_both_have_seen(
            a in prop::collection::vec((0..5_u32, 1..9_u64), 0..12),
            b in prop::collection::vec((0..5_u32, 1..9_u64), 0..12),
            asked in (0..5_u32, 1..9_u64),
        ) {
            let (a, b) = (vector(&a), vector(&b));
            let dot = Dot { author: asked.0, hlc: Hlc::from_bits(asked.1) };
            let mut met = a.clone();
            met.meet(&b);
            prop_assert_eq!(met.has_seen(dot), a.has_seen(dot) && b.has_seen(dot));
            prop_assert!(a.covers(&met) && b.covers(&met));
            prop_assert_eq!(a.covers(&b), b.pairs().iter().all(|&(author, hlc)| a.has_seen(Dot { author, hlc })));
        }
    }

    #[test]
    fn a_stored_vector_that_is_out_of_order_is_refused() {
        let pairs = [(1, Hlc::from_bits(1)), (1, Hlc::from_bits(2))];
        assert_eq!(VersionVector::from_pairs(pairs.into_iter()), None);
    }
}
