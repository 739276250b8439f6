//! What the unit tests of several files need: contexts of a real application,
//! a real ledger with what is to be committed to it, and a shard on such a
//! ledger, of which the test is the commit thread and the other shard.

use std::cell::{Cell, RefCell};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use corelet_store::{
    AnswerBounds, AnswerKey, ApplicationId, ApplicationRecord, Attachment, Birth, Births,
    CallEffects, Change, Content, ContextId, ContextSlot, DataDir, EntryKind, Hlc, KeyedAnswer,
    Ledger, LedgerConfig, LedgerPlace, NewContext, NodeId, Op, OpenOptions, RequestDigest, Said,
    Sealer, Sequence, SequenceKind, ShardCount, ShardId, Space, Standing, StoreError, VouchedDelta,
    Write, make_seals, vouch,
};
use corelet_wasm_host::{Entry, Host, HostConfig, Instance, Module, Running, Turn};
use crossbeam_channel::Receiver;
use ed25519_dalek::{Signer, SigningKey};
use hashlink::LruCache;

use crate::blobs::BlobService;
use crate::bounds::Bounds;
use crate::clock::{Clock, System};
use crate::commit_stage::{self, Report};
use crate::commit_thread::Queued;
use crate::compiler::Compiler;
use crate::context::{Code, Context};
use crate::copies::Copier;
use crate::directory::{Directory, DirectoryData};
use crate::guest_log::GuestLogs;
use crate::inspecting::Inspection;
use crate::mailbox::{Inbox, mailbox};
use crate::mesh::Mesh;
use crate::message::{DirectoryChange, Message};
use crate::overlay::{self, Shown};
use crate::schedule::Schedule;
use crate::sequences::SequenceCache;
use crate::shard::Shard;
use crate::snapshots::Snapshots;
use crate::turn::{Begin, TurnInProgress};
use crate::uploads::UploadService;
use crate::view::{SequenceAccess, View};
use crate::warm_order::WarmOrder;
use crate::warm_sum::WarmSum;

pub(crate) fn host() -> Arc<Host> {
    static HOST: OnceLock<Arc<Host>> = OnceLock::new();
    let host = || Arc::new(Host::new(HostConfig::new(16)).unwrap());
    Arc::clone(HOST.get_or_init(host))
}

/// The application of all contexts here.
fn application() -> ApplicationId {
    ApplicationId::from_bytes([1; 32])
}

/// Its module: an update of it writes, and another one says no.
fn module() -> Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    let load = || {
        let guest = wat::parse_str(include_str!("../../tests/guests/caching.wat")).unwrap();
        let guest = corelet_build::embed_world(&guest).unwrap();
        let component = corelet_build::component_of(&guest).unwrap();
        host().load(&component).unwrap()
    };
    Arc::clone(MODULE.get_or_init(load))
}

/// The id of the `n`th context.
pub(crate) fn id(n: u8) -> ContextId {
    ContextId::from_bytes([n; 32])
}

/// The `n`th context as a shard keeps it in memory, with nothing in it.
pub(crate) fn context(n: u8, slot: ContextSlot) -> Rc<Context> {
    let standing = Standing::OF_NO_CONTEXT;
    let code = Code {
        application: application(),
        reuse: Rc::default(),
        module: module(),
    };
    Context::new(id(n), slot, code, standing, 0)
}

/// The one ledger of a new data directory.
pub(crate) fn ledger(dir: &Path, config: &LedgerConfig) -> Ledger {
    Ledger::open(&ledger_place(dir), config).unwrap()
}

/// A data directory of one shard.
pub(crate) fn data_dir(dir: &Path) -> DataDir {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([2; 32]),
    };
    DataDir::open(dir, &options).unwrap()
}

fn ledger_place(dir: &Path) -> LedgerPlace {
    let data = data_dir(dir);
    data.ledger_place(data.manifest().shards.shards().next().unwrap())
}

/// An instance that has served nobody.
pub(crate) fn instance() -> Instance {
    module().instantiate().unwrap()
}

/// A turn that has begun and never goes on.
pub(crate) fn turn_in_progress(is_query: bool) -> TurnInProgress {
    TurnInProgress::of(endless(), is_query)
}

fn endless() -> Running {
    let turn = Turn {
        entry: Entry::Init,
        args: Bytes::new(),
        context: [0; 32],
        caller: Arc::from("caller"),
        author: [0; 32],
        now_nanos: 0,
        seed: [0; 32],
        state_version: 0,
        fuel_max: 0,
        queries: 0,
        state: Box::new(View::of_init(SequenceAccess::without_cache(
            NodeId::from_bytes([0; 32]),
        ))),
    };
    instance().run(turn)
}

/// A look at an update that has begun and never goes on.
pub(crate) fn inspection(begin: Begin) -> Inspection {
    Inspection::of(begin, endless())
}

