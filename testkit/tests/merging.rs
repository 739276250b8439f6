//! State of every kind on several nodes that write at once: what comes of it, in whatever order it
//! comes, and what stays apart.

use std::time::Duration;

use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};
use corelet_testkit::Replicas;

/// One field of each kind.
#[corelet::application(name = "probe")]
pub struct Probe {
    title: Register<String>,
    pairs: Map<String, u32>,
    count: Counter,
    tags: Set<String>,
    made_by: WriteOnce<String>,
    items: List<String>,
    text: Text,
    names: Owned<Register<String>>,
    draft: Private<Register<String>>,
}

#[corelet::methods]
impl Probe {
    /// Who made it, if anybody is named.
    #[init]
    pub fn init(&mut self, maker: Option<String>) {
        if let Some(maker) = maker {
            self.made_by.set(&maker);
            self.draft.set(&maker);
        }
    }

    /// Tells the world.
    #[update]
    pub fn tell(&mut self, what: String) {
        self.tags.insert(&what);
        events::emit("told", &what);
    }

    /// Writes all kinds, and then fails.
    #[update]
    pub fn fail(&mut self) -> Result<(), Error> {
        write(self, "never");
        Err(Error::new("asked", "as asked"))
    }

    /// Attaches a blob; tells its size.
    #[update]
    pub fn attach(&mut self, blob: String) -> Result<u64, Error> {
        blobs::attach(&blob)
    }

    /// Detaches a blob.
    #[update]
    pub fn detach(&mut self, blob: String) -> bool {
        blobs::detach(&blob)
    }

    /// What changes whenever the state does.
    #[query]
    pub fn version(&self) -> u64 {
        context::state_version()
    }

    /// Rings a minute from now.
    #[update]
    pub fn wake(&mut self) {
        let delay = Duration::from_secs(60);
        timers::after("alarm", delay, "ring", &json!({}));
    }

    /// What the timer calls.
    #[handler]
    pub fn ring(&mut self) {
        self.count.add(100);
    }

    /// Some chance.
    #[update]
    pub fn chance(&mut self) -> u64 {
        u64::from_le_bytes(context::random())
    }

    /// All that other nodes have as well.
    #[query]
    #[allow(clippy::type_complexity)] // one of each
    pub fn all(
        &self,
    ) -> (
        Option<String>,
        Vec<(String, u32)>,
        i64,
        Vec<String>,
        Option<String>,
        Vec<String>,
        String,
    ) {
        (
            self.title.get(),
            self.pairs.iter().collect(),
            self.count.get(),
            self.tags.iter().collect(),
            self.made_by.get(),
            self.items.iter().collect(),
            self.text.read(),
        )
    }

    /// What nodes call themselves, in no order that a test could know.
    #[query]
    pub fn names(&self) -> Vec<String> {
        let owners = self.names.owners();
        let mut names: Vec<_> = owners.filter_map(|who| self.names.of(&who).get()).collect();
        names.sort();
        names
    }
}

/// Something into each field.
fn write(probe: &mut Probe, who: &str) {
    probe.title.set(&who.to_owned());
    probe.pairs.set(who, &1);
    probe.count.add(3);
    probe.tags.insert(who);
    probe.made_by.set(&who.to_owned());
    probe.items.push(who);
    probe.text.push(who);
    probe.names.own().set(&who.to_owned());
    probe.draft.set(&who.to_owned());
}

fn run<T>(probe: &mut Context<Probe>, f: impl FnOnce(&mut Probe) -> T) -> T {
    probe.run(f).unwrap_or_else(|failed| panic!("{failed}"))
}

/// Two nodes after one has done something and both know of it.
fn after(f: impl FnOnce(&mut Probe)) -> Replicas<Probe> {
    let mut nodes = Replicas::<Probe>::new(2);
    run(&mut nodes[0], f);
    nodes.sync();
    nodes
}

