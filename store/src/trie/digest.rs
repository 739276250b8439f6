//! The digests of nodes. What they are digests of is in `bucket.rs` and
//! `inner.rs`. Pure functions.
//!
//! A bucket's is the hash of its entries' digests in the order of their keys. An
//! inner node's is the hash of four, each the hash of four children, where one
//! that is not there counts as zeros, so that every child has its place. Each of
//! these three hashes has its own key, so that none passes for another.
//!
//! Why groups of four: a block of blake3 is two digests and takes 70 ns. When
//! one child has changed, a list of sixteen is hashed again as a whole (8 blocks,
//! 550 ns), a binary tree along one path (4 blocks, 290 ns), groups of four as
//! well (2 + 2 blocks, 300 ns); but to check a node that is read they need 10
//! blocks instead of 15, and in memory 128 bytes instead of 448. A bucket stays
//! a list: 9 entries or so are 5 blocks, of which groups would save one.

/// A blake3 digest.
pub(crate) type Digest = [u8; 32];

/// The digest of nothing: an absent child, a group of absent children, an empty
/// trie.
pub(crate) const NOTHING: Digest = [0; 32];

const BUCKET: &[u8; 32] = b"CLB1 corelet trie: a bucket     ";
const GROUP: &[u8; 32] = b"CLG1 corelet trie: four children";
const INNER: &[u8; 32] = b"CLN1 corelet trie: an inner node";

pub(super) fn bucket(entries: &[Digest]) -> Digest {
    *blake3::keyed_hash(BUCKET, entries.as_flattened()).as_bytes()
}

/// The digests of all four groups of an inner node.
pub(super) fn groups(children: &[Digest; 16]) -> [Digest; 4] {
    std::array::from_fn(|number| group(children, number))
}

/// The digest of one group of an inner node.
pub(super) fn group(children: &[Digest; 16], number: usize) -> Digest {
    let (groups, _) = children.as_chunks::<4>();
    match &groups[number] {
        [NOTHING, NOTHING, NOTHING, NOTHING] => NOTHING,
        group => *blake3::keyed_hash(GROUP, group.as_flattened()).as_bytes(),
    }
}

pub(super) fn inner(groups: &[Digest; 4]) -> Digest {
    *blake3::keyed_hash(INNER, groups.as_flattened()).as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_hash_has_its_own_key_and_each_child_its_place() {
        let four = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let mut seen = BTreeSet::from([bucket(&four), inner(&four)]);
        for at in 0..13 {
            let mut children = [NOTHING; 16];
            children[at..at + 4].copy_from_slice(&four);
            seen.insert(inner(&groups(&children)));
        }
        let mut children = [NOTHING; 16];
        children[4..8].copy_from_slice(&four);
        assert_eq!(groups(&children)[0], NOTHING);
        seen.insert(groups(&children)[1]);
        assert_eq!(seen.len(), 2 + 13 + 1);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(groups(&[NOTHING; 16]), [NOTHING; 4]);
        assert_eq!(NOTHING, *crate::ids::Root::EMPTY.as_bytes());
    }
}
