//! A call of this node: what its writes meet is read and checked, and what they lead
//! to is worked out (`plan.rs`); then everything is written. Nothing is concurrent to
//! it, as it follows all deltas that are there. Whether its sizes are within
//! bounds is in `bounds.rs`, how a context begins in `records.rs`, deltas of other nodes
//! in `remote.rs`.

use heed::PutFlags;

use super::answers::PlannedAnswer;
use super::bounds::check_call;
use super::plan::{Incoming, Plan, Whose};
use super::{Pass, Receipt, Stop, TouchedHead};
use crate::change::{CallEffects, Op, Seen, Standing, Write};
use crate::delta::{self, DeltaWriter, WriteView};
use crate::error::Refused;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId, Root};
use crate::layout::{dag_key, event_key, position_key};
use crate::local;
use crate::record::{DagNode, EventRow, Head, LogRow, seal, seal_log};
use crate::version::{Past, VersionVector};

/// What a call leaves behind before its delta is written.
pub(super) struct Left {
    version: u64,
    entries: u64,
    bytes: u64,
    /// What the call follows, in a context that others write to.
    seen: Option<VersionVector>,
}

impl Left {
    /// What the state amounts to, now that its root is known.
    fn standing(&self, root: Root) -> Standing {
        let &Left {
            version,
            entries,
            bytes,
            ..
        } = self;
        Standing {
            root,
            version,
            entries,
            bytes,
        }
    }
}

