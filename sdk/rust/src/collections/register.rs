//! One value. Many values by key are in `map.rs`.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Collection;
use crate::{host, value};

/// One durable value of type `T`, or none yet.
pub struct Register<T> {
    key: &'static [u8],
    value: PhantomData<fn() -> T>,
}

impl<T> Collection for Register<T> {
    fn at(prefix: &'static [u8]) -> Self {
        Register {
            key: prefix,
            value: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Register<T> {
    /// The value, if one was set.
    pub fn get(&self) -> Option<T> {
        host::get(self.key).map(|bytes| value::decode(self.key, &bytes))
    }

    /// The value, or the type's default if none was set.
    pub fn get_or_default(&self) -> T
    where
        T: Default,
    {
        self.get().unwrap_or_default()
    }

    /// Writes the value.
    pub fn set(&mut self, value: &T) {
        host::set(self.key, &value::encode(value));
    }

    /// Removes the value; tells whether there was one.
    pub fn clear(&mut self) -> bool {
        host::remove(self.key)
    }

    /// Whether a value was set.
    pub fn is_set(&self) -> bool {
        host::get(self.key).is_some()
    }
}
