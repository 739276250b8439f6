//! One shard's durable state: an LMDB environment and a journal. Opening it, and
//! the two ways in: [`Ledger::snapshot`] for readers on any thread,
//! [`Ledger::writer`] for the shard's commit thread. What the writer does is in
//! `writer.rs`, what a snapshot reads in `snapshot.rs`, the keys in `layout.rs`.

#![expect(
    clippy::disallowed_types,
    reason = "the commit thread's, which alone writes"
)]

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heed::{Env, EnvFlags, EnvInfo, EnvOpenOptions, RoTxn, WithoutTls};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::answer::AnswerBounds;
use crate::apply::ContextBounds;
use crate::change::{Change, Verdict};
use crate::data_file;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot};
use crate::journal::Journal;
use crate::layout::{self, FORMAT_VERSION, LMDB_KEY_BYTES_MAX, Tables};
use crate::meta::{self, Meta};
use crate::place::LedgerPlace;
use crate::quarantine::{Quarantined, Unwritten, cut};
use crate::readers::Readers;
use crate::reserve::{Reserve, Reserved};
use crate::retention::{Collected, Reach, Retention};
use crate::snapshot::Snapshot;
use crate::start_check::{look_over, put_out_of_service};
use crate::step::StepBounds;
use crate::sweep::Swept;
use crate::takeover;
use crate::writer::{LedgerWriter, WriterState};

/// LMDB wants a map of whole pages; this is the largest page of any machine.
const MAP_STEP_BYTES: usize = 64 << 10;

/// LMDB's lock file has a head of some lines of the processor's cache, which fit
/// into a page, and one such line for each reader.
const LOCK_HEAD_BYTES: u64 = 4096;
const LOCK_READER_BYTES: u64 = 64;

/// The two pages that say which tree is the latest.
const META_PAGES: u64 = 2;

/// A ledger that takes longer to open is worth a line in the log.
const OPENING_WORTH_A_WORD: Duration = Duration::from_secs(1);

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
    /// Bytes of memory for Merkle tries of the contexts that were written to last; with 0
    /// each checkpoint begins with reading them anew. Beside that there is what is
    /// needed between two checkpoints.
    pub trie_bytes_max: usize,
    /// For how long answers are kept under keys.
    pub answers: AnswerBounds,
    /// How much a context may hold after a call of this node.
    pub contexts: ContextBounds,
    /// Bytes of a ledger's file of which every page and record is read when it is opened, to look
    /// for damage. Of a larger one only the pages that lead to records are; with 0 nothing is.
    pub start_check_bytes_max: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        LedgerConfig {
            map_bytes_max: 64 << 30,
            readers_max: 512,
            journal_bytes_max: 8 << 20,
            checkpoint_contexts_max: 1_000,
            trie_bytes_max: 32 << 20,
            answers: AnswerBounds::default(),
            contexts: ContextBounds::NONE,
            start_check_bytes_max: 1 << 30,
        }
    }
}

/// What of a ledger's bounds is in use: what can be told without a snapshot, so that it can be
/// told when there is no place for one, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerUse {
    /// The size to which it can grow.
    pub map_bytes_max: u64,
    /// The size to which it has grown. Freed space inside is used again.
    pub map_bytes_used: u64,
    /// Bytes of the disk that are reserved behind these, so that what was acknowledged can
    /// go there however full the disk is: none before the first write, nor where the file system
    /// reserves none.
    pub reserved_bytes: u64,
    /// Snapshots open at most.
    pub readers_max: u32,
    /// Snapshots open now, of `readers_max`.
    pub readers: u32,
    /// The most that were open at the same time since the ledger was opened.
    pub readers_peak: u32,
    /// For how long the oldest open snapshot has kept pages from being used again: since the
    /// first transaction that it does not show, give or take the time between two looks.
    pub held_up: Duration,
    /// Readers of other processes that had ended and whose places were cleared.
    pub stale_readers: u64,
}

