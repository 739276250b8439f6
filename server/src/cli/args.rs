//! The command line as a table: every command, flag and example. Here are the commands of the
//! first level and the flags of all; what is below a command, or long, is in `args/`. What the
//! commands do is in the files beside this one.

pub mod app;
pub mod blob;
pub mod config;
pub mod context;
pub mod copies;
pub mod top;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use app::AppCommand;
use blob::BlobCommand;
use config::ConfigCommand;
use context::ContextCommand;
use copies::{BackupArgs, ReshardArgs, RestoreArgs};
use top::TopArgs;

/// The command that a server starts itself with to compile a component.
pub const COMPILE_WORKER: &str = "compile-worker";

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  it failed: the answer is on standard error
  2  the command line or the configuration is wrong
  3  no server answers, or it cannot take the request now; try again

Standard output has the data, standard error the talk. NO_COLOR is respected.";

/// Corelet: a server for replicated WebAssembly applications.
#[derive(Debug, Parser)]
#[command(
    name = "corelet",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = EXIT_CODES,
    after_long_help = concat!("\
Examples:
  corelet dev                                  a server to play with, on this machine
  corelet app install target/kv.wasm           install an application
  corelet call kv set '{\"key\":\"a\",\"value\":\"1\"}' call a method of the context named kv

Exit codes:
  0  it worked
  1  it failed: the answer is on standard error
  2  the command line or the configuration is wrong
  3  no server answers, or it cannot take the request now; try again

Standard output has the data, standard error the talk. NO_COLOR is respected.")
)]
pub struct Cli {
    /// Flags of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command understands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How to write the answer.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table, env = "CORELET_OUTPUT")]
    pub output: Output,

    /// Where the server keeps its data; clients find its address and token there.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "corelet-data",
        env = "CORELET_DATA_DIR"
    )]
    pub data_dir: PathBuf,

    /// Address of a server elsewhere, such as http://10.0.0.5:7700.
    #[arg(long, global = true, value_name = "URL", env = "CORELET_URL")]
    pub url: Option<String>,

    /// File with the token. Without it: the variable CORELET_TOKEN, then the data directory.
    #[arg(long, global = true, value_name = "FILE", env = "CORELET_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Say less: nothing but data and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// How to write an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For scripts: one JSON document; of `context entries` and `context deltas`, one on each line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    #[command(after_help = "\
Examples:
  corelet serve                                          loopback, data in ./corelet-data
  corelet serve --config /etc/corelet.toml --data-dir /var/lib/corelet
  CORELET__HTTP__LISTEN=0.0.0.0:7700 corelet serve --shards 4")]
    Serve(ServeArgs),

    /// Run a server for development: installs applications, makes a demo context of each.
    #[command(after_help = "\
Examples:
  corelet dev                        an empty server
  corelet dev kv.wasm counter.wasm   with these applications
  corelet dev apps/kv                builds the application, and again on each change")]
    Dev(DevArgs),

    /// Applications: build, install, list, show, remove.
    #[command(
        subcommand,
        visible_alias = "application",
        after_help = "\
Examples:
  corelet app new guestbook
  corelet app install $(corelet app build guestbook)
  corelet app list"
    )]
    App(AppCommand),

    /// Contexts: create, list, show, delete.
    #[command(
        subcommand,
        after_help = "\
Examples:
  corelet context create kv --name shop
  corelet context list
  corelet context show shop"
    )]
    Context(ContextCommand),

    /// Blobs, which are large contents named by their hash: put, get, ls, info, rm.
    #[command(
        subcommand,
        after_help = "\
Examples:
  corelet blob put picture.png
  corelet blob ls
  corelet blob get 9mX… --to picture.png"
    )]
    Blob(BlobCommand),

    /// Watch the contexts that have the most to do: fuel, calls, times, failures, each second.
    #[command(after_help = "\
Examples:
  corelet top                                     q or Ctrl-C ends it
  corelet top --by time --every 5
  corelet top --once -o json | jq '.contexts[] | {name, fuel_share}'

Rates are of the time between two looks; a context that was not among the busiest in the last look is
told with its mean of the last ten to twenty seconds. FUEL% is its part of all fuel that the node has
spent, WT its weight, WAIT its calls that wait for their turn, MEM the memory of its warm instances.
Where standard output is no terminal, a table is printed each time.")]
    Top(TopArgs),

    /// Call a method of a context.
    #[command(after_help = "\
Examples:
  corelet call kv set '{\"key\":\"a\",\"value\":\"1\"}'
  corelet call kv get '{\"key\":\"a\"}' -o json
  corelet call kv set @arguments.json          or - for standard input
  corelet call counter increment --idempotency-key order-7    may be sent again, runs once")]
    Call(CallArgs),

    /// Show what a context has told: its durable events, oldest first.
    #[command(after_help = "\
Examples:
  corelet events chat
  corelet events chat --after 41 --limit 10
  corelet events chat -o json | jq '.events[].payload'

To go on later, give as --after what is shown as next (-o json). Events that are
not kept any more are told of as a gap.")]
    Events(EventsArgs),

    /// Show what the guests of a context have logged, with the lines of failed calls.
    #[command(after_help = "\
