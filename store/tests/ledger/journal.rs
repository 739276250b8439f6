//! Batches that are durable in the journal before they are in LMDB.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use corelet_store::{Change, ContextSlot, LedgerWriter, Refused, StoreError};

use crate::{Bench, id, set};

/// Commits calls of context 1, one to a batch, each writing its number to "n".
fn count(bench: &mut Bench, slot: ContextSlot, numbers: std::ops::Range<u32>) -> Vec<bool> {
    let calls: Vec<Change> = numbers
        .map(|n| bench.call(1, slot, vec![set("n", n.to_be_bytes())]))
        .collect();
    let mut writer = bench.ledger().writer();
    let mut shown = Vec::new();
    for call in calls {
        shown.push(commit(&mut writer, vec![call]));
    }
    shown
}

fn commit(writer: &mut LedgerWriter<'_>, batch: Vec<Change>) -> bool {
    let outcome = writer.commit(batch).unwrap();
    assert!(outcome.verdicts.iter().all(Result::is_ok));
    outcome.is_shown
}

fn counted(bench: &Bench, slot: ContextSlot) -> Option<Vec<u8>> {
    bench.get(slot, b"n")
}

#[test]
fn a_journaled_batch_is_shown_by_the_next_checkpoint() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("n", "1")]);
    let before = bench.ledger().snapshot().unwrap();
    let mut writer = bench.ledger().writer();
    assert!(!writer.has_unshown());
    assert!(!commit(&mut writer, vec![call]));
    assert!(writer.has_unshown() && writer.journal_bytes() > 0);
    assert_eq!(bench.get(slot, b"n"), None);
    writer.checkpoint().unwrap();
    assert!(!writer.has_unshown() && writer.journal_bytes() == 0);
    drop(writer);
    assert_eq!(bench.get(slot, b"n").unwrap(), b"1");
    assert_eq!(
        before.register(slot, b"n").unwrap(),
        None,
        "an older snapshot does not move"
    );
    bench.verify();
}

#[test]
fn what_is_only_in_the_journal_outlives_a_restart() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    assert_eq!(count(&mut bench, slot, 1..4), [false; 3]);
    bench.reopen();
    assert_eq!(counted(&bench, slot).unwrap(), 3u32.to_be_bytes());
    assert_eq!(bench.ledger().last_hlc().bits() >> 12, bench.now);
    let head = bench.ledger().snapshot().unwrap().head(slot).unwrap();
    assert_eq!((head.version, head.entries), (3, 1));
    bench.verify();
}

#[test]
fn a_full_journal_is_brought_in_and_begins_anew() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    // 16 records of one page each fit.
    let shown = count(&mut bench, slot, 0..40);
    assert_eq!(shown.iter().filter(|shown| **shown).count(), 2);
    assert!(shown[16] && shown[33]);
    bench.reopen();
    assert_eq!(counted(&bench, slot).unwrap(), 39u32.to_be_bytes());
    bench.verify();
}

#[test]
fn without_a_journal_every_batch_is_shown() {
    let mut bench = Bench::new();
    bench.config.journal_bytes_max = 0;
    bench.reopen();
    let slot = bench.create(1);
    assert_eq!(count(&mut bench, slot, 0..3), [true; 3]);
    assert_eq!(counted(&bench, slot).unwrap(), 2u32.to_be_bytes());
}

#[test]
fn a_journal_that_was_made_smaller_or_switched_off_is_still_read() {
    for bytes_max in [0, 4096] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        count(&mut bench, slot, 0..5);
        bench.config.journal_bytes_max = bytes_max;
        bench.reopen();
        assert_eq!(counted(&bench, slot).unwrap(), 4u32.to_be_bytes());
    }
}

#[test]
fn many_contexts_bring_the_journal_in() {
    let mut bench = Bench::new();
    bench.config.checkpoint_contexts_max = 2;
    bench.reopen();
    let slots = [1, 2, 3].map(|n| (n, bench.create(n)));
    let calls = slots.map(|(n, slot)| bench.call(n, slot, vec![set("n", "1")]));
    let mut writer = bench.ledger().writer();
    let shown = calls.map(|call| commit(&mut writer, vec![call]));
    assert_eq!(shown, [false, false, true]);
}

/// The number of the first batch that is a checkpoint, if each writes a thousand keys, from
/// what `first` makes of its number on.
fn first_checkpoint(first: fn(u32) -> u32) -> u32 {
    // With so much room that this is no reason for one.
    let mut bench = Bench::with_map(4 << 30);
    bench.config.journal_bytes_max = 64 << 20;
    bench.reopen();
    let slot = bench.create(1);
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let mut batches = 0..100;
    let found = batches.find(|batch| {
        let keys = (first(*batch)..).take(1_000);
        let ops = keys.map(|key| set(key.to_be_bytes(), batch.to_be_bytes()));
        let call = bench.call(1, slot, ops.collect());
        commit(&mut writer, vec![call])
    });
    found.unwrap()
}

