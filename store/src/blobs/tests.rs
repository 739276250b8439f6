//! Blobs as a whole: what comes out is what went in, or an error; and nobody loses
//! a blob that he holds or refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const GROUP: usize = BLOB_GROUP_BYTES;

/// Blobs in a directory of their own.
struct Bench {
    dir: TempDir,
    blobs: Blobs,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        Bench { dir, blobs }
    }

    fn put(&self, content: &[u8]) -> BlobId {
        self.put_in_pieces(content, content.len().max(1)).id()
    }

    fn put_in_pieces(&self, content: &[u8], piece: usize) -> BlobHold {
        let mut writer = self.blobs.writer(None, BlobLimit::FORMAT).unwrap();
        for piece in content.chunks(piece) {
            writer.write(piece).unwrap();
        }
        assert_eq!(writer.bytes(), content.len() as u64);
        writer.finish().unwrap()
    }

    fn get(&self, id: BlobId) -> Result<Vec<u8>, BlobError> {
        let mut reader = self.blobs.reader(id)?.expect("the blob is there");
        let mut content = Vec::new();
        loop {
            match reader.part(content.len() as u64)? {
                [] => break,
                part => content.extend_from_slice(part),
            }
        }
        assert_eq!(reader.bytes(), content.len() as u64);
        Ok(content)
    }

    fn file(&self, id: BlobId) -> PathBuf {
        self.blobs.shared.dirs.file(&id)
    }

    fn fan(&self, byte: u8) -> PathBuf {
        self.blobs.shared.dirs.fan(byte)
    }

    fn make_older(&self, id: BlobId, age: Duration) {
        let time = self.blobs.shared.clock.now() - age;
        let file = fs::File::open(self.file(id)).unwrap();
        file.set_modified(time).unwrap();
    }

    fn list(&self) -> (BTreeMap<BlobId, Option<u64>>, BTreeSet<PathBuf>) {
        let (mut blobs, mut foreign) = (BTreeMap::new(), BTreeSet::new());
        let mut scan = self.blobs.scan();
        loop {
            let step = scan.step(3).unwrap();
            assert!(step.len() <= 3);
            if step.is_empty() {
                return (blobs, foreign);
            }
            for listed in step {
                let is_new = match listed {
                    Listed::Blob(entry) => blobs.insert(entry.id, entry.bytes).is_none(),
                    Listed::Foreign(path) => foreign.insert(path),
                };
                assert!(is_new, "something is listed twice");
            }
        }
    }

    #[track_caller]
    fn nothing_is_unfinished(&self) {
        let left = fs::read_dir(self.dir.path().join("unfinished")).unwrap();
        assert_eq!(left.count(), 0);
    }
}

/// Content in which no two groups are alike.
fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}

