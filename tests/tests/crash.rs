//! The server is killed in the middle of a stream of writes, again and again:
//! at random moments, and at the Nth system call of one kind. Some calls write
//! one entry and some write eight with the same value; beside them an operator
//! installs an application, creates a context of it, and deletes both again.
//! After each restart everything acknowledged is there, nothing that was never
//! asked for is, what was asked for and not acknowledged is there as a whole or
//! not at all, and the ledger's own check finds no half of any call.
//!
//! `CORELET_KILLS` sets how often (200; `make soak` does more). Needs strace
//! for the kills at system calls.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use corelet_store::{
    ApplicationId, DataDir, Ledger, LedgerConfig, NodeId, OpenOptions, ShardCount,
};
use corelet_tests::{Answer, Client, Server, free_address, many};
use corelet_wasm_host::ModuleId;
use serde_json::{Value, json};

/// A journal that is full after some batches, so that checkpoints come
/// often enough to be hit.
const CONFIG: &str = "[storage]\njournal_bytes_max = \"64 KiB\"\n";

/// What the writers' contexts run.
const WRITERS: [App; 3] = [App::Kv, App::Many, App::Many];
const KEYS: u64 = 5;
/// The system calls by which LMDB and the journal write (shown by a test of the
/// store), and those by which a component's file comes.
const CALLS: [(&str, u64); 6] = [
    ("pwritev2", 60),
    ("pwrite64", 60),
    ("writev", 60),
    ("fdatasync", 60),
    ("fsync", 3),
    ("/^rename", 3),
];

/// The longest wait for a system call that may not come so often.
const CALL_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum App {
    /// Each call writes one entry.
    Kv,
    /// Each call writes eight with the same value.
    Many,
}

/// What one writer knows about its context.
struct Writer {
    app: App,
    context: String,
    next: u64,
    /// By key: the last value acknowledged, and the last one asked for.
    acked: BTreeMap<u64, u64>,
    asked: BTreeMap<u64, u64>,
}

/// What an operator does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Install,
    Create,
    Delete,
    Remove,
}

impl Step {
    fn next(self) -> Step {
        match self {
            Step::Install => Step::Create,
            Step::Create => Step::Delete,
            Step::Delete => Step::Remove,
            Step::Remove => Step::Install,
        }
    }

    /// What there is before it: the application, and a context of it.
    fn found(self) -> (bool, bool) {
        (self != Step::Install, self == Step::Delete)
    }
}

/// How often the operator installs the same component, of which the first time
/// brings a file and a compilation.
const INSTALLED_AGAIN: u64 = 4;

/// The name of the operator's only context.
const GUEST: &str = "guest";

/// One who installs, creates, deletes and removes, over and over.
struct Operator {
    application: String,
    step: Step,
    /// The step was asked for and has not been answered.
    is_asked: bool,
    /// How many contexts it has asked for.
    created: u64,
    /// How many installations.
    installed: u64,
    /// Steps acknowledged, and steps that turned out to have happened unanswered.
    done: u64,
    unanswered: u64,
}

