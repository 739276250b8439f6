//! The blobs of an application that runs without a server: ids and sizes, in the order of
//! the ids' text. Which blobs there are is what a test says. Part of `memory_host.rs`.

use std::ops::Bound;

use crate::memory_host::{Call, check_limit, with, with_writing};

impl Call {
    fn attached_mut(&mut self) -> &mut std::collections::BTreeMap<String, u64> {
        if self.attached_before.is_none() {
            self.attached_before = Some(self.state.attached.clone());
        }
        &mut self.state.attached
    }
}

pub(crate) fn attach_blob(blob: &str) -> Option<u64> {
    with_writing(|call| {
        let size = call.state.blobs.get(blob).copied();
        if let Some(size) = size {
            call.attached_mut().insert(blob.to_owned(), size);
        }
        Ok(size)
    })
}

pub(crate) fn detach_blob(blob: &str) -> bool {
    with_writing(|call| Ok(call.attached_mut().remove(blob).is_some()))
}

pub(crate) fn blob_size(blob: &str) -> Option<u64> {
    with(|call| call.state.attached.get(blob).copied())
}

pub(crate) fn attached_blobs(after: Option<&str>, limit: u32) -> Vec<(String, u64)> {
    check_limit(limit);
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    with(|call| {
        let behind = call
            .state
            .attached
            .range::<str, _>((after, Bound::Unbounded));
        let pairs = behind.map(|(blob, size)| (blob.clone(), *size));
        pairs.take(limit as usize).collect()
    })
}