/// A ledger in a directory of its own.
pub(crate) struct Disk {
    pub(crate) ledger: Ledger,
    data_file: PathBuf,
    dir: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk::with_map(64 << 20)
    }

    /// One that is full after so many bytes.
    pub(crate) fn with_map(map_bytes_max: u64) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig {
            map_bytes_max,
            readers_max: 16,
            ..LedgerConfig::default()
        };
        let place = ledger_place(dir.path());
        Disk {
            ledger: Ledger::open(&place, &config).unwrap(),
            data_file: place.dir().join("data.mdb"),
            dir,
        }
    }

    /// Closes the ledger, for somebody else to open it.
    pub(crate) fn close(self) -> tempfile::TempDir {
        self.dir
    }

    /// Makes the `n`th context.
    pub(crate) fn create(&self, n: u8) -> ContextSlot {
        self.create_named(n, None)
    }

    pub(crate) fn create_named(&self, n: u8, name: Option<&str>) -> ContextSlot {
        let call = effects(n, ContextSlot::UNASSIGNED, 1, &[]);
        let create = Change::CreateContext(NewContext {
            id: id(n),
            name: name.map(str::to_owned),
            application: application(),
            created: call.hlc,
            call,
        });
        let verdicts = self.ledger.commit(vec![create]).unwrap();
        verdicts[0].as_ref().unwrap().slot()
    }

    /// Flips a bit behind each place where `needle` lies in the ledger's file, which may be
    /// open.
    pub(crate) fn flip(&self, needle: &[u8], offset: usize) {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(&self.data_file);
        let file = file.unwrap();
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let places = (0..bytes.len() - needle.len()).filter(|&at| bytes[at..].starts_with(needle));
        let places: Vec<usize> = places.map(|at| at + offset).collect();
        assert!(!places.is_empty(), "the ledger does not contain the needle");
        for at in places {
            file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
        }
    }

    /// What snapshots show of a context's key.
    pub(crate) fn get(&self, slot: ContextSlot, key: &'static str) -> Option<String> {
        let snapshot = self.ledger.snapshot().unwrap();
        let value = snapshot.register(slot, key.as_bytes()).unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }
}

/// Another node, which has the first context too.
pub(crate) struct Peer {
    key: SigningKey,
    disk: Disk,
    slot: ContextSlot,
    // Its one text, and by which edit that was begun.
    text: RefCell<(Sequence, Births)>,
}

impl Peer {
    pub(crate) fn new() -> Peer {
        let disk = Disk::new();
        let key = SigningKey::from_bytes(&[7; 32]);
        let author = NodeId::from_bytes(key.verifying_key().to_bytes());
        let text = Sequence::new(SequenceKind::Text, author);
        Peer {
            key,
            slot: disk.create(1),
            disk,
            text: RefCell::new((text, Births::default())),
        }
    }

    /// What it has written at microsecond `now`, for others.
    pub(crate) fn write(&self, now: u64, key: &'static str, value: &'static str) -> VouchedDelta {
        self.make(effects(1, self.slot, now, &[(key, value)]))
    }

    /// What it has written once at microsecond `now`, for others.
    pub(crate) fn write_once(
        &self,
        now: u64,
        key: &'static str,
        value: &'static str,
    ) -> VouchedDelta {
        let mut call = effects(1, self.slot, now, &[(key, "")]);
        call.ops[0].write = Write::WriteOnce(Bytes::from_static(value.as_bytes()));
        self.make(call)
    }

    /// By what it has attached a blob at microsecond `now`, for others.
    pub(crate) fn attach(&self, now: u64, attachment: Attachment) -> VouchedDelta {
        match attach(1, self.slot, now, attachment) {
            Change::Call(call) => self.make(call),
            _ => unreachable!("it is attached by a call"),
        }
    }

    /// What it has put at the front of its text at microsecond `now`, for others.
    pub(crate) fn put_in_front(&self, now: u64, key: &'static str, what: &str) -> VouchedDelta {
        let mut call = effects(1, self.slot, now, &[]);
        let (text, births) = &mut *self.text.borrow_mut();
        text.insert(0, Content::Text(what.to_owned())).unwrap();
        let update = text.take_update(call.hlc).unwrap().unwrap();
        call.ops.push(Op {
            space: Space::Shared,
            key: Bytes::from_static(key.as_bytes()),
            removes_first: false,
            write: Write::Edit {
                kind: EntryKind::Text,
                births: births.clone(),
                update: Bytes::from(update),
            },
        });
        if births.is_empty() {
            let (author, hlc) = (self.node_id(), call.hlc);
            *births = [Birth { author, hlc }].into_iter().collect();
        }
        self.make(call)
    }

