//! The border to the calls that a turn sends to other contexts: the part of
//! [`GuestState`](crate::GuestState) that takes them. How they get there, once and in order, is behind it.

use crate::guest_state::StateError;

/// In how many lists and objects a value may lie of what a callback is handed: of the answer or the
/// error that it is told, and of its data. Readers of JSON commonly take 128, and these lie in a few
/// themselves.
pub const CALLBACK_DEPTH_MAX: usize = 120;

/// What a callback is called with has less than this around the answer and the data.
pub(crate) const AROUND_OUTCOME_BYTES: u64 = 256;

/// A call that a turn sends to another context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSend<'a> {
    /// The other context's id.
    pub context: [u8; 32],
    /// The method's name.
    pub method: &'a str,
    /// What it is called with: a JSON object.
    pub args: &'a [u8],
    /// What is called when it has ended.
    pub callback: Option<NewCallback<'a>>,
}

/// What is called when a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewCallback<'a> {
    /// The handler's name.
    pub handler: &'a str,
    /// JSON that is handed to it beside the outcome.
    pub data: &'a [u8],
}

/// Of the calls that a context has sent, those together that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentBounds {
    /// How many there may be.
    pub calls_max: u64,
    /// What they may take, in bytes, as they lie on the disk.
    pub bytes_max: u64,
    /// How often in a row calls may be sent by calls that were sent.
    pub depth_max: u64,
}

/// What sending a call comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sending {
    /// It leaves when the turn is committed. Its name, unique in its context.
    Sent(String),
    /// There are as many already as there may be, or as many bytes.
    TooMany {
        /// Which of the two, by its name in [`crate::Limits::TABLE`].
        limit: &'static str,
    },
    /// So many calls have caused this turn, one the other, as may.
    TooDeep,
}

/// What a turn can do with calls of other contexts' updates. By default it sends none. Lengths and
/// the count of the turn are already checked, and the turn is known to be allowed to write.
pub trait GuestSends {
    /// Takes a call that is to be sent when the turn is committed.
    fn send(&mut self, _call: NewSend<'_>, _bounds: SentBounds) -> Result<Sending, StateError> {
        let limit = "sent_calls_max";
        Ok(Sending::TooMany { limit })
    }

    /// Whether the turn's answer is kept for whoever has sent the call, and so is bounded by
    /// [`outcome_bytes_max`](crate::Limits::outcome_bytes_max).
    fn keeps_outcome(&self) -> bool {
        false
    }
}
