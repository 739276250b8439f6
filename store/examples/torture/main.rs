//! The writer that the crash tests kill, and the reader that checks what is
//! left. Says what it was told to say only after a durable commit. What it writes
//! is in `batch.rs` and `shared.rs`, what it compares in `check.rs`.
//!
//! `torture write DIR BATCHES ROUTE` goes on behind the last batch in DIR and
//! prints `acked N` after each commit, `failed N` after one that failed without
//! harm, and `fatal N` before it stops with status 3. ROUTE is `journal`, or
//! `checkpoint` for batches that go straight into LMDB.
//!
//! `torture verify DIR` reads such lines from its input and checks DIR: every
//! acknowledged batch is there, no failed one is, no half of any is, and the
//! ledger agrees with itself; and a check of the directory as it was left, before it is
//! opened, finds nothing wrong.
//!
//! `torture serve` does that for many: it reads `check DIR` or, to write some
//! batches and check once more, `go-on DIR`, then such lines, then `.`, and
//! answers with one line: `right`, or `reported` where an error tells of damage,
//! or `wrong` where none does. Each is followed by a colon and details; behind a
//! report comes `; but wrong` if reads alone have not met that error. Asked to
//! `inspect DIR`, it checks the data directory without opening it and answers `right`,
//! `reported`, or `wrong` where it cannot tell whether the newest batch was torn; asked to `inspect-struck DIR`, which
//! holds what a fault has left, it takes any report for `wrong`. Asked to
//! `trust DIR`, it goes on without looking the ledger over when it is opened.

mod batch;
mod check;
mod shared;
#[path = "../../tests/ledger/signed.rs"]
#[allow(dead_code, reason = "the tests of ledgers use more of it")]
mod signed;

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use corelet_store::{
    DataDir, Ledger, LedgerConfig, NodeId, OpenOptions, ShardCount, StoreError, verify,
};

use self::batch::{batch, create_all};
use self::check::{Finding, Said, batches_in, compare};
use self::shared::{Shared, Upkeep, upkeep};

/// Calls of each batch that get their roots together, at least: without them nothing that
/// strikes here would strike how these are committed. Some of a batch go alone, as they remove or
/// split a node.
const ROOTS_TOGETHER_MIN: usize = 10;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", dir, batches, route @ ("journal" | "checkpoint")] => {
            let ledger = open(dir, Look::Over)?;
            let out = &mut std::io::stdout().lock();
            write(&ledger, batches.parse()?, route == "journal", out)
        }
        [_, "verify", dir] => {
            let mut said = Said::default();
            for line in std::io::stdin().lines() {
                said.hear(&line?)?;
            }
            inspect_struck(dir, &said)?;
            let ledger = open(dir, Look::Over)?;
            let snapshot = ledger.snapshot()?;
            let verified = verify(&snapshot)?;
            let batches = compare(&snapshot, &said)?;
            println!("verified: {batches} batches, {verified:?}");
            Ok(ExitCode::SUCCESS)
        }
        [_, "serve"] => serve(),
        _ => Err("usage: torture write DIR BATCHES journal|checkpoint | torture verify DIR < LINES | torture serve".into()),
    }
}

/// Whether a ledger is looked over when it is opened.
#[derive(Clone, Copy)]
enum Look {
    Over,
    Away,
}

fn open(dir: &str, look: Look) -> Result<Ledger, StoreError> {
    let config = LedgerConfig {
        start_check_bytes_max: match look {
            Look::Over => u64::MAX,
            Look::Away => 0,
        },
        map_bytes_max: 256 << 20,
        readers_max: 16,
        // Three batches with small values fit, and few with large ones.
        journal_bytes_max: 64 << 10,
        ..LedgerConfig::default()
    };
    let shards_if_new = ShardCount::new(1).expect("a directory has shards");
    let options = OpenOptions {
        shards_if_new,
        node_id_if_new: NodeId::from_bytes([7; 32]),
    };
    let data = DataDir::open(dir, &options)?;
    let mut shards = shards_if_new.shards();
    let shard = shards.next().expect("a directory has shards");
    Ledger::open(&data.ledger_place(shard), &config)
}

