//! The blobs that a context refers to, as one turn sees them: entries of their own space,
//! which read and write like all others. What is attached is held from before the write until
//! that is durable, so that nobody removes the blob meanwhile; taking a hold is work for the
//! blobs' threads, and the turn asks again slice by slice until it is done.

use std::ops::ControlFlow;
use std::task::{Context, Poll, Waker};

use corelet_store::{Attachment, BlobHold, BlobId};
use corelet_wasm_host::{
    AttachStep, AttachedBlob, AttachedFrom, AttachedPage, DetachStep, GuestBlobs, GuestState, Row,
    SizeFrom, SizeKnown, SizeStep, Space, StateError, StateWalk,
};

use super::View;
use crate::blobs::{BlobService, PendingAnswer, PendingHold, PendingLength};

/// Entries that were detached before and that a page walks over in one slice: about 100 us.
const HIDDEN_MAX: usize = 1_000;

/// Lengths with which other nodes may have attached one blob that are detached in one slice.
const LENGTHS_MAX: usize = 100;

/// What a turn has to do with blobs.
#[derive(Default)]
pub(super) struct Attaching {
    /// None where nothing can be attached.
    service: Option<BlobService>,
    /// What is being asked for.
    asked: Option<(BlobId, PendingHold)>,
    /// Whose length is being asked for.
    measured: Option<(BlobId, PendingLength)>,
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
        let held = poll_asked(&mut self.asked, blob, || service.begin_hold(blob));
        held.map_ok(|held| {
            held.map(|(hold, bytes)| {
                self.holds.push(hold);
                bytes
            })
        })
    }

    /// The length of a blob's content if this node has it.
    fn poll_length(&mut self, blob: BlobId) -> Poll<Result<Option<u64>, StateError>> {
        let Some(service) = &self.service else {
            return Poll::Ready(Ok(None));
        };
        poll_asked(&mut self.measured, blob, || service.begin_length(blob))
    }
}

/// Goes on with what was asked of this blob in an earlier slice, or begins to ask, which
/// gives nothing if too many ask at this moment.
fn poll_asked<T>(
    asked: &mut Option<(BlobId, PendingAnswer<T>)>,
    blob: BlobId,
    begin: impl FnOnce() -> Option<PendingAnswer<T>>,
) -> Poll<Result<Option<T>, StateError>> {
    let begun = match asked.take() {
        Some((of, pending)) if of == blob => Some(pending),
        _ => begin(),
    };
    let Some(mut pending) = begun else {
        return Poll::Pending;
    };
    let polled = pending.poll(&mut Context::from_waker(Waker::noop()));
    if polled.is_pending() {
        *asked = Some((blob, pending));
    }
    polled.map_err(StateError::new)
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

    fn detach(
        &mut self,
        blob: &str,
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<DetachStep, StateError> {
        let Ok(blob) = blob.parse::<BlobId>() else {
            return Ok(DetachStep::default());
        };
        let limit = limit.min(LENGTHS_MAX);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let InTheWay { walked, resume } =
            self.each_attachment(Walk::of(&blob, from), limit, |key| keys.push(key.to_vec()))?;
        for key in &keys {
            GuestState::remove(self, Space::Attached, key)?;
        }
        let is_full = keys.len() >= limit;
        Ok(DetachStep {
            detached: keys.len() as u64,
            walked,
            resume: resume.or_else(|| keys.pop().filter(|_| is_full)),
        })
    }

    fn attached_bytes(&mut self, blob: &str, from: &SizeFrom) -> Result<SizeStep, StateError> {
        let mut step = SizeStep {
            walked: 0,
            known: SizeKnown::Is(None),
        };
        let Ok(blob) = blob.parse::<BlobId>() else {
            return Ok(step);
        };
        let backwards = Walk {
            reverse: true,
            ..Walk::of(&blob, from.place.as_deref())
        };
        let mut lengths: Vec<u64> = from.largest.into_iter().collect();
        let way = self.each_attachment(backwards, 2 - lengths.len(), |key| {
            lengths.extend(Attachment::from_key(key).map(|attachment| attachment.bytes));
        })?;
        step.walked = way.walked;
        let largest = lengths.first().copied();
        step.known = match way.resume {
            place @ Some(_) if lengths.len() < 2 => SizeKnown::From(SizeFrom { place, largest }),
            _ => SizeKnown::Is(largest),
        };
        if lengths.len() < 2 {
            return Ok(step);
        }
        // Other nodes have said different things, of which the content here is one or none. The
        // largest is believed of a content that is not here.
        let here = match self.attaching.poll_length(blob) {
            Poll::Pending => {
                step.known = SizeKnown::Later;
                return Ok(step);
            }
            Poll::Ready(here) => here?,
        };
        if let Some(bytes) = here {
            let key = Attachment { blob, bytes }.key();
            let this = Walk {
                prefix: &key,
                ..Walk::default()
            };
            let mut is_said = false;
            self.each_attachment(this, 1, |_| is_said = true)?;
            if is_said {
                step.known = SizeKnown::Is(Some(bytes));
            }
        }
        Ok(step)
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
        let walk = Walk {
            after: after.as_deref(),
            ..Walk::default()
        };
        let InTheWay { walked, resume } = self.each_attachment(walk, limit, |key| {
            let attachment = Attachment::from_key(key);
            blobs.extend(attachment.map(|Attachment { blob, bytes }| AttachedBlob {
                id: blob.to_string(),
                bytes,
            }));
        })?;
        Ok(AttachedPage {
            blobs,
            walked,
            resume,
        })
    }
}

/// Bytes of an attachment's key behind the id.
const KEY_REST: usize = size_of::<u64>();

/// Which attachments are looked for.
#[derive(Clone, Copy, Default)]
struct Walk<'w> {
    prefix: &'w [u8],
    after: Option<&'w [u8]>,
    reverse: bool,
}

