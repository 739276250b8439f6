//! One core's world, put together: its live contexts, and the calls on them.
//!
//! A [`Shard`] never leaves its thread. It is reached from outside through
//! `handle.rs`, from other shards through `serving.rs`. Making and deleting
//! contexts is in `contexts.rs`, which of them are in memory in `live.rs`, a call's turn in
//! `turn.rs`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{
    AnswerBounds, ApplicationId, ApplicationRecord, ContextId, NodeId, RequestDigest, Reuse,
    ShardCount, ShardId,
};
use corelet_wasm_host::{Failure, Host, MethodKind, Module};
use hashlink::LruCache;

use crate::answer::{Answer, Promise, promise};
use crate::blobs::BlobService;
use crate::bounds::Bounds;
use crate::clock::Clock;
use crate::commit_stage::CommitStage;
use crate::context::{Context, InUse};
use crate::copies::Copier;
use crate::delivery::Delivery;
use crate::directory::Directory;
use crate::error::CallError;
use crate::guest_log::GuestLogs;
use crate::inspecting::Arrived;
use crate::keyed::Keyed;
use crate::mesh::Mesh;
use crate::message::{Call, Reply};
use crate::query_cache::QueryCache;
use crate::ready::Job;
use crate::schedule::Schedule;
use crate::sends::Sends;
use crate::sequences::SequenceCache;
use crate::snapshots::Snapshots;
use crate::statistics::{Ended, Row, Statistics};
use crate::stats::ShardStats;
use crate::subscriptions::Subscriptions;
use crate::timers::Timers;
use crate::turn::{Begin, Durable, Executed, Step, TurnEnd, What};
use crate::uploads::UploadService;
use crate::warm_order::WarmOrder;
use crate::warm_sum::WarmSum;

/// One core's world.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) count: ShardCount,
    pub(crate) author: NodeId,
    pub(crate) bounds: Bounds,
    pub(crate) host: Arc<Host>,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) clock: Clock,
    pub(crate) snapshots: Rc<Snapshots>,
    pub(crate) commits: CommitStage,
    pub(crate) copier: Copier,
    pub(crate) blobs: BlobService,
    pub(crate) uploads: UploadService,
    /// For how long answers are kept under keys.
    pub(crate) answers: AnswerBounds,
    pub(crate) guest_logs: Rc<GuestLogs>,
    pub(crate) schedule: Schedule,
    pub(crate) directory: Directory,
    pub(crate) mesh: Mesh,
    /// Who waits for which application's module to be loaded.
    pub(crate) loading:
        RefCell<HashMap<ApplicationId, Vec<Promise<Result<Arc<Module>, CallError>>>>>,
    /// Changes of the directory in the making, if this is its keeper.
    pub(crate) recording: Cell<usize>,
    /// Applications in the making, if this is the keeper: how often each, and the newest record.
    pub(crate) installing: RefCell<HashMap<ApplicationId, (usize, Arc<ApplicationRecord>)>>,
    /// Contexts in the making here, with their applications, and those that are about to get
    /// another one; and how often each.
    pub(crate) creating: RefCell<HashMap<(ContextId, ApplicationId), usize>>,
    /// Contexts that deltas of other nodes are delivered to.
    pub(crate) delivering: RefCell<HashMap<ContextId, Delivery>>,
    /// The live contexts, least recently called first to go.
    pub(crate) contexts: RefCell<LruCache<ContextId, Rc<Context>>>,
    /// Contexts that are out of service, and why.
    pub(crate) quarantined: RefCell<HashMap<ContextId, Arc<str>>>,
    /// Those of them that have warm instances.
    pub(crate) warm: WarmOrder,
    /// How many these are, and of how many bytes.
    pub(crate) warm_sum: Rc<WarmSum>,
    /// Answers to queries that may be repeated.
    pub(crate) query_cache: QueryCache,
    /// Lists and texts in memory.
    pub(crate) sequences: Rc<SequenceCache>,
    /// Who has timers.
    pub(crate) timers: Timers,
    /// Who has sent calls to others.
    pub(crate) sends: Sends,
    /// Whose handlers are to be told of events.
    pub(crate) subscriptions: Subscriptions,
    /// What was counted of contexts, as far as it is not where it is kept.
    pub(crate) statistics: Statistics,
}

impl Shard {
    /// The shard that owns a context.
    pub(crate) fn owner(&self, context: &ContextId) -> ShardId {
        ShardId::of(context, self.count)
    }

