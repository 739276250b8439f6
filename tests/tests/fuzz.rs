//! Components of chance are installed and called: each upload is taken or refused with a
//! reason, each call ends with an answer or a named failure, and whatever the slices are, it
//! ends the same, at the same price, with the same writes.
//!
//! `CORELET_FUZZ` sets how many seeds each test takes, for a long run by hand, and
//! `CORELET_SEED` the first of them, in hexadecimal, to repeat one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use corelet_tests::noting::Noting;
use corelet_tests::{Server, smith};
use corelet_wasm_host::{
    CompileIn, Entry, Failure, Finished, Host, HostConfig, Limits, MethodKind, Refused, Turn,
};
use serde_json::{Value, json};

/// What a call has. Most that mean to end do so with much less.
const FUEL_MAX: u64 = 3_000_000;

/// The seeds of one test, of which `usual` many are taken where nobody says otherwise.
fn seeds(usual: u64) -> impl Iterator<Item = u64> {
    let first = std::env::var("CORELET_SEED").map_or(0, |text| {
        let digits = text.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).expect("CORELET_SEED must be hexadecimal")
    });
    let count = std::env::var("CORELET_FUZZ").map_or(usual, |text| {
        text.parse().expect("CORELET_FUZZ must be a number")
    });
    (first..first + count).inspect(|seed| {
        // Shown only if the test fails.
        if seed % 1000 == 0 {
            println!("from seed {seed:#x} on");
        }
    })
}

fn host(slice_fuel: u64) -> Host {
    let limits = Limits {
        slice_fuel,
        ..Limits::default()
    };
    let config = HostConfig {
        limits,
        compile_in: CompileIn::ThisProcess,
        ..HostConfig::new(4)
    };
    Host::new(config).expect("a host")
}

/// How often what happened.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, count) in &self.0 {
            write!(f, "{count} {what}, ")?;
        }
        f.write_str("and no more")
    }
}

#[test]
fn every_upload_of_chance_is_taken_or_refused_with_a_reason() {
    let host = host(1_000_000);
    let mut tally = Tally::default();
    for seed in seeds(2_000) {
        let upload = smith::upload(seed);
        let kind = match host.load(&upload) {
            Ok(_) => "taken",
            Err(refused) => {
                assert!(!refused.to_string().is_empty(), "{seed:#x}");
                why(seed, &refused)
            }
        };
        tally.add(kind);
        assert_eq!(host.stats().instances_live, 0, "{seed:#x}");
    }
    println!("uploads: {tally}");
    assert_eq!(host.stats().failures.our_bug, 0);
    if std::env::var_os("CORELET_FUZZ").is_none() {
        assert!(tally.of("taken") > 4 && tally.of("invalid") > 20, "{tally}");
    }
}

fn why(seed: u64, refused: &Refused) -> &'static str {
    match refused {
        Refused::NotWasm { .. } => "no WebAssembly",
        Refused::CoreModule => "core modules",
        Refused::Limit { .. } => "beyond a limit",
        Refused::Invalid { .. } => "invalid",
        Refused::NotCompiled(_) => "not compiled",
        Refused::Unsupported { .. } => "unsupported",
        Refused::Import { .. } => "with another import",
        Refused::Export { .. } => "with another export",
        Refused::Describe { .. } => "that cannot describe themselves",
        Refused::Description(_) => "that describe themselves wrongly",
        Refused::Busy { .. } | Refused::OurBug { .. } => {
            panic!("seed {seed:#x} is refused as {refused}")
        }
    }
}

