//! One turn: a call from its first slice of guest code to its effects.
//!
//! A turn begins with an instance and a view of the state, runs in slices, and
//! ends with an output and effects, or with an error and nothing. Ending an
//! update hands its effects to the commit stage; the answer to the caller waits
//! for the receipt. Runs on the shard that owns the context.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{
    BlobHold, CallEffects, Change, ContextId, Event, Hlc, KeyedAnswer, Reuse, Root,
};
use corelet_wasm_host::{
    Answered, Entry, Failure, Finished, GuestEvent, GuestLog, GuestState, Hook, Instance,
    InstantiateError, MethodKind, Module, Question, Running, Turn,
};

use crate::agenda::Agenda;
use crate::answer::{Answer, Promise};
use crate::chain::{Link, depth_below};
use crate::commit_stage::Receipt;
use crate::context::Context;
use crate::contexts::failure_of;
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::keyed::Keyed;
use crate::overlay::Write;
use crate::query_cache::Repeatable;
use crate::sends::{Outcome as SentOutcome, SentNumber, TakenRow};
use crate::shard::Shard;
use crate::statistics::Row;
use crate::timers::DueTimer;
use crate::upgrade::{HookTurn, MadeByHook};
use crate::view::{Edited, Hearing, SequenceAccess, Taking, View, Written};
use crate::warm_sum::Warm;

/// A call that is admitted and has not begun.
pub(crate) struct Begin {
    pub(crate) what: What,
    /// Where it is counted.
    pub(crate) row: Row,
    pub(crate) args: Bytes,
    pub(crate) caller: Arc<str>,
    /// When it is given up.
    pub(crate) deadline: Instant,
    /// As of its context when it was admitted: see [`Context::upgrades`].
    pub(crate) upgrades: u32,
    /// Under which key its answer is kept.
    pub(crate) keyed: Option<Box<Keyed>>,
    /// By whom it was asked, if it is another context's query that has.
    pub(crate) asked: Option<Box<Asked>>,
    /// Who waits, if the call could not run where it arrived.
    pub(crate) promise: Option<Promise<TurnEnd>>,
}

/// Of a query that another context's query has asked.
pub(crate) struct Asked {
    /// Who waits for it.
    pub(crate) chain: Arc<Link>,
    /// What the asking one has left of its fuel.
    pub(crate) fuel_max: u64,
    /// Queries that the outermost call has caused so far, this one among them.
    pub(crate) queries: u64,
}

/// What a turn runs.
pub(crate) enum What {
    Query(Arc<str>),
    Update(Arc<str>),
    /// A new context's `init`, on a [`Context`] that nobody else knows yet.
    Init,
    /// The handler of a timer that is due.
    Timer(DueTimer),
    /// The hook that tells of the server's stop, as an update.
    Stop,
    /// A hook, for whoever holds the context.
    Hook(Box<HookTurn>),
    /// An update that another context has sent a call to.
    Sent(Box<SentTurn>),
    /// The handler that is told what a call came to.
    Callback(Box<CallbackOf>),
    /// The handler that is told of events.
    Heard(Box<Hearing>),
}

/// A call that another context has sent, as a turn.
pub(crate) struct SentTurn {
    pub(crate) from: ContextId,
    pub(crate) number: SentNumber,
    pub(crate) method: Arc<str>,
    /// How many calls in a row were sent each by the one before it, with this one.
    pub(crate) depth: u32,
    /// Whether somebody is told its answer.
    pub(crate) has_callback: bool,
}

/// A call that this context has sent, and what it has come to.
pub(crate) struct CallbackOf {
    pub(crate) to: ContextId,
    pub(crate) number: SentNumber,
    pub(crate) outcome: SentOutcome,
}

impl What {
    /// Whether so few of its kind are under way that there is always a place for it.
    pub(crate) fn has_its_place(&self) -> bool {
        match self {
            What::Timer(_) | What::Sent(_) | What::Callback(_) | What::Heard(_) => true,
            What::Query(_) | What::Update(_) | What::Init | What::Stop | What::Hook(_) => false,
        }
    }
}

impl Begin {
    /// Whether it has the context's state for itself.
    pub(crate) fn is_exclusive(&self) -> bool {
        !matches!(self.what, What::Query(_))
    }

    /// Whether the context's state is the next one's when it ends.
    fn lets_go(&self) -> bool {
        !matches!(self.what, What::Query(_) | What::Hook(_))
    }

    /// How many contexts wait for it.
    pub(crate) fn depth(&self) -> usize {
        depth_below(self.asked.as_ref().map(|asked| &*asked.chain))
    }

