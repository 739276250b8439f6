//! Damage and limits: each is reported as what it is, and the ledger goes on
//! where it can.

use std::fs;
use std::path::PathBuf;

use corelet_store::{Refused, StoreError, verify};

use crate::{Bench, id, set};

fn data_file(bench: &Bench) -> PathBuf {
    bench.place.dir().join("data.mdb")
}

/// Flips one bit of the last place where `needle` lies in the ledger's file.
pub(crate) fn flip(bench: &Bench, needle: &[u8], offset: usize) {
    let mut bytes = fs::read(data_file(bench)).unwrap();
    let places: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|&at| bytes[at..].starts_with(needle))
        .collect();
    assert!(!places.is_empty(), "the ledger does not contain the needle");
    for place in places {
        bytes[place + offset] ^= 0x10;
    }
    fs::write(data_file(bench), bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_an_entry_is_reported_and_stops_only_the_call_that_meets_it() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(
        1,
        slot,
        vec![set("bad", "a needle in a haystack"), set("good", "fine")],
    );
    bench.commit(vec![call]);
    bench.close();
    flip(&bench, b"a needle in a haystack", 3);
    bench.reopen();
    let snapshot = bench.ledger().snapshot().unwrap();
    let error = snapshot.register(slot, b"bad").unwrap_err();
    assert!(
        matches!(error, StoreError::Corrupt { what: "entry", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("checksum"), "{error}");
    assert_eq!(snapshot.register(slot, b"good").unwrap().unwrap(), b"fine");
    assert!(matches!(verify(&snapshot), Err(StoreError::Corrupt { .. })));

    // In a batch, the call that would have to read the damage is refused, even
    // after it has written, and with it what came behind it in its context.
    let batch = vec![
        bench.call(1, slot, vec![set("one", "1")]),
        bench.call(1, slot, vec![set("two", "2"), set("bad", "new")]),
        bench.call(1, slot, vec![set("three", "3")]),
    ];
    let verdicts = bench.ledger().commit(batch).unwrap();
    assert!(verdicts[0].is_ok());
    assert!(matches!(verdicts[1], Err(Refused::Damaged { .. })));
    assert!(matches!(verdicts[2], Err(Refused::BehindRefused { .. })));
    assert_eq!(bench.get(slot, b"one").unwrap(), b"1");
    assert_eq!(bench.get(slot, b"two"), None);
    assert_eq!(bench.get(slot, b"three"), None);
}

#[test]
fn every_bit_of_a_record_is_covered() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("k", "0123456789abcdefghijklmnopqrstuv")]);
    bench.commit(vec![call]);
    bench.close();
    let clean = fs::read(data_file(&bench)).unwrap();
    // The value lies at the front of the archive, right behind the envelope.
    let needle = b"0123456789abcdefghijklmnopqrstuv";
    let place = clean
        .windows(needle.len() + 2)
        .position(|window| window.ends_with(needle))
        .map(|at| at + 2)
        .unwrap();
    let mut noticed = 0;
    let entries: Vec<usize> = (0..clean.len() - needle.len())
        .filter(|&at| clean[at..].starts_with(needle))
        .collect();
    assert!(entries.contains(&place));
    for at in entries {
        for bit in 0..(10 + needle.len()) * 8 {
            let mut bytes = clean.clone();
            bytes[at - 10 + bit / 8] ^= 1 << (bit % 8);
            fs::write(data_file(&bench), bytes).unwrap();
            let ledger = bench.open();
            let value = ledger.and_then(|ledger| {
                let snapshot = ledger.snapshot()?;
                verify(&snapshot)?;
                Ok(snapshot.register(slot, b"k")?.map(<[u8]>::to_vec))
            });
            match value {
                Err(StoreError::Corrupt { .. }) => noticed += 1,
                // A page that is no longer part of the tree may hold a copy.
                Ok(value) => assert_eq!(value.as_deref(), Some(&needle[..])),
                Err(error) => panic!("bit {bit}: {error}"),
            }
        }
    }
    // At least the entry and the log record, each bit of either.
    assert!(
        noticed >= 2 * (10 + needle.len()) * 8 - 10 * 8,
        "only {noticed} flips were noticed"
    );
}

#[test]
fn a_full_map_refuses_the_batch_and_the_ledger_goes_on() {
    let mut bench = Bench::with_map(1 << 20);
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("a", "1")]);
    let root = bench.commit(vec![call])[0].root();
    let batch = vec![
        bench.call(1, slot, vec![set("b", "2")]),
        bench.call(1, slot, vec![set("huge", vec![0; 2 << 20])]),
    ];
    let error = bench.ledger().commit(batch).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::MapFull {
                bytes_max: 0x10_0000
            }
        ) && !error.is_fatal(),
        "{error}"
    );
    assert_eq!(bench.get(slot, b"b"), None);
    assert_eq!(
        bench.ledger().snapshot().unwrap().head(slot).unwrap().root,
        root
    );
    bench.verify();

    // Until it is full for small ones, too; then room is made by deleting.
    let mut written = 0;
    let error = loop {
        let call = bench.call(1, slot, vec![set([written as u8], vec![0; 4000])]);
        match bench.ledger().commit(vec![call]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, StoreError::MapFull { .. }) && written > 10,
        "{written}: {error}"
    );
    assert_eq!(bench.verify().entries, written + 1);
    bench.reopen();
    assert_eq!(bench.verify().entries, written + 1);
    bench.config.map_bytes_max = 2 << 20;
    bench.reopen();
    let call = bench.call(1, slot, vec![set("more", "room")]);
    bench.commit(vec![call]);
    bench.verify();
}

#[test]
fn too_many_snapshots_are_refused_and_the_place_comes_back() {
    let bench = Bench::new();
    let mut snapshots = Vec::new();
    let error = loop {
        match bench.ledger().snapshot() {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, StoreError::ReadersFull { readers_max: 8 }) && !error.is_fatal(),
        "{error}"
    );
    assert_eq!(snapshots.len(), 8);
    snapshots.pop();
    bench.ledger().snapshot().unwrap();
}

#[test]
fn a_ledger_opened_twice_is_refused() {
    let bench = Bench::new();
    let error = bench.open().err().unwrap();
    assert!(matches!(error, StoreError::AlreadyOpen { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_ledger_is_refused() {
    let mut bench = Bench::new();
    bench.close();
    fs::write(data_file(&bench), vec![0x5a; 64 << 10]).unwrap();
    let error = bench.open().err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn only_the_owner_can_read_a_ledger() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    bench.create(1);
    for file in ["data.mdb", "lock.mdb", "journal"] {
        let mode = fs::metadata(bench.place.dir().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(
        bench
            .ledger()
            .snapshot()
            .unwrap()
            .context(&id(1))
            .unwrap()
            .unwrap()
            .id,
        id(1)
    );
}
