//! Why a call of a context in memory has not answered, for a test and for those who are told of it.

use std::fmt;

use serde_json::Value;

use crate::application::MethodKind;
use crate::calls::{CallFailed, QueryError};
use crate::memory_host::Limit;

/// Why a call did not answer. Nothing that it did has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Failed {
    /// The method returned this error, or the SDK refused the call.
    Error(Value),
    /// `#[inspect]` refused the update with this error, so that the method was not called.
    Refused(Value),
    /// The method panicked with this message.
    Panicked(String),
    /// A query tried to write.
    WroteInQuery,
    /// An update asked another context.
    AskedInUpdate,
    /// The method used an entry as what it is not, or wrote what another owns.
    Misused(String),
    /// The application has handed over what cannot be, such as a timer without a name.
    InvalidOutput(String),
    /// The call has gone beyond a limit of the server.
    Limit {
        /// Its name, as in the server's configuration.
        name: &'static str,
        /// What it allows, if the server is not configured otherwise.
        max: u64,
    },
    /// A call that was sent, or a query that was asked, is of a method that there is not.
    UnknownMethod,
    /// The method is of the other kind.
    WrongKind {
        /// What the method is.
        is: MethodKind,
    },
    /// What else a server may say, by its name, such as `unknown_context`, `out_of_fuel`, `timed_out`
    /// or `outcome_forgotten`. Nothing here does: it is for a test that answers for other contexts.
    Stopped(&'static str),
}

impl Failed {
    /// The `code` of the error that the method or `#[inspect]` returned, if it has one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Failed::Error(error) | Failed::Refused(error) => {
                error.get("code").and_then(Value::as_str)
            }
            _ => None,
        }
    }

    pub(super) fn of_limit(limit: Limit) -> Failed {
        let Limit { name, max } = limit;
        Failed::Limit { name, max }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Error(error) => write!(f, "the method returned the error {error}"),
            Failed::Refused(error) => write!(f, "the update was refused with the error {error}"),
            Failed::Panicked(message) => write!(f, "the method panicked: {message}"),
            Failed::WroteInQuery => f.write_str("a query tried to write; only updates may"),
            Failed::AskedInUpdate => {
                f.write_str("an update asked another context's query; only queries may")
            }
            Failed::Misused(message) | Failed::InvalidOutput(message) => f.write_str(message),
            Failed::Limit { name, max } => {
                write!(f, "the call went beyond {name}, which is {max}")
            }
            Failed::UnknownMethod => f.write_str("there is no such method"),
            Failed::WrongKind {
                is: MethodKind::Query,
            } => f.write_str("the method is a query"),
            Failed::WrongKind {
                is: MethodKind::Update,
            } => f.write_str("the method is an update"),
            Failed::Stopped(name) => write!(f, "the call ended with {name}"),
        }
    }
}

impl std::error::Error for Failed {}

/// As the server would tell a query that has asked another.
impl From<Failed> for QueryError {
    fn from(failed: Failed) -> QueryError {
        match failed {
            Failed::Error(error) => QueryError::Application(error),
            Failed::UnknownMethod => QueryError::UnknownMethod,
            Failed::WrongKind { .. } => QueryError::NotAQuery,
            failed => QueryError::Failed(CallFailed::of(&failed).code),
        }
    }
}

impl CallFailed {
    /// As the server would tell it.
    pub(super) fn of(failed: &Failed) -> CallFailed {
        let (code, error) = match failed {
            Failed::Error(error) => ("application_error", Some(error.clone())),
            Failed::Refused(error) => ("inspection_refused", Some(error.clone())),
            Failed::Panicked(_) => ("trapped", None),
            Failed::WroteInQuery => ("wrote_in_query", None),
            Failed::AskedInUpdate => ("asked_in_update", None),
            Failed::Misused(_) => ("entry_misused", None),
            Failed::InvalidOutput(_) => ("invalid_output", None),
            Failed::Limit { .. } => ("limit_exceeded", None),
            Failed::UnknownMethod => ("unknown_method", None),
            Failed::WrongKind { .. } => ("not_an_update", None),
            Failed::Stopped(name) => (*name, None),
        };
        CallFailed {
            code: code.to_owned(),
            error,
        }
    }
}