    /// Whether somebody has gone for whom it would run.
    fn is_given_up(&self) -> bool {
        let asked = self.asked.as_ref();
        asked.is_some_and(|asked| asked.chain.is_given_up())
    }
}

/// What a turn is, once it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TurnKind {
    Query,
    Update,
    Init,
    Hook,
}

/// A turn between two slices.
pub(crate) struct TurnInProgress {
    running: Running,
    kind: TurnKind,
    /// None for `init`.
    method: Option<Arc<str>>,
    keyed: Option<Box<Keyed>>,
    /// The call that another context has sent, if it is one.
    sent: Option<Box<SentTurn>>,
    // The last change that the instance's memory knew of.
    seen: u64,
    /// Whether its instance has served a turn before.
    is_used: bool,
    hlc: Hlc,
    deadline: Instant,
    // What the commit stage and the context had lost when the turn began.
    epoch: u64,
    losses: u64,
    // The state that it began with.
    root: Root,
    version: u64,
    fuel_seen: u64,
    /// Where it is counted, and what of its fuel was counted there.
    row: Row,
    fuel_counted: u64,
    /// Who waits for it, if it was asked.
    chain: Option<Arc<Link>>,
    /// The question that it waits for itself.
    waits: Option<Arc<Link>>,
    promise: Option<Promise<TurnEnd>>,
}

/// What a slice comes to.
pub(crate) enum Step {
    /// The turn has ended, and whoever ran the slice takes the end.
    Ended(TurnEnd),
    /// The turn has ended, and who waited for it was told.
    Delivered,
    /// The slice's fuel is used up.
    More(TurnInProgress),
    /// The guest waits for another context's query.
    Asks(TurnInProgress, Question),
}

/// What a turn comes to.
pub(crate) type TurnEnd = Result<Executed, CallError>;

/// A turn whose guest has answered, be it with an error: neither may leave before
/// what it rests on is durable.
pub(crate) struct Executed {
    pub(crate) outcome: Result<Bytes, CallError>,
    pub(crate) fuel_used: u64,
    /// Queries of other contexts that its outermost call has caused so far.
    pub(crate) queries: u64,
    pub(crate) durable: Durable,
    /// Whether another call of the same would be told the same.
    pub(crate) repeatable: Option<Repeatable>,
}

impl Executed {
    /// There was nothing to run any more.
    fn stale(root: Root) -> Executed {
        Executed {
            // What a guest returns is JSON, and never empty.
            outcome: Ok(Bytes::new()),
            fuel_used: 0,
            queries: 0,
            durable: Durable::Already(root),
            repeatable: None,
        }
    }

    /// Whether there was nothing to run any more.
    pub(crate) fn is_stale(&self) -> bool {
        self.outcome.as_ref().is_ok_and(Bytes::is_empty)
    }
}

/// What the guest returned, or how it failed.
type Outcome = Result<Bytes, CallError>;

/// An answer, with what it has to wait for.
type TurnResult = Result<(Outcome, Durable), CallError>;

/// What a turn leaves behind.
struct Made {
    state: Box<dyn GuestState>,
    events: Vec<GuestEvent>,
    log: Option<TurnLog>,
}

/// What a turn's answer has to wait for.
pub(crate) enum Durable {
    /// Nothing: it was a query, on a snapshot with this root.
    Already(Root),
    /// The receipt of its own change.
    Receipt(Answer<Receipt>),
    /// An update without effects: that what it has seen is on disk.
    Seen(Answer<Result<Root, CallError>>),
    /// An `init`, whose effects have gone nowhere yet.
    Init(Box<MadeByInit>),
    /// A hook, of which the same holds.
    Hook(Box<MadeByHook>),
}

/// What an `init` has made of a context that nobody else knows yet.
pub(crate) struct MadeByInit {
    pub(crate) effects: CallEffects,
    pub(crate) log: Option<TurnLog>,
    /// Of the blobs that it has attached, until that is durable.
    pub(crate) holds: Vec<BlobHold>,
}

/// What an update comes to.
struct Effects {
    /// What is to be committed.
    effects: CallEffects,
    /// What its writes are read as until then.
    shown: Vec<Write>,
    /// The lists and texts that it has edited.
    edited: Edited,
    /// Of the blobs that it has attached.
    holds: Vec<BlobHold>,
}

