//! The trie against a naive model of it: a map of entries, and the nodes and the
//! root that they give by the letter of the definition. Tests of single ideas
//! are beside the code that they explain.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const CONTEXT: [u8; 32] = [7; 32];

type Entries = BTreeMap<Vec<u8>, Digest>;

/// Nodes in memory, with a fuse.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
struct Nodes {
    stored: BTreeMap<NodePath, Vec<u8>>,
    /// How many more reads go well.
    fuse: Cell<Option<u32>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Blown;

impl NodeSource for Nodes {
    type Error = Blown;

    fn node(&self, path: &NodePath) -> Result<Option<&[u8]>, Blown> {
        match self.fuse.get() {
            Some(0) => return Err(Blown),
            left => self.fuse.set(left.map(|left| left - 1)),
        }
        Ok(self.stored.get(path).map(Vec::as_slice))
    }
}

impl Nodes {
    fn flush(&mut self, trie: &mut Trie) -> Digest {
        let mut seen = BTreeSet::new();
        let changed_max = trie.nodes_changed();
        let mut sink = |path: &NodePath, bytes: Option<&[u8]>| {
            assert!(seen.insert(*path), "each place is told once");
            assert!(seen.len() <= changed_max, "what changes is counted");
            match bytes {
                Some(bytes) => drop(self.stored.insert(*path, bytes.to_vec())),
                None => assert!(
                    self.stored.remove(path).is_some(),
                    "only what is there goes"
                ),
            }
            Ok::<_, Infallible>(())
        };
        let Ok(root) = trie.flush(&mut sink);
        root
    }
}

/// Keys, some of which have paths with the same beginning, so that little tries
/// are deep.
static KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let all = (0_u32..).map(|n| [&[n as u8 % 3][..], n.to_string().as_bytes()].concat());
    let starts = |key: &Vec<u8>, nibbles: &[usize]| {
        let path = EntryPath::of(&CONTEXT, key);
        (0..nibbles.len()).all(|depth| path.nibble(depth) == nibbles[depth])
    };
    let mut keys: Vec<_> = all.clone().take(120).collect();
    for (nibbles, count) in [(&[3, 9, 1, 0][..], 24), (&[3, 9], 20), (&[15], 30)] {
        let close = all.clone().skip(120).filter(|key| starts(key, nibbles));
        keys.extend(close.take(count));
    }
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys
});

/// The nodes and the root of these entries, by the letter.
fn by_the_letter(entries: &Entries) -> (Digest, BTreeMap<NodePath, Vec<u8>>) {
    let mut nodes = BTreeMap::new();
    let root = node_of(entries, NodePath::ROOT, &mut nodes);
    (root, nodes)
}

fn node_of(entries: &Entries, at: NodePath, nodes: &mut BTreeMap<NodePath, Vec<u8>>) -> Digest {
    let hash =
        |key: &[u8; 32], digests: &[Digest]| *blake3::keyed_hash(key, &digests.concat()).as_bytes();
    if entries.is_empty() {
        return [0; 32];
    }
    let mut bytes = vec![];
    let digest = if entries.len() <= 16 {
        let digests: Vec<Digest> = entries.values().copied().collect();
        bytes.extend([1, entries.len() as u8]);
        bytes.extend(digests.concat());
        for key in entries.keys() {
            bytes.extend((key.len() as u16).to_le_bytes());
        }
        bytes.extend(entries.keys().flatten());
        hash(b"CLB1 corelet trie: a bucket     ", &digests)
    } else {
        let (mut digests, mut bitmap, mut listed, mut counts) = (vec![], 0_u16, vec![], vec![]);
        for nibble in 0..16 {
            let child = at.child(nibble).unwrap();
            let mut part = entries.clone();
            part.retain(|key, _| child.contains(&EntryPath::of(&CONTEXT, key)));
            digests.push(node_of(&part, child, nodes));
            if !part.is_empty() {
                bitmap |= 1 << nibble;
                listed.extend(digests[nibble]);
                assert!(part.len() < 128 * 128);
                if part.len() >= 128 {
                    counts.push(part.len() as u8 & 0x7f | 0x80);
                    counts.push((part.len() >> 7) as u8);
                } else {
                    counts.push(part.len() as u8);
                }
            }
        }
        bytes.push(2);
        bytes.extend(bitmap.to_le_bytes());
        bytes.extend([listed, counts].concat());
        let groups: Vec<Digest> = digests
            .chunks(4)
            .map(|group| match group.concat().iter().all(|byte| *byte == 0) {
                true => [0; 32],
                false => hash(b"CLG1 corelet trie: four children", group),
            })
            .collect();
        hash(b"CLN1 corelet trie: an inner node", &groups)
    };
    nodes.insert(at, bytes);
    digest
}

