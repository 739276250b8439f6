//! What the rules of decision 0007 say of a set of deltas, worked out from the whole set and
//! without any order: slow, and with nothing of the store's own merging in it. Who writes the
//! deltas is in `calls.rs`.

use std::collections::{BTreeMap, BTreeSet};

use corelet_store::{EntryKind, NodeId, Space};

/// Deltas of a history by their numbers, one bit each.
pub(crate) type Known = u128;

/// So many deltas a history has at most.
pub(crate) const DELTAS_MAX: usize = Known::BITS as usize;

/// Where an entry is.
pub(crate) type Place = (Space, Vec<u8>);

/// A delta and what its author had when it was made.
pub(crate) struct Made {
    pub(crate) author: NodeId,
    pub(crate) stamp: u64,
    pub(crate) seen: Known,
    pub(crate) writes: BTreeMap<Place, Wrote>,
}

pub(crate) struct Wrote {
    pub(crate) removes_first: bool,
    pub(crate) deed: Did,
}

pub(crate) enum Did {
    Set(Vec<u8>),
    Add(i64),
    Insert,
    Once(Vec<u8>),
    Edit(Edited),
    Remove,
}

pub(crate) struct Edited {
    pub(crate) kind: EntryKind,
    /// Numbers of the deltas that it builds on; none if it is a birth.
    pub(crate) births: Vec<usize>,
    pub(crate) inserted: Vec<u32>,
    pub(crate) deleted: Vec<u32>,
    /// All that its author saw when it was done.
    pub(crate) after: Vec<u32>,
}

/// What an entry is read as. Elements of sequences have numbers, each its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Register(Vec<u8>),
    Counter(i64),
    Element,
    Once(Vec<u8>),
    List(BTreeSet<u32>),
    Text(BTreeSet<u32>),
}

/// Some deltas of a history.
#[derive(Clone, Copy)]
pub(crate) struct Set<'m> {
    pub(crate) all: &'m [Made],
    pub(crate) known: Known,
}

pub(crate) fn has(known: Known, number: usize) -> bool {
    known >> number & 1 == 1
}

