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
