//! What applications do at moments of a context's life beyond upgrades, through the real server:
//! they look at updates before these are queued, are told that the server stops, and that an
//! instance's memory has grown.

#![expect(
    clippy::disallowed_methods,
    reason = "clients that wait for their answers have threads of their own"
)]

use std::path::Path;
use std::thread;

use corelet_tests::{Client, Doing, Server, Upgradable, made, wait_for};
use serde_json::{Value, json};

/// An update of so many bytes runs for a good while, and one that looks at it lets it pass.
const LONG: usize = 2_500;

/// More than such a one lets pass.
const TOO_LONG: usize = 3_100;

const PATIENT: &str = "[limits]\nupdate_fuel_max = 100000000000\nquery_fuel_max = 100000000000\n";

fn start(home: &Path, settings: &str) -> Server {
    let config = home.join("corelet.toml");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    Server::start(&home.join("data"), &["--shards", "1", "--config", config])
}

fn version(letter: char, hooks: Vec<(&'static str, Doing)>) -> Vec<u8> {
    let version = Upgradable {
        letter,
        own: "once",
        turned: letter == '2',
        schema_version: None,
        hooks,
    };
    version.component()
}

fn call(client: &Client, context: &str, method: &str, length: usize) -> Value {
    let args = json!({ "x": "x".repeat(length) });
    client.call(context, method, args).expect("an answer")
}

fn output(answer: &Value) -> &str {
    let output = answer["result"]["output"].as_str();
    output.unwrap_or_else(|| panic!("{answer}"))
}

fn written(client: &Client, context: &str) -> String {
    output(&call(client, context, "read", 0)).to_owned()
}

fn name(answer: &Value) -> &str {
    answer["error"]["data"]["name"].as_str().unwrap_or("none")
}

fn figure(client: &Client, name: &str) -> u64 {
    client.metric(&format!("corelet_{name}{{shard=\"0\"}}"))
}

fn until_waiting(client: &Client, count: u64) {
    wait_for("calls to wait", || {
        (figure(client, "waiting_calls") >= count).then_some(())
    });
}

/// Its lines, each with the method that it is told of.
fn lines(client: &Client, context: &str) -> Vec<(String, String)> {
    let (_, logs) = client
        .get(&format!("/v1/contexts/{context}/logs"))
        .expect("an answer");
    let text = |line: &Value, member: &str| line[member].as_str().expect("text").to_owned();
    let lines = logs["lines"].as_array().expect("a list").iter();
    lines
        .map(|line| (text(line, "method"), text(line, "message")))
        .collect()
}

/// It is told so although the context is busy, and queries are nobody's business.
#[test]
fn what_an_application_refuses_at_sight_never_waits() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), PATIENT);
    let client = server.client();
    let looking = client.install_component(&version('1', vec![("inspect", Doing::Looks)]));
    let context = client.create(&looking, None);
    let busy = {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || call(&client, &context, "slow", LONG))
    };
    until_waiting(&client, 1);
    let refused = call(&client, &context, "slow", TOO_LONG);
    assert!(!busy.is_finished(), "it has waited for its turn");
    assert_eq!(name(&refused), "inspection_refused", "{refused}");
    assert_eq!(refused["error"]["data"]["error"], "no");
    assert_eq!(output(&call(&client, &context, "turn", TOO_LONG)), "1");
    assert_eq!(output(&busy.join().expect("it ends")), "1");
    assert_eq!(written(&client, &context), "18");
    assert_eq!(figure(&client, "inspections_total"), 2);
    assert_eq!(figure(&client, "inspections_refused_total"), 1);
    let path = format!("/v1/contexts/{context}/statistics");
    let (_, statistics) = client.get(&path).expect("an answer");
    let rows = statistics["methods"].as_array().expect("a list");
    let slow = rows.iter().find(|row| row["method"] == "slow");
    let slow = slow.expect("it was called");
    assert_eq!(slow["calls"], 2);
    assert_eq!(slow["failures"]["refused"], 1, "{slow}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Each call takes longer to be looked at the longer it is, tells of itself, and is refused if
/// it is marked.
const ORDERLY: &str = r#"
(func $call (param i32 i32 i32 i32) (result i32)
  (call $emit (i32.const 256) (i32.const 5) (local.get 2) (local.get 3))
  (call $ok-null))
(func (export "inspect") (param i32 i32) (param $args i32) (param $length i32) (result i32)
  (local $rounds i32)
  (local.set $rounds (i32.mul (local.get $length) (i32.const 30)))
  (loop $again
    (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
    (br_if $again (i32.gt_s (local.get $rounds) (i32.const 0))))
  ;; {"no":…
  (if (i32.eq (i32.load8_u offset=2 (local.get $args)) (i32.const 0x6e)) (then
    (return (call $err (local.get $args) (local.get $length)))))
  (call $ok-null))
"#;

/// Batches of several clients, of calls of which some take a hundred times as long to be looked at as
/// others: what each has sent runs in the order in which it was sent, and what is refused does not.
#[test]
fn updates_run_in_the_order_in_which_they_came_however_long_each_look_takes() {
    const CLIENTS: usize = 3;
    const BATCHES: usize = 8;
    const CALLS: usize = 40;
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let context = client.create(&client.install_component(&made::framed(ORDERLY)), None);
    thread::scope(|scope| {
        for who in 0..CLIENTS {
            let (client, context) = (server.client(), &context);
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let request = |at: usize| {
                        let length = if at.is_multiple_of(3) { 3_000 } else { 10 };
                        let mark = if at % 7 == 6 { "no" } else { "at" };
                        let args =
                            json!({ mark: [who, batch * CALLS + at], "x": "x".repeat(length) });
                        json!({
                            "jsonrpc": "2.0", "id": at, "method": "execute",
                            "params": { "context_id": context, "method": "run", "args": args },
                        })
                    };
                    let body: Vec<Value> = (0..CALLS).map(request).collect();
                    let (_, answers) = client
                        .post("/rpc", Value::from(body).to_string().as_bytes())
                        .expect("an answer");
                    for answer in answers.as_array().expect("a list") {
                        let at = answer["id"].as_u64().expect("a number");
                        let expected = if at % 7 == 6 {
                            "inspection_refused"
                        } else {
                            "none"
                        };
                        assert_eq!(name(answer), expected, "{answer}");
                    }
                }
            });
        }
    });
    let mut came: Vec<Vec<u64>> = vec![Vec::new(); CLIENTS];
    let mut after = 0;
    loop {
        let path = format!("/v1/contexts/{context}/events?after={after}&limit=100");
        let (_, page) = client.get(&path).expect("an answer");
        let events = page["events"].as_array().expect("a list");
        let Some(last) = events.last() else { break };
        after = last["sequence"].as_u64().expect("a number");
        for event in events {
            let at = &event["payload"]["at"];
            let who = at[0].as_u64().expect("a client") as usize;
            came[who].push(at[1].as_u64().expect("a number"));
        }
    }
    let all = (0..(BATCHES * CALLS) as u64).filter(|at| at % CALLS as u64 % 7 != 6);
    let expected: Vec<u64> = all.collect();
    for came in came {
        assert_eq!(came, expected);
    }
    let calls = (CLIENTS * BATCHES * CALLS) as u64;
    assert_eq!(figure(&client, "inspections_total"), calls);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What waits for a look counts as what waits for a turn does.
#[test]
fn so_many_wait_to_be_looked_at() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("{PATIENT}\n[shards]\ncontext_waiting_max = 2\n");
    let mut server = start(home.path(), &settings);
    let client = server.client();
    let looking = client.install_component(&version('1', vec![("inspect", Doing::Looks)]));
    let context = client.create(&looking, None);
    let ask = |length: usize| {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || call(&client, &context, "slow", length))
    };
    let busy = ask(LONG);
    until_waiting(&client, 1);
    let next = ask(1);
    until_waiting(&client, 2);
    // Before anybody looks at it, or it would be refused for its length.
    let refused = call(&client, &context, "slow", TOO_LONG);
    assert_eq!(name(&refused), "busy", "{refused}");
    assert_eq!(
        refused["error"]["data"]["limit"],
        "shards.context_waiting_max"
    );
    for asked in [busy, next] {
        assert_eq!(output(&asked.join().expect("it ends")), "1");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// It lets an update pass once.
const ONCE: &str = r#"
(func $call (param i32 i32 i32 i32) (result i32)
  (call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
  (call $ok-null))
(func (export "inspect") (param i32 i32 i32 i32) (result i32)
  (call $write (i32.const 2) (i32.const 256) (i32.const 5))
  (call $get (i32.const 256) (i32.const 5) (i32.const 400))
  (if (i32.load8_u (i32.const 400)) (then (return (call $err (i32.const 272) (i32.const 4)))))
  (call $ok-null))
"#;

/// It sees what is durable: its own answer's effects among that. And what it logs is told under its
/// own name.
#[test]
fn a_key_is_answered_as_before_without_another_look() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let context = client.create(&client.install_component(&made::framed(ONCE)), None);
    let ask = |key: &str| {
        let params = json!({
            "context_id": context, "method": "run", "args": {}, "idempotency_key": key,
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute", "params": params });
        let (_, answer) = client
            .post("/rpc", body.to_string().as_bytes())
            .expect("an answer");
        answer
    };
    let first = ask("a");
    assert!(first["result"]["delta_id"].is_string(), "{first}");
    assert_eq!(ask("a"), first);
    assert_eq!(figure(&client, "inspections_total"), 1);
    for looks in [2, 3] {
        // Nothing is kept of what was refused.
        assert_eq!(name(&ask("b")), "inspection_refused");
        assert_eq!(figure(&client, "inspections_total"), looks);
    }
    assert_eq!(ask("a"), first);
    let line = ("inspect".to_owned(), "guest".to_owned());
    assert_eq!(lines(&client, &context), vec![line; 3]);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What waits among the updates when the new version comes has passed; a query that turns out to be
/// an update has not.
#[test]
fn what_is_queued_across_an_upgrade_is_not_looked_at_again() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("{PATIENT}\n[shards]\ncontext_queries_max = 1\n");
    let mut server = start(home.path(), &settings);
    let client = server.client();
    let [old, new] = [
        version('1', Vec::new()),
        version('2', vec![("inspect", Doing::Looks)]),
    ]
    .map(|component| client.install_component(&component));
    let context = client.create(&old, None);
    let ask = |method: &'static str, length: usize| {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || call(&client, &context, method, length))
    };
    // One at a time: `turn` waits behind it, as the query that it is in the old version.
    let lingering = ask("wait", 4 * LONG);
    until_waiting(&client, 1);
    let turned = ask("turn", TOO_LONG);
    until_waiting(&client, 2);
    let busy = ask("slow", LONG);
    until_waiting(&client, 3);
    let upgrading = {
        let (client, context) = (server.client(), context.clone());
        thread::spawn(move || {
            let path = format!("/v1/contexts/{context}/upgrade");
            let body = json!({ "application": new }).to_string();
            let (status, _, answer) = client
                .send("POST", &path, &[], body.as_bytes())
                .expect("an answer");
            (status, answer)
        })
    };
    until_waiting(&client, 4);
    let queued = ask("slow", TOO_LONG);
    until_waiting(&client, 5);
    assert_eq!(output(&busy.join().expect("it ends")), "1");
    let (status, upgraded) = upgrading.join().expect("it ends");
    assert_eq!(status, 200, "{upgraded}");
    assert_eq!(output(&queued.join().expect("it ends")), "2");
    assert_eq!(output(&lingering.join().expect("it ends")), "1");
    let turned = turned.join().expect("it ends");
    assert_eq!(name(&turned), "inspection_refused", "{turned}");
    assert_eq!(output(&call(&client, &context, "turn", 1)), "2");
    assert_eq!(
        name(&call(&client, &context, "turn", TOO_LONG)),
        "inspection_refused"
    );
    server.kill();
}

/// Contexts that have an instance are told, and what they write is durable; the others are not.
#[test]
fn a_context_that_is_told_of_the_stop_may_write_and_finds_it_again() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), "");
    let client = server.client();
    let telling = client.install_component(&version('1', vec![("stop", Doing::Writes)]));
    let silent = client.install_component(&version('1', Vec::new()));
    let [called, not_called] = [0, 1].map(|_| client.create(&telling, None));
    let without = client.create(&silent, None);
    for context in [&called, &without] {
        assert_eq!(output(&call(&client, context, "slow", 1)), "1");
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let log = server.log();
    let told = log.matches("contexts were told that the server stops");
    assert_eq!(told.count(), 1, "{log}");

    let mut server = start(home.path(), "");
    let client = server.client();
    assert_eq!(written(&client, &called), "1s");
    assert_eq!(written(&client, &without), "1");
    assert_eq!(written(&client, &not_called), "");
    // Whoever is killed tells nobody.
    server.kill();
    let mut server = start(home.path(), "");
    let client = server.client();
    assert_eq!(written(&client, &called), "1s");
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    // Nobody is told whose time is none.
    let settings = "[process]\nstop_hooks_timeout = \"0 ms\"\n";
    let mut server = start(home.path(), settings);
    let client = server.client();
    assert_eq!(written(&client, &called), "1ss");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let mut server = start(home.path(), settings);
    assert_eq!(written(&server.client(), &called), "1ss");
    server.kill();
}

