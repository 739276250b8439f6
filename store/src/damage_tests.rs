//! One damaged record, of whatever kind, is lived with: the node starts, its neighbours go on, it
//! is told whose it is, and what it belongs to can be deleted.

use std::io::Cursor;
use std::path::PathBuf;

use bytes::Bytes;

use crate::answer::{AnswerKey, KeyedAnswer, RequestDigest, Said};
use crate::change::{Birth, Births, Change, Op, Write};
use crate::check::check;
use crate::entry::{EntryKind, SequenceState, Space, State, Value};
use crate::error::{ExportError, ImportError, StoreError};
use crate::export::{Arrival, BackupCounts, BackupSource, write_backup};
use crate::fixture::{alter, call, flip, id, name, open, round, scrub_twice, two};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId, ShardCount};
use crate::layout::{self, position_key, slot_key};
use crate::ledger::{Ledger, LedgerConfig};
use crate::names::reconcile_names;
use crate::quarantine::{AsideRow, QuarantineRow, aside_key};
use crate::record::{EntryRow, LitterRow, seal};
use crate::retention::Retention;
use crate::scrub::Scrub;
use crate::step::StepBounds;
use crate::verify::verify;
use crate::version::Dot;

fn backup(ledger: &Ledger) -> Result<(BackupCounts, Vec<u8>), ExportError> {
    ledger.writer().checkpoint().unwrap();
    let source = BackupSource {
        node: NodeId::from_bytes([4; 32]),
        snapshots: &[ledger.snapshot().unwrap()],
        component: &|_| PathBuf::new(),
        blobs: None,
    };
    let mut file = Vec::new();
    let counts = write_backup(&source, &mut file, &mut |_| {})?;
    Ok((counts, file))
}

