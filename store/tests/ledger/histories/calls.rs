//! What a node of a history calls: entries of every field that an application may have, and
//! what is done to them, for the ledger and for the model alike.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Birth, Births, CallEffects, Change, DeltaView, EntryKind, Hlc, Op, Refused, Sequence, Space,
    Write,
};

use super::History;
use super::naive::{Did, Edited, Made, Place, Value, Wrote};
use super::replica::{content_of, elements_of, sequence_kind};

/// What an application's fields are, as an SDK lays them out: a prefix, then the keys of maps.
#[derive(Clone, Copy)]
enum Field {
    Register,
    Counter,
    Set,
    MapOfRegisters,
    MapOfCounters,
    MapOfSets,
    MapOfMaps,
    MapOfTexts,
    MapOfLists,
    Once,
    Owned,
    Private,
    /// No application writes one key as several kinds, and nodes at once can.
    Mixed,
}

const FIELDS: [Field; 13] = [
    Field::Register,
    Field::Counter,
    Field::Set,
    Field::MapOfRegisters,
    Field::MapOfCounters,
    Field::MapOfSets,
    Field::MapOfMaps,
    Field::MapOfTexts,
    Field::MapOfLists,
    Field::Once,
    Field::Owned,
    Field::Private,
    Field::Mixed,
];

/// What a call does to one entry.
enum Deed {
    Set(Vec<u8>),
    Add(i64),
    Insert,
    Once(Vec<u8>),
    Edit(EntryKind),
    Remove,
}

/// The bytes of nested keys: what is inside says where it ends, and a 0 byte in it does not.
fn nested(field: u8, inner: &str, last: &[u8]) -> Vec<u8> {
    let escaped = inner.bytes().flat_map(|byte| match byte {
        0 => vec![0, 255],
        byte => vec![byte],
    });
    let escaped: Vec<u8> = escaped.collect();
    [&[field][..], &escaped, &[0, 0], last].concat()
}

/// Whether a node that reads this may write that: the same kind, or anything once it has removed
/// what it reads, which it cannot if that is written once.
fn fits(read: Option<&Value>, wrote: &Wrote) -> bool {
    let is_removed = wrote.removes_first || matches!(wrote.deed, Did::Remove);
    match (read, &wrote.deed) {
        (None, _) => true,
        (Some(Value::Once(_)), deed) => !is_removed && matches!(deed, Did::Once(_)),
        (Some(_), _) if is_removed => true,
        (Some(Value::Register(_)), Did::Set(_))
        | (Some(Value::Counter(_)), Did::Add(_))
        | (Some(Value::Element), Did::Insert) => true,
        (Some(Value::List(_)), Did::Edit(edited)) => edited.kind == EntryKind::List,
        (Some(Value::Text(_)), Did::Edit(edited)) => edited.kind == EntryKind::Text,
        _ => false,
    }
}

