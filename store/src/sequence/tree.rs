//! The order of elements, as a tree: every element hangs on the left or the
//! right of an earlier one, brothers on one side go by author and counter, and
//! the sequence is the walk through it (Weidner and Kleppmann, The Art of the
//! Fugue, 2023). So the order is a function of what was inserted, whatever a
//! liar claims as parent, and never of when it arrived.
//!
//! An element that hangs on the right of its author's element before it is what
//! typing gives, and has no entry here. Where elements lie is in `pieces/`.
//!
//! Everything below an element lies in a row. So where that row ends is looked for
//! among the pieces, by asking of some whether they are below it, and not by
//! going down: a tree can be as deep as it has elements, and honest authors who
//! write in turn make it so. To ask costs the logarithm of the depth, as each
//! run knows an ancestor far up (Myers, An applicative random-access stack, 1983).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::id::{Id, Side};
use super::pieces::Pieces;
use super::work::{step, steps};
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
    /// Elements that do not just continue their author's run.
    starts: BTreeMap<Id, Start>,
    /// The same ones by parent.
    children: BTreeMap<(Id, Side), Brothers>,
}

/// A depth that is not known yet.
const UNSETTLED: u32 = u32::MAX;

/// The same, of a run that waits for that above it. No run is so deep, as each has an element.
const WAITS: u32 = u32::MAX - 1;

/// The first element of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    parent: Id,
    side: Side,
    /// How many runs are above this one.
    depth: u32,
    /// A run above this one; of its own, if there is none.
    jump: Id,
}

/// Elements that hang on one side of one element. Nearly always one; a liar can make it
/// as many as it likes.
#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "there is one for each run, and nearly none has many"
)]
enum Brothers {
    One(Id),
    Many(Box<BTreeSet<Brother>>),
}

/// One of many, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Brother {
    key: NodeId,
    id: Id,
}

impl Brother {
    fn of(authors: &[Author], id: Id) -> Self {
        let key = authors[id.author as usize].key;
        Self { key, id }
    }
}

impl Brothers {
    fn first(&self) -> Option<Id> {
        match self {
            Brothers::One(id) => Some(*id),
            Brothers::Many(many) => many.first().map(|brother| brother.id),
        }
    }

    /// The smallest that comes behind another element.
    fn behind(&self, authors: &[Author], id: Id) -> Option<Id> {
        match self {
            Brothers::One(one) => precedes(authors, id, *one).then_some(*one),
            Brothers::Many(many) => {
                let own = Brother::of(authors, id);
                let mut greater = many.range((Bound::Excluded(own), Bound::Unbounded));
                greater.next().map(|brother| brother.id)
            }
        }
    }

    /// The greatest that comes before another element.
    fn before(&self, authors: &[Author], id: Id) -> Option<Id> {
        match self {
            Brothers::One(one) => precedes(authors, *one, id).then_some(*one),
            Brothers::Many(many) => {
                let mut smaller = many.range(..Brother::of(authors, id));
                smaller.next_back().map(|brother| brother.id)
            }
        }
    }

    fn insert(&mut self, authors: &[Author], id: Id) {
        match self {
            Brothers::One(one) => {
                let both = [*one, id].map(|id| Brother::of(authors, id));
                *self = Brothers::Many(Box::new(BTreeSet::from(both)));
            }
            Brothers::Many(many) => drop(many.insert(Brother::of(authors, id))),
        }
    }

    /// Takes one out; tells whether it was the last.
    fn remove(&mut self, authors: &[Author], id: Id) -> bool {
        let Brothers::Many(many) = self else {
            return true;
        };
        many.remove(&Brother::of(authors, id));
        if let (1, Some(one)) = (many.len(), many.first()) {
            *self = Brothers::One(one.id);
        }
        false
    }
}

