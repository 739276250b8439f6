//! The results on a page: a table for the terminal, JSON for programs,
//! `RESULTS.md` for the repository.
//!
//! No measuring here. Everything shown is in [`Report`], so the three cannot
//! differ in their numbers.

use std::fmt::Write as _;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::figure::{Fact, Figure, Runs, Series, Target};
use crate::machine::Machine;

/// All that one run has found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) parameters: Vec<Fact>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) facts: Vec<Fact>,
}

impl Report {
    /// For people at a terminal.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut table = self.figures_table();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if !self.figures.is_empty() {
            let _ = writeln!(text, "{table}");
        }
        for fact in &self.facts {
            let _ = writeln!(text, "{}: {}", fact.name, fact.value);
        }
        text
    }

    /// For `bench/RESULTS.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "# Results\n\n\
             Written by `make bench`; run it again rather than editing this page. How each\n\
             figure is measured is told at the top of the files in `bench/src/measures/`.\n\
             Figures are medians over the rounds (least to most in brackets); ratios are\n\
             medians of the rounds' own ratios, since the two sides of a round are neighbours\n\
             in time. \"cpu us\" is the processor time that all threads of the server took per\n\
             request. A write is on disk before it is answered on both sides, and not in the\n\
             same way: the baseline commits one LMDB transaction per batch; Corelet appends the\n\
             batch to a journal first and brings many of them into LMDB at once, later and\n\
             within the run.\n\n",
        );
        let machine = &self.machine;
        let about = [
            ("command", format!("`{}`", machine.command)),
            ("commit", machine.commit.clone()),
            ("date", machine.date.clone()),
            (
                "machine",
                format!(
                    "{}, {} cores, {} GiB",
                    machine.processor, machine.cores, machine.memory_gib
                ),
            ),
            ("kernel", machine.kernel.clone()),
            ("file system", machine.file_system.clone()),
            ("compiler", machine.rustc.clone()),
            ("load before the run", machine.load_before.clone()),
        ];
        for (name, value) in about {
            let _ = writeln!(text, "- {name}: {value}");
        }
        for parameter in &self.parameters {
            let _ = writeln!(text, "- {}: {}", parameter.name, parameter.value);
        }
        let mut table = self.figures_table();
        table.load_style(ASCII_MARKDOWN);
        if !self.figures.is_empty() {
            let _ = writeln!(text, "\n## Against the targets\n\n{table}");
        }
        if !self.facts.is_empty() {
            let mut table = Table::new();
            table
                .load_style(ASCII_MARKDOWN)
                .set_header(["fact", "value"]);
            for fact in &self.facts {
                table.add_row([&fact.name, &fact.value]);
            }
            let _ = writeln!(text, "\n## More\n\n{table}");
        }
        text
    }

    fn figures_table(&self) -> Table {
        let mut table = Table::new();
        table.set_header([
            "measure",
            "corelet /s",
            "p50/p99 us",
            "cpu us",
            "against",
            "/s",
            "p50/p99 us",
            "cpu us",
            "ratio of",
            "ratio",
            "target",
        ]);
        for figure in &self.figures {
            let [ours, our_latency, our_cpu] = columns(&figure.ours);
            let [theirs, their_latency, their_cpu] = columns(&figure.theirs);
            table.add_row([
                figure.measure.clone(),
                ours,
                our_latency,
                our_cpu,
                figure.against.clone(),
                theirs,
                their_latency,
                their_cpu,
                figure.ratio_of.into(),
                format!("{:.2}", figure.ratio),
                target(figure),
            ]);
        }
        table
    }
}

fn columns(runs: &Runs) -> [String; 3] {
    [
        spread(&runs.per_second),
        format!(
            "{:.0}/{:.0}",
            runs.p50_micros.median(),
            runs.p99_micros.median()
        ),
        format!("{:.1}", runs.server_micros_per_request.median()),
    ]
}

fn spread(series: &Series) -> String {
    format!(
        "{:.0} ({:.0}..{:.0})",
        series.median(),
        series.min(),
        series.max()
    )
}

fn target(figure: &Figure) -> String {
    let Some(target) = figure.target else {
        return "-".into();
    };
    let bound = match target {
        Target::AtLeast(bound) => format!(">= {bound}"),
        Target::AtMost(bound) => format!("<= {bound}"),
    };
    format!(
        "{bound}: {}",
        if target.reached(figure.ratio) {
            "reached"
        } else {
            "MISSED"
        }
    )
}
