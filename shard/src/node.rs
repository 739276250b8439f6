//! All shards of one process: starting them in order, and stopping them so
//! that nothing acknowledged or in flight is cut.
//!
//! Stopping: [`Drainer::drain`] tells each shard's part of the server, which stops
//! taking connections and finishes what it has; when every part has ended,
//! nothing comes in any more, each shard waits for its own turns and commits, tells its
//! contexts (`hooks.rs`), and leaves; then the commit threads and compile threads end.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelet_store::{
    AnswerBounds, BlobError, Blobs, DataDir, Ledger, LedgerConfig, NodeId, ShardId, StoreError,
    UploadBounds, UploadError, Uploads,
};
use corelet_wasm_host::Host;

use crate::ahead::Ahead;
use crate::asks::{self, Ask, CommitThreads};
use crate::blobs::{BlobService, BlobThreads};
use crate::bounds::{BlobBounds, Bounds, WatchdogConfig};
use crate::clock::{Clock, Source, System};
use crate::commit_stage::{self, Report};
use crate::commit_thread::{self, CommitThread};
use crate::compiler::Compiler;
use crate::components;
use crate::copies::Copier;
use crate::directory::{Directory, DirectoryData};
use crate::ending::Ending;
use crate::guest_log::GuestLogs;
use crate::handle::ShardHandle;
use crate::mailbox::{Inbox, Outbox, mailbox};
use crate::mesh::{self, Mesh};
use crate::message::Message;
use crate::opening::open_ledgers;
use crate::placement::{Cores, pin};
use crate::quarantine;
use crate::rt;
use crate::schedule::Schedule;
use crate::shard::Shard;
use crate::snapshots::Snapshots;
use crate::stats::ShardStats;
use crate::uploads::UploadService;
use crate::watchdog::{BEAT, Watchdog};

/// How long a shard that leaves waits for turns whose callers are gone.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// The ledger's size and the clock are looked at once a second.
const BEATS_PER_LOOK: u64 = 20;

/// Once a minute readers that others have left behind are looked for, and what fails is told.
const BEATS_PER_LEDGER_WORD: u64 = 60 * BEATS_PER_LOOK;

/// Names read from the keeper at a time.
const NAMES_PAGE: usize = 1_024;

/// How to run the shards.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// The bounds of each shard.
    pub bounds: Bounds,
    /// The bounds of each shard's ledger; `checkpoint_contexts_max` follows from
    /// `bounds`.
    pub ledger: LedgerConfig,
    /// What blobs may take.
    pub blobs: BlobBounds,
    /// What uploads that come in pieces may take.
    pub uploads: UploadBounds,
    /// When to give up on a silent shard.
    pub watchdog: WatchdogConfig,
    /// How the process ends itself.
    pub ending: Ending,
    /// Where the shards run.
    pub cores: Cores,
    /// Spin for so long before a shard thread parks; see [`rt::ExecutorConfig::spin`].
    pub spin: Option<std::time::Duration>,
}

