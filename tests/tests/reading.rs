//! What a context has told and logged, read from outside: its durable events in pages that
//! can be resumed, and its guests' lines with those of failed calls; over HTTP and by
//! the command line.

use std::process::Command;

use corelet_tests::{Server, binary, made};
use serde_json::{Value, json};

/// Tells and logs its arguments; if these are long it fails behind that.
const GUEST: &str = "(func $call (param i32 i32 i32 i32) (result i32)
    (call $emit (i32.const 256) (i32.const 5) (local.get 2) (local.get 3))
    (call $write (i32.const 2) (local.get 2) (local.get 3))
    (if (i32.gt_u (local.get 3) (i32.const 20)) (then unreachable))
    (call $ok-null))";

struct Stage {
    home: tempfile::TempDir,
    server: Server,
    context: String,
}

impl Stage {
    fn start(settings: &str) -> Stage {
        let home = tempfile::tempdir().expect("a directory for data");
        let config = home.path().join("corelet.toml");
        std::fs::write(&config, settings).expect("a configuration");
        let config = config.to_str().expect("a path in UTF-8");
        let more = ["--shards", "2", "--config", config];
        let server = Server::start(&home.path().join("data"), &more);
        let client = server.client();
        let context = client.create(&client.install_component(&made::framed(GUEST)), None);
        Stage {
            home,
            server,
            context,
        }
    }

    fn say(&self, args: Value) -> Value {
        let client = self.server.client();
        client.call(&self.context, "run", args).expect("an answer")
    }

    fn get(&self, what: &str) -> (u16, Value) {
        let path = format!("/v1/contexts/{}/{what}", self.context);
        self.server.client().get(&path).expect("an answer")
    }

    fn corelet(&self, args: &[&str]) -> (String, String) {
        let data = self.home.path().join("data");
        let done = Command::new(binary())
            .env("CORELET_DATA_DIR", data)
            .args(args)
            .output()
            .expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        assert!(done.status.success(), "{}", text(done.stderr));
        (text(done.stdout), text(done.stderr))
    }
}

fn payloads(page: &Value) -> Vec<Value> {
    let events = page["events"].as_array().expect("a list").iter();
    events.map(|event| event["payload"].clone()).collect()
}

