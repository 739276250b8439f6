//! From a crate to a core module: runs cargo. Which one is in `toolchain.rs`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::toolchain::TARGET;
use crate::{BuildError, Request, Toolchain};

/// How guests are compiled, wherever their crate stands. Said here and not in
/// a manifest, because the profiles of a dependency or of somebody else's
/// workspace do not reach an application. The figures are in
/// `decisions/0001-guest-profile.md`.
const PROFILE: [&str; 7] = [
    "profile.release.opt-level=3",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=true",
    "profile.release.debug=false",
    "profile.release.overflow-checks=true",
];

/// A compiled crate.
pub(crate) struct Compiled {
    pub(crate) package: String,
    /// The name of the crate's directory.
    pub(crate) name: String,
    pub(crate) module: PathBuf,
    pub(crate) target_dir: PathBuf,
}

/// Compiles the crate to a module.
pub(crate) fn compile(request: &Request, toolchain: &Toolchain) -> Result<Compiled, BuildError> {
    let no_crate = || BuildError::NoCrate {
        dir: request.dir.clone(),
    };
    let dir = request.dir.canonicalize().map_err(|_| no_crate())?;
    let manifest = dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(no_crate());
    }
    let metadata = metadata(*toolchain, &manifest)?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.manifest_path == manifest)
        .map(|package| package.name.clone())
        .ok_or_else(no_crate)?;
    let module = run(request, *toolchain, &manifest, &package)?;
    let name = dir.file_name().map_or_else(
        || package.clone(),
        |name| name.to_string_lossy().into_owned(),
    );
    Ok(Compiled {
        package,
        name,
        module,
        target_dir: metadata.target_directory,
    })
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

fn metadata(toolchain: Toolchain, manifest: &Path) -> Result<Metadata, BuildError> {
    let mut cargo = toolchain.cargo();
    cargo
        .args(["metadata", "--format-version=1", "--no-deps"])
        .arg("--manifest-path")
        .arg(manifest)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = cargo
        .output()
        .map_err(|source| cannot_run(&cargo, source))?;
    if !output.status.success() {
        return Err(BuildError::Compile {
            package: manifest.display().to_string(),
        });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| BuildError::UnreadableOutput {
        command: "cargo metadata",
        reason: error.to_string(),
    })
}

/// One line of cargo's messages; of most we only read the reason.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Runs `cargo build` and returns the module that it made.
fn run(
    request: &Request,
    toolchain: Toolchain,
    manifest: &Path,
    package: &str,
) -> Result<PathBuf, BuildError> {
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--release", "--lib", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .args(toolchain.build_arguments())
        .arg("--manifest-path")
        .arg(manifest)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags().join("\u{1f}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    if request.quiet {
        cargo.arg("--quiet");
    }
    let mut child = cargo.spawn().map_err(|source| cannot_run(&cargo, source))?;
    let stdout = child.stdout.take().expect("stdout was asked to be piped");
    let mut module = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|source| cannot_run(&cargo, source))?;
        // Lines of other shapes are what build scripts print.
        let Ok(message) = serde_json::from_str::<Message>(&line) else {
            continue;
        };
        if message.reason == "compiler-artifact"
            && message.manifest_path.as_deref() == Some(manifest)
        {
            let is_module = |file: &PathBuf| file.extension().is_some_and(|it| it == "wasm");
            module = message.filenames.into_iter().find(is_module).or(module);
        }
    }
    let status = child.wait().map_err(|source| cannot_run(&cargo, source))?;
    if !status.success() {
        return Err(BuildError::Compile {
            package: package.to_owned(),
        });
    }
    module.ok_or_else(|| BuildError::NoModule {
        package: package.to_owned(),
    })
}

/// Keeps the author's home directory out of the component, which holds the
/// places of possible panics, so that two machines build the same bytes.
fn rustflags() -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    match cargo_home {
        Some(home) => vec![format!("--remap-path-prefix={}=cargo", home.display())],
        None => Vec::new(),
    }
}

fn cannot_run(cargo: &Command, source: std::io::Error) -> BuildError {
    BuildError::RunCargo {
        program: cargo.get_program().to_string_lossy().into_owned(),
        source,
    }
}
