//! Queries of other contexts: what is asked, what the guest is told, what it costs. The
//! test is whoever runs the turn.

use corelet_wasm_host::{Answered, HOST_COSTS, QueryError, Question, Running};

use super::*;

/// A turn of the guest that asks, up to its question.
fn asking(host: &Host, turn: Turn) -> (Running, Question) {
    let mut running = load(host, "ask").instantiate().unwrap().run(turn);
    assert!(poll(&mut running).is_pending());
    let question = running.take_question().expect("it asks");
    assert_eq!(running.take_question(), None, "once");
    (running, question)
}

fn answered(outcome: Result<&'static str, QueryError>, question: &Question) -> Answered {
    Answered {
        outcome: outcome.map(|text| Bytes::from_static(text.as_bytes())),
        fuel_used: 0,
        queries: question.queries,
    }
}

#[test]
fn a_guest_waits_for_its_answer_and_goes_on_with_it() {
    let host = host();
    let (mut running, question) = asking(&host, query("{\"a\":[1]}", MapState::default()));
    let expected = Question {
        context: Some([2; 32]),
        method: "run".to_owned(),
        args: Bytes::from_static(b"{\"a\":[1]}"),
        caller: "alice".into(),
        fuel_left: question.fuel_left,
        queries: 1,
    };
    assert_eq!(question, expected);
    assert!((FUEL_MAX - 20_000..FUEL_MAX).contains(&question.fuel_left));
    // Looking at it changes nothing, and is no slice.
    for _ in 0..5 {
        assert!(poll(&mut running).is_pending());
    }
    assert_eq!((running.slices(), running.queries()), (0, 1));
    running.answer(Answered {
        queries: 7,
        ..answered(Ok("[1,2]"), &question)
    });
    let finished = finish(running);
    assert_eq!(output(&finished), "[1,2]");
    assert!(finished.reads.others && !finished.reads.caller && !finished.reads.moment);
    assert!(
        finished.instance.is_some(),
        "there is nothing wrong with it"
    );
    assert_eq!(host.stats().slices, 0);
}

#[test]
fn every_error_has_its_number() {
    let host = host();
    for (number, error) in [
        QueryError::UnknownContext,
        QueryError::UnknownMethod,
        QueryError::NotAQuery,
        QueryError::Application(b"{\"no\":1}".to_vec()),
        QueryError::Failed("trapped"),
        QueryError::Busy("waiting_max"),
        QueryError::Cycle,
        QueryError::TooDeep,
    ]
    .into_iter()
    .enumerate()
    {
        let (mut running, question) = asking(&host, query("{}", MapState::default()));
        running.answer(answered(Err(error), &question));
        assert_eq!(output(&finish(running)), number.to_string());
    }
}

#[test]
fn what_the_other_one_has_used_is_paid_by_whoever_asks() {
    let host = host();
    let cost = HOST_COSTS
        .iter()
        .find(|cost| cost.function == "calls.query");
    let per_byte = cost.unwrap().per_byte;
    let run = |fuel_used: u64, text: &'static str| {
        let (mut running, question) = asking(&host, query("{}", MapState::default()));
        running.answer(Answered {
            fuel_used,
            ..answered(Ok(text), &question)
        });
        let finished = finish(running);
        (finished.fuel_used, finished.outcome.is_ok())
    };
    let (plain, _) = run(0, "null");
    assert_eq!(run(0, "null"), (plain, true), "the same of every run");
    assert_eq!(run(1_234_567, "null"), (plain + 1_234_567, true));
    // Its bytes cross this border, and then that of the turn.
    assert_eq!(run(0, "[null]"), (plain + 2 * per_byte + 2, true));
    let (_, question) = asking(&host, query("{}", MapState::default()));
    let all = question.fuel_left;
    assert_eq!(run(all, "null"), (FUEL_MAX, false));
    assert_eq!(run(u64::MAX, "null"), (FUEL_MAX, false));
}