/// Sizes about the borders of groups, where the outline and the last group begin.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        0_usize..3000,
        (1_usize..5, -2_isize..=2)
            .prop_map(|(groups, off)| (groups * GROUP).saturating_add_signed(off)),
        (0_usize..5 * GROUP),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_is_what_went_in(
        bytes in sizes(),
        piece in prop_oneof![200_usize..5000, GROUP - 1..GROUP + 2, Just(3 * GROUP)],
        ranges in proptest::collection::vec((0.0..1.1, 0_usize..2 * GROUP), 6),
    ) {
        let bench = Bench::new();
        let content = content(bytes, 1);
        let id = bench.put_in_pieces(&content, piece).id();
        prop_assert_eq!(id, BlobId::of(&content));
        prop_assert!(bench.get(id).unwrap() == content);
        let mut reader = bench.blobs.reader(id).unwrap().unwrap();
        for (begin, len) in ranges {
            let begin = (begin * bytes as f64) as usize;
            let mut buffer = vec![0; len];
            let filled = reader.read_at(begin as u64, &mut buffer).unwrap();
            let expected = &content[begin.min(bytes)..(begin + len).min(bytes)];
            prop_assert!(buffer[..filled] == *expected, "from {} on", begin);
        }
        prop_assert_eq!(reader.read_at(u64::MAX, &mut [0; 8]).unwrap(), 0);
        prop_assert_eq!(bench.list().0, BTreeMap::from([(id, Some(bytes as u64))]));
        prop_assert_eq!(bench.blobs.check(id).unwrap(), Some(bytes as u64));
        bench.nothing_is_unfinished();
    }

    /// Wherever a bit is wrong, all that can be read is right, and reading all of it
    /// fails.
    #[test]
    fn a_wrong_bit_anywhere_is_found_and_never_served(
        bytes in sizes(),
        place in prop_oneof![0.0..1.0, Just(-1.0), Just(-2.0)],
        bit in 0_u8..8,
        near_the_end in 0_u64..200,
    ) {
        let bench = Bench::new();
        let content = content(bytes, 2);
        let id = bench.put(&content);
        let len = fs::metadata(bench.file(id)).unwrap().len();
        // Anywhere, or in the outline, the footer and what lies before them.
        let at = if place < 0.0 { len.saturating_sub(1 + near_the_end) } else { (place * len as f64) as u64 };
        let file = fs::OpenOptions::new().read(true).write(true).open(bench.file(id)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();

        check_damaged(&bench, id, &content)?;
        // The same content again heals it.
        bench.put(&content);
        prop_assert!(bench.get(id).unwrap() == content);
    }

    /// A file that was cut off, or has something behind its end or in the middle.
    #[test]
    fn a_file_of_another_length_is_found_and_never_served(
        bytes in sizes(),
        cut in prop_oneof![1_usize..100, 32_usize..33, 1_usize..2 * GROUP],
        way in 0..4,
    ) {
        let bench = Bench::new();
        let content = content(bytes, 3);
        let id = bench.put(&content);
        let mut file = fs::read(bench.file(id)).unwrap();
        match way {
            0 => file.truncate(file.len().saturating_sub(cut)),
            1 => file.resize(file.len() + cut, 0),
            // The end stays whole: an outline that is right, and a shorter content.
            2 => drop(file.drain(bytes - cut.min(bytes)..bytes)),
            _ => drop(file.splice(bytes..bytes, vec![0; cut])),
        }
        if way == 2 && bytes == 0 {
            return Ok(());
        }
        fs::write(bench.file(id), file).unwrap();
        check_damaged(&bench, id, &content)?;
    }
}

/// A file that is right in itself, outline and all, under the name of another content.
#[test]
fn the_file_of_another_blob_is_found_and_never_served() {
    for bytes in [1, GROUP, GROUP + 1, 3 * GROUP] {
        let bench = Bench::new();
        let (one, other) = (content(bytes, 8), content(bytes, 9));
        let (id, another) = (bench.put(&one), bench.put(&other));
        fs::copy(bench.file(another), bench.file(id)).unwrap();
        let error = bench.blobs.reader(id).unwrap_err();
        assert!(
            matches!(error, BlobError::Damaged { blob, .. } if blob == id),
            "{error}"
        );
        assert!(bench.blobs.check(id).is_err());
        assert!(bench.get(another).unwrap() == other);
    }
}

/// Reading all fails, and so does a check; what a reader gives all the same is right.
fn check_damaged(bench: &Bench, id: BlobId, content: &[u8]) -> Result<(), TestCaseError> {
    let error = bench.get(id).expect_err("all of it was read");
    prop_assert!(
        matches!(error, BlobError::Damaged { blob, .. } if blob == id),
        "{}",
        error
    );
    prop_assert!(error.to_string().contains(&id.to_string()));
    prop_assert!(bench.blobs.check(id).is_err());
    let mut check = bench.blobs.check_all();
    let mut unsound = 0;
    while let Some(step) = check.step().unwrap() {
        match step {
            Checked::Part { .. } => {}
            Checked::Unsound { blob, .. } if blob == id => unsound += 1,
            other => prop_assert!(false, "{:?}", other),
        }
    }
    prop_assert_eq!(unsound, 1);
    let Ok(reader) = bench.blobs.reader(id) else {
        return Ok(());
    };
    let mut reader = reader.unwrap();
    prop_assert_eq!(reader.bytes(), content.len() as u64);
    for begin in (0..content.len()).step_by(GROUP / 2) {
        if let Ok(part) = reader.part(begin as u64) {
            prop_assert!(!part.is_empty() && content[begin..].starts_with(part));
        }
    }
    Ok(())
}