#[test]
fn events_are_read_in_pages_and_resumed_across_a_kill() {
    let mut stage = Stage::start("");
    let (status, page) = stage.get("events");
    assert_eq!(status, 200, "{page}");
    assert_eq!(page, json!({ "events": [], "next": 0, "last": 0 }));
    for n in 1..=5 {
        let answer = stage.say(json!({ "n": n }));
        assert!(answer["result"].is_object(), "{answer}");
        // What was answered can be read, though it be in no checkpoint yet.
        let (_, page) = stage.get(&format!("events?after={}", n - 1));
        assert_eq!(payloads(&page), [json!({ "n": n })]);
        assert_eq!(page["events"][0]["delta_id"], answer["result"]["delta_id"]);
    }
    let failed = stage.say(json!({ "too long": "to be allowed" }));
    assert_eq!(failed["error"]["data"]["name"], "trapped", "{failed}");
    let (_, page) = stage.get("events?limit=2");
    assert_eq!((&page["next"], &page["last"]), (&json!(2), &json!(5)));
    assert_eq!(page["events"][1]["sequence"], 2);
    assert_eq!(page["events"][1]["kind"], "guest");
    assert!(page["events"][1]["time_unix_ms"].as_u64() > Some(1_700_000_000_000));

    stage.server.kill();
    let data = stage.home.path().join("data");
    stage.server = Server::start(&data, &[]);
    let (_, page) = stage.get("events?after=2");
    assert_eq!(payloads(&page), [3, 4, 5].map(|n| json!({ "n": n })));
    assert_eq!(page["next"], 5);
    let (_, page) = stage.get("events?after=5");
    assert_eq!(page, json!({ "events": [], "next": 5, "last": 5 }));
    stage.say(json!({ "n": 6 }));
    let (_, page) = stage.get("events?after=5");
    assert_eq!(payloads(&page), [json!({ "n": 6 })]);

    for (query, parameter) in [
        ("after=7", "after"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("from=1", "from"),
    ] {
        let (status, problem) = stage.get(&format!("events?{query}"));
        assert_eq!(status, 400, "{problem}");
        assert_eq!(problem["parameter"], parameter, "{problem}");
    }
    let unknown = stage.server.client().get("/v1/contexts/nobody/events");
    assert_eq!(unknown.expect("an answer").0, 404);

    let (shown, said) = stage.corelet(&["events", &stage.context, "--after", "4", "--limit", "1"]);
    assert!(
        shown.contains("SEQUENCE") && shown.contains("{\"n\":5}"),
        "{shown}"
    );
    assert!(said.contains("there are more: --after 5"), "{said}");
    let (shown, _) = stage.corelet(&["events", &stage.context, "--after", "5", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown, stage.get("events?after=5").1);
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
}

/// It has come further than the backup: what is told after the restore must not look like what it has.
#[test]
fn a_reader_of_before_a_restore_is_told_of_a_gap_and_misses_nothing() {
    let mut stage = Stage::start("");
    let say = |stage: &Stage, numbers: std::ops::RangeInclusive<u64>| {
        for n in numbers {
            stage.say(json!({ "n": n }));
        }
    };
    say(&stage, 1..=3);
    let backup = stage.home.path().join("backup");
    let backup = backup.to_str().expect("a path in UTF-8").to_owned();
    stage.corelet(&["backup", &backup, "--with-keys"]);
    say(&stage, 4..=5);
    let (_, page) = stage.get("events");
    assert_eq!(page["next"], 5);
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());

    let mut reader = 5;
    for (times, told) in [(1, 6..=9), (2, 10..=20)] {
        let restored = stage.home.path().join(format!("restored-{times}"));
        let path = restored.to_str().expect("a path in UTF-8");
        stage.corelet(&["--data-dir", path, "restore", &backup]);
        stage.server = Server::start(&restored, &["--shards", "2"]);
        say(&stage, told.clone());
        let (_, page) = stage.get(&format!("events?after={reader}"));
        let expected: Vec<Value> = (1..=3).chain(told).map(|n| json!({ "n": n })).collect();
        assert_eq!(payloads(&page), expected, "what came along, and all since");
        assert_eq!(page["gap"]["from"], reader + 1);
        let first = page["events"][0]["sequence"].as_u64().expect("a number");
        assert_eq!(page["gap"]["to"], first - 1);
        reader = page["next"].as_u64().expect("a number");
        assert!(reader < 1 << 53, "{reader} is not exact in JSON");
        assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
    }
}

#[test]
fn what_guests_log_is_read_with_the_lines_of_failed_calls() {
    let mut stage = Stage::start("[shards]\nguest_log_lines_max = 3\n");
    let (status, found) = stage.get("logs");
    assert_eq!((status, &found["lines"]), (200, &json!([])), "{found}");
    assert!(stage.say(json!({ "n": 1 }))["result"].is_object());
    let failed = stage.say(json!({ "too long": "to be allowed" }));
    assert_eq!(failed["error"]["data"]["name"], "trapped", "{failed}");
    let (_, found) = stage.get("logs");
    let lines = found["lines"].as_array().expect("a list");
    let shown: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!([
                line["level"],
                line["method"],
                line["outcome"],
                line["message"]
            ])
        })
        .collect();
    let expected = [
        json!(["info", "run", "ok", "{\"n\":1}"]),
        json!(["info", "run", "failed", "{\"too long\":\"to be allowed\"}"]),
    ];
    assert_eq!(shown, expected);
    assert!(lines[0]["time_unix_ms"].as_u64() > Some(1_700_000_000_000));

    // Whoever has read so far reads on, and is told when that is not possible.
    let next = found["next"].as_u64().expect("a number");
    for n in 2..=4 {
        stage.say(json!({ "n": n }));
    }
    let (_, found) = stage.get(&format!("logs?after={next}"));
    assert_eq!(found["lines"].as_array().map(Vec::len), Some(3));
    assert_eq!(found["cut"], false);
    stage.say(json!({ "n": 5 }));
    let (_, found) = stage.get(&format!("logs?after={next}"));
    assert_eq!(found["lines"].as_array().map(Vec::len), Some(3));
    assert_eq!(found["cut"], true);
    let (status, problem) = stage.get("logs?limit=1");
    assert_eq!(status, 400, "{problem}");

    let (shown, _) = stage.corelet(&["logs", &stage.context]);
    assert!(
        shown.contains("OUTCOME") && shown.contains("{\"n\":5}"),
        "{shown}"
    );
    let (shown, _) = stage.corelet(&["logs", &stage.context, "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown, stage.get("logs").1);

    // They are of the process and of the context, and of nothing else.
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
    let data = stage.home.path().join("data");
    stage.server = Server::start(&data, &[]);
    let (_, found) = stage.get(&format!("logs?after={next}"));
    assert_eq!((&found["lines"], &found["cut"]), (&json!([]), &json!(true)));
    stage.say(json!({ "n": 6 }));
    let client = stage.server.client();
    let path = format!("/v1/contexts/{}", stage.context);
    assert_eq!(client.delete(&path).expect("an answer").0, 204);
    assert_eq!(stage.get("logs").0, 404);
    assert_eq!(stage.server.stop(), Some(0), "{}", stage.server.log());
}
