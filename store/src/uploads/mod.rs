//! Uploads that come in pieces: each has a file of its own, in which it waits until it is
//! used, ended or too old, over restarts too. An offset that is answered is on disk. What
//! belongs to whom, and what is made of it, is not known here. How a file looks is in
//! `file.rs`.
//!
//! One table for the process, shared by the threads that work on files; no shard comes here,
//! as every call may wait for the disk. Start at [`Uploads::append`].

#![expect(
    clippy::disallowed_types,
    reason = "shared by threads that work on files; no shard comes here"
)]

mod file;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

pub use self::file::{DamagedUpload, UploadReader};

use self::file::{HEAD_BYTES, PIECE_BYTES_MAX, Pieces};
use crate::error::UploadError;
use crate::ids::{ApplicationId, UploadId};

/// What an upload's file is called behind its id.
const EXTENSION: &str = "upload";

/// What all uploads may take, and for how long.
#[derive(Clone, Debug)]
pub struct UploadBounds {
    /// How many there may be.
    pub count_max: usize,
    /// Bytes of all of them: announced, or of their files if these are more.
    pub bytes_max: u64,
    /// Bytes of one, and what that is called where it can be changed.
    pub each: (&'static str, u64),
    /// From when something came last to when it goes.
    pub age_max: Duration,
    /// The same to when it goes if another one needs its place.
    pub idle_max: Duration,
}

impl Default for UploadBounds {
    fn default() -> Self {
        UploadBounds {
            count_max: 32,
            bytes_max: 1 << 30,
            each: ("the size of an upload", 128 << 20),
            age_max: Duration::from_secs(24 * 3600),
            idle_max: Duration::from_secs(600),
        }
    }
}

/// How a content is packed while it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// As it is.
    Plain = 0,
    /// RFC 1952.
    Gzip = 1,
    /// RFC 8878.
    Zstd = 2,
}

impl Packing {
    const ALL: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

    fn of(number: u8) -> Option<Packing> {
        Packing::ALL
            .into_iter()
            .find(|packing| *packing as u8 == number)
    }

    /// Its name in HTTP.
    pub const fn name(self) -> &'static str {
        match self {
            Packing::Plain => "identity",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// The one of a name in HTTP, if it is one of ours.
    pub fn named(name: &str) -> Option<Packing> {
        let mut all = Packing::ALL.into_iter();
        all.find(|packing| name.eq_ignore_ascii_case(packing.name()))
    }
}

/// What is said of an upload before it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// Of what it will be when it is unpacked, if that is known.
    pub application: Option<ApplicationId>,
    /// Bytes that come, if that is known.
    pub bytes: Option<u64>,
    /// How they are packed.
    pub packing: Packing,
}

/// What is known of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// What was said of it.
    pub announced: NewUpload,
    /// Bytes of it that are on disk.
    pub offset: u64,
    /// When something came last.
    pub touched: SystemTime,
    /// Why its file cannot be read, if it cannot. Then it can only be ended, and its offset
    /// is nothing.
    pub unreadable: Option<String>,
}

/// One in the table.
struct Entry {
    announced: NewUpload,
    /// Bytes of content on disk; none until the file was looked through after a start.
    offset: Option<u64>,
    /// Bytes of its file.
    file_bytes: u64,
    touched: SystemTime,
    is_in_use: bool,
}

impl Entry {
    /// What it counts among the bytes of all.
    fn counted(&self) -> u64 {
        self.file_bytes.max(self.announced.bytes.unwrap_or(0))
    }
}

/// All uploads of this node. Clones are the same.
#[derive(Clone)]
pub struct Uploads {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    bounds: UploadBounds,
    table: Mutex<HashMap<UploadId, Entry>>,
}

/// Somebody works on the file of an upload, and nobody else until this is dropped.
pub struct HeldUpload {
    shared: Arc<Shared>,
    id: UploadId,
}

impl HeldUpload {
    /// Of the upload.
    pub fn id(&self) -> UploadId {
        self.id
    }
}

