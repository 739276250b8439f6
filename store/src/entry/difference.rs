//! What a state was, told by what it became: in full what it had and has no more, or has
//! otherwise, and by name what it had not. What survives is in neither, so a difference is
//! as large as what has changed, whatever is beside it. No merging here (`merge.rs`); what
//! it is for is in `crate::befores`.
//!
//! All numbers little-endian. A section for each kind of which something differs, in
//! ascending order. It is the kind (1), then for a list or text the bytes of edits that it had
//! (8), and then one part, or for a list or text two, of births and of chains. A part: how
//! many items are new (4) and their names, how many were (4) and these as in `state.rs`.
//! A name is a dot, author (4) and stamp (8), and that of a chain its author (4).

use std::borrow::Cow;

use crate::entry::kind::EntryKind;
use crate::entry::state::{
    AUTHOR_BYTES, CELL_BYTES, CHAIN_BYTES, Cell, Chain, DOT_BYTES, Malformed, Reader,
    SequenceState, State, Stored, VALUE_BYTES_MIN, Value, write_all, write_cell, write_chain,
    write_dot, write_value,
};
use crate::version::Dot;

/// What a state was, beside what it became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference<'a> {
    register: Part<Dot, Value<'a>>,
    counter: Part<Dot, Cell>,
    element: Part<Dot, Dot>,
    list: SequenceDifference,
    text: SequenceDifference,
    once: Part<Dot, Value<'a>>,
}

/// The same of items that have names, and are in ascending order of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part<N, T> {
    /// What it has that it had not.
    new: Vec<N>,
    /// What it had, and has no more or has otherwise.
    was: Vec<T>,
}

impl<N, T> Default for Part<N, T> {
    fn default() -> Self {
        Part {
            new: Vec::new(),
            was: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SequenceDifference {
    /// Of the edits that it had; none if nothing differs.
    bytes: Option<u64>,
    births: Part<Dot, Dot>,
    chains: Part<u32, Chain>,
}

impl<'a> Difference<'a> {
    /// `None` if nothing survives: then what it was takes no more bytes in full.
    pub(crate) fn between(before: &Stored<'a>, after: &Stored<'a>) -> Option<Difference<'a>> {
        let (before, after) = (sections(before), sections(after));
        let mut survives = Survives(false);
        let once = |state: &State<'a>| Vec::from_iter(state.once);
        let difference = Difference {
            register: survives.part(&before.register, &after.register, |value| value.dot),
            counter: survives.part(&before.counter, &after.counter, |cell| cell.first),
            element: survives.part(&before.element, &after.element, |dot| *dot),
            list: survives.sequence(&before.list, &after.list),
            text: survives.sequence(&before.text, &after.text),
            once: survives.part(&once(&before), &once(&after), |value| value.dot),
        };
        survives.0.then_some(difference)
    }

    /// Whether it is no difference.
    pub(crate) fn is_empty(&self) -> bool {
        EntryKind::ALL.into_iter().all(|kind| !self.has(kind))
    }

    fn has(&self, kind: EntryKind) -> bool {
        match kind {
            EntryKind::Register => !self.register.is_empty(),
            EntryKind::Counter => !self.counter.is_empty(),
            EntryKind::SetElement => !self.element.is_empty(),
            EntryKind::List => self.list.bytes.is_some(),
            EntryKind::Text => self.text.bytes.is_some(),
            EntryKind::WriteOnce => !self.once.is_empty(),
        }
    }

    /// What the entry was, if it became `after`. `None` if it did not become that from
    /// anything.
    pub(crate) fn before(&self, after: Option<Stored<'a>>) -> Option<Stored<'a>> {
        let mut state = State::from(after?);
        self.register.undo(&mut state.register, |value| value.dot)?;
        self.counter.undo(&mut state.counter, |cell| cell.first)?;
        self.element.undo(&mut state.element, |dot| *dot)?;
        self.list.undo(&mut state.list)?;
        self.text.undo(&mut state.text)?;
        let mut once = Vec::from_iter(state.once);
        self.once.undo(&mut once, |value| value.dot)?;
        state.once = match once[..] {
            [] => None,
            [value] => Some(value),
            _ => return None,
        };
        state.into_stored()
    }

    /// Shows every dot in it to `visit`.
    pub(crate) fn dots(&self, visit: &mut dyn FnMut(Dot)) {
        for part in [&self.register, &self.once] {
            part.new.iter().for_each(|dot| visit(*dot));
            part.was.iter().for_each(|value| visit(value.dot));
        }
        self.counter.new.iter().for_each(|dot| visit(*dot));
        self.counter.was.iter().for_each(|cell| visit(cell.first));
        for part in [&self.element, &self.list.births, &self.text.births] {
            part.new.iter().chain(&part.was).for_each(|dot| visit(*dot));
        }
        // A chain that is new is of an author whose births or delta name it.
        for sequence in [&self.list, &self.text] {
            let chains = sequence.chains.was.iter();
            chains.for_each(|chain| visit(chain.last));
        }
    }

    /// Appends its sections to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for kind in EntryKind::ALL.into_iter().filter(|kind| self.has(*kind)) {
            out.push(kind.number());
            match kind {
                EntryKind::Register => self.register.write(out, write_dot, write_value),
                EntryKind::Counter => self.counter.write(out, write_dot, write_cell),
                EntryKind::SetElement => self.element.write(out, write_dot, write_dot),
                EntryKind::List => self.list.write(out),
                EntryKind::Text => self.text.write(out),
                EntryKind::WriteOnce => self.once.write(out, write_dot, write_value),
            }
        }
    }

    /// Reads what `write` wrote.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Difference<'a>, Malformed> {
        let mut rest = Reader(bytes);
        let mut difference = Difference::default();
        let mut last = None;
        while let Some(kind) = rest.kind_behind(last)? {
            last = Some(kind);
            let of = &mut difference;
            match kind {
                EntryKind::Register => of.register = Part::read_values(&mut rest)?,
                EntryKind::Counter => {
                    let (name, item) = ((DOT_BYTES, Reader::dot), (CELL_BYTES, Reader::cell));
                    of.counter = Part::read(&mut rest, name, item, |c| c.first)?;
                }
                EntryKind::SetElement => of.element = Part::read_dots(&mut rest)?,
                EntryKind::List => of.list = SequenceDifference::read(&mut rest)?,
                EntryKind::Text => of.text = SequenceDifference::read(&mut rest)?,
                EntryKind::WriteOnce => of.once = Part::read_values(&mut rest)?,
            }
            // None is there that is empty.
            if !difference.has(kind) {
                return Err(Malformed);
            }
        }
        Ok(difference)
    }
}