impl Shard {
    /// Begins a turn and runs its first slice.
    pub(crate) fn begin(&self, context: &Rc<Context>, mut begin: Begin) -> Step {
        if begin.upgrades != context.upgrades.get() {
            begin = match self.admit_anew(context, begin) {
                Ok(begin) => begin,
                Err(step) => return *step,
            };
        }
        let is_exclusive = begin.is_exclusive();
        let lets_go = begin.lets_go();
        // One that has not queued has come just now.
        let has_expired = begin.promise.is_some() && self.has_expired(context, &begin);
        if is_exclusive {
            debug_assert!(
                !self.commits.has_unshown_deltas(context),
                "an update begins on a state without deltas that its own is said to follow"
            );
            context.updating.set(true);
        }
        let is_given_up = begin.is_given_up();
        let promise = begin.promise;
        let checked_out = match has_expired {
            true => Err(self.expired()),
            false if is_given_up => Err(CallError::guest(Failure::Cancelled, &[])),
            false => match new_module(&begin.what) {
                Some(module) => self.check_out_new(context, module),
                None => self.check_out(context, is_exclusive),
            },
        };
        let Warm {
            instance,
            seen,
            is_used,
        } = match checked_out {
            Ok(warm) => warm,
            Err(error) => return self.not_begun(context, lets_go, promise, Err(error)),
        };
        let limits = self.host.limits();
        let mut hlc = None;
        let (kind, state, fuel_max, state_version) = match &mut begin.what {
            What::Query(_) => {
                let view = self.view_of_query(context);
                let version = context.standing.get().version;
                (TurnKind::Query, view, limits.query_fuel_max, version)
            }
            What::Update(_)
            | What::Timer(_)
            | What::Sent(_)
            | What::Callback(_)
            | What::Heard(_) => {
                let view = self.view_of_update(context, self.access(context));
                let view = view.with_blobs(&self.blobs);
                let version = version_of_update(context);
                (TurnKind::Update, view, limits.update_fuel_max, version)
            }
            What::Hook(hook) => {
                let view = hook.state.take().map(|view| *view).unwrap_or_else(|| {
                    let view = self.view_of_update(context, self.access(context));
                    view.with_blobs(&self.blobs)
                });
                hlc = Some(hook.hlc);
                let version = version_of_update(context);
                (TurnKind::Hook, view, limits.upgrade_fuel_max, version)
            }
            What::Init => {
                let view = View::of_init(self.access(context)).with_blobs(&self.blobs);
                let view = view.with_now(self.clock.wall_micros());
                (TurnKind::Init, view, limits.init_fuel_max, 0)
            }
            What::Stop => {
                let view = self.view_of_update(context, self.access(context));
                let view = view.with_blobs(&self.blobs);
                let version = version_of_update(context);
                (TurnKind::Update, view, limits.stop_fuel_max, version)
            }
        };
        let (mut state, mut args) = (state, begin.args);
        let (fuel_max, queries, chain) = match begin.asked {
            Some(asked) => (
                fuel_max.min(asked.fuel_max),
                asked.queries,
                Some(asked.chain),
            ),
            None => (fuel_max, 0, None),
        };
        let (mut depth, mut sent) = (0, None);
        let entry = match begin.what {
            What::Query(method) => Ok(Entry::Call {
                method,
                kind: MethodKind::Query,
            }),
            What::Update(method) => Ok(Entry::Call {
                method,
                kind: MethodKind::Update,
            }),
            What::Init => Ok(Entry::Init),
            What::Hook(hook) => Ok(Entry::Hook(hook.hook)),
            What::Stop => Ok(Entry::Hook(Hook::Stop)),
            What::Timer(timer) => match state.take_due(&timer.name, timer.at) {
                Ok(Some(taken)) => {
                    args = taken.args;
                    Ok(Entry::Handle {
                        handler: Arc::from(taken.handler),
                    })
                }
                Ok(None) => Err(Ok(Executed::stale(context.standing.get().root))),
                Err(error) => Err(Err(CallError::guest(failure_of(error), &[]))),
            },
            What::Sent(call) => {
                let max = limits.senders_max;
                match state.check_taking(call.from, call.number, max) {
                    Ok(Taking::New) => {
                        let method = Arc::clone(&call.method);
                        state = state.keeping_outcome(call.has_callback);
                        depth = call.depth;
                        sent = Some(call);
                        Ok(Entry::Call {
                            method,
                            kind: MethodKind::Update,
                        })
                    }
                    Ok(Taking::Before) => Err(Ok(Executed::stale(context.standing.get().root))),
                    Ok(Taking::Full { used }) => Err(Err(CallError::Busy {
                        limit: "senders_max",
                        used,
                        max,
                    })),
                    Err(error) => Err(Err(CallError::guest(failure_of(error), &[]))),
                }
            }
            What::Callback(of) => match state.end_sent(of.to, of.number) {
                Ok(Some(row)) => match row.callback {
                    Some(callback) => {
                        args = of.outcome.arguments(&callback.data);
                        depth = row.depth;
                        Ok(Entry::Handle {
                            handler: Arc::from(callback.handler),
                        })
                    }
                    None => Err(Err(CallError::bug("a call without a callback was told"))),
                },
                Ok(None) => Err(Ok(Executed::stale(context.standing.get().root))),
                Err(error) => Err(Err(CallError::guest(failure_of(error), &[]))),
            },
            What::Heard(hearing) => match state.hear(&hearing) {
                Ok(Some(handler)) => Ok(Entry::Handle {
                    handler: Arc::from(handler),
                }),
                Ok(None) => Err(Ok(Executed::stale(context.standing.get().root))),
                Err(error) => Err(Err(CallError::guest(failure_of(error), &[]))),
            },
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(end) => {
                let warm = Warm {
                    instance,
                    seen,
                    is_used,
                };
                self.check_in(context, Some(warm));
                return self.not_begun(context, lets_go, promise, end);
            }
        };
        let method = match &entry {
            Entry::Call { method, .. } | Entry::Inspect { method } => Some(Arc::clone(method)),
            Entry::Handle { handler } => Some(Arc::clone(handler)),
            Entry::Hook(hook) => Some(Arc::from(hook.name())),
            Entry::Init => None,
        };
        let hlc = hlc.unwrap_or_else(|| self.clock.tick());
        let state = state.with_origin(hlc, depth);
        let running = instance.run(Turn {
            entry,
            args,
            context: *context.id.as_bytes(),
            caller: begin.caller,
            author: *self.author.as_bytes(),
            now_nanos: hlc.micros() * 1_000,
            seed: self.clock.seed(),
            state_version,
            fuel_max,
            queries,
            state: Box::new(state),
        });
        self.resume(
            context,
            TurnInProgress {
                running,
                kind,
                method,
                keyed: begin.keyed,
                sent,
                seen,
                is_used,
                hlc,
                deadline: begin.deadline,
                epoch: self.commits.epoch(),
                losses: context.losses.get(),
                root: context.standing.get().root,
                version: context.standing.get().version,
                fuel_seen: 0,
                row: begin.row,
                fuel_counted: 0,
                chain,
                waits: None,
                promise,
            },
        )
    }

