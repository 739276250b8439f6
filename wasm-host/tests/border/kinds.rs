//! Entries of every kind in every space: what a guest writes and reads of them,
//! what it must not do to them, and what each function is bounded by. How kinds
//! merge is the store's.

use std::sync::Arc;
use std::task::Poll;

use corelet_wasm_host::{Failure, Finished, Limits, MethodKind, Module, Space};

use crate::state::MapState;
use crate::{AUTHOR, failure, finish, guest, host, host_with, load, output, poll, run};
use crate::{query, state_of, turn, update};

/// The module whose `call` is `body`. The key "k" lies at 276, and the author's
/// public key at `$author-at` once `$mine` has run.
fn module_with(limits: Limits, body: &str) -> Arc<Module> {
    let text = format!(
        "(func $mine (result i32)
           (call $author (i32.const 512)) (i32.load (i32.const 512)))
         (func $call (param $method i32) (param $method-len i32)
             (param $args i32) (param $args-len i32) (result i32)
           (local $key i32)
           {body})"
    );
    let host = host_with(limits);
    host.load(&guest::assemble(&text))
        .unwrap_or_else(|refused| panic!("{body}: {refused}"))
}

fn run_on(state: MapState, kind: MethodKind, body: &str) -> Finished {
    let module = module_with(Limits::default(), body);
    finish(module.instantiate().unwrap().run(turn(kind, "{}", state)))
}

fn check(state: MapState, body: &str, expected: &str) -> MapState {
    let finished = run_on(state, MethodKind::Update, body);
    assert_eq!(output(&finished), expected, "{body}");
    state_of(finished)
}

fn check_misused(state: MapState, body: &str, expected: &str) {
    let failure = failure(run_on(state, MethodKind::Update, body));
    let Failure::Misused { message } = &failure else {
        panic!("{body}: {failure}")
    };
    assert!(message.contains(expected), "{body}: {message}");
}

fn check_limit(limits: Limits, body: &str, expected: (&str, u64)) {
    let instance = module_with(limits, body).instantiate().unwrap();
    let failure = failure(finish(instance.run(update("{}", MapState::default()))));
    let Failure::LimitExceeded { limit, used, .. } = failure else {
        panic!("{body}: {failure}")
    };
    assert_eq!((limit, used), expected, "{body}");
}

const ADD: &str = "(call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 7))";
const INSERT: &str = "(call $insert (i32.const 0) (i32.const 276) (i32.const 1))";
const WRITE_ONCE: &str = "(call $write-once (i32.const 0) (i32.const 276) (i32.const 1)
    (i32.const 272) (i32.const 4))";
const SET: &str = "(call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))";
const REMOVE: &str = "(drop (call $remove (i32.const 276) (i32.const 1)))";
const REMOVE_ALL: &str =
    "(call $remove-range (i32.const 0) (i32.const 276) (i32.const 0) (i32.const 1000))";

/// The number as the answer.
fn number(call: &str) -> String {
    format!("(call $ok-number (i64.extend_i32_u {call}))")
}

#[test]
fn a_counter_counts_and_is_read_as_eight_bytes() {
    let body = format!("(drop {ADD}) (call $ok-number {ADD})");
    let state = check(MapState::default(), &body, "14");
    assert_eq!(state.entries[&b"k"[..]], 14_i64.to_le_bytes());
    assert_eq!(state.writes, 2);

    let read = "(call $get (i32.const 276) (i32.const 1) (i32.const 512))
        (call $ok-number (i64.load (i32.load (i32.const 516))))";
    check(state, read, "14");
    let down = "(drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const -9)))
        (call $ok-number (i64.add (i64.const 2)
          (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 8))))";
    check(MapState::default(), down, "1");
}

#[test]
fn an_element_is_new_once() {
    let state = check(MapState::default(), &number(INSERT), "1");
    assert_eq!(state.entries[&b"k"[..]], b"");
    check(state.clone(), &number(INSERT), "0");
    let again = format!("{REMOVE} {}", number(INSERT));
    check(state, &again, "1");
}

