//! The REST side: uploads that are no applications, contexts that cannot be
//! made, pages, and what goes in which order.

use serde_json::json;

use crate::server::Server;

#[test]
fn what_is_not_an_application_is_refused_and_leaves_nothing() {
    let server = Server::start(&[]);
    let core_module = b"\0asm\x01\0\0\0";
    let empty_component = b"\0asm\x0d\0\x01\0";
    let garbage = [0x5a; 4096];
    for body in [
        &b""[..],
        b"hello",
        b"\0asm",
        core_module,
        empty_component,
        &garbage,
    ] {
        let response = server.post("/v1/applications", body);
        assert_eq!(response.status, 422, "{body:?}");
        assert_eq!(response.refusal(), "not_an_application");
        assert_eq!(
            response.header("content-type"),
            Some("application/problem+json")
        );
    }
    let list = server.get("/v1/applications").json();
    assert_eq!(list["applications"].as_array().unwrap().len(), 1);
    server.check_and_stop();
}

#[test]
fn names_that_are_no_text_are_refused_in_our_own_words() {
    let server = Server::start(&[]);
    for path in ["/v1/contexts/%ff", "/v1/applications/a%c3%28"] {
        for method in ["GET", "DELETE"] {
            let response = server.exchange(&server.request(method, path, b""));
            assert_eq!(response.status, 400, "{method} {path}");
            assert_eq!(response.refusal(), "invalid_params");
        }
    }
    server.check_and_stop();
}

#[test]
fn the_bound_on_nesting_holds_for_what_makes_contexts_too() {
    let server = Server::start(&[("http.depth_max", "8")]);
    let make = |depth: usize| {
        // The body and `args` are two levels of it.
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        let body = format!(r#"{{"application":"kv","args":{{"unknown":{open}{close}}}}}"#);
        server.post("/v1/contexts", body.as_bytes())
    };
    let deepest = make(8);
    assert_ne!(deepest.refusal(), "too_deep", "{deepest:?}");
    let response = make(9);
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (400, "too_deep")
    );
    assert_eq!(response.json()["limit"], "http.depth_max");
    server.check_and_stop();
}

