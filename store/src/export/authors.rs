//! The authors that a copy names, and by which numbers. Whoever takes rows in refuses what is
//! refused here; whoever only reads them passes it over. Numbers of a ledger are
//! in `crate::authors`.

use std::collections::{HashMap, HashSet};

use super::row::AUTHORS_MAX;
use crate::entry::AuthorNames;
use crate::error::ImportError;
use crate::ids::NodeId;

/// Authors of one context.
#[derive(Default)]
pub(super) struct NamedAuthors {
    names: HashMap<u32, NodeId>,
    nodes: HashSet<NodeId>,
}

impl NamedAuthors {
    /// One more. With two numbers an author would be two in one entry, and both become one number
    /// of the ledger.
    pub(super) fn add(&mut self, number: u32, node: NodeId) -> Result<(), ImportError> {
        if self.names.len() >= AUTHORS_MAX {
            return Err(ImportError::malformed("it has too many authors"));
        }
        if self.names.contains_key(&number) || !self.nodes.insert(node) {
            return Err(ImportError::malformed("an author is named twice"));
        }
        self.names.insert(number, node);
        Ok(())
    }
}

impl AuthorNames for NamedAuthors {
    fn name(&self, number: u32) -> Option<NodeId> {
        self.names.get(&number).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_authors_are_kept_in_mind_than_a_context_can_have() {
        let mut authors = NamedAuthors::default();
        let node = |number: u32| {
            let mut node = [0; 32];
            node[..4].copy_from_slice(&number.to_le_bytes());
            NodeId::from_bytes(node)
        };
        let max = u32::try_from(AUTHORS_MAX).unwrap();
        (0..max).for_each(|number| authors.add(number, node(number)).unwrap());
        authors.add(max, node(max)).unwrap_err();
        assert_eq!((authors.name(max), authors.name(0)), (None, Some(node(0))));
    }
}
