//! What the store writes, held against what it has always written: the bytes of each form lie in
//! a file of `tests/fixtures/golden/`, a line each, with a name. Used by the tests beside the
//! forms.
//!
//! With `CORELET_WRITE_FIXTURE` set, lines of forms that are new are added. One that is there
//! is never changed by that: data directories and copies hold such bytes, so other bytes need a
//! kind, number or version of their own.

mod forms;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Compares all forms of a file. Each has to be in the file, and each line of it has to
/// have its form.
#[track_caller]
pub(crate) fn check(file: &str, forms: &[(String, Vec<u8>)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/golden")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let line = |line: &str| {
        let (name, bytes) = line.split_once(": ").expect("a name and its bytes");
        (name.to_owned(), bytes.to_owned())
    };
    let mut kept: BTreeMap<String, String> = text.lines().map(line).collect();
    assert_eq!(kept.len(), text.lines().count(), "a name is there twice");
    let mut new = String::new();
    for (name, bytes) in forms {
        let bytes = hex(bytes);
        match kept.remove(name) {
            Some(kept) => assert_eq!(kept, bytes, "{name} has another form than it had"),
            None => writeln!(new, "{name}: {bytes}").unwrap(),
        }
    }
    let untold: Vec<_> = kept.keys().collect();
    assert!(untold.is_empty(), "kept, and not written: {untold:?}");
    if std::env::var_os("CORELET_WRITE_FIXTURE").is_some() {
        std::fs::write(&path, text + &new).unwrap();
        return;
    }
    assert!(
        new.is_empty(),
        "not kept in {} yet; CORELET_WRITE_FIXTURE=1 adds it:\n{new}",
        path.display()
    );
}

/// The numbers of a byte at which `is_known` says that a reader knows them.
pub(crate) fn known(is_known: impl Fn(u8) -> bool) -> Vec<u8> {
    (0..=u8::MAX).filter(|number| is_known(*number)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}