/// One loops, one traps, one says no, and all have written before: the server stops in order, and nothing
/// is left of them.
#[test]
fn a_stop_waits_for_no_context_that_makes_trouble_of_it() {
    let doings = [Doing::Writes, Doing::Loops, Doing::Traps, Doing::SaysNo];
    // By the fuel of one, and by the time of all.
    for settings in [
        "[limits]\nstop_fuel_max = 200000\n",
        "[limits]\nstop_fuel_max = 1000000000000000\n[process]\nstop_hooks_timeout = \"500 ms\"\n",
    ] {
        let home = tempfile::tempdir().expect("a directory");
        let mut server = start(home.path(), settings);
        let client = server.client();
        let contexts = doings.map(|doing| {
            let component = version('1', vec![("stop", doing)]);
            client.create(&client.install_component(&component), None)
        });
        for context in &contexts {
            assert_eq!(output(&call(&client, context, "slow", 1)), "1");
        }
        assert_eq!(server.stop(), Some(0), "{}", server.log());
        let log = server.log();
        let failed = log.matches("a context was told that the server stops, and has failed");
        assert_eq!(failed.count(), 3, "{log}");
        let by_fuel = settings.contains("200000\n");
        assert_eq!(log.contains("stop_fuel_max)"), by_fuel, "{log}");

        let mut server = start(home.path(), settings);
        let client = server.client();
        let expected = ["1s", "1", "1", "1"];
        for (context, expected) in contexts.iter().zip(expected) {
            assert_eq!(written(&client, context), expected);
        }
        server.kill();
    }
}

