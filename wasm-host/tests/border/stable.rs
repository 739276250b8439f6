//! The stable memory as guests have it: what is written becomes entries when the call succeeds, what
//! it costs, and that reading much of it ends slices.

use corelet_wasm_host::{Failure, HOST_COSTS, Host, Limits, STABLE_BLOCK_BYTES, Space};

use super::*;

/// Runs a guest with this body, in this state.
fn run_body(host: &Host, body: &str, state: MapState) -> Finished {
    run_counting(host, body, state).0
}

/// The same, with the slices that it took.
fn run_counting(host: &Host, body: &str, state: MapState) -> (Finished, u64) {
    let text = format!("(func $call (param i32 i32 i32 i32) (result i32) (local $n i64) {body})");
    let module = host.load(&guest::assemble(&text)).unwrap();
    let mut running = module.instantiate().unwrap().run(update("{}", state));
    loop {
        let slices = running.slices();
        if let Poll::Ready(finished) = poll(&mut running) {
            return (finished, slices);
        }
    }
}

const GROW: &str = "(drop (call $stable-grow (i64.const 1)))";
/// Writes "null" across the first two blocks.
const WRITE: &str = "(call $stable-write (i64.const 1022) (i32.const 272) (i32.const 4))";
const OK: &str = "(call $ok-null)";

fn blocks(state: &mut MapState) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = state.map(Space::Stable).iter();
    entries
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn price_of(function: &str) -> corelet_wasm_host::HostCost {
    let found = HOST_COSTS.iter().find(|cost| cost.function == function);
    *found.expect("it has a price")
}

#[test]
fn what_is_written_becomes_blocks_when_the_call_succeeds() {
    let host = host();
    let body = format!("{GROW} {WRITE} {OK}");
    let mut state = state_of(run_body(&host, &body, MapState::default()));
    let first = [&[0; STABLE_BLOCK_BYTES - 2][..], b"nu"].concat();
    let expected = [
        (vec![0; 4], first),
        (vec![0, 0, 0, 1], b"ll".to_vec()),
        (vec![0, 0, 0, 63, 0], vec![]),
    ];
    assert_eq!(blocks(&mut state), expected);

    // The next call reads it, its length and what it writes itself.
    let body = "(call $stable-write (i64.const 1023) (i32.const 256) (i32.const 1))
        (call $stable-read (i64.const 1022) (i32.const 4) (i32.const 512))
        (i32.store8 (i32.const 600) (i32.const 34))
        (memory.copy (i32.const 601) (i32.load (i32.const 512)) (i32.load (i32.const 516)))
        (i32.store8 (i32.const 605) (i32.const 34))
        (call $ok (i32.const 600) (i32.const 6))";
    assert_eq!(output(&run_body(&host, body, state.clone())), "\"ngll\"");
    let size = "(call $ok-number (call $stable-size))";
    assert_eq!(output(&run_body(&host, size, state.clone())), "1");
    let grown = "(call $ok-number (call $stable-grow (i64.const 2)))";
    let finished = run_body(&host, grown, state.clone());
    assert_eq!(output(&finished), "1");
    let last = blocks(&mut state_of(finished)).pop().unwrap();
    assert_eq!(last, (vec![0, 0, 0, 191, 0], vec![]));

    // What is made zero goes, and what fails leaves everything as it was.
    let zero = "(call $stable-write (i64.const 1022) (i32.const 700) (i32.const 4))";
    let finished = run_body(&host, &format!("{zero} {OK}"), state.clone());
    assert_eq!(blocks(&mut state_of(finished)), expected[2..]);
    for end in ["(call $err (i32.const 272) (i32.const 4))", "unreachable"] {
        let finished = run_body(&host, &format!("{GROW} {zero} {end}"), state.clone());
        assert!(
            finished.outcome.is_err() && finished.instance.is_none(),
            "{end}"
        );
    }
}

/// A block is paid for when a call first comes to it, and when it first writes to it.
#[test]
fn a_block_is_paid_for_once() {
    let host = host();
    let fuel = |body: &str| {
        let finished = run_body(&host, &format!("{GROW} {body} {OK}"), MapState::default());
        finished.outcome.unwrap();
        finished.fuel_used
    };
    let (read, write) = (price_of("stable.read"), price_of("stable.write"));
    let at =
        |at: u64| format!("(call $stable-write (i64.const {at}) (i32.const 272) (i32.const 1))");
    let first = fuel(&at(0));
    // Three constants and a call beside it.
    let again = fuel(&format!("{} {}", at(0), at(9))) - first;
    let other = fuel(&format!("{} {}", at(0), at(1024))) - first;
    let plain = write.fixed + write.per_byte;
    assert!((plain..plain + 20).contains(&again), "{again}");
    assert_eq!(other - again, read.per_row + write.per_row);
}

#[test]
fn reading_and_writing_much_ends_slices_and_costs_the_same_in_any() {
    let bodies = [
        "(drop (call $stable-grow (i64.const 64)))
         (call $stable-read (i64.const 0) (i32.const 4194304) (i32.const 512))",
        "(drop (call $stable-grow (i64.const 64)))
         (loop $again
           (call $stable-write (local.get $n) (i32.const 272) (i32.const 1))
           (local.set $n (i64.add (local.get $n) (i64.const 1024)))
           (br_if $again (i64.lt_u (local.get $n) (i64.const 4000000))))",
        "(drop (call $stable-grow (i64.const 1)))
         (loop $again
           (call $stable-write (i64.const 7) (i32.const 272) (i32.const 1))
           (local.set $n (i64.add (local.get $n) (i64.const 1)))
           (br_if $again (i64.lt_u (local.get $n) (i64.const 9000))))",
    ];
    for body in bodies {
        let mut seen = Vec::new();
        for slice_fuel in [100_000, 1_000_000] {
            let host = host_with(Limits {
                slice_fuel,
                memory_bytes_max: 16 << 20,
                ..Limits::default()
            });
            let body = format!("{body} {OK}");
            let (finished, slices) = run_counting(&host, &body, MapState::default());
            output(&finished);
            assert!(
                slices >= finished.fuel_used / slice_fuel / 4,
                "{slices} slices"
            );
            seen.push(finished.fuel_used);
        }
        assert_eq!(seen[0], seen[1], "{body}");
    }
}

