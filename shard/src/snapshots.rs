//! The shard's current snapshot, renewed after each checkpoint.
//!
//! Queries keep the one they began with; the pages that an old snapshot pins
//! are free again when the last query drops it, which its fuel bounds. Owned
//! by the shard.

use std::cell::RefCell;
use std::rc::Rc;

use corelet_store::{Ledger, Snapshot, StoreError};

/// The ledger and its newest snapshot.
pub(crate) struct Snapshots {
    ledger: Ledger,
    latest: RefCell<Rc<Snapshot>>,
}

impl Snapshots {
    pub(crate) fn new(ledger: Ledger) -> Result<Snapshots, StoreError> {
        let latest = RefCell::new(Rc::new(ledger.snapshot()?));
        Ok(Snapshots { ledger, latest })
    }

    /// What the last checkpoint that the shard knows of has shown.
    pub(crate) fn latest(&self) -> Rc<Snapshot> {
        Rc::clone(&self.latest.borrow())
    }

    /// Takes over what the commit thread took right after a checkpoint. Taken
    /// any later, it could show writes that are newer than what has settled.
    pub(crate) fn renew(&self, snapshot: Snapshot) {
        self.latest.replace(Rc::new(snapshot));
    }

    /// What of the ledger's bounds is in use.
    pub(crate) fn ledger_use(&self) -> corelet_store::LedgerUse {
        self.ledger.in_use()
    }

    /// Bytes of the ledger's file that are free to be used again. Needs no snapshot of its own.
    pub(crate) fn ledger_free_bytes(&self) -> Result<u64, StoreError> {
        self.ledger.free_bytes(&self.latest())
    }

    /// Gives back the places of other processes' readers that have ended.
    pub(crate) fn clear_stale_readers(&self) -> Result<u64, StoreError> {
        self.ledger.clear_stale_readers()
    }
}
