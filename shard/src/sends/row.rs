//! How calls between contexts lie in agendas: what was sent at the sender's, what was taken at the
//! receiver's. Keys of timers begin with other bytes (`timers/row.rs`).
//!
//! | key | value |
//! |---|---|
//! | `O` | how many calls there are below `o` and what they take (8 each, little-endian); none without any |
//! | `o`, the other context (32), number (10) | a call that was sent and has not ended ([`SentRow`]) |
//! | `I` | how many there are below `i` (8, little-endian); none if that is 0 |
//! | `i`, the other context (32) | the last call of that context that was taken ([`TakenRow`]) |
//!
//! Numbers are big-endian in keys, so calls of a pair lie in their order.

use std::fmt;

use bytes::Bytes;
use corelet_store::ContextId;

use super::outcome::Outcome;

/// How much was sent and has not ended.
pub(crate) const SENT_SUM: &[u8] = b"O";
/// Calls that were sent, by receiver and number.
pub(crate) const SENT: &[u8] = b"o";
/// Of how many contexts calls were taken.
pub(crate) const TAKEN_COUNT: &[u8] = b"I";
/// The last call that was taken, by sender.
pub(crate) const TAKEN: &[u8] = b"i";

/// The number of a call among those of its sender: the stamp of the turn that has sent it, and its
/// place among those of that turn. It grows from one call to the next, also if the sender was
/// brought in from a copy meanwhile, whose agenda is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentNumber {
    /// The bits of a stamp.
    pub(crate) stamp: u64,
    pub(crate) place: u16,
}

impl SentNumber {
    const BYTES: usize = 10;

    /// Behind all that there are.
    pub(crate) const MAX: SentNumber = SentNumber {
        stamp: u64::MAX,
        place: u16::MAX,
    };

    fn to_bytes(self) -> [u8; SentNumber::BYTES] {
        let mut bytes = [0; SentNumber::BYTES];
        bytes[..8].copy_from_slice(&self.stamp.to_be_bytes());
        bytes[8..].copy_from_slice(&self.place.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; SentNumber::BYTES]) -> SentNumber {
        let (stamp, place) = bytes.split_at(8);
        let number = |bytes: &[u8]| {
            let more = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            bytes.iter().fold(0, more)
        };
        SentNumber {
            stamp: number(stamp),
            place: number(place) as u16,
        }
    }

    /// When it was sent, in microseconds since 1970.
    pub(crate) fn micros(self) -> u64 {
        corelet_store::Hlc::from_bits(self.stamp).micros()
    }

    /// What [`Display`](fmt::Display) has written.
    pub fn parse(text: &str) -> Option<SentNumber> {
        let (stamp, place) = text.split_once('.')?;
        let is_plain = stamp.len() == 16 && place.len() == 4;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(SentNumber {
            stamp: number(stamp).filter(|_| is_plain)?,
            place: u16::try_from(number(place)?).ok()?,
        })
    }
}

/// The call's name, for guests and people.
impl fmt::Display for SentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{:04x}", self.stamp, self.place)
    }
}

/// A call that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentRow {
    /// How many calls in a row were sent each by the one before it, with this one.
    pub(crate) depth: u32,
    /// How often its callback was tried, and failed.
    pub(crate) attempts: u32,
    pub(crate) method: String,
    pub(crate) args: Bytes,
    pub(crate) callback: Option<CallbackRow>,
}

/// What is called when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallbackRow {
    pub(crate) handler: String,
    /// JSON.
    pub(crate) data: Bytes,
}

/// The form of a row's value, which is its first byte.
const FORM: u8 = 1;

impl SentRow {
    /// All numbers little-endian: form (1), depth and attempts (4 each), whether there is a callback
    /// (1), lengths of the method's name, the arguments and the handler's name (4 each), these
    /// three, the callback's data.
    pub(crate) fn write(&self) -> Vec<u8> {
        let (handler, data) = match &self.callback {
            Some(callback) => (callback.handler.as_bytes(), &callback.data[..]),
            None => (&[][..], &[][..]),
        };
        let mut out = vec![FORM];
        out.extend_from_slice(&self.depth.to_le_bytes());
        out.extend_from_slice(&self.attempts.to_le_bytes());
        out.push(u8::from(self.callback.is_some()));
        for part in [self.method.as_bytes(), &self.args, handler] {
            let length = u32::try_from(part.len()).expect("a limit on calls is far below");
            out.extend_from_slice(&length.to_le_bytes());
        }
        for part in [self.method.as_bytes(), &self.args, handler, data] {
            out.extend_from_slice(part);
        }
        out
    }

    pub(crate) fn read(value: &[u8]) -> Option<SentRow> {
        let (&[FORM], rest) = value.split_first_chunk()? else {
            return None;
        };
        let (depth, rest) = rest.split_first_chunk()?;
        let (attempts, rest) = rest.split_first_chunk()?;
        let (&[has_callback], rest) = rest.split_first_chunk()?;
        let (method, rest) = length(rest)?;
        let (args, rest) = length(rest)?;
        let (handler, rest) = length(rest)?;
        let (method, rest) = rest.split_at_checked(method)?;
        let (args, rest) = rest.split_at_checked(args)?;
        let (handler, data) = rest.split_at_checked(handler)?;
        let callback = CallbackRow {
            handler: text(handler)?,
            data: Bytes::copy_from_slice(data),
        };
        Some(SentRow {
            depth: u32::from_le_bytes(*depth),
            attempts: u32::from_le_bytes(*attempts),
            method: text(method)?,
            args: Bytes::copy_from_slice(args),
            callback: (has_callback != 0).then_some(callback),
        })
    }
}

