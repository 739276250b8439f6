//! Blobs for those who ask from outside, and their removal. Files are worked on by threads
//! of their own: a shard hands them pieces of work, and never touches a file. One service
//! for all shards; what it gives out stays on the shard that asked.
//!
//! | file | holds |
//! |---|---|
//! | `threads.rs` | the threads, and the way to them |
//! | `upload.rs`, `download.rs` | content in and out |
//! | `referrers.rs` | who refers to a blob |
//! | `sweeper.rs` | removing what nobody refers to |
//! | `stats.rs`, `error.rs` | what is counted, what can go wrong |

mod download;
mod error;
mod referrers;
mod stats;
mod sweeper;
#[cfg(test)]
mod tests;
mod threads;
mod upload;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use corelet_store::{BlobEntry, BlobError, BlobHold, BlobId, BlobLimit, Blobs, ContextId, Removal};
use crossbeam_channel::{Sender, bounded};

pub use self::download::BlobDownload;
pub use self::error::{BLOB_CONTEXTS_MAX, BlobRequestError};
pub use self::stats::{BlobStats, SharedCount};
pub use self::upload::{BlobUpload, UploadedBlob};

use self::download::Reader;
use self::referrers::Referrers;
use self::sweeper::Sweeper;
use self::threads::{Pending, Threads};
use self::upload::Writer;
use crate::asks::CommitThreads;
use crate::bounds::BlobBounds;
use crate::places::{Place, Places};
use crate::uploads;

/// Questions about blobs that are being answered at the same time.
const QUESTIONS_MAX: usize = 64;

/// Turns that wait for a hold at the same time; one more asks again in its next slice.
const HOLDS_MAX: usize = 1_024;

/// Something about a blob that is being worked out.
pub(crate) struct PendingAnswer<T>(Pending<Result<Option<T>, BlobError>>);

/// A hold that is being taken, with the size of the blob's content.
pub(crate) type PendingHold = PendingAnswer<(BlobHold, u64)>;

/// A length that is being looked up; none if there is only a damaged blob.
pub(crate) type PendingLength = PendingAnswer<u64>;

impl<T> PendingAnswer<T> {
    /// None if there is no such blob.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<T>, BlobRequestError>> {
        self.0.poll(cx).map(|answer| Ok(answer??))
    }
}

/// The blobs of this node. Clones are the same.
#[derive(Clone)]
pub struct BlobService {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    blobs: Blobs,
    threads: Threads,
    /// One that only takes holds and looks at lengths, so that no turn waits for a content.
    holder: Threads,
    /// One that answers questions, which may have to wait for all commit threads.
    answerer: Threads,
    bounds: BlobBounds,
    referrers: Referrers,
    uploads: Arc<Places>,
    downloads: Arc<Places>,
    questions: Arc<Places>,
    stats: BlobStats,
}

/// What is known of a blob.
#[derive(Debug)]
pub struct BlobInfo {
    /// What its file says.
    pub entry: BlobEntry,
    /// Whether somebody uploads it, or is about to attach it.
    pub is_held: bool,
    /// Contexts that have attached it, [`BLOB_CONTEXTS_MAX`] at most.
    pub contexts: Vec<ContextId>,
}

/// The threads that work on blobs.
pub(crate) struct BlobThreads {
    service: BlobService,
    /// Dropped to end the sweeper.
    stop: Sender<()>,
    handles: Vec<JoinHandle<()>>,
}

impl BlobThreads {
    /// Ends them, when all shards have drained.
    pub(crate) fn stop(self) -> Vec<JoinHandle<()>> {
        drop(self.stop);
        self.service.threads().stop();
        self.service.shared.holder.stop();
        self.service.shared.answerer.stop();
        self.handles
    }
}

