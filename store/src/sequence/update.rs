//! What one author's edits amount to, as bytes in a delta: version, kind, the
//! keys of other authors that are named, the counter that the elements go on
//! from, then insertions, then deletions in ascending order and none next to
//! another. Whether an update may be applied is judged in `apply.rs`.

use std::collections::{BTreeSet, HashMap};

use super::bounds::{UPDATE_EDITS_MAX, check_edits};
use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use super::id::{Id, Side};
use super::tree::Author;
use super::wire::{Reader, put_elements, put_number};
use super::work::{self, Allowance};
use crate::ids::{ID_BYTES, NodeId};

const VERSION: u8 = 1;

/// What it takes to read a key and to look up its author, and what of that was seen.
const KEY_STEPS: usize = 3;

/// Bytes of an edit without keys and elements, mostly: only room is made by it.
const EDIT_BYTES: usize = 16;

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

/// An insertion as an update carries it. Written when it is made, part by part, so that to take
/// an update is to put bytes together, however many elements there are.
#[derive(Clone, Debug)]
pub(super) struct Written {
    first: Id,
    parent: Id,
    side: Side,
    /// How many elements.
    len: u32,
    /// How much they hold: bytes of a text, values of a list.
    units: usize,
    elements: Vec<u8>,
}

impl Written {
    pub(super) fn of(new: &Insertion) -> Self {
        let mut written = Self {
            first: new.first,
            parent: new.parent,
            side: new.side,
            len: 0,
            units: 0,
            elements: Vec::new(),
        };
        written.append(&new.content);
        written
    }

    /// Makes it longer by elements that follow its last one.
    pub(super) fn append(&mut self, content: &Content) {
        self.len += content.len() as u32;
        self.units += content.units();
        put_elements(&mut self.elements, content);
    }

    /// The element behind its last one.
    pub(super) fn end(&self) -> Id {
        self.first.plus(self.len)
    }
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
    insertions: &[Written],
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
    let parents: Vec<u64> = insertions
        .iter()
        .map(|insertion| name_of(insertion.parent.author))
        .collect();
    let named = deletions.map(|(first, len)| (name_of(first.author), first.counter, len));
    let mut deletions: Vec<(u64, u32, u32)> = named.collect();
    deletions.sort_unstable();
    let elements: usize = insertions.iter().map(|i| i.elements.len()).sum();
    let edits = insertions.len() + deletions.len();
    let room = elements + keys.len() * ID_BYTES + edits * EDIT_BYTES;
    let mut out = Vec::with_capacity(room + EDIT_BYTES);
    out.extend([VERSION, kind.code()]);
    put_number(&mut out, keys.len() as u64);
    for key in keys {
        out.extend_from_slice(key.as_bytes());
    }
    put_number(&mut out, first);
    for (insertion, name) in insertions.iter().zip(parents) {
        out.push(match insertion.side {
            Side::Right => INSERT_RIGHT,
            Side::Left => INSERT_LEFT,
        });
        put_number(&mut out, name);
        if name != NO_AUTHOR {
            put_number(&mut out, insertion.parent.counter);
        }
        put_number(&mut out, insertion.units as u64);
        out.extend_from_slice(&insertion.elements);
    }
    for (name, counter, len) in deletions {
        out.push(DELETE);
        put_number(&mut out, name);
        put_number(&mut out, counter);
        put_number(&mut out, len);
    }
    out
}

/// The keys of the other authors that an update names; none of one that does not get as far as to
/// have them all. Nobody else has a say in what becomes of it.
pub(crate) fn named_in(update: &[u8]) -> &[[u8; ID_BYTES]] {
    let mut reader = Reader::new(update, 0);
    let head = [reader.byte("a version"), reader.byte("a kind")];
    let keys = reader.count().map(|count| {
        let keys = update[reader.at()..].as_chunks::<ID_BYTES>().0;
        keys.get(..count).filter(|_| count <= UPDATE_EDITS_MAX)
    });
    match (head, keys) {
        ([Ok(VERSION), Ok(_)], Ok(Some(keys))) => keys,
        _ => &[],
    }
}

/// An update that is being read. It is well-formed once all of it is read; whether
/// its ids exist is not known then.
#[derive(Debug)]
pub(super) struct Decoding {
    kind: SequenceKind,
    /// How far it is read.
    at: usize,
    /// How many keys are still to be read, and those that were; none once all are.
    keys: Option<(usize, BTreeSet<NodeId>)>,
    names: Names,
    /// The counter of its first new element.
    pub(super) first: u32,
    /// The next one's.
    next: Id,
    edits: usize,
    /// What is still to be read of an insertion: bytes of a text, values of a list.
    left: usize,
    /// Long ones in parts of which each continues the one before.
    pub(super) insertions: Vec<Insertion>,
    pub(super) deletions: Vec<Deletion>,
    /// Behind which element, by its author's name, the next deletion has to begin.
    behind: Option<(u64, u32)>,
}

