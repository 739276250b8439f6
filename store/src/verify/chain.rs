//! Whether the deltas of a log, met from the newest back, are those that have led to its context:
//! each is one that a head or a delta behind it names, and together they come to what the head
//! counts. Needs nothing of a ledger, so that it can be compared while a copy comes in, too.

use std::collections::BTreeSet;

use crate::delta::DeltaView;
use crate::export::{RENUMBERED_BY, RENUMBERED_FROM};
use crate::ids::{ContextId, DeltaId};
use crate::record::Head;

/// What a walk from the heads back has met so far.
pub(crate) struct Chain {
    context: ContextId,
    /// Heads, and parents of what was met so far.
    expected: BTreeSet<DeltaId>,
    deltas: u64,
    version: u64,
    events: u64,
}

impl Chain {
    pub(crate) fn of(context: ContextId, head: &Head) -> Chain {
        Chain {
            context,
            expected: head.deltas.iter().copied().collect(),
            deltas: 0,
            version: 0,
            events: 0,
        }
    }

    /// Meets the next older delta, of which this is the id. Fails with what is wrong with it.
    pub(crate) fn meet(
        &mut self,
        head: &Head,
        delta: &DeltaView<'_>,
        id: &DeltaId,
    ) -> Result<(), &'static str> {
        if delta.context() != self.context {
            return Err("it changes another context");
        }
        if !self.expected.remove(id) {
            return Err("its hash is not what a successor names as parent");
        }
        if delta.hlc() > head.hlc {
            return Err("its stamp is later than its context's");
        }
        // All others are in its past, so it has led to what there is. Of another node's
        // that is not known for certain.
        if !head.is_shared && head.deltas == [*id] && delta.root() != head.root {
            return Err("its root is not the head's");
        }
        self.expected.extend(delta.parents());
        self.deltas += 1;
        self.version += u64::from(delta.op_count() > 0);
        self.events += u64::from(delta.event_count());
        Ok(())
    }

    /// How many were met.
    pub(crate) fn deltas(&self) -> u64 {
        self.deltas
    }

    /// A delta that was named and not met, though the log was not cut.
    pub(crate) fn missing(&self, head: &Head) -> Option<&DeltaId> {
        self.expected.first().filter(|_| head.log_pruned == 0)
    }

    /// Whether what was met comes to what the head counts.
    pub(crate) fn agrees(&self, head: &Head) -> bool {
        let is_pruned = head.log_pruned > 0;
        // Events of a copy were numbered anew when it came in.
        let of_whole_log = match head.events_last < RENUMBERED_FROM {
            true => self.events == head.events_last,
            false => self.events % RENUMBERED_BY == head.events_last % RENUMBERED_BY,
        };
        // Private writes change the state as well, without a delta.
        self.deltas == head.log_count
            && self.version <= head.version
            && (of_whole_log || (is_pruned && self.events < head.events_last))
    }
}
