//! Where the edits of a list or text are, at one moment: in a snapshot, in what has
//! settled since, and in what is on its way to the disk.

use std::ops::ControlFlow;
use std::rc::Rc;

use corelet_store::{ContextSlot, EntryKind, Hlc, NodeId, Snapshot, Space, StoreError};

use super::{Edit, Live, Made, Tail};

/// Edits that are read from a snapshot for a sequence that lacks them; one that lacks
/// more is made anew, in slices.
const CATCH_UP_EDITS_MAX: u64 = 512;

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
    /// How many of them the snapshot has.
    shown: u64,
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
        let mut shown = 0;
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
                shown = facts.edits;
                Made {
                    births: facts.births,
                    edits: shown + later + pending.edits,
                }
            }
        };
        Ok(Some(Source {
            author,
            place,
            snapshot: (!is_begun).then_some(snapshot),
            shown,
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

    /// Adds to a sequence what it lacks. Tells whether it is complete then: one that is
    /// made of other edits is of no use, and one that lacks too many is made anew.
    pub(crate) fn catch_up(
        &self,
        live: &mut Live,
        pending: impl FnOnce() -> Vec<Edit>,
    ) -> Result<bool, StoreError> {
        if live.made == self.made {
            return Ok(true);
        }
        if live.made.births != self.made.births || live.made.edits > self.made.edits {
            return Ok(false);
        }
        let missing = self.made.edits - live.made.edits;
        let later = self.made.edits - self.shown;
        if missing > later {
            let wanted = missing - later;
            let found = match &self.snapshot {
                Some(snapshot) if wanted <= CATCH_UP_EDITS_MAX => {
                    self.read_missing(snapshot, live, wanted)?
                }
                _ => 0,
            };
            // Another's edit may have come in before the last one that is known.
            if found != wanted {
                return Ok(false);
            }
        }
        let later = self.later(pending);
        let from = later.len().saturating_sub(missing as usize);
        for edit in &later[from..] {
            live.apply_own(self.author, edit);
        }
        Ok(live.made == self.made)
    }

    /// Applies up to `wanted` edits of the snapshot and tells how many there were.
    fn read_missing(
        &self,
        snapshot: &Snapshot,
        live: &mut Live,
        wanted: u64,
    ) -> Result<u64, StoreError> {
        let Place {
            slot,
            space,
            key,
            kind,
        } = &self.place;
        let mut found = 0;
        let behind = live.place;
        snapshot.edits_behind(*slot, *space, key, *kind, behind, &mut |edit| {
            found += 1;
            if found > wanted {
                return ControlFlow::Break(());
            }
            live.apply(&edit);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}
