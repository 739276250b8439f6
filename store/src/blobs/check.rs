//! Verifying every byte of every blob, in steps of one group, for `corelet check` and
//! for a slow scrub beside a running server. Damage is told, not mended. One thread at
//! a time, which may block. Start at [`BlobCheck::step`].

use std::path::PathBuf;
use std::sync::Arc;

use super::Shared;
use super::reader::BlobReader;
use super::scan::{BlobEntry, BlobScan, Listed};
use crate::error::BlobError;
use crate::ids::BlobId;

/// What one step of a check found.
#[derive(Debug)]
pub enum Checked {
    /// So many more bytes of a blob are right.
    Part {
        /// Bytes of content.
        bytes: u64,
    },
    /// All of a blob is right.
    Whole {
        /// Which one.
        blob: BlobId,
        /// Bytes of its content.
        bytes: u64,
    },
    /// A blob is damaged or cannot be read; the check has given it up.
    Unsound {
        /// Which one.
        blob: BlobId,
        /// What is wrong with it.
        error: BlobError,
    },
    /// Something that is no blob lies among them. Nobody minds but the operator.
    Foreign {
        /// Where.
        path: PathBuf,
    },
}

/// Goes through all blobs and verifies them.
#[derive(Debug)]
pub struct BlobCheck {
    shared: Arc<Shared>,
    scan: BlobScan,
    /// The blob in hand, and how far it is verified.
    open: Option<(BlobReader, u64)>,
}

impl BlobCheck {
    pub(super) fn new(shared: Arc<Shared>) -> BlobCheck {
        let scan = BlobScan::new(shared.clone());
        BlobCheck {
            shared,
            scan,
            open: None,
        }
    }

    /// What is known of one blob without reading it, if it is there.
    pub fn entry(&self, id: BlobId) -> Result<Option<BlobEntry>, BlobError> {
        self.shared.entry(id)
    }

    /// Goes on by a step, which reads a group at most, and says what it found; `None`
    /// when all is done. A blob that is removed meanwhile is skipped.
    ///
    /// Fails if a directory cannot be read; the next step goes on behind what failed.
    pub fn step(&mut self) -> Result<Option<Checked>, BlobError> {
        if let Some((reader, at)) = self.open.take() {
            return Ok(Some(self.go_on(reader, at)));
        }
        loop {
            let blob = match self.scan.step(1)?.pop() {
                None => return Ok(None),
                Some(Listed::Foreign(path)) => return Ok(Some(Checked::Foreign { path })),
                Some(Listed::Blob(entry)) => entry.id,
            };
            match self.shared.reader(blob) {
                Ok(None) => {}
                Ok(Some(reader)) => return Ok(Some(self.go_on(reader, 0))),
                Err(error) => return Ok(Some(Checked::Unsound { blob, error })),
            }
        }
    }

    fn go_on(&mut self, mut reader: BlobReader, at: u64) -> Checked {
        let blob = reader.id();
        let bytes = match reader.part(at) {
            Ok(part) => part.len() as u64,
            Err(error) => return Checked::Unsound { blob, error },
        };
        match bytes {
            0 => Checked::Whole { blob, bytes: at },
            bytes => {
                self.open = Some((reader, at + bytes));
                Checked::Part { bytes }
            }
        }
    }
}

impl Shared {
    /// Verifies all of a blob; says how long it is, or that it is not there.
    pub(super) fn check(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        let Some(mut reader) = self.reader(id)? else {
            return Ok(None);
        };
        let mut at = 0;
        loop {
            match reader.part(at)?.len() {
                0 => return Ok(Some(at)),
                bytes => at += bytes as u64,
            }
        }
    }
}