/// Has both do something at once, each a second later than the one before, and gives what both
/// have in the end.
fn at_once(
    mut nodes: Replicas<Probe>,
    first: impl FnOnce(&mut Probe),
    second: impl FnOnce(&mut Probe),
) -> serde_json::Value {
    nodes[0].advance(Duration::from_secs(10));
    nodes[1].advance(Duration::from_secs(11));
    // The later one writes first: it is their times that count.
    run(&mut nodes[1], second);
    run(&mut nodes[0], first);
    nodes.sync();
    nodes.all_answer("all", json!({}))
}

#[test]
fn the_last_writer_of_a_register_wins_by_its_time() {
    let title = |at: &'static str| move |probe: &mut Probe| probe.title.set(&at.to_owned());
    let all = at_once(Replicas::new(2), title("early"), title("late"));
    assert_eq!(all[0], "late");
    let pair = |value: u32| move |probe: &mut Probe| probe.pairs.set("key", &value);
    let all = at_once(Replicas::new(2), pair(1), pair(2));
    assert_eq!(all[1], json!([["key", 2]]));
}

#[test]
fn who_has_seen_a_later_write_writes_after_it() {
    let mut nodes = Replicas::<Probe>::new(2);
    nodes[1].advance(Duration::from_secs(30));
    run(&mut nodes[1], |probe| probe.title.set(&"ahead".to_owned()));
    nodes.sync();
    // Its clock is half a minute behind, and stands.
    let now = run(&mut nodes[0], |probe| {
        probe.title.set(&"behind".to_owned());
        context::now()
    });
    assert_eq!(now, nodes[1].now());
    assert_eq!(nodes[0].now(), now);
    nodes.sync();
    assert_eq!(nodes.all_answer("all", json!({}))[0], "behind");
}

#[test]
fn additions_add_up_and_a_removal_takes_those_that_it_has_seen() {
    let add = |amount| move |probe: &mut Probe| _ = probe.count.add(amount);
    assert_eq!(at_once(Replicas::new(2), add(5), add(-7))[2], -2);
    let clear = |probe: &mut Probe| _ = probe.count.clear();
    assert_eq!(
        at_once(after(|probe| _ = probe.count.add(40)), clear, add(2))[2],
        2
    );
    let both = |probe: &mut Probe| {
        probe.count.clear();
        probe.count.add(1);
    };
    assert_eq!(
        at_once(after(|probe| _ = probe.count.add(40)), both, add(2))[2],
        3
    );
}

#[test]
fn an_element_that_is_added_and_removed_at_once_stays() {
    let insert = |probe: &mut Probe| _ = probe.tags.insert("tag");
    let remove = |probe: &mut Probe| _ = probe.tags.remove("tag");
    assert_eq!(at_once(after(insert), remove, insert)[3], json!(["tag"]));
    assert_eq!(at_once(after(insert), remove, |_| {})[3], json!([]));
    let other = |probe: &mut Probe| _ = probe.tags.insert("other");
    assert_eq!(at_once(after(insert), remove, other)[3], json!(["other"]));
}

#[test]
fn a_write_outlives_a_removal_that_has_not_seen_it() {
    let set = |value: u32| move |probe: &mut Probe| probe.pairs.set("key", &value);
    let remove = |probe: &mut Probe| _ = probe.pairs.remove("key");
    assert_eq!(
        at_once(after(set(1)), set(2), remove)[1],
        json!([["key", 2]])
    );
    assert_eq!(at_once(after(set(1)), remove, |_| {})[1], json!([]));
}

#[test]
fn what_is_written_once_is_the_first_writers() {
    let make = |who: &'static str| move |probe: &mut Probe| _ = probe.made_by.set(&who.to_owned());
    assert_eq!(
        at_once(Replicas::new(2), make("Ada"), make("Bob"))[4],
        "Ada"
    );
    assert_eq!(
        at_once(after(make("Eve")), make("Ada"), make("Bob"))[4],
        "Eve"
    );
}

