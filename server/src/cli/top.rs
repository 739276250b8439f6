//! `corelet top`: the contexts that have the most to do, looked at again and again. Rates are of the
//! time between two looks. How a terminal is taken over is in `terminal.rs`.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use corelet_shard::Times;
use serde::Serialize;

use super::args::Global;
use super::args::top::{TopArgs, TopBy};
use super::failure::Failure;
use super::output::{Out, plain};
use super::short;
use super::terminal::{Event, Screen};
use crate::api;
use crate::client::Client;

/// Columns beside the first, with their widths.
const COLUMNS: [(&str, usize); 9] = [
    ("WT", 4),
    ("FUEL%", 5),
    ("FUEL/s", 6),
    ("CALLS/s", 7),
    ("FAIL/s", 6),
    ("P50", 6),
    ("P99", 6),
    ("WAIT", 5),
    ("MEM", 6),
];

/// A context's id has so many characters at most.
const ID_WIDTH: usize = 44;
const FIRST_WIDTH_MIN: usize = 12;

/// Where standard output is no terminal.
const PLAIN_WIDTH: usize = 80;

const KEYS: &str = "f fuel   c calls   e failures   t time   q quit";

pub(super) fn run(args: &TopArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let client = super::client(global)?;
    let every = Duration::from_secs(args.every);
    let mut view = View {
        by: args.by,
        limit: args.limit,
    };
    let mut last = Look::take(&client, &view)?;
    let is_screen = !args.once && !out.is_json() && io::stdout().is_terminal();
    if is_screen {
        return on_screen(&client, &mut view, last, every);
    }
    loop {
        super::pause(every);
        let look = Look::take(&client, &view)?;
        let board = Board::between(&last, &look, &view);
        let text = match out.is_json() {
            true => {
                let text = serde_json::to_string(&board);
                text.map_err(|error| Failure::failed(&error))? + "\n"
            }
            false => {
                let lines = board.lines(&view, client.url(), PLAIN_WIDTH, false);
                let end = if args.once { "\n" } else { "\n\n" };
                lines.join("\n") + end
            }
        };
        // Else whoever reads has seen enough.
        if !out.goes_on(text.as_bytes())? || args.once {
            return Ok(());
        }
        last = look;
    }
}

fn on_screen(
    client: &Client,
    view: &mut View,
    mut last: Look,
    every: Duration,
) -> Result<(), Failure> {
    let has_style = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen::open()?;
    let mut shown = Board::between(&last, &last, view);
    let mut trouble = String::new();
    let mut next = Instant::now() + every;
    loop {
        let (width, height) = screen.size();
        let mut lines = shown.lines(view, client.url(), width, has_style);
        lines.truncate(height.saturating_sub(2));
        lines.extend([cut(&trouble, width), cut(KEYS, width)]);
        screen.draw(&lines)?;
        match screen.wait(next)? {
            Event::End => return Ok(()),
            Event::Key(key) => {
                if let Some(by) = TopBy::of_key(key) {
                    view.by = by;
                    shown.sort(view);
                }
            }
            Event::Time => {
                match Look::take(client, view) {
                    Ok(look) => {
                        shown = Board::between(&last, &look, view);
                        last = look;
                        trouble.clear();
                    }
                    // A server that starts anew is there again soon.
                    Err(failure) => {
                        let what = failure.text.lines().next().unwrap_or_default();
                        trouble = format!("not up to date: {}", plain(what));
                    }
                }
                next = Instant::now() + every;
            }
        }
    }
}

/// What is looked at.
struct View {
    by: TopBy,
    limit: u16,
}

/// What the server said at one moment.
struct Look {
    busiest: api::Busiest,
    status: api::Status,
}

impl Look {
    fn take(client: &Client, view: &View) -> Result<Look, Failure> {
        let (by, limit) = (view.by.name(), view.limit);
        let path = format!("/v1/statistics?by={by}&limit={limit}");
        Ok(Look {
            busiest: client.soon(&path)?,
            status: client.status()?,
        })
    }

