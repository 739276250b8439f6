//! The root that a plan leads to: its entries brought into the context's trie, which the plan has
//! loaded as far as they need it. The trie's nodes are written in
//! `../finish.rs`.

use super::{Leaf, Plan, PlannedWrite};
use crate::apply::Pass;
use crate::delta::OpView;
use crate::ids::{ContextSlot, Root};
use crate::layout;
use crate::trie::Trie;

impl Pass<'_> {
    /// Brings the entries that a plan has worked out into the trie. Gives the root.
    pub(in crate::apply) fn change_trie<'o>(
        &mut self,
        plan: &mut Plan,
        slot: ContextSlot,
        ops: impl Iterator<Item = OpView<'o>>,
    ) -> Root {
        let trie = self.trie(slot);
        let changes = trie.nodes_changed();
        for (op, planned) in ops.zip(&plan.writes) {
            if let Some(leaf) = &planned.leaf {
                layout::trie_entry(&mut plan.trie_key, op.space, op.key);
                trie.set(&leaf.place, &plan.trie_key, leaf.after.as_ref());
            }
        }
        let (changes, root) = (trie.nodes_changed() - changes, trie.root());
        self.trie_changes += changes;
        Root::from_bytes(root)
    }

    /// The same for a plan of one write, whose root is worked out with those of others. `false`
    /// if it is none for that: then nothing has changed.
    pub(in crate::apply) fn change_trie_for_later(
        &mut self,
        plan: &mut Plan,
        slot: ContextSlot,
        op: &OpView<'_>,
    ) -> bool {
        let [
            PlannedWrite {
                leaf: Some(leaf), ..
            },
        ] = &plan.writes[..]
        else {
            return false;
        };
        let Leaf {
            place,
            after: Some(after),
        } = leaf
        else {
            return false;
        };
        layout::trie_entry(&mut plan.trie_key, op.space, op.key);
        let trie = self.trie(slot);
        let changes = trie.nodes_changed();
        let is_set = trie.set_for_later(place, &plan.trie_key, after);
        let changes = trie.nodes_changed() - changes;
        self.trie_changes += changes;
        is_set
    }

    /// The root after each of these that has none yet, in their order.
    pub(in crate::apply) fn roots(&mut self, slot: ContextSlot) -> Vec<Root> {
        let roots = self.trie(slot).roots();
        roots.into_iter().map(Root::from_bytes).collect()
    }

    /// The trie of a context for which a plan was begun.
    fn trie(&mut self, slot: ContextSlot) -> &mut Trie {
        let touched = self.heads.get_mut(&slot);
        let trie = touched.and_then(|touched| touched.trie.as_mut());
        trie.expect("the plan was begun with it")
    }
}
