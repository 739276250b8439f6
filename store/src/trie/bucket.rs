//! A bucket: up to 16 entries, by key. In memory it is the bytes that are stored,
//! so that overwriting an entry changes 32 of them and nothing has to be written
//! out. Where buckets lie, and when they split, is in `change.rs`.
//!
//! Bytes: kind (1), count (1), digests (32 each), key lengths (2 each, little
//! endian), keys. Keys grow strictly.

use super::digest::{self, Digest};
use super::{BUCKET_ENTRIES_MAX, KEY_BYTES_MAX};

/// The first byte of a stored bucket.
pub(super) const KIND: u8 = 1;

const HEADER_BYTES: usize = 2;

/// A bucket in memory.
pub(super) struct Bucket {
    bytes: Vec<u8>,
    /// Whether it differs from what is stored.
    pub(super) is_changed: bool,
    /// Whether something is stored at its place.
    pub(super) is_stored: bool,
}

impl Bucket {
    /// A new bucket of these entries, sorted by key. There is one at least.
    pub(super) fn new<'a>(
        entries: impl Iterator<Item = (&'a [u8], &'a Digest)> + Clone,
        is_stored: bool,
    ) -> Bucket {
        Bucket {
            bytes: write(entries),
            is_changed: true,
            is_stored,
        }
    }

    /// The same bucket as is stored.
    pub(super) fn loaded(view: BucketView<'_>) -> Bucket {
        Bucket {
            bytes: view.bytes.to_vec(),
            is_changed: false,
            is_stored: true,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn view(&self) -> BucketView<'_> {
        BucketView { bytes: &self.bytes }
    }

    /// Reads a bit of all of it, so that it comes from memory at once.
    pub(super) fn touch(&self) {
        let lines = self.bytes.iter().step_by(64);
        std::hint::black_box(lines.fold(0, |lines, byte| lines ^ byte));
    }

    /// Gives the entry at `at` this digest, and tells whether it had another.
    pub(super) fn replace(&mut self, at: usize, digest: &Digest) -> bool {
        let begin = HEADER_BYTES + 32 * at;
        let place = &mut self.bytes[begin..begin + 32];
        if place == digest {
            return false;
        }
        place.copy_from_slice(digest);
        self.is_changed = true;
        true
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8], digest: &Digest) {
        let old = self.view();
        let entry = std::iter::once((key, digest));
        self.bytes = write(
            old.entries()
                .take(at)
                .chain(entry)
                .chain(old.entries().skip(at)),
        );
        self.is_changed = true;
    }

    pub(super) fn remove(&mut self, at: usize) {
        let old = self.view();
        self.bytes = write(old.entries().take(at).chain(old.entries().skip(at + 1)));
        self.is_changed = true;
    }
}

/// A bucket's bytes, which have been checked or made here.
#[derive(Clone, Copy)]
pub(crate) struct BucketView<'a> {
    bytes: &'a [u8],
}

impl<'a> BucketView<'a> {
    /// Checks stored bytes.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<BucketView<'a>, &'static str> {
        let [KIND, count, ..] = *bytes else {
            return Err("it is no bucket");
        };
        if !(1..=BUCKET_ENTRIES_MAX).contains(&usize::from(count)) {
            return Err("it is a bucket of no entries or too many");
        }
        let view = BucketView { bytes };
        if bytes.len() < view.keys_begin() {
            return Err("it is shorter than its digests and lengths");
        }
        if view
            .lengths()
            .any(|length| !(1..=KEY_BYTES_MAX).contains(&length))
        {
            return Err("a key in it is empty or too long");
        }
        if bytes.len() != view.keys_begin() + view.lengths().sum::<usize>() {
            return Err("it is not as long as its keys");
        }
        if !view.entries().is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("its keys do not grow");
        }
        Ok(view)
    }

    pub(crate) fn count(self) -> usize {
        usize::from(self.bytes[1])
    }

    pub(super) fn digest(self) -> Digest {
        digest::bucket(self.digests())
    }

    /// Keys, whose first byte is the space, and digests, by key.
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'a [u8], &'a Digest)> + Clone {
        self.keys().zip(self.digests())
    }

    /// Where the entry with this key is, or where it would be.
    pub(super) fn find(self, key: &[u8]) -> Result<usize, usize> {
        // Most searches find, and most keys differ in their lengths or last
        // bytes, so the order is asked for only where it matters.
        if let Some(at) = self.keys().position(|other| other == key) {
            return Ok(at);
        }
        Err(self.keys().take_while(|other| *other < key).count())
    }

    fn digests(self) -> &'a [Digest] {
        let (digests, _) = self.bytes[HEADER_BYTES..].as_chunks();
        &digests[..self.count()]
    }

    fn lengths(self) -> impl Iterator<Item = usize> + Clone + 'a {
        let lengths = &self.bytes[HEADER_BYTES + 32 * self.count()..self.keys_begin()];
        let (lengths, _) = lengths.as_chunks();
        lengths
            .iter()
            .map(|bytes| usize::from(u16::from_le_bytes(*bytes)))
    }

    fn keys_begin(self) -> usize {
        HEADER_BYTES + (32 + 2) * self.count()
    }

    fn keys(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        let mut rest = &self.bytes[self.keys_begin()..];
        self.lengths().map(move |length| {
            let (key, behind) = rest.split_at(length);
            rest = behind;
            key
        })
    }
}

