//! One change of one entry: the walk down to its bucket, and what it does to the
//! form of the trie on the way back. Everything it needs has been loaded (see
//! `load.rs`). No digests here: what a change makes stale is worked out later.
//!
//! A node with more than 16 entries below it is inner, any other a bucket, so
//! the 17th entry splits and the removal of one of 17 collapses.

use std::collections::BTreeSet;

use super::BUCKET_ENTRIES_MAX;
use super::bucket::Bucket;
use super::digest::Digest;
use super::inner::Inner;
use super::node::Below;
use super::path::{EntryPath, NIBBLES, NodePath};

/// What is to become of one entry.
pub(super) struct Change<'a> {
    pub(super) context: &'a [u8; 32],
    pub(super) path: &'a EntryPath,
    pub(super) key: &'a [u8],
    /// `None` removes it.
    pub(super) digest: Option<&'a Digest>,
    /// The removal counts as announced in this round.
    pub(super) round: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Same,
    Replaced,
    Added,
    Removed,
}

/// Which nodes there are, in memory and in the store.
#[derive(Default)]
pub(super) struct Census {
    /// How many are in memory.
    pub(super) loaded: usize,
    /// Bytes of memory that these take.
    pub(super) bytes: usize,
    /// How many have changed, come or gone since the last flush. One that has done so
    /// twice may count twice.
    pub(super) changed: usize,
    /// The places that have no node any more, but still have one in the store.
    pub(super) gone: BTreeSet<NodePath>,
}

impl Census {
    /// A node comes into memory out of the store.
    pub(super) fn load(&mut self, node: &Below) {
        self.loaded += 1;
        self.bytes += node.bytes();
    }

    /// A node comes to be; tells whether something is stored at its place.
    fn begin(&mut self, path: &NodePath) -> bool {
        self.loaded += 1;
        self.changed += 1;
        self.gone.remove(path)
    }

    fn end(&mut self, path: &NodePath, is_stored: bool) {
        self.loaded -= 1;
        self.changed += 1;
        if is_stored {
            self.gone.insert(*path);
        }
    }
}

/// Applies the change to what is at level `depth`, with `count` entries so far.
pub(super) fn apply(
    change: &Change<'_>,
    at: &mut Below,
    depth: usize,
    count: u64,
    census: &mut Census,
) -> Outcome {
    let (bytes, was_unchanged) = (at.bytes(), !at.is_nothing() && !at.is_changed());
    let outcome = apply_to(change, at, depth, count, census);
    census.bytes += at.bytes();
    census.bytes -= bytes;
    census.changed += usize::from(was_unchanged && at.is_changed());
    outcome
}

fn apply_to(
    change: &Change<'_>,
    at: &mut Below,
    depth: usize,
    count: u64,
    census: &mut Census,
) -> Outcome {
    let outcome = match at {
        Below::Nothing => {
            assert!(count == 0, "what a change needs is loaded before it");
            let Some(digest) = change.digest else {
                return Outcome::Same;
            };
            let is_stored = census.begin(&NodePath::above(change.path, depth));
            let entry = std::iter::once((change.key, digest));
            *at = Below::Bucket(Bucket::new(entry, is_stored));
            return Outcome::Added;
        }
        Below::Bucket(bucket) => match (bucket.view().find(change.key), change.digest) {
            (Ok(found), Some(digest)) => {
                return match bucket.replace(found, digest) {
                    true => Outcome::Replaced,
                    false => Outcome::Same,
                };
            }
            (Ok(_), None) if count == 1 => {
                census.end(&NodePath::above(change.path, depth), bucket.is_stored);
                *at = Below::Nothing;
                return Outcome::Removed;
            }
            (Ok(found), None) => {
                bucket.remove(found);
                return Outcome::Removed;
            }
            (Err(_), None) => return Outcome::Same,
            (Err(place), Some(digest)) => {
                bucket.insert(place, change.key, digest);
                Outcome::Added
            }
        },
        Below::Inner(inner) => below_inner(change, inner, depth, census),
    };
    // What follows is at most one of the two, and rare.
    match (outcome, &mut *at) {
        (Outcome::Added, Below::Bucket(bucket)) if count == BUCKET_ENTRIES_MAX as u64 => {
            *at = split(change.context, bucket, depth, census);
        }
        (Outcome::Removed, Below::Inner(inner)) if count - 1 == BUCKET_ENTRIES_MAX as u64 => {
            *at = collapse(inner, &NodePath::above(change.path, depth), census);
        }
        _ => {}
    }
    outcome
}

