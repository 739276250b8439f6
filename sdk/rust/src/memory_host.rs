//! The host of an application that runs without a server: the same functions
//! as the component's imports, on maps in memory, with kinds as the server has
//! them and one node that writes. Lists and texts are in `memory_sequences.rs`, blobs in
//! `memory_blobs.rs`, the stable memory in `memory_stable.rs`, timers in `memory_timers.rs`, other
//! contexts in `memory_calls.rs`, who is told of their events in `memory_subscriptions.rs`, limits in
//! `memory_limits.rs`, and which call runs in `memory_running.rs`. Who starts and ends calls is `testing.rs`;
//! nothing here outlives a call.
//!
//! Thread: the calls of one thread; another thread has its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use crate::log::Level;

pub(crate) use crate::memory_blobs::*;
pub(crate) use crate::memory_calls::*;
pub(crate) use crate::memory_limits::*;
pub(crate) use crate::memory_running::*;
pub(crate) use crate::memory_sequences::*;
pub(crate) use crate::memory_stable::*;
pub(crate) use crate::memory_subscriptions::*;
pub(crate) use crate::memory_timers::*;

/// One entry of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Which part of the state an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// What every node has and may write.
    Shared,
    /// What every node has, and one author alone may write.
    Owned,
    /// What stays on this node.
    Private,
}

/// What an entry is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    #[default]
    Register,
    /// A number that is added to.
    Counter,
    /// Something that is there or not.
    SetElement,
    /// A row of values.
    List,
    /// A row of characters.
    Text,
    /// Bytes that stay.
    WriteOnce,
}

/// The host's words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Register => "register",
            Kind::Counter => "counter",
            Kind::SetElement => "set element",
            Kind::List => "list",
            Kind::Text => "text",
            Kind::WriteOnce => "write-once value",
        })
    }
}

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// The elements of a list or text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elements {
    /// Of a list.
    List(Vec<Vec<u8>>),
    /// Of a text.
    Text(Vec<char>),
}

/// What a call has done to what other nodes may have as well, or to a private entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It has written an entry.
    Write {
        /// In which space.
        space: Space,
        /// Under which key.
        key: Vec<u8>,
        /// What it has written.
        write: Write,
    },
    /// It has attached a blob of so many bytes.
    Attach(String, u64),
    /// It has detached a blob.
    Detach(String),
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A register's value.
    Set(Vec<u8>),
    /// What is added to a counter.
    Add(i64),
    /// An element of a set.
    Insert,
    /// A value that stays.
    WriteOnce(Vec<u8>),
    /// Elements of a list or text, the first of them with this index from now on.
    InsertAt(u64, Elements),
    /// So many elements of a list or text go, the first of them at this index.
    RemoveAt(Kind, u64, u64),
    /// The entry goes.
    Remove,
}

/// All entries of a context, as they are read, and their kinds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) shared: Values,
    pub(crate) owned: Values,
    pub(crate) private: Values,
    /// What is no register.
    kinds: BTreeMap<(Space, Vec<u8>), Kind>,
    /// What lists and texts hold, which have no value.
    sequences: BTreeMap<(Space, Vec<u8>), Elements>,
    /// What counters come to that 64 bits do not hold, which are read as the nearest that they do.
    beyond: BTreeMap<(Space, Vec<u8>), i128>,
    /// The blobs that are attached, and their sizes.
    pub(crate) attached: BTreeMap<String, u64>,
    /// The blobs that there are, and their sizes.
    pub(crate) blobs: BTreeMap<String, u64>,
    /// The timers that are armed, by name.
    pub(crate) timers: BTreeMap<String, Timer>,
    /// The stable memory.
    pub(crate) stable: Stable,
    /// Of whose events handlers are told.
    pub(crate) subscriptions: Subscriptions,
}

impl State {
    fn of(&self, space: Space) -> &Values {
        match space {
            Space::Shared => &self.shared,
            Space::Owned => &self.owned,
            Space::Private => &self.private,
        }
    }

