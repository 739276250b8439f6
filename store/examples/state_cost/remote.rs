//! Applying deltas of other nodes: processor time of this thread per delta, each of which
//! writes one entry, by one author and by two who write at once. Everything that it takes to get
//! from the bytes as they came to the entries is in it: to parse and hash them, to find that
//! they are vouched for, to merge and commit them. Only signatures are told apart.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{
    Change, ContextId, DeltaId, DeltaView, LedgerConfig, NodeId, Op, RemoteDelta, Seal,
    SealChecker, Sealed, Sealer, make_seals, verify, vouch,
};

use crate::Plan;
use crate::ledger::{cpu_time, open};
use crate::nodes::{CONTEXT, Key, create, effects, stamp};
use crate::report::{fact, median, rate_at_least};

/// Keys that the deltas write to, each as often as any other.
const KEYS: usize = 10_000;

/// Deltas that are vouched for and applied at once.
const BATCH_DELTAS: usize = 1024;

/// Contexts whose newest deltas one signature covers.
const SEALED_AT_ONCE: [usize; 3] = [1, 64, 4096];

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    for authors in [1, 2] {
        applied(plan, authors)?;
    }
    SEALED_AT_ONCE.into_iter().try_for_each(seals)
}

fn applied(plan: &Plan, authors: usize) -> Result<(), Box<dyn Error>> {
    let dir = plan.dir.join(format!("by-{authors}"));
    let signers: Vec<Key> = (1..).take(authors).map(Key::new).collect();
    let mut rows = Vec::new();
    for (at, key) in signers.iter().enumerate() {
        let dir = dir.join(format!("author-{at}"));
        rows.push(made_by(key, &dir, plan.deltas / authors)?);
    }
    // What nodes wrote at once comes by turns.
    let count = rows.iter().map(Vec::len).min().unwrap_or_default();
    let deltas: Vec<Bytes> = (0..count)
        .flat_map(|n| rows.iter().map(move |row| row[n].clone()))
        .collect();
    drop(rows);
    let what = format!("{count} single-entry deltas each of {authors} other nodes");
    let mut spent: Vec<Spent> = Vec::new();
    for round in 0..plan.rounds {
        eprintln!(
            "state_cost: remote: {what}, round {} of {}",
            round + 1,
            plan.rounds
        );
        let target = dir.join(format!("target-{round}"));
        spent.push(take_in(&target, &signers, &deltas, round == 0)?);
        std::fs::remove_dir_all(target)?;
    }
    let each = |of: fn(&Spent) -> Duration| {
        median(
            spent
                .iter()
                .map(|spent| nanos(of(spent), deltas.len()))
                .collect(),
        )
    };
    rate_at_least(
        format!("{what}, parsed, hashed, vouched for and applied per second and core"),
        1e9 / each(|spent| spent.vouching + spent.applying),
        100_000.0,
    );
    fact(
        format!("{what}, each"),
        format!(
            "{:.0} ns to parse, hash and vouch for, {:.0} ns to apply; beside that {:.0} us to make and check the signatures of {BATCH_DELTAS}",
            each(|spent| spent.vouching),
            each(|spent| spent.applying),
            each(|spent| spent.signatures) * BATCH_DELTAS as f64 / 1e3,
        ),
    );
    Ok(())
}

/// Processor time.
#[derive(Default)]
struct Spent {
    /// To parse and hash deltas, and to find that seals vouch for them.
    vouching: Duration,
    /// To bring them into the ledger, with checkpoints.
    applying: Duration,
    /// To make the seals and to check them.
    signatures: Duration,
}

