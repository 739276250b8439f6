//! Which compiler builds guests on this machine. Running it is in `compile.rs`;
//! installing it is the business of `scripts/guest-toolchain.sh`, which goes by
//! the same order.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::BuildError;

/// What guests are compiled for: a plain core module, made a component here.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// A way to compile guests that works on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The `cargo` in the path, whose compiler has the target's standard
    /// library (with rustup: `rustup target add wasm32-unknown-unknown`).
    Target,
    /// Debian's `rustc-web`, `cargo-web`, `rust-web-src` and `lld-14`, which
    /// build the standard library from source.
    Debian,
}

impl Toolchain {
    /// The first way that works, or the one that `CORELET_GUEST_TOOLCHAIN`
    /// (`rustup` or `debian`) names. Adds the target through rustup if rustup
    /// is there and only the target is missing.
    pub fn find() -> Result<Toolchain, BuildError> {
        let wanted = std::env::var("CORELET_GUEST_TOOLCHAIN").ok();
        match wanted.as_deref() {
            None | Some("") => match (target_is_there(), debian_is_there()) {
                (Ok(()), _) => Ok(Toolchain::Target),
                (_, Ok(())) => Ok(Toolchain::Debian),
                (Err(target), Err(debian)) => Err(BuildError::NoToolchain {
                    target: TARGET,
                    found: format!("{target}; {debian}"),
                }),
            },
            Some("rustup") => match target_is_there() {
                Ok(()) => Ok(Toolchain::Target),
                Err(found) => Err(BuildError::NoToolchain {
                    target: TARGET,
                    found,
                }),
            },
            Some("debian") => match debian_is_there() {
                Ok(()) => Ok(Toolchain::Debian),
                Err(found) => Err(BuildError::NoToolchain {
                    target: TARGET,
                    found,
                }),
            },
            Some(other) => Err(BuildError::UnknownToolchain {
                found: other.to_owned(),
            }),
        }
    }

    /// A cargo of this toolchain, without a subcommand yet.
    pub(crate) fn cargo(self) -> Command {
        let mut cargo = match self {
            Toolchain::Target => Command::new("cargo"),
            Toolchain::Debian => {
                let mut cargo = Command::new(DEBIAN_CARGO);
                cargo
                    .env("RUSTC", DEBIAN_RUSTC)
                    // Building std from source is an unstable option of cargo.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                    .env_remove("RUSTUP_TOOLCHAIN");
                cargo
            }
        };
        // Flags and wrappers meant for the machine itself do not fit guests,
        // and a cargo that runs us has set RUSTC for its own toolchain.
        cargo
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_BUILD_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET");
        if self == Toolchain::Target {
            cargo.env_remove("RUSTC");
        }
        cargo
    }

    /// What `cargo build` needs beyond the target.
    pub(crate) fn build_arguments(self) -> &'static [&'static str] {
        match self {
            Toolchain::Target => &[],
            // Without std's own features: backtraces, which a component has not.
            Toolchain::Debian => &["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="],
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Toolchain::Target => "the cargo in the path, with its wasm32-unknown-unknown target",
            Toolchain::Debian => "Debian's rustc-web, with the standard library from source",
        })
    }
}

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-14";

/// Whether the compiler in the path has the target's standard library.
fn target_is_there() -> Result<(), String> {
    let missing = format!("the rustc in the path has no {TARGET}");
    if target_library("rustc") {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match added {
        Ok(status) if status.success() && target_library("rustc") => Ok(()),
        Ok(_) => Err(format!("{missing}, and rustup cannot add it")),
        Err(_) => Err(format!("{missing}, and there is no rustup")),
    }
}

fn target_library(rustc: &str) -> bool {
    let Some(directory) = printed(rustc, &["--print", "target-libdir", "--target", TARGET]) else {
        return false;
    };
    // The directory is named whether it is there or not.
    let Ok(mut files) = std::fs::read_dir(directory) else {
        return false;
    };
    files.any(|file| {
        file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

/// Whether Debian's packages are all there.
fn debian_is_there() -> Result<(), String> {
    if !Path::new(DEBIAN_CARGO).exists() {
        return Err(format!("there is no {DEBIAN_CARGO} (package cargo-web)"));
    }
    let Some(sysroot) = printed(DEBIAN_RUSTC, &["--print", "sysroot"]) else {
        return Err(format!("there is no {DEBIAN_RUSTC} (package rustc-web)"));
    };
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !source.exists() {
        return Err(format!(
            "there is no {} (package rust-web-src)",
            source.display()
        ));
    }
    if printed(DEBIAN_LINKER, &["--version"]).is_none() {
        return Err(format!("there is no {DEBIAN_LINKER} (package lld-14)"));
    }
    Ok(())
}

/// What a program prints, without the newline; `None` if it cannot or fails.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end().to_owned())
}
