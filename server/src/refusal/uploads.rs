//! What an error about uploads that come in pieces becomes for a client: a part of `from.rs`.

use corelet_store::UploadError;

use super::from::{busy, chain, disk_full, internal};
use super::{Code, Refusal};

pub(super) fn failed_upload(error: &UploadError) -> Refusal {
    let message = error.to_string();
    match error {
        UploadError::Unknown { upload } => {
            Refusal::new(Code::UnknownUpload, message).with("upload", upload.to_string())
        }
        UploadError::Offset { offset, given: _ } => {
            Refusal::new(Code::UploadOffset, message).with("offset", *offset)
        }
        UploadError::Incomplete { offset, bytes } => Refusal::new(Code::UploadOffset, message)
            .with("offset", *offset)
            .with("size", *bytes),
        UploadError::InUse { upload } => {
            Refusal::new(Code::Conflict, message).with("what", upload.to_string())
        }
        UploadError::TooLarge { limit, got, max } => {
            Refusal::limit(Code::TooLarge, limit, *got, *max)
        }
        UploadError::Full { limit, used, max } => {
            let message = format!(
                "{}, or end an upload: `corelet app uploads` lists them, and `corelet app uploads --end ID` ends one",
                busy(limit, *used, *max)
            );
            Refusal::new(Code::Busy, message)
                .with("limit", *limit)
                .with("used", *used)
                .with("max", *max)
        }
        UploadError::DiskFull { .. } => {
            tracing::error!(error = %chain(error), "no space left for an upload");
            disk_full()
        }
        UploadError::File { .. } => {
            tracing::error!(error = %chain(error), "an upload could not be read or written");
            internal()
        }
    }
}
