//! The bytes of one blob's file: the content, then the outline (the hash of each
//! group, where there is more than one), then a footer that names the format. How
//! long the content is follows from how long the file is. What vouches for all of
//! it is the blob's id, so there is no checksum here. Plain functions.

use super::tree::{GROUP, group_count};
use crate::ids::ID_BYTES;

/// The most bytes that a blob can have, so that an outline is never larger than
/// 8 MiB.
pub const BLOB_BYTES_MAX: u64 = 64 << 30;

/// The last bytes of each file: format 1.
pub(super) const FOOTER: [u8; 16] = *b"corelet blob\n\0\0\x01";

/// Bytes of the outline of a content of `bytes`.
pub(super) const fn outline_bytes(bytes: u64) -> u64 {
    match group_count(bytes) {
        0 | 1 => 0,
        groups => groups * ID_BYTES as u64,
    }
}

/// How long the file of a content of `bytes` is.
pub(super) const fn file_bytes(bytes: u64) -> u64 {
    bytes + outline_bytes(bytes) + FOOTER.len() as u64
}

/// How long the content in a file of `file` bytes is, if that is a length that a
/// blob's file can have.
pub(super) fn content_bytes(file: u64) -> Option<u64> {
    let rest = file.checked_sub(FOOTER.len() as u64)?;
    let bytes = match rest <= GROUP {
        true => rest,
        false => rest - rest.div_ceil(GROUP + ID_BYTES as u64) * ID_BYTES as u64,
    };
    (bytes <= BLOB_BYTES_MAX && file_bytes(bytes) == file).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_file_tells_that_of_its_content() {
        let borders = (0..6).map(|groups| groups * GROUP);
        let borders = borders.chain([BLOB_BYTES_MAX - GROUP, BLOB_BYTES_MAX]);
        for border in borders {
            for bytes in border.saturating_sub(100)..=(border + 100).min(BLOB_BYTES_MAX) {
                assert_eq!(content_bytes(file_bytes(bytes)), Some(bytes));
            }
        }
    }

    #[test]
    fn a_length_that_no_blob_has_is_told() {
        // Between one group without an outline and one byte more, with two hashes.
        for file in file_bytes(GROUP) + 1..file_bytes(GROUP + 1) {
            assert_eq!(content_bytes(file), None, "{file}");
        }
        for file in [0, 1, 15, file_bytes(BLOB_BYTES_MAX) + 1, u64::MAX] {
            assert_eq!(content_bytes(file), None, "{file}");
        }
    }
}
