//! The operator's mistakes, each with the place it was made at and the way out.

use std::io;
use std::path::PathBuf;

use super::layers::Origin;

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("reading the configuration {path}", path = path.display())]
    Read {
        /// The file named by `--config`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any sensible configuration.
    #[error("the configuration {path} has more than {max} bytes", path = path.display())]
    TooLong {
        /// The file named by `--config`.
        path: PathBuf,
        /// The most bytes that are read.
        max: u64,
    },
    /// The file is not TOML.
    #[error("the configuration {path} is not valid TOML: {message}", path = path.display())]
    Syntax {
        /// The file named by `--config`.
        path: PathBuf,
        /// Place and reason, as the parser gives them.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no setting {key}{hint}; `corelet config show` lists them all", hint = hint(nearest))]
    UnknownKey {
        /// Where it was set.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The setting it was most likely meant to be.
        nearest: Option<&'static str>,
    },
    /// A value that the setting cannot take.
    #[error("{origin}: {key} = {found}: expected {expected}")]
    BadValue {
        /// Where it was set.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// The value as written.
        found: String,
        /// What the setting takes.
        expected: String,
    },
    /// A limit that cannot be kept.
    #[error("limits.{why}")]
    Limit {
        /// Its name, and what is wrong with it.
        why: String,
    },
    /// Two settings that do not go together.
    #[error("{first} and {second} do not go together: {reason}")]
    Conflict {
        /// One setting with its value.
        first: String,
        /// The other one.
        second: String,
        /// What is wrong and which way to turn.
        reason: &'static str,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest
        .map(|key| format!("; did you mean {key}?"))
        .unwrap_or_default()
}
