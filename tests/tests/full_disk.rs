//! A disk that is really full: updates are refused with that said, everything else goes on, also
//! after a restart, and there are updates again when there is space. So it is if records were damaged
//! meanwhile, and there is no room to write that down.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use corelet_tests::{ANY_PORT, Client, Server, SmallDisk, binary, free_address, wait_for};
use serde_json::{Value, json};

const DISK_BYTES: u64 = 96 << 20;

/// Each update of the test takes so much of the journal, and twice that of the ledger.
const VALUE_BYTES: usize = 100_000;

fn value(n: u64) -> String {
    let mut value = format!("{n} ");
    value.push_str(&"x".repeat(VALUE_BYTES));
    value
}

fn set(client: &Client, context: &str, n: u64, value: &str) -> Value {
    let args = json!({ "key": format!("key-{n}"), "value": value });
    client.call(context, "set", args).expect("an answer")
}

#[track_caller]
fn holds(client: &Client, context: &str, count: u64) {
    for n in 0..count {
        let args = json!({ "key": format!("key-{n}") });
        let answer = client.call(context, "get", args).expect("an answer");
        let found = answer["result"]["output"].as_str();
        assert!(
            found == Some(&value(n)),
            "key-{n}: {:.300}",
            answer.to_string()
        );
    }
}

#[track_caller]
fn is_storage_full(answer: &Value) {
    assert_eq!(answer["error"]["data"]["name"], "storage_full", "{answer}");
}

/// Whether writes are refused now, and were since the start.
#[track_caller]
fn is_full_by_its_figures(client: &Client, is_now: bool) {
    let is_full = || client.metric("corelet_ledger_disk_full{") == u64::from(is_now);
    wait_for("the figure to tell of the disk", || is_full().then_some(()));
    assert!(client.metric("corelet_changes_refused_by_full_disk_total{") > 0);
    assert_eq!(
        client.metric("corelet_changes_refused_by_full_ledger_total{"),
        0
    );
}

#[track_caller]
fn lines(client: &Client, path: &str) -> usize {
    let (status, text) = client.get(path).expect("an answer");
    assert_eq!(status, 200, "{path}: {text}");
    text.as_str().map_or(1, |text| text.lines().count())
}

/// Runs the program where the disk is.
fn corelet(disk: &SmallDisk, args: &[&str]) -> String {
    let [nsenter, inside @ ..] = disk.inside();
    let data = disk.path().join("data");
    let done = Command::new(nsenter)
        .args(inside)
        .arg(binary())
        .args(["--data-dir", data.to_str().expect("a path in UTF-8")])
        .args(args)
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    assert!(done.status.success(), "{args:?}: {}", text(done.stderr));
    text(done.stdout)
}

/// Everything that can be read is; `first` is the first delta of the context.
fn can_be_read(disk: &SmallDisk, server: &Server, context: &str, first: &str, elsewhere: &Path) {
    let client = &server.client();
    let path = format!("/v1/contexts/{context}");
    for what in ["entries", "deltas?limit=1000", "events", "logs", "blobs"] {
        lines(client, &format!("{path}/{what}"));
    }
    assert_eq!(
        lines(client, &format!("{path}/entries?at={first}")),
        3,
        "a head, an entry and an end"
    );
    for file in ["context.clx", "backup.clx"] {
        // What another run has left.
        let _ = std::fs::remove_file(elsewhere.join(file));
    }
    let [exported, backup] = ["context.clx", "backup.clx"].map(|name| {
        let path = elsewhere.join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    });
    corelet(disk, &["context", "export", context, "--to", &exported]);
    corelet(disk, &["backup", &backup]);
}

