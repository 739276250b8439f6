//! Other contexts of the same node: their queries, and calls that are sent to their updates.
//!
//! ```
//! use corelet_sdk::prelude::*;
//!
//! #[corelet::application]
//! pub struct Shop {
//!     warehouse: Register<Option<ContextId>>,
//! }
//!
//! #[corelet::methods]
//! impl Shop {
//!     /// How many of an article are left in the warehouse.
//!     #[query]
//!     pub fn left(&self, article: String) -> Result<u64, Error> {
//!         let warehouse = self.warehouse.get().flatten();
//!         let warehouse = warehouse.ok_or_else(|| Error::new("no_warehouse", "there is none"))?;
//!         Ok(calls::query(&warehouse, "count", &json!({ "article": article }))?)
//!     }
//! }
//!
//! # fn main() {}
//! ```
//!
//! The other context's query is called by whoever called this one, and sees what is durable of its
//! own context at the moment at which it begins; two that are asked one after another have no
//! common moment. It may use what this call has left of its fuel and its time, and what it has
//! used counts as this call's own. Only queries may ask: in an update or `init` this stops the
//! call.
//!
//! An update does not ask, it sends: the other context's update is called once this call is
//! committed, exactly once in effect, and what it came to is told to a `#[handler]` of this application.
//!
//! ```
//! use corelet_sdk::prelude::*;
//!
//! #[corelet::application]
//! pub struct Purse {
//!     coins: Register<u64>,
//! }
//!
//! #[corelet::methods]
//! impl Purse {
//!     /// Gives coins to another purse.
//!     #[update]
//!     pub fn give(&mut self, to: ContextId, coins: u64) -> Result<(), Error> {
//!         let left = self.coins.get_or_default().checked_sub(coins);
//!         self.coins.set(&left.ok_or_else(|| Error::new("too_few", "there are not so many"))?);
//!         calls::send_then(&to, "put", &json!({ "coins": coins }), "given", &coins)?;
//!         Ok(())
//!     }
//!
//!     /// Takes them back if they were not taken.
//!     #[handler]
//!     pub fn given(&mut self, outcome: Outcome, data: u64) {
//!         if let Outcome::Error(_) = outcome {
//!             self.put(data);
//!         }
//!     }
//!
//!     /// Puts coins into the purse.
//!     #[update]
//!     pub fn put(&mut self, coins: u64) {
//!         self.coins.set(&(self.coins.get_or_default() + coins));
//!     }
//! }
//!
//! # fn main() {
//! # use corelet_sdk::testing::Context;
//! let [mut mine, mut yours] = [1, 2].map(|_| Context::<Purse>::new());
//! yours.set_id([8; 32]);
//! mine.update("put", json!({ "coins": 5 })).unwrap();
//! mine.update("give", json!({ "to": yours.id(), "coins": 3 })).unwrap();
//! let from = mine.id();
//! for (put, told) in mine.run_sent(|call| yours.receive(&from, call)) {
//!     assert!(put.is_ok() && matches!(told, Some(Ok(_))));
//! }
//! assert_eq!(yours.run(|purse| purse.coins.get()).unwrap(), Some(3));
//! # }
//! ```
//!
//! Whoever knows the id of a context can send it calls, of each of its updates; and who is sent one is
//! told the id of who sends it. So an update that is not for everybody looks at its
//! [`caller_context`](crate::context::caller_context) or [`caller`](crate::context::caller) first. The purse
//! above does not, so whoever knows it has it give its coins away.
//!
//! Calls to one context are carried out in the order in which they were sent, and their callbacks are
//! called in that order. If an update or its callback returns an error or is stopped, nothing of it has
//! happened; the callback is then called again after a while, and given up in the end.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::host;

pub use crate::context_id::{BadContextId, ContextId};

/// Why another context's query was not answered.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryError {
    /// This node has no such context.
    UnknownContext,
    /// Its application has no such method.
    UnknownMethod,
    /// The method is an update.
    NotAQuery,
    /// The other application said no.
    Application(Value),
    /// The query was stopped, or could not be run: the name of the error as the server gives it
    /// to clients, such as `trapped` or `out_of_fuel`.
    Failed(String),
    /// Others use what there is of something, for now: the name of the bound.
    Busy(String),
    /// The context is this one, or one of those that wait for this call's answer.
    Cycle,
    /// As many contexts wait for each other already as may.
    TooDeep,
    /// The answer is not of the type that was expected.
    Unreadable(String),
}

/// Asks the query `method` of another context, with `args` as an object of one member per
/// parameter, and waits for its answer.
///
/// A call causes 100 queries at most, those included that the other ones ask, if the server
/// is not set otherwise: the one that asks one more is stopped.
///
/// Panics, which stops the call, if `args` cannot be written as JSON.
pub fn query<T: DeserializeOwned>(
    context: &ContextId,
    method: &str,
    args: &(impl Serialize + ?Sized),
) -> Result<T, QueryError> {
    let args = match serde_json::to_vec(args) {
        Ok(args) => args,
        Err(error) => panic!("the arguments of `{method}` are not JSON: {error}"),
    };
    let answer = host::query(context, method, &args)?;
    serde_json::from_slice(&answer).map_err(|error| QueryError::Unreadable(error.to_string()))
}

