//! Deltas and seals that come in any order, and bounds.

use proptest::prelude::*;

use super::*;
use crate::seal::Sealer;
use crate::seal::tests::{Key, delta};

const CONTEXT: ContextId = ContextId::from_bytes([7; 32]);

fn pending(bounds: PendingBounds) -> PendingDeltas {
    PendingDeltas::new(CONTEXT, bounds)
}

/// A row of deltas of one author, each behind the one before.
fn row(key: &Key, count: u64) -> Vec<(DeltaId, Bytes)> {
    let mut row: Vec<(DeltaId, Bytes)> = Vec::new();
    for hlc in 1..=count {
        let parents: Vec<DeltaId> = row.last().map(|(id, _)| *id).into_iter().collect();
        row.push(delta(CONTEXT, key, hlc, &parents));
    }
    row
}

#[derive(Clone, Copy, Debug)]
enum Comes {
    Delta(usize),
    Seal(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Deltas of three authors with parents among those before them, and the seal of each
    /// author's newest, come in any order; each is handed out once, behind its parents, and
    /// only when the seals that have come vouch for it by a way through what has come.
    #[test]
    fn whatever_the_order_each_is_handed_out_behind_its_parents(
        parents in prop::collection::vec(
            (0..3_usize, prop::collection::vec(any::<prop::sample::Index>(), 0..4)), 1..30,
        ),
        order in Just((0..60_usize).collect::<Vec<_>>()).prop_shuffle(),
        at_once in 1..4_usize,
    ) {
        let keys: Vec<Key> = (1..4).map(Key::new).collect();
        let mut deltas: Vec<(DeltaId, Bytes)> = Vec::new();
        let mut above: Vec<BTreeSet<usize>> = Vec::new();
        for (n, (author, some)) in parents.iter().enumerate() {
            let own = (0..n).rev().find(|other| parents[*other].0 == *author);
            let some = some.iter().filter(|_| n > 0).map(|index| index.index(n));
            let some: BTreeSet<usize> = some.chain(own).collect();
            let ids: Vec<DeltaId> = some.iter().map(|parent| deltas[*parent].0).collect();
            deltas.push(delta(CONTEXT, &keys[*author], n as u64 + 1, &ids));
            above.push(some);
        }
        let count = deltas.len();
        let newest: Vec<usize> = (0..3)
            .filter_map(|author| (0..count).rev().find(|n| parents[*n].0 == author))
            .collect();
        let mut pending = pending(PendingBounds::default());
        let mut applied = BTreeSet::new();
        let mut came = BTreeSet::new();
        let events = order.into_iter().filter_map(|n| match n {
            n if n < count => Some(Comes::Delta(n)),
            n if n >= 30 && newest.contains(&(n - 30)) => Some(Comes::Seal(n - 30)),
            _ => None,
        });
        let mut sealed = BTreeSet::new();
        for event in events {
            match event {
                Comes::Delta(n) => {
                    let held = pending.receive(deltas[n].1.clone(), 0).unwrap();
                    prop_assert_eq!(held, Held::Waits { dropped: vec![] });
                    came.insert(n);
                }
                Comes::Seal(n) => {
                    let seal = keys[parents[n].0].seal(CONTEXT, deltas[n].0);
                    let held = pending.seal(seal, 0);
                    prop_assert_eq!(held, Held::Waits { dropped: vec![] });
                    sealed.insert(n);
                }
            }
            loop {
                let ready = pending.take_ready(at_once);
                if ready.is_empty() {
                    break;
                }
                for vouched in ready {
                    let n = (0..count).find(|n| deltas[*n].0 == vouched.id()).unwrap();
                    prop_assert_eq!(vouched.canonical(), &deltas[n].1);
                    // Down from the sealed one through what has come.
                    let top = newest.iter().find(|top| parents[**top].0 == parents[n].0).unwrap();
                    prop_assert!(sealed.contains(top));
                    let missing: Vec<DeltaId> = above[n].difference(&applied).map(|p| deltas[*p].0).collect();
                    match missing.is_empty() {
                        true => {
                            prop_assert!(applied.insert(n), "{} came twice", n);
                            let branch = pending.branch(&deltas[n].0);
                            prop_assert!(branch.is_some_and(|branch| branch.delta() == deltas[n].0));
                            pending.applied(&deltas[n].0);
                        }
                        false => pending.waits(&deltas[n].0, &missing),
                    }
                }
            }
        }
        prop_assert_eq!(applied.len(), count);
        prop_assert!(pending.is_empty());
        prop_assert_eq!(pending.bytes(), 0);
        prop_assert!(pending.wanted().is_empty() && pending.unsealed().is_empty());
        prop_assert!(pending.graph.has_nothing() && pending.by_age.is_empty());
        prop_assert!(pending.early_by_age.is_empty());
        prop_assert!(pending.early.is_empty());
    }
}

#[test]
fn nothing_is_handed_out_that_its_own_author_does_not_vouch_for() {
    let (mine, other) = (Key::new(1), Key::new(2));
    let (low_id, low) = delta(CONTEXT, &mine, 1, &[]);
    let (top_id, top) = delta(CONTEXT, &other, 2, &[low_id]);
    let mut pending = pending(PendingBounds::default());
    for canonical in [low.clone(), top.clone()] {
        pending.receive(canonical, 0).unwrap();
    }
    // A liar who follows a delta that it has made up vouches for its own alone.
    pending.seal(other.seal(CONTEXT, top_id), 0);
    assert!(pending.take_ready(9).is_empty());
    assert_eq!(
        pending.seal(other.seal(CONTEXT, low_id), 0),
        Held::NotItsAuthor
    );
    assert!(pending.take_ready(9).is_empty());
    assert_eq!(pending.unsealed(), [mine.node_id()]);
    assert!(pending.branch(&low_id).is_none());
    pending.seal(mine.seal(CONTEXT, low_id), 0);
    let ids = |ready: Vec<VouchedDelta>| ready.iter().map(VouchedDelta::id).collect::<Vec<_>>();
    assert_eq!(ids(pending.take_ready(9)), [low_id, top_id]);
    // The whole at once gives the same.
    let seals = || vec![other.seal(CONTEXT, top_id)];
    let deltas = || vec![top.clone(), low.clone()];
    assert!(vouch(CONTEXT, deltas(), seals()).unwrap().is_empty());
    let both = vec![mine.seal(CONTEXT, low_id), other.seal(CONTEXT, top_id)];
    assert_eq!(
        ids(vouch(CONTEXT, deltas(), both).unwrap()),
        [low_id, top_id]
    );
}

#[test]
fn a_seal_on_the_newest_hands_out_a_row_that_has_waited_for_it() {
    let key = Key::new(1);
    let row = row(&key, 2000);
    let mut pending = pending(PendingBounds::default());
    for (_, canonical) in row.iter().rev() {
        pending.receive(canonical.clone(), 0).unwrap();
    }
    assert!(pending.take_ready(usize::MAX).is_empty());
    pending.seal(key.seal(CONTEXT, row[1999].0), 0);
    let ready = pending.take_ready(usize::MAX);
    let ids: Vec<DeltaId> = ready.iter().map(VouchedDelta::id).collect();
    let expected: Vec<DeltaId> = row.iter().map(|(id, _)| *id).collect();
    assert!(ids == expected);
    assert!(pending.branch(&row[1500].0).is_some());
    assert!(pending.branch(&row[0].0).is_none(), "the way is too long");
}

/// The first of a long row comes last of all, when the ledger has said of every other that it lacks
/// its parent.
#[test]
fn a_row_that_waits_for_its_first_is_handed_out_twice_each_however_long_it_is() {
    let key = Key::new(1);
    for count in [10, 100, 1000] {
        let row = row(&key, count);
        let mut pending = pending(PendingBounds::default());
        for (_, canonical) in row[1..].iter().rev() {
            pending.receive(canonical.clone(), 0).unwrap();
        }
        pending.seal(key.seal(CONTEXT, row[row.len() - 1].0), 0);
        let mut applied = BTreeSet::new();
        let mut handed_out = 0;
        let mut cascade = |pending: &mut PendingDeltas, applied: &mut BTreeSet<DeltaId>| {
            loop {
                let ready = pending.take_ready(64);
                if ready.is_empty() {
                    break;
                }
                handed_out += ready.len();
                for vouched in ready {
                    let at = row.iter().position(|(id, _)| *id == vouched.id()).unwrap();
                    match at == 0 || applied.contains(&row[at - 1].0) {
                        true => {
                            pending.applied(&row[at].0);
                            applied.insert(row[at].0);
                        }
                        false => pending.waits(&row[at].0, &[row[at - 1].0]),
                    }
                }
            }
            handed_out
        };
        assert_eq!(cascade(&mut pending, &mut applied), row.len() - 1);
        assert!(applied.is_empty());
        pending.receive(row[0].1.clone(), 0).unwrap();
        let all = cascade(&mut pending, &mut applied);
        assert_eq!((applied.len(), pending.len()), (row.len(), 0));
        assert!(all <= 2 * row.len(), "{all} for {count}");
    }
}

#[test]
fn what_is_wanted_is_what_nobody_has_sent() {
    let key = Key::new(1);
    let row = row(&key, 4);
    let mut pending = pending(PendingBounds::default());
    pending.receive(row[3].1.clone(), 0).unwrap();
    pending.receive(row[2].1.clone(), 0).unwrap();
    pending.seal(key.seal(CONTEXT, row[3].0), 0);
    let ready = pending.take_ready(9);
    assert_eq!(ready.len(), 2);
    pending.waits(&row[2].0, &[row[1].0]);
    pending.waits(&row[3].0, &[row[2].0]);
    assert_eq!(pending.wanted(), [row[1].0]);
    assert!(pending.take_ready(9).is_empty());
    pending.applied(&row[1].0);
    assert_eq!(pending.take_ready(9).len(), 2);
    pending.refused(&row[2].0);
    pending.waits(&row[3].0, &[row[2].0]);
    assert_eq!(pending.wanted(), [row[2].0]);
}

#[test]
fn the_oldest_make_room_and_the_too_old_go() {
    let key = Key::new(1);
    let row = row(&key, 6);
    let mut pending = pending(PendingBounds {
        count_max: 3,
        bytes_max: 1 << 20,
        age_micros_max: 100,
        ahead_micros_max: 100,
    });
    for (at, now) in [(1, 0), (2, 1), (3, 2)] {
        pending.receive(row[at].1.clone(), now).unwrap();
    }
    let dropped = vec![row[1].0];
    let held = pending.receive(row[4].1.clone(), 50).unwrap();
    assert_eq!(held, Held::Waits { dropped });
    assert_eq!(pending.len(), 3);
    // A seal that is early takes no delta's place.
    let held = pending.seal(key.seal(CONTEXT, row[0].0), 60);
    assert_eq!(held, Held::Waits { dropped: vec![] });
    let dropped = vec![row[2].0];
    let held = pending.receive(row[5].1.clone(), 70).unwrap();
    assert_eq!(held, Held::Waits { dropped });
    assert_eq!(pending.age_micros(90), 88);
    assert!(pending.expire(102).is_empty());
    assert_eq!(pending.expire(103), [row[3].0]);
    assert_eq!(pending.expire(160), [row[4].0]);
    assert_eq!(pending.expire(171), [row[5].0]);
    assert!(pending.is_empty() && pending.bytes() == 0);
}

/// One signature makes as many seals as its maker likes, on deltas that there are not.
#[test]
fn seals_on_deltas_that_never_come_push_no_delta_out() {
    let key = Key::new(1);
    let row = row(&key, 40);
    let bounds = PendingBounds {
        count_max: 1000,
        bytes_max: 16 * PENDING_SEAL_BYTES * 8,
        age_micros_max: 100,
        ahead_micros_max: 100,
    };
    let mut pending = pending(bounds);
    for (_, canonical) in &row {
        let held = pending.receive(canonical.clone(), 0).unwrap();
        assert_eq!(held, Held::Waits { dropped: vec![] });
    }
    let stranger = Key::new(2);
    let early: Vec<_> = (0..60_u8)
        .map(|n| stranger.seal(CONTEXT, DeltaId::from_bytes([n; 32])))
        .collect();
    for sealed in &early {
        let held = pending.seal(sealed.clone(), 0);
        assert_eq!(held, Held::Waits { dropped: vec![] });
    }
    assert_eq!((pending.len(), pending.early.len()), (40, 16));
    assert!(pending.bytes() <= bounds.bytes_max);
    // The oldest of them have gone, and a delta takes none of their places either.
    assert_eq!(pending.seal(early[59].clone(), 0), Held::Already);
    pending.seal(key.seal(CONTEXT, row[39].0), 0);
    assert_eq!(pending.take_ready(99).len(), 40);
}

/// What a seal takes on a delta that is here counts as well.
#[test]
fn a_seal_on_a_delta_that_is_here_makes_its_own_room() {
    let key = Key::new(1);
    let row = row(&key, 60);
    let bounds = PendingBounds {
        count_max: 1000,
        bytes_max: 30 * delta_bytes(&row[1].1, 1, 0),
        age_micros_max: 100,
        ahead_micros_max: 100,
    };
    let mut pending = pending(bounds);
    let mut dropped = 0;
    for (id, canonical) in &row {
        pending.receive(canonical.clone(), 0).unwrap();
        let Held::Waits { dropped: gone } = pending.seal(key.seal(CONTEXT, *id), 0) else {
            panic!("it was received above");
        };
        assert!(!gone.contains(id));
        dropped += gone.len();
        assert!(pending.bytes() <= bounds.bytes_max);
    }
    assert!(dropped > 0 && pending.len() < 26);
}

/// A place among those whose seals are looked after is free again with the last delta that they
/// have come to, while others wait.
#[test]
fn authors_who_are_gone_take_no_place_from_others() {
    let (first_id, first) = delta(CONTEXT, &Key::new(1), 1, &[]);
    let mut pending = pending(PendingBounds::default());
    pending.receive(first, 0).unwrap();
    for n in 0..vouching::VOUCHERS_MAX + 10 {
        let key = Key::new(2 + n as u16);
        let low = delta(CONTEXT, &key, 2 + n as u64, &[first_id]);
        let top = delta(CONTEXT, &key, 3 + n as u64, &[low.0]);
        for (_, canonical) in [&low, &top] {
            pending.receive(canonical.clone(), 0).unwrap();
        }
        pending.seal(key.seal(CONTEXT, top.0), 0);
        pending.waits(&low.0, &[]);
        pending.spread();
        assert!(pending.graph.by_id(&low.0).unwrap().is_vouched, "{n}");
        for id in [low.0, top.0] {
            pending.refused(&id);
        }
    }
}

/// What a delta takes grows with its parents far more than by their 32 bytes.
#[test]
fn parents_are_charged_for_what_they_take() {
    let key = Key::new(1);
    let parents: Vec<DeltaId> = (0..1024_u32)
        .map(|n| DeltaId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()))
        .collect();
    let mut pending = pending(PendingBounds {
        count_max: 10_000,
        bytes_max: 4 << 20,
        age_micros_max: 100,
        ahead_micros_max: 100,
    });
    for hlc in 1..50 {
        let (_, canonical) = delta(CONTEXT, &key, hlc, &parents);
        pending.receive(canonical, 0).unwrap();
    }
    assert_eq!(pending.len(), 5);
}

#[test]
fn a_stamp_from_the_future_is_not_believed_yet() {
    let key = Key::new(1);
    let (_, canonical) = delta(CONTEXT, &key, 161 << 12, &[]);
    let mut pending = pending(PendingBounds {
        ahead_micros_max: 100,
        ..PendingBounds::default()
    });
    let held = pending.receive(canonical.clone(), 60).unwrap();
    assert!(matches!(held, Held::FromTheFuture(found) if found.ahead_micros == 101));
    assert!(pending.is_empty() && pending.bytes() == 0);
    let held = pending.receive(canonical, 61).unwrap();
    assert_eq!(held, Held::Waits { dropped: vec![] });
}
