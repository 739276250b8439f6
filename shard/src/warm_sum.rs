//! How many warm instances a shard has, and how much memory they may take
//! together: two gauges that nobody else writes.
//!
//! What is kept holds its place in both and gives it back when it goes, so that
//! no way of losing an instance can forget to. Which one goes is decided in
//! `turn.rs` and `live.rs`. Owned by the shard.

use std::rc::Rc;
use std::sync::Arc;

use corelet_wasm_host::Instance;

use crate::bounds::Bounds;
use crate::stats::ShardStats;

/// An instance between two turns, in somebody's hands.
pub(crate) struct Warm {
    pub(crate) instance: Instance,
    /// The number of the last change that its memory may know of.
    pub(crate) seen: u64,
    /// Whether it has served a turn before this one.
    pub(crate) is_used: bool,
}

/// The count and the bytes of all that is [`Kept`].
pub(crate) struct WarmSum {
    stats: Arc<ShardStats>,
}

impl WarmSum {
    pub(crate) fn new(stats: &Arc<ShardStats>) -> Rc<WarmSum> {
        Rc::new(WarmSum {
            stats: Arc::clone(stats),
        })
    }

    /// Whether one more of so many bytes may be kept.
    pub(crate) fn has_room(&self, bytes: u64, bounds: &Bounds) -> bool {
        let sum = self.stats.warm_memory_bytes.get().saturating_add(bytes);
        self.stats.warm_instances.get() < bounds.warm_instances_max as u64
            && sum <= bounds.warm_memory_bytes_max
    }

    pub(crate) fn keep(self: &Rc<Self>, warm: Warm) -> Kept {
        let bytes = warm.instance.memory_bytes();
        let WarmSum { stats } = &**self;
        stats.warm_instances.up();
        let sum = stats.warm_memory_bytes.get() + bytes;
        stats.warm_memory_bytes.set(sum);
        Kept {
            warm,
            place: Place {
                bytes,
                sum: Rc::clone(self),
            },
        }
    }
}

/// A warm instance that a context keeps. Its memory does not grow meanwhile.
pub(crate) struct Kept {
    warm: Warm,
    place: Place,
}

impl Kept {
    /// The number of the last change that its memory may know of.
    pub(crate) fn seen(&self) -> u64 {
        self.warm.seen
    }

    /// Its linear memory, as far as it has grown.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.place.bytes
    }

    /// Takes it into use; it is not kept any more.
    pub(crate) fn into_warm(self) -> Warm {
        self.warm
    }
}

struct Place {
    bytes: u64,
    sum: Rc<WarmSum>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let WarmSum { stats } = &*self.sum;
        stats.warm_instances.down();
        let sum = stats.warm_memory_bytes.get() - self.bytes;
        stats.warm_memory_bytes.set(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn warm() -> Warm {
        Warm {
            instance: fixture::instance(),
            seen: 7,
            is_used: true,
        }
    }

    #[test]
    fn what_goes_gives_back_its_place_however_it_goes() {
        let stats = Arc::default();
        let sum = WarmSum::new(&stats);
        let figures = || (stats.warm_instances.get(), stats.warm_memory_bytes.get());
        // The fixture's guest has two pages.
        let two = 2 << 16;
        let mut all: Vec<Kept> = (0..4).map(|_| sum.keep(warm())).collect();
        assert_eq!(figures(), (4, 4 * two));
        let used = all.swap_remove(1).into_warm();
        assert_eq!((used.seen, figures()), (7, (3, 3 * two)));
        drop(all.pop());
        assert_eq!(figures(), (2, 2 * two));
        all.clear();
        assert_eq!(figures(), (0, 0));
        all.push(sum.keep(used));
        assert_eq!(figures(), (1, two));
        drop(all);
        assert_eq!(figures(), (0, 0));
    }

    #[test]
    fn there_is_room_up_to_the_count_and_up_to_the_bytes() {
        let stats = Arc::default();
        let sum = WarmSum::new(&stats);
        let bounds = |instances, bytes| Bounds {
            warm_instances_max: instances,
            warm_memory_bytes_max: bytes,
            ..Bounds::default()
        };
        let _one = sum.keep(warm());
        let one = stats.warm_memory_bytes.get();
        assert!(sum.has_room(one, &bounds(2, 2 * one)));
        assert!(!sum.has_room(one, &bounds(1, 2 * one)));
        assert!(!sum.has_room(one, &bounds(2, 2 * one - 1)));
        assert!(!sum.has_room(u64::MAX, &bounds(2, u64::MAX - 1)));
    }
}
