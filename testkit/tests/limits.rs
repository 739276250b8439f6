//! The limits that contexts without a server have: the server's own numbers, each met.

use std::collections::BTreeSet;
use std::time::Duration;

use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed, limits};
use corelet_wasm_host::Limits;

/// Does too much.
#[corelet::application(name = "glutton")]
pub struct Glutton {
    values: Map<String, String>,
    numbers: Map<u32, u32>,
    text: Text,
    list: List<String>,
    private: Private<Register<String>>,
    appetite: Register<(String, u64)>,
}

#[corelet::methods]
impl Glutton {
    /// As much of something as it is told.
    #[update]
    pub fn eat(&mut self, what: &str, count: u64) {
        let long = |count: u64| "x".repeat(count as usize);
        match what {
            // Behind the field's name and a byte that ends it.
            "key" => self.values.set(&long(count), &String::new()),
            "value" => self.private.set(&long(count)),
            "writes" => (0..count).for_each(|n| self.numbers.set(&(n as u32), &0)),
            "removals" => (0..count).for_each(|_| _ = self.values.remove("none")),
            "bytes" => (0..count).for_each(|_| self.private.set(&long(1_000_000))),
            "edits" => (0..count).for_each(|_| self.text.push("x")),
            "text" => self.text.push(&long(count)),
            "element" => self.list.push(&long(count)),
            "events" => (0..count).for_each(|_| events::emit("e", &0)),
            "event bytes" => events::emit("e", &long(count)),
            "event kind" => events::emit(&long(count), &0),
            "logs" => (0..count).for_each(|_| info!("line")),
            "log bytes" => info!("{}", long(count)),
            "timers" => (0..count).for_each(|n| arm(&n.to_string(), 60, &json!({}))),
            "timer name" => arm(&long(count), 60, &json!({})),
            "timer args" => arm("t", 60, &json!({ "what": long(count) })),
            "timer ahead" => arm("t", count, &json!({})),
            "sends" => (0..count).for_each(|_| send("")),
            "send bytes" => send(&long(count)),
            "long sends" => (0..count).for_each(|_| send(&long(65_000))),
            "stable pages" => _ = stable::grow(count),
            "stable blocks" => {
                let pages = count.div_ceil(64);
                stable::grow(pages.saturating_sub(stable::size()));
                (0..count).for_each(|n| stable::write(n * 1024 + n % 1000, b"x"));
            }
            "stable again" => {
                stable::grow(1 - stable::size());
                (0..count).for_each(|n| stable::write(n % 1000, b"x"));
            }
            "subscription" => listen(7, &long(count)).expect("there is room"),
            _ => panic!("{what} is not on the menu"),
        }
    }

    /// Runs once in so many milliseconds.
    #[update]
    pub fn tick(&mut self, millis: u64) {
        timers::every("t", Duration::from_millis(millis), "ring", &json!({}));
    }

    /// What timers call.
    #[handler]
    pub fn ring(&mut self) {}

    /// So long an answer.
    #[query]
    pub fn answer(&self, count: u64) -> String {
        "x".repeat(count as usize)
    }

    /// The same of an update, which other contexts may call.
    #[update]
    pub fn answer_long(&mut self, count: u64) -> String {
        self.answer(count)
    }

    /// So long an error.
    #[query]
    pub fn complain(&self, count: u64) -> Result<(), Error> {
        Err(Error::new("x", "x".repeat(count as usize)))
    }

    /// Asks others so often.
    #[query]
    pub fn ask(&self, count: u64) {
        let other = ContextId::from_bytes([9; 32]);
        for _ in 0..count {
            let answer: Result<u32, QueryError> = calls::query(&other, "m", &json!({}));
            assert!(answer.is_err());
        }
    }

    /// Takes whatever it is given.
    #[query]
    pub fn take(&self, what: &str) -> usize {
        what.len()
    }

    /// How much of the text fits into one read.
    #[query]
    pub fn read(&self, count: u64) -> usize {
        self.text.range(..count).len()
    }

    /// Has what comes behind an upgrade do this as well.
    #[update]
    pub fn remember(&mut self, what: String, count: u64) {
        self.appetite.set(&(what, count));
    }

