//! The counter without a server.

use corelet_app_counter::Counter;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

#[test]
fn it_counts_from_zero() {
    let mut counter = Context::<Counter>::new();
    assert_eq!(counter.query("get", json!({})).unwrap(), 0);
    assert_eq!(counter.update("increment", json!({})).unwrap(), 1);
    assert_eq!(
        counter.update("increment", json!({ "by": -3 })).unwrap(),
        -2
    );
    assert_eq!(counter.query("get", json!({})).unwrap(), -2);
}

#[test]
fn it_begins_and_resets_where_init_says() {
    let mut counter = Context::<Counter>::create(json!({ "start": 10 })).unwrap();
    assert_eq!(counter.update("increment", json!({ "by": 5 })).unwrap(), 15);
    assert_eq!(counter.update("reset", json!({})).unwrap(), 15);
    assert_eq!(counter.query("get", json!({})).unwrap(), 10);
}

/// A sum over the edge is refused with both numbers, and nothing has moved.
#[test]
fn overflow_is_refused() {
    let mut counter = Context::<Counter>::create(json!({ "start": i64::MAX })).unwrap();
    let refused = counter.update("increment", json!({})).unwrap_err();
    assert_eq!(
        refused,
        Failed::Error(json!({ "code": "overflow", "value": i64::MAX, "by": 1 }))
    );
    assert_eq!(counter.query("get", json!({})).unwrap(), i64::MAX);
}

#[test]
fn init_refuses_what_it_does_not_know() {
    let refused = Context::<Counter>::create(json!({ "begin": 1 })).unwrap_err();
    assert_eq!(refused.code(), Some("bad_arguments"));
}

#[test]
fn it_counts_by_itself_and_once_for_all_times_that_were_missed() {
    let mut counter = Context::<Counter>::new();
    let tick = json!({ "name": "tick", "millis": 1000, "by": 2 });
    counter.update("increment_every", tick).unwrap();
    let once = json!({ "name": "once", "millis": 1500 });
    counter.update("increment_in", once).unwrap();
    let began = counter.now();
    for (millis, expected) in [
        (999, 0),
        (1000, 2),
        (1500, 3),
        (1999, 3),
        (5500, 5),
        (6000, 7),
    ] {
        counter.set_now(began + millis * 1_000_000);
        let ran = counter.run_due();
        assert!(ran.iter().all(|(_, answer)| answer.is_ok()), "{ran:?}");
        let value = counter.query("get", json!({})).unwrap();
        assert_eq!(value, expected, "after {millis} ms");
    }
    assert_eq!(
        counter.update("stop", json!({ "name": "tick" })).unwrap(),
        true
    );
    assert!(counter.timers().is_empty());
}

#[test]
fn what_does_not_fit_is_tried_again() {
    let mut counter = Context::<Counter>::create(json!({ "start": i64::MAX })).unwrap();
    let args = json!({ "name": "more", "millis": 0 });
    counter.update("increment_in", args).unwrap();
    for attempts in 1..3 {
        let answers = counter.run_due();
        assert_eq!(answers[0].1.as_ref().unwrap_err().code(), Some("overflow"));
        assert_eq!(counter.timers()[0].attempts, attempts);
    }
}

/// Whatever becomes of it, what both have together stays the same.
#[test]
fn what_is_given_is_added_there_or_comes_back() {
    let mut mine = Context::<Counter>::create(json!({ "start": 10 })).unwrap();
    let mut yours = Context::<Counter>::create(json!({ "start": i64::MAX - 5 })).unwrap();
    yours.set_id([8; 32]);
    let (from, to) = (mine.id(), yours.id());
    for by in [4, 3] {
        mine.update("give", json!({ "to": to, "by": by })).unwrap();
    }
    assert_eq!(mine.query("get", json!({})).unwrap(), 3);
    assert_eq!(mine.sent().len(), 2);
    let answers = mine.run_sent(|call| yours.receive(&from, call));
    let [(first, told), (second, told_too)] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(first.as_ref().unwrap(), i64::MAX - 1);
    assert_eq!(second.as_ref().unwrap_err().code(), Some("overflow"));
    assert!(
        [told, told_too]
            .iter()
            .all(|told| matches!(told, Some(Ok(_))))
    );
    assert!(mine.sent().is_empty());
    assert_eq!(mine.query("get", json!({})).unwrap(), 6);
    assert_eq!(yours.query("get", json!({})).unwrap(), i64::MAX - 1);
    assert_eq!(mine.events()[0].payload["code"], "application_error");
    // What is refused has sent nothing.
    let refused = mine.update("give", json!({ "to": to, "by": i64::MIN }));
    assert_eq!(refused.unwrap_err().code(), Some("overflow"));
    assert!(mine.sent().is_empty());
}
