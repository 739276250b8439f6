//! One shard's durable state: an LMDB environment and a journal. Opening it, and
//! the two ways in: [`Ledger::snapshot`] for readers on any thread,
//! [`Ledger::writer`] for the shard's commit thread. What the writer does is in
//! `writer.rs`, what a snapshot reads in `snapshot.rs`, the keys in `layout.rs`.

#![expect(
    clippy::disallowed_types,
    reason = "the commit thread's, which alone writes"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use heed::{Env, EnvFlags, EnvOpenOptions, WithoutTls};

use crate::change::{Change, Verdict};
use crate::data_dir::{make_private_dir, sync_dir};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::layout::{self, LMDB_KEY_BYTES_MAX, META_FORMAT, META_JOURNAL, Tables};
use crate::record::{self, FormatRecord, JournalRecord};
use crate::snapshot::Snapshot;
use crate::sweep::Swept;
use crate::writer::{LedgerWriter, WriterState};

/// LMDB wants a map of whole pages; this is the largest page of any machine.
const MAP_STEP_BYTES: usize = 64 << 10;

/// Bounds of one ledger.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The size to which the ledger can grow. Only address space until used.
    pub map_bytes_max: u64,
    /// How many snapshots can exist at once.
    pub readers_max: u32,
    /// The size of the journal. When it is full everything in it is brought
    /// into LMDB; with 0 each batch is, at once.
    pub journal_bytes_max: u64,
    /// How many contexts may be called before that happens. What is only in
    /// the journal has to be kept in memory by who wants to read it.
    pub checkpoint_contexts_max: usize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        LedgerConfig {
            map_bytes_max: 64 << 30,
            readers_max: 512,
            journal_bytes_max: 8 << 20,
            checkpoint_contexts_max: 1_000,
        }
    }
}

/// How full a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerStats {
    /// The size to which it can grow.
    pub map_bytes_max: u64,
    /// The size to which it has grown. Freed space inside is used again.
    pub map_bytes_used: u64,
    /// Snapshots open at most.
    pub readers_max: u32,
    /// Places for snapshots that have been used so far, of `readers_max`.
    pub readers_used: u32,
    /// Contexts.
    pub contexts: u64,
    /// Entries of all contexts, and of deleted ones that are not yet swept.
    pub entries: u64,
    /// Deltas in the log.
    pub deltas: u64,
    /// Events of all contexts.
    pub events: u64,
    /// Deleted contexts that are not yet swept.
    pub graves: u64,
}

/// One shard's ledger. Clones are the same ledger; it closes with the last one.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) env: Env<WithoutTls>,
    pub(crate) tables: Tables,
    /// One writer at a time is LMDB's own rule; the mutex makes it ours.
    writer: Mutex<WriterState>,
}

impl Ledger {
    /// Opens the ledger in `dir`, or makes it there.
    pub fn open(dir: &Path, config: &LedgerConfig) -> Result<Ledger, StoreError> {
        make_private_dir(dir)?;
        let env = open_env(dir, config)?;
        env.clear_stale_readers()
            .map_err(|error| engine("clear stale readers of", error, config))?;
        assert_eq!(
            env.max_key_size(),
            LMDB_KEY_BYTES_MAX,
            "LMDB must be built with its default key size"
        );
        let tables =
            Tables::open(&env).map_err(|error| engine("open the tables of", error, config))?;
        check_format(dir, &env, tables, config)?;
        let writer = WriterState::load(dir, &env, tables, config)?;
        // The files' names must be as durable as their content.
        sync_dir(dir)?;
        let ledger = Ledger {
            shared: Arc::new(Shared {
                env,
                tables,
                writer: Mutex::new(writer),
            }),
        };
        ledger.writer().checkpoint()?;
        Ok(ledger)
    }

