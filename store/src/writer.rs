//! The one writer of a ledger. Batches are applied to an LMDB transaction that
//! stays open, made durable by the journal, and brought into LMDB together by a
//! checkpoint; between two checkpoints a page that many batches touch is copied
//! and written once. Lives on the shard's commit thread. How a change is applied
//! is in `apply/`, the journal's file in `journal/`. Start at
//! [`LedgerWriter::commit`].

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use heed::{Env, RoTxn, RwTxn, WithoutTls};

use crate::answer::{AnswerBounds, ExpiredAnswers};
use crate::apply::{Answer, Pass, verdict};
use crate::attachment::AttachedBounds;
use crate::authors::Authors;
use crate::change::{Change, Verdict};
use crate::data_file;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot};
use crate::journal::Journal;
use crate::layout::{self, BATCH_BYTES_MAX, META_COUNTERS, META_FORMAT, META_SLOTS, Tables};
use crate::ledger::{LedgerConfig, Shared, commit_error, engine_error, free_pages, is_short_write};
use crate::place::DATA_FILE;
use crate::record::{CountersRecord, Head, Logged, SlotsRecord, open};
use crate::reserve::{PAGES_FOR_FREEING, Reserve};
use crate::retention::{Collected, Reach, Retention, Round, StepBounds};
use crate::saved::{self, SavedSequence, SequenceName};
use crate::scrub::{Derived, Orphan, UnnamedAuthor};
use crate::snapshot::Snapshot;
use crate::sweep::{self, Swept};
use crate::trie_cache::TrieCache;

/// Writes between two checkpoints: what a shard then lets go of in one go, as its snapshot
/// shows it.
const CHECKPOINT_WRITES_MAX: usize = 32_768;

/// Pages that are dirty between two checkpoints, if each node and entry that has changed lies on
/// one: 64 MiB of memory, and what a checkpoint has to write. So a few thousand calls that each go elsewhere in a large context are enough for
/// one, while many more that write the same thousand keys share its cost.
const CHECKPOINT_PAGES_MAX: usize = 16_384;

/// Nodes of tries read into memory between two checkpoints, where they stay until then: 4,096
/// writes in a context of ten million entries read about 10,000.
const CHECKPOINT_TRIE_NODES_MAX: usize = 1 << 15;

/// Bytes of entries that are written again between two checkpoints, though only a part of
/// them was written anew, and of records that are put beside what changes have brought.
const CHECKPOINT_WORK_BYTES_MAX: u64 = 64 << 20;

/// Pages that a checkpoint may need beside those of the writes it brings in:
/// for heads, roots of tables and the list of free pages.
const CHECKPOINT_PAGES: u64 = 256;

/// Pages that one write, of an entry or of a node of a trie, may need: a leaf and one to
/// split it into, and the same above them; a large value has pages of its own, which count by their bytes.
const WRITE_PAGES: u64 = 4;

/// The same of the disk, where more than needed takes space from others: of one write that goes
/// elsewhere than those before it, a page and one to split it into.
const DIRTY_PAGES: u64 = 2;

/// The same of a context that was written to: its head, its tally and its last event.
const CONTEXT_PAGES: u64 = 3;

/// What the writing side of a ledger knows without reading.
pub(crate) struct WriterState {
    /// As of the last checkpoint.
    pub(crate) next: Counters,
    pub(crate) journal: Journal,
    /// Contexts written between two checkpoints.
    checkpoint_contexts_max: usize,
    answers: AnswerBounds,
    attached: AttachedBounds,
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
}

