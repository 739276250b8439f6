//! `corelet call`: one method of one context. Also reads JSON arguments for the
//! other commands: in place, from a file, or from standard input.

use std::io::{self, Read};

use serde_json::value::RawValue;

use super::args::{CallArgs, Global};
use super::failure::{Exit, Failure};
use super::output::{Out, pretty};
use super::progress::during;

/// Arguments longer than this are not read.
const ARGS_BYTES_MAX: u64 = 1 << 30;

pub(super) fn run(args: &CallArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let arguments = json_argument(args.args.as_deref())?;
    let client = super::client(global)?;
    let result = during(out, "waiting for the answer", || {
        let key = args.idempotency_key.as_deref();
        client.call(&args.context, &args.method, &arguments, key)
    })?;
    if out.is_json() {
        return out.document(&result);
    }
    #[derive(serde::Deserialize)]
    struct Result {
        output: Box<RawValue>,
        delta_id: Option<String>,
        root: String,
        fuel_used: u64,
    }
    let result: Result =
        serde_json::from_str(result.get()).map_err(|error| Failure::failed(&error))?;
    out.detail(&format!(
        "delta {}, root {}, fuel {}",
        result.delta_id.as_deref().unwrap_or("none"),
        result.root,
        result.fuel_used
    ));
    out.raw(format!("{}\n", pretty(result.output.get())).as_bytes())
}

/// JSON, `@FILE`, or `-` for standard input; `{}` if nothing is given.
pub(super) fn json_argument(argument: Option<&str>) -> Result<Box<RawValue>, Failure> {
    let (text, place) = match argument {
        None => ("{}".to_owned(), "the arguments"),
        Some("-") => (read(io::stdin())?, "standard input"),
        Some(argument) => match argument.strip_prefix('@') {
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|error| {
                    Failure::new(Exit::Usage, format!("reading {path}: {error}"))
                })?;
                (read(file)?, path)
            }
            None => (argument.to_owned(), "the arguments"),
        },
    };
    let value: Box<RawValue> = serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("{place} must be a JSON object: {error}"),
        )
    })?;
    if !value.get().starts_with('{') {
        return Err(Failure::new(
            Exit::Usage,
            format!("{place} must be a JSON object"),
        ));
    }
    Ok(value)
}

fn read(source: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    source.take(ARGS_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_objects_from_three_places() {
        assert_eq!(json_argument(None).unwrap().get(), "{}");
        assert_eq!(
            json_argument(Some(r#"{"a": 1}"#)).unwrap().get(),
            r#"{"a": 1}"#
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "{\"b\":2}\n").unwrap();
        let from_file = json_argument(Some(&format!("@{}", path.display()))).unwrap();
        assert_eq!(from_file.get(), r#"{"b":2}"#);
        for bad in ["", "{", "[1]", "1", "{} {}", "@/no/such/file"] {
            assert_eq!(
                json_argument(Some(bad)).unwrap_err().exit,
                Exit::Usage,
                "{bad}"
            );
        }
    }
}
