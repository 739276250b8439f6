//! Calls that fail, that are stopped, and for which there is no place.

use std::thread;

use corelet_tests::{made, wait_for};
use serde_json::json;

use crate::Stage;
use crate::catalogue::{Catalogue, limit_of};

/// A loop ends soon, and nothing else comes near.
const FUEL: &str = "[limits]\nupdate_fuel_max = 100_000_000\nquery_fuel_max = 90_000_000\ninit_fuel_max = 80_000_000\n";

pub(super) fn guests_that_fail(catalogue: &Catalogue) {
    let stage = Stage::start(FUEL);
    // In a context of its own, called once and seen to be as it was.
    let call = |what: &str, component: &[u8], name: &str| {
        let application = stage.client.install_component(component);
        let context = stage.client.create(&application, None);
        let data = stage.refused(&context, || {
            let answer = stage.call(&context, "run", &json!({ "a": 1 }));
            assert!(answer.1["error"].is_object(), "{what}: {}", answer.1);
            catalogue.rpc(name, &answer)
        });
        assert_eq!(stage.state(&context)[2], 0, "{what} has written");
        data
    };
    let update = |guest: &str, name: &str| call(guest, &made::guest(guest), name);
    let query = |guest: &str, name: &str| call(guest, &made::with_query(&made::guest(guest)), name);

    let data = update("refuse", "application_error");
    assert_eq!(data["error"], json!({ "a": 1 }));
    let inspecting = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))
        (func (export \"inspect\") (param i32 i32 i32 i32) (result i32)
          (call $err (local.get 2) (local.get 3)))";
    let data = call("a look", &made::framed(inspecting), "inspection_refused");
    assert_eq!(data["error"], json!({ "a": 1 }));
    for (guest, says) in [("unreachable", "unreachable"), ("divide", "divide by zero")] {
        let data = update(guest, "trapped");
        let trap = data["trap"].as_str().expect("a text");
        assert!(trap.contains(says), "{guest}: {trap}");
        assert_eq!(data.get("said"), None, "{guest} said nothing");
    }
    let last_words = "(func $call (param i32 i32 i32 i32) (result i32)
        (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
        (call $write (i32.const 0) (i32.const 256) (i32.const 5))
        unreachable)";
    let data = call("last words", &made::framed(last_words), "trapped");
    assert_eq!(data["said"], "guest");

    let updates = ("limits.update_fuel_max", 100_000_000);
    assert_eq!(limit_of(&update("endless", "out_of_fuel")), updates);
    let queries = ("limits.query_fuel_max", 90_000_000);
    assert_eq!(limit_of(&query("endless", "out_of_fuel")), queries);
    let data = update("memory_bomb", "out_of_memory");
    assert_eq!(limit_of(&data), ("limits.memory_bytes_max", 64 << 20));
    let data = update("recursion", "stack_overflow");
    assert_eq!(limit_of(&data), ("limits.stack_bytes_max", 512 << 10));
    for (guest, limit, used) in [
        ("table_bomb", "table_elements_max", 50_001),
        ("write_flood", "writes_max", 10_001),
        ("remove_flood", "writes_max", 10_001),
        ("write_bytes_flood", "write_bytes_max", 128 * 32_769),
        ("event_flood", "events_max", 1_001),
        ("event_bytes_flood", "event_bytes_max", 64 * 16_385),
        ("log_flood", "logs_max", 1_001),
        ("log_bytes_flood", "log_bytes_max", 17 * 16_384),
        ("scan_flood", "scan_rows_max", 1_001),
        ("random_flood", "random_bytes_max", 4_097),
        ("long_key", "key_bytes_max", 481),
        ("large_value", "value_bytes_max", (1 << 20) + 1),
        ("oversized", "output_bytes_max", 1_572_864),
        ("oversized_transfer", "transfer_bytes_max", (4 << 20) + 1),
    ] {
        let data = update(guest, "limit_exceeded");
        assert_eq!(limit_of(&data).0, format!("limits.{limit}"), "{guest}");
        assert_eq!(data["used"], used, "{guest}");
        assert!(data["max"].as_u64() < data["used"].as_u64(), "{guest}");
    }
    for guest in ["write_flood", "remove_flood", "event_flood"] {
        query(guest, "wrote_in_query");
    }
    let asks = made::framed(
        "(func $call (param i32 i32 i32 i32) (result i32)
           (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
             (local.get 2) (local.get 3) (i32.const 416))
           (call $ok-null))",
    );
    call("asks", &asks, "asked_in_update");
    for guest in [
        "not_json",
        "not_utf8",
        "error_not_json",
        "event_not_json",
        "event_kind_not_utf8",
        "out_of_bounds",
        "bad_result_pointer",
        "bad_discriminant",
        "bad_level",
    ] {
        let data = update(guest, "invalid_output");
        assert!(data["reason"].is_string(), "{guest}: {data:?}");
    }

    update("misuse", "entry_misused");
    for misuse in [
        // Written once, and removed.
        "(drop (call $write-once (i32.const 0) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4)))
         (drop (call $remove (i32.const 276) (i32.const 1)))",
        // A counter that stays on its node.
        "(drop (call $add (i32.const 2) (i32.const 276) (i32.const 1) (i64.const 1)))",
        // Under a key that does not begin with this node's.
        "(call $set-in (i32.const 1) (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))",
    ] {
        let text = format!("(func $call (param i32 i32 i32 i32) (result i32) {misuse} (call $ok-null))");
        call(misuse, &made::framed(&text), "entry_misused");
    }
    // One that an earlier call has made is met by the commit.
    let another_kind = "(func $init (param i32 i32) (result i32)
            (drop (call $add (i32.const 0) (i32.const 276) (i32.const 1) (i64.const 1)))
            (call $ok-null))
        (func $call (param i32 i32 i32 i32) (result i32)
            (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
            (call $ok-null))";
    let application = stage.client.install_component(&made::framed(another_kind));
    let context = stage.client.create(&application, None);
    stage.refused(&context, || {
        catalogue.rpc("entry_misused", &stage.call(&context, "run", &json!({})))
    });

    // What `init` does is no less undone.
    let endless_init = "(func $init (param i32 i32) (result i32)
            (call $set (i32.const 276) (i32.const 1) (i32.const 272) (i32.const 4))
            (loop $forever (br $forever)) unreachable)
        (func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    let create = |component: &[u8], name: &str| {
        let application = stage.client.install_component(component);
        let body = json!({ "application": application, "name": "never" }).to_string();
        let data = stage.refused("neighbour", || {
            catalogue.rest(name, &stage.post("/v1/contexts", body.as_bytes()))
        });
        let (status, _) = stage.client.get("/v1/contexts/never").expect("an answer");
        assert_eq!(status, 404);
        data
    };
    let data = create(&made::framed(endless_init), "out_of_fuel");
    let inits = ("limits.init_fuel_max", 80_000_000);
    assert_eq!(limit_of(&data), inits);
    let data = create(&made::guest("realloc_endless"), "out_of_fuel");
    assert_eq!(limit_of(&data), inits);
    create(&made::guest("realloc_out_of_bounds"), "invalid_output");
    stage.stop();
}

