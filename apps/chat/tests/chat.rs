//! The room without a server.

use corelet_app_chat::{Chat, MESSAGE_BYTES_MAX};
use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

fn append(chat: &mut Context<Chat>, text: &str) -> String {
    let id = chat.update("append", json!({ "message": text })).unwrap();
    id.as_str().unwrap().to_owned()
}

/// Messages come back in the order of appending and with their authors, though
/// the clock stands still and then goes back.
#[test]
fn messages_keep_their_order() {
    let mut chat = Context::<Chat>::new();
    let mut ids = Vec::new();
    for (now, caller, text) in [(9, "ada", "one"), (9, "bob", "two"), (4, "ada", "three")] {
        chat.set_now(now);
        chat.set_caller(caller);
        ids.push(append(&mut chat, text));
    }
    assert!(ids.is_sorted());
    let page = chat.query("page", json!({})).unwrap();
    assert_eq!(
        page,
        json!({
            "entries": [
                [ids[0], { "author": "ada", "text": "one" }],
                [ids[1], { "author": "bob", "text": "two" }],
                [ids[2], { "author": "ada", "text": "three" }],
            ],
            "next": null,
        })
    );
}

#[test]
fn pages_follow_each_other_in_both_directions() {
    let mut chat = Context::<Chat>::new();
    let ids: Vec<String> = (0..5).map(|n| append(&mut chat, &n.to_string())).collect();
    let mut read = |method: &str, args| {
        let page = chat.query(method, args).unwrap();
        let entries = page["entries"].as_array().unwrap().clone();
        let texts: Vec<_> = entries.iter().map(|it| it[1]["text"].clone()).collect();
        (texts, page["next"].clone())
    };
    let first = read("page", json!({ "limit": 3 }));
    assert_eq!(
        first,
        (vec!["0".into(), "1".into(), "2".into()], json!(ids[2]))
    );
    let second = read("page", json!({ "limit": 3, "after": ids[2] }));
    assert_eq!(second, (vec!["3".into(), "4".into()], json!(null)));
    let newest = read("latest", json!({ "limit": 2 }));
    assert_eq!(newest, (vec!["4".into(), "3".into()], json!(ids[3])));
    let older = read("latest", json!({ "limit": 9, "before": ids[3] }));
    assert_eq!(
        older,
        (vec!["2".into(), "1".into(), "0".into()], json!(null))
    );
}

#[test]
fn an_append_is_told() {
    let mut chat = Context::<Chat>::new();
    let id = append(&mut chat, "hello");
    let [event] = chat.events() else {
        panic!("one append, one event")
    };
    assert_eq!(event.kind, "appended");
    assert_eq!(
        event.payload,
        json!({ "id": id, "author": "tester", "text": "hello" })
    );
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let mut chat = Context::<Chat>::new();
    let refused = chat.update("append", json!({ "message": "" })).unwrap_err();
    assert_eq!(refused, Failed::Error(json!({ "code": "empty" })));
    let long = "x".repeat(MESSAGE_BYTES_MAX + 1);
    let refused = chat
        .update("append", json!({ "message": long }))
        .unwrap_err();
    assert_eq!(refused.code(), Some("too_long"));
    let refused = chat
        .query("page", json!({ "after": "nonsense" }))
        .unwrap_err();
    assert_eq!(refused.code(), Some("bad_arguments"));
    assert!(chat.entries().is_empty() && chat.events().is_empty());
}

#[test]
fn a_message_is_passed_on_from_room_to_room() {
    let mut first = Context::<Chat>::new();
    let mut second = Context::<Chat>::new();
    second.set_id([8; 32]);
    let (from, to) = (first.id(), second.id());
    let args = json!({ "message": "hello", "rooms": [to, from] });
    first.update("relay", args).unwrap();
    first.run_sent(|call| second.receive(&from, call));
    let sent = &second.sent()[0];
    assert_eq!((sent.to, &sent.args["rooms"]), (from, &json!([])));
    assert!(sent.callback.is_none());
    let said = first.receive(&to, sent);
    assert!(said.is_ok(), "{said:?}");
    let page = first.query("page", json!({})).unwrap();
    let authors = [0, 1].map(|at| page["entries"][at][1]["author"].clone());
    assert_eq!(
        authors,
        [json!("tester"), json!(format!("corelet:context/{to}"))]
    );
    let nobody = json!({ "message": "", "rooms": [to] });
    assert!(first.update("relay", nobody).is_err() && first.sent().is_empty());
}
