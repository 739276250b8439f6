//! Where blobs lie, and who may give or take a name there. `ab/<id>` has the
//! blobs whose id begins with the byte 0xab; `unfinished/` has what is being
//! written or removed, under numbers, and is emptied at the next start. Beside
//! them lie files of others, which are left alone.
//!
//! Whoever makes, touches or takes away a name in a directory has its lock, so
//! these three happen one after the other. A name that can be seen by somebody who
//! has had the lock is on disk. Any thread that may block. Start at [`Dirs::lock`].
#![expect(
    clippy::disallowed_types,
    reason = "shared by the threads that work on files, none of which is a shard"
)]

use std::fs::{self, DirBuilder, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::error::BlobError;
use crate::ids::BlobId;

const UNFINISHED: &str = "unfinished";

/// One directory for each first byte of an id.
pub(super) const FANS: usize = 256;

/// The directory of all blobs, locked against being opened twice.
#[derive(Debug)]
pub(super) struct Dirs {
    root: PathBuf,
    unfinished: PathBuf,
    /// The next number in `unfinished`.
    number_next: AtomicU64,
    fans: Box<[Mutex<Fan>]>,
    /// The lock lives as long as this file is open. None where nothing is changed.
    _lock: Option<File>,
}

/// What is known of one directory.
#[derive(Debug, Default)]
struct Fan {
    /// It is there, and its own name and all names in it that an earlier process
    /// left are on disk.
    is_settled: bool,
}

impl Dirs {
    pub(super) fn open(root: &Path) -> Result<Dirs, BlobError> {
        make_private_dir(root)?;
        let unfinished = root.join(UNFINISHED);
        make_private_dir(&unfinished)?;
        let lock = File::open(&unfinished).map_err(BlobError::file("open", &unfinished))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let path = root.to_owned();
                return Err(BlobError::AlreadyOpen { path });
            }
            Err(errno) => return Err(BlobError::file("lock", &unfinished)(errno.into())),
        }
        empty(&unfinished)?;
        Ok(Dirs {
            root: root.to_owned(),
            unfinished,
            number_next: AtomicU64::new(0),
            fans: (0..FANS).map(|_| Mutex::default()).collect(),
            _lock: Some(lock),
        })
    }

    /// The directory of blobs that nobody has open, to read only. It need not exist.
    pub(super) fn look(root: &Path) -> Dirs {
        Dirs {
            root: root.to_owned(),
            unfinished: root.join(UNFINISHED),
            number_next: AtomicU64::new(0),
            fans: (0..FANS).map(|_| Mutex::default()).collect(),
            _lock: None,
        }
    }

    /// The directory of the ids with this first byte.
    pub(super) fn fan(&self, byte: u8) -> PathBuf {
        self.root.join(format!("{byte:02x}"))
    }

    pub(super) fn file(&self, id: &BlobId) -> PathBuf {
        self.fan(id.as_bytes()[0]).join(id.to_string())
    }

    /// The id of the file with this name in the directory of this byte.
    pub(super) fn id(byte: u8, name: &str) -> Option<BlobId> {
        let id: BlobId = name.parse().ok()?;
        (id.as_bytes()[0] == byte && id.to_string() == name).then_some(id)
    }

    /// Opens a blob's file, if there is one.
    pub(super) fn open_file(&self, id: &BlobId) -> Result<Option<File>, BlobError> {
        open_file(&self.file(id))
    }

    /// A new, empty file that nobody else knows.
    pub(super) fn begin(&self) -> Result<Unfinished, BlobError> {
        let path = self.next_unfinished();
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(BlobError::file("make", &path))?;
        Ok(Unfinished {
            path,
            file,
            is_placed: false,
        })
    }

    fn next_unfinished(&self) -> PathBuf {
        let number = self.number_next.fetch_add(1, Ordering::Relaxed);
        self.unfinished.join(number.to_string())
    }

    /// Waits until nobody else changes the directory in which `id` belongs.
    pub(super) fn lock(&self, id: BlobId) -> LockedFan<'_> {
        let fan = &self.fans[usize::from(id.as_bytes()[0])];
        LockedFan {
            dirs: self,
            id,
            // A flag that is set last: whoever panicked has left it right.
            fan: fan.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// One blob's directory, which nobody else changes now.
#[derive(Debug)]
pub(super) struct LockedFan<'a> {
    dirs: &'a Dirs,
    id: BlobId,
    fan: MutexGuard<'a, Fan>,
}

