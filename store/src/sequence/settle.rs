//! Settling a tree whose runs came in any order, as saved ones do: working out how deep each
//! one lies, and a run far above it. Bytes can say anything, so it is found out here
//! whether it is a tree. Those that are made one by one are settled in `tree.rs`.

use super::id::Id;
use super::tree::Tree;
use super::work::{Allowance, step};

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// All runs up to this one are settled.
    last: Option<Id>,
    /// Runs that wait for that above them, which comes next in the row.
    path: Vec<Id>,
}

impl Settling {
    /// About the bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.path.capacity() * size_of::<Id>()
    }

    /// Settles some more runs. Tells whether all are settled; none if there are some that
    /// do not hang, over others or not, on what comes before all elements.
    pub(super) fn step(&mut self, tree: &mut Tree, allowance: &Allowance) -> Option<bool> {
        while !allowance.is_used_up() {
            step();
            let Some(&id) = self.path.last() else {
                let Some(next) = tree.start_behind(self.last) else {
                    return Some(true);
                };
                self.last = Some(next);
                if !tree.is_settled(next) {
                    tree.wait(next);
                    self.path.push(next);
                }
                continue;
            };
            match tree.run_above(id) {
                Some(above) if !tree.is_settled(above) => {
                    if tree.waits(above) {
                        return None; // It is above itself.
                    }
                    tree.wait(above);
                    self.path.push(above);
                }
                _ => {
                    tree.settle(id);
                    self.path.pop();
                }
            }
        }
        Some(false)
    }
}
