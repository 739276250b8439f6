//! The Merkle tries of contexts: what sync asks of them, and what a check compares.

use super::{Snapshot, unreadable};
use crate::authors::Authors;
use crate::entry::{EntryDigest, Space};
use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot};
use crate::layout::{self, slot_key};
use crate::record::{Head, read_entry};
use crate::trie::{self, EntryPath, NodePath, StoredNode, TrieError};
use crate::trie_table::{TrieTable, unreadable_trie};

/// A node of a context's Merkle trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrieNode {
    /// It has more than 16 entries below it: its children, in ascending order.
    Inner(Vec<TrieChild>),
    /// All entries below it.
    Bucket(Vec<TrieEntry>),
}

/// A child of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrieChild {
    /// Which of 16.
    pub nibble: u8,
    /// The digest of everything below it.
    pub digest: [u8; 32],
    /// How many entries there are below it. No digest covers this number.
    pub entries: u64,
}

/// An entry as the trie has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieEntry {
    /// Its space.
    pub space: Space,
    /// Its key.
    pub key: Vec<u8>,
    /// The digest of key and state.
    pub digest: [u8; 32],
}

impl TrieEntry {
    fn of(key: &[u8], digest: [u8; 32]) -> Option<TrieEntry> {
        let (space, key) = layout::split_trie_entry(key)?;
        Some(TrieEntry {
            space,
            key: key.to_vec(),
            digest,
        })
    }
}

/// Some entries below a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriePage {
    /// In the order of their hashes.
    pub entries: Vec<TrieEntry>,
    /// Behind which hash to go on; `None` if there are no more.
    pub next: Option<[u8; 32]>,
}

/// What was compared of a node of a trie.
#[derive(Default)]
pub(crate) struct CheckedNode {
    /// Nodes, or entries and their bytes.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The entry to go on with; none if that was the last.
    pub(crate) next: Option<usize>,
}

impl Snapshot {
    /// The node of a context's Merkle trie to which these nibbles lead. `None` if there is
    /// none: then there are no entries there, or a node above lists them. Whether the context is in
    /// service is another question: [`quarantined`](Self::quarantined) answers it.
    pub fn trie_node(
        &self,
        slot: ContextSlot,
        nibbles: &[u8],
    ) -> Result<Option<TrieNode>, StoreError> {
        let Some(path) = NodePath::from_key(nibbles) else {
            return Ok(None);
        };
        let node = trie::children(&self.trie_table(slot), &path)
            .map_err(|error| unreadable_trie(slot, error))?
            .map(|node| match node {
                StoredNode::Inner(children) => {
                    let child = |(nibble, digest, entries): (usize, &[u8; 32], u64)| TrieChild {
                        nibble: nibble as u8,
                        digest: *digest,
                        entries,
                    };
                    TrieNode::Inner(children.iter().map(child).collect())
                }
                StoredNode::Bucket(bucket) => {
                    let entries = bucket.entries();
                    TrieNode::Bucket(
                        entries
                            .filter_map(|(key, digest)| TrieEntry::of(key, *digest))
                            .collect(),
                    )
                }
            });
        Ok(node)
    }

