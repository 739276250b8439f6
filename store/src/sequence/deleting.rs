//! Deleting a row of elements, in parts: however many pieces they lie in, a part has so
//! much work. It is an edit like those in `edit.rs`.
//!
//! The elements are looked for by their index, then their runs are joined by name where
//! everything between two of an author is deleted already. So to empty a sequence is an
//! edit for each author, and not for each piece. Then they are deleted.

use std::collections::BTreeMap;

use super::Sequence;
use super::bounds::UPDATE_EDITS_MAX;
use super::error::SequenceError;
use super::id::Id;
use super::memory::{ROOM, TAKEN};
use super::update::Deletion;
use super::work::{Allowance, step};

/// A deletion on its way. Nothing else may be done to the sequence until it has come to its
/// end, but to roll it back.
#[derive(Debug)]
pub struct Deleting {
    /// What is still to be looked for.
    index: usize,
    len: usize,
    /// What was found and is not joined yet.
    found: BTreeMap<Id, u32>,
    joined: Vec<Deletion>,
    is_joined: bool,
}

impl Deleting {
    /// About the bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let entry = size_of::<Deletion>();
        (self.found.len() * ROOM / TAKEN + self.joined.capacity()) * entry
    }
}

impl Sequence {
    /// Deletes elements.
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`], or `TooLarge`, also if the update would have more
    /// than [`super::UPDATE_EDITS_MAX`] edits. Nothing has changed then.
    pub fn delete(&mut self, index: usize, len: usize) -> Result<(), SequenceError> {
        let mut deleting = self.begin_delete(index, len)?;
        let whole = self.go_on_deleting(&mut deleting, &Allowance::unbounded())?;
        assert!(whole, "without a bound it is not stopped");
        Ok(())
    }

    /// Begins the same, to be done in parts by [`Sequence::go_on_deleting`].
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`].
    pub fn begin_delete(&self, index: usize, len: usize) -> Result<Deleting, SequenceError> {
        self.check_range(index, len)?;
        Ok(Deleting {
            index,
            len,
            found: BTreeMap::new(),
            joined: Vec::new(),
            is_joined: false,
        })
    }

    /// Does some more of it. Tells whether all of it is done.
    ///
    /// # Errors
    /// [`SequenceError::TooLarge`]. Nothing has changed then.
    pub fn go_on_deleting(
        &mut self,
        deleting: &mut Deleting,
        allowance: &Allowance,
    ) -> Result<bool, SequenceError> {
        while deleting.len > 0 {
            if allowance.is_used_up() {
                return Ok(false);
            }
            let found = &mut deleting.found;
            let show = |first, len| {
                step();
                found.insert(first, len);
            };
            let count = self
                .pieces
                .runs(deleting.index, deleting.len, allowance, show);
            deleting.index += count;
            deleting.len -= count;
        }
        if !deleting.is_joined {
            if !self.join(deleting, allowance)? {
                return Ok(false);
            }
            self.waiting.check_deletions(deleting.joined.len())?;
            deleting.is_joined = true;
        }
        while let Some((first, len)) = deleting.joined.pop() {
            if allowance.is_used_up() {
                deleting.joined.push((first, len));
                return Ok(false);
            }
            let waiting = &mut self.waiting;
            waiting.delete((first, len));
            let keep = |id, content| waiting.keep(id, content);
            let rest = self.pieces.delete(first, len, allowance, keep);
            deleting.joined.extend(rest);
        }
        Ok(true)
    }

    /// Joins runs between which everything is deleted already. Tells whether that is done.
    fn join(&self, deleting: &mut Deleting, allowance: &Allowance) -> Result<bool, SequenceError> {
        while !allowance.is_used_up() {
            let Some((first, len)) = deleting.found.pop_first() else {
                return Ok(true);
            };
            step();
            match deleting.joined.last_mut() {
                Some((start, run))
                    if start.author == first.author
                        && self.pieces.visible_from(start.plus(*run)) == Some(first) =>
                {
                    *run = first.counter + len - start.counter;
                }
                _ => deleting.joined.push((first, len)),
            }
            if deleting.joined.len() > UPDATE_EDITS_MAX {
                self.waiting.check_deletions(deleting.joined.len())?;
            }
        }
        Ok(false)
    }
}
