//! A backup becomes a data directory. Everything is made beside the place where it is to
//! be, without a manifest, so that no server takes a half restored directory for one;
//! each context is compared with its root as it comes, the whole is checked as it lies on
//! disk, and then gets its name. The number of shards may be another than the source's:
//! each context goes where its id says. Start at [`restore`].

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::ahead::Ahead;
use super::frame::ExportKind;
use super::inspect::Inspected;
use super::keys::is_key_name;
use super::row::{BackupCounts, FileKind, Row};
use super::{Arrival, Intake, sweep};
use crate::blobs::{BlobLimit, BlobWriter, Blobs};
use crate::change::Change;
use crate::check::check_open;
use crate::data_dir::{DataDir, Lock, done_or_missing, make_private_dir, sync_dir};
use crate::error::ImportError;
use crate::ids::{ApplicationId, BlobId, ContextId, NodeId, ShardCount, ShardId};
use crate::ledger::{Ledger, LedgerConfig};
use crate::manifest::Manifest;
use crate::record::ContextRecord;
use crate::writer::LedgerWriter;

/// Behind the name of the directory that is being restored.
const UNFINISHED: &str = ".restoring";

/// Names and applications committed at a time, and bytes of them: far less than the ledger
/// takes at once.
const BATCH: usize = 1024;
const BATCH_BYTES: u64 = 8 << 20;

/// How to restore.
pub struct RestoreOptions<'o> {
    /// How many shards; as many as the source had if `None`.
    pub shards: Option<ShardCount>,
    /// What the file of an application's component is called.
    pub component: &'o dyn Fn(&ApplicationId) -> String,
    /// Bounds of the ledgers while they are filled.
    pub ledger: LedgerConfig,
    /// When, and how far the backup is believed.
    pub arrival: Arrival,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Whose data it is.
    pub node: NodeId,
    /// How many shards it has now.
    pub shards: ShardCount,
    /// What it holds.
    pub counts: BackupCounts,
    /// The first thousand contexts that are not in the backup, as they were out of service, and why.
    pub left_out: Vec<(ContextId, String)>,
    /// The first thousand blobs that are attached and not in the backup, and why.
    pub blobs_left_out: Vec<(BlobId, String)>,
    /// Whether the backup had the node's keys.
    pub has_keys: bool,
}

/// So many of what a backup lacks are named.
const LEFT_OUT_NAMED_MAX: usize = 1000;

/// Makes the data directory at `path`, where nothing may be, of the backup that `input` gives;
/// `tell` hears how many contexts are there. What an attempt that was cut short has left
/// beside it is removed.
///
/// If it fails there is nothing at `path`. `input` is read as by
/// [`import_context`](super::import_context).
pub fn restore(
    input: impl Read + Send + 'static,
    path: &Path,
    options: &RestoreOptions<'_>,
    tell: &mut dyn FnMut(u64),
) -> Result<Restored, ImportError> {
    let path = &real_path(path)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::File { path, source }
    };
    if !is_free(path).map_err(failed(path))? {
        let path = path.to_owned();
        return Err(ImportError::PlaceTaken { path });
    }
    let beside = beside(path);
    let lock = claim(&beside)?;
    let restored = make(input, &beside, lock, options, tell).and_then(|restored| {
        place(&beside, path)?;
        Ok(restored)
    });
    if restored.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    restored
}

/// Makes the directory anew and locks it. Unless another restore is at it now, what is there is what a
/// kill has left.
fn claim(beside: &Path) -> Result<Lock, ImportError> {
    let parent = beside.parent().filter(|it| !it.as_os_str().is_empty());
    // Of two that begin at once one comes behind the other. Nobody holds this for longer than it
    // takes to lock what is in there; where it cannot be had, who comes second may find half of it.
    let turn = File::open(parent.unwrap_or(Path::new(".")));
    let _turn = turn.and_then(|turn| {
        flock(&turn, FlockOperation::LockExclusive)?;
        Ok(turn)
    });
    let left = Lock::look(beside)?;
    done_or_missing(fs::remove_dir_all(beside)).map_err(|source| ImportError::File {
        path: beside.to_owned(),
        source,
    })?;
    drop(left);
    make_private_dir(beside)?;
    Ok(Lock::take(beside)?)
}

