//! The numbers of authors. An entry names its author in 4 bytes instead of 32;
//! this is the table of both, as one transaction knows it. Numbers are given
//! in order and never again, also when their author is dropped as no record names it any more: how many
//! are gone is on disk, so that one that was lost is missed. Whom nothing names is found by the
//! scrub (`scrub/named.rs`).

use std::collections::{BTreeSet, HashMap};

use heed::{Env, RoTxn, RwTxn, WithoutTls};

use crate::error::StoreError;
use crate::ids::NodeId;
use crate::layout::{META_AUTHORS, Tables, author_key};
use crate::ledger::engine_error;
use crate::record::{AuthorRow, AuthorsRecord, open, read_author, seal};

/// Every author that the ledger knows, by number. As many as nodes wrote
/// into the contexts that this shard has.
#[derive(Default)]
pub(crate) struct Authors {
    /// In ascending order of numbers.
    rows: Vec<(u32, NodeId)>,
    numbers: HashMap<NodeId, u32>,
    /// Numbers from here on were never given.
    next: u32,
    /// Numbers that were given and are nobody's any more.
    dropped: u32,
    /// The last one has its number only if what it wrote is accepted.
    is_last_on_trial: bool,
    /// Numbers that were asked for by who is about to write them.
    used: BTreeSet<u32>,
}

impl Authors {
    pub(crate) fn load(
        env: &Env<WithoutTls>,
        tables: Tables,
        txn: &RoTxn<'_>,
    ) -> Result<Authors, StoreError> {
        let failed = |error| engine_error("read the authors of", error, env);
        let record = tables.meta.get(txn, META_AUTHORS).map_err(failed)?;
        let mut authors = Authors::begin(record)?;
        for row in tables.authors.iter(txn).map_err(failed)? {
            let (key, bytes) = row.map_err(failed)?;
            authors.read(key, bytes)?;
        }
        authors.end()
    }

    /// None so far, by the record of how many are gone. Then come the records of the table, all of
    /// them, and the [end](Self::end).
    pub(crate) fn begin(record: Option<&[u8]>) -> Result<Authors, StoreError> {
        let mut authors = Authors::default();
        if let Some(bytes) = record {
            let record = open::<AuthorsRecord>(META_AUTHORS, bytes)?;
            authors.next = record.next.to_native();
            authors.dropped = record.dropped.to_native();
        }
        Ok(authors)
    }

    /// Adds the author in the next record of the table.
    pub(crate) fn read(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let corrupt = |why| StoreError::corrupt("author record", key, why);
        let number = key.try_into().map(u32::from_be_bytes);
        let number = number.map_err(|_| corrupt("its key is not 4 bytes long"))?;
        if number == u32::MAX {
            return Err(corrupt("its number is never given"));
        }
        self.add(number, read_author(key, bytes)?);
        Ok(())
    }

    /// All records were read: none may be missing but those that were dropped.
    pub(crate) fn end(self) -> Result<Authors, StoreError> {
        let count = u64::from(self.dropped) + self.rows.len() as u64;
        match count == u64::from(self.next) {
            true => Ok(self),
            false => Err(StoreError::corrupt(
                "author record",
                &author_key(self.next),
                "one before it is missing",
            )),
        }
    }

