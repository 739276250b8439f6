//! Updates of others: judged whole, then applied. Edits that are made here are in
//! `edit.rs`.
//!
//! Whether an update is refused follows from its bytes, its author's updates before
//! it, and the elements that its delta had seen: all of it is in the delta's own past,
//! which every replica that has the delta has too. What is concurrent to the delta
//! has no say. So replicas that apply the same updates, in whatever causal order,
//! refuse the same ones; and as the order of elements depends on nothing but what
//! was inserted, they have the same sequence.

use std::collections::HashMap;

use super::Sequence;
use super::bounds::{check_bytes, check_elements};
use super::error::SequenceError;
use super::id::Id;
use super::tree::Spot;
use super::update::{self, Decoded, Insertion};
use crate::hlc::Hlc;
use crate::ids::NodeId;

impl Sequence {
    /// Applies an update of an author, whose delta has this stamp. `seen` says
    /// for each author up to which stamp the delta had seen it: its version
    /// vector, which is worked out from its parents.
    ///
    /// # Errors
    /// Nothing has changed then. All but [`SequenceError::EditsWait`] follow
    /// from the arguments and from the updates that the delta had seen, so that
    /// each replica answers the same.
    pub fn apply(
        &mut self,
        author: NodeId,
        stamp: Hlc,
        seen: impl Fn(&NodeId) -> Hlc,
        update: &[u8],
    ) -> Result<(), SequenceError> {
        if !self.waiting.is_empty() {
            return Err(SequenceError::EditsWait);
        }
        check_bytes(update.len())?;
        let known = self.numbers.get(&author).copied();
        let own = known.unwrap_or(self.authors.len() as u32);
        let number = |key: &NodeId| self.numbers.get(key).copied();
        let decoded = update::decode(update, self.kind, author, own, number)?;
        let expected = known.map_or(0, |own| self.authors[own as usize].next);
        if decoded.first != expected {
            let got = decoded.first;
            return Err(SequenceError::Discontinuous {
                author,
                got,
                expected,
            });
        }
        self.check_later(author, known, stamp)?;
        check_elements(expected, decoded.inserted)?;
        self.check_seen(author, own, seen, &decoded)?;

        // From here on nothing can fail.
        let own = self.number(author);
        for insertion in decoded.insertions {
            self.integrate(insertion);
        }
        for (first, len) in decoded.deletions {
            self.pieces.delete(first, len, |_, _| {});
        }
        self.note(own, stamp);
        Ok(())
    }

    /// Every element that is named must be one that the author knew.
    fn check_seen(
        &self,
        author: NodeId,
        own: u32,
        seen: impl Fn(&NodeId) -> Hlc,
        decoded: &Decoded,
    ) -> Result<(), SequenceError> {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        let mut own_next = decoded.first;
        let mut is_seen = |id: Id, len: u32, own_next: u32| {
            let count = match id.author == own {
                true => own_next,
                false => *counts.entry(id.author).or_insert_with(|| {
                    let other = self.authors.get(id.author as usize);
                    other.map_or(0, |a| self.pasts[id.author as usize].count(seen(&a.key)))
                }),
            };
            id.counter.checked_add(len).is_some_and(|end| end <= count)
        };
        for Insertion {
            parent, content, ..
        } in &decoded.insertions
        {
            if *parent != Id::ROOT && !is_seen(*parent, 1, own_next) {
                return Err(SequenceError::Unseen { author });
            }
            own_next += content.len() as u32;
        }
        let mut deletions = decoded.deletions.iter();
        match deletions.all(|&(first, len)| is_seen(first, len, own_next)) {
            true => Ok(()),
            false => Err(SequenceError::Unseen { author }),
        }
    }

    /// Puts new elements where they belong.
    pub(super) fn integrate(&mut self, new: Insertion) {
        let Insertion {
            first,
            parent,
            side,
            content,
        } = new;
        let len = content.len() as u32;
        let spot = self
            .tree
            .spot(&self.authors, &self.pieces, first, parent, side);
        match spot {
            Spot::First => self.pieces.insert_after(None, first, content),
            Spot::After(id) => self.pieces.insert_after(Some(id), first, content),
            Spot::Before(id) => self.pieces.insert_before(id, first, content),
        }
        self.tree.hang(&self.authors, first, parent, side);
        self.authors[first.author as usize].next = first.counter + len;
    }

    /// Whether a stamp is later than the author's last one. Without one, it must be
    /// later than none.
    pub(super) fn check_later(
        &self,
        author: NodeId,
        number: Option<u32>,
        got: Hlc,
    ) -> Result<(), SequenceError> {
        let last = number.map_or(Hlc::ZERO, |number| self.pasts[number as usize].last());
        match got > last {
            true => Ok(()),
            false => Err(SequenceError::NotLater { author, got, last }),
        }
    }
}
