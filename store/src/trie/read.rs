//! Reading a stored trie, for nodes that look for where they differ. It needs
//! nothing but the source, which shows one moment. Changing is in `load.rs` and
//! `change.rs`.

use super::bucket::BucketView;
use super::digest::Digest;
use super::node::{self, Expected, StoredNode};
use super::path::{EntryPath, NodePath};
use super::{NodeSource, TrieError};

/// Some entries of a trie, in the order of their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Keys, whose first byte is the space, and digests.
    pub(crate) entries: Vec<(Vec<u8>, Digest)>,
    /// Behind which path to go on; `None` if there is no more.
    pub(crate) next: Option<EntryPath>,
}

/// The node under `path`: the children of an inner one, the entries of a
/// bucket. `None` if no node is stored there: then either there are no entries,
/// or a bucket above lists them, and [`entries_below`] finds them.
pub(crate) fn children<'s, S: NodeSource + ?Sized>(
    source: &'s S,
    path: &NodePath,
) -> Result<Option<StoredNode<'s>>, TrieError<S::Error>> {
    node::read(source, path)
}

/// Up to `limit` entries whose paths begin with that of the node, behind `after`,
/// whatever form the trie has there. The order and so the cursor hold while
/// entries come and go.
pub(crate) fn entries_below<S: NodeSource + ?Sized>(
    source: &S,
    context: &[u8; 32],
    path: &NodePath,
    after: Option<&EntryPath>,
    limit: usize,
) -> Result<Page, TrieError<S::Error>> {
    assert!(limit > 0, "a page without entries has no end to go on from");
    let mut walk = Walk {
        source,
        context,
        below: path,
        after,
        limit,
        found: Vec::new(),
    };
    if let Some(top) = node::read(source, &NodePath::ROOT)? {
        walk.visit(top, &NodePath::ROOT)?;
    }
    // One more than asked for says that there is more.
    let has_more = walk.found.len() > limit;
    walk.found.truncate(limit);
    let last = walk.found.last().map(|(path, _)| *path);
    Ok(Page {
        next: last.filter(|_| has_more),
        entries: walk.found.into_iter().map(|(_, entry)| entry).collect(),
    })
}

/// Whether the trie, which is not empty, has an entry under this key, whose first byte is the space. What cannot be
/// told, as a node on the way there is missing, counts as if it had: who looks at nodes tells of that.
pub(crate) fn lists<S: NodeSource + ?Sized>(
    source: &S,
    context: &[u8; 32],
    key: &[u8],
) -> Result<bool, TrieError<S::Error>> {
    let entry = EntryPath::of(context, key);
    let mut at = NodePath::ROOT;
    loop {
        match node::read(source, &at)? {
            None => return Ok(true),
            Some(StoredNode::Bucket(bucket)) => return Ok(bucket.find(key).is_ok()),
            Some(StoredNode::Inner(children)) => {
                let nibble = entry.nibble(at.depth());
                let child = at.child(nibble).filter(|_| children.counts[nibble] > 0);
                let Some(child) = child else {
                    return Ok(false);
                };
                at = child;
            }
        }
    }
}

struct Walk<'a, S: ?Sized> {
    source: &'a S,
    context: &'a [u8; 32],
    below: &'a NodePath,
    after: Option<&'a EntryPath>,
    limit: usize,
    found: Vec<(EntryPath, (Vec<u8>, Digest))>,
}

impl<S: NodeSource + ?Sized> Walk<'_, S> {
    fn visit(&mut self, node: StoredNode<'_>, path: &NodePath) -> Result<(), TrieError<S::Error>> {
        match node {
            StoredNode::Bucket(bucket) => self.take(bucket),
            StoredNode::Inner(children) => {
                for (nibble, digest, count) in children.iter() {
                    let child = path
                        .child(nibble)
                        .expect("an inner node is above the bottom");
                    if self.found.len() > self.limit {
                        break;
                    }
                    if self.concerns(&child) {
                        let digest = *digest;
                        let expected = Expected { digest, count };
                        let node = node::expect(self.source, &child, &expected)?;
                        self.visit(node, &child)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether entries that are asked for may lie below the node.
    fn concerns(&self, node: &NodePath) -> bool {
        let (first, last) = (self.below.first_below(), self.below.last_below());
        let overlaps = node.first_below() <= last && first <= node.last_below();
        overlaps && self.after.is_none_or(|after| node.last_below() > *after)
    }

    fn take(&mut self, bucket: BucketView<'_>) {
        let mut found: Vec<_> = bucket
            .entries()
            .map(|(key, digest)| (EntryPath::of(self.context, key), key, digest))
            .filter(|(path, ..)| self.below.contains(path))
            .filter(|(path, ..)| self.after.is_none_or(|after| path > after))
            .collect();
        found.sort_unstable_by_key(|(path, ..)| *path);
        let entries = found.into_iter();
        self.found
            .extend(entries.map(|(path, key, digest)| (path, (key.to_vec(), *digest))));
    }
}
