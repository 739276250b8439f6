//! A file that a command makes of what a server sends: it gets its name when it is whole, checked
//! and on disk, and never takes the place of another. Start at [`keep`].

use std::fs::File;
use std::io;
use std::path::Path;

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
    // Whatever lies beside it is somebody else's, and keys may be in it.
    let part = tempfile::Builder::new()
        .prefix(".corelet-")
        .suffix(".part")
        .tempfile_in(dir)
        .map_err(|error| not_written(dir, &error))?;
    let written = write(part.as_file())?;
    part.as_file()
        .sync_all()
        .map_err(|error| not_written(file, &error))?;
    let bytes = part.as_file().metadata()?.len();
    part.persist_noclobber(file)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => is_taken(),
            _ => not_written(file, &error.error),
        })?;
    if let Err(error) = File::open(dir).and_then(|dir| dir.sync_all()) {
        // Its name may be gone with the power, so nobody is to count on it.
        let _ = std::fs::remove_file(file);
        return Err(not_written(dir, &error));
    }
    Ok((written, bytes))
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(error).advise(format!("it was to be written to {}", path.display()))
}