#[test]
fn what_is_written_once_stays() {
    let state = check(MapState::default(), &number(WRITE_ONCE), "1");
    assert_eq!(state.entries[&b"k"[..]], b"null");
    let another = "(call $write-once (i32.const 0) (i32.const 276) (i32.const 1)
        (i32.const 256) (i32.const 5))";
    let state = check(state, &number(another), "0");
    assert_eq!(state.entries[&b"k"[..]], b"null");
}

/// In all spaces the same key, and each has what was written there.
#[test]
fn spaces_do_not_meet() {
    let body = "(local.set $key (call $mine))
        (call $set-in (i32.const 0) (local.get $key) (i32.const 32) (i32.const 256) (i32.const 1))
        (call $set-in (i32.const 1) (local.get $key) (i32.const 32) (i32.const 256) (i32.const 2))
        (call $set-in (i32.const 2) (local.get $key) (i32.const 32) (i32.const 256) (i32.const 3))
        (call $get-in (i32.const 2) (local.get $key) (i32.const 32) (i32.const 512))
        (call $ok-number (i64.add (i64.load32_u (i32.const 520))
          (call $count-in (i32.const 1) (local.get $key) (i32.const 32))))";
    let mut state = check(MapState::default(), body, "4");
    for (space, value) in [
        (Space::Shared, &b"g"[..]),
        (Space::Owned, b"gu"),
        (Space::Private, b"gue"),
    ] {
        assert_eq!(state.map(space)[&AUTHOR[..]], value, "{space:?}");
    }
}

/// Scanned, counted and removed in its own space alone.
#[test]
fn walks_stay_in_their_space() {
    let mut state = MapState::of(&[("a", "1"), ("b", "2")]);
    state.map(Space::Private).insert(b"a".into(), b"3".into());
    let scan = "(call $scan-in (i32.const 2) (i32.const 276) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 0) (i32.const 512))
        (call $ok-number (i64.load32_u (i32.const 516)))";
    check(state.clone(), scan, "1");
    let remove =
        number("(call $remove-range (i32.const 2) (i32.const 276) (i32.const 0) (i32.const 9))");
    let mut state = check(state, &remove, "1");
    assert_eq!(
        (state.entries.len(), state.map(Space::Private).len()),
        (2, 0)
    );
}

#[test]
fn a_range_is_removed_up_to_its_limit() {
    let state = MapState::of(&[
        ("j", "1"),
        ("k1", "2"),
        ("k2", "3"),
        ("k3", "4"),
        ("l", "5"),
    ]);
    let remove = |limit: u32| {
        number(&format!(
            "(call $remove-range (i32.const 0) (i32.const 276) (i32.const 1) (i32.const {limit}))"
        ))
    };
    let unharmed = check(state.clone(), &remove(0), "0");
    assert_eq!(unharmed.entries, state.entries);
    let some = check(state.clone(), &remove(2), "2");
    assert_eq!(
        some.entries,
        MapState::of(&[("j", "1"), ("k3", "4"), ("l", "5")]).entries
    );
    assert_eq!(some.writes, 2);
    let all = check(state, &remove(1000), "3");
    assert_eq!(all.entries, MapState::of(&[("j", "1"), ("l", "5")]).entries);
    check(all, &remove(1000), "0");
}

/// Another node may have put it there. More of it than one step looks at does not hide what is
/// behind it.
#[test]
fn a_range_is_removed_around_what_is_written_once() {
    let mut state = MapState::of(&[("k0", "1"), ("k5", "2"), ("k9", "3")]);
    for n in 0..150 {
        let key = format!("k1{n:03}").into_bytes();
        state.entries.insert(key.clone(), b"once".into());
        state
            .kinds
            .insert((Space::Shared, key), crate::state::WRITE_ONCE);
    }
    let remove = |limit: u32| {
        number(&format!(
            "(call $remove-range (i32.const 0) (i32.const 276) (i32.const 1) (i32.const {limit}))"
        ))
    };
    let some = check(state.clone(), &remove(2), "2");
    assert_eq!((some.entries.len(), some.writes), (151, 2));
    // However few are wanted, a walk goes over many.
    assert_eq!(some.reads, 2);
    assert!(some.entries.contains_key(&b"k9"[..]));
    let all = check(state, &remove(1000), "3");
    assert_eq!((all.entries.len(), all.writes), (150, 3));
    let rest = check(all, &remove(1000), "0");
    assert_eq!((rest.entries.len(), rest.writes), (150, 3));
}