/// Something that happens to a trie.
#[derive(Clone, Debug)]
enum Step {
    /// Loads all keys, of which one may fail, then changes them.
    Call(Vec<(usize, Option<u8>)>, Option<u32>),
    Root,
    /// Loads and changes one key after another, and then asks for the root after each.
    Later(Vec<(usize, u8)>),
    Flush,
    Trim(usize),
    /// Drops the trie without a flush, and with it what has changed.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let puts = prop::collection::vec((0..KEYS.len(), any::<u8>().prop_map(Some)), 0..40);
    let gone = prop::collection::vec((0..KEYS.len(), Just(None)), 0..60);
    let both = prop::collection::vec((0..KEYS.len(), any::<Option<u8>>()), 0..20);
    let call = prop_oneof![puts, gone, both];
    let fuse = prop_oneof![3 => Just(None), 1 => (0..20_u32).prop_map(Some)];
    let step = prop_oneof![
        8 => (call, fuse).prop_map(|(call, fuse)| Step::Call(call, fuse)),
        2 => Just(Step::Root),
        4 => prop::collection::vec((0..KEYS.len(), any::<u8>()), 0..40).prop_map(Step::Later),
        2 => Just(Step::Flush),
        2 => (0..30_000_usize).prop_map(Step::Trim),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..40)
}

/// A trie, what is stored of it, and what both must be like.
struct World {
    trie: Trie,
    nodes: Nodes,
    entries: Entries,
    flushed: Entries,
}

impl World {
    fn new() -> World {
        World {
            trie: Trie::open(CONTEXT, NOTHING, 0).unwrap(),
            nodes: Nodes::default(),
            entries: Entries::new(),
            flushed: Entries::new(),
        }
    }

    fn of(entries: &Entries) -> World {
        let mut world = World::new();
        for (key, digest) in entries {
            world.set(key, Some(digest));
        }
        world.flush();
        world
    }

