//! The lines that are printed.

use std::fmt::Display;
use std::time::Duration;

/// A figure without an aim.
pub(crate) fn fact(name: impl Display, value: impl Display) {
    println!(r#"{{"name":"{name}","value":"{value}"}}"#);
}

/// What the trie takes of a write among so many keys, for whoever knows what else a write takes.
pub(crate) fn trie_takes(keys: usize, micros: f64) {
    let name = format!("the trie, processor time of each write among {keys} keys");
    println!(
        r#"{{"name":"{name}","value":"{micros:.2} us","trie":{{"keys":{keys},"micros":{micros}}}}}"#
    );
}

/// A ratio that should be at most `aim`.
pub(crate) fn at_most(name: impl Display, ratio: f64, aim: f64) {
    aimed(
        name,
        format!("{ratio:.2}"),
        format!("<= {aim}"),
        ratio <= aim,
    );
}

/// A ratio that should be at least `aim`.
pub(crate) fn at_least(name: impl Display, ratio: f64, aim: f64) {
    aimed(
        name,
        format!("{ratio:.2}"),
        format!(">= {aim}"),
        ratio >= aim,
    );
}

/// A number of things a second that should be at least `aim`.
pub(crate) fn rate_at_least(name: impl Display, rate: f64, aim: f64) {
    aimed(name, format!("{rate:.0}"), format!(">= {aim}"), rate >= aim);
}

/// Times of which the last and longest should be at most `aim`.
pub(crate) fn at_most_time(name: impl Display, times: [Duration; 3], aim: Duration) {
    let micros = times.map(|time| format!("{:.0} us", time.as_secs_f64() * 1e6));
    aimed(
        name,
        micros.join(", "),
        format!("at most {} ms", aim.as_millis()),
        times[2] <= aim,
    );
}

fn aimed(name: impl Display, value: String, aim: String, reached: bool) {
    println!(r#"{{"name":"{name}","value":"{value}","aim":"{aim}","reached":{reached}}}"#);
}

/// The middle of the values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
