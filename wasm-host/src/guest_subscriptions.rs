//! The border to the events that a context is told: the part of [`GuestState`](crate::GuestState)
//! that subscribes its handlers to events of its own or of other contexts. How they get there,
//! each once and in order, is behind it.

use crate::guest_state::StateError;

/// What a turn subscribes to. What the same handler was told of the same context before is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSubscription<'a> {
    /// Whose events.
    pub context: [u8; 32],
    /// Whether that is the context that subscribes.
    pub is_own: bool,
    /// The handler that is told.
    pub handler: &'a str,
    /// Events of this kind alone.
    pub kind: Option<&'a str>,
    /// Those behind the one with this number. Without it those that are told from now on.
    pub after: Option<u64>,
}

/// What subscribing comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribing {
    /// The handler is told, when the turn is committed.
    Subscribed,
    /// There are as many subscriptions already as there may be.
    TooMany,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSubscription {
    /// Whose events.
    pub context: [u8; 32],
    /// The handler that is told.
    pub handler: String,
    /// Events of this kind alone.
    pub kind: Option<String>,
    /// Up to which event it was told, or need not be; none if nobody has looked yet which was the
    /// last when it subscribed.
    pub after: Option<u64>,
    /// How often it was tried to tell it the next one, which has failed.
    pub attempts: u32,
}

/// What a turn can do with subscriptions. By default there are none. Lengths are already checked,
/// and the turn is known to be allowed to write.
pub trait GuestSubscriptions {
    /// Subscribes to events, where the context may have `subscriptions_max`.
    fn subscribe(
        &mut self,
        _subscription: NewSubscription<'_>,
        _subscriptions_max: u64,
    ) -> Result<Subscribing, StateError> {
        Ok(Subscribing::TooMany)
    }

    /// Ends the subscription of a handler to the events of a context; tells whether there was one.
    fn unsubscribe(&mut self, _context: &[u8; 32], _handler: &str) -> Result<bool, StateError> {
        Ok(false)
    }

    /// All of them, in the order in which they were made.
    fn subscribed(&mut self) -> Result<Vec<GuestSubscription>, StateError> {
        Ok(Vec::new())
    }
}
