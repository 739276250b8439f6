//! Calls with an idempotency key: the first one runs, and whoever sends it again is told
//! what the first was told, when that is durable. What a context knows of such calls beyond
//! its snapshot is here; what is kept on disk, and why, is in
//! `store/decisions/0014-answers-under-keys.md`.
//!
//! A call whose application gave no answer (refused at a bound, stopped, trapped, lost) has
//! left no trace, neither here: all who wait for it are told so, and a later one runs.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use corelet_store::{AnswerKey, KeptAnswer, KeyedAnswer, RequestDigest, Said};
use corelet_wasm_host::Failure;

use crate::answer::{Answer, Promise, promise};
use crate::context::{Context, InUse};
use crate::error::CallError;
use crate::large::{Large, PIECE_BYTES, Weigh};
use crate::message::Reply;
use crate::rt;
use crate::shard::{Shard, Started, settle};
use crate::turn::Begin;

/// The key of a call, and what it asks for.
#[derive(Clone, Copy)]
pub(crate) struct Keyed {
    pub(crate) key: AnswerKey,
    pub(crate) request: RequestDigest,
}

impl Weigh for HashMap<AnswerKey, KeptAnswer> {
    fn memory_bytes(&self) -> usize {
        let said = self.values().map(|kept| kept.said.text().len());
        self.len() * PIECE_BYTES + said.sum::<usize>()
    }
}

/// The keyed calls of one context that its snapshot does not show.
#[derive(Default)]
pub(crate) struct KeyedCalls {
    running: HashMap<AnswerKey, Running>,
    /// How many wait for the calls of others.
    followers: usize,
    /// What is durable, until the snapshot shows it.
    settled: Large<HashMap<AnswerKey, KeptAnswer>>,
}

/// A call between its beginning and its durable answer.
struct Running {
    request: RequestDigest,
    /// The first is whoever has begun it.
    waiting: Vec<Promise<Result<Reply, CallError>>>,
}

impl Keyed {
    /// The answer to be kept, if the application has given one: its output or its own error.
    pub(crate) fn answer(
        &self,
        outcome: &Result<Bytes, CallError>,
        fuel_used: u64,
    ) -> Option<Box<KeyedAnswer>> {
        let said = match outcome {
            Ok(output) => Said::Output(output.clone()),
            Err(CallError::Guest { failure, .. }) => match &**failure {
                Failure::Application { error } => Said::Error(Bytes::copy_from_slice(error)),
                _ => return None,
            },
            Err(_) => return None,
        };
        Some(Box::new(KeyedAnswer {
            key: self.key,
            request: self.request,
            fuel_used,
            said,
        }))
    }

    fn check(&self, other: RequestDigest) -> Result<(), CallError> {
        match self.request == other {
            true => Ok(()),
            false => Err(CallError::KeyReused),
        }
    }
}

impl KeyedCalls {
    /// An answer is durable, and not yet in the snapshot.
    pub(crate) fn settle(&mut self, key: AnswerKey, kept: KeptAnswer) {
        self.settled.insert(key, kept);
    }

    /// The snapshot shows everything that is durable.
    pub(crate) fn shown(&mut self) {
        self.settled = Large::default();
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.settled.is_empty()
    }
}

impl Shard {
    /// Runs an update, unless one with its key is running or has been answered.
    pub(crate) async fn call_keyed(
        self: &Rc<Self>,
        context: InUse,
        keyed: Keyed,
        begin: Begin,
    ) -> Result<Reply, CallError> {
        if let Some(told) = self.told_under(&context, keyed).await {
            return told;
        }
        let began = Instant::now();
        let started = self.start(&context, begin)?;
        let (promise, answer) = promise();
        let running = Running {
            request: keyed.request,
            waiting: vec![promise],
        };
        let calls = &context.keyed;
        calls.borrow_mut().running.insert(keyed.key, running);
        // Others may come to wait for it, so it goes on if the first one goes away.
        let shard = Rc::clone(self);
        rt::spawn(async move {
            let end = shard.finish(started).await;
            if end.is_ok() {
                shard.stats.updates.one();
                shard.stats.update_micros.observe_micros(began.elapsed());
            }
            context.tell(keyed.key, &end);
        });
        answer.await.ok_or_else(forgotten)?
    }

