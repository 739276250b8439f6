//! An inner node: the digests and counts of up to 16 children, and in memory
//! those children that have been loaded. How digests come about is in
//! `digest.rs`; what makes a node inner is in `change.rs`.
//!
//! Bytes: kind (1), which children are there (2, little endian), their digests
//! (32 each), how many entries each has below it (LEB128, in its shortest form).

use super::digest::{self, Digest, NOTHING};
use super::node::Below;
use super::{BUCKET_ENTRIES_MAX, bits};

/// The first byte of a stored inner node.
pub(super) const KIND: u8 = 2;

const HEADER_BYTES: usize = 3;

/// An inner node in memory. What it says of a child that is not in memory is
/// right; of one that is, the count is right, and the digest unless it is stale.
pub(super) struct Inner {
    pub(super) children: Children,
    /// The digests of groups of four children, as right as the children's.
    groups: [Digest; 4],
    pub(super) below: [Below; 16],
    /// The children whose digests have to be worked out again.
    pub(super) stale: u16,
    /// Whether it differs from what is stored.
    pub(super) is_changed: bool,
    /// Whether something is stored at its place.
    pub(super) is_stored: bool,
    /// How many removals below are announced, and in which round.
    pub(super) announced: (u64, u64),
}

impl Inner {
    /// A new node above these children, whose digests are still to be worked out.
    pub(super) fn new(below: [Below; 16], counts: [u64; 16], is_stored: bool) -> Inner {
        Inner {
            stale: (0..16).fold(0, |stale, at| stale | u16::from(counts[at] > 0) << at),
            children: Children {
                digests: [NOTHING; 16],
                counts,
            },
            groups: [NOTHING; 4],
            below,
            is_changed: true,
            is_stored,
            announced: (0, 0),
        }
    }

    /// The node as it is stored, nothing below it in memory.
    pub(super) fn loaded(children: Children, groups: [Digest; 4]) -> Inner {
        Inner {
            children,
            groups,
            below: [const { Below::Nothing }; 16],
            stale: 0,
            is_changed: false,
            is_stored: true,
            announced: (0, 0),
        }
    }

    /// Reads a bit of all that a change of this child will read, so that it comes
    /// from memory while the walk goes on: a sixth less in a trie of a million.
    pub(super) fn touch(&self, nibble: usize) {
        let [group, _, other_group, _] = &self.groups;
        let (digests, _) = self.children.digests.as_chunks::<4>();
        let [digest, _, other_digest, _] = &digests[nibble / 4];
        let lines = [group, other_group, digest, other_digest].map(|line| line[0]);
        std::hint::black_box((lines, self.stale));
    }

    /// Gives a child another digest, and with it those of its group.
    pub(super) fn replace(&mut self, nibble: usize, digest: Digest) -> [Digest; 4] {
        self.children.digests[nibble] = digest;
        self.stale &= !(1 << nibble);
        let (groups, _) = self.children.digests.as_chunks();
        groups[nibble / 4]
    }

    /// Gives the group of a child another digest, and with it those of all groups.
    pub(super) fn replace_group(&mut self, nibble: usize, digest: Digest) -> [Digest; 4] {
        self.groups[nibble / 4] = digest;
        self.groups
    }

    /// Works out what is stale, here and below, and the node's own digest.
    pub(super) fn refresh(&mut self) -> Digest {
        let mut groups = 0;
        for at in bits(self.stale) {
            self.children.digests[at] = self.below[at].refresh();
            groups |= 1 << (at / 4);
        }
        for number in bits(groups) {
            self.groups[number] = digest::group(&self.children.digests, number);
        }
        self.stale = 0;
        digest::inner(&self.groups)
    }
}

/// What is stored of an inner node.
#[derive(Clone, Debug)]
pub(crate) struct Children {
    pub(super) digests: [Digest; 16],
    /// How many entries are below each child; 0 for one that is not there.
    pub(super) counts: [u64; 16],
}

