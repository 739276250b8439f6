//! Lists and texts, on one node: what each edit does, where they may lie, and that a
//! failing call leaves them as they were. How they merge is the store's.

use corelet_sdk::collections::{Collection, OutOfRange};
use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// Lists and texts, some of them nested.
#[corelet::application(name = "probe")]
pub struct Probe {
    items: List<u32>,
    text: Text,
    lists: Map<String, List<String>>,
    texts: Map<u8, Map<u8, Text>>,
    journals: Owned<List<String>>,
}

#[corelet::methods]
impl Probe {
    /// Edits although it is a query.
    #[query]
    pub fn sneak(&self) {
        items().push(&1);
    }

    /// Edits, and then fails.
    #[update]
    pub fn fail(&mut self) -> Result<(), Error> {
        self.edit();
        self.items.clear();
        self.items.push(&9);
        Err(Error::new("asked", "as asked"))
    }

    /// What there is.
    #[query]
    pub fn all(&self) -> (Vec<u32>, String) {
        (self.items.iter().collect(), self.text.read())
    }
}

impl Probe {
    fn edit(&mut self) {
        self.items.insert(0, &7);
        self.items.push(&8);
        self.text.insert(1, "n");
        self.text.remove_range(..1);
        self.lists.entry_mut("new").push("x");
    }
}

/// The list once more, past the field.
fn items() -> List<u32> {
    List::at(b"items\0")
}

/// What the field would be as another collection.
fn register() -> Register<u32> {
    Register::at(b"items\0")
}

fn run<T>(probe: &mut Context<Probe>, f: impl FnOnce(&mut Probe) -> T) -> T {
    probe.run(f).unwrap_or_else(|failed| panic!("{failed}"))
}

#[test]
fn a_list_keeps_its_order() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        let items = &mut probe.items;
        assert!(items.is_empty());
        // More than are fetched at once.
        items.extend(&(0..40).collect::<Vec<_>>());
        items.push(&40);
        items.insert(0, &100);
        items.insert(42, &101);
        assert_eq!(
            (items.len(), items.get(0), items.get(42)),
            (43, Some(100), Some(101))
        );
        assert_eq!(items.get(43), None);
        let expected: Vec<u32> = [100].into_iter().chain(0..=40).chain([101]).collect();
        assert_eq!(items.iter().collect::<Vec<_>>(), expected);
        assert_eq!(items.range(1..=2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(items.range(41..).collect::<Vec<_>>(), [40, 101]);
        assert_eq!(items.range(50..60).count(), 0);
        items.remove_range(1..41);
        assert!(items.remove(0) && !items.remove(2));
        assert_eq!(items.iter().collect::<Vec<_>>(), [40, 101]);
        assert!(items.clear() && !items.clear());
        assert_eq!(items.len(), 0);
    });
    assert!(probe.entries().is_empty());
}

/// What another node can push into the list.
#[test]
fn elements_of_another_type_are_passed_over_and_large_ones_gone_on_behind() {
    let mut probe = Context::<Probe>::new();
    let lie = |probe: &mut Context<Probe>, what: &str| {
        probe.plant_element(b"items\0", format!("{what:?}").as_bytes());
    };
    lie(&mut probe, "a lie");
    run(&mut probe, |probe| probe.items.push(&1));
    lie(&mut probe, &"x".repeat(10 << 20));
    run(&mut probe, |probe| {
        probe.items.extend(&(2..50).collect::<Vec<_>>());
    });
    lie(&mut probe, "another");
    run(&mut probe, |probe| {
        let mut values = probe.items.iter();
        assert_eq!(values.place(), None);
        let places = std::iter::from_fn(|| Some((values.next()?, values.place()?)));
        let expected = (1..50).map(|n| (n, u64::from(n) + u64::from(n > 1)));
        assert!(places.eq(expected));
        assert_eq!(values.passed_over(), 3);
        assert_eq!(probe.items.range(..3).collect::<Vec<_>>(), [1]);
        assert_eq!(probe.items.get(0), None);
        assert_eq!(probe.items.get(1), Some(1));
    });
}