impl<'w> Walk<'w> {
    /// Those of one blob.
    fn of(blob: &'w BlobId, after: Option<&'w [u8]>) -> Walk<'w> {
        Walk {
            prefix: blob.as_bytes(),
            after,
            reverse: false,
        }
    }
}

/// What was in the way of those that are looked for.
#[derive(Default)]
struct InTheWay {
    /// Entries that the turn itself has removed.
    walked: u64,
    /// Where to go on, if there was too much.
    resume: Option<Vec<u8>>,
}

impl View {
    /// Tells `limit` attachments of those that are looked for; gives what was in the way.
    fn each_attachment(
        &mut self,
        walk: Walk<'_>,
        limit: usize,
        mut tell: impl FnMut(&[u8]),
    ) -> Result<InTheWay, StateError> {
        let (mut hidden, mut way) = (0, InTheWay::default());
        let walk = StateWalk {
            space: Space::Attached,
            prefix: walk.prefix,
            after: walk.after,
            limit,
            reverse: walk.reverse,
        };
        GuestState::scan(self, walk, &mut |key, row| {
            match row {
                Row::Shown(_) | Row::WrittenOnce(_) => tell(key),
                Row::Removed => (hidden, way.walked) = (hidden + 1, way.walked + 1),
                Row::Hidden | Row::Unseen(_) => hidden += 1,
            }
            if hidden < HIDDEN_MAX {
                return ControlFlow::Continue(());
            }
            way.resume = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        Ok(way)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;
    use corelet_store::NodeId;
    use futures_lite::future::block_on;

    use super::*;
    use crate::fixture::{self, Disk};
    use crate::view::SequenceAccess;

    /// With how many entries were walked over, and in how many slices.
    fn look(view: &mut View, blob: &str) -> (Option<u64>, u64, u64) {
        let (mut from, mut walked, mut slices) = (SizeFrom::default(), 0, 1);
        loop {
            let step = view.attached_bytes(blob, &from).unwrap();
            assert!(step.walked <= HIDDEN_MAX as u64);
            match step.known {
                SizeKnown::Later => std::thread::yield_now(),
                SizeKnown::From(place) => {
                    (walked, slices) = (walked + step.walked, slices + 1);
                    from = place;
                }
                SizeKnown::Is(bytes) => return (bytes, walked + step.walked, slices),
            }
        }
    }

    fn size(view: &mut View, blob: &str) -> Option<u64> {
        look(view, blob).0
    }

    /// A member may say any lengths of it, and as many as it likes.
    #[test]
    fn a_blob_with_many_lengths_has_that_of_its_content_and_is_detached_with_all() {
        let dir = tempfile::tempdir().unwrap();
        let service = BlobService::of_no_shards(dir.path());
        let uploaded = block_on(async {
            let mut upload = service.upload(None, None).await?;
            upload.write(Bytes::from_static(b"content")).await?;
            upload.finish().await
        });
        let blob = uploaded.unwrap().hold.id();
        let disk = Disk::new();
        let slot = disk.create(1);
        let said = (1..=10_001).map(|bytes| Attachment { blob, bytes });
        let said = fixture::attach_all(1, slot, 2, said);
        disk.ledger.commit(vec![said]).unwrap().remove(0).unwrap();
        let settled = fixture::context(1, slot).overlay.borrow().settled();
        let snapshot = Rc::new(disk.ledger.snapshot().unwrap());
        let access = SequenceAccess::without_cache(NodeId::from_bytes([2; 32]));
        let view = View::of_query(slot, snapshot, settled, access);
        let (mut view, id) = (view.with_blobs(&service), blob.to_string());
        assert_eq!(size(&mut view, &id), Some(7));
        let fan = dir.path().join(format!("{:02x}", blob.as_bytes()[0]));
        std::fs::remove_file(fan.join(&id)).unwrap();
        assert_eq!(
            size(&mut view, &id),
            Some(10_001),
            "the largest, if it is not here"
        );
        let (mut detached, mut from) = (0, None);
        loop {
            let step = view.detach(&id, from.as_deref(), 70).unwrap();
            assert!(step.detached <= 70);
            detached += step.detached;
            from = step.resume;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(detached, 10_001);
        // What the turn has detached is in the way, and not all of it in one slice.
        assert_eq!(look(&mut view, &id), (None, 10_001, 11));
    }
}
