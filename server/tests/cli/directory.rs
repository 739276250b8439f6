//! Whose a data directory is: one that others can write, another user's, and one whose key is
//! gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binary::{Server, document, fails, kv, ok, run};

/// What others can write, neither the server nor its clients believe.
#[test]
fn a_data_directory_that_others_can_write_is_refused_by_server_and_clients() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(&data).unwrap();
    mode(&data, 0o777);
    let advice = format!("run chmod go-w {}", data.display());
    fails(
        &data,
        &["serve", "--listen", "127.0.0.1:0", "--shards", "1"],
        1,
        &advice,
    );
    let output = run(&data, &["doctor"]);
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(found.contains(&advice), "{found}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made");
    mode(&data, 0o700);
    let server = Server::start(&data, &[&kv()]);
    ok(&data, &["status"]);
    for (path, open, closed) in [
        (data.clone(), 0o777, 0o700),
        (data.join("server.json"), 0o666, 0o600),
        (data.join("keys"), 0o720, 0o700),
    ] {
        mode(&path, open);
        let advice = format!("run chmod go-w {}", path.display());
        fails(&data, &["status"], 1, &advice);
        mode(&path, closed);
    }
    ok(&data, &["status"]);
    assert_eq!(server.interrupt(), Some(0));
}

/// A server that was started as the wrong user leaves nothing of its own.
#[test]
fn nothing_is_made_in_another_user_s_directory() {
    // Only root can give a directory away, and write into it all the same.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(1), None).unwrap();
    fails(
        &data,
        &["serve", "--listen", "127.0.0.1:0", "--shards", "1"],
        1,
        "belongs to user 1",
    );
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made");

    // Nor is anything of it exchanged for what its owner could not read.
    let data = dir.path().join("whole");
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
    let file = dir.path().join("copy");
    fs::write(&file, "of a context").unwrap();
    std::os::unix::fs::chown(&data, Some(1), None).unwrap();
    let file = file.to_str().unwrap();
    for args in [
        &["reshard", "--shards", "2"][..],
        &["context", "import", file],
    ] {
        let before = everything_in(&data);
        fails(&data, args, 1, "belongs to user 1");
        assert_eq!(everything_in(&data), before, "{args:?}");
    }
}

/// Every file below a directory, with what is in it.
fn everything_in(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => {
                found.extend(everything_in(&path));
                found.push((path, Vec::new()));
            }
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

/// A restored directory waits for its key, and one may be lost: a key that was made for it would
/// be another node's.
#[test]
fn no_key_is_made_for_data_that_belongs_to_one() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
    let key = data.join("keys/node.key");
    let (kept, manifest) = (fs::read(&key).unwrap(), data.join("manifest"));
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    fs::remove_file(&key).unwrap();
    let before = everything_in(&data);
    fails(&data, &serve, 1, "there is no key in");
    fails(&data, &serve, 1, "put the directory keys of that node back");
    assert!(everything_in(&data) == before, "it is as it was");
    assert_eq!(document(&data, &["check"])["whole"], true);

    // Nor where it cannot be told whose the data is.
    let said = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    fails(&data, &serve, 1, "restore the manifest");
    fs::write(&manifest, &said[1..]).unwrap();
    fails(&data, &serve, 1, "manifest");
    fs::write(&manifest, said).unwrap();
    fs::remove_file(data.join("keys/token")).unwrap();
    fs::remove_dir(data.join("keys")).unwrap();
    fails(&data, &serve, 1, "there is no key in");
    assert!(!data.join("keys").exists());

    fs::create_dir(data.join("keys")).unwrap();
    fs::set_permissions(data.join("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
}

/// Where a restore was killed there is nothing, and a server would begin with that as if there
/// had never been anything.
#[test]
fn no_server_begins_with_nothing_where_a_restore_was_cut_short() {
    let dir = TempDir::new().unwrap();
    let (data, beside) = (dir.path().join("data"), dir.path().join("data.restoring"));
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    fs::create_dir(&beside).unwrap();
    fails(&data, &serve, 1, "was cut short");
    let remove = format!("remove {}", beside.display());
    fails(&data, &serve, 1, &remove);
    fails(&data, &["dev", "--listen", "127.0.0.1:0"], 1, &remove);
    assert!(!data.exists(), "nothing was made");
    let doctor = run(&data, &["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(&remove));
    // An empty directory, a place below it and a link are the same place.
    fs::create_dir(&data).unwrap();
    fails(&data, &serve, 1, &remove);
    fails(&data.join("."), &serve, 1, &remove);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    fails(&link, &serve, 1, &remove);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);

    fs::remove_dir(&beside).unwrap();
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
    // Where there is data, what lies beside it is somebody else's.
    fs::create_dir(&beside).unwrap();
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
}
