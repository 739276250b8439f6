//! A whole sequence as bytes: version, kind, authors by key with their updates, parents
//! of runs, then how many elements in a row are visible and deleted in turn, then what
//! the visible ones hold. The same edits give the same bytes, in whatever order they
//! came.
//!
//! Where elements lie is not said but follows from the tree. So bytes that are read
//! can tell nothing that does not fit together, but for a tree that is none, and
//! numbers that do not add up; each is looked for, in `loading.rs`.

use std::ops::ControlFlow;

use super::Sequence;
use super::content::Content;
use super::error::SequenceError;
use super::id::{Id, Side};
use super::loading::Loading;
use super::past::Past;
use super::wire::put_number;
use super::work::Allowance;
use crate::ids::NodeId;

pub(super) const VERSION: u8 = 1;

pub(super) const LEFT: u8 = 0;
pub(super) const RIGHT: u8 = 1;

impl Sequence {
    /// All of it, for this node to open again. Edits that nobody has taken are
    /// refused, for they have no stamp yet.
    ///
    /// # Errors
    /// [`SequenceError::EditsWait`].
    pub fn save(&self) -> Result<Vec<u8>, SequenceError> {
        if !self.waiting.is_empty() {
            return Err(SequenceError::EditsWait);
        }
        let mut numbers: Vec<u32> = (0..self.authors.len() as u32)
            .filter(|&a| self.pasts[a as usize] != Past::default())
            .collect();
        numbers.sort_by_key(|&a| self.authors[a as usize].key);
        let mut names = vec![0u64; self.authors.len()];
        let mut out = vec![VERSION, self.kind.code()];
        put_number(&mut out, numbers.len() as u64);
        for (&author, name) in numbers.iter().zip(1..) {
            names[author as usize] = name;
            out.extend_from_slice(self.authors[author as usize].key.as_bytes());
            put_past(&mut out, &self.pasts[author as usize]);
        }
        let mut starts: Vec<(Id, Id, Side)> = self.tree.starts().collect();
        starts.sort_unstable_by_key(|(id, ..)| (names[id.author as usize], id.counter));
        put_number(&mut out, starts.len() as u64);
        for (id, parent, side) in starts {
            put_number(&mut out, names[id.author as usize]);
            put_number(&mut out, id.counter);
            let name = names.get(parent.author as usize).copied().unwrap_or(0);
            put_number(&mut out, name);
            if name > 0 {
                put_number(&mut out, parent.counter);
            }
            out.push(if side == Side::Left { LEFT } else { RIGHT });
        }
        let (mut is_visible, mut run) = (true, 0u64);
        for piece in self.pieces.iter() {
            if piece.is_visible() != is_visible {
                put_number(&mut out, run);
                (is_visible, run) = (piece.is_visible(), 0);
            }
            run += u64::from(piece.len);
        }
        if run > 0 {
            put_number(&mut out, run);
        }
        match self.pieces.content() {
            Content::Text(text) => out.extend_from_slice(text.as_bytes()),
            Content::Values(values) => {
                for value in values {
                    put_number(&mut out, value.len() as u64);
                    out.extend_from_slice(&value);
                }
            }
        }
        Ok(out)
    }

    /// What [`Sequence::save`] gave. The author is this node's, who edits. Takes time
    /// and memory in proportion to the bytes, whatever they are; [`Loading`] does it in parts.
    ///
    /// # Errors
    /// [`SequenceError::Malformed`] for all bytes that no sequence has.
    pub fn open(author: NodeId, saved: &[u8]) -> Result<Self, SequenceError> {
        let loading = Loading::begin(author, saved.to_vec())?;
        match loading.step(&Allowance::unbounded())? {
            ControlFlow::Break(sequence) => Ok(sequence),
            ControlFlow::Continue(_) => unreachable!("without a bound it is not stopped"),
        }
    }
}

fn put_past(out: &mut Vec<u8>, past: &Past) {
    put_number(out, past.last().bits());
    put_number(out, past.insertions().len() as u64);
    let (mut stamp, mut count) = (0, 0);
    for (later, more) in past.insertions() {
        put_number(out, later.bits() - stamp);
        put_number(out, more - count);
        (stamp, count) = (later.bits(), more);
    }
}
