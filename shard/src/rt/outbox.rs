//! Answers leave together: what the connections of a thread have written goes
//! out, connection after connection, once the tasks that are ready have run.
//!
//! A send over a socket runs far into the kernel and wakes whoever waits at the
//! other end. Between two runs of guests it finds cold caches and clients asleep,
//! every time; behind another send it should find neither. What that is worth is in
//! `shard/decisions/0003-one-poll-for-all-sockets.md`. A connection alone waits for
//! nobody: its answer leaves when its task has paused.
//!
//! Belongs to the thread of its executor. Reading is in `net.rs`.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::ready::Watched;

/// Bytes of one connection that may wait here; more is sent at once, or waits
/// where it was written.
const WAITING_BYTES_MAX: usize = 16 << 10;

/// Bytes of memory that a connection keeps for its next answer.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// Sends in one go, before other tasks have their turn: less than 1 ms.
const SENDS_AT_ONCE: usize = 128;

/// Connections with something to send.
type Round = RefCell<Vec<Rc<Link>>>;

thread_local! {
    // Alive as long as the task that will send it, so that an executor which ends
    // takes its round with it.
    static ROUND: RefCell<Weak<Round>> = const { RefCell::new(Weak::new()) };
}

/// A connection's socket with what has been written to it and not been sent.
pub(super) struct Link {
    socket: Watched,
    waiting: RefCell<Vec<u8>>,
    // Whether the round holds it.
    leaving: Cell<bool>,
    broken: Cell<bool>,
}

impl Link {
    pub(super) fn new(socket: Watched) -> Link {
        Link {
            socket,
            waiting: RefCell::default(),
            leaving: Cell::new(false),
            broken: Cell::new(false),
        }
    }

    pub(super) fn socket(&self) -> &Watched {
        &self.socket
    }

    /// Whether what waits is about to be sent.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Fails once something that was taken could not be sent.
    pub(super) fn check_whole(&self) -> io::Result<()> {
        match self.broken.get() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }

    /// Takes bytes to be sent with the round; sends large ones at once.
    pub(super) fn poll_write(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_whole()?;
        if self.waiting.borrow().len() + bytes.len() > WAITING_BYTES_MAX {
            ready!(self.poll_sent(cx))?;
            return self.poll_send(cx, bytes);
        }
        self.waiting.borrow_mut().extend_from_slice(bytes);
        // Whoever wrote it is woken if it cannot leave.
        self.socket.readiness().writing.remember(cx.waker());
        if !self.leaving.replace(true) {
            join_round(Rc::clone(self));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Sends all that waits, as soon as the socket has room.
    pub(super) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_whole()?;
        loop {
            self.send_waiting()?;
            if self.waiting.borrow().is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.readiness().writing.poll_ready(cx));
        }
    }

    /// Sends what waits, up to where the socket is full.
    fn send_waiting(&self) -> io::Result<()> {
        let mut waiting = self.waiting.borrow_mut();
        let mut sent = 0;
        while sent < waiting.len() {
            match send(&self.socket, &waiting[sent..], SEND) {
                Ok(more) => sent += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.socket.readiness().writing.exhausted();
                    break;
                }
                Err(error) => {
                    waiting.clear();
                    self.broken.set(true);
                    return Err(error.into());
                }
            }
        }
        waiting.drain(..sent);
        waiting.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }

    /// Sends `bytes` and not what waits.
    fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.readiness().writing.poll_ready(cx));
            match send(&self.socket, bytes, SEND) {
                Ok(sent) => return Poll::Ready(Ok(sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.socket.readiness().writing.exhausted(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// The round's part: nobody waits for the outcome here, so the connection's
    /// task is woken if there is anything left for it to do or to find out.
    fn leave(&self) {
        self.leaving.set(false);
        match self.send_waiting() {
            Ok(()) if self.waiting.borrow().is_empty() => {}
            Ok(()) => self.socket.readiness().writing.wake_when_ready(),
            Err(_) => self.socket.readiness().broken(),
        }
    }
}

/// A client that has gone is an error here and not a signal.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

fn join_round(link: Rc<Link>) {
    ROUND.with_borrow_mut(|round| match round.upgrade() {
        Some(joined) => joined.borrow_mut().push(link),
        None => {
            let begun = Rc::new(RefCell::new(vec![link]));
            *round = Rc::downgrade(&begun);
            // Behind all tasks that are ready now.
            super::spawn(send_round(begun));
        }
    });
}

async fn send_round(round: Rc<Round>) {
    let links = round.take();
    // Who writes from now on begins the next one.
    drop(round);
    for some in links.chunks(SENDS_AT_ONCE) {
        some.iter().for_each(|link| link.leave());
        if some.len() == SENDS_AT_ONCE {
            super::yield_now().await;
        }
    }
}
