//! Components that take the compiler too far are refused at a stated limit, in
//! a process that the server survives and that does not survive the server.
//!
//! All of it through the real binary. The limits are small so that the tests
//! are quick; what they are by default is checked with components that have to
//! pass.

#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use corelet_tests::worker::{self, is_alive, status};
use corelet_tests::{ANY_PORT, Client, Server, binary, made, wait_for};
use corelet_wasm_host::Limits;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Enough for the examples, and nothing for size.
const SMALL: [(&str, &str); 4] = [
    ("compile_cpu_max", "1 s"),
    ("compile_cpu_per_mib", "0 ms"),
    ("compile_memory_bytes_max", "256 MiB"),
    ("compile_memory_bytes_per_mib", "0 B"),
];

/// A server with these limits on top of `SMALL`.
fn start(home: &Path, limits: &[(&str, &str)]) -> Server {
    let mut all = toml::Table::new();
    for (name, value) in SMALL.iter().chain(limits) {
        all.insert((*name).to_owned(), (*value).into());
    }
    let config = home.join("corelet.toml");
    // Nobody in here waits for the end of a drain.
    let process = toml::Table::from_iter([("drain_timeout".to_owned(), "200 ms".into())]);
    let text = toml::Table::from_iter([
        ("limits".to_owned(), toml::Value::Table(all)),
        ("process".to_owned(), toml::Value::Table(process)),
    ]);
    fs::write(&config, text.to_string()).expect("a configuration");
    let config = config.to_str().expect("a path that is text");
    Server::start(&home.join("data"), &["--shards", "2", "--config", config])
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory for data")
}

fn install(client: &Client, wasm: &[u8]) -> (u16, Value) {
    client.post("/v1/applications", wasm).expect("an answer")
}

/// Installs in the background.
fn begin(server: &Server, wasm: Vec<u8>) -> thread::JoinHandle<(u16, Value)> {
    let client = Client::new(server.address(), &server.token());
    thread::spawn(move || install(&client, &wasm))
}

/// One figure of /metrics.
fn figure(client: &Client, series: &str) -> f64 {
    let (_, page) = client.get("/metrics").expect("an answer");
    let page = page.as_str().expect("text").to_owned();
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    let value = line.unwrap_or_else(|| panic!("no {series} in {page}"));
    value.trim().parse().expect("a number")
}

fn compilations(client: &Client, outcome: &str) -> f64 {
    figure(
        client,
        &format!("corelet_compilations_total{{outcome=\"{outcome}\"}}"),
    )
}

