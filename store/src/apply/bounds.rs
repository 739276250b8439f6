//! The bounds of what a change carries. Checked before anything is read for it.

use crate::attachment::Attachment;
use crate::change::{CallEffects, Write};
use crate::delta::{self, BIRTHS_MAX, DELTA_BYTES_MAX};
use crate::entry::{EntryKind, Space};
use crate::error::Refused;
use crate::layout::{EVENT_KIND_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use crate::stable;

pub(super) fn check_call(call: &CallEffects) -> Result<(), Refused> {
    if !(call.ops).is_sorted_by(|a, b| (a.space, &a.key) < (b.space, &b.key)) {
        return Err(Refused::Unsorted {
            context: call.context,
        });
    }
    for op in &call.ops {
        check_bound("a key's length in bytes", op.key.len(), 0, KEY_BYTES_MAX)?;
        let value_bytes = op.view().write.payload().len();
        check_bound("a value's length in bytes", value_bytes, 0, VALUE_BYTES_MAX)?;
        if let Write::Edit { kind, births, .. } = &op.write {
            if !matches!(kind, EntryKind::List | EntryKind::Text) {
                return Err(Refused::NoSequence { kind: *kind });
            }
            check_bound("the births of an edit", births.len(), 0, BIRTHS_MAX)?;
        }
        let is_allowed = match op.space {
            Space::Shared => true,
            Space::Owned => op.key.starts_with(call.author.as_bytes()),
            Space::Private | Space::Agenda => matches!(op.write, Write::Set(_) | Write::Remove),
            Space::Attached => {
                matches!(op.write, Write::Insert | Write::Remove)
                    && Attachment::from_key(&op.key).is_some()
            }
            Space::Stable => stable::is_write(&op.view()),
        };
        if !is_allowed {
            return Err(Refused::NotInSpace { space: op.space });
        }
    }
    for event in &call.events {
        check_bound(
            "an event kind's length in bytes",
            event.kind.len(),
            0,
            EVENT_KIND_BYTES_MAX,
        )?;
        check_bound(
            "an event payload's length in bytes",
            event.payload.len(),
            0,
            VALUE_BYTES_MAX,
        )?;
    }
    // Private entries stay here.
    let told = call.ops.iter().filter(|op| op.space.is_replicated());
    let bytes = delta::size_at_most(told.map(|op| op.view()), &call.events);
    match bytes <= DELTA_BYTES_MAX {
        true => Ok(()),
        false => Err(Refused::OutOfBounds {
            limit: "the bytes of a call's delta",
            got: bytes,
            min: 0,
            max: DELTA_BYTES_MAX,
        }),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    check_bound("a name's length in bytes", name.len(), 1, NAME_BYTES_MAX)
}

pub(super) fn check_bound(
    limit: &'static str,
    got: usize,
    min: usize,
    max: usize,
) -> Result<(), Refused> {
    if (min..=max).contains(&got) {
        Ok(())
    } else {
        Err(Refused::OutOfBounds {
            limit,
            got: got as u64,
            min: min as u64,
            max: max as u64,
        })
    }
}