/// However many blocks another node has written behind the end, and removed again.
#[test]
fn what_was_removed_behind_the_end_is_walked_over_slice_by_slice_and_costs_nothing() {
    let host = host();
    let size = "(call $ok-number (call $stable-size))";
    let body = format!("{GROW} {WRITE} {OK}");
    let mut state = state_of(run_body(&host, &body, MapState::default()));
    let (plain, _) = run_counting(&host, size, state.clone());
    state.hidden = 100_000;
    let (behind, slices) = run_counting(&host, size, state.clone());
    assert_eq!([output(&plain), output(&behind)], ["1", "1"]);
    assert_eq!(plain.fuel_used, behind.fuel_used);
    let work = u64::from(state.hidden) * price_of("storage.scan").per_row;
    let expected = work / Limits::default().slice_fuel;
    assert!(slices >= expected && expected > 20, "{slices} slices");
}

/// Other nodes can put 1 MiB beneath each block, which is read with it and not shown: that costs no fuel, and
/// time. A block that goes is read once more then.
#[test]
fn what_is_read_beneath_blocks_ends_slices_and_costs_nothing() {
    const BLOCKS: u32 = 64;
    let read = "(call $stable-read (i64.const 0) (i32.const 65536) (i32.const 512))
        (call $ok-number (i64.load32_u (i32.const 516)))";
    let write = "(drop (memory.grow (i32.const 1)))
        (call $stable-write (i64.const 0) (i32.const 65536) (i32.const 65536))
        (call $ok-number (i64.const 65536))";
    let writes_max = |writes_max| Limits {
        writes_max,
        ..Limits::default()
    };
    // The last of them is stopped in the middle.
    for (body, limits, times) in [
        (read, Limits::default(), 1),
        (write, Limits::default(), 2),
        (write, writes_max(20), 1),
    ] {
        let is_whole = limits.writes_max >= u64::from(BLOCKS);
        let host = host_with(limits);
        let run = |beneath| {
            let mut state = MapState {
                beneath,
                ..MapState::default()
            };
            let all = state.map(Space::Stable);
            for n in 0..BLOCKS {
                all.insert(n.to_be_bytes().to_vec(), b"1".to_vec());
            }
            all.insert(vec![0, 0, 0, 63, 0], vec![]);
            let (finished, slices) = run_counting(&host, body, state);
            let fuel = finished.fuel_used;
            if is_whole {
                assert_eq!(output(&finished), "65536");
                let left = blocks(&mut state_of(finished)).len() as u32;
                assert_eq!(left, if body == read { BLOCKS + 1 } else { 1 });
                return (slices, fuel, String::new());
            }
            (slices, fuel, failure(finished).to_string())
        };
        let (few, fuel, told) = run(0);
        let (many, same, same_told) = run(1 << 20);
        assert_eq!((same, same_told), (fuel, told), "{body}");
        let more = times * u64::from(BLOCKS);
        assert!(many + 2 >= few + more, "{body}: {few} and {many} slices");
    }
}

/// If only a block of another node's says how long the memory is, an end is written beside the first block.
#[test]
fn an_end_that_a_call_has_to_write_counts_as_a_write() {
    let body = format!("(call $stable-write (i64.const 0) (i32.const 272) (i32.const 1)) {OK}");
    let run = |writes_max, last: &[u8]| {
        let host = host_with(Limits {
            writes_max,
            ..Limits::default()
        });
        let mut state = MapState::default();
        state.map(Space::Stable).insert(last.to_vec(), vec![]);
        run_body(&host, &body, state)
    };
    let (block, end) = ([0, 0, 0, 5], [0, 0, 0, 63, 0]);
    let stopped = failure(run(1, &block));
    let Failure::LimitExceeded { limit, used, max } = stopped else {
        panic!("{stopped}")
    };
    assert_eq!((limit, used, max), ("writes_max", 2, 1));
    for (writes_max, last) in [(2, &block[..]), (1, &end[..])] {
        let mut state = state_of(run(writes_max, last));
        let keys: Vec<_> = blocks(&mut state).into_iter().map(|it| it.0).collect();
        assert!(
            keys.contains(&vec![0; 4]) && keys.contains(&end.to_vec()),
            "{keys:?}"
        );
    }
}

#[test]
fn a_state_that_cannot_answer_ends_the_call() {
    let host = host();
    let broken = MapState {
        broken: Some("the disk is gone"),
        ..MapState::default()
    };
    let stopped = failure(run_body(&host, &format!("{GROW} {OK}"), broken));
    assert!(matches!(stopped, Failure::State(_)), "{stopped}");
    // One of its blocks is none.
    let mut state = MapState::default();
    state.map(Space::Stable).insert(b"abc".to_vec(), vec![]);
    let stopped = failure(run_body(&host, &format!("{GROW} {OK}"), state));
    assert!(matches!(stopped, Failure::State(_)), "{stopped}");
}
