//! One compilation in a process of its own, from this side: starts the worker,
//! feeds it, takes what it says within bounds, ends it when its time is up, and
//! tells from its end what has happened.
//!
//! The process never outlives the call, nor the thread that makes it. What goes
//! on inside is in `worker.rs`.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::pipe::{self, ANSWER_BYTES, Kind, Request};
use super::{Allowance, Made, NotCompiled, WorkerCommand};

/// Threads of one compilation. More would need more memory at once, and take
/// more cores from whoever else is there.
const THREADS_MAX: usize = 4;

/// What a worker may say on standard error; the rest is dropped.
const WORDS_BYTES_MAX: usize = 4 << 10;

/// Taken from a pipe by one read; a pipe holds no more.
const READ_BYTES: usize = 64 << 10;

/// Reads before the clock is looked at again. What an ended worker has left in a
/// pipe is one of them.
const READS_AT_ONCE: usize = 16;

/// How the standard library begins its last words when an allocation fails.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// The exit code of a panic.
const PANICKED: i32 = 101;

/// Signals that a process gets for its own doing.
const CRASHES: [Signal; 7] = [
    Signal::SEGV,
    Signal::BUS,
    Signal::ILL,
    Signal::FPE,
    Signal::ABORT,
    Signal::TRAP,
    Signal::SYS,
];

/// Compiles `wasm` with a worker. `stop` is readable when nobody wants the
/// result any more.
pub(super) fn compile(
    command: &WorkerCommand,
    request: &Request,
    wasm: &[u8],
    allowance: &Allowance,
    stop: BorrowedFd<'_>,
) -> Result<Vec<u8>, NotCompiled> {
    let began = Instant::now();
    let unusable = |what: &str, error: io::Error| NotCompiled::Unusable {
        what: format!("{what}: {error}"),
    };
    let mut worker = Worker::start(command)
        .map_err(|error| unusable(&format!("starting {}", command.program.display()), error))?;
    let output_max = usize::try_from(allowance.compiled_bytes_max)
        .unwrap_or(usize::MAX)
        .saturating_add(ANSWER_BYTES);
    let mut talk = Talk::with(&mut worker.0, request, wasm, output_max)
        .map_err(|error| unusable("making its pipes", error))?;
    let exited = pidfd_open(Pid::from_child(&worker.0), PidfdFlags::empty())
        .map_err(|error| unusable("watching it", error.into()))?;
    loop {
        let left = allowance.time.saturating_sub(began.elapsed());
        let [has_exited, has_stopped] = talk
            .wait([exited.as_fd(), stop], left)
            .map_err(|error| unusable("waiting for it", error))?;
        talk.go_on()
            .map_err(|error| unusable("talking to it", error))?;
        if has_exited {
            break;
        }
        // Returning ends the worker.
        if has_stopped {
            return Err(NotCompiled::Stopped);
        }
        if left.is_zero() {
            return Err(NotCompiled::Time {
                max: allowance.time,
            });
        }
    }
    worker.end_group();
    let status = worker
        .0
        .wait()
        .map_err(|error| unusable("hearing how it ended", error))?;
    let words = String::from_utf8_lossy(&talk.words).into_owned();
    if !words.is_empty() {
        tracing::warn!(said = words.trim_end(), "a compile worker complained");
    }
    match ending(status, &words, allowance) {
        None => answer(talk.output, request, allowance),
        Some(error) => Err(error),
    }
}

/// Has the kernel keep how a child has ended. It does not for a process that was
/// started with SIGCHLD ignored, as some supervisors leave it.
pub(super) fn remember_endings() -> io::Result<()> {
    // SAFETY: no handler is set that could run. The signal's default is to do
    // nothing, so nobody in this process notices more than the kept endings.
    #[allow(unsafe_code)]
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    match before {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A worker that is ended with the value.
struct Worker(Child);

impl Worker {
    fn start(command: &WorkerCommand) -> io::Result<Worker> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Command::new(&command.program)
            // What `ps` shows; the path of the program is only a way to find it.
            .arg0("corelet")
            .args(&command.arguments)
            .env_clear()
            .envs(command.environment.iter().cloned())
            // The size of the pool that the engine compiles with.
            .env("RAYON_NUM_THREADS", threads.min(THREADS_MAX).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal is for the server, which then stops in order.
            .process_group(0)
            .spawn()
            .map(Worker)
    }
}

impl Worker {
    /// Ends it and whatever it may have started, by its id, which stays its own
    /// until it is waited for. Fails only if there is nobody left.
    fn end_group(&mut self) {
        let group = Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.end_group();
            let _ = self.0.wait();
        }
    }
}

/// What goes to a worker and comes from it, none of it waited for.
struct Talk<'a> {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// Goes before the component.
    head: Vec<u8>,
    wasm: &'a [u8],
    /// Bytes of both that are on their way.
    sent: usize,
    output: Vec<u8>,
    output_max: usize,
    words: Vec<u8>,
}

