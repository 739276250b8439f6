//! A server whose descriptors are all taken by clients that only connect goes on
//! serving the connections that it has.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corelet_tests::{ANY_PORT, Server};

/// Descriptors that the server may have, and connections that want one.
const DESCRIPTORS: usize = 96;
const IDLE: usize = 200;

/// Far longer than an answer takes, and shorter than idle connections are kept.
const PATIENCE: Duration = Duration::from_secs(20);

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
    let limited = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    let wrapper = ["sh", "-c", &limited].map(str::to_owned);
    let shards = ["--shards", "1"];
    let mut server = Server::spawn(&home.path().join("data"), ANY_PORT, &wrapper, &shards);
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
