//! The border to the context's state: one small trait that the shard
//! implements on top of the store. No keys' meaning and no durability here.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// What a scan meets under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<'a> {
    /// An entry, with its value.
    Shown(&'a [u8]),
    /// One that this turn has removed itself. It has to be walked over, so it is
    /// paid for, but it does not count against the limit.
    Removed,
    /// One that was removed before this turn, and is still in the way. How long
    /// it is depends on the disk, so it costs no fuel; but the walk takes its
    /// time, and so may be ended here and begun anew behind it.
    Hidden,
}

impl Row<'_> {
    /// Bytes of the value.
    pub fn bytes(&self) -> usize {
        match self {
            Row::Shown(value) => value.len(),
            Row::Removed | Row::Hidden => 0,
        }
    }
}

/// A context's state as one turn sees it: what was committed, plus this turn's
/// own writes. Used only while the turn runs, on the thread that runs it.
///
/// Lengths and counts are already checked against [`crate::Limits`] when a
/// method is called, and the turn is known to be allowed to write.
pub trait GuestState {
    /// The value under `key`.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Writes `value` under `key`.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Removes the entry under `key`; tells whether there was one.
    fn remove(&mut self, key: &[u8]) -> Result<bool, StateError>;

    /// Hands up to `limit` entries whose key begins with `prefix` to `out`, in
    /// key order (or against it with `reverse`), beginning behind `after` if
    /// one is given; also tells of what it walks over (see [`Row`]). `out` may
    /// end the walk early. Counting also goes this way, in bounded steps.
    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        reverse: bool,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError>;

    /// Gives the shard its own type back, with what the turn has written.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Why the state could not answer. The turn ends with it; it is the host's
/// trouble, not the guest's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl StateError {
    /// Wraps the store's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StateError {
        StateError(error.into())
    }

    /// The store's own error, to be recognised by its type.
    pub fn into_inner(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.0
    }

    /// The store's own error.
    pub fn inner(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

/// The state of no context: empty, and refuses writes. What an instance holds
/// between turns.
#[derive(Debug, Default, Clone, Copy)]
pub struct NullState;

impl GuestState for NullState {
    fn get(&mut self, _key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn set(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), StateError> {
        Err(StateError::new("there is no context to write to"))
    }

    fn remove(&mut self, _key: &[u8]) -> Result<bool, StateError> {
        Err(StateError::new("there is no context to write to"))
    }

    fn scan(
        &mut self,
        _prefix: &[u8],
        _after: Option<&[u8]>,
        _limit: usize,
        _reverse: bool,
        _out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A state in memory, without a store: for measures and tests of the border.
impl GuestState for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        match self.get_mut(key) {
            Some(there) => value.clone_into(there),
            None => drop(self.insert(key.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<bool, StateError> {
        Ok(BTreeMap::remove(self, key).is_some())
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        reverse: bool,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
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
            map.scan(
                b"b",
                after.map(str::as_bytes),
                limit,
                reverse,
                &mut |key, _| {
                    keys.push(String::from_utf8(key.to_vec()).unwrap());
                    ControlFlow::Continue(())
                },
            )
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
