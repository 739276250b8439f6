//! Some pieces in a row, and what their elements hold, as one content. So a
//! piece is a record of 16 bytes, whatever it holds. Which chunk comes when,
//! and which piece is where, is in `pieces/`.

use super::content::{Content, SequenceKind};
use super::id::Id;

/// Elements in a visible piece: to find a place in one costs as much.
pub(super) const PIECE_MAX: usize = 512;

/// Pieces in a chunk, before it is halved.
pub(super) const CHUNK_PIECES_MAX: usize = 128;

/// Visible elements in a chunk of more than one piece, before it is halved: to
/// insert in its midst moves them.
pub(super) const CHUNK_ELEMENTS_MAX: usize = 4096;

/// Consecutive elements of one author that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first: Id,
    pub(super) len: u32,
    /// How many units of the chunk's content are its elements'; 0 once they are deleted.
    units: u32,
}

impl Piece {
    pub(super) fn is_visible(&self) -> bool {
        self.units > 0
    }

    /// How many visible elements it has.
    pub(super) fn visible(&self) -> usize {
        if self.is_visible() {
            self.len as usize
        } else {
            0
        }
    }

    /// The element behind its last one.
    pub(super) fn end(&self) -> Id {
        self.first.plus(self.len)
    }

    /// Its last element.
    pub(super) fn last(&self) -> Id {
        self.first.plus(self.len - 1)
    }

    /// Whether it could be one with the piece behind it.
    fn fits(&self, next: &Piece) -> bool {
        self.end() == next.first
            && self.is_visible() == next.is_visible()
            && (!self.is_visible() || (self.len + next.len) as usize <= PIECE_MAX)
    }
}

/// Pieces in a row.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pieces: Vec<Piece>,
    /// What the visible ones hold, one behind the other.
    content: Content,
}

