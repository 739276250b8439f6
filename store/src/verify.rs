//! The scrub: reads a whole ledger and compares everything that is written
//! down twice. Roots against entries, heads against the log, records against
//! heads. Changes nothing, and goes on behind what is wrong: what is damaged of one
//! context does not hide what is damaged of another. What one context has to agree on
//! is in `verify/context.rs`; a table more is a row more in [`records`].

mod chain;
mod context;
mod pasts;
mod signed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub(crate) use self::chain::Chain;
use crate::answer::KeptAnswer;
use crate::authors::Authors;
use crate::change::ApplicationRecord;
use crate::entry::{EntryKind, Space, Stored, check_placement};
use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot};
use crate::layout::{self, Table, Tables, slot_of};
use crate::packs::PackView;
use crate::quarantine::{AsideRow, Quarantined};
use crate::record::{
    AnswerTally, ContextRecord, DagNode, EventView, GraveRow, Head, Logged, open,
    read_answer_bytes, read_edit, read_entry, read_name,
};
use crate::saved::SequenceName;
use crate::snapshot::Snapshot;
use crate::sweep::check_litter;
use crate::version::VersionVector;

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

/// How far a scrub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scrubbed {
    /// So many records were read.
    Records(u64),
    /// So many contexts of so many were compared.
    Contexts(u64, u64),
}

/// Who hears of a scrub.
pub(crate) trait Listener {
    /// Something is wrong, with that context if it is with one.
    fn found(&mut self, context: Option<ContextId>, error: StoreError);

    /// It has come further; not of every record.
    fn passed(&mut self, scrubbed: Scrubbed);
}

/// How many records are read between two words about it.
const RECORDS_PER_WORD: u64 = 4096;

/// What there is of one slot.
#[derive(Default)]
pub(crate) struct Found {
    entries: u64,
    replicated: u64,
    pub(crate) trie_nodes: u64,
    bytes: u64,
    /// Whether an entry is a list or a text.
    has_sequences: bool,
    /// Edits, and those of them that entries have.
    edits: u64,
    edits_needed: u64,
    has_litter: bool,
    dag_nodes: u64,
    deltas: u64,
    /// The newest dots of each author in replicated entries.
    wrote: VersionVector,
    events_first: u64,
    events_count: u64,
    is_event_missing: bool,
    answers: AnswerTally,
    answers_by_age: AnswerTally,
    answers_tally: AnswerTally,
    /// Calls that wait for it while it is out of service, by their count and as found.
    aside_said: u64,
    aside: u64,
    /// A record of it was told of already, so that its counts say nothing.
    is_damaged: bool,
}

impl Found {
    /// An entry counts even if it is damaged: what counts it is right.
    fn count(&mut self, space: Space) {
        self.entries += u64::from(space == Space::Shared);
        self.replicated += u64::from(space.is_replicated());
    }

    /// `None` if it comes to more bytes or edits than a number holds.
    fn add(&mut self, space: Space, name: &[u8], entry: &Stored<'_>) -> Option<()> {
        let own = entry.checked_bytes()?.checked_add(name.len() as u64)?;
        self.bytes = self.bytes.checked_add(own)?;
        if space.is_replicated() {
            entry.dots(&mut |dot| self.wrote.see(dot));
        }
        if let Stored::Sections(state) = entry {
            let sequences = [&state.list, &state.text];
            self.has_sequences |= sequences.iter().any(|sequence| !sequence.is_empty());
            for chain in sequences.iter().flat_map(|sequence| &sequence.chains) {
                self.edits_needed = self.edits_needed.checked_add(chain.edits)?;
            }
        }
        Some(())
    }

    /// An entry that comes in. `None` if with it there are more bytes or edits than can be.
    pub(crate) fn take_in(&mut self, space: Space, name: &[u8], entry: &Stored<'_>) -> Option<()> {
        self.count(space);
        self.add(space, name, entry)
    }
}

/// Checks that the ledger agrees with itself. The first disagreement is
/// reported as [`StoreError::Corrupt`]. Takes time and memory in proportion to
/// the ledger's entries and contexts.
pub fn verify(snapshot: &Snapshot) -> Result<Verified, StoreError> {
    let mut first = First::default();
    let verified = scrub(snapshot, &mut first);
    match first.0 {
        None => Ok(verified),
        Some(error) => Err(error),
    }
}

/// What is wrong first of all, if anything is.
#[derive(Default)]
pub(crate) struct First(pub(crate) Option<StoreError>);

impl Listener for First {
    fn found(&mut self, _: Option<ContextId>, error: StoreError) {
        self.0.get_or_insert(error);
    }

