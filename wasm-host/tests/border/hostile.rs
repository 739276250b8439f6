//! Guests that mean ill, or are broken. Each is stopped with the limit's name
//! or the reason, leaves no effect, and its instance is gone.

use corelet_wasm_host::{Failure, Limits};

use crate::state::MapState;
use crate::{FUEL_MAX, failure, finish, guest, host, host_with, load, query, run, update};

/// Runs the guest called `name`, as an update, to its failure.
fn stopped(name: &str) -> Failure {
    stopped_with(Limits::default(), name, "{}")
}

fn stopped_with(limits: Limits, name: &str, args: &str) -> Failure {
    let host = host_with(limits);
    let finished = run(&host, name, args);
    assert!(
        finished.instance.is_none(),
        "{name}: the instance would be used again"
    );
    assert!(finished.events.is_empty(), "{name}: an event would be told");
    assert_eq!(
        host.stats().instances_live,
        0,
        "{name}: its slot is not free"
    );
    failure(finished)
}

fn check_limit(name: &str, expected_limit: &str, expected_used: u64) {
    let Failure::LimitExceeded { limit, used, max } = stopped(name) else {
        panic!("{name}: {}", stopped(name))
    };
    assert_eq!((limit, used), (expected_limit, expected_used), "{name}");
    assert_eq!(Limits::default().get(limit), Some(max), "{name}");
}

fn check_invalid(name: &str, expected: &str) {
    let failure = stopped(name);
    let Failure::InvalidOutput { message } = &failure else {
        panic!("{name}: {failure}")
    };
    assert!(message.contains(expected), "{name}: {message}");
}

#[test]
fn recursion_without_end_is_a_stack_overflow() {
    let Failure::StackOverflow { max } = stopped("recursion") else {
        panic!()
    };
    assert_eq!(max, 512 << 10);
}

#[test]
fn growing_memory_without_end_is_out_of_memory() {
    let Failure::OutOfMemory { max } = stopped("memory_bomb") else {
        panic!()
    };
    assert_eq!(max, 64 << 20);
}

/// What is touched for the first time takes the system its time, which is no instruction's: memory
/// that is taken piece by piece ends slices, and costs the same fuel whatever they are.
#[test]
fn taking_memory_ends_slices_and_costs_nothing_for_them() {
    let text = include_str!("../guests/memory_bomb.wat");
    let run = |slice_fuel| {
        let limits = Limits {
            slice_fuel,
            ..Limits::default()
        };
        let module = host_with(limits)
            .load(&guest::with_memory(text, "1 1000"))
            .unwrap();
        let mut running = module
            .instantiate()
            .unwrap()
            .run(update("{}", MapState::default()));
        loop {
            let slices = running.slices();
            if let std::task::Poll::Ready(finished) = crate::poll(&mut running) {
                return (slices, finished.fuel_used);
            }
        }
    };
    // All of it is less fuel than one slice.
    let (slices, fuel) = run(1_000_000);
    assert!((500_000..1_000_000).contains(&fuel), "{fuel}");
    assert!((23..=25).contains(&slices), "{slices} slices");
    let (more, same_fuel) = run(100_000);
    assert!(more > 200, "{more} slices");
    assert_eq!(same_fuel, fuel);
}

/// The engine loses count of what a guest has used when its growth is refused.
#[test]
fn a_growth_that_is_refused_is_paid_for_to_the_end_of_its_slice() {
    let host = host();
    for name in ["memory_bomb", "table_bomb"] {
        let fuel = run(&host, name, "{}").fuel_used;
        assert!(fuel >= host.limits().slice_fuel, "{name}: {fuel}");
    }
}

/// The memory of large instances is given back by another thread, which may be late: what waits for
/// it takes no place of those that come after.
#[test]
fn large_instances_that_go_leave_their_places_at_once() {
    let host = host();
    let module = load(&host, "memory_bomb");
    for _ in 0..50 {
        let all = [(); 4].map(|()| module.instantiate().unwrap());
        assert!(module.instantiate().is_err(), "there are but four places");
        for instance in all {
            let finished = finish(instance.run(update("{}", MapState::default())));
            assert!(matches!(failure(finished), Failure::OutOfMemory { .. }));
        }
    }
    // Or the shard would go on making room.
    assert_eq!(host.stats().memory_bytes_live, 0);
}

/// It is stopped while it waits to be given memory.
#[test]
fn a_turn_that_is_stopped_while_its_memory_grows_leaves_nothing() {
    let host = host();
    let module = load(&host, "memory_bomb");
    for _ in 0..20 {
        let instance = module.instantiate().unwrap();
        let mut running = instance.run(update("{}", MapState::default()));
        while running.slices() < 10 {
            assert!(crate::poll(&mut running).is_pending());
        }
        assert!(host.stats().memory_bytes_live > 20 << 20);
        let finished = running.stop(Failure::Cancelled);
        assert!(finished.instance.is_none());
        assert_eq!(host.stats().memory_bytes_live, 0);
        assert_eq!(host.stats().instances_live, 0);
    }
}