/// A state as its sections.
fn sections<'s, 'a>(stored: &'s Stored<'a>) -> Cow<'s, State<'a>> {
    match stored {
        Stored::Value(_) => Cow::Owned(State::from(stored.clone())),
        Stored::Sections(state) => Cow::Borrowed(state),
    }
}

/// Whether anything that was is there still, as far as was compared.
struct Survives(bool);

impl Survives {
    fn part<N: Ord, T: Clone + PartialEq>(
        &mut self,
        before: &[T],
        after: &[T],
        name: impl Fn(&T) -> N,
    ) -> Part<N, T> {
        let find = |items: &[T], item: &T| {
            let at = items.binary_search_by_key(&name(item), &name);
            at.ok()
        };
        let is_gone = |item: &&T| find(after, item).is_none_or(|at| after[at] != **item);
        let was: Vec<T> = before.iter().filter(is_gone).cloned().collect();
        let is_new = |item: &&T| find(before, item).is_none();
        let new = after.iter().filter(is_new).map(&name).collect();
        self.0 |= was.len() < before.len();
        Part { new, was }
    }

    fn sequence(&mut self, before: &SequenceState, after: &SequenceState) -> SequenceDifference {
        let births = self.part(&before.births, &after.births, |dot| *dot);
        let chains = self.part(&before.chains, &after.chains, |chain| chain.last.author);
        SequenceDifference {
            bytes: (before != after).then_some(before.bytes),
            births,
            chains,
        }
    }
}

impl<N: Ord, T: Clone + PartialEq> Part<N, T> {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.was.is_empty()
    }

    /// `None` if the items are not those that it makes.
    fn undo(&self, items: &mut Vec<T>, name: impl Fn(&T) -> N) -> Option<()> {
        let count = items.len();
        items.retain(|item| self.new.binary_search(&name(item)).is_err());
        if items.len() + self.new.len() != count {
            return None;
        }
        for item in &self.was {
            match items.binary_search_by_key(&name(item), &name) {
                Ok(at) if items[at] == *item => return None,
                Ok(at) => items[at] = item.clone(),
                Err(at) => items.insert(at, item.clone()),
            }
        }
        Some(())
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        write_name: impl FnMut(&mut Vec<u8>, &N),
        write_item: impl FnMut(&mut Vec<u8>, &T),
    ) {
        write_all(out, &self.new, write_name);
        write_all(out, &self.was, write_item);
    }

    fn read<'a>(
        rest: &mut Reader<'a>,
        (name_bytes, read_name): (usize, impl FnMut(&mut Reader<'a>) -> Result<N, Malformed>),
        (item_bytes, read_item): (usize, impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>),
        name: impl Fn(&T) -> N,
    ) -> Result<Self, Malformed>
    where
        N: Copy,
    {
        Ok(Part {
            new: rest.all(name_bytes, read_name, |name| *name)?,
            was: rest.all(item_bytes, read_item, name)?,
        })
    }
}

