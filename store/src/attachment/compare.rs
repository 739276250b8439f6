//! Comparing what is noted of attachments with their entries, some records at a time: whoever
//! removes blobs believes these notes, and a row that is damaged or lost would let a blob go
//! that a context refers to. Each step may read a snapshot of its own, as all that is compared
//! lies in one; only the sum of a context with more entries than one step reads is told by
//! several, and it is compared only if that context has not changed meanwhile.
//!
//! Any thread that may wait. Start at [`AttachedCheck::step`].

use heed::RoTxn;

use super::{AttachedSum, Attachment, Failure, entry_of_row, has, read_sum, sum};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{Tables, slot_key, space_key, split_entry, split_slot};
use crate::record::{AttachedRow, open};

/// A comparison of the notes of attachments with their entries, and where it is. It is not on
/// disk.
#[derive(Debug, Default)]
pub struct AttachedCheck {
    stage: Stage,
    /// The last key that was read of this stage's table.
    after: Option<Vec<u8>>,
    /// The context whose entries are being counted.
    begun: Option<Begun>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Each row has its entry.
    #[default]
    Rows,
    /// Each entry has its row, and each context the sum of its entries.
    Entries,
    /// Each sum is of a context that has entries.
    Sums,
    Over,
}

impl Stage {
    fn next(self) -> Stage {
        match self {
            Stage::Rows => Stage::Entries,
            Stage::Entries => Stage::Sums,
            Stage::Sums | Stage::Over => Stage::Over,
        }
    }
}

#[derive(Debug)]
struct Begun {
    slot: ContextSlot,
    found: AttachedSum,
    /// The head as it was when the first entry was read: another one tells of other entries.
    /// None if it has none, as it is being swept or brought in.
    head: Option<Vec<u8>>,
}

impl AttachedCheck {
    /// Reads up to `records_max` records more, at least one; says whether all were read.
    ///
    /// Fails at the first one that is damaged, or that is not what others say. The next step
    /// goes on behind it.
    pub(crate) fn step(
        &mut self,
        tables: Tables,
        txn: &RoTxn<'_>,
        records_max: u64,
    ) -> Result<bool, Failure> {
        for _ in 0..records_max.max(1) {
            let Some((key, bytes)) = self.read(tables, txn)? else {
                let begun = self.begun.take();
                self.stage = self.stage.next();
                self.after = None;
                if self.stage == Stage::Over {
                    return Ok(true);
                }
                begun.map_or(Ok(()), |begun| begun.compare(tables, txn))?;
                continue;
            };
            self.after = Some(key.to_vec());
            match self.stage {
                Stage::Rows => check_row(tables, txn, key, bytes)?,
                Stage::Entries => self.check_entry(tables, txn, key)?,
                Stage::Sums => check_sum(tables, txn, key, bytes)?,
                Stage::Over => {}
            }
        }
        Ok(self.stage == Stage::Over)
    }

    /// The next record of the stage's table.
    fn read<'t>(
        &self,
        tables: Tables,
        txn: &'t RoTxn<'_>,
    ) -> heed::Result<Option<(&'t [u8], &'t [u8])>> {
        let table = match self.stage {
            Stage::Rows => tables.attached,
            Stage::Entries => tables.entries,
            Stage::Sums => tables.attached_sums,
            Stage::Over => return Ok(None),
        };
        let number = [Space::Attached.number()];
        let found = match (&self.after, self.stage) {
            (Some(after), _) => table.get_greater_than(txn, after)?,
            (None, Stage::Entries) => table.get_greater_than_or_equal_to(txn, &number)?,
            (None, _) => table.first(txn)?,
        };
        let is_here = |key: &[u8]| self.stage != Stage::Entries || key.starts_with(&number);
        Ok(found.filter(|(key, _)| is_here(key)))
    }

    fn check_entry(&mut self, tables: Tables, txn: &RoTxn<'_>, key: &[u8]) -> Result<(), Failure> {
        let corrupt = |why| StoreError::corrupt("entry", key, why);
        let (slot, attachment) = split_entry(key)
            .and_then(|(slot, _, rest)| Some((slot, Attachment::from_key(rest)?)))
            .ok_or_else(|| corrupt("it is among the attachments and is none"))?;
        let last = self.begun.take_if(|begun| begun.slot != slot);
        let begun = match &mut self.begun {
            Some(begun) => begun,
            none => none.insert(Begun {
                slot,
                found: AttachedSum::default(),
                head: head(tables, txn, slot)?,
            }),
        };
        begun.found = begun.found.with(attachment);
        last.map_or(Ok(()), |last| last.compare(tables, txn))?;
        match has(tables, txn, slot, attachment)? {
            true => Ok(()),
            false => Err(corrupt("nothing is noted of this attachment").into()),
        }
    }
}

impl Begun {
    /// Compares the sum of a context, all of whose entries were read.
    fn compare(self, tables: Tables, txn: &RoTxn<'_>) -> Result<(), Failure> {
        let now = head(tables, txn, self.slot)?;
        if now.is_none() || now != self.head || sum(tables, txn, self.slot)? == self.found {
            return Ok(());
        }
        let why = "it counts other blobs or bytes than there are";
        Err(StoreError::corrupt("sum of attachments", &slot_key(self.slot), why).into())
    }
}

fn head(tables: Tables, txn: &RoTxn<'_>, slot: ContextSlot) -> heed::Result<Option<Vec<u8>>> {
    let head = tables.heads.get(txn, &slot_key(slot))?;
    Ok(head.map(<[u8]>::to_vec))
}

fn check_row(tables: Tables, txn: &RoTxn<'_>, key: &[u8], bytes: &[u8]) -> Result<(), Failure> {
    open::<AttachedRow>(key, bytes)?;
    let corrupt = |why| StoreError::corrupt("record of an attachment", key, why);
    let entry = entry_of_row(key).ok_or_else(|| corrupt("its key is cut off"))?;
    let found = tables.entries.get(txn, &entry)?;
    found.ok_or_else(|| corrupt("its context has no such entry"))?;
    Ok(())
}

fn check_sum(tables: Tables, txn: &RoTxn<'_>, key: &[u8], bytes: &[u8]) -> Result<(), Failure> {
    read_sum(key, bytes)?;
    let corrupt = |why| StoreError::corrupt("sum of attachments", key, why);
    let (slot, _) = split_slot(key).ok_or_else(|| corrupt("its key is cut off"))?;
    let prefix = space_key(slot, Space::Attached);
    let mut entries = tables.entries.prefix_iter(txn, &prefix)?;
    let found = entries.next().transpose()?;
    found.ok_or_else(|| corrupt("it counts blobs, and there are none"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
