//! Queries of other contexts of the same node.
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

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
