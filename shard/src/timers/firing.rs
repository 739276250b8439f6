//! A timer that is due: the update that it runs as, and what becomes of it if that fails.
//!
//! The turn's view has taken the timer from the agenda, or armed it for its next time, before its
//! handler runs, so both are written together or not at all. If the handler fails, nothing of it
//! is; then only the agenda is changed: the run is tried again later, or is given up. What is not
//! the application's fault, such as a full queue, is no attempt.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{Change, ContextId, Refused};
use corelet_wasm_host::{Failure, GuestLog, LogLevel};

use super::due::Hint;
use super::{NODE_CALLER, armed_by};
use crate::answer::Answer;
use crate::commit_stage::Receipt;
use crate::context::{Context, InUse};
use crate::contexts::failure_of;
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::shard::{Shard, settle};
use crate::statistics::{Ended, Row};
use crate::turn::{Begin, What};
use crate::view::{PutOff, SequenceAccess};

/// After a run that could not begin or whose effects could not be written, which is nobody's
/// fault; twice as long after each further one, up to about a minute.
const NOT_NOW: Duration = Duration::from_secs(1);

/// After a context's timers have run as often as a context may be called.
const TOO_OFTEN: Duration = Duration::from_millis(100);

/// How often that is doubled, and once more.
const NOT_NOW_DOUBLINGS: u32 = 6;

/// How often the time to the next attempt is doubled.
const DOUBLINGS_MAX: u32 = 16;

/// How much of a reason is told.
const WHY_BYTES_MAX: usize = 512;

/// A timer that is to run at `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueTimer {
    pub(crate) name: Arc<str>,
    /// In microseconds since 1970.
    pub(crate) at: u64,
}

/// What a run came to.
enum Run {
    /// It has happened, or there was nothing to do any more.
    Done,
    /// The application is at fault.
    Failed(String),
    /// Somebody else is.
    NotNow(CallError),
}

impl Shard {
    /// Runs the first timer of a context if it is due. Gives what is known of the next one.
    pub(super) async fn fire(self: &Rc<Self>, id: ContextId, hint: Hint) -> Option<Hint> {
        let fired = self.fire_first(id, hint.from).await;
        self.quarantine_if_damaged(id, &fired);
        match fired {
            Ok(next) => next,
            // It is gone, or is looked at anew when it is back.
            Err(CallError::ContextNotFound { .. } | CallError::OutOfService { .. }) => None,
            Err(error) if error.damage().is_some() => None,
            Err(error) => Some(self.refused(id, hint, &error)),
        }
    }

    /// What is nobody's fault is tried again, later each time: a batch that fails again and again
    /// is its neighbours' too.
    fn refused(&self, id: ContextId, hint: Hint, error: &CallError) -> Hint {
        let refused = hint.refused.saturating_add(1);
        let wait = backoff(NOT_NOW, refused.min(NOT_NOW_DOUBLINGS), (id.as_bytes(), ""));
        if self.timers.is_to_be_told(refused) {
            let seconds = wait.as_secs_f32();
            tracing::warn!(shard = self.id.number(), context = %id, times = refused, seconds, %error, "a timer cannot be run now, and is tried again later");
        }
        Hint {
            from: hint.from,
            start: self.clock.wall_micros() + micros(wait),
            refused,
        }
    }

    async fn fire_first(
        self: &Rc<Self>,
        id: ContextId,
        from: u64,
    ) -> Result<Option<Hint>, CallError> {
        self.check_service(id)?;
        let context = match self.live(id) {
            Some(context) => context,
            None => self.revive(id).await?,
        };
        let now = self.clock.wall_micros();
        let first = self.first_timer(&context, from)?;
        let Some((at, name)) = first.filter(|(at, _)| *at <= now) else {
            return self.first_hint(&context, from).await;
        };
        let per_second_max = self.host.limits().context_calls_per_second;
        let admitted = context.timer_rate.admit(Instant::now(), per_second_max);
        if admitted.is_err() {
            return Ok(Some(Hint {
                start: now + micros(TOO_OFTEN),
                ..Hint::at(from)
            }));
        }
        self.stats.timer_lag_micros.observe(now - at);
        let timer = DueTimer {
            name: Arc::from(name),
            at,
        };
        match self.run_timer(&context, &timer).await {
            Run::Done => {}
            Run::Failed(why) => {
                self.stats.timers_failed.one();
                self.put_off(&context, &timer, &why).await?;
            }
            Run::NotNow(error) => return Err(error),
        }
        // What is due by now begins when it is its turn again.
        self.first_hint(&context, from).await
    }

