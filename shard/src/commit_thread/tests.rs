//! Batches of a commit thread, and how it goes on when one fails.

mod full_disk;
mod sweeping;

use std::thread::JoinHandle;

use corelet_store::{Attachment, BlobId, ContextSlot, RemoteDelta, Verdict};
use crossbeam_channel::Sender;
use futures_lite::future::{block_on, poll_once};

use super::aside::SWEEP_REST;
use super::batch::BATCH_WRITES_MAX;
use super::room::REST;
use super::*;
use crate::clock::System;
use crate::fixture::{self, Disk};
use crate::mailbox::{Inbox, mailbox};

const UNCOMMITTED_MAX: usize = 64;
const BATCH_CHANGES_MAX: usize = 4;

/// A commit thread whose shard is the test.
struct Bench {
    disk: Disk,
    slot: ContextSlot,
    queue: Option<Sender<Queued>>,
    inbox: Inbox<Report>,
    stats: Arc<ShardStats>,
    // What is to run until the thread is started.
    thread: Option<CommitThread>,
    running: Option<JoinHandle<()>>,
}

impl Bench {
    fn new() -> Bench {
        Bench::on(Disk::new())
    }

    fn on(disk: Disk) -> Bench {
        let (queue, receiver) = crossbeam_channel::bounded(UNCOMMITTED_MAX);
        let (reports, inbox) = mailbox(2 * (UNCOMMITTED_MAX + 1) + 1);
        let stats: Arc<ShardStats> = Arc::default();
        Bench {
            slot: disk.create(1),
            disk,
            queue: Some(queue),
            inbox,
            thread: Some(CommitThread {
                queue: receiver,
                reports,
                asks: never(),
                batch_changes_max: BATCH_CHANGES_MAX,
                uncommitted_max: UNCOMMITTED_MAX as u64,
                collector: CollectorBounds::default(),
                time: Arc::new(System),
                stats: Arc::clone(&stats),
            }),
            stats,
            running: None,
        }
    }

    fn send(&self, change: Change, epoch: u64, losses: u64) {
        let queued = Queued {
            epoch,
            losses,
            bytes: change.bytes(),
            change,
        };
        self.queue.as_ref().unwrap().send(queued).unwrap();
    }

    fn write(&self, now: u64, value: &'static str) -> Change {
        fixture::call(1, self.slot, now, &[("key", value)])
    }

    /// What is sent before this waits together.
    fn start(&mut self) {
        let (ledger, thread) = (self.disk.ledger.clone(), self.thread.take().unwrap());
        let commits = std::thread::Builder::new().name("commit-0".to_owned());
        let run = move || run(ledger, thread, Ending::default());
        self.running = Some(commits.spawn(run).unwrap());
    }

    /// The same, and waits until it has swept once, for which it may make a checkpoint.
    fn start_and_sweep(&mut self) {
        let (ask, asks) = crate::asks::asks();
        self.thread.as_mut().unwrap().asks = asks;
        self.start();
        // The second is answered behind the first sweep.
        for _ in 0..2 {
            let (answer, snapshot) = crossbeam_channel::bounded(1);
            ask.send(Ask::Snapshot(answer)).unwrap();
            snapshot.recv().unwrap().unwrap();
        }
    }

    fn report(&mut self) -> Report {
        block_on(self.inbox.take())
    }

    /// The verdicts of the next batch, in words. Before it, the thread may
    /// have had time for a checkpoint.
    fn verdicts(&mut self) -> Vec<&'static str> {
        loop {
            match self.report() {
                Report::Durable { verdicts, .. } => {
                    return verdicts.iter().map(in_a_word).collect();
                }
                Report::Failed(error) => panic!("{error}"),
                Report::Shown(_) | Report::Collected { .. } => {}
            }
        }
    }

    /// Whether the next batch, of which nothing is refused, or a checkpoint before it shows
    /// what is durable.
    fn next_shows(&mut self) -> bool {
        let mut is_shown = false;
        loop {
            match self.report() {
                Report::Durable { verdicts, shown } => {
                    assert!(verdicts.iter().all(Result::is_ok));
                    return is_shown || shown.is_some();
                }
                Report::Failed(error) => panic!("{error}"),
                Report::Shown(_) => is_shown = true,
                Report::Collected { shown, .. } => is_shown |= shown.is_some(),
            }
        }
    }

    fn finish(&mut self) {
        self.queue = None;
        self.running.take().unwrap().join().unwrap();
    }
}

fn in_a_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Ok(_) => "committed",
        Err(Refused::BehindRefused { .. }) => "behind refused",
        Err(Refused::DiskFull) => "no room",
        Err(_) => "refused",
    }
}

