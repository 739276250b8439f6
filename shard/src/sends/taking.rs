//! The receiver's side of a call: it runs as an update, and that it was taken is noted in the same
//! commit; where it fails, in one that has nothing else. What was taken before is told again and
//! not run. Runs on the shard of the receiver.
//!
//! A context takes few such calls at a time, and a shard not many, so those who call over HTTP wait
//! for few.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::ContextId;
use corelet_wasm_host::MethodKind;

use super::handing::failed;
use super::{Outcome, SentCall, TakenRow, caller_of};
use crate::bounds::SendBounds;
use crate::context::{Context, InUse};
use crate::error::CallError;
use crate::fault::{is_nobodys_fault, was_cancelled};
use crate::shard::{Shard, settle};
use crate::statistics::{Ended, Row};
use crate::stats::ShardStats;
use crate::turn::{Begin, SentTurn, What};

/// A call's place among those that a context takes at a time, and its shard.
struct Place<'a> {
    context: &'a Context,
    stats: &'a ShardStats,
}

impl<'a> Place<'a> {
    fn take(
        context: &'a Context,
        stats: &'a ShardStats,
        bounds: &SendBounds,
    ) -> Result<Place<'a>, CallError> {
        let (here, all) = (context.taking.get(), stats.sends_taking.get());
        for (limit, used, max) in [
            (
                "sends.context_running_max",
                here as u64,
                bounds.context_running_max as u64,
            ),
            ("sends.taking_max", all, bounds.taking_max as u64),
        ] {
            if used >= max {
                return Err(CallError::Busy { limit, used, max });
            }
        }
        context.taking.set(here + 1);
        stats.sends_taking.up();
        Ok(Place { context, stats })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.context.taking.set(self.context.taking.get() - 1);
        self.stats.sends_taking.down();
    }
}

impl Shard {
    /// Carries out a call that another context has sent, or tells what it came to before. An error
    /// says that it is to be handed over again later.
    pub(crate) async fn take_here(
        self: &Rc<Self>,
        id: ContextId,
        call: SentCall,
    ) -> Result<Outcome, CallError> {
        self.check_service(id)?;
        let taken = self.take(id, call).await;
        self.quarantine_if_damaged(id, &taken);
        taken
    }

    async fn take(self: &Rc<Self>, id: ContextId, call: SentCall) -> Result<Outcome, CallError> {
        let context = match self.reach(id).await {
            Ok(context) => context,
            Err(CallError::ContextNotFound { .. }) => {
                return Ok(Outcome::failed("unknown_context"));
            }
            Err(error) => return Err(error),
        };
        if let Some(outcome) = self.taken_before(&context, &call)? {
            self.stats.sends_repeated.one();
            return Ok(outcome);
        }
        let (row, method) = self.update_of(&context, &call);
        let method = match method {
            Ok(method) => method,
            Err(name) => return Ok(Outcome::failed(name)),
        };
        let place = Place::take(&context, &self.stats, &self.bounds.sends)?;
        let now = Instant::now();
        let per_second_max = self.host.limits().context_calls_per_second;
        context.send_rate.admit(now, per_second_max)?;
        let begin = Begin {
            what: What::Sent(Box::new(SentTurn {
                from: call.from,
                number: call.number,
                method,
                depth: call.depth,
                has_callback: call.has_callback,
            })),
            row,
            args: call.args.clone(),
            caller: caller_of(call.from),
            asked: None,
            deadline: now + Duration::from_millis(self.host.limits().call_time_max),
            upgrades: context.upgrades.get(),
            keyed: None,
            promise: None,
        };
        let executed = self.execute(&context, begin).await;
        drop(place);
        if let Err(CallError::Busy {
            limit: "senders_max",
            ..
        }) = executed
        {
            self.forget_senders(&context);
        }
        if let Err(CallError::MethodNotFound { .. }) = executed
            && let (_, Err(name)) = self.update_of(&context, &call)
        {
            // It has waited while the context got another application.
            return Ok(Outcome::failed(name));
        }
        let end = match executed {
            Ok(executed) if executed.is_stale() => {
                return self.taken_meanwhile(&context, &call).await;
            }
            Ok(executed) => settle(executed).await,
            Err(error) => Err(error),
        };
        let ended = Ended {
            bytes_in: call.args.len(),
            took: now.elapsed(),
            outcome: end.as_ref().map(|reply| reply.output.len()),
        };
        self.count_call(&context, row, ended);
        let error = match end {
            Ok(reply) => {
                self.stats.sends_taken.one();
                let outcome = Outcome::Done(reply.output);
                return Ok(told(outcome, &call));
            }
            // Whoever stops a call does not want it to run again.
            Err(error) if is_nobodys_fault(&error) && !was_cancelled(&error) => return Err(error),
            Err(error) => error,
        };
        let outcome = told(Outcome::of_error(&error), &call);
        match self.note_failed(&context, &call, outcome.clone()).await {
            Ok(()) => {}
            Err(error) if is_nobodys_fault(&error) => return Err(error),
            // The context has no room for that. As nothing of the call has happened, nothing happens
            // twice if it is handed over again, so its sender need not wait for room.
            Err(_) => self.forget_senders(&context),
        }
        self.stats.sends_taken.one();
        Ok(outcome)
    }

