//! What a checkpoint takes of the disk against what was reserved for it, and what is left
//! to those who make room.

use bytes::Bytes;

use crate::change::{ApplicationRecord, Birth, Births, CallEffects, Change, NewContext, Op, Write};
use crate::entry::EntryKind;
use crate::error::StoreError;
use crate::fixture::{call, create, id, two};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextSlot, NodeId};
use crate::layout::PAGE_BYTES;
use crate::ledger::Ledger;
use crate::reserve::PAGES_FOR_FREEING;
use crate::step::StepBounds;
use crate::writer::LedgerWriter;

const AUTHORS: u64 = 1_000;

fn author(n: u64) -> NodeId {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// An edit that names every author.
fn text(births: Births) -> Write {
    let mut update = vec![1, 2];
    update.extend_from_slice(&[AUTHORS as u8 & 0x7f | 0x80, (AUTHORS >> 7) as u8]);
    for n in 0..AUTHORS {
        update.extend_from_slice(author(n).as_bytes());
    }
    Write::Edit {
        kind: EntryKind::Text,
        births,
        update: Bytes::from(update),
    }
}

/// The `n`th call of the first context, by one author after the other.
fn call_by_all(slot: ContextSlot, n: u64, ops: Vec<Op>) -> Change {
    Change::Call(CallEffects {
        author: author(n % AUTHORS),
        ..call(1, slot, 1_000 + n, ops)
    })
}

fn pages(ledger: &Ledger) -> u64 {
    ledger.in_use().map_bytes_used / PAGE_BYTES
}

/// Makes calls `from..to` a checkpoint of their own, of which the file grows by no more pages than
/// were reserved, nor were many times as many. A snapshot that is older than all of them keeps it from
/// using any page again.
#[track_caller]
fn takes_no_more_than_reserved(
    ledger: &Ledger,
    (from, to): (u64, u64),
    times_max: u64,
    call: impl Fn(u64) -> Change,
) {
    let mut writer = ledger.writer();
    writer.checkpoint().unwrap();
    let before = pages(ledger);
    // Many at a time, as each batch takes a page of the journal.
    let calls: Vec<u64> = (from..to).collect();
    for calls in calls.chunks(100) {
        let outcome = writer.commit(calls.iter().map(|n| call(*n)).collect());
        let outcome = outcome.unwrap();
        assert!(outcome.verdicts.iter().all(Result::is_ok));
        assert!(!outcome.is_shown);
    }
    let reserved = writer.growth();
    writer.checkpoint().unwrap();
    let taken = pages(ledger) - before;
    println!("{taken} pages of {reserved} that were reserved");
    assert!(taken <= reserved, "{taken} pages, and {reserved} reserved");
    assert!(reserved < times_max * taken + 512, "{taken} of {reserved}");
}

#[test]
fn what_is_reserved_is_enough_for_deltas_and_edits_that_have_seen_very_many_authors() {
    let (_dir, ledger, [slot, _]) = two();
    let _held_up = ledger.snapshot().unwrap();
    let mut verdicts = ledger.commit(vec![Change::ShareContext(id(1))]).unwrap();
    verdicts.remove(0).unwrap();
    let birth = Birth {
        author: author(0),
        hlc: Hlc::from_micros(1_000),
    };
    let edit = |n: u64| {
        let births = match n {
            0 => Births::default(),
            _ => [birth].into_iter().collect(),
        };
        call_by_all(slot, n, vec![Op::shared("text".into(), text(births))])
    };
    for n in 0..AUTHORS {
        ledger.commit(vec![edit(n)]).unwrap().remove(0).unwrap();
    }
    let (first, second, third) = (AUTHORS, AUTHORS + 800, AUTHORS + 1_000);
    takes_no_more_than_reserved(&ledger, (first, second), 4, |n| {
        let value = Bytes::copy_from_slice(&n.to_be_bytes());
        call_by_all(slot, n, vec![Op::set("key".into(), value)])
    });
    // The text's entry, which names all authors, is counted with each edit, and lies there once.
    takes_no_more_than_reserved(&ledger, (second, third), 12, edit);
}

/// They are in no journal, by which others are counted.
#[test]
fn what_is_reserved_is_enough_for_a_new_context_that_begins_large() {
    let (_dir, ledger, _) = two();
    let megabyte = Bytes::from(vec![7; 1 << 20]);
    let ops = (0..15_u8).map(|key| Op::set(vec![key].into(), megabyte.clone()));
    let new = NewContext {
        id: id(9),
        name: None,
        application: ApplicationId::from_bytes([1; 32]),
        created: Hlc::from_micros(1),
        call: call(9, ContextSlot::UNASSIGNED, 1, ops.collect()),
    };
    ledger
        .commit(vec![Change::CreateContext(new)])
        .unwrap()
        .remove(0)
        .unwrap();
    let left = ledger.in_use().reserved_bytes / PAGE_BYTES;
    assert!(left >= PAGES_FOR_FREEING, "{left} pages");
    let applications = (0..8_u8).map(|n| {
        Change::PutApplication(ApplicationRecord {
            id: ApplicationId::from_bytes([n; 32]),
            name: "large".to_owned(),
            version: "1".to_owned(),
            size_bytes: 1,
            installed: Hlc::from_micros(1),
            description: "x".repeat(4_000_000),
            reuse: crate::reuse::Reuse::default(),
        })
    });
    ledger.commit(applications.collect()).unwrap();
    let left = ledger.in_use().reserved_bytes / PAGE_BYTES;
    assert!(left >= PAGES_FOR_FREEING, "{left} pages");
}

/// A call that sets a key of a context to something large.
fn set_large(ledger: &Ledger, slot: ContextSlot, n: u64) -> Result<(), StoreError> {
    let op = Op::set(n.to_be_bytes().to_vec().into(), vec![7; 20_000].into());
    let context = slot.number() as u8;
    let batch = vec![Change::Call(call(context, slot, 1_000 + n, vec![op]))];
    ledger.commit(batch).map(|mut verdicts| {
        verdicts.remove(0).unwrap();
    })
}

/// Their pages are free, but a snapshot that is still read from holds them.
#[test]
fn calls_leave_the_margin_to_those_who_make_room_while_a_snapshot_holds_what_is_free() {
    let (_dir, ledger, [first, second]) = two();
    let values = (0..200_u8).map(|key| Op::set(vec![key, 0].into(), vec![7; 20_000].into()));
    let filling = Change::Call(call(1, first, 100, values.collect()));
    ledger.commit(vec![filling]).unwrap().remove(0).unwrap();
    ledger.writer().fill_disk(true);
    let mut next = 0;
    let refused_after = |next: &mut u64| {
        let begun = *next;
        loop {
            *next += 1;
            match set_large(&ledger, second, *next) {
                Ok(()) => assert!(*next < begun + 5_000, "there is always space"),
                Err(StoreError::DiskFull { .. }) => return *next - begun - 1,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let reserved = || ledger.in_use().reserved_bytes / PAGE_BYTES;
    refused_after(&mut next);
    assert!(reserved() >= PAGES_FOR_FREEING);

    let held_up = ledger.snapshot().unwrap();
    let delete = vec![Change::DeleteContext(id(1))];
    ledger.commit(delete).unwrap().remove(0).unwrap();
    while ledger.sweep(50).unwrap().is_more {}
    let left = reserved();
    assert!(left > 0, "a deletion and its sweep have had enough");
    assert_eq!(refused_after(&mut next), 0);
    assert_eq!(reserved(), left, "calls have taken nothing of it");

    drop(held_up);
    let calls = refused_after(&mut next);
    assert!(calls > 50, "{calls} calls have found what is free");
    let delete = vec![Change::DeleteContext(id(2))];
    ledger.commit(delete).unwrap().remove(0).unwrap();
    while ledger.sweep(50).unwrap().is_more {}
    assert!(reserved() > 0, "the second deletion has had enough, too");
    ledger.writer().fill_disk(false);
    let third = create(&ledger, 3);
    set_large(&ledger, third, next + 1).unwrap();
}

/// LMDB uses what a transaction has freed in the one behind the next, and behind a sweep nobody
/// else may come by.
#[test]
fn what_the_last_transaction_has_freed_is_there_for_the_next_call() {
    let (_dir, ledger, [first, second]) = two();
    let values = (0..200_u8).map(|key| Op::set(vec![key, 0].into(), vec![7; 20_000].into()));
    let filling = Change::Call(call(1, first, 100, values.collect()));
    ledger.commit(vec![filling]).unwrap().remove(0).unwrap();
    ledger.writer().checkpoint().unwrap();
    ledger.writer().fill_disk(true);
    let mut next = 0;
    let mut fill = || {
        for written in 0..5_000 {
            next += 1;
            match set_large(&ledger, second, next) {
                Ok(()) => {}
                Err(StoreError::DiskFull { .. }) => return written,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("there is always space");
    };
    fill();
    let delete = vec![Change::DeleteContext(id(1))];
    ledger.commit(delete).unwrap().remove(0).unwrap();
    let last = || ledger.shared.env.info().last_txn_id;
    let (held_up, before) = (ledger.snapshot().unwrap(), last());
    assert!(!ledger.sweep(100_000).unwrap().is_more);
    let swept = last();
    assert_eq!(swept, before + 1, "one transaction has freed it all");
    // Nothing that goes on while this snapshot is there could use it.
    assert_eq!((fill(), last()), (0, swept));
    drop(held_up);
    let calls = fill();
    assert!(calls > 50, "{calls} calls have found what is free");
}

/// What deltas have seen is in no journal and is no entry, and there may be much of it: a stamp for
/// each author beside each delta.
#[test]
fn what_deltas_have_seen_is_brought_in_before_it_is_very_much() {
    const MANY_AUTHORS: u64 = 2_000;
    const AT_ONCE: u64 = 50;
    // Of one author.
    const STAMP_BYTES: u64 = 12;
    let (_dir, ledger, [slot, _]) = two();
    let mut verdicts = ledger.commit(vec![Change::ShareContext(id(1))]).unwrap();
    verdicts.remove(0).unwrap();
    let mut writer = ledger.writer();
    let mut next = 0;
    let mut commit = |writer: &mut LedgerWriter<'_>| {
        let calls = (next..next + AT_ONCE).map(|n| {
            let value = Bytes::copy_from_slice(&n.to_be_bytes());
            Change::Call(CallEffects {
                author: author(n % MANY_AUTHORS),
                ..call(1, slot, 1_000 + n, vec![Op::set("key".into(), value)])
            })
        });
        next += AT_ONCE;
        let outcome = writer.commit(calls.collect()).unwrap();
        assert!(outcome.verdicts.iter().all(Result::is_ok));
        outcome.is_shown
    };
    for _ in 0..MANY_AUTHORS / AT_ONCE {
        commit(&mut writer);
    }
    writer.checkpoint().unwrap();
    let mut calls = 0;
    while !commit(&mut writer) {
        calls += AT_ONCE;
    }
    let bytes = calls * MANY_AUTHORS * STAMP_BYTES;
    assert!(
        (32 << 20..64 << 20).contains(&bytes),
        "{calls} calls with {bytes} bytes beside them"
    );
}

/// What steps have done can wait for the next transaction, and the call is refused only if it has no room by itself.
#[test]
fn a_call_that_has_no_room_beside_what_was_swept_goes_without_it() {
    let (_dir, ledger, [first, second]) = two();
    let values = (0..200_u8)
        .flat_map(|key| (0..10).map(move |n| Op::set(vec![key, n].into(), vec![7; 1_000].into())));
    let filling = Change::Call(call(1, first, 100, values.collect()));
    ledger.commit(vec![filling]).unwrap().remove(0).unwrap();
    let delete = vec![Change::DeleteContext(id(1))];
    ledger.commit(delete).unwrap().remove(0).unwrap();
    let mut writer = ledger.writer();
    let bounds = StepBounds::rows(usize::MAX);
    assert!(!writer.sweep(&bounds).unwrap().is_more);
    writer.fill_disk(true);
    let reserved = ledger.in_use().reserved_bytes / PAGE_BYTES - PAGES_FOR_FREEING;
    let left = reserved - writer.growth();
    // Of each byte two places may lie on pages that are half full.
    let bytes = (left + 100) * PAGE_BYTES / 4;
    let value = vec![7; usize::try_from(bytes).unwrap()];
    let large = Op::set(Bytes::from_static(b"large"), value.into());
    let outcome = writer.commit(vec![Change::Call(call(2, second, 200, vec![large]))]);
    outcome.unwrap().verdicts.remove(0).unwrap();
    assert!(writer.take_unswept(), "there was room for both");
    writer.fill_disk(false);
    drop(writer);
    while ledger.sweep(100).unwrap().is_more {}
    assert_eq!(ledger.stats().unwrap().graves, 0);
}