/// The module's own maximum is not our limit: `memory.grow` answers -1, and a
/// guest that gives up then has run out of memory all the same.
#[test]
fn a_memory_that_its_own_module_bounds_is_out_of_memory_too() {
    let text = include_str!("../guests/memory_bomb.wat");
    let module = host().load(&guest::with_memory(text, "1 20")).unwrap();
    let finished = finish(
        module
            .instantiate()
            .unwrap()
            .run(update("{}", MapState::default())),
    );
    let failure = failure(finished);
    let Failure::OutOfMemory { max } = failure else {
        panic!("{failure}")
    };
    assert_eq!(max, 20 << 16);
}

#[test]
fn growing_a_table_without_end_exceeds_its_limit() {
    check_limit("table_bomb", "table_elements_max", 50_001);
}

/// An instruction's price follows its work: a page filled or copied, a table
/// filled.
#[test]
fn bulk_instructions_are_charged_by_what_they_touch() {
    for name in ["memory_fill", "memory_copy", "table_fill"] {
        let host = host();
        let mut slices = 0;
        let mut running = load(&host, name)
            .instantiate()
            .unwrap()
            .run(update("{}", MapState::default()));
        let finished = loop {
            match crate::poll(&mut running) {
                std::task::Poll::Ready(finished) => break finished,
                std::task::Poll::Pending => slices += 1,
            }
        };
        assert!(slices >= 40, "{name} was parked {slices} times");
        assert!(
            matches!(failure(finished), Failure::OutOfFuel { max: FUEL_MAX, .. }),
            "{name}"
        );
    }
    let host = host();
    let fuel = |args: &str| run(&host, "memory_fill_once", args).fuel_used;
    // Two bytes of arguments more are 2000 bytes filled more, and two units
    // for the arguments themselves.
    assert_eq!(fuel("[1]") - fuel("1"), 2 * 1000 + 2);
}

