//! Compile threads: reading, hashing and storing components and having them
//! compiled, which takes seconds and up to minutes and so must not happen on a
//! shard. The compiler itself is `wasm-host`'s, and in a server a process of its
//! own.
//!
//! Tasks come from shards over two bounded queues, because calls wait for a load
//! and an install may take minutes: loads come first, and one thread does nothing
//! else. A load of what another thread is at is laid aside until that has ended, so
//! that the loads behind it go on. Results go back through the asking shard's
//! mailbox. Component files are named by their id and written whole or not at all.

#![expect(
    clippy::disallowed_types,
    reason = "shared by compile threads; no shard looks at what is laid aside"
)]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use bytes::Bytes;
use corelet_store::{ApplicationId, DamagedUpload, HeldUpload, Packing, Uploads};
use corelet_wasm_host::{Host, Module, ModuleId, NotCompiled, Refused};
use crossbeam_channel::{Receiver, Sender, TrySendError, select};

use crate::bounds::Bounds;
use crate::clock;
use crate::components::{self, UNFINISHED, component_file};
use crate::directory::Full;
use crate::error::CallError;
use crate::mailbox::Outbox;
use crate::message::Message;
use crate::unpack::{NotUnpacked, unpack};

/// A component on its way in.
#[derive(Clone)]
pub enum Coming {
    /// All of it, as it came.
    Whole {
        /// The bytes that came.
        bytes: Bytes,
        /// How they are packed.
        packing: Packing,
    },
    /// It lies in an upload that has come as a whole. Nobody adds to that until the application
    /// is written down, so that what is answered as kept is not removed with it.
    Uploaded(Arc<HeldUpload>),
}

impl From<Vec<u8>> for Coming {
    /// All of it, as it is.
    fn from(wasm: Vec<u8>) -> Coming {
        Coming::Whole {
            bytes: Bytes::from(wasm),
            packing: Packing::Plain,
        }
    }
}

/// What a compile thread is asked to do.
pub(crate) enum Task {
    /// Check and compile a new component and keep its bytes.
    Install {
        component: Coming,
        /// Where uploads lie.
        uploads: Uploads,
        /// Set if there is no place for one that is not installed already.
        full: Option<Full>,
    },
    /// Load an installed one.
    Load(ApplicationId),
}

enum Queued {
    Job(Job),
    /// Remove the files of applications that are not among these.
    Sweep(HashSet<ApplicationId>),
    Stop,
}