impl<'m> Set<'m> {
    /// All places that were ever written.
    pub(crate) fn places(self) -> BTreeSet<&'m Place> {
        self.deltas()
            .flat_map(|(_, made)| made.writes.keys())
            .collect()
    }

    fn deltas(self) -> impl Iterator<Item = (usize, &'m Made)> {
        let all = self.all.iter().enumerate();
        all.filter(move |(number, _)| has(self.known, *number))
    }

    fn writes(self, place: &Place) -> Vec<(usize, &'m Made, &'m Wrote)> {
        let write = |(number, made): (usize, &'m Made)| {
            made.writes.get(place).map(|wrote| (number, made, wrote))
        };
        self.deltas().filter_map(write).collect()
    }

    /// Whether what this delta did there was removed by one that had seen it.
    fn is_removed(self, number: usize, place: &Place) -> bool {
        self.writes(place).iter().any(|(_, made, wrote)| {
            let removes = wrote.removes_first || matches!(wrote.deed, Did::Remove);
            removes && has(made.seen, number)
        })
    }

    /// What is read there: of several kinds, which only nodes that write at once can make,
    /// the first.
    pub(crate) fn value(self, place: &Place) -> Option<Value> {
        let kinds = [
            Self::register,
            Self::counter,
            Self::element,
            Self::list,
            Self::text,
            Self::once,
        ];
        kinds.into_iter().find_map(|kind| kind(self, place))
    }

    /// The latest of those that no other has seen.
    fn register(self, place: &Place) -> Option<Value> {
        let writes = self.writes(place);
        let is_replaced = |number| {
            let mut sets = writes
                .iter()
                .filter(|(_, _, wrote)| matches!(wrote.deed, Did::Set(_)));
            sets.any(|(_, made, _)| has(made.seen, number))
        };
        let left = writes.iter().filter_map(|(number, made, wrote)| {
            let Did::Set(value) = &wrote.deed else {
                return None;
            };
            let is_left = !is_replaced(*number) && !self.is_removed(*number, place);
            is_left.then_some((made.stamp, made.author, value))
        });
        left.max()
            .map(|(_, _, value)| Value::Register(value.clone()))
    }

    /// The sum of what each author has added since it began, if nobody has removed that.
    fn counter(self, place: &Place) -> Option<Value> {
        let mut cells: BTreeMap<NodeId, (usize, i64)> = BTreeMap::new();
        let mut adds = self.writes(place);
        adds.sort_by_key(|(_, made, _)| (made.author, made.stamp));
        for (number, made, wrote) in adds {
            let Did::Add(amount) = wrote.deed else {
                continue;
            };
            let before = Set {
                known: made.seen,
                ..self
            };
            let goes_on = cells.get_mut(&made.author);
            let goes_on = goes_on
                .filter(|(first, _)| !wrote.removes_first && !before.is_removed(*first, place));
            match goes_on {
                Some((_, sum)) => *sum += amount,
                None => drop(cells.insert(made.author, (number, amount))),
            }
        }
        cells.retain(|_, (first, _)| !self.is_removed(*first, place));
        let sum = cells.values().map(|(_, sum)| sum).sum();
        (!cells.is_empty()).then_some(Value::Counter(sum))
    }

    fn element(self, place: &Place) -> Option<Value> {
        let writes = self.writes(place);
        let mut inserts = writes
            .iter()
            .filter(|(_, _, wrote)| matches!(wrote.deed, Did::Insert));
        inserts
            .any(|(number, _, _)| !self.is_removed(*number, place))
            .then_some(Value::Element)
    }

    fn once(self, place: &Place) -> Option<Value> {
        let writes = self.writes(place);
        let values = writes
            .iter()
            .filter_map(|(_, made, wrote)| match &wrote.deed {
                Did::Once(value) => Some((made.stamp, made.author, value)),
                _ => None,
            });
        values.min().map(|(_, _, value)| Value::Once(value.clone()))
    }

    fn list(self, place: &Place) -> Option<Value> {
        self.elements(place, EntryKind::List).map(Value::List)
    }

    fn text(self, place: &Place) -> Option<Value> {
        self.elements(place, EntryKind::Text).map(Value::Text)
    }

    fn elements(self, place: &Place, kind: EntryKind) -> Option<BTreeSet<u32>> {
        let edits = self.edits(place, kind);
        let mut left: BTreeSet<u32> = edits
            .iter()
            .flat_map(|edit| edit.inserted.clone())
            .collect();
        for deleted in edits.iter().flat_map(|edit| &edit.deleted) {
            left.remove(deleted);
        }
        (!edits.is_empty()).then_some(left)
    }

    /// Those that build on nothing that was removed.
    fn edits(self, place: &Place, kind: EntryKind) -> Vec<&'m Edited> {
        let writes = self.writes(place).into_iter();
        let edits = writes.filter_map(|(number, _, wrote)| match &wrote.deed {
            Did::Edit(edit) if edit.kind == kind => Some((number, edit)),
            _ => None,
        });
        let is_left = |(number, edit): &(usize, &Edited)| {
            let births = match &edit.births[..] {
                [] => &[*number][..],
                births => births,
            };
            !births.iter().any(|birth| self.is_removed(*birth, place))
        };
        edits.filter(is_left).map(|(_, edit)| edit).collect()
    }

    /// Whether these elements are in an order that agrees with all that any author has seen
    /// when it edited. Where two wrote at once, either may come first.
    pub(crate) fn is_ordered(self, place: &Place, kind: EntryKind, found: &[u32]) -> bool {
        let numbered = found.iter().enumerate();
        let at: BTreeMap<u32, usize> = numbered.map(|(at, element)| (*element, at)).collect();
        self.edits(place, kind).iter().all(|edit| {
            let places = edit.after.iter().filter_map(|element| at.get(element));
            places.is_sorted()
        })
    }
}
