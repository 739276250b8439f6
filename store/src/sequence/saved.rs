//! A whole sequence as bytes: authors by key, parents of runs, then pieces in
//! their order, each as long as it can be. The same edits give the same bytes,
//! in whatever order they came.

use std::collections::BTreeMap;

use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use super::id::{Id, Side};
use super::pieces::{PIECE_MAX, Piece, Pieces};
use super::tree::{Author, Tree};
use super::wire::{Reader, put_content, put_number};
use super::{Past, Sequence};
use crate::hlc::Hlc;
use crate::ids::NodeId;

const VERSION: u8 = 1;

impl Sequence {
    /// All of it, for this node to open again. Edits that nobody has taken are
    /// refused, for they have no stamp yet.
    ///
    /// # Errors
    /// [`SequenceError::EditsWait`].
    pub fn save(&self) -> Result<Vec<u8>, SequenceError> {
        if !self.ops.is_empty() {
            return Err(SequenceError::EditsWait);
        }
        let mut numbers: Vec<u32> = (0..self.authors.len() as u32)
            .filter(|&a| self.pasts[a as usize] != Past::default())
            .collect();
        numbers.sort_by_key(|&a| self.authors[a as usize].key);
        let sorted: BTreeMap<u32, u32> = numbers
            .iter()
            .enumerate()
            .map(|(new, &old)| (old, new as u32))
            .collect();
        let mut out = vec![VERSION, self.kind.code()];
        put_number(&mut out, numbers.len() as u64);
        for &old in &numbers {
            let past = &self.pasts[old as usize];
            out.extend_from_slice(self.authors[old as usize].key.as_bytes());
            put_number(&mut out, past.last.bits());
            put_number(&mut out, past.counts.len() as u64);
            let (mut stamp, mut count) = (0, 0);
            for &(later, more) in &past.counts {
                put_number(&mut out, later.bits() - stamp);
                put_number(&mut out, more - count);
                (stamp, count) = (later.bits(), more);
            }
        }
        let put_id = |out: &mut Vec<u8>, id: Id| {
            let name = sorted.get(&id.author).map_or(0, |new| new + 1);
            put_number(out, name);
            put_number(out, id.counter);
        };
        let mut starts: Vec<(Id, Id, Side)> = self.tree.starts().collect();
        starts.sort_by_key(|(id, ..)| (sorted[&id.author], id.counter));
        put_number(&mut out, starts.len() as u64);
        for (id, parent, side) in starts {
            put_id(&mut out, id);
            put_id(&mut out, parent);
            out.push(u8::from(side == Side::Right));
        }
        let mut put_run = |first: Id, len: u32, content: Option<&Content>| {
            put_id(&mut out, first);
            put_number(&mut out, len);
            out.push(u8::from(content.is_some()));
            if let Some(content) = content {
                put_content(&mut out, content);
            }
        };
        let mut run: Option<Piece> = None;
        for piece in self.pieces.iter() {
            match &mut run {
                Some(run)
                    if run.end() == piece.first
                        && run.content.is_some() == piece.content.is_some() =>
                {
                    run.len += piece.len;
                    if let (Some(mine), Some(more)) = (&mut run.content, &piece.content) {
                        mine.append(more.clone());
                    }
                }
                _ => {
                    if let Some(run) = run.replace(piece.clone()) {
                        put_run(run.first, run.len, run.content.as_ref());
                    }
                }
            }
        }
        if let Some(run) = run {
            put_run(run.first, run.len, run.content.as_ref());
        }
        Ok(out)
    }

    /// What [`Sequence::save`] gave. The author is this node's, who edits.
    ///
    /// # Errors
    /// [`SequenceError::Malformed`] for other bytes.
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
        let (mut authors, mut pasts) = (Vec::<Author>::new(), Vec::new());
        for _ in 0..reader.count()? {
            let key = reader.key()?;
            if authors.last().is_some_and(|last| last.key >= key) {
                return Err(reader.expected("keys in order"));
            }
            let past = past(&mut reader)?;
            authors.push(Author {
                key,
                next: past.next(),
            });
            pasts.push(past);
        }
        let id = |reader: &mut Reader<'_>| {
            let (name, counter) = (reader.counter()?, reader.counter()?);
            match name.checked_sub(1) {
                None if counter == 0 => Ok(Id::ROOT),
                Some(author)
                    if authors
                        .get(author as usize)
                        .is_some_and(|a| counter < a.next) =>
                {
                    Ok(Id { author, counter })
                }
                _ => Err(reader.expected("an element of an author above")),
            }
        };
        let mut tree = Tree::default();
        for _ in 0..reader.count()? {
            let (start, parent) = (id(&mut reader)?, id(&mut reader)?);
            let side = if reader.byte("a side")? == 0 {
                Side::Left
            } else {
                Side::Right
            };
            if start == Id::ROOT {
                return Err(reader.expected("an element"));
            }
            tree.hang(&authors, start, parent, side);
        }
        let mut pieces = Pieces::default();
        let mut total = 0u64;
        while !reader.is_empty() {
            let (mut first, len) = (id(&mut reader)?, reader.counter()?);
            if first == Id::ROOT || len == 0 || len > authors[first.author as usize].next {
                return Err(reader.expected("elements"));
            }
            total += u64::from(len);
            let parts = match reader.byte("whether they are visible")? {
                // What is deleted costs nothing to cut, so it stays whole.
                0 => vec![(len, None)],
                _ => {
                    let content = reader.content(kind)?;
                    if content.len() != len as usize {
                        return Err(reader.expected("as much content as elements"));
                    }
                    let parts = content.into_parts(PIECE_MAX).into_iter();
                    parts.map(|part| (part.len() as u32, Some(part))).collect()
                }
            };
            for (len, content) in parts {
                if pieces.contains(first) {
                    return Err(reader.expected("an element once"));
                }
                pieces.push(Piece {
                    first,
                    len,
                    content,
                });
                first = first.plus(len);
            }
        }
        if total != authors.iter().map(|a| u64::from(a.next)).sum::<u64>() {
            return Err(reader.expected("all elements of all authors"));
        }
        Ok(Self::assemble(kind, author, authors, pasts, tree, pieces))
    }
}

fn past(reader: &mut Reader<'_>) -> Result<Past, SequenceError> {
    let last = Hlc::from_bits(reader.number()?);
    let mut counts: Vec<(Hlc, u32)> = Vec::new();
    let (mut stamp, mut count) = (0u64, 0u32);
    for _ in 0..reader.count()? {
        let (later, more) = (reader.number()?, reader.counter()?);
        let sum = stamp.checked_add(later).zip(count.checked_add(more));
        (stamp, count) = match sum {
            Some(sum) if later > 0 && more > 0 && sum.0 <= last.bits() => sum,
            _ => return Err(reader.expected("growing stamps and counts")),
        };
        counts.push((Hlc::from_bits(stamp), count));
    }
    Ok(Past { last, counts })
}