/// Where a restore to `path` makes what it restores, if that is there and `path` has no data:
/// it was cut short, or is still at it.
pub fn unfinished_restore(path: &Path) -> Option<PathBuf> {
    // What cannot be looked at is not ours to tell: who wants it trips over it.
    let has_none = matches!(DataDir::node_if_any(path), Ok(None));
    let beside = beside(&real_path(path).ok()?);
    (has_none && beside.symlink_metadata().is_ok()).then_some(beside)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// Whether there is nothing at `path`, or a directory with nothing in it.
fn is_free(path: &Path) -> io::Result<bool> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(entries.next().transpose()?.is_none())
}

/// Gives what is whole its name.
fn place(beside: &Path, path: &Path) -> Result<(), ImportError> {
    // An empty directory gives way to it.
    fs::rename(beside, path).map_err(|source| ImportError::File {
        path: path.to_owned(),
        source,
    })?;
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let synced = sync_dir(parent.unwrap_or(Path::new(".")));
    if synced.is_err() {
        // Its name may be gone with the power, so it is not restored. If it cannot be taken back
        // either, it is there, and whole as long as the power lasts.
        let _ = fs::rename(path, beside);
    }
    Ok(synced?)
}

/// Where it is to be: the end of a link, and a name where there is only `.`. The root of
/// another file system cannot give way to what lies beside it.
fn real_path(path: &Path) -> Result<PathBuf, ImportError> {
    let failed = |source| ImportError::File {
        path: path.to_owned(),
        source,
    };
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(failed(error)),
    };
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
    let Some(parent) = real.parent() else {
        return Err(ImportError::PlaceFixed { path: real });
    };
    match device(&real).map_err(failed)? == device(parent).map_err(failed)? {
        true => Ok(real),
        false => Err(ImportError::PlaceFixed { path: real }),
    }
}

fn make(
    input: impl Read + Send + 'static,
    beside: &Path,
    lock: Lock,
    options: &RestoreOptions<'_>,
    tell: &mut dyn FnMut(u64),
) -> Result<Restored, ImportError> {
    let mut copy = Ahead::begin(input)?;
    if copy.kind() != ExportKind::Backup {
        return Err(ImportError::malformed(
            "it is no backup, but an export of one context",
        ));
    }
    let mut chunk = copy.next()?.unwrap_or_default();
    let mut rows = chunk.rows();
    let first = rows.next().transpose()?;
    let (node, shards) = match first.map(|first| first.row) {
        Some(Row::Node { id, shards }) => (id, ShardCount::new(shards)),
        Some(_) => {
            return Err(ImportError::malformed(
                "a backup does not begin as one does",
            ));
        }
        None => return Err(ImportError::malformed("it ends too early")),
    };
    let shards = options.shards.or(shards);
    let shards = shards.ok_or(ImportError::malformed(
        "it has an impossible number of shards",
    ))?;
    let data = DataDir::begin(beside, Manifest::new(shards, node), lock)?;
    let mut ledgers = Vec::new();
    for shard in shards.shards() {
        ledgers.push(Ledger::open(&data.ledger_place(shard), &options.ledger)?);
    }
    let mut making = Making {
        data: &data,
        shards,
        writers: ledgers.iter().map(Ledger::writer).collect(),
        intake: None,
        file: None,
        blobs: Blobs::open(data.blobs_dir())?,
        component: options.component,
        changes: Vec::new(),
        change_bytes: 0,
        arrival: options.arrival,
        counts: BackupCounts::default(),
        left_out: Vec::new(),
        blobs_left_out: Vec::new(),
        has_keys: false,
        is_whole: false,
    };
    loop {
        for row in rows {
            making.row(row?, tell)?;
        }
        copy.give_back(chunk);
        let Some(next) = copy.next()? else { break };
        chunk = next;
        rows = chunk.rows();
    }
    let left_out = std::mem::take(&mut making.left_out);
    let blobs_left_out = std::mem::take(&mut making.blobs_left_out);
    let (counts, has_keys) = making.finish(&ledgers)?;
    drop(ledgers);
    for dir in [data.blobs_dir(), data.keys_dir()] {
        sync_dir(&dir)?;
    }
    if let Some(finding) = check_open(&data, &mut |_| {}).findings.first() {
        return Err(ImportError::NotWhole {
            finding: finding.to_string(),
        });
    }
    data.complete()?;
    drop(data);
    Ok(Restored {
        node,
        shards,
        counts,
        left_out,
        blobs_left_out,
        has_keys,
    })
}

