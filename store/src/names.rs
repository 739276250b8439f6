//! Names that point nowhere, and names of which the record is damaged. A name and the context
//! that it stands for may lie in different ledgers, so that a crash between two commits can
//! leave a name without a context. `main` reconciles all ledgers once, before any serves:
//! one damaged record keeps none of the others from that.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextId, ShardCount, ShardId};
use crate::ledger::Ledger;
use crate::snapshot::Snapshot;

/// How many names are looked at and removed at a time.
const NAMES_PER_STEP: usize = 1024;

/// What has become of names.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Those that were freed, as their context does not exist. What is no text of one that was
    /// damaged is shown as U+FFFD.
    pub freed: Vec<String>,
    /// Those of which the record was damaged or lost, and that their contexts have again.
    pub mended: Vec<String>,
    /// Damaged records that stay: a context that cannot be read may have the name.
    pub damaged: Vec<StoreError>,
}

/// Frees every name whose context does not exist, and writes anew what is damaged of the
/// others: a context's record says its name as well. `ledgers` are all shards of one data
/// directory, in order. A context whose record is damaged exists.
pub fn reconcile_names(ledgers: &[Ledger]) -> Result<Reconciled, StoreError> {
    let count = u16::try_from(ledgers.len()).ok().and_then(ShardCount::new);
    let count = count.expect("a data directory has between 1 and SHARDS_MAX shards");
    let mut reconciled = Reconciled::default();
    for keeper in ledgers {
        let snapshots = ledgers
            .iter()
            .map(Ledger::snapshot)
            .collect::<Result<Vec<_>, _>>()?;
        let exists = |id: &ContextId| -> Result<bool, StoreError> {
            let owner: &Snapshot = &snapshots[usize::from(ShardId::of(id, count).number())];
            match owner.context(id) {
                Ok(found) => Ok(found.is_some()),
                Err(StoreError::Corrupt { .. }) => Ok(true),
                Err(error) => Err(error),
            }
        };
        let names = keeper.snapshot()?;
        let mut after: Option<Vec<u8>> = None;
        let mut damaged = Vec::new();
        loop {
            let step = names.names(after.as_deref(), NAMES_PER_STEP)?;
            let Some((last, _)) = step.last() else { break };
            after = Some(last.clone());
            let mut dangling = Vec::new();
            for (key, found) in step {
                match found {
                    Ok((name, context)) if !exists(&context)? => dangling.push((name, context)),
                    Ok(_) => {}
                    Err(error @ StoreError::Corrupt { .. }) => {
                        damaged.push((key, error));
                    }
                    Err(error) => return Err(error),
                }
            }
            if dangling.is_empty() {
                continue;
            }
            let removal = |(name, context): &(String, ContextId)| Change::RemoveName {
                name: name.clone(),
                context: *context,
            };
            keeper.commit(dangling.iter().map(removal).collect())?;
            reconciled
                .freed
                .extend(dangling.into_iter().map(|(name, _)| name));
        }
        drop(names);
        if !damaged.is_empty() {
            mend(keeper, &snapshots, damaged, &mut reconciled)?;
        }
    }
    Ok(reconciled)
}

/// Writes the records anew that are damaged, and those that are lost: a bit of a key may have
/// been hit. What is left of them is nobody's if all contexts can be read.
fn mend(
    keeper: &Ledger,
    snapshots: &[Snapshot],
    damaged: Vec<(Vec<u8>, StoreError)>,
    reconciled: &mut Reconciled,
) -> Result<(), StoreError> {
    let (lost, are_all_read) = lost_names(keeper, snapshots)?;
    // By their bytes: no name has them if one bit of a key was hit.
    let is_lost = |key: &[u8]| str::from_utf8(key).is_ok_and(|name| lost.contains_key(name));
    let mut left = Vec::new();
    for (key, error) in damaged {
        match are_all_read || is_lost(&key) {
            true => left.push(key),
            false => reconciled.damaged.push(error),
        }
    }
    let put = |(name, (_, context)): (&String, &(Hlc, ContextId))| Change::PutName {
        name: name.clone(),
        context: *context,
    };
    // At once: without its damaged record nothing would say that a name is lost.
    let changes = left
        .iter()
        .map(|key| Change::DropDamagedName(key.clone()))
        .chain(lost.iter().map(put));
    keeper.commit(changes.collect())?;
    left.retain(|key| !is_lost(key));
    let shown = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
    reconciled.freed.extend(left.iter().map(shown));
    reconciled.mended.extend(lost.into_keys());
    Ok(())
}

/// The names that contexts say they have, of which the directory does not say who has them; and
/// whether every context could be read. Of two that say the same it is the younger one's.
#[expect(clippy::type_complexity, reason = "a map and a word about it")]
fn lost_names(
    keeper: &Ledger,
    snapshots: &[Snapshot],
) -> Result<(BTreeMap<String, (Hlc, ContextId)>, bool), StoreError> {
    let directory = keeper.snapshot()?;
    let (mut lost, mut are_all_read) = (BTreeMap::new(), true);
    for snapshot in snapshots {
        let mut after = None;
        loop {
            let page = snapshot.contexts_found(after, NAMES_PER_STEP)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (context, record) in page {
                let record = match record {
                    Ok(record) => record,
                    Err(StoreError::Corrupt { .. }) => {
                        are_all_read = false;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let Some(name) = record.name else { continue };
                match directory.name(&name) {
                    Ok(Some(_)) => continue,
                    Ok(None) | Err(StoreError::Corrupt { .. }) => {}
                    Err(error) => return Err(error),
                }
                let holder = lost.entry(name).or_insert((record.created, context));
                *holder = (*holder).max((record.created, context));
            }
        }
    }
    Ok((lost, are_all_read))
}

#[cfg(test)]
mod tests;
