//! `corelet logs`: what the guests of a context have logged.

use super::args::{Global, LogsArgs};
use super::context::path;
use super::failure::Failure;
use super::output::{Out, date};
use super::progress::during;
use crate::api;

const HEADINGS: [&str; 5] = ["time", "level", "method", "outcome", "message"];

pub(super) fn run(args: &LogsArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let path = format!("{}/logs?after={}", path(&args.context)?, args.after);
    let client = super::client(global)?;
    let found: api::LogLines = during(out, "reading the lines", || client.get(&path))?;
    if found.cut {
        out.say("older lines may have made room for these");
    }
    let row = |line: &api::LogLine| {
        vec![
            date(line.time_unix_ms),
            line.level.clone(),
            line.method.clone(),
            line.outcome.clone(),
            line.message.clone(),
        ]
    };
    out.rows(&HEADINGS, found.lines.iter().map(row), &found)?;
    out.say(&format!("for what comes next: --after {}", found.next));
    Ok(())
}
