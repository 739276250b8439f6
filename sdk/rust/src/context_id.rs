//! The id of a context, as text and as bytes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// The digits of base58, which leave out those that look alike.
const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// No 32 bytes have a longer text.
const CHARS_MAX: usize = 44;

/// The id of a context. Its text, which is also how it stands in arguments and answers, is the
/// one that the server shows and takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId([u8; 32]);

/// Text that is no [`ContextId`]: it has to be base58 of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadContextId;

impl ContextId {
    /// The id of these bytes, such as [`context::id`](crate::context::id) gives.
    pub const fn from_bytes(bytes: [u8; 32]) -> ContextId {
        ContextId(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for ContextId {
    type Err = BadContextId;

    fn from_str(text: &str) -> Result<ContextId, BadContextId> {
        if text.len() > CHARS_MAX {
            return Err(BadContextId);
        }
        let mut bytes = [0; 32];
        for digit in text.bytes() {
            let value = DIGITS.iter().position(|known| *known == digit);
            let mut carry = value.ok_or(BadContextId)?;
            for byte in bytes.iter_mut().rev() {
                carry += usize::from(*byte) * 58;
                *byte = (carry & 0xff) as u8;
                carry >>= 8;
            }
            if carry > 0 {
                return Err(BadContextId);
            }
        }
        // Zeros in front are digits of their own, so that each id has one text.
        let ones = text.bytes().take_while(|digit| *digit == DIGITS[0]).count();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        match ones == zeros {
            true => Ok(ContextId(bytes)),
            false => Err(BadContextId),
        }
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits to the base of 58, the least first.
        let mut digits = Vec::with_capacity(CHARS_MAX);
        for byte in self.0 {
            let mut carry = u32::from(byte);
            for digit in &mut digits {
                carry += u32::from(*digit) << 8;
                *digit = (carry % 58) as u8;
                carry /= 58;
            }
            while carry > 0 {
                digits.push((carry % 58) as u8);
                carry /= 58;
            }
        }
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        let zeros = std::iter::repeat_n(0, zeros);
        let digits = zeros.chain(digits.into_iter().rev());
        let text: String = digits
            .map(|digit: u8| char::from(DIGITS[usize::from(digit)]))
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextId({self})")
    }
}

impl fmt::Display for BadContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a context must be the base58 text of 32 bytes")
    }
}

impl std::error::Error for BadContextId {}

impl Serialize for ContextId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContextId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ContextId, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_the_one_that_everybody_knows() {
        let all: [u8; 32] = std::array::from_fn(|n| n as u8);
        for (bytes, text) in [
            ([0; 32], "11111111111111111111111111111111"),
            ([255; 32], "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG"),
            (all, "1thX6LZfHDZZKUs92febYZhYRcXddmzfzF2NvTkPNE"),
        ] {
            let id = ContextId::from_bytes(bytes);
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    proptest! {
        #[test]
        fn an_id_comes_back_from_its_text(bytes: [u8; 32], zeros in 0..32_usize) {
            let mut bytes = bytes;
            bytes[..zeros].fill(0);
            let id = ContextId::from_bytes(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.parse(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(&json, &format!("\"{text}\""));
            prop_assert_eq!(serde_json::from_str::<ContextId>(&json).unwrap(), id);
            for wrong in [format!("1{text}"), format!("{text}0"), text[1..].to_owned()] {
                let parsed = wrong.parse::<ContextId>();
                prop_assert!(parsed.is_err() || parsed != Ok(id));
            }
        }
    }
}
