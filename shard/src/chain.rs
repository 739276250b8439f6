//! Who asks whom: the contexts whose queries wait for each other, from one up to the
//! outermost. It travels with each question, to whatever shard, so that a circle is seen
//! where it would be closed, and so that a query is not run on for somebody who has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corelet_store::ContextId;

/// A query that waits for the answer to one question.
#[derive(Debug)]
pub(crate) struct Link {
    context: ContextId,
    /// How many wait, with this one.
    depth: usize,
    /// Whether it does not wait any more.
    is_given_up: AtomicBool,
    /// Who waits for it, if it is not the outermost.
    above: Option<Arc<Link>>,
}

impl Link {
    /// That a query of `context` asks, for which `above` waits.
    pub(crate) fn new(context: ContextId, above: Option<Arc<Link>>) -> Arc<Link> {
        Arc::new(Link {
            context,
            depth: depth_below(above.as_deref()) + 1,
            is_given_up: AtomicBool::new(false),
            above,
        })
    }

    /// Notes that nobody waits for this answer any more.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether one of those that wait has gone. What is below it works in vain.
    pub(crate) fn is_given_up(&self) -> bool {
        self.all()
            .any(|link| link.is_given_up.load(Ordering::Relaxed))
    }

    /// Whether a query of this context is among those that wait.
    pub(crate) fn has(&self, context: ContextId) -> bool {
        self.all().any(|link| link.context == context)
    }

    /// This one and all above it, as many as [`query_depth_max`](corelet_wasm_host::Limits)
    /// allows.
    fn all(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(Some(self), |link| link.above.as_deref())
    }
}

/// How many wait for a query that was asked by `chain`: none for an outermost one.
pub(crate) fn depth_below(chain: Option<&Link>) -> usize {
    chain.map_or(0, |link| link.depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::id;

    #[test]
    fn a_chain_knows_its_contexts_and_whether_somebody_in_it_has_gone() {
        let first = Link::new(id(1), None);
        let second = Link::new(id(2), Some(Arc::clone(&first)));
        let aside = Link::new(id(3), Some(Arc::clone(&first)));
        assert_eq!(
            [None, Some(&*first), Some(&*second)].map(depth_below),
            [0, 1, 2]
        );
        assert!(second.has(id(1)) && second.has(id(2)) && !second.has(id(3)));
        second.give_up();
        assert!(second.is_given_up() && !first.is_given_up() && !aside.is_given_up());
        first.give_up();
        assert!(aside.is_given_up());
    }
}
