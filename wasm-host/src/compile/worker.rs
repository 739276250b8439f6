//! The compiler's own process: takes one component from standard input, writes
//! its machine code to standard output, and ends. Its host is `process.rs`.
//!
//! What it may take is set by itself before it looks at the component, and
//! kept by the kernel. This is a bound and not a prison: a component that can
//! make the compiler do its will has what the user of the server has, as it
//! would inside the server.

use std::fs;
use std::io::{self, Read, Write};

use rustix::process::{Pid, Resource, Rlimit, Signal};

use super::pipe::{Kind, Request, answer_head};
use super::{Made, machine_code};
use crate::engine::{compiling_engine, digest};

/// Below the shards, which leave it a tenth of a core that they need all of,
/// and whatever they do not need.
const NICE: i32 = 10;

/// The pipes, and a few for what the standard library reads under /proc.
const OPEN_FILES_MAX: u64 = 16;

/// Why a worker has made no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Standard input is not a host's request.
    #[error("standard input has no request of a server; this command is not for people")]
    Request(#[source] io::Error),
    /// Standard input ends inside the component.
    #[error("standard input ends before the component does")]
    Component(#[source] io::Error),
    /// The server that asked is gone.
    #[error("the server that asked for this has ended")]
    Orphaned,
    /// The engine cannot be set up.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
    /// The threads that compile cannot be started.
    #[error("the compiler's threads cannot be started: {0}")]
    Threads(String),
    /// The program on the other end of the pipe is not this one.
    #[error("the server that asked has another engine than this program")]
    OtherEngine,
    /// The kernel does not take a limit.
    #[error("this process cannot limit its own {what}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The answer could not be written.
    #[error("the answer could not be written to standard output")]
    Answer(#[source] io::Error),
}

/// Serves one compilation over the standard streams. The process must have been
/// started for it: its files, limits, priority and environment are changed for
/// good.
pub fn compile_worker() -> Result<(), WorkerError> {
    part_from_the_server()?;
    let mut input = io::stdin().lock();
    let request = Request::read(&mut input).map_err(WorkerError::Request)?;
    // If the server ended before it was to take us along, nobody will end us.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent.and_then(|pid| u64::try_from(pid).ok()) != Some(request.parent) {
        return Err(WorkerError::Orphaned);
    }
    limit("core dump", Resource::Core, 0, 0)?;
    limit("files' size", Resource::Fsize, 0, 0)?;
    limit("open files", Resource::Nofile, OPEN_FILES_MAX, 0)?;
    limit("memory", Resource::Data, request.memory_bytes, 0)?;
    // At the soft limit the signal tells what has happened; at the hard one it
    // would be the same as when anybody kills us.
    limit("CPU time", Resource::Cpu, request.cpu_seconds, 1)?;
    let engine = compiling_engine(request.settings).map_err(WorkerError::Engine)?;
    if digest(&engine, &[]) != request.engine {
        return Err(WorkerError::OtherEngine);
    }
    // Made by the engine itself it would panic where no thread can be started,
    // which looks like the component's doing.
    rayon::ThreadPoolBuilder::new()
        .build_global()
        .map_err(|error| WorkerError::Threads(error.to_string()))?;
    let made = match read_component(&mut input, request.wasm_bytes)? {
        Some(wasm) => machine_code(&engine, &wasm, request.compiled_bytes_max),
        None => Made::OutOfMemory,
    };
    let (kind, payload) = match made {
        Made::Code(code) => (Kind::Compiled, code),
        Made::TooLarge(used) => (Kind::TooLarge, used.to_le_bytes().to_vec()),
        Made::Invalid(message) => (Kind::Invalid, message.into_bytes()),
        Made::OutOfMemory => (Kind::OutOfMemory, Vec::new()),
    };
    let head = answer_head(&request.engine, kind, payload.len() as u64);
    // Not through the buffer of standard output: that would copy all of it.
    let mut output = io::stdout().lock();
    output
        .write_all(&head)
        .and_then(|()| output.write_all(&payload))
        .and_then(|()| output.flush())
        .map_err(WorkerError::Answer)
}

/// Reads the component, whose announced length is not yet believed: memory is
/// taken as bytes arrive. `None` if there is too little of it.
fn read_component(input: &mut impl Read, bytes: u64) -> Result<Option<Vec<u8>>, WorkerError> {
    let mut wasm = Vec::new();
    let read = input.take(bytes).read_to_end(&mut wasm);
    match read {
        Ok(read) if read as u64 == bytes => Ok(Some(wasm)),
        Ok(_) => Err(WorkerError::Component(io::ErrorKind::UnexpectedEof.into())),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Ok(None),
        Err(error) => Err(WorkerError::Component(error)),
    }
}

/// Leaves behind what a process inherits, and makes sure that it ends with the
/// server at the latest and comes last until then.
fn part_from_the_server() -> Result<(), WorkerError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|errno| {
        WorkerError::Limit {
            what: "life",
            source: errno.into(),
        }
    })?;
    close_inherited_files();
    // Best effort from here: a worker that is not quite out of the way still
    // works.
    let _ = std::env::set_current_dir("/");
    let _ = rustix::thread::set_name(c"compile-worker");
    let _ = rustix::process::nice(NICE);
    // Of all our processes this is the one to end when memory runs out.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    run_where_the_server_may();
    Ok(())
}

/// Closes what the server may have left open over an exec: its own files are
/// closed by their flags, and this is for those of foreign engines. Kernels
/// before 5.9 do not have the call and leave it at the flags.
fn close_inherited_files() {
    // SAFETY: nothing in this process has opened a file yet, so no value owns
    // a descriptor above the standard streams that would be closed under it.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

/// On the cores of the server's main thread, which is pinned to none of them;
/// the thread that started us may be.
fn run_where_the_server_may() {
    let parent: Option<Pid> = rustix::process::getppid();
    if let Some(parent) = parent
        && let Ok(cores) = rustix::thread::sched_getaffinity(Some(parent))
    {
        let _ = rustix::thread::sched_setaffinity(None, &cores);
    }
}

/// Sets a limit, or leaves a lower one that is there already. The hard limit is
/// `slack` above it.
fn limit(what: &'static str, resource: Resource, max: u64, slack: u64) -> Result<(), WorkerError> {
    let found = rustix::process::getrlimit(resource).maximum;
    let at_most = |max: u64| Some(found.map_or(max, |found| found.min(max)));
    let limit = Rlimit {
        current: at_most(max),
        maximum: at_most(max.saturating_add(slack)),
    };
    rustix::process::setrlimit(resource, limit).map_err(|errno| WorkerError::Limit {
        what,
        source: errno.into(),
    })
}
