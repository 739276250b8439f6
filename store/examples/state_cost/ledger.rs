//! A ledger with contexts that calls are committed to, and the time that takes.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, DataDir, Hlc, HlcClock, Ledger,
    LedgerConfig, NewContext, NodeId, Op, OpenOptions, ShardCount, Snapshot, StoreError,
};
use heed::types::Bytes;

use crate::instructions::instructions;

/// Calls in a batch, as 64 connections make them.
pub(crate) const CALLS: usize = 64;

/// Who writes.
pub(crate) const AUTHOR: NodeId = NodeId::from_bytes([1; 32]);

/// A context's place.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    id: ContextId,
    slot: ContextSlot,
}

impl Place {
    pub(crate) fn id(&self) -> ContextId {
        self.id
    }

    pub(crate) fn slot(&self) -> ContextSlot {
        self.slot
    }
}

/// A new ledger.
pub(crate) struct Bench {
    ledger: Ledger,
    clock: HlcClock,
}

impl Bench {
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Bench, Box<dyn Error>> {
        Bench::with(dir, name, LedgerConfig::default())
    }

    pub(crate) fn with(
        dir: &Path,
        name: &str,
        config: LedgerConfig,
    ) -> Result<Bench, Box<dyn Error>> {
        Ok(Bench {
            ledger: open(&dir.join(name), &config)?,
            clock: HlcClock::default(),
        })
    }

    pub(crate) fn create(&mut self) -> Result<Place, Box<dyn Error>> {
        let id = ContextId::random();
        let call = self.call(
            Place {
                id,
                slot: ContextSlot::UNASSIGNED,
            },
            vec![],
        );
        let create = Change::CreateContext(NewContext {
            id,
            name: None,
            application: ApplicationId::from_bytes([2; 32]),
            created: call.hlc,
            call,
        });
        self.ledger.commit(vec![create])?;
        let found = self.ledger.snapshot()?.context(&id)?;
        let slot = found.ok_or("it was made")?.slot;
        Ok(Place { id, slot })
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Commits changes that are no calls, and shows them.
    pub(crate) fn change(&self, changes: Vec<Change>) -> Result<(), Box<dyn Error>> {
        for verdict in self.ledger.commit(changes)? {
            verdict?;
        }
        Ok(())
    }

    /// What is committed and shown now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.ledger.snapshot()
    }

    /// The effects of a call that is made now.
    pub(crate) fn call(&mut self, place: Place, ops: Vec<Op>) -> CallEffects {
        CallEffects {
            slot: place.slot,
            ops,
            ..CallEffects::new(place.id, AUTHOR, self.clock.tick(1))
        }
    }

    /// Commits calls in batches of [`CALLS`], with a checkpoint at the end. Gives how long
    /// that takes this thread, which does all the work.
    pub(crate) fn commit(&mut self, calls: Vec<CallEffects>) -> Result<Took, Box<dyn Error>> {
        let mut batches = Vec::new();
        let mut calls = calls.into_iter().map(Change::Call);
        loop {
            let batch: Vec<Change> = calls.by_ref().take(CALLS).collect();
            if batch.is_empty() {
                break;
            }
            batches.push(batch);
        }
        Took::of(|| {
            let mut writer = self.ledger.writer();
            for batch in batches {
                for verdict in writer.commit(batch)?.verdicts {
                    verdict?;
                }
            }
            Ok(writer.checkpoint()?)
        })
    }

    /// Commits in the same way calls of one write each, which `next` makes with the stamp of
    /// each until it has no more. So none is in memory for longer than its batch.
    pub(crate) fn commit_each(
        &mut self,
        place: Place,
        mut next: impl FnMut(Hlc) -> Result<Option<Op>, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let mut writer = self.ledger.writer();
        loop {
            let mut batch = Vec::with_capacity(CALLS);
            while batch.len() < CALLS {
                let hlc = self.clock.tick(1);
                let Some(op) = next(hlc)? else {
                    break;
                };
                batch.push(Change::Call(CallEffects {
                    slot: place.slot,
                    ops: vec![op],
                    ..CallEffects::new(place.id, AUTHOR, hlc)
                }));
            }
            let is_last = batch.len() < CALLS;
            for verdict in writer.commit(batch)?.verdicts {
                verdict?;
            }
            if is_last {
                return Ok(writer.checkpoint()?);
            }
        }
    }
}

