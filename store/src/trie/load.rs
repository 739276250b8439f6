//! Bringing into memory what a change of one entry will need, so that the change
//! itself cannot fail. The change is in `change.rs`, what comes in is checked in
//! `node.rs`.
//!
//! A change needs the nodes on the way to its entry. A removal that makes a node
//! collapse also needs all its buckets, and it is not known which one of several
//! removals will do that. So removals are announced as they load: each node on
//! the way counts them, and one that all of them together can collapse loads
//! its buckets. A child that is no bucket has more than 16 entries: when it
//! becomes one, its own removals have loaded it.

use super::change::Census;
use super::inner::Inner;
use super::node::{Below, Expected, fetch};
use super::path::{EntryPath, NIBBLES, NodePath};
use super::{BUCKET_ENTRIES_MAX, Intent, KEY_BYTES_MAX, NodeSource, Place, Trie, TrieError};

impl Trie {
    /// Begins a round of loads: what has been announced and not done is not
    /// going to happen.
    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Fetches every node that a change of `key` may need, together with the
    /// other changes that have been loaded in this round. `key` begins with the
    /// space. If it fails, what is in memory stays right.
    pub(crate) fn load<S: NodeSource + ?Sized>(
        &mut self,
        source: &S,
        key: &[u8],
        intent: Intent,
    ) -> Result<Place, TrieError<S::Error>> {
        assert!(
            (1..=KEY_BYTES_MAX).contains(&key.len()),
            "callers bound keys"
        );
        let path = EntryPath::of(&self.context, key);
        let mut at = &mut self.top;
        let mut expected = self.expected;
        for depth in 0..=NIBBLES {
            if at.is_nothing() {
                if expected.count == 0 {
                    break;
                }
                *at = fetch(source, &NodePath::above(&path, depth), &expected)?;
                self.census.load(at);
            }
            let Below::Inner(inner) = at else {
                break;
            };
            if intent == Intent::Remove && announce(inner, self.round, expected.count) {
                let node = NodePath::above(&path, depth);
                fetch_buckets(source, &node, inner, &mut self.census)?;
            }
            let nibble = path.nibble(depth);
            inner.touch(nibble);
            expected = inner.expected(nibble);
            at = &mut inner.below[nibble];
        }
        if let Below::Bucket(bucket) = at {
            bucket.touch();
        }
        Ok(Place { path })
    }
}

/// Counts one more removal below the node, and tells whether all of them
/// together can make it a bucket.
fn announce(inner: &mut Inner, round: u64, count: u64) -> bool {
    let (last, announced) = inner.announced;
    let announced = if last == round { announced + 1 } else { 1 };
    inner.announced = (round, announced);
    count.saturating_sub(announced) <= BUCKET_ENTRIES_MAX as u64
}

fn fetch_buckets<S: NodeSource + ?Sized>(
    source: &S,
    node: &NodePath,
    inner: &mut Inner,
    census: &mut Census,
) -> Result<(), TrieError<S::Error>> {
    for nibble in 0..16 {
        let expected = inner.expected(nibble);
        let is_bucket = (1..=BUCKET_ENTRIES_MAX as u64).contains(&expected.count);
        if is_bucket && inner.below[nibble].is_nothing() {
            let child = node
                .child(nibble)
                .expect("there are children above the bottom only");
            inner.below[nibble] = fetch(source, &child, &expected)?;
            census.load(&inner.below[nibble]);
        }
    }
    Ok(())
}

impl Inner {
    /// What the node says of a child that is not in memory.
    fn expected(&self, nibble: usize) -> Expected {
        Expected {
            digest: self.children.digests[nibble],
            count: self.children.counts[nibble],
        }
    }
}
