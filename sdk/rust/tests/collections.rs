//! Collections of every kind, on one node: what each means, where its entries
//! lie, and what it refuses. How they merge is the store's.

use corelet_sdk::collections::{Collection, ElementsPage};
use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// One field of each kind, and some of them nested.
#[corelet::application(name = "probe")]
pub struct Probe {
    count: Counter,
    tags: Set<String>,
    pairs: Set<(String, u32)>,
    made_by: WriteOnce<String>,
    votes: Map<String, Counter>,
    rooms: Map<String, Map<u64, Register<String>>>,
    small: Map<u8, Set<u8>>,
    deep: Map<u8, Map<u8, Set<u8>>>,
    plain: Map<(String, u32), u32>,
    names: Owned<Register<String>>,
    ballots: Owned<Map<String, Counter>>,
    draft: Private<Register<String>>,
    drafts: Private<Map<u32, String>>,
}

#[corelet::methods]
impl Probe {
    /// Writes although it is a query.
    #[query]
    pub fn sneak(&self) {
        Counter::at(b"count\0").add(1);
    }

    /// Writes one of each, and then fails.
    #[update]
    pub fn fail(&mut self) -> Result<(), Error> {
        self.write_one_of_each();
        Err(Error::new("asked", "as asked"))
    }

    /// Writes one of each.
    #[update]
    pub fn write(&mut self) {
        self.write_one_of_each();
    }
}

impl Probe {
    fn write_one_of_each(&mut self) {
        self.count.add(5);
        self.tags.insert("t");
        self.made_by.set(&"x".to_owned());
        self.votes.entry_mut("v").add(1);
        self.rooms.entry_mut("r").entry_mut(&7).set(&"s".to_owned());
        self.names.own().set(&"n".to_owned());
        self.draft.set(&"d".to_owned());
    }
}

fn run<T>(probe: &mut Context<Probe>, f: impl FnOnce(&mut Probe) -> T) -> T {
    probe.run(f).unwrap_or_else(|failed| panic!("{failed}"))
}

fn check_misused(expected: &str, f: impl FnOnce(&mut Probe)) {
    let mut probe = Context::<Probe>::new();
    let failed = probe.run(f).unwrap_err();
    assert_eq!(failed, Failed::Misused(expected.to_owned()));
    assert!(probe.entries().is_empty(), "{expected}: it left a trace");
}

#[test]
fn a_counter_adds_and_begins_again() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        assert_eq!(probe.count.get(), 0);
        assert_eq!(probe.count.add(7), 7);
        assert_eq!(probe.count.add(-9), -2);
        assert_eq!(probe.count.get(), -2);
        assert!(probe.count.clear());
        assert!(!probe.count.clear());
        assert_eq!(probe.count.add(i64::MAX), i64::MAX);
    });
    run(&mut probe, |probe| {
        assert_eq!(probe.count.add(1), i64::MAX);
    });
}

#[test]
fn a_set_has_its_elements_once_and_in_order() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        let tags = &mut probe.tags;
        assert!(tags.is_empty());
        for tag in ["c", "a", "b", "a"] {
            tags.insert(tag);
        }
        assert!(!tags.insert("c"));
        assert!(tags.contains("b") && !tags.contains("d"));
        assert_eq!(tags.len(), 3);
        assert_eq!(tags.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(
            (tags.first(), tags.last()),
            (Some("a".into()), Some("c".into()))
        );
        let from_b = tags.range("b".to_owned()..);
        assert_eq!(from_b.reversed().collect::<Vec<_>>(), ["c", "b"]);
        assert!(tags.remove("b") && !tags.remove("b"));
        assert_eq!(tags.iter().collect::<Vec<_>>(), ["a", "c"]);
    });
}

/// Its key is the bare prefix of the field, and nothing of the field lies before it.
#[test]
fn an_empty_element_comes_once_from_either_end() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        let tags = &mut probe.tags;
        // As many as a walk fetches at once.
        for n in 0..15 {
            tags.insert(&format!("{n:02}"));
        }
        tags.insert("");
        let all: Vec<String> = tags.iter().collect();
        assert_eq!(all.len(), 16);
        let reversed: Vec<String> = tags.range(..).reversed().collect();
        assert!(reversed.iter().rev().eq(all.iter()));
        let up_to_it: Vec<String> = tags.range(..=String::new()).reversed().collect();
        assert_eq!(up_to_it, [""]);
        assert_eq!(tags.range(..String::new()).reversed().count(), 0);
    });
}