    /// Whether a call that has queued comes too late, and counts how long it has waited.
    fn has_expired(&self, context: &Context, begin: &Begin) -> bool {
        let left = begin.deadline.saturating_duration_since(Instant::now());
        // The time of one that was asked began with who asks.
        if begin.asked.is_none() && !left.is_zero() {
            let time = Duration::from_millis(self.host.limits().call_time_max);
            self.count_waited(context, begin.row, time.saturating_sub(left));
        }
        left.is_zero()
    }

    /// The end of a turn that does not begin.
    pub(crate) fn not_begun(
        &self,
        context: &Rc<Context>,
        lets_go: bool,
        promise: Option<Promise<TurnEnd>>,
        end: TurnEnd,
    ) -> Step {
        if lets_go {
            self.schedule.update_ended(context);
        }
        self.schedule.spend(context, 0);
        deliver(promise, end)
    }

    /// What a turn that begins now sees of lists and texts in memory.
    fn access(&self, context: &Context) -> SequenceAccess {
        SequenceAccess {
            cache: Some(Rc::clone(&self.sequences)),
            author: self.author,
            losses: context.losses.get(),
        }
    }

    /// What a query that begins now sees.
    pub(crate) fn view_of_query(&self, context: &Context) -> View {
        let settled = context.overlay.borrow().settled();
        let access = self.access(context);
        View::of_query(context.slot, self.snapshots.latest(), settled, access)
    }

    /// What an update that begins now sees.
    pub(crate) fn view_of_update(&self, context: &Context, access: SequenceAccess) -> View {
        let overlay = Rc::clone(&context.overlay);
        View::of_update(context.slot, Rc::clone(&self.snapshots), overlay, access)
            .with_now(self.clock.wall_micros())
    }

