//! Seals: proof of who has made a delta. An author signs the newest of its deltas in a
//! context; that one names its parents by their digests, so the signature vouches for
//! every earlier delta of the same author below it. One signature covers the newest
//! deltas of many contexts, which are the leaves of a small hash tree; a seal is the
//! signature and the path of one leaf. Plain values, no storage; keys stay with who
//! signs. Which deltas a seal vouches for is worked out in `pending/`, where it is kept is
//! `apply/seals.rs`. The reasons are in `store/decisions/0010-seals.md`. Start at
//! [`make_seals`] and [`Seal::check`].
//!
//! A seal's canonical bytes: version 1 (1), author (32), signature (64), on which side the
//! siblings stand (4, little-endian, the lowest bit for the one next to the leaf, 1 for
//! left), their number (1), siblings (32 each, the one next to the leaf first).
//!
//! Hashed with blake3: a leaf is "CLL1", context (32), delta (32); a node is "CLN1", left
//! (32), right (32); a node without a partner moves up as it is. Signed is
//! "corelet/v1/delta", a zero byte, "CLS1" and the top.

mod branch;
mod tree;

use std::collections::HashSet;

use ed25519_dalek::{Signature, VerifyingKey};

use crate::ids::{ContextId, DeltaId, NodeId};

pub use branch::{BRANCH_BYTES_MAX, BRANCH_DELTAS_MAX, BadBranch, Branch, Fork};

/// The most siblings in a seal.
pub const SEAL_PATH_MAX: usize = 20;

/// The most deltas that one signature can cover.
pub const SEAL_LEAVES_MAX: usize = 1 << SEAL_PATH_MAX;

/// The longest seal.
pub const SEAL_BYTES_MAX: usize = SEAL_BYTES_MIN + 32 * SEAL_PATH_MAX;

const SEAL_BYTES_MIN: usize = 1 + 32 + 64 + 4 + 1;

/// Signatures that a [`SealChecker`] remembers: some hundred kilobytes.
const CHECKED_MAX: usize = 1024;

const VERSION: u8 = 1;

/// What is signed begins with this: a purpose of the node's key, ended by a zero byte, so
/// that nothing that was signed for another purpose can be taken for a seal.
const SIGNED_FOR: &[u8] = b"corelet/v1/delta\0";

/// What the signer is handed begins with this.
const MESSAGE: &[u8; 4] = b"CLS1";

/// Signs for a node, whose key stays where it is.
pub trait Sealer {
    /// Whose signature it is: the public key.
    fn node_id(&self) -> NodeId;

    /// The Ed25519 signature of "corelet/v1/delta", a zero byte and `message`.
    fn sign_delta(&self, message: &[u8]) -> [u8; 64];
}

/// A signature and the path from one delta to it. Says nothing until it was
/// [checked](Seal::check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    author: NodeId,
    signature: [u8; 64],
    /// A bit for each sibling: whether it stands on the left.
    sides: u32,
    siblings: Box<[[u8; 32]]>,
}

/// Bytes that are no seal, or one that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSeal {
    /// The bytes are malformed.
    #[error("not a seal: {0}")]
    Malformed(&'static str),
    /// The signature is not its author's over this delta.
    #[error("the seal is not one of {author} on delta {delta}")]
    NotSigned {
        /// Who should have signed.
        author: NodeId,
        /// What should have been signed.
        delta: DeltaId,
    },
}

/// The receipt: the author of the seal has signed this delta. Whether it has made it, too, is
/// known with the delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    context: ContextId,
    delta: DeltaId,
    seal: Seal,
}

/// Seals the newest deltas of one node in several contexts with one signature, each context
/// once. Gives a seal for each, in the same order; none for none, or for more than
/// [`SEAL_LEAVES_MAX`].
pub fn make_seals(sealer: &impl Sealer, newest: &[(ContextId, DeltaId)]) -> Vec<Seal> {
    if newest.is_empty() || newest.len() > SEAL_LEAVES_MAX {
        return Vec::new();
    }
    let leaves = newest
        .iter()
        .map(|(context, delta)| tree::leaf(context, delta));
    let tree = tree::Tree::over(leaves.collect());
    let author = sealer.node_id();
    let signature = sealer.sign_delta(&message(&tree.top()));
    let seal = |at| {
        let (sides, siblings) = tree.path(at);
        Seal {
            author,
            signature,
            sides,
            siblings: siblings.into(),
        }
    };
    (0..newest.len()).map(seal).collect()
}

fn message(top: &[u8; 32]) -> [u8; 36] {
    let mut message = [0; 36];
    message[..4].copy_from_slice(MESSAGE);
    message[4..].copy_from_slice(top);
    message
}