#[test]
fn a_set_is_paged() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        for n in 0..7 {
            probe.tags.insert(&format!("{n}"));
        }
        let mut after: Option<String> = None;
        let mut pages = Vec::new();
        loop {
            let ElementsPage { elements, next } = probe.tags.page(after.as_ref(), 3);
            pages.push(elements.concat());
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(pages, ["012", "345", "6"]);
    });
}

#[test]
fn ranges_of_sets_and_maps_are_removed() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        for n in 0..2_500 {
            let part = if n < 1_200 { "a" } else { "b" };
            probe.pairs.insert(&(part, n));
            probe.plain.set(&(part, n), &n);
        }
        assert_eq!(probe.pairs.remove_under(&("a",), 200), 200);
        assert_eq!(probe.pairs.under(&("a",)).next(), Some(("a".into(), 200)));
        assert_eq!(probe.pairs.remove_some(5_000), 1_000, "at once");
        assert_eq!(probe.pairs.len(), 1_300);
        assert_eq!(probe.pairs.clear(), 1_300);
        assert!(probe.pairs.is_empty());
        assert_eq!(probe.plain.remove_under(&("b",), 10), 10);
        assert_eq!(probe.plain.remove_some(10), 10);
        assert_eq!(
            probe.plain.first().map(|(key, _)| key),
            Some(("a".into(), 10))
        );
        assert_eq!(probe.plain.clear(), 2_480);
        assert_eq!(probe.plain.clear(), 0);
    });
    assert!(probe.entries().is_empty());
}

#[test]
fn what_is_written_once_stays() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        assert!(!probe.made_by.is_set());
        assert!(probe.made_by.set(&"ada".to_owned()));
        assert!(!probe.made_by.set(&"bob".to_owned()));
        assert_eq!(probe.made_by.get().as_deref(), Some("ada"));
    });
}

/// What another node can write below a field, and nobody can remove.
fn lie(key: &[u8]) {
    WriteOnce::<String>::at(key.to_vec().leak()).set(&"not of any type here".to_owned());
}

#[test]
fn walks_and_removals_pass_over_what_is_not_of_their_types() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        for n in [1, 2] {
            probe.plain.set(&("a", n), &n);
            probe.pairs.insert(&("a", n));
            probe.tags.insert(&n.to_string());
            probe.votes.entry_mut(&n.to_string()).add(1);
        }
        // Before all keys, between them and behind them; as long as a key can be.
        let long = |front: &[u8]| [front, &[b'z'; 480]].concat()[..480].to_vec();
        for lies in [
            vec![
                b"plain\0".to_vec(),
                long(b"plain\0a\0\0\0\0\0\x01"),
                long(b"plain\0z"),
            ],
            vec![
                b"pairs\0".to_vec(),
                long(b"pairs\0a\0\0\0\0\0\x01"),
                long(b"pairs\0z"),
            ],
            vec![b"tags\0\xff".to_vec(), b"tags\x001\xff".to_vec()],
            vec![b"votes\0".to_vec(), long(b"votes\x001a"), long(b"votes\0z")],
            // A key of its type, and a value that is none.
            vec![
                b"plain\0a\0\0\0\0\0\x01\0".to_vec(),
                b"plain\0b\0\0\0\0\0\x01".to_vec(),
            ],
            vec![b"votes\x003\0\0".to_vec()],
        ] {
            lies.iter().for_each(|key| lie(key));
        }
    });
    run(&mut probe, |probe| {
        let all = [(("a".to_owned(), 1), 1), (("a".to_owned(), 2), 2)];
        let mut entries = probe.plain.iter();
        assert_eq!(entries.by_ref().collect::<Vec<_>>(), all);
        assert_eq!(entries.passed_over(), 5);
        let mut reversed = probe.plain.iter().reversed();
        assert!(reversed.by_ref().eq(all.iter().rev().cloned()));
        assert_eq!(probe.plain.first(), Some(all[0].clone()));
        assert_eq!(probe.plain.last(), Some(all[1].clone()));
        let page = probe.plain.page(None::<&(String, u32)>, 1);
        assert_eq!(
            (&page.entries[..], &page.next),
            (&all[..1], &Some(all[0].0.clone()))
        );
        let page = probe.plain.page(page.next.as_ref(), 1);
        assert_eq!((&page.entries[..], &page.next), (&all[1..], &None));

        let keys = all.map(|(key, _)| key);
        let mut elements = probe.pairs.iter();
        assert!(elements.by_ref().eq(keys.iter().cloned()));
        assert_eq!(elements.passed_over(), 3);
        assert_eq!(probe.pairs.last(), Some(keys[1].clone()));
        assert_eq!(probe.pairs.page(Some(&keys[0]), 1).elements, keys[1..]);
        assert!(probe.tags.iter().eq(["1", "2"].map(str::to_owned)));

        let mut keys = probe.votes.keys();
        let found: Vec<_> = keys.by_ref().collect();
        assert_eq!(
            (&found[..], keys.passed_over()),
            (&["1", "2", "3"].map(str::to_owned)[..], 3)
        );
        let votes = found.iter().map(|key| probe.votes.entry(key).get());
        assert_eq!(votes.collect::<Vec<_>>(), [1, 1, 0]);

        assert_eq!(probe.plain.remove_some(1), 1);
        assert_eq!(probe.plain.clear(), 1);
        assert_eq!(probe.pairs.clear(), 2);
        assert_eq!(probe.tags.remove_some(1_000), 2);
        assert_eq!(probe.votes.clear(), 2);
        assert_eq!((probe.plain.iter().next(), probe.tags.len()), (None, 2));
    });
    assert_eq!(probe.entries().len(), 5 + 3 + 2 + 4);
}