    /// Every author's number.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let numbers: Vec<u32> = self.rows.iter().map(|row| row.0).collect();
        numbers.into_iter()
    }

    /// The number that is given next.
    pub(crate) fn next_number(&self) -> u32 {
        self.next
    }

    pub(crate) fn get(&self, number: u32) -> Option<NodeId> {
        // No number comes later than it would without gaps.
        let place = self.rows.len().min(number as usize);
        match self.rows.get(place) {
            Some(row) if row.0 == number => Some(row.1),
            _ => {
                let before = &self.rows[..place];
                let found = before.binary_search_by_key(&number, |row| row.0);
                found.ok().map(|place| before[place].1)
            }
        }
    }

    /// The author's number, if it has one.
    pub(crate) fn find(&self, node: NodeId) -> Option<u32> {
        self.numbers.get(&node).copied()
    }

    /// The author's number, for whoever is about to write it. One that has none yet gets the next
    /// one on trial, until it is [kept](Self::keep) or [dismissed](Self::dismiss).
    pub(crate) fn number(&mut self, node: NodeId) -> u32 {
        let number = match self.find(node) {
            Some(number) => number,
            None => {
                self.dismiss();
                self.is_last_on_trial = true;
                let next = self.next;
                assert_ne!(next, u32::MAX, "far fewer nodes than 2^32 exist");
                self.add(next, node);
                next
            }
        };
        self.used.insert(number);
        number
    }

    /// What the author on trial wrote is accepted: its number is its own for ever. Gives the bytes
    /// of its record; 0 if none is on trial.
    pub(crate) fn keep(&mut self, tables: Tables, txn: &mut RwTxn<'_>) -> heed::Result<usize> {
        if !self.is_last_on_trial {
            return Ok(0);
        }
        let (last, node) = *self.rows.last().expect("one is on trial");
        let key = author_key(last);
        let node = *node.as_bytes();
        let mut record = Vec::new();
        seal(&mut record, &key, &AuthorRow { node });
        tables.authors.put(txn, &key, &record)?;
        self.is_last_on_trial = false;
        Ok(key.len() + record.len())
    }

    /// What the author on trial wrote was refused: its number is free again.
    pub(crate) fn dismiss(&mut self) {
        if std::mem::take(&mut self.is_last_on_trial)
            && let Some((number, node)) = self.rows.pop()
        {
            self.numbers.remove(&node);
            self.next = number;
        }
    }

    /// Whether somebody has asked for the number to write it.
    pub(crate) fn is_used(&self, number: u32) -> bool {
        self.used.contains(&number)
    }

    /// Those for which somebody has.
    pub(crate) fn take_used(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.used)
    }

    /// Drops authors that no record names. Their numbers are not given again.
    pub(crate) fn drop_all(
        &mut self,
        gone: &BTreeSet<u32>,
        tables: Tables,
        txn: &mut RwTxn<'_>,
    ) -> heed::Result<()> {
        self.dismiss();
        for number in gone {
            if tables.authors.delete(txn, &author_key(*number))? {
                self.dropped += 1;
            }
        }
        let numbers = &mut self.numbers;
        self.rows.retain(|(number, node)| {
            let is_gone = gone.contains(number);
            if is_gone {
                numbers.remove(node);
            }
            !is_gone
        });
        let mut record = Vec::new();
        let row = AuthorsRecord {
            next: self.next,
            dropped: self.dropped,
        };
        seal(&mut record, META_AUTHORS, &row);
        tables.meta.put(txn, META_AUTHORS, &record)
    }

    /// Adds one with a number that is greater than those of all others.
    fn add(&mut self, number: u32, node: NodeId) {
        self.rows.push((number, node));
        self.numbers.insert(node, number);
        self.next = self.next.max(number + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32, node: u8) -> ([u8; 4], Vec<u8>) {
        let key = author_key(number);
        let mut record = Vec::new();
        seal(&mut record, &key, &AuthorRow { node: [node; 32] });
        (key, record)
    }

    fn read(next: Option<(u32, u32)>, rows: &[(u32, u8)]) -> Result<Authors, StoreError> {
        let mut bytes = Vec::new();
        if let Some((next, dropped)) = next {
            seal(&mut bytes, META_AUTHORS, &AuthorsRecord { next, dropped });
        }
        let mut authors = Authors::begin(next.map(|_| &bytes[..]))?;
        for (number, node) in rows {
            let (key, record) = record(*number, *node);
            authors.read(&key, &record)?;
        }
        authors.end()
    }

    #[test]
    fn numbers_with_gaps_lead_to_their_authors() {
        let rows: Vec<(u32, u8)> = vec![(1, 11), (2, 12), (5, 15), (9, 19)];
        let mut authors = read(Some((10, 6)), &rows).unwrap();
        for number in 0..12 {
            let row = rows.iter().find(|row| row.0 == number);
            let expected = row.map(|row| NodeId::from_bytes([row.1; 32]));
            assert_eq!(authors.get(number), expected, "{number}");
        }
        assert_eq!(authors.get(u32::MAX), None);
        assert_eq!(authors.numbers().collect::<Vec<_>>(), [1, 2, 5, 9]);
        let new = NodeId::from_bytes([1; 32]);
        assert_eq!(authors.number(new), 10);
        authors.dismiss();
        assert_eq!((authors.find(new), authors.get(10)), (None, None));
        assert_eq!(authors.number(NodeId::from_bytes([2; 32])), 10);
    }

    #[test]
    fn a_record_that_is_lost_and_was_not_dropped_is_missed() {
        assert!(read(None, &[(0, 1), (1, 2)]).is_ok());
        assert!(read(Some((3, 1)), &[(0, 1), (2, 2)]).is_ok());
        // Behind the last that was dropped more have come.
        assert!(read(Some((3, 1)), &[(0, 1), (2, 2), (3, 3)]).is_ok());
        assert!(read(Some((3, 3)), &[]).is_ok());
        assert!(read(None, &[(0, 1), (2, 2)]).is_err());
        assert!(read(Some((3, 1)), &[(0, 1)]).is_err());
        assert!(read(Some((3, 1)), &[(0, 1), (2, 2), (4, 3)]).is_err());
    }
}
