//! A whole sequence as bytes: version, kind, authors by key with their updates, parents
//! of runs, then how many elements in a row are visible and deleted in turn, then what
//! the visible ones hold. The same edits give the same bytes, in whatever order they
//! came.
//!
//! Where elements lie is not said but follows from the tree. So bytes that are read
//! can tell nothing that does not fit together, but for a tree that is none, and
//! numbers that do not add up; each is looked for.

use super::Sequence;
use super::bounds::AUTHOR_ELEMENTS_MAX;
use super::chunk::PIECE_MAX;
use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use super::id::{Id, Side};
use super::past::Past;
use super::tree::{Author, Tree, continues};
use super::walk::Walk;
use super::wire::{Reader, put_number};
use crate::hlc::Hlc;
use crate::ids::NodeId;

const VERSION: u8 = 1;

const LEFT: u8 = 0;
const RIGHT: u8 = 1;

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
    /// and memory in proportion to the bytes, whatever they are.
    ///
    /// # Errors
    /// [`SequenceError::Malformed`] for all bytes that no sequence has.
    pub fn open(author: NodeId, saved: &[u8]) -> Result<Self, SequenceError> {
        let mut reader = Reader::new(saved);
        if reader.byte("a version")? != VERSION {
            return Err(reader.expected("version 1"));
        }
        let kind = match reader.byte("a kind")? {
            0 => SequenceKind::List,
            1 => SequenceKind::Text,
            _ => return Err(reader.expected("a kind")),
        };
        let mut new = Sequence::new(kind, author);
        new.authors.clear();
        new.pasts.clear();
        new.numbers.clear();
        for number in 0..reader.count()? {
            let key = reader.key()?;
            if new.authors.last().is_some_and(|last| last.key >= key) {
                return Err(reader.expected("keys in ascending order"));
            }
            let past = read_past(&mut reader)?;
            let next = past.next();
            new.insertions += past.insertions().len();
            new.authors.push(Author { key, next });
            new.pasts.push(past);
            new.numbers.insert(key, number as u32);
        }
        new.tree = read_tree(&mut reader, &new.authors)?;
        new.read_elements(&mut reader)?;
        new.own = new.number(author);
        Ok(new)
    }

    /// Reads which elements are visible, and what they hold.
    fn read_elements(&mut self, reader: &mut Reader<'_>) -> Result<(), SequenceError> {
        let total: u64 = self.authors.iter().map(|a| u64::from(a.next)).sum();
        let (mut sum, mut visible) = (0u64, 0u64);
        let mut runs = Vec::new();
        while sum < total {
            let run = reader.number()?;
            let is_visible = runs.len() % 2 == 0;
            sum = match sum.checked_add(run) {
                Some(sum) if sum <= total && (run > 0 || runs.is_empty()) => sum,
                _ => return Err(reader.expected("as many elements as the authors have")),
            };
            visible += if is_visible { run } else { 0 };
            runs.push(run);
        }
        let mut contents = reader.contents(self.kind, visible)?;
        let mut runs = runs.into_iter();
        let (mut is_visible, mut left) = (false, 0);
        for (mut first, mut len) in Walk::new(&self.tree, &self.authors) {
            while len > 0 {
                while left == 0 {
                    left = runs.next().expect("the runs have as many as the walk");
                    is_visible = !is_visible;
                }
                let mut part = u32::try_from(left).unwrap_or(u32::MAX).min(len);
                if is_visible {
                    // As they will lie, so that nothing is in memory twice.
                    part = part.min(PIECE_MAX as u32);
                }
                match is_visible {
                    true => self.pieces.push(first, contents.take(part as usize)?),
                    false => self.pieces.push_deleted(first, part),
                }
                (len, left) = (len - part, left - u64::from(part));
                if len > 0 {
                    first = first.plus(part);
                }
            }
        }
        contents.end()
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

fn read_past(reader: &mut Reader<'_>) -> Result<Past, SequenceError> {
    let last = reader.number()?;
    let (mut stamp, mut count) = (0u64, 0u32);
    let mut past = Past::default();
    for _ in 0..reader.count()? {
        let (later, more) = (reader.number()?, reader.counter()?);
        let sum = stamp.checked_add(later).zip(count.checked_add(more));
        let is_growing = later > 0 && more > 0;
        (stamp, count) = match sum {
            Some(sum) if is_growing && sum.0 <= last && sum.1 <= AUTHOR_ELEMENTS_MAX => sum,
            _ => return Err(reader.expected("growing stamps and counts")),
        };
        past.add(Hlc::from_bits(stamp), count);
    }
    if last == 0 {
        return Err(reader.expected("a stamp"));
    }
    past.add(Hlc::from_bits(last), count);
    Ok(past)
}

fn read_tree(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Tree, SequenceError> {
    let mut tree = Tree::default();
    let mut last = None;
    for _ in 0..reader.count()? {
        let start = read_id(reader, authors)?;
        // The first element of each author begins a run, so that every one is in one.
        let is_next = match last {
            None => start.counter == 0,
            Some(Id { author, counter }) if author == start.author => start.counter > counter,
            Some(Id { author, .. }) => start.author > author && start.counter == 0,
        };
        if start == Id::ROOT || !is_next {
            return Err(reader.expected("the elements that begin runs, in ascending order"));
        }
        last = Some(start);
        let parent = read_id(reader, authors)?;
        let side = match reader.byte("a side")? {
            LEFT => Side::Left,
            RIGHT => Side::Right,
            _ => return Err(reader.expected("a side")),
        };
        let is_root_left = parent == Id::ROOT && side == Side::Left;
        if is_root_left || continues(start, parent, side) {
            return Err(reader.expected("a parent on whose side a run can begin"));
        }
        tree.plant(authors, start, parent, side);
    }
    for (author, number) in authors.iter().zip(0..) {
        let first = Id {
            author: number,
            counter: 0,
        };
        if author.next > 0 && !tree.is_start(first) {
            return Err(reader.expected("a run for each author's first element"));
        }
    }
    match tree.settle_all(authors) {
        true => Ok(tree),
        false => Err(reader.expected("runs that hang on earlier ones")),
    }
}

/// An element of one of the authors, or the root.
fn read_id(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Id, SequenceError> {
    let Some(author) = reader.counter()?.checked_sub(1) else {
        return Ok(Id::ROOT);
    };
    let counter = reader.counter()?;
    match authors.get(author as usize) {
        Some(a) if counter < a.next => Ok(Id { author, counter }),
        _ => Err(reader.expected("an element of an author above")),
    }
}
