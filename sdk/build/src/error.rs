//! Why a build failed, by what can be done about it.

use std::path::PathBuf;

use thiserror::Error;

/// Why an application was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The machine cannot compile guests yet.
    #[error(
        "no compiler for the target {target} was found: {found}; run scripts/guest-toolchain.sh, \
         or `rustup target add {target}`"
    )]
    NoToolchain {
        /// The target that is missing.
        target: &'static str,
        /// What was looked at.
        found: String,
    },
    /// `CORELET_GUEST_TOOLCHAIN` names something else.
    #[error("CORELET_GUEST_TOOLCHAIN is `{found}`; expected `rustup` or `debian`")]
    UnknownToolchain {
        /// Its value.
        found: String,
    },
    /// The directory holds no crate.
    #[error("{} is not the directory of a crate: it has no Cargo.toml", dir.display())]
    NoCrate {
        /// The directory.
        dir: PathBuf,
    },
    /// Cargo could not be started, or its output not be read.
    #[error("cannot run {program}")]
    RunCargo {
        /// What was run.
        program: String,
        /// Why it could not.
        source: std::io::Error,
    },
    /// Cargo refused the crate, or it does not compile; cargo has said why.
    #[error("{package} does not compile; cargo's messages above say why")]
    Compile {
        /// The package, or its directory where that is not known.
        package: String,
    },
    /// Cargo's output is not what we know.
    #[error("the output of `{command}` cannot be read: {reason}")]
    UnreadableOutput {
        /// What was run.
        command: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The crate compiles, but to no module.
    #[error(
        "{package} makes no module: add `crate-type = [\"cdylib\", \"rlib\"]` to [lib] in its \
         Cargo.toml"
    )]
    NoModule {
        /// The package.
        package: String,
    },
    /// The module cannot be read back.
    #[error("cannot read the module {}", path.display())]
    ReadModule {
        /// The module.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The module is no application: most likely no `#[corelet::methods]`.
    #[error(
        "the module does not make a component: {reason}; an application has a struct marked \
         `#[corelet::application]` and an impl block marked `#[corelet::methods]`"
    )]
    NotAComponent {
        /// What the encoder says.
        reason: String,
    },
    /// The component is of another world, or of another version of ours.
    #[error("the component does not fit the world corelet:app/application: {reason}")]
    OtherWorld {
        /// What the check says.
        reason: String,
    },
    /// The component cannot be written.
    #[error("cannot write the component {}", path.display())]
    WriteComponent {
        /// The component.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
