//! A log that cannot be written is no reason to stop serving.

use corelet_tests::{Server, free_address};
use serde_json::json;

#[test]
fn a_full_disk_under_the_log_does_not_end_the_server() {
    let home = tempfile::tempdir().expect("a directory for data");
    let full = "exec \"$0\" \"$@\" 2>/dev/full";
    let wrapper = ["sh", "-c", full].map(str::to_owned);
    let shards = ["--shards", "1"];
    let mut server = Server::spawn(&home.path().join("data"), free_address(), &wrapper, &shards);
    assert!(server.wait_ready());
    let client = server.client();
    let kv = client.install("kv");
    let context = client.create(&kv, None);
    let set = json!({ "key": "k", "value": "v" });
    let answer = client.call(&context, "set", set).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(server.stop(), Some(0));
}
