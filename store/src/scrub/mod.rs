//! The slow scrub: the records of every table but `meta` are read and checked in turn, a few at
//! a time, so that damage is found before somebody needs what it has hit. Each step takes
//! a snapshot of its own and compares only what lies side by side; what needs the whole
//! is in `verify.rs`. It runs on the shard's commit thread, and at a start on the one that opens the ledger. A step is bounded by records, bytes and a clock (`crate::step`); between two looks at it lies
//! one record, however large, or a node of a trie with what is right below it. It changes nothing: what follows from what it finds is its caller's.
//! Which tables there are and how their records look is in `part.rs`, which authors these name in
//! `named.rs`.

mod named;
mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use self::named::{Named, Numbers};
use self::part::{PARTS, Part};
use crate::answer::KeptAnswer;
use crate::attachment::{self, Attachment};
use crate::authors::Authors;
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot, NodeId};
use crate::layout::{self, Table, Tables, User};
use crate::record::{ContextRecord, Head, read_author};
use crate::snapshot::Snapshot;
use crate::step::{Budget, StepBounds};
use crate::trie::NodePath;

/// Contexts without a head of which a round takes note, so that it can say whose the damage is
/// that it finds later.
const HEADLESS_MAX: usize = 1024;

/// Slots without a context of which a round takes note. Others come into a later one.
const SUSPECTS_MAX: usize = 1024;

/// Where a scrub is. It is not on disk: after a restart it begins anew.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    part: usize,
    after: Option<Vec<u8>>,
    /// A bucket of a trie with large entries, of which so many were compared.
    begun: Option<(Vec<u8>, usize)>,
    known: Known,
}

/// What a round has found out so far.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Contexts whose heads are lost or damaged, by their slots.
    headless: BTreeMap<ContextSlot, ContextId>,
    /// Slots that the round before has called nobody's, and that no context of those
    /// that this one has read is in. When it has read all, they are nobody's.
    nobodys: BTreeSet<ContextSlot>,
    /// Slots that this round calls so.
    suspects: BTreeSet<ContextSlot>,
    /// Whether there may be a context that it could not read.
    has_doubts: bool,
    /// The generation of the journal behind the first snapshot.
    since: Option<u64>,
    /// Authors whom a record names of those that this round has read.
    named: Named,
    /// Whether there may be others: something is damaged, or out of service.
    may_name_more: bool,
    /// Authors whom the round before has found named by no record.
    unnamed_before: Numbers,
    /// Those whom this round has.
    unnamed: Numbers,
}

/// What a step of the scrub has found.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Records that were read.
    pub rows: u64,
    /// Bytes that these have.
    pub bytes: u64,
    /// What is damaged.
    pub damaged: Vec<Damage>,
    /// What is damaged and can be worked out again.
    pub derived: Vec<Derived>,
    /// Records of no context.
    pub orphans: Vec<Orphan>,
    /// Authors whom no record names.
    pub unnamed: Vec<UnnamedAuthor>,
    /// Whether every record was read since the round began. The next step begins another.
    pub is_round_over: bool,
}

/// A record that is not what was written, or not what another one says.
#[derive(Debug)]
pub struct Damage {
    /// In which slot, if that is known.
    pub slot: Option<ContextSlot>,
    /// The context in it, if anything that was read says so.
    pub context: Option<ContextId>,
    /// Which record, and what is wrong with it.
    pub error: StoreError,
}

/// A record of a slot in which there is no context, of which none is left to be swept or
/// looked into; or a damaged head or grave that no context has. Two rounds have found it so, and no
/// context that the second of them has read is in that slot: one that has only lost its head is
/// not taken for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    part: Part,
    key: Vec<u8>,
    slot: ContextSlot,
}

/// An author whom two rounds have found named by no record, while nothing was damaged or out of
/// service in either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnnamedAuthor {
    pub(crate) number: u32,
    pub(crate) node: NodeId,
    /// The generation of the journal behind the first snapshot of the second round: what was written
    /// in later ones may name it.
    pub(crate) since: u64,
}

/// A damaged record that was worked out from others. Without it, it is worked out again: sizes
/// are counted from now on, marks put where the history is to be cut, lists and texts made
/// of their edits.
#[derive(Debug)]
pub struct Derived {
    part: Part,
    key: Vec<u8>,
    /// Which record, and what is wrong with it.
    pub error: StoreError,
}