#[test]
fn contexts_that_cannot_be_made_are_refused() {
    let server = Server::start(&[]);
    let check = |body: serde_json::Value, status: u16, name: &str| {
        let response = server.post("/v1/contexts", body.to_string().as_bytes());
        assert_eq!(
            (response.status, response.refusal().as_str()),
            (status, name),
            "{body}"
        );
    };
    check(
        json!({ "application": "nothing" }),
        404,
        "unknown_application",
    );
    check(
        json!({ "application": "1".repeat(32) }),
        404,
        "unknown_application",
    );
    check(
        json!({ "application": "kv", "name": "kv" }),
        409,
        "conflict",
    );
    check(
        json!({ "application": "kv", "name": "" }),
        400,
        "invalid_params",
    );
    check(
        json!({ "application": "kv", "name": "a b" }),
        400,
        "invalid_params",
    );
    check(
        json!({ "application": "kv", "name": "x".repeat(65) }),
        400,
        "invalid_params",
    );
    check(
        json!({ "application": "kv", "args": [1] }),
        400,
        "invalid_params",
    );
    check(
        json!({ "application": "kv", "nome": "x" }),
        400,
        "invalid_params",
    );
    check(json!({ "name": "x" }), 400, "invalid_params");
    check(json!([]), 400, "invalid_params");
    let response = server.post("/v1/contexts", b"{");
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (400, "parse_error")
    );
    assert_eq!(
        server.get("/v1/contexts").json()["contexts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.check_and_stop();
}

/// A parameter that is misspelt, given twice or given where there is none would be ignored, and
/// its sender none the wiser.
#[test]
fn parameters_are_known_and_given_once() {
    let server = Server::start(&[]);
    let id = server.get("/v1/contexts/kv").json()["id"].clone();
    let id = id.as_str().unwrap();
    let one = "1".repeat(32);
    for (method, path, parameter) in [
        ("GET", "/v1/contexts/kv/events?after=1&after=2", "after"),
        ("GET", "/v1/contexts/kv/logs?after=1&after=1", "after"),
        ("GET", "/v1/contexts/kv/logs?limit=1", "limit"),
        ("GET", "/v1/contexts/kv/deltas?limit=1&limit=1", "limit"),
        ("GET", "/v1/contexts/kv/entries?prefix=a&prefix=b", "prefix"),
        ("GET", "/v1/contexts/kv/entries?space=all", "space"),
        ("GET", "/v1/contexts/kv/blobs?offset=1", "offset"),
        ("GET", "/v1/blobs?limit=1&limit=1", "limit"),
        ("POST", &format!("/v1/blobs?id={one}&id={one}"), "id"),
        ("GET", "/v1/backup?x=1", "x"),
        ("GET", "/v1/status?x", "x"),
        ("GET", "/v1/applications?limit=1", "limit"),
        ("POST", "/v1/applications?name=kv", "name"),
        ("GET", "/v1/applications/kv?x=1", "x"),
        ("DELETE", "/v1/applications/kv?force=1", "force"),
        ("POST", "/v1/contexts?name=x", "name"),
        ("GET", "/v1/contexts/kv?x=1", "x"),
        ("DELETE", "/v1/contexts/kv?force=1", "force"),
        ("GET", "/v1/contexts/kv/export?scope=all", "scope"),
        ("DELETE", "/v1/contexts/kv/quarantine?x=1", "x"),
        ("GET", &format!("/v1/blobs/{one}?x=1"), "x"),
        ("HEAD", &format!("/v1/blobs/{one}?x=1"), "x"),
        ("DELETE", &format!("/v1/blobs/{one}?x=1"), "x"),
        ("GET", &format!("/v1/blobs/{one}/info?x=1"), "x"),
    ] {
        let mut client = server.connect();
        client.send(&server.request(method, path, b""));
        if method == "HEAD" {
            let mut answer = [0; 12];
            std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 400");
            continue;
        }
        let response = client.receive();
        assert_eq!(
            (response.status, response.refusal().as_str()),
            (400, "invalid_params"),
            "{method} {path}"
        );
        assert_eq!(response.json()["parameter"], parameter, "{method} {path}");
    }
    assert_eq!(server.get("/v1/contexts/kv").json()["id"], id);
    // Watchers' tools send what they like.
    for path in ["/healthz?x=1", "/readyz?x=1&x=2", "/metrics?x", "/version?"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/v1/status?", "/v1/contexts?&"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    server.check_and_stop();
}

#[test]
fn contexts_are_listed_in_pages_and_deleted_for_good() {
    let server = Server::start(&[]);
    let mut ids: Vec<String> = (0..9)
        .map(|number| {
            let body = json!({ "application": "kv", "name": format!("c{number}") });
            let created = server.post("/v1/contexts", body.to_string().as_bytes());
            assert_eq!(created.status, 201);
            created.json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut seen = Vec::new();
    let mut path = "/v1/contexts?limit=4".to_owned();
    loop {
        let page = server.get(&path).json();
        seen.extend(
            page["contexts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|context| context["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/contexts?limit=4&after={next}");
    }
    assert_eq!(seen.len(), 10);
    assert!(ids.iter().all(|id| seen.contains(id)));
    for query in [
        "limit=0",
        "limit=x",
        "after=x",
        "offset=1",
        "limit=1&limit=2",
    ] {
        let response = server.get(&format!("/v1/contexts?{query}"));
        assert_eq!(
            (response.status, response.refusal().as_str()),
            (400, "invalid_params"),
            "{query}"
        );
    }
    for after in ["x", &ids[0], &format!("{}/x", ids[0])] {
        let response = server.get(&format!("/v1/contexts/kv/sent?after={after}"));
        assert_eq!(
            (response.status, response.refusal().as_str()),
            (400, "invalid_params"),
            "{after}"
        );
    }
    let gone = ids.remove(0);
    assert_eq!(server.delete(&format!("/v1/contexts/{gone}")).status, 204);
    assert_eq!(server.delete(&format!("/v1/contexts/{gone}")).status, 404);
    assert_eq!(server.get(&format!("/v1/contexts/{gone}")).status, 404);
    assert_eq!(
        server.call("c0", "len", json!({}))["error"]["data"]["name"],
        "unknown_context"
    );
    // Its name is free again.
    let again = server.post("/v1/contexts", br#"{"application":"kv","name":"c0"}"#);
    assert_eq!(again.status, 201);
    server.check_and_stop();
}

#[test]
fn an_application_goes_after_its_contexts() {
    let server = Server::start(&[]);
    let response = server.delete("/v1/applications/kv");
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (409, "conflict")
    );
    assert_eq!(
        server.get("/v1/applications/kv").json()["description"]["methods"][0]["name"],
        "entries"
    );
    assert_eq!(server.get("/v1/applications/none").status, 404);
    assert_eq!(server.delete("/v1/applications/none").status, 404);
    assert_eq!(server.get("/v2/anything").refusal(), "not_found");
    let response = server.exchange(&server.request("PATCH", "/v1/contexts", b""));
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (405, "method_not_allowed")
    );
    assert!(response.header("allow").is_some());
    assert!(response.header("x-request-id").is_some());
    server.check_and_stop();
}

/// A full server compiles and keeps nothing of one more, but still takes what it
/// has, and has a place again when one has gone.
#[test]
fn so_many_applications_are_installed_and_no_more() {
    let server = Server::start(&[("shards.applications_max", "2")]);
    let kv = corelet_tests::component("kv");
    let hostile = corelet_tests::hostile();
    let spinner = corelet_tests::spinner();
    let install = |component: &[u8]| server.post("/v1/applications", component);
    let kept = || {
        let files = std::fs::read_dir(server.data_dir().join("blobs")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        paths.filter(|path| path.is_file()).count()
    };
    let compiled = || server.figure("corelet_compilations_total");
    let installed = install(&hostile);
    assert_eq!(installed.status, 201);
    let path = format!(
        "/v1/applications/{}",
        installed.json()["id"].as_str().unwrap()
    );
    assert_eq!((kept(), compiled()), (2, 2));

    let response = install(&spinner);
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (409, "applications_full")
    );
    let problem = response.json();
    assert_eq!(problem["limit"], "shards.applications_max");
    assert_eq!((&problem["used"], &problem["max"]), (&json!(2), &json!(2)));
    assert_eq!((kept(), compiled()), (2, 2));
    let list = server.get("/v1/applications").json();
    assert_eq!(list["applications"].as_array().unwrap().len(), 2);
    for installed in [&kv, &hostile] {
        let response = install(installed);
        assert!((200..300).contains(&response.status), "{response:?}");
    }

    assert_eq!(server.delete(&path).status, 204);
    assert_eq!(install(&spinner).status, 201);
    assert_eq!(install(&hostile).refusal(), "applications_full");
    server.check_and_stop();
}

#[test]
fn figures_come_in_the_format_that_was_asked_for() {
    let server = Server::start(&[]);
    let page = |accept: &str| {
        let headers = format!("{accept}content-length: 0\r\n");
        let response = server.exchange(&server.head("GET", "/metrics", &headers));
        assert_eq!(response.status, 200);
        let kind = response.header("content-type").unwrap().to_owned();
        (kind, String::from_utf8(response.body).unwrap())
    };
    for accept in ["", "accept: */*\r\n"] {
        let (kind, text) = page(accept);
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains("# TYPE corelet_calls counter\n"), "{text}");
    }
    let (kind, text) = page("accept: text/plain; version=0.0.4\r\n");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            families.push(name);
        } else if !line.starts_with('#') {
            // Every sample stands under its family's name.
            let family = families.last().unwrap();
            let rest = line.strip_prefix(family);
            let rest = rest.unwrap_or_else(|| panic!("{line} under {family}"));
            assert!(
                ["{", " ", "_sum", "_count", "_bucket"]
                    .iter()
                    .any(|next| rest.starts_with(next)),
                "{line} under {family}"
            );
        } else {
            assert!(line.starts_with("# HELP "), "{line}");
        }
    }
    assert!(families.contains(&"corelet_calls_total"), "{text}");
    server.check_and_stop();
}
