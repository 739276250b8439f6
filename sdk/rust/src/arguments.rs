//! The arguments of a call: a JSON object with one member per parameter.
//! What a method returns is in `returned.rs`.

use serde::Deserialize;

use crate::error::Error;

/// Reads the arguments of `method` into the struct that the macro made from
/// its parameters.
///
/// The error is JSON for the caller, code `bad_arguments`: not an object, an
/// unknown, missing or doubled member, or a value of the wrong type.
#[inline]
pub fn parse<'a, T: Deserialize<'a>>(method: &str, args: &'a [u8]) -> Result<T, Vec<u8>> {
    // serde would also take an array for a struct; positions are no interface.
    if args.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad_arguments(method, "expected a JSON object"));
    }
    match serde_json::from_slice(args) {
        Ok(arguments) => Ok(arguments),
        Err(error) => Err(bad_arguments(method, &error.to_string())),
    }
}

/// The error for a method that does not exist, as JSON for the caller.
#[cold]
#[inline(never)]
pub fn unknown_method(method: &str) -> Vec<u8> {
    let mut message = String::from("the application has no method `");
    message.push_str(method);
    message.push('`');
    write(Error::new("unknown_method", message))
}

/// The error for a handler that does not exist, as JSON for the context's log.
#[cold]
#[inline(never)]
pub fn unknown_handler(handler: &str) -> Vec<u8> {
    let mut message = String::from("the application has no handler `");
    message.push_str(handler);
    message.push('`');
    write(Error::new("unknown_handler", message))
}

/// The error for a state whose form the application does not know, as JSON.
#[cold]
#[inline(never)]
pub(crate) fn no_migration(from: u64, to: u64) -> Vec<u8> {
    let message = format!("state of schema version {from} cannot be brought into version {to}");
    write(Error::new("no_migration", message))
}

#[cold]
#[inline(never)]
fn bad_arguments(method: &str, reason: &str) -> Vec<u8> {
    let mut message = String::from("arguments of `");
    message.push_str(method);
    message.push_str("`: ");
    message.push_str(reason);
    write(Error::new("bad_arguments", message))
}

fn write(error: Error) -> Vec<u8> {
    serde_json::to_vec(&error).expect("two strings are always JSON")
}
