//! A new project, from `new_project` to a component: outside this workspace,
//! where none of its profiles and patches reach. Compiles an SDK of its own, so
//! it takes some twenty seconds.

use std::fs;
use std::path::Path;

use corelet_build::{BuildError, Request, SdkSource, Toolchain, build, new_project};

/// A project in a directory of its own, with the versions that this workspace
/// has locked.
fn project(parent: &Path, name: &str) -> std::path::PathBuf {
    let dir = parent.join(name);
    new_project(&dir, name, &SdkSource::nearest()).unwrap();
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::copy(lock, dir.join("Cargo.lock")).unwrap();
    dir
}

/// It builds as it was written; then it is spoiled in the ways that authors
/// spoil a project, and each time the error says what to do.
#[test]
fn a_new_project_becomes_a_component() {
    let parent = tempfile::tempdir().unwrap();
    let dir = project(parent.path(), "guest-book");
    let toolchain = Toolchain::find().unwrap();
    let mut request = Request::new(&dir);
    request.quiet = true;

    let built = build(&request, &toolchain).unwrap();
    assert_eq!(built.package, "guest-book");
    let target = dir.canonicalize().unwrap().join("target");
    assert_eq!(built.path, target.join("corelet/guest-book.wasm"));
    let component = fs::read(&built.path).unwrap();
    assert_eq!(component.len() as u64, built.bytes);
    assert_eq!(
        &component[..8],
        b"\0asm\x0d\0\x01\0",
        "a component, version 1"
    );
    let home = std::env::home_dir().unwrap();
    let home = home.to_str().unwrap().as_bytes();
    assert!(
        !component.windows(home.len()).any(|bytes| bytes == home),
        "the component does not tell where its author lives"
    );

    // The same source is the same application.
    let again = build(&request, &toolchain).unwrap();
    assert_eq!(fs::read(&again.path).unwrap(), component);

    let source = fs::read_to_string(dir.join("src/lib.rs")).unwrap();
    let hooks = "    #[inspect]
    pub fn look(&self, method: &str, args: &[u8]) -> Result<(), Error> {
        match method == \"sign\" && args.len() < 1000 {
            true => Ok(()),
            false => Err(Error::new(\"too_long\", \"a guest says it in a sentence\")),
        }
    }
    #[stop]
    pub fn close(&mut self) {
        self.signed.clear();
    }
    #[low_memory]
    pub fn shrink(&self) {}
    #[query]
";
    let hooked = source.replacen("    #[query]\n", hooks, 1);
    fs::write(dir.join("src/lib.rs"), hooked).unwrap();
    let built = build(&request, &toolchain).unwrap();
    let component = fs::read(&built.path).unwrap();
    for export in ["inspect", "stop", "low-memory"] {
        let export = export.as_bytes();
        let is_there = component.windows(export.len()).any(|bytes| bytes == export);
        assert!(is_there, "{}", String::from_utf8_lossy(export));
    }

    let unmarked = source
        .replace("#[corelet::methods]", "")
        .replace("    #[update]\n", "")
        .replace("    #[query]\n", "");
    let library_only = |manifest: &str| manifest.replace("\"cdylib\", ", "");
    fs::write(dir.join("src/lib.rs"), unmarked).unwrap();
    let error = build(&request, &toolchain).unwrap_err();
    assert!(
        matches!(
            error,
            BuildError::NotAComponent { .. } | BuildError::OtherWorld { .. }
        ),
        "{error}"
    );

    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    fs::write(dir.join("Cargo.toml"), library_only(&manifest)).unwrap();
    let error = build(&request, &toolchain).unwrap_err();
    assert!(matches!(error, BuildError::NoModule { .. }), "{error}");

    fs::write(dir.join("src/lib.rs"), "this is not Rust").unwrap();
    let error = build(&request, &toolchain).unwrap_err();
    assert!(matches!(error, BuildError::Compile { .. }), "{error}");
}

#[test]
fn a_directory_without_a_crate_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    for dir in [parent.path().to_owned(), parent.path().join("nowhere")] {
        let error = build(&Request::new(dir), &Toolchain::Target).unwrap_err();
        assert!(matches!(error, BuildError::NoCrate { .. }), "{error}");
    }
}
