//! The trie's part of a write batch: hashing an entry for each call, loading, setting and hashing
//! what lies above it, and writing at a checkpoint what has changed, against the whole of the same
//! calls in a ledger: batches that are durable by the journal, and a checkpoint behind them. What a
//! trie costs is what it adds to a model of a ledger, which has entries and a log in LMDB and nothing
//! else: so what it does to caches, and what a checkpoint writes and waits for because of it, is in it. Both
//! are measured with tries that stay in memory from one checkpoint to the next, as ledgers do it,
//! and without.

use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use corelet_store::{LedgerConfig, Op};
use heed::{Env, RoTxn};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::Plan;
use crate::ledger::{self, AUTHOR, Bench, Place, PlainTable, Took, plain_table};
use crate::report::{fact, median, trie_takes};
use crate::trie::{Digest, Intent, NOTHING, NodePath, NodeSource, Trie, TrieError};

/// Calls between two checkpoints, each with one write: about as many as a ledger has there,
/// if they lie evenly among a hundred thousand keys.
const CALLS: usize = 6_144;

/// Keys of the contexts: calls that meet most entries between two checkpoints, calls
/// that meet few twice, and more of a trie than stays in memory.
const KEYS: [usize; 3] = [10_000, 100_000, 1_000_000];

/// Rounds for each that other measures have: single ones are short, and each waits for a disk.
const ROUNDS: usize = 3;

const VALUE_BYTES: usize = 64;

/// The first byte of a key says what it is the key of.
const ENTRIES: u8 = 0;
const LOG: u8 = 1;
const NODES: u8 = 2;

/// Bytes before a record's content: version, kind and checksum.
const ENVELOPE_BYTES: usize = 10;

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let mut sizes = KEYS.into_iter().filter(|keys| *keys as u64 <= plan.keys);
    sizes.try_for_each(|keys| measure_among(plan, keys))
}

fn measure_among(plan: &Plan, keys: usize) -> Result<(), Box<dyn Error>> {
    let what = format!("{CALLS} single writes among {keys} keys");
    eprintln!("state_cost: merkle: {what}");
    let bytes_max = LedgerConfig::default().trie_bytes_max;
    let mut kept = Side::new(plan, keys, &format!("kept-{keys}"), bytes_max)?;
    let mut anew = Side::new(plan, keys, &format!("anew-{keys}"), 0)?;
    let rounds = match plan.rounds {
        1 => 1,
        rounds => rounds * ROUNDS,
    };
    for round in 0..=rounds {
        for side in [&mut kept, &mut anew] {
            side.round(keys, round)?;
        }
    }
    let part = format!("the trie's part of {what}");
    let wall = kept.share(|took| Some(took.wall.as_secs_f64()))?;
    fact(
        format!("{part}, durable, 64 at once, by the clock"),
        format!("{wall:.2}"),
    );
    let cpu = |took: &Took| Some(took.cpu.as_secs_f64());
    fact(
        format!("{part}, processor time"),
        format!("{:.2}", kept.share(cpu)?),
    );
    if let Ok(share) = kept.share(|took| took.instructions.map(|count| count as f64)) {
        fact(format!("{part}, instructions"), format!("{share:.2}"));
    }
    fact(
        format!("{part}, processor time, if each checkpoint began without it in memory"),
        format!("{:.2}", anew.share(cpu)?),
    );
    let takes = |pair: &(Took, Took)| pair.0.cpu.as_secs_f64();
    let takes = median(kept.took.iter().map(takes).collect());
    trie_takes(keys, takes * 1e6 / CALLS as f64);
    for (side, how) in [(kept, "kept in memory"), (anew, "read anew")] {
        let each = |of: fn(&Took) -> f64, all: &[(Took, Took)], which: usize| {
            let all = all.iter().map(|pair| of([&pair.0, &pair.1][which]));
            median(all.collect()) * 1e6 / CALLS as f64
        };
        let wall = |which| each(|took| took.wall.as_secs_f64(), &side.took, which);
        let cpu = |which| each(|took| took.cpu.as_secs_f64(), &side.took, which);
        fact(
            format!("{what}, each, tries {how}"),
            format!(
                "{:.2} us by the clock, of these {:.2} us for the trie; processor time {:.2} us and {:.2} us",
                wall(1),
                wall(0),
                cpu(1),
                cpu(0),
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
    /// What the trie takes and what the ledger takes, in each round.
    took: Vec<(Took, Took)>,
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
            took: Vec::new(),
        })
    }

    fn round(&mut self, keys: usize, round: usize) -> Result<(), Box<dyn Error>> {
        let keys: Vec<usize> = (0..CALLS).map(|n| n * 7_919 % keys).collect();
        let (place, bench) = (self.place, &mut self.bench);
        let calls = keys.iter().map(|key| set(*key, round + 1));
        let calls = calls.map(|op| bench.call(place, vec![op])).collect();
        let whole = bench.commit(calls)?;
        let with = self.with.write(&keys, round + 1)?;
        let without = self.without.write(&keys, round + 1)?;
        // The first round brings everything into memory that stays there.
        if round > 0 {
            self.took.push((with.beyond(&without), whole));
        }
        Ok(())
    }

    /// The trie's share of it, if it was counted.
    fn share(&self, of: impl Fn(&Took) -> Option<f64>) -> Result<f64, Box<dyn Error>> {
        let shares = self.took.iter();
        let shares: Option<Vec<f64>> = shares
            .map(|(trie, whole)| Some(of(trie)? / of(whole)?))
            .collect();
        Ok(median(shares.ok_or("it was not counted")?))
    }
}

