//! The data directory: who may use it, and where everything in it lies. The
//! manifest's text is in `manifest.rs`; what is in a shard's directory is in
//! `ledger.rs`. Opened once by `main` before any thread starts; held for the
//! life of the process, because it holds the lock. Start at [`DataDir::open`].

mod lock;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(crate) use self::lock::Lock;
use crate::create::create;
use crate::error::{Loss, StoreError};
use crate::ids::{DataId, NodeId, ShardCount, ShardId};
use crate::manifest::{DATA_FORMAT_VERSION, Found, Manifest};
use crate::place::{LedgerIdentity, LedgerPlace};

const MANIFEST: &str = "manifest";
const SHARDS: &str = "shards";
const BLOBS: &str = "blobs";
const UPLOADS: &str = "uploads";

/// Ledgers that are to take the place of those in `shards`, and those whose place was
/// taken.
const SHARDS_NEW: &str = "shards.new";
const SHARDS_OLD: &str = "shards.old";

/// In `shards.new`, when all ledgers there are whole: the id of the data directory that
/// they make of it. They count from the moment on at which the manifest says that id.
const SHARDS_OF: &str = "of";

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
    _lock: Lock,
}

impl DataDir {
    /// Opens the directory at `path`, or makes it, with empty ledgers, by
    /// `options`.
    ///
    /// Fails if another process has it open, if its format is another, or if
    /// its manifest is damaged or gone.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<DataDir, StoreError> {
        let path = path.as_ref();
        make_private_dir(path)?;
        let lock = Lock::take(path)?;
        let manifest_path = path.join(MANIFEST);
        let is_new = !has_manifest(path)?;
        let (manifest, is_written) = if is_new {
            let new = Manifest::new(options.shards_if_new, options.node_id_if_new);
            (new, false)
        } else {
            let text = fs::read(&manifest_path).map_err(StoreError::file("read", &manifest_path));
            match Manifest::parse(&manifest_path, &text?)? {
                Found::Manifest(manifest) => (manifest, true),
                Found::Before { shards, node_id } => (Manifest::new(shards, node_id), false),
            }
        };
        let mut dir = DataDir {
            path: path.to_owned(),
            manifest,
            is_new,
            _lock: lock,
        };
        if is_written {
            dir.settle_shards()?;
        }
        for private in [dir.blobs_dir(), dir.cache_dir(), dir.keys_dir()] {
            make_private_dir(&private)?;
        }
        if !dir.manifest.are_ledgers_made {
            if !is_new && !is_written {
                dir.make_way_for_new_ledgers()?;
            }
            if !is_written {
                // Whoever made the directory may have been killed before this, so
                // it is done until a manifest says that it was done.
                sync_names_above(path)?;
                dir.write_manifest()?;
            }
            dir.make_ledgers()?;
            dir.manifest.are_ledgers_made = true;
            dir.write_manifest()?;
        }
        Ok(dir)
    }

    /// The directory at `path`, which is being filled by who holds its lock and has no
    /// manifest yet: nobody else takes it for one.
    pub(crate) fn begin(
        path: &Path,
        manifest: Manifest,
        lock: Lock,
    ) -> Result<DataDir, StoreError> {
        let dir = DataDir {
            path: path.to_owned(),
            manifest: Manifest {
                are_ledgers_made: true,
                ..manifest
            },
            is_new: true,
            _lock: lock,
        };
        for private in [dir.blobs_dir(), dir.cache_dir(), dir.keys_dir()] {
            make_private_dir(&private)?;
        }
        dir.make_ledgers()?;
        Ok(dir)
    }

    /// The directory is filled: from now on it is one.
    pub(crate) fn complete(&self) -> Result<(), StoreError> {
        self.write_manifest()
    }

    /// Where the ledgers lie that are to take the place of those that there are.
    pub(crate) fn shards_new(&self) -> PathBuf {
        self.path.join(SHARDS_NEW)
    }

    /// Removes what an earlier attempt to make new ledgers has left.
    pub(crate) fn clear_shards_new(&self) -> Result<(), StoreError> {
        let new = self.shards_new();
        done_or_missing(fs::remove_dir_all(&new)).map_err(StoreError::file("remove", &new))
    }

    /// Puts the new ledgers, which are whole and on disk, into the place of the old ones.
    /// The manifest decides: with its name changed, they count. If this fails, it
    /// [may have been](Self::may_say).
    pub(crate) fn switch(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        let id = manifest.data_id.to_string();
        write_atomically(&self.shards_new().join(SHARDS_OF), id.as_bytes())?;
        sync_dir(&self.path)?;
        self.manifest = Manifest {
            are_ledgers_made: true,
            ..manifest.clone()
        };
        self.write_manifest()?;
        self.settle_shards()
    }

    /// Whether the manifest that lies there speaks of this data. One that cannot be read may.
    pub(crate) fn may_say(&self, manifest: &Manifest) -> bool {
        let path = self.path.join(MANIFEST);
        match fs::read(&path).map(|text| Manifest::parse(&path, &text)) {
            Ok(Ok(Found::Manifest(found))) => found.data_id == manifest.data_id,
            _ => true,
        }
    }

    /// Whether the new ledgers are those that the manifest speaks of.
    fn counts_new_shards(&self) -> Result<bool, StoreError> {
        let of = self.shards_new().join(SHARDS_OF);
        match fs::read(&of) {
            Ok(id) => Ok(id == self.manifest.data_id.to_string().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::file("read", &of)(error)),
        }
    }

    /// Finishes a change of ledgers that was decided, and removes what is left of one
    /// that was not. Each step can be the last of a process.
    fn settle_shards(&self) -> Result<(), StoreError> {
        let [shards, new, old] = [SHARDS, SHARDS_NEW, SHARDS_OLD].map(|name| self.path.join(name));
        let rename = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(StoreError::file("rename", from))?;
            sync_dir(&self.path)
        };
        let are_there = || {
            let found = shards.try_exists();
            found.map_err(StoreError::file("look for", &shards))
        };
        if self.counts_new_shards()? {
            if are_there()? {
                done_or_missing(fs::remove_dir_all(&old))
                    .map_err(StoreError::file("remove", &old))?;
                rename(&shards, &old)?;
            }
            rename(&new, &shards)?;
        }
        // Without ledgers in their place, nothing is left over.
        if !are_there()? {
            return Ok(());
        }
        for left in [new, old] {
            if let Err(error) = done_or_missing(fs::remove_dir_all(&left)) {
                tracing::warn!(%error, path = %left.display(), "ledgers that do not count any more are still there; the next start removes them");
            }
        }
        Ok(())
    }

    /// Opens the directory at `path` to read only: nothing in it is changed, and nobody
    /// else can open it meanwhile.
    ///
    /// Fails if another process has it open, or if its manifest is damaged or gone.
    pub(crate) fn look(path: &Path) -> Result<DataDir, StoreError> {
        let no_data = || StoreError::NoData {
            path: path.to_owned(),
        };
        let lock = Lock::look(path)?.ok_or_else(no_data)?;
        let manifest_path = path.join(MANIFEST);
        let text = match fs::read(&manifest_path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.join(SHARDS).exists() => {
                return Err(StoreError::ManifestMissing {
                    path: path.to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(no_data());
            }
            Err(error) => return Err(StoreError::file("read", &manifest_path)(error)),
        };
        match Manifest::parse(&manifest_path, &text)? {
            Found::Manifest(manifest) => Ok(DataDir {
                path: path.to_owned(),
                manifest,
                is_new: false,
                _lock: lock,
            }),
            Found::Before { .. } => Err(StoreError::WrongFormat {
                path: manifest_path,
                found: 1,
                supported: DATA_FORMAT_VERSION,
            }),
        }
    }

    /// Makes the ledgers that are not there yet. A start that was cut short in the
    /// middle goes on here; nothing has been stored by then.
    fn make_ledgers(&self) -> Result<(), StoreError> {
        let shards = self.path.join(SHARDS);
        make_private_dir(&shards)?;
        sync_dir(&self.path)?;
        for shard in self.manifest.shards.shards() {
            create(&self.ledger_place(shard))?;
        }
        // Of those, too, that a start before this one has made: it may have been
        // killed before it came here.
        sync_dir(&shards)
    }

    /// In format 1 a shard's ledger was made when it was first opened, one after
    /// the other, in a directory that was there before. So only the last ones can
    /// be new, if the very first start was cut short, before anything was stored;
    /// their directories make way.
    fn make_way_for_new_ledgers(&self) -> Result<(), StoreError> {
        let is_used = has_files(&self.blobs_dir())?;
        let mut new: Vec<(LedgerPlace, Loss)> = Vec::new();
        for shard in self.manifest.shards.shards() {
            let place = self.ledger_place(shard);
            let file = place.data_file();
            let loss = match fs::metadata(&file) {
                Ok(found) if found.len() > 0 => None,
                Ok(_) => Some(Loss::Empty),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Loss::Missing),
                Err(error) => return Err(StoreError::file("look for", &file)(error)),
            };
            match (loss, new.first()) {
                (Some(loss), _) if is_used || place.journal().exists() => {
                    return Err(StoreError::lost(&file, loss));
                }
                (Some(loss), _) => new.push((place, loss)),
                (None, Some((lost, loss))) => {
                    return Err(StoreError::lost(&lost.data_file(), *loss));
                }
                (None, None) => {}
            }
        }
        for (place, _) in new {
            // LMDB may have begun; anything else in there is not for us to remove.
            for begun in [place.data_file(), place.lock_file()] {
                done_or_missing(fs::remove_file(&begun))
                    .map_err(StoreError::file("remove", &begun))?;
            }
            done_or_missing(fs::remove_dir(place.dir()))
                .map_err(StoreError::file("remove the directory", place.dir()))?;
        }
        Ok(())
    }

    fn write_manifest(&self) -> Result<(), StoreError> {
        let text = self.manifest.to_text();
        write_atomically(&self.path.join(MANIFEST), text.as_bytes())
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

    /// Where one shard's ledger lies.
    pub fn ledger_place(&self, shard: ShardId) -> LedgerPlace {
        place_in(&self.path.join(SHARDS), self.manifest.data_id, shard)
    }

    /// The same to read only: a change of ledgers may be decided and not finished.
    pub(crate) fn ledger_place_to_look(&self, shard: ShardId) -> Result<LedgerPlace, StoreError> {
        let shards = match self.counts_new_shards()? {
            true => self.shards_new(),
            false => self.path.join(SHARDS),
        };
        Ok(place_in(&shards, self.manifest.data_id, shard))
    }

    /// Whether there is a data directory at `path`, or was one.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.join(MANIFEST).exists() || path.join(SHARDS).exists()
    }

    /// Applications' components and other large files, named by their hash.
    pub fn blobs_dir(&self) -> PathBuf {
        self.path.join(BLOBS)
    }

    /// Uploads that come in pieces and have not come as a whole.
    pub fn uploads_dir(&self) -> PathBuf {
        self.path.join(UPLOADS)
    }

    /// The same for who does not open the directory.
    pub fn blobs_dir_in(path: &Path) -> PathBuf {
        path.join(BLOBS)
    }

    /// Whose data the directory at `path` holds, for who does not open it.
    pub fn node_of(path: &Path) -> Result<NodeId, StoreError> {
        if !DataDir::is_one(path) {
            let path = path.to_owned();
            return Err(StoreError::NoData { path });
        }
        Ok(match DataDir::found(path)? {
            Found::Manifest(manifest) => manifest.node_id,
            Found::Before { node_id, .. } => node_id,
        })
    }

    /// How many shards the data at `path` has, if there is any, for who does not open it.
    pub fn shards_if_any(path: &Path) -> Result<Option<ShardCount>, StoreError> {
        if !has_manifest(path)? {
            return Ok(None);
        }
        Ok(Some(match DataDir::found(path)? {
            Found::Manifest(manifest) => manifest.shards,
            Found::Before { shards, .. } => shards,
        }))
    }

    fn found(path: &Path) -> Result<Found, StoreError> {
        let path = path.join(MANIFEST);
        let text = fs::read(&path).map_err(StoreError::file("read", &path))?;
        Manifest::parse(&path, &text)
    }

    /// The same where there may be no data yet, and so nobody's. Changes nothing.
    pub fn node_if_any(path: &Path) -> Result<Option<NodeId>, StoreError> {
        match has_manifest(path)? {
            true => DataDir::node_of(path).map(Some),
            false => Ok(None),
        }
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

/// Whether the directory at `path` says what it is. Data without that is refused.
fn has_manifest(path: &Path) -> Result<bool, StoreError> {
    let exists = |path: &Path| {
        let found = path.try_exists();
        found.map_err(StoreError::file("look for", path))
    };
    if exists(&path.join(MANIFEST))? {
        return Ok(true);
    }
    // Ledgers without a manifest: making a new one could cut them
    // up by another shard count, so that half of them is not found.
    // And where applications were installed, there were ledgers.
    if exists(&path.join(SHARDS))? || has_files(&path.join(BLOBS))? {
        return Err(StoreError::ManifestMissing {
            path: path.to_owned(),
        });
    }
    Ok(false)
}

/// The place of one of the ledgers below `shards`.
pub(crate) fn place_in(shards: &Path, data: DataId, shard: ShardId) -> LedgerPlace {
    let identity = LedgerIdentity { data, shard };
    LedgerPlace::new(shards.join(format!("{:03}", shard.number())), identity)
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
        done_or_missing(fs::remove_file(&neighbour))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&neighbour)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&neighbour, path)
    };
    if let Err(error) = write() {
        // It may take the room that was lacking. If it cannot be removed, the next attempt begins
        // with that.
        let _ = fs::remove_file(&neighbour);
        return Err(StoreError::file("write", path)(error));
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// An error, unless it is that there is nothing.
pub(crate) fn done_or_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether there is anything in the directory at `path`, or a directory at all.
fn has_files(path: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::file("read the directory", path)(error)),
    }
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::file("sync the directory", path))
}

