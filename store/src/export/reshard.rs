//! Another number of shards for a data directory that no server has open. New ledgers
//! are filled beside the old ones, from their snapshots, each context compared with its
//! root; then the manifest is changed, which decides, and the old ones are removed
//! (`data_dir.rs`). A run that is cut short before that has changed nothing, and what it
//! left goes with the next start; one that is cut short behind it, or fails there, is finished by that.
//! Needs as much free disk as the ledgers take. Start at [`reshard`].

use std::path::Path;

use super::Intake;
use super::inspect::Inspector;
use super::row::Row;
use super::source::{ExportScope, RowSink, write_context};
use crate::change::Change;
use crate::create::create;
use crate::data_dir::{DataDir, OpenOptions, make_private_dir, place_in, sync_dir};
use crate::error::{ExportError, ImportError, StoreError};
use crate::ids::{NodeId, ShardCount, ShardId};
use crate::ledger::{Ledger, LedgerConfig};
use crate::manifest::Manifest;
use crate::names::reconcile_names;
use crate::snapshot::Snapshot;
use crate::writer::LedgerWriter;

/// Contexts, names and applications at a time.
const PAGE: usize = 256;

/// Bytes of applications that are committed at a time: far less than a batch takes.
const STEP_BYTES: u64 = 8 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resharded {
    /// How many shards there were.
    pub before: ShardCount,
    /// How many there are now.
    pub now: ShardCount,
    /// Contexts that were copied; none if there was nothing to do.
    pub contexts: u64,
}

