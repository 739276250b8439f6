//! How a context's statistics lie in its agenda, as one value under `u`.
//!
//! The form (1), then row by row: whose it is (1: a method's, of handlers, of unknown methods), of a
//! method the length of its name (1) and the name; then numbers of seven bits a byte, the lowest
//! first (LEB128): calls, failures by kind, fuel, the most fuel, bytes in, bytes out,
//! microseconds, those waited, how many buckets of times there are, and of each how many empty ones lie
//! before it and its count. A row is 12 bytes and its name at least, and about 60 if it is
//! called in earnest.

use super::counts::{FailureKind, MethodStatistics};
use super::times::{TIME_BUCKETS, Times};

const FORM: u8 = 1;

/// Whose figures these are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MethodRow {
    /// A method's of the application.
    Method(String),
    /// Those of all handlers that the server has called by itself.
    Handlers,
    /// Those of calls of methods that the application does not have.
    Unknown,
}

/// A context's rows, in their order.
pub(super) type Rows = Vec<(MethodRow, MethodStatistics)>;

pub(super) fn write(rows: &Rows) -> Vec<u8> {
    let mut out = vec![FORM];
    for (whose, row) in rows {
        match whose {
            MethodRow::Method(name) => {
                let length = u8::try_from(name.len()).expect("a description's names are short");
                out.extend_from_slice(&[0, length]);
                out.extend_from_slice(name.as_bytes());
            }
            MethodRow::Handlers => out.push(1),
            MethodRow::Unknown => out.push(2),
        }
        put(&mut out, row.calls);
        row.failures.iter().for_each(|count| put(&mut out, *count));
        for number in [
            row.fuel,
            row.fuel_max,
            row.bytes_in,
            row.bytes_out,
            row.micros,
            row.waited_micros,
        ] {
            put(&mut out, number);
        }
        let buckets = row.times.buckets();
        let counted = buckets.iter().filter(|count| **count > 0).count();
        put(&mut out, counted as u64);
        let mut empty = 0;
        for count in buckets {
            match count {
                0 => empty += 1,
                count => {
                    put(&mut out, std::mem::take(&mut empty));
                    put(&mut out, *count);
                }
            }
        }
    }
    out
}

/// None if it is of a form that is unknown here.
pub(super) fn read(value: &[u8]) -> Option<Rows> {
    let (&[FORM], mut rest) = value.split_first_chunk()? else {
        return None;
    };
    let mut rows = Rows::new();
    while let Some((whose, after)) = rest.split_first() {
        rest = after;
        let whose = match whose {
            0 => {
                let (length, after) = rest.split_first()?;
                let (name, after) = after.split_at_checked(usize::from(*length))?;
                rest = after;
                MethodRow::Method(String::from_utf8(name.to_vec()).ok()?)
            }
            1 => MethodRow::Handlers,
            2 => MethodRow::Unknown,
            _ => return None,
        };
        let mut row = MethodStatistics {
            calls: take(&mut rest)?,
            ..MethodStatistics::default()
        };
        for kind in FailureKind::ALL {
            row.failures[kind as usize] = take(&mut rest)?;
        }
        for number in [
            &mut row.fuel,
            &mut row.fuel_max,
            &mut row.bytes_in,
            &mut row.bytes_out,
            &mut row.micros,
            &mut row.waited_micros,
        ] {
            *number = take(&mut rest)?;
        }
        let mut buckets = [0; TIME_BUCKETS];
        let mut next = 0;
        for _ in 0..take(&mut rest)? {
            let at = usize::try_from(take(&mut rest)?).ok()?.checked_add(next)?;
            *buckets.get_mut(at)? = take(&mut rest)?;
            next = at + 1;
        }
        row.times = Times::of_buckets(buckets);
        rows.push((whose, row));
    }
    Some(rows)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits.leading_zeros() < shift {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(numbers: &[u64; 12], times: &[(u64, u64)]) -> MethodStatistics {
        let [
            calls,
            a,
            b,
            c,
            d,
            e,
            fuel,
            fuel_max,
            bytes_in,
            bytes_out,
            micros,
            waited_micros,
        ] = *numbers;
        MethodStatistics {
            calls,
            failures: [a, b, c, d, e],
            fuel,
            fuel_max,
            bytes_in,
            bytes_out,
            micros,
            waited_micros,
            times: Times::of_counted(times.iter().copied()),
        }
    }

    #[test]
    fn the_form_is_kept() {
        let rows = vec![
            (
                MethodRow::Method("add".to_owned()),
                row(
                    &[3, 0, 1, 0, 0, 0, 300, 150, 30, 3, 1_000, 0],
                    &[(0, 1), (96, 2)],
                ),
            ),
            (MethodRow::Unknown, row(&[0; 12], &[])),
        ];
        let bytes = write(&rows);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0100036164640300010000\
             00ac029601\
             1e03e80700\
             020001\
             0c02\
             02000000000000000000000000\
             00"
        );
        assert_eq!(read(&bytes), Some(rows));
        assert_eq!(read(&[1]), Some(Vec::new()));
        for bad in [&[][..], &[2], &[1, 3], &[1, 0, 9, 97]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back_and_no_bytes_are_a_surprise(
            numbers in any::<[u64; 12]>(),
            times in prop::collection::vec((any::<u64>(), any::<u64>()), 0..60),
            noise in prop::collection::vec(any::<u8>(), 0..80),
            cut in any::<prop::sample::Index>(),
        ) {
            let rows = vec![
                (MethodRow::Method("a".to_owned()), row(&numbers, &times)),
                (MethodRow::Handlers, row(&numbers, &[])),
            ];
            let bytes = write(&rows);
            prop_assert_eq!(read(&bytes), Some(rows));
            let _ = read(&noise);
            let _ = read(&[&[FORM], &noise[..]].concat());
            let _ = read(&bytes[..cut.index(bytes.len())]);
        }
    }
}
