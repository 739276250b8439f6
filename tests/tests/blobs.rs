//! Blobs of the real server across kills, backups and restores.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use corelet_store::{BLOB_GROUP_BYTES, BlobId};
use corelet_tests::{Client, Server};
use serde_json::Value;

const GROUP: usize = BLOB_GROUP_BYTES;

/// Content in which no two groups are alike.
fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut state = seed;
    for word in content.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
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
    files.filter_map(|file| Some(file.metadata().ok()?.len())).collect()
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
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
            unfinished(&data).iter().any(|bytes| *bytes >= 4 * GROUP as u64)
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
