//! Under which keys of a context's agenda the server notes something for itself. All of a key's
//! first byte are one feature's; those of timers are in `timers/row.rs`.

use corelet_store::Space;

/// Its weight (`weight.rs`).
pub(crate) const WEIGHT: &[u8] = b"w";
/// What was counted of its calls (`statistics/stored.rs`).
pub(crate) const STATISTICS: &[u8] = b"u";

/// Whether an entry is such a note: it changes by itself, and the state does not change with it.
pub fn is_note(space: Space, key: &[u8]) -> bool {
    space == Space::Agenda && [WEIGHT, STATISTICS].contains(&key)
}
