//! The checksum of a large record, a piece at a time.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{ENVELOPE_BYTES, RecordKind};
use crate::error::StoreError;

/// What the checksum of a record under `key` begins with.
pub(super) fn seed(version: u8, kind: u8, key: &[u8]) -> u64 {
    xxh3_64(key) ^ u64::from(u16::from_le_bytes([version, kind]))
}

/// A checksum of which some pieces are taken in.
pub(crate) struct Summing {
    sum: Xxh3,
    expected: u64,
    kind: RecordKind,
}

impl Summing {
    /// Begins with that of a record of this kind, as it was read from under `key`.
    pub(crate) fn begin(kind: RecordKind, key: &[u8], bytes: &[u8]) -> Result<Summing, StoreError> {
        let envelope = bytes.first_chunk::<ENVELOPE_BYTES>().ok_or_else(|| {
            StoreError::corrupt(kind.what(), key, "it is shorter than its envelope")
        })?;
        let [version, stored_kind, sum @ ..] = *envelope;
        Ok(Summing {
            sum: Xxh3::with_seed(seed(version, stored_kind, key)),
            expected: u64::from_le_bytes(sum),
            kind,
        })
    }

    /// The bytes of a record that are taken in.
    pub(crate) fn covered(bytes: &[u8]) -> &[u8] {
        bytes.get(ENVELOPE_BYTES..).unwrap_or_default()
    }

    /// Takes the next piece of them in.
    pub(crate) fn take_in(&mut self, piece: &[u8]) {
        self.sum.update(piece);
    }

    /// Whether the record is as it was written, once all of it was taken in.
    pub(crate) fn check(&self, key: &[u8]) -> Result<(), StoreError> {
        if self.sum.digest() == self.expected {
            return Ok(());
        }
        let why = "its checksum does not match";
        Err(StoreError::corrupt(self.kind.what(), key, why))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EventRow, seal};
    use super::*;

    #[test]
    fn a_sum_in_pieces_is_that_of_the_whole() {
        let key = b"a key";
        for length in [0, 1, 100, 240, 241, 1_000, 100_000] {
            let mut record = Vec::new();
            let row = EventRow {
                delta: [1; 32],
                hlc: 1,
                kind: "told",
                payload: &vec![7; length],
            };
            seal(&mut record, key, &row);
            for piece in [1, 64, 999, 1 << 20] {
                let sum_of = |key: &[u8], bytes: &[u8]| {
                    let mut sum = Summing::begin(RecordKind::Event, key, bytes)?;
                    Summing::covered(bytes)
                        .chunks(piece)
                        .for_each(|piece| sum.take_in(piece));
                    sum.check(key)
                };
                sum_of(key, &record).expect("it is whole");
                sum_of(b"another", &record).expect_err("it is of another key");
                for at in [0, 1, 5, record.len() / 2, record.len() - 1] {
                    let mut damaged = record.clone();
                    damaged[at] ^= 4;
                    sum_of(key, &damaged).expect_err("a bit is another");
                }
            }
        }
        Summing::begin(RecordKind::Event, key, &[1; ENVELOPE_BYTES - 1])
            .map(drop)
            .expect_err("it is too short");
    }
}
