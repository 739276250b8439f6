//! A server whose descriptors are all taken by clients that only connect goes on
//! serving the connections that it has. One that has too few to serve anybody does not
//! start, and one that has as many as it says that it needs does its work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use corelet_tests::{ANY_PORT, Server};
use serde_json::json;

/// Descriptors that the server may have, and connections that want one.
const DESCRIPTORS: usize = 96;
const IDLE: usize = 200;

/// Far longer than an answer takes, and shorter than idle connections are kept.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that may have so many descriptors.
fn limited(data: &Path, descriptors: usize, shards: usize) -> Server {
    let limited = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let wrapper = ["sh", "-c", &limited].map(str::to_owned);
    let shards = ["--shards", &shards.to_string()];
    Server::spawn(data, ANY_PORT, &wrapper, &shards)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the backlog takes a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Whether the server says that it is well, over this connection.
fn is_well(stream: &mut TcpStream) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nHost: corelet\r\n\r\n";
    stream.write_all(request).expect("a request leaves");
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer).expect("an answer comes");
    answer[..count].starts_with(b"HTTP/1.1 200 ")
}

#[test]
fn a_connection_is_served_when_no_descriptor_is_left() {
    let home = tempfile::tempdir().expect("a directory for data");
    let mut server = limited(&home.path().join("data"), DESCRIPTORS, 1);
    assert!(server.wait_ready(), "{}", server.log());

    let mut known = connect(server.address());
    assert!(is_well(&mut known));
    let idle: Vec<_> = (0..IDLE).map(|_| connect(server.address())).collect();
    while !server.log().contains("cannot accept a connection") {
        assert!(is_well(&mut known));
    }
    for _ in 0..20 {
        assert!(is_well(&mut known));
    }
    drop(idle);
    let mut new = connect(server.address());
    assert!(
        is_well(&mut new),
        "descriptors that were given back are used"
    );
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_server_with_too_few_descriptors_says_how_many_it_needs_and_works_with_those() {
    let home = tempfile::tempdir().expect("a directory for data");
    for shards in [1, 4] {
        let data = home.path().join(shards.to_string());
        let mut server = limited(&data, 32, shards);
        assert!(!server.wait_ready(), "it could take in nobody");
        assert_eq!(server.wait().code(), Some(1));
        let log = server.log();
        let (_, least) = log.split_once("need at least ").expect(&log);
        let (least, rest) = least.split_once(',').expect(&log);
        assert!(rest.contains("raise the hard limit"), "{log}");
        assert!(!data.exists(), "nothing was made");
        drop(server);

        let least = least.parse().expect("a number");
        let mut server = limited(&data, least, shards);
        assert!(server.wait_ready(), "{}", server.log());
        let mut known: Vec<_> = (0..8).map(|_| connect(server.address())).collect();
        assert!(known.iter_mut().all(is_well));
        // A compiler is started, and a checkpoint and a copy are made, beside them.
        let client = server.client();
        let context = client.create(&client.install("kv"), None);
        let set = client.call(&context, "set", json!({ "key": "k", "value": "v" }));
        assert!(set.expect("an answer")["result"].is_object());
        let export = client.get(&format!("/v1/contexts/{context}/entries"));
        assert_eq!(export.expect("an answer").0, 200);
        assert!(known.iter_mut().all(is_well));
        assert_eq!(server.stop(), Some(0), "{}", server.log());
        let log = server.log();
        assert!(!log.contains("cannot accept a connection"), "{log}");
        assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
    }
}
