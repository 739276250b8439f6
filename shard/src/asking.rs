//! Queries that ask other contexts' queries: a turn whose guest has a question is put aside,
//! with its instance and its place among the queries that have begun, until the context that
//! was asked has answered, on whatever shard it lives.
//!
//! Nobody waits for ever: the one that is asked has the deadline of the outermost call, and
//! nobody waits in a circle, as queries have places by their depth (`schedule.rs`). Whether a
//! question is refused is decided in [`Shard::ask`], what it is answered in
//! [`Shard::query_here`]. Runs on the shard that owns the context, one half on each.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use corelet_store::{ContextId, StoreError};
use corelet_wasm_host::{Answered, Failure, MethodKind, QueryError, Question};

use crate::chain::Link;
use crate::context::{Context, InUse};
use crate::error::CallError;
use crate::message::{Reply, Request, Response};
use crate::rt;
use crate::shard::{Shard, unknown_method};
use crate::statistics::{Ended, Row};
use crate::turn::{Asked, Begin, Durable, Executed, TurnInProgress, What};

/// A question on its way to the shard that owns the context.
pub(crate) struct AskedQuery {
    pub(crate) method: String,
    pub(crate) args: Bytes,
    /// Who has called the outermost.
    pub(crate) caller: Arc<str>,
    /// When the outermost is given up, and this with it.
    pub(crate) deadline: Instant,
    pub(crate) asked: Asked,
}

/// Why a context does not answer.
enum Unanswered {
    NotAQuery,
    Call(CallError),
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Unanswered {
        Unanswered::Call(error)
    }
}

/// What a context has answered.
struct Told {
    outcome: Result<Bytes, CallError>,
    fuel_used: u64,
    queries: u64,
}

impl Shard {
    /// Has a turn's question answered, or refuses it. The turn goes on with the answer.
    pub(crate) fn ask(
        self: &Rc<Self>,
        context: &Rc<Context>,
        mut turn: TurnInProgress,
        question: Question,
    ) {
        let (to, link) = match self.admit_question(context, &turn, &question) {
            Ok(admitted) => admitted,
            Err(error) => {
                turn.take_answer(Answered {
                    outcome: Err(error),
                    fuel_used: 0,
                    queries: question.queries,
                });
                return self.schedule.requeue(context, turn);
            }
        };
        self.stats.questions.one();
        let deadline = turn.deadline();
        let query = AskedQuery {
            method: question.method,
            args: question.args,
            caller: question.caller,
            deadline,
            asked: Asked {
                chain: Arc::clone(&link),
                fuel_max: question.fuel_left,
                queries: question.queries,
            },
        };
        turn.wait_for_answer(link);
        let number = self.schedule.put_aside(context, turn);
        let shard = Rc::clone(self);
        let context = InUse::new(Rc::clone(context));
        rt::spawn(async move {
            let left = deadline.saturating_duration_since(Instant::now());
            let answered = rt::timeout(left, shard.ask_owner(to, query)).await;
            shard.go_on_with(&context, number, answered);
        });
    }

    /// Whom a question goes to, and the chain of those that wait for the answer.
    fn admit_question(
        &self,
        context: &Context,
        turn: &TurnInProgress,
        question: &Question,
    ) -> Result<(ContextId, Arc<Link>), QueryError> {
        let to = question.context.map(ContextId::from_bytes);
        let to = to.ok_or(QueryError::UnknownContext)?;
        let above = turn.chain();
        if to == context.id || above.is_some_and(|chain| chain.has(to)) {
            self.stats.questions_in_circles.one();
            return Err(QueryError::Cycle);
        }
        if turn.depth() as u64 >= self.host.limits().query_depth_max {
            self.stats.questions_too_deep.one();
            return Err(QueryError::TooDeep);
        }
        if self.stats.asking_queries.get() >= self.bounds.asking_queries_max as u64 {
            self.stats.questions_refused.one();
            return Err(QueryError::Busy("asking_queries_max"));
        }
        Ok((to, Link::new(context.id, above.cloned())))
    }

