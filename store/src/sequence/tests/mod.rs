//! What a sequence promises. Here: replicas that edit and get each other's updates.
//!
//! | file | shows that |
//! |---|---|
//! | `vector.rs` | it does what a plain vector does |
//! | `merging.rs` | replicas come to the same bytes in whatever causal order |
//! | `fugue.rs`, `order.rs` | what they come to is the order of the definition |
//! | `liars.rs` | a lie changes nothing, or the same everywhere |
//! | `damage.rs` | saved bytes are opened whole or refused |
//! | `bounds.rs`, `cost.rs` | what an update may be, and what it costs |
//! | `steps.rs` | what is long is done in parts |
//! | `invariants.rs` | what holds of every sequence |

mod bounds;
mod cost;
mod damage;
mod fugue;
mod invariants;
mod liars;
mod merging;
mod order;
mod steps;
mod vector;

use proptest::prelude::*;

use super::*;
use crate::histories::try_histories;
use invariants::check_invariants;

fn key(n: u8) -> NodeId {
    // The order of keys is another one than that of numbers.
    NodeId::from_bytes([n.wrapping_mul(151); 32])
}

fn hlc(n: u64) -> Hlc {
    Hlc::from_bits(n)
}

fn text(s: &str) -> Content {
    Content::Text(s.into())
}

fn values(n: std::ops::Range<u32>) -> Content {
    Content::Values(n.map(|n| Box::from(n.to_be_bytes())).collect())
}

/// Numbers that look random: SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn all(sequence: &Sequence) -> Content {
    sequence.slice(0, sequence.len()).unwrap()
}

/// An edit by fractions, so that it fits whatever length there is.
#[derive(Clone, Debug)]
struct Edit {
    at: u16,
    delete: u16,
    insert: String,
}

fn edits(count: usize) -> impl Strategy<Value = Vec<Edit>> {
    let delete = prop_oneof![3 => Just(0u16), 1 => 1..6u16];
    let insert = prop_oneof![4 => "[a-zé漢😀]{0,4}", 1 => "[a-z]{500,1200}"];
    let edit = (any::<u16>(), delete, insert);
    prop::collection::vec(
        edit.prop_map(|(at, delete, insert)| Edit { at, delete, insert }),
        count,
    )
}

impl Edit {
    /// Does it to the sequence; where it deleted and inserted.
    fn apply(&self, sequence: &mut Sequence) -> (usize, usize, Content) {
        let at = usize::from(self.at) * (sequence.len() + 1) / 65_536;
        let delete = usize::from(self.delete).min(sequence.len() - at);
        let content = match sequence.kind() {
            SequenceKind::Text => text(&self.insert),
            SequenceKind::List => Content::Values(
                self.insert
                    .chars()
                    .map(|c| c.to_string().into_bytes().into())
                    .collect(),
            ),
        };
        sequence.delete(at, delete).unwrap();
        sequence.insert(at, content.clone()).unwrap();
        (at, delete, content)
    }
}

fn plain(content: &Content) -> Vec<Vec<u8>> {
    match content {
        Content::Text(text) => text.chars().map(|c| c.to_string().into_bytes()).collect(),
        Content::Values(values) => values.iter().map(|v| v.to_vec()).collect(),
    }
}

/// Replicas, every update with its author, stamp and what it had seen, and what
/// each replica has.
struct World {
    replicas: Vec<Sequence>,
    updates: Vec<(usize, Hlc, Vec<Hlc>, Vec<u8>)>,
    /// Which of them are lies, and so may be refused.
    lies: Vec<Hlc>,
    has: Vec<Vec<Hlc>>,
    clock: u64,
}

impl World {
    fn new(kind: SequenceKind, count: usize) -> Self {
        Self {
            replicas: (0..count)
                .map(|n| Sequence::new(kind, key(n as u8)))
                .collect(),
            updates: Vec::new(),
            lies: Vec::new(),
            has: vec![vec![Hlc::ZERO; count]; count],
            clock: 0,
        }
    }

    fn edit(&mut self, r: usize, edit: &Edit) {
        edit.apply(&mut self.replicas[r]);
        self.commit(r);
    }

    fn commit(&mut self, r: usize) {
        self.clock += 3;
        let stamp = hlc(self.clock);
        if let Some(bytes) = self.replicas[r].take_update(stamp).unwrap() {
            self.updates.push((r, stamp, self.has[r].clone(), bytes));
            self.has[r][r] = stamp;
        }
    }

    /// Commits something else than an edit of the replica: one of another replica in its
    /// name, which names what it has not seen, or bytes that were changed.
    fn lie(&mut self, r: usize, other: usize, edit: &Edit, changes: &[(u8, u8)]) {
        let saved = self.replicas[other].save().unwrap();
        let mut liar = Sequence::open(key(r as u8), &saved).unwrap();
        edit.apply(&mut liar);
        self.clock += 3;
        let stamp = hlc(self.clock);
        let Some(mut bytes) = liar.take_update(stamp).unwrap() else {
            return;
        };
        for &(at, by) in changes {
            // Most of what an update says is at its end.
            let at = bytes.len() - 1 - usize::from(at) % bytes.len().min(12);
            bytes[at] = bytes[at].wrapping_add(by);
        }
        let seen = self.has[r].clone();
        let _ = self.replicas[r].apply(key(r as u8), stamp, look_up(&seen), &bytes);
        self.updates.push((r, stamp, seen, bytes));
        self.lies.push(stamp);
        self.has[r][r] = stamp;
    }

    /// Gives a replica one of the updates that it can have; none if there is none.
    fn deliver(&mut self, r: usize, choice: usize) -> Option<usize> {
        let has = &self.has[r];
        let ready: Vec<usize> = (0..self.updates.len())
            .filter(|&u| {
                let (author, stamp, seen, _) = &self.updates[u];
                has[*author] < *stamp && seen.iter().zip(has).all(|(seen, has)| seen <= has)
            })
            .collect();
        let update = *ready.get(choice % ready.len().max(1))?;
        let (author, stamp, seen, bytes) = &self.updates[update];
        let answer = self.replicas[r].apply(key(*author as u8), *stamp, look_up(seen), bytes);
        assert!(answer.is_ok() || self.lies.contains(stamp), "{answer:?}");
        self.has[r][*author] = *stamp;
        Some(update)
    }

    fn deliver_all(&mut self, mut choice: usize) {
        for r in 0..self.replicas.len() {
            while self.deliver(r, choice).is_some() {
                choice = choice.wrapping_mul(31).wrapping_add(7);
            }
        }
    }
}

fn look_up(seen: &[Hlc]) -> impl Fn(&NodeId) -> Hlc + '_ {
    |author| {
        (0..seen.len())
            .find(|&n| key(n as u8) == *author)
            .map_or(Hlc::ZERO, |n| seen[n])
    }
}