impl Decoding {
    /// Begins an update of the author with this key, whose number is `own`.
    pub(super) fn begin(
        bytes: &[u8],
        kind: SequenceKind,
        key: NodeId,
        own: u32,
    ) -> Result<Self, SequenceError> {
        let mut reader = Reader::new(bytes, 0);
        if reader.byte("a version")? != VERSION {
            return Err(reader.expected("version 1"));
        }
        if reader.byte("a kind")? != kind.code() {
            return Err(reader.expected("the kind of the sequence"));
        }
        let count = reader.count()?;
        if count > UPDATE_EDITS_MAX {
            // Each edit names one author.
            return Err(reader.expected("no more keys than edits"));
        }
        Ok(Self {
            kind,
            at: reader.at(),
            keys: Some((count, BTreeSet::from([key]))),
            names: Names {
                own,
                others: Vec::new(),
                used: 0,
            },
            first: 0,
            next: Id {
                author: own,
                counter: 0,
            },
            edits: 0,
            left: 0,
            insertions: Vec::new(),
            deletions: Vec::new(),
            behind: None,
        })
    }

    /// Reads on in the same bytes. Tells whether all of it is read. `number` knows the numbers
    /// of authors that have elements here.
    pub(super) fn step(
        &mut self,
        bytes: &[u8],
        allowance: &Allowance,
        number: impl FnMut(&NodeId) -> Option<u32>,
    ) -> Result<bool, SequenceError> {
        let mut reader = Reader::new(bytes, self.at);
        let are_read = self.keys(&mut reader, allowance, number)?;
        self.at = reader.at();
        if !are_read {
            return Ok(false);
        }
        while self.left > 0 || !reader.is_empty() {
            if allowance.is_used_up() {
                return Ok(false);
            }
            work::step();
            match self.left {
                0 => self.edit(&mut reader)?,
                _ => {
                    let last = self.next.before().expect("an insertion has begun");
                    self.content(&mut reader, last, Side::Right)?;
                }
            }
            self.at = reader.at();
        }
        if self.edits == 0 {
            return Err(reader.expected("an edit"));
        }
        if self.names.used != self.names.others.len() {
            return Err(reader.expected("no keys but those that are named"));
        }
        Ok(true)
    }

    /// Reads some more of the keys, and behind them where its elements go on. Tells whether
    /// that is done.
    fn keys(
        &mut self,
        reader: &mut Reader<'_>,
        allowance: &Allowance,
        mut number: impl FnMut(&NodeId) -> Option<u32>,
    ) -> Result<bool, SequenceError> {
        let Some((left, named)) = &mut self.keys else {
            return Ok(true);
        };
        while *left > 0 {
            if allowance.is_used_up() {
                return Ok(false);
            }
            work::steps(KEY_STEPS);
            *left -= 1;
            let other = reader.key()?;
            if !named.insert(other) {
                return Err(reader.expected("a key that was not named yet"));
            }
            self.names.others.push(number(&other));
        }
        self.keys = None;
        self.first = reader.counter()?;
        self.next.counter = self.first;
        Ok(true)
    }

    /// How many new elements.
    pub(super) fn inserted(&self) -> usize {
        (self.next.counter - self.first) as usize
    }

    fn edit(&mut self, reader: &mut Reader<'_>) -> Result<(), SequenceError> {
        self.edits += 1;
        check_edits(self.edits)?;
        let tag = reader.byte("an edit")?;
        let (name, id) = self.names.id(reader)?;
        match tag {
            INSERT_RIGHT | INSERT_LEFT if self.deletions.is_empty() => {
                let side = match tag {
                    INSERT_RIGHT => Side::Right,
                    _ => Side::Left,
                };
                let parent = id.unwrap_or(Id::ROOT);
                if parent == Id::ROOT && side == Side::Left {
                    return Err(reader.expected("the right side of the root"));
                }
                self.left = reader.count()?;
                if self.left == 0 {
                    return Err(reader.expected("an element"));
                }
                self.content(reader, parent, side)
            }
            DELETE => {
                let len = reader.counter()?;
                let ascending = "elements to delete, in ascending order";
                let first = id.ok_or_else(|| reader.expected(ascending))?;
                let end = first.counter.checked_add(len).filter(|_| len > 0);
                let is_behind = self.behind.is_none_or(|last| (name, first.counter) > last);
                let end = end.filter(|_| is_behind);
                self.behind = Some((name, end.ok_or_else(|| reader.expected(ascending))?));
                self.deletions.push((first, len));
                Ok(())
            }
            _ => Err(reader.expected("an insertion, or a deletion behind all of these")),
        }
    }

    /// Reads some more of what is inserted.
    fn content(
        &mut self,
        reader: &mut Reader<'_>,
        parent: Id,
        side: Side,
    ) -> Result<(), SequenceError> {
        let (content, read) = reader.some_content(self.kind, self.left)?;
        let first = self.next;
        self.next.counter = u32::try_from(content.len())
            .ok()
            .and_then(|len| first.counter.checked_add(len))
            .ok_or_else(|| reader.expected("counters of 32 bits"))?;
        self.left -= read;
        self.insertions.push(Insertion {
            first,
            parent,
            side,
            content,
        });
        Ok(())
    }
}

/// The authors that an update names, in the order in which it does.
#[derive(Debug)]
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
