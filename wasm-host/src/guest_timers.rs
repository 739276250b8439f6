//! The border to what a context is to be called for later: the part of
//! [`GuestState`](crate::GuestState) that arms and cancels timers. When one is due, and what
//! becomes of its call, is behind it.

use crate::guest_state::StateError;

/// A timer that a turn arms. One of the same name that is there is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTimer<'a> {
    /// Its name in its context.
    pub name: &'a str,
    /// What is to be called.
    pub handler: &'a str,
    /// What it is called with: a JSON object.
    pub args: &'a [u8],
    /// From the call's time to the first run, in nanoseconds.
    pub delay_nanos: u64,
    /// From one run to the next, in nanoseconds, of a periodic one.
    pub every_nanos: Option<u64>,
}

/// What arming a timer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arming {
    /// It is armed.
    Armed,
    /// There would be so many, which is more than there may be. It is not armed.
    TooMany {
        /// With this one.
        used: u64,
    },
}

/// A timer that is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestTimer {
    /// Its name.
    pub name: String,
    /// What is called.
    pub handler: String,
    /// What it is called with.
    pub args: Vec<u8>,
    /// When it runs next, in nanoseconds since 1970.
    pub at_nanos: u64,
    /// From one run to the next, in nanoseconds, of a periodic one.
    pub every_nanos: Option<u64>,
    /// How often that run was tried already, and failed.
    pub attempts: u32,
}

/// Some of the timers that are armed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimersPage {
    /// In the order of their names' bytes.
    pub timers: Vec<GuestTimer>,
    /// Entries that the turn has removed before, and that were walked over.
    pub walked: u64,
}

/// What a turn can do with timers. By default there are none. Lengths, times and counts are already
/// checked, and the turn is known to be allowed to write.
pub trait GuestTimers {
    /// Arms a timer, of which the context may have `timers_max`.
    fn arm(&mut self, _timer: NewTimer<'_>, _timers_max: u64) -> Result<Arming, StateError> {
        Ok(Arming::TooMany { used: 1 })
    }

    /// Cancels the timer of this name; tells whether there was one.
    fn cancel(&mut self, _name: &str) -> Result<bool, StateError> {
        Ok(false)
    }

    /// Up to `limit` timers behind the one with the name `after`.
    fn timers(&mut self, _after: Option<&str>, _limit: usize) -> Result<TimersPage, StateError> {
        Ok(TimersPage::default())
    }
}
