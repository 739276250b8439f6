//! The documents without a server.

use corelet_app_docs::Docs;
use corelet_sdk::collections::Collection;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;
use corelet_testkit::Replicas;
use serde::de::DeserializeOwned;

#[test]
fn a_document_grows_and_shrinks_where_it_is_edited() {
    let mut docs = Context::<Docs>::new();
    let write = |at: u64, what| json!({ "title": "plan", "at": at, "what": what });
    assert_eq!(docs.update("write", write(0, "Größe")).unwrap(), 5);
    assert_eq!(docs.update("write", write(5, " zählt")).unwrap(), 11);
    assert_eq!(docs.update("write", write(0, "¡")).unwrap(), 12);
    let erase = json!({ "title": "plan", "at": 0, "count": 1 });
    assert_eq!(docs.update("erase", erase).unwrap(), 11);
    let replace = json!({ "title": "plan", "at": 6, "count": 5, "with": "ist alles" });
    assert_eq!(docs.update("replace", replace).unwrap(), 15);
    let read = docs.query("read", json!({ "title": "plan" })).unwrap();
    assert_eq!(read["text"], "Größe ist alles");
    assert_eq!(read["writers"], json!([["tester", 21]]));
    let part = json!({ "title": "plan", "at": 6, "count": 100 });
    assert_eq!(docs.query("part", part).unwrap(), "ist alles");
}

#[test]
fn what_a_document_does_not_have_is_refused_and_changes_nothing() {
    let mut docs = Context::<Docs>::new();
    let append = json!({ "title": "plan", "what": "noon" });
    docs.update("append", append).unwrap();
    for (method, args) in [
        ("write", json!({ "title": "plan", "at": 5, "what": "x" })),
        ("erase", json!({ "title": "plan", "at": 1, "count": 4 })),
        (
            "replace",
            json!({ "title": "plan", "at": 4, "count": 1, "with": "x" }),
        ),
        (
            "comment",
            json!({ "title": "plan", "at": 4, "count": 1, "remark": "?" }),
        ),
    ] {
        let refused = docs.update(method, args).unwrap_err();
        assert_eq!(refused.code(), Some("out_of_range"), "{method}: {refused}");
    }
    let read = docs.query("read", json!({ "title": "plan" })).unwrap();
    assert_eq!(
        read,
        json!({ "text": "noon", "comments": [], "writers": [["tester", 4]] })
    );
}

#[test]
fn comments_are_their_authors() {
    let mut docs = Context::<Docs>::new();
    let append = json!({ "title": "plan", "what": "We meet at noon." });
    docs.update("append", append).unwrap();
    for (who, remark) in [("ada", "or at one?"), ("bob", "fine")] {
        docs.set_caller(who);
        let args = json!({ "title": "plan", "at": 11, "count": 4, "remark": remark });
        docs.update("comment", args).unwrap();
    }
    let refused = docs.update("resolve", json!({ "title": "plan", "place": 0 }));
    assert_eq!(refused.unwrap_err().code(), Some("not_yours"));
    docs.set_caller("ada");
    docs.update("resolve", json!({ "title": "plan", "place": 0 }))
        .unwrap();
    let read = docs.query("read", json!({ "title": "plan" })).unwrap();
    let left = json!([{ "who": "bob", "quote": "noon", "remark": "fine" }]);
    assert_eq!(read["comments"], left);
    let gone = docs.update("resolve", json!({ "title": "plan", "place": 1 }));
    assert_eq!(gone.unwrap_err().code(), Some("no_comment"));

    assert_eq!(docs.query("titles", json!({})).unwrap(), json!(["plan"]));
    docs.update("discard", json!({ "title": "plan" })).unwrap();
    assert_eq!(docs.query("titles", json!({})).unwrap(), json!([]));
    assert!(docs.entries().is_empty());
}

#[test]
fn what_goes_with_a_comment_is_attached_as_long_as_one_has_it() {
    let mut docs = Context::<Docs>::new();
    docs.add_blob("map", 100);
    let append = json!({ "title": "plan", "what": "noon" });
    docs.update("append", append).unwrap();
    let comment = |blob: &str| json!({ "title": "plan", "at": 0, "count": 4, "remark": "where?", "attachments": [blob] });
    assert_eq!(docs.update("comment", comment("map")).unwrap(), 1);
    assert_eq!(docs.update("comment", comment("map")).unwrap(), 2);
    let unknown = docs.update("comment", comment("gap")).unwrap_err();
    assert_eq!(unknown.code(), Some("unknown_blob"));
    assert_eq!(docs.attached().len(), 1);
    let read = docs.query("read", json!({ "title": "plan" })).unwrap();
    assert_eq!(read["comments"][1]["attachments"], json!(["map"]));
    let resolve = json!({ "title": "plan", "place": 0 });
    docs.update("resolve", resolve).unwrap();
    assert_eq!(docs.attached().len(), 1, "the other comment has it");
    docs.update("discard", json!({ "title": "plan" })).unwrap();
    assert_eq!(docs.attached().len(), 0);
    assert!(docs.entries().is_empty());
}

