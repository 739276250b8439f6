//! Copies by the command line, of a real server: what was acknowledged before a backup
//! began is in it, contexts travel between nodes, another number of shards changes
//! nothing else, and a check says so, or what is damaged. Kills in the middle are
//! tested in the store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use corelet_tests::{Client, GoodAndBad, Server, SetOnDrop, binary, flip, start_unlooked};
use serde_json::{Value, json};

const CONTEXTS: usize = 4;

const NEEDLE: &str = "a value that lies on disk as it is, long enough to be found there";

/// Calls that each writer has made before the backup begins, and while it goes on at
/// least, so that it is one of a server that is written to.
const CALLS: u64 = 50;

fn corelet(data: &Path, args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .arg("--data-dir")
        .arg(data)
        .output()
        .expect("the binary starts")
}

#[track_caller]
fn done(data: &Path, args: &[&str]) -> Value {
    let args = [args, &["-o", "json"]].concat();
    let output = corelet(data, &args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn value(client: &Client, context: &str, key: &str) -> Value {
    let answer = client.call(context, "get", json!({ "key": key }));
    answer.expect("an answer")["result"]["output"].clone()
}

fn set(client: &Client, context: &str, key: &str, value: &str) {
    let args = json!({ "key": key, "value": value });
    let answer = client.call(context, "set", args).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
}

#[test]
fn a_backup_of_a_server_under_load_holds_all_that_was_acknowledged_before() {
    let home = tempfile::tempdir().expect("a directory");
    let (data, file) = (home.path().join("data"), home.path().join("backup"));
    let mut server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    let kv = client.install("kv");
    let contexts: Vec<String> = (0..CONTEXTS)
        .map(|n| client.create(&kv, Some(&format!("shop-{n}"))))
        .collect();
    let acknowledged: Vec<AtomicU64> = (0..CONTEXTS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let counts = || -> Vec<u64> {
        let counts = acknowledged.iter();
        counts.map(|count| count.load(Ordering::Acquire)).collect()
    };
    let wait_for = |least: &[u64]| {
        while counts()
            .iter()
            .zip(least)
            .any(|(count, least)| count < least)
        {
            thread::yield_now();
        }
    };
    let before = thread::scope(|scope| {
        let _end = SetOnDrop(&stop);
        for (context, count) in contexts.iter().zip(&acknowledged) {
            let (client, stop) = (server.client(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let n = count.load(Ordering::Acquire) + 1;
                    set(&client, context, &format!("key-{n}"), &n.to_string());
                    count.store(n, Ordering::Release);
                }
            });
        }
        wait_for(&[CALLS; CONTEXTS]);
        let before = counts();
        let path = file.to_str().expect("text");
        done(&data, &["backup", path, "--with-keys"]);
        // Writes go on, during and after it.
        wait_for(&before.iter().map(|count| count + 1).collect::<Vec<_>>());
        before
    });
    assert_eq!(server.stop(), Some(0));
    let restored = home.path().join("restored");
    let path = file.to_str().expect("text");
    let told = done(&restored, &["restore", path, "--shards", "3"]);
    assert_eq!(told["contexts"], CONTEXTS);
    assert_eq!(told["keys"], true);
    assert_eq!(done(&restored, &["check"])["whole"], true);
    let mut server = Server::start(&restored, &[]);
    let client = server.client();
    for (n, (context, before)) in contexts.iter().zip(before).enumerate() {
        for call in 1..=before {
            let found = value(&client, context, &format!("key-{call}"));
            assert_eq!(found, json!(call.to_string()), "context {context}");
        }
        assert_eq!(value(&client, &format!("shop-{n}"), "key-1"), json!("1"));
        // It goes on where it was.
        set(&client, context, "after", "the restore");
    }
    assert_eq!(server.stop(), Some(0));
    // Without the keys it is nobody's yet.
    let keyless = home.path().join("keyless");
    let mut server = Server::start(&data, &[]);
    let path = home.path().join("second");
    done(&data, &["backup", path.to_str().expect("text")]);
    let again = corelet(&data, &["backup", path.to_str().expect("text")]);
    assert_eq!(again.status.code(), Some(1), "it is never written over");
    assert_eq!(server.stop(), Some(0));
    let told = done(&keyless, &["restore", path.to_str().expect("text")]);
    assert_eq!(told["keys"], false);
    assert_eq!(fs::read_dir(keyless.join("keys")).expect("keys").count(), 0);
    let told = done(&keyless, &["check"]);
    assert_eq!(
        told["whole"], true,
        "a key that is yet to come is no damage"
    );
    let notes = told["notes"].as_array().expect("a list");
    assert!(notes.iter().any(|note| {
        note.as_str()
            .is_some_and(|note| note.contains("the key of node"))
    }));
}

/// Its neighbours can be backed up all the same, and nobody takes the backup for all there was.
#[test]
fn a_backup_says_which_context_is_not_in_it() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let GoodAndBad {
        mut server,
        good,
        bad,
        ..
    } = GoodAndBad::start(&data, NEEDLE);
    assert_eq!(server.stop(), Some(0));
    flip(&data, NEEDLE.as_bytes());
    let mut server = start_unlooked(&data, &[]);
    let args = json!({ "key": "key" });
    let answer = server.client().call(&bad, "get", args).expect("an answer");
    assert!(answer["error"].is_object(), "{answer}");
    let file = home.path().join("b.clx");
    let file = file.to_str().expect("text");
    let told = done(&data, &["backup", file, "--with-keys"]);
    assert_eq!(told["left_out"], json!([bad]));
    assert_eq!(server.stop(), Some(0));
    let restored = home.path().join("restored");
    let told = done(&restored, &["restore", file]);
    assert_eq!(
        (&told["contexts"], &told["left_out"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(done(&restored, &["check"])["whole"], true);
    let mut server = Server::start(&restored, &[]);
    assert_eq!(value(&server.client(), &good, "key"), json!("well"));
    assert_eq!(server.stop(), Some(0));
}

/// A delta that nobody reads again, unless somebody asks for a copy.
#[test]
fn a_backup_that_meets_damage_fails_once_and_the_next_one_goes_on_without_its_context() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let GoodAndBad {
        mut server,
        client,
        good,
        bad,
    } = GoodAndBad::start(&data, NEEDLE);
    set(&client, &bad, "key", "replaced");
    assert_eq!(server.stop(), Some(0));
    flip(&data, NEEDLE.as_bytes());
    let mut server = start_unlooked(&data, &[]);
    let client = server.client();
    assert_eq!(value(&client, &bad, "key"), json!("replaced"));
    let file = home.path().join("b.clx");
    let file = file.to_str().expect("text");
    let broken_off = corelet(&data, &["backup", file]);
    assert_ne!(broken_off.status.code(), Some(0), "{broken_off:?}");
    let told = done(&data, &["backup", file]);
    assert_eq!(told["left_out"], json!([bad]));
    // The shard has heard of it before the backup was asked for again, or is about to.
    while client
        .call(&bad, "get", json!({ "key": "key" }))
        .expect("an answer")["error"]["data"]["name"]
        != "context_damaged"
    {}
    assert_eq!(value(&client, &good, "key"), json!("well"));
    assert_eq!(server.stop(), Some(0));
    assert!(server.log().contains("is damaged; it is out of service"));
    let checked = corelet(&data, &["check", "-o", "json"]);
    let told: Value = serde_json::from_slice(&checked.stdout).expect("a document");
    let notes = told["notes"].to_string();
    assert!(
        notes.contains(&bad) && notes.contains("is out of service"),
        "{notes}"
    );
}

/// The node's key may be in it.
#[test]
fn a_backup_is_read_by_its_owner_alone_and_goes_into_no_file_of_others() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let [file, part, other] = ["b.clx", "b.clx.part", "other"].map(|name| home.path().join(name));
    fs::write(&other, "important").expect("a file");
    std::os::unix::fs::symlink(&other, &part).expect("a link");
    done(
        &data,
        &["backup", file.to_str().expect("text"), "--with-keys"],
    );
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&other).expect("a file"), "important");
    let names = fs::read_dir(home.path()).expect("a directory");
    let mut names = names.map(|entry| entry.expect("an entry").file_name());
    assert!(!names.any(|name| name.to_string_lossy().starts_with(".corelet-")));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_backup_goes_to_standard_output_and_is_restored_from_there() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let context = client.create(&client.install("kv"), None);
    set(&client, &context, "key", "value");
    let here = home.path().join("here");
    fs::create_dir(&here).expect("a directory");
    let poured = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.args(args).arg("--data-dir").arg(&data);
        let output = command.current_dir(&here).output().expect("it starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
        let told = String::from_utf8(output.stderr).expect("text");
        (output.stdout, told)
    };
    let (plain, told) = poured(&["backup", "-"]);
    assert!(told.contains("backed up to standard output"), "{told}");
    let (keyed, told) = poured(&["backup", "-", "--with-keys", "-o", "json"]);
    let told: Value = serde_json::from_str(&told).expect("a document");
    assert_eq!(told["bytes"], keyed.len());
    assert_eq!(told["left_out"], json!([]));
    let (export, _) = poured(&["context", "export", &context, "--to", "-"]);
    assert!(export.starts_with(b"CLX1"));
    let left = fs::read_dir(&here).expect("a directory").count();
    assert_eq!(left, 0, "no file is called -");
    assert_eq!(server.stop(), Some(0));
    for (backup, has_keys) in [(plain, false), (keyed, true)] {
        let file = home.path().join(format!("{has_keys}.clx"));
        fs::write(&file, backup).expect("a file");
        let restored = home.path().join(format!("restored-{has_keys}"));
        let told = done(&restored, &["restore", file.to_str().expect("text")]);
        assert_eq!(
            (&told["contexts"], &told["keys"]),
            (&json!(1), &json!(has_keys))
        );
        assert_eq!(done(&restored, &["check"])["whole"], true);
    }
}