/// Sees to it that the directory at `path` has its name after a power cut, and
/// those above it. Ends where a file system is mounted, as that name is no file
/// system's, and at what others hide from us, as that was there before.
fn sync_names_above(path: &Path) -> Result<(), StoreError> {
    const LOOKING: &str = "look for";
    let path = path
        .canonicalize()
        .map_err(StoreError::file(LOOKING, path))?;
    let device = |dir: &Path| {
        let metadata = fs::metadata(dir).map_err(StoreError::file(LOOKING, dir));
        metadata.map(|metadata| metadata.dev())
    };
    let ours = device(&path)?;
    for above in path.ancestors().skip(1) {
        match File::open(above) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            _ if device(above)? != ours => break,
            _ => sync_dir(above)?,
        }
    }
    Ok(())
}

pub(crate) fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    let made = match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path)
        }
        // What cannot be looked at is not told as being in the way.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::metadata(path).and_then(|found| match found.is_dir() {
                true => Ok(()),
                false => Err(error),
            })
        }
        made => made,
    };
    made.map_err(StoreError::file("make the directory", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, LedgerConfig};

    const SHARDS_OF_TESTS: u16 = 3;

    fn options() -> OpenOptions {
        OpenOptions {
            shards_if_new: ShardCount::new(SHARDS_OF_TESTS).unwrap(),
            node_id_if_new: NodeId::from_bytes([4; 32]),
        }
    }

    fn open(path: &Path) -> Result<DataDir, StoreError> {
        DataDir::open(path, &options())
    }

    fn places(data: &DataDir) -> Vec<LedgerPlace> {
        let shards = data.manifest.shards.shards();
        shards.map(|shard| data.ledger_place(shard)).collect()
    }

    /// The manifest as format 1 has written it for a directory of three shards.
    fn write_manifest_of_format_1(data: &DataDir) {
        let before = Found::Before {
            shards: data.manifest.shards,
            node_id: data.manifest.node_id,
        };
        fs::write(data.path.join(MANIFEST), before.to_text()).unwrap();
    }

    #[track_caller]
    fn every_ledger_opens(data: &DataDir) {
        assert!(data.manifest.are_ledgers_made);
        for place in places(data) {
            Ledger::open(&place, &LedgerConfig::default()).unwrap();
        }
    }

    /// Somebody has taken the file for one that a dead process has left.
    #[test]
    fn a_directory_whose_lock_was_removed_is_locked_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let data = open(&path).unwrap();
        fs::remove_file(path.join("lock")).unwrap();
        let is_locked = |opened: Result<DataDir, StoreError>| {
            let error = opened.expect_err("it is in use");
            assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        };
        is_locked(DataDir::look(&path));
        is_locked(open(&path));
        is_locked(DataDir::look(&path));
        drop(data);
        drop(DataDir::look(&path).unwrap());
        open(&path).unwrap();
    }

    /// The states that a kill can leave between two ledgers. The one in the middle
    /// of a ledger is what `tests/crash.rs` does.
    #[test]
    fn a_first_start_that_was_cut_short_goes_on() {
        for made in 0..=SHARDS_OF_TESTS {
            let dir = tempfile::tempdir().unwrap();
            let mut data = open(dir.path()).unwrap();
            data.manifest.are_ledgers_made = false;
            data.write_manifest().unwrap();
            let places = places(&data);
            let kept = fs::read(places[0].journal()).unwrap();
            for place in &places[usize::from(made)..] {
                fs::remove_dir_all(place.dir()).unwrap();
            }
            if let Some(next) = places.get(usize::from(made)) {
                let unfinished = next.dir().with_extension("new");
                fs::create_dir(&unfinished).unwrap();
                fs::write(unfinished.join("data.mdb"), "half").unwrap();
            }
            drop(data);
            let data = open(dir.path()).unwrap();
            every_ledger_opens(&data);
            assert_eq!(
                fs::read_dir(dir.path().join(SHARDS)).unwrap().count(),
                usize::from(SHARDS_OF_TESTS)
            );
            if made > 0 {
                let journal = fs::read(places[0].journal()).unwrap();
                assert!(journal == kept, "a ledger that was there was made again");
            }
        }
    }

    #[test]
    fn once_the_ledgers_are_made_opening_the_directory_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let data = open(dir.path()).unwrap();
        let lost = places(&data).remove(1);
        drop(data);
        fs::remove_dir_all(lost.dir()).unwrap();
        let data = open(dir.path()).unwrap();
        assert!(!lost.dir().exists());
        let error = Ledger::open(&lost, &LedgerConfig::default()).err().unwrap();
        assert!(matches!(error, StoreError::Lost { .. }), "{error}");
        assert_eq!(data.manifest.shards.get(), SHARDS_OF_TESTS);
    }

    /// A first start of that time may have been cut short before any ledger, and
    /// LMDB in the middle of one.
    #[test]
    fn a_directory_of_format_1_is_taken_over_with_the_ledgers_that_it_has() {
        for made in 0..=SHARDS_OF_TESTS {
            let dir = tempfile::tempdir().unwrap();
            let data = open(dir.path()).unwrap();
            let new = places(&data).split_off(usize::from(made));
            write_manifest_of_format_1(&data);
            for place in &new {
                fs::remove_dir_all(place.dir()).unwrap();
                fs::create_dir(place.dir()).unwrap();
            }
            if let Some(begun) = new.first() {
                fs::write(begun.data_file(), "").unwrap();
                fs::write(begun.lock_file(), "").unwrap();
            }
            drop(data);
            let data = open(dir.path()).unwrap();
            assert_eq!(data.manifest.node_id, NodeId::from_bytes([4; 32]));
            assert!(!data.is_new);
            for place in &places(&data)[usize::from(made)..] {
                Ledger::open(place, &LedgerConfig::default()).unwrap();
            }
            let again = open_again(data);
            assert!(again.manifest.are_ledgers_made);
        }
    }

    fn open_again(data: DataDir) -> DataDir {
        let path = data.path.clone();
        let manifest = data.manifest.clone();
        drop(data);
        let again = open(&path).unwrap();
        assert_eq!(again.manifest, manifest);
        again
    }

    #[test]
    fn a_directory_of_format_1_that_has_lost_a_ledger_is_refused() {
        fn check(damage: impl FnOnce(&[LedgerPlace])) {
            let dir = tempfile::tempdir().unwrap();
            let data = open(dir.path()).unwrap();
            let places = places(&data);
            write_manifest_of_format_1(&data);
            let manifest = fs::read(data.path.join(MANIFEST)).unwrap();
            drop(data);
            damage(&places);
            let error = open(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::Lost { .. }), "{error}");
            assert_eq!(fs::read(dir.path().join(MANIFEST)).unwrap(), manifest);
        }
        check(|places| fs::remove_dir_all(places[0].dir()).unwrap());
        check(|places| fs::remove_file(places[1].data_file()).unwrap());
        check(|places| fs::write(places[1].data_file(), "").unwrap());
        // The last one may be new, but not with a journal, nor with applications.
        check(|places| fs::remove_file(places[2].data_file()).unwrap());
        check(|places| {
            fs::remove_dir_all(places[2].dir()).unwrap();
            let shards = places[2].dir().parent().unwrap();
            fs::write(shards.with_file_name(BLOBS).join("blob"), "").unwrap();
        });
    }
}
