//! A context's state in memory, for tests.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use corelet_wasm_host::{
    Arming, AttachStep, AttachedBlob, AttachedFrom, AttachedPage, DetachStep, Elements, GuestBlobs,
    GuestSends, GuestSequences, GuestState, GuestSubscription, GuestSubscriptions, GuestTimer,
    GuestTimers, NewSend, NewSubscription, NewTimer, RemovalStep, Row, Sending, SentBounds,
    SequenceKind, SequenceStep, SizeFrom, SizeKnown, SizeStep, Space, StateError, StateWalk,
    Subscribing, TimersPage,
};

/// Entries with their kinds, and how often they were asked for.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapState {
    /// Those of the shared space.
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Those of the other spaces.
    pub(crate) beside: BTreeMap<Space, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// What is no register.
    pub(crate) kinds: BTreeMap<(Space, Vec<u8>), &'static str>,
    /// Lists and texts.
    pub(crate) sequences: BTreeMap<(Space, Vec<u8>), Sequence>,
    /// Blobs that there are, and those that are attached, with their sizes.
    pub(crate) blobs: BTreeMap<String, u64>,
    pub(crate) attached: BTreeMap<String, u64>,
    /// What is armed, in the order of the names, and subscribed to.
    pub(crate) timers: Vec<GuestTimer>,
    pub(crate) subscriptions: Vec<GuestSubscription>,
    /// Slices that it takes to open a list or text, or to look for a blob.
    pub(crate) steps: u64,
    /// Steps that a removal takes, beside the last one.
    pub(crate) removal_steps: u64,
    /// What each step of a removal says that it was.
    pub(crate) removal_work: u64,
    /// Elements that are read at once; all, if it is 0.
    pub(crate) read_part: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Removals from before the turn that a scan walks over first, forwards.
    pub(crate) hidden: u32,
    /// Bytes that are read for each entry beside its value.
    pub(crate) beneath: u64,
    /// Those that were read and not told of.
    pub(crate) unseen: u64,
    /// Every answer is this error, if there is one.
    pub(crate) broken: Option<&'static str>,
    /// Counts the states that still exist.
    pub(crate) alive: Option<Arc<()>>,
}

/// A list or text: its elements as strings.
pub(crate) type Sequence = Vec<Vec<u8>>;

/// What each of them takes, in bytes.
pub(crate) const SEQUENCE_BYTES: u64 = 1000;

const REGISTER: &str = "register";
const COUNTER: &str = "counter";
const ELEMENT: &str = "set element";
pub(crate) const WRITE_ONCE: &str = "write-once";

impl MapState {
    pub(crate) fn of(entries: &[(&str, &str)]) -> MapState {
        let pair =
            |(key, value): &(&str, &str)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        MapState {
            entries: entries.iter().map(pair).collect(),
            ..MapState::default()
        }
    }

    fn check(&self) -> Result<(), StateError> {
        self.broken
            .map_or(Ok(()), |what| Err(StateError::new(what)))
    }

    pub(crate) fn map(&mut self, space: Space) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        match space {
            Space::Shared => &mut self.entries,
            _ => self.beside.entry(space).or_default(),
        }
    }

    /// Counts a write, and refuses one of another kind than the entry has.
    fn write(&mut self, space: Space, key: &[u8], kind: &'static str) -> Result<(), StateError> {
        self.check()?;
        self.writes += 1;
        let at = (space, key.to_vec());
        let is_there = self.map(space).contains_key(key);
        let there = self.kinds.get(&at).copied().unwrap_or(REGISTER);
        if is_there && there != kind {
            return Err(StateError::Misused(format!("a {there} as a {kind}")));
        }
        if space == Space::Private && kind != REGISTER {
            return Err(StateError::Misused(format!("a private {kind}")));
        }
        match kind {
            REGISTER => drop(self.kinds.remove(&at)),
            _ => drop(self.kinds.insert(at, kind)),
        }
        Ok(())
    }
}