/// They are used on threads that come from a pool.
#[test]
fn all_of_it_can_go_from_thread_to_thread() {
    fn check<T: Send + 'static>() {}
    fn check_shared<T: Send + Sync + 'static>() {}
    check_shared::<Blobs>();
    check_shared::<BlobCutoff>();
    check::<BlobWriter>();
    check::<BlobReader>();
    check::<BlobHold>();
    check::<BlobScan>();
    check::<BlobCheck>();
}

#[test]
fn content_that_was_not_expected_leaves_nothing() {
    let bench = Bench::new();
    let (right, wrong) = (content(GROUP + 5, 4), content(GROUP + 5, 5));
    let expected = BlobId::of(&right);
    let writer = || bench.blobs.writer(Some(expected), BlobLimit::FORMAT);
    let mut bad = writer().unwrap();
    bad.write(&wrong).unwrap();
    let error = bad.finish().unwrap_err();
    assert!(
        matches!(error, BlobError::Mismatch { found, .. } if found == BlobId::of(&wrong)),
        "{error}"
    );
    assert_eq!(bench.list().0.len(), 0);
    bench.nothing_is_unfinished();
    let mut good = writer().unwrap();
    good.write(&right).unwrap();
    assert_eq!(good.finish().unwrap().id(), expected);
}

#[test]
fn content_that_grows_beyond_its_limit_leaves_nothing() {
    let bench = Bench::new();
    let limit = BlobLimit {
        name: "blobs.bytes_max",
        bytes_max: 1000,
    };
    let mut writer = bench.blobs.writer(None, limit).unwrap();
    writer.write(&[1; 1000]).unwrap();
    let error = writer.write(&[1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the blob is larger than the 1000 bytes that blobs.bytes_max allows"
    );
    bench.nothing_is_unfinished();
    assert!(matches!(writer.write(&[1]), Err(BlobError::Ended)));
    assert!(matches!(writer.finish(), Err(BlobError::Ended)));
    let mut writer = bench.blobs.writer(None, limit).unwrap();
    writer.write(&[1; 1000]).unwrap();
    drop(writer.finish().unwrap());
    assert_eq!(bench.list().0.len(), 1);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let bench = Bench::new();
    let mut writer = bench.blobs.writer(None, BlobLimit::FORMAT).unwrap();
    writer.write(&content(3 * GROUP, 6)).unwrap();
    drop(writer);
    bench.nothing_is_unfinished();
    assert_eq!(bench.list().0.len(), 0);
}

#[test]
fn only_the_owner_can_read_a_blob() {
    let bench = Bench::new();
    let file = bench.file(bench.put(b"secret"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&bench.dir.path().join("unfinished")), 0o700);
}

#[test]
fn blobs_are_open_once_and_what_is_unfinished_goes_with_the_next_start() {
    let bench = Bench::new();
    let id = bench.put(b"stays");
    let error = Blobs::open(bench.dir.path()).unwrap_err();
    assert!(matches!(error, BlobError::AlreadyOpen { .. }), "{error}");
    let unfinished = bench.dir.path().join("unfinished");
    drop(bench.blobs);
    for name in ["0", "17", "note"] {
        fs::write(unfinished.join(name), "half").unwrap();
    }
    fs::create_dir(unfinished.join("3")).unwrap();
    let blobs = Blobs::open(bench.dir.path()).unwrap();
    let left: BTreeSet<_> = fs::read_dir(&unfinished)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, BTreeSet::from(["3".to_owned(), "note".to_owned()]));
    assert_eq!(blobs.check(id).unwrap(), Some(5));
}

