//! One bit of a record that is another than it was written, found by trying: the record's checksum
//! tells when it is whole again, and one of 64 bits is not met by chance. Pure functions; who does
//! something about it is `start_check.rs`.

use super::{ENVELOPE_BYTES, is_whole};

/// Hashing that a whole record of 8 KiB takes, bit by bit: some hundredths of a second.
const RECORD_WORK_MAX: u64 = 8 * (8 << 10) * (8 << 10);

/// A bit, counted from the first byte's lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bit {
    /// Of the key.
    Key(usize),
    /// Of the record.
    Record(usize),
}

/// The bit without which the record under `key` is whole, if there is one and trying for it is not
/// too much work. Of a large record only the key and the envelope are tried. `work_left` is
/// how many bytes may be hashed; what was hashed is taken off it.
pub(crate) fn odd_bit(key: &[u8], bytes: &[u8], work_left: &mut u64) -> Option<Bit> {
    let (mut key, mut bytes) = (key.to_vec(), bytes.to_vec());
    let once = (key.len() + bytes.len()) as u64;
    let mut is_too_much = |bits: usize| {
        let work = bits as u64 * once;
        let is_too_much = work > RECORD_WORK_MAX || work > *work_left;
        if !is_too_much {
            *work_left -= work;
        }
        is_too_much
    };
    let (envelope, all) = (8 * bytes.len().min(ENVELOPE_BYTES), 8 * bytes.len());
    if is_too_much(8 * key.len() + envelope) {
        return None;
    }
    for bit in 0..8 * key.len() {
        flip(&mut key, bit);
        if is_whole(&key, &bytes) {
            return Some(Bit::Key(bit));
        }
        flip(&mut key, bit);
    }
    let mut try_out = |bits: std::ops::Range<usize>| {
        bits.into_iter().find_map(|bit| {
            flip(&mut bytes, bit);
            let found = is_whole(&key, &bytes);
            flip(&mut bytes, bit);
            found.then_some(Bit::Record(bit))
        })
    };
    if let Some(found) = try_out(0..envelope) {
        return Some(found);
    }
    match is_too_much(all - envelope) {
        true => None,
        false => try_out(envelope..all),
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quarantine::AsideRow;
    use crate::record::seal;

    fn record(key: &[u8], bytes: usize) -> Vec<u8> {
        let mut record = Vec::new();
        let canonical = &vec![7; bytes][..];
        let local = &b"local"[..];
        seal(&mut record, key, &AsideRow { canonical, local });
        record
    }

    #[test]
    fn each_bit_of_a_record_and_of_its_key_is_found() {
        let key = *b"a key of a record";
        let whole = record(&key, 100);
        let mut work = u64::MAX;
        for bit in 0..8 * key.len() {
            let mut other = key;
            flip(&mut other, bit);
            assert_eq!(odd_bit(&other, &whole, &mut work), Some(Bit::Key(bit)));
        }
        for bit in 0..8 * whole.len() {
            let mut other = whole.clone();
            flip(&mut other, bit);
            assert_eq!(odd_bit(&key, &other, &mut work), Some(Bit::Record(bit)));
        }
        let mut two = whole.clone();
        flip(&mut two, 9);
        flip(&mut two, 700);
        assert_eq!(odd_bit(&key, &two, &mut work), None);
        assert_eq!(odd_bit(&key, &whole[..9], &mut work), None);
    }

    #[test]
    fn no_more_is_tried_than_there_is_time_for() {
        let key = *b"a key";
        let mut large = record(&key, 1 << 20);
        let mut work = u64::MAX;
        let mut other = key;
        flip(&mut other, 3);
        assert_eq!(odd_bit(&other, &large, &mut work), Some(Bit::Key(3)));
        flip(&mut large, 8 << 10);
        assert_eq!(odd_bit(&key, &large, &mut work), None);

        let mut small = record(&key, 10);
        flip(&mut small, 100);
        let mut work = 10;
        assert_eq!((odd_bit(&key, &small, &mut work), work), (None, 10));
    }
}
