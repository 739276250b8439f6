//! Changes become writes of one LMDB transaction. A change is checked whole
//! before it writes anything, so that a refusal leaves no trace and the batch
//! goes on without it. Owned by the ledger's writer, which decides when the
//! transaction is committed (`writer.rs`); what a change is, is in `change.rs`;
//! how records look is in `record.rs`; calls are in `call.rs`, those that get their roots together in
//! `later.rs`, deltas of other nodes in
//! `remote.rs`, seals in `seals.rs`, what both lead to is worked out in `plan.rs`, what rides along with changes is in
//! `collect.rs` and `sweep.rs`, how a context gets another application in `upgrade.rs`, what the server notes of
//! contexts in `notes.rs`, and all other changes are in `records.rs`. Answers that are kept with a call are in
//! `answers.rs`, what the journal brings back is in `replay.rs`, the transaction's end in `finish.rs`, and what
//! a change is answered in `verdict.rs`. Start at
//! [`Pass::apply_all`].

mod again;
mod answers;
mod attached;
mod bounds;
mod call;
mod collect;
mod compact;
mod content;
mod finish;
mod followed;
mod found;
mod history;
mod later;
mod members;
mod notes;
mod plan;
mod quarantine;
mod reading;
mod records;
mod remote;
mod replay;
mod seals;
mod sweep;
mod takeover;
mod tallies;
mod upgrade;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

pub(crate) use self::compact::Walk;
pub(crate) use self::reading::Reading;
pub(crate) use self::verdict::verdict;

use self::again::WrittenBefore;
use self::bounds::check_bound;
pub use self::content::ContextBounds;
use self::later::{Begun, Waiting};
use self::plan::Plan;
use self::tallies::TouchedTally;

use heed::{Env, RwTxn, WithoutTls};

use crate::answer::AnswerBounds;
use crate::authors::Authors;
use crate::change::{Change, Standing, Upgrade};
use crate::entry::EntryDigest;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, DeltaId, Root};
use crate::journal::JournaledCall;
use crate::layout::{BATCH_BYTES_MAX, Tables, slot_key};
use crate::ledger::{engine_error, is_short_write};
use crate::record::{ContextRecord, DagNode, Head, read_name};
use crate::saved::SequenceName;
use crate::trie::Trie;
use crate::trie_cache::TrieCache;
use crate::writer::Counters;

/// Buffers above this size are given back after the batch that needed them.
const BUFFER_BYTES_KEPT_MAX: usize = 1 << 20;

/// Bytes that the deltas of other nodes in one batch may make this node read and write
/// again before the next of them has to come with another batch.
const BATCH_WORK_BYTES_MAX: u64 = BATCH_BYTES_MAX;

/// Deltas of a context of which a pass remembers what they had seen: those of a few nodes that
/// write at once.
const RECENT_DELTAS_MAX: usize = 8;

/// Nodes of tries read into memory at which that holds as well: some hundred megabytes, if keys are long.
const BATCH_TRIE_NODES_MAX: usize = 1 << 17;

/// What a change will be answered once it is on disk.
pub(crate) type Answer = Result<Receipt, Refused>;

/// Why a change stopped in the middle.
enum Stop {
    /// Refused before it wrote anything: the batch goes on without it.
    Refuse(Refused),
    /// The whole batch fails.
    Fail(StoreError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Stop::Refuse(refused)
    }
}

/// What a failed read means to the change that needs it: damage stops only that
/// change, every other failure the batch.
fn before_writing(error: StoreError) -> Stop {
    match error {
        source @ StoreError::Corrupt { .. } => Stop::Refuse(Refused::Damaged { source }),
        error => Stop::Fail(error),
    }
}

/// What is known of a change that was applied.
#[derive(Clone, Copy)]
pub(crate) struct Receipt {
    slot: ContextSlot,
    delta_id: Option<DeltaId>,
    /// Whether it wrote anything that the journal has to have.
    is_written: bool,
    standing: Standing,
    /// The stamp that a call got.
    hlc: Hlc,
    /// Where the author of a delta that follows everything has another root.
    root_there: Option<Root>,
    /// Sequence number of the call's first event.
    first_sequence: u64,
    /// Answers that went for the call's own, and were not too old yet.
    pub(crate) answers_early: u64,
}

