//! Notices that the sources of a crate have changed. Editors write in bursts,
//! so a change is told when it has been quiet for a moment; what cargo itself
//! writes is not watched at all.

#![expect(
    clippy::disallowed_types,
    reason = "between the threads of the watcher and of `dev`; no shard has part in it"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// How long it must have been quiet.
const QUIET: Duration = Duration::from_millis(200);
/// Something that never rests is told of nevertheless, after this many bursts.
const BURSTS_MAX: usize = 25;

/// Watches some directories.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    roots: Vec<PathBuf>,
    changed: Arc<Mutex<BTreeSet<usize>>>,
    wake: Receiver<()>,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn begin(dirs: &[&Path]) -> notify::Result<Watch> {
        let roots = dirs
            .iter()
            .map(|dir| dir.canonicalize())
            .collect::<Result<Vec<_>, _>>()?;
        let changed = Arc::new(Mutex::new(BTreeSet::new()));
        // One place is enough: what has changed is in the set.
        let (waker, wake) = sync_channel(1);
        let noticed = {
            let (roots, changed) = (roots.clone(), Arc::clone(&changed));
            move |event: notify::Result<Event>| {
                let found = event
                    .map(|event| sources(&event, &roots))
                    .unwrap_or_default();
                if !found.is_empty() {
                    changed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(found);
                    // Full means that it is awake already.
                    let _ = waker.try_send(());
                }
            }
        };
        let watcher = notify::recommended_watcher(noticed)?;
        let mut watch = Watch {
            watcher,
            roots,
            changed,
            wake,
        };
        watch.cover()?;
        Ok(watch)
    }

    /// Waits for a change; the numbers of the directories that have changed.
    pub(super) fn next(&mut self) -> Option<BTreeSet<usize>> {
        self.wake.recv().ok()?;
        for _ in 0..BURSTS_MAX {
            match self.wake.recv_timeout(QUIET) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        // A directory may have been added. What cannot be watched any more is gone.
        let _ = self.cover();
        Some(std::mem::take(
            &mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Watches each directory itself and, with all that is in them, those
    /// inside that hold sources: `target` can have thousands.
    fn cover(&mut self) -> notify::Result<()> {
        for root in &self.roots {
            self.watcher.watch(root, RecursiveMode::NonRecursive)?;
            for entry in std::fs::read_dir(root)?.flatten() {
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_dir && is_source(Path::new(&entry.file_name())) {
                    self.watcher
                        .watch(&entry.path(), RecursiveMode::Recursive)?;
                }
            }
        }
        Ok(())
    }
}

/// The roots under which the event has changed a source.
fn sources(event: &Event, roots: &[PathBuf]) -> BTreeSet<usize> {
    if !matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
    ) {
        return BTreeSet::new();
    }
    let concerns = |root: &PathBuf| {
        event
            .paths
            .iter()
            .any(|path| path.strip_prefix(root).is_ok_and(is_source))
    };
    roots
        .iter()
        .enumerate()
        .filter(|(_, root)| concerns(root))
        .map(|(index, _)| index)
        .collect()
}

/// Whether a path inside a crate is written by its author: not by cargo, and
/// none of the files that editors keep for themselves.
fn is_source(inside: &Path) -> bool {
    let name = inside.file_name().unwrap_or_default().to_string_lossy();
    let hidden = |part: Component<'_>| part.as_os_str().to_string_lossy().starts_with('.');
    inside
        .components()
        .next()
        .is_some_and(|first| first.as_os_str() != OsStr::new("target"))
        && !inside.components().any(hidden)
        && name != "Cargo.lock"
        && !name.ends_with(['~', '#'])
        && name != "4913" // vim tries with this name whether it can write
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_count() {
        for source in [
            "src/lib.rs",
            "Cargo.toml",
            "src/a/b.rs",
            "wit/world.wit",
            "src/target/mod.rs",
        ] {
            assert!(is_source(Path::new(source)), "{source}");
        }
        for other in [
            "",
            "target",
            "target/debug/x.rs",
            ".git/index",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "Cargo.lock",
            "src/4913",
        ] {
            assert!(!is_source(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_burst_of_changes_is_one_change() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for dir in &dirs {
            std::fs::create_dir_all(dir.path().join("src")).unwrap();
            std::fs::create_dir_all(dir.path().join("target")).unwrap();
        }
        let mut watch = Watch::begin(&[dirs[0].path(), dirs[1].path()]).unwrap();
        std::fs::write(dirs[0].path().join("target/x"), "cargo").unwrap();
        for text in ["a", "b", "c"] {
            std::fs::write(dirs[1].path().join("src/lib.rs"), text).unwrap();
        }
        assert_eq!(watch.next(), Some(BTreeSet::from([1])));
        // A directory that came later is watched, too.
        std::fs::create_dir(dirs[0].path().join("wit")).unwrap();
        assert_eq!(watch.next(), Some(BTreeSet::from([0])));
        std::fs::write(dirs[0].path().join("wit/world.wit"), "w").unwrap();
        assert_eq!(watch.next(), Some(BTreeSet::from([0])));
    }
}
