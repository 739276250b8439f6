//! The walk through the tree, which gives all elements in their order. It needs no
//! pieces: what is saved has none. An element is come to over its one parent, so
//! the walk ends, whatever the tree is.

use super::id::{Id, Side};
use super::tree::{Author, Tree, precedes};

/// Runs of elements in their order, by the first one and their number.
pub(super) struct Walk<'a> {
    tree: &'a Tree,
    authors: &'a [Author],
    /// What is still to come, the next one last.
    ahead: Vec<Ahead>,
}

enum Ahead {
    /// The run that begins here, and all below it.
    Start(Id),
    /// These elements of a run, and all below them.
    Rest(Id, Id),
    /// This element.
    One(Id),
}

impl<'a> Walk<'a> {
    pub(super) fn new(tree: &'a Tree, authors: &'a [Author]) -> Self {
        let first = tree.brothers(Id::ROOT, Side::Right).into_iter().rev();
        Self {
            tree,
            authors,
            ahead: first.map(Ahead::Start).collect(),
        }
    }

    /// What comes of an element on which others hang, and of its run behind it.
    fn fork(&mut self, id: Id, last: Id) {
        let right = self.tree.brothers(id, Side::Right);
        let next = (id != last).then(|| id.plus(1));
        let smaller = match next {
            Some(next) => right.partition_point(|&b| precedes(self.authors, b, next)),
            None => right.len(),
        };
        let starts = |ids: &[Id]| {
            let starts: Vec<Ahead> = ids.iter().rev().map(|&id| Ahead::Start(id)).collect();
            starts
        };
        self.ahead.extend(starts(&right[smaller..]));
        self.ahead.extend(next.map(|next| Ahead::Rest(next, last)));
        self.ahead.extend(starts(&right[..smaller]));
        self.ahead.push(Ahead::One(id));
        self.ahead
            .extend(starts(&self.tree.brothers(id, Side::Left)));
    }
}

impl Iterator for Walk<'_> {
    type Item = (Id, u32);

    fn next(&mut self) -> Option<(Id, u32)> {
        loop {
            let (id, last) = match self.ahead.pop()? {
                Ahead::One(id) => return Some((id, 1)),
                Ahead::Start(id) => (id, self.tree.run_end(self.authors, id)),
                Ahead::Rest(id, last) => (id, last),
            };
            match self.tree.fork(id, last) {
                None => return Some((id, last.counter - id.counter + 1)),
                Some(fork) if fork == id => self.fork(id, last),
                Some(fork) => {
                    self.ahead.push(Ahead::Rest(fork, last));
                    return Some((id, fork.counter - id.counter));
                }
            }
        }
    }
}
