//! A turn's reads and writes of single entries: `GuestState` on top of the changeset and of what is
//! below it (`base.rs`).

use std::any::Any;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{EntryKind, Space, Write};
use corelet_wasm_host::{GuestState, Row, StateError, StateWalk};

use super::base::Found;
use super::{Own, View};
use crate::overlay::Shown;

// What the one makes of the stable memory is what the other can hold.
const _: () = assert!(corelet_wasm_host::STABLE_BLOCK_BYTES == corelet_store::STABLE_BLOCK_BYTES);

/// A value is to be read with [`View::beneath`].
struct IsBeneath;

impl GuestState for View {
    fn get(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StateError> {
        let space = store_space(space);
        let value = |found: Option<Found<'_>>| match found {
            Some(found) if found.is_beneath => Err(IsBeneath),
            found => Ok(found.map(|found| found.bytes.to_vec())),
        };
        let own = self.changeset.of(space);
        let value = if !own.is_empty()
            && let Some(own) = own.get(key)
        {
            value(own.shown.as_ref().map(Found::of_shown))
        } else {
            self.base_get(space, key, value)?
        };
        match value {
            Ok(value) => Ok(value),
            Err(IsBeneath) => self.beneath(space, key, |left| left.map(<[u8]>::to_vec)),
        }
    }

