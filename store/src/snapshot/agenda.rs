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

/// What was found in a part of all agendas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgendaPage {
    /// By slot.
    pub entries: Vec<AgendaEntry>,
    /// The last context that was looked at, behind which there may be others; none if there
    /// are none.
    pub last: Option<ContextSlot>,
}

impl Snapshot {
    /// The first key that begins with `prefix` in the agenda of each context that has one there,
    /// by slot, behind `after`. Looks at `limit` contexts at most that have anything in their agendas, with two
    /// look-ups for each, and so may find nothing before the end. No record is read, so none that is damaged fails it.
    pub fn agendas(
        &self,
        prefix: &[u8],
        after: Option<ContextSlot>,
        limit: usize,
    ) -> Result<AgendaPage, StoreError> {
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
        let mut page = AgendaPage::default();
        let mut from = match after {
            Some(after) => behind(after),
            None => Some(ContextSlot::new(0)),
        };
        for _ in 0..limit {
            let found = match from {
                Some(slot) => first_from(&start(slot))?,
                None => None,
            };
            let Some((slot, key)) = found else {
                page.last = None;
                break;
            };
            page.last = Some(slot);
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
                page.entries.push(AgendaEntry { slot, key });
            }
        }
        Ok(page)
    }
}

/// The next slot, if a slot can have that number.
fn behind(slot: ContextSlot) -> Option<ContextSlot> {
    let next = slot.number().checked_add(1)?;
    (next < 1 << layout::SLOT_BITS).then(|| ContextSlot::new(next))
}
