//! Reading what others have signed and this ledger keeps: seals, and proof against authors. How it
//! comes in is in `apply/seals.rs`, what it says in `seal/`.

use std::ops::ControlFlow;

use crate::change::Seen;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId};
use crate::layout::{self, dag_key, slot_key};
use crate::record::{BacklogRow, DagNode, ForkRow, Head, SealRow, open};
use crate::seal::{Branch, Fork, Seal, Sealed};
use crate::snapshot::{Snapshot, unreadable};

impl Snapshot {
    /// What the context in `slot` has of other nodes' deltas: for
    /// [`CallEffects::read`](crate::CallEffects::read) of a turn that begins with this snapshot.
    pub fn seen(&self, slot: ContextSlot) -> Result<Seen, StoreError> {
        let mut seen = Seen::default();
        for &(number, hlc) in self.head(slot)?.seen.pairs() {
            let unknown = || {
                let why = "an author that it names is unknown to the ledger";
                StoreError::corrupt("head record", &slot_key(slot), why)
            };
            seen.note(self.author(number)?.ok_or_else(unknown)?, hlc);
        }
        Ok(seen)
    }

    /// The newest delta of `author` among the last `deltas_max` of the context: what the node
    /// seals when it is asked to. `None` if it has none among them.
    pub fn newest_delta(
        &self,
        slot: ContextSlot,
        author: NodeId,
        deltas_max: usize,
    ) -> Result<Option<DeltaId>, StoreError> {
        let mut found = None;
        self.deltas(slot, deltas_max, &mut |_, delta| {
            if delta.author() != author {
                return ControlFlow::Continue(());
            }
            found = Some(delta.id());
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Shows the seals of a context, with the stamps of their deltas, to `visit` until it
    /// breaks: those of one author behind one another, the newest last.
    pub fn seals(
        &self,
        slot: ContextSlot,
        visit: &mut dyn FnMut(Hlc, Sealed) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let context = self.head(slot)?.context;
        let rows = self.tables.seals.prefix_iter(&self.txn, &slot_key(slot));
        for row in rows.map_err(unreadable)? {
            let (key, bytes) = row.map_err(unreadable)?;
            let (stamp, delta, seal) = read_seal(key, bytes)?;
            if visit(stamp, Sealed::of_ledger(context, delta, seal)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Proof against authors who have made deltas that do not know of each other in this
    /// context, one for each such author. Checked anew, signatures included.
    pub fn forks(&self, slot: ContextSlot) -> Result<Vec<Fork>, StoreError> {
        let rows = self.tables.forks.prefix_iter(&self.txn, &slot_key(slot));
        let forks = rows.map_err(unreadable)?.map(|row| {
            let (key, bytes) = row.map_err(unreadable)?;
            read_fork(key, bytes)
        });
        forks.collect()
    }

    /// Checks the seals, proofs and backlogs of every context. Each signature is verified, and each sealed
    /// delta is known or was pruned.
    pub(crate) fn check_kept(&self) -> Result<(), StoreError> {
        self.each(
            |tables| tables.seals,
            |key, bytes| {
                let corrupt = |why| StoreError::corrupt("seal", key, why);
                let head = self.head_of(key)?;
                let author = self.author_of(key)?;
                let (stamp, delta, seal) = read_seal(key, bytes)?;
                let sealed = seal.check(head.context, delta);
                let sealed = sealed.map_err(|_| corrupt("its signature does not hold"))?;
                if Some(sealed.author()) != author {
                    return Err(corrupt("it is another author's"));
                }
                let slot = layout::split_slot(key).map(|(slot, _)| slot);
                let slot = slot.expect("its head was found by it");
                let dag_key = dag_key(slot, &delta);
                let node = self.get_raw(self.tables.dag, &dag_key)?;
                match node
                    .map(|bytes| DagNode::read(&dag_key, bytes))
                    .transpose()?
                {
                    Some(node) if node.dot.hlc == stamp => Ok(()),
                    Some(_) => Err(corrupt("its delta has another stamp")),
                    None if head.log_pruned > 0 => Ok(()),
                    None => Err(corrupt("its delta is missing")),
                }
            },
        )?;
        self.each(
            |tables| tables.forks,
            |key, bytes| {
                let corrupt = |why| StoreError::corrupt("proof against an author", key, why);
                let (head, author) = (self.head_of(key)?, self.author_of(key)?);
                let Fork { known, other } = read_fork(key, bytes)?;
                let is_of = |branch: &Branch| {
                    let is_here = branch.context() == head.context;
                    is_here && Some(branch.author()) == author
                };
                match is_of(&known) && is_of(&other) && known.delta() != other.delta() {
                    true => Ok(()),
                    false => Err(corrupt(
                        "its deltas are not two of its author in its context",
                    )),
                }
            },
        )?;
        self.each(
            |tables| tables.backlog,
            |key, bytes| {
                open::<BacklogRow>(key, bytes)?;
                self.head_of(key).map(drop)
            },
        )
    }

    fn head_of(&self, key: &[u8]) -> Result<Head, StoreError> {
        let slot = layout::split_slot(key).map(|(slot, _)| slot);
        let corrupt = || StoreError::corrupt("seal or proof", key, "its key has no slot");
        let slot = slot.ok_or_else(corrupt)?;
        self.head(slot)
    }

    fn author_of(&self, key: &[u8]) -> Result<Option<NodeId>, StoreError> {
        match layout::seal_author(key) {
            Some(number) => self.author(number),
            None => Ok(None),
        }
    }
}

fn read_seal(key: &[u8], bytes: &[u8]) -> Result<(Hlc, DeltaId, Seal), StoreError> {
    let corrupt = |why| StoreError::corrupt("seal", key, why);
    let row = open::<SealRow>(key, bytes)?;
    let stamp = layout::seal_stamp(key).ok_or_else(|| corrupt("its key is too short"))?;
    let seal = Seal::read(row.seal.get()).map_err(|_| corrupt("it is malformed"))?;
    Ok((stamp, DeltaId::from_bytes(row.delta), seal))
}

fn read_fork(key: &[u8], bytes: &[u8]) -> Result<Fork, StoreError> {
    let row = open::<ForkRow>(key, bytes)?;
    let branch = |bytes: &[u8]| {
        let why = "it does not hold";
        Branch::read(bytes).map_err(|_| StoreError::corrupt("proof against an author", key, why))
    };
    Ok(Fork {
        known: branch(row.known.get())?,
        other: branch(row.other.get())?,
    })
}
