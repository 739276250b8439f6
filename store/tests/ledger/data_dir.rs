//! The data directory: made, found again, locked, damaged.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use corelet_store::{DataDir, NodeId, OpenOptions, ShardCount, StoreError, write_atomically};

fn options(shards: u16) -> OpenOptions {
    OpenOptions {
        shards_if_new: ShardCount::new(shards).unwrap(),
        node_id_if_new: NodeId::from_bytes([4; 32]),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_directory_keeps_what_it_was_made_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/data");
    let made = DataDir::open(&path, &options(3)).unwrap();
    assert!(made.is_new());
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("manifest")), 0o600);
    for shard in made.manifest().shards.shards() {
        assert_eq!(mode(made.ledger_place(shard).dir()), 0o700);
    }
    assert_eq!(mode(&made.keys_dir()), 0o700);
    drop(made);
    let found = DataDir::open(&path, &options(7)).unwrap();
    assert!(!found.is_new());
    assert_eq!(found.manifest().shards.get(), 3);
    assert_eq!(found.manifest().node_id, NodeId::from_bytes([4; 32]));
}

#[test]
fn a_damaged_manifest_is_refused_by_name() {
    fn check(change: impl FnOnce(&Path), is_expected: fn(&StoreError) -> bool) {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), &options(1)).unwrap());
        change(&dir.path().join("manifest"));
        let error = DataDir::open(dir.path(), &options(1)).unwrap_err();
        assert!(is_expected(&error), "{error}");
    }
    fn edit(path: &Path, edit: impl FnOnce(String) -> String) {
        fs::write(path, edit(fs::read_to_string(path).unwrap())).unwrap();
    }
    let is_corrupt = |error: &StoreError| {
        matches!(
            error,
            StoreError::Corrupt {
                what: "manifest",
                ..
            }
        )
    };
    check(
        |path| edit(path, |text| text[..text.len() / 2].to_owned()),
        is_corrupt,
    );
    check(|path| edit(path, |_| String::new()), is_corrupt);
    check(
        |path| edit(path, |text| text.replace("shards = 1", "shards = 2")),
        is_corrupt,
    );
    check(
        |path| edit(path, |text| text.replace("format = 2", "format = 9")),
        |error| {
            matches!(
                error,
                StoreError::WrongFormat {
                    found: 9,
                    supported: 2,
                    ..
                }
            )
        },
    );
    let is_missing = |error: &StoreError| matches!(error, StoreError::ManifestMissing { .. });
    check(|path| fs::remove_file(path).unwrap(), is_missing);
    check(
        |path| {
            fs::remove_file(path).unwrap();
            fs::remove_dir_all(path.with_file_name("shards")).unwrap();
            fs::write(path.with_file_name("blobs").join("blob"), "").unwrap();
        },
        is_missing,
    );
}

#[test]
fn a_directory_open_in_another_process_is_refused_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "data_dir::hold_the_lock", "--nocapture"])
        .env("CORELET_TEST_HOLD", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));
    let error = DataDir::open(dir.path(), &options(1)).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == holder.id()),
        "{error}"
    );
    // Killed, it can tidy nothing up, and still the lock is free.
    holder.kill().unwrap();
    holder.wait().unwrap();
    DataDir::open(dir.path(), &options(1)).unwrap();
}

/// The lock names a process that has ended, but what that was about to start still has its
/// open file, and soon not any more.
#[test]
fn a_lock_that_a_killed_process_has_left_behind_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), &options(1)).unwrap());
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let path = dir.path().join("lock");
    fs::write(&path, format!("{}\n", gone.id())).unwrap();
    let left_behind = fs::File::open(&path).unwrap();
    rustix::fs::flock(&left_behind, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (began, begun) = std::sync::mpsc::channel();
    let opening = std::thread::Builder::new().spawn({
        let path = dir.path().to_owned();
        move || {
            began.send(()).unwrap();
            DataDir::open(path, &options(1)).map(drop)
        }
    });
    begun.recv().unwrap();
    drop(left_behind);
    opening.unwrap().join().unwrap().unwrap();
    // But not for ever.
    let left_behind = fs::File::open(&path).unwrap();
    rustix::fs::flock(&left_behind, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for pid in [gone.id(), std::process::id()] {
        fs::write(&path, format!("{pid}\n")).unwrap();
        let error = DataDir::open(dir.path(), &options(1)).unwrap_err();
        assert!(matches!(error, StoreError::Locked { pid: Some(found), .. } if found == pid));
    }
}

/// The other process of `a_directory_open_in_another_process_is_refused_with_its_number`; nothing by itself.
#[test]
fn hold_the_lock() {
    if let Some(path) = std::env::var_os("CORELET_TEST_HOLD") {
        let _held = DataDir::open(path, &options(1)).unwrap();
        println!("held");
        std::io::stdin().lines().for_each(drop);
    }
}

#[test]
fn an_atomic_write_replaces_even_what_a_crash_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(dir.path().join("file.new"), "half").unwrap();
    for content in ["first", "second"] {
        write_atomically(&path, content.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(mode(&path), 0o600);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
