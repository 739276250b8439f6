//! Seals that hold and seals that do not, what of a delta they hold for, and branches.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::change::Event;
use crate::delta::{
    BIRTH_BYTES, BirthsView, DeltaWriter, OpView, STAMP_BYTES, WriteView, write_op, write_op_count,
};
use crate::entry::{EntryKind, Space};
use crate::hlc::Hlc;
use crate::ids::Root;
use crate::pending::vouch;

/// A node with its key.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(number: u16) -> Key {
        let [high, low] = number.to_be_bytes();
        let mut secret = [low; 32];
        secret[0] ^= high;
        Key(SigningKey::from_bytes(&secret))
    }

    pub(crate) fn seal(&self, context: ContextId, delta: DeltaId) -> Sealed {
        let seal = make_seals(self, &[(context, delta)]).remove(0);
        seal.check(context, delta).unwrap()
    }
}

impl Sealer for Key {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [SIGNED_FOR, message].concat();
        self.0.sign(&signed).to_bytes()
    }
}

/// An empty delta.
pub(crate) fn delta(
    context: ContextId,
    key: &Key,
    hlc: u64,
    parents: &[DeltaId],
) -> (DeltaId, Bytes) {
    let mut parents = parents.to_vec();
    parents.sort();
    let mut out = Vec::new();
    let hlc = Hlc::from_bits(hlc);
    let mut writer = DeltaWriter::begin(&mut out, context, key.node_id(), hlc, &parents);
    write_op_count(writer.out(), 0);
    writer.events(&[]);
    let id = writer.finish(Root::EMPTY);
    (id, Bytes::from(out))
}

fn place(n: usize) -> (ContextId, DeltaId) {
    let bytes = *blake3::hash(&n.to_le_bytes()).as_bytes();
    (ContextId::from_bytes(bytes), DeltaId::from_bytes(bytes))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// One signature over any number of contexts; each seal is good for its own delta in its
    /// own context, and for nothing else.
    #[test]
    fn each_seal_of_a_batch_holds_for_its_own_delta_alone(
        count in 1..70_usize, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
    ) {
        let places: Vec<_> = (0..count).map(place).collect();
        let seals = make_seals(&Key::new(1), &places);
        prop_assert_eq!(seals.len(), count);
        let (at, other) = (at.index(count), other.index(count));
        let (context, delta) = places[at];
        let sealed = seals[at].clone().check(context, delta).unwrap();
        prop_assert_eq!((sealed.context(), sealed.delta()), (context, delta));
        prop_assert!(seals[at].bytes() <= SEAL_BYTES_MAX);
        let (foreign_context, foreign_delta) = places[other];
        if other != at {
            prop_assert!(seals[at].clone().check(foreign_context, delta).is_err());
            prop_assert!(seals[at].clone().check(context, foreign_delta).is_err());
            prop_assert!(seals[other].clone().check(context, delta).is_err());
        }
    }

    #[test]
    fn bytes_read_back_as_they_were_written_and_in_no_other_form(
        count in 1..9_usize, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let places: Vec<_> = (0..count).map(place).collect();
        let seals = make_seals(&Key::new(1), &places);
        let at = at.index(count);
        let bytes = seals[at].to_bytes();
        let read = Seal::read(&bytes).unwrap();
        prop_assert_eq!(&read, &seals[at]);
        let (context, delta) = places[at];
        prop_assert!(read.check(context, delta).is_ok());
        prop_assert!(Seal::read(&bytes[..bytes.len() - 1]).is_err());
        prop_assert!(Seal::read(&[&bytes[..], &[0]].concat()).is_err());
        let mut other = bytes.clone();
        other[flip.index(bytes.len())] ^= 1 << bit;
        if let Ok(read) = Seal::read(&other) {
            prop_assert_eq!(read.to_bytes(), other);
            prop_assert!(read.check(context, delta).is_err(), "a flipped bit holds");
        }
    }
}

