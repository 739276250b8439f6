//! Which blobs contexts refer to, as the ledger tells those who remove blobs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corelet_store::{
    AttachedSum, Attachment, BLOB_BYTES_MAX, BlobId, Change, ContextBounds, ContextSlot, Op,
    Refused, Space, StoreError, Write,
};
use proptest::prelude::*;

use crate::damage::flip;
use crate::{Bench, id};

fn blob(n: u8) -> Attachment {
    Attachment {
        blob: BlobId::of(&[n]),
        bytes: 1 << n,
    }
}

fn op(attachment: Attachment, write: Write) -> Op {
    Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&attachment.key()),
        removes_first: false,
        write,
    }
}

fn attach(n: u8) -> Op {
    op(blob(n), Write::Insert)
}

fn detach(n: u8) -> Op {
    op(blob(n), Write::Remove)
}

/// Which of eight blobs anybody refers to, as far as that is shown.
fn attached(bench: &Bench) -> Vec<bool> {
    let snapshot = bench.ledger().snapshot().unwrap();
    let is_attached = |n| !snapshot.attached_by(blob(n).blob, 1).unwrap().is_empty();
    (0..8).map(is_attached).collect()
}

fn sum(bench: &Bench, slot: ContextSlot) -> AttachedSum {
    bench.ledger().snapshot().unwrap().attached(slot).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Attach { context: u8, blob: u8 },
    Detach { context: u8, blob: u8 },
    Delete { context: u8 },
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4_u8, 0..8_u8).prop_map(|(context, blob)| Step::Attach { context, blob }),
        4 => (1..4_u8, 0..8_u8).prop_map(|(context, blob)| Step::Detach { context, blob }),
        1 => (1..4_u8).prop_map(|context| Step::Delete { context }),
        2 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Attaching twice counts once; what a deleted context had is referred to until it is
    /// swept, and not a step longer.
    #[test]
    fn references_are_those_of_the_contexts_that_there_are(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bench = Bench::new();
        let mut slots = BTreeMap::new();
        let mut expected: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Attach { context, blob } => {
                    let slot = *slots.entry(context).or_insert_with(|| bench.create(context));
                    let call = bench.call(context, slot, vec![attach(blob)]);
                    bench.commit(vec![call]);
                    expected.entry(context).or_default().insert(blob);
                }
                Step::Detach { context, blob } => {
                    let Some(slot) = slots.get(&context) else { continue };
                    let call = bench.call(context, *slot, vec![detach(blob)]);
                    bench.commit(vec![call]);
                    expected.entry(context).or_default().remove(&blob);
                }
                Step::Delete { context } => {
                    if slots.remove(&context).is_some() {
                        bench.commit(vec![Change::DeleteContext(id(context))]);
                        expected.remove(&context);
                    }
                }
                // One record at a time, to stop at every place.
                Step::Sweep => while bench.ledger().sweep(1).unwrap().is_more {
                    bench.verify();
                },
                Step::Reopen => bench.reopen(),
            }
        }
        while bench.ledger().sweep(3).unwrap().is_more {}
        bench.ledger().writer().checkpoint().unwrap();
        let found = attached(&bench);
        let all: BTreeSet<u8> = expected.values().flatten().copied().collect();
        let wanted: Vec<_> = (0..8).map(|n| all.contains(&n)).collect();
        prop_assert_eq!(found, wanted);
        for (context, slot) in &slots {
            let blobs = expected.get(context).cloned().unwrap_or_default();
            let expected = AttachedSum {
                blobs: blobs.len() as u64,
                bytes: blobs.iter().map(|n| blob(*n).bytes).sum(),
            };
            prop_assert_eq!(sum(&bench, *slot), expected);
        }
        bench.verify();
    }
}

