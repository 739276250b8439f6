//! What a command makes of a content that a server sends: a file that gets its name when it is
//! whole, checked and on disk, and never takes the place of another; or standard output. Start at
//! [`keep`] and [`copy`].

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use tempfile::NamedTempFile;

use super::failure::{Exit, Failure};

/// Has `write` fill a new file that nobody else reads, and gives it the name `file`. Gives
/// what `write` has found out, and the file's size in bytes.
///
/// If it fails, there is nothing.
pub(super) fn keep<T>(
    file: &Path,
    write: impl FnOnce(&File) -> Result<T, Failure>,
) -> Result<(T, u64), Failure> {
    let is_taken = || {
        let text = format!("{} is there already; choose another name", file.display());
        Failure::new(Exit::Failed, text)
    };
    // Before anything is fetched in vain.
    if file.symlink_metadata().is_ok() {
        return Err(is_taken());
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let part = Part::begin(dir).map_err(|error| not_written(dir, &error))?;
    let written = write(part.file())?;
    part.file()
        .sync_all()
        .map_err(|error| not_written(file, &error))?;
    let bytes = part.file().metadata()?.len();
    part.name(file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_taken(),
        _ => not_written(file, &error),
    })?;
    if let Err(error) = File::open(dir).and_then(|dir| dir.sync_all()) {
        // Its name may be gone with the power, so nobody is to count on it.
        let _ = std::fs::remove_file(file);
        return Err(not_written(dir, &error));
    }
    Ok((written, bytes))
}

/// A file that is not whole yet. Nobody else reads it, as keys may be in it.
enum Part {
    /// It has no name, so that nothing of it is left however this process ends.
    Nameless(File, PathBuf),
    /// Where the file system has no such files, or nobody could name them. What lies beside it
    /// is somebody else's.
    Named(NamedTempFile),
}

impl Part {
    fn begin(dir: &Path) -> io::Result<Part> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(file) = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR) {
            let file = File::from(file);
            let by = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            // Now, and not after all of it has come.
            if by.symlink_metadata().is_ok() {
                return Ok(Part::Nameless(file, by));
            }
        }
        let named = tempfile::Builder::new()
            .prefix(".corelet-")
            .suffix(".part")
            .tempfile_in(dir)?;
        Ok(Part::Named(named))
    }

    fn file(&self) -> &File {
        match self {
            Part::Nameless(file, _) => file,
            Part::Named(named) => named.as_file(),
        }
    }

    /// Gives it its name, if nothing has that.
    fn name(self, name: &Path) -> io::Result<()> {
        match self {
            Part::Nameless(_file, by) => Ok(linkat(CWD, &by, CWD, name, AtFlags::SYMLINK_FOLLOW)?),
            Part::Named(named) => match named.persist_noclobber(name) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.error),
            },
        }
    }
}

/// What standard output is called.
pub(super) const STDOUT: &str = "standard output";

/// Whether this stands for standard output. A file of that name is `./-`.
pub(super) fn is_stdout(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Opens a file that is to be sent, and looks what it is. A directory is none.
pub(super) fn open_file(file: &Path, role: &str) -> Result<(File, Metadata), Failure> {
    let opened = File::open(file).and_then(|opened| {
        let found = opened.metadata()?;
        match found.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok((opened, found)),
        }
    });
    opened.map_err(|error| Failure::failed(&error).advise(format!("{role} {}", file.display())))
}

/// Copies `what` from the server to `place`, and says which of the two it was if that fails.
pub(super) fn copy(
    body: &mut impl Read,
    to: &mut impl Write,
    what: &str,
    place: &str,
) -> Result<u64, Failure> {
    let mut body = Watched {
        inner: body,
        has_failed: false,
    };
    let copied = io::copy(&mut body, to).and_then(|bytes| to.flush().map(|()| bytes));
    copied.map_err(|error| {
        Failure::failed(&error).advise(match body.has_failed {
            true => format!("the {what} was broken off; the server's log may say why"),
            false => format!("the {what} could not be written to {place}"),
        })
    })
}

/// Remembers whether it was the one that failed.
struct Watched<'r, R> {
    inner: &'r mut R,
    has_failed: bool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        // What is interrupted is tried again.
        let is_interrupted = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
        self.has_failed |= read.as_ref().is_err_and(|error| !is_interrupted(error));
        read
    }
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(error).advise(format!("it was to be written to {}", path.display()))
}
