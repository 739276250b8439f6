//! Power cuts. `torture` writes some batches, and its log of writes says what the
//! disk may hold at each moment: many such images are checked as they are, opened and compared. Now and
//! then an image is what the next life begins with, so that recoveries are cut short
//! as well.
//!
//! `CORELET_IMAGES` sets how many images are checked.

use std::collections::HashSet;
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;
use xxhash_rust::xxh3::Xxh3;

use crate::checker::{Answer, Checker, torture};
use crate::disk::{Cut, CutKind, Disk, Image, read_image, write_image};
use crate::random::Random;
use crate::write_log::{Op, WriteLog};
use crate::{empty, how_often, quick_place};

/// Images if `CORELET_IMAGES` is not set.
const IMAGES: usize = 10_000;

/// Each with its own share of the seed, so that a seed gives the same images on
/// any machine.
const WORKERS: usize = 2;

/// Images of one life.
const LIFE_IMAGES: usize = 1_000;

/// Of so many images one is also written to.
const GO_ON_EVERY: usize = 16;

/// How the truth is bent to see whether a test notices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// No flush brings anything to the disk.
    NoFlushes,
    /// Each batch is acknowledged when the one before it is.
    EarlyWord,
}

/// What one worker has done and found.
#[derive(Default)]
struct Tally {
    images: usize,
    torn: usize,
    mixed: usize,
    lives: usize,
    ops: usize,
    acked: usize,
    bad: Vec<Bad>,
}

struct Bad {
    answer: Answer,
    told: String,
}

struct Worker {
    nth: usize,
    random: Random,
    lie: Lie,
    checker: Checker,
    dir: TempDir,
    /// Images that were checked already, by their hash.
    known: HashSet<u128>,
    tally: Tally,
}

/// What a life begins with: files, and what was said of them.
#[derive(Clone, Default)]
struct Start {
    image: Image,
    said: String,
}

impl Worker {
    fn new(nth: usize, seed: u64, lie: Lie) -> Worker {
        Worker {
            nth,
            random: Random::of(seed),
            lie,
            checker: Checker::new(),
            dir: tempfile::tempdir_in(quick_place()).unwrap(),
            known: HashSet::new(),
            tally: Tally::default(),
        }
    }

    /// Checks `images` images, or fewer if one is bad and `lie` is none.
    fn work(mut self, images: usize) -> Tally {
        let mut start = match self.lie {
            Lie::None => Start::default(),
            // What a lie breaks is not only that there is a ledger.
            Lie::NoFlushes | Lie::EarlyWord => self.well_begun(),
        };
        while self.tally.images < images && !self.is_over() {
            let left = LIFE_IMAGES.min(images - self.tally.images);
            let next = self.live(&start, left);
            start = match self.lie {
                Lie::None if self.random.percent(25) => Start::default(),
                Lie::None => next,
                Lie::NoFlushes | Lie::EarlyWord => start,
            };
        }
        self.tally
    }

    /// A life that nothing cuts short.
    fn well_begun(&mut self) -> Start {
        let (log, _, image) = self.write(&Start::default());
        let said = log.ops.iter().filter_map(|op| match op {
            Op::Say(line) => Some(format!("{line}\n")),
            _ => None,
        });
        let said = said.collect();
        Start { image, said }
    }

    fn is_over(&self) -> bool {
        self.lie == Lie::None && !self.tally.bad.is_empty()
    }

