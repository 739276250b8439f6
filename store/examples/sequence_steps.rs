//! How long the longest step takes of what is done to a fragmented text in parts, beside the
//! same in one go: `cargo run --release -p corelet-store --example sequence_steps -- 500000`.
//! Prints its parameters, then one line for each kind of work.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use corelet_store::{Allowance, Content, Hlc, Loading, NodeId, Sequence, SequenceKind};

/// What a shard allows a step.
const STEP_WORK: u64 = 1_000;

fn main() {
    let pieces = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let pieces: usize = pieces.unwrap_or(100_000);
    println!("{pieces} single characters at random places, {STEP_WORK} elementary steps a part");
    let (author, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
    let seen_all = |_: &NodeId| Hlc::from_bits(u64::MAX);
    let mut text = Sequence::new(SequenceKind::Text, author);
    let mut typed = Vec::new();
    let mut place: u64 = 7;
    for n in 0..pieces {
        place = place
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = (place >> 33) as usize % (n + 1);
        text.insert(at, Content::Text("x".to_owned())).unwrap();
        if n % 4_000 == 3_999 || n + 1 == pieces {
            let stamp = Hlc::from_bits(n as u64 + 1);
            typed.push((stamp, text.take_update(stamp).unwrap().unwrap()));
        }
    }
    let saved = text.save().unwrap();

    let whole = time(|| drop(Sequence::open(other, &saved).unwrap()));
    let mut longest = Longest::default();
    let mut loading = Loading::begin(other, saved.clone()).unwrap();
    let mut copy = loop {
        match longest.part(|allowance| loading.step(allowance).unwrap()) {
            ControlFlow::Break(copy) => break copy,
            ControlFlow::Continue(more) => loading = more,
        }
    };
    longest.print("open what was saved", whole);

    let mut replayed = Sequence::new(SequenceKind::Text, other);
    let whole = typed
        .iter()
        .map(|(stamp, update)| time(|| replayed.apply(author, *stamp, seen_all, update).unwrap()));
    let whole = whole.sum();
    let mut longest = Longest::default();
    let mut replayed = Sequence::new(SequenceKind::Text, other);
    for (stamp, update) in &typed {
        let mut arriving = replayed.begin_apply(author, *stamp, update).unwrap();
        while !longest.part(|allowance| {
            let done = replayed.go_on_applying(&mut arriving, seen_all, update, allowance);
            done.unwrap()
        }) {}
    }
    let what = format!("apply {} updates of 4,000 edits", typed.len());
    longest.print(&what, whole);

    let whole = time(|| copy.delete(0, pieces).unwrap());
    let whole_back = time(|| copy.roll_back());
    let mut longest = Longest::default();
    let mut deleting = copy.begin_delete(0, pieces).unwrap();
    while !longest.part(|allowance| copy.go_on_deleting(&mut deleting, allowance).unwrap()) {}
    longest.print("erase", whole);
    let mut longest = Longest::default();
    while !longest.part(|allowance| copy.roll_back_some(allowance)) {}
    longest.print("roll that back", whole_back);

    copy.delete(0, pieces).unwrap();
    let stamp = Hlc::from_bits(1 << 40);
    let erasing = copy.take_update(stamp).unwrap().unwrap();
    let mut longest = Longest::default();
    let mut arriving = text.begin_apply(other, stamp, &erasing).unwrap();
    while !longest.part(|allowance| {
        let done = text.go_on_applying(&mut arriving, seen_all, &erasing, allowance);
        done.unwrap()
    }) {}
    let mut again = Sequence::open(author, &saved).unwrap();
    let whole = time(|| again.apply(other, stamp, seen_all, &erasing).unwrap());
    longest.print("apply the erasure", whole);
    println!("let go of it: {:?}", time(|| drop(again)));
}

/// The parts of some work.
#[derive(Default)]
struct Longest {
    parts: u64,
    steps: u64,
    longest: Duration,
    sum: Duration,
}

impl Longest {
    fn part<T>(&mut self, work: impl FnOnce(&Allowance) -> T) -> T {
        let allowance = Allowance::steps(STEP_WORK);
        let begun = Instant::now();
        let result = work(&allowance);
        let took = begun.elapsed();
        self.parts += 1;
        self.steps += allowance.used();
        self.longest = self.longest.max(took);
        self.sum += took;
        result
    }

    fn print(&self, what: &str, whole: Duration) {
        let ratio = whole.as_secs_f64() / self.longest.as_secs_f64().max(1e-9);
        let mean = self.sum / self.parts.max(1) as u32;
        println!(
            "{what}: in one go {whole:?}; in {} parts of {mean:?}, the longest {:?} (1/{ratio:.0}), {} steps, {:?} in all",
            self.parts, self.longest, self.steps, self.sum
        );
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
