//! What is found when a ledger is opened, before anything of it is served: pages that lead
//! elsewhere, which refuse it; bits of records, which are put right; and contexts with other damage,
//! which are out of service from then on.

use std::fs;
use std::path::PathBuf;

use corelet_store::{Change, ContextSlot, Finding, Refused, StoreError, check};

use crate::{Bench, event, remove, set};

const PAGE: usize = 4096;

/// `P_BRANCH` of a page's flags, which lie behind its number and two bytes.
const FLAGS_AT: usize = 10;
const BRANCH: u8 = 1;

fn data_file(bench: &Bench) -> PathBuf {
    bench.place.dir().join("data.mdb")
}

/// Two contexts, with so many entries that there are branches, and nothing in the journal.
fn filled() -> (Bench, [ContextSlot; 2]) {
    let mut bench = Bench::new();
    bench.config.start_check_bytes_max = u64::MAX;
    let slots = [1, 2].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        for keys in [0..50, 50..100, 100..150, 150..200] {
            let ops = keys.map(|key| set(format!("needle-{key:03}"), format!("{n} has {key}")));
            let mut call = bench.effects(n, slot, ops.collect());
            call.events.push(event("made", &[n]));
            bench.commit(vec![Change::Call(call)]);
        }
    }
    bench.close();
    (bench, slots)
}

/// The key of an entry, as it lies in its table.
fn key(slot: ContextSlot, name: &str) -> Vec<u8> {
    [&slot.number().to_be_bytes()[..], name.as_bytes()].concat()
}

/// Where this lies in the file; at least once.
fn places(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let places: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|&at| bytes[at..].starts_with(needle))
        .collect();
    assert!(!places.is_empty(), "the ledger does not contain the needle");
    places
}

/// Changes the last byte of this wherever it lies.
fn change(bench: &Bench, needle: &[u8], mask: u8) {
    let mut bytes = fs::read(data_file(bench)).unwrap();
    for at in places(&bytes, needle) {
        bytes[at + needle.len() - 1] ^= mask;
    }
    fs::write(data_file(bench), bytes).unwrap();
}

fn why(bench: &Bench, slot: ContextSlot) -> Option<String> {
    let found = bench.ledger().snapshot().unwrap().quarantined(slot);
    found.unwrap().map(|quarantined| quarantined.why)
}

