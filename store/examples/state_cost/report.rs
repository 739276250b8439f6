//! The lines that are printed.

use std::fmt::Display;

/// A figure without an aim.
pub(crate) fn fact(name: impl Display, value: impl Display) {
    println!(r#"{{"name":"{name}","value":"{value}"}}"#);
}

/// A figure that should be at most `aim`.
pub(crate) fn at_most(name: impl Display, ratio: f64, aim: f64) {
    let reached = ratio <= aim;
    println!(r#"{{"name":"{name}","value":"{ratio:.2}","aim":"<= {aim}","reached":{reached}}}"#);
}

/// The middle of the values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