/// Brings deltas into a new ledger as they come from other nodes, in batches.
fn take_in(
    dir: &Path,
    signers: &[Key],
    deltas: &[Bytes],
    is_checked: bool,
) -> Result<Spent, Box<dyn Error>> {
    let ledger = open(dir, &LedgerConfig::default())?;
    let slot = create(&ledger, signers[0].node_id())?;
    ledger.commit(vec![Change::ShareContext(CONTEXT)])?;
    let mut writer = ledger.writer();
    let mut spent = Spent::default();
    for chunk in deltas.chunks(BATCH_DELTAS) {
        let begin = cpu_time()?;
        let seals = newest_seals(signers, chunk)?;
        let sealed = cpu_time()?;
        let vouched = vouch(CONTEXT, chunk.iter().cloned(), seals)?;
        let known = cpu_time()?;
        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
        let outcome = writer.commit(vouched.into_iter().map(change).collect())?;
        spent.signatures += sealed - begin;
        spent.vouching += known - sealed;
        spent.applying += cpu_time()? - known;
        if outcome.verdicts.len() != chunk.len() {
            return Err("a delta was not vouched for".into());
        }
        for verdict in outcome.verdicts {
            verdict?;
        }
    }
    let begin = cpu_time()?;
    writer.checkpoint()?;
    spent.applying += cpu_time()? - begin;
    drop(writer);
    if is_checked {
        verify(&ledger.snapshot()?)?;
    }
    Ok(spent)
}

/// The deltas of one node that has run as many calls.
fn made_by(key: &Key, dir: &Path, calls: usize) -> Result<Vec<Bytes>, Box<dyn Error>> {
    let ledger = open(dir, &LedgerConfig::default())?;
    let slot = create(&ledger, key.node_id())?;
    let mut writer = ledger.writer();
    let numbers: Vec<usize> = (0..calls).collect();
    for numbers in numbers.chunks(BATCH_DELTAS) {
        let call = |n: &usize| {
            let name = n.wrapping_mul(7919) % KEYS;
            let op = Op::set(
                Bytes::from(format!("key{name:08}")),
                Bytes::from(vec![*n as u8; 32]),
            );
            Change::Call(effects(key.node_id(), slot, stamp(*n as u64 + 2), vec![op]))
        };
        for verdict in writer.commit(numbers.iter().map(call).collect())?.verdicts {
            verdict?;
        }
    }
    writer.checkpoint()?;
    drop(writer);
    let mut deltas = Vec::with_capacity(calls);
    let snapshot = ledger.snapshot()?;
    snapshot.deltas(slot, usize::MAX, &mut |_, delta| {
        deltas.push(Bytes::copy_from_slice(delta.canonical()));
        ControlFlow::Continue(())
    })?;
    deltas.reverse();
    Ok(deltas)
}

/// A checked seal on the newest delta of each author.
fn newest_seals(signers: &[Key], chunk: &[Bytes]) -> Result<Vec<Sealed>, Box<dyn Error>> {
    let mut newest: BTreeMap<NodeId, DeltaId> = BTreeMap::new();
    for canonical in chunk.iter().rev() {
        let delta = DeltaView::parse(canonical)?;
        newest.entry(delta.author()).or_insert_with(|| delta.id());
        if newest.len() == signers.len() {
            break;
        }
    }
    let mut seals = Vec::new();
    for key in signers {
        if let Some(&delta) = newest.get(&key.node_id()) {
            let seal = make_seals(key, &[(CONTEXT, delta)]).remove(0);
            seals.push(seal.check(CONTEXT, delta)?);
        }
    }
    Ok(seals)
}

/// What seals cost by themselves.
fn seals(contexts: usize) -> Result<(), Box<dyn Error>> {
    let key = Key::new(9);
    let newest: Vec<(ContextId, DeltaId)> = (0..contexts as u64)
        .map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
        .map(|bytes| (ContextId::from_bytes(bytes), DeltaId::from_bytes(bytes)))
        .collect();
    let rounds = (4096 / contexts).max(16);
    let begin = cpu_time()?;
    let mut seals: Vec<Seal> = Vec::new();
    for _ in 0..rounds {
        seals = make_seals(&key, black_box(&newest));
    }
    let making = nanos(cpu_time()? - begin, rounds * contexts);
    let begin = cpu_time()?;
    for _ in 0..rounds {
        let mut checker = SealChecker::default();
        for (seal, (context, delta)) in seals.iter().zip(&newest) {
            black_box(checker.check(seal.clone(), *context, *delta)?);
        }
    }
    let checking = nanos(cpu_time()? - begin, rounds * contexts);
    fact(
        format!("seals of {contexts} contexts by one signature"),
        format!(
            "{making:.0} ns to make and {checking:.0} ns to check each, {} bytes",
            seals.first().map_or(0, |seal| seal.to_bytes().len()),
        ),
    );
    Ok(())
}

fn nanos(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}
