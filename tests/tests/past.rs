//! What is in a context, read from outside: now, and as it was after each of its changes; and
//! what readers are told of what is not kept any more.

use std::process::Command;

use corelet_tests::{Server, binary, wait_for};
use serde_json::{Value, json};

struct Stage {
    home: tempfile::TempDir,
    server: Server,
    context: String,
}

impl Stage {
    fn start(app: &str, settings: &str) -> Stage {
        let home = tempfile::tempdir().expect("a directory for data");
        let config = home.path().join("corelet.toml");
        std::fs::write(&config, settings).expect("a configuration");
        let config = config.to_str().expect("a path in UTF-8");
        let more = ["--shards", "2", "--config", config];
        let server = Server::start(&home.path().join("data"), &more);
        let client = server.client();
        let context = client.create(&client.install(app), None);
        Stage {
            home,
            server,
            context,
        }
    }

    /// Gives the delta that it has become.
    fn call(&self, method: &str, args: Value) -> String {
        let answer = self.server.client().call(&self.context, method, args);
        let answer = answer.expect("an answer");
        let delta = answer["result"]["delta_id"].as_str();
        delta.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The lines of an answer, without its first and its last.
    fn lines(&self, what: &str) -> (Vec<Value>, Value) {
        let (status, text) = self.get(what);
        assert_eq!(status, 200, "{text}");
        // An answer of one line is JSON.
        let text = text
            .as_str()
            .map_or_else(|| text.to_string(), str::to_owned);
        let parse = |line: &str| serde_json::from_str(line).expect("JSON");
        let mut lines: Vec<Value> = text.lines().map(parse).collect();
        let end = lines.pop().expect("a last line");
        assert_eq!(end["end"], true, "{end}");
        let head = lines.remove(0);
        (lines, head)
    }

    fn get(&self, what: &str) -> (u16, Value) {
        self.get_path(&format!("/v1/contexts/{}/{what}", self.context))
    }

    fn get_path(&self, path: &str) -> (u16, Value) {
        self.server.client().get(path).expect("an answer")
    }

    fn corelet(&self, args: &[&str]) -> String {
        let data = self.home.path().join("data");
        let done = Command::new(binary())
            .args(["--data-dir", data.to_str().expect("a path in UTF-8")])
            .args(args)
            .output()
            .expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        assert!(done.status.success(), "{}", text(done.stderr));
        text(done.stdout)
    }
}

/// What of it can be told without knowing how the SDK names things.
fn values(lines: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = lines.iter().filter(|line| line["kind"] == kind);
    of_kind.map(|line| line["value"].clone()).collect()
}

#[test]
fn a_context_is_read_as_it_was_after_each_of_its_changes() {
    let stage = Stage::start("docs", "");
    let write = |what: &str| stage.call("append", json!({ "title": "plan", "what": what }));
    let remark = |remark: &str| {
        let comment = json!({ "title": "plan", "at": 0, "count": 1, "remark": remark });
        stage.call("comment", comment)
    };
    let began = write("one ");
    let commented = remark("why");
    let went_on = write("two");
    let discarded = stage.call("discard", json!({ "title": "plan" }));
    let anew = write("again");
    let at = |delta: &str| stage.lines(&format!("entries?at={delta}")).0;
    let expected = [
        (&began, vec![json!("one ")], 0),
        (&commented, vec![json!("one ")], 1),
        (&went_on, vec![json!("one two")], 1),
        (&discarded, vec![], 0),
        (&anew, vec![json!("again")], 0),
    ];
    for (delta, texts, comments) in &expected {
        let then = at(delta);
        assert_eq!(values(&then, "text"), *texts, "{then:?}");
        let lists = values(&then, "list");
        assert_eq!(lists.len(), *comments, "{then:?}");
        for list in lists {
            assert_eq!(list[0]["remark"], "why");
        }
    }
    let (now, head) = stage.lines("entries");
    assert_eq!(now, at(&anew));
    let (_, info) = stage.get_path(&format!("/v1/contexts/{}", stage.context));
    assert_eq!(
        (&head["root"], &head["version"]),
        (&info["root"], &info["version"])
    );

    // The deltas say where to look.
    let (status, text) = stage.get("deltas?limit=4");
    assert_eq!(status, 200);
    let lines = text.as_str().expect("lines").lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let found: Vec<_> = lines[..4]
        .iter()
        .map(|line| line["delta"].as_str())
        .collect();
    let newest = [&anew, &discarded, &went_on, &commented];
    assert_eq!(found, newest.map(|delta| Some(delta.as_str())));
    assert_eq!(lines[0]["parents"], json!([discarded]));
    assert_eq!(lines[4], json!({ "end": true, "count": 4 }));

    let shown = stage.corelet(&["context", "entries", &stage.context, "--at", &began]);
    assert!(shown.contains("one "), "{shown}");
    let shown = stage.corelet(&["context", "deltas", &stage.context, "--limit", "1"]);
    assert!(
        shown.starts_with(&anew) && shown.lines().count() == 1,
        "{shown}"
    );
    let space = [
        "context",
        "entries",
        &stage.context,
        "--space",
        "private",
        "-o",
        "json",
    ];
    assert_eq!(stage.corelet(&space).lines().count(), 2);

    for (query, status) in [
        ("at=none", 400),
        ("space=outer", 400),
        ("from=1", 400),
        (&*format!("at={}", stage.context), 404),
    ] {
        assert_eq!(stage.get(&format!("entries?{query}")).0, status, "{query}");
    }
}

#[test]
fn entries_are_found_by_what_their_keys_begin_with() {
    let stage = Stage::start("kv", "");
    for key in ["a/1", "a/2", "b&=%/\u{fc}"] {
        stage.call("set", json!({ "key": key, "value": "v" }));
    }
    let (all, _) = stage.lines("entries");
    assert_eq!(all.len(), 3);
    for line in &all {
        let key = line["key"].as_str().expect("a text");
        let in_url: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (found, _) = stage.lines(&format!("entries?prefix={in_url}"));
        assert_eq!(found, std::slice::from_ref(line));
    }
    let shown = stage.corelet(&["context", "entries", &stage.context, "--prefix", "no such"]);
    assert_eq!(shown, "");
    let key = all[0]["key"].as_str().expect("a text");
    let begin = key
        .split(|c: char| c.is_control())
        .next()
        .unwrap_or_default();
    let shown = stage.corelet(&["context", "entries", &stage.context, "--prefix", begin]);
    assert!(shown.contains("a/1") && !shown.contains('\0'), "{shown}");
}

/// What is gone is told of, not passed over.
#[test]
fn a_reader_that_is_behind_is_told_of_the_gap() {
    let stage = Stage::start("chat", "[collector]\nevery = \"100 ms\"\nevents_max = 10\n");
    let count = 200_u64;
    for n in 1..=count {
        stage.call("append", json!({ "message": n.to_string() }));
    }
    let page = wait_for("the collector to drop events", || {
        let (status, page) = stage.get("events?after=2&limit=100");
        assert_eq!(status, 200, "{page}");
        (!page["gap"].is_null()).then_some(page)
    });
    assert_eq!(page["gap"]["from"], 3);
    let kept = page["gap"]["to"].as_u64().expect("a number") + 1;
    let events = page["events"].as_array().expect("a list");
    assert_eq!(events[0]["sequence"], kept);
    assert_eq!(events[0]["payload"]["text"], kept.to_string());
    // Who is not behind is told of none.
    let (_, page) = stage.get(&format!("events?after={count}&limit=1"));
    assert!(page["gap"].is_null(), "{page}");
    let shown = stage.corelet(&["events", &stage.context, "--after", "2", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["gap"]["from"], 3);
}

/// The text's first edits go with the history, and all that is left of it when it is discarded.
#[test]
fn a_text_that_is_not_retained_keeps_nothing_else_from_being_read() {
    let settings = "[collector]\nevery = \"100 ms\"\nhistory_max = 10\n";
    let stage = Stage::start("docs", settings);
    let write = |title: &str| stage.call("append", json!({ "title": title, "what": "x" }));
    let begun = write("a plan");
    let mut count = 0;
    wait_for("the first delta to go", || {
        write("zeal");
        count += 1;
        (stage.get(&format!("entries?at={begun}")).0 != 200).then_some(())
    });
    let before = write("zeal");
    count += 1;
    stage.call("discard", json!({ "title": "a plan" }));
    let (plan, others) = wait_for("the text's edits to go", || {
        let (lines, _) = stage.lines(&format!("entries?at={before}"));
        let is_gone = |line: &&Value| line["not_retained"] == true;
        let plan = lines.iter().find(is_gone)?.clone();
        Some((plan, lines))
    });
    assert_eq!(plan["kind"], "text");
    assert!(plan["value"].is_null(), "{plan}");
    assert_eq!(
        values(&others, "text"),
        [Value::Null, "x".repeat(count).into()]
    );
}
