//! Who has something in an agenda that is due, and which of them may begin: a state machine without
//! clock or store. Who that is, its user says: a context with timers, or two of which one has sent
//! the other a call. What it knows are hints. That nothing is due before a hint is all that they
//! say; what there is is read in the agenda when their time has come.
//!
//! Starts are paced, so that thousands that are due at once, as after a restart, leave room for
//! calls. Who has had a start begins the next one behind all others that are due. All
//! times are in microseconds since 1970.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use corelet_store::ContextId;

use crate::held::Held;

/// Hints that are kept. What is due behind the last of them is looked for in the agendas when its
/// time has come.
const HINTS_MAX: usize = 100_000;

const SECOND: u64 = 1_000_000;

/// While more is due than there are hints for, all agendas are looked at so often at most, if
/// what is known is not worked off before.
const LOOKS_APART: u64 = 60 * SECOND;

/// Who may have something that is due.
pub(crate) trait Who: Copy + Ord + Hash {
    /// The context whose agenda that is in.
    fn context(&self) -> ContextId;
}

impl Who for ContextId {
    fn context(&self) -> ContextId {
        *self
    }
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<K> {
    /// Something of `who` may be due. Nothing of it is before `from`.
    Start { who: K, hint: Hint },
    /// Nothing before this time, if nothing is noted meanwhile.
    At(u64),
    /// Nothing until something is noted, or what was started has ended.
    Nothing,
    /// Hints were forgotten that are due now: all agendas are to be looked at.
    Look,
}

/// What is known of somebody who has something in an agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Nothing of it is due before.
    pub(crate) from: u64,
    /// When the agenda is looked at: later, if many are due or something was in the way.
    pub(crate) start: u64,
    /// How often in a row something was in the way.
    pub(crate) refused: u32,
}

impl Hint {
    pub(crate) fn at(at: u64) -> Hint {
        Hint {
            from: at,
            start: at,
            refused: 0,
        }
    }

    fn and(self, other: Hint) -> Hint {
        Hint {
            from: self.from.min(other.from),
            start: self.start.min(other.start),
            refused: self.refused.max(other.refused),
        }
    }
}

/// So many begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In a second, in the long run.
    pub(crate) starts_per_second: u64,
    /// That have not ended.
    pub(crate) running_max: usize,
    /// Out of one context's agenda.
    pub(crate) context_running_max: usize,
    /// Whether nothing may begin before its time by the clock on the wall, as that may be put back.
    /// Otherwise all is due from when it was noted.
    pub(crate) keeps_times: bool,
}

/// What is known of one that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Since when that was due.
    from: u64,
    /// What was noted since.
    noted: Option<Hint>,
    /// Whether it was made anew since, so that what comes of what has begun says nothing of it.
    is_anew: bool,
}

/// Those of a shard who have something in an agenda.
pub(crate) struct Due<K> {
    by_start: BTreeSet<(u64, K)>,
    /// Those that are due and wait until one of the same context ends.
    held: Held<K>,
    hints: HashMap<K, Hint>,
    /// Those that have begun.
    begun: HashMap<K, Begun>,
    /// How many these are, by context.
    running: HashMap<ContextId, usize>,
    /// When to look for those that were forgotten; at the beginning, that is all.
    forgotten_from: Option<u64>,
    /// Not before this time, if much is known that is due.
    next_look: u64,
    /// Whether somebody looks.
    is_looking: bool,
    hints_max: usize,
    /// When the next may begin.
    next_start: u64,
    pace: Pace,
}

