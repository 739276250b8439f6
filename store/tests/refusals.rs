//! One refused change of a batch, and what it means for its neighbours.

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, DataDir, Hlc, Ledger, LedgerConfig, NewContext,
    NodeId, Op, OpenOptions, Refused, ShardCount,
};

fn call(context: ContextId, hlc: u64) -> CallEffects {
    CallEffects {
        ops: vec![Op::set(
            Bytes::from_static(b"k"),
            Bytes::from(hlc.to_string()),
        )],
        ..CallEffects::new(context, NodeId::from_bytes([7; 32]), Hlc::from_bits(hlc))
    }
}

#[test]
fn calls_behind_a_refused_one_of_their_context_are_refused_too() {
    let dir = tempfile::tempdir().unwrap();
    let config = LedgerConfig {
        map_bytes_max: 4 << 20,
        readers_max: 8,
        ..LedgerConfig::default()
    };
    let shards_if_new = ShardCount::new(1).unwrap();
    let options = OpenOptions {
        shards_if_new,
        node_id_if_new: NodeId::from_bytes([7; 32]),
    };
    let data = DataDir::open(dir.path(), &options).unwrap();
    let shard = shards_if_new.shards().next().unwrap();
    let ledger = Ledger::open(&data.ledger_place(shard), &config).unwrap();
    let (one, other) = (ContextId::random(), ContextId::random());
    let new = |id| {
        let application = ApplicationId::from_bytes([1; 32]);
        let created = Hlc::from_bits(100);
        Change::CreateContext(NewContext {
            id,
            name: None,
            application,
            created,
            call: call(id, 100),
        })
    };
    for verdict in ledger.commit(vec![new(one), new(other)]).unwrap() {
        verdict.unwrap();
    }

    let verdicts = ledger
        .commit(vec![
            Change::Call(call(one, 200)),
            Change::Call(call(one, 50)), // older than what is there
            Change::Call(call(other, 300)),
            Change::Call(call(one, 400)), // may have seen the write of the second
        ])
        .unwrap();
    assert!(verdicts[0].is_ok());
    assert!(matches!(verdicts[1], Err(Refused::StaleHlc { .. })));
    assert!(verdicts[2].is_ok());
    assert!(matches!(verdicts[3], Err(Refused::BehindRefused { context }) if context == one));

    let snapshot = ledger.snapshot().unwrap();
    let value = |id| {
        let slot = snapshot.context(&id).unwrap().unwrap().slot;
        snapshot.register(slot, b"k").unwrap().map(<[u8]>::to_vec)
    };
    assert_eq!(value(one), Some(b"200".to_vec()));
    assert_eq!(value(other), Some(b"300".to_vec()));
    corelet_store::verify(&snapshot).unwrap();
}
