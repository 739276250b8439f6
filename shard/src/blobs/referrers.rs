//! Who refers to a blob: every ledger is asked, and a backup counts as one who does, as it
//! copies what its snapshots show as attached. For threads that may wait.
//!
//! A backup says that it is there before it takes its snapshots, and is asked after the
//! ledgers were: so either it is seen, or its snapshots are newer than what the ledgers
//! have said, and show the blob only if somebody has held it since.

use std::sync::Arc;

use corelet_store::{BlobId, ContextId, Snapshot};

use super::error::{BLOB_CONTEXTS_MAX, BlobRequestError};
use crate::asks::CommitThreads;
use crate::places::{Place, Places};

/// Contexts looked through for one whose head cannot be read.
const CONTEXTS_MAX: usize = 2_048;

/// Who can say it.
#[derive(Clone)]
pub(super) struct Referrers {
    commit_threads: CommitThreads,
    backups: Arc<Places>,
}

/// What contexts say of a blob.
pub(super) struct Referred {
    /// Whether there is any, one that is being deleted included.
    pub(super) is_attached: bool,
    /// Those that are not being deleted, as far as they are asked for.
    pub(super) contexts: Vec<ContextId>,
}

impl Referrers {
    pub(super) fn new(commit_threads: CommitThreads) -> Referrers {
        Referrers {
            commit_threads,
            // As many as there are copies, which are bounded where they begin.
            backups: Places::new("copies_max", usize::MAX),
        }
    }

    /// As long as this lives, nothing is removed.
    pub(super) fn keep_all(&self) -> Place {
        self.backups.take().expect("there is no end of places")
    }

    pub(super) fn is_backup_under_way(&self) -> bool {
        self.backups.used() > 0
    }

    /// What is durable everywhere by now.
    pub(super) fn ask(&self) -> Result<Vec<Snapshot>, BlobRequestError> {
        Ok(self.commit_threads.snapshots()?)
    }

    /// Who refers to a blob.
    pub(super) fn of(&self, blob: BlobId) -> Result<Referred, BlobRequestError> {
        let mut referred = Referred {
            is_attached: false,
            contexts: Vec::new(),
        };
        for snapshot in self.ask()? {
            let left = BLOB_CONTEXTS_MAX - referred.contexts.len();
            let slots = snapshot.attached_by(blob, left.max(1));
            for slot in slots.map_err(BlobRequestError::Ledger)? {
                referred.is_attached = true;
                let context = snapshot.context_in(slot, CONTEXTS_MAX);
                let context = context.map_err(BlobRequestError::Ledger)?;
                referred.contexts.extend(context);
            }
            referred.contexts.truncate(BLOB_CONTEXTS_MAX);
        }
        Ok(referred)
    }
}