    fn set(&mut self, key: &[u8], digest: Option<&Digest>) {
        let place = self.trie.load(&self.nodes, key, intent(digest)).unwrap();
        self.trie.set(&place, key, digest);
        match digest {
            Some(digest) => self.entries.insert(key.to_vec(), *digest),
            None => self.entries.remove(key),
        };
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call(changes, fuse) => {
                self.trie.begin_round();
                self.nodes.fuse.set(fuse);
                let changes = changes
                    .into_iter()
                    .map(|(key, digest)| (&KEYS[key][..], digest.map(|digest| [digest; 32])));
                let places: Result<Vec<Place>, _> = changes
                    .clone()
                    .map(|(key, digest)| self.trie.load(&self.nodes, key, intent(digest.as_ref())))
                    .collect();
                self.nodes.fuse.set(None);
                let Ok(places) = places else {
                    return;
                };
                for (place, (key, digest)) in places.iter().zip(changes) {
                    self.trie.set(place, key, digest.as_ref());
                    match digest {
                        Some(digest) => self.entries.insert(key.to_vec(), digest),
                        None => self.entries.remove(key),
                    };
                }
            }
            Step::Later(changes) => {
                self.trie.begin_round();
                let mut expected = Vec::new();
                for (key, digest) in changes {
                    let (key, digest) = (&KEYS[key][..], [digest; 32]);
                    let place = self.trie.load(&self.nodes, key, Intent::Put).unwrap();
                    if !self.trie.set_for_later(&place, key, &digest) {
                        assert_eq!(self.trie.roots(), std::mem::take(&mut expected));
                        self.trie.set(&place, key, Some(&digest));
                        self.trie.root();
                        assert!(!self.entries.contains_key(key), "the form changes");
                    }
                    self.entries.insert(key.to_vec(), digest);
                    if !self.trie.later.is_empty() {
                        expected.push(by_the_letter(&self.entries).0);
                    }
                }
                assert_eq!(self.trie.roots(), expected);
                assert_eq!(self.trie.root(), by_the_letter(&self.entries).0);
            }
            Step::Root => assert_eq!(self.trie.root(), by_the_letter(&self.entries).0),
            Step::Flush => self.flush(),
            Step::Trim(bytes_max) => {
                self.trie.trim(bytes_max);
                let (_, stored) = by_the_letter(&self.flushed);
                if self.entries == self.flushed && self.nodes.stored == stored {
                    // Nothing of note is lost, whatever was dropped.
                    assert_eq!(self.trie.entries(), self.entries.len() as u64);
                }
            }
            Step::Crash => {
                let root = by_the_letter(&self.flushed).0;
                self.entries = self.flushed.clone();
                self.trie = Trie::open(CONTEXT, root, self.entries.len() as u64).unwrap();
            }
        }
    }

    fn flush(&mut self) {
        let root = self.nodes.flush(&mut self.trie);
        self.flushed = self.entries.clone();
        let (expected, stored) = by_the_letter(&self.entries);
        assert_eq!(root, expected);
        assert_eq!(self.nodes.stored, stored);
        assert_eq!(self.check(), Ok(stored.len() as u64));
        assert_eq!((self.trie.nodes_changed(), self.trie.recount().2), (0, 0));
        let count = self.entries.len() as u64;
        assert!(self.trie.is_stored_as(&CONTEXT, &root, count));
        assert!(!self.trie.is_stored_as(&CONTEXT, &[9; 32], count));
        assert!(!self.trie.is_stored_as(&CONTEXT, &root, count + 1));
        assert!(!self.trie.is_stored_as(&[9; 32], &root, count));
        self.trie.trim(5_000);
        assert!(
            self.trie.bytes_loaded() <= 5_000,
            "what is flushed can be dropped"
        );
    }

    /// What the trie says of its memory is so, and it knows whether it has changed.
    fn check_counts(&self) {
        let (nodes, bytes, changed) = self.trie.recount();
        assert_eq!(
            (self.trie.nodes_loaded(), self.trie.bytes_loaded()),
            (nodes, bytes)
        );
        assert!(self.trie.nodes_changed() >= changed);
        if self.entries != self.flushed {
            let (root, _) = by_the_letter(&self.entries);
            let count = self.entries.len() as u64;
            assert!(!self.trie.is_stored_as(&CONTEXT, &root, count));
        }
    }

    fn check(&self) -> Result<u64, TrieError<Blown>> {
        let (root, _) = by_the_letter(&self.entries);
        let entries = self.entries.len() as u64;
        let mut lookup = |key: &[u8]| Ok(self.entries.get(key).copied());
        let checked = check(&self.nodes, &CONTEXT, &root, entries, &mut lookup)?;
        assert_eq!(checked.entries, entries);
        Ok(checked.nodes)
    }
}

fn intent(digest: Option<&Digest>) -> Intent {
    match digest {
        Some(_) => Intent::Put,
        None => Intent::Remove,
    }
}

fn some_entries() -> impl Strategy<Value = Entries> {
    let entry = (0..KEYS.len(), any::<u8>());
    prop::collection::vec(entry, 0..2 * KEYS.len()).prop_map(|entries| {
        let entry = |(key, digest): (usize, u8)| (KEYS[key].clone(), [digest; 32]);
        entries.into_iter().map(entry).collect()
    })
}

