//! What a batch of one-write calls costs: CPU time of this thread per call, and
//! the wall time of a batch. `commit_cost DIR [CONTEXTS [CALLS [BATCHES]]]`;
//! under `strace -c` it also tells the system calls.

use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, DataDir, Hlc, HlcClock, Ledger,
    LedgerConfig, NewContext, NodeId, Op, OpenOptions, ShardCount, verify,
};

/// Keys that each context's calls go round.
const KEYS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let dir = args
        .get(1)
        .ok_or("usage: commit_cost DIR [CONTEXTS [CALLS [BATCHES]]]")?;
    let number = |at: usize, default| {
        args.get(at)
            .map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (contexts, calls, batches) = (number(2, 64)?, number(3, 64)?, number(4, 500)?);
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
    let ledger = Ledger::open(&data.ledger_place(shard), &LedgerConfig::default())?;
    let mut clock = HlcClock::default();
    let call = |context, slot, hlc: Hlc, ops| CallEffects {
        slot,
        ops,
        ..CallEffects::new(context, NodeId::from_bytes([1; 32]), hlc)
    };
    let mut create = Vec::new();
    for _ in 0..contexts {
        let id = ContextId::random();
        let hlc = clock.tick(1);
        let call = call(id, ContextSlot::UNASSIGNED, hlc, vec![]);
        let application = ApplicationId::from_bytes([2; 32]);
        create.push(Change::CreateContext(NewContext {
            id,
            name: None,
            application,
            created: hlc,
            call,
        }));
    }
    ledger.commit(create)?;
    let places: Vec<(ContextId, ContextSlot)> = ledger
        .snapshot()?
        .contexts(None, contexts)?
        .into_iter()
        .map(|record| (record.id, record.slot))
        .collect();
    let (mut cpu, mut wall) = (0, std::time::Duration::ZERO);
    for n in 0..batches {
        let mut batch = Vec::with_capacity(calls);
        for i in 0..calls {
            let (id, slot) = places[(n * calls + i) % places.len()];
            let key = Bytes::from(format!("key{:06}", n % KEYS));
            let op = Op::set(key, Bytes::from(vec![n as u8; 32]));
            batch.push(Change::Call(call(id, slot, clock.tick(2), vec![op])));
        }
        let (begin, began) = (cpu_nanos()?, Instant::now());
        let verdicts = ledger.commit(batch)?;
        wall += began.elapsed();
        cpu += cpu_nanos()? - begin;
        assert!(verdicts.iter().all(Result::is_ok));
    }
    verify(&ledger.snapshot()?)?;
    let total = (batches * calls) as f64;
    println!(
        "{contexts} contexts, {calls} calls a batch, {batches} batches: {:.2} us CPU per call, {:.0} us wall per batch",
        cpu as f64 / 1e3 / total,
        wall.as_secs_f64() * 1e6 / batches as f64
    );
    Ok(())
}

/// Nanoseconds that this thread has run, as the scheduler counts them.
fn cpu_nanos() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text
        .split(' ')
        .next()
        .ok_or("schedstat is empty")?
        .parse()?)
}
