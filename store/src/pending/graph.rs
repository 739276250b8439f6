//! Which deltas wait and which follow which, by places: a delta's id is looked up once when it
//! comes, and once for each delta that names it, and never on the way from one to the next.

use std::collections::{BTreeSet, HashMap};
use std::ops::Index;

use foldhash::fast::RandomState;
use slab::Slab;

use super::Waiting;
use crate::ids::DeltaId;

/// Where a delta is in a [`Graph`]. Another's, once that one is gone.
pub(super) type Place = usize;

/// Deltas that wait, and those that they name.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Slab<Node>,
    /// Who chooses deltas does not know the seed, so cannot choose them to share a bucket.
    places: HashMap<DeltaId, Place, RandomState>,
    /// How many of them wait.
    waiting: usize,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: DeltaId,
    /// None of one that is only named.
    pub(super) waiting: Option<Box<Waiting>>,
    /// Those that wait and name it as a parent.
    pub(super) followers: BTreeSet<Place>,
}

impl Graph {
    /// How many deltas wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits, and so none is named.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The place of a delta that waits or is named.
    pub(super) fn find(&self, id: &DeltaId) -> Option<Place> {
        self.places.get(id).copied()
    }

    /// What is known of a delta that waits.
    pub(super) fn get(&self, at: Place) -> Option<&Waiting> {
        self.nodes.get(at)?.waiting.as_deref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, at: Place) -> Option<&mut Waiting> {
        self.nodes.get_mut(at)?.waiting.as_deref_mut()
    }

    /// The same, by id.
    pub(super) fn by_id(&self, id: &DeltaId) -> Option<&Waiting> {
        self.get(self.find(id)?)
    }

    /// All that wait.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        let all = self.nodes.iter();
        all.filter_map(|(_, node)| node.waiting.as_deref())
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        let all = self.nodes.iter_mut();
        all.filter_map(|(_, node)| node.waiting.as_deref_mut())
    }

    /// The place of a delta that is about to be named, or to wait.
    pub(super) fn enter(&mut self, id: DeltaId) -> Place {
        let nodes = &mut self.nodes;
        *self.places.entry(id).or_insert_with(|| {
            nodes.insert(Node {
                id,
                waiting: None,
                followers: BTreeSet::new(),
            })
        })
    }

    /// From now on a delta waits at the place that it was entered at, behind its parents.
    pub(super) fn insert(&mut self, at: Place, waiting: Box<Waiting>) {
        for parent in &waiting.parents {
            self.nodes[*parent].followers.insert(at);
        }
        let before = self.nodes[at].waiting.replace(waiting);
        debug_assert!(before.is_none(), "it waits already");
        self.waiting += 1;
    }

    /// A delta waits no more.
    pub(super) fn remove(&mut self, at: Place) -> Option<Box<Waiting>> {
        let waiting = self.nodes.get_mut(at)?.waiting.take()?;
        self.waiting -= 1;
        for parent in &waiting.parents {
            self.nodes[*parent].followers.remove(&at);
            self.forget_if_idle(*parent);
        }
        self.forget_if_idle(at);
        Some(waiting)
    }

    /// Shows those that wait and name a delta to `visit`, together with its place.
    pub(super) fn each_follower(&mut self, at: Place, mut visit: impl FnMut(Place, &mut Waiting)) {
        // Nobody names itself, so nobody misses them meanwhile.
        let followers = match self.nodes.get_mut(at) {
            Some(node) if !node.followers.is_empty() => std::mem::take(&mut node.followers),
            _ => return,
        };
        for follower in &followers {
            if let Some(waiting) = self.get_mut(*follower) {
                visit(*follower, waiting);
            }
        }
        self.nodes[at].followers = followers;
    }

    /// Whether nothing is left, not even of what was only named.
    #[cfg(test)]
    pub(super) fn has_nothing(&self) -> bool {
        self.nodes.is_empty() && self.places.is_empty()
    }

    fn forget_if_idle(&mut self, at: Place) {
        let node = &self.nodes[at];
        if node.waiting.is_none() && node.followers.is_empty() {
            self.places.remove(&node.id);
            self.nodes.remove(at);
        }
    }
}

impl Index<Place> for Graph {
    type Output = Node;

    fn index(&self, at: Place) -> &Node {
        &self.nodes[at]
    }
}
