//! Ledgers are opened side by side: each is looked over and its journal brought in, which takes
//! one processor and the disk. Runs before there is any shard, on threads that end with it. What
//! opening does is the store's (`Ledger::open`).

use std::thread;

use corelet_store::{DataDir, Ledger, LedgerConfig, StoreError};

use crate::node::StartError;

/// Opens the ledgers of a data directory, in the order of its shards. Fails with the first
/// that does not open.
pub(crate) fn open_ledgers(
    data: &DataDir,
    config: &LedgerConfig,
) -> Result<Vec<Ledger>, StartError> {
    let side_by_side = thread::available_parallelism().map_or(1, usize::from);
    let shards: Vec<_> = data.manifest().shards.shards().collect();
    let mut ledgers = Vec::with_capacity(shards.len());
    for shards in shards.chunks(side_by_side) {
        let opened = thread::scope(|scope| {
            let open = |shard: &_| {
                let place = data.ledger_place(*shard);
                let thread = thread::Builder::new().name(format!("open-{shard}"));
                thread.spawn_scoped(scope, move || Ledger::open(&place, config))
            };
            let threads: Vec<_> = shards.iter().map(open).collect();
            let wait = |thread: Result<thread::ScopedJoinHandle<'_, _>, _>| {
                let thread = thread.map_err(|source| StartError::System {
                    what: "a thread that opens a ledger",
                    source,
                })?;
                match thread.join() {
                    Ok(opened) => Ok(opened),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            };
            let opened = threads.into_iter().map(wait);
            opened.collect::<Result<Vec<_>, StartError>>()
        })?;
        for (shard, opened) in shards.iter().zip(opened) {
            let failed = |source: StoreError| StartError::Ledger {
                shard: shard.number(),
                source,
            };
            ledgers.push(opened.map_err(failed)?);
        }
    }
    Ok(ledgers)
}
