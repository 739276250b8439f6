//! Queries that ask other contexts' queries, in the real server, on one shard and over several:
//! what they are told, what bounds them, and that nobody waits for ever.

use std::path::Path;
use std::thread;

use corelet_tests::{Client, Server, made, wait_for};
use serde_json::{Value, json};

/// A server of so many shards with these settings.
fn start(home: &Path, shards: &str, settings: &str) -> (Server, Client) {
    let config = home.join("corelet.toml");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let more = ["--shards", shards, "--config", config];
    let server = Server::start(&home.join("data"), &more);
    let client = server.client();
    (server, client)
}

fn shard_of(client: &Client, context: &str) -> u64 {
    let (_, info) = client
        .get(&format!("/v1/contexts/{context}"))
        .expect("an answer");
    info["shard"].as_u64().expect("a number")
}

/// So many contexts on this shard.
fn create_on(client: &Client, application: &str, shard: u64, count: usize) -> Vec<String> {
    std::iter::repeat_with(|| client.create(application, None))
        .filter(|context| shard_of(client, context) == shard)
        .take(count)
        .collect()
}

fn call(client: &Client, context: &str, method: &str, args: Value) -> Value {
    client.call(context, method, args).expect("an answer")
}

fn follow(client: &Client, poll: &str, other: &str) {
    let answer = call(client, poll, "follow", json!({ "poll": other }));
    assert!(answer["result"].is_object(), "{answer}");
}

fn turnout(client: &Client, poll: &str) -> Value {
    call(client, poll, "turnout", json!({}))
}

fn counted(polls: u64, voters: u64, errors: &[&str]) -> Value {
    json!({ "polls": polls, "voters": voters, "errors": errors })
}

/// An application whose query `turnout` does this.
fn asked(body: &str) -> Vec<u8> {
    made::framed(&format!(
        r#"(data (i32.const 640) "turnout")
           (func $describe (result i32)
             (i32.store (i32.const 96) (i32.const 640)) (i32.store (i32.const 100) (i32.const 7))
             (i32.store8 (i32.const 104) (i32.const 0))
             (i32.const 64))
           (func $call (param i32 i32 i32 i32) (result i32) {body})"#
    ))
}

const LOOP: &str = "(loop $again (br $again)) unreachable";

/// Nothing asks any more and nothing runs: what was held for that is free again.
fn wait_until_quiet(client: &Client, shards: u64) {
    wait_for("the end of all queries", || {
        let figures = |name: &str| -> u64 {
            (0..shards)
                .map(|shard| client.metric(&format!("{name}{{shard=\"{shard}\"")))
                .sum()
        };
        let quiet = figures("corelet_asking_queries") + figures("corelet_waiting_calls") == 0;
        // Those that are left are warm, and none is held by a query.
        let live = client.metric("corelet_instances ");
        (quiet && live == figures("corelet_warm_instances")).then_some(())
    });
}

