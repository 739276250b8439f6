//! Counts elementary steps: something is looked up, one more piece is looked at or moved.
//! So work that grows with a sequence, or with what a liar sends, can be done in parts
//! of bounded size, and tests bound what an edit costs, both without a clock.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;

/// Bytes that are as much work to copy and check as another step.
const STEP_BYTES: usize = 256;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Something was looked up, or one more piece was looked at.
#[inline]
pub(super) fn step() {
    steps(1);
}

/// So many steps at once.
#[inline]
pub(super) fn steps(count: usize) {
    STEPS.set(STEPS.get() + count as u64);
}

/// So many bytes were looked at or copied.
#[inline]
pub(super) fn bytes(count: usize) {
    steps(count / STEP_BYTES);
}

/// How much work may be done in one go, in elementary steps of 100 to 400 ns. Counted on the
/// thread that made it. Work stops behind the first part that goes beyond it, and the
/// largest part is an insertion among other authors', some hundred steps.
#[derive(Debug)]
pub struct Allowance {
    begun: u64,
    end: u64,
    /// It stays on its thread.
    thread: PhantomData<Rc<()>>,
}

impl Allowance {
    /// So many steps from now on.
    pub fn steps(steps: u64) -> Self {
        let begun = STEPS.get();
        Self {
            begun,
            end: begun.saturating_add(steps),
            thread: PhantomData,
        }
    }

    /// No bound, for a thread that nobody waits for.
    pub fn unbounded() -> Self {
        Self::steps(u64::MAX)
    }

    /// Counts a row that was read: as another step, with its bytes and with what else was looked
    /// up for it.
    pub(crate) fn row(&self, row_bytes: u64, looked_up: usize) {
        step();
        bytes(usize::try_from(row_bytes).unwrap_or(usize::MAX));
        steps(looked_up);
    }

    /// Whether it is time to stop.
    pub fn is_used_up(&self) -> bool {
        STEPS.get() >= self.end
    }

    /// The steps that were done since.
    pub fn used(&self) -> u64 {
        STEPS.get() - self.begun
    }
}

/// The steps that `work` takes on this thread.
#[cfg(test)]
pub(super) fn steps_of<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let allowance = Allowance::unbounded();
    let result = work();
    (allowance.used(), result)
}