    /// When the first timer runs, once that is durable. What an update has put off or cancelled
    /// that is on its way to the disk is armed again if that is refused, and nobody would know:
    /// so no hint is given up before. What is armed meanwhile is noted by whoever arms it.
    async fn first_hint(
        &self,
        context: &Rc<Context>,
        from: u64,
    ) -> Result<Option<Hint>, CallError> {
        let first = self.first_timer(context, from)?;
        if context.unsettled_writes.get() > 0 {
            let barrier = self.commits.barrier(context, None).await;
            barrier.ok_or_else(|| CallError::bug("a barrier was forgotten"))??;
        }
        Ok(first.map(|(at, _)| Hint::at(at)))
    }

    fn first_timer(
        &self,
        context: &Rc<Context>,
        from: u64,
    ) -> Result<Option<(u64, String)>, CallError> {
        let access = SequenceAccess::without_cache(self.author);
        let view = self.view_of_update(context, access);
        let first = view.first_timer(from);
        first.map_err(|error| CallError::guest(failure_of(error), &[]))
    }

    async fn run_timer(self: &Rc<Self>, context: &InUse, timer: &DueTimer) -> Run {
        let started = Instant::now();
        let time = Duration::from_millis(self.host.limits().call_time_max);
        let methods = context.code().module.description().methods().len();
        let row = Row::of_handlers(methods, context.upgrades.get());
        let begin = Begin {
            what: What::Timer(timer.clone()),
            row,
            args: Bytes::new(),
            caller: Arc::from(NODE_CALLER),
            asked: None,
            deadline: started + time,
            upgrades: context.upgrades.get(),
            keyed: None,
            promise: None,
        };
        let (is_stale, end) = match self.execute(context, begin).await {
            Ok(executed) => (executed.is_stale(), settle(executed).await),
            Err(error) => (false, Err(error)),
        };
        if !is_stale {
            let ended = Ended {
                bytes_in: 0,
                took: started.elapsed(),
                outcome: end.as_ref().map(|reply| reply.output.len()),
            };
            self.count_call(context, row, ended);
        }
        match end {
            Ok(_) if is_stale => Run::Done,
            Ok(_) => {
                self.stats.timers_fired.one();
                Run::Done
            }
            Err(error) => failed(error),
        }
    }

    /// Has a timer whose run has failed run again later, or gives the run up.
    async fn put_off(
        self: &Rc<Self>,
        context: &InUse,
        timer: &DueTimer,
        why: &str,
    ) -> Result<(), CallError> {
        let held = self.schedule.hold(context).await;
        held.ok_or_else(|| CallError::bug("a timer was forgotten"))?;
        let written = self.write_put_off(context, timer, why);
        self.schedule.update_ended(context);
        let Some(receipt) = written? else {
            return Ok(());
        };
        let receipt = receipt.await;
        receipt.ok_or_else(|| CallError::bug("a change was forgotten"))??;
        Ok(())
    }

