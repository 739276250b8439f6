//! What kinds of entries there are, and in which spaces of a context. The
//! numbers are part of every format.

use std::fmt;

/// What an entry is, and so how two writes of it are merged. 4 is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Bytes; the last writer wins, by stamp and then by author.
    Register = 1,
    /// A number that nodes add to.
    Counter = 2,
    /// Something that is there or not; adding wins over removing.
    SetElement = 3,
    /// A row of values.
    List = 5,
    /// A row of characters.
    Text = 6,
    /// Bytes; the first writer wins, and they stay.
    WriteOnce = 7,
}

impl EntryKind {
    /// Every kind, in ascending order of numbers.
    pub const ALL: [EntryKind; 6] = [
        EntryKind::Register,
        EntryKind::Counter,
        EntryKind::SetElement,
        EntryKind::List,
        EntryKind::Text,
        EntryKind::WriteOnce,
    ];

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EntryKind::Register => "register",
            EntryKind::Counter => "counter",
            EntryKind::SetElement => "set element",
            EntryKind::List => "list",
            EntryKind::Text => "text",
            EntryKind::WriteOnce => "write-once value",
        })
    }
}

/// Which part of a context an entry is in. Keys of different spaces never meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// What every node of the context has and may write.
    #[default]
    Shared = 0,
    /// What every node has, and one author alone may write: a key begins with the
    /// [`OWNER_BYTES`](Self::OWNER_BYTES) of its owner's public key.
    Owned = 1,
    /// What stays on this node, in no delta and no root. It has registers only.
    Private = 2,
    /// Which blobs the context refers to, on every node: set elements, whose keys are
    /// those of an [`Attachment`](crate::Attachment).
    Attached = 3,
    /// What this node's server is to do for the context by itself, such as its timers: registers,
    /// in no delta and no root. Guests do not reach it as entries.
    Agenda = 4,
    /// The blocks of its stable memory, on every node: registers, whose keys are those of a
    /// [`StableKey`](crate::StableKey). Guests do not reach it as entries.
    Stable = 5,
}

impl Space {
    /// Every space, in ascending order of numbers.
    pub const ALL: [Space; 6] = [
        Space::Shared,
        Space::Owned,
        Space::Private,
        Space::Attached,
        Space::Agenda,
        Space::Stable,
    ];

    /// How many bytes of a key of [`Space::Owned`] name the owner.
    pub const OWNER_BYTES: usize = 32;

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| space.number() == number)
    }

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// Whether other nodes have it as well.
    pub const fn is_replicated(self) -> bool {
        match self {
            Space::Shared | Space::Owned | Space::Attached | Space::Stable => true,
            Space::Private | Space::Agenda => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_others_are_refused() {
        for number in 0..=u8::MAX {
            if let Some(kind) = EntryKind::from_number(number) {
                assert_eq!(kind.number(), number);
            }
            if let Some(space) = Space::from_number(number) {
                assert_eq!(space.number(), number);
            }
        }
        assert_eq!(EntryKind::from_number(0), None);
        assert_eq!(EntryKind::from_number(4), None);
        assert_eq!(Space::from_number(6), None);
        assert!(EntryKind::ALL.is_sorted());
    }
}
