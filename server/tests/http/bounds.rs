//! Too large, too slow, too many, and framing that means two things.

#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::io::Read;
use std::time::Duration;

use crate::server::{Response, Server, wait_for};

const GET: &str = r#"{"jsonrpc":"2.0","id":1,"method":"execute","params":{"context_id":"kv","method":"get","args":{"key":"a"}}}"#;
/// Of the context of [`Server::start_endless_update`].
const FINE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"execute","params":["hostile","fine",{}]}"#;

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let server = Server::start(&[]);
    // Announced: refused by the announcement, and a client that asks first never sends.
    for headers in [
        "content-length: 2097153\r\n",
        "content-length: 2097153\r\nexpect: 100-continue\r\n",
    ] {
        for path in ["/rpc", "/v1/contexts"] {
            let response = server.exchange(&server.head("POST", path, headers));
            assert_eq!(response.status, 413, "{path} {headers:?}");
            assert_eq!(response.refusal(), "too_large");
            assert_eq!(response.header("connection"), Some("close"));
        }
    }
    let upload = server.head("POST", "/v1/applications", "content-length: 67108865\r\n");
    let response = server.exchange(&upload);
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (413, "too_large")
    );

    // Where nobody asks who it is, a stranger leaves next to nothing.
    for (bytes, status) in [(1024, 200), (1025, 413)] {
        let mut client = server.connect();
        let headers = format!("content-length: {bytes}\r\n");
        client.send(&server.head("GET", "/healthz", &headers));
        let _ = client.try_send(&vec![b' '; bytes]);
        assert_eq!(client.receive().status, status, "{bytes}");
    }

    // Not announced: refused when it has grown too large.
    let mut client = server.connect();
    client.send(&server.head("POST", "/rpc", "transfer-encoding: chunked\r\n"));
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..64 {
        // The server stops reading in the middle.
        if client.try_send(&chunk).is_err() {
            break;
        }
    }
    let response = client.receive();
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (413, "too_large")
    );
    server.check_and_stop();
}

#[test]
fn chunks_that_are_none_are_refused() {
    let server = Server::start(&[]);
    for path in ["/rpc", "/v1/contexts", "/v1/applications"] {
        for chunks in ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}x\r\n0\r\n\r\n"] {
            let mut request = server.head("POST", path, "transfer-encoding: chunked\r\n");
            request.extend_from_slice(chunks.as_bytes());
            let mut client = server.connect();
            client.send(&request);
            let response = client.receive();
            assert_eq!(response.status, 400, "{path} {chunks:?}");
            assert_eq!(response.refusal(), "broken_body");
            assert!(client.is_closed());
        }
    }
    server.check_and_stop();
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let headers = format!("content-length: {}\r\nexpect: 100-continue\r\n", GET.len());
    client.send(&server.head("POST", "/rpc", &headers));
    assert_eq!(client.receive().status, 100);
    client.send(GET.as_bytes());
    assert_eq!(client.receive().json()["result"]["output"], "1");
    server.check_and_stop();
}

#[test]
fn chunks_may_come_in_any_cut() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(&server.head("POST", "/rpc", "transfer-encoding: chunked\r\n"));
    for byte in GET.bytes() {
        client.send(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    client.send(b"0\r\nx-trailer: 1\r\n\r\n");
    assert_eq!(client.receive().json()["result"]["output"], "1");
    server.check_and_stop();
}

/// Framing that two servers could read differently ends the connection: what
/// follows it must never be taken for a request.
#[test]
fn ambiguous_framing_ends_the_connection() {
    let server = Server::start(&[]);
    let smuggled = server.request("DELETE", "/v1/contexts/kv", b"");
    for headers in [
        "content-length: 0\r\ncontent-length: 5\r\n",
        "content-length: 0, 5\r\n",
        "content-length: -1\r\n",
        "content-length: +0\r\n",
        "content-length: 0x0\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: identity\r\n",
        "content-length : 0\r\n",
        " folded: x\r\n",
        "bad header\r\n",
        "x: a\0b\r\n",
    ] {
        let mut client = server.connect();
        let mut request = server.head("POST", "/rpc", headers);
        request.extend_from_slice(&smuggled);
        let _ = client.try_send(&request);
        if let Some(response) = client.try_receive() {
            assert!(
                (400..600).contains(&response.status),
                "{headers:?}: {response:?}"
            );
            response.refusal();
        }
        assert!(client.is_closed(), "{headers:?} left the connection open");
    }
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\n",
        "1\r\nab\r\n0\r\n\r\n",
    ] {
        let mut client = server.connect();
        let mut request = server.head("POST", "/rpc", "transfer-encoding: chunked\r\n");
        request.extend_from_slice(chunks.as_bytes());
        request.extend_from_slice(&smuggled);
        let _ = client.try_send(&request);
        if let Some(response) = client.try_receive() {
            assert_ne!(response.status, 204, "{chunks:?} deleted the context");
        }
        assert!(client.is_closed(), "{chunks:?} left the connection open");
    }
    // Both at once: the length does not count (RFC 9112 section 6.3), and the
    // connection ends behind the answer or is refused at once.
    let mut client = server.connect();
    let mut request = server.head(
        "POST",
        "/rpc",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
    );
    request.extend_from_slice(b"0\r\n\r\n");
    client.send(&request);
    assert_ne!(client.receive().status, 204);
    assert_eq!(
        server.get("/v1/contexts/kv").status,
        200,
        "the context was deleted by a smuggled request"
    );
    server.check_and_stop();
}

