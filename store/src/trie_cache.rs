//! Tries in memory from one checkpoint to the next: of the contexts written last, as much
//! as there is room for. Without it, each checkpoint would begin with reading and hashing
//! every node again. Owned by the ledger's writer, and for the time of a transaction by
//! that (`apply/`). What a trie keeps of itself when there is little room is in
//! `trie/flush.rs`.
//!
//! A trie is in here only between two transactions. One that is taken out does not come back
//! unless its transaction is committed, and it is given only to who names the root and the
//! number of entries that it has: what those are of is the same state, however it came about.

use std::collections::BTreeMap;

use crate::ids::ContextSlot;
use crate::record::Head;
use crate::trie::Trie;

/// Bytes that a trie takes beside its nodes.
const TRIE_BYTES: usize = 512;

pub(crate) struct TrieCache {
    bytes_max: usize,
    bytes: usize,
    tries: BTreeMap<ContextSlot, Cached>,
    /// Who was used when, the longest ago first.
    uses: BTreeMap<u64, ContextSlot>,
    next_use: u64,
}

struct Cached {
    trie: Trie,
    used: u64,
}

impl TrieCache {
    pub(crate) fn new(bytes_max: usize) -> TrieCache {
        TrieCache {
            bytes_max,
            bytes: 0,
            tries: BTreeMap::new(),
            uses: BTreeMap::new(),
            next_use: 0,
        }
    }

    /// All of it, for a transaction. Nothing is left here.
    pub(crate) fn take_all(&mut self) -> TrieCache {
        let empty = TrieCache::new(self.bytes_max);
        std::mem::replace(self, empty)
    }

    /// The trie of the context in `slot`, if there is one that is as the head says. After
    /// this there is none in any case.
    pub(crate) fn take(&mut self, slot: ContextSlot, head: &Head) -> Option<Trie> {
        let trie = self.remove(slot)?;
        let (context, root) = (head.context.as_bytes(), head.root.as_bytes());
        Some(trie).filter(|trie| trie.is_stored_as(context, root, head.replicated))
    }

    /// Keeps a trie as it is stored. It gives up to half of the room to a single one, what
    /// is deepest in it last, and makes room by dropping those that were used the longest ago.
    pub(crate) fn keep(&mut self, slot: ContextSlot, mut trie: Trie) {
        self.forget(slot);
        trie.trim((self.bytes_max / 2).saturating_sub(TRIE_BYTES));
        if trie.nodes_loaded() == 0 {
            return;
        }
        let used = self.next_use;
        self.next_use += 1;
        self.bytes += weight(&trie);
        self.uses.insert(used, slot);
        self.tries.insert(slot, Cached { trie, used });
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.uses.first_key_value()
        {
            self.forget(*oldest);
        }
    }

    /// Drops the trie of the context in `slot`: somebody else writes there, or what is
    /// stored of it is in doubt.
    pub(crate) fn forget(&mut self, slot: ContextSlot) {
        self.remove(slot);
    }

    fn remove(&mut self, slot: ContextSlot) -> Option<Trie> {
        let Cached { trie, used } = self.tries.remove(&slot)?;
        self.uses.remove(&used);
        self.bytes -= weight(&trie);
        Some(trie)
    }
}

fn weight(trie: &Trie) -> usize {
    trie.bytes_loaded() + TRIE_BYTES
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::ids::{ContextId, Root};
    use crate::trie::{Intent, NOTHING, NodePath, NodeSource};

    struct NoNodes;

    impl NodeSource for NoNodes {
        type Error = Infallible;

        fn node(&self, _: &NodePath) -> Result<Option<&[u8]>, Infallible> {
            Ok(None)
        }
    }

    /// The trie of so many entries, and its context's head.
    fn trie_of(context: u8, entries: u32) -> (Trie, Head) {
        let id = [context; 32];
        let mut trie = Trie::open(id, NOTHING, 0).unwrap();
        for entry in 0..entries {
            let key = [&[0][..], &entry.to_le_bytes()].concat();
            let place = trie.load(&NoNodes, &key, Intent::Put).unwrap();
            trie.set(&place, &key, Some(&[1; 32]));
        }
        let Ok(root) = trie.flush::<Infallible>(&mut |_, _| Ok(()));
        let head = Head {
            root: Root::from_bytes(root),
            replicated: u64::from(entries),
            ..Head::new(ContextId::from_bytes(id))
        };
        (trie, head)
    }

    fn slot(number: u64) -> ContextSlot {
        ContextSlot::new(number)
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let (_, head) = trie_of(1, 1000);
        let each = weight(&trie_of(1, 1000).0);
        let mut cache = TrieCache::new(2 * each + each / 2);
        for number in [1, 2, 1, 3] {
            cache.keep(slot(number), trie_of(1, 1000).0);
            assert!(cache.bytes <= cache.bytes_max);
        }
        assert!(cache.take(slot(2), &head).is_none(), "it was the oldest");
        assert!(cache.take(slot(1), &head).is_some());
        assert!(cache.take(slot(1), &head).is_none(), "it is there once");
        assert!(cache.take(slot(3), &head).is_some());
        assert_eq!((cache.bytes, cache.uses.len()), (0, 0));
    }

    #[test]
    fn a_large_trie_keeps_its_upper_nodes_and_leaves_room_for_others() {
        let (large, head) = trie_of(1, 5000);
        let mut cache = TrieCache::new(large.bytes_loaded());
        let (small, small_head) = trie_of(2, 10);
        cache.keep(slot(2), small);
        cache.keep(slot(1), large);
        assert!(cache.bytes <= cache.bytes_max);
        assert!(cache.take(slot(2), &small_head).is_some());
        let large = cache.take(slot(1), &head).unwrap();
        assert!(large.nodes_loaded() > 20 && large.bytes_loaded() <= cache.bytes_max / 2);
        // Without any room there is nothing, and that does no harm.
        let mut cache = TrieCache::new(0);
        cache.keep(slot(1), large);
        assert!(cache.take(slot(1), &head).is_none());
    }
}
