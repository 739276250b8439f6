//! Copies of the node's state for those who ask from outside: a backup of everything, one
//! context, or what somebody makes of one. Each has a thread of its own, which may block: it
//! asks the commit threads for snapshots that hold all that is durable by then, and writes
//! what it reads from them in parts. The parts go through a mailbox to the shard that answers the client, as
//! many ahead as [`PARTS_AHEAD`], so that a slow client slows the thread down and takes no
//! memory. While a copy goes on, its snapshots keep pages of the ledgers from being used
//! again: so its time is bounded, however slowly or oddly its client takes it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{
    BackupSource, ContextId, ContextRecord, DataDir, ExportError, ExportScope, NodeId, PastError,
    Snapshot, StoreError, export_context, write_backup,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::asks::{CommitThreads, NotAnswered};
use crate::blobs::BlobService;
use crate::bounds::Bounds;
use crate::components::component_file;
use crate::error::CallError;
use crate::mailbox::{Inbox, Outbox, mailbox};
use crate::places::Places;
use crate::sends::Cut;

/// Bytes of a part.
const PART_BYTES: usize = 256 << 10;

/// Parts that wait for the client.
const PARTS_AHEAD: usize = 4;

/// What copies are made of; one for all shards.
#[derive(Clone)]
pub(crate) struct Copier {
    node: NodeId,
    components: PathBuf,
    commit_threads: CommitThreads,
    blobs: BlobService,
    places: Arc<Places>,
    /// Tells shards while parts are taken that have to fit together.
    cut: Cut,
    /// So long a copy may take, with its client.
    age_max: Duration,
}

/// Reads a context in a snapshot of its shard, and writes what is wanted of it. Once it is told
/// that it is over (its time is, or nobody waits any more) what it writes is not taken,
/// and what it reads without writing it has to end itself, with [`PastError::Stopped`].
pub type ContextReader = Box<
    dyn FnOnce(
            &Snapshot,
            &ContextRecord,
            &dyn Fn() -> bool,
            &mut dyn Write,
        ) -> Result<(), ReadError>
        + Send,
>;

/// Why a context could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is damaged, or its past is not there.
    #[error(transparent)]
    Past(#[from] PastError),
    /// Nobody takes what is written.
    #[error("what was read cannot be handed on")]
    Write(#[from] io::Error),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        ReadError::Past(PastError::Store(error))
    }
}

/// What is to be copied.
pub(crate) enum Wanted {
    Everything,
    Context { id: ContextId, scope: ExportScope },
    Read { id: ContextId, read: ContextReader },
}

enum Part {
    Bytes(Bytes),
    Failed(CallError),
    End,
}

/// A copy on its way out. Dropping it ends the thread that makes it.
pub struct CopyStream {
    parts: Inbox<Part>,
    /// A word for each part that was taken.
    taken: Sender<()>,
    /// Tells the thread that somebody waits.
    _waits: Arc<()>,
    has_ended: bool,
}

impl Copier {
    pub(crate) fn new(
        data: &DataDir,
        commit_threads: CommitThreads,
        blobs: BlobService,
        bounds: &Bounds,
    ) -> Copier {
        Copier {
            node: data.manifest().node_id,
            components: data.blobs_dir(),
            commit_threads,
            blobs,
            places: Places::new("copies_max", bounds.copies_max),
            cut: Cut::default(),
            age_max: bounds.copy_age_max,
        }
    }

    /// One that has no shards to copy.
    #[cfg(test)]
    pub(crate) fn of_nothing(blobs: BlobService) -> Copier {
        let count = corelet_store::ShardCount::new(1).unwrap();
        Copier {
            node: NodeId::from_bytes([0; 32]),
            components: PathBuf::new(),
            commit_threads: CommitThreads::new(count, Vec::new()),
            blobs,
            places: Places::new("copies_max", 0),
            cut: Cut::default(),
            age_max: Duration::ZERO,
        }
    }

