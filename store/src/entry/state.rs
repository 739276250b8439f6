//! The state of an entry, and its form on disk. A register with one value, which
//! nearly every entry is, has a record of its own form; any other state is a row
//! of sections, one for each kind that the entry has. Reading checks everything.
//!
//! All numbers little-endian. A section is its kind (1), the number of its items (4)
//! and the items. Values of registers and write-once entries: author (4), stamp (8),
//! length (4), bytes. A counter's cells: author (4), stamp of its first dot (8), sum (16).
//! A set element's dots: author (4), stamp (8). A list or text has no items but
//! bytes of its edits (8), count of births (4), births: author (4), stamp (8); count
//! of chains (4), chains: author (4), newest stamp (8), edits (8), digest (32).

use crate::entry::kind::EntryKind;
use crate::hlc::Hlc;
use crate::version::Dot;

/// Bytes of items in sections, and of a value without its own.
pub(super) const AUTHOR_BYTES: usize = 4;
pub(super) const DOT_BYTES: usize = AUTHOR_BYTES + 8;
pub(super) const VALUE_BYTES_MIN: usize = DOT_BYTES + 4;
pub(super) const CELL_BYTES: usize = DOT_BYTES + 16;
pub(super) const CHAIN_BYTES: usize = DOT_BYTES + 8 + 32;

/// A value and who wrote it when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) dot: Dot,
    pub(crate) bytes: &'a [u8],
}

/// What one author has added to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its author, and the delta that began it.
    pub(crate) first: Dot,
    pub(crate) sum: i128,
}

/// The edits of one author in a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its author and the stamp of the newest edit.
    pub(crate) last: Dot,
    pub(crate) edits: u64,
    /// Of the edits, each hashed together with the digest before it.
    pub(crate) digest: [u8; 32],
}

/// What an entry knows of its list or text. The edits themselves have records of
/// their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SequenceState {
    pub(crate) bytes: u64,
    /// The deltas that have begun it, in ascending order as the chains are.
    pub(crate) births: Vec<Dot>,
    pub(crate) chains: Vec<Chain>,
}

impl SequenceState {
    pub(crate) fn is_empty(&self) -> bool {
        self.births.is_empty()
    }
}

/// The state of an entry of any kind, and of several at once. Every list is in
/// ascending order of dots, so that a state has one form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) register: Vec<Value<'a>>,
    pub(crate) counter: Vec<Cell>,
    pub(crate) element: Vec<Dot>,
    pub(crate) list: SequenceState,
    pub(crate) text: SequenceState,
    pub(crate) once: Option<Value<'a>>,
}