/// Somebody has written them by our rules otherwise, with checksums that match.
#[test]
fn an_entry_that_nobody_can_have_written_where_it_stands_is_told() {
    let (_dir, ledger, [slot, _]) = two();
    let (owner, other) = (NodeId::from_bytes([4; 32]), NodeId::from_bytes([5; 32]));
    let owned = [owner.as_bytes(), &b"own"[..]].concat();
    let op = |space, key: &[u8]| Op {
        space,
        ..Op::set(Bytes::copy_from_slice(key), "value".into())
    };
    let ops = vec![
        op(Space::Owned, &owned),
        op(Space::Private, b"own"),
        op(Space::Agenda, b"own"),
    ];
    commit(&ledger, Change::Call(call(1, slot, 10, ops)));
    let mut others = call(1, slot, 11, vec![op(Space::Shared, b"other")]);
    others.author = other;
    commit(&ledger, Change::Call(others));
    ledger.writer().checkpoint().unwrap();
    verify(&ledger.snapshot().unwrap()).unwrap();

    let authors = ledger.snapshot().unwrap().authors().unwrap();
    let dot = |author| Dot {
        author: authors.find(author).unwrap(),
        hlc: Hlc::from_micros(10),
    };
    let state = State {
        once: Some(Value {
            dot: dot(owner),
            bytes: b"value",
        }),
        ..State::default()
    };
    let mut sections = Vec::new();
    state.write(&mut sections);
    let list = SequenceState {
        bytes: u64::MAX,
        births: vec![dot(other)],
        ..SequenceState::default()
    };
    let (list, text) = (list.clone(), list);
    let state = State {
        list,
        text,
        ..State::default()
    };
    let mut endless = Vec::new();
    state.write(&mut endless);
    let cases: [(Space, &[u8], EntryRow<'_>, &str); 4] = [
        (
            Space::Owned,
            &owned,
            EntryRow::value(dot(other), b"value"),
            "another author than its owner",
        ),
        (
            Space::Private,
            b"own",
            EntryRow::sections(&sections),
            "no register",
        ),
        (
            Space::Agenda,
            b"own",
            EntryRow::sections(&sections),
            "no register",
        ),
        (
            Space::Shared,
            b"other",
            EntryRow::sections(&endless),
            "more bytes or edits than can be",
        ),
    ];
    for (space, key, row, why) in cases {
        let mut full = Vec::new();
        layout::entry_key(&mut full, slot, space, key);
        let mut before = Vec::new();
        alter(&ledger, |tables, txn| {
            before = tables
                .entries
                .get(txn, &full)?
                .expect("it is there")
                .to_vec();
            let mut record = Vec::new();
            seal(&mut record, &full, &row);
            tables.entries.put(txn, &full, &record).map(|()| true)
        });
        let told = verify(&ledger.snapshot().unwrap()).expect_err("it cannot be");
        assert!(told.to_string().contains(why), "{space:?}: {told}");
        alter(&ledger, |tables, txn| {
            tables.entries.put(txn, &full, &before).map(|()| true)
        });
    }
    verify(&ledger.snapshot().unwrap()).unwrap();
}

fn commit(ledger: &Ledger, change: Change) {
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

fn quarantine(ledger: &Ledger, n: u8) {
    let change = Change::Quarantine {
        context: id(n),
        why: Some("it is damaged".to_owned()),
    };
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

fn delete(ledger: &Ledger, n: u8) {
    let change = Change::DeleteContext(id(n));
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

fn sweep(ledger: &Ledger) {
    while ledger.sweep(100).unwrap().is_more {}
}

#[test]
fn a_context_with_a_damaged_record_keeps_its_name_is_put_out_of_service_and_can_be_deleted() {
    let (dir, ledger, slots) = two();
    flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
    drop(ledger);
    let ledger = open(&dir);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.freed, Vec::<String>::new());
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.name(&name(1)).unwrap(), Some(id(1)));
    let found = snapshot.contexts_found(None, 9).unwrap();
    assert_eq!((found[0].0, found[0].1.is_err()), (id(1), true));
    assert_eq!(found[1].1.as_ref().unwrap().slot, slots[1]);
    assert_eq!(snapshot.slot_of(&id(1)).unwrap(), Some(slots[0]));
    drop(snapshot);

    let damaged = round(&mut Scrub::default(), &ledger).damaged;
    assert!(!damaged.is_empty());
    assert!(
        damaged.iter().all(|damage| damage.context == Some(id(1))),
        "{damaged:?}"
    );
    let (counts, _) = backup(&ledger).unwrap();
    assert_eq!((counts.contexts, counts.left_out, counts.names), (1, 1, 2));
    quarantine(&ledger, 1);
    drop(ledger);

    let ledger = open(&dir);
    let out = ledger.snapshot().unwrap().all_quarantined().unwrap();
    assert_eq!(
        (out.len(), out[0].context, out[0].slot),
        (1, id(1), slots[0])
    );
    delete(&ledger, 1);
    sweep(&ledger);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.freed, [name(1)]);
    assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().contexts, 1);
    assert_eq!(ledger.stats().unwrap().entries, 40);
    assert!(round(&mut Scrub::default(), &ledger).damaged.is_empty());
}

/// Then nothing says in which slot it was.
#[test]
fn a_context_without_a_record_or_a_head_that_can_be_read_can_be_deleted() {
    for is_head_there in [true, false] {
        let (_dir, ledger, slots) = two();
        flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
        let head = slot_key(slots[0]);
        match is_head_there {
            true => flip(&ledger, |tables| tables.heads, &head),
            false => alter(&ledger, |tables, txn| tables.heads.delete(txn, &head)),
        }
        let damaged = round(&mut Scrub::default(), &ledger).damaged;
        assert!(damaged.iter().any(|damage| damage.context == Some(id(1))));
        delete(&ledger, 1);
        let deleted = ledger.snapshot().unwrap().context(&id(1)).unwrap();
        assert_eq!(deleted, None);
        scrub_twice(&ledger);
        scrub_twice(&ledger);
        reconcile_names(std::slice::from_ref(&ledger)).unwrap();
        assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().contexts, 1);
        assert_eq!(ledger.stats().unwrap().entries, 40);
    }
}

#[test]
fn the_damaged_record_of_a_name_is_written_anew_by_what_its_context_says() {
    let (dir, ledger, _) = two();
    flip(&ledger, |tables| tables.names, name(1).as_bytes());
    assert!(!round(&mut Scrub::default(), &ledger).damaged.is_empty());
    let (counts, _) = backup(&ledger).unwrap();
    assert_eq!((counts.contexts, counts.left_out, counts.names), (2, 0, 1));
    drop(ledger);
    let ledger = open(&dir);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(
        (reconciled.freed, reconciled.mended),
        (vec![], vec![name(1)])
    );
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.name(&name(1)).unwrap(), Some(id(1)));
    verify(&snapshot).unwrap();
}

