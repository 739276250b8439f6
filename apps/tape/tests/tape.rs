//! The tape without a server.

use corelet_app_tape::Tape;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;

#[test]
fn it_plays_what_was_recorded_and_is_blank_elsewhere() {
    let mut tape = Context::<Tape>::new();
    assert_eq!(
        tape.query("play", json!({ "at": 5, "count": 9 })).unwrap(),
        ""
    );
    let hello = json!({ "at": 70_000, "text": "hello" });
    assert_eq!(tape.update("record", hello).unwrap(), 2);
    let find = |text: &str, at: u64| json!({ "text": text, "at": at, "count": 9_000 });
    assert_eq!(tape.query("find", find("llo", 65_000)).unwrap(), 70_002);
    assert_eq!(
        tape.query("find", find("llo", 70_003)).unwrap(),
        json!(null)
    );
    assert_eq!(
        tape.query("find", find("llo", 131_000)).unwrap(),
        json!(null)
    );
    let play = json!({ "at": 69_998, "count": 9 });
    assert_eq!(tape.query("play", play.clone()).unwrap(), "..hello..");
    let erase = json!({ "at": 70_001, "count": 3 });
    tape.update("erase", erase).unwrap();
    assert_eq!(tape.query("play", play).unwrap(), "..h...o..");
    let end = json!({ "at": 131_070, "count": 9 });
    assert_eq!(tape.query("play", end).unwrap(), "..");
}

#[test]
fn of_several_texts_none_is_recorded_if_one_does_not_fit() {
    let mut tape = Context::<Tape>::new();
    let hash = tape.query("hash", json!({})).unwrap();
    let texts = json!({ "texts": [[0, "first"], [17_000_000, "second"]] });
    let refused = tape.update("record_all", texts).unwrap_err();
    assert_eq!(refused.code(), Some("too_far"));
    assert_eq!(tape.query("hash", json!({})).unwrap(), hash);
    assert_eq!(tape.query("pages", json!({})).unwrap(), 0);
}
