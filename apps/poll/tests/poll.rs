//! The poll without a server.

use std::time::Duration;

use corelet_app_poll::Poll;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;

#[test]
fn a_question_stands() {
    let mut poll = Context::<Poll>::create(json!({ "question": "Where?" })).unwrap();
    let refused = poll.update("ask", json!({ "question": "When?" }));
    assert_eq!(refused.unwrap_err().code(), Some("asked"));
    let result = poll.query("result", json!({})).unwrap();
    assert_eq!(
        result,
        json!({ "question": "Where?", "choices": [], "voters": 0, "is_closed": false })
    );
}

#[test]
fn votes_add_up_and_there_is_one_each() {
    let mut poll = Context::<Poll>::new();
    for (voter, choice, votes) in [("ada", "inn", 1), ("bob", "inn", 2), ("eve", "canteen", 1)] {
        poll.set_caller(voter);
        let args = json!({ "choice": choice, "comment": format!("says {voter}") });
        assert_eq!(poll.update("vote", args).unwrap(), votes);
    }
    let again = poll.update("vote", json!({ "choice": "inn" })).unwrap_err();
    assert_eq!(again.code(), Some("voted"));

    let inn = json!({ "choice": "inn", "votes": 2, "comments": [["ada", "says ada"], ["bob", "says bob"]] });
    let canteen = json!({ "choice": "canteen", "votes": 1, "comments": [["eve", "says eve"]] });
    assert_eq!(
        poll.query("result", json!({})).unwrap(),
        json!({ "question": null, "choices": [canteen, inn], "voters": 3, "is_closed": false })
    );
    assert_eq!(
        poll.update("withdraw", json!({ "choice": "inn" })).unwrap(),
        3
    );
    assert_eq!(
        poll.query("result", json!({})).unwrap(),
        json!({ "question": null, "choices": [canteen], "voters": 3, "is_closed": false })
    );
}

#[test]
fn each_node_has_its_name_and_its_notes() {
    let mut poll = Context::<Poll>::new();
    for (author, name) in [(2, "north"), (1, "south")] {
        poll.set_author([author; 32]);
        poll.update("call_station", json!({ "name": name }))
            .unwrap();
    }
    assert_eq!(
        poll.query("stations", json!({})).unwrap(),
        json!(["south", "north"])
    );
    let note = json!({ "about": "ada", "text": "votes early" });
    poll.update("note", note).unwrap();
    assert_eq!(
        poll.query("notes", json!({})).unwrap(),
        json!([["ada", "votes early"]])
    );
    assert!(poll.entries().is_empty());
}

#[test]
fn a_poll_closes_by_itself_when_its_time_has_come() {
    let mut poll = Context::<Poll>::new();
    let vote = |poll: &mut Context<Poll>, voter: &str| {
        poll.set_caller(voter);
        poll.update("vote", json!({ "choice": "inn" }))
    };
    poll.update("close_in", json!({ "seconds": 60 })).unwrap();
    poll.update("close_in", json!({ "seconds": 30 })).unwrap();
    assert_eq!(poll.timers().len(), 1, "one takes the other's place");
    let moment = Duration::from_nanos(1);
    poll.advance(Duration::from_secs(30) - moment);
    assert!(poll.run_due().is_empty());
    vote(&mut poll, "ada").unwrap();
    poll.advance(moment);
    assert_eq!(poll.run_due(), [("close".to_owned(), Ok(json!(null)))]);
    assert!(poll.run_due().is_empty());
    assert_eq!(vote(&mut poll, "bob").unwrap_err().code(), Some("closed"));
    assert_eq!(poll.events()[0].payload, json!({ "voters": 1 }));
    let result = poll.query("result", json!({})).unwrap();
    assert_eq!(result["is_closed"], true);
}

#[test]
fn a_poll_that_is_to_stay_open_does_and_nobody_can_close_it() {
    let mut poll = Context::<Poll>::new();
    poll.update("close_in", json!({ "seconds": 30 })).unwrap();
    assert_eq!(poll.update("stay_open", json!({})).unwrap(), true);
    assert_eq!(poll.update("stay_open", json!({})).unwrap(), false);
    assert!(poll.timers().is_empty());
    let called = poll.update("close", json!({})).unwrap_err();
    assert_eq!(called.code(), Some("unknown_method"));
}

#[test]
fn a_poll_shows_where_those_stand_that_it_follows() {
    use std::cell::RefCell;

    let id = |n: u8| ContextId::from_bytes([n; 32]);
    let mut other = Context::<Poll>::create(json!({ "question": "When?" })).unwrap();
    for (voter, choice) in [("ada", "noon"), ("bob", "noon"), ("eve", "one")] {
        other.set_caller(voter);
        other.update("vote", json!({ "choice": choice })).unwrap();
    }
    let mut poll = Context::<Poll>::new();
    let other = RefCell::new(other);
    poll.set_others(move |context, method, args| match context {
        context if *context == id(2) => Ok(other.borrow_mut().query(method, args).unwrap()),
        context if *context == id(3) => Err(QueryError::Failed("trapped".into())),
        _ => Err(QueryError::UnknownContext),
    });
    for n in [2, 3, 4] {
        poll.update("follow", json!({ "poll": id(n) })).unwrap();
    }
    // The host in memory has this id for each context.
    poll.update("follow", json!({ "poll": id(7) })).unwrap();
    let refused = poll.update("follow", json!({ "poll": "no id" }));
    assert!(refused.is_err(), "{refused:?}");

    let overview = poll.query("overview", json!({})).unwrap();
    let mut lines: Vec<_> = overview.as_array().unwrap().clone();
    lines.sort_by_key(|line| line["voters"].as_u64());
    let line = lines.pop().unwrap();
    assert_eq!(
        line,
        json!({ "poll": id(2), "question": "When?", "leads": ["noon", 2], "voters": 3, "error": null })
    );
    let mut codes: Vec<_> = lines
        .iter()
        .map(|line| line["error"]["code"].as_str())
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [Some("cycle"), Some("trapped"), Some("unknown_context")]
    );
}