impl WriterState {
    /// Reads from the ledger what is to be known before the first commit.
    pub(crate) fn load(
        env: &Env<WithoutTls>,
        tables: Tables,
        config: &LedgerConfig,
        journal: Journal,
        reserve: Reserve,
    ) -> Result<WriterState, StoreError> {
        let failed = |error| engine_error("read the counters of", error, env);
        let txn = env.read_txn().map_err(failed)?;
        let slot = next_slot(env, tables, &txn)?;
        let last = tables.log.last(&txn).map_err(failed)?;
        let position = match last {
            Some((key, _)) => {
                let corrupt =
                    || StoreError::corrupt("log record", key, "its key is not 8 bytes long");
                layout::read_u64(key).ok_or_else(corrupt)? + 1
            }
            None => 1,
        };
        let last_hlc = match last {
            Some((key, bytes)) => match stamp_of(key, bytes) {
                Ok(hlc) => hlc,
                // One damaged record must not keep the whole shard down, and
                // the heads know the stamps as well.
                Err(error) => {
                    tracing::error!(%error, "the newest log record is damaged");
                    newest_stamp_of_heads(env, tables, &txn)?
                }
            },
            None => Hlc::ZERO,
        };
        let (position, last_hlc) = match tables.meta.get(&txn, META_COUNTERS).map_err(failed)? {
            Some(bytes) => {
                let noted = open::<CountersRecord>(META_COUNTERS, bytes)?;
                let hlc = Hlc::from_bits(noted.hlc.to_native());
                (position.max(noted.position.to_native()), last_hlc.max(hlc))
            }
            None => (position, last_hlc),
        };
        // Each transaction loads them; here they are only checked.
        Authors::load(env, tables, &txn)?;
        Ok(WriterState {
            next: Counters {
                slot,
                position,
                last_hlc,
            },
            journal,
            checkpoint_contexts_max: config.checkpoint_contexts_max,
            answers: config.answers.clone(),
            attached: config.attached,
            pages: pages_used(env),
            pages_max: env.info().map_size as u64 / layout::PAGE_BYTES,
            reserve,
            is_turn_due: false,
            round: Round::default(),
            tries: TrieCache::new(config.trie_bytes_max),
            authors_used: BTreeMap::new(),
            authors_noted_from: 0,
            is_stopped: false,
        })
    }
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
        let verdicts = batch.into_iter().zip(answers);
        Ok(BatchOutcome {
            verdicts: verdicts
                .map(|(change, answer)| verdict(change, answer))
                .collect(),
            is_shown,
            leaves_litter,
            due,
            roots_together,
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

    /// Makes a checkpoint if there is anything unshown, then drops up to
    /// `records_max` entries, events and deltas of deleted contexts. Call again
    /// while there is more to do.
    pub fn sweep(&mut self, records_max: usize) -> Result<Swept, StoreError> {
        self.guarded(|writer| {
            // It takes a transaction of its own, and LMDB has one at a time.
            writer.bring_in()?;
            writer.pass = None;
            sweep::sweep(&writer.shared.env, writer.shared.tables, records_max)
        })
    }

    /// Makes a checkpoint if there is anything unshown, then keeps a list or text as a
    /// whole, in the place of what was kept of it before. Tells whether it did: nothing
    /// is kept of what was removed meanwhile, nor on a full disk.
    pub fn keep_saved(
        &mut self,
        name: &SequenceName,
        saved: &SavedSequence,
    ) -> Result<bool, StoreError> {
        self.guarded(|writer| {
            writer.bring_in()?;
            writer.pass = None;
            let growth = saved.bytes.len() as u64 / layout::PAGE_BYTES + CHECKPOINT_PAGES;
            if !writer.reach(growth)? {
                return Ok(false);
            }
            saved::keep(&writer.shared.env, writer.shared.tables, name, saved)
        })
    }

    /// Drops answers that are too old at `now`, of the contexts from slot `from` on,
    /// looking at up to `records_max` of them and their contexts. What is dropped is gone with
    /// this writer's next checkpoint; should it come back before, it is as old as it was. What is
    /// damaged is told and holds up nothing; of contexts that are out of service nothing goes.
    pub fn expire_answers(
        &mut self,
        now: Hlc,
        from: ContextSlot,
        records_max: usize,
    ) -> Result<ExpiredAnswers, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.expire_answers(now, from, records_max)
        })
    }

    /// Begins a transaction of its own, beside those of batches, as a sweep has. What the
    /// journal has is in LMDB before.
    pub(crate) fn begin_aside(&mut self) -> Result<RwTxn<'l>, StoreError> {
        self.guarded(|writer| {
            writer.bring_in()?;
            writer.pass = None;
            if !writer.reach(CHECKPOINT_PAGES)? {
                return Err(nothing_reserved());
            }
            // Nobody tells here what is written then.
            writer.state.tries.take_all();
            let txn = writer.shared.env.write_txn();
            txn.map_err(|error| writer.engine(error))
        })
    }

    /// Commits it. From now on `next` is what is given next.
    pub(crate) fn commit_aside(
        &mut self,
        txn: RwTxn<'l>,
        next: Counters,
    ) -> Result<(), StoreError> {
        self.guarded(|writer| {
            let committed = txn.commit();
            committed.map_err(|error| commit_error(error, &writer.shared.env))?;
            // A snapshot of this generation may have been taken before.
            writer.state.authors_noted_from = writer.state.journal.generation().number + 1;
            writer.state.next = next;
            Ok(())
        })
    }

    /// What was committed, at this moment.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let txn = self.shared.env.clone().static_read_txn();
        let txn = txn.map_err(|error| engine_error("read", error, &self.shared.env))?;
        Ok(self.shared.snapshot_in(txn))
    }

    pub(crate) fn env(&self) -> &'l Env<WithoutTls> {
        &self.shared.env
    }

    pub(crate) fn tables(&self) -> Tables {
        self.shared.tables
    }

    /// What is given next.
    pub(crate) fn next(&self) -> Counters {
        self.state.next
    }

    /// What a failed write in such a transaction is.
    pub(crate) fn engine(&self, error: heed::Error) -> StoreError {
        match error {
            heed::Error::Io(source) if is_short_write(&source, &self.shared.env) => {
                StoreError::DiskFull { source }
            }
            error => engine_error("a commit", error, &self.shared.env),
        }
    }

    /// As if the disk had no space left from now on, or had some again.
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self, is_full: bool) {
        self.state.reserve.is_disk_full = is_full;
    }

    /// By how many pages the next checkpoint lets the file grow at most.
    #[cfg(test)]
    pub(crate) fn growth(&self) -> u64 {
        let pass = self.pass.as_ref().expect("something was written");
        growth_of(pass, &self.state.journal)
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

    /// Applies a batch and makes it durable.
    fn write(&mut self, batch: &[Change], route: Route) -> Result<Written, StoreError> {
        // Of an earlier batch it says nothing.
        self.state.is_turn_due = false;
        let outcome = self.try_to_write(batch, route);
        let has_more_alone = match &outcome {
            Err(StoreError::MapFull { .. }) => true,
            // There is space for what was acknowledged.
            Err(StoreError::DiskFull { .. }) => self.state.reserve.is_sure(),
            _ => false,
        };
        let is_turn_due = self.state.is_turn_due;
        match outcome {
            // With what the batches before it free, it may fit.
            Err(_) if has_more_alone && !self.state.journal.is_empty() => {
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
                    is_shown: false,
                    leaves_litter: false,
                    due: Vec::new(),
                    roots_together: 0,
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
        let has_written = pass.has_unjournaled() || !journal.has_nothing_to_append();
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

    /// Whether the disk has space for so many pages more than at the last checkpoint, and for
    /// what frees some.
    fn reach(&mut self, growth: u64) -> Result<bool, StoreError> {
        let pages = pages_used(&self.shared.env);
        self.state.reserve.reach(pages + growth)
    }

    /// Whether so many pages are free inside the file and behind it, beside those for freeing.
    fn has_room_inside(&mut self, growth: u64) -> bool {
        let state = &*self.state;
        let behind = state
            .reserve
            .reserved()
            .behind(state.pages * layout::PAGE_BYTES);
        self.has_free(growth + PAGES_FOR_FREEING, behind / layout::PAGE_BYTES)
    }

    /// The same, if the file can grow no further than the map. No more pages are written than
    /// there are, so that a small ledger takes a large call of which `growth` says far too much.
    fn has_room_in_map(&mut self, growth: u64) -> Result<bool, StoreError> {
        let pages_max = self.state.pages_max;
        let pass = self.pass.as_ref().expect("something was written");
        let there = pass.pages_there()? + pass.trie_changes() as u64;
        let for_checkpoint = CHECKPOINT_PAGES.min(pages_max / 8);
        let growth = there.min(growth - CHECKPOINT_PAGES) + for_checkpoint;
        let behind = pages_max.saturating_sub(self.state.pages);
        Ok(self.has_free(growth + for_freeing_in_map(pages_max), behind))
    }

    /// Whether so many pages are free inside the file, but for those that are behind it. One
    /// inside that a snapshot may need is not free, nor is one that the last transaction has freed: instead of it the
    /// file grows.
    fn has_free(&mut self, pages: u64, behind: u64) -> bool {
        let needed = pages.saturating_sub(behind);
        let state = &*self.state;
        let free = |snapshot| free_pages(state.pages, &snapshot);
        if self.snapshot().and_then(free).unwrap_or_default() < needed {
            return false;
        }
        let last = self.shared.env.info().last_txn_id;
        let shown = self.shared.readers.oldest().unwrap_or(last);
        let is_free_before = |transaction: usize| {
            let file = self.shared.env.path().join(DATA_FILE);
            let free = data_file::free_before(&file, transaction as u64);
            free.is_ok_and(|free| free >= needed)
        };
        let has_room = is_free_before(last.min(shown));
        self.state.is_turn_due = !has_room && shown >= last && is_free_before(last + 1);
        has_room
    }

    /// Commits a transaction that changes nothing, as what the one before it has freed is used
    /// again by the one behind it.
    fn turn(&mut self) -> Result<(), StoreError> {
        let env = &self.shared.env;
        let meta = self.shared.tables.meta;
        let turn = || -> heed::Result<RwTxn<'_>> {
            let mut txn = env.write_txn()?;
            if let Some(same) = meta.get(&txn, META_FORMAT)?.map(<[u8]>::to_vec) {
                meta.put(&mut txn, META_FORMAT, &same)?;
            }
            Ok(txn)
        };
        let txn = turn().map_err(|error| self.engine(error))?;
        txn.commit().map_err(|error| commit_error(error, env))
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
                self.state.attached,
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
                self.pass = Some(pass);
                return Ok(calls);
            }
        }
    }

    /// Does some of the collector's work, within `bounds`: see [`Retention`]. It becomes durable with
    /// the next checkpoint; what a crash undoes, a later step does again.
    pub fn collect(
        &mut self,
        retention: &Retention,
        now: Hlc,
        bounds: &StepBounds,
        reach: Reach,
    ) -> Result<Collected, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let state = &mut *writer.state;
            let mut collected = pass.collect(&mut state.round, retention, now, bounds, reach)?;
            let pages = state.pages;
            let is_in_map = pages + pages_of(pass, &state.journal) <= state.pages_max;
            let growth = growth_of(pass, &state.journal);
            if is_full(pass) || !is_in_map || !state.reserve.reach(pages + growth)? {
                writer.bring_in()?;
                collected.is_shown = true;
            }
            Ok(collected)
        })
    }

    /// Drops records that a scrub has found to be of no context, if that is still so. Like
    /// [`collect`](Self::collect) it becomes durable with the next checkpoint. Gives how many went.
    pub fn drop_orphans(&mut self, orphans: &[Orphan]) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.drop_orphans(orphans)
        })
    }

    /// Drops damaged records that a scrub has found and that are worked out again when they are gone,
    /// if they still are damaged; otherwise like [`drop_orphans`](Self::drop_orphans).
    pub fn drop_derived(&mut self, derived: &[Derived]) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.drop_derived(derived)
        })
    }

    /// Drops authors whom a scrub has found named by no record, unless somebody has asked for their
    /// numbers since that round of it began; otherwise like [`drop_orphans`](Self::drop_orphans). One that comes back gets
    /// another number.
    pub fn drop_authors(&mut self, unnamed: &[UnnamedAuthor]) -> Result<u64, StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            let state = &*writer.state;
            let is_unused = |it: &&UnnamedAuthor| {
                let used = state.authors_used.get(&it.number);
                it.since >= state.authors_noted_from && used.is_none_or(|used| *used <= it.since)
            };
            pass.drop_authors(unnamed.iter().filter(is_unused))
        })
    }

    /// Notes which damage of no context was looked into. Like [`collect`](Self::collect) it becomes
    /// durable with the next checkpoint.
    pub(crate) fn note_damage_seen(&mut self, digest: [u8; 32]) -> Result<(), StoreError> {
        self.guarded(|writer| {
            writer.open_pass()?;
            let pass = writer.pass.as_mut().expect("it was opened above");
            pass.note_damage_seen(digest)
        })
    }

    /// Whether there is something for the collector in [`Reach::Grown`].
    pub fn has_grown(&self) -> bool {
        let grown = self.pass.as_ref().map(|pass| &pass.grown);
        !self.state.round.grown.is_empty() || grown.is_some_and(|grown| !grown.is_empty())
    }

    /// Whether the collector has done something that no checkpoint has brought into LMDB.
    pub fn has_collected(&self) -> bool {
        self.state.journal.is_empty() && self.pass.as_ref().is_some_and(Pass::has_written)
    }

    fn bring_in(&mut self) -> Result<(), StoreError> {
        if self.pass.is_none() && self.state.journal.is_empty() {
            return Ok(());
        }
        self.open_pass()?;
        let mut pass = self.pass.take().expect("it was opened above");
        if !pass.has_written() {
            self.state.tries = pass.give_up();
            return Ok(());
        }
        let mut generation = self.state.journal.generation();
        generation.number += 1;
        let bytes_noted = self.state.journal.take_space()?;
        self.state.round.grown = std::mem::take(&mut pass.grown);
        let authors_used = pass.take_used_authors();
        (self.state.next, self.state.tries) = pass.finish(generation, bytes_noted)?;
        let authors_used = authors_used.into_iter();
        let authors_used = authors_used.map(|number| (number, generation.number));
        self.state.authors_used.extend(authors_used);
        self.state.journal.restart(generation, bytes_noted)
    }
}