/// How full a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerStats {
    /// The size to which it has grown. Freed space inside is used again.
    pub map_bytes_used: u64,
    /// Contexts.
    pub contexts: u64,
    /// Entries of all contexts, and of deleted ones that are not yet swept.
    pub entries: u64,
    /// Edits of lists and texts, and of removed ones that are not yet swept, without those in packs.
    pub edits: u64,
    /// Packs of such edits.
    pub packs: u64,
    /// Deltas in the log.
    pub deltas: u64,
    /// Events of all contexts.
    pub events: u64,
    /// Answers that are kept under keys.
    pub answers: u64,
    /// Deleted contexts that are not yet swept.
    pub graves: u64,
}

/// One shard's ledger. Clones are the same ledger; it closes with the last one.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) env: Env<WithoutTls>,
    pub(crate) tables: Tables,
    reserved: Reserved,
    pub(crate) readers: Arc<Readers>,
    /// How many were cleared so far.
    stale_readers: AtomicU64,
    /// Whether its records are yet to be looked at, as they were too many.
    is_left_unread: bool,
    /// Contexts that are out of service without a record that says so.
    pub(crate) unwritten: Unwritten,
    /// One writer at a time is LMDB's own rule; the mutex makes it ours.
    writer: Mutex<WriterState>,
}

impl Shared {
    pub(crate) fn snapshot_in(&self, txn: RoTxn<'static, WithoutTls>) -> Snapshot {
        Snapshot::new(txn, self.tables, &self.readers, self.unwritten.clone())
    }
}

impl Ledger {
    /// Opens the ledger in `place`, and takes it over if it is of an older format.
    /// Nothing that is missing is made: a ledger whose files are gone, cut off,
    /// swapped or old copies is refused, as is one with pages that the engine must not believe.
    /// Contexts of which a record is found to be damaged are out of service.
    pub fn open(place: &LedgerPlace, config: &LedgerConfig) -> Result<Ledger, StoreError> {
        let started = Instant::now();
        data_file::check(&place.data_file())?;
        let looked = look_over(place, config.start_check_bytes_max)?;
        let env = open_env(place, config)?;
        assert_eq!(
            env.max_key_size(),
            LMDB_KEY_BYTES_MAX,
            "LMDB must be built with its default key size"
        );
        let tables_failed = |error| engine("open the tables of", error, config);
        let lacking =
            || StoreError::corrupt_file("data file", &place.data_file(), "it lacks a table");
        let meta_table = layout::open_meta(&env).map_err(tables_failed)?;
        let format = meta::format(place, &env, meta_table.ok_or_else(lacking)?)?;
        let tables = match format {
            FORMAT_VERSION => Tables::open(&env).map_err(tables_failed)?,
            // It lacks those that came later.
            _ => Some(Tables::create(&env).map_err(tables_failed)?),
        };
        let tables = tables.ok_or_else(lacking)?;
        let meta = Meta {
            place,
            env: &env,
            tables,
        };
        meta.check_identity()?;
        match format {
            FORMAT_VERSION => {}
            takeover::OLDEST => takeover::take_over(&meta, config)?,
            // It has only gained tables, and records new kinds.
            _ => meta.write_format()?,
        }
        let mut journal = Journal::open(
            place,
            config.journal_bytes_max,
            meta.journal_bytes()?,
            meta.generation()?,
        )?;
        journal.recover(&place.data_file())?;
        let bytes = journal.bytes();
        let reserve = Reserve::of(&place.data_file())?;
        let mut ledger = Ledger::with(
            env.clone(),
            tables,
            config,
            journal,
            reserve,
            looked.is_left_unread(),
        )?;
        // Those of an earlier life went with LMDB's lock file, which whoever opens it alone begins
        // anew; this is for when it was not alone.
        ledger.clear_stale_readers()?;
        let calls = ledger.writer().bring_in_journal()?;
        if looked.leads_on() {
            let unwritten = put_out_of_service(place, &ledger, &looked)?;
            ledger.keep_out_of_service(unwritten)?;
        }
        let took = started.elapsed();
        if took >= OPENING_WORTH_A_WORD {
            let milliseconds = took.as_millis() as u64;
            tracing::info!(
                shard = place.identity().shard.number(),
                calls,
                bytes,
                milliseconds,
                "opened a ledger and replayed the calls in its journal"
            );
        }
        Ok(ledger)
    }