    /// As many events as may be.
    #[before_upgrade]
    pub fn eat_up(&mut self) {
        self.eat("events", 1_000);
    }
}

/// The same, behind an upgrade.
#[corelet::application(name = "glutton")]
pub struct Later {
    numbers: Map<u32, u32>,
    text: Text,
    private: Private<Register<String>>,
    appetite: Register<(String, u64)>,
}

#[corelet::methods]
impl Later {
    /// Nothing.
    #[query]
    pub fn nothing(&self) {}

    /// What it has been told before, and as many events as may be.
    #[after_upgrade]
    pub fn begin(&mut self) {
        (0..1_000).for_each(|_| events::emit("e", &0));
        let (what, count) = self.appetite.get().expect("it was told");
        match &what[..] {
            "writes" => (0..count).for_each(|n| self.numbers.set(&(n as u32), &0)),
            "edits" => (0..count).for_each(|_| self.text.push("x")),
            _ => (0..count).for_each(|_| self.private.set(&"x".repeat(1_000_000))),
        }
    }
}

fn listen(to: u8, handler: &str) -> Result<(), SubscribeError> {
    events::subscribe(&ContextId::from_bytes([to; 32]), handler)
}

fn arm(name: &str, seconds: u64, args: &serde_json::Value) {
    timers::after(name, Duration::from_secs(seconds), "ring", args);
}

fn send(what: &str) {
    let other = ContextId::from_bytes([9; 32]);
    calls::send(&other, "m", &json!({ "what": what })).expect("there is room");
}

/// That so much is too much by this limit, and leaves nothing; and that `fits` is not.
#[track_caller]
fn check(name: &'static str, fits: (&str, serde_json::Value), beyond: serde_json::Value) {
    let mut context = Context::<Glutton>::new();
    let (method, fitting) = fits;
    let call = |context: &mut Context<Glutton>, args| match method {
        "eat" | "tick" => context.update(method, args),
        _ => context.query(method, args),
    };
    if let Err(failed @ Failed::Limit { .. }) = call(&mut context, fitting) {
        panic!("what fits does not: {failed}");
    }
    let before = (
        context.entries().clone(),
        context.events().to_vec(),
        context.timers(),
    );
    let failed = call(&mut context, beyond).unwrap_err();
    let max = Limits::default()
        .get(name)
        .expect("it is a limit of the server");
    assert_eq!(failed, Failed::Limit { name, max });
    let after = (
        context.entries().clone(),
        context.events().to_vec(),
        context.timers(),
    );
    assert_eq!(after, before, "{name}: it left a trace");
    assert!(failed.to_string().contains(name));
}

#[track_caller]
fn check_eating(name: &'static str, what: &str, fits: u64, beyond: u64) {
    let args = |count: u64| json!({ "what": what, "count": count });
    check(name, ("eat", args(fits)), args(beyond));
}

#[test]
fn each_limit_is_the_servers_and_has_its_number() {
    let server = Limits::default();
    for (name, max) in limits() {
        assert_eq!(server.get(name), Some(*max), "{name}");
    }
}

/// Limits of what a turn may use and a context may keep that contexts without a server do not have, and
/// why.
const NOT_HERE: [(&str, &[&str]); 6] = [
    (
        "there is no fuel",
        &[
            "start_fuel_max",
            "describe_fuel_max",
            "query_fuel_max",
            "update_fuel_max",
            "init_fuel_max",
            "upgrade_fuel_max",
            "inspect_fuel_max",
            "stop_fuel_max",
            "low_memory_fuel_max",
            "slice_fuel",
            "host_calls_max",
        ],
    ),
    (
        "there is no clock but the test's",
        &["call_time_max", "context_calls_per_second"],
    ),
    (
        "there is no linear memory",
        &["low_memory_share", "sequences_bytes_max"],
    ),
    (
        "whatever is handed over has a lower one",
        &["transfer_bytes_max"],
    ),
    (
        "it is the test that takes what others send",
        &["senders_max"],
    ),
    (
        "there is no disk",
        &[
            "context_bytes_max",
            "blob_bytes_max",
            "context_blobs_max",
            "context_blob_bytes_max",
            "cache_bytes_max",
            "refusals_kept_max",
        ],
    ),
];