impl Part<Dot, Dot> {
    fn read_dots(rest: &mut Reader<'_>) -> Result<Self, Malformed> {
        Part::read(
            rest,
            (DOT_BYTES, Reader::dot),
            (DOT_BYTES, Reader::dot),
            |dot| *dot,
        )
    }
}

impl<'a> Part<Dot, Value<'a>> {
    fn read_values(rest: &mut Reader<'a>) -> Result<Self, Malformed> {
        let item = (VALUE_BYTES_MIN, Reader::value);
        Part::read(rest, (DOT_BYTES, Reader::dot), item, |value| value.dot)
    }
}

impl SequenceDifference {
    /// `None` if the sequence is not what it makes.
    fn undo(&self, sequence: &mut SequenceState) -> Option<()> {
        let Some(bytes) = self.bytes else {
            return Some(());
        };
        sequence.bytes = bytes;
        self.births.undo(&mut sequence.births, |dot| *dot)?;
        let author = |chain: &Chain| chain.last.author;
        self.chains.undo(&mut sequence.chains, author)?;
        (!sequence.is_empty() || *sequence == SequenceState::default()).then_some(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let bytes = self.bytes.expect("only what differs is written");
        out.extend_from_slice(&bytes.to_le_bytes());
        self.births.write(out, write_dot, write_dot);
        let author = |out: &mut Vec<u8>, author: &u32| {
            out.extend_from_slice(&author.to_le_bytes());
        };
        self.chains.write(out, author, write_chain);
    }

    fn read(rest: &mut Reader<'_>) -> Result<SequenceDifference, Malformed> {
        let author = |rest: &mut Reader<'_>| Ok(u32::from_le_bytes(*rest.array()?));
        let name = |chain: &Chain| chain.last.author;
        Ok(SequenceDifference {
            bytes: Some(rest.u64()?),
            births: Part::read_dots(rest)?,
            chains: Part::read(
                rest,
                (AUTHOR_BYTES, author),
                (CHAIN_BYTES, Reader::chain),
                name,
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::state::tests::{normal, state};

    fn written(difference: &Difference<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        difference.write(&mut bytes);
        bytes
    }

    proptest! {
        /// Any two states: what one has become of the other tells the other.
        #[test]
        fn what_a_state_became_and_the_difference_tell_what_it_was(
            before in state(), after in state()
        ) {
            let stored = |state: State<'static>| normal(state).into_stored();
            let (Some(before), Some(after)) = (stored(before), stored(after)) else {
                return Ok(());
            };
            let Some(difference) = Difference::between(&before, &after) else {
                // Then nothing is as it was.
                prop_assert_ne!(before, after);
                return Ok(());
            };
            prop_assert_eq!(difference.is_empty(), before == after);
            let bytes = written(&difference);
            let read = Difference::read(&bytes).unwrap();
            prop_assert_eq!(&read, &difference);
            prop_assert_eq!(read.before(None), None);
            prop_assert_eq!(read.before(Some(after.clone())), Some(before.clone()));
        }

        #[test]
        fn other_bytes_are_refused_or_one_form_of_a_difference(
            before in state(), after in state(),
            at in any::<prop::sample::Index>(), flip in 1..=u8::MAX
        ) {
            let stored = |state: State<'static>| normal(state).into_stored();
            let (Some(before), Some(after)) = (stored(before), stored(after)) else {
                return Ok(());
            };
            let Some(difference) = Difference::between(&before, &after) else {
                return Ok(());
            };
            let mut bytes = written(&difference);
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            for bytes in [&bytes[..], &bytes[..at]] {
                if let Ok(read) = Difference::read(bytes) {
                    prop_assert_eq!(&written(&read)[..], bytes);
                    // Whatever it says, nothing comes of it but a state.
                    let _ = read.before(Some(after.clone()));
                }
            }
        }
    }
}