#[test]
fn a_seal_of_another_key_or_purpose_does_not_hold() {
    struct OtherPurpose(Key);
    impl Sealer for OtherPurpose {
        fn node_id(&self) -> NodeId {
            self.0.node_id()
        }
        fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
            let signed = [b"corelet/v1/link\0", message].concat();
            self.0.0.sign(&signed).to_bytes()
        }
    }
    struct OtherKey(Key);
    impl Sealer for OtherKey {
        fn node_id(&self) -> NodeId {
            Key::new(2).node_id()
        }
        fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign_delta(message)
        }
    }
    let (context, delta) = place(1);
    let leaves = [(context, delta)];
    let good = make_seals(&Key::new(1), &leaves).remove(0);
    assert!(good.check(context, delta).is_ok());
    let purpose = make_seals(&OtherPurpose(Key::new(1)), &leaves).remove(0);
    let key = make_seals(&OtherKey(Key::new(1)), &leaves).remove(0);
    for bad in [purpose, key] {
        let refused = bad.check(context, delta).unwrap_err();
        assert!(matches!(refused, BadSeal::NotSigned { .. }));
    }
}

/// The neutral point as a key has signatures that hold for every message, unless one looks.
#[test]
fn a_weak_key_seals_nothing() {
    let mut author = [0; 32];
    author[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let seal = Seal {
        author: NodeId::from_bytes(author),
        signature,
        sides: 0,
        siblings: Box::new([]),
    };
    let (context, delta) = place(1);
    assert!(seal.check(context, delta).is_err());
}

#[test]
fn a_signature_that_was_checked_vouches_for_its_own_top_alone() {
    let places: Vec<_> = (0..5).map(place).collect();
    let seals = make_seals(&Key::new(1), &places);
    let mut checker = SealChecker::default();
    for ((context, delta), seal) in places.iter().zip(&seals) {
        assert!(checker.check(seal.clone(), *context, *delta).is_ok());
    }
    assert_eq!(checker.checked.len(), 1);
    let (context, _) = places[0];
    assert!(
        checker
            .check(seals[0].clone(), context, places[1].1)
            .is_err()
    );
}

#[test]
fn too_many_leaves_or_none_are_not_sealed() {
    assert!(make_seals(&Key::new(1), &[]).is_empty());
    let many = vec![place(1); SEAL_LEAVES_MAX + 1];
    assert!(make_seals(&Key::new(1), &many).is_empty());
}

/// The bytes that are hashed and signed are part of the format.
#[test]
fn a_seal_is_what_it_always_was() {
    let seals = make_seals(&Key::new(7), &[place(0), place(1), place(2)]);
    let all: Vec<u8> = seals.iter().flat_map(Seal::to_bytes).collect();
    assert_eq!(blake3::hash(&all).to_hex().as_str(), GOLDEN);
}
const GOLDEN: &str = "3de6d96fe84526d177bd6fe9111a820ca7be25b00a15d01e73c05c90911340e6";

#[test]
fn a_branch_leads_from_a_delta_to_one_that_its_author_has_sealed() {
    let (context, _) = place(1);
    let (mine, other) = (Key::new(1), Key::new(2));
    let (low_id, low) = delta(context, &mine, 1, &[]);
    let (middle_id, middle) = delta(context, &other, 2, &[low_id]);
    let (top_id, top) = delta(context, &mine, 3, &[middle_id]);
    let sealed = mine.seal(context, top_id);
    let path = vec![low.clone(), middle.clone(), top.clone()];
    let branch = Branch::check(path, sealed.clone()).unwrap();
    assert_eq!((branch.delta(), branch.author()), (low_id, mine.node_id()));
    assert_eq!(Branch::read(&branch.to_bytes()).unwrap(), branch);
    let mut bytes = branch.to_bytes();
    bytes[100] ^= 1;
    assert!(Branch::read(&bytes).is_err());

    let broken = |path: &[&Bytes], sealed: &Sealed| {
        let path = path.iter().map(|bytes| (*bytes).clone()).collect();
        Branch::check(path, sealed.clone()).unwrap_err()
    };
    broken(&[], &sealed);
    broken(&[&low, &top], &sealed);
    broken(&[&low, &middle], &sealed);
    // Who follows a delta does not say who has made it.
    broken(&[&middle, &top], &sealed);
    broken(&[&low, &middle], &other.seal(context, middle_id));
    broken(&[&low], &other.seal(context, low_id));
    let elsewhere = place(2).0;
    broken(&[&low], &mine.seal(elsewhere, low_id));
}

/// All that a delta says.
#[derive(Clone)]
struct Said {
    context: ContextId,
    author: NodeId,
    hlc: u64,
    parents: Vec<DeltaId>,
    ops: Vec<OpView<'static>>,
    events: Vec<Event>,
    root: Root,
}

const BIRTHS: &[[u8; BIRTH_BYTES]] = &[[1; BIRTH_BYTES], [2; BIRTH_BYTES]];
const SEEN: &[[u8; STAMP_BYTES]] = &[[1; STAMP_BYTES], [2; STAMP_BYTES]];

fn edit(
    kind: EntryKind,
    births: &'static [[u8; BIRTH_BYTES]],
    are_linked: bool,
) -> WriteView<'static> {
    WriteView::Edit {
        kind,
        births: BirthsView::of(births, are_linked).unwrap(),
        seen: if are_linked { SEEN } else { &[] },
        update: b"update",
    }
}