/// As large and as long as another node can make them, whatever this one's bounds are.
#[test]
fn walks_go_on_around_what_is_large_or_has_a_long_key() {
    const LARGE: usize = 10 << 20;
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        for n in 1..=40 {
            probe.plain.set(&("a", n), &n);
            probe.tags.insert(&format!("{n:02}"));
            probe.votes.entry_mut(&format!("{n:02}")).add(1);
        }
    });
    let long = |front: &[u8]| [front, &[b'z'; 503]].concat()[..503].to_vec();
    for (front, large) in [
        (
            &b"plain\0a\0\0\0\0\0\x05"[..],
            &b"plain\0a\0\0\0\0\0\x14\0"[..],
        ),
        (b"tags\x0005", b"tags\x0020\xff"),
        (b"votes\x0005", b"votes\x0020\xff"),
        (b"tags\0z", b"tags\x0000\xff"),
        (b"votes\0z", b"votes\x0000\xff"),
    ] {
        probe.plant(&long(front), b"long");
        probe.plant(large, &vec![b'x'; LARGE]);
    }
    let readable = [b"votes\0", &[b'y'; 495][..], b"\0\0"].concat();
    probe.plant(&readable, b"long");
    run(&mut probe, |probe| {
        let numbers: Vec<u32> = (1..=40).collect();
        let values = |entries: Vec<((String, u32), u32)>| -> Vec<u32> {
            entries.into_iter().map(|(_, value)| value).collect()
        };
        assert_eq!(values(probe.plain.iter().collect()), numbers);
        let reversed = probe.plain.iter().reversed().collect();
        assert!(values(reversed).iter().eq(numbers.iter().rev()));
        let page = probe.plain.page(Some(&("a".to_owned(), 3)), 30);
        assert_eq!(values(page.entries), numbers[3..33]);
        let page = probe.plain.page(page.next.as_ref(), 30);
        assert_eq!(
            (values(page.entries), page.next),
            (numbers[33..].to_vec(), None)
        );
        let names: Vec<String> = numbers.iter().map(|n| format!("{n:02}")).collect();
        let is_name = |tag: &String| names.contains(tag);
        // A long one that can be read is an element, or a key.
        assert!(probe.tags.iter().filter(is_name).eq(names.iter().cloned()));
        assert!(probe.votes.keys().filter(is_name).eq(names.iter().cloned()));
        assert!(!probe.tags.is_empty());
        for tag in probe.tags.iter() {
            assert!(probe.tags.contains(&tag));
        }
        assert_eq!(probe.tags.clear(), 40);
        assert_eq!(probe.votes.clear(), 40);
        assert_eq!(probe.plain.clear(), 40);
    });
    let failed = probe.run(|probe| probe.tags.insert(&"x".repeat(476)));
    let (name, max) = ("key_bytes_max", 480);
    assert_eq!(failed, Err(Failed::Limit { name, max }));
}

