//! What an error about blobs becomes for a client: the part of `from.rs` that is about
//! files which are no ledger's.

use corelet_shard::BlobRequestError;
use corelet_store::BlobError;

use super::from::{busy, chain, disk_full, internal, unstored_batch};
use super::{Code, Refusal};

impl From<BlobRequestError> for Refusal {
    fn from(error: BlobRequestError) -> Refusal {
        let message = error.to_string();
        match error {
            BlobRequestError::Unknown { blob } => {
                Refusal::new(Code::UnknownBlob, message).with("blob", blob.to_string())
            }
            BlobRequestError::InUse {
                blob,
                contexts,
                is_held,
            } => {
                let contexts: Vec<_> = contexts.iter().map(ToString::to_string).collect();
                Refusal::new(Code::BlobInUse, message)
                    .with("blob", blob.to_string())
                    .with("contexts", contexts)
                    .with("held", is_held)
            }
            // Which record it is, the service has logged.
            BlobRequestError::Unsure { .. }
            | BlobRequestError::OutOfService { .. }
            | BlobRequestError::BackupUnderWay
            | BlobRequestError::Stopping => Refusal::new(Code::Unavailable, message),
            BlobRequestError::Busy { limit, max } => {
                let message = busy(limit, max, max);
                Refusal::new(Code::Busy, message)
                    .with("limit", limit)
                    .with("used", max)
                    .with("max", max)
            }
            BlobRequestError::DiskNearlyFull { free, min } => disk_nearly_full(free, min),
            BlobRequestError::Blob(error) => failed_blob(&error),
            BlobRequestError::Ledger(error) => unstored_batch(&error),
            BlobRequestError::OurBug { what } => {
                tracing::error!(what, "internal error around a blob");
                internal()
            }
        }
    }
}

/// What comes in as a file would take of the space that is for everything else.
pub(super) fn disk_nearly_full(free: u64, min: u64) -> Refusal {
    let message = format!(
        "the server's disk would have {free} bytes left, and blobs.disk_free_bytes_min = {min} have to stay free; free some"
    );
    Refusal::new(Code::StorageFull, message)
        .with("limit", "blobs.disk_free_bytes_min")
        .with("used", free)
        .with("max", min)
}

fn failed_blob(error: &BlobError) -> Refusal {
    let message = error.to_string();
    match error {
        BlobError::Mismatch { expected, found } => Refusal::new(Code::BlobMismatch, message)
            .with("expected", expected.to_string())
            .with("found", found.to_string()),
        BlobError::TooLarge { limit, bytes_max } => Refusal::new(Code::TooLarge, message)
            .with("limit", *limit)
            .with("max", *bytes_max),
        BlobError::DiskFull { .. } => {
            tracing::error!(error = %chain(error), "no space left for a blob");
            disk_full()
        }
        // The service has logged which part of it.
        BlobError::Damaged { blob, .. } => Refusal::new(
            Code::BlobDamaged,
            format!("blob {blob} is damaged on the server's disk; upload its content again"),
        )
        .with("blob", blob.to_string()),
        BlobError::AlreadyOpen { .. } | BlobError::File { .. } | BlobError::Ended => {
            tracing::error!(error = %chain(error), "a blob could not be read or written");
            internal()
        }
    }
}
