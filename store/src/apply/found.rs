//! What follows from what a scrub has found (`crate::scrub`), a while later: each record
//! is looked at again before it goes. Like what the collector does it is in no journal.

use std::collections::BTreeSet;

use super::Pass;
use crate::attachment;
use crate::error::StoreError;
use crate::scrub::{Derived, Orphan, UnnamedAuthor};

impl Pass<'_> {
    /// Drops records of slots in which there is no context, in service or not, and no grave.
    /// What is noted of an attachment goes with its entry, of which a round finds it out long
    /// after: an entry of which nothing is noted would keep every blob (`crate::attachment`).
    pub(crate) fn drop_orphans(&mut self, orphans: &[Orphan]) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for orphan in orphans {
            if self.is_used(orphan)? || self.has_entry(orphan)? {
                continue;
            }
            let table = orphan.table(&self.tables);
            let deleted = table.delete(&mut self.txn, orphan.key());
            dropped += u64::from(deleted.map_err(|error| self.engine(error))?);
            if let Some(attachment) = orphan.attachment() {
                let (tables, slot, record) = (self.tables, orphan.slot(), &mut self.buffers.record);
                let forgot = attachment::forget(tables, &mut self.txn, record, slot, attachment);
                forgot.map_err(|error| self.engine(error))?;
            }
        }
        self.note_dropped(dropped);
        Ok(dropped)
    }

    fn is_used(&self, orphan: &Orphan) -> Result<bool, StoreError> {
        let slot = orphan.slot();
        if orphan.user().is_some() {
            let found = orphan.table(&self.tables).get(&self.txn, orphan.key());
            let found = found.map_err(|error| self.engine(error))?;
            if found.is_some_and(|bytes| !orphan.is_damaged(bytes)) {
                return Ok(true);
            }
        }
        let found = self.tables.is_used(&self.txn, slot, orphan.user());
        let is_used = found.map_err(|error| self.engine(error))?;
        Ok(is_used || self.heads.contains_key(&slot) || self.is_quarantined(slot))
    }

    /// Whether it notes an attachment of which the entry is there.
    fn has_entry(&self, orphan: &Orphan) -> Result<bool, StoreError> {
        let Some(entry) = orphan.entry_noted() else {
            return Ok(false);
        };
        let found = self.tables.entries.get(&self.txn, &entry);
        Ok(found.map_err(|error| self.engine(error))?.is_some())
    }

    /// Drops records that are worked out again, if they are still damaged.
    pub(crate) fn drop_derived(&mut self, derived: &[Derived]) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for derived in derived {
            let table = derived.table(&self.tables);
            let found = table.get(&self.txn, derived.key());
            let found = found.map_err(|error| self.engine(error))?;
            if !found.is_some_and(|bytes| derived.is_damaged(bytes)) {
                continue;
            }
            let rows = table.prefix_iter(&self.txn, derived.prefix());
            let rows = rows.map_err(|error| self.engine(error))?;
            let keys = rows.map(|row| row.map(|(key, _)| key.to_vec()));
            let keys: Vec<_> = keys
                .collect::<heed::Result<_>>()
                .map_err(|error| self.engine(error))?;
            for key in keys {
                let deleted = table.delete(&mut self.txn, &key);
                dropped += u64::from(deleted.map_err(|error| self.engine(error))?);
            }
        }
        self.note_dropped(dropped);
        Ok(dropped)
    }

    /// Drops authors whom no record names that the scrub has read, unless somebody has asked for their numbers in this
    /// pass.
    pub(crate) fn drop_authors<'u>(
        &mut self,
        unnamed: impl Iterator<Item = &'u UnnamedAuthor>,
    ) -> Result<u64, StoreError> {
        let is_unused = |it: &&UnnamedAuthor| {
            self.authors.get(it.number) == Some(it.node) && !self.authors.is_used(it.number)
        };
        let gone: BTreeSet<u32> = unnamed.filter(is_unused).map(|it| it.number).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let dropped = self.authors.drop_all(&gone, self.tables, &mut self.txn);
        dropped.map_err(|error| self.engine(error))?;
        self.note_dropped(gone.len() as u64);
        Ok(gone.len() as u64)
    }

    /// Authors whose numbers somebody has asked for in this pass, to write them.
    pub(crate) fn take_used_authors(&mut self) -> BTreeSet<u32> {
        self.authors.take_used()
    }

    fn note_dropped(&mut self, dropped: u64) {
        self.writes += usize::try_from(dropped).unwrap_or(usize::MAX);
        self.has_written |= dropped > 0;
    }
}
