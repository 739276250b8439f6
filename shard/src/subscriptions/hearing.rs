//! The listener's side of a subscription: what there is to be told is asked of the shard whose
//! context's events they are, and the handler runs with it as an update, whose changeset has moved the
//! subscription on. Runs on the shard of the listener.
//!
//! One turn of a subscription is under way at a time, which keeps the order. If the handler fails,
//! nothing of its turn is; then the subscription alone is changed: the events are told again, one by
//! one, and one that fails too often is left out.

use std::rc::Rc;
use std::time::{Duration, Instant};

use corelet_store::ContextId;
use corelet_wasm_host::LogLevel;

use super::row::{Place, Point, SubscriptionRow, Tried};
use super::told::{AROUND_BYTES, Told, Wanted};
use super::{Subscription, Subscriptions};
use crate::context::InUse;
use crate::due::Hint;
use crate::error::CallError;
use crate::fault::{is_nobodys_fault, why};
use crate::message::{Request, Response};
use crate::pacer::{backoff, micros};
use crate::sends::{Word, caller_of, failed};
use crate::shard::{Shard, settle};
use crate::statistics::Ended;
use crate::turn::{Begin, What};
use crate::view::{Forward, Hearing, PutOffHearing, SequenceAccess, View};

/// After something that is nobody's fault was in the way; twice as long after each further time, up
/// to about a minute.
const NOT_NOW: Duration = Duration::from_secs(1);
const NOT_NOW_DOUBLINGS: u32 = 6;

/// The same after a queue was full, up to about a second.
const BUSY: Duration = Duration::from_millis(10);
const BUSY_DOUBLINGS: u32 = 7;

/// How often in a row queues are full before that is worth a word.
const BUSY_FOR_LONG: u32 = 32;

/// From one look to the next, where nobody tells when there is something new: too much is known
/// already.
const UNTOLD: Duration = Duration::from_secs(10);

/// Events that are passed over, as they are not for the handler, before that is noted. After a restart
/// they are passed over again.
const PASSED_OVER_MAX: u64 = 1_000;

/// What a handler is told with one turn.
struct Telling {
    row: SubscriptionRow,
    hearing: Hearing,
    told: Told,
}

impl Telling {
    /// What there is to be told, if that is one; none if it is several events.
    fn single(&self) -> Option<Tried> {
        match (self.hearing.to, &self.told.events[..]) {
            (Forward::End, _) => Some(Tried::End),
            (_, []) => Some(Tried::Gap),
            (_, [one]) => Some(Tried::Event(one.sequence)),
            (_, [_, ..]) => None,
        }
    }
}

impl Subscriptions {
    /// Knows whose events a subscription is to; false if there is no room for that.
    fn know(&self, subscription: Subscription, row: &SubscriptionRow) -> bool {
        self.known.borrow_mut().note(subscription, row.source)
    }

    fn forget(&self, subscription: Subscription) {
        self.known.borrow_mut().forget(subscription);
    }

    /// There is nothing to be told up to this point. Tells whether that is kept.
    fn pass(&self, subscription: Subscription, row: &SubscriptionRow, to: Point) -> bool {
        self.known.borrow_mut().pass(subscription, row.asked(), to)
    }

    /// From where on it is asked what there is.
    fn goes_on(&self, subscription: Subscription, row: &SubscriptionRow) -> Place {
        self.known.borrow().goes_on(subscription, row.asked())
    }
}

impl Shard {
    /// Tells a handler what there is for it. Gives what is known of what comes next; if that is
    /// nothing, it is noted when there are new events.
    pub(super) async fn hear(
        self: &Rc<Self>,
        subscription: Subscription,
        hint: Hint,
    ) -> Option<Hint> {
        let listener = subscription.listener;
        let heard = self.hear_next(subscription, hint).await;
        self.quarantine_if_damaged(listener, &heard);
        match heard {
            Ok(next) => next,
            // It is gone with its subscriptions, or is looked at anew when it is back.
            Err(CallError::ContextNotFound { .. } | CallError::OutOfService { .. }) => {
                self.subscriptions.forget_listener(listener);
                None
            }
            Err(error) if error.damage().is_some() => None,
            Err(error) => Some(self.hear_later(subscription, hint, &error)),
        }
    }

