//! What the writer knows before its first commit, as the ledger on disk has it: the numbers to be
//! given next. What the journal has is brought in behind that (see `writer.rs`).

use std::collections::BTreeMap;

use heed::{Env, RoTxn, WithoutTls};

use super::room::pages_used;
use super::{Counters, WriterState};
use crate::authors::Authors;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::ContextSlot;
use crate::journal::Journal;
use crate::layout::{self, META_COUNTERS, META_SLOTS, Tables};
use crate::ledger::{LedgerConfig, engine_error};
use crate::record::{CountersRecord, Head, Logged, SlotsRecord, open};
use crate::reserve::Reserve;
use crate::retention::Round;
use crate::trie_cache::TrieCache;

impl WriterState {
    /// Reads from the ledger what is to be known before the first commit.
    pub(crate) fn load(
        env: &Env<WithoutTls>,
        tables: Tables,
        config: &LedgerConfig,
        journal: Journal,
        reserve: Reserve,
    ) -> Result<WriterState, StoreError> {
        let failed = |error| engine_error("read the counters of", error, env);
        let txn = env.read_txn().map_err(failed)?;
        let slot = next_slot(env, tables, &txn)?;
        let last = tables.log.last(&txn).map_err(failed)?;
        let position = match last {
            Some((key, _)) => {
                let corrupt =
                    || StoreError::corrupt("log record", key, "its key is not 8 bytes long");
                layout::read_u64(key).ok_or_else(corrupt)? + 1
            }
            None => 1,
        };
        let last_hlc = match last {
            Some((key, bytes)) => match stamp_of(key, bytes) {
                Ok(hlc) => hlc,
                // One damaged record must not keep the whole shard down, and
                // the heads know the stamps as well.
                Err(error) => {
                    tracing::error!(%error, "the newest log record is damaged");
                    newest_stamp_of_heads(env, tables, &txn)?
                }
            },
            None => Hlc::ZERO,
        };
        let (position, last_hlc) = match tables.meta.get(&txn, META_COUNTERS).map_err(failed)? {
            Some(bytes) => {
                let noted = open::<CountersRecord>(META_COUNTERS, bytes)?;
                let hlc = Hlc::from_bits(noted.hlc.to_native());
                (position.max(noted.position.to_native()), last_hlc.max(hlc))
            }
            None => (position, last_hlc),
        };
        // Each transaction loads them; here they are only checked.
        Authors::load(env, tables, &txn)?;
        Ok(WriterState {
            next: Counters {
                slot,
                position,
                last_hlc,
            },
            journal,
            checkpoint_contexts_max: config.checkpoint_contexts_max,
            answers: config.answers.clone(),
            contexts: config.contexts,
            pages: pages_used(env),
            pages_max: env.info().map_size as u64 / layout::PAGE_BYTES,
            reserve,
            is_turn_due: false,
            round: Round::default(),
            is_unswept: false,
            is_unpacked: false,
            tries: TrieCache::new(config.trie_bytes_max),
            authors_used: BTreeMap::new(),
            authors_noted_from: 0,
            is_stopped: false,
        })
    }
}

/// The slot to be given next.
pub(crate) fn next_slot(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<u64, StoreError> {
    let failed = |error| engine_error("read the counters of", error, env);
    let slot = match tables.meta.get(txn, META_SLOTS).map_err(failed)? {
        Some(bytes) => open::<SlotsRecord>(META_SLOTS, bytes)?.next.to_native(),
        None => ContextSlot::FIRST,
    };
    // A slot that is given twice would mix two contexts.
    for table in [tables.heads, tables.graves] {
        let last = table.last(txn).map_err(failed)?;
        let last = last.and_then(|(key, _)| layout::read_u64(key));
        if last.is_some_and(|last| last >= slot) {
            let why = "slots beyond it have been given";
            return Err(StoreError::corrupt("slots record", META_SLOTS, why));
        }
    }
    Ok(slot)
}

fn stamp_of(key: &[u8], bytes: &[u8]) -> Result<Hlc, StoreError> {
    Ok(Logged::read(key, bytes)?.delta(key)?.hlc())
}

fn newest_stamp_of_heads(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RoTxn<'_, WithoutTls>,
) -> Result<Hlc, StoreError> {
    let failed = |error| engine_error("read the heads of", error, env);
    let mut newest = Hlc::ZERO;
    for row in tables.heads.iter(txn).map_err(failed)? {
        let (key, bytes) = row.map_err(failed)?;
        newest = newest.max(Head::read(key, bytes)?.hlc);
    }
    Ok(newest)
}
