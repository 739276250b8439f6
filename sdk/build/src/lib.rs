//! Builds an application crate into a component, and makes new ones.
//!
//! What lives here: finding a compiler that can build guests (`toolchain.rs`),
//! running it (`compile.rs`), making the module a component of our world
//! (`component.rs`), and a first crate to start from (`project.rs`). Installing
//! a missing toolchain is left to `scripts/guest-toolchain.sh`, and installing
//! applications on a server to the `corelet` binary. Everything here blocks for
//! seconds: no shard thread calls it.
//!
//! ```no_run
//! let toolchain = corelet_build::Toolchain::find()?;
//! let built = corelet_build::build(&corelet_build::Request::new("apps/kv"), &toolchain)?;
//! println!("{} ({} bytes)", built.path.display(), built.bytes);
//! # Ok::<(), corelet_build::BuildError>(())
//! ```

#![forbid(unsafe_code)]

mod compile;
mod component;
mod error;
mod project;
mod toolchain;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use component::{WIT, component_of, embed_world, embed_world_with_handlers, embed_worlds};
pub use error::BuildError;
pub use project::{NewProjectError, SdkSource, new_project};
pub use toolchain::Toolchain;

/// What to build.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory of the application's crate.
    pub dir: PathBuf,
    /// Where the component goes, as `NAME.wasm` with the name of the crate's
    /// directory; `corelet/` in the crate's target directory if not said.
    pub out_dir: Option<PathBuf>,
    /// Whether cargo keeps quiet about its progress. Errors are always shown.
    pub quiet: bool,
}

impl Request {
    /// The crate in `dir`, with everything else as usual.
    pub fn new(dir: impl Into<PathBuf>) -> Request {
        Request {
            dir: dir.into(),
            out_dir: None,
            quiet: false,
        }
    }
}

/// A finished component.
#[derive(Debug, Clone)]
pub struct Built {
    /// The crate's package name.
    pub package: String,
    /// The component's file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// How long all of it took.
    pub duration: Duration,
}

/// Builds one application. The file at [`Built::path`] appears whole or not at
/// all; cargo's messages go to standard error.
pub fn build(request: &Request, toolchain: &Toolchain) -> Result<Built, BuildError> {
    let started = Instant::now();
    let compiled = compile::compile(request, toolchain)?;
    let module = std::fs::read(&compiled.module).map_err(|source| BuildError::ReadModule {
        path: compiled.module.clone(),
        source,
    })?;
    let component = component_of(&module)?;
    let out_dir = match &request.out_dir {
        Some(dir) => dir.clone(),
        None => compiled.target_dir.join("corelet"),
    };
    let path = out_dir.join(format!("{}.wasm", compiled.name));
    write_whole(&path, &out_dir, &component).map_err(|source| BuildError::WriteComponent {
        path: path.clone(),
        source,
    })?;
    Ok(Built {
        package: compiled.package,
        path,
        bytes: component.len() as u64,
        duration: started.elapsed(),
    })
}

fn write_whole(path: &Path, dir: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    // Temporary files are private; a component is as readable as its source.
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}
