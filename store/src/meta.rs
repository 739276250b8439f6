//! What a ledger says about itself, in its table `meta`: format, identity, and
//! where its journal stands. Read when a ledger is opened, written when one is
//! made; at a checkpoint `apply` writes the journal's part. What becomes of older
//! formats is in `takeover.rs`.

use heed::{Env, RwTxn, WithoutTls};

use crate::error::StoreError;
use crate::ids::{DataId, ShardId};
use crate::journal::Generation;
use crate::layout::{
    FORMAT_VERSION, META_COUNTERS, META_FORMAT, META_IDENTITY, META_JOURNAL, META_JOURNAL_FILE,
    Table, Tables,
};
use crate::ledger::{commit_error, engine_error};
use crate::place::{LedgerIdentity, LedgerPlace};
use crate::record::{
    CountersRecord, FormatRecord, IdentityRecord, JournalFileRecord, JournalRecord, Record, open,
    seal,
};
use crate::takeover;
use crate::writer::next_slot;

/// The table `meta` of the ledger in `place`.
pub(crate) struct Meta<'l> {
    pub(crate) place: &'l LedgerPlace,
    pub(crate) env: &'l Env<WithoutTls>,
    pub(crate) tables: Tables,
}

/// The version of the format of the ledger in `place`, by its table `meta`. One that
/// this program neither reads nor takes over is refused.
pub(crate) fn format(
    place: &LedgerPlace,
    env: &Env<WithoutTls>,
    table: Table,
) -> Result<u32, StoreError> {
    let found = read(env, table, META_FORMAT, |bytes| {
        let record = open::<FormatRecord>(META_FORMAT, bytes)?;
        Ok(record.version.to_native())
    })?;
    match found {
        takeover::OLDEST..=FORMAT_VERSION => Ok(found),
        found => Err(StoreError::WrongFormat {
            path: place.dir().to_owned(),
            found,
            supported: FORMAT_VERSION,
        }),
    }
}

impl Meta<'_> {
    /// Refuses a ledger that belongs into another place.
    pub(crate) fn check_identity(&self) -> Result<(), StoreError> {
        let found = self.read(META_IDENTITY, |bytes| {
            let record = open::<IdentityRecord>(META_IDENTITY, bytes)?;
            Ok(LedgerIdentity {
                data: DataId::from_bytes(record.data),
                shard: ShardId::as_written(record.shard.to_native()),
            })
        })?;
        let expected = self.place.identity();
        if found == expected {
            return Ok(());
        }
        Err(StoreError::Foreign {
            path: self.place.data_file(),
            found: Box::new(found),
            expected: Box::new(expected),
        })
    }

    /// Which records of the journal follow the last checkpoint.
    pub(crate) fn generation(&self) -> Result<Generation, StoreError> {
        self.read(META_JOURNAL, |bytes| {
            let record = open::<JournalRecord>(META_JOURNAL, bytes)?;
            Ok(Generation {
                number: record.generation.to_native(),
                seed: record.seed.to_native(),
            })
        })
    }

    /// How large the journal's file is at least.
    pub(crate) fn journal_bytes(&self) -> Result<u64, StoreError> {
        self.read(META_JOURNAL_FILE, |bytes| {
            let record = open::<JournalFileRecord>(META_JOURNAL_FILE, bytes)?;
            Ok(record.bytes.to_native())
        })
    }

    /// Checks that no number which was given will be given again.
    pub(crate) fn check_counters(&self, newest: u64) -> Result<(), StoreError> {
        let failed = |error| engine_error("read the records about", error, self.env);
        let txn = self.env.read_txn().map_err(failed)?;
        next_slot(self.env, self.tables, &txn)?;
        let noted = self.tables.meta.get(&txn, META_COUNTERS).map_err(failed)?;
        let Some(bytes) = noted else { return Ok(()) };
        let noted = open::<CountersRecord>(META_COUNTERS, bytes)?;
        match noted.position.to_native() > newest {
            true => Ok(()),
            false => Err(StoreError::corrupt(
                "record of positions and stamps",
                META_COUNTERS,
                "positions of the log beyond it have been given",
            )),
        }
    }

    /// Writes everything that makes a ledger one of this format, in `place` and
    /// with a journal of at least `journal_bytes`.
    pub(crate) fn write_all(
        &self,
        generation: Generation,
        journal_bytes: u64,
    ) -> Result<(), StoreError> {
        let LedgerIdentity { data, shard } = self.place.identity();
        let format = FormatRecord {
            version: FORMAT_VERSION,
        };
        let identity = IdentityRecord {
            data: *data.as_bytes(),
            shard: shard.number(),
        };
        let file = JournalFileRecord {
            bytes: journal_bytes,
        };
        self.write(|table| {
            table.put(META_FORMAT, &format)?;
            table.put(META_IDENTITY, &identity)?;
            table.put(META_JOURNAL, &journal_record(generation))?;
            table.put(META_JOURNAL_FILE, &file)
        })
    }

    /// Says that the ledger is of this format now.
    pub(crate) fn write_format(&self) -> Result<(), StoreError> {
        let format = FormatRecord {
            version: FORMAT_VERSION,
        };
        self.write(|table| table.put(META_FORMAT, &format))
    }

    fn read<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        read(self.env, self.tables.meta, key, parse)
    }

    fn write(
        &self,
        records: impl FnOnce(&mut Writing<'_>) -> heed::Result<()>,
    ) -> Result<(), StoreError> {
        let failed = |error| engine_error("write the records about", error, self.env);
        let mut writing = Writing {
            txn: self.env.write_txn().map_err(failed)?,
            tables: self.tables,
            record: Vec::new(),
        };
        records(&mut writing).map_err(failed)?;
        let committed = writing.txn.commit();
        committed.map_err(|error| commit_error(error, self.env))
    }
}

fn read<T>(
    env: &Env<WithoutTls>,
    table: Table,
    key: &[u8],
    parse: impl FnOnce(&[u8]) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let failed = |error| engine_error("read the records about", error, env);
    let txn = env.read_txn().map_err(failed)?;
    match table.get(&txn, key).map_err(failed)? {
        Some(bytes) => parse(bytes),
        None => Err(StoreError::corrupt(
            "record about the ledger",
            key,
            "it is missing",
        )),
    }
}

struct Writing<'l> {
    txn: RwTxn<'l>,
    tables: Tables,
    record: Vec<u8>,
}

impl Writing<'_> {
    fn put<R: Record>(&mut self, key: &[u8], value: &R) -> heed::Result<()> {
        seal(&mut self.record, key, value);
        self.tables.meta.put(&mut self.txn, key, &self.record)
    }
}

fn journal_record(generation: Generation) -> JournalRecord {
    JournalRecord {
        generation: generation.number,
        seed: generation.seed,
    }
}
