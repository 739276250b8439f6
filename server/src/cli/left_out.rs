//! What a copy lacks, as it is told: the first few by name and reason, then how many more.

use std::fmt::Display;

use super::output::Out;

/// So many are told one by one, as a terminal shows them at once. A document names more.
const TOLD_MAX: usize = 10;

/// Contexts or blobs that are not in a copy.
pub(super) struct LeftOut<'a, T> {
    /// The first of them, and why they are not.
    pub(super) first: &'a [(T, String)],
    /// How many there are.
    pub(super) count: u64,
}

impl<'a, T: Display> LeftOut<'a, T> {
    /// These, and no more.
    pub(super) fn all(first: &'a [(T, String)]) -> LeftOut<'a, T> {
        LeftOut {
            first,
            count: first.len() as u64,
        }
    }

    /// Says each of the first few in a line of its own, made by `line`, and how many more there
    /// are of `what`: what is said of many.
    pub(super) fn say(&self, out: &Out, what: &str, line: impl Fn(&T, &str) -> String) {
        for line in self.lines(what, line) {
            out.say(&line);
        }
    }

    fn lines(&self, what: &str, line: impl Fn(&T, &str) -> String) -> Vec<String> {
        let told = self.first.iter().take(TOLD_MAX);
        let mut lines: Vec<String> = told.map(|(id, why)| line(id, why)).collect();
        let more = self.count.saturating_sub(lines.len() as u64);
        if more > 0 {
            lines.push(format!(
                "{more} more {what}; `-o json` names up to a thousand"
            ));
        }
        lines
    }

    /// Their ids, as far as they are known.
    pub(super) fn ids(&self) -> Vec<String> {
        self.first.iter().map(|(id, _)| id.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(named: usize, count: u64) -> Vec<String> {
        let first: Vec<(usize, String)> = (0..named).map(|n| (n, format!("why {n}"))).collect();
        let left_out = LeftOut {
            first: &first,
            count,
        };
        assert_eq!(left_out.ids().len(), named);
        left_out.lines("blobs are attached and not in it", |id, why| {
            format!("{id}: {why}")
        })
    }

    #[test]
    fn the_first_few_are_named_and_the_others_counted() {
        assert_eq!(told(0, 0), [""; 0]);
        assert_eq!(told(2, 2), ["0: why 0", "1: why 1"]);
        assert_eq!(told(TOLD_MAX, TOLD_MAX as u64).len(), TOLD_MAX);
        let lines = told(TOLD_MAX + 5, 1234);
        assert_eq!(lines.len(), TOLD_MAX + 1);
        assert_eq!(lines[9], "9: why 9");
        assert!(lines[10].starts_with("1224 more blobs are attached and not in it"));
    }
}