    /// One life of a writer, cut short in `images` ways. Gives one of them.
    fn live(&mut self, start: &Start, images: usize) -> Start {
        let (log, mut disk, left) = self.write(start);
        let mut said = start.said.clone();
        let mut next = start.clone();
        let end = self.tally.images + images;
        for (nth, op) in log.ops.iter().enumerate() {
            disk.begin(nth, op);
            if let Op::Say(line) = op {
                self.tally.acked += usize::from(line.starts_with("acked"));
                said = format!("{said}{}\n", self.bend(line));
            }
            let steps = log.ops.len() - nth;
            let due = (end - self.tally.images).div_ceil(steps);
            for image in self.images(&disk, nth, due, &said) {
                self.check(&image, &said, || format!("operation {nth}, {op:.60?}"));
                if self.is_over() {
                    return next;
                }
                if self.random.below(images) == 0 {
                    next = Start {
                        image,
                        said: said.clone(),
                    };
                }
            }
            disk.end(nth, op);
        }
        let forgotten = disk.differs_from(&left);
        assert_eq!(forgotten, None, "the log lacks writes to this file");
        self.tally.lives += 1;
        self.tally.ops += log.ops.len();
        next
    }

    fn write(&mut self, start: &Start) -> (WriteLog, Disk, Image) {
        let dir = tempfile::tempdir_in(quick_place()).unwrap();
        let root = dir.path().canonicalize().unwrap();
        write_image(&start.image, &root);
        let disk = Disk::with(&start.image);
        let batches = (6 + self.random.below(16)).to_string();
        // By turns, and the workers not by the same.
        let route = ["journal", "checkpoint"][(self.nth + self.tally.lives) % 2];
        let data = root.join("data");
        let args = ["write", data.to_str().unwrap(), &batches, route];
        let log = WriteLog::record(&root, &disk.names, &torture(), &args);
        assert!(log.status.success(), "{args:?}: {}", log.status);
        let disk = match self.lie {
            Lie::NoFlushes => disk.without_flushes(),
            Lie::None | Lie::EarlyWord => disk,
        };
        (log, disk, read_image(&root))
    }

    fn bend(&self, line: &str) -> String {
        match (self.lie, line.split_once(' ')) {
            (Lie::EarlyWord, Some(("acked", n))) => {
                format!("acked {}", n.parse::<u64>().unwrap() + 1)
            }
            _ => line.to_owned(),
        }
    }

    /// Up to `due` images, none of which was there before.
    fn images(&mut self, disk: &Disk, newest: usize, due: usize, said: &str) -> Vec<Image> {
        let mut images = Vec::new();
        for attempt in 0..3 * due {
            if images.len() == due {
                break;
            }
            let kind = match attempt {
                0 => CutKind::Behind,
                _ => [CutKind::Before, CutKind::Torn, CutKind::Mixed][self.random.below(3)],
            };
            let random = Random::of(self.random.next());
            let image = disk.image(&mut Cut::new(kind, newest, random));
            if self.known.insert(hash(&image, said)) {
                self.tally.torn += usize::from(kind == CutKind::Torn);
                self.tally.mixed += usize::from(kind == CutKind::Mixed);
                images.push(image);
            }
        }
        images
    }

    fn check(&mut self, image: &Image, said: &str, when: impl FnOnce() -> String) {
        self.tally.images += 1;
        let what = match self.tally.images.is_multiple_of(GO_ON_EVERY) {
            true => "go-on",
            false => "check",
        };
        let root = self.dir.path();
        write_image(image, root);
        let data = root.join("data");
        let inspected = match self.lie {
            Lie::None => self.checker.ask("inspect-struck", &data, said),
            // What is asked is whether who opens it notices.
            Lie::NoFlushes | Lie::EarlyWord => Answer::Right,
        };
        let answer = match inspected {
            Answer::Right => self.checker.ask(what, &data, said),
            told => told,
        };
        if answer != Answer::Right {
            let kept = match self.lie {
                Lie::None => format!(" The image is in {}.", keep(image, said).display()),
                Lie::NoFlushes | Lie::EarlyWord => String::new(),
            };
            let told = format!("a cut at {} is not survived: {answer:?}.{kept}", when());
            self.tally.bad.push(Bad { answer, told });
        }
        empty(root);
    }
}

