//! A context without a server, for an application's own tests.
//!
//! Calls take the same way as in a component: through the dispatch that the
//! macros made, with arguments and answers as JSON, and with all effects
//! dropped when a method returns an error or panics. A query that emits
//! an event or writes is stopped, as the server does; so is an update that asks another context.
//! Whatever can be counted here is bounded as by a server that is not configured otherwise
//! ([`limits`]). What is missing is the server: no fuel, no bound on memory, nothing durable. Nodes
//! whose writes merge are in the crate `corelet-testkit`, on contexts such as these.

mod failed;
#[doc(hidden)]
pub mod replica;
mod sending;
mod telling;
mod upgrade;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::application::{Application, MethodKind};
use crate::calls::{ContextId, QueryError};
use crate::log::Level;
use crate::memory_host::{
    self, ARGS_BYTES, AskedInUpdate, Call, InvalidOutput, Limit, LimitReached, Misused,
    OUTCOME_BYTES, OUTPUT_BYTES, Open, Others, Sent, State, WroteInQuery,
};
use crate::returned::Reply;
use crate::timers::Timer;

pub use failed::Failed;
pub use sending::SentCall;

/// One context of the application `A`, in memory.
pub struct Context<A> {
    state: State,
    events: Vec<Event>,
    logs: Vec<(Level, String)>,
    caller: String,
    author: [u8; 32],
    now: u64,
    calls: u64,
    state_version: u64,
    others: Option<Others>,
    id: [u8; 32],
    sent: VecDeque<Sent>,
    /// What sets its chance apart from that of other contexts.
    seed: u64,
    /// The time up to which it has seen others write.
    seen_until: u64,
    /// Who makes durable what its calls do, if anybody does.
    keeper: Option<Rc<RefCell<dyn replica::Keeper>>>,
    application: PhantomData<A>,
}

/// Every limit that calls have here, by its name in the server's configuration.
pub fn limits() -> &'static [(&'static str, u64)] {
    memory_host::LIMITS
}

/// The durable entries by number only: tests print contexts when they fail.
impl<A> fmt::Debug for Context<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("entries", &self.state.len())
            .field("events", &self.events)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

/// What an application has told the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind of event it is.
    pub kind: String,
    /// Its payload.
    pub payload: Value,
}

/// The time of the first call: 2026-01-01T00:00:00Z in nanoseconds.
const FIRST_CALL_AT: u64 = 1_767_225_600_000_000_000;

impl<A: Application> Context<A> {
    /// A new context of an application whose `#[init]` takes nothing, or which
    /// has none. Panics if `init` fails.
    #[allow(clippy::new_without_default)] // it runs code that may panic
    pub fn new() -> Self {
        match Self::create(Value::Object(Default::default())) {
            Ok(context) => context,
            Err(failed) => panic!("init failed: {failed}"),
        }
    }

    /// A new context whose `#[init]` gets `args`.
    pub fn create(args: Value) -> Result<Self, Failed> {
        let mut context = Context::empty();
        context.init(&args)?;
        Ok(context)
    }

    /// One whose `#[init]` has not run.
    fn empty() -> Self {
        Context {
            state: State::default(),
            events: Vec::new(),
            logs: Vec::new(),
            caller: "tester".to_owned(),
            author: [1; 32],
            now: FIRST_CALL_AT,
            calls: 0,
            state_version: 0,
            others: None,
            id: [7; 32],
            sent: VecDeque::new(),
            seed: 0,
            seen_until: 0,
            keeper: None,
            application: PhantomData,
        }
    }

    fn init(&mut self, args: &Value) -> Result<(), Failed> {
        let args = args.to_string();
        check(ARGS_BYTES, args.len())?;
        self.turn(true, || said(A::init(args.as_bytes())))
    }

    /// Calls the update `method`; all that it did stays if it answers. `#[inspect]` looks at it first,
    /// as a query that is told of each other context that it asks that too many wait.
    pub fn update(&mut self, method: &str, args: Value) -> Result<Value, Failed> {
        let mut methods = A::DESCRIPTION.methods.iter();
        let is_there =
            methods.any(|found| found.name == method && found.kind == MethodKind::Update);
        if A::INSPECTS && is_there {
            self.inspect(method, &args.to_string())?;
        }
        self.call(MethodKind::Update, method, args)
    }

