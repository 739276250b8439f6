//! A context's state as one turn sees it: `GuestState` on top of the store.
//!
//! An update reads its own writes, then the overlay (what updates before it
//! have written and no snapshot shows), then the shard's current snapshot. A
//! query reads what was durable when it began: one snapshot, and what had
//! settled since that was taken. Owned by the turn.
//!
//! How a turn begins and what it has written is here. Reads and writes of single entries are in
//! `entries.rs`, what is read below the turn's own writes in `base.rs`, scans through all layers at
//! once in `scan.rs`, lists and texts in `sequences.rs`, attached blobs in `blobs.rs`, timers in `timers.rs`,
//! calls between contexts in `sends.rs`, subscriptions to events in `subscriptions.rs`.

mod base;
mod blobs;
mod entries;
mod merge;
mod scan;
mod sends;
#[cfg(test)]
mod sequence_tests;
mod sequences;
mod subscriptions;
mod timers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelet_store::{BlobHold, ContextSlot, Hlc, Op, SequenceError, Snapshot, Write};

use self::blobs::Attaching;
use self::sends::Origin;
pub(crate) use self::sends::{PutOffCallback, Taking};
use self::sequences::Sequences;
pub(crate) use self::sequences::{Edited, SequenceAccess};
pub(crate) use self::subscriptions::{
    Forward, Hearing, PutOffHearing, shown as shown_subscription,
};
pub(crate) use self::timers::PutOff;
use crate::blobs::BlobService;
use crate::overlay::{self, BySpace, Layer, Overlay, Shown};
use crate::snapshots::Snapshots;

/// What a turn reads from and writes to.
pub(crate) struct View {
    slot: ContextSlot,
    base: Base,
    changeset: BySpace<Own>,
    sequences: Sequences,
    attaching: Attaching,
    /// The time on the wall, in microseconds since 1970.
    now: u64,
    /// The call's time as its guest is told it, in microseconds since 1970: delays are counted from
    /// it, or a timer would run before the time that the guest has reckoned with.
    call_time: u64,
    /// Where the calls come from that it sends.
    origin: Origin,
    /// Bytes of records that were read and not shown, where these are many.
    unseen: Cell<u64>,
}

/// A write of this turn: what several writes of one entry come to.
#[derive(Debug)]
struct Own {
    removes_first: bool,
    write: Write,
    /// What the entry is read as since then.
    shown: Option<Shown>,
}

enum Base {
    /// What was durable when a query began.
    Fixed {
        snapshot: Rc<Snapshot>,
        settled: Rc<Layer>,
    },
    /// An update's base moves on while it runs, together with the overlay: what
    /// leaves the overlay is in the snapshot, so both together never change.
    Moving {
        snapshots: Rc<Snapshots>,
        overlay: Rc<RefCell<Overlay>>,
    },
    /// A context that is being made.
    Nothing,
}

/// What a turn has written, for the commit and for the overlay.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) ops: Vec<Op>,
    pub(crate) shown: Vec<overlay::Write>,
    /// To be kept if the commit takes the rest.
    pub(crate) edited: Edited,
    /// Of the blobs that it has attached, until that is durable.
    pub(crate) holds: Vec<BlobHold>,
}

impl View {
    pub(crate) fn of_query(
        slot: ContextSlot,
        snapshot: Rc<Snapshot>,
        settled: Rc<Layer>,
        access: SequenceAccess,
    ) -> View {
        View {
            slot,
            base: Base::Fixed { snapshot, settled },
            changeset: BySpace::default(),
            sequences: Sequences::new(access),
            attaching: Attaching::default(),
            now: 0,
            call_time: 0,
            origin: Origin::default(),
            unseen: Cell::default(),
        }
    }

    pub(crate) fn of_update(
        slot: ContextSlot,
        snapshots: Rc<Snapshots>,
        overlay: Rc<RefCell<Overlay>>,
        access: SequenceAccess,
    ) -> View {
        View {
            slot,
            base: Base::Moving { snapshots, overlay },
            changeset: BySpace::default(),
            sequences: Sequences::new(access),
            attaching: Attaching::default(),
            now: 0,
            call_time: 0,
            origin: Origin::default(),
            unseen: Cell::default(),
        }
    }

    pub(crate) fn of_init(access: SequenceAccess) -> View {
        View {
            slot: ContextSlot::UNASSIGNED,
            base: Base::Nothing,
            changeset: BySpace::default(),
            sequences: Sequences::new(access),
            attaching: Attaching::default(),
            now: 0,
            call_time: 0,
            origin: Origin::default(),
            unseen: Cell::default(),
        }
    }

    /// Blobs of this service can be attached.
    pub(crate) fn with_blobs(mut self, blobs: &BlobService) -> View {
        self.attaching = Attaching::new(blobs.clone());
        self
    }

    /// What the turn has written, in a delta with this stamp.
    ///
    /// # Errors
    /// Of the stamp, if it is not later than that of the edits before.
    pub(crate) fn into_written(mut self, hlc: Hlc) -> Result<Written, SequenceError> {
        let (mut ops, mut shown) = (Vec::new(), Vec::new());
        let mut edited = Edited::default();
        for (space, key, own) in self.changeset.into_all() {
            let Own {
                removes_first,
                mut write,
                shown: now,
            } = own;
            let mut edit = None;
            if let Write::Edit { update, .. } = &mut write {
                edit = self.sequences.take_edit(space, &key, hlc, &mut edited)?;
                *update = edit
                    .as_ref()
                    .map(|edit| edit.update.clone())
                    .unwrap_or_default();
            }
            shown.push(overlay::Write {
                space,
                key: key.clone(),
                shown: now,
                edit,
            });
            ops.push(Op {
                space,
                key,
                removes_first,
                write,
            });
        }
        let holds = self.attaching.take_holds();
        Ok(Written {
            ops,
            shown,
            edited,
            holds,
        })
    }
}

#[cfg(test)]
mod tests;
