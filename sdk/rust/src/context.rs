//! What a call knows about itself. All of it stays the same for the call's
//! whole length, except [`fuel_used`].

use crate::calls::ContextId;
use crate::host;

/// The most bytes that [`random`] gives at once.
pub use crate::host::RANDOM_BYTES_MAX;

/// The id of the context that is called.
pub fn id() -> [u8; 32] {
    let id = host::context_id();
    id.try_into().expect("the host gives ids of 32 bytes")
}

/// Who called: the subject of the token that admitted the call, `corelet:node` if a timer did, or
/// `corelet:context/` and an id (see [`caller_context`]).
pub fn caller() -> String {
    host::caller()
}

/// The context that called, if it was one: by a call that it has [sent](crate::calls::send), because such
/// a call of this context to it has ended, or because this one is told of its
/// [events](crate::events::subscribe). No client can call as one.
pub fn caller_context() -> Option<ContextId> {
    host::caller()
        .strip_prefix("corelet:context/")?
        .parse()
        .ok()
}

/// The public key under which this node writes: whose is what the call writes into
/// an [`Owned`](crate::collections::Owned) collection.
pub fn author() -> [u8; 32] {
    let author = host::author();
    author.try_into().expect("the host gives keys of 32 bytes")
}

/// The call's time in nanoseconds since 1970 (UTC). Never goes back from one
/// update of a context to the next.
pub fn now() -> u64 {
    host::now()
}

/// `N` random bytes, at most [`RANDOM_BYTES_MAX`].
pub fn random<const N: usize>() -> [u8; N] {
    const {
        assert!(N <= RANDOM_BYTES_MAX as usize);
    }
    let bytes = host::random(N as u32);
    bytes.try_into().expect("the host gives as many as asked")
}

/// Changes whenever the context's state has changed, whoever wrote it: what a
/// guest needs that caches something of its own.
pub fn state_version() -> u64 {
    host::state_version()
}

/// Fuel that this call has used so far.
pub fn fuel_used() -> u64 {
    host::fuel_used()
}
