//! The context that another node has as well: that one's deltas come in, sealed, between calls
//! that write at once, edit a text and a list, and write each kind and space. Like everything
//! of `batch.rs` it follows from the numbers of the batches.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{
    Acknowledgement, Birth, Births, CallEffects, Change, Content, ContextSlot, DeltaId, EditPlace,
    EditView, EntryKind, Hlc, Keep, Ledger, LedgerWriter, NodeId, Op, Packs, Reach, RemoteDelta,
    Retention, Sealer, Sequence, SequenceKind, SequenceName, Snapshot, Space, StepBounds,
    StoreError, Write, replay,
};

use crate::batch::{SHARED, US, entries, event, id, set, stamp};
use crate::check::{Finding, Value, slot};
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};

/// In every so many batches text and list are begun anew, and what was removed is litter.
const ANEW_EVERY: u64 = 12;

/// Where in a batch the other node's delta is, and each call behind it.
const THEIRS: u64 = 50;
const TEXT: u64 = 60;
const LIST: u64 = 61;
const LAST: u64 = 62;

const KEEP_ALL: Keep = Keep {
    count_max: u64::MAX,
    bytes_max: u64::MAX,
    age_max: Duration::from_secs(1 << 40),
};

/// Events tell which batches there were, so all of them are kept.
const RETENTION: Retention = Retention {
    events: KEEP_ALL,
    history: Keep {
        count_max: 64,
        ..KEEP_ALL
    },
    away_max: Duration::from_secs(1 << 40),
    away_bytes_max: u64::MAX,
    packs: Packs {
        alone: 2,
        together: 4,
    },
};

/// What a writer has to know of the context to go on.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The other node's newest delta.
    theirs: Option<DeltaId>,
    text: Edited,
    list: Edited,
}

#[derive(Clone)]
struct Edited {
    name: SequenceName,
    sequence: Sequence,
    births: Births,
}

fn them() -> NodeId {
    static THEM: LazyLock<NodeId> = LazyLock::new(|| Key::new(1).node_id());
    *THEM
}

/// What makes a new context this one.
pub(crate) fn share() -> [Change; 2] {
    let members = Change::SetMembers {
        context: id(SHARED),
        members: vec![them()],
        now: Hlc::ZERO,
    };
    [Change::ShareContext(id(SHARED)), members]
}

impl Shared {
    pub(crate) fn read(snapshot: &Snapshot) -> Result<Shared, Finding> {
        let slot = slot(snapshot, SHARED)?;
        let mut theirs = None;
        snapshot.deltas(slot, usize::MAX, &mut |_, delta| {
            if delta.author() != them() {
                return ControlFlow::Continue(());
            }
            theirs = Some(delta.id());
            ControlFlow::Break(())
        })?;
        Ok(Shared {
            theirs,
            text: Edited::read(snapshot, slot, "text", EntryKind::Text)?,
            list: Edited::read(snapshot, slot, "list", EntryKind::List)?,
        })
    }

    /// What a batch does behind its first calls. If it fails, what this knew before is so.
    pub(crate) fn changes(&mut self, n: u64) -> Result<Vec<Change>, Box<dyn Error>> {
        let delta = vouched(&theirs(n, self.theirs));
        self.theirs = Some(delta.id());
        let seal = delta.sealed().cloned().map(Change::KeepSeal);
        let slot = ContextSlot::UNASSIGNED;
        let mut changes = vec![Change::Delta(RemoteDelta { slot, delta })];
        changes.extend(seal);
        for (edited, at) in [(&mut self.text, TEXT), (&mut self.list, LIST)] {
            let op = edited.edit(n, stamp(n, at))?;
            changes.push(call(n, at, vec![op]));
        }
        changes.push(last(n));
        Ok(changes)
    }

    /// Whether text and list are what those batches have made.
    pub(crate) fn compare(&self, batches: &[u64]) -> Result<(), String> {
        let expected = elements(batches);
        for edited in [&self.text, &self.list] {
            let kind = edited.sequence.kind();
            let found = edited.sequence.slice(0, edited.sequence.len());
            if found.as_ref() != Ok(&content(kind, &expected)) {
                return Err(format!("the {kind:?} has other elements than it was given"));
            }
        }
        Ok(())
    }
}

