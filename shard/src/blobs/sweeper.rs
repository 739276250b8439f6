//! The thread that removes blobs to which nobody refers, past their time, some at a time:
//! it goes through all of them now and then, and rests four times as long as it works. The
//! rule by which none goes that somebody refers to, or is about to, is the store's
//! (`store/src/blobs/removal.rs`). Start at [`Sweeper::run`].

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelet_store::BlobSweep;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::BlobService;
use super::error::BlobRequestError;
use super::referrers::Referrers;

/// Files looked at in one step.
const STEP: usize = 256;

/// After each step it rests for so many times as long as that has taken.
const REST: u32 = 4;

/// Failures in one round after which the rest of it is left to the next one.
const FAILURES_MAX: u32 = 1_000;

pub(super) struct Sweeper {
    pub(super) service: BlobService,
    /// Closed when it is to end.
    pub(super) stop: Receiver<()>,
    /// How long a blob is kept that nobody uses.
    pub(super) ttl: Duration,
    /// From the end of one round to the next.
    pub(super) every: Duration,
}

/// It is to end.
#[derive(Debug)]
pub(super) struct Stop;

impl Sweeper {
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        let thread = std::thread::Builder::new().name("blob-sweeper".to_owned());
        thread.spawn(move || self.run())
    }

    fn run(&self) {
        // The first round tells at once how much there is.
        while self.round().is_ok() && self.rest(self.every).is_ok() {}
    }

    /// Goes through all blobs once.
    pub(super) fn round(&self) -> Result<(), Stop> {
        let mut may_remove = self.may_remove()?;
        let mut sweep = self.service.blobs().sweep(self.ttl);
        let stats = self.service.stats();
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let looked = self.look(&mut sweep, &mut may_remove);
            // Without the snapshots, as a large file takes long to remove.
            let before = sweep.swept();
            let removed = self.remove(&mut sweep);
            let swept = sweep.swept();
            stats.swept.add(swept.removed - before.removed);
            stats.swept_bytes.add(swept.bytes - before.bytes);
            for error in [looked.as_ref().err(), removed.as_ref().err()] {
                match error {
                    None => {}
                    Some(BlobRequestError::Stopping) => return Err(Stop),
                    Some(error) => {
                        failures += 1;
                        tracing::warn!(%error, "a blob could not be looked at or removed; it stays");
                    }
                }
            }
            if failures >= FAILURES_MAX {
                return Ok(());
            }
            if let (Ok(false), Ok(())) = (looked, removed) {
                break;
            }
            self.rest(started.elapsed() * REST)?;
        }
        let swept = sweep.swept();
        stats.blobs.set(swept.seen - swept.removed);
        stats.bytes.set(swept.seen_bytes - swept.bytes);
        stats.sweeps.add(1);
        Ok(())
    }

    /// Finds out which of the next blobs nobody refers to; says whether there are more.
    fn look(&self, sweep: &mut BlobSweep, may_remove: &mut bool) -> Result<bool, BlobRequestError> {
        // Taken for one step: one that is kept for long keeps pages from being used again.
        let mut snapshots = None;
        let referrers = self.service.referrers();
        sweep.look(STEP, &mut |blob| {
            if !*may_remove {
                return Ok(true);
            }
            let snapshots = match &mut snapshots {
                Some(snapshots) => snapshots,
                none => {
                    let asked = none.insert(referrers.ask()?);
                    if let Err(error) = Referrers::check_service(asked) {
                        *may_remove = false;
                        self.service.stats().kept_all.set(1);
                        return Err(error);
                    }
                    asked
                }
            };
            for snapshot in snapshots.iter() {
                let found = snapshot.attached_by(*blob, 1);
                if !found.map_err(BlobRequestError::Ledger)?.is_empty() {
                    return Ok(true);
                }
            }
            // Asked last: see `referrers.rs`.
            Ok(referrers.is_backup_under_way())
        })
    }

    /// Removes what nobody refers to, one by one, until it is to end.
    fn remove(&self, sweep: &mut BlobSweep) -> Result<(), BlobRequestError> {
        loop {
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                return Err(BlobRequestError::Stopping);
            }
            if !sweep.remove_next()? {
                return Ok(());
            }
        }
    }

    /// Whether it may be believed that nobody refers to a blob. What speaks against it is
    /// logged.
    fn may_remove(&self) -> Result<bool, Stop> {
        let mut began = Instant::now();
        let mut rest = || {
            let rested = self.rest(began.elapsed() * REST);
            began = Instant::now();
            rested.map_err(|Stop| BlobRequestError::Stopping)
        };
        let referrers = self.service.referrers();
        let sure = referrers.compare(&mut rest);
        let sure = sure.and_then(|()| Referrers::check_service(&referrers.ask()?));
        let kept_all = &self.service.stats().kept_all;
        match sure {
            Ok(()) => {
                kept_all.set(0);
                Ok(true)
            }
            Err(BlobRequestError::Stopping) => Err(Stop),
            Err(error) => {
                // That a ledger could not be asked says nothing of what it would have said.
                if !matches!(error, BlobRequestError::Ledger(_)) {
                    kept_all.set(1);
                }
                tracing::warn!(%error, "no blob is removed in this round");
                Ok(false)
            }
        }
    }

    fn rest(&self, time: Duration) -> Result<(), Stop> {
        match self.stop.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Stop),
        }
    }
}
