//! The map without a server.

use corelet_app_kv::Kv;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;

fn filled(count: u32) -> Context<Kv> {
    let mut kv = Context::<Kv>::new();
    for number in 0..count {
        let entry = json!({ "key": format!("key-{number:04}"), "value": format!("{number}") });
        kv.update("set", entry).unwrap();
    }
    kv
}

#[test]
fn what_was_set_is_read_back() {
    let mut kv = Context::<Kv>::new();
    let set = |kv: &mut Context<Kv>, value: &str| {
        kv.update("set", json!({ "key": "a", "value": value }))
            .unwrap()
    };
    assert_eq!(kv.query("get", json!({ "key": "a" })).unwrap(), json!(null));
    assert_eq!(set(&mut kv, "1"), json!(null));
    assert_eq!(set(&mut kv, "2"), "1");
    assert_eq!(kv.query("get", json!({ "key": "a" })).unwrap(), "2");
    assert_eq!(kv.query("len", json!({})).unwrap(), 1);
}

#[test]
fn what_was_removed_is_gone() {
    let mut kv = filled(2);
    let key = json!({ "key": "key-0000" });
    assert_eq!(kv.update("remove", key.clone()).unwrap(), true);
    assert_eq!(kv.update("remove", key.clone()).unwrap(), false);
    assert_eq!(kv.query("get", key).unwrap(), json!(null));
    assert_eq!(kv.query("len", json!({})).unwrap(), 1);
}

/// Keys and values survive whatever text they hold: escapes, quotes, zero
/// bytes, the empty text.
#[test]
fn any_text_is_a_key_and_a_value() {
    let mut kv = Context::<Kv>::new();
    for text in [
        "",
        "a\"b",
        "a\\b",
        "\u{0}",
        "line\nline",
        "żółw 🐢",
        "entries\u{0}",
    ] {
        kv.update("set", json!({ "key": text, "value": text }))
            .unwrap();
        assert_eq!(kv.query("get", json!({ "key": text })).unwrap(), text);
    }
    assert_eq!(kv.query("len", json!({})).unwrap(), 7);
}

/// Each entry appears on exactly one page, in order, whatever the page size.
#[test]
fn pages_cover_everything_once() {
    let kv_len = 25;
    for limit in [1, 7, 25, 26] {
        let mut kv = filled(kv_len);
        let mut keys = Vec::new();
        let mut after = json!(null);
        loop {
            let page = kv
                .query("entries", json!({ "after": after, "limit": limit }))
                .unwrap();
            let entries = page["entries"].as_array().unwrap();
            assert!(entries.len() <= limit);
            keys.extend(entries.iter().map(|entry| entry[0].clone()));
            after = page["next"].clone();
            if after.is_null() {
                break;
            }
        }
        let expected: Vec<_> = (0..kv_len).map(|n| json!(format!("key-{n:04}"))).collect();
        assert_eq!(keys, expected, "pages of {limit}");
    }
}

#[test]
fn a_page_has_a_hundred_entries_unless_told() {
    let mut kv = filled(101);
    let page = kv.query("entries", json!({})).unwrap();
    assert_eq!(page["entries"].as_array().unwrap().len(), 100);
    assert_eq!(page["next"], "key-0099");
}

#[test]
fn a_page_of_no_entries_is_refused() {
    let mut kv = filled(2);
    let refused = kv.query("entries", json!({ "limit": 0 })).unwrap_err();
    assert!(format!("{refused:?}").contains("at least 1"), "{refused:?}");
}
