//! Writing one context, row by row, out of a snapshot, while its ledger goes on. In
//! memory is a chunk at a time. A table more is one more function here, and a row in
//! `row.rs`.

use std::collections::BTreeSet;
use std::io::Write;

use super::frame::{CHUNK_BYTES, CHUNK_BYTES_MAX, FrameWriter};
use super::row::{Counts, HeadFields, Row, Seen};
use crate::answer::{AnswerKey, KeptAnswer};
use crate::authors::Authors;
use crate::backlog::Backlog;
use crate::delta::{BirthsView, DeltaView};
use crate::edits;
use crate::entry::{Space, Stored};
use crate::error::{ExportError, StoreError};
use crate::ids::{ContextId, ContextSlot, DeltaId};
use crate::kept::KeptSeal;
use crate::layout::{self, slot_key, space_key};
use crate::members::{Ack, read_pruned};
use crate::packs::PackView;
use crate::record::{
    ContextRecord, DagNode, EventView, ForkRow, Head, LitterRow, TrieRow, open, read_edit,
    read_entry,
};
use crate::snapshot::Snapshot;
use crate::version::{Dot, VersionVector};

/// What of a context is exported, beside its replicated state and what later deltas need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportScope {
    /// What is the node's alone as well: private entries, the agenda, answers under callers' keys, and
    /// what members have acknowledged. Only for a backup of its own node.
    pub private: bool,
    /// The deltas in its log as well.
    pub log: bool,
}

impl ExportScope {
    /// Everything.
    pub const ALL: ExportScope = ExportScope {
        private: true,
        log: true,
    };
}

/// Where rows go.
pub(super) trait RowSink {
    fn push(&mut self, row: &Row<'_>) -> Result<(), ExportError>;
}

/// Rows on their way into chunks.
pub(super) struct RowWriter<W> {
    frame: FrameWriter<W>,
    content: Vec<u8>,
}

impl<W: Write> RowWriter<W> {
    pub(super) fn new(frame: FrameWriter<W>) -> RowWriter<W> {
        RowWriter {
            frame,
            content: Vec::new(),
        }
    }

    fn close_chunk(&mut self) -> Result<(), ExportError> {
        if self.content.len() > CHUNK_BYTES_MAX {
            return Err(ExportError::RecordTooLarge {
                bytes: self.content.len() as u64,
                bytes_max: CHUNK_BYTES_MAX as u64,
            });
        }
        self.frame.rows(&self.content)?;
        match self.content.capacity() > 4 * CHUNK_BYTES {
            true => self.content = Vec::new(),
            false => self.content.clear(),
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn end(mut self) -> Result<W, ExportError> {
        if !self.content.is_empty() {
            self.close_chunk()?;
        }
        Ok(self.frame.end()?)
    }
}

impl<W: Write> RowSink for RowWriter<W> {
    fn push(&mut self, row: &Row<'_>) -> Result<(), ExportError> {
        row.write(&mut self.content);
        match self.content.len() {
            ..CHUNK_BYTES => Ok(()),
            _ => self.close_chunk(),
        }
    }
}

/// One context being written.
struct Source<'s, S> {
    snapshot: &'s Snapshot,
    slot: ContextSlot,
    scope: ExportScope,
    /// Deltas of which the ledger has not noted yet what they had seen.
    backlog: Option<Backlog>,
    authors: Authors,
    out: &'s mut S,
    /// Authors that have a row already.
    named: BTreeSet<u32>,
    counts: Counts,
}

/// Writes the context, and gives its head.
pub(super) fn write_context<S: RowSink>(
    snapshot: &Snapshot,
    record: &ContextRecord,
    scope: ExportScope,
    out: &mut S,
) -> Result<Head, ExportError> {
    if let Some(found) = snapshot.quarantined(record.slot)? {
        return Err(ExportError::Quarantined {
            context: record.id,
            why: found.why,
        });
    }
    // Of no context, but of all.
    let authors = snapshot.authors()?;
    let written = write_rows(snapshot, record, scope, authors, out);
    written.map_err(|error| match error {
        ExportError::Store(source @ StoreError::Corrupt { .. }) => ExportError::Damaged {
            context: record.id,
            source,
        },
        error => error,
    })
}

fn write_rows<S: RowSink>(
    snapshot: &Snapshot,
    record: &ContextRecord,
    scope: ExportScope,
    authors: Authors,
    out: &mut S,
) -> Result<Head, ExportError> {
    let head = snapshot.head(record.slot)?;
    let mut source = Source {
        snapshot,
        slot: record.slot,
        scope,
        backlog: snapshot.backlog(record.slot)?,
        authors,
        out,
        named: BTreeSet::new(),
        counts: Counts::default(),
    };
    source.out.push(&Row::Context {
        id: record.id,
        application: record.application,
        created: record.created,
        name: record.name.as_deref(),
    })?;
    source.head(&head)?;
    source.entries()?;
    source.edits()?;
    source.litter()?;
    source.trie()?;
    source.pasts(&head)?;
    source.deltas(&head)?;
    source.events()?;
    source.seals(record.id)?;
    source.forks()?;
    source.answers()?;
    source.members(&head)?;
    let end = Row::ContextEnd(source.counts, head.root);
    source.out.push(&end)?;
    Ok(head)
}

impl<S: RowSink> Source<'_, S> {
    fn spaces(&self) -> impl Iterator<Item = Space> + use<S> {
        let with_private = self.scope.private;
        let is_asked = move |space: &Space| with_private || space.is_replicated();
        Space::ALL.into_iter().filter(is_asked)
    }

