//! What the application tells the world once a call is committed, and what it is told of what others
//! have. Lines for people are in `log.rs`.
//!
//! An event is for whoever reads the context's log from outside, and for handlers: a context can
//! subscribe one of its own to the events of another context of its node, or to its own.
//!
//! ```
//! use corelet_sdk::prelude::*;
//!
//! #[corelet::application]
//! pub struct Till {
//!     total: Register<u64>,
//! }
//!
//! #[corelet::methods]
//! impl Till {
//!     #[update]
//!     pub fn sell(&mut self, price: u64) {
//!         events::emit("sold", &price);
//!     }
//!
//!     /// Adds up what is sold at another till from now on.
//!     #[update]
//!     pub fn count(&mut self, till: ContextId) -> Result<(), Error> {
//!         Ok(events::subscribe(&till, "sold")?)
//!     }
//!
//!     #[handler]
//!     pub fn sold(&mut self, heard: Heard<u64>) {
//!         let sold: u64 = heard.events.iter().map(|event| event.payload).sum();
//!         self.total.set(&(self.total.get_or_default() + sold));
//!     }
//! }
//!
//! # fn main() {
//! # use corelet_sdk::testing::Context;
//! let [mut mine, mut yours] = [1, 2].map(|_| Context::<Till>::new());
//! yours.set_id([8; 32]);
//! mine.update("count", json!({ "till": yours.id() })).unwrap();
//! yours.update("sell", json!({ "price": 5 })).unwrap();
//! yours.update("sell", json!({ "price": 2 })).unwrap();
//! assert!(mine.hear(&yours).iter().all(|(_, told)| told.is_ok()));
//! assert_eq!(mine.run(|till| till.total.get()).unwrap(), Some(7));
//! # }
//! ```
//!
//! A handler is told events in their order, some at a time, and what it does for them happens once,
//! also if the server was restarted meanwhile. It is called with
//! [`context::caller_context`](crate::context::caller_context) as the context whose events they are. If it
//! returns an error or is stopped, nothing of it has happened: it is told the events again after a
//! while, one by one, and one with which it fails again and again is left out in the end, which the
//! context's log tells. Subscriptions belong to this node: other nodes of the context do not have them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calls::ContextId;
use crate::error::Error;
use crate::host;

/// Appends an event to the context's log. Nothing is told if the call fails.
///
/// Panics, which stops the call, if `payload` cannot be written as JSON (a map
/// whose keys are not strings).
pub fn emit<T: Serialize + ?Sized>(kind: &str, payload: &T) {
    match serde_json::to_vec(payload) {
        Ok(payload) => host::emit(kind, &payload),
        Err(error) => panic!("the payload of event `{kind}` is not JSON: {error}"),
    }
}

/// What a handler that has subscribed to events is told: its parameter `heard`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heard<T = Value> {
    /// Whose events they are.
    pub context: ContextId,
    /// Some events, in their order.
    pub events: Vec<Told<T>>,
    /// Events before those which cannot be told, as they are not kept any more, or as one is too long or
    /// nests too deep to be read.
    pub gap: Option<Gap>,
    /// Whether that context is gone. Then there is nothing else, and this is the last.
    pub ended: bool,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told<T = Value> {
    /// Its number in the log of its context.
    pub sequence: u64,
    /// What happened.
    pub kind: String,
    /// The details.
    pub payload: T,
}

/// Events that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The number of the first.
    pub from: u64,
    /// The number of the last.
    pub to: u64,
}

/// Which events of a context a handler is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Those of this kind alone.
    pub kind: Option<&'a str>,
    /// Those behind the one with this number; all that are kept behind 0. Without it those of calls that come
    /// behind this one.
    pub after: Option<u64>,
}

/// A subscription to events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Whose events.
    pub context: ContextId,
    /// The handler that is told.
    pub handler: String,
    /// Events of this kind alone.
    pub kind: Option<String>,
    /// The number of the event up to which it was told; none if that is not known yet, soon after
    /// it has subscribed.
    pub after: Option<u64>,
    /// How often it was tried to tell it the next event, which has failed.
    pub attempts: u32,
}

/// Has `handler` told of the events of a context, which may be this one: those of all calls that come
/// behind this one.
pub fn subscribe(context: &ContextId, handler: &str) -> Result<(), SubscribeError> {
    subscribe_to(context, handler, Wanted::default())
}

/// The same for some events alone, or beginning with earlier ones. What that handler was told of that
/// context before is replaced.
///
/// The length of the handler's name and the kind is bounded: more stops the call, and so does a
/// query that comes here.
pub fn subscribe_to(
    context: &ContextId,
    handler: &str,
    wanted: Wanted<'_>,
) -> Result<(), SubscribeError> {
    host::subscribe(context, handler, wanted.kind, wanted.after)
}

/// Has `handler` not told of the events of a context any more; tells whether it was.
pub fn unsubscribe(context: &ContextId, handler: &str) -> bool {
    host::unsubscribe(context, handler)
}

/// All subscriptions of this context.
pub fn subscribed() -> Vec<Subscription> {
    host::subscribed()
}

/// Why a handler is not subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeError {
    /// The id has not 32 bytes, as that of every [`ContextId`] has. A context that is not there can be subscribed
    /// to, and its end is told.
    UnknownContext,
    /// The context has as many subscriptions as it may.
    TooMany,
}

impl SubscribeError {
    /// What programs go by, in `snake_case`.
    pub fn code(&self) -> &'static str {
        match self {
            SubscribeError::UnknownContext => "unknown_context",
            SubscribeError::TooMany => "too_many",
        }
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubscribeError::UnknownContext => "there is no such context",
            SubscribeError::TooMany => "the context has as many subscriptions as it may",
        })
    }
}

impl std::error::Error for SubscribeError {}

/// With the [code](SubscribeError::code) of what went wrong.
impl From<SubscribeError> for Error {
    fn from(error: SubscribeError) -> Error {
        Error::new(error.code().to_owned(), error.to_string())
    }
}