#[test]
fn what_is_no_blob_is_left_alone_and_told() {
    let bench = Bench::new();
    let id = bench.put(b"content");
    let file = bench.file(id);
    let dir = file.parent().unwrap();
    let elsewhere = bench.dir.path().join("00");
    if !elsewhere.exists() {
        fs::create_dir(&elsewhere).unwrap();
    }
    let foreign = BTreeSet::from([
        dir.join("note"),
        dir.join(format!("{id}.wasm")),
        dir.join("dir"),
        elsewhere.join(BlobId::from_bytes([1; 32]).to_string()),
        elsewhere.join(BlobId::from_bytes([0; 32]).to_string()),
    ]);
    for path in &foreign {
        match path.ends_with("dir") {
            true => fs::create_dir(path).unwrap(),
            false => fs::write(path, "x").unwrap(),
        }
    }
    // A link with a blob's name is not followed.
    let link = elsewhere.join(BlobId::from_bytes([0; 32]).to_string());
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(bench.blobs.reader(BlobId::from_bytes([0; 32])).is_err());
    // Beside the blobs' directories lie components.
    fs::write(bench.dir.path().join(format!("{id}.wasm")), "x").unwrap();

    assert_eq!(
        bench.list(),
        (BTreeMap::from([(id, Some(7))]), foreign.clone())
    );
    let mut check = bench.blobs.check_all();
    let (mut whole, mut told) = (0, BTreeSet::new());
    while let Some(step) = check.step().unwrap() {
        match step {
            Checked::Whole { .. } => whole += 1,
            Checked::Foreign { path } => drop(told.insert(path)),
            Checked::Part { bytes } => assert_eq!(bytes, 7),
            Checked::Unsound { error, .. } => panic!("{error}"),
        }
    }
    assert_eq!((whole, told), (1, foreign));
}

#[test]
fn the_same_content_is_there_once() {
    let bench = Bench::new();
    let content = content(2 * GROUP + 1, 7);
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (blobs, content) = (bench.blobs.clone(), content.clone());
            std::thread::Builder::new()
                .spawn(move || {
                    let mut writer = blobs.writer(None, BlobLimit::FORMAT).unwrap();
                    for piece in content.chunks(10_000 + n) {
                        writer.write(piece).unwrap();
                    }
                    let id = writer.finish().unwrap().id();
                    // Others write it at the same time.
                    assert_eq!(blobs.check(id).unwrap(), Some(content.len() as u64));
                    id
                })
                .unwrap()
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.join().unwrap(), BlobId::of(&content));
    }
    assert_eq!(bench.list().0.len(), 1);
    bench.nothing_is_unfinished();
}

#[test]
fn a_blob_goes_when_nobody_has_used_it_for_a_while() {
    let bench = Bench::new();
    let id = bench.put(b"content");
    let idle = Duration::from_secs(3600);
    let remove = || {
        bench
            .blobs
            .remove_by(id, &bench.blobs.cutoff(idle))
            .unwrap()
    };
    assert_eq!(remove(), Removal::Recent);
    bench.make_older(id, idle + Duration::from_secs(5));
    let mut reader = bench.blobs.reader(id).unwrap().unwrap();
    assert_eq!(remove(), Removal::Removed);
    assert_eq!(remove(), Removal::Missing);
    assert!(bench.blobs.reader(id).unwrap().is_none());
    assert!(bench.blobs.hold(id).unwrap().is_none());
    assert_eq!(reader.part(0).unwrap(), b"content");
    bench.nothing_is_unfinished();
}

