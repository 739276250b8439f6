//! What a measure yields: series over rounds, compared in pairs, with the
//! target that the project has set itself.
//!
//! No measuring and no layout here (see `measures/` and `report.rs`).

use serde::Serialize;

use crate::load::Observed;

/// One number per round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle of the sorted values; 0 of no values.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            len if len % 2 == 1 => sorted[len / 2],
            len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().reduce(f64::min).unwrap_or(0.0)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().reduce(f64::max).unwrap_or(0.0)
    }

    /// Round by round, ours over theirs. Rounds are neighbours in time, so that
    /// what slows the machine down for a while slows both.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        )
    }
}

/// What one kind of load saw in one server, over all rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Runs {
    pub(crate) per_second: Series,
    pub(crate) p50_micros: Series,
    pub(crate) p99_micros: Series,
    pub(crate) max_micros: Series,
    pub(crate) server_micros_per_request: Series,
    pub(crate) response_bytes: Series,
}

impl Runs {
    pub(crate) fn push(&mut self, observed: &Observed) {
        self.per_second.push(observed.per_second());
        self.p50_micros.push(observed.p50 as f64);
        self.p99_micros.push(observed.p99 as f64);
        self.max_micros.push(observed.max as f64);
        self.server_micros_per_request.push(observed.server_micros);
        self.response_bytes.push(observed.response_bytes());
    }
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn reached(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

/// One line of the table: this against that.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) measure: String,
    pub(crate) ours: Runs,
    /// What it is compared with, in words.
    pub(crate) against: String,
    pub(crate) theirs: Runs,
    /// What the ratio is a ratio of, and its median over the rounds.
    pub(crate) ratio_of: &'static str,
    pub(crate) ratio: f64,
    pub(crate) target: Option<Target>,
}

impl Figure {
    /// Compares requests per second: more is better.
    pub(crate) fn of_rates(
        measure: &str,
        ours: Runs,
        against: &str,
        theirs: Runs,
        target: Option<Target>,
    ) -> Self {
        let ratio = ours.per_second.over(&theirs.per_second).median();
        Self {
            measure: measure.into(),
            ours,
            against: against.into(),
            theirs,
            ratio_of: "requests/s",
            ratio,
            target,
        }
    }

    /// Compares the time that one request takes at full load, which is the rate
    /// turned round: less is better.
    pub(crate) fn of_costs(
        measure: &str,
        ours: Runs,
        against: &str,
        theirs: Runs,
        target: Option<Target>,
    ) -> Self {
        let ratio = theirs.per_second.over(&ours.per_second).median();
        Self {
            measure: measure.into(),
            ours,
            against: against.into(),
            theirs,
            ratio_of: "time per request",
            ratio,
            target,
        }
    }

    /// Compares the latency that one request in a hundred exceeds: less is
    /// better.
    pub(crate) fn of_tails(
        measure: &str,
        ours: Runs,
        against: &str,
        theirs: Runs,
        target: Option<Target>,
    ) -> Self {
        let ratio = ours.p99_micros.over(&theirs.p99_micros).median();
        Self {
            measure: measure.into(),
            ours,
            against: against.into(),
            theirs,
            ratio_of: "p99",
            ratio,
            target,
        }
    }
}

/// A number that is printed as it is, without a comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Fact {
    pub(crate) fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    /// The middle of a series, with the smallest and the largest, and whether it is at most what is
    /// wanted, all in `unit`.
    pub(crate) fn at_most(
        name: impl Into<String>,
        series: &Series,
        unit: &str,
        wanted: f64,
        digits: usize,
    ) -> Self {
        let (ours, min, max) = (series.median(), series.min(), series.max());
        let verdict = match ours <= wanted {
            true => "reached",
            false => "MISSED",
        };
        Self::new(
            name,
            format!(
                "{ours:.digits$} {unit} ({min:.digits$}..{max:.digits$}); at most {wanted} {unit} wanted: {verdict}"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series(values.to_vec())
    }

    #[test]
    fn the_median_ignores_one_bad_round() {
        assert_eq!(series(&[3.0, 100.0, 1.0]).median(), 3.0);
        assert_eq!(series(&[4.0, 2.0]).median(), 3.0);
        assert_eq!(series(&[]).median(), 0.0);
    }

    #[test]
    fn rounds_are_compared_in_pairs() {
        // Both were slowed down in the second round; the ratio does not notice.
        let ratio = series(&[100.0, 50.0, 110.0]).over(&series(&[50.0, 25.0, 55.0]));
        assert_eq!((ratio.min(), ratio.median(), ratio.max()), (2.0, 2.0, 2.0));
    }

    #[test]
    fn targets_include_their_bound() {
        assert!(Target::AtLeast(1.0).reached(1.0) && !Target::AtLeast(1.0).reached(0.99));
        assert!(Target::AtMost(1.5).reached(1.5) && !Target::AtMost(1.5).reached(1.51));
    }
}
