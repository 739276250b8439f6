//! The shard's current snapshot, renewed after each checkpoint.
//!
//! Queries keep the one they began with; the pages that an old snapshot pins
//! are free again when the last query drops it, which its fuel bounds. Owned
//! by the shard.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use corelet_store::{Ledger, Snapshot, StoreError};

/// Readers of the ledger that queries leave to others: the newest snapshot, the
/// one that the commit thread takes after a checkpoint, and one to spare.
const READERS_RESERVED: u32 = 3;

/// The ledger and its newest snapshot.
pub(crate) struct Snapshots {
    ledger: Ledger,
    latest: RefCell<Rc<Snapshot>>,
    // Older ones that queries hold.
    held: RefCell<Vec<Weak<Snapshot>>>,
    readers_max: u32,
}

impl Snapshots {
    pub(crate) fn new(ledger: Ledger) -> Result<Snapshots, StoreError> {
        let latest = RefCell::new(Rc::new(ledger.snapshot()?));
        let readers_max = ledger.stats()?.readers_max;
        Ok(Snapshots {
            ledger,
            latest,
            held: RefCell::default(),
            readers_max,
        })
    }

    /// What the last checkpoint that the shard knows of has shown.
    pub(crate) fn latest(&self) -> Rc<Snapshot> {
        Rc::clone(&self.latest.borrow())
    }

    /// Whether another query may begin. If queries held every reader there is,
    /// nothing durable would be shown any more.
    pub(crate) fn check_room(&self) -> Result<(), StoreError> {
        let held_max = self.readers_max.saturating_sub(READERS_RESERVED) as usize;
        let mut held = self.held.borrow_mut();
        if held.len() >= held_max {
            held.retain(|snapshot| snapshot.strong_count() > 0);
            if held.len() >= held_max {
                return Err(StoreError::ReadersFull {
                    readers_max: self.readers_max,
                });
            }
        }
        Ok(())
    }

    /// Takes over what the commit thread took right after a checkpoint. Taken
    /// any later, it could show writes that are newer than what has settled.
    pub(crate) fn renew(&self, snapshot: Snapshot) {
        let old = self.latest.replace(Rc::new(snapshot));
        let mut held = self.held.borrow_mut();
        held.retain(|snapshot| snapshot.strong_count() > 0);
        if Rc::strong_count(&old) > 1 {
            held.push(Rc::downgrade(&old));
        }
    }

    /// How full the ledger is.
    pub(crate) fn ledger_stats(&self) -> Result<corelet_store::LedgerStats, StoreError> {
        self.ledger.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Disk;

    #[test]
    fn queries_leave_readers_for_what_shows_their_successors() {
        let disk = Disk::new();
        let snapshots = Snapshots::new(disk.ledger.clone()).unwrap();
        let readers_max = snapshots.readers_max;
        let mut queries = Vec::new();
        // Two that hold the same snapshot take one reader.
        while snapshots.check_room().is_ok() {
            queries.extend([snapshots.latest(), snapshots.latest()]);
            snapshots.renew(disk.ledger.snapshot().unwrap());
        }
        let refused = snapshots.check_room().unwrap_err();
        assert!(
            matches!(refused, StoreError::ReadersFull { readers_max: max } if max == readers_max),
            "{refused}"
        );
        assert_eq!(queries.len(), 2 * (readers_max - READERS_RESERVED) as usize);
        // Checkpoints go on, and the next query as soon as the first have ended.
        for _ in 0..10 {
            snapshots.renew(disk.ledger.snapshot().unwrap());
            assert!(snapshots.check_room().is_err());
        }
        queries.drain(..2);
        assert!(snapshots.check_room().is_ok());
    }
}