fn write(
    ledger: &Ledger,
    batches: u64,
    journal: bool,
    out: &mut dyn Write,
) -> Result<ExitCode, Box<dyn Error>> {
    if ledger.snapshot()?.context_count()? == 0 {
        let verdicts = ledger.commit(create_all())?;
        verdicts.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    let first = batches_in(&ledger.snapshot()?, 0)?
        .last()
        .copied()
        .unwrap_or(0)
        + 1;
    let mut shared = Shared::read(&ledger.snapshot()?)?;
    let mut writer = ledger.writer();
    for n in first..first + batches {
        let mut next = shared.clone();
        let committed = match journal {
            true => writer.commit(batch(n, 10, &mut next)?),
            false => writer.commit_shown(batch(n, 5, &mut next)?),
        };
        match committed {
            Ok(outcome) => {
                outcome
                    .verdicts
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()?;
                let together = outcome.roots_together;
                if together < ROOTS_TOGETHER_MIN {
                    return Err(format!("only {together} calls got their roots together").into());
                }
                shared = next;
                writeln!(out, "acked {n}")?;
            }
            Err(error) if error.is_fatal() => {
                writeln!(out, "fatal {n}")?;
                eprintln!("{error}");
                return Ok(ExitCode::from(3));
            }
            Err(error) => {
                writeln!(out, "failed {n}")?;
                eprintln!("{error}");
            }
        }
        out.flush()?;
        if n % if journal { 7 } else { 3 } == 0 {
            match upkeep(ledger, &mut writer, n, &shared) {
                Err(Upkeep::Failed(error)) if error.is_fatal() => return Ok(ExitCode::from(3)),
                // It is done again later.
                Ok(()) | Err(Upkeep::Failed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn serve() -> Result<ExitCode, Box<dyn Error>> {
    let mut lines = std::io::stdin().lock().lines();
    while let Some(request) = lines.next() {
        let request = request?;
        let mut said = Said::default();
        for line in lines.by_ref() {
            match line?.as_str() {
                "." => break,
                line => said.hear(line)?,
            }
        }
        let answer = match request.split_once(' ') {
            Some(("inspect", dir)) => inspect(dir),
            Some(("inspect-struck", dir)) => match inspect_struck(dir, &said) {
                Ok(()) => "right: nothing is damaged".to_owned(),
                Err(what) => format!("wrong: {what}"),
            },
            Some(("check", dir)) => answer(dir, &said, Look::Over),
            Some(("go-on", dir)) => go_on(dir, &mut said, Look::Over),
            Some(("trust", dir)) => go_on(dir, &mut said, Look::Away),
            _ => return Err(format!("what is {request:?}?").into()),
        };
        println!("{}", answer.replace('\n', " "));
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect(dir: &str) -> String {
    match corelet_store::check(dir.as_ref(), &mut |_| {}) {
        Err(error) => format!("reported: {error}"),
        Ok(report) => {
            // There never were blobs here, of which it has to tell.
            let is_of_blob = |note: &&String| note.contains("is attached and not here");
            let told = report.notes.iter().filter(is_of_blob).count() as u64;
            let mut others = report.notes.iter().filter(|note| !is_of_blob(note));
            match (report.findings.first(), others.next()) {
                (Some(finding), _) => format!("reported: {finding}"),
                (None, Some(note)) => format!("wrong: {note}"),
                (None, None) if told != report.blobs_missing => {
                    format!(
                        "wrong: {told} of {} blobs are told of",
                        report.blobs_missing
                    )
                }
                (None, None) => format!("right: {:?}", report.held),
            }
        }
    }
}

/// Checks a data directory that a kill, a fault or a cut of the power has left: nothing of it is
/// damaged, whatever is still to be mended, and it is there if anybody was told anything of it.
fn inspect_struck(dir: &str, said: &Said) -> Result<(), String> {
    match corelet_store::check(dir.as_ref(), &mut |_| {}) {
        Err(StoreError::NoData { .. }) if said.is_nothing() => Ok(()),
        Err(error) => Err(format!("a check of what was left fails: {error}")),
        Ok(report) => match report.findings.first() {
            None => Ok(()),
            Some(finding) => Err(format!("a check of what was left says: {finding}")),
        },
    }
}

fn answer(dir: &str, said: &Said, look: Look) -> String {
    let snapshot = match open(dir, look).and_then(|ledger| ledger.snapshot()) {
        Ok(snapshot) => snapshot,
        Err(error) => return format!("reported: when opened: {error}"),
    };
    match (verify(&snapshot), compare(&snapshot, said)) {
        (Ok(verified), Ok(batches)) => format!("right: {batches} batches, {verified:?}"),
        (Ok(_), Err(Finding::Wrong(what))) => format!("wrong: {what}"),
        (Ok(_), Err(told)) => format!("reported: by a read alone: {told}"),
        (Err(error), Err(Finding::Wrong(what))) => {
            format!("reported: when verified: {error}; but wrong: {what}")
        }
        (Err(error), _) => format!("reported: when verified: {error}"),
    }
}

/// If all is right, some batches by each route, in two more lives.
fn go_on(dir: &str, said: &mut Said, look: Look) -> String {
    let before = answer(dir, said, look);
    if !before.starts_with("right") {
        return before;
    }
    for (batches, journal) in [(3, true), (1, false)] {
        if let Err(error) = write_more(dir, said, look, batches, journal) {
            return format!("reported: does not go on: {error}");
        }
    }
    answer(dir, said, look).replacen(": ", ": after going on: ", 1)
}

fn write_more(
    dir: &str,
    said: &mut Said,
    look: Look,
    batches: u64,
    journal: bool,
) -> Result<(), Box<dyn Error>> {
    let mut out = Vec::new();
    write(&open(dir, look)?, batches, journal, &mut out)?;
    for line in String::from_utf8(out)?.lines() {
        said.hear(line)?;
        // A ledger to which nothing can be written loses nothing, and is of no use.
        if !line.starts_with("acked") {
            return Err(format!("a batch is not taken: {line}").into());
        }
    }
    Ok(())
}
