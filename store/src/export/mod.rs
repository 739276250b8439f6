//! Copies of contexts that leave their ledger: one file format, written from a snapshot
//! while writes go on and read back into any ledger, by whatever number of shards.
//! Where one is written, a chunk is in memory. Where one is read, it is what is read ahead
//! (`ahead.rs`), a step of a transaction, the authors that are named, the deltas that were named
//! and have not come, and which lists and texts there are. Start at [`export_context`] and
//! [`import_context`].
//!
//! | file | holds |
//! |---|---|
//! | `frame.rs` | chunks and their digests |
//! | `ahead.rs` | chunks, read on a thread of their own |
//! | `arrival.rs` | which stamps are believed, and how events are numbered |
//! | `row.rs`, `row/` | what is in them |
//! | `source.rs` | a context into rows |
//! | `authors.rs` | whom rows name |
//! | `inspect.rs`, `inspect/` | what rows say of each other |
//! | `target.rs`, `target/` | rows into a context |
//! | `place.rs` | a context into a data directory |
//! | `backup.rs`, `restore.rs` | a whole data directory |
//! | `keys.rs` | the node's keys into a backup |
//! | `reshard.rs` | a data directory into another number of shards |

mod ahead;
mod arrival;
mod authors;
mod backup;
mod frame;
mod inspect;
mod keys;
mod place;
mod reshard;
mod restore;
mod row;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::io::{Read, Write};
use std::ops::Bound;

use self::ahead::Ahead;
pub use self::arrival::Arrival;
use self::arrival::EVENT_NUMBERS;
pub use self::arrival::{RENUMBERED_BY, RENUMBERED_FROM};
use self::authors::NamedAuthors;
pub use self::backup::{BackupSource, write_backup};
pub use self::frame::{EXPORT_VERSION, ExportKind};
use self::frame::{FrameReader, FrameWriter};
use self::inspect::{Agreement, Finding, Inspected};
pub use self::keys::add_keys;
pub use self::place::{ImportPlace, Imported, import_into};
pub use self::reshard::{Resharded, reshard};
pub use self::restore::{RestoreOptions, Restored, restore, unfinished_restore};
pub use self::row::BackupCounts;
use self::row::{Counts, HeadFields, Row};
pub use self::source::ExportScope;
use self::source::{RowWriter, write_context};
use self::target::{Announced, Target};
use crate::authors::Authors;
use crate::delta::Reader;
use crate::entry::Space;
use crate::error::{ExportError, ImportError, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, BlobId, ContextId, Root};
use crate::layout;
use crate::ledger::Ledger;
use crate::snapshot::Snapshot;
use crate::step::StepBounds;
use crate::writer::LedgerWriter;

/// What a file may say that a context has of anything: what comes is counted on top, and no
/// context has nearly as many.
const COUNT_MAX: u64 = 1 << 40;

/// Records of what did not become a context, dropped at a time.
const SWEEP_RECORDS: usize = 4096;

/// A context that was written, or taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedContext {
    /// Its id.
    pub id: ContextId,
    /// Its name.
    pub name: Option<String>,
    /// What it runs.
    pub application: ApplicationId,
    /// The digest of its state.
    pub root: Root,
    /// Entries of its shared space.
    pub entries: u64,
    /// Deltas in its log that came along.
    pub deltas: u64,
    /// Its events that are kept.
    pub events: u64,
}

/// Writes the context as it is in the snapshot.
///
/// Fails if there is no such context, if it is out of service or a record of it is damaged, or
/// if `out` does.
pub fn export_context(
    snapshot: &Snapshot,
    id: &ContextId,
    scope: ExportScope,
    out: impl Write,
) -> Result<CopiedContext, ExportError> {
    let record = snapshot.context(id)?;
    let record = record.ok_or(ExportError::UnknownContext { context: *id })?;
    let mut rows = RowWriter::new(FrameWriter::begin(out, ExportKind::Context)?);
    let head = write_context(snapshot, &record, scope, &mut rows)?;
    rows.end()?;
    Ok(CopiedContext {
        id: record.id,
        name: record.name,
        application: record.application,
        root: head.root,
        entries: head.entries,
        deltas: if scope.log { head.log_count } else { 0 },
        events: head.events_last + 1 - head.events_first,
    })
}

