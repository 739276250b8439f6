//! The components' files that nobody needs any more: of applications that were
//! removed, and what a kill left of an installation. All of them are swept away at the
//! start, when nothing is being installed or loaded; later only those that have lain for
//! a while, as an installation writes the file first and is written down after that.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corelet_store::ApplicationId;

/// In the name of a file that is being written.
pub(crate) const UNFINISHED: &str = "unfinished-";

/// What the file of an application's component is called, among the blobs.
pub fn component_file(id: &ApplicationId) -> String {
    format!("{id}.wasm")
}

/// So long a file lies that no application has: more than an installation takes from
/// its file to its record.
pub(crate) const IDLE_MIN: Duration = Duration::from_secs(3600);

/// Removes what belongs to no installed application; counts the files. What is no
/// component's is left alone, and so is what was written after `before`, if that is given.
pub(crate) fn sweep(
    components: &Path,
    before: Option<SystemTime>,
    is_installed: impl Fn(&ApplicationId) -> bool,
) -> io::Result<usize> {
    let mut swept = 0;
    for file in fs::read_dir(components)? {
        let path = file?.path();
        let text =
            |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).map(str::to_owned);
        let (Some(stem), Some(extension)) = (text(path.file_stem()), text(path.extension())) else {
            continue;
        };
        let Ok(id) = stem.parse::<ApplicationId>() else {
            continue;
        };
        let is_garbage = match extension.as_str() {
            "wasm" => !is_installed(&id),
            other => other.starts_with(UNFINISHED),
        };
        let is_old = |before| {
            let written = fs::metadata(&path).and_then(|found| found.modified());
            written.is_ok_and(|written| written < before)
        };
        let goes = is_garbage && before.is_none_or(is_old);
        match goes.then(|| fs::remove_file(&path)) {
            None => {}
            Some(Ok(())) => swept += 1,
            Some(Err(error)) => {
                tracing::warn!(%error, path = %path.display(), "a file that no application needs stays");
            }
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_application_has_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [installed, removed] = [1, 2].map(|n| ApplicationId::from_bytes([n; 32]));
        let names = [
            (format!("{installed}.wasm"), true),
            (format!("{installed}.{UNFINISHED}ThreadId(7)"), false),
            (format!("{removed}.wasm"), false),
            (format!("{removed}.wasm.saved"), true),
            ("note.wasm".to_owned(), true),
            ("README".to_owned(), true),
        ];
        for (name, _) in &names {
            fs::write(dir.path().join(name), "bytes").unwrap();
        }
        let sweep = |before| sweep(dir.path(), before, |id| *id == installed).unwrap();
        // Whoever has just written one may yet write down that it is installed.
        assert_eq!(sweep(Some(SystemTime::UNIX_EPOCH)), 0);
        let written = fs::metadata(dir.path().join(&names[2].0)).unwrap();
        let later = written.modified().unwrap() + Duration::from_secs(60);
        assert_eq!(sweep(Some(later)), 2);
        for (name, stays) in &names {
            assert_eq!(dir.path().join(name).exists(), *stays, "{name}");
            fs::write(dir.path().join(name), "bytes").unwrap();
        }
        assert_eq!(sweep(None), 2);
        for (name, stays) in names {
            assert_eq!(dir.path().join(&name).exists(), stays, "{name}");
        }
    }
}
