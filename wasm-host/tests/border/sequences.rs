//! Lists and texts across the border: what a guest reads and writes of them, how a place
//! that is not there is told, and what each function is bounded by. How they are
//! kept, and how edits merge, is the store's.

use std::task::Poll;

use corelet_wasm_host::{Failure, Finished, Limits, MethodKind, Space};

use crate::state::{MapState, SEQUENCE_BYTES};
use crate::{failure, finish, guest, host_with, output, poll, state_of, turn, update};

/// In memory: at 276 the key "k" with 1 byte, at 600 the values "gu", "e" and "text" as
/// a list, at 704 room for an answer.
fn component(body: &str) -> Vec<u8> {
    guest::assemble(&format!(
        "(func $list (result i32)
           (i32.store (i32.const 600) (i32.const 256)) (i32.store (i32.const 604) (i32.const 2))
           (i32.store (i32.const 608) (i32.const 258)) (i32.store (i32.const 612) (i32.const 1))
           (i32.store (i32.const 616) (i32.const 278)) (i32.store (i32.const 620) (i32.const 4))
           (i32.const 600))
         (func $append (call $list-append (i32.const 0) (i32.const 276) (i32.const 1)
           (call $list) (i32.const 3)))
         (func $insert-at (param $index i64) (call $list-insert (i32.const 0) (i32.const 276)
           (i32.const 1) (local.get $index) (call $list) (i32.const 2) (i32.const 704)))
         (func $remove-at (param $index i64) (param $count i64) (call $list-remove (i32.const 0)
           (i32.const 276) (i32.const 1) (local.get $index) (local.get $count) (i32.const 704)))
         (func $length (result i64)
           (call $list-length (i32.const 0) (i32.const 276) (i32.const 1)))
         (func $read (param $index i64) (param $count i32) (call $list-read (i32.const 0)
           (i32.const 276) (i32.const 1) (local.get $index) (local.get $count) (i32.const 704)))
         (func $call (param $method i32) (param $method-len i32)
             (param $args i32) (param $args-len i32) (result i32)
           {body})"
    ))
}

fn run_with(limits: Limits, kind: MethodKind, state: MapState, body: &str) -> Finished {
    let module = host_with(limits).load(&component(body));
    let module = module.unwrap_or_else(|refused| panic!("{body}: {refused}"));
    finish(module.instantiate().unwrap().run(turn(kind, "{}", state)))
}

fn check(state: MapState, body: &str, expected: &str) -> MapState {
    let finished = run_with(Limits::default(), MethodKind::Update, state, body);
    assert_eq!(output(&finished), expected, "{body}");
    state_of(finished)
}

fn elements(state: &MapState) -> Vec<String> {
    let found = &state.sequences[&(Space::Shared, b"k".to_vec())];
    let text = |value: &Vec<u8>| String::from_utf8(value.clone()).unwrap();
    found.iter().map(text).collect()
}

#[test]
fn a_list_is_edited_by_place() {
    let body = "(call $append) (call $insert-at (i64.const 1)) (call $ok-number (call $length))";
    let state = check(MapState::default(), body, "5");
    assert_eq!(elements(&state), ["gu", "gu", "e", "e", "text"]);
    let body = "(call $remove-at (i64.const 1) (i64.const 3)) (call $ok-number (call $length))";
    let state = check(state, body, "2");
    assert_eq!(elements(&state), ["gu", "text"]);
    // The second one's length, out of those from 1 on, of which there are fewer than 9.
    let body = "(call $read (i64.const 1) (i32.const 9))
        (call $ok-number (i64.add
          (i64.mul (i64.load32_u (i32.const 708)) (i64.const 10))
          (i64.load32_u (i32.add (i32.load (i32.const 704)) (i32.const 4)))))";
    let state = check(state, body, "14");
    let body = "(call $read (i64.const 7) (i32.const 9))
        (call $ok-number (i64.load32_u (i32.const 708)))";
    check(state, body, "0");
}

/// Which the guest sees: it goes on, and nothing was edited.
#[test]
fn a_place_that_is_not_there_is_told_with_the_length() {
    let answer = "(call $ok-number (i64.add (i64.add
          (i64.mul (i64.load8_u (i32.const 704)) (i64.const 100))
          (i64.mul (i64.load (i32.const 712)) (i64.const 10)))
        (i64.load (i32.const 720))))";
    for (edit, expected) in [
        ("(call $insert-at (i64.const 4))", "143"),
        ("(call $remove-at (i64.const 1) (i64.const 3))", "143"),
        ("(call $remove-at (i64.const 3) (i64.const 1))", "143"),
    ] {
        let state = check(
            MapState::default(),
            &format!("(call $append) {edit} {answer}"),
            expected,
        );
        assert_eq!(elements(&state).len(), 3, "{edit}");
    }
    let endless = "(call $remove-at (i64.const 1) (i64.const -1))
        (call $ok-number (i64.sub (i64.const 0) (i64.load (i32.const 712))))";
    check(MapState::default(), endless, "1");
}

