//! Records that are whole, each by itself, and do not agree: what says so, and that it says so of
//! their context alone.

use bytes::Bytes;
use heed::RwTxn;
use tempfile::TempDir;

use super::*;
use crate::change::{Change, RemoteDelta};
use crate::entry::Space;
use crate::fixture::{alter, id, round, two};
use crate::hlc::Hlc;
use crate::ids::{DeltaId, NodeId, Root};
use crate::layout::{author_in_slot_key, dag_key, seal_key, slot_key};
use crate::ledger::Ledger;
use crate::pending::vouch;
use crate::record::{EntryRow, ForkRow, SealRow, TrieRow, seal};
use crate::scrub;
use crate::seal::tests::{Key, delta};
use crate::seal::{Branch, Seal, Sealer};
use crate::trie::NodePath;
use crate::trie_table::node_key;
use crate::version::{Dot, VersionVector};

/// A ledger whose first context has deltas of another node, sealed.
struct Shared {
    _dir: TempDir,
    ledger: Ledger,
    slot: ContextSlot,
    /// This node and the other one, by their numbers.
    authors: [u32; 2],
    /// The other's deltas, each behind the one before it.
    deltas: Vec<DeltaId>,
    /// The canonical bytes of the first of these.
    first: Bytes,
}

const OTHER_STAMPS: [Hlc; 2] = [Hlc::from_micros(1_000), Hlc::from_micros(2_000)];

fn commit(ledger: &Ledger, change: Change) {
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

impl Shared {
    fn new() -> Shared {
        let (dir, ledger, [slot, _]) = two();
        commit(&ledger, Change::ShareContext(id(1)));
        let mut parents = ledger.snapshot().unwrap().head(slot).unwrap().deltas;
        let key = Key::new(1);
        let (mut deltas, mut first) = (Vec::new(), None);
        for stamp in OTHER_STAMPS {
            let (this, canonical) = delta(id(1), &key, stamp.bits(), &parents);
            first.get_or_insert(canonical.clone());
            let vouched = vouch(id(1), [canonical], [key.seal(id(1), this)]).unwrap();
            let delta = vouched.into_iter().next().unwrap();
            commit(&ledger, Change::Delta(RemoteDelta { slot, delta }));
            commit(&ledger, Change::KeepSeal(key.seal(id(1), this)));
            parents = vec![this];
            deltas.push(this);
        }
        while ledger.sweep(100).unwrap().is_more {}
        ledger.writer().checkpoint().unwrap();
        let authors = ledger.snapshot().unwrap().authors().unwrap();
        let number = |node| authors.find(node).unwrap();
        Shared {
            _dir: dir,
            slot,
            authors: [NodeId::from_bytes([4; 32]), key.node_id()].map(number),
            ledger,
            deltas,
            first: first.unwrap(),
        }
    }

    /// What is found with `record` under `key`, or nothing if it is none; then it is as it was.
    fn with(&self, table: Pick, key: &[u8], record: Option<&[u8]>) -> Told {
        let put = |record: Option<&[u8]>| {
            let mut before = None;
            alter(&self.ledger, |tables, txn: &mut RwTxn<'_>| {
                let table = table(&tables);
                before = table.get(txn, key)?.map(<[u8]>::to_vec);
                match record {
                    Some(record) => table.put(txn, key, record)?,
                    None => assert!(table.delete(txn, key)?, "it is there"),
                }
                Ok(true)
            });
            before
        };
        let before = put(record);
        let told = Told::of(&self.ledger);
        if before.as_deref() != record {
            put(before.as_deref());
        }
        told
    }

    fn record(&self, table: Pick, key: &[u8]) -> Vec<u8> {
        let snapshot = self.ledger.snapshot().unwrap();
        let table = table(&snapshot.tables);
        snapshot.get_raw(table, key).unwrap().unwrap().to_vec()
    }

    fn with_head(&self, change: impl FnOnce(&mut Head)) -> Told {
        let key = slot_key(self.slot);
        let mut head = Head::read(&key, &self.record(|tables| tables.heads, &key)).unwrap();
        change(&mut head);
        let mut record = Vec::new();
        head.seal(&mut record, &key);
        self.with(|tables| tables.heads, &key, Some(&record))
    }

    fn with_past(&self, delta: &DeltaId, change: impl FnOnce(&mut DagNode)) -> Told {
        let of = |delta| dag_key(self.slot, delta);
        let known = of(&self.deltas[1]);
        let node = self.record(|tables| tables.dag, &known);
        let mut node = DagNode::read(&known, &node).unwrap();
        change(&mut node);
        let mut record = Vec::new();
        node.seal(&mut record, &of(delta));
        self.with(|tables| tables.dag, &of(delta), Some(&record))
    }

    fn with_seal(
        &self,
        author: u32,
        change: impl FnOnce(&mut DeltaId, &mut u64, &mut Seal),
    ) -> Told {
        let known = seal_key(self.slot, self.authors[1], OTHER_STAMPS[1]);
        let kept = self.record(|tables| tables.seals, &known);
        let kept = crate::kept::KeptSeal::read(&known, &kept, id(1)).unwrap();
        let (mut delta, mut version) = (kept.sealed.delta(), kept.version);
        let mut signed = kept.sealed.seal().clone();
        change(&mut delta, &mut version, &mut signed);
        let mut bytes = Vec::new();
        signed.write(&mut bytes);
        let row = SealRow {
            delta: *delta.as_bytes(),
            version,
            seal: &bytes,
        };
        let key = seal_key(self.slot, author, OTHER_STAMPS[1]);
        let mut record = Vec::new();
        seal(&mut record, &key, &row);
        self.with(|tables| tables.seals, &key, Some(&record))
    }
}

