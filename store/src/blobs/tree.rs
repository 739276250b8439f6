//! How content becomes an id, and how a part of it is held against that id. The id
//! is blake3 of the whole content; blake3 is a tree inside, and a group is one
//! subtree of it, so the groups' hashes lead to the id without the content. No
//! files here. Plain functions, for any thread. Start at [`root`].

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::ids::{BlobId, ID_BYTES};

/// Bytes of content that are verified together: what is read from the disk for a
/// single byte, what a reader or writer has in memory, and one step of its work.
/// Part of the format on disk, as each group has a hash in the outline.
pub const BLOB_GROUP_BYTES: usize = 256 << 10;

/// The same as a number of bytes in a file.
pub(super) const GROUP: u64 = BLOB_GROUP_BYTES as u64;

// A subtree of blake3 is a power of two of its own chunks.
const _: () = assert!(BLOB_GROUP_BYTES.is_power_of_two() && BLOB_GROUP_BYTES >= blake3::CHUNK_LEN);

/// The hash of one group as a subtree, which is no id of anything.
pub(super) type GroupHash = [u8; ID_BYTES];

impl BlobId {
    /// The id of the blob with this content.
    pub fn of(content: &[u8]) -> BlobId {
        BlobId::from_bytes(*blake3::hash(content).as_bytes())
    }
}

/// How many groups a content of `bytes` has.
pub(super) const fn group_count(bytes: u64) -> u64 {
    bytes.div_ceil(GROUP)
}

/// The hash of the group with this number. It is never empty, and only the last one
/// of a content is short.
pub(super) fn group_hash(number: u64, group: &[u8]) -> GroupHash {
    Hasher::new()
        .set_input_offset(number * GROUP)
        .update(group)
        .finalize_non_root()
}

/// The id of the content whose groups have these hashes. There are at least two:
/// a content of one group is hashed as it is.
pub(super) fn root(groups: &[GroupHash]) -> BlobId {
    let (left, right) = children(groups);
    let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
    BlobId::from_bytes(*root.as_bytes())
}

/// As deep as the number of groups has binary digits.
fn subtree(groups: &[GroupHash]) -> GroupHash {
    match groups {
        [one] => *one,
        _ => {
            let (left, right) = children(groups);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left one has as many as the largest power of two that leaves something to
/// the right one (section 2.1 of the BLAKE3 paper).
fn children(groups: &[GroupHash]) -> (&[GroupHash], &[GroupHash]) {
    groups.split_at(groups.len().div_ceil(2).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_of_groups_lead_to_the_plain_hash_of_the_content() {
        let content: Vec<u8> = (0..9 * GROUP).map(|n| (n % 251) as u8).collect();
        for groups in 2..=9 {
            for short in [0, 1, 1023, 1024, 1025, BLOB_GROUP_BYTES - 1] {
                let content = &content[..groups * BLOB_GROUP_BYTES - short];
                let hashes = content.chunks(BLOB_GROUP_BYTES).enumerate();
                let hashes: Vec<GroupHash> = hashes
                    .map(|(number, group)| group_hash(number as u64, group))
                    .collect();
                assert_eq!(hashes.len() as u64, group_count(content.len() as u64));
                assert_eq!(
                    root(&hashes),
                    BlobId::of(content),
                    "{groups} groups, {short} bytes short"
                );
            }
        }
    }
}
