//! What `corelet config` understands.

use clap::Subcommand;

use super::SettingsArgs;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting that is in force.
    #[command(after_help = "\
Examples:
  corelet config show
  corelet config show --origin --config corelet.toml
  corelet config show -o json | jq -r '.\"http.listen\".value'")]
    Show {
        /// Also print who set it.
        #[arg(long)]
        origin: bool,
        /// Settings.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Read the configuration without starting anything.
    #[command(after_help = "\
Examples:
  corelet config check --config corelet.toml
  corelet config check --config corelet.toml && systemctl restart corelet
  CORELET__HTTP__BATCH_MAX=0 corelet config check")]
    Check {
        /// Settings.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print the reference of all settings as Markdown.
    Reference,
    /// Print the catalogue of error codes as Markdown.
    Errors,
}