impl<K: Who> Due<K> {
    pub(crate) fn new(pace: Pace) -> Due<K> {
        Due {
            by_start: BTreeSet::new(),
            held: Held::new(),
            hints: HashMap::new(),
            begun: HashMap::new(),
            running: HashMap::new(),
            forgotten_from: Some(0),
            next_look: 0,
            is_looking: false,
            hints_max: HINTS_MAX,
            next_start: 0,
            pace,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.hints.len()
    }

    /// How many of them are due and wait until one of the same context ends.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// The earliest time that is known of something that was due and has not ended.
    pub(crate) fn earliest(&self) -> Option<u64> {
        let begun = self.begun.values().map(|begun| begun.from);
        let waiting = self.hints.values().map(|hint| hint.from);
        begun.chain(waiting).min()
    }

    /// Whether something has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Something of `who` may be due at `at`.
    pub(crate) fn note(&mut self, who: K, at: u64) {
        self.note_later(who, Hint::at(at));
    }

    /// The same, where it is not looked for at once.
    pub(crate) fn note_later(&mut self, who: K, hint: Hint) {
        if let Some(Begun { noted, .. }) = self.begun.get_mut(&who) {
            *noted = Some(noted.map_or(hint, |noted| noted.and(hint)));
            return;
        }
        let mut hint = hint;
        if let Some(old) = self.hints.get(&who) {
            hint = hint.and(*old);
            self.by_start.remove(&(old.start, who));
            self.held.remove(old.start, who);
        }
        self.hints.insert(who, hint);
        self.by_start.insert((hint.start, who));
        while self.hints.len() > self.hints_max {
            // Those that could not begin anyway go first.
            let held = self.held.take_any();
            let last = held.or_else(|| self.by_start.pop_last().map(|(_, who)| who));
            let Some(last) = last else { return };
            if let Some(hint) = self.hints.remove(&last) {
                self.forget(hint.start);
            }
        }
    }

    /// The same for what is done in its order: who waits already does so for something that comes
    /// first, and is not looked at sooner for this.
    pub(crate) fn note_in_order(&mut self, who: K, at: u64) {
        if !self.hints.contains_key(&who) {
            self.note(who, at);
        }
    }

    /// The same for what was made anew: whatever was in the way of what was there before, it is looked at now.
    pub(crate) fn note_anew(&mut self, who: K, at: u64) {
        if let Some(begun) = self.begun.get_mut(&who) {
            begun.noted = Some(Hint::at(at));
            begun.is_anew = true;
            return;
        }
        let mut at = at;
        if let Some(old) = self.hints.remove(&who) {
            self.by_start.remove(&(old.start, who));
            self.held.remove(old.start, who);
            // Who is due already keeps his place among those who are.
            at = at.min(old.start);
        }
        self.note(who, at);
    }

    fn forget(&mut self, start: u64) {
        let from = self.forgotten_from.map_or(start, |from| from.min(start));
        self.forgotten_from = Some(from);
    }

    /// What is to be done at `now`. Whatever it starts has to [end](Self::end).
    pub(crate) fn next(&mut self, now: u64) -> Next<K> {
        let look = self.look_at();
        if look.is_some_and(|look| look <= now) {
            self.forgotten_from = None;
            self.is_looking = true;
            return Next::Look;
        }
        let (start, who) = loop {
            let first = self.by_start.first().copied();
            let Some((start, who)) = first.filter(|(start, _)| *start <= now) else {
                let starts = first.map(|(start, _)| start).into_iter();
                return starts.chain(look).min().map_or(Next::Nothing, Next::At);
            };
            let running = self.running.get(&who.context()).copied();
            if running.unwrap_or(0) < self.pace.context_running_max {
                break (start, who);
            }
            self.by_start.pop_first();
            self.held.insert(start, who);
        };
        if self.begun.len() >= self.pace.running_max {
            return Next::Nothing;
        }
        if self.next_start > now {
            return Next::At(self.next_start);
        }
        let pause = SECOND / self.pace.starts_per_second.max(1);
        // After a rest a few may begin at once.
        let rested = now.saturating_sub(pause * self.pace.running_max as u64);
        self.next_start = self.next_start.max(rested) + pause;
        self.by_start.pop_first();
        let hint = self.hints.remove(&who).unwrap_or(Hint::at(start));
        let begun = Begun {
            from: hint.from,
            noted: None,
            is_anew: false,
        };
        self.begun.insert(who, begun);
        *self.running.entry(who.context()).or_default() += 1;
        Next::Start { who, hint }
    }

    /// When to look for what was forgotten. What is known is worked off first, as there is room
    /// for no more; but not for ever.
    fn look_at(&self) -> Option<u64> {
        let from = self.forgotten_from.filter(|_| !self.is_looking)?;
        let is_worked_off = self.hints.len() <= self.hints_max / 2;
        match is_worked_off {
            true => Some(from),
            false => Some(from.max(self.next_look)),
        }
    }

    /// All agendas have been looked at, or that has failed and is to be tried again at `again`.
    pub(crate) fn looked(&mut self, now: u64, again: Option<u64>) {
        self.is_looking = false;
        self.next_look = now + LOOKS_APART;
        // What one of these waited for may have been forgotten.
        self.by_start.extend(self.held.take_all());
        if let Some(again) = again {
            self.forget(again);
        }
    }

    /// What was started has ended by `now`, and this is known of it since. Whatever of
    /// it is due comes behind all that wait.
    pub(crate) fn end(&mut self, who: K, next: Option<Hint>, now: u64) {
        let begun = self.begun.remove(&who);
        if begun.is_some() {
            self.make_room(who.context(), now);
        }
        let noted = begun.and_then(|begun| begun.noted);
        for mut hint in [noted, next].into_iter().flatten() {
            hint.start = hint.start.max(now);
            self.note_later(who, hint);
        }
    }

    /// One out of a context's agenda has ended: the next one of it that waits for that comes behind
    /// all who are due, or contexts that have much to do would keep out those that have little.
    fn make_room(&mut self, context: ContextId, now: u64) {
        if let Some(running) = self.running.get_mut(&context) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&context);
            }
        }
        let Some(who) = self.held.take_first(context) else {
            return;
        };
        if let Some(hint) = self.hints.get_mut(&who) {
            hint.start = hint.start.max(now);
            self.by_start.insert((hint.start, who));
        }
    }

    /// The same for what is done in its order: while there is something left of what was started,
    /// that comes first. What was made anew meanwhile has nothing left.
    pub(crate) fn end_in_order(&mut self, who: K, next: Option<Hint>, now: u64) {
        let mut next = next;
        match self.begun.get_mut(&who) {
            Some(begun) if begun.is_anew => next = None,
            Some(begun) if next.is_some() => begun.noted = None,
            _ => {}
        }
        self.end(who, next, now);
    }

    /// The clock was put back by so much. What was to wait for a while waits no longer for that.
    pub(crate) fn put_back(&mut self, by: u64) {
        let earlier = |time: u64| time.saturating_sub(by);
        self.next_start = earlier(self.next_start);
        self.next_look = earlier(self.next_look);
        self.forgotten_from = self.forgotten_from.map(earlier);
        let keeps_times = self.pace.keeps_times;
        for begun in self.begun.values_mut().filter(|_| !keeps_times) {
            begun.from = earlier(begun.from);
        }
        let noted = self.begun.values_mut();
        let noted = noted.filter_map(|begun| begun.noted.as_mut());
        for hint in self.hints.values_mut().chain(noted) {
            match keeps_times {
                true => hint.start = earlier(hint.start).max(hint.from.min(hint.start)),
                false => (hint.from, hint.start) = (earlier(hint.from), earlier(hint.start)),
            }
        }
        let by_start = self.hints.iter().map(|(id, hint)| (hint.start, *id));
        self.by_start = by_start.collect();
        // Whoever still has to wait is held again.
        self.held.take_all();
    }

    /// How long so many that are due at once are spread over.
    pub(crate) fn spread(&self, due: u64) -> u64 {
        let pause = SECOND / self.pace.starts_per_second.max(1);
        due.saturating_mul(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sends::Pair;

    fn id(n: u64) -> ContextId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        ContextId::from_bytes(id)
    }

    /// All agendas have been looked at, and were empty.
    fn due(starts_per_second: u64, running_max: usize) -> Due<ContextId> {
        let mut due = Due::new(Pace {
            starts_per_second,
            running_max,
            context_running_max: 1,
            keeps_times: true,
        });
        assert_eq!(due.next(0), Next::Look);
        assert_eq!(due.next(0), Next::Nothing, "somebody looks");
        due.looked(0, None);
        due
    }

    fn later(from: u64, start: u64) -> Hint {
        Hint {
            start,
            ..Hint::at(from)
        }
    }

    #[track_caller]
    fn starts(due: &mut Due<ContextId>, now: u64, n: u64, from: u64) {
        match due.next(now) {
            Next::Start { who, hint } => assert_eq!((who, hint.from), (id(n), from)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whoever_is_due_first_begins_first_and_nobody_before_its_time() {
        let mut due = due(1_000_000, 10);
        assert_eq!(due.next(0), Next::Nothing);
        due.note(id(1), 500);
        due.note(id(2), 300);
        due.note(id(1), 400);
        due.note(id(1), 600);
        assert_eq!(due.next(299), Next::At(300));
        starts(&mut due, 300, 2, 300);
        assert_eq!(due.next(300), Next::At(400));
        // What is noted of one that has begun is not lost.
        due.note(id(2), 350);
        due.note(id(2), 360);
        assert_eq!(due.next(380), Next::At(400));
        due.end(id(2), Some(Hint::at(390)), 380);
        starts(&mut due, 380, 2, 350);
        due.end(id(2), None, 380);
        starts(&mut due, 400, 1, 400);
        due.end(id(1), None, 400);
        assert_eq!(due.next(u64::MAX), Next::Nothing);
    }

    #[test]
    fn of_thousands_that_are_due_so_many_begin_in_a_second_and_at_once() {
        let mut due = due(100, 4);
        (0..1000).for_each(|n| due.note(id(n), 5));
        let mut begun = Vec::new();
        let mut now = 10 * SECOND;
        while now < 13 * SECOND {
            match due.next(now) {
                Next::Start { who: context, .. } => {
                    begun.push(now);
                    if begun.len() > 4 {
                        due.end(context, None, now);
                    }
                }
                Next::At(at) => now = at,
                Next::Nothing => {
                    assert_eq!(begun.len(), 4, "as many as may run");
                    (0..4).for_each(|n| due.end(id(n), None, now));
                }
                Next::Look => unreachable!("nothing was forgotten"),
            }
        }
        assert!((300..=305).contains(&begun.len()), "{}", begun.len());
        assert_eq!(due.len(), 1000 - begun.len());
    }

    /// Nobody keeps all places by having many that were due before everybody else's.
    #[test]
    fn whoever_has_many_that_are_due_waits_for_those_that_have_one() {
        let mut due = due(1_000_000, 2);
        due.note(id(1), 100);
        due.note(id(2), 110);
        (3..6).for_each(|n| due.note(id(n), 900));
        let mut begun = Vec::new();
        for now in 1_000..1_010 {
            let Next::Start { who: context, hint } = due.next(now) else {
                panic!("there is something to begin at {now}");
            };
            begun.push(context);
            let again = context <= id(2);
            due.end(context, again.then_some(hint), now);
        }
        let expected = [1, 2, 3, 4, 5, 1, 2, 1, 2, 1].map(id);
        assert_eq!(begun, expected);
    }

    #[test]
    fn a_clock_that_is_put_back_delays_nothing_but_what_is_due_at_a_time() {
        let mut due = due(10, 1);
        let now = 1_000 * SECOND;
        (0..3).for_each(|n| due.note(id(n), 5 + n));
        due.note_later(id(3), later(7, now + SECOND));
        due.note(id(4), now);
        starts(&mut due, now, 0, 5);
        let refused = later(5, now + 2 * SECOND);
        due.end(id(0), Some(refused), now);
        starts(&mut due, now, 1, 6);
        due.end(id(1), None, now);
        assert_eq!(due.next(now), Next::At(now + SECOND / 10), "the pace");
        let back = 900 * SECOND;
        due.put_back(back);
        let now = now - back;
        assert_eq!(due.next(now), Next::At(now + SECOND / 10));
        starts(&mut due, now + SECOND / 10, 2, 7);
        due.end(id(2), None, now);
        starts(&mut due, now + SECOND, 3, 7);
        due.end(id(3), None, now);
        starts(&mut due, now + 2 * SECOND, 0, 5);
        due.end(id(0), None, now);
        assert_eq!(due.next(now + 3 * SECOND), Next::At(now + back));
    }

    #[test]
    fn what_is_forgotten_is_looked_for_when_it_is_due() {
        let mut due = due(1_000_000, 10);
        due.hints_max = 2;
        for (n, at) in [(1, 100), (2, 400), (3, 200), (4, 300)] {
            due.note(id(n), at);
        }
        assert_eq!(due.len(), 2);
        starts(&mut due, 200, 1, 100);
        starts(&mut due, 200, 3, 200);
        assert_eq!(due.next(200), Next::At(300));
        assert_eq!(due.next(300), Next::Look);
        due.note(id(4), 300);
        due.looked(300, None);
        starts(&mut due, 300, 4, 300);
        assert_eq!(due.next(300), Next::Nothing);
    }

    /// Or a look, which finds more than is kept, would follow on the other.
    #[test]
    fn what_is_known_is_worked_off_before_more_is_looked_for() {
        let mut due = due(1_000_000, 10);
        due.hints_max = 4;
        let now = LOOKS_APART;
        (0..9).for_each(|n| due.note(id(n), n));
        assert_eq!(due.next(now), Next::Look, "nobody has looked for long");
        (0..9).for_each(|n| due.note(id(n), n));
        due.looked(now, None);
        for n in 0..2 {
            starts(&mut due, now, n, n);
            due.end(id(n), None, now);
        }
        assert_eq!(due.next(now), Next::Look, "half of it is");
        // If it is never worked off, they are looked for all the same.
        (2..9).for_each(|n| due.note(id(n), n));
        due.looked(now, None);
        starts(&mut due, now, 2, 2);
        due.end(id(2), Some(Hint::at(2)), now);
        let now = now + LOOKS_APART;
        assert_eq!(due.next(now), Next::Look);
        // One that fails is made again.
        due.looked(now, Some(now + 5));
        [3, 4, 5, 2].into_iter().for_each(|n| {
            starts(&mut due, now + 4, n, n);
            due.end(id(n), None, now);
        });
        assert_eq!(due.next(now + 4), Next::At(now + 5));
        assert_eq!(due.next(now + 5), Next::Look);
    }

    /// Or whoever sends much to somebody who cannot take it would have that tried all the time.
    #[test]
    fn what_comes_in_order_waits_behind_what_was_put_off() {
        let mut due = due(1_000_000, 10);
        due.note_in_order(id(1), 100);
        starts(&mut due, 500, 1, 100);
        due.note_in_order(id(1), 400);
        due.end_in_order(id(1), Some(later(100, 900)), 500);
        due.note_in_order(id(1), 600);
        assert_eq!((due.next(600), due.earliest()), (Next::At(900), Some(100)));
        starts(&mut due, 900, 1, 100);
        due.note_in_order(id(1), 800);
        due.end_in_order(id(1), None, 900);
        starts(&mut due, 900, 1, 800);
        due.end_in_order(id(1), None, 900);
        assert_eq!((due.next(u64::MAX), due.earliest()), (Next::Nothing, None));
        // It has no time to wait for, whatever the clock does.
        due.pace.keeps_times = false;
        due.note_in_order(id(1), 1_000);
        due.put_back(600);
        starts(&mut due, 401, 1, 400);
    }

    /// Or a subscription that is made anew would wait for as long as the one before had to, which may be an
    /// hour.
    #[test]
    fn what_is_made_anew_waits_for_nothing_that_was_before() {
        let mut due = due(1_000_000, 10);
        let put_off = Hint {
            refused: 7,
            ..later(100, 9_000)
        };
        due.note_later(id(1), put_off);
        due.note_anew(id(1), 600);
        assert_eq!((due.len(), due.next(599)), (1, Next::At(600)));
        let next = due.next(600);
        let hint = Hint::at(600);
        assert_eq!(next, Next::Start { who: id(1), hint });
        // While it is looked at, whatever comes of that and however it is noted besides.
        due.note_in_order(id(1), 650);
        due.note_anew(id(1), 700);
        due.note_in_order(id(1), 750);
        due.end_in_order(id(1), Some(put_off), 800);
        starts(&mut due, 800, 1, 700);
        due.end_in_order(id(1), Some(put_off), 900);
        assert_eq!(due.next(900), Next::At(9_000), "it was not made anew since");
        // One that is due already does not lose its turn.
        due.note(id(2), 950);
        due.note(id(3), 960);
        due.note_anew(id(2), 1_000);
        starts(&mut due, 1_000, 2, 950);
        starts(&mut due, 1_000, 3, 960);
    }

    fn pair(from: u64, to: u64) -> Pair {
        Pair {
            from: id(from),
            to: id(to),
        }
    }

    fn pairs(running_max: usize, context_running_max: usize) -> Due<Pair> {
        let mut due = Due::new(Pace {
            starts_per_second: 10 * SECOND,
            running_max,
            context_running_max,
            keeps_times: false,
        });
        assert_eq!(due.next(0), Next::Look);
        due.looked(0, None);
        due
    }

    #[track_caller]
    fn begin(due: &mut Due<Pair>) -> Pair {
        match due.next(100) {
            Next::Start { who, .. } => who,
            other => panic!("{other:?}"),
        }
    }

    /// Whoever sends to many who do not answer would have all places otherwise.
    #[test]
    fn a_context_has_so_many_places_and_takes_turns_with_others_for_the_rest() {
        let mut due = pairs(4, 2);
        (0..5).for_each(|to| due.note_in_order(pair(1, to), to));
        due.note_in_order(pair(2, 0), 10);
        (1..4).for_each(|to| due.note_in_order(pair(3, to), 20 + to));
        for expected in [pair(1, 0), pair(1, 1), pair(2, 0), pair(3, 1)] {
            assert_eq!(begin(&mut due), expected);
        }
        assert_eq!((due.next(100), due.held()), (Next::Nothing, 3));
        assert_eq!((due.len(), due.earliest()), (5, Some(0)));
        // What a context has room for again comes behind others who are due.
        due.end_in_order(pair(1, 0), None, 100);
        assert_eq!((begin(&mut due), due.held()), (pair(3, 2), 2));
        // One that was put off is in nobody's way meanwhile.
        due.end_in_order(pair(1, 1), Some(later(1, 900)), 100);
        assert_eq!(begin(&mut due), pair(1, 2));
        due.end_in_order(pair(2, 0), None, 100);
        assert_eq!(begin(&mut due), pair(1, 3));
        // A clock that is put back holds nobody for ever.
        due.put_back(50);
        for who in [pair(3, 1), pair(3, 2), pair(1, 2), pair(1, 3)] {
            due.end_in_order(who, None, 100);
        }
        for expected in [pair(1, 4), pair(3, 3)] {
            assert_eq!(begin(&mut due), expected);
            due.end_in_order(expected, None, 100);
        }
        assert_eq!((due.next(100), due.held()), (Next::At(850), 0));
    }

    #[test]
    fn hints_of_what_could_not_begin_anyway_are_forgotten_first() {
        let mut due = pairs(4, 1);
        due.hints_max = 3;
        (0..3).for_each(|to| due.note_in_order(pair(1, to), to));
        assert_eq!(begin(&mut due), pair(1, 0));
        assert_eq!((due.next(100), due.held()), (Next::Nothing, 2));
        (0..2).for_each(|to| due.note_in_order(pair(2, to), 10 + to));
        assert_eq!((due.len(), due.held()), (3, 1));
        assert_eq!(begin(&mut due), pair(2, 0));
        due.end_in_order(pair(2, 0), None, 100);
        assert_eq!(begin(&mut due), pair(2, 1));
        // And are looked for.
        due.end_in_order(pair(2, 1), None, 100);
        assert_eq!(due.next(100), Next::Look);
    }

    #[test]
    fn one_that_is_to_begin_later_is_still_read_from_its_time() {
        let mut due = due(1_000_000, 10);
        due.note_later(id(1), later(100, 900));
        assert_eq!(due.next(500), Next::At(900));
        starts(&mut due, 900, 1, 100);
    }
}
