//! A list or text in memory, with what it is made of.

use std::borrow::Cow;

use bytes::Bytes;
use corelet_store::{
    Allowance, Arriving, EditPlace, Hlc, NodeId, Sequence, SequenceError, SequenceKind, seen_in,
    tell_void,
};

use super::{Edit, Made};
use crate::large::Large;

/// A delta of this node has seen everything that is here before it.
const EVERYTHING: Hlc = Hlc::from_bits(u64::MAX);

/// What the delta of an edit had seen of the sequence's authors.
pub(crate) enum Seen<'a> {
    /// This node's own: all that is here.
    Everything,
    /// Each up to a stamp, as an edit that is stored says.
    UpTo(Cow<'a, [(NodeId, Hlc)]>),
}

/// A sequence, and what it is made of.
pub(crate) struct Live {
    pub(crate) sequence: Large<Sequence>,
    pub(crate) made: Made,
    /// The last of its edits.
    pub(crate) place: EditPlace,
    /// What it takes in memory, about.
    pub(crate) bytes: u64,
    /// What its context had lost when it was made, if it is made of edits that may be.
    pub(crate) losses: u64,
}

impl Live {
    /// One that begins now.
    pub(crate) fn new(kind: SequenceKind, author: NodeId, losses: u64) -> Live {
        let sequence = Sequence::new(kind, author);
        let bytes = sequence.memory_bytes() as u64;
        Live {
            bytes,
            sequence: Large::new(sequence),
            made: Made {
                births: Default::default(),
                edits: 0,
            },
            place: EditPlace::behind(Hlc::ZERO),
            losses,
        }
    }

    /// Goes on with an update of an author, of which `seen` tells what it had seen. Gives it
    /// back if not all of it could be done; one that turns out to be void is done.
    pub(crate) fn go_on_applying(
        &mut self,
        mut arriving: Large<Arriving>,
        author: NodeId,
        seen: &Seen,
        update: &[u8],
        allowance: &Allowance,
    ) -> Option<Large<Arriving>> {
        let sequence = &mut self.sequence;
        let applied = match seen {
            Seen::Everything => {
                let seen = |_: &NodeId| EVERYTHING;
                sequence.go_on_applying(&mut arriving, seen, update, allowance)
            }
            Seen::UpTo(pairs) => {
                sequence.go_on_applying(&mut arriving, seen_in(pairs), update, allowance)
            }
        };
        match applied {
            Ok(true) => None,
            Ok(false) => Some(arriving),
            Err(refused) => {
                tell_void(author, &refused);
                None
            }
        }
    }

    /// Counts an edit that was applied. One that is void counts as well.
    pub(crate) fn count(&mut self, place: EditPlace) {
        self.made.edits += 1;
        self.place = place;
    }

    /// Looks at what it takes: that costs no more than to read some counters.
    pub(crate) fn measure(&mut self) {
        self.bytes = self.sequence.memory_bytes() as u64;
    }

    /// Applies an edit of this node. Gives what is left to do of it, if not all could be
    /// done; it has to be counted then.
    pub(crate) fn apply_own(
        &mut self,
        author: NodeId,
        edit: &Edit,
        allowance: &Allowance,
    ) -> Option<Large<Arriving>> {
        if edit.begins {
            self.made = Made::begun(author, edit.hlc, 0);
        }
        let begun = self.sequence.begin_apply(author, edit.hlc, &edit.update);
        let left = match begun {
            Ok(arriving) => {
                let seen = Seen::Everything;
                let arriving = Large::new(arriving);
                self.go_on_applying(arriving, author, &seen, &edit.update, allowance)
            }
            Err(refused) => {
                tell_void(author, &refused);
                None
            }
        };
        if left.is_none() {
            self.count(EditPlace::behind(edit.hlc));
        }
        left
    }

    /// Takes what a turn has edited, as its delta with this stamp will have it; none if
    /// it has edited nothing.
    pub(crate) fn take_edit(
        &mut self,
        author: NodeId,
        hlc: Hlc,
    ) -> Result<Option<Edit>, SequenceError> {
        let Some(update) = self.sequence.take_update(hlc)? else {
            return Ok(None);
        };
        let begins = self.made.births.is_empty();
        if begins {
            self.made = Made::begun(author, hlc, 0);
        }
        self.made.edits += 1;
        self.place = EditPlace::behind(hlc);
        self.measure();
        Ok(Some(Edit {
            hlc,
            begins,
            update: Bytes::from(update),
        }))
    }
}
