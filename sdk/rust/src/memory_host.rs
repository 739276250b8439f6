//! The host of an application that runs without a server: the same functions
//! as the component's imports, on a map in memory. Who starts and ends calls is
//! `testing.rs`; nothing here outlives a call.
//!
//! Thread: the calls of one thread; another thread has its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::host::{RANDOM_BYTES_MAX, SCAN_ENTRIES_MAX};
use crate::log::Level;

/// One entry of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A running call and all that it has done so far.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What writes have replaced, in order; undone from the end on failure.
    pub(crate) replaced: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) events: Vec<(String, Vec<u8>)>,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) may_write: bool,
    pub(crate) context_id: [u8; 32],
    pub(crate) caller: String,
    pub(crate) now: u64,
    pub(crate) seed: u64,
    pub(crate) state_version: u64,
}

/// What a panic carries that stops a query because it wrote.
pub(crate) struct WroteInQuery;

thread_local! {
    static RUNNING: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Makes `call` the running one.
pub(crate) fn begin(call: Call) {
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
    RUNNING
        .with_borrow_mut(Option::take)
        .expect("a call that began has not ended")
}

/// Whether a call is running on this thread.
pub(crate) fn is_running() -> bool {
    RUNNING.with_borrow(Option::is_some)
}

impl Call {
    /// Takes every write back.
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, before)) = self.replaced.pop() {
            match before {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
        self.events.clear();
    }
}

fn with<T>(f: impl FnOnce(&mut Call) -> T) -> T {
    RUNNING.with_borrow_mut(|running| match running {
        Some(call) => f(call),
        None => panic!(
            "no call is running: an application's state is reached through `testing::Context`"
        ),
    })
}

/// The running call, which must be allowed to write.
fn with_writing<T>(f: impl FnOnce(&mut Call) -> T) -> T {
    let result = with(|call| call.may_write.then(|| f(call)));
    // Not a panic of the application: no hook runs, nothing is printed.
    result.unwrap_or_else(|| std::panic::resume_unwind(Box::new(WroteInQuery)))
}

pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
    with(|call| call.entries.get(key).cloned())
}

pub(crate) fn set(key: &[u8], value: &[u8]) {
    with_writing(|call| {
        let before = call.entries.insert(key.to_vec(), value.to_vec());
        call.replaced.push((key.to_vec(), before));
    });
}

pub(crate) fn remove(key: &[u8]) -> bool {
    with_writing(|call| {
        let before = call.entries.remove(key);
        let was_there = before.is_some();
        if was_there {
            call.replaced.push((key.to_vec(), before));
        }
        was_there
    })
}

pub(crate) fn scan(prefix: &[u8], after: Option<&[u8]>, limit: u32, reverse: bool) -> Vec<Entry> {
    assert!(
        limit <= SCAN_ENTRIES_MAX,
        "a scan of {limit} entries is over the limit of {SCAN_ENTRIES_MAX}"
    );
    let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| Entry {
        key: key.clone(),
        value: value.clone(),
    };
    let within = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(prefix);
    let limit = limit as usize;
    with(|call| {
        if reverse {
            // Keys with the prefix lie together; those behind them are skipped.
            let end = after.map_or(Bound::Unbounded, Bound::Excluded);
            call.entries
                .range::<[u8], _>((Bound::Included(prefix), end_not_before(prefix, end)))
                .rev()
                .skip_while(|entry| !within(entry))
                .take_while(within)
                .take(limit)
                .map(entry)
                .collect()
        } else {
            let start = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            call.entries
                .range::<[u8], _>((start, Bound::Unbounded))
                .take_while(within)
                .take(limit)
                .map(entry)
                .collect()
        }
    })
}

/// A range that ends before it begins is not empty but a panic.
fn end_not_before<'a>(prefix: &'a [u8], end: Bound<&'a [u8]>) -> Bound<&'a [u8]> {
    match end {
        Bound::Excluded(end) if end <= prefix => Bound::Included(prefix),
        end => end,
    }
}

pub(crate) fn count(prefix: &[u8]) -> u64 {
    with(|call| {
        call.entries
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .count() as u64
    })
}

pub(crate) fn emit(kind: &str, payload: &[u8]) {
    with_writing(|call| call.events.push((kind.to_owned(), payload.to_vec())));
}

pub(crate) fn log(level: Level, message: &str) {
    with(|call| call.logs.push((level, message.to_owned())));
}

pub(crate) fn context_id() -> Vec<u8> {
    with(|call| call.context_id.to_vec())
}

pub(crate) fn caller() -> String {
    with(|call| call.caller.clone())
}

pub(crate) fn now() -> u64 {
    with(|call| call.now)
}

pub(crate) fn random(count: u32) -> Vec<u8> {
    assert!(
        count <= RANDOM_BYTES_MAX,
        "{count} random bytes are over the limit of {RANDOM_BYTES_MAX}"
    );
    with(|call| {
        (0..count)
            .map(|_| {
                // SplitMix64: repeatable from the seed, and nothing more.
                call.seed = call.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = call.seed;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed >> 56) as u8
            })
            .collect()
    })
}

pub(crate) fn state_version() -> u64 {
    with(|call| call.state_version)
}

pub(crate) fn fuel_used() -> u64 {
    0 // nothing is metered here
}
