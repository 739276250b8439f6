//! The command line as a table: every command, flag and example. What the
//! commands do is in the files beside this one.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

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

/// What `--reuse` can be.
const REUSES: [&str; 2] = ["context", "never"];

/// What to do with applications.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Install a component; prints the application's id.
    #[command(after_help = "\
Examples:
  corelet app install kv.wasm
  corelet app install kv.wasm -o json | jq -r .id
  corelet app install kv.wasm --reuse never
  corelet --url http://10.0.0.5:7700 --token-file token app install kv.wasm

A large one goes packed and in pieces. If that is cut short, the same command goes on
where it was.")]
    Install {
        /// The component.
        file: PathBuf,
        /// Which instance each call gets: one that has served the same context before, whose
        /// memory is as it was left, or a fresh one. Without this it is context, and stays what
        /// it is for an application that is installed already.
        #[arg(long, value_parser = REUSES)]
        reuse: Option<String>,
    },
    /// List the installed applications.
    #[command(after_help = "\
Examples:
  corelet app list
  corelet app list -o json
  corelet app list -o json | jq -r '.applications[].name'")]
    List,
    /// Show an application and its methods.
    #[command(after_help = "\
Examples:
  corelet app show kv
  corelet app show kv -o json
  corelet app show kv -o json | jq '.description.methods[].name'")]
    Show {
        /// Id or name.
        app: String,
    },
    /// Change an application's settings; its contexts follow at once.
    #[command(after_help = "\
Examples:
  corelet app set kv --reuse never
  corelet app set kv --reuse context
  corelet app set kv --reuse never -o json | jq -r .reuse")]
    Set {
        /// Id or name.
        app: String,
        /// Which instance each call gets: one that has served the same context before, whose
        /// memory is as it was left, or a fresh one.
        #[arg(long, value_parser = REUSES)]
        reuse: String,
    },
    /// List the uploads that have begun and were not installed, or end one.
    #[command(after_help = "\
Examples:
  corelet app uploads
  corelet app uploads --end 9xQ…
  corelet app uploads -o json | jq -r '.uploads[].id'

`corelet app install` goes on with the one of its component. One to which nothing comes goes
by itself: after uploads.age_max, or after uploads.idle_max when a new one needs its place.")]
    Uploads {
        /// End this one, and remove what has come of it.
        #[arg(long, value_name = "ID")]
        end: Option<String>,
    },
    /// Remove an application that has no contexts.
    #[command(after_help = "\
Examples:
  corelet app remove kv
  corelet app remove 7Yk…                      by id, if two have the same name
  corelet context list -o json | jq -r '.contexts[].id' | xargs -n1 corelet context delete && corelet app remove kv")]
    Remove {
        /// Id or name.
        app: String,
    },
    /// Build an application's crate into a component.
    #[command(after_help = "\
Examples:
  corelet app build                            the crate in this directory
  corelet app build apps/kv --to kv.wasm
  corelet app install $(corelet app build apps/kv)")]
    Build {
        /// The crate's directory.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Where to put the component.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Make the crate of a new application.
    #[command(after_help = "\
Examples:
  corelet app new guestbook
  corelet app new guestbook --sdk ~/corelet/sdk/rust
  corelet app new guestbook && corelet dev guestbook")]
    New {
        /// Name of the application and of the directory that is made.
        name: String,
        /// The Corelet SDK's directory, to depend on.
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
}

/// How to watch contexts.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Which come first.
    #[arg(long, value_enum, default_value_t = TopBy::Fuel)]
    pub by: TopBy,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub limit: u16,
    /// Seconds from one look to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// Print one table and end.
    #[arg(long)]
    pub once: bool,
}

/// By what contexts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopBy {
    /// Fuel that they spend.
    Fuel,
    /// Calls.
    Calls,
    /// Calls that fail.
    Failures,
    /// Time that their calls take, waiting included.
    Time,
}

impl TopBy {
    /// As the server knows it.
    pub fn name(self) -> &'static str {
        match self {
            TopBy::Fuel => "fuel",
            TopBy::Calls => "calls",
            TopBy::Failures => "failures",
            TopBy::Time => "time",
        }
    }

    /// The one that a key stands for.
    pub fn of_key(key: char) -> Option<TopBy> {
        match key {
            'f' => Some(TopBy::Fuel),
            'c' => Some(TopBy::Calls),
            'e' => Some(TopBy::Failures),
            't' => Some(TopBy::Time),
            _ => None,
        }
    }
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Create a context of an application; prints its id.
    #[command(after_help = "\
Examples:
  corelet context create kv
  corelet context create kv --name shop
  corelet context create counter --name visits --args '{\"start\":100}'")]
    Create {
        /// The application's id or name.
        app: String,
        /// A unique name, by which the context can be called, too.
        #[arg(long)]
        name: Option<String>,
        /// Arguments of the application's init method: a JSON object, @FILE, or - for standard input.
        #[arg(long, value_name = "JSON")]
        args: Option<String>,
    },
    /// List the contexts.
    #[command(after_help = "\
