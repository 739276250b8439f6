//! Which sockets are ready: one epoll for all sockets of a thread, and one task
//! that asks it.
//!
//! glommio waits for each socket by a poll of its own on the ring: a request to
//! the kernel, an allocation and a completion for every request of every
//! connection. Here the ring holds a single poll, for the epoll descriptor; when
//! that fires, one system call names all sockets that have become ready, and their
//! tasks are woken together. Events are edges: a socket counts as ready until an
//! attempt on it has found nothing. Sockets themselves are in `net.rs`. Everything
//! belongs to the thread of its executor.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::AsyncRead;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use slab::Slab;

/// Sockets named by one system call; others are named by the next.
const EVENTS_MAX: usize = 256;

/// Waiting takes a descriptor, asking none: without one, sockets are asked for so
/// often.
const BLIND_PAUSE: Duration = Duration::from_millis(5);

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

thread_local! {
    static SOCKETS: RefCell<Sockets> = RefCell::default();
}

/// All sockets of this thread.
#[derive(Default)]
struct Sockets {
    epoll: Option<Rc<OwnedFd>>,
    known: Slab<Rc<Readiness>>,
    // The executor that has a task which asks.
    asked_by: Option<usize>,
}

/// What is known about one socket.
pub(super) struct Readiness {
    /// There may be something to read, or a connection to accept.
    pub(super) reading: Side,
    /// There may be room to write.
    pub(super) writing: Side,
    // The other side has closed its half, or more than that.
    ended: Cell<bool>,
}

/// One direction of a socket.
#[derive(Default)]
pub(super) struct Side {
    ready: Cell<bool>,
    waiting: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Side {
    /// An attempt has found nothing.
    pub(super) fn exhausted(&self) {
        self.ready.set(false);
    }

    /// Ready when an attempt is worth it, else wakes the task when it will be.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ready.get() {
            return Poll::Ready(());
        }
        self.remember(cx.waker());
        self.wake_when_ready();
        Poll::Pending
    }

    /// Remembers whose socket this is.
    pub(super) fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    /// Wakes the task that was remembered as soon as an attempt is worth it.
    pub(super) fn wake_when_ready(&self) {
        self.waiting.set(true);
    }

    fn becomes_ready(&self) {
        self.ready.set(true);
        if self.waiting.replace(false)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

impl Readiness {
    /// Of a new socket: a first read waits for news, a first write does not.
    fn new() -> Readiness {
        let writing = Side::default();
        writing.ready.set(true);
        Readiness {
            reading: Side::default(),
            writing,
            ended: Cell::new(false),
        }
    }

    /// A read came back with less than there was room for: nothing is left,
    /// unless what is left is the news that there will be no more.
    pub(super) fn drained(&self) {
        if !self.ended.get() {
            self.reading.exhausted();
        }
    }

    /// Tells whoever waits to try, and to find out what has become of the socket.
    pub(super) fn broken(&self) {
        self.ended.set(true);
        self.reading.becomes_ready();
        self.writing.becomes_ready();
    }

    fn note(&self, flags: EventFlags) {
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            self.broken();
            return;
        }
        if flags.contains(EventFlags::IN) {
            self.reading.becomes_ready();
        }
        if flags.contains(EventFlags::OUT) {
            self.writing.becomes_ready();
        }
    }
}

/// A socket whose readiness is watched for as long as this lives.
pub(super) struct Watched {
    fd: OwnedFd,
    readiness: Rc<Readiness>,
    place: usize,
}

impl Watched {
    /// Begins to watch. Must be called on an executor.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Watched> {
        let readiness = Rc::new(Readiness::new());
        let (epoll, place) = SOCKETS.with_borrow_mut(|sockets| {
            let epoll = sockets.epoll()?;
            let place = sockets.known.insert(Rc::clone(&readiness));
            io::Result::Ok((epoll, place))
        })?;
        let watched = Watched {
            fd,
            readiness,
            place,
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&epoll, &watched.fd, EventData::new_u64(place as u64), flags)?;
        // An executor before this one may have ended with the thread's sockets.
        let executor = Some(super::executor_id());
        let before = SOCKETS.with_borrow_mut(|s| std::mem::replace(&mut s.asked_by, executor));
        if before != executor {
            super::spawn(ask_for_ever(epoll));
        }
        Ok(watched)
    }

    /// What is known about it.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Closing the descriptor takes it out of the epoll.
        SOCKETS.with_borrow_mut(|sockets| sockets.known.remove(self.place));
    }
}

impl Sockets {
    fn epoll(&mut self) -> io::Result<Rc<OwnedFd>> {
        if let Some(epoll) = &self.epoll {
            return Ok(Rc::clone(epoll));
        }
        let epoll = Rc::new(epoll::create(CreateFlags::CLOEXEC)?);
        self.epoll = Some(Rc::clone(&epoll));
        Ok(epoll)
    }
}

/// Wakes the tasks of sockets as soon as these are ready.
async fn ask_for_ever(epoll: Rc<OwnedFd>) {
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut is_blind = false;
    loop {
        let waited = any_ready(&epoll).await;
        if waited.is_err() != is_blind {
            is_blind = waited.is_err();
            match &waited {
                Err(error) => {
                    tracing::warn!(%error, "no descriptor left to wait for sockets with; asking for them now and then")
                }
                Ok(()) => tracing::warn!("there are descriptors again"),
            }
        }
        if is_blind {
            super::sleep(BLIND_PAUSE).await;
        }
        if let Err(error) = ask(&epoll, &mut events) {
            tracing::error!(%error, "cannot ask which sockets are ready");
            super::sleep(super::timer::TICK).await;
        }
    }
}

fn ask(epoll: &OwnedFd, events: &mut Vec<Event>) -> io::Result<()> {
    events.clear();
    epoll::wait(
        epoll,
        rustix::buffer::spare_capacity(events),
        Some(&AT_ONCE),
    )?;
    SOCKETS.with_borrow(|sockets| {
        for event in events.iter() {
            let place = event.data.u64() as usize;
            if let Some(readiness) = sockets.known.get(place) {
                readiness.note(event.flags);
            }
        }
    });
    Ok(())
}

/// Waits on the ring until the epoll has something to tell. glommio waits only
/// for sockets that it is about to read, so it gets a second descriptor of the epoll
/// as one: when it says that this cannot be read like a socket, it has waited.
#[allow(unsafe_code)]
async fn any_ready(epoll: &OwnedFd) -> io::Result<()> {
    let second = epoll.try_clone()?.into_raw_fd();
    // SAFETY: the descriptor was just made and given up by its only owner.
    let mut socket = unsafe { glommio::net::TcpStream::from_raw_fd(second) };
    let read = poll_fn(|cx| Pin::new(&mut socket).poll_read(cx, &mut [0])).await;
    debug_assert!(read.is_err(), "an epoll cannot be read");
    Ok(())
}
