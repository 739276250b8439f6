//! How often a context is called: so many calls a second, and as many at once after a
//! second without any.
//!
//! The generic cell rate algorithm (ITU-T I.371): all that is kept of the past is the moment at
//! which the context would have been idle for a second if its calls had come evenly.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::error::CallError;

/// What calls may come at once, in time at the rate that is allowed.
const BURST: Duration = Duration::from_secs(1);

/// One context's calls.
#[derive(Default)]
pub(crate) struct Rate {
    paid_until: Cell<Option<Instant>>,
}

impl Rate {
    /// How many calls that came `now` would not be refused.
    pub(crate) fn room(&self, now: Instant, per_second_max: u64) -> u64 {
        let paid_until = self.paid_until.get();
        let ahead = paid_until.map(|until| until.saturating_duration_since(now));
        let left = BURST.saturating_sub(ahead.unwrap_or_default());
        let one = BURST.as_nanos() as u64 / per_second_max.max(1);
        left.as_nanos() as u64 / one.max(1)
    }

    /// Counts a call that comes `now`, or refuses it.
    pub(crate) fn admit(&self, now: Instant, per_second_max: u64) -> Result<(), CallError> {
        let paid_until = self.paid_until.get().map_or(now, |until| until.max(now));
        let one = BURST.as_nanos() as u64 / per_second_max.max(1);
        let paid_until = paid_until + Duration::from_nanos(one);
        if paid_until.duration_since(now) > BURST {
            return Err(CallError::Busy {
                limit: "context_calls_per_second",
                used: per_second_max + 1,
                max: per_second_max,
            });
        }
        self.paid_until.set(Some(paid_until));
        Ok(())
    }

    /// Takes back one that was counted, as it did not come to a call.
    pub(crate) fn take_back(&self, per_second_max: u64) {
        let one = Duration::from_nanos(BURST.as_nanos() as u64 / per_second_max.max(1));
        let paid_until = self.paid_until.get();
        self.paid_until
            .set(paid_until.and_then(|until| until.checked_sub(one)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn so_many_come_at_once_and_then_one_for_each_part_of_a_second() {
        let rate = Rate::default();
        let start = Instant::now();
        let admitted = |millis| {
            let room = rate.room(after(start, millis), 4);
            let admitted = rate.admit(after(start, millis), 4).is_ok();
            assert_eq!(admitted, room > 0);
            assert_eq!(
                rate.room(after(start, millis), 4),
                room - u64::from(admitted)
            );
            admitted
        };
        assert_eq!([0; 6].map(admitted), [true, true, true, true, false, false]);
        assert!(!admitted(249));
        assert!(admitted(250), "a quarter of a second is one call of four");
        assert!(!admitted(250));
        assert_eq!([5_000; 5].map(admitted), [true, true, true, true, false]);
        rate.take_back(4);
        assert_eq!([5_000; 2].map(admitted), [true, false]);
        let refused = rate.admit(after(start, 5_000), 4).unwrap_err();
        assert!(
            matches!(
                refused,
                CallError::Busy {
                    limit: "context_calls_per_second",
                    used: 5,
                    max: 4
                }
            ),
            "{refused:?}"
        );
    }

    proptest! {
        /// In any second at most twice the bound: what was saved up, and what comes newly.
        #[test]
        fn no_second_has_more_than_two_seconds_calls(
            gaps in prop::collection::vec(0u64..300, 1..200),
            max in 1u64..20,
        ) {
            let rate = Rate::default();
            let start = Instant::now();
            let mut millis = 0;
            let mut admitted = Vec::new();
            for gap in gaps {
                millis += gap;
                if rate.admit(after(start, millis), max).is_ok() {
                    admitted.push(millis);
                }
            }
            for (at, from) in admitted.iter().enumerate() {
                let within = admitted[at..].iter().take_while(|&&to| to < from + 1_000);
                prop_assert!(within.count() as u64 <= 2 * max);
            }
        }
    }
}
