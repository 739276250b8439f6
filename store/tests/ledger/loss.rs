//! Files that are gone, cut off, swapped, or old copies put back: each is refused
//! by name, and nothing is put in its place.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use corelet_store::{
    ApplicationRecord, Change, DataDir, Hlc, Ledger, LedgerConfig, LedgerPlace, Loss, NodeId,
    OpenOptions as DataOptions, ShardCount, StoreError, verify,
};
use tempfile::TempDir;

use crate::{Bench, set};

const CONFIG: LedgerConfig = LedgerConfig {
    map_bytes_max: 64 << 20,
    readers_max: 8,
    journal_bytes_max: 64 << 10,
    checkpoint_contexts_max: 100,
    trie_bytes_max: 48 << 10,
    answers: corelet_store::AnswerBounds::DEFAULT,
    contexts: corelet_store::ContextBounds::NONE,
    start_check_bytes_max: 1 << 30,
};

fn open_data(dir: &Path) -> Result<DataDir, StoreError> {
    let options = DataOptions {
        shards_if_new: ShardCount::new(2).unwrap(),
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    DataDir::open(dir, &options)
}

/// A data directory of two shards, with something in each ledger and its journal
/// allocated.
fn two_shards() -> (TempDir, [LedgerPlace; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let data = open_data(dir.path()).unwrap();
    let places: Vec<_> = data.manifest().shards.shards().collect();
    let places = [places[0], places[1]].map(|shard| data.ledger_place(shard));
    for place in &places {
        let ledger = Ledger::open(place, &CONFIG).unwrap();
        commit_application(&ledger, 100);
    }
    (dir, places)
}

fn commit_application(ledger: &Ledger, description_bytes: usize) {
    let batch = vec![Change::PutApplication(application(description_bytes))];
    ledger.commit(batch).unwrap()[0].as_ref().unwrap();
}

fn application(description_bytes: usize) -> ApplicationRecord {
    ApplicationRecord {
        id: corelet_store::ApplicationId::from_bytes([1; 32]),
        name: "kept".to_owned(),
        version: String::new(),
        size_bytes: 0,
        installed: Hlc::ZERO,
        description: "x".repeat(description_bytes),
        reuse: corelet_store::Reuse::default(),
    }
}

fn data_file(place: &LedgerPlace) -> PathBuf {
    place.dir().join("data.mdb")
}

fn journal(place: &LedgerPlace) -> PathBuf {
    place.dir().join("journal")
}

fn cut(file: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

/// Every file below `dir` with its content. The lock file is LMDB's affair.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.push((path.clone(), Vec::new()));
            files.append(&mut content(&path));
        } else if !path.ends_with("lock.mdb") {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// The ledger in `place` is refused, twice, by an error that names `file` and says
/// what to do, and everything stays as it is.
#[track_caller]
fn refused(dir: &Path, place: &LedgerPlace, file: &Path) -> StoreError {
    let before = content(dir);
    drop(open_data(dir).unwrap());
    Ledger::open(place, &CONFIG).map(drop).unwrap_err();
    let error = Ledger::open(place, &CONFIG).map(drop).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()), "{text}");
    assert!(text.contains("backup"), "{text}");
    assert!(content(dir) == before, "something was changed after {text}");
    error
}

/// Ledger 0 of two is damaged by `damage`, and refused for the loss of `file`.
#[track_caller]
fn check_lost(
    file: fn(&LedgerPlace) -> PathBuf,
    damage: impl FnOnce(&LedgerPlace),
    is_expected: fn(Loss) -> bool,
) {
    let (dir, places) = two_shards();
    damage(&places[0]);
    let file = file(&places[0]);
    match refused(dir.path(), &places[0], &file) {
        StoreError::Lost { path, loss } if path == file && is_expected(loss) => {}
        error => panic!("{error}"),
    }
    Ledger::open(&places[1], &CONFIG).unwrap();
}

#[test]
fn a_missing_data_file_is_not_made_anew() {
    let remove = |place: &LedgerPlace| fs::remove_file(data_file(place)).unwrap();
    check_lost(data_file, remove, |loss| loss == Loss::Missing);
}

#[test]
fn an_emptied_data_file_is_not_made_anew() {
    let empty = |place: &LedgerPlace| cut(&data_file(place), 0);
    check_lost(data_file, empty, |loss| loss == Loss::Empty);
}

#[test]
fn a_missing_directory_of_a_shard_is_not_made_anew() {
    let remove = |place: &LedgerPlace| fs::remove_dir_all(place.dir()).unwrap();
    check_lost(data_file, remove, |loss| loss == Loss::Missing);
    let empty = |place: &LedgerPlace| {
        fs::remove_dir_all(place.dir()).unwrap();
        fs::create_dir(place.dir()).unwrap();
    };
    check_lost(data_file, empty, |loss| loss == Loss::Missing);
    let remove_all = |place: &LedgerPlace| {
        fs::remove_dir_all(place.dir().parent().unwrap()).unwrap();
    };
    let (dir, places) = two_shards();
    remove_all(&places[0]);
    for place in &places {
        let error = refused(dir.path(), place, &data_file(place));
        assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    }
}

/// LMDB would map the file and end the process with SIGBUS.
#[test]
fn a_data_file_that_was_cut_off_is_refused() {
    let cut_to = |bytes: fn(u64) -> u64| {
        move |place: &LedgerPlace| {
            let size = fs::metadata(data_file(place)).unwrap().len();
            cut(&data_file(place), bytes(size));
        }
    };
    let lost = |loss| matches!(loss, Loss::CutOff { bytes, bytes_min } if bytes < bytes_min);
    for bytes in [
        |_| 1,
        |_| 100,
        |_| 4096,
        |_| 2 * 4096,
        |_| 2 * 4096 + 1,
        |size| size / 2,
        |size| size - 4096,
        |size| size - 1,
    ] as [fn(u64) -> u64; 8]
    {
        check_lost(data_file, cut_to(bytes), lost);
    }
}

/// Pages that are taken and given back in one transaction are never written, and
/// at the end of the file they are not in it at all.
#[test]
fn a_data_file_without_its_last_free_pages_is_whole() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("k", vec![7; 100_000])]);
    bench.commit(vec![call]);
    let large = application(2 << 20);
    bench.commit(vec![
        Change::PutApplication(large.clone()),
        Change::RemoveApplication(large.id),
    ]);
    let used = bench.ledger().stats().unwrap().map_bytes_used;
    let size = fs::metadata(data_file(&bench.place)).unwrap().len();
    assert!(size < used, "the file has all of its {used} bytes");
    bench.reopen();
    bench.verify();
    // One page less, and something that is not free is missing.
    bench.close();
    cut(&data_file(&bench.place), size - 4096);
    let error = bench.open().map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
}

