//! How much one step may do: of the collector, of the sweep, of the scrub. It ends at bounds by
//! count, and as soon as a clock says so that it looks at every few records; so a machine or a disk
//! that is slow makes steps smaller, not longer. Which clock that is, is its caller's to say. What steps do is
//! in `apply/collect.rs`, `apply/answers.rs`, `sweep.rs` and `scrub/`.

use std::cell::Cell;

/// Records from one look at the clock to the next.
const LOOK_ROWS: u64 = 4;

/// Bytes of records after which it is looked at before so many have come.
const LOOK_BYTES: u64 = 16 << 10;

/// What one step may do at most. It does at least one thing that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBounds {
    /// Records read, written or dropped.
    pub rows_max: u64,
    /// Bytes of the records that are looked into.
    pub bytes_max: u64,
}

impl Default for StepBounds {
    fn default() -> Self {
        StepBounds {
            rows_max: 128,
            bytes_max: 256 << 10,
        }
    }
}

impl StepBounds {
    /// So many records, of any size.
    pub fn rows(rows_max: usize) -> StepBounds {
        StepBounds {
            rows_max: rows_max as u64,
            bytes_max: u64::MAX,
        }
    }

    /// The same, but no longer than until `is_over` says so.
    pub fn until(self, is_over: &dyn Fn() -> bool) -> Budget<'_> {
        Budget {
            bounds: self,
            is_over,
            next_look: Cell::new((LOOK_ROWS, LOOK_BYTES)),
            is_late: Cell::new(false),
        }
    }
}

/// Bounds of one step, by count and by a clock.
pub struct Budget<'c> {
    bounds: StepBounds,
    is_over: &'c dyn Fn() -> bool,
    /// After so many records, or bytes, it looks at the clock again.
    next_look: Cell<(u64, u64)>,
    is_late: Cell<bool>,
}

/// For who is not waited for.
impl From<&StepBounds> for Budget<'static> {
    fn from(bounds: &StepBounds) -> Self {
        bounds.until(&|| false)
    }
}

impl Budget<'_> {
    pub(crate) fn bounds(&self) -> &StepBounds {
        &self.bounds
    }

    /// Whether the time of the step is over, also before it has come to the next look.
    pub(crate) fn is_late(&self) -> bool {
        if !self.is_late.get() {
            self.is_late.set((self.is_over)());
        }
        self.is_late.get()
    }

    /// Whether a step that has come to so many records and bytes is to end. Nothing is over before
    /// anything was done; once it is, it stays so.
    pub(crate) fn is_spent(&self, rows: u64, bytes: u64) -> bool {
        if rows >= self.bounds.rows_max.max(1) || bytes >= self.bounds.bytes_max.max(1) {
            return true;
        }
        let (next_rows, next_bytes) = self.next_look.get();
        if !self.is_late.get() && (rows >= next_rows || bytes >= next_bytes) {
            self.next_look.set((rows + LOOK_ROWS, bytes + LOOK_BYTES));
            self.is_late.set((self.is_over)());
        }
        self.is_late.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_looked_at_every_few_records_or_bytes_and_not_before_the_first() {
        let looks = Cell::new(0);
        let count = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        let budget = StepBounds::rows(100).until(&count);
        assert!((0..LOOK_ROWS).all(|rows| !budget.is_spent(rows, 0)));
        assert_eq!(looks.get(), 0);
        assert!(!budget.is_spent(LOOK_ROWS, 0) && !budget.is_spent(LOOK_ROWS + 1, 0));
        assert_eq!(looks.get(), 1);
        assert!(!budget.is_spent(LOOK_ROWS + 1, LOOK_BYTES));
        assert_eq!(looks.get(), 2);
        assert!(budget.is_spent(3 * LOOK_ROWS, LOOK_BYTES));
        assert!(budget.is_spent(3 * LOOK_ROWS, LOOK_BYTES), "it is late");
        assert_eq!(looks.get(), 3);
        assert!(Budget::from(&StepBounds::rows(2)).is_spent(2, 0));
    }
}
