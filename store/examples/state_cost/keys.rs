//! Committing one `set` in a context of many keys against the same in a context that has
//! only the keys written: what of a call depends on how many there are, without the rest of
//! it. In both, calls write the same number of keys in turn; in the
//! large one they lie evenly among all the others, so that they are on pages, and
//! below nodes of the trie, that nothing else touches. Beside that calls write to other keys of it
//! each time, anywhere, so that hardly a page or node is met twice by a checkpoint.

use std::error::Error;

use bytes::Bytes;
use corelet_store::Op;

use crate::Plan;
use crate::ledger::{Bench, Took, micros};
use crate::report::{fact, median};

const KEYS_WRITTEN: u64 = 1024;
const CALLS: usize = 16_384;
/// From one key to the next of those anywhere: a prime, so that none comes twice before all have come.
const SCATTERED: u64 = 6_700_417;
/// Writes of one call while the context is filled.
const FILL_OPS: u64 = 2_000;
/// Sixty-four bytes.
const VALUE: &[u8] = b"a value that is neither short nor long, sixty-four bytes of text.";

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::new(&plan.dir, "keys")?;
    let (large, empty) = (bench.create()?, bench.create()?);
    let mut number = 0;
    while number < plan.keys {
        let mut calls = Vec::new();
        // As many as a checkpoint brings in at once.
        for _ in 0..16 {
            let end = (number + FILL_OPS).min(plan.keys);
            if number < end {
                let ops = (number..end).map(set).collect();
                calls.push(bench.call(large, ops));
            }
            number = end;
        }
        bench.commit(calls)?;
    }
    let apart = (plan.keys / KEYS_WRITTEN).max(1);
    let in_turn = |n: u64| n % KEYS_WRITTEN * apart;
    let mut anywhere = 0;
    let [mut some, mut any] = [(); 2].map(|()| Side::default());
    for round in 0..=plan.rounds {
        let mut commit = |place, key: &mut dyn FnMut(u64) -> u64| {
            let calls = (0..CALLS as u64).map(|n| bench.call(place, vec![set(key(n))]));
            let calls = calls.collect();
            bench.commit(calls)
        };
        let in_large = commit(large, &mut |n| in_turn(n))?;
        let in_empty = commit(empty, &mut |n| in_turn(n))?;
        let in_all = commit(large, &mut |_| {
            anywhere = (anywhere + SCATTERED) % plan.keys;
            anywhere
        })?;
        // The first round brings them into memory.
        if round > 0 {
            some.note(&in_large, &in_empty);
            any.note(&in_all, &in_empty);
        }
    }
    some.tell(&format!(
        "committing one set in a context of {} keys",
        plan.keys
    ));
    any.tell(&format!("committing one set of any of {} keys", plan.keys));
    Ok(())
}

/// Calls in the large context, each round of them over those in the empty one.
#[derive(Default)]
struct Side {
    cpu: Vec<f64>,
    wall: Vec<f64>,
    /// Microseconds of each call.
    each: Vec<f64>,
}

impl Side {
    fn note(&mut self, in_large: &Took, in_empty: &Took) {
        let [cpu, wall] = in_large.over(in_empty);
        self.cpu.push(cpu);
        self.wall.push(wall);
        self.each.push(micros(in_large.wall, CALLS));
    }

    fn tell(self, what: &str) {
        for (which, ratios) in [("time", self.wall), ("processor time", self.cpu)] {
            fact(
                format!("{what} over one in an empty context, {which}"),
                format!("{:.2}", median(ratios)),
            );
        }
        fact(
            format!("{what}, durable, 64 at once"),
            format!("{:.1} us", median(self.each)),
        );
    }
}

fn set(number: u64) -> Op {
    Op::set(
        Bytes::from(format!("key-{number:010}")),
        Bytes::from_static(VALUE),
    )
}