#[test]
fn a_query_asks_contexts_on_its_own_shard_and_on_others_and_sees_what_is_durable() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), "2", "[shards]\nquery_cache_fuel_min = 0\n");
    let poll = client.install("poll");
    let own = create_on(&client, &poll, 0, 2);
    let other = create_on(&client, &poll, 1, 1).remove(0);
    let mut fuel = Vec::new();
    for followed in [&own[1], &other] {
        let asks = create_on(&client, &poll, 0, 1).remove(0);
        follow(&client, &asks, followed);
        // What others have answered is not kept, however often it is asked.
        for voters in 1..=3 {
            let choice = json!({ "choice": "inn" });
            let vote = call(&client, followed, "vote", choice.clone());
            assert_eq!(vote["result"].is_object(), voters == 1, "{vote}");
            let answer = turnout(&client, &asks);
            assert_eq!(answer["result"]["output"], counted(2, 1, &[]), "{answer}");
            fuel.push(answer["result"]["fuel_used"].as_u64().expect("a number"));
        }
        let overview = call(&client, &asks, "overview", json!({}));
        let line = &overview["result"]["output"][0];
        assert_eq!(line["leads"], json!(["inn", 1]), "{overview}");
        // The next state is seen at once, be the callee's answers kept or not.
        let gone = call(&client, followed, "withdraw", json!({ "choice": "inn" }));
        assert!(gone["result"].is_object(), "{gone}");
        let overview = call(&client, &asks, "overview", json!({}));
        assert_eq!(
            overview["result"]["output"][0]["leads"],
            json!(null),
            "{overview}"
        );
    }
    // The same work costs the same each time; the first time an instance has something to set up.
    assert_eq!((fuel[1], fuel[4]), (fuel[2], fuel[5]), "{fuel:?}");
    // Wherever the other one lives, but for the digits of its id.
    assert!(fuel[1].abs_diff(fuel[4]) < 500, "{fuel:?}");
    // What the other one has used is in it, and what asking costs.
    let alone = turnout(&client, &other);
    let alone = alone["result"]["fuel_used"].as_u64().expect("a number");
    assert!(fuel[4] > alone + 10_000, "{fuel:?} and {alone}");
    let asked = |shard: u64| client.metric(&format!("corelet_questions_total{{shard=\"{shard}\""));
    assert_eq!((asked(0), asked(1)), (10, 0));
    wait_until_quiet(&client, 2);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_circle_is_answered_and_so_is_a_chain_that_is_too_long() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), "2", "[limits]\nquery_depth_max = 3\n");
    let poll = client.install("poll");
    let polls: Vec<String> = (0..6).map(|_| client.create(&poll, None)).collect();
    let output = |poll: &str| turnout(&client, poll)["result"]["output"].clone();
    // Itself, and one that asks it back.
    follow(&client, &polls[5], &polls[5]);
    assert_eq!(output(&polls[5]), counted(1, 0, &["cycle"]));
    follow(&client, &polls[4], &polls[5]);
    follow(&client, &polls[5], &polls[4]);
    assert_eq!(output(&polls[4]), counted(2, 0, &["cycle", "cycle"]));
    // One asks one that asks one that asks one, and that one may not ask.
    for (poll, next) in polls.iter().zip(&polls[1..5]) {
        follow(&client, poll, next);
    }
    assert_eq!(output(&polls[0]), counted(4, 0, &["too_deep"]));
    assert_eq!(output(&polls[2]), counted(4, 0, &["cycle", "cycle"]));
    let refused = |why: &str| -> u64 {
        let of = |shard| format!("corelet_questions_refused_{why}_total{{shard=\"{shard}\"");
        (0..2).map(|shard| client.metric(&of(shard))).sum()
    };
    assert_eq!((refused("in_circles"), refused("too_deep")), (5, 1));
    wait_until_quiet(&client, 2);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_call_asks_so_often_in_all_and_the_one_that_asks_once_more_is_stopped() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client) = start(home.path(), "2", "[limits]\nquery_calls_max = 3\n");
    let poll = client.install("poll");
    let polls: Vec<String> = (0..6).map(|_| client.create(&poll, None)).collect();
    for other in &polls[1..4] {
        follow(&client, &polls[0], other);
    }
    let answer = turnout(&client, &polls[0]);
    assert_eq!(answer["result"]["output"], counted(4, 0, &[]), "{answer}");
    follow(&client, &polls[0], &polls[4]);
    let stopped = turnout(&client, &polls[0]);
    let data = &stopped["error"]["data"];
    assert_eq!(data["name"], "limit_exceeded", "{stopped}");
    assert_eq!(data["limit"], "limits.query_calls_max", "{stopped}");
    assert_eq!((&data["used"], &data["max"]), (&json!(4), &json!(3)));
    // If it is the one that is asked which asks too often, that one is stopped first.
    let [asks, asked] = [(); 2].map(|()| client.create(&poll, None));
    follow(&client, &asks, &asked);
    for other in &polls[1..4] {
        follow(&client, &asked, other);
    }
    let answer = turnout(&client, &asks);
    let errors = answer["result"]["output"]["errors"].clone();
    assert_eq!(errors, json!(["limit_exceeded"]), "{answer}");
    wait_until_quiet(&client, 2);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn what_goes_wrong_with_the_one_that_is_asked_is_told_and_stops_nobody_else() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[limits]\nquery_fuel_max = 50_000_000\n";
    let (mut server, client) = start(home.path(), "2", settings);
    let poll = client.install("poll");
    let asks = |other: &str| {
        let asks = client.create(&poll, None);
        follow(&client, &asks, other);
        turnout(&client, &asks)
    };
    let install = |body: &str| client.install_component(&asked(body));
    for (body, code) in [
        ("unreachable", "trapped"),
        (
            "(call $err (i32.const 272) (i32.const 4))",
            "application_error",
        ),
        ("(call $ok (i32.const 256) (i32.const 4))", "invalid_output"),
        ("(call $ok-null)", "unreadable"),
        (
            "(call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4)) (call $ok-null)",
            "wrote_in_query",
        ),
    ] {
        let application = install(body);
        for shard in [0, 1] {
            let other = create_on(&client, &application, shard, 1).remove(0);
            let answer = asks(&other);
            assert_eq!(
                answer["result"]["output"],
                counted(1, 0, &[code]),
                "{answer}"
            );
        }
    }
    let kv = client.create(&client.install("kv"), None);
    let gone = client.create(&poll, None);
    let (status, _) = client
        .delete(&format!("/v1/contexts/{gone}"))
        .expect("an answer");
    assert_eq!(status, 204);
    for (other, code) in [(kv, "unknown_method"), (gone, "unknown_context")] {
        let answer = asks(&other);
        assert_eq!(
            answer["result"]["output"],
            counted(1, 0, &[code]),
            "{answer}"
        );
    }
    // All fuel there is, of which none is left to whoever has asked.
    let endless = client.create(&install(LOOP), None);
    let answer = asks(&endless);
    let data = &answer["error"]["data"];
    assert_eq!(data["name"], "out_of_fuel", "{answer}");
    assert_eq!(data["limit"], "limits.query_fuel_max", "{answer}");
    wait_until_quiet(&client, 2);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Nothing but the clock or an operator would end them.