    /// Runs a call on a context of this shard, from its queue to its answer.
    pub(crate) async fn call_here(
        self: &Rc<Self>,
        id: ContextId,
        call: Call,
    ) -> Result<Reply, CallError> {
        self.check_service(id)?;
        let end = self.answer_call(id, call).await;
        self.quarantine_if_damaged(id, &end);
        end
    }

    async fn answer_call(self: &Rc<Self>, id: ContextId, call: Call) -> Result<Reply, CallError> {
        let started = Instant::now();
        let context = self.reach(id).await?;
        let (row, method) = self.method_of(&context, &call.method);
        let kind = method.as_ref().map(|(_, kind)| *kind);
        let (bytes_in, is_keyed) = (call.args.len(), call.key.is_some());
        let calls_max = self.host.limits().context_calls_per_second;
        let end = match context.rate.admit(started, calls_max) {
            Ok(()) => {
                self.answer_method(&context, row, method, call, started)
                    .await
            }
            Err(refused) => Err(refused),
        };
        let took = started.elapsed();
        match kind {
            Some(_) if end.is_err() || is_keyed => {}
            Some(MethodKind::Query) => self.count_query(took),
            Some(MethodKind::Update) => {
                self.stats.updates.one();
                self.stats.update_micros.observe_micros(took);
            }
            None => {}
        }
        let outcome = end.as_ref().map(|reply| reply.output.len());
        let ended = Ended {
            bytes_in,
            took,
            outcome,
        };
        self.count_call(&context, row, ended);
        end
    }

    async fn answer_method(
        self: &Rc<Self>,
        context: &InUse,
        row: Row,
        method: Option<(Arc<str>, MethodKind)>,
        call: Call,
        started: Instant,
    ) -> Result<Reply, CallError> {
        let limits = self.host.limits();
        let (name, kind) = match method {
            Some((name, MethodKind::Update)) => (name, MethodKind::Update),
            found => {
                // It may have been an update of the application that the context had before.
                if let Some(key) = call.key {
                    let request = RequestDigest::of(&call.method, &call.args);
                    let keyed = Keyed { key, request };
                    if let Some(reply) = Box::pin(self.told_under(context, keyed)).await {
                        return reply;
                    }
                }
                found.ok_or_else(|| unknown_method(context, &call.method))?
            }
        };
        let what = match kind {
            MethodKind::Query => What::Query(name),
            MethodKind::Update => What::Update(name),
        };
        let may_repeat =
            kind == MethodKind::Query && call.key.is_none() && self.may_repeat(context);
        if may_repeat {
            let asked = (&call.method[..], &call.args[..]);
            if let Some(reply) = self.told_before(context, asked, &call.caller) {
                return Ok(reply);
            }
        }
        let asked = may_repeat.then(|| (call.args.clone(), Arc::clone(&call.caller)));
        let mut begin = Begin {
            what,
            row,
            args: call.args,
            caller: call.caller,
            deadline: started + Duration::from_millis(limits.call_time_max),
            upgrades: context.upgrades.get(),
            keyed: None,
            asked: None,
            promise: None,
        };
        if let Some(key) = call.key {
            if kind == MethodKind::Query {
                let method = String::from_utf8_lossy(&call.method).into_owned();
                return Err(CallError::KeyOnQuery { method });
            }
            let request = RequestDigest::of(&call.method, &begin.args);
            let keyed = Keyed { key, request };
            begin.keyed = Some(Box::new(keyed));
            // Boxed, because most calls have no key.
            let context = InUse::new(Rc::clone(context));
            return Box::pin(self.call_keyed(context, keyed, begin)).await;
        }
        let executed = self.execute(context, begin).await?;
        let repeatable = executed.repeatable;
        let reply = settle(executed).await?;
        if let (Some(repeatable), Some((args, caller))) = (repeatable, asked) {
            let asked = (&call.method[..], &args[..]);
            self.query_cache
                .keep(context.id, asked, caller, repeatable, &reply);
        }
        Ok(reply)
    }

    /// The method of a context's application that has this name and what it is, if there is one, and
    /// in which row of the statistics its calls are counted.
    pub(crate) fn method_of(
        &self,
        context: &Context,
        name: &[u8],
    ) -> (Row, Option<(Arc<str>, MethodKind)>) {
        let code = context.code();
        let named = std::str::from_utf8(name).ok();
        let description = code.module.description();
        let methods = description.methods();
        match named.and_then(|name| description.place_of(name)) {
            Some(place) => {
                let method = &methods[place];
                let found = (Arc::clone(&method.name), method.kind);
                (Row::of_method(place, context.upgrades.get()), Some(found))
            }
            None => {
                let row = Row::of_unknown(methods.len(), context.upgrades.get());
                (row, None)
            }
        }
    }

