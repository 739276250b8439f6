//! Flipped bits: in a copy of a closed ledger one bit is another, anywhere in any
//! of its files. Then the store says that something is damaged before anything is served, or
//! everything is there, is read and verified, and stays so when the
//! ledger is written to: as the bit is of no importance, or as it was put right. Nothing else happens. The
//! check of a directory that nobody has open does as much: what it takes for whole is whole, and what
//! it reports, or keeps a ledger from being opened, lies in
//! bytes that are in use. It is asked here as the library has it; that `corelet check` says the
//! same by its exit code is shown where that program is.
//!
//! `CORELET_FLIPS` sets how many bits are flipped, one at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use crate::checker::{Answer, Checker, torture};
use crate::disk::{Image, read_image, write_image};
use crate::random::Random;
use crate::{how_often, quick_place};

/// Flips if `CORELET_FLIPS` is not set.
const FLIPS: usize = 5_000;

const WORKERS: usize = 2;

/// What a file is used by, a part at a time.
const PAGE_BYTES: usize = 4096;

/// Flips of one ledger.
const LEDGER_FLIPS: usize = 500;

/// A ledger at rest.
struct Subject {
    image: Image,
    said: String,
    /// Parts of files of which it is known whether they are free.
    known: BTreeMap<(PathBuf, usize), bool>,
}

impl Subject {
    fn write(random: &mut Random) -> Subject {
        let dir = tempfile::tempdir_in(quick_place()).unwrap();
        let mut said = String::new();
        for route in ["checkpoint", "journal"] {
            let output = std::process::Command::new(torture())
                .arg("write")
                .arg(dir.path().join("data"))
                .arg((5 + random.below(20)).to_string())
                .arg(route)
                .output()
                .unwrap();
            assert!(output.status.success());
            said.push_str(&String::from_utf8(output.stdout).unwrap());
        }
        Subject {
            image: read_image(dir.path()),
            said,
            known: BTreeMap::new(),
        }
    }

    fn flip(&mut self, path: &Path, at: usize, bit: usize) {
        let file = self.image.get_mut(path).and_then(Option::as_mut);
        file.expect("a place lies in a file")[at] ^= 1 << bit;
    }

    fn ask(&self, checker: &mut Checker, what: &str, said: &str) -> Answer {
        let dir = tempfile::tempdir_in(quick_place()).unwrap();
        write_image(&self.image, dir.path());
        checker.ask(what, &dir.path().join("data"), said)
    }

    fn try_out(&mut self, checker: &mut Checker, path: &Path, at: usize) -> (Outcome, Answer) {
        let answer = self.ask(checker, "go-on", &self.said);
        let outcome = self.outcome(&answer, checker);
        let inspected = self.ask(checker, "inspect", "");
        if !is_truth(&inspected, outcome) {
            return (Outcome::Untold, inspected);
        }
        let is_refused = matches!(&answer, Answer::Reported(what) if what.contains("when opened"));
        let is_alarm =
            is_refused || matches!(inspected, Answer::Reported(_)) && outcome == Outcome::Harmless;
        match is_alarm {
            true if self.is_free(checker, path, at) => (Outcome::FalseAlarm, inspected),
            true if outcome == Outcome::Harmless => (Outcome::PutRight, answer),
            _ => (outcome, answer),
        }
    }

    fn is_free(&mut self, checker: &mut Checker, path: &Path, at: usize) -> bool {
        let part = (path.to_owned(), at / PAGE_BYTES);
        if let Some(is_free) = self.known.get(&part) {
            return *is_free;
        }
        let is_free = self.find_out_if_free(checker, path, at);
        self.known.insert(part, is_free);
        is_free
    }

    /// Whether nothing depends on what this is a part of: with other bytes in the whole of it
    /// everything is there, and stays there when it is written to. Who looks
    /// the ledger over when it is opened is not asked.
    fn find_out_if_free(&mut self, checker: &mut Checker, path: &Path, at: usize) -> bool {
        let file = self.image.get_mut(path).and_then(Option::as_mut);
        let file = file.expect("a place lies in a file");
        let first = at - at % PAGE_BYTES;
        let last = file.len().min(first + PAGE_BYTES);
        let page = file[first..last].to_vec();
        file[first..last].fill(0xa5);
        let is_free = self.ask(checker, "trust", &self.said) == Answer::Right;
        let file = self.image.get_mut(path).and_then(Option::as_mut);
        file.expect("it was there above")[first..last].copy_from_slice(&page);
        is_free
    }

    fn outcome(&self, answer: &Answer, checker: &mut Checker) -> Outcome {
        match answer {
            Answer::Right => Outcome::Harmless,
            Answer::Reported(what) if is_late(what) => Outcome::Late,
            Answer::Reported(what) if what.contains("but wrong") => Outcome::VerifyOnly,
            Answer::Reported(_) => Outcome::Reported,
            Answer::Wrong(_) if self.is_right_but_for_the_newest(checker) => Outcome::NewestLeftOut,
            Answer::Wrong(_) => Outcome::Served,
            // Of the allocator, too, whose memory LMDB may write to.
            Answer::Died(how) if how.starts_with("signal: ") => Outcome::Died,
            Answer::Died(_) => Outcome::Panicked,
            Answer::Hangs => Outcome::Hung,
        }
    }

    fn is_right_but_for_the_newest(&self, checker: &mut Checker) -> bool {
        let lines = self.said.trim_end();
        let older = lines.rfind('\n').map_or("", |end| &lines[..=end]);
        self.ask(checker, "check", older) == Answer::Right
    }
}

