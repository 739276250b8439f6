//! What waits in the agendas of a shard to be done, and the task that does it: hints of who may have
//! something that is due (`due.rs`), a clock that may be put back, and how often it is told that
//! something is in the way. What is done, and who it is for, is the user's: `timers/` or `sends/`.
//!
//! Owned by the shard.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::due::{Due, Hint, Next, Pace, Who};
use crate::rt;

/// The clock on the wall may be put forward: so often it is looked at while nothing is due.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// By how much the clock on the wall goes back before that counts as put back.
const PUT_BACK_MICROS: i128 = 1_000_000;

/// Between two warnings of a shard that something cannot be done now.
const WARNINGS_APART: Duration = Duration::from_secs(10);

/// How often the time to the next attempt is doubled.
const DOUBLINGS_MAX: u32 = 16;

/// Who has something to be done, and the task that waits for it.
pub(crate) struct Pacer<K> {
    due: RefCell<Due<K>>,
    /// Whether there is something new since the task has looked.
    is_changed: Cell<bool>,
    task: RefCell<Option<Waker>>,
    /// The wall's time less that of a clock that nobody puts back, and that clock's beginning.
    skew: Cell<Option<i128>>,
    began: Instant,
    /// When it was last told that something is in the way.
    warned: Cell<Option<Instant>>,
}

impl<K: Who> Pacer<K> {
    pub(crate) fn new(pace: Pace) -> Pacer<K> {
        Pacer {
            due: RefCell::new(Due::new(pace)),
            is_changed: Cell::new(false),
            task: RefCell::default(),
            skew: Cell::default(),
            began: Instant::now(),
            warned: Cell::default(),
        }
    }

    /// What is to be done at `now`, in microseconds since 1970.
    pub(crate) fn next(&self, now: u64) -> Next<K> {
        self.check_clock(now);
        self.due.borrow_mut().next(now)
    }

    /// Looks whether the clock on the wall, which says `now`, was put back meanwhile.
    fn check_clock(&self, now: u64) {
        let skew = i128::from(now) - self.began.elapsed().as_micros() as i128;
        let before = self.skew.get().unwrap_or(skew);
        if skew + PUT_BACK_MICROS > before {
            self.skew.set(Some(before.max(skew)));
            return;
        }
        self.skew.set(Some(skew));
        let by = u64::try_from(before - skew).unwrap_or(u64::MAX);
        self.due.borrow_mut().put_back(by);
    }

    /// Whether to tell that something is in the way, which has happened to somebody so often in a
    /// row: the first time, and now and then, and not of thousands at once.
    pub(crate) fn is_to_be_told(&self, refused: u32) -> bool {
        let is_new = |last: Instant| last.elapsed() >= WARNINGS_APART;
        let told = refused.is_power_of_two() && self.warned.get().is_none_or(is_new);
        if told {
            self.warned.set(Some(Instant::now()));
        }
        told
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.due.borrow().len()
    }

    /// How many of them are due and wait until something of the same context ends.
    pub(crate) fn held(&self) -> usize {
        self.due.borrow().held()
    }

    /// The earliest time that is known of something that was due and has not ended. Looks at all that wait.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.due.borrow().earliest()
    }

    /// Whether something has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.due.borrow().is_running()
    }

    /// How long so many that are due at once are spread over.
    pub(crate) fn spread(&self, due: u64) -> u64 {
        self.due.borrow().spread(due)
    }

    /// Something of `who` may be due at `at`, in microseconds since 1970.
    pub(crate) fn note(&self, who: K, at: u64) {
        self.note_later(who, Hint::at(at));
    }

    /// The same, where it is not looked for at once.
    pub(crate) fn note_later(&self, who: K, hint: Hint) {
        self.change(|due| due.note_later(who, hint));
    }

    /// What was started has ended by `now`, and this is known of it since.
    pub(crate) fn end(&self, who: K, next: Option<Hint>, now: u64) {
        self.change(|due| due.end(who, next, now));
    }

    /// As [`note`](Self::note), for what is done in its order: nothing that is put off is looked at
    /// sooner for it.
    pub(crate) fn note_in_order(&self, who: K, at: u64) {
        self.change(|due| due.note_in_order(who, at));
    }

    /// As [`note`](Self::note), for what was made anew: nothing that was in the way before is any more.
    pub(crate) fn note_anew(&self, who: K, at: u64) {
        self.change(|due| due.note_anew(who, at));
    }

    /// As [`end`](Self::end), for what is done in its order.
    pub(crate) fn end_in_order(&self, who: K, next: Option<Hint>, now: u64) {
        self.change(|due| due.end_in_order(who, next, now));
    }

    /// All agendas have been looked at, or are to be looked at again.
    pub(crate) fn looked(&self, now: u64, again: Option<u64>) {
        self.change(|due| due.looked(now, again));
    }

    fn change(&self, change: impl FnOnce(&mut Due<K>)) {
        change(&mut self.due.borrow_mut());
        self.is_changed.set(true);
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// Waits until something has changed, or until `at` by a clock that says `now`.
    pub(crate) async fn changed_or_at(&self, at: u64, now: u64) {
        let wait = Duration::from_micros(at.saturating_sub(now)).min(LOOK_AT_CLOCK);
        futures_lite::future::or(rt::sleep(wait), self.changed()).await;
    }

    /// Waits until something has changed.
    pub(crate) async fn changed(&self) {
        std::future::poll_fn(|cx| {
            if self.is_changed.replace(false) {
                return Poll::Ready(());
            }
            self.task.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// The time to the next attempt: doubled with each, and up to half as long again, by a hash of
/// whose it is, so that what has failed together is not tried again together.
pub(crate) fn backoff(first: Duration, attempts: u32, whose: impl Hash) -> Duration {
    let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(DOUBLINGS_MAX));
    let mut hasher = DefaultHasher::new();
    (whose, attempts).hash(&mut hasher);
    let part = (hasher.finish() % 256) as u32;
    doubled.saturating_add(doubled / 512 * part)
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
