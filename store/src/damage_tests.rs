//! One damaged record, of whatever kind, is lived with: the node starts, its neighbours go on, it
//! is told whose it is, and what it belongs to can be deleted.

use std::path::PathBuf;

use crate::change::Change;
use crate::error::ExportError;
use crate::error::StoreError;
use crate::export::{BackupCounts, BackupSource, write_backup};
use crate::fixture::{alter, flip, id, name, open, round, scrub_twice, two};
use crate::ids::NodeId;
use crate::layout::slot_key;
use crate::ledger::Ledger;
use crate::names::reconcile_names;
use crate::scrub::Scrub;
use crate::verify::verify;

fn backup(ledger: &Ledger) -> Result<(BackupCounts, Vec<u8>), ExportError> {
    ledger.writer().checkpoint().unwrap();
    let source = BackupSource {
        node: NodeId::from_bytes([4; 32]),
        snapshots: &[ledger.snapshot().unwrap()],
        component: &|_| PathBuf::new(),
        blobs: None,
    };
    let mut file = Vec::new();
    let counts = write_backup(&source, &mut file, &mut |_| {})?;
    Ok((counts, file))
}

fn quarantine(ledger: &Ledger, n: u8) {
    let change = Change::Quarantine {
        context: id(n),
        why: Some("it is damaged".to_owned()),
    };
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

fn delete(ledger: &Ledger, n: u8) {
    let change = Change::DeleteContext(id(n));
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

fn sweep(ledger: &Ledger) {
    while ledger.sweep(100).unwrap().is_more {}
}

#[test]
fn a_context_with_a_damaged_record_keeps_its_name_is_put_out_of_service_and_can_be_deleted() {
    let (dir, ledger, slots) = two();
    flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
    drop(ledger);
    let ledger = open(&dir);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.freed, Vec::<String>::new());
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.name(&name(1)).unwrap(), Some(id(1)));
    let found = snapshot.contexts_found(None, 9).unwrap();
    assert_eq!((found[0].0, found[0].1.is_err()), (id(1), true));
    assert_eq!(found[1].1.as_ref().unwrap().slot, slots[1]);
    assert_eq!(snapshot.slot_of(&id(1)).unwrap(), Some(slots[0]));
    drop(snapshot);

    let damaged = round(&mut Scrub::default(), &ledger).damaged;
    assert!(!damaged.is_empty());
    assert!(
        damaged.iter().all(|damage| damage.context == Some(id(1))),
        "{damaged:?}"
    );
    let (counts, _) = backup(&ledger).unwrap();
    assert_eq!((counts.contexts, counts.left_out, counts.names), (1, 1, 2));
    quarantine(&ledger, 1);
    drop(ledger);

    let ledger = open(&dir);
    let out = ledger.snapshot().unwrap().all_quarantined().unwrap();
    assert_eq!(
        (out.len(), out[0].context, out[0].slot),
        (1, id(1), slots[0])
    );
    delete(&ledger, 1);
    sweep(&ledger);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.freed, [name(1)]);
    assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().contexts, 1);
    assert_eq!(ledger.stats().unwrap().entries, 40);
    assert!(round(&mut Scrub::default(), &ledger).damaged.is_empty());
}

/// Then nothing says in which slot it was.
#[test]
fn a_context_without_a_record_or_a_head_that_can_be_read_can_be_deleted() {
    for is_head_there in [true, false] {
        let (_dir, ledger, slots) = two();
        flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
        let head = slot_key(slots[0]);
        match is_head_there {
            true => flip(&ledger, |tables| tables.heads, &head),
            false => alter(&ledger, |tables, txn| tables.heads.delete(txn, &head)),
        }
        let damaged = round(&mut Scrub::default(), &ledger).damaged;
        assert!(damaged.iter().any(|damage| damage.context == Some(id(1))));
        delete(&ledger, 1);
        let deleted = ledger.snapshot().unwrap().context(&id(1)).unwrap();
        assert_eq!(deleted, None);
        scrub_twice(&ledger);
        scrub_twice(&ledger);
        reconcile_names(std::slice::from_ref(&ledger)).unwrap();
        assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().contexts, 1);
        assert_eq!(ledger.stats().unwrap().entries, 40);
    }
}

#[test]
fn the_damaged_record_of_a_name_is_written_anew_by_what_its_context_says() {
    let (dir, ledger, _) = two();
    flip(&ledger, |tables| tables.names, name(1).as_bytes());
    assert!(!round(&mut Scrub::default(), &ledger).damaged.is_empty());
    let (counts, _) = backup(&ledger).unwrap();
    assert_eq!((counts.contexts, counts.left_out, counts.names), (2, 0, 1));
    drop(ledger);
    let ledger = open(&dir);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(
        (reconciled.freed, reconciled.mended),
        (vec![], vec![name(1)])
    );
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.name(&name(1)).unwrap(), Some(id(1)));
    verify(&snapshot).unwrap();
}

/// A bit of the key was hit, so that the record is a name's that nobody has.
#[test]
fn a_name_that_is_lost_with_a_bit_of_its_key_is_its_contexts_again() {
    let (_dir, ledger, _) = two();
    let mut key = name(1).into_bytes();
    alter(&ledger, |tables, txn| {
        let record = tables.names.get(txn, &key)?.unwrap().to_vec();
        tables.names.delete(txn, &key)?;
        key[0] ^= 1;
        tables.names.put(txn, &key, &record).map(|()| true)
    });
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.mended, [name(1)]);
    assert_eq!(reconciled.freed, [String::from_utf8(key).unwrap()]);
    verify(&ledger.snapshot().unwrap()).unwrap();
}

/// It may be the name of that context.
#[test]
fn a_damaged_name_stays_while_a_context_cannot_be_read() {
    let (_dir, ledger, _) = two();
    flip(&ledger, |tables| tables.names, name(1).as_bytes());
    flip(&ledger, |tables| tables.contexts, id(1).as_bytes());
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!((reconciled.freed.len(), reconciled.mended.len()), (0, 0));
    assert!(matches!(
        &reconciled.damaged[..],
        [StoreError::Corrupt { .. }]
    ));
    delete(&ledger, 1);
    sweep(&ledger);
    let reconciled = reconcile_names(std::slice::from_ref(&ledger)).unwrap();
    assert_eq!(reconciled.freed, [name(1)]);
    verify(&ledger.snapshot().unwrap()).unwrap();
}
