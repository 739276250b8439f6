//! The components' files that nobody needs any more: of applications that were
//! removed, and what a kill left of an installation. They are swept away at the
//! start, when nothing is being installed or loaded.

use std::fs;
use std::io;
use std::path::Path;

use corelet_store::ApplicationId;

/// In the name of a file that is being written.
pub(crate) const UNFINISHED: &str = "unfinished-";

/// What the file of an application's component is called, among the blobs.
pub fn component_file(id: &ApplicationId) -> String {
    format!("{id}.wasm")
}

/// Removes what belongs to no installed application; counts the files. What is no
/// component's is left alone.
pub(crate) fn sweep(
    components: &Path,
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
        match is_garbage.then(|| fs::remove_file(&path)) {
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
        let swept = sweep(dir.path(), |id| *id == installed).unwrap();
        assert_eq!(swept, 2);
        for (name, stays) in names {
            assert_eq!(dir.path().join(&name).exists(), stays, "{name}");
        }
    }
}
