//! State of every kind through the whole server: an application of the SDK that
//! uses each is called over HTTP, the server is killed and started again, and
//! what was acknowledged is there as it was written.

use corelet_tests::{Client, Server};
use serde_json::{Value, json};

/// The output of a call that answers.
fn output(client: &Client, method: &str, args: Value) -> Value {
    let answer = client.call("lunch", method, args).expect("an answer");
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"]["output"].clone()
}

/// The code of the application's error.
fn refusal(client: &Client, method: &str, args: Value) -> Value {
    let answer = client.call("lunch", method, args).expect("an answer");
    answer["error"]["data"]["error"]["code"].clone()
}

#[test]
fn state_of_every_kind_is_kept_across_a_kill() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    client.create(&client.install("poll"), Some("lunch"));

    output(&client, "ask", json!({ "question": "Where?" }));
    let vote = json!({ "choice": "inn", "comment": "it is near" });
    assert_eq!(output(&client, "vote", vote), 1);
    assert_eq!(
        refusal(&client, "vote", json!({ "choice": "inn" })),
        "voted"
    );
    assert_eq!(
        refusal(&client, "ask", json!({ "question": "When?" })),
        "asked"
    );
    output(&client, "call_station", json!({ "name": "north" }));
    output(&client, "note", json!({ "about": "inn", "text": "closed" }));

    let check = |client: &Client| {
        let standing = output(client, "result", json!({}));
        assert_eq!(standing["question"], "Where?");
        assert_eq!(standing["voters"], 1);
        let choices = standing["choices"].as_array().expect("a list");
        assert_eq!(choices.len(), 1, "{standing}");
        assert_eq!(choices[0]["choice"], "inn");
        assert_eq!(choices[0]["votes"], 1);
        assert_eq!(choices[0]["comments"][0][1], "it is near");
        assert_eq!(output(client, "stations", json!({})), json!(["north"]));
        let notes = json!([["inn", "closed"]]);
        assert_eq!(output(client, "notes", json!({})), notes);
    };
    check(&client);
    server.kill();

    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    check(&client);
    // It is the same voter, the same question and the same author as before.
    assert_eq!(
        refusal(&client, "vote", json!({ "choice": "inn" })),
        "voted"
    );
    assert_eq!(
        refusal(&client, "ask", json!({ "question": "When?" })),
        "asked"
    );
    output(&client, "call_station", json!({ "name": "south" }));
    assert_eq!(output(&client, "stations", json!({})), json!(["south"]));
    // The counter and one comment.
    assert_eq!(output(&client, "withdraw", json!({ "choice": "inn" })), 2);
    let standing = output(&client, "result", json!({}));
    assert_eq!(standing["choices"], json!([]));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
