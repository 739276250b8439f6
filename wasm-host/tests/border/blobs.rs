//! Blobs across the border: what a guest attaches, what it is told, and what that costs and
//! is bounded by. Where blobs lie is the shard's matter.

use std::task::Poll;

use corelet_wasm_host::{Failure, Finished, Limits, MethodKind, Turn};

use crate::state::MapState;
use crate::{failure, finish, guest, host_with, output, poll, state_of, turn};

/// In memory: at 256 "guest" and at 276 "k", the ids of two blobs, at 704 room for an answer.
fn component(body: &str) -> Vec<u8> {
    guest::assemble(&format!(
        "(func $put (call $attach (i32.const 256) (i32.const 5) (i32.const 704)))
         (func $put-k (call $attach (i32.const 276) (i32.const 1) (i32.const 704)))
         (func $found (result i64) (i64.add (i64.load (i32.const 712))
           (i64.mul (i64.const 1000) (i64.load8_u (i32.const 704)))))
         (func $call (param $method i32) (param $method-len i32)
             (param $args i32) (param $args-len i32) (result i32)
           {body})"
    ))
}

fn run_with(limits: Limits, kind: MethodKind, state: MapState, body: &str) -> Finished {
    let module = host_with(limits).load(&component(body));
    let module = module.unwrap_or_else(|refused| panic!("{body}: {refused}"));
    let turn = Turn {
        // Enough for all lengths that one turn detaches.
        fuel_max: 100_000_000,
        ..turn(kind, "{}", state)
    };
    finish(module.instantiate().unwrap().run(turn))
}

/// With two blobs, of 7 and of 8 bytes.
fn state() -> MapState {
    MapState {
        blobs: [("guest".to_owned(), 7), ("k".to_owned(), 8)].into(),
        ..MapState::default()
    }
}

fn check(state: MapState, body: &str, expected: &str) -> MapState {
    let finished = run_with(Limits::default(), MethodKind::Update, state, body);
    assert_eq!(output(&finished), expected, "{body}");
    state_of(finished)
}

#[test]
fn a_blob_is_attached_if_it_is_there_and_the_guest_learns_its_size() {
    let body = "(call $put) (call $ok-number (call $found))";
    let attached = check(state(), body, "1007");
    assert_eq!(attached.attached.len(), 1);
    // option::none
    check(
        MapState::default(),
        "(call $put) (call $ok-number (i64.load8_u (i32.const 704)))",
        "0",
    );
    let body = "(call $put) (call $ok-number (i64.extend_i32_u (call $detach (i32.const 256) (i32.const 5))))";
    assert!(check(state(), body, "1").attached.is_empty());
    let body = "(call $put-k) (call $size (i32.const 276) (i32.const 1) (i32.const 704))
                (call $ok-number (call $found))";
    check(state(), body, "1008");
}

/// Other nodes may have attached it with as many lengths as they like, which must not be too
/// many for every turn.
#[test]
fn a_blob_with_many_lengths_is_detached_with_all_of_them_by_one_write() {
    let detach = "(call $detach (i32.const 276) (i32.const 1))";
    let run = |lengths: u64, calls: usize| {
        let limits = Limits {
            // To attach it, and to detach it.
            writes_max: 1 + calls as u64,
            ..Limits::default()
        };
        let calls = format!("(drop {detach})").repeat(calls - 1);
        let body = format!("(call $put-k) {calls} (call $ok-number (i64.extend_i32_u {detach}))");
        let state = MapState {
            blobs: [("k".to_owned(), lengths)].into(),
            ..MapState::default()
        };
        let finished = run_with(limits, MethodKind::Update, state, &body);
        assert_eq!(output(&finished), "1", "{lengths}");
        let fuel = finished.fuel_used;
        (state_of(finished).attached.get("k").copied(), fuel)
    };
    let (left, one) = run(1, 1);
    assert_eq!(left, None);
    let (left, many) = run(10_001, 1);
    assert_eq!(
        (left, many - one),
        (None, 10_000 * 4_000),
        "each is paid for"
    );
    // What is too much for one turn is left to the next one, and each call gets on.
    assert_eq!(run((1 << 14) + 1, 1).0, None);
    assert_eq!(run((1 << 14) + 8, 1).0, Some(7));
    assert_eq!(run((1 << 14) + 8, 3).0, Some(5));
}

