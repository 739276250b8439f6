//! The sender's side of a call: the oldest of a pair is handed to the shard of its receiver, and when
//! that has told what it came to, it goes from the agenda, with what its callback does. Runs on the
//! shard of the sender.
//!
//! One call of a pair is on its way at a time, which keeps their order. What it was told is not
//! kept here: whoever has to ask again is told the same.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{Change, ContextId};
use corelet_wasm_host::{GuestLog, LogLevel, StateError};

use super::{Outcome, Pair, SentCall, SentNumber, SentRow, caller_of};
use crate::answer::Answer;
use crate::commit_stage::Receipt;
use crate::context::{Context, InUse};
use crate::contexts::failure_of;
use crate::due::Hint;
use crate::error::CallError;
use crate::fault::{is_nobodys_fault, why};
use crate::guest_log::TurnLog;
use crate::message::{Request, Response};
use crate::pacer::{backoff, micros};
use crate::shard::{Shard, settle};
use crate::statistics::Ended;
use crate::turn::{Begin, CallbackOf, What};
use crate::view::{PutOffCallback, SequenceAccess, View};

/// After something that is nobody's fault was in the way; twice as long after each further time, up to
/// about a minute.
const NOT_NOW: Duration = Duration::from_secs(1);
const NOT_NOW_DOUBLINGS: u32 = 6;

/// The same after a queue was full, up to about a second.
const BUSY: Duration = Duration::from_millis(10);
const BUSY_DOUBLINGS: u32 = 7;

/// How often in a row queues are full before that is worth a word.
const BUSY_FOR_LONG: u32 = 32;

impl Shard {
    /// Hands over the oldest call of a pair, if there is one. Gives what is known of the next one.
    pub(super) async fn hand_over(self: &Rc<Self>, pair: Pair, hint: Hint) -> Option<Hint> {
        let handed = self.hand_over_oldest(pair, hint).await;
        self.quarantine_if_damaged(pair.from, &handed);
        match handed {
            Ok(next) => next,
            // It is gone with its calls, or is looked at anew when it is back.
            Err(CallError::ContextNotFound { .. } | CallError::OutOfService { .. }) => None,
            Err(error) if error.damage().is_some() => None,
            Err(error) => Some(self.later(pair, hint, &error)),
        }
    }

    /// What is nobody's fault is tried again, later each time.
    fn later(&self, pair: Pair, hint: Hint, error: &CallError) -> Hint {
        self.stats.sends_again.one();
        let refused = hint.refused.saturating_add(1);
        let is_busy = matches!(error, CallError::Busy { .. });
        let (first, doublings) = match is_busy {
            true => (BUSY, BUSY_DOUBLINGS),
            false => (NOT_NOW, NOT_NOW_DOUBLINGS),
        };
        let wait = backoff(first, refused.min(doublings), pair);
        let is_news = !is_busy || refused >= BUSY_FOR_LONG;
        if is_news && self.sends.is_to_be_told(refused) {
            let seconds = wait.as_secs_f32();
            tracing::warn!(shard = self.id.number(), from = %pair.from, to = %pair.to, times = refused, seconds, %error, "a call between contexts cannot be handed over now, and is tried again later");
        }
        Hint {
            from: hint.from,
            start: self.clock.wall_micros() + micros(wait),
            refused,
        }
    }

