//! What deleted contexts leave is dropped beside the calls, and its space used again.

use super::*;

/// In order, and text: no byte is above 99.
static KEYS: [[u8; 2]; 4_000] = {
    let mut keys = [[0; 2]; 4_000];
    let mut n = 0;
    while n < keys.len() {
        keys[n] = [(n / 100) as u8, (n % 100) as u8];
        n += 1;
    }
    keys
};

/// A second context with so much in it that its sweep takes many steps, deleted.
fn delete_a_large_one(bench: &mut Bench) {
    let keys = KEYS.iter().map(|key| std::str::from_utf8(key).unwrap());
    let writes: Vec<_> = keys.map(|key| (key, "value")).collect();
    let large = bench.disk.create(2);
    let fill = fixture::call(2, large, 2, &writes);
    assert!(bench.disk.ledger.commit(vec![fill]).unwrap()[0].is_ok());
    bench.start();
    bench.send(Change::DeleteContext(fixture::id(2)), 0, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
}

/// As far as snapshots show it.
fn is_swept(bench: &Bench) -> bool {
    let stats = bench.disk.ledger.stats().unwrap();
    stats.graves == 0
}

/// At least: others may use the core as well.
#[test]
fn a_long_sweep_lets_calls_in_between_and_rests_four_times_as_long_as_it_works() {
    let started = Instant::now();
    let mut bench = Bench::new();
    let (ask, asks) = crate::asks::asks();
    bench.thread.as_mut().unwrap().asks = asks;
    delete_a_large_one(&mut bench);
    let mut between = 0;
    for now in 3.. {
        bench.send(bench.write(now, "value"), 0, 0);
        assert_eq!(bench.verdicts(), ["committed"]);
        if now % 64 == 0 {
            let (answer, snapshot) = crossbeam_channel::bounded(1);
            ask.send(Ask::Snapshot(answer)).unwrap();
            drop(snapshot.recv().unwrap().unwrap());
        }
        if is_swept(&bench) {
            break;
        }
        between += 1;
    }
    let lasted = started.elapsed().as_micros() as u64;
    bench.finish();
    assert!(between > 1, "calls had to wait for the sweep");
    let steps: Vec<u64> = bench.stats.sweep_micros.buckets().map(|(_, n)| n).collect();
    let steps: u64 = steps.iter().sum();
    assert!(steps > 10, "{steps}");
    // Behind the last one nobody waits.
    let worked = bench.stats.sweep_micros.sum();
    let rested = lasted - worked;
    let longest = bench.stats.sweep_micros.buckets().filter(|(_, n)| *n > 0);
    let longest = longest.last().unwrap().0 as u64;
    let least = u64::from(SWEEP_REST) * worked.saturating_sub(longest);
    assert!(rested >= least, "{rested} of {lasted}, not {least}");
}

/// A shard reads from a snapshot, and nothing that the sweep frees is used again before it has
/// a later one.
#[test]
fn a_sweep_uses_again_what_it_frees_although_nobody_calls() {
    let mut bench = Bench::new();
    let mut latest = bench.disk.ledger.snapshot().unwrap();
    delete_a_large_one(&mut bench);
    let mut before = None;
    while !is_swept(&bench) {
        let Some(report) = block_on(poll_once(bench.inbox.take())) else {
            std::thread::yield_now();
            continue;
        };
        let shown = match report {
            Report::Shown(shown) => Some(shown),
            Report::Durable { shown, .. } | Report::Collected { shown, .. } => shown,
            Report::Failed(error) => panic!("{error}"),
        };
        if let Some(shown) = shown {
            latest = shown;
            let used = bench.disk.ledger.in_use().map_bytes_used;
            before.get_or_insert(used);
        }
    }
    let after = bench.disk.ledger.in_use().map_bytes_used;
    bench.finish();
    drop(latest);
    let before = before.expect("the shard was never told");
    assert!(after < before + (1 << 20), "{before} became {after}");
}

/// Checkpoints are for calls, and there is nothing that the sweep has to have one for.
#[test]
fn a_sweep_rides_along_and_makes_no_checkpoint() {
    let mut bench = Bench::on(Disk::with_map(1 << 30));
    delete_a_large_one(&mut bench);
    // Beside those that are made when there is nothing to do for a second.
    let started = Instant::now();
    let before = bench.stats.checkpoints.get();
    let mut now = 3;
    while bench.stats.swept.get() < 4_000 {
        bench.send(bench.write(now, "value"), 0, 0);
        assert_eq!(bench.verdicts(), ["committed"]);
        now += 1;
    }
    let idle = started.elapsed().as_secs() / CHECKPOINT_IDLE.as_secs();
    let made = bench.stats.checkpoints.get() - before;
    let steps: u64 = bench.stats.sweep_micros.buckets().map(|(_, n)| n).sum();
    assert!(steps >= 4_000 / 128, "{steps}");
    assert!(made <= idle + 1, "{made} for {steps} steps");
    bench.finish();
}

/// What was swept is gone with the transaction that fails, and comes back without anything that says so. (Unless the thread has had
/// time for a checkpoint in between: then it is tried again.)
#[test]
fn what_was_swept_beside_a_batch_that_fails_is_swept_again() {
    static LARGE: [u8; 9 << 20] = [b'x'; 9 << 20];
    let large = std::str::from_utf8(&LARGE).unwrap();
    let mut bench = Bench::on(Disk::with_map(8 << 20));
    let small = 2..10;
    for n in small.clone() {
        let slot = bench.disk.create(n);
        let fill = fixture::call(n, slot, 2, &[("key", "value")]);
        assert!(bench.disk.ledger.commit(vec![fill]).unwrap()[0].is_ok());
    }
    bench.start();
    let mut was_swept_again = false;
    for n in small {
        // All of one is lost with the batch that fails.
        let epoch = u64::from(n);
        let before = bench.stats.swept.get();
        bench.send(Change::DeleteContext(fixture::id(n)), epoch, 0);
        assert_eq!(bench.verdicts(), ["committed"]);
        while bench.stats.swept.get() == before {
            std::thread::yield_now();
        }
        let once = bench.stats.swept.get() - before;
        bench.send(bench.write(2 + epoch, large), epoch, 0);
        loop {
            match bench.report() {
                Report::Failed(StoreError::MapFull { .. }) => break,
                Report::Failed(error) => panic!("{error}"),
                Report::Durable { verdicts, .. } => panic!("there was room: {verdicts:?}"),
                Report::Shown(_) | Report::Collected { .. } => {}
            }
        }
        while !is_swept(&bench) {
            std::thread::yield_now();
        }
        was_swept_again = bench.stats.swept.get() == before + 2 * once;
        if was_swept_again {
            break;
        }
    }
    bench.finish();
    assert!(was_swept_again);
}
