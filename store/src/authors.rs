//! The numbers of authors. An entry names its author in 4 bytes instead of 32;
//! this is the table of both, as one transaction knows it. Numbers are given
//! in order and never again.

use std::collections::HashMap;

use heed::{Env, RoTxn, RwTxn, WithoutTls};

use crate::error::StoreError;
use crate::ids::NodeId;
use crate::layout::{Tables, author_key};
use crate::ledger::engine_error;
use crate::record::{AuthorRow, read_author, seal};

/// Every author that the ledger knows, by number. As many as nodes ever wrote
/// into this shard's contexts.
#[derive(Default)]
pub(crate) struct Authors {
    by_number: Vec<NodeId>,
    numbers: HashMap<NodeId, u32>,
    /// The last one has its number only if what it wrote is accepted.
    is_last_on_trial: bool,
}

impl Authors {
    pub(crate) fn load(
        env: &Env<WithoutTls>,
        tables: Tables,
        txn: &RoTxn<'_>,
    ) -> Result<Authors, StoreError> {
        let failed = |error| engine_error("read the authors of", error, env);
        let mut authors = Authors::default();
        for row in tables.authors.iter(txn).map_err(failed)? {
            let (key, bytes) = row.map_err(failed)?;
            authors.read(key, bytes)?;
        }
        Ok(authors)
    }

    /// Adds the author in the next record of the table.
    pub(crate) fn read(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        if author_key(self.next_number())[..] != *key {
            return Err(StoreError::corrupt(
                "author record",
                key,
                "an author before it is missing",
            ));
        }
        self.add(read_author(key, bytes)?);
        Ok(())
    }

    /// Every author's number.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        0..self.next_number()
    }

    pub(crate) fn get(&self, number: u32) -> Option<NodeId> {
        self.by_number.get(number as usize).copied()
    }

    /// The author's number, if it has one.
    pub(crate) fn find(&self, node: NodeId) -> Option<u32> {
        self.numbers.get(&node).copied()
    }

    /// The author's number; one that has none yet gets the next one on trial, until
    /// it is [kept](Self::keep) or [dismissed](Self::dismiss).
    pub(crate) fn number(&mut self, node: NodeId) -> u32 {
        if let Some(number) = self.numbers.get(&node) {
            return *number;
        }
        self.dismiss();
        self.is_last_on_trial = true;
        self.add(node)
    }

    /// What the author on trial wrote is accepted: its number is its own for ever.
    pub(crate) fn keep(&mut self, tables: Tables, txn: &mut RwTxn<'_>) -> heed::Result<()> {
        if !self.is_last_on_trial {
            return Ok(());
        }
        let last = self.next_number() - 1;
        let key = author_key(last);
        let node = *self.by_number[last as usize].as_bytes();
        let mut record = Vec::new();
        seal(&mut record, &key, &AuthorRow { node });
        tables.authors.put(txn, &key, &record)?;
        self.is_last_on_trial = false;
        Ok(())
    }

    /// What the author on trial wrote was refused: its number is free again.
    pub(crate) fn dismiss(&mut self) {
        if std::mem::take(&mut self.is_last_on_trial)
            && let Some(node) = self.by_number.pop()
        {
            self.numbers.remove(&node);
        }
    }

    fn add(&mut self, node: NodeId) -> u32 {
        let number = self.next_number();
        self.by_number.push(node);
        self.numbers.insert(node, number);
        number
    }

    fn next_number(&self) -> u32 {
        u32::try_from(self.by_number.len()).expect("far fewer nodes than 2^32 exist")
    }
}
