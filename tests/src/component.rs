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

/// A version of `tests/guests/upgradable.wat`.
#[derive(Debug, Clone)]
pub struct Upgradable {
    /// What its updates write.
    pub letter: char,
    /// The name of the update that it alone has: four bytes, and of none of the others the first.
    pub own: &'static str,
    /// Whether `turn` is its update and `flip` its query; else it is the other way round.
    pub turned: bool,
    /// The form of its state; none if it does not say.
    pub schema_version: Option<u64>,
    /// The hooks that it has, by the names of their exports.
    pub hooks: Vec<(&'static str, Doing)>,
}

/// What a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It writes its letter: `b`, `m`, `a` or `s`.
    Writes,
    /// It does, and then says no.
    SaysNo,
    /// It does, and then traps.
    Traps,
    /// It does, and then never returns.
    Loops,
    /// It does so ten times.
    Floods,
    /// It writes two thousand bytes at once.
    Heaps,
    /// Of `inspect`: it refuses arguments of more than 3000 bytes, and takes longer the more there are.
    Looks,
}

impl Upgradable {
    /// The component.
    ///
    /// # Panics
    /// If it cannot be assembled.
    pub fn component(&self) -> Vec<u8> {
        let mut worlds = vec!["application-with-handlers"];
        let mut hooks = String::new();
        if let Some(version) = self.schema_version {
            worlds.push("with-schema-version");
            hooks.push_str(&format!(
                "(func (export \"schema-version\") (result i64) (i64.const {version}))\n"
            ));
        }
        for (name, doing) in &self.hooks {
            let (world, takes, letter) = match *name {
                "migrate" => ("with-migrate", "(param i64)", 57),
                "before-upgrade" => ("with-before-upgrade", "", 56),
                "after-upgrade" => ("with-after-upgrade", "", 58),
                "stop" => ("with-stop", "", 60),
                "inspect" => (
                    "with-inspect",
                    "(param i32 i32 i32) (param $length i32)",
                    58,
                ),
                name => panic!("there is no hook {name:?}"),
            };
            worlds.push(world);
            let write = format!("(call $write (i32.const {letter}))");
            let then = match doing {
                Doing::Writes => "(i32.const 320)".to_owned(),
                Doing::SaysNo => "(i32.const 272)".to_owned(),
                Doing::Traps => "unreachable".to_owned(),
                Doing::Loops => "(loop $for_ever (br $for_ever)) unreachable".to_owned(),
                Doing::Floods => format!("{} (i32.const 320)", write.repeat(9)),
                Doing::Heaps => "(call $text-append (i32.const 0) (i32.const 56) (i32.const 1)
                        (i32.const 4096) (i32.const 2000))
                      (i32.const 320)"
                    .to_owned(),
                Doing::Looks => {
                    hooks.push_str(&format!(
                        "(func (export \"{name}\") {takes} (result i32)
                           (call $run (i32.mul (local.get $length) (i32.const 20)))
                           (select (i32.const 272) (i32.const 320)
                             (i32.gt_u (local.get $length) (i32.const 3000))))\n"
                    ));
                    continue;
                }
            };
            hooks.push_str(&format!(
                "(func (export \"{name}\") {takes} (result i32)\n    (call $write (i32.const {letter})) {then})\n"
            ));
        }
        let [turn, flip] = match self.turned {
            true => ["1", "0"],
            false => ["0", "1"],
        };
        let text = include_str!("../guests/upgradable.wat")
            .replace("{{letter}}", &self.letter.to_string())
            .replace("{{own}}", self.own)
            .replace("{{turn}}", turn)
            .replace("{{flip}}", flip)
            .replace("{{hooks}}", &hooks);
        assembled_with(&text, &worlds)
    }
}

fn assembled(text: &str) -> Vec<u8> {
    assembled_with(text, &["application"])
}

fn assembled_with(text: &str, worlds: &[&str]) -> Vec<u8> {
    let module = wat::parse_str(text).expect("the guest assembles");
    let module = corelet_build::embed_worlds(&module, worlds).expect("the guest takes our worlds");
    corelet_build::component_of(&module).expect("the guest is an application")
}
