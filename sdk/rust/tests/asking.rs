//! Queries that ask other contexts, and calls that are sent to them, on the host in memory.

use std::cell::RefCell;
use std::rc::Rc;

use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// Counts what it is given, and may know of another that does.
#[corelet::application]
pub struct Shelf {
    count: Register<u64>,
    next: Register<ContextId>,
}

#[corelet::methods]
impl Shelf {
    /// Puts something on the shelf.
    #[update]
    pub fn put(&mut self, count: u64) {
        self.count.set(&(self.count.get_or_default() + count));
    }

    /// Says which shelf is next to this one.
    #[update]
    pub fn set_next(&mut self, next: ContextId) {
        self.next.set(&next);
    }

    /// What is on this shelf and on all behind it.
    #[query]
    pub fn total(&self) -> Result<u64, Error> {
        let own = self.count.get_or_default();
        match self.next.get() {
            None => Ok(own),
            Some(next) => Ok(own + calls::query::<u64>(&next, "total", &json!({}))?),
        }
    }

    /// Who has asked the last of all.
    #[query]
    pub fn asker(&self) -> Result<u64, Error> {
        match self.next.get() {
            None => Ok(context::caller().parse().expect("it has a number")),
            Some(next) => Ok(calls::query(&next, "asker", &json!({}))?),
        }
    }

    /// Asks the next one so often; tells how often that was answered by what it said.
    #[query]
    pub fn ask_often(&self, counts: Vec<u64>) -> Result<u64, Error> {
        let Some((count, rest)) = counts.split_first() else {
            return Ok(1);
        };
        let next = self.next.get().expect("there is one");
        let ask = |_| calls::query::<u64>(&next, "ask_often", &json!({ "counts": rest }));
        let answers: Result<u64, QueryError> = (0..*count).map(ask).sum();
        Ok(answers?)
    }

    /// The next one's answer, or its code.
    #[query]
    pub fn ask(&self, method: &str) -> Result<bool, String> {
        let next = self.next.get().ok_or("none")?;
        let answer = calls::query::<bool>(&next, method, &json!({}));
        answer.map_err(|error| error.code().to_owned())
    }

    /// What no update may do.
    #[update]
    pub fn ask_in_an_update(&mut self) -> Result<u64, Error> {
        self.total()
    }
}

fn id(n: u8) -> ContextId {
    ContextId::from_bytes([n; 32])
}

#[test]
fn a_query_asks_another_context_which_may_be_a_real_one() {
    let mut behind = Context::<Shelf>::new();
    behind.update("put", json!({ "count": 5 })).unwrap();
    let behind = Rc::new(RefCell::new(behind));
    let mut shelf = Context::<Shelf>::new();
    shelf.update("put", json!({ "count": 2 })).unwrap();
    assert_eq!(shelf.query("total", json!({})).unwrap(), 2);

    shelf.update("set_next", json!({ "next": id(2) })).unwrap();
    let nobody = shelf.query("total", json!({})).unwrap_err();
    assert_eq!(nobody.code(), Some("unknown_context"));
    let answers = Rc::clone(&behind);
    shelf.set_others(move |context, method, args| {
        assert_eq!(*context, id(2));
        Ok(answers.borrow_mut().query(method, args).unwrap())
    });
    assert_eq!(shelf.query("total", json!({})).unwrap(), 7);
    behind
        .borrow_mut()
        .update("put", json!({ "count": 10 }))
        .unwrap();
    assert_eq!(shelf.query("total", json!({})).unwrap(), 17);
}

type Shared = Rc<RefCell<Context<Shelf>>>;

fn ask_first(row: &[Shared], method: &str, args: serde_json::Value) -> Result<u64, Failed> {
    let answer = row[0].borrow_mut().query(method, args)?;
    Ok(serde_json::from_value(answer).expect("it is a number"))
}

/// Shelves of which each has the next, and the last one this.
fn row(count: u8, behind: Option<u8>) -> Vec<Shared> {
    let mut row: Vec<Shared> = Vec::new();
    for n in (1..=count).rev() {
        let mut shelf = Context::<Shelf>::new();
        shelf.set_id([n; 32]);
        shelf.set_caller(&format!("{n}"));
        let next = if n < count { Some(n + 1) } else { behind };
        if let Some(next) = next {
            let args = json!({ "next": id(next) });
            shelf.update("set_next", args).unwrap();
        }
        let after = row.last().map(Rc::clone);
        shelf.set_others(move |_, method, args| {
            let after = after.as_ref().ok_or(QueryError::UnknownContext)?;
            after.borrow_mut().answer(method, args)
        });
        row.push(Rc::new(RefCell::new(shelf)));
    }
    row.reverse();
    row
}

