//! Whom records name, and what becomes of authors whom none does.

use std::collections::BTreeMap;

use super::*;
use crate::befores::Befores;
use crate::change::{CallEffects, Change, NewContext, Op};
use crate::delta::{DeltaWriter, OpView, WriteView, write_op, write_op_count};
use crate::entry::{Space, State, Stored, Value};
use crate::fixture::{alter, id, open, round, two};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, Root};
use crate::ledger::Ledger;
use crate::members::{AckRow, MembersRow};
use crate::quarantine::AsideRow;
use crate::record::{
    AuthorRow, BacklogRow, BacklogRowWithoutStamps, DagRow, EditAfterOthersRow, EditRow,
    EditSeenRow, EntryRow, ForkRow, HeadRow, LinkedEditAfterOthersRow, LinkedEditRow, LogRow,
    LogWithBeforesRow, PackRow, PackedBasisRow, PackedEditRow, Record, SealRow, SeenRow, seal,
};
use crate::scrub::part::PARTS;
use crate::scrub::{Scrub, UnnamedAuthor};
use crate::seal::Sealer;
use crate::seal::tests::{Key, delta};
use crate::step::StepBounds;
use crate::version::Dot;

const SEEN: &[SeenRow] = &[SeenRow { author: 1, hlc: 9 }, SeenRow { author: 7, hlc: 2 }];

/// As small as a step can be.
const ONE: StepBounds = StepBounds {
    rows_max: 1,
    bytes_max: u64::MAX,
};

const EDIT: EditRow<'_> = EditRow {
    births: &[[5; 40]],
    update: b"update",
};

/// A key with 11 where the author of a seal is, and 12 where that of an edit is.
fn key() -> Vec<u8> {
    let edit = layout::edit_suffix(Dot {
        author: 12,
        hlc: Hlc::from_bits(99),
    });
    [&[0; 8][..], &layout::author_key(11), &[0xff; 40], &edit].concat()
}

fn of<R: Record>(key: &[u8], row: &R) -> (RecordKind, Vec<u8>, Vec<u8>) {
    let mut record = Vec::new();
    seal(&mut record, key, row);
    (R::KIND, key.to_vec(), record)
}