proptest! {
    #[test]
    fn whatever_happens_the_form_follows_from_the_entries(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check_counts();
        }
        world.flush();
        let left: Vec<_> = world.entries.keys().cloned().collect();
        for key in left {
            world.set(&key, None);
        }
        world.flush();
        prop_assert!(world.nodes.stored.is_empty());
    }

    #[test]
    fn the_order_of_writes_does_not_matter(
        (entries, shuffled) in some_entries().prop_flat_map(|entries| {
            let list: Vec<_> = entries.clone().into_iter().collect();
            (Just(entries), Just(list).prop_shuffle())
        }),
        other in some_entries(),
    ) {
        let sorted = World::of(&entries);
        let mut world = World::new();
        for (key, digest) in &shuffled {
            world.set(key, Some(digest));
        }
        world.flush();
        prop_assert_eq!(&world.nodes, &sorted.nodes);
        let (root, other_root) = (by_the_letter(&entries).0, by_the_letter(&other).0);
        prop_assert_eq!(root == other_root, entries == other);
    }

    #[test]
    fn what_is_below_a_node_can_be_read_page_by_page(
        entries in some_entries(),
        bytes in prop_oneof![Just([0x39; 32]), any::<[u8; 32]>()],
        depth in 0..6_usize,
        limit in 1..50_usize,
    ) {
        let world = World::of(&entries);
        let path = NodePath::above(&EntryPath::from_bytes(bytes), depth);
        let mut expected: Vec<_> = entries
            .into_iter()
            .filter(|(key, _)| path.contains(&EntryPath::of(&CONTEXT, key)))
            .collect();
        expected.sort_by_key(|(key, _)| EntryPath::of(&CONTEXT, key));
        if let Some(node) = children(&world.nodes, &path).unwrap() {
            prop_assert_eq!(node.count(), expected.len() as u64);
            if let StoredNode::Inner(inner) = node {
                for (nibble, digest, count) in inner.iter() {
                    let child = children(&world.nodes, &path.child(nibble).unwrap()).unwrap().unwrap();
                    prop_assert_eq!((child.digest(), child.count()), (*digest, count));
                }
            }
        }
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = entries_below(&world.nodes, &CONTEXT, &path, after.as_ref(), limit).unwrap();
            prop_assert!(page.entries.len() <= limit);
            prop_assert!(page.next.is_none() || page.entries.len() == limit);
            found.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected);
    }

    /// The caller's checksum vouches for the bytes of keys, which no digest of a
    /// node covers; everything else that is damaged is noticed before a change.
    #[test]
    fn damage_is_an_error_and_never_another_root(
        entries in some_entries().prop_filter("a node", |entries| !entries.is_empty()),
        node in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        is_missing in prop::bool::weighted(0.1),
        key in 0..KEYS.len(),
        put in any::<Option<u8>>(),
    ) {
        let mut world = World::of(&entries);
        let path = *world.nodes.stored.keys().nth(node.index(world.nodes.stored.len())).unwrap();
        let bytes = world.nodes.stored.get_mut(&path).unwrap();
        let mut is_in_a_key = false;
        if is_missing {
            world.nodes.stored.remove(&path);
        } else {
            let at = at.index(bytes.len());
            is_in_a_key = bytes[0] == 1 && at >= 2 + 32 * usize::from(bytes[1]);
            bytes[at] ^= flip;
        }
        prop_assert!(world.check().is_err());
        let root = by_the_letter(&entries).0;
        world.trie = Trie::open(CONTEXT, root, entries.len() as u64).unwrap();
        let digest = put.map(|put| [put; 32]);
        let key = &KEYS[key];
        match world.trie.load(&world.nodes, key, intent(digest.as_ref())) {
            Err(error) => {
                let TrieError::Damaged { path: found, .. } = error else {
                    panic!("the source itself is well");
                };
                prop_assert_eq!(found, path);
            }
            Ok(place) if !is_in_a_key => {
                world.trie.set(&place, key, digest.as_ref());
                let mut entries = entries;
                match digest {
                    Some(digest) => entries.insert(key.clone(), digest),
                    None => entries.remove(key),
                };
                prop_assert_eq!(world.trie.root(), by_the_letter(&entries).0);
            }
            Ok(_) => {}
        }
    }
}

#[test]
fn the_keys_make_a_deep_trie() {
    let entries = KEYS.iter().map(|key| (key.clone(), [1; 32])).collect();
    let (_, nodes) = by_the_letter(&entries);
    assert!(nodes.keys().any(|path| path.depth() == 5));
    assert_eq!(KEY_BYTES_MAX, crate::layout::KEY_BYTES_MAX + 1);
}

#[test]
fn only_both_can_say_that_it_is_empty() {
    assert!(Trie::open(CONTEXT, NOTHING, 1).is_none());
    assert!(Trie::open(CONTEXT, [1; 32], 0).is_none());
}

/// What is pinned here is on disk and what nodes compare: another root for the
/// same entries is another format.
#[test]
fn the_root_of_known_entries() {
    let entries: Entries = (0..100_u8).map(|n| (vec![0, n], [n; 32])).collect();
    assert_eq!(World::of(&entries).trie.root(), by_the_letter(&entries).0);
    let hex: String = by_the_letter(&entries)
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hex,
        "9bc1a8392244c0efa269c00aa320eca4c532f1d7093d9c078cf35330e7c2024c"
    );
}
