//! The threads that work on blobs' files, and the way to them from a shard: a piece of work
//! goes in, and its result comes back to whoever polls for it. Nobody has more than one piece
//! of work in here at a time, and whoever may come has a place (`places.rs`), so the queue
//! never overflows. Start at [`Threads::run`].

use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::error::BlobRequestError;
use crate::mailbox::{Inbox, mailbox};

type Work = Box<dyn FnOnce() + Send>;

enum Job {
    Work(Work),
    Stop,
}

/// The way to the threads.
#[derive(Clone)]
pub(crate) struct Threads {
    jobs: Sender<Job>,
    count: usize,
}

impl Threads {
    /// Starts `count` of them under a name, for whom `askers` may have work at the same time.
    pub(super) fn start(
        name: &str,
        count: usize,
        askers: usize,
    ) -> io::Result<(Threads, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = bounded(askers + count);
        let threads = (0..count).map(|number| {
            let queue: Receiver<Job> = queue.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    while let Ok(Job::Work(work)) = queue.recv() {
                        work();
                    }
                })
        });
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        Ok((Threads { jobs, count }, threads))
    }

    /// Ends them. Who still waits for something waits in vain: the shards have drained.
    pub(super) fn stop(&self) {
        for _ in 0..self.count {
            // Fails only if they have ended already.
            let _ = self.jobs.send(Job::Stop);
        }
    }

    /// Has a piece of work done. Whoever has no use for its result any more drops the answer.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, BlobRequestError> {
        let (outbox, inbox) = mailbox(1);
        let work = move || {
            // Nobody may be left waiting.
            let result = catch_unwind(AssertUnwindSafe(work)).ok();
            // Its place is there, and nobody else posts.
            let _ = outbox.post(result);
        };
        match self.jobs.try_send(Job::Work(Box::new(work))) {
            Ok(()) => Ok(Pending(inbox)),
            Err(_) => Err(BlobRequestError::bug(
                "the blobs' threads have ended, or have no room",
            )),
        }
    }

    /// The same, or nothing if there is no room now.
    pub(super) fn try_run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Pending<T>> {
        match self.jobs.is_full() {
            true => None,
            false => self.run(work).ok(),
        }
    }

    /// Keeps a value that must not be dropped on a shard, as that takes file operations.
    pub(super) fn keep<T: Send + 'static>(&self, value: T) -> Aside<T> {
        Aside {
            value: Some(value),
            threads: self.clone(),
        }
    }
}

/// The result of a piece of work, which is to come.
pub(crate) struct Pending<T>(Inbox<Option<T>>);

impl<T> Pending<T> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, BlobRequestError>> {
        let panicked = || BlobRequestError::bug("work on a blob panicked");
        self.0
            .poll_take(cx)
            .map(|result| result.ok_or_else(panicked))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, BlobRequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pending::poll(&mut self, cx)
    }
}

/// A value whose end takes file operations: wherever it is dropped, one of the threads
/// does these.
pub(super) struct Aside<T: Send + 'static> {
    value: Option<T>,
    threads: Threads,
}

impl<T: Send + 'static> Aside<T> {
    /// For whoever is on one of the threads.
    pub(super) fn into_inner(mut self) -> T {
        self.value
            .take()
            .expect("it is only taken here and at the end")
    }
}

impl<T: Send + 'static> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is only taken at the end")
    }
}

impl<T: Send + 'static> DerefMut for Aside<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is only taken at the end")
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            // If the threads have ended, so has all that would mind.
            let _ = self
                .threads
                .jobs
                .try_send(Job::Work(Box::new(move || drop(value))));
        }
    }
}
