//! The trie's part of a write batch: loading, setting and hashing one entry for each call, and
//! writing at a checkpoint what has changed, against the whole of the same calls in a ledger.
//! What a trie costs is what it adds to a model of a ledger, which has entries and a log in
//! LMDB and nothing else: so what it does to caches and to the checkpoint is in it. The digest of
//! the entry itself is not. Both are measured with tries that stay in memory from one checkpoint
//! to the next, as ledgers do it, and without.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{LedgerConfig, Op};
use heed::{Env, RoTxn};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::Plan;
use crate::ledger::{self, Bench, Place, PlainTable, cpu_time, micros, plain_table};
use crate::report::{at_most, fact, median};
use crate::trie::{Digest, Intent, NOTHING, NodePath, NodeSource, Trie, TrieError};

/// Calls between two checkpoints, each with one write: about as many as a ledger has there,
/// if they lie evenly among a hundred thousand keys.
const CALLS: usize = 6_144;

/// Keys of the contexts, at most: calls that meet most entries between two checkpoints, and
/// calls that meet few twice.
const KEYS: [usize; 2] = [10_000, 100_000];

/// The first byte of a key says what it is the key of.
const ENTRIES: u8 = 0;
const LOG: u8 = 1;
const NODES: u8 = 2;

/// Bytes before a record's content: version, kind and checksum.
const ENVELOPE_BYTES: usize = 10;

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    KEYS.into_iter()
        .try_for_each(|keys| measure_among(plan, keys.min(plan.keys as usize)))
}

fn measure_among(plan: &Plan, keys: usize) -> Result<(), Box<dyn Error>> {
    let bytes_max = LedgerConfig::default().trie_bytes_max;
    let mut kept = Side::new(plan, keys, &format!("merkle-kept-{keys}"), bytes_max)?;
    let mut anew = Side::new(plan, keys, &format!("merkle-anew-{keys}"), 0)?;
    for round in 0..=plan.rounds {
        for side in [&mut kept, &mut anew] {
            side.round(keys, round)?;
        }
    }
    let what = format!("{CALLS} single writes among {keys} keys");
    at_most(
        format!("the trie's part of {what}"),
        median(kept.shares.clone()),
        0.3,
    );
    fact(
        format!("the trie's part of {what}, if each checkpoint began without it in memory"),
        format!("{:.2}", median(anew.shares.clone())),
    );
    for (side, how) in [(kept, "kept in memory"), (anew, "read anew")] {
        fact(
            format!("{what}, processor time of each, tries {how}"),
            format!(
                "{:.2} us, of these {:.2} us in the trie",
                median(side.whole),
                median(side.trie)
            ),
        );
    }
    Ok(())
}

/// A ledger, and its model with and without a trie, of which as much stays in memory.
struct Side {
    bench: Bench,
    place: Place,
    with: Model,
    without: Model,
    shares: Vec<f64>,
    trie: Vec<f64>,
    whole: Vec<f64>,
}

impl Side {
    fn new(plan: &Plan, keys: usize, name: &str, bytes_max: usize) -> Result<Side, Box<dyn Error>> {
        let config = LedgerConfig {
            trie_bytes_max: bytes_max,
            ..LedgerConfig::default()
        };
        let mut bench = Bench::with(&plan.dir, name, config)?;
        let place = bench.create()?;
        // A ledger gives half of the room to one context.
        let mut with = Model::new(&plan.dir.join(format!("{name}-with")), Some(bytes_max / 2))?;
        let mut without = Model::new(&plan.dir.join(format!("{name}-without")), None)?;
        for keys in (0..keys).collect::<Vec<_>>().chunks(CALLS) {
            let ops = keys.iter().map(|key| set(*key, 0)).collect();
            let call = bench.call(place, ops);
            bench.commit(vec![call])?;
            with.write(keys, 0)?;
            without.write(keys, 0)?;
        }
        Ok(Side {
            bench,
            place,
            with,
            without,
            shares: Vec::new(),
            trie: Vec::new(),
            whole: Vec::new(),
        })
    }

    fn round(&mut self, keys: usize, round: usize) -> Result<(), Box<dyn Error>> {
        let keys: Vec<usize> = (0..CALLS).map(|n| n * 7_919 % keys).collect();
        let (place, bench) = (self.place, &mut self.bench);
        let calls = keys.iter().map(|key| set(*key, round + 1));
        let calls = calls.map(|op| bench.call(place, vec![op])).collect();
        let cpu = bench.commit(calls)?.cpu;
        let with = self.with.write(&keys, round + 1)?;
        let without = self.without.write(&keys, round + 1)?;
        // The first round brings everything into memory that stays there.
        if round > 0 {
            let in_trie = with.saturating_sub(without);
            self.shares.push(in_trie.as_secs_f64() / cpu.as_secs_f64());
            self.trie.push(micros(in_trie, CALLS));
            self.whole.push(micros(cpu, CALLS));
        }
        Ok(())
    }
}

