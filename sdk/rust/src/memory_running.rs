//! The call that runs on this thread, and those that wait for it: queries of other contexts that have
//! asked it. Part of `memory_host.rs`.

use std::cell::RefCell;
use std::panic::resume_unwind;

use crate::memory_host::{Call, Misused, WroteInQuery};
use crate::stable_blocks;

/// A query that waits for what another context answers.
struct Waiter {
    context: [u8; 32],
    caller: String,
    /// Queries of others that it and those it waits for have asked so far, and those above it.
    queries: u64,
}

thread_local! {
    static RUNNING: RefCell<Option<Call>> = const { RefCell::new(None) };
    /// Those that wait for the running call, the outermost first.
    static WAITING: RefCell<Vec<Waiter>> = const { RefCell::new(Vec::new()) };
}

/// How many wait for the running call.
pub(crate) fn count_waiting() -> usize {
    WAITING.with_borrow(Vec::len)
}

/// Whether a context waits for the running call.
pub(crate) fn is_waiting(context: &[u8; 32]) -> bool {
    WAITING.with_borrow(|waiting| waiting.iter().any(|it| it.context == *context))
}

/// Runs `f`, which may run other calls, while the running one waits.
pub(crate) fn aside<T>(f: impl FnOnce() -> T) -> T {
    /// Puts the call back, whatever happens.
    struct Back(Option<Call>);
    impl Drop for Back {
        fn drop(&mut self) {
            stable_blocks::forget();
            let waiter = WAITING.with_borrow_mut(Vec::pop);
            if let (Some(call), Some(waiter)) = (&mut self.0, waiter) {
                call.used.queries = waiter.queries;
            }
            RUNNING.set(self.0.take());
        }
    }
    let call = RUNNING.take().expect("it is a call that waits");
    WAITING.with_borrow_mut(|waiting| {
        waiting.push(Waiter {
            context: call.context_id,
            caller: call.caller.clone(),
            queries: call.used.queries,
        });
    });
    let _back = Back(Some(call));
    f()
}

/// Makes `call` the running one. A query for which another waits is called by whoever called that one.
pub(crate) fn begin(mut call: Call) {
    stable_blocks::forget();
    WAITING.with_borrow(|waiting| {
        if let Some(above) = waiting.last().filter(|_| !call.may_write) {
            call.caller.clone_from(&above.caller);
            call.used.queries = above.queries;
        }
    });
    RUNNING.with_borrow_mut(|running| {
        assert!(
            running.is_none(),
            "a call is running on this thread already: calls do not nest"
        );
        *running = Some(call);
    });
}

/// Ends the running call and hands it back.
pub(crate) fn end() -> Call {
    let call = RUNNING.with_borrow_mut(Option::take);
    let call = call.expect("a call that began has not ended");
    WAITING.with_borrow_mut(|waiting| {
        if let Some(above) = waiting.last_mut().filter(|_| !call.may_write) {
            above.queries = call.used.queries;
        }
    });
    call
}

/// Whether a call is running on this thread.
pub(crate) fn is_running() -> bool {
    RUNNING.with_borrow(Option::is_some)
}

pub(crate) fn with<T>(f: impl FnOnce(&mut Call) -> T) -> T {
    RUNNING.with_borrow_mut(|running| match running {
        Some(call) => f(call),
        None => panic!(
            "no call is running: an application's state is reached through `testing::Context`"
        ),
    })
}

/// The running call, which must be allowed to write, and to write this.
pub(crate) fn with_writing<T>(f: impl FnOnce(&mut Call) -> Result<T, Misused>) -> T {
    let result = with(|call| call.may_write.then(|| f(call)));
    // Not a panic of the application: no hook runs, nothing is printed.
    match result {
        Some(Ok(value)) => value,
        Some(Err(misused)) => resume_unwind(Box::new(misused)),
        None => resume_unwind(Box::new(WroteInQuery)),
    }
}