    fn write_put_off(
        &self,
        context: &Rc<Context>,
        timer: &DueTimer,
        why: &str,
    ) -> Result<Option<Answer<Receipt>>, CallError> {
        if context.deleted.get() {
            return Ok(None);
        }
        let bounds = &self.bounds.timers;
        let now = self.clock.wall_micros();
        let retry_at = |attempts| {
            let salt = (context.id.as_bytes(), &*timer.name);
            now + micros(backoff(bounds.retry_after, attempts, salt))
        };
        let access = SequenceAccess::without_cache(self.author);
        let mut view = self.view_of_update(context, access);
        let put_off = view.put_off(&timer.name, timer.at, bounds.attempts_max, retry_at);
        let put_off = put_off.map_err(|error| CallError::guest(failure_of(error), &[]))?;
        let why: String = why.chars().take(WHY_BYTES_MAX).collect();
        let (handler, level, message) = match put_off {
            PutOff::Gone => return Ok(None),
            PutOff::Again {
                handler,
                attempts,
                at,
            } => {
                let seconds = Duration::from_micros(at.saturating_sub(now)).as_secs_f32();
                let message = format!(
                    "timer {:?} failed (attempt {attempts} of {}), and runs again in {seconds:.1} s: {why}",
                    timer.name, bounds.attempts_max
                );
                (handler, LogLevel::Warn, message)
            }
            PutOff::GivenUp { handler, attempts } => {
                self.stats.timers_given_up.one();
                let message = format!(
                    "timer {:?} failed (attempt {attempts} of {}), and its run is given up: {why}",
                    timer.name, bounds.attempts_max
                );
                (handler, LogLevel::Error, message)
            }
        };
        let hlc = self.clock.tick();
        let written = view.into_written(hlc);
        let written = written.map_err(|error| CallError::bug(error.to_string()))?;
        let mut effects = self.no_effects(context, hlc);
        effects.ops = written.ops;
        let log = TurnLog {
            method: Arc::from(handler),
            began: hlc,
            succeeded: false,
            lines: vec![GuestLog { level, message }],
        };
        let (bytes, armed) = (effects.bytes(), armed_by(&effects));
        let wrote = Some((context, written.shown, Some(log)));
        let receipt = self.commits.submit(Change::Call(effects), bytes, wrote)?;
        context.changes.set(context.changes.get() + 1);
        if let Some(at) = armed {
            self.timers.note(context.id, at);
        }
        Ok(Some(receipt))
    }
}

/// Whose fault it was.
fn failed(error: CallError) -> Run {
    let is_ours = match &error {
        CallError::Guest { failure, .. } => match &**failure {
            Failure::State(_)
            | Failure::OurBug { .. }
            | Failure::MemoryFull { .. }
            | Failure::Busy { .. }
            // By an operator.
            | Failure::Cancelled => true,
            // A handler that takes too long would do so for ever, so that is its fault here.
            _ => false,
        },
        CallError::Uncommitted(refused) => matches!(
            **refused,
            Refused::DiskFull
                | Refused::BehindRefused { .. }
                | Refused::Overtaken { .. }
                | Refused::Damaged { .. }
        ),
        _ => true,
    };
    match is_ours {
        true => Run::NotNow(error),
        false => Run::Failed(why(&error)),
    }
}

/// For the context's log.
fn why(error: &CallError) -> String {
    if let CallError::Guest { failure, .. } = error {
        if let Failure::Application { error } = &**failure {
            return String::from_utf8_lossy(error).into_owned();
        }
        return failure.to_string();
    }
    error.to_string()
}