fn write<'a>(entries: impl Iterator<Item = (&'a [u8], &'a Digest)> + Clone) -> Vec<u8> {
    let (count, key_bytes) = entries.clone().fold((0, 0), |(count, bytes), (key, _)| {
        (count + 1, bytes + key.len())
    });
    assert!(
        (1..=BUCKET_ENTRIES_MAX + 1).contains(&count),
        "one more than fits, until it splits"
    );
    let mut bytes = Vec::with_capacity(HEADER_BYTES + (32 + 2) * count + key_bytes);
    bytes.extend_from_slice(&[KIND, count as u8]);
    for (_, digest) in entries.clone() {
        bytes.extend_from_slice(digest);
    }
    for (key, _) in entries.clone() {
        let length = u16::try_from(key.len()).expect("keys are at most KEY_BYTES_MAX long");
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    for (key, _) in entries {
        bytes.extend_from_slice(key);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Entries = BTreeMap<Vec<u8>, Digest>;

    fn entries(max: usize) -> impl Strategy<Value = Entries> {
        let key = prop::collection::vec(0..4_u8, 1..6);
        prop::collection::btree_map(key, any::<Digest>(), 1..=max)
    }

    fn bucket(entries: &Entries) -> Bucket {
        Bucket::new(
            entries.iter().map(|(key, digest)| (&key[..], digest)),
            false,
        )
    }

    fn listed(bucket: &Bucket) -> Entries {
        let entries = bucket.view().entries();
        entries
            .map(|(key, digest)| (key.to_vec(), *digest))
            .collect()
    }

    proptest! {
        #[test]
        fn a_bucket_is_a_sorted_list(
            mut model in entries(15),
            key in prop::collection::vec(0..4_u8, 1..6),
            digest in any::<Digest>(),
        ) {
            let mut bucket = bucket(&model);
            prop_assert_eq!(listed(&bucket), model.clone());
            match bucket.view().find(&key) {
                Ok(at) => {
                    prop_assert!(bucket.replace(at, &digest));
                    prop_assert!(!bucket.replace(at, &digest));
                }
                Err(at) => bucket.insert(at, &key, &digest),
            }
            model.insert(key.clone(), digest);
            prop_assert_eq!(listed(&bucket), model.clone());
            prop_assert_eq!(BucketView::parse(bucket.as_bytes()).map(BucketView::digest), Ok(bucket.view().digest()));
            if model.len() > 1 {
                model.remove(&key);
                bucket.remove(bucket.view().find(&key).unwrap());
                prop_assert_eq!(listed(&bucket), model);
            }
        }

        #[test]
        fn any_bytes_are_a_bucket_or_refused(
            entries in entries(16),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = bucket(&entries).as_bytes().to_vec();
            prop_assert!(BucketView::parse(&bytes).is_ok());
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(view) = BucketView::parse(&bytes) {
                // What is accepted can be written again as the same bytes.
                prop_assert_eq!(write(view.entries()), bytes.clone());
            }
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(BucketView::parse(&bytes).is_err() || bytes.len() > HEADER_BYTES + 34);
        }

        #[test]
        fn random_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = BucketView::parse(&bytes);
            bytes.splice(..0, [KIND, 2]);
            let _ = BucketView::parse(&bytes);
        }
    }
}
