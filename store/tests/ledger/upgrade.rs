//! Contexts that get another application.

use corelet_store::{ApplicationId, Change, ContextSlot, Hlc, Op, Refused, Upgrade};

use crate::{Bench, event, id, set};

fn application(n: u8) -> ApplicationId {
    ApplicationId::from_bytes([n; 32])
}

fn upgrade(bench: &mut Bench, slot: ContextSlot, to: u8, ops: Vec<Op>) -> Change {
    Change::Upgrade(Upgrade {
        application: application(to),
        call: bench.effects(1, slot, ops),
    })
}

fn runs(bench: &Bench) -> ApplicationId {
    let snapshot = bench.ledger().snapshot().unwrap();
    snapshot.context(&id(1)).unwrap().unwrap().application
}

/// Both are durable with the batch, and neither is in a journal that could be lost without the other.
#[test]
fn an_upgrade_is_one_with_what_its_hooks_wrote() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let before = bench.call(1, slot, vec![set("k", "old")]);
    let mut change = upgrade(&mut bench, slot, 2, vec![set("k", "new"), set("l", "new")]);
    if let Change::Upgrade(upgrade) = &mut change {
        upgrade.call.events.push(event("upgraded", b"2"));
    }
    let behind = bench.call(1, slot, vec![set("m", "behind")]);
    let committed = bench.commit(vec![before, change, behind]);
    assert_eq!(committed[1].version(), 2);
    assert!(committed[1].delta_id().is_some());
    assert_eq!(committed[1].events()[0].event.kind, "upgraded");
    for _ in ["as it is", "opened again"] {
        assert_eq!(runs(&bench), application(2));
        let read = [b"k", b"l", b"m"].map(|key| bench.get(slot, key).unwrap());
        assert_eq!(read, [&b"new"[..], b"new", b"behind"]);
        bench.verify();
        bench.reopen();
    }
    // One that writes nothing is a change all the same, and has no delta.
    let silent = upgrade(&mut bench, slot, 3, Vec::new());
    let committed = bench.commit(vec![silent]).remove(0);
    assert_eq!((committed.version(), committed.delta_id()), (4, None));
    let call = bench.call(1, slot, vec![set("k", "newest")]);
    assert_eq!(bench.commit(vec![call]).remove(0).version(), 5);
    bench.reopen();
    assert_eq!(runs(&bench), application(3));
    bench.verify();
}

#[test]
fn an_upgrade_that_is_refused_changes_nothing() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("k", "old")]);
    bench.commit(vec![call]);
    let mut stale = upgrade(&mut bench, slot, 2, vec![set("k", "new")]);
    if let Change::Upgrade(upgrade) = &mut stale {
        upgrade.call.hlc = Hlc::from_bits(1 << 12);
    }
    let mut elsewhere = upgrade(&mut bench, slot, 2, vec![set("k", "new")]);
    if let Change::Upgrade(upgrade) = &mut elsewhere {
        upgrade.call.context = id(9);
    }
    let verdicts = bench.ledger().commit(vec![stale, elsewhere]).unwrap();
    assert!(matches!(verdicts[0], Err(Refused::StaleHlc { .. })));
    assert!(matches!(verdicts[1], Err(Refused::WrongSlot { .. })));
    assert_eq!(runs(&bench), application(1));
    assert_eq!(bench.get(slot, b"k").unwrap(), b"old");
    bench.verify();
}
