//! The border to the blobs that a context refers to: the part of
//! [`GuestState`](crate::GuestState) that attaches and detaches them. Ids are text here, as
//! guests have them: what they mean, and where blobs lie, is behind it.

use crate::guest_state::StateError;

/// How far attaching a blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachStep {
    /// Somebody looks on the disk. How long that takes is not the guest's doing, so it costs
    /// no fuel; the slice ends, and the same is asked again.
    More,
    /// This node has no such blob, or there is no such id.
    Missing,
    /// It is attached.
    Attached {
        /// Bytes of its content.
        bytes: u64,
    },
}

/// How far detaching a blob has come: it may be attached with many lengths, as other nodes may
/// have said so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetachStep {
    /// How many attachments this step has removed.
    pub detached: u64,
    /// Entries that the turn has removed before, and that were walked over.
    pub walked: u64,
    /// Where to go on if there may be more; the slice may end before.
    pub resume: Option<Vec<u8>>,
}

/// How far looking for the size of an attached blob has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeStep {
    /// Entries that the turn has removed before, and that were walked over.
    pub walked: u64,
    /// What is known by now.
    pub known: SizeKnown,
}

/// What is known of the size of an attached blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SizeKnown {
    /// Somebody looks on the disk: as in [`AttachStep::More`].
    Later,
    /// Nothing yet, as much was in the way that was detached before. The slice may end.
    From(SizeFrom),
    /// Bytes of its content; none if it is not attached.
    Is(Option<u64>),
}

/// Where looking for the size of an attached blob goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizeFrom {
    /// The last entry that was looked at; none at the beginning.
    pub place: Option<Vec<u8>>,
    /// The largest of its lengths, if one was found.
    pub largest: Option<u64>,
}

/// A blob that the context has attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedBlob {
    /// Its id.
    pub id: String,
    /// Bytes of its content.
    pub bytes: u64,
}

/// Where a list of attached blobs begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachedFrom<'a> {
    /// At the first one.
    Start,
    /// Behind this id.
    Behind(&'a str),
    /// Where the page before has ended its slice.
    Resumed(Vec<u8>),
}

/// Some of the blobs that the context has attached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachedPage {
    /// In the order of their ids' bytes.
    pub blobs: Vec<AttachedBlob>,
    /// Entries that the turn has removed before, and that were walked over.
    pub walked: u64,
    /// Where to go on if the slice has to end first: there was much in the way that was
    /// detached before.
    pub resume: Option<Vec<u8>>,
}

/// What a turn can do with blobs. By default there are none. Lengths and counts are already
/// checked, and the turn is known to be allowed to write.
pub trait GuestBlobs {
    /// Attaches a blob.
    fn attach(&mut self, _blob: &str) -> Result<AttachStep, StateError> {
        Ok(AttachStep::Missing)
    }

    /// Removes up to `limit` attachments of a blob, going on behind what the step before has
    /// given.
    fn detach(
        &mut self,
        _blob: &str,
        _from: Option<&[u8]>,
        _limit: usize,
    ) -> Result<DetachStep, StateError> {
        Ok(DetachStep::default())
    }

    /// Looks for the bytes of a blob that is attached.
    fn attached_bytes(&mut self, _blob: &str, _from: &SizeFrom) -> Result<SizeStep, StateError> {
        Ok(SizeStep {
            walked: 0,
            known: SizeKnown::Is(None),
        })
    }

    /// Up to `limit` attached blobs.
    fn attached(
        &mut self,
        _from: AttachedFrom<'_>,
        _limit: usize,
    ) -> Result<AttachedPage, StateError> {
        Ok(AttachedPage::default())
    }
}
