//! Where edits come from: a recorded trace, and random ones.

use crate::random::Random;
use crate::replica::{Edit, Insert, Kind};
use serde::Deserialize;
use std::io::Read;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Trace {
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    patches: Vec<(usize, usize, String)>,
}

/// The keystrokes of a paper in LaTeX, 259,778 edits in ASCII, as recorded by
/// Kleppmann and Beresford; it comes in the source package of loro-internal.
pub fn paper() -> Vec<Edit> {
    let file = paper_path().expect("cargo has fetched the source of loro-internal");
    let file = std::fs::File::open(file).expect("the trace can be opened");
    let mut json = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut json)
        .expect("the trace is gzip");
    let trace: Trace = serde_json::from_str(&json).expect("the trace is as described");
    trace
        .txns
        .into_iter()
        .flat_map(|t| t.patches)
        .map(|(at, delete, text)| Edit {
            at,
            delete,
            insert: Insert::Text(text),
        })
        .collect()
}

fn paper_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PAPER_TRACE") {
        return Some(path.into());
    }
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let sources = std::fs::read_dir(home.join("registry/src")).ok()?;
    sources
        .flatten()
        .map(|s| {
            s.path()
                .join("loro-internal-1.17.1/benches/automerge-paper.json.gz")
        })
        .find(|path| path.exists())
}

/// An edit that fits a sequence of `len` elements. Content is ASCII: then all
/// libraries count alike.
pub fn edit(random: &mut Random, kind: Kind, len: usize) -> Edit {
    let at = random.below(len + 1);
    let delete = if random.below(4) == 0 {
        random.below(4).min(len - at)
    } else {
        0
    };
    let count = if delete > 0 && random.below(2) == 0 {
        0
    } else {
        1 + random.below(5)
    };
    Edit {
        at,
        delete,
        insert: insert(random, kind, count),
    }
}

pub fn insert(random: &mut Random, kind: Kind, count: usize) -> Insert {
    let mut letter = || b'a' + (random.next() % 26) as u8;
    match kind {
        Kind::Text => Insert::Text((0..count).map(|_| char::from(letter())).collect()),
        Kind::List => Insert::Values(
            (0..count)
                .map(|_| (0..8).map(|_| letter()).collect())
                .collect(),
        ),
    }
}
