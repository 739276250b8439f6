//! The root: a digest of a context's state that one write changes in constant
//! time. The sum, modulo 2^256, of the digests of all entries: the order of
//! writes does not matter, and removing subtracts. Why a sum now and a Merkle
//! trie later: `store/decisions/0002-additive-root.md`. Pure functions.

use crate::ids::Root;

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

    pub(crate) fn add(&mut self, digest: [u8; 32]) {
        let mut carry = false;
        for (limb, other) in self
            .0
            .iter_mut()
            .zip(RootSum::of(Root::from_bytes(digest)).0)
        {
            let (sum, over) = limb.overflowing_add(other);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over | over_carry;
        }
    }

    pub(crate) fn subtract(&mut self, digest: [u8; 32]) {
        let mut borrow = false;
        for (limb, other) in self
            .0
            .iter_mut()
            .zip(RootSum::of(Root::from_bytes(digest)).0)
        {
            let (difference, under) = limb.overflowing_sub(other);
            let (difference, under_borrow) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = under | under_borrow;
        }
    }
}