    fn make(&self, mut call: CallEffects) -> VouchedDelta {
        call.author = self.node_id();
        let verdicts = self
            .disk
            .ledger
            .writer()
            .commit_shown(vec![Change::Call(call)]);
        assert!(verdicts.unwrap().verdicts[0].is_ok());
        let mut newest = None;
        let snapshot = self.disk.ledger.snapshot().unwrap();
        snapshot
            .deltas(self.slot, 1, &mut |_, delta| {
                newest = Some((delta.id(), Bytes::copy_from_slice(delta.canonical())));
                ControlFlow::Continue(())
            })
            .unwrap();
        let (delta, canonical) = newest.unwrap();
        let seal = make_seals(self, &[(id(1), delta)]).remove(0);
        let sealed = seal.check(id(1), delta).unwrap();
        vouch(id(1), [canonical], [sealed]).unwrap().remove(0)
    }
}

impl Sealer for Peer {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.key.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [b"corelet/v1/delta\0", message].concat();
        self.key.sign(&signed).to_bytes()
    }
}

/// The second of two shards. Nothing happens there that the test does not do.
pub(crate) struct Bench {
    pub(crate) shard: Rc<Shard>,
    /// What the shard sends to its commit thread.
    pub(crate) queue: Receiver<Queued>,
    /// What it sends to the keeper of the directory.
    pub(crate) keeper: Inbox<Message>,
    pub(crate) disk: Disk,
    _inbox: (Inbox<Message>, Inbox<Report>),
}

impl Bench {
    /// Has the first context, which has this slot, tell events of these kinds with these payloads at
    /// microsecond `now`.
    pub(crate) fn tell(&self, slot: ContextSlot, now: u64, events: &[(&str, &str)]) {
        let context = futures_lite::future::block_on(self.shard.revive(id(1))).unwrap();
        let mut change = call(1, slot, now, &[]);
        if let Change::Call(call) = &mut change {
            let event = |(kind, payload): &(&str, &str)| corelet_store::Event {
                kind: (*kind).to_owned(),
                payload: Bytes::copy_from_slice(payload.as_bytes()),
            };
            call.events = events.iter().map(event).collect();
        }
        let bytes = change.bytes();
        let wrote = Some((&*context, Vec::new(), None));
        let _answer = self.shard.commits.submit(change, bytes, wrote).unwrap();
    }

    /// With a `disk` that has its contexts already.
    pub(crate) fn new(disk: Disk) -> Bench {
        Bench::bounded(disk, Bounds::default())
    }

    /// The same with other bounds.
    pub(crate) fn bounded(disk: Disk, bounds: Bounds) -> Bench {
        let stats = Arc::default();
        let guest_logs = Rc::new(GuestLogs::new(&bounds, &stats, 1));
        let (commits, thread, reports) =
            commit_stage::stage(&bounds, &stats, &guest_logs, Arc::new(System));
        let (compiler, _) = Compiler::start(&host(), Path::new("/nowhere"), &bounds).unwrap();
        let count = ShardCount::new(2).unwrap();
        let id = ShardId::new(1, count).unwrap();
        let ((to_keeper, keeper), (to_self, inbox)) = (mailbox(128), mailbox(16));
        let record = ApplicationRecord {
            id: application(),
            name: "caching".to_owned(),
            version: "0.1.0".to_owned(),
            size_bytes: 0,
            installed: Hlc::from_bits(0),
            description: String::new(),
            reuse: corelet_store::Reuse::default(),
        };
        let directory = Directory::new(DirectoryData::default());
        directory.learn(DirectoryChange::PutApplication(Arc::new(record)));
        directory.keep_module(application(), module());
        let blobs = BlobService::of_no_shards(&disk.dir.path().join("blobs"));
        let shard = Shard {
            copier: Copier::of_nothing(blobs.clone()),
            uploads: UploadService::of_no_shards(disk.dir.path(), blobs.clone()),
            blobs,
            id,
            count,
            author: NodeId::from_bytes([2; 32]),
            host: host(),
            clock: Clock::after(Hlc::from_bits(0), Arc::new(System)).unwrap(),
            snapshots: Rc::new(Snapshots::new(disk.ledger.clone()).unwrap()),
            commits,
            answers: AnswerBounds::default(),
            guest_logs,
            schedule: Schedule::new(&bounds, &stats),
            directory,
            mesh: Mesh::new(id, vec![to_keeper, to_self], &bounds, compiler),
            loading: RefCell::default(),
            recording: Cell::new(0),
            installing: RefCell::default(),
            creating: RefCell::default(),
            delivering: RefCell::default(),
            contexts: LruCache::new_unbounded().into(),
            quarantined: RefCell::default(),
            warm: WarmOrder::default(),
            warm_sum: WarmSum::new(&stats),
            query_cache: crate::query_cache::QueryCache::new(&bounds, &stats),
            sequences: SequenceCache::new(&bounds, &stats),
            timers: crate::timers::Timers::new(bounds.timers.pace()),
            sends: crate::sends::Sends::new(bounds.sends.pace()),
            subscriptions: crate::subscriptions::Subscriptions::new(&bounds.subscriptions),
            statistics: crate::statistics::Statistics::new(),
            stats,
            bounds,
        };
        Bench {
            shard: Rc::new(shard),
            queue: thread.queue,
            keeper,
            disk,
            _inbox: (inbox, reports),
        }
    }

