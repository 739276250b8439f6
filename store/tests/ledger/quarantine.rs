//! A context with damage is taken out of service; its neighbours go on, and no call that
//! was acknowledged is lost.

use corelet_store::{Change, ContextSlot, Refused, StoreError, verify};

use crate::damage::flip;
use crate::{Bench, id, set};

const NEEDLE: &[u8] = b"a needle in a haystack";

fn quarantine(bench: &Bench, n: u8, why: Option<&str>) -> Result<(), Refused> {
    let change = Change::Quarantine {
        context: id(n),
        why: why.map(str::to_owned),
    };
    let mut verdicts = bench.ledger().commit(vec![change]).unwrap();
    verdicts.remove(0).map(drop)
}

fn why(bench: &Bench, slot: ContextSlot) -> Option<String> {
    let found = bench.ledger().snapshot().unwrap().quarantined(slot);
    found.unwrap().map(|quarantined| quarantined.why)
}

/// Two contexts with an entry in LMDB, and a call of each in the journal that replaces it.
fn with_journal() -> (Bench, ContextSlot, ContextSlot) {
    let mut bench = Bench::new();
    let (bad, good) = (bench.create(1), bench.create(2));
    let batch = vec![
        bench.call(1, bad, vec![set("key", NEEDLE)]),
        bench.call(2, good, vec![set("key", "well")]),
    ];
    bench.commit(batch);
    let later = [
        bench.call(1, bad, vec![set("other", "first")]),
        bench.call(2, good, vec![set("key", "better")]),
        bench.call(1, bad, vec![set("key", "replaced")]),
        bench.call(1, bad, vec![set("other", "last")]),
    ];
    let mut writer = bench.ledger().writer();
    for change in later {
        let outcome = writer.commit(vec![change]).unwrap();
        assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
    }
    drop(writer);
    bench.close();
    (bench, bad, good)
}

#[test]
fn a_journaled_call_that_meets_damage_puts_its_context_aside_and_the_others_open() {
    let (mut bench, bad, good) = with_journal();
    flip(&bench, NEEDLE, 3);
    for _ in 0..2 {
        bench.reopen();
        assert_eq!(bench.get(good, b"key").unwrap(), b"better");
        assert!(why(&bench, bad).unwrap().contains("entry"));
        assert_eq!(why(&bench, good), None);
    }
    let all = bench
        .ledger()
        .snapshot()
        .unwrap()
        .all_quarantined()
        .unwrap();
    assert_eq!((all.len(), all[0].context, all[0].slot), (1, id(1), bad));
    let batch = vec![
        bench.call(1, bad, vec![set("x", "y")]),
        bench.call(2, good, vec![set("x", "y")]),
    ];
    let verdicts = bench.ledger().commit(batch).unwrap();
    assert!(matches!(verdicts[0], Err(Refused::Quarantined { .. })));
    assert!(verdicts[1].is_ok());
    // Not even the first call is in, as they belong together.
    assert_eq!(bench.get(bad, b"other"), None);
    let refused = quarantine(&bench, 1, None);
    assert!(
        matches!(refused, Err(Refused::Damaged { .. })),
        "{refused:?}"
    );
    assert!(why(&bench, bad).is_some());

    // The disk gives the right bytes again.
    bench.close();
    let mut flipped = NEEDLE.to_vec();
    flipped[3] ^= 0x10;
    flip(&bench, &flipped, 3);
    bench.reopen();
    quarantine(&bench, 1, None).unwrap();
    assert_eq!(why(&bench, bad), None);
    assert_eq!(bench.get(bad, b"key").unwrap(), b"replaced");
    assert_eq!(bench.get(bad, b"other").unwrap(), b"last");
    bench.reopen();
    let call = bench.call(1, bad, vec![set("x", "y")]);
    bench.commit(vec![call]);
    bench.verify();
}

