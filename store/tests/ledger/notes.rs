//! What the server notes of contexts for itself: in their agendas, beside everything that a context's state is.

use bytes::Bytes;
use corelet_store::{Change, EntryValue, Head, Hlc, NodeId, Note, Refused, Space};

use crate::full_map::{MAP_BYTES, fill};
use crate::{Bench, id, set};

fn note(bench: &mut Bench, n: u8, value: Option<&str>, is_awaited: bool) -> Change {
    bench.now += 1;
    Change::PutNote(Note {
        context: id(n),
        author: NodeId::from_bytes([0xaa; 32]),
        hlc: Hlc::from_bits(bench.now << 12),
        key: Bytes::from_static(b"note"),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        is_awaited,
    })
}

fn noted(bench: &Bench, slot: corelet_store::ContextSlot) -> Option<Vec<u8>> {
    let snapshot = bench.ledger().snapshot().unwrap();
    let found = snapshot.get(slot, Space::Agenda, b"note").unwrap();
    found.map(|value| match value {
        EntryValue::Register(value) => value.to_vec(),
        other => panic!("{other:?} is no register"),
    })
}

/// But for what it takes.
fn state(mut head: Head) -> Head {
    head.bytes = 0;
    head
}

#[test]
fn a_note_is_no_change_of_the_state_and_comes_with_the_next_checkpoint() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("key", "value")]);
    bench.commit(vec![call]);
    let head = |bench: &Bench| bench.ledger().snapshot().unwrap().head(slot).unwrap();
    let before = head(&bench);

    let change = note(&mut bench, 1, Some("one"), false);
    let mut writer = bench.ledger().writer();
    let outcome = writer.commit(vec![change]).unwrap();
    assert!(outcome.verdicts[0].is_ok() && !outcome.is_shown);
    assert!(!writer.has_unshown() && writer.has_collected());
    writer.checkpoint().unwrap();
    drop(writer);
    assert_eq!(noted(&bench, slot).unwrap(), b"one");
    let after = head(&bench);
    assert_eq!(after.bytes, before.bytes + 4 + 3);
    assert_eq!(state(after), state(before.clone()));
    bench.verify();

    // One that takes the place of another, and its removal.
    for (value, bytes) in [(Some("three"), 4 + 5), (None, 0)] {
        let change = note(&mut bench, 1, value, true);
        let outcome = bench.ledger().writer().commit(vec![change]).unwrap();
        assert!(outcome.is_shown, "it is awaited");
        let expected = value.map(|value| value.as_bytes().to_vec());
        assert_eq!(noted(&bench, slot), expected);
        assert_eq!(head(&bench).bytes, before.bytes + bytes);
        bench.reopen();
        assert_eq!(noted(&bench, slot), expected);
        bench.verify();
    }
}

/// Calls behind it are acknowledged by the journal, which does not have it.
#[test]
fn a_crash_forgets_a_note_that_nobody_awaits_and_no_call_with_it() {
    for has_call_before in [true, false] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        let kept = note(&mut bench, 1, Some("kept"), true);
        bench.commit(vec![kept]);
        let mut batch = Vec::new();
        if has_call_before {
            batch.push(bench.call(1, slot, vec![set("before", "1")]));
        }
        batch.push(note(&mut bench, 1, Some("forgotten"), false));
        batch.push(bench.call(1, slot, vec![set("behind", "2")]));
        let outcome = bench.ledger().writer().commit(batch).unwrap();
        assert!(outcome.verdicts.iter().all(Result::is_ok) && !outcome.is_shown);
        let last = outcome.verdicts.last().unwrap().as_ref().unwrap();
        let standing = last.standing();
        bench.reopen();
        assert_eq!(noted(&bench, slot).unwrap(), b"kept");
        assert_eq!(bench.get(slot, b"behind").unwrap(), b"2");
        let head = bench.ledger().snapshot().unwrap().head(slot).unwrap();
        assert_eq!((head.root, head.version), (standing.root, standing.version));
        bench.verify();
        // And all goes on.
        let more = note(&mut bench, 1, Some("more"), true);
        bench.commit(vec![more]);
        assert_eq!(noted(&bench, slot).unwrap(), b"more");
        bench.verify();
    }
}

#[test]
fn a_note_is_refused_alone_where_there_is_no_context_or_none_in_service() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    bench.create(2);
    bench.create(3);
    bench.commit(vec![
        Change::DeleteContext(id(2)),
        Change::Quarantine {
            context: id(3),
            why: Some("damage".to_owned()),
        },
    ]);
    let batch = vec![
        note(&mut bench, 2, Some("gone"), false),
        note(&mut bench, 3, Some("damaged"), false),
        note(&mut bench, 9, Some("unknown"), false),
        note(&mut bench, 1, Some("there"), true),
    ];
    let mut verdicts = bench.ledger().commit(batch).unwrap().into_iter();
    let mut next = || verdicts.next().unwrap();
    assert!(matches!(next(), Err(Refused::UnknownContext { .. })));
    assert!(matches!(next(), Err(Refused::Quarantined { .. })));
    assert!(matches!(next(), Err(Refused::UnknownContext { .. })));
    assert!(next().is_ok());
    assert_eq!(noted(&bench, slot).unwrap(), b"there");
    let change = Change::PutNote(Note {
        context: id(1),
        author: NodeId::from_bytes([0xaa; 32]),
        hlc: Hlc::from_bits(1 << 40),
        key: Bytes::from(vec![1; corelet_store::KEY_BYTES_MAX + 1]),
        value: None,
        is_awaited: true,
    });
    let refused = bench.ledger().commit(vec![change]).unwrap().remove(0);
    assert!(matches!(refused, Err(Refused::OutOfBounds { .. })));
    bench.verify();
}

/// Neither takes it what is kept for those who free some, nor are calls lost beside it.
#[test]
fn a_note_for_which_there_is_no_room_is_refused_alone() {
    let mut bench = Bench::with_map(MAP_BYTES);
    let slot = bench.create(1);
    let other = bench.create(2);
    fill(&mut bench, 2, other, "large ", 20_000);
    let large = "x".repeat(60_000);
    for is_awaited in [false, true] {
        let alone = note(&mut bench, 1, Some(&large), is_awaited);
        let outcome = bench.ledger().writer().commit(vec![alone]).unwrap();
        let refused = &outcome.verdicts[0];
        assert!(matches!(refused, Err(Refused::DiskFull)), "{refused:?}");

        let behind = note(&mut bench, 1, Some(&large), is_awaited);
        let call = bench.call(1, slot, vec![set("beside", "1")]);
        let mut writer = bench.ledger().writer();
        let outcome = writer.commit(vec![behind, call]).unwrap();
        let [refused, beside] = &outcome.verdicts[..] else {
            panic!("{outcome:?}")
        };
        assert!(matches!(refused, Err(Refused::DiskFull)), "{refused:?}");
        assert!(beside.is_ok(), "{beside:?}");
        writer.checkpoint().unwrap();
    }
    assert_eq!(noted(&bench, slot), None);
    bench.reopen();
    assert_eq!(bench.get(slot, b"beside").unwrap(), b"1");
    bench.verify();

    bench.commit(vec![Change::DeleteContext(id(2))]);
    while bench.ledger().sweep(256).unwrap().is_more {}
    let again = note(&mut bench, 1, Some(&large), false);
    assert!(bench.commit(vec![again])[0].slot() == slot);
    assert_eq!(noted(&bench, slot).unwrap(), large.as_bytes());
    bench.verify();
}
