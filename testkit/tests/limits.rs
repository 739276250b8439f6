//! The limits that contexts without a server have: the server's own numbers, each met.

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
    pub fn read(&self) -> usize {
        self.text.read().len()
    }
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

#[test]
fn what_is_written_is_bounded() {
    // `values`, a zero byte, the text and another.
    check_eating("key_bytes_max", "key", 480 - 8, 480 - 7 + 1);
    // In quotes, as it is JSON.
    check_eating("value_bytes_max", "value", (1 << 20) - 2, (1 << 20) - 1);
    check_eating("writes_max", "writes", 10_000, 10_001);
    check_eating("writes_max", "removals", 10_000, 10_001);
    check_eating("write_bytes_max", "bytes", 4, 5);
    check_eating("edits_max", "edits", 10_000, 10_001);
    check_eating("value_bytes_max", "text", 1 << 20, (1 << 20) + 1);
    check_eating("value_bytes_max", "element", (1 << 20) - 2, (1 << 20) - 1);
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
