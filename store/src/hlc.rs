//! Hybrid logical time: stamps that follow the wall clock and never go back.
//! No clock is read here: the caller brings the time, so that a simulation can
//! lie about it. A clock belongs to one thread; a stamp is a plain value.

use std::fmt;

/// Bits of a stamp that count within one microsecond.
const COUNTER_BITS: u32 = 12;

/// The latest microsecond that a stamp can hold (in the year 2112).
const MICROS_MAX: u64 = u64::MAX >> COUNTER_BITS;

/// A stamp: 52 bits of microseconds since 1970 (UTC), then 12 bits that count
/// within one microsecond. Compared as one number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(u64);

impl Hlc {
    /// Before every stamp that a clock gives.
    pub const ZERO: Hlc = Hlc(0);

    /// The last one there is.
    pub const MAX: Hlc = Hlc(u64::MAX);

    /// The stamp with these 64 bits, as stored.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The first stamp of a microsecond since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        let micros = if micros < MICROS_MAX {
            micros
        } else {
            MICROS_MAX
        };
        Self(micros << COUNTER_BITS)
    }

    /// The 64 bits, as stored.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The stamp right after this one; `None` after the last there is.
    pub(crate) const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The physical part: microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hlc({self})")
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:04}",
            self.micros(),
            self.0 & ((1 << COUNTER_BITS) - 1)
        )
    }
}

/// A stamp of somebody else that lies further in the future than is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stamp {stamp} lies {ahead_micros} microseconds in the future, but at most {ahead_micros_max} are accepted; one of the two clocks is wrong"
)]
pub struct FromTheFuture {
    /// The stamp.
    pub stamp: Hlc,
    /// How far it is ahead of the clock here.
    pub ahead_micros: u64,
    /// How far it may be.
    pub ahead_micros_max: u64,
}

/// Gives stamps, each greater than the one before.
#[derive(Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A clock whose every stamp is greater than `last`: what a restarted node
    /// takes from its ledgers (`Ledger::last_hlc`), because the wall clock may
    /// have been set back in between.
    pub const fn after(last: Hlc) -> Self {
        Self { last }
    }

    /// The next stamp. Follows `now_micros` if it has moved on; counts if it
    /// stands or has gone back. Nothing is refused.
    pub fn tick(&mut self, now_micros: u64) -> Hlc {
        let wall = now_micros.min(MICROS_MAX) << COUNTER_BITS;
        // A counter that overflows borrows from the microseconds, which is
        // what "the next number" means for the pair.
        let next = wall.max(self.last.0.saturating_add(1));
        self.last = Hlc(next);
        self.last
    }
}

impl HlcClock {
    /// Takes note of somebody else's stamp: later ones of this clock are greater. One that is
    /// more than `ahead_micros_max` ahead of `now_micros` is refused and changes
    /// nothing, or a single wrong clock would drag all others along for ever.
    pub fn observe(
        &mut self,
        stamp: Hlc,
        now_micros: u64,
        ahead_micros_max: u64,
    ) -> Result<(), FromTheFuture> {
        let ahead_micros = stamp.micros().saturating_sub(now_micros);
        if ahead_micros > ahead_micros_max {
            return Err(FromTheFuture {
                stamp,
                ahead_micros,
                ahead_micros_max,
            });
        }
        self.last = self.last.max(stamp);
        Ok(())
    }

    /// How far the last stamp is ahead of `now_micros`, in microseconds: more than 0 if the wall
    /// clock has gone back since it was given, or if it was somebody else's.
    pub const fn ahead_micros(&self, now_micros: u64) -> u64 {
        self.last.micros().saturating_sub(now_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_that_was_observed_is_overtaken_and_one_from_the_future_refused() {
        let stamp = |micros: u64| Hlc::from_bits(micros << COUNTER_BITS);
        let mut clock = HlcClock::default();
        clock.observe(stamp(60), 10, 50).unwrap();
        assert!(clock.tick(10) > stamp(60));
        let before = clock.tick(10);
        let refused = clock.observe(stamp(61), 10, 50).unwrap_err();
        assert_eq!((refused.ahead_micros, refused.ahead_micros_max), (51, 50));
        assert_eq!(clock.tick(10).micros(), before.micros(), "it has not moved");
        clock.observe(stamp(3), 10, 50).unwrap();
        assert!(clock.tick(10) > before, "an older stamp changes nothing");
    }

    fn check(now: &[u64], expected: &[(u64, u64)]) {
        let mut clock = HlcClock::default();
        let stamps: Vec<(u64, u64)> = now
            .iter()
            .map(|&now| clock.tick(now))
            .map(|hlc| (hlc.micros(), hlc.bits() & 0xfff))
            .collect();
        assert_eq!(stamps, expected);
    }

    #[test]
    fn stamps_follow_the_wall_clock_and_count_where_it_stands_or_goes_back() {
        check(
            &[10, 10, 11, 5, 5, 12],
            &[(10, 0), (10, 1), (11, 0), (11, 1), (11, 2), (12, 0)],
        );
    }

    #[test]
    fn a_full_counter_runs_over_into_the_microseconds() {
        let mut clock = HlcClock::default();
        let mut last = Hlc::ZERO;
        for _ in 0..5000 {
            let next = clock.tick(100);
            assert!(next > last);
            last = next;
        }
        assert_eq!(last.micros(), 101);
    }

    #[test]
    fn a_time_beyond_the_range_does_not_wrap() {
        let mut clock = HlcClock::default();
        assert_eq!(clock.tick(u64::MAX).micros(), MICROS_MAX);
    }

    #[test]
    fn a_restarted_clock_goes_on_behind_the_last_stamp() {
        let mut clock = HlcClock::after(Hlc::from_bits(50 << COUNTER_BITS));
        assert!(clock.tick(3) > Hlc::from_bits(50 << COUNTER_BITS));
    }
}
