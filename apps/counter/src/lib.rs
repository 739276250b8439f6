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
