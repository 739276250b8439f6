//! What comes from files and goes into them: `corelet blob`, and copies that a signal cuts off.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::{Server, corelet, document, fails, ok, run};

#[test]
fn blobs_are_put_listed_shown_got_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (file, copy) = (path("picture"), path("copy"));
    fs::write(&file, &content).unwrap();
    let id = ok(&data, &["blob", "put", &file]).trim().to_owned();
    let put = document(&data, &["blob", "put", &file, "--id", &id]);
    assert_eq!(put, json!({ "id": id, "size": content.len() }));
    let other = id.chars().rev().collect::<String>();
    fails(&data, &["blob", "get", &other], 1, "unknown_blob");
    fs::write(&copy, "something else").unwrap();
    fails(
        &data,
        &["blob", "put", &copy, "--id", &id],
        1,
        "blob_mismatch",
    );
    fails(&data, &["blob", "put", &path("none")], 1, "none");

    let table = ok(&data, &["blob", "ls"]);
    assert!(
        table.contains(&id) && table.contains("683.6 KiB"),
        "{table}"
    );
    let list = document(&data, &["blob", "ls", "--limit", "1"]);
    assert_eq!(list["blobs"][0]["id"], *id);
    assert_eq!(list["next"], Value::Null);
    let info = document(&data, &["blob", "info", &id]);
    assert_eq!(
        (&info["size"], &info["contexts"]),
        (&json!(content.len()), &json!([]))
    );

    let got = run(&data, &["blob", "get", &id]);
    assert!(got.status.success() && got.stdout == content);
    fails(
        &data,
        &["blob", "get", &id, "--to", &copy],
        1,
        "is there already",
    );
    fs::remove_file(&copy).unwrap();
    // Whatever it is called, it is somebody else's.
    let (part, nowhere) = (path("copy.part"), path("nowhere"));
    fs::write(&part, "mine").unwrap();
    std::os::unix::fs::symlink("none", &nowhere).unwrap();
    let taken = ["blob", "get", &id, "--to", &nowhere];
    fails(&data, &taken, 1, "is there already");
    let saved = document(&data, &["blob", "get", &id, "--to", &copy]);
    assert_eq!(saved["size"], content.len());
    assert_eq!(fs::read(&part).unwrap(), b"mine");
    assert!(fs::read(&copy).unwrap() == content);
    assert_eq!(
        document(&data, &["blob", "rm", &id]),
        json!({ "removed": id })
    );
    fails(&data, &["blob", "rm", &id], 1, "unknown_blob");
    assert_eq!(server.interrupt(), Some(0));
}

/// Both what is known to be too long and what turns out to be: the client reads the answer
/// although nobody reads the rest of what it sends.
#[test]
fn a_refused_upload_says_which_bound_it_has_met() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("corelet.toml");
    fs::write(&config, "[limits]\nblob_bytes_max = \"300 KiB\"\n").unwrap();
    let server = Server::start(&data, &[Path::new("--config"), &config]);
    let file = dir.path().join("large");
    fs::write(&file, vec![7; 64 << 20]).unwrap();
    let put = ["blob", "put", file.to_str().unwrap()];
    fails(&data, &put, 1, "limits.blob_bytes_max");
    let put = corelet(&data)
        .args(["blob", "put", "-"])
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&put.stderr);
    assert_eq!(put.status.code(), Some(1), "{talk}");
    assert!(talk.contains("limits.blob_bytes_max"), "{talk}");
    assert_eq!(document(&data, &["blob", "ls"])["blobs"], json!([]));
    assert_eq!(server.interrupt(), Some(0));
}

/// A proxy, or a server that is not one of ours.
#[test]
fn a_blob_that_is_another_than_the_one_asked_for_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "corelet_0123456789abcdef").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::Builder::new().name("liar".to_owned());
    let answer = server.spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(answer).unwrap();
    });
    let to = dir.path().join("kept");
    let (file, token) = (to.to_str().unwrap(), token.to_str().unwrap());
    let id = "1".repeat(32);
    let get = [
        "blob",
        "get",
        &id,
        "--to",
        file,
        "--url",
        &url,
        "--token-file",
        token,
    ];
    fails(dir.path(), &get, 1, "not the one that was asked for");
    answer.unwrap().join().unwrap();
    let left = fs::read_dir(dir.path()).unwrap();
    assert_eq!(left.count(), 1, "only the token is there");
}

/// A server that begins an answer and does not go on with it.
#[test]
fn what_is_not_whole_yet_goes_with_the_process_that_a_signal_ends() {
    use rustix::process::{Pid, Signal, kill_process};

    let dir = TempDir::new().unwrap();
    let kept = dir.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::Builder::new().name("stalls".to_owned());
    let stalling = server.spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello";
            stream.write_all(answer).unwrap();
            open.push(stream);
        }
    });
    let to = kept.join("it");
    let (to, id) = (to.to_str().unwrap(), "1".repeat(32));
    for args in [
        &["backup", to][..],
        &["context", "export", "shop", "--to", to],
        &["blob", "get", &id, "--to", to],
    ] {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut child = corelet(dir.path())
                .args(args)
                .args(["--url", &url])
                .env("CORELET_TOKEN", "corelet_0123456789abcdef")
                .spawn()
                .unwrap();
            let descriptors = format!("/proc/{}/fd", child.id());
            corelet_tests::wait_for("a file that it writes", || {
                let mut open = fs::read_dir(&descriptors).unwrap();
                open.find_map(|entry| {
                    let file = fs::read_link(entry.ok()?.path()).ok()?;
                    file.starts_with(&kept).then_some(())
                })
            });
            kill_process(Pid::from_child(&child), signal).unwrap();
            assert!(!child.wait().unwrap().success());
            let left: Vec<_> = fs::read_dir(&kept).unwrap().collect();
            assert!(left.is_empty(), "{args:?} {signal:?}: {left:?}");
        }
    }
    assert!(!stalling.unwrap().is_finished(), "it stalls until the end");
}
