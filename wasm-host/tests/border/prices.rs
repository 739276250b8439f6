//! What host functions cost: each has its price in the published list, and takes that much for its
//! call and for each byte that a guest hands over or is given, in every way in which bytes come across the
//! border.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use corelet_wasm_host::{
    Answered, GuestSubscription, GuestTimer, HOST_COSTS, HostCost, QueryError, Space,
};
use wit_parser::{Resolve, WorldItem};

use super::*;

/// Bytes of the shorter one of two calls; the longer one has as many more as [`Way::more`] says.
const FEW: u32 = 10;

/// A call of a function in which one of the things that come across the border has so many bytes.
struct Way {
    /// As the list of prices has it. Two of them, if bytes cost as much as with both.
    function: &'static str,
    /// What has so many bytes.
    what: &'static str,
    /// The call: see [`instructions`].
    call: &'static str,
    state: fn(usize) -> MapState,
    more: u32,
}

const fn way(function: &'static str, what: &'static str, call: &'static str) -> Way {
    Way {
        function,
        what,
        call,
        state: |_| MapState::default(),
        more: 1000,
    }
}

impl Way {
    /// The same in a state that has so many bytes in it.
    const fn on(self, state: fn(usize) -> MapState) -> Way {
        Way { state, ..self }
    }

    /// The same where no more bytes are allowed, however the limits are set.
    const fn short(self) -> Way {
        Way { more: 400, ..self }
    }

    fn cost(&self) -> HostCost {
        let of_both = self.function.split(" + ").map(price_of);
        let sum = |sum: HostCost, cost: HostCost| HostCost {
            per_byte: sum.per_byte + cost.per_byte,
            ..sum
        };
        of_both.reduce(sum).unwrap()
    }
}

const CALLER: &str = "the caller's name";
const KEY: &str = "the key";
const VALUE: &str = "the value";
const PREFIX: &str = "the prefix";
const AFTER: &str = "the place to go on from";
const KEYS: &str = "the keys that it comes to";
const VALUES: &str = "the values that it comes to";
const ELEMENTS: &str = "the elements";
const TEXT: &str = "the text";
const BYTES: &str = "the bytes";
const ID: &str = "the id";
const IDS: &str = "the ids that it gives";
const NAME: &str = "the name";
const HANDLER: &str = "the handler's name";
const METHOD: &str = "the method's name";
const KIND: &str = "the kind";
const ARGS: &str = "the arguments";
const ANSWER: &str = "the answer";
const ERROR: &str = "the error";