/// A bit of the key was hit, so that the record is a name's that nobody has.
#[test]
fn a_name_that_is_lost_with_a_bit_of_its_key_is_its_contexts_again() {
    let (_dir, ledger, _) = two();
    let mut key = name(1).into_bytes();
    alter(&ledger, |tables, txn| {
        let record = tables.names.get(txn, &key)?.unwrap().to_vec();
        tables.names.delete(txn, &key)?;
        key[0] ^= 1;
        tables.names.put(txn, &key, &record).map(|()| true)
    });
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.mended, [name(1)]);
    assert_eq!(reconciled.freed, [String::from_utf8(key).unwrap()]);
    verify(&ledger.snapshot().unwrap()).unwrap();
}

/// It may be the name of that context.
#[test]
fn a_damaged_name_stays_while_a_context_cannot_be_read() {
    let (_dir, ledger, _) = two();
    flip(&ledger, |tables| tables.names, name(1).as_bytes());
    flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!((reconciled.freed.len(), reconciled.mended.len()), (0, 0));
    assert!(matches!(
        &reconciled.damaged[..],
        [StoreError::Corrupt { .. }]
    ));
    delete(&ledger, 1);
    sweep(&ledger);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.freed, [name(1)]);
    verify(&ledger.snapshot().unwrap()).unwrap();
}