    /// Up to `limit` (at least 1) entries below the place to which these nibbles lead, behind a cursor
    /// that an earlier page gave, in the order of their hashes.
    pub fn trie_entries(
        &self,
        slot: ContextSlot,
        nibbles: &[u8],
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<TriePage, StoreError> {
        let Some(path) = NodePath::from_key(nibbles) else {
            return Ok(TriePage::default());
        };
        let context = self.head(slot)?.context;
        let after = after.map(EntryPath::from_bytes);
        let source = self.trie_table(slot);
        let page = trie::entries_below(&source, context.as_bytes(), &path, after.as_ref(), limit)
            .map_err(|error| unreadable_trie(slot, error))?;
        let entries = page.entries.into_iter();
        Ok(TriePage {
            entries: entries
                .filter_map(|(key, digest)| TrieEntry::of(&key, digest))
                .collect(),
            next: page.next.map(|path| *path.as_bytes()),
        })
    }

    /// Whether the context's trie has the root that its head says, as far as one
    /// look can tell. What lies below is checked where it is used.
    pub fn check_root(&self, slot: ContextSlot, head: &Head) -> Result<(), StoreError> {
        let (source, root) = (self.trie_table(slot), head.root);
        trie::check_root(&source, root.as_bytes(), head.replicated)
            .map_err(|error| unreadable_trie(slot, error))
    }

    /// Whether what lies right below one node of a trie is what it says. Of a bucket only
    /// entries from the `from`th on are compared, until they have had `bytes_max` bytes; at
    /// least one is.
    pub(crate) fn check_trie_node(
        &self,
        slot: ContextSlot,
        context: ContextId,
        path: &NodePath,
        authors: &Authors,
        from: usize,
        bytes_max: u64,
    ) -> Result<CheckedNode, StoreError> {
        let table = self.trie_table(slot);
        let unreadable = |error| unreadable_trie(slot, error);
        let listed: Vec<[u8; 32]> = match trie::children(&table, path).map_err(unreadable)? {
            Some(StoredNode::Bucket(bucket)) => {
                bucket.entries().map(|(_, digest)| *digest).collect()
            }
            Some(StoredNode::Inner(_)) | None => Vec::new(),
        };
        let mut digests = EntryDigest::default();
        let mut checked = CheckedNode::default();
        let mut at = 0;
        let below = trie::check_node(&table, context.as_bytes(), path, &mut |key| {
            let number = at;
            at += 1;
            if number < from || checked.next.is_some() {
                // As if it were right: it was compared, or will be.
                return Ok(listed.get(number).copied());
            }
            if checked.bytes >= bytes_max && number > from {
                checked.next = Some(number);
                return Ok(listed.get(number).copied());
            }
            checked.rows += 1;
            let (digest, bytes) = self.entry_digest(slot, key, &mut digests, authors)?;
            checked.bytes += bytes;
            Ok(digest)
        })
        .map_err(unreadable)?;
        if listed.is_empty() {
            checked.rows = below;
        }
        Ok(checked)
    }

    /// Whether the trie of a context has the entry that is stored under this key. A node that is
    /// damaged is told of where it is read by itself.
    pub(crate) fn check_is_listed(
        &self,
        slot: ContextSlot,
        head: &Head,
        full: &[u8],
    ) -> Result<(), StoreError> {
        let Some((_, space, key)) = layout::split_entry(full).filter(|it| it.1.is_replicated())
        else {
            return Ok(());
        };
        let mut name = Vec::with_capacity(1 + key.len());
        layout::trie_entry(&mut name, space, key);
        if head.replicated == 0 {
            let why = "its context has no entries";
            return Err(StoreError::corrupt("entry", full, why));
        }
        match trie::lists(&self.trie_table(slot), head.context.as_bytes(), &name) {
            Ok(true) | Err(TrieError::Damaged { .. }) => Ok(()),
            Ok(false) => {
                let why = "the trie of its context does not have it";
                Err(StoreError::corrupt("entry", full, why))
            }
            Err(error) => match unreadable_trie(slot, error) {
                StoreError::Corrupt { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Compares a context's trie with its entries, and gives how many nodes it has.
    pub(crate) fn check_trie(
        &self,
        head: &Head,
        slot: ContextSlot,
        authors: &Authors,
    ) -> Result<u64, StoreError> {
        let mut digests = EntryDigest::default();
        let mut digest_of = |key: &[u8]| {
            let (digest, _) = self.entry_digest(slot, key, &mut digests, authors)?;
            Ok(digest)
        };
        let checked = trie::check(
            &self.trie_table(slot),
            head.context.as_bytes(),
            head.root.as_bytes(),
            head.replicated,
            &mut digest_of,
        )
        .map_err(|error| unreadable_trie(slot, error))?;
        match checked.entries == head.replicated {
            true => Ok(checked.nodes),
            false => Err(StoreError::corrupt(
                "trie",
                &slot_key(slot),
                "it has not as many entries as its head counts",
            )),
        }
    }

    /// The digest of the entry that a bucket lists under this key, if it exists, and how many
    /// bytes were read for it.
    fn entry_digest(
        &self,
        slot: ContextSlot,
        key: &[u8],
        digests: &mut EntryDigest,
        authors: &Authors,
    ) -> Result<(Option<[u8; 32]>, u64), StoreError> {
        let corrupt = |why| StoreError::corrupt("node of a trie", key, why);
        let (space, key) = layout::split_trie_entry(key)
            .ok_or_else(|| corrupt("it lists a key of an unknown space"))?;
        let mut full = Vec::new();
        layout::entry_key(&mut full, slot, space, key);
        let Some(bytes) = self.get_raw(self.tables.entries, &full)? else {
            return Ok((None, 0));
        };
        let digest = digests.of(space, key, &read_entry(&full, bytes)?, authors);
        let unknown = |_| StoreError::corrupt("entry", &full, "its author is unknown");
        Ok((Some(digest.map_err(unknown)?), bytes.len() as u64))
    }

    pub(crate) fn trie_table(&self, slot: ContextSlot) -> TrieTable<'_> {
        TrieTable {
            table: self.tables.trie,
            txn: &self.txn,
            slot,
            failed: &unreadable,
        }
    }
}