    /// What the last checkpoint has brought into LMDB, unmoved by later ones.
    /// Cheap; but while it lives, space freed by later checkpoints is not used
    /// again, so keep it short.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let txn = self
            .shared
            .env
            .clone()
            .static_read_txn()
            .map_err(|error| self.engine("read", error))?;
        Ok(Snapshot::new(txn, self.shared.tables))
    }

    /// The right to write. Waits for the writer before it to be dropped.
    pub fn writer(&self) -> LedgerWriter<'_> {
        LedgerWriter::new(&self.shared, self.lock_writer())
    }

    /// Commits a batch so that snapshots show it. For those who commit now and
    /// then; a commit thread keeps a [writer](Self::writer).
    pub fn commit(&self, batch: Vec<Change>) -> Result<Vec<Verdict>, StoreError> {
        Ok(self.writer().commit_shown(batch)?.verdicts)
    }

    /// See [`LedgerWriter::sweep`].
    pub fn sweep(&self, records_max: usize) -> Result<Swept, StoreError> {
        self.writer().sweep(records_max)
    }

    /// The stamp of the newest delta of the last checkpoint: a restarted clock goes
    /// on behind it. Not while somebody holds the writer.
    pub fn last_hlc(&self) -> Hlc {
        self.lock_writer().next.last_hlc
    }

    /// How full the ledger is, as of the last checkpoint.
    pub fn stats(&self) -> Result<LedgerStats, StoreError> {
        let info = self.shared.env.info();
        let page_bytes = u64::from(self.shared.env.unnamed_database_stat().page_size);
        let snapshot = self.snapshot()?;
        let counts = snapshot.table_counts()?;
        Ok(LedgerStats {
            map_bytes_max: info.map_size as u64,
            map_bytes_used: (info.last_page_number as u64 + 1) * page_bytes,
            readers_max: info.maximum_number_of_readers,
            readers_used: info.number_of_readers,
            contexts: counts.contexts,
            entries: counts.entries,
            deltas: counts.deltas,
            events: counts.events,
            graves: counts.graves,
        })
    }

    fn lock_writer(&self) -> std::sync::MutexGuard<'_, WriterState> {
        // A panic while writing dropped its transaction, and the state changes
        // only when something is on disk: what is there is still true.
        self.shared
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn engine(&self, doing: &'static str, error: heed::Error) -> StoreError {
        engine_error(doing, error, &self.shared.env)
    }
}

fn open_env(dir: &Path, config: &LedgerConfig) -> Result<Env<WithoutTls>, StoreError> {
    let map_bytes = usize::try_from(config.map_bytes_max)
        .ok()
        .and_then(|bytes| bytes.checked_next_multiple_of(MAP_STEP_BYTES))
        .unwrap_or(usize::MAX / MAP_STEP_BYTES * MAP_STEP_BYTES);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options
        .map_size(map_bytes)
        .max_readers(config.readers_max)
        .max_dbs(layout::TABLES);
    // SAFETY: LMDB's file must not be changed behind its back. The data
    // directory's lock keeps other processes away, heed refuses to open one
    // environment twice in one process, and the files are private. No flag that
    // weakens this (NO_LOCK, WRITE_MAP) or durability (NO_SYNC, NO_META_SYNC) is set.
    #[allow(unsafe_code)]
    let opened = unsafe { options.flags(EnvFlags::empty()).open(dir) };
    opened.map_err(|error| match error {
        heed::Error::EnvAlreadyOpened => StoreError::AlreadyOpen {
            path: dir.to_owned(),
        },
        heed::Error::Io(source) => StoreError::file("open the ledger in", dir)(source),
        error => engine("open", error, config),
    })
}

