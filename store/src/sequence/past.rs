//! What is known of one author's updates: how many elements there were after each
//! that inserted. From it follows which elements somebody knew who had seen up to
//! a stamp.

use crate::hlc::Hlc;

/// One author's updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// Of the newest; [`Hlc::ZERO`] if there is none.
    last: Hlc,
    /// Of those that inserted, and how many elements there were then.
    stamps: Vec<Hlc>,
    counts: Vec<u32>,
}

impl Past {
    pub(super) fn last(&self) -> Hlc {
        self.last
    }

    /// How many elements there were up to a stamp.
    pub(super) fn count(&self, up_to: Hlc) -> u32 {
        match self.stamps.partition_point(|&stamp| stamp <= up_to) {
            0 => 0,
            n => self.counts[n - 1],
        }
    }

    /// How many elements there are.
    pub(super) fn next(&self) -> u32 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// The updates that inserted.
    pub(super) fn insertions(&self) -> impl ExactSizeIterator<Item = (Hlc, u32)> {
        let counts = self.counts.iter().copied();
        self.stamps.iter().copied().zip(counts)
    }

    /// Notes an update, later than those before.
    pub(super) fn add(&mut self, stamp: Hlc, count: u32) {
        self.last = stamp;
        if count != self.next() {
            self.stamps.push(stamp);
            self.counts.push(count);
        }
    }
}