impl Seal {
    /// Who has signed, as the seal says.
    pub fn author(&self) -> NodeId {
        self.author
    }

    /// Reads canonical bytes: each seal has one form.
    pub fn read(bytes: &[u8]) -> Result<Seal, BadSeal> {
        let short = BadSeal::Malformed("it ends too early");
        let (&[version], rest) = bytes.split_first_chunk().ok_or(short)?;
        if version != VERSION {
            return Err(BadSeal::Malformed("its version is unknown to this program"));
        }
        let (author, rest) = rest.split_first_chunk::<32>().ok_or(short)?;
        let (signature, rest) = rest.split_first_chunk::<64>().ok_or(short)?;
        let (sides, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        let (&[count], rest) = rest.split_first_chunk().ok_or(short)?;
        let (sides, count) = (u32::from_le_bytes(*sides), usize::from(count));
        if count > SEAL_PATH_MAX {
            return Err(BadSeal::Malformed("its path is too long"));
        }
        if sides >> count != 0 {
            return Err(BadSeal::Malformed("it has more sides than siblings"));
        }
        let (siblings, tail) = rest.as_chunks::<32>();
        if siblings.len() != count || !tail.is_empty() {
            return Err(BadSeal::Malformed("it has not as many siblings as it says"));
        }
        Ok(Seal {
            author: NodeId::from_bytes(*author),
            signature: *signature,
            sides,
            siblings: siblings.into(),
        })
    }

    /// Appends the canonical bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(self.author.as_bytes());
        out.extend_from_slice(&self.signature);
        out.extend_from_slice(&self.sides.to_le_bytes());
        out.push(u8::try_from(self.siblings.len()).expect("a path is at most 20 long"));
        out.extend_from_slice(self.siblings.as_flattened());
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        self.write(&mut out);
        out
    }

    pub(crate) fn bytes(&self) -> usize {
        SEAL_BYTES_MIN + 32 * self.siblings.len()
    }

    /// Checks that it is a seal on this delta. Strict: weak keys and second forms of a
    /// signature are refused, so that all nodes agree on what holds.
    pub fn check(self, context: ContextId, delta: DeltaId) -> Result<Sealed, BadSeal> {
        SealChecker::default().check(self, context, delta)
    }

    /// What was signed, if it is a seal on this delta.
    fn top(&self, context: &ContextId, delta: &DeltaId) -> [u8; 32] {
        let leaf = tree::leaf(context, delta);
        let siblings = self.siblings.iter().enumerate();
        siblings.fold(leaf, |below, (at, sibling)| match self.sides >> at & 1 {
            0 => tree::node(&below, sibling),
            _ => tree::node(sibling, &below),
        })
    }

    fn is_signed(&self, top: &[u8; 32]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(self.author.as_bytes()) else {
            return false;
        };
        let signed = [SIGNED_FOR, &message(top)].concat();
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&signed, &signature).is_ok()
    }
}

/// Checks seals, each signature once: those of a batch of contexts share one.
#[derive(Debug, Default)]
pub struct SealChecker {
    /// Author, top and signature of what was found to hold.
    checked: HashSet<(NodeId, [u8; 32], [u8; 64])>,
}

impl SealChecker {
    /// See [`Seal::check`].
    pub fn check(
        &mut self,
        seal: Seal,
        context: ContextId,
        delta: DeltaId,
    ) -> Result<Sealed, BadSeal> {
        let top = seal.top(&context, &delta);
        let signed = (seal.author, top, seal.signature);
        if !self.checked.contains(&signed) {
            if !seal.is_signed(&top) {
                let author = seal.author;
                return Err(BadSeal::NotSigned { author, delta });
            }
            if self.checked.len() >= CHECKED_MAX {
                self.checked.clear();
            }
            self.checked.insert(signed);
        }
        Ok(Sealed {
            context,
            delta,
            seal,
        })
    }
}

impl Sealed {
    /// One that was checked before it came into this ledger.
    pub(crate) fn of_ledger(context: ContextId, delta: DeltaId, seal: Seal) -> Sealed {
        Sealed {
            context,
            delta,
            seal,
        }
    }

    /// The context of the delta.
    pub fn context(&self) -> ContextId {
        self.context
    }

    /// The delta that was signed.
    pub fn delta(&self) -> DeltaId {
        self.delta
    }

    /// Who has signed it.
    pub fn author(&self) -> NodeId {
        self.seal.author
    }

    /// The seal, to be sent on.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }
}

#[cfg(test)]
pub(crate) mod tests;
