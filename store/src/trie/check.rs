//! Whether the nodes that are stored are those that the entries give. One walk
//! from the root, in memory that does not depend on the number of entries, for
//! `verify.rs`.
//!
//! Each node must have the form, the digest and the count that the one above it
//! says; each entry in a bucket must lie below the bucket's path, and really have
//! the digest that the bucket says. So no entry of the trie is wrong, and none is
//! in it twice. That none is missing, the caller knows if as many have been found
//! as there are in its table; that no other node is stored, if as many are.

use super::bucket::BucketView;
use super::digest::{Digest, NOTHING};
use super::node::{self, Expected, StoredNode};
use super::path::{EntryPath, NodePath};
use super::{NodeSource, TrieError};

/// What a check has found in a trie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Hold this against the number of nodes that are stored.
    pub(crate) nodes: u64,
    /// Hold this against the number of entries that are stored.
    pub(crate) entries: u64,
}

/// Checks the stored trie of a context against its root and number of entries.
/// `entry` works out the digest of the entry under a key, if there is one.
pub(crate) fn check<S: NodeSource + ?Sized>(
    source: &S,
    context: &[u8; 32],
    root: &Digest,
    entries: u64,
    entry: &mut dyn FnMut(&[u8]) -> Result<Option<Digest>, S::Error>,
) -> Result<Checked, TrieError<S::Error>> {
    let mut checked = Checked::default();
    if (*root == NOTHING) != (entries == 0) {
        return Err(TrieError::Damaged {
            path: NodePath::ROOT,
            why: "only one of root and number of entries says that it is empty",
        });
    }
    if entries > 0 {
        let expected = Expected {
            digest: *root,
            count: entries,
        };
        let mut check = Check {
            source,
            context,
            entry,
            checked: &mut checked,
        };
        check.visit(&NodePath::ROOT, &expected)?;
    }
    Ok(checked)
}

/// Checks only that the top node is the one that the head means: cheap enough for
/// each time that a context is brought into memory.
pub(crate) fn check_root<S: NodeSource + ?Sized>(
    source: &S,
    root: &Digest,
    entries: u64,
) -> Result<(), TrieError<S::Error>> {
    if (*root == NOTHING) != (entries == 0) {
        return Err(TrieError::Damaged {
            path: NodePath::ROOT,
            why: "only one of root and number of entries says that it is empty",
        });
    }
    if entries > 0 {
        let expected = Expected {
            digest: *root,
            count: entries,
        };
        node::expect(source, &NodePath::ROOT, &expected)?;
    }
    Ok(())
}

/// Checks one node by itself: that those right below it, nodes or entries, are the ones
/// that it means. Gives how many those are.
pub(crate) fn check_node<S: NodeSource + ?Sized>(
    source: &S,
    context: &[u8; 32],
    path: &NodePath,
    entry: &mut dyn FnMut(&[u8]) -> Result<Option<Digest>, S::Error>,
) -> Result<u64, TrieError<S::Error>> {
    let damaged = |why| TrieError::Damaged { path: *path, why };
    match node::read(source, path)?.ok_or_else(|| damaged("it is missing"))? {
        StoredNode::Inner(children) => {
            let mut below = 0;
            for (nibble, digest, count) in children.iter() {
                let child = path
                    .child(nibble)
                    .expect("an inner node is above the bottom");
                let digest = *digest;
                node::expect(source, &child, &Expected { digest, count })?;
                below += 1;
            }
            Ok(below)
        }
        StoredNode::Bucket(bucket) => {
            check_entries(context, path, bucket, entry)?;
            Ok(bucket.count() as u64)
        }
    }
}

/// Checks that a bucket lists entries that are there, and belong into it.
fn check_entries<E>(
    context: &[u8; 32],
    path: &NodePath,
    bucket: BucketView<'_>,
    entry: &mut dyn FnMut(&[u8]) -> Result<Option<Digest>, E>,
) -> Result<(), TrieError<E>> {
    let damaged = |why| TrieError::Damaged { path: *path, why };
    for (key, digest) in bucket.entries() {
        if !path.contains(&EntryPath::of(context, key)) {
            return Err(damaged("a key in it belongs into another node"));
        }
        match entry(key).map_err(TrieError::Source)? {
            Some(found) if found == *digest => {}
            Some(_) => return Err(damaged("an entry has another digest than it says")),
            None => return Err(damaged("an entry that it lists does not exist")),
        }
    }
    Ok(())
}

struct Check<'a, S: NodeSource + ?Sized> {
    source: &'a S,
    context: &'a [u8; 32],
    entry: &'a mut dyn FnMut(&[u8]) -> Result<Option<Digest>, S::Error>,
    checked: &'a mut Checked,
}

impl<S: NodeSource + ?Sized> Check<'_, S> {
    fn visit(&mut self, path: &NodePath, expected: &Expected) -> Result<(), TrieError<S::Error>> {
        self.checked.nodes += 1;
        match node::expect(self.source, path, expected)? {
            StoredNode::Inner(children) => {
                for (nibble, digest, count) in children.iter() {
                    let child = path
                        .child(nibble)
                        .expect("an inner node is above the bottom");
                    let digest = *digest;
                    self.visit(&child, &Expected { digest, count })?;
                }
            }
            StoredNode::Bucket(bucket) => {
                self.checked.entries += bucket.count() as u64;
                check_entries(self.context, path, bucket, self.entry)?;
            }
        }
        Ok(())
    }
}
