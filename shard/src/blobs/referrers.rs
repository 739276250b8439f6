//! Who refers to a blob: every ledger is asked, and a backup counts as one who does, as it
//! copies what its snapshots show as attached. For threads that may wait.
//!
//! A backup says that it is there before it takes its snapshots, and is asked after the
//! ledgers were: so either it is seen, or its snapshots are newer than what the ledgers
//! have said, and show the blob only if somebody has held it since.
//!
//! What the ledgers say is read from notes that they keep beside the entries. A lost note says
//! nothing. So before the sweep removes anything, all notes are compared with the entries, and if
//! there is a wrong one it removes nothing at all; that takes too long for one blob that somebody
//! wants to be gone, which is looked for among the entries themselves. Nothing is removed
//! as long as a context is out of service: calls of it that were answered may be put aside, and
//! what they attach is not noted.

use std::sync::Arc;

use corelet_store::{AttachedCheck, BlobId, ContextId, NotedCheck, ShardId, Snapshot, StoreError};

use super::error::{BLOB_CONTEXTS_MAX, BlobRequestError};
use crate::asks::CommitThreads;
use crate::places::{Place, Places};

/// Contexts looked through for one whose head cannot be read.
const CONTEXTS_MAX: usize = 2_048;

/// Records compared with one snapshot: some tens of milliseconds.
const COMPARED_MAX: u64 = 10_000;

/// Contexts among whose entries a blob is looked for with one snapshot: some tens of
/// milliseconds.
const LOOKED_MAX: u64 = 10_000;

/// Who can say it.
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
    /// Whether there may be others, of whom nothing is said.
    pub(super) others: Result<(), BlobRequestError>,
}

impl Referrers {
    pub(super) fn new(commit_threads: CommitThreads) -> Referrers {
        Referrers {
            commit_threads,
            // As many as there are copies, which are bounded where they begin.
            backups: Places::new("backups", usize::MAX),
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

    /// Compares all that the ledgers have noted of attachments with the entries, a step at a
    /// time, and calls `rest` behind each step that is not a ledger's last.
    ///
    /// Fails with what is wrong, or what `rest` says, or that a ledger could not be asked, which
    /// says nothing of its notes.
    pub(super) fn compare<E: From<BlobRequestError>>(
        &self,
        rest: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut unsure = None;
        for shard in self.commit_threads.shards() {
            let mut check = AttachedCheck::default();
            loop {
                match self.compare_on(shard, &mut check) {
                    Ok(true) => break,
                    Ok(false) => rest()?,
                    Err(error @ BlobRequestError::Unsure { .. }) => {
                        // Every ledger is told of, by the first thing that is wrong there.
                        tracing::error!(%error, "what is noted of attachments is not what the entries say; the sweep removes no blob");
                        unsure.get_or_insert(error);
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        unsure.map_or(Ok(()), |unsure| Err(unsure.into()))
    }

    fn compare_on(
        &self,
        shard: ShardId,
        check: &mut AttachedCheck,
    ) -> Result<bool, BlobRequestError> {
        let snapshot = self.commit_threads.snapshot(shard)?;
        let compared = snapshot.compare_attachments(check, COMPARED_MAX);
        compared.map_err(|error| doubt(shard, error))
    }

    /// Fails if a context has attached the blob and has not noted that, so that nobody who
    /// asks for notes is told of it.
    pub(super) fn check_noted(&self, blob: BlobId) -> Result<(), BlobRequestError> {
        for shard in self.commit_threads.shards() {
            let mut check = NotedCheck::of(blob);
            loop {
                let snapshot = self.commit_threads.snapshot(shard)?;
                let checked = snapshot.check_noted(&mut check, LOOKED_MAX);
                if checked.map_err(|error| doubt(shard, error))? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Fails if a context is out of service.
    pub(super) fn check_service(snapshots: &[Snapshot]) -> Result<(), BlobRequestError> {
        for snapshot in snapshots {
            let slot = snapshot.any_quarantined();
            let Some(slot) = slot.map_err(BlobRequestError::Ledger)? else {
                continue;
            };
            // If nothing says which it is, one is all the same.
            let context = snapshot.context_in(slot, CONTEXTS_MAX).unwrap_or_default();
            return Err(BlobRequestError::OutOfService { context });
        }
        Ok(())
    }

    /// Who refers to a blob.
    pub(super) fn of(&self, blob: BlobId) -> Result<Referred, BlobRequestError> {
        let snapshots = self.ask()?;
        let mut referred = Referred {
            is_attached: false,
            contexts: Vec::new(),
            others: Referrers::check_service(&snapshots),
        };
        for (shard, snapshot) in self.commit_threads.shards().zip(snapshots) {
            let left = BLOB_CONTEXTS_MAX - referred.contexts.len();
            let slots = snapshot.attached_by(blob, left.max(1));
            for slot in slots.map_err(|error| doubt(shard, error))? {
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

/// What a ledger could not say. Only damage hides who refers to a blob; a full disk, say, is
/// told as what it is.
fn doubt(shard: ShardId, error: StoreError) -> BlobRequestError {
    match error {
        error @ StoreError::Corrupt { .. } => BlobRequestError::Unsure { shard, error },
        error => BlobRequestError::Ledger(error),
    }
}
