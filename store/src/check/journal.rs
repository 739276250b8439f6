//! What is in a journal, held against what it goes on from: each call and delta has a
//! context and its form, and a call of this node follows exactly what was there before
//! it. Whether replaying it leads to the same state is for the start to say, which
//! compares every byte.

use std::collections::BTreeMap;

use crate::delta::DeltaView;
use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot, DeltaId};
use crate::journal::{Journal, JournaledCall};
use crate::layout::slot_key;
use crate::local::{self, Local};
use crate::snapshot::Snapshot;

/// Where a context would stand after what was read so far.
struct Standing {
    context: ContextId,
    heads: Vec<DeltaId>,
}

/// Gives how many calls and deltas are there. `tell` hears of those that cannot be
/// brought in.
pub(super) fn check(
    journal: &Journal,
    snapshot: &Snapshot,
    tell: &mut dyn FnMut(Option<ContextId>, StoreError),
) -> Result<u64, StoreError> {
    let mut standings: BTreeMap<ContextSlot, Standing> = BTreeMap::new();
    journal.replay(|call| {
        if let Err(error) = follow(&call, snapshot, &mut standings) {
            let context = standings.get(&call.slot).map(|standing| standing.context);
            tell(context, error);
        }
        Ok(())
    })
}

fn follow(
    call: &JournaledCall<'_>,
    snapshot: &Snapshot,
    standings: &mut BTreeMap<ContextSlot, Standing>,
) -> Result<(), StoreError> {
    let corrupt = |why| StoreError::corrupt("journaled delta", &slot_key(call.slot), why);
    let malformed = |_| corrupt("its bytes are malformed");
    let standing = match standings.entry(call.slot) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(place) => {
            let head = snapshot.head(call.slot)?;
            place.insert(Standing {
                context: head.context,
                heads: head.deltas,
            })
        }
    };
    let is_remote = match local::read(call.local).map_err(malformed)? {
        Local::Remote { .. } => true,
        Local::Call | Local::CallWith { .. } => false,
        // It has no delta of its own; whether it holds is checked when it was brought in.
        Local::Seal { .. } => return Ok(()),
    };
    if call.canonical.is_empty() {
        return match call.local.is_empty() || is_remote {
            true => Err(corrupt("it is empty")),
            false => Ok(()),
        };
    }
    let delta = DeltaView::parse(call.canonical).map_err(malformed)?;
    if delta.context() != standing.context {
        return Err(corrupt("it changes another context than its slot's"));
    }
    if !is_remote && !delta.parents().eq(standing.heads.iter().copied()) {
        return Err(corrupt("it does not follow what was there before it"));
    }
    let heads = &mut standing.heads;
    heads.retain(|head| !delta.parents().any(|parent| parent == *head));
    let id = delta.id();
    let at = heads.partition_point(|other| *other < id);
    heads.insert(at, id);
    Ok(())
}
