//! The trie's part of a write batch: loading, setting and hashing one entry for each call, and
//! what a checkpoint writes, against the whole of the same calls in a ledger. The trie is
//! measured by itself, with its nodes in a map; the digest of the entry itself is not in it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::Op;

use crate::Plan;
use crate::ledger::{Bench, micros};
use crate::report::{at_most, fact, median};
use crate::trie::{Digest, Intent, NOTHING, NodePath, NodeSource, Trie, TrieError};

/// Calls between two checkpoints, each with one write.
const CALLS: usize = 8_192;

/// Keys of the context.
const KEYS: usize = 100_000;

pub(crate) fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::new(&plan.dir, "merkle")?;
    let place = bench.create()?;
    let mut alone = Alone::new()?;
    for keys in (0..KEYS).collect::<Vec<_>>().chunks(CALLS) {
        let ops = keys.iter().map(|key| set(*key, 0)).collect();
        let call = bench.call(place, ops);
        bench.commit(vec![call])?;
        alone.write(keys, 0)?;
    }
    let (mut shares, mut trie, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let keys: Vec<usize> = (0..CALLS).map(|n| n * 7_919 % KEYS).collect();
        let calls = keys
            .iter()
            .map(|key| bench.call(place, vec![set(*key, round)]))
            .collect();
        let (cpu, _) = bench.commit(calls)?;
        // In a ledger every checkpoint begins with none of the nodes.
        alone.trie = alone.trie.reopened()?;
        let in_trie = alone.write(&keys, round)?;
        shares.push(in_trie.as_secs_f64() / cpu.as_secs_f64());
        trie.push(micros(in_trie, CALLS));
        whole.push(micros(cpu, CALLS));
    }
    let what = format!("{CALLS} single writes among {KEYS} keys");
    at_most(format!("the trie's part of {what}"), median(shares), 0.3);
    fact(
        format!("{what}, processor time of each"),
        format!(
            "{:.2} us, of these {:.2} us in the trie",
            median(whole),
            median(trie)
        ),
    );
    Ok(())
}

fn set(key: usize, round: usize) -> Op {
    Op::set(name(key), Bytes::from(format!("{round:064}")))
}

fn name(key: usize) -> Bytes {
    Bytes::from(format!("key-{key:08}"))
}

/// A trie without a ledger.
struct Alone {
    trie: Counted,
    nodes: Nodes,
}

/// A trie, and how many entries it has.
struct Counted {
    trie: Trie,
    entries: u64,
}

impl Counted {
    fn open(root: Digest, entries: u64) -> Result<Counted, Box<dyn Error>> {
        let trie = Trie::open([7; 32], root, entries).ok_or("root and count agree")?;
        Ok(Counted { trie, entries })
    }

    /// The same without any node in memory.
    fn reopened(&mut self) -> Result<Counted, Box<dyn Error>> {
        Counted::open(self.trie.root(), self.entries)
    }
}

#[derive(Default)]
struct Nodes(HashMap<NodePath, Vec<u8>>);

impl NodeSource for Nodes {
    type Error = Infallible;

    fn node(&self, path: &NodePath) -> Result<Option<&[u8]>, Infallible> {
        Ok(self.0.get(path).map(Vec::as_slice))
    }
}

impl Alone {
    fn new() -> Result<Alone, Box<dyn Error>> {
        Ok(Alone {
            trie: Counted::open(NOTHING, 0)?,
            nodes: Nodes::default(),
        })
    }

    /// Writes keys one after another, with the root after each, and then all nodes that
    /// have changed.
    fn write(&mut self, keys: &[usize], round: usize) -> Result<Duration, Box<dyn Error>> {
        let begin = Instant::now();
        let trie = &mut self.trie.trie;
        for key in keys {
            let entry = [&[0][..], &name(*key)].concat();
            let mut digest: Digest = [1; 32];
            digest[..8].copy_from_slice(&(round as u64).to_le_bytes());
            trie.begin_round();
            let place = trie.load(&self.nodes, &entry, Intent::Put);
            let place = place.map_err(|error| match error {
                TrieError::Source(never) => match never {},
                TrieError::Damaged { path, why } => format!("{path} is damaged: {why}"),
            })?;
            trie.set(&place, &entry, Some(&digest));
            std::hint::black_box(trie.root());
        }
        self.trie.entries = trie.entries();
        let nodes = &mut self.nodes.0;
        let Ok::<_, Infallible>(_) = trie.flush(&mut |path: &NodePath, bytes: Option<&[u8]>| {
            match bytes {
                Some(bytes) => drop(nodes.insert(*path, bytes.to_vec())),
                None => drop(nodes.remove(path)),
            }
            Ok(())
        });
        Ok(begin.elapsed())
    }
}
