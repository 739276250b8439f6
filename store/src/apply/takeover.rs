//! Bringing the tables of a ledger of format 3 into this format. When and why is in
//! `crate::takeover`.

use std::ops::Bound;

use super::{Pass, Stop, TouchedHead, fatal};
use crate::change::CallEffects;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, Root};
use crate::layout::{self, FORMAT_VERSION, META_FORMAT, slot_key};
use crate::ledger::engine_error;
use crate::record::{FormatRecord, GraveRow, GraveRowOfFormat3, Head, open, read_entry, seal};
use crate::takeover::LOG_PRUNED;
use crate::trie::{Digest, Intent, NOTHING, Trie};
use crate::trie_table::{TrieTable, unreadable_trie};
use crate::version::Dot;

/// Entries that are brought into a trie before its nodes are written.
const LEAVES_AT_ONCE: usize = 8192;

/// Bytes of a trie's nodes in memory in between.
const TRIE_BYTES_MAX: usize = 16 << 20;

impl Pass<'_> {
    /// Brings everything but the journal into this format.
    pub(crate) fn take_over(&mut self) -> Result<(), StoreError> {
        self.has_written = true;
        let cleared = self.tables.log.clear(&mut self.txn);
        cleared.map_err(|error| self.engine(error))?;
        self.take_over_graves()?;
        let rows = self.tables.heads.iter(&self.txn);
        let mut heads = Vec::new();
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            let slot = layout::read_u64(key).map(ContextSlot::new).ok_or_else(|| {
                StoreError::corrupt("head record", key, "its key is not 8 bytes long")
            })?;
            heads.push((slot, Head::read_format_3(key, bytes)?));
        }
        for (slot, mut head) in heads {
            head.log_last = 0;
            if !head.deltas.is_empty() {
                head.log_pruned = LOG_PRUNED;
            }
            // One node has made them all, under whatever number.
            for author in self.authors.numbers().filter(|_| head.hlc > Hlc::ZERO) {
                let hlc = head.hlc;
                head.seen.see(Dot { author, hlc });
            }
            self.make_trie(slot, &mut head)?;
            let touched = TouchedHead {
                is_changed: true,
                ..TouchedHead::new(head)
            };
            self.heads.insert(slot, touched);
        }
        let format = FormatRecord {
            version: FORMAT_VERSION,
        };
        seal(&mut self.buffers.record, META_FORMAT, &format);
        self.put_meta(META_FORMAT)
    }

    /// Makes a call of the journal again, as a call of this format.
    pub(crate) fn replay_call(&mut self, call: &CallEffects) -> Result<(), StoreError> {
        let corrupt = |why| StoreError::corrupt("journaled delta", &slot_key(call.slot), why);
        self.head(call.slot)
            .map_err(fatal)?
            .filter(|head| head.context == call.context)
            .ok_or_else(|| corrupt("its context does not exist"))?;
        match self.call_in(call.slot, call) {
            Ok(_) => Ok(()),
            Err(Stop::Refuse(Refused::Damaged { source })) => Err(source),
            Err(Stop::Refuse(_)) => Err(corrupt("the state does not take it any more")),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    /// The log of a deleted context is gone already.
    fn take_over_graves(&mut self) -> Result<(), StoreError> {
        let rows = self.tables.graves.iter(&self.txn);
        let mut graves = Vec::new();
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            let context = open::<GraveRowOfFormat3>(key, bytes)?.context;
            graves.push((key.to_vec(), context));
        }
        for (key, context) in graves {
            let row = GraveRow {
                context,
                log_last: 0,
                log_pruned: 0,
            };
            seal(&mut self.buffers.record, &key, &row);
            let put = self
                .tables
                .graves
                .put(&mut self.txn, &key, &self.buffers.record);
            put.map_err(|error| self.engine(error))?;
        }
        Ok(())
    }

    /// Makes the trie of a context's entries.
    fn make_trie(&mut self, slot: ContextSlot, head: &mut Head) -> Result<(), StoreError> {
        let context = *head.context.as_bytes();
        let mut trie = Trie::open(context, NOTHING, 0).expect("it is said twice to be empty");
        let mut after = Vec::new();
        loop {
            let leaves = self.leaves(slot, &after)?;
            let Some((last, _)) = leaves.last() else {
                break;
            };
            after.clone_from(last);
            trie.begin_round();
            for (key, digest) in &leaves {
                let env = self.env;
                let source = TrieTable {
                    table: self.tables.trie,
                    txn: &self.txn,
                    slot,
                    failed: &|error| engine_error("read a trie of", error, env),
                };
                let (_, space, name) = layout::split_entry(key).expect("`leaves` has done so");
                let mut leaf = Vec::new();
                layout::trie_entry(&mut leaf, space, name);
                let place = trie.load(&source, &leaf, Intent::Put);
                let place = place.map_err(|error| unreadable_trie(slot, error))?;
                trie.set(&place, &leaf, Some(digest));
            }
            self.write_trie(slot, &mut trie)?;
            trie.trim(TRIE_BYTES_MAX);
        }
        head.root = Root::from_bytes(trie.root());
        head.replicated = trie.entries();
        Ok(())
    }

    /// Some entries of a context behind the key `after`, with their digests. They lie in
    /// the shared space alone.
    fn leaves(
        &mut self,
        slot: ContextSlot,
        after: &[u8],
    ) -> Result<Vec<(Vec<u8>, Digest)>, StoreError> {
        let prefix = slot_key(slot);
        let start = match after {
            [] => Bound::Included(&prefix[..]),
            after => Bound::Excluded(after),
        };
        let mut leaves = Vec::new();
        let rows = (self.tables.entries).range(&self.txn, &(start, Bound::Unbounded));
        for row in rows
            .map_err(|error| self.engine(error))?
            .take(LEAVES_AT_ONCE)
        {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            if !key.starts_with(&prefix) {
                break;
            }
            let corrupt = |why| StoreError::corrupt("entry", key, why);
            let (_, space, name) =
                layout::split_entry(key).ok_or_else(|| corrupt("its space is unknown"))?;
            let entry = read_entry(key, bytes)?;
            let digest = self.digests.of(space, name, &entry, &self.authors);
            let digest = digest.map_err(|_| corrupt("its author is unknown to the ledger"))?;
            leaves.push((key.to_vec(), digest));
        }
        Ok(leaves)
    }
}
