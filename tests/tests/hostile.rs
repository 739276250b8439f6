//! Guests that misbehave, in the real server: each is stopped with its own
//! error, what it wrote has not happened, its neighbours and the server go on,
//! and so does its own context.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use corelet_tests::{Client, Server, hostile, wait_for};
use serde_json::{Value, json};

/// Enough for all but a loop, which is stopped after some 30 ms.
const LIMITS: &str = "[limits]\nupdate_fuel_max = 100_000_000\n";

/// A server with these settings, the hostile application and its context.
fn start(home: &Path, settings: &str) -> (Server, Client, String) {
    let config = home.join("corelet.toml");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let server = Server::start(&home.join("data"), &["--shards", "1", "--config", config]);
    let client = server.client();
    let application = client.install_component(&hostile());
    let context = client.create(&application, None);
    (server, client, context)
}

fn state_of(client: &Client, context: &str) -> Value {
    let (status, info) = client
        .get(&format!("/v1/contexts/{context}"))
        .expect("an answer");
    assert_eq!(status, 200, "{info}");
    json!([info["version"], info["root"], info["entries"]])
}

#[test]
fn a_guest_that_misbehaves_leaves_no_trace_and_disturbs_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client, context) = start(home.path(), LIMITS);
    let kv = client.install("kv");
    let neighbour = client.create(&kv, None);
    for (way, error, limit) in [
        ("trap", "trapped", None),
        ("loop", "out_of_fuel", Some("limits.update_fuel_max")),
        ("deep", "stack_overflow", Some("limits.stack_bytes_max")),
        ("grow", "out_of_memory", Some("limits.memory_bytes_max")),
        ("junk", "invalid_output", None),
        ("much", "limit_exceeded", Some("limits.writes_max")),
    ] {
        let before = state_of(&client, &context);
        let answer = client.call(&context, way, json!({})).expect("an answer");
        let data = &answer["error"]["data"];
        assert_eq!(data["name"], error, "{way}: {answer}");
        assert_eq!(data["limit"].as_str(), limit, "{way}: {answer}");
        assert_eq!(state_of(&client, &context), before, "{way} left a trace");

        let set = json!({ "key": "last", "value": way });
        let answer = client.call(&neighbour, "set", set).expect("an answer");
        assert!(answer["result"].is_object(), "after {way}: {answer}");
        let (ready, _) = client.get("/readyz").expect("an answer");
        assert_eq!(ready, 200, "after {way}");
        let answer = client.call(&context, "fine", json!({})).expect("an answer");
        assert_eq!(answer["result"]["output"], Value::Null, "after {way}");
        assert!(
            answer["result"]["delta_id"].is_string(),
            "after {way}: {answer}"
        );
    }
    assert_eq!(state_of(&client, &context)[2], 1, "all it has is \"k\"");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_queue_that_is_full_says_which_and_how_long_it_is() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[shards]\ncontext_waiting_max = 1\n";
    let (mut server, client, context) = start(home.path(), settings);
    let busy = thread::scope(|scope| {
        let looping = scope.spawn(|| client.call(&context, "loop", json!({})));
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "execute",
            "params": { "context_id": context, "method": "fine", "args": {} },
        });
        let refused = loop {
            let (status, answer) = client
                .post("/rpc", request.to_string().as_bytes())
                .expect("an answer");
            if status == 429 || looping.is_finished() {
                break (status, answer);
            }
        };
        let looped = looping.join().expect("no panic").expect("an answer");
        assert_eq!(looped["error"]["data"]["name"], "out_of_fuel", "{looped}");
        refused
    });
    let (status, answer) = busy;
    assert_eq!(status, 429, "{answer}");
    let data = &answer["error"]["data"];
    assert_eq!(data["name"], "busy", "{answer}");
    assert_eq!(data["limit"], "shards.context_waiting_max", "{answer}");
    assert_eq!(
        (&data["used"], &data["max"]),
        (&json!(1), &json!(1)),
        "{answer}"
    );
    let answer = client.call(&context, "fine", json!({})).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// By the clock, whatever fuel there is; and whoever has waited as long behind them is not begun.
