//! The scrub: reads a whole ledger and compares everything that is written
//! down twice. Roots against entries, heads against the log, records against
//! heads. Changes nothing. Used by tests, the crash harness and operators.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::answer::KeptAnswer;
use crate::entry::{EntryKind, Space};
use crate::error::{StoreError, hex};
use crate::ids::{ContextId, ContextSlot, DeltaId};
use crate::layout;
use crate::record::{
    AnswerTally, ContextRecord, EventView, GraveRow, Head, open, read_answer_bytes, read_entry,
};
use crate::saved::SequenceName;
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
    /// Answers that are kept of them.
    pub answers: u64,
}

/// What entries, nodes and events of one slot add up to.
#[derive(Default)]
struct Found {
    entries: u64,
    replicated: u64,
    trie_nodes: u64,
    bytes: u64,
    events_first: u64,
    events_count: u64,
    is_event_missing: bool,
    answers: AnswerTally,
    answers_by_age: AnswerTally,
    answers_tally: AnswerTally,
}

/// Checks that the ledger agrees with itself. The first disagreement is
/// reported as [`StoreError::Corrupt`]. Takes time and memory in proportion to
/// the ledger's entries and contexts.
pub fn verify(snapshot: &Snapshot) -> Result<Verified, StoreError> {
    let authors = snapshot.authors()?;
    let mut verified = Verified::default();
    let mut found = add_up(snapshot)?;
    snapshot.check_attachments()?;
    snapshot.check_edits_seen()?;
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
            verified.events += found.events_count;
            verified.answers += found.answers.count;
            check_context(&context, &head, &found)?;
            let nodes = snapshot.check_trie(&head, context.slot, &authors)?;
            if nodes != found.trie_nodes {
                let key = layout::slot_key(context.slot);
                let why = "it has other nodes than its entries give";
                return Err(StoreError::corrupt("trie", &key, why));
            }
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
    snapshot.check_kept()?;
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
            "it has entries, events or answers of a context that does not exist",
        ));
    }
    Ok(verified)
}

fn add_up(snapshot: &Snapshot) -> Result<BTreeMap<ContextSlot, Found>, StoreError> {
    let mut all: BTreeMap<ContextSlot, Found> = BTreeMap::new();
    let mut alive: BTreeSet<Vec<u8>> = BTreeSet::new();
    snapshot.each(
        |tables| tables.entries,
        |key, bytes| {
            let corrupt = |why| StoreError::corrupt("entry", key, why);
            let entry = read_entry(key, bytes)?;
            let (slot, space, user_key) = layout::split_entry(key)
                .ok_or_else(|| corrupt("its key has no slot, or its space is unknown"))?;
            let found = all.entry(slot).or_default();
            found.replicated += u64::from(space.is_replicated());
            snapshot.check_edits(slot, space, user_key, &entry)?;
            for kind in [EntryKind::List, EntryKind::Text] {
                let name = SequenceName {
                    slot,
                    space,
                    key: Bytes::copy_from_slice(user_key),
                    kind,
                };
                if snapshot.sequence(slot, space, user_key, kind)?.is_some() {
                    snapshot.check_saved(&name)?;
                    let mut prefix = Vec::new();
                    layout::edits_prefix(&mut prefix, slot, space, user_key, kind);
                    alive.insert(prefix);
                }
            }
            found.entries += u64::from(space == Space::Shared);
            found.bytes += user_key.len() as u64 + entry.bytes();
            Ok(())
        },
    )?;
    check_all_saved(snapshot, alive)?;
    snapshot.each(
        |tables| tables.trie,
        |key, _| {
            let corrupt = || StoreError::corrupt("node of a trie", key, "its key has no slot");
            let (slot, _) = layout::split_slot(key).ok_or_else(corrupt)?;
            all.entry(slot).or_default().trie_nodes += 1;
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
            if found.events_count == 0 {
                found.events_first = event.sequence;
            }
            found.is_event_missing |= event.sequence != found.events_first + found.events_count;
            found.events_count += 1;
            Ok(())
        },
    )?;
    add_up_answers(snapshot, &mut all)?;
    Ok(all)
}

