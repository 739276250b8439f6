//! What is newer than a snapshot, as a scan meets it: several layers of writes in the
//! order of their keys, and the bounds of such a walk. The walk itself is in `scan.rs`.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use corelet_store::EntryKind;
use corelet_wasm_host::Row;

use crate::overlay::Shown;

pub(super) type Writes<'a> = Box<dyn Iterator<Item = (&'a Bytes, Option<&'a Shown>)> + 'a>;

/// A write that is newer than the snapshot.
pub(super) struct Newer<'a> {
    pub(super) key: &'a [u8],
    shown: Option<&'a Shown>,
    is_own: bool,
}

impl<'a> Newer<'a> {
    /// What a scan tells of it. How long an older update's removal stays in the
    /// overlay depends on the disk, and so must not cost fuel; the turn's own
    /// removals do.
    pub(super) fn row(&self) -> Row<'a> {
        match self.shown {
            Some(shown) if !shown.is_beneath => row_of(shown.kind, &shown.bytes),
            _ if self.is_own => Row::Removed,
            _ => Row::Hidden,
        }
    }

    /// Whether it has removed what the snapshot shows, and what it has beneath that is read now.
    pub(super) fn is_beneath(&self) -> bool {
        self.shown.is_some_and(|shown| shown.is_beneath)
    }
}

/// An entry of this kind, as a scan tells of it.
pub(super) fn row_of(kind: EntryKind, value: &[u8]) -> Row<'_> {
    match kind {
        EntryKind::WriteOnce => Row::WrittenOnce(value),
        EntryKind::Register
        | EntryKind::Counter
        | EntryKind::SetElement
        | EntryKind::List
        | EntryKind::Text => Row::Shown(value),
    }
}

/// The turn's own writes over what is pending over what has settled, in scan order.
pub(super) struct Merge<'a> {
    // The newest first.
    layers: [Peekable<Writes<'a>>; 3],
    reverse: bool,
}

impl<'a> Merge<'a> {
    pub(super) fn new(layers: [Writes<'a>; 3], reverse: bool) -> Self {
        Merge {
            layers: layers.map(Iterator::peekable),
            reverse,
        }
    }

    /// Whether a scan shows `a` before `b`.
    fn before(&self, a: &[u8], b: &[u8]) -> bool {
        if self.reverse { a > b } else { a < b }
    }

    /// The layer with the next key; of several the newest, whose write hides
    /// the others'.
    fn next_layer(&mut self) -> Option<(usize, &'a Bytes)> {
        let mut next: Option<(usize, &'a Bytes)> = None;
        for at in 0..self.layers.len() {
            if let Some(&(key, _)) = self.layers[at].peek()
                && next.is_none_or(|(_, first)| self.before(key, first))
            {
                next = Some((at, key));
            }
        }
        next
    }

    pub(super) fn next(&mut self) -> Option<Newer<'a>> {
        let (newest, key) = self.next_layer()?;
        let mut shown = None;
        for (at, layer) in self.layers.iter_mut().enumerate().skip(newest) {
            let write = layer.next_if(|(other, _)| *other == key);
            if at == newest {
                shown = write.and_then(|(_, shown)| shown);
            }
        }
        Some(Newer {
            key,
            shown,
            is_own: newest == 0,
        })
    }

    /// The next write, unless it lies behind `key` in scan order.
    pub(super) fn next_up_to(&mut self, key: &[u8]) -> Option<Newer<'a>> {
        let (_, next) = self.next_layer()?;
        match self.before(key, next) {
            true => None,
            false => self.next(),
        }
    }
}

/// The smallest key behind all that begin with `prefix`; none if there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

pub(super) fn scan_bounds<'a>(
    prefix: &'a [u8],
    end: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    reverse: bool,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let low = Bound::Included(prefix);
    let high = end.map_or(Bound::Unbounded, Bound::Excluded);
    match (after, reverse) {
        (None, _) => (low, high),
        (Some(after), false) if after < prefix => (low, high),
        (Some(after), false) => (Bound::Excluded(after), high),
        (Some(after), true) if end.is_some_and(|end| after >= end) => (low, high),
        (Some(after), true) => (low, Bound::Excluded(after)),
    }
}

/// Bounds that a `BTreeMap` would panic on, or that hold nothing.
pub(super) fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Included(low), Bound::Excluded(high)) => low >= high,
        (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}