    async fn hand_over_oldest(
        self: &Rc<Self>,
        pair: Pair,
        hint: Hint,
    ) -> Result<Option<Hint>, CallError> {
        self.check_service(pair.from)?;
        let context = self.reach(pair.from).await?;
        // What was sent and is not durable may be lost, and must not have been taken then.
        if context.unsettled_writes.get() > 0 {
            let barrier = self.commits.barrier(&context, None).await;
            barrier.ok_or_else(|| CallError::bug("a barrier was forgotten"))??;
        }
        let Some((number, row)) = self.oldest_sent(&context, pair.to)? else {
            return Ok(None);
        };
        self.copier.cut().over().await;
        let call = SentCall {
            from: pair.from,
            number,
            method: row.method.clone(),
            args: row.args.clone(),
            depth: row.depth,
            has_callback: row.callback.is_some(),
        };
        let outcome = match self.ask_to_take(pair.to, call).await {
            Ok(outcome) => outcome,
            // Whatever it is, it is not this context's.
            Err(error) => {
                let hint = Hint {
                    from: number.micros().min(self.clock.wall_micros()),
                    ..hint
                };
                return Ok(Some(self.later(pair, hint, &error)));
            }
        };
        let lag = self.clock.wall_micros().saturating_sub(number.micros());
        self.stats.send_lag_micros.observe(lag);
        self.copier.cut().over().await;
        let is_done = outcome.is_done();
        let again = match row.callback.is_some() {
            true => self.call_back(&context, pair, number, outcome).await?,
            false => self.end_call(&context, pair, number, &outcome).await?,
        };
        if again.is_some() {
            return Ok(again);
        }
        self.stats.sends_ended.one();
        if !is_done {
            self.stats.sends_failed.one();
        }
        let next = self.oldest_sent(&context, pair.to)?;
        Ok(next.map(|(number, _)| Hint::at(number.micros().min(self.clock.wall_micros()))))
    }

    fn oldest_sent(
        &self,
        context: &Context,
        to: ContextId,
    ) -> Result<Option<(SentNumber, SentRow)>, CallError> {
        self.durable_view(context).oldest_sent(to).map_err(failed)
    }

    async fn ask_to_take(
        self: &Rc<Self>,
        to: ContextId,
        call: SentCall,
    ) -> Result<Outcome, CallError> {
        let owner = self.owner(&to);
        if owner == self.id {
            return self.take_here(to, call).await;
        }
        let request = Request::Take { context: to, call };
        match self.mesh.ask(owner, request).await? {
            Response::Take(result) => result,
            _ => Err(CallError::bug("a shard answered another question")),
        }
    }

    /// Runs the callback of a call, whose turn takes the call from the agenda. Gives when it is tried
    /// again, if it has failed and is.
    async fn call_back(
        self: &Rc<Self>,
        context: &InUse,
        pair: Pair,
        number: SentNumber,
        outcome: Outcome,
    ) -> Result<Option<Hint>, CallError> {
        let started = Instant::now();
        let time = Duration::from_millis(self.host.limits().call_time_max);
        let to = pair.to;
        let row = self.row_of_handlers(context);
        let begin = Begin {
            what: What::Callback(Box::new(CallbackOf {
                to,
                number,
                outcome,
            })),
            row,
            args: Bytes::new(),
            caller: caller_of(to),
            asked: None,
            deadline: started + time,
            upgrades: context.upgrades.get(),
            keyed: None,
            promise: None,
        };
        let end = match self.execute(context, begin).await {
            // It has ended already.
            Ok(executed) if executed.is_stale() => return Ok(None),
            Ok(executed) => settle(executed).await,
            Err(error) => Err(error),
        };
        let ended = Ended {
            bytes_in: 0,
            took: started.elapsed(),
            outcome: end.as_ref().map(|reply| reply.output.len()),
        };
        self.count_call(context, row, ended);
        let error = match end {
            Ok(_) => return Ok(None),
            Err(error) if is_nobodys_fault(&error) => return Err(error),
            Err(error) => error,
        };
        self.stats.callbacks_failed.one();
        self.put_off_callback(context, pair, number, &why(&error))
            .await
    }

    /// Takes a call without a callback from the agenda.
    async fn end_call(
        self: &Rc<Self>,
        context: &InUse,
        pair: Pair,
        number: SentNumber,
        outcome: &Outcome,
    ) -> Result<Option<Hint>, CallError> {
        self.write_alone(context, |view| {
            let Some(row) = view.end_sent(pair.to, number)? else {
                return Ok(None);
            };
            let failed = outcome.why().map(|why| Word {
                method: row.method,
                level: LogLevel::Warn,
                message: format!("the call {number}, sent to {}, has failed: {why}", pair.to),
            });
            Ok(Some(failed))
        })
        .await?;
        Ok(None)
    }