/// Whatever is saved is of a sequence that there is, or will be swept.
fn check_all_saved(snapshot: &Snapshot, mut prefixes: BTreeSet<Vec<u8>>) -> Result<(), StoreError> {
    snapshot.each(
        |tables| tables.litter,
        |key, _| {
            prefixes.insert(key.to_vec());
            Ok(())
        },
    )?;
    let mut graves = BTreeSet::new();
    snapshot.each(
        |tables| tables.graves,
        |key, _| {
            graves.extend(layout::split_slot(key).map(|(slot, _)| slot));
            Ok(())
        },
    )?;
    snapshot.each(
        |tables| tables.saved,
        |key, _| {
            let corrupt = |why| StoreError::corrupt("saved list", key, why);
            let prefix =
                layout::saved_prefix(key).ok_or_else(|| corrupt("its key is too short"))?;
            let slot = layout::split_entry(key).map(|(slot, ..)| slot);
            match prefixes.contains(prefix) || slot.is_some_and(|slot| graves.contains(&slot)) {
                true => Ok(()),
                false => Err(corrupt("there is no such list or text")),
            }
        },
    )
}

fn add_up_answers(
    snapshot: &Snapshot,
    all: &mut BTreeMap<ContextSlot, Found>,
) -> Result<(), StoreError> {
    let no_slot = |key: &[u8]| StoreError::corrupt("answer", key, "its key has no slot");
    snapshot.each(
        |tables| tables.answers,
        |key, bytes| {
            let answer = KeptAnswer::read(key, bytes)?;
            let (slot, _) = layout::split_slot(key).ok_or_else(|| no_slot(key))?;
            let bytes = snapshot.check_answer(slot, key, &answer)?;
            let found = &mut all.entry(slot).or_default().answers;
            *found = found.with(bytes);
            Ok(())
        },
    )?;
    snapshot.each(
        |tables| tables.answers_by_age,
        |key, bytes| {
            let (slot, _) = layout::split_slot(key).ok_or_else(|| no_slot(key))?;
            let found = all.entry(slot).or_default();
            if layout::split_answer_age(key).is_some() {
                found.answers_by_age = found.answers_by_age.with(read_answer_bytes(key, bytes)?);
            } else {
                found.answers_tally = AnswerTally::read(key, bytes)?;
            }
            Ok(())
        },
    )
}

fn check_context(context: &ContextRecord, head: &Head, found: &Found) -> Result<(), StoreError> {
    let corrupt = |why| StoreError::corrupt("head record", &layout::slot_key(context.slot), why);
    if head.context != context.id {
        return Err(corrupt(
            "it belongs to another context than its record says",
        ));
    }
    let counted = (head.entries, head.replicated, head.bytes);
    if counted != (found.entries, found.replicated, found.bytes) {
        return Err(corrupt("it counts other entries or bytes than there are"));
    }
    let count = (head.events_last + 1).checked_sub(head.events_first);
    let is_first = found.events_count == 0 || found.events_first == head.events_first;
    if found.is_event_missing || !is_first || count != Some(found.events_count) {
        return Err(corrupt("its events are not the ones that it counts"));
    }
    // Each answer has been found by age, so equal numbers mean that no age is left over.
    if found.answers != found.answers_by_age || found.answers != found.answers_tally {
        let key = layout::slot_key(context.slot);
        let why = "it counts other answers or bytes than there are";
        return Err(StoreError::corrupt("tally of answers", &key, why));
    }
    Ok(())
}

/// Walks the context's deltas back to the oldest that is kept and gives their number.
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
    // Heads, and parents of what was met so far.
    let mut expected: BTreeSet<DeltaId> = head.deltas.iter().copied().collect();
    while position > head.log_pruned {
        let (previous, delta) = snapshot.delta_at(slot, position)?;
        if delta.context() != context {
            return Err(corrupt(position, "it changes another context"));
        }
        let id = delta.id();
        if !expected.remove(&id) {
            return Err(corrupt(
                position,
                "its hash is not what a successor names as parent",
            ));
        }
        if delta.hlc() > head.hlc {
            return Err(corrupt(position, "its stamp is later than its context's"));
        }
        // All others are in its past, so it has led to what there is. Of another node's
        // that is not known for certain.
        if !head.is_shared && head.deltas == [id] && delta.root() != head.root {
            return Err(corrupt(position, "its root is not the head's"));
        }
        expected.extend(delta.parents());
        deltas += 1;
        version += u64::from(delta.op_count() > 0);
        events += u64::from(delta.event_count());
        position = previous;
    }
    let is_pruned = head.log_pruned > 0;
    if let Some(missing) = expected.first()
        && !is_pruned
    {
        return Err(StoreError::Corrupt {
            what: "delta",
            key: hex(missing.as_bytes()),
            why: "it is missing from the log",
        });
    }
    // Private writes change the state as well, without a delta.
    let agrees = deltas == head.log_count
        && version <= head.version
        && (events == head.events_last || (is_pruned && events < head.events_last));
    if !agrees {
        return Err(corrupt(
            head.log_last,
            "the head counts other deltas, changes or events than the log has",
        ));
    }
    Ok(deltas)
}