    fn sum(&self, figure: impl Fn(&api::ShardStatus) -> u64) -> u64 {
        self.status.shards.iter().map(figure).sum()
    }
}

/// What has happened between two looks. Rates are per second.
#[derive(Serialize)]
struct Board {
    /// How long that was.
    seconds: f64,
    uptime_seconds: u64,
    calls_per_second: f64,
    failures_per_second: f64,
    fuel_per_second: f64,
    waiting: u64,
    live_contexts: u64,
    warm_instances: u64,
    contexts: Vec<Line>,
}

/// One context's part of it.
#[derive(Serialize)]
struct Line {
    id: String,
    name: Option<String>,
    weight: u16,
    /// Of all fuel that the node has spent, 0 to 1.
    fuel_share: f64,
    fuel_per_second: f64,
    calls_per_second: f64,
    failures_per_second: f64,
    /// Time that its calls took together, in seconds per second.
    busy: f64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    waiting: u64,
    memory_bytes: u64,
}

impl Board {
    fn between(before: &Look, now: &Look, view: &View) -> Board {
        let (was, is) = (&before.busiest, &now.busiest);
        let micros = is.at_us.saturating_sub(was.at_us);
        // The first look has none before it, or the server has started anew in between.
        let is_first = micros == 0;
        let (seconds, fuel) = match is_first {
            true => (is.recent_us as f64 / 1e6, is.recent.fuel),
            false => (micros as f64 / 1e6, is.fuel.saturating_sub(was.fuel)),
        };
        let per_second = |count: u64| match seconds > 0.0 {
            true => count as f64 / seconds,
            false => 0.0,
        };
        let known: HashMap<&str, &api::BusyContext> = match is_first {
            true => HashMap::new(),
            false => was.contexts.iter().map(|it| (&it.id[..], it)).collect(),
        };
        let rate = |figure: fn(&api::ShardStatus) -> u64| match is_first {
            true => 0.0,
            false => per_second(now.sum(figure).saturating_sub(before.sum(figure))),
        };
        let contexts = is.contexts.iter().map(|it| {
            let before = known.get(&it.id[..]).map(|before| &before.total);
            let step = Step::between(before, it, is.recent_us, seconds);
            // Of the time that the context's figures are of, which may be longer than that between the looks.
            let of_all = match before {
                Some(_) => per_second(fuel),
                None => is.recent.fuel as f64 / (is.recent_us as f64 / 1e6),
            };
            let share = match of_all > 0.0 {
                true => (step.fuel / of_all).min(1.0),
                false => 0.0,
            };
            Line {
                id: it.id.clone(),
                name: it.name.clone(),
                weight: it.weight,
                fuel_share: share,
                fuel_per_second: step.fuel,
                calls_per_second: step.calls,
                failures_per_second: step.failures,
                busy: step.micros / 1e6,
                p50_us: step.times.quantile(0.5),
                p99_us: step.times.quantile(0.99),
                waiting: it.waiting,
                memory_bytes: it.memory_bytes,
            }
        });
        let mut board = Board {
            seconds,
            uptime_seconds: now.status.uptime_seconds,
            calls_per_second: rate(|shard| shard.queries + shard.updates),
            failures_per_second: rate(|shard| shard.guest_failures + shard.refused),
            fuel_per_second: per_second(fuel),
            waiting: now.sum(|shard| shard.waiting),
            live_contexts: now.sum(|shard| shard.live_contexts),
            warm_instances: now.sum(|shard| shard.warm_instances),
            contexts: contexts.collect(),
        };
        board.sort(view);
        board
    }

    /// The busiest first; those that are equal stay in the server's order.
    fn sort(&mut self, view: &View) {
        let key = |line: &Line| match view.by {
            TopBy::Fuel => line.fuel_per_second,
            TopBy::Calls => line.calls_per_second,
            TopBy::Failures => line.failures_per_second,
            TopBy::Time => line.busy,
        };
        self.contexts.sort_by(|a, b| key(b).total_cmp(&key(a)));
    }

