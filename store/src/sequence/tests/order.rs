//! The order that replicas agree on is the right one: that of the definition (`fugue.rs`), and
//! with what people type at one place left in one piece.

use super::super::id::{Id, Side};
use super::super::tree::Author;
use super::super::update::{self, Insertion, Written};
use super::fugue::{Deed, Fugue, Name};
use super::*;

/// Histories if `CORELET_HISTORIES` is not set.
const HISTORIES: u32 = 1_000;

/// A sequence and a replica of the model for each author, who do the same.
struct Pairs {
    world: World,
    models: Vec<Fugue>,
    /// What each update of the world says.
    deeds: Vec<Vec<Deed>>,
    /// What each author did since its last update, and what its model was before.
    waiting: Vec<Vec<Deed>>,
    before: Vec<Fugue>,
    /// Elements that were made. No two are alike, so that what is equal is in one order.
    made: u32,
}

/// What one author does.
#[derive(Clone, Debug)]
enum Step {
    /// Inserts so many, in one go, or one by one: each behind the one before, or in front.
    Insert {
        at: usize,
        len: usize,
        how: Typing,
    },
    Delete {
        at: usize,
        len: usize,
    },
    Commit,
    RollBack,
    /// Learns so many of the updates that it can have.
    Learn {
        count: usize,
        choice: usize,
    },
    /// Is told again what it knows.
    LearnAgain {
        choice: usize,
    },
    /// Is opened from what it saved.
    Open,
    /// Says that so many elements hang there, and not where an edit by index would have them.
    Claim {
        parent: usize,
        side: Side,
        len: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Typing {
    AtOnce,
    Forward,
    Backward,
}

impl Pairs {
    fn new(kind: SequenceKind, count: usize) -> Self {
        let models: Vec<Fugue> = (0..count).map(|n| Fugue::new(key(n as u8))).collect();
        Self {
            world: World::new(kind, count),
            before: models.clone(),
            models,
            deeds: Vec::new(),
            waiting: vec![Vec::new(); count],
            made: 0,
        }
    }

    fn step(&mut self, r: usize, step: &Step) {
        match *step {
            Step::Insert { at, len, how } => {
                let at = at % (self.world.replicas[r].len() + 1);
                let new = self.make(len);
                self.insert(r, at, new, how);
            }
            Step::Delete { at, len } => {
                let at = at % (self.world.replicas[r].len() + 1);
                let len = len.min(self.world.replicas[r].len() - at);
                self.delete(r, at, len);
            }
            Step::Commit => self.commit(r),
            Step::RollBack => {
                self.world.replicas[r].roll_back();
                self.waiting[r].clear();
                self.models[r] = self.before[r].clone();
            }
            Step::Learn { count, choice } => {
                self.commit(r);
                for n in 0..count {
                    self.learn(r, choice.wrapping_add(n * 7));
                }
            }
            Step::LearnAgain { choice } => {
                self.commit(r);
                self.learn_again(r, choice);
            }
            Step::Open => {
                self.commit(r);
                let saved = self.world.replicas[r].save().unwrap();
                self.world.replicas[r] = Sequence::open(key(r as u8), &saved).unwrap();
            }
            Step::Claim { parent, side, len } => {
                self.commit(r);
                let new = self.make(len);
                self.claim(r, parent, side, new);
            }
        }
    }

    /// Elements that are like no other.
    fn make(&mut self, len: usize) -> Vec<Content> {
        let numbers = self.made..self.made + len as u32;
        self.made = numbers.end;
        let kind = self.world.replicas[0].kind();
        let element = |n| match kind {
            SequenceKind::List => values(n..n + 1),
            SequenceKind::Text => {
                // One to four bytes each.
                let first = [0x21, 0x400, 0x4e00, 0x1_f300][n as usize % 4];
                text(&char::from_u32(first + n / 4).unwrap().to_string())
            }
        };
        numbers.map(element).collect()
    }

    fn insert(&mut self, r: usize, at: usize, new: Vec<Content>, how: Typing) {
        let sequence = &mut self.world.replicas[r];
        let mut at_once = Content::empty(sequence.kind());
        for (n, element) in new.into_iter().enumerate() {
            let index = match how {
                Typing::Backward => at,
                Typing::AtOnce | Typing::Forward => at + n,
            };
            let [value] = &plain(&element)[..] else {
                panic!("elements are made one by one")
            };
            let deed = self.models[r].insert(index, value.clone());
            self.waiting[r].push(deed);
            match how {
                Typing::AtOnce => at_once.append(element),
                Typing::Forward | Typing::Backward => sequence.insert(index, element).unwrap(),
            }
        }
        sequence.insert(at, at_once).unwrap();
    }

    fn delete(&mut self, r: usize, at: usize, len: usize) {
        self.world.replicas[r].delete(at, len).unwrap();
        let deeds = self.models[r].delete(at, len);
        self.waiting[r].extend(deeds);
    }

    fn commit(&mut self, r: usize) {
        self.world.commit(r);
        let deeds = std::mem::take(&mut self.waiting[r]);
        if self.world.updates.len() > self.deeds.len() {
            self.deeds.push(deeds);
        }
        self.before[r] = self.models[r].clone();
    }

    /// An update whose bytes no edit has made: elements in a row, of which the first hangs where
    /// its author says, if that is one which it knows.
    fn claim(&mut self, r: usize, parent: usize, side: Side, new: Vec<Content>) {
        let world = &mut self.world;
        let known: Vec<Name> = self.models[r].names().collect();
        let parent = parent % (known.len() + 1);
        let (parent, side) = match known.get(parent) {
            Some(name) => (Some(*name), side),
            None => (None, Side::Right),
        };
        let author_of = |n| Author {
            key: key(n as u8),
            next: 0,
        };
        let authors: Vec<Author> = (0..world.replicas.len()).map(author_of).collect();
        let id_of = |(key, counter): Name| {
            let author = authors.iter().position(|author| author.key == key);
            let author = author.expect("an author of the world") as u32;
            Id { author, counter }
        };
        let names: Vec<Name> = new.iter().map(|_| self.models[r].next_name()).collect();
        let mut content = Content::empty(world.replicas[r].kind());
        let (mut on, mut deeds) = ((parent, side), Vec::new());
        for (name, element) in names.iter().zip(new) {
            let (parent, side) = std::mem::replace(&mut on, (Some(*name), Side::Right));
            deeds.push(Deed::Insert {
                name: *name,
                parent,
                side,
                value: plain(&element).remove(0),
            });
            content.append(element);
        }
        deeds.iter().for_each(|deed| self.models[r].apply(deed));
        let insertion = Written::of(&Insertion {
            first: id_of(names[0]),
            parent: parent.map_or(Id::ROOT, id_of),
            side,
            content,
        });
        let (kind, own, first) = (world.replicas[r].kind(), r as u32, names[0].1);
        let none = std::iter::empty();
        let bytes = update::encode(kind, &authors, own, first, &[insertion], none);
        world.clock += 3;
        let (stamp, seen) = (hlc(world.clock), world.has[r].clone());
        let answer = world.replicas[r].apply(key(r as u8), stamp, look_up(&seen), &bytes);
        answer.expect("it names what its author knows");
        world.updates.push((r, stamp, seen, bytes));
        world.has[r][r] = stamp;
        self.deeds.push(deeds);
        self.before[r] = self.models[r].clone();
    }

    /// Learns one of the updates that it can have; false if there is none.
    fn learn(&mut self, r: usize, choice: usize) -> bool {
        let Some(update) = self.world.deliver(r, choice) else {
            return false;
        };
        let model = &mut self.models[r];
        self.deeds[update].iter().for_each(|deed| model.apply(deed));
        self.before[r] = model.clone();
        true
    }

    fn learn_again(&mut self, r: usize, choice: usize) {
        let has = &self.world.has[r];
        let known = |(author, stamp, ..): &&(usize, Hlc, _, _)| has[*author] >= *stamp;
        let known: Vec<_> = self.world.updates.iter().filter(known).collect();
        if known.is_empty() {
            return;
        }
        let (author, stamp, seen, bytes) = known[choice % known.len()];
        let sequence = &mut self.world.replicas[r];
        let again = sequence.apply(key(*author as u8), *stamp, look_up(seen), bytes);
        assert!(again.is_err(), "an update counts once");
    }

    fn learn_all(&mut self) {
        for r in 0..self.models.len() {
            self.commit(r);
        }
        for r in 0..self.models.len() {
            while self.learn(r, 5) {}
        }
    }

    #[track_caller]
    fn check(&self, r: usize) {
        let found = plain(&all(&self.world.replicas[r]));
        assert_eq!(found, self.models[r].values(), "of replica {r}");
    }
}

/// What two have typed, each one text after the other, into what a third one has written: seen by
/// each of the three, when all know all.
#[track_caller]
fn check_merged(start: &str, first: &[(usize, &str)], second: &[(usize, &str)], expected: &str) {
    assert!(key(BEFORE as u8) < key(BEHIND as u8));
    let mut pairs = Pairs::new(SequenceKind::Text, 3);
    let put = |pairs: &mut Pairs, r, at, typed: &str| {
        let new = typed.chars().map(|c| text(&c.to_string())).collect();
        pairs.insert(r, at, new, Typing::AtOnce);
        pairs.commit(r);
    };
    put(&mut pairs, 0, 0, start);
    pairs.learn_all();
    for (r, typed) in [(BEHIND, first), (BEFORE, second)] {
        for &(at, typed) in typed {
            match typed.strip_prefix(DELETE) {
                Some(gone) => pairs.delete(r, at, gone.len()),
                None => put(&mut pairs, r, at, typed),
            }
        }
    }
    pairs.learn_all();
    for r in 0..3 {
        assert_eq!(all(&pairs.world.replicas[r]), text(expected));
        pairs.check(r);
    }
}

/// Of two replicas that which comes first among brothers, as its key is smaller.
const BEFORE: usize = 2;
const BEHIND: usize = 1;

/// What stands behind it goes.
const DELETE: char = '-';

/// Two type forward at one place, letter by letter.
#[test]
fn runs_that_are_typed_forward_stay_whole() {
    let (first, second) = (
        [(1, "a"), (2, "b"), (3, "c")],
        [(1, "X"), (2, "Y"), (3, "Z")],
    );
    check_merged("[]", &first, &second, "[XYZabc]");
    check_merged("[", &first, &second, "[XYZabc");
    let [first, second] = [first, second].map(|typed| typed.map(|(at, typed)| (at - 1, typed)));
    check_merged("", &first, &second, "XYZabc");
    check_merged("]", &first, &second, "XYZabc]");
}

/// The same, each letter in front of the one before.
#[test]
fn runs_that_are_typed_backward_stay_whole() {
    let (first, second) = (
        [(1, "c"), (1, "b"), (1, "a")],
        [(1, "Z"), (1, "Y"), (1, "X")],
    );
    check_merged("[]", &first, &second, "[XYZabc]");
    check_merged("[", &first, &second, "[XYZabc");
    let [first, second] = [first, second].map(|typed| typed.map(|(at, typed)| (at - 1, typed)));
    check_merged("", &first, &second, "XYZabc");
    check_merged("]", &first, &second, "XYZabc]");
}

/// One types forward and the other backward, or goes back to put something in between.
#[test]
fn runs_that_are_typed_in_different_ways_stay_whole() {
    let forward = [(1, "a"), (2, "b"), (3, "c")];
    let backward = [(1, "Z"), (1, "Y"), (1, "X")];
    check_merged("[]", &forward, &backward, "[XYZabc]");
    check_merged("[]", &backward, &forward, "[abcXYZ]");
    let in_between = [(1, "X"), (2, "Z"), (2, "Y")];
    check_merged("[]", &forward, &in_between, "[XYZabc]");
    check_merged("[]", &in_between, &forward, "[abcXYZ]");
}

/// What is typed before and behind an element stays there when somebody else deletes it.
#[test]
fn what_is_deleted_still_parts_what_is_around_it() {
    check_merged("axb", &[(1, "-x"), (1, "1")], &[(2, "2")], "a12b");
    check_merged("axb", &[(2, "2")], &[(1, "-x"), (1, "1")], "a12b");
    check_merged("axyb", &[(1, "-xy"), (1, "12")], &[(2, "34")], "a1234b");
}

fn step(claims: bool) -> impl Strategy<Value = Step> {
    // Most are at the same few places, where others are too.
    let at = || prop_oneof![3 => 0..4_usize, 1 => any::<usize>()];
    let len = || prop_oneof![4 => Just(1_usize), 2 => 2..6_usize, 1 => 6..30_usize];
    let side = prop_oneof![Just(Side::Left), Just(Side::Right)];
    let how = prop_oneof![
        Just(Typing::AtOnce),
        Just(Typing::Forward),
        Just(Typing::Backward)
    ];
    let claim = (any::<usize>(), side, len());
    prop_oneof![
        8 => (at(), len(), how).prop_map(|(at, len, how)| Step::Insert { at, len, how }),
        3 => (at(), len()).prop_map(|(at, len)| Step::Delete { at, len }),
        3 => Just(Step::Commit),
        1 => Just(Step::RollBack),
        5 => (1..6_usize, any::<usize>())
            .prop_map(|(count, choice)| Step::Learn { count, choice }),
        1 => any::<usize>().prop_map(|choice| Step::LearnAgain { choice }),
        1 => Just(Step::Open),
        if claims { 8 } else { 0 } => claim
            .prop_map(|(parent, side, len)| Step::Claim { parent, side, len }),
    ]
}

fn check_histories(claims: bool) {
    let steps = prop::collection::vec((any::<usize>(), step(claims)), 1..60);
    let history = (2..=5_usize, any::<bool>(), steps);
    try_histories(HISTORIES, history, |(count, list, steps)| {
        let kind = if list {
            SequenceKind::List
        } else {
            SequenceKind::Text
        };
        let mut pairs = Pairs::new(kind, count);
        for (r, step) in &steps {
            pairs.step(r % count, step);
            pairs.check(r % count);
        }
        pairs.learn_all();
        (0..count).for_each(|r| pairs.check(r));
        pairs.world.replicas.iter().for_each(check_invariants);
        Ok(())
    });
}

/// Two to five replicas that edit at a few places, learn of each other bit by bit and in any
/// order, are told the same again, fail and are opened again: at each of them and after each step,
/// the elements are those of the model, in its order.
#[test]
fn histories_have_the_order_of_the_definition() {
    check_histories(false);
}

/// The same with authors who say of elements that they hang where no edit would have them. So
/// there are brothers of one author, and trees of any form.
#[test]
fn histories_of_claims_have_the_order_of_the_definition() {
    check_histories(true);
}
