//! Which bytes of a content a request wants (RFC 9110, section 14): one range, or all of
//! it. What is no range, or several, counts as if nothing had been asked for, which that
//! section allows. Plain functions.

use std::ops::Range;

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// Only these bytes; not empty.
    Part(Range<u64>),
    /// Nothing: the range begins behind the end.
    Nothing,
}

impl Wanted {
    /// What the header `Range` wants of a content of `bytes`.
    pub(super) fn of(header: Option<&str>, bytes: u64) -> Wanted {
        let Some(range) = header.and_then(parse) else {
            return Wanted::Whole;
        };
        let range = match range {
            Bounds::From(first) => first..bytes,
            // A range ends where the content does, at the latest.
            Bounds::Between(first, last) => first..last.saturating_add(1).min(bytes),
            Bounds::Last(count) => bytes.saturating_sub(count)..bytes,
        };
        match range.is_empty() {
            true => Wanted::Nothing,
            false => Wanted::Part(range),
        }
    }
}

enum Bounds {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

fn parse(header: &str) -> Option<Bounds> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    Some(match (first, last) {
        ("", count) => Bounds::Last(number(count)?),
        (first, "") => Bounds::From(number(first)?),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Bounds::Between(first, last))?
        }
    })
}

/// Digits and nothing else; one that is too large is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_everything_else_is_the_whole() {
        let check = |header: &str, expected: Wanted| {
            assert_eq!(Wanted::of(Some(header), 100), expected, "{header}");
        };
        check("bytes=0-0", Wanted::Part(0..1));
        check("bytes=10-19", Wanted::Part(10..20));
        check("BYTES = 10-19 ", Wanted::Part(10..20));
        check("bytes=90-", Wanted::Part(90..100));
        check("bytes=90-1000", Wanted::Part(90..100));
        check("bytes=90-99999999999999999999999", Wanted::Part(90..100));
        check("bytes=-7", Wanted::Part(93..100));
        check("bytes=-1000", Wanted::Part(0..100));
        check("bytes=100-", Wanted::Nothing);
        check("bytes=100-200", Wanted::Nothing);
        check("bytes=-0", Wanted::Nothing);
        for whole in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=9-8",
            "bytes=0-1,5-6",
            "lines=1-2",
            "bytes=+1-2",
            "bytes=a-b",
            "bytes=1 - 2",
        ] {
            check(whole, Wanted::Whole);
        }
        assert_eq!(Wanted::of(None, 100), Wanted::Whole);
        // Of nothing there is no part.
        assert_eq!(Wanted::of(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(Wanted::of(None, 0), Wanted::Whole);
    }
}
