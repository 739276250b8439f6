//! The writer that the crash tests kill, and the reader that checks what is
//! left. Says what it was told to say only after a durable commit.
//!
//! `torture write DIR BATCHES ROUTE` goes on behind the last batch in DIR and
//! prints `acked N` after each commit, `failed N` after one that failed without
//! harm, and `fatal N` before it stops with status 3. ROUTE is `journal`, or
//! `checkpoint` for batches that go straight into LMDB.
//!
//! `torture verify DIR` reads such lines from its input and checks DIR: every
//! acknowledged batch is there, no failed one is, no half of any is, and the
//! ledger agrees with itself.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, DataDir, Event, Hlc, Ledger,
    LedgerConfig, NewContext, NodeId, Op, OpenOptions, ShardCount, Snapshot, verify,
};

/// Contexts that each batch calls. One more comes and goes.
const CONTEXTS: u8 = 4;
const PASSING: u8 = 99;

/// Keys in a context that remember older batches.
const HISTORY: u64 = 50;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", dir, batches, route @ ("journal" | "checkpoint")] => {
            write(&open(dir)?, batches.parse()?, route == "journal")
        }
        [_, "verify", dir] => check(&open(dir)?),
        _ => Err(
            "usage: torture write DIR BATCHES journal|checkpoint | torture verify DIR < LINES"
                .into(),
        ),
    }
}

fn open(dir: &str) -> Result<Ledger, Box<dyn Error>> {
    let config = LedgerConfig {
        map_bytes_max: 256 << 20,
        readers_max: 16,
        // Three batches with small values fit, and few with large ones.
        journal_bytes_max: 48 << 10,
        ..LedgerConfig::default()
    };
    let shards_if_new = ShardCount::new(1).ok_or("a directory has shards")?;
    let options = OpenOptions {
        shards_if_new,
        node_id_if_new: NodeId::from_bytes([7; 32]),
    };
    let data = DataDir::open(dir, &options)?;
    let shard = shards_if_new
        .shards()
        .next()
        .ok_or("a directory has shards")?;
    Ok(Ledger::open(&data.ledger_place(shard), &config)?)
}