/// An entry as a record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// A register with one value.
    Value(Value<'a>),
    Sections(State<'a>),
}

/// Bytes that are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> State<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.kind().is_none()
    }

    /// The kind as which the entry is read; none if it is not there.
    pub(crate) fn kind(&self) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| self.has(*kind))
    }

    pub(crate) fn has(&self, kind: EntryKind) -> bool {
        match kind {
            EntryKind::Register => !self.register.is_empty(),
            EntryKind::Counter => !self.counter.is_empty(),
            EntryKind::SetElement => !self.element.is_empty(),
            EntryKind::List => !self.list.is_empty(),
            EntryKind::Text => !self.text.is_empty(),
            EntryKind::WriteOnce => self.once.is_some(),
        }
    }

    /// The form in which it is stored; none if there is nothing to store.
    pub(crate) fn into_stored(self) -> Option<Stored<'a>> {
        match self.register[..] {
            _ if self.is_empty() => None,
            [value] if self.has_only(EntryKind::Register) => Some(Stored::Value(value)),
            _ => Some(Stored::Sections(self)),
        }
    }

    fn has_only(&self, kind: EntryKind) -> bool {
        EntryKind::ALL
            .into_iter()
            .all(|k| self.has(k) == (k == kind))
    }

    /// Gives every author another number, and brings each list into the order that this
    /// makes. `None` if an author has none.
    pub(crate) fn renumber(&mut self, number: &dyn Fn(u32) -> Option<u32>) -> Option<()> {
        let anew = |dot: &mut Dot| {
            dot.author = number(dot.author)?;
            Some(())
        };
        for value in self.register.iter_mut().chain(&mut self.once) {
            anew(&mut value.dot)?;
        }
        self.register.sort_unstable_by_key(|value| value.dot);
        for cell in &mut self.counter {
            anew(&mut cell.first)?;
        }
        self.counter.sort_unstable_by_key(|cell| cell.first);
        self.element.iter_mut().try_for_each(anew)?;
        self.element.sort_unstable();
        for sequence in [&mut self.list, &mut self.text] {
            sequence.births.iter_mut().try_for_each(anew)?;
            sequence.births.sort_unstable();
            for chain in &mut sequence.chains {
                anew(&mut chain.last)?;
            }
            sequence
                .chains
                .sort_unstable_by_key(|chain| chain.last.author);
        }
        Some(())
    }

    /// Appends its sections to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for kind in EntryKind::ALL.into_iter().filter(|kind| self.has(*kind)) {
            out.push(kind.number());
            match kind {
                EntryKind::Register => write_all(out, &self.register, write_value),
                EntryKind::Counter => write_all(out, &self.counter, write_cell),
                EntryKind::SetElement => write_all(out, &self.element, write_dot),
                EntryKind::List => write_sequence(out, &self.list),
                EntryKind::Text => write_sequence(out, &self.text),
                EntryKind::WriteOnce => write_all(out, self.once.as_slice(), write_value),
            }
        }
    }

    /// Reads what `write` wrote.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<State<'a>, Malformed> {
        let mut rest = Reader(bytes);
        let mut state = State::default();
        let mut last = None;
        while let Some(kind) = rest.kind_behind(last)? {
            last = Some(kind);
            match kind {
                EntryKind::Register => {
                    state.register = rest.all(VALUE_BYTES_MIN, Reader::value, |v| v.dot)?
                }
                EntryKind::Counter => {
                    state.counter = rest.all(CELL_BYTES, Reader::cell, |cell| cell.first)?
                }
                EntryKind::SetElement => {
                    state.element = rest.all(DOT_BYTES, Reader::dot, |dot| *dot)?
                }
                EntryKind::List => state.list = rest.sequence()?,
                EntryKind::Text => state.text = rest.sequence()?,
                EntryKind::WriteOnce => {
                    let values = rest.all(VALUE_BYTES_MIN, Reader::value, |value| value.dot)?;
                    let [value] = values[..] else {
                        return Err(Malformed);
                    };
                    state.once = Some(value);
                }
            }
            // None is there that is empty.
            if !state.has(kind) {
                return Err(Malformed);
            }
        }
        Ok(state)
    }
}

impl<'a> From<Stored<'a>> for State<'a> {
    fn from(stored: Stored<'a>) -> Self {
        match stored {
            Stored::Value(value) => State {
                register: vec![value],
                ..State::default()
            },
            Stored::Sections(state) => state,
        }
    }
}

impl<'a> Stored<'a> {
    /// The kind as which the entry is read.
    pub(crate) fn kind(&self) -> EntryKind {
        match self {
            Stored::Value(_) => EntryKind::Register,
            Stored::Sections(state) => state.kind().expect("what is stored is not empty"),
        }
    }

    /// Whether it has a state of this kind and of no other.
    pub(crate) fn has_only(&self, kind: EntryKind) -> bool {
        match self {
            Stored::Value(_) => kind == EntryKind::Register,
            Stored::Sections(state) => state.has_only(kind),
        }
    }

    /// Shows every dot in it to `visit`.
    pub(crate) fn dots(&self, visit: &mut dyn FnMut(Dot)) {
        match self {
            Stored::Value(value) => visit(value.dot),
            Stored::Sections(state) => {
                let values = state.register.iter().chain(&state.once);
                values.for_each(|value| visit(value.dot));
                state.counter.iter().for_each(|cell| visit(cell.first));
                state.element.iter().for_each(|dot| visit(*dot));
                for sequence in [&state.list, &state.text] {
                    sequence.births.iter().for_each(|dot| visit(*dot));
                    sequence.chains.iter().for_each(|chain| visit(chain.last));
                }
            }
        }
    }

    /// Bytes that count as the entry's own, beside its key. For entries that are in a context: no
    /// context has so many bytes that they would be no number.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.checked_bytes();
        bytes.expect("what is in a context was summed when it came in")
    }

    /// The same of what anybody may have written; none if it is too much for a number.
    pub(crate) fn checked_bytes(&self) -> Option<u64> {
        match self {
            Stored::Value(value) => Some(value.bytes.len() as u64),
            Stored::Sections(state) => {
                let values = state.register.iter().chain(&state.once);
                let values = values.map(|value| value.bytes.len() as u64).sum::<u64>();
                let dots = state.register.len() + state.element.len();
                let small = 12 * dots + 28 * state.counter.len();
                let sequences = state.list.bytes.checked_add(state.text.bytes)?;
                sequences.checked_add(values + small as u64)
            }
        }
    }
}