    /// Does not look at what is there, for that is the commonest write: a kind that
    /// does not fit is refused by the commit.
    fn set(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StateError> {
        let space = store_space(space);
        let value = Bytes::copy_from_slice(value);
        let mut removes_first = false;
        if let Some(own) = self.changeset.of(space).get(key) {
            agree(own.shown.as_ref(), EntryKind::Register)?;
            removes_first = own.removes_first || own.write == Write::Remove;
        }
        let own = Own {
            removes_first,
            write: Write::Set(value.clone()),
            shown: Some(Shown::new(EntryKind::Register, value)),
        };
        self.put(space, key, own);
        Ok(())
    }

    fn add(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        amount: i64,
    ) -> Result<i64, StateError> {
        let space = store_space(space);
        no_private(space, EntryKind::Counter)?;
        let (shown, removes_first) = self.meet(space, key)?;
        agree(shown.as_ref(), EntryKind::Counter)?;
        let sum = shown.map(|shown| shown.sum).unwrap_or_default();
        let sum = sum.plus(amount);
        let before = match self.changeset.of(space).get(key) {
            Some(Own {
                write: Write::Add(before),
                ..
            }) => *before,
            _ => 0,
        };
        let Some(added) = before.checked_add(amount) else {
            let what = "more was added to a counter in one call than 64 bits can hold";
            return Err(StateError::Misused(what.to_owned()));
        };
        let own = Own {
            removes_first,
            write: Write::Add(added),
            shown: Some(Shown::counter(sum)),
        };
        self.put(space, key, own);
        Ok(sum.nearest())
    }

    /// Writes it also if it is there: so it stays if somebody else removes it meanwhile.
    fn insert(&mut self, space: corelet_wasm_host::Space, key: &[u8]) -> Result<bool, StateError> {
        let space = store_space(space);
        no_private(space, EntryKind::SetElement)?;
        let (shown, removes_first) = self.meet(space, key)?;
        agree(shown.as_ref(), EntryKind::SetElement)?;
        let own = Own {
            removes_first,
            write: Write::Insert,
            shown: Some(Shown::new(EntryKind::SetElement, Bytes::new())),
        };
        self.put(space, key, own);
        Ok(shown.is_none())
    }

    fn write_once(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, StateError> {
        let space = store_space(space);
        no_private(space, EntryKind::WriteOnce)?;
        let (shown, removes_first) = self.meet(space, key)?;
        agree(shown.as_ref(), EntryKind::WriteOnce)?;
        if shown.is_some() {
            return Ok(false);
        }
        let value = Bytes::copy_from_slice(value);
        let own = Own {
            removes_first,
            write: Write::WriteOnce(value.clone()),
            shown: Some(Shown::new(EntryKind::WriteOnce, value)),
        };
        self.put(space, key, own);
        Ok(true)
    }

    fn remove(&mut self, space: corelet_wasm_host::Space, key: &[u8]) -> Result<bool, StateError> {
        let space = store_space(space);
        let below = self.base_get(space, key, |found| found.map(|found| found.kind))?;
        let own = self.changeset.of(space).get(key);
        let kind = match own {
            Some(own) => own.shown.as_ref().map(|shown| shown.kind),
            None => below,
        };
        match kind {
            Some(EntryKind::WriteOnce) => {
                let what = "a write-once entry was removed, which cannot be";
                return Err(StateError::Misused(what.to_owned()));
            }
            None => return Ok(false),
            Some(_) => {}
        }
        match below {
            // It has come and gone within the turn.
            None => {
                self.sequences.let_go(space, key);
                drop(self.changeset.of_mut(space).remove(key));
            }
            Some(_) => {
                let is_left = self.beneath(space, key, |left| left.is_some())?;
                let shown = is_left.then(Shown::beneath);
                self.sequences.let_go(space, key);
                let own = Own {
                    removes_first: false,
                    write: Write::Remove,
                    shown,
                };
                self.put(space, key, own);
            }
        }
        Ok(true)
    }

    fn scan(
        &mut self,
        walk: StateWalk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.walk(walk, out)
    }

    fn take_unseen(&mut self) -> u64 {
        self.unseen.take()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl View {
    /// What a write of this turn meets, its own writes included, and whether the turn has
    /// removed what was there before. Of an entry that is no counter only the kind is
    /// looked at: its value may be large, and the price of a write does not depend on it.
    fn meet(&self, space: Space, key: &[u8]) -> Result<(Option<Shown>, bool), StateError> {
        if let Some(own) = self.changeset.of(space).get(key) {
            let is_anew = own.removes_first || own.write == Write::Remove;
            return Ok((own.shown.clone(), is_anew));
        }
        let shown = self.base_get(space, key, |found| {
            found.map(|found| match found.kind {
                EntryKind::Counter => Shown::counter(found.sum),
                kind => Shown::new(kind, Bytes::new()),
            })
        })?;
        Ok((shown, false))
    }

    pub(super) fn put(&mut self, space: Space, key: &[u8], own: Own) {
        let own_map = self.changeset.of_mut(space);
        match own_map.get_mut(key) {
            Some(there) => *there = own,
            None => drop(own_map.insert(Bytes::copy_from_slice(key), own)),
        }
    }
}

/// Refuses a write of one kind to an entry of another.
fn agree(found: Option<&Shown>, written: EntryKind) -> Result<(), StateError> {
    match found {
        Some(found) if found.kind != written => Err(StateError::Misused(format!(
            "an entry that is a {} was written as a {written}",
            found.kind
        ))),
        _ => Ok(()),
    }
}

/// Private entries are registers, as nothing merges with them; so are those of the stable memory.
pub(super) fn no_private(space: Space, written: EntryKind) -> Result<(), StateError> {
    match space {
        Space::Private | Space::Agenda => Err(StateError::Misused(format!(
            "a {written} was written into the private space, which has registers only"
        ))),
        // No guest gets there by a function that says a kind.
        Space::Stable => Err(StateError::Misused(format!(
            "a {written} was written into the stable memory, which has registers only"
        ))),
        Space::Shared | Space::Owned | Space::Attached => Ok(()),
    }
}

pub(super) fn store_space(space: corelet_wasm_host::Space) -> Space {
    match space {
        corelet_wasm_host::Space::Shared => Space::Shared,
        corelet_wasm_host::Space::Owned => Space::Owned,
        corelet_wasm_host::Space::Private => Space::Private,
        corelet_wasm_host::Space::Attached => Space::Attached,
        corelet_wasm_host::Space::Agenda => Space::Agenda,
        corelet_wasm_host::Space::Stable => Space::Stable,
    }
}
