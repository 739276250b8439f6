//! Answers that are kept under callers' keys: durable with the effects of their call or
//! alone, found again after a restart, and dropped within their bounds.

use std::time::Duration;

use bytes::Bytes;
use corelet_store::{
    ANSWER_AROUND_BYTES, AnswerBounds, AnswerKey, Change, ContextSlot, Hlc, KeptAnswer,
    KeyedAnswer, Op, Refused, RequestDigest, Said, StepBounds, StoreError,
};

use crate::damage::flip;
use crate::{Bench, event, id, set};

fn key(n: u32) -> AnswerKey {
    AnswerKey::of(&n.to_be_bytes())
}

fn request(n: u32) -> RequestDigest {
    RequestDigest::of(b"method", &n.to_be_bytes())
}

fn answer(n: u32, said: Said) -> Option<Box<KeyedAnswer>> {
    Some(Box::new(KeyedAnswer {
        key: key(n),
        request: request(n),
        fuel_used: n.into(),
        said,
    }))
}

fn output(text: &str) -> Said {
    Said::Output(Bytes::copy_from_slice(text.as_bytes()))
}

/// A call of context 1 under key `n`.
fn keyed(bench: &mut Bench, slot: ContextSlot, n: u32, ops: Vec<Op>, said: Said) -> Change {
    let mut effects = bench.effects(1, slot, ops);
    effects.answer = answer(n, said);
    Change::Call(effects)
}

fn kept(bench: &Bench, slot: ContextSlot, n: u32) -> Option<KeptAnswer> {
    let snapshot = bench.ledger().snapshot().unwrap();
    snapshot.kept_answer(slot, &key(n)).unwrap()
}

/// Which of the answers up to `count` are kept.
fn all_kept(bench: &Bench, slot: ContextSlot, count: u32) -> Vec<u32> {
    (0..count)
        .filter(|n| kept(bench, slot, *n).is_some())
        .collect()
}

fn bounded(answers: AnswerBounds) -> (Bench, ContextSlot) {
    let mut bench = Bench::new();
    bench.config.answers = answers;
    bench.reopen();
    let slot = bench.create(1);
    (bench, slot)
}

#[test]
fn an_answer_is_kept_with_what_its_call_came_to() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut effects = bench.effects(1, slot, vec![set("a", "1")]);
    effects.events = vec![event("said", b"1")];
    effects.answer = answer(7, output("\"done\""));
    let hlc = effects.hlc;
    let mut receipt = bench.commit(vec![Change::Call(effects)]).remove(0);
    let expected = KeptAnswer {
        request: request(7),
        hlc,
        fuel_used: 7,
        delta_id: receipt.delta_id(),
        root: receipt.root(),
        said: output("\"done\""),
    };
    assert!(receipt.delta_id().is_some());
    assert_eq!(receipt.take_kept(), Some((key(7), expected.clone())));
    assert_eq!(kept(&bench, slot, 7), Some(expected));
    assert_eq!(kept(&bench, slot, 8), None);
    let other = bench.create(2);
    assert_eq!(kept(&bench, other, 7), None, "a key is its context's");
    assert_eq!(bench.verify().answers, 1);
    assert_eq!(bench.ledger().stats().unwrap().answers, 1);
}

#[test]
fn an_answer_alone_changes_nothing_else() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let first = bench.call(1, slot, vec![set("a", "1")]);
    bench.commit(vec![first]);
    let head = |bench: &Bench| bench.ledger().snapshot().unwrap().head(slot).unwrap();
    let before = head(&bench);
    let error = Said::Error(Bytes::from_static(b"{\"code\":\"no\"}"));
    for (n, said) in [(1, error), (2, output("null"))] {
        let change = keyed(&mut bench, slot, n, vec![], said.clone());
        let receipt = bench.commit(vec![change]).remove(0);
        assert_eq!(receipt.delta_id(), None);
        assert_eq!(receipt.root(), before.root);
        let kept = kept(&bench, slot, n).unwrap();
        assert_eq!((kept.said, kept.root), (said, before.root));
    }
    assert_eq!(head(&bench), before);
    assert_eq!(bench.verify().answers, 2);
}

