//! Counts of things by name, in its first version: a `Map` of numbers. Its second is in
//! `../../tally-2`, into whose form that one brings what this one has kept.
//!
//! ```sh
//! corelet app install target/apps/tally.wasm
//! corelet context create tally --name stock
//! corelet call stock count '{"name":"apples","by":3}'
//! corelet app install target/apps/tally-2.wasm
//! corelet context upgrade stock --to tally
//! corelet call stock total '{"name":"apples"}'
//! ```
//!
//! Before a context is upgraded it writes down what all counts come to, so that the next version
//! can see whether it has got them all.

use corelet_sdk::prelude::*;

/// Counts of things by name.
#[corelet::application(name = "tally", schema_version = 1)]
pub struct Tally {
    counts: Map<String, u64>,
    /// What all counts come to, for the version after this.
    sum: Register<u64>,
}

#[corelet::methods]
impl Tally {
    /// Counts `by` of them, or one, and returns how many there are now.
    #[update]
    pub fn count(&mut self, name: &str, by: Option<u64>) -> Result<u64, Error> {
        let before = self.counts.get(name).unwrap_or_default();
        let now = before.checked_add(by.unwrap_or(1));
        let now = now.ok_or_else(|| Error::new("overflow", "so many cannot be counted"))?;
        self.counts.set(name, &now);
        Ok(now)
    }

    /// How many there are.
    #[query]
    pub fn total(&self, name: &str) -> u64 {
        self.counts.get(name).unwrap_or_default()
    }

    /// Writes down what all counts come to.
    #[before_upgrade]
    pub fn sum_up(&mut self) {
        let counts = self.counts.iter().map(|(_, count)| count);
        self.sum.set(&counts.fold(0, u64::wrapping_add));
    }
}
