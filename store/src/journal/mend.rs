//! One bit of a record that is another than it was written, or two of its header, found by the sieve
//! of the payload and by trying: its checksums tell when the record is whole again. To bring such a record in is right whatever has
//! happened. If the bit was flipped on the disk, the record was acknowledged, and would be lost
//! otherwise; if the write was torn and lacked nothing but that bit, it may be there as
//! well as not. Pure functions.

use super::header::{HEADER_BYTES, Header};

/// The longest payload without a sieve of which each bit is tried: some hundredths of a second
/// of hashing.
const PAYLOAD_BYTES_MAX: usize = 8 << 10;

/// Which part of a record was mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    /// Its header, which lies within what a disk writes at once: it was not torn.
    Header,
    /// What is behind it.
    Payload,
}

/// The header that these bytes were, if it is one that `is_wanted` and at most two bits
/// are others. So many are tried because a header that is nothing to anybody looks like the end of
/// the journal: all pairs are a hundred thousand short hashes, and a checksum of 64 bits is not met by chance.
pub(super) fn header(
    mut bytes: [u8; HEADER_BYTES],
    seed: u64,
    is_wanted: impl Fn(&Header) -> bool,
) -> Option<Header> {
    if !Header::may_be(&bytes, 2) {
        return None;
    }
    let wanted = |bytes| Header::parse(bytes, seed).filter(&is_wanted);
    let bits = 8 * HEADER_BYTES;
    (0..bits).find_map(|first| {
        flip(&mut bytes, first);
        let found = wanted(bytes).or_else(|| {
            (first + 1..bits).find_map(|second| {
                flip(&mut bytes, second);
                let found = wanted(bytes);
                flip(&mut bytes, second);
                found
            })
        });
        flip(&mut bytes, first);
        found
    })
}

/// Makes the payload what it was, if that is possible. Otherwise it is left as it is.
pub(super) fn payload(header: &Header, payload: &mut [u8], seed: u64) -> bool {
    let bits = match header.sieve() {
        Some(sieve) => match sieve.flipped(payload) {
            Some(bit) => bit..bit + 1,
            None => 0..0,
        },
        None if payload.len() <= PAYLOAD_BYTES_MAX => 0..8 * payload.len(),
        None => 0..0,
    };
    let mut bits = bits.into_iter();
    bits.any(|bit| {
        flip(payload, bit);
        let is_whole = header.covers(payload, seed);
        if !is_whole {
            flip(payload, bit);
        }
        is_whole
    })
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}
