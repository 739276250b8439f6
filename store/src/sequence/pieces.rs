//! Where the elements lie: pieces of consecutive elements of one author, in
//! chunks, found by index and by id. Why they lie there is in `tree.rs`.
//!
//! An index is found by going over the chunks' sums, which for a sequence that
//! is in a million pieces are some ten thousand numbers in a row.

use std::collections::BTreeMap;

use super::content::Content;
use super::id::Id;

/// Elements in a piece: cutting one costs as much.
pub(super) const PIECE_MAX: usize = 512;

/// Pieces in a chunk, before it is halved.
const CHUNK_MAX: usize = 128;

/// Consecutive elements of one author that lie together.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) first: Id,
    pub(super) len: u32,
    /// None once they are deleted.
    pub(super) content: Option<Content>,
}

impl Piece {
    fn visible(&self) -> usize {
        if self.content.is_some() {
            self.len as usize
        } else {
            0
        }
    }

    /// The element behind its last one.
    pub(super) fn end(&self) -> Id {
        self.first.plus(self.len)
    }
}

/// A piece by its chunk and its index therein.
#[derive(Clone, Copy, Debug)]
struct At {
    chunk: u32,
    piece: usize,
}

/// All elements in their order.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    chunks: Vec<Vec<Piece>>,
    /// The chunks in order, and how many visible elements each has.
    order: Vec<u32>,
    sums: Vec<usize>,
    /// The chunk of each piece, by its first element.
    index: BTreeMap<Id, u32>,
    len: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            chunks: vec![Vec::new()],
            order: vec![0],
            sums: vec![0],
            index: BTreeMap::new(),
            len: 0,
        }
    }
}

