//! Why an edit or an update of a sequence is refused. Nothing has changed then.

use super::content::SequenceKind;
use crate::hlc::Hlc;
use crate::ids::NodeId;

/// A refusal. For another author's update it depends on nothing but the update
/// and what its author had seen, so that every replica refuses the same ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The bytes are not what the format says.
    #[error("malformed sequence bytes at {at}: expected {expected}")]
    Malformed {
        /// Where in the bytes.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// More bytes or elements than a bound allows.
    #[error("{what} would be {got}, but {max} is the most; make smaller edits")]
    TooLarge {
        /// What is bounded.
        what: &'static str,
        /// What was asked for.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// The elements do not follow those that the author has inserted before.
    #[error("elements of {author} must go on from {expected}, but these begin at {got}")]
    Discontinuous {
        /// The author of the update.
        author: NodeId,
        /// The counter that the update begins with.
        got: u32,
        /// How many elements the author has.
        expected: u32,
    },
    /// The stamp is not after that of the author's update before.
    #[error("an update of {author} must be later than {last:?}, but has {got:?}")]
    NotLater {
        /// The author of the update.
        author: NodeId,
        /// The stamp of this update.
        got: Hlc,
        /// The stamp of the one before.
        last: Hlc,
    },
    /// The update names an element that its author cannot have known.
    #[error("an update of {author} names an element that its author had not seen")]
    Unseen {
        /// The author of the update.
        author: NodeId,
    },
    /// An index beyond the end.
    #[error("{index} is beyond the end of a sequence of {len}")]
    OutOfRange {
        /// The index, or the end of the range.
        index: usize,
        /// The length of the sequence.
        len: usize,
    },
    /// A list edited as a text, or the other way round.
    #[error("the sequence is a {kind:?}, and the edit is for the other kind")]
    WrongKind {
        /// What it is.
        kind: SequenceKind,
    },
    /// An update came while edits wait to be taken or rolled back.
    #[error("edits wait to be taken or rolled back; no update can be applied meanwhile")]
    EditsWait,
}
