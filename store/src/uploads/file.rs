//! The bytes of one upload's file: what was announced, then the pieces that have come, each
//! under its own hash, which also says where it belongs. So what a crash has cut off or left
//! unwritten is found, and everything before it is as it came. No table of uploads here
//! (`mod.rs`). Plain functions and a reader, for threads that may block.
//!
//! ```text
//! head:  magic 8, version 4, flags 1, packing 1, application 32, bytes 8, blake3 of these 32
//! piece: length 4, blake3 of place and content 32, content
//! ```

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};

use super::{NewUpload, Packing};
use crate::ids::{ApplicationId, ID_BYTES};

const MAGIC: [u8; 8] = *b"CORELETU";
pub(super) const VERSION: u32 = 1;
pub(super) const FIELDS_BYTES: usize = 8 + 4 + 1 + 1 + ID_BYTES + 8;

/// Bytes in front of the first piece.
pub(super) const HEAD_BYTES: usize = FIELDS_BYTES + 32;

/// Bytes in front of a piece's content.
pub(super) const PIECE_HEAD_BYTES: usize = 4 + 32;

/// The most bytes that a piece can have; what may come in one is the caller's to say.
pub(super) const PIECE_BYTES_MAX: usize = 1 << 30;

const HAS_APPLICATION: u8 = 1;
const HAS_BYTES: u8 = 2;

/// The head of a new upload's file.
pub(super) fn head(new: &NewUpload) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    let has = |flag: u8, is_there: bool| if is_there { flag } else { 0 };
    let flags =
        has(HAS_APPLICATION, new.application.is_some()) | has(HAS_BYTES, new.bytes.is_some());
    head.extend_from_slice(&[flags, new.packing as u8]);
    let application = new.application.map_or([0; ID_BYTES], |id| *id.as_bytes());
    head.extend_from_slice(&application);
    head.extend_from_slice(&new.bytes.unwrap_or(0).to_le_bytes());
    let digest = blake3::hash(&head);
    head.extend_from_slice(digest.as_bytes());
    head
}

/// What a head says; nothing if it is none of ours, or damaged.
pub(super) fn read_head(head: &[u8; HEAD_BYTES]) -> Option<NewUpload> {
    let (fields, digest) = head.split_at(FIELDS_BYTES);
    if blake3::hash(fields).as_bytes() != digest {
        return None;
    }
    let (magic, rest) = fields.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let ([flags, packing], rest) = rest.split_first_chunk::<2>()?;
    let (application, rest) = rest.split_first_chunk::<ID_BYTES>()?;
    let bytes = u64::from_le_bytes(rest.try_into().ok()?);
    if *magic != MAGIC || u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    Some(NewUpload {
        application: (flags & HAS_APPLICATION != 0)
            .then(|| ApplicationId::from_bytes(*application)),
        bytes: (flags & HAS_BYTES != 0).then_some(bytes),
        packing: Packing::of(*packing)?,
    })
}

/// A piece that begins at `offset` of the content, as it lies in the file.
pub(super) fn piece(offset: u64, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a piece is shorter than PIECE_BYTES_MAX");
    let mut piece = Vec::with_capacity(PIECE_HEAD_BYTES + content.len());
    piece.extend_from_slice(&length.to_le_bytes());
    piece.extend_from_slice(digest(offset, content).as_bytes());
    piece.extend_from_slice(content);
    piece
}

fn digest(offset: u64, content: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// The pieces of a file, one by one, as far as each is whole.
pub(super) struct Pieces {
    file: BufReader<File>,
    /// Bytes of the file behind those that were read.
    left: u64,
    /// Bytes of content so far.
    offset: u64,
    content: Vec<u8>,
}

impl Pieces {
    /// Those of a file of so many bytes that was read up to the end of its head.
    pub(super) fn of(file: File, file_bytes: u64) -> Pieces {
        Pieces {
            file: BufReader::with_capacity(256 << 10, file),
            left: file_bytes.saturating_sub(HEAD_BYTES as u64),
            offset: 0,
            content: Vec::new(),
        }
    }

    /// Bytes of content in the pieces that were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file that lie behind the last piece that was whole.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece's content; nothing behind the last one that is whole.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(room) = self.left.checked_sub(PIECE_HEAD_BYTES as u64) else {
            return Ok(None);
        };
        let mut head = [0; PIECE_HEAD_BYTES];
        self.file.read_exact(&mut head)?;
        let (length, expected) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().expect("four of them"));
        if u64::from(length) > room || length as usize > PIECE_BYTES_MAX {
            return Ok(None);
        }
        self.content.resize(length as usize, 0);
        self.file.read_exact(&mut self.content)?;
        if digest(self.offset, &self.content).as_bytes() != expected {
            return Ok(None);
        }
        self.left = room - u64::from(length);
        self.offset += u64::from(length);
        Ok(Some(&self.content))
    }
}

/// A piece of an upload is not as it came, which reading it has found out.
#[derive(Debug, thiserror::Error)]
#[error("a piece of the upload is not as it came; begin a new one")]
pub struct DamagedUpload;

/// Reads the content of a whole upload that is held. Fails with [`DamagedUpload`] inside where a piece
/// is not as it came.
pub struct UploadReader {
    pieces: Pieces,
    /// Of the content.
    bytes: u64,
    /// What was read of the newest piece.
    taken: usize,
}

impl UploadReader {
    pub(super) fn new(pieces: Pieces, bytes: u64) -> UploadReader {
        UploadReader {
            pieces,
            bytes,
            taken: 0,
        }
    }
}

impl Read for UploadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.pieces.content.len() {
            if self.pieces.offset == self.bytes {
                return Ok(0);
            }
            self.taken = 0;
            if self.pieces.next()?.is_none() {
                return Err(io::Error::new(ErrorKind::InvalidData, DamagedUpload));
            }
        }
        let rest = &self.pieces.content[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}