/// As `count` does: a thousand removals are several slices, and each is paid for.
/// What was removed before the turn costs time, and no fuel.
#[test]
fn removing_a_range_ends_slices() {
    let many = |hidden| {
        let mut state = MapState {
            hidden,
            ..MapState::default()
        };
        for n in 0..1_500_u32 {
            let key = (1_000_000 + n).to_be_bytes();
            state.entries.insert(key.to_vec(), vec![b'1'; 100]);
        }
        state
    };
    let module = module_with(Limits::default(), &number(REMOVE_ALL));
    let run = |state| {
        let mut running = module.instantiate().unwrap().run(update("{}", state));
        loop {
            let before = running.slices();
            if let Poll::Ready(finished) = poll(&mut running) {
                assert_eq!(output(&finished), "1000");
                return (before, finished.fuel_used, state_of(finished).entries.len());
            }
        }
    };
    let (slices, fuel, left) = run(many(0));
    assert_eq!(left, 500);
    assert!(slices >= 3, "{slices} slices");
    assert!(fuel > 1_000 * 3_500, "{fuel} units");
    let (more_slices, same_fuel, left) = run(many(20_000));
    assert_eq!((same_fuel, left), (fuel, 500));
    assert!(more_slices >= slices + 9, "{more_slices} slices");
}

/// Another node can put 10 MiB beneath each of the entries, which is read and not shown: that costs
/// no fuel, and time.
#[test]
fn what_is_read_and_not_shown_ends_slices() {
    const ENTRIES: u64 = 20;
    let get = "(call $get (i32.const 276) (i32.const 1) (i32.const 512))";
    let scan = "(call $scan-in (i32.const 0) (i32.const 276) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 0) (i32.const 512))";
    let scan = format!("{scan} (call $ok-number (i64.load32_u (i32.const 516)))");
    let count = "(call $ok-number (call $count-in (i32.const 0) (i32.const 276) (i32.const 0)))";
    let gets = format!("{} (call $ok-number (i64.const 20))", get.repeat(20));
    // Removed entries are read twice: to find them, and to see what they leave.
    for (body, times) in [
        (&number(REMOVE_ALL), 2),
        (&scan, 1),
        (&count.to_owned(), 1),
        (&gets, 1),
    ] {
        let run = |beneath| {
            let mut state = MapState {
                beneath,
                ..MapState::default()
            };
            for n in 0..ENTRIES as u8 {
                state.entries.insert(vec![b'k', n], b"1".into());
            }
            let module = module_with(Limits::default(), body);
            let mut running = module.instantiate().unwrap().run(update("{}", state));
            loop {
                let slices = running.slices();
                if let Poll::Ready(finished) = poll(&mut running) {
                    assert_eq!(output(&finished), ENTRIES.to_string());
                    return (slices, finished.fuel_used);
                }
            }
        };
        let (few, fuel) = run(0);
        let (many, same) = run(10 << 20);
        assert_eq!(same, fuel, "{body}");
        assert!(many + 1 >= few + times * ENTRIES, "{body}: {many} slices");
    }
}

#[test]
fn each_removal_of_a_range_is_a_write() {
    let limits = Limits {
        writes_max: 3,
        ..Limits::default()
    };
    let body = format!("(drop {REMOVE_ALL}) (call $ok-null)");
    let instance = module_with(limits, &body).instantiate().unwrap();
    let state = MapState::of(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]);
    let finished = finish(instance.run(update("{}", state)));
    let failure = failure(finished);
    let Failure::LimitExceeded { limit, used, max } = failure else {
        panic!("{failure}")
    };
    assert_eq!((limit, used, max), ("writes_max", 4, 3));
}

