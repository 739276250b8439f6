//! How long it takes to do to a large list or text what is done to much of it at once: to let go
//! of it, to insert what one update may bring along, to read it; in one go, and in the
//! parts in which a shard does it. `sequence_steps.rs` measures what
//! the store itself divides. `cargo run --release -p corelet-store --example sequence_bulk -- 1000000`.
//! Prints its parameters, then for each the median of some runs.

use std::time::{Duration, Instant};

use corelet_store::{Allowance, Content, Hlc, NodeId, Sequence, SequenceKind};

const RUNS: usize = 5;

/// What one call may write is 4 MiB by default, and each element counts for 8 bytes beside its own.
const VALUES: usize = (4 << 20) / 9;

/// What is inserted and read in one go.
const PART_VALUES: usize = 2_048;
const PART_BYTES: usize = 64 << 10;
const READ_WORK: u64 = 4_000;

/// The largest value, and so the most of a text that is inserted at once.
const TEXT_BYTES: usize = 1 << 20;

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let count: usize = count.unwrap_or(1_000_000);
    println!("{count} elements, the median of {RUNS} runs");
    let author = NodeId::from_bytes([1; 32]);

    let text = fragmented(author, count);
    median("let go of a text of single characters", || {
        let text = text.clone();
        time(|| drop(text))
    });
    median("read 1 MiB of it, or all", || {
        time(|| drop(text.slice(0, count.min(1 << 20)).unwrap()))
    });
    median("the longest part of that", || {
        let mut longest = Duration::ZERO;
        let mut at = 0;
        while at < count {
            let read = || text.slice_some(at, count - at, &Allowance::steps(READ_WORK));
            let mut len = 0;
            longest = longest.max(time(|| len = read().unwrap().len()));
            at += len;
        }
        longest
    });
    drop(text);

    let list = list(author, count);
    median("let go of a list of values of 8 bytes", || {
        let list = list.clone();
        time(|| drop(list))
    });
    median("read 1,000 of it by 16", || {
        let read = |n: usize| drop(list.slice(count / 2 + 16 * n, 16).unwrap());
        time(|| (0..1_000 / 16).for_each(read))
    });
    let more = |n| Content::Values(vec![Box::from([7]); n]);
    let what = format!("{VALUES} values of a byte");
    bulk(
        &what,
        &list,
        more(VALUES),
        VALUES / PART_VALUES,
        more(PART_VALUES),
    );
    drop(list);

    let empty = Sequence::new(SequenceKind::Text, author);
    for (what, char) in [("ASCII", "x"), ("two bytes a character", "é")] {
        let more = |bytes: usize| Content::Text(char.repeat(bytes / char.len()));
        let (parts, what) = (TEXT_BYTES / PART_BYTES, format!("1 MiB of {what}"));
        bulk(&what, &empty, more(TEXT_BYTES), parts, more(PART_BYTES));
    }
    let long = "x".repeat(4 << 20);
    median("copy 4 MiB, as what is read goes to a guest", || {
        time(|| drop(long.clone()))
    });
}

/// Inserts in one go and in parts, and takes the update.
fn bulk(what: &str, into: &Sequence, more: Content, parts: usize, part: Content) {
    median(&format!("insert {what}"), || {
        let (mut into, more) = (into.clone(), more.clone());
        time(|| into.insert(into.len() / 2, more).unwrap())
    });
    median(&format!("the median of {parts} parts of that"), || {
        let mut into = into.clone();
        let begin = into.len() / 2;
        let one = |n| {
            let part = part.clone();
            time(|| into.insert(begin + n * part.len(), part).unwrap())
        };
        let mut took: Vec<Duration> = (0..parts).map(one).collect();
        took.sort_unstable();
        took[parts / 2]
    });
    median(&format!("take the update of {what}"), || {
        let (mut into, more) = (into.clone(), more.clone());
        into.insert(into.len() / 2, more).unwrap();
        time(|| drop(into.take_update(Hlc::from_bits(1 << 40)).unwrap()))
    });
}

/// A text of so many characters, each put in at a place of its own.
fn fragmented(author: NodeId, count: usize) -> Sequence {
    let mut text = Sequence::new(SequenceKind::Text, author);
    let mut place: u64 = 7;
    for n in 0..count {
        place = place
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = (place >> 33) as usize % (n + 1);
        text.insert(at, Content::Text("x".to_owned())).unwrap();
        if n % 4_000 == 3_999 || n + 1 == count {
            text.take_update(Hlc::from_bits(n as u64 + 1)).unwrap();
        }
    }
    text
}

fn list(author: NodeId, count: usize) -> Sequence {
    let mut list = Sequence::new(SequenceKind::List, author);
    while list.len() < count {
        let some = (count - list.len()).min(100_000);
        let values = vec![Box::from([7; 8]); some];
        list.insert(list.len(), Content::Values(values)).unwrap();
        list.take_update(Hlc::from_bits(list.len() as u64)).unwrap();
    }
    list
}

fn median(what: &str, mut run: impl FnMut() -> Duration) {
    let mut took: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    took.sort_unstable();
    println!("{what}: {:?}", took[RUNS / 2]);
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