    /// Calls the query `method`.
    pub fn query(&mut self, method: &str, args: Value) -> Result<Value, Failed> {
        self.call(MethodKind::Query, method, args)
    }

    /// Runs `#[stop]`, as a server does that stops.
    pub fn stop(&mut self) -> Result<(), Failed> {
        self.by_the_node(true, A::stop)
    }

    /// Runs `#[low_memory]`, as a server does behind a call that has let memory grow.
    pub fn low_memory(&mut self) -> Result<(), Failed> {
        self.by_the_node(false, A::low_memory)
    }

    fn by_the_node(
        &mut self,
        may_write: bool,
        hook: impl FnOnce() -> Result<(), Vec<u8>>,
    ) -> Result<(), Failed> {
        let caller = std::mem::replace(&mut self.caller, "corelet:node".to_owned());
        let told = self.turn(may_write, || {
            memory_host::with(|call| call.asks_nobody = true);
            said(hook())
        });
        self.caller = caller;
        told
    }

    /// Runs `f` on the application as an update, past the dispatch: typed access for arranging a test.
    /// Whatever it gives is an answer, and what it has written stays: use [`Context::try_run`] for what
    /// may fail.
    pub fn run<T>(&mut self, f: impl FnOnce(&mut A) -> T) -> Result<T, Failed> {
        self.turn(true, || Ok(f(&mut A::open())))
    }

    /// The same, and nothing has happened if `f` gives an error, as when a method does.
    pub fn try_run<T, E: Serialize>(
        &mut self,
        f: impl FnOnce(&mut A) -> Result<T, E>,
    ) -> Result<T, Failed> {
        self.turn(true, || {
            f(&mut A::open()).map_err(|error| match serde_json::to_value(error) {
                Ok(error) => Failed::Error(error),
                Err(error) => panic!("what was returned is not JSON: {error}"),
            })
        })
    }

    /// Events of all calls that answered, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Lines of all calls, also of those that failed.
    pub fn logs(&self) -> &[(Level, String)] {
        &self.logs
    }

