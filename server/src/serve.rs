//! Starting and stopping the server, in order. What each part does is in its own
//! room; here they meet.
//!
//! Start: configuration, preflight, identity, data directory, token, engine,
//! sockets, shards, ready. Stop: not ready, stop accepting, finish what is in
//! flight, commit, leave.

#![expect(
    clippy::disallowed_types,
    reason = "filled once by each shard while the server starts"
)]

use std::fs::DirBuilder;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use corelet_net::{Domain, Identity, IdentityError};
use corelet_shard::{
    BlobBounds, Bounds, CollectorBounds, Cores, Ending, Node, NodeConfig, SendBounds, StartError,
    SubscriptionBounds, TimerBounds, WatchdogConfig, available_cores, rt,
};
use corelet_store::{
    AnswerBounds, ContextBounds, DataDir, Keep, LedgerConfig, OpenOptions, Packs, PendingBounds,
    Retention, SHARDS_MAX, ShardCount, StoreError, UploadBounds,
};
use corelet_wasm_host::{CompileIn, Host, HostConfig, HostError, WorkerCommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::auth::{Guard, Token, TokenError};
use crate::cli::args::COMPILE_WORKER;
use crate::config::{Collector, Config, Effective, Field, Origin, Shards};
use crate::facts::Facts;
use crate::http;
use crate::log;
use crate::preflight::{self, Demands, Finding, Weight};
use crate::private_dir::{NotPrivate, check_own};
use crate::refusal::chain;
use crate::run_file::{LeftBehind, RunFile};

/// Keys derived for the compile cache; never used on a message from outside.
const CACHE_KEY: Domain = Domain::new("compile-cache-key");

/// Address space that one instance slot reserves: four gibibytes of memory and a guard.
pub const SLOT_BYTES: u64 = (4 << 30) + (32 << 20);

/// Why the server did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine cannot run it.
    #[error("this machine cannot run the server:{}", list(.0))]
    Preflight(Vec<Finding>),
    /// The directory cannot be made.
    #[error("making the directory {path}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could have written, or can read, what is in the data directory.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// The node's key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The key is not the one that the data belongs to.
    #[error(
        "the data in {path} belongs to node {data}, but the key in keys/node.key is that of {key}: put the right key back",
        path = path.display()
    )]
    ForeignData {
        /// The data directory.
        path: PathBuf,
        /// The node in its manifest.
        data: String,
        /// The node of the key.
        key: String,
    },
    /// There is data, and the key that it belongs to is gone.
    #[error(
        "the data in {path} belongs to node {data}, but there is no key in {path}/keys/node.key: put the directory keys of that node back; nothing was changed",
        path = path.display()
    )]
    KeyMissing {
        /// The data directory.
        path: PathBuf,
        /// The node in its manifest.
        data: String,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] StoreError),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The engine does not take the limits.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The address is taken or not ours.
    #[error("listening on {address}; choose another one with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The shards did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be received.
    #[error("waiting for signals")]
    Signals {
        /// What the system said.
        source: io::Error,
    },
}

fn list(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        format!(
            "\n  {}: {}; {}",
            finding.what, finding.found, finding.advice
        )
    };
    findings.iter().map(line).collect()
}

/// A server that runs.
pub struct Server {
    /// What is true for the whole process.
    pub(crate) facts: Arc<Facts>,
    node: Node,
    // Dropped in this order: first no client finds us, then the lock is free.
    run_file: Option<LeftBehind>,
    data: DataDir,
}

