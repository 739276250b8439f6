//! The commit thread: takes what has queued up behind it as one batch, makes it
//! durable, reports, and begins again; so a batch closes by itself at the right
//! moment. It holds the ledger's one writer, decides when there is time for a
//! checkpoint and for sweeping, and sleeps in the flush while its shard goes on
//! working. The shard's side is in `commit_stage.rs`. Start at [`run`].
//!
//! | beside | |
//! |---|---|
//! | `batch.rs` | what is committed together |
//! | `checkpoints.rs` | checkpoints, and the snapshots that show them |
//! | `aside.rs` | what is done between batches: collector, sweep, saved sequences |
//! | `asks.rs` | what other threads ask for |
//! | `room.rs` | what is known of a disk without room |

mod aside;
mod asks;
mod batch;
mod checkpoints;
mod room;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{BatchOutcome, Change, Ledger, LedgerWriter, Refused, Snapshot, StoreError};
use crossbeam_channel::{Receiver, Sender, TryRecvError, never};

use self::batch::{Batch, Broken};
use self::checkpoints::CHECKPOINT_FAILED;
use self::room::{Claim, Room, disk_full};
use crate::asks::Ask;
use crate::bounds::CollectorBounds;
use crate::clock::Source;
use crate::collector::{Collector, Outcome};
use crate::commit_stage::Report;
use crate::ending::Ending;
use crate::mailbox::Outbox;
use crate::saver::Saver;
use crate::stats::ShardStats;

/// On a shard that is never idle it is looked after so many batches whether a step of the sweep
/// is due.
const SWEEP_EVERY_BATCHES: u64 = 16;

/// Without work for so long, the commit thread makes a checkpoint: a restart
/// then has nothing to replay, and idle contexts need no memory.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);

/// A change on its way to the disk.
pub(crate) struct Queued {
    pub(crate) epoch: u64,
    /// What its context had lost when the call began.
    pub(crate) losses: u64,
    pub(crate) bytes: u64,
    pub(crate) change: Change,
}

/// What the commit thread is given.
pub(crate) struct CommitThread {
    pub(crate) queue: Receiver<Queued>,
    pub(crate) reports: Outbox<Report>,
    /// Who wants to see all that is durable.
    pub(crate) asks: Receiver<Ask>,
    pub(crate) batch_changes_max: usize,
    pub(crate) uncommitted_max: u64,
    pub(crate) collector: CollectorBounds,
    /// What the collector takes for now.
    pub(crate) time: Arc<dyn Source>,
    pub(crate) stats: Arc<ShardStats>,
}

/// The commit thread: until its shard lets go of the queue.
pub(crate) fn run(ledger: Ledger, thread: CommitThread, ending: Ending) {
    let collector = Collector::new(
        thread.collector.clone(),
        Arc::clone(&thread.stats),
        ledger.is_left_unread(),
    );
    let mut worker = Worker {
        ledger: &ledger,
        collector,
        collected: Arc::default(),
        owes_collected: Outcome::default(),
        writer: ledger.writer(),
        thread,
        ending,
        held: None,
        owes_snapshot: false,
        lost: None,
        broken: VecDeque::new(),
        taken: 0,
        sweeping: true,
        sweep_due: Instant::now(),
        sweeps_alone: false,
        owes_deltas: false,
        asked: Vec::new(),
        room: Room::new(Instant::now()),
        batches: 0,
        saver: start_saver(&ledger),
    };
    while let Some(first) = worker.next() {
        worker.commit(first);
    }
    // The next start has less to do, but would find everything without it, too.
    if let Err(error) = worker.writer.checkpoint() {
        tracing::warn!(%error, "what is in the journal could not be brought into the ledger");
    }
}

/// Without it lists and texts take longer to open.
fn start_saver(ledger: &Ledger) -> Option<Saver> {
    match Saver::start(ledger) {
        Ok(saver) => Some(saver),
        Err(error) => {
            tracing::warn!(%error, "lists and texts are not saved as wholes, so that opening one takes longer");
            None
        }
    }
}

