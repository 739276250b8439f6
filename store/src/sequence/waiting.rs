//! Edits that no update has taken yet, and how they are taken back. What they do to
//! the sequence is in `edit.rs`.

use std::collections::BTreeMap;

use super::bounds::{check_bytes, check_edits};
use super::content::Content;
use super::error::SequenceError;
use super::id::{Id, Side};
use super::update::{Deletion, Insertion};

/// Bytes that an edit takes in an update beside its content, at most.
const EDIT_BYTES: usize = 64;

/// Bytes that the length of a content or value takes in an update, at most.
const LENGTH_BYTES: usize = 5;

/// Edits that wait to be taken or rolled back.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    pub(super) insertions: Vec<Insertion>,
    /// By first element; none touches another.
    deletions: BTreeMap<Id, u32>,
    undo: Vec<Undo>,
    /// Bytes of the update, at most, without its deletions.
    bytes: usize,
    /// Bytes that deleted elements held.
    undo_bytes: usize,
}

/// How an edit is taken back.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Insert { first: Id, len: u32 },
    Delete { first: Id, content: Content },
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.insertions.is_empty() && self.deletions.is_empty()
    }

    /// About the bytes of memory that they take.
    pub(super) fn memory_bytes(&self) -> usize {
        2 * self.bytes
            + self.undo_bytes
            + self.undo.capacity() * size_of::<Undo>()
            + self.deletions.len() * EDIT_BYTES
    }

    /// Whether one more insertion can be made.
    pub(super) fn check_insertion(&self, new: &Insertion) -> Result<(), SequenceError> {
        let edits = usize::from(!self.goes_on(new));
        self.check(edits, bytes_of(&new.content, edits))
    }

    /// Whether so many more runs can be deleted.
    pub(super) fn check_deletions(&self, more: usize) -> Result<(), SequenceError> {
        self.check(more, 0)
    }

    fn check(&self, edits: usize, bytes: usize) -> Result<(), SequenceError> {
        check_edits(self.insertions.len() + self.deletions.len() + edits)?;
        check_bytes(self.bytes + bytes + (self.deletions.len() + edits) * EDIT_BYTES)
    }

    /// Typing makes one insertion of many.
    fn goes_on(&self, new: &Insertion) -> bool {
        let end = |last: &Insertion| last.first.plus(last.content.len() as u32);
        let is_typed = new.side == Side::Right && new.parent.plus(1) == new.first;
        is_typed
            && new.parent != Id::ROOT
            && self
                .insertions
                .last()
                .is_some_and(|last| end(last) == new.first)
    }

    pub(super) fn insert(&mut self, new: Insertion) {
        let (first, len) = (new.first, new.content.len() as u32);
        let goes_on = self.goes_on(&new);
        self.bytes += bytes_of(&new.content, usize::from(!goes_on));
        match self.insertions.last_mut() {
            Some(last) if goes_on => last.content.append(new.content),
            _ => self.insertions.push(new),
        }
        match self.undo.last_mut() {
            Some(Undo::Insert { len: before, .. }) if goes_on => *before += len,
            _ => self.undo.push(Undo::Insert { first, len }),
        }
    }

    /// Notes that a run goes, of which some elements may have gone before.
    pub(super) fn delete(&mut self, (mut first, len): Deletion) {
        let mut end = first.counter + len;
        while let Some((&id, &len)) = self.deletions.range(..=first.at(end)).next_back()
            && id.author == first.author
            && id.counter + len >= first.counter
        {
            self.deletions.remove(&id);
            first = first.min(id);
            end = end.max(id.counter + len);
        }
        self.deletions.insert(first, end - first.counter);
    }

    /// Keeps what a deleted run held.
    pub(super) fn keep(&mut self, first: Id, content: Content) {
        self.undo_bytes += content.bytes();
        self.undo.push(Undo::Delete { first, content });
    }

    pub(super) fn deletions(&self) -> impl Iterator<Item = Deletion> {
        self.deletions.iter().map(|(&first, &len)| (first, len))
    }

    /// What has to be undone, the newest first. Nothing waits any more.
    pub(super) fn roll_back(&mut self) -> impl Iterator<Item = Undo> + use<> {
        std::mem::take(self).undo.into_iter().rev()
    }
}

fn bytes_of(content: &Content, edits: usize) -> usize {
    let lengths = match content {
        Content::Values(values) => values.len() + 1,
        Content::Text(_) => 1,
    };
    content.bytes() + LENGTH_BYTES * lengths + EDIT_BYTES * edits
}
