//! The executor of a shard: the only module that names glommio.
//!
//! What lives here: starting a pinned executor on the current thread, tasks,
//! time ([`timer`]) and sockets ([`net`]). What must not: anything about calls
//! or contexts. Everything here belongs to the thread that it runs on.
//!
//! glommio 0.9 loses wake-ups for good on recent kernels when a task queue
//! asks for a latency target or the executor for its own preemption timer, and
//! never did otherwise. So this module uses neither, offers no way to ask for
//! them, and clippy.toml forbids them by name. The price: an executor that is
//! busy with computation looks at its sockets only when a task really sleeps;
//! see [`breathe`].

#[cfg(clippy)]
mod bans;
pub mod net;
mod outbox;
mod ready;
mod ring;
pub mod timer;

use std::future::Future;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};

pub use net::{TcpListener, TcpStream, listen};
pub use ring::is_cooperative;
pub use timer::{Sleep, Timer, sleep, timeout};

/// How long a shard sleeps between two slices of guest code, so that its ring
/// is polled. Measured: a shorter sleep leaves sockets waiting 11 ms and more
/// behind 1 ms slices, this one 1.3 to 2.1 ms.
pub const BREATH: Duration = Duration::from_micros(50);

/// Turns in the queue of ready tasks from a socket that has become ready to the
/// answer on its way: who is ready, what is asked, what is answered. Without them
/// the answer waits behind the next slice.
const HOPS_TO_ANSWER: usize = 3;

/// How to start one executor.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The logical CPU to pin the thread to; `None` leaves it to the kernel.
    pub core: Option<usize>,
    /// Spin for so long before parking: faster hops between shards for CPU
    /// time burnt while idle. Off by default.
    pub spin: Option<Duration>,
    /// Bytes of locked memory registered with each ring.
    pub io_memory_bytes: usize,
    /// Entries of each ring.
    pub ring_depth: usize,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        // Sockets do not use registered buffers; the smallest size keeps the
        // need for locked memory low.
        ExecutorConfig {
            core: None,
            spin: None,
            io_memory_bytes: 64 << 10,
            ring_depth: 256,
        }
    }
}

/// The executor could not be made, most often for want of io_uring or locked
/// memory; `corelet doctor` tells which.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start the executor of {name}: {reason}; run `corelet doctor` to see what this machine lacks"
)]
pub struct ExecutorError {
    name: String,
    reason: String,
}

/// Runs `make`'s future to its end on the current thread, which becomes an
/// executor for as long as that takes.
pub fn run<F: Future>(
    name: &str,
    config: &ExecutorConfig,
    make: impl FnOnce() -> F,
) -> Result<F::Output, ExecutorError> {
    ring::keep_linked();
    let placement = match config.core {
        Some(core) => Placement::Fixed(core),
        None => Placement::Unbound,
    };
    let mut builder = LocalExecutorBuilder::new(placement)
        .name(name)
        .io_memory(config.io_memory_bytes)
        .ring_depth(config.ring_depth);
    if let Some(spin) = config.spin {
        builder = builder.spin_before_park(spin);
    }
    let executor = builder.make().map_err(|error| ExecutorError {
        name: name.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(executor.run(async move { make().await }))
}

/// Tells this thread's executor from those before it.
fn executor_id() -> usize {
    glommio::executor().id()
}

/// Starts a task on this thread's executor and lets it go.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(task).detach();
}

/// A task that goes on until it is stopped.
pub struct Background(glommio::Task<()>);

impl Background {
    /// Starts it.
    pub fn start(task: impl Future<Output = ()> + 'static) -> Background {
        Background(glommio::spawn_local(task))
    }

    /// Ends it and waits until everything that it held is dropped.
    pub async fn stop(self) {
        self.0.cancel().await;
    }
}

/// Lets the other ready tasks of this thread run first. Does not poll sockets.
pub async fn yield_now() {
    glommio::executor().yield_task_queue_now().await;
}

/// Gives the executor a chance to poll its sockets and its foreign wakers, which a
/// bare yield does not, and then lets everything run that comes of it.
pub async fn breathe() {
    timer::sleep(BREATH).await;
    for _ in 0..HOPS_TO_ANSWER {
        yield_now().await;
    }
}
