//! Applying deltas of other nodes: processor time of this thread per delta, each of which
//! writes one entry, by one author and by two who write at once. What it costs to vouch for
//! them and to check signatures is told apart.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, DeltaId, DeltaView, Hlc, Ledger,
    LedgerConfig, NewContext, NodeId, Op, RemoteDelta, Seal, SealChecker, Sealed, Sealer,
    VouchedDelta, make_seals, verify, vouch,
};
use ed25519_dalek::{Signer, SigningKey};

use crate::Plan;
use crate::ledger::{cpu_time, open};
use crate::report::{fact, median, rate_at_least};

const CONTEXT: ContextId = ContextId::from_bytes([5; 32]);

/// Keys that the deltas write to, each as often as any other.
const KEYS: usize = 10_000;

/// Deltas that are vouched for and applied at once.
const BATCH_DELTAS: usize = 1024;

/// Contexts whose newest deltas one signature covers.
const SEALED_AT_ONCE: [usize; 3] = [1, 64, 4096];

struct Key(SigningKey);

impl Sealer for Key {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [b"corelet/v1/delta\0", message].concat();
        self.0.sign(&signed).to_bytes()
    }
}

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    for authors in [1, 2] {
        applied(plan, authors)?;
    }
    SEALED_AT_ONCE.into_iter().try_for_each(seals)
}

fn applied(plan: &Plan, authors: usize) -> Result<(), Box<dyn Error>> {
    let dir = plan.dir.join(format!("remote-by-{authors}"));
    let signers: Vec<Key> = (0..authors)
        .map(|author| Key(SigningKey::from_bytes(&[author as u8 + 1; 32])))
        .collect();
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
    let (mut rates, mut vouching, mut sealing) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let (mut vouched, mut took) = (Vec::with_capacity(deltas.len()), Duration::ZERO);
        let mut checked = Duration::ZERO;
        for chunk in deltas.chunks(BATCH_DELTAS) {
            let begin = cpu_time()?;
            let seals = newest_seals(&signers, chunk)?;
            checked += cpu_time()? - begin;
            let begin = cpu_time()?;
            vouched.extend(vouch(CONTEXT, chunk.iter().cloned(), seals)?);
            took += cpu_time()? - begin;
        }
        vouching.push(nanos(took, deltas.len()));
        sealing.push(nanos(checked, deltas.len().div_ceil(BATCH_DELTAS)) / 1e3);
        let target = dir.join(format!("target-{round}"));
        let took = apply(&target, signers[0].node_id(), vouched, round == 0)?;
        rates.push(deltas.len() as f64 / took.as_secs_f64());
    }
    let what = format!("{count} single-entry deltas each of {authors} other nodes");
    rate_at_least(
        format!("{what}, applied per second and core"),
        median(rates),
        100_000.0,
    );
    fact(
        format!("{what}, beside that"),
        format!(
            "{:.0} ns to hash and vouch for each, {:.0} us to make and check the signatures of {BATCH_DELTAS}",
            median(vouching),
            median(sealing),
        ),
    );
    Ok(())
}

/// The processor time that it takes to bring them into a new ledger, in batches.
fn apply(
    dir: &Path,
    creator: NodeId,
    vouched: Vec<VouchedDelta>,
    is_checked: bool,
) -> Result<Duration, Box<dyn Error>> {
    let ledger = open(dir, &LedgerConfig::default())?;
    let slot = create(&ledger, creator)?;
    ledger.commit(vec![Change::ShareContext(CONTEXT)])?;
    let mut writer = ledger.writer();
    let mut vouched = vouched.into_iter().peekable();
    let mut cpu = Duration::ZERO;
    while vouched.peek().is_some() {
        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
        let changes = vouched.by_ref().take(BATCH_DELTAS).map(change).collect();
        let begin = cpu_time()?;
        let outcome = writer.commit(changes)?;
        cpu += cpu_time()? - begin;
        for verdict in outcome.verdicts {
            verdict?;
        }
    }
    let begin = cpu_time()?;
    writer.checkpoint()?;
    cpu += cpu_time()? - begin;
    drop(writer);
    if is_checked {
        verify(&ledger.snapshot()?)?;
    }
    Ok(cpu)
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
            Change::Call(effects(key.node_id(), slot, *n as u64 + 2, vec![op]))
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
    let key = Key(SigningKey::from_bytes(&[9; 32]));
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

fn create(ledger: &Ledger, author: NodeId) -> Result<ContextSlot, Box<dyn Error>> {
    let new = NewContext {
        id: CONTEXT,
        name: None,
        application: ApplicationId::from_bytes([2; 32]),
        created: Hlc::from_bits(1 << 12),
        call: effects(author, ContextSlot::UNASSIGNED, 1, vec![]),
    };
    let mut verdicts = ledger.commit(vec![Change::CreateContext(new)])?;
    Ok(verdicts.remove(0)?.slot())
}

fn effects(author: NodeId, slot: ContextSlot, micros: u64, ops: Vec<Op>) -> CallEffects {
    CallEffects {
        context: CONTEXT,
        slot,
        author,
        hlc: Hlc::from_bits(micros << 12),
        read: None,
        ops,
        events: vec![],
        answer: None,
    }
}