    fn of_mut(&mut self, space: Space) -> &mut Values {
        match space {
            Space::Shared => &mut self.shared,
            Space::Owned => &mut self.owned,
            Space::Private => &mut self.private,
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.shared.len() + self.owned.len() + self.private.len()
    }

    /// What kind the entry is, if there is one.
    pub(crate) fn kind(&self, space: Space, key: &[u8]) -> Option<Kind> {
        self.of(space).get(key)?;
        let kind = self.kinds.get(&(space, key.to_vec()));
        Some(kind.copied().unwrap_or_default())
    }

    /// Puts something in an entry's place, or nothing; gives what was there.
    fn replace(&mut self, space: Space, key: &[u8], with: Option<Stored>) -> Option<Stored> {
        let kind = self.kind(space, key);
        let at = (space, key.to_vec());
        let elements = self.sequences.remove(&at);
        let beyond = self.beyond.remove(&at);
        let before = match with {
            None => {
                self.kinds.remove(&at);
                self.of_mut(space).remove(key)
            }
            Some(stored) => {
                if let Some(elements) = stored.elements {
                    self.sequences.insert(at.clone(), elements);
                }
                if let Some(sum) = stored.beyond {
                    self.beyond.insert(at.clone(), sum);
                }
                match stored.kind {
                    Kind::Register => drop(self.kinds.remove(&at)),
                    _ => drop(self.kinds.insert(at, stored.kind)),
                }
                self.of_mut(space).insert(key.to_vec(), stored.value)
            }
        };
        Some(Stored {
            kind: kind?,
            value: before?,
            elements,
            beyond,
        })
    }

    /// Has these entries and no others.
    pub(crate) fn load(&mut self, entries: impl IntoIterator<Item = (Space, Vec<u8>, Stored)>) {
        for values in [&mut self.shared, &mut self.owned, &mut self.private] {
            values.clear();
        }
        self.kinds.clear();
        self.sequences.clear();
        self.beyond.clear();
        for (space, key, stored) in entries {
            self.replace(space, &key, Some(stored));
        }
    }

    /// Makes a shared entry that is written once.
    pub(crate) fn plant(&mut self, key: &[u8], value: &[u8]) {
        assert_place(key);
        let stored = Stored::of(Kind::WriteOnce, value.to_vec());
        self.replace(Space::Shared, key, stored);
    }

    /// Puts an element at the end of a shared list.
    pub(crate) fn plant_element(&mut self, key: &[u8], value: &[u8]) {
        assert_place(key);
        let at = (Space::Shared, key.to_vec());
        let mut values = match self.sequences.remove(&at) {
            Some(Elements::List(values)) => values,
            _ => Vec::new(),
        };
        values.push(value.to_vec());
        let list = Stored {
            kind: Kind::List,
            value: Vec::new(),
            elements: Some(Elements::List(values)),
            beyond: None,
        };
        self.replace(Space::Shared, key, Some(list));
    }

    /// The elements under `key`, if there are any.
    pub(crate) fn elements(&self, space: Space, key: &[u8]) -> Option<&Elements> {
        self.sequences.get(&(space, key.to_vec()))
    }

    pub(crate) fn elements_mut(&mut self, space: Space, key: &[u8]) -> Option<&mut Elements> {
        self.sequences.get_mut(&(space, key.to_vec()))
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) kind: Kind,
    /// As it is read.
    pub(crate) value: Vec<u8>,
    /// What a list or text holds.
    pub(crate) elements: Option<Elements>,
    /// What a counter comes to, if 64 bits do not hold it.
    pub(crate) beyond: Option<i128>,
}

impl Stored {
    fn of(kind: Kind, value: Vec<u8>) -> Option<Stored> {
        Some(Stored {
            kind,
            value,
            elements: None,
            beyond: None,
        })
    }

