//! A number that goes up and down: one `Register`, and an application that can
//! refuse.
//!
//! ```sh
//! corelet app install target/apps/counter.wasm
//! corelet context create counter --name visits --args '{"start":10}'
//! corelet call visits increment '{"by":5}'
//! corelet call visits get
//! ```
//!
//! `init` takes where to start; without it a counter begins at 0 and is reset
//! to 0. A sum that does not fit is refused, and changes nothing.
//!
//! It counts by itself, too: in a while, or again and again. Each such timer has a name, under
//! which it is stopped; what it adds is a handler's doing, which no client can call. If the sum
//! does not fit then, the server tries it again a few times, and gives up.
//!
//! ```sh
//! corelet call visits increment_every '{"name":"tick","millis":60000}'
//! corelet context timers visits
//! corelet call visits stop '{"name":"tick"}'
//! ```
//!
//! What it has it gives to another counter, whatever core that lives on: what is taken here is added
//! there exactly once, or comes back if the other does not take it. Which context a name stands for,
//! `corelet context show` tells.
//!
//! ```sh
//! corelet call visits give '{"to":"<the id of another counter>","by":3}'
//! corelet context calls visits
//! ```

use std::time::Duration;

use corelet_sdk::prelude::*;

/// A number that goes up and down.
#[corelet::application(name = "counter")]
pub struct Counter {
    value: Register<i64>,
    start: Register<i64>,
}

/// Why the counter did not move.
#[derive(Debug, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refused {
    /// The sum does not fit into 64 bits.
    Overflow {
        /// What the counter stands at.
        value: i64,
        /// What should have been added.
        by: i64,
    },
}

/// Why nothing was given.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum GiveError {
    /// It cannot be taken from here.
    Refused(Refused),
    /// The call cannot be sent.
    NotSent(Error),
}

impl From<Refused> for GiveError {
    fn from(refused: Refused) -> GiveError {
        GiveError::Refused(refused)
    }
}

impl From<SendError> for GiveError {
    fn from(error: SendError) -> GiveError {
        GiveError::NotSent(error.into())
    }
}

#[corelet::methods]
impl Counter {
    /// Begins at `start`, or at 0.
    #[init]
    pub fn begin(&mut self, start: Option<i64>) {
        if let Some(start) = start {
            self.start.set(&start);
            self.value.set(&start);
        }
    }

    /// Adds `by`, or 1, and returns the new value.
    #[update]
    pub fn increment(&mut self, by: Option<i64>) -> Result<i64, Refused> {
        self.add(by.unwrap_or(1))
    }

    /// Adds `by`, or 1, once so many milliseconds have passed; not what the timer of this name
    /// was to add before.
    #[update]
    pub fn increment_in(&mut self, name: &str, millis: u64, by: Option<i64>) {
        let args = json!({ "by": by.unwrap_or(1) });
        timers::after(name, Duration::from_millis(millis), "add", &args);
    }

    /// Adds `by`, or 1, whenever so many milliseconds have passed.
    #[update]
    pub fn increment_every(&mut self, name: &str, millis: u64, by: Option<i64>) {
        let args = json!({ "by": by.unwrap_or(1) });
        timers::every(name, Duration::from_millis(millis), "add", &args);
    }

    /// Stops the timer of this name; tells whether there was one.
    #[update]
    pub fn stop(&mut self, name: &str) -> bool {
        timers::cancel(name)
    }

    /// Takes `by` from this counter and has another one add it. What is on its way is on neither.
    #[update]
    pub fn give(&mut self, to: ContextId, by: i64) -> Result<String, GiveError> {
        let taken = by.checked_neg().ok_or(Refused::Overflow { value: 0, by });
        self.add(taken?)?;
        Ok(calls::send_then(
            &to,
            "increment",
            &json!({ "by": by }),
            "given",
            &by,
        )?)
    }

    /// Takes back what the other one has not taken: the server calls it.
    #[handler]
    pub fn given(&mut self, outcome: Outcome<i64>, data: i64) -> Result<(), Refused> {
        if let Outcome::Error(failed) = outcome {
            self.add(data)?;
            events::emit("returned", &json!({ "by": data, "code": failed.code }));
        }
        Ok(())
    }

    /// Adds what was asked for earlier: the server calls it.
    #[handler]
    pub fn add(&mut self, by: i64) -> Result<i64, Refused> {
        let before = self.value.get_or_default();
        let value = before
            .checked_add(by)
            .ok_or(Refused::Overflow { value: before, by })?;
        self.value.set(&value);
        Ok(value)
    }

    /// The value.
    #[query]
    pub fn get(&self) -> i64 {
        self.value.get_or_default()
    }

    /// Goes back to the start and returns the value from before.
    #[update]
    pub fn reset(&mut self) -> i64 {
        let before = self.value.get_or_default();
        self.value.set(&self.start.get_or_default());
        before
    }
}
