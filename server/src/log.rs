//! Log lines: text for people on a terminal, JSON for machines elsewhere, always
//! to standard error, by way of a queue that nobody waits for (`log/queue.rs`).
//! Also what is said when a thread panics: a panic on a shard or commit thread
//! ends the process, because a half-dead shard is worse than a restart.

mod queue;

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
pub(crate) use queue::Lost;
use queue::Queue;

/// The queue of the process, as the subscriber is that of the process.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// How long the end of the process waits for lines that nobody reads.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// Starts logging. Called once, before the first thread but the log's own.
pub(crate) fn start(config: &Log) -> io::Result<()> {
    let queue = Queue::start(io::stderr(), config.queue_bytes_max.as_usize())?;
    let queue = QUEUE.get_or_init(|| queue);
    // Other people's crates speak up from warnings on.
    let filter = format!(
        "warn,corelet={0},corelet_server={0},corelet_shard={0},corelet_store={0},corelet_wasm_host={0},corelet_net={0}",
        config.level
    );
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let as_json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Where nothing can be written, complaining about it on standard error
        // would panic, and with it end the process.
        .log_internal_errors(false)
        .with_writer(queue.clone());
    let started = if as_json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    } else {
        let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        builder.with_ansi(coloured).with_target(false).try_init()
    };
    if let Err(error) = started {
        // A second server in one process, as in tests: the first one's logging serves both.
        tracing::debug!(%error, "logging was started before");
    }
    Ok(())
}

/// Called before the process ends, lest its last lines be lost; whether they are
/// out. Waits for a bounded time only: the reader may have stalled.
pub(crate) fn flush() -> bool {
    QUEUE.get().is_none_or(|queue| queue.flush(FLUSH_MAX))
}

/// Lines that did not make it.
pub(crate) fn lost() -> Lost {
    QUEUE.get().map(Queue::lost).unwrap_or_default()
}

/// Logs panics, and ends the process on those that leave it half alive.
pub(crate) fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = name, place, "panic: {message}");
        if name.starts_with("shard-") || name.starts_with("commit-") {
            tracing::error!("a core has lost its thread: aborting");
            flush();
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{self, Command};
    use std::sync::mpsc;

    use corelet_tests::TestNode;

    use super::*;
    use crate::config::Layers;

    const DATA: &str = "CORELET_TEST_PANICS";

    /// In a second process, which is this test's own binary started again.
    #[test]
    fn a_panic_on_a_shard_ends_the_process_and_is_told() {
        if let Some(data) = std::env::var_os(DATA) {
            let (config, _) = Layers::default().resolve().expect("defaults");
            start(&config.log).expect("a thread for the log");
            catch_panics();
            // Dropped when the panic unwinds, which comes behind the hook.
            let (held, is_held) = mpsc::channel::<()>();
            let scenario = |_shard| async move {
                let _held = held;
                panic!("PAIN")
            };
            let node = move || TestNode::default().run::<(), _>(data.as_ref(), scenario);
            let named = thread::Builder::new().name("node".to_owned());
            named.spawn(node).expect("a thread");
            let _ = is_held.recv();
            process::exit(0);
        }
        let data = tempfile::tempdir().expect("a directory for data");
        let this = std::env::current_exe().expect("the test knows its own file");
        let name = "log::tests::a_panic_on_a_shard_ends_the_process_and_is_told";
        let child = Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(DATA, data.path())
            .output()
            .expect("the test starts itself");
        let aborted = Some(rustix::process::Signal::ABORT.as_raw());
        assert_eq!(child.status.signal(), aborted, "it aborts: {child:?}");
        let log = String::from_utf8_lossy(&child.stderr);
        assert!(log.contains("panic: PAIN"), "it says why: {log}");
        assert!(log.contains("\"shard-0\""), "and where: {log}");
        assert!(log.contains("aborting"), "and what it does: {log}");
    }
}
