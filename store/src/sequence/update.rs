//! What one author's edits amount to, as bytes in a delta: version, kind, the
//! keys of other authors that are named, the counter that the elements go on
//! from, then insertions and deletions. There is one form for the same edits.
//! Whether an update may be applied is judged in `mod.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use super::id::{Id, Side};
use super::tree::Author;
use super::wire::{Reader, put_content, put_number};
use crate::ids::NodeId;

const VERSION: u8 = 1;

const INSERT_RIGHT: u8 = 0;
const INSERT_LEFT: u8 = 1;
const DELETE: u8 = 2;

/// How authors are named: the root has no author, the update's own is known.
const NO_AUTHOR: u64 = 0;
const OWN: u64 = 1;
const FIRST_OTHER: u64 = 2;

/// One edit, by ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// New elements, the first on the side of its parent, each other one on the
    /// right of the one before it.
    Insert {
        first: Id,
        parent: Id,
        side: Side,
        content: Content,
    },
    /// Elements of one author that go.
    Delete { first: Id, len: u32 },
}

/// The bytes of an author's edits.
pub(super) fn encode(
    kind: SequenceKind,
    authors: &[Author],
    own: u32,
    first: u32,
    ops: &[Op],
) -> Vec<u8> {
    let mut others: Vec<u32> = Vec::new();
    let mut body = Vec::new();
    for op in ops {
        match op {
            Op::Insert {
                parent,
                side,
                content,
                ..
            } => {
                body.push(if *side == Side::Right {
                    INSERT_RIGHT
                } else {
                    INSERT_LEFT
                });
                put_id(&mut body, own, &mut others, *parent);
                put_content(&mut body, content);
            }
            Op::Delete { first, len } => {
                body.push(DELETE);
                put_id(&mut body, own, &mut others, *first);
                put_number(&mut body, *len);
            }
        }
    }
    let mut out = vec![VERSION, kind.code()];
    put_number(&mut out, others.len() as u64);
    for author in others {
        out.extend_from_slice(authors[author as usize].key.as_bytes());
    }
    put_number(&mut out, first);
    out.append(&mut body);
    out
}

fn put_id(out: &mut Vec<u8>, own: u32, others: &mut Vec<u32>, id: Id) {
    if id == Id::ROOT {
        return put_number(out, NO_AUTHOR);
    }
    let name = if id.author == own {
        OWN
    } else {
        let index = others
            .iter()
            .position(|&a| a == id.author)
            .unwrap_or_else(|| {
                others.push(id.author);
                others.len() - 1
            });
        index as u64 + FIRST_OTHER
    };
    put_number(out, name);
    put_number(out, id.counter);
}

/// An update that is well-formed; whether its ids exist is not known yet.
pub(super) struct Decoded {
    /// The counter of its first new element.
    pub(super) first: u32,
    /// How many new elements.
    pub(super) inserted: usize,
    pub(super) ops: Vec<Op>,
}

