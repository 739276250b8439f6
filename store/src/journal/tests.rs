//! Journals that are written, damaged and found again.

use super::*;
use crate::ids::{DataId, ShardId};
use crate::place::LedgerIdentity;

const GENERATION: Generation = Generation {
    number: 3,
    seed: 77,
};
const BYTES_MAX: u64 = 64 << 10;

fn place(dir: &tempfile::TempDir) -> LedgerPlace {
    let identity = LedgerIdentity {
        data: DataId::from_bytes([5; 32]),
        shard: ShardId::as_written(1),
    };
    LedgerPlace::new(dir.path().to_owned(), identity)
}

/// A new journal with all its space.
fn journal(dir: &tempfile::TempDir) -> Journal {
    let noted = Journal::make(&place(dir), GENERATION.seed).unwrap();
    let mut journal = Journal::open(&place(dir), BYTES_MAX, noted, GENERATION).unwrap();
    journal.bytes_noted = journal.take_space().unwrap();
    journal
}

/// The same journal after a restart.
fn found(dir: &tempfile::TempDir, generation: Generation) -> Result<Journal, StoreError> {
    let noted = front::RECORDS_AT;
    let mut journal = Journal::open(&place(dir), BYTES_MAX, noted, generation)?;
    journal.recover(Path::new("data.mdb"))?;
    Ok(journal)
}

fn append(journal: &mut Journal, calls: &[(u64, &[u8])]) {
    journal.begin();
    for (slot, canonical) in calls {
        journal.add(&call(*slot, canonical));
    }
    assert!(journal.has_room());
    journal.append().unwrap();
}

/// Some calls have something local, and others have not.
fn local_of(canonical: &[u8]) -> &[u8] {
    &canonical[..canonical.len().min(8) / 2]
}

fn call(slot: u64, canonical: &[u8]) -> JournaledCall<'_> {
    JournaledCall {
        slot: ContextSlot::new(slot),
        canonical,
        local: local_of(canonical),
    }
}

fn calls(journal: &Journal) -> Vec<(u64, Vec<u8>)> {
    let mut calls = Vec::new();
    journal
        .replay(|call| {
            assert_eq!(call.local, local_of(call.canonical));
            calls.push((call.slot.number(), call.canonical.to_vec()));
            Ok(())
        })
        .unwrap();
    calls
}

/// Three batches, one of them over a page long, then `damage` is done to the file.
fn recovered(damage: impl FnOnce(&File)) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one"), (2, b"")]);
    append(&mut written, &[(1, &[7; 5000])]);
    append(&mut written, &[(3, b"three")]);
    damage(&written.file);
    Ok(calls(&found(&dir, GENERATION)?))
}

/// Flips bits of a byte, counted from the first record on.
fn flip(at: u64, bits: u8) -> impl FnOnce(&File) {
    move |file| {
        let at = front::RECORDS_AT + at;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ bits], at).unwrap();
    }
}

/// Of a record of which one bit is another nothing is lost, wherever that is: neither of
/// the last one, which looks as if it was torn or never written, nor of any before it.
#[test]
fn a_record_of_which_one_bit_is_another_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one"), (2, b"")]);
    append(&mut written, &[(3, b"three")]);
    let whole = calls(&written);
    for record in [0, 1] {
        for at in (0..HEADER_BYTES as u64).chain([57, 61, 70]) {
            let at = record * ALIGN_BYTES + at;
            for bit in [1, 4, 128] {
                flip(at, bit)(&written.file);
                let found = found(&dir, GENERATION).unwrap();
                assert_eq!(calls(&found), whole, "byte {at}");
                assert_eq!(found.mended().len(), 1);
                flip(at, bit)(&written.file);
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one")]);
    append(&mut written, &[(2, b"two")]);
    flip(7, 1)(&written.file);
    flip(ALIGN_BYTES + 61, 1)(&written.file);
    let mended = [(0, Mended::Header), (1, Mended::Payload)];
    assert_eq!(found(&dir, GENERATION).unwrap().mended(), mended);
    // However long it is; of several bits it is not known which they are.
    append(&mut written, &[(1, &[7; 40_000])]);
    let whole = calls(&written);
    for at in [60, 9000, 39_999] {
        flip(2 * ALIGN_BYTES + at, 32)(&written.file);
        assert_eq!(calls(&found(&dir, GENERATION).unwrap()), whole);
        flip(2 * ALIGN_BYTES + at, 1)(&written.file);
        let left = found(&dir, GENERATION).unwrap();
        assert!(left.is_torn() && left.batches() == 2);
        flip(2 * ALIGN_BYTES + at, 33)(&written.file);
    }
}

/// Two bits of the last header, anywhere in it, are put right.
#[test]
fn a_header_of_which_two_bits_are_others_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one")]);
    append(&mut written, &[(2, b"two")]);
    let whole = calls(&written);
    for first in (0..HEADER_BYTES as u64).step_by(3) {
        for second in (first + 1..HEADER_BYTES as u64).step_by(5) {
            let both = |file: &File| {
                flip(ALIGN_BYTES + first, 16)(file);
                flip(ALIGN_BYTES + second, 2)(file);
            };
            both(&written.file);
            let found = found(&dir, GENERATION).unwrap();
            assert_eq!(calls(&found), whole, "bytes {first} and {second}");
            assert_eq!(found.mended(), [(1, Mended::Header)]);
            both(&written.file);
        }
    }
}

/// The last record is damaged where nothing puts it right: that it is left out is told. In
/// three bits of each field of its header, in a bit of its header and one behind it, and in two
/// and one.
#[test]
fn a_last_record_with_a_damaged_header_is_not_taken_for_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one")]);
    append(&mut written, &[(2, b"two")]);
    let fields = [0, 4, 8, 16, 24, 32, 40, 48].map(|at| vec![(at, 7)]);
    let behind = [vec![(9, 1), (61, 1)], vec![(9, 1), (33, 4), (61, 1)]];
    for damage in fields.into_iter().chain(behind) {
        let flip_all = |file: &File| {
            for (at, bits) in &damage {
                flip(ALIGN_BYTES + at, *bits)(file);
            }
        };
        flip_all(&written.file);
        let left = found(&dir, GENERATION).unwrap();
        assert!(left.is_torn() && left.batches() == 1, "{damage:?}");
        flip_all(&written.file);
    }
}

