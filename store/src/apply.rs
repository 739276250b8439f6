//! Changes become writes of one LMDB transaction. A change is checked whole
//! before it writes anything, so that a refusal leaves no trace and the batch
//! goes on without it. Owned by the ledger's writer, which decides when the
//! transaction is committed (`writer.rs`); what a change is, is in `change.rs`;
//! how records look is in `record.rs`. Start at [`Pass::apply_all`].

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use heed::{Env, PutFlags, RwTxn, WithoutTls};

use crate::authors::Authors;
use crate::change::{
    ApplicationRecord, CallEffects, Change, Committed, CommittedEvent, Event, NewContext, Op,
    Standing, Verdict,
};
use crate::delta::{DeltaEventView, DeltaView, DeltaWriter, OpView};
use crate::error::{Refused, StoreError};
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId};
use crate::journal::Generation;
use crate::layout::{
    self, APPLICATION_BYTES_MAX, EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, META_JOURNAL,
    META_JOURNAL_FILE, META_SLOTS, NAME_BYTES_MAX, Tables, VALUE_BYTES_MAX, event_key,
    position_key, slot_key,
};
use crate::ledger::{commit_error, engine_error, is_short_write};
use crate::record::{
    ContextRecord, ContextRow, EntryRow, EntryView, EventRow, GraveRow, Head, JournalFileRecord,
    JournalRecord, LogRow, NameRow, SlotsRecord, read_name, seal,
};
use crate::root::{EntryFacts, RootSum};
use crate::writer::Counters;

/// Buffers above this size are given back after the batch that needed them.
const BUFFER_BYTES_KEPT_MAX: usize = 1 << 20;

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
    standing: Standing,
    /// Sequence number of the call's first event.
    first_sequence: u64,
}

impl Receipt {
    const OF_NO_CALL: Receipt = Receipt {
        slot: ContextSlot::UNASSIGNED,
        delta_id: None,
        standing: Standing::OF_NO_CONTEXT,
        first_sequence: 0,
    };
}

#[derive(Default)]
struct Buffers {
    record: Vec<u8>,
    key: Vec<u8>,
    canonical: Vec<u8>,
}

