//! Scans against a sorted list: order, direction, prefix, `after`, and the
//! edges where a byte is 0xff.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use corelet_store::{ContextSlot, KEY_BYTES_MAX, Scan, Space};
use proptest::prelude::*;

use crate::{Bench, set, value_of};

/// What a scan must show, said as simply as it can be.
fn expected(keys: &BTreeSet<Vec<u8>>, scan: &Scan<'_>) -> Vec<Vec<u8>> {
    let mut shown: Vec<Vec<u8>> = keys
        .iter()
        .filter(|key| key.starts_with(scan.prefix))
        .cloned()
        .collect();
    if let Some(after) = scan.after {
        shown.retain(|key| {
            if scan.reverse {
                key.as_slice() < after
            } else {
                key.as_slice() > after
            }
        });
    }
    if scan.reverse {
        shown.reverse();
    }
    shown.truncate(scan.limit);
    shown
}

fn shown(bench: &Bench, slot: ContextSlot, scan: Scan<'_>) -> Vec<Vec<u8>> {
    let mut shown = Vec::new();
    let snapshot = bench.ledger().snapshot().unwrap();
    snapshot
        .scan(slot, scan, &mut |entry| {
            assert_eq!(entry.key(), value_of(&entry)?, "each value is its key");
            shown.push(entry.key().to_vec());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    shown
}

/// Three contexts with the same keys, so that a scan that leaves its slot on
/// either side is seen.
fn filled(keys: &BTreeSet<Vec<u8>>) -> (Bench, [ContextSlot; 3]) {
    let mut bench = Bench::new();
    let slots = [1, 2, 3].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        let call = bench.call(n, slot, keys.iter().map(|key| set(key, key)).collect());
        bench.commit(vec![call]);
    }
    (bench, slots)
}

fn check(bench: &Bench, slots: [ContextSlot; 3], keys: &BTreeSet<Vec<u8>>, scan: Scan<'_>) {
    for slot in slots {
        assert_eq!(
            shown(bench, slot, scan),
            expected(keys, &scan),
            "{slot} {scan:?}"
        );
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    let under = keys
        .iter()
        .filter(|key| key.starts_with(scan.prefix))
        .count() as u64;
    assert_eq!(snapshot.count(slots[1], scan.prefix).unwrap(), under);
    assert_eq!(
        snapshot.count_up_to(slots[1], scan.prefix, 2).unwrap(),
        under.min(2)
    );
}

#[test]
fn scans_stay_within_their_prefix_at_0xff() {
    let longest = vec![0xff; KEY_BYTES_MAX];
    let keys: BTreeSet<Vec<u8>> = [
        &[][..],
        &[0],
        &[0, 0xff],
        &[1],
        &[0xfe, 0xff],
        &[0xfe, 0xff, 0],
        &[0xfe, 0xff, 0xff],
        &[0xff],
        &[0xff, 0],
        &[0xff, 0xff],
        &[0xff, 0xff, 0xff],
        &longest,
    ]
    .iter()
    .map(|key| key.to_vec())
    .collect();
    let (bench, slots) = filled(&keys);
    let mut edges: Vec<Vec<u8>> = keys.iter().cloned().collect();
    edges.extend([
        vec![0xfe],
        vec![2],
        vec![0xff; KEY_BYTES_MAX + 1],
        vec![0; 2 * KEY_BYTES_MAX],
    ]);
    for prefix in &edges {
        for after in edges.iter().map(|key| Some(key.as_slice())).chain([None]) {
            for (reverse, limit) in [(false, 100), (true, 100), (false, 1), (true, 1), (true, 0)] {
                check(
                    &bench,
                    slots,
                    &keys,
                    Scan {
                        space: Space::Shared,
                        prefix,
                        after,
                        limit,
                        reverse,
                    },
                );
            }
        }
    }
}

#[test]
fn a_scan_ends_when_the_visitor_breaks() {
    let keys = (0..10).map(|n| vec![n]).collect();
    let (bench, slots) = filled(&keys);
    for reverse in [false, true] {
        let mut visited = 0;
        let scan = Scan {
            space: Space::Shared,
            limit: 100,
            reverse,
            ..Scan::default()
        };
        let snapshot = bench.ledger().snapshot().unwrap();
        snapshot
            .scan(slots[0], scan, &mut |_| {
                visited += 1;
                Ok(match visited {
                    3 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                })
            })
            .unwrap();
        assert_eq!(visited, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn scans_agree_with_a_sorted_list(
        keys in prop::collection::btree_set(key(), 0..30),
        scans in prop::collection::vec((key(), prop::option::of(key()), 0..40_usize, any::<bool>()), 30),
    ) {
        let (bench, slots) = filled(&keys);
        for (prefix, after, limit, reverse) in &scans {
            let scan = Scan { space: Space::Shared, prefix, after: after.as_deref(), limit: *limit, reverse: *reverse };
            check(&bench, slots, &keys, scan);
        }
    }
}

/// Short keys out of few bytes, so that many are prefixes of each other.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 0x7f, 0xfe, 0xff]), 0..5)
}
