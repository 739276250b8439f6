//! What a host and its compile worker say to each other: one request, then one
//! answer, each a head of fixed size and what it announces.
//!
//! Both ends are the same program, so there is one version and no negotiation;
//! a head of anything else is an error that says so.

use std::io::{self, Read};

use crate::engine::CodeSettings;

/// Counts up whenever a head changes.
const VERSION: u32 = 1;
const REQUEST_MAGIC: [u8; 8] = *b"CORELETQ";
const ANSWER_MAGIC: [u8; 8] = *b"CORELETA";
const START_BYTES: usize = 8 + 4 + 32;
/// magic, version, engine, seven numbers
pub(super) const REQUEST_BYTES: usize = START_BYTES + 7 * 8;
/// magic, version, engine, kind, payload bytes
pub(super) const ANSWER_BYTES: usize = START_BYTES + 2 * 8;

/// What the host asks for. The component follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// Digest of the engine that the code is for.
    pub(super) engine: [u8; 32],
    pub(super) settings: CodeSettings,
    /// The process that asks.
    pub(super) parent: u64,
    pub(super) cpu_seconds: u64,
    pub(super) memory_bytes: u64,
    pub(super) compiled_bytes_max: u64,
    pub(super) wasm_bytes: u64,
}

/// What the worker answers. The payload follows: machine code, the validator's
/// words, nothing, or the number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Compiled,
    Invalid,
    OutOfMemory,
    TooLarge,
}

const KINDS: [Kind; 4] = [
    Kind::Compiled,
    Kind::Invalid,
    Kind::OutOfMemory,
    Kind::TooLarge,
];

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.settings.memories_max,
            self.settings.stack_bytes_max,
            self.parent,
            self.cpu_seconds,
            self.memory_bytes,
            self.compiled_bytes_max,
            self.wasm_bytes,
        ];
        start(REQUEST_MAGIC, &self.engine, &numbers)
    }

    /// Reads one from what may be anything.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Request> {
        let mut head = [0; REQUEST_BYTES];
        from.read_exact(&mut head)?;
        let (engine, numbers) = parse::<7>(REQUEST_MAGIC, &head).map_err(invalid)?;
        Ok(Request {
            engine,
            settings: CodeSettings {
                memories_max: numbers[0],
                stack_bytes_max: numbers[1],
            },
            parent: numbers[2],
            cpu_seconds: numbers[3],
            memory_bytes: numbers[4],
            compiled_bytes_max: numbers[5],
            wasm_bytes: numbers[6],
        })
    }
}

/// The head of an answer of the engine with this digest.
pub(super) fn answer_head(engine: &[u8; 32], kind: Kind, payload_bytes: u64) -> Vec<u8> {
    start(ANSWER_MAGIC, engine, &[kind as u64, payload_bytes])
}

/// Reads the head of a whole answer. It must be of the same engine, and end
/// where it says; the payload begins at [`ANSWER_BYTES`].
pub(super) fn parse_answer(answer: &[u8], expected: &[u8; 32]) -> Result<Kind, &'static str> {
    let head = answer
        .first_chunk::<ANSWER_BYTES>()
        .ok_or("its answer is too short")?;
    let (engine, [kind, bytes]) = parse::<2>(ANSWER_MAGIC, head)?;
    if engine != *expected {
        return Err("its engine is another one");
    }
    if bytes != (answer.len() - ANSWER_BYTES) as u64 {
        return Err("its answer does not end where it says");
    }
    let kind = KINDS.into_iter().find(|known| *known as u64 == kind);
    kind.ok_or("its answer is of no known kind")
}

fn start(magic: [u8; 8], engine: &[u8; 32], numbers: &[u64]) -> Vec<u8> {
    let mut head = Vec::with_capacity(START_BYTES + numbers.len() * 8);
    head.extend_from_slice(&magic);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(engine);
    for number in numbers {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head
}

fn parse<const NUMBERS: usize>(
    magic: [u8; 8],
    head: &[u8],
) -> Result<([u8; 32], [u64; NUMBERS]), &'static str> {
    let (start, rest) = head
        .split_first_chunk::<START_BYTES>()
        .ok_or("it is too short")?;
    if start[..8] != magic {
        return Err("it does not begin as it should");
    }
    if start[8..12] != VERSION.to_le_bytes() {
        return Err("it has another version");
    }
    let mut engine = [0; 32];
    engine.copy_from_slice(&start[12..]);
    let mut numbers = [0; NUMBERS];
    for (number, bytes) in numbers.iter_mut().zip(rest.as_chunks::<8>().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    Ok((engine, numbers))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_through_and_anything_else_is_refused() {
        let request = Request {
            engine: [7; 32],
            settings: CodeSettings {
                memories_max: 1,
                stack_bytes_max: 2,
            },
            parent: 3,
            cpu_seconds: 4,
            memory_bytes: 5,
            compiled_bytes_max: 6,
            wasm_bytes: 7,
        };
        let bytes = request.encode();
        assert_eq!(Request::read(&mut &bytes[..]).unwrap(), request);
        for at in 0..12 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            Request::read(&mut &bytes[..]).unwrap_err();
        }
        Request::read(&mut &bytes[..bytes.len() - 1]).unwrap_err();
    }

    #[test]
    fn an_answer_must_be_whole_known_and_of_the_same_engine() {
        let mut answer = answer_head(&[7; 32], Kind::Invalid, 3);
        answer.extend_from_slice(b"why");
        let parsed = parse_answer(&answer, &[7; 32]);
        assert_eq!(parsed, Ok(Kind::Invalid));
        assert!(parse_answer(&answer, &[8; 32]).is_err());
        assert!(parse_answer(&answer[..answer.len() - 1], &[7; 32]).is_err());
        assert!(parse_answer(b"CORELETA", &[7; 32]).is_err());
        let mut unknown = answer.clone();
        unknown[START_BYTES] = 99;
        assert!(parse_answer(&unknown, &[7; 32]).is_err());
        answer.push(0);
        assert!(parse_answer(&answer, &[7; 32]).is_err());
    }
}
