//! Ledgers of older formats become ledgers of this one. Each step can be cut short
//! and done again: what tells how far it has come is on disk before the next
//! one. Called by `ledger.rs` when it opens a ledger of such a format.
//!
//! Format 1 had no journal; it becomes format 2 by the number of the first one.
//! Format 2 knew neither whose ledger it is nor how large its journal, and its
//! journal had no front; the calls in there go into LMDB, then a journal of this
//! format takes its place, and last the data file says that it is of this format.

use crate::error::{Loss, StoreError};
use crate::journal::{Generation, Journal};
use crate::ledger::{Ledger, LedgerConfig};
use crate::meta::Meta;

/// Takes over a ledger of `format`, 1 or 2.
pub(crate) fn take_over(
    meta: &Meta<'_>,
    format: u32,
    config: &LedgerConfig,
) -> Result<(), StoreError> {
    if format == 1 {
        begin_first_journal(meta)?;
    }
    let generation = bring_in_journal(meta, config)?;
    let journal_bytes = Journal::make(meta.place, generation.seed)?;
    meta.write_all(generation, journal_bytes)?;
    tracing::info!(
        shard = meta.place.identity().shard.number(),
        format,
        "took over a ledger of an older format"
    );
    Ok(())
}

fn begin_first_journal(meta: &Meta<'_>) -> Result<(), StoreError> {
    let generation = Generation::first();
    let unexpected = meta.place.journal();
    // A journal beside a data file that is too old to have one is a newer one's.
    if unexpected.exists() {
        return Err(StoreError::Stale {
            path: meta.place.data_file(),
            found: generation.number,
            journaled: generation.number + 1,
        });
    }
    meta.write_generation(generation)
}

