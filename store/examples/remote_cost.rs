//! What applying deltas of other nodes costs: processor time of this thread per delta, each of which
//! writes one entry, apart from what it costs to vouch for them and to check signatures.
//! `remote_cost DIR [DELTAS [KEYS [AUTHORS [BATCH]]]]`; without numbers 200,000 deltas over 10,000 keys
//! by one author, and then by two at once, in batches of 1,024.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, DataDir, DeltaId, DeltaView, Hlc,
    Ledger, LedgerConfig, NewContext, NodeId, Op, OpenOptions, RemoteDelta, Seal, SealChecker,
    Sealed, Sealer, ShardCount, VouchedDelta, make_seals, verify, vouch,
};
use ed25519_dalek::{Signer, SigningKey};

const CONTEXT: ContextId = ContextId::from_bytes([5; 32]);

/// Deltas that are vouched for at once.
const CHUNK_DELTAS: usize = 1024;

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

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let usage = "usage: remote_cost DIR [DELTAS [KEYS [AUTHORS [BATCH]]]]";
    let dir = Path::new(args.get(1).ok_or(usage)?);
    let number = |at: usize, default| {
        let given = args.get(at);
        given.map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (deltas, keys, batch) = (number(2, 200_000)?, number(3, 10_000)?, number(5, 1024)?);
    match number(4, 0)? {
        0 => {
            measure(&dir.join("one"), deltas, keys, 1, batch)?;
            measure(&dir.join("two"), deltas, keys, 2, batch)?;
        }
        authors => measure(dir, deltas, keys, authors, batch)?,
    }
    seals()
}

fn measure(
    dir: &Path,
    deltas: usize,
    keys: usize,
    authors: usize,
    batch: usize,
) -> Result<(), Box<dyn Error>> {
    let signers: Vec<Key> = (0..authors)
        .map(|author| Key(SigningKey::from_bytes(&[author as u8 + 1; 32])))
        .collect();
    let mut rows = Vec::new();
    for (at, key) in signers.iter().enumerate() {
        rows.push(made_by(
            key,
            &dir.join(format!("author-{at}")),
            deltas / authors,
            keys,
            batch,
        )?);
    }
    // What nodes wrote at once comes by turns.
    let count = rows.iter().map(Vec::len).min().unwrap_or_default();
    let mixed: Vec<Bytes> = (0..count)
        .flat_map(|n| rows.iter().map(move |row| row[n].clone()))
        .collect();
    drop(rows);

    let begin = cpu_nanos()?;
    let mut parsed = 0;
    for canonical in &mixed {
        parsed += black_box(DeltaView::parse(canonical)?).canonical().len();
    }
    let parsing = cpu_nanos()? - begin;
    let mut sealing = 0;
    let mut vouching = 0;
    let mut vouched: Vec<VouchedDelta> = Vec::with_capacity(mixed.len());
    for chunk in mixed.chunks(CHUNK_DELTAS) {
        let begin = cpu_nanos()?;
        let seals = newest_seals(&signers, chunk)?;
        sealing += cpu_nanos()? - begin;
        let begin = cpu_nanos()?;
        vouched.extend(vouch(CONTEXT, chunk.iter().cloned(), seals)?);
        vouching += cpu_nanos()? - begin;
    }

    let ledger = open(&dir.join("target"))?;
    create(&ledger, signers[0].node_id())?;
    ledger.commit(vec![Change::ShareContext(CONTEXT)])?;
    let snapshot = ledger.snapshot()?;
    let slot = snapshot.context(&CONTEXT)?.ok_or("it was made above")?.slot;
    drop(snapshot);
    let (mut cpu, mut checkpoints, began) = (0, 0, Instant::now());
    let total = vouched.len() as u64;
    let mut writer = ledger.writer();
    let mut vouched = vouched.into_iter().peekable();
    while vouched.peek().is_some() {
        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
        let changes = vouched.by_ref().take(batch).map(change).collect();
        let begin = cpu_nanos()?;
        let outcome = writer.commit(changes)?;
        cpu += cpu_nanos()? - begin;
        checkpoints += u64::from(outcome.is_shown);
        for verdict in outcome.verdicts {
            verdict?;
        }
    }
    writer.checkpoint()?;
    drop(writer);
    let wall = began.elapsed();
    verify(&ledger.snapshot()?)?;
    let root = ledger.snapshot()?.head(slot)?.root;
    println!(
        "{total} deltas of {} bytes by {authors} over {keys} keys in batches of {batch}: {} ns of processor time each, {} per second and core; {} ms by the clock, {checkpoints} checkpoints; root {root}",
        parsed as u64 / total,
        cpu / total,
        total * 1_000_000_000 / cpu.max(1),
        wall.as_millis(),
    );
    println!(
        "  beside that: hashing and vouching {} ns each, sealing and checking a chunk of {CHUNK_DELTAS} {} us; parsing alone {} ns",
        vouching / total,
        sealing / (mixed.len() as u64).div_ceil(CHUNK_DELTAS as u64) / 1000,
        parsing / total,
    );
    Ok(())
}

