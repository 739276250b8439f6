//! Who is about to refer to a blob, so that nobody removes it meanwhile. Only
//! memory here: a hold may be dropped on any thread, a shard's included, as its
//! lock is never kept during a file operation. What a hold means together with a
//! file's time is told in `removal.rs`.
#![expect(
    clippy::disallowed_types,
    reason = "shared by all threads that work on files; held for one look into a map"
)]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::BlobId;

/// How many hold each blob. As many entries as there are holds: that is bounded by
/// what the callers have in flight.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<BlobId, u32>>);

impl Holds {
    pub(super) fn is_held(&self, id: &BlobId) -> bool {
        self.counts().contains_key(id)
    }

    /// All that are held at this moment.
    pub(super) fn held(&self) -> HashSet<BlobId> {
        self.counts().keys().copied().collect()
    }

    /// The map is right after every statement, so a panic elsewhere spoils nothing.
    fn counts(&self) -> MutexGuard<'_, HashMap<BlobId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a blob from being removed as long as it lives. Take one before you refer
/// to a blob, and drop it when the reference is durable.
#[derive(Debug)]
#[must_use = "a hold that is dropped holds nothing"]
pub struct BlobHold {
    id: BlobId,
    holds: Arc<Holds>,
}

impl BlobHold {
    pub(super) fn new(id: BlobId, holds: Arc<Holds>) -> BlobHold {
        *holds.counts().entry(id).or_default() += 1;
        BlobHold { id, holds }
    }

    /// The blob.
    pub fn id(&self) -> BlobId {
        self.id
    }
}

impl Drop for BlobHold {
    fn drop(&mut self) {
        let mut counts = self.holds.counts();
        if let Some(count) = counts.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_held_until_its_last_hold_is_dropped() {
        let holds = Arc::new(Holds::default());
        let id = BlobId::of(b"content");
        let first = BlobHold::new(id, holds.clone());
        let second = BlobHold::new(id, holds.clone());
        assert_eq!(holds.held(), HashSet::from([id]));
        drop(first);
        assert!(holds.is_held(&id));
        drop(second);
        assert!(!holds.is_held(&id));
        assert_eq!(holds.counts().len(), 0);
    }
}
