//! The stable memory of a context: an array of bytes that is kept as entries of a space of its own
//! ([`Space::Stable`](crate::Space::Stable)), so it merges, travels and counts as all state does.
//! Why so: `store/decisions/0021-stable-memory.md`. Who reads and writes it as bytes is not here.
//!
//! It has two kinds of entries, both registers. A *block* is [`STABLE_BLOCK_BYTES`] of the array
//! under its number, of which zeros at its end may be left out; a block without an entry is all zeros. An *end*
//! says, by its key alone, that the memory reaches to the end of a block. The greatest key of the space tells how long
//! the memory is: so of two nodes that make it longer at the same time the one that goes further is
//! followed, and neither can make it shorter.

use crate::delta::{OpView, WriteView};

/// Bytes of a block: what is written, sent and merged at once.
pub const STABLE_BLOCK_BYTES: usize = 1024;

/// What stands behind a block's number in the key of an end. The key of the block itself is shorter,
/// and so in front of it.
const END: u8 = 0;

/// What the key of an entry of a stable memory names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StableKey {
    /// The block of this number, counted from 0.
    Block(u32),
    /// That the memory reaches to the end of the block of this number.
    End(u32),
}

impl StableKey {
    /// What this key names; none if no key of a stable memory looks so.
    pub fn from_key(key: &[u8]) -> Option<StableKey> {
        let (number, rest) = key.split_first_chunk::<4>()?;
        let number = u32::from_be_bytes(*number);
        match rest {
            [] => Some(StableKey::Block(number)),
            [END] => Some(StableKey::End(number)),
            _ => None,
        }
    }

    /// The most bytes of its value.
    pub(crate) fn value_bytes_max(self) -> usize {
        match self {
            StableKey::Block(_) => STABLE_BLOCK_BYTES,
            StableKey::End(_) => 0,
        }
    }
}

/// Whether a write can be one of a stable memory.
pub(crate) fn is_write(op: &OpView<'_>) -> bool {
    let Some(key) = StableKey::from_key(op.key) else {
        return false;
    };
    match op.write {
        WriteView::Set(value) => value.len() <= key.value_bytes_max(),
        WriteView::Remove => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_behind_their_blocks_and_before_the_next() {
        let keys: [(&[u8], Option<StableKey>); 8] = [
            (&[], None),
            (&[0, 0, 1], None),
            (&[0, 0, 1, 0], Some(StableKey::Block(256))),
            (&[0, 0, 1, 0, 0], Some(StableKey::End(256))),
            (&[0, 0, 1, 0, 0, 0], None),
            (&[0, 0, 1, 0, 1], None),
            (&[0, 0, 1, 1], Some(StableKey::Block(257))),
            (&[255; 4], Some(StableKey::Block(u32::MAX))),
        ];
        assert!(keys.iter().map(|(key, _)| key).is_sorted());
        for (key, expected) in keys {
            assert_eq!(StableKey::from_key(key), expected, "{key:?}");
        }
    }
}
