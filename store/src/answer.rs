//! Answers that are kept under a key of the caller's, so that a call which is sent
//! again is answered again and not run again. What a key and a request are known by,
//! what is kept, and for how long. How it is written is in `apply/answers.rs`, how it
//! is read in `snapshot/history.rs`; the reasons are in
//! `store/decisions/0014-answers-under-keys.md`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{StoreError, hex};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, Root};

/// What an answer counts for beside its text: key, digests, and its two rows.
pub const ANSWER_AROUND_BYTES: u64 = 256;

/// An idempotency key, by its digest: as long as any other, whatever the caller chose.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnswerKey([u8; 32]);

impl AnswerKey {
    /// The key that a caller has written like this.
    pub fn of(text: &[u8]) -> AnswerKey {
        AnswerKey(*blake3::hash(text).as_bytes())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> AnswerKey {
        AnswerKey(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AnswerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerKey({})", hex(&self.0))
    }
}

/// What a call asks for, by its digest: method and arguments, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestDigest([u8; 32]);

impl RequestDigest {
    /// The digest of a call.
    pub fn of(method: &[u8], args: &[u8]) -> RequestDigest {
        let mut hasher = blake3::Hasher::new();
        // Its length in front, so that no end of a method is taken for a beginning of
        // arguments.
        hasher.update(&(method.len() as u64).to_le_bytes());
        hasher.update(method);
        hasher.update(args);
        RequestDigest(*hasher.finalize().as_bytes())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> RequestDigest {
        RequestDigest(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestDigest({})", hex(&self.0))
    }
}

/// What the application has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its output.
    Output(Bytes),
    /// Its own error. Nothing that the call did has happened.
    Error(Bytes),
}

impl Said {
    /// The text of either.
    pub fn text(&self) -> &Bytes {
        match self {
            Said::Output(text) | Said::Error(text) => text,
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Said::Error(_))
    }

    pub(crate) fn of(text: Bytes, is_error: bool) -> Said {
        match is_error {
            true => Said::Error(text),
            false => Said::Output(text),
        }
    }
}

/// An answer to be kept with the effects of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedAnswer {
    /// Under which key.
    pub key: AnswerKey,
    /// What was asked for.
    pub request: RequestDigest,
    /// Fuel that the call has used.
    pub fuel_used: u64,
    /// What the application has said.
    pub said: Said,
}

impl KeyedAnswer {
    /// Bytes that it counts for.
    pub(crate) fn bytes(&self) -> u64 {
        self.said.text().len() as u64 + ANSWER_AROUND_BYTES
    }
}

/// An answer that is kept: everything that its caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// What was asked for.
    pub request: RequestDigest,
    /// The stamp of the call.
    pub hlc: Hlc,
    /// Fuel that it has used.
    pub fuel_used: u64,
    /// The delta that it became, if it became one.
    pub delta_id: Option<DeltaId>,
    /// The context's root after it.
    pub root: Root,
    /// What the application has said.
    pub said: Said,
}

/// For how long answers are kept: until the first of these bounds is reached, the
/// oldest of a context first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerBounds {
    /// How old one becomes. An older one counts for nothing, though it be there.
    pub age_max: Duration,
    /// How many of one context there are, from 1.
    pub count_max: u64,
    /// Bytes of those of one context, with [`ANSWER_AROUND_BYTES`] around each. An answer that
    /// has more alone is refused.
    pub bytes_max: u64,
}

impl Default for AnswerBounds {
    fn default() -> Self {
        AnswerBounds::DEFAULT
    }
}

impl AnswerBounds {
    /// A day of calls that are not too many.
    pub const DEFAULT: AnswerBounds = AnswerBounds {
        age_max: Duration::from_secs(24 * 60 * 60),
        count_max: 10_000,
        bytes_max: 4 << 20,
    };

    /// Whether an answer of `stamp` is too old at `now`.
    pub fn is_expired(&self, stamp: Hlc, now: Hlc) -> bool {
        let age = now.micros().saturating_sub(stamp.micros());
        u128::from(age) >= self.age_max.as_micros()
    }
}

/// What a step of expiring has done.
#[derive(Debug, Default)]
pub struct ExpiredAnswers {
    /// Answers dropped.
    pub answers: usize,
    /// Contexts, by their slots, of which a record is damaged, so that none of their answers
    /// went, and which.
    pub damaged: Vec<(ContextSlot, StoreError)>,
    /// Where to go on; `None` if everything was looked at.
    pub next: Option<ContextSlot>,
    /// Whether a checkpoint is to be made before the next step.
    pub is_checkpoint_due: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_method_and_arguments_and_nothing_between_them() {
        let digest = RequestDigest::of(b"add", b"{}");
        assert_eq!(digest, RequestDigest::of(b"add", b"{}"));
        for (method, args) in [("ad", "d{}"), ("add{", "}"), ("add", "{ }"), ("", "add{}")] {
            let other = RequestDigest::of(method.as_bytes(), args.as_bytes());
            assert_ne!(digest, other, "{method} {args}");
        }
    }

    #[test]
    fn an_answer_expires_at_its_age_and_not_before() {
        let bounds = AnswerBounds {
            age_max: Duration::from_micros(10),
            ..AnswerBounds::default()
        };
        let at = |micros: u64| Hlc::from_bits(micros << 12);
        assert!(!bounds.is_expired(at(100), at(109)));
        assert!(bounds.is_expired(at(100), at(110)));
        assert!(!bounds.is_expired(at(100), at(50)), "a clock went back");
    }
}