/// The list of free pages is so long that it has large values and branches.
#[test]
fn a_data_file_cut_off_in_many_free_pages_is_read_as_what_it_is() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for n in 0..200_u32 {
        let call = bench.call(1, slot, vec![set(n.to_be_bytes(), vec![7; 40_000])]);
        bench.commit(vec![call]);
    }
    let removed = (0..200_u32).map(|n| crate::remove(n.to_be_bytes()));
    let removed = bench.call(1, slot, removed.collect());
    bench.commit(vec![removed]);
    let large = application(3 << 20);
    bench.commit(vec![
        Change::PutApplication(large.clone()),
        Change::RemoveApplication(large.id),
    ]);
    bench.close();
    let path = data_file(&bench.place);
    let whole = fs::read(&path).unwrap();
    let (mut opened, mut refused) = (0, 0);
    let mut bytes = whole.len();
    while bytes > whole.len() / 2 {
        fs::write(&path, &whole[..bytes]).unwrap();
        match bench.open() {
            Ok(ledger) => {
                verify(&ledger.snapshot().unwrap()).unwrap();
                opened += 1;
            }
            Err(StoreError::Lost { .. }) => refused += 1,
            Err(error) => panic!("{bytes}: {error}"),
        }
        bytes -= 4096 * 16;
    }
    assert!(opened > 0 && refused > 0, "{opened} and {refused}");
}