/// Has the update `method` of another context called, with `args` as an object of one member per
/// parameter, when this call is committed; gives a name for that, unique in this context. The other one
/// sees this context as its [`caller`](crate::context::caller_context).
///
/// Panics, which stops the call, if `args` cannot be written as JSON. How many calls one call
/// sends, and how long each is, is bounded: more stops the call, and so does a query that comes here.
pub fn send(
    context: &ContextId,
    method: &str,
    args: &(impl Serialize + ?Sized),
) -> Result<String, SendError> {
    host::send(context, method, &json(method, args), None)
}

/// The same, and `handler` is called when that has ended, with an [`Outcome`] as its parameter
/// `outcome` and with `data` as its parameter `data`.
pub fn send_then(
    context: &ContextId,
    method: &str,
    args: &(impl Serialize + ?Sized),
    handler: &str,
    data: &(impl Serialize + ?Sized),
) -> Result<String, SendError> {
    let callback = (handler, &json(handler, data)[..]);
    host::send(context, method, &json(method, args), Some(callback))
}

fn json(whose: &str, value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(json) => json,
        Err(error) => panic!("what `{whose}` is given is not JSON: {error}"),
    }
}

/// What a call that was sent has come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T = Value> {
    /// It was carried out, and this is its answer.
    Ok(T),
    /// It was carried out, and its answer is not of the type that was expected: why not. What
    /// another context's application answers is its own affair.
    Unreadable(String),
    /// It was not, and nothing of it has happened.
    Error(CallFailed),
}

/// As a handler is told it: what another application has answered is none of the handler's
/// mistakes, so it is read whatever that is.
impl<'de, T: DeserializeOwned> Deserialize<'de> for Outcome<T> {
    fn deserialize<D: Deserializer<'de>>(told: D) -> Result<Outcome<T>, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Told {
            Ok(Box<RawValue>),
            Error(CallFailed),
        }
        Ok(match Told::deserialize(told)? {
            Told::Ok(answer) => match serde_json::from_str(answer.get()) {
                Ok(answer) => Outcome::Ok(answer),
                Err(error) => Outcome::Unreadable(error.to_string()),
            },
            Told::Error(failed) => Outcome::Error(failed),
        })
    }
}

/// Why a call that was sent was not carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallFailed {
    /// What programs go by: the name of the error as the server gives it to clients, such as
    /// `unknown_method` or `trapped`; `application_error` if the other application said no,
    /// `not_an_update` if the method is a query, and `outcome_forgotten` if this context was deleted
    /// and brought back since, and the other one has taken a call of it then.
    pub code: String,
    /// What the other application said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// Why a call is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// There is no context with such an id.
    UnknownContext,
    /// As many calls as may, or as many bytes of them, were sent and have not ended.
    TooMany,
    /// So many calls have caused this one, each sent by the one before it, as may.
    TooDeep,
}

impl SendError {
    /// What programs go by, in `snake_case`.
    pub fn code(&self) -> &'static str {
        match self {
            SendError::UnknownContext => "unknown_context",
            SendError::TooMany => "too_many",
            SendError::TooDeep => "too_deep",
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::UnknownContext => "there is no such context",
            SendError::TooMany => "too many calls were sent that have not ended; try again later",
            SendError::TooDeep => "too many calls have caused each other",
        })
    }
}

impl std::error::Error for SendError {}

/// With the [code](SendError::code) of what went wrong.
impl From<SendError> for Error {
    fn from(error: SendError) -> Error {
        Error::new(error.code().to_owned(), error.to_string())
    }
}

impl QueryError {
    /// What another application's error says, as far as it can be read.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn application(error: &[u8]) -> QueryError {
        QueryError::Application(serde_json::from_slice(error).unwrap_or(Value::Null))
    }

    /// What programs go by, in `snake_case`.
    pub fn code(&self) -> &str {
        match self {
            QueryError::UnknownContext => "unknown_context",
            QueryError::UnknownMethod => "unknown_method",
            QueryError::NotAQuery => "not_a_query",
            QueryError::Application(_) => "application_error",
            QueryError::Failed(name) => name,
            QueryError::Busy(_) => "busy",
            QueryError::Cycle => "cycle",
            QueryError::TooDeep => "too_deep",
            QueryError::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::UnknownContext => f.write_str("there is no such context"),
            QueryError::UnknownMethod => f.write_str("its application has no such method"),
            QueryError::NotAQuery => f.write_str("the method is an update"),
            QueryError::Application(error) => write!(f, "the other application said {error}"),
            QueryError::Failed(name) => write!(f, "the other query ended with {name}"),
            QueryError::Busy(limit) => write!(f, "{limit} is reached; try again later"),
            QueryError::Cycle => f.write_str("the context waits for this one"),
            QueryError::TooDeep => f.write_str("too many contexts wait for each other"),
            QueryError::Unreadable(why) => write!(f, "the answer is not as expected: {why}"),
        }
    }
}

impl std::error::Error for QueryError {}

/// With the [code](QueryError::code) of what went wrong.
impl From<QueryError> for Error {
    fn from(error: QueryError) -> Error {
        Error::new(error.code().to_owned(), error.to_string())
    }
}
