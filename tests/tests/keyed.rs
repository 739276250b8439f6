//! Calls with an idempotency key through the real server: sent again they are told the
//! same and run once, whether the first has ended, is on its way, or its server was killed
//! in the middle of it.
//!
//! `CORELET_KEYED_KILLS` sets how often it is killed (40).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use corelet_store::{DataDir, Ledger, LedgerConfig, NodeId, OpenOptions, ShardCount};
use corelet_tests::{Client, Server, binary, free_address, made};
use serde_json::{Value, json};

/// Checkpoints come often enough to be hit, and nothing that was answered is forgotten.
const CONFIG: &str = "[storage]\njournal_bytes_max = \"64 KiB\"\nanswers_max = 1_000_000\nanswers_bytes_max = \"1 GiB\"\n";

fn request(context: &str, method: &str, args: &Value, key: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "execute",
        "params": { "context_id": context, "method": method, "args": args, "idempotency_key": key },
    })
}

fn call(client: &Client, context: &str, method: &str, args: &Value, key: &str) -> Value {
    let body = request(context, method, args, key).to_string();
    client.post("/rpc", body.as_bytes()).expect("an answer").1
}

fn count(client: &Client, context: &str) -> Value {
    let answer = client.call(context, "get", json!({})).expect("an answer");
    answer["result"]["output"].clone()
}

/// The figures of /metrics whose lines begin so, together.
fn figure(client: &Client, begin: &str) -> u64 {
    let (_, page) = client.get("/metrics").expect("an answer");
    let lines = page.as_str().expect("a page of text").lines();
    let of_it: Vec<_> = lines.filter(|line| line.starts_with(begin)).collect();
    assert!(!of_it.is_empty(), "{begin} is missing");
    let figures = of_it.iter().filter_map(|line| line.rsplit(' ').next());
    figures
        .map(|figure| figure.parse::<u64>().expect("a number"))
        .sum()
}

