//! Compiled modules on disk: used only if they are ours, whole and current.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use corelet_wasm_host::{Host, HostConfig, LoadSource};

use crate::state::MapState;
use crate::{finish, guest, host_with_cache, output, query};

const KEY: u8 = 1;

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Loads `echo` in a new host, as a restart would, and checks that it works.
fn load_again(dir: &Path, key: u8) -> (LoadSource, Host) {
    let host = host_with_cache(dir, key);
    let report = host.load_with_report(&guest::component("echo")).unwrap();
    let turn = query("[1]", MapState::default());
    assert_eq!(
        output(&finish(report.module.instantiate().unwrap().run(turn))),
        "[1]"
    );
    (report.source, host)
}

/// A cache with `echo` in it, and its file.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (source, _) = load_again(dir.path(), KEY);
    assert_eq!(source, LoadSource::Compiler);
    let [file] = files(dir.path()).try_into().unwrap();
    (dir, file)
}

/// The file is ignored, counted, and replaced by a good one.
fn check_rejected(dir: &Path, key: u8, what: &str) {
    let (source, host) = load_again(dir, key);
    assert_eq!(source, LoadSource::Compiler, "{what}");
    let stats = host.stats();
    assert_eq!(
        (stats.cache_rejects, stats.cache_hits, stats.compiles),
        (1, 0, 1),
        "{what}"
    );
    assert_eq!(files(dir).len(), 1, "{what}");
    assert_eq!(
        load_again(dir, key).0,
        LoadSource::Disk,
        "{what}: not replaced"
    );
}

#[test]
fn a_restart_finds_what_was_compiled() {
    let (dir, file) = filled();
    let (source, host) = load_again(dir.path(), KEY);
    assert_eq!(source, LoadSource::Disk);
    let stats = host.stats();
    assert_eq!((stats.cache_hits, stats.compiles), (1, 0));
    assert_eq!(
        fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn no_flipped_byte_is_ever_executed() {
    let (dir, file) = filled();
    let good = fs::read(&file).unwrap();
    // Each field of the header, and places all over the code.
    let header = [0, 8, 12, 20, 52, 84, 116];
    let code = (0..20).map(|step| 116 + step * (good.len() - 117) / 19);
    for at in header.into_iter().chain(code) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        check_rejected(dir.path(), KEY, &format!("byte {at}"));
    }
}

#[test]
fn cut_off_and_lengthened_files_are_replaced() {
    let (dir, file) = filled();
    let good = fs::read(&file).unwrap();
    for length in [0, 1, 115, 116, 117, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        check_rejected(dir.path(), KEY, &format!("cut off at {length}"));
    }
    fs::write(&file, [&good[..], b"x"].concat()).unwrap();
    check_rejected(dir.path(), KEY, "lengthened");
}

#[test]
fn files_of_another_node_format_or_module_are_replaced() {
    let (dir, file) = filled();
    check_rejected(dir.path(), KEY + 1, "another key");

    let mut bytes = fs::read(&file).unwrap();
    bytes[8] += 1;
    fs::write(&file, bytes).unwrap();
    check_rejected(dir.path(), KEY + 1, "another format version");

    // A good file under another module's name.
    let host = host_with_cache(dir.path(), KEY + 1);
    host.load(&guest::component("statics")).unwrap();
    let other = files(dir.path())
        .into_iter()
        .find(|path| *path != file)
        .unwrap();
    fs::rename(other, &file).unwrap();
    check_rejected(dir.path(), KEY + 1, "another module");
}

#[test]
fn other_limits_of_shape_mean_another_look() {
    let (dir, _) = filled();
    let mut config = HostConfig {
        cache_dir: Some(dir.path().to_owned()),
        cache_key: [KEY; 32],
        ..HostConfig::new(4)
    };
    config.limits.functions_max = 10;
    let host = Host::new(config).unwrap();
    let text = host
        .load(&guest::component("echo"))
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("functions_max exceeded"), "{text}");
}

#[test]
fn the_least_recently_used_files_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let (_first, file) = filled();
    let bytes = fs::metadata(file).unwrap().len();
    let mut config = HostConfig {
        cache_dir: Some(dir.path().to_owned()),
        ..HostConfig::new(4)
    };
    // Room for two and a half.
    config.limits.cache_bytes_max = bytes * 5 / 2;
    for name in ["echo", "statics", "divide", "get_set"] {
        let host = Host::new(config.clone()).unwrap();
        let report = host.load_with_report(&guest::component(name)).unwrap();
        assert_eq!(report.source, LoadSource::Compiler, "{name}");
        let total: u64 = files(dir.path())
            .iter()
            .map(|f| fs::metadata(f).unwrap().len())
            .sum();
        assert!(total <= config.limits.cache_bytes_max, "{name}: {total}");
    }
    let host = Host::new(config).unwrap();
    for (name, expected) in [
        ("get_set", LoadSource::Disk),
        ("echo", LoadSource::Compiler),
    ] {
        let report = host.load_with_report(&guest::component(name)).unwrap();
        assert_eq!(report.source, expected, "{name}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_only_costs_time() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with_cache(dir.path(), KEY);
    fs::remove_dir_all(dir.path()).unwrap();
    fs::write(dir.path(), b"a file where the directory was").unwrap();
    host.load(&guest::component("echo")).unwrap();
    assert_eq!(host.stats().cache_write_failures, 1);
    fs::remove_file(dir.path()).unwrap();
    fs::create_dir(dir.path()).unwrap();
}

/// The directory may hold more than our files; what a crash has left half
/// written is ours, and goes first.
#[test]
fn making_room_touches_no_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("notes.txt");
    fs::write(&foreign, vec![0; 1 << 20]).unwrap();
    fs::write(dir.path().join("half.1.1.writing"), vec![0; 1 << 20]).unwrap();
    let mut config = HostConfig {
        cache_dir: Some(dir.path().to_owned()),
        ..HostConfig::new(4)
    };
    config.limits.cache_bytes_max = 1 << 20;
    let host = Host::new(config).unwrap();
    host.load(&guest::component("echo")).unwrap();
    assert_eq!(host.stats().cache_evictions, 1);
    assert_eq!(files(dir.path()).len(), 2);
    assert!(foreign.exists());
}