impl BlobService {
    /// Starts the threads for the blobs below `dir`.
    pub(crate) fn start(
        dir: &Path,
        blobs: Blobs,
        bounds: &BlobBounds,
        commit_threads: CommitThreads,
    ) -> io::Result<(BlobService, BlobThreads)> {
        let askers = bounds.uploads_max + bounds.downloads_max + uploads::WORKS_MAX;
        let (threads, mut handles) = Threads::start("blob", bounds.threads.max(1), askers)?;
        let (holder, held) = Threads::start("blob-hold", 1, HOLDS_MAX)?;
        handles.extend(held);
        let (answerer, answering) = Threads::start("blob-ask", 1, QUESTIONS_MAX)?;
        handles.extend(answering);
        let service = BlobService {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                blobs,
                threads,
                holder,
                answerer,
                bounds: bounds.clone(),
                referrers: Referrers::new(commit_threads),
                uploads: Places::new("blobs.uploads_max", bounds.uploads_max),
                downloads: Places::new("blobs.downloads_max", bounds.downloads_max),
                questions: Places::new("questions about blobs", QUESTIONS_MAX),
                stats: BlobStats::default(),
            }),
        };
        // Nothing is ever sent.
        let (stop, stopped) = bounded(0);
        let sweeper = Sweeper {
            service: service.clone(),
            stop: stopped,
            ttl: bounds.ttl,
            every: bounds.sweep_every,
        };
        handles.push(sweeper.start()?);
        let threads = BlobThreads {
            service: service.clone(),
            stop,
            handles,
        };
        Ok((service, threads))
    }

    /// Those of a shard that is alone in a test.
    #[cfg(test)]
    pub(crate) fn of_no_shards(dir: &Path) -> BlobService {
        let blobs = Blobs::open(dir).unwrap();
        let count = corelet_store::ShardCount::new(1).unwrap();
        let commit_threads = CommitThreads::new(count, Vec::new());
        let started = BlobService::start(dir, blobs, &BlobBounds::default(), commit_threads);
        started.unwrap().0
    }

    /// From now on whoever waits for a hold does so for ever.
    #[cfg(test)]
    pub(crate) fn stop_holds(&self) {
        self.shared.holder.stop();
    }

    /// Until the result is dropped there is no room for another hold.
    #[cfg(test)]
    pub(crate) fn fill_holds(&self) -> crossbeam_channel::Sender<()> {
        let (full, gate) = crossbeam_channel::bounded(0);
        let (begin, begun) = crossbeam_channel::unbounded();
        let wait = || {
            let (gate, begin) = (gate.clone(), begin.clone());
            move || {
                let _ = begin.send(());
                gate.recv().unwrap_or_default();
            }
        };
        // The thread has one, and the queue all others.
        assert!(self.shared.holder.try_run(wait()).is_some());
        begun.recv().unwrap();
        while self.shared.holder.try_run(wait()).is_some() {}
        full
    }

    /// What is counted.
    pub fn stats(&self) -> &BlobStats {
        &self.shared.stats
    }

    /// Uploads under way.
    pub fn uploads(&self) -> u64 {
        self.shared.uploads.used() as u64
    }

    /// Downloads under way.
    pub fn downloads(&self) -> u64 {
        self.shared.downloads.used() as u64
    }

    /// Begins an upload of `announced` bytes, if that is known. If `expected` is given, only
    /// that content becomes a blob.
    ///
    /// Fails if there are as many as may be, or if there is no room for it on the disk.
    pub async fn upload(
        &self,
        expected: Option<BlobId>,
        announced: Option<u64>,
    ) -> Result<BlobUpload, BlobRequestError> {
        let place = self.shared.uploads.take()?;
        let service = self.clone();
        let begun = self.threads().run(move || {
            service.check_space(announced.unwrap_or(0))?;
            let limit = BlobLimit {
                name: "limits.blob_bytes_max",
                bytes_max: service.shared.bounds.blob_bytes_max,
            };
            let writer = Writer {
                writer: service.blobs().writer(expected, limit)?,
                _place: place,
            };
            Ok::<_, BlobRequestError>(service.threads().keep(writer))
        })?;
        Ok(BlobUpload::new(self.clone(), begun.await??))
    }

    /// Begins to read a blob. Its outline is verified, and what is read is before it
    /// is handed out.
    pub async fn download(&self, blob: BlobId) -> Result<BlobDownload, BlobRequestError> {
        let place = self.shared.downloads.take()?;
        let service = self.clone();
        let begun = self.threads().run(move || {
            let opened = service.blobs().reader(blob);
            let opened = opened.inspect_err(|error| service.note_damage(error))?;
            let reader = Reader {
                reader: opened.ok_or(BlobRequestError::Unknown { blob })?,
                _place: place,
            };
            Ok::<_, BlobRequestError>(service.threads().keep(reader))
        })?;
        Ok(BlobDownload::new(self.clone(), begun.await??))
    }

    /// The first `limit` blobs whose ids come after `after`.
    pub async fn page(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobEntry>, BlobRequestError> {
        self.ask(move |service| Ok(service.blobs().page(after, limit)?))
            .await
    }

    /// What is known of one blob. Nothing of its content is verified.
    pub async fn info(&self, blob: BlobId) -> Result<BlobInfo, BlobRequestError> {
        self.ask(move |service| {
            let entry = service.blobs().entry(blob)?;
            let entry = entry.ok_or(BlobRequestError::Unknown { blob })?;
            Ok(BlobInfo {
                entry,
                is_held: service.blobs().is_held(&blob),
                contexts: service.referrers().of(blob)?.contexts,
            })
        })
        .await
    }

    /// Removes a blob to which nobody refers.
    pub async fn remove(&self, blob: BlobId) -> Result<(), BlobRequestError> {
        self.ask(move |service| {
            // Before it is asked for the last time, as it may take long: what is attached
            // meanwhile is noted.
            service.referrers().check_noted(blob)?;
            let mut contexts = Vec::new();
            let removal = service.blobs().remove_unless(blob, || {
                let referred = service.referrers().of(blob)?;
                contexts = referred.contexts;
                if referred.is_attached {
                    return Ok(true);
                }
                referred.others?;
                // Asked last: see `referrers.rs`.
                match service.referrers().is_backup_under_way() {
                    true => Err(BlobRequestError::BackupUnderWay),
                    false => Ok(false),
                }
            })?;
            let is_held = match removal {
                Some(Removal::Removed) => return Ok(()),
                Some(Removal::Missing) => return Err(BlobRequestError::Unknown { blob }),
                Some(Removal::Held | Removal::Recent) => true,
                None => false,
            };
            Err(BlobRequestError::InUse {
                blob,
                contexts,
                is_held,
            })
        })
        .await
    }

    /// Begins to hold a blob for a turn that attaches it; nothing if too many do so at this
    /// moment.
    pub(crate) fn begin_hold(&self, blob: BlobId) -> Option<PendingHold> {
        let service = self.clone();
        let pending = self.shared.holder.try_run(move || {
            let Some(hold) = service.blobs().hold(blob)? else {
                return Ok(None);
            };
            let bytes = service.length(blob)?;
            Ok(bytes.map(|bytes| (hold, bytes)))
        });
        pending.map(PendingAnswer)
    }

    /// Begins to look how long a blob is; nothing if too many do so at this moment.
    pub(crate) fn begin_length(&self, blob: BlobId) -> Option<PendingLength> {
        let service = self.clone();
        let pending = self.shared.holder.try_run(move || service.length(blob));
        pending.map(PendingAnswer)
    }

    /// How long a blob is, if it is there. One that is damaged is not, until it is uploaded
    /// again.
    fn length(&self, blob: BlobId) -> Result<Option<u64>, BlobError> {
        match self.blobs().length(blob) {
            Err(error @ BlobError::Damaged { .. }) => {
                self.note_damage(&error);
                Ok(None)
            }
            length => length,
        }
    }

    /// Begins to hold those of these blobs that are here; nothing if too many do so at this
    /// moment. One that cannot be looked at is told in the log and not held.
    pub(crate) fn begin_holds(
        &self,
        blobs: Vec<BlobId>,
    ) -> Option<impl Future<Output = Result<Vec<BlobHold>, BlobRequestError>>> {
        let service = self.clone();
        self.shared.holder.try_run(move || {
            let held = blobs.into_iter().filter_map(|blob| {
                let held = service.blobs().hold(blob);
                held.unwrap_or_else(|error| {
                    tracing::warn!(%blob, %error, "a blob that another node attaches cannot be held");
                    None
                })
            });
            held.collect()
        })
    }

    /// As long as this lives, no blob is removed.
    pub(crate) fn keep_all(&self) -> Place {
        self.referrers().keep_all()
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.shared.threads
    }

    fn referrers(&self) -> &Referrers {
        &self.shared.referrers
    }

    /// Has a question answered.
    async fn ask<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&BlobService) -> Result<T, BlobRequestError> + Send + 'static,
    ) -> Result<T, BlobRequestError> {
        let place = self.shared.questions.take()?;
        let service = self.clone();
        let answered = self.shared.answerer.run(move || {
            let _place = place;
            answer(&service)
        })?;
        answered.await?
    }

    /// Whether so many bytes more leave as much of the disk free as has to be.
    pub(crate) fn check_space(&self, more: u64) -> Result<(), BlobRequestError> {
        let dir = &self.shared.dir;
        let found = rustix::fs::statvfs(dir).map_err(|error| BlobError::File {
            doing: "look for the free space of",
            path: dir.clone(),
            source: error.into(),
        })?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let free = free.saturating_sub(more);
        match self.shared.bounds.disk_free_bytes_min {
            min if free < min => Err(BlobRequestError::DiskNearlyFull { free, min }),
            _ => Ok(()),
        }
    }

    /// Counts and tells damage.
    fn note_damage(&self, error: &BlobError) {
        if matches!(error, BlobError::Damaged { .. }) {
            self.stats().damaged.add(1);
            tracing::error!(%error, "a blob is damaged and was not served, nor attached");
        }
    }
}
