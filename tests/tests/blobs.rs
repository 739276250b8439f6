//! Blobs of the real server across kills, backups and restores.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use corelet_store::{BLOB_GROUP_BYTES, BlobId};
use corelet_tests::{Client, Server, wait_for};
use serde_json::{Value, json};

const GROUP: usize = BLOB_GROUP_BYTES;

/// Content in which no two groups are alike.
fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut state = seed;
    for word in content.chunks_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    content
}

fn upload(client: &Client, content: &[u8]) -> BlobId {
    let (status, answer) = client.post("/v1/blobs", content).expect("an answer");
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["id"], BlobId::of(content).to_string());
    BlobId::of(content)
}

/// The blobs that there are.
fn listed(client: &Client) -> Vec<String> {
    let (status, answer) = client.get("/v1/blobs").expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let blobs = answer["blobs"].as_array().expect("a list");
    let id = |blob: &Value| blob["id"].as_str().expect("an id").to_owned();
    blobs.iter().map(id).collect()
}

fn unfinished(data: &Path) -> Vec<u64> {
    let files = fs::read_dir(data.join("blobs/unfinished")).expect("its directory");
    let files = files.filter_map(Result::ok);
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .collect()
}

/// A connection that has begun to upload, and sends no more.
fn begin_upload(server: &Server, announced: usize, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    let token = server.token();
    let head = format!(
        "POST /v1/blobs HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\ncontent-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    stream.write_all(sent).expect("it reads");
    stream
}

#[test]
fn a_kill_leaves_whole_blobs_and_nothing_of_an_upload() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut server = Server::start(&data, &["--shards", "1"]);
        assert_eq!(unfinished(&data), [0; 0], "what a kill has left is removed");
        let client = server.client();
        let mut ids: Vec<String> = listed(&client);
        ids.sort();
        acknowledged.sort();
        assert_eq!(ids, acknowledged);
        acknowledged.push(upload(&client, &content(3 * GROUP + 5, round)).to_string());
        let rest = content(8 * GROUP, 1000 + round);
        let _uploading = begin_upload(&server, rest.len(), &rest[..6 * GROUP]);
        wait_for("some of it in a file", || {
            unfinished(&data)
                .iter()
                .any(|bytes| *bytes >= 4 * GROUP as u64)
                .then_some(())
        });
        server.kill();
    }
    let mut server = Server::start(&data, &["--shards", "1"]);
    assert_eq!(unfinished(&data), [0; 0]);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let check = std::process::Command::new(corelet_tests::binary())
        .args(["check", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the binary starts");
    assert!(check.status.success(), "{check:?}");
}

/// A server with a document in the context `docs`, and these settings.
fn with_docs(home: &Path, settings: &str) -> Server {
    let config = home.join("corelet.toml");
    fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let server = Server::start(&home.join("data"), &["--shards", "2", "--config", config]);
    let client = server.client();
    let (status, _) = client.get("/v1/contexts/docs").expect("an answer");
    if status == 404 {
        client.create(&client.install("docs"), Some("docs"));
        let append = json!({ "title": "plan", "what": "noon" });
        ok(&client, "append", append);
    }
    server
}

#[track_caller]
fn ok(client: &Client, method: &str, args: Value) -> Value {
    let answer = client.call("docs", method, args).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"]["output"].clone()
}

/// Says something with these blobs.
fn comment(client: &Client, blobs: &[BlobId]) -> Value {
    let blobs: Vec<String> = blobs.iter().map(ToString::to_string).collect();
    let args =
        json!({ "title": "plan", "at": 0, "count": 4, "remark": "see", "attachments": blobs });
    client.call("docs", "comment", args).expect("an answer")
}

/// What the context has attached, with the sizes.
fn attached(client: &Client) -> Vec<(String, u64)> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/contexts/docs/blobs?limit=2{after}");
        let (status, page) = client.get(&path).expect("an answer");
        assert_eq!(status, 200, "{page}");
        for blob in page["blobs"].as_array().expect("a list") {
            let id = blob["id"].as_str().expect("an id").to_owned();
            all.push((id, blob["size"].as_u64().expect("a size")));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

#[test]
fn what_a_context_has_attached_stays_and_the_rest_goes() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[blobs]\nttl = \"2 s\"\nsweep_every = \"100 ms\"\n";
    let mut server = with_docs(home.path(), settings);
    let client = server.client();
    let mut kept: Vec<BlobId> = (0..5).map(|n| upload(&client, &content(1000, n))).collect();
    kept.sort();
    let said = comment(&client, &kept);
    assert_eq!(said["result"]["output"], 1, "{said}");
    let expected: Vec<(String, u64)> = kept.iter().map(|id| (id.to_string(), 1000)).collect();
    assert_eq!(attached(&client), expected);
    let (_, info) = client
        .get(&format!("/v1/blobs/{}/info", kept[0]))
        .expect("an answer");
    let (_, docs) = client.get("/v1/contexts/docs").expect("an answer");
    assert_eq!(info["contexts"], json!([docs["id"]]));

    // Until others that are younger are gone, again and again.
    for round in 0..2 {
        let free = upload(&client, &content(2000, 100 + round));
        wait_for("the sweep", || {
            (!listed(&client).contains(&free.to_string())).then_some(())
        });
    }
    let mut left = listed(&client);
    let mut all: Vec<String> = kept.iter().map(ToString::to_string).collect();
    left.sort();
    all.sort();
    assert_eq!(left, all);

    // One that is not there is the application's to refuse, and nothing has happened.
    let gone = BlobId::of(b"never uploaded");
    let refused = comment(&client, &[kept[0], gone]);
    assert_eq!(
        refused["error"]["data"]["error"]["code"], "unknown_blob",
        "{refused}"
    );
    assert_eq!(attached(&client).len(), 5);

    ok(&client, "resolve", json!({ "title": "plan", "place": 0 }));
    assert_eq!(attached(&client), []);
    wait_for("the sweep", || listed(&client).is_empty().then_some(()));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn what_is_attached_is_attached_after_a_kill_and_in_a_backup() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[blobs]\nttl = \"2 s\"\nsweep_every = \"100 ms\"\n";
    let mut kept = Vec::new();
    for round in 0..3_u64 {
        let mut server = with_docs(home.path(), settings);
        let client = server.client();
        let blob = upload(&client, &content(GROUP + 7, round));
        let said = comment(&client, &[blob]);
        assert_eq!(said["result"]["output"], round + 1, "{said}");
        kept.push(blob);
        // In the journal alone, most likely.
        server.kill();
    }
    let mut server = with_docs(home.path(), settings);
    let client = server.client();
    let free = upload(&client, b"of no context");
    wait_for("the sweep", || {
        (!listed(&client).contains(&free.to_string())).then_some(())
    });
    assert_eq!(attached(&client).len(), kept.len());
    let spare = upload(&client, b"not in the backup");
    let backup = home.path().join("backup.clx");
    let run = |args: &[&str], data: &Path| {
        let command = std::process::Command::new(corelet_tests::binary())
            .args(args)
            .arg("--data-dir")
            .arg(data)
            .output()
            .expect("the binary starts");
        assert!(command.status.success(), "{args:?}: {command:?}");
    };
    let file = backup.to_str().expect("a path in UTF-8");
    run(&["backup", "--with-keys", file], &home.path().join("data"));
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let restored = home.path().join("restored");
    run(&["restore", file], &restored);
    run(&["check"], &restored);
    let mut server = Server::start(&restored, &[]);
    let client = server.client();
    for (round, blob) in kept.iter().enumerate() {
        let (status, _) = client
            .delete(&format!("/v1/blobs/{blob}"))
            .expect("an answer");
        assert_eq!(status, 409, "it is attached");
        // Uploaded again it is the same: the content is whole.
        assert_eq!(upload(&client, &content(GROUP + 7, round as u64)), *blob);
    }
    assert!(!listed(&client).contains(&spare.to_string()));
    assert_eq!(attached(&client).len(), kept.len());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Two of three attached blobs are gone, and one is damaged: a backup has the whole one and
/// names the others, as do its restoring and a check of what was restored.
#[test]
fn a_backup_a_restore_and_a_check_name_the_blobs_that_are_left_out() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = with_docs(home.path(), "");
    let client = server.client();
    let all: Vec<BlobId> = (0..3)
        .map(|n| upload(&client, &content(GROUP + 7, n)))
        .collect();
    comment(&client, &all);
    assert_eq!(attached(&client).len(), 3);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let [whole, gone, damaged] = [all[0], all[1], all[2]].map(|blob| blob.to_string());
    let file_of = |blob: &BlobId| {
        let fan = format!("{:02x}", blob.as_bytes()[0]);
        data.join("blobs").join(fan).join(blob.to_string())
    };
    fs::remove_file(file_of(&all[1])).expect("it was there");
    let mut bytes = fs::read(file_of(&all[2])).expect("it is there");
    bytes[GROUP + 1] ^= 1;
    fs::write(file_of(&all[2]), bytes).expect("it can be written");

    let run = |args: &[&str], data: &Path| {
        let command = std::process::Command::new(corelet_tests::binary())
            .args(args)
            .arg("--data-dir")
            .arg(data)
            .output()
            .expect("the binary starts");
        assert!(command.status.success(), "{args:?}: {command:?}");
        let told = String::from_utf8(command.stderr).expect("text");
        let document = serde_json::from_slice(&command.stdout).unwrap_or(Value::Null);
        (told, document)
    };
    let names_both = |ids: &Value| {
        let mut ids: Vec<&str> = ids
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let mut expected = [gone.as_str(), damaged.as_str()];
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected);
    };
    let says_both = |told: &str| {
        for (blob, why) in [(&gone, "not on this node"), (&damaged, "hash")] {
            let line = told.lines().find(|line| line.contains(blob.as_str()));
            let line = line.unwrap_or_else(|| panic!("{blob} is not told: {told}"));
            assert!(
                line.contains(why) && line.contains("upload its content again"),
                "{line}"
            );
        }
        assert!(!told.contains(&whole), "{told}");
    };
    let mut server = with_docs(home.path(), "");
    let files = ["1.clx", "2.clx"].map(|name| home.path().join(name));
    let [first, second] = [0, 1].map(|n| files[n].to_str().expect("a path in UTF-8"));
    says_both(&run(&["backup", "--with-keys", first], &data).0);
    names_both(&run(&["backup", "-o", "json", second], &data).1["blobs_left_out"]);
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let [one, other] = ["one", "other"].map(|name| home.path().join(name));
    says_both(&run(&["restore", first], &one).0);
    let (_, document) = run(&["restore", "-o", "json", second], &other);
    assert_eq!(document["blobs_left_out"], 2);
    names_both(&document["blobs_left_out_ids"]);

    let (_, document) = run(&["check", "-o", "json"], &one);
    assert_eq!(
        (&document["whole"], &document["blobs_missing"]),
        (&json!(true), &json!(2))
    );
    let notes = document["notes"].to_string();
    assert!(notes.contains(&gone) && notes.contains(&damaged), "{notes}");
    assert!(!notes.contains(&whole), "{notes}");
}