    /// What is nobody's fault is tried again, later each time.
    fn hear_later(&self, subscription: Subscription, hint: Hint, error: &CallError) -> Hint {
        self.stats.hearings_again.one();
        let refused = hint.refused.saturating_add(1);
        let is_busy = matches!(error, CallError::Busy { .. });
        let (first, doublings) = match is_busy {
            true => (BUSY, BUSY_DOUBLINGS),
            false => (NOT_NOW, NOT_NOW_DOUBLINGS),
        };
        let wait = backoff(first, refused.min(doublings), subscription);
        let is_news = !is_busy || refused >= BUSY_FOR_LONG;
        if is_news && self.subscriptions.pacer.is_to_be_told(refused) {
            let seconds = wait.as_secs_f32();
            tracing::warn!(shard = self.id.number(), context = %subscription.listener, times = refused, seconds, %error, "a handler cannot be told of events now, and that is tried again later");
        }
        Hint {
            from: hint.from,
            start: self.clock.wall_micros() + micros(wait),
            refused,
        }
    }

    async fn hear_next(
        self: &Rc<Self>,
        subscription: Subscription,
        hint: Hint,
    ) -> Result<Option<Hint>, CallError> {
        let Subscription { listener, key } = subscription;
        self.check_service(listener)?;
        let Some(row) = self.durable_subscription(subscription).await? else {
            self.subscriptions.forget(subscription);
            return Ok(None);
        };
        // Before it is asked what there is, so that nothing new is missed behind that.
        let is_known = self.subscriptions.know(subscription, &row);
        let place = self.subscriptions.goes_on(subscription, &row);
        // Before anything is read for it.
        let paid = match self.pay_for_hearing(listener) {
            Ok(paid) => paid,
            Err(busy) => return Ok(Some(self.hear_later(subscription, hint, &busy))),
        };
        let asked = self.ask_what_is_told(listener, &row, place).await;
        let is_nothing = match &asked {
            Ok(told) => told.events.is_empty() && told.gap.is_none(),
            Err(error) => !matches!(error, CallError::ContextNotFound { .. }),
        };
        if is_nothing && let Some(context) = &paid {
            let per_second_max = self.host.limits().context_calls_per_second;
            context.hearing_rate.take_back(per_second_max);
        }
        let (to, told) = match asked {
            Ok(told) => (Forward::Behind(told.until), told),
            Err(CallError::ContextNotFound { .. }) => (Forward::End, Told::default()),
            // Whatever it is, it is not this context's.
            Err(error) => return Ok(Some(self.hear_later(subscription, hint, &error))),
        };
        let is_told_of_new = is_known && told.is_heard;
        let from = row.asked();
        let hearing = Hearing { key, from, to };
        let (is_over, more) = (to == Forward::End, told.more);
        if is_nothing {
            self.pass_over(subscription, &row, &hearing, &told).await?;
        } else {
            let context = self.reach(listener).await?;
            // One that was not in memory has not used up anything yet, but for what others of its handlers
            // are told.
            if paid.is_none() {
                let per_second_max = self.host.limits().context_calls_per_second;
                let admitted = context.hearing_rate.admit(Instant::now(), per_second_max);
                if let Err(busy) = admitted {
                    return Ok(Some(self.hear_later(subscription, hint, &busy)));
                }
            }
            // A copy that has what comes of an event has the event.
            self.copier.cut().over().await;
            let telling = Telling { row, hearing, told };
            let again = self.run_handler(&context, subscription, &telling).await?;
            if again.is_some() {
                return Ok(again);
            }
        }
        let now = self.clock.wall_micros();
        Ok(match (is_over, more) {
            (true, _) => None,
            (false, true) => Some(Hint::at(now)),
            (false, false) if is_told_of_new => None,
            (false, false) => Some(Hint {
                start: now + micros(UNTOLD),
                ..Hint::at(now)
            }),
        })
    }

    /// Counts that a handler of a context is told something, if that is in memory; which is taken back if there
    /// is nothing to be told.
    fn pay_for_hearing(&self, listener: ContextId) -> Result<Option<InUse>, CallError> {
        let per_second_max = self.host.limits().context_calls_per_second;
        let context = self.live(listener);
        if let Some(context) = &context {
            context.hearing_rate.admit(Instant::now(), per_second_max)?;
        }
        Ok(context)
    }