/// What a whole check, a scrub and a look at the root have told.
struct Told {
    checked: Vec<(Option<ContextId>, String)>,
    scrubbed: Vec<(Option<ContextId>, String)>,
}

#[derive(Default)]
struct Heard(Vec<(Option<ContextId>, String)>);

impl Listener for Heard {
    fn found(&mut self, context: Option<ContextId>, error: StoreError) {
        self.0.push((context, error.to_string()));
    }

    fn passed(&mut self, _: Scrubbed) {}
}

impl Told {
    fn of(ledger: &Ledger) -> Told {
        let mut heard = Heard::default();
        super::scrub(&ledger.snapshot().unwrap(), &mut heard);
        let damaged = round(&mut scrub::Scrub::default(), ledger).damaged;
        let scrubbed = damaged.into_iter();
        Told {
            checked: heard.0,
            scrubbed: scrubbed
                .map(|it| (it.context, it.error.to_string()))
                .collect(),
        }
    }

    /// Says this, and nothing of any other context.
    #[track_caller]
    fn says(&self, why: &str) -> &Told {
        Told::has(&self.checked, why);
        self
    }

    /// So does a scrub, which compares only what lies side by side.
    #[track_caller]
    fn scrub_says(&self, why: &str) {
        Told::has(&self.scrubbed, why);
    }

    #[track_caller]
    fn has(told: &[(Option<ContextId>, String)], why: &str) {
        assert!(told.iter().any(|(_, told)| told.contains(why)), "{told:?}");
        let is_of_first = |(context, _): &(Option<ContextId>, String)| *context == Some(id(1));
        assert!(told.iter().all(is_of_first), "{told:?}");
    }
}

fn entry_record(dot: Dot, full: &[u8], value: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    seal(&mut record, full, &EntryRow::value(dot, value));
    record
}

#[test]
fn what_agrees_is_told_of_by_nobody() {
    let shared = Shared::new();
    let told = Told::of(&shared.ledger);
    assert_eq!((told.checked, told.scrubbed), (vec![], vec![]));
    let head = shared.ledger.snapshot().unwrap().head(shared.slot).unwrap();
    assert_eq!(head.deltas, shared.deltas[1..]);
}

/// The entry is another than the trie says, is gone, or has come back.
#[test]
fn entries_that_are_not_those_of_their_trie_are_told() {
    let shared = Shared::new();
    let key = |name: &[u8]| {
        let mut full = Vec::new();
        layout::entry_key(&mut full, shared.slot, Space::Shared, name);
        full
    };
    let dot = Dot {
        author: shared.authors[0],
        hlc: Hlc::from_micros(1),
    };
    let entries: Pick = |tables| tables.entries;
    let known = key(&[7]);
    assert_eq!(
        shared.record(entries, &known),
        entry_record(dot, &known, b"value")
    );
    let other = entry_record(dot, &known, b"other");
    let told = shared.with(entries, &known, Some(&other));
    told.says("an entry has another digest than it says")
        .scrub_says("an entry has another digest than it says");
    let told = shared.with(entries, &known, None);
    told.says("an entry that it lists does not exist")
        .says("it counts other entries or bytes than there are")
        .scrub_says("an entry that it lists does not exist");
    // In buckets that others have, and below nodes that nobody has.
    for n in 50..90 {
        let back = key(&[n]);
        let record = entry_record(dot, &back, b"value");
        let told = shared.with(entries, &back, Some(&record));
        told.says("it counts other entries or bytes than there are")
            .scrub_says("the trie of its context does not have it");
    }
}