/// The time to the next attempt: doubled with each, and up to half as long again, by a hash, so
/// that what has failed together is not tried again together.
fn backoff(first: Duration, attempts: u32, (context, name): (&[u8; 32], &str)) -> Duration {
    let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(DOUBLINGS_MAX));
    let mut hasher = DefaultHasher::new();
    (context, name, attempts).hash(&mut hasher);
    let part = (hasher.finish() % 256) as u32;
    doubled.saturating_add(doubled / 512 * part)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use corelet_wasm_host::{Arming, GuestTimers, NewTimer};
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::view::View;

    const MINUTE: u64 = 60_000_000;

    /// Submits what `write` does to the timers of a context, which is then on its way to the disk.
    fn submit(bench: &Bench, context: &Rc<Context>, write: impl FnOnce(&mut View)) {
        let shard = &bench.shard;
        let access = SequenceAccess::without_cache(shard.author);
        let mut view = shard.view_of_update(context, access);
        write(&mut view);
        let hlc = shard.clock.tick();
        let written = view.into_written(hlc).unwrap();
        let mut effects = shard.no_effects(context, hlc);
        effects.ops = written.ops;
        let bytes = effects.bytes();
        let wrote = Some((context, written.shown, None));
        let receipt = shard.commits.submit(Change::Call(effects), bytes, wrote);
        drop(receipt.unwrap());
    }

    fn arm(view: &mut View, name: &str, delay_micros: u64) {
        let timer = NewTimer {
            name,
            handler: "handler",
            args: b"{}",
            delay_nanos: delay_micros * 1_000,
            every_nanos: None,
        };
        assert_eq!(view.arm(timer, 9).unwrap(), Arming::Armed);
    }

    /// What the hint says would be the last word of a timer that is armed still.
    #[test]
    fn a_hint_is_given_up_only_for_what_is_durable() {
        for (is_cancelled, is_lost) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let disk = Disk::new();
            disk.create(1);
            let bench = Bench::new(disk);
            let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
            submit(&bench, &context, |view| arm(view, "close", 0));
            bench.commit();
            submit(&bench, &context, |view| match is_cancelled {
                true => assert!(view.cancel("close").unwrap()),
                false => arm(view, "close", MINUTE),
            });
            let now = bench.shard.clock.wall_micros();
            let mut firing = Box::pin(bench.shard.fire(fixture::id(1), Hint::at(7)));
            let mut fired = || block_on(poll_once(Pin::new(&mut firing)));
            assert!(fired().is_none(), "it is not known yet");
            match is_lost {
                true => bench.fail(),
                false => bench.commit(),
            }
            let hint = fired().expect("it is known now");
            match (is_lost, is_cancelled) {
                (true, _) => assert_eq!(hint.expect("it is armed").from, 7),
                (false, true) => assert_eq!(hint, None),
                (false, false) => assert!(hint.expect("it is armed").from > now),
            }
        }
    }

    #[test]
    fn timers_of_a_context_run_as_often_as_it_may_be_called() {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        submit(&bench, &context, |view| arm(view, "again", 0));
        bench.commit();
        let now = Instant::now() + Duration::from_secs(3600);
        assert!(context.timer_rate.admit(now, 1).is_ok());
        let fired = block_on(bench.shard.fire(fixture::id(1), Hint::at(7)));
        let hint = fired.expect("it is armed");
        assert_eq!((hint.from, hint.refused), (7, 0));
        assert!(hint.start > bench.shard.clock.wall_micros(), "{hint:?}");
    }

    #[test]
    fn what_is_in_the_way_is_met_less_and_less_often_and_told_now_and_then() {
        let bench = Bench::new(Disk::new());
        let mut hint = Hint::at(7);
        for refused in 1..100 {
            let now = bench.shard.clock.wall_micros();
            hint = bench
                .shard
                .refused(fixture::id(1), hint, &CallError::Draining);
            assert_eq!((hint.from, hint.refused), (7, refused));
            let least = 1_000_000 << (refused - 1).min(5);
            assert!(hint.start - now >= least, "after {refused}");
        }
        assert!(hint.start <= bench.shard.clock.wall_micros() + MINUTE);
        let timers = crate::timers::Timers::new(&bench.shard.bounds.timers);
        let told = [1, 1, 2, 3].map(|refused| timers.is_to_be_told(refused));
        assert_eq!(told, [true, false, false, false], "once for all contexts");
    }

    #[test]
    fn a_run_that_an_operator_stops_is_no_attempt() {
        let end = |failure| failed(CallError::guest(failure, &[]));
        assert!(matches!(end(Failure::Cancelled), Run::NotNow(_)));
        assert!(matches!(end(Failure::TimedOut { max: 1 }), Run::Failed(_)));
    }

    #[test]
    fn attempts_are_twice_as_far_apart_each_time_and_not_in_lockstep() {
        let first = Duration::from_secs(1);
        let mut seen = std::collections::BTreeSet::new();
        for context in 0..50 {
            for attempts in 1..=5 {
                let wait = backoff(first, attempts, (&[context; 32], "name"));
                let least = first * (1 << (attempts - 1));
                assert!(wait >= least && wait < least * 3 / 2, "{wait:?}");
                seen.insert(wait);
            }
        }
        assert!(seen.len() > 150, "{}", seen.len());
        let long = backoff(Duration::from_secs(3600), u32::MAX, (&[0; 32], "name"));
        assert!(long > Duration::from_secs(3600 << 16));
    }
}
