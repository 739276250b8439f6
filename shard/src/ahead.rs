//! When it is worth a word in the log that a shard's stamps are ahead of the wall clock.
//!
//! Stamps never go back. Where the clock does, as it was ahead when something was written or
//! is behind now, they stand until it gets there, and nobody else believes them meanwhile. How far
//! they are ahead is known in `clock.rs`; who looks each second, in `node.rs`. What time it is
//! does not matter here: looks are counted, as the clock is what is in doubt.

use corelet_store::ShardId;

/// Looks between two words on what has not changed: an hour.
const LOOKS_PER_WORD: u32 = 3_600;

/// What was said of one shard. Lives with its shard.
pub(crate) struct Ahead {
    micros_max: u64,
    /// Looks since the last word, while stamps are ahead.
    since_word: Option<u32>,
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Others do not believe what is stamped here.
    Ahead,
    /// The wall clock has come to where the stamps are.
    Over,
}

impl Ahead {
    /// `micros_max` is how far ahead others may be who are believed.
    pub(crate) fn new(micros_max: u64) -> Ahead {
        Ahead {
            micros_max,
            since_word: None,
        }
    }

    /// One more look, at which stamps are so far ahead.
    pub(crate) fn look(&mut self, micros: u64) -> Option<Word> {
        let (since_word, word) = match self.since_word {
            None if micros > self.micros_max => (Some(0), Some(Word::Ahead)),
            None => (None, None),
            // Not sooner, or a clock around the bound would have much to tell.
            Some(_) if micros == 0 => (None, Some(Word::Over)),
            Some(looks) if looks + 1 < LOOKS_PER_WORD => (Some(looks + 1), None),
            // Below the bound it is as good as over.
            Some(_) if micros <= self.micros_max => (Some(0), None),
            Some(_) => (Some(0), Some(Word::Ahead)),
        };
        self.since_word = since_word;
        word
    }
}

impl Word {
    /// Says it.
    pub(crate) fn log(self, shard: ShardId, micros: u64, micros_max: u64) {
        let shard = shard.number();
        match self {
            Word::Ahead => tracing::warn!(
                shard,
                ahead_seconds = micros / 1_000_000,
                ahead_seconds_max = micros_max / 1_000_000,
                "stamps are further ahead of this machine's clock than other nodes believe: it was ahead when something was written, or it is behind now. Until it gets there other nodes refuse what is written here, copies of it have to be trusted, and applications see a time that stands still. If the clock is behind, put it right. If it is right, wait, or restore a backup that was made before it was ahead; a later one, and a restart, bring the stamps along"
            ),
            Word::Over => {
                tracing::info!(
                    shard,
                    "this machine's clock has come to where the stamps are"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u64 = 100;

    fn check(looks: &[u64], expected: &[Option<Word>]) {
        let mut ahead = Ahead::new(BOUND);
        let words: Vec<_> = looks.iter().map(|&micros| ahead.look(micros)).collect();
        assert_eq!(words, expected, "{looks:?}");
    }

    #[test]
    fn stamps_that_are_ahead_are_told_once_and_their_end_too() {
        check(&[0, BOUND, 0], &[None, None, None]);
        let told = Some(Word::Ahead);
        // Around the bound nothing is told anew.
        check(
            &[BOUND + 1, BOUND, BOUND + 1, 1, 0, 0, BOUND + 1],
            &[told, None, None, None, Some(Word::Over), None, told],
        );
    }

    #[test]
    fn they_are_told_again_each_hour_while_others_do_not_believe_them() {
        let mut ahead = Ahead::new(BOUND);
        let mut told = |micros: u64| {
            let looks = 0..2 * LOOKS_PER_WORD;
            looks.filter_map(|_| ahead.look(micros)).collect::<Vec<_>>()
        };
        assert_eq!(told(BOUND + 1), [Word::Ahead; 2]);
        assert_eq!(told(BOUND), [], "others believe them");
        assert_eq!(told(BOUND + 1), [Word::Ahead; 2]);
    }
}
