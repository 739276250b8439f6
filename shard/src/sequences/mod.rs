//! Lists and texts in memory, so that an edit costs the same however long they are.
//!
//! What is true is the edits: those that a snapshot shows, then those that the context's
//! overlay keeps. A sequence in memory is made of them and can be dropped at any time. It
//! is known by what it is made of: edits are only added while its births stay, so as many
//! edits with the same births are the same ones ([`Made`]). Whoever finds a sequence of
//! fewer edits than there are adds those that are missing, and any other is made anew
//! ([`Opening`]).
//!
//! | file | holds |
//! |---|---|
//! | `live.rs` | a sequence in memory |
//! | `source.rs` | where its edits are |
//! | `opening.rs` | making one, a slice at a time |
//! | `openings.rs` | those that are being made, and their bound |
//! | `cache.rs` | those that are kept between turns |
//!
//! All of it belongs to the shard's thread.

mod cache;
mod live;
mod opening;
mod openings;
mod source;

use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{Birth, Births, EntryKind, Hlc, NodeId, SequenceKind};

use crate::large::{Large, PIECE_BYTES, Weigh};

pub(crate) use self::cache::{Name, Role, SequenceCache};
pub(crate) use self::live::{Live, Seen};
pub(crate) use self::opening::Opening;
pub(crate) use self::openings::{
    Openings, OpeningsFull, SharedError, SharedOpening, SharedStep, Ticket,
};
pub(crate) use self::source::{Pending, Place, Source};

/// What is done to lists and texts in one go, in the store's steps. Measured by
/// `store/examples/sequence_steps.rs`: 0.1 to 0.4 ms, by what is done.
pub(crate) const STEP_WORK: u64 = 1_000;

/// An edit of this node that no snapshot shows yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) hlc: Hlc,
    /// Whether the sequence begins with it.
    pub(crate) begins: bool,
    pub(crate) update: Bytes,
}

impl Weigh for Vec<Edit> {
    fn memory_bytes(&self) -> usize {
        let updates = self.iter().map(|edit| edit.update.len());
        self.len() * PIECE_BYTES + updates.sum::<usize>()
    }
}

/// Edits that have settled since the last checkpoint, or since the sequence has begun.
pub(crate) type Tail = Rc<Large<Vec<Edit>>>;

/// What a sequence is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) births: Births,
    pub(crate) edits: u64,
}

impl Made {
    /// Of an edit that begins it, and others behind that.
    pub(crate) fn begun(author: NodeId, hlc: Hlc, edits: u64) -> Made {
        Made {
            births: [Birth { author, hlc }].into_iter().collect(),
            edits,
        }
    }
}

/// The store's word for the kind of an entry.
pub(crate) fn entry_kind(kind: SequenceKind) -> EntryKind {
    match kind {
        SequenceKind::List => EntryKind::List,
        SequenceKind::Text => EntryKind::Text,
    }
}
