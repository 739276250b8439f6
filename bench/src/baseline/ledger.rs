//! The baseline's storage: one LMDB environment, a snapshot per read, group
//! commit for writes.
//!
//! Two databases: `entries` (context, zero byte, key -> JSON value) and `heads`
//! (context -> count of changes and a digest, which is what a reply shows as
//! `root`). Reads happen on the runtime's thread. Writes are gathered there and
//! handed over as a whole batch to one commit thread, which lives on the same
//! core and sleeps in the flush; the next batch is what arrived meanwhile. One
//! wake-up each way per batch, however many writes are in it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc as threads;

use anyhow::{Context as _, Result, anyhow, bail};
use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvOpenOptions, RwTxn};
use serde::{Serialize, Serializer};
use tokio::sync::{mpsc, oneshot};

/// Address space, not disk: enough for a million keys many times over.
const MAP_BYTES_MAX: usize = 16 << 30;
/// Writes waiting for their batch; more clients than this wait in their
/// handler.
const WRITES_QUEUED_MAX: usize = 4096;
/// Writes in one transaction.
const WRITES_PER_BATCH_MAX: usize = 1024;

/// 32 bytes that a reply shows in base58, as the server under test does.
#[derive(Clone, Copy)]
pub(super) struct Root([u8; 32]);

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; five8::BASE58_ENCODED_32_MAX_LEN];
        let len = usize::from(five8::encode_32(&self.0, &mut text));
        serializer
            .serialize_str(std::str::from_utf8(&text[..len]).map_err(serde::ser::Error::custom)?)
    }
}

/// The state of one context as far as replies show it.
#[derive(Clone, Copy)]
struct Head {
    version: u64,
    root: [u8; 32],
}

impl Head {
    const EMPTY: Self = Self {
        version: 0,
        root: [0; 32],
    };

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (version, root) = bytes.split_first_chunk().context("a head is 40 bytes")?;
        Ok(Self {
            version: u64::from_le_bytes(*version),
            root: root.try_into().context("a head is 40 bytes")?,
        })
    }

    fn to_bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..].copy_from_slice(&self.root);
        bytes
    }
}

/// One write on its way to the commit thread, owned so that it can cross.
pub(super) struct Write {
    context: Box<str>,
    /// Absent for the creation of a context.
    entry: Option<(Vec<u8>, Box<str>)>,
}

impl Write {
    pub(super) fn new(context: &str, key: &str, value: &str) -> Self {
        Self {
            context: context.into(),
            entry: Some((entry_key(context, key), value.into())),
        }
    }

    pub(super) fn create(context: &str) -> Self {
        Self {
            context: context.into(),
            entry: None,
        }
    }
}

/// The receipt of a flushed write.
pub(super) struct Written {
    /// What was under the key before.
    pub(super) previous: Option<Box<[u8]>>,
    pub(super) delta_id: Root,
    pub(super) root: Root,
}

type Database = heed::Database<'static, Bytes, Bytes>;

/// The open environment; a clone is another handle on the same one.
#[derive(Clone)]
pub(super) struct Ledger {
    env: Env,
    entries: Database,
    heads: Database,
}

