//! Test an application on several nodes, without a server.
//!
//! [`Replicas`] are the contexts of `corelet_sdk::testing`, one for each node, on ledgers of the
//! server's own: what a call has done becomes a delta, which its node seals and the others apply. So
//! all that merges does it as on servers, whatever was written at once and in whatever order it
//! comes: registers by the last writer's time, counters, sets, maps, values that are written once,
//! what belongs to one node, lists, texts, removals, attached blobs. What is private stays where it
//! is, as do timers, subscriptions and the calls that a context has sent. A call that writes to the stable memory is refused:
//! nothing of it would come to the others.
//!
//! ```
//! use corelet_sdk::prelude::*;
//! use corelet_testkit::Replicas;
//!
//! #[corelet::application]
//! pub struct Tasks {
//!     done: Map<String, Counter>,
//! }
//!
//! #[corelet::methods]
//! impl Tasks {
//!     #[update]
//!     pub fn finish(&mut self, who: String) {
//!         self.done.entry_mut(&who).add(1);
//!     }
//!
//!     #[query]
//!     pub fn done(&self, who: String) -> i64 {
//!         self.done.entry(&who).get()
//!     }
//! }
//!
//! # fn main() {
//! let mut nodes = Replicas::<Tasks>::new(2);
//! let ada = json!({ "who": "Ada" });
//! nodes[0].update("finish", ada.clone()).unwrap();
//! nodes[1].update("finish", ada.clone()).unwrap();
//! assert_eq!(nodes[0].query("done", ada.clone()).unwrap(), 1);
//! nodes.sync();
//! assert_eq!(nodes.all_answer("done", ada), 2);
//! # }
//! ```
//!
//! Each node has a clock of its own, which stands still until it is set ([`Context::set_now`],
//! [`Context::advance`], and [`Replicas::advance`] for all). As on a server its stamps do not go back: who
//! has seen another's later write writes after it.
//!
//! Two things are not as on a server within one call, and are from the next one on: what another kind
//! had hidden beneath an entry that the call has removed is not seen, and a counter whose sum has more
//! than 64 bits is added to as if it had not.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | a node: its ledger, its clock |
//! | `changes.rs` | what a call has done, as a changeset |
//! | `key.rs` | what a node seals with |

mod changes;
mod key;
mod node;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Index, IndexMut};
use std::rc::Rc;
use std::time::Duration;

use corelet_sdk::application::Application;
use corelet_sdk::testing::{Context, Failed};
use corelet_store::{ContextId, DeltaId, Hlc, NodeId, Sealed};
use serde_json::Value;

use crate::node::{Delta, Node, difference};

/// One context of the application `A` on several nodes, each with a [`Context`] to call.
pub struct Replicas<A> {
    contexts: Vec<Context<A>>,
    nodes: Vec<Rc<RefCell<Node>>>,
    /// Those that reach each other.
    groups: Vec<Vec<usize>>,
}

impl<A> fmt::Debug for Replicas<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas")
            .field("contexts", &self.contexts)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

/// In which order deltas come.
enum Order {
    Made,
    /// Any, by this number, and some twice.
    Any(u64),
}

impl<A: Application> Replicas<A> {
    /// A new context on so many nodes, of an application whose `#[init]` takes nothing, or which
    /// has none. It runs on the first; the others have what it has written. Panics if it fails.
    pub fn new(count: usize) -> Self {
        match Self::create(count, Value::Object(Default::default())) {
            Ok(replicas) => replicas,
            Err(failed) => panic!("init failed: {failed}"),
        }
    }

    /// The same with an `#[init]` that gets `args`.
    pub fn create(count: usize, args: Value) -> Result<Self, Failed> {
        assert!(count > 0, "a context is on one node at least");
        let (mut contexts, mut nodes) = (Vec::new(), Vec::new());
        for number in 0..count {
            let node = Node::new(number, CONTEXT);
            let author = *node.author().as_bytes();
            let seed = author.first_chunk().copied().map_or(0, u64::from_le_bytes);
            let node = Rc::new(RefCell::new(node));
            contexts.push(Context::kept(author, seed, Rc::clone(&node) as _));
            nodes.push(node);
        }
        let mut replicas = Replicas {
            contexts,
            nodes,
            groups: vec![(0..count).collect()],
        };
        replicas[0].begin(&args)?;
        replicas.sync();
        Ok(replicas)
    }

    /// How many nodes there are.
    #[allow(clippy::len_without_is_empty)] // there is one at least
    pub fn len(&self) -> usize {
        self.contexts.len()
    }

