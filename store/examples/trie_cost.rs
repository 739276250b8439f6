//! What a write costs in the trie: the time to load, set and hash one entry, in
//! tries of several sizes, with everything in memory and with the upper levels
//! only, and what a flush of many writes hands to the store. Nodes are kept in a
//! map, so that only the trie itself is measured.
//!
//! `trie_cost [ENTRIES...]`; without arguments 10, a thousand and a million.

// The trie is private to the crate, and sees nothing of it.
#[expect(dead_code, unused_imports, reason = "only its costs are of interest")]
#[path = "../src/trie/mod.rs"]
mod trie;

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::time::Instant;

use trie::{Digest, Intent, NOTHING, NodePath, NodeSource, Trie, TrieError};

const CONTEXT: [u8; 32] = [7; 32];

/// Writes that are measured, each by itself.
const WRITES: usize = 100_000;

/// Writes between two flushes.
const FLUSH_WRITES: u64 = 8_192;

/// Bytes of nodes that stay in memory while a trie is built, or when it is said to be cold.
const BYTES_MAX: usize = 8 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Result<Vec<u64>, _> = std::env::args().skip(1).map(|text| text.parse()).collect();
    let sizes = Some(args?).filter(|sizes| !sizes.is_empty());
    for entries in sizes.unwrap_or_else(|| vec![10, 1_000, 1_000_000]) {
        measure(entries)?;
    }
    Ok(())
}

fn measure(entries: u64) -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::new()?;
    let begin = Instant::now();
    for number in 0..entries {
        bench.write(number)?;
        if number % FLUSH_WRITES == 0 {
            bench.flush();
            bench.trie.trim(BYTES_MAX);
        }
    }
    bench.flush();
    let build_nanos = begin.elapsed().as_nanos() as f64 / entries as f64;
    let root = bench.trie.root();
    println!(
        "{entries} entries in {} nodes of {} bytes, built in {build_nanos:.0} ns each; root {:02x}{:02x}",
        bench.nodes.stored.len(),
        bench.nodes.stored.values().map(Vec::len).sum::<usize>(),
        root[0],
        root[1],
    );

    // Everything that is touched stays in memory; the first round brings it there.
    for number in 0..entries {
        bench.write(number)?;
    }
    bench.report("in memory", entries, usize::MAX)?;
    bench.flush();
    bench.report("upper levels in memory", entries, BYTES_MAX)?;

    for _ in 0..FLUSH_WRITES {
        let number = bench.random() % entries;
        bench.write(number)?;
    }
    let begin = Instant::now();
    let (nodes, bytes) = bench.flush();
    println!(
        "  flush of {FLUSH_WRITES} writes: {nodes} nodes, {bytes} bytes, in {} us with hashing",
        begin.elapsed().as_micros()
    );
    Ok(())
}

struct Bench {
    trie: Trie,
    nodes: Nodes,
    digest: Digest,
    seed: u64,
}

#[derive(Default)]
struct Nodes {
    stored: HashMap<NodePath, Vec<u8>>,
}

impl NodeSource for Nodes {
    type Error = Infallible;

    fn node(&self, path: &NodePath) -> Result<Option<&[u8]>, Infallible> {
        Ok(self.stored.get(path).map(Vec::as_slice))
    }
}

impl Bench {
    fn new() -> Result<Bench, Box<dyn Error>> {
        Ok(Bench {
            trie: Trie::open(CONTEXT, NOTHING, 0).ok_or("an empty trie can be opened")?,
            nodes: Nodes::default(),
            digest: [1; 32],
            seed: 1,
        })
    }

    fn random(&mut self) -> u64 {
        // Splitmix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Gives the entry another digest than any before, and tells when it was
    /// loaded.
    fn write(&mut self, number: u64) -> Result<Instant, String> {
        let mut key = *b"\0key0000000000000000";
        let mut rest = number;
        for digit in key[4..].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        self.digest[0] = self.digest[0].wrapping_add(1);
        self.digest[1] = self.digest[1].wrapping_add(u8::from(self.digest[0] == 0));
        let place = self.trie.load(&self.nodes, &key, Intent::Put);
        let place = place.map_err(|error| match error {
            TrieError::Source(never) => match never {},
            TrieError::Damaged { path, why } => format!("{path} is damaged: {why}"),
        })?;
        let loaded = Instant::now();
        self.trie.set(&place, &key, Some(&self.digest));
        Ok(loaded)
    }

    /// How long a random write takes with the root after it, and what part of
    /// that is loading.
    fn report(&mut self, what: &str, entries: u64, bytes_max: usize) -> Result<(), String> {
        let (mut load, mut all) = (Vec::new(), Vec::new());
        for count in 0..WRITES {
            if count % 1_000 == 0 && bytes_max < usize::MAX {
                self.flush();
                self.trie.trim(bytes_max);
            }
            let number = self.random() % entries;
            let begin = Instant::now();
            let loaded = self.write(number)?;
            std::hint::black_box(self.trie.root());
            all.push(begin.elapsed().as_nanos());
            load.push((loaded - begin).as_nanos());
        }
        all.sort_unstable();
        load.sort_unstable();
        println!(
            "  {what} ({} nodes): median {} ns (loading {}), 99 % below {} ns",
            self.trie.nodes_loaded(),
            all[WRITES / 2],
            load[WRITES / 2],
            all[WRITES / 100 * 99],
        );
        Ok(())
    }

    /// How many nodes and bytes have changed.
    fn flush(&mut self) -> (usize, usize) {
        let (mut nodes, mut total_bytes) = (0, 0);
        let stored = &mut self.nodes.stored;
        let mut sink = |path: &NodePath, bytes: Option<&[u8]>| {
            nodes += 1;
            match bytes {
                Some(bytes) => {
                    total_bytes += bytes.len();
                    stored.insert(*path, bytes.to_vec());
                }
                None => drop(stored.remove(path)),
            }
            Ok(())
        };
        let Ok::<_, Infallible>(_) = self.trie.flush(&mut sink);
        (nodes, total_bytes)
    }
}
