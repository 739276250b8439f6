//! One application that uses every corner of the SDK, called as the server
//! would call it: arguments, results, collections, effects, refusals.

use corelet_sdk::log::Level;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// Everything at once.
#[corelet::application(name = "probe")]
pub struct Probe {
    members: Map<(String, u32), Member>,
    #[prefix("n")]
    numbers: Map<i64, i64>,
    owner: Register<String>,
}

/// Who sits in a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    name: String,
    #[serde(default)]
    admin: bool,
}

/// An alias: results are known by their type, not by their name.
type Answer = Result<u32, Error>;

#[corelet::methods]
impl Probe {
    /// Remembers who owns it.
    #[init]
    pub fn begin(&mut self, owner: Option<String>) -> Result<(), Error> {
        let owner = owner.unwrap_or_else(context::caller);
        self.owner.set(&owner);
        if owner == "nobody" {
            return Err(Error::new("nobody", "somebody must own it"));
        }
        Ok(())
    }

    /// Who owns it.
    #[query]
    pub fn owner(&self) -> Option<String> {
        self.owner.get()
    }

    /// Text is borrowed where it can be.
    #[query]
    pub fn text(&self, text: &str, r#type: Vec<u8>) -> String {
        format!("{text}{}", r#type.len())
    }

    /// Answers through an alias.
    #[query]
    pub fn even(&self, number: u32) -> Answer {
        if number % 2 == 1 {
            return Err(Error::new("odd", format!("{number} is odd")));
        }
        Ok(number)
    }

    /// Writes, tells, logs, and then does what `end` says.
    #[update]
    pub fn write(&mut self, number: i64, end: Option<String>) -> Result<Option<i64>, Error> {
        let before = self.numbers.insert(&number, &(number * 10));
        events::emit("written", &json!({ "number": number }));
        info!("wrote {number}");
        match end.as_deref() {
            Some("error") => Err(Error::new("asked", "as asked")),
            Some("panic") => panic!("as asked"),
            _ => Ok(before),
        }
    }

    /// A query that must not get through with it.
    #[query]
    pub fn sneak(&self) {
        Probe::write_anyway();
    }

    /// Another query that must not.
    #[query]
    pub fn shout(&self) {
        events::emit("shouted", "");
    }

    /// The numbers between two others.
    #[query]
    pub fn between(&self, from: i64, to: i64, reverse: Option<bool>) -> Vec<i64> {
        let range = self.numbers.range(from..to);
        let range = match reverse {
            Some(true) => range.reversed(),
            _ => range,
        };
        range.map(|(number, _)| number).collect()
    }

    /// Takes a seat.
    #[update]
    pub fn join(&mut self, room: &str, seat: u32, name: String) {
        self.members
            .set(&(room, seat), &Member { name, admin: false });
    }

    /// Who sits in a room.
    #[query]
    pub fn room(&self, room: &str) -> Vec<String> {
        let members = self.members.under(&(room,));
        members.map(|(_, member)| member.name).collect()
    }

    /// What a call knows.
    #[query]
    pub fn facts(&self) -> (String, u64, bool, u64) {
        let random: [u8; 16] = context::random();
        let id_is_set = context::id() != [0; 32] && random != [0; 16];
        (
            context::caller(),
            context::now(),
            id_is_set,
            context::state_version(),
        )
    }
}

impl Probe {
    fn write_anyway() {
        let mut door = <Probe as corelet_sdk::application::State>::open();
        door.numbers.set(&1, &1);
    }
}

fn probe() -> Context<Probe> {
    Context::new()
}

#[test]
fn init_runs_once_and_may_refuse() {
    let mut named = Context::<Probe>::create(json!({ "owner": "ada" })).unwrap();
    assert_eq!(named.query("owner", json!({})).unwrap(), "ada");
    assert_eq!(probe().query("owner", json!({})).unwrap(), "tester");
    let refused = Context::<Probe>::create(json!({ "owner": "nobody" })).unwrap_err();
    assert_eq!(refused.code(), Some("nobody"));
}

/// What is wrong with arguments is said by name.
#[test]
fn wrong_arguments_are_refused() {
    let mut probe = probe();
    for (args, reason) in [
        (json!({ "number": 1, "extra": 2 }), "unknown field `extra`"),
        (json!({}), "missing field `number`"),
        (json!({ "number": "one" }), "invalid type: string \"one\""),
        (json!({ "number": -1 }), "invalid value: integer `-1`"),
        (json!([1]), "expected a JSON object"),
        (json!(null), "expected a JSON object"),
    ] {
        let Err(Failed::Error(error)) = probe.query("even", args.clone()) else {
            panic!("{args} is refused");
        };
        assert_eq!(error["code"], "bad_arguments");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("arguments of `even`: "), "{message}");
        assert!(message.contains(reason), "{message} says {reason}");
    }
}

