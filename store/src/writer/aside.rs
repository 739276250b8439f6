//! Transactions beside that of batches, as LMDB has one at a time: those of a list or
//! text that is kept as a whole, and of a copy that is taken in. A checkpoint goes before each.

use heed::{Env, RwTxn, WithoutTls};

use super::room::{CHECKPOINT_PAGES, nothing_reserved};
use super::{Counters, LedgerWriter};
use crate::error::StoreError;
use crate::layout::{self, Tables};
use crate::ledger::{commit_error, engine_error, is_short_write};
use crate::saved::{self, SavedSequence, SequenceName};
use crate::snapshot::Snapshot;

impl<'l> LedgerWriter<'l> {
    /// Makes a checkpoint if there is anything unshown, then keeps a list or text as a
    /// whole, in the place of what was kept of it before. Tells whether it did: nothing
    /// is kept of what was removed meanwhile, nor on a full disk.
    pub fn keep_saved(
        &mut self,
        name: &SequenceName,
        saved: &SavedSequence,
    ) -> Result<bool, StoreError> {
        self.guarded(|writer| {
            writer.bring_in()?;
            writer.pass = None;
            let growth = saved.bytes.len() as u64 / layout::PAGE_BYTES + CHECKPOINT_PAGES;
            if !writer.reach(growth)? {
                return Ok(false);
            }
            saved::keep(&writer.shared.env, writer.shared.tables, name, saved)
        })
    }

    /// Begins a transaction of its own, beside those of batches, as a list has that is kept. What the
    /// journal has is in LMDB before.
    pub(crate) fn begin_aside(&mut self) -> Result<RwTxn<'l>, StoreError> {
        self.guarded(|writer| {
            writer.bring_in()?;
            writer.pass = None;
            if !writer.reach(CHECKPOINT_PAGES)? {
                return Err(nothing_reserved());
            }
            // Nobody tells here what is written then.
            writer.state.tries.take_all();
            let txn = writer.shared.env.write_txn();
            txn.map_err(|error| writer.engine(error))
        })
    }

    /// Commits it. From now on `next` is what is given next.
    pub(crate) fn commit_aside(
        &mut self,
        txn: RwTxn<'l>,
        next: Counters,
    ) -> Result<(), StoreError> {
        self.guarded(|writer| {
            let committed = txn.commit();
            committed.map_err(|error| commit_error(error, &writer.shared.env))?;
            // A snapshot of this generation may have been taken before.
            writer.state.authors_noted_from = writer.state.journal.generation().number + 1;
            writer.state.next = next;
            Ok(())
        })
    }

    /// What was committed, at this moment.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let txn = self.shared.env.clone().static_read_txn();
        let txn = txn.map_err(|error| engine_error("read", error, &self.shared.env))?;
        Ok(self.shared.snapshot_in(txn))
    }

    pub(crate) fn env(&self) -> &'l Env<WithoutTls> {
        &self.shared.env
    }

    pub(crate) fn tables(&self) -> Tables {
        self.shared.tables
    }

    /// What is given next.
    pub(crate) fn next(&self) -> Counters {
        self.state.next
    }

    /// What a failed write in such a transaction is.
    pub(crate) fn engine(&self, error: heed::Error) -> StoreError {
        match error {
            heed::Error::Io(source) if is_short_write(&source, &self.shared.env) => {
                StoreError::DiskFull { source }
            }
            error => engine_error("a commit", error, &self.shared.env),
        }
    }
}
