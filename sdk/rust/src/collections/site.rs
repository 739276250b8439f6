//! Where a collection's entries lie. What they mean is each collection's own.

use std::borrow::Cow;

use crate::host::{self, Space};
use crate::key::{AsKey, KeyBytes, Place};

/// The space and the beginning of the keys of one collection.
#[derive(Clone)]
pub struct Site {
    pub(super) space: Space,
    pub(super) prefix: Cow<'static, [u8]>,
}

/// The most entries that the host removes at once.
const REMOVE_AT_ONCE: u32 = host::SCAN_ENTRIES_MAX;

impl Site {
    pub(super) fn of_field(prefix: &'static [u8]) -> Site {
        Site {
            space: Space::Shared,
            prefix: Cow::Borrowed(prefix),
        }
    }

    /// The same keys in another space.
    pub(super) fn in_space(self, space: Space) -> Site {
        Site { space, ..self }
    }

    /// Where what lies under `key` has its own entries. The key says where it
    /// ends, so no other key's entries begin with the same bytes.
    pub(super) fn under<K, Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Site {
        let mut bytes = KeyBytes::new(&self.prefix);
        key.write(&mut bytes, Place::Inner);
        Site {
            space: self.space,
            prefix: Cow::Owned(bytes.as_slice().to_vec()),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        host::get(self.space, key)
    }

    /// Whether any key begins so.
    pub(super) fn is_empty(&self) -> bool {
        host::scan(self.space, &self.prefix, None, 1, false).is_empty()
    }

    /// Removes all entries but what is written once; tells how many there were.
    pub(super) fn clear(&self) -> u64 {
        let mut removed = 0;
        loop {
            let some = self.clear_some(&self.prefix, REMOVE_AT_ONCE);
            removed += u64::from(some);
            if some < REMOVE_AT_ONCE {
                return removed;
            }
        }
    }

    /// Removes the first `limit` entries whose keys begin with `prefix`.
    pub(super) fn clear_some(&self, prefix: &[u8], limit: u32) -> u32 {
        host::remove_range(self.space, prefix, limit.min(REMOVE_AT_ONCE))
    }
}