#[test]
fn using_a_blob_begins_its_idle_time_anew() {
    fn check(used: impl Fn(&Bench, BlobId)) {
        let bench = Bench::new();
        let id = bench.put(b"content");
        bench.make_older(id, Duration::from_secs(5000));
        let cutoff = bench.blobs.cutoff(Duration::ZERO);
        used(&bench, id);
        let removal = bench.blobs.remove_by(id, &cutoff).unwrap();
        assert_eq!(removal, Removal::Recent);
    }
    check(|bench, id| drop(bench.blobs.hold(id).unwrap().unwrap()));
    check(|bench, _| drop(bench.put_in_pieces(b"content", 3)));
}

/// Whoever asks the ledgers before a reference is there, and removes after the hold
/// on the blob is gone.
#[test]
fn a_hold_at_the_time_of_the_cutoff_protects_for_the_whole_of_it() {
    let bench = Bench::new();
    let id = bench.put(b"content");
    let hold = bench.blobs.hold(id).unwrap().unwrap();
    // It takes a day until the reference is made.
    bench.make_older(id, Duration::from_secs(24 * 3600));
    let cutoff = bench.blobs.cutoff(Duration::from_secs(60));
    assert_eq!(bench.blobs.remove(id).unwrap(), Removal::Held);
    drop(hold);
    let by = |cutoff| bench.blobs.remove_by(id, cutoff).unwrap();
    assert_eq!(by(&cutoff), Removal::Held);
    // The next round sees the reference, or there is none.
    assert_eq!(
        by(&bench.blobs.cutoff(Duration::from_secs(60))),
        Removal::Removed
    );
    assert_eq!(bench.blobs.remove(id).unwrap(), Removal::Missing);
}

/// Some threads write, refer to and let go of a few blobs, and one collects, as fast as
/// they can. A blob that is referred to is always there.
#[test]
#[expect(clippy::disallowed_types, reason = "a ledger of a test")]
fn no_blob_is_collected_while_somebody_begins_to_refer_to_it() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    let bench = Bench::new();
    let contents: Vec<Vec<u8>> = (0..3).map(|n| content(100, n)).collect();
    let references: Mutex<BTreeMap<BlobId, u32>> = Mutex::default();
    let (is_over, collected) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|user| {
                let (bench, contents, references) = (&bench, &contents, &references);
                scope.spawn(move || {
                    for round in 0..150 {
                        let content = &contents[(user + round) % contents.len()];
                        let id = BlobId::of(content);
                        let hold = match bench.blobs.hold(id).unwrap() {
                            Some(hold) => hold,
                            None => bench.put_in_pieces(content, 100),
                        };
                        *references.lock().unwrap().entry(id).or_default() += 1;
                        drop(hold);
                        std::thread::yield_now();
                        assert!(
                            bench.blobs.check(id).unwrap().is_some(),
                            "a blob that is referred to is gone"
                        );
                        let mut references = references.lock().unwrap();
                        *references.get_mut(&id).unwrap() -= 1;
                    }
                })
            })
            .collect();
        let (bench, references, is_over, collected) = (&bench, &references, &is_over, &collected);
        let ids: Vec<BlobId> = contents.iter().map(|content| BlobId::of(content)).collect();
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                // As if nobody had used any for long.
                for id in &ids {
                    if let Ok(file) = fs::File::open(bench.file(*id)) {
                        let then = bench.blobs.shared.clock.now() - Duration::from_secs(3);
                        file.set_modified(then).unwrap();
                    }
                }
                let cutoff = bench.blobs.cutoff(Duration::ZERO);
                let referred = references.lock().unwrap().clone();
                std::thread::yield_now();
                for id in &ids {
                    if referred.get(id).is_none_or(|count| *count == 0)
                        && bench.blobs.remove_by(*id, &cutoff).unwrap() == Removal::Removed
                    {
                        collected.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let users: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        // Before a user's failure ends this thread, or the other one would go on for ever.
        is_over.store(true, Ordering::Relaxed);
        for user in users {
            user.unwrap();
        }
    });
    println!("{} collected", collected.into_inner());
}

