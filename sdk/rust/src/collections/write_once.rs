//! A value that never changes.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Site, Unreadable};
use crate::{host, value};

/// One durable value of type `T` that is written once: who made this, what it is
/// called for ever.
///
/// If several nodes write it before they know of each other, the earliest value
/// stays, by the stamps that these nodes say. So it is for ever among nodes that are honest: one that
/// lies about its time can replace the value at any later time, and any can put a
/// [`Register`](super::Register) above it, which is read then. What must not be forged
/// belongs into [`Owned`](super::Owned).
///
/// It cannot be removed: [`Map::clear`](super::Map::clear) and other removals of many
/// entries pass over it.
pub struct WriteOnce<T> {
    site: Site,
    value: PhantomData<fn() -> T>,
}

impl<T> Collection for WriteOnce<T> {
    fn within(site: Site) -> Self {
        WriteOnce {
            site,
            value: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> WriteOnce<T> {
    /// The value, if there is one. What is no `T` stops the call; see [`WriteOnce::try_get`].
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

    /// Writes the value if there is none; tells whether it did.
    pub fn set(&mut self, value: &T) -> bool {
        host::write_once(self.site.space, &self.site.prefix, &value::encode(value))
    }

    /// Whether there is a value.
    pub fn is_set(&self) -> bool {
        self.site.get(&self.site.prefix).is_some()
    }
}