    /// Whether parts are being taken.
    pub(crate) fn cut(&self) -> &Cut {
        &self.cut
    }

    /// Begins a copy.
    pub(crate) fn begin(&self, wanted: Wanted) -> Result<CopyStream, CallError> {
        let place = self.places.take()?;
        // Before the first snapshot is taken: what one shows as attached has to stay.
        let keeping = matches!(wanted, Wanted::Everything).then(|| self.blobs.keep_all());
        // One more for the end.
        let (outbox, parts) = mailbox(PARTS_AHEAD + 1);
        let (taken, room) = bounded(PARTS_AHEAD);
        for _ in 0..PARTS_AHEAD {
            taken.send(()).expect("there is a place for each");
        }
        let waits = Arc::new(());
        let client = Arc::downgrade(&waits);
        let copier = self.clone();
        let deadline = Instant::now() + self.age_max;
        let work = move || {
            let _places = (place, keeping);
            let mut out = Parts {
                outbox,
                room,
                part: Vec::with_capacity(PART_BYTES),
                client,
                deadline,
                is_overdue: false,
            };
            let made = copier.make(wanted, &mut out);
            let last = match made.and_then(|()| out.send().map_err(unwritten)) {
                Ok(()) => Part::End,
                Err(_) if out.is_overdue => {
                    let max = copier.age_max;
                    tracing::warn!(copy_age_max = ?max, "a copy was broken off, as it was not made, and taken by its client, in time; what it held up is free again");
                    Part::Failed(CallError::CopyTooOld { max })
                }
                Err(error) => Part::Failed(error),
            };
            // Where the client has gone, nobody minds.
            let _ = out.outbox.post(last);
        };
        let thread = std::thread::Builder::new().name("copy".to_owned());
        thread.spawn(work).map_err(|error| CallError::File {
            doing: "start a thread for a copy".to_owned(),
            source: Arc::new(error),
        })?;
        Ok(CopyStream {
            parts,
            taken,
            _waits: waits,
            has_ended: false,
        })
    }

    fn make(&self, wanted: Wanted, out: &mut Parts) -> Result<(), CallError> {
        match wanted {
            Wanted::Context { id, scope } => {
                let snapshot = self.commit_threads.snapshot_of(&id)?;
                let exported = export_context(&snapshot, &id, scope, out);
                drop(snapshot);
                exported.map_err(|error| self.unmade(error))?;
            }
            Wanted::Read { id, read } => {
                let snapshot = self.commit_threads.snapshot_of(&id)?;
                let context = snapshot.context(&id)?.ok_or_else(|| not_found(id))?;
                if let Some(out) = snapshot.quarantined(context.slot)? {
                    return Err(CallError::OutOfService {
                        context: id,
                        why: Arc::from(out.why),
                    });
                }
                let (client, deadline) = (out.client.clone(), out.deadline);
                let is_over = || has_gone(&client) || deadline <= Instant::now();
                let made = read(&snapshot, &context, &is_over, out);
                made.map_err(|error| match error {
                    ReadError::Past(PastError::Stopped) if has_gone(&client) => unwritten(gone()),
                    ReadError::Past(PastError::Stopped) => unwritten(out.is_late()),
                    ReadError::Past(PastError::Store(error)) => CallError::from(error),
                    ReadError::Past(error) => CallError::Past(Arc::new(error)),
                    ReadError::Write(error) => unwritten(error),
                })?;
            }
            Wanted::Everything => {
                let cutting = self.cut.begin();
                let snapshots = self.commit_threads.snapshots()?;
                drop(cutting);
                let source = BackupSource {
                    node: self.node,
                    snapshots: &snapshots,
                    component: &|id| self.components.join(component_file(id)),
                    blobs: Some(self.blobs.blobs()),
                };
                let written = write_backup(&source, out, &mut |_| {});
                drop(snapshots);
                written.map_err(|error| self.unmade(error))?;
            }
        }
        Ok(())
    }

