//! The hash tree below a signature. Leaves and inner nodes are hashed differently, so
//! that none can be taken for the other.

use crate::ids::{ContextId, DeltaId};

pub(super) fn leaf(context: &ContextId, delta: &DeltaId) -> [u8; 32] {
    hash(b"CLL1", context.as_bytes(), delta.as_bytes())
}

pub(super) fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    hash(b"CLN1", left, right)
}

fn hash(kind: &[u8; 4], one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let mut bytes = [0; 68];
    bytes[..4].copy_from_slice(kind);
    bytes[4..36].copy_from_slice(one);
    bytes[36..].copy_from_slice(other);
    *blake3::hash(&bytes).as_bytes()
}

/// All levels, the leaves first. There is one node at the top.
pub(super) struct Tree(Vec<Vec<[u8; 32]>>);

impl Tree {
    /// Over at least one leaf.
    pub(super) fn over(leaves: Vec<[u8; 32]>) -> Tree {
        assert!(!leaves.is_empty(), "callers bring a leaf");
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                alone => alone[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Tree(levels)
    }

    pub(super) fn top(&self) -> [u8; 32] {
        let top = self.0.last().and_then(|level| level.first());
        *top.expect("there is a leaf, and so a top")
    }

    /// The siblings on the way up from a leaf, and on which sides they stand.
    pub(super) fn path(&self, mut at: usize) -> (u32, Vec<[u8; 32]>) {
        let (mut sides, mut siblings) = (0, Vec::new());
        for level in &self.0 {
            if let Some(sibling) = level.get(at ^ 1) {
                sides |= u32::from(at % 2 == 1) << siblings.len();
                siblings.push(*sibling);
            }
            at /= 2;
        }
        (sides, siblings)
    }
}