#[test]
fn traps_name_their_reason() {
    for (name, expected) in [("unreachable", "unreachable"), ("divide", "divide by zero")] {
        let failure = stopped(name);
        let Failure::Trapped { message } = &failure else {
            panic!("{name}: {failure}")
        };
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn garbage_from_a_guest_is_told_from_traps() {
    check_invalid("out_of_bounds", "out of bounds");
    check_invalid("bad_result_pointer", "out of bounds");
    check_invalid("bad_discriminant", "discriminant");
    check_invalid("not_json", "its answer is not JSON");
    check_invalid("not_utf8", "its answer is not UTF-8");
    check_invalid("error_not_json", "its error is not JSON");
    check_invalid("event_not_json", "an event's payload is not JSON");
    check_invalid("event_kind_not_utf8", "utf-8");
    check_invalid("bad_level", "discriminant");
    check_invalid("realloc_out_of_bounds", "realloc");
}

#[test]
fn a_misaligned_allocation_is_refused() {
    let module = load(&host(), "realloc_misaligned");
    let state = MapState::of(&[("a", "1"), ("b", "2")]);
    let finished = finish(module.instantiate().unwrap().run(query("{}", state)));
    let failure = failure(finished);
    let Failure::InvalidOutput { message } = &failure else {
        panic!("{failure}")
    };
    assert!(message.contains("align"), "{message}");
}

#[test]
fn an_allocator_that_never_returns_is_out_of_fuel() {
    assert!(matches!(
        stopped("realloc_endless"),
        Failure::OutOfFuel { .. }
    ));
}

#[test]
fn an_allocator_that_gives_one_place_to_all_hurts_only_its_guest() {
    let finished = run(&host(), "realloc_overlapping", "{}");
    assert_eq!(crate::output(&finished), "null");
}

#[test]
fn oversized_answers_are_refused() {
    check_limit("oversized", "output_bytes_max", 1_572_864);
    check_limit("oversized_transfer", "transfer_bytes_max", (4 << 20) + 1);
}

#[test]
fn floods_are_stopped_at_their_limit() {
    check_limit("write_flood", "writes_max", 10_001);
    check_limit("remove_flood", "writes_max", 10_001);
    check_limit("write_bytes_flood", "write_bytes_max", 128 * 32_769);
    check_limit("event_flood", "events_max", 1_001);
    check_limit("event_bytes_flood", "event_bytes_max", 64 * 16_385);
    check_limit("log_flood", "logs_max", 1_001);
    check_limit("log_bytes_flood", "log_bytes_max", 17 * 16_384);
    check_limit("scan_flood", "scan_rows_max", 1_001);
    check_limit("random_flood", "random_bytes_max", 4_097);
    check_limit("long_key", "key_bytes_max", 481);
    check_limit("large_value", "value_bytes_max", (1 << 20) + 1);
    let limits = Limits {
        host_calls_max: 1_000,
        ..Limits::default()
    };
    let failure = stopped_with(limits, "host_call_flood", "{}");
    let Failure::LimitExceeded { limit, used, max } = failure else {
        panic!("{failure}")
    };
    assert_eq!((limit, used, max), ("host_calls_max", 1_001, 1_000));
}

/// Without that limit, fuel stops it.
#[test]
fn host_calls_are_paid_for() {
    let limits = Limits {
        host_calls_max: u64::MAX,
        ..Limits::default()
    };
    let failure = stopped_with(limits, "host_call_flood", "{}");
    assert!(matches!(failure, Failure::OutOfFuel { .. }), "{failure}");
}

/// Another node may have written values that are larger than all that a scan gives may be.
#[test]
fn a_scan_gives_what_fits_and_one_entry_however_large_it_is() {
    let limits = Limits {
        scan_bytes_max: 5_000,
        ..Limits::default()
    };
    let module = load(&host_with(limits), "scan");
    let scan = |values: &[usize]| {
        let mut state = MapState::default();
        for (n, bytes) in (0_u32..).zip(values) {
            let value = vec![b'1'; bytes - 4];
            state.entries.insert(n.to_be_bytes().to_vec(), value);
        }
        let finished = finish(module.instantiate().unwrap().run(query("{}", state)));
        (crate::output(&finished).to_owned(), finished.fuel_used)
    };
    for (values, given) in [
        (&[1_000; 100][..], "5"),
        (&[1_000, 4_001, 10][..], "1"),
        (&[10_000, 10][..], "1"),
        (&[5_000, 10][..], "1"),
        (&[4_990, 10, 10][..], "2"),
        (&[10, 10_000][..], "1"),
        (&[10, 10][..], "2"),
        (&[][..], "0"),
    ] {
        assert_eq!(scan(values).0, given, "{values:?}");
    }
    // What is read is paid for: also what does not go with it.
    let fuel = |values: &[usize]| scan(values).1;
    assert_eq!(fuel(&[10, 10_000]) - fuel(&[10, 6_000]), 4_000);
}

#[test]
fn queries_cannot_write_remove_or_emit() {
    let host = host();
    for name in ["write_flood", "remove_flood", "event_flood"] {
        let module = load(&host, name);
        let finished = finish(
            module
                .instantiate()
                .unwrap()
                .run(query("{}", MapState::default())),
        );
        assert!(finished.events.is_empty(), "{name}");
        assert!(finished.instance.is_none(), "{name}");
        assert!(
            matches!(finished.outcome, Err(Failure::WroteInQuery)),
            "{name}"
        );
        assert_eq!(crate::state_of(finished).writes, 0, "{name}");
    }
}

/// What failed stays readable for its author: the lines before it.
#[test]
fn a_failed_turn_keeps_its_log_lines() {
    let finished = run(&host(), "log_flood", "{}");
    assert_eq!(finished.logs.len(), 1_000);
    assert_eq!(finished.logs[0].message, "guest");
}

#[test]
fn failures_are_counted_by_kind() {
    let host = host();
    for name in [
        "endless",
        "recursion",
        "memory_bomb",
        "unreachable",
        "not_json",
        "event_flood",
    ] {
        assert!(run(&host, name, "{}").outcome.is_err());
    }
    let failures = host.stats().failures;
    assert_eq!(failures.out_of_fuel, 1);
    assert_eq!(failures.stack_overflow, 1);
    assert_eq!(failures.out_of_memory, 1);
    assert_eq!(failures.trapped, 1);
    assert_eq!(failures.invalid_output, 1);
    assert_eq!(failures.limit_exceeded, 1);
    assert_eq!(failures.our_bug, 0);
}

/// A guest that answers null, with another allocator or other cleaning up.
fn check_part(part: &str, body: &str, expected: &str) {
    let wasm = guest::assemble(&format!(
        "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))\n;; part: {part}\n{body}"
    ));
    let instance = host().load(&wasm).unwrap().instantiate().unwrap();
    let finished = finish(instance.run(update("{}", MapState::default())));
    assert!(finished.instance.is_none(), "{body}");
    let text = failure(finished).to_string();
    assert!(text.contains(expected), "{body}: {text}");
}

/// What runs when the answer was taken is still the guest: metered, and a
/// failure of the whole turn.
#[test]
fn cleaning_up_after_the_answer_may_fail_the_turn() {
    check_part("reset", "(loop $again (br $again))", "units of fuel");
    check_part("reset", "unreachable", "unreachable");
}

#[test]
fn an_allocator_that_traps_fails_the_turn() {
    let trap = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#;
    check_part("realloc", trap, "unreachable");
}