#[test]
fn unknown_methods_are_refused_by_name() {
    let refused = probe().query("evn", json!({})).unwrap_err();
    assert_eq!(
        refused,
        Failed::Error(json!({
            "code": "unknown_method",
            "message": "the application has no method `evn`",
        }))
    );
    // Init is no method: it runs when the context is made, and then never again.
    assert_eq!(
        probe().update("begin", json!({})).unwrap_err().code(),
        Some("unknown_method")
    );
}

#[test]
fn results_answer_or_refuse() {
    let mut probe = probe();
    assert_eq!(probe.query("even", json!({ "number": 2 })).unwrap(), 2);
    let refused = probe.query("even", json!({ "number": 3 })).unwrap_err();
    assert_eq!(
        refused,
        Failed::Error(json!({ "code": "odd", "message": "3 is odd" }))
    );
}

#[test]
fn text_may_need_unescaping() {
    let mut probe = probe();
    for text in ["plain", "quote \" and \\ and \n", "\u{0}\u{1f422}"] {
        let answer = probe.query("text", json!({ "text": text, "type": [1, 2] }));
        assert_eq!(answer.unwrap(), format!("{text}2"));
    }
}

/// An error and a panic leave neither entries nor events; lines stay, for the
/// people who look for the reason.
#[test]
fn a_failed_call_leaves_no_trace() {
    let mut probe = probe();
    probe.update("write", json!({ "number": 1 })).unwrap();
    let (entries, events) = (probe.entries().clone(), probe.events().to_vec());
    for (end, expected) in [
        (
            "error",
            Failed::Error(json!({ "code": "asked", "message": "as asked" })),
        ),
        ("panic", Failed::Panicked("as asked".to_owned())),
    ] {
        for number in [1, 2] {
            let failed = probe.update("write", json!({ "number": number, "end": end }));
            assert_eq!(failed.unwrap_err(), expected);
        }
        assert_eq!(probe.entries(), &entries);
        assert_eq!(probe.events(), events);
    }
    assert_eq!(probe.logs().len(), 5);
    assert_eq!(probe.logs()[0], (Level::Info, "wrote 1".to_owned()));
    assert_eq!(probe.update("write", json!({ "number": 1 })).unwrap(), 10);
}

#[test]
fn queries_do_not_write_and_kinds_are_kept() {
    let mut probe = probe();
    let before = probe.entries().clone();
    for method in ["sneak", "shout"] {
        assert_eq!(probe.query(method, json!({})), Err(Failed::WroteInQuery));
    }
    assert!(matches!(
        probe.query("write", json!({ "number": 1 })),
        Err(Failed::WrongKind { .. })
    ));
    assert!(matches!(
        probe.update("owner", json!({})),
        Err(Failed::WrongKind { .. })
    ));
    assert_eq!(probe.entries(), &before);
    assert!(probe.events().is_empty());
}

