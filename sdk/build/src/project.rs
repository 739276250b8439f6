//! A first application to start from: what `corelet app new` writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where a new project takes the SDK from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdkSource {
    /// A directory with the SDK's source.
    Path(PathBuf),
    /// A published version.
    Version(String),
}

impl SdkSource {
    /// The source that this library was built beside, if it is still there;
    /// the published version of the same number if not.
    pub fn nearest() -> SdkSource {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rust");
        match beside.canonicalize() {
            Ok(path) if path.join("Cargo.toml").is_file() => SdkSource::Path(path),
            _ => SdkSource::Version(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    fn dependency(&self) -> String {
        match self {
            SdkSource::Path(path) => at(path),
            SdkSource::Version(version) => format!("\"{version}\""),
        }
    }

    /// Where the crate is that tests an application on several nodes: beside the SDK, if it is there.
    fn testkit(&self) -> Option<String> {
        match self {
            SdkSource::Path(path) => {
                let beside = path.join("../../testkit").canonicalize().ok()?;
                beside.join("Cargo.toml").is_file().then(|| at(&beside))
            }
            SdkSource::Version(version) => Some(format!("\"{version}\"")),
        }
    }
}

fn at(path: &Path) -> String {
    // Debug writes quotes and escapes as TOML does for paths.
    format!("{{ path = {:?} }}", path.display().to_string())
}

/// Why no project was made.
#[derive(Debug, Error)]
pub enum NewProjectError {
    /// Cargo would not take the name.
    #[error(
        "`{name}` cannot be the name of an application: use up to 64 of a-z, 0-9 and -, \
         beginning with a letter, and no word that Rust reserves"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is something already.
    #[error("{} exists already; choose another name or directory", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Writes a minimal application with tests into the new directory `dir`: one on several nodes among
/// them, if it is known where the crate for that is.
///
/// Without a `Cargo.lock`: that is the project's own, written by its first build
/// with the versions of that day and not ignored by its `.gitignore`. A lock from
/// here would hold every new project to the versions that this release was
/// made with, and go stale with them.
pub fn new_project(dir: &Path, name: &str, sdk: &SdkSource) -> Result<(), NewProjectError> {
    check_name(name)?;
    if dir.exists() {
        return Err(NewProjectError::Exists {
            dir: dir.to_owned(),
        });
    }
    let mut files = vec![
        ("Cargo.toml", manifest(name, sdk)),
        ("src/lib.rs", source(name)),
        (".gitignore", "/target/\n".to_owned()),
    ];
    if sdk.testkit().is_some() {
        files.push(("tests/nodes.rs", test_of_nodes(name)));
    }
    for (file, text) in files {
        let path = dir.join(file);
        let parent = path.parent().expect("each file lies in the directory");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| NewProjectError::Write {
                path: path.clone(),
                source,
            })?;
    }
    Ok(())
}

const NAME_BYTES_MAX: usize = 64;

/// Names that a crate cannot have although they are spelled right.
const RESERVED: [&str; 45] = [
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue",
    "core", "crate", "do", "dyn", "else", "enum", "extern", "final", "fn", "for", "gen", "if",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "pub", "ref", "return",
    "self", "static", "std", "struct", "super", "test", "trait", "type", "use", "where", "while",
];

fn check_name(name: &str) -> Result<(), NewProjectError> {
    let spelled_right = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|char: char| char.is_ascii_lowercase())
        && name
            .chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-');
    if spelled_right && !RESERVED.contains(&name) {
        return Ok(());
    }
    Err(NewProjectError::Name {
        name: name.to_owned(),
    })
}

/// `order-book` as `OrderBook`.
fn struct_name(name: &str) -> String {
    let mut camel = String::new();
    for word in name.split('-') {
        let mut chars = word.chars();
        camel.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        camel.extend(chars);
    }
    camel
}

fn manifest(name: &str, sdk: &SdkSource) -> String {
    let for_tests = sdk.testkit().map(|testkit| {
        format!(
            "
[dev-dependencies]
corelet-testkit = {testkit}
"
        )
    });
    let for_tests = for_tests.unwrap_or_default();
    let sdk = sdk.dependency();
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
# The component, and a library for the tests.
crate-type = ["cdylib", "rlib"]

[dependencies]
corelet-sdk = {sdk}
serde = {{ version = "1", features = ["derive"] }}
{for_tests}
# A project of its own, wherever its directory stands.
[workspace]
"#
    )
}

fn source(name: &str) -> String {
    let app = struct_name(name);
    format!(
        r#"//! A guest book: a first application to change into your own.
//!
//! Build it with `corelet app build`, test it with `cargo test`.

use corelet_sdk::prelude::*;

/// The application: doors to the context's durable state.
#[corelet::application]
pub struct {app} {{
    greetings: Map<String, String>,
    signed: Counter,
}}

#[corelet::methods]
impl {app} {{
    /// Signs the book and returns how often that was done so far.
    #[update]
    pub fn sign(&mut self, name: String, greeting: String) -> Result<i64, Error> {{
        if name.is_empty() {{
            return Err(Error::new("nameless", "a guest has a name"));
        }}
        self.greetings.set(&name, &greeting);
        events::emit("signed", &name);
        Ok(self.signed.add(1))
    }}

    /// What `name` wrote last, or null.
    #[query]
    pub fn greeting(&self, name: &str) -> Option<String> {{
        self.greetings.get(name)
    }}

    /// How often the book was signed, on whatever nodes.
    #[query]
    pub fn signed(&self) -> i64 {{
        self.signed.get()
    }}
}}

#[cfg(test)]
mod tests {{
    use super::*;
    use corelet_sdk::testing::Context;

    #[test]
    fn guests_sign() {{
        let mut book = Context::<{app}>::new();
        let signed = book.update("sign", json!({{ "name": "Ada", "greeting": "Hello" }}));
        assert_eq!(signed.unwrap(), 1);
        let greeting = book.query("greeting", json!({{ "name": "Ada" }}));
        assert_eq!(greeting.unwrap(), "Hello");
    }}

    #[test]
    fn a_refusal_leaves_no_trace() {{
        let mut book = Context::<{app}>::new();
        let refused = book.update("sign", json!({{ "name": "", "greeting": "?" }}));
        assert_eq!(refused.unwrap_err().code(), Some("nameless"));
        assert!(book.entries().is_empty() && book.events().is_empty());
    }}
}}
"#
    )
}

fn test_of_nodes(name: &str) -> String {
    let (library, app) = (name.replace('-', "_"), struct_name(name));
    format!(
        r#"//! The guest book on several nodes, which write at once.

use corelet_sdk::prelude::*;
use corelet_testkit::Replicas;
use {library}::{app};

#[test]
fn whoever_signs_at_once_is_counted() {{
    let mut nodes = Replicas::<{app}>::new(2);
    for (node, name) in nodes.iter_mut().zip(["Ada", "Bob"]) {{
        let signed = node.update("sign", json!({{ "name": name, "greeting": "Hello" }}));
        assert_eq!(signed.unwrap(), 1);
    }}
    nodes.sync();
    assert_eq!(nodes.all_answer("signed", json!({{}})), 2);
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, allowed: bool) {
        assert_eq!(check_name(name).is_ok(), allowed, "{name}");
    }

    #[test]
    fn names_are_what_cargo_takes() {
        check("order-book", true);
        check("a", true);
        check("v2", true);
        check("", false);
        check("2nd", false);
        check("Order", false);
        check("order_book", false);
        check("../up", false);
        check("type", false);
        check(&"a".repeat(NAME_BYTES_MAX + 1), false);
    }

    #[test]
    fn structs_are_named_after_projects() {
        assert_eq!(struct_name("order-book"), "OrderBook");
        assert_eq!(struct_name("kv"), "Kv");
        assert_eq!(struct_name("a--b2"), "AB2");
    }

    /// Without the crate for it there is no test of nodes, and the project builds all the same.
    #[test]
    fn a_project_tests_nodes_where_the_crate_for_that_is() {
        let dir = tempfile::tempdir().unwrap();
        let lonely = SdkSource::Path(dir.path().join("sdk/rust"));
        fs::create_dir_all(dir.path().join("sdk/rust")).unwrap();
        for (name, sdk, is_there) in [
            ("beside", SdkSource::nearest(), true),
            ("alone", lonely, false),
        ] {
            let project = dir.path().join(name);
            new_project(&project, name, &sdk).unwrap();
            assert_eq!(project.join("tests/nodes.rs").is_file(), is_there);
            let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
            assert_eq!(manifest.contains("corelet-testkit = {"), is_there);
        }
    }

    #[test]
    fn a_project_does_not_overwrite_anything() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("book");
        let sdk = SdkSource::Version("0.1.0".to_owned());
        new_project(&project, "book", &sdk).unwrap();
        assert!(project.join("src/lib.rs").is_file());
        let again = new_project(&project, "book", &sdk);
        assert!(matches!(again, Err(NewProjectError::Exists { .. })));
    }
}
