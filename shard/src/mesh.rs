//! All mailboxes: how a shard asks another one, and how the answer finds back.
//!
//! Each shard may have a bounded number of requests outstanding at each other
//! shard, so a mailbox never overflows: see [`capacity`]. An answer comes back
//! through the asker's own mailbox with the ticket of its request. Owned by
//! the shard that asks.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use corelet_store::{ApplicationId, ShardId};
use corelet_wasm_host::Module;
use slab::Slab;

use crate::answer::{Promise, promise};
use crate::bounds::Bounds;
use crate::compiler::{self, Compiler, Task};
use crate::error::CallError;
use crate::mailbox::Outbox;
use crate::message::{Message, Request, Response};

/// Requests about contexts and applications as such, on top of calls, that a
/// shard may have outstanding at another one. Whoever makes, deletes, shows, lists
/// or looks for contexts shares these places with the changes of the directory
/// and what makes way for them, and has to try again when they are taken.
const HOUSEKEEPING_INFLIGHT_MAX: usize = 64;

/// Places in a shard's mailbox: requests from each other shard, answers to
/// our own from each other shard, what the compile threads hand back, and the
/// node's two orders.
pub(crate) fn capacity(shards: usize, bounds: &Bounds) -> usize {
    let calls = bounds.mesh_inflight_max + bounds.asking_queries_max + bounds.sends.running_max;
    let events = bounds.subscriptions.running_max + EVENT_NEWS_INFLIGHT_MAX;
    let peer = calls + events + HOUSEKEEPING_INFLIGHT_MAX + RECORDS_INFLIGHT_MAX;
    shards * peer * 2 + compiler::results_max(bounds) + 2
}

/// Changes of the directory that its keeper works on at a time. Each has at most
/// one news outstanding at each shard, so news are never refused.
pub(crate) const RECORDS_INFLIGHT_MAX: usize = 64;

/// Words that there are new events. Each shard gets the next one when it has taken the one before.
const EVENT_NEWS_INFLIGHT_MAX: usize = 1;

enum Waiting {
    Response(Promise<Response>),
    Module(Promise<Result<Arc<Module>, CallError>>),
}

/// A shard's view of the others.
pub(crate) struct Mesh {
    me: ShardId,
    outboxes: Vec<Outbox<Message>>,
    waiting: RefCell<Slab<Waiting>>,
    // Requests outstanding at each shard: calls, questions of queries, calls that contexts have
    // sent, what there is to be told of events, that there are new ones, news of the directory, and
    // housekeeping, which is all else.
    calls: Vec<Cell<usize>>,
    questions: Vec<Cell<usize>>,
    sends: Vec<Cell<usize>>,
    hearings: Vec<Cell<usize>>,
    event_news: Vec<Cell<usize>>,
    housekeeping: Vec<Cell<usize>>,
    news: Vec<Cell<usize>>,
    calls_max: usize,
    questions_max: usize,
    sends_max: usize,
    hearings_max: usize,
    compiler: Compiler,
}

impl Mesh {
    /// Has a compile thread remove components that are not `installed`.
    pub(crate) fn sweep_components(&self, installed: HashSet<ApplicationId>) {
        self.compiler.sweep(installed);
    }

    pub(crate) fn new(
        me: ShardId,
        outboxes: Vec<Outbox<Message>>,
        bounds: &Bounds,
        compiler: Compiler,
    ) -> Mesh {
        let shards = outboxes.len();
        Mesh {
            me,
            outboxes,
            waiting: RefCell::default(),
            calls: vec![Cell::new(0); shards],
            questions: vec![Cell::new(0); shards],
            sends: vec![Cell::new(0); shards],
            hearings: vec![Cell::new(0); shards],
            event_news: vec![Cell::new(0); shards],
            housekeeping: vec![Cell::new(0); shards],
            news: vec![Cell::new(0); shards],
            calls_max: bounds.mesh_inflight_max,
            questions_max: bounds.asking_queries_max,
            sends_max: bounds.sends.running_max,
            hearings_max: bounds.subscriptions.running_max,
            compiler,
        }
    }

