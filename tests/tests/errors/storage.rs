//! Storage that is full or damaged, and blobs that are not as they should.

use std::path::Path;

use corelet_tests::{Server, flip, start_unlooked};
use serde_json::{Value, json};

use crate::Stage;
use crate::catalogue::{Catalogue, limit_of};

pub(super) fn storage_that_is_full_or_damaged(catalogue: &Catalogue) {
    // The least that a ledger may have.
    let stage = Stage::start("[storage]\nmap_bytes_max = \"16 MiB\"\n");
    let context = stage.client.create("kv", Some("large"));
    let value = "x".repeat(512 << 10);
    let refused = (0..100).find_map(|key| {
        let before = stage.state(&context);
        let set = json!({ "key": key.to_string(), "value": value });
        let answer = stage.call(&context, "set", &set);
        answer.1["error"].is_object().then(|| {
            assert_eq!(stage.state(&context), before, "a refusal left a trace");
            answer
        })
    });
    let data = catalogue.rpc("storage_full", &refused.expect("50 MiB do not fit"));
    assert_eq!(limit_of(&data), ("storage.map_bytes_max", 16 << 20));
    let get = stage.call(&context, "get", &json!({ "key": "0" }));
    assert_eq!(get.1["result"]["output"], value, "reads go on");
    drop(stage);

    let mut stage = Stage::start("");
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
    let data = stage.home.path().join("data");
    damage_components(&data);
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let set = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute",
        "params": ["neighbour", "set", { "key": "k", "value": "v" }] });
    let answer = client.post("/rpc", set.to_string().as_bytes());
    catalogue.rpc("storage_damaged", &answer.expect("an answer"));
    let (ready, _) = client.get("/readyz").expect("an answer");
    assert_eq!(ready, 200);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

pub(super) fn a_context_that_is_damaged(catalogue: &Catalogue) {
    let mut stage = Stage::start("");
    let context = stage.client.create("kv", Some("damaged"));
    let set = json!({ "key": "k", "value": "a needle in a haystack" });
    let answer = stage.call(&context, "set", &set);
    assert!(answer.1["result"].is_object(), "{}", answer.1);
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
    let data = stage.home.path().join("data");
    flip(&data, b"a needle in a haystack");
    stage.server = start_unlooked(&data, &[]);
    stage.client = stage.server.client();
    let get = json!({ "key": "k" });
    catalogue.rpc("storage_damaged", &stage.call(&context, "get", &get));
    let refused = || catalogue.rpc("context_damaged", &stage.call(&context, "get", &get));
    let data = stage.refused(&context, refused);
    assert_eq!(data["context"], context);
    stage.stop();
}

pub(super) fn blobs_that_are_not_as_they_should(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let blobs = |body: &[u8]| stage.post("/v1/blobs", body);
    let get = |path: &str| stage.client.get(path).expect("an answer");
    let (status, uploaded) = blobs(b"content");
    assert_eq!(status, 201, "{uploaded}");
    let id = uploaded["id"].as_str().expect("an id");
    let path = format!("/v1/blobs/{id}");
    let refused = |name: &str, act: &dyn Fn() -> (u16, Value)| {
        stage.refused("neighbour", || catalogue.rest(name, &act()))
    };
    let data = refused("unknown_blob", &|| get("/v1/blobs/none"));
    assert_eq!(data["blob"], "none");
    let other = format!("/v1/blobs?id={id}");
    let data = refused("blob_mismatch", &|| stage.post(&other, b"other"));
    assert_eq!(data["expected"], id);
    let data = refused("range_not_satisfiable", &|| {
        stage.raw("GET", &path, "range: bytes=7-\r\n\r\n")
    });
    assert_eq!(data["size"], 7);

    let docs = stage
        .client
        .create(&stage.client.install("docs"), Some("docs"));
    let append = stage.call(&docs, "append", &json!({ "title": "t", "what": "text" }));
    assert!(append.1["result"].is_object(), "{}", append.1);
    let comment = json!({ "title": "t", "at": 0, "count": 4, "remark": "", "attachments": [id] });
    let comment = stage.call(&docs, "comment", &comment);
    assert!(comment.1["result"].is_object(), "{}", comment.1);
    let data = refused("blob_in_use", &|| {
        stage.client.delete(&path).expect("an answer")
    });
    assert_eq!(
        (&data["contexts"], &data["held"]),
        (&json!([docs]), &json!(false))
    );

    let mut fans = std::fs::read_dir(stage.home.path().join("data/blobs"))
        .expect("a directory")
        .filter_map(Result::ok);
    let file = fans.find_map(|fan| {
        let file = fan.path().join(id);
        file.exists().then_some(file)
    });
    std::fs::write(file.expect("its file"), b"garbagegarbagegarbage12").expect("it can be written");
    let data = refused("blob_damaged", &|| get(&path));
    assert_eq!(data["blob"], id);
    stage.stop();
}

fn damage_components(data: &Path) {
    for file in std::fs::read_dir(data.join("blobs")).expect("components") {
        let path = file.expect("a file").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            std::fs::write(path, b"no component").expect("it can be written");
        }
    }
}
