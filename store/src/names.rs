//! Names that point nowhere. A name and the context that it stands for may lie
//! in different ledgers, so that a crash between two commits can leave a name
//! without a context. `main` reconciles all ledgers once, before any serves.

use crate::change::Change;
use crate::error::StoreError;
use crate::ids::{ContextId, ShardCount, ShardId};
use crate::ledger::Ledger;
use crate::snapshot::Snapshot;

/// How many names are looked at and removed at a time.
const NAMES_PER_STEP: usize = 1024;

/// Frees every name whose context does not exist and gives their list.
/// `ledgers` are all shards of one data directory, in order.
pub fn reconcile_names(ledgers: &[Ledger]) -> Result<Vec<String>, StoreError> {
    let count = u16::try_from(ledgers.len()).ok().and_then(ShardCount::new);
    let count = count.expect("a data directory has between 1 and SHARDS_MAX shards");
    let mut freed = Vec::new();
    for keeper in ledgers {
        let snapshots = ledgers
            .iter()
            .map(Ledger::snapshot)
            .collect::<Result<Vec<_>, _>>()?;
        let exists = |id: &ContextId| -> Result<bool, StoreError> {
            let owner: &Snapshot = &snapshots[usize::from(ShardId::of(id, count).number())];
            Ok(owner.context(id)?.is_some())
        };
        let names = keeper.snapshot()?;
        let mut after: Option<String> = None;
        loop {
            let step = names.names(after.as_deref(), NAMES_PER_STEP)?;
            let Some((last, _)) = step.last() else { break };
            after = Some(last.clone());
            let mut dangling = Vec::new();
            for (name, context) in step {
                if !exists(&context)? {
                    dangling.push(name);
                }
            }
            if dangling.is_empty() {
                continue;
            }
            let batch = dangling
                .iter()
                .map(|name| Change::RemoveName { name: name.clone() })
                .collect();
            keeper.commit(batch)?;
            freed.append(&mut dangling);
        }
    }
    Ok(freed)
}
