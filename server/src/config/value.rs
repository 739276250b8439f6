//! The kinds of value that a setting can have: how each is written, read and
//! bounded. Which settings exist is in `schema.rs`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// One setting, as the reference page and `corelet config show` describe it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its full name, `section.key`.
    pub path: &'static str,
    /// What it counts or names.
    pub unit: &'static str,
    /// Its value when nobody sets it, as one would write it.
    pub default: &'static str,
    /// The smallest and the largest value, where the kind has an order.
    pub bounds: Option<(u64, u64)>,
    /// The lines that say what it does.
    pub effect: &'static [&'static str],
    /// Reads a value and writes it back in its one canonical form.
    pub canonical: fn(&str, Option<(u64, u64)>) -> Result<String, String>,
    /// Writes a bound the way a value is written.
    pub show_bound: fn(u64) -> String,
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What the value counts or names, for people.
    const UNIT: &'static str;

    /// Reads the value; `Err` says what was expected.
    fn read(text: &str) -> Result<Self, String>;

    /// Writes the value so that [`Setting::read`] gives the same again.
    fn write(&self) -> String;

    /// The value's size, where bounds make sense.
    fn size(&self) -> Option<u64> {
        None
    }

    /// Writes a bound the way a value is written.
    fn write_size(size: u64) -> String {
        size.to_string()
    }

    /// Reads the value and holds it against the bounds.
    fn read_within(text: &str, bounds: Option<(u64, u64)>) -> Result<Self, String> {
        let value = Self::read(text)?;
        if let (Some((least, most)), Some(size)) = (bounds, value.size())
            && !(least..=most).contains(&size)
        {
            return Err(format!(
                "{} from {} to {}",
                Self::UNIT,
                Self::write_size(least),
                Self::write_size(most)
            ));
        }
        Ok(value)
    }

    /// The value in its one canonical form, for comparison and display.
    fn canonical(text: &str, bounds: Option<(u64, u64)>) -> Result<String, String> {
        Self::read_within(text, bounds).map(|value| value.write())
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number as a length in memory.
    pub fn as_usize(self) -> usize {
        // Corelet runs on 64-bit machines only, so nothing is lost.
        self.0 as usize
    }
}

const BYTE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Setting for Bytes {
    const UNIT: &'static str = "bytes";

    fn read(text: &str) -> Result<Self, String> {
        scaled(text, &BYTE_UNITS, Some(1))
            .map(Bytes)
            .ok_or_else(|| "a number of bytes such as 65536, \"64 KiB\" or \"1 GiB\"".to_owned())
    }

    fn write(&self) -> String {
        Self::write_size(self.0)
    }

    fn size(&self) -> Option<u64> {
        Some(self.0)
    }

    fn write_size(size: u64) -> String {
        unscaled(size, &BYTE_UNITS)
    }
}

const DURATION_UNITS: [(&str, u64); 4] =
    [("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

impl Setting for Duration {
    const UNIT: &'static str = "time";

    fn read(text: &str) -> Result<Self, String> {
        scaled(text, &DURATION_UNITS, None)
            .map(Duration::from_millis)
            .ok_or_else(|| {
                "a time with its unit such as \"500 ms\", \"10 s\" or \"2 min\"".to_owned()
            })
    }

    fn write(&self) -> String {
        Self::write_size(self.size().unwrap_or(u64::MAX))
    }

    fn size(&self) -> Option<u64> {
        u64::try_from(self.as_millis()).ok()
    }

    fn write_size(size: u64) -> String {
        unscaled(size, &DURATION_UNITS)
    }
}

impl Setting for u64 {
    const UNIT: &'static str = "count";

    fn read(text: &str) -> Result<Self, String> {
        text.replace('_', "")
            .parse()
            .map_err(|_| "a whole number".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn size(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Setting for bool {
    const UNIT: &'static str = "true or false";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "true or false".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    const UNIT: &'static str = "address and port";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "an IP address with a port such as 127.0.0.1:7700 or [::]:7700".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

impl Setting for LogFormat {
    const UNIT: &'static str = "auto, text or json";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(Self::UNIT.to_owned()),
        }
    }

    fn write(&self) -> String {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
        .to_owned()
    }
}

/// The least important event that is still logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Someone must act now.
    Error,
    /// Someone should look.
    Warn,
    /// What an operator wants to know happened.
    Info,
    /// What a developer of Corelet looks for.
    Debug,
    /// Everything.
    Trace,
}

impl Setting for LogLevel {
    const UNIT: &'static str = "error, warn, info, debug or trace";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(LogLevel::Error),
            "warn" => Ok(LogLevel::Warn),
            "info" => Ok(LogLevel::Info),
            "debug" => Ok(LogLevel::Debug),
            "trace" => Ok(LogLevel::Trace),
            _ => Err(Self::UNIT.to_owned()),
        }
    }

    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

impl LogLevel {
    /// The level's name, as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A whole number followed by one of the units; without a unit it counts in
/// `bare` where that is allowed.
fn scaled(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Option<u64> {
    let digits_end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let number: u64 = digits.replace('_', "").parse().ok()?;
    let unit = unit.trim();
    let scale = if unit.is_empty() {
        bare?
    } else {
        units.iter().find(|(name, _)| *name == unit)?.1
    };
    number.checked_mul(scale)
}

/// The largest unit that divides the number evenly. `units` goes from large to
/// small and ends with 1.
fn unscaled(number: u64, units: &[(&str, u64)]) -> String {
    let (name, scale) = units
        .iter()
        .find(|(_, scale)| number != 0 && number.is_multiple_of(*scale))
        .unwrap_or(&units[units.len() - 1]);
    format!("{} {name}", number / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Setting>(text: &str, expected: Option<&str>) {
        assert_eq!(T::canonical(text, None).ok().as_deref(), expected, "{text}");
    }

    #[test]
    fn sizes_and_times_are_read_and_written_in_one_form() {
        check::<Bytes>("65536", Some("64 KiB"));
        check::<Bytes>("64KiB", Some("64 KiB"));
        check::<Bytes>("1_000", Some("1000 B"));
        check::<Bytes>("0", Some("0 B"));
        check::<Bytes>("64 kb", None);
        check::<Bytes>("-1", None);
        check::<Bytes>("99999999999 TiB", None);
        check::<Duration>("90 s", Some("90 s"));
        check::<Duration>("120 s", Some("2 min"));
        check::<Duration>("10", None);
        check::<Duration>("", None);
    }

    #[test]
    fn bounds_are_named_in_the_refusal() {
        let refusal = Bytes::read_within("1 KiB", Some((4096, 1 << 20))).unwrap_err();
        assert_eq!(refusal, "bytes from 4 KiB to 1 MiB");
    }
}
