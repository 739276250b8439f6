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
        let by = by.unwrap_or(1);
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
