//! One node of a history, with a context in its ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use corelet_store::{
    ApplicationId, Births, CallEffects, Change, Content, ContextId, ContextSlot, EditView,
    EntryKind, Hlc, Ledger, NewContext, NodeId, PendingBounds, PendingDeltas, Root, Sealer,
    Sequence, SequenceKind, Snapshot, replay,
};

use super::naive::{Known, Place};
use crate::signed::Key;
use crate::words;

pub(super) struct Replica<'p> {
    pub(super) ledger: &'p Ledger,
    pub(super) slot: ContextSlot,
    pub(super) author: NodeId,
    pub(super) now: u64,
    pub(super) has: Known,
    pub(super) private: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it cannot apply yet.
    pub(super) pending: PendingDeltas,
    /// Those of one group reach each other.
    pub(super) group: usize,
}

impl<'p> Replica<'p> {
    pub(super) fn new(ledger: &'p Ledger, number: usize, context: ContextId) -> Replica<'p> {
        let author = Key::new(number).node_id();
        let call = CallEffects::new(context, author, Hlc::ZERO);
        let create = Change::CreateContext(NewContext {
            id: context,
            name: None,
            application: ApplicationId::from_bytes([1; 32]),
            created: Hlc::ZERO,
            call,
        });
        let batch = vec![create, Change::ShareContext(context)];
        let mut verdicts = ledger.commit(batch).unwrap();
        Replica {
            ledger,
            slot: verdicts.remove(0).unwrap().slot(),
            author,
            now: 0,
            has: 0,
            private: BTreeMap::new(),
            pending: PendingDeltas::new(context, PendingBounds::default()),
            group: 0,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.ledger.snapshot().unwrap()
    }

    pub(super) fn root(&self) -> Root {
        self.snapshot().head(self.slot).unwrap().root
    }

    /// What other nodes have as well, to the byte: entries are in the root; edits are here, and the order in which
    /// elements have come to lie. Edits of one stamp come in each ledger's own order.
    pub(super) fn edits(&self, places: &BTreeSet<&Place>) -> Vec<String> {
        let snapshot = self.snapshot();
        let mut edits = Vec::new();
        for (space, key) in places {
            for kind in words::SEQUENCES {
                let visit = &mut |edit: EditView<'_>| {
                    let (author, hlc, update) = (edit.author, edit.hlc, edit.update);
                    edits.push(format!(
                        "{space:?} {key:?} {kind} {author} {hlc:?} {update:?}"
                    ));
                    ControlFlow::Continue(())
                };
                let read = snapshot.edits(self.slot, *space, key, kind, visit);
                read.unwrap();
                let (sequence, _) = self.sequence(&(*space, key.clone()), kind);
                edits.push(format!(
                    "{space:?} {key:?} {kind} {:?}",
                    elements_of(&sequence)
                ));
            }
        }
        edits.sort();
        edits
    }

    /// A list or text, made of its edits.
    pub(super) fn sequence(&self, place: &Place, kind: EntryKind) -> (Sequence, Births) {
        let snapshot = self.snapshot();
        let facts = snapshot.sequence(self.slot, place.0, &place.1, kind);
        let births = facts.unwrap().map(|facts| facts.births).unwrap_or_default();
        let mut sequence = Sequence::new(sequence_kind(kind), self.author);
        let visit = &mut |edit: EditView<'_>| {
            assert!(replay(&mut sequence, &edit), "nobody has lied");
            ControlFlow::Continue(())
        };
        let read = snapshot.edits(self.slot, place.0, &place.1, kind, visit);
        read.unwrap();
        (sequence, births)
    }
}

pub(super) fn sequence_kind(kind: EntryKind) -> SequenceKind {
    match kind {
        EntryKind::List => SequenceKind::List,
        _ => SequenceKind::Text,
    }
}

/// Elements by their numbers: a text's are characters behind this one.
const FIRST_LETTER: u32 = 0x4e00;

pub(super) fn content_of(kind: SequenceKind, elements: &[u32]) -> Content {
    match kind {
        SequenceKind::List => {
            Content::Values(elements.iter().map(|n| n.to_be_bytes().into()).collect())
        }
        SequenceKind::Text => {
            let letter = |n: &u32| char::from_u32(FIRST_LETTER + n).unwrap();
            Content::Text(elements.iter().map(letter).collect())
        }
    }
}

pub(super) fn elements_of(sequence: &Sequence) -> Vec<u32> {
    match sequence.slice(0, sequence.len()).unwrap() {
        Content::Values(values) => {
            let values = values.iter().map(|value| (**value).try_into().unwrap());
            values.map(u32::from_be_bytes).collect()
        }
        Content::Text(text) => text.chars().map(|c| u32::from(c) - FIRST_LETTER).collect(),
    }
}
