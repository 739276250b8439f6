//! Applications that are none, that cannot be compiled, for which there is no place, and to which no
//! context can be upgraded.

use std::thread;

use corelet_tests::{component, made, worker};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::Stage;
use crate::catalogue::{Catalogue, limit_of};

pub(super) fn uploads_that_are_no_applications(catalogue: &Catalogue) {
    let stage = Stage::start("[limits]\nmodule_bytes_max = \"2 MiB\"\n");
    let upload = |what: &str, wasm: &[u8]| {
        let answer = stage.refused("neighbour", || {
            let answer = stage.post("/v1/applications", wasm);
            assert_eq!(answer.0, 422, "{what}: {}", answer.1);
            answer
        });
        let detail = answer.1["detail"].as_str().expect("a text").to_owned();
        (catalogue.rest("not_an_application", &answer), detail)
    };
    let kv = component("kv");
    let wat = |text: &str| wat::parse_str(text).expect("it assembles");
    let idle = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
    let with = |extra: &str| made::framed(&format!("{extra} {idle}"));
    for (what, wasm, says) in [
        ("nothing", Vec::new(), "the file is empty"),
        ("text", b"(component)".to_vec(), "not WebAssembly"),
        ("a core module", wat("(module)"), "not a component"),
        (
            "half of one",
            kv[..kv.len() / 2].to_vec(),
            "invalid component",
        ),
        ("another world", wat("(component)"), "export `describe`"),
        (
            "a denied import",
            wat(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#),
            "import `wasi:cli/environment@0.2.0`",
        ),
        ("exceptions", with("(tag $t)"), "unsupported"),
        ("an invalid function", made::invalid(), "invalid component"),
        (
            "one without a name",
            made::guest("describe_nameless"),
            "name",
        ),
        (
            "one that asks too early",
            made::guest("describe_with_state"),
            "outside of a call",
        ),
    ] {
        let (data, detail) = upload(what, &wasm);
        assert!(detail.contains(says), "{what}: {detail}");
        assert!(data.is_empty(), "{what}: {data:?}");
    }
    let (data, detail) = upload("an endless start", &made::guest("start_endless"));
    assert!(detail.contains("units of fuel"), "{detail}");
    assert_eq!(limit_of(&data), ("limits.start_fuel_max", 1_000_000));
    for (limit, wasm, used) in [
        ("tables_max", with(&"(table 1 funcref)".repeat(5)), 5),
        ("table_elements_max", with("(table 50001 funcref)"), 50_001),
        ("memories_max", with("(memory 1)"), 2),
        ("functions_max", with(&"(func)".repeat(250_000)), 250_103),
        (
            "function_locals_max",
            with(&format!("(func (local {}))", "i64 ".repeat(10_001))),
            10_001,
        ),
        ("nested_components_max", wat("(component (component))"), 1),
        (
            "module_bytes_max",
            [&kv[..], &[0; 2 << 20]].concat(),
            kv.len() + (2 << 20),
        ),
    ] {
        let (data, _) = upload(limit, &wasm);
        assert_eq!(limit_of(&data).0, format!("limits.{limit}"));
        assert_eq!(data["used"], used, "{limit}");
        assert!(data["max"].as_u64() < data["used"].as_u64(), "{limit}");
    }
    stage.stop();
}

pub(super) fn uploads_in_pieces_that_go_wrong(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let kv = component("kv");
    let refused = |name: &str, act: &dyn Fn() -> (u16, Value)| {
        stage.refused("neighbour", || catalogue.rest(name, &act()))
    };
    let begin = |query: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/uploads{query}");
        let begun = stage.client.send("POST", &path, headers, b"");
        let (status, _, upload) = begun.expect("an answer");
        assert_eq!(status, 201, "{upload}");
        upload["id"].as_str().expect("an id").to_owned()
    };
    let add = |id: &str, offset: &str, piece: &[u8]| {
        let path = format!("/v1/uploads/{id}");
        let headers = [("upload-offset", offset)];
        let added = stage.client.send("PATCH", &path, &headers, piece);
        let (status, told, answer) = added.expect("an answer");
        (status, told, answer)
    };
    let install = |id: &str| stage.post(&format!("/v1/applications?upload={id}"), b"");

    let data = refused("unknown_upload", &|| install("none"));
    assert_eq!(data["upload"], "none");
    let id = begin("", &[("upload-length", "10")]);
    assert_eq!(add(&id, "0", b"abc").0, 204);
    let data = refused("upload_offset", &|| {
        let (status, told, answer) = add(&id, "4", b"def");
        assert_eq!(told, Some(3));
        (status, answer)
    });
    assert_eq!(data["offset"], 3);
    let data = refused("upload_offset", &|| install(&id));
    assert_eq!((&data["offset"], &data["size"]), (&json!(3), &json!(10)));

    // Of which nothing can be made is gone.
    let other = stage.client.install("counter");
    let id = begin(&format!("?application={other}"), &[]);
    assert_eq!(add(&id, "0", &kv).0, 204);
    let data = refused("upload_mismatch", &|| install(&id));
    assert_eq!(data["expected"], other);
    refused("unknown_upload", &|| install(&id));
    let id = begin("", &[("content-encoding", "zstd")]);
    assert_eq!(add(&id, "0", &kv).0, 204);
    let data = refused("bad_encoding", &|| install(&id));
    assert_eq!(data["encoding"], "zstd");
    refused("unknown_upload", &|| install(&id));
    let data = refused("unsupported_encoding", &|| {
        let headers = [("content-encoding", "br")];
        let sent = stage.client.send("POST", "/v1/applications", &headers, &kv);
        let (status, _, answer) = sent.expect("an answer");
        (status, answer)
    });
    assert_eq!(data["encoding"], "br");
    stage.stop();
}

