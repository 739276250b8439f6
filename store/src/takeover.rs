//! A ledger of format 3 becomes one of this format, in one transaction: it is of the
//! one or of the other, whatever happens in between. Called by `ledger.rs` when it
//! opens a ledger of that format. One of format 4 or later lacks tables only,
//! if anything, which `ledger.rs` makes, and later programs may write what a program of that format
//! does not know.
//!
//! Format 3 had registers alone, in one space, whose records are the same here. Its deltas
//! have another form and were never sent to anybody, so they go: the newest of
//! each context is what the next one follows. Its heads say less, and its roots were
//! sums. Its journal has the same form with the old deltas in it, whose calls are made
//! again after all else. What is done to the tables is in `apply/takeover.rs`.

use bytes::Bytes;

use crate::apply::{ContextBounds, Pass};
use crate::change::{CallEffects, Event, Op, Write};
use crate::delta::{MalformedDelta, Reader};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, NodeId};
use crate::journal::Journal;
use crate::layout;
use crate::ledger::{LedgerConfig, engine_error};
use crate::meta::Meta;
use crate::record::Head;
use crate::trie_cache::TrieCache;
use crate::writer::{Counters, next_slot};

/// The oldest format that is taken over.
pub(crate) const OLDEST: u32 = 3;

/// The position of the log at which the deltas of format 3 are said to have been.
pub(crate) const LOG_PRUNED: u64 = 1;

/// Takes over a ledger of format 3.
pub(crate) fn take_over(meta: &Meta<'_>, config: &LedgerConfig) -> Result<(), StoreError> {
    let mut generation = meta.generation()?;
    let bytes_noted = meta.journal_bytes()?;
    let mut journal = Journal::open(
        meta.place,
        config.journal_bytes_max,
        bytes_noted,
        generation,
    )?;
    journal.recover(&meta.place.data_file())?;
    let mut pass = Pass::begin(
        meta.env,
        meta.tables,
        counters(meta)?,
        config.answers.clone(),
        ContextBounds::NONE,
        TrieCache::new(0),
    )?;
    pass.take_over()?;
    let calls = journal.replay(|call| {
        let malformed = |_| {
            let slot = layout::slot_key(call.slot);
            StoreError::corrupt("journaled delta", &slot, "its bytes are malformed")
        };
        pass.replay_call(&read_call(call.slot, call.canonical).map_err(malformed)?)
    })?;
    generation.number += 1;
    pass.finish(generation, bytes_noted)?;
    tracing::info!(
        shard = meta.place.identity().shard.number(),
        format = OLDEST,
        calls,
        "took over a ledger of an older format"
    );
    Ok(())
}

/// The numbers to be given next: heads tell the newest stamp, and no position of the
/// log is in use any more.
fn counters(meta: &Meta<'_>) -> Result<Counters, StoreError> {
    let failed = |error| engine_error("read the heads of", error, meta.env);
    let txn = meta.env.read_txn().map_err(failed)?;
    let mut last_hlc = Hlc::ZERO;
    for row in meta.tables.heads.iter(&txn).map_err(failed)? {
        let (key, bytes) = row.map_err(failed)?;
        last_hlc = last_hlc.max(Head::read_format_3(key, bytes)?.hlc);
    }
    Ok(Counters {
        slot: next_slot(meta.env, meta.tables, &txn)?,
        // As if the log had been pruned up to here.
        position: LOG_PRUNED + 1,
        last_hlc,
    })
}

/// Reads a delta of format 3 as the call that has made it. All numbers little-endian: magic
/// "CLD1", context (32), author (32), HLC (8), parent count (2) and parents (32
/// each), op count (4) and ops (kind (1), 1 for a write or 0 for a removal (1), key
/// length (2), key, and for a write value length (4), value), event count (4) and
/// events (kind length (2), kind, payload length (4), payload), root (32).
fn read_call(slot: ContextSlot, bytes: &[u8]) -> Result<CallEffects, MalformedDelta> {
    let mut rest = Reader(bytes);
    if rest.array::<4>()? != b"CLD1" {
        return Err(MalformedDelta("it does not begin with CLD1"));
    }
    let context = ContextId::from_bytes(*rest.array()?);
    let author = NodeId::from_bytes(*rest.array()?);
    let hlc = Hlc::from_bits(u64::from_le_bytes(*rest.array()?));
    let parents = u16::from_le_bytes(*rest.array()?);
    rest.bytes(32 * usize::from(parents))?;
    let op = |rest: &mut Reader<'_>| {
        let &[_, is_write] = rest.array()?;
        let key = rest.u16()?;
        let key = Bytes::copy_from_slice(rest.bytes(key.into())?);
        let write = match is_write {
            0 => Write::Remove,
            _ => {
                let value = rest.u32()?;
                Write::Set(Bytes::copy_from_slice(rest.bytes(value as usize)?))
            }
        };
        Ok(Op::shared(key, write))
    };
    let ops = rest.u32()?;
    let ops = (0..ops).map(|_| op(&mut rest)).collect::<Result<_, _>>()?;
    let event = |rest: &mut Reader<'_>| {
        let kind = rest.u16()?;
        let kind = String::from_utf8_lossy(rest.bytes(kind.into())?).into_owned();
        let payload = rest.u32()?;
        Ok(Event {
            kind,
            payload: Bytes::copy_from_slice(rest.bytes(payload as usize)?),
        })
    };
    let events = rest.u32()?;
    let events = (0..events)
        .map(|_| event(&mut rest))
        .collect::<Result<_, _>>()?;
    rest.bytes(32)?;
    rest.end()?;
    Ok(CallEffects {
        context,
        slot,
        author,
        hlc,
        read: None,
        ops,
        events,
        answer: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::{DataDir, OpenOptions};
    use crate::ids::ShardCount;
    use crate::layout::{FORMAT_VERSION, META_FORMAT, Tables};
    use crate::ledger::{Ledger, open_env};
    use crate::record::{FormatRecord, seal};

    /// What the file says about its format is changed; opening it says so.
    #[test]
    fn a_ledger_of_another_format_is_refused() {
        fn check(format: &[u8], is_expected: fn(&StoreError) -> bool) {
            let dir = tempfile::tempdir().unwrap();
            let options = OpenOptions {
                shards_if_new: ShardCount::new(1).unwrap(),
                node_id_if_new: NodeId::from_bytes([4; 32]),
            };
            let data = DataDir::open(dir.path(), &options).unwrap();
            let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
            let config = LedgerConfig {
                map_bytes_max: 16 << 20,
                readers_max: 4,
                ..LedgerConfig::default()
            };
            let env = open_env(&place, &config).unwrap();
            let tables = Tables::open(&env).unwrap().unwrap();
            let mut txn = env.write_txn().unwrap();
            tables.meta.put(&mut txn, META_FORMAT, format).unwrap();
            txn.commit().unwrap();
            drop(env);
            let error = Ledger::open(&place, &config).err().unwrap();
            assert!(is_expected(&error) && !error.is_fatal(), "{error}");
        }
        let says = |version| {
            let mut record = Vec::new();
            seal(&mut record, META_FORMAT, &FormatRecord { version });
            record
        };
        let is_wrong = |error: &StoreError| {
            matches!(
                error,
                StoreError::WrongFormat {
                    found: 2 | 11,
                    supported: FORMAT_VERSION,
                    ..
                }
            )
        };
        check(&says(FORMAT_VERSION + 1), is_wrong);
        check(&says(OLDEST - 1), is_wrong);
        check(b"?", |error| {
            matches!(
                error,
                StoreError::Corrupt {
                    what: "format record",
                    ..
                }
            )
        });
    }
}
