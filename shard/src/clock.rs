//! The shard's time and randomness: the one place where they come in, from the system or, in tests,
//! from what they make up.
//!
//! A [`Clock`] is owned by its shard; the commit thread asks the same source.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelet_store::{FromTheFuture, Hlc, HlcClock};

/// Where time and randomness come from.
pub(crate) trait Source: Send + Sync {
    /// Microseconds since 1970.
    fn micros(&self) -> u64;

    /// Bytes that nobody can guess.
    fn secret(&self) -> Result<[u8; 24], getrandom::Error>;

    /// The time as a stamp, for comparing with others; not to be given to anything.
    fn wall(&self) -> Hlc {
        Hlc::from_micros(self.micros())
    }
}

/// The machine itself.
pub(crate) struct System;

impl Source for System {
    /// 0 on a machine that believes to live before.
    fn micros(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
    }

    fn secret(&self) -> Result<[u8; 24], getrandom::Error> {
        let mut secret = [0; 24];
        getrandom::fill(&mut secret)?;
        Ok(secret)
    }
}

/// Stamps for changes, and seeds for guests.
pub(crate) struct Clock {
    source: Arc<dyn Source>,
    stamps: RefCell<HlcClock>,
    // Drawn once from the source; each call's seed is this and a count, which
    // the guest's generator hashes.
    secret: [u8; 24],
    calls: Cell<u64>,
}

impl Clock {
    /// A clock that goes on behind `last`, the newest stamp on disk.
    pub(crate) fn after(last: Hlc, source: Arc<dyn Source>) -> Result<Clock, getrandom::Error> {
        Ok(Clock {
            secret: source.secret()?,
            source,
            stamps: RefCell::new(HlcClock::after(last)),
            calls: Cell::new(0),
        })
    }

    /// The next stamp.
    pub(crate) fn tick(&self) -> Hlc {
        self.stamps.borrow_mut().tick(self.source.micros())
    }

    /// The time on the wall, in microseconds since 1970; stamps may be ahead of it.
    pub(crate) fn wall_micros(&self) -> u64 {
        self.source.micros()
    }

    /// Takes note of another node's stamp: those given from now on are greater. One that lies
    /// further in the future is refused.
    pub(crate) fn observe(&self, stamp: Hlc, ahead_micros_max: u64) -> Result<(), FromTheFuture> {
        let now = self.source.micros();
        self.stamps
            .borrow_mut()
            .observe(stamp, now, ahead_micros_max)
    }

    /// How far stamps are ahead of the wall clock, in microseconds; 0 if they follow it.
    pub(crate) fn ahead_micros(&self) -> u64 {
        self.stamps.borrow().ahead_micros(self.source.micros())
    }

    /// A seed that no other call has.
    pub(crate) fn seed(&self) -> [u8; 32] {
        let call = self.calls.replace(self.calls.get() + 1);
        let mut seed = [0; 32];
        seed[..24].copy_from_slice(&self.secret);
        seed[24..].copy_from_slice(&call.to_le_bytes());
        seed
    }
}

/// The time as the system gives it to files, which no test makes up.
pub(crate) fn file_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(System.micros())
}

#[cfg(test)]
pub(crate) mod made_up {
    //! A source that a test turns.

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Its time stands still until it is set; its secret is a number.
    pub(crate) struct MadeUp {
        micros: AtomicU64,
        secret: u8,
    }

    impl MadeUp {
        pub(crate) fn at(micros: u64, secret: u8) -> Arc<MadeUp> {
            Arc::new(MadeUp {
                micros: AtomicU64::new(micros),
                secret,
            })
        }

        pub(crate) fn set(&self, micros: u64) {
            self.micros.store(micros, Ordering::Relaxed);
        }
    }

    impl Source for MadeUp {
        fn micros(&self) -> u64 {
            self.micros.load(Ordering::Relaxed)
        }

        fn secret(&self) -> Result<[u8; 24], getrandom::Error> {
            Ok([self.secret; 24])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::made_up::MadeUp;
    use super::*;

    #[test]
    fn whatever_the_wall_clock_does_stamps_ascend() {
        let source = MadeUp::at(1_000_000, 7);
        let last = Hlc::from_micros(1_000_005);
        let clock = Clock::after(last, source.clone()).unwrap();
        let mut before = last;
        for micros in [1_000_000, 1_000_000, 2_000_000, 5, 1_999_999, 2_000_001] {
            source.set(micros);
            let stamp = clock.tick();
            assert!(stamp > before, "at {micros}");
            assert!(stamp.micros() >= micros);
            before = stamp;
        }
        assert_eq!(before.micros(), 2_000_001, "it is back at the wall clock's");
    }

    #[test]
    fn a_stamp_from_the_future_is_believed_once_its_time_has_come() {
        let source = MadeUp::at(1_000_000, 7);
        let clock = Clock::after(Hlc::ZERO, source.clone()).unwrap();
        let theirs = Hlc::from_micros(1_000_101);
        let refused = clock.observe(theirs, 100).unwrap_err();
        assert_eq!((refused.ahead_micros, refused.ahead_micros_max), (101, 100));
        assert_eq!(clock.tick().micros(), 1_000_000, "it drags nobody along");
        source.set(1_000_001);
        clock.observe(theirs, 100).unwrap();
        assert!(clock.tick() > theirs);
    }

    #[test]
    fn the_same_source_gives_the_same_stamps_and_seeds() {
        let all = |secret| {
            let clock = Clock::after(Hlc::ZERO, MadeUp::at(9, secret)).unwrap();
            [0; 3].map(|_| (clock.tick(), clock.seed()))
        };
        assert_eq!(all(1), all(1));
        let seeds = all(1).map(|(_, seed)| seed);
        assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2]);
        assert_ne!(all(1)[0].1, all(2)[0].1);
    }
}