    /// Why there is no copy. A context that has met damage is out of service from then on, so
    /// that the next backup is made without it: what is damaged may be read by nothing else.
    fn unmade(&self, error: ExportError) -> CallError {
        let ExportError::Damaged { context, source } = error else {
            return failed(error);
        };
        match self.put_out_of_service(context) {
            Ok(Some(why)) => CallError::OutOfService { context, why },
            // The copy was made of what was there when it began, and has met it all the same.
            Ok(None) => CallError::Store(Arc::new(source)),
            Err(error) => error.into(),
        }
    }

    /// Has a context taken out of service if it is damaged as it is now. A copy may have begun
    /// long ago: the record that it has met, or the whole context, may be gone. Says why it is
    /// out of service, if it is.
    fn put_out_of_service(&self, context: ContextId) -> Result<Option<Arc<str>>, NotAnswered> {
        let snapshot = self.commit_threads.snapshot_of(&context)?;
        let looked = export_context(&snapshot, &context, ExportScope::ALL, &mut io::sink());
        drop(snapshot);
        let damage = match looked {
            Err(
                ExportError::Damaged { source, .. }
                | ExportError::Store(source @ StoreError::Corrupt { .. }),
            ) => source,
            // Somebody else has met it.
            Err(ExportError::Quarantined { why, .. }) => return Ok(Some(Arc::from(why))),
            Err(ExportError::Store(error)) => return Err(error.into()),
            _ => return Ok(None),
        };
        let why = Arc::from(damage.to_string());
        let is_out = self.commit_threads.put_out_of_service(context, damage)?;
        Ok(is_out.then_some(why))
    }
}

fn not_found(context: ContextId) -> CallError {
    CallError::ContextNotFound {
        context: context.to_string(),
    }
}

fn unwritten(error: io::Error) -> CallError {
    failed(ExportError::from(error))
}

fn failed(error: ExportError) -> CallError {
    match error {
        ExportError::UnknownContext { context } => not_found(context),
        ExportError::Store(error) => CallError::Store(Arc::new(error)),
        error => CallError::File {
            doing: "make the copy".to_owned(),
            source: Arc::new(io::Error::other(error)),
        },
    }
}

impl CopyStream {
    /// The next part; `None` at the end, when all of the copy was handed out.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(part) = self.parts.poll_take(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(match part {
            Part::Bytes(bytes) => {
                // The thread is gone only if it has said so in a part behind this one.
                let _ = self.taken.try_send(());
                Some(Ok(bytes))
            }
            Part::Failed(error) => {
                self.has_ended = true;
                Some(Err(error))
            }
            Part::End => {
                self.has_ended = true;
                None
            }
        })
    }
}

/// Whether the stream was dropped.
fn has_gone(client: &Weak<()>) -> bool {
    client.strong_count() == 0
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")
}

/// Where the thread writes.
struct Parts {
    outbox: Outbox<Part>,
    room: Receiver<()>,
    part: Vec<u8>,
    client: Weak<()>,
    /// Until when it may be made, and the client may take parts.
    deadline: Instant,
    /// Whether that was over before its end.
    is_overdue: bool,
}

impl Parts {
    /// Notes that its time is over.
    fn is_late(&mut self) -> io::Error {
        self.is_overdue = true;
        let late = "the copy was not made and taken in time";
        io::Error::new(io::ErrorKind::TimedOut, late)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let room = match self.deadline <= Instant::now() {
            true => Err(RecvTimeoutError::Timeout),
            false => self.room.recv_deadline(self.deadline),
        };
        match room {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            Err(RecvTimeoutError::Timeout) => {
                return Err(self.is_late());
            }
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART_BYTES));
        let posted = self.outbox.post(Part::Bytes(part.into()));
        posted.map_err(|_| gone())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == PART_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
