//! The data directory: who may use it, and where everything in it lies. The
//! manifest's text is in `manifest.rs`; what is in a shard's directory is in
//! `ledger.rs`. Opened once by `main` before any thread starts; held for the
//! life of the process, because it holds the lock. Start at [`DataDir::open`].

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;
use crate::ids::{NodeId, ShardCount, ShardId};
use crate::manifest::Manifest;

const MANIFEST: &str = "manifest";
const LOCK: &str = "lock";
const SHARDS: &str = "shards";

/// What a new data directory gets. Has no effect on one that exists.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// How many shards it has, for good.
    pub shards_if_new: ShardCount,
    /// Whose data it holds.
    pub node_id_if_new: NodeId,
}

/// An open data directory, locked against other processes until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    manifest: Manifest,
    is_new: bool,
    /// The lock lives as long as this file is open, and the kernel frees it
    /// however the process ends.
    _lock: File,
}

impl DataDir {
    /// Opens the directory at `path`, or makes it with `options`.
    ///
    /// Fails if another process has it open, if its format is another, or if
    /// its manifest is damaged or gone.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<DataDir, StoreError> {
        let path = path.as_ref();
        make_private_dir(path)?;
        let lock = lock(path)?;
        let manifest_path = path.join(MANIFEST);
        let (manifest, is_new) = match fs::read(&manifest_path) {
            Ok(text) => (Manifest::parse(&manifest_path, &text)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Ledgers without a manifest: making a new one could cut them
                // up by another shard count, so that half of them is not found.
                if path.join(SHARDS).exists() {
                    return Err(StoreError::ManifestMissing {
                        path: path.to_owned(),
                    });
                }
                let manifest = Manifest {
                    shards: options.shards_if_new,
                    node_id: options.node_id_if_new,
                };
                write_atomically(&manifest_path, manifest.to_text().as_bytes())?;
                (manifest, true)
            }
            Err(source) => return Err(StoreError::file("read", &manifest_path)(source)),
        };
        let dir = DataDir {
            path: path.to_owned(),
            manifest,
            is_new,
            _lock: lock,
        };
        for private in [
            dir.path.join(SHARDS),
            dir.blobs_dir(),
            dir.cache_dir(),
            dir.keys_dir(),
        ] {
            make_private_dir(&private)?;
        }
        for shard in dir.manifest.shards.shards() {
            make_private_dir(&dir.shard_dir(shard))?;
        }
        sync_dir(&dir.path.join(SHARDS))?;
        sync_dir(&dir.path)?;
        Ok(dir)
    }

    /// What the directory says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether this call of `open` made it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of one shard's ledger.
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.path
            .join(SHARDS)
            .join(format!("{:03}", shard.number()))
    }

    /// Applications' components and other large files, named by their hash.
    pub fn blobs_dir(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// What can be made again: compiled modules.
    pub fn cache_dir(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Secrets of this node.
    pub fn keys_dir(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Where a running server leaves its address and token for local clients.
    pub fn run_file(&self) -> PathBuf {
        DataDir::run_file_in(&self.path)
    }

    /// The same for a client, which does not open the directory.
    pub fn run_file_in(path: &Path) -> PathBuf {
        path.join("server.json")
    }
}

/// Writes a file so that after a crash it has either its old or its whole new
/// content: to a neighbour, synced, renamed over it, directory synced. Only
/// its owner can read it.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(".new");
    let neighbour = path.with_file_name(name);
    let write = || -> io::Result<()> {
        // A neighbour left by a crash may have any mode; begin afresh.
        match fs::remove_file(&neighbour) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&neighbour)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&neighbour, path)
    };
    write().map_err(StoreError::file("write", path))?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::file("sync the directory", path))
}

pub(crate) fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::file("make the directory", path))
}

/// Takes the lock, or says who has it.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::file("open the lock", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // The holder may be about to write its number: then it stays unknown.
            let read = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked {
                path: dir.to_owned(),
                pid,
            });
        }
        Err(errno) => return Err(StoreError::file("lock", &path)(errno.into())),
    }
    let sign = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    sign(&mut file).map_err(StoreError::file("write the lock", &path))?;
    Ok(file)
}
