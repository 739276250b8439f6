//! Who has a data directory. Both the directory and the file `lock` in it are locked: the file says
//! whose it is, and the directory stays locked when somebody removes the file in the belief that it
//! is stale. It never is: the kernel frees both however the process ends.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::error::StoreError;
use crate::ledger::is_out_of_space;

const LOCK: &str = "lock";

/// How often and for how long the lock of a process that is gone is waited for.
const ORPHAN_WAITS: u32 = 100;
const ORPHAN_WAIT: Duration = Duration::from_millis(20);

/// A directory that nobody else has until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _dir: File,
    /// None where there is no such file and nothing is to be written.
    _file: Option<File>,
}

impl Lock {
    /// Takes it, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join(LOCK);
        let around = File::open(dir).map_err(StoreError::file("open", dir))?;
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::file("open the lock", &path))?;
        let mut waits = ORPHAN_WAITS;
        while !(is_taken(&file, &path)? && is_taken(&around, dir)?) {
            let pid = holder(&mut file);
            if waits == 0 || !pid.is_some_and(is_gone) {
                return Err(StoreError::Locked {
                    path: dir.to_owned(),
                    pid,
                });
            }
            // A process that was killed while it started another one has left its open
            // files to that for as long as it takes to become another program.
            waits -= 1;
            #[expect(
                clippy::disallowed_methods,
                reason = "at the start, before there are shards"
            )]
            std::thread::sleep(ORPHAN_WAIT);
        }
        let sign = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        match sign(&mut file) {
            // Then nobody learns who has the lock; but it holds.
            Err(error) if is_out_of_space(&error) => {}
            signed => signed.map_err(StoreError::file("write the lock", &path))?,
        }
        Ok(Lock {
            _dir: around,
            _file: Some(file),
        })
    }

    /// Takes it without a sign of who has it. None if there is no such directory.
    pub(crate) fn look(dir: &Path) -> Result<Option<Lock>, StoreError> {
        let path = dir.join(LOCK);
        let around = match File::open(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(StoreError::file("open", dir))?,
        };
        let mut file = match File::open(&path) {
            Ok(file) => Some(file),
            // Of a copy, which was never locked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::file("open the lock", &path)(error)),
        };
        let is_file_taken = match &file {
            Some(file) => is_taken(file, &path)?,
            None => true,
        };
        match is_file_taken && is_taken(&around, dir)? {
            true => Ok(Some(Lock {
                _dir: around,
                _file: file,
            })),
            false => Err(StoreError::Locked {
                path: dir.to_owned(),
                pid: file.as_mut().and_then(holder),
            }),
        }
    }
}

/// Whether it is locked now, and was not by somebody else.
fn is_taken(file: &File, path: &Path) -> Result<bool, StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(StoreError::file("lock", path)(errno.into())),
    }
}

/// The process that has written itself into the lock. It may be about to do so: then
/// it stays unknown.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    Read::by_ref(file).take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}