/// Nothing else reads it, and the scrub cannot say whose it is.
#[test]
fn a_delta_that_is_damaged_in_the_log_alone_is_told_by_a_backup_with_its_context() {
    let (_dir, ledger, slots) = two();
    let position = ledger.snapshot().unwrap().head(slots[0]).unwrap().log_last;
    flip(&ledger, |tables| tables.log, &position_key(position));
    let damaged = round(&mut Scrub::default(), &ledger).damaged;
    assert!(damaged.iter().all(|damage| damage.context.is_none()));
    let error = backup(&ledger).unwrap_err();
    let ExportError::Damaged { context, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(context, id(1));
    quarantine(&ledger, 1);
    let (counts, file) = backup(&ledger).unwrap();
    assert_eq!((counts.contexts, counts.left_out), (1, 1));
    let left_out = crate::read_copy(&file[..]).unwrap().left_out;
    assert_eq!(left_out, [(id(1), "it is damaged".to_owned())]);
    // So it is also where that is damaged itself.
    flip(&ledger, |tables| tables.quarantine, &slot_key(slots[0]));
    assert_eq!(backup(&ledger).unwrap().0.left_out, 1);
}

#[test]
fn a_context_without_a_head_can_be_deleted_and_then_nothing_is_in_the_way() {
    for is_head_there in [true, false] {
        let (dir, ledger, slots) = two();
        let head = slot_key(slots[0]);
        match is_head_there {
            true => flip(&ledger, |tables| tables.heads, &head),
            false => alter(&ledger, |tables, txn| tables.heads.delete(txn, &head)),
        }
        delete(&ledger, 1);
        sweep(&ledger);
        scrub_twice(&ledger);
        verify(&ledger.snapshot().unwrap()).unwrap();
        let stats = ledger.stats().unwrap();
        assert_eq!((stats.entries, stats.deltas, stats.graves), (40, 1, 0));
        drop(ledger);
        let report = check(dir.path(), &mut |_| {}).unwrap();
        assert!(report.is_whole(), "{:?}", report.findings);
        let shards = ShardCount::new(3).unwrap();
        let config = LedgerConfig::default();
        let resharded = crate::reshard(dir.path(), shards, &config, &mut |_, _| {}).unwrap();
        assert_eq!(resharded.contexts, 1);
    }
}

/// Nothing leads from it to what is left of its context.
#[test]
fn what_lies_under_a_damaged_grave_is_nobodys_and_goes() {
    let (_dir, ledger, slots) = two();
    delete(&ledger, 1);
    flip(&ledger, |tables| tables.graves, &slot_key(slots[0]));
    sweep(&ledger);
    assert_eq!(ledger.stats().unwrap().entries, 80);
    scrub_twice(&ledger);
    scrub_twice(&ledger);
    let stats = ledger.stats().unwrap();
    assert_eq!((stats.entries, stats.deltas, stats.graves), (40, 1, 0));
    verify(&ledger.snapshot().unwrap()).unwrap();
}

/// Whoever would read it is told, and so is a check; the context beside it goes on.
#[test]
fn a_damaged_pack_takes_its_text_out_of_what_is_read() {
    let (dir, ledger, [slot, other]) = two();
    let mut births = Births::default();
    for n in 0..300_u64 {
        let write = Write::Edit {
            kind: EntryKind::Text,
            births: births.clone(),
            update: Bytes::from_static(b"an edit"),
        };
        let call = call(1, slot, 100 + n, vec![Op::shared("text".into(), write)]);
        if n == 0 {
            let birth = Birth {
                author: call.author,
                hlc: call.hlc,
            };
            births = [birth].into_iter().collect();
        }
        commit(&ledger, Change::Call(call));
    }
    let (retention, bounds) = (Retention::default(), StepBounds::default());
    while !ledger
        .collect(&retention, Hlc::ZERO, &bounds)
        .unwrap()
        .is_round_over
    {}
    ledger.writer().checkpoint().unwrap();
    assert_eq!(ledger.stats().unwrap().packs, 2);
    let read = |slot| {
        let snapshot = ledger.snapshot().unwrap();
        let mut count = 0;
        let visit = &mut |_: crate::EditView<'_>| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        };
        let read = snapshot.edits(slot, Space::Shared, b"text", EntryKind::Text, visit);
        read.map(|()| count)
    };
    assert_eq!(read(slot).unwrap(), 300);
    assert!(round(&mut Scrub::default(), &ledger).damaged.is_empty());
    let mut key = Vec::new();
    alter(&ledger, |tables, txn| {
        key = tables.packs.first(txn)?.unwrap().0.to_vec();
        Ok(true)
    });
    flip(&ledger, |tables| tables.packs, &key);
    assert!(matches!(read(slot), Err(StoreError::Corrupt { .. })));
    assert!(verify(&ledger.snapshot().unwrap()).is_err());
    let damaged = round(&mut Scrub::default(), &ledger).damaged;
    assert!(damaged.iter().any(|damage| damage.slot == Some(slot)));
    assert!(damaged.iter().all(|damage| damage.slot == Some(slot)));
    assert_eq!(read(other).unwrap(), 0);
    delete(&ledger, 1);
    sweep(&ledger);
    assert_eq!(ledger.stats().unwrap().packs, 0);
    verify(&ledger.snapshot().unwrap()).unwrap();
    drop(ledger);
    let report = check(dir.path(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

/// Such a record says that the edits under its key are of a list that was removed.
#[test]
fn removed_edits_are_swept_only_if_their_record_is_of_those_under_its_key() {
    let (_dir, ledger, [slot, _]) = two();
    let write = Write::Edit {
        kind: EntryKind::Text,
        births: Births::default(),
        update: Bytes::from_static(b"an edit"),
    };
    let call = call(1, slot, 100, vec![Op::shared("text".into(), write)]);
    let mut verdicts = ledger.commit(vec![Change::Call(call)]).unwrap();
    verdicts.remove(0).unwrap();
    ledger.writer().checkpoint().unwrap();
    let mut key = Vec::new();
    layout::edits_prefix(&mut key, slot, Space::Shared, b"text", EntryKind::Text);
    alter(&ledger, |tables, txn| {
        let (mut record, after) = (Vec::new(), &[][..]);
        seal(
            &mut record,
            &key,
            &LitterRow {
                key: b"other",
                after,
            },
        );
        tables.litter.put(txn, &key, &record).map(|()| true)
    });
    assert!(verify(&ledger.snapshot().unwrap()).is_err());
    let damaged = round(&mut Scrub::default(), &ledger).damaged;
    assert!(damaged.iter().any(|damage| damage.slot == Some(slot)));
    let mut file = Vec::new();
    let snapshot = ledger.snapshot().unwrap();
    crate::export_context(&snapshot, &id(1), crate::ExportScope::ALL, &mut file).unwrap();
    drop(snapshot);
    let (_dir, other, _) = two();
    delete(&other, 1);
    let error = crate::import_context(
        &other,
        Cursor::new(file.clone()),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    assert!(matches!(error, ImportError::Malformed { .. }), "{error}");
    let swept = ledger.sweep(100).unwrap();
    assert!(matches!(&swept.damaged[..], [(Some(found), _)] if *found == slot));
    assert_eq!(ledger.stats().unwrap().edits, 1);
}

#[test]
fn a_damaged_record_of_an_answers_age_does_not_keep_the_answers_behind_it() {
    let (_dir, ledger, slots) = two();
    for (n, slot) in (1..).zip(slots) {
        let mut call = call(n, slot, 100, vec![]);
        call.answer = Some(Box::new(KeyedAnswer {
            key: AnswerKey::of(b"key"),
            request: RequestDigest::of(b"method", b""),
            fuel_used: 1,
            said: Said::Output(Bytes::from_static(b"1")),
        }));
        let mut verdicts = ledger.commit(vec![Change::Call(call)]).unwrap();
        verdicts.remove(0).unwrap();
    }
    ledger.writer().checkpoint().unwrap();
    let key = layout::answer_age_key(slots[0], Hlc::from_micros(100), &AnswerKey::of(b"key"));
    flip(&ledger, |tables| tables.answers_by_age, &key);
    for is_out_of_service in [false, true] {
        if is_out_of_service {
            quarantine(&ledger, 1);
        }
        let mut writer = ledger.writer();
        let expired =
            writer.expire_answers(Hlc::MAX, ContextSlot::UNASSIGNED, &StepBounds::rows(100));
        let expired = expired.unwrap();
        writer.checkpoint().unwrap();
        let damaged: Vec<_> = expired.damaged.iter().map(|(slot, _)| *slot).collect();
        match is_out_of_service {
            false => assert_eq!((damaged, expired.answers), (vec![slots[0]], 1)),
            true => assert_eq!((damaged, expired.answers), (vec![], 0)),
        }
        assert_eq!(expired.next, None);
    }
    assert_eq!(ledger.stats().unwrap().answers, 1);
}

/// Writes down that so many calls of the first context wait for it.
fn say_aside(ledger: &Ledger, slot: ContextSlot, aside: u64) {
    alter(ledger, |tables, txn| {
        let (key, mut record) = (slot_key(slot), Vec::new());
        let row = QuarantineRow {
            context: *id(1).as_bytes(),
            aside,
            why: "its head is odd",
        };
        seal(&mut record, &key, &row);
        tables.quarantine.put(txn, &key, &record).map(|()| true)
    });
}

/// What waits was acknowledged.
#[test]
fn a_check_reads_what_waits_for_a_context_and_notes_who_is_out_of_service() {
    let (dir, ledger, [slot, _]) = two();
    quarantine(&ledger, 1);
    ledger.writer().checkpoint().unwrap();
    let aside = aside_key(slot, 0);
    let put_aside = |aside_said: u64| {
        say_aside(&ledger, slot, aside_said);
        alter(&ledger, |tables, txn| {
            let mut record = Vec::new();
            let row = AsideRow {
                canonical: b"a delta",
                local: b"",
            };
            seal(&mut record, &aside, &row);
            tables.quarantine.put(txn, &aside, &record).map(|()| true)
        });
    };
    put_aside(2);
    assert!(verify(&ledger.snapshot().unwrap()).is_err());
    put_aside(1);
    verify(&ledger.snapshot().unwrap()).unwrap();
    drop(ledger);
    let report = check(dir.path(), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    let [note] = &report.notes[..] else {
        panic!("{:?}", report.notes);
    };
    let context = id(1).to_string();
    for part in [&context[..], "its head is odd", "1 acknowledged call"] {
        assert!(note.contains(part), "{note}");
    }
    let ledger = open(&dir);
    flip(&ledger, |tables| tables.quarantine, &aside);
    assert!(verify(&ledger.snapshot().unwrap()).is_err());
}

/// Of which its record still knows.
#[test]
fn a_context_stays_out_of_service_while_calls_that_wait_for_it_are_lost() {
    let (_dir, ledger, [slot, _]) = two();
    quarantine(&ledger, 1);
    let release = || {
        let back = Change::Quarantine {
            context: id(1),
            why: None,
        };
        let released = ledger.commit(vec![back]).unwrap().remove(0);
        ledger.writer().checkpoint().unwrap();
        released.map(drop)
    };
    let out = || ledger.snapshot().unwrap().all_quarantined().unwrap().len();
    let refuse = || {
        let error = release().unwrap_err();
        let said = std::error::Error::source(&error).map(ToString::to_string);
        let said = said.unwrap_or_else(|| error.to_string());
        assert!(said.contains("it counts other calls than wait"), "{said}");
        assert_eq!(out(), 1);
    };
    let seal_aside = |number| {
        alter(&ledger, |tables, txn| {
            let (key, mut record) = (aside_key(slot, number), Vec::new());
            let (canonical, local) = (&b"a delta"[..], &b""[..]);
            seal(&mut record, &key, &AsideRow { canonical, local });
            tables.quarantine.put(txn, &key, &record).map(|()| true)
        });
    };
    // The only one, and the last one.
    say_aside(&ledger, slot, 1);
    refuse();
    seal_aside(0);
    say_aside(&ledger, slot, 2);
    refuse();
    // One in the midst, which shows without the record as well.
    seal_aside(2);
    refuse();
    flip(&ledger, |tables| tables.quarantine, &slot_key(slot));
    refuse();
    for number in [0, 2] {
        alter(&ledger, |tables, txn| {
            tables.quarantine.delete(txn, &aside_key(slot, number))
        });
    }
    release().unwrap();
    assert_eq!(out(), 0);
}

fn import(ledger: &Ledger, copy: &[u8]) {
    let copy = Cursor::new(copy.to_vec());
    crate::import_context(ledger, copy, Arrival::trusting(Hlc::ZERO)).unwrap();
}

/// What the deleted one has left is not swept yet.
#[test]
fn a_context_that_comes_back_after_it_was_deleted_out_of_service_is_in_service() {
    let (dir, ledger, [slot, _]) = two();
    let mut copy = Vec::new();
    let snapshot = ledger.snapshot().unwrap();
    crate::export_context(&snapshot, &id(1), crate::ExportScope::ALL, &mut copy).unwrap();
    drop(snapshot);
    quarantine(&ledger, 1);
    let mut row = Vec::new();
    alter(&ledger, |tables, txn| {
        row.extend_from_slice(tables.quarantine.get(txn, &slot_key(slot))?.unwrap());
        Ok(true)
    });
    delete(&ledger, 1);
    let out = || ledger.snapshot().unwrap().all_quarantined().unwrap();
    assert_eq!(out(), []);
    let left = ledger.snapshot().unwrap().quarantined(slot).unwrap();
    assert_eq!(left, None);
    import(&ledger, &copy);
    assert_eq!(out(), []);
    let snapshot = ledger.snapshot().unwrap();
    let back = snapshot.context(&id(1)).unwrap().unwrap().slot;
    assert_eq!(snapshot.quarantined(back).unwrap(), None);
    drop(snapshot);

    // Nor does one count that a deletion has left to the sweep, whether it can be read or not.
    for is_damaged in [false, true] {
        alter(&ledger, |tables, txn| {
            let put = tables.quarantine.put(txn, &slot_key(slot), &row);
            put.map(|()| true)
        });
        if is_damaged {
            flip(&ledger, |tables| tables.quarantine, &slot_key(slot));
        }
        assert_eq!(out(), []);
        flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
        // Which of the slots is its own says its head.
        let found = ledger.snapshot().unwrap().slot_of(&id(1)).unwrap();
        assert_eq!(found, Some(back));
        flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
    }
    drop(ledger);
    let ledger = open(&dir);
    let verdicts = ledger.commit(vec![Change::Call(call(1, back, 200, vec![]))]);
    assert!(verdicts.unwrap()[0].is_ok());
    sweep(&ledger);
    assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().contexts, 2);
}