#[test]
fn every_write_is_bounded() {
    for call in [ADD, INSERT, WRITE_ONCE] {
        let endless = format!("(loop $again (drop {call}) (br $again)) unreachable");
        check_limit(Limits::default(), &endless, ("writes_max", 10_001));
        let long = call.replacen("(i32.const 1)", "(i32.const 481)", 1);
        let long = format!("(drop {long}) (call $ok-null)");
        check_limit(Limits::default(), &long, ("key_bytes_max", 481));
    }
    let few_bytes = |write_bytes_max| Limits {
        write_bytes_max,
        ..Limits::default()
    };
    for (call, bytes) in [(ADD, 9), (INSERT, 1), (WRITE_ONCE, 5)] {
        let body = format!("(drop {call}) (call $ok-null)");
        check_limit(few_bytes(bytes - 1), &body, ("write_bytes_max", bytes));
        let instance = module_with(few_bytes(bytes), &body).instantiate().unwrap();
        let finished = finish(instance.run(update("{}", MapState::default())));
        assert_eq!(output(&finished), "null", "{call}");
    }
    let large = "(drop (memory.grow (i32.const 32)))
        (drop (call $write-once (i32.const 0) (i32.const 276) (i32.const 1)
          (i32.const 65536) (i32.const 1048577))) (call $ok-null)";
    let one_more = ("value_bytes_max", (1 << 20) + 1);
    check_limit(Limits::default(), large, one_more);
    let range = |key: u32, limit: u32| {
        format!(
            "(drop (call $remove-range (i32.const 0) (i32.const 276) (i32.const {key})
               (i32.const {limit}))) (call $ok-null)"
        )
    };
    check_limit(
        Limits::default(),
        &range(1, 1_001),
        ("scan_rows_max", 1_001),
    );
    check_limit(Limits::default(), &range(504, 1), ("key_bytes_max", 504));
}

/// What another node has written under bounds of its own is read, walked on from and removed.
#[test]
fn a_key_of_another_node_may_be_longer_than_one_that_is_written_here() {
    let state = || {
        let mut state = MapState::default();
        for last in [b'1', b'2', b'3'] {
            state
                .entries
                .insert([&[b'x'; 502][..], &[last]].concat(), b"v".into());
        }
        state
    };
    // At 8192 as many "x" as there are in the keys, and "1".
    let key = "(memory.fill (i32.const 8192) (i32.const 120) (i32.const 502))
        (i32.store8 (i32.const 8694) (i32.const 49))";
    let after = "(call $scan (i32.const 8192) (i32.const 502) (i32.const 1) (i32.const 8192)
          (i32.const 503) (i32.const 9) (i32.const 0) (i32.const 512))
        (call $ok-number (i64.load32_u (i32.const 516)))";
    let get = "(call $get (i32.const 8192) (i32.const 503) (i32.const 512))
        (call $ok-number (i64.load32_u (i32.const 520)))";
    let count = "(call $ok-number
        (call $count-in (i32.const 0) (i32.const 8192) (i32.const 502)))";
    let remove = number("(call $remove (i32.const 8192) (i32.const 503))");
    let remove_range =
        number("(call $remove-range (i32.const 0) (i32.const 8192) (i32.const 502) (i32.const 2))");
    for (body, expected) in [
        (after, "2"),
        (get, "1"),
        (count, "3"),
        (&remove, "1"),
        (&remove_range, "2"),
    ] {
        check(state(), &format!("{key} {body}"), expected);
    }
}

#[test]
fn queries_write_nothing_of_any_kind() {
    for call in [ADD, INSERT, WRITE_ONCE, REMOVE_ALL] {
        let body = format!("(drop {call}) (call $ok-null)");
        let finished = run_on(MapState::default(), MethodKind::Query, &body);
        assert!(
            matches!(finished.outcome, Err(Failure::WroteInQuery)),
            "{call}"
        );
        assert_eq!(state_of(finished).writes, 0, "{call}");
    }
}

