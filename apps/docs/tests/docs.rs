//! The documents without a server.

use corelet_app_docs::Docs;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;

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
