//! Uploads: on disk when their offset is told, whole or cut off behind the last whole piece
//! after a crash, one writer at a time, within bounds, and gone when they are too old.

use super::*;

const NAME: &str = "some.limit";

fn bounds() -> UploadBounds {
    UploadBounds {
        count_max: 3,
        bytes_max: 10_000,
        each: (NAME, 4_000),
        age_max: Duration::from_secs(60),
        idle_max: Duration::from_secs(30),
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + seconds)
}

fn plain(bytes: Option<u64>) -> NewUpload {
    NewUpload {
        application: None,
        bytes,
        packing: Packing::Plain,
    }
}

struct Bench {
    dir: tempfile::TempDir,
    uploads: Uploads,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(dir.path(), bounds()).unwrap();
        Bench { dir, uploads }
    }

    /// The same files after a restart. Their times are those of the machine.
    fn again(&mut self) {
        let bounds = UploadBounds {
            age_max: Duration::from_secs(u64::MAX >> 8),
            ..bounds()
        };
        self.uploads = Uploads::open(self.dir.path(), bounds).unwrap();
    }

    fn create(&self, bytes: Option<u64>) -> UploadId {
        self.uploads.create(plain(bytes), at(0)).unwrap().id
    }

    fn append(&self, id: UploadId, offset: u64, content: &[u8]) -> Result<u64, UploadError> {
        let appended = self.uploads.append(id, offset, content, at(0));
        appended.map(|upload| upload.offset)
    }

    fn reader(&self, id: UploadId) -> Result<(HeldUpload, UploadReader), UploadError> {
        let held = self.uploads.hold(id, at(0))?;
        let (_, reader) = self.uploads.reader(&held)?;
        Ok((held, reader))
    }

    fn content(&self, id: UploadId) -> std::io::Result<Vec<u8>> {
        let (_held, mut reader) = self.reader(id).expect("it is whole");
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map(|_| content)
    }

    fn path(&self, id: UploadId) -> PathBuf {
        self.uploads.shared.path(id)
    }
}

#[test]
fn pieces_become_a_whole_over_a_restart() {
    let mut bench = Bench::new();
    let announced = NewUpload {
        application: Some(ApplicationId::from_bytes([7; 32])),
        bytes: Some(9),
        packing: Packing::Zstd,
    };
    let id = bench.uploads.create(announced.clone(), at(0)).unwrap().id;
    assert_eq!(bench.append(id, 0, b"abc").unwrap(), 3);
    assert_eq!(bench.append(id, 3, b"").unwrap(), 3);
    bench.again();
    let found = bench.uploads.list(at(0));
    assert_eq!(found.len(), 1);
    let found = (found[0].id, found[0].offset, found[0].announced.clone());
    assert_eq!(found, (id, 3, announced));
    let incomplete = bench.reader(id).err().unwrap();
    let UploadError::Incomplete {
        offset: 3,
        bytes: 9,
    } = incomplete
    else {
        panic!("{incomplete}");
    };
    assert_eq!(bench.append(id, 3, b"defghi").unwrap(), 9);
    assert_eq!(bench.content(id).unwrap(), b"abcdefghi");
    bench.uploads.remove(id, at(0)).unwrap();
    assert!(!bench.path(id).exists());
    assert_eq!(bench.uploads.sum(), (0, 0));
}

#[test]
fn what_does_not_go_on_is_told_where_it_would() {
    let bench = Bench::new();
    let id = bench.create(None);
    bench.append(id, 0, b"abc").unwrap();
    for given in [0, 2, 4] {
        let refused = bench.append(id, given, b"x").unwrap_err();
        let UploadError::Offset {
            offset: 3,
            given: told,
        } = refused
        else {
            panic!("{refused}");
        };
        assert_eq!(told, given);
    }
    assert_eq!(bench.content(id).unwrap(), b"abc");
}

