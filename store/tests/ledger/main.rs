//! The ledger through its public face: batches, scans, deletion, damage, and a
//! comparison with a naive model. Kills and failing disks are in `crash.rs`.

mod agenda;
mod answers;
mod attachments;
mod batch;
mod carried;
mod check;
mod content;
mod copies;
mod damage;
mod data_dir;
mod deletion;
mod fixtures;
mod full_map;
mod histories;
mod journal;
mod large_entries;
mod loss;
mod lost_blobs;
mod members;
mod model;
mod notes;
mod packs;
mod past;
mod quarantine;
#[path = "../damage/random.rs"]
mod random;
mod replicas;
mod retention;
mod roots;
mod saved;
mod scan;
mod scrub;
mod seals;
mod sequences;
mod signed;
mod stable;
mod start_check;
mod steps;
mod tries;
mod upgrade;
mod words;
mod written_once;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, Committed, ContextId, ContextSlot, DataDir, EntryValue,
    Event, Hlc, Ledger, LedgerConfig, LedgerPlace, NewContext, NodeId, Op, OpenOptions,
    ScannedEntry, ShardCount, ShardId, StoreError, WriteView,
};
use tempfile::TempDir;

/// The only ledger of a data directory.
struct Bench {
    _dir: TempDir,
    place: LedgerPlace,
    ledger: Option<Ledger>,
    config: LedgerConfig,
    now: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_map(64 << 20)
    }

    fn with_map(map_bytes_max: u64) -> Bench {
        Bench::in_dir(tempfile::tempdir().unwrap(), map_bytes_max)
    }

    fn in_dir(dir: TempDir, map_bytes_max: u64) -> Bench {
        let config = LedgerConfig {
            map_bytes_max,
            readers_max: 8,
            journal_bytes_max: 64 << 10,
            checkpoint_contexts_max: 100,
            trie_bytes_max: 48 << 10,
            answers: corelet_store::AnswerBounds::DEFAULT,
            contexts: corelet_store::ContextBounds::NONE,
            // Tests of damage meet it when it is read.
            start_check_bytes_max: 0,
        };
        let place = new_place(dir.path());
        let ledger = Ledger::open(&place, &config).unwrap();
        Bench {
            _dir: dir,
            place,
            ledger: Some(ledger),
            config,
            now: 1000,
        }
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    fn close(&mut self) {
        self.ledger = None;
    }

    fn reopen(&mut self) {
        self.close();
        self.ledger = Some(self.open().unwrap());
    }

    fn open(&self) -> Result<Ledger, StoreError> {
        Ledger::open(&self.place, &self.config)
    }

    fn create(&mut self, n: u8) -> ContextSlot {
        let create = self.new_context(n);
        self.commit(vec![create]).remove(0).slot()
    }

    fn new_context(&mut self, n: u8) -> Change {
        let call = self.effects(n, ContextSlot::UNASSIGNED, vec![]);
        Change::CreateContext(NewContext {
            id: id(n),
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: call.hlc,
            call,
        })
    }

    /// Of several writes of one key the last one stays, as in a call.
    fn effects(&mut self, n: u8, slot: ContextSlot, ops: Vec<Op>) -> CallEffects {
        self.now += 1;
        let by_key: BTreeMap<_, _> = ops.into_iter().map(|op| (op.key.clone(), op)).collect();
        CallEffects {
            slot,
            ops: by_key.into_values().collect(),
            ..CallEffects::new(
                id(n),
                NodeId::from_bytes([0xaa; 32]),
                Hlc::from_bits(self.now << 12),
            )
        }
    }

    fn call(&mut self, n: u8, slot: ContextSlot, ops: Vec<Op>) -> Change {
        Change::Call(self.effects(n, slot, ops))
    }

    /// Commits a batch in which nothing is refused.
    fn commit(&self, batch: Vec<Change>) -> Vec<Committed> {
        self.ledger()
            .commit(batch)
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect()
    }

    fn get(&self, slot: ContextSlot, key: &[u8]) -> Option<Vec<u8>> {
        self.ledger()
            .snapshot()
            .unwrap()
            .register(slot, key)
            .unwrap()
            .map(<[u8]>::to_vec)
    }

    /// Every promise that the ledger makes about itself holds.
    fn verify(&self) -> corelet_store::Verified {
        corelet_store::verify(&self.ledger().snapshot().unwrap()).unwrap()
    }
}

/// The place of the only ledger of a new data directory.
fn new_place(path: &Path) -> LedgerPlace {
    let shards_if_new = ShardCount::new(1).unwrap();
    let options = OpenOptions {
        shards_if_new,
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let data = DataDir::open(path, &options).unwrap();
    data.ledger_place(ShardId::new(0, shards_if_new).unwrap())
}

fn id(n: u8) -> ContextId {
    ContextId::from_bytes([n; 32])
}

fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Op {
    let value = Bytes::copy_from_slice(value.as_ref());
    Op::set(Bytes::copy_from_slice(key.as_ref()), value)
}

fn remove(key: impl AsRef<[u8]>) -> Op {
    Op::remove(Bytes::copy_from_slice(key.as_ref()))
}

/// What a delta's write gives a register.
fn written(write: WriteView<'_>) -> Vec<u8> {
    match write {
        WriteView::Set(value) => value.to_vec(),
        other => panic!("{other:?} gives no value"),
    }
}

/// The value of a scanned register.
fn value_of<'a>(entry: &ScannedEntry<'a>) -> Result<&'a [u8], StoreError> {
    match entry.value()? {
        EntryValue::Register(value) => Ok(value),
        other => panic!("{other:?} is no register"),
    }
}

fn event(kind: &str, payload: &[u8]) -> Event {
    Event {
        kind: kind.to_owned(),
        payload: Bytes::copy_from_slice(payload),
    }
}