fn event(kind: &str, payload: &'static str) -> Event {
    Event {
        kind: kind.to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

impl Said {
    fn by(key: &Key) -> Said {
        let add = WriteView::Add {
            amount: 1,
            is_new_cell: false,
        };
        let ops = [
            (&b"a"[..], WriteView::Set(b"value")),
            (b"b", WriteView::Set(b"other")),
            (b"c", add),
            (b"d", WriteView::Insert),
            (b"e", WriteView::WriteOnce(b"value")),
            (b"f", edit(EntryKind::List, BIRTHS, true)),
            (b"g", WriteView::Remove),
        ];
        let op = |(key, write)| OpView {
            space: Space::Shared,
            key,
            removes_first: false,
            write,
        };
        Said {
            context: place(1).0,
            author: key.node_id(),
            hlc: 0x0102_0304_0506_0708,
            parents: [1, 2].map(|n| DeltaId::from_bytes([n; 32])).to_vec(),
            ops: ops.map(op).to_vec(),
            events: vec![event("one", "payload"), event("two", "payload")],
            root: Root::from_bytes([9; 32]),
        }
    }

    fn delta(&self) -> (DeltaId, Bytes) {
        let mut out = Vec::new();
        let hlc = Hlc::from_bits(self.hlc);
        let (context, author) = (self.context, self.author);
        let mut writer = DeltaWriter::begin(&mut out, context, author, hlc, &self.parents);
        write_op_count(writer.out(), self.ops.len());
        for op in &self.ops {
            write_op(writer.out(), op);
        }
        writer.events(&self.events);
        let id = writer.finish(self.root);
        (id, Bytes::from(out))
    }
}

/// A part of a delta, and what makes it another.
type Alteration = (&'static str, fn(&mut Said));

const ALTERATIONS: &[Alteration] = &[
    ("context", |it| it.context = place(2).0),
    ("author", |it| it.author = Key::new(2).node_id()),
    ("stamp", |it| it.hlc += 1),
    ("stamp's highest byte", |it| it.hlc += 1 << 56),
    ("a parent", |it| {
        it.parents[0] = DeltaId::from_bytes([0; 32])
    }),
    ("one parent less", |it| it.parents.truncate(1)),
    ("one parent more", |it| {
        it.parents.push(DeltaId::from_bytes([3; 32]))
    }),
    ("order of parents", |it| it.parents.reverse()),
    ("root", |it| it.root = Root::from_bytes([8; 32])),
    ("space", |it| it.ops[0].space = Space::Owned),
    ("key", |it| it.ops[0].key = b"A"),
    ("end of a key", |it| {
        it.ops[0].key = b"av";
        it.ops[0].write = WriteView::Set(b"alue");
    }),
    ("what is removed first", |it| it.ops[0].removes_first = true),
    ("value", |it| it.ops[0].write = WriteView::Set(b"valuf")),
    ("no value", |it| it.ops[0].write = WriteView::Set(b"")),
    ("kind", |it| {
        it.ops[0].write = WriteView::WriteOnce(b"value")
    }),
    ("another kind", |it| it.ops[3].write = WriteView::Remove),
    ("amount", |it| {
        it.ops[2].write = WriteView::Add {
            amount: -1,
            is_new_cell: false,
        }
    }),
    ("cell", |it| {
        it.ops[2].write = WriteView::Add {
            amount: 1,
            is_new_cell: true,
        }
    }),
    ("kind of a sequence", |it| {
        it.ops[5].write = edit(EntryKind::Text, BIRTHS, true)
    }),
    ("births", |it| {
        it.ops[5].write = edit(EntryKind::List, &BIRTHS[1..], true)
    }),
    ("link", |it| {
        it.ops[5].write = edit(EntryKind::List, BIRTHS, false)
    }),
    ("what was seen", |it| {
        if let WriteView::Edit { seen, .. } = &mut it.ops[5].write {
            *seen = &SEEN[1..];
        }
    }),
    ("update", |it| {
        if let WriteView::Edit { update, .. } = &mut it.ops[5].write {
            *update = b"updatf";
        }
    }),
    ("order of writes", |it| it.ops.swap(0, 1)),
    ("who gets which value", |it| {
        let [a, b] = [0, 1].map(|at| it.ops[at].write);
        (it.ops[0].write, it.ops[1].write) = (b, a);
    }),
    ("one write less", |it| it.ops.truncate(6)),
    ("kind of an event", |it| {
        it.events[0].kind = "oned".to_owned()
    }),
    ("payload of an event", |it| {
        it.events[0] = event("one", "payloae")
    }),
    ("end of an event's kind", |it| {
        it.events[0] = event("onep", "ayload")
    }),
    ("order of events", |it| it.events.reverse()),
    ("one event less", |it| it.events.truncate(1)),
];

/// Its id stands for every part of it, and its author's signature for that id alone: who changes
/// anything has a delta that nobody has sealed, whichever context he brings it to.
#[test]
fn a_delta_that_says_anything_else_has_another_id_and_no_seal() {
    let key = Key::new(1);
    let said = Said::by(&key);
    let (id, bytes) = said.delta();
    let sealed = key.seal(said.context, id);
    let vouched = |context, bytes: &[u8]| {
        let deltas = [Bytes::copy_from_slice(bytes)];
        // What is malformed is nobody's delta.
        vouch(context, deltas, [sealed.clone()]).map_or(0, |vouched| vouched.len())
    };
    assert_eq!(vouched(said.context, &bytes), 1);
    let mut ids = BTreeMap::from([(*id.as_bytes(), "nothing")]);
    for (what, alter) in ALTERATIONS {
        let mut other = said.clone();
        alter(&mut other);
        let (other_id, other_bytes) = other.delta();
        let same = ids.insert(*other_id.as_bytes(), what);
        assert_eq!(same, None, "the id does not stand for: {what}");
        let seal = sealed.seal();
        for context in [said.context, other.context] {
            assert!(seal.clone().check(context, other_id).is_err(), "{what}");
        }
        assert_eq!(vouched(said.context, &other_bytes), 0, "{what}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut other = bytes.to_vec();
            other[at] ^= 1 << bit;
            assert_eq!(vouched(said.context, &other), 0, "bit {bit} of byte {at}");
        }
    }
}