#[test]
fn calls_of_chance_end_the_same_at_the_same_price_whatever_the_slices() {
    let hosts = [1_000_000, 10_000].map(host);
    let mut tally = Tally::default();
    for seed in seeds(250) {
        let Ok(application) = smith::application(seed, true) else {
            continue;
        };
        let mut first: Option<String> = None;
        let loaded = hosts.each_ref().map(|host| host.load(&application));
        // One twice, as its second run finds what the first has left in its slot.
        for at in [0, 0, 1] {
            let (told, kind, reached) = match &loaded[at] {
                Ok(module) => match module.instantiate() {
                    Ok(instance) => told(seed, finish(instance.run(turn()))),
                    Err(error) => panic!("seed {seed:#x} described itself, and now {error}"),
                },
                Err(refused) => (refused.to_string(), why(seed, refused), Vec::new()),
            };
            assert_eq!(hosts[at].stats().instances_live, 0, "{seed:#x}");
            match &first {
                Some(first) => assert_eq!(&told, first, "seed {seed:#x}"),
                None => {
                    tally.add(kind);
                    reached.into_iter().for_each(|what| tally.add(what));
                    first = Some(told);
                }
            }
        }
    }
    println!("calls: {tally}");
    assert!(hosts.iter().all(|host| host.stats().failures.our_bug == 0));
    if std::env::var_os("CORELET_FUZZ").is_none() {
        assert!(
            tally.of("answers") + tally.of("answers with writes") > 50,
            "{tally}"
        );
        assert!(tally.of("answers with writes") > 20, "{tally}");
        assert!(
            tally.of("out of fuel") > 10 && tally.of("traps") > 10,
            "{tally}"
        );
        for what in Noting::REACHED {
            assert!(tally.of(what) > 5, "hardly any comes to {what}: {tally}");
        }
    }
}

/// The same of every run: facts, a seed, a state.
fn turn() -> Turn {
    let entries = (0..20_u8).map(|key| (vec![key % 4; usize::from(key / 4)], vec![key; 10]));
    let state = Noting::of(entries.collect());
    Turn {
        entry: Entry::Call {
            method: "run".into(),
            kind: MethodKind::Update,
        },
        args: Bytes::from_static(b"{\"some\":[1,2,3]}"),
        context: [7; 32],
        caller: "somebody".into(),
        author: [9; 32],
        now_nanos: 1_000,
        seed: [3; 32],
        state_version: 5,
        fuel_max: FUEL_MAX,
        queries: 0,
        state: Box::new(state),
    }
}

fn finish(mut running: corelet_wasm_host::Running) -> Finished {
    loop {
        let polled = Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(finished) = polled {
            return finished;
        }
    }
}

/// All that came of a call, as text, of which kind it is, and what it has come to on the way.
fn told(seed: u64, finished: Finished) -> (String, &'static str, Vec<&'static str>) {
    assert!(finished.fuel_used <= FUEL_MAX, "{seed:#x}");
    let mut told = match &finished.outcome {
        Ok(_) | Err(Failure::OutOfFuel { .. }) => format!("{} of fuel, ", finished.fuel_used),
        // The engine has its count in registers, which it loses when a guest is stopped
        // between two places where it is saved; an end of a slice is one.
        Err(_) => String::new(),
    };
    let state = finished.state.into_any().downcast::<Noting>();
    let state = *state.expect("the state of the turn");
    let before = turn().state.into_any().downcast::<Noting>();
    let wrote = state.is_changed_from(&before.expect("the state of a turn"));
    let kind = match &finished.outcome {
        Ok(output) => {
            write!(told, "{}", String::from_utf8_lossy(&output.bytes)).expect("a string");
            match wrote || !finished.events.is_empty() {
                true => "answers with writes",
                false => "answers",
            }
        }
        Err(failure) => {
            write!(told, "{failure}").expect("a string");
            assert!(finished.events.is_empty(), "{seed:#x}: {told}");
            assert!(finished.instance.is_none(), "{seed:#x}: {told}");
            name(seed, failure)
        }
    };
    let (events, logs) = (&finished.events, &finished.logs);
    write!(told, ", {events:?}, {logs:?}, {state:?}").expect("a string");
    (told, kind, state.reached())
}

fn name(seed: u64, failure: &Failure) -> &'static str {
    match failure {
        Failure::Application { .. } => "errors",
        Failure::Trapped { .. } => "traps",
        Failure::OutOfFuel { .. } => "out of fuel",
        Failure::OutOfMemory { .. } => "out of memory",
        Failure::StackOverflow { .. } => "out of stack",
        Failure::LimitExceeded { .. } => "beyond a limit",
        Failure::InvalidOutput { .. } => "lies",
        Failure::Misused { .. } => "misuses",
        Failure::WroteInQuery
        | Failure::AskedInUpdate
        | Failure::OutsideTurn { .. }
        | Failure::MemoryFull { .. }
        | Failure::Busy { .. }
        | Failure::TimedOut { .. }
        | Failure::Cancelled
        | Failure::State(_)
        | Failure::OurBug { .. } => panic!("seed {seed:#x} ends with {failure}"),
    }
}