    /// Runs one slice.
    pub(crate) fn resume(&self, context: &Rc<Context>, mut turn: TurnInProgress) -> Step {
        let finished = match poll_slice(&mut turn.running) {
            Poll::Ready(finished) => finished,
            Poll::Pending if turn.is_given_up() => turn.running.stop(Failure::Cancelled),
            Poll::Pending if Instant::now() >= turn.deadline => {
                let max = self.host.limits().call_time_max;
                turn.running.stop(Failure::TimedOut { max })
            }
            Poll::Pending => {
                let spent = turn.see_fuel();
                turn.fuel_counted += spent;
                self.count_fuel(context, turn.row, spent);
                if let Some(question) = turn.running.take_question() {
                    self.spend(context, spent);
                    return Step::Asks(turn, question);
                }
                self.stats.fuel.add(spent);
                // A slice can be full of work that costs its caller nothing, as bringing a list
                // into memory is. Its context pays for it, or its neighbours would.
                self.schedule
                    .spend(context, spent.max(self.bounds.slice_fuel));
                self.stats.slices.one();
                return Step::More(turn);
            }
        };
        self.conclude(context, turn, finished)
    }

    /// Stops a turn between two slices, or while it waits for an answer.
    pub(crate) fn stop(
        &self,
        context: &Rc<Context>,
        mut turn: TurnInProgress,
        why: Failure,
    ) -> Step {
        if let Some(link) = turn.waits.take() {
            link.give_up();
        }
        let finished = turn.running.stop(why);
        self.conclude(context, turn, finished)
    }

    fn conclude(&self, context: &Rc<Context>, turn: TurnInProgress, finished: Finished) -> Step {
        let last = finished.fuel_used.saturating_sub(turn.fuel_seen);
        self.spend(context, last);
        self.count_turn(context, turn.row, last, turn.fuel_counted + last);
        let end = self.end(context, &turn, finished);
        if !matches!(turn.kind, TurnKind::Query | TurnKind::Hook) {
            self.schedule.update_ended(context);
        }
        deliver(turn.promise, end)
    }

    /// That a call has waited for its turn for so long that nobody expects it to begin.
    pub(crate) fn expired(&self) -> CallError {
        let max = self.host.limits().call_time_max;
        CallError::Busy {
            limit: "call_time_max",
            used: max,
            max,
        }
    }

    pub(crate) fn spend(&self, context: &Context, fuel: u64) {
        self.stats.fuel.add(fuel);
        self.schedule.spend(context, fuel);
    }

    fn end(&self, context: &Rc<Context>, turn: &TurnInProgress, finished: Finished) -> TurnEnd {
        let Finished {
            instance,
            outcome,
            state,
            events,
            logs,
            reads,
            fuel_used,
        } = finished;
        let is_repeatable = turn.kind == TurnKind::Query
            && outcome.is_ok()
            && !reads.moment
            && !reads.others
            && logs.is_empty();
        let repeatable = is_repeatable.then_some(Repeatable {
            version: turn.version,
            has_asked_caller: reads.caller,
            is_of_used: turn.is_used,
        });
        // An instance that comes back from a failure has written nothing.
        let is_clean = outcome.is_err();
        let outcome = outcome
            .map(|output| Bytes::from(output.bytes))
            .map_err(|failure| {
                if is_the_guest_s(&failure) {
                    self.stats.guest_failures.one();
                }
                CallError::guest(failure, &logs)
            });
        let lost = turn.epoch != self.commits.epoch() || turn.losses != context.losses.get();
        let made = Made {
            state,
            events,
            log: turn.log(outcome.is_ok(), logs),
        };
        let answer = turn.keyed.as_ref();
        let answer = answer.and_then(|keyed| keyed.answer(&outcome, fuel_used));
        let end = match turn.kind {
            TurnKind::Query => self.end_query(context, turn, outcome, made.log),
            TurnKind::Update => self.end_update(context, turn, lost, outcome, made, answer),
            TurnKind::Init => self.end_init(context, turn, outcome, made),
            TurnKind::Hook => self.end_hook(context, lost, outcome, made),
        }
        .map(|(outcome, durable)| Executed {
            outcome,
            fuel_used,
            queries: turn.running.queries(),
            durable,
            repeatable,
        });
        // What a guest keeps in memory may come from what was lost or refused; nobody will look
        // for an instance at the context of an `init`, and what a hook has done may yet be dropped.
        let is_kept = matches!(turn.kind, TurnKind::Query | TurnKind::Update);
        let is_useful = (end.is_ok() || is_clean) && !lost && is_kept;
        let seen = match turn.kind {
            TurnKind::Query => turn.seen,
            TurnKind::Update | TurnKind::Init | TurnKind::Hook => context.changes.get(),
        };
        let instance = instance.filter(|_| is_useful);
        let used = instance.map(|instance| Warm {
            instance,
            seen,
            is_used: true,
        });
        self.check_in(context, used);
        end
    }