    /// What a call comes to that was handed over once more while it was being taken.
    async fn taken_meanwhile(
        self: &Rc<Self>,
        context: &InUse,
        call: &SentCall,
    ) -> Result<Outcome, CallError> {
        let durable = self.commits.barrier(context, None).await;
        durable.ok_or_else(|| CallError::bug("a barrier was forgotten"))??;
        let outcome = self.taken_before(context, call)?;
        outcome.ok_or(CallError::LostEffects)
    }

    /// The update of which a call is, or the name of what it comes to without one; and in which row
    /// of the statistics it is counted.
    fn update_of(
        &self,
        context: &Context,
        call: &SentCall,
    ) -> (Row, Result<Arc<str>, &'static str>) {
        let (row, method) = self.method_of(context, call.method.as_bytes());
        let method = match method {
            Some((name, MethodKind::Update)) => Ok(name),
            Some((_, MethodKind::Query)) => Err("not_an_update"),
            None => Err("unknown_method"),
        };
        (row, method)
    }

    /// What a call came to that was taken before, if that is durable.
    fn taken_before(
        self: &Rc<Self>,
        context: &InUse,
        call: &SentCall,
    ) -> Result<Option<Outcome>, CallError> {
        let mut view = self.durable_view(context);
        let row = view.taken(call.from).map_err(failed)?;
        if row.is_none() {
            // One more will be remembered, and room for it is made before it is needed.
            let senders = view.count_taken().map_err(failed)?;
            if senders >= self.host.limits().senders_max / 2 {
                self.forget_senders(context);
            }
        }
        Ok(match row {
            Some(row) if row.number == call.number => Some(row.outcome),
            // One behind it was taken, so this one's sender has been told long ago, and asks
            // again out of an older life of it.
            Some(row) if row.number > call.number => Some(Outcome::failed("outcome_forgotten")),
            _ => None,
        })
    }

    /// Notes that a call was taken which has failed, and so has left nothing else.
    async fn note_failed(
        self: &Rc<Self>,
        context: &InUse,
        call: &SentCall,
        outcome: Outcome,
    ) -> Result<(), CallError> {
        let row = TakenRow {
            number: call.number,
            outcome,
        };
        self.write_alone(context, |view| {
            view.write_taken(call.from, &row)?;
            Ok(Some(None))
        })
        .await
    }
}

