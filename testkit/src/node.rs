//! One node of a test: a ledger of the server's own in a directory that goes with it, a key and a
//! clock. What a call has done becomes a delta of this ledger, and what others' deltas have made of
//! the state is read from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_sdk::testing::replica::{self, Deed, Elements, Found, Image, Keeper, Kind};
use corelet_store::{
    AnswerBounds, ApplicationId, Attachment, CallEffects, Change, Content, ContextBounds,
    ContextId, ContextSlot, DataDir, DeltaId, DeltaView, EntryValue, Event, Held, Hlc, HlcClock,
    Ledger, LedgerConfig, NewContext, NodeId, OpenOptions, PendingBounds, PendingDeltas, Refused,
    RemoteDelta, Root, Scan, Sealed, Sealer, SequenceKind, ShardCount, ShardId, Snapshot, Space,
};
use tempfile::TempDir;

use crate::changes::{Changes, open};
use crate::key::Key;

const NANOS_PER_MICRO: u64 = 1_000;

/// A delta, and what its place among others is known by.
#[derive(Clone)]
pub(crate) struct Delta {
    pub(crate) id: DeltaId,
    pub(crate) author: NodeId,
    pub(crate) hlc: Hlc,
    pub(crate) canonical: Bytes,
}

/// One node.
pub(crate) struct Node {
    // Dropped in this order: the directory last.
    ledger: Ledger,
    _data: DataDir,
    _dir: TempDir,
    context: ContextId,
    slot: ContextSlot,
    key: Key,
    clock: HlcClock,
    /// The last stamp that it has given or seen.
    last: Hlc,
    pending: PendingDeltas,
    /// Events that came with others' deltas and that nobody was told of.
    heard: Vec<(String, Vec<u8>)>,
}

impl Node {
    /// The node with this number, which has the context, with nothing in it.
    pub(crate) fn new(number: usize, context: ContextId) -> Node {
        let key = Key::new(number);
        let dir = tempfile::tempdir().expect("a directory for a node's ledger can be made");
        let shards_if_new = ShardCount::new(1).expect("one is a number of shards");
        let options = OpenOptions {
            shards_if_new,
            node_id_if_new: key.node_id(),
        };
        let data = DataDir::open(dir.path(), &options).expect("a new data directory opens");
        let shard = ShardId::new(0, shards_if_new).expect("the first of one");
        let ledger = Ledger::open(&data.ledger_place(shard), &config());
        let mut node = Node {
            ledger: ledger.expect("a new ledger opens"),
            _data: data,
            _dir: dir,
            context,
            slot: ContextSlot::UNASSIGNED,
            key,
            clock: HlcClock::default(),
            last: Hlc::ZERO,
            pending: PendingDeltas::new(context, bounds()),
            heard: Vec::new(),
        };
        node.slot = node.create();
        node
    }

    fn create(&self) -> ContextSlot {
        let created = Hlc::from_micros(1);
        let create = Change::CreateContext(NewContext {
            id: self.context,
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created,
            call: CallEffects::new(self.context, self.author(), created),
        });
        let slot = self.commit(create).expect("a new context is made").slot();
        let shared = self.commit(Change::ShareContext(self.context));
        shared.expect("a context can be shared");
        slot
    }

    pub(crate) fn author(&self) -> NodeId {
        self.key.node_id()
    }

    pub(crate) fn seal(&self, delta: DeltaId) -> Sealed {
        self.key.seal(self.context, delta)
    }

    /// The digest of what all nodes have of the state.
    pub(crate) fn root(&self) -> Root {
        let head = self.snapshot().head(self.slot);
        head.expect("the ledger is sound").root
    }

    /// Its deltas, those of others among them, oldest first.
    pub(crate) fn deltas(&self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let snapshot = self.snapshot();
        let walked = snapshot.deltas(self.slot, usize::MAX, &mut |_, delta| {
            deltas.push(Delta {
                id: delta.id(),
                author: delta.author(),
                hlc: delta.hlc(),
                canonical: Bytes::copy_from_slice(delta.canonical()),
            });
            ControlFlow::Continue(())
        });
        walked.expect("the ledger is sound");
        deltas.reverse();
        deltas
    }

