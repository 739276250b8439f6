//! The tables that the scrub reads: of which slot a record is, as far as its key says, and
//! whether the record is whole by itself. What it is compared with is in `mod.rs`.

use crate::attachment;
use crate::backlog::Backlog;
use crate::change::ApplicationRecord;
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{self, Table, Tables};
use crate::members::{Ack, read_pruned};
use crate::packs::PackView;
use crate::quarantine::{AsideRow, Quarantined};
use crate::record::{
    AnswerTally, ContextRecord, DagNode, EventView, ForkRow, GraveRow, Head, Logged, SavedPartRow,
    SavedRow, SealRow, TrieRow, open, read_answer_bytes, read_author, read_edit, read_edit_seen,
    read_entry, read_name,
};
use crate::sweep::check_litter;
use crate::tally::{Tally, read_mark};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Contexts,
    Heads,
    Applications,
    Names,
    Authors,
    Graves,
    Litter,
    Backlog,
    Tallies,
    Marks,
    Acks,
    Quarantine,
    Forks,
    AttachedSums,
    Attached,
    AnswersByAge,
    Answers,
    Seals,
    Entries,
    EditsSeen,
    Edits,
    Packs,
    Saved,
    Trie,
    Log,
    Dag,
    Events,
}

/// In the order in which they are read: contexts, so that it is known whose the rest is; then
/// the small ones, which are of more weight; authors last, so that it is known who of them is
/// named by any record. The table `meta` is not among them: its few
/// records are checked whenever the ledger is opened, and written with each checkpoint.
pub(super) const PARTS: [Part; 27] = [
    Part::Contexts,
    Part::Heads,
    Part::Applications,
    Part::Names,
    Part::Graves,
    Part::Litter,
    Part::Backlog,
    Part::Tallies,
    Part::Marks,
    Part::Acks,
    Part::Quarantine,
    Part::Forks,
    Part::AttachedSums,
    Part::Attached,
    Part::AnswersByAge,
    Part::Answers,
    Part::Seals,
    Part::Entries,
    Part::EditsSeen,
    Part::Edits,
    Part::Packs,
    Part::Saved,
    Part::Trie,
    Part::Log,
    Part::Dag,
    Part::Events,
    Part::Authors,
];

impl Part {
    pub(super) fn table(self, tables: &Tables) -> Table {
        match self {
            Part::Contexts => tables.contexts,
            Part::Heads => tables.heads,
            Part::Applications => tables.applications,
            Part::Names => tables.names,
            Part::Authors => tables.authors,
            Part::Graves => tables.graves,
            Part::Litter => tables.litter,
            Part::Backlog => tables.backlog,
            Part::Tallies => tables.tallies,
            Part::Marks => tables.marks,
            Part::Acks => tables.acks,
            Part::Quarantine => tables.quarantine,
            Part::Forks => tables.forks,
            Part::AttachedSums => tables.attached_sums,
            Part::Attached => tables.attached,
            Part::AnswersByAge => tables.answers_by_age,
            Part::Answers => tables.answers,
            Part::Seals => tables.seals,
            Part::Entries => tables.entries,
            Part::EditsSeen => tables.edits_seen,
            Part::Edits => tables.edits,
            Part::Packs => tables.packs,
            Part::Saved => tables.saved,
            Part::Trie => tables.trie,
            Part::Log => tables.log,
            Part::Dag => tables.dag,
            Part::Events => tables.events,
        }
    }

    /// The slot that a record is of, if any, and as far as its key says.
    pub(super) fn slot(self, key: &[u8], bytes: &[u8]) -> Option<ContextSlot> {
        match self {
            Part::Contexts => ContextRecord::read(key, bytes).ok().map(|row| row.slot),
            Part::Applications | Part::Names | Part::Authors => None,
            Part::Entries
            | Part::Edits
            | Part::EditsSeen
            | Part::Packs
            | Part::Litter
            | Part::Saved => layout::split_entry(key).map(|(slot, ..)| slot),
            Part::Attached => attachment::split_row_key(key).map(|(slot, _)| slot),
            Part::Log => {
                let row = Logged::read(key, bytes).ok()?;
                Some(row.slot)
            }
            Part::Heads
            | Part::Graves
            | Part::Backlog
            | Part::Tallies
            | Part::Marks
            | Part::Acks
            | Part::Quarantine
            | Part::Forks
            | Part::AttachedSums
            | Part::AnswersByAge
            | Part::Answers
            | Part::Seals
            | Part::Trie
            | Part::Dag
            | Part::Events => layout::split_slot(key).map(|(slot, _)| slot),
        }
    }

    /// Whether its records are worked out from others, and are worked out again when they
    /// are gone.
    pub(super) fn is_derived(self) -> bool {
        matches!(self, Part::Tallies | Part::Marks | Part::Saved)
    }

    /// Whether a record is what was written, by itself.
    pub(super) fn check(self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Part::Contexts => drop(ContextRecord::read(key, bytes)?),
            Part::Heads => drop(Head::read(key, bytes)?),
            Part::Applications => drop(ApplicationRecord::read(key, bytes)?),
            Part::Names => drop(read_name(key, bytes)?),
            Part::Authors => drop(read_author(key, bytes)?),
            Part::Graves => drop(open::<GraveRow>(key, bytes)?),
            Part::Litter => check_litter(key, bytes)?,
            Part::Backlog => drop(Backlog::read(key, bytes)?),
            Part::Tallies => drop(Tally::read(key, bytes)?),
            Part::Marks => drop(read_mark(key, bytes)?),
            Part::Acks => match layout::read_u64(key).map(ContextSlot::new) {
                Some(slot) => drop(read_pruned(slot, bytes)?),
                None => drop(Ack::read(key, bytes)?),
            },
            Part::Quarantine => {
                if Quarantined::read(key, bytes)?.is_none() {
                    open::<AsideRow>(key, bytes)?;
                }
            }
            Part::Forks => drop(open::<ForkRow>(key, bytes)?),
            Part::AttachedSums => drop(attachment::read_sum(key, bytes)?),
            Part::Attached => drop(attachment::read_row(key, bytes)?),
            Part::AnswersByAge => match layout::split_answer_age(key) {
                Some(_) => drop(read_answer_bytes(key, bytes)?),
                None => drop(AnswerTally::read(key, bytes)?),
            },
            Part::Answers => drop(crate::answer::KeptAnswer::read(key, bytes)?),
            Part::Seals => drop(open::<SealRow>(key, bytes)?),
            Part::Entries => drop(read_entry(key, bytes)?),
            Part::EditsSeen => drop(read_edit_seen(key, bytes)?),
            Part::Edits => {
                read_edit(key, bytes)?;
            }
            Part::Packs => {
                PackView::read(key, bytes)?;
            }
            Part::Saved => match layout::saved_part(key) {
                Some(0) => drop(open::<SavedRow>(key, bytes)?),
                _ => drop(open::<SavedPartRow>(key, bytes)?),
            },
            Part::Trie => drop(open::<TrieRow>(key, bytes)?),
            Part::Log => {
                let row = Logged::read(key, bytes)?;
                row.each_before(key, &row.delta(key)?, |_, _| Ok(()))?;
            }
            Part::Dag => drop(DagNode::read(key, bytes)?),
            Part::Events => drop(EventView::read(key, bytes)?),
        }
        Ok(())
    }
}