    /// Names an author before it is met for the first time.
    fn author(&mut self, number: u32) -> Result<(), ExportError> {
        if !self.named.insert(number) {
            return Ok(());
        }
        let unknown = || {
            let key = layout::author_key(number);
            StoreError::corrupt("author record", &key, "it is missing")
        };
        let node = self.authors.get(number).ok_or_else(unknown)?;
        self.out.push(&Row::Author { number, node })
    }

    fn seen(&mut self, seen: &VersionVector) -> Result<Seen, ExportError> {
        let pairs = seen.pairs().iter();
        let dots: Seen = pairs.map(|&(author, hlc)| Dot { author, hlc }).collect();
        dots.iter().try_for_each(|dot| self.author(dot.author))?;
        Ok(dots)
    }

    fn head(&mut self, head: &Head) -> Result<(), ExportError> {
        let seen = self.seen(&head.seen)?;
        let mut bytes = head.bytes;
        if !self.scope.private {
            // They are counted with the others.
            let entries = |tables: &layout::Tables| tables.entries;
            for space in Space::ALL
                .into_iter()
                .filter(|space| !space.is_replicated())
            {
                let prefix = space_key(self.slot, space);
                self.snapshot.each_below(entries, &prefix, |key, record| {
                    let key_bytes = key.len() as u64 - prefix.len() as u64;
                    let own = key_bytes + read_entry(key, record)?.bytes();
                    bytes = bytes.saturating_sub(own);
                    Ok::<(), StoreError>(())
                })?;
            }
        }
        let fields = HeadFields {
            root: head.root,
            version: head.version,
            entries: head.entries,
            replicated: head.replicated,
            bytes,
            hlc: head.hlc,
            log_follows: if self.scope.log { head.log_count } else { 0 },
            events_first: head.events_first,
            events_last: head.events_last,
            is_shared: head.is_shared,
            is_pruned: head.log_pruned > 0 || (!self.scope.log && !head.deltas.is_empty()),
            deltas: head.deltas.clone(),
            seen,
        };
        self.out.push(&Row::Head(fields))
    }

    fn entries(&mut self) -> Result<(), ExportError> {
        let mut sections = Vec::new();
        for space in self.spaces() {
            let prefix = space_key(self.slot, space);
            let snapshot = self.snapshot;
            snapshot.each_below(
                |tables| tables.entries,
                &prefix,
                |full, record| {
                    let entry = read_entry(full, record)?;
                    let mut authors = Vec::new();
                    entry.dots(&mut |dot| authors.push(dot.author));
                    authors
                        .into_iter()
                        .try_for_each(|number| self.author(number))?;
                    let key = &full[prefix.len()..];
                    self.counts.entries += 1;
                    match entry {
                        Stored::Value(value) => self.out.push(&Row::Value {
                            space,
                            key,
                            dot: value.dot,
                            bytes: value.bytes,
                        }),
                        Stored::Sections(state) => {
                            sections.clear();
                            state.write(&mut sections);
                            let state = &sections;
                            self.out.push(&Row::Sections { space, key, state })
                        }
                    }
                },
            )?;
        }
        Ok(())
    }

