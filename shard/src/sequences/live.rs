//! A list or text in memory, with what it is made of.

use bytes::Bytes;
use corelet_store::{
    EditPlace, EditView, Hlc, NodeId, Sequence, SequenceError, SequenceKind, replay,
};

use super::{Edit, Made};

/// What an edit takes in memory beside its bytes, about.
const EDIT_BYTES: u64 = 64;

/// What a sequence may grow by before it is measured again, if that is more than it has.
const MEASURE_BYTES: u64 = 64 << 10;

/// A delta of this node has seen everything that is here before it.
const EVERYTHING: Hlc = Hlc::from_bits(u64::MAX);

/// A sequence, and what it is made of.
pub(crate) struct Live {
    pub(crate) sequence: Sequence,
    pub(crate) made: Made,
    /// The last of its edits.
    pub(crate) place: EditPlace,
    /// What it takes in memory, about.
    pub(crate) bytes: u64,
    /// The same when it was last looked at.
    measured: u64,
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
            measured: bytes,
            sequence,
            made: Made {
                births: Default::default(),
                edits: 0,
            },
            place: EditPlace::behind(Hlc::ZERO),
            losses,
        }
    }

    /// Applies an edit of the snapshot. One that is void counts as well.
    pub(crate) fn apply(&mut self, edit: &EditView<'_>) {
        replay(&mut self.sequence, edit);
        self.place = edit.place;
        self.count(edit.update.len());
    }

    fn count(&mut self, update_bytes: usize) {
        self.made.edits += 1;
        self.grow(update_bytes);
    }

    /// Notes what an edit may take. Measured again when that has come to as much as was
    /// there: it looks at everything.
    fn grow(&mut self, update_bytes: usize) {
        self.bytes += EDIT_BYTES + 2 * update_bytes as u64;
        if self.bytes > 2 * self.measured + MEASURE_BYTES {
            self.measure();
        }
    }

    pub(crate) fn measure(&mut self) {
        self.bytes = self.sequence.memory_bytes() as u64;
        self.measured = self.bytes;
    }

    /// Applies an edit of this node.
    pub(crate) fn apply_own(&mut self, author: NodeId, edit: &Edit) {
        if edit.begins {
            self.made = Made::begun(author, edit.hlc, 0);
        }
        let seen = |_: &NodeId| EVERYTHING;
        if let Err(refused) = self.sequence.apply(author, edit.hlc, seen, &edit.update) {
            tracing::debug!(%author, %refused, "an edit changes nothing");
        }
        self.count(edit.update.len());
        self.place = EditPlace::behind(edit.hlc);
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
        self.grow(update.len());
        self.place = EditPlace::behind(hlc);
        Ok(Some(Edit {
            hlc,
            begins,
            update: Bytes::from(update),
        }))
    }
}
