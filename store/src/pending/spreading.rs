//! How far seals come: each delta below a sealed one, through deltas that are here, is reached
//! by the sealed one's author. Seals are spread together, when somebody wants to know.
//!
//! The way down takes along what a delta has learned, goes on to the parents that lack some of
//! it, and comes back to one only when that has learned more. So parents are looked at only for
//! an author whom the delta between has just heard of: whoever wants many looks has to bring
//! somebody new to many deltas. Authors who come to a long row one behind the other would have
//! each of its deltas looked at again for each of them: once there were as many looks as all that
//! wait have parents, what lies below is ordered, and each delta is passed once, behind all that
//! follow it. So one spread makes some three looks at each parent. Who is reached, and what
//! that means, is in `vouching.rs`. Start at [`Spread::below`].

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::Waiting;
use super::graph::{Graph, Place};
use super::vouching::VoucherSet;

/// A delta that is reached by more than it was, or may be.
struct Below {
    at: Place,
    reached: VoucherSet,
    /// What of that its parents have not been told.
    untold: VoucherSet,
    /// Where those of its parents are that are among these. Known only once they are ordered.
    parents: Vec<usize>,
    /// How many among these name it as a parent, and have not been passed.
    followers: usize,
}

/// Deltas from which something spreads, and those below them that it reaches.
pub(super) struct Spread<'w> {
    graph: &'w Graph,
    all: Vec<Below>,
    places: HashMap<Place, usize, RandomState>,
    /// Those with something to tell.
    next: VecDeque<usize>,
    looks: usize,
}

impl<'w> Spread<'w> {
    /// Spreads what has come to each of `tops` to all below them. All that wait have so many
    /// parents together.
    pub(super) fn below(
        graph: &'w Graph,
        tops: &[(Place, VoucherSet)],
        parents: usize,
    ) -> Spread<'w> {
        let mut spread = Spread {
            graph,
            all: Vec::new(),
            places: HashMap::default(),
            next: VecDeque::new(),
            looks: 0,
        };
        let mut all_news = VoucherSet::default();
        for (at, news) in tops {
            all_news.add_all(news);
            if let Some(at) = spread.place(*at) {
                spread.tell(at, news);
            }
        }
        while let Some(at) = spread.next.pop_front() {
            if spread.looks > parents {
                spread.order(&all_news);
                spread.pass_each();
                break;
            }
            spread.tell_parents(at);
        }
        spread
    }

    /// Each of them with everything that reaches it.
    pub(super) fn reached(&self) -> impl Iterator<Item = (Place, VoucherSet)> {
        self.all.iter().map(|below| (below.at, below.reached))
    }

    /// How often it has looked at a parent of a delta.
    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.looks
    }

    /// The place of a delta among these, if it waits.
    fn place(&mut self, at: Place) -> Option<usize> {
        let found = self.graph.get(at)?;
        let all = &mut self.all;
        let place = *self.places.entry(at).or_insert_with(|| {
            all.push(Below {
                at,
                reached: found.reached,
                untold: VoucherSet::default(),
                parents: Vec::new(),
                followers: 0,
            });
            all.len() - 1
        });
        Some(place)
    }

    /// A delta has learned this, and has to tell it.
    fn tell(&mut self, at: usize, news: &VoucherSet) {
        let below = &mut self.all[at];
        if below.untold.is_empty() && !news.is_empty() {
            self.next.push_back(at);
        }
        below.reached.add_all(news);
        below.untold.add_all(news);
    }

    fn tell_parents(&mut self, at: usize) {
        let graph = self.graph;
        let news = std::mem::take(&mut self.all[at].untold);
        for parent in parents_of(graph, self.all[at].at) {
            self.looks += 1;
            let reached = match (self.places.get(parent), graph.get(*parent)) {
                (Some(place), _) => self.all[*place].reached,
                (None, Some(found)) => found.reached,
                (None, None) => continue,
            };
            let news = news.without(&reached);
            if !news.is_empty()
                && let Some(at) = self.place(*parent)
            {
                self.tell(at, &news);
            }
        }
    }

    /// Finds everything below that may lack any of `news`, and who follows whom.
    fn order(&mut self, news: &VoucherSet) {
        let graph = self.graph;
        let mut at = 0;
        while at < self.all.len() {
            for parent in parents_of(graph, self.all[at].at) {
                self.looks += 1;
                let is_known = self.places.contains_key(parent);
                let lacks = |found: &Waiting| !found.reached.has_all(news);
                if (is_known || graph.get(*parent).is_some_and(lacks))
                    && let Some(place) = self.place(*parent)
                {
                    self.all[at].parents.push(place);
                    self.all[place].followers += 1;
                }
            }
            at += 1;
        }
    }

    /// Passes each of them behind all of its followers.
    fn pass_each(&mut self) {
        let all = &mut self.all;
        let mut next: Vec<usize> = (0..all.len())
            .filter(|at| all[*at].followers == 0)
            .collect();
        while let Some(at) = next.pop() {
            let reached = all[at].reached;
            for parent in std::mem::take(&mut all[at].parents) {
                self.looks += 1;
                all[parent].reached.add_all(&reached);
                all[parent].followers -= 1;
                if all[parent].followers == 0 {
                    next.push(parent);
                }
            }
        }
    }
}

fn parents_of(graph: &Graph, at: Place) -> &[Place] {
    graph.get(at).map_or(&[], |waiting| &waiting.parents)
}