    /// What a call with this key is told that is running or has been answered, if there is one.
    pub(crate) async fn told_under(
        &self,
        context: &Context,
        keyed: Keyed,
    ) -> Option<Result<Reply, CallError>> {
        let told = match self.follow(context, keyed) {
            Ok(Some(answer)) => answer.await.unwrap_or_else(|| Err(forgotten())),
            Ok(None) => match self.kept_answer(context, keyed.key) {
                Ok(None) => return None,
                Ok(Some(kept)) => match keyed.check(kept.request) {
                    Ok(()) => reply_of(kept),
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            },
            Err(error) => return Some(Err(error)),
        };
        self.stats.replays.one();
        Some(told)
    }

    /// What will be told to a call with this key that is running, if there is one.
    fn follow(
        &self,
        context: &Context,
        keyed: Keyed,
    ) -> Result<Option<Answer<Result<Reply, CallError>>>, CallError> {
        let mut calls = context.keyed.borrow_mut();
        let calls = &mut *calls;
        let max = self.bounds.context_waiting_max;
        let Some(first) = calls.running.get_mut(&keyed.key) else {
            return Ok(None);
        };
        keyed.check(first.request)?;
        if calls.followers >= max {
            return Err(CallError::Busy {
                limit: "context_waiting_max",
                used: calls.followers as u64,
                max: max as u64,
            });
        }
        calls.followers += 1;
        let (promise, answer) = promise();
        first.waiting.push(promise);
        Ok(Some(answer))
    }

    /// Waits until a call that has started has a durable end.
    async fn finish(&self, started: Started) -> Result<Reply, CallError> {
        settle(started.end().await?).await
    }

    /// What is kept under a key, unless it is too old.
    fn kept_answer(
        &self,
        context: &Context,
        key: AnswerKey,
    ) -> Result<Option<KeptAnswer>, CallError> {
        let settled = context.keyed.borrow().settled.get(&key).cloned();
        let found = match settled {
            Some(kept) => Some(kept),
            None => self.snapshots.latest().kept_answer(context.slot, &key)?,
        };
        let now = self.clock.tick();
        Ok(found.filter(|kept| !self.answers.is_expired(kept.hlc, now)))
    }
}

impl Context {
    /// Tells all who wait for a keyed call how it ended.
    fn tell(&self, key: AnswerKey, end: &Result<Reply, CallError>) {
        let waiting = {
            let mut calls = self.keyed.borrow_mut();
            let running = calls.running.remove(&key);
            let waiting = running.map_or(Vec::new(), |running| running.waiting);
            calls.followers -= waiting.len().saturating_sub(1);
            waiting
        };
        for promise in waiting {
            promise.keep(end.clone());
        }
    }
}

fn reply_of(kept: KeptAnswer) -> Result<Reply, CallError> {
    match kept.said {
        Said::Output(output) => Ok(Reply {
            output,
            delta_id: kept.delta_id,
            root: kept.root,
            fuel_used: kept.fuel_used,
        }),
        Said::Error(error) => {
            let error = error.to_vec();
            Err(CallError::Guest {
                failure: Arc::new(Failure::Application { error }),
                said: None,
            })
        }
    }
}

fn forgotten() -> CallError {
    CallError::bug("a call with a key was forgotten")
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use corelet_store::{DeltaId, Refused, Root};
    use futures_lite::future::poll_once;

    use super::*;
    use crate::bounds::Bounds;
    use crate::commit_stage::Report;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::Call;

    type Calling = Pin<Box<dyn Future<Output = Result<Reply, CallError>>>>;

    /// What a caller was told that has got an output.
    type Told = (Bytes, Option<DeltaId>, Root, u64);

    fn bench(bounds: Bounds) -> Bench {
        let disk = Disk::new();
        disk.create(1);
        Bench::bounded(disk, bounds)
    }

    fn run(bounds: Bounds, scenario: impl AsyncFnOnce(Bench)) {
        let config = rt::ExecutorConfig::default();
        rt::run("a test", &config, || scenario(bench(bounds))).unwrap();
    }

    fn call(bench: &Bench, method: &'static str, key: &str, args: &'static str) -> Calling {
        let call = Call {
            method: Bytes::from_static(method.as_bytes()),
            args: Bytes::from_static(args.as_bytes()),
            caller: Arc::from("caller"),
            key: Some(AnswerKey::of(key.as_bytes())),
        };
        let shard = Rc::clone(&bench.shard);
        Box::pin(async move { shard.call_here(fixture::id(1), call).await })
    }

    /// What becomes of it, if that is known when all tasks have run.
    async fn now(calling: &mut Calling) -> Option<Result<Reply, CallError>> {
        if let Some(end) = poll_once(&mut *calling).await {
            return Some(end);
        }
        rt::breathe().await;
        poll_once(calling).await
    }

    async fn told(calling: &mut Calling) -> Told {
        let reply = now(calling).await.expect("it has ended").unwrap();
        (reply.output, reply.delta_id, reply.root, reply.fuel_used)
    }

    fn version(bench: &Bench) -> u64 {
        bench.shard.show_here(fixture::id(1)).unwrap().version
    }

    #[test]
    fn a_call_that_comes_again_runs_once_and_is_told_the_same_wherever_the_answer_lies() {
        run(Bounds::default(), async |bench| {
            let mut first = call(&bench, "keep", "k", "{}");
            let mut again = call(&bench, "keep", "k", "{}");
            assert!(now(&mut first).await.is_none());
            assert!(now(&mut again).await.is_none(), "it is not durable yet");
            assert_eq!(bench.queue.len(), 1);
            bench.commit();
            let expected = told(&mut first).await;
            assert!(expected.1.is_some());
            assert_eq!(told(&mut again).await, expected);

            let live = || bench.shard.live(fixture::id(1)).unwrap();
            assert!(!live().is_shown(), "only memory knows of it");
            assert!(!bench.shard.forget_one(), "so it must not go");
            assert_eq!(told(&mut call(&bench, "keep", "k", "{}")).await, expected);
            bench.checkpoint();
            assert!(live().is_shown());
            assert_eq!(told(&mut call(&bench, "keep", "k", "{}")).await, expected);
            assert!(bench.shard.forget_one());
            assert_eq!(told(&mut call(&bench, "keep", "k", "{}")).await, expected);
            assert_eq!(version(&bench), 1);
            assert_eq!(bench.shard.stats.updates.get(), 1);
            assert_eq!(bench.shard.stats.replays.get(), 4);

            let mut other = call(&bench, "keep", "l", "{}");
            assert!(now(&mut other).await.is_none());
            bench.commit();
            assert_ne!(told(&mut other).await, expected);
            assert_eq!(version(&bench), 2);
        });
    }

    #[test]
    fn a_key_is_of_one_call_and_queries_have_none() {
        run(Bounds::default(), async |bench| {
            let mut first = call(&bench, "keep", "k", "{}");
            assert!(now(&mut first).await.is_none());
            for _ in ["running", "in memory", "in the snapshot"] {
                for (method, args) in [("keep", "{ }"), ("deny", "{}")] {
                    let mut other = call(&bench, method, "k", args);
                    let end = now(&mut other).await;
                    assert!(matches!(end, Some(Err(CallError::KeyReused))), "{end:?}");
                }
                bench.commit();
                rt::breathe().await;
                if bench
                    .shard
                    .live(fixture::id(1))
                    .unwrap()
                    .keyed
                    .borrow()
                    .running
                    .is_empty()
                {
                    bench.checkpoint();
                }
            }
            let mut query = call(&bench, "peek", "q", "{}");
            let end = now(&mut query).await;
            assert!(
                matches!(end, Some(Err(CallError::KeyOnQuery { .. }))),
                "{end:?}"
            );
            assert_eq!(version(&bench), 1);
        });
    }

    #[test]
    fn a_call_whose_commit_fails_leaves_its_key_free() {
        run(Bounds::default(), async |bench| {
            for round in ["the batch", "the change"] {
                let mut first = call(&bench, "keep", "k", "{}");
                let mut again = call(&bench, "keep", "k", "{}");
                assert!(now(&mut first).await.is_none());
                assert!(now(&mut again).await.is_none());
                if round == "the batch" {
                    bench.fail();
                } else {
                    bench.queue.try_iter().for_each(drop);
                    let context = fixture::id(1);
                    let report = Report::Durable {
                        verdicts: vec![Err(Refused::BehindRefused { context })],
                        shown: None,
                    };
                    bench.shard.commits.settle(report, &bench.shard.snapshots);
                }
                for calling in [&mut first, &mut again] {
                    let end = now(calling).await;
                    assert!(matches!(end, Some(Err(_))), "{round}: {end:?}");
                }
            }
            let mut third = call(&bench, "keep", "k", "{}");
            assert!(now(&mut third).await.is_none(), "it runs");
            bench.commit();
            told(&mut third).await;
            assert_eq!(version(&bench), 1);
        });
    }

    #[test]
    fn a_call_goes_on_without_the_caller_who_began_it() {
        run(Bounds::default(), async |bench| {
            let mut first = call(&bench, "keep", "k", "{}");
            assert!(now(&mut first).await.is_none());
            drop(first);
            let mut again = call(&bench, "keep", "k", "{}");
            assert!(now(&mut again).await.is_none());
            assert_eq!(bench.queue.len(), 1);
            bench.commit();
            told(&mut again).await;
            assert_eq!(version(&bench), 1);
            assert!(bench.shard.is_quiet(), "nobody holds the context any more");

            // Nor does it need anybody to be heard of.
            let mut alone = call(&bench, "keep", "l", "{}");
            assert!(now(&mut alone).await.is_none());
            drop(alone);
            bench.commit();
            rt::breathe().await;
            assert!(bench.shard.is_quiet());
            told(&mut call(&bench, "keep", "l", "{}")).await;
            assert_eq!(version(&bench), 2);
        });
    }

    #[test]
    fn an_application_s_error_is_kept_and_told_when_it_is_durable() {
        run(Bounds::default(), async |bench| {
            let is_denied = |end: Option<Result<Reply, CallError>>| match end {
                Some(Err(CallError::Guest { failure, .. })) => {
                    matches!(&*failure, Failure::Application { error } if error == b"null")
                }
                _ => false,
            };
            let mut first = call(&bench, "deny", "k", "{}");
            assert!(now(&mut first).await.is_none(), "it is not durable yet");
            bench.fail();
            assert!(!is_denied(now(&mut first).await), "it was lost");
            let mut second = call(&bench, "deny", "k", "{}");
            assert!(now(&mut second).await.is_none());
            bench.commit();
            assert!(is_denied(now(&mut second).await));
            bench.checkpoint();
            assert!(is_denied(now(&mut call(&bench, "deny", "k", "{}")).await));
            assert!(bench.queue.is_empty(), "it has not run again");
            assert_eq!(version(&bench), 0);
        });
    }

    #[test]
    fn so_many_wait_for_the_call_of_another() {
        let bounds = Bounds {
            context_waiting_max: 2,
            ..Bounds::default()
        };
        run(bounds, async |bench| {
            let mut calls: Vec<_> = (0..3).map(|_| call(&bench, "keep", "k", "{}")).collect();
            for calling in &mut calls {
                assert!(now(calling).await.is_none());
            }
            let end = now(&mut call(&bench, "keep", "k", "{}")).await;
            let Some(Err(CallError::Busy { limit, used, max })) = end else {
                panic!("{end:?}");
            };
            assert_eq!((limit, used, max), ("context_waiting_max", 2, 2));
            bench.commit();
            for calling in &mut calls {
                told(calling).await;
            }
            // Their places are free again.
            let mut calls: Vec<_> = (0..3).map(|_| call(&bench, "keep", "l", "{}")).collect();
            for calling in &mut calls {
                assert!(now(calling).await.is_none());
            }
            bench.commit();
            for calling in &mut calls {
                told(calling).await;
            }
        });
    }
}