pub(super) fn write_all<T>(
    out: &mut Vec<u8>,
    items: &[T],
    mut write: impl FnMut(&mut Vec<u8>, &T),
) {
    write_count(out, items.len());
    for item in items {
        write(out, item);
    }
}

pub(super) fn write_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a batch is far too small for 2^32 items");
    out.extend_from_slice(&count.to_le_bytes());
}

pub(super) fn write_dot(out: &mut Vec<u8>, dot: &Dot) {
    out.extend_from_slice(&dot.author.to_le_bytes());
    out.extend_from_slice(&dot.hlc.bits().to_le_bytes());
}

pub(super) fn write_value(out: &mut Vec<u8>, value: &Value<'_>) {
    write_dot(out, &value.dot);
    write_count(out, value.bytes.len());
    out.extend_from_slice(value.bytes);
}

pub(super) fn write_cell(out: &mut Vec<u8>, cell: &Cell) {
    write_dot(out, &cell.first);
    out.extend_from_slice(&cell.sum.to_le_bytes());
}

pub(super) fn write_chain(out: &mut Vec<u8>, chain: &Chain) {
    write_dot(out, &chain.last);
    out.extend_from_slice(&chain.edits.to_le_bytes());
    out.extend_from_slice(&chain.digest);
}

fn write_sequence(out: &mut Vec<u8>, sequence: &SequenceState) {
    out.extend_from_slice(&sequence.bytes.to_le_bytes());
    write_all(out, &sequence.births, write_dot);
    write_all(out, &sequence.chains, write_chain);
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The kind of the next section, if there is one: each comes once, in order.
    pub(super) fn kind_behind(
        &mut self,
        last: Option<EntryKind>,
    ) -> Result<Option<EntryKind>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let [number] = *self.array()?;
        let kind = EntryKind::from_number(number).filter(|kind| Some(*kind) > last);
        kind.map(Some).ok_or(Malformed)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(*self.array()?))
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        Ok(u32::from_le_bytes(*self.array()?) as usize)
    }

    /// So many items as the count says, in ascending order of `name`. None has fewer bytes than
    /// `bytes_min`.
    pub(super) fn all<T, N: Ord>(
        &mut self,
        bytes_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
        name: impl Fn(&T) -> N,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count()?;
        // The count may be a lie: no room is taken for more than the bytes can be.
        if count > self.0.len() / bytes_min {
            return Err(Malformed);
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(read(self)?);
        }
        match items.is_sorted_by(|a, b| name(a) < name(b)) {
            true => Ok(items),
            false => Err(Malformed),
        }
    }

    pub(super) fn dot(&mut self) -> Result<Dot, Malformed> {
        Ok(Dot {
            author: u32::from_le_bytes(*self.array()?),
            hlc: Hlc::from_bits(self.u64()?),
        })
    }

    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let dot = self.dot()?;
        let length = self.count()?;
        let bytes = self.bytes(length)?;
        Ok(Value { dot, bytes })
    }

    pub(super) fn cell(&mut self) -> Result<Cell, Malformed> {
        Ok(Cell {
            first: self.dot()?,
            sum: i128::from_le_bytes(*self.array()?),
        })
    }

    pub(super) fn chain(&mut self) -> Result<Chain, Malformed> {
        Ok(Chain {
            last: self.dot()?,
            edits: self.u64()?,
            digest: *self.array()?,
        })
    }

    fn sequence(&mut self) -> Result<SequenceState, Malformed> {
        let bytes = self.u64()?;
        let births = self.all(DOT_BYTES, Reader::dot, |dot| *dot)?;
        let chains = self.all(CHAIN_BYTES, Reader::chain, |chain| chain.last.author)?;
        Ok(SequenceState {
            bytes,
            births,
            chains,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dot() -> impl Strategy<Value = Dot> {
        (0..4_u32, 1..100_u64).prop_map(|(author, hlc)| Dot {
            author,
            hlc: Hlc::from_bits(hlc),
        })
    }

    fn dots() -> impl Strategy<Value = Vec<Dot>> {
        prop::collection::btree_set(dot(), 0..4).prop_map(|dots| dots.into_iter().collect())
    }

    fn sequence() -> impl Strategy<Value = SequenceState> {
        (any::<u64>(), dots(), any::<[u8; 32]>()).prop_map(|(bytes, births, digest)| {
            let mut authors = std::collections::BTreeMap::new();
            for dot in &births {
                authors.insert(dot.author, *dot);
            }
            let chain = |last| Chain {
                last,
                edits: 3,
                digest,
            };
            SequenceState {
                bytes,
                chains: authors.into_values().map(chain).collect(),
                births,
            }
        })
    }

    const BYTES: [&[u8]; 3] = [b"", b"a", b"some more"];

    pub(in crate::entry) fn state() -> impl Strategy<Value = State<'static>> {
        let values = (dots(), 0..3_usize).prop_map(|(dots, at)| {
            let value = |dot| Value {
                dot,
                bytes: BYTES[at],
            };
            dots.into_iter().map(value).collect::<Vec<_>>()
        });
        let cells = (dots(), any::<i128>()).prop_map(|(dots, sum)| {
            let cell = |first| Cell { first, sum };
            dots.into_iter().map(cell).collect::<Vec<_>>()
        });
        (values, cells, dots(), sequence(), sequence(), any::<bool>()).prop_map(
            |(register, counter, element, list, text, is_once)| State {
                once: register.first().copied().filter(|_| is_once),
                register,
                counter,
                element,
                list,
                text,
            },
        )
    }

    /// A sequence without births is none.
    pub(in crate::entry) fn normal(mut state: State<'_>) -> State<'_> {
        for sequence in [&mut state.list, &mut state.text] {
            if sequence.is_empty() {
                *sequence = SequenceState::default();
            }
        }
        state
    }

    /// The count of a row of 132 MiB would take gigabytes.
    #[test]
    fn no_room_is_taken_for_more_items_than_there_are_bytes_for() {
        let mut bytes = 3_u32.to_le_bytes().to_vec();
        bytes.resize(4 + 3 * CHAIN_BYTES - 1, 0);
        let read = |_: &mut Reader<'_>| -> Result<u32, Malformed> { panic!("it is not read") };
        let items = Reader(&bytes).all(CHAIN_BYTES, read, |item| *item);
        assert_eq!(items, Err(Malformed));
    }

    /// What an item has at least is what is written of it.
    #[test]
    fn items_are_as_long_as_is_said() {
        let dot = Dot {
            author: 1,
            hlc: Hlc::from_bits(1),
        };
        let bytes = &[][..];
        let (sum, edits, digest) = (1, 1, [0; 32]);
        let (first, last) = (dot, dot);
        let mut written: [Vec<u8>; 4] = Default::default();
        write_dot(&mut written[0], &dot);
        write_value(&mut written[1], &Value { dot, bytes });
        write_cell(&mut written[2], &Cell { first, sum });
        let chain = Chain {
            last,
            edits,
            digest,
        };
        write_chain(&mut written[3], &chain);
        let lengths = [DOT_BYTES, VALUE_BYTES_MIN, CELL_BYTES, CHAIN_BYTES];
        assert_eq!(written.map(|bytes| bytes.len()), lengths);
    }

    proptest! {
        #[test]
        fn a_state_reads_back_as_it_was_written(state in state()) {
            let mut bytes = Vec::new();
            state.write(&mut bytes);
            prop_assert_eq!(State::read(&bytes), Ok(normal(state.clone())));
            match state.clone().into_stored() {
                None => prop_assert!(bytes.is_empty()),
                Some(stored) => {
                    prop_assert_eq!(Some(stored.kind()), state.kind());
                    prop_assert_eq!(normal(State::from(stored)), normal(state));
                }
            }
        }

        #[test]
        fn other_bytes_are_refused_or_one_form_of_a_state(
            state in state(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX
        ) {
            let mut bytes = Vec::new();
            state.write(&mut bytes);
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(read) = State::read(&bytes) {
                let mut again = Vec::new();
                read.write(&mut again);
                prop_assert_eq!(&again, &bytes);
            }
            let cut = &bytes[..at];
            if let Ok(read) = State::read(cut) {
                let mut again = Vec::new();
                read.write(&mut again);
                prop_assert_eq!(&again, cut);
            }
        }
    }
}
