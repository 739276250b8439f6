//! Two contexts with five attachments each, and every way in which a note can be wrong.

use bytes::Bytes;
use heed::RwTxn;

use super::*;
use crate::attachment::NotedCheck;
use crate::change::{CallEffects, Change, NewContext, Op, Write};
use crate::data_dir::{DataDir, OpenOptions};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, BlobId, ContextId, NodeId, ShardCount};
use crate::ledger::{Ledger, LedgerConfig, open_env};
use crate::place::LedgerPlace;
use crate::record::{AttachedSumRow, seal};

const AUTHOR: NodeId = NodeId::from_bytes([4; 32]);

struct Bench {
    _dir: tempfile::TempDir,
    place: LedgerPlace,
    slots: Vec<ContextSlot>,
    ledger: Option<Ledger>,
    now: u64,
}

fn attachment(n: u8) -> Attachment {
    Attachment {
        blob: BlobId::of(&[n]),
        bytes: u64::from(n),
    }
}

fn op(n: u8, write: Write) -> Op {
    Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&attachment(n).key()),
        removes_first: false,
        write,
    }
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: AUTHOR,
        };
        let data = DataDir::open(dir.path(), &options).unwrap();
        let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
        let ledger = Ledger::open(&place, &LedgerConfig::default()).unwrap();
        let mut bench = Bench {
            _dir: dir,
            place,
            slots: Vec::new(),
            ledger: Some(ledger),
            now: 0,
        };
        for n in 0..2 {
            let ops = (n..n + 5).map(|blob| op(blob, Write::Insert)).collect();
            let call = bench.effects(n, ContextSlot::UNASSIGNED, ops);
            let new = NewContext {
                id: call.context,
                name: None,
                application: ApplicationId::from_bytes([1; 32]),
                created: call.hlc,
                call,
            };
            let slot = bench.commit(Change::CreateContext(new));
            bench.slots.push(slot);
        }
        bench
    }

    fn effects(&mut self, context: u8, slot: ContextSlot, ops: Vec<Op>) -> CallEffects {
        self.now += 1;
        let id = ContextId::from_bytes([context; 32]);
        let mut call = CallEffects::new(id, AUTHOR, Hlc::from_micros(self.now));
        (call.slot, call.ops) = (slot, ops);
        call.ops.sort_by(|a, b| a.key.cmp(&b.key));
        call
    }

    fn commit(&self, change: Change) -> ContextSlot {
        let ledger = self.ledger.as_ref().unwrap();
        ledger
            .commit(vec![change])
            .unwrap()
            .remove(0)
            .unwrap()
            .slot()
    }

    fn call(&mut self, context: u8, op: Op) {
        let slot = self.slots[usize::from(context)];
        let call = self.effects(context, slot, vec![op]);
        self.commit(Change::Call(call));
    }

    /// What is found after `spoil`, so many records a step.
    fn found(
        self,
        spoil: impl FnOnce(Tables, &mut RwTxn<'_>, &[ContextSlot]),
        records_max: u64,
    ) -> Vec<StoreError> {
        let mut check = AttachedCheck::default();
        self.told(spoil, |tables, txn| check.step(tables, txn, records_max))
    }

    /// What the steps of a check tell after `spoil`.
    fn told(
        mut self,
        spoil: impl FnOnce(Tables, &mut RwTxn<'_>, &[ContextSlot]),
        mut step: impl FnMut(Tables, &RoTxn<'_>) -> Result<bool, Failure>,
    ) -> Vec<StoreError> {
        drop(self.ledger.take());
        let env = open_env(&self.place, &LedgerConfig::default()).unwrap();
        let tables = Tables::open(&env).unwrap().unwrap();
        let mut txn = env.write_txn().unwrap();
        spoil(tables, &mut txn, &self.slots);
        let mut found = Vec::new();
        loop {
            match step(tables, &txn) {
                Ok(true) => return found,
                Ok(false) => {}
                Err(Failure::Store(error)) => found.push(error),
                Err(Failure::Engine(error)) => panic!("{error}"),
            }
        }
    }
}

type Spoil = fn(Tables, &mut RwTxn<'_>, &[ContextSlot]);

fn put_sum(tables: Tables, txn: &mut RwTxn<'_>, slot: ContextSlot, blobs: u64, bytes: u64) {
    let (key, mut record) = (slot_key(slot), Vec::new());
    seal(&mut record, &key, &AttachedSumRow { blobs, bytes });
    tables.attached_sums.put(txn, &key, &record).unwrap();
}

fn entry_of(slot: ContextSlot, n: u8) -> Vec<u8> {
    entry_of_row(&attachment(n).row_key(slot)).unwrap()
}

#[test]
fn every_note_that_is_not_what_the_entries_say_is_found_however_short_the_steps() {
    let spoils: [(&str, Spoil); 7] = [
        ("a lost row", |tables, txn, slots| {
            let key = attachment(3).row_key(slots[0]);
            assert!(tables.attached.delete(txn, &key).unwrap());
        }),
        ("a row of another blob", |tables, txn, slots| {
            let mut key = attachment(3).row_key(slots[0]);
            let row = tables.attached.get(txn, &key).unwrap().unwrap().to_vec();
            tables.attached.delete(txn, &key).unwrap();
            key[31] ^= 1;
            tables.attached.put(txn, &key, &row).unwrap();
        }),
        ("a damaged row", |tables, txn, slots| {
            let key = attachment(3).row_key(slots[0]);
            let mut row = tables.attached.get(txn, &key).unwrap().unwrap().to_vec();
            row[0] ^= 1;
            tables.attached.put(txn, &key, &row).unwrap();
        }),
        ("a lost entry", |tables, txn, slots| {
            assert!(tables.entries.delete(txn, &entry_of(slots[0], 3)).unwrap());
        }),
        ("a sum of other blobs", |tables, txn, slots| {
            put_sum(tables, txn, slots[0], 5, 11);
        }),
        ("a lost sum", |tables, txn, slots| {
            let key = slot_key(slots[1]);
            assert!(tables.attached_sums.delete(txn, &key).unwrap());
        }),
        ("a sum of nobody", |tables, txn, _| {
            put_sum(tables, txn, ContextSlot::new(77), 1, 1);
        }),
    ];
    for records_max in [1, 2, 3, u64::MAX] {
        for (what, spoil) in &spoils {
            let found = Bench::new().found(spoil, records_max);
            assert!(!found.is_empty(), "{what} is not found by {records_max}");
            for error in found {
                assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            }
        }
        let nothing = Bench::new().found(|_, _, _| {}, records_max);
        assert!(nothing.is_empty(), "{nothing:?}");
    }
}

/// Between any two steps something comes and something goes, before and behind the place.
#[test]
fn what_is_attached_and_detached_between_the_steps_is_no_damage() {
    let mut bench = Bench::new();
    for round in 0..20_u8 {
        let (mut check, mut step) = (AttachedCheck::default(), 0_u8);
        loop {
            let snapshot = bench.ledger.as_ref().unwrap().snapshot().unwrap();
            if snapshot.compare_attachments(&mut check, 1).unwrap() {
                break;
            }
            drop(snapshot);
            let blob = step.wrapping_mul(7).wrapping_add(round) % 11;
            let write = match (step / 2 + round) % 2 {
                0 => Write::Insert,
                _ => Write::Remove,
            };
            // Enough to move the place, and not so much that it never ends.
            if step < 30 {
                bench.call(step % 2, op(blob, write));
            }
            step += 1;
        }
    }
    crate::verify::verify(&bench.ledger.unwrap().snapshot().unwrap()).unwrap();
}

/// Whichever context has attached it, and whether or not others have noted that they did.
#[test]
fn a_blob_that_is_attached_without_a_note_is_found_by_its_id() {
    // The last one is attached by nobody.
    for n in [0, 3, 5, 6] {
        for contexts_max in [1, u64::MAX] {
            for lacking in [None, Some(0), Some(1)] {
                let attached = match lacking {
                    None => false,
                    Some(context) => (context..context + 5).contains(&n),
                };
                let spoil = |tables: Tables, txn: &mut RwTxn<'_>, slots: &[ContextSlot]| {
                    if let Some(context) = lacking {
                        let key = attachment(n).row_key(slots[usize::from(context)]);
                        let was_there = tables.attached.delete(txn, &key).unwrap();
                        assert_eq!(was_there, attached);
                    }
                };
                let mut check = NotedCheck::of(attachment(n).blob);
                let step = |tables: Tables, txn: &RoTxn<'_>| check.step(tables, txn, contexts_max);
                let found = Bench::new().told(spoil, step);
                let is_told = found.len() == usize::from(attached)
                    && found
                        .iter()
                        .all(|error| error.to_string().contains("nothing is noted"));
                assert!(is_told, "{n}, {lacking:?}: {found:?}");
            }
        }
    }
}
