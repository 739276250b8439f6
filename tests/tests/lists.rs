//! Lists and texts through the whole server: the example application is called over
//! HTTP, in batches and from several connections at once, calls fail half way, the
//! server is killed, and what was acknowledged is there, in its order.

use std::thread;

use corelet_tests::{Client, Server};
use serde_json::{Value, json};

/// Calls in one request.
const BATCH: u64 = 100;

fn start(home: &tempfile::TempDir, more: &[&str]) -> Server {
    let arguments = [&["--shards", "1"], more].concat();
    Server::start(&home.path().join("data"), &arguments)
}

fn begin(server: &Server) -> Client {
    let client = server.client();
    client.create(&client.install("docs"), Some("team"));
    client
}

/// The output of a call that answers.
fn output(client: &Client, method: &str, args: Value) -> Value {
    let answer = client.call("team", method, args).expect("an answer");
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"]["output"].clone()
}

fn document(client: &Client) -> Value {
    output(client, "read", json!({ "title": "plan" }))
}

/// Calls one method many times, in one request.
fn batch(client: &Client, method: &str, all: impl Iterator<Item = Value>) -> Vec<Value> {
    let calls: Vec<Value> = all
        .enumerate()
        .map(|(id, args)| {
            json!({
                "jsonrpc": "2.0",
                "id": id,
                "method": "execute",
                "params": { "context_id": "team", "method": method, "args": args },
            })
        })
        .collect();
    let body = Value::from(calls).to_string();
    let (status, answers) = client.post("/rpc", body.as_bytes()).expect("an answer");
    assert_eq!(status, 200, "{answers}");
    let answers: Value = answers;
    answers.as_array().expect("as many answers").clone()
}

#[test]
fn edits_of_lists_and_texts_are_kept_across_a_kill() {
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = start(&home, &[]);
    let client = begin(&server);
    let write = |at: u64, what: &str| json!({ "title": "plan", "at": at, "what": what });
    assert_eq!(output(&client, "write", write(0, "Wir gehen.")), 10);
    assert_eq!(output(&client, "write", write(9, " früh")), 15);
    assert_eq!(
        output(
            &client,
            "erase",
            json!({ "title": "plan", "at": 0, "count": 4 })
        ),
        11
    );
    for remark in ["first", "second", "third"] {
        let args = json!({ "title": "plan", "at": 6, "count": 4, "remark": remark });
        output(&client, "comment", args);
    }
    output(&client, "resolve", json!({ "title": "plan", "place": 1 }));
    let check = |client: &Client| {
        let document = document(client);
        assert_eq!(document["text"], "gehen früh.");
        let comments = document["comments"].as_array().expect("a list");
        let remarks: Vec<&Value> = comments.iter().map(|c| &c["remark"]).collect();
        assert_eq!(remarks, ["first", "third"]);
        assert_eq!(comments[0]["quote"], "früh");
        assert_eq!(document["writers"][0][1], 15);
    };
    check(&client);
    server.kill();

    let mut server = start(&home, &[]);
    let client = server.client();
    check(&client);
    // It goes on where it was, and can begin anew.
    assert_eq!(output(&client, "write", write(11, "!")), 12);
    assert_eq!(document(&client)["text"], "gehen früh.!");
    assert_eq!(output(&client, "discard", json!({ "title": "plan" })), true);
    assert_eq!(document(&client)["text"], "");
    assert_eq!(output(&client, "write", write(0, "anew")), 4);
    server.kill();

    let mut server = start(&home, &[]);
    let client = server.client();
    assert_eq!(document(&client)["text"], "anew");
    assert_eq!(document(&client)["comments"], json!([]));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Its edits come before what fails it, and are in memory by then.
#[test]
fn a_failing_call_leaves_nothing_of_its_edits() {
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = start(&home, &[]);
    let client = begin(&server);
    let append = |what: &str| json!({ "title": "plan", "what": what });
    output(&client, "append", append("noon"));
    let code = |args: Value| {
        let answer = client.call("team", "replace", args).expect("an answer");
        answer["error"]["data"]["error"].clone()
    };
    // It erases, and then has no such place to write at.
    let refused = code(json!({ "title": "plan", "at": 1, "count": 9, "with": "x" }));
    assert_eq!(refused["code"], "out_of_range");
    let message = refused["message"].as_str().expect("a sentence");
    assert!(message.contains("10") && message.contains('4'), "{message}");
    for _ in 0..3 {
        assert_eq!(document(&client)["text"], "noon");
    }
    output(&client, "append", append(" sharp"));
    assert_eq!(document(&client)["text"], "noon sharp");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Updates of one text are on their way to the disk while the next ones run: each sees
/// all before it, whoever sent them, and none is lost or done twice.
#[test]
fn pipelined_edits_of_one_text_all_count() {
    const WRITERS: u64 = 4;
    const BATCHES: u64 = 5;
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = start(&home, &[]);
    begin(&server);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let client = server.client();
            scope.spawn(move || {
                for round in 0..BATCHES {
                    let word = |n| format!("<{writer}.{}>", round * BATCH + n);
                    let args = |n| json!({ "title": "plan", "what": word(n) });
                    let answers = batch(&client, "append", (0..BATCH).map(args));
                    for answer in answers {
                        assert!(answer["result"].is_object(), "{answer}");
                    }
                }
            });
        }
    });
    let check = |client: &Client| {
        let text = document(client)["text"].clone();
        let text = text.as_str().expect("a text");
        let mut next = [0; WRITERS as usize];
        for word in text.split('>').filter(|word| !word.is_empty()) {
            let (writer, n) = word[1..].split_once('.').expect("a word of ours");
            let writer: usize = writer.parse().expect("a number");
            let n: u64 = n.parse().expect("a number");
            // A batch's calls run in any order.
            assert!(n < BATCHES * BATCH);
            next[writer] += 1;
        }
        assert_eq!(next, [BATCHES * BATCH; WRITERS as usize]);
        let words: std::collections::BTreeSet<&str> = text.split('>').collect();
        assert_eq!(words.len() as u64, WRITERS * BATCHES * BATCH + 1);
        text.to_owned()
    };
    let before = check(&server.client());
    server.kill();
    let mut server = start(&home, &[]);
    assert_eq!(check(&server.client()), before);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// With next to no memory for lists, so that it is made of its edits again and again, and
