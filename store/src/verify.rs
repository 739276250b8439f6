//! The scrub: reads a whole ledger and compares everything that is written
//! down twice. Roots against entries, heads against the log, records against
//! heads. Changes nothing. Used by tests, the crash harness and operators.

use std::collections::BTreeMap;

use crate::error::{StoreError, hex};
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, NodeId};
use crate::layout;
use crate::record::{ContextRecord, EntryView, EventView, GraveRow, Head, open, read_author};
use crate::root::{EntryFacts, RootSum};
use crate::snapshot::Snapshot;

/// What a clean ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Contexts.
    pub contexts: u64,
    /// Entries of these contexts.
    pub entries: u64,
    /// Deltas of these contexts.
    pub deltas: u64,
    /// Events of these contexts.
    pub events: u64,
}

/// What entries and events of one slot add up to.
#[derive(Default)]
struct Found {
    root: RootSum,
    entries: u64,
    bytes: u64,
    events_last: u64,
    is_event_missing: bool,
}

/// Checks that the ledger agrees with itself. The first disagreement is
/// reported as [`StoreError::Corrupt`]. Takes time and memory in proportion to
/// the ledger's entries and contexts.
pub fn verify(snapshot: &Snapshot) -> Result<Verified, StoreError> {
    let mut authors = Vec::new();
    snapshot.each(
        |tables| tables.authors,
        |key, bytes| {
            authors.push(read_author(key, bytes)?);
            Ok(())
        },
    )?;
    let mut verified = Verified::default();
    let mut found = add_up(snapshot, &authors)?;
    snapshot.applications()?;
    snapshot.names(None, usize::MAX)?;
    let mut graves = Vec::new();
    snapshot.each(
        |tables| tables.graves,
        |key, bytes| {
            open::<GraveRow>(key, bytes)?;
            graves.extend(layout::split_slot(key).map(|(slot, _)| slot));
            Ok(())
        },
    )?;
    for slot in graves {
        found.remove(&slot);
    }
    snapshot.each(
        |tables| tables.contexts,
        |key, bytes| {
            let context = ContextRecord::read(key, bytes)?;
            let head = snapshot.head(context.slot)?;
            let found = found.remove(&context.slot).unwrap_or_default();
            verified.contexts += 1;
            verified.entries += found.entries;
            verified.events += found.events_last;
            check_context(&context, &head, &found)?;
            verified.deltas += check_log(snapshot, context.id, context.slot, &head)?;
            Ok(())
        },
    )?;
    let heads = {
        let mut heads = 0;
        snapshot.each(
            |tables| tables.heads,
            |_, _| {
                heads += 1;
                Ok(())
            },
        )?;
        heads
    };
    if heads != verified.contexts {
        return Err(StoreError::corrupt(
            "ledger",
            b"",
            "it has heads without contexts",
        ));
    }
    if let Some((slot, _)) = found.first_key_value() {
        return Err(StoreError::corrupt(
            "ledger",
            &layout::slot_key(*slot),
            "it has entries or events of a context that does not exist",
        ));
    }
    Ok(verified)
}

fn add_up(
    snapshot: &Snapshot,
    authors: &[NodeId],
) -> Result<BTreeMap<ContextSlot, Found>, StoreError> {
    let mut all: BTreeMap<ContextSlot, Found> = BTreeMap::new();
    snapshot.each(
        |tables| tables.entries,
        |key, bytes| {
            let corrupt = |why| StoreError::corrupt("entry", key, why);
            let entry = EntryView::read(key, bytes)?;
            let (slot, user_key) =
                layout::split_slot(key).ok_or_else(|| corrupt("its key has no slot"))?;
            let author = authors
                .get(entry.author as usize)
                .ok_or_else(|| corrupt("its author is unknown"))?;
            let found = all.entry(slot).or_default();
            found.root.add(&EntryFacts {
                key: user_key,
                kind: entry.kind,
                hlc: entry.hlc,
                author: *author,
                value: entry.value,
            });
            found.entries += 1;
            found.bytes += (user_key.len() + entry.value.len()) as u64;
            Ok(())
        },
    )?;
    snapshot.each(
        |tables| tables.events,
        |key, bytes| {
            let corrupt = |why| StoreError::corrupt("event record", key, why);
            let event = EventView::read(key, bytes)?;
            let (slot, _) =
                layout::split_slot(key).ok_or_else(|| corrupt("its key has no slot"))?;
            let found = all.entry(slot).or_default();
            found.events_last += 1;
            // Of a deleted context the first events may be swept already.
            found.is_event_missing |= event.sequence != found.events_last;
            Ok(())
        },
    )?;
    Ok(all)
}

fn check_context(context: &ContextRecord, head: &Head, found: &Found) -> Result<(), StoreError> {
    let corrupt = |why| StoreError::corrupt("head record", &layout::slot_key(context.slot), why);
    if head.context != context.id {
        return Err(corrupt(
            "it belongs to another context than its record says",
        ));
    }
    if head.root != found.root.root() {
        return Err(corrupt("its root is not the one of its entries"));
    }
    if (head.entries, head.bytes) != (found.entries, found.bytes) {
        return Err(corrupt("it counts other entries or bytes than there are"));
    }
    if found.is_event_missing || head.events_last != found.events_last {
        return Err(corrupt("its events are not the ones that it counts"));
    }
    Ok(())
}

/// Walks the context's deltas back to the first and gives their number.
fn check_log(
    snapshot: &Snapshot,
    context: ContextId,
    slot: ContextSlot,
    head: &Head,
) -> Result<u64, StoreError> {
    let corrupt = |position: u64, why| {
        StoreError::corrupt("log record", &layout::position_key(position), why)
    };
    let (mut deltas, mut version, mut events) = (0, 0, 0);
    let mut position = head.log_last;
    let mut expected = head.deltas.clone();
    let mut hlc_max = head.hlc;
    if head.log_last == 0 && head.hlc != Hlc::ZERO {
        return Err(StoreError::corrupt(
            "head record",
            &layout::slot_key(slot),
            "it has a stamp but no delta",
        ));
    }
    while position != 0 {
        let (previous, delta) = snapshot.delta_at(slot, position)?;
        if delta.context() != context {
            return Err(corrupt(position, "it changes another context"));
        }
        if !expected.contains(&delta.id()) {
            return Err(corrupt(
                position,
                "its hash is not what its successor names as parent",
            ));
        }
        if delta.hlc() > hlc_max {
            return Err(corrupt(position, "its stamp is later than its successor's"));
        }
        if deltas == 0 && delta.root() != head.root {
            return Err(corrupt(position, "its root is not the head's"));
        }
        hlc_max = delta.hlc();
        expected = delta.parents().collect();
        deltas += 1;
        version += u64::from(delta.op_count() > 0);
        events += delta.events().count() as u64;
        position = previous;
    }
    if !expected.is_empty() {
        let missing = hex(expected[0].as_bytes());
        return Err(StoreError::Corrupt {
            what: "delta",
            key: missing,
            why: "it is missing from the log",
        });
    }
    if (version, events) != (head.version, head.events_last) {
        return Err(corrupt(
            head.log_last,
            "the head counts other changes or events than the log has",
        ));
    }
    Ok(deltas)
}
