//! A log that cannot be written, or that nobody reads, is no reason to stop serving;
//! and what guests say in it is no more than text. A setting that counts for more than it
//! says is told there, and so is a clock that was ahead.

#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use corelet_store::{
    CallEffects, Change, DataDir, Hlc, Ledger, LedgerConfig, NodeId, Op, OpenOptions, ShardCount,
};
use corelet_tests::{ANY_PORT, Client, Server, made, wait_for};
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

/// The machine once came up with a clock that was a year ahead. The operator hears of it, with
/// what to do, and calls go on.
#[test]
fn a_clock_that_was_ahead_is_told_in_the_log_and_the_figures() {
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let context = client.create(&client.install("counter"), None);
    assert!(clock_ahead(&client) < 60.0);
    assert_eq!(server.stop(), Some(0));
    assert!(!server.log().contains(AHEAD), "{}", server.log());

    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    write_after(YEAR, &data, &context);

    let mut server = Server::start(&data, &[]);
    let line = wait_for("the warning", || {
        let log = server.log();
        log.lines()
            .find(|line| line.contains(AHEAD))
            .map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
    assert_eq!(
        (&line["level"], &line["shard"]),
        (&json!("WARN"), &json!(0)),
        "{line}"
    );
    let seconds = line["ahead_seconds"].as_u64().expect("a number");
    // But for the time that the test has taken so far.
    assert!(
        (YEAR.as_secs() - 86_400..=YEAR.as_secs()).contains(&seconds),
        "{line}"
    );
    assert_eq!(line["ahead_seconds_max"], 60, "{line}");
    let client = server.client();
    let answer = client
        .call(&context, "increment", json!({}))
        .expect("an answer");
    assert_eq!(answer["result"]["output"], 1, "{answer}");
    let seconds = clock_ahead(&client);
    assert!(seconds > (YEAR.as_secs() - 86_400) as f64, "{seconds}");
    assert_eq!(server.stop(), Some(0));
    let log = server.log();
    let told = log.lines().filter(|line| line.contains(AHEAD));
    assert_eq!(told.count(), 1, "{log}");
}

/// In the warning of a clock that was ahead.
const AHEAD: &str = "ahead of this machine's clock";

/// Has the context changed by a call that is stamped so much later than now.
fn write_after(later: Duration, data: &Path, context: &str) {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).expect("one"),
        node_id_if_new: NodeId::from_bytes([0; 32]),
    };
    let dir = DataDir::open(data, &options).expect("the data directory opens");
    let shard = dir.manifest().shards.shards().next().expect("one");
    let ledger = Ledger::open(&dir.ledger_place(shard), &LedgerConfig::default());
    let ledger = ledger.expect("the ledger opens");
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let stamp = (since_1970.expect("a clock of today") + later).as_micros();
    let hlc = Hlc::from_micros(u64::try_from(stamp).expect("not that late"));
    let context = context.parse().expect("the id of a context");
    let call = CallEffects {
        ops: vec![Op::set(Bytes::from_static(b"key"), Bytes::new())],
        ..CallEffects::new(context, dir.manifest().node_id, hlc)
    };
    let verdicts = ledger.commit(vec![Change::Call(call)]).expect("a batch");
    assert!(verdicts[0].is_ok(), "{verdicts:?}");
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

fn lost(client: &Client, reason: &str) -> u64 {
    let name = format!("corelet_log_lines_lost_total{{reason=\"{reason}\"}}");
    figure(client, &name).parse().expect("a number")
}

fn clock_ahead(client: &Client) -> f64 {
    let figure = figure(client, "corelet_clock_ahead_seconds{shard=\"0\"}");
    figure.parse().expect("a number")
}

/// A figure of /metrics, by its name and labels.
fn figure(client: &Client, name: &str) -> String {
    let (_, page) = client.get("/metrics").expect("an answer");
    let lines = page.as_str().expect("a page of text").lines();
    let mut figures = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    figures.next().expect("the figure").to_owned()
}
