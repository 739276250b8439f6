//! Taking in one context, row by row, beside whatever else its ledger holds. Its records
//! lie in a slot of its own, over which stands a grave until all of them are there and
//! agree with each other: a process that ends before leaves litter for the sweep and
//! nothing that anybody could read. Nothing that a file says is believed: what rows say of each
//! other is compared before they come here (`inspect.rs`), all else here, every count with what came. What can be
//! worked out of the rows is in none: where a history can be cut, and how large what is.
//! What is beside the entries is in `target/log.rs` and `target/kept.rs`.
//! Uses the ledger's writer: whoever holds it sweeps nothing until the context is finished or
//! given up.

mod kept;
mod log;

use std::collections::{BTreeSet, HashMap};

use heed::{PutFlags, RwTxn};

use self::log::Waiting;
use super::authors::NamedAuthors;
use super::inspect::{Agreement, Finding, Inspected};
use super::row::{Counts, HeadFields, Row};
use crate::attachment::{self, Attachment};
use crate::authors::Authors;
use crate::entry::{AuthorNames, Space, State, Stored, Value};
use crate::error::ImportError;
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot, Root};
use crate::layout::{self, META_COUNTERS, META_SLOTS, Table, slot_key, space_key};
use crate::members::Ack;
use crate::record::{
    AnswerTally, ContextRecord, CountersRecord, DagNode, EntryRow, EventRow, GraveRow, Head,
    LitterRow, Record, RecordKind, SlotsRecord, TrieRow, seal, seal_edit, seal_edit_seen,
};
use crate::tally::Tally;
use crate::verify::{First, Found, scrub_incoming};
use crate::version::{Dot, VersionVector};
use crate::writer::{Counters, LedgerWriter};

/// After so many bytes what came is committed.
pub(super) const STEP_BYTES: usize = 16 << 20;

/// What a file says of a context before its records come.
pub(super) struct Announced {
    pub(super) id: ContextId,
    pub(super) application: ApplicationId,
    pub(super) created: Hlc,
    pub(super) name: Option<String>,
    pub(super) authors: NamedAuthors,
}

/// A context on its way in.
pub(super) struct Target<'l> {
    step: Option<Step<'l>>,
    record: ContextRecord,
    head: Head,
    /// The last stamp of the context and of its agenda.
    last_hlc: Hlc,
    authors: NamedAuthors,
    /// Which numbers of the file are which of this ledger, and the pair that was asked for last.
    numbers: HashMap<u32, u32>,
    last_number: Option<(u32, u32)>,
    found: Found,
    log: Waiting,
    /// The position of its newest delta.
    log_top: u64,
    /// How large log and events have become, counted anew; of the log from its end on.
    tally: Tally,
    span: Span,
    answers: AnswerTally,
    has_members: bool,
    counts: Counts,
    buffers: Buffers,
}

/// A transaction that takes in a part.
struct Step<'l> {
    txn: RwTxn<'l>,
    authors: Authors,
    bytes: usize,
    /// The kind of the records that came last, and the greatest key of their table.
    end: Option<(RecordKind, Vec<u8>)>,
}

/// The deltas below the mark that was put last, or from the newest on.
#[derive(Default)]
struct Span {
    bytes: u64,
    is_below_mark: bool,
}

#[derive(Default)]
struct Buffers {
    key: Vec<u8>,
    record: Vec<u8>,
    sections: Vec<u8>,
}

