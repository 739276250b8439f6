//! A batch of changes becomes one LMDB transaction. Owned by the shard's commit
//! thread; buffers are reused from batch to batch. What a change is, is in
//! `change.rs`; how records look is in `record.rs`. A write-ahead log could
//! take the place of `Writer::commit` without its callers noticing
//! (`store/decisions/0003-commit-through-lmdb.md`). Start at [`Writer::commit`].

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::mem;

use heed::{Env, PutFlags, RoTxn, RwTxn, WithoutTls};

use crate::change::{
    ApplicationRecord, CallEffects, Change, Committed, CommittedEvent, Event, NewContext, Op,
    Verdict,
};
use crate::delta::{DeltaView, DeltaWriter};
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, DeltaId, NodeId, Root};
use crate::layout::{
    self, APPLICATION_BYTES_MAX, BATCH_BYTES_MAX, EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, META_SLOTS,
    NAME_BYTES_MAX, Tables, VALUE_BYTES_MAX, author_key, event_key, position_key, slot_key,
};
use crate::ledger::{engine_error, is_out_of_space};
use crate::record::{
    AuthorRow, ContextRecord, ContextRow, EntryRow, EntryView, EventRow, GraveRow, Head, LogRow,
    NameRow, SlotsRecord, open, read_author, read_name, seal,
};
use crate::root::{EntryFacts, RootSum};

/// Buffers above this size are given back after the batch that needed them.
const BUFFER_BYTES_KEPT_MAX: usize = 1 << 20;

/// What the writing side of a ledger knows without reading. Changes only after
/// a transaction has been committed.
pub(crate) struct Writer {
    next: Counters,
    authors: Authors,
    buffers: Buffers,
}

/// Numbers to be given next.
#[derive(Clone, Copy)]
struct Counters {
    slot: u64,
    position: u64,
    last_hlc: Hlc,
}

/// Every author that the ledger knows, by number. As many as nodes ever wrote
/// into this shard's contexts.
#[derive(Default)]
struct Authors {
    by_number: Vec<NodeId>,
    numbers: HashMap<NodeId, u32>,
}

#[derive(Default)]
struct Buffers {
    record: Vec<u8>,
    key: Vec<u8>,
    canonical: Vec<u8>,
}

/// Why a change stopped in the middle.
enum Stop {
    /// Refused before it wrote anything: the batch goes on without it.
    Refuse(Refused),
    /// Refused after it had written: the batch begins again without it.
    Undo(Refused),
    /// The whole batch fails.
    Fail(StoreError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Stop::Refuse(refused)
    }
}

/// A refusal met while the change may have written already. Damage that the
/// change has to read stops that change; every other failure stops the batch.
fn while_writing(error: StoreError) -> Stop {
    match error {
        source @ StoreError::Corrupt { .. } => Stop::Undo(Refused::Damaged { source }),
        error => Stop::Fail(error),
    }
}

fn before_writing(error: StoreError) -> Stop {
    match error {
        source @ StoreError::Corrupt { .. } => Stop::Refuse(Refused::Damaged { source }),
        error => Stop::Fail(error),
    }
}

/// What a change will be answered once the transaction is committed.
#[derive(Clone, Copy)]
struct Receipt {
    slot: ContextSlot,
    delta_id: Option<DeltaId>,
    root: Root,
    version: u64,
    /// Sequence number of the call's first event.
    first_sequence: u64,
}

impl Receipt {
    const OF_NO_CALL: Receipt = Receipt {
        slot: ContextSlot::UNASSIGNED,
        delta_id: None,
        root: Root::EMPTY,
        version: 0,
        first_sequence: 0,
    };
}

impl Writer {
    /// Reads from the ledger what is to be known before the first commit.
    pub(crate) fn load(env: &Env<WithoutTls>, tables: Tables) -> Result<Writer, StoreError> {
        let failed = |error| engine_error("read the counters of", error, env);
        let txn = env.read_txn().map_err(failed)?;
        let slot = match tables.meta.get(&txn, META_SLOTS).map_err(failed)? {
            Some(bytes) => open::<SlotsRecord>(META_SLOTS, bytes)?.next.to_native(),
            None => ContextSlot::FIRST,
        };
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
        let mut authors = Authors::default();
        for row in tables.authors.iter(&txn).map_err(failed)? {
            let (key, bytes) = row.map_err(failed)?;
            let number = authors.by_number.len();
            if u32::try_from(number)
                .ok()
                .map(author_key)
                .as_ref()
                .map(|key| &key[..])
                != Some(key)
            {
                return Err(StoreError::corrupt(
                    "author record",
                    key,
                    "an author before it is missing",
                ));
            }
            authors.add(read_author(key, bytes)?);
        }
        let next = Counters {
            slot,
            position,
            last_hlc,
        };
        Ok(Writer {
            next,
            authors,
            buffers: Buffers::default(),
        })
    }