impl Pass<'_> {
    pub(super) fn call(&mut self, call: &CallEffects) -> Result<Receipt, Stop> {
        let slot = self.slot_of_call(call)?;
        self.call_in(slot, call)
    }

    /// Where the call belongs, if its sizes and what it needs beside its own entries are in order.
    pub(super) fn slot_of_call(&mut self, call: &CallEffects) -> Result<ContextSlot, Stop> {
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
        self.check_service(slot, call.context)?;
        if let Some(answer) = &call.answer {
            self.check_unanswered(slot, call, answer)?;
        }
        self.check_attached(Some(slot), call)?;
        Ok(slot)
    }

    /// The same, in a slot that is known to be the context's.
    pub(super) fn call_in(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
    ) -> Result<Receipt, Stop> {
        let head = &self.heads[&slot].head;
        if call.is_silent() && call.answer.is_none() {
            return Ok(Receipt {
                slot,
                delta_id: None,
                is_written: false,
                standing: Standing::of(head),
                hlc: head.hlc,
                root_there: None,
                first_sequence: head.events_last + 1,
                answers_early: 0,
            });
        }
        let hlc = self.stamp_of_call(slot, call)?;
        let answer = match &call.answer {
            Some(answer) => Some(self.plan_answer(slot, answer, hlc)?),
            None => None,
        };
        let answers_early = answer.as_ref().map_or(0, |planned| planned.gone_early);
        let written = if call.is_silent() {
            self.write_only_answer(slot, call, hlc, answer)
        } else {
            let incoming = self.incoming(slot, call.author, hlc);
            let mut plan = self.plan_call(&incoming, call)?;
            let written = self.write_call(&incoming, &mut plan, call, answer);
            self.end_plan(plan);
            written
        };
        written.map(|receipt| Receipt {
            answers_early,
            ..receipt
        })
    }

    /// The stamp that the call gets, unless it has read too little.
    pub(super) fn stamp_of_call(&self, slot: ContextSlot, call: &CallEffects) -> Result<Hlc, Stop> {
        let head = &self.heads[&slot].head;
        if let Some(read) = &call.read
            && self.is_overtaken(head, read, call.author)
        {
            let context = call.context;
            return Err(Refused::Overtaken { context }.into());
        }
        Ok(stamp_of(call, head)?)
    }

    /// Works out all writes of the call.
    pub(super) fn plan_call(
        &mut self,
        incoming: &Incoming,
        call: &CallEffects,
    ) -> Result<Plan, Stop> {
        let mut plan = self.begin_plan(incoming.slot)?;
        let planned = call.ops.iter().try_for_each(|op| {
            let op = op.view();
            self.plan_write(&mut plan, incoming, &op, Past::Everything, Whose::Own)
        });
        let head = &self.heads[&incoming.slot].head;
        match planned.and_then(|()| self.check_content(head, &plan)) {
            Ok(()) => Ok(plan),
            Err(stop) => {
                self.end_plan(plan);
                Err(stop)
            }
        }
    }

    /// Whether the context has deltas of others that the turn of a call has not read,
    /// so that the call's delta must not say that it follows them.
    fn is_overtaken(&self, head: &Head, read: &Seen, own: NodeId) -> bool {
        let is_unread = |&(number, hlc): &(u32, Hlc)| {
            let author = self.authors.get(number);
            author.is_none_or(|author| author != own && hlc > read.stamp(&author))
        };
        head.seen.pairs().iter().any(is_unread)
    }

    /// Everything about the call is checked: write it.
    pub(super) fn write_call(
        &mut self,
        incoming: &Incoming,
        plan: &mut Plan,
        call: &CallEffects,
        answer: Option<PlannedAnswer>,
    ) -> Result<Receipt, Stop> {
        let slot = incoming.slot;
        let root = self.change_trie(plan, slot, call.ops.iter().map(Op::view));
        self.keep_author()?;
        let mut touched = self.take_head(slot);
        let head = &mut touched.head;
        let left = self.write_state(incoming, plan, call, head)?;
        let receipt = self.write_history(incoming, plan, call, (left, root), head)?;
        self.heads.insert(slot, touched);
        let (hlc, root) = (receipt.hlc, receipt.standing.root);
        self.write_answer(slot, call, hlc, answer, receipt.delta_id, root)?;
        Ok(receipt)
    }

    /// Writes what the call makes of entries. Its root may come later.
    pub(super) fn write_state(
        &mut self,
        incoming: &Incoming,
        plan: &Plan,
        call: &CallEffects,
        head: &mut Head,
    ) -> Result<Left, Stop> {
        let hlc = incoming.dot.hlc;
        self.has_written = true;
        self.writes += call.ops.len() + call.events.len() + 1;
        self.beside += call.events.len() + 1;
        for (op, planned) in call.ops.iter().zip(&plan.writes) {
            self.write_entry(incoming, plan, planned, &op.view())?;
        }
        plan.leave(head);
        head.version += u64::from(!call.ops.is_empty());
        let mut seen = None;
        if call.is_replicated() {
            seen = head.is_shared.then(|| head.seen.clone());
            head.seen.see(incoming.dot);
        }
        head.hlc = hlc;
        self.next.last_hlc = self.next.last_hlc.max(hlc);
        Ok(Left {
            version: head.version,
            entries: head.entries,
            bytes: head.bytes,
            seen,
        })
    }

    /// Writes the call's delta and events, which say the root.
    pub(super) fn write_history(
        &mut self,
        incoming: &Incoming,
        plan: &Plan,
        call: &CallEffects,
        (left, root): (Left, Root),
        head: &mut Head,
    ) -> Result<Receipt, Stop> {
        let standing = left.standing(root);
        let seen = left.seen;
        let hlc = incoming.dot.hlc;
        head.root = root;
        let first_sequence = head.events_last + 1;
        let mut delta_id = None;
        self.buffers.canonical.clear();
        if call.is_replicated() {
            let id = self.canonical_of(head, plan, call, hlc);
            self.write_log(incoming, &id, plan.befores.bytes(), seen, head)?;
            head.deltas.clear();
            head.deltas.push(id);
            let events = call.events.iter();
            let events = events.map(|event| (&event.kind[..], &event.payload[..]));
            self.write_events(incoming, &id, events, head)?;
            delta_id = Some(id);
        }
        local::write_call(&mut self.buffers.local, call, hlc);
        Ok(Receipt {
            slot: incoming.slot,
            delta_id,
            is_written: true,
            standing,
            hlc,
            root_there: None,
            first_sequence,
            answers_early: 0,
        })
    }

    /// A call without effects changes nothing but that its answer is kept.
    fn write_only_answer(
        &mut self,
        slot: ContextSlot,
        call: &CallEffects,
        hlc: Hlc,
        answer: Option<PlannedAnswer>,
    ) -> Result<Receipt, Stop> {
        let head = &self.heads[&slot].head;
        let standing = Standing::of(head);
        let first_sequence = head.events_last + 1;
        self.has_written = true;
        self.next.last_hlc = self.next.last_hlc.max(hlc);
        self.buffers.canonical.clear();
        local::write_call(&mut self.buffers.local, call, hlc);
        self.write_answer(slot, call, hlc, answer, None, standing.root)?;
        Ok(Receipt {
            slot,
            delta_id: None,
            is_written: true,
            standing,
            hlc,
            root_there: None,
            first_sequence,
            answers_early: 0,
        })
    }

    /// Writes the delta of the call into the buffer for it.
    fn canonical_of(&mut self, head: &Head, plan: &Plan, call: &CallEffects, hlc: Hlc) -> DeltaId {
        let canonical = &mut self.buffers.canonical;
        let mut writer =
            DeltaWriter::begin(canonical, call.context, call.author, hlc, &head.deltas);
        let out = writer.out();
        let is_replicated = |op: &Op| op.space.is_replicated();
        let count = call.ops.iter().filter(|op| is_replicated(op)).count();
        delta::write_op_count(out, count);
        for (op, planned) in call.ops.iter().zip(&plan.writes) {
            if !is_replicated(op) {
                continue;
            }
            let mut op = op.view();
            match &mut op.write {
                WriteView::Add { is_new_cell, .. } => *is_new_cell = planned.is_new_cell,
                WriteView::Edit { seen, .. } => *seen = &planned.told,
                _ => {}
            }
            delta::write_op(out, &op);
        }
        writer.events(&call.events);
        writer.finish(head.root)
    }

    /// The head of a context that is about to change. It leaves the map for that
    /// time: if what changes it fails half way, the transaction is dropped, and every head
    /// with it.
    pub(super) fn take_head(&mut self, slot: ContextSlot) -> TouchedHead {
        let touched = self.heads.remove(&slot);
        let mut touched = touched.expect("the caller has read the head");
        touched.is_changed = true;
        touched
    }

    /// Puts the delta in the buffer into the log, with what it has replaced if that is to be
    /// kept. `seen` is what its author had seen; none if that is everything. Gives what others have to know who name it as a parent, if
    /// there are others.
    pub(super) fn write_log(
        &mut self,
        incoming: &Incoming,
        id: &DeltaId,
        befores: Option<&[u8]>,
        seen: Option<VersionVector>,
        head: &mut Head,
    ) -> Result<Option<DagNode>, Stop> {
        let position = self.next.position;
        let key = position_key(position);
        let row = LogRow {
            slot: incoming.slot.number(),
            previous: head.log_last,
            canonical: &self.buffers.canonical,
        };
        seal_log(&mut self.buffers.record, &key, row, befores);
        let put = self.tables.log.put_with_flags(
            &mut self.txn,
            PutFlags::APPEND,
            &key,
            &self.buffers.record,
        );
        put.map_err(|error| self.stop(error))?;
        self.next.position += 1;
        self.next.last_hlc = self.next.last_hlc.max(incoming.dot.hlc);
        let bytes = self.buffers.canonical.len() + befores.map_or(0, <[u8]>::len);
        self.count_delta(incoming, position, bytes as u64, head)?;
        head.log_last = position;
        head.log_count += 1;
        if !head.is_shared {
            return Ok(None);
        }
        let node = DagNode {
            position,
            dot: incoming.dot,
            seen: seen.unwrap_or_else(|| head.seen.clone()),
        };
        self.write_dag_node(incoming.slot, id, &node)?;
        Ok(Some(node))
    }

    pub(super) fn write_dag_node(
        &mut self,
        slot: ContextSlot,
        id: &DeltaId,
        node: &DagNode,
    ) -> Result<(), Stop> {
        let key = dag_key(slot, id);
        node.seal(&mut self.buffers.record, &key);
        let put = self
            .tables
            .dag
            .put(&mut self.txn, &key, &self.buffers.record);
        self.writes += 1;
        self.added_bytes += self.buffers.record.len() as u64;
        put.map_err(|error| self.stop(error))
    }

    pub(super) fn write_events<'e>(
        &mut self,
        incoming: &Incoming,
        delta: &DeltaId,
        events: impl Iterator<Item = (&'e str, &'e [u8])>,
        head: &mut Head,
    ) -> Result<(), Stop> {
        for (kind, payload) in events {
            self.count_event(incoming.slot, (kind.len() + payload.len()) as u64, head)?;
            head.events_last += 1;
            let key = event_key(incoming.slot, head.events_last);
            let row = EventRow {
                delta: *delta.as_bytes(),
                hlc: incoming.dot.hlc.bits(),
                kind,
                payload,
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

/// The stamp of a call. Deltas of other nodes may have later ones than the clock of this
/// node gave when the call ran: then it is the next one after them. Not that of a call
/// that begins a list or text, which calls behind it may name by its stamp already.
fn stamp_of(call: &CallEffects, head: &Head) -> Result<Hlc, Refused> {
    let is_birth = |op: &Op| match &op.write {
        Write::Edit { births, .. } => op.removes_first || births.is_empty(),
        _ => false,
    };
    match head.hlc.next() {
        _ if call.hlc > head.hlc => Ok(call.hlc),
        Some(next) if head.is_shared && !call.ops.iter().any(is_birth) => Ok(next),
        _ => Err(Refused::StaleHlc {
            got: call.hlc,
            last: head.hlc,
        }),
    }
}