impl Edited {
    /// From what was saved, if anything was, and the edits since, as a server does.
    fn read(
        snapshot: &Snapshot,
        slot: ContextSlot,
        key: &'static str,
        kind: EntryKind,
    ) -> Result<Edited, Finding> {
        let name = SequenceName {
            slot,
            space: Space::Shared,
            key: key.into(),
            kind,
        };
        let wrong = |what: &str| Finding::Wrong(format!("{key}: {what}"));
        let facts = snapshot.sequence(slot, Space::Shared, key.as_bytes(), kind)?;
        let saved = snapshot.saved_sequence(slot, Space::Shared, key.as_bytes(), kind)?;
        let place = saved.as_ref().map(|saved| saved.place);
        let mut sequence = match saved {
            Some(saved) => Sequence::open(US, &saved.bytes)
                .map_err(|error| wrong(&format!("what is saved: {error}")))?,
            None => Sequence::new(kind_of(kind), US),
        };
        let place = place.unwrap_or(EditPlace::behind(Hlc::ZERO));
        let mut is_void = false;
        if facts.is_some() {
            let visit = &mut |edit: EditView<'_>| {
                is_void |= !replay(&mut sequence, &edit);
                ControlFlow::Continue(())
            };
            snapshot.edits_behind(slot, Space::Shared, key.as_bytes(), kind, place, visit)?;
        }
        if is_void {
            return Err(wrong("an edit of it does nothing"));
        }
        Ok(Edited {
            name,
            sequence,
            births: facts.map(|facts| facts.births).unwrap_or_default(),
        })
    }

    fn edit(&mut self, n: u64, stamp: Hlc) -> Result<Op, Box<dyn Error>> {
        let removes_first = n.is_multiple_of(ANEW_EVERY);
        let kind = self.sequence.kind();
        if removes_first {
            self.sequence = Sequence::new(kind, US);
            self.births = Births::default();
        }
        let (at, deleted) = place(n, self.sequence.len());
        self.sequence.delete(at, deleted)?;
        self.sequence.insert(at, content(kind, &[n]))?;
        let update = self.sequence.take_update(stamp)?;
        let births = self.births.clone();
        if births.is_empty() {
            let birth = Birth {
                author: US,
                hlc: stamp,
            };
            self.births = [birth].into_iter().collect();
        }
        let write = Write::Edit {
            kind: self.name.kind,
            births,
            update: update.ok_or("an insertion is an update")?.into(),
        };
        Ok(Op {
            removes_first,
            ..Op::shared(self.name.key.clone(), write)
        })
    }
}

fn kind_of(kind: EntryKind) -> SequenceKind {
    match kind {
        EntryKind::List => SequenceKind::List,
        _ => SequenceKind::Text,
    }
}

/// Where batch `n` inserts its element, and how many it deletes there.
fn place(n: u64, len: usize) -> (usize, usize) {
    let at = (n * 7) as usize % (len + 1);
    (at, usize::from(n.is_multiple_of(3)).min(len - at))
}

/// What is in text and list after these batches, by who has inserted it.
fn elements(batches: &[u64]) -> Vec<u64> {
    let mut elements = Vec::new();
    for &n in batches {
        if n.is_multiple_of(ANEW_EVERY) {
            elements.clear();
        }
        let (at, deleted) = place(n, elements.len());
        elements.splice(at..at + deleted, [n]);
    }
    elements
}

fn content(kind: SequenceKind, elements: &[u64]) -> Content {
    let letter = |n: &u64| char::from(b'a' + (n % 26) as u8);
    match kind {
        SequenceKind::Text => Content::Text(elements.iter().map(letter).collect()),
        SequenceKind::List => {
            Content::Values(elements.iter().map(|n| n.to_be_bytes().into()).collect())
        }
    }
}

fn call(n: u64, at: u64, ops: Vec<Op>) -> Change {
    Change::Call(CallEffects {
        ops,
        ..CallEffects::new(id(SHARED), US, stamp(n, at))
    })
}

/// Every other kind and space.
fn last(n: u64) -> Change {
    let number = n.to_be_bytes().to_vec();
    let mut ops = vec![
        set("both".to_owned(), number.clone()),
        Op::shared(Bytes::from(format!("element{}", n % 5)), Write::Insert),
        Op::shared("once".into(), Write::WriteOnce(number.clone().into())),
        Op::shared("sum".into(), Write::Add(1)),
    ];
    for (space, key) in [
        (Space::Owned, owned()),
        (Space::Private, b"private".to_vec()),
    ] {
        ops.push(Op {
            space,
            ..Op::set(key.into(), number.clone().into())
        });
    }
    Change::Call(CallEffects {
        ops,
        events: vec![event(n)],
        ..CallEffects::new(id(SHARED), US, stamp(n, LAST))
    })
}

