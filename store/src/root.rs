//! The root: a digest of a context's state that one write changes in constant
//! time. The sum, modulo 2^256, of the digests of all entries: the order of
//! writes does not matter, and removing subtracts. Why a sum now and a Merkle
//! trie later: `store/decisions/0002-additive-root.md`. Pure functions.

use crate::change::EntryKind;
use crate::hlc::Hlc;
use crate::ids::{NodeId, Root};

/// Everything about an entry that nodes must agree on. The stamp and author
/// belong to it: two nodes that agree on a value but not on its stamp would
/// part at the next concurrent write.
pub(crate) struct EntryFacts<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) kind: EntryKind,
    pub(crate) hlc: Hlc,
    pub(crate) author: NodeId,
    pub(crate) value: &'a [u8],
}

/// A sum of entry digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct RootSum([u64; 4]);

impl RootSum {
    pub(crate) fn of(root: Root) -> RootSum {
        let (limbs, _) = root.as_bytes().as_chunks::<8>();
        RootSum(std::array::from_fn(|i| u64::from_le_bytes(limbs[i])))
    }

    pub(crate) fn root(self) -> Root {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *chunk = limb.to_le_bytes();
        }
        Root::from_bytes(bytes)
    }

    pub(crate) fn add(&mut self, entry: &EntryFacts<'_>) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(digest(entry)) {
            let (sum, over) = limb.overflowing_add(other);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over | over_carry;
        }
    }

    pub(crate) fn subtract(&mut self, entry: &EntryFacts<'_>) {
        let mut borrow = false;
        for (limb, other) in self.0.iter_mut().zip(digest(entry)) {
            let (difference, under) = limb.overflowing_sub(other);
            let (difference, under_borrow) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = under | under_borrow;
        }
    }
}

fn digest(entry: &EntryFacts<'_>) -> [u64; 4] {
    // Fixed fields and the key's length come first, so that no two entries
    // have the same bytes.
    let mut fixed = [0; 49];
    fixed[..4].copy_from_slice(b"CLE1");
    fixed[4] = entry.kind.number();
    fixed[5..13].copy_from_slice(&entry.hlc.bits().to_le_bytes());
    fixed[13..45].copy_from_slice(entry.author.as_bytes());
    let key_bytes = u32::try_from(entry.key.len()).expect("keys are at most KEY_BYTES_MAX long");
    fixed[45..].copy_from_slice(&key_bytes.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&fixed).update(entry.key).update(entry.value);
    RootSum::of(Root::from_bytes(*hasher.finalize().as_bytes())).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts<'a>(entry: &'a (Vec<u8>, Vec<u8>, u64)) -> EntryFacts<'a> {
        EntryFacts {
            key: &entry.0,
            kind: EntryKind::Register,
            hlc: Hlc::from_bits(entry.2),
            author: NodeId::from_bytes([3; 32]),
            value: &entry.1,
        }
    }

    fn sum<'a>(entries: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>, u64)>) -> RootSum {
        let mut sum = RootSum::default();
        for entry in entries {
            sum.add(&facts(entry));
        }
        sum
    }

    proptest! {
        #[test]
        fn the_order_of_entries_does_not_matter(
            (entries, shuffled) in prop::collection::vec(any::<(Vec<u8>, Vec<u8>, u64)>(), 0..20)
                .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle()))
        ) {
            prop_assert_eq!(sum(&entries), sum(&shuffled));
        }

        #[test]
        fn removing_undoes_adding(
            kept in prop::collection::vec(any::<(Vec<u8>, Vec<u8>, u64)>(), 0..10),
            gone in prop::collection::vec(any::<(Vec<u8>, Vec<u8>, u64)>(), 0..10),
        ) {
            let mut both = sum(kept.iter().chain(&gone));
            for entry in &gone {
                both.subtract(&facts(entry));
            }
            prop_assert_eq!(both, sum(&kept));
            prop_assert_eq!(RootSum::of(both.root()), both);
        }

        #[test]
        fn any_difference_shows(a in any::<(Vec<u8>, Vec<u8>, u64)>(), b in any::<(Vec<u8>, Vec<u8>, u64)>()) {
            prop_assert_eq!(a == b, sum([&a]) == sum([&b]));
        }
    }

    #[test]
    fn a_byte_cannot_wander_from_key_to_value() {
        let ab = (b"ab".to_vec(), b"c".to_vec(), 1);
        let a = (b"a".to_vec(), b"bc".to_vec(), 1);
        assert_ne!(sum([&ab]), sum([&a]));
    }

    #[test]
    fn the_empty_state_has_the_empty_root() {
        assert_eq!(RootSum::default().root(), Root::EMPTY);
    }
}
