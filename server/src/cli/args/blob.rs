//! What `corelet blob` understands.

use std::path::PathBuf;

use clap::Subcommand;

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