#[test]
fn a_quarantine_lasts_until_it_is_ended_and_goes_with_its_context() {
    let mut bench = Bench::new();
    let slots = [1, 2].map(|n| bench.create(n));
    quarantine(&bench, 1, Some("a scrub has found something")).unwrap();
    // It stays with what was found first.
    quarantine(&bench, 1, Some("another thing")).unwrap();
    bench.reopen();
    assert_eq!(
        why(&bench, slots[0]).unwrap(),
        "a scrub has found something"
    );
    let long = "é".repeat(400);
    quarantine(&bench, 2, Some(&long)).unwrap();
    assert_eq!(why(&bench, slots[1]).unwrap(), "é".repeat(256));
    let both = vec![
        Change::Quarantine {
            context: id(1),
            why: None,
        },
        Change::DeleteContext(id(2)),
    ];
    let verdicts = bench.ledger().commit(both).unwrap();
    assert!(matches!(
        verdicts[0],
        Err(Refused::OutOfBounds { max: 0, .. })
    ));
    assert!(verdicts[1].is_ok());
    while bench.ledger().sweep(10).unwrap().is_more {}
    assert_eq!(why(&bench, slots[1]), None);
    quarantine(&bench, 1, None).unwrap();
    let call = bench.call(1, slots[0], vec![set("x", "y")]);
    bench.commit(vec![call]);
    bench.verify();
}

/// What is damaged stays for whoever looks into it, and the collector goes on.
#[test]
fn the_collector_reports_damage_and_goes_on_behind_it() {
    let mut bench = Bench::new();
    let slots = [1, 2].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        for _ in 0..3 {
            let mut effects = bench.effects(n, slot, vec![]);
            let payload = if n == 1 { NEEDLE } else { b"fine" };
            effects.events = vec![crate::event("told", payload)];
            bench.commit(vec![Change::Call(effects)]);
        }
    }
    bench.close();
    flip(&bench, NEEDLE, 3);
    bench.reopen();
    let mut retention = corelet_store::Retention::default();
    retention.events.count_max = 1;
    let now = corelet_store::Hlc::from_micros(bench.now);
    let collect = || {
        let bounds = corelet_store::StepBounds::default();
        bench.ledger().collect(&retention, now, &bounds).unwrap()
    };
    let first = collect();
    assert_eq!(first.rows, 0, "it asks for space: {first:?}");
    let step = collect();
    assert!(step.is_round_over);
    assert_eq!(step.events, 2);
    let damaged: Vec<_> = step.damaged.iter().map(|(slot, _)| *slot).collect();
    assert_eq!(damaged, [slots[0]]);
    let error = verify(&bench.ledger().snapshot().unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }));
    // Out of service it is not looked at again.
    quarantine(&bench, 1, Some("its events are damaged")).unwrap();
    let step = collect();
    assert!(step.is_round_over && step.damaged.is_empty(), "{step:?}");
}

/// Calls are put aside for it all the same, and none of them in the place of another.
#[test]
fn a_damaged_record_of_a_quarantine_keeps_its_context_out_of_service_and_the_others_open() {
    let (mut bench, bad, good) = with_journal();
    flip(&bench, NEEDLE, 3);
    bench.reopen();
    let reason = why(&bench, bad).unwrap();
    bench.close();
    flip(&bench, reason.as_bytes(), 3);
    bench.reopen();
    let snapshot = bench.ledger().snapshot().unwrap();
    assert!(snapshot.quarantined(bad).is_err());
    let all = snapshot.all_quarantined().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].context, all[0].slot), (id(1), bad));
    drop(snapshot);
    let call = bench.call(1, bad, vec![set("x", "y")]);
    let verdict = bench.ledger().commit(vec![call]).unwrap().remove(0);
    assert!(matches!(verdict, Err(Refused::Quarantined { .. })));
    assert_eq!(bench.get(good, b"key").unwrap(), b"better");
    // Its entry is still damaged, so it stays out, also for the calls behind that.
    for _ in 0..2 {
        let refused = quarantine(&bench, 1, None).unwrap_err();
        assert!(matches!(refused, Refused::Damaged { .. }), "{refused:?}");
        let call = bench.call(1, bad, vec![set("x", "y")]);
        let verdict = bench.ledger().commit(vec![call]).unwrap().remove(0);
        assert!(matches!(verdict, Err(Refused::Quarantined { .. })));
    }
}
