//! What belongs to no context, what is derived, and that no table is left out.

use bytes::Bytes;

use super::*;
use crate::change::{Birth, CallEffects, Change, Op, Write};
use crate::entry::{EntryKind, Space};
use crate::fixture::{SMALL, alter, call, round, two};
use crate::hlc::Hlc;
use crate::ids::{BlobId, NodeId};
use crate::layout::{TABLE_NAMES, slot_key};
use crate::ledger::Ledger;
use crate::sequence::{Content, Sequence, SequenceKind};
use crate::verify::verify;

/// A context whose head is lost keeps everything else: it may be all that there is of it.
#[test]
fn what_belongs_to_no_context_goes_and_what_has_only_lost_its_head_stays() {
    let (_dir, ledger, slots) = two();
    let mut scrub = Scrub::default();
    let clean = round(&mut scrub, &ledger);
    assert!(clean.orphans.is_empty() && clean.damaged.is_empty());

    alter(&ledger, |tables, txn| {
        tables.heads.delete(txn, &slot_key(slots[0]))
    });
    for _ in 0..3 {
        let found = round(&mut scrub, &ledger);
        assert_eq!(found.orphans, vec![]);
        let [damage] = &found.damaged[..] else {
            panic!("{:?}", found.damaged);
        };
        let context = Some(ContextId::from_bytes([1; 32]));
        assert_eq!((damage.slot, damage.context), (Some(slots[0]), context));
    }

    alter(&ledger, |tables, txn| tables.contexts.delete(txn, &[1; 32]));
    // The round before this one has called it nobody's, but there was a context then.
    let mut scrub = Scrub::default();
    assert_eq!(round(&mut scrub, &ledger).orphans, vec![]);
    let found = round(&mut scrub, &ledger).orphans;
    // 40 entries, a root and 15 buckets, a delta and their sizes.
    assert_eq!(found.len(), 40 + 16 + 2);
    let mut writer = ledger.writer();
    assert_eq!(writer.drop_orphans(&found).unwrap(), found.len() as u64);
    assert_eq!(writer.drop_orphans(&found).unwrap(), 0);
    writer.checkpoint().unwrap();
    drop(writer);
    assert_eq!(round(&mut scrub, &ledger).orphans, vec![]);
    assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().entries, 40);
}

/// The contexts have been read by then, and nothing was wrong with them.
#[test]
fn a_head_that_is_lost_in_the_midst_of_a_round_does_not_take_its_context_along() {
    let (_dir, ledger, [slot, _]) = two();
    let mut scrub = Scrub::default();
    // Also in the round behind one that has called its slot nobody's already.
    for _ in 0..2 {
        while scrub.part < 2 {
            let step = scrub.step(&ledger.snapshot().unwrap(), &SMALL).unwrap();
            assert!(step.orphans.is_empty());
        }
        let mut record = Vec::new();
        alter(&ledger, |tables, txn| {
            let head = tables.heads.get(txn, &slot_key(slot))?;
            record = head.unwrap_or_default().to_vec();
            tables.heads.delete(txn, &slot_key(slot))
        });
        assert_eq!(round(&mut scrub, &ledger).orphans, vec![]);
        alter(&ledger, |tables, txn| {
            tables
                .heads
                .put(txn, &slot_key(slot), &record)
                .map(|()| true)
        });
    }
    assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap().entries, 80);
}

#[test]
fn nothing_is_an_orphan_while_a_context_cannot_be_read_or_is_out_of_service() {
    for is_quarantined in [true, false] {
        let (_dir, ledger, [slot, _]) = two();
        if is_quarantined {
            let change = Change::Quarantine {
                context: ContextId::from_bytes([1; 32]),
                why: Some("somebody looks into it".to_owned()),
            };
            ledger.commit(vec![change]).unwrap().remove(0).unwrap();
        }
        alter(&ledger, |tables, txn| {
            tables.heads.delete(txn, &slot_key(slot))?;
            match is_quarantined {
                true => tables.contexts.delete(txn, &[1; 32]),
                false => tables.contexts.put(txn, &[1; 32], b"junk").map(|()| true),
            }
        });
        let mut scrub = Scrub::default();
        for _ in 0..3 {
            assert_eq!(round(&mut scrub, &ledger).orphans, vec![]);
        }
    }
}

/// Tables that the scrub does not read, and why.
const UNREAD: [(&str, &str); 1] = [("meta", "it is checked whenever the ledger is opened")];

#[test]
fn every_table_is_read() {
    let (_dir, ledger, _) = two();
    let tables = ledger.shared.tables;
    for (name, table) in TABLE_NAMES.iter().zip(tables.all()) {
        let mut scrub = Scrub::default();
        let before = round(&mut scrub, &ledger);
        assert!(
            before.damaged.is_empty() && before.derived.is_empty(),
            "{name}"
        );
        alter(&ledger, |_, txn| {
            table
                .put(txn, &[0; 21], b"no record of ours")
                .map(|()| true)
        });
        let found = round(&mut scrub, &ledger);
        let is_found = !(found.damaged.is_empty() && found.derived.is_empty());
        let is_unread = UNREAD.iter().any(|(unread, _)| *unread == *name);
        assert!(is_found != is_unread, "{name}");
        alter(&ledger, |_, txn| table.delete(txn, &[0; 21]));
    }
}