#[test]
fn acknowledged_writes_survive_every_kill() {
    let kills: u64 = std::env::var("CORELET_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(200);
    let strace = std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_ok();
    assert!(
        strace,
        "strace is missing; scripts/setup.sh test installs it"
    );
    let home = tempfile::tempdir().expect("a directory for data");
    let data = home.path().join("data");
    let config = home.path().join("corelet.toml");
    std::fs::write(&config, CONFIG).expect("a configuration");
    let config = config.to_str().expect("a path in UTF-8");
    let (mut writers, mut operator) = set_up(&data);
    // A fixed multiplier walks through moments and calls the same way each run.
    let mut dice = 0x2545_f491_4f6c_dd1du64;
    let (mut by_calls, mut at_calls, mut acknowledged) = (0, 0, 0);
    for round in 0..kills {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let chance = dice >> 33;
        let by_call = round % 2 == 0;
        let wrapper = if by_call { at_call(chance) } else { Vec::new() };
        let mut server = Server::spawn(&data, free_address(), &wrapper, &["--config", config]);
        let is_ready = server.wait_ready();
        assert!(
            is_ready || by_call,
            "after a kill it does not start any more: {}",
            server.log()
        );
        // Whether strace has killed it, before it even was ready or at work.
        let mut is_hit = !is_ready;
        if is_ready {
            let client = server.client();
            for writer in &writers {
                check(&client, writer);
            }
            operator.check(&client);
            let before: u64 = writers.iter().map(|writer| writer.next).sum();
            let kill_after = match by_call {
                true => CALL_MAX,
                false => Duration::from_millis(chance % 40),
            };
            (writers, operator, is_hit) =
                work_until_dead(&mut server, writers, operator, kill_after);
            acknowledged += writers.iter().map(|writer| writer.next).sum::<u64>() - before;
        }
        if is_hit {
            let is_killed = server.wait().signal() == Some(libc::SIGKILL);
            assert!(by_call && is_killed, "it ended by itself: {}", server.log());
        }
        by_calls += u64::from(by_call);
        at_calls += u64::from(is_hit);
        server.kill();
        if round % 20 == 19 {
            verify(&data);
        }
    }
    verify(&data);
    println!(
        "{kills} kills, {at_calls} of them at a system call, as {by_calls} were to be; \
         {acknowledged} writes and {} steps of the operator in between, none lost; \
         {} steps had happened and were not answered",
        operator.done, operator.unanswered
    );
    // Nearly all of them, as measured. On a slow machine a call may not come in time.
    assert!(
        at_calls * 4 >= by_calls,
        "only {at_calls} of {by_calls} kills at a system call came about"
    );
    assert!(
        acknowledged > kills,
        "the kills came before anything was written"
    );
    assert!(
        operator.done > kills / 2,
        "the kills came before the operator did anything"
    );
}

fn set_up(data: &Path) -> (Vec<Writer>, Operator) {
    let mut server = Server::start(data, &["--shards", "2"]);
    let client = server.client();
    let (kv, eight) = (client.install("kv"), client.install_component(&many()));
    let writers = WRITERS.map(|app| Writer {
        app,
        context: client.create(if app == App::Kv { &kv } else { &eight }, None),
        next: 0,
        acked: BTreeMap::new(),
        asked: BTreeMap::new(),
    });
    let operator = Operator {
        application: id_of(&another(0)),
        step: Step::Install,
        is_asked: false,
        created: 0,
        installed: 0,
        done: 0,
        unanswered: 0,
    };
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    (writers.into(), operator)
}

/// strace that kills at the Nth call of one kind. It is no parent of the server
/// (`-D`): once the process that we wait for is gone, so is its hold on the data.
fn at_call(chance: u64) -> Vec<String> {
    let kinds = CALLS.len() as u64;
    let (call, nth_max) = CALLS[usize::try_from(chance % kinds).expect("few of them")];
    let nth = 1 + chance / kinds % nth_max;
    ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:signal=SIGKILL:when={nth}"),
        ])
        .collect()
}

/// Writes and operates until the server is gone, or kills it after some time;
/// whether it was gone before.
fn work_until_dead(
    server: &mut Server,
    writers: Vec<Writer>,
    mut operator: Operator,
    kill_after: Duration,
) -> (Vec<Writer>, Operator, bool) {
    let (address, token) = (server.address(), server.token());
    let client = || Client::new(address, &token);
    thread::scope(|scope| {
        let writers: Vec<_> = writers
            .into_iter()
            .map(|mut writer| {
                let client = client();
                scope.spawn(move || {
                    while writer.write(&client) {}
                    writer
                })
            })
            .collect();
        let operator = {
            let client = client();
            scope.spawn(move || {
                while operator.operate(&client) {}
                operator
            })
        };
        let began = Instant::now();
        let mut has_ended = server.has_ended();
        while began.elapsed() < kill_after && !has_ended {
            thread::park_timeout(Duration::from_millis(1));
            has_ended = server.has_ended();
        }
        server.kill();
        let writers = writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer ends without a panic"))
            .collect();
        let operator = operator.join().expect("it ends without a panic");
        (writers, operator, has_ended)
    })
}

impl Writer {
    /// Asks for one more write; false if nobody answers.
    fn write(&mut self, client: &Client) -> bool {
        let value = self.next + 1;
        let (key, method, args) = match self.app {
            App::Kv => {
                let key = self.next % KEYS;
                let args = json!({"key": key.to_string(), "value": value.to_string()});
                (key, "set", args)
            }
            App::Many => (0, "fill", json!({ "value": value })),
        };
        self.asked.insert(key, value);
        match client.call(&self.context, method, args) {
            Ok(answer) if answer["result"].is_object() => {
                self.acked.insert(key, value);
                self.next += 1;
                true
            }
            Ok(answer) => panic!("a write was refused: {answer}"),
            Err(_) => false,
        }
    }

    /// The values by key; nothing if nobody answers.
    fn read(&self, client: &Client) -> Option<BTreeMap<u64, u64>> {
        match self.app {
            App::Kv => {
                let answer = client.call(&self.context, "entries", json!({})).ok()?;
                let entries = answer["result"]["output"]["entries"]
                    .as_array()
                    .unwrap_or_else(|| panic!("{answer}"));
                let entries = entries.iter();
                Some(entries.map(|at| (number(&at[0]), number(&at[1]))).collect())
            }
            App::Many => {
                let written = look(client, &self.context)?;
                // Its `init` has written an object without a value.
                Some([(0, written["value"].as_u64().unwrap_or(0))].into())
            }
        }
    }
}

