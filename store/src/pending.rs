//! Deltas that came before their parents, and what they wait for. A plain state machine
//! in memory: who has sent a delta sends it again if it is dropped here. Bounded
//! in number, bytes and age, because a stranger can make deltas that wait for
//! ever. Each delta and each of its parents is handled once, so that a long row that
//! comes backwards costs no more than one that comes in order. Owned by whoever
//! applies the deltas of its context.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::ids::DeltaId;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingBounds {
    /// Deltas at most.
    pub count_max: usize,
    /// Bytes of them at most.
    pub bytes_max: usize,
    /// Microseconds that one waits at most.
    pub age_micros_max: u64,
}

impl Default for PendingBounds {
    fn default() -> Self {
        PendingBounds {
            count_max: 10_000,
            bytes_max: 64 << 20,
            age_micros_max: 5 * 60 * 1_000_000,
        }
    }
}

/// What became of a delta that was to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It waits. Others had to go for it, the oldest first.
    Waits {
        /// Those that are dropped.
        dropped: Vec<DeltaId>,
    },
    /// It waits already.
    Already,
    /// It alone is larger than everything together may be.
    TooLarge,
}

/// Deltas of one context that wait for others.
#[derive(Debug, Default)]
pub struct PendingDeltas {
    bounds: PendingBounds,
    waiting: HashMap<DeltaId, Waiting>,
    /// Which of them follow a delta that is not applied.
    followers: HashMap<DeltaId, BTreeSet<DeltaId>>,
    /// In the order in which they came.
    by_age: BTreeMap<u64, DeltaId>,
    next_number: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    canonical: Bytes,
    /// Parents that it still lacks, each once.
    missing: Vec<DeltaId>,
    since_micros: u64,
    number: u64,
}