impl Tree {
    /// Where a new element with this parent lies among those that are there.
    pub(super) fn spot(
        &self,
        authors: &[Author],
        pieces: &Pieces,
        id: Id,
        parent: Id,
        side: Side,
    ) -> Spot {
        step();
        let brothers = self.children.get(&(parent, side));
        let mut smaller = brothers.and_then(|brothers| brothers.before(authors, id));
        // One more brother is not among them: the element that continues a run.
        if side == Side::Right
            && let Some(next) = self.continued(authors, parent)
            && precedes(authors, next, id)
            && smaller.is_none_or(|smaller| precedes(authors, smaller, next))
        {
            smaller = Some(next);
        }
        match (smaller, side) {
            (Some(smaller), _) => Spot::After(pieces.last_within(smaller, self.below(smaller))),
            (None, Side::Right) if parent == Id::ROOT => Spot::First,
            (None, Side::Right) => Spot::After(parent),
            (None, Side::Left) => match brothers.and_then(Brothers::first) {
                Some(greater) => Spot::Before(pieces.first_within(greater, self.below(greater))),
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
        if !continues(id, parent, side) {
            self.plant(authors, id, parent, side);
            self.settle(id);
        }
    }

    /// Begins a run whose parent may come later. It has to be settled.
    pub(super) fn plant(&mut self, authors: &[Author], id: Id, parent: Id, side: Side) {
        let start = Start {
            parent,
            side,
            depth: UNSETTLED,
            jump: id,
        };
        steps(2);
        self.starts.insert(id, start);
        match self.children.get_mut(&(parent, side)) {
            None => drop(self.children.insert((parent, side), Brothers::One(id))),
            Some(brothers) => brothers.insert(authors, id),
        }
    }

    /// Works out how deep a run is. That on which it hangs is settled.
    pub(super) fn settle(&mut self, id: Id) {
        step();
        let Some(above) = self.run_above(id) else {
            let own = self.starts.get_mut(&id).expect("it was planted");
            own.depth = 0;
            return;
        };
        let start = self.starts[&above];
        let far = self.starts[&start.jump];
        // Where two jumps are alike, one goes over both.
        let is_alike = start.depth - far.depth == far.depth - self.starts[&far.jump].depth;
        let jump = if is_alike { far.jump } else { above };
        let own = self.starts.get_mut(&id).expect("it was planted");
        (own.depth, own.jump) = (start.depth + 1, jump);
    }

    /// The run on which this one hangs; none if that is what comes before all elements.
    pub(super) fn run_above(&self, id: Id) -> Option<Id> {
        let parent = self.starts[&id].parent;
        (parent != Id::ROOT).then(|| self.run(parent).0)
    }

    /// The first run behind another, in the order of their names.
    pub(super) fn start_behind(&self, last: Option<Id>) -> Option<Id> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.starts.range((from, Bound::Unbounded));
        behind.next().map(|(id, _)| *id)
    }

    /// Whether it is known how deep a run lies.
    pub(super) fn is_settled(&self, id: Id) -> bool {
        self.starts[&id].depth < WAITS
    }

    /// Notes that a run waits for that above it.
    pub(super) fn wait(&mut self, id: Id) {
        let own = self.starts.get_mut(&id).expect("it was planted");
        own.depth = WAITS;
    }

    /// Whether a run waits for that above it.
    pub(super) fn waits(&self, id: Id) -> bool {
        self.starts[&id].depth == WAITS
    }

    /// Takes an element off again on which none hangs.
    pub(super) fn unhang(&mut self, authors: &[Author], id: Id) {
        let Some(start) = self.starts.remove(&id) else {
            return;
        };
        let place = (start.parent, start.side);
        if let Some(brothers) = self.children.get_mut(&place)
            && brothers.remove(authors, id)
        {
            self.children.remove(&place);
        }
    }

    /// Whether an element begins a run.
    pub(super) fn is_start(&self, id: Id) -> bool {
        self.starts.contains_key(&id)
    }

    /// The elements that begin a run, with their parents.
    pub(super) fn starts(&self) -> impl ExactSizeIterator<Item = (Id, Id, Side)> {
        let starts = self.starts.iter();
        starts.map(|(&id, start)| (id, start.parent, start.side))
    }

    /// The first of those that hang on one side of an element, but for one that continues
    /// its run; or the first behind another one.
    pub(super) fn brother(
        &self,
        authors: &[Author],
        parent: Id,
        side: Side,
        behind: Option<Id>,
    ) -> Option<Id> {
        step();
        let brothers = self.children.get(&(parent, side))?;
        match behind {
            None => brothers.first(),
            Some(id) => brothers.behind(authors, id),
        }
    }

    /// The first of these elements of a run on which others hang.
    pub(super) fn fork(&self, from: Id, last: Id) -> Option<Id> {
        let mut forks = self
            .children
            .range((from, Side::Left)..=(last, Side::Right));
        forks.next().map(|((parent, _), _)| *parent)
    }

    /// The last element of the run that goes on from this one.
    pub(super) fn run_end(&self, authors: &[Author], id: Id) -> Id {
        let last = Id {
            author: id.author,
            counter: authors[id.author as usize].next - 1,
        };
        let behind = (Bound::Excluded(id), Bound::Included(last));
        match self.starts.range(behind).next() {
            Some((next, _)) => Id {
                author: id.author,
                counter: next.counter - 1,
            },
            None => last,
        }
    }

    /// The element that continues the run of this one, if one does.
    fn continued(&self, authors: &[Author], id: Id) -> Option<Id> {
        let author = authors.get(id.author as usize)?;
        let next = id.plus(1);
        (next.counter < author.next && !self.starts.contains_key(&next)).then_some(next)
    }

    /// Asks of elements whether they are this one, or hang below it.
    fn below(&self, top: Id) -> impl Fn(Id) -> bool + Copy {
        let (run, start) = self.run(top);
        move |id| {
            if id.author == top.author && id.counter == top.counter {
                return true;
            }
            let (mut id, (mut here, mut above)) = (id, self.run(id));
            // Up to where its run would hang on that of `top`.
            while above.depth > start.depth + 1 {
                let far = self.starts[&above.jump];
                step();
                if far.depth > start.depth {
                    (here, above) = (above.jump, far);
                } else {
                    (here, above) = self.run(above.parent);
                }
            }
            if above.depth > start.depth {
                id = above.parent;
                here = self.run(id).0;
            }
            here == run && id.counter >= top.counter
        }
    }

    /// The start of the run of an element that is there.
    fn run(&self, id: Id) -> (Id, Start) {
        step();
        let (&first, start) = self
            .starts
            .range(..=id)
            .next_back()
            .expect("runs have starts");
        (first, *start)
    }
}

#[cfg(test)]
impl Tree {
    /// As if its runs had come in any order.
    pub(super) fn unsettle(&mut self) {
        for (id, start) in &mut self.starts {
            (start.depth, start.jump) = (UNSETTLED, *id);
        }
    }

    /// How deep the runs are, and where they jump.
    pub(super) fn depths(&self) -> impl Iterator<Item = (u32, Id)> {
        self.starts.values().map(|start| (start.depth, start.jump))
    }
}

/// Whether an element just goes on with its author's run.
pub(super) fn continues(id: Id, parent: Id, side: Side) -> bool {
    side == Side::Right && id.before() == Some(parent)
}

/// The order of brothers. Of their authors' keys, which are the same everywhere.
pub(super) fn precedes(authors: &[Author], a: Id, b: Id) -> bool {
    if a.author == b.author {
        return a.counter < b.counter;
    }
    authors[a.author as usize].key < authors[b.author as usize].key
}
