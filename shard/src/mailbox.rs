//! Bounded inbox of one shard. No routing here (see `mesh.rs`).
//!
//! A lock-free queue and a doorbell: any thread may post, only the shard that
//! owns the [`Inbox`] takes. The queue's capacity is chosen by who makes the
//! mailbox, as a sum of what each sender may have outstanding, so that a full
//! mailbox means a broken bound and not a busy moment.

use std::sync::Arc;
use std::task::{Context, Poll};

use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;

struct Mailbox<T> {
    queue: ArrayQueue<T>,
    doorbell: AtomicWaker,
}

/// The posting side; any thread, any number.
pub(crate) struct Outbox<T>(Arc<Mailbox<T>>);

/// The taking side; stays on the shard that owns it.
pub(crate) struct Inbox<T>(Arc<Mailbox<T>>);

/// Makes a mailbox for at most `capacity` messages.
pub(crate) fn mailbox<T>(capacity: usize) -> (Outbox<T>, Inbox<T>) {
    let shared = Arc::new(Mailbox {
        queue: ArrayQueue::new(capacity),
        doorbell: AtomicWaker::new(),
    });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Outbox(Arc::clone(&self.0))
    }
}

impl<T> Outbox<T> {
    /// Posts a message, or hands it back when the mailbox is full.
    pub(crate) fn post(&self, message: T) -> Result<(), T> {
        self.0.queue.push(message)?;
        self.0.doorbell.wake();
        Ok(())
    }

    /// Messages waiting now.
    pub(crate) fn depth(&self) -> usize {
        self.0.queue.len()
    }
}

impl<T> Inbox<T> {
    /// The next message, in the order in which they were posted.
    pub(crate) async fn take(&mut self) -> T {
        std::future::poll_fn(|cx| self.poll_take(cx)).await
    }

    /// The same for who polls.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(message) = self.0.queue.pop() {
            return Poll::Ready(message);
        }
        self.0.doorbell.register(cx.waker());
        // A message posted before the doorbell was set rang for nobody.
        match self.0.queue.pop() {
            Some(message) => Poll::Ready(message),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_hands_the_message_back() {
        let (outbox, _inbox) = mailbox(1);
        assert_eq!(outbox.post(1), Ok(()));
        assert_eq!(outbox.post(2), Err(2));
        assert_eq!(outbox.depth(), 1);
    }

    #[test]
    fn messages_of_several_threads_all_arrive_and_keep_each_sender_s_order() {
        const EACH: u64 = 20_000;
        let (outbox, mut inbox) = mailbox(64);
        let threads: Vec<_> = (0..3u64)
            .map(|sender| {
                let outbox = outbox.clone();
                let name = std::thread::Builder::new().name(format!("sender-{sender}"));
                let send = move || {
                    for number in 0..EACH {
                        let mut message = (sender, number);
                        while let Err(back) = outbox.post(message) {
                            message = back;
                            std::thread::yield_now();
                        }
                    }
                };
                name.spawn(send).unwrap()
            })
            .collect();
        let mut next = [0; 3];
        futures_lite::future::block_on(async {
            for _ in 0..3 * EACH {
                let (sender, number) = inbox.take().await;
                assert_eq!(number, next[sender as usize]);
                next[sender as usize] += 1;
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