    /// In which row of a context's statistics its handlers are counted.
    pub(crate) fn row_of_handlers(&self, context: &Context) -> Row {
        let methods = context.code().module.description().methods().len();
        Row::of_handlers(methods, context.upgrades.get())
    }

    /// Whether answers to queries of this context are repeated.
    pub(crate) fn may_repeat(&self, context: &Context) -> bool {
        self.query_cache.is_used() && !context.deleted.get()
    }

    /// What a query was told before, by method and arguments, if it would be told the same.
    pub(crate) fn told_before(
        &self,
        context: &Context,
        asked: (&[u8], &[u8]),
        caller: &str,
    ) -> Option<Reply> {
        let version = context.standing.get().version;
        let once = context.code().reuse.get() == Reuse::Never;
        let found = self
            .query_cache
            .find(context.id, version, asked, caller, once)?;
        // Not for nothing: the context pays as for the cheapest turn.
        self.schedule.spend(context, 0);
        Some(found)
    }

    /// Counts a query that was answered.
    pub(crate) fn count_query(&self, took: Duration) {
        self.stats.queries.one();
        self.stats.query_micros.observe_micros(took);
    }

    /// Runs a turn to its end.
    pub(crate) async fn execute(
        self: &Rc<Self>,
        context: &Rc<Context>,
        begin: Begin,
    ) -> Result<Executed, CallError> {
        self.start(context, begin)?.end().await
    }

    /// Runs a call where it arrived if nothing speaks against it, else queues it.
    pub(crate) fn start(
        self: &Rc<Self>,
        context: &Rc<Context>,
        mut begin: Begin,
    ) -> Result<Started, CallError> {
        let is_exclusive = begin.is_exclusive();
        if is_exclusive {
            self.commits.check_room(0)?;
        }
        if begin.is_to_be_inspected(context) {
            begin = match self.inspect_arriving(context, begin)? {
                Arrived::Inspected(begin) => begin,
                Arrived::Queued(answer) => return Ok(Started::Queued(answer)),
            };
        }
        let query = (!is_exclusive).then(|| begin.depth());
        if !self.schedule.may_run_now(context, query) {
            // A context has one timer's run under way, few calls of other contexts and few handlers
            // that are told of events, and a shard has few: there is always a place for them, or
            // clients that keep the queue full would keep them out.
            if !begin.what.has_its_place() {
                self.schedule.check_room(context)?;
            }
            let (promise, answer) = promise();
            begin.promise = Some(promise);
            self.schedule.enqueue(context, begin);
            return Ok(Started::Queued(answer));
        }
        match self.begin(context, begin) {
            Step::Ended(end) => Ok(Started::Ended(end)),
            Step::More(mut turn) => {
                let (promise, answer) = promise();
                turn.promise_to(promise);
                self.schedule.requeue(context, turn);
                Ok(Started::Queued(answer))
            }
            Step::Asks(mut turn, question) => {
                let (promise, answer) = promise();
                turn.promise_to(promise);
                self.ask(context, turn, question);
                Ok(Started::Queued(answer))
            }
            Step::Delivered => unreachable!("a call that has not queued has no promise to keep"),
        }
    }

    /// Stops the calls of a context that have begun and not ended; tells how many. Those that
    /// wait go on.
    pub(crate) fn cancel_calls_here(&self, id: ContextId) -> Result<u64, CallError> {
        let Some(context) = self.live(id) else {
            return self.show_here(id).map(|_| 0);
        };
        let begun = self.schedule.take_begun(&context);
        let count = begun.len() as u64;
        for turn in begun {
            self.stop(&context, turn, Failure::Cancelled);
        }
        self.schedule.let_go(&context);
        Ok(count)
    }

    /// Stops the queries of a context that is gone which wait for other contexts. Those that run
    /// come to their end.
    pub(crate) fn cancel_asking(&self, context: &Rc<Context>) {
        for turn in self.schedule.take_asking(context) {
            self.stop(context, turn, Failure::Cancelled);
        }
        self.schedule.let_go(context);
    }

    /// The scheduler's task: serves the line in stretches, with a breath in
    /// between so that sockets and mailbox get their turn.
    pub(crate) async fn run_schedule(self: Rc<Self>) {
        loop {
            self.schedule.work().await;
            crate::rt::breathe().await;
            self.run_stretch();
        }
    }

