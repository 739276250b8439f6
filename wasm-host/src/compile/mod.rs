//! From a component's bytes to machine code: where that happens, what it may
//! take, and how it can end without any.
//!
//! A compiler takes far longer for some inputs than for others of the same
//! size, and it can crash. So a server compiles in a process of its own
//! (`process.rs` is this side of it, `worker.rs` the other, `pipe.rs` what they
//! say to each other), whose time and memory the kernel bounds. Tests and
//! examples that bring their own components compile where they are.
//!
//! No decision about what to compile, and none about keeping the result (see
//! `host.rs`). Called from compile threads; blocking.

mod pipe;
mod process;
mod worker;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use wasmtime::{Engine, OutOfMemory};

use crate::engine::{self, CodeSettings};
use crate::failure::capped;
use crate::limits::Limits;

pub use worker::{WorkerError, compile_worker};

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum CompileIn {
    /// On the thread that loads, without bounds on time and memory: for
    /// components that one has made oneself.
    ThisProcess,
    /// In a process that lives as long as one compilation. Has this process hear
    /// of its children's end, if it had inherited that it does not.
    Worker(WorkerCommand),
}

/// How to start a process that calls [`compile_worker`] and does nothing else.
/// Always the program that this process runs: what a worker answers is run as
/// machine code, so nobody may name another.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl WorkerCommand {
    /// This program with `arguments`, which must lead to [`compile_worker`].
    /// `environment` is all that it sees, beside what the engine needs.
    pub fn of_this_program(
        arguments: Vec<OsString>,
        environment: Vec<(OsString, OsString)>,
    ) -> WorkerCommand {
        WorkerCommand {
            // Not the path that it was started by, where an upgrade may have
            // put another version, and so another engine.
            program: "/proc/self/exe".into(),
            arguments,
            environment,
        }
    }
}

/// Why there is no machine code of a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCompiled {
    /// It is not valid, or has a feature that is off here.
    #[error("invalid component: {message}")]
    Invalid {
        /// The validator's words, with the offset.
        message: String,
    },
    /// There is more of it than allowed.
    #[error("compiled_bytes_max exceeded: {used} bytes of machine code of at most {max}")]
    TooLarge {
        /// Bytes of machine code.
        used: u64,
        /// The limit.
        max: u64,
    },
    /// The compiler used up its CPU time.
    #[error(
        "compiling it takes more than {} s of CPU time, which is what compile_cpu_max and \
         compile_cpu_per_mib allow for its size: make its largest functions smaller, or raise \
         these limits", .max.as_secs()
    )]
    Cpu {
        /// What the limits give a component of this size.
        max: Duration,
    },
    /// The compiler used up its memory.
    #[error(
        "compiling it takes more than {max} bytes of memory, which is what \
         compile_memory_bytes_max and compile_memory_bytes_per_mib allow for its size: make its \
         largest functions smaller, or raise these limits"
    )]
    Memory {
        /// What the limits give a component of this size.
        max: u64,
    },
    /// It was not compiled in time, though it had not used up its CPU time.
    #[error(
        "compiling it did not end within compile_time_max = {} s on this busy machine: try again \
         later, or raise the limit", .max.as_secs_f64()
    )]
    Time {
        /// The limit.
        max: Duration,
    },
    /// The compiler broke down over it.
    #[error("the compiler crashed ({how}): this component cannot be installed here")]
    Crashed {
        /// The signal or exit code that it ended with.
        how: String,
    },
    /// Somebody else ended the compiler: the system for want of memory, or a
    /// person.
    #[error("the compiler's process was killed from outside ({how}): try again")]
    Killed {
        /// The signal.
        how: String,
    },
    /// The compiler's process could not be started or understood.
    #[error("the compiler's process could not be used: {what}")]
    Unusable {
        /// What went wrong; for the log.
        what: String,
    },
    /// The host stops.
    #[error("compiling has stopped: the server is shutting down")]
    Stopped,
}

/// What one compilation may take; see the limits of these names.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// Whole seconds: the kernel counts no other.
    cpu_seconds: u64,
    memory_bytes: u64,
    time: Duration,
    compiled_bytes_max: u64,
}

