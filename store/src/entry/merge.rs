//! What a write makes of an entry. A pure function of the entry, the write, the
//! dot of its delta and what the delta's author had seen; called in causal order it
//! gives the same entry on every node, whatever the order of concurrent
//! writes, and whatever a write says. The rules are in
//! `store/decisions/0007-state-that-merges.md`.

use std::cmp::Ordering;

use crate::edits::Basis;
use crate::entry::kind::EntryKind;
use crate::entry::state::{Cell, Chain, SequenceState, State, Stored, Value};
use crate::version::{Dot, Past};

/// Bytes that are copied rather than fed to a hasher, at most.
const HASHED_IN_A_ROW_MAX: usize = 256;

/// What a write does to its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect<'a> {
    /// Gives a register a value.
    Set(&'a [u8]),
    /// Adds to a counter. The author's cell in it is begun anew, or goes on.
    Add { amount: i64, is_new_cell: bool },
    /// Puts an element into a set.
    Insert,
    /// Gives a write-once entry its value.
    WriteOnce(&'a [u8]),
    /// Edits a list or text that the births have begun; without any it is itself one.
    Edit {
        kind: EntryKind,
        births: &'a [Dot],
        /// What its link tells of what it builds on.
        basis: Option<Basis<'a>>,
        /// Whether what it says that it had seen is there, and was seen. If not, it counts nowhere.
        is_sound: bool,
        update: &'a [u8],
    },
    /// Removes whatever is there.
    Remove,
}

/// What has become of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged<'a> {
    /// The entry; none if nothing is left.
    pub(crate) entry: Option<Stored<'a>>,
    /// The kinds of sequences of which births are gone, and with them all edits that
    /// build on them. If births are left then the chains of what stays have to be worked
    /// out anew.
    pub(crate) dropped: Vec<EntryKind>,
    /// The kind of the sequence that the write's own edit has become part of.
    pub(crate) appended: Option<EntryKind>,
    /// Whether the entry is what it was before, so that nothing need be written.
    pub(crate) is_kept: bool,
}

/// Merges a write of the delta `dot`, whose author had seen `past`, into `old`.
/// `order` compares authors by what they are called everywhere.
pub(crate) fn merge<'a>(
    old: Option<Stored<'a>>,
    removes_first: bool,
    effect: &Effect<'a>,
    dot: Dot,
    past: Past<'_>,
    order: impl Fn(u32, u32) -> Ordering,
) -> Merged<'a> {
    let mut merged = Merged {
        entry: None,
        dropped: Vec::new(),
        appended: None,
        is_kept: false,
    };
    // Nearly every write is one of a register that has been seen as it is.
    if let Effect::Set(bytes) = *effect {
        let is_replaced = match &old {
            None => true,
            Some(Stored::Value(value)) => past.has_seen(value.dot),
            Some(Stored::Sections(_)) => false,
        };
        if is_replaced {
            merged.entry = Some(Stored::Value(Value { dot, bytes }));
            return merged;
        }
    }
    let mut state = old.map(State::from).unwrap_or_default();
    let mut is_removed = false;
    if removes_first || *effect == Effect::Remove {
        (is_removed, merged.dropped) = remove(&mut state, past);
    }
    let is_taken = match *effect {
        Effect::Set(bytes) => {
            state.register.retain(|value| !past.has_seen(value.dot));
            insert(&mut state.register, Value { dot, bytes }, |value| value.dot);
            true
        }
        Effect::Add {
            amount,
            is_new_cell,
        } => add(&mut state.counter, dot, amount, is_new_cell),
        Effect::Insert => {
            state.element.retain(|seen| !past.has_seen(*seen));
            insert(&mut state.element, dot, |dot| *dot);
            true
        }
        Effect::WriteOnce(bytes) => {
            let is_earlier = state.once.is_none_or(|value| {
                let by_author = || order(dot.author, value.dot.author);
                dot.hlc.cmp(&value.dot.hlc).then_with(by_author).is_lt()
            });
            if is_earlier {
                state.once = Some(Value { dot, bytes });
            }
            is_earlier
        }
        Effect::Edit {
            is_sound: false, ..
        } => false,
        Effect::Edit {
            kind,
            births,
            basis,
            update,
            ..
        } => {
            let sequence = sequence_of(&mut state, kind).expect("lists and texts are edited");
            if births.is_empty() && drop_births(sequence, |birth| birth.author == dot.author) {
                merged.dropped.retain(|dropped| *dropped != kind);
                merged.dropped.push(kind);
            }
            merged.appended = edit(sequence, dot, (births, basis), past, update).then_some(kind);
            merged.appended.is_some()
        }
        Effect::Remove => false,
    };
    merged.is_kept = !is_removed && !is_taken;
    merged.entry = state.into_stored();
    merged
}

/// Takes everything that has been seen but what is write-once, and tells whether that
/// was anything, and of which sequences it took births.
fn remove(state: &mut State<'_>, past: Past<'_>) -> (bool, Vec<EntryKind>) {
    let dots = |state: &State<'_>| state.register.len() + state.counter.len() + state.element.len();
    let before = dots(state);
    state.register.retain(|value| !past.has_seen(value.dot));
    state.counter.retain(|cell| !past.has_seen(cell.first));
    state.element.retain(|dot| !past.has_seen(*dot));
    let mut dropped = Vec::new();
    for kind in [EntryKind::List, EntryKind::Text] {
        let sequence = sequence_of(state, kind).expect("both are sequences");
        if drop_births(sequence, |birth| past.has_seen(birth)) {
            dropped.push(kind);
        }
    }
    (dots(state) < before || !dropped.is_empty(), dropped)
}