/// With and without effects, of every space; and what comes behind it.
#[test]
fn answers_that_are_only_in_the_journal_outlive_a_restart() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let private = |mut op: Op| {
        op.space = corelet_store::Space::Private;
        op
    };
    let changes = [
        vec![set("a", "1")],
        vec![],
        vec![private(set("b", "2"))],
        vec![set("c", "3"), private(set("d", "4"))],
    ];
    let changes: Vec<Change> = (0..)
        .zip(changes)
        .map(|(n, ops)| keyed(&mut bench, slot, n, ops, output(&n.to_string())))
        .collect();
    let mut writer = bench.ledger().writer();
    let mut expected = Vec::new();
    for change in changes {
        let mut outcome = writer.commit(vec![change]).unwrap();
        assert!(!outcome.is_shown, "it is to be in the journal");
        let receipt = outcome.verdicts[0].as_mut().unwrap();
        expected.push(receipt.take_kept().unwrap());
    }
    drop(writer);
    assert_eq!(kept(&bench, slot, 0), None, "no snapshot shows it yet");
    bench.reopen();
    for ((found, expected), n) in expected.into_iter().zip(0..) {
        assert_eq!(found, key(n));
        assert_eq!(kept(&bench, slot, n), Some(expected));
    }
    assert_eq!(bench.get(slot, b"c").unwrap(), b"3");
    assert_eq!(bench.ledger().last_hlc().bits() >> 12, bench.now);
    assert_eq!(bench.verify().answers, 4);
}

#[test]
fn a_call_that_was_answered_under_its_key_is_not_committed_again() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let first = keyed(&mut bench, slot, 1, vec![set("a", "1")], output("1"));
    let again = keyed(&mut bench, slot, 1, vec![set("a", "2")], output("2"));
    let verdicts = bench.ledger().commit(vec![first, again]).unwrap();
    assert!(verdicts[0].is_ok());
    let refused = verdicts[1].as_ref().unwrap_err();
    assert!(
        matches!(refused, Refused::AnsweredBefore { context } if *context == id(1)),
        "{refused}"
    );
    assert_eq!(bench.get(slot, b"a").unwrap(), b"1");
    assert_eq!(kept(&bench, slot, 1).unwrap().said, output("1"));
    bench.verify();
}

#[test]
fn so_many_answers_are_kept_and_the_oldest_go() {
    let (mut bench, slot) = bounded(AnswerBounds {
        count_max: 3,
        ..AnswerBounds::default()
    });
    for n in 0..5 {
        let change = keyed(&mut bench, slot, n, vec![], output("1"));
        bench.commit(vec![change]);
        assert!(bench.verify().answers <= 3);
    }
    assert_eq!(all_kept(&bench, slot, 5), [2, 3, 4]);
}

/// It says that the window is shorter than the time that is promised. One that is too old is not
/// missed, and a journal that is replayed tells of nobody anew.
#[test]
fn answers_that_go_before_their_time_are_told() {
    let (mut bench, slot) = bounded(AnswerBounds {
        age_max: Duration::from_micros(1000),
        count_max: 3,
        bytes_max: 40 * ANSWER_AROUND_BYTES,
    });
    let tell = |bench: &mut Bench, n: u32, said: Said| {
        let change = keyed(bench, slot, n, vec![set("a", "1")], said);
        let outcome = bench.ledger().writer().commit(vec![change]).unwrap();
        assert!(outcome.verdicts[0].is_ok(), "{:?}", outcome.verdicts);
        outcome.answers_early
    };
    let by_count: Vec<u64> = (0..5).map(|n| tell(&mut bench, n, output("1"))).collect();
    assert_eq!(by_count, [0, 0, 0, 1, 1]);
    bench.reopen();
    let large = output(&"x".repeat(39 * ANSWER_AROUND_BYTES as usize));
    assert_eq!(tell(&mut bench, 5, large), 3, "by bytes");
    // Beside it there is no room for an empty one.
    bench.now += 2000;
    assert_eq!(tell(&mut bench, 6, output("")), 0, "it was too old");
    bench.ledger().writer().checkpoint().unwrap();
    assert_eq!(all_kept(&bench, slot, 7), [6]);
    bench.verify();
}

