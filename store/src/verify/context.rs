//! What one context has to agree on: its head with what was counted, its trie with its
//! entries, its log and the pasts of its deltas with its heads. Each of these is
//! compared for itself and tells of its first disagreement, so that one of them does
//! not hide another.

use super::Found;
use super::chain::Chain;
use super::pasts::Pasts;
use super::signed::check_signed;
use crate::authors::Authors;
use crate::error::{StoreError, hex};
use crate::ids::ContextSlot;
use crate::kept_check::check_kept;
use crate::layout;
use crate::record::{ContextRecord, Head};
use crate::snapshot::Snapshot;

/// A context, and what was found of it.
pub(super) struct Context<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) authors: &'s Authors,
    pub(super) record: &'s ContextRecord,
    pub(super) head: &'s Head,
    pub(super) found: &'s Found,
    /// Whether it has just come in: then its trie was compared with its entries and the sizes of
    /// log and events were counted while they came.
    pub(super) is_incoming: bool,
    /// Whether its log was compared with its heads already, and nothing else is kept of its deltas.
    pub(super) is_log_compared: bool,
}

impl Context<'_> {
    pub(super) fn check(&self, tell: &mut dyn FnMut(StoreError)) {
        let checks = [
            self.counts(),
            self.dots(),
            self.edits(),
            self.events(),
            self.answers(),
            self.aside(),
            self.trie(),
            self.log(),
            check_kept(self.snapshot, self.slot(), self.head, self.is_incoming),
            check_signed(self.snapshot, self.slot(), self.head, self.authors),
        ];
        checks.into_iter().filter_map(Result::err).for_each(tell);
    }

    pub(super) fn slot(&self) -> ContextSlot {
        self.record.slot
    }

    fn wrong(&self, what: &'static str, why: &'static str) -> StoreError {
        StoreError::corrupt(what, &layout::slot_key(self.slot()), why)
    }

    fn counts(&self) -> Result<(), StoreError> {
        let (head, found) = (self.head, self.found);
        if head.context != self.record.id {
            let why = "it belongs to another context than its record says";
            return Err(self.wrong("head record", why));
        }
        // What a damaged entry amounts to is not known.
        let bytes = if found.is_damaged {
            head.bytes
        } else {
            found.bytes
        };
        let counted = (head.entries, head.replicated, head.bytes);
        match counted == (found.entries, found.replicated, bytes) {
            true => Ok(()),
            false => {
                let why = "it counts other entries or bytes than there are";
                Err(self.wrong("head record", why))
            }
        }
    }

    /// Entries are of deltas that the context has seen.
    fn dots(&self) -> Result<(), StoreError> {
        let seen = &self.head.seen;
        let mut wrote = self.found.wrote.pairs().iter();
        match wrote.all(|(author, hlc)| *hlc <= seen.stamp(*author)) {
            true => Ok(()),
            false => {
                let why = "an entry was written by a delta that it has not seen";
                Err(self.wrong("head record", why))
            }
        }
    }

    fn edits(&self) -> Result<(), StoreError> {
        let found = self.found;
        let agrees = match found.has_litter {
            // Some are about to be swept.
            true => found.edits >= found.edits_needed,
            false => found.edits == found.edits_needed,
        };
        match agrees || found.is_damaged {
            true => Ok(()),
            false => Err(self.wrong("edits", "there are others than entries have")),
        }
    }

    fn events(&self) -> Result<(), StoreError> {
        let (head, found) = (self.head, self.found);
        let count = (head.events_last + 1).checked_sub(head.events_first);
        let is_first = found.events_count == 0 || found.events_first == head.events_first;
        let agrees = !found.is_event_missing && is_first && count == Some(found.events_count);
        match agrees || found.is_damaged {
            true => Ok(()),
            false => {
                let why = "its events are not the ones that it counts";
                Err(self.wrong("head record", why))
            }
        }
    }

    /// Each answer has been found by age, so equal numbers mean that no age is left over.
    fn answers(&self) -> Result<(), StoreError> {
        let found = self.found;
        let agrees = found.answers == found.answers_by_age && found.answers == found.answers_tally;
        match agrees || found.is_damaged {
            true => Ok(()),
            false => {
                let why = "it counts other answers or bytes than there are";
                Err(self.wrong("tally of answers", why))
            }
        }
    }

    /// Every call that waits for it is there: each was acknowledged.
    fn aside(&self) -> Result<(), StoreError> {
        let found = self.found;
        match found.aside == found.aside_said || found.is_damaged {
            true => Ok(()),
            false => {
                let why = "it counts other calls than wait";
                Err(self.wrong("record of a quarantine", why))
            }
        }
    }

    fn trie(&self) -> Result<(), StoreError> {
        if self.is_incoming {
            return Ok(());
        }
        let nodes = self
            .snapshot
            .check_trie(self.head, self.slot(), self.authors)?;
        match nodes == self.found.trie_nodes {
            true => Ok(()),
            false => {
                let why = "it has other nodes than its entries give";
                Err(self.wrong("trie", why))
            }
        }
    }

    /// Walks the deltas back to the oldest that is kept.
    fn log(&self) -> Result<(), StoreError> {
        if self.is_log_compared {
            return Ok(());
        }
        let head = self.head;
        let mut chain = Chain::of(self.record.id, head);
        let mut pasts = Pasts::default();
        let mut position = head.log_last;
        while position > head.log_pruned {
            let wrong =
                |why| StoreError::corrupt("log record", &layout::position_key(position), why);
            let (previous, delta) = self.snapshot.delta_at(self.slot(), position)?;
            let id = delta.id();
            chain.meet(head, &delta, &id).map_err(wrong)?;
            pasts.meet(self, &delta, &id, position)?;
            position = previous;
        }
        if let Some(missing) = chain.missing(head) {
            return Err(StoreError::Corrupt {
                what: "delta",
                key: hex(missing.as_bytes()),
                why: "it is missing from the log",
            });
        }
        let is_counted = chain.deltas() == self.found.deltas || self.found.is_damaged;
        if !(chain.agrees(head) && is_counted) {
            let key = layout::position_key(head.log_last);
            let why = "the head counts other deltas, changes or events than the log has";
            return Err(StoreError::corrupt("log record", &key, why));
        }
        let is_pruned = head.log_pruned > 0;
        let others = self.found.dag_nodes.checked_sub(pasts.count);
        match others {
            None | Some(1..) if !is_pruned && !self.found.is_damaged => {
                let why = "there are some of deltas that are not in the log";
                Err(self.wrong("records of deltas' pasts", why))
            }
            _ => pasts.compare(self),
        }
    }
}
