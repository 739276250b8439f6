//! Where the elements lie: pieces of consecutive elements of one author, in
//! chunks, found by index and by id. Why they lie there is in `tree.rs`, what a
//! chunk does within itself in `chunk.rs`. Here is what is done to elements;
//! `reach.rs` looks for where a row of them ends, `balance.rs` keeps chunks in bounds.
//!
//! An index is found by going over the chunks' sums, which for a sequence that
//! is in a million pieces are some ten thousand numbers in a row.

mod balance;
mod reach;

use std::collections::BTreeMap;

use super::chunk::{Chunk, PIECE_MAX, Piece};
use super::content::{Content, SequenceKind};
use super::id::Id;
use super::work::{self, Allowance, step};

/// A piece by its chunk and its index therein.
#[derive(Clone, Copy, Debug)]
struct At {
    chunk: u32,
    piece: usize,
}

/// All elements in their order.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    kind: SequenceKind,
    /// By number, which is another one when chunks go.
    chunks: Vec<Chunk>,
    /// The chunks in order, and how many visible elements each has. None is
    /// empty, unless there is one alone.
    order: Vec<u32>,
    sums: Vec<usize>,
    /// Where in the order each chunk is.
    positions: Vec<u32>,
    /// The chunk of each piece, by its first element: those that are visible, and
    /// those that are deleted. So what is deleted already costs a deletion nothing.
    visible: BTreeMap<Id, u32>,
    deleted: BTreeMap<Id, u32>,
    len: usize,
    bytes: usize,
}

impl Pieces {
    /// None, of this kind.
    pub(super) fn new(kind: SequenceKind) -> Self {
        Self {
            kind,
            chunks: vec![Chunk::empty(kind)],
            order: vec![0],
            sums: vec![0],
            positions: vec![0],
            visible: BTreeMap::new(),
            deleted: BTreeMap::new(),
            len: 0,
            bytes: 0,
        }
    }

    /// How many elements are visible.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many pieces there are, and how many chunks.
    pub(super) fn counts(&self) -> (usize, usize) {
        let pieces = self.visible.len() + self.deleted.len();
        (pieces, self.order.len())
    }