fn hash(image: &Image, said: &str) -> u128 {
    let mut hash = Xxh3::new();
    for (path, content) in image {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(&[0]);
        hash.update(content.as_deref().unwrap_or_default());
    }
    hash.update(said.as_bytes());
    hash.digest128()
}

/// For somebody to look at: `torture verify DIR/data < DIR/said`.
fn keep(image: &Image, said: &str) -> PathBuf {
    let dir = tempfile::tempdir().unwrap().keep();
    write_image(image, &dir);
    std::fs::write(dir.join("said"), said).unwrap();
    dir
}

fn cut(images: usize, lie: Lie) -> Vec<Tally> {
    let mut seeds = Random::of(Random::seed());
    thread::scope(|scope| {
        let work = |nth| {
            let worker = Worker::new(nth, seeds.next(), lie);
            scope.spawn(move || worker.work(images.div_ceil(WORKERS)))
        };
        let workers: Vec<_> = (0..WORKERS).map(work).collect();
        let tallies = workers.into_iter().map(|worker| worker.join().unwrap());
        tallies.collect()
    })
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_by_images_of_the_disk() {
    let tallies = cut(how_often("CORELET_IMAGES", IMAGES), Lie::None);
    for bad in tallies.iter().flat_map(|tally| &tally.bad) {
        println!("{}", bad.told);
    }
    assert!(tallies.iter().all(|tally| tally.bad.is_empty()));
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    println!(
        "{} images of disks after a power cut, all different ({} with the newest write torn, {} with any of the unflushed ones), of {} lives with {} operations and {} acknowledged batches: none lost",
        sum(|tally| tally.images),
        sum(|tally| tally.torn),
        sum(|tally| tally.mixed),
        sum(|tally| tally.lives),
        sum(|tally| tally.ops),
        sum(|tally| tally.acked),
    );
}

/// If the images showed everything as the writer saw it, or the checker took
/// everything for right, the test above would pass as well.
#[test]
fn lost_flushes_and_early_words_are_noticed_in_images() {
    for (lie, lie_shown) in [
        (Lie::NoFlushes, "no flush"),
        (Lie::EarlyWord, "early words"),
    ] {
        let tallies = cut(1_500, lie);
        let (mut lost, mut other) = (0, 0);
        for bad in tallies.iter().flat_map(|tally| &tally.bad) {
            match &bad.answer {
                Answer::Wrong(what) if what.contains("is lost") => lost += 1,
                Answer::Wrong(_) | Answer::Reported(_) | Answer::Died(_) | Answer::Hangs => {
                    other += 1;
                }
                Answer::Right => unreachable!("only what is bad is noted"),
            }
        }
        println!("{lie_shown}: {lost} losses and {other} other findings in 1500 images");
        assert!(lost > 5, "{lie_shown}: only {lost} losses were noticed");
        // Without flushes LMDB's pages come in any order.
        assert!(other > 5 || lie == Lie::EarlyWord, "{lie_shown}: {other}");
    }
}

/// A server makes its data directory, and what lacks above it. Its files were
/// flushed and it was not, so with the power all was gone.
#[test]
fn a_new_data_directory_has_its_name_after_a_power_cut() {
    let dir = tempfile::tempdir_in(quick_place()).unwrap();
    let root = dir.path().canonicalize().unwrap();
    let mut disk = Disk::with(&Image::new());
    let data = root.join("above/data");
    let args = ["write", data.to_str().unwrap(), "1", "journal"];
    let log = WriteLog::record(&root, &disk.names, &torture(), &args);
    for (nth, op) in log.ops.iter().enumerate() {
        disk.begin(nth, op);
        disk.end(nth, op);
    }
    empty(&root);
    let image = disk.image(&mut Cut::new(CutKind::Before, log.ops.len(), Random::of(1)));
    write_image(&image, &root);
    let answer = Checker::new().ask("check", &data, "acked 1\n");
    assert_eq!(answer, Answer::Right);
}
