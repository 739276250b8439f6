//! Whether the trie that comes in is the one of the entries that come in, while they do: each node
//! has to be the one that the node above it means, and the entries that buckets list have to be
//! those of the rows. They come in the order of their hashes there and of their keys here, so
//! sums over both are compared; each term is a checksum under a seed that is drawn for the
//! import, so that no file can be made of which other entries come to the same. (Who wants to
//! deceive has no need to: other entries with the trie that is theirs agree as well, and then
//! it is for seals to say whose they are.) Nothing is read again for it.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::entry::{AuthorNames, EntryDigest, Space, Stored};
use crate::error::{ImportError, StoreError};
use crate::ids::{ContextId, Root};
use crate::layout;
use crate::trie::{self, Digest, EntryPath, NOTHING, NodePath, NodeSource, StoredNode, TrieError};

/// What came in so far.
pub(super) struct IncomingTrie {
    context: ContextId,
    /// Nodes that are to come, the next one last.
    expected: Vec<Expected>,
    seed: u64,
    digests: EntryDigest,
    /// Of the entries that came by themselves, and of those that buckets list.
    entries: Sum,
    listed: Sum,
    key: Vec<u8>,
    scratch: Vec<u8>,
}

struct Expected {
    path: NodePath,
    digest: Digest,
    count: u64,
}

/// A sum of hashes that does not depend on their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    sum: u128,
}

impl Sum {
    /// `scratch` holds digest and key behind one another for a moment.
    fn add(&mut self, seed: u64, scratch: &mut Vec<u8>, digest: &Digest, key: &[u8]) {
        scratch.clear();
        scratch.extend_from_slice(digest);
        scratch.extend_from_slice(key);
        self.sum = self.sum.wrapping_add(xxh3_128_with_seed(scratch, seed));
        self.count += 1;
    }
}

/// The bytes of one node, which is all that its check needs.
struct OneNode<'n>(&'n [u8]);

impl NodeSource for OneNode<'_> {
    type Error = StoreError;

    fn node(&self, _: &NodePath) -> Result<Option<&[u8]>, StoreError> {
        Ok(Some(self.0))
    }
}

impl IncomingTrie {
    /// Of a context that is said to have this root and so many entries.
    pub(super) fn new(context: ContextId, root: Root, count: u64) -> IncomingTrie {
        let digest = *root.as_bytes();
        let is_empty = digest == NOTHING && count == 0;
        let top = Expected {
            path: NodePath::ROOT,
            digest,
            count,
        };
        IncomingTrie {
            context,
            expected: if is_empty { vec![] } else { vec![top] },
            seed: getrandom::u64().expect("Linux gives random bytes once it has booted"),
            digests: EntryDigest::default(),
            entries: Sum::default(),
            listed: Sum::default(),
            key: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// An entry that is written with numbers of `authors`. One that has others is passed over: who
    /// takes it in refuses it.
    pub(super) fn entry(
        &mut self,
        space: Space,
        key: &[u8],
        entry: &Stored<'_>,
        authors: &impl AuthorNames,
    ) {
        if !space.is_replicated() {
            return;
        }
        let Ok(digest) = self.digests.of(space, key, entry, authors) else {
            return;
        };
        layout::trie_entry(&mut self.key, space, key);
        let Self {
            seed,
            entries,
            scratch,
            key,
            ..
        } = self;
        entries.add(*seed, scratch, &digest, key);
    }

    /// The next node, in the order of paths: each before those below it.
    pub(super) fn node(&mut self, nibbles: &[u8], bytes: &[u8]) -> Result<(), ImportError> {
        let path = NodePath::from_key(nibbles);
        let expected = self.expected.pop();
        let Some(expected) = expected.filter(|next| Some(next.path) == path) else {
            return Err(self.wrong(nibbles, "no node belongs there"));
        };
        let path = &expected.path;
        let damaged = |error| match error {
            TrieError::Damaged { why, .. } => why,
            TrieError::Source(_) => "it cannot be read",
        };
        let source = OneNode(bytes);
        let node =
            trie::children(&source, path).map_err(|error| self.wrong(nibbles, damaged(error)))?;
        let node = node.ok_or_else(|| self.wrong(nibbles, "it is missing"))?;
        if node.count() != expected.count || node.digest() != expected.digest {
            let why = "it is not the node that the one above it means";
            return Err(self.wrong(nibbles, why));
        }
        match node {
            StoredNode::Inner(children) => {
                let from = self.expected.len();
                for (nibble, digest, count) in children.iter() {
                    let path = path.child(nibble);
                    let path = path.expect("an inner node is above the bottom");
                    let digest = *digest;
                    self.expected.push(Expected {
                        path,
                        digest,
                        count,
                    });
                }
                self.expected[from..].reverse();
            }
            StoredNode::Bucket(bucket) => {
                for (key, digest) in bucket.entries() {
                    let hash = EntryPath::of(self.context.as_bytes(), key);
                    if !is_below(&hash, nibbles) {
                        let why = "a key in it belongs into another node";
                        return Err(self.wrong(nibbles, why));
                    }
                    let Self {
                        seed,
                        listed,
                        scratch,
                        ..
                    } = self;
                    listed.add(*seed, scratch, digest, key);
                }
            }
        }
        Ok(())
    }

    /// Everything came.
    pub(super) fn finish(&self) -> Result<(), ImportError> {
        if let Some(missing) = self.expected.last() {
            let mut nibbles = Vec::new();
            missing.path.append_key(&mut nibbles);
            return Err(self.wrong(&nibbles, "it is missing"));
        }
        match self.entries == self.listed {
            true => Ok(()),
            false => Err(self.wrong(&[], "it lists other entries than there are")),
        }
    }

    fn wrong(&self, nibbles: &[u8], why: &'static str) -> ImportError {
        ImportError::Disagrees {
            context: self.context,
            source: StoreError::corrupt("node of a trie", nibbles, why),
        }
    }
}

fn is_below(hash: &EntryPath, nibbles: &[u8]) -> bool {
    let bytes = hash.as_bytes().iter();
    let of_hash = bytes.flat_map(|byte| [byte >> 4, byte & 15]);
    of_hash.zip(nibbles).all(|(one, other)| one == *other)
}
