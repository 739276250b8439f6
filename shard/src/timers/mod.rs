//! What contexts are to be called for later: their timers, from the agenda in which they lie to
//! the turn that runs them.
//!
//! The agenda is the truth, and is written with the turn that arms a timer. Beside it the shard
//! keeps hints of who has something due (`pacer.rs`), which it finds anew when it starts. A timer
//! that is due runs as an update like any other (`firing.rs`); how it lies in the agenda is in
//! `row.rs`, what turns read and write of it in `view/timers.rs`.
//!
//! One task per shard sleeps until the first hint is due. Owned by the shard.

mod firing;
mod row;

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corelet_store::{ContextId, StoreError};

pub(crate) use self::firing::DueTimer;
pub(crate) use self::row::{
    COUNT, DUE, NAMED, NANOS_PER_MICRO, TimerRow, due_key, name_key, split_due, split_name,
};
use crate::due::{Hint, Next};
use crate::pacer::Pacer;
use crate::rt;
use crate::shard::Shard;

/// The subject that calls handlers.
pub(crate) const NODE_CALLER: &str = "corelet:node";

/// Agendas that are looked at between two breaths.
const PAGE: usize = 256;

/// After agendas could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Who has timers, and the task that waits for them.
pub(crate) type Timers = Pacer<ContextId>;

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
        let next = self.timers.next(now);
        self.stats.timers_waiting.set(self.timers.len() as u64);
        match next {
            Next::Start { who: context, hint } => {
                let shard = Rc::clone(self);
                rt::spawn(async move {
                    let next = shard.fire(context, hint).await;
                    let now = shard.clock.wall_micros();
                    shard.timers.end(context, next, now);
                });
            }
            Next::At(at) => self.timers.changed_or_at(at, now).await,
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
        self.timers.looked(now, again);
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
                    hint.start = now + self.timers.spread(overdue);
                    overdue += 1;
                }
                self.timers.note_later(head.context, hint);
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
