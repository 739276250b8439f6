//! Numbers and bytes of both formats: LEB128 numbers in their shortest form.
//! What they mean is in `update.rs` and `saved.rs`.

use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use crate::ids::{ID_BYTES, NodeId};

/// Reads what [`put_number`] and its neighbours wrote.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The refusal of what is here.
    pub(super) fn expected(&self, expected: &'static str) -> SequenceError {
        SequenceError::Malformed {
            at: self.at,
            expected,
        }
    }

    pub(super) fn byte(&mut self, expected: &'static str) -> Result<u8, SequenceError> {
        Ok(self.take(1, expected)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, SequenceError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte("a number")?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(self.expected("a number of 64 bits in its shortest form"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.expected("a number of 64 bits"))
    }

    pub(super) fn counter(&mut self) -> Result<u32, SequenceError> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| self.expected("a number of 32 bits"))
    }

    /// A count of things of which each takes a byte at least.
    pub(super) fn count(&mut self) -> Result<usize, SequenceError> {
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.bytes.len() - self.at => Ok(count),
            _ => Err(self.expected("no more than there are bytes")),
        }
    }

    pub(super) fn key(&mut self) -> Result<NodeId, SequenceError> {
        let bytes = self.take(ID_BYTES, "a key of 32 bytes")?;
        Ok(NodeId::from_bytes(
            bytes.try_into().expect("as many as were taken"),
        ))
    }

    /// Content of one element at least.
    pub(super) fn content(&mut self, kind: SequenceKind) -> Result<Content, SequenceError> {
        let count = self.count()?;
        if count == 0 {
            return Err(self.expected("an element"));
        }
        match kind {
            SequenceKind::Text => match std::str::from_utf8(self.take(count, "text")?) {
                Ok(text) => Ok(Content::Text(text.to_owned())),
                Err(_) => Err(self.expected("UTF-8")),
            },
            SequenceKind::List => {
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(Box::from(self.value()?));
                }
                Ok(Content::Values(values))
            }
        }
    }

    /// All that is left, as what so many elements hold.
    pub(super) fn contents(
        &mut self,
        kind: SequenceKind,
        count: u64,
    ) -> Result<Contents<'_, 'a>, SequenceError> {
        let text = match kind {
            SequenceKind::List => None,
            SequenceKind::Text => {
                let rest = self.take(self.bytes.len() - self.at, "text")?;
                let text = std::str::from_utf8(rest).map_err(|_| self.expected("UTF-8"))?;
                if text.chars().count() as u64 != count {
                    return Err(self.expected("as much text as elements"));
                }
                Some(text)
            }
        };
        Ok(Contents { reader: self, text })
    }

    fn value(&mut self) -> Result<&'a [u8], SequenceError> {
        let len = self.count()?;
        self.take(len, "a value")
    }

    fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], SequenceError> {
        match self.bytes[self.at..].get(..len) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.expected(expected)),
        }
    }
}

/// What elements hold, one after the other.
pub(super) struct Contents<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Of a text, what is left of it.
    text: Option<&'a str>,
}

impl Contents<'_, '_> {
    /// What the next elements hold.
    pub(super) fn take(&mut self, count: usize) -> Result<Content, SequenceError> {
        let Some(text) = &mut self.text else {
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(Box::from(self.reader.value()?));
            }
            return Ok(Content::Values(values));
        };
        let end = text
            .char_indices()
            .nth(count)
            .map_or(text.len(), |(at, _)| at);
        let (taken, rest) = text.split_at(end);
        *text = rest;
        Ok(Content::Text(taken.to_owned()))
    }

    /// That there is nothing more.
    pub(super) fn end(self) -> Result<(), SequenceError> {
        match self.reader.is_empty() {
            true => Ok(()),
            false => Err(self.reader.expected("no more values than elements")),
        }
    }
}

pub(super) fn put_number(out: &mut Vec<u8>, number: impl Into<u64>) {
    let mut number = number.into();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_content(out: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Text(text) => {
            put_number(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Content::Values(values) => {
            put_number(out, values.len() as u64);
            for value in values {
                put_number(out, value.len() as u64);
                out.extend_from_slice(value);
            }
        }
    }
}
