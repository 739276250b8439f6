//! How much one context may hold: a call of this node that would make it more than that is
//! refused before anything of it is written. What other nodes write is not refused, as it
//! has happened.

use std::mem;

use super::attached::refuse_growth;
use super::plan::Plan;
use super::{Pass, Stop};
use crate::change::{CallEffects, Op};
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
    /// Does something for which a context may hold anything.
    pub(super) fn unbounded<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let bounds = mem::replace(&mut self.context_bounds, ContextBounds::NONE);
        let done = run(self);
        self.context_bounds = bounds;
        done
    }

    /// Refuses a new context whose `init` writes more than one may hold: keys and values, not
    /// what is around them, which is only known when they are written, with the context's
    /// record before them.
    pub(super) fn check_first_content(&self, init: &CallEffects) -> Result<(), Stop> {
        let ops = init.ops.iter().map(Op::view);
        let bytes = ops.map(|op| (op.key.len() + op.write.payload().len()) as u64);
        let max = self.context_bounds.bytes_max;
        refuse_growth("context_bytes_max", 0, bytes.sum(), max)
    }

    /// Refuses a call whose `plan` leads from `head` to more than a context may hold; not one
    /// that leaves it smaller. (An edit that removes from a list or text is one more edit.)
    pub(super) fn check_content(&self, head: &Head, plan: &Plan) -> Result<(), Stop> {
        let max = self.context_bounds.bytes_max;
        refuse_growth("context_bytes_max", head.bytes, plan.bytes(), max)
    }
}
