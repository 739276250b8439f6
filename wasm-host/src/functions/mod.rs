//! The host functions of the world, one file per interface.
//!
//! Each checks its limits before it works, charges fuel for its call and for
//! the bytes it touches, and borrows the guest's lists where it can. None
//! waits for anything but the end of a slice, and what takes longer is asked for again behind it;
//! but for those of `calls.rs`, which wait for another guest.

mod blobs;
mod calls;
mod context;
mod events;
mod log;
mod sequences;
mod stable;
mod storage;
mod subscriptions;
mod timers;

pub(crate) use stable::save_stable;

use wasmtime::component::Linker;

use crate::guest_sends::CALLBACK_DEPTH_MAX;
use crate::host_context::HostContext;

/// Defines all imports of the world.
pub(crate) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    context::add_to(linker)?;
    storage::add_to(linker)?;
    stable::add_to(linker)?;
    blobs::add_to(linker)?;
    timers::add_to(linker)?;
    calls::add_to(linker)?;
    subscriptions::add_to(linker)?;
    events::add_to(linker)?;
    log::add_to(linker)
}

/// Whether `bytes` are JSON in UTF-8. (Skipping a string, serde_json does not
/// look at its encoding, so that is asked first.)
pub(crate) fn is_json(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

/// Whether `bytes`, which are JSON, nest no deeper than what a handler is told of others may; else what
/// they are, in words.
pub fn is_shallow(bytes: &[u8]) -> Result<(), String> {
    // Each level has two brackets.
    if bytes.len() < 2 * CALLBACK_DEPTH_MAX || depth(bytes) <= CALLBACK_DEPTH_MAX {
        return Ok(());
    }
    Err(format!(
        "nested deeper than {CALLBACK_DEPTH_MAX} levels, which a callback could not read"
    ))
}

/// In how many lists and objects the innermost value of a JSON text lies.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            // To the end of the text.
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_deep_as_its_brackets_outside_of_texts() {
        for (json, expected) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[1,{"b":2}],"c":[[]]}"#, 3),
            (r#"["[[[\"[[","\\",{"[{[":"]"}]"#, 2),
            (r#"["\\\"[[["]"#, 1),
        ] {
            assert!(is_json(json.as_bytes()).is_ok(), "{json}");
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(is_shallow(nested(CALLBACK_DEPTH_MAX).as_bytes()).is_ok());
        assert!(is_shallow(nested(CALLBACK_DEPTH_MAX + 1).as_bytes()).is_err());
    }
}