#[test]
fn collections_nest() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        probe.votes.entry_mut("a").add(2);
        probe.votes.entry_mut("ab").add(3);
        assert_eq!(probe.votes.entry("a").get(), 2);
        assert_eq!(probe.votes.entry("b").get(), 0);
        assert_eq!(probe.votes.keys().collect::<Vec<_>>(), ["a", "ab"]);

        let rooms = &mut probe.rooms;
        for (room, seat) in [("x", 2), ("x", 1), ("x\0", 1), ("", 9)] {
            let mut room_map = rooms.entry_mut(room);
            room_map.entry_mut(&seat).set(&format!("{room}{seat}"));
        }
        assert_eq!(rooms.keys().collect::<Vec<_>>(), ["", "x", "x\0"]);
        assert_eq!(rooms.keys_behind("").collect::<Vec<_>>(), ["x", "x\0"]);
        assert_eq!(rooms.entry("x").keys().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rooms.entry("x").entry(&2).get().as_deref(), Some("x2"));
        assert_eq!(rooms.entry_mut("x").clear(), 2);
        assert_eq!(rooms.keys().collect::<Vec<_>>(), ["", "x\0"]);
        assert!(rooms.entry("x").is_empty() && !rooms.is_empty());
    });
}

/// Where one key's bytes end is where the next key's begin.
#[test]
fn keys_of_nested_maps_are_found_at_every_edge() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        for key in [0, 1, 254, 255] {
            for element in [0, 255] {
                probe.small.entry_mut(&key).insert(&element);
                let mut inner = probe.deep.entry_mut(&key);
                inner.entry_mut(&element).insert(&element);
            }
        }
        assert_eq!(probe.small.keys().collect::<Vec<_>>(), [0, 1, 254, 255]);
        assert_eq!(probe.small.keys_behind(&1).collect::<Vec<_>>(), [254, 255]);
        assert_eq!(probe.small.keys_behind(&255).next(), None);
        let inner = probe.deep.entry(&255);
        assert_eq!(inner.keys().collect::<Vec<_>>(), [0, 255]);
        assert_eq!(inner.entry(&255).iter().collect::<Vec<_>>(), [255]);
    });
}

#[test]
fn everybody_reads_what_one_owns_and_nobody_else_writes_it() {
    let mut probe = Context::<Probe>::new();
    for author in [9, 255, 3] {
        probe.set_author([author; 32]);
        run(&mut probe, |probe| {
            assert_eq!(probe.names.own().get(), None);
            probe.names.own().set(&author.to_string());
        });
    }
    probe.set_author([4; 32]);
    run(&mut probe, |probe| {
        probe.ballots.own().entry_mut("yes").add(2);
        let owners: Vec<_> = probe.names.owners().collect();
        assert_eq!(owners, [[3; 32], [9; 32], [255; 32]]);
        assert_eq!(probe.names.of(&[9; 32]).get().as_deref(), Some("9"));
        assert_eq!(probe.names.of(&[4; 32]).get(), None);
        assert_eq!(probe.ballots.owners().collect::<Vec<_>>(), [[4; 32]]);
        assert_eq!(probe.ballots.of(&[4; 32]).entry("yes").get(), 2);
        assert_eq!(context::author(), [4; 32]);
    });
    let key = probe.owned_entries().keys().next().unwrap();
    assert_eq!(key[..], [&[3; 32][..], b"names\0"].concat());

    // Held back from one call, and used in the next by another author.
    let mut held = None;
    run(&mut probe, |probe| held = Some(probe.names.own()));
    probe.set_author([5; 32]);
    let failed = probe.run(|_| held.unwrap().set(&"forged".to_owned()));
    let Err(Failed::Misused(message)) = failed else {
        panic!("{failed:?}")
    };
    assert!(
        message.contains("does not begin with the public key"),
        "{message}"
    );
}

