//! The commit thread: takes what has queued up behind it as one batch, makes it
//! durable, reports, and begins again; so a batch closes by itself at the right
//! moment. It holds the ledger's one writer, decides when there is time for a
//! checkpoint and for sweeping, and sleeps in the flush while its shard goes on
//! working. The shard's side is in `commit_stage.rs`. Start at [`run`].

mod room;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{
    BATCH_BYTES_MAX, BatchOutcome, Change, ContextId, Damage, Ledger, LedgerWriter, Refused,
    SavedSequence, SequenceName, Snapshot, StoreError, Verdict,
};
use crossbeam_channel::{Receiver, Sender, TryRecvError, never};

use crate::asks::Ask;
use crate::bounds::CollectorBounds;
use crate::clock::Source;
use crate::collector::{Collector, Outcome, is_known};
use crate::commit_stage::Report;
use crate::ending::Ending;
use crate::mailbox::Outbox;
use crate::saver::Saver;
use crate::stats::ShardStats;

use self::room::{Claim, Room, TRY_AGAIN, disk_full};

/// Records of deleted contexts dropped in one transaction.
const SWEEP_RECORDS: usize = 256;

/// Writes in one batch, unless one call has more: its shard settles them in one
/// go, at some tenths of a microsecond each.
const BATCH_WRITES_MAX: usize = 16_384;

/// On a shard that is never idle it is looked after so many batches whether a step of the sweep
/// is due.
const SWEEP_EVERY_BATCHES: u64 = 16;

/// After each step the sweep rests for so many times as long as that has taken, with the
/// checkpoint that it needs before it: calls go first.
const SWEEP_REST: u32 = 4;

/// Without work for so long, the commit thread makes a checkpoint: a restart
/// then has nothing to replay, and idle contexts need no memory.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);

const CHECKPOINT_FAILED: &str =
    "a checkpoint failed; what is in the journal is safe, and the next one tries again";

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
    // Whether there is something of other nodes that no snapshot shows.
    owes_deltas: bool,
    // Who waits for a snapshot until checkpoints have rested.
    asked: Vec<Sender<Result<Snapshot, StoreError>>>,
    room: Room,
    batches: u64,
    saver: Option<Saver>,
}

/// A context of which a call was refused: calls that may have seen its writes
/// are refused too. Until its shard has read the report they keep coming, but
/// not longer than the queue is long.
struct Broken {
    context: ContextId,
    losses: u64,
    until: u64,
}

