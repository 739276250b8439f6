//! The one door to whoever runs the application: the server's imports in a
//! component, the in-memory host of `testing` everywhere else.

/// The most entries that one scan hands out.
pub(crate) const SCAN_ENTRIES_MAX: u32 = 1000;

/// The most random bytes that one request gives.
pub const RANDOM_BYTES_MAX: u32 = 4096;

#[cfg(target_arch = "wasm32")]
pub(crate) use server::*;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::memory_host::*;

#[cfg(target_arch = "wasm32")]
mod server {
    use crate::bindings::corelet::app::{
        blobs, calls, context, events, log, stable, storage, subscriptions, timers,
    };
    use crate::calls::{ContextId, QueryError, SendError};
    use crate::events::{SubscribeError, Subscription};
    use crate::log::Level;

    pub(crate) use blobs::{attach as attach_blob, detach as detach_blob, size as blob_size};
    pub(crate) use context::{
        author, caller, fuel_used, id as context_id, now, random, state_version,
    };
    pub(crate) use events::emit;
    pub(crate) use stable::{
        grow as stable_grow, read as stable_read, size as stable_size, write as stable_write,
    };
    pub(crate) use storage::{
        Entry, OutOfRange, Space, add, count, get, insert, list_append, list_insert, list_length,
        list_read, list_remove, remove, remove_range, scan, set, text_append, text_insert,
        text_length, text_read, text_remove, write_once,
    };

    pub(crate) fn attached_blobs(after: Option<&str>, limit: u32) -> Vec<(String, u64)> {
        let attached = blobs::attached(after, limit);
        let pair = |attachment: blobs::Attachment| (attachment.blob, attachment.size);
        attached.into_iter().map(pair).collect()
    }

    pub(crate) use timers::{
        Timer, arm as arm_timer, armed as armed_timers, cancel as cancel_timer,
    };

    pub(crate) fn query(
        context: &ContextId,
        method: &str,
        args: &[u8],
    ) -> Result<Vec<u8>, QueryError> {
        calls::query(context.as_bytes(), method, args).map_err(|error| match error {
            calls::QueryError::UnknownContext => QueryError::UnknownContext,
            calls::QueryError::UnknownMethod => QueryError::UnknownMethod,
            calls::QueryError::NotAQuery => QueryError::NotAQuery,
            calls::QueryError::Application(error) => QueryError::application(&error),
            calls::QueryError::Failed(name) => QueryError::Failed(name),
            calls::QueryError::Busy(limit) => QueryError::Busy(limit),
            calls::QueryError::Cycle => QueryError::Cycle,
            calls::QueryError::TooDeep => QueryError::TooDeep,
        })
    }

    pub(crate) fn send(
        context: &ContextId,
        method: &str,
        args: &[u8],
        callback: Option<(&str, &[u8])>,
    ) -> Result<String, SendError> {
        let callback = callback.map(|(handler, data)| calls::Callback {
            handler: handler.to_owned(),
            data: data.to_vec(),
        });
        let sent = calls::send(context.as_bytes(), method, args, callback.as_ref());
        sent.map_err(|error| match error {
            calls::SendError::UnknownContext => SendError::UnknownContext,
            calls::SendError::TooMany => SendError::TooMany,
            calls::SendError::TooDeep => SendError::TooDeep,
        })
    }

    pub(crate) fn subscribe(
        context: &ContextId,
        handler: &str,
        kind: Option<&str>,
        after: Option<u64>,
    ) -> Result<(), SubscribeError> {
        let subscribed = subscriptions::subscribe(context.as_bytes(), handler, kind, after);
        subscribed.map_err(|error| match error {
            subscriptions::SubscribeError::UnknownContext => SubscribeError::UnknownContext,
            subscriptions::SubscribeError::TooMany => SubscribeError::TooMany,
        })
    }

    pub(crate) fn unsubscribe(context: &ContextId, handler: &str) -> bool {
        subscriptions::unsubscribe(context.as_bytes(), handler)
    }

    pub(crate) fn subscribed() -> Vec<Subscription> {
        let shown = |it: subscriptions::Subscription| {
            let context: [u8; 32] = it.context.try_into().expect("an id has 32 bytes");
            Subscription {
                context: ContextId::from_bytes(context),
                handler: it.handler,
                kind: it.kind,
                after: it.after,
                attempts: it.attempts,
            }
        };
        subscriptions::subscribed().into_iter().map(shown).collect()
    }

    pub(crate) fn log(level: Level, message: &str) {
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        log::write(level, message);
    }
}