#[test]
fn a_page_that_leads_elsewhere_refuses_the_ledger_by_its_number() {
    let (bench, _) = filled();
    let whole = fs::read(data_file(&bench)).unwrap();
    let mut refused = 0;
    for page in 2..whole.len() / PAGE {
        // The lower bound of its free space, and where its first node lies.
        for at in [12, 16] {
            let mut bytes = whole.clone();
            bytes[page * PAGE + at] ^= 2;
            fs::write(data_file(&bench), &bytes).unwrap();
            let said = match bench.open().map(drop) {
                Ok(()) => continue, // it is free, or its content has no nodes and was put right
                Err(error) => error,
            };
            let StoreError::DamagedPages { page: told, .. } = said else {
                panic!("{said}");
            };
            assert_eq!(told, page as u64, "{said}");
            assert!(said.to_string().contains("from a backup"), "{said}");
            assert!(fs::read(data_file(&bench)).unwrap() == bytes, "it is left");
            let found = check(bench._dir.path(), &mut |_| {}).unwrap().findings;
            assert_eq!(found[0].key, told.to_string(), "a check says the same");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
    fs::write(data_file(&bench), whole).unwrap();
    bench.open().unwrap();
}

/// Of its key it may be, by which the engine would not find it, nor its neighbours.
#[test]
fn a_bit_of_a_record_or_of_its_key_is_put_right_before_it_is_served() {
    let (mut bench, slots) = filled();
    let whole = fs::read(data_file(&bench)).unwrap();
    let name = key(slots[0], "needle-100");
    // Of its slot, of the last letter, and of the value.
    for (needle, back) in [(&name[..], 14), (&name, 1), (b"1 has 100", 1)] {
        for mask in [0x01, 0x80] {
            let mut bytes = whole.clone();
            for at in places(&whole, needle) {
                bytes[at + needle.len() - back] ^= mask;
            }
            fs::write(data_file(&bench), bytes).unwrap();
            let report = check(bench._dir.path(), &mut |_| {}).unwrap();
            let odd = |it: &Finding| it.why.contains("one bit of it is another");
            assert!(report.findings.iter().any(odd), "{report:?}");
            bench.reopen();
            assert_eq!(bench.get(slots[0], b"needle-100").unwrap(), b"1 has 100");
            assert_eq!(why(&bench, slots[0]), None);
            bench.verify();
            bench.close();
            let report = check(bench._dir.path(), &mut |_| {}).unwrap();
            assert!(report.is_whole(), "{report:?}");
        }
    }
}

#[test]
fn a_context_with_a_damaged_key_is_out_of_service_from_the_start_and_its_neighbour_is_served() {
    let (mut bench, slots) = filled();
    bench.reopen();
    let calls = [1, 2].map(|n| {
        let slot = slots[usize::from(n) - 1];
        bench.call(n, slot, vec![set("later", "by a call")])
    });
    let outcome = bench.ledger().writer().commit(calls.into()).unwrap();
    assert!(!outcome.is_shown && outcome.verdicts.iter().all(Result::is_ok));
    bench.close();
    // Two bits of "needle-199", which no other key follows that is less than "needle-19?".
    change(&bench, &key(slots[0], "needle-199"), 0x06);
    for _ in 0..2 {
        bench.reopen();
        assert!(why(&bench, slots[0]).unwrap().contains("entry"));
        assert_eq!(why(&bench, slots[1]), None);
        bench.close();
    }
    bench.reopen();
    let batch = vec![
        bench.call(1, slots[0], vec![set("x", "y")]),
        bench.call(2, slots[1], vec![set("x", "y")]),
    ];
    let verdicts = bench.ledger().commit(batch).unwrap();
    assert!(matches!(verdicts[0], Err(Refused::Quarantined { .. })));
    assert!(verdicts[1].is_ok());
    assert_eq!(bench.get(slots[1], b"later").unwrap(), b"by a call");
    assert_eq!(bench.get(slots[1], b"needle-199").unwrap(), b"2 has 199");
}

/// The bit was hit while the server ran, or where nothing was looked over: so it was not found, written
/// anew, and removed.
#[test]
fn a_key_that_is_put_right_does_not_bring_back_what_was_removed_meanwhile() {
    for is_cut_short in [false, true] {
        let (mut bench, slots) = filled();
        bench.reopen();
        for (n, slot) in (1..).zip(slots) {
            let call = bench.call(n, slot, vec![set("zz-b", "removed")]);
            bench.commit(vec![call]);
        }
        bench.close();
        let name = key(slots[0], "zz-b");
        change(&bench, &name, 1);
        bench.config.start_check_bytes_max = 1;
        bench.reopen();
        let ops = [set("zz-b", "anew"), remove("zz-b")];
        let calls = ops.map(|op| bench.call(1, slots[0], vec![op]));
        bench.commit(calls.into());
        assert_eq!(bench.get(slots[0], b"zz-b"), None);
        bench.close();
        bench.config.start_check_bytes_max = u64::MAX;
        let unverified = bench.place.dir().join("unverified");
        if is_cut_short {
            // When it was put right, before anything was compared with it.
            change(&bench, &key(slots[0], "zz-c"), 1);
            fs::write(&unverified, "").unwrap();
            // Nor does a start look that is not to read everything.
            for bytes_max in [0, 1] {
                bench.config.start_check_bytes_max = bytes_max;
                bench.reopen();
                assert_eq!(why(&bench, slots[0]), None);
                assert!(unverified.exists());
                bench.close();
            }
            bench.config.start_check_bytes_max = u64::MAX;
        }
        bench.reopen();
        assert!(why(&bench, slots[0]).is_some(), "{is_cut_short}");
        assert_eq!(why(&bench, slots[1]), None);
        assert!(!unverified.exists());
        assert_eq!(bench.get(slots[1], b"zz-b").unwrap(), b"removed");
    }
}

/// The bit was hit as above, and the entry not removed since: both records cannot lie under the same key.
#[test]
fn a_key_under_which_another_record_was_written_since_is_not_put_right() {
    let (mut bench, slots) = filled();
    bench.reopen();
    for (n, slot) in (1..).zip(slots) {
        let call = bench.call(n, slot, vec![set("zz-b", "first")]);
        bench.commit(vec![call]);
    }
    bench.close();
    change(&bench, &key(slots[0], "zz-b"), 1);
    bench.config.start_check_bytes_max = 1;
    bench.reopen();
    let call = bench.call(1, slots[0], vec![set("zz-b", "anew")]);
    bench.commit(vec![call]);
    bench.config.start_check_bytes_max = u64::MAX;
    for _ in 0..2 {
        bench.reopen();
        assert!(why(&bench, slots[0]).is_some());
        assert_eq!(why(&bench, slots[1]), None);
        assert_eq!(bench.get(slots[0], b"zz-b").unwrap(), b"anew");
        assert_eq!(bench.get(slots[1], b"zz-b").unwrap(), b"first");
    }
}

/// Nobody can say what was in the place of two bits.
#[test]
fn a_key_out_of_order_that_cannot_be_put_right_refuses_the_ledger() {
    let (bench, slots) = filled();
    change(&bench, &key(slots[0], "needle-100"), 0x48);
    let error = bench.open().map(drop).unwrap_err();
    let is_order = matches!(error, StoreError::DamagedPages { why, .. } if why.contains("order"));
    assert!(is_order, "{error}");
}

#[test]
fn of_a_large_ledger_what_leads_to_records_is_read_and_the_rest_left_to_the_scrub() {
    let (mut bench, slots) = filled();
    let whole = fs::read(data_file(&bench)).unwrap();
    bench.config.start_check_bytes_max = 1;
    let is_branch = |page: &usize| whole[page * PAGE + FLAGS_AT] == BRANCH;
    let refused = (2..whole.len() / PAGE).filter(is_branch).filter(|page| {
        let mut bytes = whole.clone();
        bytes[page * PAGE + 16] ^= 2;
        fs::write(data_file(&bench), bytes).unwrap();
        matches!(bench.open(), Err(StoreError::DamagedPages { page: told, .. }) if told == *page as u64)
    });
    assert!(refused.count() > 0, "no branch is in use");
    fs::write(data_file(&bench), &whole).unwrap();
    change(&bench, b"1 has 100", 1);
    bench.reopen();
    assert!(bench.ledger().is_left_unread());
    assert_eq!(why(&bench, slots[0]), None);
    let read = bench.ledger().snapshot().unwrap();
    assert!(read.register(slots[0], b"needle-100").is_err());
    drop(read);
    bench.config.start_check_bytes_max = u64::MAX;
    bench.reopen();
    assert!(!bench.ledger().is_left_unread());
    assert_eq!(bench.get(slots[0], b"needle-100").unwrap(), b"1 has 100");
}

/// LMDB leaves it the pages that it had, and says in one place how many these are and in another how
/// many bytes it has.
#[test]
fn a_large_value_that_has_become_smaller_between_two_checkpoints_is_no_damage() {
    for bytes in [9_000, 3_000, 10] {
        let mut bench = Bench::new();
        bench.config.start_check_bytes_max = u64::MAX;
        let slot = bench.create(1);
        let calls = [20_000, bytes].map(|bytes| {
            let ops = vec![set("large", "x".repeat(bytes))];
            Change::Call(bench.effects(1, slot, ops))
        });
        let mut writer = bench.ledger().writer();
        for call in calls {
            let outcome = writer.commit(vec![call]).unwrap();
            assert!(outcome.verdicts[0].is_ok() && !outcome.is_shown);
        }
        writer.checkpoint().unwrap();
        drop(writer);
        bench.close();
        let found = check(bench._dir.path(), &mut |_| {}).unwrap().findings;
        assert!(found.is_empty(), "{bytes}: {found:?}");
        drop(bench.open().unwrap());
    }
}
