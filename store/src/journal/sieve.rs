//! Which bit of some bytes is another than it was: what a checksum cannot say, in the sixteen bytes
//! beside it. The bytes are lines of 64 bits. The lines' sum without carry tells the column of the
//! bit, and the sum of the numbers of all lines with an odd count of ones its line, as a
//! Hamming code does: a bit that flips changes both in just that. It says nothing of whether
//! one has, nor of several: whoever asks has a checksum. It costs an addition and two more for
//! each line. Pure functions.

/// Bytes of a [`Sieve`].
pub(super) const SIEVE_BYTES: usize = 16;

/// What is noted of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sieve {
    columns: u64,
    lines: u64,
}

impl Sieve {
    /// That of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Sieve {
        let (lines, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let mut sieve = Sieve {
            columns: 0,
            lines: 0,
        };
        for (number, line) in (0_u64..).zip(lines.iter().chain([&last])) {
            let line = u64::from_le_bytes(*line);
            sieve.columns ^= line;
            // All ones for an odd count.
            sieve.lines ^= number & u64::from(line.count_ones() & 1).wrapping_neg();
        }
        sieve
    }

    pub(super) fn from_bytes(bytes: &[u8; SIEVE_BYTES]) -> Sieve {
        let both = u128::from_le_bytes(*bytes);
        Sieve {
            columns: both as u64,
            lines: (both >> 64) as u64,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; SIEVE_BYTES] {
        (u128::from(self.lines) << 64 | u128::from(self.columns)).to_le_bytes()
    }

    /// The bit in which these bytes differ from those that the sieve is of, if it is one: bit 0 is
    /// the lowest of the first byte.
    pub(super) fn flipped(&self, bytes: &[u8]) -> Option<usize> {
        let now = Sieve::of(bytes);
        let columns = self.columns ^ now.columns;
        let line = usize::try_from(self.lines ^ now.lines).ok()?;
        if !columns.is_power_of_two() || line > bytes.len() / 8 {
            return None;
        }
        let bit = 64 * line + columns.trailing_zeros() as usize;
        (bit < 8 * bytes.len()).then_some(bit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bit_that_is_another_is_found(
            mut bytes in prop::collection::vec(any::<u8>(), 1..300),
            at in any::<prop::sample::Index>(),
        ) {
            let sieve = Sieve::from_bytes(&Sieve::of(&bytes).to_bytes());
            let bit = at.index(8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(sieve.flipped(&bytes), Some(bit));
        }

        #[test]
        fn of_other_bytes_it_says_something_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            noted in any::<[u8; SIEVE_BYTES]>(),
        ) {
            let bit = Sieve::from_bytes(&noted).flipped(&bytes);
            prop_assert!(bit.is_none_or(|bit| bit < 8 * bytes.len()));
            prop_assert_eq!(Sieve::of(&bytes).flipped(&bytes), None);
        }
    }
}