#[test]
fn a_full_disk_refuses_updates_keeps_reads_and_deletions_and_recovers() {
    let Some(disk) = SmallDisk::new(DISK_BYTES) else {
        return;
    };
    let elsewhere = tempfile::tempdir().expect("a directory on another disk");
    let config = elsewhere.path().join("corelet.toml");
    std::fs::write(&config, "[blobs]\ndisk_free_bytes_min = 0\n").expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let more = ["--shards", "1", "--config", config];
    let mut server = Server::spawn_on(&disk, ANY_PORT, &more);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let kv = client.install("kv");
    let [kept, spare] = ["kept", "spare"].map(|name| client.create(&kv, Some(name)));
    let (status, blob) = client.post("/v1/blobs", b"content").expect("an answer");
    assert_eq!(status, 201, "{blob}");
    let blob = format!("/v1/blobs/{}", blob["id"].as_str().expect("an id"));
    for n in 0..40 {
        assert!(set(&client, &spare, n, &value(n))["result"].is_object());
    }
    let answer = set(&client, &kept, 0, &value(0));
    let first = answer["result"]["delta_id"].as_str();
    let first = first.unwrap_or_else(|| panic!("{answer}")).to_owned();

    disk.fill();
    let mut count = 1;
    let refused = loop {
        let answer = set(&client, &kept, count, &value(count));
        if answer["error"].is_object() {
            break answer;
        }
        count += 1;
        assert!(count < 1_000, "there is always space");
    };
    is_storage_full(&refused);
    is_full_by_its_figures(&client, true);
    let goes_on = |server: &Server| {
        let client = server.client();
        holds(&client, &kept, count);
        can_be_read(&disk, server, &kept, &first, elsewhere.path());
        assert_eq!(
            client.get(&format!("{blob}/info")).expect("an answer").0,
            200
        );
        assert_eq!(client.get(&blob).expect("an answer").0, 200);
    };
    goes_on(&server);
    is_storage_full(&set(&client, &kept, count, &value(count)));

    // Whatever has ended it, it starts again.
    for is_killed in [true, false] {
        match is_killed {
            true => server.kill(),
            false => assert_eq!(server.stop(), Some(0), "{}", server.log()),
        }
        server = Server::spawn_on(&disk, ANY_PORT, &more);
        assert!(server.wait_ready(), "{}", server.log());
        goes_on(&server);
        is_storage_full(&set(&server.client(), &kept, count, &value(count)));
    }

    // What is deleted leaves room inside the ledger's file.
    let client = server.client();
    assert_eq!(client.delete(&blob).expect("an answer").0, 204);
    let (status, answer) = client.delete("/v1/contexts/spare").expect("an answer");
    assert_eq!(status, 204, "{answer}");
    wait_for("an update in what was freed", || {
        let answer = set(&client, &kept, count, &value(count));
        answer["result"].is_object().then_some(())
    });
    count += 1;

    disk.empty();
    for n in count..count + 200 {
        wait_for("an update when the disk has space", || {
            let answer = set(&client, &kept, n, &value(n));
            answer["result"].is_object().then_some(())
        });
    }
    holds(&client, &kept, count + 200);
    is_full_by_its_figures(&client, false);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let said = corelet(&disk, &["check"]);
    assert!(said.contains("whole"), "{said}");
}

/// Contexts that are damaged: so many that to write them down takes more pages than the ledger's file has free.
const DAMAGED: usize = 150;

/// What a start says that has found no room for that.
const UNWRITTEN: &str = "they are until the server ends";

/// Makes other bytes of `needle`, two bits of them, wherever it lies in the ledger's file, and gives the file
/// no more space than it has bytes.
fn damage(data_file: &Path, needle: &[u8]) {
    let mut bytes = std::fs::read(data_file).expect("a data file");
    let mut places = 0;
    for at in 0..bytes.len() - needle.len() {
        if bytes[at..].starts_with(needle) {
            bytes[at] ^= 0x11;
            places += 1;
        }
    }
    assert!(places >= DAMAGED, "{places} of them");
    std::fs::remove_file(data_file).expect("it is there");
    std::fs::write(data_file, bytes).expect("there was space for it a moment ago");
}

