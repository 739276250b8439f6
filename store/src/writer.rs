//! The one writer of a ledger. Batches are applied to an LMDB transaction that
//! stays open, made durable by the journal, and brought into LMDB together by a
//! checkpoint; between two checkpoints a page that many batches touch is copied
//! and written once. Lives on the shard's commit thread. How a change is applied
//! is in `apply/`, the journal's file in `journal/`. Start at
//! [`LedgerWriter::commit`].
//!
//! | beside | |
//! |---|---|
//! | `load.rs` | what it knows before its first commit |
//! | `room.rs` | whether disk and map have room for what is to be written |
//! | `collect.rs` | the collector's and the sweep's work, in the same transaction |
//! | `aside.rs` | transactions of their own: saved sequences, copies |

mod aside;
mod collect;
mod load;
mod room;

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use self::room::{for_freeing_in_map, growth_of, nothing_reserved, pages_of, pages_used};
use crate::answer::AnswerBounds;
use crate::apply::{Answer, ContextBounds, Pass, verdict};
use crate::change::{Change, Verdict};
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot};
use crate::journal::Journal;
use crate::layout::{self, BATCH_BYTES_MAX};
use crate::ledger::Shared;
use crate::reserve::Reserve;
use crate::retention::Round;
use crate::saved::SequenceName;
use crate::trie_cache::TrieCache;

pub(crate) use self::load::next_slot;

/// Writes between two checkpoints: what a shard then lets go of in one go, as its snapshot
/// shows it.
const CHECKPOINT_WRITES_MAX: usize = 32_768;

/// Pages that are dirty between two checkpoints, if each node and entry that has changed lies on
/// one: 64 MiB of memory, and what a checkpoint has to write. So a few thousand calls that each go elsewhere in a large context are enough for
/// one, while many more that write the same thousand keys share its cost.
const CHECKPOINT_PAGES_MAX: usize = 16_384;

/// Bytes of records that steps drop between two checkpoints: in large records they are 16,384 pages, and the
/// list of these takes 32.
const CHECKPOINT_FREED_BYTES_MAX: u64 = 64 << 20;

/// Nodes of tries read into memory between two checkpoints, where they stay until then: 4,096
/// writes in a context of ten million entries read about 10,000.
const CHECKPOINT_TRIE_NODES_MAX: usize = 1 << 15;

/// Bytes of entries that are written again between two checkpoints, though only a part of
/// them was written anew, and of records that are put beside what changes have brought.
const CHECKPOINT_WORK_BYTES_MAX: u64 = 64 << 20;

/// What the writing side of a ledger knows without reading.
pub(crate) struct WriterState {
    /// As of the last checkpoint.
    pub(crate) next: Counters,
    pub(crate) journal: Journal,
    /// Contexts written between two checkpoints.
    checkpoint_contexts_max: usize,
    answers: AnswerBounds,
    contexts: ContextBounds,
    /// Pages of the data file at the last checkpoint.
    pages: u64,
    /// Pages that it can have.
    pages_max: u64,
    reserve: Reserve,
    /// Whether the last try to write a batch was refused that has room where no transaction but the one
    /// behind the next may write.
    is_turn_due: bool,
    /// Where the collector is.
    round: Round,
    /// Whether something was swept that no checkpoint has brought in: it has come back if no
    /// transaction has it.
    is_unswept: bool,
    /// The same of what was packed.
    is_unpacked: bool,
    /// Tries as the last checkpoint has stored them, unless a transaction has them.
    tries: TrieCache,
    /// Authors whose numbers were asked for since the ledger was opened, each with the generation
    /// of the journal behind the checkpoint that has what was written with it.
    authors_used: BTreeMap<u32, u64>,
    /// The first generation behind the last transaction of somebody else, of which no such note
    /// was taken.
    authors_noted_from: u64,
    /// Set by a fatal error, after which nothing is written any more.
    is_stopped: bool,
}

/// Numbers to be given next.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) slot: u64,
    pub(crate) position: u64,
    pub(crate) last_hlc: Hlc,
}

/// The right to write to a ledger; there is one at a time. Stays on its thread.
pub struct LedgerWriter<'l> {
    shared: &'l Shared,
    state: MutexGuard<'l, WriterState>,
    /// Everything since the last checkpoint. None after a checkpoint, and after
    /// a failure, when the journal still has it.
    pass: Option<Pass<'l>>,
}

/// How a batch becomes durable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// By the journal, unless it has to be a checkpoint.
    Journal,
    /// The same, unless a delta of another node is applied.
    CheckpointOfDeltas,
    Checkpoint,
}

