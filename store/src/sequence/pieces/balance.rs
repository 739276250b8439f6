//! Keeping chunks within their bounds, and their sums and indices true.

use super::super::chunk::{CHUNK_ELEMENTS_MAX, CHUNK_PIECES_MAX, Chunk};
#[cfg(test)]
use super::super::content::Content;
use super::super::work;
use super::{At, Pieces};

/// Chunks that are numbered anew in one step.
const NUMBERS_PER_STEP: usize = 64;

/// A chunk with fewer pieces looks for a neighbour to join.
const CHUNK_PIECES_MIN: usize = CHUNK_PIECES_MAX / 4;

impl Pieces {
    /// Notes that so many elements of a chunk have become visible, or with -1 have gone.
    pub(super) fn count(&mut self, chunk: u32, sign: isize, len: usize, bytes: usize) {
        let position = self.position(chunk);
        let add = |sum: &mut usize, by: usize| match sign {
            1 => *sum += by,
            _ => *sum -= by,
        };
        add(&mut self.sums[position], len);
        add(&mut self.len, len);
        add(&mut self.bytes, bytes);
    }

    /// Makes one of a piece and its neighbours, where they can be, and keeps the chunk
    /// within its bounds.
    pub(super) fn mend(&mut self, at: At) {
        self.mend_seam(At {
            piece: at.piece + 1,
            ..at
        });
        self.mend_seam(at);
        self.halve(at.chunk);
    }

    /// Makes one of a piece and that before it, if they can be.
    pub(super) fn mend_seam(&mut self, at: At) {
        let Some(before) = at.piece.checked_sub(1) else {
            return;
        };
        if let Some(first) = self.chunks[at.chunk as usize].merge(before)
            && self.visible.remove(&first).is_none()
        {
            self.deleted.remove(&first);
        }
    }

    /// Halves a chunk that has too many pieces or elements, and its halves if they have.
    pub(super) fn halve(&mut self, chunk: u32) {
        let position = self.position(chunk);
        let visible = self.sums[position];
        if !self.chunks[chunk as usize].is_full(visible) {
            return;
        }
        let moved = self.chunks[chunk as usize].halve(visible);
        let sum = moved.visible();
        let new = self.chunks.len() as u32;
        self.chunks.push(moved);
        self.positions.push(0);
        self.name(new);
        self.order.insert(position + 1, new);
        self.sums.insert(position + 1, sum);
        self.sums[position] -= sum;
        self.number_from(position + 1);
        self.halve(new);
        self.halve(chunk);
    }

    /// Joins a chunk that has become small with a neighbour, if there is one with
    /// room, so that what was rolled back leaves no chunks behind.
    pub(super) fn join(&mut self, chunk: u32) {
        let here = self.chunks[chunk as usize].pieces().len();
        if here >= CHUNK_PIECES_MIN || self.order.len() == 1 {
            return;
        }
        let position = self.position(chunk);
        let has_room = |&former: &usize| {
            let pieces = |at: usize| self.at_position(at).pieces().len();
            let visible = self.sums[former] + self.sums[former + 1];
            let pieces = pieces(former) + pieces(former + 1);
            here == 0 || (pieces <= CHUNK_PIECES_MAX / 2 && visible <= CHUNK_ELEMENTS_MAX / 2)
        };
        let neighbours = [position.checked_sub(1), Some(position)];
        let neighbours = neighbours.into_iter().flatten();
        let former = neighbours
            .filter(|former| former + 1 < self.order.len())
            .find(has_room);
        let Some(former) = former else {
            return;
        };
        let (into, gone) = (self.order[former], self.order.remove(former + 1));
        let sum = self.sums.remove(former + 1);
        self.sums[former] += sum;
        let moved = std::mem::replace(&mut self.chunks[gone as usize], Chunk::empty(self.kind));
        let piece = self.chunks[into as usize].append(moved);
        // The last chunk takes the number that has become free.
        self.chunks.swap_remove(gone as usize);
        self.positions.pop();
        let last = self.chunks.len() as u32;
        for chunk in self.order.iter_mut().filter(|chunk| **chunk == last) {
            *chunk = gone;
        }
        self.number_from(0);
        if gone != last {
            self.name(gone);
        }
        let into = self.order[former];
        self.name(into);
        self.mend_seam(At { chunk: into, piece });
    }

    /// Says of the pieces of a chunk that they are in it.
    fn name(&mut self, chunk: u32) {
        work::steps(self.chunks[chunk as usize].pieces().len());
        for piece in self.chunks[chunk as usize].pieces() {
            let index = match piece.is_visible() {
                true => &mut self.visible,
                false => &mut self.deleted,
            };
            index.insert(piece.first, chunk);
        }
    }

    /// Says of the chunks from a position on where they are.
    fn number_from(&mut self, position: usize) {
        work::steps((self.order.len() - position) / NUMBERS_PER_STEP);
        for (at, &chunk) in self.order.iter().enumerate().skip(position) {
            self.positions[chunk as usize] = at as u32;
        }
    }
}

#[cfg(test)]
impl Pieces {
    /// Panics if chunks, sums and indices do not fit together.
    pub(in crate::sequence) fn check(&self) {
        assert_eq!(self.chunks.len(), self.order.len());
        assert_eq!(self.positions.len(), self.order.len());
        let (mut pieces, mut bytes) = (0, 0);
        for (position, &chunk) in self.order.iter().enumerate() {
            assert_eq!(self.positions[chunk as usize] as usize, position);
            let here = &self.chunks[chunk as usize];
            here.check();
            assert!(!here.pieces().is_empty() || self.order.len() == 1);
            assert!(!here.is_full(here.visible()));
            assert_eq!(here.visible(), self.sums[position]);
            for piece in here.pieces() {
                let (index, other) = match piece.is_visible() {
                    true => (&self.visible, &self.deleted),
                    false => (&self.deleted, &self.visible),
                };
                assert_eq!(index.get(&piece.first), Some(&chunk));
                assert!(!other.contains_key(&piece.first));
            }
            pieces += here.pieces().len();
            let mut content = Content::empty(self.kind);
            here.read_all(&mut content);
            bytes += content.bytes();
        }
        assert_eq!(pieces, self.visible.len() + self.deleted.len());
        assert_eq!(self.len, self.sums.iter().sum::<usize>());
        assert_eq!(self.bytes, bytes);
    }
}
