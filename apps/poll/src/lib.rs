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
//! Polls can be seen together: one that follows others asks each of them where it stands, on
//! whatever core it lives. Which context a name stands for, `corelet context show` tells.
//!
//! ```sh
//! corelet call lunch follow '{"poll":"<the id of another poll>"}'
//! corelet call lunch overview
//! corelet call lunch turnout
//! ```
//!
//! The question never changes, votes add up wherever they were given, who has
//! voted is a set. Each node says for itself what it is called, and keeps the
//! notes of its operator to itself. What is too long is refused before it is queued. A poll can close by itself: a timer does that, on the
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
    /// The ids of other polls.
    followed: Set<String>,
}

/// One choice and what became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Choice {
    choice: String,
    votes: i64,
    comments: Vec<(String, String)>,
}

/// Where a poll stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Standing {
    question: Option<String>,
    choices: Vec<Choice>,
    voters: u64,
    is_closed: bool,
}

/// The timer that closes a poll.
const CLOSING: &str = "close";

/// Another poll in one line.
#[derive(Debug, Serialize)]
pub struct Line {
    poll: String,
    question: Option<String>,
    /// The choice with the most votes, and how many it has.
    leads: Option<(String, i64)>,
    voters: u64,
    /// Why nothing is known of it.
    error: Option<Error>,
}

/// How many have voted in several polls.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Turnout {
    polls: u64,
    voters: u64,
    /// Why some polls are not among them.
    errors: Vec<String>,
}

/// Bytes of what an update is asked with, at most.
pub const ARGS_BYTES_MAX: usize = 16 << 10;

/// How many polls one follows at most: as many as one call may ask, if the server is not set
/// otherwise.
pub const FOLLOWED_MAX: u64 = 100;

#[corelet::methods]
impl Poll {
    /// Nobody has more to say: what is longer is refused before it is queued, and costs the others
    /// nothing.
    #[inspect]
    pub fn look(&self, _method: &str, args: &[u8]) -> Result<(), Error> {
        match args.len() <= ARGS_BYTES_MAX {
            true => Ok(()),
            false => Err(Error::new("too_long", "say it in 16 KiB")),
        }
    }

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

    /// Shows another poll in the overview of this one from now on.
    #[update]
    pub fn follow(&mut self, poll: ContextId) -> Result<(), Error> {
        if self.followed.len() >= FOLLOWED_MAX {
            return Err(Error::new("too_many", "a poll follows at most 100"));
        }
        self.followed.insert(&poll.to_string());
        Ok(())
    }

    /// Where the polls stand that this one follows. One that does not answer says why.
    #[query]
    pub fn overview(&self) -> Vec<Line> {
        let line = |poll: String| {
            let id = poll.parse::<ContextId>();
            let id = id.map_err(|bad| Error::new("bad_id", bad.to_string()));
            let asked = id.and_then(|id| {
                let standing: Standing = calls::query(&id, "result", &json!({}))?;
                Ok(standing)
            });
            let (standing, error) = match asked {
                Ok(standing) => (Some(standing), None),
                Err(error) => (None, Some(error)),
            };
            let voters = standing.as_ref().map_or(0, |standing| standing.voters);
            let (question, choices) = standing
                .map(|standing| (standing.question, standing.choices))
                .unwrap_or_default();
            let leads = choices.into_iter().max_by_key(|choice| choice.votes);
            Line {
                poll,
                question,
                leads: leads.map(|choice| (choice.choice, choice.votes)),
                voters,
                error,
            }
        };
        self.followed.iter().map(line).collect()
    }

    /// How many have voted here, in the polls that this one follows, in those that they follow,
    /// and so on, as far as polls may ask each other.
    #[query]
    pub fn turnout(&self) -> Turnout {
        let mut sum = Turnout {
            polls: 1,
            voters: self.voters.len(),
            errors: Vec::new(),
        };
        for poll in self.followed.iter().filter_map(|id| id.parse().ok()) {
            match calls::query::<Turnout>(&poll, "turnout", &json!({})) {
                Ok(others) => {
                    sum.polls += others.polls;
                    sum.voters += others.voters;
                    sum.errors.extend(others.errors);
                }
                Err(error) => sum.errors.push(error.code().to_owned()),
            }
        }
        sum
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
