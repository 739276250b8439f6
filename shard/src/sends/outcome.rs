//! What a call that was sent has come to: what its callback is told, and what the receiver keeps of
//! it until the sender's is durable.

use std::borrow::Cow;

use bytes::Bytes;
use corelet_wasm_host::Failure;

use crate::error::CallError;
use crate::fault::name_of_refused;

/// So much is kept of an application's error that is for a log alone.
const LOGGED_BYTES_MAX: usize = 512;

/// How a call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out, and this is its answer, in JSON.
    Done(Bytes),
    /// The application said no, in JSON. Nothing of it has happened.
    Refused(Bytes),
    /// It could not be carried out, or was stopped: a name that clients know. Nothing of it has
    /// happened.
    Failed(Cow<'static, str>),
}

const DONE: u8 = 0;
const REFUSED: u8 = 1;
const FAILED: u8 = 2;

impl Outcome {
    pub(crate) fn failed(name: &'static str) -> Outcome {
        Outcome::Failed(Cow::Borrowed(name))
    }

    /// Of a turn that has failed by its application's fault.
    pub(crate) fn of_error(error: &CallError) -> Outcome {
        match error {
            CallError::Guest { failure, .. } => match &**failure {
                Failure::Application { error } => Outcome::Refused(Bytes::copy_from_slice(error)),
                failure => Outcome::failed(failure.name()),
            },
            CallError::Uncommitted(refused) => {
                Outcome::failed(name_of_refused(refused).unwrap_or("internal_error"))
            }
            _ => Outcome::failed("internal_error"),
        }
    }

    /// The same of a call without a callback: what its sender's log tells, and no more.
    pub(crate) fn for_log(self) -> Outcome {
        match self {
            Outcome::Done(_) => Outcome::Done(Bytes::new()),
            Outcome::Refused(error) => {
                let length = error.len().min(LOGGED_BYTES_MAX);
                Outcome::Refused(error.slice(..length))
            }
            Outcome::Failed(name) => Outcome::Failed(name),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Outcome::Done(_))
    }

    /// For people; none if it was carried out.
    pub(crate) fn why(&self) -> Option<String> {
        match self {
            Outcome::Done(_) => None,
            Outcome::Refused(error) => {
                let error = String::from_utf8_lossy(error);
                Some(format!("application_error: {error}"))
            }
            Outcome::Failed(name) => Some(name.clone().into_owned()),
        }
    }

    /// What the callback gets: an object of the outcome and the `data`, which are JSON.
    pub(crate) fn arguments(&self, data: &[u8]) -> Bytes {
        let mut out = b"{\"outcome\":".to_vec();
        match self {
            Outcome::Done(answer) => {
                out.extend_from_slice(b"{\"ok\":");
                out.extend_from_slice(answer);
                out.push(b'}');
            }
            Outcome::Refused(error) => {
                out.extend_from_slice(b"{\"error\":{\"code\":\"application_error\",\"error\":");
                out.extend_from_slice(error);
                out.extend_from_slice(b"}}");
            }
            Outcome::Failed(name) => {
                // Names are plain words.
                out.extend_from_slice(b"{\"error\":{\"code\":\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\"}}");
            }
        }
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
        out.push(b'}');
        Bytes::from(out)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            Outcome::Done(text) => (DONE, &text[..]),
            Outcome::Refused(text) => (REFUSED, &text[..]),
            Outcome::Failed(name) => (FAILED, name.as_bytes()),
        };
        out.push(kind);
        out.extend_from_slice(text);
    }

    pub(super) fn read(value: &[u8]) -> Option<Outcome> {
        let (kind, text) = value.split_first()?;
        Some(match *kind {
            DONE => Outcome::Done(Bytes::copy_from_slice(text)),
            REFUSED => Outcome::Refused(Bytes::copy_from_slice(text)),
            FAILED => {
                let name = String::from_utf8(text.to_vec()).ok()?;
                let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                Outcome::Failed(name.bytes().all(is_plain).then_some(Cow::Owned(name))?)
            }
            _ => return None,
        })
    }
}
