//! Which authors records name, by number or by key. Each kind of record says so here, and one
//! that is new does not compile until it does: an author whom no record names is dropped.
//!
//! A number is in more records than those that a scrub has read when it has read all of them, as others are written
//! meanwhile. Where these have it from is known: it was given to whoever wrote them
//! (`Authors::number`), of which the writer takes note; or they are of a context whose head has seen its
//! author all along, and the head was read; or they are gone from one place to another of a
//! context that is deleted, which does not happen.

use std::collections::{BTreeMap, BTreeSet};

use crate::backlog::Backlog;
use crate::delta::DeltaView;
use crate::error::StoreError;
use crate::ids::{ContextSlot, NodeId};
use crate::layout;
use crate::local::{self, Local};
use crate::members::{Ack, read_pruned};
use crate::packs::PackView;
use crate::quarantine::AsideRow;
use crate::record::{
    DagNode, Head, LitterRow, Logged, RecordKind, SavedRow, open, read_edit_seen, read_entry,
};
use crate::version::VersionVector;

/// Numbers of authors, a bit for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(BTreeMap<u32, u64>);

impl Numbers {
    pub(super) fn insert(&mut self, number: u32) {
        *self.0.entry(number / 64).or_default() |= 1 << (number % 64);
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let word = self.0.get(&(number / 64));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

/// Authors whom records name.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    numbers: Numbers,
    nodes: BTreeSet<NodeId>,
}

impl Named {
    /// Whether any of the records names this author.
    pub(super) fn has(&self, number: u32, node: &NodeId) -> bool {
        self.numbers.contains(number) || self.nodes.contains(node)
    }

    /// Takes note of whom a record names that is whole by itself.
    pub(super) fn take_in(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let Some(kind) = RecordKind::of(bytes) else {
            return Ok(());
        };
        match kind {
            RecordKind::Head => self.seen(&Head::read(key, bytes)?.seen),
            RecordKind::Entry => read_entry(key, bytes)?.dots(&mut |dot| {
                self.numbers.insert(dot.author);
            }),
            // What it builds on it names by the key of an author that the head has seen, or that is unknown.
            RecordKind::Edit
            | RecordKind::EditAfterOthers
            | RecordKind::LinkedEdit
            | RecordKind::LinkedEditAfterOthers => self.edit(kind, key, key)?,
            RecordKind::Pack => {
                let pack = PackView::read(key, bytes)?;
                pack.authors()
                    .for_each(|author| self.numbers.insert(author));
            }
            RecordKind::EditSeen => {
                self.edit(kind, key, key)?;
                self.seen(&read_edit_seen(key, bytes)?);
            }
            RecordKind::Litter => {
                let row = open::<LitterRow>(key, bytes)?;
                if !row.after.get().is_empty() {
                    self.edit(kind, key, row.after.get())?;
                }
            }
            RecordKind::Saved => {
                let row = open::<SavedRow>(key, bytes)?;
                self.numbers.insert(row.author.to_native());
            }
            RecordKind::Dag => {
                let node = DagNode::read(key, bytes)?;
                self.numbers.insert(node.dot.author);
                self.seen(&node.seen);
            }
            RecordKind::Members => {
                let slot = layout::read_u64(key).map(ContextSlot::new);
                let slot = slot.ok_or_else(|| unnamed(kind, key))?;
                self.seen(&read_pruned(slot, bytes)?);
            }
            RecordKind::Ack => {
                let ack = Ack::read(key, bytes)?;
                self.nodes.insert(ack.node);
                self.seen(&ack.seen);
            }
            RecordKind::Seal | RecordKind::Fork => {
                let author = layout::seal_author(key);
                self.numbers
                    .insert(author.ok_or_else(|| unnamed(kind, key))?);
            }
            RecordKind::Backlog | RecordKind::BacklogWithoutStamps => {
                self.seen(&Backlog::read(key, bytes)?.seen);
            }
            RecordKind::Log | RecordKind::LogWithBefores => {
                let row = Logged::read(key, bytes)?;
                let delta = row.delta(key)?;
                self.nodes.insert(delta.author());
                row.each_before(key, &delta, |_, before| {
                    before.dots(&mut |dot| self.numbers.insert(dot.author));
                    Ok(())
                })?;
            }
            RecordKind::Aside => {
                let row = open::<AsideRow>(key, bytes)?;
                if !row.canonical.get().is_empty() {
                    self.author_of(kind, key, row.canonical.get())?;
                }
                let local = local::read(row.local.get()).map_err(|_| unnamed(kind, key))?;
                if let Local::CallWith { author, .. } = local {
                    self.nodes.insert(author);
                }
            }
            // They name nobody; or, of a saved list, by key those who have written what is in it, whom the head
            // has seen.
            RecordKind::Format
            | RecordKind::Slots
            | RecordKind::Authors
            | RecordKind::DamageSeen
            | RecordKind::Context
            | RecordKind::HeadOfFormat3
            | RecordKind::Event
            | RecordKind::Application
            | RecordKind::ApplicationWithSettings
            | RecordKind::Name
            | RecordKind::Author
            | RecordKind::GraveOfFormat3
            | RecordKind::Journal
            | RecordKind::Identity
            | RecordKind::JournalFile
            | RecordKind::Grave
            | RecordKind::Trie
            | RecordKind::Counters
            | RecordKind::Attached
            | RecordKind::AttachedSum
            | RecordKind::SavedPart
            | RecordKind::Answer
            | RecordKind::AnswerAge
            | RecordKind::AnswerTally
            | RecordKind::Tally
            | RecordKind::Mark
            | RecordKind::Quarantine => {}
        }
        Ok(())
    }

    fn seen(&mut self, seen: &VersionVector) {
        for (author, _) in seen.pairs() {
            self.numbers.insert(*author);
        }
    }

    /// The author in the key of an edit, which a record under `key` has.
    fn edit(&mut self, kind: RecordKind, key: &[u8], edit: &[u8]) -> Result<(), StoreError> {
        let dot = layout::edit_dot(edit).ok_or_else(|| unnamed(kind, key))?;
        self.numbers.insert(dot.author);
        Ok(())
    }

    fn author_of(
        &mut self,
        kind: RecordKind,
        key: &[u8],
        canonical: &[u8],
    ) -> Result<(), StoreError> {
        let delta = DeltaView::parse(canonical).map_err(|_| unnamed(kind, key))?;
        self.nodes.insert(delta.author());
        Ok(())
    }
}

fn unnamed(kind: RecordKind, key: &[u8]) -> StoreError {
    StoreError::corrupt(kind.what(), key, "it does not name its author")
}

#[cfg(test)]
mod tests;