    /// The bytes that the visible elements hold together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pieces in order, deleted ones too.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece> {
        let chunks = self.order.iter();
        chunks.flat_map(|&chunk| self.chunks[chunk as usize].pieces())
    }

    /// What the visible elements hold.
    pub(super) fn content(&self) -> Content {
        let mut out = Content::empty(self.kind);
        for &chunk in &self.order {
            self.chunks[chunk as usize].read_all(&mut out);
        }
        out
    }

    /// The first element of all, deleted ones too.
    pub(super) fn first(&self) -> Option<Id> {
        self.iter().next().map(|piece| piece.first)
    }

    /// The visible element with this index. There is one.
    pub(super) fn id_at(&self, index: usize) -> Id {
        let (position, piece, offset) = self.seek(index);
        self.at_position(position).pieces()[piece]
            .first
            .plus(offset as u32)
    }

    /// The element that lies behind this one, deleted ones too.
    pub(super) fn after(&self, id: Id) -> Option<Id> {
        let (at, offset) = self.find(id);
        let pieces = self.chunks[at.chunk as usize].pieces();
        if offset + 1 < pieces[at.piece].len {
            return Some(id.plus(1));
        }
        if let Some(next) = pieces.get(at.piece + 1) {
            return Some(next.first);
        }
        let next = self.position(at.chunk) + 1;
        let next = (next < self.order.len()).then(|| self.at_position(next));
        next.map(|chunk| chunk.pieces()[0].first)
    }

    /// The first visible element of the same author that is not before this one.
    pub(super) fn visible_from(&self, id: Id) -> Option<Id> {
        step();
        let before = self.visible.range(..id).next_back();
        if let Some((first, chunk)) = before
            && first.author == id.author
            && let Some(piece) = self.chunks[*chunk as usize].piece(*first)
            && self.chunks[*chunk as usize].pieces()[piece].end().counter > id.counter
        {
            return Some(id);
        }
        let (next, _) = self.visible.range(id..).next()?;
        (next.author == id.author).then_some(*next)
    }

    /// Shows the runs of elements that the visible ones from `index` on belong to, as many as
    /// are allowed. Gives how many elements these are.
    pub(super) fn runs(
        &self,
        index: usize,
        len: usize,
        allowance: &Allowance,
        mut show: impl FnMut(Id, u32),
    ) -> usize {
        let mut left = len;
        self.each_visible(index, |chunk, piece, offset| {
            let piece = chunk.pieces()[piece];
            let count = (piece.len as usize - offset).min(left);
            show(piece.first.plus(offset as u32), count as u32);
            step();
            left -= count;
            left > 0 && !allowance.is_used_up()
        });
        len - left
    }

    /// Appends visible elements from `index` on to `out`, as many as are allowed and what lies in
    /// one chunk at least. Gives how many these are.
    pub(super) fn read(
        &self,
        index: usize,
        len: usize,
        allowance: &Allowance,
        out: &mut Content,
    ) -> usize {
        let mut left = len.min(self.len.saturating_sub(index));
        if left == 0 {
            return 0;
        }
        let len = left;
        let (position, mut from) = self.seek_chunk(index);
        for (&chunk, &visible) in self.order[position..].iter().zip(&self.sums[position..]) {
            let to = visible.min(from + left);
            if to > from {
                let before = out.units();
                self.chunks[chunk as usize].read(from, to, visible, out);
                step();
                work::bytes(out.units() - before);
                left -= to - from;
                if left == 0 || allowance.is_used_up() {
                    break;
                }
            }
            from = 0;
        }
        len - left
    }

    /// Puts new elements directly behind one, or before all.
    pub(super) fn insert_after(&mut self, after: Option<Id>, first: Id, content: Content) {
        let at = match after {
            None => At {
                chunk: self.order[0],
                piece: 0,
            },
            Some(id) => {
                let (at, offset) = self.find(id);
                self.split(at, offset + 1);
                At {
                    piece: at.piece + 1,
                    ..at
                }
            }
        };
        self.insert(at, first, content);
    }

    /// Puts new elements directly before one.
    pub(super) fn insert_before(&mut self, before: Id, first: Id, content: Content) {
        let at = self.cut(before);
        self.insert(at, first, content);
    }

    /// Puts elements behind all others, as they were saved.
    pub(super) fn push(&mut self, first: Id, content: Content) {
        let chunk = *self.order.last().expect("there is always a chunk");
        let piece = self.chunks[chunk as usize].pieces().len();
        self.insert(At { chunk, piece }, first, content);
    }

    /// Puts deleted elements behind all others, as they were saved.
    pub(super) fn push_deleted(&mut self, first: Id, len: u32) {
        let chunk = *self.order.last().expect("there is always a chunk");
        self.chunks[chunk as usize].push_deleted(first, len);
        self.deleted.insert(first, chunk);
        step();
        let piece = self.chunks[chunk as usize].pieces().len() - 1;
        self.mend(At { chunk, piece });
    }

    /// Deletes elements, of which some may be deleted already; what was not, is shown.
    /// Costs what there is to delete. Gives what is left when no more is allowed.
    pub(super) fn delete(
        &mut self,
        first: Id,
        len: u32,
        allowance: &Allowance,
        mut gone: impl FnMut(Id, Content),
    ) -> Option<(Id, u32)> {
        let end = first.counter + len;
        let mut next = first;
        while let Some(id) = self.visible_from(next)
            && id.counter < end
        {
            if id != first && allowance.is_used_up() {
                return Some((id, end - id.counter));
            }
            let at = self.cut_out(id, end);
            let piece = self.chunks[at.chunk as usize].pieces()[at.piece];
            let content = self.chunks[at.chunk as usize].delete(at.piece);
            self.visible.remove(&piece.first);
            self.deleted.insert(piece.first, at.chunk);
            work::steps(2);
            self.count(at.chunk, -1, piece.len as usize, content.bytes());
            self.mend(at);
            gone(piece.first, content);
            next = piece.end();
        }
        None
    }

    /// Makes deleted elements visible again.
    pub(super) fn restore(&mut self, first: Id, content: Content) {
        let end = first.counter + content.len() as u32;
        let (mut next, mut content) = (first, content);
        while next.counter < end {
            let at = self.cut_out(next, end);
            let piece = self.chunks[at.chunk as usize].pieces()[at.piece];
            let bytes = content.bytes();
            content = self.chunks[at.chunk as usize].restore(at.piece, content);
            self.deleted.remove(&piece.first);
            self.visible.insert(piece.first, at.chunk);
            work::steps(2);
            self.count(at.chunk, 1, piece.len as usize, bytes - content.bytes());
            self.mend(at);
            next = piece.end();
        }
    }

    /// Takes elements out without a trace.
    pub(super) fn remove(&mut self, first: Id, len: u32) {
        let end = first.counter + len;
        self.delete(first, len, &Allowance::unbounded(), |_, _| {});
        let mut next = first;
        while next.counter < end {
            let at = self.cut_out(next, end);
            let piece = self.chunks[at.chunk as usize].remove(at.piece);
            self.deleted.remove(&piece.first);
            next = piece.end();
            self.mend_seam(at);
            self.join(at.chunk);
        }
    }

    /// Shows the visible pieces from an index on, until one is enough.
    fn each_visible(&self, index: usize, mut show: impl FnMut(&Chunk, usize, usize) -> bool) {
        if index >= self.len {
            return;
        }
        let (position, first, mut offset) = self.seek(index);
        let mut skip = first;
        for (&chunk, &visible) in self.order[position..].iter().zip(&self.sums[position..]) {
            if visible == 0 {
                continue;
            }
            step();
            let chunk = &self.chunks[chunk as usize];
            for (at, piece) in chunk.pieces().iter().enumerate().skip(skip) {
                if piece.is_visible() {
                    if !show(chunk, at, offset) {
                        return;
                    }
                    offset = 0;
                }
            }
            skip = 0;
        }
    }

    /// The visible element with this index: its chunk's position, its piece, and
    /// where it is therein. There is one.
    fn seek(&self, index: usize) -> (usize, usize, usize) {
        let (position, left) = self.seek_chunk(index);
        let found = self.at_position(position).seek(left);
        let (piece, offset) = found.expect("a chunk has as many as its sum says");
        (position, piece, offset)
    }

    /// The chunk of the visible element with this index, by its position, and how many visible
    /// ones come before it therein. There is one.
    fn seek_chunk(&self, index: usize) -> (usize, usize) {
        assert!(index < self.len, "an index is below the length");
        let mut left = index;
        let is_here = |&sum: &usize| {
            let here = left < sum;
            if !here {
                left -= sum;
            }
            here
        };
        let position = self.sums.iter().position(is_here);
        let position = position.expect("the sums add up to the length");
        (position, left)
    }

    fn at_position(&self, position: usize) -> &Chunk {
        &self.chunks[self.order[position] as usize]
    }

    fn position(&self, chunk: u32) -> usize {
        self.positions[chunk as usize] as usize
    }

    /// The piece that has this element, and where therein. There is one: ids
    /// from outside are checked before they come here.
    fn find(&self, id: Id) -> (At, u32) {
        self.try_find(id).expect("the element is in the sequence")
    }

    fn try_find(&self, id: Id) -> Option<(At, u32)> {
        step();
        let visible = self.visible.range(..=id).next_back();
        let deleted = self.deleted.range(..=id).next_back();
        let (&first, &chunk) = visible.max(deleted)?;
        let piece = self.chunks[chunk as usize].piece(first)?;
        let offset = id.counter.checked_sub(first.counter)?;
        let len = self.chunks[chunk as usize].pieces()[piece].len;
        let is_here = first.author == id.author && offset < len;
        is_here.then_some((At { chunk, piece }, offset))
    }

    /// The piece that begins with this element, which is cut if it must be.
    fn cut(&mut self, id: Id) -> At {
        let (at, offset) = self.find(id);
        match self.split(at, offset) {
            true => At {
                piece: at.piece + 1,
                ..at
            },
            false => at,
        }
    }

    /// The same, and it ends before the author's element `end` at the latest.
    fn cut_out(&mut self, id: Id, end: u32) -> At {
        let at = self.cut(id);
        self.split(at, end - id.counter);
        at
    }

    /// Cuts a piece in two, unless that is at its border. The chunk is not halved
    /// here, so that places in it stay what they are.
    fn split(&mut self, at: At, offset: u32) -> bool {
        let Some(rest) = self.chunks[at.chunk as usize].split(at.piece, offset) else {
            return false;
        };
        let index = match rest.is_visible() {
            true => &mut self.visible,
            false => &mut self.deleted,
        };
        index.insert(rest.first, at.chunk);
        true
    }

    fn insert(&mut self, at: At, first: Id, content: Content) {
        let (len, bytes) = (content.len(), content.bytes());
        let chunk = &mut self.chunks[at.chunk as usize];
        let mut content = content;
        if let Some(before) = at.piece.checked_sub(1) {
            // Typing makes the piece longer that ends here.
            match chunk.extend(before, first, content, len) {
                Ok(()) => {
                    self.count(at.chunk, 1, len, bytes);
                    return self.halve(at.chunk);
                }
                Err(back) => content = back,
            }
        }
        let (mut at, mut first) = (at, first);
        for part in content.into_parts(PIECE_MAX) {
            let (len, bytes) = (part.len(), part.bytes());
            work::bytes(bytes);
            step();
            self.chunks[at.chunk as usize].put(at.piece, first, part, len);
            self.visible.insert(first, at.chunk);
            self.count(at.chunk, 1, len, bytes);
            self.halve(at.chunk);
            let (here, _) = self.find(first);
            at = At {
                piece: here.piece + 1,
                ..here
            };
            first = first.plus(len as u32);
        }
    }
}