    /// As it is shown to people, no line of it wider than `width`.
    fn lines(&self, view: &View, url: &str, width: usize, has_style: bool) -> Vec<String> {
        let (calls, failures) = (self.calls_per_second, self.failures_per_second);
        let mut lines = vec![
            format!(
                "corelet at {url}, up {}, by {}",
                up(self.uptime_seconds),
                view.by.name()
            ),
            format!(
                "calls {}/s, failed {}/s, fuel {}/s, waiting {}, {} contexts, {} warm",
                short::rate(calls),
                short::rate(failures),
                short::rate(self.fuel_per_second),
                short::count(self.waiting),
                short::count(self.live_contexts),
                short::count(self.warm_instances),
            ),
            String::new(),
        ];
        let others: usize = COLUMNS.iter().map(|(_, width)| width + 1).sum();
        let first = width.saturating_sub(others);
        let first = first.clamp(FIRST_WIDTH_MIN, ID_WIDTH);
        let row = |name: &str, cells: [String; COLUMNS.len()]| {
            let mut line = format!("{:<first$}", cut(name, first));
            for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
                line.push_str(&format!(" {cell:>width$}"));
            }
            line
        };
        lines.push(row(
            "CONTEXT",
            COLUMNS.map(|(heading, _)| heading.to_owned()),
        ));
        for line in &self.contexts {
            let time = |micros: Option<u64>| micros.map_or("-".to_owned(), short::time);
            let cells = [
                line.weight.to_string(),
                format!("{:.1}", line.fuel_share * 100.0),
                short::rate(line.fuel_per_second),
                short::rate(line.calls_per_second),
                short::rate(line.failures_per_second),
                time(line.p50_us),
                time(line.p99_us),
                short::count(line.waiting),
                short::bytes(line.memory_bytes),
            ];
            let name = line.name.as_deref().unwrap_or(&line.id);
            lines.push(row(&plain(name), cells));
        }
        if self.contexts.is_empty() {
            lines.push("(no context has anything to do)".to_owned());
        }
        let lines = lines.iter().enumerate();
        let lines = lines.map(|(number, line)| {
            let line = cut(line, width);
            match number {
                // The headings, across the whole width.
                3 if has_style => format!("\x1b[7m{line:<width$}\x1b[0m"),
                _ => line.trim_end().to_owned(),
            }
        });
        lines.collect()
    }
}

/// What of a context has happened, per second.
struct Step {
    calls: f64,
    failures: f64,
    fuel: f64,
    micros: f64,
    times: Times,
}

impl Step {
    /// Since `before`; if it was not among the busiest then, of what is recent.
    fn between(
        before: Option<&api::Figures>,
        now: &api::BusyContext,
        recent_us: u64,
        seconds: f64,
    ) -> Step {
        let times = Times::of_counted(now.total.times.iter().copied());
        let (sums, times, seconds) = match before {
            Some(before) => {
                let passed = |figure: fn(&api::Figures) -> u64| {
                    figure(&now.total).saturating_sub(figure(before))
                };
                let sums = api::Sums {
                    calls: passed(|it| it.calls),
                    failures: passed(|it| it.failures.all()),
                    fuel: passed(|it| it.fuel),
                    time_us: passed(|it| it.time_us),
                };
                let before = Times::of_counted(before.times.iter().copied());
                (sums, times.since(&before), seconds)
            }
            None => (now.recent, times, recent_us as f64 / 1e6),
        };
        let per_second = |count: u64| match seconds > 0.0 {
            true => count as f64 / seconds,
            false => 0.0,
        };
        Step {
            calls: per_second(sums.calls),
            failures: per_second(sums.failures),
            fuel: per_second(sums.fuel),
            micros: per_second(sums.time_us),
            times,
        }
    }
}

/// The first characters of a text, which end in `…` if there are more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some('…')).collect()
}