    /// Has a callback that has failed called again later, or ends its call without it.
    async fn put_off_callback(
        self: &Rc<Self>,
        context: &InUse,
        pair: Pair,
        number: SentNumber,
        why: &str,
    ) -> Result<Option<Hint>, CallError> {
        let bounds = &self.bounds.sends;
        let max = bounds.attempts_max;
        let mut again = None;
        self.write_alone(context, |view| {
            let oldest = view.oldest_sent(pair.to)?;
            let callback = oldest.and_then(|(_, row)| row.callback);
            let method = callback.map_or(String::new(), |callback| callback.handler);
            let (level, message) = match view.put_off_callback(pair.to, number, max)? {
                PutOffCallback::Gone => return Ok(None),
                PutOffCallback::Again { attempts } => {
                    let whose = (pair, number);
                    let wait = backoff(bounds.retry_after, attempts, whose);
                    again = Some(wait);
                    let seconds = wait.as_secs_f32();
                    let message = format!(
                        "the callback of call {number} failed (attempt {attempts} of {max}), and runs again in {seconds:.1} s: {why}"
                    );
                    (LogLevel::Warn, message)
                }
                PutOffCallback::GivenUp { attempts } => {
                    self.stats.callbacks_given_up.one();
                    let message = format!(
                        "the callback of call {number} failed (attempt {attempts} of {max}), and is given up: {why}"
                    );
                    (LogLevel::Error, message)
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
        Ok(again.map(|wait| Hint {
            start: now + micros(wait),
            ..Hint::at(number.micros().min(now))
        }))
    }

    /// Changes nothing but a context's agenda, and waits until that is durable. `write` gives none if
    /// there is nothing to change, and else what is told in the context's log, if anything is.
    pub(crate) async fn write_alone(
        self: &Rc<Self>,
        context: &InUse,
        write: impl FnOnce(&mut View) -> Result<Option<Option<Word>>, StateError>,
    ) -> Result<(), CallError> {
        let held = self.schedule.hold(context).await;
        held.ok_or_else(|| CallError::bug("a call between contexts was forgotten"))?;
        let written = self.submit_alone(context, write);
        self.schedule.update_ended(context);
        let Some(receipt) = written? else {
            return Ok(());
        };
        let receipt = receipt.await;
        receipt.ok_or_else(|| CallError::bug("a change was forgotten"))??;
        Ok(())
    }

    fn submit_alone(
        &self,
        context: &Rc<Context>,
        write: impl FnOnce(&mut View) -> Result<Option<Option<Word>>, StateError>,
    ) -> Result<Option<Answer<Receipt>>, CallError> {
        if context.deleted.get() {
            self.check_service(context.id)?;
            return Err(CallError::ContextNotFound {
                context: context.id.to_string(),
            });
        }
        let access = SequenceAccess::without_cache(self.author);
        let mut view = self.view_of_update(context, access);
        let Some(word) = write(&mut view).map_err(failed)? else {
            return Ok(None);
        };
        let hlc = self.clock.tick();
        let written = view.into_written(hlc);
        let written = written.map_err(|error| CallError::bug(error.to_string()))?;
        let mut effects = self.no_effects(context, hlc);
        effects.ops = written.ops;
        let log = word.map(|word| TurnLog {
            method: Arc::from(word.method),
            began: hlc,
            succeeded: false,
            lines: vec![GuestLog {
                level: word.level,
                message: word.message,
            }],
        });
        let bytes = effects.bytes();
        let wrote = Some((context, written.shown, log));
        let receipt = self.commits.submit(Change::Call(effects), bytes, wrote)?;
        context.changes.set(context.changes.get() + 1);
        Ok(Some(receipt))
    }
}

/// A line of a context's log.
pub(crate) struct Word {
    pub(crate) method: String,
    pub(crate) level: LogLevel,
    pub(crate) message: String,
}

pub(crate) fn failed(error: StateError) -> CallError {
    CallError::guest(failure_of(error), &[])
}