/// Through HTTP, with a process that compiles and a store that keeps: two contexts of one
/// application go the same way.
#[test]
fn a_server_goes_on_whatever_chance_installs_and_calls() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("corelet.toml");
    let settings = format!("[limits]\nupdate_fuel_max = {FUEL_MAX}\n");
    std::fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let more = ["--shards", "1", "--config", config];
    let mut server = Server::start(&home.path().join("data"), &more);
    let client = server.client();
    let neighbour = client.create(&client.install("counter"), None);
    let mut tally = Tally::default();
    let mut told = 0;
    for seed in seeds(40) {
        let (status, answer) = client
            .post("/v1/applications", &smith::upload(seed))
            .expect("an answer");
        match status {
            201 => remove(&client, &answer),
            422 => assert_eq!(answer["code"], -32024, "{seed:#x}: {answer}"),
            _ => panic!("seed {seed:#x} is answered {status} {answer}"),
        }
        tally.add(if status == 201 { "taken" } else { "refused" });

        let Ok(application) = smith::application(seed, false) else {
            continue;
        };
        let (status, installed) = client
            .post("/v1/applications", &application)
            .expect("an answer");
        if status == 201 {
            let id = installed["id"].as_str().expect("an id");
            let contexts = [(); 2].map(|()| client.create(id, None));
            let answers = contexts.each_ref().map(|context| {
                let answer = client.call(context, "run", json!({ "some": 1 }));
                let answer = answer.expect("an answer");
                let (_, entries) = client
                    .get(&format!("/v1/contexts/{context}/entries"))
                    .expect("an answer");
                (outcome(seed, &answer), entries_of(&entries))
            });
            assert_eq!(answers[0], answers[1], "seed {seed:#x}");
            let name = answers[0].0["name"].as_str().unwrap_or("answers");
            tally.add(name);
            for context in &contexts {
                let (status, _) = client
                    .delete(&format!("/v1/contexts/{context}"))
                    .expect("an answer");
                assert_eq!(status, 204, "{seed:#x}");
            }
            remove(&client, &installed);
        } else {
            assert_eq!(
                (status, &installed["code"]),
                (422, &json!(-32024)),
                "{seed:#x}: {installed}"
            );
        }
        told += 1;
        let answer = client
            .call(&neighbour, "increment", json!({}))
            .expect("an answer");
        assert_eq!(
            answer["result"]["output"], told,
            "behind {seed:#x}: {answer}"
        );
    }
    println!("through HTTP: {tally}");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let log = server.log();
    let mut own = log
        .lines()
        .filter(|line| !line.ends_with(r#""target":"guest"}"#));
    let bad = own.find(|line| line.contains("\"ERROR\"") || line.contains("panicked"));
    assert_eq!(bad, None);
}

fn remove(client: &corelet_tests::Client, installed: &Value) {
    let id = installed["id"].as_str().expect("an id");
    let (status, answer) = client
        .delete(&format!("/v1/applications/{id}"))
        .expect("an answer");
    assert_eq!(status, 204, "{answer}");
}

/// What may be compared of a call's answer: its error, or its output and price.
fn outcome(seed: u64, answer: &Value) -> Value {
    match &answer["error"]["data"] {
        Value::Null => {
            let result = &answer["result"];
            assert!(result.is_object(), "{seed:#x}: {answer}");
            json!([result["output"], result["fuel_used"]])
        }
        data => {
            let code = answer["error"]["code"].as_i64();
            let is_the_guests = code.is_some_and(|code| (-32038..=-32030).contains(&code));
            assert!(is_the_guests, "seed {seed:#x} ends with {answer}");
            data.clone()
        }
    }
}

/// What is in a context, without when it came there. In the agenda that is a part of the keys.
fn entries_of(lines: &Value) -> Vec<Value> {
    let text = lines.as_str().map(str::to_owned);
    let text = text.unwrap_or_else(|| lines.to_string());
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("lines are JSON");
        let is_of_agenda = line["space"] == "agenda";
        let key = (!is_of_agenda).then_some(&line["key"]);
        json!([line["space"], key, line["kind"], line["value"]])
    });
    lines.collect()
}
