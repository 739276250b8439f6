//! Where things are in a trie: the 64 nibbles of an entry's hash, and the first
//! of them, which name a node. No nodes here (see `node.rs`). Plain values,
//! owned by nobody.
//!
//! In a table, a node lies under one byte per nibble. So the root has an empty
//! key, a node on level `n` one of `n` bytes, and a parent sorts directly before
//! everything below it. Two nibbles to a byte would save a byte or two of some
//! six hundred, but a prefix would no longer be one: 16 children and 256 of
//! theirs do not fit into a byte.

use std::fmt;

use super::digest::Digest;

/// Nibbles of a hash, and so the deepest level.
pub(crate) const NIBBLES: usize = 64;

/// The hash of an entry's space and key. Keyed with the context's id, so that
/// nobody can prepare keys that lie deep in every trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryPath(Digest);

impl EntryPath {
    /// The path of `key`, whose first byte is the space, in a context.
    pub(crate) fn of(context: &[u8; 32], key: &[u8]) -> EntryPath {
        EntryPath(*blake3::keyed_hash(context, key).as_bytes())
    }

    /// The path with these bytes: a cursor that somebody else has kept.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> EntryPath {
        EntryPath(bytes)
    }

    /// The bytes of the path.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn nibble(&self, depth: usize) -> usize {
        nibble(&self.0, depth)
    }
}

/// The place of a node: the nibbles that every path below it begins with. The
/// order is that of the keys, a parent directly before its children.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodePath {
    /// Zero behind the depth.
    nibbles: Digest,
    depth: u8,
}

impl NodePath {
    pub(crate) const ROOT: NodePath = NodePath {
        nibbles: [0; 32],
        depth: 0,
    };

    /// The node on level `depth` on the way to an entry.
    pub(super) fn above(entry: &EntryPath, depth: usize) -> NodePath {
        assert!(depth <= NIBBLES);
        let mut nibbles = [0; 32];
        let whole = depth / 2;
        nibbles[..whole].copy_from_slice(&entry.0[..whole]);
        if depth % 2 == 1 {
            nibbles[whole] = entry.0[whole] & 0xf0;
        }
        NodePath {
            nibbles,
            depth: depth as u8,
        }
    }

    /// The place of one of the 16 children; `None` at the bottom.
    pub(crate) fn child(&self, nibble: usize) -> Option<NodePath> {
        assert!(nibble < 16);
        let depth = usize::from(self.depth);
        if depth == NIBBLES {
            return None;
        }
        let mut child = *self;
        child.nibbles[depth / 2] |= (nibble as u8) << if depth % 2 == 0 { 4 } else { 0 };
        child.depth += 1;
        Some(child)
    }

    /// How many nibbles it has.
    pub(crate) fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    pub(super) fn nibble(&self, depth: usize) -> usize {
        nibble(&self.nibbles, depth)
    }

    /// Whether the entry lies below this node.
    pub(super) fn contains(&self, entry: &EntryPath) -> bool {
        NodePath::above(entry, self.depth()) == *self
    }

    /// The first path that can lie below this node.
    pub(super) fn first_below(&self) -> EntryPath {
        EntryPath(self.nibbles)
    }

    /// The last path that can lie below this node.
    pub(super) fn last_below(&self) -> EntryPath {
        let mut path = self.nibbles;
        let whole = self.depth() / 2;
        if let Some((first, rest)) = path[whole..].split_first_mut() {
            *first |= if self.depth % 2 == 1 { 0x0f } else { 0xff };
            rest.fill(0xff);
        }
        EntryPath(path)
    }

    /// Appends the node's key to `out`.
    pub(crate) fn append_key(&self, out: &mut Vec<u8>) {
        out.extend((0..self.depth()).map(|depth| self.nibble(depth) as u8));
    }

    /// The node with this key; `None` if no node can have it.
    pub(crate) fn from_key(key: &[u8]) -> Option<NodePath> {
        key.iter().try_fold(NodePath::ROOT, |path, nibble| {
            (*nibble < 16).then(|| path.child(usize::from(*nibble)))?
        })
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        (0..self.depth()).try_for_each(|depth| write!(f, "{:x}", self.nibble(depth)))
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePath({self})")
    }
}

fn nibble(bytes: &Digest, depth: usize) -> usize {
    let byte = bytes[depth / 2];
    usize::from(if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0x0f
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(path: &NodePath) -> Vec<u8> {
        let mut key = Vec::new();
        path.append_key(&mut key);
        key
    }

    fn places() -> impl Strategy<Value = NodePath> {
        (any::<[u8; 32]>(), 0..=NIBBLES)
            .prop_map(|(bytes, depth)| NodePath::above(&EntryPath(bytes), depth))
    }

    proptest! {
        #[test]
        fn a_key_is_its_place_again_and_sorts_like_it(a in places(), b in places()) {
            prop_assert_eq!(NodePath::from_key(&key(&a)), Some(a));
            prop_assert_eq!(a.cmp(&b), key(&a).cmp(&key(&b)));
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes in prop::collection::vec(0..18_u8, 0..70)) {
            let good = bytes.len() <= NIBBLES && bytes.iter().all(|nibble| *nibble < 16);
            let path = NodePath::from_key(&bytes);
            prop_assert_eq!(path.is_some(), good);
            if let Some(path) = path {
                prop_assert_eq!(key(&path), bytes);
            }
        }

        #[test]
        fn a_node_contains_what_begins_with_it(bytes in any::<[u8; 32]>(), depth in 0..NIBBLES) {
            let entry = EntryPath(bytes);
            let node = NodePath::above(&entry, depth);
            prop_assert!(node.contains(&entry));
            prop_assert!(node.contains(&node.last_below()));
            prop_assert!(entry <= node.last_below());
            for nibble in 0..16 {
                let child = node.child(nibble).unwrap();
                prop_assert_eq!(child.contains(&entry), nibble == entry.nibble(depth));
                prop_assert_eq!(child.nibble(depth), nibble);
                prop_assert!(child > node && node.contains(&child.last_below()));
            }
        }
    }

    #[test]
    fn below_the_bottom_is_nothing() {
        let bottom = NodePath::above(&EntryPath([0xff; 32]), NIBBLES);
        assert_eq!(bottom.child(0), None);
        assert_eq!(bottom.last_below(), EntryPath([0xff; 32]));
        assert_eq!(NodePath::ROOT.to_string(), "/");
        assert_eq!(bottom.to_string().len(), 1 + NIBBLES);
    }
}
