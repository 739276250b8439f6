//! Those who have something that is due, and wait until something else out of the same context's agenda has
//! ended: by context, and of each in the order of their starts. When they may begin is `due.rs`'s to say.

use std::collections::{BTreeMap, BTreeSet};

use corelet_store::ContextId;

use crate::due::Who;

/// Those of a shard that wait so.
pub(crate) struct Held<K> {
    by_context: BTreeMap<ContextId, BTreeSet<(u64, K)>>,
    len: usize,
}

impl<K: Who> Held<K> {
    pub(crate) fn new() -> Held<K> {
        Held {
            by_context: BTreeMap::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, start: u64, who: K) {
        let of_context = self.by_context.entry(who.context()).or_default();
        self.len += usize::from(of_context.insert((start, who)));
    }

    pub(crate) fn remove(&mut self, start: u64, who: K) {
        let context = who.context();
        let Some(of_context) = self.by_context.get_mut(&context) else {
            return;
        };
        self.len -= usize::from(of_context.remove(&(start, who)));
        if of_context.is_empty() {
            self.by_context.remove(&context);
        }
    }

    /// Takes out who of this context waits for longest.
    pub(crate) fn take_first(&mut self, context: ContextId) -> Option<K> {
        let (start, who) = self.by_context.get(&context)?.first().copied()?;
        self.remove(start, who);
        Some(who)
    }

    /// Takes out all, with their starts.
    pub(crate) fn take_all(&mut self) -> BTreeSet<(u64, K)> {
        self.len = 0;
        let by_context = std::mem::take(&mut self.by_context);
        by_context.into_values().flatten().collect()
    }

    /// Takes out somebody, who waits for longer than others of his context will.
    pub(crate) fn take_any(&mut self) -> Option<K> {
        let (_, of_context) = self.by_context.last_key_value()?;
        let (start, who) = of_context.last().copied()?;
        self.remove(start, who);
        Some(who)
    }
}
