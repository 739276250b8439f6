//! A tape: bytes in a row, kept in the stable memory. The smallest use of that.
//!
//! ```sh
//! corelet app install target/apps/tape.wasm
//! corelet context create tape --name demo
//! corelet call demo record '{"at":70000,"text":"hello"}'
//! corelet call demo play '{"at":69998,"count":9}'
//! corelet call demo pages
//! ```
//!
//! The tape becomes as long as it has to, up to 16 MiB. Where nothing was recorded it is blank, which `play` shows as
//! dots.

use corelet_sdk::prelude::*;

/// A tape.
#[corelet::application(name = "tape")]
pub struct Tape {}

/// How long it can become.
const TAPE_BYTES_MAX: u64 = 16 << 20;

/// Bytes that `play` and `hash` read at once.
const PART_BYTES: u64 = 64 << 10;

#[corelet::methods]
impl Tape {
    /// Records a text from `at` on, and gives how many pages of 64 KiB the tape has then.
    #[update]
    pub fn record(&mut self, at: u64, text: &str) -> Result<u64, Error> {
        put(at, text.as_bytes())?;
        Ok(stable::size())
    }

    /// Records several texts, or none of them if one does not fit.
    #[update]
    pub fn record_all(&mut self, texts: Vec<(u64, String)>) -> Result<u64, Error> {
        for (at, text) in texts {
            put(at, text.as_bytes())?;
        }
        Ok(stable::size())
    }

    /// Makes so many bytes from `at` on blank, as far as there are any.
    #[update]
    pub fn erase(&mut self, at: u64, count: u64) {
        for (at, count) in parts(at, count) {
            stable::write(at, &vec![0; count]);
        }
    }

    /// Up to `count` bytes from `at` on, as text.
    #[query]
    pub fn play(&self, at: u64, count: u64) -> String {
        let mut text = String::new();
        for (at, count) in parts(at, count) {
            let mut bytes = vec![0; count];
            stable::read(at, &mut bytes);
            for byte in &mut bytes {
                *byte = if *byte == 0 { b'.' } else { *byte };
            }
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text
    }

    /// A number that tells whether two tapes are alike: the 64 bits of FNV-1a.
    #[query]
    pub fn hash(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (at, count) in parts(0, u64::MAX) {
            let mut bytes = vec![0; count];
            stable::read(at, &mut bytes);
            for byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }

    /// Where a text stands first, if it begins at one of the `count` bytes from `at` on. Looked for
    /// place by place: what a call has read is kept, so reading it again takes next to nothing.
    #[query]
    pub fn find(&self, text: &str, at: u64, count: u64) -> Option<u64> {
        let mut bytes = vec![0; text.len()];
        let tape = stable::size() * stable::PAGE_BYTES;
        let end = (tape + 1).saturating_sub(bytes.len() as u64);
        (at..at.saturating_add(count).min(end)).find(|&at| {
            stable::read(at, &mut bytes);
            bytes == text.as_bytes()
        })
    }

    /// How many pages of 64 KiB the tape has.
    #[query]
    pub fn pages(&self) -> u64 {
        stable::size()
    }
}

/// Writes, and makes the tape longer before if it has to be.
fn put(at: u64, bytes: &[u8]) -> Result<(), Error> {
    let end = at.checked_add(bytes.len() as u64);
    let end = end.filter(|end| *end <= TAPE_BYTES_MAX);
    let end = end.ok_or_else(|| Error::new("too_far", "the tape does not become so long"))?;
    let pages = end.div_ceil(stable::PAGE_BYTES);
    stable::grow(pages.saturating_sub(stable::size()));
    stable::write(at, bytes);
    Ok(())
}

/// What is there of these bytes, in parts: where each begins and how many it has.
fn parts(at: u64, count: u64) -> impl Iterator<Item = (u64, usize)> {
    let end = at
        .saturating_add(count)
        .min(stable::size() * stable::PAGE_BYTES);
    let starts = (at..end).step_by(PART_BYTES as usize);
    starts.map(move |start| (start, PART_BYTES.min(end - start) as usize))
}