/// Takes in a context under the id that it has. Its name stays in its record; the
/// directory's entry for it is the caller's to make.
///
/// If it fails nothing of the context is there: the file is damaged or does not agree
/// with itself, has a later stamp than is believed, the context exists, or the ledger takes no more.
///
/// `input` is read on a thread of its own, 16 MiB and a chunk ahead at most, and dropped there: if
/// it gives no more bytes and does not end either, an error comes all the same, and that thread
/// waits on.
pub fn import_context(
    ledger: &Ledger,
    input: impl Read + Send + 'static,
    arrival: Arrival,
) -> Result<CopiedContext, ImportError> {
    let mut writer = ledger.writer();
    let known = authors(&mut writer)?;
    let taken = take_in(&mut writer, input, arrival);
    if taken.is_err() {
        take_back(&mut writer, known);
    }
    taken
}

/// What a copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCopy {
    /// What it holds.
    pub kind: ExportKind,
    /// Contexts that are not in a backup, as they were out of service, and why they were.
    pub left_out: Vec<(ContextId, String)>,
    /// Blobs that contexts have attached and that are not in a backup, as they were not there,
    /// or damaged, and which of it.
    pub blobs_left_out: Vec<(BlobId, String)>,
}

/// Reads all of a copy and compares the digests of its chunks: whether it is as it was
/// written, can be read, and ends as it should. What it says is compared when it is taken in.
pub fn read_copy(input: impl Read) -> Result<ReadCopy, ImportError> {
    let mut frame = FrameReader::begin(input)?;
    let (mut left_out, mut blobs_left_out) = (Vec::new(), Vec::new());
    each_row_of(&mut frame, &mut |row| {
        match row {
            Row::LeftOut { id, why } => left_out.push((id, why.to_owned())),
            Row::BlobLeftOut { id, why } => blobs_left_out.push((id, why.to_owned())),
            _ => {}
        }
        Ok(())
    })?;
    let kind = frame.kind();
    Ok(ReadCopy {
        kind,
        left_out,
        blobs_left_out,
    })
}

/// Drops what did not become a context. What a failure leaves is left to the next sweep.
fn sweep(writer: &mut LedgerWriter<'_>) {
    let mut step = || {
        let swept = writer.sweep(&StepBounds::rows(SWEEP_RECORDS))?;
        writer.checkpoint()?;
        Ok::<_, StoreError>(swept.is_more)
    };
    while step().unwrap_or_default() {}
}

/// The same of a copy that was refused, with the authors that only it has named: beside them
/// the next number was this. Nobody else has had the writer since.
fn take_back(writer: &mut LedgerWriter<'_>, authors: u32) {
    if let Err(error) = forget_authors(writer, authors) {
        tracing::warn!(%error, "authors whom only a refused copy has named stay in the ledger");
    }
    sweep(writer);
}

/// The number that the next author gets.
fn authors(writer: &mut LedgerWriter<'_>) -> Result<u32, StoreError> {
    let txn = writer.begin_aside()?;
    let authors = Authors::load(writer.env(), writer.tables(), &txn)?;
    Ok(authors.next_number())
}

fn forget_authors(writer: &mut LedgerWriter<'_>, known: u32) -> Result<(), StoreError> {
    let table = writer.tables().authors;
    let mut txn = writer.begin_aside()?;
    let first = layout::author_key(known);
    let range = (Bound::Included(&first[..]), Bound::Unbounded);
    let deleted = table.delete_range(&mut txn, &range);
    deleted.map_err(|error| writer.engine(error))?;
    let next = writer.next();
    writer.commit_aside(txn, next)
}

fn take_in(
    writer: &mut LedgerWriter<'_>,
    input: impl Read + Send + 'static,
    arrival: Arrival,
) -> Result<CopiedContext, ImportError> {
    let mut intake = Intake::of_copy(arrival);
    each_row(input, &mut |row| intake.row(writer, row))?;
    // The end of the file was read as well, so all of it is as it was written.
    intake.finish(writer)
}

