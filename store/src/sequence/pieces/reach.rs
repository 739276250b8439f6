//! Where a row of elements ends that have something in common, as all have that hang
//! below one. Looked for by halves, so that it costs the logarithm of how many there are.

use super::super::chunk::Piece;
use super::super::id::Id;
use super::Pieces;

impl Pieces {
    /// The last of the elements from this one on that are `within` something. Those
    /// that are, this one too, lie in a row.
    pub(in crate::sequence) fn last_within(&self, id: Id, within: impl Fn(Id) -> bool) -> Id {
        let (at, offset) = self.find(id);
        let pieces = self.chunks[at.chunk as usize].pieces();
        let piece = pieces[at.piece];
        let begins_within = |piece: &Piece| within(piece.first);
        if piece.last() != id && !within(piece.last()) {
            return last_of(&piece, offset, within);
        }
        let behind = &pieces[at.piece + 1..];
        let count = match behind.first() {
            Some(next) if !begins_within(next) => 0,
            _ => behind.partition_point(begins_within),
        };
        let mut last = pieces[at.piece + count];
        if count == behind.len() {
            let position = self.position(at.chunk);
            let begins_chunk =
                |n: usize| begins_within(&self.at_position(position + n).pieces()[0]);
            let further = gallop(self.order.len() - 1 - position, begins_chunk);
            if further > 0 {
                let pieces = self.at_position(position + further).pieces();
                last = pieces[pieces.partition_point(begins_within) - 1];
            }
        }
        last_of(&last, 0, within)
    }

    /// The first of the elements up to this one that are `within` something. Those that
    /// are, this one too, lie in a row.
    pub(in crate::sequence) fn first_within(&self, id: Id, within: impl Fn(Id) -> bool) -> Id {
        let (at, offset) = self.find(id);
        let pieces = self.chunks[at.chunk as usize].pieces();
        let piece = pieces[at.piece];
        let ends_outside = |piece: &Piece| !within(piece.last());
        if piece.first != id && !within(piece.first) {
            return first_of(&piece, offset, within);
        }
        let before = &pieces[..at.piece];
        let outside = match before.last() {
            Some(previous) if ends_outside(previous) => before.len(),
            _ => before.partition_point(ends_outside),
        };
        let mut first = pieces[outside];
        if outside == 0 {
            let position = self.position(at.chunk);
            let ends_chunk = |n: usize| {
                let last = self.at_position(position - n).pieces().last();
                last.is_some_and(|last| within(last.last()))
            };
            let further = gallop(position, ends_chunk);
            if further > 0 {
                let pieces = self.at_position(position - further).pieces();
                first = pieces[pieces.partition_point(ends_outside)];
            }
        }
        first_of(&first, first.len - 1, within)
    }
}

/// The last element of a piece that is within; the one at `offset` is.
fn last_of(piece: &Piece, offset: u32, within: impl Fn(Id) -> bool) -> Id {
    let (mut inside, mut outside) = (offset, piece.len);
    if within(piece.last()) {
        return piece.last();
    }
    while inside + 1 < outside {
        let middle = inside + (outside - inside) / 2;
        match within(piece.first.plus(middle)) {
            true => inside = middle,
            false => outside = middle,
        }
    }
    piece.first.plus(inside)
}

/// The first element of a piece that is within; the one at `offset` is.
fn first_of(piece: &Piece, offset: u32, within: impl Fn(Id) -> bool) -> Id {
    if within(piece.first) {
        return piece.first;
    }
    let (mut outside, mut inside) = (0, offset);
    while outside + 1 < inside {
        let middle = outside + (inside - outside) / 2;
        match within(piece.first.plus(middle)) {
            true => inside = middle,
            false => outside = middle,
        }
    }
    piece.first.plus(inside)
}

/// The greatest number up to `max` that `holds`, where it holds for all below one that it
/// holds for; 0 if it holds for none.
fn gallop(max: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut inside, mut outside) = (0, 1);
    while outside <= max && holds(outside) {
        inside = outside;
        outside = (outside * 2).min(max + 1);
    }
    while inside + 1 < outside {
        let middle = inside + (outside - inside) / 2;
        match holds(middle) {
            true => inside = middle,
            false => outside = middle,
        }
    }
    inside
}
