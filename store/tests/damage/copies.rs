//! Power cuts while a data directory gets another number of shards, is restored, or a context is imported:
//! what is on the disk then is what was, or what was to be, whole, and can be gone on with. Kills are in
//! `../copies/kills.rs`; they leave what lies in the page cache. The program is `examples/copies.rs`.
//!
//! `CORELET_COPY_IMAGES` sets how many images are checked of each kind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::checker::example;
use crate::disk::{Cut, CutKind, Disk, Image, read_image, write_image};
use crate::random::Random;
use crate::write_log::WriteLog;
use crate::{empty, how_often, quick_place};

/// Images of each kind if `CORELET_COPY_IMAGES` is not set.
const IMAGES: usize = 150;

/// Of so many operations at the end, by which it is decided, each is cut in several ways.
const LAST_OPS: usize = 40;

fn run(args: &[&str]) -> Output {
    Command::new(example("copies")).args(args).output().unwrap()
}

#[track_caller]
fn done(args: &[&str], after: &str) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{after}: {args:?}: {stderr}{stdout}"
    );
    stdout.into_owned()
}

/// A place for directories that a program works in, and one for what is left of them.
struct Place {
    _dir: TempDir,
    work: PathBuf,
    left: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir_in(quick_place()).unwrap();
        let root = dir.path().canonicalize().unwrap();
        let [work, left] = ["work", "left"].map(|name| root.join(name));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&left).unwrap();
        Place {
            _dir: dir,
            work,
            left,
        }
    }

    /// Does `args` in what is there, and shows `check` what a cut may leave: where that is, and when it was. At last
    /// what is left if the power is cut behind its end.
    fn cut(&self, args: &[&str], check: &mut dyn FnMut(&Path, &str, bool)) {
        let before = read_image(&self.work);
        let mut disk = Disk::with(&before);
        let log = WriteLog::record(&self.work, &disk.names, &example("copies"), args);
        assert!(log.status.success(), "{args:?}");
        let mut random = Random::of(Random::seed());
        let images = how_often("CORELET_COPY_IMAGES", IMAGES);
        let ops = log.ops.len();
        let mut done = 0;
        for (nth, op) in log.ops.iter().enumerate() {
            disk.begin(nth, op);
            // Half of them anywhere, the others where it is decided.
            let half = images.div_ceil(2);
            let mut due = (half * (nth + 1) / ops) - (half * nth / ops);
            if nth + LAST_OPS >= ops {
                due += half.div_ceil(LAST_OPS);
            }
            for _ in 0..due {
                let kinds = [
                    CutKind::Before,
                    CutKind::Behind,
                    CutKind::Torn,
                    CutKind::Mixed,
                ];
                let kind = kinds[random.below(kinds.len())];
                let image = disk.image(&mut Cut::new(kind, nth, Random::of(random.next())));
                let when = format!("a cut at operation {nth} of {ops}, {op:.60?}");
                self.show(&image, &when, false, check);
                done += 1;
            }
            disk.end(nth, op);
        }
        assert_eq!(disk.differs_from(&read_image(&self.work)), None);
        let image = disk.image(&mut Cut::new(CutKind::Before, ops, random));
        self.show(&image, "a cut behind the end", true, check);
        println!(
            "{done} images of disks after a power cut in {ops} operations of {}",
            args[0]
        );
        assert!(done * 2 >= images, "{done}");
    }

    fn show(
        &self,
        image: &Image,
        when: &str,
        is_over: bool,
        check: &mut dyn FnMut(&Path, &str, bool),
    ) {
        write_image(image, &self.left);
        check(&self.left, when, is_over);
        empty(&self.left);
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// Fills a data directory of two shards; gives what is in it.
fn fill(place: &Place) -> String {
    let data = path(&place.work, "data");
    done(&["fill", &data, "2", "0..6"], "nothing");
    // A start brings in what is in the journals, and there it stays.
    let seen = path(&place.left, "seen");
    let copied = Command::new("cp").args(["-r", &data, &seen]).status();
    assert!(copied.unwrap().success());
    let shown = done(&["show", &seen], "nothing");
    empty(&place.left);
    shown
}

#[test]
fn images_after_a_power_cut_in_a_reshard_are_whole() {
    let place = Place::new();
    let shown = fill(&place);
    let args = ["reshard", &path(&place.work, "data"), "3"];
    let shards = |data: &str| {
        let manifest = std::fs::read_to_string(Path::new(data).join("manifest")).unwrap();
        manifest.contains("shards = 3")
    };
    place.cut(&args, &mut |left, when, is_over| {
        let data = path(left, "data");
        done(&["check", &data], when);
        assert!(!is_over || shards(&data), "{when}: it is not done");
        assert_eq!(done(&["show", &data], when), shown, "{when}");
        done(&["reshard", &data, "3"], when);
        done(&["check", &data], when);
        assert_eq!(done(&["show", &data], when), shown, "{when}");
    });
}

#[test]
fn images_after_a_power_cut_in_a_restore_are_whole_or_nothing() {
    let place = Place::new();
    let shown = fill(&place);
    let [data, file, restored] = ["data", "backup", "restored"].map(|name| path(&place.work, name));
    done(&["backup", &data, &file], "nothing");
    std::fs::remove_dir_all(&data).unwrap();
    let args = ["restore", &file, &restored, "3"];
    place.cut(&args, &mut |left, when, is_over| {
        let [file, restored] = ["backup", "restored"].map(|name| path(left, name));
        if !Path::new(&restored).exists() {
            assert!(!is_over, "{when}: it is not done");
            done(&["restore", &file, &restored, "3"], when);
        }
        done(&["check", &restored], when);
        assert_eq!(done(&["show", &restored], when), shown, "{when}");
    });
}

#[test]
fn images_after_a_power_cut_in_an_import_have_the_context_or_nothing_of_it() {
    let place = Place::new();
    let [one, file, data] = ["one", "context", "data"].map(|name| path(&place.work, name));
    done(&["fill", &one, "1", "0..2"], "nothing");
    done(&["export", &one, &file], "nothing");
    std::fs::remove_dir_all(&one).unwrap();
    done(&["fill", &data, "2", "1..4"], "nothing");
    let shown_with = |import: bool| {
        let seen = path(&place.left, "seen");
        let copied = Command::new("cp").args(["-r", &data, &seen]).status();
        assert!(copied.unwrap().success());
        if import {
            done(&["import", &file, &seen], "nothing");
        }
        let shown = done(&["show", &seen], "nothing");
        empty(&place.left);
        shown
    };
    let [before, after] = [false, true].map(shown_with);
    assert_ne!(before, after);
    let args = ["import", &file, &data];
    place.cut(&args, &mut |left, when, is_over| {
        let [file, data] = ["context", "data"].map(|name| path(left, name));
        done(&["check", &data], when);
        let shown = done(&["show", &data], when);
        if shown != after {
            assert!(!is_over, "{when}: it is not done");
            assert_eq!(shown, before, "{when}");
            done(&["import", &file, &data], when);
        }
        done(&["check", &data], when);
        assert_eq!(done(&["show", &data], when), after, "{when}");
    });
}
