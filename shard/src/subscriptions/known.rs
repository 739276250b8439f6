//! Whose events the contexts of a shard listen to, in memory: so that those are found who are to be
//! told when there is something new, and what was passed over for them is not looked at again. What
//! a shard does not find here it looks at now and then. Owned by the shard.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use corelet_store::ContextId;

use super::Subscription;
use super::row::{Asked, Place, Point, SubscriptionKey};

/// So many subscriptions are known. The others are looked at now and then.
const KNOWN_MAX: usize = 100_000;

pub(crate) struct Known {
    all: BTreeMap<Subscription, One>,
    by_source: HashMap<ContextId, BTreeSet<Subscription>>,
    max: usize,
}

/// What is known of a subscription.
struct One {
    /// Whose events it is to.
    source: ContextId,
    /// Up to where there is nothing for the handler, if the subscription still asks for this.
    passed: Option<(Asked, Point)>,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            all: BTreeMap::new(),
            by_source: HashMap::new(),
            max: KNOWN_MAX,
        }
    }
}

impl Known {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Knows that a subscription is to the events of this context, if there is room for that.
    pub(crate) fn note(&mut self, subscription: Subscription, source: ContextId) -> bool {
        if self.all.contains_key(&subscription) {
            return true;
        }
        if self.all.len() >= self.max {
            return false;
        }
        let one = One {
            source,
            passed: None,
        };
        self.all.insert(subscription, one);
        self.by_source
            .entry(source)
            .or_default()
            .insert(subscription);
        true
    }

    /// There is nothing for the handler of a subscription, which asks for this, up to this point.
    /// Tells whether there is room for that.
    pub(crate) fn pass(&mut self, subscription: Subscription, asked: Asked, to: Point) -> bool {
        let one = self.all.get_mut(&subscription);
        one.is_some_and(|one| {
            one.passed = Some((asked, to));
            true
        })
    }

    /// Where a subscription that asks for this goes on.
    pub(crate) fn goes_on(&self, subscription: Subscription, asked: Asked) -> Place {
        let one = self.all.get(&subscription);
        match one.and_then(|one| one.passed) {
            Some((before, to)) if before == asked => Place::Behind(to),
            _ => asked.place,
        }
    }

    pub(crate) fn forget(&mut self, subscription: Subscription) {
        let Some(One { source, .. }) = self.all.remove(&subscription) else {
            return;
        };
        if let Some(those) = self.by_source.get_mut(&source) {
            those.remove(&subscription);
            if those.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }

    /// Forgets all that a context has subscribed to.
    pub(crate) fn forget_listener(&mut self, listener: ContextId) {
        let at = |key| Subscription { listener, key };
        let all = at(SubscriptionKey::FIRST)..=at(SubscriptionKey::LAST);
        let its: Vec<_> = self.all.range(all).map(|(it, _)| *it).collect();
        its.into_iter().for_each(|it| self.forget(it));
    }

    /// Those to the events of a context, behind one of them, and so many at most.
    pub(crate) fn of(
        &self,
        source: &ContextId,
        after: Option<Subscription>,
        limit: usize,
    ) -> Vec<Subscription> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let those = self.by_source.get(source).into_iter();
        let those = those.flat_map(|those| those.range((after, Bound::Unbounded)));
        those.take(limit).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ContextId {
        ContextId::from_bytes([n; 32])
    }

    fn subscription(listener: u8, source: u8) -> Subscription {
        Subscription {
            listener: id(listener),
            key: SubscriptionKey::of(id(source), "heard"),
        }
    }

    #[test]
    fn those_who_listen_are_found_and_nothing_is_left_of_those_who_do_not() {
        let mut known = Known {
            max: 3,
            ..Known::default()
        };
        let pairs = [(1, 7), (2, 7), (1, 8)];
        for (listener, source) in pairs.into_iter().chain(pairs) {
            assert!(known.note(subscription(listener, source), id(source)));
        }
        assert!(!known.note(subscription(3, 7), id(7)), "there is no room");
        assert_eq!(known.len(), 3);
        let of = |known: &Known, source| known.of(&id(source), None, 10).len();
        assert_eq!([7, 8, 9].map(|source| of(&known, source)), [2, 1, 0]);
        let first = known.of(&id(7), None, 1);
        let second = known.of(&id(7), first.first().copied(), 2);
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first, second);
        let [before, passed] = [4, 9].map(|number| Point { number, stamp: 0 });
        let asks = |at, kind| Asked::of(Place::Behind(at), kind);
        assert!(known.pass(subscription(1, 7), asks(before, Some("said")), passed));
        assert!(!known.pass(subscription(3, 7), asks(before, Some("said")), passed));
        let goes_on = |n, at, kind| known.goes_on(subscription(n, 7), asks(at, kind));
        assert_eq!(goes_on(1, before, Some("said")), Place::Behind(passed));
        assert_eq!(goes_on(2, before, Some("said")), Place::Behind(before));
        let others = [
            (before, Some("done")),
            (before, None),
            (Point::default(), Some("said")),
        ];
        for (at, kind) in others {
            assert_eq!(goes_on(1, at, kind), Place::Behind(at), "it was made anew");
        }
        known.forget_listener(id(1));
        assert_eq!([7, 8].map(|source| of(&known, source)), [1, 0]);
        assert!(known.note(subscription(3, 7), id(7)));
        known.forget(subscription(3, 7));
        known.forget(subscription(3, 7));
        known.forget(subscription(2, 7));
        assert!(known.len() == 0 && known.by_source.is_empty());
    }
}