impl Children {
    /// Checks stored bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Children, &'static str> {
        let [KIND, low, high, ..] = *bytes else {
            return Err("it is no inner node");
        };
        let present = u16::from_le_bytes([low, high]);
        let mut children = Children {
            digests: [NOTHING; 16],
            counts: [0; 16],
        };
        let (digests, _) = bytes[HEADER_BYTES..].as_chunks();
        let count = present.count_ones() as usize;
        if digests.len() < count {
            return Err("it is shorter than its digests");
        }
        let mut rest = &bytes[HEADER_BYTES + 32 * count..];
        let mut total = 0_u64;
        for (at, digest) in bits(present).zip(digests) {
            if *digest == NOTHING {
                return Err("a child that is there has no digest");
            }
            children.digests[at] = *digest;
            let count = read_count(&mut rest).ok_or("a count in it is malformed")?;
            children.counts[at] = count;
            total = total.checked_add(count).ok_or("its counts are too large")?;
        }
        if !rest.is_empty() {
            return Err("it is longer than its counts");
        }
        if total <= BUCKET_ENTRIES_MAX as u64 {
            return Err("it has so few entries that it must be a bucket");
        }
        Ok(children)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let present = (0..16).filter(|at| self.counts[*at] > 0);
        let bitmap = present.clone().fold(0, |bitmap, at| bitmap | 1_u16 << at);
        out.clear();
        out.push(KIND);
        out.extend_from_slice(&bitmap.to_le_bytes());
        for at in present.clone() {
            out.extend_from_slice(&self.digests[at]);
        }
        for at in present {
            write_count(out, self.counts[at]);
        }
    }

    /// How many entries are below the node.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Nibble, digest and count of each child that is there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Digest, u64)> {
        let all = self.digests.iter().zip(self.counts).enumerate();
        all.filter(|(_, (_, count))| *count > 0)
            .map(|(nibble, (digest, count))| (nibble, digest, count))
    }
}

/// A count of at least 1.
fn read_count(rest: &mut &[u8]) -> Option<u64> {
    let mut count = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let low = u64::from(byte & 0x7f);
        count |= (low << shift >> shift == low).then_some(low << shift)?;
        if byte & 0x80 == 0 {
            // Also refuses a zero, and with it a longer form than needed.
            return (low > 0).then_some(count);
        }
    }
    None
}

fn write_count(out: &mut Vec<u8>, mut count: u64) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes() -> impl Strategy<Value = Children> {
        let count = prop_oneof![Just(0), 1..40_u64, any::<u64>().prop_map(|n| n >> 8)];
        (any::<[u8; 32]>(), prop::array::uniform16(count))
            .prop_map(|(digest, counts)| Children {
                digests: counts.map(|count| if count > 0 { digest } else { NOTHING }),
                counts,
            })
            .prop_filter("an inner node", |node| {
                node.count() > BUCKET_ENTRIES_MAX as u64 && node.digests != [NOTHING; 16]
            })
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(node in nodes()) {
            let mut bytes = Vec::new();
            node.write(&mut bytes);
            let read = Children::parse(&bytes).unwrap();
            prop_assert_eq!((read.digests, read.counts), (node.digests, node.counts));
            for end in 0..bytes.len() {
                prop_assert!(Children::parse(&bytes[..end]).is_err());
            }
            bytes.push(1);
            prop_assert!(Children::parse(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_a_node_or_refused(
            node in nodes(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = Vec::new();
            node.write(&mut bytes);
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(node) = Children::parse(&bytes) {
                let mut again = Vec::new();
                node.write(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }

        #[test]
        fn random_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Children::parse(&bytes);
            bytes.insert(0, KIND);
            let _ = Children::parse(&bytes);
        }

        #[test]
        fn a_count_has_one_form(count in 1_u64.., bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut written = Vec::new();
            write_count(&mut written, count);
            prop_assert_eq!(read_count(&mut &written[..]), Some(count));
            let mut rest = &bytes[..];
            if let Some(count) = read_count(&mut rest) {
                let mut again = Vec::new();
                write_count(&mut again, count);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