#[test]
fn an_entry_keeps_its_kind() {
    for (first, then, expected) in [
        (
            format!("(drop {ADD})"),
            format!("(drop {INSERT})"),
            "a counter as a set element",
        ),
        (
            format!("(drop {INSERT})"),
            format!("(drop {ADD})"),
            "a set element as a counter",
        ),
        (
            format!("(drop {WRITE_ONCE})"),
            SET.to_owned(),
            "a write-once as a register",
        ),
        (
            SET.to_owned(),
            format!("(drop {WRITE_ONCE})"),
            "a register as a write-once",
        ),
        (
            format!("(drop {WRITE_ONCE})"),
            REMOVE.to_owned(),
            "a write-once removed",
        ),
    ] {
        let body = format!("{first} {then} (call $ok-null)");
        check_misused(MapState::default(), &body, expected);
    }
    // A new entry has a new kind.
    let body = format!("(drop {ADD}) {REMOVE} {}", number(INSERT));
    check(MapState::default(), &body, "1");
}

#[test]
fn the_private_space_has_registers_only() {
    for call in [ADD, INSERT, WRITE_ONCE] {
        let private = call.replacen("(i32.const 0)", "(i32.const 2)", 1);
        let body = format!("(drop {private}) (call $ok-null)");
        check_misused(MapState::default(), &body, "a private");
    }
}

/// Read by everybody, written by one.
#[test]
fn what_another_owns_is_read_and_not_written() {
    let owned = |call: &str| call.replacen("(i32.const 0)", "(i32.const 1)", 1);
    for call in [ADD, INSERT, WRITE_ONCE, REMOVE_ALL] {
        let body = format!("(drop {}) (call $ok-null)", owned(call));
        check_misused(
            MapState::default(),
            &body,
            "does not begin with the public key",
        );
    }
    for write in [
        "(call $set-in (i32.const 1) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))",
        "(drop (call $remove-in (i32.const 1) (i32.const 276) (i32.const 1)))",
        // The beginning of the author's key is not enough.
        "(call $set-in (i32.const 1) (call $mine) (i32.const 31) (i32.const 272) (i32.const 4))",
        "(drop (call $remove-range (i32.const 1) (call $mine) (i32.const 31) (i32.const 1)))",
    ] {
        let body = format!("{write} (call $ok-null)");
        check_misused(
            MapState::default(),
            &body,
            "does not begin with the public key",
        );
    }
    let mut state = MapState::default();
    state
        .map(Space::Owned)
        .insert(b"k".into(), b"theirs".into());
    let read = "(call $get-in (i32.const 1) (i32.const 276) (i32.const 1) (i32.const 512))
        (call $ok-number (i64.load32_u (i32.const 520)))";
    check(state, read, "6");
    let own = "(drop (call $add (i32.const 1) (call $mine) (i32.const 32) (i64.const 3)))
        (drop (call $insert (i32.const 1) (call $mine) (i32.const 33)))
        (call $ok-number (i64.extend_i32_u
          (call $remove-range (i32.const 1) (call $mine) (i32.const 32) (i32.const 9))))";
    check(MapState::default(), own, "2");
}

#[test]
fn a_space_that_there_is_not_is_told_from_a_trap() {
    let body = "(call $get-in (i32.const 3) (i32.const 276) (i32.const 1) (i32.const 512))
        (call $ok-null)";
    let failure = failure(run_on(MapState::default(), MethodKind::Query, body));
    assert!(
        matches!(failure, Failure::InvalidOutput { .. }),
        "{failure}"
    );
}

/// A guest that misuses an entry leaves nothing, and its neighbours go on.
#[test]
fn a_misuse_is_the_guest_s_own_and_counted() {
    let host = host();
    let neighbour = load(&host, "get_set");
    let mut neighbour = neighbour.instantiate().unwrap();
    let misused = run(&host, "misuse", "{}");
    assert!(misused.instance.is_none());
    assert!(matches!(failure(misused), Failure::Misused { .. }));
    assert_eq!(host.stats().failures.misused, 1);
    assert_eq!(host.stats().instances_live, 1);
    for n in 0..3 {
        let finished = finish(neighbour.run(update("[1,2]", MapState::default())));
        assert_eq!(output(&finished), "null", "{n}");
        neighbour = finished.instance.unwrap();
    }
    let finished = finish(neighbour.run(query("{}", MapState::of(&[("k", "1")]))));
    assert_eq!(output(&finished), "1");
}