#[test]
fn a_data_file_of_another_shard_is_refused() {
    let (dir, places) = two_shards();
    let [one, other] = places.each_ref().map(data_file);
    let kept = dir.path().join("kept");
    fs::rename(&one, &kept).unwrap();
    fs::rename(&other, &one).unwrap();
    fs::rename(&kept, &other).unwrap();
    for (place, belongs_to) in [(&places[0], 1), (&places[1], 0)] {
        match refused(dir.path(), place, &data_file(place)) {
            StoreError::Foreign { path, found, .. }
                if path == data_file(place) && found.shard.number() == belongs_to => {}
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_data_file_or_journal_of_another_directory_is_refused() {
    for file in [data_file, journal] {
        let (dir, places) = two_shards();
        let (_other, others) = two_shards();
        fs::copy(file(&others[0]), file(&places[0])).unwrap();
        match refused(dir.path(), &places[0], &file(&places[0])) {
            StoreError::Foreign { path, found, .. }
                if path == file(&places[0]) && *found == others[0].identity() => {}
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_journal_of_another_shard_is_refused() {
    let (dir, places) = two_shards();
    fs::copy(journal(&places[1]), journal(&places[0])).unwrap();
    let error = refused(dir.path(), &places[0], &journal(&places[0]));
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn a_missing_journal_is_not_made_anew() {
    let remove = |place: &LedgerPlace| fs::remove_file(journal(place)).unwrap();
    check_lost(journal, remove, |loss| loss == Loss::Missing);
}

#[test]
fn a_journal_that_was_cut_off_is_refused() {
    let empty = |place: &LedgerPlace| cut(&journal(place), 0);
    check_lost(journal, empty, |loss| loss == Loss::Empty);
    for bytes in [1, 4096, 3 * 4096, (64 << 10) + 8191] {
        let cut = move |place: &LedgerPlace| cut(&journal(place), bytes);
        check_lost(journal, cut, |loss| {
            matches!(
                loss,
                Loss::CutOff {
                    bytes_min: 0x1_2000,
                    ..
                }
            )
        });
    }
}

#[test]
fn a_journal_that_was_overwritten_is_refused() {
    let (dir, places) = two_shards();
    let bytes = fs::metadata(journal(&places[0])).unwrap().len();
    fs::write(journal(&places[0]), vec![0; bytes as usize]).unwrap();
    let error = refused(dir.path(), &places[0], &journal(&places[0]));
    assert!(
        matches!(
            error,
            StoreError::Corrupt {
                what: "journal",
                ..
            }
        ),
        "{error}"
    );
}

/// With a changed bound the file keeps its size or grows, and is never mistaken
/// for one that was cut off.
#[test]
fn a_journal_may_be_given_another_size() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut written = 0_u32;
    for journal_bytes_max in [64 << 10, 0, 4096, 256 << 10, 64 << 10, 1 << 20, 0] {
        bench.config.journal_bytes_max = journal_bytes_max;
        bench.reopen();
        for _ in 0..40 {
            written += 1;
            let call = bench.call(1, slot, vec![set("n", written.to_be_bytes())]);
            bench.ledger().writer().commit(vec![call]).unwrap();
        }
        bench.reopen();
        assert_eq!(bench.get(slot, b"n").unwrap(), written.to_be_bytes());
    }
    bench.close();
    // The largest size is the one that counts.
    cut(&journal(&bench.place), (1 << 20) + 4096);
    let error = bench.open().map(drop).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Lost {
                loss: Loss::CutOff { .. },
                ..
            }
        ),
        "{error}"
    );
}

/// The journal alone was left, and an old copy of the data file put beside it.
#[test]
fn a_data_file_older_than_its_journal_is_refused() {
    // What happens after the copy: calls and a checkpoint, or only the latter.
    for calls in [3, 0] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        bench.close();
        let copy = fs::read(data_file(&bench.place)).unwrap();
        bench.reopen();
        bench.create(2);
        for n in 0..calls {
            let call = bench.call(1, slot, vec![set("n", [n])]);
            bench.ledger().writer().commit(vec![call]).unwrap();
        }
        bench.close();
        fs::write(data_file(&bench.place), copy).unwrap();
        match bench.open().map(drop).unwrap_err() {
            StoreError::Stale {
                path,
                found,
                journaled,
            } if path == data_file(&bench.place) && found < journaled => {}
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_missing_lock_file_is_made_anew() {
    let (dir, places) = two_shards();
    fs::remove_file(places[0].dir().join("lock.mdb")).unwrap();
    drop(open_data(dir.path()).unwrap());
    let ledger = Ledger::open(&places[0], &CONFIG).unwrap();
    assert_eq!(
        ledger.snapshot().unwrap().applications().unwrap(),
        [application(100)]
    );
}
