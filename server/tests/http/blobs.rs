//! Blobs over HTTP: what comes out is what went in, a part of it, or an error; what is
//! cut off leaves nothing, and a client that does not read takes no memory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use corelet_store::{BLOB_GROUP_BYTES, BlobId};
use serde_json::json;

use crate::server::{Client, Response, Server, wait_for};

const GROUP: usize = BLOB_GROUP_BYTES;

/// Content in which no two groups are alike.
fn content(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes.to_le_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}

impl Server {
    #[track_caller]
    fn upload(&self, content: &[u8]) -> BlobId {
        let uploaded = self.post("/v1/blobs", content);
        assert_eq!(uploaded.status, 201, "{uploaded:?}");
        let id = BlobId::of(content);
        let expected = json!({ "id": id.to_string(), "size": content.len() });
        assert_eq!(uploaded.json(), expected);
        id
    }

    fn read(&self, id: BlobId, headers: &str) -> Response {
        self.exchange(&self.head("GET", &format!("/v1/blobs/{id}"), headers))
    }

    fn blob_file(&self, id: BlobId) -> PathBuf {
        let fan = format!("{:02x}", id.as_bytes()[0]);
        self.data_dir().join("blobs").join(fan).join(id.to_string())
    }

    /// Bytes that are being written, by the sizes of their files.
    fn unfinished(&self) -> Vec<u64> {
        let dir = self.data_dir().join("blobs/unfinished");
        let files = fs::read_dir(dir).unwrap().filter_map(Result::ok);
        // One may go while we look.
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .collect()
    }

    /// A client that has begun to upload so many bytes, and sends no more.
    fn begin_upload(&self, announced: usize, sent: &[u8]) -> Client {
        let mut client = self.connect();
        let length = format!("content-length: {announced}\r\n");
        client.send(&self.head("POST", "/v1/blobs", &length));
        client.send(sent);
        client
    }
}

#[test]
fn what_comes_out_is_what_went_in() {
    let server = Server::start(&[]);
    for bytes in [0, 1, GROUP - 1, GROUP, GROUP + 1, 5 * GROUP + 77] {
        let content = content(bytes);
        let id = server.upload(&content);
        let read = server.read(id, "");
        assert_eq!(read.status, 200);
        assert!(read.body == content, "{bytes}");
        assert_eq!(read.header("etag"), Some(&*format!("\"{id}\"")));
        assert_eq!(read.header("content-length"), Some(&*bytes.to_string()));
        assert_eq!(
            read.header("content-type"),
            Some("application/octet-stream")
        );
        let mut head = server.connect();
        head.send(&server.head("HEAD", &format!("/v1/blobs/{id}"), "connection: close\r\n"));
        let mut text = String::new();
        head.stream.read_to_string(&mut text).unwrap();
        let length = format!("content-length: {bytes}\r\n");
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains(&length),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n"), "a head has no body");
        // Again, in chunks of any cut, with the id that it has to have.
        let mut client = server.connect();
        let path = format!("/v1/blobs?id={id}");
        client.send(&server.head("POST", &path, "transfer-encoding: chunked\r\n"));
        for chunk in content.chunks(100_003) {
            client.send(format!("{:x}\r\n", chunk.len()).as_bytes());
            client.send(chunk);
            client.send(b"\r\n");
        }
        client.send(b"0\r\n\r\n");
        assert_eq!(client.receive().status, 201);
    }
    server.check_and_stop();
}

#[test]
fn a_part_of_a_blob_is_served_as_it_was_asked_for() {
    let server = Server::start(&[]);
    let content = content(3 * GROUP + 10);
    let id = server.upload(&content);
    let all = content.len();
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("5-", 5, all),
        ("-7", all - 7, all),
        (&*format!("{}-{}", GROUP - 1, GROUP), GROUP - 1, GROUP + 1),
        (&*format!("{}-{}", GROUP, 2 * GROUP - 1), GROUP, 2 * GROUP),
        (&*format!("10-{}", 3 * GROUP + 99), 10, all),
    ] {
        let part = server.read(id, &format!("range: bytes={range}\r\n"));
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == content[from..to], "{range}");
        let told = format!("bytes {from}-{}/{all}", to - 1);
        assert_eq!(part.header("content-range"), Some(&*told));
    }
    let behind = server.read(id, &format!("range: bytes={all}-\r\n"));
    assert_eq!(
        (behind.status, &*behind.refusal()),
        (416, "range_not_satisfiable")
    );
    assert_eq!(
        behind.header("content-range"),
        Some(&*format!("bytes */{all}"))
    );
    // Several ranges, or those of another content, are all of it.
    for headers in [
        "range: bytes=0-1,4-5\r\n",
        "range: bytes=0-1\r\nif-range: \"x\"\r\n",
    ] {
        let whole = server.read(id, headers);
        assert_eq!((whole.status, whole.body.len()), (200, all));
    }
    let known = server.exchange(&server.head(
        "GET",
        &format!("/v1/blobs/{id}"),
        &format!("if-none-match: \"{id}\"\r\n"),
    ));
    assert_eq!((known.status, known.body.len()), (304, 0));
    server.check_and_stop();
}