impl<'l> Target<'l> {
    /// Gives the context a slot and positions of the log.
    pub(super) fn begin(
        writer: &mut LedgerWriter<'l>,
        announced: Announced,
        fields: HeadFields,
    ) -> Result<Target<'l>, ImportError> {
        let Announced {
            id,
            application,
            created,
            name,
            authors,
        } = announced;
        let tables = writer.tables();
        let mut next = writer.next();
        let slot = ContextSlot::new(next.slot);
        // The position before the first is where the log was cut off, if it was.
        let base = next.position;
        let log_top = base.checked_add(fields.log_follows);
        let log_top = log_top.filter(|top| *top < u64::MAX / 2);
        let log_top = log_top.ok_or(ImportError::malformed("its log is impossibly long"))?;
        next.slot += 1;
        next.position = log_top + 1;
        let mut buffers = Buffers::default();
        let mut txn = writer.begin_aside()?;
        let found = tables.contexts.get(&txn, id.as_bytes());
        if found.map_err(|error| writer.engine(error))?.is_some() {
            return Err(ImportError::Exists { context: id });
        }
        let mut step = Step {
            authors: Authors::load(writer.env(), tables, &txn)?,
            bytes: 0,
            end: None,
            txn: {
                let grave = GraveRow {
                    context: *id.as_bytes(),
                    log_last: log_top,
                    // None of them need be there.
                    log_pruned: log_top,
                };
                let record = &mut buffers.record;
                let key = slot_key(slot);
                seal(record, &key, &grave);
                put(writer, tables.graves, &mut txn, &key, record)?;
                txn
            },
        };
        put_counters(writer, &mut step.txn, &next, &mut buffers.record)?;
        let head = fields.head(id, base);
        if !head.deltas.is_sorted_by(|a, b| a < b) {
            return Err(ImportError::malformed("its newest deltas are not in order"));
        }
        let tally = Tally {
            log_from: base,
            events_from: head.events_first,
            ..Tally::default()
        };
        let mut target = Target {
            step: Some(step),
            record: ContextRecord {
                id,
                slot,
                name,
                application,
                created,
            },
            last_hlc: head.hlc,
            head,
            authors,
            numbers: HashMap::new(),
            last_number: None,
            found: Found::default(),
            log: Waiting::default(),
            log_top,
            tally,
            span: Span::default(),
            answers: AnswerTally::default(),
            has_members: false,
            counts: Counts::default(),
            buffers,
        };
        target.head.seen = target.seen(writer, &fields.seen)?;
        target.commit(writer, next)?;
        Ok(target)
    }

    /// Takes in one row that is neither the first two nor the end.
    pub(super) fn row(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        inspected: &Inspected<'_>,
    ) -> Result<(), ImportError> {
        self.open_step(writer)?;
        self.take(writer, inspected)?;
        // Between two rows only, as one may have several records.
        match &self.step {
            Some(step) if step.bytes >= STEP_BYTES => self.close_step(writer),
            _ => Ok(()),
        }
    }

    /// Bytes of deltas that are not put yet.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.log.bytes()
    }

    fn take(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        inspected: &Inspected<'_>,
    ) -> Result<(), ImportError> {
        match &inspected.row {
            Row::Author { number, node } => self.authors.add(*number, *node),
            Row::Value {
                space,
                key,
                dot,
                bytes,
            } => {
                let dot = match space {
                    Space::Agenda => self.dot_of_agenda(writer, *dot)?,
                    _ => self.dot(writer, *dot)?,
                };
                let value = Stored::Value(Value { dot, bytes });
                self.count_entry(*space, key, &value)?;
                self.entry(writer, *space, key, &EntryRow::value(dot, bytes))
            }
            Row::Sections { space, key, state } => self.sections(writer, *space, key, state),
            Row::Edit {
                space,
                sequence,
                dot,
                births,
                seen,
                update,
            } => {
                let dot = self.dot(writer, *dot)?;
                self.counts.edits += 1;
                self.sequence_key(*space, sequence);
                self.buffers
                    .key
                    .extend_from_slice(&layout::edit_suffix(dot));
                let tables = writer.tables();
                let Buffers { key, record, .. } = &mut self.buffers;
                seal_edit(record, key, *births, update, !seen.is_empty());
                self.put_sealed(writer, tables.edits, RecordKind::Edit)?;
                if seen.is_empty() {
                    return Ok(());
                }
                let seen = self.seen(writer, seen)?;
                let Buffers { key, record, .. } = &mut self.buffers;
                seal_edit_seen(record, key, &seen);
                self.put_sealed(writer, tables.edits_seen, RecordKind::EditSeen)
            }
            Row::Litter {
                space,
                sequence,
                key,
            } => {
                self.sequence_key(*space, sequence);
                if !layout::is_prefix_of(&self.buffers.key, key) {
                    let why = "edits that were removed are of another key than they say";
                    return Err(ImportError::malformed(why));
                }
                let table = writer.tables().litter;
                self.put(writer, table, &LitterRow { key, after: &[] })
            }
            Row::TrieNode { nibbles, node } => {
                self.counts.trie_nodes += 1;
                let slot = slot_key(self.record.slot);
                self.key([&slot, *nibbles]);
                let table = writer.tables().trie;
                self.put(writer, table, &TrieRow { node })
            }
            Row::Past { id, dot, seen } => {
                self.counts.pasts += 1;
                let node = DagNode {
                    position: 0,
                    dot: self.dot(writer, *dot)?,
                    seen: self.seen(writer, seen)?,
                };
                self.past(writer, id.as_bytes(), &node)
            }
            Row::Delta { canonical, past } => {
                self.delta(writer, canonical, past.as_ref(), &inspected.finding)
            }
            Row::Event {
                sequence,
                delta,
                hlc,
                kind,
                payload,
            } => {
                if *hlc > self.head.hlc {
                    let why = "an event is later than the last stamp of its context";
                    return Err(ImportError::malformed(why));
                }
                self.counts.events += 1;
                self.tally.events_bytes += (kind.len() + payload.len()) as u64;
                let key = layout::event_key(self.record.slot, *sequence);
                self.key([&key, &[]]);
                let table = writer.tables().events;
                self.put(
                    writer,
                    table,
                    &EventRow {
                        delta: *delta.as_bytes(),
                        hlc: hlc.bits(),
                        kind,
                        payload,
                    },
                )
            }
            Row::Seal {
                delta,
                hlc,
                version,
                seal,
            } => self.seal(writer, delta, *hlc, *version, seal),
            Row::Fork { known, other } => self.fork(writer, known, other),
            Row::Answer { key, answer } => self.answer(writer, key, answer),
            Row::Members { pruned } => self.members(writer, pruned),
            Row::Member {
                node,
                since,
                is_away,
                seen,
            } => {
                let ack = Ack {
                    node: *node,
                    since: *since,
                    is_away: *is_away,
                    seen: self.seen(writer, seen)?,
                };
                self.member(writer, &ack)
            }
            _ => Err(ImportError::malformed(
                "a row does not belong into a context",
            )),
        }
    }

    /// All rows came, and these are what they should be: makes the context one of the
    /// ledger, if everything agrees.
    pub(super) fn finish(
        mut self,
        writer: &mut LedgerWriter<'l>,
        counts: &Counts,
        root: Root,
        agreement: Agreement,
    ) -> Result<Head, ImportError> {
        if self.counts != *counts || self.head.root != root {
            return Err(ImportError::malformed("other rows came than its end says"));
        }
        agreement.trie?;
        self.open_step(writer)?;
        self.sums(writer)?;
        self.close_step(writer)?;
        let mut first = First::default();
        let mut found = std::mem::take(&mut self.found);
        found.trie_nodes = self.counts.trie_nodes;
        let snapshot = writer.snapshot()?;
        let is_log_right = agreement.is_log_right;
        let (record, head) = (&self.record, &self.head);
        scrub_incoming(&snapshot, record, head, found, is_log_right, &mut first);
        drop(snapshot);
        if let Some(source) = first.0 {
            let context = self.record.id;
            return Err(ImportError::Disagrees { context, source });
        }
        let mut next = writer.next();
        next.last_hlc = next.last_hlc.max(self.last_hlc);
        self.open_step(writer)?;
        let tables = writer.tables();
        let step = self.step.as_mut().expect("it was opened above");
        let (txn, record) = (&mut step.txn, &mut self.buffers.record);
        let id = self.record.id;
        self.record.seal(record);
        put(writer, tables.contexts, txn, id.as_bytes(), record)?;
        let key = slot_key(self.record.slot);
        self.head.seal(record, &key);
        put(writer, tables.heads, txn, &key, record)?;
        let deleted = tables.graves.delete(txn, &key);
        deleted.map_err(|error| writer.engine(error))?;
        put_counters(writer, txn, &next, record)?;
        self.commit(writer, next)?;
        Ok(self.head.clone())
    }

    /// The number of an author in this ledger.
    fn number(&mut self, writer: &mut LedgerWriter<'l>, number: u32) -> Result<u32, ImportError> {
        if let Some((_, known)) = self.last_number.filter(|(last, _)| *last == number) {
            return Ok(known);
        }
        let known = match self.numbers.get(&number) {
            Some(known) => *known,
            None => self.keep_author(writer, number)?,
        };
        self.last_number = Some((number, known));
        Ok(known)
    }

    fn keep_author(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        number: u32,
    ) -> Result<u32, ImportError> {
        let unknown = ImportError::malformed("an author was not named before");
        let node = self.authors.name(number).ok_or(unknown)?;
        let tables = writer.tables();
        let step = self.step.as_mut().expect("a row is taken in within a step");
        let known = step.authors.number(node);
        let kept = step.authors.keep(tables, &mut step.txn);
        kept.map_err(|error| writer.engine(error))?;
        self.numbers.insert(number, known);
        Ok(known)
    }

    fn dot(&mut self, writer: &mut LedgerWriter<'l>, dot: Dot) -> Result<Dot, ImportError> {
        if dot.hlc > self.head.hlc {
            let why = "a stamp is later than the last one of its context";
            return Err(ImportError::malformed(why));
        }
        self.dot_of_agenda(writer, dot)
    }

    /// The head does not tell of notes, so that theirs may be later than its last stamp.
    fn dot_of_agenda(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        dot: Dot,
    ) -> Result<Dot, ImportError> {
        self.last_hlc = self.last_hlc.max(dot.hlc);
        let author = self.number(writer, dot.author)?;
        Ok(Dot { author, ..dot })
    }

    fn seen(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        seen: &[Dot],
    ) -> Result<VersionVector, ImportError> {
        let mut pairs = Vec::with_capacity(seen.len());
        for dot in seen {
            let dot = self.dot(writer, *dot)?;
            pairs.push((dot.author, dot.hlc));
        }
        pairs.sort_unstable();
        VersionVector::from_pairs(pairs.into_iter())
            .ok_or(ImportError::malformed("an author was seen twice"))
    }

    fn sections(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        space: Space,
        key: &[u8],
        state: &[u8],
    ) -> Result<(), ImportError> {
        let malformed = || ImportError::malformed("the state of an entry is malformed");
        let mut state = State::read(state).map_err(|_| malformed())?;
        let mut authors = BTreeSet::new();
        let named = Stored::Sections(state);
        named.dots(&mut |dot| {
            authors.insert(dot.author);
        });
        let Stored::Sections(taken) = named else {
            return Err(malformed());
        };
        state = taken;
        let mut numbers = HashMap::new();
        for author in authors {
            numbers.insert(author, self.number(writer, author)?);
        }
        let renumbered = state.renumber(&|author| numbers.get(&author).copied());
        renumbered.ok_or_else(malformed)?;
        let state = match state.into_stored() {
            Some(Stored::Sections(state)) => state,
            Some(Stored::Value(Value { .. })) | None => return Err(malformed()),
        };
        let mut sections = std::mem::take(&mut self.buffers.sections);
        sections.clear();
        state.write(&mut sections);
        self.count_entry(space, key, &Stored::Sections(state))?;
        let written = self.entry(writer, space, key, &EntryRow::sections(&sections));
        self.buffers.sections = sections;
        written
    }

    fn count_entry(
        &mut self,
        space: Space,
        key: &[u8],
        entry: &Stored<'_>,
    ) -> Result<(), ImportError> {
        self.counts.entries += 1;
        let counted = self.found.take_in(space, key, entry);
        counted.ok_or(ImportError::malformed(
            "its entries say of more bytes or edits than can be",
        ))
    }

    fn entry(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        space: Space,
        key: &[u8],
        row: &EntryRow<'_>,
    ) -> Result<(), ImportError> {
        layout::entry_key(&mut self.buffers.key, self.record.slot, space, key);
        let tables = writer.tables();
        self.put(writer, tables.entries, row)?;
        if space != Space::Attached {
            return Ok(());
        }
        let malformed = ImportError::malformed("what is attached is no blob");
        let attachment = Attachment::from_key(key).ok_or(malformed)?;
        let step = self.step.as_mut().expect("a row is taken in within a step");
        let (record, slot) = (&mut self.buffers.record, self.record.slot);
        let noted = attachment::note(tables, &mut step.txn, record, slot, attachment, true);
        Ok(noted.map_err(|failure| match failure {
            attachment::Failure::Engine(error) => writer.engine(error),
            attachment::Failure::Store(error) => error,
        })?)
    }

    fn sequence_key(&mut self, space: Space, sequence: &[u8; 17]) {
        let front = space_key(self.record.slot, space);
        self.key([&front, sequence]);
    }

    fn key(&mut self, parts: [&[u8]; 2]) {
        self.buffers.key.clear();
        parts
            .iter()
            .for_each(|part| self.buffers.key.extend_from_slice(part));
    }

    /// Puts a record under the key in the buffer.
    fn put<R: Record>(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        table: Table,
        row: &R,
    ) -> Result<(), ImportError> {
        let Buffers { key, record, .. } = &mut self.buffers;
        seal(record, key, row);
        self.put_sealed(writer, table, R::KIND)
    }

    fn put_sealed(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        table: Table,
        kind: RecordKind,
    ) -> Result<(), ImportError> {
        let Buffers { key, record, .. } = &self.buffers;
        let step = self.step.as_mut().expect("a row is taken in within a step");
        step.put(writer, table, kind, key, record)
    }

    fn open_step(&mut self, writer: &mut LedgerWriter<'l>) -> Result<(), ImportError> {
        if self.step.is_none() {
            let txn = writer.begin_aside()?;
            self.step = Some(Step {
                authors: Authors::load(writer.env(), writer.tables(), &txn)?,
                txn,
                bytes: 0,
                end: None,
            });
        }
        Ok(())
    }

    fn close_step(&mut self, writer: &mut LedgerWriter<'l>) -> Result<(), ImportError> {
        let next = writer.next();
        self.commit(writer, next)
    }

    fn commit(&mut self, writer: &mut LedgerWriter<'l>, next: Counters) -> Result<(), ImportError> {
        if let Some(mut step) = self.step.take() {
            self.log.put(writer, &mut step)?;
            writer.commit_aside(step.txn, next)?;
        }
        Ok(())
    }
}

