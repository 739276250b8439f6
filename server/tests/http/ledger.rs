//! The bounds of the engine below the ledger: places for snapshots, what copies hold up, and
//! values that are too large; and the figures that tell of them.

use std::io::Read;

use serde_json::json;

use crate::server::{Server, wait_for};

const EXPORT: &str = "/v1/contexts/kv/export";

/// An answer that was sent in chunks ends with this, if it is whole.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// Snapshots that two shards have in use while nobody asks for a copy.
const AT_REST: u64 = 2;

/// Fills the context, so that an export of it fits into no buffers on its way.
fn fill(server: &Server) {
    // Of no two values alike, and none that would be shorter if it was written otherwise.
    let mut state = 1_u64;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'?' + (state >> 59) as u8)
    };
    for n in 0..24 {
        let value: String = (0..1_000_000).map(|_| letter()).collect();
        let set = server.call("kv", "set", json!({ "key": n.to_string(), "value": value }));
        assert!(set["result"].is_object(), "{set}");
    }
}

/// The figure of each of the two shards.
fn of_each(server: &Server, name: &str) -> [u64; 2] {
    let page = server.get("/metrics");
    let text = String::from_utf8(page.body).unwrap();
    [0, 1].map(|shard| {
        let begins = format!("{name}{{shard=\"{shard}\"}} ");
        let mut found = text.lines().filter_map(|line| line.strip_prefix(&begins));
        let value = found
            .next()
            .unwrap_or_else(|| panic!("no {begins}in {text}"));
        assert_eq!(found.next(), None, "{begins}is there twice");
        value.parse().unwrap()
    })
}