/// A directory that is being filled.
struct Making<'m> {
    data: &'m DataDir,
    shards: ShardCount,
    writers: Vec<LedgerWriter<'m>>,
    /// The context whose rows come, and the shard on which.
    intake: Option<(usize, Intake<'m>)>,
    file: Option<Incoming>,
    blobs: Blobs,
    component: &'m dyn Fn(&ApplicationId) -> String,
    changes: Vec<Change>,
    change_bytes: u64,
    arrival: Arrival,
    counts: BackupCounts,
    left_out: Vec<(ContextId, String)>,
    blobs_left_out: Vec<(BlobId, String)>,
    has_keys: bool,
    is_whole: bool,
}

/// A file of which parts come.
struct Incoming {
    kind: FileKind,
    id: [u8; 32],
    content: Content,
}

enum Content {
    Component {
        path: PathBuf,
        file: File,
        hasher: Box<blake3::Hasher>,
    },
    Blob(BlobWriter),
}

impl Making<'_> {
    fn row(
        &mut self,
        inspected: Inspected<'_>,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let row = &inspected.row;
        // The keys come last: whoever has them puts them behind what the server gives.
        if self.is_whole && !matches!(row, Row::Key { .. }) {
            return Err(ImportError::malformed("rows follow the end of the backup"));
        }
        let is_same_file = matches!(
            (row, &self.file),
            (Row::FilePart { kind, id, .. }, Some(file)) if (*kind, *id) == (file.kind, file.id)
        );
        if let Row::BlobLeftOut { id, .. } = row {
            // It was found damaged when some of it was written already.
            let is_it =
                |file: &mut Incoming| (file.kind, file.id) == (FileKind::Blob, *id.as_bytes());
            drop(self.file.take_if(is_it));
        }
        if !is_same_file {
            self.close_file()?;
        }
        if let Some((shard, intake)) = &mut self.intake {
            let writer = &mut self.writers[*shard];
            intake.row(writer, inspected)?;
            if intake.is_whole() {
                let (_, intake) = self.intake.take().expect("it was matched above");
                intake.finish(writer)?;
                self.counts.contexts += 1;
                tell(self.counts.contexts);
            }
            return Ok(());
        }
        match inspected.row {
            Row::Context { id, .. } => {
                let shard = usize::from(ShardId::of(&id, self.shards).number());
                let mut intake = Intake::of_copy(self.arrival);
                intake.row(&mut self.writers[shard], inspected)?;
                self.intake = Some((shard, intake));
            }
            Row::Application(record) => {
                self.counts.applications += 1;
                self.change(Change::PutApplication(record))?;
            }
            Row::Name { name, context } => {
                self.counts.names += 1;
                if self.has_name(&context, name)? {
                    let name = name.to_owned();
                    self.change(Change::PutName { name, context })?;
                }
            }
            Row::LeftOut { id, why } => {
                self.counts.left_out += 1;
                name_first(&mut self.left_out, id, why);
            }
            Row::BlobLeftOut { id, why } => {
                self.counts.blobs_left_out += 1;
                name_first(&mut self.blobs_left_out, id, why);
            }
            Row::FilePart { kind, id, bytes } => self.part(kind, id, bytes)?,
            Row::Key { name, bytes } => self.key(name, bytes)?,
            Row::BackupEnd(counts) => {
                if counts != self.counts {
                    return Err(ImportError::malformed(
                        "it holds other things than its end says",
                    ));
                }
                self.is_whole = true;
            }
            _ => {
                return Err(ImportError::malformed(
                    "a row does not belong there in a backup",
                ));
            }
        }
        Ok(())
    }

    /// Commits it with others, on the shard that keeps the directory.
    fn change(&mut self, change: Change) -> Result<(), ImportError> {
        self.change_bytes += change.bytes();
        self.changes.push(change);
        match self.changes.len() < BATCH && self.change_bytes < BATCH_BYTES {
            true => Ok(()),
            false => self.commit(),
        }
    }

    fn commit(&mut self) -> Result<(), ImportError> {
        let changes = std::mem::take(&mut self.changes);
        self.change_bytes = 0;
        let outcome = self.writers[0].commit_shown(changes)?;
        match outcome.verdicts.into_iter().all(|verdict| verdict.is_ok()) {
            true => Ok(()),
            false => Err(ImportError::malformed(
                "a name or an application in it is impossible",
            )),
        }
    }

    /// Whether the context is there and says that it has this name: it may have been
    /// deleted while the backup was written.
    fn has_name(&self, context: &ContextId, name: &str) -> Result<bool, ImportError> {
        let shard = usize::from(ShardId::of(context, self.shards).number());
        let record = self.writers[shard].snapshot()?.context(context)?;
        Ok(record.is_some_and(|record| record.name.as_deref() == Some(name)))
    }

    fn part(&mut self, kind: FileKind, id: [u8; 32], bytes: &[u8]) -> Result<(), ImportError> {
        if self.file.is_none() {
            let content = match kind {
                FileKind::Component => {
                    let name = (self.component)(&ApplicationId::from_bytes(id));
                    let path = self.data.blobs_dir().join(name);
                    Content::Component {
                        file: new_file(&path)?,
                        hasher: Box::default(),
                        path,
                    }
                }
                FileKind::Blob => {
                    let limit = BlobLimit::FORMAT;
                    let expected = Some(BlobId::from_bytes(id));
                    Content::Blob(self.blobs.writer(expected, limit)?)
                }
            };
            self.file = Some(Incoming { kind, id, content });
        }
        let file = self.file.as_mut().expect("it was opened above");
        match &mut file.content {
            Content::Component { path, file, hasher } => {
                hasher.update(bytes);
                file.write_all(bytes).map_err(|source| ImportError::File {
                    path: path.clone(),
                    source,
                })
            }
            Content::Blob(writer) => Ok(writer.write(bytes)?),
        }
    }

    fn close_file(&mut self) -> Result<(), ImportError> {
        let Some(Incoming { id, content, .. }) = self.file.take() else {
            return Ok(());
        };
        self.counts.files += 1;
        match content {
            Content::Component { path, file, hasher } => {
                if *hasher.finalize().as_bytes() != id {
                    return Err(ImportError::malformed(
                        "a component is another than it says",
                    ));
                }
                let synced = file.sync_all();
                synced.map_err(|source| ImportError::File { path, source })
            }
            Content::Blob(writer) => {
                // Nobody can remove it before the directory has its name.
                drop(writer.finish()?);
                Ok(())
            }
        }
    }

    fn key(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImportError> {
        if !is_key_name(name) {
            return Err(ImportError::malformed("a key file has an impossible name"));
        }
        let path = self.data.keys_dir().join(name);
        let mut file = new_file(&path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        self.has_keys = true;
        written.map_err(|source| ImportError::File { path, source })
    }

    /// Everything came.
    fn finish(mut self, ledgers: &[Ledger]) -> Result<(BackupCounts, bool), ImportError> {
        if !self.is_whole {
            return Err(ImportError::malformed("it ends in the middle"));
        }
        self.commit()?;
        self.name_all(ledgers)?;
        self.writers.iter_mut().for_each(sweep);
        Ok((self.counts, self.has_keys))
    }

    /// A context may have lost its name while the backup was written, by being deleted: in
    /// the backup it is there, and has it, unless another has it since.
    fn name_all(&mut self, ledgers: &[Ledger]) -> Result<(), ImportError> {
        for (shard, ledger) in ledgers.iter().enumerate() {
            let snapshot = ledger.snapshot()?;
            let mut after = None;
            loop {
                let page = snapshot.contexts(after, BATCH)?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                let directory = self.writers[0].snapshot()?;
                let mut given = HashSet::new();
                for mut record in page {
                    let context = record.id;
                    let Some(name) = record.name.take() else {
                        continue;
                    };
                    match directory.name(&name)? {
                        Some(holder) if holder == context => {}
                        None if given.insert(name.clone()) => {
                            self.change(Change::PutName { name, context })?;
                        }
                        Some(_) | None => put_context(&mut self.writers[shard], &record)?,
                    }
                }
                // The next page finds these.
                self.commit()?;
            }
        }
        Ok(())
    }
}

/// Writes the record of a context anew.
fn put_context(writer: &mut LedgerWriter<'_>, record: &ContextRecord) -> Result<(), ImportError> {
    let mut txn = writer.begin_aside()?;
    let mut bytes = Vec::new();
    record.seal(&mut bytes);
    let (table, key) = (writer.tables().contexts, record.id.as_bytes());
    let put = table.put(&mut txn, key, &bytes);
    put.map_err(|error| writer.engine(error))?;
    let next = writer.next();
    writer.commit_aside(txn, next)?;
    Ok(())
}

fn new_file(path: &Path) -> Result<File, ImportError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    made.map_err(|source| ImportError::File {
        path: path.to_owned(),
        source,
    })
}

fn name_first<T>(named: &mut Vec<(T, String)>, id: T, why: &str) {
    if named.len() < LEFT_OUT_NAMED_MAX {
        named.push((id, why.to_owned()));
    }
}
