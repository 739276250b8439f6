//! The page of figures in the text format that was before OpenMetrics
//! (`text/plain; version=0.0.4`), for collectors that ask for it and for nothing
//! newer. What is counted is in `metrics.rs`; here lines are rewritten.
//!
//! The formats differ little in what we write: a counter's family has the name
//! of its samples there, with `_total`; there are no units and there is no end
//! mark; what is of no known type is `untyped`.

use std::fmt::Write;

/// Its content type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The name and version by which the newer format is asked for.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// Whether the `Accept` headers ask for the classic format and not for the newer
/// one. Whoever asks for neither, or for anything, gets the newer one.
pub(crate) fn is_wanted<'a>(accept: impl Iterator<Item = &'a str>) -> bool {
    let mut classic = false;
    for range in accept.flat_map(|header| header.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut parameters = parts.filter_map(|part| part.split_once('='));
        let refuses = |(name, value): (&str, &str)| match name.trim().to_ascii_lowercase().as_str()
        {
            "q" => value.trim().parse() == Ok(0.0),
            "version" => kind == "text/plain" && value.trim().trim_matches('"') != "0.0.4",
            _ => false,
        };
        if parameters.any(refuses) {
            continue;
        }
        match kind.as_str() {
            OPEN_METRICS => return false,
            "text/plain" | "text/*" => classic = true,
            _ => {}
        }
    }
    classic
}

/// A page of OpenMetrics in the classic format.
pub(crate) fn page(open_metrics: &str) -> String {
    let mut page = String::with_capacity(open_metrics.len() + 4096);
    // The help comes before the type, which decides on the name in both.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|family| family.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some((_, text)) = help.take().filter(|(helped, _)| *helped == name) {
                let _ = writeln!(page, "# HELP {name}{total} {text}");
            }
            let _ = writeln!(page, "# TYPE {name}{total} {kind}");
        } else if !line.starts_with("# ") {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_format_is_for_whoever_asks_for_nothing_newer() {
        let check = |accept: &[&str], expected: bool| {
            assert_eq!(is_wanted(accept.iter().copied()), expected, "{accept:?}");
        };
        check(&[], false);
        check(&["*/*"], false);
        check(&["text/html"], false);
        check(&["text/plain"], true);
        check(&["Text/Plain; Version=0.0.4"], true);
        check(&["text/plain;version=\"0.0.4\";q=0.5, */*;q=0.1"], true);
        check(&["text/plain;version=1.0.0"], false);
        check(&["text/plain;q=0"], false);
        check(&["text/*"], true);
        check(&["application/openmetrics-text;q=0, text/plain"], true);
        // Prometheus, which reads both.
        check(
            &[
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
            ],
            false,
        );
        check(&["text/plain", "application/openmetrics-text"], false);
    }

    #[test]
    fn a_counter_is_called_what_its_samples_are_called() {
        let open_metrics = r#"# HELP calls Calls by outcome.
# TYPE calls counter
calls_total{shard="0",outcome="ok"} 3
# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_sum 0.5
wait_seconds_count 2
wait_seconds_bucket{le="+Inf"} 2
# TYPE odd unknown
odd 1
# EOF
"#;
        let classic = r#"# HELP calls_total Calls by outcome.
# TYPE calls_total counter
calls_total{shard="0",outcome="ok"} 3
# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
wait_seconds_sum 0.5
wait_seconds_count 2
wait_seconds_bucket{le="+Inf"} 2
# TYPE odd untyped
odd 1
"#;
        assert_eq!(page(open_metrics), classic);
    }
}
