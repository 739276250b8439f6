//! Which contexts have warm instances, the least recently called one first: the
//! instances that go when others need room. Beside the live contexts' own order,
//! because most of those may have no instance to give.
//!
//! A call only notes its number at its context; the order learns of it when that
//! context comes up. Owned by the shard.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::context::Context;

/// How many contexts that have to stay are stepped over for one that may go: a
/// shard must not spend long on it, and whoever finds none only keeps less warm.
const STAY_MAX: usize = 256;

/// Contexts by the number of the last call that the order knows of.
#[derive(Default)]
pub(crate) struct WarmOrder {
    contexts: RefCell<BTreeMap<u64, Rc<Context>>>,
    calls: Cell<u64>,
}

impl WarmOrder {
    /// Notes that a context is called.
    pub(crate) fn called(&self, context: &Context) {
        let number = self.calls.get() + 1;
        self.calls.set(number);
        context.called.set(number);
    }

    /// Notes that a context has a warm instance.
    pub(crate) fn add(&self, context: &Rc<Context>) {
        if context.place.get().is_none() {
            self.put(Rc::clone(context));
        }
    }

    /// Notes that it has none, and may go from memory.
    pub(crate) fn remove(&self, context: &Context) {
        if let Some(place) = context.place.take() {
            self.contexts.borrow_mut().remove(&place);
        }
    }

    /// The least recently called context that has a warm instance and that `may_go`.
    pub(crate) fn coldest(&self, may_go: impl Fn(&Context) -> bool) -> Option<Rc<Context>> {
        let count = self.contexts.borrow().len();
        let mut stay = Vec::new();
        // Each comes up once for its first place, and once more for its true one.
        let found = (0..2 * count).find_map(|_| {
            if stay.len() == STAY_MAX {
                return None;
            }
            let (place, context) = self.contexts.borrow_mut().pop_first()?;
            context.place.set(None);
            if context.warm.borrow().is_empty() {
                None
            } else if context.called.get() > place {
                self.put(context);
                None
            } else if may_go(&context) {
                Some(context)
            } else {
                stay.push(context);
                None
            }
        });
        stay.into_iter().for_each(|context| self.put(context));
        found
    }

    /// All that have a warm instance, of those that are `wanted`.
    pub(crate) fn all(&self, wanted: impl Fn(&Context) -> bool) -> Vec<Rc<Context>> {
        let contexts = self.contexts.borrow();
        let found = contexts.values().filter(|context| wanted(context));
        found.map(Rc::clone).collect()
    }

    fn put(&self, context: Rc<Context>) {
        let place = context.called.get();
        context.place.set(Some(place));
        self.contexts.borrow_mut().insert(place, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::warm_sum::{Warm, WarmSum};

    struct Bench {
        order: WarmOrder,
        contexts: Vec<Rc<Context>>,
    }

    impl Bench {
        /// So many contexts, each called once and warm.
        fn new(count: u8) -> Bench {
            let order = WarmOrder::default();
            let slot = corelet_store::ContextSlot::UNASSIGNED;
            let contexts = (0..count).map(|n| fixture::context(n, slot));
            let contexts: Vec<_> = contexts.collect();
            let sum = WarmSum::new(&Default::default());
            for context in &contexts {
                order.called(context);
                let instance = fixture::instance();
                let warm = sum.keep(Warm {
                    instance,
                    seen: 0,
                    is_used: true,
                });
                context.warm.borrow_mut().push(warm);
                order.add(context);
            }
            Bench { order, contexts }
        }

        fn coldest(&self, may_go: impl Fn(&Context) -> bool) -> Option<u8> {
            let context = self.order.coldest(may_go)?;
            Some(context.id.as_bytes()[0])
        }
    }

    #[test]
    fn the_least_recently_called_comes_first() {
        let bench = Bench::new(4);
        bench.order.called(&bench.contexts[0]);
        bench.order.called(&bench.contexts[2]);
        let all: Vec<_> = std::iter::from_fn(|| bench.coldest(|_| true)).collect();
        assert_eq!(all, [1, 3, 0, 2]);
    }

    #[test]
    fn one_without_an_instance_is_stepped_over_and_one_that_must_stay_keeps_its_place() {
        let bench = Bench::new(3);
        bench.contexts[0].warm.borrow_mut().clear();
        let second = bench.contexts[1].id;
        assert_eq!(bench.coldest(|context| context.id != second), Some(2));
        assert_eq!(bench.coldest(|context| context.id != second), None);
        assert_eq!(bench.coldest(|_| true), Some(1));
        assert_eq!(bench.coldest(|_| true), None);
    }

    #[test]
    fn what_is_forgotten_is_not_kept_in_memory() {
        let Bench { order, contexts } = Bench::new(2);
        order.remove(&contexts[0]);
        order.remove(&contexts[0]);
        assert_eq!(Rc::strong_count(&contexts[0]), 1);
        assert_eq!(order.contexts.borrow().len(), 1);
    }
}
