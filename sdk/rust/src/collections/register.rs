//! One value. Many values by key are in `map.rs`.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Site, Unreadable};
use crate::{host, value};

/// One durable value of type `T`, or none yet.
pub struct Register<T> {
    site: Site,
    value: PhantomData<fn() -> T>,
}

impl<T> Collection for Register<T> {
    fn within(site: Site) -> Self {
        Register {
            site,
            value: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Register<T> {
    /// The value, if one was set. What is no `T` stops the call; see [`Register::try_get`].
    pub fn get(&self) -> Option<T> {
        let bytes = self.site.get(&self.site.prefix)?;
        Some(value::decode(&self.site.prefix, &bytes))
    }

    /// The same of a context in which members are not trusted: what they have put there that is no `T`
    /// stops no call.
    pub fn try_get(&self) -> Result<Option<T>, Unreadable> {
        let bytes = self.site.get(&self.site.prefix);
        bytes.map(|bytes| value::try_decode(&bytes)).transpose()
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
        host::set(self.site.space, &self.site.prefix, &value::encode(value));
    }

    /// Removes the value; tells whether there was one.
    pub fn clear(&mut self) -> bool {
        host::remove(self.site.space, &self.site.prefix)
    }

    /// Whether a value was set.
    pub fn is_set(&self) -> bool {
        self.site.get(&self.site.prefix).is_some()
    }
}