impl<'a> Talk<'a> {
    fn with(
        child: &mut Child,
        request: &Request,
        wasm: &'a [u8],
        output_max: usize,
    ) -> io::Result<Talk<'a>> {
        let talk = Talk {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            head: request.encode(),
            wasm,
            sent: 0,
            output: Vec::new(),
            output_max,
            words: Vec::new(),
        };
        for pipe in talk.pipes().map(|(pipe, _)| pipe) {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(talk)
    }

    /// Those that are still open, and what to wait for on each.
    fn pipes(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let stdin = self
            .stdin
            .as_ref()
            .map(|pipe| (pipe.as_fd(), PollFlags::OUT));
        let stdout = self
            .stdout
            .as_ref()
            .map(|pipe| (pipe.as_fd(), PollFlags::IN));
        let stderr = self
            .stderr
            .as_ref()
            .map(|pipe| (pipe.as_fd(), PollFlags::IN));
        [stdin, stdout, stderr].into_iter().flatten()
    }

    /// Sleeps until a pipe can go on, one of `events` is readable or the time
    /// is over; tells which of `events` are.
    fn wait(&self, events: [BorrowedFd<'_>; 2], at_most: Duration) -> io::Result<[bool; 2]> {
        let [first, second] = &events;
        let mut fds = vec![
            PollFd::new(first, PollFlags::IN),
            PollFd::new(second, PollFlags::IN),
        ];
        let pipes: Vec<_> = self.pipes().collect();
        fds.extend(pipes.iter().map(|(pipe, flags)| PollFd::new(pipe, *flags)));
        // A time that does not fit is as good as none.
        let at_most = Timespec::try_from(at_most).ok();
        match poll(&mut fds, at_most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok([0, 1].map(|event: usize| fds[event].revents().contains(PollFlags::IN)))
    }

    /// Sends and receives what is possible now.
    fn go_on(&mut self) -> io::Result<()> {
        self.send()?;
        let (output, output_max) = (&mut self.output, self.output_max);
        receive(&mut self.stdout, |bytes| {
            if bytes.len() > output_max - output.len() {
                return Err(io::Error::other("it says more than an answer may have"));
            }
            output.extend_from_slice(bytes);
            Ok(())
        })?;
        let words = &mut self.words;
        receive(&mut self.stderr, |bytes| {
            let room = WORDS_BYTES_MAX - words.len();
            words.extend_from_slice(&bytes[..bytes.len().min(room)]);
            Ok(())
        })
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(pipe) = &mut self.stdin {
            let rest = match self.sent.checked_sub(self.head.len()) {
                None => &self.head[self.sent..],
                Some(of_wasm) => &self.wasm[of_wasm..],
            };
            match pipe.write(rest) {
                Ok(0) => self.stdin = None,
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It has ended, or wants no more: how it ends will tell.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.stdin = None,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes what a pipe has now, though not for ever, and lets go of it when it is
/// at its end.
fn receive(
    pipe: &mut Option<impl Read>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut space = vec![0; READ_BYTES];
    for _ in 0..READS_AT_ONCE {
        let Some(open) = pipe else { break };
        match open.read(&mut space) {
            Ok(0) => *pipe = None,
            Ok(count) => take(&space[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a worker's end says by itself; nothing if it has made an answer.
fn ending(status: ExitStatus, words: &str, allowance: &Allowance) -> Option<NotCompiled> {
    let out_of_memory = || NotCompiled::Memory {
        max: allowance.memory_bytes,
    };
    if let Some(signal) = status.signal() {
        let how = format!("signal {signal}");
        let is = |known: Signal| known.as_raw() == signal;
        return Some(if is(Signal::XCPU) {
            NotCompiled::Cpu {
                max: Duration::from_secs(allowance.cpu_seconds),
            }
        } else if is(Signal::ABORT) && words.contains(OUT_OF_MEMORY) {
            out_of_memory()
        } else if CRASHES.into_iter().any(is) {
            NotCompiled::Crashed { how }
        } else {
            NotCompiled::Killed { how }
        });
    }
    match status.code() {
        Some(0) => None,
        Some(PANICKED) => Some(NotCompiled::Crashed {
            how: "panic".to_owned(),
        }),
        _ => Some(NotCompiled::Unusable {
            what: format!("{status}: {}", words.trim_end()),
        }),
    }
}

/// The answer of a worker that has ended well.
fn answer(
    mut output: Vec<u8>,
    request: &Request,
    allowance: &Allowance,
) -> Result<Vec<u8>, NotCompiled> {
    let unusable = |what: &str| NotCompiled::Unusable {
        what: what.to_owned(),
    };
    let kind = pipe::parse_answer(&output, &request.engine).map_err(unusable)?;
    // In place: a copy would be as large as the largest component.
    output.drain(..ANSWER_BYTES);
    let payload = output;
    let made = match kind {
        Kind::Compiled => Made::Code(payload),
        Kind::Invalid => Made::Invalid(String::from_utf8_lossy(&payload).into_owned()),
        Kind::OutOfMemory => Made::OutOfMemory,
        Kind::TooLarge => {
            let used = <[u8; 8]>::try_from(&payload[..])
                .map_err(|_| unusable("its answer has no number of bytes"))?;
            Made::TooLarge(u64::from_le_bytes(used))
        }
    };
    made.judge(allowance)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::engine::CodeSettings;
    use crate::limits::Limits;

    /// How compiling ends with a worker that runs this script.
    fn with_worker(script: &str, time: Duration, stopped: bool) -> NotCompiled {
        let command = WorkerCommand {
            program: "/bin/sh".into(),
            arguments: ["-c", script].map(OsString::from).into(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        };
        let limits = Limits {
            compiled_bytes_max: 1000,
            ..Limits::default()
        };
        let allowance = Allowance {
            time,
            ..Allowance::of(&limits, 0)
        };
        let wasm = vec![0; 1 << 20];
        let request = Request {
            engine: [7; 32],
            settings: CodeSettings::of(&limits),
            parent: std::process::id().into(),
            cpu_seconds: 1,
            memory_bytes: 1,
            compiled_bytes_max: 1000,
            wasm_bytes: wasm.len() as u64,
        };
        let stop = eventfd(stopped.into(), EventfdFlags::CLOEXEC).unwrap();
        compile(&command, &request, &wasm, &allowance, stop.as_fd()).unwrap_err()
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Each ends by itself, whether it reads what it is given or not.
    #[test]
    fn every_way_to_end_has_a_name() {
        for (script, expected) in [
            ("kill -XCPU $$", "CPU time"),
            (
                "echo memory allocation of 8 bytes failed >&2; kill -ABRT $$",
                "bytes of memory",
            ),
            ("kill -ABRT $$", "crashed (signal 6)"),
            ("cat > /dev/null; kill -SEGV $$", "crashed (signal 11)"),
            ("exit 101", "crashed (panic)"),
            ("kill -KILL $$", "killed from outside (signal 9)"),
            ("kill -TERM $$", "killed from outside (signal 15)"),
            ("echo no good >&2; exit 2", "exit status: 2: no good"),
            ("exit 0", "too short"),
            ("cat | head -c 500", "does not begin"),
            ("cat", "more than an answer"),
            ("yes", "more than an answer"),
        ] {
            let ended = with_worker(script, PATIENCE, false).to_string();
            assert!(ended.contains(expected), "{script}: {ended}");
        }
    }

    #[test]
    fn a_worker_that_does_not_end_is_ended() {
        for script in ["exec sleep 1000", "exec sleep 1000 >&- 2>&- <&-"] {
            let late = with_worker(script, Duration::from_millis(50), false);
            let max = Duration::from_millis(50);
            assert_eq!(late, NotCompiled::Time { max });
            let stopped = with_worker(script, PATIENCE, true);
            assert_eq!(stopped, NotCompiled::Stopped);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let command = WorkerCommand {
            program: "/no/such/program".into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        assert!(Worker::start(&command).is_err());
    }
}
