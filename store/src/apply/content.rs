//! How much one context may hold: a call of this node that would make it more than that is
//! refused before anything of it is written. What other nodes write is not refused, as it
//! has happened.

use super::attached::refuse_growth;
use super::plan::Plan;
use super::{Pass, Stop};
use crate::record::Head;

/// How much a context may hold after a call of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextBounds {
    /// Bytes of its keys and values, what lists and texts are made of included.
    pub bytes_max: u64,
    /// Blobs that it has attached.
    pub blobs_max: u64,
    /// Bytes of the contents of these.
    pub blob_bytes_max: u64,
}

impl ContextBounds {
    /// No bounds.
    pub const NONE: ContextBounds = ContextBounds {
        bytes_max: u64::MAX,
        blobs_max: u64::MAX,
        blob_bytes_max: u64::MAX,
    };
}

impl Pass<'_> {
    /// Refuses a call whose `plan` leads from `head` to more than a context may hold; not one
    /// that leaves it smaller.
    pub(super) fn check_content(&self, head: &Head, plan: &Plan) -> Result<(), Stop> {
        let max = self.context_bounds.bytes_max;
        refuse_growth("context_bytes_max", head.bytes, plan.bytes(), max)
    }
}
