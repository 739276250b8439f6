//! `corelet context entries` and `corelet context deltas`: lines as they come, so that
//! a large context takes no memory here either.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::args::Global;
use super::failure::{Exit, Failure};
use super::output::{Out, date, escaped, plain};

pub(super) fn entries(path: &str, global: &Global, out: &Out) -> Result<(), Failure> {
    each_line(path, global, out, |line| {
        let space = word(line, "space")?;
        // As JSON: it may have any character in it.
        let key = line.get("key").or_else(|| line.get("key_base64"))?;
        let key = escaped(&key.to_string());
        let kind = word(line, "kind")?;
        let value = line.get("value").or_else(|| line.get("value_base64"));
        let value = value.map_or(String::new(), |value| {
            format!(" {}", escaped(&value.to_string()))
        });
        Some(format!("{space:<8} {kind:<12} {key}{value}"))
    })
}

pub(super) fn deltas(path: &str, global: &Global, out: &Out) -> Result<(), Failure> {
    each_line(path, global, out, |line| {
        let delta = word(line, "delta")?;
        let time = date(line.get("time_unix_ms")?.as_u64()?);
        let (writes, events) = (line.get("writes")?, line.get("events")?);
        let author = word(line, "author")?;
        Some(format!(
            "{delta} {time} writes: {writes}, events: {events}, by {author}"
        ))
    })
}

fn word<'l>(line: &'l Value, name: &str) -> Option<&'l str> {
    line.get(name)?.as_str()
}

/// Prints each line as `shown` has it for people; those that it has nothing for are told
/// to scripts only.
fn each_line(
    path: &str,
    global: &Global,
    out: &Out,
    shown: impl Fn(&Value) -> Option<String>,
) -> Result<(), Failure> {
    let body = super::client(global)?.download(path)?;
    let mut has_ended = false;
    for line in BufReader::new(body).lines() {
        let line = line.map_err(|error| cut(&error.to_string()))?;
        let parsed: Value = serde_json::from_str(&line).map_err(|error| cut(&error.to_string()))?;
        has_ended = parsed.get("end").is_some();
        match out.is_json() {
            true => out.raw(format!("{line}\n").as_bytes())?,
            false => {
                if let Some(text) = shown(&parsed) {
                    out.raw(format!("{}\n", plain(&text)).as_bytes())?;
                }
            }
        }
    }
    match has_ended {
        true => Ok(()),
        false => Err(cut("the last line is missing")),
    }
}

fn cut(why: &str) -> Failure {
    let text = format!("the answer was broken off: {why}; try again");
    Failure::new(Exit::Failed, text)
}