/// A batch that is on disk.
struct Written {
    answers: Vec<Answer>,
    is_shown: bool,
    leaves_litter: bool,
    due: Vec<SequenceName>,
    roots_together: usize,
}

impl Written {
    fn nothing() -> Written {
        Written {
            answers: Vec::new(),
            is_shown: false,
            leaves_litter: false,
            due: Vec::new(),
            roots_together: 0,
        }
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct BatchOutcome {
    /// Verdict `i` answers change `i`.
    pub verdicts: Vec<Verdict>,
    /// Whether snapshots show the batch, and all before it. Otherwise it is on
    /// disk, but only in the journal.
    pub is_shown: bool,
    /// Whether the sweep has something to do: edits of lists or texts that were removed.
    pub leaves_litter: bool,
    /// Lists and texts that have grown so much that they are to be saved as wholes, with
    /// [`LedgerWriter::keep_saved`]. Nothing is wrong if they are not: to open one
    /// takes longer.
    pub due: Vec<SequenceName>,
    /// Calls whose roots were worked out together with those of others. Nothing but the
    /// time depends on it.
    pub roots_together: usize,
    /// Answers under keys that made room for others before they were too old: whoever sends the
    /// same call again has it run again.
    pub answers_early: u64,
}

impl<'l> LedgerWriter<'l> {
    pub(crate) fn new(shared: &'l Shared, state: MutexGuard<'l, WriterState>) -> Self {
        LedgerWriter {
            shared,
            state,
            pass: None,
        }
    }

    /// Commits a batch: on disk when this returns. If an error
    /// [is fatal](StoreError::is_fatal), what is on disk is in doubt and the
    /// process has to stop; after any other, nothing of the batch was written
    /// and the ledger goes on. Looking for room for it, the writer may have made
    /// a checkpoint all the same: then nothing [is unshown](Self::has_unshown)
    /// any more. A refused change left nothing and did not disturb its
    /// neighbours.
    ///
    /// Blocks for as long as the disk takes.
    pub fn commit(&mut self, batch: Vec<Change>) -> Result<BatchOutcome, StoreError> {
        self.commit_by(batch, Route::Journal)
    }

    /// The same, but snapshots taken from now on show the batch.
    pub fn commit_shown(&mut self, batch: Vec<Change>) -> Result<BatchOutcome, StoreError> {
        self.commit_by(batch, Route::Checkpoint)
    }

    /// The same if a delta of another node is applied by it; otherwise as [`commit`](Self::commit).
    pub fn commit_deltas_shown(&mut self, batch: Vec<Change>) -> Result<BatchOutcome, StoreError> {
        self.commit_by(batch, Route::CheckpointOfDeltas)
    }

    fn commit_by(&mut self, batch: Vec<Change>, route: Route) -> Result<BatchOutcome, StoreError> {
        let Written {
            answers,
            is_shown,
            leaves_litter,
            due,
            roots_together,
        } = self.guarded(|writer| writer.write(&batch, route))?;
        for (change, answer) in batch.iter().zip(&answers) {
            if let Change::DeleteContext(context) | Change::Quarantine { context, why: None } =
                change
                && answer.is_ok()
            {
                self.shared.unwritten.end(context);
            }
        }
        let receipts = answers.iter().flatten();
        let answers_early = receipts.map(|receipt| receipt.answers_early).sum();
        let verdicts = batch.into_iter().zip(answers);
        Ok(BatchOutcome {
            verdicts: verdicts
                .map(|(change, answer)| verdict(change, answer))
                .collect(),
            is_shown,
            leaves_litter,
            due,
            roots_together,
            answers_early,
        })
    }

    /// Brings everything into LMDB, so that snapshots taken from now on show it.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.guarded(Self::bring_in)
    }

    /// Brings in what an earlier life of the ledger has left in the journal, and
    /// gives how many calls that was.
    pub(crate) fn bring_in_journal(&mut self) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            if writer.state.journal.is_empty() {
                return Ok(0);
            }
            let calls = writer.open_pass()?;
            writer.bring_in()?;
            Ok(calls)
        })
    }

    /// Whether a checkpoint would bring anything into LMDB.
    pub fn has_unshown(&self) -> bool {
        !self.state.journal.is_empty()
    }

    /// Bytes in the journal since the last checkpoint.
    pub fn journal_bytes(&self) -> u64 {
        self.state.journal.bytes()
    }

    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.state.is_stopped {
            return Err(StoreError::Stopped);
        }
        let result = work(self);
        if let Err(error) = &result {
            // What the transaction holds of earlier batches is in the journal.
            self.pass = None;
            self.state.is_stopped = error.is_fatal();
        }
        result
    }

    /// Applies a batch and makes it durable. If there is no room, it is tried without its notes: they are
    /// refused alone, and neither take what is kept for those who free some nor others with them.
    fn write(&mut self, batch: &[Change], route: Route) -> Result<Written, StoreError> {
        let had_unshown = self.has_unshown();
        let written = self.write_whole(batch, route);
        let is_full = matches!(
            written,
            Err(StoreError::DiskFull { .. } | StoreError::MapFull { .. })
        );
        if !is_full || !batch.iter().any(is_note_with_value) {
            return written;
        }
        self.pass = None;
        let others = batch.iter().filter(|change| !is_note_with_value(change));
        let others: Vec<Change> = others.cloned().collect();
        let mut written = match others.is_empty() {
            true => Written::nothing(),
            false => self.write_whole(&others, route)?,
        };
        let mut answers = std::mem::take(&mut written.answers).into_iter();
        written.answers = batch
            .iter()
            .map(|change| match is_note_with_value(change) {
                true => Err(Refused::DiskFull),
                false => answers.next().expect("each of the others has its answer"),
            })
            .collect();
        // On the way here a checkpoint may have been made.
        written.is_shown |= had_unshown && !self.has_unshown();
        Ok(written)
    }

    fn write_whole(&mut self, batch: &[Change], route: Route) -> Result<Written, StoreError> {
        // Of an earlier batch it says nothing.
        self.state.is_turn_due = false;
        let has_more_before = self.pass.as_ref().is_some_and(Pass::has_written);
        let outcome = self.try_to_write(batch, route);
        let has_more_alone = match &outcome {
            Err(StoreError::MapFull { .. }) => true,
            // There is space for what was acknowledged.
            Err(StoreError::DiskFull { .. }) => self.state.reserve.is_sure(),
            _ => false,
        };
        let is_turn_due = self.state.is_turn_due;
        match outcome {
            // With what the batches before it free, it may fit; or without what steps have done.
            Err(_) if has_more_alone && (has_more_before || !self.state.journal.is_empty()) => {
                self.pass = None;
                self.bring_in()?;
                self.try_to_write(batch, Route::Checkpoint)
            }
            Err(StoreError::DiskFull { .. } | StoreError::MapFull { .. }) if is_turn_due => {
                self.pass = None;
                self.turn()?;
                self.try_to_write(batch, Route::Checkpoint)
            }
            Err(source @ StoreError::Corrupt { .. })
                if matches!(batch, [Change::Quarantine { why: None, .. }]) =>
            {
                self.pass = None;
                Ok(Written {
                    answers: vec![Err(Refused::Damaged { source })],
                    ..Written::nothing()
                })
            }
            outcome => outcome,
        }
    }

    fn try_to_write(&mut self, batch: &[Change], route: Route) -> Result<Written, StoreError> {
        let bytes = batch.iter().map(Change::bytes).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(StoreError::BatchTooLarge {
                bytes,
                bytes_max: BATCH_BYTES_MAX,
            });
        }
        self.open_pass()?;
        let pass = self.pass.as_mut().expect("it was opened above");
        let state = &mut *self.state;
        let journal = &mut state.journal;
        journal.begin();
        let answers = pass.apply_all(batch, &mut |call| journal.add(call))?;
        let leaves_litter = pass.has_litter();
        let due = pass.take_due();
        let roots_together = pass.take_roots_together();
        let is_applied = |(change, answer): (&Change, &Answer)| {
            matches!(change, Change::Delta(_)) && answer.is_ok()
        };
        let is_shown = match route {
            Route::Journal => false,
            Route::CheckpointOfDeltas => batch.iter().zip(&answers).any(is_applied),
            Route::Checkpoint => true,
        };
        let is_due = is_shown
            || pass.has_unjournaled()
            || !journal.has_room()
            || is_full(pass)
            || pass.trie_nodes() > CHECKPOINT_TRIE_NODES_MAX
            || pass.work_bytes() + pass.added_bytes() > CHECKPOINT_WORK_BYTES_MAX
            || pass.contexts() > state.checkpoint_contexts_max;
        let pages = state.pages;
        let growth = growth_of(pass, journal);
        let for_freeing = for_freeing_in_map(state.pages_max);
        let is_in_map = pages + pages_of(pass, journal) + for_freeing <= state.pages_max;
        let has_space = state.reserve.reach(pages + growth)?;
        let has_written = pass.has_unjournaled()
            || !journal.has_nothing_to_append()
            || batch.iter().any(is_note_with_value);
        // What is acknowledged must fit into LMDB later.
        let is_due = is_due || !is_in_map || !has_space;
        if is_due {
            let takes = has_written && !batch.iter().all(Change::frees);
            if !has_space && takes && !self.has_room_inside(growth) {
                return Err(nothing_reserved());
            }
            if !is_in_map && takes && !self.has_room_in_map(growth)? {
                let bytes_max = self.state.pages_max * layout::PAGE_BYTES;
                return Err(StoreError::MapFull { bytes_max });
            }
            self.bring_in()?;
        } else if !self.state.journal.has_nothing_to_append() {
            self.state.journal.append()?;
        }
        Ok(Written {
            answers,
            is_shown: is_due,
            leaves_litter,
            due,
            roots_together,
        })
    }

    /// The transaction that goes on from the last checkpoint, with what the
    /// journal has since then. Gives how many calls had to be replayed for it.
    fn open_pass(&mut self) -> Result<u64, StoreError> {
        if self.pass.is_some() {
            return Ok(0);
        }
        self.state.pages = pages_used(&self.shared.env);
        // Contexts that damage keeps from taking what the journal has of them.
        let mut damaged: BTreeMap<ContextSlot, (ContextId, String)> = BTreeMap::new();
        loop {
            let mut pass = Pass::begin(
                &self.shared.env,
                self.shared.tables,
                self.state.next,
                self.state.answers.clone(),
                self.state.contexts,
                self.state.tries.take_all(),
            )?;
            for (slot, (context, why)) in &damaged {
                pass.put_into_quarantine(*slot, *context, why)?;
            }
            let known = damaged.len();
            let calls = self.state.journal.replay(|call| {
                if damaged.len() > known && damaged.contains_key(&call.slot) {
                    return Ok(()); // it is put aside next time
                }
                let Some(damage) = pass.replay(&call)? else {
                    return Ok(());
                };
                let Some(context) = pass.context_of(&call)? else {
                    return Err(damage);
                };
                tracing::error!(%context, error = %damage, "a context is out of service: calls in the journal cannot be brought into it; they are put aside");
                damaged.insert(call.slot, (context, damage.to_string()));
                Ok(())
            })?;
            if damaged.len() == known {
                pass.grown.append(&mut self.state.round.grown);
                if calls > 0 {
                    // What damage keeps out takes no positions, so others may have them now.
                    self.state.round.forget_read();
                }
                if std::mem::take(&mut self.state.is_unpacked) {
                    self.state.round.walk.repeat();
                }
                self.pass = Some(pass);
                return Ok(calls);
            }
        }
    }

    fn bring_in(&mut self) -> Result<(), StoreError> {
        if self.pass.is_none() && self.state.journal.is_empty() {
            return Ok(());
        }
        self.open_pass()?;
        let mut pass = self.pass.take().expect("it was opened above");
        pass.hand_over_packable(&mut self.state.round);
        if !pass.has_written() {
            self.state.tries = pass.give_up();
            return Ok(());
        }
        let mut generation = self.state.journal.generation();
        generation.number += 1;
        let bytes_noted = self.state.journal.take_space()?;
        self.state.round.grown = std::mem::take(&mut pass.grown);
        let authors_used = pass.take_used_authors();
        let has_swept = pass.has_swept();
        (self.state.next, self.state.tries) = pass.finish(generation, bytes_noted)?;
        self.state.is_unswept &= !has_swept;
        self.state.is_unpacked = false;
        let authors_used = authors_used.into_iter();
        let authors_used = authors_used.map(|number| (number, generation.number));
        self.state.authors_used.extend(authors_used);
        self.state.journal.restart(generation, bytes_noted)
    }
}

/// Whether it takes room that the journal says nothing of.
fn is_note_with_value(change: &Change) -> bool {
    matches!(change, Change::PutNote(note) if note.value.is_some())
}

/// Whether a checkpoint is to bring in what was written since the last one.
fn is_full(pass: &Pass<'_>) -> bool {
    pass.writes() > CHECKPOINT_WRITES_MAX
        || pass.pages() > CHECKPOINT_PAGES_MAX
        || pass.freed_bytes() > CHECKPOINT_FREED_BYTES_MAX
}

#[cfg(test)]
mod tests;
