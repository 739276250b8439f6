//! A guest's store, in its place in the engine's pool, and how it is left.
//!
//! To leave it means to give its memory back to the system, which takes some 70 us for each MiB
//! that was touched: too long for a shard where a guest has taken much. Such a store is dropped by
//! a thread beside the shards.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use wasmtime::Store;

use crate::host_context::HostContext;

/// What has less memory is dropped where it is.
const LARGE_BYTES: u64 = 2 << 20;

/// How many may wait to be dropped. What would be more is dropped where it is. Their memory counts
/// as given back already, or whoever makes room for another would find none and go on making it: so
/// a host has at most the memory of these few more than its bound.
const WAITING_MAX: usize = 3;

/// Places in the pool beside those that permits are given for: of the ones that wait, and of the
/// one that is being dropped.
pub(crate) const LEAVING_INSTANCES: u32 = WAITING_MAX as u32 + 1;

/// A store that is cheap for a shard to drop.
pub(crate) struct Slot(Option<Store<HostContext>>);

const IS_THERE: &str = "it is there until it is dropped";

impl Slot {
    pub(crate) fn new(store: Store<HostContext>) -> Slot {
        Slot(Some(store))
    }
}

impl Deref for Slot {
    type Target = Store<HostContext>;

    fn deref(&self) -> &Store<HostContext> {
        self.0.as_ref().expect(IS_THERE)
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Store<HostContext> {
        self.0.as_mut().expect(IS_THERE)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let store = self.0.take();
        if let Some(store) = store.filter(|store| store.data().memory_bytes() >= LARGE_BYTES) {
            let shared = Arc::clone(&store.data().progress.shared);
            shared.leaving.take(Left::new(store));
        }
    }
}

/// A store with nothing in it that belongs to its thread or that somebody waits for.
struct Left {
    _store: Store<HostContext>,
}

impl Left {
    fn new(mut store: Store<HostContext>) -> Left {
        store.data_mut().leave_thread();
        Left { _store: store }
    }
}

/// The thread that drops stores, as those who hand one over see it. It ends when nothing of the
/// host is left.
pub(crate) struct Leaving {
    /// None if it could not be started.
    waiting: Option<SyncSender<Left>>,
}

impl Leaving {
    pub(crate) fn start() -> Leaving {
        let (waiting, taken) = sync_channel::<Left>(WAITING_MAX);
        let thread = thread::Builder::new().name("leave-slots".to_owned());
        let started = thread.spawn(move || taken.into_iter().for_each(drop));
        if let Err(error) = &started {
            tracing::warn!(%error, "the memory of large instances is given back by their shards, which takes up to some milliseconds each");
        }
        Leaving {
            waiting: started.is_ok().then_some(waiting),
        }
    }

    /// Lets the thread have a store, if it has time for it.
    fn take(&self, left: Left) {
        if let Some(waiting) = &self.waiting {
            // If not, it comes back and is dropped here.
            let _ = waiting.try_send(left);
        }
    }
}