const WAYS: &[Way] = &[
    way("a turn", ARGS, ""),
    way("a turn", ANSWER, "(global.set $answer (local.get $n))"),
    way("context.caller", CALLER, "caller 512"),
    way("context.random", BYTES, "random n 512"),
    way("storage.get", KEY, "get-in 0 @ n 512"),
    way("storage.get", VALUE, "get-in 0 276 1 512").on(value),
    way("storage.set", KEY, "set-in 0 @ n 272 4"),
    way("storage.set", VALUE, "set-in 0 276 1 @ n"),
    way("storage.add", KEY, "drop add 0 @ n 7L"),
    way("storage.insert", KEY, "drop insert 0 @ n"),
    way("storage.write-once", KEY, "drop write-once 0 @ n 272 4"),
    way("storage.write-once", VALUE, "drop write-once 0 276 1 @ n"),
    way("storage.remove", KEY, "drop remove-in 0 @ n"),
    way("storage.remove-range", PREFIX, "drop remove-range 0 @ n 9"),
    way(
        "storage.remove-range",
        VALUES,
        "drop remove-range 0 276 1 9",
    )
    .on(value),
    way(
        "storage.remove-range + storage.remove",
        KEYS,
        "drop remove-range 0 276 1 9",
    )
    .on(key),
    way("storage.scan", PREFIX, "scan-in 0 @ n 0 0 0 9 0 512"),
    way("storage.scan", AFTER, "scan-in 0 276 1 1 @ n 9 0 512"),
    way("storage.scan", KEYS, "scan-in 0 276 1 0 0 0 9 0 512").on(key),
    way("storage.scan", VALUES, "scan-in 0 276 1 0 0 0 9 0 512").on(value),
    way("storage.count", PREFIX, "drop count-in 0 @ n"),
    way("storage.count", KEYS, "drop count-in 0 276 1").on(key),
    way("storage.count", VALUES, "drop count-in 0 276 1").on(value),
    way("storage.list-length", KEY, "drop list-length 0 @ n"),
    way("storage.list-insert", KEY, "list-insert 0 @ n 0L 616 1 704"),
    way(
        "storage.list-insert",
        ELEMENTS,
        "list-insert 0 276 1 0L 600 1 704",
    ),
    way("storage.list-append", KEY, "list-append 0 @ n 616 1"),
    way("storage.list-append", ELEMENTS, "list-append 0 276 1 600 1"),
    way("storage.list-remove", KEY, "list-remove 0 @ n 0L 0L 704"),
    way("storage.list-read", KEY, "list-read 0 @ n 0L 9 704"),
    way("storage.list-read", ELEMENTS, "list-read 0 276 1 0L 9 704").on(sequence),
    way("storage.text-length", KEY, "drop text-length 0 @ n"),
    way("storage.text-insert", KEY, "text-insert 0 @ n 0L 272 4 704"),
    way(
        "storage.text-insert",
        TEXT,
        "text-insert 0 276 1 0L @ n 704",
    ),
    way("storage.text-append", KEY, "text-append 0 @ n 272 4"),
    way("storage.text-append", TEXT, "text-append 0 276 1 @ n"),
    way("storage.text-remove", KEY, "text-remove 0 @ n 0L 0L 704"),
    way("storage.text-read", KEY, "text-read 0 @ n 0L 9L 704"),
    way("storage.text-read", TEXT, "text-read 0 276 1 0L 9L 704").on(sequence),
    way("stable.read", BYTES, "stable-read 0L n 512").on(page),
    way("stable.write", BYTES, "stable-write 0L @ n").on(page),
    way("blobs.attach", ID, "attach @ n 704"),
    way("blobs.detach", ID, "drop detach @ n"),
    way("blobs.size", ID, "size @ n 704"),
    way("blobs.attached", AFTER, "attached 1 @ n 9 704"),
    way("blobs.attached", IDS, "attached 0 0 0 9 704").on(attached),
    way("timers.arm", NAME, "arm @ n 272 4 @ 2 0L 0 0L").short(),
    way("timers.arm", HANDLER, "arm 272 4 @ n @ 2 0L 0 0L").short(),
    way("timers.arm", ARGS, "arm 272 4 272 4 @ n 0L 0 0L"),
    way("timers.cancel", NAME, "drop cancel @ n").short(),
    way("timers.armed", AFTER, "armed 1 @ n 9 704").short(),
    way("timers.armed", ARGS, "armed 0 0 0 9 704").on(timer),
    way("calls.query", METHOD, "query 512 32 @ n @ 2 704"),
    way("calls.query", ARGS, "query 512 32 266 3 @ n 704"),
    way("calls.query", ANSWER, "query 512 32 266 3 @ 2 704"),
    way("calls.query", ERROR, "query 512 32 266 3 @ 2 704"),
    way("calls.send", METHOD, "send 512 32 @ n @ 2 0 0 0 0 0 704"),
    way("calls.send", ARGS, "send 512 32 266 3 @ n 0 0 0 0 0 704"),
    way(
        "calls.send",
        HANDLER,
        "send 512 32 266 3 @ 2 1 @ n 272 4 704",
    ),
    way("calls.send", BYTES, "send 512 32 266 3 @ 2 1 266 3 @ n 704"),
    way(
        "subscriptions.subscribe",
        HANDLER,
        "subscribe 512 32 @ n 0 0 0 0 0L 704",
    ),
    way(
        "subscriptions.subscribe",
        KIND,
        "subscribe 512 32 266 3 1 @ n 0 0L 704",
    ),
    way(
        "subscriptions.unsubscribe",
        HANDLER,
        "drop unsubscribe 512 32 @ n",
    ),
    way("subscriptions.subscribed", HANDLER, "subscribed 704").on(subscription),
    way("events.emit", KIND, "emit @ n 272 4"),
    way("events.emit", BYTES, "emit 266 3 @ n"),
    way("log.write", TEXT, "write 2 @ n"),
];

/// Functions with which so many bytes come across each time, and their calls.
const FIXED: &[(&str, &str, u64)] = &[
    ("context.id", "id 512", 32),
    ("context.author", "author 512", 32),
    ("context.now", "drop now", 0),
    ("context.state-version", "drop state-version", 0),
    ("context.fuel-used", "drop fuel-used", 0),
    ("stable.size", "drop stable-size", 0),
    ("stable.grow", "drop stable-grow 1L", 0),
];