fn below_inner(
    change: &Change<'_>,
    inner: &mut Inner,
    depth: usize,
    census: &mut Census,
) -> Outcome {
    let at = change.path.nibble(depth);
    let count = &mut inner.children.counts[at];
    let outcome = apply(change, &mut inner.below[at], depth + 1, *count, census);
    match outcome {
        Outcome::Same => return outcome,
        Outcome::Replaced => {}
        Outcome::Added => *count += 1,
        Outcome::Removed => *count -= 1,
    }
    if outcome == Outcome::Removed && inner.announced.0 == change.round {
        // It is done; what is still announced is the rest.
        inner.announced.1 = inner.announced.1.saturating_sub(1);
    }
    inner.stale |= 1 << at;
    inner.is_changed = true;
    outcome
}

/// Makes a bucket with one entry too many an inner node.
fn split(context: &[u8; 32], bucket: &Bucket, depth: usize, census: &mut Census) -> Below {
    let entries: Vec<_> = bucket
        .view()
        .entries()
        .map(|(key, digest)| (EntryPath::of(context, key), (key, digest)))
        .collect();
    grow(&entries, depth, bucket.is_stored, census)
}

/// An inner node of these entries, sorted by key, and all that is below it.
fn grow(
    entries: &[(EntryPath, (&[u8], &Digest))],
    depth: usize,
    is_stored: bool,
    census: &mut Census,
) -> Below {
    assert!(depth < NIBBLES, "no two keys have the same blake3 hash");
    let mut below = [const { Below::Nothing }; 16];
    let mut counts = [0; 16];
    for at in 0..16 {
        let has_nibble = |path: &EntryPath| path.nibble(depth) == at;
        let part: Vec<_> = entries
            .iter()
            .filter(|entry| has_nibble(&entry.0))
            .copied()
            .collect();
        let Some((path, _)) = part.first() else {
            continue;
        };
        let is_stored = census.begin(&NodePath::above(path, depth + 1));
        counts[at] = part.len() as u64;
        below[at] = if part.len() > BUCKET_ENTRIES_MAX {
            grow(&part, depth + 1, is_stored, census)
        } else {
            Below::Bucket(Bucket::new(part.iter().map(|(_, entry)| *entry), is_stored))
        };
        census.bytes += below[at].bytes();
    }
    Below::Inner(Box::new(Inner::new(below, counts, is_stored)))
}

/// Makes an inner node with one entry too few a bucket.
fn collapse(inner: &Inner, path: &NodePath, census: &mut Census) -> Below {
    let mut entries = Vec::with_capacity(BUCKET_ENTRIES_MAX);
    for (at, below) in inner.below.iter().enumerate() {
        match below {
            Below::Nothing => {
                assert!(
                    inner.children.counts[at] == 0,
                    "what a change needs is loaded before it"
                );
            }
            Below::Inner(_) => unreachable!("a child has no more entries than its parent"),
            Below::Bucket(bucket) => {
                let child = path
                    .child(at)
                    .expect("there are children above the bottom only");
                census.end(&child, bucket.is_stored);
                census.bytes -= below.bytes();
                entries.extend(bucket.view().entries());
            }
        }
    }
    entries.sort_unstable_by_key(|(key, _)| *key);
    Below::Bucket(Bucket::new(entries.into_iter(), inner.is_stored))
}
