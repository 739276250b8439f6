//! The reference page `server/CONFIG.md`, made from the table of settings. A
//! test keeps the file equal to it.

use std::fmt::Write;

use corelet_wasm_host::Limits;

use super::schema::{SECTIONS, accepts, fields};
use super::value::Field;

/// The page as Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Made by `corelet config reference`; edit `server/src/config/schema.rs` instead.\n\n\
         A setting comes from, weakest first: its default, the file given with `--config`, the\n\
         environment (`CORELET__HTTP__LISTEN` sets `http.listen`), a flag. Unknown keys are refused.\n\
         `corelet config show --origin` prints what is in force and who set it; `corelet config check`\n\
         reads a configuration without starting anything.\n\n\
         Sizes are bytes or carry a unit (`\"64 KiB\"`, `\"1 GiB\"`); times always carry one (`\"500 ms\"`,\n\
         `\"10 s\"`, `\"2 min\"`).\n",
    );
    for (section, introduction) in SECTIONS {
        let _ = write!(page, "\n## [{section}]\n\n{}\n\n", prose(introduction));
        page.push_str("| setting | unit | default | bounds | effect |\n|---|---|---|---|---|\n");
        for field in fields()
            .iter()
            .filter(|field| field.path.split('.').next() == Some(section))
        {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                field.path,
                field.unit,
                default(field),
                bounds(field),
                prose(field.effect)
            );
        }
    }
    page
}

fn prose(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

fn default(field: &Field) -> String {
    (field.canonical)(field.default, field.bounds).unwrap_or_else(|_| field.default.to_owned())
}

/// The bounds of a limit are what the checks accept while all others have their
/// defaults: the checks are the one place that knows them.
fn bounds(field: &Field) -> String {
    if let Some(limit) = field.path.strip_prefix("limits.") {
        let show = field.show_bound;
        return match accepted(limit) {
            (None, None) => "any".to_owned(),
            (Some(least), None) => format!("from {}", show(least)),
            (None, Some(most)) => format!("up to {}", show(most)),
            (Some(least), Some(most)) => format!("{} to {}", show(least), show(most)),
        };
    }
    match field.bounds {
        Some((least, most)) => format!(
            "{} to {}",
            (field.show_bound)(least),
            (field.show_bound)(most)
        ),
        None => String::new(),
    }
}

/// The smallest and the largest value that is accepted, where not every one is.
fn accepted(limit: &str) -> (Option<u64>, Option<u64>) {
    let default = Limits::default().get(limit).unwrap_or_default();
    // From one that is accepted to one that is not, by halves.
    let edge = |refused: u64| {
        let (mut good, mut bad) = (default, refused);
        while good.abs_diff(bad) > 1 {
            let middle = good.midpoint(bad);
            if accepts(limit, middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    };
    let end = |end: u64| (!accepts(limit, end)).then(|| edge(end));
    (end(0), end(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To bring the page up to date: `corelet config reference > server/CONFIG.md`.
    #[test]
    fn the_page_in_the_repository_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFIG.md");
        if std::env::var_os("CORELET_WRITE_PAGES").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference());
    }

    #[test]
    fn the_bounds_of_limits_are_those_of_the_checks() {
        assert_eq!(accepted("compile_cpu_max"), (Some(1000), None));
        assert_eq!(accepted("methods_max"), (None, None));
        // Together with what else has to be at least as large.
        assert_eq!(accepted("memories_max"), (Some(1), Some(48)));
        let callback = (128 << 10) + 256;
        assert_eq!(accepted("args_bytes_max"), (Some(callback), Some(2 << 20)));
        // What other nodes take of a delta, and room for what else is in it.
        assert_eq!(accepted("write_bytes_max"), (None, Some(8 << 20)));
    }

    #[test]
    fn every_setting_says_what_it_does() {
        for field in fields() {
            let effect = prose(field.effect);
            assert!(effect.ends_with('.'), "{}: {effect}", field.path);
        }
    }
}
