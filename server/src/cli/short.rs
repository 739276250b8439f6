//! Numbers for narrow columns: three digits and a unit.

/// A count: `999`, `1.2k`, `45M`.
pub(super) fn count(count: u64) -> String {
    rate(count as f64)
}

/// The same of a number that need not be whole, such as calls in a second.
pub(super) fn rate(rate: f64) -> String {
    scaled(rate, 1_000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// Bytes, in powers of 1024: `1.5K`, `12M`.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1_024.0, &["", "K", "M", "G", "T", "P", "E"])
}

/// Microseconds: `120µs`, `3.1ms`, `12s`.
pub(super) fn time(micros: u64) -> String {
    scaled(
        micros as f64,
        1_000.0,
        &["µs", "ms", "s", "ks", "Ms", "Gs", "Ts"],
    )
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        // What would be rounded up to a number of more digits has the next unit.
        if number < 999.5 {
            break;
        }
        (number, unit) = (number / step, next);
    }
    match number {
        number if number >= 9.95 || number.fract() == 0.0 => format!("{number:.0}{unit}"),
        number => format!("{number:.1}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_at_most() {
        for (number, short) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1_000, "1k"),
            (1_234, "1.2k"),
            (9_949, "9.9k"),
            (9_951, "10k"),
            (999_499, "999k"),
            (999_500, "1.0M"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(count(number), short);
        }
        assert_eq!(bytes(1_536), "1.5K");
        assert_eq!(bytes(1_023), "1.0K", "it has four digits");
        assert_eq!(time(120), "120µs");
        assert_eq!(time(3_100), "3.1ms");
        assert_eq!(time(59_000_000), "59s");
        assert_eq!(rate(0.25), "0.2");
    }
}