    /// Runs what is in the line until it is time for a breath.
    pub(crate) fn run_stretch(self: &Rc<Self>) {
        self.schedule.stretch(|context, job| {
            let step = match job {
                Job::Begin(begin) => self.begin(context, begin),
                Job::Resume(turn) => self.resume(context, turn),
                Job::Inspect(update) => return self.inspect_queued(context, update),
            };
            self.carry_on(context, step);
        });
    }

    /// Sees to the rest of a turn that somebody waits for.
    pub(crate) fn carry_on(self: &Rc<Self>, context: &Rc<Context>, step: Step) {
        match step {
            Step::More(turn) => self.schedule.requeue(context, turn),
            Step::Asks(turn, question) => self.ask(context, turn, question),
            Step::Delivered => {}
            Step::Ended(_) => unreachable!("a queued call has a promise to keep"),
        }
    }

    /// Counts the end of what was asked from outside, or by another shard for
    /// somebody outside, if it was refused at a bound.
    pub(crate) fn counted<T>(&self, end: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(CallError::Busy { .. }) = &end {
            self.stats.refused.one();
        }
        end
    }

    /// Whether nothing is running, waiting or on its way to the disk.
    pub(crate) fn is_quiet(&self) -> bool {
        self.commits.is_idle()
            && self
                .contexts
                .borrow()
                .iter()
                .all(|(_, context)| context.is_idle())
    }
}

/// What is said of a method that a context's application does not have.
pub(crate) fn unknown_method(context: &Context, name: &[u8]) -> CallError {
    CallError::MethodNotFound {
        method: String::from_utf8_lossy(name).chars().take(128).collect(),
        application: context.code().application,
    }
}

/// A call that was not refused.
pub(crate) enum Started {
    Ended(TurnEnd),
    Queued(Answer<TurnEnd>),
}

impl Started {
    /// Waits until its turn has ended.
    pub(crate) async fn end(self) -> TurnEnd {
        match self {
            Started::Ended(end) => end,
            Started::Queued(answer) => answer
                .await
                .ok_or_else(|| CallError::bug("a queued call was forgotten"))?,
        }
    }
}