Examples:
  corelet context list
  corelet context list --limit 20 --after 9mX…
  corelet context list -o json | jq -r '.contexts[].id'")]
    List {
        /// Begin behind this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Show a context.
    #[command(after_help = "\
Examples:
  corelet context show shop
  corelet context show shop -o json
  corelet context show shop -o json | jq -r .root")]
    Show {
        /// Id or name.
        context: String,
    },
    /// Have a context run another application, with its state as it is: most often a later version.
    #[command(after_help = "\
Examples:
  corelet app install tally.wasm && corelet context upgrade shop --to tally
  corelet context upgrade --all-of 9mX… --to tally
  corelet context upgrade --all-of 9mX… --to tally -o json | jq -r '.failed[].context'

Calls go on meanwhile: those that have begun end in the application that they have begun in, those
that wait run in the new one. If one of the hooks that the applications have for this fails, the
context goes on as it was. With --all-of others go on being upgraded, and those that were not are
listed at the end; to try them again is to upgrade all of them again. A name stands for the
application of that name that was installed last.")]
    Upgrade {
        /// Id or name.
        #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
        context: Option<String>,
        /// The id or name of the application that it is to run.
        #[arg(long, value_name = "APP")]
        to: String,
        /// Do not run `before-upgrade` of the application that runs now: for when that fails.
        #[arg(long)]
        skip_before_upgrade: bool,
        /// Upgrade all contexts that run this application.
        #[arg(long, value_name = "APP")]
        all_of: Option<String>,
    },
    /// Write a context of a running server into a file.
    #[command(after_help = "\
Examples:
  corelet context export shop > shop.clx
  corelet context export shop --to shop.clx
  corelet context export 9mX… | ssh elsewhere 'cat > shop.clx'

Its private entries, its timers, its calls to other contexts and its subscriptions, which belong to
this node, stay here, and so do the blobs that it has attached.")]
    Export {
        /// Id or name.
        context: String,
        /// The file, which must not exist; standard output without it, or with -.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Print what is kept in a context, now or as it was after an earlier change.
    #[command(after_help = "\
Examples:
  corelet context entries shop
  corelet context entries shop --prefix order/ -o json | jq -c 'select(.kind == \"counter\")'
  corelet context entries shop --at 7Fk…

What --at takes is shown by `corelet context deltas`, and as delta_id by each call. With
it, entries of this node alone are left out: they are in no delta. What the server notes of the
context for itself is shown with --space agenda only. With -o json each entry is a document on a
line of its own, and so is the end, {\"end\":true,…}.")]
    Entries {
        /// Id or name.
        context: String,
        /// As they were after this delta.
        #[arg(long, value_name = "DELTA")]
        at: Option<String>,
        /// Only of this space: shared, owned, private, attached, agenda or stable.
        #[arg(long)]
        space: Option<String>,
        /// Only those whose keys begin with this.
        #[arg(long, value_name = "KEY")]
        prefix: Option<String>,
    },
    /// Print the changes of a context, the newest first, as far as they are kept.
    #[command(after_help = "\
Examples:
  corelet context deltas shop
  corelet context deltas shop --limit 1
  corelet context deltas shop --limit 1000 -o json | jq -r '.delta // empty'

With -o json each change is a document on a line of its own, and so is the end,
{\"end\":true,…}.")]
    Deltas {
        /// Id or name.
        context: String,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// List what a context is to be called for later: its timers, by name.
    #[command(after_help = "\
Examples:
  corelet context timers shop
  corelet context timers shop --limit 20 --after reminder/17
  corelet context timers shop -o json | jq -r '.timers[] | select(.attempts > 0) | .name'

A timer with attempts has failed, and is tried again: `corelet logs` says why.")]
    Timers {
        /// Id or name.
        context: String,
        /// Begin behind this name.
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// List the calls that a context has sent to others and that have not ended.
    #[command(after_help = "\
Examples:
  corelet context calls shop
  corelet context calls shop --limit 20
  corelet context calls shop -o json | jq -r '.calls[] | select(.attempts > 0) | .callback'

The oldest call to each other context is handed over, and those behind it wait for its end. One with
attempts has ended, and its callback has failed and is called again: `corelet logs` says why.")]
    Calls {
        /// Id or name.
        context: String,
        /// Begin behind this place, as the page before tells it.
        #[arg(long, value_name = "PLACE")]
        after: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// List the events to which handlers of a context have subscribed.
    #[command(after_help = "\
Examples:
  corelet context subscriptions shop
  corelet context subscriptions 9mX…
  corelet context subscriptions shop -o json | jq -r '.subscriptions[] | select(.attempts > 0) | .handler'

One with attempts has failed to take the next event, and is told again: `corelet logs` says why.")]
    Subscriptions {
        /// Id or name.
        context: String,
    },
    /// End subscriptions of a context: their handlers are told no events any more.
    #[command(after_help = "\
Examples:
  corelet context unsubscribe shop --from 9mX…
  corelet context unsubscribe shop --from till --handler sold
  corelet context unsubscribe shop --all -o json | jq .ended

`corelet context subscriptions` lists them. The application is not told, and may subscribe again; the
context's log says what was ended.")]
    Unsubscribe {
        /// Id or name.
        context: String,
        /// Those to the events of this context, by its id or name.
        #[arg(long, value_name = "CONTEXT", required_unless_present_any = ["handler", "all"])]
        from: Option<String>,
        /// Those of this handler.
        #[arg(long, value_name = "NAME")]
        handler: Option<String>,
        /// All that the context has.
        #[arg(long, conflicts_with_all = ["from", "handler"])]
        all: bool,
    },
    /// Take a context into a data directory that no server has open.
    #[command(after_help = "\
Examples:
  corelet context import shop.clx
  corelet context import shop.clx --data-dir /var/lib/corelet
  corelet context import shop.clx && corelet check

The context keeps its id. Its name comes along if it is free, and its application has to be
installed before it is called.")]
    Import(ImportArgs),
    /// Put a context back into service that was found damaged, when its disk gives the right bytes again.
    #[command(after_help = "\
Examples:
  corelet context release shop
  corelet context show shop -o json | jq -r .out_of_service
  corelet context release 9mX…")]
    Release {
        /// Id or name.
        context: String,
    },
    /// Stop the calls of a context that run now. Nothing that they did has happened; calls that wait go on.
    #[command(after_help = "\
Examples:
  corelet context cancel shop
  corelet context cancel 9mX…
  corelet context cancel shop -o json | jq .cancelled")]
    Cancel {
        /// Id or name.
        context: String,
    },
    /// Show what was counted of a context's calls, by method, since it was made.
    #[command(after_help = "\
Examples:
  corelet context stats shop
  corelet context stats shop -o json | jq '.methods[] | {method, calls, p99_us}'
  corelet context stats shop -o json | jq '[.methods[].fuel] | add'

FUEL/CALL is the mean, MOST the most of one call. Half of the calls took no longer than P50, 99 of
100 no longer than P99, each within a quarter. WAITED is the part of all their time that they
waited for a turn. The row (timers) has all handlers, be it that a timer, the end of a sent call or
events have called them; (unknown) has calls of methods that the application does not have.")]
    Stats {
        /// Id or name.
        context: String,
    },
    /// Give a context another part of its shard, beside others that have more to do than there is time for.
    #[command(after_help = "\
Examples:
  corelet context weight shop 300      three times as much as one of the default, 100
  corelet context weight batch 10      a tenth of it
  corelet context show shop -o json | jq .weight")]
    Weight {
        /// Id or name.
        context: String,
        /// 100 is what a context has that was given none.
        #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
        weight: u16,
    },
    /// Delete a context and its state, for good.
    #[command(after_help = "\
Examples:
  corelet context delete shop
  corelet context delete 9mX…
  corelet -q context delete shop && echo gone")]
    Delete {
        /// Id or name.
        context: String,
    },
}

/// What to do with blobs.
#[derive(Debug, Subcommand)]
pub enum BlobCommand {
    /// Upload a content; prints the blob's id.
    #[command(after_help = "\
Examples:
  corelet blob put picture.png
  corelet blob put picture.png -o json | jq -r .id
  tar c photos | corelet blob put -

A blob that no context attaches goes after a while (blobs.ttl).")]
    Put {
        /// The content; - for standard input.
        file: PathBuf,
        /// The id that it has to have.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Write a blob to a file, or to standard output.
    #[command(after_help = "\
Examples:
  corelet blob get 9mX… --to picture.png
  corelet blob get 9mX… > picture.png
  corelet blob get 9mX… | tar x")]
    Get {
        /// Its id.
        blob: String,
        /// The file, which must not exist; standard output without it, or with -.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// List the blobs.
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  corelet blob ls
  corelet blob ls --limit 20 --after 9mX…
  corelet blob ls -o json | jq -r '.blobs[].id'"
    )]
    Ls {
        /// Begin behind this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Show a blob and who has attached it.
    #[command(after_help = "\
Examples:
  corelet blob info 9mX…
  corelet blob info 9mX… -o json
  corelet blob info 9mX… -o json | jq -r '.contexts[]'")]
    Info {
        /// Its id.
        blob: String,
    },
    /// Remove a blob that nobody has attached.
    #[command(
        visible_alias = "remove",
        after_help = "\
Examples:
  corelet blob rm 9mX…
  corelet -q blob rm 9mX… && echo gone
  corelet blob rm 9mX… || corelet blob info 9mX…"
    )]
    Rm {
        /// Its id.
        blob: String,
    },
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