/// Wherever the file is cut off, and whatever is behind its last whole piece.
#[test]
fn a_crash_leaves_whole_pieces_and_nothing_else() {
    let mut bench = Bench::new();
    let id = bench.create(None);
    bench.append(id, 0, b"first piece").unwrap();
    let first = fs::metadata(bench.path(id)).unwrap().len() as usize;
    bench.append(id, 11, b"second").unwrap();
    let whole = fs::read(bench.path(id)).unwrap();
    for end in HEAD_BYTES..=whole.len() {
        for zeros in [0, 5, 100] {
            let mut torn = whole[..end].to_owned();
            torn.resize(end + zeros, 0);
            fs::write(bench.path(id), &torn).unwrap();
            bench.again();
            let expected = match end {
                end if end == whole.len() => 17,
                end if end >= first => 11,
                _ => 0,
            };
            let found = bench.uploads.show(id, at(0)).unwrap();
            assert_eq!(found.offset, expected, "cut off at {end}, {zeros} zeros");
            let rest = &b"first piecesecond and third"[expected as usize..];
            bench.append(id, expected, rest).unwrap();
            assert_eq!(bench.content(id).unwrap(), b"first piecesecond and third");
        }
    }
    // No head, no upload.
    fs::write(bench.path(id), &whole[..HEAD_BYTES - 1]).unwrap();
    fs::write(bench.dir.path().join("notes.upload"), b"mine").unwrap();
    bench.again();
    assert_eq!(bench.uploads.sum(), (0, 0));
    assert!(!bench.path(id).exists());
    assert!(bench.dir.path().join("notes.upload").exists());
}

#[test]
fn a_bit_that_turns_is_noticed() {
    let bench = Bench::new();
    let id = bench.create(None);
    bench.append(id, 0, b"abcdef").unwrap();
    let whole = fs::read(bench.path(id)).unwrap();
    for place in HEAD_BYTES..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        fs::write(bench.path(id), damaged).unwrap();
        let error = bench.content(id).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{place}");
    }
}

#[test]
fn all_bounds_are_named_and_leave_what_there_was() {
    let bench = Bench::new();
    let too_large = |error: UploadError, expected: (&str, u64, u64)| match error {
        UploadError::TooLarge { limit, got, max } => assert_eq!((limit, got, max), expected),
        other => panic!("{other}"),
    };
    let full = |error: UploadError, expected: &str| match error {
        UploadError::Full { limit, used, max } => {
            assert_eq!(limit, expected);
            assert!(used > max);
        }
        other => panic!("{other}"),
    };
    let create = |bytes| bench.uploads.create(plain(bytes), at(0));
    too_large(create(Some(4_001)).unwrap_err(), (NAME, 4_001, 4_000));
    let id = bench.create(None);
    let error = bench.append(id, 0, &[0; 4_001]).unwrap_err();
    too_large(error, (NAME, 4_001, 4_000));
    let short = bench.create(Some(3));
    let error = bench.append(short, 0, b"abcd").unwrap_err();
    too_large(error, ("Upload-Length", 4, 3));

    let third = bench.create(Some(4_000));
    full(create(None).unwrap_err(), "uploads.count_max");
    bench.uploads.remove(short, at(0)).unwrap();
    // 4,000 are announced, and the others have their heads.
    let second = bench.create(Some(3_990));
    let error = bench.append(id, 0, &[0; 2_000]).unwrap_err();
    full(error, "uploads.bytes_max");
    assert_eq!(bench.append(id, 0, &[1; 1_700]).unwrap(), 1_700);
    full(create(Some(4_000)).unwrap_err(), "uploads.count_max");
    bench.uploads.remove(second, at(0)).unwrap();
    // What has come counts where nothing was announced.
    assert_eq!(bench.append(id, 1_700, &[1; 1_000]).unwrap(), 2_700);
    full(create(Some(4_000)).unwrap_err(), "uploads.bytes_max");
    bench.uploads.remove(third, at(0)).unwrap();
    create(Some(4_000)).unwrap();
}

