//! Whether what is written down about a context's log and events agrees with them:
//! sizes, marks, and what members have. A part of the scrub (`verify.rs`).

use std::cell::Cell;
use std::ops::ControlFlow;

use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{self, slot_key};
use crate::members::{Ack, read_pruned};
use crate::record::Head;
use crate::snapshot::Snapshot;
use crate::tally::{Tally, read_mark};

/// Takes time in proportion to the context's log and events, but for `are_sizes_counted`: then their sizes are
/// what was counted a moment ago, and not counted again.
pub(crate) fn check_kept(
    snapshot: &Snapshot,
    slot: ContextSlot,
    head: &Head,
    are_sizes_counted: bool,
) -> Result<(), StoreError> {
    snapshot.each_of(
        |tables| tables.tallies,
        slot,
        |key, bytes| {
            let tally = Tally::read(key, bytes)?;
            match are_sizes_counted {
                true => Ok(()),
                false => check_tally(snapshot, slot, head, &tally),
            }
        },
    )?;
    snapshot.each_of(
        |tables| tables.marks,
        slot,
        |key, bytes| {
            let corrupt = |why| StoreError::corrupt("mark in a context's history", key, why);
            let hlc = read_mark(key, bytes)?;
            let (_, position) = layout::split_slot(key).ok_or_else(|| corrupt("it has no slot"))?;
            let position = layout::read_u64(position);
            let position = position.ok_or_else(|| corrupt("its key is not 16 bytes long"))?;
            if position <= head.log_pruned {
                return Err(corrupt("it lies in what was pruned"));
            }
            let (_, delta) = snapshot.delta_at(slot, position)?;
            match delta.hlc() == hlc {
                true => Ok(()),
                false => Err(corrupt("its delta has another stamp")),
            }
        },
    )?;
    snapshot.each_of(
        |tables| tables.acks,
        slot,
        |key, bytes| {
            if key == slot_key(slot) {
                let pruned = read_pruned(slot, bytes)?;
                let why = "more was pruned than there was";
                let corrupt = || StoreError::corrupt("record of a context's members", key, why);
                return head.seen.covers(&pruned).then_some(()).ok_or_else(corrupt);
            }
            let ack = Ack::read(key, bytes)?;
            let why = "the member has more than there is";
            let corrupt = || StoreError::corrupt("acknowledgement of a member", key, why);
            head.seen
                .covers(&ack.seen)
                .then_some(())
                .ok_or_else(corrupt)
        },
    )
}

fn check_tally(
    snapshot: &Snapshot,
    slot: ContextSlot,
    head: &Head,
    tally: &Tally,
) -> Result<(), StoreError> {
    let mut log_bytes = 0;
    let mut position = head.log_last;
    while position > tally.log_from.max(head.log_pruned) {
        let logged = snapshot.logged(slot, position)?;
        log_bytes += logged.bytes();
        position = logged.previous;
    }
    let events_bytes = Cell::new(0_u64);
    snapshot.events(slot, tally.events_from, usize::MAX, &mut |event| {
        let bytes = (event.kind.len() + event.payload.len()) as u64;
        events_bytes.set(events_bytes.get() + bytes);
        ControlFlow::Continue(())
    })?;
    if (log_bytes, events_bytes.get()) == (tally.log_bytes, tally.events_bytes) {
        return Ok(());
    }
    let why = "the context's log or events have another size";
    let key = slot_key(slot);
    Err(StoreError::corrupt(
        "record of a context's sizes",
        &key,
        why,
    ))
}
