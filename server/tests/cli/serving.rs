//! `corelet dev` and `corelet serve`: what starts, starts again, was killed, or finds another
//! server in its place.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::{Server, corelet, document, fails, kv, ok, run};

/// Install, create, call, look, restart, stop: the first hour of a user.
#[test]
fn from_the_first_start_to_the_second() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[&kv()]);
    let application = &server.ready["applications"][0];
    assert_eq!(application["context_name"], "kv");
    assert_eq!(application["made"], true);

    // Calls: what the method returned for people, everything for scripts.
    assert_eq!(
        ok(&data, &["call", "kv", "set", r#"{"key":"a","value":"1"}"#]),
        "null\n"
    );
    assert_eq!(
        ok(&data, &["call", "kv", "get", r#"{"key":"a"}"#]),
        "\"1\"\n"
    );
    let result = document(&data, &["call", "kv", "set", r#"{"key":"a","value":"2"}"#]);
    assert_eq!(result["output"], "1");
    assert!(
        result["delta_id"].is_string() && result["fuel_used"].as_u64() > Some(0),
        "{result}"
    );
    let file = dir.path().join("args.json");
    fs::write(&file, r#"{"key":"a"}"#).unwrap();
    assert_eq!(
        ok(
            &data,
            &["call", "kv", "get", &format!("@{}", file.display())]
        ),
        "\"2\"\n"
    );
    let mut piped = corelet(&data);
    piped
        .args(["call", "kv", "get", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    piped
        .stdin
        .take()
        .unwrap()
        .write_all(br#"{"key":"a"}"#)
        .unwrap();
    assert_eq!(piped.wait_with_output().unwrap().stdout, b"\"2\"\n");

    // Applications and contexts.
    let id = ok(&data, &["app", "install", kv().to_str().unwrap()]);
    assert_eq!(id.trim(), application["application"].as_str().unwrap());
    let applications = document(&data, &["app", "list"]);
    assert_eq!(applications["applications"].as_array().unwrap().len(), 1);
    let shown = document(&data, &["app", "show", "kv"]);
    assert_eq!(shown["id"], id.trim());
    assert!(ok(&data, &["app", "show", "kv"]).contains("key: &str"));
    let context = ok(&data, &["context", "create", "kv", "--name", "shop"]);
    let shop = document(&data, &["context", "show", "shop"]);
    assert_eq!(shop["id"], context.trim());
    let contexts = document(&data, &["context", "list"]);
    assert_eq!(contexts["contexts"].as_array().unwrap().len(), 2);
    // People read what the application is called, scripts which it is.
    assert_eq!(contexts["contexts"][0]["application"], id.trim());
    let version = shown["version"].as_str().unwrap();
    let table = ok(&data, &["context", "list"]);
    assert_eq!(
        table.matches(&format!("kv {version}")).count(),
        2,
        "{table}"
    );
    assert!(!table.contains(id.trim()), "{table}");
    let first = document(&data, &["context", "list", "--limit", "1"]);
    assert_eq!(first["next"], first["contexts"][0]["id"]);
    fails(
        &data,
        &["context", "create", "kv", "--name", "shop"],
        1,
        "conflict",
    );
    fails(&data, &["app", "remove", "kv"], 1, "conflict");
    ok(&data, &["context", "delete", "shop"]);
    fails(
        &data,
        &["context", "show", "shop"],
        1,
        "`corelet context list`",
    );

    // The server itself.
    let status = document(&data, &["status"]);
    assert_eq!(status["ready"], true);
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    let token = ok(&data, &["token"]);
    assert_eq!(fs::read_to_string(data.join("keys/token")).unwrap(), token);
    assert_eq!(document(&data, &["token"])["token"], token.trim());
    let header = format!("Authorization: Bearer {token}");
    assert_eq!(ok(&data, &["token", "--header"]), header);
    let shown = document(&data, &["token", "--header"]);
    assert_eq!(shown["header"], header.trim());

    // Only the server's user reads where it is, and only with a token can one
    // who has nothing of its directory do the same as one who has.
    let word = fs::metadata(data.join("server.json")).unwrap();
    assert_eq!(word.permissions().mode() & 0o777, 0o600);
    let url = server.ready["url"].as_str().unwrap();
    let file = data.join("keys/token");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for (name, value) in [
        ("--token-file", file.to_str().unwrap()),
        ("CORELET_TOKEN", token.trim()),
    ] {
        let mut command = corelet(&elsewhere);
        command
            .env_remove("CORELET_DATA_DIR")
            .current_dir(&elsewhere);
        command.args(["call", "kv", "get", r#"{"key":"a"}"#, "--url", url]);
        if name.starts_with('-') {
            command.args([name, value]);
        } else {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {talk}");
        assert_eq!(output.stdout, b"\"2\"\n", "{name}");
    }
    let left = fs::read_dir(&elsewhere).unwrap().count();
    assert_eq!(left, 0, "a client leaves nothing behind");
    assert_eq!(server.interrupt(), Some(0));
    fails(&data, &["status"], 3, "no server runs");

    // A second start finds everything, and makes nothing twice.
    let server = Server::start(&data, &[&kv()]);
    assert_eq!(server.ready["applications"][0]["made"], false);
    assert_eq!(
        server.ready["applications"][0]["context"],
        application_context(&contexts)
    );
    assert_eq!(
        ok(&data, &["call", "kv", "get", r#"{"key":"a"}"#]),
        "\"2\"\n"
    );
    assert_eq!(server.interrupt(), Some(0));
}

fn application_context(contexts: &Value) -> Value {
    let all = contexts["contexts"].as_array().unwrap();
    let named = all.iter().find(|context| context["name"] == "kv");
    named.unwrap()["id"].clone()
}

/// A new version gets a context of its own; the old one stays where it was.
#[test]
fn a_changed_application_gets_a_second_context() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[&kv()]);
    ok(
        &data,
        &["call", "kv", "set", r#"{"key":"a","value":"old"}"#],
    );
    assert_eq!(server.interrupt(), Some(0));
    // A custom section changes the bytes and nothing else.
    let changed = dir.path().join("changed.wasm");
    let mut bytes = fs::read(kv()).unwrap();
    bytes.extend_from_slice(b"\0\x03\x02v2");
    fs::write(&changed, bytes).unwrap();
    let server = Server::start(&data, &[&changed]);
    assert_eq!(server.ready["applications"][0]["context_name"], "kv-2");
    assert_eq!(
        ok(&data, &["call", "kv-2", "get", r#"{"key":"a"}"#]),
        "null\n"
    );
    assert_eq!(
        ok(&data, &["call", "kv", "get", r#"{"key":"a"}"#]),
        "\"old\"\n"
    );
    assert_eq!(server.interrupt(), Some(0));
    let server = Server::start(&data, &[&changed, &kv()]);
    let names = |index: usize| &server.ready["applications"][index]["context_name"];
    assert_eq!((names(0), names(1)), (&json!("kv-2"), &json!("kv")));
}

/// A server that was killed leaves its address behind; that is noticed.
#[test]
fn a_killed_server_is_missed_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data, &[&kv()]);
    ok(&data, &["call", "kv", "set", r#"{"key":"a","value":"1"}"#]);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    fails(&data, &["status"], 3, "is gone");
    let server = Server::start(&data, &[]);
    assert_eq!(
        ok(&data, &["call", "kv", "get", r#"{"key":"a"}"#]),
        "\"1\"\n"
    );
    assert_eq!(server.interrupt(), Some(0));
}

/// Whoever starts a second server where one runs is told what to type instead,
/// and that works as it stands.
#[test]
fn a_second_server_is_told_the_command_that_works() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let first = Server::start(&data, &[]);
    let refused = run(&data, &["dev", "-q", "--shards", "1", "-o", "json"]);
    assert_eq!(refused.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&refused.stderr).unwrap();
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("is in use"), "{told}");
    let advice = told["error"]["advice"].as_str().unwrap();
    let (_, command) = advice.split_once(": ").unwrap();
    let beside = format!(
        "--listen 127.0.0.1:0 --data-dir {}",
        dir.path().join("data-2").display()
    );
    assert!(command.ends_with(&beside), "{command}");
    let mut second = corelet(&data);
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let mut second = second.args(words).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(second.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("127.0.0.1"), "{line}");
    let pid = rustix::process::Pid::from_child(&second);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0));
    // With a directory of its own, the port is what is in the way.
    let taken = first.ready["url"].as_str().unwrap();
    let taken = taken.strip_prefix("http://").unwrap();
    let third = dir.path().join("third");
    let beside = "--listen 127.0.0.1:0";
    fails(
        &third,
        &["serve", "--shards", "1", "--listen", taken],
        1,
        beside,
    );
    assert_eq!(first.interrupt(), Some(0));
}

/// What cannot be typed back is not shown.
#[test]
fn a_second_server_on_a_directory_that_is_no_text_is_refused_without_a_command() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join(OsStr::from_bytes(b"data-\xff"));
    let first = Server::start(&data, &[]);
    for as_argument in [false, true] {
        let mut second = corelet(&data);
        second.args(["serve", "--shards", "1"]);
        if as_argument {
            second.arg("--data-dir").arg(&data);
        }
        let refused = second.output().unwrap();
        let talk = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{talk}");
        assert!(talk.contains("is in use"), "{talk}");
        assert!(!talk.contains("a second server beside it"), "{talk}");
    }
    assert_eq!(first.interrupt(), Some(0));
}
