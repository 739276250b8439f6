//! What the application tells the world once a call is committed. Lines for
//! people are in `log.rs`.

use serde::Serialize;

use crate::host;

/// Appends an event to the context's log. Nothing is told if the call fails.
///
/// Panics, which stops the call, if `payload` cannot be written as JSON (a map
/// whose keys are not strings).
pub fn emit<T: Serialize + ?Sized>(kind: &str, payload: &T) {
    match serde_json::to_vec(payload) {
        Ok(payload) => host::emit(kind, &payload),
        Err(error) => panic!("the payload of event `{kind}` is not JSON: {error}"),
    }
}
