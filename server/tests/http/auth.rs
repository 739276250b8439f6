//! Every route without the right token.

use crate::server::Server;

const CLOSED: [(&str, &str); 13] = [
    ("POST", "/rpc"),
    ("GET", "/rpc"),
    ("GET", "/metrics"),
    ("GET", "/version"),
    ("GET", "/v1/status"),
    ("GET", "/v1/applications"),
    ("POST", "/v1/applications"),
    ("DELETE", "/v1/applications/kv"),
    ("GET", "/v1/contexts"),
    ("POST", "/v1/contexts"),
    ("DELETE", "/v1/contexts/kv"),
    ("GET", "/nothing/here"),
    ("PUT", "/healthzz"),
];

#[test]
fn no_route_but_health_answers_without_the_token() {
    let server = Server::start(&[]);
    let token = server.token.clone();
    let nearly: String = token[..token.len() - 1].to_owned();
    let bad = [
        String::new(),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: Bearer {nearly}\r\n"),
        format!("authorization: Bearer {token}x\r\n"),
        format!("authorization: Basic {token}\r\n"),
        format!("authorization: {token}\r\n"),
        format!("authorization: Bearer {token} {token}\r\n"),
        format!("authorization: Bearer {token}\r\nauthorization: Bearer {token}\r\n"),
        format!("authorization: Bearer {}\r\n", "x".repeat(5000)),
        format!("x-authorization: Bearer {token}\r\n"),
        format!("cookie: authorization={token}\r\n"),
    ];
    for (method, path) in CLOSED {
        for headers in &bad {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: 0\r\n\r\n"
            );
            let response = server.exchange(request.as_bytes());
            assert_eq!(response.status, 401, "{method} {path} with {headers:?}");
            assert_eq!(response.refusal(), "unauthenticated");
            assert_eq!(
                response.header("www-authenticate"),
                Some("Bearer realm=\"corelet\"")
            );
            let text = String::from_utf8_lossy(&response.body).into_owned();
            assert!(
                text.contains("corelet token"),
                "it says how to get one: {text}"
            );
        }
        // The token in the address is no token.
        let request = format!(
            "{method} {path}?token={token} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(server.exchange(request.as_bytes()).status, 401);
    }
    for path in ["/healthz", "/readyz"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(server.exchange(request.as_bytes()).status, 200);
    }
    assert_eq!(server.get("/metrics").status, 200);
    assert_eq!(server.get("/version").json()["name"], "corelet");
    // The scheme's name is not case sensitive.
    let request =
        format!("GET /v1/status HTTP/1.1\r\nhost: test\r\nauthorization: bEARER {token}\r\n\r\n");
    assert_eq!(server.exchange(request.as_bytes()).status, 200);
    let log = server.check_and_stop();
    assert!(log.contains("\"stopped\""), "the whole log: {log}");
    assert!(!log.contains(&token), "the token is in the log");
}

#[test]
fn metrics_can_be_made_public_and_nothing_else_with_them() {
    let server = Server::start(&[("metrics.public", "true")]);
    let open = |path: &str| {
        server.exchange(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
    };
    let page = open("/metrics");
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body).unwrap();
    for name in [
        "corelet_queries_total{shard=\"0\"}",
        "corelet_query_seconds_bucket{le=\"+Inf\",shard=\"1\"}",
        "corelet_update_seconds_count{shard=\"0\"}",
        "corelet_batch_changes_sum{shard=\"0\"}",
        "corelet_batch_seconds_bucket{le=\"+Inf\",shard=\"1\"}",
        "corelet_http_requests_total{shard=\"0\",status=\"2xx\"}",
        "corelet_fuel_total{shard=\"0\"}",
        "corelet_mailbox_depth{shard=\"0\"}",
        "corelet_warm_instances{shard=\"0\"}",
        "corelet_warm_memory_bytes{shard=\"0\"}",
        "corelet_sequence_bytes{shard=\"0\"}",
        "corelet_sequence_hits_total{shard=\"0\"}",
        "corelet_sequence_misses_total{shard=\"0\"}",
        "corelet_swept_records_total{shard=\"0\"}",
        "corelet_calls_total{shard=\"0\",outcome=\"ok\"}",
        "process_resident_memory_bytes",
        "corelet_build_info{version=",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(open("/v1/status").status, 401);
    // The same figures, for those who ask with a token.
    let status = server.get("/v1/status").json();
    let shards = status["shards"].as_array().unwrap().iter();
    let updates: u64 = shards.map(|shard| shard["updates"].as_u64().unwrap()).sum();
    assert_eq!(updates, server.figure("corelet_updates_total"));
    server.check_and_stop();
}
