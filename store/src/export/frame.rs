//! The frame of an export: a row of chunks, each with a digest that covers all chunks
//! before it as well, so that none can be changed, left out or moved. What is in them
//! is in `row.rs`.
//!
//! All numbers little-endian. In front: magic "CLX1", version (2), what the file is (1), 0
//! (1). A chunk is the length of its content (4), its kind (1): 1 for rows, 2 for the
//! end, the content, and a digest (32): blake3 of length, kind and content, keyed with the digest
//! of the chunk before, and that of the first one with the hash of the front. The end
//! has no content, and nothing follows it.

use std::io::{self, Read, Write};

use crate::error::ImportError;
use crate::layout::BATCH_BYTES_MAX;

const MAGIC: &[u8; 4] = b"CLX1";

/// The version of the format that is written. It is read, and so are those before it; a
/// later one is refused.
pub const EXPORT_VERSION: u16 = 2;

/// The first version, which has no seals, proofs, answers and members.
const OLDEST: u16 = 1;

/// A chunk is closed when it has come to so many bytes.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// The longest content of a chunk: one row has to fit, and a delta is the longest.
pub(super) const CHUNK_BYTES_MAX: usize = BATCH_BYTES_MAX as usize + (4 << 20);

const FRONT_BYTES: usize = 8;
const CHUNK_HEADER_BYTES: usize = 5;
const ROWS: u8 = 1;
const END: u8 = 2;

/// What an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// One context.
    Context = 1,
    /// A whole data directory.
    Backup = 2,
}

/// Writes chunks.
pub(super) struct FrameWriter<W> {
    out: W,
    chain: [u8; 32],
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn begin(mut out: W, kind: ExportKind) -> io::Result<FrameWriter<W>> {
        let mut front = [0; FRONT_BYTES];
        front[..4].copy_from_slice(MAGIC);
        front[4..6].copy_from_slice(&EXPORT_VERSION.to_le_bytes());
        front[6] = kind as u8;
        out.write_all(&front)?;
        let chain = *blake3::hash(&front).as_bytes();
        Ok(FrameWriter { out, chain })
    }

    pub(super) fn rows(&mut self, content: &[u8]) -> io::Result<()> {
        self.chunk(ROWS, content)
    }

    pub(super) fn end(mut self) -> io::Result<W> {
        self.chunk(END, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn chunk(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let header = header(kind, content.len());
        self.chain = link(&self.chain, &header, content);
        self.out.write_all(&header)?;
        self.out.write_all(content)?;
        self.out.write_all(&self.chain)
    }
}

/// Reads chunks. Nothing of a chunk is handed out before its digest was compared.
pub(super) struct FrameReader<R> {
    input: R,
    chain: [u8; 32],
    kind: ExportKind,
    /// Bytes read so far, for messages.
    at: u64,
    has_ended: bool,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn begin(mut input: R) -> Result<FrameReader<R>, ImportError> {
        let mut front = [0; FRONT_BYTES];
        read_exact(&mut input, &mut front, 0)?;
        if front[..4] != *MAGIC {
            return Err(ImportError::damaged(0, "it does not begin with CLX1"));
        }
        let version = u16::from_le_bytes([front[4], front[5]]);
        if !(OLDEST..=EXPORT_VERSION).contains(&version) {
            return Err(ImportError::Version {
                found: version,
                supported: EXPORT_VERSION,
            });
        }
        let kind = match front[6..] {
            [1, 0] => ExportKind::Context,
            [2, 0] => ExportKind::Backup,
            _ => return Err(ImportError::damaged(6, "what it holds is unknown")),
        };
        Ok(FrameReader {
            input,
            chain: *blake3::hash(&front).as_bytes(),
            kind,
            at: FRONT_BYTES as u64,
            has_ended: false,
        })
    }

    pub(super) fn kind(&self) -> ExportKind {
        self.kind
    }

    /// How many bytes were read and are as they were written.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Reads the next rows into `content`; `false` at the end, behind which is nothing.
    pub(super) fn next(&mut self, content: &mut Vec<u8>) -> Result<bool, ImportError> {
        content.clear();
        if self.has_ended {
            return Ok(false);
        }
        let at = self.at;
        let damaged = |why| ImportError::damaged(at, why);
        let mut front = [0; CHUNK_HEADER_BYTES];
        read_exact(&mut self.input, &mut front, at)?;
        let [length @ .., kind] = front;
        let length = u32::from_le_bytes(length) as usize;
        if length > CHUNK_BYTES_MAX {
            return Err(damaged("a chunk is longer than any can be"));
        }
        // Memory is taken as bytes come, not on the word of a length.
        content.reserve(length.min(2 * CHUNK_BYTES));
        let taken = (&mut self.input).take(length as u64).read_to_end(content);
        if taken.map_err(|source| ImportError::Read { at, source })? < length {
            return Err(damaged("it ends too early"));
        }
        let mut digest = [0; 32];
        read_exact(&mut self.input, &mut digest, at)?;
        self.chain = link(&self.chain, &front, content);
        if digest != self.chain {
            return Err(damaged("a chunk is not what was written"));
        }
        self.at += (CHUNK_HEADER_BYTES + length + digest.len()) as u64;
        match (kind, content.is_empty()) {
            (ROWS, _) => Ok(true),
            (END, true) => {
                self.has_ended = true;
                let mut beyond = [0];
                let read = self.input.read(&mut beyond);
                match read.map_err(|source| ImportError::Read { at, source })? {
                    0 => Ok(false),
                    _ => Err(damaged("bytes follow its end")),
                }
            }
            _ => Err(damaged("a chunk is of an unknown kind")),
        }
    }
}

fn header(kind: u8, length: usize) -> [u8; CHUNK_HEADER_BYTES] {
    let length = u32::try_from(length).expect("chunks are far below 4 GiB");
    let [a, b, c, d] = length.to_le_bytes();
    [a, b, c, d, kind]
}

fn link(chain: &[u8; 32], header: &[u8], content: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(chain);
    hasher.update(header).update(content);
    *hasher.finalize().as_bytes()
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8], at: u64) -> Result<(), ImportError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ImportError::damaged(at, "it ends too early"),
        _ => ImportError::Read { at, source: error },
    })
}
