//! How timers lie in the agenda of their context. All of a key's first byte are one feature's;
//! others of the agenda begin with other bytes.
//!
//! | key | value |
//! |---|---|
//! | `c` | how many timers there are (8, little-endian); none if that is 0 |
//! | `n`, name | the timer ([`TimerRow`]) |
//! | `t`, when it runs next (8, big-endian microseconds since 1970), name | nothing |
//!
//! What the server changes by itself never makes them larger: numbers have fixed lengths.

/// How many there are.
pub(crate) const COUNT: &[u8] = b"c";
/// Timers by name.
pub(crate) const NAMED: &[u8] = b"n";
/// Timers by time.
pub(crate) const DUE: &[u8] = b"t";

pub(crate) const NANOS_PER_MICRO: u64 = 1_000;

/// A timer. Times are in microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimerRow {
    /// When it runs next.
    pub(crate) at: u64,
    /// When it was to run next, before an attempt failed.
    pub(crate) base: u64,
    /// From one run to the next; 0 if there is one run.
    pub(crate) every: u64,
    /// How often this run was tried.
    pub(crate) attempts: u32,
    pub(crate) handler: String,
    pub(crate) args: Vec<u8>,
}

/// The form of a row's value, which is its first byte.
const FORM: u8 = 1;

impl TimerRow {
    /// All numbers little-endian: form (1), `at`, `base`, `every` (8 each), attempts (4), length of
    /// the handler's name (2), name, arguments.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        for number in [self.at, self.base, self.every] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.attempts.to_le_bytes());
        let length = u16::try_from(self.handler.len()).expect("a limit on names is far below");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.handler.as_bytes());
        out.extend_from_slice(&self.args);
        out
    }

    pub(crate) fn read(value: &[u8]) -> Option<TimerRow> {
        let (&[FORM], rest) = value.split_first_chunk()? else {
            return None;
        };
        let (at, rest) = rest.split_first_chunk()?;
        let (base, rest) = rest.split_first_chunk()?;
        let (every, rest) = rest.split_first_chunk()?;
        let (attempts, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (handler, args) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        Some(TimerRow {
            at: u64::from_le_bytes(*at),
            base: u64::from_le_bytes(*base),
            every: u64::from_le_bytes(*every),
            attempts: u32::from_le_bytes(*attempts),
            handler: String::from_utf8(handler.to_vec()).ok()?,
            args: args.to_vec(),
        })
    }

    /// When it runs after a run that ends at `now`, if it does: at the first of its times that is
    /// yet to come, so that of those that have passed only one was made up for.
    pub(crate) fn next(&self, now: u64) -> Option<u64> {
        let passed = now.saturating_sub(self.base).checked_div(self.every)?;
        let steps = self.every.saturating_mul(passed.saturating_add(1));
        Some(self.base.saturating_add(steps))
    }
}

/// The key of a timer by name.
pub(crate) fn name_key(name: &str) -> Vec<u8> {
    [NAMED, name.as_bytes()].concat()
}

/// The name in such a key.
pub(crate) fn split_name(key: &[u8]) -> Option<String> {
    let name = key.strip_prefix(NAMED)?;
    String::from_utf8(name.to_vec()).ok()
}

/// The key of a timer by time.
pub(crate) fn due_key(at: u64, name: &str) -> Vec<u8> {
    [DUE, &at.to_be_bytes(), name.as_bytes()].concat()
}

/// Time and name in such a key.
pub(crate) fn split_due(key: &[u8]) -> Option<(u64, String)> {
    let (at, name) = key.strip_prefix(DUE)?.split_first_chunk()?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    Some((u64::from_be_bytes(*at), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(base: u64, every: u64) -> TimerRow {
        TimerRow {
            at: base + 3,
            base,
            every,
            attempts: 2,
            handler: "händler".to_owned(),
            args: b"{}".to_vec(),
        }
    }

    #[test]
    fn a_timer_reads_back_and_its_form_is_kept() {
        let row = row(5, 7);
        assert_eq!(TimerRow::read(&row.write()), Some(row.clone()));
        let hex: String = row
            .write()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "01080000000000000005000000000000000700000000000000020000000800\
             68c3a46e646c65727b7d"
        );
        let bytes = row.write();
        assert_eq!(TimerRow::read(&bytes[..30]), None);
        assert_eq!(TimerRow::read(&[&[2], &bytes[1..]].concat()), None);
        assert_eq!(split_name(&name_key("a")), Some("a".to_owned()));
        assert_eq!(split_due(&due_key(9, "a")), Some((9, "a".to_owned())));
        assert!(due_key(255, "z") < due_key(256, "a"), "by time first");
    }

    #[test]
    fn of_the_times_that_have_passed_only_one_is_made_up_for() {
        let periodic = row(100, 10);
        for (now, next) in [(90, 110), (100, 110), (109, 110), (110, 120), (1005, 1010)] {
            assert_eq!(periodic.next(now), Some(next), "at {now}");
        }
        assert_eq!(row(100, 0).next(1000), None);
    }
}