#[test]
fn contexts_that_wait_for_each_other_are_known_and_bounded() {
    let asker = |row: Vec<Shared>| ask_first(&row, "asker", json!({}));
    assert_eq!(asker(row(9, None)), Ok(1));
    let deep = asker(row(10, None)).unwrap_err().to_string();
    assert!(deep.contains("too many contexts wait"), "{deep}");
    for first in [1, 2, 3] {
        let circle = asker(row(3, Some(first))).unwrap_err().to_string();
        assert!(circle.contains("waits for this one"), "{circle}");
    }
    // Ten that ask nine each are a hundred.
    let often = |counts: &[u64]| ask_first(&row(3, None), "ask_often", json!({ "counts": counts }));
    assert_eq!(often(&[10, 9]), Ok(90));
    let failed = often(&[10, 10]).unwrap_err();
    assert_eq!(failed.code(), Some("limit_exceeded"), "{failed}");
    // What is not there is known before it is called.
    let shelves = row(2, None);
    for (method, code) in [("nothing", "unknown_method"), ("put", "not_a_query")] {
        let told = ask_first(&shelves, "ask", json!({ "method": method }));
        assert_eq!(told, Err(Failed::Error(json!(code))));
    }
}

#[test]
fn what_goes_wrong_is_told_by_its_code() {
    let mut shelf = Context::<Shelf>::new();
    shelf.update("set_next", json!({ "next": id(2) })).unwrap();
    shelf.set_others(|_, method, _| match method {
        "yes" => Ok(json!(true)),
        "number" => Ok(json!(5)),
        "says no" => Err(QueryError::Application(json!({ "code": "no" }))),
        "trap" => Err(QueryError::Failed("trapped".into())),
        "much" => Err(QueryError::Busy("context_waiting_max".into())),
        "update" => Err(QueryError::NotAQuery),
        "deep" => Err(QueryError::TooDeep),
        _ => Err(QueryError::UnknownMethod),
    });
    let mut ask = |method: &str| shelf.query("ask", json!({ "method": method }));
    assert_eq!(ask("yes").unwrap(), true);
    for (method, code) in [
        ("number", "unreadable"),
        ("says no", "application_error"),
        ("trap", "trapped"),
        ("much", "busy"),
        ("update", "not_a_query"),
        ("deep", "too_deep"),
        ("nothing", "unknown_method"),
    ] {
        assert_eq!(ask(method), Err(Failed::Error(json!(code))), "{method}");
    }
    // The host in memory has this id for each context.
    shelf.update("set_next", json!({ "next": id(7) })).unwrap();
    let itself = shelf.query("total", json!({})).unwrap_err();
    assert_eq!(itself.code(), Some("cycle"));
}

#[test]
fn an_update_that_asks_is_stopped() {
    let mut shelf = Context::<Shelf>::new();
    shelf.update("set_next", json!({ "next": id(2) })).unwrap();
    shelf.set_others(|_, _, _| panic!("nobody is asked"));
    let asked = shelf.update("ask_in_an_update", json!({}));
    assert_eq!(asked, Err(Failed::AskedInUpdate));
}

/// Has others say something, and keeps what it was told.
#[corelet::application]
pub struct Teller {
    told: Register<String>,
}

#[corelet::methods]
impl Teller {
    /// Has `to` called.
    #[update]
    pub fn tell(&mut self, to: ContextId) -> Result<String, Error> {
        Ok(calls::send_then(&to, "say", &json!({}), "heard", &7)?)
    }

    /// What it expects is a number.
    #[handler]
    pub fn heard(&mut self, outcome: Outcome<u64>, data: u64) {
        let told = match outcome {
            Outcome::Ok(number) => format!("{number}"),
            Outcome::Unreadable(why) => format!("unreadable: {why}"),
            Outcome::Error(failed) => failed.code,
        };
        self.told.set(&format!("{data}: {told}"));
    }
}

/// Has the same said again, whatever comes of it.
#[corelet::application]
pub struct Echo {
    sent: Counter,
}

#[corelet::methods]
impl Echo {
    /// Has `to` called, which may be itself.
    #[update]
    pub fn again(&mut self, to: ContextId) -> Result<(), Error> {
        calls::send_then(&to, "again", &json!({ "to": to }), "insist", &to)?;
        self.sent.add(1);
        Ok(())
    }

    /// Does not take no for an answer.
    #[handler]
    pub fn insist(&mut self, outcome: Outcome, data: ContextId) -> Result<(), Error> {
        match outcome {
            Outcome::Error(_) => self.again(data),
            _ => Ok(()),
        }
    }
}

#[test]
fn calls_that_cause_each_other_come_to_an_end() {
    let no = || Err(Failed::UnknownMethod);
    let mut echo = Context::<Echo>::new();
    echo.update("again", json!({ "to": id(3) })).unwrap();
    let answers = echo.run_sent(|_| no());
    assert_eq!(answers.len(), 64);
    let (last, before) = answers.split_last().unwrap();
    assert!(before.iter().all(|(_, told)| matches!(told, Some(Ok(_)))));
    let Some(Err(failed)) = &last.1 else {
        panic!("{last:?}");
    };
    assert_eq!(failed.code(), Some("too_deep"));

    // One that calls itself, which nobody else is asked to do.
    let mut echo = Context::<Echo>::new();
    let own = echo.id();
    echo.update("again", json!({ "to": own })).unwrap();
    let answers = echo.run_sent(|_| panic!("it is its own"));
    assert_eq!(answers.len(), 64);
    let failed = answers.last().unwrap().0.as_ref().unwrap_err();
    assert_eq!(failed.code(), Some("too_deep"));
    assert_eq!(echo.run(|echo| echo.sent.get()).unwrap(), 64);
}