impl Buffers {
    fn shrink(&mut self) {
        for buffer in [&mut self.record, &mut self.key, &mut self.canonical] {
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
    /// Heads of the contexts touched, each read once and written once.
    heads: BTreeMap<ContextSlot, TouchedHead>,
    /// Entries, events and deltas put so far.
    writes: usize,
    has_written: bool,
    has_unjournaled: bool,
}

struct TouchedHead {
    head: Head,
    is_changed: bool,
    is_new: bool,
}

/// What a call will leave behind, as far as reading can tell.
struct Planned {
    root: RootSum,
    entries: u64,
    bytes: u64,
}

impl Planned {
    fn from(head: &Head) -> Planned {
        Planned {
            root: RootSum::of(head.root),
            entries: head.entries,
            bytes: head.bytes,
        }
    }

    fn add(&mut self, call: &CallEffects, op: &Op, value: &[u8]) {
        self.root.add(&EntryFacts {
            key: &op.key,
            kind: op.kind,
            hlc: call.hlc,
            author: call.author,
            value,
        });
        self.entries += 1;
        self.bytes += (op.key.len() + value.len()) as u64;
    }
}

impl<'l> Pass<'l> {
    /// Begins where the last checkpoint ended.
    pub(crate) fn begin(
        env: &'l Env<WithoutTls>,
        tables: Tables,
        next: Counters,
    ) -> Result<Self, StoreError> {
        let txn = env
            .write_txn()
            .map_err(|error| engine_error("begin a commit to", error, env))?;
        Ok(Pass {
            env,
            tables,
            authors: Authors::load(env, tables, &txn)?,
            txn,
            next,
            buffers: Buffers::default(),
            heads: BTreeMap::new(),
            writes: 0,
            has_written: false,
            has_unjournaled: false,
        })
    }

    /// Entries, events and deltas put since the last checkpoint.
    pub(crate) fn writes(&self) -> usize {
        self.writes
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

    /// Applies every change that is not refused; `journal` is shown what each
    /// call has written. On an error the transaction is good for nothing.
    pub(crate) fn apply_all(
        &mut self,
        batch: &[Change],
        journal: &mut dyn FnMut(ContextSlot, &[u8]),
    ) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(batch.len());
        // Contexts of which a call was refused: the calls behind it may have
        // seen what it would have written.
        let mut broken: Vec<ContextId> = Vec::new();
        for change in batch {
            if let Change::Call(call) = change
                && broken.contains(&call.context)
            {
                let context = call.context;
                answers.push(Err(Refused::BehindRefused { context }));
                continue;
            }
            let answer = match self.apply(change) {
                Ok(receipt) => Ok(receipt),
                Err(Stop::Refuse(refused)) => Err(refused),
                Err(Stop::Fail(error)) => return Err(error),
            };
            match (change, &answer) {
                (Change::Call(call), Err(_)) => broken.push(call.context),
                // A new context has no past.
                (Change::CreateContext(new), Ok(_)) => broken.retain(|id| *id != new.id),
                (Change::Call(_), Ok(receipt)) if receipt.delta_id.is_some() => {
                    journal(receipt.slot, &self.buffers.canonical);
                }
                _ => {}
            }
            answers.push(answer);
        }
        self.buffers.shrink();
        Ok(answers)
    }

    /// Applies a call as the journal has it: it was applied once before, and
    /// must come out the same.
    pub(crate) fn replay(&mut self, slot: ContextSlot, canonical: &[u8]) -> Result<(), StoreError> {
        let corrupt = |why| StoreError::corrupt("journaled delta", &slot_key(slot), why);
        let delta = DeltaView::parse(canonical)
            .map_err(|_| corrupt("its canonical bytes are malformed"))?;
        let call = CallEffects {
            context: delta.context(),
            slot,
            author: delta.author(),
            hlc: delta.hlc(),
            ops: delta.ops().map(owned_op).collect(),
            events: delta.events().map(owned_event).collect(),
            logs: Vec::new(),
        };
        match self.call(&call) {
            Ok(_) if self.buffers.canonical == canonical => Ok(()),
            Ok(_) => Err(corrupt("it gives another state than when it was committed")),
            Err(Stop::Refuse(Refused::Damaged { source })) => Err(source),
            Err(Stop::Refuse(_)) => Err(corrupt("the state does not take it any more")),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    fn apply(&mut self, change: &Change) -> Result<Receipt, Stop> {
        match change {
            Change::Call(call) => self.call(call),
            Change::CreateContext(new) => self.create(new),
            Change::DeleteContext(id) => self.delete(id),
            Change::PutApplication(record) => self.put_application(record),
            Change::RemoveApplication(id) => self.remove_application(id),
            Change::PutName { name, context } => self.put_name(name, *context),
            Change::RemoveName { name } => self.remove_name(name),
        }
    }

    /// Writes the heads and commits: from now on the journal's records of
    /// `generation` count, and its file has at least `journal_bytes`. Gives the
    /// counters to go on with.
    pub(crate) fn finish(
        mut self,
        generation: Generation,
        journal_bytes: u64,
    ) -> Result<Counters, StoreError> {
        for (slot, touched) in mem::take(&mut self.heads) {
            if touched.is_changed {
                let key = slot_key(slot);
                touched.head.seal(&mut self.buffers.record, &key);
                // Slots only grow, so new heads fill pages one after another.
                let flags = if touched.is_new {
                    PutFlags::APPEND
                } else {
                    PutFlags::empty()
                };
                let put = self.tables.heads.put_with_flags(
                    &mut self.txn,
                    flags,
                    &key,
                    &self.buffers.record,
                );
                put.map_err(|error| self.engine(error))?;
            }
        }
        let record = JournalRecord {
            generation: generation.number,
            seed: generation.seed,
        };
        seal(&mut self.buffers.record, META_JOURNAL, &record);
        self.put_meta(META_JOURNAL)?;
        let record = JournalFileRecord {
            bytes: journal_bytes,
        };
        seal(&mut self.buffers.record, META_JOURNAL_FILE, &record);
        self.put_meta(META_JOURNAL_FILE)?;
        let env = self.env;
        self.txn
            .commit()
            .map_err(|error| commit_error(error, env))?;
        Ok(self.next)
    }

    /// Puts the record that was sealed last.
    fn put_meta(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let put = self
            .tables
            .meta
            .put(&mut self.txn, key, &self.buffers.record);
        put.map_err(|error| self.engine(error))
    }

    fn call(&mut self, call: &CallEffects) -> Result<Receipt, Stop> {
        check_call(call)?;
        let slot = match call.slot {
            ContextSlot::UNASSIGNED => self.find(&call.context)?.slot,
            slot => slot,
        };
        let head = self.head(slot)?.ok_or(Refused::UnknownContext {
            context: call.context,
        })?;
        if head.context != call.context {
            return Err(Refused::WrongSlot {
                context: call.context,
                slot,
            }
            .into());
        }
        if call.hlc < head.hlc {
            return Err(Refused::StaleHlc {
                got: call.hlc,
                last: head.hlc,
            }
            .into());
        }
        let is_silent = call.ops.is_empty() && call.events.is_empty();
        let planned = match is_silent {
            true => None,
            false => Some(self.plan(slot, call)?),
        };
        self.write_call(slot, call, planned)
    }

    /// Reads what the call's writes replace, and works out what they lead to.
    fn plan(&mut self, slot: ContextSlot, call: &CallEffects) -> Result<Planned, Stop> {
        let head = &self.heads[&slot].head;
        let mut planned = Planned::from(head);
        for op in &call.ops {
            layout::entry_key(&mut self.buffers.key, slot, &op.key);
            let key = &self.buffers.key;
            let old = self.tables.entries.get(&self.txn, key);
            if let Some(bytes) = old.map_err(|error| self.stop(error))? {
                let old = EntryView::read(key, bytes).map_err(before_writing)?;
                self.replace(&mut planned, slot, op, old)?;
            }
            if let Some(value) = &op.value {
                planned.add(call, op, value);
            }
        }
        Ok(planned)
    }

    fn replace(
        &self,
        planned: &mut Planned,
        slot: ContextSlot,
        op: &Op,
        old: EntryView<'_>,
    ) -> Result<(), Stop> {
        if old.kind != op.kind {
            return Err(Refused::KindMismatch {
                found: old.kind,
                written: op.kind,
            }
            .into());
        }
        let damaged = |what, key: &[u8], why| before_writing(StoreError::corrupt(what, key, why));
        let author = self.authors.get(old.author).ok_or_else(|| {
            damaged(
                "entry",
                &self.buffers.key,
                "its author is unknown to the ledger",
            )
        })?;
        planned.root.subtract(&EntryFacts {
            key: &op.key,
            kind: old.kind,
            hlc: old.hlc,
            author,
            value: old.value,
        });
        let freed = (op.key.len() + old.value.len()) as u64;
        let left = (planned.entries.checked_sub(1)).zip(planned.bytes.checked_sub(freed));
        (planned.entries, planned.bytes) = left.ok_or_else(|| {
            let why = "it counts fewer entries or bytes than there are";
            damaged("head record", &slot_key(slot), why)
        })?;
        Ok(())
    }

    /// Everything about the call is checked: write it. Without a plan the call
    /// has no effects.
    fn write_call(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        planned: Option<Planned>,
    ) -> Result<Receipt, Stop> {
        // The head leaves the map while it changes. If the call fails half way
        // the transaction is dropped, and every head with it.
        let mut touched = self
            .heads
            .remove(&slot)
            .expect("the caller has read the head");
        let head = &mut touched.head;
        let first_sequence = head.events_last + 1;
        let mut delta_id = None;
        if let Some(planned) = planned {
            self.has_written = true;
            self.writes += call.ops.len() + call.events.len() + 1;
            let author = self
                .authors
                .number(call.author, self.tables, &mut self.txn)
                .map_err(|error| self.stop(error))?;
            for op in &call.ops {
                self.write_op(slot, call, author, op)?;
            }
            head.root = planned.root.root();
            head.entries = planned.entries;
            head.bytes = planned.bytes;
            head.version += u64::from(!call.ops.is_empty());
            let id = self.write_delta(slot, call, head)?;
            self.write_events(slot, call, id, head)?;
            delta_id = Some(id);
            touched.is_changed = true;
        }
        let standing = Standing::of(&touched.head);
        self.heads.insert(slot, touched);
        Ok(Receipt {
            slot,
            delta_id,
            standing,
            first_sequence,
        })
    }

    fn write_op(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        author: u32,
        op: &Op,
    ) -> Result<(), Stop> {
        layout::entry_key(&mut self.buffers.key, slot, &op.key);
        let key = &self.buffers.key;
        let entries = self.tables.entries;
        let written = match &op.value {
            Some(value) => {
                let row = EntryRow {
                    hlc: call.hlc.bits(),
                    author,
                    kind: op.kind.number(),
                    value,
                };
                seal(&mut self.buffers.record, key, &row);
                entries.put(&mut self.txn, key, &self.buffers.record)
            }
            None => entries.delete(&mut self.txn, key).map(drop),
        };
        written.map_err(|error| self.stop(error))
    }

    fn write_delta(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        head: &mut Head,
    ) -> Result<DeltaId, Stop> {
        let canonical = &mut self.buffers.canonical;
        let mut writer =
            DeltaWriter::begin(canonical, call.context, call.author, call.hlc, &head.deltas);
        writer.ops(&call.ops);
        writer.events(&call.events);
        let id = writer.finish(head.root);
        let position = self.next.position;
        let key = position_key(position);
        let row = LogRow {
            slot: slot.number(),
            previous: head.log_last,
            canonical,
        };
        seal(&mut self.buffers.record, &key, &row);
        let put = self.tables.log.put_with_flags(
            &mut self.txn,
            PutFlags::APPEND,
            &key,
            &self.buffers.record,
        );
        put.map_err(|error| self.stop(error))?;
        self.next.position += 1;
        self.next.last_hlc = self.next.last_hlc.max(call.hlc);
        head.log_last = position;
        head.hlc = call.hlc;
        head.deltas.clear();
        head.deltas.push(id);
        Ok(id)
    }

    fn write_events(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        delta: DeltaId,
        head: &mut Head,
    ) -> Result<(), Stop> {
        for event in &call.events {
            head.events_last += 1;
            let key = event_key(slot, head.events_last);
            let row = EventRow {
                delta: *delta.as_bytes(),
                hlc: call.hlc.bits(),
                kind: &event.kind,
                payload: &event.payload,
            };
            seal(&mut self.buffers.record, &key, &row);
            let put = self
                .tables
                .events
                .put(&mut self.txn, &key, &self.buffers.record);
            put.map_err(|error| self.stop(error))?;
        }
        Ok(())
    }

    fn create(&mut self, new: &NewContext) -> Result<Receipt, Stop> {
        check_call(&new.call)?;
        if new.call.context != new.id {
            return Err(Refused::WrongSlot {
                context: new.call.context,
                slot: new.call.slot,
            }
            .into());
        }
        if let Some(name) = &new.name {
            check_name(name)?;
        }
        let exists = self.tables.contexts.get(&self.txn, new.id.as_bytes());
        if exists.map_err(|error| self.stop(error))?.is_some() {
            return Err(Refused::ContextExists { context: new.id }.into());
        }
        self.note_unjournaled();
        let slot = ContextSlot::new(self.next.slot);
        self.next.slot += 1;
        seal(
            &mut self.buffers.record,
            META_SLOTS,
            &SlotsRecord {
                next: self.next.slot,
            },
        );
        let put = self
            .tables
            .meta
            .put(&mut self.txn, META_SLOTS, &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        let row = ContextRow {
            slot: slot.number(),
            created: new.created.bits(),
            application: *new.application.as_bytes(),
            name: new.name.as_deref(),
        };
        seal(&mut self.buffers.record, new.id.as_bytes(), &row);
        let put = self
            .tables
            .contexts
            .put(&mut self.txn, new.id.as_bytes(), &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        let touched = TouchedHead {
            head: Head::new(new.id),
            is_changed: true,
            is_new: true,
        };
        // A slot is never given twice, so there is nothing to replace.
        let mut planned = Planned::from(&touched.head);
        for op in &new.call.ops {
            if let Some(value) = &op.value {
                planned.add(&new.call, op, value);
            }
        }
        self.heads.insert(slot, touched);
        let is_silent = new.call.ops.is_empty() && new.call.events.is_empty();
        self.write_call(slot, &new.call, (!is_silent).then_some(planned))
    }

    fn note_unjournaled(&mut self) {
        self.has_written = true;
        self.has_unjournaled = true;
    }

    fn delete(&mut self, id: &ContextId) -> Result<Receipt, Stop> {
        let context = self.find(id)?;
        let slot = context.slot;
        // A head without a record cannot be told from a damaged ledger.
        let damaged = || StoreError::corrupt("head record", &slot_key(slot), "it is missing");
        let log_last = self
            .head(slot)?
            .ok_or_else(|| before_writing(damaged()))?
            .log_last;
        let name_is_here = match &context.name {
            Some(name) => self.name_holder(name)? == Some(*id),
            None => false,
        };
        self.note_unjournaled();
        self.heads.remove(&slot);
        let key = slot_key(slot);
        let mut delete = || -> heed::Result<()> {
            self.tables.contexts.delete(&mut self.txn, id.as_bytes())?;
            self.tables.heads.delete(&mut self.txn, &key)?;
            if let Some(name) = context.name.as_ref().filter(|_| name_is_here) {
                self.tables.names.delete(&mut self.txn, name.as_bytes())?;
            }
            seal(
                &mut self.buffers.record,
                &key,
                &GraveRow {
                    context: *id.as_bytes(),
                    log_last,
                },
            );
            self.tables
                .graves
                .put(&mut self.txn, &key, &self.buffers.record)
        };
        delete().map_err(|error| self.stop(error))?;
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }

    fn put_application(&mut self, record: &ApplicationRecord) -> Result<Receipt, Stop> {
        let bytes = record.name.len() + record.version.len() + record.description.len();
        check_bound(
            "the application record's size in bytes",
            bytes,
            0,
            APPLICATION_BYTES_MAX,
        )?;
        self.note_unjournaled();
        record.seal(&mut self.buffers.record);
        let put =
            self.tables
                .applications
                .put(&mut self.txn, record.id.as_bytes(), &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        Ok(Receipt::OF_NO_CALL)
    }

    fn remove_application(&mut self, id: &ApplicationId) -> Result<Receipt, Stop> {
        let removed = self
            .tables
            .applications
            .delete(&mut self.txn, id.as_bytes());
        if removed.map_err(|error| self.stop(error))? {
            self.note_unjournaled();
        }
        Ok(Receipt::OF_NO_CALL)
    }

    fn put_name(&mut self, name: &str, context: ContextId) -> Result<Receipt, Stop> {
        check_name(name)?;
        match self.name_holder(name)? {
            Some(holder) if holder == context => return Ok(Receipt::OF_NO_CALL),
            Some(holder) => {
                return Err(Refused::NameTaken {
                    name: name.to_owned(),
                    holder,
                }
                .into());
            }
            None => {}
        }
        self.note_unjournaled();
        let row = NameRow {
            context: *context.as_bytes(),
        };
        seal(&mut self.buffers.record, name.as_bytes(), &row);
        let put = self
            .tables
            .names
            .put(&mut self.txn, name.as_bytes(), &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        Ok(Receipt::OF_NO_CALL)
    }

    fn remove_name(&mut self, name: &str) -> Result<Receipt, Stop> {
        check_name(name)?;
        let removed = self.tables.names.delete(&mut self.txn, name.as_bytes());
        if removed.map_err(|error| self.stop(error))? {
            self.note_unjournaled();
        }
        Ok(Receipt::OF_NO_CALL)
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
            self.heads.insert(
                slot,
                TouchedHead {
                    head,
                    is_changed: false,
                    is_new: false,
                },
            );
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

fn check_call(call: &CallEffects) -> Result<(), Refused> {
    if !call.ops.is_sorted_by(|a, b| a.key < b.key) {
        return Err(Refused::Unsorted {
            context: call.context,
        });
    }
    for op in &call.ops {
        check_bound("a key's length in bytes", op.key.len(), 0, KEY_BYTES_MAX)?;
        let value_bytes = op.value.as_ref().map_or(0, |value| value.len());
        check_bound("a value's length in bytes", value_bytes, 0, VALUE_BYTES_MAX)?;
    }
    for event in &call.events {
        check_bound(
            "an event kind's length in bytes",
            event.kind.len(),
            0,
            EVENT_KIND_BYTES_MAX,
        )?;
        check_bound(
            "an event payload's length in bytes",
            event.payload.len(),
            0,
            VALUE_BYTES_MAX,
        )?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Refused> {
    check_bound("a name's length in bytes", name.len(), 1, NAME_BYTES_MAX)
}

fn check_bound(limit: &'static str, got: usize, min: usize, max: usize) -> Result<(), Refused> {
    if (min..=max).contains(&got) {
        Ok(())
    } else {
        Err(Refused::OutOfBounds {
            limit,
            got: got as u64,
            min: min as u64,
            max: max as u64,
        })
    }
}

/// Builds the answer to a change out of its receipt, now that it is on disk.
pub(crate) fn verdict(change: Change, answer: Answer) -> Verdict {
    let receipt = answer?;
    let (events, logs) = match change {
        Change::CreateContext(NewContext { call, .. }) | Change::Call(call) => {
            (call.events, call.logs)
        }
        _ => return Ok(Committed::of_no_call(receipt.slot)),
    };
    let events = (receipt.first_sequence..)
        .zip(events)
        .map(|(sequence, event)| CommittedEvent { sequence, event })
        .collect();
    Ok(Committed {
        slot: receipt.slot,
        delta_id: receipt.delta_id,
        standing: receipt.standing,
        events,
        logs,
    })
}

fn owned_op(op: OpView<'_>) -> Op {
    Op {
        key: Bytes::copy_from_slice(op.key),
        kind: op.kind,
        value: op.value.map(Bytes::copy_from_slice),
    }
}

fn owned_event(event: DeltaEventView<'_>) -> Event {
    Event {
        kind: event.kind.to_owned(),
        payload: Bytes::copy_from_slice(event.payload),
    }
}