/// Nothing is lost with them, so their context stays in service.
#[test]
fn what_is_derived_and_damaged_goes_and_is_made_anew() {
    let (_dir, ledger, [slot, _]) = two();
    let tally = slot_key(slot);
    let mark = layout::mark_key(slot, 1);
    alter(&ledger, |tables, txn| {
        tables.tallies.put(txn, &tally, b"junk")?;
        tables.marks.put(txn, &mark, b"junk")?;
        Ok(true)
    });
    let mut scrub = Scrub::default();
    let found = round(&mut scrub, &ledger);
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    assert_eq!(found.derived.len(), 2);
    let mut writer = ledger.writer();
    assert_eq!(writer.drop_derived(&found.derived).unwrap(), 2);
    writer.checkpoint().unwrap();
    assert_eq!(writer.drop_derived(&found.derived).unwrap(), 0);
    drop(writer);
    assert!(round(&mut scrub, &ledger).derived.is_empty());
    verify(&ledger.snapshot().unwrap()).unwrap();
}

/// "aXb" would be "ab" without it.
#[test]
fn an_edit_whose_record_of_what_it_had_seen_is_lost_is_damaged() {
    let (_dir, ledger, [slot, _]) = two();
    let (a, b) = (NodeId::from_bytes([5; 32]), NodeId::from_bytes([6; 32]));
    let (at_a, at_b) = (Hlc::from_micros(100), Hlc::from_micros(200));
    let mut one = Sequence::new(SequenceKind::Text, a);
    one.insert(0, Content::Text("ab".into())).unwrap();
    let first = one.take_update(at_a).unwrap().unwrap();
    let mut two = Sequence::new(SequenceKind::Text, b);
    two.apply(a, at_a, |_| Hlc::ZERO, &first).unwrap();
    two.insert(1, Content::Text("X".into())).unwrap();
    let second = two.take_update(at_b).unwrap().unwrap();
    let birth = Birth {
        author: a,
        hlc: at_a,
    };
    for (author, hlc, births, update) in [(a, at_a, vec![], first), (b, at_b, vec![birth], second)]
    {
        let write = Write::Edit {
            kind: EntryKind::Text,
            births: births.into_iter().collect(),
            update: update.into(),
        };
        let call = CallEffects {
            context: ContextId::from_bytes([1; 32]),
            slot,
            author,
            hlc,
            read: None,
            ops: vec![Op::shared("text".into(), write)],
            events: vec![],
            answer: None,
        };
        let mut verdicts = ledger.commit(vec![Change::Call(call)]).unwrap();
        verdicts.remove(0).unwrap();
    }
    ledger.writer().checkpoint().unwrap();
    let read = |ledger: &Ledger| {
        let mut text = Sequence::new(SequenceKind::Text, NodeId::from_bytes([9; 32]));
        let snapshot = ledger.snapshot().unwrap();
        snapshot.edits(slot, Space::Shared, b"text", EntryKind::Text, &mut |edit| {
            crate::saved::replay(&mut text, &edit);
            ControlFlow::Continue(())
        })?;
        Ok::<_, StoreError>(text.slice(0, text.len()).unwrap())
    };
    assert_eq!(read(&ledger).unwrap(), Content::Text("aXb".into()));
    let mut scrub = Scrub::default();
    assert!(round(&mut scrub, &ledger).damaged.is_empty());
    alter(&ledger, |tables, txn| {
        tables.edits_seen.clear(txn).map(|()| true)
    });
    assert!(matches!(read(&ledger), Err(StoreError::Corrupt { .. })));
    let found = round(&mut scrub, &ledger).damaged;
    assert!(
        found.iter().any(|damage| damage.slot == Some(slot)),
        "{found:?}"
    );
    assert!(verify(&ledger.snapshot().unwrap()).is_err());
}

/// Without them nobody may remove a blob, and of a large ledger a round takes hours.
#[test]
fn what_is_noted_of_attachments_goes_with_their_entries() {
    let (_dir, ledger, [slot, _]) = two();
    let insert = |n: u8| Op {
        space: Space::Attached,
        key: Bytes::copy_from_slice(&attachment(n).key()),
        removes_first: false,
        write: Write::Insert,
    };
    let mut ops: Vec<Op> = (0..12).map(insert).collect();
    ops.sort_by(|a, b| a.key.cmp(&b.key));
    let call = Change::Call(call(1, slot, 100, ops));
    ledger.commit(vec![call]).unwrap().remove(0).unwrap();
    ledger.writer().checkpoint().unwrap();
    alter(&ledger, |tables, txn| {
        tables.heads.delete(txn, &slot_key(slot))?;
        tables.contexts.delete(txn, &[1; 32])
    });
    let mut scrub = Scrub::default();
    round(&mut scrub, &ledger);
    loop {
        let step = scrub.step(&ledger.snapshot().unwrap(), &SMALL).unwrap();
        let mut writer = ledger.writer();
        writer.drop_orphans(&step.orphans).unwrap();
        writer.checkpoint().unwrap();
        drop(writer);
        ledger.snapshot().unwrap().check_attachments().unwrap();
        if step.is_round_over {
            break;
        }
    }
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(verify(&snapshot).unwrap().entries, 40);
    let left = |table: Table| table.len(&snapshot.txn).unwrap();
    let tables = &snapshot.tables;
    assert_eq!((left(tables.attached), left(tables.attached_sums)), (0, 0));
}

fn attachment(n: u8) -> Attachment {
    Attachment {
        blob: BlobId::of(&[n]),
        bytes: u64::from(n),
    }
}