#[test]
fn each_kind_of_record_says_whom_it_names() {
    let key = &key()[..];
    let slot = &layout::slot_key(ContextSlot::new(1))[..];
    let (_, canonical) = delta(ContextId::from_bytes([1; 32]), &Key::new(1), 5, &[]);
    let canonical = &canonical[..];
    let head = HeadRow {
        context: [1; 32],
        root: [2; 32],
        version: 3,
        entries: 4,
        replicated: 5,
        bytes: 6,
        hlc: 7,
        log_last: 8,
        log_pruned: 9,
        log_count: 10,
        events_first: 11,
        events_last: 12,
        is_shared: true,
        deltas: &[],
        seen: SEEN,
    };
    let dag = DagRow {
        position: 1,
        author: 2,
        hlc: 3,
        seen: SEEN,
    };
    let saved = SavedRow {
        births: &[],
        edits: 2,
        hlc: 3,
        author: 4,
        parts: 5,
        bytes: 6,
    };
    let seal_row = SealRow {
        delta: [1; 32],
        version: 2,
        seal: b"bytes",
    };
    let fork = ForkRow {
        known: b"one",
        other: b"other",
    };
    let last = layout::edit_dot(key).unwrap();
    let pack = PackRow {
        authors: &[last.author],
        births: &[],
        bases: &[PackedBasisRow {
            births: 0,
            is_linked: true,
        }],
        edits: &[PackedEditRow {
            hlc: last.hlc.bits(),
            update_bytes: 0,
            author: 0,
            basis: 0,
            seen: 2,
        }],
        seen: SEEN,
        updates: &[],
    };
    let litter = LitterRow {
        key: b"the key of it",
        after: key,
    };
    let backlog = BacklogRow {
        position: 1,
        seen: SEEN,
    };
    let before = BacklogRowWithoutStamps {
        position: 1,
        authors: &[2, 3],
    };
    let ack = AckRow {
        since: 1,
        is_away: true,
        seen: SEEN,
    };
    let log = LogRow {
        slot: 1,
        previous: 2,
        canonical,
    };
    let aside = AsideRow {
        canonical,
        local: b"",
    };
    let dot = Dot {
        author: 3,
        hlc: Hlc::from_bits(4096),
    };
    let value = EntryRow::value(dot, b"value");
    let mut befores = Befores::default();
    let bytes = b"value";
    let replaced = Stored::Value(Value { dot, bytes });
    befores.add(Some(&replaced), None);
    let element = |number| Dot {
        author: number,
        ..dot
    };
    let set_of = |numbers: [u32; 2]| {
        Stored::Sections(State {
            element: numbers.map(element).to_vec(),
            ..State::default()
        })
    };
    // What survives is named where it is.
    befores.add(Some(&set_of([5, 8])), Some(&set_of([5, 9])));
    let mut writing = Vec::new();
    let context = ContextId::from_bytes([1; 32]);
    let mut writer = DeltaWriter::begin(
        &mut writing,
        context,
        Key::new(1).node_id(),
        Hlc::from_bits(6),
        &[],
    );
    write_op_count(writer.out(), 2);
    for key in [b"one", b"two"] {
        let op = OpView {
            space: Space::Shared,
            key,
            removes_first: false,
            write: WriteView::Remove,
        };
        write_op(writer.out(), &op);
    }
    writer.events(&[]);
    writer.finish(Root::EMPTY);
    let replacing = LogWithBeforesRow {
        log: LogRow {
            slot: 1,
            previous: 2,
            canonical: &writing,
        },
        befores: befores.bytes().unwrap(),
    };
    let records = [
        (of(slot, &head), vec![1, 7]),
        (of(key, &value), vec![3]),
        (of(key, &EDIT), vec![12]),
        (of(key, &EditAfterOthersRow { edit: EDIT }), vec![12]),
        (of(key, &LinkedEditRow { edit: EDIT }), vec![12]),
        (of(key, &LinkedEditAfterOthersRow { edit: EDIT }), vec![12]),
        (of(key, &EditSeenRow { seen: SEEN }), vec![1, 7, 12]),
        (of(key, &pack), vec![1, 7, 12]),
        (of(key, &litter), vec![12]),
        (of(key, &saved), vec![4]),
        (of(key, &dag), vec![1, 2, 7]),
        (of(slot, &MembersRow { pruned: SEEN }), vec![1, 7]),
        (of(key, &ack), vec![1, 7]),
        (of(key, &seal_row), vec![11]),
        (of(key, &fork), vec![11]),
        (of(slot, &backlog), vec![1, 7]),
        (of(slot, &before), vec![2, 3]),
        (of(key, &log), vec![]),
        (of(key, &replacing), vec![3, 8, 9]),
        (of(key, &aside), vec![]),
    ];
    for ((kind, key, record), expected) in &records {
        let mut named = Named::default();
        named.take_in(key, record).unwrap();
        let numbers: Vec<u32> = (0..200).filter(|n| named.numbers.contains(*n)).collect();
        assert_eq!(numbers, *expected, "{kind:?}");
        let node = match kind {
            RecordKind::Ack => NodeId::from_bytes(*key.last_chunk().unwrap()),
            RecordKind::Log | RecordKind::LogWithBefores | RecordKind::Aside => {
                Key::new(1).node_id()
            }
            _ => {
                assert!(named.nodes.is_empty(), "{kind:?}");
                continue;
            }
        };
        assert!(named.has(5000, &node), "{kind:?}");
    }
    let nobody = of(&layout::author_key(3), &AuthorRow { node: [1; 32] });
    let mut named = Named::default();
    named.take_in(&nobody.1, &nobody.2).unwrap();
    assert!(named.numbers.0.is_empty() && named.nodes.is_empty());
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

/// A call of a node on a context.
fn call(n: u8, author: u8, micros: u64, space: Space) -> CallEffects {
    let op = Op {
        space,
        ..Op::set(vec![author].into(), "value".into())
    };
    CallEffects {
        ops: vec![op],
        ..CallEffects::new(id(n), node(author), Hlc::from_micros(micros))
    }
}

fn commit(ledger: &Ledger, change: Change) {
    ledger.commit(vec![change]).unwrap().remove(0).unwrap();
}

/// A third context, which nodes 5 and 7 have written. In the first, 6 has written what it shows nobody.
fn third(ledger: &Ledger) {
    let first = call(3, 5, 10, Space::Shared);
    let new = NewContext {
        id: id(3),
        name: None,
        application: ApplicationId::from_bytes([1; 32]),
        created: first.hlc,
        call: first,
    };
    commit(ledger, Change::CreateContext(new));
    commit(ledger, Change::Call(call(1, 6, 11, Space::Private)));
    commit(ledger, Change::Call(call(3, 7, 12, Space::Shared)));
}

fn delete_third(ledger: &Ledger) {
    commit(ledger, Change::DeleteContext(id(3)));
    while ledger.sweep(3).unwrap().is_more {}
}

fn numbers(ledger: &Ledger) -> BTreeMap<NodeId, u32> {
    let authors = ledger.snapshot().unwrap().authors().unwrap();
    let numbers = authors.numbers();
    numbers
        .map(|number| (authors.get(number).unwrap(), number))
        .collect()
}

/// Whom a round has found, by its numbers.
fn unnamed(scrub: &mut Scrub, ledger: &Ledger) -> Vec<UnnamedAuthor> {
    let found = round(scrub, ledger);
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    found.unnamed
}

#[test]
fn authors_whom_nothing_names_go_and_their_numbers_are_not_given_again() {
    let (dir, ledger, _) = two();
    third(&ledger);
    let before = BTreeMap::from([(node(4), 0), (node(5), 1), (node(6), 2), (node(7), 3)]);
    assert_eq!(numbers(&ledger), before);
    let mut scrub = Scrub::default();
    for _ in 0..3 {
        assert_eq!(unnamed(&mut scrub, &ledger), []);
    }
    commit(&ledger, Change::DeleteContext(id(3)));
    // What is left of it names them.
    for _ in 0..2 {
        assert_eq!(unnamed(&mut scrub, &ledger), []);
    }
    while ledger.sweep(3).unwrap().is_more {}
    assert_eq!(
        unnamed(&mut scrub, &ledger),
        [],
        "the first round only notes it"
    );
    let found = unnamed(&mut scrub, &ledger);
    let of: Vec<_> = found.iter().map(|it| (it.node, it.number)).collect();
    assert_eq!(of, [(node(5), 1), (node(7), 3)]);
    let mut writer = ledger.writer();
    assert_eq!(writer.drop_authors(&found).unwrap(), 2);
    assert_eq!(writer.drop_authors(&found).unwrap(), 0);
    // What is not in a checkpoint is undone by a crash.
    drop(writer);
    drop(ledger);
    let ledger = open(&dir);
    assert_eq!(numbers(&ledger), before);
    let mut scrub = Scrub::default();
    assert_eq!(unnamed(&mut scrub, &ledger), []);
    let found = unnamed(&mut scrub, &ledger);
    let mut writer = ledger.writer();
    assert_eq!(writer.drop_authors(&found).unwrap(), 2);
    writer.checkpoint().unwrap();
    drop(writer);
    let kept = BTreeMap::from([(node(4), 0), (node(6), 2)]);
    assert_eq!(numbers(&ledger), kept);
    drop(ledger);
    let report = crate::check::check(dir.path(), &mut |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let ledger = open(&dir);
    commit(&ledger, Change::Call(call(1, 7, 20, Space::Shared)));
    commit(&ledger, Change::Call(call(2, 8, 21, Space::Shared)));
    let back = BTreeMap::from([(node(7), 4), (node(8), 5)]);
    let now: BTreeMap<_, _> = kept.into_iter().chain(back).collect();
    assert_eq!(numbers(&ledger), now);
    crate::verify(&ledger.snapshot().unwrap()).unwrap();
    drop(ledger);
    assert_eq!(numbers(&open(&dir)), now);
}

/// Where it does so the round has been already, or no snapshot of the round shows it.
#[test]
fn an_author_who_comes_back_while_a_round_goes_on_stays() {
    enum When {
        BeforeTheRound,
        Amidst,
        Shown,
    }
    for when in [When::BeforeTheRound, When::Amidst, When::Shown] {
        let (dir, ledger, _) = two();
        third(&ledger);
        delete_third(&ledger);
        let mut scrub = Scrub::default();
        assert_eq!(unnamed(&mut scrub, &ledger), []);
        let mut writer = ledger.writer();
        let come_back = |writer: &mut crate::writer::LedgerWriter<'_>| {
            let change = Change::Call(call(1, 5, 20, Space::Shared));
            let outcome = writer.commit(vec![change]).unwrap();
            assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
        };
        if matches!(when, When::BeforeTheRound) {
            come_back(&mut writer);
        }
        // All has been read but authors.
        while scrub.part < PARTS.len() - 1 {
            let step = scrub.step(&ledger.snapshot().unwrap(), &ONE).unwrap();
            assert_eq!(step.unnamed, []);
        }
        let found = match when {
            When::BeforeTheRound => unnamed(&mut scrub, &ledger),
            When::Amidst => {
                come_back(&mut writer);
                unnamed(&mut scrub, &ledger)
            }
            When::Shown => {
                come_back(&mut writer);
                writer.checkpoint().unwrap();
                unnamed(&mut scrub, &ledger)
            }
        };
        let of: Vec<_> = found.iter().map(|it| it.node).collect();
        assert_eq!(of, [node(5), node(7)], "the round cannot know");
        assert_eq!(writer.drop_authors(&found).unwrap(), 1);
        writer.checkpoint().unwrap();
        assert_eq!(writer.drop_authors(&found).unwrap(), 0);
        drop(writer);
        assert_eq!(numbers(&ledger)[&node(5)], 1);
        drop(ledger);
        let ledger = open(&dir);
        crate::verify(&ledger.snapshot().unwrap()).unwrap();
        assert_eq!(numbers(&ledger).len(), 3);
    }
}

/// A number that was dropped while the journal still has a call is given to it as it was, or anew.
#[test]
fn what_the_journal_has_is_replayed_whoever_was_dropped_meanwhile() {
    let (dir, ledger, _) = two();
    third(&ledger);
    delete_third(&ledger);
    let mut scrub = Scrub::default();
    assert_eq!(unnamed(&mut scrub, &ledger), []);
    let found = unnamed(&mut scrub, &ledger);
    let mut writer = ledger.writer();
    assert_eq!(writer.drop_authors(&found).unwrap(), 2);
    let change = Change::Call(call(1, 5, 20, Space::Shared));
    let outcome = writer.commit(vec![change]).unwrap();
    assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
    // A crash: what was dropped was not in a checkpoint, and the call was in the journal.
    drop(writer);
    drop(ledger);
    let ledger = open(&dir);
    crate::verify(&ledger.snapshot().unwrap()).unwrap();
    assert_eq!(numbers(&ledger)[&node(5)], 1);
}

#[test]
fn no_author_goes_while_anything_is_damaged_or_out_of_service() {
    let damage: [fn(&Ledger); 3] = [
        |ledger| {
            let why = Some("somebody looks into it".to_owned());
            let context = id(2);
            commit(ledger, Change::Quarantine { context, why });
        },
        |ledger| {
            let key = layout::position_key(1);
            alter(ledger, |tables, txn| {
                tables.log.put(txn, &key, b"junk").map(|()| true)
            });
        },
        |ledger| {
            alter(ledger, |tables, txn| {
                tables.saved.put(txn, &[0; 21], b"junk").map(|()| true)
            });
        },
    ];
    for damage in damage {
        let (_dir, ledger, _) = two();
        third(&ledger);
        delete_third(&ledger);
        let mut scrub = Scrub::default();
        round(&mut scrub, &ledger);
        damage(&ledger);
        for _ in 0..3 {
            assert_eq!(round(&mut scrub, &ledger).unnamed, []);
        }
    }
}

/// An import writes what no writer takes note of.
#[test]
fn who_is_named_beside_the_writer_stays() {
    let (_dir, ledger, _) = two();
    third(&ledger);
    delete_third(&ledger);
    let mut scrub = Scrub::default();
    assert_eq!(unnamed(&mut scrub, &ledger), []);
    while scrub.part < PARTS.len() - 1 {
        scrub.step(&ledger.snapshot().unwrap(), &ONE).unwrap();
    }
    let mut writer = ledger.writer();
    let txn = writer.begin_aside().unwrap();
    let next = writer.next();
    writer.commit_aside(txn, next).unwrap();
    let found = unnamed(&mut scrub, &ledger);
    assert_eq!(found.len(), 2);
    assert_eq!(writer.drop_authors(&found).unwrap(), 0);
}