#[test]
fn calls_that_take_too_long_are_stopped_and_those_that_wait_too_long_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[limits]\ncall_time_max = \"40 ms\"\nupdate_fuel_max = 1_000_000_000_000\n";
    let (mut server, client, context) = start(home.path(), settings);
    let before = state_of(&client, &context);
    let mut seen = BTreeSet::new();
    // How many of them are begun depends on when they come.
    for _ in 0..100 {
        let answers = thread::scope(|scope| {
            let calls = [(); 8].map(|()| scope.spawn(|| client.call(&context, "loop", json!({}))));
            calls.map(|call| call.join().expect("no panic").expect("an answer"))
        });
        for answer in answers {
            let data = &answer["error"]["data"];
            assert_eq!(data["limit"], "limits.call_time_max", "{answer}");
            assert_eq!(data["max"], 40, "{answer}");
            seen.insert(data["name"].as_str().expect("a name").to_owned());
        }
        if seen.len() > 1 {
            break;
        }
    }
    assert!(seen.iter().eq(["busy", "timed_out"]), "{seen:?}");
    assert_eq!(state_of(&client, &context), before, "one has left a trace");
    let answer = client.call(&context, "fine", json!({})).expect("an answer");
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// With this much fuel and time nothing else would stop them.
const ENDLESS: &str = "[limits]\ncall_time_max = \"24 h\"\nupdate_fuel_max = 1_000_000_000_000_000\n\
    query_fuel_max = 1_000_000_000_000_000\n";

