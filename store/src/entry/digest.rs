//! The digest of an entry: everything about it that nodes must agree on. Dots belong
//! to it, because nodes that agree on a value but not on who wrote it when
//! would part at the next concurrent write. It names authors by their ids, as their
//! numbers are each node's own.
//!
//! Hashed is "CLE2", the length (2) of space and key, the space (1), the key, then for each kind in
//! ascending order its number (1), the count of its items (4) and the items in
//! ascending order of author ids and stamps. An item begins with author (32) and
//! stamp (8); then a value has length (4) and bytes, a cell its sum (16), a chain
//! its edits (8) and digest (32). A list or text has two counts and rows of items, births
//! and chains. All numbers little-endian.

use crate::authors::Authors;
use crate::entry::kind::{EntryKind, Space};
use crate::entry::state::{SequenceState, State, Stored, Value};
use crate::ids::NodeId;
use crate::version::Dot;

/// Computes digests; keeps its buffer.
#[derive(Default)]
pub(crate) struct EntryDigest {
    buffer: Vec<u8>,
}

/// An entry names an author that the ledger does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownAuthor;

/// Who knows which author has a number.
pub(crate) trait AuthorNames {
    /// The author with this number.
    fn name(&self, number: u32) -> Option<NodeId>;
}

impl AuthorNames for Authors {
    fn name(&self, number: u32) -> Option<NodeId> {
        self.get(number)
    }
}

impl EntryDigest {
    pub(crate) fn of(
        &mut self,
        space: Space,
        key: &[u8],
        entry: &Stored<'_>,
        authors: &impl AuthorNames,
    ) -> Result<[u8; 32], UnknownAuthor> {
        let out = &mut self.buffer;
        out.clear();
        out.extend_from_slice(b"CLE2");
        let key_bytes = u16::try_from(1 + key.len()).expect("keys are at most KEY_BYTES_MAX long");
        out.extend_from_slice(&key_bytes.to_le_bytes());
        out.push(space.number());
        out.extend_from_slice(key);
        match entry {
            Stored::Value(value) => {
                out.push(EntryKind::Register.number());
                count(out, 1);
                write_value(out, author(authors, value.dot)?, value);
            }
            Stored::Sections(state) => write_state(out, state, authors)?,
        }
        Ok(*blake3::hash(out).as_bytes())
    }

    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        if self.buffer.capacity() > bytes_max {
            self.buffer = Vec::new();
        }
    }
}

fn write_state(
    out: &mut Vec<u8>,
    state: &State<'_>,
    authors: &impl AuthorNames,
) -> Result<(), UnknownAuthor> {
    for kind in EntryKind::ALL.into_iter().filter(|kind| state.has(*kind)) {
        out.push(kind.number());
        match kind {
            EntryKind::Register => write_values(out, &state.register, authors)?,
            EntryKind::Counter => write_all(
                out,
                &state.counter,
                |cell| cell.first,
                authors,
                |out, author, cell| {
                    write_dot(out, author, cell.first);
                    out.extend_from_slice(&cell.sum.to_le_bytes());
                },
            )?,
            EntryKind::SetElement => write_dots(out, &state.element, authors)?,
            EntryKind::List => write_sequence(out, &state.list, authors)?,
            EntryKind::Text => write_sequence(out, &state.text, authors)?,
            EntryKind::WriteOnce => write_values(out, state.once.as_slice(), authors)?,
        }
    }
    Ok(())
}

fn write_sequence(
    out: &mut Vec<u8>,
    sequence: &SequenceState,
    authors: &impl AuthorNames,
) -> Result<(), UnknownAuthor> {
    write_dots(out, &sequence.births, authors)?;
    write_all(
        out,
        &sequence.chains,
        |chain| chain.last,
        authors,
        |out, author, chain| {
            write_dot(out, author, chain.last);
            out.extend_from_slice(&chain.edits.to_le_bytes());
            out.extend_from_slice(&chain.digest);
        },
    )
}

fn write_values(
    out: &mut Vec<u8>,
    values: &[Value<'_>],
    authors: &impl AuthorNames,
) -> Result<(), UnknownAuthor> {
    write_all(
        out,
        values,
        |value| value.dot,
        authors,
        |out, author, value| write_value(out, author, value),
    )
}

fn write_dots(
    out: &mut Vec<u8>,
    dots: &[Dot],
    authors: &impl AuthorNames,
) -> Result<(), UnknownAuthor> {
    write_all(
        out,
        dots,
        |dot| *dot,
        authors,
        |out, author, dot| write_dot(out, author, *dot),
    )
}

/// The items in the order that every node gives them.
fn write_all<T>(
    out: &mut Vec<u8>,
    items: &[T],
    dot: impl Fn(&T) -> Dot,
    authors: &impl AuthorNames,
    mut write: impl FnMut(&mut Vec<u8>, NodeId, &T),
) -> Result<(), UnknownAuthor> {
    count(out, items.len());
    if let [item] = items {
        write(out, author(authors, dot(item))?, item);
        return Ok(());
    }
    let mut named = items
        .iter()
        .map(|item| Ok((author(authors, dot(item))?, dot(item).hlc, item)))
        .collect::<Result<Vec<_>, UnknownAuthor>>()?;
    named.sort_unstable_by_key(|&(author, hlc, _)| (author, hlc));
    for (author, _, item) in named {
        write(out, author, item);
    }
    Ok(())
}

fn author(authors: &impl AuthorNames, dot: Dot) -> Result<NodeId, UnknownAuthor> {
    authors.name(dot.author).ok_or(UnknownAuthor)
}

fn count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("no entry has 2^32 items");
    out.extend_from_slice(&count.to_le_bytes());
}

fn write_dot(out: &mut Vec<u8>, author: NodeId, dot: Dot) {
    out.extend_from_slice(author.as_bytes());
    out.extend_from_slice(&dot.hlc.bits().to_le_bytes());
}

fn write_value(out: &mut Vec<u8>, author: NodeId, value: &Value<'_>) {
    write_dot(out, author, value.dot);
    count(out, value.bytes.len());
    out.extend_from_slice(value.bytes);
}