impl Step<'_> {
    fn put(
        &mut self,
        writer: &LedgerWriter<'_>,
        table: Table,
        kind: RecordKind,
        key: &[u8],
        record: &[u8],
    ) -> Result<(), ImportError> {
        if key.len() > layout::LMDB_KEY_BYTES_MAX {
            return Err(ImportError::malformed("a key is too long"));
        }
        self.bytes += key.len() + record.len();
        if self.end.as_ref().is_none_or(|(last, _)| *last != kind) {
            let last = table.last(&self.txn);
            let last = last.map_err(|error| writer.engine(error))?;
            let last = last.map(|(key, _)| key.to_vec());
            self.end = Some((kind, last.unwrap_or_default()));
        }
        let (_, end) = self.end.as_mut().expect("it was set above");
        // Behind all others a record fills its page; in between, pages are halved.
        let flags = match key > &end[..] {
            true => PutFlags::APPEND,
            false => PutFlags::NO_OVERWRITE,
        };
        match table.put_with_flags(&mut self.txn, flags, key, record) {
            Ok(()) => {}
            Err(heed::Error::Mdb(heed::MdbError::KeyExist)) => {
                return Err(ImportError::malformed("a record is given twice"));
            }
            Err(error) => return Err(writer.engine(error).into()),
        }
        if key > &end[..] {
            key.clone_into(end);
        }
        Ok(())
    }
}

fn put(
    writer: &LedgerWriter<'_>,
    table: Table,
    txn: &mut RwTxn<'_>,
    key: &[u8],
    record: &[u8],
) -> Result<(), ImportError> {
    let put = table.put(txn, key, record);
    Ok(put.map_err(|error| writer.engine(error))?)
}

fn put_counters(
    writer: &LedgerWriter<'_>,
    txn: &mut RwTxn<'_>,
    next: &Counters,
    record: &mut Vec<u8>,
) -> Result<(), ImportError> {
    let meta = writer.tables().meta;
    seal(record, META_SLOTS, &SlotsRecord { next: next.slot });
    put(writer, meta, txn, META_SLOTS, record)?;
    let counters = CountersRecord {
        position: next.position,
        hlc: next.last_hlc.bits(),
    };
    seal(record, META_COUNTERS, &counters);
    put(writer, meta, txn, META_COUNTERS, record)
}
