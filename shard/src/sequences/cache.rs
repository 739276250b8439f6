//! The lists and texts that a shard keeps in memory between turns: as many as fit into a
//! bound on bytes, those that were used last. All can be made again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelet_store::{ContextSlot, EntryKind, Space};
use hashlink::LruCache;

use super::{Live, Openings};
use crate::bounds::Bounds;
use crate::stats::ShardStats;

/// For whom a sequence is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// For the next update: with all edits, durable or not.
    Tip,
    /// For queries, while the tip has what is not durable: without that.
    Durable,
}

/// A sequence of a shard. Slots are not given twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) slot: ContextSlot,
    pub(crate) space: Space,
    pub(crate) key: Bytes,
    pub(crate) kind: EntryKind,
    pub(crate) role: Role,
}

/// What is kept. Two gauges count it, which nobody else writes.
pub(crate) struct SequenceCache {
    lives: RefCell<LruCache<Name, Live>>,
    bytes_max: u64,
    /// What is on its way here.
    pub(crate) openings: Rc<Openings>,
    stats: Arc<ShardStats>,
}

impl SequenceCache {
    pub(crate) fn new(bounds: &Bounds, stats: &Arc<ShardStats>) -> Rc<SequenceCache> {
        Rc::new(SequenceCache {
            lives: RefCell::new(LruCache::new_unbounded()),
            bytes_max: bounds.sequence_memory_bytes_max,
            openings: Openings::new(bounds.sequence_opening_bytes_max, stats),
            stats: Arc::clone(stats),
        })
    }

    /// Takes one out.
    pub(crate) fn take(&self, name: &Name) -> Option<Live> {
        let live = self.lives.borrow_mut().remove(name)?;
        self.count(|bytes| bytes - live.bytes);
        Some(live)
    }

    /// Takes one out that is as wanted.
    pub(crate) fn take_if(&self, name: &Name, wanted: impl FnOnce(&Live) -> bool) -> Option<Live> {
        match self.look(name, wanted) {
            Some(true) => self.take(name),
            _ => None,
        }
    }

    /// Looks at one where it is.
    pub(crate) fn look<T>(&self, name: &Name, look: impl FnOnce(&Live) -> T) -> Option<T> {
        self.lives.borrow_mut().get(name).map(look)
    }

    /// Keeps one; others go for it, those that were used least recently. Gives back one
    /// that is larger than all may be together.
    pub(crate) fn keep(&self, name: Name, live: Live) -> Option<Live> {
        if live.bytes > self.bytes_max {
            return Some(live);
        }
        drop(self.take(&name));
        let bytes = live.bytes;
        self.lives.borrow_mut().insert(name, live);
        self.count(|sum| sum + bytes);
        while self.stats.sequence_bytes.get() > self.bytes_max {
            let Some((_, oldest)) = self.lives.borrow_mut().remove_lru() else {
                break;
            };
            self.count(|sum| sum - oldest.bytes);
            self.stats.sequence_evictions.one();
        }
        None
    }

    #[cfg(test)]
    pub(crate) fn forget_all(&self) {
        self.lives.borrow_mut().clear();
        self.count(|_| 0);
    }

    /// Counts whether a sequence that a turn needs was here, as far as that helps.
    pub(crate) fn was_hit(&self, is_hit: bool) {
        match is_hit {
            true => self.stats.sequence_hits.one(),
            false => self.stats.sequence_misses.one(),
        }
    }

    fn count(&self, change: impl FnOnce(u64) -> u64) {
        let sum = change(self.stats.sequence_bytes.get());
        self.stats.sequence_bytes.set(sum);
        self.stats.sequences.set(self.lives.borrow().len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::{NodeId, SequenceKind};

    use super::*;

    fn name(n: u8) -> Name {
        Name {
            slot: ContextSlot::UNASSIGNED,
            space: Space::Shared,
            key: Bytes::from(vec![n]),
            kind: EntryKind::List,
            role: Role::Tip,
        }
    }

    fn live(bytes: u64) -> Live {
        let author = NodeId::from_bytes([1; 32]);
        let mut live = Live::new(SequenceKind::List, author, 0);
        live.bytes = bytes;
        live
    }

    #[test]
    fn what_was_used_last_stays_within_the_bound() {
        let stats: Arc<ShardStats> = Arc::default();
        let bounds = Bounds {
            sequence_memory_bytes_max: 100,
            ..Bounds::default()
        };
        let cache = SequenceCache::new(&bounds, &stats);
        for n in 0..3 {
            assert!(cache.keep(name(n), live(30)).is_none());
        }
        assert_eq!((stats.sequences.get(), stats.sequence_bytes.get()), (3, 90));
        assert_eq!(cache.look(&name(0), |live| live.bytes), Some(30));
        assert!(cache.keep(name(3), live(40)).is_none());
        assert!(cache.take(&name(1)).is_none(), "it was used least recently");
        assert_eq!(
            (stats.sequences.get(), stats.sequence_bytes.get()),
            (3, 100)
        );
        assert!(cache.keep(name(0), live(10)).is_none(), "in its own place");
        assert_eq!(stats.sequence_bytes.get(), 80);
        let too_large = cache.keep(name(4), live(101));
        assert_eq!(too_large.map(|live| live.bytes), Some(101));
        assert_eq!(stats.sequence_evictions.get(), 1);
        for n in [0, 2, 3] {
            assert!(cache.take(&name(n)).is_some());
        }
        assert_eq!((stats.sequences.get(), stats.sequence_bytes.get()), (0, 0));
    }
}