#[test]
fn an_operator_stops_what_runs_in_a_context_and_what_waits_goes_on() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client, context) = start(home.path(), ENDLESS);
    let before = state_of(&client, &context);
    let url = format!("/v1/contexts/{context}/calls");
    let cancel = || {
        let (status, answer) = client.delete(&url).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer["cancelled"].as_u64().expect("a count")
    };
    assert_eq!(cancel(), 0, "nothing runs");
    thread::scope(|scope| {
        let looping = scope.spawn(|| client.call(&context, "loop", json!({})));
        while client.metric("corelet_fuel_total{") < 10_000_000 {
            assert!(!looping.is_finished());
        }
        let waiting = scope.spawn(|| client.call(&context, "fine", json!({})));
        while client.metric("corelet_waiting_calls{") < 2 {
            assert!(!waiting.is_finished());
        }
        assert_eq!(cancel(), 1);
        let looped = looping.join().expect("no panic").expect("an answer");
        assert_eq!(looped["error"]["data"]["name"], "cancelled", "{looped}");
        let waited = waiting.join().expect("no panic").expect("an answer");
        assert!(waited["result"].is_object(), "{waited}");
    });
    let version = |state: &Value| state[0].as_u64().expect("a version");
    let after = state_of(&client, &context);
    assert_eq!(
        version(&after),
        version(&before) + 1,
        "one call and no more"
    );
    let (status, answer) = client
        .delete("/v1/contexts/nobody/calls")
        .expect("an answer");
    assert_eq!(status, 404, "{answer}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What a running update has written is nobody's but its own, however long it runs and however it ends.
#[test]
fn a_query_reads_what_was_before_while_an_update_of_its_context_runs() {
    for (limits, ends) in [(ENDLESS, "cancelled"), (LIMITS, "out_of_fuel")] {
        let home = tempfile::tempdir().expect("a directory");
        // No answer is one that was given before.
        let settings = format!("{limits}[shards]\nquery_cache_bytes_max = 0\n");
        let (mut server, client, context) = start(home.path(), &settings);
        let read = || {
            let answer = client.call(&context, "read", json!({})).expect("an answer");
            assert!(answer["result"].is_object(), "{answer}");
            answer["result"]["output"].clone()
        };
        assert_eq!(read(), Value::Null);
        let answer = client.call(&context, "fine", json!({})).expect("an answer");
        assert!(answer["result"]["delta_id"].is_string(), "{answer}");
        let before = state_of(&client, &context);
        assert_eq!(read(), "fine");
        thread::scope(|scope| {
            let spent = client.metric("corelet_fuel_total{");
            let looping = scope.spawn(|| client.call(&context, "loop", json!({})));
            // Far behind its write.
            wait_for("an update that runs", || {
                let now = client.metric("corelet_fuel_total{");
                (now >= spent + 10_000_000).then_some(())
            });
            for _ in 0..20 {
                assert_eq!(read(), "fine");
                assert_eq!(state_of(&client, &context), before);
            }
            if ends == "cancelled" {
                let url = format!("/v1/contexts/{context}/calls");
                let (_, answer) = client.delete(&url).expect("an answer");
                assert_eq!(answer["cancelled"], 1, "it has run until now");
            }
            let looped = looping.join().expect("no panic").expect("an answer");
            assert_eq!(looped["error"]["data"]["name"], ends, "{looped}");
        });
        assert_eq!(read(), "fine");
        assert_eq!(state_of(&client, &context), before, "it has left a trace");
        assert_eq!(server.stop(), Some(0), "{}", server.log());
    }
}

/// Those who hold all instances are in nobody's way for longer than they run.
#[test]
fn a_call_for_which_no_instance_is_left_is_told_which_bound_that_is_and_counted() {
    const INSTANCES: usize = 8;
    let home = tempfile::tempdir().expect("a directory");
    let settings = format!("{ENDLESS}[shards]\ninstances_max = {INSTANCES}\n");
    let (mut server, client, first) = start(home.path(), &settings);
    let application = client.install_component(&hostile());
    let last = client.create(&application, None);
    let mut looping = vec![first];
    looping.resize_with(INSTANCES, || client.create(&application, None));
    let exhausted = || client.metric("corelet_pool_exhausted_total");
    let cancel = |context: &str| {
        let url = format!("/v1/contexts/{context}/calls");
        let (_, answer) = client.delete(&url).expect("an answer");
        assert_eq!(answer["cancelled"], 1, "{answer}");
    };
    thread::scope(|scope| {
        let client = &client;
        let calls: Vec<_> = looping
            .iter()
            .map(|context| scope.spawn(move || client.call(context, "loop", json!({}))))
            .collect();
        wait_for("calls that hold all instances", || {
            let live = client.metric("corelet_instances ");
            let warm = client.metric("corelet_warm_instances{");
            ((live, warm) == (INSTANCES as u64, 0)).then_some(())
        });
        let before = exhausted();
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "execute",
            "params": { "context_id": last, "method": "fine", "args": {} },
        });
        let request = request.to_string();
        let (status, answer) = client.post("/rpc", request.as_bytes()).expect("an answer");
        assert_eq!(status, 429, "{answer}");
        let data = &answer["error"]["data"];
        assert_eq!(data["name"], "busy", "{answer}");
        assert_eq!(data["limit"], "shards.instances_max", "{answer}");
        let told = (&data["used"], &data["max"]);
        assert_eq!(told, (&json!(INSTANCES), &json!(INSTANCES)), "{answer}");
        let series = r#"corelet_refused_by_limit_total{shard="0",limit="shards.instances_max"}"#;
        assert_eq!(client.metric(series), 1);
        assert_eq!(exhausted(), before + 1);

        cancel(&looping[0]);
        let answer = client.call(&last, "fine", json!({})).expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
        looping[1..].iter().for_each(|context| cancel(context));
        for call in calls {
            let looped = call.join().expect("no panic").expect("an answer");
            assert_eq!(looped["error"]["data"]["name"], "cancelled", "{looped}");
        }
    });
    assert_eq!(client.metric("corelet_waiting_calls{"), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_context_is_called_so_often_in_a_second_and_its_neighbour_as_often() {
    let home = tempfile::tempdir().expect("a directory");
    // A day's seconds would not be enough for one more.
    let settings = "[limits]\ncontext_calls_per_second = 3\n";
    let (mut server, client, context) = start(home.path(), settings);
    let neighbour = client.create(&client.install_component(&hostile()), None);
    let name_of = |context: &str| {
        let answer = client.call(context, "fine", json!({})).expect("an answer");
        let data = &answer["error"]["data"];
        (data["limit"].clone(), data["max"].clone())
    };
    let refused = (json!("limits.context_calls_per_second"), json!(3));
    // Three at once, and one more for each third of a second that this takes.
    let found = (0..1_000)
        .map(|_| name_of(&context))
        .position(|found| found == refused);
    assert!(found.is_some_and(|calls| calls >= 3), "{found:?}");
    assert_eq!(name_of(&neighbour), (Value::Null, Value::Null));
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_context_holds_so_many_bytes_and_may_become_smaller() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut server, client, _) = start(home.path(), "[limits]\ncontext_bytes_max = \"4 KiB\"\n");
    let kv = client.install("kv");
    let [context, neighbour] = [(); 2].map(|()| client.create(&kv, None));
    let set = |context: &str, key: &str, bytes: usize| {
        let args = json!({ "key": key, "value": "v".repeat(bytes) });
        let answer = client.call(context, "set", args).expect("an answer");
        match answer["result"].is_object() {
            true => None,
            false => Some((
                answer["error"]["data"]["name"].clone(),
                answer["error"]["data"]["limit"].clone(),
                answer["error"]["data"]["max"].clone(),
            )),
        }
    };
    let full = Some((
        json!("limit_exceeded"),
        json!("limits.context_bytes_max"),
        json!(4096),
    ));
    assert_eq!(set(&context, "one", 3_000), None);
    let before = state_of(&client, &context);
    assert_eq!(set(&context, "two", 2_000), full);
    assert_eq!(state_of(&client, &context), before, "it has left a trace");
    assert_eq!(set(&neighbour, "two", 2_000), None);
    assert_eq!(set(&context, "one", 500), None, "smaller");
    assert_eq!(set(&context, "two", 2_000), None, "so there is room");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
