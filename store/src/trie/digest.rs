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

use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE as LANES, Platform};

/// A blake3 digest.
pub(crate) type Digest = [u8; 32];

/// The digest of nothing: an absent child, a group of absent children, an empty
/// trie.
pub(crate) const NOTHING: Digest = [0; 32];

const BUCKET: &[u8; 32] = b"CLB1 corelet trie: a bucket     ";
const GROUP: &[u8; 32] = b"CLG1 corelet trie: four children";
const INNER: &[u8; 32] = b"CLN1 corelet trie: an inner node";

#[cfg(test)]
std::thread_local! {
    /// How many digests this thread has worked out, of buckets, groups and inner nodes. Tests
    /// alone count them.
    pub(super) static HASHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
fn count(digests: usize) {
    HASHED.set(HASHED.get() + digests);
}

pub(super) fn bucket(entries: &[Digest]) -> Digest {
    #[cfg(test)]
    count(1);
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
        group => {
            #[cfg(test)]
            count(1);
            *blake3::keyed_hash(GROUP, group.as_flattened()).as_bytes()
        }
    }
}

pub(super) fn inner(groups: &[Digest; 4]) -> Digest {
    #[cfg(test)]
    count(1);
    *blake3::keyed_hash(INNER, groups.as_flattened()).as_bytes()
}

/// The digests of groups, not one of them empty, side by side.
pub(super) fn groups_at_once(groups: &[[Digest; 4]], digests: &mut Vec<Digest>) {
    at_once(GROUP, groups, digests);
}

/// The digests of inner nodes, side by side.
pub(super) fn inners_at_once(nodes: &[[Digest; 4]], digests: &mut Vec<Digest>) {
    at_once(INNER, nodes, digests);
}

/// What `blake3::keyed_hash` gives of each: two blocks, which are the only chunk of their tree.
/// The library offers this only to itself and to benchmarks; a test holds it against what it
/// offers to others.
fn at_once(key: &[u8; 32], all: &[[Digest; 4]], digests: &mut Vec<Digest>) {
    const CHUNK_START: u8 = 1;
    const CHUNK_END: u8 = 2;
    const ROOT: u8 = 8;
    const KEYED_HASH: u8 = 16;
    #[cfg(test)]
    count(all.len());
    let (words, _) = key.as_chunks();
    let key: [u32; 8] = std::array::from_fn(|at| u32::from_le_bytes(words[at]));
    let platform = Platform::detect();
    digests.clear();
    digests.resize(all.len(), NOTHING);
    for (four, out) in all.chunks(LANES).zip(digests.chunks_mut(LANES)) {
        let mut inputs = [&[0; 128]; LANES];
        for (input, four) in inputs.iter_mut().zip(four) {
            *input = flat(four);
        }
        platform.hash_many(
            &inputs[..four.len()],
            &key,
            0,
            IncrementCounter::No,
            KEYED_HASH,
            CHUNK_START,
            CHUNK_END | ROOT,
            out.as_flattened_mut(),
        );
    }
}

fn flat(four: &[Digest; 4]) -> &[u8; 128] {
    let bytes = four.as_flattened();
    bytes.try_into().expect("four times 32 bytes")
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
    fn side_by_side_they_are_the_same() {
        let four = |n: u8| [[n; 32], [1; 32], NOTHING, [n ^ 0x55; 32]];
        for count in 0..40 {
            let all: Vec<_> = (1..=count).map(four).collect();
            let mut found = vec![NOTHING];
            inners_at_once(&all, &mut found);
            assert_eq!(found, all.iter().map(inner).collect::<Vec<_>>());
            groups_at_once(&all, &mut found);
            let mut children = [NOTHING; 16];
            for (four, digest) in all.iter().zip(&found) {
                children[8..12].copy_from_slice(four);
                assert_eq!(*digest, group(&children, 2));
            }
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(groups(&[NOTHING; 16]), [NOTHING; 4]);
        assert_eq!(NOTHING, *crate::ids::Root::EMPTY.as_bytes());
    }
}
