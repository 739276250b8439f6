//! Write-once values that another node puts where they do not belong: under a key that this one
//! has a register under, and under one where nothing was. What a call of this node may do there goes by
//! what is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use corelet_store::{
    Change, ContextSlot, EntryKind, EntryValue, Op, Refused, RemoteDelta, Sealer, Space, Write,
};

use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::{Bench, id, set};

const CONTEXT: u8 = 1;

/// A context with a register above what another node has written once under the same key, and such
/// a value alone.
fn lied_to() -> (Bench, ContextSlot) {
    let mut bench = Bench::new();
    let slot = bench.create(CONTEXT);
    bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
    let effects = bench.effects(CONTEXT, slot, vec![set("hidden", "register")]);
    bench.commit(vec![Change::Call(effects)]);
    let lies = ["alone", "hidden"].map(|key| {
        let lie = Lie {
            space: Space::Shared,
            key: key.into(),
            removes_first: false,
            write: LiedWrite::WriteOnce(b"once".to_vec()),
        };
        ((0, key.into()), lie)
    });
    let author = Key::new(49).node_id();
    let canonical = forge(
        id(CONTEXT),
        author,
        1 << 12,
        &[],
        &BTreeMap::from(lies),
        [9; 32],
    );
    let delta = vouched(&canonical);
    bench.commit(vec![Change::Delta(RemoteDelta { slot, delta })]);
    (bench, slot)
}

fn read(bench: &Bench, slot: ContextSlot, key: &str) -> String {
    let snapshot = bench.ledger().snapshot().unwrap();
    let value = snapshot.get(slot, Space::Shared, key.as_bytes()).unwrap();
    match value {
        Some(EntryValue::Register(bytes)) => format!("register {}", bytes.escape_ascii()),
        Some(EntryValue::WriteOnce(bytes)) => format!("once {}", bytes.escape_ascii()),
        other => format!("{other:?}"),
    }
}

fn call(bench: &mut Bench, slot: ContextSlot, op: Op) -> Result<(), Refused> {
    let effects = bench.effects(CONTEXT, slot, vec![op]);
    let batch = vec![Change::Call(effects)];
    bench.ledger().commit(batch).unwrap().remove(0).map(drop)
}

fn remove(key: &'static str) -> Op {
    Op::remove(Bytes::from_static(key.as_bytes()))
}

#[test]
fn a_register_above_a_write_once_value_can_be_removed_and_written_again() {
    let (mut bench, slot) = lied_to();
    assert_eq!(read(&bench, slot, "hidden"), "register register");
    let anew = Op {
        removes_first: true,
        ..set("hidden", "anew")
    };
    call(&mut bench, slot, anew).unwrap();
    assert_eq!(read(&bench, slot, "hidden"), "register anew");
    let snapshot = bench.ledger().snapshot().unwrap();
    let entry = snapshot.read(slot, Space::Shared, b"hidden").unwrap();
    let left = entry.unwrap().left_by_removal;
    assert_eq!(left, Some(EntryValue::WriteOnce(b"once")));
    drop(snapshot);
    call(&mut bench, slot, remove("hidden")).unwrap();
    assert_eq!(read(&bench, slot, "hidden"), "once once");
    corelet_store::verify(&bench.ledger().snapshot().unwrap()).unwrap();
}

#[test]
fn what_is_read_as_written_once_is_neither_removed_nor_written_as_something_else() {
    let (mut bench, slot) = lied_to();
    let refused = call(&mut bench, slot, remove("alone")).unwrap_err();
    assert!(matches!(refused, Refused::RemovedWriteOnce), "{refused}");
    let refused = call(&mut bench, slot, set("alone", "mine")).unwrap_err();
    let is_told = matches!(
        refused,
        Refused::KindMismatch {
            found: EntryKind::WriteOnce,
            written: EntryKind::Register,
        }
    );
    assert!(is_told, "{refused}");
    let anew = Op {
        removes_first: true,
        ..set("alone", "mine")
    };
    let refused = call(&mut bench, slot, anew).unwrap_err();
    assert!(matches!(refused, Refused::RemovedWriteOnce), "{refused}");
    let again = Op {
        write: Write::WriteOnce(Bytes::from_static(b"mine")),
        ..set("alone", "")
    };
    call(&mut bench, slot, again).unwrap();
    assert_eq!(read(&bench, slot, "alone"), "once once");
}
