//! Events of contexts in memory, and the handlers that are told of them.

use serde_json::Value;

use super::sending::caller_of;
use super::{Context, Event, Failed, handled};
use crate::application::Application;
use crate::calls::ContextId;
use crate::events::Subscription;
use crate::memory_host;

impl<A: Application> Context<A> {
    /// The subscriptions to events, its own and others'.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        memory_host::all_of(&self.state.subscriptions)
    }

    /// Tells the handlers that have subscribed to events of this context what they have not heard, as the
    /// server does, and then what these tell, and so on. One that fails is told again the next time that this
    /// is called. Gives the handlers that were called, and what they have answered.
    ///
    /// Panics if that does not end, as handlers tell each other more and more.
    pub fn run_events(&mut self) -> Vec<(String, Result<Value, Failed>)> {
        let mut answers: Vec<(String, Result<Value, Failed>)> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let failed = answers.iter().filter(|(_, answer)| answer.is_err());
            let failed: Vec<_> = failed.map(|(handler, _)| handler.clone()).collect();
            let events = self.events.clone();
            let told = self.tell(self.id(), &events, &failed);
            if told.is_empty() {
                return answers;
            }
            answers.extend(told);
        }
        panic!("handlers that hear what handlers tell go on without end");
    }

    /// Tells the handlers that have subscribed to events of another context what they have not
    /// heard. One that was subscribed without a number is told of all events there are, as nobody knows
    /// which came before. Gives the handlers that were called, and what they have answered.
    pub fn hear<B>(&mut self, other: &Context<B>) -> Vec<(String, Result<Value, Failed>)> {
        let source = ContextId::from_bytes(other.id);
        self.tell(source, &other.events, &[])
    }

    /// Tells the handlers that have subscribed to events of another context that it is gone.
    pub fn hear_end(&mut self, other: &ContextId) -> Vec<(String, Result<Value, Failed>)> {
        let told = self.listening_to(*other).into_iter().map(|handler| {
            let heard = heard(*other, Vec::new(), true);
            let answer = self.tell_one(*other, &handler, None, &heard);
            (handler, answer)
        });
        told.collect()
    }

    fn listening_to(&self, source: ContextId) -> Vec<String> {
        let all = self.state.subscriptions.keys();
        let to_source = all.filter(|(of, _)| *of == source);
        to_source.map(|(_, handler)| handler.clone()).collect()
    }

    fn tell(
        &mut self,
        source: ContextId,
        events: &[Event],
        but: &[String],
    ) -> Vec<(String, Result<Value, Failed>)> {
        let mut answers = Vec::new();
        for handler in self.listening_to(source) {
            let subscribed = self.state.subscriptions.get(&(source, handler.clone()));
            // One before it may have ended it.
            let Some(subscribed) = subscribed.filter(|_| !but.contains(&handler)) else {
                continue;
            };
            let after = subscribed.after.unwrap_or(0);
            let kind = subscribed.kind.as_ref();
            let is_wanted = |(sequence, event): &(u64, &Event)| {
                *sequence > after && kind.is_none_or(|kind| *kind == event.kind)
            };
            let told = |(sequence, event): (u64, &Event)| {
                serde_json::json!({
                    "sequence": sequence,
                    "kind": event.kind,
                    "payload": event.payload,
                })
            };
            let wanted = (1..).zip(events).filter(is_wanted);
            let wanted: Vec<_> = wanted.map(told).collect();
            if wanted.is_empty() {
                continue;
            }
            let heard = heard(source, wanted, false);
            let until = Some(events.len() as u64);
            let answer = self.tell_one(source, &handler, until, &heard);
            answers.push((handler, answer));
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
        let args = serde_json::json!({ "heard": heard }).to_string();
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

/// What a handler is told.
fn heard(source: ContextId, events: Vec<Value>, ended: bool) -> Value {
    serde_json::json!({
        "context": source,
        "events": events,
        "gap": null,
        "ended": ended,
    })
}