fn value(bytes: usize) -> MapState {
    let mut state = MapState::default();
    state.entries.insert(b"k".to_vec(), vec![b'v'; bytes]);
    state
}

fn key(bytes: usize) -> MapState {
    let mut state = MapState::default();
    state.entries.insert(vec![b'k'; bytes], b"v".to_vec());
    state
}

/// A list or text of one element.
fn sequence(bytes: usize) -> MapState {
    let mut state = MapState::default();
    let key = (Space::Shared, b"k".to_vec());
    state.sequences.insert(key, vec![vec![b'v'; bytes]]);
    state
}

/// A stable memory of one page.
fn page(_: usize) -> MapState {
    let mut state = MapState::default();
    state
        .map(Space::Stable)
        .insert(vec![0, 0, 0, 63, 0], vec![]);
    state
}

fn attached(bytes: usize) -> MapState {
    let mut state = MapState::default();
    state.attached.insert("b".repeat(bytes), 1);
    state
}

fn timer(bytes: usize) -> MapState {
    MapState {
        timers: vec![GuestTimer {
            name: "name".to_owned(),
            handler: "handler".to_owned(),
            args: vec![b' '; bytes],
            at_nanos: 0,
            every_nanos: None,
            attempts: 0,
        }],
        ..MapState::default()
    }
}

fn subscription(bytes: usize) -> MapState {
    MapState {
        subscriptions: vec![GuestSubscription {
            context: [1; 32],
            handler: "h".repeat(bytes),
            kind: None,
            after: None,
            attempts: 0,
        }],
        ..MapState::default()
    }
}

fn price_of(function: &str) -> HostCost {
    let found = HOST_COSTS.iter().find(|cost| cost.function == function);
    *found.unwrap_or_else(|| panic!("{function} has no price"))
}

/// The instructions of a call that is written as the function's name in the frame and its arguments: numbers,
/// numbers of 64 bits with an L, `n` for how many bytes there are, and `@` for where they are. With `drop`
/// before it its result is.
fn instructions(call: &str) -> String {
    if call.is_empty() || call.starts_with('(') {
        return call.to_owned();
    }
    let (call, is_dropped) = match call.strip_prefix("drop ") {
        Some(call) => (call, true),
        None => (call, false),
    };
    let mut words = call.split(' ');
    let mut text = format!("(call ${}", words.next().unwrap());
    for word in words {
        let argument = match (word, word.strip_suffix('L')) {
            ("n", _) => "(local.get $n)".to_owned(),
            ("@", _) => "(i32.const 32768)".to_owned(),
            (_, Some(wide)) => format!("(i64.const {wide})"),
            (number, None) => format!("(i32.const {number})"),
        };
        text += &argument;
    }
    match is_dropped {
        true => format!("(drop {text}))"),
        false => text + ")",
    }
}

/// A guest that makes one of these calls: the time says which, and the version of the state how many bytes there
/// are. So nothing but that differs from one turn to another.
fn guest_of(calls: &[&str]) -> Vec<u8> {
    let (mut functions, mut table) = (String::new(), String::new());
    for (at, call) in calls.iter().enumerate() {
        let call = instructions(call);
        writeln!(functions, "(func $call{at} (param $n i32) {call})").unwrap();
        write!(table, " $call{at}").unwrap();
    }
    guest::assemble(&format!(
        "{functions}
         (table funcref (elem{table}))
         (type $of-bytes (func (param i32)))
         (global $answer (mut i32) (i32.const 2))
         (func $call (param i32 i32 i32 i32) (result i32) (local $n i32)
           (local.set $n (i32.wrap_i64 (call $state-version)))
           ;; An empty object and blanks behind it: JSON, and whatever else it is taken for.
           (memory.fill (i32.const 32768) (i32.const 32) (i32.const 2000))
           (i32.store16 (i32.const 32768) (i32.const 0x7d7b))
           ;; A list of one element, which they are, and at 616 one of an element that is empty.
           (i32.store (i32.const 600) (i32.const 32768))
           (i32.store (i32.const 604) (local.get $n))
           (call_indirect (type $of-bytes) (local.get $n) (i32.wrap_i64 (call $now)))
           (call $ok (i32.const 32768) (global.get $answer)))"
    ))
}