    fn passed(&mut self, _: Scrubbed) {}
}

/// Checks everything, and tells of each disagreement. Gives what the contexts hold
/// that were found.
pub(crate) fn scrub(snapshot: &Snapshot, listener: &mut dyn Listener) -> Verified {
    let mut scrub = Scrub::new(snapshot, listener);
    for (table, keyed, check) in records() {
        scrub.each(table, keyed, &[], check);
    }
    let checks = [Snapshot::check_attachments, Snapshot::check_edits_seen];
    for error in checks
        .map(|check| check(snapshot))
        .into_iter()
        .filter_map(Result::err)
    {
        scrub.listener.found(None, error);
    }
    scrub.compare()
}

type Pick = fn(&Tables) -> Table;
type Check<'s> = fn(&mut Scrub<'s>, &[u8], &[u8]) -> Result<(), StoreError>;

/// What stands in front of a table's keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyed {
    /// The slot of a context, of which there may be many records.
    Slot,
    /// The same, with a space.
    Space,
    /// With a space, and compared while they come in.
    Entries,
    /// With a slot, and compared while they come in.
    Trie,
    /// A position in the log, which might pass for a slot and is none.
    Position,
    /// Something else.
    Otherwise,
}

/// What one record of a table has to be by itself, in an order in which contexts are
/// known before what they have. The tables `meta` and `authors` are read elsewhere.
fn records<'s>() -> [(Pick, Keyed, Check<'s>); 23] {
    use Keyed::{Entries, Otherwise, Position, Slot, Space, Trie};
    [
        (|tables| tables.contexts, Otherwise, Scrub::context),
        (|tables| tables.graves, Otherwise, Scrub::grave),
        (|tables| tables.heads, Otherwise, Scrub::head),
        (|tables| tables.entries, Entries, Scrub::entry),
        (|tables| tables.edits, Space, Scrub::edit),
        (|tables| tables.packs, Space, Scrub::pack),
        (|tables| tables.litter, Space, Scrub::litter),
        (|tables| tables.saved, Space, Scrub::saved),
        (|tables| tables.answers, Slot, Scrub::answer),
        (|tables| tables.answers_by_age, Slot, Scrub::answer_age),
        (|tables| tables.tallies, Slot, Scrub::of_context),
        (|tables| tables.marks, Slot, Scrub::of_context),
        (|tables| tables.acks, Slot, Scrub::of_context),
        (|tables| tables.quarantine, Slot, Scrub::quarantined),
        (|tables| tables.seals, Slot, Scrub::of_context),
        (|tables| tables.forks, Slot, Scrub::of_context),
        (|tables| tables.backlog, Slot, Scrub::of_context),
        (|tables| tables.trie, Trie, Scrub::trie_node),
        (|tables| tables.dag, Slot, Scrub::dag_node),
        (|tables| tables.log, Position, Scrub::delta),
        (|tables| tables.events, Slot, Scrub::event),
        (|tables| tables.applications, Otherwise, Scrub::application),
        (|tables| tables.names, Otherwise, Scrub::name),
    ]
}

/// Checks one context that has come in and has no record and no head yet, but will get
/// these. Tells of each disagreement. `found` is what its entries and its trie came to, which were
/// compared with each other as they came, so that they are not read again; but for lists
/// and texts, each of which is held against its edits. Nor is the log, if `is_log_right` says that it
/// is known to lead to the heads; but where pasts of deltas are kept they are compared with it.
pub(crate) fn scrub_incoming(
    snapshot: &Snapshot,
    record: &ContextRecord,
    head: &Head,
    found: Found,
    is_log_right: bool,
    listener: &mut dyn Listener,
) {
    let mut scrub = Scrub::new(snapshot, listener);
    scrub.contexts.insert(record.slot, record.id);
    let has_sequences = found.has_sequences;
    let trie_nodes = found.trie_nodes;
    let counted = match has_sequences {
        false => found,
        true => Found {
            trie_nodes,
            ..Found::default()
        },
    };
    scrub.found.insert(record.slot, counted);
    for (table, keyed, check) in records() {
        let prefixes = match keyed {
            Keyed::Slot => vec![layout::slot_key(record.slot)],
            Keyed::Entries if !has_sequences => continue,
            Keyed::Space | Keyed::Entries => Space::ALL
                .map(|space| layout::space_key(record.slot, space))
                .to_vec(),
            Keyed::Trie | Keyed::Position | Keyed::Otherwise => continue,
        };
        let check = match keyed {
            Keyed::Entries => Scrub::entry_that_came_in,
            _ => check,
        };
        for prefix in prefixes {
            scrub.each(table, keyed, &prefix, check);
        }
    }
    let mut found = scrub.found.remove(&record.slot).unwrap_or_default();
    // The walk through the log counts them.
    found.deltas = head.log_count;
    let context = context::Context {
        snapshot,
        authors: &scrub.authors,
        record,
        head,
        found: &found,
        is_incoming: true,
        is_log_compared: is_log_right && found.dag_nodes == 0,
    };
    let listener = scrub.listener;
    context.check(&mut |error| listener.found(Some(record.id), error));
}

