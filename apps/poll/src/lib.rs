//! A poll: state of every kind that the SDK has, each where its way of merging
//! is what one wants.
//!
//! ```sh
//! corelet app install target/apps/poll.wasm
//! corelet context create poll --name lunch --args '{"question":"Where?"}'
//! corelet call lunch vote '{"choice":"canteen","comment":"it is near"}'
//! corelet call lunch result
//! ```
//!
//! The question never changes, votes add up wherever they were given, who has
//! voted is a set. Each node says for itself what it is called, and keeps the
//! notes of its operator to itself. A poll can close by itself: a timer does that, on the
//! node where it was asked for, and a handler that no client can call.
//!
//! ```sh
//! corelet call lunch close_in '{"seconds":3600}'
//! corelet context timers lunch
//! ```

use std::time::Duration;

use corelet_sdk::prelude::*;

/// A question and the votes on it.
#[corelet::application(name = "poll")]
pub struct Poll {
    question: WriteOnce<String>,
    votes: Map<String, Counter>,
    voters: Set<String>,
    /// When it was closed, in nanoseconds since 1970.
    closed: Register<u64>,
    /// By choice, then by who made the comment.
    comments: Map<String, Map<String, Register<String>>>,
    stations: Owned<Register<String>>,
    notes: Private<Map<String, String>>,
}

/// One choice and what became of it.
#[derive(Debug, Serialize)]
pub struct Choice {
    choice: String,
    votes: i64,
    comments: Vec<(String, String)>,
}

/// Where a poll stands.
#[derive(Debug, Serialize)]
pub struct Standing {
    question: Option<String>,
    choices: Vec<Choice>,
    voters: u64,
    is_closed: bool,
}

/// The timer that closes a poll.
const CLOSING: &str = "close";

#[corelet::methods]
impl Poll {
    /// Begins with a question, or without one, and may be about to close from the beginning.
    #[init]
    pub fn begin(&mut self, question: Option<String>, close_in: Option<u64>) {
        if let Some(question) = question {
            self.question.set(&question);
        }
        if let Some(seconds) = close_in {
            self.close_in(seconds);
        }
    }

    /// Asks the question, which stands from then on.
    #[update]
    pub fn ask(&mut self, question: String) -> Result<(), Error> {
        match self.question.set(&question) {
            true => Ok(()),
            false => Err(Error::new("asked", "the question has been asked")),
        }
    }

    /// Votes for `choice`, once per caller, and returns its votes.
    #[update]
    pub fn vote(&mut self, choice: &str, comment: Option<String>) -> Result<i64, Error> {
        if self.closed.get().is_some() {
            return Err(Error::new("closed", "the poll is closed"));
        }
        let voter = context::caller();
        if !self.voters.insert(&voter) {
            return Err(Error::new("voted", "there is one vote each"));
        }
        if let Some(comment) = comment {
            let mut comments = self.comments.entry_mut(choice);
            comments.entry_mut(&voter).set(&comment);
        }
        Ok(self.votes.entry_mut(choice).add(1))
    }

    /// Takes a choice away, with its votes and comments; tells how many entries
    /// went with it. Who voted for it may not vote again.
    #[update]
    pub fn withdraw(&mut self, choice: &str) -> u64 {
        let votes = u64::from(self.votes.entry_mut(choice).clear());
        votes + self.comments.entry_mut(choice).clear()
    }

    /// Has the poll close by itself in so many seconds, and not when it was to close before.
    #[update]
    pub fn close_in(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        timers::after(CLOSING, time, "close", &json!({}));
    }

    /// Has it stay open; tells whether it was to close.
    #[update]
    pub fn stay_open(&mut self) -> bool {
        timers::cancel(CLOSING)
    }

    /// Closes the poll: the server calls it when the time has come.
    #[handler]
    pub fn close(&mut self) {
        self.closed.set(&context::now());
        events::emit("closed", &json!({ "voters": self.voters.len() }));
    }

    /// Where the poll stands.
    #[query]
    pub fn result(&self) -> Standing {
        let choice = |choice: String| {
            let comments = self.comments.entry(&choice);
            let comment = |who: String| {
                let text = comments.entry(&who).get_or_default();
                (who, text)
            };
            Choice {
                votes: self.votes.entry(&choice).get(),
                comments: comments.keys().map(comment).collect(),
                choice,
            }
        };
        Standing {
            question: self.question.get(),
            choices: self.votes.keys().map(choice).collect(),
            voters: self.voters.len(),
            is_closed: self.closed.get().is_some(),
        }
    }

    /// Says what this node is called.
    #[update]
    pub fn call_station(&mut self, name: String) {
        self.stations.own().set(&name);
    }

    /// What the nodes are called that have said so.
    #[query]
    pub fn stations(&self) -> Vec<String> {
        let owners = self.stations.owners();
        owners
            .map(|owner| self.stations.of(&owner).get_or_default())
            .collect()
    }

    /// Keeps a note on this node.
    #[update]
    pub fn note(&mut self, about: &str, text: &str) {
        self.notes.set(about, text);
    }

    /// The notes of this node.
    #[query]
    pub fn notes(&self) -> Vec<(String, String)> {
        self.notes.iter().collect()
    }
}