#[test]
fn what_is_listed_before_an_error_is_told_before_it() {
    let bench = Bench::new();
    let mut ids = BTreeSet::new();
    for n in 0..40_u8 {
        ids.insert(bench.put(&[n; 9]));
    }
    let last = ids.last().unwrap().as_bytes()[0];
    let broken = (0..last)
        .rev()
        .find(|byte| !bench.fan(*byte).exists())
        .unwrap();
    fs::write(bench.fan(broken), "no directory").unwrap();
    let (mut scan, mut found, mut failed) = (bench.blobs.scan(), BTreeSet::new(), 0);
    loop {
        match scan.step(1000) {
            Ok(listed) if listed.is_empty() => break,
            Ok(listed) => found.extend(listed.into_iter().filter_map(|listed| match listed {
                Listed::Blob(entry) => Some(entry.id),
                Listed::Foreign(_) => None,
            })),
            Err(error) => {
                assert!(matches!(error, BlobError::File { .. }), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!((found, failed), (ids, 1));
}

#[test]
fn a_sweep_tells_what_it_did_before_it_failed() {
    let bench = Bench::new();
    let idle = Duration::from_secs(3600);
    for n in 0..20_u8 {
        let id = bench.put(&[n; 10]);
        bench.make_older(id, idle + Duration::from_secs(5));
    }
    let (mut sweep, mut asked, mut failures) = (bench.blobs.sweep(idle), 0, 0);
    loop {
        let looked = sweep.look(1000, &mut |_| {
            asked += 1;
            match asked % 4 {
                0 => Err(BlobError::Ended),
                _ => Ok(false),
            }
        });
        while sweep.remove_next().unwrap() {}
        match looked {
            Err(_) => failures += 1,
            Ok(true) => {}
            Ok(false) => break,
        }
    }
    assert_eq!(failures, 5);
    let all = sweep.swept();
    assert_eq!((all.seen, all.removed, all.bytes), (20, 15, 150));
    assert_eq!(bench.list().0.len(), 5);
}

#[test]
fn pages_have_all_blobs_in_the_order_of_their_ids() {
    let bench = Bench::new();
    let mut expected: Vec<BlobId> = (0..700_u16).map(|n| bench.put(&n.to_le_bytes())).collect();
    expected.sort();
    fs::write(bench.file(expected[0]).with_file_name("note"), "x").unwrap();
    // Names that a list finds and behind which there is no blob any more: before those of a
    // directory, and between them.
    for id in &expected[..100] {
        let mut gone = *id.as_bytes();
        gone[1..].fill(0);
        for last in [0, 1] {
            gone[31] = last;
            let gone = bench.file(BlobId::from_bytes(gone));
            fs::create_dir_all(gone).unwrap();
        }
    }
    for limit in [1, 7, 699, 700, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = bench.blobs.page(after, limit).unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit);
            after = Some(last.id);
            assert!(page.iter().all(|entry| entry.bytes == Some(2)));
            found.extend(page.into_iter().map(|entry| entry.id));
        }
        assert_eq!(found, expected, "{limit}");
    }
    let entry = bench.blobs.entry(expected[3]).unwrap().unwrap();
    assert_eq!((entry.id, entry.bytes), (expected[3], Some(2)));
    assert_eq!(bench.blobs.entry(BlobId::of(b"none")).unwrap(), None);
}

#[test]
fn on_somebodys_word_a_blob_goes_unless_it_is_held_or_referred_to() {
    let bench = Bench::new();
    let id = bench.put(b"content");
    let remove = |is_referenced: bool| {
        let asked = || Ok::<_, BlobError>(is_referenced);
        bench.blobs.remove_unless(id, asked).unwrap()
    };
    let hold = bench.blobs.hold(id).unwrap().unwrap();
    assert!(bench.blobs.is_held(&id));
    assert_eq!(remove(false), Some(Removal::Held));
    drop(hold);
    assert_eq!(remove(true), None);
    assert_eq!(bench.blobs.check(id).unwrap(), Some(7));
    let failed = bench.blobs.remove_unless(id, || Err(BlobError::Ended));
    assert!(matches!(failed, Err(BlobError::Ended)));
    // Who comes while it is asked waits, and finds out what became of the blob.
    let removed = std::thread::scope(|scope| {
        let mut holder = None;
        let removed = bench.blobs.remove_unless(id, || {
            let hold = || bench.blobs.hold(id).unwrap().is_some();
            holder = Some(scope.spawn(hold));
            Ok::<_, BlobError>(false)
        });
        (removed.unwrap(), holder.unwrap().join().unwrap())
    });
    assert!(
        matches!(
            removed,
            (Some(Removal::Removed), false) | (Some(Removal::Held), true)
        ),
        "{removed:?}"
    );
    if removed.1 {
        assert_eq!(remove(false), Some(Removal::Removed));
    }
    assert_eq!(remove(false), Some(Removal::Missing));
    bench.nothing_is_unfinished();
}

#[test]
fn a_sweep_removes_what_is_old_and_referred_to_by_nobody() {
    let bench = Bench::new();
    let idle = Duration::from_secs(3600);
    let put = |n: u8, is_old: bool| {
        let id = bench.put(&[n; 100]);
        if is_old {
            bench.make_older(id, idle + Duration::from_secs(5));
        }
        id
    };
    let (old, referenced, recent, held) =
        (put(1, true), put(2, true), put(3, false), put(4, false));
    let hold = bench.blobs.hold(held).unwrap().unwrap();
    bench.make_older(held, idle + Duration::from_secs(5));
    let mut asked = BTreeSet::new();
    let mut sweep = bench.blobs.sweep(idle);
    let mut ask = |id: &BlobId| {
        asked.insert(*id);
        Ok::<_, BlobError>(*id == referenced)
    };
    while sweep.look(1, &mut ask).unwrap() {
        while sweep.remove_next().unwrap() {}
    }
    drop(hold);
    let all = sweep.swept();
    assert_eq!((all.seen, all.removed, all.bytes), (4, 1, 100));
    assert_eq!(asked, BTreeSet::from([old, referenced]));
    let left: BTreeSet<_> = bench.list().0.into_keys().collect();
    assert_eq!(left, BTreeSet::from([referenced, recent, held]));
    // If nobody can say who refers to it, it stays.
    bench.make_older(recent, idle + Duration::from_secs(5));
    let mut sweep = bench.blobs.sweep(idle);
    let unknown = BlobError::Ended;
    let mut failing = Some(unknown);
    let failed = loop {
        let looked = sweep.look(1, &mut |_| match failing.take() {
            Some(error) => Err(error),
            None => Ok(true),
        });
        match looked {
            Err(error) => break Some(error),
            Ok(false) => break None,
            Ok(true) => {}
        }
    };
    assert!(matches!(failed, Some(BlobError::Ended)));
    assert_eq!(bench.list().0.len(), 3);
}

/// Between the question and the removal there may be any time.
#[test]
fn what_is_used_after_it_was_found_unreferenced_stays() {
    let bench = Bench::new();
    let idle = Duration::from_secs(3600);
    let ids = [1, 2, 3].map(|n: u8| bench.put(&[n; 10]));
    for id in ids {
        bench.make_older(id, idle + Duration::from_secs(5));
    }
    let mut sweep = bench.blobs.sweep(idle);
    while sweep.look(10, &mut |_| Ok::<_, BlobError>(false)).unwrap() {}
    assert_eq!(bench.list().0.len(), 3, "nothing is removed yet");
    drop(bench.blobs.hold(ids[0]).unwrap().unwrap());
    let hold = bench.blobs.hold(ids[1]).unwrap().unwrap();
    while sweep.remove_next().unwrap() {}
    drop(hold);
    let left: BTreeSet<_> = bench.list().0.into_keys().collect();
    assert_eq!(left, BTreeSet::from([ids[0], ids[1]]));
    assert_eq!((sweep.swept().removed, sweep.swept().bytes), (1, 10));
}
