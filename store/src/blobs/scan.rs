//! All blobs there are, a bounded number at a time, by the names and sizes of their
//! files; no content is read. In no order. What is written or removed meanwhile may be
//! listed or not; everything else is listed once. One thread at a time, which may block.

use std::fs::{self, Metadata, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Shared;
use super::dirs::{Dirs, FANS};
use super::format::content_bytes;
use crate::error::BlobError;
use crate::ids::BlobId;

/// A blob as its file's name and size say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Which one.
    pub id: BlobId,
    /// Bytes of its content, not verified; `None` if the file is as long as no blob's
    /// is, which is damage.
    pub bytes: Option<u64>,
    /// When it was last written or held, by the system's clock.
    pub touched: SystemTime,
}

/// Something in a directory of blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A blob.
    Blob(BlobEntry),
    /// What is no blob, and nothing of ours. It is left alone.
    Foreign(PathBuf),
}

/// Goes through all blobs.
#[derive(Debug)]
pub struct BlobScan {
    shared: Arc<Shared>,
    /// The directory after the open one.
    fan_next: usize,
    /// With the first byte of the ids in it.
    open: Option<(u8, ReadDir)>,
    /// What was met behind entries that were listed before it: for the next step.
    failed: Option<BlobError>,
}

impl BlobScan {
    pub(super) fn new(shared: Arc<Shared>) -> BlobScan {
        BlobScan {
            shared,
            fan_next: 0,
            open: None,
            failed: None,
        }
    }

    /// The next entries, at most `entries_max` and at least one, unless this is the end:
    /// then none.
    ///
    /// Fails if a directory or a file cannot be looked at; the next step goes on behind
    /// what failed. What was listed before it comes first, in a step of its own.
    pub fn step(&mut self, entries_max: usize) -> Result<Vec<Listed>, BlobError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut listed = Vec::new();
        while listed.len() < entries_max.max(1) {
            match self.next() {
                Ok(Some(entry)) => listed.push(entry),
                Ok(None) => break,
                Err(error) if listed.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(listed)
    }

    fn next(&mut self) -> Result<Option<Listed>, BlobError> {
        loop {
            let Some((byte, dir)) = &mut self.open else {
                match self.open_next()? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let byte = *byte;
            match dir.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    let id = name.to_str().and_then(|name| Dirs::id(byte, name));
                    // As a link is itself, not what it leads to.
                    match entry.metadata() {
                        Ok(found) => return listed(entry.path(), id, &found).map(Some),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => {
                            return Err(BlobError::file("look at", &entry.path())(error));
                        }
                    }
                }
                Some(Err(error)) => {
                    self.open = None;
                    let fan = self.shared.dirs.fan(byte);
                    return Err(BlobError::file("read the directory", &fan)(error));
                }
                None => self.open = None,
            }
        }
    }

    /// Opens the next directory; says whether there is one. Those that were never
    /// needed are not there.
    fn open_next(&mut self) -> Result<bool, BlobError> {
        while self.fan_next < FANS {
            let byte = u8::try_from(self.fan_next).expect("there is one for each byte");
            self.fan_next += 1;
            let fan = self.shared.dirs.fan(byte);
            match fs::read_dir(&fan) {
                Ok(dir) => {
                    self.open = Some((byte, dir));
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(BlobError::file("read the directory", &fan)(error)),
            }
        }
        Ok(false)
    }
}

fn listed(path: PathBuf, id: Option<BlobId>, found: &Metadata) -> Result<Listed, BlobError> {
    match id.filter(|_| found.is_file()) {
        None => Ok(Listed::Foreign(path)),
        Some(id) => entry(id, &path, found).map(Listed::Blob),
    }
}

/// A blob's entry, from what was found under its name.
pub(super) fn entry(id: BlobId, path: &Path, found: &Metadata) -> Result<BlobEntry, BlobError> {
    let touched = found.modified();
    Ok(BlobEntry {
        id,
        bytes: content_bytes(found.len()),
        touched: touched.map_err(BlobError::file("look at", path))?,
    })
}
