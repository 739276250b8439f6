//! Which entries a pass has written before, as far as a checkpoint has to know: an entry that
//! is written again lies on a page that is dirty already. A bit for each hash of a key; two keys
//! that share one count as one, so a few in a hundred are missed when there are most. What is
//! made of it is in `writer/room.rs`.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bits: eight times as many as pages may be dirty between two checkpoints.
const BITS: usize = 1 << 17;

pub(super) struct WrittenBefore {
    words: Box<[u64]>,
    /// Nobody can choose keys that share their bits.
    seed: u64,
}

impl Default for WrittenBefore {
    fn default() -> Self {
        WrittenBefore {
            words: vec![0; BITS / 64].into_boxed_slice(),
            seed: getrandom::u64().expect("Linux gives random bytes once it has booted"),
        }
    }
}

impl WrittenBefore {
    /// Notes that the entry under `key` is written, and tells whether it was before.
    pub(super) fn note(&mut self, key: &[u8]) -> bool {
        let at = xxh3_64_with_seed(key, self.seed) as usize % BITS;
        let (word, bit) = (&mut self.words[at / 64], 1 << (at % 64));
        let was_there = *word & bit != 0;
        *word |= bit;
        was_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_every_entry_is_told_from_the_others() {
        let mut before = WrittenBefore::default();
        let keys = || (0..16_384_u32).map(u32::to_be_bytes);
        let missed = keys().filter(|key| before.note(key)).count();
        assert!(missed < 16_384 / 10, "{missed}");
        assert!(keys().all(|key| before.note(&key)));
    }
}
