//! The walk through the tree, which gives all elements in their order. It needs no
//! pieces: what is saved has none. An element is come to over its one parent, so
//! the walk ends, whatever the tree is. Each step of it is short, however many elements
//! hang on one.

use super::id::{Id, Side};
use super::tree::{Author, Tree, precedes};
use super::work::step;

/// What is still to come, the next one last.
#[derive(Debug)]
pub(super) struct Walk {
    ahead: Vec<Ahead>,
}

#[derive(Clone, Copy, Debug)]
enum Ahead {
    /// The run that begins here, and all below it.
    Start(Id),
    /// These elements of a run, and all below them.
    Rest(Id, Id),
    /// This element.
    One(Id),
    /// Those that hang on one side of an element, but not on the run that it is of: all
    /// behind one of them, or all, up to an element.
    Brothers {
        parent: Id,
        side: Side,
        behind: Option<Id>,
        up_to: Option<Id>,
    },
}

impl Walk {
    pub(super) fn new() -> Self {
        let all = Ahead::Brothers {
            parent: Id::ROOT,
            side: Side::Right,
            behind: None,
            up_to: None,
        };
        Self { ahead: vec![all] }
    }

    /// About the bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.ahead.capacity() * size_of::<Ahead>()
    }

    /// The next elements, by the first one and how many they are.
    pub(super) fn next(&mut self, tree: &Tree, authors: &[Author]) -> Option<(Id, u32)> {
        loop {
            step();
            let (id, last) = match self.ahead.pop()? {
                Ahead::One(id) => return Some((id, 1)),
                Ahead::Start(id) => (id, tree.run_end(authors, id)),
                Ahead::Rest(id, last) => (id, last),
                Ahead::Brothers {
                    parent,
                    side,
                    behind,
                    up_to,
                } => {
                    let next = tree.brother(authors, parent, side, behind);
                    let next =
                        next.filter(|&id| up_to.is_none_or(|end| precedes(authors, id, end)));
                    if let Some(id) = next {
                        self.ahead.push(Ahead::Brothers {
                            parent,
                            side,
                            behind: Some(id),
                            up_to,
                        });
                        self.ahead.push(Ahead::Start(id));
                    }
                    continue;
                }
            };
            match tree.fork(id, last) {
                None => return Some((id, last.counter - id.counter + 1)),
                Some(fork) if fork == id => self.fork(id, last),
                Some(fork) => {
                    self.ahead.push(Ahead::Rest(fork, last));
                    return Some((id, fork.counter - id.counter));
                }
            }
        }
    }

    /// What comes of an element on which others hang, and of its run behind it.
    fn fork(&mut self, id: Id, last: Id) {
        let next = (id != last).then(|| id.plus(1));
        let brothers = |side, behind, up_to| Ahead::Brothers {
            parent: id,
            side,
            behind,
            up_to,
        };
        if let Some(next) = next {
            self.ahead.push(brothers(Side::Right, Some(next), None));
            self.ahead.push(Ahead::Rest(next, last));
        }
        self.ahead.push(brothers(Side::Right, None, next));
        self.ahead.push(Ahead::One(id));
        self.ahead.push(brothers(Side::Left, None, None));
    }
}
