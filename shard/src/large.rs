//! What is let go of beside the shard, if it is large: to free the memory of a million pieces takes
//! tens of milliseconds, and nobody waits for it. So are lists and texts, and what a context's
//! calls have made between two checkpoints, which may be little of each of many contexts. One
//! thread of the process does it, started by the first who needs it; it ends with the process, as
//! there is nothing to be lost.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use corelet_store::{Arriving, Deleting, Loading, Sequence};
use crossbeam_channel::Sender;

use crate::placement::unpin;

/// What takes less is let go of where it is: that takes a tenth of a millisecond at most.
const LARGE_BYTES: usize = 64 << 10;

/// What may wait to be let go of: how many, and of how many bytes. What would be more is let go of
/// where it is, so that memory stays within its bounds however fast it is filled.
const WAITING_MAX: usize = 1_024;
const WAITING_BYTES_MAX: usize = 256 << 20;

/// How much memory something takes, about.
pub(crate) trait Weigh: Send + 'static {
    fn memory_bytes(&self) -> usize;
}

macro_rules! weigh {
    ($($large:ty),*) => {
        $(impl Weigh for $large {
            fn memory_bytes(&self) -> usize {
                <$large>::memory_bytes(self)
            }
        })*
    };
}

weigh!(Sequence, Loading, Arriving, Deleting);

/// About what a piece takes that is allocated by itself, such as a value, with its place among
/// others and without its bytes.
pub(crate) const PIECE_BYTES: usize = 128;

/// Something that may be large. To drop it costs the shard little.
#[derive(Clone, Debug)]
pub(crate) struct Large<T: Weigh>(Option<T>);

impl<T: Weigh> Large<T> {
    pub(crate) fn new(value: T) -> Self {
        Large(Some(value))
    }

    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect(IS_THERE)
    }
}

impl<T: Weigh + Default> Default for Large<T> {
    fn default() -> Self {
        Large::new(T::default())
    }
}

const IS_THERE: &str = "it is there until it is dropped";

impl<T: Weigh> Deref for Large<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(IS_THERE)
    }
}

impl<T: Weigh> DerefMut for Large<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(IS_THERE)
    }
}

impl<T: Weigh> Drop for Large<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take() else {
            return;
        };
        let bytes = value.memory_bytes();
        if bytes >= LARGE_BYTES {
            FREEING.get_or_init(Freeing::start).take(value, bytes);
        } else if bytes > 0 {
            drop(gather(value, bytes));
        }
    }
}

/// What is let go of together, each too small to be handed over alone.
#[derive(Default)]
struct Heap {
    things: Vec<Box<dyn Send>>,
    bytes: usize,
}

impl Weigh for Heap {
    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

thread_local! {
    /// Of this shard, while it lets go of many things in one go.
    static HEAP: RefCell<Option<Heap>> = const { RefCell::new(None) };
}

/// Puts something on the heap, or gives it back if there is none.
fn gather<T: Send + 'static>(value: T, bytes: usize) -> Option<T> {
    let mut value = Some(value);
    // A thread that ends has none any more.
    let _ = HEAP.try_with(|heap| {
        if let Some(heap) = &mut *heap.borrow_mut()
            && let Some(value) = value.take()
        {
            heap.things.push(Box::new(value));
            heap.bytes += bytes;
        }
    });
    value
}

/// Until it is dropped, what this thread lets go of is kept; then it goes together.
pub(crate) struct Together(());

impl Together {
    pub(crate) fn begin() -> Together {
        HEAP.set(Some(Heap::default()));
        Together(())
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        drop(HEAP.take().map(Large::new));
    }
}

static FREEING: OnceLock<Freeing> = OnceLock::new();

/// The thread, as those who hand something over see it.
struct Freeing {
    /// None if it could not be started.
    waiting: Option<Sender<(Box<dyn Send>, usize)>>,
}

/// Bytes that wait for the thread.
static WAITING_BYTES: AtomicUsize = AtomicUsize::new(0);

impl Freeing {
    fn start() -> Freeing {
        let (waiting, taken) = crossbeam_channel::bounded(WAITING_MAX);
        let thread = std::thread::Builder::new().name("let-go".to_owned());
        let started = thread.spawn(move || {
            unpin();
            for (large, bytes) in taken {
                drop::<Box<dyn Send>>(large);
                WAITING_BYTES.fetch_sub(bytes, Ordering::Relaxed);
            }
        });
        if let Err(error) = &started {
            tracing::warn!(%error, "large lists and texts are let go of by their shards, which takes up to some tens of milliseconds each");
        }
        Freeing {
            waiting: started.is_ok().then_some(waiting),
        }
    }

    /// Lets the thread have something, if it has time for it.
    fn take(&self, large: impl Send + 'static, bytes: usize) {
        let before = WAITING_BYTES.fetch_add(bytes, Ordering::Relaxed);
        // One that is larger than all may be is taken alone.
        let has_room = before == 0 || before + bytes <= WAITING_BYTES_MAX;
        let is_sent = has_room
            && (self.waiting.as_ref())
                .is_some_and(|waiting| waiting.try_send((Box::new(large), bytes)).is_ok());
        if !is_sent {
            WAITING_BYTES.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;

    /// Tells where it is dropped.
    struct Told(usize, Sender<ThreadId>);

    impl Weigh for Told {
        fn memory_bytes(&self) -> usize {
            self.0
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.1.send(thread::current().id());
        }
    }

    fn dropped_by(bytes: usize) -> (Large<Told>, Receiver<ThreadId>) {
        let (tell, told) = unbounded();
        (Large::new(Told(bytes, tell)), told)
    }

    #[test]
    fn what_is_large_is_let_go_of_by_another_thread() {
        let here = thread::current().id();
        let (small, told) = dropped_by(LARGE_BYTES - 1);
        drop(small);
        assert_eq!(told.recv().unwrap(), here);
        let (taken, told) = dropped_by(LARGE_BYTES);
        drop(taken.into_inner());
        assert_eq!(told.recv().unwrap(), here, "it is large no longer");
        let (large, told) = dropped_by(LARGE_BYTES);
        drop(large);
        assert_ne!(told.recv().unwrap(), here);
    }

    #[test]
    fn much_that_is_small_is_let_go_of_together() {
        let here = thread::current().id();
        for (count, is_beside) in [(2, false), (3, true)] {
            let (small, told): (Vec<_>, Vec<_>) =
                (0..count).map(|_| dropped_by(LARGE_BYTES / 3 + 1)).unzip();
            let together = Together::begin();
            drop(small);
            assert!(told.iter().all(Receiver::is_empty), "they are kept");
            drop(together);
            for told in told {
                assert_eq!(told.recv().unwrap() != here, is_beside);
            }
        }
        let (small, told) = dropped_by(LARGE_BYTES - 1);
        drop(small);
        assert_eq!(told.recv().unwrap(), here, "nothing is kept any more");
    }
}
