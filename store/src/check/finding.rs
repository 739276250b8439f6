//! What a check tells: where, what, why, and what to do. Plain values.

use std::fmt;

use crate::data_file::pages::{Flaw, Harm, OddBit};
use crate::error::{BlobError, StoreError};
use crate::ids::{BlobId, ContextId, ShardId};
use crate::layout::FORMAT_VERSION;
use crate::takeover;

/// So many findings are told one by one.
const FINDINGS_MAX: usize = 1000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// On which shard, if it is on one.
    pub shard: Option<u16>,
    /// Of which context, if it is one's and that is known.
    pub context: Option<ContextId>,
    /// Which kind of record or file.
    pub what: String,
    /// Its key in hexadecimal, its number, or its path.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do about it.
    pub advice: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shard) = self.shard {
            write!(f, "shard {shard}: ")?;
        }
        if let Some(context) = self.context {
            write!(f, "context {context}: ")?;
        }
        let Finding { what, key, why, .. } = self;
        write!(f, "{what} {key}: {why}; {}", self.advice)
    }
}

const CONTEXT: &str = "restore this context from a peer or a backup; the others are not concerned";
const LEDGER: &str = "restore the data directory from a backup";
const PAGES: &str = "do not start a server on it, as the engine would believe its pages; restore the data directory from a backup";
const SPACE: &str = "nothing is lost, but its space is not used again; restore the data directory from a backup to have it back";
const ODD_BIT: &str = "start a server on it, which puts it right if storage.start_check_bytes_max lets it read all of the ledger, and check again";
const BLOB: &str = "store its content again, from a peer or a backup";

/// A bounded list of findings.
#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    left_out: u64,
}

/// Whether a start takes over a ledger of this format, which is an earlier one.
fn is_taken_over(format: u32) -> bool {
    (takeover::OLDEST..FORMAT_VERSION).contains(&format)
}

impl Findings {
    pub(super) fn into_parts(self) -> (Vec<Finding>, u64) {
        (self.list, self.left_out)
    }

    fn push(&mut self, finding: Finding) {
        match self.list.len() < FINDINGS_MAX {
            true => self.list.push(finding),
            false => self.left_out += 1,
        }
    }

    /// What an error of the store tells.
    pub(super) fn add(
        &mut self,
        shard: Option<ShardId>,
        context: Option<ContextId>,
        error: &StoreError,
    ) {
        let advice = match (context, error) {
            (Some(_), _) => CONTEXT,
            (None, StoreError::WrongFormat { found, .. }) if is_taken_over(*found) => {
                "nothing is known to be wrong with it: start a server on it once, which takes it over, and check again"
            }
            (None, StoreError::WrongFormat { .. }) => "check it with the program that wrote it",
            (None, _) => LEDGER,
        };
        let (what, key, why) = match error {
            StoreError::Corrupt { what, key, why } => {
                ((*what).to_owned(), key.clone(), (*why).to_owned())
            }
            StoreError::WrongFormat { found, .. } if is_taken_over(*found) => {
                let why = format!(
                    "it is of format {found}, and only one of format {FORMAT_VERSION} can be checked"
                );
                ("ledger".to_owned(), String::new(), why)
            }
            error => ("ledger".to_owned(), String::new(), with_causes(error)),
        };
        self.push(Finding {
            shard: shard.map(ShardId::number),
            context,
            what,
            key,
            why,
            advice,
        });
    }

    pub(super) fn add_page(&mut self, shard: Option<ShardId>, flaw: &Flaw) {
        self.push(Finding {
            shard: shard.map(ShardId::number),
            context: None,
            what: "page of the ledger's file".to_owned(),
            key: flaw.page.to_string(),
            why: flaw.why.to_owned(),
            advice: match flaw.harm {
                Harm::Engine => PAGES,
                Harm::Space => SPACE,
            },
        });
    }

    pub(super) fn add_odd_bit(&mut self, shard: Option<ShardId>, odd: &OddBit) {
        self.push(Finding {
            shard: shard.map(ShardId::number),
            context: None,
            what: "record on page of the ledger's file".to_owned(),
            key: odd.page.to_string(),
            why: format!(
                "one bit of it is another than it was written (byte {} of the file, mask {:#04x})",
                odd.byte, odd.mask
            ),
            advice: ODD_BIT,
        });
    }

    pub(super) fn add_blob(&mut self, blob: &BlobId, error: &BlobError) {
        self.push(Finding {
            shard: None,
            context: None,
            what: "blob".to_owned(),
            key: blob.to_string(),
            why: with_causes(error),
            advice: BLOB,
        });
    }

    pub(super) fn add_files(&mut self, error: &BlobError) {
        self.push(Finding {
            shard: None,
            context: None,
            what: "blobs".to_owned(),
            key: String::new(),
            why: with_causes(error),
            advice: "make the directory readable, and check again",
        });
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
