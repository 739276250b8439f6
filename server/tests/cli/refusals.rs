//! What a command cannot do, and how it says so: its exit code, its words, and its document for
//! scripts.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::{Server, corelet, fails, kv, ok, run};

/// What is wrong is said with its exit code, and nothing else happens.
#[test]
fn refusals_have_a_code_and_a_way_out() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let broken = dir.path().join("broken.wasm");
    fs::write(&broken, "not wasm").unwrap();
    // One application that cannot be installed does not take the server along.
    let server = Server::start(&data, &[&broken, &kv()]);
    assert_eq!(server.ready["applications"].as_array().unwrap().len(), 1);

    fails(&data, &["call", "nope", "get"], 1, "unknown_context");
    fails(&data, &["call", "kv", "nope"], 1, "`corelet app show APP`");
    fails(&data, &["call", "kv", "get", "{"], 2, "JSON");
    fails(&data, &["call", "kv", "get", "[1]"], 2, "JSON object");
    fails(
        &data,
        &["call", "kv", "get", "@/nonexistent"],
        2,
        "/nonexistent",
    );
    fails(
        &data,
        &["call", "kv", "get", r#"{"key":1}"#],
        1,
        "application_error",
    );
    fails(
        &data,
        &["context", "create", "nope"],
        1,
        "`corelet app list`",
    );
    fails(
        &data,
        &["context", "show", "../x"],
        2,
        "cannot be an id or a name",
    );
    fails(
        &data,
        &["app", "install", "/nonexistent.wasm"],
        1,
        "/nonexistent.wasm",
    );
    fails(
        &data,
        &["app", "install", broken.to_str().unwrap()],
        1,
        "not_an_application",
    );
    fails(&data, &["frobnicate"], 2, "unrecognized subcommand");
    fails(&data, &["-q", "call", "nope", "get"], 1, "unknown_context");
    // For scripts the error is a document, too.
    let output = run(&data, &["call", "nope", "get", "-o", "json"]);
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON on standard error");
    assert_eq!(error["error"]["code"], -32020, "{error}");
    assert!(output.stdout.is_empty());

    // Somebody else's token, and none at all.
    let token = dir.path().join("token");
    fs::write(&token, "corelet_somebody_elses_token").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fails(
        &data,
        &["status", "--token-file", token.to_str().unwrap()],
        1,
        "CORELET_TOKEN",
    );
    fails(
        &data,
        &["status", "--url", "http://127.0.0.1:9"],
        2,
        "--token-file",
    );
    assert_eq!(server.interrupt(), Some(0));
}

/// One that was stopped, or waits for a disk that does not answer, takes connections all the same.
#[test]
fn the_status_of_a_server_that_says_nothing_is_not_waited_for_for_long() {
    let dir = TempDir::new().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "corelet_somebody_elses_token").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let token = token.to_str().unwrap();
    let status = ["status", "--url", &url, "--token-file", token];
    fails(dir.path(), &status, 3, "timeout");
}

/// An application may answer with what our own parser does not take apart; whose
/// answer that is, and that the call was refused, is told all the same.
#[test]
fn an_error_that_nests_too_deep_is_still_the_application_s() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let (open, close) = ("[".repeat(1000), "]".repeat(1000));
    let guest = format!(
        r#"(data (i32.const 512) "{open}{close}")
        (func $init (param i32 i32) (result i32) (call $ok-null))
        (func $call (param i32 i32 i32 i32) (result i32)
            (call $err (i32.const 512) (i32.const 2000)))"#
    );
    let deep = dir.path().join("deep.wasm");
    fs::write(&deep, corelet_tests::made::framed(&guest)).unwrap();
    let server = Server::start(&data, &[&deep]);
    let context = server.ready["applications"][0]["context_name"].clone();
    let context = context.as_str().unwrap();
    fails(&data, &["call", context, "run"], 1, "(application_error)");
    fails(&data, &["call", context, "run"], 1, "too deep to be shown");
    let output = run(&data, &["call", context, "run", "-o", "json"]);
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON on standard error");
    assert_eq!(error["error"]["code"], -32030, "{error}");
    assert_eq!(server.interrupt(), Some(0));
}

/// A script that asks for documents gets one even where its own line is wrong.
#[test]
fn a_command_line_that_is_wrong_is_told_in_the_form_that_it_asks_for() {
    let dir = TempDir::new().unwrap();
    for args in [
        &["-o", "json", "bogus"][..],
        &["bogus", "-ojson"],
        &["call", "--output=json"],
        &["-o", "json", "serve", "--shards", "many"],
        &["-o", "json"],
        &["-o", "json", "app"],
    ] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let talk = String::from_utf8_lossy(&output.stderr);
        let told: Value =
            serde_json::from_str(&talk).unwrap_or_else(|error| panic!("{args:?}: {talk}: {error}"));
        let message = told["error"]["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && !message.contains("Usage"),
            "{message}"
        );
        assert_eq!(told["error"]["advice"], "see --help", "{args:?}");
    }
    fails(dir.path(), &["bogus"], 2, "Usage: corelet");
    assert!(ok(dir.path(), &["-o", "json", "--help"]).contains("Usage"));
    assert!(ok(dir.path(), &["--version"]).starts_with("corelet "));
}

#[test]
fn what_cannot_be_sent_or_written_is_told_as_that() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[&kv()]);
    let directory = dir.path().to_str().unwrap();
    for args in [["blob", "put", directory], ["app", "install", directory]] {
        fails(&data, &args, 1, directory);
        fails(&data, &args, 1, "directory");
    }
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let file = dir.path().join("content");
    fs::write(&file, "content").unwrap();
    let blob = ok(&data, &["blob", "put", file.to_str().unwrap()]);
    for args in [["context", "export", "kv"], ["blob", "get", blob.trim()]] {
        let mut command = corelet(&data);
        let output = command.args(args).stdout(full()).output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{talk}");
        assert!(
            talk.contains("standard output") && !talk.contains("server"),
            "{talk}"
        );
    }
    assert_eq!(server.interrupt(), Some(0));
    let nowhere = dir.path().join("nowhere");
    for args in [&["reshard", "--shards", "2"][..], &["check"]] {
        fails(&nowhere, args, 1, "is no data directory");
    }
    assert!(!nowhere.exists());
}