/// Waits until what a turn has done and seen is durable, and only then tells how
/// it ended.
pub(crate) async fn settle(executed: Executed) -> Result<Reply, CallError> {
    let (delta_id, root) = match executed.durable {
        Durable::Already(root) => (None, root),
        Durable::Receipt(receipt) => {
            let committed = receipt
                .await
                .ok_or_else(|| CallError::bug("a change was forgotten"))??;
            (committed.delta_id(), committed.root())
        }
        Durable::Seen(barrier) => {
            let root = barrier
                .await
                .ok_or_else(|| CallError::bug("a barrier was forgotten"))??;
            (None, root)
        }
        Durable::Init(_) => return Err(CallError::bug("an init was run as a call")),
        Durable::Hook(_) => return Err(CallError::bug("a hook was run as a call")),
    };
    Ok(Reply {
        output: executed.outcome?,
        delta_id,
        root,
        fuel_used: executed.fuel_used,
    })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;

    use bytes::Bytes;
    use corelet_store::{Refused, StoreError};
    use futures_lite::future::{block_on, poll_once};

    use crate::commit_stage::Report;
    use crate::error::CallError;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::{Call, Reply};

    type Calling<'a> = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + 'a>>;

    fn call<'a>(bench: &'a Bench, method: &'static str) -> Calling<'a> {
        let call = Call {
            method: Bytes::from_static(method.as_bytes()),
            args: Bytes::from_static(b"{}"),
            caller: Arc::from("caller"),
            key: None,
        };
        Box::pin(bench.shard.call_here(fixture::id(1), call))
    }

    fn now(calling: &mut Calling<'_>) -> Option<Result<Reply, CallError>> {
        block_on(poll_once(calling))
    }

    /// Its error may well tell of what it has seen.
    #[test]
    fn an_update_that_says_no_waits_for_what_it_has_seen() {
        for is_lost in [false, true] {
            let disk = Disk::new();
            disk.create(1);
            let bench = Bench::new(disk);
            let mut write = call(&bench, "keep");
            assert!(now(&mut write).is_none());
            let mut denied = call(&bench, "deny");
            assert!(now(&mut denied).is_none(), "it tells what may be lost");
            if is_lost {
                bench.queue.try_iter().for_each(drop);
                let report = Report::Failed(StoreError::MapFull { bytes_max: 1 });
                bench.shard.commits.settle(report, &bench.shard.snapshots);
                assert!(matches!(now(&mut write), Some(Err(CallError::Store(_)))));
                assert!(matches!(now(&mut denied), Some(Err(CallError::Store(_)))));
            } else {
                bench.commit();
                assert!(matches!(now(&mut write), Some(Ok(_))));
                assert!(matches!(
                    now(&mut denied),
                    Some(Err(CallError::Guest { .. }))
                ));
            }
            // Nothing is on its way any more, so it is told at once.
            let mut denied = call(&bench, "deny");
            assert!(matches!(
                now(&mut denied),
                Some(Err(CallError::Guest { .. }))
            ));
        }
    }

    /// The root is of the moment that the answer rests on, whatever came after.
    #[test]
    fn an_update_without_effects_answers_with_the_root_that_it_has_seen() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let shard = &bench.shard;
        let context = block_on(shard.revive(fixture::id(1))).unwrap();
        let submit = |now, value| {
            let change = fixture::call(1, slot, now, &[("key", value)]);
            let bytes = change.bytes();
            let shown = fixture::shown_by(&change);
            shard
                .commits
                .submit(change, bytes, Some((&context, shown, None)))
                .unwrap()
        };
        let seen = submit(2, "seen");
        let barrier = shard.commits.barrier(&context, None);
        let later = submit(3, "later");
        bench.commit();
        let root = |receipt| {
            let committed: Result<corelet_store::Committed, CallError> = receipt;
            committed.unwrap().root()
        };
        let seen = root(block_on(seen).unwrap());
        assert_eq!(block_on(barrier).unwrap().unwrap(), seen);
        assert_ne!(root(block_on(later).unwrap()), seen);
    }

    /// Whoever has to stay now does not stay longer than those called after it.
    #[test]
    fn the_least_recently_called_context_that_may_go_is_forgotten() {
        let disk = Disk::new();
        let slots = [1, 2, 3, 4, 5].map(|n| disk.create(n));
        let bench = Bench::new(disk);
        let shard = &bench.shard;
        let live = || {
            let contexts = shard.contexts.borrow();
            let ids = contexts.iter().map(|(id, _)| id.as_bytes()[0]);
            ids.collect::<Vec<_>>()
        };
        let [used, unshown, ..] = [1, 2, 3, 4, 5].map(|n| {
            let context = block_on(shard.revive(fixture::id(n))).unwrap();
            Some(context).filter(|_| n < 3)
        });
        let change = fixture::call(2, slots[1], 2, &[("key", "value")]);
        let bytes = change.bytes();
        let unshown = unshown.unwrap();
        let shown = fixture::shown_by(&change);
        let _answer = shard
            .commits
            .submit(change, bytes, Some((&unshown, shown, None)))
            .unwrap();
        drop(unshown);
        bench.commit();
        assert_eq!(live(), [1, 2, 3, 4, 5]);

        assert!(shard.forget_one());
        assert_eq!(live(), [1, 2, 4, 5]);
        drop(used);
        assert!(shard.forget_one());
        assert_eq!(live(), [2, 4, 5]);
        assert!(shard.forget_one());
        assert_eq!(live(), [2, 5]);
        bench.checkpoint();
        assert!(shard.forget_one());
        assert_eq!(live(), [5]);
        assert!(shard.forget_one());
        assert!(!shard.forget_one());
        assert_eq!(shard.stats.live_contexts.get(), 0);
    }

    /// The commit thread remembers for a while what it has refused, and of how
    /// many losses those calls knew.
    #[test]
    fn a_context_that_comes_back_knows_of_what_it_has_lost_before() {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::new(disk);
        let shard = &bench.shard;
        let submit = |now| {
            let context = block_on(shard.revive(fixture::id(1))).unwrap();
            let change = fixture::call(1, slot, now, &[("key", "value")]);
            let bytes = change.bytes();
            let shown = fixture::shown_by(&change);
            let _answer = shard
                .commits
                .submit(change, bytes, Some((&context, shown, None)))
                .unwrap();
            bench.queue.try_recv().unwrap().losses
        };
        let refused = submit(2);
        let context = fixture::id(1);
        let report = Report::Durable {
            verdicts: vec![Err(Refused::BehindRefused { context })],
            shown: None,
        };
        shard.commits.settle(report, &shard.snapshots);
        assert!(shard.forget_one());
        let next = submit(3);
        assert!(next > refused, "{next} after {refused}");
    }
}
