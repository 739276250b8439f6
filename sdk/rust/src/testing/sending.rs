//! The calls that a context in memory has sent to others, and those that others have sent to it.

use serde_json::Value;

use super::{Context, Failed, handled, parsed};
use crate::application::{Application, MethodKind};
use crate::calls::{CallFailed, ContextId, Outcome};
use crate::memory_host::{self, Sent};

/// A call that a context has sent to another.
#[derive(Debug, Clone, PartialEq)]
pub struct SentCall {
    /// Its name, as the application got it.
    pub name: String,
    /// The other context.
    pub to: ContextId,
    /// The method that is called.
    pub method: String,
    /// What it is called with.
    pub args: Value,
    /// The handler that is called when it has ended, and its data.
    pub callback: Option<(String, Value)>,
    /// How many calls in a row have led to it, each sent by the one before it; itself the last.
    pub depth: u32,
}

impl SentCall {
    fn of(sent: &Sent) -> SentCall {
        let callback = sent.callback.as_ref();
        SentCall {
            name: sent.name.clone(),
            to: sent.to,
            method: sent.method.clone(),
            args: parsed(&sent.args),
            callback: callback.map(|(handler, data)| (handler.clone(), parsed(data))),
            depth: sent.depth,
        }
    }
}

impl<A: Application> Context<A> {
    /// The calls that it has sent to others and that have not ended, oldest first.
    pub fn sent(&self) -> Vec<SentCall> {
        self.sent.iter().map(SentCall::of).collect()
    }

    /// Has all calls that were sent carried out by `deliver`, the oldest first, and then what they
    /// came to told to the handlers that wait for it, as the server does. One to this context itself is
    /// not given to `deliver`, but received here. What these send is carried out as well, and so on; a
    /// handler that fails is not called again. Gives what each call and its handler have answered.
    #[must_use = "a handler may have failed"]
    #[allow(clippy::type_complexity)] // two answers, of which one may be missing
    pub fn run_sent(
        &mut self,
        mut deliver: impl FnMut(&SentCall) -> Result<Value, Failed>,
    ) -> Vec<(Result<Value, Failed>, Option<Result<Value, Failed>>)> {
        let mut answers = Vec::new();
        while let Some(sent) = self.sent.front() {
            let (call, own) = (SentCall::of(sent), self.id());
            let answer = match call.to == own {
                true => self.receive(&own, &call),
                false => deliver(&call),
            };
            self.sent.pop_front();
            let told = call.callback.map(|(handler, data)| {
                let outcome = match &answer {
                    Ok(output) => Outcome::Ok(output.clone()),
                    Err(failed) => Outcome::Error(CallFailed::of(failed)),
                };
                let args = serde_json::json!({ "outcome": outcome, "data": data });
                let caller = std::mem::replace(&mut self.caller, caller_of(&call.to));
                let told = self.turn(true, || {
                    memory_host::with(|running| running.depth = call.depth);
                    handled(A::handle(&handler, args.to_string().as_bytes()))
                });
                self.caller = caller;
                told
            });
            answers.push((answer, told));
        }
        answers
    }

    /// Carries out a call that the context `from` has sent to this one. `#[inspect]` does not look at it.
    pub fn receive(&mut self, from: &ContextId, call: &SentCall) -> Result<Value, Failed> {
        let mut methods = A::DESCRIPTION.methods.iter();
        if methods.all(|method| method.name != call.method) {
            return Err(Failed::UnknownMethod);
        }
        let caller = std::mem::replace(&mut self.caller, caller_of(from));
        let (method, args) = (&call.method, call.args.clone());
        let answer = self.call_of(MethodKind::Update, method, args, Some(call));
        self.caller = caller;
        answer
    }
}

/// As whom a context calls others.
pub(super) fn caller_of(context: &ContextId) -> String {
    format!("corelet:context/{context}")
}
