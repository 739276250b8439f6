//! Seals that hold and seals that do not, and branches.

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::delta::{DeltaWriter, write_op_count};
use crate::hlc::Hlc;
use crate::ids::Root;

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
