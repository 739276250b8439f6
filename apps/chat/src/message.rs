//! A message and the id it lies under. Who may append what is in `lib.rs`.

use std::fmt;

use corelet_sdk::key::{AsKey, Key, KeyBytes, Place};
use corelet_sdk::prelude::*;
use serde::de::{self, Deserializer};
use serde::ser::Serializer;

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The caller who appended it.
    pub author: String,
    /// What they said.
    pub text: String,
}

/// Where a message stands in its room; ordered by time, then sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// Nanoseconds since 1970, never less than the message before.
    time: u64,
    /// Counts messages of the same time.
    sequence: u32,
    /// Keeps apart what two nodes append at the same time.
    tail: [u8; TAIL_BYTES],
}

const TAIL_BYTES: usize = 8;
const ID_BYTES: usize = 8 + 4 + TAIL_BYTES;

impl MessageId {
    /// The id of a message at the time `now`, in any case behind `last`.
    pub fn behind(last: Option<MessageId>, now: u64, tail: [u8; TAIL_BYTES]) -> MessageId {
        match last {
            Some(last) if last.time >= now => match last.sequence.checked_add(1) {
                Some(sequence) => MessageId {
                    time: last.time,
                    sequence,
                    tail,
                },
                None => MessageId {
                    time: last.time + 1,
                    sequence: 0,
                    tail,
                },
            },
            _ => MessageId {
                time: now,
                sequence: 0,
                tail,
            },
        }
    }

    fn to_bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        bytes[..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tail);
        bytes
    }

    fn from_bytes(bytes: [u8; ID_BYTES]) -> MessageId {
        let (time, rest) = bytes.split_first_chunk().expect("20 bytes begin with 8");
        let (sequence, tail) = rest.split_first_chunk().expect("12 bytes begin with 4");
        MessageId {
            time: u64::from_be_bytes(*time),
            sequence: u32::from_be_bytes(*sequence),
            tail: tail.try_into().expect("8 bytes are left"),
        }
    }
}

impl AsKey<MessageId> for MessageId {
    fn write(&self, out: &mut KeyBytes, _: Place) {
        out.push(&self.to_bytes());
    }
}

impl Key for MessageId {
    fn read(input: &mut &[u8], place: Place) -> Option<Self> {
        Key::read(input, place).map(MessageId::from_bytes)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(ID_BYTES * 2);
        for byte in self.to_bytes() {
            text.push(DIGITS[usize::from(byte >> 4)].into());
            text.push(DIGITS[usize::from(byte & 15)].into());
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = MessageId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message id of 40 hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MessageId, E> {
                from_hex(text)
                    .map(MessageId::from_bytes)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

fn from_hex(text: &str) -> Option<[u8; ID_BYTES]> {
    let mut bytes = [0; ID_BYTES];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != ID_BYTES || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = (digit(high)? << 4 | digit(low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: [u8; TAIL_BYTES] = [9; TAIL_BYTES];

    /// Whatever the clock does, an id lies behind the one before.
    #[test]
    fn ids_only_go_forward() {
        let mut last = None;
        for now in [5, 5, 5, 3, 6, 6, u64::MAX - 1] {
            let id = MessageId::behind(last, now, TAIL);
            assert!(Some(id) > last, "at {now}");
            last = Some(id);
        }
    }

    #[test]
    fn a_full_sequence_moves_on_in_time() {
        let full = MessageId {
            time: 5,
            sequence: u32::MAX,
            tail: TAIL,
        };
        let next = MessageId::behind(Some(full), 5, TAIL);
        assert_eq!((next.time, next.sequence), (6, 0));
    }

    #[test]
    fn text_and_bytes_keep_the_id() {
        let id = MessageId::behind(None, 0x0102, TAIL);
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, "\"0000000000000102000000000909090909090909\"");
        assert_eq!(serde_json::from_str::<MessageId>(&text).unwrap(), id);
        for wrong in ["", "00", "0000000000000102000000000909090909090g09"] {
            let json = serde_json::to_string(wrong).unwrap();
            assert!(serde_json::from_str::<MessageId>(&json).is_err(), "{wrong}");
        }
    }
}
