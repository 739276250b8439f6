//! A call: what it replaces is read and checked, and what it leads to is worked
//! out; then entries, delta and events are written. Whether its sizes are within
//! bounds is in `bounds.rs`, how a context begins in `records.rs`.

use heed::PutFlags;

use super::bounds::check_call;
use super::{Pass, Receipt, Stop, before_writing};
use crate::change::{CallEffects, Op, Standing};
use crate::delta::DeltaWriter;
use crate::error::{Refused, StoreError};
use crate::ids::{ContextSlot, DeltaId};
use crate::layout::{self, event_key, position_key, slot_key};
use crate::record::{EntryRow, EntryView, EventRow, Head, LogRow, seal};
use crate::root::{EntryFacts, RootSum};

/// What a call will leave behind, as far as reading can tell.
pub(super) struct Planned {
    root: RootSum,
    entries: u64,
    bytes: u64,
}

impl Planned {
    pub(super) fn from(head: &Head) -> Planned {
        Planned {
            root: RootSum::of(head.root),
            entries: head.entries,
            bytes: head.bytes,
        }
    }

    pub(super) fn add(&mut self, call: &CallEffects, op: &Op, value: &[u8]) {
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

impl Pass<'_> {
    pub(super) fn call(&mut self, call: &CallEffects) -> Result<Receipt, Stop> {
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
    pub(super) fn write_call(
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
}
