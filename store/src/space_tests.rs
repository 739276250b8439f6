//! What a checkpoint takes of the disk against what was reserved for it.

use bytes::Bytes;

use crate::change::{ApplicationRecord, Birth, Births, CallEffects, Change, NewContext, Op, Write};
use crate::entry::EntryKind;
use crate::fixture::{call, id, two};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextSlot, NodeId};
use crate::layout::PAGE_BYTES;
use crate::ledger::Ledger;
use crate::reserve::PAGES_FOR_FREEING;

const AUTHORS: u64 = 1_000;

fn author(n: u64) -> NodeId {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn text(births: Births) -> Write {
    Write::Edit {
        kind: EntryKind::Text,
        births,
        update: Bytes::from_static(b"an edit"),
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
/// were reserved. A snapshot that is older than all of them keeps it from using any page again.
#[track_caller]
fn takes_no_more_than_reserved(
    ledger: &Ledger,
    (from, to): (u64, u64),
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
    // Nor is it far off.
    assert!(reserved < 4 * taken + 512, "{taken} of {reserved}");
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
    takes_no_more_than_reserved(&ledger, (first, second), |n| {
        let value = Bytes::copy_from_slice(&n.to_be_bytes());
        call_by_all(slot, n, vec![Op::set("key".into(), value)])
    });
    takes_no_more_than_reserved(&ledger, (second, third), edit);
}

/// They are in no journal, by which others are counted.
#[test]
fn what_is_reserved_is_enough_for_a_new_context_that_begins_large() {
    let (_dir, ledger, _) = two();
    let megabyte = Bytes::from(vec![7; 1 << 20]);
    let ops = (0..30_u8).map(|key| Op::set(vec![key].into(), megabyte.clone()));
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
        })
    });
    ledger.commit(applications.collect()).unwrap();
    let left = ledger.in_use().reserved_bytes / PAGE_BYTES;
    assert!(left >= PAGES_FOR_FREEING, "{left} pages");
}
