//! Roots that are worked out later: those after each of many changes, side by side. What one
//! change does to the digests above it depends on the digests below it alone, so all nodes of
//! a level, in each of the forms that they go through, are hashed at once: as many as the
//! processor has lanes take little longer than one. Start at [`Trie::set_for_later`], then
//! [`Trie::roots`]. How a hash is made of what lies below is in `digest.rs`.

use super::digest::{self, Digest};
use super::inner::Inner;
use super::node::Below;
use super::path::EntryPath;
use super::{BUCKET_ENTRIES_MAX, Place, Trie};

/// A change of one bucket's digest.
pub(super) struct Later {
    path: EntryPath,
    /// The level of the bucket.
    depth: usize,
    /// Of the node on the level that was worked out last.
    digest: Digest,
}

impl Trie {
    /// Gives the entry this digest, as [`set`](Self::set) does, and leaves the root to
    /// [`roots`](Self::roots). `false` if the form of the trie would change with it: then it
    /// has done nothing, and the roots of earlier changes have to be asked for first.
    pub(crate) fn set_for_later(&mut self, place: &Place, key: &[u8], digest: &Digest) -> bool {
        if self.later.is_empty() {
            self.root();
        }
        let (bucket, depth) = self.bucket_above(&place.path);
        let has_room = match bucket {
            Below::Bucket(bucket) => {
                let view = bucket.view();
                view.count() < BUCKET_ENTRIES_MAX || view.find(key).is_ok()
            }
            _ => true,
        };
        if !has_room {
            return false;
        }
        self.set_now(place, key, Some(digest));
        let (bucket, _) = self.bucket_above(&place.path);
        let Below::Bucket(bucket) = bucket else {
            unreachable!("the entry is in it");
        };
        let digest = bucket.view().digest();
        self.later.push(Later {
            path: place.path,
            depth,
            digest,
        });
        true
    }

    /// The root after each change that was set for later, in their order.
    pub(crate) fn roots(&mut self) -> Vec<Digest> {
        let mut later = std::mem::take(&mut self.later);
        let deepest = later.iter().map(|change| change.depth).max().unwrap_or(0);
        let (mut fours, mut digests) = (Vec::new(), Vec::new());
        for level in (0..deepest).rev() {
            let concerned = |change: &&mut Later| change.depth > level;
            fours.clear();
            for change in later.iter_mut().filter(concerned) {
                let (inner, nibble) = inner_above(&mut self.top, &change.path, level);
                fours.push(inner.replace(nibble, change.digest));
            }
            digest::groups_at_once(&fours, &mut digests);
            fours.clear();
            for (change, digest) in later.iter_mut().filter(concerned).zip(&digests) {
                let (inner, nibble) = inner_above(&mut self.top, &change.path, level);
                fours.push(inner.replace_group(nibble, *digest));
            }
            digest::inners_at_once(&fours, &mut digests);
            for (change, digest) in later.iter_mut().filter(concerned).zip(&digests) {
                change.digest = *digest;
            }
        }
        if let Some(last) = later.last() {
            self.expected.digest = last.digest;
            self.is_stale = false;
        }
        later.into_iter().map(|change| change.digest).collect()
    }

    /// What is there instead of a node that has others below it, on the way to an entry, and
    /// on which level.
    fn bucket_above(&self, path: &EntryPath) -> (&Below, usize) {
        let (mut at, mut depth) = (&self.top, 0);
        while let Below::Inner(inner) = at {
            at = &inner.below[path.nibble(depth)];
            depth += 1;
        }
        (at, depth)
    }
}

/// The inner node on a level on the way to an entry, and where it goes on from there.
fn inner_above<'t>(top: &'t mut Below, path: &EntryPath, level: usize) -> (&'t mut Inner, usize) {
    let mut at = top;
    for depth in 0..level {
        let Below::Inner(inner) = at else {
            unreachable!("the form has not changed since");
        };
        at = &mut inner.below[path.nibble(depth)];
    }
    match at {
        Below::Inner(inner) => (inner, path.nibble(level)),
        _ => unreachable!("the form has not changed since"),
    }
}