#[test]
fn a_text_is_appended_and_read_by_scalar_values() {
    let mut state = MapState::default();
    let umlauts = ["ä", "ö", "ü"].map(|text| text.as_bytes().to_vec());
    state
        .sequences
        .insert((Space::Shared, b"k".to_vec()), umlauts.to_vec());
    let body = "(call $text-append (i32.const 0) (i32.const 276) (i32.const 1)
          (i32.const 256) (i32.const 2))
        (call $text-read (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 2) (i64.const -1)
          (i32.const 704))
        (call $ok-number (i64.add
          (i64.mul (i64.load32_u (i32.const 708)) (i64.const 10))
          (call $text-length (i32.const 0) (i32.const 276) (i32.const 1))))";
    // "ügu" has four bytes, and all of it five scalar values.
    let state = check(state, body, "45");
    assert_eq!(elements(&state).concat(), "äöügu");
}

#[test]
fn a_query_reads_and_does_not_edit() {
    let run = |body: &str| {
        let state = MapState::default();
        run_with(Limits::default(), MethodKind::Query, state, body)
    };
    assert_eq!(output(&run("(call $ok-number (call $length))")), "0");
    for edit in [
        "(call $append)",
        "(call $insert-at (i64.const 0))",
        "(call $remove-at (i64.const 0) (i64.const 0))",
    ] {
        let failure = failure(run(&format!("{edit} (call $ok-null)")));
        assert!(
            matches!(failure, Failure::WroteInQuery),
            "{edit}: {failure}"
        );
    }
}

#[test]
fn an_entry_of_another_kind_stops_the_call() {
    for using in [
        "(call $append)",
        "(drop (call $length))",
        "(call $read (i64.const 0) (i32.const 1))",
    ] {
        let state = MapState::of(&[("k", "1")]);
        let body = format!("{using} (call $ok-null)");
        let finished = run_with(Limits::default(), MethodKind::Update, state, &body);
        let failure = failure(finished);
        let Failure::Misused { message } = failure else {
            panic!("{using}: {failure}")
        };
        assert!(message.contains("a register as a List"), "{message}");
    }
}

#[test]
fn every_edit_is_bounded() {
    let default = Limits::default;
    let edits = |count: usize| "(call $append)".repeat(count);
    for (limits, body, expected) in [
        (
            Limits {
                edits_max: 2,
                ..default()
            },
            edits(3),
            ("edits_max", 3),
        ),
        // A key of 1 byte, and 7 bytes in 3 elements of 8 more.
        (
            Limits {
                write_bytes_max: 63,
                ..default()
            },
            edits(2),
            ("write_bytes_max", 64),
        ),
        (
            Limits {
                value_bytes_max: 3,
                ..default()
            },
            edits(1),
            ("value_bytes_max", 4),
        ),
        (
            Limits {
                sequences_bytes_max: SEQUENCE_BYTES - 1,
                ..default()
            },
            edits(2),
            ("sequences_bytes_max", SEQUENCE_BYTES),
        ),
        (
            default(),
            "(call $read (i64.const 0) (i32.const 1001))".to_owned(),
            ("scan_rows_max", 1001),
        ),
        (
            Limits {
                scan_bytes_max: 6,
                ..default()
            },
            "(call $text-append (i32.const 0) (i32.const 276) (i32.const 1)
               (i32.const 512) (i32.const 7))
             (call $text-read (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 0)
               (i64.const 9) (i32.const 704))"
                .to_owned(),
            ("scan_bytes_max", 7),
        ),
    ] {
        let body = format!("{body} (call $ok-null)");
        let state = MapState::default();
        let failure = failure(run_with(limits, MethodKind::Update, state, &body));
        let Failure::LimitExceeded { limit, used, .. } = failure else {
            panic!("{body}: {failure}")
        };
        assert_eq!((limit, used), expected, "{body}");
    }
}

/// What is in memory depends on what was there before: it takes slices, and no fuel.
#[test]
fn opening_a_long_one_ends_slices_and_costs_nothing() {
    let module = host_with(Limits::default())
        .load(&component("(call $ok-number (call $length))"))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let run = |steps| {
        let state = MapState {
            steps,
            ..MapState::default()
        };
        let mut running = module.instantiate().unwrap().run(update("{}", state));
        loop {
            let slices = running.slices();
            if let Poll::Ready(finished) = poll(&mut running) {
                return (slices, finished.fuel_used);
            }
        }
    };
    let (none, fuel) = run(0);
    assert_eq!(run(7), (none + 7, fuel));
}

/// What a removal has to go through is paid for, step by step, and the slice ends behind each.
#[test]
fn a_removal_ends_slices_and_pays_for_its_work() {
    let body = "(call $remove-at (i64.const 0) (i64.const 2)) (call $ok-number (call $length))";
    let module = host_with(Limits::default())
        .load(&component(body))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let run = |steps, removal_work| {
        let mut state = MapState {
            removal_work,
            ..MapState::default()
        };
        let values = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        state
            .sequences
            .insert((Space::Shared, b"k".to_vec()), values);
        state.removal_steps = steps;
        let mut running = module.instantiate().unwrap().run(update("{}", state));
        loop {
            let slices = running.slices();
            if let Poll::Ready(finished) = poll(&mut running) {
                assert_eq!(output(&finished), "1");
                return (slices, finished.fuel_used);
            }
        }
    };
    let (slices, fuel) = run(0, 0);
    assert_eq!(run(9, 0), (slices + 9, fuel));
    assert_eq!(run(9, 30), (slices + 9, fuel + 10 * 30 * 100));
}