#[test]
fn each_limit_of_a_turn_is_here_or_there_is_a_reason() {
    let all = Limits::TABLE.iter().map(|info| info.name);
    let of_turns: BTreeSet<_> = all.skip_while(|name| *name != "start_fuel_max").collect();
    let here = limits().iter().map(|(name, _)| *name);
    let not_here = NOT_HERE.iter().flat_map(|(_, names)| names.iter().copied());
    let told: Vec<_> = here.chain(not_here).collect();
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), of_turns);
    assert_eq!(told.len(), of_turns.len(), "one is told twice");
}

#[test]
fn what_is_written_is_bounded() {
    // `values`, a zero byte and the text.
    check_eating("key_bytes_max", "key", 480 - 7, 480 - 7 + 1);
    // In quotes, as it is JSON.
    check_eating("value_bytes_max", "value", (1 << 20) - 2, (1 << 20) - 1);
    check_eating("writes_max", "writes", 10_000, 10_001);
    check_eating("writes_max", "removals", 10_000, 10_001);
    check_eating("write_bytes_max", "bytes", 4, 5);
    check_eating("edits_max", "edits", 10_000, 10_001);
    check_eating("value_bytes_max", "text", 1 << 20, (1 << 20) + 1);
    check_eating("value_bytes_max", "element", (1 << 20) - 2, (1 << 20) - 1);
}

/// Each block counts once, and as a whole; a memory takes what was written, however long it is.
#[test]
fn what_is_written_to_the_stable_memory_is_bounded() {
    check_eating("stable_bytes_max", "stable pages", 65_536, 1);
    let blocks = (4 << 20) / 1_028;
    check_eating("write_bytes_max", "stable blocks", blocks, blocks + 1);
    let mut context = Context::<Glutton>::new();
    let again = json!({ "what": "stable again", "count": 100_000 });
    context.update("eat", again).unwrap();
}

#[test]
fn what_is_read_at_once_is_bounded() {
    let mut context = Context::<Glutton>::new();
    let text = json!({ "what": "text", "count": 1 << 20 });
    for _ in 0..5 {
        context.update("eat", text.clone()).unwrap();
    }
    let mut read = |count: u64| context.query("read", json!({ "count": count }));
    assert_eq!(read(4 << 20), Ok(json!(4 << 20)));
    let (name, max) = ("scan_bytes_max", 4 << 20);
    assert_eq!(read((4 << 20) + 1), Err(Failed::Limit { name, max }));
    // By no application in Rust more rows or more chance is asked for at once than may be.
}

/// Each of its hooks has limits of its own, and higher ones.
#[test]
fn what_an_upgrade_writes_is_bounded() {
    for (name, what, fits) in [
        ("upgrade_writes_max", "writes", 100_000),
        ("upgrade_writes_max", "edits", 100_000),
        ("upgrade_write_bytes_max", "bytes", 8),
    ] {
        let mut context = Context::<Glutton>::new();
        let args = |count: u64| json!({ "what": what, "count": count });
        context.update("remember", args(fits + 1)).unwrap();
        let max = Limits::default().get(name).expect("the server has it");
        let failed = context.upgrade::<Later>().unwrap_err();
        assert_eq!(failed, Failed::Limit { name, max }, "{what}");
        assert!(context.events().is_empty());
        context.update("remember", args(fits)).unwrap();
        let later = context.upgrade::<Later>().unwrap();
        assert_eq!(later.events().len(), 2_000, "{what}");
    }
}

#[test]
fn what_is_subscribed_to_is_bounded() {
    check_eating("subscription_bytes_max", "subscription", 256, 257);
    let mut context = Context::<Glutton>::new();
    let listened = context.run(|_| {
        for n in 0..64 {
            listen(n, "ring").unwrap();
        }
        // Anew, and one too many.
        (listen(0, "ring"), listen(64, "ring"))
    });
    assert_eq!(listened, Ok((Ok(()), Err(SubscribeError::TooMany))));
    assert_eq!(context.subscriptions().len(), 64);
}