    fn end_query(
        &self,
        context: &Context,
        turn: &TurnInProgress,
        outcome: Outcome,
        log: Option<TurnLog>,
    ) -> TurnResult {
        self.guest_logs.take(context, log);
        Ok((outcome, Durable::Already(turn.root)))
    }

    fn end_update(
        &self,
        context: &Rc<Context>,
        turn: &TurnInProgress,
        lost: bool,
        outcome: Outcome,
        mut made: Made,
        answer: Option<Box<KeyedAnswer>>,
    ) -> TurnResult {
        if context.deleted.get() {
            self.check_service(context.id)?;
            return Err(CallError::ContextNotFound {
                context: context.id.to_string(),
            });
        }
        let log = made.log.take();
        if lost {
            self.guest_logs.take(context, log.map(TurnLog::lost));
            return Err(CallError::LostEffects);
        }
        let Effects {
            mut effects,
            shown,
            edited,
            holds,
        } = match outcome.is_ok() {
            true => self.effects(context, turn.hlc, made, turn.taken(&outcome))?,
            false => Effects {
                effects: self.no_effects(context, turn.hlc),
                shown: Vec::new(),
                edited: Edited::default(),
                holds: Vec::new(),
            },
        };
        effects.answer = answer;
        if effects.ops.is_empty() && effects.events.is_empty() && effects.answer.is_none() {
            let seen = self.commits.barrier(context, log);
            return Ok((outcome, Durable::Seen(seen)));
        }
        let bytes = effects.bytes();
        let agenda = Agenda::of(&effects);
        let receipt =
            self.commits
                .submit(Change::Call(effects), bytes, Some((context, shown, log)))?;
        self.commits.hold(holds);
        self.note_agenda(context.id, agenda);
        context.changes.set(context.changes.get() + 1);
        edited.keep(&self.sequences);
        Ok((outcome, Durable::Receipt(receipt)))
    }

    fn end_init(
        &self,
        context: &Context,
        turn: &TurnInProgress,
        outcome: Outcome,
        made: Made,
    ) -> TurnResult {
        // There was nothing to see, so an error can leave at once.
        let output = outcome?;
        let mut made = made;
        let log = made.log.take();
        let Effects { effects, holds, .. } = self.effects(context, turn.hlc, made, None)?;
        let made = MadeByInit {
            effects,
            log,
            holds,
        };
        Ok((Ok(output), Durable::Init(Box::new(made))))
    }

    fn end_hook(
        &self,
        context: &Rc<Context>,
        lost: bool,
        outcome: Outcome,
        made: Made,
    ) -> TurnResult {
        let Made { state, events, log } = made;
        if lost {
            self.guest_logs.take(context, log.map(TurnLog::lost));
            return Err(CallError::LostEffects);
        }
        match outcome {
            Ok(output) => {
                let made = MadeByHook { state, events, log };
                Ok((Ok(output), Durable::Hook(Box::new(made))))
            }
            Err(error) => {
                self.guest_logs.take(context, log);
                Err(error)
            }
        }
    }

    /// What a turn leaves behind; with it, if it was a call of another context, that this was taken.
    fn effects(
        &self,
        context: &Context,
        hlc: Hlc,
        made: Made,
        taken: Option<(ContextId, TakenRow)>,
    ) -> Result<Effects, CallError> {
        let Made { state, events, .. } = made;
        let mut view = state
            .into_any()
            .downcast::<View>()
            .map_err(|_| CallError::bug("a turn ended with a foreign state"))?;
        if let Some((from, row)) = taken {
            let written = view.write_taken(from, &row);
            written.map_err(|error| CallError::guest(failure_of(error), &[]))?;
        }
        let written = view.into_written(hlc);
        let Written {
            ops,
            shown,
            edited,
            holds,
        } = written.map_err(|error| CallError::bug(error.to_string()))?;
        let effects = CallEffects {
            ops,
            events: events
                .into_iter()
                .map(|e| Event {
                    kind: e.kind,
                    payload: Bytes::from(e.payload),
                })
                .collect(),
            ..self.no_effects(context, hlc)
        };
        Ok(Effects {
            effects,
            shown,
            edited,
            holds,
        })
    }

    pub(crate) fn no_effects(&self, context: &Context, hlc: Hlc) -> CallEffects {
        CallEffects {
            context: context.id,
            slot: context.slot,
            author: self.author,
            hlc,
            read: None,
            ops: Vec::new(),
            events: Vec::new(),
            answer: None,
        }
    }