/// How often somebody was refused at this limit.
fn refused_at(server: &Server, limit: &str) -> u64 {
    let page = server.get("/metrics");
    let text = String::from_utf8(page.body).unwrap();
    let label = format!("limit=\"{limit}\"");
    let of_it = |line: &&str| line.starts_with("corelet_refused_by_limit") && line.contains(&label);
    let lines = text.lines().filter(of_it);
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn when_places_for_snapshots_run_out_copies_are_refused_with_the_limit_and_calls_go_on() {
    let server = Server::start(&[
        ("storage.readers_max", "16"),
        // Each has a place, and 16 more.
        ("shards.instances_max", "8"),
        ("shards.copies_max", "64"),
    ]);
    fill(&server);
    let mut held = Vec::new();
    let refused = loop {
        let mut client = server.connect();
        client.send(&server.request("GET", EXPORT, b""));
        let response = client.receive();
        if response.status != 200 {
            break response;
        }
        held.push(client);
    };
    assert_eq!(
        (refused.status, refused.refusal().as_str()),
        (429, "busy"),
        "{refused:?}"
    );
    let problem = refused.json();
    assert_eq!(problem["limit"], "storage.readers_max");
    assert_eq!(
        (&problem["used"], &problem["max"]),
        (&json!(24), &json!(24))
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused_at(&server, "storage.readers_max"), 1);
    // Half of them, of which one is the shard's own; at times it has two.
    assert!((10..12).contains(&held.len()), "{}", held.len());
    wait_for("the figures to tell of them", || {
        server.figure("corelet_ledger_readers") > held.len() as u64
    });

    for n in 0..50 {
        let args = json!({ "key": "b", "value": n.to_string() });
        let set = server.call("kv", "set", args);
        assert!(set["result"].is_object(), "{set}");
        let get = server.call("kv", "get", json!({ "key": "b" }));
        assert_eq!(get["result"]["output"], n.to_string(), "{get}");
    }
    wait_for("pages to be held up", || {
        server.figure("corelet_ledger_held_up_milliseconds") > 0
    });

    drop(held);
    wait_for("their places to be free again", || {
        server.figure("corelet_ledger_readers") == AT_REST
    });
    assert!(server.figure("corelet_ledger_readers_peak") > 12);
    let mut client = server.connect();
    client.send(&server.request("GET", EXPORT, b""));
    assert_eq!(client.receive().status, 200);
    let log = server.check_and_stop();
    assert!(!log.contains("is shown later"), "{log}");
}

/// Every figure of the care for the engine, as a server at rest has it, one whose snapshots are
/// held, and one whose ledger is full.
#[test]
fn what_becomes_of_the_ledgers_is_told_by_their_figures() {
    const MAP_BYTES_MAX: u64 = 96 << 20;
    let mut server = Server::start(&[
        ("storage.map_bytes_max", "96 MiB"),
        ("storage.readers_max", "16"),
        ("shards.instances_max", "8"),
    ]);
    let of_each = |name: &str| of_each(&server, &format!("corelet_{name}"));
    let sum = |name: &str| of_each(name).iter().sum::<u64>();
    wait_for("the first look at the ledgers", || {
        of_each("ledger_bytes_max") == [MAP_BYTES_MAX; 2]
    });
    let is_at_rest =
        || of_each("ledger_readers") == [1; 2] && sum("ledger_held_up_milliseconds") == 0;
    wait_for("a server at rest", is_at_rest);
    assert_eq!(of_each("ledger_readers_max"), [16 + 8; 2]);
    assert!(of_each("ledger_readers_peak").iter().all(|peak| *peak >= 1));
    // Neither has another process read them, nor a disk been full.
    let are_zero = [
        "ledger_stale_readers_total",
        "ledger_disk_full",
        "changes_refused_by_full_disk_total",
        "changes_refused_by_full_ledger_total",
    ];
    for name in are_zero {
        assert_eq!(of_each(name), [0; 2], "{name}");
    }
    let empty = of_each("ledger_bytes");
    assert!(
        empty.iter().all(|bytes| (1..1 << 20).contains(bytes)),
        "{empty:?}"
    );

    // Each of its bytes is in an entry and in a delta of one of both.
    fill(&server);
    wait_for("the ledger to grow", || {
        sum("ledger_bytes") > 2 * 24_000_000
    });
    let filled = of_each("ledger_bytes");
    let (owner, other) = match filled[0] > filled[1] {
        true => (0, 1),
        false => (1, 0),
    };
    assert!(
        filled[owner] < MAP_BYTES_MAX && filled[other] < 1 << 20,
        "{filled:?}"
    );
    wait_for("space to be reserved behind its end", || {
        (1..=MAP_BYTES_MAX).contains(&of_each("ledger_bytes_reserved")[owner])
    });

    let mut client = server.connect();
    client.send(&server.request("GET", EXPORT, b""));
    assert_eq!(client.receive().status, 200);
    wait_for("the snapshot of an export", || {
        of_each("ledger_readers")[owner] > 1
    });
    for n in 0..24 {
        let args = json!({ "key": n.to_string(), "value": "small" });
        let set = server.call("kv", "set", args);
        assert!(set["result"].is_object(), "{set}");
    }
    wait_for("pages to be held up", || {
        of_each("ledger_held_up_milliseconds")[owner] > 0
    });
    drop(client);
    wait_for("the snapshot to be given back", is_at_rest);
    assert!(of_each("ledger_readers_peak")[owner] > 1);
    // What the values have taken that were replaced; what the deltas say stays.
    wait_for("pages to be free", || {
        of_each("ledger_bytes_free")[owner] > 20_000_000
    });
    let free = of_each("ledger_bytes_free");
    assert!(
        free[owner] < MAP_BYTES_MAX && free[other] < 1 << 20,
        "{free:?}"
    );

    let value = "y".repeat(1_000_000);
    let refused = (0..200).find_map(|n| {
        let args = json!({ "key": format!("more {n}"), "value": value });
        let set = server.call("kv", "set", args);
        set["error"].is_object().then_some(set)
    });
    let refused = refused.expect("it is full some time");
    assert_eq!(
        refused["error"]["data"]["name"], "storage_full",
        "{refused}"
    );
    let refused = of_each("changes_refused_by_full_ledger_total");
    assert!(refused[owner] > 0 && refused[other] == 0, "{refused:?}");
    assert_eq!(of_each("changes_refused_by_full_disk_total"), [0; 2]);
    wait_for("the ledger to have grown", || {
        of_each("ledger_bytes")[owner] > filled[owner]
    });
    assert!(of_each("ledger_bytes")[owner] <= MAP_BYTES_MAX);
    assert_eq!(of_each("ledger_disk_full"), [0; 2]);
    // Its log has the failed commit as an error, and all of it can still be read.
    let answer = server.call("kv", "get", json!({ "key": "a" }));
    assert_eq!(answer["result"]["output"], "1", "{answer}");
    assert!(server.terminate().success(), "{}", server.log());
}

#[test]
fn a_client_that_stalls_in_the_midst_of_an_export_gives_its_snapshot_back() {
    let server = Server::start(&[("http.idle_timeout", "5 s")]);
    fill(&server);
    let mut owner = None;
    wait_for("the figures to tell whose the context is", || {
        let [first, second] = of_each(&server, "corelet_ledger_bytes");
        owner = (first.abs_diff(second) > 4 << 20).then_some(usize::from(first < second));
        owner.is_some()
    });
    let owner = owner.unwrap();
    let mut client = server.connect();
    client.keep_at_most(256 << 10);
    client.send(&server.request("GET", EXPORT, b""));
    assert_eq!(client.receive().status, 200);
    // Only the shard that owns the context tells: each has its figures brought up to date at moments
    // of its own, and a shard has a second snapshot at times. Of both together, one moment's second
    // snapshot of the other shard would look like this one, and its end like this one's.
    let readers = || of_each(&server, "corelet_ledger_readers")[owner];
    wait_for("the snapshot to be in use", || readers() > 1);
    wait_for("it to be given back", || readers() == 1);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    let length = rest.len();
    assert!(
        !rest.ends_with(END),
        "a part is taken for the whole: the last {length} bytes of it"
    );
    server.check_and_stop();
}

/// Each of its parts is taken in time, and all of them together are not.
#[test]
fn a_client_that_takes_a_copy_drop_by_drop_is_broken_off_after_its_time() {
    let server = Server::start(&[("shards.copy_age_max", "1 s")]);
    fill(&server);
    let mut client = server.connect();
    client.keep_at_most(256 << 10);
    client.send(&server.request("GET", EXPORT, b""));
    assert_eq!(client.receive().status, 200);
    let mut drop = [0; 8 << 10];
    wait_for("the copy to be broken off", || {
        assert_ne!(client.stream.read(&mut drop).unwrap(), 0, "it was whole");
        server.log().contains("a copy was broken off")
    });
    wait_for("its snapshot to be given back", || {
        server.figure("corelet_ledger_readers") == AT_REST
    });
    // What was on its way.
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(!rest.ends_with(END), "a part is taken for the whole");
    server.check_and_stop();
}

#[test]
fn what_is_too_large_is_counted_by_the_limit_that_it_is_beyond() {
    let server = Server::start(&[
        ("limits.value_bytes_max", "1 KiB"),
        ("limits.key_bytes_max", "100"),
        ("limits.args_bytes_max", "32 KiB"),
        ("limits.outcome_bytes_max", "8 KiB"),
        ("limits.send_bytes_max", "8 KiB"),
        ("http.body_bytes_max", "64 KiB"),
    ]);
    let (large, long) = ("x".repeat(2_000), "y".repeat(200));
    let set =
        |key: &str, value: &str| server.call("kv", "set", json!({ "key": key, "value": value }));
    for _ in 0..2 {
        let refused = set("key", &large);
        let data = &refused["error"]["data"];
        assert_eq!(data["name"], "limit_exceeded", "{refused}");
        assert_eq!(data["limit"], "limits.value_bytes_max", "{refused}");
    }
    let refused = set(&long, "value");
    assert_eq!(
        refused["error"]["data"]["limit"], "limits.key_bytes_max",
        "{refused}"
    );
    let params =
        json!({ "context_id": "kv", "method": "set", "args": { "key": "key", "value": large } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute", "params": params });
    let answers = server.rpc(&json!([call, call]).to_string()).json();
    assert_eq!(answers.as_array().map(Vec::len), Some(2));
    let response = server.post("/v1/contexts", &[b' '; 70_000]);
    assert_eq!(response.status, 413);
    for (limit, times) in [
        ("limits.value_bytes_max", 4),
        ("limits.key_bytes_max", 1),
        ("http.body_bytes_max", 1),
        ("storage.readers_max", 0),
    ] {
        assert_eq!(refused_at(&server, limit), times, "{limit}");
    }
    server.check_and_stop();
}
