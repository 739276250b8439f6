//! The blobs to which the context refers: contents that are too large for an entry. They
//! are uploaded to the server by whoever calls the application, which is given their ids
//! and attaches them. A blob to which no context refers goes after a while; what one holds
//! is read from the server and not here.

use crate::error::Error;
use crate::host;

/// A blob that the context has attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its id, as the server gives it for an upload.
    pub blob: String,
    /// Bytes of its content.
    pub size: u64,
}

/// Makes the context refer to a blob, and gives its size. Attaching it again changes
/// nothing.
///
/// Fails, with the code `unknown_blob`, if this node has no such blob. How many blobs, and
/// how many bytes of them, a context has attached is bounded: a call that goes beyond it is
/// refused when it is committed.
pub fn attach(blob: &str) -> Result<u64, Error> {
    host::attach_blob(blob)
        .ok_or_else(|| Error::new("unknown_blob", format!("there is no blob {blob}")))
}

/// Takes the reference away; tells whether there was one. Other nodes may have said of the blob that it
/// has other sizes: up to 16384 of these go in one call beside one for each write, and with more
/// than that it stays attached until it is detached again.
pub fn detach(blob: &str) -> bool {
    host::detach_blob(blob)
}

/// The size of a blob that the context has attached.
pub fn size(blob: &str) -> Option<u64> {
    host::blob_size(blob)
}

/// All blobs that the context has attached, in the order of their ids.
pub fn attached() -> impl Iterator<Item = Attachment> {
    let mut page = Vec::new().into_iter();
    let (mut last, mut is_over) = (None::<String>, false);
    std::iter::from_fn(move || {
        if page.len() == 0 && !is_over {
            let next = host::attached_blobs(last.as_deref(), PAGE);
            is_over = next.len() < PAGE as usize;
            page = next.into_iter();
        }
        let (blob, size) = page.next()?;
        last = Some(blob.clone());
        Some(Attachment { blob, size })
    })
}

/// Attachments asked for at a time.
const PAGE: u32 = 256;