impl Allowance {
    /// Fixed amounts, and more of them for more code: so that small components
    /// cannot ask for what large ones need.
    fn of(limits: &Limits, code_bytes: u64) -> Allowance {
        let for_size = |per_mib: u64| {
            let share = u128::from(per_mib) * u128::from(code_bytes) / (1 << 20);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let cpu_millis = limits
            .compile_cpu_max
            .saturating_add(for_size(limits.compile_cpu_per_mib));
        Allowance {
            cpu_seconds: cpu_millis.div_ceil(1000),
            memory_bytes: limits
                .compile_memory_bytes_max
                .saturating_add(for_size(limits.compile_memory_bytes_per_mib)),
            time: Duration::from_millis(limits.compile_time_max),
            compiled_bytes_max: limits.compiled_bytes_max,
        }
    }
}

/// Compiles for one engine. Shared by all compile threads.
pub(crate) struct Compiler {
    place: CompileIn,
    limits: Limits,
    settings: CodeSettings,
    /// What a worker's engine must agree with.
    engine: [u8; 32],
    /// Readable from the moment when nobody waits for compilations any more.
    stop: OwnedFd,
}

impl Compiler {
    pub(crate) fn new(
        place: CompileIn,
        limits: &Limits,
        engine: &Engine,
    ) -> std::io::Result<Compiler> {
        if let CompileIn::Worker(_) = &place {
            process::remember_endings()?;
        }
        Ok(Compiler {
            place,
            limits: limits.clone(),
            settings: CodeSettings::of(limits),
            engine: engine::digest(engine, &[]),
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
        })
    }

    /// The machine code of a component whose functions have `code_bytes` of
    /// WASM. `engine` is the one that it was made for.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        wasm: &[u8],
        code_bytes: u64,
    ) -> Result<Vec<u8>, NotCompiled> {
        let allowance = Allowance::of(&self.limits, code_bytes);
        match &self.place {
            CompileIn::ThisProcess => {
                machine_code(engine, wasm, allowance.compiled_bytes_max).judge(&allowance)
            }
            CompileIn::Worker(command) => {
                let request = pipe::Request {
                    engine: self.engine,
                    settings: self.settings,
                    parent: u64::from(std::process::id()),
                    cpu_seconds: allowance.cpu_seconds,
                    memory_bytes: allowance.memory_bytes,
                    compiled_bytes_max: allowance.compiled_bytes_max,
                    wasm_bytes: wasm.len() as u64,
                };
                process::compile(command, &request, wasm, &allowance, self.stop.as_fd())
            }
        }
    }

    /// Ends the workers that run, and every one that would start later.
    pub(crate) fn stop(&self) {
        // Fails only if the counter would overflow, which is stopped enough.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

/// How the engine's compiler ended.
enum Made {
    Code(Vec<u8>),
    /// So many bytes.
    TooLarge(u64),
    Invalid(String),
    OutOfMemory,
}

/// The one call of the compiler, in either process.
fn machine_code(engine: &Engine, wasm: &[u8], bytes_max: u64) -> Made {
    match engine.precompile_component(wasm) {
        Ok(code) if code.len() as u64 > bytes_max => Made::TooLarge(code.len() as u64),
        Ok(code) => Made::Code(code),
        Err(error) if is_out_of_memory(&error) => Made::OutOfMemory,
        Err(error) => Made::Invalid(capped(format!("{error:#}"))),
    }
}

fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    let of_system = error.downcast_ref::<std::io::Error>();
    error.is::<OutOfMemory>()
        || of_system.is_some_and(|error| error.kind() == std::io::ErrorKind::OutOfMemory)
}

impl Made {
    fn judge(self, allowance: &Allowance) -> Result<Vec<u8>, NotCompiled> {
        match self {
            Made::Code(code) => Ok(code),
            Made::TooLarge(used) => Err(NotCompiled::TooLarge {
                used,
                max: allowance.compiled_bytes_max,
            }),
            Made::Invalid(message) => Err(NotCompiled::Invalid { message }),
            Made::OutOfMemory => Err(NotCompiled::Memory {
                max: allowance.memory_bytes,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compilation_may_take_grows_with_its_code() {
        let limits = Limits {
            compile_cpu_max: 1_000,
            compile_cpu_per_mib: 10_000,
            compile_memory_bytes_max: 100 << 20,
            compile_memory_bytes_per_mib: 8 << 20,
            ..Limits::default()
        };
        let small = Allowance::of(&limits, 0);
        assert_eq!((small.cpu_seconds, small.memory_bytes), (1, 100 << 20));
        let large = Allowance::of(&limits, 5 << 19);
        assert_eq!((large.cpu_seconds, large.memory_bytes), (26, 120 << 20));
        let endless = Limits {
            compile_cpu_per_mib: u64::MAX,
            ..limits
        };
        assert_eq!(
            Allowance::of(&endless, u64::MAX).cpu_seconds,
            u64::MAX.div_ceil(1000)
        );
    }
}