#[test]
fn a_text_counts_scalar_values() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        let text = &mut probe.text;
        text.push("Grüße");
        text.insert(5, " aus Köln");
        text.insert(0, "🙂 ");
        assert_eq!(
            (text.len(), text.get(0), text.get(16)),
            (16, Some('🙂'), None)
        );
        assert_eq!(text.read(), "🙂 Grüße aus Köln");
        assert_eq!(text.range(2..7), "Grüße");
        assert_eq!(text.range(12..), "Köln");
        assert!(text.iter().eq("🙂 Grüße aus Köln".chars()));
        text.remove_range(7..);
        text.remove_range(..=1);
        assert_eq!(text.read(), "Grüße");
    });
}

#[test]
fn places_beyond_the_end_are_told() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        probe.items.push(&1);
        let beyond = |index| Err(OutOfRange { index, length: 1 });
        assert_eq!(probe.items.try_insert(2, &1), beyond(2));
        assert_eq!(probe.items.try_remove_range(0, 2), beyond(2));
        assert_eq!(probe.items.try_remove_range(u64::MAX, 1), beyond(u64::MAX));
        probe.text.push("ä");
        assert_eq!(probe.text.try_insert(2, "x"), beyond(2));
        assert_eq!(probe.text.try_remove_range(1, 1), beyond(2));
        let error = Error::from(OutOfRange {
            index: 2,
            length: 1,
        });
        assert_eq!(error.code, "out_of_range");
    });
    let panicked = probe.run(|probe| probe.items.insert(2, &1)).unwrap_err();
    let expected = "2 is beyond the end, as the length is 1";
    assert_eq!(panicked, Failed::Panicked(expected.to_owned()));
}

#[test]
fn they_lie_in_other_collections() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        probe.lists.entry_mut("b").push("x");
        probe.lists.entry_mut("a").extend(["y", "z"]);
        probe.texts.entry_mut(&1).entry_mut(&2).push("deep");
        probe.journals.own().push("mine");
    });
    run(&mut probe, |probe| {
        assert_eq!(probe.lists.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(probe.lists.entry("a").get(1), Some("z".to_owned()));
        assert_eq!(probe.texts.entry(&1).entry(&2).read(), "deep");
        let owner = probe.journals.owners().next().unwrap();
        assert_eq!(probe.journals.of(&owner).get(0), Some("mine".to_owned()));
        assert_eq!(probe.lists.clear(), 2);
        assert_eq!(probe.lists.entry("a").len(), 0);
    });
    probe.set_author([9; 32]);
    let misused = probe.run(|probe| {
        // As if it were its own.
        let owner = probe.journals.owners().next().unwrap();
        assert_eq!(probe.journals.of(&owner).len(), 1);
        probe.journals.own().push("another's");
        assert_eq!(probe.journals.owners().count(), 2);
    });
    assert!(misused.is_ok());
}

#[test]
fn a_failing_call_edits_nothing() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        probe.items.extend(&[1, 2]);
        probe.text.push("ab");
    });
    let all = json!([[1, 2], "ab"]);
    assert!(probe.update("fail", json!({})).is_err());
    assert_eq!(probe.query("all", json!({})).unwrap(), all);
    assert_eq!(probe.query("sneak", json!({})), Err(Failed::WroteInQuery));
    assert_eq!(probe.query("all", json!({})).unwrap(), all);
    assert_eq!(probe.entries().len(), 2);
}

#[test]
fn an_entry_is_one_thing() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| probe.items.push(&1));
    let set = probe.run(|_| register().set(&1)).unwrap_err();
    let what = "an entry that is a list was written as a register";
    assert_eq!(set, Failed::Misused(what.to_owned()));
    run(&mut probe, |probe| {
        probe.items.clear();
        register().set(&1);
    });
    let push = probe.run(|probe| probe.items.push(&1)).unwrap_err();
    let what = "an entry that is a register was written as a list";
    assert_eq!(push, Failed::Misused(what.to_owned()));
    let len = probe.run(|probe| probe.items.len()).unwrap_err();
    let what = "an entry that is a register was used as a list";
    assert_eq!(len, Failed::Misused(what.to_owned()));
}
