//! Lists and texts of the in-memory host, as one node edits them: a vector each. What
//! the functions promise is in the WIT file; entries are in `memory_host.rs`.

use crate::memory_host::{
    Call, ELEMENT_BYTES, Elements, Kind, Misused, SCAN_BYTES, Space, Stored, VALUE_BYTES, Write,
    bound, check_key, check_limit, check_place, fitting, with, with_writing,
};

/// A place that a list or text does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfRange {
    pub(crate) index: u64,
    pub(crate) length: u64,
}

pub(crate) fn list_length(space: Space, key: &[u8]) -> u64 {
    length(space, key, Kind::List)
}

pub(crate) fn list_insert(
    space: Space,
    key: &[u8],
    index: u64,
    values: &[Vec<u8>],
) -> Result<(), OutOfRange> {
    insert(space, key, Some(index), Elements::List(values.to_vec()))
}

pub(crate) fn list_append(space: Space, key: &[u8], values: &[Vec<u8>]) {
    let at_end = insert(space, key, None, Elements::List(values.to_vec()));
    at_end.expect("the end is within the list");
}

pub(crate) fn list_remove(
    space: Space,
    key: &[u8],
    index: u64,
    count: u64,
) -> Result<(), OutOfRange> {
    remove(space, key, Kind::List, index, count)
}

pub(crate) fn list_read(space: Space, key: &[u8], index: u64, count: u32) -> Vec<Vec<u8>> {
    check_limit(count);
    reading(space, key, Kind::List, |elements| match elements {
        Some(Elements::List(values)) => {
            let rest = values.iter().skip(to_usize(index));
            let asked = rest.take(count as usize);
            let fitting = fitting(asked.clone().map(Vec::len));
            asked.take(fitting).cloned().collect()
        }
        _ => Vec::new(),
    })
}

pub(crate) fn text_length(space: Space, key: &[u8]) -> u64 {
    length(space, key, Kind::Text)
}

pub(crate) fn text_insert(
    space: Space,
    key: &[u8],
    index: u64,
    what: &str,
) -> Result<(), OutOfRange> {
    insert(
        space,
        key,
        Some(index),
        Elements::Text(what.chars().collect()),
    )
}

pub(crate) fn text_append(space: Space, key: &[u8], what: &str) {
    let at_end = insert(space, key, None, Elements::Text(what.chars().collect()));
    at_end.expect("the end is within the text");
}

pub(crate) fn text_remove(
    space: Space,
    key: &[u8],
    index: u64,
    count: u64,
) -> Result<(), OutOfRange> {
    remove(space, key, Kind::Text, index, count)
}

pub(crate) fn text_read(space: Space, key: &[u8], index: u64, count: u64) -> String {
    reading(space, key, Kind::Text, |elements| match elements {
        Some(Elements::Text(chars)) => {
            let rest = chars.iter().skip(to_usize(index));
            let text: String = rest.take(to_usize(count)).collect();
            bound(SCAN_BYTES, text.len() as u64);
            text
        }
        _ => String::new(),
    })
}

fn length(space: Space, key: &[u8], kind: Kind) -> u64 {
    reading(space, key, kind, |elements| {
        elements.map_or(0, Elements::len)
    })
}

/// Looks at a list or text, which it has to be if it is there.
fn reading<T>(space: Space, key: &[u8], kind: Kind, f: impl FnOnce(Option<&Elements>) -> T) -> T {
    check_place(key);
    let read = with(|call| -> Result<T, Misused> {
        check_read(call, space, key, kind)?;
        Ok(f(call.state.elements(space, key)))
    });
    match read {
        Ok(read) => read,
        Err(misused) => std::panic::resume_unwind(Box::new(misused)),
    }
}

fn check_read(call: &Call, space: Space, key: &[u8], kind: Kind) -> Result<(), Misused> {
    match call.state.kind(space, key) {
        Some(found) if found != kind => Err(Misused(format!(
            "an entry that is a {found} was used as a {kind}"
        ))),
        _ => Ok(()),
    }
}

