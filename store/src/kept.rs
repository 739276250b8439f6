//! Reading what others have signed and this ledger keeps: seals, and proof against authors. How it
//! comes in is in `apply/seals.rs`, what it says in `seal/`.

use std::ops::ControlFlow;

use crate::change::Seen;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, DeltaId, NodeId};
use crate::layout::{self, slot_key};
use crate::record::{ForkRow, SealRow, open};
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
            let kept = KeptSeal::read(key, bytes, context)?;
            if visit(kept.stamp, kept.sealed).is_break() {
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
}

/// A seal as it is kept.
pub(crate) struct KeptSeal {
    /// Of its delta.
    pub(crate) stamp: Hlc,
    /// The context's when it came.
    pub(crate) version: u64,
    /// Not checked anew.
    pub(crate) sealed: Sealed,
}

impl KeptSeal {
    pub(crate) fn read(
        key: &[u8],
        bytes: &[u8],
        context: ContextId,
    ) -> Result<KeptSeal, StoreError> {
        let corrupt = |why| StoreError::corrupt("seal", key, why);
        let row = open::<SealRow>(key, bytes)?;
        let stamp = layout::seal_stamp(key).ok_or_else(|| corrupt("its key is too short"))?;
        let seal = Seal::read(row.seal.get()).map_err(|_| corrupt("it is malformed"))?;
        let delta = DeltaId::from_bytes(row.delta);
        Ok(KeptSeal {
            stamp,
            version: row.version.to_native(),
            sealed: Sealed::of_ledger(context, delta, seal),
        })
    }
}

pub(crate) fn read_fork(key: &[u8], bytes: &[u8]) -> Result<Fork, StoreError> {
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