const ENDLESS: &str = "query_fuel_max = 1_000_000_000_000_000\n";

#[test]
fn whoever_waits_is_stopped_by_the_clock_by_an_operator_and_with_its_context() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\n{ENDLESS}call_time_max = \"24 h\"\n");
    let (mut server, client) = start(home.path(), "2", &settings);
    let poll = client.install("poll");
    let endless = client.install_component(&asked(LOOP));
    let asking = |shard: u64| client.metric(&format!("corelet_asking_queries{{shard=\"{shard}\""));
    for shard in [0, 1] {
        for way in ["cancelled", "deleted", "its callee cancelled"] {
            let other = create_on(&client, &endless, shard, 1).remove(0);
            let asks = create_on(&client, &poll, 0, 1).remove(0);
            follow(&client, &asks, &other);
            let ended = thread::scope(|scope| {
                let waits = scope.spawn(|| turnout(&client, &asks));
                wait_for("a query that waits", || (asking(0) == 1).then_some(()));
                // And it costs nothing: the other one spends all there is.
                let path = match way {
                    "cancelled" => format!("/v1/contexts/{asks}/calls"),
                    "deleted" => format!("/v1/contexts/{asks}"),
                    _ => format!("/v1/contexts/{other}/calls"),
                };
                wait_for("an end", || {
                    let (status, answer) = client.delete(&path).expect("an answer");
                    assert!(status < 300 || way == "deleted", "{answer}");
                    // Where it is asked may take a moment.
                    (status == 204 || answer["cancelled"] == 1).then_some(())
                });
                waits.join().expect("no panic")
            });
            match way {
                "its callee cancelled" => {
                    let output = &ended["result"]["output"];
                    assert_eq!(*output, counted(1, 0, &["cancelled"]), "{ended}");
                }
                _ => assert_eq!(
                    ended["error"]["data"]["name"], "cancelled",
                    "{way}: {ended}"
                ),
            }
            // The one that was asked goes with it.
            wait_until_quiet(&client, 2);
        }
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());

    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("[limits]\n{ENDLESS}call_time_max = \"300 ms\"\n");
    let (mut server, client) = start(home.path(), "2", &settings);
    let poll = client.install("poll");
    let endless = client.install_component(&asked(LOOP));
    for shard in [0, 1] {
        let other = create_on(&client, &endless, shard, 1).remove(0);
        let asks = create_on(&client, &poll, 0, 1).remove(0);
        follow(&client, &asks, &other);
        let ended = turnout(&client, &asks);
        assert_eq!(ended["error"]["data"]["name"], "timed_out", "{ended}");
        wait_until_quiet(&client, 2);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_server_stops_with_queries_that_wait() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!(
        "[limits]\n{ENDLESS}call_time_max = \"24 h\"\n[process]\ndrain_timeout = \"1 s\"\n"
    );
    let (mut server, client) = start(home.path(), "2", &settings);
    let poll = client.install("poll");
    let endless = client.install_component(&asked(LOOP));
    let other = create_on(&client, &endless, 1, 1).remove(0);
    let asks = create_on(&client, &poll, 0, 1).remove(0);
    follow(&client, &asks, &other);
    let status = thread::scope(|scope| {
        let waits = scope.spawn(|| client.call(&asks, "turnout", json!({})));
        wait_for("a query that waits", || {
            let asking = client.metric("corelet_asking_queries{shard=\"0\"");
            (asking == 1).then_some(())
        });
        let status = server.stop();
        // It may be told that the server stops, or see its connection close.
        let _ = waits.join().expect("no panic");
        status
    });
    assert_eq!(status, Some(0), "{}", server.log());
}