impl Ledger {
    #[allow(unsafe_code)]
    pub(super) fn open(data_dir: &Path) -> Result<Self> {
        fs::create_dir_all(data_dir).with_context(|| format!("create {}", data_dir.display()))?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES_MAX).max_dbs(2);
        // SAFETY: the file is mapped; it is sound as long as nobody else
        // truncates it or opens it twice in one process. The directory belongs
        // to this benchmark run, and this is the only place that opens it.
        let env = unsafe { options.open(data_dir) }
            .with_context(|| format!("open {}", data_dir.display()))?;
        let txn = env.write_txn()?;
        let (entries, heads) = env
            .create_databases_and_commit(
                txn,
                |opener, txn| -> heed::Result<CommitOrAbort<_, ()>> {
                    let entries = opener.create_database::<Bytes, Bytes>(txn, Some("entries"))?;
                    let heads = opener.create_database::<Bytes, Bytes>(txn, Some("heads"))?;
                    Ok(CommitOrAbort::Commit((entries, heads)))
                },
            )?
            .unwrap_commit();
        Ok(Self {
            env,
            entries,
            heads,
        })
    }

    /// Shows one value and the context's root on a snapshot of what is
    /// committed now.
    pub(super) fn read<T>(
        &self,
        context: &str,
        key: &str,
        show: impl FnOnce(Root, Option<&[u8]>) -> Result<T>,
    ) -> Result<T> {
        let txn = self.env.read_txn()?;
        let head = self
            .heads
            .get(&txn, context.as_bytes())?
            .ok_or_else(|| anyhow!("no context {context}"))?;
        let value = self.entries.get(&txn, &entry_key(context, key))?;
        show(Root(Head::from_bytes(head)?.root), value)
    }

    /// Starts the commit thread and the task that fills its batches. Must be
    /// called on the runtime.
    pub(super) fn start_writer(&self) -> Result<Writer> {
        let (inbox, queued) = mpsc::channel(WRITES_QUEUED_MAX);
        // One batch is being flushed while the next gathers, so one place is
        // enough.
        let (batches, incoming) = threads::sync_channel(1);
        let ledger = self.clone();
        std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || ledger.commit_batches(incoming))
            .context("start the commit thread")?;
        tokio::spawn(gather(queued, batches));
        Ok(Writer { inbox })
    }

    /// The commit thread: one transaction per batch until the runtime is gone.
    fn commit_batches(self, incoming: threads::Receiver<Batch>) {
        for Batch { writes, done } in incoming {
            // The receiver is gone only when the process is ending.
            let _ = done.send(self.commit(&writes));
        }
    }

    fn commit(&self, writes: &[Write]) -> Result<Vec<Result<Written>>> {
        let mut txn = self.env.write_txn()?;
        let mut heads = HashMap::with_capacity(writes.len());
        let mut written = Vec::with_capacity(writes.len());
        for write in writes {
            let head = match heads.entry(&*write.context) {
                Entry::Occupied(known) => Some(known.into_mut()),
                Entry::Vacant(free) => self.head(&txn, write)?.map(|head| free.insert(head)),
            };
            written.push(match head {
                None => Err(anyhow!("no context {}", write.context)),
                Some(head) => Ok(self.apply(&mut txn, write, head)?),
            });
        }
        for (context, head) in &heads {
            self.heads
                .put(&mut txn, context.as_bytes(), &head.to_bytes())?;
        }
        txn.commit()?;
        Ok(written)
    }

    /// The head that a write builds on; `None` when its context does not exist.
    fn head(&self, txn: &RwTxn<'_>, write: &Write) -> Result<Option<Head>> {
        if write.entry.is_none() {
            return Ok(Some(Head::EMPTY));
        }
        self.heads
            .get(txn, write.context.as_bytes())?
            .map(Head::from_bytes)
            .transpose()
    }

    fn apply(&self, txn: &mut RwTxn<'_>, write: &Write, head: &mut Head) -> Result<Written> {
        let mut delta = blake3::Hasher::new();
        delta.update(&head.root);
        let mut previous = None;
        if let Some((key, value)) = &write.entry {
            previous = self.entries.get(txn, key)?.map(Box::from);
            self.entries.put(txn, key, value.as_bytes())?;
            delta.update(key).update(value.as_bytes());
        }
        head.version += 1;
        delta.update(&head.version.to_le_bytes());
        head.root = *delta.finalize().as_bytes();
        Ok(Written {
            previous,
            delta_id: Root(head.root),
            root: Root(head.root),
        })
    }
}

/// The way into the commit thread.
#[derive(Clone)]
pub(super) struct Writer {
    inbox: mpsc::Sender<(Write, Answer)>,
}

type Answer = oneshot::Sender<Result<Written>>;

impl Writer {
    /// Returns once the write is on disk.
    pub(super) async fn commit(&self, write: Write) -> Result<Written> {
        let (answer, answered) = oneshot::channel();
        self.inbox
            .send((write, answer))
            .await
            .map_err(|_| anyhow!("the commit task has ended"))?;
        answered
            .await
            .map_err(|_| anyhow!("the commit task has ended"))?
    }
}

struct Batch {
    writes: Vec<Write>,
    done: oneshot::Sender<Result<Vec<Result<Written>>>>,
}

/// Gathers what arrives while the previous batch is being flushed, and hands
/// replies back to the handlers.
async fn gather(mut queued: mpsc::Receiver<(Write, Answer)>, batches: threads::SyncSender<Batch>) {
    let mut arrived = Vec::with_capacity(WRITES_PER_BATCH_MAX);
    while queued.recv_many(&mut arrived, WRITES_PER_BATCH_MAX).await > 0 {
        let (writes, answers): (Vec<_>, Vec<_>) = arrived.drain(..).unzip();
        let (done, flushed) = oneshot::channel();
        // Never waits: the place is free, because the batch before has been
        // answered.
        if batches.send(Batch { writes, done }).is_err() {
            return;
        }
        let outcome = match flushed.await {
            Ok(outcome) => outcome,
            Err(_) => return,
        };
        match outcome {
            Ok(written) => {
                for (answer, result) in answers.into_iter().zip(written) {
                    // A handler that is gone had a client that is gone.
                    let _ = answer.send(result);
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(anyhow!("commit failed: {error}")));
                }
            }
        }
    }
}

fn entry_key(context: &str, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(context.len() + 1 + key.len());
    bytes.extend_from_slice(context.as_bytes());
    // Not a base58 digit, so that no context's entries can be inside another's.
    bytes.push(0);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Reads the token, or creates it where the server under test would:
/// `keys/token`, readable only by its owner.
pub(super) fn token(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("keys").join("token");
    if path.exists() {
        return fs::read_to_string(&path)
            .map(|token| token.trim().into())
            .with_context(|| format!("read {}", path.display()));
    }
    let mut secret = [0; 32];
    if let Err(error) = getrandom::fill(&mut secret) {
        bail!("no randomness for a token: {error}");
    }
    let token = bs58::encode(secret).into_string();
    fs::create_dir_all(data_dir.join("keys"))?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(token.as_bytes())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(token)
}
