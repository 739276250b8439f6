//! What `corelet context` understands.

use std::path::PathBuf;

use clap::Subcommand;

use super::copies::ImportArgs;

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