#[test]
fn blobs_are_listed_in_pages_shown_and_removed() {
    let server = Server::start(&[]);
    let mut ids: Vec<BlobId> = (0..7_u8).map(|n| server.upload(&[n; 100])).collect();
    ids.sort();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/blobs?limit=3{after}")).json();
        for blob in page["blobs"].as_array().unwrap() {
            assert_eq!(blob["size"], 100);
            found.push(blob["id"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(found, texts);
    let info = server.get(&format!("/v1/blobs/{}/info", ids[0])).json();
    assert_eq!(
        (&info["size"], &info["contexts"]),
        (&json!(100), &json!([]))
    );
    let path = format!("/v1/blobs/{}", ids[0]);
    assert_eq!(server.delete(&path).status, 204);
    for gone in [
        server.delete(&path),
        server.get(&path),
        server.get(&format!("{path}/info")),
        server.get("/v1/blobs/no-id"),
        server.get(&format!("/v1/blobs/{}", BlobId::of(b"never uploaded"))),
    ] {
        assert_eq!((gone.status, &*gone.refusal()), (404, "unknown_blob"));
    }
    assert_eq!(server.get("/v1/blobs?after=x").refusal(), "invalid_params");
    let list = server.get("/v1/blobs").json();
    assert_eq!(list["blobs"].as_array().unwrap().len(), 6);
    server.check_and_stop();
}

#[test]
fn what_is_refused_or_cut_off_leaves_nothing() {
    let settings = [
        ("limits.blob_bytes_max", "1 MiB"),
        ("blobs.upload_timeout", "2 s"),
    ];
    let server = Server::start(&settings);
    // Announced, before it is sent.
    let large = server.exchange(&server.head("POST", "/v1/blobs", "content-length: 1048577\r\n"));
    assert_eq!((large.status, &*large.refusal()), (413, "too_large"));
    assert_eq!(large.json()["limit"], "limits.blob_bytes_max");
    // Not announced.
    let mut client = server.connect();
    client.send(&server.head("POST", "/v1/blobs", "transfer-encoding: chunked\r\n"));
    let chunk = [
        format!("{GROUP:x}\r\n").as_bytes(),
        &content(GROUP),
        b"\r\n",
    ]
    .concat();
    for _ in 0..5 {
        // It may be refused before all of it is sent.
        let _ = client.try_send(&chunk);
    }
    assert_eq!(client.receive().refusal(), "too_large");
    // Another content than was announced.
    let other = BlobId::of(b"other");
    let mismatch = server.post(&format!("/v1/blobs?id={other}"), b"content");
    assert_eq!(
        (mismatch.status, &*mismatch.refusal()),
        (422, "blob_mismatch")
    );
    assert_eq!(mismatch.json()["found"], BlobId::of(b"content").to_string());
    for query in ["id=", "id", "id=x", "name=x"] {
        let refused = server.post(&format!("/v1/blobs?{query}"), b"content");
        assert_eq!(
            (refused.status, &*refused.refusal()),
            (400, "invalid_params")
        );
    }
    let stranger = b"POST /v1/blobs HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\nx";
    assert_eq!(server.exchange(stranger).status, 401);
    // Cut off by the client, and by us as it is too slow.
    let client = server.begin_upload(4 * GROUP, &content(2 * GROUP + 9));
    wait_for("a group in a file", || {
        server
            .unfinished()
            .iter()
            .any(|bytes| *bytes >= GROUP as u64)
    });
    drop(client);
    wait_for("its end", || server.unfinished().is_empty());
    let mut client = server.begin_upload(4 * GROUP, &content(2 * GROUP + 9));
    let slow = client.receive();
    assert_eq!((slow.status, &*slow.refusal()), (408, "too_slow"));
    assert_eq!(slow.json()["limit"], "blobs.upload_timeout");
    wait_for("its end", || server.unfinished().is_empty());
    assert_eq!(server.get("/v1/blobs").json()["blobs"], json!([]));
    assert_eq!(server.figure("corelet_blob_uploads_under_way"), 0);
    server.check_and_stop();
}

#[test]
fn uploads_and_downloads_are_bounded_in_number() {
    let server = Server::start(&[("blobs.uploads_max", "1"), ("blobs.downloads_max", "1")]);
    let first = server.begin_upload(2 * GROUP, &content(GROUP));
    wait_for("the first upload", || {
        server.figure("corelet_blob_uploads_under_way") == 1
    });
    let second = server.post("/v1/blobs", b"second");
    assert_eq!((second.status, &*second.refusal()), (429, "busy"));
    assert_eq!(second.json()["limit"], "blobs.uploads_max");
    drop(first);
    wait_for("its end", || {
        server.figure("corelet_blob_uploads_under_way") == 0
    });
    let id = server.upload(&content(64 << 20));
    // It does not take what it has asked for.
    let mut reader = server.connect();
    reader.send(&server.head("GET", &format!("/v1/blobs/{id}"), ""));
    wait_for("the first download", || {
        server.figure("corelet_blob_downloads_under_way") == 1
    });
    let second = server.read(id, "");
    assert_eq!((second.status, &*second.refusal()), (429, "busy"));
    assert_eq!(second.json()["limit"], "blobs.downloads_max");
    drop(reader);
    wait_for("its end", || {
        server.figure("corelet_blob_downloads_under_way") == 0
    });
    assert_eq!(server.read(id, "range: bytes=0-9\r\n").body.len(), 10);
    server.check_and_stop();
}

#[test]
fn a_reader_that_does_not_read_takes_no_memory() {
    let server = Server::start(&[]);
    let content = content(64 << 20);
    let id = server.upload(&content);
    let mut reader = server.connect();
    reader.send(&server.head("GET", &format!("/v1/blobs/{id}"), "connection: close\r\n"));
    let read = || server.figure("corelet_blob_bytes_read_total");
    wait_for("the first parts", || read() > 0);
    // Until nothing moves any more.
    let (mut last, mut rests) = (0, 0);
    wait_for("it to stand still", || {
        let now = read();
        rests = if now == last { rests + 1 } else { 0 };
        last = now;
        rests == 40
    });
    // What the sockets take, and a few parts.
    assert!(last < 32 << 20, "{last} bytes were read for nobody");
    let mut got = Vec::new();
    reader.stream.read_to_end(&mut got).unwrap();
    assert!(got.ends_with(&content[1..]), "it goes on where it was");
    assert_eq!(read(), content.len() as u64);
    server.check_and_stop();
}

#[test]
fn a_damaged_blob_is_never_served_and_is_healed_by_its_content() {
    let mut server = Server::start(&[]);
    let content = content(4 * GROUP);
    let id = server.upload(&content);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(server.blob_file(id))
        .unwrap();
    let at = 2 * GROUP + 1000;
    file.write_all_at(&[!content[at]], at as u64).unwrap();
    // All of it: what comes before the damage, and then the end without a word.
    let mut reader = server.connect();
    reader.send(&server.head("GET", &format!("/v1/blobs/{id}"), ""));
    let mut got = Vec::new();
    reader.stream.read_to_end(&mut got).unwrap();
    let body = got
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap()
        + 4;
    let got = &got[body..];
    assert!(
        got.len() <= 2 * GROUP && content.starts_with(got),
        "{}",
        got.len()
    );
    let range = |from: usize, to: usize| server.read(id, &format!("range: bytes={from}-{to}\r\n"));
    assert_eq!(range(0, 9).body, content[..10]);
    assert_eq!(
        range(3 * GROUP, 3 * GROUP + 9).body,
        content[3 * GROUP..3 * GROUP + 10]
    );
    let refused = range(2 * GROUP, 2 * GROUP);
    assert_eq!((refused.status, &*refused.refusal()), (500, "blob_damaged"));
    assert_eq!(refused.json()["blob"], id.to_string());
    assert_eq!(server.figure("corelet_blobs_damaged_total"), 2);
    // A file that is cut off.
    file.set_len(1000).unwrap();
    assert_eq!(server.read(id, "").refusal(), "blob_damaged");
    let list = server.get("/v1/blobs").json();
    assert_eq!(list["blobs"][0]["size"], 1000 - 16, "as its file says");
    server.upload(&content);
    assert!(server.read(id, "").body == content);
    assert!(server.terminate().success());
    assert!(
        server
            .log()
            .contains("a blob is damaged and was not served")
    );
}

#[test]
fn uploads_leave_some_of_the_disk_free() {
    let server = Server::start(&[("blobs.disk_free_bytes_min", "16 TiB")]);
    let refused = server.post("/v1/blobs", b"content");
    assert_eq!((refused.status, &*refused.refusal()), (507, "storage_full"));
    assert_eq!(refused.json()["limit"], "blobs.disk_free_bytes_min");
    assert!(server.unfinished().is_empty());
    server.check_and_stop();
}

#[test]
fn what_nobody_refers_to_goes_after_its_time() {
    let settings = [("blobs.ttl", "2 s"), ("blobs.sweep_every", "100 ms")];
    let server = Server::start(&settings);
    let id = server.upload(b"nobody wants it");
    wait_for("the sweep", || {
        server.figure("corelet_blobs_swept_total") == 1
    });
    assert_eq!(server.figure("corelet_blob_bytes_swept_total"), 15);
    assert_eq!(server.read(id, "").status, 404);
    server.check_and_stop();
}

/// An answer in the middle of an upload is told, not lost.
#[test]
fn an_upload_can_be_sent_while_others_are_read() {
    let server = Server::start(&[]);
    let content = content(GROUP * 2);
    let id = server.upload(&content);
    let mut uploading = server.begin_upload(GROUP, &content[..GROUP - 1]);
    assert!(server.read(id, "").body == content);
    assert!(uploading.is_waiting());
    uploading
        .stream
        .write_all(&content[GROUP - 1..GROUP])
        .unwrap();
    assert_eq!(uploading.receive().status, 201);
    server.check_and_stop();
}