#[test]
fn nobody_adds_to_what_is_being_read_and_nobody_reads_what_is_being_written() {
    let bench = Bench::new();
    let id = bench.create(None);
    bench.append(id, 0, b"abc").unwrap();
    let (held, mut reader) = bench.reader(id).unwrap();
    let in_use =
        |error: UploadError| matches!(error, UploadError::InUse { upload } if upload == id);
    assert!(in_use(bench.append(id, 3, b"d").unwrap_err()));
    assert!(in_use(bench.uploads.remove(id, at(0)).unwrap_err()));
    assert!(in_use(bench.reader(id).err().unwrap()));
    assert_eq!(bench.uploads.sweep(at(1_000)), 0, "it is being read");
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"abc");
    drop(reader);
    assert!(in_use(bench.append(id, 3, b"d").unwrap_err()), "it is held");
    drop(held);
    assert_eq!(bench.append(id, 3, b"d").unwrap(), 4);
}

#[test]
fn one_to_which_nothing_comes_goes_after_its_time() {
    let bench = Bench::new();
    let [old, young] = [bench.create(None), bench.create(None)];
    bench.uploads.append(young, 0, b"abc", at(50)).unwrap();
    assert_eq!(bench.uploads.list(at(60)).len(), 2);
    // As good as gone before anybody has removed its file.
    let left = bench.uploads.list(at(61));
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [young]);
    let late = bench.uploads.append(old, 0, b"abc", at(61)).unwrap_err();
    assert!(matches!(late, UploadError::Unknown { upload } if upload == old));
    assert!(bench.path(old).exists());
    assert_eq!(bench.uploads.sweep(at(61)), 1);
    assert!(!bench.path(old).exists() && bench.path(young).exists());
}

/// After a restart, and while it runs: one bad file is told of and keeps no other back, and one
/// that somebody has removed keeps no place.
#[test]
fn a_file_that_is_bad_or_gone_is_its_own_upload_s_trouble_alone() {
    let mut bench = Bench::new();
    let [good, bad, gone] = [(); 3].map(|()| bench.create(None));
    bench.append(good, 0, b"abc").unwrap();
    bench.again();
    // Reading a directory fails, whoever reads it.
    fs::remove_file(bench.path(bad)).unwrap();
    fs::create_dir(bench.path(bad)).unwrap();
    fs::remove_file(bench.path(gone)).unwrap();
    let mut listed = bench.uploads.list(at(0));
    listed.sort_by_key(|upload| upload.unreadable.is_some());
    let found: Vec<_> = listed
        .iter()
        .map(|upload| (upload.id, upload.offset))
        .collect();
    assert_eq!(found, [(good, 3), (bad, 0)]);
    assert!(listed[0].unreadable.is_none() && listed[1].unreadable.is_some());
    assert_eq!(bench.uploads.sum().0, 2);

    fs::remove_file(bench.path(good)).unwrap();
    let late = bench.append(good, 3, b"d").unwrap_err();
    assert!(matches!(late, UploadError::Unknown { upload } if upload == good));
    assert_eq!(bench.uploads.sum().0, 1);
    let again = bench.create(None);
    fs::remove_file(bench.path(again)).unwrap();
    bench.uploads.remove(again, at(0)).unwrap();
    assert_eq!(bench.uploads.sum().0, 1);
}

#[test]
fn the_longest_idle_makes_room_for_a_new_one_and_no_other_does() {
    let bench = Bench::new();
    let [first, second, third] = [(); 3].map(|()| bench.create(None));
    let touch = |id, seconds| bench.uploads.append(id, 0, b"x", at(seconds)).unwrap();
    touch(first, 10);
    touch(third, 5);
    assert_eq!(bench.uploads.make_room(1, at(30)), 0, "none is idle yet");
    let held = bench.uploads.hold(second, at(36)).unwrap();
    assert_eq!(bench.uploads.make_room(1, at(36)), 1, "one is in use");
    drop(held);
    let left: Vec<_> = [first, second, third]
        .map(|id| bench.path(id).exists())
        .into();
    assert_eq!(left, [true, true, false]);
    assert_eq!(bench.uploads.make_room(1, at(50)), 0, "there is room");
    assert_eq!(
        bench.uploads.make_room(10_000, at(50)),
        2,
        "it needs all of it"
    );
}
