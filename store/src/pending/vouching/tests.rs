//! How far seals come, against the naive walk: down from each sealed delta, once for each
//! author.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::seal::Sealer;
use crate::seal::tests::{Key, delta};

const CONTEXT: ContextId = ContextId::from_bytes([7; 32]);

/// A delta that is here, by whom, and by whose seals it is reached.
struct Here {
    author: usize,
    reached: BTreeSet<usize>,
}

/// What is here, worked out as it is defined. Deltas and authors are numbers.
#[derive(Default)]
struct Naive {
    parents: Vec<BTreeSet<usize>>,
    here: BTreeMap<usize, Here>,
    /// On deltas that are here, and on others.
    sealed: BTreeSet<usize>,
}

impl Naive {
    fn receive(&mut self, at: usize, author: usize) {
        if self.here.contains_key(&at) {
            return;
        }
        let above = self
            .here
            .iter()
            .filter(|(n, _)| self.parents[**n].contains(&at));
        let mut reached: BTreeSet<usize> =
            above.flat_map(|(_, here)| here.reached.clone()).collect();
        reached.extend(self.sealed.contains(&at).then_some(author));
        let here = Here {
            author,
            reached: BTreeSet::new(),
        };
        self.here.insert(at, here);
        reached
            .into_iter()
            .for_each(|author| self.reach(at, author));
    }

    fn seal(&mut self, at: usize, author: usize) {
        self.sealed.insert(at);
        self.reach(at, author);
    }

    fn reach(&mut self, at: usize, author: usize) {
        if let Some(here) = self.here.get_mut(&at)
            && here.reached.insert(author)
        {
            for parent in self.parents[at].clone() {
                self.reach(parent, author);
            }
        }
    }

    fn refused(&mut self, at: usize) {
        if self.here.remove(&at).is_some() {
            // A seal goes with its delta.
            self.sealed.remove(&at);
        }
    }
}

