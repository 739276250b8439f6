//! Command lines that are wrong: told as the output form wants it, although that
//! form stands on the very line that could not be read.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::args::Output;
use super::failure::{Exit, Failure};
use super::output::Out;

/// Says what is wrong, or prints the help that was asked for. The exit code.
pub(super) fn told(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let environment = std::env::var("CORELET_OUTPUT").ok();
    let form = form(std::env::args_os().skip(1), environment.as_deref());
    if asked_for || form == Output::Table {
        // Where nobody reads it any more there is nothing to do about it.
        let _ = error.print();
        // 0 for what was asked for, 2 for what is wrong.
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
    }
    let failure = Failure::new(Exit::Usage, message(error)).advise("see --help");
    Out::of_form(form).failure(&failure);
    Exit::Usage.into()
}

/// What is wrong in one line, without the usage behind it.
fn message(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "there is no command".to_owned();
    }
    let text = error.render().to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or_default();
    let said = said.split("\n\nFor more information").next();
    let said = said.unwrap_or_default();
    let words = said.trim_start_matches("error: ").split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

/// The last form that the words ask for, else that of the environment.
fn form(words: impl Iterator<Item = OsString>, environment: Option<&str>) -> Output {
    let mut wanted = environment.map(str::to_owned);
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next().filter(|word| word != "--") {
        let value = match word.strip_prefix("--output") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => match short(&word) {
                Some("") => words.next(),
                value => value.map(|value| value.trim_start_matches('=').to_owned()),
            },
        };
        wanted = value.or(wanted);
    }
    match wanted.as_deref() {
        Some("json") => Output::Json,
        _ => Output::Table,
    }
}

/// What stands behind the `o` of `-o`, `-ojson` or `-qvo`.
fn short(word: &str) -> Option<&str> {
    let flags = word.strip_prefix('-')?;
    flags.trim_start_matches(['q', 'v']).strip_prefix('o')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_found_on_a_line_that_cannot_be_read() {
        let check = |line: &str, environment: Option<&str>, expected: Output| {
            let words = line.split(' ').map(OsString::from);
            assert_eq!(form(words, environment), expected, "{line}");
        };
        check("bogus", None, Output::Table);
        check("bogus", Some("json"), Output::Json);
        check("bogus -o table", Some("json"), Output::Table);
        for json in [
            "-o json bogus",
            "bogus -ojson",
            "bogus --output json",
            "--output=json x",
            "-qo json x",
            "-o=json",
        ] {
            check(json, None, Output::Json);
        }
        for table in ["call -- -o json", "-o jason", "--outputs json", "-o"] {
            check(table, None, Output::Table);
        }
    }
}
