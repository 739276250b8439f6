//! The header of one record of the journal. Where records lie and what follows
//! from them is in `mod.rs`. A plain value.
//!
//! All numbers little-endian: magic "CLJ2", payload length (4), generation (8),
//! number of the batch within the generation, from 0 (8), checksum of the payload
//! (8), where a bit of it is that is another (`sieve.rs`, 16), checksum of the header up to here (8),
//! both checksums seeded by the ledger. Until format 6 it was "CLJ1" and had no sieve.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Generation;
use super::sieve::{SIEVE_BYTES, Sieve};

const MAGIC: &[u8; 4] = b"CLJ2";

/// Of headers up to format 6.
const MAGIC_OF_FORMAT_6: &[u8; 4] = b"CLJ1";

pub(super) const HEADER_BYTES: usize = 56;

const SIEVE_AT: usize = 32;

/// So many bits of a header may be others for it to be known again. A page without anything
/// differs from a header in those of the magic that are set, which are three times as many.
const RESEMBLING_BITS_MAX: u32 = 4;

/// The first bytes of a record. Of one of format 6 the last are its payload's.
#[derive(Clone, Copy)]
pub(super) struct Header {
    bytes: [u8; HEADER_BYTES],
}

impl Header {
    /// The header of batch `number` of `generation`.
    pub(super) fn of(generation: Generation, number: u64, payload: &[u8]) -> Header {
        let length = u32::try_from(payload.len()).expect("a batch is far below 4 GiB");
        let mut header = Header {
            bytes: [0; HEADER_BYTES],
        };
        header.bytes[..4].copy_from_slice(MAGIC);
        header.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        header.bytes[8..16].copy_from_slice(&generation.number.to_le_bytes());
        header.bytes[16..24].copy_from_slice(&number.to_le_bytes());
        let payload_sum = xxh3_64_with_seed(payload, generation.seed);
        header.bytes[24..SIEVE_AT].copy_from_slice(&payload_sum.to_le_bytes());
        let sieve = Sieve::of(payload).to_bytes();
        header.bytes[SIEVE_AT..SIEVE_AT + SIEVE_BYTES].copy_from_slice(&sieve);
        let (sum, at) = (header.own_sum(generation.seed), header.own_sum_at());
        header.bytes[at..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// The same as up to format 6, behind which the payload followed at once.
    #[cfg(test)]
    pub(super) fn of_format_6(generation: Generation, number: u64, payload: &[u8]) -> Vec<u8> {
        let mut header = Header::of(generation, number, payload);
        header.bytes[..4].copy_from_slice(MAGIC_OF_FORMAT_6);
        let (sum, at) = (header.own_sum(generation.seed), header.own_sum_at());
        [&header.bytes[..at], &sum.to_le_bytes()].concat()
    }

    /// `None` if this is no whole header of this ledger.
    pub(super) fn parse(bytes: [u8; HEADER_BYTES], seed: u64) -> Option<Header> {
        let header = Header { bytes };
        let is_one = [MAGIC, MAGIC_OF_FORMAT_6].contains(&header.magic())
            && header.number_at(header.own_sum_at()) == header.own_sum(seed);
        is_one.then_some(header)
    }

    /// Whether at most so many bits of the first ones are others than every header has.
    pub(super) fn may_be(bytes: &[u8; HEADER_BYTES], bits_max: u32) -> bool {
        bits_from_a_magic(bytes) <= bits_max
    }

    /// Whether these bytes, which are no header, were the one of batch `number` of `generation`, as far
    /// as what every such header has can tell. An older one that is damaged may be taken for it.
    pub(super) fn resembles(bytes: &[u8; HEADER_BYTES], generation: u64, number: u64) -> bool {
        let differ = bits_from_a_magic(bytes)
            + bits_between(&bytes[8..16], &generation.to_le_bytes())
            + bits_between(&bytes[16..24], &number.to_le_bytes());
        differ <= RESEMBLING_BITS_MAX
    }

    /// Its bytes, of one that is of this format.
    pub(super) fn bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.bytes
    }

    /// How many bytes it has itself.
    pub(super) fn own_bytes(&self) -> usize {
        self.own_sum_at() + 8
    }

    /// The number of the generation that the record is of.
    pub(super) fn generation(&self) -> u64 {
        self.number_at(8)
    }

    /// Bytes behind the header.
    pub(super) fn payload_bytes(&self) -> u32 {
        (self.number_at(0) >> 32) as u32
    }

    /// The batch's number within its generation.
    pub(super) fn number(&self) -> u64 {
        self.number_at(16)
    }

    /// Whether `payload` is what the record was written with.
    pub(super) fn covers(&self, payload: &[u8], seed: u64) -> bool {
        self.number_at(24) == xxh3_64_with_seed(payload, seed)
    }

    /// What tells which bit of the payload is another. None of format 6.
    pub(super) fn sieve(&self) -> Option<Sieve> {
        let bytes = self.bytes[SIEVE_AT..].first_chunk();
        let sieve = Sieve::from_bytes(bytes.expect("a header has room for it"));
        (self.magic() == MAGIC).then_some(sieve)
    }

    fn magic(&self) -> &[u8; 4] {
        let magic = self.bytes.first_chunk();
        magic.expect("a header is longer than its magic")
    }

    /// Where its own checksum lies.
    fn own_sum_at(&self) -> usize {
        match self.magic() {
            MAGIC_OF_FORMAT_6 => SIEVE_AT,
            _ => SIEVE_AT + SIEVE_BYTES,
        }
    }

    fn own_sum(&self, seed: u64) -> u64 {
        xxh3_64_with_seed(&self.bytes[..self.own_sum_at()], seed)
    }

    fn number_at(&self, at: usize) -> u64 {
        let bytes = self.bytes[at..].first_chunk();
        u64::from_le_bytes(*bytes.expect("a header consists of numbers of 8 bytes"))
    }
}

fn bits_from_a_magic(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let now = bits_between(&bytes[..4], MAGIC);
    now.min(bits_between(&bytes[..4], MAGIC_OF_FORMAT_6))
}

fn bits_between(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}
