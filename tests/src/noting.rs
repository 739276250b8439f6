//! A context's state in memory that does whatever a guest asks for, or notes it, and waits a slice now and
//! then: for tests that compare what a guest does in one run with what it does in another. What entries,
//! lists and all else mean is the store's and the shard's.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use corelet_wasm_host::{
    Arming, AttachStep, DetachStep, Elements, GuestBlobs, GuestSends, GuestSequences, GuestState,
    GuestSubscriptions, GuestTimers, NewSend, NewSubscription, NewTimer, RemovalStep, Row, Sending,
    SentBounds, SequenceKind, SequenceStep, SizeFrom, SizeKnown, SizeStep, Space, StateError,
    StateWalk, Subscribing,
};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a blob has, if it is there.
const BLOB_BYTES: u64 = 7;

/// Everything that a turn may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noting {
    entries: BTreeMap<Space, Entries>,
    /// Lists and texts by their keys: elements, or characters.
    sequences: BTreeMap<(Space, Vec<u8>), Vec<Vec<u8>>>,
    attached: BTreeMap<String, u64>,
    /// Timers, calls and subscriptions, in the order in which they were asked for.
    asked: Vec<String>,
    /// Whether the step before was to wait.
    has_waited: bool,
}

impl Noting {
    /// One with these entries in the shared space.
    pub fn of(entries: Entries) -> Noting {
        let others = [Space::Owned, Space::Private, Space::Stable];
        let others = others.map(|space| (space, Entries::new()));
        let shared = (Space::Shared, entries);
        Noting {
            entries: others.into_iter().chain([shared]).collect(),
            sequences: BTreeMap::new(),
            attached: BTreeMap::new(),
            asked: Vec::new(),
            has_waited: false,
        }
    }

    /// All that [`reached`](Self::reached) may tell.
    pub const REACHED: [&str; 8] = [
        "a list",
        "a text",
        "a blob",
        "a timer",
        "a call that is sent",
        "a subscription",
        "the private space",
        "stable memory",
    ];

    /// What turns have come to, in words.
    pub fn reached(&self) -> Vec<&'static str> {
        let has_asked = |word: &str| self.asked.iter().any(|asked| asked.starts_with(word));
        let has_sequence = |key: &[u8]| self.sequences.keys().any(|(_, there)| there == key);
        let in_space = |space| self.entries.get(&space).is_some_and(|map| !map.is_empty());
        let is_there = [
            has_sequence(b"list"),
            has_sequence(b"text"),
            !self.attached.is_empty(),
            has_asked("arm"),
            has_asked("send"),
            has_asked("subscribe"),
            in_space(Space::Private),
            in_space(Space::Stable),
        ];
        let all = Noting::REACHED.into_iter().zip(is_there);
        all.filter_map(|(what, is_there)| is_there.then_some(what))
            .collect()
    }

    /// Whether something in it is another than in this one.
    pub fn is_changed_from(&self, before: &Noting) -> bool {
        let waited = Noting {
            has_waited: self.has_waited,
            ..before.clone()
        };
        *self != waited
    }

    fn space(&mut self, space: Space) -> &mut Entries {
        self.entries.get_mut(&space).expect("it has all spaces")
    }

    fn sequence(&mut self, space: Space, key: &[u8]) -> &mut Vec<Vec<u8>> {
        self.sequences.entry((space, key.to_vec())).or_default()
    }

    /// Every second time.
    fn is_to_wait(&mut self) -> bool {
        self.has_waited = !self.has_waited;
        self.has_waited
    }
}