/// Whether a checkpoint is to bring in what was written since the last one.
fn is_full(pass: &Pass<'_>) -> bool {
    pass.writes() > CHECKPOINT_WRITES_MAX || pass.pages() > CHECKPOINT_PAGES_MAX
}

/// Pages that a checkpoint of `pass` needs at the very most.
fn pages_of(pass: &Pass<'_>, journal: &Journal) -> u64 {
    // Large values lie in an entry and in the log; an entry of which a small write changes a
    // part is put as a whole.
    let bytes = 2 * journal.bytes_with_next() + pass.work_bytes() + pass.added_bytes();
    let large = bytes / layout::PAGE_BYTES;
    WRITE_PAGES * (pass.writes() + pass.trie_changes()) as u64 + large + CHECKPOINT_PAGES
}

/// By how many pages a checkpoint of `pass` lets the file grow at most, as far as can be told
/// without looking at each table: what is a little more finds its space among the pages for
/// freeing.
fn growth_of(pass: &Pass<'_>, journal: &Journal) -> u64 {
    // Values and rows of the log, and large records of any kind, lie on pages that may be half full.
    let bytes = 2 * journal.bytes_with_next() + pass.work_bytes() + pass.added_bytes();
    let large = 2 * bytes / layout::PAGE_BYTES;
    let apart = DIRTY_PAGES * pass.pages() as u64 + CONTEXT_PAGES * pass.contexts() as u64;
    apart + large + CHECKPOINT_PAGES
}