impl Chunk {
    pub(super) fn empty(kind: SequenceKind) -> Self {
        Self {
            pieces: Vec::new(),
            content: Content::empty(kind),
        }
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How many visible elements it has.
    pub(super) fn visible(&self) -> usize {
        self.pieces.iter().map(Piece::visible).sum()
    }

    /// Whether another piece, or more elements, would be too many.
    pub(super) fn is_full(&self, visible: usize) -> bool {
        self.pieces.len() > CHUNK_PIECES_MAX
            || (visible > CHUNK_ELEMENTS_MAX && self.pieces.len() > 1)
    }

    /// The index of the piece that begins with this element.
    pub(super) fn piece(&self, first: Id) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.first == first)
    }

    /// The piece of the visible element with this index, and where it is therein.
    pub(super) fn seek(&self, mut index: usize) -> Option<(usize, usize)> {
        for (at, piece) in self.pieces.iter().enumerate() {
            if index < piece.visible() {
                return Some((at, index));
            }
            index -= piece.visible();
        }
        None
    }

    /// Where in the content a piece's elements are.
    fn units(&self, at: usize) -> (usize, usize) {
        let before = self.pieces[..at].iter().map(|p| p.units as usize).sum();
        (before, before + self.pieces[at].units as usize)
    }

    /// Appends what some of its visible elements hold, of which it has so many. They lie one
    /// behind the other, in however many pieces.
    pub(super) fn read(&self, from: usize, to: usize, visible: usize, out: &mut Content) {
        let end = self.content.units();
        let from_unit = match from {
            0 => 0,
            from => self.content.units_of(0, end, from),
        };
        let to_unit = match to == visible {
            true => end,
            false => from_unit + self.content.units_of(from_unit, end, to - from),
        };
        out.append_part(&self.content, from_unit, to_unit);
    }

    /// Appends all that it holds.
    pub(super) fn read_all(&self, out: &mut Content) {
        out.append_part(&self.content, 0, self.content.units());
    }

    /// Cuts a piece in two before its element `offset`; gives the one behind, which is
    /// none if that is at a border.
    pub(super) fn split(&mut self, at: usize, offset: u32) -> Option<Piece> {
        let piece = self.pieces[at];
        if offset == 0 || offset >= piece.len {
            return None;
        }
        let mut units = 0;
        if piece.is_visible() {
            let (start, end) = self.units(at);
            units = self.content.units_of(start, end, offset as usize) as u32;
        }
        let rest = Piece {
            first: piece.first.plus(offset),
            len: piece.len - offset,
            units: piece.units - units,
        };
        let piece = &mut self.pieces[at];
        (piece.len, piece.units) = (offset, units);
        self.pieces.insert(at + 1, rest);
        Some(rest)
    }

    /// Makes one piece of two neighbours, if they can be; gives the first element of the
    /// one behind.
    pub(super) fn merge(&mut self, at: usize) -> Option<Id> {
        let (Some(piece), Some(&next)) = (self.pieces.get(at), self.pieces.get(at + 1)) else {
            return None;
        };
        if !piece.fits(&next) {
            return None;
        }
        self.pieces.remove(at + 1);
        let piece = &mut self.pieces[at];
        piece.len += next.len;
        piece.units += next.units;
        Some(next.first)
    }

    /// Makes a visible piece longer by elements that follow its last one, if it can be.
    /// They come back if it cannot.
    pub(super) fn extend(
        &mut self,
        at: usize,
        first: Id,
        content: Content,
        len: usize,
    ) -> Result<(), Content> {
        let piece = self.pieces[at];
        let fits = piece.end() == first && piece.is_visible();
        if !fits || piece.len as usize + len > PIECE_MAX {
            return Err(content);
        }
        let (_, end) = self.units(at);
        let piece = &mut self.pieces[at];
        piece.len += len as u32;
        piece.units += content.units() as u32;
        self.content.put(end, content);
        Ok(())
    }

    /// Puts a visible piece in front of the one with this index.
    pub(super) fn put(&mut self, at: usize, first: Id, content: Content, len: usize) {
        let start = match at.checked_sub(1) {
            Some(before) => self.units(before).1,
            None => 0,
        };
        let piece = Piece {
            first,
            len: len as u32,
            units: content.units() as u32,
        };
        self.pieces.insert(at, piece);
        self.content.put(start, content);
    }

    /// Puts deleted elements behind all others.
    pub(super) fn push_deleted(&mut self, first: Id, len: u32) {
        let units = 0;
        self.pieces.push(Piece { first, len, units });
    }

    /// Deletes what a piece holds, which comes back.
    pub(super) fn delete(&mut self, at: usize) -> Content {
        let (start, end) = self.units(at);
        self.pieces[at].units = 0;
        self.content.take(start, end)
    }

    /// Gives a deleted piece back what it held, or the first elements of that; the rest
    /// comes back.
    pub(super) fn restore(&mut self, at: usize, mut content: Content) -> Content {
        let (start, _) = self.units(at);
        let len = self.pieces[at].len as usize;
        let units = content.units_of(0, content.units(), len);
        let rest = content.take(units, content.units());
        self.pieces[at].units = units as u32;
        self.content.put(start, content);
        rest
    }

    /// Takes a piece out without a trace.
    pub(super) fn remove(&mut self, at: usize) -> Piece {
        let (start, end) = self.units(at);
        self.content.take(start, end);
        self.pieces.remove(at)
    }

    /// Cuts off the latter half, by pieces and by elements about equally.
    pub(super) fn halve(&mut self, visible: usize) -> Chunk {
        let mut at = self.pieces.len() / 2;
        if self.pieces.len() <= CHUNK_PIECES_MAX {
            let mut before = 0;
            let is_former = |piece: &Piece| {
                before += piece.visible();
                before <= visible / 2
            };
            let former = self.pieces.iter().copied().take_while(is_former).count();
            at = former.clamp(1, self.pieces.len() - 1);
        }
        let (start, _) = self.units(at);
        let content = self.content.take(start, self.content.units());
        let pieces = self.pieces.split_off(at);
        self.pieces.shrink_to_fit();
        self.content.shrink_to_fit();
        Chunk { pieces, content }
    }

    /// Takes over all that follows it; gives the index of the first piece that came.
    pub(super) fn append(&mut self, mut next: Chunk) -> usize {
        let seam = self.pieces.len();
        self.pieces.append(&mut next.pieces);
        self.content.append(next.content);
        seam
    }
}

#[cfg(test)]
impl Chunk {
    /// Panics if a piece has other elements than its part of the content.
    pub(super) fn check(&self) {
        let mut start = 0;
        for piece in &self.pieces {
            let end = start + piece.units as usize;
            let mut content = Content::empty(self.content.kind());
            content.append_part(&self.content, start, end);
            assert_eq!(content.len(), piece.visible());
            assert!(piece.len > 0 && piece.visible() <= PIECE_MAX);
            start = end;
        }
        assert_eq!(start, self.content.units());
    }
}