fn insert(space: Space, key: &[u8], index: Option<u64>, more: Elements) -> Result<(), OutOfRange> {
    let kind = more.kind();
    let bytes = more.check_bytes();
    check_key(key);
    with_writing(|call| {
        call.check_owner(space, key)?;
        call.count_edit(key.len() as u64 + bytes);
        call.check(space, key, kind)?;
        let length = call.state.elements(space, key).map_or(0, Elements::len);
        let index = index.unwrap_or(length);
        if index > length {
            return Ok(Err(OutOfRange { index, length }));
        }
        if more.len() == 0 {
            return Ok(Ok(()));
        }
        let at = to_usize(index);
        call.note(space, key, || Write::InsertAt(index, more.clone()));
        match (call.elements_to_edit(space, key, kind), more) {
            (Elements::List(values), Elements::List(more)) => drop(values.splice(at..at, more)),
            (Elements::Text(chars), Elements::Text(more)) => drop(chars.splice(at..at, more)),
            _ => unreachable!("the kind was checked"),
        }
        Ok(Ok(()))
    })
}

fn remove(space: Space, key: &[u8], kind: Kind, index: u64, count: u64) -> Result<(), OutOfRange> {
    check_place(key);
    with_writing(|call| {
        call.check_owner(space, key)?;
        call.count_edit(key.len() as u64);
        // There is none under a key that is too long to be written.
        check_read(call, space, key, kind)?;
        let length = call.state.elements(space, key).map_or(0, Elements::len);
        let end = index.saturating_add(count);
        if end > length {
            return Ok(Err(OutOfRange { index: end, length }));
        }
        if count == 0 {
            return Ok(Ok(()));
        }
        call.note(space, key, || Write::RemoveAt(kind, index, count));
        let range = to_usize(index)..to_usize(end);
        match call.elements_to_edit(space, key, kind) {
            Elements::List(values) => drop(values.drain(range)),
            Elements::Text(chars) => drop(chars.drain(range)),
        }
        Ok(Ok(()))
    })
}

impl Call {
    /// The elements under `key`, which are there from now on. What they were before the
    /// call is noted once, however often it edits them.
    fn elements_to_edit(&mut self, space: Space, key: &[u8], kind: Kind) -> &mut Elements {
        let at = (space, key.to_vec());
        if !self.edited.contains(&at) {
            let elements = self.state.elements(space, key).cloned();
            let empty = match kind {
                Kind::List => Elements::List(Vec::new()),
                _ => Elements::Text(Vec::new()),
            };
            let stored = Stored {
                kind,
                value: Vec::new(),
                elements: Some(elements.unwrap_or(empty)),
                beyond: None,
            };
            self.write(space, key, Some(stored));
            self.edited.insert(at);
        }
        let elements = self.state.elements_mut(space, key);
        elements.expect("they were put there when they were first edited")
    }
}

impl Elements {
    /// What they count for when they are inserted, within the bound of what is inserted at once.
    fn check_bytes(&self) -> u64 {
        match self {
            Elements::List(values) => {
                let lengths = values.iter().map(|value| value.len() as u64);
                lengths
                    .inspect(|length| bound(VALUE_BYTES, *length))
                    .map(|length| length + ELEMENT_BYTES)
                    .sum()
            }
            Elements::Text(chars) => {
                let bytes = chars.iter().map(|char| char.len_utf8() as u64).sum();
                bound(VALUE_BYTES, bytes);
                bytes
            }
        }
    }

    /// Of a list or of a text.
    pub fn kind(&self) -> Kind {
        match self {
            Elements::List(_) => Kind::List,
            Elements::Text(_) => Kind::Text,
        }
    }

    fn len(&self) -> u64 {
        let len = match self {
            Elements::List(values) => values.len(),
            Elements::Text(chars) => chars.len(),
        };
        len as u64
    }
}

/// What is beyond memory is beyond any length.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
