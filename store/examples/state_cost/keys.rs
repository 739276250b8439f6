//! Committing one `set` in a context of many keys against the same in a context that has
//! only the keys written: what of a call depends on how many there are, without the rest of
//! it. In both, calls write the same number of keys in turn; in the
//! large one they lie evenly among all the others, so that they are on pages, and
//! below nodes of the trie, that nothing else touches.

use std::error::Error;

use bytes::Bytes;
use corelet_store::Op;

use crate::Plan;
use crate::ledger::{Bench, micros};
use crate::report::{fact, median};

const KEYS_WRITTEN: u64 = 1024;
const CALLS: usize = 16_384;
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
    let (mut cpu, mut wall, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=plan.rounds {
        let mut sides = Vec::new();
        for place in [large, empty] {
            let calls = (0..CALLS as u64)
                .map(|n| bench.call(place, vec![set(n % KEYS_WRITTEN * apart)]))
                .collect();
            sides.push(bench.commit(calls)?);
        }
        let [in_large, in_empty] = sides[..] else {
            return Err("there are two sides".into());
        };
        // The first round brings both into memory.
        if round > 0 {
            let [in_cpu, in_wall] = in_large.over(&in_empty);
            cpu.push(in_cpu);
            wall.push(in_wall);
            each.push(micros(in_large.wall, CALLS));
        }
    }
    let what = format!("committing one set in a context of {} keys", plan.keys);
    for (which, ratios) in [("time", wall), ("processor time", cpu)] {
        fact(
            format!("{what} over one in an empty context, {which}"),
            format!("{:.2}", median(ratios)),
        );
    }
    fact(
        format!("{what}, durable, 64 at once"),
        format!("{:.1} us", median(each)),
    );
    Ok(())
}

fn set(number: u64) -> Op {
    Op::set(
        Bytes::from(format!("key-{number:010}")),
        Bytes::from_static(VALUE),
    )
}
