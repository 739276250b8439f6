//! Writing answers: data to standard output as tables or JSON, talk to
//! standard error. The only place that prints.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::args::{Global, Output};
use super::failure::Failure;

/// How this command writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    form: Output,
    quiet: bool,
    verbose: bool,
}

impl Out {
    pub(crate) fn new(global: &Global) -> Out {
        Out {
            form: global.output,
            quiet: global.quiet,
            verbose: global.verbose > 0,
        }
    }

    /// Where no flags could be read but this one.
    pub(super) fn of_form(form: Output) -> Out {
        Out {
            form,
            quiet: false,
            verbose: false,
        }
    }

    /// A text, or the document that holds it.
    pub(crate) fn text<T: Serialize>(
        &self,
        text: &str,
        document: impl FnOnce() -> T,
    ) -> Result<(), Failure> {
        match self.form {
            Output::Table => self.raw(format!("{text}\n").as_bytes()),
            Output::Json => self.document(&document()),
        }
    }

    /// What was done: told to people, as a document for scripts.
    pub(crate) fn done<T: Serialize>(
        &self,
        told: &str,
        document: impl FnOnce() -> T,
    ) -> Result<(), Failure> {
        match self.form {
            Output::Table => self.say(told),
            Output::Json => self.document(&document())?,
        }
        Ok(())
    }

    /// The same where standard output has what was asked for, so that the document stands
    /// beside it.
    pub(crate) fn done_beside<T: Serialize>(
        &self,
        told: &str,
        document: impl FnOnce() -> T,
    ) -> Result<(), Failure> {
        match self.form {
            Output::Table => self.say(told),
            Output::Json => {
                let text = serde_json::to_string(&document());
                let text = text.map_err(|error| Failure::failed(&error))?;
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
        }
        Ok(())
    }

    /// Rows under headings, or the document they were taken from.
    pub(crate) fn rows<T: Serialize>(
        &self,
        headings: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
        document: &T,
    ) -> Result<(), Failure> {
        if self.form == Output::Json {
            return self.document(document);
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(|cell| plain(cell)));
        }
        let text: String = table
            .lines()
            // The style's own blank goes, those of an empty first cell stay.
            .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end()))
            .collect();
        self.raw(text.as_bytes())
    }

    /// One JSON document on one line.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(document).map_err(|error| Failure::failed(&error))?;
        text.push(b'\n');
        self.raw(&text)
    }

    /// Bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // The reader has seen enough (`corelet … | head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Bytes of data that goes on; `false` if its reader has seen enough.
    pub(super) fn goes_on(&self, bytes: &[u8]) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => Ok(written.map(|()| true)?),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.form == Output::Json
    }

    /// Whether people are watching the talk.
    pub(crate) fn is_watched(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Says something beside the data.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", lines(text));
        }
    }

    /// Says something that only the curious want.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            self.say(text);
        }
    }

    /// Says why it did not work.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        let _ = match self.form {
            Output::Json => writeln!(
                stderr,
                "{}",
                serde_json::json!({ "error": failure.document })
            ),
            Output::Table => {
                let hint = if failure.see_help { "\nsee --help" } else { "" };
                writeln!(stderr, "corelet: {}{hint}", lines(&failure.text))
            }
        };
    }
}

/// Text from elsewhere on one line, without the characters that steer
/// terminals, break lines or turn the order of text round (Unicode UAX 9).
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if steers(char) {
            out.extend(char.escape_unicode());
        } else {
            out.push(char);
        }
    }
    out
}

/// Compact JSON without those characters, which it lets pass inside of strings. It stays JSON.
pub(crate) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        push_escaped(&mut out, char);
    }
    out
}

fn push_escaped(out: &mut String, char: char) {
    if steers(char) {
        let _ = write!(out, "\\u{:04x}", u32::from(char));
    } else {
        out.push(char);
    }
}

fn steers(char: char) -> bool {
    let turns = matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let breaks = matches!(char, '\u{2028}' | '\u{2029}');
    char.is_control() || turns || breaks
}

/// A word of a shell command, in quotes where it needs them.
pub(crate) fn shell(word: &str) -> String {
    let harmless = |char: char| char.is_ascii_alphanumeric() || "-_./:=@%+,".contains(char);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", plain(word).replace('\'', r"'\''"))
    }
}

/// The same as [`plain`], keeping line breaks.
fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// How deep a value can lie and be indented for it. An answer of 1 MiB can be half a million
/// lists inside each other, whose whole indentation no machine has room for.
const INDENTED_MAX: usize = 32;

/// JSON with line breaks and blanks. Everything else stays as it was written:
/// the order of members, the digits of numbers. Control characters that JSON
/// lets pass are escaped.
pub(crate) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut chars = json.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(INDENTED_MAX)));
    };
    while let Some(char) = chars.next() {
        match char {
            '"' => {
                out.push('"');
                while let Some(inner) = chars.next() {
                    match inner {
                        '\\' => out.extend([Some('\\'), chars.next()].into_iter().flatten()),
                        _ => push_escaped(&mut out, inner),
                    }
                    if inner == '"' {
                        break;
                    }
                }
            }
            '{' | '[' => {
                out.push(char);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(close) => out.push(close),
                    None => {
                        depth += 1;
                        newline(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(',');
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ if char.is_whitespace() => {}
            _ => out.push(char),
        }
    }
    out
}
/// A number of bytes with at most one digit behind the point.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    match UNITS.iter().find(|(_, scale)| bytes >= *scale) {
        None => format!("{bytes} B"),
        Some((unit, scale)) if bytes.is_multiple_of(*scale) => format!("{} {unit}", bytes / scale),
        // One digit of a size for people needs no exact arithmetic.
        Some((unit, scale)) => format!("{:.1} {unit}", bytes as f64 / *scale as f64),
    }
}

/// Milliseconds since 1970 as date and time (UTC).
pub(super) fn date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar:
/// eras of 400 years, each year beginning in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(date(1_795_219_199_000), "2026-11-20 23:59:59");
    }

    #[test]
    fn json_keeps_its_order_and_its_digits() {
        let text = r#"{"b":1.0,"a":[1,{"c":"x, {y}: \"z\" \\"},[],{ }],"n":123456789012345678901234567890}"#;
        let expected = r#"{
  "b": 1.0,
  "a": [
    1,
    {
      "c": "x, {y}: \"z\" \\"
    },
    [],
    {}
  ],
  "n": 123456789012345678901234567890
}"#;
        assert_eq!(pretty(text), expected);
        assert_eq!(pretty(expected), expected);
        for scalar in ["null", "true", "-1.5e3", "\"a b\"", "[]", "{}"] {
            assert_eq!(pretty(scalar), scalar);
        }
        assert_eq!(
            pretty("\"\u{9b}2J\u{7f}\u{202e}\""),
            r#""\u009b2J\u007f\u202e""#
        );
    }

    #[test]
    fn what_lies_deep_is_not_indented_without_end() {
        let deep = "[".repeat(2_000) + &"]".repeat(2_000);
        let shown = pretty(&deep);
        assert!(shown.len() < 100 * deep.len(), "{} bytes", shown.len());
        assert_eq!(shown.replace([' ', '\n'], ""), deep);
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
        assert_eq!(lines("größe\n\r"), "größe\n\\u{d}");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(0), "0 B");
    }
}