/// With places that all depths share, those of each would be held by queries that wait for
/// the other.
#[test]
fn a_thousand_queries_that_ask_both_ways_do_not_wait_for_each_other() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[shards]\ncontext_queries_max = 2\nquery_cache_bytes_max = 0\n";
    let (mut server, client) = start(home.path(), "2", settings);
    let poll = client.install("poll");
    for shards in [[0, 1], [0, 0]] {
        let [one, two] = shards.map(|shard| create_on(&client, &poll, shard, 1).remove(0));
        let third = client.create(&poll, None);
        for (poll, other) in [(&one, &two), (&two, &one), (&one, &third), (&two, &third)] {
            follow(&client, poll, other);
        }
        // One, the other and its third, and its own third; the other cannot ask back.
        let expected = counted(4, 0, &["cycle"]);
        let request = |context: &str, id: usize| {
            let params = json!({ "context_id": context, "method": "turnout", "args": {} });
            json!({ "jsonrpc": "2.0", "id": id, "method": "execute", "params": params })
        };
        thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    let both = [&one, &two];
                    let batch: Vec<Value> = (0..25).map(|n| request(both[n % 2], n)).collect();
                    let batch = Value::from(batch).to_string();
                    let (_, answers) = client.post("/rpc", batch.as_bytes()).expect("answers");
                    let answers = answers.as_array().expect("an answer each").clone();
                    assert_eq!(answers.len(), 25);
                    for answer in answers {
                        assert_eq!(answer["result"]["output"], expected, "{answer}");
                    }
                });
            }
        });
        wait_until_quiet(&client, 2);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn so_many_queries_wait_and_one_more_is_told_that_the_server_is_busy() {
    let home = tempfile::tempdir().expect("a directory");
    // One for each shard.
    let settings =
        format!("[limits]\n{ENDLESS}call_time_max = \"24 h\"\n[shards]\nasking_queries_max = 2\n");
    let (mut server, client) = start(home.path(), "2", &settings);
    let poll = client.install("poll");
    let endless = client.install_component(&asked(LOOP));
    // At home, as the way to another shard has a bound of its own.
    let other = create_on(&client, &endless, 0, 1).remove(0);
    let asks = create_on(&client, &poll, 0, 2);
    follow(&client, &asks[0], &other);
    follow(&client, &asks[1], &other);
    thread::scope(|scope| {
        let waits = scope.spawn(|| turnout(&client, &asks[0]));
        wait_for("a query that waits", || {
            let asking = client.metric("corelet_asking_queries{shard=\"0\"");
            (asking == 1).then_some(())
        });
        let busy = turnout(&client, &asks[1]);
        assert_eq!(busy["result"]["output"], counted(1, 0, &["busy"]), "{busy}");
        let refused = "corelet_questions_refused_by_bounds_total{shard=\"0\"";
        assert_eq!(client.metric(refused), 1);
        let (_, answer) = client
            .delete(&format!("/v1/contexts/{}/calls", asks[0]))
            .expect("an answer");
        assert_eq!(answer["cancelled"], 1, "{answer}");
        waits.join().expect("no panic");
    });
    wait_until_quiet(&client, 2);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