    /// An instance for a turn. What a guest remembers of a change must not be
    /// told before the change is durable, so a query gets none that knows of one
    /// which is not. An update gets the one that knows of the most, which leaves
    /// the others to queries.
    pub(crate) fn check_out(
        &self,
        context: &Context,
        is_exclusive: bool,
    ) -> Result<Warm, CallError> {
        if context.deleted.get() {
            self.check_service(context.id)?;
            return Err(CallError::ContextNotFound {
                context: context.id.to_string(),
            });
        }
        self.warm.called(context);
        if context.code().reuse.get() == Reuse::Never {
            // From before it was set so, if nobody has come to drop them yet.
            self.drop_warm(context);
        }
        let mut warm = context.warm.borrow_mut();
        let found = match is_exclusive {
            true => {
                let all = warm.iter().enumerate();
                all.max_by_key(|(_, warm)| warm.seen()).map(|(at, _)| at)
            }
            false => {
                let settled = context.settled();
                warm.iter().rposition(|warm| warm.seen() <= settled)
            }
        };
        if let Some(at) = found {
            self.stats.warm_hits.one();
            return Ok(warm.swap_remove(at).into_warm());
        }
        // Making room looks at all contexts, this one too.
        drop(warm);
        let module = Arc::clone(&context.code().module);
        let instance = self.instantiate(&module)?;
        Ok(Warm {
            instance,
            seen: 0,
            is_used: false,
        })
    }

    /// An instance for a hook of what the context does not run yet.
    fn check_out_new(&self, context: &Context, module: &Arc<Module>) -> Result<Warm, CallError> {
        if context.deleted.get() {
            self.check_service(context.id)?;
            return Err(CallError::ContextNotFound {
                context: context.id.to_string(),
            });
        }
        let instance = self.instantiate(module)?;
        Ok(Warm {
            instance,
            seen: 0,
            is_used: false,
        })
    }

    /// Keeps a used instance for the next turn, if its application's instances serve more than
    /// one, if the context may have one more
    /// and those that make room for it are enough. One that is too large for any
    /// room goes, and nobody else for it.
    pub(crate) fn check_in(&self, context: &Rc<Context>, used: Option<Warm>) {
        let Some(used) = used else { return };
        let serves_once = {
            let code = context.code();
            // One that the context has run before has served its last call.
            code.reuse.get() == Reuse::Never || !Arc::ptr_eq(used.instance.module(), &code.module)
        };
        let is_full = context.warm.borrow().len() >= self.bounds.context_instances_max;
        let bytes = used.instance.memory_bytes();
        let is_too_large = bytes > self.bounds.warm_memory_bytes_max;
        if serves_once || is_full || is_too_large || context.deleted.get() {
            return;
        }
        let Some(used) = self.tell_of_memory(context, used) else {
            return;
        };
        let bytes = used.instance.memory_bytes();
        while !self.warm_sum.has_room(bytes, &self.bounds) {
            if !self.cool_one() {
                return;
            }
        }
        let kept = self.warm_sum.keep(used);
        context.warm.borrow_mut().push(kept);
        self.warm.add(context);
    }

    fn instantiate(&self, module: &Arc<Module>) -> Result<Instance, CallError> {
        loop {
            match module.instantiate() {
                Ok(instance) => {
                    self.stats.instantiations.one();
                    return Ok(instance);
                }
                Err(InstantiateError::PoolExhausted { max }) => {
                    if !self.cool_one() {
                        return Err(CallError::Busy {
                            limit: "instances_max",
                            used: max.into(),
                            max: max.into(),
                        });
                    }
                }
                Err(InstantiateError::Start(Failure::MemoryFull { used, max })) => {
                    if !self.cool_one() {
                        return Err(CallError::memory_full(used, max));
                    }
                }
                Err(error) => return Err(CallError::bug(error.to_string())),
            }
        }
    }
}

impl TurnInProgress {
    pub(crate) fn is_query(&self) -> bool {
        self.kind == TurnKind::Query
    }

    /// What is kept of it, if it was a call of another context and has been carried out.
    fn taken(&self, outcome: &Outcome) -> Option<(ContextId, TakenRow)> {
        let sent = self.sent.as_ref()?;
        let answer = outcome.as_ref().ok().filter(|_| sent.has_callback);
        let row = TakenRow {
            number: sent.number,
            outcome: SentOutcome::Done(answer.cloned().unwrap_or_default()),
        };
        Some((sent.from, row))
    }

    /// What its guest has logged, if that is anything.
    fn log(&self, succeeded: bool, lines: Vec<GuestLog>) -> Option<TurnLog> {
        if lines.is_empty() {
            return None;
        }
        Some(TurnLog {
            method: self.method.clone().unwrap_or_else(|| Arc::from("init")),
            began: self.hlc,
            succeeded,
            lines,
        })
    }

