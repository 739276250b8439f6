//! Where the nodes of tries are stored: the table `trie`, each node in a record of
//! its own. What a node is, is in `trie/`.

use heed::{RoTxn, WithoutTls};

use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{Table, slot_key};
use crate::record::{TrieRow, open};
use crate::trie::{NodePath, NodeSource, TrieError};

/// The stored nodes of one context.
pub(crate) struct TrieTable<'t> {
    pub(crate) table: Table,
    pub(crate) txn: &'t RoTxn<'t, WithoutTls>,
    pub(crate) slot: ContextSlot,
    /// What an error of the engine is here.
    pub(crate) failed: &'t dyn Fn(heed::Error) -> StoreError,
}

impl NodeSource for TrieTable<'_> {
    type Error = StoreError;

    fn node(&self, path: &NodePath) -> Result<Option<&[u8]>, StoreError> {
        let key = node_key(self.slot, path);
        let found = self.table.get(self.txn, &key);
        let found = found.map_err(self.failed)?;
        found
            .map(|bytes| Ok(open::<TrieRow>(&key, bytes)?.node.get()))
            .transpose()
    }
}

/// The key of a node.
pub(crate) fn node_key(slot: ContextSlot, path: &NodePath) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    write_node_key(&mut key, slot, path);
    key
}

/// The same, into a buffer that is used for many of them.
pub(crate) fn write_node_key(key: &mut Vec<u8>, slot: ContextSlot, path: &NodePath) {
    key.clear();
    key.extend_from_slice(&slot_key(slot));
    path.append_key(key);
}

/// What a failure to read a trie is.
pub(crate) fn unreadable_trie(slot: ContextSlot, error: TrieError<StoreError>) -> StoreError {
    match error {
        TrieError::Source(error) => error,
        TrieError::Damaged { path, why } => {
            StoreError::corrupt("node of a trie", &node_key(slot, &path), why)
        }
    }
}