/// The deltas of one node that has run as many calls.
fn made_by(
    key: &Key,
    dir: &Path,
    calls: usize,
    keys: usize,
    batch: usize,
) -> Result<Vec<Bytes>, Box<dyn Error>> {
    let ledger = open(dir)?;
    create(&ledger, key.node_id())?;
    let snapshot = ledger.snapshot()?;
    let slot = snapshot.context(&CONTEXT)?.ok_or("it was made above")?.slot;
    drop(snapshot);
    let mut writer = ledger.writer();
    let numbers: Vec<usize> = (0..calls).collect();
    for numbers in numbers.chunks(batch) {
        let call = |n: &usize| {
            // Spread over all keys, each as often as any other.
            let name = n.wrapping_mul(7919) % keys;
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
fn seals() -> Result<(), Box<dyn Error>> {
    let key = Key(SigningKey::from_bytes(&[9; 32]));
    for contexts in [1, 64, 4096] {
        let newest: Vec<(ContextId, DeltaId)> = (0..contexts as u64)
            .map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
            .map(|bytes| (ContextId::from_bytes(bytes), DeltaId::from_bytes(bytes)))
            .collect();
        let rounds = (4096 / contexts as u64).max(16);
        let total = rounds * contexts as u64;
        let begin = cpu_nanos()?;
        let mut seals: Vec<Seal> = Vec::new();
        for _ in 0..rounds {
            seals = make_seals(&key, black_box(&newest));
        }
        let making = (cpu_nanos()? - begin) / total;
        let begin = cpu_nanos()?;
        for _ in 0..rounds {
            let mut checker = SealChecker::default();
            for (seal, (context, delta)) in seals.iter().zip(&newest) {
                black_box(checker.check(seal.clone(), *context, *delta)?);
            }
        }
        let checking = (cpu_nanos()? - begin) / total;
        println!(
            "seals of {contexts} contexts by one signature: {making} ns to make and {checking} ns to check each, {} bytes",
            seals.first().map_or(0, |seal| seal.to_bytes().len()),
        );
    }
    Ok(())
}

fn open(dir: &Path) -> Result<Ledger, Box<dyn Error>> {
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
    Ok(Ledger::open(
        &data.ledger_place(shard),
        &LedgerConfig::default(),
    )?)
}

fn create(ledger: &Ledger, author: NodeId) -> Result<(), Box<dyn Error>> {
    let new = NewContext {
        id: CONTEXT,
        name: None,
        application: ApplicationId::from_bytes([2; 32]),
        created: Hlc::from_bits(1 << 12),
        call: effects(author, ContextSlot::UNASSIGNED, 1, vec![]),
    };
    for verdict in ledger.commit(vec![Change::CreateContext(new)])? {
        verdict?;
    }
    Ok(())
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

/// Nanoseconds that this thread has run, as the scheduler counts them.
fn cpu_nanos() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().ok_or("schedstat is empty")?;
    Ok(nanos.parse()?)
}
