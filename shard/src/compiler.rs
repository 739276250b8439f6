//! Compile threads: reading, hashing and storing components and having them
//! compiled, which takes seconds and up to minutes and so must not happen on a
//! shard. The compiler itself is `wasm-host`'s, and in a server a process of its
//! own.
//!
//! Tasks come from shards over two bounded queues, because calls wait for a load
//! and an install may take minutes: loads come first, and one thread does nothing
//! else. Results go back through the asking shard's mailbox. Component files are
//! named by their id and written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use corelet_store::ApplicationId;
use corelet_wasm_host::{Host, Module, ModuleId, NotCompiled, Refused};
use crossbeam_channel::{Receiver, Sender, TrySendError, select};

use crate::bounds::Bounds;
use crate::components::UNFINISHED;
use crate::directory::Full;
use crate::error::CallError;
use crate::mailbox::Outbox;
use crate::message::Message;

/// What a compile thread is asked to do.
pub(crate) enum Task {
    /// Check and compile a new component and keep its bytes.
    Install {
        component: Bytes,
        /// Set if there is no place for one that is not installed already.
        full: Option<Full>,
    },
    /// Load an installed one.
    Load(ApplicationId),
}

enum Queued {
    Task {
        task: Task,
        reply_to: Outbox<Message>,
        ticket: usize,
    },
    Stop,
}

/// Where a compile thread takes its tasks from.
struct Tasks {
    loads: Receiver<Queued>,
    // None for the thread that is there for loads alone.
    installs: Option<Receiver<Queued>>,
}

impl Tasks {
    /// The next one: a load if there is any. None if there are no shards any more.
    fn next(&self) -> Option<Queued> {
        let Some(installs) = &self.installs else {
            return self.loads.recv().ok();
        };
        if let Ok(load) = self.loads.try_recv() {
            return Some(load);
        }
        select! {
            recv(self.loads) -> queued => queued.ok(),
            recv(installs) -> queued => queued.ok(),
        }
    }
}

/// Places that the compile threads need in a shard's mailbox: every task in a
/// queue or in a thread's hands may be of the same shard.
pub(crate) fn results_max(bounds: &Bounds) -> usize {
    2 * bounds.compile_queue_max + threads(bounds)
}

/// One more than asked for, for loads.
fn threads(bounds: &Bounds) -> usize {
    bounds.compile_threads.max(1) + 1
}

/// The way to the compile threads; one clone per shard.
#[derive(Clone)]
pub(crate) struct Compiler {
    loads: Sender<Queued>,
    installs: Sender<Queued>,
    queue_max: usize,
    threads: usize,
    host: Arc<Host>,
}

impl Compiler {
    /// Starts the threads.
    pub(crate) fn start(
        host: &Arc<Host>,
        components: &Path,
        bounds: &Bounds,
    ) -> io::Result<(Compiler, Vec<JoinHandle<()>>)> {
        let (loads, loads_from) = crossbeam_channel::bounded(bounds.compile_queue_max);
        let (installs, installs_from) = crossbeam_channel::bounded(bounds.compile_queue_max);
        let count = threads(bounds);
        let threads = (0..count)
            .map(|number| {
                let (host, components) = (Arc::clone(host), components.to_owned());
                let tasks = Tasks {
                    loads: loads_from.clone(),
                    installs: (number > 0).then(|| installs_from.clone()),
                };
                std::thread::Builder::new()
                    .name(format!("compile-{number}"))
                    .spawn(move || run(&host, &components, &tasks))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok((
            Compiler {
                loads,
                installs,
                queue_max: bounds.compile_queue_max,
                threads: count,
                host: Arc::clone(host),
            },
            threads,
        ))
    }

    pub(crate) fn submit(
        &self,
        task: Task,
        reply_to: Outbox<Message>,
        ticket: usize,
    ) -> Result<(), CallError> {
        let max = self.queue_max as u64;
        let queue = match &task {
            Task::Load(_) => &self.loads,
            Task::Install { .. } => &self.installs,
        };
        match queue.try_send(Queued::Task {
            task,
            reply_to,
            ticket,
        }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(CallError::Busy {
                limit: "compile_queue_max",
                used: max,
                max,
            }),
            Err(TrySendError::Disconnected(_)) => Err(CallError::Draining),
        }
    }

    /// Ends the threads. Who still waits for a compilation waits in vain: the
    /// shards have drained, and a component may take minutes.
    pub(crate) fn stop(&self) {
        self.host.stop_compiling();
        for _ in 0..self.threads {
            // All of them take loads. Fails only if they have ended already.
            let _ = self.loads.send(Queued::Stop);
        }
    }
}

fn run(host: &Host, components: &Path, tasks: &Tasks) {
    while let Some(Queued::Task {
        task,
        reply_to,
        ticket,
    }) = tasks.next()
    {
        // A panic in the engine must not leave the asking shard waiting.
        let work = std::panic::AssertUnwindSafe(|| carry_out(host, components, task));
        let result = std::panic::catch_unwind(work)
            .unwrap_or_else(|_| Err(CallError::bug("the compiler panicked")));
        if reply_to.post(Message::Loaded { ticket, result }).is_err() {
            unreachable!("a mailbox has a place for every task of the compile queues");
        }
    }
}

fn carry_out(host: &Host, components: &Path, task: Task) -> Result<Arc<Module>, CallError> {
    match task {
        Task::Install { component, full } => {
            // Before it takes time and space.
            if let Some(full) = full {
                let id = *ModuleId::of(&component).as_bytes();
                full.check(ApplicationId::from_bytes(id))?;
            }
            let module = host.load(&component).map_err(refused)?;
            let path = component_path(
                components,
                ApplicationId::from_bytes(*module.id().as_bytes()),
            );
            keep(&path, &component).map_err(file("keep the component's file", &path))?;
            Ok(module)
        }
        Task::Load(id) => {
            let path = component_path(components, id);
            let bytes = fs::read(&path).map_err(file("read the component's file", &path))?;
            // Before the compiler sees them: it would blame whoever asked.
            let found = ApplicationId::from_bytes(*ModuleId::of(&bytes).as_bytes());
            if found != id {
                let what = format!(
                    "its bytes, with the hash {found}, are not those that were installed, with the hash {id}; install the application again"
                );
                let what = io::Error::new(io::ErrorKind::InvalidData, what);
                return Err(file("use the component's file", &path)(what));
            }
            host.load(&bytes).map_err(refused)
        }
    }
}

fn refused(refused: Refused) -> CallError {
    match refused {
        Refused::NotCompiled(NotCompiled::Stopped) => CallError::Draining,
        refused => CallError::Refused(Arc::new(refused)),
    }
}

/// Where an application's component lies.
pub(crate) fn component_path(components: &Path, id: ApplicationId) -> PathBuf {
    components.join(format!("{id}.wasm"))
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CallError {
    let doing = format!("{doing} {}", path.display());
    move |source| CallError::File {
        doing,
        source: Arc::new(source),
    }
}

/// Writes a file whole or not at all, and durably.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let sync_dir = || File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all();
    if fs::metadata(path).is_ok_and(|there| there.len() == bytes.len() as u64)
        && fs::read(path)? == bytes
    {
        // Whoever wrote it may have been killed before it was on disk.
        File::open(path)?.sync_all()?;
        return sync_dir();
    }
    let unfinished = path.with_extension(format!("{UNFINISHED}{:?}", std::thread::current().id()));
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_dir()
    })();
    if written.is_err() {
        // Best effort: what is left of a failed write is only lost space.
        let _ = fs::remove_file(&unfinished);
    }
    written
}