    /// One for the schedule to queue, with nobody who waits for it.
    #[cfg(test)]
    pub(crate) fn of(running: Running, is_query: bool) -> TurnInProgress {
        TurnInProgress {
            running,
            kind: match is_query {
                true => TurnKind::Query,
                false => TurnKind::Update,
            },
            method: None,
            keyed: None,
            sent: None,
            seen: 0,
            is_used: false,
            hlc: Hlc::from_bits(0),
            deadline: Instant::now() + Duration::from_secs(600),
            epoch: 0,
            losses: 0,
            root: corelet_store::Standing::OF_NO_CONTEXT.root,
            version: 0,
            fuel_seen: 0,
            row: Row::NONE,
            fuel_counted: 0,
            chain: None,
            waits: None,
            promise: None,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Who waits for it, if it was asked.
    pub(crate) fn chain(&self) -> Option<&Arc<Link>> {
        self.chain.as_ref()
    }

    /// How many contexts wait for it.
    pub(crate) fn depth(&self) -> usize {
        depth_below(self.chain.as_deref())
    }

    fn is_given_up(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.is_given_up())
    }

    /// What it has used since it was last asked.
    fn see_fuel(&mut self) -> u64 {
        let fuel = self.running.fuel_used();
        let spent = fuel.saturating_sub(self.fuel_seen);
        self.fuel_seen = self.fuel_seen.max(fuel);
        spent
    }

    /// Notes for which answer it waits.
    pub(crate) fn wait_for_answer(&mut self, link: Arc<Link>) {
        self.waits = Some(link);
    }

    /// Gives it the answer that it waits for. What others have used for that is its own fuel, but
    /// their contexts have paid for it already.
    pub(crate) fn take_answer(&mut self, answered: Answered) {
        self.waits = None;
        self.fuel_seen = self.fuel_seen.saturating_add(answered.fuel_used);
        self.running.answer(answered);
    }

    pub(crate) fn promise_to(&mut self, promise: Promise<TurnEnd>) {
        self.promise = Some(promise);
    }
}

/// What the guest is told of the version of the state that an update begins with.
fn version_of_update(context: &Context) -> u64 {
    let unsettled = u64::from(context.unsettled_writes.get());
    context.standing.get().version + unsettled
}

/// What a hook runs in, if that is not what its context runs now.
fn new_module(what: &What) -> Option<&Arc<Module>> {
    match what {
        What::Hook(hook) => hook.module.as_ref(),
        What::Query(_)
        | What::Update(_)
        | What::Init
        | What::Timer(_)
        | What::Stop
        | What::Sent(_)
        | What::Callback(_)
        | What::Heard(_) => None,
    }
}

/// Pending means that a slice has ended, or that the guest has a question: host functions wait
/// for nothing else, so there is nobody to wake us.
pub(crate) fn poll_slice(running: &mut Running) -> Poll<Finished> {
    Pin::new(running).poll(&mut std::task::Context::from_waker(Waker::noop()))
}

/// Gives the end to whoever waits, or back to the caller if nobody does.
fn deliver(promise: Option<Promise<TurnEnd>>, end: TurnEnd) -> Step {
    match promise {
        None => Step::Ended(end),
        Some(promise) => {
            promise.keep(end);
            Step::Delivered
        }
    }
}

/// Whether the guest is at fault, and neither the machine nor we.
pub(crate) fn is_the_guest_s(failure: &Failure) -> bool {
    !matches!(
        failure,
        Failure::State(_)
            | Failure::OurBug { .. }
            | Failure::MemoryFull { .. }
            | Failure::Busy { .. }
            | Failure::TimedOut { .. }
            | Failure::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_cannot_help_is_none_of_its_failures() {
        let what = "a test".to_owned();
        for (failure, guest_s) in [
            (Failure::WroteInQuery, true),
            (Failure::AskedInUpdate, true),
            (Failure::OutOfMemory { max: 1 }, true),
            (Failure::State("the disk is gone".into()), false),
            (Failure::OurBug { what }, false),
            (Failure::MemoryFull { used: 2, max: 1 }, false),
            (Failure::TimedOut { max: 1 }, false),
            (Failure::Cancelled, false),
            (
                Failure::Busy {
                    limit: "some_max",
                    used: 2,
                    max: 1,
                },
                false,
            ),
        ] {
            assert_eq!(is_the_guest_s(&failure), guest_s, "{failure}");
        }
    }
}
