//! The error that the SDK itself gives to callers, free for applications too.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// An error as callers see it: `{"code":"…","message":"…"}`.
///
/// A method may return any error that serde can write; this one saves writing
/// a type where a code and a sentence are enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// What programs go by; stable, in `snake_case`.
    pub code: Cow<'static, str>,
    /// What people read.
    pub message: Cow<'static, str>,
}

impl Error {
    /// An error with `code` for programs and `message` for people.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Error {
        Error {
            code: code.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// With the code `out_of_range`.
impl From<crate::collections::OutOfRange> for Error {
    fn from(error: crate::collections::OutOfRange) -> Error {
        Error::new("out_of_range", error.to_string())
    }
}
