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
    let passed_on = first.run_sent(|call| second.receive(&from, call));
    assert!(matches!(passed_on[..], [(Ok(_), None)]), "{passed_on:?}");
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

#[test]
fn a_room_follows_another_and_rooms_that_follow_each_other_come_to_an_end() {
    let mut here = Context::<Chat>::new();
    let mut there = Context::<Chat>::new();
    there.set_id([8; 32]);
    append(&mut there, "before");
    let room = there.id();
    let follow = json!({ "room": room, "from_the_beginning": true });
    here.update("follow", follow).unwrap();
    let back = json!({ "room": here.id(), "from_the_beginning": null });
    there.update("follow", back).unwrap();
    append(&mut there, "hello");
    assert_eq!(here.hear(&there).len(), 1);
    assert!(here.hear(&there).is_empty(), "that was told");
    assert_eq!(there.hear(&here).len(), 1);
    let said = |chat: &mut Context<Chat>| {
        let page = chat.query("page", json!({})).unwrap();
        let entries = page["entries"].as_array().unwrap().clone();
        let message = |entry: &serde_json::Value| entry[1].clone();
        entries.iter().map(message).collect::<Vec<_>>()
    };
    let author = format!("corelet:context/{room}");
    let [before, hello] = ["before", "hello"].map(|text| json!({ "author": author, "text": text }));
    assert_eq!(said(&mut here), [before, hello]);
    assert_eq!(said(&mut there).len(), 2, "nothing comes back");
    assert_eq!(here.query("followed", json!({})).unwrap(), json!([room]));

    // What cannot be appended is told again.
    let events = here.events().len();
    let mut empty = Context::<Chat>::new();
    empty.set_id([9; 32]);
    empty
        .run(|_| events::emit("appended", &json!({ "author": "ada", "text": "" })))
        .unwrap();
    let follow = json!({ "room": empty.id(), "from_the_beginning": true });
    here.update("follow", follow).unwrap();
    for _ in 0..2 {
        let told = here.hear(&empty);
        let Failed::Error(error) = told[0].1.as_ref().unwrap_err() else {
            panic!("{told:?}");
        };
        assert_eq!(error["code"], "empty");
    }
    assert_eq!(here.events().len(), events);
    let gone = here.hear_end(&room);
    assert!(gone[0].1.is_ok(), "{gone:?}");
    let told = here.events().last().unwrap();
    assert_eq!(
        (&told.kind[..], &told.payload["room"]),
        ("closed", &json!(room))
    );
    assert_eq!(here.subscriptions().len(), 1);
    assert_eq!(
        here.update("unfollow", json!({ "room": room })).unwrap(),
        false
    );
}

/// Its handler is told of what comes behind the call that has subscribed it.
#[test]
fn a_room_that_follows_itself_says_everything_twice() {
    let mut chat = Context::<Chat>::new();
    append(&mut chat, "before");
    let itself = chat.id();
    let follow = json!({ "room": itself, "from_the_beginning": false });
    chat.update("follow", follow).unwrap();
    append(&mut chat, "hello");
    let told = chat.run_events();
    assert!(told.iter().all(|(_, answer)| answer.is_ok()), "{told:?}");
    let page = chat.query("page", json!({})).unwrap();
    let entries = page["entries"].as_array().unwrap();
    let texts: Vec<_> = entries.iter().map(|entry| &entry[1]["text"]).collect();
    assert_eq!(texts, ["before", "hello", "hello"]);
    assert!(chat.run_events().is_empty());
}
