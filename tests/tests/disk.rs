//! A disk that is full, and files on it that are damaged: what is lost is told
//! to the right one, and everything else goes on.

use corelet_tests::{ANY_PORT, Server, component};
use serde_json::json;

#[test]
fn an_application_that_the_disk_has_no_room_for_is_refused_and_not_our_fault() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    // A file may have 96 KiB: more than a new ledger needs, less than the component.
    let small = "trap '' XFSZ; ulimit -f 192; exec \"$0\" \"$@\"";
    let wrapper = ["sh", "-c", small].map(str::to_owned);
    let mut server = Server::spawn(&data, ANY_PORT, &wrapper, &["--shards", "1"]);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let kv = component("kv");
    assert!(kv.len() > 96 << 10);
    let (status, answer) = client.post("/v1/applications", &kv).expect("an answer");
    assert_eq!(status, 507, "{answer}");
    assert_eq!(answer["type"], "urn:corelet:error:storage_full");
    let (status, list) = client.get("/v1/applications").expect("an answer");
    assert_eq!((status, &list["applications"]), (200, &json!([])));
    assert_eq!(server.stop(), Some(0));
    // Nothing of it is left in the way of the next attempt.
    let server = Server::start(&data, &[]);
    server.client().install("kv");
}

#[test]
fn a_damaged_application_is_told_to_the_operator_and_not_blamed_on_the_caller() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let kv = server.client().install("kv");
    let context = server.client().create(&kv, None);
    assert_eq!(server.stop(), Some(0));
    let file = data.join("blobs").join(format!("{kv}.wasm"));
    let good = std::fs::read(&file).expect("the application's file");
    let set = json!({ "key": "k", "value": "v" });
    for damaged in [
        Some(&good[..good.len() / 2]),
        Some(b"no component".as_slice()),
        None,
    ] {
        match damaged {
            Some(bytes) => std::fs::write(&file, bytes).expect("the file can be written"),
            None => std::fs::remove_file(&file).expect("the file is there"),
        }
        let mut server = Server::start(&data, &[]);
        let client = server.client();
        let answer = client
            .call(&context, "set", set.clone())
            .expect("an answer");
        assert_eq!(
            answer["error"]["data"]["name"], "storage_damaged",
            "{answer}"
        );
        // The same application, brought again, mends it.
        client.install("kv");
        let answer = client
            .call(&context, "set", set.clone())
            .expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(server.stop(), Some(0));
        // The server ends when all of its log is written.
        let log = server.log();
        let told = log
            .lines()
            .rfind(|line| line.contains("\"level\":\"ERROR\""));
        let told = told.expect("an error in the log");
        assert!(told.contains(&format!("{kv}.wasm")), "{told}");
        assert_eq!(
            told.contains(&format!("the hash {kv}")),
            damaged.is_some(),
            "{told}"
        );
        assert_eq!(std::fs::read(&file).expect("the file is back"), good);
    }
}