fn set(key: usize, round: usize) -> Op {
    let value = format!("{round:0width$}", width = VALUE_BYTES);
    Op::set(name(key), Bytes::from(value))
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
    /// What the digest of an entry is made of.
    hashed: Vec<u8>,
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
            hashed: Vec::new(),
        })
    }

    /// Writes keys one after another, with the root after each, worked out together for those of a
    /// batch as in a ledger, and then all nodes that have changed.
    fn write(&mut self, keys: &[usize], round: usize) -> Result<Took, Box<dyn Error>> {
        Took::of(|| self.write_all(keys, round))
    }

    fn write_all(&mut self, keys: &[usize], round: usize) -> Result<(), Box<dyn Error>> {
        let table = self.table;
        let mut txn = self.env.write_txn()?;
        let mut record = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let name = name(*key);
            let mut content = [1; 32];
            content[..8].copy_from_slice(&(round as u64).to_le_bytes());
            let entry = [&[ENTRIES], &name[..]].concat();
            std::hint::black_box(table.get(&txn, &entry)?.map(|found| sum(&entry, found)));
            if let Some((trie, _)) = &mut self.trie {
                let digest = digest_of(&mut self.hashed, &name, round);
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
            seal(&mut record, &entry, &[content; 3].concat());
            table.put(&mut txn, &entry, &record)?;
            let row = [&[LOG][..], &self.position.to_be_bytes()].concat();
            seal(&mut record, &row, &[content; 8].concat());
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
        Ok(())
    }
}

/// The digest of an entry with one value, in the form that a ledger gives it: nothing but a trie has
/// a use for it.
fn digest_of(hashed: &mut Vec<u8>, name: &[u8], round: usize) -> Digest {
    hashed.clear();
    hashed.extend_from_slice(b"CLE2");
    hashed.extend_from_slice(&(1 + name.len() as u16).to_le_bytes());
    hashed.push(0);
    hashed.extend_from_slice(name);
    hashed.push(0);
    hashed.extend_from_slice(&1_u32.to_le_bytes());
    hashed.extend_from_slice(AUTHOR.as_bytes());
    hashed.extend_from_slice(&(round as u64).to_le_bytes());
    hashed.extend_from_slice(&(VALUE_BYTES as u32).to_le_bytes());
    let value = hashed.len();
    hashed.resize(value + VALUE_BYTES, round as u8);
    *blake3::hash(hashed).as_bytes()
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
