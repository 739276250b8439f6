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
use std::time::Duration;

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

/// Who has timers, and the task that waits for them.
pub(crate) struct Timers {
    due: RefCell<Due>,
    /// Whether there is something new since the task has looked.
    is_changed: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Timers {
    pub(crate) fn new(bounds: &TimerBounds) -> Timers {
        Timers {
            due: RefCell::new(Due::new(bounds)),
            is_changed: Cell::new(false),
            task: RefCell::default(),
        }
    }

    /// A timer of the context may run at `at`, in microseconds since 1970.
    pub(crate) fn note(&self, context: ContextId, at: u64) {
        self.change(|due| due.note(context, at));
    }

    fn end(&self, context: ContextId, next: Option<Hint>) {
        self.change(|due| due.end(context, next));
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
            self.look_at_agendas().await;
            loop {
                self.serve_timers().await;
            }
        };
        futures_lite::future::or(draining, work).await;
    }

    /// Does what is due, and waits for what is next.
    async fn serve_timers(self: &Rc<Self>) {
        let now = self.clock.wall_micros();
        let next = self.timers.due.borrow_mut().next(now);
        self.stats
            .timers_waiting
            .set(self.timers.due.borrow().len() as u64);
        match next {
            Next::Start { context, from } => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    let next = shard.fire(context, from).await;
                    shard.timers.end(context, next);
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
    /// begin them, in the order of their ids, which are random.
    async fn look_at_agendas(self: &Rc<Self>) {
        loop {
            match self.try_look_at_agendas().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(shard = self.id.number(), %error, "cannot tell which contexts have timers; none that was armed before is run until that can be read");
                    rt::sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    async fn try_look_at_agendas(self: &Rc<Self>) -> Result<(), StoreError> {
        let now = self.clock.wall_micros();
        let mut overdue = Vec::new();
        let mut after = None;
        loop {
            let snapshot = self.snapshots.latest();
            let page = snapshot.agendas(DUE, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.slot);
            for entry in page {
                // One without a head was deleted, and damage is met by whoever calls it.
                let (Ok(head), Some((at, _))) = (snapshot.head(entry.slot), split_due(&entry.key))
                else {
                    continue;
                };
                match at < now {
                    true => overdue.push((head.context, at)),
                    false => self.timers.note(head.context, at),
                }
            }
            rt::yield_now().await;
        }
        overdue.sort_unstable_by_key(|(context, _)| *context);
        let count = overdue.len() as u64;
        for (n, (context, at)) in (0..).zip(overdue) {
            self.timers.change(|due| {
                let start = now + due.spread(n);
                due.note_later(context, Hint { from: at, start });
            });
        }
        if count > 0 {
            tracing::info!(
                shard = self.id.number(),
                contexts = count,
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