/// Pages of a map of so many that are left to those who free some: as many as of the disk, and
/// of a small map no more than an eighth.
fn for_freeing_in_map(pages_max: u64) -> u64 {
    PAGES_FOR_FREEING.min(pages_max / 8)
}

fn pages_used(env: &Env<WithoutTls>) -> u64 {
    env.info().last_page_number as u64 + 1
}

/// What is said of a write for which nothing can be reserved.
fn nothing_reserved() -> StoreError {
    let why = "No space left on device: none can be reserved for the ledger";
    StoreError::DiskFull {
        source: std::io::Error::new(std::io::ErrorKind::StorageFull, why),
    }
}

/// The slot to be given next.
pub(crate) fn next_slot(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<u64, StoreError> {
    let failed = |error| engine_error("read the counters of", error, env);
    let slot = match tables.meta.get(txn, META_SLOTS).map_err(failed)? {
        Some(bytes) => open::<SlotsRecord>(META_SLOTS, bytes)?.next.to_native(),
        None => ContextSlot::FIRST,
    };
    // A slot that is given twice would mix two contexts.
    for table in [tables.heads, tables.graves] {
        let last = table.last(txn).map_err(failed)?;
        let last = last.and_then(|(key, _)| layout::read_u64(key));
        if last.is_some_and(|last| last >= slot) {
            let why = "slots beyond it have been given";
            return Err(StoreError::corrupt("slots record", META_SLOTS, why));
        }
    }
    Ok(slot)
}

fn stamp_of(key: &[u8], bytes: &[u8]) -> Result<Hlc, StoreError> {
    Ok(Logged::read(key, bytes)?.delta(key)?.hlc())
}

fn newest_stamp_of_heads(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<Hlc, StoreError> {
    let failed = |error| engine_error("read the heads of", error, env);
    let mut newest = Hlc::ZERO;
    for row in tables.heads.iter(txn).map_err(failed)? {
        let (key, bytes) = row.map_err(failed)?;
        newest = newest.max(Head::read(key, bytes)?.hlc);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Attachment;
    use crate::change::{CallEffects, NewContext, Op, Write};
    use crate::data_dir::{DataDir, OpenOptions};
    use crate::entry::Space;
    use crate::ids::{ApplicationId, BlobId, ContextId, NodeId, ShardCount};
    use crate::ledger::{Ledger, open_env};
    use crate::record::seal;

    /// Its key or its page is damaged, so that LMDB does not find it.
    #[test]
    fn slots_are_not_given_again_when_their_record_is_lost() {
        let lost: [fn(Tables, &mut heed::RwTxn<'_>); 2] = [
            |tables, txn| assert!(tables.meta.delete(txn, META_SLOTS).unwrap()),
            |tables, txn| {
                let mut record = Vec::new();
                seal(&mut record, META_SLOTS, &SlotsRecord { next: 1 });
                tables.meta.put(txn, META_SLOTS, &record).unwrap();
            },
        ];
        for lose in lost {
            let dir = tempfile::tempdir().unwrap();
            let options = OpenOptions {
                shards_if_new: ShardCount::new(1).unwrap(),
                node_id_if_new: NodeId::from_bytes([4; 32]),
            };
            let data = DataDir::open(dir.path(), &options).unwrap();
            let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
            let config = LedgerConfig::default();
            let id = ContextId::random();
            let call = CallEffects::new(id, NodeId::from_bytes([4; 32]), Hlc::ZERO);
            let new = NewContext {
                id,
                name: None,
                application: ApplicationId::from_bytes([1; 32]),
                created: Hlc::ZERO,
                call,
            };
            let ledger = Ledger::open(&place, &config).unwrap();
            ledger.commit(vec![Change::CreateContext(new)]).unwrap();
            drop(ledger);
            let env = open_env(&place, &config).unwrap();
            let tables = Tables::open(&env).unwrap().unwrap();
            let mut txn = env.write_txn().unwrap();
            lose(tables, &mut txn);
            txn.commit().unwrap();
            drop(env);
            let error = Ledger::open(&place, &config).err().unwrap();
            assert!(
                matches!(
                    error,
                    StoreError::Corrupt {
                        what: "slots record",
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    /// Whether a call that needs the record is in the journal when the ledger is opened, or
    /// comes later.
    #[test]
    fn a_damaged_sum_of_attachments_stops_its_context_alone() {
        for is_journaled in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let options = OpenOptions {
                shards_if_new: ShardCount::new(1).unwrap(),
                node_id_if_new: NodeId::from_bytes([4; 32]),
            };
            let data = DataDir::open(dir.path(), &options).unwrap();
            let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
            let config = LedgerConfig {
                start_check_bytes_max: 0,
                ..LedgerConfig::default()
            };
            let id = |n| ContextId::from_bytes([n; 32]);
            let call = |n, slot, now: u64, blob: u8| {
                let attachment = Attachment {
                    blob: BlobId::of(&[blob]),
                    bytes: 1,
                };
                CallEffects {
                    context: id(n),
                    slot,
                    author: NodeId::from_bytes([4; 32]),
                    hlc: Hlc::from_micros(now),
                    read: None,
                    ops: vec![Op {
                        space: Space::Attached,
                        key: bytes::Bytes::copy_from_slice(&attachment.key()),
                        removes_first: false,
                        write: Write::Insert,
                    }],
                    events: vec![],
                    answer: None,
                }
            };
            let ledger = Ledger::open(&place, &config).unwrap();
            let slots = [1, 2].map(|n| {
                let new = NewContext {
                    id: id(n),
                    name: None,
                    application: ApplicationId::from_bytes([1; 32]),
                    created: Hlc::from_micros(1),
                    call: call(n, ContextSlot::UNASSIGNED, 1, 1),
                };
                let verdict = ledger.commit(vec![Change::CreateContext(new)]);
                verdict.unwrap().remove(0).unwrap().slot()
            });
            if is_journaled {
                let batch = vec![
                    Change::Call(call(1, slots[0], 2, 2)),
                    Change::Call(call(2, slots[1], 2, 2)),
                ];
                let outcome = ledger.writer().commit(batch).unwrap();
                assert!(!outcome.is_shown && outcome.verdicts.iter().all(Result::is_ok));
            }
            drop(ledger);
            let env = open_env(&place, &config).unwrap();
            let tables = Tables::open(&env).unwrap().unwrap();
            let mut txn = env.write_txn().unwrap();
            let key = layout::slot_key(slots[0]);
            let bytes = tables.attached_sums.get(&txn, &key).unwrap();
            let mut bytes = bytes.unwrap().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            tables.attached_sums.put(&mut txn, &key, &bytes).unwrap();
            txn.commit().unwrap();
            drop(env);
            let ledger = Ledger::open(&place, &config).unwrap();
            let snapshot = ledger.snapshot().unwrap();
            let quarantined = snapshot.quarantined(slots[0]).unwrap();
            assert_eq!(quarantined.is_some(), is_journaled);
            drop(snapshot);
            let batch = vec![
                Change::Call(call(1, slots[0], 3, 3)),
                Change::Call(call(2, slots[1], 3, 3)),
            ];
            let verdicts = ledger.commit(batch).unwrap();
            match is_journaled {
                true => assert!(matches!(verdicts[0], Err(Refused::Quarantined { .. }))),
                false => assert!(matches!(verdicts[0], Err(Refused::Damaged { .. }))),
            }
            assert!(verdicts[1].is_ok());
            // Deleted, it is swept all the same.
            let delete = Change::DeleteContext(id(1));
            ledger.commit(vec![delete]).unwrap().remove(0).unwrap();
            while ledger.sweep(1).unwrap().is_more {}
            crate::verify::verify(&ledger.snapshot().unwrap()).unwrap();
        }
    }
}
