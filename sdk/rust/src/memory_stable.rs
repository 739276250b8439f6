//! The stable memory of an application that runs without a server. Part of `memory_host.rs`.

use std::ops::Range;
use std::panic::resume_unwind;

use crate::memory_host::{Call, Misused, with, with_writing};
use crate::stable::PAGE_BYTES;

/// The server's bound, if it is not set otherwise.
const STABLE_BYTES_MAX: u64 = 4 << 30;

impl Call {
    fn stable_mut(&mut self) -> &mut Vec<u8> {
        if self.stable_before.is_none() {
            self.stable_before = Some(self.state.stable.clone());
        }
        &mut self.state.stable
    }

    fn stable_range(&self, how: &str, offset: u64, count: usize) -> Result<Range<usize>, Misused> {
        let bytes = self.state.stable.len();
        let end = offset.checked_add(count as u64);
        match end.filter(|end| *end <= bytes as u64) {
            Some(end) => Ok(offset as usize..end as usize),
            None => Err(Misused(format!(
                "the stable memory was {how} beyond its end: {count} bytes from {offset} on, of \
                 {bytes} in all"
            ))),
        }
    }
}

pub(crate) fn stable_size() -> u64 {
    with(|call| call.state.stable.len() as u64 / PAGE_BYTES)
}

pub(crate) fn stable_grow(pages: u64) -> u64 {
    with_writing(|call| {
        let before = call.state.stable.len() as u64;
        if pages > 0 {
            let bytes = pages.saturating_mul(PAGE_BYTES).saturating_add(before);
            assert!(
                bytes <= STABLE_BYTES_MAX,
                "a stable memory of {bytes} bytes is over the limit of {STABLE_BYTES_MAX}"
            );
            call.stable_mut().resize(bytes as usize, 0);
        }
        Ok(before / PAGE_BYTES)
    })
}

pub(crate) fn stable_read(offset: u64, count: u32) -> Vec<u8> {
    let read = with(|call| {
        let range = call.stable_range("read", offset, count as usize)?;
        Ok(call.state.stable[range].to_vec())
    });
    // Not a panic of the application, as in `with_writing`.
    read.unwrap_or_else(|misused: Misused| resume_unwind(Box::new(misused)))
}

pub(crate) fn stable_write(offset: u64, bytes: &[u8]) {
    with_writing(|call| {
        let range = call.stable_range("written", offset, bytes.len())?;
        if !range.is_empty() {
            call.stable_mut()[range].copy_from_slice(bytes);
        }
        Ok(())
    });
}
