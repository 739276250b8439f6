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
mod timers;

use wasmtime::component::Linker;

use crate::host_context::HostContext;

/// Defines all imports of the world.
pub(crate) fn add_to(linker: &mut Linker<HostContext>) -> wasmtime::Result<()> {
    context::add_to(linker)?;
    storage::add_to(linker)?;
    stable::add_to(linker)?;
    blobs::add_to(linker)?;
    timers::add_to(linker)?;
    calls::add_to(linker)?;
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