/// A task, and who waits for its result.
struct Job {
    task: Task,
    reply_to: Outbox<Message>,
    ticket: usize,
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
/// queue, laid aside or in a thread's hands may be of the same shard.
pub(crate) fn results_max(bounds: &Bounds) -> usize {
    3 * bounds.compile_queue_max + threads(bounds)
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
        let works = Arc::new(Works {
            host: Arc::clone(host),
            components: components.to_owned(),
            aside: Mutex::default(),
            aside_max: bounds.compile_queue_max,
            files: Mutex::default(),
        });
        let threads = (0..count)
            .map(|number| {
                let works = Arc::clone(&works);
                let tasks = Tasks {
                    loads: loads_from.clone(),
                    installs: (number > 0).then(|| installs_from.clone()),
                };
                std::thread::Builder::new()
                    .name(format!("compile-{number}"))
                    .spawn(move || works.run(&tasks))
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
        match queue.try_send(Queued::Job(Job {
            task,
            reply_to,
            ticket,
        })) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(busy(max)),
            Err(TrySendError::Disconnected(_)) => Err(CallError::Draining),
        }
    }

    /// Removes files that no application has. If the threads are busy it is left for
    /// another time.
    pub(crate) fn sweep(&self, installed: HashSet<ApplicationId>) {
        let _ = self.loads.try_send(Queued::Sweep(installed));
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

/// What the threads have in common.
struct Works {
    host: Arc<Host>,
    components: PathBuf,
    /// Loads of components that another thread was at when they came, an install
    /// most often. Whoever ends something looks here for what can go on.
    aside: Mutex<Vec<(ModuleId, Job)>>,
    aside_max: usize,
    /// Held while files of components come and go.
    files: Mutex<()>,
}

impl Works {
    fn run(&self, tasks: &Tasks) {
        loop {
            match tasks.next() {
                Some(Queued::Job(job)) => self.carry_out(job),
                Some(Queued::Sweep(installed)) => self.sweep(&installed),
                Some(Queued::Stop) | None => return,
            }
            while let Some(job) = self.next_from_aside() {
                self.carry_out(job);
            }
        }
    }

    /// Carries it out and answers it, or lays it aside.
    fn carry_out(&self, job: Job) {
        // A panic in the engine must not leave the asking shard waiting.
        let work = std::panic::AssertUnwindSafe(|| match &job.task {
            Task::Install {
                component,
                uploads,
                full,
            } => {
                let taken = self.take_in(component, uploads);
                let installed = taken.and_then(|bytes| self.install(&bytes, full.as_ref()));
                installed.map(Some)
            }
            Task::Load(id) => self.load(*id),
        });
        let result = std::panic::catch_unwind(work)
            .unwrap_or_else(|_| Err(CallError::bug("the compiler panicked")));
        match (result.transpose(), &job.task) {
            (Some(result), _) => job.answer(result),
            (None, Task::Load(id)) => self.lay_aside(module_id(*id), job),
            (None, Task::Install { .. }) => {
                job.answer(Err(CallError::bug("an install was left undone")))
            }
        }
    }

    /// The component itself, of whatever it came as.
    fn take_in(&self, component: &Coming, uploads: &Uploads) -> Result<Bytes, CallError> {
        let max = self.host.limits().module_bytes_max;
        match component {
            Coming::Whole {
                bytes,
                packing: Packing::Plain,
            } => Ok(bytes.clone()),
            Coming::Whole { bytes, packing } => {
                let unpacked = unpack(*packing, &bytes[..], max);
                unpacked.map(Bytes::from).map_err(not_unpacked(*packing))
            }
            Coming::Uploaded(held) => {
                let (upload, reader) = uploads.reader(held)?;
                let packing = upload.announced.packing;
                let unpacked = unpack(packing, reader, max).map_err(not_unpacked(packing))?;
                if let Some(expected) = upload.announced.application {
                    let found = ApplicationId::from_bytes(*ModuleId::of(&unpacked).as_bytes());
                    if found != expected {
                        return Err(CallError::UploadMismatch { expected, found });
                    }
                }
                Ok(unpacked.into())
            }
        }
    }

    fn install(&self, bytes: &[u8], full: Option<&Full>) -> Result<Arc<Module>, CallError> {
        // Before it takes time and space.
        if let Some(full) = full {
            let id = *ModuleId::of(bytes).as_bytes();
            full.check(ApplicationId::from_bytes(id))?;
        }
        let module = self.host.load(bytes).map_err(refused)?;
        let id = ApplicationId::from_bytes(*module.id().as_bytes());
        let path = component_path(&self.components, id);
        let _files = self.lock_files();
        keep(&path, bytes).map_err(file("keep the component's file", &path))?;
        Ok(module)
    }

    /// Who installs an application writes its file, or touches it, and has it written down
    /// within an hour, or starts again.
    fn sweep(&self, installed: &HashSet<ApplicationId>) {
        let before = clock::file_time().checked_sub(components::IDLE_MIN);
        let _files = self.lock_files();
        match components::sweep(&self.components, before, |id| installed.contains(id)) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed components that no application has"),
            Err(error) => tracing::warn!(%error, "components that no application has stay"),
        }
    }

    fn lock_files(&self) -> MutexGuard<'_, ()> {
        self.files
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// None if another thread is at it.
    fn load(&self, id: ApplicationId) -> Result<Option<Arc<Module>>, CallError> {
        let path = component_path(&self.components, id);
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
        self.host.try_load(&bytes).map_err(refused)
    }

    /// If the other thread has ended meanwhile, and looked here before, we are to
    /// look ourselves, as after everything: so nothing stays here for ever.
    fn lay_aside(&self, id: ModuleId, job: Job) {
        let mut aside = self.lock_aside();
        if aside.len() < self.aside_max {
            aside.push((id, job));
        } else {
            drop(aside);
            job.answer(Err(busy(self.aside_max as u64)));
        }
    }

    /// The oldest load that was laid aside and for which there is no reason any more.
    fn next_from_aside(&self) -> Option<Job> {
        let mut aside = self.lock_aside();
        let ready = |(id, _): &(ModuleId, Job)| !self.host.is_loading(*id);
        let place = aside.iter().position(ready)?;
        Some(aside.remove(place).1)
    }

    fn lock_aside(&self) -> MutexGuard<'_, Vec<(ModuleId, Job)>> {
        // A panic while it is locked leaves a list that is still one.
        self.aside
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Job {
    fn answer(self, result: Result<Arc<Module>, CallError>) {
        let ticket = self.ticket;
        let posted = self.reply_to.post(Message::Loaded { ticket, result });
        if posted.is_err() {
            unreachable!("a mailbox has a place for every task of the compile threads");
        }
    }
}

/// Whether reading an upload has failed, and not unpacking it: what is packed wrongly has come
/// so, which the hashes of its pieces say.
fn is_of_the_disk(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
        || error
            .get_ref()
            .is_some_and(|inner| inner.is::<DamagedUpload>())
}

fn module_id(id: ApplicationId) -> ModuleId {
    ModuleId::from_bytes(*id.as_bytes())
}

fn busy(max: u64) -> CallError {
    CallError::Busy {
        limit: "compile_queue_max",
        used: max,
        max,
    }
}

fn refused(refused: Refused) -> CallError {
    match refused {
        Refused::NotCompiled(NotCompiled::Stopped) => CallError::Draining,
        refused => CallError::Refused(Arc::new(refused)),
    }
}

/// As if the whole of it had come and been measured. What came as it was said to, and is now
/// otherwise, is the disk's doing.
fn not_unpacked(packing: Packing) -> impl FnOnce(NotUnpacked) -> CallError {
    move |error| match error {
        NotUnpacked::TooLarge { max } => CallError::Refused(Arc::new(Refused::Limit {
            limit: "module_bytes_max",
            used: max + 1,
            max,
        })),
        NotUnpacked::Broken(source) if is_of_the_disk(&source) => CallError::File {
            doing: "read what was uploaded".to_owned(),
            source: Arc::new(source),
        },
        NotUnpacked::Broken(error) => CallError::BadPacking {
            packing,
            why: error.to_string(),
        },
    }
}

/// Where an application's component lies.
pub(crate) fn component_path(components: &Path, id: ApplicationId) -> PathBuf {
    components.join(component_file(&id))
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
        let file = File::open(path)?;
        // Whoever removes what lies about does not take it for that.
        file.set_modified(clock::file_time())?;
        file.sync_all()?;
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

#[cfg(test)]
mod tests {
    use corelet_wasm_host::{HostConfig, Limits};
    use futures_lite::future::block_on;

    use super::*;
    use crate::mailbox::mailbox;

    /// The component of tests/guests/spin.wat, with this as its `describe`.
    fn component(describe: &str) -> Bytes {
        const QUICK: &str = "(func (export \"describe\") (result i32) (i32.const 192))";
        let guest = include_str!("../../tests/guests/spin.wat");
        assert!(guest.contains(QUICK));
        let guest = wat::parse_str(guest.replace(QUICK, describe)).unwrap();
        let guest = corelet_build::embed_world(&guest).unwrap();
        corelet_build::component_of(&guest).unwrap().into()
    }

    /// One that answers at once, and one that takes very many rounds of a loop, and so
    /// far longer than everything else here.
    fn quick_and_slow() -> (Bytes, Bytes) {
        let describe = |rounds: u32| {
            format!(
                "(func (export \"describe\") (result i32)
                   (local $rounds i32)
                   (local.set $rounds (i32.const {rounds}))
                   (loop $again
                     (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
                     (br_if $again (local.get $rounds)))
                   (i32.const 192))"
            )
        };
        (component(&describe(1)), component(&describe(2_000_000_000)))
    }

    #[test]
    fn a_load_of_what_is_being_installed_holds_up_no_other_load() {
        let limits = Limits {
            describe_fuel_max: 1 << 40,
            ..Limits::default()
        };
        let config = HostConfig {
            limits,
            ..HostConfig::new(16)
        };
        let host = Arc::new(Host::new(config).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (quick, slow) = quick_and_slow();
        let id = |wasm: &Bytes| ApplicationId::from_bytes(*ModuleId::of(wasm).as_bytes());
        for wasm in [&quick, &slow] {
            keep(&component_path(dir.path(), id(wasm)), wasm).unwrap();
        }
        let _known = host.load(&quick).unwrap();

        let bounds = Bounds {
            compile_threads: 1,
            ..Bounds::default()
        };
        let (compiler, threads) = Compiler::start(&host, dir.path(), &bounds).unwrap();
        let (outbox, mut inbox) = mailbox(results_max(&bounds));
        let submit = |task, ticket| {
            let submitted = compiler.submit(task, outbox.clone(), ticket);
            submitted.unwrap();
        };
        let uploads = Uploads::open(&dir.path().join("uploads"), Default::default()).unwrap();
        let install = Task::Install {
            component: Coming::Whole {
                bytes: slow.clone(),
                packing: Packing::Plain,
            },
            uploads,
            full: None,
        };
        submit(install, 0);
        while !host.is_loading(module_id(id(&slow))) {
            std::thread::yield_now();
        }
        submit(Task::Load(id(&slow)), 1);
        submit(Task::Load(id(&slow)), 2);
        submit(Task::Load(id(&quick)), 3);
        let mut next = || match block_on(inbox.take()) {
            Message::Loaded { ticket, result } => (ticket, result.unwrap()),
            _ => panic!("only results are posted here"),
        };
        let answers = [next(), next(), next(), next()];
        assert_eq!(answers.each_ref().map(|(ticket, _)| *ticket), [3, 0, 1, 2]);
        for (ticket, module) in answers {
            let wasm = if ticket == 3 { &quick } else { &slow };
            assert_eq!(module.id(), module_id(id(wasm)), "{ticket}");
        }
        compiler.stop();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
