//! What is shown to people: no token in what they are told to type, tables that stand straight,
//! and nothing in them that steers a terminal.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::{Server, corelet, fails, kv, ok, run};

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
