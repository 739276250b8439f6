//! Compares what is in a ledger of `torture` with what its writers have said, by
//! the reads that a server does. Whether the ledger agrees with itself is for the
//! store's own `verify` to say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use corelet_store::{
    Attachment, ContextId, ContextSlot, CounterSum, EntryValue, Quarantined, Scan, Snapshot, Space,
    StoreError,
};

use crate::batch::{BLOBS, CONTEXTS, KEYED, SHARED, answer, attached, blob, entries, id, name};
use crate::shared::{Shared, all_entries};

/// Older answers may have made room for others.
const ANSWERS: usize = 1_000;

/// Why a ledger is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Finding {
    /// The store itself says so.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The store serves everything but a context that is damaged.
    #[error("context {} is out of service: {}", .0.context, .0.why)]
    OutOfService(Quarantined),
    /// The store has given this for true.
    #[error("{0}")]
    Wrong(String),
}

/// What an entry is expected to be. What lists and texts are made of is compared beside that.
pub(crate) enum Value {
    Register(Vec<u8>),
    Counter(i64),
    Element,
    Once(Vec<u8>),
    List,
    Text,
}

impl Value {
    fn is(&self, found: &EntryValue<'_>) -> bool {
        match (self, found) {
            (Value::Register(value), EntryValue::Register(found))
            | (Value::Once(value), EntryValue::WriteOnce(found)) => value == found,
            (Value::Counter(sum), EntryValue::Counter(found)) => {
                *found == CounterSum::default().plus(*sum)
            }
            (Value::Element, EntryValue::SetElement)
            | (Value::List, EntryValue::List)
            | (Value::Text, EntryValue::Text) => true,
            _ => false,
        }
    }
}

/// What writers have said of their batches.
#[derive(Default)]
pub(crate) struct Said {
    acked: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

impl Said {
    /// Whether nobody was told anything.
    pub(crate) fn is_nothing(&self) -> bool {
        self.acked.is_empty()
    }