/// Why the shards did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A ledger could not be opened or read.
    #[error("cannot open the state of shard {shard}")]
    Ledger {
        /// The shard.
        shard: u16,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// The blobs could not be opened.
    #[error("cannot open the blobs")]
    Blobs(#[from] BlobError),
    /// The uploads that had begun could not be opened.
    #[error("cannot open the uploads")]
    Uploads(#[from] UploadError),
    /// An executor could not be made.
    #[error(transparent)]
    Executor(#[from] rt::ExecutorError),
    /// A thread could not be started or the system gave no randomness.
    #[error("cannot start {what}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The shards of this process.
pub struct Node {
    outboxes: Vec<Outbox<Message>>,
    stats: Vec<Arc<ShardStats>>,
    shards: Vec<JoinHandle<Result<(), StartError>>>,
    commits: Vec<JoinHandle<()>>,
    compiler: Compiler,
    compile_threads: Vec<JoinHandle<()>>,
    blob_threads: BlobThreads,
    drained: mpsc::Receiver<ShardId>,
    watchdog: Watchdog,
}

/// The way to drain a node from another thread.
#[derive(Clone)]
pub struct Drainer(Vec<Outbox<Message>>);

impl Drainer {
    /// Tells every shard to stop taking calls from outside. Again does nothing.
    pub fn drain(&self) {
        for outbox in &self.0 {
            // A full mailbox has its drain order already.
            let _ = outbox.post(Message::Drain);
        }
    }
}

/// What a shard's thread is given to start with.
struct Parts {
    id: ShardId,
    author: NodeId,
    ledger: Ledger,
    host: Arc<Host>,
    bounds: Bounds,
    answers: AnswerBounds,
    stats: Arc<ShardStats>,
    inbox: Inbox<Message>,
    outboxes: Vec<Outbox<Message>>,
    directory: DirectoryData,
    compiler: Compiler,
    copier: Copier,
    blobs: BlobService,
    uploads: UploadService,
    asks: crossbeam_channel::Receiver<Ask>,
    count: corelet_store::ShardCount,
    drained: mpsc::Sender<ShardId>,
    started: mpsc::Sender<Result<(), StartError>>,
    commit_core: Option<usize>,
    ending: Ending,
    commit_thread: mpsc::Sender<JoinHandle<()>>,
    time: Arc<dyn Source>,
}

impl Node {
    /// Opens the ledgers and starts every shard; `serve` is the server's part,
    /// run on each shard until it has drained.
    pub fn start<F, S>(
        data: &DataDir,
        host: Arc<Host>,
        author: NodeId,
        config: &NodeConfig,
        serve: S,
    ) -> Result<Node, StartError>
    where
        F: Future<Output = ()> + 'static,
        S: Fn(ShardHandle) -> F + Clone + Send + 'static,
    {
        Node::start_by(&(Arc::new(System) as _), data, host, author, config, serve)
    }

    /// The same by a clock that may be made up.
    fn start_by<F, S>(
        time: &Arc<dyn Source>,
        data: &DataDir,
        host: Arc<Host>,
        author: NodeId,
        config: &NodeConfig,
        serve: S,
    ) -> Result<Node, StartError>
    where
        F: Future<Output = ()> + 'static,
        S: Fn(ShardHandle) -> F + Clone + Send + 'static,
    {
        let count = data.manifest().shards;
        let ledger_config = LedgerConfig {
            // What is only in the journal keeps its context in memory.
            checkpoint_contexts_max: (config.bounds.live_contexts_max / 2)
                .clamp(1, crate::live::EVICTION_TRIES / 2),
            ..config.ledger.clone()
        };
        let ledgers = open_ledgers(data, &ledger_config)?;
        let directory =
            load_directory(&ledgers).map_err(|source| StartError::Ledger { shard: 0, source })?;
        let is_installed = |id: &_| directory.applications.contains_key(id);
        match components::sweep(&data.blobs_dir(), None, is_installed) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed components that no application has"),
            Err(error) => tracing::warn!(%error, "components that no application has stay"),
        }

        let capacity = mesh::capacity(ledgers.len(), &config.bounds);
        let (outboxes, inboxes): (Vec<_>, Vec<_>) =
            ledgers.iter().map(|_| mailbox(capacity)).unzip();
        let stats: Vec<Arc<ShardStats>> = ledgers.iter().map(|_| Arc::default()).collect();
        let system = |what| move |source| StartError::System { what, source };
        let (compiler, compile_threads) = Compiler::start(&host, &data.blobs_dir(), &config.bounds)
            .map_err(system("a compile thread"))?;
        let (drained_to, drained) = mpsc::channel();
        let (started_to, started) = mpsc::channel();
        let (commit_thread_to, commit_threads) = mpsc::channel();

        let (ask, asks): (Vec<_>, Vec<_>) = ledgers.iter().map(|_| asks::asks()).unzip();
        let ask_all = CommitThreads::new(count, ask);
        let (blobs, blob_threads) = BlobService::start(
            &data.blobs_dir(),
            Blobs::open(data.blobs_dir())?,
            &config.blobs,
            ask_all.clone(),
        )
        .map_err(system("a thread for blobs"))?;
        let uploads = Uploads::open(&data.uploads_dir(), config.uploads.clone())?;
        let uploads = UploadService::new(uploads, blobs.clone());
        let copier = Copier::new(data, ask_all, blobs.clone(), &config.bounds);
        let mut shards = Vec::new();
        let asks = inboxes.into_iter().zip(asks);
        for ((id, ledger), (inbox, asks)) in count.shards().zip(ledgers).zip(asks) {
            let number = usize::from(id.number());
            let core = config.cores.of(number);
            let parts = Parts {
                id,
                author,
                ledger,
                host: Arc::clone(&host),
                bounds: config.bounds.clone(),
                answers: config.ledger.answers.clone(),
                stats: Arc::clone(&stats[number]),
                inbox,
                outboxes: outboxes.clone(),
                directory: directory.clone(),
                compiler: compiler.clone(),
                copier: copier.clone(),
                blobs: blobs.clone(),
                uploads: uploads.clone(),
                asks,
                count,
                drained: drained_to.clone(),
                started: started_to.clone(),
                commit_core: core,
                ending: config.ending,
                commit_thread: commit_thread_to.clone(),
                time: Arc::clone(time),
            };
            let executor = rt::ExecutorConfig {
                core,
                spin: config.spin,
                ..rt::ExecutorConfig::default()
            };
            let serve = serve.clone();
            let name = format!("shard-{number}");
            let thread = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || {
                    let started = parts.started.clone();
                    let outcome = rt::run(&name, &executor, move || run(parts, serve));
                    match outcome {
                        Ok(result) => result,
                        Err(error) => {
                            // Nobody waits any more if another shard failed first.
                            let _ = started.send(Err(error.into()));
                            Ok(())
                        }
                    }
                })
                .map_err(system("a shard thread"))?;
            shards.push(thread);
        }
        drop(started_to);
        drop(commit_thread_to);
        for _ in &shards {
            started.recv().unwrap_or_else(|_| {
                Err(StartError::System {
                    what: "a shard",
                    source: io::Error::other("its thread ended at once"),
                })
            })?;
        }
        let watchdog = Watchdog::start(stats.clone(), config.watchdog.clone(), config.ending)
            .map_err(system("the watchdog thread"))?;
        let commits = commit_threads.iter().collect();
        Ok(Node {
            outboxes,
            stats,
            shards,
            commits,
            compiler,
            compile_threads,
            blob_threads,
            drained,
            watchdog,
        })
    }

    /// What each shard counts.
    pub fn stats(&self) -> &[Arc<ShardStats>] {
        &self.stats
    }

    /// What tells every shard to stop taking calls from outside.
    pub fn drainer(&self) -> Drainer {
        Drainer(self.outboxes.clone())
    }

    /// Waits until every shard has drained and left. [`Drainer::drain`] makes them.
    pub fn join(self) -> Result<(), StartError> {
        for _ in &self.shards {
            if self.drained.recv().is_err() {
                break; // A shard that panicked has aborted the process; one that failed says so below.
            }
        }
        // From here on shards may be silent for good reasons.
        drop(self.watchdog);
        for outbox in &self.outboxes {
            let _ = outbox.post(Message::Leave);
        }
        self.compiler.stop();
        let mut outcome = Ok(());
        for shard in self.shards {
            match shard.join() {
                Ok(result) => outcome = outcome.and(result),
                Err(_) => {
                    outcome = Err(StartError::System {
                        what: "a shard",
                        source: io::Error::other("it panicked"),
                    })
                }
            }
        }
        // One that waits for a commit thread learns from its end that it does so in vain.
        let blob_threads = self.blob_threads.stop();
        let helpers = self.commits.into_iter().chain(self.compile_threads);
        for thread in helpers.chain(blob_threads) {
            if thread.join().is_err() {
                tracing::error!("a helper thread had panicked");
            }
        }
        outcome
    }
}

/// A shard's thread.
async fn run<F, S>(parts: Parts, serve: S) -> Result<(), StartError>
where
    F: Future<Output = ()> + 'static,
    S: Fn(ShardHandle) -> F,
{
    let started = parts.started.clone();
    let drained = parts.drained.clone();
    let id = parts.id;
    let (shard, inbox, reports) = match build(parts) {
        Ok(built) => built,
        Err(error) => {
            let _ = started.send(Err(error));
            return Ok(());
        }
    };
    let handle = ShardHandle::new(Rc::clone(&shard));
    let (left, leave) = crate::answer::promise();
    let background = [
        rt::Background::start(beat(Rc::clone(&shard))),
        rt::Background::start(sweep_components(Rc::clone(&shard))),
        rt::Background::start(take_reports(Rc::clone(&shard), reports)),
        rt::Background::start(Rc::clone(&shard).run_schedule()),
        rt::Background::start(Rc::clone(&shard).run_timers(handle.draining())),
        rt::Background::start(Rc::clone(&shard).run_sends(handle.draining())),
        rt::Background::start(Rc::clone(&shard).run_subscriptions(handle.draining())),
        rt::Background::start(Rc::clone(&shard).run_news(handle.draining())),
        rt::Background::start(Rc::clone(&shard).keep_statistics()),
        rt::Background::start(take_messages(
            Rc::clone(&shard),
            inbox,
            handle.clone(),
            left,
        )),
    ];
    if started.send(Ok(())).is_err() {
        return Ok(()); // The start was given up.
    }
    drop(started);
    serve(handle).await;
    // Other shards take calls as long as nobody has drained.
    let patience = Instant::now() + LEAVE_PATIENCE;
    while (shard.sends.is_running() || shard.subscriptions.is_running())
        && Instant::now() < patience
    {
        rt::sleep(Duration::from_millis(1)).await;
    }
    if drained.send(id).is_ok() {
        leave.await;
    }
    // Nobody waits for a query any more, and a guest may take its time.
    let patience = Instant::now() + LEAVE_PATIENCE;
    while !shard.commits.is_idle() || (!shard.is_quiet() && Instant::now() < patience) {
        rt::sleep(Duration::from_millis(1)).await;
    }
    shard.tell_of_stop().await;
    // The commit thread's last checkpoint brings it in.
    shard.keep_new_statistics().await;
    while !shard.commits.is_idle() {
        rt::sleep(Duration::from_millis(1)).await;
    }
    shard.commits.close();
    for task in background {
        task.stop().await;
    }
    Ok(())
}

fn build(parts: Parts) -> Result<(Rc<Shard>, Inbox<Message>, Inbox<Report>), StartError> {
    let number = parts.id.number();
    let ledger_error = |source| StartError::Ledger {
        shard: number,
        source,
    };
    let time = parts.time;
    let clock = Clock::after(parts.ledger.last_hlc(), Arc::clone(&time)).map_err(|error| {
        StartError::System {
            what: "the random generator",
            source: io::Error::other(error),
        }
    })?;
    // Lines of a later start have greater numbers, as nobody logs one each microsecond.
    let first_line = clock.tick().micros().max(1);
    let guest_logs = Rc::new(GuestLogs::new(&parts.bounds, &parts.stats, first_line));
    let (commits, mut commit_thread, reports) =
        commit_stage::stage(&parts.bounds, &parts.stats, &guest_logs, time);
    commit_thread.asks = parts.asks;
    let snapshots = Rc::new(Snapshots::new(parts.ledger.clone()).map_err(ledger_error)?);
    let quarantined = quarantine::known(&snapshots.latest()).map_err(ledger_error)?;
    let shard = Rc::new(Shard {
        copier: parts.copier,
        blobs: parts.blobs,
        uploads: parts.uploads,
        id: parts.id,
        count: parts.count,
        author: parts.author,
        host: parts.host,
        clock,
        snapshots,
        commits,
        answers: parts.answers,
        guest_logs,
        schedule: Schedule::new(&parts.bounds, &parts.stats),
        directory: Directory::new(parts.directory),
        mesh: Mesh::new(parts.id, parts.outboxes, &parts.bounds, parts.compiler),
        loading: std::cell::RefCell::default(),
        recording: std::cell::Cell::new(0),
        installing: std::cell::RefCell::default(),
        creating: std::cell::RefCell::default(),
        delivering: std::cell::RefCell::default(),
        contexts: hashlink::LruCache::new_unbounded().into(),
        quarantined: std::cell::RefCell::new(quarantined),
        warm: crate::warm_order::WarmOrder::default(),
        warm_sum: crate::warm_sum::WarmSum::new(&parts.stats),
        query_cache: crate::query_cache::QueryCache::new(&parts.bounds, &parts.stats),
        sequences: crate::sequences::SequenceCache::new(&parts.bounds, &parts.stats),
        timers: crate::timers::Timers::new(parts.bounds.timers.pace()),
        sends: crate::sends::Sends::new(parts.bounds.sends.pace()),
        subscriptions: crate::subscriptions::Subscriptions::new(&parts.bounds.subscriptions),
        statistics: crate::statistics::Statistics::new(),
        stats: parts.stats,
        bounds: parts.bounds,
    });
    shard.count_quarantined();
    let thread = start_commit_thread(
        number,
        parts.ledger,
        commit_thread,
        parts.commit_core,
        parts.ending,
    )
    .map_err(|source| StartError::System {
        what: "a commit thread",
        source,
    })?;
    // If the start was given up meanwhile, the thread ends with its shard.
    let _ = parts.commit_thread.send(thread);
    Ok((shard, parts.inbox, reports))
}

fn start_commit_thread(
    shard: u16,
    ledger: Ledger,
    thread: CommitThread,
    core: Option<usize>,
    ending: Ending,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("commit-{shard}"))
        .spawn(move || {
            // Beside its shard: it sleeps while the disk works, and the shard works
            // while it sleeps.
            pin(core);
            let work = std::panic::AssertUnwindSafe(|| commit_thread::run(ledger, thread, ending));
            if std::panic::catch_unwind(work).is_err() {
                let panicked = io::Error::other("see the panic above");
                ending.in_doubt("a commit thread panicked", &panicked);
            }
        })
}

async fn beat(shard: Rc<Shard>) {
    let mut ahead = Ahead::new(shard.bounds.pending.ahead_micros_max);
    for count in 0u64.. {
        shard.stats.beats.one();
        shard.stats.mailbox.set(shard.mesh.depth() as u64);
        if count.is_multiple_of(BEATS_PER_LOOK) {
            look_at_clock(&shard, &mut ahead);
            shard.look_at_sends();
            look_at_ledger(&shard, count.is_multiple_of(BEATS_PER_LEDGER_WORD));
        }
        rt::sleep(BEAT).await;
    }
}

/// Notes whether stamps are ahead of the wall clock; the first time at the start.
fn look_at_clock(shard: &Shard, ahead: &mut Ahead) {
    let micros = shard.clock.ahead_micros();
    shard.stats.clock_ahead_micros.set(micros);
    if let Some(word) = ahead.look(micros) {
        word.log(shard.id, micros, shard.bounds.pending.ahead_micros_max);
    }
}

/// Notes how full the ledger is. Without a snapshot of its own: it is most worth knowing when
/// there is no place for one. What fails is told `if_worth_a_word`, and else tried again.
fn look_at_ledger(shard: &Shard, if_worth_a_word: bool) {
    let (stats, snapshots) = (&shard.stats, &shard.snapshots);
    if if_worth_a_word && let Err(error) = snapshots.clear_stale_readers() {
        tracing::warn!(shard = shard.id.number(), %error, "cannot tell whether other processes have left readers behind");
    }
    let used = snapshots.ledger_use();
    stats.map_bytes.set(used.map_bytes_used);
    stats.map_bytes_max.set(used.map_bytes_max);
    stats.map_bytes_reserved.set(used.reserved_bytes);
    stats.readers.set(used.readers.into());
    stats.readers_peak.set(used.readers_peak.into());
    stats.readers_max.set(used.readers_max.into());
    stats.stale_readers.set(used.stale_readers);
    let held_up = u64::try_from(used.held_up.as_millis()).unwrap_or(u64::MAX);
    stats.held_up_millis.set(held_up);
    match snapshots.ledger_free_bytes() {
        Ok(free) => stats.map_bytes_free.set(free),
        Err(error) if if_worth_a_word => {
            tracing::warn!(shard = shard.id.number(), %error, "cannot tell how much of the ledger is free");
        }
        Err(_) => {}
    }
}

/// Has a compile thread remove the files of applications that were removed, and those of uploads
/// that are too old, now and then. Only the keeper of the directory does.
async fn sweep_components(shard: Rc<Shard>) {
    while shard.id == crate::recording::keeper(shard.count) {
        rt::sleep(shard.bounds.collector.every).await;
        shard
            .mesh
            .sweep_components(shard.directory.application_ids());
        shard.uploads.sweep();
    }
}

async fn take_reports(shard: Rc<Shard>, mut reports: Inbox<Report>) {
    loop {
        let report = reports.take().await;
        if let Report::Collected { quarantined, .. } = &report {
            for (context, why) in quarantined {
                shard.put_out_of_service(*context, Arc::clone(why));
            }
        }
        shard.commits.settle(report, &shard.snapshots);
    }
}

async fn take_messages(
    shard: Rc<Shard>,
    mut inbox: Inbox<Message>,
    handle: ShardHandle,
    left: crate::answer::Promise<()>,
) {
    let mut left = Some(left);
    loop {
        match inbox.take().await {
            Message::Request {
                from,
                ticket,
                request,
            } => {
                let shard = Rc::clone(&shard);
                rt::spawn(async move {
                    let response = shard.serve_request(request).await;
                    shard.mesh.respond(from, ticket, response);
                });
            }
            Message::Response {
                from,
                ticket,
                response,
            } => shard.mesh.take_response(from, ticket, response),
            Message::Loaded { ticket, result } => shard.mesh.take_loaded(ticket, result),
            Message::Drain => handle.begin_draining(),
            Message::Leave => {
                if let Some(left) = left.take() {
                    left.keep(());
                }
            }
        }
    }
}

/// Reads the directory from its keeper, without names whose context was never
/// finished or is gone.
fn load_directory(ledgers: &[Ledger]) -> Result<DirectoryData, StoreError> {
    let reconciled = corelet_store::reconcile_names(ledgers)?;
    for name in reconciled.freed {
        tracing::info!(name, "dropped a name whose context does not exist");
    }
    for name in reconciled.mended {
        tracing::warn!(
            name,
            "the record of a name was damaged or lost; its context says it, and has it again"
        );
    }
    for error in reconciled.damaged {
        tracing::error!(%error, "a name is damaged; which context has it cannot be told before all contexts can be read");
    }
    let keeper = ledgers[0].snapshot()?;
    let mut data = DirectoryData::default();
    for record in keeper.applications()? {
        data.applications.insert(record.id, Arc::new(record));
    }
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = keeper.names(after.as_deref(), NAMES_PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(data);
        };
        after = Some(last.clone());
        // Of those that are damaged it was told above.
        let sound = page.into_iter().filter_map(|(_, found)| found.ok());
        data.names
            .extend(sound.map(|(name, context)| (Arc::from(name), context)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::made_up::MadeUp;
    use crate::fixture::{self, Disk};

    const SECOND: u64 = 1_000_000;
    const YEAR: u64 = 365 * 86_400 * SECOND;
    /// Some time in 2026.
    const NOW: u64 = 1_790_000_000 * SECOND;

    /// The machine came up with a clock that was a year ahead, served one call, and was then put
    /// right.
    #[test]
    fn how_far_stamps_are_ahead_of_the_clock_is_told_from_the_start_on() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let call = fixture::call(1, slot, NOW + YEAR, &[("key", "value")]);
        disk.ledger.commit(vec![call]).unwrap().remove(0).unwrap();
        let dir = disk.close();

        let time = MadeUp::at(NOW, 7);
        let node = Node::start_by(
            &(Arc::clone(&time) as _),
            &fixture::data_dir(dir.path()),
            fixture::host(),
            NodeId::from_bytes([2; 32]),
            &NodeConfig::default(),
            |shard: ShardHandle| async move { shard.draining().await },
        );
        let node = node.unwrap();
        let stats = Arc::clone(&node.stats()[0]);
        let wait_for = |micros: u64| {
            while stats.clock_ahead_micros.get() != micros {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        };
        wait_for(YEAR);
        time.set(NOW + YEAR - 10 * SECOND);
        wait_for(10 * SECOND);
        time.set(NOW + YEAR + SECOND);
        wait_for(0);
        // Put back while it runs.
        time.set(NOW);
        wait_for(YEAR);
        node.drainer().drain();
        node.join().unwrap();
    }
}
