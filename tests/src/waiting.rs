//! Waiting for what a server does in its own time: for a state, and not for ever.

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until there is something to see.
///
/// # Panics
/// If there is nothing for two minutes, with `what` was waited for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}