/// Reads an update of the author with this key, whose number is `own`.
/// `number` knows the numbers of authors that have elements here.
pub(super) fn decode(
    bytes: &[u8],
    kind: SequenceKind,
    key: NodeId,
    own: u32,
    number: impl Fn(&NodeId) -> Option<u32>,
) -> Result<Decoded, SequenceError> {
    let mut reader = Reader::new(bytes);
    if reader.byte("a version")? != VERSION {
        return Err(reader.expected("version 1"));
    }
    if reader.byte("a kind")? != kind.code() {
        return Err(reader.expected("the kind of the sequence"));
    }
    let mut keys = Vec::new();
    let mut named = BTreeSet::from([key]);
    for _ in 0..reader.count()? {
        let other = reader.key()?;
        if !named.insert(other) {
            return Err(reader.expected("a key that was not named yet"));
        }
        keys.push(other);
    }
    let others: Vec<Option<u32>> = keys.iter().map(number).collect();
    let mut names = Names {
        own,
        others,
        used: 0,
    };
    let first = reader.counter()?;
    let mut next = Id {
        author: own,
        counter: first,
    };
    let mut ops = Vec::new();
    let mut deleted = Ranges::default();
    while !reader.is_empty() {
        let tag = reader.byte("an edit")?;
        let id = names.id(&mut reader)?;
        ops.push(match tag {
            INSERT_RIGHT | INSERT_LEFT => {
                let side = if tag == INSERT_RIGHT {
                    Side::Right
                } else {
                    Side::Left
                };
                let parent = id.unwrap_or(Id::ROOT);
                if parent == Id::ROOT && side == Side::Left {
                    return Err(reader.expected("the right side of the root"));
                }
                let content = reader.content(kind)?;
                let start = next;
                next.counter = u32::try_from(content.len())
                    .ok()
                    .and_then(|len| next.counter.checked_add(len))
                    .ok_or_else(|| reader.expected("counters of 32 bits"))?;
                Op::Insert {
                    first: start,
                    parent,
                    side,
                    content,
                }
            }
            DELETE => {
                let len = reader.counter()?;
                match id {
                    Some(first) if len > 0 && deleted.add(first, len) => Op::Delete { first, len },
                    _ => return Err(reader.expected("elements to delete, each once")),
                }
            }
            _ => return Err(reader.expected("an insertion or a deletion")),
        });
    }
    if ops.is_empty() {
        return Err(reader.expected("an edit"));
    }
    if names.used != names.others.len() {
        return Err(reader.expected("no keys but those that are named"));
    }
    Ok(Decoded {
        first,
        inserted: (next.counter - first) as usize,
        ops,
    })
}

/// The elements that an update deletes. What is there no more is not deleted by anybody
/// honest, and to look for it again and again could take for ever.
#[derive(Default)]
struct Ranges(BTreeMap<Id, u32>);

impl Ranges {
    /// Adds the elements from `first` on; tells whether all of them are new.
    fn add(&mut self, first: Id, len: u32) -> bool {
        let Some(end) = first.counter.checked_add(len) else {
            return false;
        };
        let is_before = |(at, len): (&Id, &u32)| {
            at.author != first.author || at.counter.saturating_add(*len) <= first.counter
        };
        let is_behind = |(at, _): (&Id, &u32)| at.author != first.author || at.counter >= end;
        let is_new = self.0.range(..=first).next_back().is_none_or(is_before)
            && self.0.range(first..).next().is_none_or(is_behind);
        if is_new {
            self.0.insert(first, len);
        }
        is_new
    }
}

/// The authors that an update names, in the order in which it does.
struct Names {
    own: u32,
    others: Vec<Option<u32>>,
    used: usize,
}

impl Names {
    /// An id, or none for the root.
    fn id(&mut self, reader: &mut Reader<'_>) -> Result<Option<Id>, SequenceError> {
        let name = reader.number()?;
        let author = match name {
            NO_AUTHOR => return Ok(None),
            OWN => self.own,
            _ => {
                let index = usize::try_from(name - FIRST_OTHER).unwrap_or(usize::MAX);
                if index > self.used || index >= self.others.len() {
                    return Err(reader.expected("an author from the list, in its order"));
                }
                self.used = self.used.max(index + 1);
                self.others[index].unwrap_or(UNKNOWN)
            }
        };
        Ok(Some(Id {
            author,
            counter: reader.counter()?,
        }))
    }
}

/// The number of an author who has nothing here: no element of it is ever seen.
pub(super) const UNKNOWN: u32 = u32::MAX - 1;

impl SequenceKind {
    pub(super) fn code(self) -> u8 {
        match self {
            SequenceKind::List => 0,
            SequenceKind::Text => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_deleted_once() {
        let id = |author, counter| Id { author, counter };
        let mut ranges = Ranges::default();
        assert!(ranges.add(id(1, 10), 5));
        assert!(ranges.add(id(1, 15), 1) && ranges.add(id(1, 8), 2));
        assert!(ranges.add(id(2, 10), 5) && ranges.add(id(0, 0), 100));
        for (counter, len) in [(10, 5), (12, 1), (0, 9), (14, 1), (15, 3), (9, 1), (0, 99)] {
            assert!(!ranges.add(id(1, counter), len), "{counter} {len}");
        }
        assert!(!ranges.add(id(3, u32::MAX), 2));
        assert!(ranges.add(id(1, 16), 3));
    }
}
