//! The blobs of an application that runs without a server: ids and sizes, in the order of
//! the ids' text. Which blobs there are is what a test says. Part of `memory_host.rs`.

use std::ops::Bound;

use crate::memory_host::{Call, Deed, check_limit, with, with_writing};

/// What a reference to a blob counts for.
const ATTACHMENT_BYTES: u64 = 40;

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
        call.count_write(ATTACHMENT_BYTES);
        let size = call.state.blobs.get(blob).copied();
        if let Some(size) = size {
            call.attached_mut().insert(blob.to_owned(), size);
            if let Some(deeds) = &mut call.deeds {
                deeds.push(Deed::Attach(blob.to_owned(), size));
            }
        }
        Ok(size)
    })
}

pub(crate) fn detach_blob(blob: &str) -> bool {
    with_writing(|call| {
        call.count_write(ATTACHMENT_BYTES);
        let was_there = call.attached_mut().remove(blob).is_some();
        if let Some(deeds) = call.deeds.as_mut().filter(|_| was_there) {
            deeds.push(Deed::Detach(blob.to_owned()));
        }
        Ok(was_there)
    })
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