    /// A subscription of which it is durable that there is one.
    async fn durable_subscription(
        &self,
        subscription: Subscription,
    ) -> Result<Option<SubscriptionRow>, CallError> {
        let Subscription { listener, key } = subscription;
        // Most are looked at without anything to be told, so nobody is brought into memory for it.
        let mut view = match self.live(listener) {
            Some(context) => {
                // What is on its way may be this subscription, or its end.
                if context.unsettled_writes.get() > 0 {
                    let barrier = self.commits.barrier(&context, None).await;
                    barrier.ok_or_else(|| CallError::bug("a barrier was forgotten"))??;
                }
                self.durable_view(&context)
            }
            None => {
                let snapshot = self.snapshots.latest();
                let record = snapshot.context(&listener)?;
                let record = record.ok_or_else(|| CallError::ContextNotFound {
                    context: listener.to_string(),
                })?;
                let access = SequenceAccess::without_cache(self.author);
                View::of_query(record.slot, snapshot, Rc::default(), access)
            }
        };
        view.subscription(key).map_err(failed)
    }

    async fn ask_what_is_told(
        self: &Rc<Self>,
        listener: ContextId,
        row: &SubscriptionRow,
        place: Place,
    ) -> Result<Told, CallError> {
        let bounds = &self.bounds.subscriptions;
        let args_max = self.host.limits().args_bytes_max as usize;
        let room = args_max.saturating_sub(AROUND_BYTES);
        let wanted = Wanted {
            source: row.source,
            listener,
            place,
            kind: row.kind.clone(),
            events_max: match row.is_careful() {
                true => 1,
                false => bounds.batch_events_max,
            },
            bytes_max: bounds.batch_bytes_max.min(room),
            event_bytes_max: room,
        };
        let owner = self.owner(&wanted.source);
        if owner == self.id {
            return self.told_here(self.id, &wanted);
        }
        let request = Request::Hear {
            by: self.id,
            wanted,
        };
        match self.mesh.ask(owner, request).await? {
            Response::Hear(told) => told,
            _ => Err(CallError::bug("a shard answered another question")),
        }
    }

    /// There was nothing for the handler. Notes up to where, in memory or if that is worth a commit.
    async fn pass_over(
        self: &Rc<Self>,
        subscription: Subscription,
        row: &SubscriptionRow,
        hearing: &Hearing,
        told: &Told,
    ) -> Result<(), CallError> {
        let mut word = None;
        let is_worth_noting = match row.place {
            Place::Since(_) => true,
            Place::Behind(Point { number, .. }) if number > told.after => {
                let message = format!(
                    "{} has no event {number} but {} at most; the handler goes on from there",
                    row.source, told.after
                );
                word = Some(Word {
                    method: row.handler.clone(),
                    level: LogLevel::Warn,
                    message,
                });
                true
            }
            Place::Behind(Point { number, .. }) => {
                let is_kept = self.subscriptions.pass(subscription, row, told.until);
                // Or the next look would come no farther.
                let is_in_vain = told.more && !is_kept;
                is_in_vain || told.until.number - number >= PASSED_OVER_MAX
            }
        };
        if !is_worth_noting {
            return Ok(());
        }
        let context = self.reach(subscription.listener).await?;
        self.copier.cut().over().await;
        self.write_alone(&context, |view| {
            Ok(view.pass_over(hearing)?.then_some(word))
        })
        .await
    }

