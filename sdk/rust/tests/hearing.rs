//! Handlers that are told of events, on the host in memory.

use corelet_sdk::events::{Gap, Told, Wanted};
use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// Keeps what it hears.
#[corelet::application]
pub struct Ear {
    heard: List<u64>,
    missed: List<(u64, u64)>,
    has_ended: Register<bool>,
}

#[corelet::methods]
impl Ear {
    /// Listens to numbers, or says no behind that.
    #[update]
    pub fn listen(&mut self, to: ContextId, after: Option<u64>, deny: bool) -> Result<(), Error> {
        let kind = Some("number");
        events::subscribe_to(&to, "hear", Wanted { kind, after })?;
        match deny {
            true => Err(Error::new("denied", "it was said so")),
            false => Ok(()),
        }
    }

    /// Tells something.
    #[update]
    pub fn tell(&mut self, kind: &str, number: u64) {
        events::emit(kind, &number);
    }

    /// Is stopped, as queries change nothing.
    #[query]
    pub fn listen_in_a_query(&self) {
        let _ = events::subscribe(&ContextId::from_bytes([1; 32]), "hear");
    }

    /// To how many it listens.
    #[query]
    pub fn listens(&self) -> usize {
        events::subscribed().len()
    }

    /// Hears no numbers beyond ten, and nothing behind ten.
    #[handler]
    pub fn hear(&mut self, heard: Heard) -> Result<(), Error> {
        assert_eq!(context::caller_context(), Some(heard.context));
        if let Some(gap) = heard.gap {
            self.missed.push(&(gap.from, gap.to));
        }
        for Told { payload, .. } in heard.events {
            let payload = payload.as_u64().unwrap_or_default();
            if payload > 10 {
                return Err(Error::new("too_many", "that is beyond ten"));
            }
            self.heard.push(&payload);
            if payload == 10 {
                events::unsubscribe(&heard.context, "hear");
            }
        }
        self.has_ended.set(&heard.ended);
        Ok(())
    }
}

fn ear(n: u8) -> Context<Ear> {
    let mut ear = Context::<Ear>::new();
    ear.set_id([n; 32]);
    ear
}

fn heard(ear: &mut Context<Ear>) -> Vec<u64> {
    ear.run(|ear| ear.heard.iter().collect()).unwrap()
}

#[test]
fn a_handler_hears_what_it_has_subscribed_to_until_it_does_not() {
    let [mut one, mut other] = [1, 2].map(ear);
    let to = other.id();
    let listen = |after: Option<u64>, deny| json!({ "to": to, "after": after, "deny": deny });
    assert!(one.update("listen", listen(None, true)).is_err());
    assert!(one.subscriptions().is_empty(), "nothing of it has happened");
    let refused = one.query("listen_in_a_query", json!({}));
    assert_eq!(refused, Err(Failed::WroteInQuery));

    for (kind, number) in [("number", 1), ("else", 2), ("number", 3)] {
        let args = json!({ "kind": kind, "number": number });
        other.update("tell", args).unwrap();
    }
    one.update("listen", listen(Some(1), false)).unwrap();
    assert_eq!(one.query("listens", json!({})).unwrap(), 1);
    let told = one.hear(&other);
    assert!(
        matches!(&told[..], [(handler, Ok(_))] if handler == "hear"),
        "{told:?}"
    );
    assert_eq!(heard(&mut one), [3]);
    assert_eq!(one.subscriptions()[0].after, Some(3));

    // What it cannot take it is told again.
    other
        .update("tell", json!({ "kind": "number", "number": 11 }))
        .unwrap();
    for _ in 0..2 {
        let told = one.hear(&other);
        assert!(matches!(&told[..], [(_, Err(_))]), "{told:?}");
    }
    assert_eq!(heard(&mut one), [3]);
    one.update("listen", listen(Some(4), false)).unwrap();
    other
        .update("tell", json!({ "kind": "number", "number": 10 }))
        .unwrap();
    assert_eq!(one.hear(&other).len(), 1);
    assert_eq!(heard(&mut one), [3, 10]);
    assert!(one.subscriptions().is_empty());

    one.update("listen", listen(None, false)).unwrap();
    assert_eq!(one.hear_end(&to).len(), 1);
    assert_eq!(one.run(|ear| ear.has_ended.get()).unwrap(), Some(true));
    assert!(one.subscriptions().is_empty());
}

#[test]
fn a_handler_is_told_so_many_events_at_once() {
    let [mut one, mut other] = [1, 2].map(ear);
    let listen = |after: u64| json!({ "to": other.id(), "after": after, "deny": false });
    let listens = [listen(0), listen(1_000)];
    let emit = |other: &mut Context<Ear>, count: usize, number: serde_json::Value| {
        let emitted = other.run(|_| {
            (0..count).for_each(|_| events::emit("number", &number));
        });
        emitted.unwrap();
    };
    emit(&mut other, 250, json!(1));
    one.update("listen", listens[0].clone()).unwrap();
    assert_eq!(one.hear(&other).len(), 3);
    assert_eq!(heard(&mut one).len(), 250);
    // What was told before one that it does not take stays.
    emit(&mut other, 150, json!(2));
    emit(&mut other, 1, json!(11));
    let told = one.hear(&other);
    assert!(matches!(&told[..], [(_, Ok(_)), (_, Err(_))]), "{told:?}");
    assert_eq!(one.subscriptions()[0].after, Some(350));
    assert_eq!(heard(&mut one).len(), 350);

    // From the last that there is, if there is none with the number.
    one.update("listen", listens[1].clone()).unwrap();
    assert!(one.hear(&other).is_empty());
    assert_eq!(one.subscriptions()[0].after, Some(401));
    // Long ones are told apart, and what no handler could read is missing.
    emit(&mut other, 2, json!("x".repeat(200_000)));
    let deep = (0..121).fold(json!(0), |value, _| json!([value]));
    emit(&mut other, 1, deep);
    emit(&mut other, 1, json!(3));
    let told = one.hear(&other);
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(heard(&mut one)[350..], [0, 0, 3]);
    let missed = one.run(|one| one.missed.iter().collect::<Vec<_>>());
    assert_eq!(missed, Ok(vec![(404, 404)]));
}

#[test]
fn subscriptions_are_in_the_order_in_which_they_were_made() {
    let mut ear = ear(1);
    for to in [9, 5, 7, 9] {
        let to = ContextId::from_bytes([to; 32]);
        let listen = json!({ "to": to, "after": null, "deny": false });
        ear.update("listen", listen).unwrap();
    }
    let all = ear.subscriptions();
    let to: Vec<u8> = all.iter().map(|it| it.context.as_bytes()[0]).collect();
    assert_eq!(to, [9, 5, 7]);
}

#[test]
fn what_a_handler_is_told_reads_as_the_server_writes_it() {
    let context = ContextId::from_bytes([0; 32]);
    let text = format!(
        r#"{{"context":"{context}","events":[{{"sequence":3,"kind":"a","payload":7}}],"gap":{{"from":1,"to":2}},"ended":false}}"#
    );
    let heard: Heard<u64> = serde_json::from_str(&text).unwrap();
    assert_eq!(heard.gap, Some(Gap { from: 1, to: 2 }));
    let event = &heard.events[0];
    assert_eq!(
        (event.sequence, &event.kind[..], event.payload),
        (3, "a", 7)
    );
    let none: Heard = serde_json::from_str(&text.replace(r#"{"from":1,"to":2}"#, "null")).unwrap();
    assert!(none.gap.is_none() && !none.ended);
}