#[test]
fn a_bomb_is_refused_at_its_cpu_time_while_calls_go_on() {
    let home = home();
    let mut server = start(home.path(), &[("compile_memory_bytes_max", "8 GiB")]);
    let client = server.client();
    let kv = client.create(&client.install("kv"), None);
    let bombs = [made::indirect_calls(30_000), made::loops(10_000, 500)];
    for (number, bomb) in bombs.iter().enumerate() {
        assert!(bomb.len() < 200_000, "{} bytes are no surprise", bomb.len());
        let bombing = begin(&server, bomb.clone());
        let worker = worker::at_work(&server);
        // At least one call begins and ends while the compiler is at work.
        let answer = client.call(&kv, "set", json!({"key": "a", "value": "1"}));
        let answer = answer.expect("an answer");
        assert!(answer["result"].is_object(), "{answer}");
        assert!(is_alive(worker), "the bomb went off before the call");
        let (status, refusal) = bombing.join().expect("an answer");
        assert_eq!(status, 422, "{refusal}");
        assert_eq!(refusal["limit"], "limits.compile_cpu_max", "{refusal}");
        assert_eq!(refusal["max"], 1000, "{refusal}");
        let detail = refusal["detail"].as_str().expect("a text");
        assert!(detail.contains("1 s of CPU time"), "{detail}");
        assert!(!is_alive(worker), "refused, and its compiler still runs");

        // The same bytes are not tried again at once.
        assert_eq!(install(&client, bomb), (422, refusal));
        let tried = compilations(&client, "out_of_cpu_time");
        assert_eq!(tried, (number + 1) as f64);
    }
    assert!(
        figure(
            &client,
            "corelet_compilation_seconds_total{outcome=\"out_of_cpu_time\"}"
        ) > 1.0
    );
    client.install("counter");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_bomb_is_refused_at_its_memory() {
    let home = home();
    let limits = [
        ("compile_cpu_max", "60 s"),
        ("compile_memory_bytes_max", "192 MiB"),
    ];
    let mut server = start(home.path(), &limits);
    let client = server.client();
    for bomb in [made::indirect_calls(30_000), made::loops(10_000, 500)] {
        let (status, refusal) = install(&client, &bomb);
        assert_eq!(status, 422, "{refusal}\n{}", server.log());
        let limit = &refusal["limit"];
        assert_eq!(limit, "limits.compile_memory_bytes_max", "{refusal}");
        assert_eq!(refusal["max"], 192 << 20, "{refusal}");
        assert_eq!(install(&client, &bomb), (422, refusal));
    }
    assert_eq!(compilations(&client, "out_of_memory"), 2.0);
    client.install("kv");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// What the worker itself finds comes back as it would from the server's own compiler.
#[test]
fn what_is_invalid_or_becomes_too_large_is_refused_for_good() {
    let home = home();
    let mut server = start(home.path(), &[("compiled_bytes_max", "64 KiB")]);
    let client = server.client();
    let (status, refusal) = install(&client, &made::invalid());
    assert_eq!(status, 422, "{refusal}");
    let detail = refusal["detail"].as_str().expect("a text");
    assert!(detail.starts_with("invalid component: "), "{detail}");
    assert!(detail.contains("type mismatch"), "{detail}");
    assert_eq!(install(&client, &made::invalid()), (422, refusal));
    assert_eq!(compilations(&client, "invalid"), 1.0);

    let large = made::ordinary(500);
    let (status, refusal) = install(&client, &large);
    assert_eq!(status, 422, "{refusal}");
    assert_eq!(refusal["limit"], "limits.compiled_bytes_max", "{refusal}");
    assert_eq!(refusal["max"], 64 << 10, "{refusal}");
    assert!(refusal["used"].as_u64() > Some(64 << 10), "{refusal}");
    assert_eq!(install(&client, &large), (422, refusal));
    assert_eq!(compilations(&client, "too_large"), 1.0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// A machine that was too busy says nothing about the component.
#[test]
fn a_component_that_ran_out_of_time_may_try_again() {
    let home = home();
    let limits = [
        ("compile_cpu_max", "60 s"),
        ("compile_memory_bytes_max", "8 GiB"),
        ("compile_time_max", "100 ms"),
    ];
    let mut server = start(home.path(), &limits);
    let client = server.client();
    let bomb = made::indirect_calls(30_000);
    for tried in [1.0, 2.0] {
        let (status, refusal) = install(&client, &bomb);
        assert_eq!(status, 503, "{refusal}");
        assert_eq!(refusal["limit"], "limits.compile_time_max", "{refusal}");
        assert_eq!(refusal["max"], 100, "{refusal}");
        assert_eq!(compilations(&client, "timed_out"), tried);
    }
    assert!(worker::all(&server).is_empty(), "nothing is left of them");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

#[test]
fn a_worker_that_is_killed_is_an_error_and_no_more() {
    let home = home();
    let limits = [
        ("compile_cpu_max", "60 s"),
        ("compile_memory_bytes_max", "8 GiB"),
    ];
    let mut server = start(home.path(), &limits);
    let client = server.client();
    let bomb = made::indirect_calls(30_000);
    for (signal, how, expected) in [
        (Signal::KILL, "killed", "killed from outside (signal 9)"),
        (Signal::ABORT, "crashed", "crashed (signal 6)"),
    ] {
        let bombing = begin(&server, bomb.clone());
        let worker = Pid::from_raw(worker::at_work(&server)).expect("a process");
        kill_process(worker, signal).expect("it runs");
        let (status, refusal) = bombing.join().expect("an answer");
        assert_eq!(status, 500, "{refusal}");
        assert_eq!(refusal["type"], "urn:corelet:error:compiler_failed");
        assert_eq!(refusal["how"], how, "{refusal}");
        let detail = refusal["detail"].as_str().expect("a text");
        assert!(detail.contains(expected), "{detail}");
        assert_eq!(compilations(&client, how), 1.0);
    }
    client.install("kv");
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

/// Some supervisors leave SIGCHLD ignored, and then the kernel forgets how
/// children have ended.
#[test]
fn components_are_compiled_for_a_server_that_was_told_to_ignore_its_children() {
    let home = home();
    let ignoring = ["env", "--ignore-signal=CHLD"].map(str::to_owned);
    let data = home.path().join("data");
    let shards = ["--shards", "1"];
    let mut server = Server::spawn(&data, ANY_PORT, &ignoring, &shards);
    assert!(server.wait_ready(), "{}", server.log());
    server.client().install("kv");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_worker_has_nothing_of_the_server_but_its_pipes() {
    let home = home();
    let limits = [
        ("compile_cpu_max", "60 s"),
        ("compile_memory_bytes_max", "512 MiB"),
    ];
    let server = start(home.path(), &limits);
    let _bombing = begin(&server, made::indirect_calls(30_000));
    let worker = worker::at_work(&server);
    let mut files: Vec<String> = fs::read_dir(format!("/proc/{worker}/fd"))
        .expect("it runs")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let target = fs::read_link(path).expect("an open file");
            target.display().to_string()
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(
        files.iter().all(|file| file.starts_with("pipe:")),
        "{files:?}"
    );

    let environment = fs::read(format!("/proc/{worker}/environ")).expect("it runs");
    let names: Vec<_> = environment
        .split(|byte| *byte == 0)
        .filter_map(|pair| Some(String::from_utf8_lossy(pair).split_once('=')?.0.to_owned()))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");

    let same = |field| assert_eq!(status(worker, field), status(server.id(), field), "{field}");
    same("Cpus_allowed_list");
    let stat = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let nice = |pid: i32| -> i32 {
        let stat = stat(pid);
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        fields
            .split(' ')
            .nth(16)
            .and_then(|nice| nice.parse().ok())
            .expect("a number")
    };
    assert!(
        nice(worker) > nice(server.id()),
        "it comes behind the shards"
    );

    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("it runs");
    for (limit, max) in [
        ("Max cpu time", "60"),
        ("Max data size", "536870912"),
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "16"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit));
        let found = line.unwrap_or_default().split_whitespace().next();
        assert_eq!(found, Some(max), "{limit}");
    }
}

/// Calls in flight have the drain's time, and a compiler no more than they.
#[test]
fn a_server_that_stops_does_not_wait_for_its_compiler() {
    let home = home();
    let limits = [
        ("compile_cpu_max", "1 h"),
        ("compile_memory_bytes_max", "8 GiB"),
    ];
    let mut server = start(home.path(), &limits);
    let _bombing = begin(&server, made::indirect_calls(100_000));
    let worker = worker::at_work(&server);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert!(!is_alive(worker), "the server has gone without it");
    let log = server.log();
    assert!(log.contains("not compiled: compiling has stopped"), "{log}");
}

#[test]
fn a_server_that_is_killed_leaves_no_worker_behind() {
    let home = home();
    let limits = [
        ("compile_cpu_max", "1 h"),
        ("compile_memory_bytes_max", "8 GiB"),
    ];
    let server = start(home.path(), &limits);
    let _bombing = begin(&server, made::indirect_calls(30_000));
    let worker = worker::at_work(&server);
    let pid = Pid::from_raw(server.id()).expect("a process");
    // It alone, and not its process group.
    kill_process(pid, Signal::KILL).expect("it runs");
    wait_for("the worker's end", || (!is_alive(worker)).then_some(()));
}

#[test]
fn a_worker_that_is_started_by_hand_says_what_it_is_for() {
    let home = home();
    let words = home.path().join("words");
    for input in [
        &b""[..],
        b"garbage",
        &[7; 4096],
        b"CORELETQ\x01\x00\x00\x00 cut off",
    ] {
        let file = home.path().join("input");
        fs::write(&file, input).expect("a file");
        let mut child = Command::new(binary())
            .arg("compile-worker")
            .stdin(fs::File::open(&file).expect("a file"))
            .stdout(Stdio::null())
            // A file, as in a log: its end must not be a signal.
            .stderr(fs::File::create(&words).expect("a file"))
            .spawn()
            .expect("the binary starts");
        let ended = child.wait().expect("our own child");
        let said = fs::read_to_string(&words).expect("a file");
        assert_eq!(ended.code(), Some(2), "{said}");
        assert!(said.contains("standard input has no request"), "{said}");
    }
    let help = Command::new(binary()).arg("--help").output().expect("help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(!help.contains("compile-worker"), "it is not for people");
}

/// What people have must not come near the limits: it compiles with a quarter
/// of the defaults.
#[test]
fn ordinary_components_stay_well_below_the_limits() {
    let defaults = Limits::default();
    let home = home();
    let quarter: Vec<(&str, String)> = SMALL
        .iter()
        .map(|(name, _)| {
            let value = defaults.get(name).expect("a limit") / 4;
            let unit = if name.contains("cpu") { "ms" } else { "B" };
            (*name, format!("{value} {unit}"))
        })
        .collect();
    let quarter: Vec<(&str, &str)> = quarter
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut server = start(home.path(), &quarter);
    let client = server.client();
    for app in ["kv", "counter", "chat"] {
        client.install(app);
    }
    let large = made::ordinary(6_000);
    assert!(large.len() > 1 << 20, "{} bytes", large.len());
    let (status, answer) = install(&client, &large);
    assert_eq!(status, 201, "{answer}");
    let id = answer["id"].as_str().expect("an id").to_owned();
    let context = client.create(&id, None);
    let echo = client.call(&context, "run", json!({"a": 1}));
    let echo = echo.expect("an answer");
    assert_eq!(echo["result"]["output"], json!({"a": 1}), "{echo}");
    assert_eq!(compilations(&client, "compiled"), 4.0);
    // What the worker made is what a restart finds on disk.
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    let mut server = start(home.path(), &quarter);
    let client = server.client();
    let echo = client.call(&context, "run", json!({"a": 2}));
    let echo = echo.expect("an answer");
    assert_eq!(echo["result"]["output"], json!({"a": 2}), "{echo}");
    assert_eq!(compilations(&client, "compiled"), 0.0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}
