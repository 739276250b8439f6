//! The second tally without a server, and what it makes of a context of the first.

use corelet_app_tally::Tally as First;
use corelet_app_tally_2::Tally;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;
use corelet_testkit::Replicas;

#[test]
fn a_context_of_the_first_version_is_brought_over() {
    let mut first = Context::<First>::new();
    for (name, by) in [("apples", 3), ("pears", 5), ("apples", 1)] {
        let args = json!({ "name": name, "by": by });
        first.update("count", args).unwrap();
    }
    let mut tally = first.upgrade::<Tally>().unwrap();
    let total = |name| json!({ "name": name });
    assert_eq!(tally.query("total", total("apples")).unwrap(), 4);
    assert_eq!(tally.query("total", total("pears")).unwrap(), 5);
    let names = tally.query("names", json!({})).unwrap();
    assert_eq!(names, json!(["apples", "pears"]));
    assert_eq!(tally.entries().len(), 2, "nothing is left of the old form");
    assert_eq!(tally.events()[0].kind, "upgraded");
    let fewer = json!({ "name": "pears", "by": -2 });
    assert_eq!(tally.update("count", fewer).unwrap(), 3);
}

#[test]
fn what_does_not_fit_keeps_a_context_as_it_was() {
    let mut first = Context::<First>::new();
    let many = json!({ "name": "grains", "by": u64::MAX });
    first.update("count", many).unwrap();
    let before = first.entries().clone();
    let failed = first.upgrade::<Tally>().unwrap_err();
    assert_eq!(failed.code(), Some("too_many"));
    assert_eq!(first.entries(), &before);
    // Nor is there a way back.
    let failed = Context::<Tally>::new().upgrade::<First>().unwrap_err();
    assert_eq!(failed.code(), Some("no_migration"));
}

/// What has to be known before a context that several nodes have is upgraded.
#[test]
fn each_node_of_a_context_adds_what_it_has_counted() {
    let mut first = Replicas::<First>::new(2);
    let three = json!({ "name": "apples", "by": 3 });
    first[0].update("count", three).unwrap();
    first.sync();
    let mut tally = first.upgrade::<Tally>().unwrap();
    let apples = json!({ "name": "apples" });
    for node in tally.iter_mut() {
        assert_eq!(node.query("total", apples.clone()).unwrap(), 3);
    }
    tally.sync();
    assert_eq!(tally.all_answer("total", apples.clone()), 6);
    let fewer = json!({ "name": "apples", "by": -1 });
    tally[1].update("count", fewer).unwrap();
    tally.sync();
    assert_eq!(tally.all_answer("total", apples), 5);
}