/// What else has ended a wait for a change.
enum Waited {
    /// A list or text was kept as a whole, or somebody answered.
    Aside,
    /// The time is over.
    InVain,
    /// There will be no more changes.
    Closed,
}

struct Worker<'l> {
    ledger: &'l Ledger,
    collector: Collector,
    // The one place that the collector's reports have: taken while somebody else has it, too.
    collected: Arc<()>,
    // What the shard has not yet heard of the collector.
    owes_collected: Outcome,
    writer: LedgerWriter<'l>,
    thread: CommitThread,
    ending: Ending,
    // A change that did not fit into the batch before.
    held: Option<Queued>,
    // Whether the shard has not been given the snapshot of the last checkpoint,
    // because all were in use. Until it is, every batch is a checkpoint, unless there
    // is no room for one: a snapshot must not come with less than what was reported
    // before it.
    owes_snapshot: bool,
    // Everything of an epoch up to this one is lost.
    lost: Option<u64>,
    // Contexts of which a call was refused, oldest first.
    broken: VecDeque<Broken>,
    // Changes taken from the queue so far.
    taken: u64,
    // Whether deleted contexts have left records behind; at the start, whether
    // an earlier life has.
    sweeping: bool,
    // When the next step of the sweep may be made.
    sweep_due: Instant,
    // Whether its next step is to have a transaction of its own, as there was no room for one together with
    // what batches have written.
    sweeps_alone: bool,
    // Whether there is something of other nodes that no snapshot shows.
    owes_deltas: bool,
    // Who waits for a snapshot until checkpoints have rested.
    asked: Vec<Sender<Result<Snapshot, StoreError>>>,
    room: Room,
    batches: u64,
    saver: Option<Saver>,
}