/// Ranges over more entries than one batch, against a plain sorted list.
#[test]
fn ranges_are_those_of_a_sorted_list() {
    let mut probe = probe();
    let all: Vec<i64> = (-300..300).collect();
    probe
        .run(|probe| all.iter().for_each(|n| probe.numbers.set(n, n)))
        .unwrap();
    for (from, to) in [
        (-300, 300),
        (-1000, 1000),
        (-17, 15),
        (0, 1),
        (5, 5),
        (299, 900),
    ] {
        let expected: Vec<i64> = all
            .iter()
            .copied()
            .filter(|n| (from..to).contains(n))
            .collect();
        for reverse in [false, true] {
            let args = json!({ "from": from, "to": to, "reverse": reverse });
            let mut found: Vec<i64> =
                serde_json::from_value(probe.query("between", args).unwrap()).unwrap();
            if reverse {
                found.reverse();
            }
            assert_eq!(found, expected, "{from}..{to}, reverse: {reverse}");
        }
    }
    probe
        .run(|probe| {
            assert_eq!(probe.numbers.len(), 600);
            assert!(!probe.numbers.is_empty());
            assert_eq!(probe.numbers.iter().count(), 600);
            assert_eq!(probe.numbers.range(298..=299).count(), 2);
            assert_eq!(probe.numbers.first(), Some((-300, -300)));
            assert_eq!(probe.numbers.last(), Some((299, 299)));
            assert_eq!(probe.numbers.take(&0), Some(0));
            assert_eq!(probe.numbers.take(&0), None);
            assert!(!probe.numbers.contains(&0));
            assert!(probe.owner.clear() && !probe.owner.is_set() && !probe.owner.clear());
        })
        .unwrap();
}

/// Rooms whose names begin alike do not see each other's members.
#[test]
fn beginnings_of_tuple_keys_are_exact() {
    let mut probe = probe();
    for (room, seat, name) in [
        ("a", 2, "x"),
        ("a", 1, "y"),
        ("ab", 1, "z"),
        ("a\0", 1, "w"),
    ] {
        let args = json!({ "room": room, "seat": seat, "name": name });
        probe.update("join", args).unwrap();
    }
    let mut room = |name: &str| probe.query("room", json!({ "room": name })).unwrap();
    assert_eq!(room("a"), json!(["y", "x"]));
    assert_eq!(room("ab"), json!(["z"]));
    assert_eq!(room("a\0"), json!(["w"]));
    assert_eq!(room(""), json!([]));
}

/// A struct that has grown still reads what it wrote before.
#[test]
fn values_may_gain_members() {
    let mut probe = probe();
    probe
        .update("join", json!({ "room": "r", "seat": 1, "name": "n" }))
        .unwrap();
    let stored = probe
        .entries()
        .values()
        .any(|it| it == br#"{"name":"n","admin":false}"#);
    assert!(stored, "values are JSON");
    assert_eq!(
        serde_json::from_str::<Member>(r#"{"name":"n"}"#).unwrap(),
        Member {
            name: "n".to_owned(),
            admin: false
        }
    );
}

/// The layout is durable: these bytes must not change.
#[test]
fn entries_lie_where_the_documentation_says() {
    let mut probe = probe();
    probe.update("write", json!({ "number": 1 })).unwrap();
    probe
        .update("join", json!({ "room": "r", "seat": 1, "name": "n" }))
        .unwrap();
    let keys: Vec<&[u8]> = probe.entries().keys().map(Vec::as_slice).collect();
    assert_eq!(
        keys,
        [
            &b"members\0r\0\0\0\0\0\x01"[..],
            b"n\0\x80\0\0\0\0\0\0\x01",
            b"owner\0",
        ]
    );
}

#[test]
fn a_call_knows_its_surroundings() {
    let mut probe = probe();
    probe.set_caller("ada");
    probe.set_now(42);
    assert_eq!(
        probe.query("facts", json!({})).unwrap(),
        json!(["ada", 42, true, 1])
    );
    probe.update("write", json!({ "number": 1 })).unwrap();
    assert_eq!(
        probe.query("facts", json!({})).unwrap(),
        json!(["ada", 42, true, 2])
    );
}
