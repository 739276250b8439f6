//! A node of either kind: as it is stored, and as it hangs below its parent in
//! memory. The kinds are in `bucket.rs` and `inner.rs`. Here is the door through
//! which stored nodes come in: [`fetch`].
//!
//! A node that comes in must have the digest and the count that the one above it
//! says: a checksum tells damage, but not that a node is an older one. It costs
//! 150 ns for a bucket and 700 for an inner node, of which a change needs 400
//! anyway, in a load of 3,500. The bytes of keys are in no digest of a node, as
//! they are in those of the entries; the caller's checksum vouches for them, and
//! `check.rs` compares.

use super::bucket::{self, Bucket, BucketView};
use super::digest::{self, Digest, NOTHING};
use super::inner::{self, Children, Inner};
use super::path::{NIBBLES, NodePath};
use super::{NodeSource, TrieError};

/// What an allocation takes beside its content.
const ALLOCATION_BYTES: usize = 16;

/// What a node in memory has below it at one place.
pub(super) enum Below {
    /// No entries, or a node that has not been loaded: the count says which.
    Nothing,
    Bucket(Bucket),
    Inner(Box<Inner>),
}

impl Below {
    /// Works out what is stale below here, and the digest of all of it.
    pub(super) fn refresh(&mut self) -> Digest {
        match self {
            Below::Nothing => NOTHING,
            Below::Bucket(bucket) => bucket.view().digest(),
            Below::Inner(inner) => inner.refresh(),
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Below::Nothing)
    }

    /// Bytes of memory that the node takes, without those of what is below it and without
    /// its place in the node above.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Below::Nothing => 0,
            Below::Bucket(bucket) => bucket.as_bytes().len() + ALLOCATION_BYTES,
            Below::Inner(_) => size_of::<Inner>() + ALLOCATION_BYTES,
        }
    }

    /// Whether it has to stay in memory until it is stored.
    pub(super) fn is_changed(&self) -> bool {
        match self {
            Below::Nothing => false,
            Below::Bucket(bucket) => bucket.is_changed,
            Below::Inner(inner) => inner.is_changed,
        }
    }
}

/// A node as it is stored, its bytes checked.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack only, and not for long"
)]
pub(crate) enum StoredNode<'a> {
    Bucket(BucketView<'a>),
    Inner(Children),
}

impl<'a> StoredNode<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<StoredNode<'a>, &'static str> {
        match bytes.first() {
            Some(&bucket::KIND) => BucketView::parse(bytes).map(StoredNode::Bucket),
            Some(&inner::KIND) => Children::parse(bytes).map(StoredNode::Inner),
            _ => Err("its kind is unknown to this program"),
        }
    }

    /// What its parent says of it.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            StoredNode::Bucket(bucket) => bucket.digest(),
            StoredNode::Inner(children) => digest::inner(&digest::groups(&children.digests)),
        }
    }

    /// How many entries it has below it, or in it.
    pub(crate) fn count(&self) -> u64 {
        match self {
            StoredNode::Bucket(bucket) => bucket.count() as u64,
            StoredNode::Inner(children) => children.count(),
        }
    }
}

/// What the node above, or the head of the context, says of a node.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) digest: Digest,
    pub(super) count: u64,
}

/// Reads a node and checks its form; whether it is the one that is meant is
/// left to the caller.
pub(super) fn read<'s, S: NodeSource + ?Sized>(
    source: &'s S,
    path: &NodePath,
) -> Result<Option<StoredNode<'s>>, TrieError<S::Error>> {
    let Some(bytes) = source.node(path).map_err(TrieError::Source)? else {
        return Ok(None);
    };
    let damaged = |why| TrieError::Damaged { path: *path, why };
    let node = StoredNode::parse(bytes).map_err(damaged)?;
    if path.depth() == NIBBLES && matches!(node, StoredNode::Inner(_)) {
        return Err(damaged("it is an inner node at the bottom"));
    }
    Ok(Some(node))
}

/// Reads the node that is expected under `path`.
pub(super) fn expect<'s, S: NodeSource + ?Sized>(
    source: &'s S,
    path: &NodePath,
    expected: &Expected,
) -> Result<StoredNode<'s>, TrieError<S::Error>> {
    let damaged = |why| TrieError::Damaged { path: *path, why };
    let node = read(source, path)?.ok_or_else(|| damaged("it is missing"))?;
    check(&node.digest(), node.count(), expected).map_err(damaged)?;
    Ok(node)
}

/// Brings the node that is expected under `path` into memory.
pub(super) fn fetch<S: NodeSource + ?Sized>(
    source: &S,
    path: &NodePath,
    expected: &Expected,
) -> Result<Below, TrieError<S::Error>> {
    let damaged = |why| TrieError::Damaged { path: *path, why };
    let node = read(source, path)?.ok_or_else(|| damaged("it is missing"))?;
    // A change needs the digests of the groups, so they are kept.
    let count = node.count();
    let (below, digest) = match node {
        StoredNode::Bucket(view) => (Below::Bucket(Bucket::loaded(view)), view.digest()),
        StoredNode::Inner(children) => {
            let groups = digest::groups(&children.digests);
            let inner = Box::new(Inner::loaded(children, groups));
            (Below::Inner(inner), digest::inner(&groups))
        }
    };
    check(&digest, count, expected).map_err(damaged)?;
    Ok(below)
}

fn check(digest: &Digest, count: u64, expected: &Expected) -> Result<(), &'static str> {
    if count != expected.count {
        return Err("it has not as many entries as the node above says");
    }
    if *digest != expected.digest {
        return Err("it does not have the digest that the node above says");
    }
    Ok(())
}