/// Shows every row of an export of one context to `visit`.
fn each_row(
    input: impl Read + Send + 'static,
    visit: &mut dyn FnMut(Inspected<'_>) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut copy = Ahead::begin(input)?;
    if copy.kind() != ExportKind::Context {
        return Err(ImportError::malformed("it is no export of one context"));
    }
    copy.each_row(visit)
}

fn each_row_of(
    frame: &mut FrameReader<impl Read>,
    visit: &mut dyn FnMut(Row<'_>) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut content = Vec::new();
    while frame.next(&mut content)? {
        let mut rest = Reader(&content);
        while !rest.0.is_empty() {
            visit(row::read(&mut rest).map_err(|error| ImportError::malformed(error.0))?)?;
        }
    }
    Ok(())
}

/// A context of which rows come in. First what it is, then its head, then all else.
struct Intake<'l> {
    /// Of a copy. What the node has itself is believed, and numbered as it is.
    arrival: Option<Arrival>,
    /// The numbers of its events grow by this.
    renumbers_by: u64,
    announced: Option<Announced>,
    target: Option<(Target<'l>, CopiedContext)>,
    end: Option<(Counts, Root, Agreement)>,
}

impl<'l> Intake<'l> {
    fn of_copy(arrival: Arrival) -> Intake<'l> {
        Intake {
            arrival: Some(arrival),
            ..Intake::of_own()
        }
    }

    fn of_own() -> Intake<'l> {
        Intake {
            arrival: None,
            renumbers_by: 0,
            announced: None,
            target: None,
            end: None,
        }
    }

    fn check_stamp(&self, stamp: Hlc) -> Result<(), ImportError> {
        match self.arrival.map(|arrival| arrival.latest) {
            Some(latest) if stamp > latest => Err(ImportError::FromTheFuture { stamp, latest }),
            _ => Ok(()),
        }
    }

    /// What a head says has to be possible before anything is counted on it.
    fn check_head(&self, created: Hlc, head: &HeadFields) -> Result<(), ImportError> {
        self.check_stamp(created.max(head.hlc))?;
        let is_possible = head.events_last < EVENT_NUMBERS
            && (1..=head.events_last + 1).contains(&head.events_first)
            && head.events_last - (head.events_first - 1) < COUNT_MAX
            && head.log_follows < COUNT_MAX
            && head.version < COUNT_MAX;
        match is_possible {
            true => Ok(()),
            false => Err(ImportError::malformed("its counts are impossible")),
        }
    }

    fn row(
        &mut self,
        writer: &mut LedgerWriter<'l>,
        mut inspected: Inspected<'_>,
    ) -> Result<(), ImportError> {
        if self.end.is_some() {
            return Err(ImportError::malformed("rows follow the end of a context"));
        }
        // What is not of the context's own clock.
        match &mut inspected.row {
            Row::Answer { answer, .. } => self.check_stamp(answer.hlc)?,
            Row::Member { since, .. } => self.check_stamp(*since)?,
            Row::Value {
                space: Space::Agenda,
                dot,
                ..
            } => self.check_stamp(dot.hlc)?,
            Row::Event { sequence, .. } => {
                let anew = sequence.checked_add(self.renumbers_by);
                *sequence = anew.ok_or(ImportError::malformed("an event has no number"))?;
            }
            _ => {}
        }
        if let Some((target, _)) = &mut self.target {
            match inspected {
                Inspected {
                    row: Row::ContextEnd(counts, root),
                    finding: Finding::End(agreement),
                } => self.end = Some((counts, root, *agreement)),
                inspected => target.row(writer, &inspected)?,
            }
            return Ok(());
        }
        match (&mut self.announced, inspected.row) {
            (
                announced @ None,
                Row::Context {
                    id,
                    application,
                    created,
                    name,
                },
            ) => {
                *announced = Some(Announced {
                    id,
                    application,
                    created,
                    name: name.map(str::to_owned),
                    authors: NamedAuthors::default(),
                });
            }
            (Some(announced), Row::Author { number, node }) => {
                announced.authors.add(number, node)?;
            }
            (announced @ Some(_), Row::Head(mut head)) => {
                let announced = announced.take().expect("it was matched above");
                self.check_head(announced.created, &head)?;
                if let Some(arrival) = &self.arrival {
                    self.renumbers_by = arrival.renumbers_by(head.events_first, head.events_last);
                    head.events_first += self.renumbers_by;
                    head.events_last += self.renumbers_by;
                }
                let copied = CopiedContext {
                    id: announced.id,
                    name: announced.name.clone(),
                    application: announced.application,
                    root: head.root,
                    entries: head.entries,
                    deltas: head.log_follows,
                    events: (head.events_last + 1).saturating_sub(head.events_first),
                };
                self.target = Some((Target::begin(writer, announced, head)?, copied));
            }
            _ => {
                return Err(ImportError::malformed(
                    "a context does not begin as one does",
                ));
            }
        }
        Ok(())
    }

    /// Whether all rows of a context came.
    fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    fn finish(self, writer: &mut LedgerWriter<'l>) -> Result<CopiedContext, ImportError> {
        let (Some((target, copied)), Some(end)) = (self.target, self.end) else {
            return Err(ImportError::malformed("it does not hold a whole context"));
        };
        let (counts, root, agreement) = end;
        target.finish(writer, &counts, root, agreement)?;
        Ok(copied)
    }
}