fn owned() -> Vec<u8> {
    [&US.as_bytes()[..], b"owned"].concat()
}

/// The other node's delta beside batch `n`, behind its last one: it knows of no other.
fn theirs(n: u64, behind: Option<DeltaId>) -> Bytes {
    let number = n.to_be_bytes().to_vec();
    let add = LiedWrite::Add {
        amount: 1,
        is_new_cell: behind.is_none(),
    };
    let writes = [
        ("both".to_owned(), LiedWrite::Set(number.clone())),
        ("sum".to_owned(), add),
        (format!("theirs{}", n % 8), LiedWrite::Set(number)),
    ];
    let lies: BTreeMap<_, _> = writes
        .into_iter()
        .map(|(key, write)| {
            let lie = Lie {
                space: Space::Shared,
                key: key.clone().into_bytes(),
                removes_first: false,
                write,
            };
            ((0, key.into_bytes()), lie)
        })
        .collect();
    let parents: Vec<DeltaId> = behind.into_iter().collect();
    // The root that its author says it leads to decides nothing.
    let stamp = stamp(n, THEIRS).bits();
    forge(id(SHARED), them(), stamp, &parents, &lies, [0; 32])
}

/// What all spaces hold after these batches.
pub(crate) fn all_entries(batches: &[u64]) -> BTreeMap<(Space, Vec<u8>), Value> {
    let mut all = entries(batches);
    let mut put = |space, key: &[u8], value| all.insert((space, key.to_vec()), value);
    for n in batches {
        let number = n.to_be_bytes().to_vec();
        let theirs = format!("theirs{}", n % 8);
        let element = format!("element{}", n % 5);
        put(Space::Shared, theirs.as_bytes(), Value::Register(number));
        put(Space::Shared, element.as_bytes(), Value::Element);
    }
    if let (Some(first), Some(newest)) = (batches.first(), batches.last()) {
        let newest = newest.to_be_bytes().to_vec();
        let once = Value::Once(first.to_be_bytes().to_vec());
        // Ours has followed theirs.
        let register = || Value::Register(newest.clone());
        put(Space::Shared, b"both", register());
        put(Space::Owned, &owned(), register());
        put(Space::Private, b"private", register());
        put(Space::Shared, b"once", once);
        put(
            Space::Shared,
            b"sum",
            Value::Counter(2 * batches.len() as i64),
        );
        put(Space::Shared, b"text", Value::Text);
        put(Space::Shared, b"list", Value::List);
    }
    all
}

/// What a server does between batches: sweeps, collects, keeps the text as a whole, and takes
/// the other node's word for what it has.
pub(crate) fn upkeep(
    ledger: &Ledger,
    writer: &mut LedgerWriter<'_>,
    n: u64,
    kept: &Shared,
) -> Result<(), Upkeep> {
    writer.sweep(&StepBounds::rows(8))?;
    let bounds = StepBounds::default();
    let collected = writer.collect(&RETENTION, stamp(n, LAST), &bounds, Reach::All)?;
    if let Some((_, error)) = collected.damaged.into_iter().next() {
        return Err(Upkeep::Damaged(error));
    }
    writer.checkpoint()?;
    let snapshot = ledger.snapshot()?;
    for edited in [&kept.text, &kept.list] {
        if let Some(saved) = snapshot.save_sequence(&edited.name)? {
            writer.keep_saved(&edited.name, &saved)?;
        }
    }
    let slot = kept.text.name.slot;
    let acknowledged = Change::Acknowledge(Acknowledgement {
        context: id(SHARED),
        member: them(),
        seen: snapshot.applied(&snapshot.head(slot)?)?,
        now: stamp(n, LAST),
    });
    drop(snapshot);
    for verdict in writer.commit_shown(vec![acknowledged])?.verdicts {
        verdict.map_err(|refused| Upkeep::Refused(refused.to_string()))?;
    }
    Ok(())
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Upkeep {
    #[error("{0}")]
    Failed(#[from] StoreError),
    #[error("the collector tells of damage: {0}")]
    Damaged(StoreError),
    #[error("an acknowledgement is refused: {0}")]
    Refused(String),
}
