//! A ledger that is as large as it may be: what frees some of it still has room, and then there
//! is room for others again.

use std::collections::BTreeMap;

use corelet_store::{Change, ContextSlot, StoreError};

use crate::{Bench, id, set};

pub(crate) const MAP_BYTES: u64 = 16 << 20;

/// Sets one key of a context after the other to values of so many bytes until there is no room.
/// Gives how many that were.
pub(crate) fn fill(
    bench: &mut Bench,
    n: u8,
    slot: ContextSlot,
    prefix: &str,
    value_bytes: usize,
) -> usize {
    for written in 0.. {
        let op = set(format!("{prefix}{written}"), vec![7; value_bytes]);
        let call = bench.call(n, slot, vec![op]);
        match bench.ledger().commit(vec![call]) {
            Ok(mut verdicts) => drop(verdicts.remove(0).unwrap()),
            Err(StoreError::MapFull { bytes_max }) => {
                assert_eq!(bytes_max, MAP_BYTES);
                return written;
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("no ledger takes so many")
}

#[test]
fn what_is_deleted_in_a_full_ledger_leaves_room_for_others() {
    let value_bytes = [20_000, 3_000, 100];
    let mut counts = BTreeMap::new();
    let mut bench = Bench::with_map(MAP_BYTES);
    // Each fills what the one before it has left.
    for n in 1..=4 {
        let slot = bench.create(n);
        for bytes in value_bytes {
            let written = fill(&mut bench, n, slot, &format!("{bytes} "), bytes);
            counts.entry(bytes).or_insert_with(Vec::new).push(written);
        }
        bench.verify();
        bench.commit(vec![Change::DeleteContext(id(n))]);
        while bench.ledger().sweep(256).unwrap().is_more {}
        if n == 2 {
            bench.reopen();
        }
    }
    println!("{counts:?}");
    let large = &counts[&value_bytes[0]];
    assert!(large[0] > 200, "{large:?}");
    assert!(
        large.iter().all(|count| count * 10 >= large[0] * 9),
        "{large:?}"
    );
}