/// Whether it was told by a write, or after one.
fn is_late(what: &str) -> bool {
    what.contains("after going on") || what.contains("does not go on")
}

/// Whether a check has said of a directory what is true of it. Whether what it reports is in
/// use is another question.
fn is_truth(inspected: &Answer, outcome: Outcome) -> bool {
    match inspected {
        // What lies behind the newest record may look like a torn one.
        Answer::Right | Answer::Wrong(_) => outcome == Outcome::Harmless,
        Answer::Reported(_) => true,
        Answer::Died(_) | Answer::Hangs => false,
    }
}

/// What became of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything is there and stays there.
    Harmless,
    /// The same, and a check tells of it: it was put right when the ledger was opened.
    PutRight,
    /// An error tells of it wherever it would matter.
    Reported,
    /// Verifying tells of it, but some read has given what is not so, such as that
    /// an entry does not exist.
    VerifyOnly,
    /// Nothing tells of it before a write has made it worse; then an error does.
    Late,
    /// The newest batch is gone without an error, and everything else is there: it
    /// is taken for one that was torn, which nobody was told of.
    NewestLeftOut,
    /// The process died by a signal, as it had read or written where it must not.
    Died,
    /// No error tells of it, and something is lost or other than it was written.
    Served,
    Panicked,
    Hung,
    /// A check has taken it for whole.
    Untold,
    /// A check has reported it, and it lies where nothing is.
    FalseAlarm,
}

/// How it should be.
const GOOD: [Outcome; 3] = [Outcome::Harmless, Outcome::PutRight, Outcome::Reported];

#[derive(Default)]
struct Tally {
    counts: BTreeMap<(Outcome, String), usize>,
    told: Vec<String>,
}

fn flip(seed: u64, flips: usize) -> Tally {
    let mut random = Random::of(seed);
    let mut tally = Tally::default();
    let mut checker = Checker::new();
    let mut subject = Subject::write(&mut random);
    for nth in 0..flips {
        if nth > 0 && nth % LEDGER_FLIPS == 0 {
            subject = Subject::write(&mut random);
        }
        let (path, at, bit) = place(&subject.image, &mut random);
        subject.flip(&path, at, bit);
        let (outcome, answer) = subject.try_out(&mut checker, &path, at);
        subject.flip(&path, at, bit);
        if !GOOD.contains(&outcome) {
            let path = path.display();
            let told = format!("{outcome:?}: {path} byte {at} bit {bit}: {answer:?}");
            tally.told.push(told);
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        *tally.counts.entry((outcome, name)).or_default() += 1;
    }
    tally
}

/// A bit of any file: of one in five any file alike, so that small ones have their
/// turn, and else any byte alike.
fn place(image: &Image, random: &mut Random) -> (PathBuf, usize, usize) {
    let files = image.iter().filter_map(|(path, content)| {
        let bytes = content.as_ref()?.len();
        (bytes > 0).then_some((path.clone(), bytes))
    });
    let files: Vec<_> = files.collect();
    let bit = random.below(8);
    if random.percent(20) {
        let (path, bytes) = files[random.below(files.len())].clone();
        return (path, random.below(bytes), bit);
    }
    let mut at = random.below(files.iter().map(|(_, bytes)| bytes).sum());
    for (path, bytes) in files {
        if at < bytes {
            return (path, at, bit);
        }
        at -= bytes;
    }
    unreachable!("it lies below the sum");
}

#[test]
fn a_bit_that_flips_is_put_right_or_told_before_it_matters() {
    let flips = how_often("CORELET_FLIPS", FLIPS);
    let mut seeds = Random::of(Random::seed());
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let work = |_| {
            let seed = seeds.next();
            scope.spawn(move || flip(seed, flips.div_ceil(WORKERS)))
        };
        let workers: Vec<_> = (0..WORKERS).map(work).collect();
        workers.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut sums: BTreeMap<Outcome, usize> = BTreeMap::new();
    let mut shown: BTreeMap<(Outcome, String), usize> = BTreeMap::new();
    for tally in tallies {
        for ((outcome, file), count) in tally.counts {
            *sums.entry(outcome).or_default() += count;
            *shown.entry((outcome, file)).or_default() += count;
        }
        for told in tally.told {
            println!("{told}");
        }
    }
    for ((outcome, file), count) in shown {
        println!("{outcome:?} in {file}: {count}");
    }
    println!("{flips} flips of one bit each: {sums:?}");
    for (outcome, count) in sums {
        assert!(GOOD.contains(&outcome), "{outcome:?} {count} times");
    }
}

/// What has lost two batches is not one whose newest record was left out.
#[test]
fn a_ledger_that_lacks_two_batches_is_not_taken_for_right() {
    let mut subject = Subject::write(&mut Random::of(1));
    let mut checker = Checker::new();
    let answer = subject.ask(&mut checker, "go-on", &subject.said);
    assert_eq!(subject.outcome(&answer, &mut checker), Outcome::Harmless);
    assert_eq!(subject.ask(&mut checker, "inspect", ""), Answer::Right);
    for (n, expected) in [(1001, Outcome::NewestLeftOut), (1002, Outcome::Served)] {
        subject.said.push_str(&format!("acked {n}\n"));
        let answer = subject.ask(&mut checker, "go-on", &subject.said);
        assert_eq!(subject.outcome(&answer, &mut checker), expected);
    }
}