impl Orphan {
    pub(crate) fn table(&self, tables: &Tables) -> Table {
        self.part.table(tables)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn slot(&self) -> ContextSlot {
        self.slot
    }

    /// What it would say of its slot if it was not damaged.
    pub(crate) fn user(&self) -> Option<User> {
        match self.part {
            Part::Heads => Some(User::Head),
            Part::Graves => Some(User::Grave),
            _ => None,
        }
    }

    /// The key of the entry of which it is a note, if it notes an attachment.
    pub(crate) fn entry_noted(&self) -> Option<Vec<u8>> {
        match self.part {
            Part::Attached => attachment::entry_of_row(&self.key),
            _ => None,
        }
    }

    /// What is attached by it, if it is such an entry.
    pub(crate) fn attachment(&self) -> Option<Attachment> {
        match (self.part, layout::split_entry(&self.key)) {
            (Part::Entries, Some((_, Space::Attached, key))) => Attachment::from_key(key),
            _ => None,
        }
    }

    /// Whether what is under its key now is damaged by itself.
    pub(crate) fn is_damaged(&self, bytes: &[u8]) -> bool {
        self.part.check(&self.key, bytes).is_err()
    }
}

impl Derived {
    pub(crate) fn table(&self, tables: &Tables) -> Table {
        self.part.table(tables)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether that is so of what is under its key now.
    pub(crate) fn is_damaged(&self, bytes: &[u8]) -> bool {
        self.part.check(&self.key, bytes).is_err()
    }

    /// The first bytes of the keys of everything that is of no use without it.
    pub(crate) fn prefix(&self) -> &[u8] {
        match self.part {
            Part::Saved => layout::saved_prefix(&self.key).unwrap_or(&self.key),
            _ => &self.key,
        }
    }
}

impl Scrub {
    /// Reads on from where the last step has ended, within the budget.
    pub fn step<'b>(
        &mut self,
        snapshot: &Snapshot,
        budget: impl Into<Budget<'b>>,
    ) -> Result<Scrubbed, StoreError> {
        let budget = &budget.into();
        let mut done = Scrubbed::default();
        if self.known.since.is_none() {
            self.known.since = Some(snapshot.generation()?);
        }
        if self.read_on(snapshot, budget, &mut done)?.is_continue() {
            *self = Scrub {
                known: Known {
                    nobodys: std::mem::take(&mut self.known.suspects),
                    unnamed_before: std::mem::take(&mut self.known.unnamed),
                    ..Known::default()
                },
                ..Scrub::default()
            };
            done.is_round_over = true;
        }
        Ok(done)
    }

