//! A blob on its way in: what its client sends is handed to the blobs' threads piece by
//! piece, and the next one is only taken when the one before is in the file. Owned by the
//! shard that has the connection; dropped before its end, nothing is left of it.

use bytes::Bytes;
use corelet_store::{BlobHold, BlobWriter};

use super::BlobService;
use super::error::BlobRequestError;
use super::threads::Aside;
use crate::places::Place;

/// A blob that is being uploaded.
pub struct BlobUpload {
    service: BlobService,
    /// `None` after an error.
    writer: Option<Aside<Writer>>,
}

/// With its place among the uploads, which is free again when the file is.
pub(super) struct Writer {
    pub(super) writer: BlobWriter,
    pub(super) _place: Place,
}

/// A blob that was uploaded. It is held, so that it can be referred to before anybody
/// removes it.
#[derive(Debug)]
pub struct UploadedBlob {
    /// Keeps it.
    pub hold: BlobHold,
    /// Bytes of its content.
    pub bytes: u64,
}

impl BlobUpload {
    pub(super) fn new(service: BlobService, writer: Aside<Writer>) -> BlobUpload {
        BlobUpload {
            service,
            writer: Some(writer),
        }
    }

    /// Writes the next piece, and is there when that is done. Best given in pieces of
    /// [`BLOB_GROUP_BYTES`](corelet_store::BLOB_GROUP_BYTES).
    ///
    /// Fails if the blob gets longer than it may be, or the disk too full; then it has ended.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), BlobRequestError> {
        let mut writer = self.take()?;
        let service = self.service.clone();
        let written = self.service.threads().run(move || {
            service.check_space(piece.len() as u64)?;
            writer.writer.write(&piece)?;
            service.stats().uploaded_bytes.add(piece.len() as u64);
            Ok::<_, BlobRequestError>(writer)
        })?;
        self.writer = Some(written.await??);
        Ok(())
    }

    /// Makes it a blob: it is on disk when this is there.
    ///
    /// Fails if another content was expected, or the disk is full or fails.
    pub async fn finish(mut self) -> Result<UploadedBlob, BlobRequestError> {
        let writer = self.take()?;
        let service = self.service.clone();
        let finished = self.service.threads().run(move || {
            let Writer { writer, _place } = writer.into_inner();
            let bytes = writer.bytes();
            let hold = writer.finish()?;
            service.stats().uploaded.add(1);
            Ok::<_, BlobRequestError>(UploadedBlob { hold, bytes })
        })?;
        finished.await?
    }

    fn take(&mut self) -> Result<Aside<Writer>, BlobRequestError> {
        let ended = || BlobRequestError::Blob(corelet_store::BlobError::Ended);
        self.writer.take().ok_or_else(ended)
    }
}