    fn edits(&mut self) -> Result<(), ExportError> {
        for space in self.spaces() {
            let prefix = space_key(self.slot, space);
            let snapshot = self.snapshot;
            snapshot.each_below(
                |tables| tables.edits,
                &prefix,
                |key, record| {
                    let corrupt = || StoreError::corrupt("edit", key, "its key has another length");
                    let unsorted =
                        || StoreError::corrupt("edit", key, "its births are not in order");
                    let edit = read_edit(key, record)?;
                    let dot = layout::edit_dot(key).ok_or_else(corrupt)?;
                    self.author(dot.author)?;
                    let seen = match snapshot.edit_seen(key)? {
                        Some(seen) => self.seen(&seen)?,
                        None if edit.has_seen => return Err(edits::seen_is_missing(key).into()),
                        None => Seen::new(),
                    };
                    self.counts.edits += 1;
                    self.out.push(&Row::Edit {
                        space,
                        sequence: key[8..].first_chunk().ok_or_else(corrupt)?,
                        dot,
                        births: edit.births().ok_or_else(unsorted)?,
                        seen,
                        update: edit.row.update.get(),
                    })
                },
            )?;
            snapshot.each_below(
                |tables| tables.packs,
                &prefix,
                |key, record| -> Result<(), ExportError> {
                    let corrupt = |why| StoreError::corrupt("pack of edits", key, why);
                    let sequence = key[8..].first_chunk();
                    let sequence = sequence.ok_or_else(|| corrupt("its key has another length"))?;
                    for edit in PackView::read(key, record)? {
                        self.author(edit.dot.author)?;
                        let seen = self.seen(&edit.seen)?;
                        self.counts.edits += 1;
                        let births = BirthsView::of(edit.births, edit.is_linked);
                        self.out.push(&Row::Edit {
                            space,
                            sequence,
                            dot: edit.dot,
                            births: births.ok_or_else(|| corrupt("births are not in order"))?,
                            seen,
                            update: edit.update,
                        })?;
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    fn litter(&mut self) -> Result<(), ExportError> {
        for space in self.spaces() {
            let prefix = space_key(self.slot, space);
            let snapshot = self.snapshot;
            snapshot.each_below(
                |tables| tables.litter,
                &prefix,
                |key, record| {
                    let what = "record of removed edits";
                    let corrupt = || StoreError::corrupt(what, key, "its key has another length");
                    self.out.push(&Row::Litter {
                        space,
                        sequence: key[8..].first_chunk().ok_or_else(corrupt)?,
                        key: open::<LitterRow>(key, record)?.key.get(),
                    })
                },
            )?;
        }
        Ok(())
    }

    fn trie(&mut self) -> Result<(), ExportError> {
        let snapshot = self.snapshot;
        snapshot.each_below(
            |tables| tables.trie,
            &slot_key(self.slot),
            |key, record| {
                self.counts.trie_nodes += 1;
                self.out.push(&Row::TrieNode {
                    nibbles: &key[8..],
                    node: open::<TrieRow>(key, record)?.node.get(),
                })
            },
        )
    }

    /// Pasts of deltas that do not follow.
    fn pasts(&mut self, head: &Head) -> Result<(), ExportError> {
        let snapshot = self.snapshot;
        let with_log = self.scope.log;
        let follows = |node: &DagNode| with_log && node.position > head.log_pruned;
        snapshot.each_below(
            |tables| tables.dag,
            &slot_key(self.slot),
            |key, record| {
                let node = DagNode::read(key, record)?;
                if follows(&node) {
                    return Ok(());
                }
                let what = "record of a delta's past";
                let corrupt = || StoreError::corrupt(what, key, "its key has another length");
                let id = key[8..].first_chunk::<32>().ok_or_else(corrupt)?;
                self.past(DeltaId::from_bytes(*id), &node)
            },
        )?;
        let mut position = match &self.backlog {
            Some(backlog) if !with_log => backlog.position,
            _ => 0,
        };
        while position > head.log_pruned {
            let (previous, delta) = snapshot.delta_at(self.slot, position)?;
            if snapshot.dag_node(self.slot, &delta.id())?.is_none()
                && let Some(node) = self.past_before_sharing(&delta, position)?
            {
                self.past(delta.id(), &node)?;
            }
            position = previous;
        }
        Ok(())
    }

    fn past(&mut self, id: DeltaId, node: &DagNode) -> Result<(), ExportError> {
        self.author(node.dot.author)?;
        let seen = self.seen(&node.seen)?;
        self.counts.pasts += 1;
        let dot = node.dot;
        self.out.push(&Row::Past { id, dot, seen })
    }

    /// What a delta had seen that the sweep is still to enter, so that a copy has no backlog.
    fn past_before_sharing(
        &self,
        delta: &DeltaView<'_>,
        position: u64,
    ) -> Result<Option<DagNode>, StoreError> {
        let backlog = self.backlog.as_ref();
        let Some(backlog) = backlog.filter(|backlog| position <= backlog.position) else {
            return Ok(None);
        };
        let unknown = || {
            let key = layout::position_key(position);
            StoreError::corrupt("log record", &key, "its author is unknown")
        };
        let author = self.authors.find(delta.author()).ok_or_else(unknown)?;
        let hlc = delta.hlc();
        Ok(Some(backlog.past_of(Dot { author, hlc }, position)))
    }

    /// The log, the newest delta first.
    fn deltas(&mut self, head: &Head) -> Result<(), ExportError> {
        let mut position = if self.scope.log { head.log_last } else { 0 };
        while position > head.log_pruned {
            let (previous, delta) = self.snapshot.delta_at(self.slot, position)?;
            let past = match self.snapshot.dag_node(self.slot, &delta.id())? {
                None => self.past_before_sharing(&delta, position)?,
                known => known,
            };
            let past = match past {
                None => None,
                Some(node) => {
                    self.author(node.dot.author)?;
                    Some((node.dot, self.seen(&node.seen)?))
                }
            };
            self.counts.deltas += 1;
            self.out.push(&Row::Delta {
                canonical: delta.canonical(),
                past,
            })?;
            position = previous;
        }
        Ok(())
    }

    fn events(&mut self) -> Result<(), ExportError> {
        let snapshot = self.snapshot;
        snapshot.each_below(
            |tables| tables.events,
            &slot_key(self.slot),
            |key, record| {
                let event = EventView::read(key, record)?;
                self.counts.events += 1;
                self.out.push(&Row::Event {
                    sequence: event.sequence,
                    delta: event.delta,
                    hlc: event.hlc,
                    kind: event.kind,
                    payload: event.payload,
                })
            },
        )
    }
    fn seals(&mut self, context: ContextId) -> Result<(), ExportError> {
        let snapshot = self.snapshot;
        snapshot.each_below(
            |tables| tables.seals,
            &slot_key(self.slot),
            |key, record| {
                let kept = KeptSeal::read(key, record, context)?;
                self.counts.seals += 1;
                self.out.push(&Row::Seal {
                    delta: kept.sealed.delta(),
                    hlc: kept.stamp,
                    version: kept.version,
                    seal: &kept.sealed.seal().to_bytes(),
                })
            },
        )
    }

    fn forks(&mut self) -> Result<(), ExportError> {
        let snapshot = self.snapshot;
        snapshot.each_below(
            |tables| tables.forks,
            &slot_key(self.slot),
            |key, record| {
                let row = open::<ForkRow>(key, record)?;
                self.counts.forks += 1;
                self.out.push(&Row::Fork {
                    known: row.known.get(),
                    other: row.other.get(),
                })
            },
        )
    }

    /// What callers of this node were told.
    fn answers(&mut self) -> Result<(), ExportError> {
        if !self.scope.private {
            return Ok(());
        }
        let snapshot = self.snapshot;
        snapshot.each_below(
            |tables| tables.answers,
            &slot_key(self.slot),
            |full, record| {
                let corrupt = || StoreError::corrupt("answer", full, "its key has another length");
                let key = full[8..].first_chunk::<32>().ok_or_else(corrupt)?;
                self.counts.answers += 1;
                self.out.push(&Row::Answer {
                    key: AnswerKey::from_bytes(*key),
                    answer: KeptAnswer::read(full, record)?,
                })
            },
        )
    }

    /// Who has the context beside this node, and what has been pruned of it. Another node has
    /// others beside it.
    fn members(&mut self, head: &Head) -> Result<(), ExportError> {
        let key = slot_key(self.slot);
        let snapshot = self.snapshot;
        let known = snapshot.get_raw(snapshot.tables.acks, &key)?;
        let (Some(known), true) = (known, self.scope.private) else {
            return Ok(());
        };
        // Without its log all of it is pruned, whatever members have.
        let pruned = match self.scope.log {
            true => read_pruned(self.slot, known)?,
            false => head.seen.clone(),
        };
        let seen = self.seen(&pruned)?;
        self.out.push(&Row::Members { pruned: seen })?;
        snapshot.each_below(
            |tables| tables.acks,
            &key,
            |key, record| {
                if key.len() == size_of::<u64>() {
                    return Ok(());
                }
                let mut ack = Ack::read(key, record)?;
                if !self.scope.log && !ack.seen.covers(&pruned) {
                    ack.is_away = true;
                    ack.seen = VersionVector::default();
                }
                let seen = self.seen(&ack.seen)?;
                self.counts.members += 1;
                self.out.push(&Row::Member {
                    node: ack.node,
                    since: ack.since,
                    is_away: ack.is_away,
                    seen,
                })
            },
        )
    }
}