impl Worker<'_> {
    /// The change that opens the next batch. Sweeps and brings the journal in
    /// while there is none.
    fn next(&mut self) -> Option<Queued> {
        while let Ok(ask) = self.thread.asks.try_recv() {
            self.answer(ask);
        }
        self.give_asked();
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let mut checkpoint_due = Instant::now() + CHECKPOINT_IDLE;
        loop {
            while self.may_sweep() {
                match self.thread.queue.try_recv() {
                    Ok(first) => return Some(first),
                    Err(TryRecvError::Disconnected) => return None,
                    Err(TryRecvError::Empty) => {
                        let is_first = !self.writer.has_unshown() && !self.writer.has_collected();
                        self.sweep();
                        if is_first {
                            checkpoint_due = Instant::now() + CHECKPOINT_IDLE;
                        }
                    }
                }
                // A large context takes long, and others wait.
                while let Ok(ask) = self.thread.asks.try_recv() {
                    self.answer(ask);
                }
                self.give_asked();
                if self.collect_due() <= Instant::now() && self.thread.queue.is_empty() {
                    self.step_collector();
                }
            }
            self.give_asked();
            let has_unshown = self.writer.has_unshown() || self.owes_snapshot;
            let collect_due = self.collect_due();
            let has_collected = self.writer.has_collected();
            if self.owes_deltas || !self.asked.is_empty() {
                checkpoint_due = checkpoint_due.min(self.room.rested());
            }
            let is_for_checkpoint = (has_unshown || has_collected) && checkpoint_due < collect_due;
            let due = match is_for_checkpoint {
                true => checkpoint_due,
                false => collect_due,
            };
            let is_for_sweep = self.sweeping && self.sweep_due < due;
            let due = match is_for_sweep {
                true => self.sweep_due,
                false => due,
            };
            match self.wait(due) {
                Ok(first) => return Some(first),
                Err(Waited::Closed) => return None,
                Err(Waited::Aside) => {}
                Err(Waited::InVain) if is_for_sweep => {}
                Err(Waited::InVain) if !is_for_checkpoint => {
                    self.step_collector();
                    if !has_unshown && !has_collected {
                        checkpoint_due = Instant::now() + CHECKPOINT_IDLE;
                    }
                }
                Err(Waited::InVain) => {
                    if !self.bring_in_idle() {
                        self.sweep_alone_later();
                    }
                    checkpoint_due = Instant::now() + CHECKPOINT_IDLE;
                }
            }
        }
    }

    /// Waits for a change. What the saver has made meanwhile is kept, and who asks is
    /// answered.
    fn wait(&mut self, until: Instant) -> Result<Queued, Waited> {
        self.tell_room();
        let never_saved = never();
        let saved = self
            .saver
            .as_ref()
            .map_or(&never_saved, |saver| &saver.saved);
        let deadline = crossbeam_channel::at(until);
        crossbeam_channel::select! {
            recv(self.thread.queue) -> first => {
                return first.map_err(|_| Waited::Closed);
            }
            recv(self.thread.asks) -> ask => {
                match ask {
                    Ok(ask) => self.answer(ask),
                    // Nobody is left who could ask.
                    Err(_) => self.thread.asks = never(),
                }
                return Err(Waited::Aside);
            }
            recv(saved) -> saved => match saved {
                Ok((name, saved)) => self.keep_saved(&name, &saved),
                // It has ended before its time.
                Err(_) => self.saver = None,
            },
            recv(deadline) -> _ => return Err(Waited::InVain),
        }
        Err(Waited::Aside)
    }

    fn report(&self, report: Report) {
        if self.thread.reports.post(report).is_err() {
            unreachable!("there is a place for every report");
        }
    }

    /// Commits what has queued up behind `first`.
    fn commit(&mut self, first: Queued) {
        let batch = self.collect(first);
        if batch.changes.is_empty() && batch.refused.is_empty() {
            return;
        }
        self.show_owed();
        match self.has_room_for(&batch) {
            true => self.write(batch),
            false => self.give_up(
                batch.epoch,
                batch.changes.len(),
                batch.has_calls,
                disk_full(),
            ),
        }
        self.tell_room();
        self.batches += 1;
        let saved = self
            .saver
            .as_ref()
            .and_then(|saver| saver.saved.try_recv().ok());
        if let Some((name, saved)) = saved {
            self.keep_saved(&name, &saved);
        }
        // One step of one of both, and then the calls that have come meanwhile.
        if self.may_sweep() && self.batches.is_multiple_of(SWEEP_EVERY_BATCHES) {
            self.sweep();
        } else if self.collect_due() <= Instant::now() {
            self.step_collector();
        }
    }

    /// Whether a batch is to be tried. What is like something that has found no room is not, but
    /// for now and then. What the journal may have room for is, and what makes room.
    fn has_room_for(&mut self, batch: &Batch) -> bool {
        if !self.room.is_lacking() || batch.claim == Claim::Margin {
            return true;
        }
        let may_journal = batch.claim == Claim::Journal && self.room.may_journal(batch.bytes);
        if self.room.must_wait() || may_journal && !self.owes_deltas {
            return may_journal;
        }
        // Without the batch: should it fail, it would take what the journal has out of memory.
        match self.show_all() {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "{CHECKPOINT_FAILED}");
                may_journal
            }
        }
    }

    /// Tells that a batch of so many changes has left nothing. What is behind calls is lost with
    /// them; of anything else nobody has seen a trace, so that it is refused alone.
    fn give_up(&mut self, epoch: u64, count: usize, has_calls: bool, error: StoreError) {
        if !has_calls && matches!(error, StoreError::DiskFull { .. }) {
            let verdicts = (0..count).map(|_| Err(Refused::DiskFull)).collect();
            let shown = None;
            return self.report(Report::Durable { verdicts, shown });
        }
        self.lost = Some(epoch);
        self.report(Report::Failed(error));
    }

    /// Makes a batch durable.
    fn write(&mut self, batch: Batch) {
        let Batch {
            epoch,
            has_calls,
            changes,
            bytes,
            calls,
            refused,
            ..
        } = batch;
        let deletes = |change: &Change| matches!(change, Change::DeleteContext(_));
        self.sweeping |= changes.iter().any(deletes);
        let count = changes.len();
        let had_unshown = self.writer.has_unshown();
        let started = Instant::now();
        let is_delta = |change: &Change| matches!(change, Change::Delta(_));
        let deltas: Vec<bool> = changes.iter().map(is_delta).collect();
        let is_call = |change: &Change| matches!(change, Change::Call(_));
        let is_all_calls = changes.iter().all(is_call);
        let is_lacking = self.room.is_lacking();
        // Without room, what is of other nodes is here only to be tried.
        let has_rested = match is_lacking {
            true => !has_calls,
            false => self.room.rested() <= started,
        };
        let is_for_deltas = has_rested && (self.owes_deltas || deltas.contains(&true));
        let is_for_snapshot = self.owes_snapshot && !is_lacking;
        let is_for_journal = is_all_calls && !is_for_deltas && !is_for_snapshot;
        let committed = if is_for_snapshot || is_for_deltas && self.owes_deltas {
            self.writer.commit_shown(changes)
        } else if is_for_deltas {
            self.writer.commit_deltas_shown(changes)
        } else {
            self.writer.commit(changes)
        };
        match committed {
            Ok(BatchOutcome {
                mut verdicts,
                is_shown,
                leaves_litter,
                due,
                answers_early,
                ..
            }) => {
                self.thread.stats.answers_early.add(answers_early);
                self.sweeping |= leaves_litter;
                let mut deltas = deltas.iter().zip(&verdicts);
                self.owes_deltas |= deltas.any(|(is_delta, verdict)| *is_delta && verdict.is_ok());
                if let Some(saver) = &self.saver {
                    due.into_iter().for_each(|name| saver.save(name));
                }
                self.count(count as u64, is_shown, started.elapsed());
                self.remember_refusals(&calls, &verdicts);
                for (place, context) in refused {
                    verdicts.insert(place, Err(Refused::BehindRefused { context }));
                }
                let shown = if is_shown { self.snapshot() } else { None };
                self.report(Report::Durable { verdicts, shown });
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("commit", &error),
            Err(error) => {
                if matches!(error, StoreError::DiskFull { .. }) {
                    self.missed(&error);
                    if is_for_journal {
                        self.room.missed_in_journal(bytes);
                    }
                }
                self.give_up(epoch, count, has_calls, error);
                // The writer may have made a checkpoint of the batches before
                // this one, to make room for it.
                if had_unshown && !self.writer.has_unshown() {
                    self.show(started.elapsed());
                } else if is_lacking {
                    // What the shard reads from may hold up the pages that the batch has lacked.
                    self.owes_collected.is_shown = true;
                    self.report_collected(false);
                }
            }
        }
    }

    fn count(&mut self, changes: u64, is_checkpoint: bool, took: Duration) {
        let stats = &self.thread.stats;
        stats.batches.one();
        stats.batch_changes.observe(changes);
        stats.batch_micros.observe_micros(took);
        stats.journal_bytes.set(self.writer.journal_bytes());
        if is_checkpoint {
            self.count_checkpoint(took);
        }
    }

    /// Tells whether the disk has room, as far as it is known.
    fn tell_room(&self) {
        let is_lacking = self.room.is_lacking();
        self.thread.stats.disk_full.set(u64::from(is_lacking));
    }

    fn stop_in_doubt(&self, what: &str, error: &StoreError) -> ! {
        let why = format!("cannot tell what is on disk after a failed {what}");
        self.ending.in_doubt(&why, error)
    }
}

#[cfg(test)]
mod tests;