    pub(crate) fn hear(&mut self, line: &str) -> Result<(), String> {
        let (word, n) = line.split_once(' ').unwrap_or_default();
        let n = n.parse::<u64>();
        match (word, n) {
            ("acked", Ok(n)) => drop(self.acked.insert(n)),
            ("failed", Ok(n)) => drop(self.failed.insert(n)),
            ("fatal", Ok(_)) => {} // in doubt: it may be there or not
            _ => return Err(format!("what is {line:?}?")),
        }
        Ok(())
    }
}

/// Gives the number of batches that are there. A context that is out of service is not read, as
/// no server reads it, and told of if all others are as they should be.
pub(crate) fn compare(snapshot: &Snapshot, said: &Said) -> Result<usize, Finding> {
    let contexts = snapshot.contexts(None, usize::MAX)?;
    if contexts.is_empty() && said.acked.is_empty() {
        return Ok(0); // killed before it began
    }
    if !contexts.iter().map(|it| it.id).eq((0..CONTEXTS).map(id)) {
        let there = contexts.len();
        return wrong(format!(
            "there are {there} contexts, or others than there were"
        ));
    }
    let quarantined = snapshot.all_quarantined()?;
    let is_out = |context: ContextId| quarantined.iter().any(|out| out.context == context);
    let in_service = || (0..CONTEXTS).filter(|context| !is_out(id(*context)));
    if let (None, Some(out)) = (in_service().next(), quarantined.first()) {
        return Err(Finding::OutOfService(out.clone()));
    }
    let first = in_service().next().unwrap_or_default();
    let all = batches_in(snapshot, first)?;
    let there: BTreeSet<u64> = all.iter().copied().collect();
    if let Some(lost) = said.acked.difference(&there).next() {
        return wrong(format!("acknowledged batch {lost} is lost"));
    }
    // A number that failed may be used again by the next run.
    let mut failed = said.failed.difference(&said.acked);
    if let Some(back) = failed.find(|n| there.contains(n)) {
        return wrong(format!("failed batch {back} is there"));
    }
    let expected = entries(&all);
    for context in in_service() {
        if batches_in(snapshot, context)? != all {
            return wrong(format!(
                "half of a batch: context {context} has seen others than context {first}"
            ));
        }
        if snapshot.name(&name(context))? != Some(id(context)) {
            return wrong(format!("context {context} has lost its name"));
        }
        match context == SHARED {
            true => {
                compare_entries(snapshot, context, &all_entries(&all))?;
                let made = Shared::read(snapshot)?;
                made.compare(&all).or_else(wrong)?;
            }
            false => compare_entries(snapshot, context, &expected)?,
        }
        compare_attached(snapshot, context, &attached(&all))?;
    }
    let answers = if is_out(id(KEYED)) { 0 } else { ANSWERS };
    let slot = slot(snapshot, KEYED)?;
    for n in all.iter().rev().take(answers) {
        let expected = answer(*n);
        let kept = snapshot.kept_answer(slot, &expected.key)?;
        if kept.is_none_or(|kept| (kept.request, kept.said) != (expected.request, expected.said)) {
            return wrong(format!(
                "half of a call: batch {n} is there, and its answer is not"
            ));
        }
    }
    match quarantined.into_iter().next() {
        Some(out) => Err(Finding::OutOfService(out)),
        None => Ok(all.len()),
    }
}

/// One by one, and in a row.
fn compare_entries(
    snapshot: &Snapshot,
    context: u8,
    expected: &BTreeMap<(Space, Vec<u8>), Value>,
) -> Result<(), Finding> {
    let slot = slot(snapshot, context)?;
    for ((space, key), value) in expected {
        let found = snapshot.get(slot, *space, key)?;
        if found.is_none_or(|found| !value.is(&found)) {
            let key = String::from_utf8_lossy(key);
            return wrong(format!(
                "half of a call: context {context} has a wrong {key:?}"
            ));
        }
    }
    let (mut left, mut is_same) = (expected.iter(), true);
    for space in [Space::Shared, Space::Owned, Space::Private, Space::Stable] {
        let scan = Scan {
            space,
            limit: usize::MAX,
            ..Scan::default()
        };
        snapshot.scan(slot, scan, &mut |entry| {
            let found = entry.value()?;
            is_same &= left.next().is_some_and(|((expected, key), value)| {
                (*expected, &key[..]) == (space, entry.key()) && value.is(&found)
            });
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if !is_same || left.next().is_some() {
        return wrong(format!(
            "half of a call: context {context} has other entries than it was given"
        ));
    }
    Ok(())
}

/// By blob, as whoever removes blobs asks, and all together.
fn compare_attached(
    snapshot: &Snapshot,
    context: u8,
    expected: &BTreeSet<Attachment>,
) -> Result<(), Finding> {
    let slot = slot(snapshot, context)?;
    for attachment in (0..BLOBS).map(blob) {
        // Contexts that came and went may not be swept yet.
        let slots = snapshot.attached_by(attachment.blob, usize::MAX)?;
        if slots.contains(&slot) != expected.contains(&attachment) {
            return wrong(format!(
                "half of a call: context {context} has other blobs attached than it was given"
            ));
        }
    }
    let sum = snapshot.attached(slot)?;
    let bytes = expected.iter().map(|attachment| attachment.bytes);
    if (sum.blobs, sum.bytes) != (expected.len() as u64, bytes.sum()) {
        return wrong(format!(
            "context {context} counts {sum:?} of attachments and has others"
        ));
    }
    Ok(())
}

/// The batches that a context has seen, by its events.
pub(crate) fn batches_in(snapshot: &Snapshot, context: u8) -> Result<Vec<u64>, Finding> {
    let mut seen = Vec::new();
    let mut malformed = false;
    let slot = slot(snapshot, context)?;
    snapshot.events(slot, 1, usize::MAX, &mut |event| {
        match event.payload.try_into() {
            Ok(n) => seen.push(u64::from_be_bytes(n)),
            Err(_) => malformed = true,
        }
        ControlFlow::Continue(())
    })?;
    if malformed || !seen.is_sorted_by(|a, b| a < b) {
        return wrong("events are malformed or out of order".to_owned());
    }
    Ok(seen)
}

pub(crate) fn slot(snapshot: &Snapshot, context: u8) -> Result<ContextSlot, Finding> {
    match snapshot.context(&id(context))? {
        Some(record) => Ok(record.slot),
        None => wrong(format!("context {context} is missing")),
    }
}

fn wrong<T>(what: String) -> Result<T, Finding> {
    Err(Finding::Wrong(what))
}
