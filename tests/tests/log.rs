//! A log that cannot be written, or that nobody reads, is no reason to stop serving;
//! and what guests say in it is no more than text. A setting that counts for more than it
//! says is told there.

#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use corelet_tests::{ANY_PORT, Client, Server, made};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_under_the_log_does_not_end_the_server() {
    let home = tempfile::tempdir().expect("a directory for data");
    let full = "exec \"$0\" \"$@\" 2>/dev/full";
    let wrapper = ["sh", "-c", full].map(str::to_owned);
    let shards = ["--shards", "1"];
    let mut server = Server::spawn(&home.path().join("data"), ANY_PORT, &wrapper, &shards);
    assert!(server.wait_ready());
    let client = server.client();
    let kv = client.install("kv");
    let context = client.create(&kv, None);
    let set = json!({ "key": "k", "value": "v" });
    let answer = client.call(&context, "set", set).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
    assert!(lost(&client, "unwritable") > 0);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_nothing_else() {
    let home = tempfile::tempdir().expect("a directory for data");
    let (mut server, pipe) = unread(home.path());
    let client = server.client();
    let context = client.create(&client.install("kv"), None);
    while lost(&client, "overflowed") == 0 {
        // Each is a line of its own, at the level debug.
        for _ in 0..100 {
            client.get("/v1/status").expect("an answer");
        }
    }
    // More than enough to stop every shard in its tracks, if one waited for the log.
    for _ in 0..100 {
        assert_eq!(client.get("/healthz").expect("an answer").0, 200);
        let set = json!({ "key": "k", "value": "v" });
        let answer = client.call(&context, "set", set).expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
    }
    // Once it is read again, the log tells of its gap.
    let (told, is_told) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        for line in lines {
            if line.contains("log lines were dropped") {
                let _ = told.send(line);
            }
        }
    });
    let line = is_told.recv_timeout(PATIENCE).expect("the gap is told");
    let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
    assert!(line["lines"].as_u64() > Some(0), "{line}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let home = tempfile::tempdir().expect("a directory for data");
    let (mut server, pipe) = unread(home.path());
    let client = server.client();
    while lost(&client, "overflowed") == 0 {
        for _ in 0..100 {
            client.get("/v1/status").expect("an answer");
        }
    }
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(began.elapsed() < PATIENCE);
    drop(pipe);
}

/// What a guest logs is foreign text that may end up on a terminal: as text and
/// as JSON it stays on its line, and none of it is a command to the terminal.
#[test]
fn a_setting_that_is_raised_is_told_once() {
    let home = tempfile::tempdir().expect("a directory for data");
    for (settings, told) in [
        ("[storage]\nreaders_max = 100\n", 1),
        ("[storage]\nreaders_max = 1016\n", 0),
        // Nobody has set the one that is lower.
        ("[shards]\ninstances_max = 2000\n", 0),
        (
            "[storage]\nreaders_max = 24\n[shards]\ninstances_max = 8\n",
            0,
        ),
    ] {
        let config = home.path().join("corelet.toml");
        std::fs::write(&config, settings).expect("a configuration");
        let config = config.to_str().expect("a path in UTF-8");
        let place = tempfile::tempdir().expect("a directory for data");
        let more = ["--shards", "1", "--config", config];
        let mut server = Server::start(&place.path().join("data"), &more);
        assert_eq!(server.stop(), Some(0));
        let log = server.log();
        let warnings = log.lines().filter(|line| line.contains("\"WARN\""));
        let of_it = warnings.filter(|line| line.contains("\"storage.readers_max\""));
        let of_it: Vec<_> = of_it.collect();
        assert_eq!(of_it.len(), told, "{settings}: {log}");
        for line in of_it {
            assert!(line.contains(":100,") && line.contains(":1016"), "{line}");
        }
    }
}

#[test]
fn what_a_guest_logs_is_text_without_control_characters() {
    // "a", the start of a colour, a line's end, a bell, C1's own start of a
    // command in UTF-8, "z".
    let guest = made::framed(
        r#"(data (i32.const 512) "a\1b[31m\0a\07\c2\9b31mz")
        (func $init (param i32 i32) (result i32) (call $ok-null))
        (func $call (param i32 i32 i32 i32) (result i32)
            (call $write (i32.const 1) (i32.const 512) (i32.const 14))
            (call $ok-null))"#,
    );
    for format in ["text", "json"] {
        let home = tempfile::tempdir().expect("a directory for data");
        let setting = format!("CORELET__LOG__FORMAT={format}");
        let wrapper = ["env".to_owned(), setting];
        let data = home.path().join("data");
        let mut server = Server::spawn(&data, ANY_PORT, &wrapper, &["--shards", "1"]);
        assert!(server.wait_ready(), "{}", server.log());
        let client = server.client();
        let context = client.create(&client.install_component(&guest), None);
        let answer = client.call(&context, "run", json!({})).expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(server.stop(), Some(0), "{}", server.log());
        let log = server.log();
        let line = log.lines().find(|line| line.contains("[31m"));
        let line = line.unwrap_or_else(|| panic!("the guest's line is missing in {log}"));
        assert!(line.contains(&context) && line.contains("31mz"), "{line}");
        for line in log.lines() {
            let is_json = serde_json::from_str::<serde_json::Value>(line).is_ok();
            assert_eq!(is_json, format == "json", "{format}: {line}");
            assert!(!line.contains(char::is_control), "{format}: {line:?}");
        }
    }
}

/// A server that logs a lot into a pipe that is open, and not read yet.
fn unread(home: &Path) -> (Server, File) {
    let fifo = home.join("log");
    let owner = Mode::RUSR | Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, owner).expect("a pipe");
    // Opened for both, for neither end waits then for the other.
    let pipe = rustix::fs::open(&fifo, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let pipe = File::from(pipe.expect("our own pipe"));
    let into = format!("exec \"$0\" \"$@\" 2>'{}'", fifo.display());
    let small = "CORELET__LOG__QUEUE_BYTES_MAX=64 KiB";
    let wrapper = ["env", small, "sh", "-c", &into].map(str::to_owned);
    let more = ["--shards", "2", "--verbose"];
    let mut server = Server::spawn(&home.join("data"), ANY_PORT, &wrapper, &more);
    assert!(server.wait_ready());
    (server, pipe)
}

/// A figure of /metrics.
fn lost(client: &Client, reason: &str) -> u64 {
    let (_, page) = client.get("/metrics").expect("an answer");
    let wanted = format!("corelet_log_lines_lost_total{{reason=\"{reason}\"}} ");
    let line = page.as_str().expect("a page of text").lines();
    let mut figures = line.filter_map(|line| line.strip_prefix(&wanted));
    figures
        .next()
        .expect("the figure")
        .parse()
        .expect("a number")
}