/// What is committed together.
#[derive(Default)]
struct Batch {
    // Of what is in it; what was dropped before does not count.
    epoch: u64,
    // Of all that is in it, if the disk has no room; else of what it began with.
    claim: Claim,
    // Whether there is a call in it, of which others may have seen the effects.
    has_calls: bool,
    changes: Vec<Change>,
    bytes: u64,
    writes: usize,
    // Whose call each change is, and what that context had lost.
    calls: Vec<Option<(ContextId, u64)>>,
    // Places of calls that are refused before they are tried.
    refused: Vec<(usize, ContextId)>,
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
                    Err(TryRecvError::Empty) => self.sweep(),
                }
                // A large context takes long, and others wait.
                while let Ok(ask) = self.thread.asks.try_recv() {
                    self.answer(ask);
                }
                self.give_asked();
                if self.collect_due() <= Instant::now() {
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
                    self.bring_in_idle();
                    checkpoint_due = Instant::now() + CHECKPOINT_IDLE;
                }
            }
        }
    }

    /// Brings in what there is, and gives the shard what it is owed.
    fn bring_in_idle(&mut self) {
        if self.writer.has_unshown() {
            if let Err(error) = self.checkpoint() {
                tracing::warn!(%error, "{CHECKPOINT_FAILED}");
            }
            return;
        }
        self.show_owed();
        if self.writer.has_collected() {
            self.bring_in_collected();
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

    /// Keeps a list or text as a whole, if it is still there.
    fn keep_saved(&mut self, name: &SequenceName, saved: &SavedSequence) {
        // It takes a checkpoint, of which the shard has to hear.
        let shown = self.show_all();
        match shown.and_then(|()| self.writer.keep_saved(name, saved)) {
            Ok(true) => self.thread.stats.sequences_saved.one(),
            Ok(false) => {}
            Err(error) if error.is_fatal() => self.stop_in_doubt("save", &error),
            Err(error) => {
                tracing::warn!(%error, "a list or text could not be kept as a whole; opening it takes longer");
            }
        }
    }

    /// Does what another thread has asked for.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(answer) => self.asked.push(answer),
            Ask::PutOutOfService {
                context,
                error,
                is_out,
            } => {
                let damage = Damage {
                    slot: None,
                    context: Some(context),
                    error,
                };
                let mut is_it = false;
                self.have_collector(|collector, ledger, writer| {
                    let damaged = [damage].into_iter();
                    let outcome = collector.put_out_of_service(ledger, writer, damaged)?;
                    is_it = outcome.quarantined.iter().any(|(id, _)| *id == context)
                        || is_known(&ledger.snapshot()?, context)?;
                    Ok(outcome)
                });
                // Who asked may be gone.
                let _ = is_out.try_send(is_it);
            }
        }
    }

    /// Gives snapshots that show everything that was reported as durable so far to all who wait
    /// for one, unless that takes a checkpoint and the last one was just made: else whoever asks
    /// without end would have calls wait for one checkpoint after the other.
    fn give_asked(&mut self) {
        if self.writer.has_unshown() && self.room.is_resting() {
            return;
        }
        for answer in std::mem::take(&mut self.asked) {
            // Without anything unshown there is no report either, so that there is a place
            // for every report, however often somebody asks.
            let shown = self.show_all();
            let snapshot = shown.and_then(|()| self.snapshot_for_others());
            // Who asked may be gone.
            let _ = answer.try_send(snapshot);
        }
    }

    /// A snapshot for who may keep it for long. Half of the places are left to calls: without one
    /// for what the next checkpoint shows, all that is written would stay in memory.
    fn snapshot_for_others(&self) -> Result<Snapshot, StoreError> {
        let used = self.ledger.in_use();
        match used.readers < used.readers_max / 2 {
            true => self.ledger.snapshot(),
            false => Err(StoreError::ReadersFull {
                readers_max: used.readers_max,
            }),
        }
    }

    /// When the collector's next step is due. It may need a checkpoint.
    fn collect_due(&self) -> Instant {
        let due = self.collector.due(self.writer.has_grown());
        self.room.or_next_try(due)
    }

    /// One step of the collector.
    fn step_collector(&mut self) {
        let now = self.thread.time.wall();
        self.have_collector(|collector, ledger, writer| collector.work(ledger, writer, now));
    }

    /// Has the collector do something, of which the shard hears.
    fn have_collector(
        &mut self,
        work: impl FnOnce(&mut Collector, &Ledger, &mut LedgerWriter<'_>) -> Result<Outcome, StoreError>,
    ) {
        let had_unshown = self.writer.has_unshown();
        let worked = work(&mut self.collector, self.ledger, &mut self.writer);
        match worked {
            Ok(Outcome {
                is_shown,
                quarantined,
            }) => {
                self.owes_collected.is_shown |= is_shown;
                self.owes_collected.quarantined.extend(quarantined);
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("step of the collector", &error),
            Err(error) => {
                if matches!(error, StoreError::DiskFull { .. }) {
                    self.missed(&error);
                }
                tracing::warn!(%error, "the collector could not go on; it tries again later");
            }
        }
        self.report_collected(had_unshown);
    }

    /// Brings in what the collector has done, if that is all there is.
    fn bring_in_collected(&mut self) {
        match self.writer.checkpoint() {
            Ok(()) => {
                self.room.found(Duration::ZERO);
                self.owes_collected.is_shown = true;
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("checkpoint", &error),
            Err(error) => {
                // The transaction is gone, and with it what was done: there is nothing to bring in.
                self.missed(&error);
                tracing::warn!(%error, "what the collector has done could not be brought in; it does it again");
            }
        }
        self.report_collected(false);
    }

    /// Tells the shard what the collector has done, as soon as it has read what was
    /// told before. `had_unshown` says whether calls were waiting for a checkpoint.
    fn report_collected(&mut self, had_unshown: bool) {
        // Only a snapshot that shows every call that was told as durable may be given.
        let has_unshown = self.writer.has_unshown();
        self.owes_deltas &= has_unshown;
        let is_due = had_unshown && !has_unshown;
        if is_due {
            self.room.found(Duration::ZERO);
        }
        let is_shown = (self.owes_collected.is_shown || is_due) && !has_unshown;
        self.owes_collected.is_shown = is_shown;
        if !is_shown && self.owes_collected.quarantined.is_empty() {
            return;
        }
        if Arc::strong_count(&self.collected) > 1 {
            if is_due {
                // A report that stands for those calls.
                self.owes_collected.is_shown = false;
                self.show(Duration::ZERO);
            }
            return;
        }
        let shown = if is_shown { self.snapshot() } else { None };
        let quarantined = std::mem::take(&mut self.owes_collected).quarantined;
        self.report(Report::Collected {
            shown,
            quarantined,
            _place: Arc::clone(&self.collected),
        });
    }

    /// Brings everything into LMDB, if it is not there, for what goes on from that. While the disk
    /// has no room for it, that is not tried again for everyone who comes.
    fn show_all(&mut self) -> Result<(), StoreError> {
        match self.writer.has_unshown() {
            true if self.room.is_stuck() => Err(disk_full()),
            true => self.checkpoint(),
            false => Ok(()),
        }
    }

    /// Brings everything into LMDB and gives the shard the snapshot that shows it.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        match self.writer.checkpoint() {
            Ok(()) => {
                self.show(started.elapsed());
                Ok(())
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("checkpoint", &error),
            Err(error) => {
                self.missed(&error);
                Err(error)
            }
        }
    }

    /// Notes that a checkpoint has failed, also one for a batch.
    fn missed(&mut self, error: &StoreError) {
        self.room.missed(error, self.writer.has_unshown());
        self.thread.stats.checkpoint_failures.one();
    }

    /// Gives the shard what shows a checkpoint that was made without a batch.
    fn show(&mut self, took: Duration) {
        self.count_checkpoint(took);
        if let Some(snapshot) = self.snapshot() {
            self.report(Report::Shown(snapshot));
        }
    }

    /// Gives the shard the snapshot that it is owed, if that shows all that was reported.
    fn show_owed(&mut self) {
        if self.owes_snapshot
            && !self.writer.has_unshown()
            && let Some(snapshot) = self.snapshot()
        {
            self.report(Report::Shown(snapshot));
        }
    }

    /// The snapshot of the last checkpoint, which shows all that was reported.
    fn snapshot(&mut self) -> Option<Snapshot> {
        match self.ledger.snapshot() {
            Ok(snapshot) => {
                self.owes_snapshot = false;
                Some(snapshot)
            }
            Err(error @ StoreError::ReadersFull { .. }) => {
                if !self.owes_snapshot {
                    tracing::warn!(%error, "what was committed is shown later");
                }
                self.owes_snapshot = true;
                None
            }
            Err(error) => self
                .ending
                .in_doubt("cannot read what was just committed", &error),
        }
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
        if self.may_sweep() && self.batches.is_multiple_of(SWEEP_EVERY_BATCHES) {
            self.sweep();
        }
        if self.collect_due() <= Instant::now() {
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
                ..
            }) => {
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

    fn count_checkpoint(&mut self, took: Duration) {
        self.room.found(took);
        self.owes_deltas = false;
        let stats = &self.thread.stats;
        stats.checkpoints.one();
        stats.checkpoint_micros.observe_micros(took);
        stats.journal_bytes.set(self.writer.journal_bytes());
    }

    fn remember_refusals(&mut self, calls: &[Option<(ContextId, u64)>], verdicts: &[Verdict]) {
        for (call, verdict) in calls.iter().zip(verdicts) {
            if let (Some((context, losses)), Err(_)) = (call, verdict) {
                let until = self.taken + self.thread.uncommitted_max;
                self.broken.push_back(Broken {
                    context: *context,
                    losses: *losses,
                    until,
                });
            }
        }
    }

    fn is_broken(&self, call: (ContextId, u64)) -> bool {
        self.broken
            .iter()
            .any(|broken| broken.context == call.0 && broken.losses >= call.1)
    }

    /// `first` and what waits behind it, up to the bounds of a batch. All of
    /// one epoch: a batch that fails ends it.
    fn collect(&mut self, first: Queued) -> Batch {
        let mut batch = Batch {
            epoch: first.epoch,
            ..Batch::default()
        };
        let mut next = Some(first);
        while let Some(queued) = next {
            let is_empty = batch.changes.is_empty() && batch.refused.is_empty();
            let is_other = !is_empty
                && (queued.epoch != batch.epoch
                    || is_release(&queued.change)
                    || batch.changes.last().is_some_and(is_release)
                    || self.room.is_lacking() && Claim::of(&queued.change) != batch.claim
                    || batch.bytes + queued.bytes > BATCH_BYTES_MAX
                    || batch.writes + queued.change.writes() > BATCH_WRITES_MAX
                    || batch.changes.len() >= self.thread.batch_changes_max);
            if is_other {
                self.held = Some(queued);
                break;
            }
            self.take(queued, &mut batch);
            next = self.thread.queue.try_recv().ok();
        }
        batch
    }

    fn take(&mut self, queued: Queued, batch: &mut Batch) {
        self.taken += 1;
        while self
            .broken
            .front()
            .is_some_and(|broken| broken.until < self.taken)
        {
            self.broken.pop_front();
        }
        if self.lost.is_some_and(|lost| queued.epoch <= lost) {
            // Its shard has failed it, or will when it reads the report.
            return;
        }
        if batch.changes.is_empty() && batch.refused.is_empty() {
            batch.epoch = queued.epoch;
            batch.claim = Claim::of(&queued.change);
        }
        let call = match &queued.change {
            Change::Call(effects) => Some((effects.context, queued.losses)),
            _ => None,
        };
        batch.has_calls |= call.is_some();
        if let Some(call) = call
            && self.is_broken(call)
        {
            batch
                .refused
                .push((batch.changes.len() + batch.refused.len(), call.0));
            return;
        }
        batch.bytes += queued.bytes;
        batch.writes += queued.change.writes();
        batch.changes.push(queued.change);
        batch.calls.push(call);
    }

    /// Whether a step of the sweep is due.
    fn may_sweep(&self) -> bool {
        self.sweeping && self.sweep_due <= Instant::now()
    }

    /// Drops some records of deleted contexts.
    fn sweep(&mut self) {
        let began = Instant::now();
        // It takes a checkpoint, of which the shard has to hear.
        let shown = self.show_all();
        let started = Instant::now();
        match shown.and_then(|()| self.writer.sweep(SWEEP_RECORDS)) {
            Ok(swept) => {
                let stats = &self.thread.stats;
                stats.swept.add(swept.records as u64);
                stats.sweep_micros.observe_micros(started.elapsed());
                self.sweeping = swept.is_more;
                for (slot, error) in &swept.damaged {
                    let slot = slot.map(|slot| slot.number());
                    tracing::error!(slot, %error, "a damaged record keeps something from being swept; it stays, and the rest goes on");
                }
                // What the shard reads from holds up every page that the sweep frees, and each
                // step frees some that the one before has made.
                self.owes_collected.is_shown |= swept.records > 0;
                self.report_collected(false);
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("sweep", &error),
            // Space is what everybody waits for.
            Err(error @ (StoreError::DiskFull { .. } | StoreError::MapFull { .. })) => {
                tracing::warn!(%error, "deleted contexts could not be swept; it is tried again");
                self.sweep_due = Instant::now() + TRY_AGAIN;
                return;
            }
            Err(error) => {
                // What is left only takes space; the next deletion tries again.
                tracing::warn!(%error, "deleted contexts could not be swept");
                self.sweeping = false;
                return;
            }
        }
        self.sweep_due = Instant::now() + began.elapsed() * SWEEP_REST;
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

/// Whether it has to be in a batch of its own: what it does may fail half way.
fn is_release(change: &Change) -> bool {
    matches!(change, Change::Quarantine { why: None, .. })
}

#[cfg(test)]
mod tests;
