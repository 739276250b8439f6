//! When a copy comes in: up to which stamps it is believed, and from which number on its events
//! are counted. A plain value; no clock is read here.
//!
//! Events are counted on each node, and whoever reads them goes on behind a number. A context that
//! comes out of a copy counts anew from what the copy had, while its readers may have come further:
//! they would take new events for ones that they have. So what comes in gets higher
//! numbers than anybody can have been given, and readers of before are told of a gap.

use std::time::Duration;

use crate::hlc::Hlc;

/// A copy's stamps may be so far ahead of the clock here, as those of other nodes' deltas: a
/// later one would drag the node's clock along for good.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Numbers of events that were given anew are not less than this: no context counts so far.
pub const RENUMBERED_FROM: u64 = 1 << 40;

/// Numbers that are given anew end as the old ones did, modulo this, so that what a log that was never cut
/// comes to can still be compared, and each event found again.
pub const RENUMBERED_BY: u64 = 1024;

/// All numbers of events are less: readers hold them in JSON, where they are exact up to 2^53.
pub(super) const EVENT_NUMBERS: u64 = 1 << 53;

/// A copy whose numbers would come so near to their end keeps those that it has: no clock gives such
/// ones. What a context tells fits behind it.
const RENUMBERED_MAX: u64 = EVENT_NUMBERS - (1 << 42);

/// The year 2025, in milliseconds since 1970: no clock that is right shows less.
const YEAR_2025_MILLIS: u64 = 1_735_689_600_000;

/// The year 2100, in microseconds since 1970. Stamps end with 2112, and who has the last one has no next.
const YEAR_2100_MICROS: u64 = 4_102_444_800_000_000;

/// When a copy is taken in, and how far it is believed. Events of a context count from 1 where it was
/// made, and from a great number where it came out of a copy: greater than any that its readers
/// can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub(super) now: Hlc,
    pub(super) latest: Hlc,
}

impl Arrival {
    /// By a clock that shows `now`. A copy with stamps more than a minute later is refused.
    pub fn at(now: Hlc) -> Arrival {
        let ahead = u64::try_from(AHEAD_MAX.as_micros()).expect("a minute is a few microseconds");
        Arrival {
            now,
            latest: Hlc::from_micros(now.micros().saturating_add(ahead)),
        }
    }

    /// The same with any stamps up to the year 2100: the node's clock follows the latest for good.
    pub fn trusting(now: Hlc) -> Arrival {
        Arrival {
            now,
            latest: Hlc::from_micros(YEAR_2100_MICROS),
        }
    }

    /// By how much the numbers of a copy's events grow, which end with these. What comes in begins
    /// behind a thousand for each millisecond since 1970: more than any context counts in
    /// that time, so all that was ever given out before is less.
    pub(super) fn renumbers_by(&self, first: u64, last: u64) -> u64 {
        let down = |number: u64| number / RENUMBERED_BY * RENUMBERED_BY;
        let now = self.now.micros() / 1000;
        let mut millis = now.max(RENUMBERED_FROM / RENUMBERED_BY);
        if last / RENUMBERED_BY >= millis {
            // It comes from where the clock shows more. Taken in twice it must not get the same twice.
            millis = last / RENUMBERED_BY + 1 + now.saturating_sub(YEAR_2025_MILLIS);
        }
        let kept = (last + 1).saturating_sub(first);
        let before = millis * RENUMBERED_BY + kept.next_multiple_of(RENUMBERED_BY);
        match before < RENUMBERED_MAX {
            true => before - down(last),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const YEAR_2026: u64 = 1_795_000_000_000;
    const YEAR_2112: u64 = (u64::MAX >> 12) / 1000;

    fn at(millis: u64) -> Arrival {
        Arrival::at(Hlc::from_micros(millis * 1000))
    }

    proptest! {
        #[test]
        fn numbers_given_anew_are_greater_than_all_that_were_given(
            counted in 0..RENUMBERED_FROM,
            // Where it was counted: from one, or behind what a clock said.
            since in prop_oneof![Just(0), YEAR_2026..YEAR_2112],
            kept in 0..100_000_u64,
            now in YEAR_2026..YEAR_2112 - 100_000,
            // Until the copy is taken in once more, and what is told in each meanwhile.
            seconds in 2..60_u64,
            events in 0..100_000_u64,
        ) {
            let last = since * RENUMBERED_BY + counted;
            let kept = kept.min(last);
            let first = last - kept + 1;
            let by = at(now).renumbers_by(first, last);
            prop_assert!(first + by > last + 1, "a reader of before is told of a gap");
            prop_assert!(last + by >= RENUMBERED_FROM);
            prop_assert!(last + by < EVENT_NUMBERS);
            prop_assert_eq!(by % RENUMBERED_BY, 0);

            let told = last + by + seconds * events;
            let again = at(now + seconds * 1000).renumbers_by(first, last);
            prop_assert!(first + again > told + 1, "{} {}", first + again, told);
            // What was told there comes to another node, whose clock may show anything.
            let further = at(seconds).renumbers_by(first + by, told);
            prop_assert!(first + by + further > told + 1);
        }

        #[test]
        fn any_numbers_of_a_copy_leave_room_behind_them(
            last in 0..EVENT_NUMBERS,
            kept in 0..1_u64 << 40,
            now in any::<u64>(),
        ) {
            let first = (last + 1).saturating_sub(kept).max(1);
            let by = Arrival::at(Hlc::from_bits(now)).renumbers_by(first, last);
            prop_assert!(last + by < EVENT_NUMBERS);
        }
    }

    #[test]
    fn a_copy_is_believed_for_a_minute() {
        let at = |seconds: u64| Hlc::from_micros(seconds * 1_000_000);
        assert_eq!(Arrival::at(at(7)).latest, at(67));
        assert!(Arrival::trusting(at(7)).latest < Hlc::MAX);
    }
}
