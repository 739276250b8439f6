//! Edits that are made here, by index, until an update takes them or they are rolled
//! back. Others' updates are in `apply.rs`.

use super::Sequence;
use super::bounds::{UPDATE_BYTES_MAX, check_elements};
use super::content::Content;
use super::error::SequenceError;
use super::id::{Id, Side};
use super::update::{self, Deletion, Insertion};
use super::waiting::Undo;
use crate::hlc::Hlc;

impl Sequence {
    /// Inserts before the element that has this index now, or at the end.
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
        self.waiting.insert(new.clone());
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

    /// Deletes elements.
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`], or `TooLarge`, also if the update would have more
    /// than [`super::UPDATE_EDITS_MAX`] edits. Nothing has changed then.
    pub fn delete(&mut self, index: usize, len: usize) -> Result<(), SequenceError> {
        self.check_range(index, len)?;
        if len == 0 {
            return Ok(());
        }
        let runs = self.joined(self.pieces.runs(index, len));
        self.waiting.check_deletions(runs.len())?;
        for (first, len) in runs {
            let waiting = &mut self.waiting;
            self.pieces
                .delete(first, len, |id, content| waiting.keep(id, content));
            self.waiting.delete((first, len));
        }
        Ok(())
    }

    /// The same runs, joined where everything between two of an author is deleted
    /// already. So to empty a sequence takes an edit for each author, and not for each
    /// piece.
    fn joined(&self, mut runs: Vec<Deletion>) -> Vec<Deletion> {
        runs.sort_unstable();
        let mut joined: Vec<Deletion> = Vec::new();
        for (first, len) in runs {
            if let Some((start, run)) = joined.last_mut()
                && start.author == first.author
                && self.pieces.visible_from(start.plus(*run)) == Some(first)
            {
                *run = first.counter + len - start.counter;
            } else {
                joined.push((first, len));
            }
        }
        joined
    }

    /// Takes back all edits since the last update was taken. What they had cut is
    /// joined again.
    pub fn roll_back(&mut self) {
        for undo in self.waiting.roll_back() {
            match undo {
                Undo::Delete { first, content } => self.pieces.restore(first, content),
                Undo::Insert { first, len } => {
                    self.pieces.remove(first, len);
                    self.tree.unhang(&self.authors, first);
                    self.authors[first.author as usize].next = first.counter;
                }
            }
        }
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
        let waiting = std::mem::take(&mut self.waiting);
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