/// What another node can push into the list of comments.
fn push<T: Serialize + DeserializeOwned>(element: T) {
    List::<T>::at(b"comments\0plan\0\0").push(&element);
}

/// And what it can write once, so that no removal takes it.
fn write_once(key: &'static [u8]) {
    WriteOnce::at(key).set(&"a lie".to_owned());
}

#[test]
fn lies_of_another_node_keep_no_comment_from_being_read_and_no_document_from_being_discarded() {
    const LIED: &str = "ffffffffffffffffffffffffffffffff";
    let mut docs = Context::<Docs>::new();
    docs.add_blob("map", 100);
    docs.add_blob("behind", 100);
    let append = json!({ "title": "plan", "what": "noon" });
    docs.update("append", append).unwrap();
    docs.run(|_| push(7)).unwrap();
    for remark in ["one", "two"] {
        let args = json!({ "title": "plan", "at": 0, "count": 4, "remark": remark, "attachments": ["map"] });
        docs.update("comment", args).unwrap();
    }
    docs.run(|_| {
        push("no comment".to_owned());
        for (id, blob) in [
            (LIED, "map".to_owned()),
            ("", "map".to_owned()),
            (&"f".repeat(1_000), "map".to_owned()),
            (LIED, "b".repeat(1_000)),
        ] {
            let comment = json!({
                "who": "tester", "quote": "", "remark": "a lie", "id": id, "attachments": vec![blob; 11],
            });
            push(comment);
        }
        // Behind as many as a comment can have.
        blobs::attach("behind").unwrap();
        let mut attachments: Vec<String> = (0..10).map(|n| format!("none-{n}")).collect();
        attachments.push("behind".to_owned());
        push(json!({
            "who": "tester", "quote": "", "remark": "a lie", "id": LIED, "attachments": attachments,
        }));
        write_once(b"goes_with\0map\0\0ffffffffffffffffffffffffffffffff\0\0\0");
    })
    .unwrap();
    let read = docs.query("read", json!({ "title": "plan" })).unwrap();
    let remarks = |comments: &serde_json::Value| -> Vec<String> {
        let remark = |comment: &serde_json::Value| comment["remark"].as_str().unwrap().to_owned();
        comments.as_array().unwrap().iter().map(remark).collect()
    };
    let all = ["one", "two", "a lie", "a lie", "a lie", "a lie", "a lie"];
    assert_eq!(remarks(&read["comments"]), all);
    let page = json!({ "title": "plan", "from": 1, "count": 2 });
    let page = docs.query("comments", page).unwrap();
    assert_eq!(remarks(&page), all[1..3]);
    // By the place at which it is read.
    for place in [3, 0] {
        docs.update("resolve", json!({ "title": "plan", "place": place }))
            .unwrap();
    }
    let read = docs.query("read", json!({ "title": "plan" })).unwrap();
    assert_eq!(
        remarks(&read["comments"]),
        ["two", "a lie", "a lie", "a lie", "a lie"]
    );
    docs.update("discard", json!({ "title": "plan" })).unwrap();
    assert_eq!(docs.query("titles", json!({})).unwrap(), json!([]));
    assert_eq!(docs.entries().len(), 1, "what is written once stays");
    assert!(
        docs.attached().contains_key("behind"),
        "it was looked further than a comment goes"
    );
}

#[test]
fn a_document_that_several_nodes_edit_has_what_all_have_written() {
    let mut docs = Replicas::<Docs>::new(3);
    let write = |at: u64, what| json!({ "title": "plan", "at": at, "what": what });
    let plan = json!({ "title": "plan" });
    docs[0]
        .update("write", write(0, "We meet at noon."))
        .unwrap();
    docs.sync();
    docs.partition(&[&[0, 1]]);
    docs[0].set_caller("Ada");
    docs[0].update("write", write(11, "about ")).unwrap();
    docs[1].set_caller("Bob");
    let replace = json!({ "title": "plan", "at": 0, "count": 2, "with": "They" });
    docs[1].update("replace", replace).unwrap();
    docs[2].set_caller("Eve");
    let comment = json!({ "title": "plan", "at": 11, "count": 4, "remark": "or at one?" });
    docs[2].update("comment", comment).unwrap();
    docs.sync();
    assert_eq!(
        docs[2].query("read", plan.clone()).unwrap()["text"],
        "We meet at noon."
    );
    docs.heal();
    docs.sync_in_disorder(20);
    let read = docs.all_answer("read", plan.clone());
    assert_eq!(read["text"], "They meet at about noon.");
    assert_eq!(
        read["writers"],
        json!([["Ada", 6], ["Bob", 4], ["tester", 16]])
    );
    assert_eq!(read["comments"][0]["quote"], "noon");
    // Who discards a document takes along what others write into it meanwhile, but for what they
    // are the first to be counted for.
    docs[0].update("discard", plan.clone()).unwrap();
    docs[1].update("write", write(0, "Yes: ")).unwrap();
    docs[2].update("write", write(0, "No: ")).unwrap();
    docs.sync();
    let read = docs.all_answer("read", plan);
    assert_eq!((&read["text"], &read["comments"]), (&json!(""), &json!([])));
    assert_eq!(read["writers"], json!([["Eve", 4]]));
}