    /// A counter that comes to this.
    fn sum(sum: i128) -> Option<Stored> {
        let nearest = nearest(sum);
        Some(Stored {
            kind: Kind::Counter,
            value: nearest.to_le_bytes().to_vec(),
            elements: None,
            beyond: (sum != i128::from(nearest)).then_some(sum),
        })
    }
}

/// As it is read.
fn nearest(sum: i128) -> i64 {
    sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// A running call and all that it has done so far.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) state: State,
    /// What writes have replaced, in order; undone from the end on failure.
    pub(crate) replaced: Vec<(Space, Vec<u8>, Option<Stored>)>,
    /// What it has done, in order, if somebody wants to know.
    pub(crate) deeds: Option<Vec<Deed>>,
    /// What it has used of what it may.
    pub(crate) used: Used,
    /// Whether it is the hooks of an upgrade, which may write more.
    pub(crate) is_upgrade: bool,
    /// How many calls in a row have led to it, each sent by the one before it.
    pub(crate) depth: u32,
    /// Calls that were sent and have not ended.
    pub(crate) open: Open,
    /// Whether it may ask nobody.
    pub(crate) asks_nobody: bool,
    /// What it has added to counters that it has not removed since.
    pub(crate) added: BTreeMap<(Space, Vec<u8>), i64>,
    /// The lists and texts of which `replaced` has what they were before.
    pub(crate) edited: BTreeSet<(Space, Vec<u8>)>,
    /// What was attached before, if that has changed.
    pub(crate) attached_before: Option<BTreeMap<String, u64>>,
    /// What was armed before, if that has changed.
    pub(crate) timers_before: Option<BTreeMap<String, Timer>>,
    /// What the stable memory was before, as far as that has changed.
    pub(crate) stable_before: StableBefore,
    /// Blocks of it that were written, as they are counted.
    pub(crate) stable_written: BTreeSet<u32>,
    /// What was subscribed to before, if that has changed.
    pub(crate) subscriptions_before: Option<Subscriptions>,
    pub(crate) events: Vec<(String, Vec<u8>)>,
    pub(crate) logs: Vec<(Level, String)>,
    /// Calls that were sent to other contexts.
    pub(crate) sent: Vec<Sent>,
    pub(crate) may_write: bool,
    pub(crate) context_id: [u8; 32],
    pub(crate) caller: String,
    pub(crate) author: [u8; 32],
    pub(crate) now: u64,
    pub(crate) seed: u64,
    /// The number of the call, which names what it sends.
    pub(crate) number: u64,
    pub(crate) state_version: u64,
    /// What the other contexts answer.
    pub(crate) others: Option<Others>,
}

/// What a panic carries that stops a query because it wrote.
pub(crate) struct WroteInQuery;

/// What a panic carries that stops a call because it used an entry as what it is
/// not.
pub(crate) struct Misused(pub(crate) String);

/// No node writes under a longer key.
fn assert_place(key: &[u8]) {
    let (bytes, max) = (key.len() as u64, PLACE_BYTES.max);
    assert!(
        bytes <= max,
        "a key of {bytes} bytes is over the limit of {max}"
    );
}

impl Call {
    /// Takes every write back.
    pub(crate) fn roll_back(&mut self) {
        while let Some((space, key, before)) = self.replaced.pop() {
            self.state.replace(space, &key, before);
        }
        if let Some(before) = self.attached_before.take() {
            self.state.attached = before;
        }
        if let Some(before) = self.timers_before.take() {
            self.state.timers = before;
        }
        let before = std::mem::take(&mut self.stable_before);
        self.state.stable.go_back(before);
        if let Some(before) = self.subscriptions_before.take() {
            self.state.subscriptions = before;
        }
        self.events.clear();
        self.sent.clear();
    }

    pub(crate) fn write(&mut self, space: Space, key: &[u8], with: Option<Stored>) {
        let before = self.state.replace(space, key, with);
        self.edited.remove(&(space, key.to_vec()));
        self.replaced.push((space, key.to_vec(), before));
    }

    /// Notes what it has done to an entry.
    pub(crate) fn note(&mut self, space: Space, key: &[u8], write: impl FnOnce() -> Write) {
        if let Some(deeds) = &mut self.deeds {
            deeds.push(Deed::Write {
                space,
                key: key.to_vec(),
                write: write(),
            });
        }
    }