fn set(key: usize, round: usize) -> Op {
    Op::set(name(key), Bytes::from(format!("{round:064}")))
}

fn name(key: usize) -> Bytes {
    Bytes::from(format!("key-{key:08}"))
}

/// What a ledger has beside the trie, in one table: entries and a log.
struct Model {
    env: Env,
    table: PlainTable,
    position: u64,
    trie: Option<(Trie, usize)>,
}

struct Nodes<'t> {
    table: PlainTable,
    txn: &'t RoTxn<'t>,
}

impl NodeSource for Nodes<'_> {
    type Error = heed::Error;

    fn node(&self, path: &NodePath) -> Result<Option<&[u8]>, heed::Error> {
        let key = key_of(path);
        let found = self.table.get(self.txn, &key)?;
        Ok(found.map(|record| {
            let (envelope, node) = record.split_at(ENVELOPE_BYTES);
            assert_eq!(envelope[2..], sum(&key, node), "nobody has changed it");
            node
        }))
    }
}

impl Model {
    /// With a trie of which so many bytes stay in memory, or without one.
    fn new(dir: &Path, trie_bytes_max: Option<usize>) -> Result<Model, Box<dyn Error>> {
        let (env, table) = plain_table(dir)?;
        let trie = Trie::open([7; 32], NOTHING, 0).ok_or("an empty trie can be opened")?;
        Ok(Model {
            env,
            table,
            position: 0,
            trie: trie_bytes_max.map(|bytes_max| (trie, bytes_max)),
        })
    }

    /// Writes keys one after another, with the root after each, worked out together for those of a
    /// batch as in a ledger, and then all nodes that have changed. Gives the processor time.
    fn write(&mut self, keys: &[usize], round: usize) -> Result<Duration, Box<dyn Error>> {
        let begin = cpu_time()?;
        let table = self.table;
        let mut txn = self.env.write_txn()?;
        let mut record = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let name = name(*key);
            let mut digest: Digest = [1; 32];
            digest[..8].copy_from_slice(&(round as u64).to_le_bytes());
            let entry = [&[ENTRIES], &name[..]].concat();
            std::hint::black_box(table.get(&txn, &entry)?.map(|found| sum(&entry, found)));
            if let Some((trie, _)) = &mut self.trie {
                let leaf = [&[0][..], &name].concat();
                trie.begin_round();
                let place = trie.load(&Nodes { table, txn: &txn }, &leaf, Intent::Put);
                let place = place.map_err(|error| match error {
                    TrieError::Source(error) => error.to_string(),
                    TrieError::Damaged { path, why } => format!("{path} is damaged: {why}"),
                })?;
                if !trie.set_for_later(&place, &leaf, &digest) {
                    trie.roots();
                    trie.set(&place, &leaf, Some(&digest));
                    std::hint::black_box(trie.root());
                }
                if number % ledger::CALLS == 0 {
                    std::hint::black_box(trie.roots());
                }
            }
            seal(&mut record, &entry, &[digest; 3].concat());
            table.put(&mut txn, &entry, &record)?;
            let row = [&[LOG][..], &self.position.to_be_bytes()].concat();
            seal(&mut record, &row, &[digest; 8].concat());
            table.put(&mut txn, &row, &record)?;
            self.position += 1;
        }
        if let Some((trie, bytes_max)) = &mut self.trie {
            trie.roots();
            trie.flush(&mut |path: &NodePath, node: Option<&[u8]>| {
                let key = key_of(path);
                let Some(node) = node else {
                    return table.delete(&mut txn, &key).map(drop);
                };
                seal(&mut record, &key, node);
                table.put(&mut txn, &key, &record)
            })?;
            txn.commit()?;
            trie.trim(*bytes_max);
        } else {
            txn.commit()?;
        }
        Ok(cpu_time()? - begin)
    }
}

/// A record: room for version and kind, a checksum, the content.
fn seal(record: &mut Vec<u8>, key: &[u8], content: &[u8]) {
    record.clear();
    record.extend_from_slice(&[0; ENVELOPE_BYTES]);
    record.extend_from_slice(content);
    record[2..ENVELOPE_BYTES].copy_from_slice(&sum(key, content));
}

fn key_of(path: &NodePath) -> Vec<u8> {
    let mut key = vec![NODES; 9];
    path.append_key(&mut key);
    key
}

fn sum(key: &[u8], node: &[u8]) -> [u8; 8] {
    xxh3_64_with_seed(node, xxh3_64(key)).to_le_bytes()
}
