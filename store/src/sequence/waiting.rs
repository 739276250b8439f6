//! Edits that no update has taken yet, and how they are taken back. What they do to
//! the sequence is in `edit.rs`.

use std::collections::BTreeMap;

use super::bounds::{check_bytes, check_edits};
use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use super::id::{Id, Side};
use super::update::{Deletion, Insertion, Written};

/// Bytes that an edit takes in an update beside its content, at most.
const EDIT_BYTES: usize = 64;

/// Bytes that the length of a content or value takes in an update, at most.
const LENGTH_BYTES: usize = 5;

/// Edits that wait to be taken or rolled back.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) insertions: Vec<Written>,
    /// By first element; none touches another.
    deletions: BTreeMap<Id, u32>,
    undo: Vec<Undo>,
    /// Bytes of the update, at most, without its deletions.
    bytes: usize,
    /// What deleted elements held, one after the other.
    held: Content,
    held_bytes: usize,
}

/// How an edit is taken back.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Insert {
        first: Id,
        len: u32,
    },
    /// So many units of what is held.
    Delete {
        first: Id,
        units: usize,
    },
}

impl Waiting {
    /// None, in a sequence of this kind.
    pub(super) fn new(kind: SequenceKind) -> Self {
        Self {
            insertions: Vec::new(),
            deletions: BTreeMap::new(),
            undo: Vec::new(),
            bytes: 0,
            held: Content::empty(kind),
            held_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.insertions.is_empty() && self.deletions.is_empty()
    }

    /// About the bytes of memory that they take.
    pub(super) fn memory_bytes(&self) -> usize {
        2 * self.bytes
            + self.held_bytes
            + self.held_values() * size_of::<Box<[u8]>>()
            + self.undo.capacity() * size_of::<Undo>()
            + self.deletions.len() * EDIT_BYTES
    }

    fn held_values(&self) -> usize {
        match &self.held {
            Content::Values(values) => values.len(),
            Content::Text(_) => 0,
        }
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
        let is_typed = new.side == Side::Right && new.parent.plus(1) == new.first;
        is_typed
            && new.parent != Id::ROOT
            && self
                .insertions
                .last()
                .is_some_and(|last| last.end() == new.first)
    }

    pub(super) fn insert(&mut self, new: &Insertion) {
        let (first, len) = (new.first, new.content.len() as u32);
        let goes_on = self.goes_on(new);
        self.bytes += bytes_of(&new.content, usize::from(!goes_on));
        match self.insertions.last_mut() {
            Some(last) if goes_on => last.append(&new.content),
            _ => self.insertions.push(Written::of(new)),
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

    /// Keeps what deleted elements held.
    pub(super) fn keep(&mut self, first: Id, content: Content) {
        let units = content.units();
        self.held_bytes += content.bytes();
        self.held.append(content);
        self.undo.push(Undo::Delete { first, units });
    }

    pub(super) fn deletions(&self) -> impl Iterator<Item = Deletion> {
        self.deletions.iter().map(|(&first, &len)| (first, len))
    }

    /// What has to be undone, the newest first. Nothing waits any more when there is nothing.
    pub(super) fn last_undo(&mut self) -> Option<Undo> {
        let last = self.undo.pop();
        if last.is_none() {
            *self = Self::new(self.held.kind());
        }
        last
    }

    /// To be undone next: a part of what was to be undone.
    pub(super) fn put_back(&mut self, undo: Undo) {
        self.undo.push(undo);
    }

    /// The last units of what is held.
    pub(super) fn take_held(&mut self, units: usize) -> Content {
        let all = self.held.units();
        let held = self.held.take(all - units, all);
        self.held_bytes -= held.bytes();
        held
    }
}

fn bytes_of(content: &Content, edits: usize) -> usize {
    let lengths = match content {
        Content::Values(values) => values.len() + 1,
        Content::Text(_) => 1,
    };
    content.bytes() + LENGTH_BYTES * lengths + EDIT_BYTES * edits
}
