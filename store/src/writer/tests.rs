//! What a ledger makes of records that its writer needs and that are lost or damaged.

use crate::attachment::Attachment;
use crate::change::{CallEffects, Change, NewContext, Op, Write};
use crate::data_dir::{DataDir, OpenOptions};
use crate::entry::Space;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, BlobId, ContextId, ContextSlot, NodeId, ShardCount};
use crate::layout::{self, META_SLOTS, Tables};
use crate::ledger::{Ledger, LedgerConfig, open_env};
use crate::record::{SlotsRecord, seal};

/// Its key or its page is damaged, so that LMDB does not find it.
#[test]
fn slots_are_not_given_again_when_their_record_is_lost() {
    let lost: [fn(Tables, &mut heed::RwTxn<'_>); 2] = [
        |tables, txn| assert!(tables.meta.delete(txn, META_SLOTS).unwrap()),
        |tables, txn| {
            let mut record = Vec::new();
            seal(&mut record, META_SLOTS, &SlotsRecord { next: 1 });
            tables.meta.put(txn, META_SLOTS, &record).unwrap();
        },
    ];
    for lose in lost {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: NodeId::from_bytes([4; 32]),
        };
        let data = DataDir::open(dir.path(), &options).unwrap();
        let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
        let config = LedgerConfig::default();
        let id = ContextId::random();
        let call = CallEffects::new(id, NodeId::from_bytes([4; 32]), Hlc::ZERO);
        let new = NewContext {
            id,
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: Hlc::ZERO,
            call,
        };
        let ledger = Ledger::open(&place, &config).unwrap();
        ledger.commit(vec![Change::CreateContext(new)]).unwrap();
        drop(ledger);
        let env = open_env(&place, &config).unwrap();
        let tables = Tables::open(&env).unwrap().unwrap();
        let mut txn = env.write_txn().unwrap();
        lose(tables, &mut txn);
        txn.commit().unwrap();
        drop(env);
        let error = Ledger::open(&place, &config).err().unwrap();
        assert!(
            matches!(
                error,
                StoreError::Corrupt {
                    what: "slots record",
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// Whether a call that needs the record is in the journal when the ledger is opened, or
/// comes later.
#[test]
fn a_damaged_sum_of_attachments_stops_its_context_alone() {
    for is_journaled in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            shards_if_new: ShardCount::new(1).unwrap(),
            node_id_if_new: NodeId::from_bytes([4; 32]),
        };
        let data = DataDir::open(dir.path(), &options).unwrap();
        let place = data.ledger_place(options.shards_if_new.shards().next().unwrap());
        let config = LedgerConfig {
            start_check_bytes_max: 0,
            ..LedgerConfig::default()
        };
        let id = |n| ContextId::from_bytes([n; 32]);
        let call = |n, slot, now: u64, blob: u8| {
            let attachment = Attachment {
                blob: BlobId::of(&[blob]),
                bytes: 1,
            };
            CallEffects {
                context: id(n),
                slot,
                author: NodeId::from_bytes([4; 32]),
                hlc: Hlc::from_micros(now),
                read: None,
                ops: vec![Op {
                    space: Space::Attached,
                    key: bytes::Bytes::copy_from_slice(&attachment.key()),
                    removes_first: false,
                    write: Write::Insert,
                }],
                events: vec![],
                answer: None,
            }
        };
        let ledger = Ledger::open(&place, &config).unwrap();
        let slots = [1, 2].map(|n| {
            let new = NewContext {
                id: id(n),
                name: None,
                application: ApplicationId::from_bytes([1; 32]),
                created: Hlc::from_micros(1),
                call: call(n, ContextSlot::UNASSIGNED, 1, 1),
            };
            let verdict = ledger.commit(vec![Change::CreateContext(new)]);
            verdict.unwrap().remove(0).unwrap().slot()
        });
        if is_journaled {
            let batch = vec![
                Change::Call(call(1, slots[0], 2, 2)),
                Change::Call(call(2, slots[1], 2, 2)),
            ];
            let outcome = ledger.writer().commit(batch).unwrap();
            assert!(!outcome.is_shown && outcome.verdicts.iter().all(Result::is_ok));
        }
        drop(ledger);
        let env = open_env(&place, &config).unwrap();
        let tables = Tables::open(&env).unwrap().unwrap();
        let mut txn = env.write_txn().unwrap();
        let key = layout::slot_key(slots[0]);
        let bytes = tables.attached_sums.get(&txn, &key).unwrap();
        let mut bytes = bytes.unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        tables.attached_sums.put(&mut txn, &key, &bytes).unwrap();
        txn.commit().unwrap();
        drop(env);
        let ledger = Ledger::open(&place, &config).unwrap();
        let snapshot = ledger.snapshot().unwrap();
        let quarantined = snapshot.quarantined(slots[0]).unwrap();
        assert_eq!(quarantined.is_some(), is_journaled);
        drop(snapshot);
        let batch = vec![
            Change::Call(call(1, slots[0], 3, 3)),
            Change::Call(call(2, slots[1], 3, 3)),
        ];
        let verdicts = ledger.commit(batch).unwrap();
        match is_journaled {
            true => assert!(matches!(verdicts[0], Err(Refused::Quarantined { .. }))),
            false => assert!(matches!(verdicts[0], Err(Refused::Damaged { .. }))),
        }
        assert!(verdicts[1].is_ok());
        // Deleted, it is swept all the same.
        let delete = Change::DeleteContext(id(1));
        ledger.commit(vec![delete]).unwrap().remove(0).unwrap();
        while ledger.sweep(1).unwrap().is_more {}
        crate::verify::verify(&ledger.snapshot().unwrap()).unwrap();
    }
}