    /// The contexts, in the order of the nodes.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Context<A>> {
        self.contexts.iter_mut()
    }

    /// Has the clocks of all nodes go on by so much.
    pub fn advance(&mut self, time: Duration) {
        self.iter_mut().for_each(|context| context.advance(time));
    }

    /// Brings what each node has to all that it reaches. Then these have the same state, which is
    /// checked by their roots.
    ///
    /// Panics if they do not, and if a node's time is further ahead of another's than servers
    /// believe (a minute): they would not take what it has written.
    pub fn sync(&mut self) {
        self.sync_by(&Order::Made);
    }

    /// The same, with deltas that come one by one in some order, by `seed`, and some of them twice.
    /// What comes of it is the same.
    pub fn sync_in_disorder(&mut self, seed: u64) {
        self.sync_by(&Order::Any(seed));
    }

    /// From now on only those reach each other that are in one of these groups; one that is in none
    /// is alone.
    pub fn partition(&mut self, groups: &[&[usize]]) {
        let mut alone: BTreeSet<usize> = (0..self.len()).collect();
        for number in groups.iter().copied().flatten() {
            let is_free = alone.remove(number);
            assert!(is_free, "{number} is no node, or is in two groups");
        }
        let named = groups.iter().map(|group| group.to_vec());
        self.groups = named.chain(alone.into_iter().map(|n| vec![n])).collect();
    }

    /// From now on all reach each other.
    pub fn heal(&mut self) {
        self.groups = vec![(0..self.len()).collect()];
    }

    /// What all nodes answer to a query. Panics if they do not answer, or not the same.
    pub fn all_answer(&mut self, method: &str, args: Value) -> Value {
        let mut answers =
            self.contexts
                .iter_mut()
                .enumerate()
                .map(
                    |(number, context)| match context.query(method, args.clone()) {
                        Ok(answer) => answer,
                        Err(failed) => panic!("node {number} has not answered {method}: {failed}"),
                    },
                );
        let first = answers.next().expect("there is one node at least");
        for (number, answer) in (1..).zip(answers) {
            assert_eq!(answer, first, "{method} on node {number}, and on node 0");
        }
        first
    }

    /// Upgrades the context to the application `B` on each node by itself, as servers do.
    pub fn upgrade<B: Application>(mut self) -> Result<Replicas<B>, Failed> {
        let contexts = self.contexts.iter_mut().map(Context::upgrade::<B>);
        Ok(Replicas {
            contexts: contexts.collect::<Result<_, _>>()?,
            nodes: self.nodes,
            groups: self.groups,
        })
    }

    fn sync_by(&mut self, order: &Order) {
        for group in self.groups.clone() {
            self.sync_group(&group, order);
        }
    }

    fn sync_group(&mut self, group: &[usize], order: &Order) {
        for number in group {
            let is_kept = self.contexts[*number].is_kept();
            assert!(
                is_kept,
                "node {number} was upgraded by itself: use `Replicas::upgrade`"
            );
        }
        // Stamps grow along causes, so that this is an order in which deltas can come.
        let mut all: BTreeMap<(Hlc, NodeId), Delta> = BTreeMap::new();
        let mut known: Vec<BTreeSet<DeltaId>> = Vec::new();
        for number in group {
            let deltas = self.nodes[*number].borrow().deltas();
            known.push(deltas.iter().map(|delta| delta.id).collect());
            all.extend(deltas.into_iter().map(|it| ((it.hlc, it.author), it)));
        }
        for (number, known) in group.iter().zip(&known) {
            let is_new = |delta: &&Delta| !known.contains(&delta.id);
            let missing: Vec<&Delta> = all.values().filter(is_new).collect();
            self.deliver(*number, &missing, order);
        }
        self.check_roots(group);
    }

    fn deliver(&mut self, to: usize, missing: &[&Delta], order: &Order) {
        if missing.is_empty() {
            return;
        }
        let mixed = match order {
            Order::Made => Vec::new(),
            Order::Any(seed) => mixed(missing, seed.wrapping_add(to as u64)),
        };
        let parcels: Vec<&[&Delta]> = match order {
            Order::Made => vec![missing],
            Order::Any(_) => mixed.chunks(1).collect(),
        };
        let now = self.contexts[to].clock();
        for parcel in parcels {
            let seals = self.seals(parcel);
            let received = self.nodes[to].borrow_mut().receive(parcel, seals, now);
            if let Err(early) = received {
                panic!("node {to} does not take what another has written: {early}");
            }
        }
        let mut node = self.nodes[to].borrow_mut();
        assert!(node.has_all(), "node {to} lacks what some deltas follow");
        let image = node.image();
        drop(node);
        self.contexts[to].load(image);
    }

    /// Of each author on its newest of these deltas.
    fn seals(&self, deltas: &[&Delta]) -> Vec<Sealed> {
        let mut newest: BTreeMap<NodeId, DeltaId> = BTreeMap::new();
        for delta in deltas {
            newest.insert(delta.author, delta.id);
        }
        let nodes = self.nodes.iter().map(|node| node.borrow());
        let seals = nodes.filter_map(|node| Some(node.seal(*newest.get(&node.author())?)));
        seals.collect()
    }

    fn check_roots(&self, group: &[usize]) {
        for pair in group.windows(2) {
            let (one, other) = (&self.nodes[pair[0]], &self.nodes[pair[1]]);
            if one.borrow().root() != other.borrow().root() {
                let (image, others) = (one.borrow_mut().image(), other.borrow_mut().image());
                let differs = difference(&image, &others);
                let [one, other] = [pair[0], pair[1]];
                panic!("nodes {one} and {other} have other states behind a sync: {differs}");
            }
        }
    }
}

/// The id of the context: that of contexts without nodes.
const CONTEXT: ContextId = ContextId::from_bytes([7; 32]);

/// These in some order, the first of which comes twice, and about every third other.
fn mixed<'a>(deltas: &[&'a Delta], mut seed: u64) -> Vec<&'a Delta> {
    let mut chance = move |below: usize| {
        // SplitMix64: repeatable from the seed, and nothing more.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below.max(1) as u64) as usize
    };
    let mut all = deltas.to_vec();
    for (at, delta) in deltas.iter().enumerate() {
        if at == 0 || chance(3) == 0 {
            all.push(delta);
        }
    }
    for at in (1..all.len()).rev() {
        all.swap(at, chance(at + 1));
    }
    all
}

impl<A> Index<usize> for Replicas<A> {
    type Output = Context<A>;

    fn index(&self, number: usize) -> &Context<A> {
        &self.contexts[number]
    }
}

impl<A> IndexMut<usize> for Replicas<A> {
    fn index_mut(&mut self, number: usize) -> &mut Context<A> {
        &mut self.contexts[number]
    }
}
