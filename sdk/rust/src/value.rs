//! Values as bytes: the one place that says how an entry's value is written.
//! How keys are written is in `key.rs`.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of `value`. Panics, which stops the call, if its type cannot be
/// written (a map whose keys are not strings).
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => unwritable(&error),
    }
}

/// The value that `bytes` are. Panics, which stops the call, if they are none:
/// the application has changed the type of a field whose entries are older.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(prefix: &[u8], bytes: &[u8]) -> T {
    match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => unreadable(prefix, &error),
    }
}

/// An entry holds no value of its field's type: the application has changed the type, or another
/// member of the context has written something else there.
#[derive(Debug)]
pub struct Unreadable(serde_json::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the entry holds no value of the field's type: {}",
            self.0
        )
    }
}

impl std::error::Error for Unreadable {}

/// The same where the application decides what then happens.
#[inline]
pub(crate) fn try_decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(bytes).map_err(Unreadable)
}

/// The same where others may be read instead: none if these are no bytes of such a value.
#[inline]
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cold]
#[inline(never)]
fn unwritable(error: &serde_json::Error) -> ! {
    panic!("a value cannot be written to an entry: {error}")
}

#[cold]
#[inline(never)]
fn unreadable(prefix: &[u8], error: &serde_json::Error) -> ! {
    panic!(
        "an entry below {:?} is not a value of the field's type: {error}",
        String::from_utf8_lossy(prefix)
    )
}
