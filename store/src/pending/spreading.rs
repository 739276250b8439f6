//! How far seals come: each delta below a sealed one, through deltas that are here, is reached
//! by the sealed one's author. Seals are spread together, when somebody wants to know, so
//! that each parent of a delta is looked at twice for all of them, and not once for
//! each. Who is reached, and what that means, is in `vouching.rs`. Start at [`Spread::below`].

use std::collections::HashMap;

use super::Waiting;
use super::vouching::VoucherSet;
use crate::ids::DeltaId;

/// A delta that may be reached by more than it was.
struct Below {
    id: DeltaId,
    reached: VoucherSet,
    /// Where those of its parents are that are among these.
    parents: Vec<usize>,
    /// How many among these name it as a parent, and have not been passed.
    followers: usize,
}

/// Deltas from which something spreads, and all below them that it may reach.
pub(super) struct Spread(Vec<Below>);

impl Spread {
    /// Finds them. What spreads from `tops` is `news`; a delta that has all of it has nothing
    /// to learn, and neither has anything below it.
    pub(super) fn below(
        waiting: &HashMap<DeltaId, Waiting>,
        tops: impl Iterator<Item = DeltaId>,
        news: &VoucherSet,
    ) -> Spread {
        let mut all: Vec<Below> = Vec::new();
        let mut places: HashMap<DeltaId, usize> = HashMap::new();
        let add = |id: DeltaId, reached: VoucherSet, all: &mut Vec<Below>| {
            all.push(Below {
                id,
                reached,
                parents: Vec::new(),
                followers: 0,
            });
            all.len() - 1
        };
        for id in tops {
            if let Some(top) = waiting.get(&id)
                && !places.contains_key(&id)
            {
                places.insert(id, add(id, top.reached, &mut all));
            }
        }
        let mut at = 0;
        while at < all.len() {
            for parent in &waiting[&all[at].id].parents {
                let place = match (places.get(parent), waiting.get(parent)) {
                    (Some(place), _) => *place,
                    (None, Some(found)) if !found.reached.has_all(news) => {
                        let place = add(*parent, found.reached, &mut all);
                        places.insert(*parent, place);
                        place
                    }
                    (None, _) => continue,
                };
                all[at].parents.push(place);
                all[place].followers += 1;
            }
            at += 1;
        }
        Spread(all)
    }

    /// Each of them with everything that reaches it.
    pub(super) fn reached(mut self) -> impl Iterator<Item = (DeltaId, VoucherSet)> {
        let all = &mut self.0;
        // Each is passed behind all of its followers.
        let mut next: Vec<usize> = (0..all.len())
            .filter(|at| all[*at].followers == 0)
            .collect();
        while let Some(at) = next.pop() {
            let reached = all[at].reached;
            for parent in std::mem::take(&mut all[at].parents) {
                all[parent].reached.add_all(&reached);
                all[parent].followers -= 1;
                if all[parent].followers == 0 {
                    next.push(parent);
                }
            }
        }
        self.0.into_iter().map(|below| (below.id, below.reached))
    }
}
