//! Data directories that programs of earlier formats have left, as they were written then.
//! Each opens, and is whole. To add one: write it with the last program of its format,
//! with calls in the journal and a deleted context that is not swept, and pack it here.

use std::path::Path;
use std::process::Command;

use corelet_store::{
    ApplicationId, DataDir, Ledger, LedgerConfig, NodeId, OpenOptions, Scan, ShardCount, ShardId,
    Verified, verify,
};

use crate::{id, set};

/// Unpacks the fixture and opens its only ledger.
fn open(dir: &Path, name: &str) -> Ledger {
    let packed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.tar.gz"));
    if !dir.join(name).exists() {
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(&packed)
            .arg("-C")
            .arg(dir)
            .status();
        assert!(unpacked.unwrap().success(), "{}", packed.display());
    }
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([7; 32]),
    };
    let data = DataDir::open(dir.join(name), &options).unwrap();
    let config = LedgerConfig {
        map_bytes_max: 16 << 20,
        readers_max: 4,
        journal_bytes_max: 64 << 10,
        checkpoint_contexts_max: 1000,
    };
    let shard = ShardId::new(0, options.shards_if_new).unwrap();
    Ledger::open(&data.ledger_place(shard), &config).unwrap()
}

/// What the writer of the fixtures has done: a hundred calls that each set a key of
/// their own and `last`, every tenth with an event; 500 keys in another context; a third
/// context with nothing, a fourth that was deleted; and, in the journal, five calls of the first
/// that remove a key, set another and a large one, each with an event, and five of the second.
fn check_content(ledger: &Ledger) {
    let snapshot = ledger.snapshot().unwrap();
    let slot = |n| {
        snapshot
            .context(&id(n))
            .unwrap()
            .map(|context| context.slot)
    };
    let register = |n, key: &str| {
        let value = snapshot.register(slot(n).unwrap(), key.as_bytes()).unwrap();
        value.map(<[u8]>::to_vec)
    };
    assert_eq!(slot(4), None);
    assert_eq!(register(1, "made"), Some(vec![1]));
    for n in 0..100_u32 {
        let expected = (n >= 5).then(|| format!("value {n}").into_bytes());
        assert_eq!(register(1, &format!("key-{n:03}")), expected);
    }
    for n in 0..5_u8 {
        assert_eq!(register(1, &format!("journaled-{n}")), Some(vec![n]));
    }
    assert_eq!(register(1, "last"), Some(99_u32.to_be_bytes().to_vec()));
    assert_eq!(register(1, "large"), Some(vec![4; 9000]));
    assert_eq!(register(3, "m0000"), Some(b"again".to_vec()));
    assert_eq!(register(3, "m0499"), Some(499_u32.to_le_bytes().to_vec()));
    let heads = [1, 2, 3].map(|n| snapshot.head(slot(n).unwrap()).unwrap());
    assert_eq!(heads.each_ref().map(|head| head.entries), [103, 0, 501]);
    assert_eq!(heads.each_ref().map(|head| head.events_last), [15, 0, 0]);
    let mut events = Vec::new();
    snapshot
        .events(slot(1).unwrap(), 1, usize::MAX, &mut |event| {
            events.push((event.kind.to_owned(), event.payload.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(events[9], ("tenth".to_owned(), b"90".to_vec()));
    assert_eq!(events[14], ("journaled".to_owned(), b"4".to_vec()));
    let all = Scan {
        prefix: b"m",
        limit: usize::MAX,
        ..Scan::default()
    };
    let mut found = 0;
    snapshot
        .scan(slot(3).unwrap(), all, &mut |_| {
            found += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(found, 501, "500 keys and `made`");
    assert_eq!(snapshot.name("context-1").unwrap(), Some(id(1)));
    let application = ApplicationId::from_bytes([9; 32]);
    assert_eq!(
        snapshot.application(&application).unwrap().unwrap().name,
        "kv"
    );
}

#[test]
fn a_directory_of_format_3_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    // What is in the journal becomes deltas of this format; the log before is gone.
    let expected = Verified {
        contexts: 3,
        entries: 604,
        deltas: 10,
        events: 15,
    };
    for _ in 0..2 {
        let ledger = open(dir.path(), "format-3");
        check_content(&ledger);
        assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap(), expected);
    }
    let ledger = open(dir.path(), "format-3");
    while ledger.sweep(100).unwrap().is_more {}
    let slot = ledger
        .snapshot()
        .unwrap()
        .context(&id(2))
        .unwrap()
        .unwrap()
        .slot;
    let mut bench = crate::Bench::new();
    bench.now = 1 << 40;
    let call = bench.call(2, slot, vec![set("new", "value")]);
    ledger.commit(vec![call]).unwrap().remove(0).unwrap();
    verify(&ledger.snapshot().unwrap()).unwrap();
}