/// Each call keeps another MiB in memory, of what it has let go of if there is any.
const HOARDING: &str = r#"
(global $free-pieces (mut i32) (i32.const 0))
(func $call (param i32 i32 i32 i32) (result i32)
  (if (global.get $free-pieces)
    (then (global.set $free-pieces (i32.sub (global.get $free-pieces) (i32.const 1))))
    (else
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))))
  (call $ok-null))
(func (export "low-memory") (result i32)
  (call $write (i32.const 2) (i32.const 256) (i32.const 5))
  (global.set $free-pieces (i32.const 1000))
  (call $ok-null))
"#;

#[test]
fn an_instance_whose_memory_grows_is_told_and_may_let_go_of_some() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[limits]\nmemory_bytes_max = \"4 MiB\"\nlow_memory_share = 50\n";
    let mut server = start(home.path(), settings);
    let client = server.client();
    let wary = client.install_component(&made::framed(HOARDING));
    let careless = HOARDING.replace("(func (export \"low-memory\")", "(func $nobody");
    let careless = client.install_component(&made::framed(&careless));
    let [wary, careless] = [wary, careless].map(|application| client.create(&application, None));
    let run = |context: &str| call(&client, context, "run", 0);
    for _ in 0..20 {
        let answer = run(&wary);
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert_eq!(figure(&client, "low_memory_told_total"), 1);
    assert_eq!(figure(&client, "low_memory_failed_total"), 0);
    let told = ("low-memory".to_owned(), "guest".to_owned());
    assert_eq!(lines(&client, &wary), [told]);

    let first = (0..20)
        .map(|_| run(&careless))
        .find(|it| name(it) != "none");
    let first = first.expect("its memory ends");
    assert_eq!(name(&first), "out_of_memory", "{first}");
    assert_eq!(figure(&client, "low_memory_told_total"), 1);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What it does when it is told is none of its callers' business.
#[test]
fn an_instance_that_fails_when_it_is_told_goes_and_its_call_is_answered() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[limits]\nmemory_bytes_max = \"4 MiB\"\nlow_memory_share = 20\n";
    let mut server = start(home.path(), settings);
    let client = server.client();
    let tell = "(func (export \"low-memory\") (result i32)";
    for (does, says) in [
        (
            "(loop $again (br $again)) unreachable",
            "low_memory_fuel_max",
        ),
        ("unreachable", "trapped"),
        (
            "(call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4)) (call $ok-null)",
            "a query tried to write",
        ),
    ] {
        let (guest, _) = HOARDING.split_once(tell).expect("it has one");
        let guest = format!("{guest}{tell} {does})");
        let application = client.install_component(&made::framed(&guest));
        let context = client.create(&application, None);
        let failed = figure(&client, "low_memory_failed_total");
        for _ in 0..8 {
            // Each in an instance of its own.
            let answer = call(&client, &context, "run", 0);
            assert!(answer["result"].is_object(), "{says}: {answer}");
        }
        assert_eq!(figure(&client, "low_memory_failed_total"), failed + 8);
        let lines = lines(&client, &context);
        assert_eq!(lines.len(), 8, "{lines:?}");
        for (method, message) in lines {
            assert_eq!(method, "low-memory");
            assert!(message.contains(says), "{message}");
        }
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