#[test]
fn what_was_sent_changes_the_version() {
    let mut echo = Context::<Echo>::new();
    let send = || calls::send(&id(3), "m", &json!({})).map(drop);
    echo.run(|_| send()).unwrap().unwrap();
    assert_eq!(echo.run(|_| context::state_version()), Ok(1));
}

fn nested(levels: usize) -> serde_json::Value {
    (0..levels).fold(json!(0), |value, _| json!([value]))
}

#[test]
fn what_cannot_be_is_not_taken() {
    let minute = std::time::Duration::from_secs(60);
    let none = json!({});
    let cases: [&dyn Fn(); 8] = [
        &|| timers::after("", minute, "ring", &none),
        &|| timers::after("t", minute, "", &none),
        &|| _ = calls::send(&id(3), "", &none),
        &|| _ = calls::send(&id(3), "m", &1),
        &|| _ = calls::send_then(&id(3), "m", &none, "", &1),
        &|| _ = calls::send_then(&id(3), "m", &none, "h", &nested(121)),
        &|| _ = events::subscribe(&id(3), ""),
        &|| events::emit("deep", &nested(128)),
    ];
    for (number, case) in cases.iter().enumerate() {
        let mut echo = Context::<Echo>::new();
        let refused = echo.run(|_| case()).unwrap_err();
        assert!(
            matches!(refused, Failed::InvalidOutput(_)),
            "{number}: {refused}"
        );
    }
    let mut echo = Context::<Echo>::new();
    let deep = || calls::send_then(&id(3), "m", &none, "h", &nested(120)).map(drop);
    echo.run(|_| deep()).unwrap().unwrap();
}

#[test]
fn chance_is_each_contexts_own_and_the_same_each_time() {
    let draw = |n: u8| {
        let mut echo = Context::<Echo>::new();
        echo.set_id([n; 32]);
        echo.run(|_| context::random::<16>()).unwrap()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

/// What is beyond 64 bits is kept, and one call does not add as much.
#[test]
fn a_counter_keeps_what_it_cannot_show() {
    let mut echo = Context::<Echo>::new();
    let refused = echo.run(|echo| {
        echo.sent.add(i64::MAX);
        echo.sent.add(1)
    });
    let expected = "more was added to a counter in one call than 64 bits can hold";
    assert_eq!(refused, Err(Failed::Misused(expected.to_owned())));
    let mut add = |amount: i64| echo.run(|echo| echo.sent.add(amount)).unwrap();
    assert_eq!([add(i64::MAX), add(i64::MAX)], [i64::MAX, i64::MAX]);
    assert_eq!([add(-1), add(-i64::MAX)], [i64::MAX, i64::MAX - 1]);
    assert_eq!(add(2), i64::MAX);
    let cleared = echo.run(|echo| (echo.sent.clear(), echo.sent.add(1)));
    assert_eq!(cleared, Ok((true, 1)));
}

/// What another application answers is not the handler's mistake.
#[test]
fn an_outcome_that_is_not_as_expected_is_told_as_that() {
    let mut teller = Context::<Teller>::new();
    for (answer, expected) in [
        (Ok(json!(u64::MAX)), "7: 18446744073709551615"),
        (Ok(json!("many")), "7: unreadable: invalid type"),
        (Ok(json!([[1]])), "7: unreadable: invalid type"),
        (Err(Failed::UnknownMethod), "7: unknown_method"),
        (Err(Failed::Stopped("out_of_fuel")), "7: out_of_fuel"),
        (Err(Failed::Error(json!([[1]]))), "7: application_error"),
    ] {
        teller.update("tell", json!({ "to": id(3) })).unwrap();
        let ran = teller.run_sent(|_| answer.clone());
        assert!(matches!(ran[..], [(_, Some(Ok(_)))]), "{ran:?}");
        let told = teller.run(|teller| teller.told.get()).unwrap();
        let told = told.expect("it was told");
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn what_a_test_tries_leaves_nothing_if_it_fails() {
    let mut echo = Context::<Echo>::new();
    let failed = echo.try_run(|echo| {
        echo.sent.add(1);
        calls::send(&id(3), "m", &json!({})).unwrap();
        Err::<(), _>(Error::new("no", "as asked"))
    });
    assert_eq!(failed.unwrap_err().code(), Some("no"));
    assert!(echo.sent().is_empty());
    let tried = echo.try_run(|echo| Ok::<_, Error>(echo.sent.add(1)));
    assert_eq!(tried, Ok(1));
}