/// What the turn has detached itself is in the way, and it pays for walking over that.
#[test]
fn looking_for_a_size_ends_slices_and_pays_for_what_is_in_the_way() {
    let body = "(call $put-k) (call $size (i32.const 276) (i32.const 1) (i32.const 704))
                (call $ok-number (call $found))";
    let run = |hidden: u32| {
        let state = MapState { hidden, ..state() };
        let finished = run_with(Limits::default(), MethodKind::Update, state, body);
        assert_eq!(output(&finished), "1008");
        finished.fuel_used
    };
    assert_eq!(run(7) - run(0), 7 * 500);
}

#[test]
fn the_list_goes_on_behind_each_pause_up_to_its_limit() {
    let list = |limit: u32| {
        format!(
            "(call $put) (call $put-k) (call $attached (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const {limit}) (i32.const 704))
             (call $ok-number (i64.load32_u (i32.const 708)))"
        )
    };
    check(state(), &list(1000), "2");
    check(state(), &list(1), "1");
    let behind = "(call $put) (call $put-k) (call $attached (i32.const 1) (i32.const 256)
        (i32.const 5) (i32.const 9) (i32.const 704)) (call $ok-number (i64.load32_u (i32.const 708)))";
    check(state(), behind, "1");
    let finished = run_with(Limits::default(), MethodKind::Update, state(), &list(1001));
    let Failure::LimitExceeded { limit, used, max } = failure(finished) else {
        panic!("a list without end")
    };
    assert_eq!((limit, used, max), ("scan_rows_max", 1001, 1000));
}

/// How long the disk takes is not the guest's doing.
#[test]
fn looking_for_a_blob_ends_slices_and_costs_nothing() {
    let run = |steps: u64| {
        let body = "(call $put) (call $ok-number (call $found))";
        let module = host_with(Limits::default()).load(&component(body)).unwrap();
        let state = MapState { steps, ..state() };
        let mut running = module
            .instantiate()
            .unwrap()
            .run(turn(MethodKind::Update, "{}", state));
        let mut slices = 0;
        loop {
            match poll(&mut running) {
                Poll::Pending => slices += 1,
                Poll::Ready(finished) => {
                    assert_eq!(output(&finished), "1007");
                    return (slices, finished.fuel_used);
                }
            }
        }
    };
    let (none, fuel) = run(0);
    assert_eq!(run(5), (none + 5, fuel));
}

#[test]
fn a_query_attaches_nothing_and_attaching_is_a_bounded_write() {
    for body in [
        "(call $put) (call $ok-null)",
        "(drop (call $detach (i32.const 256) (i32.const 5))) (call $ok-null)",
    ] {
        let finished = run_with(Limits::default(), MethodKind::Query, state(), body);
        assert!(matches!(failure(finished), Failure::WroteInQuery), "{body}");
    }
    let limits = Limits {
        writes_max: 1,
        ..Limits::default()
    };
    let finished = run_with(
        limits,
        MethodKind::Update,
        state(),
        "(call $put) (call $put-k) (call $ok-null)",
    );
    let Failure::LimitExceeded { limit, .. } = failure(finished) else {
        panic!("two writes of one")
    };
    assert_eq!(limit, "writes_max");
    let limits = Limits {
        key_bytes_max: 4,
        ..Limits::default()
    };
    let finished = run_with(
        limits,
        MethodKind::Update,
        state(),
        "(call $put) (call $ok-null)",
    );
    assert!(matches!(
        failure(finished),
        Failure::LimitExceeded {
            limit: "key_bytes_max",
            ..
        }
    ));
}
