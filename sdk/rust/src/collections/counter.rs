//! A number to which many add.

use super::{Collection, Site};
use crate::host;

/// A durable number that starts at 0 and is added to.
///
/// What several nodes add at the same time comes together, which a
/// [`Register`](super::Register) with a number cannot do: there the last writer
/// wins. So there is no way to set it.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Page { visits: Counter }
/// # #[corelet::methods]
/// # impl Page {
/// #[update]
/// pub fn visit(&mut self) -> i64 {
///     self.visits.add(1)
/// }
/// # }
/// # fn main() {
/// # let mut page = corelet_sdk::testing::Context::<Page>::new();
/// # page.update("visit", json!({})).unwrap();
/// # assert_eq!(page.update("visit", json!({})).unwrap(), 2);
/// # }
/// ```
pub struct Counter {
    site: Site,
}

impl Collection for Counter {
    fn within(site: Site) -> Self {
        Counter { site }
    }
}

impl Counter {
    /// The number. If another node has written something else there, that is read as a number
    /// where it has 8 bytes, and as 0 otherwise; adding to it stops the call.
    pub fn get(&self) -> i64 {
        let bytes = self.site.get(&self.site.prefix);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, i64::from_le_bytes)
    }

    /// Adds `amount`, which may be negative, and gives the new number. One
    /// beyond 64 bits reads as the nearest that fits.
    pub fn add(&mut self, amount: i64) -> i64 {
        host::add(self.site.space, &self.site.prefix, amount)
    }

    /// Begins again at 0; tells whether anything had been added. What other
    /// nodes add meanwhile may go with it.
    pub fn clear(&mut self) -> bool {
        host::remove(self.site.space, &self.site.prefix)
    }
}
