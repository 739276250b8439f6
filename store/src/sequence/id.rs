//! The names of elements: who inserted them, and as which of theirs. No order
//! here (see `tree.rs`). Plain values.

/// An element: its author's number in this sequence, and how many elements the
/// author had inserted before it. Numbers are local; keys are what travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) author: u32,
    pub(super) counter: u32,
}

impl Id {
    /// What the first elements hang on. Its right side is the whole sequence.
    pub(super) const ROOT: Id = Id {
        author: u32::MAX,
        counter: 0,
    };

    /// The element `by` behind this one of the same author.
    pub(super) fn plus(self, by: u32) -> Id {
        Id {
            author: self.author,
            counter: self.counter + by,
        }
    }

    /// The author's element with this counter.
    pub(super) fn at(self, counter: u32) -> Id {
        Id { counter, ..self }
    }

    /// The author's element before this one.
    pub(super) fn before(self) -> Option<Id> {
        Some(Id {
            author: self.author,
            counter: self.counter.checked_sub(1)?,
        })
    }
}

/// On which side of its parent an element hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Left,
    Right,
}