/// Reads the format version, or writes it into a ledger that is new or of the
/// version before.
fn check_format(
    dir: &Path,
    env: &Env<WithoutTls>,
    tables: Tables,
    config: &LedgerConfig,
) -> Result<(), StoreError> {
    let failed = |error| engine("read the format of", error, config);
    let mut txn = env.write_txn().map_err(failed)?;
    match tables.meta.get(&txn, META_FORMAT).map_err(failed)? {
        Some(bytes) => {
            let record = record::open::<FormatRecord>(META_FORMAT, bytes)?;
            match record.version.to_native() {
                layout::FORMAT_VERSION => return Ok(()),
                layout::FORMAT_VERSION_BEFORE => {}
                found => {
                    return Err(StoreError::WrongFormat {
                        path: dir.to_owned(),
                        found,
                        supported: layout::FORMAT_VERSION,
                    });
                }
            }
        }
        None => {
            if !tables.contexts.is_empty(&txn).map_err(failed)? {
                return Err(StoreError::corrupt(
                    "ledger",
                    META_FORMAT,
                    "it has contexts but no format record",
                ));
            }
        }
    }
    let format = FormatRecord {
        version: layout::FORMAT_VERSION,
    };
    let journal = JournalRecord {
        generation: 0,
        seed: getrandom::u64().expect("Linux gives random bytes once it has booted"),
    };
    let mut bytes = Vec::new();
    record::seal(&mut bytes, META_FORMAT, &format);
    let put = tables.meta.put(&mut txn, META_FORMAT, &bytes);
    put.map_err(failed)?;
    record::seal(&mut bytes, META_JOURNAL, &journal);
    let put = tables.meta.put(&mut txn, META_JOURNAL, &bytes);
    put.map_err(failed)?;
    txn.commit().map_err(failed)
}

fn engine(doing: &'static str, error: heed::Error, config: &LedgerConfig) -> StoreError {
    translate(doing, error, config.map_bytes_max, config.readers_max)
}

/// An engine error outside of committing, in our words.
pub(crate) fn engine_error(
    doing: &'static str,
    error: heed::Error,
    env: &Env<WithoutTls>,
) -> StoreError {
    let info = env.info();
    translate(
        doing,
        error,
        info.map_size as u64,
        info.maximum_number_of_readers,
    )
}

fn translate(
    doing: &'static str,
    error: heed::Error,
    bytes_max: u64,
    readers_max: u32,
) -> StoreError {
    use heed::MdbError;
    match error {
        heed::Error::Io(source) if is_out_of_space(&source) => StoreError::DiskFull { source },
        heed::Error::Io(source) => StoreError::Io { doing, source },
        heed::Error::Mdb(MdbError::MapFull) => StoreError::MapFull { bytes_max },
        heed::Error::Mdb(MdbError::ReadersFull) => StoreError::ReadersFull { readers_max },
        heed::Error::Mdb(MdbError::TxnFull) => StoreError::BatchTooLarge {
            bytes: 0,
            bytes_max: layout::BATCH_BYTES_MAX,
        },
        heed::Error::Mdb(MdbError::Panic) => StoreError::Stopped,
        heed::Error::Mdb(
            MdbError::Corrupted
            | MdbError::PageNotFound
            | MdbError::Invalid
            | MdbError::CursorFull
            | MdbError::PageFull
            | MdbError::Problem,
        ) => StoreError::Corrupt {
            what: "page of the ledger",
            key: doing.to_owned(),
            why: "the engine found its tree damaged",
        },
        other => StoreError::Engine {
            doing,
            reason: other.to_string(),
        },
    }
}

/// Free bytes below which an I/O error may be a full disk in disguise.
const FREE_BYTES_IN_DOUBT: u64 = 1 << 20;

/// What a failed commit means. LMDB's own commit has a fixed order: data pages,
/// sync, then the meta page that makes them count. If writing the meta page
/// fails, the environment refuses any further transaction. So if it takes one,
/// nothing that counts was touched, and only the reason is left to judge: a
/// full disk is no damage, any other I/O error may be.
pub(crate) fn commit_error(error: heed::Error, env: &Env<WithoutTls>) -> StoreError {
    match error {
        heed::Error::Io(source) => {
            let is_full = is_out_of_space(&source) || is_short_write(&source, env);
            if is_full && env.write_txn().is_ok() {
                StoreError::DiskFull { source }
            } else {
                StoreError::Io {
                    doing: "a commit",
                    source,
                }
            }
        }
        error => engine_error("a commit", error, env),
    }
}

