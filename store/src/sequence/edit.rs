//! Edits that are made here, by index, until an update takes them or they are rolled
//! back. Deletions are in `deleting.rs`, others' updates in `apply.rs`.

use super::Sequence;
use super::bounds::{UPDATE_BYTES_MAX, check_elements};
use super::chunk::PIECE_MAX;
use super::content::Content;
use super::error::SequenceError;
use super::id::{Id, Side};
use super::update::{self, Insertion};
use super::waiting::{Undo, Waiting};
use super::work::Allowance;
use crate::hlc::Hlc;

impl Sequence {
    /// Inserts before the element that has this index now, or at the end. All in one go: what is
    /// much is inserted in parts, one behind the other, which comes to the same edit. Of 2,000
    /// values or 64 KiB of text each takes 0.25 ms at most (`examples/sequence_bulk.rs`).
    ///
    /// # Errors
    /// [`SequenceError::WrongKind`], `OutOfRange`, or `TooLarge`, also if the update
    /// would have more than [`super::UPDATE_EDITS_MAX`] edits. Nothing has changed then.
    pub fn insert(&mut self, index: usize, content: Content) -> Result<(), SequenceError> {
        if content.kind() != self.kind {
            return Err(SequenceError::WrongKind { kind: self.kind });
        }
        self.check_range(index, 0)?;
        if content.is_empty() {
            return Ok(());
        }
        let first = Id {
            author: self.own,
            counter: self.authors[self.own as usize].next,
        };
        check_elements(first.counter, content.len())?;
        let (parent, side) = self.place(index);
        let new = Insertion {
            first,
            parent,
            side,
            content,
        };
        self.waiting.check_insertion(&new)?;
        self.waiting.insert(&new);
        self.integrate(new);
        Ok(())
    }

    /// On which side of what an element hangs that is to have this index.
    fn place(&self, index: usize) -> (Id, Side) {
        let left = index.checked_sub(1).map(|index| self.pieces.id_at(index));
        let right = match left {
            Some(left) if !self.tree.has_right(&self.authors, left) => return (left, Side::Right),
            Some(left) => self.pieces.after(left),
            None => self.pieces.first(),
        };
        match right {
            Some(right) => (right, Side::Left),
            // What hangs on the right of another is behind it, so there is no other.
            None => (Id::ROOT, Side::Right),
        }
    }

    /// Takes back all edits since the last update was taken. What they had cut is
    /// joined again.
    pub fn roll_back(&mut self) {
        let whole = self.roll_back_some(&Allowance::unbounded());
        assert!(whole, "without a bound it is not stopped");
    }

    /// Does some of it. Tells whether all is taken back; nothing else may be done to the
    /// sequence before.
    pub fn roll_back_some(&mut self, allowance: &Allowance) -> bool {
        while !allowance.is_used_up() {
            match self.waiting.last_undo() {
                None => return true,
                Some(Undo::Delete { first, units }) => {
                    let content = self.waiting.take_held(units);
                    self.pieces.restore(first, content);
                }
                Some(Undo::Insert { first, len }) => {
                    let part = len.min(PIECE_MAX as u32);
                    self.pieces.remove(first.plus(len - part), part);
                    if part < len {
                        let len = len - part;
                        self.waiting.put_back(Undo::Insert { first, len });
                    } else {
                        self.tree.unhang(&self.authors, first);
                        self.authors[first.author as usize].next = first.counter;
                    }
                }
            }
        }
        false
    }

    /// Whether there are edits that no update has taken.
    pub fn has_edits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The edits since the last call, as the delta with this stamp carries them;
    /// none if there were none. They can no longer be rolled back.
    ///
    /// # Errors
    /// [`SequenceError::NotLater`], if the stamp is not after the last one, or is
    /// [`Hlc::ZERO`].
    pub fn take_update(&mut self, stamp: Hlc) -> Result<Option<Vec<u8>>, SequenceError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let own = self.own as usize;
        let key = self.authors[own].key;
        self.check_later(key, Some(self.own), stamp)?;
        let waiting = std::mem::replace(&mut self.waiting, Waiting::new(self.kind));
        let bytes = update::encode(
            self.kind,
            &self.authors,
            self.own,
            self.pasts[own].next(),
            &waiting.insertions,
            waiting.deletions(),
        );
        assert!(
            bytes.len() <= UPDATE_BYTES_MAX,
            "edits are bounded when they are made"
        );
        self.note(self.own, stamp);
        Ok(Some(bytes))
    }
}