#[test]
fn what_is_inserted_into_a_list_at_once_stays_together_where_it_was_put() {
    let begin = |probe: &mut Probe| {
        for item in ["a", "b", "c"] {
            probe.items.push(item);
        }
    };
    let one = |probe: &mut Probe| {
        probe.items.insert(1, "x1");
        probe.items.insert(2, "x2");
    };
    let other = |probe: &mut Probe| {
        probe.items.insert(1, "y1");
        probe.items.insert(2, "y2");
        probe.items.remove(3);
    };
    // The other has removed b, between which and a both have inserted.
    let all = at_once(after(begin), one, other);
    let ways = [
        json!(["a", "x1", "x2", "y1", "y2", "c"]),
        json!(["a", "y1", "y2", "x1", "x2", "c"]),
    ];
    assert!(ways.contains(&all[5]), "{}", all[5]);
}

#[test]
fn a_text_has_what_both_have_written_where_they_have() {
    let begin = |probe: &mut Probe| probe.text.push("We meet at noon.");
    let one = |probe: &mut Probe| probe.text.insert(11, "about ");
    let other = |probe: &mut Probe| {
        probe.text.remove_range(0..2);
        probe.text.insert(0, "Größe zählt: all");
    };
    let all = at_once(after(begin), one, other);
    assert_eq!(all[6], "Größe zählt: all meet at about noon.");
    // A text that both have begun is one text.
    let push = |what: &'static str| move |probe: &mut Probe| probe.text.push(what);
    let all = at_once(Replicas::new(2), push("one"), push("two"));
    assert!(["onetwo", "twoone"].contains(&all[6].as_str().unwrap()));
    // What was removed comes back with an edit that has not seen that, and with no other.
    let clear = |probe: &mut Probe| _ = probe.text.clear();
    let all = at_once(after(begin), clear, |_| {});
    assert_eq!(all[6], "");
}

#[test]
fn what_is_owned_is_one_nodes_and_what_is_private_stays() {
    let mut nodes = Replicas::<Probe>::new(2);
    run(&mut nodes[0], |probe| write(probe, "Ada"));
    run(&mut nodes[1], |probe| write(probe, "Bob"));
    nodes.sync();
    assert_eq!(nodes.all_answer("names", json!({})), json!(["Ada", "Bob"]));
    let draft = |probe: &mut Probe| probe.draft.get();
    assert_eq!(run(&mut nodes[0], draft).unwrap(), "Ada");
    assert_eq!(run(&mut nodes[1], draft).unwrap(), "Bob");
    let of_another = run(&mut nodes[0], |probe| {
        probe.names.owners().find(|who| *who != context::author())
    });
    assert!(of_another.is_some());
}

#[test]
fn init_runs_on_one_node_and_a_call_that_fails_leaves_nothing_on_any() {
    let mut nodes = Replicas::<Probe>::create(3, json!({ "maker": "Ada" })).unwrap();
    let begun = nodes.all_answer("all", json!({}));
    assert_eq!(begun[4], "Ada");
    assert!(run(&mut nodes[2], |probe| probe.draft.get()).is_none());
    assert_eq!(
        nodes[1].update("fail", json!({})).unwrap_err().code(),
        Some("asked")
    );
    nodes.sync();
    assert_eq!(nodes.all_answer("all", json!({})), begun);
}

#[test]
fn three_nodes_write_apart_and_come_together() {
    let mut nodes = Replicas::<Probe>::new(3);
    nodes.partition(&[&[0, 1]]);
    for (at, who) in ["Ada", "Bob", "Eve"].into_iter().enumerate() {
        run(&mut nodes[at], |probe| write(probe, who));
    }
    nodes.sync();
    let all = |nodes: &mut Replicas<Probe>, at: usize| nodes[at].query("all", json!({})).unwrap();
    assert_eq!(all(&mut nodes, 0), all(&mut nodes, 1));
    assert_eq!(all(&mut nodes, 0)[3], json!(["Ada", "Bob"]));
    assert_eq!(all(&mut nodes, 2)[3], json!(["Eve"]));
    // Both sides go on with what they have.
    run(&mut nodes[1], |probe| _ = probe.count.clear());
    run(&mut nodes[2], |probe| _ = probe.count.add(5));
    nodes.sync();
    assert_eq!(
        (all(&mut nodes, 0)[2].clone(), all(&mut nodes, 2)[2].clone()),
        (json!(0), json!(8))
    );
    nodes.heal();
    nodes.sync();
    let whole = nodes.all_answer("all", json!({}));
    assert_eq!(whole[2], 8);
    assert_eq!(whole[3], json!(["Ada", "Bob", "Eve"]));
    // Nothing is left to bring.
    nodes.sync();
    assert_eq!(nodes.all_answer("all", json!({})), whole);
}

