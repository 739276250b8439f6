//! A context into a data directory that no server has open: onto the shard where it
//! belongs, with its name if that is free. Start at [`import_into`].

use std::io::Read;
use std::path::Path;

use super::row::Row;
use super::{Arrival, CopiedContext, Intake, authors, each_row, take_back};
use crate::blobs::Blobs;
use crate::change::Change;
use crate::data_dir::{DataDir, OpenOptions};
use crate::error::{ImportError, Refused, StoreError};
use crate::ids::{BlobId, ContextId, ShardCount, ShardId};
use crate::ledger::{Ledger, LedgerConfig};
use crate::names::reconcile_names;
use crate::writer::LedgerWriter;

/// A data directory that no server has open.
pub struct ImportPlace<'p> {
    /// Where it is.
    pub path: &'p Path,
    /// Bounds of its ledgers.
    pub ledger: LedgerConfig,
    /// When, and how far the copy is believed.
    pub arrival: Arrival,
}

/// Of the blobs that are not here, so many are told by their ids.
const MISSING_MAX: usize = 1000;

/// A context that was taken in, and what it lacks here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The context.
    pub context: CopiedContext,
    /// The name that it has had, if that is another context's here, and whose.
    pub name_taken: Option<(String, ContextId)>,
    /// Whether its application is installed.
    pub is_installed: bool,
    /// The first of the blobs that it has attached and that are not here.
    pub blobs_missing: Vec<BlobId>,
    /// How many there are.
    pub blobs_missing_count: u64,
}

/// Takes in a context under the id that it has. Another context may have its name: then it
/// has none.
///
/// If it fails nothing of the context is there. `input` is read as by
/// [`import_context`](super::import_context).
pub fn import_into(
    place: &ImportPlace<'_>,
    input: impl Read + Send + 'static,
) -> Result<Imported, ImportError> {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).expect("one shard is the least"),
        node_id_if_new: DataDir::node_of(place.path)?,
    };
    let data = DataDir::open(place.path, &options)?;
    let count = data.manifest().shards;
    let mut ledgers = Vec::new();
    for shard in count.shards() {
        ledgers.push(Ledger::open(&data.ledger_place(shard), &place.ledger)?);
    }
    // An import that was cut short may have left the name without its context, and it would be
    // taken for another's.
    reconcile_names(&ledgers)?;
    let mut writers: Vec<LedgerWriter<'_>> = ledgers.iter().map(Ledger::writer).collect();
    let known = writers.iter_mut().map(authors);
    let known = known.collect::<Result<Vec<_>, _>>()?;
    let mut intake = Intake::of_copy(place.arrival);
    let mut owner = 0;
    let mut name = None;
    let mut name_taken = None;
    let came = each_row(input, &mut |row| {
        let Row::Context { id, .. } = row.row else {
            return intake.row(&mut writers[owner], row);
        };
        owner = usize::from(ShardId::of(&id, count).number());
        intake.row(&mut writers[owner], row)?;
        // A name first, as a start frees one whose context is not there.
        let wanted = intake.announced.as_mut().and_then(|it| it.name.take());
        let Some(wanted) = wanted else { return Ok(()) };
        if let Some(holder) = take_name(&mut writers[0], &wanted, id)? {
            name_taken = Some((wanted, holder));
            return Ok(());
        }
        name = Some((wanted.clone(), id));
        if let Some(announced) = &mut intake.announced {
            announced.name = Some(wanted);
        }
        Ok(())
    });
    let taken = came.and_then(|()| intake.finish(&mut writers[owner]));
    if taken.is_err() {
        take_back(&mut writers[owner], known[owner]);
        if let Some((name, context)) = name
            && let Err(error) = writers[0].commit_shown(vec![Change::RemoveName { name, context }])
        {
            tracing::warn!(%error, "the name of a refused copy is still there; the next start frees it");
        }
    }
    let mut imported = Imported {
        context: taken?,
        name_taken,
        is_installed: true,
        blobs_missing: Vec::new(),
        blobs_missing_count: 0,
    };
    // It is here, whatever cannot be looked at.
    if let Err(error) = look_round(&mut imported, &data, &mut writers, owner) {
        tracing::warn!(%error, "what the context lacks here cannot be told");
    }
    Ok(imported)
}

/// Looks what the context lacks here.
fn look_round(
    imported: &mut Imported,
    data: &DataDir,
    writers: &mut [LedgerWriter<'_>],
    owner: usize,
) -> Result<(), StoreError> {
    let application = writers[0]
        .snapshot()?
        .application(&imported.context.application)?;
    imported.is_installed = application.is_some();
    let snapshot = writers[owner].snapshot()?;
    let Some(slot) = snapshot.slot_of(&imported.context.id)? else {
        return Ok(());
    };
    let blobs = Blobs::look(data.blobs_dir());
    snapshot.each_attached_to(slot, &mut |blob| {
        // What is damaged is here, and told by a check.
        if matches!(blobs.entry(blob), Ok(None)) {
            imported.blobs_missing_count += 1;
            if imported.blobs_missing.len() < MISSING_MAX {
                imported.blobs_missing.push(blob);
            }
        }
    })
}

/// Gives the context the name, unless another has it: then gives that.
fn take_name(
    keeper: &mut LedgerWriter<'_>,
    name: &str,
    context: ContextId,
) -> Result<Option<ContextId>, StoreError> {
    // What a context that exists already has stays its own.
    if let Some(holder) = keeper.snapshot()?.name(name)? {
        return Ok(Some(holder));
    }
    let name = name.to_owned();
    let outcome = keeper.commit_shown(vec![Change::PutName { name, context }])?;
    Ok(outcome
        .verdicts
        .into_iter()
        .find_map(|verdict| match verdict {
            Err(Refused::NameTaken { holder, .. }) => Some(holder),
            _ => None,
        }))
}
