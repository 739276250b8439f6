//! Writing answers: data to standard output as tables or JSON, talk to
//! standard error. The only place that prints.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::args::{Global, Output};
use super::failure::{Exit, Failure};

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
            table.add_row(
                row.into_iter()
                    .map(|cell| cell.replace(|c: char| c.is_control(), " ")),
            );
        }
        let text: String = table
            .lines()
            .map(|line| format!("{}\n", line.trim()))
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
            let _ = writeln!(io::stderr().lock(), "{text}");
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
                let hint = if failure.exit == Exit::Usage {
                    "\nsee --help"
                } else {
                    ""
                };
                writeln!(stderr, "corelet: {}{hint}", failure.text)
            }
        };
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
}
