//! Updates as a lying member would make them. The cases run in a child process
//! with a memory limit and a watchdog; the parent counts how they end and
//! starts the child again behind a case that ended it.

use crate::memory;
use crate::random::Random;
use crate::replica::{Kind, Replica};
use crate::traces;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Live bytes at which an allocation fails, and with it the child.
const MEMORY_MAX: usize = 1 << 30;
/// More than this for an update of some hundred bytes is an amplification.
const HUGE: usize = 16 << 20;
/// A case that takes longer hangs.
const CASE_TIME_MAX: Duration = Duration::from_secs(5);

/// Runs `cases` cases of a library and kind; how many ended in which way.
pub fn count(library: &str, kind: Kind, cases: usize) -> BTreeMap<String, usize> {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut next = 0;
    while next < cases {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args([
                "lie",
                library,
                &format!("{kind:?}"),
                &next.to_string(),
                &cases.to_string(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program can be started");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        for line in out.lines().map_while(Result::ok) {
            *ends.entry(line).or_default() += 1;
            next += 1;
        }
        let status = child.wait().expect("it was started");
        if next < cases {
            let how = match status.code() {
                Some(3) => "hang",
                _ => "abort",
            };
            *ends.entry(how.into()).or_default() += 1;
            next += 1;
        }
    }
    ends
}

/// The child: one line a case on standard output.
pub fn lie<R: Replica>(kind: Kind, from: usize, to: usize) {
    std::panic::set_hook(Box::new(|_| {}));
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let origin = Instant::now();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = origin.elapsed().as_millis() as u64;
            if now > STARTED.load(Relaxed) + CASE_TIME_MAX.as_millis() as u64 {
                std::process::exit(3);
            }
        }
    });

    // Three authors; the last one's updates are what is changed. One replica has
    // the history by itself, the other by a load of what the first had saved.
    let mut random = Random(99);
    let mut authors: Vec<R> = (1..=3).map(|peer| R::new(kind, peer)).collect();
    let mut history = Vec::new();
    for i in 0..45 {
        let edits = vec![traces::edit(&mut random, kind, authors[i % 3].len())];
        let update = authors[i % 3].edit(&edits);
        for (j, other) in authors.iter_mut().enumerate() {
            if j != i % 3 {
                other.apply(&update).expect("valid");
            }
        }
        history.push(update);
    }
    let saved = authors[0].save();
    let targets: Vec<Vec<u8>> = (0..40)
        .map(|n| {
            let mut author = R::load(kind, 3, &saved).expect("what was saved");
            let mut edits = Vec::new();
            let mut len = author.len();
            for _ in 0..1 + n % 6 {
                let edit = traces::edit(&mut random, kind, len);
                len = len - edit.delete
                    + match &edit.insert {
                        crate::replica::Insert::Text(t) => t.len(),
                        crate::replica::Insert::Values(v) => v.len(),
                    };
                edits.push(edit);
            }
            author.edit(&edits)
        })
        .collect();

    let stdout = std::io::stdout();
    memory::limit(MEMORY_MAX);
    for case in from..to {
        let mut random = Random(case as u64 ^ 0x5eed);
        let update = change::<R>(&mut random, &targets);
        STARTED.store(origin.elapsed().as_millis() as u64, Relaxed);
        let Ok(mut a) = catch_unwind(|| R::load(kind, 8, &saved).expect("what was saved")) else {
            unreachable!("a valid document loads");
        };
        let mut b = R::new(kind, 9);
        for update in &history {
            b.apply(update).expect("valid");
        }
        let (live, start) = (memory::live(), Instant::now());
        memory::reset_peak();
        let end = catch_unwind(AssertUnwindSafe(|| {
            let before = a.content();
            match a.apply(&update) {
                Err(_) if a.content() != before => "refused, but changed",
                Err(_) => "refused",
                Ok(()) => {
                    let content = a.content();
                    if catch_unwind(AssertUnwindSafe(|| b.apply(&update))).is_err() {
                        return "panic on the second replica only";
                    }
                    if b.content() != content {
                        return "accepted, replicas differ";
                    }
                    // What was accepted must be able to live on.
                    let edit = traces::edit(&mut random, kind, a.len());
                    let next = a.edit(&[edit]);
                    if b.apply(&next).is_err() || a.content() != b.content() {
                        return "accepted, later edits differ";
                    }
                    match R::load(kind, 10, &a.save()) {
                        Ok(c) if c.content() == a.content() => "accepted",
                        _ => "accepted, does not load again",
                    }
                }
            }
        }));
        let huge = memory::peak() > live + HUGE;
        let slow = start.elapsed() > Duration::from_millis(500);
        let line = match end {
            Err(_) => {
                std::mem::forget(a); // its locks may be poisoned, its drop may panic
                std::mem::forget(b);
                "panic"
            }
            Ok(_) if huge => "huge allocation",
            Ok(_) if slow => "slow",
            Ok(end) => end,
        };
        writeln!(stdout.lock(), "{line}").expect("the parent reads");
    }
    std::process::exit(0);
}

/// A valid update with bytes flipped, set, cut off, removed, doubled or swapped
/// with another one's; mostly with its checksum made right again.
fn change<R: Replica>(random: &mut Random, targets: &[Vec<u8>]) -> Vec<u8> {
    let mut update = targets[random.below(targets.len())].clone();
    for _ in 0..1 + random.below(3) {
        let at = random.below(update.len());
        match random.below(7) {
            0 => update[at] ^= 1 << random.below(8),
            1 => update[at] = random.next() as u8,
            2 => update[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => update.truncate(at.max(1)),
            4 => drop(update.drain(at..(at + 1 + random.below(4)).min(update.len() - 1).max(at))),
            5 => {
                let end = (at + 1 + random.below(8)).min(update.len());
                let copy = update[at..end].to_vec();
                update.splice(at..at, copy);
            }
            _ => {
                let other = &targets[random.below(targets.len())];
                let end = (at + 1 + random.below(16))
                    .min(update.len())
                    .min(other.len());
                if at < end {
                    update[at..end].copy_from_slice(&other[at..end]);
                }
            }
        }
        if update.is_empty() {
            update.push(0);
        }
    }
    if random.below(20) != 0 {
        R::mend(&mut update);
    }
    update
}