#[test]
fn a_full_disk_and_damage_together_leave_what_is_whole_in_service() {
    let Some(disk) = SmallDisk::new(DISK_BYTES) else {
        return;
    };
    let more = ["--shards", "1"];
    let mut server = Server::spawn_on(&disk, ANY_PORT, &more);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let kv = client.install("kv");
    let good = client.create(&kv, Some("good"));
    let bad: Vec<String> = (0..DAMAGED).map(|_| client.create(&kv, None)).collect();
    // A damaged record is told by its key.
    let key = "k".repeat(300);
    for context in bad.iter().chain([&good]) {
        for (key, value) in [(&key[..], "needle"), ("whole", "well")] {
            let value = if *context == good { "well" } else { value };
            let args = json!({ "key": key, "value": value });
            let answer = client.call(context, "set", args).expect("an answer");
            assert!(answer["result"].is_object(), "{answer}");
        }
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let data_file = disk.path().join("data/shards/000/data.mdb");
    damage(&disk.seen(&data_file), b"needle");
    disk.fill();

    // It cannot write down where it is found.
    let mut server = Server::spawn_on(&disk, free_address(), &more);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    // What is asked for is whole: nobody meets the damage by that.
    let get = |client: &Client, context: &str| {
        let args = json!({ "key": "whole" });
        client.call(context, "get", args).expect("an answer")
    };
    assert_eq!(get(&client, &good)["result"]["output"], "well");
    for bad in &bad {
        let answer = get(&client, bad);
        assert_eq!(
            answer["error"]["data"]["name"], "context_damaged",
            "{answer}"
        );
    }
    let log = server.log();
    assert!(log.contains(UNWRITTEN), "{log}");
    let elsewhere = tempfile::tempdir().expect("a directory on another disk");
    let backup = elsewhere.path().join("backup.clx");
    // There was no room to note down where the server listens.
    let url = format!("http://{}", server.address());
    let token = disk.path().join("data/keys/token");
    let [backup, token] = [&backup, &token].map(|path| path.to_str().expect("a path in UTF-8"));
    corelet(
        &disk,
        &["--url", &url, "--token-file", token, "backup", backup],
    );

    // With space it is written down by the next start, and stays so.
    disk.empty();
    for _ in 0..2 {
        assert_eq!(server.stop(), Some(0), "{}", server.log());
        server = Server::spawn_on(&disk, ANY_PORT, &more);
        assert!(server.wait_ready(), "{}", server.log());
        // The log goes on from those before.
        let log = server.log();
        let begins = log.rfind("starting;").expect("a start");
        assert!(!log[begins..].contains(UNWRITTEN), "{log}");
        let answer = get(&server.client(), &bad[0]);
        assert_eq!(
            answer["error"]["data"]["name"], "context_damaged",
            "{answer}"
        );
    }
}

/// Where nothing can be mounted, a test of a full disk does not pass as if it had tested
/// something, unless whoever runs it says that it may.
#[test]
fn without_mounts_a_test_of_a_full_disk_fails_unless_that_is_allowed() {
    let bin = tempfile::tempdir().expect("a directory for a program");
    symlink("/bin/false", bin.path().join("unshare")).expect("a link");
    let run = |without_mounts: &str| {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "--nocapture"])
            .arg("a_full_disk_and_damage_together_leave_what_is_whole_in_service")
            .env("PATH", bin.path())
            .env("CORELET_WITHOUT_MOUNTS", without_mounts)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    for not_allowed in ["", "0"] {
        let (has_passed, said) = run(not_allowed);
        assert!(!has_passed, "{said}");
        assert!(said.contains("CORELET_WITHOUT_MOUNTS=1"), "{said}");
    }
    let (has_passed, said) = run("1");
    assert!(has_passed && said.contains("SKIPPED"), "{said}");
}
