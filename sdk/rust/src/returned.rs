//! What a method returns, as bytes for the host: a plain value is an answer, a
//! `Result` is an answer or an error. What goes in is in `arguments.rs`.
//!
//! Both are told apart by method resolution, not by the name of the type, so
//! that an alias of `Result` works as well: [`ResultReply`] takes `Returned` by
//! value and is found first; only where it does not fit, [`ValueReply`] is found
//! through a reference.

use serde::Serialize;

/// What a method returned.
pub struct Returned<T>(pub T);

/// The answer or the error of a call, each as JSON.
pub type Reply = Result<Vec<u8>, Vec<u8>>;

/// A method that may fail.
pub trait ResultReply {
    /// The answer or the error, as JSON.
    fn reply(self) -> Reply;
}

/// A method that always answers.
pub trait ValueReply {
    /// The answer, as JSON.
    fn reply(self) -> Reply;
}

impl<T: Serialize, E: Serialize> ResultReply for Returned<Result<T, E>> {
    #[inline]
    fn reply(self) -> Reply {
        match self.0 {
            Ok(value) => Ok(json(&value)),
            Err(error) => Err(json(&error)),
        }
    }
}

impl<T: Serialize> ValueReply for &Returned<T> {
    #[inline]
    fn reply(self) -> Reply {
        Ok(json(&self.0))
    }
}

/// What `#[init]` may return.
#[diagnostic::on_unimplemented(
    message = "`#[init]` cannot return `{Self}`",
    note = "an init method returns nothing or `Result<(), E>`: nobody reads an answer"
)]
pub trait InitReturned {
    /// Nothing, or the error as JSON.
    fn reply(self) -> Result<(), Vec<u8>>;
}

impl InitReturned for () {
    fn reply(self) -> Result<(), Vec<u8>> {
        Ok(())
    }
}

impl<E: Serialize> InitReturned for Result<(), E> {
    fn reply(self) -> Result<(), Vec<u8>> {
        self.map_err(|error| json(&error))
    }
}

/// Fails to compile, at the place of the type, if it cannot be written as JSON.
pub fn assert_serialize<T: Serialize>() {}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("what the method returned is not JSON: {error}"),
    }
}