    /// Runs the handler. Gives when it is told again, if it has failed and is.
    async fn run_handler(
        self: &Rc<Self>,
        context: &InUse,
        subscription: Subscription,
        telling: &Telling,
    ) -> Result<Option<Hint>, CallError> {
        let Telling { row, hearing, told } = telling;
        let has_ended = hearing.to == Forward::End;
        let started = Instant::now();
        let time = Duration::from_millis(self.host.limits().call_time_max);
        let counted = self.row_of_handlers(context);
        let args = told.arguments(row.source, has_ended);
        let bytes_in = args.len();
        let begin = Begin {
            what: What::Heard(Box::new(*hearing)),
            row: counted,
            args,
            caller: caller_of(row.source),
            asked: None,
            deadline: started + time,
            upgrades: context.upgrades.get(),
            keyed: None,
            promise: None,
        };
        let end = match self.execute(context, begin).await {
            // It was made anew meanwhile, or has ended.
            Ok(executed) if executed.is_stale() => {
                return Ok(Some(Hint::at(self.clock.wall_micros())));
            }
            Ok(executed) => settle(executed).await,
            Err(error) => Err(error),
        };
        let ended = Ended {
            bytes_in,
            took: started.elapsed(),
            outcome: end.as_ref().map(|reply| reply.output.len()),
        };
        self.count_call(context, counted, ended);
        match end {
            Ok(_) => {
                self.count_told(told, has_ended);
                Ok(None)
            }
            Err(error) if is_nobodys_fault(&error) => Err(error),
            Err(error) => {
                self.stats.hearings_failed.one();
                self.put_off_hearing(context, subscription, telling, &why(&error))
                    .await
            }
        }
    }

    fn count_told(&self, told: &Told, has_ended: bool) {
        self.stats.hearings.one();
        self.stats.events_heard.add(told.events.len() as u64);
        if let Some(first) = told.events.first() {
            let lag = self.clock.wall_micros().saturating_sub(first.micros);
            self.stats.hearing_lag_micros.observe(lag);
        }
        if told.gap.is_some() {
            self.stats.event_gaps.one();
        }
        if has_ended {
            self.stats.subscriptions_ended.one();
        }
    }

    /// Has a handler that has failed told again later, or not.
    async fn put_off_hearing(
        self: &Rc<Self>,
        context: &InUse,
        subscription: Subscription,
        telling: &Telling,
        why: &str,
    ) -> Result<Option<Hint>, CallError> {
        let Telling { row, hearing, told } = telling;
        let bounds = &self.bounds.subscriptions;
        let max = bounds.attempts_max;
        let what = name_of(told, hearing);
        let source = row.source;
        let mut again = None;
        self.write_alone(context, |view| {
            let put_off = view.put_off_hearing(hearing, telling.single(), max)?;
            let (method, level, message) = match put_off {
                PutOffHearing::Gone => return Ok(None),
                PutOffHearing::OneByOne { handler } => {
                    again = Some(backoff(bounds.retry_after, 1, subscription));
                    let message = format!(
                        "the handler failed with {what} of {source}, and is told them one by one: {why}"
                    );
                    (handler, LogLevel::Warn, message)
                }
                PutOffHearing::Again { handler, attempts } => {
                    let wait = backoff(bounds.retry_after, attempts, subscription);
                    again = Some(wait);
                    let seconds = wait.as_secs_f32();
                    let message = format!(
                        "the handler failed with {what} of {source} (attempt {attempts} of {max}), and is told again in {seconds:.1} s: {why}"
                    );
                    (handler, LogLevel::Warn, message)
                }
                PutOffHearing::GivenUp { handler, attempts } => {
                    self.stats.events_given_up.add(told.events.len() as u64);
                    if hearing.to == Forward::End {
                        self.stats.subscriptions_ended.one();
                    }
                    let message = format!(
                        "the handler failed with {what} of {source} (attempt {attempts} of {max}), and goes on without: {why}"
                    );
                    (handler, LogLevel::Error, message)
                }
            };
            Ok(Some(Some(Word {
                method,
                level,
                message,
            })))
        })
        .await?;
        let now = self.clock.wall_micros();
        let wait = again.unwrap_or(Duration::ZERO);
        Ok(Some(Hint {
            start: now + micros(wait),
            ..Hint::at(now)
        }))
    }
}

/// For the context's log.
fn name_of(told: &Told, hearing: &Hearing) -> String {
    match (&told.events[..], told.gap) {
        _ if hearing.to == Forward::End => "the end".to_owned(),
        ([one], _) => format!("event {}", one.sequence),
        ([first, .., last], _) => format!("events {} to {}", first.sequence, last.sequence),
        ([], Some((from, to))) => format!("that events {from} to {to} are missing"),
        ([], None) => "nothing".to_owned(),
    }
}