/// Brings the calls in a journal of format 2 into LMDB.
fn bring_in_journal(meta: &Meta<'_>, config: &LedgerConfig) -> Result<Generation, StoreError> {
    let generation = meta.generation()?;
    let Some(mut journal) = Journal::open_before(meta.place, generation)? else {
        // It was made after the data file, when nothing had been committed.
        return match generation.is_first() {
            true => Ok(generation),
            false => Err(StoreError::lost(&meta.place.journal(), Loss::Missing)),
        };
    };
    journal.recover(&meta.place.data_file())?;
    let ledger = Ledger::with(meta.env.clone(), meta.tables, config, journal)?;
    ledger.writer().bring_in_journal()?;
    meta.generation()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bytes::Bytes;
    use heed::{Env, WithoutTls};

    use super::*;
    use crate::change::{CallEffects, Change, EntryKind, NewContext, Op};
    use crate::data_dir::{DataDir, OpenOptions};
    use crate::hlc::Hlc;
    use crate::ids::{ApplicationId, ContextId, ContextSlot, NodeId, ShardCount};
    use crate::layout::{
        FORMAT_VERSION, META_FORMAT, META_IDENTITY, META_JOURNAL, META_JOURNAL_FILE, Tables,
    };
    use crate::ledger::open_env;
    use crate::place::LedgerPlace;
    use crate::record::{FormatRecord, seal};

    const CONTEXT: ContextId = ContextId::from_bytes([1; 32]);

    /// The calls that an old ledger has in LMDB and in its journal.
    const CALLS: u64 = 5;

    fn config() -> LedgerConfig {
        LedgerConfig {
            map_bytes_max: 16 << 20,
            readers_max: 4,
            ..LedgerConfig::default()
        }
    }

    fn place_in(dir: &Path) -> LedgerPlace {
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: NodeId::from_bytes([4; 32]),
        };
        let data = DataDir::open(dir, &options).unwrap();
        data.ledger_place(options.shards_if_new.shards().next().unwrap())
    }

    fn call(n: u64) -> CallEffects {
        let value = Some(Bytes::copy_from_slice(&n.to_be_bytes()));
        CallEffects {
            context: CONTEXT,
            slot: ContextSlot::UNASSIGNED,
            author: NodeId::from_bytes([4; 32]),
            hlc: Hlc::from_bits(n << 12),
            ops: vec![Op {
                key: Bytes::from_static(b"n"),
                kind: EntryKind::Register,
                value,
            }],
            events: vec![],
            logs: vec![],
        }
    }

    /// A ledger with a context and calls of it, all but the first in its journal.
    fn ledger(place: &LedgerPlace) {
        let ledger = Ledger::open(place, &config()).unwrap();
        let new = NewContext {
            id: CONTEXT,
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: Hlc::ZERO,
            call: call(1),
        };
        ledger.commit(vec![Change::CreateContext(new)]).unwrap();
        let mut writer = ledger.writer();
        for n in 2..=CALLS {
            let outcome = writer.commit(vec![Change::Call(call(n))]).unwrap();
            assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
        }
    }

    /// The ledger's data file behind the back of [`Ledger::open`].
    fn with_env<T>(place: &LedgerPlace, work: impl FnOnce(&Env<WithoutTls>, Tables) -> T) -> T {
        let env = open_env(place, &config()).unwrap();
        let tables = Tables::open(&env).unwrap().unwrap();
        work(&env, tables)
    }

    /// Makes the ledger what the program of `format` would have left.
    fn make_old(place: &LedgerPlace, format: u32) {
        if format == 1 {
            // It had no journal, so everything was in LMDB.
            drop(Ledger::open(place, &config()).unwrap());
        }
        with_env(place, |env, tables| {
            let mut txn = env.write_txn().unwrap();
            let mut bytes = Vec::new();
            seal(&mut bytes, META_FORMAT, &FormatRecord { version: format });
            tables.meta.put(&mut txn, META_FORMAT, &bytes).unwrap();
            tables.meta.delete(&mut txn, META_IDENTITY).unwrap();
            tables.meta.delete(&mut txn, META_JOURNAL_FILE).unwrap();
            if format == 1 {
                tables.meta.delete(&mut txn, META_JOURNAL).unwrap();
            }
            txn.commit().unwrap();
        });
        let journal = fs::read(place.journal()).unwrap();
        match format {
            1 => fs::remove_file(place.journal()).unwrap(),
            _ => fs::write(place.journal(), &journal[8192..]).unwrap(),
        }
    }

    #[track_caller]
    fn check_whole(place: &LedgerPlace) {
        for _ in 0..2 {
            let ledger = Ledger::open(place, &config()).unwrap();
            let snapshot = ledger.snapshot().unwrap();
            let slot = snapshot.context(&CONTEXT).unwrap().unwrap().slot;
            let value = snapshot.get(slot, b"n").unwrap().unwrap();
            assert_eq!(value, CALLS.to_be_bytes());
            assert_eq!(crate::verify(&snapshot).unwrap().deltas, CALLS);
        }
        with_env(place, |env, tables| {
            let meta = Meta { place, env, tables };
            assert_eq!(meta.format().unwrap(), FORMAT_VERSION);
            meta.check_identity().unwrap();
        });
    }

    #[test]
    fn a_ledger_of_an_older_format_is_taken_over_with_its_journal() {
        for format in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let place = place_in(dir.path());
            ledger(&place);
            make_old(&place, format);
            check_whole(&place);
        }
    }

    #[test]
    fn a_takeover_that_was_cut_short_goes_on() {
        type Step = fn(&Meta<'_>);
        let steps: [(u32, Step); 4] = [
            (1, |meta| begin_first_journal(meta).unwrap()),
            (1, |meta| {
                begin_first_journal(meta).unwrap();
                let generation = bring_in_journal(meta, &config()).unwrap();
                Journal::make(meta.place, generation.seed).unwrap();
            }),
            (2, |meta| {
                bring_in_journal(meta, &config()).unwrap();
            }),
            (2, |meta| {
                let generation = bring_in_journal(meta, &config()).unwrap();
                Journal::make(meta.place, generation.seed).unwrap();
            }),
        ];
        for (format, step) in steps {
            let dir = tempfile::tempdir().unwrap();
            let place = place_in(dir.path());
            ledger(&place);
            make_old(&place, format);
            with_env(&place, |env, tables| {
                let place = &place;
                step(&Meta { place, env, tables });
            });
            check_whole(&place);
        }
    }

    #[test]
    fn an_old_copy_of_the_data_file_is_not_taken_over_beside_a_newer_journal() {
        for format in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let place = place_in(dir.path());
            ledger(&place);
            make_old(&place, format);
            let copy = fs::read(place.data_file()).unwrap();
            check_whole(&place);
            let ledger = Ledger::open(&place, &config()).unwrap();
            let verdicts = ledger.commit(vec![Change::Call(call(9))]).unwrap();
            verdicts[0].as_ref().unwrap();
            drop(ledger);
            fs::write(place.data_file(), copy).unwrap();
            let error = Ledger::open(&place, &config()).err().unwrap();
            assert!(matches!(error, StoreError::Stale { .. }), "{error}");
        }
    }

    #[test]
    fn a_journal_of_format_2_that_is_missing_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let place = place_in(dir.path());
        ledger(&place);
        make_old(&place, 2);
        fs::remove_file(place.journal()).unwrap();
        let error = Ledger::open(&place, &config()).err().unwrap();
        assert!(
            matches!(
                error,
                StoreError::Lost {
                    loss: Loss::Missing,
                    ..
                }
            ),
            "{error}"
        );
    }

    /// What the file says about its format is changed; opening it says so.
    #[test]
    fn a_ledger_of_another_format_is_refused() {
        fn check(format: &[u8], is_expected: fn(&StoreError) -> bool) {
            let dir = tempfile::tempdir().unwrap();
            let place = place_in(dir.path());
            with_env(&place, |env, tables| {
                let mut txn = env.write_txn().unwrap();
                tables.meta.put(&mut txn, META_FORMAT, format).unwrap();
                txn.commit().unwrap();
            });
            let error = Ledger::open(&place, &config()).err().unwrap();
            assert!(is_expected(&error) && !error.is_fatal(), "{error}");
        }
        let mut later = Vec::new();
        seal(&mut later, META_FORMAT, &FormatRecord { version: 4 });
        check(&later, |error| {
            matches!(
                error,
                StoreError::WrongFormat {
                    found: 4,
                    supported: 3,
                    ..
                }
            )
        });
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
