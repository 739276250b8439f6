//! What the server is to do for contexts by itself: their agendas are one range of the entries, so
//! those who have something in them are found without looking at the others.

use heed::types::{Bytes, DecodeIgnore};

use super::{Snapshot, unreadable};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout;

/// The first of what a context's agenda has below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgendaEntry {
    /// The context's slot. One that was deleted may be among them until it is swept.
    pub slot: ContextSlot,
    /// The entry's key, with the prefix.
    pub key: Vec<u8>,
}

impl Snapshot {
    /// The first key that begins with `prefix` in the agenda of each context that has one there,
    /// by slot, behind `after`, at most `limit` of them. Takes two look-ups for each context with
    /// an agenda, whatever is in that. No record is read, so none that is damaged fails it.
    pub fn agendas(
        &self,
        prefix: &[u8],
        after: Option<ContextSlot>,
        limit: usize,
    ) -> Result<Vec<AgendaEntry>, StoreError> {
        let keys = self.tables.entries.remap_types::<Bytes, DecodeIgnore>();
        let first_from = |from: &[u8]| {
            let found = keys.get_greater_than_or_equal_to(&self.txn, from);
            let found = found.map_err(unreadable)?;
            Ok(found.and_then(|(key, ())| {
                let (slot, space, key) = layout::split_entry(key)?;
                (space == Space::Agenda).then_some((slot, key))
            }))
        };
        let start = |slot| layout::space_key(slot, Space::Agenda);
        let mut found = Vec::new();
        let mut from = match after {
            Some(after) => behind(after),
            None => Some(ContextSlot::new(0)),
        };
        while let Some(slot) = from
            && found.len() < limit
        {
            let Some((slot, key)) = first_from(&start(slot))? else {
                break;
            };
            from = behind(slot);
            let first = match key < prefix {
                true => first_from(&[&start(slot), prefix].concat())?,
                false => Some((slot, key)),
            };
            if let Some((its, key)) = first
                && its == slot
                && key.starts_with(prefix)
            {
                let key = key.to_vec();
                found.push(AgendaEntry { slot, key });
            }
        }
        Ok(found)
    }
}

/// The next slot, if a slot can have that number.
fn behind(slot: ContextSlot) -> Option<ContextSlot> {
    let next = slot.number().checked_add(1)?;
    (next < 1 << layout::SLOT_BITS).then(|| ContextSlot::new(next))
}