Examples:
  corelet logs shop
  corelet logs shop -o json | jq -r '.lines[] | select(.outcome == \"failed\") | .message'
  corelet logs shop --after 1767225600000000 -o json

The newest lines only, kept in memory: they are lost when the server ends.")]
    Logs(LogsArgs),

    /// Print the token of the server in the data directory.
    #[command(after_help = "\
Examples:
  corelet token
  corelet token --header | curl -H @- http://127.0.0.1:7700/v1/status
  (umask 077 && corelet --data-dir /var/lib/corelet token > token)

With --header it goes to curl by standard input (curl 7.55 or later). As an
argument of curl it would be there to see in the list of processes.")]
    Token {
        /// Print it as the header of an HTTP request.
        #[arg(long)]
        header: bool,
    },

    /// Show how the server is doing.
    #[command(after_help = "\
Examples:
  corelet status
  corelet status -o json
  corelet --url http://10.0.0.5:7700 --token-file token status")]
    Status,

    /// The configuration: show it, check it, explain it.
    #[command(
        subcommand,
        after_help = "\
Examples:
  corelet config show --origin
  corelet config check --config corelet.toml
  corelet config reference > CONFIG.md"
    )]
    Config(ConfigCommand),

    /// Check whether this machine can run the server, and say what to do.
    #[command(
        visible_alias = "preflight",
        after_help = "\
Examples:
  corelet doctor
  corelet doctor -o json
  corelet doctor --data-dir /var/lib/corelet --config /etc/corelet.toml"
    )]
    Doctor(SettingsArgs),

    /// Verify everything in a data directory that no server has open; changes nothing.
    #[command(after_help = "\
Examples:
  corelet check
  corelet check --data-dir /var/lib/corelet
  corelet check -o json | jq '.findings[]'

Exit codes: 0 if everything is whole, 1 if something is damaged or cannot be checked,
3 if a server has the directory open.")]
    Check,

    /// Write everything that a running server holds into a file.
    #[command(after_help = "\
Examples:
  corelet backup backup.clx
  corelet backup --with-keys backup.clx         whoever has the file can act as the node
  corelet --url http://10.0.0.5:7700 --token-file token backup backup.clx
  corelet backup - | zstd > backup.clx.zst      no file in between; see that it ends with 0

Holds every call that was acknowledged before it began. Writes go on meanwhile.")]
    Backup(BackupArgs),

    /// Make a data directory of a backup, where nothing is yet.
    #[command(after_help = "\
Examples:
  corelet restore backup.clx --data-dir /var/lib/corelet
  corelet restore backup.clx --data-dir new --shards 8
  zstd -dc backup.clx.zst | corelet restore - --data-dir new")]
    Restore(RestoreArgs),

    /// Change the number of shards of a data directory that no server has open.
    #[command(after_help = "\
Examples:
  corelet reshard --shards 8
  corelet reshard --shards 8 --data-dir /var/lib/corelet
  corelet check && corelet reshard --shards 2 && corelet check

Needs as much free disk again as the ledgers take. Killed at any moment, it leaves
the old number of shards or the new one.")]
    Reshard(ReshardArgs),

    /// Compile one component for the server that started this; not for people.
    #[command(name = COMPILE_WORKER, hide = true)]
    CompileWorker,

    /// Print a completion script.
    #[command(after_help = "\
Examples:
  corelet completions bash > ~/.local/share/bash-completion/completions/corelet
  corelet completions zsh > ~/.zfunc/_corelet
  corelet completions fish > ~/.config/fish/completions/corelet.fish")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Where settings come from, beside the environment.
#[derive(Debug, Clone, Args, Default)]
pub struct SettingsArgs {
    /// Configuration file (TOML); see server/CONFIG.md.
    #[arg(long, value_name = "FILE", env = "CORELET_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address to listen on; sets http.listen.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Number of shards of a new data directory; sets shards.count.
    #[arg(long, value_name = "N")]
    pub shards: Option<u64>,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Flags of `dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Components to install, or directories of applications to build.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Flags of `call`.
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// The context's id or name.
    pub context: String,
    /// The method.
    pub method: String,
    /// Arguments: a JSON object, @FILE, or - for standard input.
    #[arg(value_name = "JSON")]
    pub args: Option<String>,
    /// Makes an update safe to send again: one with the same key, method and arguments is
    /// told what the first was told, and does not run. From 1 to 128 bytes.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Flags of `events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// The context's id or name.
    pub context: String,
    /// Begin behind the event with this number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
}

/// Flags of `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The context's id or name.
    pub context: String,
    /// Begin behind the line with this number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_people_use_has_three_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for inner in command.get_subcommands() {
                check(inner, &path);
            }
            let pages = ["reference", "errors"].contains(&command.get_name());
            if pages || command.is_hide_set() {
                return;
            }
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples = help
                .lines()
                .skip(1)
                .filter(|line| line.starts_with("  "))
                .count();
            assert!(
                help.starts_with("Examples:") && examples >= 3,
                "{path}: {help}"
            );
        }
        for command in Cli::command().get_subcommands() {
            check(command, "corelet");
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert_ne!(argument.get_long(), Some("token"));
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