#[test]
fn headers_have_a_size_and_a_number() {
    let server = Server::start(&[]);
    let long = format!("x-long: {}\r\n", "x".repeat(20 << 10));
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let path = format!("/{}", "x".repeat(20 << 10));
    for (path, headers) in [("/healthz", &long[..]), ("/healthz", &many), (&path, "")] {
        let response = server.exchange(&server.head("GET", path, headers));
        assert_eq!(
            (response.status, response.refusal().as_str()),
            (431, "head_too_large")
        );
    }
    for garbage in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/3.0\r\n\r\n",
        "\0\0\0\0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(garbage.as_bytes());
        client.half_close();
        if let Some(response) = client.try_receive() {
            assert_eq!(
                (response.status, response.refusal().as_str()),
                (400, "broken_head"),
                "{garbage:?}"
            );
        }
        assert!(client.is_closed());
    }
    server.check_and_stop();
}

/// Whatever came before it on its connection: a library that shows its user the body of
/// what went wrong has one to show.
#[test]
fn what_is_no_request_is_refused_in_words() {
    let server = Server::start(&[]);
    let before = server.figure("corelet_http_requests_total");
    let good = server.request("POST", "/rpc", GET.as_bytes());
    let bad = server.head("POST", "/rpc", "content-length: many\r\n");
    for is_at_once in [false, true] {
        let mut client = server.connect();
        match is_at_once {
            true => client.send(&[good.clone(), good.clone(), bad.clone()].concat()),
            false => client.send(&[good.clone(), good.clone()].concat()),
        }
        for _ in 0..2 {
            assert_eq!(client.receive().json()["result"]["output"], "1");
        }
        if !is_at_once {
            client.send(&bad);
        }
        let response = client.receive();
        assert_eq!(response.status, 400);
        assert_eq!(response.header("connection"), Some("close"));
        let content_type = response.header("content-type");
        assert_eq!(content_type, Some("application/problem+json"));
        let problem = response.json();
        assert_eq!(problem["type"], "urn:corelet:error:broken_head");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("content-length"), "{detail}");
        assert!(client.is_closed());
    }
    // Both, and the page of figures itself.
    assert_eq!(server.figure("corelet_http_requests_total"), before + 3);
    server.check_and_stop();
}

