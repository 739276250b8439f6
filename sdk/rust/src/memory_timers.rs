//! The timers of an application that runs without a server, of which a test decides when they are
//! due. Part of `memory_host.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::memory_host::{
    AROUND_TIMER_BYTES, Call, TIMER_AHEAD, TIMER_ARGS_BYTES, TIMER_NAME_BYTES, TIMER_RUNS, TIMERS,
    bound, check_json, check_limit, refuse, with, with_writing,
};

const NANOS_PER_MILLI: u64 = 1_000_000;
const NANOS_PER_MINUTE: u64 = 60_000 * NANOS_PER_MILLI;

/// A timer that is armed; times are in nanoseconds, `at` since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) name: String,
    pub(crate) handler: String,
    pub(crate) args: Vec<u8>,
    pub(crate) at: u64,
    pub(crate) every: Option<u64>,
    pub(crate) attempts: u32,
}

impl Call {
    fn timers_mut(&mut self) -> &mut BTreeMap<String, Timer> {
        if self.timers_before.is_none() {
            self.timers_before = Some(self.state.timers.clone());
        }
        &mut self.state.timers
    }
}

pub(crate) fn arm_timer(name: &str, handler: &str, args: &[u8], delay: u64, every: Option<u64>) {
    bound(TIMER_NAME_BYTES, name.len() as u64);
    bound(TIMER_NAME_BYTES, handler.len() as u64);
    if name.is_empty() || handler.is_empty() {
        refuse("a timer without a name or without a handler".to_owned());
    }
    bound(TIMER_ARGS_BYTES, args.len() as u64);
    with_writing(|call| {
        bound(TIMER_AHEAD, delay.div_ceil(NANOS_PER_MILLI));
        if let Some(every) = every {
            bound(TIMER_AHEAD, every.div_ceil(NANOS_PER_MILLI));
            let runs = match every {
                0 => u64::MAX,
                _ => NANOS_PER_MINUTE.div_ceil(every),
            };
            bound(TIMER_RUNS, runs);
        }
        let bytes = 3 * name.len() + handler.len() + args.len();
        call.count_write(bytes as u64 + AROUND_TIMER_BYTES);
        check_json("a timer's arguments are", args);
        if !call.state.timers.contains_key(name) {
            bound(TIMERS, call.state.timers.len() as u64 + 1);
        }
        let timer = Timer {
            name: name.to_owned(),
            handler: handler.to_owned(),
            args: args.to_vec(),
            at: call.now.saturating_add(delay),
            every,
            attempts: 0,
        };
        call.timers_mut().insert(name.to_owned(), timer);
        Ok(())
    });
}

pub(crate) fn cancel_timer(name: &str) -> bool {
    bound(TIMER_NAME_BYTES, name.len() as u64);
    with_writing(|call| {
        call.count_write(2 * name.len() as u64);
        Ok(call.timers_mut().remove(name).is_some())
    })
}

pub(crate) fn armed_timers(after: Option<&str>, limit: u32) -> Vec<Timer> {
    check_limit(limit);
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    with(|call| {
        let timers = call.state.timers.range::<str, _>((after, Bound::Unbounded));
        let timers = timers.map(|(_, timer)| timer.clone());
        timers.take(limit as usize).collect()
    })
}

/// What the server does before it calls a timer's handler: the timer goes, or is armed for the
/// first of its times that is yet to come.
pub(crate) fn end_run(name: &str) {
    with_writing(|call| {
        let now = call.now;
        let timers = call.timers_mut();
        let Some(timer) = timers.get_mut(name) else {
            return Ok(());
        };
        let passed = now.saturating_sub(timer.at);
        match timer.every.filter(|every| *every > 0) {
            Some(every) => {
                timer.at += (passed / every + 1) * every;
                timer.attempts = 0;
            }
            None => drop(timers.remove(name)),
        }
        Ok(())
    });
}
