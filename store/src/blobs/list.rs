//! Blobs in the order of their ids, a page at a time, and single ones: by the names and
//! sizes of their files; no content is read. A page reads the names of whole directories,
//! of which there are 256, and looks at as many files as it has. Any thread that may block.

use std::collections::BinaryHeap;
use std::fs;
use std::io;

use super::Shared;
use super::dirs::{Dirs, FANS};
use super::scan::{BlobEntry, entry};
use crate::error::BlobError;
use crate::ids::BlobId;

impl Shared {
    /// The first `limit` blobs whose ids come after `after`.
    pub(super) fn page(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobEntry>, BlobError> {
        let mut page = Vec::new();
        let first = after.map_or(0, |after| usize::from(after.as_bytes()[0]));
        for byte in first..FANS {
            let byte = u8::try_from(byte).expect("there is one for each byte");
            let mut after = after;
            loop {
                let wanted = limit - page.len();
                let ids = self.first_ids(byte, after, wanted)?;
                let is_last = ids.len() < wanted;
                after = ids.last().copied().or(after);
                for id in ids {
                    // Removed meanwhile, if it is not there.
                    page.extend(self.entry(id)?);
                }
                if page.len() >= limit {
                    return Ok(page);
                }
                // Otherwise some of what was asked for has gone, and there may be more here.
                if is_last {
                    break;
                }
            }
        }
        Ok(page)
    }

    /// In order, the first `limit` ids of one directory after `after`.
    fn first_ids(
        &self,
        byte: u8,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobId>, BlobError> {
        let fan = self.dirs.fan(byte);
        let failed = || BlobError::file("read the directory", &fan);
        let names = match fs::read_dir(&fan) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed()(error)),
        };
        let mut ids = BinaryHeap::new();
        for name in names {
            let name = name.map_err(failed())?.file_name();
            let id = name.to_str().and_then(|name| Dirs::id(byte, name));
            let Some(id) = id.filter(|id| after.is_none_or(|after| *id > after)) else {
                continue;
            };
            ids.push(id);
            if ids.len() > limit {
                ids.pop();
            }
        }
        Ok(ids.into_sorted_vec())
    }

    /// What the file of one blob says, if there is one.
    pub(super) fn entry(&self, id: BlobId) -> Result<Option<BlobEntry>, BlobError> {
        let path = self.dirs.file(&id);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => entry(id, &path, &found).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::file("look at", &path)(error)),
        }
    }
}