    /// The durable entries as they are stored, for tests of the layout. What is in
    /// [`Owned`](crate::collections::Owned) and [`Private`](crate::collections::Private)
    /// collections is apart.
    pub fn entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.state.shared
    }

    /// The entries that belong to authors, each under its author's public key.
    pub fn owned_entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.state.owned
    }

    /// The entries that stay on their node.
    pub fn private_entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.state.private
    }

    /// Makes a blob one of those that the node has, as if it had been uploaded.
    pub fn add_blob(&mut self, blob: &str, size: u64) {
        self.state.blobs.insert(blob.to_owned(), size);
    }

    /// The blobs that are attached, and their sizes.
    pub fn attached(&self) -> &BTreeMap<String, u64> {
        &self.state.attached
    }

    /// The stable memory: all of it, also what nobody has written to and is zero.
    pub fn stable(&self) -> Vec<u8> {
        self.state.stable.to_vec()
    }

    /// Puts a value below the shared `key` as another node can, which keeps to no type of this
    /// application and no bound on keys but 503 bytes: it is written once, so no removal takes it.
    /// For tests that walks and removals go on around it.
    pub fn plant(&mut self, key: &[u8], value: &[u8]) {
        self.state.plant(key, value);
    }

    /// The same at the end of the list under the shared `key`, which another node can make as large
    /// as it likes.
    pub fn plant_element(&mut self, key: &[u8], value: &[u8]) {
        self.state.plant_element(key, value);
    }

    /// The timers that are armed, by name.
    pub fn timers(&self) -> Vec<Timer> {
        self.state.timers.values().map(Timer::of).collect()
    }

    /// Runs the handlers of all timers that are due at the time of the next calls, the earliest
    /// first, and tells what each has answered. A periodic one runs once, however many of its times
    /// have passed, and is armed for the next; one whose handler fails stays armed, with
    /// one attempt more, for the next time that this is called.
    #[must_use = "a handler may have failed"]
    pub fn run_due(&mut self) -> Vec<(String, Result<Value, Failed>)> {
        let is_due = |timer: &&memory_host::Timer| timer.at <= self.now;
        let due = self.state.timers.values().filter(is_due);
        let mut due: Vec<_> = due.map(|timer| (timer.at, timer.name.clone())).collect();
        due.sort();
        let mut answers = Vec::new();
        for (at, name) in due {
            let timer = self.state.timers.get(&name).cloned();
            // One before it may have cancelled it or armed it anew.
            let Some(timer) = timer.filter(|timer| timer.at == at) else {
                continue;
            };
            let caller = std::mem::replace(&mut self.caller, "corelet:node".to_owned());
            let answer = self.turn(true, || {
                memory_host::end_run(&timer.name);
                handled(A::handle(&timer.handler, &timer.args))
            });
            self.caller = caller;
            if answer.is_err()
                && let Some(timer) = self.state.timers.get_mut(&name)
            {
                timer.attempts += 1;
            }
            answers.push((name, answer));
        }
        answers
    }

    /// What the other contexts answer that the next calls ask: to an id, a method and its
    /// arguments. Other `Context`s may [answer](Context::answer) for that, and ask others in turn.
    /// Without it there are none.
    pub fn set_others(
        &mut self,
        answer: impl Fn(&ContextId, &str, Value) -> Result<Value, QueryError> + 'static,
    ) {
        self.others = Some(Others(Rc::new(answer)));
    }

    /// Answers a query that another context asks, which waits for that: it is called by whoever called
    /// that one, and what it asks counts as asked by both.
    pub fn answer(&mut self, method: &str, args: Value) -> Result<Value, QueryError> {
        let mut methods = A::DESCRIPTION.methods.iter();
        if methods.all(|found| found.name != method) {
            return Err(QueryError::UnknownMethod);
        }
        Ok(self.query(method, args)?)
    }

    /// Its id: the same of each context, unless it is set.
    pub fn id(&self) -> ContextId {
        ContextId::from_bytes(self.id)
    }

    /// Gives it another id.
    pub fn set_id(&mut self, id: [u8; 32]) {
        self.id = id;
    }

    /// Who the next calls come from.
    pub fn set_caller(&mut self, caller: &str) {
        caller.clone_into(&mut self.caller);
    }

    /// Under whose public key the next calls write, as if on another node.
    pub fn set_author(&mut self, author: [u8; 32]) {
        self.author = author;
    }

    /// The time of the next calls, in nanoseconds since 1970. It stands still
    /// by itself.
    pub fn set_now(&mut self, nanos: u64) {
        self.now = nanos;
    }

    /// The time that the next call sees, in nanoseconds since 1970: that which was set, or that of what
    /// it has seen others write, if that is later.
    pub fn now(&self) -> u64 {
        self.now.max(self.seen_until)
    }

    /// Has its clock go on by so much.
    pub fn advance(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now = self.now.saturating_add(nanos);
    }

    fn call(&mut self, kind: MethodKind, method: &str, args: Value) -> Result<Value, Failed> {
        self.call_of(kind, method, args, None)
    }

    /// A call that another context may have sent.
    fn call_of(
        &mut self,
        kind: MethodKind,
        method: &str,
        args: Value,
        sent: Option<&SentCall>,
    ) -> Result<Value, Failed> {
        let mut methods = A::DESCRIPTION.methods.iter();
        if let Some(found) = methods.find(|found| found.name == method)
            && found.kind != kind
        {
            return Err(Failed::WrongKind { is: found.kind });
        }
        let args = args.to_string();
        check(ARGS_BYTES, args.len())?;
        self.turn(kind == MethodKind::Update, || {
            memory_host::with(|call| call.depth = sent.map_or(0, |sent| sent.depth));
            let reply = A::call(method, args.as_bytes());
            match sent.is_some_and(|sent| sent.callback.is_some()) {
                true => handled_and_told(reply),
                false => handled(reply),
            }
        })
    }

    fn inspect(&mut self, method: &str, args: &str) -> Result<(), Failed> {
        self.turn(false, || {
            memory_host::with(|call| call.asks_nobody = true);
            let Err(error) = A::inspect(method, args.as_bytes()) else {
                return Ok(());
            };
            Err(Failed::Refused(read("error", &error)?))
        })
    }

    fn turn<T>(
        &mut self,
        may_write: bool,
        f: impl FnOnce() -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        assert!(!memory_host::is_running(), "calls do not nest");
        self.calls += 1;
        memory_host::begin(Call {
            state: std::mem::take(&mut self.state),
            may_write,
            context_id: self.id,
            caller: self.caller.clone(),
            author: self.author,
            now: self.now(),
            seed: memory_host::chance_of(&self.id, self.seed.wrapping_add(self.calls)),
            number: self.calls,
            state_version: self.state_version,
            others: self.others.clone(),
            deeds: self.keeper.is_some().then(Vec::new),
            open: Open::of(&self.sent),
            ..Call::default()
        });
        let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
            Err(if panic.is::<WroteInQuery>() {
                Failed::WroteInQuery
            } else if panic.is::<AskedInUpdate>() {
                Failed::AskedInUpdate
            } else if let Some(LimitReached(limit)) = panic.downcast_ref() {
                Failed::of_limit(*limit)
            } else if let Some(Misused(message)) = panic.downcast_ref() {
                Failed::Misused(message.clone())
            } else if let Some(InvalidOutput(message)) = panic.downcast_ref() {
                Failed::InvalidOutput(message.clone())
            } else if let Some(message) = panic.downcast_ref::<&str>() {
                Failed::Panicked((*message).to_owned())
            } else if let Some(message) = panic.downcast_ref::<String>() {
                Failed::Panicked(message.clone())
            } else {
                Failed::Panicked("a panic without a message".to_owned())
            })
        });
        let mut call = memory_host::end();
        let (result, image) = match result {
            Ok(answer) => match self.keep(&mut call) {
                Ok(image) => (Ok(answer), image),
                Err(refused) => (Err(refused), None),
            },
            Err(failed) => (Err(failed), None),
        };
        if result.is_err() {
            call.roll_back();
        }
        let has_written = !call.replaced.is_empty()
            || call.attached_before.is_some()
            || call.timers_before.is_some()
            || call.stable_before.is_something()
            || call.subscriptions_before.is_some()
            || !call.sent.is_empty();
        self.state_version += u64::from(has_written);
        self.state = call.state;
        self.sent.extend(call.sent);
        self.logs.extend(call.logs);
        self.events
            .extend(call.events.into_iter().map(|(kind, payload)| Event {
                kind,
                payload: parsed(&payload),
            }));
        // What is told from now on.
        let (own, told) = (ContextId::from_bytes(self.id), self.events.len() as u64);
        for subscribed in &mut self.state.subscriptions {
            if subscribed.source == own && subscribed.after.is_none() {
                subscribed.after = Some(told);
            }
        }
        if let Some(image) = image {
            self.load(image);
        }
        result
    }
}

