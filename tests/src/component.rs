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

/// An application that counts its calls where only its instance knows; see
/// `tests/guests/counting.wat`.
///
/// # Panics
/// If it cannot be assembled.
pub fn counting() -> Vec<u8> {
    counting_with("2", "")
}

/// The same as a component of exactly so many bytes, most of them data of little order, which
/// `seed` decides about.
///
/// # Panics
/// If it cannot be assembled, or is to be smaller than 1 MiB.
pub fn counting_of(bytes: usize, seed: u64) -> Vec<u8> {
    // Behind the pages that it has anyway; the rest of the bytes is around the data.
    const BEHIND: usize = 2 << 16;
    let data_bytes = bytes - 2 * BEHIND;
    let mut dice = seed | 1;
    let mut roll = || {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Nothing that a text would have to escape.
        char::from(b'0' + (dice >> 59) as u8)
    };
    let data: String = (0..data_bytes).map(|_| roll()).collect();
    let pages = (BEHIND + data_bytes).div_ceil(1 << 16);
    let data = format!("(data (i32.const {BEHIND}) \"{data}\")");
    let mut component = counting_with(&pages.to_string(), &data);
    // A custom section at the end: its number, its length in five bytes, its name.
    let content = bytes - component.len() - 6;
    component.push(0);
    component.extend((0..5).map(|at| {
        let last = if at < 4 { 0x80 } else { 0 };
        (content >> (7 * at)) as u8 & 0x7f | last
    }));
    component.extend_from_slice(b"\x03pad");
    component.resize(bytes, 0);
    component
}

fn counting_with(pages: &str, data: &str) -> Vec<u8> {
    let text = include_str!("../guests/counting.wat");
    assembled(&text.replace("{{pages}}", pages).replace("{{data}}", data))
}

fn assembled(text: &str) -> Vec<u8> {
    let module = wat::parse_str(text).expect("the guest assembles");
    let module = corelet_build::embed_world(&module).expect("the guest takes our world");
    corelet_build::component_of(&module).expect("the guest is an application")
}