/// Gives the data directory at `path` another number of shards; `tell` hears how many of how
/// many contexts are copied.
///
/// Fails if a server has it open, anything in it is damaged, or the disk is full or fails; then it
/// is as it was. Only after [`ExportError::Unfinished`] the change is decided: whoever opens the
/// directory next finishes it.
pub fn reshard(
    path: &Path,
    shards: ShardCount,
    config: &LedgerConfig,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Resharded, ExportError> {
    if !DataDir::is_one(path) {
        let path = path.to_owned();
        return Err(StoreError::NoData { path }.into());
    }
    let options = OpenOptions {
        shards_if_new: shards,
        node_id_if_new: NodeId::from_bytes([0; 32]),
    };
    let mut data = DataDir::open(path, &options)?;
    let before = data.manifest().shards;
    let mut resharded = Resharded {
        before,
        now: shards,
        contexts: 0,
    };
    if before == shards {
        return Ok(resharded);
    }
    let mut old = Vec::new();
    for shard in before.shards() {
        old.push(Ledger::open(&data.ledger_place(shard), config)?);
    }
    // What a crash has left would otherwise be in the way of its own check.
    reconcile_names(&old)?;
    data.clear_shards_new()?;
    let manifest = Manifest::new(shards, data.manifest().node_id);
    let filled = fill(&data, &manifest, &old, config, tell);
    drop(old);
    resharded.contexts = filled.inspect_err(|_| give_room_back(&data))?;
    match data.switch(&manifest) {
        Ok(()) => Ok(resharded),
        Err(source) if data.may_say(&manifest) => Err(ExportError::Unfinished { source }),
        Err(error) => {
            give_room_back(&data);
            Err(error.into())
        }
    }
}

/// Removes what was made in vain: its room is most wanted where it has just run out.
fn give_room_back(data: &DataDir) {
    if let Err(error) = data.clear_shards_new() {
        tracing::warn!(%error, "what was copied so far is still there; the next start removes it");
    }
}

/// Makes the new ledgers beside the old ones, and fills them.
fn fill(
    data: &DataDir,
    manifest: &Manifest,
    old: &[Ledger],
    config: &LedgerConfig,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<u64, ExportError> {
    let (dir, shards) = (data.shards_new(), manifest.shards);
    make_private_dir(&dir)?;
    let mut new = Vec::new();
    for shard in shards.shards() {
        let place = place_in(&dir, manifest.data_id, shard);
        create(&place)?;
        new.push(Ledger::open(&place, config)?);
    }
    sync_dir(&dir)?;
    let contexts = copy_all(old, &new, shards, tell)?;
    compare(old, &new, shards)?;
    Ok(contexts)
}

fn copy_all(
    old: &[Ledger],
    new: &[Ledger],
    shards: ShardCount,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<u64, ExportError> {
    let snapshots = old.iter().map(Ledger::snapshot);
    let snapshots = snapshots.collect::<Result<Vec<_>, _>>()?;
    let counts = snapshots.iter().map(Snapshot::context_count);
    let of = counts.sum::<Result<u64, _>>()?;
    let mut writers: Vec<LedgerWriter<'_>> = new.iter().map(Ledger::writer).collect();
    let mut copied = 0;
    for snapshot in &snapshots {
        let mut after = None;
        loop {
            let page = snapshot.contexts(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for record in &page {
                let shard = usize::from(ShardId::of(&record.id, shards).number());
                let mut handed = Handed {
                    writer: &mut writers[shard],
                    intake: Intake::of_own(),
                    inspector: Inspector::default(),
                };
                write_context(snapshot, record, ExportScope::ALL, &mut handed)?;
                let Handed { writer, intake, .. } = handed;
                intake.finish(writer).map_err(refused)?;
                copied += 1;
                tell(copied, of);
            }
        }
        copy_directory(snapshot, &mut writers[0])?;
    }
    Ok(copied)
}

/// Applications and names, which one shard keeps.
fn copy_directory(snapshot: &Snapshot, keeper: &mut LedgerWriter<'_>) -> Result<(), ExportError> {
    let mut commit = |batch: Vec<Change>| -> Result<(), ExportError> {
        for verdict in keeper.commit_shown(batch)?.verdicts {
            if verdict.is_err() {
                let why = "a name or an application is kept twice";
                return Err(refused(ImportError::malformed(why)));
            }
        }
        Ok(())
    };
    let mut batch = Vec::new();
    let mut bytes = 0;
    for application in snapshot.applications()? {
        let change = Change::PutApplication(application);
        bytes += change.bytes();
        batch.push(change);
        if bytes >= STEP_BYTES {
            commit(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    commit(batch)?;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = snapshot.names(after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        // One that is damaged is no context's of those that were read, and those are all.
        let sound = page.into_iter().filter_map(|(_, found)| found.ok());
        let put = |(name, context)| Change::PutName { name, context };
        commit(sound.map(put).collect())?;
    }
    Ok(())
}

/// Every context is where it belongs, and is the same.
fn compare(old: &[Ledger], new: &[Ledger], shards: ShardCount) -> Result<(), ExportError> {
    let snapshots = new.iter().map(Ledger::snapshot);
    let snapshots = snapshots.collect::<Result<Vec<_>, _>>()?;
    let mut missing = snapshots
        .iter()
        .map(Snapshot::context_count)
        .sum::<Result<u64, _>>()?;
    for ledger in old {
        let snapshot = ledger.snapshot()?;
        let mut after = None;
        loop {
            let page = snapshot.contexts(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for record in page {
                let wrong = |why| StoreError::corrupt("copied context", record.id.as_bytes(), why);
                let copy = &snapshots[usize::from(ShardId::of(&record.id, shards).number())];
                let there = copy
                    .context(&record.id)?
                    .ok_or_else(|| wrong("it is missing"))?;
                let (here, there) = (snapshot.head(record.slot)?, copy.head(there.slot)?);
                if (here.root, here.version, here.bytes) != (there.root, there.version, there.bytes)
                {
                    return Err(wrong("it is another than its original").into());
                }
                missing = missing.saturating_sub(1);
            }
        }
    }
    match missing {
        0 => Ok(()),
        _ => Err(StoreError::corrupt("copied ledgers", b"", "they hold more contexts").into()),
    }
}

/// Rows that go straight into another ledger.
struct Handed<'h, 'l> {
    writer: &'h mut LedgerWriter<'l>,
    intake: Intake<'l>,
    inspector: Inspector,
}

impl RowSink for Handed<'_, '_> {
    fn push(&mut self, row: &Row<'_>) -> Result<(), ExportError> {
        let inspected = self.inspector.row(row.clone()).map_err(refused)?;
        self.intake.row(self.writer, inspected).map_err(refused)
    }
}

fn refused(error: ImportError) -> ExportError {
    match error {
        ImportError::Store(error) => ExportError::Store(error),
        error => ExportError::Refused(Box::new(error)),
    }
}
