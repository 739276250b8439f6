//! The shard's time and randomness: the one place where they come in.
//!
//! Owned by the shard.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelet_store::{FromTheFuture, Hlc, HlcClock};

/// Stamps for changes, and seeds for guests.
pub(crate) struct Clock {
    stamps: RefCell<HlcClock>,
    // Drawn once from the system; each call's seed is this and a count, which
    // the guest's generator hashes.
    secret: [u8; 24],
    calls: Cell<u64>,
}

impl Clock {
    /// A clock that goes on behind `last`, the newest stamp on disk.
    pub(crate) fn after(last: Hlc) -> Result<Clock, getrandom::Error> {
        let mut secret = [0; 24];
        getrandom::fill(&mut secret)?;
        Ok(Clock {
            stamps: RefCell::new(HlcClock::after(last)),
            secret,
            calls: Cell::new(0),
        })
    }

    /// The next stamp.
    pub(crate) fn tick(&self) -> Hlc {
        self.stamps.borrow_mut().tick(micros())
    }

    /// Takes note of another node's stamp: those given from now on are greater. One that lies
    /// further in the future is refused.
    pub(crate) fn observe(&self, stamp: Hlc, ahead_micros_max: u64) -> Result<(), FromTheFuture> {
        self.stamps
            .borrow_mut()
            .observe(stamp, micros(), ahead_micros_max)
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

/// The wall clock's time as a stamp, for comparing with others; not to be given to anything.
pub(crate) fn wall() -> Hlc {
    Hlc::from_micros(micros())
}

/// The same, as the system gives times to files.
pub(crate) fn file_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros())
}

/// Microseconds since 1970; 0 on a machine that believes to live before.
fn micros() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