/// An edit's place in its author's chain. Hashed are the digest before, the stamp and the update;
/// of one with a basis also how many births that has and whom it had seen, and both.
fn link(before: Option<&Chain>, dot: Dot, basis: Option<Basis<'_>>, update: &[u8]) -> Chain {
    let digest = before.map_or([0; 32], |chain| chain.digest);
    let stamp = dot.hlc.bits().to_le_bytes();
    Chain {
        last: dot,
        edits: before.map_or(0, |chain| chain.edits) + 1,
        digest: match basis {
            None => hash_of(&[b"CLU1", &digest, &stamp, update]),
            Some(Basis { births, seen }) => {
                let counts = [births.len() as u64, seen.len() as u64].map(u64::to_le_bytes);
                let seen = seen.as_flattened();
                let births = births.as_flattened();
                let counts = counts.as_flattened();
                hash_of(&[b"CLU2", &digest, &stamp, counts, births, seen, update])
            }
        },
    }
}

/// The hash of these parts in a row. A few keystrokes, as most edits are, are put together first: to
/// begin a hasher that can be fed takes longer than to hash them.
fn hash_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut row = [0; HASHED_IN_A_ROW_MAX];
    let mut end = 0;
    for part in parts {
        let Some(room) = row.get_mut(end..end + part.len()) else {
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(part);
            }
            return *hasher.finalize().as_bytes();
        };
        room.copy_from_slice(part);
        end += part.len();
    }
    *blake3::hash(&row[..end]).as_bytes()
}

fn sequence_of<'s>(state: &'s mut State<'_>, kind: EntryKind) -> Option<&'s mut SequenceState> {
    match kind {
        EntryKind::List => Some(&mut state.list),
        EntryKind::Text => Some(&mut state.text),
        EntryKind::Register | EntryKind::Counter | EntryKind::SetElement | EntryKind::WriteOnce => {
            None
        }
    }
}

/// Tells whether there was a cell to add to. A cell is begun and gone on with by its
/// author alone, whose deltas follow one another. So a cell that should go on and is not
/// there was taken by a removal.
fn add(cells: &mut Vec<Cell>, dot: Dot, amount: i64, is_new: bool) -> bool {
    let sum = i128::from(amount);
    let own = cells
        .iter_mut()
        .find(|cell| cell.first.author == dot.author);
    match own {
        Some(cell) if is_new => *cell = Cell { first: dot, sum },
        // As many additions as an overflow needs fit into no log.
        Some(cell) => cell.sum = cell.sum.wrapping_add(sum),
        None if is_new => insert(cells, Cell { first: dot, sum }, |cell| cell.first),
        None => return false,
    }
    true
}

/// Takes the edit in if everything that it builds on is there, and tells so. One
/// that names what its author cannot have seen counts nowhere: here it might be
/// there, and elsewhere come later.
fn edit(
    sequence: &mut SequenceState,
    dot: Dot,
    (births, basis): (&[Dot], Option<Basis<'_>>),
    past: Past<'_>,
    update: &[u8],
) -> bool {
    let has = |birth: &Dot| past.has_seen(*birth) && sequence.births.binary_search(birth).is_ok();
    if !births.iter().all(has) {
        return false;
    }
    if births.is_empty() {
        insert(&mut sequence.births, dot, |birth| *birth);
    }
    append(sequence, dot, basis, update);
    true
}

/// Notes one more edit in the chain of its author.
pub(crate) fn append(
    sequence: &mut SequenceState,
    dot: Dot,
    basis: Option<Basis<'_>>,
    update: &[u8],
) {
    sequence.bytes += update.len() as u64;
    let chains = &mut sequence.chains;
    match chains.binary_search_by_key(&dot.author, |chain| chain.last.author) {
        Ok(at) => chains[at] = link(Some(&chains[at]), dot, basis, update),
        Err(at) => chains.insert(at, link(None, dot, basis, update)),
    }
}

/// Takes some births, and tells whether there were any. Without any left there is no
/// sequence. A removal takes those that it has seen; a birth those of its author, who has
/// seen its own. So there are never more than authors, whatever a liar does.
fn drop_births(sequence: &mut SequenceState, goes: impl Fn(Dot) -> bool) -> bool {
    let before = sequence.births.len();
    sequence.births.retain(|birth| !goes(*birth));
    let is_dropped = sequence.births.len() < before;
    if sequence.births.is_empty() {
        *sequence = SequenceState::default();
    }
    is_dropped
}

/// Puts `item` into its place.
fn insert<T>(items: &mut Vec<T>, item: T, name: impl Fn(&T) -> Dot) {
    let at = items.partition_point(|other| name(other) < name(&item));
    items.insert(at, item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_does_not_depend_on_how_its_parts_are_put_together() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2_000).collect();
        let max = HASHED_IN_A_ROW_MAX;
        for len in [0, 1, max - 45, max - 44, max - 43, max, 2_000 - 44] {
            let (head, rest) = bytes.split_at(44);
            let whole = *blake3::hash(&bytes[..44 + len]).as_bytes();
            let parts = [&head[..4], &head[4..36], &head[36..], &rest[..len]];
            assert_eq!(hash_of(&parts), whole, "{len}");
        }
    }
}