impl LockedFan<'_> {
    fn dir(&self) -> PathBuf {
        self.dirs.fan(self.id.as_bytes()[0])
    }

    /// Gives the file, which is whole and on disk, the blob's name. It takes the
    /// place of one that is there: both have the same content, unless that one was
    /// damaged.
    pub(super) fn place(&mut self, mut unfinished: Unfinished) -> Result<(), BlobError> {
        let (dir, path) = (self.dir(), self.dirs.file(&self.id));
        self.settle(&dir)?;
        let is_there = path.symlink_metadata().is_ok();
        fs::rename(&unfinished.path, &path).map_err(BlobError::file("write", &path))?;
        unfinished.is_placed = true;
        let synced = sync_dir(&dir);
        // Nobody may refer to a name that a power cut would take away.
        if synced.is_err() && !is_there {
            drop(fs::remove_file(&path));
        }
        synced
    }

    /// Sets the time of the blob's file; says whether there is one.
    pub(super) fn touch(&mut self, now: SystemTime) -> Result<bool, BlobError> {
        let path = self.dirs.file(&self.id);
        let Some(file) = open_file(&path)? else {
            return Ok(false);
        };
        self.settle(&self.dir())?;
        set_time(&file, &path, now)?;
        Ok(true)
    }

    /// When the blob's file was last written or touched, if there is one.
    pub(super) fn touched(&self) -> Result<Option<SystemTime>, BlobError> {
        let path = self.dirs.file(&self.id);
        match fs::symlink_metadata(&path).and_then(|found| found.modified()) {
            Ok(touched) => Ok(Some(touched)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::file("look at", &path)(error)),
        }
    }

    /// Takes the blob's name away. The file is left for the caller to remove,
    /// without the lock, as that takes long for a large one; a start does it if he
    /// does not come to it.
    pub(super) fn take_away(self) -> Result<PathBuf, BlobError> {
        let (path, tomb) = (self.dirs.file(&self.id), self.dirs.next_unfinished());
        fs::rename(&path, &tomb).map_err(BlobError::file("remove", &path))?;
        Ok(tomb)
    }

    /// Makes sure once that what can be seen is on disk: a process before this one
    /// may have been killed between a name and its flush.
    fn settle(&mut self, dir: &Path) -> Result<(), BlobError> {
        if !self.fan.is_settled {
            make_private_dir(dir)?;
            sync_dir(dir)?;
            sync_dir(&self.dirs.root)?;
            self.fan.is_settled = true;
        }
        Ok(())
    }
}

/// A file that is being written. It is gone when this is dropped, unless it got a
/// blob's name.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    file: File,
    is_placed: bool,
}

impl Unfinished {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let written = self.file.write_all(bytes);
        written.map_err(BlobError::file("write", &self.path))
    }

    /// What was written is on disk when this returns, but no new time of the file.
    pub(super) fn flush_content(&mut self) -> Result<(), BlobError> {
        let flushed = self.file.sync_data();
        flushed.map_err(BlobError::file("sync", &self.path))
    }

    /// The file is on disk with all that it has, and with this time.
    pub(super) fn flush(&mut self, now: SystemTime) -> Result<(), BlobError> {
        set_time(&self.file, &self.path, now)?;
        let flushed = self.file.sync_all();
        flushed.map_err(BlobError::file("sync", &self.path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_placed {
            remove(&self.path);
        }
    }
}

/// Removes a file in `unfinished`. One that cannot be removed is left to the next
/// start.
pub(super) fn remove(unfinished: &Path) {
    if let Err(error) = fs::remove_file(unfinished) {
        tracing::warn!(%error, path = %unfinished.display(), "what is left of a blob stays until the next start");
    }
}

/// Whether a file in `unfinished` is one that we name so.
fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes what a process before this one left. What is not ours stays.
fn empty(unfinished: &Path) -> Result<(), BlobError> {
    let failed = || BlobError::file("read the directory", unfinished);
    for entry in fs::read_dir(unfinished).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let is_file = entry.file_type().map_err(failed())?.is_file();
        if is_file && entry.file_name().to_str().is_some_and(is_number) {
            let path = entry.path();
            fs::remove_file(&path).map_err(BlobError::file("remove", &path))?;
        }
    }
    Ok(())
}

fn open_file(path: &Path) -> Result<Option<File>, BlobError> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::file("open", path)(error)),
    }
}

fn set_time(file: &File, path: &Path, now: SystemTime) -> Result<(), BlobError> {
    let set = file.set_times(FileTimes::new().set_modified(now));
    set.map_err(BlobError::file("touch", path))
}

fn make_private_dir(path: &Path) -> Result<(), BlobError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(BlobError::file("make the directory", path)),
    }
}

fn sync_dir(path: &Path) -> Result<(), BlobError> {
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(BlobError::file("sync the directory", path))
}
