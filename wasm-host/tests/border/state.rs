//! A context's state in memory, for tests.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use corelet_wasm_host::{GuestState, Row, Space, StateError, StateWalk};

/// A map, and how often it was asked.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapState {
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Removals from before the turn that a scan walks over first, forwards.
    pub(crate) hidden: u32,
    /// Every answer is this error, if there is one.
    pub(crate) broken: Option<&'static str>,
    /// Counts the states that still exist.
    pub(crate) alive: Option<Arc<()>>,
}

impl MapState {
    pub(crate) fn of(entries: &[(&str, &str)]) -> MapState {
        let pair =
            |(key, value): &(&str, &str)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        MapState {
            entries: entries.iter().map(pair).collect(),
            ..MapState::default()
        }
    }

    fn check(&self) -> Result<(), StateError> {
        self.broken
            .map_or(Ok(()), |what| Err(StateError::new(what)))
    }
}

impl GuestState for MapState {
    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.check()?;
        self.reads += 1;
        GuestState::get(&mut self.entries, space, key)
    }

    fn set(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.check()?;
        self.writes += 1;
        self.entries.set(space, key, value)
    }

    fn add(&mut self, space: Space, key: &[u8], amount: i64) -> Result<i64, StateError> {
        self.check()?;
        self.writes += 1;
        self.entries.add(space, key, amount)
    }

    fn insert(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError> {
        self.check()?;
        self.writes += 1;
        GuestState::insert(&mut self.entries, space, key)
    }

    fn write_once(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<bool, StateError> {
        self.check()?;
        self.writes += 1;
        self.entries.write_once(space, key, value)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError> {
        self.check()?;
        self.writes += 1;
        GuestState::remove(&mut self.entries, space, key)
    }

    fn scan(
        &mut self,
        walk: StateWalk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.check()?;
        self.reads += 1;
        let first = walk.after.map_or(0, |after| match after.first_chunk() {
            Some(number) => u32::from_be_bytes(*number) + 1,
            None => u32::MAX,
        });
        for number in first..self.hidden {
            if out(&number.to_be_bytes(), Row::Hidden).is_break() {
                return Ok(());
            }
        }
        self.entries.scan(walk, out)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
