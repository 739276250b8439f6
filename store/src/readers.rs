//! Which snapshots of a ledger are in use, and for how long the oldest of them keeps pages from
//! being used again. LMDB tells neither: its own figure is how many places for readers were ever
//! taken at the same time. Nothing is refused here (see `Ledger::snapshot`).
//!
//! Shared by all threads that have snapshots, and locked for a few instructions when one is
//! taken or dropped: with each checkpoint and each copy, and not with calls.

#![expect(
    clippy::disallowed_types,
    reason = "held for a few instructions, as LMDB holds its own lock of the readers"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The snapshots of one ledger that are in use.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<Vec<Moment>>);

/// Snapshots that show the same, in the order of what they show.
#[derive(Debug)]
struct Moment {
    /// Of the last transaction that they show.
    txn: usize,
    snapshots: u32,
    /// Since when there is a later one: what that has freed is not used again before these
    /// are dropped.
    overtaken: Option<Instant>,
}

/// What makes a snapshot count as long as it lives.
#[derive(Debug)]
pub(crate) struct Reader {
    readers: Arc<Readers>,
    txn: usize,
}

impl Readers {
    /// Counts a snapshot that shows everything up to transaction `txn`.
    pub(crate) fn enter(self: &Arc<Readers>, txn: usize) -> Reader {
        self.enter_at(txn, Instant::now())
    }

    fn enter_at(self: &Arc<Readers>, txn: usize, now: Instant) -> Reader {
        let mut moments = self.lock();
        overtake(&mut moments, txn, now);
        match moments.binary_search_by_key(&txn, |moment| moment.txn) {
            Ok(place) => moments[place].snapshots += 1,
            Err(place) => {
                let is_latest = place == moments.len();
                let moment = Moment {
                    txn,
                    snapshots: 1,
                    overtaken: (!is_latest).then_some(now),
                };
                moments.insert(place, moment);
            }
        }
        drop(moments);
        Reader {
            readers: Arc::clone(self),
            txn,
        }
    }

    /// How many are in use.
    pub(crate) fn in_use(&self) -> u32 {
        self.lock().iter().map(|moment| moment.snapshots).sum()
    }

    /// The last transaction that the oldest one shows.
    pub(crate) fn oldest(&self) -> Option<usize> {
        self.lock().first().map(|oldest| oldest.txn)
    }

    /// For how long, at `now`, the oldest one has kept pages from being used again, if
    /// transaction `last` is the last one. Zero if none does.
    pub(crate) fn held_up(&self, last: usize, now: Instant) -> Duration {
        let mut moments = self.lock();
        overtake(&mut moments, last, now);
        let since = moments.first().and_then(|oldest| oldest.overtaken);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that there is transaction `txn`, which those before it do not show.
fn overtake(moments: &mut [Moment], txn: usize, now: Instant) {
    for moment in moments.iter_mut().filter(|moment| moment.txn < txn) {
        moment.overtaken.get_or_insert(now);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut moments = self.readers.lock();
        let found = moments.binary_search_by_key(&self.txn, |moment| moment.txn);
        let place = found.expect("a moment stays as long as its snapshots");
        moments[place].snapshots -= 1;
        if moments[place].snapshots == 0 {
            moments.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::fixture;
    use crate::ids::{DataId, ShardCount};
    use crate::ledger::{LedgerConfig, open_env};
    use crate::place::{LedgerIdentity, LedgerPlace};

    const OF_WHAT: &str = "CORELET_TEST_READS";

    #[test]
    fn a_snapshot_holds_pages_up_from_when_it_is_overtaken_until_it_is_dropped() {
        let readers: Arc<Readers> = Arc::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let held_up = |last, seconds| readers.held_up(last, at(seconds)).as_secs();
        let first = readers.enter_at(1, at(0));
        let again = readers.enter_at(1, at(5));
        assert_eq!(readers.in_use(), 2);
        assert_eq!(held_up(1, 100), 0, "nothing is newer");
        let second = readers.enter_at(2, at(110));
        assert_eq!(held_up(2, 115), 5);
        drop(first);
        assert_eq!(held_up(2, 116), 6, "the other one shows the same");
        drop(again);
        assert_eq!(held_up(2, 117), 0);
        // A transaction of which nobody has taken a snapshot.
        assert_eq!(held_up(3, 120), 0);
        assert_eq!(held_up(3, 121), 1);
        assert_eq!(readers.in_use(), 1);
        drop(second);
        assert_eq!((readers.in_use(), held_up(3, 122)), (0, 0));
    }

    /// As an operator's tool that was killed: nobody else gives its place back.
    #[test]
    fn a_reader_of_another_process_that_was_killed_is_cleared_and_counted() {
        let (_dir, ledger, _) = fixture::two();
        let mut other = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "readers::tests::read_until_killed",
                "--nocapture",
            ])
            .env(OF_WHAT, ledger.shared.env.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("reading")));
        assert_eq!(ledger.clear_stale_readers().unwrap(), 0, "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(ledger.clear_stale_readers().unwrap(), 1);
        assert_eq!(ledger.clear_stale_readers().unwrap(), 0);
        assert_eq!(ledger.in_use().stale_readers, 1);
    }

    /// The other process of the test above.
    #[test]
    fn read_until_killed() {
        let Some(dir) = std::env::var_os(OF_WHAT).map(PathBuf::from) else {
            return;
        };
        let identity = LedgerIdentity {
            data: DataId::from_bytes([0; 32]),
            shard: ShardCount::new(1).unwrap().shards().next().unwrap(),
        };
        let place = LedgerPlace::new(dir, identity);
        let env = open_env(&place, &LedgerConfig::default()).unwrap();
        let _txn = env.read_txn().unwrap();
        println!("reading");
        let _ = std::io::stdin().read(&mut [0]);
    }

    #[test]
    fn what_of_its_bounds_a_ledger_uses_is_told_though_there_is_no_place_for_a_reader() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = fixture::open(&dir);
        let most = ledger.in_use().readers_max;
        let newest = ledger.snapshot().unwrap();
        let mut all: Vec<_> = (1..most).map(|_| ledger.snapshot().unwrap()).collect();
        let refused = ledger.snapshot().err();
        assert!(matches!(
            refused,
            Some(crate::error::StoreError::ReadersFull { readers_max }) if readers_max == most
        ));
        let used = ledger.in_use();
        assert_eq!((used.readers, used.readers_peak), (most, most));
        assert!(ledger.free_bytes(&newest).unwrap() < used.map_bytes_used);
        all.clear();
        let used = ledger.in_use();
        assert_eq!((used.readers, used.readers_peak), (1, most));
        ledger.snapshot().unwrap();
    }
}
