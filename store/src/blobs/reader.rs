//! Reading one blob: any part of it, each group held against the blob's id before a
//! byte of it is handed out. What does not fit is an error and is never served. Belongs
//! to one thread at a time, which may block; memory is one group and 32 bytes for each
//! group of the blob. Start at [`BlobReader::part`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::format::{FOOTER, content_bytes, outline_bytes};
use super::tree::{GROUP, GroupHash, group_hash, root};
use crate::error::BlobError;
use crate::ids::{BlobId, ID_BYTES};

/// An open blob. It stays readable when the blob is removed meanwhile.
#[derive(Debug)]
pub struct BlobReader {
    id: BlobId,
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Verified. Empty for a content of one group.
    outline: Vec<GroupHash>,
    /// The verified content of a group, and its number; `None` while there is none.
    group: Vec<u8>,
    group_number: Option<u64>,
}

impl BlobReader {
    /// Opens what is in `file` as the blob `id`: verifies the outline, and the last
    /// group, without which nobody knows how long the content is.
    pub(super) fn new(id: BlobId, file: File, path: PathBuf) -> Result<BlobReader, BlobError> {
        let mut reader = BlobReader::measured(id, file, path)?;
        reader.read_outline()?;
        reader.read_group(reader.bytes.saturating_sub(1) / GROUP)?;
        Ok(reader)
    }

    /// As long as the file says, which ends as a blob does. Nothing else is verified.
    pub(super) fn measured(id: BlobId, file: File, path: PathBuf) -> Result<BlobReader, BlobError> {
        let mut reader = BlobReader {
            id,
            file,
            path,
            bytes: 0,
            outline: Vec::new(),
            group: Vec::new(),
            group_number: None,
        };
        let found = reader.file.metadata();
        let found = found.map_err(BlobError::file("look at", &reader.path))?;
        if !found.is_file() {
            return Err(reader.damaged(0, "it is no file"));
        }
        reader.bytes = content_bytes(found.len())
            .ok_or_else(|| reader.damaged(0, "no blob is as long as it"))?;
        reader.read_footer()?;
        Ok(reader)
    }

    /// The blob.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Bytes of its content, verified.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The content from `offset` to the end of its group, at most
    /// [`BLOB_GROUP_BYTES`](super::BLOB_GROUP_BYTES); nothing if the content ends before `offset`. To read all
    /// of it, begin at 0 and go on behind each part. The group is kept, so the next
    /// part of the same group costs nothing.
    ///
    /// Fails if the group is damaged or cannot be read; other groups can be read
    /// all the same.
    pub fn part(&mut self, offset: u64) -> Result<&[u8], BlobError> {
        if offset >= self.bytes {
            return Ok(&[]);
        }
        let number = offset / GROUP;
        if self.group_number != Some(number) {
            self.read_group(number)?;
        }
        let begin = usize::try_from(offset % GROUP).expect("a group fits into memory");
        Ok(&self.group[begin..])
    }

    /// Fills `buffer` with the content from `offset` on; says how many bytes these
    /// are, which are fewer only where the content ends. On an error, what is in
    /// `buffer` is verified or was there before.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, BlobError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let part = self.part(offset.saturating_add(filled as u64))?;
            if part.is_empty() {
                break;
            }
            let bytes = part.len().min(buffer.len() - filled);
            buffer[filled..filled + bytes].copy_from_slice(&part[..bytes]);
            filled += bytes;
        }
        Ok(filled)
    }

    fn read_footer(&mut self) -> Result<(), BlobError> {
        let mut footer = [0; FOOTER.len()];
        let offset = self.bytes + outline_bytes(self.bytes);
        self.read_exactly(offset, &mut footer)?;
        match footer == FOOTER {
            true => Ok(()),
            false => Err(self.damaged(offset, "it does not end as a blob of format 1")),
        }
    }

    fn read_outline(&mut self) -> Result<(), BlobError> {
        let bytes = usize::try_from(outline_bytes(self.bytes)).expect("an outline is bounded");
        if bytes == 0 {
            return Ok(());
        }
        let mut outline = vec![[0; ID_BYTES]; bytes / ID_BYTES];
        self.read_exactly(self.bytes, outline.as_flattened_mut())?;
        if root(&outline) != self.id {
            return Err(self.damaged(self.bytes, "its outline is that of another content"));
        }
        self.outline = outline;
        Ok(())
    }

    /// Puts a verified group into `group`, or nothing.
    fn read_group(&mut self, number: u64) -> Result<(), BlobError> {
        let offset = number * GROUP;
        let bytes = (self.bytes - offset).min(GROUP);
        let bytes = usize::try_from(bytes).expect("a group fits into memory");
        self.group_number = None;
        let mut group = std::mem::take(&mut self.group);
        group.resize(bytes, 0);
        self.read_exactly(offset, &mut group)?;
        if !self.is_right(number, &group) {
            return Err(self.damaged(offset, "its content does not have the hash that it should"));
        }
        self.group = group;
        self.group_number = Some(number);
        Ok(())
    }

    fn is_right(&self, number: u64, group: &[u8]) -> bool {
        let Ok(place) = usize::try_from(number) else {
            return false;
        };
        match self.outline.get(place) {
            Some(hash) => group_hash(number, group) == *hash,
            // Without an outline there is one group, or none.
            None => self.outline.is_empty() && place == 0 && BlobId::of(group) == self.id,
        }
    }

    fn read_exactly(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BlobError> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(offset, "it was cut off while it was being read"))
            }
            Err(error) => Err(BlobError::file("read", &self.path)(error)),
        }
    }

    fn damaged(&self, offset: u64, why: &'static str) -> BlobError {
        BlobError::Damaged {
            blob: self.id,
            offset,
            why,
        }
    }
}
