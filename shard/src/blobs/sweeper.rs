//! The thread that removes blobs to which nobody refers, past their time, some at a time:
//! it goes through all of them now and then, and rests four times as long as it works. The
//! rule by which none goes that somebody refers to, or is about to, is the store's
//! (`store/src/blobs/removal.rs`). Start at [`Sweeper::run`].

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

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
struct Stop;

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
    fn round(&self) -> Result<(), Stop> {
        let mut may_remove = self.may_remove()?;
        let mut sweep = self.service.blobs().sweep(self.ttl);
        let stats = self.service.stats();
        let (mut blobs, mut bytes, mut failures) = (0, 0, 0);
        loop {
            let started = Instant::now();
            // Taken for one step: one that is kept for long keeps pages from being used again.
            let mut snapshots = None;
            let referrers = self.service.referrers();
            let step = sweep.step(STEP, &mut |blob| {
                if !may_remove {
                    return Ok(true);
                }
                let snapshots = match &mut snapshots {
                    Some(snapshots) => snapshots,
                    none => {
                        let asked = none.insert(referrers.ask()?);
                        if let Err(error) = Referrers::check_service(asked) {
                            may_remove = false;
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
            });
            drop(snapshots);
            match step {
                Ok(swept) => {
                    blobs += swept.seen - swept.removed;
                    bytes += swept.seen_bytes - swept.bytes;
                    stats.swept.add(swept.removed);
                    stats.swept_bytes.add(swept.bytes);
                    if swept.is_over {
                        break;
                    }
                }
                Err(BlobRequestError::Stopping) => return Err(Stop),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "a blob could not be looked at or removed; it stays");
                    if failures == FAILURES_MAX {
                        return Ok(());
                    }
                }
            }
            self.rest(started.elapsed() * REST)?;
        }
        stats.blobs.set(blobs);
        stats.bytes.set(bytes);
        stats.sweeps.add(1);
        Ok(())
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
        self.service.stats().kept_all.set(u64::from(sure.is_err()));
        match sure {
            Ok(()) => Ok(true),
            Err(BlobRequestError::Stopping) => Err(Stop),
            Err(error) => {
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
