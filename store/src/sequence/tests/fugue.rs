//! The order of elements straight from its definition (Weidner, Gentle and Kleppmann, The Art of
//! the Fugue, 2023; decision 0009), and as slow as that: a node for each element, and a walk
//! through all of them for each question. No runs, no pieces and no bytes: how the sequence does
//! it is not looked at. A replica of the model belongs to the test that makes it.

use std::collections::BTreeMap;

use super::super::id::Side;
use super::NodeId;

/// An element: its author's key, and how many the author had inserted before. In the order of
/// brothers.
pub(super) type Name = (NodeId, u32);

/// What hangs where; none is what comes before all elements.
type Hanging = BTreeMap<(Option<Name>, Side), Vec<Name>>;

#[derive(Clone, Debug)]
struct Node {
    parent: Option<Name>,
    side: Side,
    value: Vec<u8>,
    is_deleted: bool,
}

/// What a replica tells the others.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Insert {
        name: Name,
        parent: Option<Name>,
        side: Side,
        value: Vec<u8>,
    },
    Delete(Name),
}

/// A replica.
#[derive(Clone, Debug)]
pub(super) struct Fugue {
    author: NodeId,
    /// How many elements are the author's.
    count: u32,
    nodes: BTreeMap<Name, Node>,
}

impl Fugue {
    pub(super) fn new(author: NodeId) -> Self {
        Self {
            author,
            count: 0,
            nodes: BTreeMap::new(),
        }
    }

    /// What there is to see, in order.
    pub(super) fn values(&self) -> Vec<Vec<u8>> {
        let visible = self.visible();
        let value = |name| self.nodes[name].value.clone();
        visible.iter().map(value).collect()
    }

    /// The elements, in the order of their names.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = Name> {
        self.nodes.keys().copied()
    }

    /// The author's next element, and from then on the one behind it.
    pub(super) fn next_name(&mut self) -> Name {
        let name = (self.author, self.count);
        self.count += 1;
        name
    }

    /// Inserts so that the element has this index.
    pub(super) fn insert(&mut self, index: usize, value: Vec<u8>) -> Deed {
        let left = index.checked_sub(1).map(|index| self.visible()[index]);
        let is_right_of_left = |node: &Node| node.parent == left && node.side == Side::Right;
        let (parent, side) = if self.nodes.values().any(is_right_of_left) {
            // Deleted ones are origins like others.
            let walk = self.walk();
            let is_left = |name: &Name| Some(*name) == left;
            let behind = walk.iter().position(is_left).map_or(0, |at| at + 1);
            (Some(walk[behind]), Side::Left)
        } else {
            (left, Side::Right)
        };
        let deed = Deed::Insert {
            name: self.next_name(),
            parent,
            side,
            value,
        };
        self.apply(&deed);
        deed
    }

    /// Deletes elements.
    pub(super) fn delete(&mut self, index: usize, len: usize) -> Vec<Deed> {
        let gone = &self.visible()[index..index + len];
        let deeds: Vec<Deed> = gone.iter().map(|name| Deed::Delete(*name)).collect();
        deeds.iter().for_each(|deed| self.apply(deed));
        deeds
    }

    /// Does what a replica tells, this one or another. The second time it is nothing.
    pub(super) fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Insert {
                name,
                parent,
                side,
                value,
            } => {
                let node = Node {
                    parent: *parent,
                    side: *side,
                    value: value.clone(),
                    is_deleted: false,
                };
                self.nodes.entry(*name).or_insert(node);
            }
            Deed::Delete(name) => {
                let node = self.nodes.get_mut(name);
                node.expect("causes come first").is_deleted = true;
            }
        }
    }

    fn visible(&self) -> Vec<Name> {
        let mut walk = self.walk();
        walk.retain(|name| !self.nodes[name].is_deleted);
        walk
    }

    /// All elements in their order, also those that are deleted.
    fn walk(&self) -> Vec<Name> {
        let mut hanging = Hanging::new();
        for (&name, node) in &self.nodes {
            // Brothers come by name, as the nodes do.
            let brothers = hanging.entry((node.parent, node.side)).or_default();
            brothers.push(name);
        }
        let mut walk = Vec::new();
        go_through(&hanging, None, &mut walk);
        walk
    }
}

/// First what hangs on the left of an element, then itself, then what hangs on its right.
fn go_through(hanging: &Hanging, at: Option<Name>, walk: &mut Vec<Name>) {
    for left in hanging.get(&(at, Side::Left)).into_iter().flatten() {
        go_through(hanging, Some(*left), walk);
    }
    walk.extend(at);
    for right in hanging.get(&(at, Side::Right)).into_iter().flatten() {
        go_through(hanging, Some(*right), walk);
    }
}