#[test]
fn calls_share_a_checkpoint_if_they_write_the_same_keys() {
    // As many writes as may wait, less the one of each call that is its delta.
    assert_eq!(first_checkpoint(|_| 0), 32_768 / 1_001);
    // A page for each entry, and for each of some hundred nodes of the trie at first.
    let elsewhere = first_checkpoint(|batch| 1_000 * batch);
    assert!((8..16).contains(&elsewhere), "{elsewhere}");
}

#[test]
fn a_batch_that_is_more_than_calls_is_shown_with_all_before_it() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    count(&mut bench, slot, 0..2);
    let create = bench.new_context(2);
    let mut writer = bench.ledger().writer();
    assert!(commit(&mut writer, vec![create]));
    drop(writer);
    assert_eq!(counted(&bench, slot).unwrap(), 1u32.to_be_bytes());
    bench.verify();
}

#[test]
fn a_refused_call_is_not_in_the_journal() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let good = bench.call(1, slot, vec![set("n", "1")]);
    let bad = bench.call(9, ContextSlot::UNASSIGNED, vec![set("n", "2")]);
    let mut writer = bench.ledger().writer();
    let verdicts = writer.commit(vec![good, bad]).unwrap().verdicts;
    assert!(verdicts[0].is_ok());
    assert!(matches!(
        verdicts[1],
        Err(Refused::UnknownContext { context }) if context == id(9)
    ));
    drop(writer);
    bench.reopen();
    assert_eq!(counted(&bench, slot).unwrap(), b"1");
    bench.verify();
}

#[test]
fn a_batch_that_fails_leaves_the_ones_before_it() {
    let mut bench = Bench::with_map(16 << 20);
    let slot = bench.create(1);
    count(&mut bench, slot, 0..3);
    let large = ["large", "larger"].map(|key| {
        let value = set(key, vec![1; 9 << 20]);
        bench.call(1, slot, vec![value])
    });
    let call = bench.call(1, slot, vec![set("n", 3u32.to_be_bytes())]);
    let mut writer = bench.ledger().writer();
    let error = writer.commit(large.to_vec()).unwrap_err();
    assert!(matches!(error, StoreError::MapFull { .. }), "{error}");
    assert!(!commit(&mut writer, vec![call]));
    drop(writer);
    bench.reopen();
    assert_eq!(counted(&bench, slot).unwrap(), 3u32.to_be_bytes());
    assert_eq!(bench.get(slot, b"large"), None);
    bench.verify();
}

#[test]
fn a_map_that_fills_up_under_the_journal_leaves_nothing_behind_that_does_not_fit() {
    let mut bench = Bench::with_map(2 << 20);
    bench.config.journal_bytes_max = 4 << 20;
    bench.reopen();
    let slot = bench.create(1);
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let mut written = 0u32;
    let mut shown = 0;
    let error = loop {
        let call = bench.call(1, slot, vec![set(written.to_be_bytes(), [0; 3000])]);
        match writer.commit(vec![call]) {
            Ok(outcome) => {
                written += 1;
                shown += u32::from(outcome.is_shown);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::MapFull { .. }), "{error}");
    assert!(
        0 < shown && shown < written,
        "{shown} of {written} were checkpoints"
    );
    writer.checkpoint().unwrap();
    drop(writer);
    drop(ledger);
    bench.reopen();
    assert_eq!(bench.verify().entries, u64::from(written));
    // Room is made by deleting, which is a checkpoint as well.
    bench.commit(vec![Change::DeleteContext(id(1))]);
    while bench.ledger().sweep(1000).unwrap().is_more {}
    let slot = bench.create(2);
    let call = bench.call(2, slot, vec![set("n", [0; 3000])]);
    bench.commit(vec![call]);
    bench.verify();
}

#[test]
fn a_damaged_journal_is_reported_when_the_ledger_is_opened() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    count(&mut bench, slot, 0..3);
    bench.close();
    let path = bench.place.dir().join("journal");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = 3 * 4096 + 100; // in the second record, behind two pages of front
    let flip = |bits: u8| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ bits], at).unwrap();
    };
    flip(0x30);
    let error = bench.open().err().unwrap();
    assert!(
        matches!(
            error,
            StoreError::Corrupt {
                what: "journal record",
                ..
            }
        ),
        "{error}"
    );
    // Of one bit it can be told which.
    flip(0x20);
    bench.reopen();
    assert_eq!(bench.verify().deltas, 3);
}
