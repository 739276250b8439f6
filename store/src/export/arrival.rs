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

/// Numbers of events that were given anew are greater than this: no context counts so far.
pub(crate) const RENUMBERED_FROM: u64 = 1 << 40;

/// Numbers that are given anew end as the old ones did, modulo this, so that what a log that was never cut
/// comes to can still be compared.
pub(crate) const RENUMBERED_BY: u64 = 1024;

/// A copy whose events have such numbers is refused: readers hold them in JSON, where they are exact
/// up to 2^53, and there has to be room behind them.
pub(super) const EVENT_NUMBER_MAX: u64 = (1 << 53) - (1 << 42);

/// When a copy is taken in, and how far it is believed.
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

    /// The same, whatever stamps the copy has: the node's clock follows the latest for good.
    pub fn trusting(now: Hlc) -> Arrival {
        Arrival {
            now,
            latest: Hlc::MAX,
        }
    }

    /// By how much the numbers of a copy's events grow, which end with these and whose context has
    /// this stamp. What comes in begins behind a thousand for each millisecond since 1970: more
    /// than any context counts in that time, so all that was ever given out before is less.
    pub(super) fn renumbers_by(&self, stamp: Hlc, first: u64, last: u64) -> u64 {
        let down = |number: u64| number / RENUMBERED_BY * RENUMBERED_BY;
        let millis = self.now.max(stamp).micros() / 1000;
        // Where a clock has gone back the copy may have greater ones already.
        let before = (millis * RENUMBERED_BY)
            .max(RENUMBERED_FROM)
            .max(down(last) + RENUMBERED_BY);
        let kept = (last + 1).saturating_sub(first);
        before + kept.next_multiple_of(RENUMBERED_BY) - down(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const YEAR_2026: u64 = 1_795_000_000_000_000;
    const YEAR_2112: u64 = u64::MAX >> 12;

    proptest! {
        #[test]
        fn numbers_given_anew_are_greater_than_all_that_were_given(
            last in prop_oneof![0..RENUMBERED_FROM, 0..EVENT_NUMBER_MAX],
            kept in 0..100_000_u64,
            now in YEAR_2026..YEAR_2112 - 100_000_000,
            // Until the copy is taken in once more, and what is told in each meanwhile.
            seconds in 2..60_u64,
            events in 0..100_000_u64,
        ) {
            let kept = kept.min(last);
            let first = last - kept + 1;
            let now = Hlc::from_micros(now);
            let by = Arrival::at(now).renumbers_by(Hlc::ZERO, first, last);
            prop_assert!(first + by > last + 1, "a reader of before is told of a gap");
            prop_assert!(last + by >= RENUMBERED_FROM);
            prop_assert!(last + by < 1 << 53);
            prop_assert_eq!(by % RENUMBERED_BY, 0);

            let told = last + by + seconds * events;
            let later = Hlc::from_micros(now.micros() + seconds * 1_000_000);
            let again = Arrival::at(later).renumbers_by(Hlc::ZERO, first, last);
            prop_assert!(last >= RENUMBERED_FROM || first + again > told + 1);
            // A clock that does not go forward does no harm beside what the copy knows.
            let twice = Arrival::at(Hlc::ZERO).renumbers_by(now, first + by, told);
            prop_assert!(first + by + twice > told + 1);
        }
    }

    #[test]
    fn a_copy_is_believed_for_a_minute() {
        let at = |seconds: u64| Hlc::from_micros(seconds * 1_000_000);
        assert_eq!(Arrival::at(at(7)).latest, at(67));
        assert_eq!(Arrival::trusting(at(7)).latest, Hlc::MAX);
    }
}