#[test]
fn nodes_of_a_trie_that_do_not_come_to_its_root_are_told() {
    let shared = Shared::new();
    let trie: Pick = |tables| tables.trie;
    let snapshot = shared.ledger.snapshot().unwrap();
    let nodes = (0..16).map(|nibble| NodePath::ROOT.child(nibble).unwrap());
    let is_there = |path: &NodePath| {
        let found = snapshot.get_raw(trie(&snapshot.tables), &node_key(shared.slot, path));
        found.unwrap().is_some()
    };
    let bucket = nodes.into_iter().find(is_there).unwrap();
    drop(snapshot);
    let key = node_key(shared.slot, &bucket);
    let record = shared.record(trie, &key);
    let node = crate::record::open::<TrieRow<'_>>(&key, &record).unwrap();
    let sealed = |key: &[u8], node: &[u8]| {
        let mut out = Vec::new();
        seal(&mut out, key, &TrieRow { node });
        out
    };
    // One that was right once.
    let mut old = node.node.get().to_vec();
    old[2] ^= 1;
    shared
        .with(trie, &key, Some(&sealed(&key, &old)))
        .says("it does not have the digest that the node above says")
        .scrub_says("an entry has another digest than it says");
    shared
        .with(trie, &key, None)
        .says("it is missing")
        .scrub_says("it is missing");
    let below = node_key(shared.slot, &bucket.child(3).unwrap());
    shared
        .with(trie, &below, Some(&sealed(&below, node.node.get())))
        .says("it has other nodes than its entries give");
    shared
        .with_head(|head| head.root = Root::from_bytes([7; 32]))
        .says("it does not have the digest")
        .scrub_says("it does not have the digest");
    let told = shared.with_head(|head| head.replicated += 1);
    told.says("it counts other entries or bytes than there are");
}

#[test]
fn heads_that_count_or_have_seen_something_else_are_told() {
    let shared = Shared::new();
    let [own, other] = shared.authors;
    shared
        .with_head(|head| head.log_count += 1)
        .says("the head counts other deltas, changes or events than the log has");
    shared
        .with_head(|head| head.version = 0)
        .says("the head counts other deltas, changes or events than the log has");
    shared
        .with_head(|head| head.events_last += 1)
        .says("its events are not the ones that it counts");
    shared
        .with_head(|head| head.deltas = vec![shared.deltas[0]])
        .says("its hash is not what a successor names as parent");
    let unseen = VersionVector::from_pairs([(other, OTHER_STAMPS[1])].into_iter()).unwrap();
    shared
        .with_head(|head| head.seen = unseen)
        .says("an entry was written by a delta that it has not seen");
    let unseen = VersionVector::from_pairs([(own, Hlc::from_micros(1))].into_iter()).unwrap();
    shared
        .with_head(|head| head.seen = unseen)
        .says("it has seen what its context has not");
}

#[test]
fn pasts_that_are_not_what_the_log_says_are_told() {
    let shared = Shared::new();
    let [own, _] = shared.authors;
    let newest = shared.deltas[1];
    let seen = |pairs: &[(u32, Hlc)]| VersionVector::from_pairs(pairs.iter().copied()).unwrap();
    shared
        .with_past(&newest, |node| {
            node.seen = seen(&[(own, Hlc::from_micros(1))])
        })
        .says("it is not what its parents have seen");
    shared
        .with_past(&newest, |node| {
            node.seen = seen(&[(own, Hlc::from_micros(9))])
        })
        .says("it has seen what its context has not");
    shared
        .with_past(&newest, |node| node.dot.hlc = Hlc::from_micros(1_999))
        .says("it says another author, stamp or place than the delta has");
    shared
        .with_past(&newest, |node| node.dot.author = own)
        .says("it says another author, stamp or place than the delta has");
    shared
        .with_past(&newest, |node| node.position += 1)
        .says("it says another author, stamp or place than the delta has");
    shared
        .with_past(&DeltaId::from_bytes([9; 32]), |_| {})
        .says("there are some of deltas that are not in the log");
}

#[test]
fn seals_that_do_not_hold_or_are_of_something_else_are_told() {
    let shared = Shared::new();
    let [own, other] = shared.authors;
    let flip = |seal: &mut Seal| {
        let mut bytes = Vec::new();
        seal.write(&mut bytes);
        bytes[1 + 32] ^= 1;
        *seal = Seal::read(&bytes).unwrap();
    };
    shared
        .with_seal(other, |_, _, seal| flip(seal))
        .says("its signature does not hold");
    shared
        .with_seal(other, |delta, _, _| *delta = shared.deltas[0])
        .says("its signature does not hold");
    shared
        .with_seal(own, |_, _, _| {})
        .says("it is another author's");
    shared
        .with_seal(other, |_, version, _| *version += 1_000)
        .says("it is of more than its context has");
    let nowhere = DeltaId::from_bytes([9; 32]);
    let signed = |delta: DeltaId| Key::new(1).seal(id(1), delta).seal().clone();
    shared
        .with_seal(other, |delta, _, seal| {
            (*delta, *seal) = (nowhere, signed(nowhere))
        })
        .says("its delta is missing");
    let first = shared.deltas[0];
    shared
        .with_seal(other, |delta, _, seal| {
            (*delta, *seal) = (first, signed(first))
        })
        .says("its delta has another stamp");
    // Proof of what nobody has done.
    let sealed = Key::new(1).seal(id(1), first);
    let branch = Branch::check(vec![shared.first.clone()], sealed).unwrap();
    let row = ForkRow {
        known: &branch.to_bytes(),
        other: &branch.to_bytes(),
    };
    let key = author_in_slot_key(shared.slot, other);
    let mut record = Vec::new();
    seal(&mut record, &key, &row);
    shared
        .with(|tables| tables.forks, &key, Some(&record))
        .says("its deltas are not two of its author in its context");
}
