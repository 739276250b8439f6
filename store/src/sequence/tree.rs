//! The order of elements, as a tree: every element hangs on the left or the
//! right of an earlier one, brothers on one side go by author and counter, and
//! the sequence is the walk through it (Weidner and Kleppmann, The Art of the
//! Fugue, 2023). So the order is a function of what was inserted, whatever a
//! liar claims as parent, and never of when it arrived.
//!
//! An element that hangs on the right of its author's element before it is what
//! typing gives, and has no entry here. Where elements lie is in `pieces.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::id::{Id, Side};
use crate::ids::NodeId;

/// An author of elements.
#[derive(Clone, Debug)]
pub(super) struct Author {
    pub(super) key: NodeId,
    /// How many elements are the author's: the next one's counter.
    pub(super) next: u32,
}

/// Where a new element lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// Before all others.
    First,
    After(Id),
    Before(Id),
}

/// The parents of elements, and who hangs on them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Elements that do not just continue their author's run, with their parent.
    starts: BTreeMap<Id, (Id, Side)>,
    /// The same ones by parent, in order.
    children: BTreeMap<(Id, Side), Vec<Id>>,
}

impl Tree {
    /// Where a new element with this parent lies among those that are there.
    pub(super) fn spot(&self, authors: &[Author], id: Id, parent: Id, side: Side) -> Spot {
        let brothers = self
            .children
            .get(&(parent, side))
            .map_or(&[][..], Vec::as_slice);
        let smaller = brothers.partition_point(|&b| precedes(authors, b, id));
        let mut smaller = smaller.checked_sub(1).map(|at| brothers[at]);
        // One more brother is not among them: the element that continues a run.
        if side == Side::Right
            && let Some(next) = self.continued(authors, parent)
            && precedes(authors, next, id)
            && smaller.is_none_or(|smaller| precedes(authors, smaller, next))
        {
            smaller = Some(next);
        }
        match (smaller, side) {
            (Some(smaller), _) => Spot::After(self.end(authors, smaller)),
            (None, Side::Right) if parent == Id::ROOT => Spot::First,
            (None, Side::Right) => Spot::After(parent),
            (None, Side::Left) => match brothers.first() {
                Some(&greater) => Spot::Before(self.begin(greater)),
                None => Spot::Before(parent),
            },
        }
    }

    /// Whether an element has any on its right.
    pub(super) fn has_right(&self, authors: &[Author], id: Id) -> bool {
        self.children.contains_key(&(id, Side::Right)) || self.continued(authors, id).is_some()
    }

    /// Hangs an element on its parent. One that continues a run needs nothing.
    pub(super) fn hang(&mut self, authors: &[Author], id: Id, parent: Id, side: Side) {
        if side == Side::Right && id.before() == Some(parent) {
            return;
        }
        self.starts.insert(id, (parent, side));
        let brothers = self.children.entry((parent, side)).or_default();
        let at = brothers.partition_point(|&b| precedes(authors, b, id));
        brothers.insert(at, id);
    }

    /// Takes an element off again on which none hangs.
    pub(super) fn unhang(&mut self, id: Id) {
        let Some(place) = self.starts.remove(&id) else {
            return;
        };
        if let Some(brothers) = self.children.get_mut(&place) {
            brothers.retain(|&b| b != id);
            if brothers.is_empty() {
                self.children.remove(&place);
            }
        }
    }

    /// The elements that begin a run, with their parents.
    pub(super) fn starts(&self) -> impl ExactSizeIterator<Item = (Id, Id, Side)> {
        self.starts
            .iter()
            .map(|(&id, &(parent, side))| (id, parent, side))
    }

    /// The element that continues the run of this one, if one does.
    fn continued(&self, authors: &[Author], id: Id) -> Option<Id> {
        let author = authors.get(id.author as usize)?;
        let next = id.plus(1);
        (next.counter < author.next && !self.starts.contains_key(&next)).then_some(next)
    }

    /// The last element of the run that goes on from this one.
    fn run_end(&self, authors: &[Author], id: Id) -> Id {
        let last = Id {
            author: id.author,
            counter: authors[id.author as usize].next - 1,
        };
        match self
            .starts
            .range((Bound::Excluded(id), Bound::Included(last)))
            .next()
        {
            Some((next, _)) => Id {
                author: id.author,
                counter: next.counter - 1,
            },
            None => last,
        }
    }

    /// The last element of all that hang below this one.
    fn end(&self, authors: &[Author], mut id: Id) -> Id {
        'down: loop {
            let last = self.run_end(authors, id);
            let below = self.children.range((id, Side::Left)..=(last, Side::Right));
            for (&(parent, side), brothers) in below {
                let greatest = *brothers.last().expect("entries without any are removed");
                let on = parent == last || precedes(authors, parent.plus(1), greatest);
                if side == Side::Right && on {
                    id = greatest;
                    continue 'down;
                }
            }
            return last;
        }
    }

    /// The first element of all that hang below this one.
    fn begin(&self, mut id: Id) -> Id {
        while let Some(brothers) = self.children.get(&(id, Side::Left)) {
            id = brothers[0];
        }
        id
    }
}

/// The order of brothers. Of their authors' keys, which are the same everywhere.
fn precedes(authors: &[Author], a: Id, b: Id) -> bool {
    if a.author == b.author {
        return a.counter < b.counter;
    }
    authors[a.author as usize].key < authors[b.author as usize].key
}