#[test]
fn private_collections_lie_apart() {
    let mut probe = Context::<Probe>::new();
    run(&mut probe, |probe| {
        probe.draft.set(&"d".to_owned());
        probe.drafts.set(&1, "one");
        assert_eq!(probe.drafts.get(&1).as_deref(), Some("one"));
        assert_eq!(probe.drafts.len(), 1);
    });
    assert!(probe.entries().is_empty());
    assert_eq!(probe.private_entries().len(), 2);
    run(&mut probe, |probe| {
        assert_eq!(probe.drafts.clear(), 1);
        assert!(probe.draft.clear());
    });
    assert!(probe.private_entries().is_empty());
}

#[test]
fn an_entry_keeps_its_kind() {
    check_misused(
        "an entry that is a counter was written as a register",
        |probe| {
            probe.count.add(1);
            Register::<u8>::at(b"count\0").set(&1);
        },
    );
    check_misused(
        "an entry that is a register was written as a counter",
        |_| {
            Register::<u8>::at(b"count\0").set(&1);
            Counter::at(b"count\0").add(1);
        },
    );
    check_misused("a write-once entry was removed, which cannot be", |probe| {
        probe.made_by.set(&"x".to_owned());
        Map::<String, String>::at(b"made_by\0").remove("");
    });
}

#[test]
fn a_failed_call_and_a_query_write_nothing_of_any_kind() {
    let mut probe = Context::<Probe>::new();
    for _ in 0..2 {
        let failed = probe.update("fail", json!({})).unwrap_err();
        assert_eq!(failed.code(), Some("asked"));
        assert!(probe.entries().is_empty() && probe.owned_entries().is_empty());
        assert!(probe.private_entries().is_empty());
    }
    assert_eq!(probe.query("sneak", json!({})), Err(Failed::WroteInQuery));
    // After a roll-back the kinds are as they were, too.
    run(&mut probe, |_| Register::<u8>::at(b"count\0").set(&1));
}

/// The layout is durable: these bytes must not change.
#[test]
fn entries_lie_where_the_documentation_says() {
    let mut probe = Context::<Probe>::new();
    probe.update("write", json!({})).unwrap();
    let entries: Vec<_> = probe.entries().iter().collect();
    let expected: [(&[u8], &[u8]); 5] = [
        (b"count\0", b"\x05\0\0\0\0\0\0\0"),
        (b"made_by\0", b"\"x\""),
        (b"rooms\0r\0\0\0\0\0\0\0\0\0\x07", b"\"s\""),
        (b"tags\0t", b""),
        (b"votes\0v\0\0", b"\x01\0\0\0\0\0\0\0"),
    ];
    for ((key, value), (expected_key, expected_value)) in entries.iter().zip(expected) {
        assert_eq!((&key[..], &value[..]), (expected_key, expected_value));
    }
    assert_eq!(entries.len(), expected.len());
    assert_eq!(probe.private_entries().keys().next().unwrap(), b"draft\0");
}

/// Another member can have written it, or an older version of the application.
#[test]
fn a_value_of_another_type_stops_no_call_that_can_do_without_it() {
    let mut probe = Context::<Probe>::new();
    let key = ("a".to_owned(), 1);
    run(&mut probe, |probe| {
        let lies = || Map::<(String, u32), String>::at(b"plain\0");
        lies().set(&key, "no number");
        let unreadable = probe.plain.try_get(&key).unwrap_err();
        assert!(
            unreadable
                .to_string()
                .contains("no value of the field's type")
        );
        assert_eq!(probe.plain.insert(&key, &7), None);
        assert_eq!(probe.plain.try_get(&key).unwrap(), Some(7));
        lies().set(&key, "no number");
        assert_eq!(probe.plain.take(&key), None);
        assert!(!probe.plain.contains(&key), "it is taken all the same");
        assert_eq!(probe.plain.try_get(&key).unwrap(), None);

        Register::<u8>::at(b"draft\0").set(&1);
        WriteOnce::<u8>::at(b"made_by\0").set(&1);
        assert!(probe.made_by.try_get().is_err());
        assert!(Register::<String>::at(b"draft\0").try_get().is_err());
    });
    let failed = probe.run(|probe| probe.made_by.get()).unwrap_err();
    assert!(matches!(failed, Failed::Panicked(_)), "{failed}");
}
