//! Where the edits of a list or text are, at one moment: in a snapshot, in what has
//! settled since, and in what is on its way to the disk.

use std::rc::Rc;

use corelet_store::{ContextSlot, EntryKind, Hlc, NodeId, Snapshot, Space, StoreError};

use super::{Edit, Live, Made, Tail};

/// A sequence by its place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) slot: ContextSlot,
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
    pub(crate) kind: EntryKind,
}

/// Edits that are on their way to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The stamp of the last one that begins the sequence.
    pub(crate) begun: Option<Hlc>,
    /// How many there are from that one on, or in all.
    pub(crate) edits: u64,
}

/// Where the edits of one sequence are.
pub(crate) struct Source {
    pub(crate) author: NodeId,
    pub(crate) place: Place,
    /// None if the sequence has begun since it was taken.
    snapshot: Option<Rc<Snapshot>>,
    tail: Option<Tail>,
    pending: Pending,
    /// What the sequence is made of.
    pub(crate) made: Made,
}

impl Source {
    /// Works out what the sequence is made of. None if there is none.
    pub(crate) fn find(
        author: NodeId,
        place: Place,
        snapshot: Rc<Snapshot>,
        tail: Option<Tail>,
        pending: Pending,
    ) -> Result<Option<Source>, StoreError> {
        let later = tail.as_ref().map_or(0, |tail| tail.len() as u64);
        let first = tail.as_ref().and_then(|tail| tail.first());
        let begun = match (pending.begun, first) {
            (Some(hlc), _) => Some(Made::begun(author, hlc, pending.edits)),
            (
                None,
                Some(Edit {
                    begins: true, hlc, ..
                }),
            ) => Some(Made::begun(author, *hlc, later + pending.edits)),
            _ => None,
        };
        let is_begun = begun.is_some();
        let made = match begun {
            Some(made) => made,
            None => {
                let Place {
                    slot,
                    space,
                    key,
                    kind,
                } = &place;
                let Some(facts) = snapshot.sequence(*slot, *space, key, *kind)? else {
                    return Ok(None);
                };
                Made {
                    births: facts.births,
                    edits: facts.edits + later + pending.edits,
                }
            }
        };
        Ok(Some(Source {
            author,
            place,
            snapshot: (!is_begun).then_some(snapshot),
            tail,
            pending,
            made,
        }))
    }

    pub(crate) fn snapshot(&self) -> Option<&Rc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The edits that the snapshot has not, in order. `pending` gives those that are on
    /// their way.
    pub(crate) fn later(&self, pending: impl FnOnce() -> Vec<Edit>) -> Vec<Edit> {
        let mut later = Vec::new();
        if let (None, Some(tail)) = (self.pending.begun, &self.tail) {
            later.extend_from_slice(tail);
        }
        if self.pending.edits > 0 {
            later.append(&mut pending());
        }
        later
    }

    /// Whether a sequence that was kept is a former one of this, so that what it lacks can
    /// be added: one that is made of other edits is of no use.
    pub(crate) fn can_go_on(&self, live: &Live) -> bool {
        live.made.births == self.made.births && live.made.edits <= self.made.edits
    }
}
