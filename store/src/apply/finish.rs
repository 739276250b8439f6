//! The end of a pass: what it holds of heads, tries and counters is written, and all of it committed.
//! When that is, is decided in `writer.rs`.

use std::mem;

use heed::PutFlags;

use super::{Buffers, Pass};
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::journal::Generation;
use crate::layout::{META_COUNTERS, META_JOURNAL, META_JOURNAL_FILE, slot_key};
use crate::ledger::commit_error;
use crate::record::{CountersRecord, JournalFileRecord, JournalRecord, TrieRow, seal};
use crate::trie::Trie;
use crate::trie_cache::TrieCache;
use crate::trie_table::write_node_key;
use crate::writer::Counters;

impl Pass<'_> {
    /// Ends a pass that has written nothing, and gives back the tries that it did not need.
    pub(crate) fn give_up(self) -> TrieCache {
        self.tries
    }

    /// Writes the heads and commits: from now on the journal's records of
    /// `generation` count, and its file has at least `journal_bytes`. Gives the
    /// counters and the tries to go on with.
    pub(crate) fn finish(
        mut self,
        generation: Generation,
        journal_bytes: u64,
    ) -> Result<(Counters, TrieCache), StoreError> {
        let mut stored = Vec::new();
        for (slot, touched) in mem::take(&mut self.heads) {
            if let Some(mut trie) = touched.trie {
                self.write_trie(slot, &mut trie)?;
                if !self.is_quarantined(slot) {
                    stored.push((slot, trie));
                }
            }
            if touched.is_changed {
                let key = slot_key(slot);
                touched.head.seal(&mut self.buffers.record, &key);
                // Slots only grow, so new heads fill pages one after another.
                let flags = if touched.is_new {
                    PutFlags::APPEND
                } else {
                    PutFlags::empty()
                };
                let put = self.tables.heads.put_with_flags(
                    &mut self.txn,
                    flags,
                    &key,
                    &self.buffers.record,
                );
                put.map_err(|error| self.engine(error))?;
            }
        }
        self.write_tallies()?;
        let record = CountersRecord {
            position: self.next.position,
            hlc: self.next.last_hlc.bits(),
        };
        seal(&mut self.buffers.record, META_COUNTERS, &record);
        self.put_meta(META_COUNTERS)?;
        let record = JournalRecord {
            generation: generation.number,
            seed: generation.seed,
        };
        seal(&mut self.buffers.record, META_JOURNAL, &record);
        self.put_meta(META_JOURNAL)?;
        let record = JournalFileRecord {
            bytes: journal_bytes,
        };
        seal(&mut self.buffers.record, META_JOURNAL_FILE, &record);
        self.put_meta(META_JOURNAL_FILE)?;
        let env = self.env;
        self.txn
            .commit()
            .map_err(|error| commit_error(error, env))?;
        // Not before: what is kept of a trie has to be what is stored of it.
        for (slot, trie) in stored {
            self.tries.keep(slot, trie);
        }
        Ok((self.next, self.tries))
    }

    /// Writes what has changed of a trie.
    pub(super) fn write_trie(
        &mut self,
        slot: ContextSlot,
        trie: &mut Trie,
    ) -> Result<(), StoreError> {
        let (table, txn) = (self.tables.trie, &mut self.txn);
        let Buffers { key, record, .. } = &mut self.buffers;
        let written = trie.flush(&mut |path, node| {
            write_node_key(key, slot, path);
            match node {
                Some(node) => {
                    seal(record, key, &TrieRow { node });
                    table.put(txn, key, record)
                }
                None => table.delete(txn, key).map(drop),
            }
        });
        written.map(drop).map_err(|error| self.engine(error))
    }

    /// Puts the record that was sealed last.
    pub(super) fn put_meta(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let put = self
            .tables
            .meta
            .put(&mut self.txn, key, &self.buffers.record);
        put.map_err(|error| self.engine(error))
    }
}
