//! The `corelet` binary from outside, as people and scripts use it: a real
//! server on a free port, real commands, their output and their exit codes.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The binary, without whatever the environment of the tests says about servers.
fn corelet(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelet"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CORELET_") {
            command.env_remove(name);
        }
    }
    command
        .env("CORELET_DATA_DIR", data_dir)
        .stdin(Stdio::null());
    command
}

/// The key-value application.
fn kv() -> PathBuf {
    corelet_tests::component_path("kv")
}

/// A server of `corelet dev` that has said it is ready.
struct Server {
    child: Child,
    /// What it printed when it was.
    ready: Value,
}

impl Server {
    fn start(data_dir: &Path, paths: &[&Path]) -> Server {
        let mut command = corelet(data_dir);
        command.args([
            "dev",
            "-o",
            "json",
            "--listen",
            "127.0.0.1:0",
            "--shards",
            "2",
        ]);
        command.args(paths).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        lines
            .read_line(&mut line)
            .expect("it says that it is ready");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Server { child, ready }
    }

    /// As a person would: Ctrl-C. The exit code.
    fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(data_dir: &Path, args: &[&str]) -> Output {
    corelet(data_dir)
        .args(args)
        .output()
        .expect("the binary starts")
}

/// The standard output of a command that works.
#[track_caller]
fn ok(data_dir: &Path, args: &[&str]) -> String {
    let output = run(data_dir, args);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {talk}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one JSON document that a command prints.
#[track_caller]
fn document(data_dir: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let text = ok(data_dir, &args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {text}: {error}"))
}

/// A command that fails with this code, prints no data, and says this.
#[track_caller]
fn fails(data_dir: &Path, args: &[&str], code: i32, says: &str) {
    let output = run(data_dir, args);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {talk}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(talk.contains(says), "{args:?}: {talk}");
}

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

/// What others can write, neither the server nor its clients believe.
#[test]
fn a_data_directory_that_others_can_write_is_refused_by_server_and_clients() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(&data).unwrap();
    mode(&data, 0o777);
    let advice = format!("run chmod go-w {}", data.display());
    fails(
        &data,
        &["serve", "--listen", "127.0.0.1:0", "--shards", "1"],
        1,
        &advice,
    );
    let output = run(&data, &["doctor"]);
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(found.contains(&advice), "{found}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made");
    mode(&data, 0o700);
    let server = Server::start(&data, &[&kv()]);
    ok(&data, &["status"]);
    for (path, open, closed) in [
        (data.clone(), 0o777, 0o700),
        (data.join("server.json"), 0o666, 0o600),
        (data.join("keys"), 0o720, 0o700),
    ] {
        mode(&path, open);
        let advice = format!("run chmod go-w {}", path.display());
        fails(&data, &["status"], 1, &advice);
        mode(&path, closed);
    }
    ok(&data, &["status"]);
    assert_eq!(server.interrupt(), Some(0));
}

/// A server that was started as the wrong user leaves nothing of its own.
#[test]
fn nothing_is_made_in_another_user_s_directory() {
    // Only root can give a directory away, and write into it all the same.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(1), None).unwrap();
    fails(
        &data,
        &["serve", "--listen", "127.0.0.1:0", "--shards", "1"],
        1,
        "belongs to user 1",
    );
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made");
}

/// What we tell people to type keeps the token out of every process's arguments.
#[test]
fn no_command_that_we_show_has_the_token_among_its_arguments() {
    let dir = TempDir::new().unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let help = ok(dir.path(), &["token", "--help"]);
    let mut server = corelet(dir.path());
    server.args(["dev", "--listen", "127.0.0.1:0", "--shards", "1"]);
    server.arg(kv()).stderr(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut banner = String::new();
    for line in lines.by_ref().map(Result::unwrap) {
        banner.push_str(&line);
        banner.push('\n');
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let shown = [("README", &readme), ("--help", &help), ("banner", &banner)];
    for (place, text) in shown {
        assert!(!text.contains("$(corelet token"), "{place}: {text}");
        let curls = text.lines().filter(|line| line.contains("curl -"));
        let curls: Vec<&str> = curls.collect();
        assert!(!curls.is_empty(), "{place}: {text}");
        for line in curls {
            assert!(line.contains("token --header | curl"), "{place}: {line}");
            assert!(line.contains("-H @-"), "{place}: {line}");
        }
    }
    // The banner's own works as it stands, where there is a curl to run it.
    let command: Vec<&str> = banner
        .lines()
        .skip_while(|line| !line.contains("curl -"))
        .take(2)
        .collect();
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if has_curl {
        let answer = Command::new("sh")
            .args(["-c", &command.join("\n")])
            .output();
        let answer = answer.unwrap();
        let talk = String::from_utf8_lossy(&answer.stderr);
        let answer: Value = serde_json::from_slice(&answer.stdout)
            .unwrap_or_else(|error| panic!("{command:?}: {error}: {talk}"));
        assert!(answer["result"].is_object(), "{answer}");
    }
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
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

/// Commands that need no server.
#[test]
fn what_needs_no_server_works_without_one() {
    let dir = TempDir::new().unwrap();
    let data = dir.path();
    let page =
        |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    assert_eq!(ok(data, &["config", "reference"]), page("CONFIG.md"));
    assert_eq!(ok(data, &["config", "errors"]), page("ERRORS.md"));
    let settings = document(data, &["config", "show", "--listen", "127.0.0.1:1"]);
    assert_eq!(
        settings["http.listen"],
        json!({ "value": "127.0.0.1:1", "origin": "flag --listen" })
    );
    ok(data, &["config", "check"]);
    assert_eq!(
        document(data, &["config", "check"]),
        json!({ "good": true })
    );
    // What the parts would refuse at the start is refused here.
    for (limit, value) in [
        ("memory_bytes_max", "900 GiB"),
        ("slice_fuel", "0"),
        ("key_bytes_max", "10 KiB"),
    ] {
        let file = data.join("limits.toml");
        fs::write(&file, format!("[limits]\n{limit} = \"{value}\"\n")).unwrap();
        fails(
            data,
            &["config", "check", "--config", file.to_str().unwrap()],
            2,
            limit,
        );
    }
    // More shards than a data directory can have are not silently fewer.
    ok(data, &["config", "check", "--shards", "256"]);
    fails(data, &["serve", "--shards", "257"], 2, "from 0 to 256");
    let file = data.join("bad.toml");
    fs::write(&file, "[http]\nlistne = \"127.0.0.1:1\"\n").unwrap();
    fails(
        data,
        &["config", "check", "--config", file.to_str().unwrap()],
        2,
        "did you mean http.listen?",
    );
    fails(
        data,
        &["serve", "--config", file.to_str().unwrap()],
        2,
        "http.listne",
    );
    // Where the command line is good, its help is of no use.
    let hints = |args: &[&str]| {
        let talk = run(data, args).stderr;
        String::from_utf8_lossy(&talk).contains("see --help")
    };
    assert!(!hints(&["serve", "--config", file.to_str().unwrap()]));
    assert!(hints(&["call", "kv", "get", "no JSON"]));
    let findings = document(data, &["doctor"]);
    assert!(findings.to_string().contains("kernel"), "{findings}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            ok(data, &["completions", shell]).contains("corelet"),
            "{shell}"
        );
    }
    fails(data, &["token"], 1, "token");
    fails(data, &["status"], 3, "corelet dev");
    fails(
        data,
        &["dev", "/nonexistent.wasm"],
        2,
        "there is no /nonexistent.wasm",
    );
    assert!(!data.join("manifest").exists(), "nothing was started");
    // Asked at an address where nobody is.
    fs::write(data.join("token"), "corelet_0123456789abcdef").unwrap();
    fs::set_permissions(data.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let token = data.join("token");
    fails(
        data,
        &[
            "status",
            "--url",
            &url,
            "--token-file",
            token.to_str().unwrap(),
        ],
        3,
        "refused",
    );
}

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

/// Every file below a directory, with what is in it.
fn everything_in(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => {
                found.extend(everything_in(&path));
                found.push((path, Vec::new()));
            }
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

/// A restored directory waits for its key, and one may be lost: a key that was made for it would
/// be another node's.
#[test]
fn no_key_is_made_for_data_that_belongs_to_one() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
    let key = data.join("keys/node.key");
    let (kept, manifest) = (fs::read(&key).unwrap(), data.join("manifest"));
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    fs::remove_file(&key).unwrap();
    let before = everything_in(&data);
    fails(&data, &serve, 1, "there is no key in");
    fails(&data, &serve, 1, "put the directory keys of that node back");
    assert!(everything_in(&data) == before, "it is as it was");
    assert_eq!(document(&data, &["check"])["whole"], true);

    // Nor where it cannot be told whose the data is.
    let said = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    fails(&data, &serve, 1, "restore the manifest");
    fs::write(&manifest, &said[1..]).unwrap();
    fails(&data, &serve, 1, "manifest");
    fs::write(&manifest, said).unwrap();
    fs::remove_file(data.join("keys/token")).unwrap();
    fs::remove_dir(data.join("keys")).unwrap();
    fails(&data, &serve, 1, "there is no key in");
    assert!(!data.join("keys").exists());

    fs::create_dir(data.join("keys")).unwrap();
    fs::set_permissions(data.join("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
}

#[test]
fn a_finding_of_no_shard_stands_under_its_headings_and_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    assert_eq!(Server::start(&data, &[]).interrupt(), Some(0));
    let key = data.join("keys/node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(&data, &["check"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let mut lines = table.lines();
    let (headings, row) = (lines.next().unwrap(), lines.next().unwrap());
    let at = headings.find("WHAT").unwrap();
    assert_eq!(row.find("node's key"), Some(at), "{table}");
    assert!(headings.starts_with("SHARD"), "{table}");
    let at = headings.find("WHAT TO DO").unwrap();
    let why = &row[..at];
    assert!(
        why.contains("(mode 644)") && !why.contains("chmod"),
        "{table}"
    );
    let advice = format!("run chmod 600 {}", key.display());
    assert_eq!(&row[at..], advice, "{table}");
}

#[test]
fn what_guests_have_made_does_not_steer_the_terminal() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[&kv()]);
    let steering = "a\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}b";
    let set = json!({ "key": steering, "value": steering });
    ok(&data, &["call", "kv", "set", &set.to_string()]);
    let got = json!({ "key": steering }).to_string();
    for args in [
        &["context", "entries", "kv"][..],
        &["context", "deltas", "kv"],
        &["events", "kv"],
        &["logs", "kv"],
        &["call", "kv", "get", &got],
    ] {
        let told = ok(&data, args);
        let harmless = |char: char| char == '\n' || (char.is_ascii() && !char.is_control());
        assert!(told.chars().all(harmless), "{args:?}: {told:?}");
    }
    let told = ok(&data, &["context", "entries", "kv"]);
    assert!(told.contains(r"2J\u007f\u202e"), "{told}");
    // Scripts get it as it is.
    let lines = ok(&data, &["context", "entries", "kv", "-o", "json"]);
    assert!(lines.contains('\u{202e}'), "{lines}");
    for name in [".", ".."] {
        let create = ["context", "create", "kv", "--name", name];
        fails(&data, &create, 1, "invalid_params");
    }
    assert_eq!(server.interrupt(), Some(0));
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