    /// Messages in this shard's own mailbox.
    pub(crate) fn depth(&self) -> usize {
        self.outboxes[usize::from(self.me.number())].depth()
    }

    /// Asks another shard and waits for its answer.
    pub(crate) async fn ask(&self, to: ShardId, request: Request) -> Result<Response, CallError> {
        let at = usize::from(to.number());
        let (outstanding, max, limit) = match request {
            Request::Call { .. } => (&self.calls[at], self.calls_max, "mesh_inflight_max"),
            // Those whose queries have been stopped meanwhile keep their places.
            Request::Query { .. } => (
                &self.questions[at],
                self.questions_max,
                "asking_queries_max",
            ),
            // As many as a shard hands over at a time, so it is never refused one.
            Request::Take { .. } => (&self.sends[at], self.sends_max, "sends.running_max"),
            // The same of what handlers are told.
            Request::Hear { .. } => (
                &self.hearings[at],
                self.hearings_max,
                "subscriptions.running_max",
            ),
            Request::HearOf { .. } => (
                &self.event_news[at],
                EVENT_NEWS_INFLIGHT_MAX,
                "words of new events between two shards",
            ),
            Request::Learn(_) => (
                &self.news[at],
                RECORDS_INFLIGHT_MAX,
                "changes of names and applications under way",
            ),
            _ => (
                &self.housekeeping[at],
                HOUSEKEEPING_INFLIGHT_MAX,
                "requests beside calls between two shards",
            ),
        };
        let used = outstanding.get();
        if used >= max {
            return Err(CallError::Busy {
                limit,
                used: used as u64,
                max: max as u64,
            });
        }
        outstanding.set(used + 1);
        let (promise, answer) = promise();
        let ticket = self.waiting.borrow_mut().insert(Waiting::Response(promise));
        self.post(
            to,
            Message::Request {
                from: self.me,
                ticket,
                request,
            },
        );
        // Not cancelled when the caller goes away: the answer still comes, and
        // only then the place in the mailbox is free.
        let response = answer.await;
        response.ok_or_else(|| CallError::bug("a shard left a request unanswered"))
    }

    /// Answers a request of another shard.
    pub(crate) fn respond(&self, to: ShardId, ticket: usize, response: Response) {
        self.post(
            to,
            Message::Response {
                from: self.me,
                ticket,
                response,
            },
        );
    }

    /// Takes in an answer.
    pub(crate) fn take_response(&self, from: ShardId, ticket: usize, response: Response) {
        let at = usize::from(from.number());
        let outstanding = match response {
            Response::Call(_) => &self.calls[at],
            Response::Query(_) => &self.questions[at],
            Response::Take(_) => &self.sends[at],
            Response::Hear(_) => &self.hearings[at],
            Response::HearOf { .. } => &self.event_news[at],
            Response::Learn => &self.news[at],
            _ => &self.housekeeping[at],
        };
        outstanding.set(outstanding.get() - 1);
        match self.waiting.borrow_mut().remove(ticket) {
            Waiting::Response(promise) => promise.keep(response),
            Waiting::Module(_) => unreachable!("a ticket stays with what it was given for"),
        }
    }

    /// Has a component loaded (and compiled, if need be) by a compile thread.
    pub(crate) async fn load(&self, task: Task) -> Result<Arc<Module>, CallError> {
        let (promise, answer) = promise();
        let ticket = self.waiting.borrow_mut().insert(Waiting::Module(promise));
        let reply_to = self.outboxes[usize::from(self.me.number())].clone();
        if let Err(error) = self.compiler.submit(task, reply_to, ticket) {
            self.waiting.borrow_mut().remove(ticket);
            return Err(error);
        }
        answer
            .await
            .ok_or_else(|| CallError::bug("a compile thread left a task undone"))?
    }

