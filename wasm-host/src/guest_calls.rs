//! How a query asks another context's query: what it asks, what it is told, and the line
//! between the guest's store and whoever runs its turn.
//!
//! The host function (`functions/calls.rs`) puts a [`Question`] on the line and the turn is
//! pending until somebody has put an [`Answered`] there. Who that is, where the other context
//! lives, and which questions are refused is not known here. Owned by one instance.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;

/// What a guest wants to know of another context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The other context's id, if what the guest has handed over is as long as one.
    pub context: Option<[u8; 32]>,
    /// The method's name.
    pub method: String,
    /// A JSON object with one member per parameter, at most
    /// [`args_bytes_max`](crate::Limits::args_bytes_max) with the method's name.
    pub args: Bytes,
    /// Who has called the asking guest, and so calls the other one.
    pub caller: Arc<str>,
    /// Fuel that the guest has left, which is all that the other one may use.
    pub fuel_left: u64,
    /// Queries that the outermost call has caused so far, this one among them.
    pub queries: u64,
}

/// What became of a [`Question`].
#[derive(Debug)]
pub struct Answered {
    /// The other guest's answer in JSON, or why there is none.
    pub outcome: Result<Bytes, QueryError>,
    /// Fuel that this has used, of the question's `fuel_left`.
    pub fuel_used: u64,
    /// Queries that the outermost call has caused by now.
    pub queries: u64,
}

/// Why another context's query was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// There is no such context.
    UnknownContext,
    /// Its application has no such method.
    UnknownMethod,
    /// The method is an update.
    NotAQuery,
    /// The application said no, in JSON.
    Application(Vec<u8>),
    /// It was stopped, or could not be run: the name of the error.
    Failed(&'static str),
    /// Others use what there is of something: the name of the bound.
    Busy(&'static str),
    /// The context is the asking one, or one of those that wait for it.
    Cycle,
    /// As many wait for each other already as may.
    TooDeep,
}

impl QueryError {
    /// Bytes that the guest is given with it.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            QueryError::Application(error) => error.len() as u64,
            QueryError::Failed(name) | QueryError::Busy(name) => name.len() as u64,
            QueryError::UnknownContext
            | QueryError::UnknownMethod
            | QueryError::NotAQuery
            | QueryError::Cycle
            | QueryError::TooDeep => 0,
        }
    }
}

#[derive(Default)]
enum State {
    #[default]
    Quiet,
    Asked(Question),
    /// Somebody has taken the question.
    Open,
    Answered(Answered),
}

/// One instance's line to whoever runs its turns.
#[derive(Default)]
pub(crate) struct Line {
    state: RefCell<State>,
    /// Queries that the outermost call has caused so far.
    queries: Cell<u64>,
}

impl Line {
    /// Prepares for a turn whose outermost call has caused so many queries before it.
    pub(crate) fn begin(&self, queries: u64) {
        self.state.take();
        self.queries.set(queries);
    }

    /// Counts one more query, and tells how many there are.
    pub(crate) fn count(&self) -> u64 {
        self.queries.set(self.queries.get().saturating_add(1));
        self.queries.get()
    }

    pub(crate) fn queries(&self) -> u64 {
        self.queries.get()
    }

    pub(crate) fn ask(&self, question: Question) {
        self.state.replace(State::Asked(question));
    }

    /// Whether the guest waits for an answer.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(&*self.state.borrow(), State::Asked(_) | State::Open)
    }

    pub(crate) fn take_question(&self) -> Option<Question> {
        match self.state.replace(State::Open) {
            State::Asked(question) => Some(question),
            other => {
                self.state.replace(other);
                None
            }
        }
    }

    /// Has no effect if nobody waits.
    pub(crate) fn answer(&self, answered: Answered) {
        if self.is_waiting() {
            self.queries.set(self.queries.get().max(answered.queries));
            self.state.replace(State::Answered(answered));
        }
    }

    pub(crate) fn take_answer(&self) -> Option<Answered> {
        match self.state.take() {
            State::Answered(answered) => Some(answered),
            other => {
                self.state.replace(other);
                None
            }
        }
    }
}
