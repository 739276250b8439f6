//! What contexts are to be called for later: their timers, from the agenda in which they lie to
//! the turn that runs them.
//!
//! The agenda is the truth, and is written with the turn that arms a timer. Beside it the shard
//! keeps hints of who has something due (`due.rs`), which it finds anew when it starts. A timer
//! that is due runs as an update like any other (`firing.rs`); how it lies in the agenda is in
//! `row.rs`, what turns read and write of it in `view/timers.rs`.
//!
//! One task per shard sleeps until the first hint is due. Owned by the shard.

mod due;
mod firing;
mod row;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use corelet_store::{CallEffects, ContextId, Op, Space, StoreError, Write};

use self::due::{Due, Hint, Next};
pub(crate) use self::firing::DueTimer;
pub(crate) use self::row::{
    COUNT, DUE, NAMED, NANOS_PER_MICRO, TimerRow, due_key, name_key, split_due, split_name,
};
use crate::bounds::TimerBounds;
use crate::rt;
use crate::shard::Shard;

/// The subject that calls handlers.
pub(crate) const NODE_CALLER: &str = "corelet:node";

/// Agendas that are looked at between two breaths.
const PAGE: usize = 256;

/// The clock on the wall may be put forward: so often it is looked at while nothing is due.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// After agendas could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// By how much the clock on the wall goes back before that counts as put back.
const PUT_BACK_MICROS: i128 = 1_000_000;

/// Between two warnings of a shard that timers cannot be run.
const WARNINGS_APART: Duration = Duration::from_secs(10);

/// Who has timers, and the task that waits for them.
pub(crate) struct Timers {
    due: RefCell<Due>,
    /// Whether there is something new since the task has looked.
    is_changed: Cell<bool>,
    task: RefCell<Option<Waker>>,
    /// The wall's time less that of a clock that nobody puts back, and that clock's beginning.
    skew: Cell<Option<i128>>,
    began: Instant,
    /// When it was last told that something is in the way.
    warned: Cell<Option<Instant>>,
}

impl Timers {
    pub(crate) fn new(bounds: &TimerBounds) -> Timers {
        Timers {
            due: RefCell::new(Due::new(bounds)),
            is_changed: Cell::new(false),
            task: RefCell::default(),
            skew: Cell::default(),
            began: Instant::now(),
            warned: Cell::default(),
        }
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

    /// Whether to tell that something is in the way of a context's timers: the first time, and
    /// now and then, and not of thousands of contexts at once.
    fn is_to_be_told(&self, refused: u32) -> bool {
        let is_new = |last: Instant| last.elapsed() >= WARNINGS_APART;
        let told = refused.is_power_of_two() && self.warned.get().is_none_or(is_new);
        if told {
            self.warned.set(Some(Instant::now()));
        }
        told
    }

    /// A timer of the context may run at `at`, in microseconds since 1970.
    pub(crate) fn note(&self, context: ContextId, at: u64) {
        self.change(|due| due.note(context, at));
    }

    fn end(&self, context: ContextId, next: Option<Hint>, now: u64) {
        self.change(|due| due.end(context, next, now));
    }

    fn change(&self, change: impl FnOnce(&mut Due)) {
        change(&mut self.due.borrow_mut());
        self.is_changed.set(true);
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// Waits until something has changed.
    async fn changed(&self) {
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

/// The earliest time at which a timer runs that these effects arm.
pub(crate) fn armed_by(effects: &CallEffects) -> Option<u64> {
    let armed = |op: &Op| match (op.space, &op.write) {
        (Space::Agenda, Write::Set(_)) => split_due(&op.key),
        _ => None,
    };
    let times = effects.ops.iter().filter_map(armed).map(|(at, _)| at);
    times.min()
}

/// How many timers these effects arm, or arm anew.
pub(crate) fn count_armed_by(effects: &CallEffects) -> u64 {
    let is_armed = |op: &&Op| {
        let is_set = matches!(op.write, Write::Set(_));
        op.space == Space::Agenda && is_set && op.key.starts_with(DUE)
    };
    effects.ops.iter().filter(is_armed).count() as u64
}

impl Shard {
    /// Runs timers when they are due, until the node begins to stop.
    pub(crate) async fn run_timers(self: Rc<Self>, draining: impl Future<Output = ()>) {
        let work = async {
            loop {
                self.serve_timers().await;
            }
        };
        futures_lite::future::or(draining, work).await;
    }

    /// Does what is due, and waits for what is next.
    async fn serve_timers(self: &Rc<Self>) {
        let now = self.clock.wall_micros();
        self.timers.check_clock(now);
        let next = self.timers.due.borrow_mut().next(now);
        self.stats
            .timers_waiting
            .set(self.timers.due.borrow().len() as u64);
        match next {
            Next::Start { context, hint } => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    let next = shard.fire(context, hint).await;
                    let now = shard.clock.wall_micros();
                    shard.timers.end(context, next, now);
                });
            }
            Next::At(at) => {
                let wait = Duration::from_micros(at.saturating_sub(now)).min(LOOK_AT_CLOCK);
                futures_lite::future::or(rt::sleep(wait), self.timers.changed()).await;
            }
            Next::Nothing => self.timers.changed().await,
            Next::Look => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    // What was forgotten may be in no snapshot yet.
                    let newest = shard.commits.next_number().saturating_sub(1);
                    if shard.commits.until_shown(newest).await.is_some() {
                        shard.look_at_agendas().await;
                    }
                });
            }
        }
    }

    /// Finds all contexts with timers. What was due before is spread over the time that it takes to
    /// begin them. If that fails it is tried again, and what is armed meanwhile runs all the same.
    async fn look_at_agendas(self: &Rc<Self>) {
        let looked = self.try_look_at_agendas().await;
        let now = self.clock.wall_micros();
        let again = looked.err().map(|error| {
            tracing::error!(shard = self.id.number(), %error, "cannot tell which contexts have timers; none that was armed before is run until that can be read");
            now + LOOK_AGAIN.as_micros() as u64
        });
        self.timers.change(|due| due.looked(now, again));
    }

    async fn try_look_at_agendas(self: &Rc<Self>) -> Result<(), StoreError> {
        let now = self.clock.wall_micros();
        let mut overdue = 0;
        let mut after = None;
        loop {
            let snapshot = self.snapshots.latest();
            let page = snapshot.agendas(DUE, after, PAGE)?;
            after = page.last;
            for entry in page.entries {
                // One without a head was deleted, and damage is met by whoever calls it.
                let (Ok(head), Some((at, _))) = (snapshot.head(entry.slot), split_due(&entry.key))
                else {
                    continue;
                };
                let mut hint = Hint::at(at);
                if at < now {
                    hint.start = now + self.timers.due.borrow().spread(overdue);
                    overdue += 1;
                }
                self.timers.change(|due| due.note_later(head.context, hint));
            }
            if after.is_none() {
                break;
            }
            rt::breathe().await;
        }
        if overdue > 0 {
            tracing::info!(
                shard = self.id.number(),
                contexts = overdue,
                "timers have become due while nobody could run them"
            );
        }
        Ok(())
    }

    /// Looks at the agenda of a context that is back in service.
    pub(crate) fn note_timers_of(&self, id: ContextId) {
        let snapshot = self.snapshots.latest();
        if let Ok(Some(_)) = snapshot.context(&id) {
            // Whatever it has, the look that follows finds it.
            self.timers.note(id, 0);
        }
    }
}
