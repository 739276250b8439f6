//! What the context is to be called for later: its timers. When one is due, this node's server
//! calls a `#[handler]` of the application, once, also if it was restarted meanwhile.
//!
//! ```
//! use corelet_sdk::prelude::*;
//! use std::time::Duration;
//!
//! #[corelet::application]
//! pub struct Egg {
//!     is_hard: Register<bool>,
//! }
//!
//! #[corelet::methods]
//! impl Egg {
//!     #[update]
//!     pub fn cook(&mut self, minutes: u64) {
//!         let time = Duration::from_secs(60 * minutes);
//!         timers::after("egg", time, "done", &json!({ "hard": minutes > 6 }));
//!     }
//!
//!     #[handler]
//!     pub fn done(&mut self, hard: bool) {
//!         self.is_hard.set(&hard);
//!         events::emit("done", &hard);
//!     }
//! }
//!
//! # fn main() {
//! let mut context = corelet_sdk::testing::Context::<Egg>::new();
//! context.update("cook", json!({ "minutes": 7 })).unwrap();
//! assert!(context.run_due().is_empty());
//! context.set_now(context.timers()[0].at);
//! assert_eq!(context.run_due().len(), 1);
//! assert_eq!(context.events()[0].kind, "done");
//! # }
//! ```
//!
//! A timer has a name, unique in its context: arming one of the same name again replaces it. A
//! handler is called with [`context::caller`](crate::context::caller) `corelet:node`. If it
//! returns an error or is stopped, nothing of it has happened: the server calls it again
//! after a while, and in the end gives the run up and tells the context's log. Timers belong
//! to this node: other nodes of the context do not run them.

use std::time::Duration;

use serde::Serialize;

use crate::host;

/// A timer that is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// The handler that is called.
    pub handler: String,
    /// What it is called with, as JSON.
    pub args: String,
    /// When it runs next, in nanoseconds since 1970.
    pub at: u64,
    /// From one run to the next, of a periodic one.
    pub every: Option<Duration>,
    /// How often that run was tried already, and failed.
    pub attempts: u32,
}

impl Timer {
    pub(crate) fn of(timer: &host::Timer) -> Timer {
        Timer {
            name: timer.name.clone(),
            handler: timer.handler.clone(),
            args: String::from_utf8_lossy(&timer.args).into_owned(),
            at: timer.at,
            every: timer.every.map(Duration::from_nanos),
            attempts: timer.attempts,
        }
    }
}

/// Has `handler` called once, when `delay` has passed since this call's time. `args` is written as
/// a JSON object with one member per parameter of the handler.
///
/// Panics, which stops the call, if `args` cannot be written as JSON. How many timers a context
/// has, how far ahead and how long their names and arguments are is bounded: more stops the
/// call, and so does a query that comes here.
pub fn after<T: Serialize + ?Sized>(name: &str, delay: Duration, handler: &str, args: &T) {
    arm(name, delay, None, handler, args);
}

/// The same, at a time in nanoseconds since 1970; at once if that has passed.
pub fn at<T: Serialize + ?Sized>(name: &str, nanos: u64, handler: &str, args: &T) {
    let delay = nanos.saturating_sub(host::now());
    arm(name, Duration::from_nanos(delay), None, handler, args);
}

/// Has `handler` called again and again, the first time when `interval` has passed. Of the times
/// that pass while nobody can run it one is made up for; how short `interval` may be is bounded.
pub fn every<T: Serialize + ?Sized>(name: &str, interval: Duration, handler: &str, args: &T) {
    arm(name, interval, Some(interval), handler, args);
}

/// Cancels the timer; tells whether there was one.
pub fn cancel(name: &str) -> bool {
    host::cancel_timer(name)
}

/// All timers that are armed, in the order of their names.
pub fn armed() -> impl Iterator<Item = Timer> {
    let mut page = Vec::new().into_iter();
    let (mut last, mut is_over) = (None::<String>, false);
    std::iter::from_fn(move || {
        if page.len() == 0 && !is_over {
            let next = host::armed_timers(last.as_deref(), PAGE);
            is_over = next.is_empty();
            page = next.into_iter();
        }
        let timer = page.next()?;
        last = Some(timer.name.clone());
        Some(Timer::of(&timer))
    })
}

/// Timers asked for at a time.
const PAGE: u32 = 64;

fn arm<T: Serialize + ?Sized>(
    name: &str,
    delay: Duration,
    every: Option<Duration>,
    handler: &str,
    args: &T,
) {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match serde_json::to_vec(args) {
        Ok(args) => host::arm_timer(name, handler, &args, nanos(delay), every.map(nanos)),
        Err(error) => panic!("the arguments of timer `{name}` are not JSON: {error}"),
    }
}
