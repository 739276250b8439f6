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
use super::update::{Decoding, Deletion, Insertion};
use super::work::Allowance;
use crate::hlc::Hlc;
use crate::ids::NodeId;

/// An update on its way into a sequence. It is read and judged whole before anything
/// changes. From then on nothing else may be done to the sequence until it is in.
#[derive(Debug)]
pub struct Arriving {
    author: NodeId,
    own: u32,
    stamp: Hlc,
    /// How many elements of each author that is named the update's author knew.
    counts: HashMap<u32, u32>,
    /// Of the whole update.
    update_bytes: usize,
    stage: Stage,
}

/// Bytes of memory for one of an update: a value of one byte is two there.
const BYTES_OF_ONE: usize = 16;

impl Arriving {
    /// The bytes of memory that it takes at most, about; 0 once all is in.
    pub fn memory_bytes(&self) -> usize {
        match &self.stage {
            Stage::Applying {
                insertions,
                deletions,
                ..
            } if insertions.len() + deletions.len() == 0 => 0,
            _ => self.update_bytes * BYTES_OF_ONE,
        }
    }
}

#[derive(Debug)]
enum Stage {
    Reading(Decoding),
    Applying {
        insertions: std::vec::IntoIter<Insertion>,
        deletions: std::vec::IntoIter<Deletion>,
        /// What is left of one.
        deletion: Option<Deletion>,
    },
}

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
        let mut arriving = self.begin_apply(author, stamp, update)?;
        let all = Allowance::unbounded();
        let whole = self.go_on_applying(&mut arriving, seen, update, &all)?;
        assert!(whole, "without a bound it is not stopped");
        Ok(())
    }

    /// Begins the same, to be done in parts by [`Sequence::go_on_applying`].
    ///
    /// # Errors
    /// As [`Sequence::apply`].
    pub fn begin_apply(
        &self,
        author: NodeId,
        stamp: Hlc,
        update: &[u8],
    ) -> Result<Arriving, SequenceError> {
        if !self.waiting.is_empty() {
            return Err(SequenceError::EditsWait);
        }
        check_bytes(update.len())?;
        let known = self.numbers.get(&author).copied();
        let own = known.unwrap_or(self.authors.len() as u32);
        let decoding = Decoding::begin(update, self.kind, author, own)?;
        Ok(Arriving {
            author,
            own,
            stamp,
            counts: HashMap::new(),
            update_bytes: update.len(),
            stage: Stage::Reading(decoding),
        })
    }

    /// Does some more of it, with the same bytes, and with what the delta had seen as
    /// [`Sequence::apply`] is told. Tells whether the update is in.
    ///
    /// # Errors
    /// As [`Sequence::apply`]: nothing has changed then.
    pub fn go_on_applying(
        &mut self,
        arriving: &mut Arriving,
        seen: impl Fn(&NodeId) -> Hlc,
        update: &[u8],
        allowance: &Allowance,
    ) -> Result<bool, SequenceError> {
        if let Stage::Reading(decoding) = &mut arriving.stage {
            let number = |key: &NodeId| {
                let number = self.numbers.get(key).copied()?;
                let count = self.pasts[number as usize].count(seen(key));
                arriving.counts.insert(number, count);
                Some(number)
            };
            if !decoding.step(update, allowance, number)? {
                return Ok(false);
            }
            self.judge(arriving)?;
        }
        let Stage::Applying {
            insertions,
            deletions,
            deletion,
        } = &mut arriving.stage
        else {
            unreachable!("what was judged is applied");
        };
        loop {
            if allowance.is_used_up() {
                return Ok(false);
            }
            if let Some(insertion) = insertions.next() {
                self.integrate(insertion);
            } else if let Some((first, len)) = deletion.take().or_else(|| deletions.next()) {
                *deletion = self.pieces.delete(first, len, allowance, |_, _| {});
            } else {
                self.note(arriving.own, arriving.stamp);
                return Ok(true);
            }
        }
    }

    /// Judges an update that is read. From then on nothing can fail.
    fn judge(&mut self, arriving: &mut Arriving) -> Result<(), SequenceError> {
        let Stage::Reading(decoding) = &mut arriving.stage else {
            return Ok(());
        };
        let author = arriving.author;
        let known = self.numbers.get(&author).copied();
        let expected = known.map_or(0, |own| self.authors[own as usize].next);
        if decoding.first != expected {
            let got = decoding.first;
            return Err(SequenceError::Discontinuous {
                author,
                got,
                expected,
            });
        }
        self.check_later(author, known, arriving.stamp)?;
        check_elements(expected, decoding.inserted())?;
        check_seen(author, arriving.own, &arriving.counts, decoding)?;
        self.number(author);
        arriving.stage = Stage::Applying {
            insertions: std::mem::take(&mut decoding.insertions).into_iter(),
            deletions: std::mem::take(&mut decoding.deletions).into_iter(),
            deletion: None,
        };
        Ok(())
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

/// Every element that is named must be one that the author knew.
fn check_seen(
    author: NodeId,
    own: u32,
    seen: &HashMap<u32, u32>,
    update: &Decoding,
) -> Result<(), SequenceError> {
    let is_seen = |id: Id, len: u32, own_next: u32| {
        let count = match id.author == own {
            true => own_next,
            false => seen.get(&id.author).copied().unwrap_or(0),
        };
        id.counter.checked_add(len).is_some_and(|end| end <= count)
    };
    let mut own_next = update.first;
    for Insertion {
        parent, content, ..
    } in &update.insertions
    {
        if *parent != Id::ROOT && !is_seen(*parent, 1, own_next) {
            return Err(SequenceError::Unseen { author });
        }
        own_next += content.len() as u32;
    }
    let mut deletions = update.deletions.iter();
    match deletions.all(|&(first, len)| is_seen(first, len, own_next)) {
        true => Ok(()),
        false => Err(SequenceError::Unseen { author }),
    }
}
