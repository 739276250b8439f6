//! How many may do something at the same time, over all shards: a place is taken before
//! it begins, and given back when it has ended, on whatever thread that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places of one kind.
#[derive(Debug)]
pub(crate) struct Places {
    /// What their number is called where it can be changed.
    limit: &'static str,
    max: usize,
    used: AtomicUsize,
}

/// All places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPlace {
    pub(crate) limit: &'static str,
    pub(crate) max: u64,
}

/// One that is taken as long as it lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(limit: &'static str, max: usize) -> Arc<Places> {
        Arc::new(Places {
            limit,
            max,
            used: AtomicUsize::new(0),
        })
    }

    pub(crate) fn take(self: &Arc<Places>) -> Result<Place, NoPlace> {
        let more = |used: usize| (used < self.max).then_some(used + 1);
        let taken = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        match taken {
            Ok(_) => Ok(Place(Arc::clone(self))),
            Err(_) => Err(NoPlace {
                limit: self.limit,
                max: self.max as u64,
            }),
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_there_are() {
        let places = Places::new("things_max", 2);
        let first = places.take().unwrap();
        let second = places.take().unwrap();
        let full = NoPlace {
            limit: "things_max",
            max: 2,
        };
        assert_eq!(places.take().err(), Some(full));
        drop(first);
        let third = places.take().unwrap();
        assert_eq!(places.used(), 2);
        drop((second, third));
        assert_eq!(places.used(), 0);
    }
}