struct Scrub<'s> {
    snapshot: &'s Snapshot,
    listener: &'s mut dyn Listener,
    authors: Authors,
    /// By slot, for messages; and their records.
    contexts: BTreeMap<ContextSlot, ContextId>,
    records: Vec<ContextRecord>,
    graves: BTreeSet<ContextSlot>,
    heads: BTreeSet<ContextSlot>,
    found: BTreeMap<ContextSlot, Found>,
    /// Prefixes of the edits of all lists and texts, those that were removed too.
    sequences: BTreeSet<Vec<u8>>,
    read: u64,
}

impl<'s> Scrub<'s> {
    fn new(snapshot: &'s Snapshot, listener: &'s mut dyn Listener) -> Scrub<'s> {
        let mut scrub = Scrub {
            snapshot,
            listener,
            authors: Authors::default(),
            contexts: BTreeMap::new(),
            records: Vec::new(),
            graves: BTreeSet::new(),
            heads: BTreeSet::new(),
            found: BTreeMap::new(),
            sequences: BTreeSet::new(),
            read: 0,
        };
        match snapshot.authors() {
            Ok(authors) => scrub.authors = authors,
            Err(error) => scrub.listener.found(None, error),
        }
        scrub
    }

    fn each(&mut self, table: Pick, keyed: Keyed, prefix: &[u8], check: Check<'s>) {
        let snapshot = self.snapshot;
        let read: Result<(), StoreError> = snapshot.each_below(table, prefix, |key, bytes| {
            if let Err(error) = check(self, key, bytes) {
                // Tables of contexts have a slot in front of their keys.
                let slot = slot_of(key).filter(|_| keyed != Keyed::Position);
                let slot = slot.filter(|slot| self.contexts.contains_key(slot));
                if let Some(slot) = slot {
                    self.of(slot).is_damaged = true;
                }
                let context = slot.and_then(|slot| self.contexts.get(&slot)).copied();
                self.listener.found(context, error);
            }
            self.read += 1;
            if self.read.is_multiple_of(RECORDS_PER_WORD) {
                self.listener.passed(Scrubbed::Records(self.read));
            }
            Ok(())
        });
        if let Err(error) = read {
            self.listener.found(None, error);
        }
    }

    fn of(&mut self, slot: ContextSlot) -> &mut Found {
        self.found.entry(slot).or_default()
    }

    fn context(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let record = ContextRecord::read(key, bytes)?;
        let before = self.contexts.insert(record.slot, record.id);
        let is_second = before.is_some();
        self.records.push(record);
        match is_second {
            true => Err(corrupt(
                "context record",
                key,
                "another context has its slot",
            )),
            false => Ok(()),
        }
    }

    fn grave(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        open::<GraveRow>(key, bytes)?;
        let slot = slot(key, "grave record")?;
        self.graves.insert(slot);
        match self.contexts.contains_key(&slot) {
            true => Err(corrupt("grave record", key, "a context lives in its slot")),
            false => Ok(()),
        }
    }

    fn head(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "head record")?;
        self.heads.insert(slot);
        let head = Head::read(key, bytes)?;
        match self.knows_all(&head.seen) {
            true => Ok(()),
            false => Err(corrupt(
                "head record",
                key,
                "an author that it has seen is unknown",
            )),
        }
    }

    fn knows_all(&self, seen: &VersionVector) -> bool {
        let mut pairs = seen.pairs().iter();
        pairs.all(|(author, _)| self.authors.get(*author).is_some())
    }

    fn entry(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let (slot, space, name, entry) = self.counted(key, bytes)?;
        let placed = check_placement(space, name, &entry, &self.authors);
        placed.map_err(|why| corrupt("entry", key, why))?;
        self.entry_by_itself(key, (slot, space, name), &entry)
    }

    /// Whether it may stand where it does was checked when it came in.
    fn entry_that_came_in(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let (slot, space, name, entry) = self.counted(key, bytes)?;
        self.entry_by_itself(key, (slot, space, name), &entry)
    }

    /// Reads an entry and counts it.
    fn counted<'k>(
        &mut self,
        key: &'k [u8],
        bytes: &'k [u8],
    ) -> Result<(ContextSlot, Space, &'k [u8], Stored<'k>), StoreError> {
        let (slot, space, name) = layout::split_entry(key)
            .ok_or_else(|| corrupt("entry", key, "its key has no slot, or its space is unknown"))?;
        let found = self.of(slot);
        found.count(space);
        let entry = read_entry(key, bytes)?;
        let added = found.add(space, name, &entry);
        added.ok_or_else(|| corrupt("entry", key, "it says of more bytes or edits than can be"))?;
        Ok((slot, space, name, entry))
    }

    /// Its authors, and its edits if it is a list or text.
    fn entry_by_itself(
        &mut self,
        key: &[u8],
        (slot, space, name): (ContextSlot, Space, &[u8]),
        entry: &Stored<'_>,
    ) -> Result<(), StoreError> {
        if matches!(entry, Stored::Value(value) if self.authors.get(value.dot.author).is_none()) {
            return Err(corrupt("entry", key, "its author is unknown"));
        }
        let Stored::Sections(_) = entry else {
            return Ok(());
        };
        self.snapshot.check_edits(slot, space, name, entry)?;
        for kind in [EntryKind::List, EntryKind::Text] {
            if self.snapshot.sequence(slot, space, name, kind)?.is_none() {
                continue;
            }
            let mut prefix = Vec::new();
            layout::edits_prefix(&mut prefix, slot, space, name, kind);
            self.sequences.insert(prefix);
            self.snapshot.check_saved(&SequenceName {
                slot,
                space,
                key: Bytes::copy_from_slice(name),
                kind,
            })?;
        }
        Ok(())
    }

    fn edit(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let (slot, ..) =
            layout::split_entry(key).ok_or_else(|| corrupt("edit", key, "its space is unknown"))?;
        self.of(slot).edits += 1;
        read_edit(key, bytes)?;
        let dot = layout::edit_dot(key);
        match dot.is_some_and(|dot| self.authors.get(dot.author).is_some()) {
            true => Ok(()),
            false => Err(corrupt("edit", key, "its author is unknown")),
        }
    }

    fn pack(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let wrong = |why| corrupt("pack of edits", key, why);
        let (slot, ..) = layout::split_entry(key).ok_or_else(|| wrong("its space is unknown"))?;
        let pack = PackView::read(key, bytes)?;
        self.of(slot).edits += pack.len() as u64;
        match pack
            .authors()
            .all(|author| self.authors.get(author).is_some())
        {
            true => Ok(()),
            false => Err(wrong("an author is unknown")),
        }
    }

    fn litter(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let what = "record of removed edits";
        let (slot, ..) =
            layout::split_entry(key).ok_or_else(|| corrupt(what, key, "its space is unknown"))?;
        self.of(slot).has_litter = true;
        self.sequences.insert(key.to_vec());
        check_litter(key, bytes)
    }

    /// Whatever is saved is of a sequence that there is, or will be swept.
    fn saved(&mut self, key: &[u8], _: &[u8]) -> Result<(), StoreError> {
        let wrong = |why| corrupt("saved list", key, why);
        let prefix = layout::saved_prefix(key).ok_or_else(|| wrong("its key is too short"))?;
        let is_of_grave = slot_of(key).is_some_and(|slot| self.graves.contains(&slot));
        match self.sequences.contains(prefix) || is_of_grave {
            true => Ok(()),
            false => Err(wrong("there is no such list or text")),
        }
    }

    fn answer(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "answer")?;
        let answer = KeptAnswer::read(key, bytes)?;
        let bytes = self.snapshot.check_answer(slot, key, &answer)?;
        let found = &mut self.of(slot).answers;
        *found = found.with(bytes);
        Ok(())
    }

    fn answer_age(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "record of an answer's age")?;
        if let Some((_, answer)) = layout::split_answer_age(key) {
            let bytes = read_answer_bytes(key, bytes)?;
            // In its place, and not only somewhere: that is how a call looks for it. Of a deleted context
            // it may be swept already.
            let is_swept = self.graves.contains(&slot);
            if !is_swept && self.snapshot.kept_answer(slot, &answer)?.is_none() {
                let why = "the answer that it is about is not there";
                return Err(StoreError::corrupt("record of an answer's age", key, why));
            }
            let found = self.of(slot);
            found.answers_by_age = found.answers_by_age.with(bytes);
        } else {
            let found = self.of(slot);
            found.answers_tally = AnswerTally::read(key, bytes)?;
        }
        Ok(())
    }

    /// What it says is compared with its context (`kept_check.rs`, `verify/signed.rs`). Of a
    /// deleted one nothing has to agree any more.
    fn of_context(&mut self, key: &[u8], _: &[u8]) -> Result<(), StoreError> {
        self.of(slot(key, "ledger")?);
        Ok(())
    }

    /// That a context is out of service, or a call that waits for it.
    fn quarantined(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "record of a quarantine")?;
        let Some(quarantined) = Quarantined::read(key, bytes)? else {
            self.of(slot).aside += 1;
            return open::<AsideRow>(key, bytes).map(drop);
        };
        self.of(slot).aside_said = quarantined.aside;
        match self.contexts.get(&slot) {
            Some(context) if *context != quarantined.context => {
                let why = "another context has its slot";
                Err(corrupt("record of a quarantine", key, why))
            }
            _ => Ok(()),
        }
    }

    fn trie_node(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "node of a trie")?;
        self.of(slot).trie_nodes += 1;
        open::<crate::record::TrieRow>(key, bytes).map(drop)
    }

    fn dag_node(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "record of a delta's past")?;
        self.of(slot).dag_nodes += 1;
        let node = DagNode::read(key, bytes)?;
        match self.authors.get(node.dot.author).is_some() && self.knows_all(&node.seen) {
            true => Ok(()),
            false => Err(corrupt(
                "record of a delta's past",
                key,
                "an author in it is unknown",
            )),
        }
    }

    fn delta(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let row = Logged::read(key, bytes)?;
        self.of(row.slot).deltas += 1;
        let authors = &self.authors;
        let mut is_known = true;
        row.each_before(key, &row.delta(key)?, |_, before| {
            before.dots(&mut |dot| is_known &= authors.get(dot.author).is_some());
            Ok(())
        })?;
        match is_known {
            true => Ok(()),
            false => {
                let why = "an author of what the delta has replaced is unknown";
                Err(corrupt("log record", key, why))
            }
        }
    }

    fn event(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let slot = slot(key, "event record")?;
        let event = EventView::read(key, bytes)?;
        let found = self.of(slot);
        if found.events_count == 0 {
            found.events_first = event.sequence;
        }
        found.is_event_missing |= event.sequence != found.events_first + found.events_count;
        found.events_count += 1;
        Ok(())
    }

    fn application(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        ApplicationRecord::read(key, bytes).map(drop)
    }

    fn name(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        read_name(key, bytes)?;
        match std::str::from_utf8(key) {
            Ok(_) => Ok(()),
            Err(_) => Err(corrupt("name record", key, "its key is not UTF-8")),
        }
    }

    /// What contexts have against what they say.
    fn compare(mut self) -> Verified {
        let mut verified = Verified::default();
        let records = std::mem::take(&mut self.records);
        let of = records.len() as u64;
        for record in &records {
            self.listener
                .passed(Scrubbed::Contexts(verified.contexts, of));
            let found = self.found.remove(&record.slot).unwrap_or_default();
            self.heads.remove(&record.slot);
            verified.contexts += 1;
            verified.entries += found.entries;
            verified.events += found.events_count;
            verified.deltas += found.deltas;
            verified.answers += found.answers.count;
            let listener = &mut *self.listener;
            let mut tell = |error| listener.found(Some(record.id), error);
            match self.snapshot.head(record.slot) {
                Ok(head) => {
                    let context = context::Context {
                        snapshot: self.snapshot,
                        authors: &self.authors,
                        record,
                        head: &head,
                        found: &found,
                        is_incoming: false,
                        is_log_compared: false,
                    };
                    context.check(&mut tell);
                }
                // A damaged one was told of.
                Err(_) if found.is_damaged => {}
                Err(error) => tell(error),
            }
        }
        let strays = self
            .heads
            .into_iter()
            .map(|slot| (slot, "it has heads without contexts"));
        let graves = &self.graves;
        let left = self.found.into_keys().filter(|slot| !graves.contains(slot));
        let why = "it has entries, deltas, events or answers of a context that does not exist";
        for (slot, why) in strays.chain(left.map(|slot| (slot, why))) {
            let error = corrupt("ledger", &layout::slot_key(slot), why);
            self.listener.found(None, error);
        }
        verified
    }
}

fn slot(key: &[u8], what: &'static str) -> Result<ContextSlot, StoreError> {
    let split = layout::split_slot(key).map(|(slot, _)| slot);
    split.ok_or_else(|| corrupt(what, key, "its key has no slot"))
}

fn corrupt(what: &'static str, key: &[u8], why: &'static str) -> StoreError {
    StoreError::corrupt(what, key, why)
}