#[test]
fn what_is_told_is_bounded() {
    check_eating("events_max", "events", 1_000, 1_001);
    check_eating(
        "event_bytes_max",
        "event bytes",
        (1 << 20) - 3,
        (1 << 20) - 2,
    );
    check_eating("event_kind_bytes_max", "event kind", 128, 129);
    check_eating("logs_max", "logs", 1_000, 1_001);
    check_eating("log_bytes_max", "log bytes", 256 << 10, (256 << 10) + 1);
    let count = |count: u64| json!({ "count": count });
    check(
        "output_bytes_max",
        ("answer", count((1 << 20) - 2)),
        count((1 << 20) - 1),
    );
    check(
        "output_bytes_max",
        ("complain", count(1_000_000)),
        count(1 << 20),
    );
    let what = |count: usize| json!({ "what": "x".repeat(count) });
    let around = what(0).to_string().len();
    check(
        "args_bytes_max",
        ("take", what((1 << 20) - around)),
        what((1 << 20) - around + 1),
    );
}

#[test]
fn what_is_for_later_is_bounded() {
    check_eating("timers_max", "timers", 1_000, 1_001);
    check_eating("timer_name_bytes_max", "timer name", 128, 129);
    let around = json!({ "what": "" }).to_string().len() as u64;
    check_eating(
        "timer_args_bytes_max",
        "timer args",
        (64 << 10) - around,
        (64 << 10) - around + 1,
    );
    let years = 10 * 366 * 24 * 3_600;
    check_eating("timer_ahead_max", "timer ahead", years, years + 1);
    let millis = |millis: u64| json!({ "millis": millis });
    check(
        "timer_runs_per_minute",
        ("tick", millis(1_000)),
        millis(999),
    );
}

#[test]
fn what_others_are_asked_and_sent_is_bounded() {
    check_eating("sends_max", "sends", 100, 101);
    let around = json!({ "what": "" }).to_string().len() as u64 + 1;
    check_eating(
        "send_bytes_max",
        "send bytes",
        (64 << 10) - around,
        (64 << 10) - around + 1,
    );
    let count = |count: u64| json!({ "count": count });
    check("query_calls_max", ("ask", count(100)), count(101));
    // As many as may have not ended: the next is not sent, which the application is told.
    let mut context = Context::<Glutton>::new();
    let hundred = json!({ "what": "sends", "count": 100 });
    for _ in 0..10 {
        context.update("eat", hundred.clone()).unwrap();
    }
    let failed = context.update("eat", hundred).unwrap_err();
    assert!(
        matches!(&failed, Failed::Panicked(why) if why.contains("there is room")),
        "{failed}"
    );
    assert_eq!(context.sent().len(), 1_000);
    // And as many bytes: each of these takes 65 beside its method and its arguments.
    let mut context = Context::<Glutton>::new();
    let long = |count: u64| json!({ "what": "long sends", "count": count });
    let fitting = (16 << 20) / (65 + 1 + 11 + 65_000);
    for _ in 0..fitting / 50 {
        context.update("eat", long(50)).unwrap();
    }
    context.update("eat", long(fitting % 50)).unwrap();
    assert!(context.update("eat", long(1)).is_err());
    let ended = context.run_sent(|_| Err(Failed::UnknownMethod));
    assert_eq!(ended.len() as u64, fitting);
    context.update("eat", long(1)).unwrap();
}

#[test]
fn what_a_callback_is_told_is_bounded() {
    let mut context = Context::<Glutton>::new();
    let sent = context.run(|_| {
        let other = ContextId::from_bytes([9; 32]);
        for count in [(64 << 10) - 2, (64 << 10) - 1] {
            let args = json!({ "count": count });
            calls::send_then(&other, "answer_long", &args, "ring", &json!({})).unwrap();
        }
    });
    sent.unwrap();
    let mut other = Context::<Glutton>::new();
    let mut answers = context
        .sent()
        .into_iter()
        .map(|call| other.receive(&ContextId::from_bytes([7; 32]), &call));
    assert!(answers.next().unwrap().is_ok());
    let (name, max) = ("outcome_bytes_max", 64 << 10);
    assert_eq!(answers.next().unwrap(), Err(Failed::Limit { name, max }));
}
