//! Entries that members make large, by writing to one key without knowing of each other, or beneath what
//! others write. How much that may be is bounded, so that a copy can be made of every context and
//! a call has no more written anew than there is memory for.

use std::collections::BTreeMap;

use corelet_store::{
    Change, Committed, ContextSlot, ExportScope, NodeId, Refused, RemoteDelta, Sealer, Space,
    VouchedDelta, export_context,
};

use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::{Bench, id, set};

const CONTEXT: u8 = 1;
/// As large as a value may be.
const VALUE_BYTES: usize = 10 << 20;
/// So many of them are less than an entry may have, and one more is too much.
const FIT: usize = 12;

/// A shared context, in memory if that can be: all is written several times.
fn shared() -> (Bench, ContextSlot) {
    let memory = std::path::Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let mut bench = Bench::in_dir(dir, 4 << 30);
    let slot = bench.create(CONTEXT);
    bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
    (bench, slot)
}

/// The only delta of an author, who knows of no other.
fn alone(author: NodeId, key: &str, write: LiedWrite) -> VouchedDelta {
    let lie = Lie {
        space: Space::Shared,
        key: key.into(),
        removes_first: false,
        write,
    };
    let lies = BTreeMap::from([((0, key.into()), lie)]);
    vouched(&forge(id(CONTEXT), author, 1 << 12, &[], &lies, [9; 32]))
}

fn deliver(bench: &Bench, slot: ContextSlot, delta: &VouchedDelta) -> Result<Committed, Refused> {
    let delta = delta.clone();
    let batch = vec![Change::Delta(RemoteDelta { slot, delta })];
    bench.ledger().commit(batch).unwrap().remove(0)
}

#[test]
fn an_entry_takes_no_more_than_fits_into_a_copy_until_it_is_written_here() {
    let (mut bench, slot) = shared();
    let deltas: Vec<VouchedDelta> = (0..=FIT)
        .map(|n| {
            let value = vec![n as u8; VALUE_BYTES];
            alone(Key::new(n).node_id(), "key", LiedWrite::Set(value))
        })
        .collect();
    let (last, fitting) = deltas.split_last().unwrap();
    for delta in fitting {
        deliver(&bench, slot, delta).unwrap();
    }
    let refused = deliver(&bench, slot, last).unwrap_err();
    let Refused::EntryFull {
        key,
        bytes,
        bytes_max,
    } = &refused
    else {
        panic!("{refused}");
    };
    assert_eq!((&key[..], *bytes_max), (&b"key"[..], 128 << 20));
    assert!(*bytes > *bytes_max);
    bench.verify();
    let snapshot = bench.ledger().snapshot().unwrap();
    export_context(&snapshot, &id(CONTEXT), ExportScope::ALL, std::io::sink()).unwrap();
    drop(snapshot);
    // Whoever writes the key here replaces what is there, and nothing is lost of what comes then.
    let write = bench.call(CONTEXT, slot, vec![set("key", "ours")]);
    bench.commit(vec![write]);
    deliver(&bench, slot, last).unwrap();
    bench.verify();
}

#[test]
fn a_call_has_no_more_written_anew_than_it_may() {
    let (mut bench, slot) = shared();
    let keys: Vec<String> = (0..=FIT).map(|n| format!("key {n:02}")).collect();
    let registers = keys.iter().map(|key| set(key, "above")).collect();
    let write = bench.call(CONTEXT, slot, registers);
    bench.commit(vec![write]);
    for (n, key) in keys.iter().enumerate() {
        let beneath = LiedWrite::WriteOnce(vec![n as u8; VALUE_BYTES]);
        let delta = alone(Key::new(n).node_id(), key, beneath);
        deliver(&bench, slot, &delta).unwrap();
    }
    let anew = |keys: &[String]| keys.iter().map(|key| set(key, "anew")).collect();
    let all = bench.call(CONTEXT, slot, anew(&keys));
    let refused = bench.ledger().commit(vec![all]).unwrap().remove(0);
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, Refused::OutOfBounds { max, .. } if max == 128 << 20),
        "{refused}"
    );
    assert_eq!(bench.get(slot, b"key 00").unwrap(), b"above");
    let fewer = bench.call(CONTEXT, slot, anew(&keys[..FIT]));
    bench.commit(vec![fewer]);
    assert_eq!(bench.get(slot, b"key 00").unwrap(), b"anew");
    bench.verify();
}