/// The only ledger of a new data directory.
pub(crate) fn open(dir: &Path, config: &LedgerConfig) -> Result<Ledger, Box<dyn Error>> {
    let shards_if_new = ShardCount::new(1).ok_or("a directory has shards")?;
    let options = OpenOptions {
        shards_if_new,
        node_id_if_new: NodeId::from_bytes([7; 32]),
    };
    let data = DataDir::open(dir, &options)?;
    let shard = shards_if_new.shards().next().ok_or("there is one")?;
    Ok(Ledger::open(&data.ledger_place(shard), config)?)
}

/// A table of an LMDB without anything else.
pub(crate) type PlainTable = heed::Database<'static, Bytes, Bytes>;

/// One in a new directory.
pub(crate) fn plain_table(dir: &Path) -> Result<(heed::Env, PlainTable), Box<dyn Error>> {
    std::fs::create_dir_all(dir)?;
    let mut options = heed::EnvOpenOptions::new();
    options.map_size(64 << 30).max_dbs(1);
    // SAFETY: a directory of this program alone.
    #[allow(unsafe_code)]
    let env = unsafe { options.open(dir)? };
    let made = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        let table = opener.create_database::<Bytes, Bytes>(txn, Some("plain"))?;
        heed::Result::Ok(heed::CommitOrAbort::<_, ()>::Commit(table))
    })?;
    Ok((env, made.unwrap_commit()))
}

/// How long this thread has run, to the nanosecond.
#[expect(unsafe_code, reason = "no library that is used here has this clock")]
pub(crate) fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a value of its own.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(Duration::new(
        time.tv_sec.try_into()?,
        time.tv_nsec.try_into()?,
    ))
}

/// Processor time of this thread, time by the clock, and instructions if they are counted.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) instructions: Option<u64>,
}

impl Took {
    /// How long `work` takes.
    pub(crate) fn of(
        work: impl FnOnce() -> Result<(), Box<dyn Error>>,
    ) -> Result<Took, Box<dyn Error>> {
        let before = instructions();
        let (cpu, wall) = (cpu_time()?, Instant::now());
        work()?;
        let (cpu, wall) = (cpu_time()? - cpu, wall.elapsed());
        let after = instructions();
        Ok(Took {
            cpu,
            wall,
            instructions: before
                .zip(after)
                .map(|(before, after)| after.saturating_sub(before)),
        })
    }

    /// What it takes more than the other.
    pub(crate) fn beyond(&self, other: &Took) -> Took {
        let counted = self.instructions.zip(other.instructions);
        Took {
            cpu: self.cpu.saturating_sub(other.cpu),
            wall: self.wall.saturating_sub(other.wall),
            instructions: counted.map(|(ours, theirs)| ours.saturating_sub(theirs)),
        }
    }

    /// Both, one after the other.
    pub(crate) fn and(&self, other: &Took) -> Took {
        let counted = self.instructions.zip(other.instructions);
        Took {
            cpu: self.cpu + other.cpu,
            wall: self.wall + other.wall,
            instructions: counted.map(|(ours, theirs)| ours + theirs),
        }
    }

    /// How much longer than the other, by either time.
    pub(crate) fn over(&self, other: &Took) -> [f64; 2] {
        [(self.cpu, other.cpu), (self.wall, other.wall)]
            .map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64())
    }
}

/// Microseconds per call.
pub(crate) fn micros(time: Duration, calls: usize) -> f64 {
    time.as_secs_f64() * 1e6 / calls as f64
}
