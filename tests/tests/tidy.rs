//! The repository keeps its own rules: which room may use which, who may name
//! a foreign engine, that files say what they hold, that links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// All files below `dir` with one of these endings, without what is built or generated.
fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the repository") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if !["target", ".git", "corelet-data"].contains(&&*name) {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("a file of the repository")
        .display()
        .to_string()
}

fn manifest(room: &str) -> toml::Table {
    let path = root().join(room).join("Cargo.toml");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a crate uses when it runs; tests may use more.
fn dependencies(room: &str) -> BTreeSet<String> {
    manifest(room)["dependencies"]
        .as_table()
        .expect("dependencies are a table")
        .keys()
        .cloned()
        .collect()
}

/// The table "Rooms" of ARCHITECTURE.md: each room, and what it may use of ours.
fn rooms() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let (_, rooms) = page.split_once("\n## Rooms\n").expect("a chapter");
    let rows = rooms.lines().skip_while(|line| !line.starts_with("| ["));
    let rows = rows.take_while(|line| line.starts_with("| ["));
    let read = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (_, room) = cells[1].split_once("](").expect("a link");
        (room.trim_end_matches(')').to_owned(), cells[3].to_owned())
    };
    rows.map(read).collect()
}

/// The crates of a room, or the one crate, by directory. What is a workspace of its own
/// is none of ours.
fn crates(room: &str) -> Vec<String> {
    let manifests = files(&root().join(room), &["Cargo.toml"]);
    let is_ours = |path: &&PathBuf| {
        let text = fs::read_to_string(path).expect("a manifest");
        !text.lines().any(|line| line == "[workspace]")
    };
    let dirs = manifests.iter().filter(is_ours).map(|path| relative(path));
    let dirs = dirs.map(|path| path.trim_end_matches("/Cargo.toml").to_owned());
    dirs.collect()
}

fn workspace_members() -> BTreeSet<String> {
    let workspace = manifest("")["workspace"].clone();
    let members = workspace["members"].as_array().cloned();
    let members = members.expect("a list of members").into_iter();
    members
        .map(|member| member.as_str().expect("a directory").to_owned())
        .collect()
}

fn name(crate_dir: &str) -> String {
    let name = manifest(crate_dir)["package"]["name"]
        .as_str()
        .map(str::to_owned);
    name.expect("a package has a name")
}

#[test]
fn rooms_use_only_the_rooms_that_the_architecture_allows() {
    let rooms = rooms();
    let members = workspace_members();
    let housed: BTreeSet<String> = rooms.keys().flat_map(|room| crates(room)).collect();
    assert_eq!(housed, members, "every crate is in a room of the table");
    for (room, uses) in &rooms {
        let others: Vec<&str> = match uses.as_str() {
            "nothing" | "" => Vec::new(),
            "all of them" => rooms.keys().map(String::as_str).collect(),
            some => some.split(", ").collect(),
        };
        let others = others.into_iter().chain([room.as_str()]);
        let allowed: BTreeSet<String> = others.flat_map(crates).map(|dir| name(&dir)).collect();
        for dir in crates(room) {
            let ours = dependencies(&dir).into_iter();
            let ours: BTreeSet<String> = ours.filter(|name| name.starts_with("corelet-")).collect();
            assert!(
                ours.is_subset(&allowed),
                "{dir} uses {ours:?}, but may only use {allowed:?}"
            );
        }
    }
}

#[test]
fn foreign_engines_stay_in_one_room() {
    // bench holds what we are measured against: a plain server, and the engine without metering.
    for (engine, rooms) in [
        ("glommio", &["shard"][..]),
        ("wasmtime", &["wasm-host", "bench"]),
        ("heed", &["store", "bench"]),
    ] {
        for room in [
            "store",
            "wasm-host",
            "shard",
            "net",
            "server",
            "tests",
            "bench",
            "testkit",
            "sdk/rust",
            "sdk/build",
        ] {
            let names = dependencies(room);
            assert_eq!(
                names.contains(engine),
                rooms.contains(&room),
                "{room} and {engine}"
            );
        }
    }
    for path in files(&root().join("shard"), &[".rs"]) {
        let text = fs::read_to_string(&path).expect("a source file");
        let in_rt = relative(&path).starts_with("shard/src/rt/");
        assert!(
            in_rt || !text.contains("glommio::"),
            "{} names glommio",
            relative(&path)
        );
    }
}

#[test]
fn every_source_file_says_what_it_holds() {
    for path in files(root(), &[".rs"]) {
        let text = fs::read_to_string(&path).expect("a source file");
        let first = text
            .lines()
            .find(|line| !line.starts_with("#!"))
            .unwrap_or_default();
        let header = first.starts_with("//!") || relative(&path).ends_with("build.rs");
        assert!(header, "{} opens without a header", relative(&path));
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let homeless = ["util", "utils", "common", "helpers", "misc"].contains(&&*name);
        assert!(!homeless, "{} has no noun for a name", relative(&path));
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for path in files(root(), &[".md"]) {
        let text = fs::read_to_string(&path).expect("a document");
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let file = path
                .parent()
                .expect("a file lies in a directory")
                .join(target);
            assert!(
                file.exists(),
                "{} links to {target}, which is not there",
                relative(&path)
            );
        }
    }
}

#[test]
fn the_sample_configuration_is_one_that_the_server_takes() {
    let sample = root().join("deploy/corelet.toml");
    let data = tempfile::tempdir().expect("a directory");
    let check = std::process::Command::new(corelet_tests::binary())
        .args(["config", "check", "--config"])
        .arg(sample)
        .arg("--data-dir")
        .arg(data.path())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    for path in files(root(), &[".rs"]) {
        if relative(&path) == "tests/tests/tidy.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        for mark in ["todo!(", "unimplemented!(", "FIXME", "XXX"] {
            assert!(!text.contains(mark), "{} says {mark}", relative(&path));
        }
    }
}

/// clippy is silent about a banned path that names nothing, where it is told to
/// be; so each of those bans is broken once, in a place that clippy looks at.
#[test]
fn every_ban_that_may_name_nothing_is_shown_to_fire() {
    let bans = fs::read_to_string(root().join("clippy.toml")).expect("clippy.toml");
    let bans: toml::Table = bans.parse().expect("clippy.toml is TOML");
    let lists = ["disallowed-methods", "disallowed-types"].map(|list| bans[list].as_array());
    let unchecked = lists.into_iter().flatten().flatten().filter_map(|ban| {
        let is_unchecked = ban.get("allow-invalid")?.as_bool()?;
        ban["path"].as_str().filter(|_| is_unchecked)
    });
    let shown = ["shard/src/rt/bans.rs", "bench/src/bans.rs"]
        .map(|file| fs::read_to_string(root().join(file)).expect("a source file"))
        .concat();
    let mut count = 0;
    for path in unchecked {
        let (_, name) = path.rsplit_once("::").expect("a path");
        let is_used = [".", "::"]
            .iter()
            .any(|before| shown.contains(&format!("{before}{name}(")));
        assert!(is_used, "nothing shows that the ban on {path} fires");
        count += 1;
    }
    assert!(count > 0, "clippy.toml was not understood");
    let expected = shown.matches("reason = \"shows the ban\"").count();
    assert_eq!(expected, count, "one expectation for each ban");
}