/// Seconds as two units.
fn up(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(calls: u64, fuel: u64) -> api::Sums {
        api::Sums {
            calls,
            failures: 0,
            fuel,
            time_us: calls.saturating_mul(100),
        }
    }

    fn context(id: &str, calls: u64, fuel: u64) -> api::BusyContext {
        api::BusyContext {
            id: id.to_owned(),
            name: None,
            application: String::new(),
            shard: 0,
            weight: 100,
            recent: sums(20, 2_000),
            in_memory: sums(calls, fuel),
            total: api::Figures {
                calls,
                failures: api::Failures::default(),
                fuel,
                fuel_max: fuel,
                bytes_in: 0,
                bytes_out: 0,
                time_us: calls.saturating_mul(100),
                waited_us: 0,
                p50_us: None,
                p99_us: None,
                times: vec![(96, calls)],
            },
            waiting: 0,
            memory_bytes: 3 << 20,
        }
    }

    fn look(at_us: u64, fuel: u64, contexts: Vec<api::BusyContext>) -> Look {
        Look {
            busiest: api::Busiest {
                at_us,
                fuel,
                recent_us: 10_000_000,
                recent: sums(40, 4_000),
                in_memory: sums(0, 0),
                contexts,
            },
            status: api::Status {
                ready: true,
                version: String::new(),
                node_id: String::new(),
                uptime_seconds: 93_784,
                applications: 0,
                shards: Vec::new(),
            },
        }
    }

    const VIEW: View = View {
        by: TopBy::Fuel,
        limit: 20,
    };

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let before = look(
            5_000_000,
            1_000,
            vec![context("a", 100, 600), context("b", 7, 400)],
        );
        let now = look(
            7_000_000,
            5_000,
            vec![
                context("b", 9, 1_400),
                context("c", 50, 9),
                context("a", 500, 3_600),
            ],
        );
        let board = Board::between(&before, &now, &VIEW);
        let found = board.contexts.iter().map(|it| {
            (
                &it.id[..],
                it.calls_per_second,
                it.fuel_per_second,
                it.fuel_share,
            )
        });
        let found: Vec<_> = found.collect();
        // What was not there before is told as it was of late.
        assert_eq!(
            found,
            [
                ("a", 200.0, 1_500.0, 0.75),
                ("b", 1.0, 500.0, 0.25),
                ("c", 2.0, 200.0, 0.5),
            ]
        );
        assert_eq!(board.contexts[0].p99_us, Some(112));
        let again = look(1_000_000, 10, vec![context("a", 3, 10)]);
        let board = Board::between(&now, &again, &VIEW);
        assert_eq!(
            board.contexts[0].calls_per_second, 2.0,
            "the server is another one"
        );
    }

    #[test]
    fn it_fits_into_the_width_whatever_that_is() {
        let id = "9mXhc1ta4UJiGZ4RzE4tkR5pYbzyWeGQoSH6ZcJGmTVu";
        let now = look(
            1,
            0,
            vec![context(id, u64::MAX, u64::MAX), context("short", 1, 1)],
        );
        let board = Board::between(&now, &now, &VIEW);
        for width in [0, 1, 40, 80, 120, 300] {
            for line in board.lines(&VIEW, "http://127.0.0.1:7700", width, false) {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
        let lines = board.lines(&VIEW, "http://127.0.0.1:7700", 80, false);
        assert_eq!(
            lines,
            [
                "corelet at http://127.0.0.1:7700, up 1 d 2 h, by fuel",
                "calls 0/s, failed 0/s, fuel 400/s, waiting 0, 0 contexts, 0 warm",
                "",
                "CONTEXT                WT FUEL% FUEL/s CALLS/s FAIL/s    P50    P99  WAIT    MEM",
                "9mXhc1ta4UJiGZ4RzE4…  100  50.0    200       2      0  112µs  112µs     0     3M",
                "short                 100  50.0    200       2      0  112µs  112µs     0     3M",
            ]
        );
    }
}