pub(super) fn calls_that_are_stopped(catalogue: &Catalogue) {
    let endless = |settings: &str| {
        let stage = Stage::start(&format!(
            "[limits]\nupdate_fuel_max = 1_000_000_000_000_000\n{settings}"
        ));
        let application = stage.client.install_component(&made::guest("endless"));
        let context = stage.client.create(&application, None);
        (stage, context)
    };
    let (stage, context) = endless("call_time_max = \"200 ms\"\n");
    let data = stage.refused(&context, || {
        catalogue.rpc("timed_out", &stage.call(&context, "run", &json!({})))
    });
    assert_eq!(limit_of(&data), ("limits.call_time_max", 200));
    stage.stop();

    let (stage, context) = endless("call_time_max = \"24 h\"\n");
    stage.refused(&context, || {
        thread::scope(|scope| {
            let call = scope.spawn(|| stage.call(&context, "run", &json!({})));
            let cancelled = wait_for("a call to be cancelled", || {
                let path = format!("/v1/contexts/{context}/calls");
                let (status, answer) = stage.client.delete(&path).expect("an answer");
                assert_eq!(status, 200, "{answer}");
                answer["cancelled"].as_u64().filter(|calls| *calls > 0)
            });
            assert_eq!(cancelled, 1);
            catalogue.rpc("cancelled", &call.join().expect("an answer"))
        })
    });
    stage.stop();
}

pub(super) fn a_queue_that_is_full(catalogue: &Catalogue) {
    let stage = Stage::start("[shards]\ncontext_waiting_max = 1\n");
    let application = stage.client.install_component(&made::guest("endless"));
    let context = stage.client.create(&application, None);
    let data = stage.refused(&context, || {
        let call = || stage.call(&context, "run", &json!({}));
        // One runs, and a second one waits at most, whoever comes first. Each that
        // ran has used its fuel.
        let (refused, ran): (Vec<_>, Vec<_>) = thread::scope(|scope| {
            let calls: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
            let answers = calls
                .into_iter()
                .map(|call| call.join().expect("an answer"));
            answers.partition(|(status, _)| *status == 429)
        });
        assert!(ran.iter().all(|(status, _)| *status == 200), "{ran:?}");
        catalogue.rpc("busy", refused.first().expect("one too many"))
    });
    assert_eq!(limit_of(&data), ("shards.context_waiting_max", 1));
    assert_eq!(data["used"], 1);
    stage.stop();
}