    /// Takes deltas in that come together, and applies those for which it lacks nothing; `now` is in
    /// nanoseconds since 1970. An error says of one that its stamp is not believed.
    pub(crate) fn receive(
        &mut self,
        deltas: &[&Delta],
        seals: Vec<Sealed>,
        now: u64,
    ) -> Result<(), String> {
        let micros = now / NANOS_PER_MICRO;
        for sealed in seals {
            self.pending.seal(sealed, micros);
        }
        for delta in deltas {
            let held = self.pending.receive(delta.canonical.clone(), micros);
            if let Held::FromTheFuture(early) = held.expect("deltas of ledgers keep to the form") {
                return Err(early.to_string());
            }
        }
        self.apply(micros);
        Ok(())
    }

    /// Whether every delta that came was applied.
    pub(crate) fn has_all(&self) -> bool {
        self.pending.is_empty()
    }

    fn apply(&mut self, micros: u64) {
        loop {
            let ready = self.pending.take_ready(64);
            if ready.is_empty() {
                return;
            }
            let change = |delta: &corelet_store::VouchedDelta| {
                Change::Delta(RemoteDelta {
                    slot: self.slot,
                    delta: delta.clone(),
                })
            };
            let batch = ready.iter().map(change).collect();
            let verdicts = self.ledger.commit(batch).expect("the ledger takes a batch");
            for (delta, verdict) in ready.iter().zip(verdicts) {
                match verdict {
                    Ok(_) => {
                        self.pending.applied(&delta.id());
                        self.heed(delta.canonical(), micros);
                    }
                    Err(Refused::AppliedBefore { .. }) => self.pending.applied(&delta.id()),
                    Err(Refused::ParentsMissing { missing, .. }) => {
                        self.pending.waits(&delta.id(), &missing);
                    }
                    Err(refused) => panic!("a delta of another node was refused: {refused}"),
                }
            }
        }
    }

    /// Later stamps of this node are greater than that of a delta which was applied.
    fn heed(&mut self, canonical: &Bytes, micros: u64) {
        let delta = DeltaView::parse(canonical).expect("it was applied");
        let ahead_max = bounds().ahead_micros_max;
        let observed = self.clock.observe(delta.hlc(), micros, ahead_max);
        observed.expect("its stamp was believed when it came");
        self.last = self.last.max(delta.hlc());
        let events = delta.events();
        let heard = events.map(|event| (event.kind.to_owned(), event.payload.to_vec()));
        self.heard.extend(heard);
    }

    /// All that there is of the context, as an application reads it.
    pub(crate) fn image(&mut self) -> Image {
        let snapshot = self.snapshot();
        let head = snapshot.head(self.slot).expect("the ledger is sound");
        let mut image = Image {
            version: head.version,
            events: std::mem::take(&mut self.heard),
            seen_until: self.last.micros() * NANOS_PER_MICRO,
            ..Image::default()
        };
        for (space, as_guests_say) in [
            (Space::Shared, replica::Space::Shared),
            (Space::Owned, replica::Space::Owned),
            (Space::Private, replica::Space::Private),
        ] {
            self.each(&snapshot, space, |key, value| {
                let (kind, value, elements) = self.read(&snapshot, (space, key), value);
                image.entries.push(Found {
                    space: as_guests_say,
                    key: key.to_vec(),
                    kind,
                    value,
                    elements,
                });
            });
        }
        image.attached = self.attached(&snapshot);
        image
    }

    /// Of the sizes that nodes have said of a blob the largest is believed.
    fn attached(&self, snapshot: &Snapshot) -> BTreeMap<String, u64> {
        let mut attached = BTreeMap::new();
        self.each(snapshot, Space::Attached, |key, _| {
            let Some(Attachment { blob, bytes }) = Attachment::from_key(key) else {
                return;
            };
            let size = attached.entry(blob.to_string()).or_insert(bytes);
            *size = bytes.max(*size);
        });
        attached
    }