#[test]
fn what_has_queued_up_is_one_batch_up_to_its_bound() {
    let mut bench = Bench::new();
    for now in 2..8 {
        bench.send(bench.write(now, "value"), 0, 0);
    }
    bench.start();
    assert_eq!(bench.verdicts().len(), BATCH_CHANGES_MAX);
    assert_eq!(bench.verdicts().len(), 2);
    assert_eq!(bench.stats.batches.get(), 2);
    assert_eq!(bench.stats.batch_changes.sum(), 6);
    bench.finish();
}

/// Whoever removes blobs has to hear of what was acknowledged, and a checkpoint may be far
/// off.
#[test]
fn who_asks_for_a_snapshot_sees_what_is_only_in_the_journal() {
    let mut bench = Bench::new();
    let (ask, asks) = crate::asks::asks();
    bench.thread.as_mut().unwrap().asks = asks;
    bench.start();
    for now in 2..12 {
        let attachment = Attachment {
            blob: BlobId::of(&[now]),
            bytes: 1,
        };
        let attach = fixture::attach(1, bench.slot, now.into(), attachment);
        bench.send(attach, 0, 0);
        assert_eq!(bench.verdicts(), ["committed"]);
        let (answer, snapshot) = crossbeam_channel::bounded(1);
        ask.send(crate::asks::Ask::Snapshot(answer)).unwrap();
        let snapshot = snapshot.recv().unwrap().unwrap();
        let attached_by = snapshot.attached_by(attachment.blob, 2).unwrap();
        assert_eq!(attached_by, [bench.slot]);
    }
    bench.finish();
}

#[test]
fn a_batch_holds_no_more_writes_than_its_shard_can_settle_at_once() {
    // In order, and text: no byte is above 99.
    static KEYS: [[u8; 2]; 6_000] = {
        let mut keys = [[0; 2]; 6_000];
        let mut n = 0;
        while n < keys.len() {
            keys[n] = [(n / 100) as u8, (n % 100) as u8];
            n += 1;
        }
        keys
    };
    let keys = KEYS.iter().map(|key| std::str::from_utf8(key).unwrap());
    let writes: Vec<_> = keys.map(|key| (key, "v")).collect();
    let mut bench = Bench::new();
    for now in 2..5 {
        bench.send(fixture::call(1, bench.slot, now, &writes), 0, 0);
    }
    bench.start();
    let fit = BATCH_WRITES_MAX / KEYS.len();
    assert_eq!(bench.verdicts().len(), fit);
    assert_eq!(bench.verdicts().len(), 3 - fit);
    bench.finish();
}

#[test]
fn a_refused_call_takes_along_those_that_may_have_seen_its_writes() {
    let mut bench = Bench::new();
    let neighbour = bench.disk.create(2);
    let elsewhere = fixture::call(1, neighbour, 2, &[("key", "refused")]);
    bench.send(elsewhere, 0, 0);
    bench.start();
    assert_eq!(bench.verdicts(), ["refused"]);
    bench.send(bench.write(2, "has seen it"), 0, 0);
    assert_eq!(bench.verdicts(), ["behind refused"]);
    bench.send(fixture::call(2, neighbour, 2, &[("key", "apart")]), 0, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
    // Its shard has read the report and lost the effects.
    bench.send(bench.write(3, "begun after it"), 0, 1);
    assert_eq!(bench.verdicts(), ["committed"]);
    bench.finish();
    assert_eq!(bench.disk.get(bench.slot, "key").unwrap(), "begun after it");
}

#[test]
fn after_a_failed_batch_the_rest_of_its_epoch_is_dropped() {
    let mut bench = Bench::on(Disk::with_map(512 << 10));
    static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];
    let large = std::str::from_utf8(&LARGE).unwrap();
    bench.send(bench.write(2, large), 0, 0);
    bench.start();
    let report = bench.report();
    assert!(
        matches!(report, Report::Failed(StoreError::MapFull { .. })),
        "it does not fit into the ledger"
    );
    bench.send(bench.write(3, "of the lost epoch"), 0, 0);
    bench.send(bench.write(4, "of the next one"), 1, 1);
    assert_eq!(bench.verdicts(), ["committed"]);
    bench.finish();
    assert_eq!(
        bench.disk.get(bench.slot, "key").unwrap(),
        "of the next one"
    );
    assert_eq!(bench.stats.batches.get(), 1);
}

