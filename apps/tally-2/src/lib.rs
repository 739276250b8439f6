//! Counts of things by name, in its second version: counters, so that what several nodes count at
//! the same time comes together, and fewer can be counted, too. The first is in `../../tally`.
//!
//! A context of the first version is brought over as it is upgraded to this one, whole or not at
//! all: a count that does not fit into a counter keeps it as it was, and so do counts that do not
//! come to what the first version has written down. That is for contexts of one node: where several have a
//! context, each would add what it has counted to the counters.

use corelet_sdk::prelude::*;

/// Counts of things by name.
#[corelet::application(name = "tally", schema_version = 2)]
pub struct Tally {
    totals: Map<String, Counter>,
    /// As the first version has kept them.
    counts: Map<String, u64>,
    sum: Register<u64>,
}

#[corelet::methods]
impl Tally {
    /// Counts `by` of them, or one, and returns how many there are now.
    #[update]
    pub fn count(&mut self, name: &str, by: Option<i64>) -> i64 {
        self.totals.entry_mut(name).add(by.unwrap_or(1))
    }

    /// How many there are.
    #[query]
    pub fn total(&self, name: &str) -> i64 {
        self.totals.entry(name).get()
    }

    /// What is counted, in the order of the names.
    #[query]
    pub fn names(&self) -> Vec<String> {
        self.totals.keys().collect()
    }

    /// Makes counters of numbers.
    #[migrate]
    pub fn make_counters(&mut self, from: u64) -> Result<(), Error> {
        if from != 1 {
            let message = format!("state of schema version {from} is not known");
            return Err(Error::new("unknown_form", message));
        }
        let mut sum = 0_u64;
        for (name, count) in self.counts.iter() {
            let fits = i64::try_from(count).map_err(|_| {
                let message = format!("{count} of {name:?} are too many for a counter");
                Error::new("too_many", message)
            })?;
            self.totals.entry_mut(&name).add(fits);
            sum = sum.wrapping_add(count);
        }
        if self.sum.get() != Some(sum) {
            return Err(Error::new("sum_differs", "not all counts could be read"));
        }
        self.counts.clear();
        self.sum.clear();
        Ok(())
    }

    /// Tells the world.
    #[after_upgrade]
    pub fn tell(&mut self) {
        events::emit("upgraded", &json!({ "version": env!("CARGO_PKG_VERSION") }));
    }
}
