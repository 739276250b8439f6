//! What the commands understand that make copies, or data directories of them: `backup`, `restore`,
//! `reshard` and `context import`.

use std::path::PathBuf;

use clap::Args;

use super::SettingsArgs;

/// Flags of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The file, which must not exist; - for standard output, and then -o json is on standard error.
    pub file: PathBuf,

    /// Put the node's keys and token into it, too: it is a secret then. They come from the data
    /// directory, not from the server.
    #[arg(long)]
    pub with_keys: bool,
}

/// Flags of `restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The backup; - for standard input.
    pub file: PathBuf,

    /// Take it in also if its stamps are more than a minute ahead of the clock here. Those of the
    /// node go on from them for good, and other nodes may refuse them until their clocks are there.
    #[arg(long)]
    pub trust_stamps: bool,

    /// Settings. Without --shards there are as many as there were.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Flags of `reshard`.
#[derive(Debug, Clone, Args)]
pub struct ReshardArgs {
    /// Settings, of which --shards says how many there are to be.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Flags of `context import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The file.
    pub file: PathBuf,

    /// Take it in also if its stamps are more than a minute ahead of the clock here. Those of the
    /// node go on from them for good, and other nodes may refuse them until their clocks are there.
    #[arg(long)]
    pub trust_stamps: bool,

    /// Settings, those of storage above all.
    #[command(flatten)]
    pub settings: SettingsArgs,
}