    async fn ask_owner(self: &Rc<Self>, to: ContextId, query: AskedQuery) -> Answered {
        let owner = self.owner(&to);
        if owner == self.id {
            return self.query_here(to, query).await;
        }
        let queries = query.asked.queries;
        let request = Request::Query { context: to, query };
        let error = match self.mesh.ask(owner, request).await {
            Ok(Response::Query(answered)) => return answered,
            Ok(_) => CallError::bug("a shard answered another question"),
            Err(error) => {
                self.stats.questions_refused.one();
                error
            }
        };
        Answered {
            outcome: Err(query_error(error)),
            fuel_used: 0,
            queries,
        }
    }

    /// Lets the turn that was put aside go on; without an answer it has waited too long. It may
    /// have been stopped meanwhile.
    fn go_on_with(self: &Rc<Self>, context: &Rc<Context>, number: u64, answered: Option<Answered>) {
        let Some(mut turn) = self.schedule.take_aside(context, number) else {
            return;
        };
        let step = match answered {
            // The other one may have been stopped by the same clock.
            Some(answered) if Instant::now() < turn.deadline() => {
                turn.take_answer(answered);
                if !self.schedule.may_go_on_now(context) {
                    return self.schedule.requeue(context, turn);
                }
                self.resume(context, turn)
            }
            _ => {
                let max = self.host.limits().call_time_max;
                self.stop(context, turn, Failure::TimedOut { max })
            }
        };
        self.carry_on(context, step);
        self.schedule.let_go(context);
    }

    /// Answers the question of another context's query.
    pub(crate) async fn query_here(self: &Rc<Self>, id: ContextId, query: AskedQuery) -> Answered {
        let queries = query.asked.queries;
        let told = match self.find_answer(id, query).await {
            Ok(told) => told,
            Err(Unanswered::NotAQuery) => {
                return Answered {
                    outcome: Err(QueryError::NotAQuery),
                    fuel_used: 0,
                    queries,
                };
            }
            Err(Unanswered::Call(error)) => Told {
                outcome: Err(error),
                fuel_used: 0,
                queries,
            },
        };
        self.quarantine_if_damaged(id, &told.outcome);
        if let Err(CallError::Busy { .. }) = &told.outcome {
            self.stats.questions_refused.one();
        }
        Answered {
            outcome: told.outcome.map_err(query_error),
            fuel_used: told.fuel_used,
            queries: told.queries,
        }
    }

    async fn find_answer(
        self: &Rc<Self>,
        id: ContextId,
        query: AskedQuery,
    ) -> Result<Told, Unanswered> {
        let started = Instant::now();
        self.check_service(id)?;
        let context = self.reach(id).await?;
        let calls_max = self.host.limits().context_calls_per_second;
        let (row, method) = self.method_of(&context, query.method.as_bytes());
        let bytes_in = query.args.len();
        let named = || method.ok_or_else(|| unknown_method(&context, query.method.as_bytes()));
        let admitted = context.rate.admit(started, calls_max);
        let end = match admitted.and_then(|()| named()) {
            Ok((_, MethodKind::Update)) => return Err(Unanswered::NotAQuery),
            Ok((method, MethodKind::Query)) => {
                self.answer_asked(&context, row, method, query).await
            }
            Err(refused) => Err(refused),
        };
        let took = started.elapsed();
        let outcome = match &end {
            Ok(told) => told.outcome.as_ref().map(Bytes::len),
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            self.count_query(took);
        }
        let ended = Ended {
            bytes_in,
            took,
            outcome,
        };
        self.count_call(&context, row, ended);
        Ok(end?)
    }