impl Drop for HeldUpload {
    fn drop(&mut self) {
        if let Some(entry) = self.shared.lock().get_mut(&self.id) {
            entry.is_in_use = false;
            if std::thread::panicking() {
                entry.offset = None;
            }
        }
    }
}

impl Shared {
    /// A panic elsewhere leaves a table that is still one.
    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Entry>> {
        self.table
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn path(&self, id: UploadId) -> PathBuf {
        self.dir.join(format!("{id}.{EXTENSION}"))
    }
}

impl Uploads {
    /// The uploads in `dir`, which is made if it is not there. What is in there of a name that
    /// is an upload's, and is none, is removed; of others nothing is touched.
    ///
    /// Fails if the directory cannot be made or read.
    pub fn open(dir: &Path, bounds: UploadBounds) -> Result<Uploads, UploadError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(UploadError::file("make the directory", dir))?;
        let mut table = HashMap::new();
        let files = fs::read_dir(dir).map_err(UploadError::file("list", dir))?;
        for found in files {
            let path = found.map_err(UploadError::file("list", dir))?.path();
            let Some(id) = id_of(&path) else { continue };
            match found_at(&path) {
                Ok(Some(entry)) => drop(table.insert(id, entry)),
                Ok(None) => {
                    tracing::warn!(path = %path.display(), "removing an upload's file that has no whole head");
                    if let Err(error) = fs::remove_file(&path) {
                        tracing::warn!(%error, path = %path.display(), "it stays");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "leaving out an upload that cannot be read");
                }
            }
        }
        Ok(Uploads {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                bounds,
                table: Mutex::new(table),
            }),
        })
    }

    /// Begins one. It is on disk when this returns.
    ///
    /// Fails if there are as many as there may be, if it is too large, or the disk is full.
    pub fn create(&self, new: NewUpload, now: SystemTime) -> Result<Upload, UploadError> {
        let Shared { bounds, .. } = &*self.shared;
        self.check_length(&new, new.bytes.unwrap_or(0))?;
        let id = UploadId::random();
        let head = file::head(&new);
        let entry = Entry {
            announced: new.clone(),
            offset: Some(0),
            file_bytes: head.len() as u64,
            touched: now,
            is_in_use: true,
        };
        let path = self.shared.path(id);
        {
            let mut table = self.shared.lock();
            let (used, max) = (table.len() as u64 + 1, bounds.count_max as u64);
            if used > max {
                let limit = "uploads.count_max";
                return Err(UploadError::Full { limit, used, max });
            }
            self.check_room(&table, entry.counted())?;
            table.insert(id, entry);
        }
        let in_use = HeldUpload {
            shared: Arc::clone(&self.shared),
            id,
        };
        let made = (|| {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all_at(&head, 0)?;
            file.sync_all()?;
            // So that its name is there after a power cut.
            File::open(&self.shared.dir)?.sync_all()
        })();
        if let Err(error) = made {
            self.forget(id);
            return Err(UploadError::file("write", &path)(error));
        }
        drop(in_use);
        Ok(Upload {
            id,
            announced: new,
            offset: 0,
            touched: now,
            unreadable: None,
        })
    }

    /// Adds the bytes that come at `offset`. They are on disk when this returns.
    ///
    /// Fails if the upload has not got exactly there, would get too long, or is being used; if
    /// there is no room for it, or the disk fails. Then it is as it was before.
    pub fn append(
        &self,
        id: UploadId,
        offset: u64,
        content: &[u8],
        now: SystemTime,
    ) -> Result<Upload, UploadError> {
        let in_use = self.begin(id, now)?;
        let mut upload = self.looked_through(&in_use)?;
        if offset != upload.offset {
            return Err(UploadError::Offset {
                offset: upload.offset,
                given: offset,
            });
        }
        let got = offset.saturating_add(content.len() as u64);
        self.check_length(&upload.announced, got)?;
        if content.is_empty() {
            return Ok(upload);
        }
        assert!(
            content.len() <= PIECE_BYTES_MAX,
            "bounded by who takes it in"
        );
        let piece = file::piece(offset, content);
        let end = {
            let mut table = self.shared.lock();
            let entry = table
                .get_mut(&id)
                .ok_or(UploadError::Unknown { upload: id })?;
            let (end, counted) = (entry.file_bytes, entry.counted());
            entry.file_bytes += piece.len() as u64;
            let more = entry.counted() - counted;
            entry.file_bytes = end;
            self.check_room(&table, more)?;
            if let Some(entry) = table.get_mut(&id) {
                // Reserved.
                entry.file_bytes = end + piece.len() as u64;
            }
            end
        };
        let path = self.shared.path(id);
        let written = OpenOptions::new().write(true).open(&path).and_then(|file| {
            let written = file
                .write_all_at(&piece, end)
                .and_then(|()| file.sync_data());
            // Half a piece would be found out anyway; this gives its room back.
            written.inspect_err(|_| drop(file.set_len(end)))
        });
        let mut table = self.shared.lock();
        let entry = table
            .get_mut(&id)
            .ok_or(UploadError::Unknown { upload: id })?;
        match written {
            Ok(()) => {
                (upload.offset, upload.touched) = (got, now);
                (entry.offset, entry.touched) = (Some(got), now);
                Ok(upload)
            }
            Err(error) => {
                // What is there is found out when somebody asks.
                (entry.offset, entry.file_bytes) = (None, end);
                drop(table);
                Err(self.failed(id, "write", error))
            }
        }
    }

    /// What is known of one. Looks its file through if it has not been since the start.
    pub fn show(&self, id: UploadId, now: SystemTime) -> Result<Upload, UploadError> {
        let known = {
            let table = self.shared.lock();
            let entry = self.living(&table, id, now)?;
            entry.offset.map(|offset| entry.shown(id, offset))
        };
        match known {
            Some(upload) => Ok(upload),
            None => self.looked_through(&self.begin(id, now)?),
        }
    }

    /// All that are not too old, by id. One that is being looked through for another is left
    /// out; one that cannot be read is told as such, and keeps none of the others back.
    pub fn list(&self, now: SystemTime) -> Vec<Upload> {
        let ids: Vec<UploadId> = self.shared.lock().keys().copied().collect();
        let mut all = Vec::new();
        for id in ids {
            match self.show(id, now) {
                Ok(upload) => all.push(upload),
                Err(UploadError::Unknown { .. } | UploadError::InUse { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, upload = %id, "an upload cannot be read");
                    let table = self.shared.lock();
                    all.extend(table.get(&id).map(|entry| Upload {
                        unreadable: Some(error.to_string()),
                        ..entry.shown(id, 0)
                    }));
                }
            }
        }
        all.sort_by_key(|upload| upload.id);
        all
    }

    /// Takes one into use: until this is dropped nobody else adds to it or ends it.
    pub fn hold(&self, id: UploadId, now: SystemTime) -> Result<HeldUpload, UploadError> {
        self.begin(id, now)
    }

    /// Reads one that has come as a whole.
    pub fn reader(&self, held: &HeldUpload) -> Result<(Upload, UploadReader), UploadError> {
        let id = held.id;
        let upload = self.looked_through(held)?;
        let offset = upload.offset;
        if let Some(bytes) = upload.announced.bytes.filter(|bytes| *bytes != offset) {
            return Err(UploadError::Incomplete { offset, bytes });
        }
        let pieces = pieces_at(&self.shared.path(id));
        let pieces = pieces.map_err(|error| self.failed(id, "read", error))?;
        Ok((upload, UploadReader::new(pieces, offset)))
    }

    /// Ends one, and removes what has come of it.
    pub fn remove(&self, id: UploadId, now: SystemTime) -> Result<(), UploadError> {
        self.remove_held(&self.begin(id, now)?)
    }

    /// The same of one that is in use by whoever asks.
    pub fn remove_held(&self, held: &HeldUpload) -> Result<(), UploadError> {
        self.remove_file(held)
    }

    /// Ends those to which nothing has come for the longest time, until there is room for a new
    /// one of so many bytes: only of those to which nothing has come for [`idle_max`]. Counts
    /// them.
    ///
    /// [`idle_max`]: UploadBounds::idle_max
    pub fn make_room(&self, bytes: u64, now: SystemTime) -> usize {
        let UploadBounds {
            count_max,
            bytes_max,
            idle_max,
            ..
        } = self.shared.bounds;
        let bytes = bytes.max(HEAD_BYTES as u64);
        if bytes > bytes_max {
            return 0;
        }
        let mut ended = 0;
        while let Some(held) = self.longest_idle(idle_max, now) {
            let (count, used) = self.sum();
            if count < count_max as u64 && used.saturating_add(bytes) <= bytes_max {
                break;
            }
            match self.remove_file(&held) {
                Ok(()) => {
                    tracing::info!(upload = %held.id, "an idle upload has made room for another");
                    ended += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, upload = %held.id, "an idle upload stays");
                    break;
                }
            }
        }
        ended
    }

    fn longest_idle(&self, idle_max: Duration, now: SystemTime) -> Option<HeldUpload> {
        let idle = {
            let table = self.shared.lock();
            let idle = table.iter().filter(|(_, entry)| {
                let idle = now.duration_since(entry.touched);
                !entry.is_in_use && idle.is_ok_and(|idle| idle > idle_max)
            });
            idle.min_by_key(|(_, entry)| entry.touched)
                .map(|(id, _)| *id)
        };
        self.claim(idle?)
    }

    /// Removes those to which nothing has come for too long; counts them.
    pub fn sweep(&self, now: SystemTime) -> usize {
        let old: Vec<UploadId> = {
            let table = self.shared.lock();
            let old = table.iter().filter(|(_, entry)| self.is_old(entry, now));
            old.map(|(id, _)| *id).collect()
        };
        let mut swept = 0;
        for id in old {
            let Some(in_use) = self.claim(id) else {
                continue;
            };
            match self.remove_file(&in_use) {
                Ok(()) => swept += 1,
                Err(error) => tracing::warn!(%error, upload = %id, "an old upload stays"),
            }
        }
        swept
    }

    /// How many there are, and the bytes that they count.
    pub fn sum(&self) -> (u64, u64) {
        let table = self.shared.lock();
        (table.len() as u64, table.values().map(Entry::counted).sum())
    }

    /// What a failure means for one that there was. Whose file somebody has removed is no upload
    /// any more.
    fn failed(&self, id: UploadId, doing: &'static str, error: std::io::Error) -> UploadError {
        if error.kind() == std::io::ErrorKind::NotFound {
            tracing::warn!(upload = %id, "an upload's file is gone, and so it has ended");
            self.forget(id);
            return UploadError::Unknown { upload: id };
        }
        UploadError::file(doing, &self.shared.path(id))(error)
    }

    fn remove_file(&self, in_use: &HeldUpload) -> Result<(), UploadError> {
        let path = self.shared.path(in_use.id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(UploadError::file("remove", &path)(error));
            }
            // It is gone, whoever has removed it.
            Ok(()) | Err(_) => {}
        }
        self.forget(in_use.id);
        Ok(())
    }

    fn forget(&self, id: UploadId) {
        self.shared.lock().remove(&id);
    }

    /// Takes one into use.
    fn begin(&self, id: UploadId, now: SystemTime) -> Result<HeldUpload, UploadError> {
        self.living(&self.shared.lock(), id, now)?;
        self.claim(id).ok_or(UploadError::InUse { upload: id })
    }

    fn claim(&self, id: UploadId) -> Option<HeldUpload> {
        let mut table = self.shared.lock();
        let entry = table.get_mut(&id).filter(|entry| !entry.is_in_use)?;
        entry.is_in_use = true;
        Some(HeldUpload {
            shared: Arc::clone(&self.shared),
            id,
        })
    }

    /// One that is too old is as good as swept.
    fn living<'t>(
        &self,
        table: &'t HashMap<UploadId, Entry>,
        id: UploadId,
        now: SystemTime,
    ) -> Result<&'t Entry, UploadError> {
        let entry = table.get(&id).filter(|entry| !self.is_old(entry, now));
        entry.ok_or(UploadError::Unknown { upload: id })
    }

    fn is_old(&self, entry: &Entry, now: SystemTime) -> bool {
        let age = now.duration_since(entry.touched);
        age.is_ok_and(|age| age > self.shared.bounds.age_max)
    }

    /// Where an upload has got to. After a start, or a write that failed, that is found in its
    /// file, and what lies behind it is cut off.
    fn looked_through(&self, in_use: &HeldUpload) -> Result<Upload, UploadError> {
        let id = in_use.id;
        let unknown = || UploadError::Unknown { upload: id };
        {
            let table = self.shared.lock();
            let entry = table.get(&id).ok_or_else(unknown)?;
            if let Some(offset) = entry.offset {
                return Ok(entry.shown(id, offset));
            }
        }
        let path = self.shared.path(id);
        let looked = pieces_at(&path).and_then(|mut pieces| {
            while pieces.next()?.is_some() {}
            Ok(pieces)
        });
        let pieces = looked.map_err(|error| self.failed(id, "read", error))?;
        let cut = |file: File| {
            let end = file.metadata()?.len() - pieces.left();
            if pieces.left() > 0 {
                file.set_len(end)?;
            }
            // What was written before a crash may be in memory alone.
            file.sync_all()?;
            Ok(end)
        };
        let file = OpenOptions::new().write(true).open(&path);
        let end = file
            .and_then(cut)
            .map_err(|error| self.failed(id, "mend", error))?;
        let mut table = self.shared.lock();
        let entry = table.get_mut(&id).ok_or_else(unknown)?;
        (entry.offset, entry.file_bytes) = (Some(pieces.offset()), end);
        Ok(entry.shown(id, pieces.offset()))
    }

    fn check_length(&self, announced: &NewUpload, got: u64) -> Result<(), UploadError> {
        let announced = announced.bytes.map(|bytes| ("Upload-Length", bytes));
        for (limit, max) in [Some(self.shared.bounds.each), announced]
            .into_iter()
            .flatten()
        {
            if got > max {
                return Err(UploadError::TooLarge { limit, got, max });
            }
        }
        Ok(())
    }

    fn check_room(&self, table: &HashMap<UploadId, Entry>, more: u64) -> Result<(), UploadError> {
        let used = table.values().map(Entry::counted).sum::<u64>() + more;
        let max = self.shared.bounds.bytes_max;
        match used > max {
            true => Err(UploadError::Full {
                limit: "uploads.bytes_max",
                used,
                max,
            }),
            false => Ok(()),
        }
    }
}

impl Entry {
    fn shown(&self, id: UploadId, offset: u64) -> Upload {
        Upload {
            id,
            announced: self.announced.clone(),
            offset,
            touched: self.touched,
            unreadable: None,
        }
    }
}

fn id_of(path: &Path) -> Option<UploadId> {
    let is_ours = path.extension().is_some_and(|end| end == EXTENSION);
    let stem = path.file_stem().filter(|_| is_ours)?;
    stem.to_str()?.parse().ok()
}

/// What a start finds; nothing if the file has no whole head.
fn found_at(path: &Path) -> std::io::Result<Option<Entry>> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    let mut head = [0; HEAD_BYTES];
    if found.len() < HEAD_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact(&mut head)?;
    Ok(file::read_head(&head).map(|announced| Entry {
        announced,
        offset: None,
        file_bytes: found.len(),
        touched: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        is_in_use: false,
    }))
}

fn pieces_at(path: &Path) -> std::io::Result<Pieces> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.read_exact(&mut [0; HEAD_BYTES])?;
    Ok(Pieces::of(file, bytes))
}