impl Pieces {
    /// How many elements are visible.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The pieces in order, deleted ones too.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.order
            .iter()
            .flat_map(|&chunk| &self.chunks[chunk as usize])
    }

    /// Whether this element is in one of them.
    pub(super) fn contains(&self, id: Id) -> bool {
        self.try_find(id).is_some()
    }

    /// The first element of all, deleted ones too.
    pub(super) fn first(&self) -> Option<Id> {
        self.iter().next().map(|piece| piece.first)
    }

    /// The visible element with this index. There is one.
    pub(super) fn id_at(&self, index: usize) -> Id {
        let (position, piece, offset) = self.seek(index);
        self.chunk(position)[piece].first.plus(offset as u32)
    }

    /// The element that lies behind this one, deleted ones too.
    pub(super) fn after(&self, id: Id) -> Option<Id> {
        let (at, offset) = self.find(id);
        let pieces = &self.chunks[at.chunk as usize];
        if offset + 1 < pieces[at.piece].len {
            return Some(id.plus(1));
        }
        if let Some(next) = pieces.get(at.piece + 1) {
            return Some(next.first);
        }
        let position = self.position(at.chunk);
        let later = self.order[position + 1..].iter();
        later
            .flat_map(|&chunk| self.chunks[chunk as usize].first())
            .map(|p| p.first)
            .next()
    }

    /// The runs of elements that the visible ones from `index` on belong to.
    pub(super) fn runs(&self, index: usize, mut len: usize) -> Vec<(Id, u32)> {
        let mut runs: Vec<(Id, u32)> = Vec::new();
        self.visible(index, |piece, offset| {
            let count = (piece.len as usize - offset).min(len);
            let first = piece.first.plus(offset as u32);
            match runs.last_mut() {
                Some((start, run)) if start.plus(*run) == first => *run += count as u32,
                _ => runs.push((first, count as u32)),
            }
            len -= count;
            len > 0
        });
        runs
    }

    /// Appends visible elements from `index` on to `out`.
    pub(super) fn read(&self, index: usize, mut len: usize, out: &mut Content) {
        self.visible(index, |piece, offset| {
            let count = (piece.len as usize - offset).min(len);
            if let Some(content) = &piece.content {
                out.append_part(content, offset, offset + count);
            }
            len -= count;
            len > 0
        });
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
        self.insert_visible(at, first, content);
    }

    /// Puts new elements directly before one.
    pub(super) fn insert_before(&mut self, before: Id, first: Id, content: Content) {
        let at = self.cut(before);
        self.insert_visible(at, first, content);
    }

    /// Puts a piece behind all others, as it was saved.
    pub(super) fn push(&mut self, piece: Piece) {
        let chunk = *self.order.last().expect("there is always a chunk");
        let end = self.chunks[chunk as usize].len();
        self.put(At { chunk, piece: end }, piece);
    }

    /// Deletes elements, of which some may be deleted already; what was not,
    /// comes back.
    pub(super) fn delete(&mut self, first: Id, len: u32) -> Vec<(Id, Content)> {
        let mut gone = Vec::new();
        self.each_within(first, len, |piece| {
            let content = piece.content.take();
            gone.extend(content.map(|content| (piece.first, content)));
        });
        gone
    }

    /// Makes deleted elements visible again.
    pub(super) fn restore(&mut self, first: Id, content: Content) {
        let mut content = Some(content);
        self.each_within(
            first,
            content.as_ref().map_or(0, |c| c.len() as u32),
            |piece| {
                let mut mine = content.take().expect("as long as the elements");
                content = Some(mine.split_off(piece.len as usize));
                piece.content = Some(mine);
            },
        );
    }

    /// Takes elements out without a trace.
    pub(super) fn remove(&mut self, first: Id, len: u32) {
        self.each_within(first, len, |piece| piece.content = None);
        let mut next = first;
        while next.counter < first.counter + len {
            let (at, _) = self.find(next);
            let piece = self.chunks[at.chunk as usize].remove(at.piece);
            self.index.remove(&piece.first);
            next = piece.end();
        }
    }

    /// Does the same to each piece within a range, which is cut out of others.
    fn each_within(&mut self, first: Id, len: u32, mut change: impl FnMut(&mut Piece)) {
        let end = first.plus(len);
        let mut next = first;
        while next.counter < end.counter {
            let at = self.cut(next);
            if self.chunks[at.chunk as usize][at.piece].end().counter > end.counter {
                self.split(at, end.counter - next.counter);
            }
            let position = self.position(at.chunk);
            let piece = &mut self.chunks[at.chunk as usize][at.piece];
            let before = piece.visible();
            change(piece);
            let after = piece.visible();
            next = piece.end();
            self.sums[position] = self.sums[position] - before + after;
            self.len = self.len - before + after;
            self.halve(position);
        }
    }

    /// Shows the visible pieces from an index on, until one is enough.
    fn visible(&self, index: usize, mut show: impl FnMut(&Piece, usize) -> bool) {
        if index >= self.len {
            return;
        }
        let (position, first, mut offset) = self.seek(index);
        let mut skip = first;
        for &chunk in &self.order[position..] {
            for piece in &self.chunks[chunk as usize][skip..] {
                if piece.content.is_some() {
                    if !show(piece, offset) {
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
        assert!(index < self.len, "an index is below the length");
        let mut left = index;
        let position = self
            .sums
            .iter()
            .position(|&sum| {
                let here = left < sum;
                if !here {
                    left -= sum;
                }
                here
            })
            .expect("the sums add up to the length");
        for (i, piece) in self.chunk(position).iter().enumerate() {
            if left < piece.visible() {
                return (position, i, left);
            }
            left -= piece.visible();
        }
        unreachable!("a chunk has as many visible elements as its sum says")
    }

    fn chunk(&self, position: usize) -> &[Piece] {
        &self.chunks[self.order[position] as usize]
    }

    fn position(&self, chunk: u32) -> usize {
        self.order
            .iter()
            .position(|&c| c == chunk)
            .expect("every chunk is in the order")
    }

    /// The piece that has this element, and where therein. There is one: ids
    /// from outside are checked before they come here.
    fn find(&self, id: Id) -> (At, u32) {
        self.try_find(id).expect("the element is in the sequence")
    }

    fn try_find(&self, id: Id) -> Option<(At, u32)> {
        let (&first, &chunk) = self.index.range(..=id).next_back()?;
        let piece = self.chunks[chunk as usize]
            .iter()
            .position(|p| p.first == first)?;
        let offset = id.counter.checked_sub(first.counter)?;
        let here = first.author == id.author && offset < self.chunks[chunk as usize][piece].len;
        here.then_some((At { chunk, piece }, offset))
    }

    /// The piece that begins with this element, which is cut if it must be.
    fn cut(&mut self, id: Id) -> At {
        let (at, offset) = self.find(id);
        self.split(at, offset);
        // A halved chunk may have taken it along.
        self.find(id).0
    }

    /// Cuts a piece in two, unless that is at its border.
    fn split(&mut self, at: At, offset: u32) {
        let piece = &mut self.chunks[at.chunk as usize][at.piece];
        if offset == 0 || offset == piece.len {
            return;
        }
        let rest = Piece {
            first: piece.first.plus(offset),
            len: piece.len - offset,
            content: piece.content.as_mut().map(|c| c.split_off(offset as usize)),
        };
        piece.len = offset;
        self.index.insert(rest.first, at.chunk);
        // Not halved here, so that the caller's place stays what it is.
        self.chunks[at.chunk as usize].insert(at.piece + 1, rest);
    }

    fn insert_visible(&mut self, at: At, first: Id, content: Content) {
        if let Some(before) = at.piece.checked_sub(1) {
            // Typing makes the piece longer that ends here.
            let position = self.position(at.chunk);
            let piece = &mut self.chunks[at.chunk as usize][before];
            let len = content.len();
            if piece.end() == first
                && piece.len as usize + len <= PIECE_MAX
                && let Some(mine) = &mut piece.content
            {
                mine.append(content);
                piece.len += len as u32;
                self.sums[position] += len;
                self.len += len;
                return;
            }
        }
        let mut parts = Vec::new();
        let mut start = first;
        for content in content.into_parts(PIECE_MAX) {
            let len = content.len() as u32;
            parts.push(Piece {
                first: start,
                len,
                content: Some(content),
            });
            start = start.plus(len);
        }
        let mut behind: Option<Id> = None;
        for part in parts {
            let at = match behind {
                None => at,
                Some(id) => {
                    let (at, _) = self.find(id);
                    At {
                        piece: at.piece + 1,
                        ..at
                    }
                }
            };
            behind = Some(part.first);
            self.put(at, part);
        }
    }

    /// Puts a piece in its place.
    fn put(&mut self, at: At, piece: Piece) {
        let position = self.position(at.chunk);
        self.sums[position] += piece.visible();
        self.len += piece.visible();
        self.index.insert(piece.first, at.chunk);
        self.chunks[at.chunk as usize].insert(at.piece, piece);
        self.halve(position);
    }

    /// Halves a chunk that has too many pieces, and its halves if they have.
    fn halve(&mut self, position: usize) {
        let pieces = &mut self.chunks[self.order[position] as usize];
        if pieces.len() <= CHUNK_MAX {
            return;
        }
        let moved = pieces.split_off(pieces.len() / 2);
        let sum: usize = moved.iter().map(Piece::visible).sum();
        let new = self.chunks.len() as u32;
        for piece in &moved {
            self.index.insert(piece.first, new);
        }
        self.chunks.push(moved);
        self.order.insert(position + 1, new);
        self.sums.insert(position + 1, sum);
        self.sums[position] -= sum;
        self.halve(position + 1);
        self.halve(position);
    }
}
