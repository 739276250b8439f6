//! What one author's edits amount to, as bytes in a delta: version, kind, the
//! keys of other authors that are named, the counter that the elements go on
//! from, then insertions, then deletions in ascending order and none next to
//! another. Whether an update may be applied is judged in `apply.rs`.

use std::collections::{BTreeSet, HashMap};

use super::bounds::check_edits;
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

/// New elements, the first on the side of its parent, each other one on the right
/// of the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Insertion {
    pub(super) first: Id,
    pub(super) parent: Id,
    pub(super) side: Side,
    pub(super) content: Content,
}

/// Elements of one author that go: the first, and how many. Some of them may have
/// gone before.
pub(super) type Deletion = (Id, u32);

/// The bytes of an author's edits. No two deletions overlap or are next to each other.
pub(super) fn encode(
    kind: SequenceKind,
    authors: &[Author],
    own: u32,
    first: u32,
    insertions: &[Insertion],
    deletions: impl Iterator<Item = Deletion>,
) -> Vec<u8> {
    let mut names = HashMap::from([(Id::ROOT.author, NO_AUTHOR), (own, OWN)]);
    let mut keys = Vec::new();
    let mut name_of = |author: u32| {
        *names.entry(author).or_insert_with(|| {
            keys.push(authors[author as usize].key);
            keys.len() as u64 - 1 + FIRST_OTHER
        })
    };
    let mut body = Vec::new();
    for Insertion {
        parent,
        side,
        content,
        ..
    } in insertions
    {
        body.push(match side {
            Side::Right => INSERT_RIGHT,
            Side::Left => INSERT_LEFT,
        });
        let name = name_of(parent.author);
        put_number(&mut body, name);
        if name != NO_AUTHOR {
            put_number(&mut body, parent.counter);
        }
        put_content(&mut body, content);
    }
    let named = deletions.map(|(first, len)| (name_of(first.author), first.counter, len));
    let mut deletions: Vec<(u64, u32, u32)> = named.collect();
    deletions.sort_unstable();
    for (name, counter, len) in deletions {
        body.push(DELETE);
        put_number(&mut body, name);
        put_number(&mut body, counter);
        put_number(&mut body, len);
    }
    let mut out = vec![VERSION, kind.code()];
    put_number(&mut out, keys.len() as u64);
    for key in keys {
        out.extend_from_slice(key.as_bytes());
    }
    put_number(&mut out, first);
    out.append(&mut body);
    out
}

/// An update that is well-formed; whether its ids exist is not known yet.
pub(super) struct Decoded {
    /// The counter of its first new element.
    pub(super) first: u32,
    /// How many new elements.
    pub(super) inserted: usize,
    pub(super) insertions: Vec<Insertion>,
    pub(super) deletions: Vec<Deletion>,
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
    let mut others = Vec::new();
    let mut named = BTreeSet::from([key]);
    for _ in 0..reader.count()? {
        let other = reader.key()?;
        if !named.insert(other) {
            return Err(reader.expected("a key that was not named yet"));
        }
        others.push(number(&other));
    }
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
    let (mut insertions, mut deletions) = (Vec::new(), Vec::new());
    // Behind which element, by its author's name, the next deletion has to begin.
    let mut behind: Option<(u64, u32)> = None;
    while !reader.is_empty() {
        check_edits(insertions.len() + deletions.len() + 1)?;
        let tag = reader.byte("an edit")?;
        let (name, id) = names.id(&mut reader)?;
        match tag {
            INSERT_RIGHT | INSERT_LEFT if deletions.is_empty() => {
                let side = match tag {
                    INSERT_RIGHT => Side::Right,
                    _ => Side::Left,
                };
                let parent = id.unwrap_or(Id::ROOT);
                if parent == Id::ROOT && side == Side::Left {
                    return Err(reader.expected("the right side of the root"));
                }
                let content = reader.content(kind)?;
                let first = next;
                next.counter = u32::try_from(content.len())
                    .ok()
                    .and_then(|len| next.counter.checked_add(len))
                    .ok_or_else(|| reader.expected("counters of 32 bits"))?;
                insertions.push(Insertion {
                    first,
                    parent,
                    side,
                    content,
                });
            }
            DELETE => {
                let len = reader.counter()?;
                let ascending = "elements to delete, in ascending order";
                let first = id.ok_or_else(|| reader.expected(ascending))?;
                let end = first.counter.checked_add(len).filter(|_| len > 0);
                let is_behind = behind.is_none_or(|last| (name, first.counter) > last);
                let end = end.filter(|_| is_behind);
                behind = Some((name, end.ok_or_else(|| reader.expected(ascending))?));
                deletions.push((first, len));
            }
            _ => return Err(reader.expected("an insertion, or a deletion behind all of these")),
        }
    }
    if behind.is_none() && insertions.is_empty() {
        return Err(reader.expected("an edit"));
    }
    if names.used != names.others.len() {
        return Err(reader.expected("no keys but those that are named"));
    }
    Ok(Decoded {
        first,
        inserted: (next.counter - first) as usize,
        insertions,
        deletions,
    })
}

/// The authors that an update names, in the order in which it does.
struct Names {
    own: u32,
    others: Vec<Option<u32>>,
    used: usize,
}

impl Names {
    /// The name of an author and an element of it, or none for the root.
    fn id(&mut self, reader: &mut Reader<'_>) -> Result<(u64, Option<Id>), SequenceError> {
        let name = reader.number()?;
        let author = match name {
            NO_AUTHOR => return Ok((name, None)),
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
        let counter = reader.counter()?;
        Ok((name, Some(Id { author, counter })))
    }
}

/// The number of an author who has nothing here: no element of it is ever seen.
const UNKNOWN: u32 = u32::MAX - 1;

impl SequenceKind {
    pub(super) fn code(self) -> u8 {
        match self {
            SequenceKind::List => 0,
            SequenceKind::Text => 1,
        }
    }
}