    /// The ledger with what its writer has to know.
    pub(crate) fn with(
        env: Env<WithoutTls>,
        tables: Tables,
        config: &LedgerConfig,
        journal: Journal,
        reserve: Reserve,
        is_left_unread: bool,
    ) -> Result<Ledger, StoreError> {
        let reserved = reserve.reserved();
        let writer = WriterState::load(&env, tables, config, journal, reserve)?;
        Ok(Ledger {
            shared: Arc::new(Shared {
                env,
                tables,
                reserved,
                readers: Arc::default(),
                stale_readers: AtomicU64::new(0),
                is_left_unread,
                unwritten: Unwritten::default(),
                writer: Mutex::new(writer),
            }),
        })
    }

    /// Whether it was too large for its records to be read when it was opened: a [`Scrub`](crate::Scrub)
    /// has yet to come by them.
    pub fn is_left_unread(&self) -> bool {
        self.shared.is_left_unread
    }

    /// Keeps contexts out of service, before anybody else has the ledger, of which there is no room to write that
    /// down.
    pub(crate) fn keep_out_of_service(
        &mut self,
        contexts: Vec<(ContextId, String)>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot()?;
        let mut out = Vec::with_capacity(contexts.len());
        for (context, why) in contexts {
            // Where nothing says in which slot it is, nobody finds it there.
            let slot = snapshot.slot_of(&context)?;
            out.push(Quarantined {
                context,
                slot: slot.unwrap_or(ContextSlot::UNASSIGNED),
                why: cut(&why).to_owned(),
                aside: 0,
            });
        }
        let shared = Arc::get_mut(&mut self.shared).expect("nobody else has it yet");
        shared.unwritten = Unwritten::of(out.into_iter());
        Ok(())
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
        Ok(self.shared.snapshot_in(txn))
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

    /// A step of the collector that snapshots show: see [`LedgerWriter::collect`].
    pub fn collect(
        &self,
        retention: &Retention,
        now: Hlc,
        bounds: &StepBounds,
    ) -> Result<Collected, StoreError> {
        let mut writer = self.writer();
        let collected = writer.collect(retention, now, bounds, Reach::All)?;
        writer.checkpoint()?;
        Ok(collected)
    }

    /// A step of the sweep over so many records that snapshots show: see [`LedgerWriter::sweep`].
    pub fn sweep(&self, records_max: usize) -> Result<Swept, StoreError> {
        let mut writer = self.writer();
        let swept = writer.sweep(&StepBounds::rows(records_max))?;
        writer.checkpoint()?;
        Ok(swept)
    }

    /// The stamp of the newest delta of the last checkpoint: a restarted clock goes
    /// on behind it. Not while somebody holds the writer.
    pub fn last_hlc(&self) -> Hlc {
        self.lock_writer().next.last_hlc
    }

    /// Gives back the places of readers whose processes have ended, and tells how many those were.
    ///
    /// There are none of this process: its snapshots end with their owners, and with itself goes
    /// everything that LMDB knew of it. Nor has any other one of ours a reader here, as a data
    /// directory has one process. But LMDB's own tools ask nobody: `mdb_copy` or `mdb_stat` of
    /// an open ledger is a reader of it, and one that is killed would keep its place, and every
    /// page that is freed from then on, for as long as this process lives.
    pub fn clear_stale_readers(&self) -> Result<u64, StoreError> {
        let cleared = self.shared.env.clear_stale_readers();
        let cleared = cleared.map_err(|error| self.engine("clear stale readers of", error))? as u64;
        if cleared > 0 {
            let ledger = self.shared.env.path().display();
            tracing::warn!(cleared, %ledger, "another process had opened a ledger to read it and was killed; what it held up is free again");
            self.shared.stale_readers.fetch_add(cleared, Relaxed);
        }
        Ok(cleared)
    }

    /// What of the ledger's bounds is in use. Takes no snapshot, and does not fail.
    pub fn in_use(&self) -> LedgerUse {
        let info = self.shared.env.info();
        let readers = &self.shared.readers;
        LedgerUse {
            map_bytes_max: info.map_size as u64,
            map_bytes_used: used_bytes(&info, &self.shared.env),
            reserved_bytes: self
                .shared
                .reserved
                .behind(used_bytes(&info, &self.shared.env)),
            readers_max: info.maximum_number_of_readers,
            readers: readers.in_use(),
            readers_peak: info.number_of_readers,
            held_up: readers.held_up(info.last_txn_id, Instant::now()),
            stale_readers: self.shared.stale_readers.load(Relaxed),
        }
    }

    /// Bytes of its file that are in no record and no list of free pages, if `snapshot` is one of
    /// its newest: they are used again before the file grows, as soon as no snapshot needs them.
    pub fn free_bytes(&self, snapshot: &Snapshot) -> Result<u64, StoreError> {
        let page_bytes = u64::from(self.shared.env.unnamed_database_stat().page_size);
        let pages = snapshot.pages()? + META_PAGES;
        let used = used_bytes(&self.shared.env.info(), &self.shared.env);
        Ok(used.saturating_sub(pages * page_bytes))
    }

    /// How full the ledger is, as of the last checkpoint.
    pub fn stats(&self) -> Result<LedgerStats, StoreError> {
        let counts = self.snapshot()?.table_counts()?;
        Ok(LedgerStats {
            map_bytes_used: self.in_use().map_bytes_used,
            contexts: counts.contexts,
            entries: counts.entries,
            edits: counts.edits,
            packs: counts.packs,
            deltas: counts.deltas,
            events: counts.events,
            answers: counts.answers,
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

/// Of so many pages of a data file those that are in no table, nor in the list of free pages.
pub(crate) fn free_pages(pages: u64, snapshot: &Snapshot) -> Result<u64, StoreError> {
    Ok(pages.saturating_sub(snapshot.pages()? + META_PAGES))
}

/// The size to which a ledger's file has grown.
fn used_bytes(info: &EnvInfo, env: &Env<WithoutTls>) -> u64 {
    let page_bytes = u64::from(env.unnamed_database_stat().page_size);
    (info.last_page_number as u64 + 1) * page_bytes
}

pub(crate) fn open_env(
    place: &LedgerPlace,
    config: &LedgerConfig,
) -> Result<Env<WithoutTls>, StoreError> {
    take_lock_space(&place.lock_file(), config)?;
    let dir = place.dir();
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

/// Opens the ledger in `place` to read only: nothing in its directory is changed, and
/// no lock is taken in it. For who keeps every writer away.
pub(crate) fn look_env(place: &LedgerPlace) -> Result<Env<WithoutTls>, StoreError> {
    let dir = place.dir();
    let bytes = std::fs::metadata(place.data_file())
        .map_err(StoreError::file("read the size of", &place.data_file()))?
        .len();
    let map_bytes = usize::try_from(bytes).unwrap_or(usize::MAX / 2);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options
        .map_size(map_bytes.next_multiple_of(MAP_STEP_BYTES))
        .max_dbs(layout::TABLES);
    // SAFETY: as in `open_env`; and as nobody writes while the caller keeps the data
    // directory's lock, no lock of LMDB's own is needed.
    #[allow(unsafe_code)]
    let opened = unsafe {
        options
            .flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK)
            .open(dir)
    };
    opened.map_err(|error| match error {
        heed::Error::EnvAlreadyOpened => StoreError::AlreadyOpen {
            path: dir.to_owned(),
        },
        heed::Error::Io(source) => StoreError::file("open the ledger in", dir)(source),
        error => translate("open", error, bytes, 0),
    })
}

/// Takes the space that LMDB's lock file may need. LMDB writes to it through a map,
/// and a page of it for which the disk has no space left would end the process
/// with SIGBUS. The file may be missing: nothing in it outlives a process.
fn take_lock_space(path: &Path, config: &LedgerConfig) -> Result<(), StoreError> {
    let failed = |source: io::Error| match is_out_of_space(&source) {
        true => StoreError::DiskFull { source },
        false => StoreError::file("take the space of", path)(source),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let bytes = LOCK_HEAD_BYTES + LOCK_READER_BYTES * u64::from(config.readers_max);
    loop {
        // The size is left to LMDB, which takes the number of readers from it.
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
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
