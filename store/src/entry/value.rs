//! What an entry is read as.

use crate::entry::kind::EntryKind;
use crate::entry::state::{Cell, Stored, Value};

/// The value of an entry, as its kind has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryValue<'a> {
    /// The bytes of the last writer.
    Register(&'a [u8]),
    /// The sum of what was added.
    Counter(CounterSum),
    /// It is there.
    SetElement,
    /// Its values are made of its edits.
    List,
    /// Its characters are made of its edits.
    Text,
    /// The bytes of the first writer.
    WriteOnce(&'a [u8]),
}

/// What was added to a counter, by everybody together. Beyond 64 bits it is read as the
/// nearest number that there is, and kept as it is: what is subtracted afterwards is
/// subtracted from the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterSum(i128);

impl CounterSum {
    /// What it is read as.
    pub fn nearest(self) -> i64 {
        let Self(sum) = self;
        sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// When `amount` is added.
    #[must_use]
    pub fn plus(self, amount: i64) -> CounterSum {
        // As many additions as an overflow needs fit into no log.
        CounterSum(self.0.saturating_add(amount.into()))
    }
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

impl<'a> Stored<'a> {
    /// What it is read as once it is removed by somebody who has seen all of it.
    pub(crate) fn left_by_removal(&self) -> Option<EntryValue<'a>> {
        match self {
            Stored::Value(_) => None,
            Stored::Sections(state) => state.once.map(|once| EntryValue::WriteOnce(once.bytes)),
        }
    }
}

fn sum(cells: &[Cell]) -> CounterSum {
    let sums = cells.iter().map(|cell| cell.sum);
    CounterSum(sums.fold(0, i128::saturating_add))
}
