//! What the server notes of a context for itself lies in its agenda, and is no change of its
//! state: the head tells of its bytes and of nothing else. Calls of the journal are replayed without
//! it and come out the same, as none of them reads it.

use bytes::Bytes;

use super::bounds::check_bound;
use super::plan::Whose;
use super::{Pass, Receipt, Stop};
use crate::change::{Note, Op, Write};
use crate::entry::Space;
use crate::layout::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::version::Past;

impl Pass<'_> {
    pub(super) fn put_note(&mut self, note: &Note) -> Result<Receipt, Stop> {
        let value_bytes = note.value.as_ref().map_or(0, Bytes::len);
        check_bound("a key's length in bytes", note.key.len(), 0, KEY_BYTES_MAX)?;
        check_bound("a value's length in bytes", value_bytes, 0, VALUE_BYTES_MAX)?;
        let slot = self.slot_of(&note.context)?;
        self.check_service(slot, note.context)?;
        let op = Op {
            space: Space::Agenda,
            key: note.key.clone(),
            removes_first: false,
            write: match &note.value {
                Some(value) => Write::Set(value.clone()),
                None => Write::Remove,
            },
        };
        let incoming = self.incoming(slot, note.author, note.hlc);
        let mut plan = self.begin_plan(slot)?;
        let planned = self.plan_write(
            &mut plan,
            &incoming,
            &op.view(),
            Past::Everything,
            Whose::Own,
        );
        if let Err(stop) = planned {
            self.end_plan(plan);
            return Err(stop);
        }
        self.keep_author()?;
        self.has_written = true;
        if note.is_awaited {
            self.note_unjournaled();
        }
        self.writes += 1;
        self.added_bytes += (note.key.len() + value_bytes) as u64;
        self.write_entry(&incoming, &plan, &plan.writes[0], &op.view())?;
        let mut touched = self.take_head(slot);
        plan.leave(&mut touched.head);
        self.heads.insert(slot, touched);
        self.next.last_hlc = self.next.last_hlc.max(note.hlc);
        self.end_plan(plan);
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }
}