/// Runs an update to its end; gives its slices, of which none ends for its fuel, and its answer.
fn slices_of(state: MapState, body: &str) -> (u64, String, MapState) {
    let limits = Limits {
        slice_fuel: 1_000_000_000,
        ..Limits::default()
    };
    let module = host_with(limits).load(&component(body));
    let module = module.unwrap_or_else(|refused| panic!("{body}: {refused}"));
    let mut running = module.instantiate().unwrap().run(update("{}", state));
    loop {
        let slices = running.slices();
        if let Poll::Ready(finished) = poll(&mut running) {
            let answer = output(&finished).to_owned();
            return (slices, answer, state_of(finished));
        }
    }
}

/// However much it is, the guest is told once, and all of it is there, in its order.
#[test]
fn what_is_inserted_comes_in_parts_with_the_end_of_a_slice_behind_each() {
    // Memory of zeros: values that are empty, and a text of characters of one byte.
    let list = |count: u32| {
        format!(
            "(drop (memory.grow (i32.const 4)))
             (call $append)
             (call $list-insert (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1)
               (i32.const 65536) (i32.const {count}) (i32.const 704))
             (call $ok-number (call $length))"
        )
    };
    let (one, ..) = slices_of(MapState::default(), &list(1));
    let (many, length, state) = slices_of(MapState::default(), &list(5_000));
    assert_eq!(length, "5003");
    // Twice while their lengths are added up, and twice while they are inserted.
    assert_eq!(many, one + 4);
    let elements = elements(&state);
    assert_eq!(
        [&*elements[0], &elements[5_001], &elements[5_002]],
        ["gu", "e", "text"]
    );
    let text = |bytes: u32| {
        format!(
            "(drop (memory.grow (i32.const 4)))
             (call $text-append (i32.const 0) (i32.const 276) (i32.const 1)
               (i32.const 65536) (i32.const {bytes}))
             (call $ok-number
               (call $text-length (i32.const 0) (i32.const 276) (i32.const 1)))"
        )
    };
    let (one, ..) = slices_of(MapState::default(), &text(1));
    let (many, length, _) = slices_of(MapState::default(), &text(150_000));
    assert_eq!(length, "150000");
    assert_eq!(many, one + 2);
}

/// The guest gets it as one, and its bound is on all parts together.
#[test]
fn what_is_read_in_parts_is_one_answer() {
    let mut state = MapState::default();
    let values = ["ä", "ö", "ü", "g", "u"].map(|text| text.as_bytes().to_vec());
    state
        .sequences
        .insert((Space::Shared, b"k".to_vec()), values.to_vec());
    let text = "(call $text-read (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 0)
          (i64.const -1) (i32.const 704))
        (call $ok-number (i64.load32_u (i32.const 708)))";
    let list = "(call $read (i64.const 1) (i32.const 9))
        (call $ok-number (i64.load32_u (i32.const 708)))";
    for (body, expected) in [(text, "8"), (list, "4")] {
        let (whole, answer, _) = slices_of(state.clone(), body);
        assert_eq!(answer, expected);
        let parts = MapState {
            read_part: 2,
            ..state.clone()
        };
        let (slices, answer, _) = slices_of(parts.clone(), body);
        assert_eq!(answer, expected);
        assert!(slices > whole, "{slices} {whole}");
        let limits = Limits {
            scan_bytes_max: 5,
            ..Limits::default()
        };
        let finished = run_with(limits, MethodKind::Update, parts, body);
        if body == list {
            assert_eq!(output(&finished), "3", "as many as fit");
            continue;
        }
        let failure = failure(finished);
        let Failure::LimitExceeded { limit, used, .. } = failure else {
            panic!("{body}: {failure}")
        };
        // It ends with the part that exceeds it.
        assert_eq!((limit, used), ("scan_bytes_max", 7), "{body}");
    }
    // Another node may have inserted a larger one.
    let limits = Limits {
        scan_bytes_max: 1,
        ..Limits::default()
    };
    let finished = run_with(limits, MethodKind::Update, state, list);
    assert_eq!(output(&finished), "1");
}

#[test]
fn elements_are_paid_for() {
    let fuel = |body: &str| {
        let state = MapState::default();
        run_with(Limits::default(), MethodKind::Update, state, body).fuel_used
    };
    let one = fuel("(call $append) (call $ok-null)");
    let removing = |count: u64| {
        let edit = format!("(call $remove-at (i64.const 0) (i64.const {count}))");
        fuel(&format!("(call $append) {edit} (call $ok-null)")) - one
    };
    assert_eq!(removing(3) - removing(1), 200);
}