#[test]
fn a_context_travels_from_a_server_to_another_node() {
    let home = tempfile::tempdir().expect("a directory");
    let [here, there] = ["here", "there"].map(|name| home.path().join(name));
    let mut server = Server::start(&here, &["--shards", "2"]);
    let client = server.client();
    let kv = client.install("kv");
    let context = client.create(&kv, Some("shop"));
    for n in 0..200 {
        set(&client, &context, &format!("key-{n}"), &"value ".repeat(n));
    }
    let file = home.path().join("shop.clx");
    let to_file = file.to_str().expect("text");
    done(&here, &["context", "export", "shop", "--to", to_file]);
    let to_output = corelet(&here, &["context", "export", &context]);
    assert!(to_output.status.success());
    assert_eq!(to_output.stdout, fs::read(&file).expect("the file"));
    let missing = corelet(&here, &["context", "export", "nobody"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert_eq!(server.stop(), Some(0));

    let mut server = Server::start(&there, &["--shards", "3"]);
    server.client().install("kv");
    let running = corelet(&there, &["context", "import", to_file]);
    assert_eq!(running.status.code(), Some(3), "{running:?}");
    assert_eq!(server.stop(), Some(0));
    let told = done(&there, &["context", "import", to_file]);
    assert_eq!(told["id"], context);
    let twice = corelet(&there, &["context", "import", to_file]);
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");
    assert_eq!(done(&there, &["check"])["whole"], true);
    let mut server = Server::start(&there, &[]);
    let client = server.client();
    assert_eq!(value(&client, "shop", "key-3"), json!("value value value "));
    set(&client, &context, "key-3", "changed there");
    assert_eq!(value(&client, &context, "key-3"), json!("changed there"));
    assert_eq!(server.stop(), Some(0));
}

/// Nobody else would tell before the first call fails.
#[test]
fn an_import_says_what_the_context_lacks_here() {
    let home = tempfile::tempdir().expect("a directory");
    let here = home.path().join("here");
    let mut server = Server::start(&here, &["--shards", "2"]);
    let client = server.client();
    let docs = client.install("docs");
    let context = client.create(&docs, Some("plans"));
    let content = home.path().join("content");
    fs::write(&content, "a picture").expect("a file");
    let put = done(&here, &["blob", "put", content.to_str().expect("text")]);
    let blob = put["id"].as_str().expect("an id").to_owned();
    let args = json!({ "title": "plan", "at": 0, "what": "begun. " });
    client.call(&context, "write", args).expect("an answer");
    let args =
        json!({ "title": "plan", "at": 0, "count": 4, "remark": "see", "attachments": [blob] });
    let answer = client.call(&context, "comment", args).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
    let file = home.path().join("plans.clx");
    let file = file.to_str().expect("text");
    done(&here, &["context", "export", "plans", "--to", file]);
    assert_eq!(server.stop(), Some(0));

    let elsewhere = |name: &str| {
        let there = home.path().join(name);
        let mut server = Server::start(&there, &["--shards", "3"]);
        let client = server.client();
        let holder = client.create(&client.install("kv"), Some("plans"));
        assert_eq!(server.stop(), Some(0));
        (there, holder)
    };
    let (there, holder) = elsewhere("for-scripts");
    let told = done(&there, &["context", "import", file]);
    assert_eq!(told["name"], Value::Null);
    assert_eq!(
        told["name_taken"],
        json!({ "name": "plans", "holder": holder })
    );
    assert_eq!(told["application_installed"], false);
    assert_eq!(told["blobs_missing"], 1);
    assert_eq!(told["blobs_missing_ids"], json!([blob]));
    let (there, holder) = elsewhere("for-people");
    let output = corelet(&there, &["context", "import", file]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for word in [
        format!("name \"plans\" is that of context {holder}"),
        format!("application {docs} is not installed"),
        format!("blob {blob} is attached and not here"),
    ] {
        assert!(said.contains(&word), "{word}: {said}");
    }

    // Where nothing is in the way, nothing is said.
    let mut server = Server::start(&here, &[]);
    let deleted = corelet(&here, &["context", "delete", "plans"]);
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(server.stop(), Some(0));
    let told = done(&here, &["context", "import", file]);
    assert_eq!(told["name"], "plans");
    assert_eq!(told["name_taken"], Value::Null);
    assert_eq!(told["application_installed"], true);
    assert_eq!(told["blobs_missing"], 0);
}

/// Its ledgers are those of the configuration, as when a server has them open.
#[test]
fn an_import_keeps_within_what_is_configured() {
    let home = tempfile::tempdir().expect("a directory");
    let [here, there] = ["here", "there"].map(|name| home.path().join(name));
    let mut server = Server::start(&here, &["--shards", "1"]);
    let client = server.client();
    let kv = client.install("kv");
    let context = client.create(&kv, Some("large"));
    let value = "0123456789abcdef".repeat(4 << 10);
    for n in 0..200 {
        set(&client, &context, &format!("key-{n}"), &value);
    }
    let file = home.path().join("large.clx");
    let file = file.to_str().expect("text");
    done(&here, &["context", "export", "large", "--to", file]);
    assert_eq!(server.stop(), Some(0));
    let mut server = Server::start(&there, &["--shards", "1"]);
    assert_eq!(server.stop(), Some(0));
    let config = home.path().join("corelet.toml");
    fs::write(&config, "[storage]\nmap_bytes_max = \"16 MiB\"\n").expect("a file");
    let config = config.to_str().expect("text");
    let full = corelet(&there, &["context", "import", file, "--config", config]);
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    let told = String::from_utf8_lossy(&full.stderr);
    assert!(told.contains("16777216"), "{told}");
    assert_eq!(done(&there, &["check"])["whole"], true);
    let told = done(&there, &["context", "import", file]);
    assert_eq!(told["id"], context);
}

#[test]
fn another_number_of_shards_changes_nothing_else() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let kv = client.install("kv");
    let contexts: Vec<String> = (0..6)
        .map(|n| client.create(&kv, Some(&format!("shop-{n}"))))
        .collect();
    contexts
        .iter()
        .for_each(|context| set(&client, context, "whose", context));
    let running = corelet(&data, &["reshard", "--shards", "3"]);
    assert_eq!(running.status.code(), Some(3), "{running:?}");
    assert_eq!(server.stop(), Some(0));
    let told = done(&data, &["reshard", "--shards", "3"]);
    assert_eq!((&told["before"], &told["shards"]), (&json!(1), &json!(3)));
    let mut server = Server::start(&data, &[]);
    let client = server.client();
    let (_, status) = client.get("/v1/status").expect("an answer");
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(3));
    for (n, context) in contexts.iter().enumerate() {
        assert_eq!(
            value(&client, &format!("shop-{n}"), "whose"),
            json!(context)
        );
    }
    assert_eq!(server.stop(), Some(0));
    assert_eq!(done(&data, &["check"])["whole"], true);
}

#[test]
fn a_check_tells_what_is_damaged_by_its_exit_code_too() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut server = Server::start(&data, &["--shards", "2"]);
    let client = server.client();
    let kv = client.install("kv");
    let context = client.create(&kv, Some("shop"));
    set(&client, &context, "needle", "a needle in a haystack");
    let running = corelet(&data, &["check"]);
    assert_eq!(running.status.code(), Some(3), "{running:?}");
    assert_eq!(server.stop(), Some(0));
    let told = done(&data, &["check"]);
    assert_eq!(
        (&told["whole"], &told["contexts"]),
        (&json!(true), &json!(1))
    );

    let component = data.join(format!("blobs/{kv}.wasm"));
    let kept = fs::read(&component).expect("the component");
    fs::write(&component, &kept[1..]).expect("damage");
    let damaged = corelet(&data, &["check", "-o", "json"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let told: Value = serde_json::from_slice(&damaged.stdout).expect("a document");
    assert_eq!(told["findings"][0]["what"], "component");
    fs::write(&component, kept).expect("repair");

    for shard in ["000", "001"] {
        let path = data.join(format!("shards/{shard}/data.mdb"));
        let mut bytes = fs::read(&path).expect("the ledger");
        let needle = b"a needle in a haystack";
        for at in 0..bytes.len() - needle.len() {
            if bytes[at..].starts_with(needle) {
                bytes[at] = b'A';
            }
        }
        fs::write(&path, bytes).expect("damage");
    }
    let damaged = corelet(&data, &["check"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let table = String::from_utf8_lossy(&damaged.stdout);
    assert!(
        table.contains(&context) && table.contains("checksum"),
        "{table}"
    );
}