/// What all the entries of a context hold, whose every change writes eight;
/// nothing if nobody answers.
fn look(client: &Client, context: &str) -> Option<Value> {
    let answer = client.call(context, "look", json!({})).ok()?;
    let all = answer["result"]["output"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(all.len(), 8, "{answer}");
    assert!(
        all.iter().all(|one| one.is_object() && *one == all[0]),
        "a part of a call is there: {answer}"
    );
    Some(all[0].clone())
}

/// Each key holds the last acknowledged value, or a later one that was asked for.
fn check(client: &Client, writer: &Writer) {
    let Some(found) = writer.read(client) else {
        return; // Killed already; the next round looks again.
    };
    for (key, acked) in &writer.acked {
        let found = found.get(key).copied().unwrap_or(0);
        assert!(
            found >= *acked,
            "key {key}: {acked} was acknowledged, but {found} is there"
        );
    }
    for (key, found) in &found {
        let asked = writer.asked.get(key).copied().unwrap_or(0);
        assert!(
            *found <= asked,
            "key {key}: {found} is there, but only {asked} was asked for"
        );
    }
}

/// The same application with a section of no meaning, so that it is another one.
fn another(number: u64) -> Vec<u8> {
    let section = [&b"\0\x0a\x01x"[..], &number.to_le_bytes()].concat();
    [many(), section].concat()
}

fn id_of(component: &[u8]) -> String {
    ApplicationId::from_bytes(*ModuleId::of(component).as_bytes()).to_string()
}

impl Operator {
    /// Takes one more step; false if nobody answers.
    fn operate(&mut self, client: &Client) -> bool {
        if !self.is_asked {
            self.created += u64::from(self.step == Step::Create);
            self.installed += u64::from(self.step == Step::Install);
        }
        self.is_asked = true;
        let answer = match self.step {
            Step::Install => {
                let component = another(self.installed / INSTALLED_AGAIN);
                self.application = id_of(&component);
                client.post("/v1/applications", &component)
            }
            Step::Create => {
                let args = json!({ "value": self.created });
                let body = json!({ "application": self.application, "name": GUEST, "args": args });
                client.post("/v1/contexts", body.to_string().as_bytes())
            }
            Step::Delete => client.delete(&format!("/v1/contexts/{GUEST}")),
            Step::Remove => client.delete(&format!("/v1/applications/{}", self.application)),
        };
        match answer {
            Ok((200..300, _)) => self.advance(),
            // Killed with the server, and heard of before it.
            Ok((500, answer)) if answer["how"] == "killed" => return false,
            Ok((status, answer)) => panic!("{:?} was answered {status}: {answer}", self.step),
            Err(_) => return false,
        }
        self.done += 1;
        true
    }

    fn advance(&mut self) {
        self.step = self.step.next();
        self.is_asked = false;
    }

    /// What was acknowledged is so, and what was asked for either happened or not.
    fn check(&mut self, client: &Client) {
        // Killed already; the next round looks again.
        let Some(found) = self.look(client) else {
            return;
        };
        let before = self.step.found();
        let after = self.step.next().found();
        if self.is_asked && found == after {
            self.advance();
            self.unanswered += 1;
        } else {
            assert_eq!(
                found, before,
                "before {:?} (asked for: {})",
                self.step, self.is_asked
            );
        }
    }

    /// Whether there is the application, and a context of it; nothing if nobody
    /// answers. Either is whole or not there at all.
    fn look(&self, client: &Client) -> Option<(bool, bool)> {
        let has = |answer: Answer| match answer.ok()? {
            (200, _) => Some(true),
            (404, _) => Some(false),
            (status, answer) => panic!("answered {status}: {answer}"),
        };
        let application = has(client.get(&format!("/v1/applications/{}", self.application)))?;
        let context = has(client.get(&format!("/v1/contexts/{GUEST}")))?;
        let listed = |what: &str, applications: &str| {
            let (status, answer) = client.get(&format!("/v1/{what}")).ok()?;
            assert_eq!(status, 200, "{answer}");
            let all = answer[what].as_array().expect("a list").iter();
            let ours = all.filter(|one| one[applications] == self.application.as_str());
            Some(ours.count())
        };
        assert_eq!(listed("applications", "id")?, usize::from(application));
        assert_eq!(listed("contexts", "application")?, usize::from(context));
        if context {
            assert_eq!(look(client, GUEST)?, json!({ "value": self.created }));
        }
        Some((application, context))
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The ledgers' own check of entries, heads, log and roots.
fn verify(data: &Path) {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).expect("one"),
        node_id_if_new: NodeId::from_bytes([0; 32]),
    };
    let dir = DataDir::open(data, &options).expect("the data directory opens after a kill");
    for shard in dir.manifest().shards.shards() {
        let ledger = Ledger::open(&dir.ledger_place(shard), &LedgerConfig::default())
            .expect("a ledger opens");
        let snapshot = ledger.snapshot().expect("a snapshot");
        corelet_store::verify(&snapshot).expect("the ledger agrees with itself");
    }
}
