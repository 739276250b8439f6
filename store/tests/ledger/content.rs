//! How much a context may hold: calls that would make it more are refused, others are not.

use corelet_store::{Change, ContextBounds, ContextSlot, Op, Refused};

use crate::{Bench, id, remove, set};

/// The bound of the refusal, and what it would have come to.
fn refused(bench: &mut Bench, slot: ContextSlot, ops: Vec<Op>) -> Option<(&'static str, u64, u64)> {
    let call = bench.call(1, slot, ops);
    match bench.ledger().commit(vec![call]).unwrap().remove(0) {
        Ok(_) => None,
        Err(Refused::OutOfBounds {
            limit, got, max, ..
        }) => Some((limit, got, max)),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_context_grows_to_so_many_bytes_and_may_always_become_smaller() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let bytes = |bench: &Bench| bench.ledger().snapshot().unwrap().head(slot).unwrap().bytes;
    let letters = |key: &str, bytes: usize| set(key, "v".repeat(bytes));
    bench.config.contexts.bytes_max = 100;
    bench.reopen();
    assert_eq!(refused(&mut bench, slot, vec![letters("a", 59)]), None);
    // With the key.
    assert_eq!(bytes(&bench), 60);
    for ops in [
        vec![letters("b", 40)],
        vec![letters("a", 79), letters("b", 20)],
    ] {
        let found = refused(&mut bench, slot, ops);
        assert_eq!(found, Some(("context_bytes_max", 101, 100)));
        assert_eq!(bytes(&bench), 60, "it has left a trace");
    }
    assert_eq!(refused(&mut bench, slot, vec![letters("b", 39)]), None);
    let exchange = vec![remove("a"), letters("b", 79)];
    assert_eq!(refused(&mut bench, slot, exchange), None);

    // What is in the journal was acknowledged, whatever the bound has become.
    bench.config.contexts.bytes_max = 10;
    bench.reopen();
    assert_eq!(bytes(&bench), 80);
    assert_eq!(
        refused(&mut bench, slot, vec![letters("b", 49)]),
        None,
        "smaller"
    );
    let found = refused(&mut bench, slot, vec![letters("b", 50)]);
    assert_eq!(found, Some(("context_bytes_max", 51, 10)));
    assert_eq!(refused(&mut bench, slot, vec![remove("b")]), None);
    bench.config.contexts = ContextBounds::NONE;
    bench.reopen();
    bench.verify();
}

#[test]
fn a_context_whose_first_writes_are_too_many_is_not_made() {
    let mut bench = Bench::new();
    bench.config.contexts.bytes_max = 100;
    bench.reopen();
    let mut create = |n: u8, bytes: usize| {
        let Change::CreateContext(mut new) = bench.new_context(n) else {
            panic!("it makes a context")
        };
        let ops = vec![set("key", "v".repeat(bytes))];
        new.name = Some("name".into());
        new.call.ops = ops;
        let made = bench.ledger().commit(vec![Change::CreateContext(new)]);
        let made = made.unwrap().remove(0).is_ok();
        let snapshot = bench.ledger().snapshot().unwrap();
        assert_eq!(snapshot.context(&id(n)).unwrap().is_some(), made);
        made
    };
    assert!(!create(2, 98), "with the key it is a byte too much");
    assert!(create(3, 97), "and the name is free");
    bench.reopen();
    bench.verify();
}
