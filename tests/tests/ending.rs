//! A disk that fails in the middle of a commit ends the server, because nobody
//! can tell what is on it; the log has the reason, and the next start has all
//! that was acknowledged.

use corelet_tests::{Server, free_address};
use serde_json::{Value, json};

#[test]
fn a_write_that_fails_ends_the_server_with_its_reason_in_the_log() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let failing = "inject=pwritev2:error=EIO:when=4+";
    let wrapper = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=pwritev2",
        "-e",
        failing,
    ];
    let wrapper = wrapper.map(str::to_owned);
    let mut server = Server::spawn(&data, free_address(), &wrapper, &["--shards", "1"]);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let context = client.create(&client.install("kv"), Some("kv"));
    let mut acknowledged = 0;
    loop {
        let set = json!({ "key": "k", "value": (acknowledged + 1).to_string() });
        match client.call(&context, "set", set) {
            Ok(answer) if answer["result"].is_object() => acknowledged += 1,
            Ok(answer) => panic!("an answer from a disk in doubt: {answer}"),
            Err(_) => break,
        }
    }
    assert!(acknowledged > 0, "{}", server.log());
    server.wait();
    let log = server.log();
    let said = "cannot tell what is on disk after a failed commit; stopping";
    assert!(log.contains(said), "{log}");

    let mut server = Server::start(&data, &[]);
    let answer = server
        .client()
        .call("kv", "get", json!({ "key": "k" }))
        .expect("an answer");
    assert_eq!(
        answer["result"]["output"],
        Value::from(acknowledged.to_string())
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
