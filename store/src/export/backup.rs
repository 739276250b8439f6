//! Writing a backup: everything a data directory holds, as of one moment for each shard,
//! while its server goes on. First what the node is, then every context with all that is
//! its own, then applications, their components, blobs and names. The node's keys are
//! not in it (`keys.rs`). Any thread that may block.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::frame::{ExportKind, FrameWriter};
use super::row::{BackupCounts, FileKind, Row};
use super::source::{ExportScope, RowSink, RowWriter, write_context};
use crate::attachment::each_attached;
use crate::blobs::Blobs;
use crate::error::{BlobError, ExportError, StoreError};
use crate::ids::{ApplicationId, BlobId, NodeId};
use crate::quarantine::cut;
use crate::record::ContextRecord;
use crate::snapshot::Snapshot;

/// Contexts and names read at a time.
const PAGE: usize = 256;

/// Bytes of a file in one row.
const PART_BYTES: usize = 256 << 10;

/// What a backup is made of.
pub struct BackupSource<'s> {
    /// Whose data it is.
    pub node: NodeId,
    /// Of each shard, in order. That of shard 0, which keeps the names, is to be taken
    /// last: a name is there before its context is.
    pub snapshots: &'s [Snapshot],
    /// Where the component of an application lies.
    pub component: &'s dyn Fn(&ApplicationId) -> PathBuf,
    /// The blobs, of which those go into it that a context has attached.
    pub blobs: Option<&'s Blobs>,
}