impl GuestState for Noting {
    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        GuestState::get(self.space(space), space, key)
    }

    fn set(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.space(space).set(space, key, value)
    }

    fn add(&mut self, space: Space, key: &[u8], amount: i64) -> Result<i64, StateError> {
        self.space(space).add(space, key, amount)
    }

    fn insert(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError> {
        GuestState::insert(self.space(space), space, key)
    }

    fn write_once(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<bool, StateError> {
        self.space(space).write_once(space, key, value)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<bool, StateError> {
        GuestState::remove(self.space(space), space, key)
    }

    fn scan(
        &mut self,
        walk: StateWalk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.space(walk.space).scan(walk, out)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl GuestSequences for Noting {
    fn sequence_open(
        &mut self,
        _kind: SequenceKind,
        _space: Space,
        _key: &[u8],
    ) -> Result<SequenceStep, StateError> {
        Ok(match self.is_to_wait() {
            true => SequenceStep::More { bytes: 100 },
            false => SequenceStep::Open { bytes: 100 },
        })
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
        let elements: Vec<Vec<u8>> = match elements {
            Elements::Values(values) => values,
            Elements::Text(text) => {
                let characters = text.chars();
                characters.map(|it| it.to_string().into_bytes()).collect()
            }
        };
        let at = index as usize;
        self.sequence(space, key).splice(at..at, elements);
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
        if self.is_to_wait() {
            return Ok(RemovalStep::More { work: 3 });
        }
        let gone = index as usize..(index + count) as usize;
        self.sequence(space, key).drain(gone);
        Ok(RemovalStep::Whole { work: 5 })
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
        let asked = index as usize..(index + count) as usize;
        let read = match count {
            0 => Vec::new(),
            _ => self.sequence(space, key)[asked].to_vec(),
        };
        Ok(match kind {
            SequenceKind::List => Elements::Values(read),
            SequenceKind::Text => {
                let text = String::from_utf8(read.concat());
                Elements::Text(text.expect("it was text"))
            }
        })
    }
}

/// There is every second blob, by the first letter of its id.
impl GuestBlobs for Noting {
    fn attach(&mut self, blob: &str) -> Result<AttachStep, StateError> {
        if self.is_to_wait() {
            return Ok(AttachStep::More);
        }
        let is_there = blob.bytes().next().is_some_and(|first| first % 2 == 0);
        if !is_there {
            return Ok(AttachStep::Missing);
        }
        self.attached.insert(blob.to_owned(), BLOB_BYTES);
        Ok(AttachStep::Attached { bytes: BLOB_BYTES })
    }

    fn detach(
        &mut self,
        blob: &str,
        _from: Option<&[u8]>,
        _limit: usize,
    ) -> Result<DetachStep, StateError> {
        Ok(DetachStep {
            detached: u64::from(self.attached.remove(blob).is_some()),
            ..DetachStep::default()
        })
    }

    fn attached_bytes(&mut self, blob: &str, _from: &SizeFrom) -> Result<SizeStep, StateError> {
        Ok(SizeStep {
            walked: 0,
            known: match self.is_to_wait() {
                true => SizeKnown::Later,
                false => SizeKnown::Is(self.attached.get(blob).copied()),
            },
        })
    }
}

impl GuestTimers for Noting {
    fn arm(&mut self, timer: NewTimer<'_>, _timers_max: u64) -> Result<Arming, StateError> {
        self.asked.push(format!("arm {timer:?}"));
        Ok(Arming::Armed)
    }

    fn cancel(&mut self, name: &str) -> Result<bool, StateError> {
        self.asked.push(format!("cancel {name:?}"));
        Ok(true)
    }
}

impl GuestSends for Noting {
    fn send(&mut self, call: NewSend<'_>, _bounds: SentBounds) -> Result<Sending, StateError> {
        self.asked.push(format!("send {call:?}"));
        Ok(Sending::Sent(self.asked.len().to_string()))
    }
}

impl GuestSubscriptions for Noting {
    fn subscribe(
        &mut self,
        subscription: NewSubscription<'_>,
        _subscriptions_max: u64,
    ) -> Result<Subscribing, StateError> {
        self.asked.push(format!("subscribe {subscription:?}"));
        Ok(Subscribing::Subscribed)
    }

    fn unsubscribe(&mut self, context: &[u8; 32], handler: &str) -> Result<bool, StateError> {
        let what = format!("unsubscribe {context:?} {handler:?}");
        self.asked.push(what);
        Ok(true)
    }
}