/// A length at the beginning, and what is behind it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*length) as usize, rest))
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// The last call of a context that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenRow {
    pub(crate) number: SentNumber,
    pub(crate) outcome: Outcome,
}

impl TakenRow {
    /// Form (1), number (10), outcome.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        out.extend_from_slice(&self.number.to_bytes());
        self.outcome.write(&mut out);
        out
    }

    pub(crate) fn read(value: &[u8]) -> Option<TakenRow> {
        let (&[FORM], rest) = value.split_first_chunk()? else {
            return None;
        };
        let (number, rest) = rest.split_first_chunk()?;
        Some(TakenRow {
            number: SentNumber::from_bytes(number),
            outcome: Outcome::read(rest)?,
        })
    }
}

/// The key of a call that was sent.
pub(crate) fn sent_key(to: ContextId, number: SentNumber) -> Vec<u8> {
    [SENT, to.as_bytes(), &number.to_bytes()].concat()
}

/// What all keys of calls to a context begin with.
pub(crate) fn sent_prefix(to: ContextId) -> Vec<u8> {
    [SENT, to.as_bytes()].concat()
}

/// The receiver and the number in the key of a call that was sent.
pub(crate) fn split_sent(key: &[u8]) -> Option<(ContextId, SentNumber)> {
    let rest = key.strip_prefix(SENT)?;
    let (to, number) = rest.split_first_chunk::<32>()?;
    let number = SentNumber::from_bytes(number.try_into().ok()?);
    Some((ContextId::from_bytes(*to), number))
}

/// The key under which it is noted what was taken of a context.
pub(crate) fn taken_key(from: ContextId) -> Vec<u8> {
    [TAKEN, from.as_bytes()].concat()
}

/// The sender in such a key.
pub(crate) fn split_taken(key: &[u8]) -> Option<ContextId> {
    let from = key.strip_prefix(TAKEN)?;
    Some(ContextId::from_bytes(from.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// They lie on disks: these bytes must not change.
    #[test]
    fn rows_lie_in_agendas_as_they_always_have() {
        let number = SentNumber {
            stamp: 0x0102_0304_0506_0708,
            place: 0x090a,
        };
        let other = ContextId::from_bytes([0xcc; 32]);
        let id = "cc".repeat(32);
        let key = hex(&sent_key(other, number));
        assert_eq!(key, format!("6f{id}0102030405060708090a"));
        assert_eq!(hex(&taken_key(other)), format!("69{id}"));
        assert_eq!((SENT_SUM, TAKEN_COUNT), (&b"O"[..], &b"I"[..]));
        let mut row = SentRow {
            depth: 3,
            attempts: 1,
            method: "add".to_owned(),
            args: Bytes::from_static(b"{\"by\":1}"),
            callback: Some(CallbackRow {
                handler: "told".to_owned(),
                data: Bytes::from_static(b"{}"),
            }),
        };
        let called = "6164647b226279223a317d";
        assert_eq!(
            hex(&row.write()),
            format!(
                "010300000001000000010300000008000000040000\
                     00{called}746f6c647b7d"
            )
        );
        row.callback = None;
        assert_eq!(
            hex(&row.write()),
            format!("01030000000100000000030000000800000000000000{called}")
        );
        for (outcome, expected) in [
            (Outcome::Done(Bytes::from_static(b"7")), "0037"),
            (Outcome::Refused(Bytes::from_static(b"null")), "016e756c6c"),
            (Outcome::failed("trapped"), "0274726170706564"),
        ] {
            let row = TakenRow { number, outcome };
            let expected = format!("010102030405060708090a{expected}");
            assert_eq!(hex(&row.write()), expected);
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_numbers_lie_in_their_order() {
        let callback = CallbackRow {
            handler: "told".to_owned(),
            data: Bytes::from_static(b"{}"),
        };
        for callback in [None, Some(callback)] {
            let row = SentRow {
                depth: 3,
                attempts: 1,
                method: "add".to_owned(),
                args: Bytes::from_static(b"{\"by\":1}"),
                callback,
            };
            let written = row.write();
            assert_eq!(SentRow::read(&written), Some(row));
            // Of one that is cut off nothing is believed but that its data are shorter.
            for length in 0..written.len() - 2 {
                assert_eq!(SentRow::read(&written[..length]), None, "{length}");
            }
        }
        let number = |stamp, place| SentNumber { stamp, place };
        let to = ContextId::from_bytes([7; 32]);
        let numbers = [
            number(1, 9),
            number(1, 300),
            number(256, 0),
            number(u64::MAX, 1),
        ];
        let keys = numbers.map(|number| sent_key(to, number));
        assert!(keys.is_sorted());
        for (number, key) in numbers.into_iter().zip(&keys) {
            assert!(key.starts_with(&sent_prefix(to)));
            assert_eq!(split_sent(key), Some((to, number)));
            assert_eq!(SentNumber::parse(&number.to_string()), Some(number));
        }
        assert_eq!(split_taken(&taken_key(to)), Some(to));
        for outcome in [
            Outcome::Done(Bytes::new()),
            Outcome::Refused(Bytes::from_static(b"null")),
            Outcome::failed("trapped"),
        ] {
            let row = TakenRow {
                number: numbers[1],
                outcome,
            };
            assert_eq!(TakenRow::read(&row.write()), Some(row));
        }
    }
}
