//! The border to the context's state: one small trait that the shard
//! implements on top of the store. No keys' meaning and no durability here.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use crate::guest_blobs::GuestBlobs;
use crate::guest_sends::GuestSends;
use crate::guest_sequences::GuestSequences;
use crate::guest_subscriptions::GuestSubscriptions;
use crate::guest_timers::GuestTimers;

/// The longest key that there can be, whatever [`crate::Limits::key_bytes_max`] lets this node's
/// guests write.
pub const KEY_BYTES_MAX: usize = 503;

/// Which part of a context an entry is in. Keys of different spaces never meet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// What every node of the context has and may write.
    #[default]
    Shared,
    /// What every node has, and one author alone may write, whose public key its
    /// keys begin with.
    Owned,
    /// What stays on this node. It has registers only.
    Private,
    /// What refers to blobs. Guests reach it through [`GuestBlobs`] alone.
    Attached,
    /// What the server is to do by itself. Guests reach it through [`GuestTimers`], [`GuestSends`] and
    /// [`GuestSubscriptions`] alone. It has registers only.
    Agenda,
    /// What its stable memory is made of. Guests reach it as bytes alone. It has registers only.
    Stable,
}

/// What a scan meets under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<'a> {
    /// An entry, with its value.
    Shown(&'a [u8]),
    /// The same of an entry that is written once, which no removal takes.
    WrittenOnce(&'a [u8]),
    /// One that this turn has removed itself. It has to be walked over, so it is
    /// paid for, but it does not count against the limit.
    Removed,
    /// One that was removed before this turn, and is still in the way. How long
    /// it is depends on the disk, so it costs no fuel; but the walk takes its
    /// time, and so may be ended here and begun anew behind it.
    Hidden,
    /// Behind the row of the same key: so many bytes were read for it that are not shown, where
    /// these are many. Another node decides how many, and whether they are read depends on
    /// the disk, so they cost no fuel; as with [`Row::Hidden`] the walk may be ended here.
    Unseen(u64),
}

impl Row<'_> {
    /// Bytes of the value.
    pub fn bytes(&self) -> usize {
        self.value().map_or(0, <[u8]>::len)
    }

    /// The value, if this is an entry, and no trace of one.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Row::Shown(value) | Row::WrittenOnce(value) => Some(value),
            Row::Removed | Row::Hidden | Row::Unseen(_) => None,
        }
    }
}