    pub(crate) fn last_hlc(&self) -> Hlc {
        self.next.last_hlc
    }

    /// See `Ledger::commit`.
    pub(crate) fn commit(
        &mut self,
        env: &Env<WithoutTls>,
        tables: Tables,
        batch: Vec<Change>,
    ) -> Result<Vec<Verdict>, StoreError> {
        let bytes = batch.iter().map(bytes_of).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(StoreError::BatchTooLarge {
                bytes,
                bytes_max: BATCH_BYTES_MAX,
            });
        }
        let mut answers: Vec<Option<Result<Receipt, Refused>>> = Vec::new();
        answers.resize_with(batch.len(), || None);
        // Each round but the last refuses one more change, so there are at
        // most as many rounds as changes, and one in practice.
        while !self.attempt(env, tables, &batch, &mut answers)? {}
        Ok(batch
            .into_iter()
            .zip(answers)
            .map(|(change, answer)| verdict(change, answer))
            .collect())
    }

    /// Commits every change that is not refused yet. `false` if one had to be
    /// refused after it had written, so that all must be done again without it.
    fn attempt(
        &mut self,
        env: &Env<WithoutTls>,
        tables: Tables,
        batch: &[Change],
        answers: &mut [Option<Result<Receipt, Refused>>],
    ) -> Result<bool, StoreError> {
        let txn = env
            .write_txn()
            .map_err(|error| engine_error("begin a commit to", error, env))?;
        let known_authors = self.authors.by_number.len();
        let mut pass = Pass {
            env,
            tables,
            txn,
            next: self.next,
            authors: &mut self.authors,
            buffers: &mut self.buffers,
            heads: BTreeMap::new(),
            wrote: false,
        };
        let mut outcome = Ok(true);
        // Contexts of which a call was refused: the calls behind it may have
        // seen what it wrote.
        let mut broken: Vec<ContextId> = Vec::new();
        for (change, answer) in batch.iter().zip(answers) {
            if let Change::Call(call) = change {
                if matches!(answer, Some(Err(_))) {
                    broken.push(call.context);
                } else if broken.contains(&call.context) {
                    *answer = Some(Err(Refused::BehindRefused {
                        context: call.context,
                    }));
                }
            }
            if matches!(answer, Some(Err(_))) {
                continue;
            }
            match pass.apply(change) {
                Ok(receipt) => {
                    // A new context has no past.
                    if let Change::CreateContext(new) = change {
                        broken.retain(|context| *context != new.id);
                    }
                    *answer = Some(Ok(receipt));
                }
                Err(Stop::Refuse(refused)) => {
                    if let Change::Call(call) = change {
                        broken.push(call.context);
                    }
                    *answer = Some(Err(refused));
                }
                Err(Stop::Undo(refused)) => {
                    *answer = Some(Err(refused));
                    outcome = Ok(false);
                    break;
                }
                Err(Stop::Fail(error)) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let outcome = match outcome {
            Ok(true) => pass.finish().map(Some),
            other => {
                drop(pass); // and with it the transaction
                other.map(|_| None)
            }
        };
        match &outcome {
            Ok(Some(next)) => self.next = *next,
            Ok(None) | Err(_) => self.authors.forget_after(known_authors),
        }
        self.buffers.shrink();
        Ok(outcome?.is_some())
    }
}

fn stamp_of(key: &[u8], bytes: &[u8]) -> Result<Hlc, StoreError> {
    let delta = DeltaView::parse(open::<LogRow>(key, bytes)?.canonical.get());
    let malformed = |_| StoreError::corrupt("log record", key, "its canonical bytes are malformed");
    delta.map(|delta| delta.hlc()).map_err(malformed)
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

impl Authors {
    fn add(&mut self, node: NodeId) -> u32 {
        let number = u32::try_from(self.by_number.len()).expect("far fewer nodes than 2^32 exist");
        self.by_number.push(node);
        self.numbers.insert(node, number);
        number
    }

    fn forget_after(&mut self, count: usize) {
        for node in self.by_number.drain(count..) {
            self.numbers.remove(&node);
        }
    }
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

/// One transaction being filled.
struct Pass<'a> {
    env: &'a Env<WithoutTls>,
    tables: Tables,
    txn: RwTxn<'a>,
    next: Counters,
    authors: &'a mut Authors,
    buffers: &'a mut Buffers,
    /// Heads of the contexts touched, each read once and written once.
    heads: BTreeMap<ContextSlot, TouchedHead>,
    wrote: bool,
}

struct TouchedHead {
    head: Head,
    is_changed: bool,
    is_new: bool,
}

impl Pass<'_> {
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

    /// Writes the heads and commits. Gives the counters to go on with.
    fn finish(mut self) -> Result<Counters, StoreError> {
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
        if self.wrote {
            let env = self.env;
            self.txn
                .commit()
                .map_err(|error| commit_error(error, env))?;
        }
        Ok(self.next)
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
        self.write_call(slot, call)
    }

    /// Everything about the call is checked: write it.
    fn write_call(&mut self, slot: ContextSlot, call: &CallEffects) -> Result<Receipt, Stop> {
        // The head leaves the map while it changes. If the call fails half way
        // the pass is dropped, and every head with it.
        let mut touched = self
            .heads
            .remove(&slot)
            .expect("the caller has read the head");
        let head = &mut touched.head;
        let first_sequence = head.events_last + 1;
        let mut delta_id = None;
        if !call.ops.is_empty() || !call.events.is_empty() {
            self.wrote = true;
            let author = self.author(call.author)?;
            let mut root = RootSum::of(head.root);
            for op in &call.ops {
                self.write_op(slot, call, author, op, head, &mut root)?;
            }
            head.root = root.root();
            head.version += u64::from(!call.ops.is_empty());
            let id = self.write_delta(slot, call, head)?;
            self.write_events(slot, call, id, head)?;
            delta_id = Some(id);
            touched.is_changed = true;
        }
        let (root, version) = (touched.head.root, touched.head.version);
        self.heads.insert(slot, touched);
        Ok(Receipt {
            slot,
            delta_id,
            root,
            version,
            first_sequence,
        })
    }

    fn write_op(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        author: u32,
        op: &Op,
        head: &mut Head,
        root: &mut RootSum,
    ) -> Result<(), Stop> {
        layout::entry_key(&mut self.buffers.key, slot, &op.key);
        let key = &self.buffers.key;
        let old = self
            .tables
            .entries
            .get(&self.txn, key)
            .map_err(|error| self.stop(error))?;
        let had_old = old.is_some();
        if let Some(bytes) = old {
            let old = EntryView::read(key, bytes).map_err(while_writing)?;
            if old.kind != op.kind {
                return Err(Stop::Undo(Refused::KindMismatch {
                    found: old.kind,
                    written: op.kind,
                }));
            }
            let old_author = self
                .authors
                .by_number
                .get(old.author as usize)
                .copied()
                .ok_or_else(|| {
                    while_writing(StoreError::corrupt(
                        "entry",
                        key,
                        "its author is unknown to the ledger",
                    ))
                })?;
            root.subtract(&EntryFacts {
                key: &op.key,
                kind: old.kind,
                hlc: old.hlc,
                author: old_author,
                value: old.value,
            });
            let freed = (op.key.len() + old.value.len()) as u64;
            match (head.entries.checked_sub(1), head.bytes.checked_sub(freed)) {
                (Some(entries), Some(bytes)) => (head.entries, head.bytes) = (entries, bytes),
                _ => {
                    let error = StoreError::corrupt(
                        "head record",
                        &slot_key(slot),
                        "it counts fewer entries or bytes than there are",
                    );
                    return Err(while_writing(error));
                }
            }
        }
        match &op.value {
            Some(value) => {
                root.add(&EntryFacts {
                    key: &op.key,
                    kind: op.kind,
                    hlc: call.hlc,
                    author: call.author,
                    value,
                });
                head.entries += 1;
                head.bytes += (op.key.len() + value.len()) as u64;
                let row = EntryRow {
                    hlc: call.hlc.bits(),
                    author,
                    kind: op.kind.number(),
                    value,
                };
                seal(&mut self.buffers.record, key, &row);
                let put = self
                    .tables
                    .entries
                    .put(&mut self.txn, key, &self.buffers.record);
                put.map_err(|error| self.stop(error))
            }
            None if had_old => {
                let deleted = self.tables.entries.delete(&mut self.txn, key);
                deleted.map(drop).map_err(|error| self.stop(error))
            }
            None => Ok(()),
        }
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
        self.wrote = true;
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
        self.heads.insert(slot, touched);
        self.write_call(slot, &new.call)
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
        self.wrote = true;
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
        self.wrote = true;
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
        self.wrote |= removed.map_err(|error| self.stop(error))?;
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
        self.wrote = true;
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
        self.wrote |= removed.map_err(|error| self.stop(error))?;
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

    /// The author's number, given now if it has none yet.
    fn author(&mut self, node: NodeId) -> Result<u32, Stop> {
        if let Some(number) = self.authors.numbers.get(&node) {
            return Ok(*number);
        }
        let number = self.authors.add(node);
        let key = author_key(number);
        seal(
            &mut self.buffers.record,
            &key,
            &AuthorRow {
                node: *node.as_bytes(),
            },
        );
        let put = self
            .tables
            .authors
            .put(&mut self.txn, &key, &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        Ok(number)
    }

    fn stop(&self, error: heed::Error) -> Stop {
        Stop::Fail(self.engine(error))
    }

    fn engine(&self, error: heed::Error) -> StoreError {
        engine_error("a commit", error, self.env)
    }
}

/// Free bytes below which an I/O error may be a full disk in disguise.
const FREE_BYTES_IN_DOUBT: u64 = 1 << 20;

/// What a failed commit means. LMDB's own commit has a fixed order: data pages,
/// sync, then the meta page that makes them count. If writing the meta page
/// fails, the environment refuses any further transaction. So if it takes one,
/// nothing that counts was touched, and only the reason is left to judge: a
/// full disk is no damage, any other I/O error may be.
pub(crate) fn commit_error(error: heed::Error, env: &Env<WithoutTls>) -> StoreError {
    match error {
        heed::Error::Io(source) => {
            let is_full = is_out_of_space(&source) || is_short_write(&source, env);
            if is_full && env.write_txn().is_ok() {
                StoreError::DiskFull { source }
            } else {
                StoreError::Io {
                    doing: "a commit",
                    source,
                }
            }
        }
        error => engine_error("a commit", error, env),
    }
}

/// LMDB reports a write that the file system could only do in part as EIO. That
/// is what a large value meets on a disk that fills up in the middle of it.
fn is_short_write(error: &std::io::Error, env: &Env<WithoutTls>) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        && rustix::fs::statvfs(env.path())
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_IN_DOUBT)
}

fn check_call(call: &CallEffects) -> Result<(), Refused> {
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

/// Bytes that a change carries, for the bound on a batch.
fn bytes_of(change: &Change) -> u64 {
    let bytes = match change {
        Change::CreateContext(NewContext { call, .. }) | Change::Call(call) => return call.bytes(),
        Change::PutApplication(record) => {
            record.name.len() + record.version.len() + record.description.len()
        }
        Change::DeleteContext(_)
        | Change::RemoveApplication(_)
        | Change::PutName { .. }
        | Change::RemoveName { .. } => 0,
    };
    bytes as u64
}

impl CallEffects {
    /// Bytes that count against [`BATCH_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        let op = |op: &Op| op.key.len() + op.value.as_ref().map_or(0, |value| value.len());
        let event = |event: &Event| event.kind.len() + event.payload.len();
        let bytes =
            self.ops.iter().map(op).sum::<usize>() + self.events.iter().map(event).sum::<usize>();
        bytes as u64
    }
}

/// Builds the answer to a change out of its receipt, now that it is on disk.
fn verdict(change: Change, answer: Option<Result<Receipt, Refused>>) -> Verdict {
    let receipt = answer.expect("a finished attempt has answered every change")?;
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
    let Receipt {
        slot,
        delta_id,
        root,
        version,
        ..
    } = receipt;
    Ok(Committed {
        slot,
        delta_id,
        root,
        version,
        events,
        logs,
    })
}
