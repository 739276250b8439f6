//! Time on a shard: exact sleeps, and coarse deadlines for connections.
//!
//! [`sleep`] is exact and costs a timer in the ring. Deadlines of connections
//! (header, body, idle) are set on each request and nearly never reached, so
//! [`Timer`] keeps them in a slab that a ticker looks through a few times a
//! second: setting and dropping one costs an insert and a remove. Owned by the
//! thread that made them.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use send_wrapper::SendWrapper;
use slab::Slab;

/// How late a coarse deadline may be noticed.
pub const TICK: Duration = Duration::from_millis(100);

/// Sleeps for `duration`, exactly.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Runs `future` for at most `limit` (give or take a [`TICK`]).
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match select(future, Sleep::until(Instant::now() + limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

struct Deadline {
    at: Instant,
    waker: Waker,
}

#[derive(Default)]
struct Deadlines {
    waiting: Slab<Deadline>,
    // The executor that has a task which ticks.
    ticking_on: Option<usize>,
}

thread_local! {
    static DEADLINES: RefCell<Deadlines> = RefCell::default();
}

/// Wakes what is due, until nothing waits any more.
async fn tick() {
    loop {
        sleep(TICK).await;
        let now = Instant::now();
        let due: Option<Vec<Waker>> = DEADLINES.with_borrow_mut(|deadlines| {
            if deadlines.waiting.is_empty() {
                deadlines.ticking_on = None;
                return None;
            }
            Some(
                deadlines
                    .waiting
                    .iter()
                    .filter(|(_, d)| d.at <= now)
                    .map(|(_, d)| d.waker.clone())
                    .collect(),
            )
        });
        let Some(due) = due else { return };
        for waker in due {
            waker.wake();
        }
    }
}

/// A coarse deadline: ready up to one [`TICK`] after its time.
pub struct Sleep {
    at: Instant,
    // Index in this thread's slab while registered.
    place: Option<SendWrapper<usize>>,
}

impl Sleep {
    /// Ready at `at`.
    pub fn until(at: Instant) -> Sleep {
        Sleep { at, place: None }
    }

    fn forget(&mut self) {
        if let Some(place) = self.place.take() {
            DEADLINES.with_borrow_mut(|deadlines| deadlines.waiting.remove(*place));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            self.forget();
            return Poll::Ready(());
        }
        let at = self.at;
        let start_ticker = DEADLINES.with_borrow_mut(|deadlines| {
            match &self.place {
                Some(place) => {
                    let deadline = &mut deadlines.waiting[**place];
                    deadline.at = at;
                    deadline.waker.clone_from(cx.waker());
                }
                None => {
                    let place = deadlines.waiting.insert(Deadline {
                        at,
                        waker: cx.waker().clone(),
                    });
                    self.place = Some(SendWrapper::new(place));
                }
            }
            let executor = Some(super::executor_id());
            std::mem::replace(&mut deadlines.ticking_on, executor) != executor
        });
        if start_ticker {
            super::spawn(tick());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

impl hyper::rt::Sleep for Sleep {}

/// Hands coarse deadlines to an HTTP connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep::until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(sleep) => sleep.get_mut().at = deadline,
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    fn on_executor<F: Future>(make: impl FnOnce() -> F) -> F::Output {
        rt::run("test", &rt::ExecutorConfig::default(), make).expect("an executor can start here")
    }

    #[test]
    fn a_deadline_ends_a_future_that_never_does() {
        let ended = on_executor(|| async {
            timeout(Duration::from_millis(10), std::future::pending::<()>()).await
        });
        assert_eq!(ended, None);
    }

    #[test]
    fn a_dropped_deadline_leaves_nothing_behind() {
        on_executor(|| async {
            for _ in 0..40_000 {
                // More than the 32,767 wakers of one task that the executor can count.
                assert_eq!(timeout(Duration::from_secs(60), async { 1 }).await, Some(1));
                let mut waiting = Sleep::until(Instant::now() + Duration::from_secs(60));
                assert!(
                    futures_lite::future::poll_once(&mut waiting)
                        .await
                        .is_none()
                );
            }
            DEADLINES.with_borrow(|deadlines| assert!(deadlines.waiting.is_empty()));
        });
    }
}
