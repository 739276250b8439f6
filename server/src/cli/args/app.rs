//! What `corelet app` understands.

use std::path::PathBuf;

use clap::Subcommand;

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
