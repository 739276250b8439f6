//! The configuration that a command line asks for: file, environment, flags.

use super::args::{Global, SettingsArgs};
use super::failure::Failure;
use crate::config::{Config, Effective, Layers, Origin};

/// Reads all sources; `command` has defaults of its own.
pub(super) fn load(
    args: &SettingsArgs,
    global: &Global,
    command: &'static str,
) -> Result<(Config, Effective), Failure> {
    let mut layers = Layers::default();
    if command == "dev" {
        // The talk of `dev` is for the person at the terminal.
        layers.value("log.format", "text", Origin::Command(command));
        layers.value("log.level", "warn", Origin::Command(command));
    }
    if let Some(path) = &args.config {
        layers.file(path)?;
    }
    layers.environment(std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    }));
    if let Some(listen) = args.listen {
        layers.value("http.listen", listen.to_string(), Origin::Flag("--listen"));
    }
    if let Some(shards) = args.shards {
        layers.value("shards.count", shards.to_string(), Origin::Flag("--shards"));
    }
    match global.verbose {
        0 if global.quiet => layers.value("log.level", "error", Origin::Flag("--quiet")),
        0 => &mut layers,
        1 => layers.value("log.level", "debug", Origin::Flag("--verbose")),
        _ => layers.value("log.level", "trace", Origin::Flag("--verbose")),
    };
    Ok(layers.resolve()?)
}