/// The writer brings the journal in before it tries once more, and nothing
/// later would have reason to.
#[test]
fn a_batch_that_fails_for_lack_of_room_shows_what_was_durable_before_it() {
    static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];
    let large = std::str::from_utf8(&LARGE).unwrap();
    let mut bench = Bench::on(Disk::with_map(2 << 20));
    bench.send(bench.write(2, "value"), 0, 0);
    let writes = [("large", large), ("larger", large)];
    // Of another epoch, and so a batch of its own.
    bench.send(fixture::call(1, bench.slot, 3, &writes), 1, 0);
    bench.start();
    bench.finish();
    let Report::Durable { shown: None, .. } = bench.report() else {
        panic!("a small batch is journaled")
    };
    let Report::Failed(StoreError::MapFull { .. }) = bench.report() else {
        panic!("a large batch does not fit")
    };
    let Some(Report::Shown(snapshot)) = block_on(poll_once(bench.inbox.take())) else {
        panic!("the checkpoint between them was kept secret")
    };
    let value = snapshot.register(bench.slot, b"key").unwrap();
    assert_eq!(value, Some(&b"value"[..]));
    assert_eq!(bench.stats.checkpoints.get(), 1);
    assert_eq!(bench.stats.journal_bytes.get(), 0);
}

#[test]
fn a_batch_never_holds_changes_of_two_epochs() {
    let mut bench = Bench::new();
    bench.send(bench.write(2, "old"), 0, 0);
    bench.send(bench.write(3, "new"), 1, 0);
    bench.start();
    assert_eq!(bench.verdicts(), ["committed"]);
    assert_eq!(bench.verdicts(), ["committed"]);
    bench.finish();
}

