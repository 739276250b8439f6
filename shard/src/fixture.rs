//! What the unit tests of several files need: contexts of a real application,
//! and a real ledger with what is to be committed to it.

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, DataDir, EntryKind, Hlc, Ledger,
    LedgerConfig, NewContext, NodeId, Op, OpenOptions, ShardCount, Standing,
};
use corelet_wasm_host::{Entry, Host, HostConfig, Module, Turn};

use crate::context::Context;
use crate::turn::TurnInProgress;
use crate::view::View;

/// An application. No test here runs it; `tests/tests/node.rs` has those.
fn module() -> Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    let load = || {
        let guest = wat::parse_str(include_str!("../../tests/guests/spin.wat")).unwrap();
        let guest = corelet_build::embed_world(&guest).unwrap();
        let component = corelet_build::component_of(&guest).unwrap();
        let host = Host::new(HostConfig::new(16)).unwrap();
        host.load(&component).unwrap()
    };
    Arc::clone(MODULE.get_or_init(load))
}

/// The id of the `n`th context.
pub(crate) fn id(n: u8) -> ContextId {
    ContextId::from_bytes([n; 32])
}

/// The `n`th context as a shard keeps it in memory, with nothing in it.
pub(crate) fn context(n: u8, slot: ContextSlot) -> Rc<Context> {
    let application = ApplicationId::from_bytes([1; 32]);
    let standing = Standing::OF_NO_CONTEXT;
    Context::new(id(n), slot, application, module(), standing)
}

/// The one ledger of a new data directory.
pub(crate) fn ledger(dir: &Path, config: &LedgerConfig) -> Ledger {
    let shards = ShardCount::new(1).unwrap();
    let options = OpenOptions {
        shards_if_new: shards,
        node_id_if_new: NodeId::from_bytes([2; 32]),
    };
    let data = DataDir::open(dir, &options).unwrap();
    let shard = shards.shards().next().unwrap();
    Ledger::open(&data.ledger_place(shard), config).unwrap()
}

/// A turn that has begun and never goes on.
pub(crate) fn turn_in_progress(is_query: bool) -> TurnInProgress {
    let turn = Turn {
        entry: Entry::Init,
        args: Bytes::new(),
        context: [0; 32],
        caller: Arc::from("caller"),
        now_nanos: 0,
        seed: [0; 32],
        state_version: 0,
        fuel_max: 0,
        state: Box::new(View::of_init()),
    };
    let running = module().instantiate().unwrap().run(turn);
    TurnInProgress::of(running, is_query)
}

/// A ledger in a directory of its own.
pub(crate) struct Disk {
    pub(crate) ledger: Ledger,
    _dir: tempfile::TempDir,
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
            readers_max: 4,
            ..LedgerConfig::default()
        };
        let ledger = ledger(dir.path(), &config);
        Disk { ledger, _dir: dir }
    }

    /// Makes the `n`th context.
    pub(crate) fn create(&self, n: u8) -> ContextSlot {
        let call = effects(n, ContextSlot::UNASSIGNED, 1, &[]);
        let create = Change::CreateContext(NewContext {
            id: id(n),
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: call.hlc,
            call,
        });
        let verdicts = self.ledger.commit(vec![create]).unwrap();
        verdicts[0].as_ref().unwrap().slot()
    }

    /// What snapshots show of a context's key.
    pub(crate) fn get(&self, slot: ContextSlot, key: &'static str) -> Option<String> {
        let snapshot = self.ledger.snapshot().unwrap();
        let value = snapshot.get(slot, key.as_bytes()).unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
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

fn effects(
    n: u8,
    slot: ContextSlot,
    now: u64,
    writes: &[(&'static str, &'static str)],
) -> CallEffects {
    let op = |(key, value): &(&'static str, &'static str)| Op {
        key: Bytes::from_static(key.as_bytes()),
        kind: EntryKind::Register,
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    CallEffects {
        context: id(n),
        slot,
        author: NodeId::from_bytes([2; 32]),
        hlc: Hlc::from_bits(now << 12),
        ops: writes.iter().map(op).collect(),
        events: Vec::new(),
        logs: Vec::new(),
    }
}