impl PendingDeltas {
    /// None yet.
    pub fn new(bounds: PendingBounds) -> PendingDeltas {
        PendingDeltas {
            bounds,
            ..PendingDeltas::default()
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of those that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long the oldest has waited, in microseconds; 0 if none waits.
    pub fn age_micros(&self, now_micros: u64) -> u64 {
        let oldest = self.by_age.first_key_value();
        oldest.map_or(0, |(_, id)| {
            now_micros.saturating_sub(self.waiting[id].since_micros)
        })
    }

    /// Keeps a delta until its parents have been applied, of which it lacks `missing`.
    pub fn hold(
        &mut self,
        id: DeltaId,
        canonical: Bytes,
        missing: &[DeltaId],
        now_micros: u64,
    ) -> Held {
        if self.waiting.contains_key(&id) {
            return Held::Already;
        }
        if canonical.len() > self.bounds.bytes_max || self.bounds.count_max == 0 {
            return Held::TooLarge;
        }
        let mut dropped = Vec::new();
        while self.waiting.len() >= self.bounds.count_max
            || self.bytes + canonical.len() > self.bounds.bytes_max
        {
            let (_, oldest) = self
                .by_age
                .first_key_value()
                .expect("something takes the room");
            let oldest = *oldest;
            self.remove(&oldest);
            dropped.push(oldest);
        }
        let mut missing = missing.to_vec();
        missing.sort_unstable();
        missing.dedup();
        for parent in &missing {
            self.followers.entry(*parent).or_default().insert(id);
        }
        self.bytes += canonical.len();
        let number = self.next_number;
        self.next_number += 1;
        self.by_age.insert(number, id);
        let waiting = Waiting {
            canonical,
            missing,
            since_micros: now_micros,
            number,
        };
        self.waiting.insert(id, waiting);
        Held::Waits { dropped }
    }

    /// A delta was applied: gives those that lack nothing any more. When they are
    /// applied, tell so in turn.
    pub fn applied(&mut self, id: &DeltaId) -> Vec<(DeltaId, Bytes)> {
        let mut ready = Vec::new();
        for follower in self.followers.remove(id).unwrap_or_default() {
            let Some(waiting) = self.waiting.get_mut(&follower) else {
                continue;
            };
            waiting.missing.retain(|parent| parent != id);
            if waiting.missing.is_empty() {
                let canonical = self.remove(&follower);
                ready.extend(canonical.map(|canonical| (follower, canonical)));
            }
        }
        ready
    }

    /// What is waited for and does not wait itself: what to ask for. In ascending order.
    pub fn wanted(&self) -> Vec<DeltaId> {
        let parents = self.followers.keys();
        let mut wanted: Vec<DeltaId> = parents
            .filter(|parent| !self.waiting.contains_key(parent))
            .copied()
            .collect();
        wanted.sort_unstable();
        wanted
    }

    /// Drops what has waited for too long, and gives it.
    pub fn expire(&mut self, now_micros: u64) -> Vec<DeltaId> {
        let mut expired = Vec::new();
        while let Some((_, oldest)) = self.by_age.first_key_value() {
            let oldest = *oldest;
            let since = self.waiting[&oldest].since_micros;
            if now_micros.saturating_sub(since) <= self.bounds.age_micros_max {
                break;
            }
            self.remove(&oldest);
            expired.push(oldest);
        }
        expired
    }

    fn remove(&mut self, id: &DeltaId) -> Option<Bytes> {
        let waiting = self.waiting.remove(id)?;
        self.by_age.remove(&waiting.number);
        self.bytes -= waiting.canonical.len();
        for parent in &waiting.missing {
            if let Some(followers) = self.followers.get_mut(parent) {
                followers.remove(id);
                if followers.is_empty() {
                    self.followers.remove(parent);
                }
            }
        }
        Some(waiting.canonical)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> DeltaId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        DeltaId::from_bytes(bytes)
    }

    fn body(n: usize) -> Bytes {
        Bytes::from(vec![n as u8; 10])
    }

    proptest! {
        /// Deltas with parents among those before them come in any order; each is applied
        /// once, and only behind its parents.
        #[test]
        fn whatever_the_order_each_is_applied_behind_its_parents(
            parents in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40),
            order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let count = parents.len();
            let parents: Vec<BTreeSet<usize>> = parents.iter().enumerate().map(|(n, some)| {
                some.iter().filter(|_| n > 0).map(|index| index.index(n)).collect()
            }).collect();
            let mut pending = PendingDeltas::default();
            let mut applied = BTreeSet::new();
            for came in order.into_iter().filter(|n| *n < count) {
                let missing: Vec<DeltaId> =
                    parents[came].difference(&applied).map(|parent| id(*parent)).collect();
                let mut ready = vec![(id(came), body(came))];
                if !missing.is_empty() {
                    let held = pending.hold(id(came), body(came), &missing, 0);
                    prop_assert_eq!(held, Held::Waits { dropped: vec![] });
                    prop_assert_eq!(pending.hold(id(came), body(came), &missing, 0), Held::Already);
                    ready.clear();
                }
                while let Some((next, canonical)) = ready.pop() {
                    let n = (0..count).find(|n| id(*n) == next).unwrap();
                    prop_assert_eq!(canonical, body(n));
                    prop_assert!(parents[n].is_subset(&applied), "{} came before a parent", n);
                    prop_assert!(applied.insert(n), "{} came twice", n);
                    ready.extend(pending.applied(&next));
                }
            }
            prop_assert_eq!(applied.len(), count);
            prop_assert!(pending.is_empty() && pending.bytes() == 0);
            prop_assert!(pending.wanted().is_empty() && pending.followers.is_empty());
            prop_assert!(pending.by_age.is_empty());
        }
    }

    #[test]
    fn what_is_wanted_is_what_nobody_has_sent() {
        let mut pending = PendingDeltas::default();
        pending.hold(id(3), body(3), &[id(2)], 0);
        pending.hold(id(2), body(2), &[id(1), id(0)], 0);
        assert_eq!(pending.wanted(), [id(0), id(1)]);
        assert!(pending.applied(&id(0)).is_empty());
        assert_eq!(pending.applied(&id(1)), [(id(2), body(2))]);
        assert_eq!(pending.applied(&id(2)), [(id(3), body(3))]);
    }

    #[test]
    fn the_oldest_make_room_and_the_too_old_go() {
        let mut pending = PendingDeltas::new(PendingBounds {
            count_max: 3,
            bytes_max: 30,
            age_micros_max: 100,
        });
        for n in 0..3 {
            pending.hold(id(10 + n), body(0), &[id(n)], n as u64);
        }
        let held = pending.hold(id(13), body(0), &[id(3)], 50);
        assert_eq!(
            held,
            Held::Waits {
                dropped: vec![id(10)]
            }
        );
        assert_eq!(pending.wanted(), [id(1), id(2), id(3)]);
        let held = pending.hold(id(14), Bytes::from(vec![0; 25]), &[id(4)], 60);
        let dropped = vec![id(11), id(12), id(13)];
        assert_eq!(held, Held::Waits { dropped });
        let large = Bytes::from(vec![0; 31]);
        assert_eq!(pending.hold(id(15), large, &[id(5)], 60), Held::TooLarge);
        assert_eq!((pending.len(), pending.bytes()), (1, 25));
        assert_eq!(pending.age_micros(90), 30);
        assert!(pending.expire(160).is_empty());
        assert_eq!(pending.expire(161), [id(14)]);
        assert!(pending.is_empty() && pending.wanted().is_empty());
    }
}
