//! Whose events the contexts of a shard listen to, in memory: so that those are found who are to be
//! told when there is something new. What a shard does not find here it looks at now and then.
//! Owned by the shard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use corelet_store::ContextId;

use super::Subscription;
use super::row::SubscriptionKey;

/// So many subscriptions are known. The others are looked at now and then.
const KNOWN_MAX: usize = 100_000;

pub(crate) struct Known {
    /// Whose events each is to.
    sources: BTreeMap<Subscription, ContextId>,
    by_source: HashMap<ContextId, BTreeSet<Subscription>>,
    max: usize,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            sources: BTreeMap::new(),
            by_source: HashMap::new(),
            max: KNOWN_MAX,
        }
    }
}

impl Known {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Knows that a subscription is to the events of this context, if there is room for that.
    pub(crate) fn note(&mut self, subscription: Subscription, source: ContextId) -> bool {
        if self.sources.contains_key(&subscription) {
            return true;
        }
        if self.sources.len() >= self.max {
            return false;
        }
        self.sources.insert(subscription, source);
        self.by_source
            .entry(source)
            .or_default()
            .insert(subscription);
        true
    }

    pub(crate) fn forget(&mut self, subscription: Subscription) {
        let Some(source) = self.sources.remove(&subscription) else {
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
        let its: Vec<_> = self.sources.range(all).map(|(it, _)| *it).collect();
        its.into_iter().for_each(|it| self.forget(it));
    }

    /// Those to the events of a context.
    pub(crate) fn of(&self, source: &ContextId) -> impl Iterator<Item = Subscription> {
        self.by_source.get(source).into_iter().flatten().copied()
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
        let of = |known: &Known, source| known.of(&id(source)).count();
        assert_eq!([7, 8, 9].map(|source| of(&known, source)), [2, 1, 0]);
        known.forget_listener(id(1));
        assert_eq!([7, 8].map(|source| of(&known, source)), [1, 0]);
        assert!(known.note(subscription(3, 7), id(7)));
        known.forget(subscription(3, 7));
        known.forget(subscription(3, 7));
        known.forget(subscription(2, 7));
        assert!(known.len() == 0 && known.by_source.is_empty());
    }
}