#[test]
fn a_large_answer_takes_the_room_of_many_small_ones() {
    let (mut bench, slot) = bounded(AnswerBounds {
        bytes_max: 40 * ANSWER_AROUND_BYTES,
        ..AnswerBounds::default()
    });
    for n in 0..40 {
        let change = keyed(&mut bench, slot, n, vec![], output(""));
        bench.commit(vec![change]);
    }
    assert_eq!(bench.verify().answers, 40);
    let large = "x".repeat(19 * ANSWER_AROUND_BYTES as usize);
    let change = keyed(&mut bench, slot, 40, vec![], output(&large));
    bench.commit(vec![change]);
    assert_eq!(all_kept(&bench, slot, 41), (20..41).collect::<Vec<_>>());
    bench.verify();

    let larger = "x".repeat(40 * ANSWER_AROUND_BYTES as usize);
    let change = keyed(&mut bench, slot, 41, vec![set("a", "1")], output(&larger));
    let verdicts = bench.ledger().commit(vec![change]).unwrap();
    let refused = verdicts[0].as_ref().unwrap_err();
    assert!(
        matches!(
            refused,
            Refused::OutOfBounds {
                limit: "answers_bytes_max",
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(bench.get(slot, b"a"), None, "its effects are gone with it");
    bench.verify();
}

/// It makes room for itself, and its key can be used anew.
#[test]
fn an_answer_that_is_too_old_counts_for_nothing() {
    let (mut bench, slot) = bounded(AnswerBounds {
        age_max: Duration::from_micros(100),
        ..AnswerBounds::default()
    });
    for n in 0..10 {
        let change = keyed(&mut bench, slot, n, vec![], output("old"));
        bench.commit(vec![change]);
    }
    bench.now += 1000;
    let change = keyed(&mut bench, slot, 9, vec![set("a", "1")], output("new"));
    bench.commit(vec![change]);
    assert_eq!(kept(&bench, slot, 9).unwrap().said, output("new"));
    // A few with each, so that none has to do the work of many.
    assert_eq!(all_kept(&bench, slot, 10), [5, 6, 7, 8, 9]);
    assert_eq!(bench.verify().answers, 5);
}

#[test]
fn what_is_too_old_is_dropped_in_steps_over_all_contexts() {
    let (mut bench, first) = bounded(AnswerBounds {
        age_max: Duration::from_micros(1000),
        ..AnswerBounds::default()
    });
    let second = bench.create(2);
    for n in 0..10 {
        let change = keyed(&mut bench, first, n, vec![], output("old"));
        bench.commit(vec![change]);
    }
    let mut effects = bench.effects(2, second, vec![]);
    effects.answer = answer(0, output("old"));
    bench.commit(vec![Change::Call(effects)]);
    bench.now += 2000;
    let mut effects = bench.effects(2, second, vec![]);
    effects.answer = answer(1, output("new"));
    bench.commit(vec![Change::Call(effects)]);
    assert_eq!(bench.verify().answers, 11);

    let now = Hlc::from_bits(bench.now << 12);
    let mut steps = Vec::new();
    let mut from = ContextSlot::UNASSIGNED;
    loop {
        let mut writer = bench.ledger().writer();
        let expired = writer
            .expire_answers(now, from, &StepBounds::rows(5))
            .unwrap();
        steps.push(expired.answers);
        writer.checkpoint().unwrap();
        drop(writer);
        bench.verify();
        match expired.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(steps.iter().sum::<usize>(), 10, "{steps:?}");
    assert!(steps.iter().all(|step| *step < 5), "{steps:?}");
    assert_eq!(all_kept(&bench, first, 10), [0; 0]);
    assert_eq!(all_kept(&bench, second, 2), [1]);
    assert_eq!(bench.verify().answers, 1);
}

/// The journal has calls that were committed under other bounds.
#[test]
fn other_bounds_than_before_do_not_keep_a_ledger_from_opening() {
    let strict = AnswerBounds {
        age_max: Duration::from_micros(1),
        count_max: 1,
        bytes_max: 2 * ANSWER_AROUND_BYTES,
    };
    for (before, after) in [
        (strict.clone(), AnswerBounds::default()),
        (AnswerBounds::default(), strict),
    ] {
        let (mut bench, slot) = bounded(before);
        let calls: Vec<Change> = (0..6)
            .map(|n| {
                keyed(
                    &mut bench,
                    slot,
                    n % 3,
                    vec![set("a", [n as u8])],
                    output("1"),
                )
            })
            .collect();
        let mut writer = bench.ledger().writer();
        for call in calls {
            // Some are refused under the bounds that remember for longer.
            drop(writer.commit(vec![call]).unwrap());
        }
        drop(writer);
        bench.config.answers = after;
        bench.reopen();
        bench.verify();
    }
}

#[test]
fn answers_go_with_their_context() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let other = bench.create(2);
    for n in 0..10 {
        let change = keyed(&mut bench, slot, n, vec![], output("1"));
        bench.commit(vec![change]);
    }
    let mut effects = bench.effects(2, other, vec![]);
    effects.answer = answer(0, output("1"));
    bench.commit(vec![Change::Call(effects)]);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    assert_eq!(bench.verify().answers, 1);
    // Half swept, they expire all the same.
    let mut writer = bench.ledger().writer();
    assert!(writer.sweep(&StepBounds::rows(13)).unwrap().is_more);
    let late = Hlc::from_bits(u64::MAX);
    let expired = writer.expire_answers(late, ContextSlot::UNASSIGNED, &StepBounds::rows(100));
    assert_eq!(expired.unwrap().next, None);
    while writer.sweep(&StepBounds::rows(5)).unwrap().is_more {}
    writer.checkpoint().unwrap();
    drop(writer);
    assert_eq!(bench.ledger().stats().unwrap().answers, 0);
    bench.verify();
}

/// A damaged answer is not served, and stops only who asks for it.
#[test]
fn a_damaged_answer_is_reported_and_its_neighbours_go_on() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let marker = "a text that is found nowhere else in the ledger";
    for (n, text) in [(1, marker), (2, "\"whole\"")] {
        let change = keyed(&mut bench, slot, n, vec![], output(text));
        bench.commit(vec![change]);
    }
    bench.close();
    flip(&bench, marker.as_bytes(), 3);
    bench.reopen();
    let snapshot = bench.ledger().snapshot().unwrap();
    let damaged = snapshot.kept_answer(slot, &key(1)).unwrap_err();
    assert!(
        matches!(damaged, StoreError::Corrupt { what: "answer", .. }),
        "{damaged}"
    );
    assert!(corelet_store::verify(&snapshot).is_err());
    drop(snapshot);
    assert_eq!(kept(&bench, slot, 2).unwrap().said, output("\"whole\""));
    let change = keyed(&mut bench, slot, 1, vec![set("a", "1")], output("again"));
    let verdicts = bench.ledger().commit(vec![change]).unwrap();
    assert!(matches!(verdicts[0], Err(Refused::Damaged { .. })));
    let change = keyed(&mut bench, slot, 3, vec![set("a", "1")], output("next"));
    bench.commit(vec![change]);
}
