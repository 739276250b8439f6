//! How long calls took, counted by half octaves of microseconds: fine enough to tell a median
//! from a bad one, and small enough to be there for each method
//! (`shard/decisions/0012-statistics-of-methods.md`).

/// Buckets of [`Times`]. The last one has all from 50 s on, which no call takes that the
/// default limit ends.
pub const TIME_BUCKETS: usize = 52;

/// Counts of times. Below 4 µs each microsecond has a bucket; above, each power of two has two, of
/// half of it each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times([u64; TIME_BUCKETS]);

impl Default for Times {
    fn default() -> Times {
        Times([0; TIME_BUCKETS])
    }
}

impl Times {
    /// Counts one.
    pub fn count(&mut self, micros: u64) {
        self.0[bucket_of(micros)] += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Times) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(others);
        }
    }

    /// What was counted since `before`, which has counted no more than this.
    pub fn since(&self, before: &Times) -> Times {
        let mut times = self.clone();
        for (mine, others) in times.0.iter_mut().zip(before.0) {
            *mine = mine.saturating_sub(others);
        }
        times
    }

    /// The time in microseconds that `part` of all, from 0 to 1, did not exceed: the middle of its bucket, so that
    /// it is right within a quarter. None if there are none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let count = self
            .0
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        if count == 0 {
            return None;
        }
        // Counts of calls are far below 2^53.
        let rank = ((count as f64 * part).ceil() as u64).clamp(1, count);
        let mut passed = 0_u64;
        let found = self.0.iter().position(|bucket| {
            passed = passed.saturating_add(*bucket);
            passed >= rank
        });
        let bucket = found.unwrap_or(TIME_BUCKETS - 1);
        let first = first_of(bucket);
        Some(first + (first_of(bucket + 1) - first) / 2)
    }

    /// The buckets with something in them, by the least time that is in them.
    pub fn counted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let buckets = self.0.iter().enumerate();
        let buckets = buckets.filter(|(_, count)| **count > 0);
        buckets.map(|(bucket, count)| (first_of(bucket), *count))
    }

    /// From what [`counted`](Self::counted) gave.
    pub fn of_counted(counted: impl IntoIterator<Item = (u64, u64)>) -> Times {
        let mut times = Times::default();
        for (first, count) in counted {
            let bucket = &mut times.0[bucket_of(first)];
            *bucket = bucket.saturating_add(count);
        }
        times
    }

    pub(super) fn buckets(&self) -> &[u64; TIME_BUCKETS] {
        &self.0
    }

    pub(super) fn of_buckets(buckets: [u64; TIME_BUCKETS]) -> Times {
        Times(buckets)
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < 2 {
        return micros as usize;
    }
    let octave = micros.ilog2();
    let half = (micros >> (octave - 1)) & 1;
    let bucket = 2 * octave as usize + half as usize;
    bucket.min(TIME_BUCKETS - 1)
}

/// The least time of a bucket.
fn first_of(bucket: usize) -> u64 {
    match bucket {
        0 | 1 => bucket as u64,
        _ => (2 + (bucket as u64 & 1)) << (bucket / 2 - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_that_begins_at_or_before_it() {
        let firsts: Vec<u64> = (0..TIME_BUCKETS).map(first_of).collect();
        assert_eq!(firsts[..10], [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]);
        assert_eq!(firsts[TIME_BUCKETS - 1], 50_331_648);
        assert!(firsts.is_sorted_by(|a, b| a < b));
        for (bucket, first) in firsts.iter().enumerate() {
            assert_eq!(bucket_of(*first), bucket);
            let last = first_of(bucket + 1) - 1;
            assert_eq!(bucket_of(last), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), TIME_BUCKETS - 1);
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Times::default().quantile(0.5), None);
        let mut times = Times::default();
        times.count(0);
        assert_eq!(times.quantile(0.99), Some(0));
    }

    proptest! {
        #[test]
        fn a_quantile_is_right_within_a_quarter(
            micros in prop::collection::vec(0u64..40_000_000, 1..200),
            part in 0.0f64..=1.0,
        ) {
            let mut times = Times::default();
            micros.iter().for_each(|micros| times.count(*micros));
            let mut sorted = micros;
            sorted.sort_unstable();
            let rank = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len());
            let right = sorted[rank - 1];
            let found = times.quantile(part).unwrap();
            prop_assert!(found.abs_diff(right) <= right / 4 + 1, "{found}, not {right}");
            let again = Times::of_counted(times.counted());
            prop_assert_eq!(again, times);
        }
    }
}