pub(super) fn a_compiler_that_is_killed_or_takes_too_long(catalogue: &Catalogue) {
    let stage = Stage::start(
        "[limits]\ncompile_cpu_max = \"60 s\"\ncompile_memory_bytes_max = \"8 GiB\"\n",
    );
    let data = stage.refused("neighbour", || {
        let answer = thread::scope(|scope| {
            let bombing = scope.spawn(|| stage.post("/v1/applications", &bomb()));
            let pid = Pid::from_raw(worker::at_work(&stage.server)).expect("a process");
            kill_process(pid, Signal::KILL).expect("it runs");
            bombing.join().expect("an answer")
        });
        catalogue.rest("compiler_failed", &answer)
    });
    assert_eq!(data["how"], "killed");
    stage.stop();

    let stage = Stage::start(
        "[limits]\ncompile_time_max = \"10 s\"\ncompile_cpu_max = \"60 s\"\ncompile_memory_bytes_max = \"8 GiB\"\n",
    );
    let data = stage.refused("neighbour", || {
        catalogue.rest("unavailable", &stage.post("/v1/applications", &bomb()))
    });
    assert_eq!(limit_of(&data), ("limits.compile_time_max", 10_000));
    stage.stop();
}

pub(super) fn a_server_with_all_its_applications(catalogue: &Catalogue) {
    let stage = Stage::start("[shards]\napplications_max = 1\n");
    let data = stage.refused("neighbour", || {
        catalogue.rest(
            "applications_full",
            &stage.post("/v1/applications", &component("counter")),
        )
    });
    assert_eq!(limit_of(&data), ("shards.applications_max", 1));
    stage.stop();
}

pub(super) fn contexts_that_cannot_be_upgraded(catalogue: &Catalogue) {
    let stage = Stage::start("");
    let [first, second] = ["tally", "tally-2"].map(|app| stage.client.install(app));
    let upgrade = |context: &str, to: &str| {
        let body = json!({ "application": to }).to_string();
        let path = format!("/v1/contexts/{context}/upgrade");
        stage.post(&path, body.as_bytes())
    };
    let later = stage.client.create(&second, None);
    let data = stage.refused(&later, || {
        catalogue.rest("not_upgradable", &upgrade(&later, &first))
    });
    assert_eq!((&data["from"], &data["to"]), (&json!(2), &json!(1)));
    let full = stage.client.create(&first, None);
    let count = json!({ "name": "sand", "by": u64::MAX });
    let answer = stage.call(&full, "count", &count);
    assert!(answer.1["result"].is_object(), "{}", answer.1);
    let data = stage.refused(&full, || {
        catalogue.rest("hook_failed", &upgrade(&full, &second))
    });
    assert_eq!(data["hook"], "migrate");
    assert_eq!(data["cause"], "application_error");
    assert_eq!(data["error"]["code"], "too_many");
    stage.stop();
}

/// It takes the compiler very long, or for ever.
fn bomb() -> Vec<u8> {
    made::indirect_calls(30_000)
}