#[test]
fn a_context_attaches_so_many_blobs_and_bytes_and_the_refusal_names_the_bound() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[limits]\ncontext_blobs_max = 3\ncontext_blob_bytes_max = \"10 KiB\"\n";
    let mut server = with_docs(home.path(), settings);
    let client = server.client();
    let small: Vec<BlobId> = (0..4).map(|n| upload(&client, &content(100, n))).collect();
    let large = upload(&client, &content(10_000, 9));
    let limit = |answer: Value| {
        let data = answer["error"]["data"].clone();
        assert_eq!(data["name"], "limit_exceeded", "{answer}");
        (
            data["limit"].clone(),
            data["used"].clone(),
            data["max"].clone(),
        )
    };
    let too_many = limit(comment(&client, &small));
    assert_eq!(
        too_many,
        (json!("limits.context_blobs_max"), json!(4), json!(3))
    );
    assert_eq!(attached(&client), [], "nothing has happened");
    assert!(comment(&client, &small[..2])["result"].is_object());
    assert!(comment(&client, &[large])["error"].is_null(), "10200 bytes");
    let again = comment(&client, &small[..2]);
    assert!(
        again["result"].is_object(),
        "what is attached counts once: {again}"
    );
    ok(&client, "resolve", json!({ "title": "plan", "place": 0 }));
    let too_long = upload(&client, &content(200, 77));
    let refused = limit(comment(&client, &[too_long, small[2]]));
    assert_eq!(refused.0, "limits.context_blobs_max");
    ok(&client, "resolve", json!({ "title": "plan", "place": 1 }));
    let refused = limit(comment(&client, &[too_long, small[2]]));
    assert_eq!(
        refused,
        (
            json!("limits.context_blob_bytes_max"),
            json!(10_300),
            json!(10_240)
        )
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// As if nobody had used it for longer than the sweep waits. Only for a blob that nobody is
/// about to attach: what keeps it then is its time.
fn age(data: &Path, blob: BlobId) {
    let fan = format!("blobs/{:02x}", blob.as_bytes()[0]);
    let file = fs::File::open(data.join(fan).join(blob.to_string())).expect("it is there");
    let modified = file.metadata().and_then(|found| found.modified());
    let old = modified.expect("it has a time") - Duration::from_secs(10);
    file.set_modified(old).expect("it is ours");
}

fn is_there(client: &Client, blob: &str) -> bool {
    let info = client.get(&format!("/v1/blobs/{blob}/info"));
    let (status, answer) = info.expect("an answer");
    assert!([200, 404].contains(&status), "{answer}");
    status == 200
}

/// A number that the server counts.
fn counted(client: &Client, name: &str) -> u64 {
    let (_, page) = client.get("/metrics").expect("an answer");
    let page = page.as_str().expect("text").to_owned();
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("it is counted").parse().expect("a number")
}

/// Attached and detached again and again, by calls and uploads that race with the sweep and
/// with removals: whatever is attached in the end is there. Some contents are everybody's;
/// others are of one round, and old before they are attached, so that the sweep takes them for
/// what may go, and often wins.
#[test]
fn what_is_attached_is_there_however_much_is_swept_meanwhile() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[blobs]\nttl = \"2 s\"\nsweep_every = \"100 ms\"\n";
    let mut server = with_docs(home.path(), settings);
    let data = home.path().join("data");
    let contents: Vec<Vec<u8>> = (0..4).map(|n| content(500, n)).collect();
    thread::scope(|scope| {
        let worker = |first: usize| {
            let (client, contents, data) = (server.client(), &contents, &data);
            move || {
                for round in 0..40 {
                    let shared = &contents[(first + round) % contents.len()];
                    let own = content(500, (1000 * (first + 1) + round) as u64);
                    let blob = upload(&client, &own);
                    age(data, blob);
                    if round % 20 == 0 {
                        wait_for("the sweep", || {
                            (!is_there(&client, &blob.to_string())).then_some(())
                        });
                    }
                    for blob in [blob, upload(&client, shared)] {
                        let said = comment(&client, &[blob]);
                        // It may have been removed between the two; nothing else can go wrong.
                        let is_gone = said["error"]["data"]["error"]["code"] == "unknown_blob";
                        assert!(is_gone || said["result"].is_object(), "{said}");
                        let (status, answer) = client
                            .delete(&format!("/v1/blobs/{blob}"))
                            .expect("an answer");
                        assert!([204, 404, 409].contains(&status), "{answer}");
                    }
                    if round % 3 > 0 {
                        let resolve = json!({ "title": "plan", "place": 0 });
                        client.call("docs", "resolve", resolve).expect("an answer");
                    }
                }
            }
        };
        for first in 0..3 {
            scope.spawn(worker(first));
        }
    });
    let client = server.client();
    let swept = counted(&client, "corelet_blobs_swept_total");
    assert!(swept >= 6, "the sweep has removed {swept}");
    // What is attached stays also when nobody has used it for long: from a round on that
    // has begun after it was attached, only that keeps it.
    let in_use = attached(&client);
    assert!(!in_use.is_empty());
    let sweeps = || counted(&client, "corelet_blob_sweeps_total");
    let rounds = |more: u64| {
        let from = sweeps();
        wait_for("the sweep", || (sweeps() > from + more).then_some(()));
    };
    rounds(1);
    for (id, size) in &in_use {
        assert_eq!(*size, 500);
        age(&data, id.parse().expect("an id"));
    }
    rounds(1);
    for (id, _) in in_use {
        assert!(is_there(&client, &id), "{id} is attached and gone");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