#[test]
fn an_update_with_a_key_runs_once_and_is_told_the_same_across_a_kill() {
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = Server::start(home.path(), &["--shards", "2"]);
    let client = server.client();
    let counter = client.install("counter");
    let context = client.create(&counter, None);
    let other = client.create(&counter, None);
    let increment = |client: &Client, context: &str, by: i64, key: &str| {
        call(client, context, "increment", &json!({ "by": by }), key)
    };
    let first = increment(&client, &context, 5, "a");
    assert_eq!(first["result"]["output"], 5, "{first}");
    assert_eq!(increment(&client, &context, 5, "a"), first);
    assert_eq!(increment(&client, &other, 5, "a")["result"]["output"], 5);
    let later = increment(&client, &context, 1, "b");
    assert_eq!(later["result"]["output"], 6);

    // The command line says it in the same bytes.
    let data = home.path().to_str().expect("a path in UTF-8");
    let told = Command::new(binary())
        .args([
            "--data-dir",
            data,
            "call",
            &context,
            "increment",
            "{\"by\":5}",
        ])
        .args(["--idempotency-key", "a"])
        .output()
        .expect("the binary starts");
    assert_eq!(told.stdout, b"5\n", "{told:?}");

    // It is refused when it is another call, and when it is a query.
    for reused in [
        increment(&client, &context, 6, "a"),
        call(&client, &context, "reset", &json!({}), "a"),
    ] {
        assert_eq!(
            reused["error"]["data"]["name"], "idempotency_key_reused",
            "{reused}"
        );
    }
    let query = call(&client, &context, "get", &json!({}), "c");
    assert_eq!(
        query["error"]["data"]["parameter"], "idempotency_key",
        "{query}"
    );

    // The application's own error is an answer, too.
    let most = increment(&client, &context, i64::MAX, "no");
    assert_eq!(most["error"]["data"]["error"]["code"], "overflow", "{most}");
    let minus = increment(&client, &context, -6, "minus");
    assert_eq!(minus["result"]["output"], 0);
    assert_eq!(
        increment(&client, &context, i64::MAX, "no"),
        most,
        "now it would fit, and it does not run again"
    );

    server.kill();
    let mut server = Server::start(home.path(), &[]);
    let client = server.client();
    assert_eq!(increment(&client, &context, 5, "a"), first);
    assert_eq!(increment(&client, &context, 1, "b"), later);
    assert_eq!(increment(&client, &context, i64::MAX, "no"), most);
    assert_eq!(count(&client, &context), 0);
    assert_eq!(figure(&client, "corelet_replays_total{"), 3);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Their number is a bound of its own, and the operator is told that it was reached first.
#[test]
fn a_key_whose_answer_made_room_for_others_runs_again_and_that_is_counted() {
    let home = tempfile::tempdir().expect("a directory for data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, "[storage]\nanswers_max = 3\n").expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let more = ["--shards", "1", "--config", config];
    let data = home.path().join("data");
    let mut server = Server::start(&data, &more);
    let client = server.client();
    let context = client.create(&client.install("counter"), None);
    let increment = |client: &Client, key: &str| {
        let answer = call(client, &context, "increment", &json!({}), key);
        answer["result"]["output"].as_u64().expect("a number")
    };
    let all = ["a", "b", "c"];
    let early = |client: &Client| figure(client, "corelet_answers_dropped_early_total{");
    assert_eq!(all.map(|key| increment(&client, key)), [1, 2, 3]);
    assert_eq!(all.map(|key| increment(&client, key)), [1, 2, 3]);
    assert_eq!(early(&client), 0);
    assert_eq!(increment(&client, "d"), 4);
    assert_eq!(early(&client), 1);
    assert_eq!(figure(&client, "corelet_answers_expired_total{"), 0);
    // Until the next checkpoint snapshots still show what has gone.
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let mut server = Server::start(&data, &more);
    let client = server.client();
    assert_eq!(early(&client), 0);
    assert_eq!(increment(&client, "d"), 4);
    assert_eq!(increment(&client, "a"), 5, "nobody knows that it has run");
    assert_eq!(early(&client), 1);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// It has left no trace, so there is nothing that a second run could do twice.
#[test]
fn a_call_that_was_stopped_leaves_its_key_free() {
    let home = tempfile::tempdir().expect("a directory for data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, "[limits]\nupdate_fuel_max = 100_000_000\n").expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = Server::start(&home.path().join("data"), &["--config", config]);
    let client = server.client();
    for (guest, name) in [("unreachable", "trapped"), ("endless", "out_of_fuel")] {
        let application = client.install_component(&made::guest(guest));
        let context = client.create(&application, None);
        let run = |args: Value| call(&client, &context, "run", &args, "key");
        for args in [json!({}), json!({}), json!({ "other": 1 })] {
            let answer = run(args);
            assert_eq!(answer["error"]["data"]["name"], name, "{answer}");
        }
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// In one body, on one connection: the second comes while the first is on its way.
#[test]
fn calls_with_one_key_that_are_on_their_way_together_run_once() {
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = Server::start(home.path(), &["--shards", "2"]);
    let client = server.client();
    let context = client.create(&client.install("counter"), None);
    for n in 1..=50 {
        let one = request(&context, "increment", &json!({}), &n.to_string());
        let batch = Value::from(vec![one; 5]).to_string();
        let (_, answers) = client.post("/rpc", batch.as_bytes()).expect("an answer");
        let answers = answers.as_array().expect("answers");
        assert_eq!(answers.len(), 5);
        assert_eq!(answers[0]["result"]["output"], n, "{}", answers[0]);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
    assert_eq!(count(&client, &context), 50);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Many clients add one each time, under a key of its own, until they are told the sum.
struct Adder {
    name: usize,
    context: String,
    /// How many additions were answered.
    done: u64,
    /// What the answered ones were told.
    sums: Vec<Value>,
}

impl Adder {
    /// Adds once more, or again what was not answered; false if nobody answers.
    fn add(&mut self, client: &Client) -> bool {
        let key = format!("{} {}", self.name, self.done);
        let one = request(&self.context, "increment", &json!({}), &key);
        // Now and then twice at once.
        let body = match self.done % 3 {
            0 => Value::from(vec![one; 2]),
            _ => one,
        };
        let Ok((_, answer)) = client.post("/rpc", body.to_string().as_bytes()) else {
            return false;
        };
        let answers = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
        assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
        let result = &answers[0]["result"];
        assert!(result.is_object(), "{}", answers[0]);
        self.sums.push(result.clone());
        self.done += 1;
        true
    }

    /// What was answered long ago is answered the same.
    fn check(&self, client: &Client, n: u64) {
        let key = format!("{} {n}", self.name);
        let body = request(&self.context, "increment", &json!({}), &key).to_string();
        if let Ok((_, answer)) = client.post("/rpc", body.as_bytes()) {
            let at = usize::try_from(n).expect("few of them");
            assert_eq!(answer["result"], self.sums[at], "{key}");
        }
    }
}

#[test]
fn so_many_additions_with_keys_sum_up_to_exactly_that_whatever_is_killed() {
    let kills: u64 = std::env::var("CORELET_KEYED_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(40);
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, CONFIG).expect("a file");
    let config = config.to_str().expect("a path in UTF-8");
    let mut server = Server::start(&data, &["--shards", "1"]);
    let client = server.client();
    let context = client.create(&client.install("counter"), None);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let mut adders: Vec<Adder> = (0..4)
        .map(|name| Adder {
            name,
            context: context.clone(),
            done: 0,
            sums: Vec::new(),
        })
        .collect();
    let mut dice = 0x2545_f491_4f6c_dd1du64;
    let mut unanswered = 0;
    for _ in 0..kills {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut server = Server::spawn(&data, free_address(), &[], &["--config", config]);
        assert!(server.wait_ready(), "{}", server.log());
        let kill_after = Duration::from_millis((dice >> 33) % 60);
        let (address, token) = (server.address(), server.token());
        unanswered += thread::scope(|scope| {
            let workers: Vec<_> = adders
                .iter_mut()
                .map(|adder| {
                    let client = Client::new(address, &token);
                    scope.spawn(move || {
                        if adder.done > 0 {
                            adder.check(&client, (dice >> 17) % adder.done);
                        }
                        while adder.add(&client) {}
                    })
                })
                .collect();
            let began = Instant::now();
            while began.elapsed() < kill_after {
                thread::park_timeout(Duration::from_millis(1));
            }
            server.kill();
            let workers = workers.into_iter();
            workers
                .map(|worker| worker.join().expect("no panic"))
                .count() as u64
        });
    }
    let mut server = Server::spawn(&data, free_address(), &[], &["--config", config]);
    assert!(server.wait_ready(), "{}", server.log());
    let client = server.client();
    let before = count(&client, &context).as_u64().expect("a number");
    let answered: u64 = adders.iter().map(|adder| adder.done).sum();
    for adder in &mut adders {
        assert!(adder.add(&client), "{}", server.log());
        for n in 0..adder.done {
            adder.check(&client, n);
        }
    }
    let added: u64 = adders.iter().map(|adder| adder.done).sum();
    assert_eq!(count(&client, &context), added);
    // Each was told a sum of its own, and all of them were told.
    let sums = adders.iter().flat_map(|adder| &adder.sums);
    let sums: BTreeSet<u64> = sums.filter_map(|sum| sum["output"].as_u64()).collect();
    assert_eq!(sums, (1..=added).collect());
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    verify(&data, added);
    println!(
        "{kills} kills, {added} additions; {unanswered} were sent without an answer, and {} of the last of these had happened",
        before - answered
    );
    assert!(answered > kills, "the kills came before anything was added");
}

/// The ledgers' own check, and how many answers they have.
fn verify(data: &Path, answers: u64) {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).expect("one"),
        node_id_if_new: NodeId::from_bytes([0; 32]),
    };
    let dir = DataDir::open(data, &options).expect("the data directory opens");
    for shard in dir.manifest().shards.shards() {
        let ledger = Ledger::open(&dir.ledger_place(shard), &LedgerConfig::default());
        let snapshot = ledger.expect("a ledger opens").snapshot();
        let found = corelet_store::verify(&snapshot.expect("a snapshot"));
        let found = found.expect("the ledger agrees with itself");
        assert_eq!(found.answers, answers);
    }
}
