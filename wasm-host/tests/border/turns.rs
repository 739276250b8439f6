//! Turns of guests that mean well: what they are told, what they leave behind,
//! slices, and instances used again.

use std::task::Poll;

use corelet_wasm_host::{Entry, Failure, InstantiateError, Limits, MethodKind, Turn};

use crate::guest;
use crate::state::MapState;
use crate::{FUEL_MAX, failure, finish, host, host_with, load, output, poll, query, run};
use crate::{state_of, turn, update};

#[test]
fn arguments_arrive_and_answers_come_back() {
    let finished = run(&host(), "echo", r#"{"key":"ä"}"#);
    assert_eq!(output(&finished), r#"{"key":"ä"}"#);
    assert!(finished.instance.is_some());
    assert!(finished.fuel_used > 500, "{}", finished.fuel_used);
}

#[test]
fn a_guest_is_told_the_facts_of_its_turn() {
    // now 1000, version 100, an id of 32 bytes, a caller of 5
    assert_eq!(output(&run(&host(), "facts", "{}")), "1137");
}

#[test]
fn writes_and_events_come_out_and_reads_see_what_is_there() {
    let host = host();
    let module = load(&host, "get_set");
    let finished = finish(
        module
            .instantiate()
            .unwrap()
            .run(update("[1,2]", MapState::default())),
    );
    assert_eq!(output(&finished), "null");
    assert_eq!(finished.events.len(), 1);
    assert_eq!(finished.events[0].kind, "k");
    assert_eq!(finished.events[0].payload, b"[1,2]");
    let state = state_of(finished);
    assert_eq!(
        state,
        MapState {
            writes: 1,
            ..MapState::of(&[("k", "[1,2]")])
        }
    );

    let finished = finish(module.instantiate().unwrap().run(query("{}", state)));
    assert_eq!(output(&finished), "[1,2]");
}

#[test]
fn init_may_write_and_answers_null() {
    let module = load(&host(), "init_writes");
    let turn = Turn {
        entry: Entry::Init,
        ..update("{\"a\":1}", MapState::default())
    };
    let finished = finish(module.instantiate().unwrap().run(turn));
    assert_eq!(output(&finished), "null");
    assert_eq!(state_of(finished).entries[&b"k"[..]], b"{\"a\":1}");
}

#[test]
fn scans_and_counts_see_all_entries() {
    let mut state = MapState::default();
    for n in 0..2_500_u32 {
        state
            .entries
            .insert(n.to_be_bytes().to_vec(), b"1".to_vec());
    }
    let host = host();
    let scan = finish(
        load(&host, "scan")
            .instantiate()
            .unwrap()
            .run(query("{}", state.clone())),
    );
    assert_eq!(output(&scan), "1000");
    let count = finish(
        load(&host, "count")
            .instantiate()
            .unwrap()
            .run(query("{}", state)),
    );
    assert_eq!(output(&count), "2500");
    assert_eq!(state_of(count).reads, 3, "in steps of a thousand");
}

#[test]
fn counting_many_entries_ends_slices() {
    let mut state = MapState::default();
    for n in 0..20_000_u32 {
        state
            .entries
            .insert(n.to_be_bytes().to_vec(), vec![b'1'; 100]);
    }
    let mut running = load(&host(), "count")
        .instantiate()
        .unwrap()
        .run(query("{}", state));
    let mut slices = 0;
    while poll(&mut running).is_pending() {
        slices += 1;
    }
    assert!(slices >= 5, "{slices} slices");
}

/// How many removals are in the way depends on the disk, so they cost nothing;
/// but a guest must not hold the core with what costs nothing.
#[test]
fn walking_over_older_removals_ends_slices_and_costs_no_fuel() {
    let mut plain = MapState::default();
    for n in 0..500_u32 {
        let key = (1_000_000 + n).to_be_bytes();
        plain.entries.insert(key.to_vec(), b"1".to_vec());
    }
    let obstructed = MapState {
        hidden: 20_000,
        ..plain.clone()
    };
    let host = host();
    for name in ["scan", "count"] {
        let module = load(&host, name);
        let run = |state: &MapState| {
            let instance = module.instantiate().unwrap();
            let mut running = instance.run(query("{}", state.clone()));
            loop {
                let before = running.slices();
                if let Poll::Ready(finished) = poll(&mut running) {
                    return (before, output(&finished).to_owned(), finished.fuel_used);
                }
            }
        };
        let (slices, expected, fuel) = run(&plain);
        let (more_slices, found, same_fuel) = run(&obstructed);
        assert_eq!((found, same_fuel), (expected, fuel), "{name}");
        assert!(more_slices >= slices + 9, "{name}: {more_slices} slices");
    }
}

#[test]
fn random_bytes_follow_from_the_seed_alone() {
    let host = host();
    let module = load(&host, "random");
    let draw = |seed: u8| {
        let turn = Turn {
            seed: [seed; 32],
            ..query("{}", MapState::default())
        };
        let finished = finish(module.instantiate().unwrap().run(turn));
        output(&finished).to_owned()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let number: u64 = draw(1).parse().unwrap();
    assert_ne!(
        number >> 32,
        number & 0xffff_ffff,
        "two draws are not the same bytes"
    );
}

#[test]
fn an_error_of_the_application_leaves_no_effects() {
    let finished = run(&host(), "refuse", "\"no\"");
    assert!(finished.events.is_empty());
    let Failure::Application { error } = failure(finished) else {
        panic!()
    };
    assert_eq!(error, b"\"no\"");
}

#[test]
fn an_instance_outlives_its_application_s_error_if_it_had_not_written() {
    for (guest, outlives) in [("refuse_at_once", true), ("refuse", false)] {
        let finished = run(&host(), guest, "\"no\"");
        assert_eq!(finished.instance.is_some(), outlives, "{guest}");
        let failure = failure(finished);
        assert!(matches!(failure, Failure::Application { .. }), "{guest}");
    }
}

#[test]
fn statics_live_as_long_as_the_instance_and_no_longer() {
    let module = load(&host(), "statics");
    let mut instance = module.instantiate().unwrap();
    for call in 1..=3 {
        let finished = finish(instance.run(update("{}", MapState::default())));
        assert_eq!(output(&finished), call.to_string());
        instance = finished.instance.unwrap();
    }
    // Another context's instance, in a slot of its own and in the same one.
    let other = finish(
        module
            .instantiate()
            .unwrap()
            .run(update("{}", MapState::default())),
    );
    assert_eq!(output(&other), "1");
    drop((instance, other));
    for _ in 0..8 {
        let next = finish(
            module
                .instantiate()
                .unwrap()
                .run(update("{}", MapState::default())),
        );
        assert_eq!(output(&next), "1");
    }
}

/// A turn is parked at each slice's end, and the fuel that it uses does not
/// depend on where that is.
#[test]
fn the_same_turn_uses_the_same_fuel_whatever_the_slice() {
    for name in ["count_down", "chatty"] {
        let used: Vec<(u64, u64)> = [10_000, 123_457, 1_000_000, 100_000_000]
            .map(|slice_fuel| {
                let host = host_with(Limits {
                    slice_fuel,
                    ..Limits::default()
                });
                let instance = load(&host, name).instantiate().unwrap();
                let mut running = instance.run(update("{}", MapState::default()));
                let mut slices = 0;
                let finished = loop {
                    match poll(&mut running) {
                        Poll::Ready(finished) => break finished,
                        Poll::Pending => slices += 1,
                    }
                    assert_eq!(running.slices(), slices);
                };
                assert_eq!(output(&finished), "null");
                let expected = finished.fuel_used / slice_fuel;
                // At most twice as long as asked for, and never shorter.
                assert!(
                    (expected / 2..=expected).contains(&slices),
                    "{name}: {slices} {expected}"
                );
                (finished.fuel_used, slices)
            })
            .into();
        assert!(
            used.iter().all(|(fuel, _)| *fuel == used[0].0),
            "{name}: {used:?}"
        );
        assert!(used[0].1 > used[1].1 && used[3].1 == 0, "{name}: {used:?}");
    }
}

/// Or two runs of one call would differ as soon as their guest looks.
#[test]
fn what_a_guest_reads_of_its_fuel_does_not_depend_on_the_slice() {
    let read = [10_000, 123_457, 100_000_000].map(|slice_fuel| {
        let host = host_with(Limits {
            slice_fuel,
            ..Limits::default()
        });
        let instance = load(&host, "counter_of_its_own").instantiate().unwrap();
        let mut running = instance.run(update("{}", MapState::default()));
        let finished = loop {
            if let Poll::Ready(finished) = poll(&mut running) {
                break finished;
            }
        };
        let read: u64 = output(&finished).parse().unwrap();
        assert!(read > 500_000 && read < 2 * finished.fuel_used, "{read}");
        read
    });
    assert_eq!(read, [read[0]; 3]);
}

#[test]
fn an_endless_loop_is_parked_at_every_slice_and_stopped_by_its_fuel() {
    let host = host_with(Limits {
        slice_fuel: 1_000_000,
        ..Limits::default()
    });
    let mut running = load(&host, "endless")
        .instantiate()
        .unwrap()
        .run(update("{}", MapState::default()));
    let mut fuel_seen = 0;
    let finished = loop {
        match poll(&mut running) {
            Poll::Ready(finished) => break finished,
            Poll::Pending => {
                assert!(running.fuel_used() > fuel_seen);
                fuel_seen = running.fuel_used();
            }
        }
    };
    assert_eq!(running.slices(), FUEL_MAX / 1_000_000 - 1);
    assert_eq!(finished.fuel_used, FUEL_MAX);
    assert!(finished.instance.is_none());
    assert!(matches!(
        failure(finished),
        Failure::OutOfFuel { max: FUEL_MAX, .. }
    ));
}

/// The engine loses its count at most traps, and their guests pay for the slice as a whole.
#[test]
fn a_trap_does_not_spare_a_guest_what_it_has_used() {
    let slice_fuel = Limits::default().slice_fuel;
    for (rounds, expected) in [(130_000, slice_fuel), (400_000, 3 * slice_fuel)] {
        for end in [
            "(drop (i32.div_u (i32.const 1) (i32.and (local.get $n) (i32.const 0))))",
            "(drop (i32.load (i32.sub (i32.const -1) (local.get $n))))",
            "unreachable",
        ] {
            let wasm = guest::assemble(&format!(
                "(func $call (param i32 i32 i32 i32) (result i32) (local $n i32)
                   (loop $again (br_if $again (i32.lt_u
                     (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {rounds}))))
                   {end} (call $ok-null))"
            ));
            let instance = host().load(&wasm).unwrap().instantiate().unwrap();
            let finished = finish(instance.run(update("{}", MapState::default())));
            let fuel = finished.fuel_used;
            // About 7 for each round; a call has its own price beside that.
            let most = expected + 1_000;
            assert!((6 * rounds..=most).contains(&fuel), "{end}: {fuel}");
            assert!(
                matches!(failure(finished), Failure::Trapped { .. }),
                "{end}"
            );
        }
    }
}

/// However many slices its state had to be read in, which is nobody's fuel.
#[test]
fn a_trap_costs_the_same_whatever_was_read_beneath_its_state() {
    let wasm = guest::assemble(
        "(func $call (param i32 i32 i32 i32) (result i32) (local $n i32)
           (loop $again
             (call $get (i32.const 276) (i32.const 1) (i32.const 512))
             (br_if $again (i32.lt_u
               (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5))))
           (drop (i32.div_u (i32.const 1) (i32.and (local.get $n) (i32.const 0))))
           (call $ok-null))",
    );
    let host = host();
    let module = host.load(&wasm).unwrap();
    let run = |beneath| {
        let state = MapState {
            beneath,
            ..MapState::default()
        };
        let mut running = module.instantiate().unwrap().run(query("{}", state));
        let finished = loop {
            if let Poll::Ready(finished) = poll(&mut running) {
                break finished;
            }
        };
        (running.slices(), finished.fuel_used)
    };
    let (few, fuel) = run(0);
    let (many, same) = run(2 * host.limits().slice_fuel);
    assert!(few + 4 <= many, "{few} and {many} slices");
    assert_eq!(fuel, same);
}

#[test]
fn a_guest_that_only_calls_the_host_is_parked_as_well() {
    let host = host_with(Limits {
        slice_fuel: 100_000,
        ..Limits::default()
    });
    let mut running = load(&host, "chatty")
        .instantiate()
        .unwrap()
        .run(update("{}", MapState::default()));
    let mut seen = 0;
    while poll(&mut running).is_pending() {
        let now = running.fuel_used();
        assert!(now - seen < 3 * 100_000, "a slice of {}", now - seen);
        seen = now;
    }
    assert!(running.slices() > 50, "{}", running.slices());
}

/// The regression of another runtime: idle instances kept their permits, and
/// the pool was full for ever.
#[test]
fn dropping_a_turn_in_the_middle_frees_its_slot() {
    let host = corelet_wasm_host::Host::new(corelet_wasm_host::HostConfig::new(1)).unwrap();
    let module = load(&host, "endless");
    for _ in 0..20 {
        let mut running = module
            .instantiate()
            .unwrap()
            .run(update("{}", MapState::default()));
        assert!(poll(&mut running).is_pending());
        assert_eq!(host.stats().instances_live, 1);
        let refused = module.instantiate().unwrap_err();
        assert!(
            matches!(refused, InstantiateError::PoolExhausted { max: 1 }),
            "{refused}"
        );
        drop(running);
        assert_eq!(host.stats().instances_live, 0);
    }
    let stats = host.stats();
    assert_eq!((stats.turns_cancelled, stats.pool_exhausted), (20, 20));
}

#[test]
fn a_turn_that_is_stopped_gives_its_lines_and_nothing_else() {
    let host = host();
    let mut running = load(&host, "log_and_loop")
        .instantiate()
        .unwrap()
        .run(update("{}", MapState::default()));
    for _ in 0..3 {
        assert!(poll(&mut running).is_pending());
    }
    let finished = running.stop(Failure::TimedOut { max: 5 });
    assert_eq!(host.stats().instances_live, 0, "its slot is free at once");
    assert!(finished.instance.is_none() && finished.events.is_empty());
    let lines: Vec<_> = finished.logs.iter().map(|line| &line.message[..]).collect();
    assert_eq!(lines, ["guest"]);
    assert!(finished.fuel_used >= 3 * Limits::default().slice_fuel);
    assert!(matches!(failure(finished), Failure::TimedOut { max: 5 }));
    drop(running);
    let stats = host.stats();
    assert_eq!((stats.failures.timed_out, stats.turns_cancelled), (1, 0));
}

#[test]
fn a_poisoned_instance_has_left_the_pool_when_its_turn_is_over() {
    let host = corelet_wasm_host::Host::new(corelet_wasm_host::HostConfig::new(1)).unwrap();
    let module = load(&host, "unreachable");
    for _ in 0..20 {
        let finished = finish(
            module
                .instantiate()
                .unwrap()
                .run(update("{}", MapState::default())),
        );
        assert!(finished.instance.is_none());
        assert_eq!(host.stats().instances_live, 0);
    }
    assert_eq!(host.stats().failures.trapped, 20);
}

/// What it was refused does not count, whoever refused it.
#[test]
fn an_instance_tells_what_its_memory_has_grown_to() {
    const PAGE: u64 = 64 << 10;
    let host = host();
    let text = include_str!("../guests/grow_by.wat");
    // The second asks for more than its module allows each time.
    let greedy = text.replace("(drop", "(drop (memory.grow (i32.const 900))) (drop");
    for text in [text, &greedy] {
        let module = host.load(&guest::with_memory(text, "3 20")).unwrap();
        let mut instance = module.instantiate().unwrap();
        assert_eq!(instance.memory_bytes(), 3 * PAGE);
        for (args, pages) in [("{}", 5), ("[1, 2, 3, 4, 5]", 20), ("{}", 20)] {
            let finished = finish(instance.run(update(args, MapState::default())));
            instance = finished.instance.expect("it has answered");
            assert_eq!(instance.memory_bytes(), pages * PAGE, "after {args}");
        }
    }
}

/// One that grows and one that is made are refused alike, and what was refused
/// is free for others.
#[test]
fn instances_have_so_much_memory_together_and_no_more() {
    const PAGE: u64 = 64 << 10;
    let host = corelet_wasm_host::Host::new(corelet_wasm_host::HostConfig {
        instances_bytes_max: 8 * PAGE,
        ..corelet_wasm_host::HostConfig::new(4)
    })
    .unwrap();
    let live = || host.stats().memory_bytes_live / PAGE;
    let text = include_str!("../guests/grow_by.wat");
    let module = host.load(&guest::with_memory(text, "3")).unwrap();
    let instance = || module.instantiate().unwrap();
    let (first, second) = (instance(), instance());
    assert_eq!(live(), 6);
    let made = module.instantiate().unwrap_err();
    let InstantiateError::Start(Failure::MemoryFull { used, max }) = made else {
        panic!("{made}")
    };
    assert_eq!((used, max), (9 * PAGE, 8 * PAGE));
    assert_eq!(live(), 6);

    let grown = finish(first.run(update("{}", MapState::default())));
    assert_eq!(live(), 8);
    let refused = finish(second.run(update("{}", MapState::default())));
    assert!(refused.instance.is_none());
    let refused = failure(refused);
    let Failure::MemoryFull { used, max } = refused else {
        panic!("{refused}")
    };
    assert_eq!((used, max), (10 * PAGE, 8 * PAGE));
    assert_eq!(live(), 5);
    // What describes itself is asked all the same.
    host.load(&guest::with_memory(text, "6")).unwrap();
    let third = instance();
    assert_eq!(live(), 8);
    drop((grown, third));
    assert_eq!(live(), 0);
    assert_eq!(host.stats().failures.memory_full, 1);
}

#[test]
fn loading_needs_no_free_instance() {
    let host = corelet_wasm_host::Host::new(corelet_wasm_host::HostConfig::new(1)).unwrap();
    let _only = load(&host, "echo").instantiate().unwrap();
    assert_eq!(load(&host, "statics").description().name(), "guest");
}

/// Live instances never pass the bound, and everyone gets on after a crowd.
#[test]
fn a_crowd_of_threads_never_exceeds_the_pool() {
    let host = host();
    let module = load(&host, "echo");
    let served: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    for _ in 0..200 {
                        let Ok(instance) = module.instantiate() else {
                            continue;
                        };
                        assert!(host.stats().instances_live <= 4);
                        let finished = finish(instance.run(query("1", MapState::default())));
                        assert_eq!(output(&finished), "1");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    assert!(served >= 200);
    assert_eq!(host.stats().instances_live, 0);
    let all: Vec<_> = (0..4).map(|_| module.instantiate().unwrap()).collect();
    assert_eq!(host.stats().instances_live, all.len() as u64);
}

#[test]
fn too_little_fuel_for_the_arguments_is_out_of_fuel() {
    let module = load(&host(), "echo");
    let turn = Turn {
        fuel_max: 400,
        ..turn(MethodKind::Query, "{}", MapState::default())
    };
    let finished = finish(module.instantiate().unwrap().run(turn));
    assert_eq!(finished.fuel_used, 400);
    assert!(matches!(
        failure(finished),
        Failure::OutOfFuel { max: 400, .. }
    ));
}

#[test]
fn the_fuel_that_a_guest_sees_is_the_fuel_that_is_charged() {
    let finished = run(&host(), "fuel_used", "{}");
    let seen: u64 = output(&finished).parse().unwrap();
    assert!(
        seen > 600 && seen < finished.fuel_used,
        "{seen} of {}",
        finished.fuel_used
    );
    assert!(
        finished.fuel_used - seen < 300,
        "{seen} of {}",
        finished.fuel_used
    );
}

/// Deterministic to the bit: the same on every processor.
#[test]
fn a_nan_is_always_the_same_nan() {
    assert_eq!(
        output(&run(&host(), "nan", "{}")),
        0x7ff8_0000_0000_0000_u64.to_string()
    );
}

#[test]
fn a_state_that_cannot_answer_ends_the_turn_and_is_not_blamed_on_the_guest() {
    let host = host();
    for name in ["get_set", "scan", "count"] {
        let state = MapState {
            broken: Some("the disk is on fire"),
            ..MapState::default()
        };
        let finished = finish(
            load(&host, name)
                .instantiate()
                .unwrap()
                .run(update("{}", state)),
        );
        assert!(finished.instance.is_none());
        let Failure::State(error) = failure(finished) else {
            panic!("{name}")
        };
        assert_eq!(error.to_string(), "the disk is on fire");
    }
}

/// Refused before the guest runs, so nothing is wrong with its instance; and
/// what an earlier turn has left in the tank does not count.
#[test]
fn a_turn_that_never_began_keeps_its_instance_and_costs_nothing() {
    let host = host_with(Limits {
        args_bytes_max: 10,
        ..Limits::default()
    });
    let instance = load(&host, "statics").instantiate().unwrap();
    let first = finish(instance.run(update("{}", MapState::default())));
    let long = Turn {
        fuel_max: 1_000,
        ..update("[1,2,3,4,5]", MapState::default())
    };
    let second = finish(first.instance.unwrap().run(long));
    assert!(matches!(
        second.outcome,
        Err(Failure::LimitExceeded {
            limit: "args_bytes_max",
            used: 11,
            max: 10
        })
    ));
    assert_eq!(second.fuel_used, 0);
    let poor = Turn {
        fuel_max: 0,
        ..update("{}", MapState::default())
    };
    let third = finish(second.instance.unwrap().run(poor));
    assert!(matches!(
        third.outcome,
        Err(Failure::OutOfFuel { max: 0, .. })
    ));
    let fourth = finish(
        third
            .instance
            .unwrap()
            .run(update("{}", MapState::default())),
    );
    assert_eq!(output(&fourth), "2");
}

/// Counters of one turn mean nothing in the next.
#[test]
fn limits_count_per_turn() {
    let limits = Limits {
        writes_max: 1,
        events_max: 1,
        host_calls_max: 3,
        ..Limits::default()
    };
    let mut instance = load(&host_with(limits), "get_set").instantiate().unwrap();
    for _ in 0..3 {
        let finished = finish(instance.run(update("[1]", MapState::default())));
        assert_eq!(output(&finished), "null");
        assert_eq!(finished.events.len(), 1);
        instance = finished.instance.unwrap();
    }
}

/// The budget is a line, and it is drawn at the same place in slices of any
/// size. (Fuel is looked at where a loop or a function begins: the last few
/// instructions of a turn are on the house.)
#[test]
fn a_budget_of_exactly_the_cost_is_enough() {
    for name in ["count_down", "chatty"] {
        for slice_fuel in [10_000, 1 << 40] {
            let host = host_with(Limits {
                slice_fuel,
                ..Limits::default()
            });
            let module = load(&host, name);
            let with_budget = |fuel_max| {
                let turn = Turn {
                    fuel_max,
                    ..update("{}", MapState::default())
                };
                finish(module.instantiate().unwrap().run(turn))
            };
            let cost = with_budget(FUEL_MAX).fuel_used;
            assert_eq!(output(&with_budget(cost)), "null", "{name}");
            let short = with_budget(cost - 200);
            assert_eq!(short.fuel_used, cost - 200);
            assert!(
                matches!(failure(short), Failure::OutOfFuel { .. }),
                "{name}"
            );
        }
    }
}

/// Wherever a turn is given up, its slot and its state are let go of.
#[test]
fn dropping_a_turn_anywhere_leaves_nothing() {
    let limits = Limits {
        slice_fuel: 10_000,
        ..Limits::default()
    };
    let host = host_with(limits);
    let module = load(&host, "chatty");
    let alive = std::sync::Arc::new(());
    for slices in 0..50 {
        let state = MapState {
            alive: Some(alive.clone()),
            ..MapState::default()
        };
        let mut running = module.instantiate().unwrap().run(update("{}", state));
        for _ in 0..slices {
            assert!(poll(&mut running).is_pending());
        }
        assert_eq!(std::sync::Arc::strong_count(&alive), 2);
        drop(running);
        assert_eq!(
            std::sync::Arc::strong_count(&alive),
            1,
            "after {slices} slices"
        );
        assert_eq!(host.stats().instances_live, 0, "after {slices} slices");
    }
}
