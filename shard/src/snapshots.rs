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

    /// How full the ledger is.
    pub(crate) fn ledger_stats(&self) -> Result<corelet_store::LedgerStats, StoreError> {
        self.ledger.stats()
    }
}