/// What was answered, within the bound of an answer.
fn handled(reply: Reply) -> Result<Value, Failed> {
    let (Ok(bytes) | Err(bytes)) = &reply;
    check(OUTPUT_BYTES, bytes.len())?;
    match reply {
        Ok(output) => read("answer", &output),
        Err(error) => Err(Failed::Error(read("error", &error)?)),
    }
}

/// The same of what a callback is told.
fn handled_and_told(reply: Reply) -> Result<Value, Failed> {
    let (what, bytes) = match &reply {
        Ok(output) => ("answer", output.len()),
        Err(error) => ("error", error.len()),
    };
    let answer = handled(reply);
    if let Ok(value) | Err(Failed::Error(value)) = &answer {
        check(OUTCOME_BYTES, bytes)?;
        let shallow = memory_host::check_shallow(value);
        shallow.map_err(|why| Failed::InvalidOutput(format!("its {what} is {why}")))?;
    }
    answer
}

/// JSON that nests no deeper than the server can read.
fn read(what: &str, json: &[u8]) -> Result<Value, Failed> {
    let read = serde_json::from_slice(json);
    read.map_err(|error| Failed::InvalidOutput(format!("its {what} is not JSON: {error}")))
}

/// The same of what answers nothing.
fn said(said: Result<(), Vec<u8>>) -> Result<(), Failed> {
    let Err(error) = said else { return Ok(()) };
    handled(Err(error)).map(drop)
}

fn check(limit: Limit, used: usize) -> Result<(), Failed> {
    match used as u64 <= limit.max {
        true => Ok(()),
        false => Err(Failed::of_limit(limit)),
    }
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("the SDK writes JSON")
}