#[test]
fn an_idle_thread_shows_what_is_durable() {
    let mut bench = Bench::new();
    bench.start_and_sweep();
    bench.send(bench.write(2, "value"), 0, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
    assert_eq!(
        bench.disk.get(bench.slot, "key"),
        None,
        "it is in the journal"
    );
    assert!(bench.stats.journal_bytes.get() > 0);
    let Report::Shown(snapshot) = bench.report() else {
        panic!("nothing was sent")
    };
    assert_eq!(
        snapshot.register(bench.slot, b"key").unwrap(),
        Some(&b"value"[..])
    );
    assert_eq!(bench.stats.checkpoints.get(), 1);
    assert_eq!(bench.stats.journal_bytes.get(), 0);
    bench.finish();
}

/// Its context is held until then, and a shard may never be idle: the first checkpoint for
/// one makes others rest, and the second one comes when they have rested.
#[test]
fn what_comes_from_other_nodes_is_shown_soon() {
    let mut bench = Bench::new();
    bench.start_and_sweep();
    let (peer, slot) = (fixture::Peer::new(), bench.slot);
    let mut is_resting = false;
    for pair in 1..100 {
        let deltas = [2 * pair, 2 * pair + 1].map(|now| peer.write(now, "theirs", "value"));
        // Of different epochs, so that the second is a batch of its own right behind the first.
        for (epoch, delta) in (2 * pair..).zip(deltas) {
            bench.send(Change::Delta(RemoteDelta { slot, delta }), epoch, 0);
        }
        bench.next_shows();
        // Unless the thread was held up between them.
        is_resting = !bench.next_shows();
        if is_resting {
            break;
        }
    }
    assert!(is_resting, "each was shown at once");
    let micros = bench.stats.checkpoint_micros.sum() + 1;
    let rested = Instant::now() + Duration::from_micros(micros) * REST;
    for now in 1_000.. {
        let has_rested = rested <= Instant::now();
        bench.send(bench.write(now, "ours"), 1_000, 0);
        if bench.next_shows() {
            break;
        }
        assert!(
            !has_rested,
            "it is not shown, although checkpoints have rested"
        );
    }
    bench.finish();
}

/// A reader who asks again and again for all that is durable beside a writer: each gets it, and
/// checkpoints rest in between, so that calls do not wait for one after the other.
#[test]
fn who_asks_for_snapshots_without_end_leaves_time_to_calls() {
    let mut bench = Bench::new();
    let (ask, asks) = crate::asks::asks();
    bench.thread.as_mut().unwrap().asks = asks;
    bench.start();
    let begun = Instant::now();
    let mut rested_micros = 0;
    for now in 2..200 {
        let value: &str = ["one", "another"][now as usize % 2];
        bench.send(bench.write(now, value), 0, 0);
        assert_eq!(bench.verdicts(), ["committed"]);
        // Behind all checkpoints so far comes a rest before the next one.
        rested_micros = bench.stats.checkpoint_micros.sum();
        let (answer, snapshot) = crossbeam_channel::bounded(1);
        ask.send(Ask::Snapshot(answer)).unwrap();
        let snapshot = snapshot.recv().unwrap().unwrap();
        let found = snapshot.register(bench.slot, b"key").unwrap();
        assert_eq!(found, Some(value.as_bytes()), "it lacks what is durable");
    }
    let rested = Duration::from_micros(rested_micros) * REST;
    assert!(begun.elapsed() >= rested, "it was not {rested:?}");
    bench.finish();
}

/// A stranger can send them without end.
#[test]
fn what_other_nodes_have_made_and_is_refused_makes_no_checkpoint() {
    let mut bench = Bench::new();
    let delta = fixture::Peer::new().write(2, "key", "theirs");
    let slot = bench.slot;
    let change = Change::Delta(RemoteDelta { slot, delta });
    let applied = bench
        .disk
        .ledger
        .writer()
        .commit_shown(vec![change.clone()]);
    assert!(applied.unwrap().verdicts[0].is_ok());
    bench.start();
    for now in 3..63 {
        bench.send(bench.write(now, "ours"), 0, 0);
        assert_eq!(bench.verdicts(), ["committed"]);
        bench.send(change.clone(), 0, 0);
        assert_eq!(bench.verdicts(), ["refused"]);
    }
    // For what an earlier life may have left to sweep.
    assert!(bench.stats.checkpoints.get() <= 1);
    bench.finish();
}

#[test]
fn the_end_brings_everything_in() {
    let mut bench = Bench::new();
    bench.start();
    bench.send(bench.write(2, "value"), 0, 0);
    bench.finish();
    assert_eq!(bench.disk.get(bench.slot, "key").unwrap(), "value");
    assert!(!bench.disk.ledger.writer().has_unshown());
}

/// So little is kept that everything but the newest span goes.
fn eager() -> CollectorBounds {
    let mut bounds = CollectorBounds {
        every: Duration::from_millis(1),
        ..CollectorBounds::default()
    };
    bounds.retention.history.count_max = 0;
    bounds
}

#[test]
fn the_collector_works_between_batches_and_tells_one_thing_at_a_time() {
    let mut bench = Bench::new();
    bench.thread.as_mut().unwrap().collector = eager();
    bench.start();
    let mut now = 2;
    while bench.stats.deltas_dropped.get() < 192 {
        for _ in 0..BATCH_CHANGES_MAX {
            bench.send(bench.write(now, "value"), 0, 0);
            now += 1;
        }
        let mut left = BATCH_CHANGES_MAX;
        while left > 0 {
            if let Report::Durable { verdicts, .. } = bench.report() {
                assert!(verdicts.iter().all(Result::is_ok));
                left -= verdicts.len();
            }
        }
    }
    bench.finish();
    let snapshot = bench.disk.ledger.snapshot().unwrap();
    let head = snapshot.head(bench.slot).unwrap();
    assert_eq!(head.log_count + bench.stats.deltas_dropped.get(), now - 2);
    assert!(bench.stats.collector_steps.get() > 0);
    assert!(bench.stats.collector_micros_max.get() > 0);
    assert_eq!(bench.disk.get(bench.slot, "key").unwrap(), "value");
}

#[test]
fn an_idle_collector_brings_in_what_it_has_done_and_tells() {
    let mut bench = Bench::new();
    for now in 2..150 {
        let call = bench.write(now, "value");
        bench.disk.ledger.commit(vec![call]).unwrap();
    }
    bench.thread.as_mut().unwrap().collector = eager();
    bench.start();
    let Report::Collected {
        shown: Some(snapshot),
        ..
    } = bench.report()
    else {
        panic!("nobody has called")
    };
    let head = snapshot.head(bench.slot).unwrap();
    assert!(head.log_count <= 64, "{}", head.log_count);
    bench.finish();
}

#[test]
fn answers_that_are_past_their_time_go_without_a_call() {
    let mut bench = Bench::new();
    // Of 1970, by the clock that the collector has.
    bench
        .disk
        .ledger
        .commit(vec![fixture::keyed(1, bench.slot, 2)])
        .unwrap();
    let kept = |bench: &Bench| {
        let snapshot = bench.disk.ledger.snapshot().unwrap();
        let key = corelet_store::AnswerKey::of(b"key");
        snapshot.kept_answer(bench.slot, &key).unwrap().is_some()
    };
    assert!(kept(&bench));
    bench.thread.as_mut().unwrap().collector = eager();
    bench.start();
    while bench.stats.answers_expired.get() == 0 {
        std::thread::yield_now();
    }
    bench.finish();
    assert!(!kept(&bench));
    assert_eq!(bench.stats.answers_expired.get(), 1);
}

#[test]
fn a_deleted_context_is_swept_without_being_asked() {
    let mut bench = Bench::new();
    bench.start();
    bench.send(bench.write(2, "value"), 0, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
    bench.send(Change::DeleteContext(fixture::id(1)), 0, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
    while bench.disk.ledger.stats().unwrap().graves > 0
        || bench.disk.ledger.stats().unwrap().entries > 0
    {
        std::thread::yield_now();
    }
    bench.finish();
    // The entry, its delta, and what else the context had left.
    assert!(bench.stats.swept.get() >= 2);
}