    /// The door of a write of one entry: its key, and so many bytes beside it.
    fn begin_write(
        &mut self,
        space: Space,
        key: &[u8],
        written: Kind,
        bytes: u64,
    ) -> Result<(), Misused> {
        bound(VALUE_BYTES, bytes);
        self.check(space, key, written)?;
        self.count_write(key.len() as u64 + bytes);
        Ok(())
    }

    /// Whether a write of this kind fits to what is there.
    pub(crate) fn check(&self, space: Space, key: &[u8], written: Kind) -> Result<(), Misused> {
        check_key(key);
        self.check_owner(space, key)?;
        if space == Space::Private && written != Kind::Register {
            return Err(Misused(format!(
                "a {written} was written into the private space, which has registers only"
            )));
        }
        match self.state.kind(space, key) {
            Some(kind) if kind != written => Err(Misused(format!(
                "an entry that is a {kind} was written as a {written}"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_owner(&self, space: Space, key: &[u8]) -> Result<(), Misused> {
        if space == Space::Owned && !key.starts_with(&self.author) {
            let what = "a key of the owned space was written that does not begin with the \
                        public key of this node";
            return Err(Misused(what.to_owned()));
        }
        Ok(())
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<bool, Misused> {
        match self.state.kind(space, key) {
            None => Ok(false),
            Some(Kind::WriteOnce) => {
                let what = "a write-once entry was removed, which cannot be";
                Err(Misused(what.to_owned()))
            }
            Some(_) => {
                self.write(space, key, None);
                self.added.remove(&(space, key.to_vec()));
                self.note(space, key, || Write::Remove);
                Ok(true)
            }
        }
    }
}

pub(crate) fn get(space: Space, key: &[u8]) -> Option<Vec<u8>> {
    check_place(key);
    with(|call| call.state.of(space).get(key).cloned())
}

pub(crate) fn set(space: Space, key: &[u8], value: &[u8]) {
    with_writing(|call| {
        call.begin_write(space, key, Kind::Register, value.len() as u64)?;
        call.write(space, key, Stored::of(Kind::Register, value.to_vec()));
        call.note(space, key, || Write::Set(value.to_vec()));
        Ok(())
    });
}

pub(crate) fn add(space: Space, key: &[u8], amount: i64) -> i64 {
    with_writing(|call| {
        call.begin_write(space, key, Kind::Counter, AMOUNT_BYTES)?;
        let at = (space, key.to_vec());
        let added = call.added.get(&at).copied().unwrap_or(0);
        let Some(added) = added.checked_add(amount) else {
            let what = "more was added to a counter in one call than 64 bits can hold";
            return Err(Misused(what.to_owned()));
        };
        let before = call.state.of(space).get(key);
        let before = before.and_then(|bytes| bytes.first_chunk().copied());
        let before = before.map_or(0, i64::from_le_bytes).into();
        let before = call.state.beyond.get(&at).copied().unwrap_or(before);
        let sum = before.saturating_add(amount.into());
        call.write(space, key, Stored::sum(sum));
        call.added.insert(at, added);
        call.note(space, key, || Write::Add(amount));
        Ok(nearest(sum))
    })
}

pub(crate) fn insert(space: Space, key: &[u8]) -> bool {
    with_writing(|call| {
        call.begin_write(space, key, Kind::SetElement, 0)?;
        let is_new = !call.state.of(space).contains_key(key);
        call.write(space, key, Stored::of(Kind::SetElement, Vec::new()));
        call.note(space, key, || Write::Insert);
        Ok(is_new)
    })
}

pub(crate) fn write_once(space: Space, key: &[u8], value: &[u8]) -> bool {
    with_writing(|call| {
        call.begin_write(space, key, Kind::WriteOnce, value.len() as u64)?;
        let is_first = !call.state.of(space).contains_key(key);
        if is_first {
            call.write(space, key, Stored::of(Kind::WriteOnce, value.to_vec()));
            call.note(space, key, || Write::WriteOnce(value.to_vec()));
        }
        Ok(is_first)
    })
}

pub(crate) fn remove(space: Space, key: &[u8]) -> bool {
    check_place(key);
    with_writing(|call| {
        call.check_owner(space, key)?;
        call.count_write(key.len() as u64);
        call.remove(space, key)
    })
}

pub(crate) fn remove_range(space: Space, prefix: &[u8], limit: u32) -> u32 {
    check_limit(limit);
    check_place(prefix);
    with_writing(|call| {
        call.check_owner(space, prefix)?;
        let all = call.state.of(space);
        let keys: Vec<_> = all
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| call.state.kind(space, key) != Some(Kind::WriteOnce))
            .take(limit as usize)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            call.count_write(key.len() as u64);
            call.remove(space, key)?;
        }
        Ok(keys.len() as u32)
    })
}

pub(crate) fn scan(
    space: Space,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: u32,
    reverse: bool,
) -> Vec<Entry> {
    check_limit(limit);
    check_place(prefix);
    check_place(after.unwrap_or_default());
    let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| Entry {
        key: key.clone(),
        value: value.clone(),
    };
    let within = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(prefix);
    let limit = limit as usize;
    let mut found: Vec<Entry> = with(|call| {
        if reverse {
            // A range that ends before it begins is not empty but a panic.
            if after.is_some_and(|after| after <= prefix) {
                return Vec::new();
            }
            // Keys with the prefix lie together; those behind them are skipped.
            let end = after.map_or(Bound::Unbounded, Bound::Excluded);
            call.state
                .of(space)
                .range::<[u8], _>((Bound::Included(prefix), end))
                .rev()
                .skip_while(|entry| !within(entry))
                .take_while(within)
                .take(limit)
                .map(entry)
                .collect()
        } else {
            let start = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            call.state
                .of(space)
                .range::<[u8], _>((start, Bound::Unbounded))
                .take_while(within)
                .take(limit)
                .map(entry)
                .collect()
        }
    });
    let lengths = found
        .iter()
        .map(|entry| entry.key.len() + entry.value.len());
    found.truncate(fitting(lengths));
    found
}

pub(crate) fn count(space: Space, prefix: &[u8]) -> u64 {
    check_place(prefix);
    with(|call| {
        call.state
            .of(space)
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .count() as u64
    })
}

pub(crate) fn emit(kind: &str, payload: &[u8]) {
    bound(EVENT_KIND_BYTES, kind.len() as u64);
    with_writing(|call| {
        call.count_event(kind, payload);
        check_json("the payload of an event is", payload);
        call.events.push((kind.to_owned(), payload.to_vec()));
        Ok(())
    });
}

pub(crate) fn log(level: Level, message: &str) {
    with(|call| {
        call.count_line(message);
        call.logs.push((level, message.to_owned()));
    });
}

pub(crate) fn context_id() -> Vec<u8> {
    with(|call| call.context_id.to_vec())
}

pub(crate) fn caller() -> String {
    with(|call| call.caller.clone())
}

pub(crate) fn author() -> Vec<u8> {
    with(|call| call.author.to_vec())
}

pub(crate) fn now() -> u64 {
    with(|call| call.now)
}

pub(crate) fn random(count: u32) -> Vec<u8> {
    bound(RANDOM_BYTES, count.into());
    with(|call| {
        let byte = |_| (next_chance(&mut call.seed) >> 56) as u8;
        (0..count).map(byte).collect()
    })
}

/// The chance of a call: it is repeatable, and another in each context and each call.
pub(crate) fn chance_of(context: &[u8; 32], seed: u64) -> u64 {
    let mut mixed = seed;
    for part in context.chunks_exact(8) {
        let part = part.first_chunk().copied().map_or(0, u64::from_le_bytes);
        mixed = mixed.wrapping_add(part);
        mixed = next_chance(&mut mixed);
    }
    mixed
}

/// SplitMix64: repeatable from the seed, and nothing more.
fn next_chance(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

pub(crate) fn state_version() -> u64 {
    with(|call| call.state_version)
}

pub(crate) fn fuel_used() -> u64 {
    0 // nothing is metered here
}