/// LMDB reports a write that the file system could only do in part as EIO. That
/// is what a large value meets on a disk that fills up in the middle of it.
pub(crate) fn is_short_write(error: &std::io::Error, env: &Env<WithoutTls>) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        && rustix::fs::statvfs(env.path())
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_IN_DOUBT)
}

pub(crate) fn is_out_of_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ApplicationRecord;
    use crate::ids::ApplicationId;

    #[test]
    fn a_ledger_of_the_format_before_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::default();
        let ledger = Ledger::open(dir.path(), &config).unwrap();
        let application = ApplicationRecord {
            id: ApplicationId::from_bytes([1; 32]),
            name: "kept".to_owned(),
            version: String::new(),
            size_bytes: 0,
            installed: Hlc::ZERO,
            description: String::new(),
        };
        let batch = vec![Change::PutApplication(application.clone())];
        ledger.commit(batch).unwrap()[0].as_ref().unwrap();
        let mut txn = ledger.shared.env.write_txn().unwrap();
        let meta = ledger.shared.tables.meta;
        let mut bytes = Vec::new();
        record::seal(&mut bytes, META_FORMAT, &FormatRecord { version: 1 });
        meta.put(&mut txn, META_FORMAT, &bytes).unwrap();
        meta.delete(&mut txn, META_JOURNAL).unwrap();
        txn.commit().unwrap();
        drop(ledger);
        for _ in 0..2 {
            let ledger = Ledger::open(dir.path(), &config).unwrap();
            let txn = ledger.shared.env.read_txn().unwrap();
            let bytes = ledger.shared.tables.meta.get(&txn, META_FORMAT).unwrap();
            let record = record::open::<FormatRecord>(META_FORMAT, bytes.unwrap()).unwrap();
            assert_eq!(record.version.to_native(), layout::FORMAT_VERSION);
            let applications = ledger.snapshot().unwrap().applications().unwrap();
            assert_eq!(applications, std::slice::from_ref(&application));
        }
    }

    /// What the file says about its format is changed; opening it says so.
    #[test]
    fn a_ledger_of_another_format_is_refused() {
        fn check(
            change: impl FnOnce(&Ledger, &mut heed::RwTxn<'_>),
            is_expected: fn(&StoreError) -> bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let config = LedgerConfig {
                map_bytes_max: 1 << 20,
                readers_max: 4,
                ..LedgerConfig::default()
            };
            let ledger = Ledger::open(dir.path(), &config).unwrap();
            let mut txn = ledger.shared.env.write_txn().unwrap();
            change(&ledger, &mut txn);
            txn.commit().unwrap();
            drop(ledger);
            let error = Ledger::open(dir.path(), &config).err().unwrap();
            assert!(is_expected(&error) && !error.is_fatal(), "{error}");
        }
        check(
            |ledger, txn| {
                let mut bytes = Vec::new();
                record::seal(&mut bytes, META_FORMAT, &FormatRecord { version: 3 });
                ledger
                    .shared
                    .tables
                    .meta
                    .put(txn, META_FORMAT, &bytes)
                    .unwrap();
            },
            |error| {
                matches!(
                    error,
                    StoreError::WrongFormat {
                        found: 3,
                        supported: 2,
                        ..
                    }
                )
            },
        );
        check(
            |ledger, txn| {
                ledger
                    .shared
                    .tables
                    .meta
                    .put(txn, META_FORMAT, b"?")
                    .unwrap()
            },
            |error| {
                matches!(
                    error,
                    StoreError::Corrupt {
                        what: "format record",
                        ..
                    }
                )
            },
        );
    }
}