/// The fuel of a turn in which the call at this place has so many bytes.
fn fuel(module: &Arc<Module>, at: usize, way: &Way, bytes: u32) -> u64 {
    let count = bytes as usize;
    let is_of = |function: &str, what: &str| way.function == function && way.what == what;
    let kind = match way.function {
        "calls.query" => MethodKind::Query,
        _ => MethodKind::Update,
    };
    let args = match is_of("a turn", ARGS) {
        true => format!("{:count$}", "{}"),
        false => "{}".to_owned(),
    };
    let mut running = module.instantiate().unwrap().run(Turn {
        now_nanos: at as u64,
        state_version: bytes.into(),
        caller: match way.what {
            CALLER => "c".repeat(count).into(),
            _ => "alice".into(),
        },
        ..turn(kind, &args, (way.state)(count))
    });
    let finished = loop {
        if let Poll::Ready(finished) = poll(&mut running) {
            break finished;
        }
        if let Some(question) = running.take_question() {
            let outcome = match way.what {
                ANSWER => Ok(vec![b'1'; count].into()),
                ERROR => Err(QueryError::Application(vec![b'1'; count])),
                _ => Ok(Bytes::from_static(b"null")),
            };
            running.answer(Answered {
                outcome,
                fuel_used: 0,
                queries: question.queries,
            });
        }
    };
    let (function, what) = (way.function, way.what);
    if let Err(failure) = &finished.outcome {
        panic!("{function} with {bytes} bytes of {what}: {failure}");
    }
    finished.fuel_used
}

#[test]
fn each_host_function_takes_its_price_for_the_call_and_for_each_byte_of_every_way() {
    let host = host_with(Limits {
        key_bytes_max: 4096,
        event_kind_bytes_max: 4096,
        timer_name_bytes_max: 480,
        subscription_bytes_max: 1024,
        ..Limits::default()
    });
    let fixed = FIXED.iter().map(|(_, call, _)| *call);
    let mut calls: Vec<&str> = WAYS.iter().map(|way| way.call).chain(fixed).collect();
    calls.push("");
    let module = host.load(&guest_of(&calls)).unwrap();
    let nothing = way("a turn", BYTES, "");
    let without = fuel(&module, calls.len() - 1, &nothing, FEW);
    for (at, way) in WAYS.iter().enumerate() {
        let (function, what, cost) = (way.function, way.what, way.cost());
        let few = fuel(&module, at, way, FEW);
        let many = fuel(&module, at, way, FEW + way.more);
        let more = u64::from(way.more);
        assert!(cost.per_byte > 0, "{function} takes {what} for nothing");
        assert_eq!(many - few, cost.per_byte * more, "{function}: {what}");
        if function != "a turn" {
            let least = cost.fixed + cost.per_byte * u64::from(FEW);
            assert!(few - without >= least, "{function}: {what}");
        }
    }
    for (at, (function, _, bytes)) in FIXED.iter().enumerate() {
        let cost = price_of(function);
        let took = fuel(&module, WAYS.len() + at, &nothing, FEW) - without;
        assert!(took >= cost.fixed + cost.per_byte * bytes, "{function}");
        assert_eq!(cost.per_byte > 0, *bytes > 0, "{function}");
    }
}

/// A function that comes to the world is not forgotten in the list, or in the test above.
#[test]
fn the_price_list_has_each_function_of_the_world_and_no_other() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(&wit).unwrap();
    let world = resolve.select_world(&[package], Some("application"));
    let mut of_world = BTreeSet::from(["a turn".to_owned()]);
    for item in resolve.worlds[world.unwrap()].imports.values() {
        if let WorldItem::Interface { id, .. } = item {
            let interface = &resolve.interfaces[*id];
            let name = interface.name.as_ref().unwrap();
            let functions = interface.functions.keys();
            of_world.extend(functions.map(|function| format!("{name}.{function}")));
        }
    }
    let priced = HOST_COSTS.iter().map(|cost| cost.function.to_owned());
    assert_eq!(of_world, priced.collect());

    let ways = WAYS.iter().map(|way| way.function);
    let all = ways.chain(FIXED.iter().map(|(function, ..)| *function));
    let tried: BTreeSet<&str> = all.collect();
    for cost in HOST_COSTS {
        assert!(
            tried.contains(cost.function),
            "{} is not tried",
            cost.function
        );
    }
}