    fn each(&self, snapshot: &Snapshot, space: Space, mut f: impl FnMut(&[u8], EntryValue<'_>)) {
        let scan = Scan {
            space,
            limit: usize::MAX,
            ..Scan::default()
        };
        let walked = snapshot.scan(self.slot, scan, &mut |entry| {
            f(entry.key(), entry.value()?);
            Ok(ControlFlow::Continue(()))
        });
        walked.expect("the ledger is sound");
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        at: (Space, &[u8]),
        value: EntryValue<'_>,
    ) -> (Kind, Vec<u8>, Option<Elements>) {
        let elements = |kind| {
            let found = open(snapshot, self.slot, at, kind, self.author());
            let (_, sequence) = found.expect("an entry says that it is there");
            let all = sequence.slice(0, sequence.len());
            match all.expect("it has that many") {
                Content::Values(values) => {
                    Elements::List(values.into_iter().map(<[u8]>::into_vec).collect())
                }
                Content::Text(text) => Elements::Text(text.chars().collect()),
            }
        };
        match value {
            EntryValue::Register(bytes) => (Kind::Register, bytes.to_vec(), None),
            EntryValue::Counter(sum) => (Kind::Counter, sum.nearest().to_le_bytes().to_vec(), None),
            EntryValue::SetElement => (Kind::SetElement, Vec::new(), None),
            EntryValue::WriteOnce(bytes) => (Kind::WriteOnce, bytes.to_vec(), None),
            EntryValue::List => (Kind::List, Vec::new(), Some(elements(SequenceKind::List))),
            EntryValue::Text => (Kind::Text, Vec::new(), Some(elements(SequenceKind::Text))),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = self.ledger.snapshot();
        snapshot.expect("a ledger can be read")
    }

    fn commit(&self, change: Change) -> Result<corelet_store::Committed, Refused> {
        let verdicts = self.ledger.commit(vec![change]);
        verdicts.expect("the ledger takes a batch").remove(0)
    }
}

impl Keeper for Node {
    fn keep(
        &mut self,
        deeds: Vec<Deed>,
        events: &[(String, Vec<u8>)],
        now: u64,
    ) -> Result<Option<Image>, String> {
        let hlc = self.clock.tick(now / NANOS_PER_MICRO);
        let snapshot = self.snapshot();
        let mut changes = Changes::new(&snapshot, self.slot, self.author());
        for deed in deeds {
            changes.add(deed)?;
        }
        let is_unsure = changes.is_unsure;
        let ops = changes.into_ops(hlc)?;
        drop(snapshot);
        let event = |(kind, payload): &(String, Vec<u8>)| Event {
            kind: kind.clone(),
            payload: Bytes::copy_from_slice(payload),
        };
        let call = CallEffects {
            slot: self.slot,
            ops,
            events: events.iter().map(event).collect(),
            ..CallEffects::new(self.context, self.author(), hlc)
        };
        let committed = self.commit(Change::Call(call));
        committed.map_err(|refused| refused.to_string())?;
        self.last = hlc;
        Ok(is_unsure.then(|| self.image()))
    }
}

/// What differs between what two nodes have of the same context.
pub(crate) fn difference(one: &Image, other: &Image) -> String {
    let of = |image: &Image| -> BTreeSet<String> {
        let all = image.entries.iter();
        let merged = all.filter(|found| found.space != replica::Space::Private);
        merged.map(|found| format!("{found:?}")).collect()
    };
    let (one, other) = (of(one), of(other));
    let first = one.symmetric_difference(&other).next();
    match first {
        Some(found) => format!("only one of them has {found}"),
        None => "what is read of both is the same".to_owned(),
    }
}

/// A small ledger: nothing of it is kept.
fn config() -> LedgerConfig {
    LedgerConfig {
        map_bytes_max: 1 << 30,
        readers_max: 8,
        journal_bytes_max: 64 << 10,
        checkpoint_contexts_max: 100,
        trie_bytes_max: 1 << 20,
        answers: AnswerBounds::DEFAULT,
        contexts: ContextBounds::NONE,
        start_check_bytes_max: 0,
    }
}

/// As many as come may wait, and stamps may lie as far ahead as a server believes.
fn bounds() -> PendingBounds {
    PendingBounds {
        count_max: usize::MAX,
        bytes_max: usize::MAX,
        age_micros_max: u64::MAX,
        ..PendingBounds::default()
    }
}
