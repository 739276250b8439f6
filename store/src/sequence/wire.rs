//! Numbers and bytes of both formats: LEB128 numbers in their shortest form.
//! What they mean is in `update.rs` and `saved.rs`.

use super::chunk::PIECE_MAX;
use super::content::{Content, SequenceKind};
use super::error::SequenceError;
use super::work;
use crate::ids::{ID_BYTES, NodeId};

/// Bytes of a list's values that are read in one go, unless one alone has more.
const VALUES_BYTES: usize = 64 << 10;

/// Reads what [`put_number`] and its neighbours wrote.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads on from where one has stopped.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// How far it has come.
    pub(super) fn at(&self) -> usize {
        self.at
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

    /// The first elements of a content that has `left` bytes of text, or values; and how many
    /// of these that were.
    pub(super) fn some_content(
        &mut self,
        kind: SequenceKind,
        left: usize,
    ) -> Result<(Content, usize), SequenceError> {
        match kind {
            SequenceKind::List => {
                let values = self.values(left.min(PIECE_MAX))?;
                let count = values.len();
                Ok((Content::Values(values), count))
            }
            SequenceKind::Text => {
                let some = self.take(left.min(PIECE_MAX), "text")?;
                work::bytes(some.len());
                let end = match std::str::from_utf8(some) {
                    Ok(_) => some.len(),
                    // A character goes on in what comes then.
                    Err(cut) if cut.error_len().is_none() && some.len() < left => cut.valid_up_to(),
                    Err(_) => 0,
                };
                self.at -= some.len() - end;
                match std::str::from_utf8(&some[..end]) {
                    Ok(text) if end > 0 => Ok((Content::Text(text.to_owned()), end)),
                    _ => Err(self.expected("UTF-8")),
                }
            }
        }
    }

    /// What the next elements hold, which are at most `most`: of a list perhaps fewer of them.
    pub(super) fn elements(
        &mut self,
        kind: SequenceKind,
        most: usize,
    ) -> Result<Content, SequenceError> {
        if kind == SequenceKind::List {
            return Ok(Content::Values(self.values(most)?));
        }
        // A character has four bytes at most, and none begins in the midst of one.
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(most.saturating_mul(4).saturating_add(1))];
        let is_first = |byte: &u8| byte & 0xc0 != 0x80;
        let mut firsts = window.iter().enumerate().filter(|(_, byte)| is_first(byte));
        let end = firsts.nth(most).map_or(window.len(), |(at, _)| at);
        work::bytes(end);
        match std::str::from_utf8(&window[..end]) {
            Ok(text) if text.chars().count() == most => {
                self.at += end;
                Ok(Content::Text(text.to_owned()))
            }
            Ok(_) => Err(self.expected("as much text as elements")),
            Err(_) => Err(self.expected("UTF-8")),
        }
    }

    /// At most so many values, fewer if they are large, but one at least.
    fn values(&mut self, most: usize) -> Result<Vec<Box<[u8]>>, SequenceError> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        while values.len() < most && bytes < VALUES_BYTES {
            let value = self.value()?;
            bytes += value.len();
            values.push(Box::from(value));
        }
        work::steps(values.len());
        work::bytes(bytes);
        Ok(values)
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

pub(super) fn put_number(out: &mut Vec<u8>, number: impl Into<u64>) {
    let mut number = number.into();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What elements hold, without how much that is.
pub(super) fn put_elements(out: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Text(text) => out.extend_from_slice(text.as_bytes()),
        Content::Values(values) => {
            for value in values {
                put_number(out, value.len() as u64);
                out.extend_from_slice(value);
            }
        }
    }
}