fn write(ledger: &Ledger, batches: u64, journal: bool) -> Result<ExitCode, Box<dyn Error>> {
    if ledger.snapshot()?.context_count()? == 0 {
        let verdicts = ledger.commit((0..CONTEXTS).map(|n| create(n, 0)).collect())?;
        verdicts.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    let first = batches_in(&ledger.snapshot()?, 0)?
        .last()
        .copied()
        .unwrap_or(0)
        + 1;
    let mut out = std::io::stdout().lock();
    let mut writer = ledger.writer();
    for n in first..first + batches {
        let committed = match journal {
            true => writer.commit(batch(n, 10)),
            false => writer.commit_shown(batch(n, 5)),
        };
        match committed {
            Ok(outcome) => {
                outcome
                    .verdicts
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()?;
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
            match writer.sweep(8) {
                Err(error) if error.is_fatal() => return Ok(ExitCode::from(3)),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// In every so many batches a context comes and goes.
fn batch(n: u64, passing_every: u64) -> Vec<Change> {
    let mut batch: Vec<Change> = (0..CONTEXTS)
        .map(|context| Change::Call(call(context, n)))
        .collect();
    if n.is_multiple_of(passing_every) {
        batch.push(create(PASSING, n));
        batch.push(Change::Call(call(PASSING, n)));
        batch.push(Change::DeleteContext(id(PASSING)));
    }
    batch
}

fn id(context: u8) -> ContextId {
    ContextId::from_bytes([context; 32])
}

fn create(context: u8, n: u64) -> Change {
    let call = CallEffects {
        ops: vec![],
        events: vec![],
        ..call(context, n)
    };
    let application = ApplicationId::from_bytes([1; 32]);
    Change::CreateContext(NewContext {
        id: id(context),
        name: None,
        application,
        created: call.hlc,
        call,
    })
}

/// Several keys that must agree, one that tells the history, and sometimes one
/// that is large, growing and shrinking.
fn call(context: u8, n: u64) -> CallEffects {
    let mut ops: Vec<Op> = (0..4)
        .map(|copy| set(format!("copy{copy}"), n.to_be_bytes().to_vec()))
        .collect();
    ops.push(set(
        format!("history{}", n % HISTORY),
        n.to_be_bytes().to_vec(),
    ));
    ops.push(match n % 4 {
        0 => set("large".to_owned(), large(n)),
        1 => Op::remove(Bytes::from_static(b"large")),
        _ => set("small".to_owned(), vec![n as u8]),
    });
    CallEffects {
        context: id(context),
        slot: ContextSlot::UNASSIGNED,
        author: NodeId::from_bytes([7; 32]),
        hlc: Hlc::from_bits(n << 12),
        ops,
        events: vec![Event {
            kind: "batch".to_owned(),
            payload: Bytes::copy_from_slice(&n.to_be_bytes()),
        }],
        logs: vec![],
    }
}

fn large(n: u64) -> Vec<u8> {
    vec![n as u8; 5000 + (n as usize * 997) % 20_000]
}

fn set(key: String, value: Vec<u8>) -> Op {
    Op::set(key.into(), value.into())
}

/// The batches that a context has seen, by its events.
fn batches_in(snapshot: &Snapshot, context: u8) -> Result<Vec<u64>, Box<dyn Error>> {
    let slot = snapshot
        .context(&id(context))?
        .ok_or("a context is missing")?
        .slot;
    let mut seen = Vec::new();
    let mut malformed = false;
    snapshot.events(slot, 1, usize::MAX, &mut |event| {
        match event.payload.try_into() {
            Ok(n) => seen.push(u64::from_be_bytes(n)),
            Err(_) => malformed = true,
        }
        ControlFlow::Continue(())
    })?;
    if malformed || !seen.is_sorted_by(|a, b| a < b) {
        return Err("events are malformed or out of order".into());
    }
    Ok(seen)
}

fn check(ledger: &Ledger) -> Result<ExitCode, Box<dyn Error>> {
    let snapshot = ledger.snapshot()?;
    let verified = verify(&snapshot)?;
    let (mut acked, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for line in std::io::stdin().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("acked", n)) => drop(acked.insert(n.parse::<u64>()?)),
            Some(("failed", n)) => drop(failed.insert(n.parse::<u64>()?)),
            Some(("fatal", _)) => {} // in doubt: it may be there or not
            _ => return Err(format!("what is {line:?}?").into()),
        }
    }
    if verified.contexts == 0 && acked.is_empty() {
        println!("verified: killed before it began");
        return Ok(ExitCode::SUCCESS);
    }
    let all = batches_in(&snapshot, 0)?;
    let there: BTreeSet<u64> = all.iter().copied().collect();
    if let Some(lost) = acked.difference(&there).next() {
        return Err(format!("acknowledged batch {lost} is lost").into());
    }
    // A number that failed may be used again by the next run.
    if let Some(back) = failed.difference(&acked).find(|n| there.contains(n)) {
        return Err(format!("failed batch {back} is there").into());
    }
    for context in 0..CONTEXTS {
        if batches_in(&snapshot, context)? != all {
            return Err(format!(
                "half of a batch: context {context} has seen others than context 0"
            )
            .into());
        }
        check_state(&snapshot, context, &all)?;
    }
    println!("verified: {} batches, {verified:?}", all.len());
    Ok(ExitCode::SUCCESS)
}

fn check_state(snapshot: &Snapshot, context: u8, all: &[u64]) -> Result<(), Box<dyn Error>> {
    let slot = snapshot
        .context(&id(context))?
        .ok_or("a context is missing")?
        .slot;
    let expect = |key: String, expected: Option<Vec<u8>>| -> Result<(), Box<dyn Error>> {
        let found = snapshot.register(slot, key.as_bytes())?;
        if found != expected.as_deref() {
            return Err(format!("half of a call: context {context} has a wrong {key:?}").into());
        }
        Ok(())
    };
    let last = all.last().map(|n| n.to_be_bytes().to_vec());
    for copy in 0..4 {
        expect(format!("copy{copy}"), last.clone())?;
    }
    for place in 0..HISTORY {
        let newest = all.iter().rev().find(|n| *n % HISTORY == place);
        expect(
            format!("history{place}"),
            newest.map(|n| n.to_be_bytes().to_vec()),
        )?;
    }
    let large_last = all.iter().rev().find(|n| *n % 4 <= 1);
    expect(
        "large".to_owned(),
        large_last.filter(|n| *n % 4 == 0).map(|n| large(*n)),
    )?;
    let small_last = all.iter().rev().find(|n| *n % 4 > 1);
    expect("small".to_owned(), small_last.map(|n| vec![*n as u8]))
}
