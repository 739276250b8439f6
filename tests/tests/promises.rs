//! SPECIFICATION.md tells the truth about itself: each test that it names is
//! there, and each default is the server's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// The rows of all tables: promise, figure, tests.
fn rows() -> Vec<[String; 3]> {
    let text = fs::read_to_string(root().join("SPECIFICATION.md")).expect("the page");
    let rows = text.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<_> = cells
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        <[String; 3]>::try_from(cells).ok()
    });
    rows.filter(|[promise, ..]| promise != "promise").collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of all functions that are tests, in all rooms.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root().to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" && name != "corelet-data" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let behind = text.split("#[test]").skip(1);
                let names = behind.filter_map(|text| text.split_once("fn ")?.1.split('(').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn every_promise_names_tests_that_exist_or_says_why_not() {
    let (rows, tests) = (rows(), tests());
    assert!(rows.len() > 20, "the tables were not understood");
    for [promise, _, shown_by] in rows {
        assert!(!shown_by.is_empty(), "nothing shows: {promise}");
        for test in quoted(&shown_by) {
            assert!(
                tests.contains(test),
                "there is no test {test} for: {promise}"
            );
        }
    }
}

#[test]
fn every_default_is_the_one_in_force() {
    let shown = Command::new(corelet_tests::binary())
        .args(["config", "reference"])
        .output()
        .expect("the binary starts");
    let reference = String::from_utf8(shown.stdout).expect("text");
    let mut compared = 0;
    for [promise, figure, _] in rows() {
        for figure in figure.split(", ").filter(|figure| !figure.is_empty()) {
            let (setting, default) = figure.split_once(" = ").expect("a setting and its default");
            let row = reference
                .lines()
                .find(|line| line.starts_with(&format!("| {setting} |")))
                .unwrap_or_else(|| panic!("there is no setting {setting} for: {promise}"));
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            assert_eq!(cells[3], default, "{setting}");
            compared += 1;
        }
    }
    assert!(compared > 10, "the figures were not understood");
}