/// What the engine has lost count of is at most a slice, and what was counted before stays.
#[test]
fn a_trap_behind_an_answer_is_charged_to_the_end_of_its_slice() {
    let text = guest::assemble(
        r#"(func $call (param i32 i32) (param $args i32) (param $len i32) (result i32)
             (call $query (i32.const 512) (i32.const 32) (i32.const 266) (i32.const 3)
               (local.get $args) (local.get $len) (i32.const 400))
             (i32.div_u (i32.const 1) (i32.load8_u (i32.const 400))))"#,
    );
    let host = host();
    let module = host.load(&text).unwrap();
    let mut running = module
        .instantiate()
        .unwrap()
        .run(query("{}", MapState::default()));
    assert!(poll(&mut running).is_pending());
    let question = running.take_question().unwrap();
    let used = FUEL_MAX - question.fuel_left;
    let other = 5 * host.limits().slice_fuel;
    running.answer(Answered {
        fuel_used: other,
        ..answered(Ok("null"), &question)
    });
    let finished = finish(running);
    let slice = host.limits().slice_fuel;
    let charged = finished.fuel_used - used - other;
    assert!((slice..slice + 1_000).contains(&charged), "{charged}");
    assert!(matches!(failure(finished), Failure::Trapped { .. }));
}

#[test]
fn only_queries_ask() {
    let host = host();
    let instance = || load(&host, "ask").instantiate().unwrap();
    let finished = finish(instance().run(update("{}", MapState::default())));
    assert!(matches!(failure(finished), Failure::AskedInUpdate));
}

#[test]
fn what_a_call_asks_in_all_is_bounded() {
    let host = host();
    let max = host.limits().query_calls_max;
    let after = |queries: u64| Turn {
        queries,
        ..query("{}", MapState::default())
    };
    let (_, question) = asking(&host, after(max - 1));
    assert_eq!(question.queries, max);
    let instance = load(&host, "ask").instantiate().unwrap();
    let stopped = failure(finish(instance.run(after(max))));
    let Failure::LimitExceeded {
        limit,
        used,
        max: m,
    } = stopped
    else {
        panic!("{stopped}")
    };
    assert_eq!((limit, used, m), ("query_calls_max", max + 1, max));
}

#[test]
fn what_is_asked_with_has_to_be_an_object_of_some_length() {
    let host = host();
    for args in ["[]", "1", "{", "\"{}\"", ""] {
        let instance = load(&host, "ask").instantiate().unwrap();
        let stopped = failure(finish(instance.run(query(args, MapState::default()))));
        assert!(
            matches!(stopped, Failure::InvalidOutput { .. }),
            "{args}: {stopped}"
        );
    }
    let (_, question) = asking(&host, query(" {\"a\": 1} ", MapState::default()));
    assert_eq!(&question.args[..], b" {\"a\": 1} ");
    // With the method's name it is three bytes too long.
    let max = host.limits().args_bytes_max as usize;
    let long = format!("{{\"a\":\"{}\"}}", "b".repeat(max - 8));
    let instance = load(&host, "ask").instantiate().unwrap();
    let stopped = failure(finish(instance.run(query(&long, MapState::default()))));
    let Failure::LimitExceeded { limit, used, .. } = stopped else {
        panic!("{stopped}")
    };
    assert_eq!((limit, used), ("args_bytes_max", max as u64 + 3));
}

#[test]
fn a_context_that_is_none_is_asked_for_all_the_same() {
    let text = r#"(func $call (param i32 i32) (param $args i32) (param $len i32) (result i32)
        (call $query (i32.const 512) (i32.const 31) (i32.const 266) (i32.const 3)
          (local.get $args) (local.get $len) (i32.const 400))
        (call $ok-null))"#;
    let host = host();
    let module = host.load(&guest::assemble(text)).unwrap();
    let mut running = module
        .instantiate()
        .unwrap()
        .run(query("{}", MapState::default()));
    assert!(poll(&mut running).is_pending());
    assert_eq!(running.take_question().unwrap().context, None);
}

#[test]
fn whoever_waits_can_be_stopped_or_dropped() {
    let host = host();
    let (mut running, _) = asking(&host, query("{}", MapState::default()));
    assert_eq!(host.stats().instances_live, 1);
    let finished = running.stop(Failure::Cancelled);
    assert!(finished.instance.is_none());
    assert!(matches!(failure(finished), Failure::Cancelled));
    assert_eq!(host.stats().instances_live, 0);
    // A late answer is nobody's.
    running.answer(Answered {
        outcome: Err(QueryError::Cycle),
        fuel_used: 1,
        queries: 1,
    });
    drop(running);
    let (running, _) = asking(&host, query("{}", MapState::default()));
    drop(running);
    assert_eq!(host.stats().instances_live, 0);
    assert_eq!(host.stats().turns_cancelled, 1);
}
