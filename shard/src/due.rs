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

/// Hints that are kept. What is due behind the last of them is looked for in the agendas when its
/// time has come.
const HINTS_MAX: usize = 100_000;

const SECOND: u64 = 1_000_000;

/// While more is due than there are hints for, all agendas are looked at so often at most, if
/// what is known is not worked off before.
const LOOKS_APART: u64 = 60 * SECOND;

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
    /// Whether nothing may begin before its time by the clock on the wall, as that may be put back.
    /// Otherwise all is due from when it was noted.
    pub(crate) keeps_times: bool,
}

/// Those of a shard who have something in an agenda.
pub(crate) struct Due<K> {
    by_start: BTreeSet<(u64, K)>,
    hints: HashMap<K, Hint>,
    /// Those that have begun, with what was noted of them since.
    begun: HashMap<K, Option<Hint>>,
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

impl<K: Copy + Ord + Hash> Due<K> {
    pub(crate) fn new(pace: Pace) -> Due<K> {
        Due {
            by_start: BTreeSet::new(),
            hints: HashMap::new(),
            begun: HashMap::new(),
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

    /// The earliest time that is known of something that was due and waits.
    pub(crate) fn earliest(&self) -> Option<u64> {
        let begun = self.begun.values().flatten();
        self.hints.values().chain(begun).map(|hint| hint.from).min()
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
        if let Some(noted) = self.begun.get_mut(&who) {
            *noted = Some(noted.map_or(hint, |noted| noted.and(hint)));
            return;
        }
        let mut hint = hint;
        if let Some(old) = self.hints.get(&who) {
            hint = hint.and(*old);
            self.by_start.remove(&(old.start, who));
        }
        self.hints.insert(who, hint);
        self.by_start.insert((hint.start, who));
        while self.hints.len() > self.hints_max {
            let Some((_, last)) = self.by_start.pop_last() else {
                return;
            };
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
        let first = self.by_start.first().copied();
        let Some((start, who)) = first.filter(|(start, _)| *start <= now) else {
            let starts = first.map(|(start, _)| start).into_iter();
            return starts.chain(look).min().map_or(Next::Nothing, Next::At);
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
        self.begun.insert(who, None);
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
        if let Some(again) = again {
            self.forget(again);
        }
    }

    /// What was started has ended by `now`, and this is known of it since. Whatever of
    /// it is due comes behind all that wait.
    pub(crate) fn end(&mut self, who: K, next: Option<Hint>, now: u64) {
        let noted = self.begun.remove(&who).flatten();
        for mut hint in [noted, next].into_iter().flatten() {
            hint.start = hint.start.max(now);
            self.note_later(who, hint);
        }
    }

    /// The same for what is done in its order: while there is something left of what was started,
    /// that comes first.
    pub(crate) fn end_in_order(&mut self, who: K, next: Option<Hint>, now: u64) {
        if let Some(noted) = self.begun.get_mut(&who)
            && next.is_some()
        {
            *noted = None;
        }
        self.end(who, next, now);
    }

    /// The clock was put back by so much. What was to wait for a while waits no longer for that.
    pub(crate) fn put_back(&mut self, by: u64) {
        let earlier = |time: u64| time.saturating_sub(by);
        self.next_start = earlier(self.next_start);
        self.next_look = earlier(self.next_look);
        self.forgotten_from = self.forgotten_from.map(earlier);
        for hint in self
            .hints
            .values_mut()
            .chain(self.begun.values_mut().flatten())
        {
            match self.pace.keeps_times {
                true => hint.start = earlier(hint.start).max(hint.from.min(hint.start)),
                false => (hint.from, hint.start) = (earlier(hint.from), earlier(hint.start)),
            }
        }
        let by_start = self.hints.iter().map(|(id, hint)| (hint.start, *id));
        self.by_start = by_start.collect();
    }

    /// How long so many that are due at once are spread over.
    pub(crate) fn spread(&self, due: u64) -> u64 {
        let pause = SECOND / self.pace.starts_per_second.max(1);
        due.saturating_mul(pause)
    }
}

#[cfg(test)]
mod tests {
    use corelet_store::ContextId;

    use super::*;

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

    #[test]
    fn one_that_is_to_begin_later_is_still_read_from_its_time() {
        let mut due = due(1_000_000, 10);
        due.note_later(id(1), later(100, 900));
        assert_eq!(due.next(500), Next::At(900));
        starts(&mut due, 900, 1, 100);
    }
}