    /// Breaks when the step is full.
    fn read_on(
        &mut self,
        snapshot: &Snapshot,
        budget: &Budget<'_>,
        done: &mut Scrubbed,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut reader = Reader {
            snapshot,
            bounds: *budget.bounds(),
            authors: None,
            begun: self.begun.take(),
            owner: None,
            known: &mut self.known,
        };
        while let Some(&part) = PARTS.get(self.part) {
            let mut last = None;
            let read = snapshot.each_after(
                |tables| part.table(tables),
                self.after.as_deref(),
                |key, bytes| {
                    if is_full(budget, done) {
                        return Ok(ControlFlow::Break(()));
                    }
                    let progress = reader.read(part, key, bytes, done)?;
                    if progress.is_continue() {
                        last = Some(key.to_vec());
                    }
                    Ok(progress)
                },
            );
            if let Some(last) = last {
                self.after = Some(last);
            }
            match read {
                Ok(()) => {}
                // The table's own pages: there is no way to what lies behind them.
                Err(error @ StoreError::Corrupt { .. }) => {
                    reader.known.has_doubts = true;
                    reader.known.may_name_more = true;
                    done.damaged.push(Damage {
                        slot: None,
                        context: None,
                        error,
                    });
                }
                Err(error) => return Err(error),
            }
            if is_full(budget, done) {
                self.begun = reader.begun;
                return Ok(ControlFlow::Break(()));
            }
            self.part += 1;
            self.after = None;
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn is_full(budget: &Budget<'_>, done: &Scrubbed) -> bool {
    budget.is_spent(done.rows, done.bytes)
}

struct Reader<'s> {
    snapshot: &'s Snapshot,
    bounds: StepBounds,
    authors: Option<Authors>,
    begun: Option<(Vec<u8>, usize)>,
    /// The head of the context whose entry was read last; none if it has none or is out of service.
    owner: Option<(ContextSlot, Option<Head>)>,
    known: &'s mut Known,
}

impl Reader<'_> {
    /// Breaks if the step is full before everything was compared that the record says.
    fn read(
        &mut self,
        part: Part,
        key: &[u8],
        bytes: &[u8],
        done: &mut Scrubbed,
    ) -> Result<ControlFlow<()>, StoreError> {
        done.rows += 1;
        done.bytes += (key.len() + bytes.len()) as u64;
        let slot = part.slot(key, bytes);
        if part == Part::Contexts {
            match slot {
                Some(slot) => drop(self.known.nobodys.remove(&slot)),
                None => self.known.has_doubts = true,
            }
        }
        let checked = part.check(key, bytes);
        let checked = match checked {
            Err(error @ StoreError::Corrupt { .. }) if part.is_derived() => {
                self.known.may_name_more = true;
                let key = key.to_vec();
                done.derived.push(Derived { part, key, error });
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => Err(error),
            Ok(()) => self.compare(part, key, bytes, done),
        };
        match checked {
            Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
            Ok(ControlFlow::Continue(())) => {}
            Err(error @ StoreError::Corrupt { .. }) => {
                self.known.may_name_more = true;
                let context = self.context_of(part, key, slot)?;
                if let (Part::Heads | Part::Graves, Some(slot), None) = (part, slot, context) {
                    self.suspect(part, key, slot, done);
                }
                done.damaged.push(Damage {
                    slot,
                    context,
                    error,
                });
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => return Err(error),
        }
        let is_of_context = !matches!(part, Part::Contexts | Part::Heads | Part::Graves);
        if let Some(slot) = slot.filter(|_| is_of_context)
            && !self.snapshot.is_used(slot)?
        {
            self.suspect(part, key, slot, done);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// No context is known that this is of: it is nobody's if that was so a round ago.
    fn suspect(&mut self, part: Part, key: &[u8], slot: ContextSlot, done: &mut Scrubbed) {
        let known = &mut *self.known;
        if known.suspects.len() < SUSPECTS_MAX {
            known.suspects.insert(slot);
        }
        if known.nobodys.contains(&slot) && !known.has_doubts {
            let key = key.to_vec();
            done.orphans.push(Orphan { part, key, slot });
        }
    }

    /// Whose a damaged record is, if anything says so that can be read.
    fn context_of(
        &mut self,
        part: Part,
        key: &[u8],
        slot: Option<ContextSlot>,
    ) -> Result<Option<ContextId>, StoreError> {
        if part == Part::Contexts {
            // Its key says it, also where its record says nothing.
            let context = <[u8; 32]>::try_from(key).ok().map(ContextId::from_bytes);
            if let (Some(slot), Some(context)) = (slot, context)
                && self.known.headless.len() < HEADLESS_MAX
            {
                self.known.headless.insert(slot, context);
            }
            return Ok(context);
        }
        let Some(slot) = slot else { return Ok(None) };
        let by_head = self.by_head(slot)?;
        Ok(by_head.or_else(|| self.known.headless.get(&slot).copied()))
    }

    /// Compares a record that is whole by itself with what belongs to it.
    fn compare(
        &mut self,
        part: Part,
        key: &[u8],
        bytes: &[u8],
        done: &mut Scrubbed,
    ) -> Result<ControlFlow<()>, StoreError> {
        let snapshot = self.snapshot;
        self.known.named.take_in(key, bytes)?;
        match part {
            Part::Quarantine => self.known.may_name_more = true,
            Part::Authors => self.look_for_author(key, bytes, done)?,
            Part::Contexts => {
                let context = ContextRecord::read(key, bytes)?;
                let head = snapshot.head(context.slot)?;
                if head.context != context.id {
                    let why = "it belongs to another context than its record says";
                    let key = layout::slot_key(context.slot);
                    return Err(StoreError::corrupt("head record", &key, why));
                }
                snapshot.check_root(context.slot, &head)?;
                done.rows += 2;
            }
            Part::Heads => {
                let head = Head::read(key, bytes)?;
                let slot = layout::read_u64(key).map(ContextSlot::new);
                let context = snapshot.context(&head.context)?;
                if context.map(|context| context.slot) != slot {
                    let why = "no context has its slot";
                    return Err(StoreError::corrupt("head record", key, why));
                }
                done.rows += 1;
            }
            Part::Answers => {
                if let Some((slot, _)) = layout::split_slot(key) {
                    snapshot.check_answer(slot, key, &KeptAnswer::read(key, bytes)?)?;
                }
                done.rows += 1;
            }
            Part::Attached => {
                snapshot.check_attached(key)?;
                done.rows += 1;
            }
            Part::Entries => self.compare_entry(key, done)?,
            Part::Edits => done.rows += u64::from(snapshot.check_edit(key, bytes)?),
            Part::Trie => return self.compare_trie_node(key, done),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// All other records were read, so it is known who names this author.
    fn look_for_author(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        done: &mut Scrubbed,
    ) -> Result<(), StoreError> {
        let corrupt = |_| StoreError::corrupt("author record", key, "its key is not 4 bytes long");
        let number = u32::from_be_bytes(key.try_into().map_err(corrupt)?);
        let node = read_author(key, bytes)?;
        let known = &mut *self.known;
        if known.may_name_more || known.named.has(number, &node) {
            return Ok(());
        }
        known.unnamed.insert(number);
        if let Some(since) = known.since
            && known.unnamed_before.contains(number)
        {
            done.unnamed.push(UnnamedAuthor {
                number,
                node,
                since,
            });
        }
        Ok(())
    }

    /// One that came back, as from a page that LMDB had given up, is in no trie. That what a trie
    /// has is there, is asked where its nodes are read.
    fn compare_entry(&mut self, key: &[u8], done: &mut Scrubbed) -> Result<(), StoreError> {
        let Some((slot, ..)) = layout::split_entry(key) else {
            return Ok(());
        };
        if self.owner.as_ref().is_none_or(|(owner, _)| *owner != slot) {
            let in_service = |head: Head| {
                let out = self.snapshot.quarantined(slot)?;
                Ok(out.is_none().then_some(head))
            };
            let head = match self.snapshot.head(slot).and_then(in_service) {
                Ok(head) => head,
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            };
            self.owner = Some((slot, head));
        }
        match &self.owner {
            Some((_, Some(head))) => {
                done.rows += 1;
                self.snapshot.check_is_listed(slot, head, key)
            }
            _ => Ok(()),
        }
    }

    /// Compares what lies right below a node of a trie, entry by entry until the step is full.
    fn compare_trie_node(
        &mut self,
        key: &[u8],
        done: &mut Scrubbed,
    ) -> Result<ControlFlow<()>, StoreError> {
        let corrupt = |why| StoreError::corrupt("node of a trie", key, why);
        let (slot, path) = layout::split_slot(key).ok_or_else(|| corrupt("it has no slot"))?;
        let path = NodePath::from_key(path).ok_or_else(|| corrupt("its key is no path"))?;
        done.rows += 1;
        let Some(context) = self.by_head(slot)? else {
            return Ok(ControlFlow::Continue(()));
        };
        if self.authors.is_none() {
            self.authors = Some(self.snapshot.authors()?);
        }
        let authors = self.authors.as_ref().expect("they were read above");
        let begun = self.begun.take().filter(|(begun, _)| begun == key);
        let from = begun.map_or(0, |(_, from)| from);
        let bytes_max = self.bounds.bytes_max.saturating_sub(done.bytes);
        let checked =
            (self.snapshot).check_trie_node(slot, context, &path, authors, from, bytes_max)?;
        done.rows += checked.rows;
        done.bytes += checked.bytes;
        let Some(next) = checked.next else {
            return Ok(ControlFlow::Continue(()));
        };
        self.begun = Some((key.to_vec(), next));
        Ok(ControlFlow::Break(()))
    }

    /// None if it is deleted; a head that is damaged is reported by itself.
    fn by_head(&self, slot: ContextSlot) -> Result<Option<ContextId>, StoreError> {
        match self.snapshot.head(slot) {
            Ok(head) => Ok(Some(head.context)),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
