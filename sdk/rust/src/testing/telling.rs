//! Events of contexts in memory, and the handlers that are told of them.

use serde_json::{Value, json};

use super::sending::caller_of;
use super::{Context, Event, Failed, handled};
use crate::application::Application;
use crate::calls::ContextId;
use crate::events::Subscription;
use crate::memory_host::{self, ARGS_BYTES, Subscribed, check_shallow};

impl<A: Application> Context<A> {
    /// The subscriptions to events, its own and others'.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        memory_host::all_of(&self.state.subscriptions)
    }

    /// Tells the handlers that have subscribed to events of this context what they have not heard, as the
    /// server does, so many with each call, and then what these tell, and so on. One that fails is told again
    /// the next time that this is called. Gives the handlers that were called, and what they have answered.
    ///
    /// Panics if that does not end, as handlers tell each other more and more.
    #[must_use = "a handler may have failed"]
    pub fn run_events(&mut self) -> Vec<(String, Result<Value, Failed>)> {
        let mut answers: Vec<(String, Result<Value, Failed>)> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let failed = answers.iter().filter(|(_, answer)| answer.is_err());
            let failed: Vec<_> = failed.map(|(handler, _)| handler.clone()).collect();
            let told = self.tell(self.id(), None, &failed);
            if told.is_empty() {
                return answers;
            }
            answers.extend(told);
        }
        panic!("handlers that hear what handlers tell go on without end");
    }

    /// Tells the handlers that have subscribed to events of another context what they have not heard, so
    /// many with each call, until one fails. One that was subscribed without a number is told of all events
    /// there are, as nobody knows which came before. Gives the handlers that were called, and what they have
    /// answered.
    #[must_use = "a handler may have failed"]
    pub fn hear<B>(&mut self, other: &Context<B>) -> Vec<(String, Result<Value, Failed>)> {
        let source = ContextId::from_bytes(other.id);
        self.tell(source, Some(&other.events), &[])
    }

    /// Tells the handlers that have subscribed to events of another context that it is gone.
    #[must_use = "a handler may have failed"]
    pub fn hear_end(&mut self, other: &ContextId) -> Vec<(String, Result<Value, Failed>)> {
        let told = self.listening_to(*other).into_iter().map(|handler| {
            let heard = heard(*other, Vec::new(), None, true);
            let answer = self.tell_one(*other, &handler, None, &heard);
            (handler, answer)
        });
        told.collect()
    }

    /// In the order in which they have subscribed.
    fn listening_to(&self, source: ContextId) -> Vec<String> {
        let all = self.state.subscriptions.iter();
        let to_source = all.filter(|it| it.source == source);
        to_source.map(|it| it.handler.clone()).collect()
    }

    /// Tells handlers of these events, or of its own that there are.
    fn tell(
        &mut self,
        source: ContextId,
        others: Option<&[Event]>,
        but: &[String],
    ) -> Vec<(String, Result<Value, Failed>)> {
        let mut answers = Vec::new();
        let last = others.map_or(self.events.len(), <[Event]>::len);
        for handler in self.listening_to(source) {
            if but.contains(&handler) {
                continue;
            }
            // Each time one event at least.
            for _ in 0..=last {
                let there = others.map_or(self.events.len(), <[Event]>::len) as u64;
                let mut all = self.state.subscriptions.iter_mut();
                // It, or one before it, may have ended it.
                let Some(subscribed) = all.find(|it| it.is(&source, &handler)) else {
                    break;
                };
                // The server goes on from the last event as well, if there is none with the number.
                subscribed.after = subscribed.after.map(|after| after.min(there));
                let events = others.unwrap_or_else(|| &self.events[..last]);
                let Some(parcel) = Parcel::next(subscribed, events) else {
                    break;
                };
                let heard = heard(source, parcel.events, parcel.gap, false);
                let answer = self.tell_one(source, &handler, Some(parcel.until), &heard);
                let is_over = answer.is_err();
                answers.push((handler.clone(), answer));
                if is_over {
                    break;
                }
            }
        }
        answers
    }

    fn tell_one(
        &mut self,
        source: ContextId,
        handler: &str,
        until: Option<u64>,
        heard: &Value,
    ) -> Result<Value, Failed> {
        let args = json!({ "heard": heard }).to_string();
        let before = std::mem::replace(&mut self.caller, caller_of(&source));
        let answer = self.turn(true, || {
            memory_host::hear(&source, handler, until);
            handled(A::handle(handler, args.as_bytes()))
        });
        self.caller = before;
        answer
    }
}

/// How often in a row handlers are told what handlers have told.
const ROUNDS_MAX: usize = 1_000;

/// Events that a handler is told with one call, and the bytes of those behind the first.
const EVENTS_TOLD_MAX: usize = 100;
const BYTES_TOLD_MAX: usize = 256 << 10;

/// What the arguments have around the events.
const AROUND_EVENTS_BYTES: usize = 256;

/// What a handler is told with one call.
struct Parcel {
    events: Vec<Value>,
    /// The first and the last event before those that cannot be told.
    gap: Option<(u64, u64)>,
    until: u64,
}

impl Parcel {
    /// What is behind what it was told, if there is anything.
    fn next(subscribed: &Subscribed, events: &[Event]) -> Option<Parcel> {
        let after = subscribed.after.unwrap_or(0);
        let mut parcel = Parcel {
            events: Vec::new(),
            gap: None,
            until: after,
        };
        let kind = subscribed.kind.as_ref();
        let mut bytes = 0;
        for (sequence, event) in (1..).zip(events).skip(after as usize) {
            if kind.is_some_and(|kind| *kind != event.kind) {
                parcel.until = sequence;
                continue;
            }
            let own = bytes_told(event);
            let is_first = parcel.events.is_empty();
            if parcel.events.len() >= EVENTS_TOLD_MAX || (!is_first && bytes + own > BYTES_TOLD_MAX)
            {
                break;
            }
            let room = ARGS_BYTES.max as usize - AROUND_EVENTS_BYTES;
            if own > room || check_shallow(&event.payload).is_err() {
                if is_first {
                    // No handler could ever take it.
                    parcel.gap = Some((sequence, sequence));
                    parcel.until = sequence;
                }
                break;
            }
            bytes += own;
            parcel.until = sequence;
            parcel.events.push(json!({
                "sequence": sequence,
                "kind": event.kind,
                "payload": event.payload,
            }));
        }
        let is_something = !parcel.events.is_empty() || parcel.gap.is_some();
        is_something.then_some(parcel)
    }
}

/// What an event takes in the arguments at most: a character of its kind may be written as six.
fn bytes_told(event: &Event) -> usize {
    const AROUND: usize = 64;
    AROUND + 6 * event.kind.len() + event.payload.to_string().len()
}

/// What a handler is told.
fn heard(source: ContextId, events: Vec<Value>, gap: Option<(u64, u64)>, ended: bool) -> Value {
    json!({
        "context": source,
        "events": events,
        "gap": gap.map(|(from, to)| json!({ "from": from, "to": to })),
        "ended": ended,
    })
}