#[test]
fn slow_clients_are_told_and_cut() {
    let server = Server::start(&[
        ("http.header_timeout", "300 ms"),
        ("http.body_timeout", "300 ms"),
        ("http.idle_timeout", "1 s"),
    ]);
    // Headers that never end.
    let mut client = server.connect();
    client.send(b"POST /rpc HTTP/1.1\r\nhost: te");
    let response = client.receive();
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (408, "too_slow")
    );
    assert_eq!(response.json()["limit"], "http.header_timeout");
    assert!(client.is_closed());
    // Headers that come drop by drop do not buy time.
    let mut client = server.connect();
    let dripping = std::thread::spawn({
        let mut stream = client.stream.try_clone().unwrap();
        move || {
            use std::io::Write;
            for byte in b"GET /healthz HTTP/1.1\r\nhost: a-rather-long-name-that-takes-its-time\r\n"
                .iter()
                .cycle()
            {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                #[allow(clippy::disallowed_methods, reason = "this thread is no shard")]
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let _ = client
        .try_receive()
        .map(|response| assert_eq!(response.status, 408));
    drop(client);
    dripping.join().unwrap();
    // A body that never ends.
    let mut client = server.connect();
    client.send(&server.head("POST", "/rpc", "content-length: 100\r\n"));
    client.send(b"{");
    let response = client.receive();
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (408, "too_slow")
    );
    assert_eq!(
        response.json()["error"]["data"]["limit"],
        "http.body_timeout"
    );
    assert!(client.is_closed());
    let mut client = server.connect();
    client.send(&server.head("POST", "/v1/contexts", "transfer-encoding: chunked\r\n"));
    let response = client.receive();
    assert_eq!(
        (response.status, response.refusal().as_str()),
        (408, "too_slow")
    );
    // A connection that says nothing, at first or after an answer.
    assert!(server.connect().is_closed());
    let mut client = server.connect();
    client.send(&server.request("GET", "/healthz", b""));
    assert_eq!(client.receive().status, 200);
    assert!(client.is_closed());
    // Each counts once, those too that have not closed their side.
    assert_eq!(cut(&server), 6);
    server.check_and_stop();
}

/// A client that asks for much and reads nothing holds a connection and its
/// answers for the idle time, no longer.
#[test]
fn a_client_that_does_not_read_is_cut() {
    let server = Server::start(&[("http.idle_timeout", "1 s")]);
    let value = "x".repeat(500_000);
    server.call(
        "kv",
        "set",
        serde_json::json!({ "key": "big", "value": value }),
    );
    let batch = format!("[{}]", vec![GET.replace("\"a\"", "\"big\""); 60].join(","));
    let mut client = server.connect();
    client.send(&server.request("POST", "/rpc", batch.as_bytes()));
    wait_for("the connection to be cut", || {
        server.log().contains("\"stopped\"") || cut(&server) > 0
    });
    let mut rest = Vec::new();
    // What was in flight, then the end; not the whole answer.
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 30_000_000, "{}", rest.len());
    server.check_and_stop();
}

fn cut(server: &Server) -> u64 {
    let page = server.get("/metrics");
    let text = String::from_utf8(page.body).unwrap();
    let lines = text.lines().filter(|line| line.contains("fate=\"cut\""));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn connections_over_the_limit_are_told_and_those_within_it_go_on() {
    let server = Server::start(&[("http.connections_max", "4")]);
    // Two shards share the port, four places each: with sixteen connections both are full.
    let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
    let mut answered = 0;
    let mut turned_away = 0;
    for client in &mut clients {
        let _ = client.try_send(&server.request("GET", "/healthz", b""));
        match client.try_receive() {
            Some(response) if response.status == 200 => answered += 1,
            Some(response) => {
                assert_eq!(
                    (response.status, response.refusal().as_str()),
                    (503, "unavailable")
                );
                assert_eq!(response.header("retry-after"), Some("1"));
                assert_eq!(response.json()["limit"], "http.connections_max");
                turned_away += 1;
            }
            None => turned_away += 1,
        }
    }
    assert!((1..=8).contains(&answered), "{answered}");
    assert_eq!(answered + turned_away, 64);
    drop(clients);
    wait_for("a free place", || {
        let mut client = server.connect();
        let _ = client.try_send(&server.request("GET", "/healthz", b""));
        client
            .try_receive()
            .is_some_and(|response| response.status == 200)
    });
    wait_for("both shards to have room", || {
        (0..4).all(|_| {
            let mut client = server.connect();
            let _ = client.try_send(&server.request("GET", "/healthz", b""));
            client
                .try_receive()
                .is_some_and(|response| response.status == 200)
        })
    });
    server.check_and_stop();
}

#[test]
fn requests_may_be_pipelined_and_the_sending_half_closed() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let one = server.request("POST", "/rpc", GET.as_bytes());
    let two = server.request("POST", "/rpc", b"nonsense");
    let three = server.request("GET", "/v1/status", b"");
    client.send(&[one.clone(), two, three, one].concat());
    client.half_close();
    assert_eq!(client.receive().json()["result"]["output"], "1");
    assert_eq!(client.receive().json()["error"]["code"], -32700);
    assert_eq!(client.receive().json()["ready"], true);
    assert_eq!(client.receive().json()["result"]["output"], "1");
    assert!(client.is_closed());
    server.check_and_stop();
}

#[test]
fn a_client_that_goes_away_takes_nothing_with_it() {
    let server = Server::start(&[]);
    for cut in [1, 10, 40, 120, 170] {
        let mut client = server.connect();
        let request = server.request("POST", "/rpc", GET.as_bytes());
        client.send(&request[..cut.min(request.len())]);
    }
    for _ in 0..20 {
        let mut client = server.connect();
        client.send(&server.request("POST", "/rpc", GET.as_bytes()));
    }
    server.check_and_stop();
}

/// Whoever is refused because a queue is full learns when to come back, and a
/// call that does not end keeps nobody from asking how the server is.
#[test]
fn a_full_queue_says_when_to_come_back_while_health_and_status_answer() {
    let server = Server::start(&[
        ("shards.context_waiting_max", "1"),
        ("limits.update_fuel_max", "100_000_000_000_000"),
        ("process.drain_timeout", "300 ms"),
    ]);
    let mut looping = server.start_endless_update();
    let refused = refused_by_full_queue(&server);
    assert_eq!(refused.refusal(), "busy");
    let data = &refused.json()["error"]["data"];
    assert_eq!(data["limit"], "shards.context_waiting_max", "{data}");
    assert_eq!(refused.header("retry-after"), Some("1"), "{}", refused.head);

    // Twice as many connections as it takes for both shards to have some.
    for _ in 0..16 {
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(server.get("/v1/status").json()["ready"], true);
    }
    assert!(looping.is_waiting(), "the loop was over before the answers");
    server.check_and_stop();
}

/// The answer to a call of the endless update's context, once that is full.
fn refused_by_full_queue(server: &Server) -> Response {
    loop {
        let response = server.rpc(FINE);
        if response.status != 200 {
            assert_eq!(response.status, 429, "{response:?}");
            return response;
        }
    }
}