/// What an earlier life of the file has left is not taken for a lost record, though bits of its
/// header are others as well: its generation tells.
#[test]
fn an_older_record_with_a_damaged_header_is_not_taken_for_the_last_one() {
    let next = Generation {
        number: 4,
        ..GENERATION
    };
    for bits in [1, 3] {
        for at in [0, 8, 33] {
            let dir = tempfile::tempdir().unwrap();
            let mut written = journal(&dir);
            append(&mut written, &[(1, b"one")]);
            append(&mut written, &[(2, b"two")]);
            let noted = written.bytes_noted;
            written.restart(next, noted).unwrap();
            append(&mut written, &[(1, b"three")]);
            flip(ALIGN_BYTES + at, bits)(&written.file);
            let found = found(&dir, next).unwrap();
            assert!(!found.is_torn() && found.batches() == 1, "byte {at}");
        }
    }
}

#[test]
fn what_was_appended_is_found_again_in_order() {
    let expected = [
        (1, b"one".to_vec()),
        (2, vec![]),
        (1, vec![7; 5000]),
        (3, b"three".to_vec()),
    ];
    assert_eq!(recovered(|_| ()).unwrap(), expected);
}

#[test]
fn a_last_record_that_is_not_whole_is_left_out() {
    for at in [3 * ALIGN_BYTES, 3 * ALIGN_BYTES + 30, 3 * ALIGN_BYTES + 61] {
        assert_eq!(recovered(flip(at, 7)).unwrap().len(), 3);
    }
    let cut = |file: &File| {
        file.set_len(front::RECORDS_AT + 3 * ALIGN_BYTES + 20)
            .unwrap()
    };
    assert_eq!(recovered(cut).unwrap().len(), 3);
}

#[test]
fn a_damaged_record_before_whole_ones_is_told_from_a_torn_one() {
    for at in [
        0,
        5,
        10,
        20,
        28,
        36,
        52,
        61,
        ALIGN_BYTES + 4000,
        ALIGN_BYTES + 16,
    ] {
        let error = recovered(flip(at, 7)).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Corrupt {
                    what: "journal record",
                    ..
                }
            ),
            "byte {at}: {error}"
        );
    }
}

/// What a write that failed at its end has left in the file.
#[test]
fn an_erased_record_does_not_turn_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one")]);
    let failed = found(&dir, GENERATION).unwrap();
    append(&mut written, &[(1, b"two")]);
    failed.erase_next().unwrap();
    let found = found(&dir, GENERATION).unwrap();
    assert_eq!(calls(&found), [(1, b"one".to_vec())]);
}

#[test]
fn a_new_generation_forgets_the_old_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = journal(&dir);
    append(&mut written, &[(1, b"one")]);
    append(&mut written, &[(1, b"two")]);
    let next = Generation {
        number: 4,
        ..GENERATION
    };
    let noted = written.bytes_noted;
    written.restart(next, noted).unwrap();
    assert!(written.is_empty());
    append(&mut written, &[(1, b"three")]);
    assert_eq!(calls(&found(&dir, next).unwrap()), [(1, b"three".to_vec())]);
}

/// LMDB's file says generation 3, and the journal has gone on from there.
#[test]
fn a_record_or_the_mark_of_a_later_generation_shows_an_old_copy() {
    let next = Generation {
        number: 4,
        ..GENERATION
    };
    let check = |leave: fn(&mut Journal)| {
        let dir = tempfile::tempdir().unwrap();
        let mut written = journal(&dir);
        append(&mut written, &[(1, b"one")]);
        append(&mut written, &[(1, b"two")]);
        let noted = written.bytes_noted;
        written.restart(next, noted).unwrap();
        leave(&mut written);
        let error = found(&dir, GENERATION).err().unwrap();
        assert!(
            matches!(
                error,
                StoreError::Stale {
                    found: 3,
                    journaled: 4,
                    ..
                }
            ),
            "{error}"
        );
        found(&dir, next).unwrap();
    };
    check(|_| ());
    check(|written| {
        append(written, &[(1, b"three")]);
        let mark = [0; 16];
        written.file.write_all_at(&mark, ALIGN_BYTES).unwrap();
    });
}

#[test]
fn a_full_journal_says_so_before_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(&dir);
    let mut appended = 0;
    loop {
        journal.begin();
        journal.add(&call(1, &[1; 10_000]));
        if !journal.has_room() {
            break;
        }
        journal.append().unwrap();
        appended += 1;
    }
    assert_eq!(appended, BYTES_MAX / (3 * ALIGN_BYTES));
    assert!(journal.bytes() <= BYTES_MAX);
    assert_eq!(calls(&journal).len() as u64, appended);
}
