//! A map from text to text: the smallest useful application.
//!
//! ```sh
//! corelet app install target/apps/kv.wasm
//! corelet context create kv --name notes
//! corelet call notes set '{"key":"greeting","value":"hello"}'
//! corelet call notes get '{"key":"greeting"}'
//! corelet call notes entries '{"limit":10}'
//! ```
//!
//! `entries` pages: hand the `next` of one page to the following call as `after`.

use corelet_sdk::prelude::*;

/// A map from text to text.
#[corelet::application(name = "kv")]
pub struct Kv {
    entries: Map<String, String>,
}

/// How many entries a page has if the caller does not say.
const PAGE_ENTRIES: u32 = 100;

#[corelet::methods]
impl Kv {
    /// Writes `value` under `key` and returns what was there.
    #[update]
    pub fn set(&mut self, key: &str, value: &str) -> Option<String> {
        self.entries.insert(key, value)
    }

    /// The value under `key`, or null.
    #[query]
    pub fn get(&self, key: &str) -> Option<String> {
        self.entries.get(key)
    }

    /// Removes the entry under `key`; tells whether there was one.
    #[update]
    pub fn remove(&mut self, key: &str) -> bool {
        self.entries.remove(key)
    }

    /// Up to `limit` entries (100 if not said, at least 1, at most 999) in the
    /// order of their keys, behind the key `after` if one is given.
    #[query]
    pub fn entries(
        &self,
        after: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page<String, String>, Error> {
        let limit = limit.unwrap_or(PAGE_ENTRIES);
        // A page without entries could not say where to go on.
        if limit == 0 {
            return Err(Error::new("no_limit", "limit must be at least 1"));
        }
        Ok(self.entries.page(after.as_ref(), limit))
    }

    /// How many entries there are. Counts them one by one.
    #[query]
    #[allow(clippy::len_without_is_empty)] // callers compare the number themselves
    pub fn len(&self) -> u64 {
        self.entries.len()
    }
}