/// Calls of chance on three nodes, now and then in touch: what comes of them is the same in whatever
/// order they are brought, and with some of them twice.
#[test]
fn the_order_in_which_deltas_come_changes_nothing() {
    let came_to = |order: Option<u64>| {
        let mut nodes = Replicas::<Probe>::new(3);
        let mut state = 1_u64;
        let mut chance = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for step in 0..60_u64 {
            let (at, what) = (chance(3) as usize, chance(9));
            let who = format!("{step}");
            nodes.advance(Duration::from_secs(1));
            run(&mut nodes[at], |probe| match what {
                0 => _ = probe.tags.remove(&format!("{}", step.saturating_sub(3))),
                1 => _ = probe.count.clear(),
                2 if probe.text.len() > 2 => probe.text.remove_range(1..2),
                3 if probe.items.len() > 1 => _ = probe.items.remove(0),
                4 if step < 30 => _ = probe.text.clear(),
                5 => probe.text.insert(probe.text.len() / 2, &who),
                6 => probe.items.insert(probe.items.len() / 2, &who),
                _ => write(probe, &who),
            });
            if step % 10 == 9 {
                nodes.partition(match step {
                    9 => &[&[0, 1]],
                    19 => &[&[1, 2]],
                    29 => &[],
                    _ => &[&[0, 2]],
                });
                sync(&mut nodes, order);
            }
        }
        nodes.heal();
        sync(&mut nodes, order);
        nodes.all_answer("all", json!({}))
    };
    fn sync(nodes: &mut Replicas<Probe>, order: Option<u64>) {
        match order {
            Some(seed) => nodes.sync_in_disorder(seed),
            None => nodes.sync(),
        }
    }
    let expected = came_to(None);
    assert!(expected[6].as_str().unwrap().len() > 2, "{expected}");
    for seed in 0..4 {
        assert_eq!(came_to(Some(seed)), expected, "by seed {seed}");
    }
}

