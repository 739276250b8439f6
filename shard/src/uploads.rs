//! Uploads that come in pieces, for those who ask from outside: every question and every piece
//! is a piece of work for the threads that work on the files of blobs. One service for all
//! shards. What an upload is, and how it survives a crash, is the store's
//! (`store/src/uploads/`); how an application is made of one, `compiler.rs`.

use std::sync::Arc;

use bytes::Bytes;
#[cfg(test)]
use corelet_store::UploadBounds;
use corelet_store::{HeldUpload, NewUpload, Upload, UploadId, Uploads};

use crate::blobs::{BlobService, SharedCount};
use crate::clock;
use crate::error::CallError;
use crate::places::{Place, Places};

/// Pieces and questions that are with the threads at the same time, over all shards. Each piece
/// is in memory until it is on disk.
pub(crate) const WORKS_MAX: usize = 16;

/// What is counted of uploads. One for the whole process.
#[derive(Debug, Default)]
pub struct UploadStats {
    /// Uploads there are.
    pub count: SharedCount,
    /// Bytes that they count: announced, or on disk if these are more.
    pub bytes: SharedCount,
    /// Uploads that were begun.
    pub begun: SharedCount,
    /// Bytes that have come and are on disk.
    pub received_bytes: SharedCount,
    /// Uploads of which an application was made.
    pub installed: SharedCount,
    /// Uploads that were too old, or idle while others needed their place.
    pub expired: SharedCount,
}

/// The uploads of this node. Clones are the same.
#[derive(Clone)]
pub struct UploadService {
    shared: Arc<Shared>,
}

struct Shared {
    uploads: Uploads,
    /// Their threads are ours, too.
    blobs: BlobService,
    works: Arc<Places>,
    stats: UploadStats,
}

impl UploadService {
    pub(crate) fn new(uploads: Uploads, blobs: BlobService) -> UploadService {
        let service = UploadService {
            shared: Arc::new(Shared {
                uploads,
                blobs,
                works: Places::new("pieces of uploads", WORKS_MAX),
                stats: UploadStats::default(),
            }),
        };
        service.count();
        service
    }

    /// Those of a shard that is alone in a test.
    #[cfg(test)]
    pub(crate) fn of_no_shards(dir: &std::path::Path, blobs: BlobService) -> UploadService {
        let uploads =
            Uploads::open(&dir.join("uploads"), UploadBounds::default()).expect("its directory");
        UploadService::new(uploads, blobs)
    }

    /// What is counted.
    pub fn stats(&self) -> &UploadStats {
        &self.shared.stats
    }

    /// Begins one.
    pub async fn create(&self, new: NewUpload) -> Result<Upload, CallError> {
        self.work(move |service| {
            service.remove_old();
            let (blobs, now) = (&service.shared.blobs, clock::file_time());
            let ended = service.uploads().make_room(new.bytes.unwrap_or(0), now);
            service.stats().expired.add(ended as u64);
            blobs.check_space(new.bytes.unwrap_or(0))?;
            let upload = service.uploads().create(new, now)?;
            service.stats().begun.add(1);
            Ok(upload)
        })
        .await
    }

    /// Adds the bytes that come at `offset`; they are on disk when the answer is there.
    pub async fn append(
        &self,
        id: UploadId,
        offset: u64,
        content: Bytes,
    ) -> Result<Upload, CallError> {
        self.work(move |service| {
            service.shared.blobs.check_space(content.len() as u64)?;
            let now = clock::file_time();
            let upload = service.uploads().append(id, offset, &content, now)?;
            service.stats().received_bytes.add(content.len() as u64);
            Ok(upload)
        })
        .await
    }

    /// What is known of one.
    pub async fn show(&self, id: UploadId) -> Result<Upload, CallError> {
        self.work(move |service| Ok(service.uploads().show(id, clock::file_time())?))
            .await
    }

    /// All of them, by id.
    pub async fn list(&self) -> Result<Vec<Upload>, CallError> {
        self.work(|service| Ok(service.uploads().list(clock::file_time())))
            .await
    }

    /// Takes one into use, to have an application made of it.
    pub async fn hold(&self, id: UploadId) -> Result<Arc<HeldUpload>, CallError> {
        self.work(move |service| Ok(Arc::new(service.uploads().hold(id, clock::file_time())?)))
            .await
    }

    /// Ends one that is held.
    pub(crate) async fn remove_held(&self, held: Arc<HeldUpload>) -> Result<(), CallError> {
        self.work(move |service| Ok(service.uploads().remove_held(&held)?))
            .await
    }

    /// Ends one, and removes what has come of it.
    pub async fn remove(&self, id: UploadId) -> Result<(), CallError> {
        self.work(move |service| Ok(service.uploads().remove(id, clock::file_time())?))
            .await
    }

    /// Removes those that are too old, if the threads have room for that now.
    pub(crate) fn sweep(&self) {
        let Ok(place) = self.shared.works.take() else {
            return;
        };
        let service = self.clone();
        // Nobody waits for it.
        let _ = self.shared.blobs.threads().run(move || {
            let _place: Place = place;
            service.remove_old();
            service.count();
        });
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.shared.uploads
    }

    fn remove_old(&self) {
        let swept = self.uploads().sweep(clock::file_time());
        self.stats().expired.add(swept as u64);
    }

    fn count(&self) {
        let (count, bytes) = self.uploads().sum();
        self.stats().count.set(count);
        self.stats().bytes.set(bytes);
    }

    /// Has one of the threads do something.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&UploadService) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let place = self.shared.works.take()?;
        let service = self.clone();
        let done = self.shared.blobs.threads().run(move || {
            let _place: Place = place;
            let result = work(&service);
            service.count();
            result
        });
        done?.await?
    }
}