    /// Commits everything that the shard has sent to the disk.
    pub(crate) fn commit(&self) {
        let batch = self.queue.try_iter().map(|queued| queued.change).collect();
        let report = Report::Durable {
            verdicts: self.disk.ledger.writer().commit(batch).unwrap().verdicts,
            shown: None,
        };
        self.shard.commits.settle(report, &self.shard.snapshots);
    }

    /// The same with a checkpoint. Notes need one: nothing else keeps them here, where each
    /// batch has a transaction of its own.
    pub(crate) fn commit_shown(&self) {
        let batch = self.queue.try_iter().map(|queued| queued.change).collect();
        let outcome = self.disk.ledger.writer().commit_shown(batch).unwrap();
        let report = Report::Durable {
            verdicts: outcome.verdicts,
            shown: Some(self.disk.ledger.snapshot().unwrap()),
        };
        self.shard.commits.settle(report, &self.shard.snapshots);
    }

    /// Loses everything that the shard has sent to the disk.
    pub(crate) fn fail(&self) {
        self.queue.try_iter().for_each(drop);
        let report = Report::Failed(StoreError::MapFull { bytes_max: 1 });
        self.shard.commits.settle(report, &self.shard.snapshots);
    }

    /// Shows everything that was committed.
    pub(crate) fn checkpoint(&self) {
        self.disk.ledger.writer().checkpoint().unwrap();
        let shown = Report::Shown(self.disk.ledger.snapshot().unwrap());
        self.shard.commits.settle(shown, &self.shard.snapshots);
    }
}

/// A call on the `n`th context at microsecond `now`, with its writes in the
/// order of their keys.
pub(crate) fn call(
    n: u8,
    slot: ContextSlot,
    now: u64,
    writes: &[(&'static str, &'static str)],
) -> Change {
    Change::Call(effects(n, slot, now, writes))
}

/// What the writes of a call of registers are read as.
pub(crate) fn shown_by(change: &Change) -> Vec<overlay::Write> {
    let Change::Call(effects) = change else {
        return Vec::new();
    };
    let shown = |op: &Op| overlay::Write {
        space: op.space,
        key: op.key.clone(),
        shown: match &op.write {
            Write::Set(bytes) => Some(Shown::new(EntryKind::Register, bytes.clone())),
            _ => None,
        },
        edit: None,
    };
    effects.ops.iter().map(shown).collect()
}

/// The `n`th context's call at microsecond `now`, by which it attaches a blob.
pub(crate) fn attach(n: u8, slot: ContextSlot, now: u64, attachment: Attachment) -> Change {
    attach_all(n, slot, now, [attachment])
}

/// The same with several, in the order of their keys.
pub(crate) fn attach_all(
    n: u8,
    slot: ContextSlot,
    now: u64,
    attachments: impl IntoIterator<Item = Attachment>,
) -> Change {
    let op = |attachment: Attachment| Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&attachment.key()),
        removes_first: false,
        write: Write::Insert,
    };
    Change::Call(CallEffects {
        ops: attachments.into_iter().map(op).collect(),
        ..effects(n, slot, now, &[])
    })
}

/// The `n`th context's call at microsecond `now`, of which only its answer is kept.
pub(crate) fn keyed(n: u8, slot: ContextSlot, now: u64) -> Change {
    let answer = KeyedAnswer {
        key: AnswerKey::of(b"key"),
        request: RequestDigest::of(b"method", b"{}"),
        fuel_used: 1,
        said: Said::Output(Bytes::from_static(b"1")),
    };
    Change::Call(CallEffects {
        answer: Some(Box::new(answer)),
        ..effects(n, slot, now, &[])
    })
}

fn effects(
    n: u8,
    slot: ContextSlot,
    now: u64,
    writes: &[(&'static str, &'static str)],
) -> CallEffects {
    let op = |(key, value): &(&'static str, &'static str)| {
        let value = Bytes::from_static(value.as_bytes());
        Op::set(Bytes::from_static(key.as_bytes()), value)
    };
    CallEffects {
        context: id(n),
        slot,
        author: NodeId::from_bytes([2; 32]),
        hlc: Hlc::from_bits(now << 12),
        read: None,
        ops: writes.iter().map(op).collect(),
        events: Vec::new(),
        answer: None,
    }
}