impl GuestState for MapState {
    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.check()?;
        self.reads += 1;
        self.unseen += self.beneath;
        GuestState::get(self.map(space), space, key)
    }

    fn set(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.write(space, key, REGISTER)?;
        self.map(space).set(space, key, value)
    }

    fn add(&mut self, space: Space, key: &[u8], amount: i64) -> Result<i64, StateError> {
        self.write(space, key, COUNTER)?;
        self.map(space).add(space, key, amount)
    }

    fn insert(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError> {
        self.write(space, key, ELEMENT)?;
        GuestState::insert(self.map(space), space, key)
    }

    fn write_once(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<bool, StateError> {
        self.write(space, key, WRITE_ONCE)?;
        self.map(space).write_once(space, key, value)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError> {
        self.check()?;
        self.writes += 1;
        if self.kinds.get(&(space, key.to_vec())) == Some(&WRITE_ONCE) {
            return Err(StateError::Misused("a write-once removed".to_owned()));
        }
        self.unseen += self.beneath;
        GuestState::remove(self.map(space), space, key)
    }

    fn take_unseen(&mut self) -> u64 {
        std::mem::take(&mut self.unseen)
    }

    fn scan(
        &mut self,
        walk: StateWalk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.check()?;
        self.reads += 1;
        let first = walk.after.map_or(0, |after| match after.first_chunk() {
            Some(number) => u32::from_be_bytes(*number) + 1,
            None => u32::MAX,
        });
        for number in first..self.hidden {
            if out(&number.to_be_bytes(), Row::Hidden).is_break() {
                return Ok(());
            }
        }
        let (space, kinds) = (walk.space, self.kinds.clone());
        let (beneath, mut unseen) = (self.beneath, 0);
        self.map(space).scan(walk, &mut |key, row| {
            let row = match row {
                Row::Shown(value) if kinds.get(&(space, key.to_vec())) == Some(&WRITE_ONCE) => {
                    Row::WrittenOnce(value)
                }
                row => row,
            };
            let flow = out(key, row);
            match beneath {
                0 => flow,
                _ if flow.is_continue() => out(key, Row::Unseen(beneath)),
                _ => {
                    unseen += beneath;
                    flow
                }
            }
        })?;
        self.unseen += unseen;
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Takes all of them, and keeps none.
impl GuestTimers for MapState {
    fn arm(&mut self, _timer: NewTimer<'_>, _timers_max: u64) -> Result<Arming, StateError> {
        Ok(Arming::Armed)
    }

    fn timers(&mut self, after: Option<&str>, limit: usize) -> Result<TimersPage, StateError> {
        let all = self.timers.iter();
        let behind = all.filter(|timer| after.is_none_or(|after| *timer.name > *after));
        Ok(TimersPage {
            timers: behind.take(limit).cloned().collect(),
            walked: 0,
        })
    }
}

/// The same.
impl GuestSends for MapState {
    fn send(&mut self, _call: NewSend<'_>, _bounds: SentBounds) -> Result<Sending, StateError> {
        Ok(Sending::Sent("1".to_owned()))
    }
}

/// The same.
impl GuestSubscriptions for MapState {
    fn subscribe(
        &mut self,
        _subscription: NewSubscription<'_>,
        _subscriptions_max: u64,
    ) -> Result<Subscribing, StateError> {
        Ok(Subscribing::Subscribed)
    }

    fn subscribed(&mut self) -> Result<Vec<GuestSubscription>, StateError> {
        Ok(self.subscriptions.clone())
    }
}

impl GuestBlobs for MapState {
    fn attach(&mut self, blob: &str) -> Result<AttachStep, StateError> {
        self.check()?;
        if let Some(left) = self.steps.checked_sub(1) {
            self.steps = left;
            return Ok(AttachStep::More);
        }
        let Some(bytes) = self.blobs.get(blob).copied() else {
            return Ok(AttachStep::Missing);
        };
        self.attached.insert(blob.to_owned(), bytes);
        Ok(AttachStep::Attached { bytes })
    }

    /// One of its lengths at a time; "k" has as many as it is long.
    fn detach(
        &mut self,
        blob: &str,
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<DetachStep, StateError> {
        assert!(limit > 0, "nothing can be done");
        let Some(bytes) = self.attached.get_mut(blob) else {
            return Ok(DetachStep::default());
        };
        *bytes -= 1;
        if blob != "k" || *bytes == 0 {
            self.attached.remove(blob);
        }
        let is_left = self.attached.contains_key(blob);
        assert!(from.is_none() || blob == "k");
        Ok(DetachStep {
            detached: 1,
            walked: 0,
            resume: is_left.then(|| vec![0]),
        })
    }

    /// Behind as many rows as `hidden` says, one at a time.
    fn attached_bytes(&mut self, blob: &str, from: &SizeFrom) -> Result<SizeStep, StateError> {
        let step = |walked, known| Ok(SizeStep { walked, known });
        if let Some(left) = self.steps.checked_sub(1) {
            self.steps = left;
            return step(0, SizeKnown::Later);
        }
        let walked = from.place.as_ref().map_or(0, Vec::len);
        if walked < self.hidden as usize {
            let place = Some(vec![0; walked + 1]);
            return step(
                1,
                SizeKnown::From(SizeFrom {
                    place,
                    largest: None,
                }),
            );
        }
        step(0, SizeKnown::Is(self.attached.get(blob).copied()))
    }

    /// One at a time, with a pause behind each.
    fn attached(
        &mut self,
        from: AttachedFrom<'_>,
        _limit: usize,
    ) -> Result<AttachedPage, StateError> {
        let after = match from {
            AttachedFrom::Start => String::new(),
            AttachedFrom::Behind(id) => id.to_owned(),
            AttachedFrom::Resumed(place) => String::from_utf8(place).unwrap(),
        };
        let next = self.attached.iter().find(|(id, _)| **id > after);
        Ok(
            next.map_or_else(AttachedPage::default, |(id, bytes)| AttachedPage {
                blobs: vec![AttachedBlob {
                    id: id.clone(),
                    bytes: *bytes,
                }],
                walked: 0,
                resume: Some(id.clone().into_bytes()),
            }),
        )
    }
}

impl GuestSequences for MapState {
    fn sequence_open(
        &mut self,
        kind: SequenceKind,
        space: Space,
        key: &[u8],
    ) -> Result<SequenceStep, StateError> {
        self.check()?;
        if self.map(space).contains_key(key) {
            return Err(StateError::Misused(format!("a register as a {kind:?}")));
        }
        let bytes = SEQUENCE_BYTES * self.sequences.len() as u64;
        match self.steps.checked_sub(1) {
            Some(left) => {
                self.steps = left;
                Ok(SequenceStep::More { bytes })
            }
            None => Ok(SequenceStep::Open { bytes }),
        }
    }

    fn sequence_length(
        &mut self,
        _kind: SequenceKind,
        space: Space,
        key: &[u8],
    ) -> Result<u64, StateError> {
        let found = self.sequences.get(&(space, key.to_vec()));
        Ok(found.map_or(0, |sequence| sequence.len() as u64))
    }

    fn sequence_insert(
        &mut self,
        space: Space,
        key: &[u8],
        index: u64,
        elements: Elements,
    ) -> Result<(), StateError> {
        let at = index as usize;
        let elements = match elements {
            Elements::Values(values) => values,
            Elements::Text(text) => text.chars().map(|c| c.to_string().into_bytes()).collect(),
        };
        let sequence = self.sequences.entry((space, key.to_vec())).or_default();
        sequence.splice(at..at, elements);
        Ok(())
    }

    fn sequence_remove(
        &mut self,
        _kind: SequenceKind,
        space: Space,
        key: &[u8],
        index: u64,
        count: u64,
    ) -> Result<RemovalStep, StateError> {
        let work = self.removal_work;
        if self.removal_steps > 0 {
            self.removal_steps -= 1;
            return Ok(RemovalStep::More { work });
        }
        let sequence = self.sequences.entry((space, key.to_vec())).or_default();
        sequence.drain(index as usize..(index + count) as usize);
        Ok(RemovalStep::Whole { work })
    }

    fn sequence_read(
        &mut self,
        kind: SequenceKind,
        space: Space,
        key: &[u8],
        index: u64,
        count: u64,
        _bytes_max: u64,
    ) -> Result<Elements, StateError> {
        let found = self.sequences.get(&(space, key.to_vec()));
        let all = found.map_or(&[][..], Vec::as_slice);
        let count = match self.read_part {
            0 => count,
            part => count.min(part),
        };
        let read = all[index as usize..(index + count) as usize].to_vec();
        Ok(match kind {
            SequenceKind::List => Elements::Values(read),
            SequenceKind::Text => {
                Elements::Text(String::from_utf8(read.concat()).expect("it was text"))
            }
        })
    }
}
