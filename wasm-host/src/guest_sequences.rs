//! The border to a context's lists and texts: the part of
//! [`GuestState`](crate::GuestState) that edits and reads them by place. How edits
//! merge and where they are kept is behind it.

use std::collections::BTreeMap;

use crate::guest_state::{NullState, Space, StateError};

/// Which of both a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SequenceKind {
    /// Values.
    List,
    /// Unicode scalar values, by which its places are counted.
    Text,
}

/// Consecutive elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elements {
    /// Of a list.
    Values(Vec<Vec<u8>>),
    /// Of a text.
    Text(String),
}

impl Elements {
    /// The kind of sequence that they are of.
    pub fn kind(&self) -> SequenceKind {
        match self {
            Elements::Values(_) => SequenceKind::List,
            Elements::Text(_) => SequenceKind::Text,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self {
            Elements::Values(values) => values.is_empty(),
            Elements::Text(text) => text.is_empty(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Elements::Values(values) => values.len() as u64,
            Elements::Text(text) => text.chars().count() as u64,
        }
    }

    /// The bytes that they have together.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Elements::Values(values) => values.iter().map(|value| value.len() as u64).sum(),
            Elements::Text(text) => text.len() as u64,
        }
    }

    /// Takes over those that follow, of the same kind.
    pub(crate) fn append(&mut self, more: Elements) {
        match (self, more) {
            (Elements::Values(values), Elements::Values(mut more)) => values.append(&mut more),
            (Elements::Text(text), Elements::Text(more)) => text.push_str(&more),
            _ => unreachable!("a sequence holds one kind of elements"),
        }
    }
}

/// How far a sequence is from being usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceStep {
    /// It is in memory, like all that the turn has opened before.
    Open {
        /// The memory of all of these.
        bytes: u64,
    },
    /// About a slice of work is done and more is left. How much there is depends on
    /// what happens to be in memory, so it costs no fuel; the slice ends.
    More {
        /// The memory of what is open, and of this one so far.
        bytes: u64,
    },
}

/// How far a removal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalStep {
    /// All is removed.
    Whole {
        /// The work of this step, in elementary ones.
        work: u64,
    },
    /// About a slice of work is done and more is left; the slice ends.
    More {
        /// The same.
        work: u64,
    },
}

/// Lists and texts, as one turn sees them. An entry that is not there is read as an
/// empty one; the first insertion makes it.
///
/// Everything but [`sequence_open`](Self::sequence_open) is only called of a sequence
/// that this has opened in the same turn, with places that are within its length. The
/// turn is known to be allowed to write what it edits.
pub trait GuestSequences {
    /// Brings the list or text under `key` into memory, a step at a time. Refuses an
    /// entry of another kind.
    fn sequence_open(
        &mut self,
        kind: SequenceKind,
        space: Space,
        key: &[u8],
    ) -> Result<SequenceStep, StateError>;

    /// How many elements it has.
    fn sequence_length(
        &mut self,
        kind: SequenceKind,
        space: Space,
        key: &[u8],
    ) -> Result<u64, StateError>;

    /// Inserts elements, one at least, before the one at `index`, or at the end. Many come in
    /// parts, one behind the other, each about half a slice of work at most.
    fn sequence_insert(
        &mut self,
        space: Space,
        key: &[u8],
        index: u64,
        elements: Elements,
    ) -> Result<(), StateError>;

    /// Removes `count` elements, one at least, from `index` on, a step at a time: called with
    /// the same arguments until it is whole, and nothing else is called meanwhile.
    fn sequence_remove(
        &mut self,
        kind: SequenceKind,
        space: Space,
        key: &[u8],
        index: u64,
        count: u64,
    ) -> Result<RemovalStep, StateError>;

    /// `count` elements from `index` on; fewer if they come to more than
    /// `bytes_max`, but with those that exceed it; and fewer, but one at least, if that is about
    /// a slice of work: the slice ends, and it is opened again and asked for the rest.
    fn sequence_read(
        &mut self,
        kind: SequenceKind,
        space: Space,
        key: &[u8],
        index: u64,
        count: u64,
        bytes_max: u64,
    ) -> Result<Elements, StateError>;
}

/// What has no lists and texts.
macro_rules! without_sequences {
    ($state:ty) => {
        impl GuestSequences for $state {
            fn sequence_open(
                &mut self,
                _kind: SequenceKind,
                _space: Space,
                _key: &[u8],
            ) -> Result<SequenceStep, StateError> {
                refuse()
            }

            fn sequence_length(
                &mut self,
                _kind: SequenceKind,
                _space: Space,
                _key: &[u8],
            ) -> Result<u64, StateError> {
                refuse()
            }

            fn sequence_insert(
                &mut self,
                _space: Space,
                _key: &[u8],
                _index: u64,
                _elements: Elements,
            ) -> Result<(), StateError> {
                refuse()
            }

            fn sequence_remove(
                &mut self,
                _kind: SequenceKind,
                _space: Space,
                _key: &[u8],
                _index: u64,
                _count: u64,
            ) -> Result<RemovalStep, StateError> {
                refuse()
            }

            fn sequence_read(
                &mut self,
                _kind: SequenceKind,
                _space: Space,
                _key: &[u8],
                _index: u64,
                _count: u64,
                _bytes_max: u64,
            ) -> Result<Elements, StateError> {
                refuse()
            }
        }
    };
}

without_sequences!(NullState);
without_sequences!(BTreeMap<Vec<u8>, Vec<u8>>);

fn refuse<T>() -> Result<T, StateError> {
    Err(StateError::new("this state has no lists and texts"))
}
