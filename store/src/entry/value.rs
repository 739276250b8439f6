//! What an entry is read as.

use crate::entry::kind::EntryKind;
use crate::entry::state::{Cell, Stored, Value};

/// The value of an entry, as its kind has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryValue<'a> {
    /// The bytes of the last writer.
    Register(&'a [u8]),
    /// The sum of what was added, or the nearest number that there is.
    Counter(i64),
    /// It is there.
    SetElement,
    /// Its values are made of its edits.
    List,
    /// Its characters are made of its edits.
    Text,
    /// The bytes of the first writer.
    WriteOnce(&'a [u8]),
}

impl EntryValue<'_> {
    /// Its kind.
    pub fn kind(&self) -> EntryKind {
        match self {
            EntryValue::Register(_) => EntryKind::Register,
            EntryValue::Counter(_) => EntryKind::Counter,
            EntryValue::SetElement => EntryKind::SetElement,
            EntryValue::List => EntryKind::List,
            EntryValue::Text => EntryKind::Text,
            EntryValue::WriteOnce(_) => EntryKind::WriteOnce,
        }
    }
}

impl<'a> Stored<'a> {
    /// The value. `author` tells who is who: among values of one stamp, which only a
    /// clock that was set back can have made, the greater author's is read.
    pub(crate) fn value<A: Ord>(&self, author: impl Fn(u32) -> A) -> EntryValue<'a> {
        let state = match self {
            Stored::Value(value) => return EntryValue::Register(value.bytes),
            Stored::Sections(state) => state,
        };
        let latest = |values: &[Value<'a>]| {
            let latest = values
                .iter()
                .max_by_key(|value| (value.dot.hlc, author(value.dot.author)));
            latest.map_or(&[][..], |value| value.bytes)
        };
        match self.kind() {
            EntryKind::Register => EntryValue::Register(latest(&state.register)),
            EntryKind::Counter => EntryValue::Counter(sum(&state.counter)),
            EntryKind::SetElement => EntryValue::SetElement,
            EntryKind::List => EntryValue::List,
            EntryKind::Text => EntryValue::Text,
            EntryKind::WriteOnce => EntryValue::WriteOnce(latest(state.once.as_slice())),
        }
    }
}

fn sum(cells: &[Cell]) -> i64 {
    let sum = cells
        .iter()
        .fold(0_i128, |sum, cell| sum.saturating_add(cell.sum));
    sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