/// What is kept of an outcome.
fn told(outcome: Outcome, call: &SentCall) -> Outcome {
    match call.has_callback {
        true => outcome,
        false => outcome.for_log(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use bytes::Bytes;
    use futures_lite::future::poll_once;

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::rt;
    use crate::sends::SentNumber;

    type Taking = Pin<Box<dyn Future<Output = Result<Outcome, CallError>>>>;

    fn run(scenario: impl AsyncFnOnce(Bench)) {
        let config = rt::ExecutorConfig::default();
        let bench = || {
            let disk = Disk::new();
            disk.create(1);
            Bench::new(disk)
        };
        rt::run("a test", &config, || scenario(bench())).unwrap();
    }

    /// Hands a call of the 9th context to the `to`th.
    fn hand(bench: &Bench, to: u8, stamp: u64, method: &str) -> Taking {
        let call = SentCall {
            from: fixture::id(9),
            number: SentNumber { stamp, place: 0 },
            method: method.to_owned(),
            args: Bytes::from_static(b"{}"),
            depth: 1,
            has_callback: true,
        };
        let shard = Rc::clone(&bench.shard);
        Box::pin(async move { shard.take_here(fixture::id(to), call).await })
    }

    /// What becomes of it, if that is known when all tasks have run.
    async fn now(taking: &mut Taking) -> Option<Result<Outcome, CallError>> {
        if let Some(end) = poll_once(&mut *taking).await {
            return Some(end);
        }
        rt::breathe().await;
        poll_once(taking).await
    }

    async fn taken(bench: &Bench, taking: &mut Taking) -> Outcome {
        for _ in 0..3 {
            if let Some(end) = now(taking).await {
                return end.unwrap();
            }
            bench.commit();
        }
        panic!("it does not end");
    }

    fn version(bench: &Bench) -> u64 {
        bench.shard.show_here(fixture::id(1)).unwrap().version
    }

    #[test]
    fn what_is_handed_over_again_is_told_the_same_and_does_not_run() {
        run(async |bench| {
            let mut first = hand(&bench, 1, 5, "keep");
            assert!(now(&mut first).await.is_none(), "it is not durable yet");
            let mut beside = hand(&bench, 1, 5, "keep");
            assert!(now(&mut beside).await.is_none(), "nor for who comes then");
            let outcome = taken(&bench, &mut first).await;
            assert_eq!(taken(&bench, &mut beside).await, outcome);
            assert!(matches!(&outcome, Outcome::Done(answer) if !answer.is_empty()));
            assert_eq!(version(&bench), 1);
            for _ in ["in memory", "on the disk"] {
                let again = now(&mut hand(&bench, 1, 5, "keep")).await;
                assert_eq!(again.unwrap().unwrap(), outcome);
                let before = now(&mut hand(&bench, 1, 4, "keep")).await;
                let forgotten = Outcome::failed("outcome_forgotten");
                assert_eq!(before.unwrap().unwrap(), forgotten);
                bench.checkpoint();
            }
            assert_eq!(version(&bench), 1);
            assert!(bench.queue.is_empty());
        });
    }

    #[test]
    fn what_was_lost_runs_again_and_what_has_failed_does_not() {
        run(async |bench| {
            let mut lost = hand(&bench, 1, 5, "keep");
            assert!(now(&mut lost).await.is_none());
            bench.fail();
            assert!(matches!(now(&mut lost).await, Some(Err(_))));
            let mut again = hand(&bench, 1, 5, "keep");
            assert!(now(&mut again).await.is_none(), "it runs");
            assert!(taken(&bench, &mut again).await.is_done());
            assert_eq!(version(&bench), 1);

            let refused = Outcome::Refused(Bytes::from_static(b"null"));
            let mut denied = hand(&bench, 1, 6, "deny");
            assert!(now(&mut denied).await.is_none(), "that is not durable");
            assert_eq!(taken(&bench, &mut denied).await, refused);
            let again = now(&mut hand(&bench, 1, 6, "deny")).await;
            assert_eq!(again.unwrap().unwrap(), refused);
            assert!(bench.queue.is_empty());
        });
    }

    #[test]
    fn a_context_takes_few_at_a_time_and_none_of_what_it_has_not() {
        run(async |bench| {
            for (to, method, why) in [
                (1, "peek", "not_an_update"),
                (1, "nothing", "unknown_method"),
                (2, "keep", "unknown_context"),
            ] {
                let told = now(&mut hand(&bench, to, 5, method)).await;
                assert_eq!(told.unwrap().unwrap(), Outcome::failed(why));
            }
            let context = bench.shard.live(fixture::id(1)).unwrap();
            let max = bench.shard.bounds.sends.context_running_max;
            context.taking.set(max);
            let refused = now(&mut hand(&bench, 1, 5, "keep")).await;
            let Some(Err(CallError::Busy { limit, .. })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(limit, "sends.context_running_max");
            context.taking.set(0);
            let all = &bench.shard.stats.sends_taking;
            all.set(bench.shard.bounds.sends.taking_max as u64);
            let refused = now(&mut hand(&bench, 1, 5, "keep")).await;
            let Some(Err(CallError::Busy { limit, .. })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(limit, "sends.taking_max");
            all.set(0);
            let mut taking = hand(&bench, 1, 5, "keep");
            assert!(taken(&bench, &mut taking).await.is_done());
            assert_eq!(
                (context.taking.get(), all.get()),
                (0, 0),
                "its place is free"
            );
        });
    }
}