/// then with enough.
#[test]
fn a_hundred_thousand_appends_stay_in_order() {
    const COMMENTS: u64 = 100_000;
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = start(&home, &[]);
    let client = begin(&server);
    output(&client, "append", json!({ "title": "plan", "what": "x" }));
    for first in (0..COMMENTS).step_by(BATCH as usize) {
        let args = |n| json!({ "title": "plan", "at": 0, "count": 1, "remark": n });
        let remarks = (first..first + BATCH).map(|n| args(n.to_string()));
        for answer in batch(&client, "comment", remarks) {
            assert!(answer["result"].is_object(), "{answer}");
        }
    }
    let page = |client: &Client, from: u64| -> Vec<u64> {
        let args = json!({ "title": "plan", "from": from, "count": 1000 });
        let page = output(client, "comments", args);
        let remarks = page.as_array().expect("a list").iter();
        remarks
            .map(|comment| comment["remark"].as_str().and_then(|n| n.parse().ok()))
            .map(|number| number.expect("a number"))
            .collect()
    };
    let all: Vec<u64> = (0..COMMENTS)
        .step_by(1000)
        .flat_map(|from| page(&client, from))
        .collect();
    assert_eq!(all.len() as u64, COMMENTS);
    // Each batch is whole before the next begins.
    for (place, number) in all.iter().enumerate() {
        assert_eq!(place as u64 / BATCH, number / BATCH, "at {place}");
    }
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..COMMENTS));
    server.kill();

    let mut server = start(&home, &[]);
    let client = server.client();
    for from in [0, 50_000, 99_000] {
        let expected = &all[from as usize..from as usize + 1000];
        assert_eq!(page(&client, from), expected, "{from}");
    }
    let args = json!({ "title": "plan", "at": 0, "count": 1, "remark": "last" });
    assert_eq!(output(&client, "comment", args), COMMENTS + 1);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