impl History<'_> {
    /// An entry of some field, and what is done to it.
    fn deed(&mut self, on: usize) -> (Place, bool, Deed) {
        let field = FIELDS[self.random.below(FIELDS.len())];
        let inner = ["a", "b", "a\0"][self.random.below(3)];
        let small = self.random.below(3) as u8;
        let number = field as u8;
        let own = self.replicas[on].author;
        let (space, key) = match field {
            Field::Register | Field::Counter | Field::Once | Field::Mixed => {
                (Space::Shared, vec![number])
            }
            Field::Set | Field::MapOfRegisters => (Space::Shared, vec![number, small]),
            Field::MapOfCounters | Field::MapOfTexts | Field::MapOfLists => {
                (Space::Shared, nested(number, inner, &[]))
            }
            Field::MapOfSets | Field::MapOfMaps => {
                let last = u64::from(small).to_be_bytes();
                (Space::Shared, nested(number, inner, &last))
            }
            Field::Owned => {
                let key = [&own.as_bytes()[..], &[number, small]].concat();
                (Space::Owned, key)
            }
            Field::Private => (Space::Private, vec![number, small]),
        };
        let value = vec![self.random.below(256) as u8; 1 + self.random.below(40)];
        let amount = self.random.below(20) as i64 - 7;
        let deed = match field {
            Field::Register
            | Field::MapOfRegisters
            | Field::MapOfMaps
            | Field::Owned
            | Field::Private => Deed::Set(value),
            Field::Counter | Field::MapOfCounters => Deed::Add(amount),
            Field::Set | Field::MapOfSets => Deed::Insert,
            Field::MapOfTexts => Deed::Edit(EntryKind::Text),
            Field::MapOfLists => Deed::Edit(EntryKind::List),
            Field::Once => Deed::Once(value),
            Field::Mixed => match self.random.below(6) {
                0 => Deed::Set(value),
                1 => Deed::Add(amount),
                2 => Deed::Insert,
                3 => Deed::Edit(EntryKind::Text),
                4 => Deed::Edit(EntryKind::List),
                _ if self.random.percent(20) => Deed::Once(value),
                _ => Deed::Remove,
            },
        };
        // What is write-once stays.
        let stays = matches!(deed, Deed::Once(_));
        if self.random.percent(20) && !stays {
            return ((space, key), false, Deed::Remove);
        }
        let may_remove = !stays && space != Space::Private && !matches!(deed, Deed::Remove);
        let removes_first = may_remove && self.random.percent(8);
        ((space, key), removes_first, deed)
    }

    pub(super) fn call(&mut self, on: usize) {
        let stamp = Hlc::from_bits((self.replicas[on].now + 1) << 12);
        let mut deeds = BTreeMap::new();
        if self.random.percent(6) {
            // A nested map is cleared: all that its author finds below it.
            let prefix = nested(Field::MapOfMaps as u8, "a", &[]);
            let known = self.known(on);
            let below = known
                .places()
                .into_iter()
                .filter(|(_, key)| key.starts_with(&prefix));
            let there = below.filter(|place| known.value(place).is_some());
            deeds.extend(there.map(|place| (place.clone(), (false, Deed::Remove))));
        }
        for _ in 0..1 + self.random.below(3) {
            let (place, removes_first, deed) = self.deed(on);
            deeds.insert(place, (removes_first, deed));
        }
        let (mut ops, mut writes, mut private) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (place, (removes_first, deed)) in deeds {
            let (write, did) = self.write(on, &place, removes_first, deed, stamp);
            ops.push(Op {
                space: place.0,
                key: Bytes::from(place.1.clone()),
                removes_first,
                write,
            });
            let wrote = Wrote {
                removes_first,
                deed: did,
            };
            match place.0 {
                Space::Private => drop(private.insert(place.1, wrote.deed)),
                _ => drop(writes.insert(place, wrote)),
            }
        }
        let known = self.known(on);
        let fits = writes
            .iter()
            .all(|(place, wrote)| fits(known.value(place).as_ref(), wrote));
        let replica = &mut self.replicas[on];
        let snapshot = replica.snapshot();
        let call = CallEffects {
            slot: replica.slot,
            read: Some(snapshot.seen(replica.slot).unwrap()),
            ops,
            ..CallEffects::new(self.context, replica.author, stamp)
        };
        drop(snapshot);
        let committed = match replica
            .ledger
            .commit(vec![Change::Call(call)])
            .unwrap()
            .remove(0)
        {
            Ok(committed) => committed,
            Err(Refused::KindMismatch { .. } | Refused::RemovedWriteOnce) if !fits => return,
            Err(other) => panic!("{other}"),
        };
        assert!(fits, "a write of another kind than is read was taken");
        replica.now += 1;
        for (key, deed) in private {
            match deed {
                Did::Set(value) => replica.private.insert(key, value),
                _ => replica.private.remove(&key),
            };
        }
        let Some(id) = committed.delta_id() else {
            assert!(
                writes
                    .values()
                    .all(|wrote| matches!(wrote.deed, Did::Remove))
            );
            return; // there was nothing to remove, or all stays on the node
        };
        assert_eq!(committed.hlc(), stamp);
        let mut canonical = Bytes::new();
        let newest = &mut |_, delta: DeltaView<'_>| {
            assert_eq!(delta.id(), id);
            canonical = Bytes::copy_from_slice(delta.canonical());
            ControlFlow::Break(())
        };
        replica.snapshot().deltas(replica.slot, 1, newest).unwrap();
        self.numbers.insert(id, self.all.len());
        self.canonical.push(canonical);
        let made = Made {
            author: replica.author,
            stamp: stamp.bits(),
            seen: replica.has,
            writes,
        };
        replica.has |= 1 << self.all.len();
        self.all.push(made);
    }

    /// A write for the ledger, and the same for the model.
    fn write(
        &mut self,
        on: usize,
        place: &Place,
        removes_first: bool,
        deed: Deed,
        stamp: Hlc,
    ) -> (Write, Did) {
        match deed {
            Deed::Set(value) => (Write::Set(value.clone().into()), Did::Set(value)),
            Deed::Add(amount) => (Write::Add(amount), Did::Add(amount)),
            Deed::Insert => (Write::Insert, Did::Insert),
            Deed::Once(value) => (Write::WriteOnce(value.clone().into()), Did::Once(value)),
            Deed::Remove => (Write::Remove, Did::Remove),
            Deed::Edit(kind) => self.edit(on, place, removes_first, kind, stamp),
        }
    }

    fn edit(
        &mut self,
        on: usize,
        place: &Place,
        removes_first: bool,
        kind: EntryKind,
        stamp: Hlc,
    ) -> (Write, Did) {
        let replica = &self.replicas[on];
        let (mut sequence, births) = match removes_first {
            true => {
                let fresh = Sequence::new(sequence_kind(kind), replica.author);
                (fresh, Births::default())
            }
            false => replica.sequence(place, kind),
        };
        let before = elements_of(&sequence);
        let at = self.random.below(before.len() + 1);
        let delete = self.random.below(3).min(before.len() - at);
        let first = self.elements;
        self.elements += 1 + self.random.below(4) as u32;
        let inserted: Vec<u32> = (first..self.elements).collect();
        sequence.delete(at, delete).unwrap();
        let content = content_of(sequence.kind(), &inserted);
        sequence.insert(at, content).unwrap();
        let update = sequence.take_update(stamp).unwrap().unwrap();
        let number = |birth: Birth| {
            let is_it = |made: &Made| (made.author, made.stamp) == (birth.author, birth.hlc.bits());
            self.all.iter().position(is_it).unwrap()
        };
        let did = Edited {
            kind,
            births: births.iter().map(number).collect(),
            deleted: before[at..at + delete].to_vec(),
            inserted,
            after: elements_of(&sequence),
        };
        let update = update.into();
        let write = Write::Edit {
            kind,
            births,
            update,
        };
        (write, Did::Edit(did))
    }
}