impl Server {
    /// Starts everything. On return the server is ready.
    pub fn start(
        config: Config,
        effective: &Effective,
        data_dir: &Path,
    ) -> Result<Server, ServeError> {
        announce(effective, data_dir);
        let wanted = wanted_shards(&config);
        check_machine(&config, data_dir, shards_of(&config, data_dir))?;
        warn_of_readers(&config, effective);
        let identity = identity(data_dir)?;
        let options = OpenOptions {
            shards_if_new: wanted,
            node_id_if_new: identity.node_id(),
        };
        let data = DataDir::open(data_dir, &options)?;
        if data.manifest().node_id != identity.node_id() {
            return Err(ServeError::ForeignData {
                path: data_dir.to_owned(),
                data: data.manifest().node_id.to_string(),
                key: identity.node_id().to_string(),
            });
        }
        let shards = data.manifest().shards;
        if config.shards.count != 0 && u64::from(shards.get()) != config.shards.count {
            tracing::warn!(
                shards = shards.get(),
                wanted = config.shards.count,
                "an existing data directory keeps its number of shards"
            );
        }
        let token = Token::load_or_create(&data.keys_dir())?;
        let host = Arc::new(Host::new(host_config(&config, &data, &identity))?);

        let address = config.http.listen;
        let listeners = rt::listen(address, usize::from(shards.get()))
            .map_err(|source| ServeError::Listen { address, source })?;
        let address = listeners[0]
            .local_addr()
            .map_err(|source| ServeError::Listen { address, source })?;
        let node_config = node_config(&config, data.manifest().shards);
        let facts = Facts::new(
            config,
            Guard::new(&token),
            identity.node_id(),
            address,
            shards.get(),
        );
        let facts = Arc::new(facts);

        let doors = Doors::new(listeners);
        let facts_of_doors = Arc::clone(&facts);
        let node = Node::start(
            &data,
            host,
            identity.node_id(),
            &node_config,
            move |shard| {
                let facts = Arc::clone(&facts_of_doors);
                let listener = doors.take(shard.id().number());
                async move {
                    match listener {
                        Some(listener) => http::serve(shard, facts, listener).await,
                        None => tracing::error!(
                            shard = shard.id().number(),
                            "a shard was started twice"
                        ),
                    }
                }
            },
        )?;
        facts.set_ready(true);
        // A disk that is full can still be read, and a client can be told by hand.
        let run_file = RunFile::of_this_process(address).leave(&data);
        let run_file = run_file.inspect_err(|error| {
            tracing::warn!(error = %chain(error), "local clients will not find this server by itself; give them --url and --token-file");
        });
        tracing::info!(
            %address,
            shards = shards.get(),
            node = %identity.node_id(),
            data = %data.path().display(),
            "ready"
        );
        Ok(Server {
            facts,
            node,
            run_file: run_file.ok(),
            data,
        })
    }