#[test]
fn events_of_others_come_with_what_they_have_written() {
    let mut nodes = Replicas::<Probe>::new(2);
    nodes[0].update("tell", json!({ "what": "here" })).unwrap();
    nodes[1].update("tell", json!({ "what": "there" })).unwrap();
    nodes.sync();
    nodes.sync();
    let told = |context: &Context<Probe>| -> Vec<String> {
        let events = context.events().iter();
        events.map(|event| event.payload.to_string()).collect()
    };
    assert_eq!(told(&nodes[0]), [r#""here""#, r#""there""#]);
    assert_eq!(told(&nodes[1]), [r#""there""#, r#""here""#]);
}

#[test]
fn blobs_that_are_attached_are_so_everywhere() {
    let blob = id(5);
    let mut nodes = Replicas::<Probe>::new(2);
    nodes[0].add_blob(&blob, 77);
    nodes[0].update("attach", json!({ "blob": blob })).unwrap();
    nodes.sync();
    assert_eq!(nodes[1].attached()[&blob], 77);
    // Who has it attaches it again while the other lets go of it.
    nodes[0].update("attach", json!({ "blob": blob })).unwrap();
    nodes[1].update("detach", json!({ "blob": blob })).unwrap();
    assert!(nodes[1].attached().is_empty());
    nodes.sync();
    assert_eq!(nodes[1].attached()[&blob], 77);
    nodes[1].update("detach", json!({ "blob": blob })).unwrap();
    nodes.sync();
    assert!(nodes[0].attached().is_empty());
    nodes[0].add_blob("no id", 1);
    let refused = nodes[0].update("attach", json!({ "blob": "no id" }));
    assert!(matches!(refused, Err(Failed::Misused(_))), "{refused:?}");
    assert!(nodes[0].attached().is_empty());
}

fn id(byte: u8) -> String {
    ContextId::from_bytes([byte; 32]).to_string()
}

#[test]
fn timers_run_on_their_node_and_chance_is_each_nodes_own() {
    let mut nodes = Replicas::<Probe>::new(2);
    nodes[1].update("wake", json!({})).unwrap();
    nodes.sync();
    assert_eq!((nodes[0].timers().len(), nodes[1].timers().len()), (0, 1));
    nodes.advance(Duration::from_secs(60));
    assert!(nodes[0].run_due().is_empty());
    assert_eq!(nodes[1].run_due().len(), 1);
    nodes.sync();
    assert_eq!(nodes.all_answer("all", json!({}))[2], 100);
    let (one, other) = (
        nodes[0].update("chance", json!({})).unwrap(),
        nodes[1].update("chance", json!({})).unwrap(),
    );
    assert_ne!(one, other);
}

/// Also where what was written before stays on its node.
#[test]
fn what_comes_from_others_changes_the_version() {
    let mut nodes = Replicas::<Probe>::new(2);
    for _ in 0..3 {
        nodes[0].update("wake", json!({})).unwrap();
        run(&mut nodes[1], |probe| _ = probe.count.add(1));
        let before = nodes[0].query("version", json!({})).unwrap();
        nodes.sync();
        let after = nodes[0].query("version", json!({})).unwrap();
        assert!(before.as_u64() < after.as_u64(), "{before} and {after}");
    }
}

#[test]
#[should_panic(expected = "in the future")]
fn a_clock_that_is_too_far_ahead_is_not_believed() {
    let mut nodes = Replicas::<Probe>::new(2);
    nodes[1].advance(Duration::from_secs(61));
    run(&mut nodes[1], |probe| probe.title.set(&"ahead".to_owned()));
    nodes.sync();
}

#[test]
fn what_a_counter_cannot_hold_refuses_the_call_with_all_that_it_did() {
    let mut nodes = Replicas::<Probe>::new(2);
    let refused = nodes[0].run(|probe| {
        probe.tags.insert("tag");
        probe.count.add(i64::MAX);
        probe.count.add(1);
    });
    let expected = "more was added to a counter in one call than 64 bits can hold";
    assert_eq!(refused, Err(Failed::Misused(expected.to_owned())));
    assert_eq!(nodes[0].query("all", json!({})).unwrap()[3], json!([]));
    // By two nodes it is more than 64 bits have, and kept as it is.
    for at in 0..2 {
        run(&mut nodes[at], |probe| _ = probe.count.add(i64::MAX));
    }
    nodes.sync();
    assert_eq!(nodes.all_answer("all", json!({}))[2], i64::MAX);
    run(&mut nodes[0], |probe| _ = probe.count.add(-1));
    nodes.sync();
    assert_eq!(nodes.all_answer("all", json!({}))[2], i64::MAX);
}

#[test]
fn writes_of_one_call_come_to_one() {
    let mut nodes = after(|probe| write(probe, "Ada"));
    run(&mut nodes[0], |probe| {
        probe.text.clear();
        probe.text.push("anew");
        probe.text.insert(0, "all ");
        probe.items.push("b");
        probe.items.remove(0);
        probe.items.push("c");
        probe.tags.insert("gone");
        probe.tags.remove("gone");
        probe.pairs.remove("Ada");
        probe.pairs.set("Ada", &7);
        probe.count.add(1);
        probe.count.add(1);
    });
    let own = nodes[0].query("all", json!({})).unwrap();
    nodes.sync();
    let all = nodes.all_answer("all", json!({}));
    assert_eq!(all, own);
    let expected = json!([
        "Ada",
        [["Ada", 7]],
        5,
        ["Ada"],
        "Ada",
        ["b", "c"],
        "all anew"
    ]);
    assert_eq!(all, expected);
}

#[test]
fn a_call_that_writes_to_the_stable_memory_is_refused() {
    let mut nodes = Replicas::<Probe>::new(2);
    let refused = nodes[0].run(|_| corelet_sdk::stable::grow(1)).unwrap_err();
    assert!(refused.to_string().contains("stable memory"), "{refused}");
    assert_eq!(run(&mut nodes[0], |_| corelet_sdk::stable::size()), 0);
}
