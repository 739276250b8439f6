//! Why a copy of all shards holds calls between contexts together, though each shard's part is of a
//! moment of its own.
//!
//! What a step of a call rests on is durable at another shard before it: the sending before the
//! taking, the taking before the end, the end before it is forgotten that it was taken. A copy that had a
//! step and not what it rests on would lose a call or run it twice. So no step begins while the
//! parts of a copy are taken: one that begins before rests on what was durable before the first
//! part, and so is in all of them. Shared by all shards, and threads that copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::rt;

/// From one look whether the parts are taken to the next, of each that waits: a few milliseconds is
/// what that takes, and seconds where disks are slow. Twice as long each time.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(32);

/// Whether parts of a copy are being taken, of how many copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<AtomicUsize>);

/// Parts are being taken as long as this lives.
pub(crate) struct Cutting(Arc<AtomicUsize>);

impl Cut {
    /// Before the first part is asked for.
    pub(crate) fn begin(&self) -> Cutting {
        self.0.fetch_add(1, Ordering::SeqCst);
        Cutting(Arc::clone(&self.0))
    }

    /// Resolves at a moment at which no parts are being taken.
    pub(crate) async fn over(&self) {
        let mut pause = PAUSE;
        while self.0.load(Ordering::SeqCst) > 0 {
            rt::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
