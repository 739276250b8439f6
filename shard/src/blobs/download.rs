//! A blob on its way out: parts as the blobs' threads have read and verified them, one
//! ahead of what the client has taken. Owned by the shard that has the connection; the
//! file stays with the threads.

use std::ops::Range;
use std::task::{Context, Poll};

use bytes::Bytes;
use corelet_store::{BlobError, BlobId, BlobReader};

use super::BlobService;
use super::error::BlobRequestError;
use super::threads::{Aside, Pending};
use crate::places::Place;

/// A blob that is being read.
pub struct BlobDownload {
    service: BlobService,
    id: BlobId,
    /// Bytes of the whole content.
    bytes: u64,
    /// What is still to be asked for.
    left: Range<u64>,
    at: State,
}

/// With its place among the downloads, which is free again when the file is closed.
pub(super) struct Reader {
    pub(super) reader: BlobReader,
    pub(super) _place: Place,
}

enum State {
    Resting(Aside<Reader>),
    Reading(Pending<(Aside<Reader>, Result<Bytes, BlobError>)>),
    Over,
}

impl BlobDownload {
    pub(super) fn new(service: BlobService, reader: Aside<Reader>) -> BlobDownload {
        let (id, bytes) = (reader.reader.id(), reader.reader.bytes());
        BlobDownload {
            service,
            id,
            bytes,
            left: 0..bytes,
            at: State::Resting(reader),
        }
    }

    /// The blob.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Bytes of all of its content.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Wants only these bytes. Before the first part.
    pub fn narrow(&mut self, range: Range<u64>) {
        self.left = range.start.min(self.bytes)..range.end.min(self.bytes);
    }

    /// The next part; `None` behind the last one. After an error it has ended: what is
    /// damaged is never handed out.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BlobRequestError>>> {
        if let Err(error) = self.read_on() {
            return Poll::Ready(Some(Err(error)));
        }
        let State::Reading(part) = &mut self.at else {
            return Poll::Ready(None);
        };
        let Poll::Ready(part) = part.poll(cx) else {
            return Poll::Pending;
        };
        self.at = State::Over;
        let part = part.and_then(|(reader, part)| {
            let part = part.inspect_err(|error| self.service.note_damage(error))?;
            self.left.start += part.len() as u64;
            self.service.stats().read_bytes.add(part.len() as u64);
            self.at = State::Resting(reader);
            // One ahead, so that disk and client work at the same time.
            self.read_on()?;
            Ok(part)
        });
        Poll::Ready(Some(part))
    }

    /// Asks for the next part, if there is one and nobody is at it.
    fn read_on(&mut self) -> Result<(), BlobRequestError> {
        let mut reader = match std::mem::replace(&mut self.at, State::Over) {
            State::Resting(reader) if !self.left.is_empty() => reader,
            State::Reading(part) => {
                self.at = State::Reading(part);
                return Ok(());
            }
            State::Resting(_) | State::Over => return Ok(()),
        };
        let (from, most) = (self.left.start, self.left.end - self.left.start);
        let read = move || {
            let part = reader.reader.part(from).map(|part| {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                Bytes::copy_from_slice(&part[..part.len().min(most)])
            });
            (reader, part)
        };
        self.at = State::Reading(self.service.threads().run(read)?);
        Ok(())
    }
}
