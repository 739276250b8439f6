//! The writer of blobs that the crash tests kill, and the reader that checks what is
//! left. Says that a blob is stored only when it is.
//!
//! `blob_torture write DIR` works through a fixed list of blobs in DIR, and then
//! `blob_torture large DIR` a single one that is flushed in the middle. Each step prints
//! `begun STEP N`, then `stored N`, `held N`, `removed N` or `refused N`; or
//! `failed STEP N`, and goes on. At the end, `left K`: how many files are unfinished.
//!
//! `blob_torture verify DIR` reads such lines from its input and checks DIR: each
//! stored blob is there, no removed, refused or failed one is, none is damaged, and
//! nothing is unfinished.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use corelet_store::{
    BLOB_GROUP_BYTES, BlobError, BlobId, BlobLimit, Blobs, Checked, Listed, Removal,
};

/// Bytes of each blob. The last one is flushed once in the middle.
const SIZES: [usize; 5] = [
    0,
    1000,
    BLOB_GROUP_BYTES,
    2 * BLOB_GROUP_BYTES + 7,
    33 << 20,
];
const LARGE: usize = 4;

const STEPS: [(&str, usize); 8] = [
    ("store", 0),
    ("store", 1),
    ("store", 3),
    ("hold", 1),
    ("refuse", 2),
    ("remove", 1),
    ("store", 1),
    ("store", 3),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", dir] => write(Path::new(dir), &STEPS),
        [_, "large", dir] => write(Path::new(dir), &[("store", LARGE)]),
        [_, "verify", dir] => verify(Path::new(dir)),
        _ => Err("usage: blob_torture write|large DIR | blob_torture verify DIR < LINES".into()),
    }
}

/// No two blobs, and no two groups of one, are alike.
fn content(n: usize) -> Vec<u8> {
    let mut content = vec![0; SIZES[n]];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&n.to_le_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}

fn write(dir: &Path, steps: &[(&str, usize)]) -> Result<ExitCode, Box<dyn Error>> {
    let blobs = Blobs::open(dir)?;
    let mut out = std::io::stdout().lock();
    for (step, n) in steps {
        writeln!(out, "begun {step} {n}")?;
        out.flush()?;
        match take(&blobs, step, &content(*n)) {
            Ok(done) => writeln!(out, "{done} {n}")?,
            Err(error) => {
                eprintln!("{step} {n}: {error:?}");
                writeln!(out, "failed {step} {n}")?;
            }
        }
        out.flush()?;
    }
    writeln!(out, "left {}", unfinished(dir)?)?;
    Ok(ExitCode::SUCCESS)
}

fn take(blobs: &Blobs, step: &str, content: &[u8]) -> Result<&'static str, BlobError> {
    let id = BlobId::of(content);
    match step {
        "store" => {
            let mut writer = blobs.writer(Some(id), BlobLimit::FORMAT)?;
            for piece in content.chunks(100_000) {
                writer.write(piece)?;
            }
            drop(writer.finish()?);
            Ok("stored")
        }
        // Another content than the one that was announced.
        "refuse" => {
            let mut writer = blobs.writer(Some(BlobId::of(b"another")), BlobLimit::FORMAT)?;
            writer.write(content)?;
            match writer.finish() {
                Err(BlobError::Mismatch { .. }) => Ok("refused"),
                Err(error) => Err(error),
                Ok(_) => Ok("taken"),
            }
        }
        "hold" => Ok(match blobs.hold(id)? {
            Some(_) => "held",
            None => "missed",
        }),
        _ => Ok(match blobs.remove(id)? {
            Removal::Removed => "removed",
            Removal::Missing => "missed",
            Removal::Held | Removal::Recent => "kept",
        }),
    }
}

fn unfinished(dir: &Path) -> Result<usize, std::io::Error> {
    Ok(std::fs::read_dir(dir.join("unfinished"))?.count())
}

/// What the lines say of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    There,
    Gone,
    /// Killed in the middle.
    Either,
}

fn verify(dir: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut expected: BTreeMap<usize, Expected> = BTreeMap::new();
    let mut before_step = Expected::Gone;
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let (what, n) = match words[..] {
            ["left", _] => continue,
            ["begun" | "failed", step, n] => (format!("{} {step}", words[0]), n),
            [what, n] => (what.to_owned(), n),
            _ => return Err(format!("what is {line:?}?").into()),
        };
        let n: usize = n.parse()?;
        let before = expected.get(&n).copied().unwrap_or(Expected::Gone);
        let after = match (what.as_str(), before) {
            ("stored" | "held", _) => Expected::There,
            ("removed" | "missed", _) => Expected::Gone,
            ("refused", Expected::Gone) => Expected::Gone,
            // A step that failed changed nothing.
            (what, _) if what.starts_with("failed ") => before_step,
            // Content that is there stays while it is written again.
            ("begun store", Expected::Gone | Expected::Either) => Expected::Either,
            ("begun remove", _) => Expected::Either,
            (what, _) if what.starts_with("begun ") => before,
            _ => return Err(format!("{line:?} should not be").into()),
        };
        if words[0] == "begun" {
            before_step = before;
        }
        expected.insert(n, after);
    }
    let blobs = Blobs::open(dir)?;
    if unfinished(dir)? > 0 {
        return Err("something is unfinished after a start".into());
    }
    let mut check = blobs.check_all();
    while let Some(step) = check.step()? {
        match step {
            Checked::Part { .. } | Checked::Whole { .. } => {}
            Checked::Unsound { error, .. } => return Err(error.into()),
            Checked::Foreign { path } => {
                return Err(format!("{} is no blob", path.display()).into());
            }
        }
    }
    let mut there = Vec::new();
    for listed in blobs.scan().step(usize::MAX)? {
        if let Listed::Blob(entry) = listed {
            there.push(entry.id);
        }
    }
    for n in 0..SIZES.len() {
        // It takes long to make, and is there only if it was asked for.
        if n == LARGE && !expected.contains_key(&n) {
            continue;
        }
        let id = BlobId::of(&content(n));
        let is_there = there.contains(&id);
        there.retain(|other| *other != id);
        match (expected.get(&n).unwrap_or(&Expected::Gone), is_there) {
            (Expected::There, false) => return Err(format!("blob {n} is lost").into()),
            (Expected::Gone, true) => return Err(format!("blob {n} is there").into()),
            _ => {}
        }
    }
    match there.first() {
        Some(id) => Err(format!("nobody has written {id}").into()),
        None => Ok(ExitCode::SUCCESS),
    }
}
