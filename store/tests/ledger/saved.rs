//! Lists and texts as wholes: when one is due, that what is kept is what its edits make,
//! and that nothing but time depends on it.

use std::ops::ControlFlow;

use corelet_store::{
    Births, Change, Content, ContextSlot, EditPlace, EntryKind, Hlc, NodeId, Op, SavedSequence,
    Sequence, SequenceKind, SequenceName, Space, Write, replay, verify,
};

use crate::damage::flip;
use crate::{Bench, id};

const KIND: EntryKind = EntryKind::Text;

/// Edits of one text, from a sequence that goes on with it.
struct Writer {
    bench: Bench,
    slot: ContextSlot,
    text: Sequence,
}

impl Writer {
    fn new() -> Writer {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        let author = NodeId::from_bytes([0xaa; 32]);
        let text = Sequence::new(SequenceKind::Text, author);
        Writer { bench, slot, text }
    }

    fn name(&self) -> SequenceName {
        SequenceName {
            slot: self.slot,
            space: Space::Shared,
            key: "text".into(),
            kind: KIND,
        }
    }

    fn births(&self) -> Births {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let found = snapshot.sequence(self.slot, Space::Shared, b"text", KIND);
        found.unwrap().map(|facts| facts.births).unwrap_or_default()
    }

    /// Appends, and gives what is due then.
    fn append(&mut self, what: &str) -> Vec<SequenceName> {
        let births = self.births();
        let call = self.bench.effects(1, self.slot, vec![]);
        let end = self.text.len();
        self.text.insert(end, Content::Text(what.into())).unwrap();
        let update = self.text.take_update(call.hlc).unwrap().unwrap().into();
        let write = Write::Edit {
            kind: KIND,
            births,
            update,
        };
        let call = corelet_store::CallEffects {
            ops: vec![Op::shared("text".into(), write)],
            ..call
        };
        let batch = vec![Change::Call(call)];
        let outcome = self.bench.ledger().writer().commit_shown(batch).unwrap();
        assert!(outcome.verdicts[0].is_ok());
        outcome.due
    }

    fn save(&self) -> SavedSequence {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot.save_sequence(&self.name()).unwrap().unwrap()
    }

    fn keep(&self, saved: &SavedSequence) -> bool {
        let mut writer = self.bench.ledger().writer();
        writer.keep_saved(&self.name(), saved).unwrap()
    }

    fn saved(&self) -> Option<SavedSequence> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot
            .saved_sequence(self.slot, Space::Shared, b"text", KIND)
            .unwrap()
    }

    /// The text by what is saved and the edits since, and how many these are.
    fn open(&self) -> (Sequence, usize) {
        let reader = NodeId::from_bytes([3; 32]);
        let saved = self.saved();
        let place = saved.as_ref().map(|saved| saved.place);
        let mut text = match saved {
            Some(saved) => Sequence::open(reader, &saved.bytes).unwrap(),
            None => Sequence::new(SequenceKind::Text, reader),
        };
        let mut edits = 0;
        let place = place.unwrap_or(EditPlace::behind(Hlc::ZERO));
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot
            .edits_behind(
                self.slot,
                Space::Shared,
                b"text",
                KIND,
                place,
                &mut |edit| {
                    assert!(replay(&mut text, &edit));
                    edits += 1;
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
        (text, edits)
    }
}

/// More than a thousand elements and some records.
fn long() -> String {
    "a long text, of which every edit is as much work as many others. ".repeat(24_000)
}

#[test]
fn a_long_text_is_opened_from_what_was_saved_and_the_edits_since() {
    let mut writer = Writer::new();
    assert_eq!(writer.append("short"), []);
    assert_eq!(writer.append(&long()), [writer.name()], "it has grown");
    assert_eq!(writer.append("more"), []);
    let saved = writer.save();
    assert_eq!(saved.edits, 3);
    assert!(writer.keep(&saved));
    assert_eq!(writer.saved().as_ref(), Some(&saved));
    writer.append("and more");
    writer.bench.reopen();
    let (text, edits) = writer.open();
    assert_eq!(edits, 1);
    assert_eq!(text.save().unwrap(), writer.text.save().unwrap());
    // Saved anew it is the same as if it never had been.
    let again = writer.save();
    assert_eq!(again.bytes, writer.text.save().unwrap());
    assert!(writer.keep(&again));
    assert_eq!(writer.open().1, 0);
    writer.bench.verify();
}

#[test]
fn what_was_removed_meanwhile_is_not_kept_and_what_was_kept_is_swept() {
    let mut writer = Writer::new();
    writer.append(&long());
    let saved = writer.save();
    assert!(writer.keep(&saved));
    let call = writer
        .bench
        .call(1, writer.slot, vec![Op::remove("text".into())]);
    writer.bench.commit(vec![call]);
    assert_eq!(writer.saved(), None);
    writer.bench.verify();
    // It is begun anew, and what was saved is of another one.
    let author = NodeId::from_bytes([0xaa; 32]);
    writer.text = Sequence::new(SequenceKind::Text, author);
    writer.append("anew");
    assert_eq!(writer.saved(), None);
    assert!(!writer.keep(&saved));
    while writer.bench.ledger().sweep(1).unwrap().is_more {}
    writer.bench.verify();
    assert_eq!(writer.open().0.len(), 4);

    let saved = writer.save();
    assert!(writer.keep(&saved));
    writer.bench.commit(vec![Change::DeleteContext(id(1))]);
    assert!(!writer.keep(&saved), "its context is gone");
    writer.bench.verify();
    while writer.bench.ledger().sweep(1).unwrap().is_more {}
    writer.bench.verify();
}

/// It is worked out anew from the edits, which are what is true.
#[test]
fn one_that_cannot_be_read_is_as_good_as_none() {
    let mut writer = Writer::new();
    writer.append(&long());
    let needle = b"nothing that a text is ever saved as".to_vec();
    let wrong = SavedSequence {
        bytes: needle.clone(),
        ..writer.save()
    };
    assert!(writer.keep(&wrong));
    let check = |writer: &Writer, expected: &str| {
        let snapshot = writer.bench.ledger().snapshot().unwrap();
        let error = verify(&snapshot).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&writer, "it is not what its edits make");
    assert_eq!(writer.save().bytes, writer.text.save().unwrap());
    writer.bench.close();
    flip(&writer.bench, &needle, 5);
    writer.bench.reopen();
    check(&writer, "checksum");
    assert_eq!(writer.saved(), None);
    let saved = writer.save();
    assert!(writer.keep(&saved));
    assert_eq!(writer.saved(), Some(saved));
    writer.bench.verify();
}