/// A context's state as one turn sees it: what was committed, plus this turn's
/// own writes. Used only while the turn runs, on the thread that runs it.
///
/// Every value is read as bytes: those of a register or write-once entry, the 8 of a counter,
/// little-endian and signed, none of a set element, list or text. What lists and texts hold
/// is read and written through [`GuestSequences`].
///
/// Lengths and counts are already checked against [`crate::Limits`] when a
/// method is called, and the turn is known to be allowed to write.
pub trait GuestState:
    GuestSequences + GuestBlobs + GuestTimers + GuestSends + GuestSubscriptions
{
    /// The value under `key`.
    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Gives the register under `key` a value.
    fn set(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Adds to the counter under `key` and gives its new value.
    fn add(&mut self, space: Space, key: &[u8], amount: i64) -> Result<i64, StateError>;

    /// Puts an element into a set; tells whether it was not there.
    fn insert(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError>;

    /// Gives the write-once entry under `key` its value; tells whether it had none.
    /// One that had keeps it.
    fn write_once(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<bool, StateError>;

    /// Removes the entry under `key`; tells whether there was one. What is written once is not
    /// removed: that is [`StateError::Misused`].
    fn remove(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError>;

    /// Hands up to `limit` entries whose key begins with `prefix` to `out`, in
    /// key order (or against it with `reverse`), beginning behind `after` if
    /// one is given; also tells of what it walks over (see [`Row`]). `out` may
    /// end the walk early. Counting also goes this way, in bounded steps.
    fn scan(
        &mut self,
        walk: Walk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError>;

    /// How many bytes this has read that it neither gave nor told of as [`Row::Unseen`], since
    /// this was last asked. They take their time, and cost no fuel.
    fn take_unseen(&mut self) -> u64 {
        0
    }

    /// Gives the shard its own type back, with what the turn has written.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Where a scan goes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Walk<'a> {
    /// In which space.
    pub space: Space,
    /// Only keys that begin with this.
    pub prefix: &'a [u8],
    /// Only keys behind this one, in the direction of the scan.
    pub after: Option<&'a [u8]>,
    /// At most this many entries.
    pub limit: usize,
    /// From the largest key to the smallest.
    pub reverse: bool,
}

/// Why the state could not answer. The turn ends with it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The host's trouble, not the guest's: the store's own error, to be recognised by
    /// its type.
    #[error("{0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the guest has asked for does not fit to what is there.
    #[error("{0}")]
    Misused(String),
    /// Others use what there is of something. The guest is not at fault.
    #[error("{limit} is reached ({used} of {max})")]
    Busy {
        /// The bound's name.
        limit: &'static str,
        /// How much is in use.
        used: u64,
        /// The bound.
        max: u64,
    },
}

impl StateError {
    /// Wraps the store's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StateError {
        StateError::Store(error.into())
    }
}

/// The state of no context: empty, and refuses writes. What an instance holds
/// between turns.
#[derive(Debug, Default, Clone, Copy)]
pub struct NullState;

impl NullState {
    fn refuse<T>() -> Result<T, StateError> {
        Err(StateError::new("there is no context to write to"))
    }
}

impl GuestBlobs for NullState {}

impl GuestTimers for NullState {}

impl GuestSends for NullState {}

impl GuestSubscriptions for NullState {}

impl GuestState for NullState {
    fn get(&mut self, _space: Space, _key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn set(&mut self, _space: Space, _key: &[u8], _value: &[u8]) -> Result<(), StateError> {
        NullState::refuse()
    }

    fn add(&mut self, _space: Space, _key: &[u8], _amount: i64) -> Result<i64, StateError> {
        NullState::refuse()
    }

    fn insert(&mut self, _space: Space, _key: &[u8]) -> Result<bool, StateError> {
        NullState::refuse()
    }

    fn write_once(
        &mut self,
        _space: Space,
        _key: &[u8],
        _value: &[u8],
    ) -> Result<bool, StateError> {
        NullState::refuse()
    }

    fn remove(&mut self, _space: Space, _key: &[u8]) -> Result<bool, StateError> {
        NullState::refuse()
    }

    fn scan(
        &mut self,
        _walk: Walk<'_>,
        _out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl GuestBlobs for BTreeMap<Vec<u8>, Vec<u8>> {}

impl GuestTimers for BTreeMap<Vec<u8>, Vec<u8>> {}

impl GuestSends for BTreeMap<Vec<u8>, Vec<u8>> {}

impl GuestSubscriptions for BTreeMap<Vec<u8>, Vec<u8>> {}

/// A state in memory, without a store and with registers alone in one space: for measures
/// and tests of the border.
impl GuestState for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&mut self, _space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn set(&mut self, _space: Space, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        match self.get_mut(key) {
            Some(there) => value.clone_into(there),
            None => drop(BTreeMap::insert(self, key.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn add(&mut self, _space: Space, key: &[u8], amount: i64) -> Result<i64, StateError> {
        let old = BTreeMap::get(self, key).and_then(|value| value.first_chunk());
        let sum = old.map_or(0, |old| i64::from_le_bytes(*old)) + amount;
        BTreeMap::insert(self, key.to_vec(), sum.to_le_bytes().to_vec());
        Ok(sum)
    }

    fn insert(&mut self, _space: Space, key: &[u8]) -> Result<bool, StateError> {
        Ok(BTreeMap::insert(self, key.to_vec(), Vec::new()).is_none())
    }

    fn write_once(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<bool, StateError> {
        match self.contains_key(key) {
            true => Ok(false),
            false => self.set(space, key, value).map(|()| true),
        }
    }

    fn remove(&mut self, _space: Space, key: &[u8]) -> Result<bool, StateError> {
        Ok(BTreeMap::remove(self, key).is_some())
    }

    fn scan(
        &mut self,
        walk: Walk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let Walk {
            prefix,
            after,
            limit,
            reverse,
            ..
        } = walk;
        let mut visit = |(key, value): (&Vec<u8>, &Vec<u8>)| out(key, Row::Shown(value));
        let walked = if reverse {
            let until = after.map_or(Bound::Unbounded, Bound::Excluded);
            self.range::<[u8], _>((Bound::Unbounded, until))
                .rev()
                .skip_while(|(key, _)| !key.starts_with(prefix) && key.as_slice() > prefix)
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .try_for_each(&mut visit)
        } else {
            let from = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            self.range::<[u8], _>((from, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .try_for_each(&mut visit)
        };
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = walked;
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_walked_both_ways_within_a_prefix() {
        let mut map: BTreeMap<Vec<u8>, Vec<u8>> = ["a", "b1", "b2", "b3", "c"]
            .map(|key| (key.into(), b"value".to_vec()))
            .into();
        let mut walk = |after: Option<&str>, limit, reverse| {
            let mut keys = Vec::new();
            let walk = Walk {
                prefix: b"b",
                after: after.map(str::as_bytes),
                limit,
                reverse,
                ..Walk::default()
            };
            map.scan(walk, &mut |key, _| {
                keys.push(String::from_utf8(key.to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
            keys
        };
        assert_eq!(walk(None, 9, false), ["b1", "b2", "b3"]);
        assert_eq!(walk(Some("b1"), 1, false), ["b2"]);
        assert_eq!(walk(Some("a"), 1, false), ["b1"]);
        assert_eq!(walk(None, 2, true), ["b3", "b2"]);
        assert_eq!(walk(Some("b3"), 9, true), ["b2", "b1"]);
        assert_eq!(walk(Some("c"), 1, true), ["b3"]);
        assert!(walk(Some("b3"), 9, false).is_empty());
    }
}