/// Authors, in the same form.
fn authors(pending: &PendingDeltas, keys: &[Key], set: &VoucherSet) -> BTreeSet<usize> {
    let author = |voucher: usize| pending.vouchers.0[voucher].0;
    let number = |voucher| keys.iter().position(|key| key.node_id() == author(voucher));
    set.iter().map(|voucher| number(voucher).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Deltas come, are sealed and go in any order, and now and then somebody looks.
    #[test]
    fn seals_come_as_far_as_by_a_walk_for_each_author(
        deltas in prop::collection::vec(
            (0..5_usize, prop::collection::vec(any::<prop::sample::Index>(), 0..5)), 1..24,
        ),
        events in prop::collection::vec((0..9_u8, any::<prop::sample::Index>()), 1..100),
    ) {
        let keys: Vec<Key> = (1..6).map(Key::new).collect();
        let mut made: Vec<(DeltaId, Bytes)> = Vec::new();
        let mut naive = Naive::default();
        for (n, (author, parents)) in deltas.iter().enumerate() {
            let parents = parents.iter().filter(|_| n > 0).map(|index| index.index(n));
            let parents: BTreeSet<usize> = parents.collect();
            let ids: Vec<DeltaId> = parents.iter().map(|parent| made[*parent].0).collect();
            // Stamps say nothing of the order.
            made.push(delta(CONTEXT, &keys[*author], 99 - n as u64, &ids));
            naive.parents.push(parents);
        }
        let mut pending = PendingDeltas::new(CONTEXT, PendingBounds::default());
        let look = (8, events[0].1);
        for (event, index) in events.into_iter().chain([look]) {
            let at = index.index(made.len());
            let author = deltas[at].0;
            match event {
                0..4 => {
                    pending.receive(made[at].1.clone(), 0).unwrap();
                    naive.receive(at, author);
                }
                4..6 => {
                    pending.seal(keys[author].seal(CONTEXT, made[at].0), 0);
                    naive.seal(at, author);
                }
                6 => {
                    pending.refused(&made[at].0);
                    naive.refused(at);
                }
                _ => {
                    pending.spread();
                    prop_assert_eq!(pending.len(), naive.here.len());
                    for (at, here) in &naive.here {
                        let found = pending.graph.by_id(&made[*at].0).unwrap();
                        prop_assert_eq!(&authors(&pending, &keys, &found.reached), &here.reached);
                        prop_assert_eq!(found.is_vouched, here.reached.contains(&here.author));
                    }
                    for (author, own) in &pending.vouchers.0 {
                        let is_own = |here: &&Here| {
                            keys[here.author].node_id() == *author && here.reached.contains(&here.author)
                        };
                        prop_assert_eq!(naive.here.values().filter(is_own).count(), *own);
                    }
                }
            }
        }
    }
}

/// Its own delta has come, and is about to be reached by way of one that came late.
#[test]
fn an_author_whose_seal_is_on_its_way_keeps_its_place() {
    let (mine, other) = (Key::new(1), Key::new(2));
    let low = delta(CONTEXT, &mine, 1, &[]);
    let late = delta(CONTEXT, &other, 2, &[low.0]);
    let middle = delta(CONTEXT, &other, 3, &[late.0]);
    let top = delta(CONTEXT, &mine, 4, &[middle.0]);
    let mut pending = PendingDeltas::new(CONTEXT, PendingBounds::default());
    for (_, canonical) in [&low, &middle, &top] {
        pending.receive(canonical.clone(), 0).unwrap();
    }
    pending.seal(mine.seal(CONTEXT, top.0), 0);
    // From now on nothing that its seals have come to is its own.
    pending.refused(&top.0);
    let sealed = |pending: &mut PendingDeltas, n: usize| {
        let key = Key::new(3 + n as u16);
        let (id, canonical) = delta(CONTEXT, &key, 5, &[]);
        pending.receive(canonical, 0).unwrap();
        pending.seal(key.seal(CONTEXT, id), 0);
    };
    (1..VOUCHERS_MAX).for_each(|n| sealed(&mut pending, n));
    pending.receive(late.1, 0).unwrap();
    sealed(&mut pending, VOUCHERS_MAX);
    pending.spread();
    assert!(pending.graph.by_id(&low.0).unwrap().is_vouched);
}

/// A row of deltas of one author, each behind up to so many of those before it. The last is the
/// newest.
fn row(pending: &mut PendingDeltas, key: &Key, count: usize, parents: usize) -> Vec<DeltaId> {
    let mut row: Vec<DeltaId> = Vec::new();
    for n in 0..count {
        let mut ids = row[n.saturating_sub(parents)..].to_vec();
        ids.sort_unstable();
        let (id, canonical) = delta(CONTEXT, key, 1 + n as u64, &ids);
        pending.receive(canonical, 0).unwrap();
        row.push(id);
    }
    row
}

/// Looks that were made at parents since this was asked.
fn looks(pending: &mut PendingDeltas) -> usize {
    pending.spread();
    std::mem::take(&mut pending.unspread.looks)
}

/// One is known to the whole row, and the other comes to nothing of it.
#[test]
fn who_brings_nothing_that_others_lack_makes_nobody_look_at_them() {
    let (mine, other) = (Key::new(1), Key::new(2));
    let mut pending = PendingDeltas::new(CONTEXT, PendingBounds::default());
    let row = row(&mut pending, &mine, 300, 32);
    let newest = row[row.len() - 1];
    pending.seal(mine.seal(CONTEXT, newest), 0);
    assert!(looks(&mut pending) <= 3 * pending.parents);
    for n in 0..20 {
        for (key, parents) in [(&mine, vec![newest]), (&other, vec![])] {
            let (id, canonical) = delta(CONTEXT, key, 1000 + n, &parents);
            pending.receive(canonical, 0).unwrap();
            pending.seal(key.seal(CONTEXT, id), 0);
        }
        // At the one parent that there is.
        assert_eq!(looks(&mut pending), 1);
    }
    // Whoever comes to all of them makes one more look at each, once.
    for (n, expected) in [(0, pending.parents + 1), (1, 1)] {
        let (id, canonical) = delta(CONTEXT, &other, 2000 + n, &[newest]);
        pending.receive(canonical, 0).unwrap();
        pending.seal(other.seal(CONTEXT, id), 0);
        let made = looks(&mut pending);
        assert!(made <= expected, "{made} looks");
    }
}

/// Each comes to a long row at another place, so that the lowest hear of them one by one.
#[test]
fn many_authors_who_come_at_once_look_at_each_parent_a_few_times() {
    let mut pending = PendingDeltas::new(CONTEXT, PendingBounds::default());
    let row = row(&mut pending, &Key::new(1), 4 * VOUCHERS_MAX, 2);
    for n in 0..VOUCHERS_MAX {
        let key = Key::new(2 + n as u16);
        let (id, canonical) = delta(CONTEXT, &key, 9000, &[row[4 * n]]);
        pending.receive(canonical, 0).unwrap();
        pending.seal(key.seal(CONTEXT, id), 0);
    }
    let made = looks(&mut pending);
    assert!(
        made <= 3 * pending.parents + 2,
        "{made} looks at {} parents",
        pending.parents
    );
    for (n, id) in row.iter().enumerate() {
        let reached = pending.graph.by_id(id).unwrap().reached.iter().count();
        assert_eq!(reached, VOUCHERS_MAX - n.div_ceil(4), "{n}");
    }
    assert_eq!(looks(&mut pending), 0);
}
