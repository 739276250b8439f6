//! The blobs that a context refers to, as one turn sees them: entries of their own space,
//! which read and write like all others. What is attached is held from before the write until
//! that is durable, so that nobody removes the blob meanwhile; taking a hold is work for the
//! blobs' threads, and the turn asks again slice by slice until it is done.

use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker};

use corelet_store::{Attachment, BlobHold, BlobId};
use corelet_wasm_host::{
    AttachStep, AttachedBlob, AttachedFrom, AttachedPage, GuestBlobs, GuestState, Row, Space,
    StateError, StateWalk,
};

use super::View;
use crate::blobs::{BlobService, PendingHold};

/// Entries that were detached before and that a page walks over in one slice: about 100 us.
const HIDDEN_MAX: usize = 1_000;

/// Lengths with which other nodes may have attached one blob that are detached at once.
const LENGTHS_MAX: usize = 100;

/// What a turn has to do with blobs.
#[derive(Default)]
pub(super) struct Attaching {
    /// None where nothing can be attached.
    service: Option<BlobService>,
    /// What is being asked for.
    asked: Option<(BlobId, PendingHold)>,
    /// Of everything that the turn has attached.
    holds: Vec<BlobHold>,
}

impl Attaching {
    pub(super) fn new(service: BlobService) -> Attaching {
        Attaching {
            service: Some(service),
            ..Attaching::default()
        }
    }

    pub(super) fn take_holds(&mut self) -> Vec<BlobHold> {
        std::mem::take(&mut self.holds)
    }

    /// Holds a blob; gives the size of its content if this node has it.
    fn poll_hold(&mut self, blob: BlobId) -> Poll<Result<Option<u64>, StateError>> {
        let Some(service) = &self.service else {
            return Poll::Ready(Ok(None));
        };
        let mut pending = match self.asked.take() {
            Some((asked, pending)) if asked == blob => pending,
            _ => match service.begin_hold(blob) {
                Some(pending) => pending,
                // Too many ask at this moment.
                None => return Poll::Pending,
            },
        };
        match pending.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.asked = Some((blob, pending));
                Poll::Pending
            }
            Poll::Ready(held) => Poll::Ready(match held.map_err(StateError::new)? {
                None => Ok(None),
                Some((hold, bytes)) => {
                    self.holds.push(hold);
                    Ok(Some(bytes))
                }
            }),
        }
    }
}

impl GuestBlobs for View {
    fn attach(&mut self, blob: &str) -> Result<AttachStep, StateError> {
        let Ok(blob) = blob.parse::<BlobId>() else {
            return Ok(AttachStep::Missing);
        };
        match self.attaching.poll_hold(blob) {
            Poll::Pending => Ok(AttachStep::More),
            Poll::Ready(found) => match found? {
                None => Ok(AttachStep::Missing),
                Some(bytes) => {
                    let key = Attachment { blob, bytes }.key();
                    GuestState::insert(self, Space::Attached, &key)?;
                    Ok(AttachStep::Attached { bytes })
                }
            },
        }
    }

    fn detach(&mut self, blob: &str) -> Result<bool, StateError> {
        let Ok(blob) = blob.parse::<BlobId>() else {
            return Ok(false);
        };
        let mut keys = Vec::new();
        self.each_attachment(blob.as_bytes(), None, LENGTHS_MAX, |key| {
            keys.push(key.to_vec())
        })?;
        for key in &keys {
            GuestState::remove(self, Space::Attached, key)?;
        }
        Ok(!keys.is_empty())
    }

    fn attached_bytes(&mut self, blob: &str) -> Result<Option<u64>, StateError> {
        let Ok(blob) = blob.parse::<BlobId>() else {
            return Ok(None);
        };
        let mut found = None;
        self.each_attachment(blob.as_bytes(), None, 1, |key| {
            found = Attachment::from_key(key);
        })?;
        Ok(found.map(|attachment| attachment.bytes))
    }

    fn attached(
        &mut self,
        from: AttachedFrom<'_>,
        limit: usize,
    ) -> Result<AttachedPage, StateError> {
        let after = match from {
            AttachedFrom::Start => None,
            AttachedFrom::Resumed(key) => Some(key),
            AttachedFrom::Behind(id) => match id.parse::<BlobId>() {
                // Behind every length that it may have.
                Ok(blob) => Some([&blob.as_bytes()[..], &[0xff; KEY_REST]].concat()),
                Err(_) => {
                    let what = format!("{id:?} is not the id of a blob");
                    return Err(StateError::Misused(what));
                }
            },
        };
        let mut blobs = Vec::new();
        let resume = self.each_attachment(&[], after.as_deref(), limit, |key| {
            let attachment = Attachment::from_key(key);
            blobs.extend(attachment.map(|Attachment { blob, bytes }| AttachedBlob {
                id: blob.to_string(),
                bytes,
            }));
        })?;
        Ok(AttachedPage { blobs, resume })
    }
}

/// Bytes of an attachment's key behind the id.
const KEY_REST: usize = size_of::<u64>();

impl View {
    /// Tells `limit` attachments whose keys begin with `prefix`; gives where to go on if
    /// there was too much in the way.
    fn each_attachment(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        mut tell: impl FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, StateError> {
        let (mut hidden, mut resume) = (0, None);
        let walk = StateWalk {
            space: Space::Attached,
            prefix,
            after,
            limit,
            reverse: false,
        };
        GuestState::scan(self, walk, &mut |key, row| {
            match row {
                Row::Shown(_) => tell(key),
                Row::Removed | Row::Hidden => hidden += 1,
            }
            if hidden < HIDDEN_MAX {
                return ControlFlow::Continue(());
            }
            resume = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        Ok(resume)
    }
}