#[test]
fn a_damaged_row_is_told_to_whoever_asks_for_the_blob() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![attach(3)]);
    bench.commit(vec![call]);
    bench.close();
    let blob = blob(3);
    let slot = slot.number().to_be_bytes();
    let row = [blob.blob.as_bytes(), &slot[..], &blob.bytes.to_be_bytes()].concat();
    flip(&bench, &row, row.len() + 4);
    bench.reopen();
    let snapshot = bench.ledger().snapshot().unwrap();
    let asked = snapshot.attached_by(blob.blob, 1);
    assert!(
        matches!(asked, Err(StoreError::Corrupt { .. })),
        "{asked:?}"
    );
}

#[test]
fn what_is_no_attachment_is_refused() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut check = |op: Op| {
        let call = bench.call(1, slot, vec![op]);
        let answer = bench.ledger().commit(vec![call]).unwrap().remove(0);
        let is_refused = matches!(
            answer,
            Err(Refused::NotInSpace {
                space: Space::Attached
            })
        );
        assert!(is_refused, "{answer:?}");
    };
    let too_long = Attachment {
        bytes: BLOB_BYTES_MAX + 1,
        ..blob(1)
    };
    check(op(too_long, Write::Insert));
    check(op(blob(1), Write::Set(Bytes::new())));
    check(op(blob(1), Write::Add(1)));
    check(Op {
        key: Bytes::from_static(b"short"),
        ..attach(1)
    });
    assert_eq!(sum(&bench, slot), AttachedSum::default());
}

/// What is there already counts, what goes is no matter, and a journal that was written under
/// other bounds is taken as it is.
#[test]
fn a_context_attaches_so_much_and_no_more() {
    let mut bench = Bench::new();
    bench.config.contexts = ContextBounds {
        blobs_max: 3,
        blob_bytes_max: 40,
        ..ContextBounds::NONE
    };
    bench.reopen();
    let slot = bench.create(1);
    let call = |bench: &mut Bench, ops: Vec<Op>| {
        let call = bench.call(1, slot, ops);
        let answer = bench.ledger().commit(vec![call]).unwrap().remove(0);
        match answer {
            Ok(_) => None,
            Err(Refused::OutOfBounds {
                limit, got, max, ..
            }) => Some((limit, got, max)),
            Err(error) => panic!("{error}"),
        }
    };
    // 32 bytes, and 4 once more.
    assert_eq!(call(&mut bench, vec![attach(5), attach(2)]), None);
    assert_eq!(call(&mut bench, vec![attach(5)]), None, "it is there");
    let too_long = Some(("context_blob_bytes_max", 44, 40));
    assert_eq!(call(&mut bench, vec![attach(3)]), too_long);
    assert_eq!(call(&mut bench, vec![attach(0)]), None);
    let too_many = Some(("context_blobs_max", 4, 3));
    assert_eq!(call(&mut bench, vec![attach(1)]), too_many);
    assert_eq!(
        call(&mut bench, vec![attach(3), detach(2)]),
        Some(("context_blob_bytes_max", 41, 40))
    );
    assert_eq!(
        call(&mut bench, vec![attach(1), detach(2)]),
        None,
        "one for another"
    );
    let expected = AttachedSum {
        blobs: 3,
        bytes: 35,
    };
    bench.config.contexts = ContextBounds {
        blobs_max: 1,
        blob_bytes_max: 1,
        ..ContextBounds::NONE
    };
    bench.reopen();
    assert_eq!(sum(&bench, slot), expected);
    // Fewer, though still too many.
    assert_eq!(call(&mut bench, vec![detach(0)]), None);
    assert_eq!(
        call(&mut bench, vec![attach(0)]),
        Some(("context_blobs_max", 3, 1))
    );
    let mut effects = bench.effects(2, ContextSlot::UNASSIGNED, vec![attach(0), attach(1)]);
    effects.slot = ContextSlot::UNASSIGNED;
    let create = Change::CreateContext(corelet_store::NewContext {
        id: id(2),
        name: None,
        application: corelet_store::ApplicationId::from_bytes([1; 32]),
        created: effects.hlc,
        call: effects,
    });
    let answer = bench.ledger().commit(vec![create]).unwrap().remove(0);
    assert!(
        matches!(answer, Err(Refused::OutOfBounds { got: 2, max: 1, .. })),
        "{answer:?}"
    );
    bench.verify();
}
