//! Components for tests: the example applications, compiled from source, and
//! guests written by hand.

#![expect(
    clippy::disallowed_types,
    reason = "among the threads of one test program"
)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// Where the component of an example application lies; built first if `make`
/// has not done so.
///
/// # Panics
/// If it cannot be built.
pub fn component_path(app: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let out_dir = root().join("target/apps");
    let path = out_dir.join(format!("{app}.wasm"));
    let _one_at_a_time = BUILDING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !path.exists() {
        let toolchain = corelet_build::Toolchain::find()
            .expect("a toolchain for guests (scripts/guest-toolchain.sh)");
        let request = corelet_build::Request {
            dir: root().join("apps").join(app),
            out_dir: Some(out_dir),
            quiet: true,
        };
        corelet_build::build(&request, &toolchain).expect("the example applications compile");
    }
    path
}

/// The bytes of an example application's component.
///
/// # Panics
/// If it cannot be built or read.
pub fn component(app: &str) -> Vec<u8> {
    std::fs::read(component_path(app)).expect("the component was just built")
}

/// An application that takes its time; see `tests/guests/spin.wat`.
///
/// # Panics
/// If it cannot be assembled.
pub fn spinner() -> Vec<u8> {
    assembled(include_str!("../guests/spin.wat"))
}

/// An application that misbehaves; see `tests/guests/hostile.wat`.
///
/// # Panics
/// If it cannot be assembled.
pub fn hostile() -> Vec<u8> {
    assembled(include_str!("../guests/hostile.wat"))
}

/// An application that remembers what it has written; see
/// `tests/guests/caching.wat`.
///
/// # Panics
/// If it cannot be assembled.
pub fn caching() -> Vec<u8> {
    assembled(include_str!("../guests/caching.wat"))
}

/// An application whose every call writes many entries; see
/// `tests/guests/many.wat`.
///
/// # Panics
/// If it cannot be assembled.
pub fn many() -> Vec<u8> {
    assembled(include_str!("../guests/many.wat"))
}

fn assembled(text: &str) -> Vec<u8> {
    let module = wat::parse_str(text).expect("the guest assembles");
    let module = corelet_build::embed_world(&module).expect("the guest takes our world");
    corelet_build::component_of(&module).expect("the guest is an application")
}