impl Receipt {
    const OF_NO_CALL: Receipt = Receipt {
        slot: ContextSlot::UNASSIGNED,
        delta_id: None,
        is_written: false,
        standing: Standing::OF_NO_CONTEXT,
        hlc: Hlc::ZERO,
        root_there: None,
        first_sequence: 0,
        answers_early: 0,
    };
}

#[derive(Default)]
struct Buffers {
    record: Vec<u8>,
    key: Vec<u8>,
    canonical: Vec<u8>,
    /// What the journal has beside that.
    local: Vec<u8>,
}

impl Buffers {
    fn shrink(&mut self) {
        for buffer in [
            &mut self.record,
            &mut self.key,
            &mut self.canonical,
            &mut self.local,
        ] {
            if buffer.capacity() > BUFFER_BYTES_KEPT_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

/// One transaction being filled, over many batches.
pub(crate) struct Pass<'l> {
    env: &'l Env<WithoutTls>,
    tables: Tables,
    txn: RwTxn<'l>,
    next: Counters,
    authors: Authors,
    buffers: Buffers,
    digests: EntryDigest,
    plans: Vec<Plan>,
    answer_bounds: AnswerBounds,
    context_bounds: ContextBounds,
    /// Heads of the contexts touched, each read once and written once.
    heads: BTreeMap<ContextSlot, TouchedHead>,
    /// Sizes of logs and events, each read once and written once.
    tallies: BTreeMap<ContextSlot, TouchedTally>,
    /// Contexts that are out of service, and why.
    quarantined: BTreeMap<ContextSlot, String>,
    /// Contexts whose log or events have grown since the collector looked at them.
    pub(crate) grown: BTreeSet<ContextSlot>,
    /// Lists and texts that have grown since then, by the prefix of the keys of their edits.
    pub(crate) packable: Vec<Vec<u8>>,
    /// Whether there are others, as there were too many or it was not their turn.
    pub(crate) has_forgotten_packable: bool,
    /// Whether edits were packed that no checkpoint has brought in.
    has_packed: bool,
    /// Bytes of records that the collector has dropped, and the sweep dropped or looked at: what was large
    /// among them has pages of its own, which the checkpoint has to list as free.
    freed_bytes: u64,
    /// Entries, events and deltas put so far.
    writes: usize,
    /// How many of them lie where something was written before: entries that were put again,
    /// and what is appended.
    beside: usize,
    written_before: WrittenBefore,
    /// Tries of contexts that were not needed yet.
    tries: TrieCache,
    /// Nodes of tries read into memory.
    trie_nodes: usize,
    /// Nodes of tries to be put or deleted.
    trie_changes: usize,
    /// Bytes that changes have made this read and write again, beside their own.
    work_bytes: u64,
    /// Bytes of records that the journal says nothing of: see
    /// [`added_bytes`](Self::added_bytes).
    added_bytes: u64,
    has_written: bool,
    has_unjournaled: bool,
    has_litter: bool,
    has_swept: bool,
    /// Contexts of which the sweep has entered deltas.
    entered: BTreeSet<ContextSlot>,
    /// Lists and texts that have grown so much that they are to be saved.
    due: Vec<SequenceName>,
    /// Calls whose roots were worked out together.
    roots_together: usize,
}

struct TouchedHead {
    head: Head,
    /// What of the context's trie was needed so far.
    trie: Option<Trie>,
    /// The last deltas that this pass has applied, the newest last: the next ones
    /// follow them.
    recent: VecDeque<(DeltaId, DagNode)>,
    is_changed: bool,
    is_new: bool,
}

impl TouchedHead {
    fn new(head: Head) -> TouchedHead {
        TouchedHead {
            head,
            trie: None,
            recent: VecDeque::new(),
            is_changed: false,
            is_new: false,
        }
    }

    /// The context's trie, of which nothing need be in memory yet.
    fn open_trie(
        &mut self,
        slot: ContextSlot,
        tries: &mut TrieCache,
    ) -> Result<&mut Trie, StoreError> {
        if self.trie.is_none() {
            self.trie = tries.take(slot, &self.head);
        }
        if self.trie.is_none() {
            let Head {
                context,
                root,
                replicated,
                ..
            } = &self.head;
            let trie = Trie::open(*context.as_bytes(), *root.as_bytes(), *replicated);
            let why = "only one of root and number of entries says that it is empty";
            let damaged = || StoreError::corrupt("head record", &slot_key(slot), why);
            self.trie = Some(trie.ok_or_else(damaged)?);
        }
        Ok(self.trie.as_mut().expect("it was opened above"))
    }
}

impl<'l> Pass<'l> {
    /// Begins where the last checkpoint ended, with the tries that were in memory then.
    pub(crate) fn begin(
        env: &'l Env<WithoutTls>,
        tables: Tables,
        next: Counters,
        answer_bounds: AnswerBounds,
        context_bounds: ContextBounds,
        tries: TrieCache,
    ) -> Result<Self, StoreError> {
        let txn = env
            .write_txn()
            .map_err(|error| engine_error("begin a commit to", error, env))?;
        Ok(Pass {
            env,
            tables,
            authors: Authors::load(env, tables, &txn)?,
            quarantined: quarantine::load(env, tables, &txn)?,
            txn,
            next,
            buffers: Buffers::default(),
            digests: EntryDigest::default(),
            plans: Vec::new(),
            answer_bounds,
            context_bounds,
            heads: BTreeMap::new(),
            tallies: BTreeMap::new(),
            grown: BTreeSet::new(),
            packable: Vec::new(),
            has_forgotten_packable: false,
            has_packed: false,
            freed_bytes: 0,
            writes: 0,
            beside: 0,
            written_before: WrittenBefore::default(),
            tries,
            trie_nodes: 0,
            trie_changes: 0,
            work_bytes: 0,
            added_bytes: 0,
            has_written: false,
            has_unjournaled: false,
            has_litter: false,
            has_swept: false,
            entered: BTreeSet::new(),
            due: Vec::new(),
            roots_together: 0,
        })
    }

    /// Entries, events and deltas put since the last checkpoint.
    pub(crate) fn writes(&self) -> usize {
        self.writes
    }

    /// Pages that these and the nodes of tries have made dirty, if each that has to be read
    /// for it is another one.
    pub(crate) fn pages(&self) -> usize {
        self.writes.saturating_sub(self.beside) + self.trie_changes
    }

    /// Pages that all tables have with what was written, but for the nodes of tries that a
    /// checkpoint writes.
    pub(crate) fn pages_there(&self) -> Result<u64, StoreError> {
        let pages = self.tables.pages(&self.txn);
        pages.map_err(|error| engine_error("count the pages of", error, self.env))
    }

    /// Nodes of tries that were read into memory since the last checkpoint.
    pub(crate) fn trie_nodes(&self) -> usize {
        self.trie_nodes
    }

    /// Nodes of tries that a checkpoint has to put or delete, at most.
    pub(crate) fn trie_changes(&self) -> usize {
        self.trie_changes
    }

    /// Bytes of records that steps have dropped, and a few that they have not.
    pub(crate) fn freed_bytes(&self) -> u64 {
        self.freed_bytes
    }

    /// Bytes of entries and edits that were read or put beside those that the changes
    /// themselves have brought.
    pub(crate) fn work_bytes(&self) -> u64 {
        self.work_bytes
    }

    /// Bytes of records that changes make this put beside what they themselves have brought, and of
    /// what they have brought if it is in no journal. Mostly it is what deltas, edits and heads
    /// have seen: a stamp for each author that ever wrote to the context.
    pub(crate) fn added_bytes(&self) -> u64 {
        self.added_bytes
    }

    /// Contexts called since the last checkpoint.
    pub(crate) fn contexts(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn has_written(&self) -> bool {
        self.has_written
    }

    /// Whether anything was written that is no call, and so is in no journal.
    pub(crate) fn has_unjournaled(&self) -> bool {
        self.has_unjournaled
    }

    /// Whether a removal has left edits for the sweep.
    pub(crate) fn has_litter(&self) -> bool {
        self.has_litter
    }

    /// Takes the lists and texts that are due to be saved.
    pub(crate) fn take_due(&mut self) -> Vec<SequenceName> {
        mem::take(&mut self.due)
    }

    /// How many calls' roots were worked out together since this was asked.
    pub(crate) fn take_roots_together(&mut self) -> usize {
        mem::take(&mut self.roots_together)
    }

    /// Applies every change that is not refused; `journal` is shown what each
    /// call has written. On an error the transaction is good for nothing.
    pub(crate) fn apply_all(
        &mut self,
        batch: &[Change],
        journal: &mut dyn FnMut(&JournaledCall<'_>),
    ) -> Result<Vec<Answer>, StoreError> {
        // None of a call that waits for its root.
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(batch.len());
        // Contexts of which a call was refused: the calls behind it may have
        // seen what it would have written.
        let mut broken: Vec<ContextId> = Vec::new();
        let mut waiting = Waiting::default();
        let work_bytes_max = self.work_bytes + BATCH_WORK_BYTES_MAX;
        for change in batch {
            if let Change::Delta(_) = change
                && (self.work_bytes > work_bytes_max || self.trie_nodes > BATCH_TRIE_NODES_MAX)
            {
                answers.push(Some(Err(Refused::BatchFull)));
                continue;
            }
            if let Change::Call(call) | Change::Upgrade(Upgrade { call, .. }) = change
                && broken.contains(&call.context)
            {
                let context = call.context;
                answers.push(Some(Err(Refused::BehindRefused { context })));
                continue;
            }
            if let Change::Quarantine { why: None, .. } = change {
                // Calls that were put aside are brought in, and if one of them fails so
                // does everything in the transaction.
                let beside = batch.len() - 1;
                let limit = "the changes in one batch with the end of a quarantine";
                if let Err(refused) = check_bound(limit, beside, 0, 0) {
                    answers.push(Some(Err(refused)));
                    continue;
                }
            }
            let begun = match change {
                Change::Call(call) if later::may_wait(call) => self.begin_call(call).map(Some),
                _ => Ok(None),
            };
            let applied = match begun {
                Ok(Some(Begun::Waits(call))) => {
                    waiting.push(answers.len(), call);
                    answers.push(None);
                    if waiting.is_full() {
                        self.end_waiting(&mut waiting, &mut answers, journal)?;
                    }
                    continue;
                }
                // What follows is behind those that wait.
                Ok(begun) => {
                    self.end_waiting(&mut waiting, &mut answers, journal)?;
                    match begun {
                        Some(Begun::Now(call)) => self.end_call(call),
                        _ => self.apply(change),
                    }
                }
                Err(stop) => Err(stop),
            };
            let answer = match applied {
                Ok(receipt) => Ok(receipt),
                Err(Stop::Refuse(refused)) => {
                    self.authors.dismiss();
                    Err(refused)
                }
                Err(Stop::Fail(error)) => return Err(error),
            };
            match (change, &answer) {
                (Change::Call(call), Err(_)) => broken.push(call.context),
                // A new context has no past.
                (Change::CreateContext(new), Ok(_)) => broken.retain(|id| *id != new.id),
                (Change::Call(_) | Change::Delta(_) | Change::KeepSeal(_), Ok(receipt))
                    if receipt.is_written =>
                {
                    if !matches!(change, Change::Call(_)) && self.needs_swept(receipt.slot) {
                        self.note_unjournaled();
                    }
                    self.tell(receipt.slot, journal);
                }
                _ => {}
            }
            answers.push(Some(answer));
        }
        self.end_waiting(&mut waiting, &mut answers, journal)?;
        self.buffers.shrink();
        self.digests.shrink(BUFFER_BYTES_KEPT_MAX);
        let answers = answers.into_iter();
        Ok(answers
            .map(|answer| answer.expect("no call waits any more"))
            .collect())
    }

    /// Shows the journal what was written last.
    fn tell(&self, slot: ContextSlot, journal: &mut dyn FnMut(&JournaledCall<'_>)) {
        let Buffers {
            canonical, local, ..
        } = &self.buffers;
        journal(&JournaledCall {
            slot,
            canonical,
            local,
        });
    }

    fn apply(&mut self, change: &Change) -> Result<Receipt, Stop> {
        match change {
            Change::Call(call) => self.call(call),
            Change::Delta(delta) => self.remote(delta),
            Change::KeepSeal(seal) => self.keep_seal(seal),
            Change::KeepFork(branch) => self.keep_fork(branch),
            Change::ShareContext(context) => self.share_context(context),
            Change::SetMembers {
                context,
                members,
                now,
            } => self.set_members(context, members, *now),
            Change::Acknowledge(ack) => self.acknowledge(ack),
            Change::Quarantine { context, why } => self.quarantine(context, why.as_deref()),
            Change::CreateContext(new) => self.create(new),
            Change::Upgrade(upgrade) => self.upgrade(upgrade),
            Change::DeleteContext(id) => self.delete(id),
            Change::PutApplication(record) => self.put_application(record),
            Change::RemoveApplication(id) => self.remove_application(id),
            Change::PutName { name, context } => self.put_name(name, *context),
            Change::RemoveName { name, context } => self.remove_name(name, *context),
            Change::DropDamagedName(key) => self.drop_damaged_name(key),
            Change::PutNote(note) => self.put_note(note),
        }
    }

    /// The head in `slot`, from this pass or from the ledger.
    fn head(&mut self, slot: ContextSlot) -> Result<Option<&Head>, Stop> {
        if !self.heads.contains_key(&slot) {
            let key = slot_key(slot);
            let found = self
                .tables
                .heads
                .get(&self.txn, &key)
                .map_err(|error| self.stop(error))?;
            let Some(bytes) = found else { return Ok(None) };
            let head = Head::read(&key, bytes).map_err(before_writing)?;
            // It is put again by the checkpoint.
            self.added_bytes += bytes.len() as u64;
            self.heads.insert(slot, TouchedHead::new(head));
        }
        Ok(self.heads.get(&slot).map(|touched| &touched.head))
    }

    fn find(&self, id: &ContextId) -> Result<ContextRecord, Stop> {
        let found = self
            .tables
            .contexts
            .get(&self.txn, id.as_bytes())
            .map_err(|error| self.stop(error))?;
        let bytes = found.ok_or(Refused::UnknownContext { context: *id })?;
        ContextRecord::read(id.as_bytes(), bytes).map_err(before_writing)
    }

    fn name_holder(&self, name: &str) -> Result<Option<ContextId>, Stop> {
        let found = self
            .tables
            .names
            .get(&self.txn, name.as_bytes())
            .map_err(|error| self.stop(error))?;
        found
            .map(|bytes| read_name(name.as_bytes(), bytes).map_err(before_writing))
            .transpose()
    }

    fn stop(&self, error: heed::Error) -> Stop {
        Stop::Fail(self.engine(error))
    }

    /// A write in the middle of the transaction may make LMDB write pages early,
    /// and so meet a full disk; nothing that counts was touched then.
    fn engine(&self, error: heed::Error) -> StoreError {
        match error {
            heed::Error::Io(source) if is_short_write(&source, self.env) => {
                StoreError::DiskFull { source }
            }
            error => engine_error("a commit", error, self.env),
        }
    }
}

/// A failure to read what is needed for certain.
fn fatal(stop: Stop) -> StoreError {
    match stop {
        Stop::Fail(error) => error,
        Stop::Refuse(Refused::Damaged { source }) => source,
        Stop::Refuse(_) => StoreError::Stopped,
    }
}