    /// Stops in order: nothing acknowledged or in flight is cut, unless it
    /// takes longer than the drain may.
    pub fn stop(self) -> Result<(), ServeError> {
        tracing::info!("stopping: no new calls; those in flight finish");
        self.facts.set_ready(false);
        self.node.drainer().drain();
        let stopped = self.node.join();
        drop(self.run_file);
        drop(self.data);
        stopped?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// SIGTERM and Ctrl-C: the first asks for an orderly stop, the second ends the
/// process on the spot. Committed state is safe either way.
pub struct StopSignals(Signals);

impl StopSignals {
    /// From now on signals wait for [`StopSignals::wait`].
    pub fn new() -> Result<StopSignals, ServeError> {
        Signals::new([SIGTERM, SIGINT])
            .map(StopSignals)
            .map_err(|source| ServeError::Signals { source })
    }

    /// Waits for the first one; leaves a thread behind that waits for the second.
    pub fn wait(mut self) {
        let _ = self.0.forever().next();
        let second = thread::Builder::new()
            .name("second-signal".to_owned())
            .spawn(move || {
                if self.0.forever().next().is_some() {
                    tracing::warn!("second signal: leaving at once");
                    log::flush();
                    std::process::exit(1);
                }
            });
        if let Err(error) = second {
            tracing::warn!(%error, "a second signal will not be heard");
        }
    }
}

/// Runs the server until it is told to stop.
pub fn serve(config: Config, effective: &Effective, data_dir: &Path) -> Result<(), ServeError> {
    // Before anything that takes long, so that an early Ctrl-C stops in order, too.
    let signals = StopSignals::new()?;
    let server = Server::start(config, effective, data_dir)?;
    signals.wait();
    server.stop()
}

/// What the machine looks like to these settings. With `try_executor` also
/// starts and stops one executor, which a start finds out anyway.
pub fn examine(config: &Config, data_dir: &Path, shards: u64, try_executor: bool) -> Vec<Finding> {
    preflight::examine(&Demands {
        config,
        data_dir,
        shards,
        slot_bytes: SLOT_BYTES,
        try_executor: if try_executor {
            executor_starts
        } else {
            || Ok(())
        },
    })
}

/// How many shards a new data directory would get.
pub fn wanted_shards(config: &Config) -> ShardCount {
    let max = usize::from(SHARDS_MAX);
    let count = match config.shards.count {
        // On a larger machine, shards for a part of its cores.
        0 => available_cores().len().clamp(1, max) as u16,
        count => count as u16,
    };
    ShardCount::new(count).expect("the setting has the store's bounds")
}

/// How many the data directory has, or would get.
pub fn shards_of(config: &Config, data_dir: &Path) -> u64 {
    // What keeps it from being read is told by whoever opens it.
    let there = DataDir::shards_if_any(data_dir).ok().flatten();
    u64::from(there.unwrap_or_else(|| wanted_shards(config)).get())
}

fn executor_starts() -> Result<(), String> {
    let trial = || {
        rt::run("a trial", &rt::ExecutorConfig::default(), || async {}).map_err(|error| {
            let text = error.to_string();
            // It ends with the advice to run what runs here.
            text.rsplit_once("; ")
                .map_or(text.clone(), |(reason, _)| reason.to_owned())
        })
    };
    let thread = thread::Builder::new()
        .name("doctor".to_owned())
        .spawn(trial);
    let outcome = thread.map_err(|error| error.to_string())?.join();
    outcome.unwrap_or_else(|_| Err("starting an executor panicked".to_owned()))
}

fn announce(effective: &Effective, data_dir: &Path) {
    let changed: Vec<String> = effective
        .iter()
        .filter(|(_, _, origin)| **origin != Origin::Default)
        .map(|(field, value, origin)| format!("{} = {value} ({origin})", field.path))
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data = %data_dir.display(),
        changed = changed.join(", "),
        "starting; all other settings have their defaults"
    );
}

fn check_machine(config: &Config, data_dir: &Path, shards: u64) -> Result<(), ServeError> {
    let mut blockers = Vec::new();
    for finding in examine(config, data_dir, shards, false) {
        match finding.weight {
            Weight::Good => {}
            Weight::Warning => {
                tracing::warn!(
                    what = finding.what,
                    found = finding.found,
                    advice = finding.advice,
                    "preflight"
                );
            }
            Weight::Blocker => blockers.push(finding),
        }
    }
    if blockers.is_empty() {
        Ok(())
    } else {
        Err(ServeError::Preflight(blockers))
    }
}

/// One that was set and does not count is said once, as nothing else shows it.
fn warn_of_readers(config: &Config, effective: &Effective) {
    let path = "storage.readers_max";
    let is_set = |(field, _, origin): (&Field, &str, &Origin)| {
        field.path == path && *origin != Origin::Default
    };
    let (wanted, least) = (config.storage.readers_max, readers_least(&config.shards));
    if wanted < least && effective.iter().any(is_set) {
        tracing::warn!(
            setting = path,
            wanted,
            used = least,
            "a setting is lower than shards.instances_max and 16 more, which are used instead; raise it, or lower shards.instances_max"
        );
    }
}

/// One for every turn that can run at once, and those beside them: the latest snapshot, those
/// in reports that were not yet read, statistics. With fewer, checkpoints are shown later.
fn readers_least(shards: &Shards) -> u64 {
    shards.instances_max + 16
}

/// The node's key, before the data directory is opened: a new one is told whose it is.
fn identity(data_dir: &Path) -> Result<Identity, ServeError> {
    // The preflight only warns of another user's, and nothing is made in there.
    match check_own(data_dir) {
        Err(error) if error.is_absence() => {}
        checked => checked?,
    }
    let keys = data_dir.join("keys");
    // A key that is made for data which is there would be another node's for ever.
    if let Some(node) = DataDir::node_if_any(data_dir)? {
        return match Identity::load(&keys) {
            Err(error) if error.is_absent() => Err(ServeError::KeyMissing {
                path: data_dir.to_owned(),
                data: node.to_string(),
            }),
            loaded => Ok(loaded?),
        };
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&keys)
        .map_err(|source| ServeError::Directory {
            path: keys.clone(),
            source,
        })?;
    // Again: what was there before us by now is somebody's.
    check_own(data_dir)?;
    Ok(Identity::load_or_create(&keys)?)
}

fn host_config(config: &Config, data: &DataDir, identity: &Identity) -> HostConfig {
    let instances_max = config.shards.instances_max as u32;
    // A signature over a purpose of our own is a secret that only the key's owner can make again.
    let secret = identity.sign(CACHE_KEY, b"");
    HostConfig {
        limits: config.limits.clone(),
        compile_in: CompileIn::Worker(compile_worker()),
        cache_dir: Some(data.cache_dir()),
        cache_key: *blake3::hash(secret.as_bytes()).as_bytes(),
        instances_bytes_max: config.shards.instances_bytes_max.0,
        ..HostConfig::new(instances_max)
    }
}

/// This program again, with the one command that compiles a component.
fn compile_worker() -> WorkerCommand {
    // Our allocator takes memory by the gibibyte and counts on not paying for
    // what it does not touch; under a limit it has to ask as it goes.
    let environment = [
        ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
        ("MIMALLOC_PAGE_COMMIT_ON_DEMAND", "1"),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    WorkerCommand::of_this_program(vec![COMPILE_WORKER.into()], environment.into())
}

fn node_config(config: &Config, count: ShardCount) -> NodeConfig {
    let shards = &config.shards;
    let cores = match shards.cores {
        0 => Cores::Every,
        count => Cores::These(available_cores().into_iter().take(count as usize).collect()),
    };
    NodeConfig {
        bounds: Bounds {
            waiting_max: shards.waiting_max as usize,
            context_waiting_max: shards.context_waiting_max as usize,
            context_queries_max: shards.context_queries_max as usize,
            asking_queries_max: (shards.asking_queries_max as usize / usize::from(count.get()))
                .max(1),
            upgrades_max: shards.upgrades_max as usize,
            uncommitted_max: shards.uncommitted_max as usize,
            uncommitted_bytes_max: shards.uncommitted_bytes_max.0,
            mesh_inflight_max: shards.mesh_inflight_max as usize,
            live_contexts_max: shards.live_contexts_max as usize,
            // Three quarters of the shard's share stay warm, the rest is for calls
            // that find none.
            warm_instances_max: (shards.instances_max as usize * 3 / 4 / usize::from(count.get()))
                .max(1),
            warm_memory_bytes_max: shards.warm_memory_bytes_max.0 / u64::from(count.get()),
            query_cache_bytes_max: shards.query_cache_bytes_max.0 / u64::from(count.get()),
            query_cache_fuel_min: shards.query_cache_fuel_min,
            sequence_memory_bytes_max: shards.sequence_memory_bytes_max.0 / u64::from(count.get()),
            sequence_opening_bytes_max: shards.sequence_opening_bytes_max.0
                / u64::from(count.get()),
            context_instances_max: shards.context_instances_max as usize,
            slice_fuel: config.limits.slice_fuel,
            batch_changes_max: shards.batch_changes_max as usize,
            compile_queue_max: shards.compile_queue_max as usize,
            compile_threads: shards.compile_threads as usize,
            applications_max: shards.applications_max as usize,
            copies_max: shards.copies_max as usize,
            copy_age_max: shards.copy_age_max,
            guest_log_lines_max: shards.guest_log_lines_max as usize,
            guest_log_context_bytes_max: shards.guest_log_context_bytes_max.0,
            guest_log_bytes_max: shards.guest_log_bytes_max.0,
            pending: PendingBounds::default(),
            collector: collector_bounds(&config.collector),
            timers: TimerBounds {
                starts_per_second: config.timers.starts_per_second,
                running_max: config.timers.running_max as usize,
                attempts_max: config.timers.attempts_max as u32,
                retry_after: config.timers.retry_after,
            },
            sends: SendBounds {
                starts_per_second: config.sends.starts_per_second,
                running_max: config.sends.running_max as usize,
                sender_running_max: config.sends.sender_running_max as usize,
                context_running_max: config.sends.context_running_max as usize,
                taking_max: config.sends.taking_max as usize,
                attempts_max: config.sends.attempts_max as u32,
                retry_after: config.sends.retry_after,
            },
            stop_hooks_timeout: config.process.stop_hooks_timeout,
            subscriptions: SubscriptionBounds {
                starts_per_second: config.subscriptions.starts_per_second,
                running_max: config.subscriptions.running_max as usize,
                context_running_max: config.subscriptions.context_running_max as usize,
                passes_per_second: config.subscriptions.passes_per_second,
                batch_events_max: config.subscriptions.batch_events_max as usize,
                batch_bytes_max: config.subscriptions.batch_bytes_max.0 as usize,
                attempts_max: config.subscriptions.attempts_max as u32,
                retry_after: config.subscriptions.retry_after,
            },
        },
        ledger: LedgerConfig {
            map_bytes_max: config.storage.map_bytes_max.0,
            journal_bytes_max: config.storage.journal_bytes_max.0,
            trie_bytes_max: config.storage.trie_bytes_max.0 as usize,
            start_check_bytes_max: config.storage.start_check_bytes_max.0,
            readers_max: config.storage.readers_max.max(readers_least(shards)) as u32,
            answers: AnswerBounds {
                age_max: config.storage.answers_age_max,
                count_max: config.storage.answers_max,
                bytes_max: config.storage.answers_bytes_max.0,
            },
            contexts: ContextBounds {
                bytes_max: config.limits.context_bytes_max,
                blobs_max: config.limits.context_blobs_max,
                blob_bytes_max: config.limits.context_blob_bytes_max,
            },
            ..LedgerConfig::default()
        },
        blobs: BlobBounds {
            threads: config.blobs.threads as usize,
            uploads_max: config.blobs.uploads_max as usize,
            downloads_max: config.blobs.downloads_max as usize,
            blob_bytes_max: config.limits.blob_bytes_max,
            disk_free_bytes_min: config.blobs.disk_free_bytes_min.0,
            ttl: config.blobs.ttl,
            sweep_every: config.blobs.sweep_every,
        },
        uploads: UploadBounds {
            count_max: config.uploads.count_max as usize,
            bytes_max: config.uploads.bytes_max.0,
            each: ("limits.module_bytes_max", config.limits.module_bytes_max),
            age_max: config.uploads.age_max,
            idle_max: config.uploads.idle_max,
        },
        watchdog: WatchdogConfig {
            warn_after: config.process.watchdog_warn,
            abort_after: config.process.watchdog_abort,
        },
        ending: Ending {
            flush_log: || {
                log::flush();
            },
        },
        cores,
        spin: Some(shards.spin).filter(|spin| !spin.is_zero()),
    }
}

fn collector_bounds(collector: &Collector) -> CollectorBounds {
    CollectorBounds {
        every: collector.every,
        retention: Retention {
            events: Keep {
                count_max: collector.events_max,
                bytes_max: collector.events_bytes_max.0,
                age_max: collector.events_age_max,
            },
            history: Keep {
                count_max: collector.history_max,
                bytes_max: collector.history_bytes_max.0,
                age_max: collector.history_age_max,
            },
            away_max: collector.member_away_max,
            away_bytes_max: collector.member_away_bytes_max.0,
            packs: Packs::DEFAULT,
        },
        scrub_bytes_per_second: collector.scrub_bytes_per_second.0,
    }
}

/// The sockets, until each shard has taken its own.
#[derive(Clone)]
struct Doors(Arc<Mutex<Vec<Option<TcpListener>>>>);

impl Doors {
    fn new(listeners: Vec<TcpListener>) -> Doors {
        Doors(Arc::new(Mutex::new(
            listeners.into_iter().map(Some).collect(),
        )))
    }

    fn take(&self, shard: u16) -> Option<TcpListener> {
        // Locked once per shard, at start; poisoned only if another shard panicked meanwhile.
        let mut doors = self.0.lock().ok()?;
        doors.get_mut(usize::from(shard))?.take()
    }
}