    /// Takes in what a compile thread has done.
    pub(crate) fn take_loaded(&self, ticket: usize, result: Result<Arc<Module>, CallError>) {
        match self.waiting.borrow_mut().remove(ticket) {
            Waiting::Module(promise) => promise.keep(result),
            Waiting::Response(_) => unreachable!("a ticket stays with what it was given for"),
        }
    }

    fn post(&self, to: ShardId, message: Message) {
        if self.outboxes[usize::from(to.number())]
            .post(message)
            .is_err()
        {
            unreachable!("a mailbox has a place for everything that may be outstanding");
        }
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::{ContextId, ShardCount};
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::{Call, DirectoryChange};

    fn call(context: ContextId) -> Request {
        let call = Call {
            method: "get".into(),
            args: "{}".into(),
            caller: Arc::from("caller"),
            key: None,
        };
        Request::Call { context, call }
    }

    fn keeper() -> ShardId {
        ShardId::new(0, ShardCount::new(2).unwrap()).unwrap()
    }

    /// Asks the other shard: the bound that refuses it, or none if the request is
    /// on its way.
    fn ask(bench: &Bench, request: Request) -> Option<(&'static str, u64, u64)> {
        let mut asking = Box::pin(bench.shard.mesh.ask(keeper(), request));
        block_on(poll_once(&mut asking)).map(|refused| match refused {
            Err(CallError::Busy { limit, used, max }) => (limit, used, max),
            _ => panic!("nobody has answered"),
        })
    }

    #[test]
    fn all_but_calls_and_news_share_the_places_of_housekeeping() {
        let bench = Bench::new(Disk::new());
        let id = fixture::id(1);
        let ask = |request| ask(&bench, request);
        let name: Arc<str> = Arc::from("room");
        let record = || DirectoryChange::RemoveName {
            name: Arc::clone(&name),
            context: id,
        };
        for n in 0..HOUSEKEEPING_INFLIGHT_MAX {
            let request = match n % 4 {
                0 => Request::Show { id },
                1 => Request::Delete { id },
                2 => Request::Record(record()),
                _ => Request::List {
                    after: None,
                    limit: 1,
                },
            };
            assert_eq!(ask(request), None);
        }
        let max = HOUSEKEEPING_INFLIGHT_MAX as u64;
        let refused = Some(("requests beside calls between two shards", max, max));
        assert_eq!(ask(Request::Show { id }), refused);
        assert_eq!(ask(Request::Record(record())), refused);
        assert_eq!(ask(call(id)), None);
        assert_eq!(ask(Request::Learn(record())), None);
    }

    #[test]
    fn so_many_calls_are_outstanding_at_a_shard_and_the_next_one_is_refused() {
        const CALLS_MAX: usize = 5;
        let bounds = Bounds {
            mesh_inflight_max: CALLS_MAX,
            ..Bounds::default()
        };
        let mut bench = Bench::bounded(Disk::new(), bounds);
        let id = fixture::id(1);
        for _ in 0..CALLS_MAX {
            assert_eq!(ask(&bench, call(id)), None);
        }
        let max = CALLS_MAX as u64;
        let refused = Some(("mesh_inflight_max", max, max));
        assert_eq!(ask(&bench, call(id)), refused);
        // What is refused takes no place of the mailbox, and no other's.
        assert_eq!(ask(&bench, Request::Show { id }), None);
        let in_mailbox = bench.shard.mesh.outboxes[0].depth();
        assert_eq!(in_mailbox, CALLS_MAX + 1);
        // An answer, even one that nobody waits for any more, frees one place.
        let Message::Request { ticket, .. } = block_on(bench.keeper.take()) else {
            panic!("a shard only asked");
        };
        let answer = Response::Call(Err(CallError::bug("nobody runs it here")));
        bench.shard.mesh.take_response(keeper(), ticket, answer);
        assert_eq!(ask(&bench, call(id)), None);
        assert_eq!(ask(&bench, call(id)), refused);
    }
}