    async fn answer_asked(
        self: &Rc<Self>,
        context: &InUse,
        row: Row,
        method: Arc<str>,
        query: AskedQuery,
    ) -> Result<Told, CallError> {
        let Asked {
            fuel_max, queries, ..
        } = query.asked;
        let asked = (method.as_bytes(), &query.args[..]);
        let may_repeat = self.may_repeat(context);
        if may_repeat && let Some(reply) = self.told_before(context, asked, &query.caller) {
            let (outcome, fuel_used) = match reply.fuel_used <= fuel_max {
                true => (Ok(reply.output), reply.fuel_used),
                // As it would have ended if it had run again.
                false => (Err(out_of_fuel(fuel_max)), fuel_max),
            };
            return Ok(Told {
                outcome,
                fuel_used,
                queries,
            });
        }
        let begin = Begin {
            what: What::Query(Arc::clone(&method)),
            row,
            args: query.args.clone(),
            caller: Arc::clone(&query.caller),
            deadline: query.deadline,
            upgrades: context.upgrades.get(),
            keyed: None,
            asked: Some(Box::new(query.asked)),
            promise: None,
        };
        let Executed {
            outcome,
            fuel_used,
            queries,
            durable,
            repeatable,
        } = self.execute(context, begin).await?;
        if let Ok(output) = &outcome {
            if let (true, Some(repeatable), Durable::Already(root)) =
                (may_repeat, repeatable, durable)
            {
                let reply = Reply {
                    output: output.clone(),
                    delta_id: None,
                    root,
                    fuel_used,
                };
                self.query_cache
                    .keep(context.id, asked, query.caller, repeatable, &reply);
            }
        }
        Ok(Told {
            outcome,
            fuel_used,
            queries,
        })
    }
}

fn out_of_fuel(max: u64) -> CallError {
    let limit = "query_fuel_max";
    CallError::guest(Failure::OutOfFuel { limit, max }, &[])
}

/// What the guest is told that has asked. The names are those that clients know.
fn query_error(error: CallError) -> QueryError {
    match error {
        CallError::ContextNotFound { .. } => QueryError::UnknownContext,
        CallError::MethodNotFound { .. } => QueryError::UnknownMethod,
        CallError::Guest { failure, .. } => match &*failure {
            Failure::Application { error } => QueryError::Application(error.clone()),
            failure => {
                // Whoever has asked may well hide it.
                if let Failure::OurBug { .. } | Failure::State(_) = failure {
                    tracing::error!(%failure, "a query that another context asked has failed");
                }
                QueryError::Failed(failure.name())
            }
        },
        CallError::Busy { limit, .. } => QueryError::Busy(limit),
        CallError::OutOfService { .. } => QueryError::Failed("context_damaged"),
        CallError::Store(error) if matches!(*error, StoreError::ReadersFull { .. }) => {
            QueryError::Busy("storage.readers_max")
        }
        CallError::Store(_)
        | CallError::BatchDamaged(_)
        | CallError::Uncommitted(_)
        | CallError::File { .. } => {
            tracing::error!(%error, "the storage has failed a query that another context asked");
            match &error {
                CallError::Store(error)
                    if matches!(**error, StoreError::Io { .. } | StoreError::Stopped) =>
                {
                    QueryError::Failed("unavailable")
                }
                _ => QueryError::Failed("storage_damaged"),
            }
        }
        CallError::ApplicationNotFound { .. } => QueryError::Failed("unknown_application"),
        CallError::Draining
        | CallError::LostEffects
        | CallError::Refused(_)
        | CallError::ApplicationClosed { .. } => QueryError::Failed("unavailable"),
        CallError::KeyOnQuery { .. }
        | CallError::KeyReused
        | CallError::NoSuchEvent { .. }
        | CallError::Past(_)
        | CallError::NotUpgradable { .. }
        | CallError::Hook { .. }
        | CallError::ApplicationInUse { .. }
        | CallError::ApplicationsFull { .. }
        | CallError::NameTaken { .. }
        | CallError::BadName { .. }
        | CallError::TooMuch { .. }
        | CallError::Upload(_)
        | CallError::BadPacking { .. }
        | CallError::UploadMismatch { .. }
        | CallError::DiskNearlyFull { .. }
        | CallError::CopyTooOld { .. }
        | CallError::OurBug { .. } => {
            tracing::error!(%error, "internal error while a query asked another context");
            QueryError::Failed("internal_error")
        }
    }
}