/// Writes a backup; `tell` hears how many contexts are written. Memory is bounded by a
/// chunk.
///
/// Of a context that is out of service only its id and what was found of it are written, so
/// that its neighbours can be backed up all the same; [`BackupCounts::left_out`] counts these, and
/// whoever keeps backups has to look at it. The same holds for blobs that are attached and not
/// there, damaged or not readable, and for [`BackupCounts::blobs_left_out`]. Fails if anything else that belongs into it
/// cannot be read: a backup with a hole that nobody knows of is none. If that is of a context it
/// is [`ExportError::Damaged`], which says of which one: once that is out of service the next backup
/// goes on without it.
pub fn write_backup(
    source: &BackupSource<'_>,
    out: impl Write,
    tell: &mut dyn FnMut(u64),
) -> Result<BackupCounts, ExportError> {
    let mut rows = RowWriter::new(FrameWriter::begin(out, ExportKind::Backup)?);
    let mut counts = BackupCounts::default();
    let shards = u16::try_from(source.snapshots.len()).expect("there are SHARDS_MAX at most");
    let id = source.node;
    rows.push(&Row::Node { id, shards })?;
    for snapshot in source.snapshots {
        let mut after = None;
        loop {
            let page = snapshot.contexts_found(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (id, found) in page {
                match reason_to_leave_out(snapshot, found)? {
                    Err(why) => {
                        rows.push(&Row::LeftOut { id, why: &why })?;
                        counts.left_out += 1;
                    }
                    Ok(mut record) => {
                        if is_anothers(&source.snapshots[0], &record)? {
                            record.name = None;
                        }
                        write_context(snapshot, &record, ExportScope::ALL, &mut rows)?;
                        counts.contexts += 1;
                        tell(counts.contexts);
                    }
                }
            }
        }
    }
    for snapshot in source.snapshots {
        for record in snapshot.applications()? {
            let path = (source.component)(&record.id);
            let id = *record.id.as_bytes();
            if write_file(FileKind::Component, id, &path, &mut rows)? != id {
                return Err(ExportError::WrongComponent { path });
            }
            counts.files += 1;
            counts.applications += 1;
            rows.push(&Row::Application(record))?;
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = snapshot.names(after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            // What is damaged of a name its context says as well.
            for (name, context) in page.iter().filter_map(|(_, found)| found.as_ref().ok()) {
                counts.names += 1;
                let context = *context;
                rows.push(&Row::Name { name, context })?;
            }
        }
    }
    if let Some(blobs) = source.blobs {
        write_blobs(blobs, source.snapshots, &mut rows, &mut counts)?;
    }
    rows.push(&Row::BackupEnd(counts))?;
    rows.end()?;
    Ok(counts)
}

/// Whether the name that a context has in its shard's snapshot is another's in that of the keeper,
/// which is younger: the context was deleted in between, and comes back without it.
fn is_anothers(keeper: &Snapshot, record: &ContextRecord) -> Result<bool, ExportError> {
    let Some(name) = &record.name else {
        return Ok(false);
    };
    match keeper.name(name) {
        Ok(holder) => Ok(holder.is_some_and(|holder| holder != record.id)),
        // What is damaged of a name its context says as well.
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A context that can be copied, or why it is left out.
fn reason_to_leave_out(
    snapshot: &Snapshot,
    found: Result<ContextRecord, StoreError>,
) -> Result<Result<ContextRecord, String>, ExportError> {
    let out_of_service = |record: &ContextRecord| snapshot.quarantined(record.slot);
    let damage = match found.and_then(|record| Ok((out_of_service(&record)?, record))) {
        Ok((None, record)) => return Ok(Ok(record)),
        Ok((Some(found), _)) => return Ok(Err(found.why)),
        // Either record says that it is not in service.
        Err(damage @ StoreError::Corrupt { .. }) => damage.to_string(),
        Err(error) => return Err(error.into()),
    };
    Ok(Err(cut(&damage).to_owned()))
}

/// Gives the digest of what was written: what nobody could restore is not to be found out then.
fn write_file(
    kind: FileKind,
    id: [u8; 32],
    path: &Path,
    rows: &mut impl RowSink,
) -> Result<[u8; 32], ExportError> {
    let failed = |source| ExportError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut part = Vec::with_capacity(PART_BYTES);
    let mut hasher = blake3::Hasher::new();
    let mut is_first = true;
    loop {
        part.clear();
        let limit = PART_BYTES as u64;
        (&mut file)
            .take(limit)
            .read_to_end(&mut part)
            .map_err(failed)?;
        if part.is_empty() && !is_first {
            return Ok(*hasher.finalize().as_bytes());
        }
        hasher.update(&part);
        is_first = false;
        let bytes = &part;
        rows.push(&Row::FilePart { kind, id, bytes })?;
    }
}

/// What is attached says which blobs these are, and not what lies among the files: one that is
/// lost has to be told, and one that somebody replaces is in no list for a moment.
fn write_blobs(
    blobs: &Blobs,
    snapshots: &[Snapshot],
    rows: &mut impl RowSink,
    counts: &mut BackupCounts,
) -> Result<(), ExportError> {
    let snapshots: Vec<&Snapshot> = snapshots.iter().collect();
    each_attached(&snapshots, &mut |blob, _| {
        let why = match write_blob(blobs, blob, rows) {
            Ok(true) => {
                counts.files += 1;
                return Ok(());
            }
            Ok(false) => "it is not on this node".to_owned(),
            Err(ExportError::Blob(error)) => reason_it_lacks(error)?,
            Err(error) => return Err(error),
        };
        tracing::error!(%blob, why, "an attached blob is not in the backup");
        counts.blobs_left_out += 1;
        let (id, why) = (blob, cut(&why));
        rows.push(&Row::BlobLeftOut { id, why })
    })
}

/// Why a blob is left out that could not be read. A bad sector under one file is as good as damage,
/// and must not keep all others from being copied. What the process lacks, though, would
/// leave out every blob, and is gone when the next backup is made.
fn reason_it_lacks(error: BlobError) -> Result<String, BlobError> {
    match error {
        BlobError::Damaged { .. } => Ok(error.to_string()),
        BlobError::File { ref source, .. } if !lacks_room(source) => {
            Ok(format!("{error}: {source}"))
        }
        error => Err(error),
    }
}

/// Whether the process or the machine has no file handle or memory left.
fn lacks_room(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOMEM].contains(&errno))
}

/// Says whether the blob is there. If it turns out in the middle that it cannot be read, some of it is
/// written.
fn write_blob(blobs: &Blobs, blob: BlobId, rows: &mut impl RowSink) -> Result<bool, ExportError> {
    let Some(mut reader) = blobs.reader(blob)? else {
        return Ok(false);
    };
    let (id, kind) = (*blob.as_bytes(), FileKind::Blob);
    let mut at = 0;
    loop {
        let bytes = reader.part(at)?;
        if bytes.is_empty() && at > 0 {
            return Ok(true);
        }
        rows.push(&Row::FilePart { kind, id, bytes })?;
        if bytes.is_empty() {
            return Ok(true);
        }
        at += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_cannot_be_read_is_left_out_unless_no_other_could_be_either() {
        let reason = |errno: Errno| {
            let path = PathBuf::from("blobs/ab/id");
            reason_it_lacks(BlobError::file("read", &path)(errno.into()))
        };
        let why = reason(Errno::IO).unwrap();
        assert!(why.starts_with("cannot read blobs/ab/id: "), "{why}");
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            reason(errno).unwrap_err();
        }
    }
}
