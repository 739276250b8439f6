//! The way of a log line to standard error: a bounded queue, and a thread that
//! empties it. Who logs never waits. A reader that stalls, such as a pipe that
//! nobody empties, costs lines, and how many is counted and told; it costs no
//! shard its thread.
//!
//! tracing-appender has a writer like this. It bounds lines and not bytes, and
//! cannot be asked whether what was logged is out, which whoever ends the process
//! must know.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// What a line costs beside its text: its place in the queue and its allocation.
const AROUND_BYTES: usize = 64;

/// The near end of the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    messages: Sender<Message>,
    level: Arc<Level>,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// Answered when everything before it has been written.
    Mark(SyncSender<()>),
}

/// How full the queue is, and what it could not take.
#[derive(Debug)]
struct Level {
    bytes: AtomicUsize,
    bytes_max: usize,
    overflowed: AtomicU64,
    unwritable: AtomicU64,
}

/// Lines that nobody will read, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Because the queue was full.
    pub overflowed: u64,
    /// Because they could not be written: a full disk, a reader that is gone.
    pub unwritable: u64,
}

impl Queue {
    /// A queue of at most so many bytes, with a thread that writes them to `out`.
    pub(super) fn start(out: impl Write + Send + 'static, bytes_max: usize) -> io::Result<Queue> {
        let (messages, inbox) = channel();
        let level = Arc::new(Level {
            bytes: AtomicUsize::new(0),
            bytes_max,
            overflowed: AtomicU64::new(0),
            unwritable: AtomicU64::new(0),
        });
        let shared = Arc::clone(&level);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_out(&inbox, out, &shared))?;
        Ok(Queue { messages, level })
    }

    /// Waits until all that has been logged is written, but not for longer than
    /// this; whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let (mark, reached) = sync_channel(1);
        self.messages.send(Message::Mark(mark)).is_ok() && reached.recv_timeout(within).is_ok()
    }

    pub(super) fn lost(&self) -> Lost {
        Lost {
            overflowed: self.level.overflowed.load(Ordering::Relaxed),
            unwritable: self.level.unwritable.load(Ordering::Relaxed),
        }
    }

    fn offer(&self, line: &[u8]) {
        let cost = line.len() + AROUND_BYTES;
        let before = self.level.bytes.fetch_add(cost, Ordering::Relaxed);
        let fits = before + cost <= self.level.bytes_max;
        if !fits || self.messages.send(Message::Line(line.into())).is_err() {
            self.level.bytes.fetch_sub(cost, Ordering::Relaxed);
            self.level.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// tracing-subscriber hands over each line in one piece.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.offer(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> &'a Queue {
        self
    }
}

fn write_out(inbox: &Receiver<Message>, mut out: impl Write, level: &Level) {
    let mut told = 0;
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Line(line) => {
                // Whoever cannot write a log cannot log that either.
                if out.write_all(&line).is_err() {
                    level.unwritable.fetch_add(1, Ordering::Relaxed);
                }
                let cost = line.len() + AROUND_BYTES;
                let left = level.bytes.fetch_sub(cost, Ordering::Relaxed) - cost;
                let overflowed = level.overflowed.load(Ordering::Relaxed);
                // Told where the gap is behind us and there is room for the telling.
                if overflowed > told && left < level.bytes_max / 2 {
                    let lines = overflowed - told;
                    told = overflowed;
                    tracing::warn!(lines, "log lines were dropped: they were not read in time");
                }
            }
            // Who waited may have had enough.
            Message::Mark(mark) => drop(mark.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a line whenever it is told to.
    struct Gate {
        open: Receiver<()>,
        out: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(io::Error::other)?;
            let line_bytes = line.len();
            self.out.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line_bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_no_time() {
        let (key, open) = channel();
        let (out, written) = channel();
        let line = b"a line\n";
        let room = 3 * (line.len() + AROUND_BYTES);
        let queue = Queue::start(Gate { open, out }, room).unwrap();
        for _ in 0..5 {
            (&queue).write_all(line).unwrap();
        }
        assert_eq!(queue.lost().overflowed, 2);
        assert!(!queue.flush(Duration::from_millis(10)));
        for _ in 0..3 {
            key.send(()).unwrap();
        }
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(written.try_iter().count(), 3);
        // There is room again, and then nobody to write to.
        drop(key);
        (&queue).write_all(line).unwrap();
        assert!(queue.flush(Duration::from_secs(60)));
        let lost = Lost {
            overflowed: 2,
            unwritable: 1,
        };
        assert_eq!(queue.lost(), lost);
    }
}
